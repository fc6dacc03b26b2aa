//! examples/js: one file → a component with QuickJS inside → `bulkhead build` packs it.

use std::process::{Command, Stdio};

use super::Outcome;
use crate::problem::Problem;
use crate::process;
use crate::setup::js::{self, Tools};
use crate::workspace::Workspace;

const WORLD: &str = "actions-only";

pub(super) fn build(workspace: &Workspace) -> Result<Outcome, Problem> {
    let directory = workspace.root.join("examples/js");
    let Some(tools) = Tools::find(workspace) else {
        return Ok(Outcome::LeftOut(Tools::missing()));
    };
    if super::is_fresh(workspace, &workspace.connector("echo-js"), &directory)? {
        return Ok(Outcome::Fresh);
    }
    let component = js::home(workspace).join("echo.wasm");
    let mut componentize = Command::new(&tools.node);
    componentize.arg(&tools.componentize).current_dir(&directory).stdout(Stdio::null());
    // The host has no asynchronous components yet, and no WASI is needed.
    componentize.args(["--sync", "--stub-wasi", "--world", WORLD, "--js", "echo.js"]);
    process::run(componentize.arg("--wit").arg(workspace.wit()).arg("--output").arg(&component))?;
    super::package(workspace, &directory, &component)?;
    Ok(Outcome::Built)
}
