//! A keyring in a local file: the key provider that needs no other service.
//!
//! The file is JSON: the keys by id, which of them was made last, and the fixed root that sub-keys are derived from.
//!
//! Invariants: the file is readable by its owner alone, from its first byte on; it is there whole or
//! not at all; a file that is lost or damaged is never silently made anew over an existing one, and of two processes
//! that change it at once neither undoes what the other did. Of the keys in it the active one seals, and each opens what
//! it sealed. Who makes, gets hold of or destroys keys waits for the disk on a thread that serves nobody.

mod file;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use self::file::{change, read, write_new};
use crate::error::VaultError;
use crate::provider::{KeyProvider, Later, Wrapped, WrappingKey};
use crate::ring::{Asked, Ring, now};
use crate::secret::Secret;

/// How often the file is read again for the sake of a key that is not at hand.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// Key-encryption keys from a file. Cheap to clone: all clones have the same keys.
#[derive(Debug, Clone)]
pub struct LocalKeys {
    path: Arc<Path>,
    ring: Arc<RwLock<Ring>>,
    read: Arc<Mutex<Instant>>,
}

impl LocalKeys {
    /// Reads an existing key file. This is how to start where a database already holds sealed secrets.
    ///
    /// # Errors
    /// [`VaultError::KeyFileMissing`], [`VaultError::KeyFileAccess`], [`VaultError::KeyFileIsFolder`],
    /// [`VaultError::KeyFileExposed`] or [`VaultError::KeyFileCorrupt`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, VaultError> {
        let path = path.into();
        let ring = RwLock::new(read(&path)?);
        Ok(Self { path: path.into(), ring: Arc::new(ring), read: Arc::new(Mutex::new(now())) })
    }

    /// Reads the key file, or makes one where there is none. Of several processes that do this at
    /// once, one makes it and all use it.
    ///
    /// # Errors
    /// Those of [`LocalKeys::open`] except that it may be missing.
    pub fn open_or_create(path: impl Into<PathBuf>) -> Result<Self, VaultError> {
        let path = path.into();
        match Self::open(&path) {
            Err(VaultError::KeyFileMissing { .. }) => {
                write_new(&path, &Ring::generate())?;
                Self::open(path)
            }
            other => other,
        }
    }

    /// The secret that sub-keys are derived from, whichever key is active.
    pub(crate) fn root(&self) -> Secret {
        self.ring().root()
    }

    fn ring(&self) -> RwLockReadGuard<'_, Ring> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring_mut(&self) -> RwLockWriteGuard<'_, Ring> {
        self.ring.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up what another process has put into the file since.
    fn read_again(&self) -> Result<(), VaultError> {
        let there = read(&self.path)?;
        self.ring_mut().keys.extend(there.keys);
        Ok(())
    }

    /// The same, for whoever meets a key that is not at hand; but a forged secret does not make a file be read each time.
    fn read_again_sometimes(&self) -> Result<(), VaultError> {
        {
            let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            if read.elapsed() < READ_AGAIN {
                return Ok(());
            }
            *read = now();
        }
        self.read_again()
    }

    fn make_beside(&self, known: &[WrappingKey]) -> Result<WrappingKey, VaultError> {
        // One that was made and came to nothing is used up first.
        let ring = change(&self.path, |ring| {
            let is_used = known.iter().any(|key| key.id == ring.active);
            if is_used {
                ring.add_active();
            }
            is_used
        })?;
        let id = ring.active.clone();
        self.ring_mut().keys.extend(ring.keys);
        Ok(WrappingKey { id, guarded: None })
    }

    fn hold_all(&self, keys: &[WrappingKey], active: &str, asked: Asked) -> Result<(), VaultError> {
        // The active one before any other: without it nothing can be sealed.
        let mut ids: Vec<&str> = keys.iter().map(|key| key.id.as_str()).collect();
        ids.sort_by_key(|id| *id != active);
        let missing = |ring: &Ring| ids.iter().find(|id| !ring.keys.contains_key(**id)).map(|id| (*id).to_owned());
        let is_missing = missing(&self.ring()).is_some();
        let read = if is_missing { self.read_again() } else { Ok(()) };
        let mut ring = self.ring_mut();
        // Also where the file cannot be read: another key took over, and the one before seals no more.
        ring.hold(keys, active, asked);
        read?;
        missing(&ring).map_or(Ok(()), |key_id| Err(VaultError::UnknownKey { key_id }))
    }

    fn destroy_one(&self, id: &str) -> Result<(), VaultError> {
        change(&self.path, |ring| ring.active != id && ring.keys.remove(id).is_some())?;
        self.ring_mut().keys.remove(id);
        Ok(())
    }
}

impl KeyProvider for LocalKeys {
    fn wrap(&self, dek: &Secret, aad: &[u8]) -> Result<Wrapped, VaultError> {
        self.ring().wrap(dek, aad)
    }

    fn unwrap(&self, wrapped: &Wrapped, aad: &[u8]) -> Result<Secret, VaultError> {
        let opened = self.ring().unwrap(wrapped, aad);
        match opened {
            Err(VaultError::UnknownKey { .. }) => {
                self.read_again_sometimes()?;
                self.ring().unwrap(wrapped, aad)
            }
            opened => opened,
        }
    }

    fn active(&self) -> String {
        self.ring().active.clone()
    }

    fn make<'a>(&'a self, known: &'a [WrappingKey]) -> Later<'a, WrappingKey> {
        let (keys, known) = (self.clone(), known.to_vec());
        aside(move || keys.make_beside(&known))
    }

    fn hold<'a>(&'a self, keys: &'a [WrappingKey], active: &'a str, asked: Asked) -> Later<'a, ()> {
        let (held, keys, active) = (self.clone(), keys.to_vec(), active.to_owned());
        aside(move || held.hold_all(&keys, &active, asked))
    }

    fn guard_anew<'a>(&'a self, _: &'a WrappingKey) -> Later<'a, Option<String>> {
        Box::pin(async { Ok(None) })
    }

    fn destroy<'a>(&'a self, id: &'a str) -> Later<'a, ()> {
        let (keys, id) = (self.clone(), id.to_owned());
        aside(move || keys.destroy_one(&id))
    }
}

/// On a thread that serves nobody.
fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T, VaultError> + Send + 'static) -> Later<'static, T> {
    let broken_off = |_| VaultError::ProviderUnavailable { reason: "work on the key file was broken off".to_owned() };
    Box::pin(async move { tokio::task::spawn_blocking(work).await.map_err(broken_off)? })
}

#[cfg(test)]
mod tests;
