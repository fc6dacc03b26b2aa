//! The safe: the only code that touches keys and plaintext secrets.
//!
//! It seals secrets for the store ([`Vault`]), keeps the keys they are sealed under ([`LocalKeys`], [`TransitKeys`]),
//! derives the product's own sub-keys, makes random tokens ([`random`]), signs requests that leave ([`sign`]), and
//! checks the signatures of incoming webhooks ([`webhook`]).
//!
//! Invariant: plaintext exists only as a [`Secret`]; nothing here prints, logs or returns it otherwise.
//!
//! To add a key provider see [`KeyProvider`]; to add a webhook signature scheme, extend the manifest's
//! declarative scheme and [`webhook`], never with a provider's name.

mod aead;
pub mod assertion;
mod envelope;
mod error;
mod fields;
mod local_keys;
pub mod mac;
mod provider;
mod random;
mod ring;
mod secret;
pub mod sign;
mod transit;
pub mod webhook;

pub use envelope::{Context, LONGEST_HEAD, Rewrapped, Sealed, Vault};
pub use error::VaultError;
pub use fields::CredentialFields;
pub use local_keys::LocalKeys;
pub use provider::{KeyProvider, Later, SEALS_FOR, Wrapped, WrappingKey};
pub use random::{is_random_token, random, random_key, random_token};
pub use ring::Asked;
pub use secret::{NotText, Secret};
pub use transit::{Answered, PATIENCE_MS, Transit, TransitKeys, Transport};
