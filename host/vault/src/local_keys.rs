//! A keyring in a local file: the key provider that needs no other service.
//!
//! The file is JSON: the keys by id, which of them is active, and the fixed root that sub-keys are
//! derived from. A key's id is computed from the key, so a damaged key is noticed when the file is read
//! and not when the first secret fails to open.
//!
//! Invariants: the file is readable by its owner alone, from its first byte on; it is there whole or
//! not at all; a file that is lost or damaged is never silently made anew over an existing one. Of the
//! keys in it the active one seals, and each opens what it sealed.

mod file;

use std::collections::BTreeMap;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use self::file::{read, write_new};
use crate::aead;
use crate::error::VaultError;
use crate::mac::hmac_sha256_framed;
use crate::provider::{KeyProvider, Wrapped};
use crate::random::{random, random_key};
use crate::secret::Secret;

const SALT_LENGTH: usize = 16;

/// Key-encryption keys from a file.
#[derive(Debug)]
pub struct LocalKeys {
    ring: Ring,
}

/// The file's content.
#[derive(Debug)]
struct Ring {
    active: String,
    keys: BTreeMap<String, Secret>,
    root: Secret,
}

impl LocalKeys {
    /// Reads an existing key file. This is how to start where a database already holds sealed secrets.
    ///
    /// # Errors
    /// [`VaultError::KeyFileMissing`], [`VaultError::KeyFileAccess`], [`VaultError::KeyFileExposed`] or
    /// [`VaultError::KeyFileCorrupt`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, VaultError> {
        Ok(Self { ring: read(&path.into())? })
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
        Secret::new(self.ring.root.expose().to_vec())
    }
}

impl KeyProvider for LocalKeys {
    fn wrap(&self, dek: &Secret, aad: &[u8]) -> Result<Wrapped, VaultError> {
        let ring = &self.ring;
        let key = ring.keys.get(&ring.active).ok_or_else(|| VaultError::UnknownKey { key_id: ring.active.clone() })?;
        let salt = random::<SALT_LENGTH>();
        let encrypted = aead::encrypt(&wrapping_key(key, &salt), &wrap_data(aad, &ring.active), dek)?;
        Ok(Wrapped { key_id: ring.active.clone(), bytes: [salt.as_slice(), &encrypted].concat() })
    }

