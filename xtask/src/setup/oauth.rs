//! OAuth servers that others wrote, for the stories that authorize against them: npm's `oidc-provider` and
//! `oauth2-mock-server`, PyPI's `authlib`. Kept in the target directory; where node, npm or python3 are not there, the
//! stories skip.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::problem::Problem;
use crate::process;
use crate::workspace::Workspace;

/// Exact: another version is another server. The newest of each that runs on node 20.
const NPM: [(&str, &str); 2] = [("oauth2-mock-server", "8.2.3"), ("oidc-provider", "9.13.3")];
const PYPI: [(&str, &str); 2] = [("authlib", "1.9.9"), ("flask", "3.1.3")];
const LIMIT: Duration = Duration::from_secs(180);
/// What was installed, so that it is not asked for again.
const INSTALLED: &str = "installed";

pub(crate) fn prepare(workspace: &Workspace) -> Vec<(&'static str, Result<String, Problem>)> {
    let home = workspace.target.join("oauth");
    vec![("npm", npm(&home)), ("PyPI", pypi(&home))]
}

fn npm(home: &Path) -> Result<String, Problem> {
    needs("node", "install Node.js 20 or later")?;
    needs("npm", "install npm")?;
    let wanted = NPM.map(|(name, version)| format!("{name}@{version}"));
    if !is_installed(&home.join("node_modules"), &wanted) {
        fs::create_dir_all(home).map_err(Problem::file(home))?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error", "--fetch-retries=1"])
            .arg("--prefix")
            .arg(home)
            .args(&wanted)
            .stdout(Stdio::null());
        process::run_within(&mut npm, LIMIT)?;
        mark(&home.join("node_modules"), &wanted)?;
    }
    Ok(wanted.join(", "))
}

fn pypi(home: &Path) -> Result<String, Problem> {
    needs("python3", "install Python 3.10 or later, with venv")?;
    let (venv, wanted) = (home.join("venv"), PYPI.map(|(name, version)| format!("{name}=={version}")));
    if !is_installed(&venv, &wanted) {
        fs::create_dir_all(home).map_err(Problem::file(home))?;
        process::run_within(Command::new("python3").args(["-m", "venv"]).arg(&venv), LIMIT)?;
        let mut pip = Command::new(venv.join("bin").join("python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(&wanted);
        process::run_within(&mut pip, LIMIT)?;
        mark(&venv, &wanted)?;
    }
    Ok(wanted.join(", "))
}

fn needs(program: &str, help: &str) -> Result<PathBuf, Problem> {
    process::find(program).ok_or_else(|| Problem::Missing { what: program.to_owned(), help: help.to_owned() })
}

fn is_installed(folder: &Path, wanted: &[String]) -> bool {
    fs::read_to_string(folder.join(INSTALLED)).is_ok_and(|installed| installed == wanted.join("\n"))
}

fn mark(folder: &Path, wanted: &[String]) -> Result<(), Problem> {
    let file = folder.join(INSTALLED);
    fs::write(&file, wanted.join("\n")).map_err(Problem::file(&file))
}
