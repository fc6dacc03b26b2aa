//! Where key-encryption keys live: the seam between the envelope and whatever guards the keys.
//!
//! Invariant: a provider only ever sees data keys, never what they encrypt.
//!
//! Wrapping and unwrapping happen for every secret, inside transactions too, so they ask nobody: a provider has its keys
//! at hand. Getting hold of keys, making and destroying them may take a while, and each of those may be asked again.
//!
//! To add one (a cloud key service, a hardware module), implement [`KeyProvider`] and hand it to
//! [`Vault::new`](crate::Vault::new) together with a root secret that it keeps.

use std::pin::Pin;
use std::time::Duration;

use crate::error::VaultError;
use crate::ring::Asked;
use crate::secret::Secret;

/// How long a key wraps after it was asked whether it is the one that does: whoever does not hear of another that took over
/// wraps nothing by it for longer than that.
pub const SEALS_FOR: Duration = Duration::from_secs(120);

/// What a provider takes its time for.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, VaultError>> + Send + 'a>>;

/// Wraps and unwraps data keys, and looks after the keys that it does that with.
pub trait KeyProvider: Send + Sync {
    /// Encrypts a data key under the active key. `aad` and the key's id are authenticated with it.
    ///
    /// # Errors
    /// [`VaultError::UnknownKey`] where the active key is not at hand, [`VaultError::ProviderUnavailable`] where no key is, or
    /// where it was last asked longer than [`SEALS_FOR`] ago which one is active.
    fn wrap(&self, dek: &Secret, aad: &[u8]) -> Result<Wrapped, VaultError>;

    /// Decrypts a data key, under whichever key wrapped it.
    ///
    /// # Errors
    /// [`VaultError::UnknownKey`], [`VaultError::Tampered`] (also for another `aad`), or
    /// [`VaultError::ProviderUnavailable`].
    fn unwrap(&self, wrapped: &Wrapped, aad: &[u8]) -> Result<Secret, VaultError>;

    /// The id of the key that wraps.
    fn active(&self) -> String;

    /// Makes a key beside those `known` and keeps it. It wraps nothing before [`KeyProvider::hold`] says so.
    fn make<'a>(&'a self, known: &'a [WrappingKey]) -> Later<'a, WrappingKey>;

    /// Gets hold of these keys and lets go of all others; `active` is the one that wraps from now on, at hand or not, for
    /// [`SEALS_FOR`] from when that was `asked`. What was asked before the last changes nothing.
    /// [`VaultError::UnknownKey`] names one that is not to be had; the others are there all the same.
    fn hold<'a>(&'a self, keys: &'a [WrappingKey], active: &'a str, asked: Asked) -> Later<'a, ()>;

    /// A key as it is to be kept from now on, where whatever guards it has a newer key of its own.
    fn guard_anew<'a>(&'a self, key: &'a WrappingKey) -> Later<'a, Option<String>>;

    /// Destroys a key that nothing is sealed under. One that is gone already is no error.
    fn destroy<'a>(&'a self, id: &'a str) -> Later<'a, ()>;
}

/// A key as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappingKey {
    /// At most 255 bytes.
    pub id: String,
    /// The key itself, encrypted by an external provider; `None` where the provider keeps it elsewhere.
    pub guarded: Option<String>,
}

/// A data key as its provider encrypted it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrapped {
    /// Which key wrapped it; at most 255 bytes.
    pub key_id: String,
    /// The provider's own bytes; at most 65,535.
    pub bytes: Vec<u8>,
}
