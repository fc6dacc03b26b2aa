//! Compiled components on disk: authenticated files, mapped only through a sealed copy.
//!
//! An artifact is native code: whoever can change one runs code in this process. So each carries an HMAC-SHA256 under a
//! key that no uploader can reach, over `magic ‖ digest ‖ compatibility ‖ body ‖ length`, and is never mapped where it
//! lies: it is copied into an anonymous file that is sealed against every change *before* it is verified, and that is
//! what wasmtime maps. Between the check and the use there is nothing left to swap.
//!
//! The directory is a cache: beyond its limit the files that were not loaded for longest are removed, and compiled again
//! from the stored component when they are wanted. What is mapped already is not touched by that.
//!
//! On disk: magic (4) ‖ digest (32) ‖ compatibility (32) ‖ length, big-endian (8) ‖ MAC (32) ‖ body.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use rustix::fs::{MemfdFlags, SealFlags, Timespec, Timestamps, UTIME_NOW, fcntl_add_seals, futimens, memfd_create};
use sha2::Sha256;
use tempfile::NamedTempFile;

use crate::digest::Digest;

const MAGIC: &[u8; 4] = b"BHA1";
const HEADER: usize = 4 + 32 + 32 + 8 + 32;
const CHUNK: usize = 256 * 1024;
const EXTENSION: &str = "cwasm";

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

/// How the name of what is not finished begins.
const UNFINISHED: &[u8] = b".unfinished-";
/// No compilation takes longer; where several processes share the directory, what is younger may be another's.
const ABANDONED: Duration = Duration::from_secs(3_600);

/// Removes what compilations left that came to no end.
fn remove_abandoned(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let is_unfinished = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(UNFINISHED));
        let Ok(found) = std::fs::symlink_metadata(&path) else { continue };
        if is_unfinished && found.is_file() && found.modified()?.elapsed().is_ok_and(|age| age > ABANDONED) {
            match std::fs::remove_file(&path) {
                // Another process starts, too.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
        }
    }
    Ok(())
}

/// Where artifacts are kept, and what makes one ours.
pub(crate) struct Artifacts {
    dir: PathBuf,
    key: [u8; 32],
    compatibility: [u8; 32],
    most: Most,
}

/// How many bytes there may be.
#[derive(Clone, Copy)]
pub(crate) struct Most {
    /// In one artifact, without its header.
    pub(crate) one: u64,
    /// In all files of the directory.
    pub(crate) all: u64,
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
    pub(crate) fn open(dir: PathBuf, key: [u8; 32], compatibility: [u8; 32], most: Most) -> io::Result<Self> {
        match std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is a file; remove it, or move it away"));
            }
            made => made?,
        }
        remove_abandoned(&dir)?;
        Ok(Self { dir, key, compatibility, most })
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{digest}.{EXTENSION}"))
    }

    /// Begins an artifact: bytes go in as they come out of the compiler.
    pub(crate) fn begin(&self, digest: Digest) -> io::Result<Unfinished> {
        let mut file = tempfile::Builder::new().prefix(OsStr::from_bytes(UNFINISHED)).tempfile_in(&self.dir)?;
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
        let path = self.path(&digest);
        file.persist(&path).map_err(|fault| fault.error)?;
        File::open(&self.dir)?.sync_all()?;
        if let Err(error) = self.make_room(&path) {
            tracing::warn!(%error, "the artifact directory may be over its limit");
        }
        Ok(())
    }

    /// Removes what was not loaded for longest, other than what has just come.
    fn make_room(&self, newest: &Path) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == EXTENSION) {
                // Somebody else may have removed it meanwhile.
                let Ok(found) = std::fs::symlink_metadata(&path) else { continue };
                files.push((found.modified()?, found.len(), path));
            }
        }
        let mut all: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        files.retain(|(_, _, path)| path != newest);
        files.sort();
        for (_, bytes, path) in files {
            if all <= self.most.all {
                break;
            }
            match std::fs::remove_file(path) {
                Err(fault) if fault.kind() != io::ErrorKind::NotFound => return Err(fault),
                _ => all -= bytes,
            }
        }
        Ok(())
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
        // By the file system's own clock. Where it cannot be noted, the file goes earlier.
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let _ = futimens(&body, &Timestamps { last_access: now, last_modification: now });
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
        if size.checked_sub(HEADER as u64) != Some(header.length) || header.length > self.most.one {
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
    forbid_changes(&file)?;
    Ok(Sealed { file, bytes })
}

/// Nobody else has had it, so there is no mapping through which it could still be written: a seal on writes to come is one on
/// all. The other one is refused while the kernel itself holds a page for a moment, as its memory management does.
fn forbid_changes(file: &File) -> io::Result<()> {
    Ok(fcntl_add_seals(file, SealFlags::FUTURE_WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?)
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
mod tests;
