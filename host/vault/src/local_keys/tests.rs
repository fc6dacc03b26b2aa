#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bulkhead_manifest::SharedClock;
use bulkhead_manifest::clock::Clock;

use super::file::{FORMAT, lock, render};
use super::*;
use crate::provider::SEALS_FOR;
use crate::random::random_key;

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

fn at(at: Instant) -> Asked {
    Asked { at, wall: None }
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
            (0..8).map(|_| scope.spawn(|| LocalKeys::open_or_create(&path).unwrap().active())).collect();
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
        // Of this only blanks are read.
        " ".repeat(1 << 20) + &good,
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
    assert_eq!((keys.ring().keys.len(), &new.key_id), (2, &ring.active));
    assert_ne!(old.key_id, new.key_id);
    for wrapped in [old, new] {
        assert_eq!(keys.unwrap(&wrapped, b"").unwrap().expose(), dek.expose());
    }
    assert_eq!(keys.root().expose(), ring.root.expose());
}

fn known(ids: &[&String]) -> Vec<WrappingKey> {
    ids.iter().map(|id| WrappingKey { id: (*id).clone(), guarded: None }).collect()
}

/// Mutations: `make_beside`, make one whatever is active in the file; let the new one wrap at once; `change`, leave the
/// file as it is.
#[test]
fn a_key_is_made_beside_those_there_and_wraps_when_it_is_told_to() {
    let folder = folder();
    let path = folder.path().join("keys.json");
    let keys = LocalKeys::open_or_create(&path).unwrap();
    let root = keys.root();
    let first = keys.active();
    let second = keys.make_beside(&known(&[&first])).unwrap().id;
    assert_ne!(first, second);
    assert_eq!(keys.make_beside(&known(&[&first])).unwrap().id, second, "nobody has used it yet");
    assert_eq!(keys.active(), first);
    keys.hold_all(&known(&[&first, &second]), &second, at(now())).unwrap();
    let wrapped = keys.wrap(&random_key(), b"").unwrap();
    assert_eq!(wrapped.key_id, second);
    let again = LocalKeys::open(&path).unwrap();
    again.unwrap(&wrapped, b"").unwrap();
    assert_eq!((again.active(), again.root().expose()), (second, root.expose()));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(names(&folder), ["keys.json"]);
}

/// Mutations: `destroy_one`, the active one too; leave it in memory; leave it in the file.
#[test]
fn a_destroyed_key_is_gone_and_the_active_one_is_not_destroyed() {
    let folder = folder();
    let path = folder.path().join("keys.json");
    let keys = LocalKeys::open_or_create(&path).unwrap();
    let first = keys.active();
    let wrapped = keys.wrap(&random_key(), b"").unwrap();
    let second = keys.make_beside(&known(&[&first])).unwrap().id;
    keys.hold_all(&known(&[&first, &second]), &second, at(now())).unwrap();
    keys.destroy_one(&first).unwrap();
    keys.destroy_one(&first).unwrap();
    for keys in [&keys, &LocalKeys::open(&path).unwrap()] {
        assert!(matches!(keys.unwrap(&wrapped, b""), Err(VaultError::UnknownKey { key_id }) if key_id == first));
    }
    keys.destroy_one(&second).unwrap();
    assert_eq!(LocalKeys::open(&path).unwrap().active(), second);
}

/// Mutation: `hold_all`, without `retain`.
#[test]
fn a_node_lets_go_of_keys_that_are_known_no_more() {
    let folder = folder();
    let keys = LocalKeys::open_or_create(folder.path().join("keys.json")).unwrap();
    let first = keys.active();
    let second = keys.make_beside(&known(&[&first])).unwrap().id;
    keys.hold_all(&known(&[&second]), &second, at(now())).unwrap();
    assert_eq!(keys.ring().keys.keys().collect::<Vec<_>>(), [&second]);
}

