//! AES-256-GCM with the nonce in front: the one place that touches the cipher.
//!
//! Invariant: a nonce is random and never chosen by a caller. Keys used here are either used once
//! (data keys) or derived for one use (wrapping keys), so 96 random bits are enough.

use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::{Aes256Gcm, Nonce};

use crate::error::VaultError;
use crate::random::random;
use crate::secret::Secret;

/// Bytes of a key.
pub(crate) const KEY_LENGTH: usize = 32;
const NONCE_LENGTH: usize = 12;
const TAG_LENGTH: usize = 16;

/// nonce ‖ ciphertext ‖ tag.
pub(crate) fn encrypt(key: &Secret, aad: &[u8], plaintext: &Secret) -> Result<Vec<u8>, VaultError> {
    let nonce = random::<NONCE_LENGTH>();
    let sealed = cipher(key)?
        .encrypt(&Nonce::from(nonce), Payload { msg: plaintext.expose(), aad })
        .map_err(|_| VaultError::Malformed { problem: "the secret is too long to seal" })?;
    Ok([nonce.as_slice(), &sealed].concat())
}

/// Undoes [`encrypt`]; any changed bit, also of `aad`, is [`VaultError::Tampered`].
pub(crate) fn decrypt(key: &Secret, aad: &[u8], sealed: &[u8]) -> Result<Secret, VaultError> {
    let Some((nonce, ciphertext)) = sealed.split_first_chunk::<NONCE_LENGTH>() else {
        return Err(VaultError::Malformed { problem: "it is shorter than its nonce" });
    };
    if ciphertext.len() < TAG_LENGTH {
        return Err(VaultError::Malformed { problem: "it is shorter than its tag" });
    }
    cipher(key)?
        .decrypt(&Nonce::from(*nonce), Payload { msg: ciphertext, aad })
        .map(Secret::new)
        .map_err(|_| VaultError::Tampered)
}

fn cipher(key: &Secret) -> Result<Aes256Gcm, VaultError> {
    Aes256Gcm::new_from_slice(key.expose())
        .map_err(|_| VaultError::Malformed { problem: "its data key has the wrong length" })
}
