//! Bytes in, bytes out: encoding, the manifest's section, and the check of what a component may be.

use std::borrow::Cow;

use wasm_encoder::{ComponentSection, CustomSection};
use wasmparser::{BinaryReader, BinaryReaderError, Parser, Payload, Validator};

use super::BuildError;

/// Where the manifest stands in a package.
const MANIFEST_SECTION: &str = "bulkhead:manifest";
/// Magic and version, which every file starts with.
const HEADER_BYTES: usize = 8;

/// The contract's package and version, and the interfaces a connector may import of it.
const PACKAGE: &str = "bulkhead:connector/";
const VERSION: &str = "0.1.0";
const IMPORTS: [&str; 5] = ["types", "http", "state", "context", "log"];
/// The one export that every connector has.
const DESCRIPTOR: &str = "bulkhead:connector/descriptor@0.1.0";

/// What a component asks for and offers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Surface {
    /// Full names.
    pub(super) imports: Vec<String>,
    /// Short names of the contract's interfaces; whatever else a toolchain exports does not matter.
    pub(super) exports: Vec<String>,
}

/// A component as it is; a core module with its WIT inside, encoded.
pub(super) fn encoded(made: Vec<u8>) -> Result<Vec<u8>, BuildError> {
    if Parser::is_component(&made) {
        return Ok(made);
    }
    if !Parser::is_core_wasm(&made) {
        let starts_with = made.iter().take(4).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
        return Err(BuildError::NotWasm { what: "the file", starts_with });
    }
    let component = wit_component::ComponentEncoder::default()
        .validate(true)
        .module(&made)
        .and_then(|mut encoder| encoder.encode());
    component.map_err(|error| BuildError::Encode { message: format!("{error:#}") })
}

/// The component with this manifest, and no other.
pub(super) fn with_manifest(component: &[u8], manifest: &str) -> Result<Vec<u8>, BuildError> {
    let mut packed = without_manifest(component).map_err(|error| invalid(&error))?;
    let section = CustomSection { name: Cow::Borrowed(MANIFEST_SECTION), data: Cow::Borrowed(manifest.as_bytes()) };
    section.append_to_component(&mut packed);
    Ok(packed)
}

/// The manifest that the component has, where it has one.
pub(super) fn manifest(component: &[u8]) -> Result<Option<String>, BuildError> {
    let found = Parser::new(0).parse_all(component).find_map(|payload| match payload {
        Ok(Payload::CustomSection(section)) if section.name() == MANIFEST_SECTION => {
            Some(Ok(String::from_utf8_lossy(section.data()).into_owned()))
        }
        Ok(_) => None,
        Err(error) => Some(Err(invalid(&error))),
    });
    found.transpose()
}

fn without_manifest(component: &[u8]) -> Result<Vec<u8>, BinaryReaderError> {
    let mut reader = BinaryReader::new(component, 0);
    let mut kept = reader.read_bytes(HEADER_BYTES)?.to_vec();
    while !reader.eof() {
        let start = reader.original_position();
        let id = reader.read_u8()?;
        let size = reader.read_var_u32()?;
        let content = reader.read_bytes(usize::try_from(size).unwrap_or(usize::MAX))?;
        let is_manifest = id == 0 && BinaryReader::new(content, 0).read_string()? == MANIFEST_SECTION;
        if !is_manifest {
            kept.extend_from_slice(component.get(start..reader.original_position()).unwrap_or_default());
        }
    }
    Ok(kept)
}

/// Valid, importing only what a connector may, exporting what it must.
pub(super) fn check(component: &[u8]) -> Result<Surface, BuildError> {
    Validator::new().validate_all(component).map_err(|error| invalid(&error))?;
    let surface = surface(component).map_err(|error| invalid(&error))?;
    if let Some(name) = surface.imports.iter().find(|name| !may_import(name)) {
        return Err(BuildError::UnknownImport { name: name.clone() });
    }
    if !surface.exports.iter().any(|name| name == DESCRIPTOR) {
        return Err(BuildError::MissingExport { missing: DESCRIPTOR });
    }
    let mut exports: Vec<_> =
        surface.exports.iter().filter_map(|name| contract_interface(name)).map(str::to_owned).collect();
    exports.sort();
    Ok(Surface { exports, ..surface })
}

/// The component's own imports and exports, not those of what is nested in it.
fn surface(component: &[u8]) -> Result<Surface, BinaryReaderError> {
    let mut surface = Surface { imports: Vec::new(), exports: Vec::new() };
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(component) {
        match payload? {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(imports) if depth == 1 => {
                for import in imports {
                    surface.imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(exports) if depth == 1 => {
                for export in exports {
                    surface.exports.push(export?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(surface)
}

fn may_import(name: &str) -> bool {
    let wasi =
        || name.starts_with("wasi:") && name.split_once('@').is_some_and(|(_, version)| version.starts_with("0.2."));
    contract_interface(name).map_or_else(wasi, |interface| IMPORTS.contains(&interface))
}

/// `http` of `bulkhead:connector/http@0.1.0`.
fn contract_interface(name: &str) -> Option<&str> {
    name.strip_prefix(PACKAGE)?.strip_suffix(VERSION)?.strip_suffix('@')
}

fn invalid(error: &BinaryReaderError) -> BuildError {
    BuildError::Invalid { message: error.message().to_owned(), offset: error.offset() }
}
