//! Whether a webhook request is from whom it says: the manifest's declarative schemes, carried out.
//!
//! Invariants: only raw bytes are signed, never something parsed and written again; MACs and tokens are compared as
//! text, in constant time, and signatures only as they are usually written, so that a request that differs in any bit
//! from what was signed is refused; a key that is empty verifies nothing. Nothing here reaches out: what has to be
//! fetched before a scheme can be carried out is named ([`wanted`], [`questions`]), and handed in ([`Fetched`]).
//!
//! To add a way of signing, extend [`Scheme`] in the manifest and add a file here that reads it; no provider is named
//! outside the tests.

mod certificate;
mod jwt;
mod postback;
mod signature;
mod token;

use bulkhead_manifest::{PublicKey, Scheme};
use rustls_pki_types::TrustAnchor;
use url::Url;

pub(crate) use self::signature::{decode_key, encode};
pub use self::token::without_tokens;
use crate::secret::Secret;

/// A request as it came in.
#[derive(Debug, Clone, Copy)]
pub struct Inbound<'a> {
    /// All headers, repeated ones too.
    pub headers: &'a [(String, String)],
    /// The address as it is registered with the provider, which some sign.
    pub url: &'a str,
    /// The query of this request, without its `?`.
    pub query: &'a str,
    /// What follows the address in the path, without its `/`.
    pub path_token: Option<&'a str>,
    /// The body, byte for byte.
    pub body: &'a [u8],
}

/// What was fetched to verify a request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fetched<'a> {
    /// What stands at the URL that [`wanted`] named, or what was answered to one of [`questions`].
    pub bytes: Option<&'a [u8]>,
    /// Whom this machine believes about certificates.
    pub trusted: &'a [TrustAnchor<'static>],
}

/// A request that is from whom it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// When the provider signed it, milliseconds; `None` where the scheme does not say.
    pub signed_at_ms: Option<u64>,
}

/// Why a request is not to be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// What the proof should stand in is not there.
    #[error("the request has no {place}")]
    Missing {
        /// A header, a query parameter or a place in the body.
        place: String,
    },
    /// It is there and cannot be read.
    #[error("{place} cannot be read: {problem}")]
    Malformed {
        /// Where.
        place: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Rightly signed, too long ago: perhaps an old request sent again.
    #[error("it was signed {by_ms} ms before the oldest that is accepted; check this machine's clock")]
    TooOld {
        /// By how much it is too old.
        by_ms: u64,
    },
    /// Rightly signed, in the future.
    #[error("it was signed {by_ms} ms after the latest that is accepted; check this machine's clock")]
    TooNew {
        /// By how much it is too new.
        by_ms: u64,
    },
    /// No key gives any of the signatures.
    #[error("no signature fits; check that the webhook secret kept here is the provider's")]
    Mismatch,
    /// There is no secret to verify with.
    #[error("no webhook secret is set; copy it from the provider")]
    NoKey,
    /// No secret is of the form that the scheme asks for.
    #[error("the webhook secret is not of the form this provider uses; copy it again, whole")]
    BadKey,
    /// What proves it would have to be fetched from somebody else than the provider.
    #[error("it points to a certificate at {host:?}, which is not where the manifest says that the provider has them")]
    Elsewhere {
        /// Where.
        host: String,
    },
    /// What proves it was not there.
    #[error("what proves it could not be fetched")]
    NotFetched,
    /// The certificate does not hold.
    #[error("the certificate it points to does not hold: {problem}")]
    Certificate {
        /// What about it.
        problem: String,
    },
    /// The keys that were fetched do not have the one it was signed with.
    #[error("it was signed with a key that its signer's list does not have")]
    UnknownKey,
    /// A token that is genuine, and not about this.
    #[error("its token's `{claim}` is not what it has to be; check the address, the webhook secret and the clock")]
    Claim {
        /// Which claim.
        claim: String,
    },
    /// The provider says that it is not its own.
    #[error("the provider was asked, and says that it did not send this")]
    Denied,
    /// The scheme contradicts itself, which a checked manifest's does not.
    #[error("the manifest's webhook scheme cannot be carried out: {problem}")]
    Scheme {
        /// What about it.
        problem: &'static str,
    },
}

