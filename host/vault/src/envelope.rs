//! Envelope encryption of stored secrets.
//!
//! Every version of every secret has a data key of its own. The data key encrypts the secret, bound
//! to whose it is; the key provider encrypts the data key, bound to the id of the key it used. That id
//! stands beside it and not in the payload, so that a data key can be wrapped anew without the secret.
//!
//! Invariant: a sealed secret opens only for the same tenant, owner, name and version it was sealed
//! for, so a row copied to another tenant is worthless.

use std::sync::Arc;

use bulkhead_manifest::ids::TenantId;

use crate::aead;
use crate::error::VaultError;
use crate::local_keys::LocalKeys;
use crate::mac::hmac_sha256_framed;
use crate::provider::{KeyProvider, Wrapped};
use crate::random::random_key;
use crate::secret::Secret;
use crate::transit::TransitKeys;

const MAGIC: &[u8; 4] = b"BHV1";
const WRAP_PURPOSE: &[u8] = b"bulkhead data key 1";
const DERIVE_PURPOSE: &[u8] = b"bulkhead derived key 1";

/// Whose secret it is. Opening asks for exactly the same.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The tenant; `None` for what belongs to the operator.
    pub tenant: Option<TenantId>,
    /// The id of what owns it: an app, a connection, a run.
    pub owner: &'a str,
    /// What it is called there: `oauth`, `webhook`, `answer`.
    pub name: &'a str,
    /// Which version; a new secret under the same name counts on.
    pub version: u32,
}

impl Context<'_> {
    /// Each part behind its length, so that no two contexts read the same; "no tenant" differs from
    /// every tenant by the length.
    fn associated_data(&self) -> Vec<u8> {
        let tenant: &[u8] = self.tenant.as_ref().map_or(&[], |tenant| tenant.as_bytes());
        let version = self.version.to_be_bytes();
        let mut data = Vec::with_capacity(64);
        for part in [tenant, self.owner.as_bytes(), self.name.as_bytes(), &version] {
            data.extend_from_slice(&(part.len() as u64).to_be_bytes());
            data.extend_from_slice(part);
        }
        data
    }
}

/// A sealed secret, ready to be stored:
/// `"BHV1" ‖ u8 length ‖ key id ‖ u16 length ‖ wrapped data key ‖ nonce ‖ ciphertext ‖ tag`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed(pub Vec<u8>);

/// Bytes that a sealed secret's head takes at most where its keys are at hand: everything before the payload.
pub const LONGEST_HEAD: usize = 512;

/// The head of a sealed secret, and what is to stand in its place: the same data key, wrapped by the active key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrapped {
    /// The first bytes as they are. No two sealed secrets begin alike.
    pub old: Vec<u8>,
    /// The first bytes as they are to be.
    pub new: Vec<u8>,
}

impl Sealed {
    /// Under which key, read from the first [`LONGEST_HEAD`] bytes of what is sealed.
    ///
    /// # Errors
    /// [`VaultError::Malformed`].
    pub fn key_id(beginning: &[u8]) -> Result<&str, VaultError> {
        Ok(Parts::read(beginning)?.key_id)
    }
}

/// Seals, opens and derives. Cheap to clone.
#[derive(Clone)]
pub struct Vault {
    keys: Arc<dyn KeyProvider>,
    root: Arc<Secret>,
}

impl Vault {
    /// A vault over a key provider. `root` is the secret sub-keys are derived from: it must be the same
    /// at every start and on every node.
    pub fn new(keys: Arc<dyn KeyProvider>, root: Secret) -> Self {
        Self { keys, root: Arc::new(root) }
    }

    /// A vault over a local key file, which also keeps the root.
    pub fn local(keys: LocalKeys) -> Self {
        let root = keys.root();
        Self::new(Arc::new(keys), root)
    }

    /// A vault over keys that an external service guards, and the root with them.
    pub fn transit(keys: TransitKeys) -> Self {
        let root = keys.root();
        Self::new(Arc::new(keys), root)
    }

    /// Who looks after the keys.
    pub fn keys(&self) -> &dyn KeyProvider {
        self.keys.as_ref()
    }

