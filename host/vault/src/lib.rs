//! The safe: the only code that touches keys and plaintext secrets.
//!
//! It seals secrets for the store ([`Vault`]), keeps the keys they are sealed under ([`LocalKeys`]),
//! derives the product's own sub-keys, makes random tokens ([`random`]), and checks the signatures of
//! incoming webhooks ([`webhook`]).
//!
//! Invariant: plaintext exists only as a [`Secret`]; nothing here prints, logs or returns it otherwise.
//!
//! To add a key provider see [`KeyProvider`]; to add a webhook signature scheme, extend the manifest's
//! declarative scheme and [`webhook`], never with a provider's name.

mod aead;
mod envelope;
mod error;
mod fields;
mod local_keys;
pub mod mac;
mod provider;
mod random;
mod secret;
pub mod webhook;

pub use envelope::{Context, Sealed, Vault};
pub use error::VaultError;
pub use fields::CredentialFields;
pub use local_keys::LocalKeys;
pub use provider::{KeyProvider, Wrapped};
pub use random::{random, random_key, random_token};
pub use secret::{NotText, Secret};
