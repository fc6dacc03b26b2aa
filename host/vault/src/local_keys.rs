//! A keyring in a local file: the key provider that needs no other service.
//!
//! The file is JSON: the keys by id, which of them is active, and the fixed root that sub-keys are
//! derived from. A key's id is computed from the key, so a damaged key is noticed when the file is read
//! and not when the first secret fails to open.
//!
//! Invariants: the file is readable by its owner alone, from its first byte on; it is replaced whole
//! or not at all; a file that is lost or damaged is never silently made anew over an existing one; no
//! key ever leaves it, so what was sealed stays readable after every rotation.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::aead::{self, KEY_LENGTH};
use crate::error::VaultError;
use crate::mac::hmac_sha256_framed;
use crate::provider::{KeyProvider, Wrapped};
use crate::random::{random, random_key};
use crate::secret::Secret;

const FORMAT: &str = "bulkhead-keyring-1";
const LARGEST_FILE: u64 = 1024 * 1024;
const SALT_LENGTH: usize = 16;

/// Key-encryption keys from a file.
#[derive(Debug)]
pub struct LocalKeys {
    path: PathBuf,
    ring: RwLock<Ring>,
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
        let path = path.into();
        let ring = read(&path)?;
        Ok(Self { path, ring: RwLock::new(ring) })
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
                write(&path, &Ring::generate(), Replace::Never)?;
                Self::open(path)
            }
            other => other,
        }
    }

    /// Adds a new key and makes it the active one. Older keys stay, so that what they sealed opens
    /// until it is re-wrapped, and in backups after that.
    ///
    /// # Errors
    /// Those of [`LocalKeys::open`]; the keyring in use stays as it was.
    pub fn rotate(&self) -> Result<(), VaultError> {
        let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = read(&self.path)?;
        next.add_active();
        write(&self.path, &next, Replace::Always)?;
        *ring = next;
        Ok(())
    }

    /// Reads the file again, for keys that another process added.
    ///
    /// # Errors
    /// Those of [`LocalKeys::open`]; the keyring in use stays as it was.
    pub fn reload(&self) -> Result<(), VaultError> {
        let next = read(&self.path)?;
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }

    /// The id of the key that new secrets are wrapped under.
    pub fn active_key_id(&self) -> String {
        self.ring.read().unwrap_or_else(PoisonError::into_inner).active.clone()
    }

    /// The secret that sub-keys are derived from; rotation does not change it.
    pub(crate) fn root(&self) -> Secret {
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        Secret::new(ring.root.expose().to_vec())
    }
}

impl KeyProvider for LocalKeys {
    fn wrap(&self, dek: &Secret, aad: &[u8]) -> Result<Wrapped, VaultError> {
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        let key = ring.keys.get(&ring.active).ok_or_else(|| VaultError::UnknownKey { key_id: ring.active.clone() })?;
        let salt = random::<SALT_LENGTH>();
        let encrypted = aead::encrypt(&wrapping_key(key, &salt), &wrap_data(aad, &ring.active), dek)?;
        Ok(Wrapped { key_id: ring.active.clone(), bytes: [salt.as_slice(), &encrypted].concat() })
    }

    fn unwrap(&self, wrapped: &Wrapped, aad: &[u8]) -> Result<Secret, VaultError> {
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        let key =
            ring.keys.get(&wrapped.key_id).ok_or_else(|| VaultError::UnknownKey { key_id: wrapped.key_id.clone() })?;
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

/// The file as it is written. Borrowed, so that no copy of a key is left behind by the parser.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRing<'a> {
    format: &'a str,
    active: &'a str,
    #[serde(borrow)]
    keys: BTreeMap<&'a str, &'a str>,
    #[serde(borrow)]
    root: FileRoot<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRoot<'a> {
    id: &'a str,
    key: &'a str,
}

fn read(path: &Path) -> Result<Ring, VaultError> {
    let failed = |source: std::io::Error| match source.kind() {
        ErrorKind::NotFound => VaultError::KeyFileMissing { path: path.to_owned() },
        _ => VaultError::KeyFileAccess { path: path.to_owned(), doing: "read", source },
    };
    let file = File::open(path).map_err(failed)?;
    // Asked of the open file, not of the path: what is checked is what is read.
    let facts = file.metadata().map_err(failed)?;
    let mode = facts.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(VaultError::KeyFileExposed { path: path.to_owned(), mode });
    }
    // Sized ahead, so that growing does not leave copies of the keys in freed memory.
    let capacity = usize::try_from(facts.len().min(LARGEST_FILE)).unwrap_or_default() + 1;
    let mut text = Zeroizing::new(Vec::with_capacity(capacity));
    file.take(LARGEST_FILE).read_to_end(&mut text).map_err(failed)?;
    parse(&text).map_err(|problem| VaultError::KeyFileCorrupt { path: path.to_owned(), problem })
}

fn parse(text: &[u8]) -> Result<Ring, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    let file: FileRing<'_> = serde_json::from_slice(text).map_err(|_| "it is not the JSON of a keyring")?;
    if file.format != FORMAT {
        return Err("its format is not one this version of Bulkhead knows");
    }
    let mut keys = BTreeMap::new();
    for (id, encoded) in file.keys {
        keys.insert(id.to_owned(), parse_key(id, encoded)?);
    }
    if !keys.contains_key(file.active) {
        return Err("its active key is missing");
    }
    Ok(Ring { active: file.active.to_owned(), keys, root: parse_key(file.root.id, file.root.key)? })
}

