//! The keyring as bytes: read whole and checked, written whole or not at all.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::aead::KEY_LENGTH;
use crate::error::VaultError;
use crate::random::random;
use crate::ring::{Ring, id_of};
use crate::secret::Secret;

pub(super) const FORMAT: &str = "bulkhead-keyring-1";
const LARGEST_FILE: u64 = 1024 * 1024;
/// How long another process may be at it.
const PATIENCE: Duration = Duration::from_secs(10);

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

pub(super) fn read(path: &Path) -> Result<Ring, VaultError> {
    let failed = |source: std::io::Error| match source.kind() {
        ErrorKind::NotFound => VaultError::KeyFileMissing { path: path.to_owned() },
        _ => VaultError::KeyFileAccess { path: path.to_owned(), doing: "read", source },
    };
    let file = File::open(path).map_err(failed)?;
    // Asked of the open file, not of the path: what is checked is what is read.
    let facts = file.metadata().map_err(failed)?;
    if facts.is_dir() {
        return Err(VaultError::KeyFileIsFolder { path: path.to_owned() });
    }
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
    Ok(Ring::new(file.active.to_owned(), keys, parse_key(file.root.id, file.root.key)?))
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

/// Changes the keyring that is there, where `how` says that it did. Gives what there is then.
///
/// Of processes that do this at once one waits for the other; what came into the file otherwise is not written over.
pub(super) fn change(path: &Path, how: impl FnOnce(&mut Ring) -> bool) -> Result<Ring, VaultError> {
    let failed = |source| VaultError::KeyFileAccess { path: path.to_owned(), doing: "written", source };
    let before = lock(path, PATIENCE)?;
    let mut ring = read(path)?;
    if !how(&mut ring) {
        return Ok(ring);
    }
    let draft = draft_of(path);
    let written = write_draft(&draft, &ring).map_err(failed).and_then(|()| {
        if !is_still(&before, path).map_err(failed)? {
            return Err(VaultError::KeyFileChanged { path: path.to_owned() });
        }
        std::fs::rename(&draft, path).map_err(failed)
    });
    // After a success there is nothing to remove.
    let _ = std::fs::remove_file(&draft);
    written.and_then(|()| sync_folder(path).map_err(failed))?;
    Ok(ring)
}

/// Locks the file that is there. Whoever waited for the lock has that of a file that is gone, and tries again.
#[expect(clippy::disallowed_methods, reason = "whoever changes the file is on a thread that serves nobody")]
pub(super) fn lock(path: &Path, patience: Duration) -> Result<File, VaultError> {
    const BEAT: Duration = Duration::from_millis(10);
    let failed = |source| VaultError::KeyFileAccess { path: path.to_owned(), doing: "locked", source };
    let mut waited = Duration::ZERO;
    loop {
        let file = File::open(path).map_err(failed)?;
        if let Some(locked) = locked(file, path).map_err(failed)? {
            return Ok(locked);
        }
        if waited >= patience {
            return Err(failed(std::io::Error::new(ErrorKind::TimedOut, "another process has locked it")));
        }
        std::thread::sleep(BEAT);
        waited += BEAT;
    }
}

/// The file with its lock, unless somebody else has that, or the file is not the one that is there any more.
fn locked(file: File, path: &Path) -> std::io::Result<Option<File>> {
    match file.try_lock() {
        Ok(()) => Ok(is_still(&file, path)?.then_some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn is_still(locked: &File, path: &Path) -> std::io::Result<bool> {
    let (locked, there) = (locked.metadata()?, std::fs::metadata(path)?);
    Ok((locked.dev(), locked.ino()) == (there.dev(), there.ino()))
}

fn draft_of(path: &Path) -> PathBuf {
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}.draft", hex::encode(random::<8>())));
    PathBuf::from(draft)
}

/// Writes the keyring beside the path and then gives it that name, so that nobody ever sees a part of it. One that
/// another process made meanwhile stays.
pub(super) fn write_new(path: &Path, ring: &Ring) -> Result<(), VaultError> {
    let failed = |source| VaultError::KeyFileAccess { path: path.to_owned(), doing: "written", source };
    let draft = draft_of(path);
    // Unlike a rename, a link does not replace a file.
    let written = write_draft(&draft, ring).and_then(|()| match std::fs::hard_link(&draft, path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other,
    });
    // After a failure there may be nothing to remove.
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

pub(super) fn render(ring: &Ring) -> Zeroizing<Vec<u8>> {
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
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ring_at(path: &Path) -> Ring {
        let ring = Ring::generate();
        write_new(path, &ring).unwrap();
        ring
    }

    /// Mutation: `write_new`, a rename in place of the link.
    #[test]
    fn a_file_that_is_there_is_not_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let first = ring_at(&path);
        ring_at(&path);
        assert_eq!(read(&path).unwrap().active, first.active);
    }

    /// Whatever its mode: a folder whose mode is put right is no key file either.
    ///
    /// Mutation: `read`, without `is_dir`.
    #[test]
    fn a_folder_in_the_place_of_the_file_is_called_one() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o700, 0o755] {
            std::fs::set_permissions(folder.path(), Permissions::from_mode(mode)).unwrap();
            let error = read(folder.path()).err().unwrap();
            assert!(matches!(error, VaultError::KeyFileIsFolder { .. }), "{mode:o}: {error}");
            assert!(error.to_string().contains("is a folder"), "{error}");
        }
    }

    /// Mutation: `change`, without `lock`.
    #[test]
    fn who_changes_the_file_has_its_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        ring_at(&path);
        let mut others = None;
        change(&path, |_| {
            others = Some(locked(File::open(&path).unwrap(), &path).unwrap().is_some());
            false
        })
        .unwrap();
        assert_eq!(others, Some(false));
        assert!(locked(File::open(&path).unwrap(), &path).unwrap().is_some(), "and gives it back");
    }

    /// Mutation: `locked`, without `is_still`.
    #[test]
    fn the_lock_of_a_file_that_is_gone_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        ring_at(&path);
        let before = File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        ring_at(&path);
        assert!(locked(before, &path).unwrap().is_none());
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
}
