//! Compiled components on disk: authenticated files, mapped only through a sealed copy.
//!
//! An artifact is native code: whoever can change one runs code in this process. So each carries an HMAC-SHA256 under a
//! key that no uploader can reach, over `magic ‖ digest ‖ compatibility ‖ body ‖ length`, and is never mapped where it
//! lies: it is copied into an anonymous file that is sealed against every change *before* it is verified, and that is
//! what wasmtime maps. Between the check and the use there is nothing left to swap.
//!
//! On disk: magic (4) ‖ digest (32) ‖ compatibility (32) ‖ length, big-endian (8) ‖ MAC (32) ‖ body.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use sha2::Sha256;
use tempfile::NamedTempFile;

use crate::digest::Digest;

const MAGIC: &[u8; 4] = b"BHA1";
const HEADER: usize = 4 + 32 + 32 + 8 + 32;
const CHUNK: usize = 256 * 1024;

/// Why an artifact is not used.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactFault {
    /// There is none.
    #[error("no artifact for component {digest}: compile it")]
    Missing {
        /// Of the component.
        digest: Digest,
    },
    /// It is not what was written, or was written under another key.
    #[error(
        "the artifact of component {digest} is not what this host wrote ({what}): it was not loaded; compile it again and find out who changed it"
    )]
    Tampered {
        /// Of the component.
        digest: Digest,
        /// What does not fit.
        what: &'static str,
    },
    /// It was compiled for another version or another machine.
    #[error(
        "the artifact of component {digest} was compiled for another version of the host or another kind of machine: compile it again"
    )]
    Stale {
        /// Of the component.
        digest: Digest,
    },
    /// The disk said no.
    #[error("the artifact directory cannot be used: {0}")]
    Io(#[from] io::Error),
}

/// Where artifacts are kept, and what makes one ours.
pub(crate) struct Artifacts {
    dir: PathBuf,
    key: [u8; 32],
    compatibility: [u8; 32],
    max_bytes: u64,
}

/// A verified artifact in memory that nobody can change any more.
pub(crate) struct Sealed {
    file: File,
    pub(crate) bytes: u64,
}

impl Sealed {
    /// A path under which wasmtime can map it, as long as this lives.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }
}

