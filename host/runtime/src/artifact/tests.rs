#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::expect_used)]
use super::*;

const BODY: &[u8] = b"not really native code";

fn artifacts(dir: &Path, key: u8, compatibility: u8) -> Artifacts {
    let file = (HEADER + BODY.len()) as u64;
    Artifacts::open(dir.to_owned(), [key; 32], [compatibility; 32], Most { one: 1 << 20, all: 3 * file }).unwrap()
}

fn written(artifacts: &Artifacts, name: &[u8]) -> Digest {
    let digest = Digest::of(name);
    let mut unfinished = artifacts.begin(digest).unwrap();
    unfinished.push(&BODY[..5]).unwrap();
    unfinished.push(&BODY[5..]).unwrap();
    artifacts.finish(unfinished).unwrap();
    digest
}

#[test]
fn what_was_written_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let artifacts = artifacts(dir.path(), 1, 1);
    let digest = written(&artifacts, b"a");
    let sealed = artifacts.verified(&digest).unwrap();
    assert_eq!(std::fs::read(sealed.path()).unwrap(), BODY);
}

/// Mutation: `finish`, without `make_room` (nothing goes); `verified`, without `futimens` (the first goes);
/// `make_room`, without `sort`, or without sparing the newest.
#[test]
fn what_was_not_loaded_for_longest_makes_room() {
    let dir = tempfile::tempdir().unwrap();
    let artifacts = artifacts(dir.path(), 1, 1);
    let age = |digest: &Digest, seconds| {
        let file = File::options().write(true).open(artifacts.path(digest)).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
    };
    let [a, b, c] = [b"a", b"b", b"c"].map(|name| written(&artifacts, name));
    age(&a, 1);
    age(&b, 3);
    age(&c, 2);
    artifacts.verified(&a).unwrap();
    let there = |digest: &Digest| artifacts.path(digest).exists();
    // One that is no artifact stays, and does not count.
    std::fs::write(dir.path().join("other"), [0; 1024]).unwrap();
    let d = written(&artifacts, b"d");
    assert_eq!([&a, &b, &c, &d].map(there), [true, true, false, true]);
    // What has just come stays, though it is too much by itself.
    let most = Most { one: 1 << 20, all: 1 };
    let small = Artifacts::open(dir.path().to_owned(), [1; 32], [1; 32], most).unwrap();
    let e = written(&small, b"e");
    assert_eq!([&a, &b, &d, &e].map(there), [false, false, false, true]);
}

/// Mutation: `open`, another mode.
#[test]
fn nobody_else_reads_the_folder() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("artifacts");
    artifacts(&folder, 1, 1);
    assert_eq!(std::fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_sealed_artifact_cannot_be_changed() {
    let dir = tempfile::tempdir().unwrap();
    let artifacts = artifacts(dir.path(), 1, 1);
    let sealed = artifacts.verified(&written(&artifacts, b"a")).unwrap();
    // Fails if the seals are taken away: the file would be writable through its path.
    let again = File::options().write(true).open(sealed.path()).unwrap();
    assert!(again.write_at(b"x", 0).is_err());
    assert!(again.set_len(0).is_err());
}

#[test]
fn every_changed_byte_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let artifacts = artifacts(dir.path(), 1, 1);
    let digest = written(&artifacts, b"a");
    let path = artifacts.path(&digest);
    let good = std::fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(&path, bad).unwrap();
        let fault = artifacts.verified(&digest).err().expect("a changed artifact must not load");
        assert!(matches!(fault, ArtifactFault::Tampered { .. }), "byte {at}: {fault}");
    }
    for length in [0, HEADER - 1, good.len() - 1] {
        std::fs::write(&path, &good[..length]).unwrap();
        assert!(matches!(artifacts.verified(&digest), Err(ArtifactFault::Tampered { .. })), "{length} bytes");
    }
}

#[test]
fn another_components_artifact_does_not_pass_under_this_name() {
    let dir = tempfile::tempdir().unwrap();
    let artifacts = artifacts(dir.path(), 1, 1);
    let (mine, other) = (written(&artifacts, b"a"), written(&artifacts, b"b"));
    std::fs::rename(artifacts.path(&other), artifacts.path(&mine)).unwrap();
    assert!(matches!(artifacts.verified(&mine), Err(ArtifactFault::Tampered { .. })));
}

#[test]
fn an_artifact_under_another_key_is_no_artifact_of_ours() {
    let dir = tempfile::tempdir().unwrap();
    let digest = written(&artifacts(dir.path(), 1, 1), b"a");
    assert!(matches!(artifacts(dir.path(), 2, 1).verified(&digest), Err(ArtifactFault::Tampered { .. })));
}

#[test]
fn an_artifact_of_another_version_is_stale_and_a_missing_one_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let digest = written(&artifacts(dir.path(), 1, 1), b"a");
    let now = artifacts(dir.path(), 1, 2);
    assert!(matches!(now.verified(&digest), Err(ArtifactFault::Stale { .. })));
    assert!(matches!(now.verified(&Digest::of(b"never")), Err(ArtifactFault::Missing { .. })));
}

#[test]
fn a_link_in_place_of_an_artifact_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let artifacts = artifacts(dir.path(), 1, 1);
    let digest = written(&artifacts, b"a");
    let (path, moved) = (artifacts.path(&digest), dir.path().join("moved"));
    std::fs::rename(&path, &moved).unwrap();
    std::os::unix::fs::symlink(&moved, &path).unwrap();
    assert!(matches!(artifacts.verified(&digest), Err(ArtifactFault::Io(_))));
}

/// Mutations: `open`, without `remove_abandoned`; `remove_abandoned`, whatever its age, or whatever its name.
#[test]
fn what_a_compilation_left_that_never_ended_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let first = artifacts(dir.path(), 1, 1);
    let digest = written(&first, b"a");
    let (_under_way, left) = (first.begin(digest).unwrap(), first.begin(Digest::of(b"b")).unwrap());
    let (_, left) = left.file.keep().unwrap();
    let long_ago = std::fs::metadata(&left).unwrap().modified().unwrap() - 2 * ABANDONED;
    for path in [&left, &first.path(&digest)] {
        File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
    }
    let second = artifacts(dir.path(), 1, 1);
    assert!(!left.exists() && second.verified(&digest).is_ok());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "what is under way stays");
}

/// A pipe holds the pages as the kernel's own memory management does now and then.
///
/// Mutations: `forbid_changes`, `WRITE` in place of `FUTURE_WRITE`: "resource busy"; neither: it can be written.
#[test]
fn what_is_sealed_cannot_be_written_whoever_holds_its_pages() {
    let mut file = File::from(memfd_create("test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap());
    file.write_all(&[7; 8_192]).unwrap();
    let (_reader, writer) = io::pipe().unwrap();
    assert_eq!(rustix::fs::sendfile(&writer, &file, Some(&mut 0), 8_192).unwrap(), 8_192);
    forbid_changes(&file).unwrap();
    assert_eq!(file.write_at(&[8], 0).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    assert!(file.set_len(1).is_err());
}

/// Mutation: `open`, without `NotADirectory`.
#[test]
fn a_file_in_the_place_of_the_directory_is_called_one() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("artifacts");
    std::fs::write(&file, "a note").unwrap();
    let problem = Artifacts::open(file.clone(), [1; 32], [1; 32], Most { one: 1, all: 1 }).err().unwrap();
    let said = crate::StartError::Artifacts { dir: file.clone(), problem }.to_string();
    assert!(said.contains(&file.display().to_string()) && said.contains("it is a file"), "{said}");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "a note");
}
