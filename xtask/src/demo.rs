//! `cargo xtask demo`: builds everything, then hands over to the demo's own program, which ends when it likes.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::guests;
use crate::problem::Problem;
use crate::process::{self, say};
use crate::setup;
use crate::setup::rust::Way;
use crate::workspace::Workspace;

/// What the story needs.
const CONNECTORS: [&str; 3] = ["connectors/stripe", "connectors/quickbooks", "connectors/jq"];

pub(crate) fn command(workspace: &Workspace, arguments: &[String]) -> Result<(), Problem> {
    // Before anything is built: that takes minutes.
    if !matches!(arguments, [] | [_]) || arguments.iter().any(|argument| argument != "--once") {
        return Err(Problem::Usage("cargo xtask demo [--once]: there is nothing else to choose".to_owned()));
    }
    setup::rust::prepare(workspace, Way::from_environment()?)?;
    process::run(&mut workspace.build_binaries())?;
    for connector in CONNECTORS {
        say(&format!("building {connector} for the sandbox"));
        guests::build_one(workspace, connector)?;
    }
    // In this process's place, so that an interrupt at the terminal is the demo's own to handle.
    let source = Command::new(workspace.binary("bulkhead-demo")).current_dir(&workspace.root).args(arguments).exec();
    Err(Problem::Start { command: "bulkhead-demo".to_owned(), source })
}
