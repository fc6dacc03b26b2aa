//! What can go wrong in the vault, and what to do about it.
//!
//! Invariant: no variant carries plaintext, ciphertext or key material; each message ends in a step
//! the operator can take.

use std::path::PathBuf;

/// Why a secret could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The key file is not there (and creating one was not asked for).
    #[error(
        "the key file {} does not exist. Restore it from your backup: without it no stored credential can be opened. \
         If nothing has ever been stored with it, start with an empty database and a new key file is made.", path.display()
    )]
    KeyFileMissing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The key file is there and the system will not let us read or write it.
    #[error("the key file {} cannot be {doing}: {source}. Check its owner and permissions (it should be mode 0600 and belong to the user that runs Bulkhead).", path.display())]
    KeyFileAccess {
        /// Which file.
        path: PathBuf,
        /// "read" or "written".
        doing: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A folder is where the key file should be.
    #[error("the key file {} is a folder. Name the file in it that holds the keys, or one that is to be made.", path.display())]
    KeyFileIsFolder {
        /// What was named.
        path: PathBuf,
    },
    /// Others on the machine may read or change the key file.
    #[error("the key file {} has mode {mode:04o}, so others on this machine can read or change it. Run: chmod 600 {}", path.display(), path.display())]
    KeyFileExposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key file is not what was once written.
    #[error("the key file {} is damaged ({problem}). Restore it from your backup; do not delete it while the database holds credentials.", path.display())]
    KeyFileCorrupt {
        /// Which file.
        path: PathBuf,
        /// What is wrong, without quoting its content.
        problem: &'static str,
    },
    /// Another process changed the key file at the same moment.
    #[error("the key file {} was changed by another process at the same moment: try again", path.display())]
    KeyFileChanged {
        /// Which file.
        path: PathBuf,
    },
    /// A secret was sealed under a key that the keyring does not hold.
    #[error(
        "stored secrets are sealed under key {key_id}, which is not in the keyring. The key file was replaced, a key was \
         removed from it, or keys were rotated on another node: restore the key file that belongs to this database, as the \
         other nodes have it."
    )]
    UnknownKey {
        /// The id of the missing key.
        key_id: String,
    },
    /// What is stored is not a sealed secret, or of a later format.
    #[error(
        "a stored secret cannot be read ({problem}). It was not written by this version of Bulkhead, or was cut short: restore the database from your backup."
    )]
    Malformed {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The authentication tag does not fit: changed bytes, the wrong key, or a secret moved from
    /// another tenant, owner, name or version.
    #[error(
        "a stored secret failed its integrity check: it was changed, or belongs to something else. Connect again to replace it, and find out who wrote to the database."
    )]
    Tampered,
    /// An opened secret is not the JSON object of texts that credentials are.
    #[error("a stored credential has an unexpected shape ({problem}). Connect again to replace it.")]
    Shape {
        /// What is wrong, without quoting it.
        problem: &'static str,
    },
    /// The key provider does not let us.
    #[error("the key provider refused: {reason}. Check its address, its key's name, and what the token may do.")]
    ProviderRefused {
        /// What it said.
        reason: String,
    },
    /// The key provider could not do its work now.
    #[error("the key provider is unavailable: {reason}. Stored credentials can be used again when it answers.")]
    ProviderUnavailable {
        /// What it said.
        reason: String,
    },
}