impl Artifacts {
    pub(crate) fn open(dir: PathBuf, key: [u8; 32], compatibility: [u8; 32], max_bytes: u64) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        Ok(Self { dir, key, compatibility, max_bytes })
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{digest}.cwasm"))
    }

    /// Begins an artifact: bytes go in as they come out of the compiler.
    pub(crate) fn begin(&self, digest: Digest) -> io::Result<Unfinished> {
        let mut file = NamedTempFile::new_in(&self.dir)?;
        file.write_all(&[0; HEADER])?;
        Ok(Unfinished { file, mac: self.mac(&digest, &self.compatibility), digest, length: 0 })
    }

    /// Puts a finished artifact in its place: all of it or nothing, also if the power goes now.
    pub(crate) fn finish(&self, unfinished: Unfinished) -> io::Result<()> {
        let Unfinished { mut file, mut mac, digest, length } = unfinished;
        mac.update(&length.to_be_bytes());
        let mut header = Vec::with_capacity(HEADER);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(digest.as_bytes());
        header.extend_from_slice(&self.compatibility);
        header.extend_from_slice(&length.to_be_bytes());
        header.extend_from_slice(&mac.finalize().into_bytes());
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&header)?;
        file.as_file().sync_all()?;
        file.persist(self.path(&digest)).map_err(|fault| fault.error)?;
        File::open(&self.dir)?.sync_all()
    }

    /// Removes an artifact, where there is one.
    pub(crate) fn remove(&self, digest: &Digest) -> io::Result<()> {
        match std::fs::remove_file(self.path(digest)) {
            Err(fault) if fault.kind() != io::ErrorKind::NotFound => Err(fault),
            _ => Ok(()),
        }
    }

    /// The artifact of this component, copied, sealed and then verified.
    pub(crate) fn verified(&self, digest: &Digest) -> Result<Sealed, ArtifactFault> {
        let (header, mut body) = self.read_header(digest)?;
        let sealed = seal(&mut body, header.length)?;
        let mut mac = self.mac(&header.digest, &header.compatibility);
        each_chunk(&sealed.file, sealed.bytes, |chunk| mac.update(chunk))?;
        mac.update(&sealed.bytes.to_be_bytes());
        // In constant time.
        mac.verify_slice(&header.mac).map_err(|_| ArtifactFault::Tampered { digest: *digest, what: "wrong MAC" })?;
        if header.digest != *digest {
            return Err(ArtifactFault::Tampered { digest: *digest, what: "another component's artifact" });
        }
        if header.compatibility != self.compatibility {
            return Err(ArtifactFault::Stale { digest: *digest });
        }
        Ok(sealed)
    }

    fn read_header(&self, digest: &Digest) -> Result<(Header, File), ArtifactFault> {
        let mut file = match open_regular(&self.path(digest)) {
            Ok(file) => file,
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => {
                return Err(ArtifactFault::Missing { digest: *digest });
            }
            Err(fault) => return Err(fault.into()),
        };
        let tampered = |what| ArtifactFault::Tampered { digest: *digest, what };
        let size = file.metadata()?.len();
        let mut bytes = [0; HEADER];
        file.read_exact(&mut bytes).map_err(|_| tampered("too short"))?;
        let header = Header::parse(&bytes).ok_or_else(|| tampered("no artifact"))?;
        if size.checked_sub(HEADER as u64) != Some(header.length) || header.length > self.max_bytes {
            return Err(tampered("wrong length"));
        }
        Ok((header, file))
    }

    fn mac(&self, digest: &Digest, compatibility: &[u8; 32]) -> Hmac<Sha256> {
        // HMAC fills a key up to a block with zeros; a key of a block's length needs no fallible constructor.
        let mut block = [0; 64];
        block.iter_mut().zip(self.key).for_each(|(to, from)| *to = from);
        let mut mac = <Hmac<Sha256> as KeyInit>::new(&block.into());
        mac.update(MAGIC);
        mac.update(digest.as_bytes());
        mac.update(compatibility);
        mac
    }
}

/// An artifact on its way to the disk. Dropped, it leaves nothing behind.
pub(crate) struct Unfinished {
    file: NamedTempFile,
    mac: Hmac<Sha256>,
    digest: Digest,
    length: u64,
}

impl Unfinished {
    /// Takes the next bytes. They are authenticated from memory, so that nothing on the disk is trusted.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.mac.update(bytes);
        self.length += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }
}

struct Header {
    digest: Digest,
    compatibility: [u8; 32],
    length: u64,
    mac: [u8; 32],
}

impl Header {
    fn parse(bytes: &[u8; HEADER]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk::<4>()?;
        let (digest, rest) = rest.split_first_chunk::<32>()?;
        let (compatibility, rest) = rest.split_first_chunk::<32>()?;
        let (length, rest) = rest.split_first_chunk::<8>()?;
        let (mac, _) = rest.split_first_chunk::<32>()?;
        (magic == MAGIC).then(|| Self {
            digest: Digest::from_bytes(*digest),
            compatibility: *compatibility,
            length: u64::from_be_bytes(*length),
            mac: *mac,
        })
    }
}

/// Opens a file that is a file: no link, no pipe that would make us wait.
fn open_regular(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("not a regular file")) }
}

/// Copies `length` bytes into an anonymous file and seals it: from here on not even we can change it.
fn seal(from: &mut File, length: u64) -> io::Result<Sealed> {
    let mut file = File::from(memfd_create("bulkhead-artifact", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    let bytes = io::copy(&mut from.take(length), &mut file)?;
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(Sealed { file, bytes })
}

fn each_chunk(file: &File, length: u64, mut see: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    while at < length {
        let read = file.read_at(&mut buffer, at)?;
        let Some(chunk) = buffer.get(..read).filter(|chunk| !chunk.is_empty()) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        see(chunk);
        at += read as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::expect_used)]
    use super::*;

    const BODY: &[u8] = b"not really native code";

    fn artifacts(dir: &Path, key: u8, compatibility: u8) -> Artifacts {
        Artifacts::open(dir.to_owned(), [key; 32], [compatibility; 32], 1 << 20).unwrap()
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
}