/// Mutations: `LocalKeys::make`, at once; `lock`, for as long as it takes.
#[tokio::test]
async fn who_waits_for_the_file_keeps_nobody_else_and_does_not_wait_for_ever() {
    let folder = folder();
    let path = folder.path().join("keys.json");
    let keys = LocalKeys::open_or_create(&path).unwrap();
    let held = lock(&path, Duration::ZERO).unwrap();
    let error = lock(&path, Duration::ZERO).unwrap_err();
    assert!(error.to_string().contains("locked: another process has locked it"), "{error}");
    let known = known(&[&keys.active()]);
    let (made, ()) = tokio::join!(keys.make(&known), async { drop(held) });
    made.unwrap();
}

/// Mutation: `change`, without `is_still`.
#[test]
fn what_came_into_the_file_without_its_lock_is_not_written_over() {
    let folder = folder();
    let path = folder.path().join("keys.json");
    LocalKeys::open_or_create(&path).unwrap();
    let (other, mut put_back) = (folder.path().join("other.json"), String::new());
    LocalKeys::open_or_create(&other).unwrap();
    let changed = change(&path, |ring| {
        put_back = std::fs::read_to_string(&other).unwrap();
        std::fs::rename(&other, &path).unwrap();
        ring.add_active();
        true
    });
    assert!(matches!(changed, Err(VaultError::KeyFileChanged { .. })));
    assert_eq!((std::fs::read_to_string(&path).unwrap(), names(&folder)), (put_back, vec!["keys.json".to_owned()]));
}

/// Mutations: `unwrap`, without reading the file again; `hold_all` likewise; `read_again_sometimes`, each time.
#[test]
fn what_another_process_put_into_the_file_is_found_there() {
    let folder = folder();
    let path = folder.path().join("keys.json");
    let (one, other) = (LocalKeys::open_or_create(&path).unwrap(), LocalKeys::open(&path).unwrap());
    let first = one.active();
    let second = one.make_beside(&known(&[&first])).unwrap().id;
    one.hold_all(&known(&[&first, &second]), &second, at(now())).unwrap();
    let wrapped = one.wrap(&random_key(), b"").unwrap();
    assert!(other.unwrap(&wrapped, b"").is_err(), "it has just read the file");
    *other.read.lock().unwrap() -= READ_AGAIN;
    other.unwrap(&wrapped, b"").unwrap();
    let third = LocalKeys::open(&path).unwrap();
    let fourth = one.make_beside(&known(&[&first, &second])).unwrap().id;
    third.hold_all(&known(&[&first, &second, &fourth]), &fourth, at(now())).unwrap();
    assert_eq!(third.wrap(&random_key(), b"").unwrap().key_id, fourth);
}

/// Mutation: `hold_all`, go on with the key that was active.
#[test]
fn a_node_without_the_active_key_seals_nothing_and_says_which_it_lacks() {
    let folder = folder();
    let keys = LocalKeys::open_or_create(folder.path().join("keys.json")).unwrap();
    let (first, lost) = (keys.active(), "0123456789abcdef".to_owned());
    let wrapped = keys.wrap(&random_key(), b"").unwrap();
    let error = keys.hold_all(&known(&[&first, &lost]), &lost, at(now())).unwrap_err();
    assert!(error.to_string().contains(&lost) && error.to_string().contains("restore the key file"), "{error}");
    assert!(matches!(keys.wrap(&random_key(), b""), Err(VaultError::UnknownKey { key_id }) if key_id == lost));
    keys.unwrap(&wrapped, b"").unwrap();
}