/// Decides whether the request is authentic, where nothing has to be fetched for that. Any of `keys` may verify it, so that
/// a secret can be replaced without losing a delivery; for a scheme that repeats the client id, that is the key.
///
/// # Errors
/// Says why it is not.
pub fn verify(scheme: &Scheme, keys: &[&Secret], request: &Inbound<'_>, now_ms: u64) -> Result<Verified, Refusal> {
    verify_with(scheme, keys, request, &Fetched::default(), now_ms)
}

/// Decides whether the request is authentic, with what was fetched for that.
///
/// # Errors
/// Says why it is not.
pub fn verify_with(
    scheme: &Scheme,
    keys: &[&Secret],
    request: &Inbound<'_>,
    fetched: &Fetched<'_>,
    now_ms: u64,
) -> Result<Verified, Refusal> {
    match scheme {
        Scheme::Hmac(scheme) => signature::verify_hmac(scheme, keys, request, now_ms),
        Scheme::PublicKey(scheme) => signature::verify_public_key(scheme, keys, request, fetched, now_ms),
        Scheme::Jwt(scheme) => jwt::verify(scheme, keys, request, fetched, now_ms),
        Scheme::Postback(scheme) => postback::verify(scheme, request, fetched, now_ms),
        Scheme::Token { at, .. } => token::verify(at, keys, request),
        Scheme::None => Ok(Verified { signed_at_ms: None }),
    }
}

/// What has to be fetched before the scheme can be carried out. The request names it, the manifest says where it may be.
///
/// # Errors
/// Says why the request need not be looked at further.
pub fn wanted(scheme: &Scheme, request: &Inbound<'_>) -> Result<Option<Url>, Refusal> {
    match scheme {
        Scheme::PublicKey(scheme) => match &scheme.key {
            PublicKey::Certificate { url_header, hosts, .. } => certificate::url(url_header, hosts, request).map(Some),
            PublicKey::Ed25519 { .. } => Ok(None),
        },
        Scheme::Jwt(scheme) => {
            jwt::looks_like_one(scheme, request)?;
            Ok(scheme.keys_url.url())
        }
        Scheme::Hmac(_) | Scheme::Postback(_) | Scheme::Token { .. } | Scheme::None => Ok(None),
    }
}

/// Whether this is of the kind that [`wanted`] wants fetched: what a server says that is being mended proves nothing, and is
/// not to be taken for what proves something.
#[must_use]
pub fn is_material(scheme: &Scheme, fetched: &[u8]) -> bool {
    match scheme {
        Scheme::PublicKey(_) => certificate::is_one(fetched),
        Scheme::Jwt(_) => jwt::is_key_list(fetched),
        Scheme::Hmac(_) | Scheme::Postback(_) | Scheme::Token { .. } | Scheme::None => false,
    }
}

/// What the provider may be asked, as JSON: nothing where the scheme asks nobody. Where a key is part of the question there
/// is one for each of them, the first of them first: a yes to any is a yes.
///
/// # Errors
/// Says why the request need not be looked at further.
pub fn questions(scheme: &Scheme, keys: &[&Secret], request: &Inbound<'_>) -> Result<Vec<Vec<u8>>, Refusal> {
    match scheme {
        Scheme::Postback(scheme) => postback::questions(scheme, keys, request),
        _ => Ok(Vec::new()),
    }
}

/// The one value of a header; two would leave open which of them was meant.
fn one_header<'a>(request: &Inbound<'a>, name: &str) -> Result<&'a str, Refusal> {
    let mut values =
        request.headers.iter().filter(|(header, _)| header.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str());
    let place = || format!("header {name}");
    let value = values.next().ok_or_else(|| Refusal::Missing { place: place() })?;
    match values.next() {
        None => Ok(value),
        Some(_) => Err(Refusal::Malformed { place: place(), problem: "it stands there twice" }),
    }
}

#[cfg(test)]
mod tests;
