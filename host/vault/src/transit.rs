//! A keyring that an external key service guards: Vault's transit engine, or anything that speaks its HTTP API.
//!
//! The keys stand in the store, each encrypted by the service; a starting host has them decrypted and keeps them in
//! memory. So no secret waits for the network when it is sealed or opened, and the service sees neither secrets nor data
//! keys. It is asked again and again whether it still lets us ([`TransitKeys::hold`]): where it refuses the key that
//! seals, all keys are gone from memory at once; where it cannot be reached, after [`PATIENCE_MS`]. The root, from which
//! sub-keys are derived, stays as long as the process does: nothing that is sealed opens with it.
//!
//! Invariants: a key leaves the process only towards the service; a key that is not the one it stands for, whoever
//! exchanged it, is refused by its id (a hash of the key); one that is refused, or not answered about, by itself takes no
//! other with it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bulkhead_manifest::SharedClock;
use futures::{StreamExt as _, stream};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::aead::KEY_LENGTH;
use crate::error::VaultError;
use crate::provider::{KeyProvider, Later, Wrapped, WrappingKey};
use crate::random::random_key;
use crate::ring::{Asked, Ring, id_of};
use crate::secret::Secret;

/// How long keys are used while the service cannot be reached.
pub const PATIENCE_MS: u64 = 15 * 60_000;
/// Keys that the service is asked about at once.
const AT_ONCE: usize = 8;

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

    async fn answered<'k>(&self, key: &'k WrappingKey) -> (&'k str, Result<Secret, VaultError>) {
        (&key.id, self.key(key).await)
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
    /// Keys that are not at hand, and whether that is because the service refused them: else it has not answered about them.
    missing: BTreeMap<String, bool>,
}

impl TransitKeys {
    /// Has the root and the keys of a database decrypted; `asked` as in [`KeyProvider::hold`].
    ///
    /// # Errors
    /// The service's. [`VaultError::UnknownKey`] where one of the keys is not guarded by a service at all.
    pub async fn open(
        transit: Transit,
        root: &WrappingKey,
        keys: &[WrappingKey],
        active: &str,
        asked: Asked,
        clock: SharedClock,
    ) -> Result<Self, VaultError> {
        let root = transit.key(root).await?;
        let ring = Ring { active: String::new(), keys: Default::default(), root, asked: asked.clone() };
        let held = Held { ring, let_ms: clock.now_ms(), gone: None, missing: BTreeMap::new() };
        let opened = Self { transit, clock, held: RwLock::new(held) };
        opened.hold_all(keys, active, asked).await?;
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

    async fn hold_all(&self, keys: &[WrappingKey], active: &str, asked: Asked) -> Result<(), VaultError> {
        // Before any other, and at hand or not: to hear whether we may still have it.
        if let Some(key) = keys.iter().find(|key| key.id == active) {
            let answered = self.transit.key(key).await;
            let mut held = self.held_mut();
            if held.ring.is_late(&asked) {
                return Ok(());
            }
            held.take_over(answered, keys, active, asked.clone(), self.clock.now_ms())?;
        }
        // Side by side: each that nothing is said about takes as long as the service may.
        let others = keys.iter().filter(|key| !self.held().ring.keys.contains_key(&key.id));
        let questions: Vec<_> = others.map(|key| self.transit.answered(key)).collect();
        let mut answers = stream::iter(questions).buffer_unordered(AT_ONCE);
        let mut missing = Ok(());
        while let Some((id, answered)) = answers.next().await {
            let mut held = self.held_mut();
            // What a newer one let go of does not come back.
            if held.ring.is_late(&asked) {
                return Ok(());
            }
            match answered {
                Ok(new) => {
                    held.missing.remove(id);
                    held.ring.keys.insert(id.to_owned(), new);
                }
                Err(VaultError::ProviderUnavailable { reason }) => {
                    let reason = format!("about the key {id}: {reason}");
                    missing = Err(VaultError::ProviderUnavailable { reason });
                }
                Err(_) => {
                    held.missing.insert(id.to_owned(), true);
                    missing = Err(VaultError::UnknownKey { key_id: id.to_owned() });
                }
            }
        }
        missing
    }
}

impl Held {
    /// What the service answered about the key that seals.
    fn take_over(
        &mut self,
        answered: Result<Secret, VaultError>,
        keys: &[WrappingKey],
        active: &str,
        asked: Asked,
        now_ms: u64,
    ) -> Result<(), VaultError> {
        // Whatever that was: where another key took over, the one before seals no more.
        self.ring.hold(keys, active, asked);
        let answered = match answered {
            Ok(key) => {
                self.ring.keys.insert(active.to_owned(), key);
                (self.let_ms, self.gone) = (now_ms, None);
                Ok(())
            }
            Err(error) => {
                let is_over = now_ms.saturating_sub(self.let_ms) >= PATIENCE_MS;
                if is_over || !matches!(error, VaultError::ProviderUnavailable { .. }) {
                    self.ring.keys.clear();
                    self.gone = Some(error.to_string());
                }
                Err(error)
            }
        };
        // What was refused is taken for refused until there is another answer.
        let mut before = std::mem::take(&mut self.missing);
        let missing = keys.iter().map(|key| key.id.clone()).filter(|id| !self.ring.keys.contains_key(id));
        self.missing = missing.map(|id| before.remove_entry(&id).unwrap_or((id, false))).collect();
        answered
    }

    fn ring(&self) -> Result<&Ring, VaultError> {
        match &self.gone {
            None => Ok(&self.ring),
            Some(reason) => Err(VaultError::ProviderUnavailable { reason: reason.clone() }),
        }
    }

    /// What is not at hand because nothing was said about it may be had yet.
    fn told(&self, error: VaultError) -> VaultError {
        match error {
            VaultError::UnknownKey { key_id } if self.missing.get(&key_id) == Some(&false) => {
                VaultError::ProviderUnavailable { reason: format!("it has not answered about the key {key_id}") }
            }
            error => error,
        }
    }
}

impl KeyProvider for TransitKeys {
    fn wrap(&self, dek: &Secret, aad: &[u8]) -> Result<Wrapped, VaultError> {
        let held = self.held();
        held.ring()?.wrap(dek, aad).map_err(|error| held.told(error))
    }

    fn unwrap(&self, wrapped: &Wrapped, aad: &[u8]) -> Result<Secret, VaultError> {
        let held = self.held();
        held.ring()?.unwrap(wrapped, aad).map_err(|error| held.told(error))
    }

    fn active(&self) -> String {
        self.held().ring.active.clone()
    }

    fn make<'a>(&'a self, _: &'a [WrappingKey]) -> Later<'a, WrappingKey> {
        Box::pin(self.transit.new_key())
    }

    fn hold<'a>(&'a self, keys: &'a [WrappingKey], active: &'a str, asked: Asked) -> Later<'a, ()> {
        Box::pin(self.hold_all(keys, active, asked))
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
