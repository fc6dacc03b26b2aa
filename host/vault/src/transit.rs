//! A keyring that an external key service guards: Vault's transit engine, or anything that speaks its HTTP API.
//!
//! The keys stand in the store, each encrypted by the service; a starting host has them decrypted and keeps them in
//! memory. So no secret waits for the network when it is sealed or opened, and the service sees neither secrets nor data
//! keys. It is asked again and again whether it still lets us ([`TransitKeys::hold`]): where it refuses the key that
//! seals, all keys are gone from memory at once; where it cannot be reached, after [`PATIENCE_MS`]. The root, from which
//! sub-keys are derived, stays as long as the process does: nothing that is sealed opens with it.
//!
//! Invariants: a key leaves the process only towards the service; a key that is not the one it stands for, whoever
//! exchanged it, is refused by its id (a hash of the key); one that is refused by itself takes no other with it.

use std::fmt;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bulkhead_manifest::SharedClock;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::aead::KEY_LENGTH;
use crate::error::VaultError;
use crate::provider::{KeyProvider, Later, Wrapped, WrappingKey};
use crate::random::random_key;
use crate::ring::{Ring, id_of};
use crate::secret::Secret;

/// How long keys are used while the service cannot be reached.
pub const PATIENCE_MS: u64 = 15 * 60_000;

/// The way to the service: POSTs JSON to a path and gives the status and the body of the answer. It adds the token. An
/// error is for people: why there is no answer.
pub trait Transport: Send + Sync {
    /// Sends one request.
    fn post<'a>(&'a self, path: String, body: Secret) -> Answered<'a>;
}

/// What a [`Transport`] takes its time for.
pub type Answered<'a> = std::pin::Pin<Box<dyn Future<Output = Result<(u16, Secret), String>> + Send + 'a>>;

/// The service, and the key there that guards ours.
pub struct Transit {
    transport: Box<dyn Transport>,
    mount: String,
    key: String,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    data: Data<'a>,
}

/// Borrowed, so that no copy of a key is left behind by the parser.
#[derive(Deserialize)]
struct Data<'a> {
    ciphertext: Option<&'a str>,
    plaintext: Option<&'a str>,
}

