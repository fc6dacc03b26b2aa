//! A Rust package, compiled by Cargo.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::BuildError;
use super::toolchain;

/// What to compile for. Both give the same component; the first may use all of the standard library.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Target {
    /// WASI 0.2: time, randomness and printing work, files and sockets are empty.
    #[default]
    #[value(name = "wasm32-wasip2")]
    Wasip2,
    /// No WASI at all: smaller; what needs an operating system panics.
    #[value(name = "wasm32-unknown-unknown")]
    Unknown,
}

impl Target {
    pub(super) fn triple(self) -> &'static str {
        match self {
            Target::Wasip2 => "wasm32-wasip2",
            Target::Unknown => "wasm32-unknown-unknown",
        }
    }
}

/// The part of `cargo metadata` that is needed here.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    target_directory: PathBuf,
    workspace_root: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    targets: Vec<Library>,
}

#[derive(Deserialize)]
struct Library {
    crate_types: Vec<String>,
}

/// One line of Cargo's JSON output.
#[derive(Deserialize)]
struct Message {
    reason: String,
    manifest_path: Option<PathBuf>,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

/// Compiles the package in `directory`; gives the bytes of what it makes.
pub(super) fn compile(directory: &Path, target: Target) -> Result<Vec<u8>, BuildError> {
    let cargo_toml = fs::canonicalize(directory.join("Cargo.toml"))
        .map_err(|_| BuildError::NoPackage { directory: directory.to_owned() })?;
    let metadata = metadata(directory)?;
    let not_a_library = || BuildError::NotALibrary { cargo_toml: cargo_toml.clone() };
    let package =
        metadata.packages.iter().find(|package| package.manifest_path == cargo_toml).ok_or_else(not_a_library)?;
    let makes_component = |library: &Library| library.crate_types.iter().any(|kind| kind == "cdylib");
    if !package.targets.iter().any(makes_component) {
        return Err(not_a_library());
    }
    let file = run(directory, &metadata, package, target)?;
    fs::read(&file).map_err(|error| BuildError::reading(&file, error))
}

/// Runs Cargo; gives the file it made of this package.
fn run(directory: &Path, metadata: &Metadata, package: &Package, target: Target) -> Result<PathBuf, BuildError> {
    let mut command = Command::new("cargo");
    toolchain::prepare(&mut command, &metadata.target_directory)?;
    command.current_dir(directory).args(["build", "--lib", "--target", target.triple(), "--package", &package.name]);
    command.args(profile(&metadata.workspace_root)?);
    // Diagnostics are rendered to stderr as usual; stdout tells which files were made.
    command.args(["--message-format", "json-render-diagnostics"]).stderr(Stdio::inherit());
    let output = command.output().map_err(|error| BuildError::NotStarted { program: "cargo", error })?;
    if !output.status.success() {
        let missing = !toolchain::has_target(directory, &metadata.target_directory, target)?;
        return Err(if missing {
            BuildError::MissingTarget { target: target.triple() }
        } else {
            BuildError::DoesNotCompile
        });
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let messages = said.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
    let ours = messages.filter(|message| {
        message.reason == "compiler-artifact"
            && message.manifest_path.as_deref() == Some(package.manifest_path.as_path())
    });
    let mut files = ours.flat_map(|message| message.filenames);
    files
        .find(|file| file.extension().is_some_and(|extension| extension == "wasm"))
        .ok_or(BuildError::UnexpectedOutput { expected: "the name of the file it made" })
}

/// The workspace's own profile for guests where it has one: small, and the same on every machine.
fn profile(workspace_root: &Path) -> Result<&'static [&'static str], BuildError> {
    let file = workspace_root.join("Cargo.toml");
    let text = fs::read_to_string(&file).map_err(|error| BuildError::reading(&file, error))?;
    // Cargo has read this file a moment ago: it is TOML.
    let has_guest = toml::from_str::<toml::Table>(&text)
        .ok()
        .and_then(|table| table.get("profile")?.get("guest").cloned())
        .is_some();
    Ok(if has_guest { &["--profile", "guest"] } else { &["--release"] })
}

/// Cargo's target directory for `directory`; a `target` inside it where no package is around.
pub(super) fn target_directory(directory: &Path) -> Result<PathBuf, BuildError> {
    match metadata(directory) {
        Ok(metadata) => Ok(metadata.target_directory),
        Err(BuildError::Metadata { .. } | BuildError::NotStarted { .. }) => Ok(directory.join("target")),
        Err(error) => Err(error),
    }
}

fn metadata(directory: &Path) -> Result<Metadata, BuildError> {
    let output = Command::new("cargo")
        .current_dir(directory)
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .output()
        .map_err(|error| BuildError::NotStarted { program: "cargo", error })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().trim_start_matches("error: ").to_owned();
        return Err(BuildError::Metadata { message: said });
    }
    serde_json::from_slice(&output.stdout).map_err(|_| BuildError::UnexpectedOutput { expected: "its metadata" })
}
