//! A component ready to run: mapped, linked and type-checked once, instantiated afresh for every run.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};
use wasmtime::Engine;
use wasmtime::component::{Component, InstancePre, Linker};

use crate::artifact::{ArtifactFault, Sealed};
use crate::bindings::exports::bulkhead::connector::{account, actions, descriptor, streams, webhooks};
use crate::digest::Digest;
use crate::guest::GuestState;

const PACKAGE: &str = "bulkhead:connector/";
const VERSION: &str = "@0.1.0";
/// How many of somebody's runs of a component begin on the guests' threads after one that used up its slice elsewhere.
const RUNS_APART: u32 = 16;
/// Among so many numbers those who run a component share them, by chance. It costs two that share one nothing but time.
const RUNNERS: usize = 256;

/// Why a component cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// There is no artifact of it. Compile it, then load again.
    #[error("component {digest} is not compiled: compile it")]
    Missing {
        /// Of the component.
        digest: Digest,
    },
    /// The artifact is for another version of the host or another machine. Compile it again, then load again.
    #[error("component {digest} was compiled for another version of the host: compile it again")]
    Stale {
        /// Of the component.
        digest: Digest,
    },
    /// The artifact is not what this host wrote. It was not loaded.
    #[error(
        "the artifact of component {digest} is not what this host wrote ({what}): compile it again and find out who changed it"
    )]
    Tampered {
        /// Of the component.
        digest: Digest,
        /// What does not fit.
        what: &'static str,
    },
    /// It does not fit the contract: a type of an import or an export is another one.
    #[error("component {digest} does not fit the contract: {reason}; build it against the released WIT")]
    Contract {
        /// Of the component.
        digest: Digest,
        /// In the linker's words.
        reason: String,
    },
    /// It needs more of something than a sandbox slot has.
    #[error(
        "component {digest} does not fit into a sandbox slot: {reason}; link it into fewer modules, with smaller memories and tables"
    )]
    DoesNotFit {
        /// Of the component.
        digest: Digest,
        /// In the allocator's words.
        reason: String,
    },
    /// The artifact directory cannot be read, or a thread is gone.
    #[error("component {digest} cannot be read: {reason}")]
    Unreadable {
        /// Of the component.
        digest: Digest,
        /// For operators.
        reason: String,
    },
}

impl LoadError {
    pub(crate) fn of(digest: &Digest, fault: ArtifactFault) -> Self {
        match fault {
            ArtifactFault::Missing { digest } => Self::Missing { digest },
            ArtifactFault::Stale { digest } => Self::Stale { digest },
            ArtifactFault::Tampered { digest, what } => Self::Tampered { digest, what },
            ArtifactFault::Io(fault) => Self::Unreadable { digest: *digest, reason: fault.to_string() },
        }
    }
}

/// Which operations a component exports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exports {
    /// `describe`. A must.
    pub descriptor: bool,
    /// `check`.
    pub account: bool,
    /// `act`.
    pub actions: bool,
    /// `pull` and `push`.
    pub streams: bool,
    /// `receive`, `register` and `unregister`.
    pub webhooks: bool,
}

impl Exports {
    const ALL: [&'static str; 5] = ["descriptor", "account", "actions", "streams", "webhooks"];

    /// The full name of one of our interfaces.
    pub(crate) fn interface(name: &str) -> String {
        format!("{PACKAGE}{name}{VERSION}")
    }

    /// Whether it is one of our exports, in the version that is called here.
    pub(crate) fn is_ours(export: &str) -> bool {
        Self::ALL.iter().any(|name| Self::interface(name) == export)
    }

    pub(crate) fn among(exports: &[String]) -> Self {
        let has = |name| exports.contains(&Self::interface(name));
        Self {
            descriptor: has("descriptor"),
            account: has("account"),
            actions: has("actions"),
            streams: has("streams"),
            webhooks: has("webhooks"),
        }
    }
}

/// A component ready to run. Cheap to clone.
#[derive(Clone)]
pub struct Loaded(pub(crate) Arc<Linked>);

impl Loaded {
    /// Which component.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.0.digest
    }

