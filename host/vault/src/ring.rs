//! Keys at hand, and how they wrap: what every provider does that has its keys in memory.
//!
//! A key's id is computed from the key, so a damaged or exchanged one is noticed when it is read and not when the first
//! secret fails to open.
//!
//! Invariant: a key wraps only for [`SEALS_FOR`] after it was asked whether it is the active one, also on a machine that
//! slept meanwhile.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use bulkhead_manifest::SharedClock;
use sha2::{Digest as _, Sha256};

use crate::aead;
use crate::error::VaultError;
use crate::mac::hmac_sha256_framed;
use crate::provider::{SEALS_FOR, Wrapped, WrappingKey};
use crate::random::{random, random_key};
use crate::secret::Secret;

const SALT_LENGTH: usize = 16;

/// Keys by id, which of them wraps, and the fixed root that sub-keys are derived from.
#[derive(Debug)]
pub(crate) struct Ring {
    pub(crate) active: String,
    pub(crate) keys: BTreeMap<String, Secret>,
    pub(crate) root: Secret,
    /// When it was asked which key is active.
    pub(crate) asked: Asked,
}

/// When it was asked which key seals: by a clock that nobody sets, and by one that goes on while the machine sleeps.
#[derive(Clone)]
pub struct Asked {
    pub(crate) at: Instant,
    /// None where nobody was asked yet: a key file was only just read.
    pub(crate) wall: Option<(SharedClock, u64)>,
}

impl Asked {
    /// For whoever is about to ask.
    pub fn now(clock: &SharedClock) -> Self {
        Self { at: now(), wall: Some((clock.clone(), clock.now_ms())) }
    }

    /// The longer one, and of a clock that was set back as much as of one that was set ahead.
    fn age(&self) -> Duration {
        let wall_ms = self.wall.as_ref().map_or(0, |(clock, at_ms)| clock.now_ms().abs_diff(*at_ms));
        self.at.elapsed().max(Duration::from_millis(wall_ms))
    }
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ago", self.age())
    }
}

impl Ring {
    pub(crate) fn new(active: String, keys: BTreeMap<String, Secret>, root: Secret) -> Self {
        Self { active, keys, root, asked: Asked { at: now(), wall: None } }
    }

    pub(crate) fn generate() -> Self {
        let mut ring = Self::new(String::new(), BTreeMap::new(), random_key());
        ring.add_active();
        ring
    }

    pub(crate) fn add_active(&mut self) {
        let key = random_key();
        self.active = id_of(&key);
        self.keys.insert(self.active.clone(), key);
    }

    /// Of two who asked, who asked first may hear last.
    pub(crate) fn is_late(&self, asked: &Asked) -> bool {
        asked.at < self.asked.at
    }

    /// Lets go of all but these keys, and lets this one wrap from now on, at hand or not.
    pub(crate) fn hold(&mut self, keys: &[WrappingKey], active: &str, asked: Asked) {
        if self.is_late(&asked) {
            return;
        }
        self.asked = asked;
        active.clone_into(&mut self.active);
        self.keys.retain(|id, _| keys.iter().any(|key| key.id == *id));
    }

    /// Under the active key.
    pub(crate) fn wrap(&self, dek: &Secret, aad: &[u8]) -> Result<Wrapped, VaultError> {
        let age = self.asked.age();
        if age >= SEALS_FOR {
            let reason =
                format!("which key seals was last heard {} s ago, and another may have taken over", age.as_secs());
            return Err(VaultError::ProviderUnavailable { reason });
        }
        let key = self.key(&self.active)?;
        let salt = random::<SALT_LENGTH>();
        let encrypted = aead::encrypt(&wrapping_key(key, &salt), &wrap_data(aad, &self.active), dek)?;
        Ok(Wrapped { key_id: self.active.clone(), bytes: [salt.as_slice(), &encrypted].concat() })
    }

    pub(crate) fn unwrap(&self, wrapped: &Wrapped, aad: &[u8]) -> Result<Secret, VaultError> {
        let key = self.key(&wrapped.key_id)?;
        let Some((salt, encrypted)) = wrapped.bytes.split_first_chunk::<SALT_LENGTH>() else {
            return Err(VaultError::Malformed { problem: "its wrapped data key is too short" });
        };
        aead::decrypt(&wrapping_key(key, salt), &wrap_data(aad, &wrapped.key_id), encrypted)
    }

    fn key(&self, id: &str) -> Result<&Secret, VaultError> {
        self.keys.get(id).ok_or_else(|| VaultError::UnknownKey { key_id: id.to_owned() })
    }

    /// A copy of the root, for whoever derives from it.
    pub(crate) fn root(&self) -> Secret {
        Secret::new(self.root.expose().to_vec())
    }
}

/// A key for one wrap alone. A single key may take only 2³² random nonces before one is likely to
/// repeat, which a busy journal reaches within months; with a key of its own for each wrap there is
/// no such count to watch.
fn wrapping_key(key: &Secret, salt: &[u8; SALT_LENGTH]) -> Secret {
    Secret::from_array(hmac_sha256_framed(key, &[b"bulkhead wrapping key 1", salt]))
}

/// The caller's associated data and the key's id, each behind its length.
fn wrap_data(aad: &[u8], key_id: &str) -> Vec<u8> {
    let mut data = Vec::with_capacity(16 + aad.len() + key_id.len());
    for part in [aad, key_id.as_bytes()] {
        data.extend_from_slice(&(part.len() as u64).to_be_bytes());
        data.extend_from_slice(part);
    }
    data
}

/// How long ago something was is nothing that a clock alone decides which somebody may set.
#[allow(clippy::disallowed_methods)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The first 64 bits of the key's hash: enough to tell keys apart and to notice a damaged one, and it
/// says nothing about a random key.
pub(crate) fn id_of(key: &Secret) -> String {
    let digest = Sha256::new().chain_update(b"bulkhead key id 1").chain_update(key.expose()).finalize();
    hex::encode(digest.iter().take(8).copied().collect::<Vec<u8>>())
}
