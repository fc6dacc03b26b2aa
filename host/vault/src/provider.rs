//! Where key-encryption keys live: the seam between the envelope and whatever guards the keys.
//!
//! Invariant: a provider only ever sees data keys, never what they encrypt.
//!
//! To add one (a cloud key service, a hardware module), implement [`KeyProvider`] and hand it to
//! [`Vault::new`](crate::Vault::new) together with a root secret that it keeps.

use crate::error::VaultError;
use crate::secret::Secret;

/// Wraps and unwraps data keys.
pub trait KeyProvider: Send + Sync {
    /// Encrypts a data key under the active key. `aad` and the key's id are authenticated with it.
    ///
    /// # Errors
    /// [`VaultError::ProviderUnavailable`] where it cannot now.
    fn wrap(&self, dek: &Secret, aad: &[u8]) -> Result<Wrapped, VaultError>;

    /// Decrypts a data key, under whichever key wrapped it.
    ///
    /// # Errors
    /// [`VaultError::UnknownKey`], [`VaultError::Tampered`] (also for another `aad`), or
    /// [`VaultError::ProviderUnavailable`].
    fn unwrap(&self, wrapped: &Wrapped, aad: &[u8]) -> Result<Secret, VaultError>;
}

/// A data key as its provider encrypted it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrapped {
    /// Which key wrapped it; at most 255 bytes.
    pub key_id: String,
    /// The provider's own bytes; at most 65,535.
    pub bytes: Vec<u8>,
}
