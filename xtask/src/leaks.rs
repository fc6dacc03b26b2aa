//! The last step of a whole test run: what its processes were told in confidence shows in no log of theirs, in nothing that
//! tests printed, and not in what the database server says.
//!
//! Here is where all that is kept meanwhile; who looks through it is `bulkhead-leaks` (`tests/src/leaks/together.rs`, which says
//! what is looked for, and where). Databases and folders are not kept: tests look through their own when they are done with them.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use crate::postgres::Cluster;
use crate::problem::Problem;
use crate::process::{self, say};
use crate::test;
use crate::workspace::Workspace;

/// Tests read it: the folder.
const VARIABLE: &str = "BULKHEAD_TEST_LEAKS";

/// Of `.config/nextest.toml`: keeps what tests print.
const PROFILE: &str = "kept";

/// What one run leaves behind until it has been looked through.
pub(crate) struct Kept {
    folder: PathBuf,
    /// Where the runner leaves what tests printed, where it can.
    report: Option<PathBuf>,
}

impl Kept {
    pub(crate) fn made() -> Result<Kept, Problem> {
        let name = format!("bulkhead-leaks-{}", std::process::id());
        let folder = test::in_memory().map_or_else(env::temp_dir, PathBuf::from).join(name);
        fs::create_dir(&folder).map_err(Problem::file(&folder))?;
        Ok(Kept { folder, report: None })
    }

    /// Has what tests print kept by nextest.
    pub(crate) fn report(&mut self, workspace: &Workspace, nextest: &mut Command) {
        nextest.args(["--profile", PROFILE]);
        let report = workspace.root.join("target/nextest").join(PROFILE).join("report.xml");
        // One of before says nothing of this run; that it may not be there is no fault.
        let _ = fs::remove_file(&report);
        self.report = Some(report);
    }

    /// Has the processes of this run write there.
    pub(crate) fn surround(&self, command: &mut Command) {
        command.env(VARIABLE, &self.folder);
    }

    /// How much was looked for. Fails where something shows that was told in confidence.
    pub(crate) fn look_through(&self, workspace: &Workspace, cluster: Option<&Cluster>) -> Result<String, Problem> {
        say("looking for secrets in all that was written");
        if self.report.is_none() {
            say("without cargo-nextest, what passing tests print is not kept, and so not looked through");
        }
        if let Some(cluster) = cluster {
            fs::copy(&cluster.log, self.folder.join("PostgreSQL.log")).map_err(Problem::file(&cluster.log))?;
        }
        process::output(Command::new(workspace.binary("bulkhead-leaks")).arg(&self.folder).args(&self.report))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