    /// Encrypts a secret under a data key of its own, for this context only.
    ///
    /// # Errors
    /// Those of the key provider.
    pub fn seal(&self, context: &Context<'_>, secret: &Secret) -> Result<Sealed, VaultError> {
        let dek = random_key();
        let payload = aead::encrypt(&dek, &context.associated_data(), secret)?;
        let wrapped = self.keys.wrap(&dek, WRAP_PURPOSE)?;
        assemble(&wrapped, &payload)
    }

    /// Whether anything can be sealed at this moment: for those who begin what they cannot finish otherwise.
    ///
    /// # Errors
    /// Those of the key provider.
    pub fn can_seal(&self) -> Result<(), VaultError> {
        self.keys.wrap(&random_key(), WRAP_PURPOSE).map(drop)
    }

    /// Decrypts what was sealed for the same context.
    ///
    /// # Errors
    /// [`VaultError::Malformed`] for what is no sealed secret, [`VaultError::Tampered`] for one that was
    /// changed or sealed for another context, and those of the key provider.
    pub fn open(&self, context: &Context<'_>, sealed: &Sealed) -> Result<Secret, VaultError> {
        let parts = Parts::read(&sealed.0)?;
        let dek = self.keys.unwrap(&parts.wrapped(), WRAP_PURPOSE)?;
        aead::decrypt(&dek, &context.associated_data(), parts.payload)
    }

    /// Wraps a data key anew, where another key than the active one did: given the first [`LONGEST_HEAD`] bytes of what is
    /// sealed. The payload is not needed, and stays as it is. `None` where there is nothing to be done.
    ///
    /// # Errors
    /// Those of [`Vault::open`].
    pub fn rewrap(&self, beginning: &[u8]) -> Result<Option<Rewrapped>, VaultError> {
        let parts = Parts::read(beginning)?;
        if parts.key_id == self.keys.active() {
            return Ok(None);
        }
        let wrapped = parts.wrapped();
        let dek = self.keys.unwrap(&wrapped, WRAP_PURPOSE)?;
        let (old, new) = (assemble(&wrapped, &[])?.0, assemble(&self.keys.wrap(&dek, WRAP_PURPOSE)?, &[])?.0);
        Ok(Some(Rewrapped { old, new }))
    }

    /// A 256-bit sub-key for one purpose, the same at every start. Give each purpose a label of its own
    /// and never use one key for two.
    pub fn derive(&self, label: &str) -> Secret {
        Secret::from_array(hmac_sha256_framed(&self.root, &[DERIVE_PURPOSE, label.as_bytes()]))
    }

    /// Names the root without telling it. Kept beside the stored secrets at the first start, it shows
    /// at the next that the key file was lost and made anew.
    pub fn fingerprint(&self) -> String {
        let mac = hmac_sha256_framed(&self.root, &[b"bulkhead root fingerprint 1"]);
        hex::encode(mac.iter().take(8).copied().collect::<Vec<u8>>())
    }
}

/// What a [`Sealed`] is made of.
struct Parts<'a> {
    key_id: &'a str,
    wrapped: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Parts<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, VaultError> {
        const SHORT: VaultError = VaultError::Malformed { problem: "it ends too early" };
        let rest = bytes
            .strip_prefix(MAGIC)
            .ok_or(VaultError::Malformed { problem: "it does not start like a sealed secret" })?;
        let (&length, rest) = rest.split_first().ok_or(SHORT)?;
        let (key_id, rest) = rest.split_at_checked(usize::from(length)).ok_or(SHORT)?;
        let (length, rest) = rest.split_first_chunk::<2>().ok_or(SHORT)?;
        let (wrapped, payload) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or(SHORT)?;
        let key_id =
            std::str::from_utf8(key_id).map_err(|_| VaultError::Malformed { problem: "its key id is not text" })?;
        Ok(Self { key_id, wrapped, payload })
    }

    fn wrapped(&self) -> Wrapped {
        Wrapped { key_id: self.key_id.to_owned(), bytes: self.wrapped.to_vec() }
    }
}