    fn unwrap(&self, wrapped: &Wrapped, aad: &[u8]) -> Result<Secret, VaultError> {
        let key = self
            .ring
            .keys
            .get(&wrapped.key_id)
            .ok_or_else(|| VaultError::UnknownKey { key_id: wrapped.key_id.clone() })?;
        let Some((salt, encrypted)) = wrapped.bytes.split_first_chunk::<SALT_LENGTH>() else {
            return Err(VaultError::Malformed { problem: "its wrapped data key is too short" });
        };
        aead::decrypt(&wrapping_key(key, salt), &wrap_data(aad, &wrapped.key_id), encrypted)
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

impl Ring {
    fn generate() -> Self {
        let mut ring = Self { active: String::new(), keys: BTreeMap::new(), root: random_key() };
        ring.add_active();
        ring
    }

    fn add_active(&mut self) {
        let key = random_key();
        self.active = id_of(&key);
        self.keys.insert(self.active.clone(), key);
    }
}

/// The first 64 bits of the key's hash: enough to tell keys apart and to notice a damaged one, and it
/// says nothing about a random key.
fn id_of(key: &Secret) -> String {
    let digest = Sha256::new().chain_update(b"bulkhead key id 1").chain_update(key.expose()).finalize();
    hex::encode(digest.iter().take(8).copied().collect::<Vec<u8>>())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;

    use super::file::{FORMAT, render};
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn names(folder: &tempfile::TempDir) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn put(path: &Path, text: &str) {
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    }

    #[test]
    fn a_new_key_file_is_for_its_owner_alone_and_leaves_nothing_beside_it() {
        let folder = folder();
        let path = folder.path().join("keys.json");
        LocalKeys::open_or_create(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(names(&folder), ["keys.json"]);
    }

    #[test]
    fn a_key_file_is_made_once_and_then_read() {
        let folder = folder();
        let path = folder.path().join("keys.json");
        let dek = random_key();
        let wrapped = LocalKeys::open_or_create(&path).unwrap().wrap(&dek, b"aad").unwrap();
        let again = LocalKeys::open_or_create(&path).unwrap();
        assert_eq!(again.unwrap(&wrapped, b"aad").unwrap().expose(), dek.expose());
    }

    /// With a rename in place of the link this fails: each would go on with keys that are not in the file.
    #[test]
    fn processes_that_start_together_end_up_with_the_same_keys() {
        let folder = folder();
        let path = folder.path().join("keys.json");
        let ids: Vec<String> = std::thread::scope(|scope| {
            let starts: Vec<_> =
                (0..8).map(|_| scope.spawn(|| LocalKeys::open_or_create(&path).unwrap().ring.active)).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        assert_eq!(names(&folder), ["keys.json"]);
    }

    /// With the mode check removed from `read` this fails.
    #[test]
    fn a_key_file_that_others_can_read_is_refused() {
        let folder = folder();
        let path = folder.path().join("keys.json");
        LocalKeys::open_or_create(&path).unwrap();
        for mode in [0o644, 0o640, 0o604, 0o660, 0o601, 0o620] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let error = LocalKeys::open_or_create(&path).unwrap_err();
            assert!(matches!(error, VaultError::KeyFileExposed { mode: found, .. } if found == mode), "{error}");
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
        for mode in [0o600, 0o400] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            LocalKeys::open(&path).unwrap();
        }
    }

    #[test]
    fn a_lost_key_file_says_what_to_do() {
        let folder = folder();
        let error = LocalKeys::open(folder.path().join("keys.json")).unwrap_err();
        assert!(matches!(error, VaultError::KeyFileMissing { .. }));
        assert!(error.to_string().contains("Restore it from your backup"), "{error}");
        assert!(names(&folder).is_empty());
    }

    #[test]
    fn a_key_file_that_cannot_be_read_or_written_says_so() {
        let folder = folder();
        let error = LocalKeys::open(folder.path()).unwrap_err();
        assert!(!matches!(error, VaultError::KeyFileCorrupt { .. } | VaultError::KeyFileMissing { .. }), "{error}");
        let error = LocalKeys::open_or_create(folder.path().join("missing/keys.json")).unwrap_err();
        assert!(matches!(error, VaultError::KeyFileAccess { doing: "written", .. }), "{error}");
    }

    #[test]
    fn a_damaged_key_file_is_refused_and_stays_as_it_is() {
        let folder = folder();
        let path = folder.path().join("keys.json");
        LocalKeys::open_or_create(&path).unwrap();
        let good = std::fs::read_to_string(&path).unwrap();
        let key_at = good.find("\"keys\"").unwrap() + 34;
        let mut swapped = good.clone().into_bytes();
        swapped[key_at] = if swapped[key_at] == b'A' { b'B' } else { b'A' };
        let damaged = [
            String::new(),
            "{}".into(),
            good[..good.len() / 2].into(),
            good.replace(FORMAT, "bulkhead-keyring-9"),
            good.replacen("\"active\": \"", "\"active\": \"0", 1),
            good.replacen("\": \"", "\": \"AAAA", 3),
            String::from_utf8(swapped).unwrap(),
        ];
        for text in &damaged {
            put(&path, text);
            let error = LocalKeys::open_or_create(&path).unwrap_err();
            assert!(matches!(error, VaultError::KeyFileCorrupt { .. }), "{error}\n{text}");
            assert!(error.to_string().contains("Restore it from your backup"), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), *text);
        }
        put(&path, &good);
        LocalKeys::open(&path).unwrap();
    }

    /// Mutation: `unwrap`, with the active key.
    #[test]
    fn each_of_several_keys_in_a_file_opens_what_it_sealed_and_the_active_one_seals() {
        let folder = folder();
        let path = folder.path().join("keys.json");
        let (mut ring, dek) = (Ring::generate(), random_key());
        write_new(&path, &ring).unwrap();
        let old = LocalKeys::open(&path).unwrap().wrap(&dek, b"").unwrap();
        ring.add_active();
        put(&path, std::str::from_utf8(&render(&ring)).unwrap());
        let keys = LocalKeys::open(&path).unwrap();
        let new = keys.wrap(&dek, b"").unwrap();
        assert_eq!((keys.ring.keys.len(), &new.key_id), (2, &ring.active));
        assert_ne!(old.key_id, new.key_id);
        for wrapped in [old, new] {
            assert_eq!(keys.unwrap(&wrapped, b"").unwrap().expose(), dek.expose());
        }
        assert_eq!(keys.root().expose(), ring.root.expose());
    }

    #[test]
    fn a_wrapped_key_opens_only_under_its_own_key_id_and_data() {
        let folder = folder();
        let keys = LocalKeys::open_or_create(folder.path().join("keys.json")).unwrap();
        let wrapped = keys.wrap(&random_key(), b"aad").unwrap();
        assert!(matches!(keys.unwrap(&wrapped, b"other"), Err(VaultError::Tampered)));
        for bit in 0..wrapped.bytes.len() * 8 {
            let mut damaged = wrapped.clone();
            damaged.bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(keys.unwrap(&damaged, b"aad").is_err(), "bit {bit}");
        }
        for length in 0..wrapped.bytes.len() {
            let cut = Wrapped { bytes: wrapped.bytes[..length].to_vec(), ..wrapped.clone() };
            assert!(keys.unwrap(&cut, b"aad").is_err(), "{length} bytes");
        }
    }

    #[test]
    fn debug_output_shows_no_key() {
        let folder = folder();
        let keys = LocalKeys::open_or_create(folder.path().join("keys.json")).unwrap();
        let shown = format!("{keys:?}");
        assert!(shown.contains("[secret]"), "{shown}");
        assert!(!shown.contains(&BASE64.encode(keys.root().expose())), "{shown}");
    }
}
