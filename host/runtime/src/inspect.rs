//! Looking at an upload without running or compiling it: what it is, what it wants, what it offers.
//!
//! Purpose: refuse early and in words what can never run here. Invariant: pure parsing, linear in the size of the bytes;
//! whatever a file claims about itself costs nothing before it is read. What passes here is still checked by the compiler
//! (validity) and by the linker (types).

mod instances;

use wasmparser::{Encoding, Parser, Payload};

use crate::capabilities;
use crate::digest::Digest;
use crate::loaded::Exports;
use crate::run_log::clean;
use crate::sandbox::CORE_INSTANCES_PER_COMPONENT;

use instances::{InstanceCount, Makes};

/// The custom section in which `bulkhead build` leaves the manifest.
pub(crate) const MANIFEST_SECTION: &str = "bulkhead:manifest";
/// Instances of components within a component.
const MOST_NESTED: u64 = 1_000;
/// A manifest is a page of text.
const MAX_MANIFEST: usize = 256 * 1024;
/// Names are shown to people; a longer one is cut.
const MAX_NAME: usize = 200;
/// So many foreign exports are listed, and so many names stand in a refusal.
const MAX_LISTED: usize = 100;
/// Imports, and exports, of a component.
const MOST_NAMES: usize = 1_000;

/// What an upload may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadLimits {
    /// Bytes.
    pub component_bytes: usize,
    /// Core instances, nested components included.
    pub core_instances: u64,
}

impl Default for UploadLimits {
    fn default() -> Self {
        Self { component_bytes: 32 << 20, core_instances: u64::from(CORE_INSTANCES_PER_COMPONENT) }
    }
}

/// What was found in a component that may run here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Names it from now on.
    pub digest: Digest,
    /// Its size.
    pub bytes: u64,
    /// The interfaces it imports, all of them offered here.
    pub imports: Vec<String>,
    /// Which operations it exports.
    pub exports: Exports,
    /// What it exports besides; toolchains leave such things, and nobody calls them.
    pub other_exports: Vec<String>,
    /// The manifest's text, not yet parsed.
    pub manifest: String,
    /// Core modules in it.
    pub core_modules: u32,
    /// Core instances it makes, nested components included.
    pub core_instances: u64,
}

/// Why an upload is refused. Each says what was found, what was expected and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UploadError {
    /// Over the size limit.
    #[error(
        "the file has {found} bytes; at most {limit} are allowed: build in release mode, strip it, or leave dependencies out"
    )]
    TooLarge {
        /// Its size.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// Not WebAssembly.
    #[error(
        "the file is not WebAssembly (it starts with {starts_with}): upload the .wasm that `bulkhead build` writes"
    )]
    NotWasm {
        /// Its first bytes, in hex.
        starts_with: String,
    },
    /// A module where a component is needed.
    #[error(
        "the file is a core module, not a component: build it with `bulkhead build`, or encode it with `wasm-tools component new`"
    )]
    CoreModule,
    /// The structure breaks somewhere.
    #[error("the component is damaged at byte {offset}: {reason}; build or copy it again")]
    Damaged {
        /// Where.
        offset: usize,
        /// In the parser's words.
        reason: String,
    },
    /// It does not export what every connector must.
    #[error(
        "the component does not export `{missing}`; it exports {}: build it against a world of bulkhead:connector",
        listed(found)
    )]
    WrongWorld {
        /// What is missing.
        missing: String,
        /// What it exports.
        found: Vec<String>,
    },
    /// It wants something that is not offered.
    #[error(
        "the component imports `{name}`, which is not offered here{}: take out what needs it, or stub it when building",
        offered(versions)
    )]
    UnknownImport {
        /// What it wants.
        name: String,
        /// The versions of that interface that are offered, if any.
        versions: Vec<String>,
    },
    /// It imports or exports more than any toolchain writes.
    #[error(
        "the component has more than {MOST_NAMES} imports or exports: build it against a world of bulkhead:connector"
    )]
    TooManyNames,
    /// It makes more core instances than a slot holds.
    #[error("the component makes {found} core instances; at most {limit} fit: link it into fewer modules")]
    TooManyCoreInstances {
        /// How many.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// It instantiates more components within itself than any toolchain does.
    #[error(
        "the component makes {found} instances of components within it; at most {MOST_NESTED} are taken: compose it from fewer"
    )]
    TooManyInstances {
        /// How many.
        found: u64,
    },
    /// It instantiates a component that cannot be counted.
    #[error(
        "the component instantiates a component that it got by an import or from another instance: instantiate what is defined in it"
    )]
    UncountedInstances,
    /// It does not bring its manifest.
    #[error(
        "the component has no `bulkhead:manifest` section: build it with `bulkhead build`, which embeds connector.toml"
    )]
    NoManifest,
    /// It brings a manifest that cannot be read.
    #[error(
        "the `bulkhead:manifest` section {found}; expected one text of at most {MAX_MANIFEST} bytes: build it again with `bulkhead build`"
    )]
    BadManifest {
        /// What is wrong with it.
        found: &'static str,
    },
}