fn assemble(wrapped: &Wrapped, payload: &[u8]) -> Result<Sealed, VaultError> {
    const LONG: VaultError = VaultError::Malformed { problem: "the key provider's answer is too long" };
    let id_length = u8::try_from(wrapped.key_id.len()).map_err(|_| LONG)?;
    let length = u16::try_from(wrapped.bytes.len()).map_err(|_| LONG)?;
    let id = wrapped.key_id.as_bytes();
    Ok(Sealed([MAGIC, [id_length].as_slice(), id, &length.to_be_bytes(), &wrapped.bytes, payload].concat()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;
    use crate::provider::WrappingKey;
    use crate::ring::{Asked, now};

    fn vault() -> (tempfile::TempDir, Vault) {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::local(LocalKeys::open_or_create(folder.path().join("keys.json")).unwrap());
        (folder, vault)
    }

    fn asked() -> Asked {
        Asked { at: now(), wall: None }
    }

    fn tenant(byte: u8) -> Option<TenantId> {
        Some(TenantId::from_bytes([byte; 16]))
    }

    fn context(tenant: Option<TenantId>) -> Context<'static> {
        Context { tenant, owner: "conn_1", name: "oauth", version: 1 }
    }

    fn secret() -> Secret {
        Secret::from_string("hunter2".into())
    }

    #[test]
    fn a_sealed_secret_opens_again() {
        let (_folder, vault) = vault();
        for text in [String::new(), "hunter2".into(), "x".repeat(1_000_000)] {
            let sealed = vault.seal(&context(tenant(1)), &Secret::from_string(text.clone())).unwrap();
            assert_eq!(vault.open(&context(tenant(1)), &sealed).unwrap().expose_str().unwrap(), text);
        }
    }

    #[test]
    fn a_sealed_secret_does_not_contain_it_and_is_never_the_same_twice() {
        let (_folder, vault) = vault();
        let (one, two) =
            (vault.seal(&context(None), &secret()).unwrap(), vault.seal(&context(None), &secret()).unwrap());
        assert_ne!(one, two);
        assert!(!one.0.windows(7).any(|window| window == b"hunter2"));
    }

    /// With any part left out of `associated_data` this fails.
    #[test]
    fn a_secret_opens_for_nobody_and_nothing_else() {
        let (_folder, vault) = vault();
        let own = context(tenant(1));
        let sealed = vault.seal(&own, &secret()).unwrap();
        let others = [
            context(tenant(2)),
            context(None),
            Context { owner: "conn_2", ..own },
            Context { owner: "", ..own },
            Context { name: "webhook", ..own },
            Context { version: 2, ..own },
            Context { owner: "conn_1o", name: "auth", ..own },
            Context { owner: "conn_", name: "1oauth", ..own },
        ];
        for other in others {
            assert!(matches!(vault.open(&other, &sealed), Err(VaultError::Tampered)), "{other:?}");
        }
        vault.open(&own, &sealed).unwrap();
    }

    #[test]
    fn any_flipped_bit_or_missing_byte_is_noticed() {
        let (_folder, vault) = vault();
        let sealed = vault.seal(&context(tenant(1)), &secret()).unwrap();
        for bit in 0..sealed.0.len() * 8 {
            let mut damaged = sealed.clone();
            damaged.0[bit / 8] ^= 1 << (bit % 8);
            assert!(vault.open(&context(tenant(1)), &damaged).is_err(), "bit {bit}");
        }
        for length in 0..sealed.0.len() {
            assert!(vault.open(&context(tenant(1)), &Sealed(sealed.0[..length].to_vec())).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn a_data_key_moved_from_another_secret_opens_nothing() {
        let (_folder, vault) = vault();
        let (one, two) =
            (vault.seal(&context(tenant(1)), &secret()).unwrap(), vault.seal(&context(tenant(1)), &secret()).unwrap());
        let mixed = assemble(&Parts::read(&one.0).unwrap().wrapped(), Parts::read(&two.0).unwrap().payload).unwrap();
        assert!(matches!(vault.open(&context(tenant(1)), &mixed), Err(VaultError::Tampered)));
    }

    #[test]
    fn a_replaced_key_file_is_told_from_a_damaged_secret() {
        let (_folder, vault) = vault();
        let (_other_folder, other) = self::vault();
        let sealed = vault.seal(&context(None), &secret()).unwrap();
        let error = other.open(&context(None), &sealed).unwrap_err();
        assert!(matches!(error, VaultError::UnknownKey { .. }), "{error}");
        assert!(error.to_string().contains("restore the key file"), "{error}");
        assert_ne!(vault.fingerprint(), other.fingerprint());
    }

    /// What the store does with a head: it puts another in its place.
    fn rewrapped(vault: &Vault, sealed: &Sealed) -> Option<Sealed> {
        let beginning = &sealed.0[..sealed.0.len().min(LONGEST_HEAD)];
        let Rewrapped { old, new } = vault.rewrap(beginning).unwrap()?;
        let payload = sealed.0.strip_prefix(old.as_slice()).unwrap();
        Some(Sealed([new.as_slice(), payload].concat()))
    }

    /// Mutations: `rewrap`, wrap a new data key; take the payload into the old head; without the comparison with the active
    /// key.
    #[test]
    fn a_data_key_is_wrapped_anew_and_the_payload_stays() {
        let (_folder, vault) = vault();
        let own = context(tenant(1));
        let sealed = vault.seal(&own, &Secret::from_string("hunter2".repeat(1_000))).unwrap();
        assert_eq!(rewrapped(&vault, &sealed), None, "it is under the active key");
        let first = rotate(&vault);
        let anew = rewrapped(&vault, &sealed).unwrap();
        let (was, is) = (Parts::read(&sealed.0).unwrap(), Parts::read(&anew.0).unwrap());
        assert_eq!((was.payload, was.key_id), (is.payload, first.id.as_str()));
        assert_eq!(Sealed::key_id(&anew.0[..LONGEST_HEAD]).unwrap(), vault.keys().active());
        assert_ne!(was.key_id, is.key_id);
        for sealed in [&sealed, &anew] {
            assert_eq!(vault.open(&own, sealed).unwrap().len(), 7_000);
        }
        let mine = vault.keys().active();
        done(vault.keys().destroy(&first.id)).unwrap();
        done(vault.keys().hold(&[WrappingKey { id: mine.clone(), guarded: None }], &mine, asked())).unwrap();
        assert_eq!(vault.open(&own, &anew).unwrap().len(), 7_000);
        assert!(matches!(vault.open(&own, &sealed), Err(VaultError::UnknownKey { .. })));
    }

    /// Mutation: `rewrap`, without `unwrap`, which says so.
    #[test]
    fn what_was_tampered_with_is_not_made_good_by_wrapping_it_anew() {
        let (_folder, vault) = vault();
        let mut sealed = vault.seal(&context(None), &secret()).unwrap();
        rotate(&vault);
        let at = sealed.0.len() - Parts::read(&sealed.0).unwrap().payload.len() - 1;
        sealed.0[at] ^= 1;
        assert!(matches!(vault.rewrap(&sealed.0), Err(VaultError::Tampered)));
    }

    /// Another key is active; the one that was.
    fn rotate(vault: &Vault) -> WrappingKey {
        let first = WrappingKey { id: vault.keys().active(), guarded: None };
        let second = done(vault.keys().make(std::slice::from_ref(&first))).unwrap();
        done(vault.keys().hold(&[first.clone(), second.clone()], &second.id, asked())).unwrap();
        first
    }

    /// The file is read and written on another thread.
    fn done<T>(later: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(later)
    }

    #[test]
    fn sub_keys_differ_by_label_and_survive_a_restart() {
        let (folder, vault) = vault();
        let artifact = vault.derive("artifact");
        assert_eq!(artifact.len(), 32);
        assert_ne!(artifact.expose(), vault.derive("effect").expose());
        let fingerprint = vault.fingerprint();
        let restarted = Vault::local(LocalKeys::open(folder.path().join("keys.json")).unwrap());
        assert_eq!(restarted.derive("artifact").expose(), artifact.expose());
        assert_eq!(restarted.fingerprint(), fingerprint);
        assert_eq!(fingerprint.len(), 16);
    }
}