impl Transit {
    /// `mount` and `key` as the service names them.
    ///
    /// # Errors
    /// [`VaultError::ProviderRefused`] where one of them is no such name.
    pub fn new(transport: Box<dyn Transport>, mount: &str, key: &str) -> Result<Self, VaultError> {
        let is_name = |text: &str, more: &[u8]| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
        };
        if !is_name(mount, b"-_/") || !is_name(key, b"-_.") || [".", ".."].contains(&key) {
            let reason = "its mount or the name of its key has characters that no such name has".to_owned();
            return Err(VaultError::ProviderRefused { reason });
        }
        Ok(Self { transport, mount: mount.trim_matches('/').to_owned(), key: key.to_owned() })
    }

    async fn ask(&self, what: &str, field: &str, text: &str) -> Result<Secret, VaultError> {
        // What is sent is base64, or what the service gave: nothing to be escaped.
        let body = Secret::from_string(format!("{{\"{field}\":\"{text}\"}}"));
        let path = format!("/v1/{}/{what}/{}", self.mount, self.key);
        let unavailable = |reason| VaultError::ProviderUnavailable { reason };
        match self.transport.post(path, body).await.map_err(unavailable)? {
            (200, answer) => Ok(answer),
            (status @ (400 | 401 | 403 | 404), _) => {
                Err(VaultError::ProviderRefused { reason: format!("it answered `{what}` with status {status}") })
            }
            (status, _) => Err(unavailable(format!("it answered with status {status}"))),
        }
    }

    /// Encrypted by the service's newest key.
    async fn encrypt(&self, key: &Secret) -> Result<String, VaultError> {
        let text = Zeroizing::new(BASE64.encode(key.expose()));
        guarded(&self.ask("encrypt", "plaintext", &text).await?)
    }

    async fn decrypt(&self, guarded: &str) -> Result<Secret, VaultError> {
        let answer = self.ask("decrypt", "ciphertext", checked(guarded)?).await?;
        let text = parsed(&answer)?.plaintext.ok_or_else(not_understood)?;
        // Two bytes more than a key takes: the decoder asks for room in whole groups.
        let mut bytes = Zeroizing::new([0_u8; KEY_LENGTH + 2]);
        let length = BASE64.decode_slice(text, bytes.as_mut_slice()).map_err(|_| not_understood())?;
        match bytes.split_at_checked(length) {
            Some((key, _)) if length == KEY_LENGTH => Ok(Secret::new(key.to_vec())),
            _ => Err(not_understood()),
        }
    }

    /// The same key, encrypted by the service's newest key; the service alone sees it.
    async fn rewrap(&self, kept: &str) -> Result<String, VaultError> {
        guarded(&self.ask("rewrap", "ciphertext", checked(kept)?).await?)
    }

    async fn key(&self, key: &WrappingKey) -> Result<Secret, VaultError> {
        let kept = key.guarded.as_deref().ok_or_else(|| VaultError::UnknownKey { key_id: key.id.clone() })?;
        let opened = self.decrypt(kept).await?;
        if id_of(&opened) == key.id { Ok(opened) } else { Err(VaultError::Tampered) }
    }

    /// A root and a first key, for a database that holds nothing yet.
    ///
    /// # Errors
    /// The service's.
    pub async fn begin(&self) -> Result<[WrappingKey; 2], VaultError> {
        Ok([self.new_key().await?, self.new_key().await?])
    }

    async fn new_key(&self) -> Result<WrappingKey, VaultError> {
        let key = random_key();
        Ok(WrappingKey { id: id_of(&key), guarded: Some(self.encrypt(&key).await?) })
    }
}

fn parsed(answer: &Secret) -> Result<Data<'_>, VaultError> {
    // The parser's own message may quote the answer.
    serde_json::from_slice::<Answer<'_>>(answer.expose()).map(|answer| answer.data).map_err(|_| not_understood())
}

fn guarded(answer: &Secret) -> Result<String, VaultError> {
    checked(parsed(answer)?.ciphertext.ok_or_else(not_understood)?).map(str::to_owned)
}

/// `vault:v1:…`, and nothing that could end the text that it is put into.
fn checked(guarded: &str) -> Result<&str, VaultError> {
    const LONGEST: usize = 4_096;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b":+/=-_.".contains(&byte);
    if guarded.len() <= LONGEST && !guarded.is_empty() && guarded.bytes().all(plain) {
        Ok(guarded)
    } else {
        Err(not_understood())
    }
}

fn not_understood() -> VaultError {
    VaultError::ProviderRefused { reason: "its answer is not that of a transit engine".to_owned() }
}

/// Key-encryption keys that an external service guards.
pub struct TransitKeys {
    transit: Transit,
    clock: SharedClock,
    held: RwLock<Held>,
}

struct Held {
    ring: Ring,
    /// When the service last let us.
    let_ms: u64,
    /// Why the keys are gone from memory.
    gone: Option<String>,
}

impl TransitKeys {
    /// Has the root and the keys of a database decrypted.
    ///
    /// # Errors
    /// The service's. [`VaultError::UnknownKey`] where one of the keys is not guarded by a service at all.
    pub async fn open(
        transit: Transit,
        root: &WrappingKey,
        keys: &[WrappingKey],
        active: &str,
        clock: SharedClock,
    ) -> Result<Self, VaultError> {
        let root = transit.key(root).await?;
        let ring = Ring { active: String::new(), keys: Default::default(), root };
        let held = RwLock::new(Held { ring, let_ms: clock.now_ms(), gone: None });
        let opened = Self { transit, clock, held };
        opened.hold_all(keys, active).await?;
        Ok(opened)
    }

