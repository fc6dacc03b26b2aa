//! `bulkhead build [DIR]`: from a connector's source to one file that is the whole package.
//!
//! The steps are those of [`build`], top to bottom; each fails with an error of its own that says what to do. What is
//! written is always a valid component that imports nothing the contract does not have, with its manifest inside.
//! Another language than Rust brings what its own tools made (`--component`); everything after that step is the same.

mod cargo;
mod component;
mod error;
mod toolchain;

use std::fs;
use std::path::{Path, PathBuf};

use bulkhead_manifest::{Descriptor, Manifest};

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
    #[allow(clippy::print_stdout, reason = "this is the command's answer")]
    pub(crate) fn run(self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let options = Options { target: self.target, component: self.component, output: self.output, describe: None };
        let built = build(&self.directory, &options)?;
        let Built { path, manifest, bytes, exports, .. } = &built;
        let (name, version) = (&manifest.connector.name, &manifest.connector.version);
        println!("{name} {version}: {} ({} KiB; {})", path.display(), bytes.div_ceil(1024), exports.join(", "));
        Ok(())
    }
}

/// Runs a component's `describe`, for those who have a sandbox. It gets the finished component.
pub(crate) type Describe<'a> = &'a dyn Fn(&[u8]) -> Result<String, Box<dyn std::error::Error + Send + Sync>>;

/// How to build. The default compiles the directory's package for WASI 0.2.
#[derive(Default)]
pub(crate) struct Options<'a> {
    pub(crate) target: Target,
    /// Made already, by another tool.
    pub(crate) component: Option<PathBuf>,
    /// Instead of `connectors` in Cargo's target directory.
    pub(crate) output: Option<PathBuf>,
    /// Checks the descriptor too, where given.
    pub(crate) describe: Option<Describe<'a>>,
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
    /// What `describe` says, where it was asked.
    #[cfg_attr(not(test), allow(dead_code, reason = "for callers that show what a connector can do"))]
    pub(crate) descriptor: Option<Descriptor>,
}

/// Builds the connector in `directory`. Cargo's own output goes to stderr as it comes.
pub(crate) fn build(directory: &Path, options: &Options<'_>) -> Result<Built, BuildError> {
    // First what takes no time: nobody should wait for a compiler to hear of a typing error.
    let (source, manifest) = read_manifest(directory)?;
    let made = match &options.component {
        Some(file) => fs::read(file).map_err(|error| BuildError::reading(file, error))?,
        None => cargo::compile(directory, options.target)?,
    };
    let component = component::with_manifest(&component::encoded(made)?, &source)?;
    let surface = component::check(&component)?;
    let descriptor = options.describe.map(|describe| described(describe, &component)).transpose()?;

    let output = match &options.output {
        Some(output) => output.clone(),
        None => cargo::target_directory(directory)?.join("connectors"),
    };
    let path = output.join(format!("{}.wasm", manifest.connector.name));
    write(&output, &path, &component)?;
    Ok(Built { path, bytes: component.len(), manifest, exports: surface.exports, imports: surface.imports, descriptor })
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

fn described(describe: Describe<'_>, component: &[u8]) -> Result<Descriptor, BuildError> {
    let text = describe(component).map_err(BuildError::Describe)?;
    Descriptor::parse(&text).map_err(BuildError::Descriptor)
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