impl UploadError {
    /// A stable name for the case.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "component-too-large",
            Self::NotWasm { .. } => "not-wasm",
            Self::CoreModule => "core-module",
            Self::Damaged { .. } => "component-damaged",
            Self::WrongWorld { .. } => "wrong-world",
            Self::UnknownImport { .. } => "unknown-import",
            Self::TooManyNames => "too-many-names",
            Self::TooManyCoreInstances { .. } => "too-many-core-instances",
            Self::TooManyInstances { .. } => "too-many-instances",
            Self::UncountedInstances => "uncounted-instances",
            Self::NoManifest => "no-manifest",
            Self::BadManifest { .. } => "bad-manifest",
        }
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "nothing".into() } else { names.join(", ") }
}

fn offered(versions: &[String]) -> String {
    if versions.is_empty() { String::new() } else { format!(" in that version (offered: {})", versions.join(", ")) }
}

/// Looks at an upload.
///
/// # Errors
/// Whatever keeps it from running here; see [`UploadError`].
pub fn inspect_component(wasm: &[u8], limits: &UploadLimits) -> Result<Inspection, UploadError> {
    if wasm.len() > limits.component_bytes {
        return Err(UploadError::TooLarge { found: wasm.len() as u64, limit: limits.component_bytes as u64 });
    }
    if !wasm.starts_with(b"\0asm") {
        let starts_with = wasm.iter().take(4).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
        return Err(UploadError::NotWasm { starts_with });
    }
    let found = read(wasm)?;
    let (exports, other_exports) = sort_exports(found.exports)?;
    for name in &found.imports {
        if !capabilities::offers(name) {
            let versions = capabilities::versions_of(name);
            return Err(UploadError::UnknownImport { name: clean(name, MAX_NAME), versions });
        }
    }
    if found.makes.core > limits.core_instances {
        return Err(UploadError::TooManyCoreInstances { found: found.makes.core, limit: limits.core_instances });
    }
    if found.uncounted {
        return Err(UploadError::UncountedInstances);
    }
    if found.makes.nested > MOST_NESTED {
        return Err(UploadError::TooManyInstances { found: found.makes.nested });
    }
    Ok(Inspection {
        digest: Digest::of(wasm),
        bytes: wasm.len() as u64,
        imports: found.imports,
        exports,
        other_exports,
        manifest: manifest(&found.manifests)?,
        core_modules: found.core_modules,
        core_instances: found.makes.core,
    })
}

/// What stands in the outermost component.
#[derive(Default)]
struct Found<'a> {
    imports: Vec<String>,
    exports: Vec<String>,
    manifests: Vec<&'a [u8]>,
    core_modules: u32,
    makes: Makes,
    /// Whether it makes more than that.
    uncounted: bool,
}

fn read(wasm: &[u8]) -> Result<Found<'_>, UploadError> {
    let mut found = Found::default();
    let mut instances = InstanceCount::default();
    // 0 is nothing yet, 1 the outermost component.
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.map_err(damaged)?;
        instances.see(&payload).map_err(damaged)?;
        match payload {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => return Err(UploadError::CoreModule),
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ModuleSection { .. } => found.core_modules = found.core_modules.saturating_add(1),
            Payload::ComponentImportSection(imports) if depth == 1 => {
                for import in imports {
                    let import = import.map_err(damaged)?;
                    note(&mut found.imports, import.name.name)?;
                }
            }
            Payload::ComponentExportSection(exports) if depth == 1 => {
                for export in exports {
                    let export = export.map_err(damaged)?;
                    note(&mut found.exports, export.name.name)?;
                }
            }
            Payload::CustomSection(section) if depth == 1 && section.name() == MANIFEST_SECTION => {
                found.manifests.push(section.data());
            }
            _ => {}
        }
    }
    (found.makes, found.uncounted) = (instances.total(), instances.uncounted());
    Ok(found)
}

/// One more name. A few bytes of a component are a whole text here, so there is an end to it before anything is compared.
fn note(names: &mut Vec<String>, name: &str) -> Result<(), UploadError> {
    if names.len() == MOST_NAMES {
        return Err(UploadError::TooManyNames);
    }
    names.push(name.to_owned());
    Ok(())
}

fn damaged(fault: wasmparser::BinaryReaderError) -> UploadError {
    UploadError::Damaged { offset: fault.offset(), reason: clean(fault.message(), MAX_NAME) }
}

fn sort_exports(found: Vec<String>) -> Result<(Exports, Vec<String>), UploadError> {
    let exports = Exports::among(&found);
    if !exports.descriptor {
        let found = found.iter().take(MAX_LISTED).map(|name| clean(name, MAX_NAME)).collect();
        return Err(UploadError::WrongWorld { missing: Exports::interface("descriptor"), found });
    }
    let others = found.iter().filter(|name| !Exports::is_ours(name));
    Ok((exports, others.take(MAX_LISTED).map(|name| clean(name, MAX_NAME)).collect()))
}

