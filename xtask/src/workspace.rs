//! Where things stand in this repository.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::problem::Problem;
use crate::process;

pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    /// Cargo's target directory, wherever the developer put it.
    pub(crate) target: PathBuf,
}

impl Workspace {
    pub(crate) fn find() -> Result<Workspace, Problem> {
        let mut command = Command::new(cargo());
        command.args(["metadata", "--no-deps", "--format-version", "1"]);
        let text = process::output(&mut command)?;
        let metadata: Option<Value> = serde_json::from_str(&text).ok();
        let path = |key| {
            let value = metadata.as_ref().and_then(|document| document.get(key)).and_then(Value::as_str);
            value.map(PathBuf::from)
        };
        match (path("workspace_root"), path("target_directory")) {
            (Some(root), Some(target)) => Ok(Workspace { root, target }),
            _ => Err(Problem::Output { command: "cargo metadata".to_owned(), expected: "a workspace" }),
        }
    }

    /// Cargo, at the root of the repository.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(cargo());
        command.current_dir(&self.root).args(arguments).env("CARGO_TARGET_DIR", &self.target);
        command
    }

    /// Builds every binary of the repository, in the dev profile.
    ///
    /// The whole workspace, always: another selection of packages has other features, and would build the heavy
    /// dependencies a second time.
    pub(crate) fn build_binaries(&self) -> Command {
        self.cargo(&["build", "--workspace", "--bins"])
    }

    /// A binary of the dev profile.
    pub(crate) fn binary(&self, name: &str) -> PathBuf {
        self.target.join("debug").join(name).with_extension(env::consts::EXE_EXTENSION)
    }

    /// Where a guest called `name` is found once it is built.
    pub(crate) fn connector(&self, name: &str) -> PathBuf {
        self.target.join("connectors").join(name).with_extension("wasm")
    }

    pub(crate) fn wit(&self) -> PathBuf {
        self.root.join("wit")
    }
}

fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
