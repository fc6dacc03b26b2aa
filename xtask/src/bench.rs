//! `cargo xtask bench [NAME] [ARG…]`: one of the benches of tests/benches, or all of them, optimised.

use crate::guests;
use crate::problem::Problem;
use crate::process;
use crate::setup;
use crate::setup::rust::Way;
use crate::workspace::Workspace;

pub(crate) fn command(workspace: &Workspace, arguments: &[String]) -> Result<(), Problem> {
    setup::rust::prepare(workspace, Way::from_environment()?)?;
    process::run(&mut workspace.build_binaries())?;
    guests::build(workspace)?;
    let mut bench = workspace.cargo(&["bench", "--package", "bulkhead-tests"]);
    match arguments.split_first() {
        Some((name, rest)) => bench.args(["--bench", name, "--"]).args(rest),
        None => bench.args(["--benches"]),
    };
    process::run(&mut bench)
}