    /// What it can be asked.
    #[must_use]
    pub fn exports(&self) -> Exports {
        Exports {
            descriptor: true,
            account: self.0.account.is_some(),
            actions: self.0.actions.is_some(),
            streams: self.0.streams.is_some(),
            webhooks: self.0.webhooks.is_some(),
        }
    }
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded").field("digest", &self.0.digest).field("exports", &self.exports()).finish()
    }
}

/// The component with its imports resolved and its exports found.
pub(crate) struct Linked {
    digest: Digest,
    /// What the cache weighs it by.
    pub(crate) bytes: u64,
    pub(crate) pre: InstancePre<GuestState>,
    pub(crate) descriptor: descriptor::GuestIndices,
    pub(crate) account: Option<account::GuestIndices>,
    pub(crate) actions: Option<actions::GuestIndices>,
    pub(crate) streams: Option<streams::GuestIndices>,
    pub(crate) webhooks: Option<webhooks::GuestIndices>,
    /// How many runs more are not to begin on the thread that asks, because one used up its slice there. Of each who runs
    /// it: what one makes it compute is no other's doing.
    apart: [AtomicU32; RUNNERS],
    runners: RandomState,
}

impl Linked {
    /// Maps a verified artifact and links it. Blocks: the file's pages are read here.
    pub(crate) fn link(
        engine: &Engine,
        linker: &Linker<GuestState>,
        digest: Digest,
        sealed: &Sealed,
    ) -> Result<Self, LoadError> {
        // SAFETY: the bytes are an artifact that this host's compiler wrote (the MAC says so), and they cannot change for
        // as long as the mapping lives (the seals say so).
        let component = unsafe { Component::deserialize_file(engine, sealed.path()) };
        let component = component.map_err(|fault| refused(digest, &fault))?;
        Self::of(&component, linker, digest, sealed.bytes)
    }

    /// Links it: every import is there, every export has the contract's types.
    pub(crate) fn of(
        component: &Component,
        linker: &Linker<GuestState>,
        digest: Digest,
        bytes: u64,
    ) -> Result<Self, LoadError> {
        let contract = |fault: wasmtime::Error| LoadError::Contract {
            digest,
            reason: crate::run_log::clean(&format!("{fault:#}"), 1_000),
        };
        let pre = linker.instantiate_pre(component).map_err(contract)?;
        let has = |name| component.get_export_index(None, Exports::interface(name)).is_some();
        Ok(Self {
            digest,
            bytes,
            descriptor: descriptor::GuestIndices::new(&pre).map_err(contract)?,
            account: has("account").then(|| account::GuestIndices::new(&pre)).transpose().map_err(contract)?,
            actions: has("actions").then(|| actions::GuestIndices::new(&pre)).transpose().map_err(contract)?,
            streams: has("streams").then(|| streams::GuestIndices::new(&pre)).transpose().map_err(contract)?,
            webhooks: has("webhooks").then(|| webhooks::GuestIndices::new(&pre)).transpose().map_err(contract)?,
            apart: [const { AtomicU32::new(0) }; RUNNERS],
            runners: RandomState::new(),
            pre,
        })
    }

    /// Whether a run may begin on the thread that asks for it: each may that comes after enough others which needed little.
    pub(crate) fn begins_here(&self, whose: u128) -> bool {
        let less = |left: u32| left.checked_sub(1);
        let apart = self.apart(whose);
        apart.is_none_or(|apart| apart.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_err())
    }

    /// A run needed more than a slice.
    pub(crate) fn overran(&self, whose: u128) {
        if let Some(apart) = self.apart(whose) {
            apart.store(RUNS_APART, Ordering::Relaxed);
        }
    }

    fn apart(&self, whose: u128) -> Option<&AtomicU32> {
        let place = self.runners.hash_one(whose) % RUNNERS as u64;
        self.apart.get(usize::try_from(place).ok()?)
    }
}

/// Why wasmtime does not take an authentic artifact.
pub(crate) fn refused(digest: Digest, fault: &wasmtime::Error) -> LoadError {
    let reason = crate::run_log::clean(&format!("{fault:#}"), 1_000);
    // The allocator has no typed error for it. Compiling again would not help, so it must not look stale.
    if reason.contains("pooling allocator") {
        return LoadError::DoesNotFit { digest, reason };
    }
    // Compiled on another kind of CPU, or by a build with other settings.
    tracing::warn!(%digest, %reason, "an authentic artifact is not for this engine");
    LoadError::Stale { digest }
}
