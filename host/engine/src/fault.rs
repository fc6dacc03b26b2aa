//! What went wrong inside the host. Logged once where it is handled; its text never reaches a guest or a client.

use bulkhead_runtime::CompileError;
use bulkhead_store::StoreError;
use bulkhead_vault::VaultError;

/// A fault of the host itself.
#[derive(Debug, thiserror::Error)]
pub enum EngineFault {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Something in our own store does not have the shape that we gave it.
    #[error("{what} is damaged: {problem}")]
    Damaged { what: &'static str, problem: String },
    /// A fresh token could not be had now; the old one has ended.
    #[error("no fresh token for this connection: {problem}")]
    NoToken { problem: String },
    /// A provider does not accept an app of ours, or the app may not be used here: a person has to mend it.
    #[error("{problem}")]
    AppRefused { problem: String },
    /// jq cannot be evaluated on this node.
    #[error("mappings cannot be evaluated: {problem}")]
    NoMapping { problem: String },
    /// Every place in the sandbox, for checks or to compile is taken.
    #[error("the host is full")]
    Busy { retry_after_ms: u64 },
    /// An artifact could neither be loaded nor compiled again.
    #[error("component {digest} cannot be loaded: {problem}")]
    Unloadable { digest: String, problem: String },
}

impl EngineFault {
    /// For what we stored ourselves and can no longer read.
    pub(crate) fn damaged(what: &'static str, problem: impl std::fmt::Display) -> Self {
        Self::Damaged { what, problem: problem.to_string() }
    }

    /// Why a component of the host's own, or one that was accepted before, could not be compiled again: where it is only the
    /// moment, it is tried again in another.
    pub(crate) fn of_compiling(error: &CompileError, otherwise: impl FnOnce(String) -> Self) -> Self {
        match error.retry_after_ms() {
            Some(retry_after_ms) => Self::Busy { retry_after_ms },
            _ => otherwise(error.to_string()),
        }
    }

    /// Whether it is only that the thing does not exist, for this tenant.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_not_found())
    }
}

/// Reads JSON that we stored ourselves.
pub(crate) fn stored<T: serde::de::DeserializeOwned>(what: &'static str, json: &str) -> Result<T, EngineFault> {
    serde_json::from_str(json).map_err(|error| EngineFault::damaged(what, error))
}

/// Writes JSON of our own. Our types have text keys and finite numbers, so this cannot fail; an empty document stands
/// in rather than a panic.
pub(crate) fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mutation: `of_compiling`, always `otherwise`: whoever comes at a bad moment hears that the host lacks something.
    #[test]
    fn a_bad_moment_to_compile_is_no_lack() {
        let of = |error| EngineFault::of_compiling(&error, |problem| EngineFault::NoMapping { problem });
        let moment = of(CompileError::Starved { retry_after_ms: 7 });
        assert!(matches!(moment, EngineFault::Busy { retry_after_ms: 7 }), "{moment:?}");
        let lack = of(CompileError::Rejected { reason: "no component".to_owned() });
        assert!(matches!(&lack, EngineFault::NoMapping { problem } if problem.contains("no component")), "{lack:?}");
    }
}
