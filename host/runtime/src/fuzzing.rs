//! Admission in one process, for fuzzing alone. The product compiles in another one, which limits itself, and maps what that
//! wrote where its MAC is right.

use std::sync::Arc;

use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use crate::compile::compiled;
use crate::config::{CompilerCommand, RuntimeConfig};
use crate::guest::GuestState;
use crate::loaded::{Linked, Loaded, refused};
use crate::{Digest, Exports, LoadError, capabilities, sandbox};

/// What [`Admission::compile`] wrote. Nothing else makes one: mapping anything else is not sound.
pub struct Artifact(Vec<u8>);

/// The compiling engine, and the serving one with all that it offers.
pub struct Admission {
    compiling: Engine,
    serving: Engine,
    linker: Linker<GuestState>,
}

impl Admission {
    /// Both engines, as the product has them.
    ///
    /// # Errors
    /// This machine has no compiler, or no room for one sandbox slot.
    pub fn new() -> wasmtime::Result<Self> {
        let compiler = CompilerCommand { program: "none".into(), args: Vec::new() };
        let settings = RuntimeConfig { slots: 1, ..RuntimeConfig::new("none", [0; 32], compiler) };
        let serving = sandbox::serving(&settings)?;
        Ok(Self { compiling: sandbox::compiling()?, linker: capabilities::linker(&serving)?, serving })
    }

    /// The artifact of a component, and the compiler's words where it does not take it.
    ///
    /// # Errors
    /// It is not valid, or wants what the product leaves out.
    pub fn compile(&self, wasm: &[u8]) -> Result<Artifact, String> {
        compiled(&self.compiling, wasm.to_vec()).map(Artifact).map_err(|fault| format!("{fault:#}"))
    }

    /// What a component can be asked, linked as for a run.
    ///
    /// # Errors
    /// It does not fit into a slot, or does not fit the contract.
    pub fn link(&self, wasm: &[u8], artifact: &Artifact) -> Result<Exports, LoadError> {
        let digest = Digest::of(wasm);
        // SAFETY: `compile` wrote it, and nobody has changed it since.
        let component = unsafe { Component::deserialize(&self.serving, &artifact.0) };
        let component = component.map_err(|fault| refused(digest, &fault))?;
        Linked::of(&component, &self.linker, digest, wasm.len() as u64).map(|linked| Loaded(Arc::new(linked)).exports())
    }
}
