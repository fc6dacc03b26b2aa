//! Why a connector was not built: one case for each step, each with what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use bulkhead_manifest::ManifestError;
use bulkhead_server::PublishError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    #[error("{} has no connector.toml: a connector says there what it is and what it asks for", directory.display())]
    NoManifest { directory: PathBuf },
    #[error("{}", rendered.strip_prefix("error: ").unwrap_or(rendered))]
    Manifest {
        /// The problems in their places, for people; each begins with its level.
        rendered: String,
        #[source]
        error: ManifestError,
    },
    #[error("{} has no Cargo.toml: for another language, build with its own tools and pack the result with --component FILE", directory.display())]
    NoPackage { directory: PathBuf },
    #[error("{}: the package makes no component; add to its Cargo.toml:\n\n[lib]\ncrate-type = [\"cdylib\", \"rlib\"]\n", cargo_toml.display())]
    NotALibrary { cargo_toml: PathBuf },
    #[error(
        "the toolchain cannot build for {target}: run `rustup target add {target}` (in Bulkhead's own repository, `cargo xtask setup`)"
    )]
    MissingTarget { target: &'static str },
    #[error("{program} could not be started: {error}; install Rust from https://rustup.rs")]
    NotStarted {
        program: &'static str,
        #[source]
        error: io::Error,
    },
    #[error("the package does not compile: cargo says why above")]
    DoesNotCompile,
    #[error("cargo cannot read the package: {message}{}", out_of_its_workspace(.message))]
    Metadata { message: String },
    #[error("cargo said something unexpected where {expected} was expected")]
    UnexpectedOutput { expected: &'static str },
    #[error("{} is not what `cargo xtask setup` writes: run it again ({problem})", file.display())]
    Toolchain { file: PathBuf, problem: serde_json::Error },
    #[error("{what} is not WebAssembly: it starts with {starts_with}")]
    NotWasm { what: &'static str, starts_with: String },
    #[error(
        "the core module cannot be made a component: {message}\nIt needs the contract's WIT inside, as the SDK or wit-bindgen leave it there"
    )]
    Encode { message: String },
    #[error("the component is not valid: {message} (at byte {offset}); build it again from clean sources")]
    Invalid { message: String, offset: usize },
    #[error(
        "the component imports `{name}`: a connector may import interfaces of bulkhead:connector@0.1.0 and WASI 0.2, and nothing else"
    )]
    UnknownImport { name: String },
    #[error(
        "the component does not export `{missing}`: put `#[connector]` on an impl block, or build against a world of bulkhead:connector@0.1.0 that has it"
    )]
    MissingExport { missing: &'static str },
    #[error("a host would refuse the component: {0}")]
    Refused(#[source] Box<PublishError>),
    #[error("the component cannot be tried in a sandbox here: {problem}")]
    NoSandbox { problem: String },
    #[error("{} cannot be read: {error}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        error: io::Error,
    },
    #[error("{} cannot be written: {error}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        error: io::Error,
    },
}

impl BuildError {
    pub(super) fn reading(path: &Path, error: io::Error) -> BuildError {
        BuildError::Read { path: path.to_owned(), error }
    }
}

/// Copied out of a repository, a package loses what it had from there.
fn out_of_its_workspace(message: &str) -> &'static str {
    if message.contains("workspace root") {
        "\nWhere it was copied from somewhere else, write out what says `workspace = true` in its Cargo.toml"
    } else {
        ""
    }
}
