//! `bulkhead build [DIR]`: from a connector's source to one file that is the whole package.
//!
//! The steps are those of [`build`], top to bottom; each fails with an error of its own that says what to do. What is
//! written is a component that a host of this version takes: the last step asks of it what an upload is asked.
//! Another language than Rust brings what its own tools made (`--component`); everything after that step is the same.

mod cargo;
mod component;
mod error;
mod examine;
mod toolchain;

use std::fs;
use std::io::{Write as _, stderr, stdout};
use std::path::{Path, PathBuf};

use bulkhead_manifest::Manifest;

pub(crate) use cargo::Target;
pub(crate) use error::BuildError;

/// Builds a connector into one file, its manifest inside: target/connectors/NAME.wasm.
#[derive(clap::Args)]
pub(crate) struct Build {
    /// The connector's directory: connector.toml, and a Cargo.toml unless --component is given.
    #[arg(default_value = ".")]
    directory: PathBuf,
    /// What to compile for.
    #[arg(long, value_enum, default_value_t)]
    target: Target,
    /// Packs this component, or core module with its WIT inside, instead of compiling.
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
    /// Where to write instead of target/connectors.
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

impl Build {
    pub(crate) fn run(self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let options = Options {
            target: self.target,
            component: self.component,
            output: self.output,
            examine: Some(&examine::examine),
        };
        let Built { path, manifest, bytes, exports, doubts, .. } = &build(&self.directory, &options)?;
        let (name, version) = (&manifest.connector.name, &manifest.connector.version);
        // As short as it can be written here.
        let here = std::env::current_dir().unwrap_or_default();
        let path = path.strip_prefix(&here).unwrap_or(path);
        let (path, exports) = (path.display(), exports.join(", "));
        writeln!(stdout(), "{name} {version}: {path} ({} KiB; {exports})", bytes.div_ceil(1024))?;
        for doubt in doubts {
            let _ = writeln!(stderr(), "warning: {doubt}");
        }
        Ok(())
    }
}

/// Asks of a finished component what a host asks at its upload.
pub(crate) type Examine<'a> = &'a dyn Fn(&[u8]) -> Result<(), BuildError>;

/// How to build. The default compiles the directory's package for WASI 0.2.
#[derive(Default)]
pub(crate) struct Options<'a> {
    pub(crate) target: Target,
    /// Made already, by another tool.
    pub(crate) component: Option<PathBuf>,
    /// Instead of `connectors` in Cargo's target directory.
    pub(crate) output: Option<PathBuf>,
    /// By whom it is examined; nobody where there is no sandbox to do it in.
    pub(crate) examine: Option<Examine<'a>>,
}

/// A finished package.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) path: PathBuf,
    pub(crate) bytes: usize,
    pub(crate) manifest: Manifest,
    /// Interfaces of the contract, by their short names.
    pub(crate) exports: Vec<String>,
    /// Everything it wants, by full names.
    #[cfg_attr(not(test), allow(dead_code, reason = "for callers that show what a connector asks for"))]
    pub(crate) imports: Vec<String>,
    /// What is allowed and yet hardly meant.
    pub(crate) doubts: Vec<String>,
}

/// Builds the connector in `directory`. Cargo's own output goes to stderr as it comes.
pub(crate) fn build(directory: &Path, options: &Options<'_>) -> Result<Built, BuildError> {
    // First what takes no time: nobody should wait for a compiler to hear of a typing error.
    let (source, manifest) = read_manifest(directory)?;
    let made = match &options.component {
        Some(file) => fs::read(file).map_err(|error| BuildError::reading(file, error))?,
        None => cargo::compile(directory, options.target)?,
    };
    let made = component::encoded(made)?;
    let component = component::with_manifest(&made, &source)?;
    let surface = component::check(&component)?;
    let doubts = doubts(&manifest, component::manifest(&made)?.as_deref(), &surface);
    if let Some(examine) = options.examine {
        examine(&component)?;
    }

    let output = match &options.output {
        Some(output) => output.clone(),
        None => cargo::target_directory(directory)?.join("connectors"),
    };
    let path = output.join(format!("{}.wasm", manifest.connector.name));
    write(&output, &path, &component)?;
    Ok(Built { path, bytes: component.len(), manifest, exports: surface.exports, imports: surface.imports, doubts })
}

/// What nobody forbids and somebody may have overlooked. `before` is the manifest that the component had.
fn doubts(manifest: &Manifest, before: Option<&str>, surface: &component::Surface) -> Vec<String> {
    let mut doubts = Vec::new();
    if surface.exports == ["descriptor"] {
        doubts
            .push("it has no action, stream, check or webhook, so there is nothing that it could be asked".to_owned());
    }
    if surface.imports.iter().any(|name| name.starts_with("wasi:sockets/")) {
        let instead = "`bulkhead_sdk::http`, or `bulkhead:connector/http`, sends requests";
        doubts.push(format!("it imports wasi:sockets, and there are no sockets in the sandbox: {instead}"));
    }
    let was = before.and_then(|before| Manifest::parse(before).ok()).map(|manifest| manifest.connector.name);
    if let Some(was) = was.filter(|was| *was != manifest.connector.name) {
        doubts.push(format!("the component was packed as {was:?} before: it is {:?} now", manifest.connector.name));
    }
    doubts
}

fn read_manifest(directory: &Path) -> Result<(String, Manifest), BuildError> {
    let file = directory.join("connector.toml");
    let source = fs::read_to_string(&file).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => BuildError::NoManifest { directory: directory.to_owned() },
        _ => BuildError::reading(&file, error),
    })?;
    match Manifest::parse(&source) {
        Ok(manifest) => Ok((source, manifest)),
        Err(error) => Err(BuildError::Manifest { rendered: error.render(&file.display().to_string(), &source), error }),
    }
}

/// Whole or not at all: somebody may be watching the directory.
fn write(directory: &Path, path: &Path, component: &[u8]) -> Result<(), BuildError> {
    let partial = path.with_extension(format!("wasm.{}", std::process::id()));
    let written = fs::create_dir_all(directory)
        .and_then(|()| fs::write(&partial, component))
        .and_then(|()| fs::rename(&partial, path));
    written.map_err(|error| {
        // What is left of it helps nobody; the error that matters is the first.
        let _ = fs::remove_file(&partial);
        BuildError::Write { path: path.to_owned(), error }
    })
}

#[cfg(test)]
mod tests;
