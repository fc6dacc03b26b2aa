//! A copy of what belongs to the repository, with some files changed and a target folder of its own.
//!
//! A file that is there already stays as it is, so that cargo builds only what changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::problem::Problem;
use crate::process;
use crate::workspace::Workspace;

/// Makes it, or brings it up to date.
pub(crate) fn made(workspace: &Workspace, changed: &BTreeMap<String, String>) -> Result<Workspace, Problem> {
    let root = workspace.target.join("mutants").join("tree");
    let target = workspace.target.join("mutants").join("target");
    let mut listing = Command::new("git");
    listing.current_dir(&workspace.root).args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    let listed = process::output(&mut listing)?;
    let mut kept = BTreeSet::new();
    for file in listed.lines() {
        let from = workspace.root.join(file);
        let content = match changed.get(file) {
            Some(text) => text.clone().into_bytes(),
            None if from.is_file() => fs::read(&from).map_err(Problem::file(&from))?,
            None => continue,
        };
        let to = root.join(file);
        write_where_different(&to, &content)?;
        kept.insert(to);
    }
    remove_others(&root, &kept)?;
    Ok(Workspace { root, target })
}

fn write_where_different(path: &Path, content: &[u8]) -> Result<(), Problem> {
    if fs::read(path).is_ok_and(|there| there == content) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(Problem::file(folder))?;
    }
    fs::write(path, content).map_err(Problem::file(path))
}

/// What was copied once and is not in the repository any more.
fn remove_others(folder: &Path, kept: &BTreeSet<PathBuf>) -> Result<(), Problem> {
    for entry in fs::read_dir(folder).map_err(Problem::file(folder))? {
        let path = entry.map_err(Problem::file(folder))?.path();
        if path.is_dir() {
            remove_others(&path, kept)?;
        } else if !kept.contains(&path) && !path.ends_with("Cargo.lock") {
            fs::remove_file(&path).map_err(Problem::file(&path))?;
        }
    }
    Ok(())
}