fn parse_key(id: &str, encoded: &str) -> Result<Secret, &'static str> {
    // Two bytes more than a key takes: the decoder asks for room in whole groups.
    let mut bytes = Zeroizing::new([0_u8; KEY_LENGTH + 2]);
    let length =
        BASE64.decode_slice(encoded, bytes.as_mut_slice()).map_err(|_| "a key in it is not 256 bits in base64")?;
    let key = match bytes.split_at_checked(length) {
        Some((key, _)) if length == KEY_LENGTH => Secret::new(key.to_vec()),
        _ => return Err("a key in it is not 256 bits in base64"),
    };
    if id_of(&key) != id {
        return Err("a key in it does not fit its id");
    }
    Ok(key)
}

#[derive(Clone, Copy, PartialEq)]
enum Replace {
    Never,
    Always,
}

/// Writes the keyring beside the path and then moves it there, so that nobody ever sees a part of it.
fn write(path: &Path, ring: &Ring, replace: Replace) -> Result<(), VaultError> {
    let failed = |source| VaultError::KeyFileAccess { path: path.to_owned(), doing: "written", source };
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}.draft", hex::encode(random::<8>())));
    let draft = PathBuf::from(draft);
    let written = write_draft(&draft, ring).and_then(|()| match replace {
        Replace::Always => std::fs::rename(&draft, path),
        // Unlike a rename, a link does not replace a file that another process made meanwhile.
        Replace::Never => match std::fs::hard_link(&draft, path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            other => other,
        },
    });
    // After a rename it is gone already; after a failure there may be nothing to remove.
    let _ = std::fs::remove_file(&draft);
    written.and_then(|()| sync_folder(path)).map_err(failed)
}

fn write_draft(draft: &Path, ring: &Ring) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    // The process's umask can only have taken bits away; the owner needs both.
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(&render(ring))?;
    file.sync_all()
}

/// Without this the new name may be lost with the power although the bytes are on disk.
fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn render(ring: &Ring) -> Zeroizing<Vec<u8>> {
    // Ids are hexadecimal and keys base64: nothing here needs escaping. Sized ahead like the reader's.
    let mut text = Zeroizing::new(String::with_capacity(512 + 128 * ring.keys.len()));
    text.push_str(&format!("{{\n  \"format\": \"{FORMAT}\",\n  \"active\": \"{}\",\n  \"keys\": {{\n", ring.active));
    for (index, (id, key)) in ring.keys.iter().enumerate() {
        text.push_str(if index == 0 { "    \"" } else { ",\n    \"" });
        text.push_str(id);
        text.push_str("\": \"");
        BASE64.encode_string(key.expose(), &mut text);
        text.push('"');
    }
    text.push_str(&format!("\n  }},\n  \"root\": {{ \"id\": \"{}\", \"key\": \"", id_of(&ring.root)));
    BASE64.encode_string(ring.root.expose(), &mut text);
    text.push_str("\" }\n}\n");
    Zeroizing::new(std::mem::take(&mut *text).into_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
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

    /// With `Replace::Never` made a rename this fails: each would go on with keys that are not in the file.
    #[test]
    fn processes_that_start_together_end_up_with_the_same_keys() {
        let folder = folder();
        let path = folder.path().join("keys.json");
        let ids: Vec<String> = std::thread::scope(|scope| {
            let starts: Vec<_> =
                (0..8).map(|_| scope.spawn(|| LocalKeys::open_or_create(&path).unwrap().active_key_id())).collect();
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

    #[test]
    fn every_single_flipped_bit_in_a_key_is_noticed_when_the_file_is_read() {
        let ring = Ring::generate();
        let text = render(&ring).to_vec();
        for (id, key) in ring.keys.iter().map(|(id, key)| (id.as_str(), key)).chain([("root", &ring.root)]) {
            let encoded = BASE64.encode(key.expose());
            let at = text.windows(encoded.len()).position(|window| window == encoded.as_bytes()).unwrap();
            for bit in 0..encoded.len() * 8 {
                let mut damaged = text.clone();
                damaged[at + bit / 8] ^= 1 << (bit % 8);
                assert!(parse(&damaged).is_err(), "bit {bit} of {id}");
            }
        }
        assert!(parse(&text).is_ok());
    }

    #[test]
    fn rotation_adds_a_key_and_keeps_the_old_ones_and_the_root() {
        let folder = folder();
        let path = folder.path().join("keys.json");
        let keys = LocalKeys::open_or_create(&path).unwrap();
        let (first, root, dek) = (keys.active_key_id(), keys.root(), random_key());
        let old = keys.wrap(&dek, b"").unwrap();
        keys.rotate().unwrap();
        let new = keys.wrap(&dek, b"").unwrap();
        assert_ne!(keys.active_key_id(), first);
        assert_eq!((old.key_id.as_str(), new.key_id.as_str()), (first.as_str(), keys.active_key_id().as_str()));

        let reopened = LocalKeys::open(&path).unwrap();
        assert_eq!(reopened.root().expose(), root.expose());
        for wrapped in [old, new] {
            assert_eq!(reopened.unwrap(&wrapped, b"").unwrap().expose(), dek.expose());
        }
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(names(&folder), ["keys.json"]);
    }

    #[test]
    fn a_key_that_another_process_added_is_known_after_a_reload() {
        let folder = folder();
        let path = folder.path().join("keys.json");
        let (one, other) = (LocalKeys::open_or_create(&path).unwrap(), LocalKeys::open(&path).unwrap());
        one.rotate().unwrap();
        let wrapped = one.wrap(&random_key(), b"").unwrap();
        assert!(matches!(other.unwrap(&wrapped, b""), Err(VaultError::UnknownKey { .. })));
        other.reload().unwrap();
        other.unwrap(&wrapped, b"").unwrap();
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