fn manifest(sections: &[&[u8]]) -> Result<String, UploadError> {
    let [bytes] = sections else {
        return Err(match sections.first() {
            None => UploadError::NoManifest,
            Some(_) => UploadError::BadManifest { found: "stands there more than once" },
        });
    };
    if bytes.len() > MAX_MANIFEST {
        return Err(UploadError::BadManifest { found: "is too large" });
    }
    let text = std::str::from_utf8(bytes).map_err(|_| UploadError::BadManifest { found: "is not UTF-8" })?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    fn refused(wasm: &[u8]) -> UploadError {
        inspect_component(wasm, &UploadLimits::default()).unwrap_err()
    }

    fn component(text: &str) -> Vec<u8> {
        wat::parse_str(text).unwrap()
    }

    #[test]
    fn what_is_no_component_is_refused_by_name() {
        assert_eq!(refused(b""), UploadError::NotWasm { starts_with: String::new() });
        assert_eq!(refused(b"PK\x03\x04zip"), UploadError::NotWasm { starts_with: "50 4b 03 04".into() });
        assert_eq!(refused(&component("(module)")), UploadError::CoreModule);
        assert!(matches!(refused(b"\0asm"), UploadError::Damaged { .. }));
        assert!(matches!(refused(&[COMPONENT, &[0xff; 40]].concat()), UploadError::Damaged { .. }));
    }

    #[test]
    fn a_component_over_the_size_limit_is_not_even_parsed() {
        let limits = UploadLimits { component_bytes: 3, ..UploadLimits::default() };
        assert_eq!(inspect_component(b"????", &limits).unwrap_err(), UploadError::TooLarge { found: 4, limit: 3 });
    }

    #[test]
    fn another_world_is_refused_with_what_it_exports() {
        let found = refused(&component(r#"(component (instance $i) (export "wasi:cli/run@0.2.0" (instance $i)))"#));
        assert_eq!(
            found,
            UploadError::WrongWorld {
                missing: "bulkhead:connector/descriptor@0.1.0".into(),
                found: vec!["wasi:cli/run@0.2.0".into()]
            }
        );
    }

    fn with(imports: &str) -> Vec<u8> {
        component(&format!(
            r#"(component {imports} (instance $i) (export "bulkhead:connector/descriptor@0.1.0" (instance $i)))"#
        ))
    }

    /// Mutation: `note`, without `MOST_NAMES`.
    #[test]
    fn so_many_imports_are_read() {
        let imports: String = (0..=MOST_NAMES).map(|nth| format!(r#"(import "a{nth}" (instance))"#)).collect();
        assert_eq!(refused(&with(&imports)), UploadError::TooManyNames);
    }

    #[test]
    fn an_import_that_is_not_offered_is_refused_by_name() {
        let import = |name: &str| refused(&with(&format!(r#"(import "{name}" (instance))"#)));
        for name in ["wasi:http/incoming-handler@0.2.6", "env", "evil:thing/x", "wasi:clocks/wall-clock"] {
            assert!(matches!(import(name), UploadError::UnknownImport { name: found, .. } if found == name), "{name}");
        }
        let UploadError::UnknownImport { versions, .. } = import("wasi:clocks/wall-clock@0.3.0") else { panic!() };
        assert_eq!(versions, ["0.2.12"]);
        let UploadError::UnknownImport { versions, .. } = import("bulkhead:connector/http@0.2.0") else { panic!() };
        assert_eq!(versions, ["0.1.0"]);
    }

    #[test]
    fn every_release_of_an_offered_interface_passes() {
        let wasi = with(r#"(import "wasi:clocks/wall-clock@0.2.0" (instance))"#);
        assert_eq!(refused(&wasi), UploadError::NoManifest);
    }

    #[test]
    fn the_manifest_has_to_be_there_once_and_be_text() {
        let with_sections = |sections: &[&[u8]]| {
            let mut wasm = with("");
            for data in sections {
                let section = wasm_encoder::CustomSection { name: MANIFEST_SECTION.into(), data: (*data).into() };
                wasm_encoder::ComponentSection::append_to_component(&section, &mut wasm);
            }
            inspect_component(&wasm, &UploadLimits::default())
        };
        assert_eq!(with_sections(&[]).unwrap_err(), UploadError::NoManifest);
        assert!(matches!(with_sections(&[b"a", b"b"]), Err(UploadError::BadManifest { .. })));
        assert!(matches!(with_sections(&[b"\xff"]), Err(UploadError::BadManifest { .. })));
        assert!(matches!(with_sections(&[&vec![b'a'; MAX_MANIFEST + 1]]), Err(UploadError::BadManifest { .. })));
        let good = with_sections(&[b"[connector]"]).unwrap();
        assert_eq!(good.manifest, "[connector]");
        assert!(good.exports.descriptor && !good.exports.actions);
    }
}
