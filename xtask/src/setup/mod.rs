//! `cargo xtask setup`: what guests are built with. Changes nothing outside the target directory unless the
//! Rust target or, as root, a distribution package has to be installed.

pub(crate) mod c;
pub(crate) mod js;
mod oauth;
pub(crate) mod rust;

use crate::problem::Problem;
use crate::process::say;
use crate::workspace::Workspace;
use rust::Way;

pub(crate) fn command(workspace: &Workspace, arguments: &[String]) -> Result<(), Problem> {
    let mut way = Way::from_environment()?;
    let mut others = false;
    let mut arguments = arguments.iter().map(String::as_str);
    while let Some(argument) = arguments.next() {
        match (argument, argument.strip_prefix("--way=")) {
            ("--guests-other", _) => others = true,
            ("--way", _) => way = Some(Way::parse(arguments.next().unwrap_or_default())?),
            (_, Some(name)) => way = Some(Way::parse(name)?),
            _ => return Err(Problem::Usage(format!("setup does not know `{argument}`"))),
        }
    }
    rust::prepare(workspace, way)?;
    if others {
        other_languages(workspace);
    }
    Ok(())
}

/// Tools for the C and the JavaScript guest. Where they can't be had, says so in one line and goes on: those
/// guests prove that the contract works in other hands; nothing else is built from them.
pub(crate) fn other_languages(workspace: &Workspace) {
    for (language, outcome) in [("C", c::prepare()), ("JavaScript", js::prepare(workspace))] {
        match outcome {
            Ok(tools) => say(&format!("{language} guests: {tools}")),
            Err(problem) => say(&format!("{language} guests: left out ({problem})")),
        }
    }
}

/// OAuth servers for the stories that authorize against them. Where they can't be had, says so in one line and goes on.
pub(crate) fn oauth_servers(workspace: &Workspace) {
    for (registry, outcome) in oauth::prepare(workspace) {
        match outcome {
            Ok(servers) => say(&format!("OAuth servers from {registry}: {servers}")),
            Err(problem) => say(&format!("OAuth servers from {registry}: left out ({problem})")),
        }
    }
}
