//! `cargo xtask lint`: clippy with warnings as errors, and deny.toml where cargo-deny is installed.

use crate::problem::Problem;
use crate::process::{self, say};
use crate::workspace::Workspace;

pub(crate) fn command(workspace: &Workspace, arguments: &[String]) -> Result<(), Problem> {
    match arguments.first() {
        Some(argument) => Err(Problem::Usage(format!("lint does not know `{argument}`"))),
        None => run(workspace),
    }
}

pub(crate) fn run(workspace: &Workspace) -> Result<(), Problem> {
    let mut clippy = workspace.cargo(&["clippy", "--workspace", "--all-targets", "--"]);
    process::run(clippy.args(["-D", "warnings", "-D", "clippy::too_many_lines"]))?;
    if process::works(&mut workspace.cargo(&["deny", "--version"])) {
        // Advisories need a download; licences, bans and sources do not, and hold on every machine.
        process::run(&mut workspace.cargo(&["deny", "check", "bans", "licenses", "sources"]))
    } else {
        say("cargo-deny is not installed: deny.toml was not checked");
        Ok(())
    }
}