    /// The secret that sub-keys are derived from, whichever key is active.
    pub(crate) fn root(&self) -> Secret {
        self.held().ring.root()
    }

    fn held(&self) -> RwLockReadGuard<'_, Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn held_mut(&self) -> RwLockWriteGuard<'_, Held> {
        self.held.write().unwrap_or_else(PoisonError::into_inner)
    }

    async fn hold_all(&self, keys: &[WrappingKey], active: &str) -> Result<(), VaultError> {
        let asked = self.obtain(keys, active).await;
        let now_ms = self.clock.now_ms();
        let mut held = self.held_mut();
        match asked {
            Ok(Obtained { new, missing }) => {
                held.ring.keys.extend(new.into_iter().map(|key| (id_of(&key), key)));
                held.ring.keys.retain(|id, _| keys.iter().any(|key| key.id == *id));
                active.clone_into(&mut held.ring.active);
                (held.let_ms, held.gone) = (now_ms, None);
                missing.map_or(Ok(()), |key_id| Err(VaultError::UnknownKey { key_id }))
            }
            Err(error) => {
                let is_over = now_ms.saturating_sub(held.let_ms) >= PATIENCE_MS;
                if is_over || !matches!(error, VaultError::ProviderUnavailable { .. }) {
                    held.ring.keys.clear();
                    held.gone = Some(error.to_string());
                }
                Err(error)
            }
        }
    }

    /// Every key that is not at hand; and the active one in any case, to hear whether we may still have it.
    async fn obtain(&self, keys: &[WrappingKey], active: &str) -> Result<Obtained, VaultError> {
        let mut obtained = Obtained { new: Vec::new(), missing: None };
        for key in keys {
            let is_there = self.held().ring.keys.contains_key(&key.id);
            if is_there && key.id != active {
                continue;
            }
            match self.transit.key(key).await {
                Ok(new) => obtained.new.push(new),
                Err(error) if key.id == active || matches!(error, VaultError::ProviderUnavailable { .. }) => {
                    return Err(error);
                }
                Err(_) => obtained.missing = Some(key.id.clone()),
            }
        }
        Ok(obtained)
    }
}

/// What the service gave.
struct Obtained {
    new: Vec<Secret>,
    /// One that it did not.
    missing: Option<String>,
}

impl Held {
    fn ring(&self) -> Result<&Ring, VaultError> {
        match &self.gone {
            None => Ok(&self.ring),
            Some(reason) => Err(VaultError::ProviderUnavailable { reason: reason.clone() }),
        }
    }
}

impl KeyProvider for TransitKeys {
    fn wrap(&self, dek: &Secret, aad: &[u8]) -> Result<Wrapped, VaultError> {
        self.held().ring()?.wrap(dek, aad)
    }

    fn unwrap(&self, wrapped: &Wrapped, aad: &[u8]) -> Result<Secret, VaultError> {
        self.held().ring()?.unwrap(wrapped, aad)
    }

    fn active(&self) -> String {
        self.held().ring.active.clone()
    }

    fn make<'a>(&'a self, _: &'a [WrappingKey]) -> Later<'a, WrappingKey> {
        Box::pin(self.transit.new_key())
    }

    fn hold<'a>(&'a self, keys: &'a [WrappingKey], active: &'a str) -> Later<'a, ()> {
        Box::pin(self.hold_all(keys, active))
    }

    fn guard_anew<'a>(&'a self, key: &'a WrappingKey) -> Later<'a, Option<String>> {
        Box::pin(async move {
            match &key.guarded {
                Some(kept) => self.transit.rewrap(kept).await.map(Some),
                None => Ok(None),
            }
        })
    }

    /// What the store forgets is gone: nobody else has it.
    fn destroy<'a>(&'a self, id: &'a str) -> Later<'a, ()> {
        Box::pin(async move {
            self.held_mut().ring.keys.remove(id);
            Ok(())
        })
    }
}

impl fmt::Debug for TransitKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransitKeys").field("key", &self.transit.key).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
