//! Which compiler makes guests. Usually the one on the path; where the target has to come from elsewhere,
//! `cargo xtask setup` has left a note in the target directory.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::BuildError;
use super::cargo::Target;

/// The note's name, inside the target directory.
const FILE: &str = "guest-toolchain";

#[derive(Default, Deserialize)]
struct Note {
    /// Directories that come before those of PATH.
    #[serde(default)]
    path: Vec<PathBuf>,
    #[serde(default)]
    env: BTreeMap<String, String>,
}

/// Applies the note, where there is one.
pub(super) fn prepare(command: &mut Command, target_directory: &Path) -> Result<(), BuildError> {
    let note = read(target_directory)?;
    command.envs(&note.env);
    if !note.path.is_empty() {
        #[allow(clippy::disallowed_methods, reason = "a child's search path is made from ours")]
        let inherited = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths(note.path.iter().cloned().chain(env::split_paths(&inherited)));
        if let Ok(path) = path {
            command.env("PATH", path);
        }
    }
    Ok(())
}

/// Whether the compiler has a standard library for the target, or builds one.
pub(super) fn has_target(directory: &Path, target_directory: &Path, target: Target) -> Result<bool, BuildError> {
    if read(target_directory)?.env.contains_key("CARGO_UNSTABLE_BUILD_STD") {
        return Ok(true);
    }
    let output = Command::new("rustc")
        .current_dir(directory)
        .args(["--print", "target-libdir", "--target", target.triple()])
        .output()
        .map_err(|error| BuildError::NotStarted { program: "rustc", error })?;
    Ok(output.status.success() && Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
}

fn read(target_directory: &Path) -> Result<Note, BuildError> {
    let file = target_directory.join(FILE);
    match fs::read(&file) {
        Ok(text) => serde_json::from_slice(&text).map_err(|problem| BuildError::Toolchain { file, problem }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Note::default()),
        Err(error) => Err(BuildError::reading(&file, error)),
    }
}