/// Mutation: `hold_all`, end where the file cannot be read.
#[test]
fn a_node_that_cannot_read_the_file_seals_no_more_once_another_key_took_over() {
    let folder = folder();
    let path = folder.path().join("keys.json");
    let (one, other) = (LocalKeys::open_or_create(&path).unwrap(), LocalKeys::open(&path).unwrap());
    let first = one.active();
    let second = one.make_beside(&known(&[&first])).unwrap().id;
    put(&path, "{}");
    let keys = known(&[&first, &second]);
    other.hold_all(&keys, &first, at(now())).unwrap_err();
    let wrapped = other.wrap(&random_key(), b"").unwrap();
    let error = other.hold_all(&keys, &second, at(now())).unwrap_err();
    assert!(matches!(error, VaultError::KeyFileCorrupt { .. }), "{error}");
    assert!(matches!(other.wrap(&random_key(), b""), Err(VaultError::UnknownKey { key_id }) if key_id == second));
    other.unwrap(&wrapped, b"").unwrap();
}

/// Mutations: host/vault/src/ring.rs, `wrap`, however long ago it was asked; `hold`, whoever asked first.
#[test]
fn a_key_seals_only_for_a_while_after_it_was_asked_whether_it_does() {
    let folder = folder();
    let keys = LocalKeys::open_or_create(folder.path().join("keys.json")).unwrap();
    let (first, asked) = (keys.active(), now());
    let wrap = || keys.wrap(&random_key(), b"");
    keys.ring_mut().asked.at = asked - SEALS_FOR / 2;
    let wrapped = wrap().unwrap();
    keys.ring_mut().asked.at = asked - SEALS_FOR;
    let error = wrap().unwrap_err();
    assert!(matches!(&error, VaultError::ProviderUnavailable { reason } if reason.contains("120 s ago")), "{error}");
    keys.unwrap(&wrapped, b"").unwrap();
    // Another took over; and who had asked before hears of it after that.
    let second = keys.make_beside(&known(&[&first])).unwrap().id;
    keys.hold_all(&known(&[&first, &second]), &second, at(asked)).unwrap();
    keys.hold_all(&known(&[&first]), &first, at(asked - SEALS_FOR / 2)).unwrap();
    assert_eq!(wrap().unwrap().key_id, second);
}

/// What the machine's clock says, set by hand.
#[derive(Default)]
struct Hand(AtomicU64);

impl Clock for Hand {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Mutations: host/vault/src/ring.rs, `age`, by the one clock alone; only where the other was set ahead.
#[test]
fn a_machine_that_slept_seals_nothing_before_it_asked_again() {
    let folder = folder();
    let keys = LocalKeys::open_or_create(folder.path().join("keys.json")).unwrap();
    let (first, hand, seals_for) =
        (keys.active(), Arc::<Hand>::default(), u64::try_from(SEALS_FOR.as_millis()).unwrap());
    let clock: SharedClock = hand.clone();
    hand.0.store(2 * seals_for, Ordering::Relaxed);
    keys.hold_all(&known(&[&first]), &first, Asked::now(&clock)).unwrap();
    for (now_ms, seals) in
        [(seals_for, false), (seals_for + 1, true), (3 * seals_for - 1, true), (3 * seals_for, false)]
    {
        hand.0.store(now_ms, Ordering::Relaxed);
        assert_eq!(keys.wrap(&random_key(), b"").is_ok(), seals, "{now_ms}");
    }
    keys.hold_all(&known(&[&first]), &first, Asked::now(&clock)).unwrap();
    keys.wrap(&random_key(), b"").unwrap();
}

/// Mutations: `change`, without `lock`; `lock`, without `is_still`.
#[test]
fn of_processes_that_change_the_file_at_once_none_undoes_what_another_did() {
    let folder = folder();
    let path = folder.path().join("keys.json");
    LocalKeys::open_or_create(&path).unwrap();
    let made: Vec<String> = std::thread::scope(|scope| {
        let make = || {
            let ring = change(&path, |ring| {
                ring.add_active();
                true
            });
            ring.unwrap().active
        };
        let makers: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
        makers.into_iter().map(|maker| maker.join().unwrap()).collect()
    });
    let there = read(&path).unwrap();
    assert!(made.iter().all(|id| there.keys.contains_key(id)), "{made:?}");
    assert_eq!((there.keys.len(), names(&folder)), (9, vec!["keys.json".to_owned()]));
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
