//! What the JavaScript guest is built with: node and componentize-qjs, the QuickJS backend of `jco componentize`
//! by itself (40 MB instead of 400), kept in the target directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::problem::Problem;
use crate::process;
use crate::workspace::Workspace;

const PACKAGE: &str = "componentize-qjs";
/// Exact: what it makes is measured and limited in tests.
const VERSION: &str = "0.4.5";
const LIMIT: Duration = Duration::from_secs(120);

pub(crate) struct Tools {
    pub(crate) node: PathBuf,
    pub(crate) componentize: PathBuf,
}

impl Tools {
    pub(crate) fn find(workspace: &Workspace) -> Option<Tools> {
        let package = home(workspace).join("node_modules").join(PACKAGE);
        if !is_right_version(&package) {
            return None;
        }
        Some(Tools { node: process::find("node")?, componentize: package.join("bin").join(PACKAGE) })
    }

    pub(crate) fn missing() -> String {
        format!("node and npm's {PACKAGE}@{VERSION} are needed: `cargo xtask setup --guests-other`")
    }
}

/// Where the tool and what it makes are kept.
pub(crate) fn home(workspace: &Workspace) -> PathBuf {
    workspace.target.join("js")
}

pub(crate) fn prepare(workspace: &Workspace) -> Result<String, Problem> {
    if Tools::find(workspace).is_none() {
        install(workspace)?;
    }
    match Tools::find(workspace) {
        Some(_) => Ok(format!("node with {PACKAGE} {VERSION}")),
        None => Err(Problem::Missing { what: format!("{PACKAGE} {VERSION}"), help: Tools::missing() }),
    }
}

fn install(workspace: &Workspace) -> Result<(), Problem> {
    if process::find("node").is_none() {
        let help = "install Node.js 18 or later".to_owned();
        return Err(Problem::Missing { what: "node".to_owned(), help });
    }
    let home = home(workspace);
    fs::create_dir_all(&home).map_err(Problem::file(&home))?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error", "--fetch-retries=1"])
        .arg("--prefix")
        .arg(&home)
        .arg(format!("{PACKAGE}@{VERSION}"))
        .stdout(Stdio::null());
    process::run_within(&mut npm, LIMIT)
}

fn is_right_version(package: &Path) -> bool {
    let text = fs::read_to_string(package.join("package.json")).unwrap_or_default();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    document.get("version").and_then(serde_json::Value::as_str) == Some(VERSION)
}
