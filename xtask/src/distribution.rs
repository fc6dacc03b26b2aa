//! The distribution's packages: the last resort where a tool is missing, and only as root on a Debian-like
//! system, that is in a container or on a CI machine. Elsewhere a person decides what is installed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::problem::Problem;
use crate::process;

const LIMIT: Duration = Duration::from_secs(600);

pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// Installs packages, or says what to install.
pub(crate) fn install(what: &str, packages: &[&str]) -> Result<(), Problem> {
    let by_hand = || Problem::Missing {
        what: what.to_owned(),
        help: format!("install it (on Debian: apt-get install {})", packages.join(" ")),
    };
    if !is_root() || process::find("apt-get").is_none() {
        return Err(by_hand());
    }
    process::say(&format!("{what} is missing: installing {}", packages.join(" ")));
    // A stale or empty package list is the usual reason for a refusal; a failing update alone is none.
    let _ = process::run_within(apt_get(&["update"]).stdout(Stdio::null()), LIMIT);
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    arguments.extend_from_slice(packages);
    process::run_within(apt_get(&arguments).stdout(Stdio::null()), LIMIT)
}

fn apt_get(arguments: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").arg("--quiet=2").args(arguments);
    command
}
