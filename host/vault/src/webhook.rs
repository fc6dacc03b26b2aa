//! Whether a webhook request is from whom it says: the manifest's declarative scheme, carried out.
//!
//! Invariants: only raw bytes are signed, never something parsed and written again; signatures are
//! compared as text, in constant time, so that a request that differs in any bit from what was signed
//! is refused; a key that is empty verifies nothing.
//!
//! To add a way of signing, extend [`Scheme`] in the manifest and the step here that reads it; no
//! provider is named in this file outside the tests.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bulkhead_manifest::{HmacScheme, KeyDecoding, Scheme, SignatureEncoding, SignatureSyntax, SignedPart, TokenPlace};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::mac::{constant_time_eq, hmac_with};
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
    /// The body, byte for byte.
    pub body: &'a [u8],
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
    /// The scheme contradicts itself, which a checked manifest's does not.
    #[error("the manifest's webhook scheme cannot be carried out: {problem}")]
    Scheme {
        /// What about it.
        problem: &'static str,
    },
}

/// Decides whether the request is authentic. Any of `keys` may verify it, so that a secret can be
/// replaced without losing a delivery; for a scheme that repeats the client id, that is the key.
///
/// # Errors
/// Says why it is not.
pub fn verify(scheme: &Scheme, keys: &[&Secret], request: &Inbound<'_>, now_ms: u64) -> Result<Verified, Refusal> {
    match scheme {
        Scheme::Hmac(scheme) => verify_hmac(scheme, keys, request, now_ms),
        Scheme::Token { at, .. } => verify_token(at, keys, request),
        Scheme::None => Ok(Verified { signed_at_ms: None }),
    }
}

fn verify_hmac(scheme: &HmacScheme, keys: &[&Secret], request: &Inbound<'_>, now_ms: u64) -> Result<Verified, Refusal> {
    let signatures = Signatures::read(scheme, request)?;
    let timestamp = timestamp(scheme, &signatures, request)?;
    let id = match &scheme.id_header {
        Some(name) => Some(one_header(request, name)?),
        None => None,
    };
    let signed = signed_parts(scheme, request, id, timestamp.map(|(text, _)| text))?;

    let keys = usable_keys(keys, scheme.key_decoding)?;
    // Every key is tried against every signature, whichever fits first, so that the time tells nothing.
    let mut fits = false;
    for key in &keys {
        let expected = encode(&hmac_with(scheme.algorithm, key.expose(), &signed), scheme.encoding);
        for candidate in &signatures.candidates {
            fits |= constant_time_eq(expected.as_bytes(), candidate.as_bytes());
        }
    }
    if !fits {
        return Err(Refusal::Mismatch);
    }
    // Looked at last: only an authentic request's time is worth telling anybody.
    let signed_at_ms = timestamp.map(|(_, at_ms)| at_ms);
    if let Some(tolerance_s) = scheme.tolerance_seconds {
        let at_ms = signed_at_ms.ok_or(Refusal::Scheme { problem: "a tolerance without a timestamp" })?;
        check_age(at_ms, now_ms, u64::from(tolerance_s) * 1000)?;
    }
    Ok(Verified { signed_at_ms })
}

/// What stands in the signature header or headers.
struct Signatures<'a> {
    candidates: Vec<&'a str>,
    timestamp: Option<&'a str>,
}

impl<'a> Signatures<'a> {
    fn read(scheme: &HmacScheme, request: &Inbound<'a>) -> Result<Self, Refusal> {
        let malformed = |problem| Refusal::Malformed { place: format!("header {}", scheme.header), problem };
        let values = signature_headers(request, &scheme.header);
        if values.is_empty() {
            return Err(Refusal::Missing { place: format!("header {}", scheme.header) });
        }
        let mut read = Self { candidates: Vec::new(), timestamp: None };
        match &scheme.parse {
            SignatureSyntax::Plain { prefix } => {
                read.candidates.extend(values.iter().filter_map(|value| value.strip_prefix(prefix.as_str())));
            }
            SignatureSyntax::List { separator, prefix } => {
                let entries = values.iter().flat_map(|value| value.split(separator.as_str()));
                read.candidates.extend(entries.filter_map(|entry| entry.strip_prefix(prefix.as_str())));
            }
            SignatureSyntax::Kv { timestamp, signature } => {
                for pair in values.iter().flat_map(|value| value.split(',')) {
                    let (key, value) = pair
                        .trim_start_matches(' ')
                        .split_once('=')
                        .ok_or_else(|| malformed("it is not made of key=value pairs"))?;
                    if key == signature {
                        read.candidates.push(value);
                    }
                    if timestamp.as_deref() == Some(key) && read.timestamp.replace(value).is_some() {
                        return Err(malformed("it has two timestamps"));
                    }
                }
            }
        }
        // An empty one would be compared like any other and never fit; this says what is wrong.
        read.candidates.retain(|candidate| !candidate.is_empty());
        if read.candidates.is_empty() {
            return Err(malformed("it has no signature of the declared form"));
        }
        Ok(read)
    }
}

/// The signature header's values: those of that name, or, for a name that ends in `*`, of all that end
/// in a number there.
fn signature_headers<'a>(request: &Inbound<'a>, name: &str) -> Vec<&'a str> {
    let is_ours = |header: &str| match name.strip_suffix('*') {
        None => header.eq_ignore_ascii_case(name),
        Some(stem) => header.split_at_checked(stem.len()).is_some_and(|(start, number)| {
            start.eq_ignore_ascii_case(stem) && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
        }),
    };
    request.headers.iter().filter(|(header, _)| is_ours(header)).map(|(_, value)| value.as_str()).collect()
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

/// The timestamp as the provider wrote it, and what it means; `None` where the scheme signs none.
fn timestamp<'a>(
    scheme: &HmacScheme,
    signatures: &Signatures<'a>,
    request: &Inbound<'a>,
) -> Result<Option<(&'a str, u64)>, Refusal> {
    if !scheme.signed.uses(SignedPart::Timestamp) {
        return Ok(None);
    }
    let (place, text) = match (signatures.timestamp, &scheme.timestamp_header) {
        (Some(text), _) => (&scheme.header, text),
        (None, Some(name)) => (name, one_header(request, name)?),
        (None, None) => return Err(Refusal::Missing { place: format!("timestamp in header {}", scheme.header) }),
    };
    // Plain digits only: a sign or a blank would be another text that means the same time.
    let plain = !text.is_empty() && text.len() <= 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = text.parse::<u64>().ok().filter(|_| plain);
    let malformed =
        || Refusal::Malformed { place: format!("header {place}"), problem: "its timestamp is not Unix seconds" };
    seconds.map(|seconds| Some((text, seconds * 1000))).ok_or_else(malformed)
}

fn signed_parts<'a>(
    scheme: &'a HmacScheme,
    request: &Inbound<'a>,
    id: Option<&'a str>,
    timestamp: Option<&'a str>,
) -> Result<Vec<&'a [u8]>, Refusal> {
    let part = |part| match part {
        SignedPart::Text(text) => Ok(text.as_bytes()),
        SignedPart::Id => {
            id.map(str::as_bytes).ok_or(Refusal::Scheme { problem: "an id is signed and no header has it" })
        }
        SignedPart::Timestamp => timestamp
            .map(str::as_bytes)
            .ok_or(Refusal::Scheme { problem: "a timestamp is signed and no header has it" }),
        SignedPart::Url => Ok(request.url.as_bytes()),
        SignedPart::Body => Ok(request.body),
    };
    scheme.signed.parts().into_iter().map(part).collect()
}

/// The keys' bytes. One that does not decode is passed over as long as another does.
fn usable_keys(keys: &[&Secret], decoding: KeyDecoding) -> Result<Vec<Secret>, Refusal> {
    if keys.is_empty() {
        return Err(Refusal::NoKey);
    }
    let usable: Vec<Secret> = keys.iter().filter_map(|key| decode_key(key, decoding)).collect();
    if usable.is_empty() { Err(Refusal::BadKey) } else { Ok(usable) }
}

fn decode_key(key: &Secret, decoding: KeyDecoding) -> Option<Secret> {
    let base64 = |text: &[u8]| {
        // The decoder's own buffer is sized once, so nothing of the key is left behind by growing.
        let mut bytes = Zeroizing::new(Vec::new());
        BASE64.decode_vec(text, &mut bytes).ok()?;
        Some(Secret::new(std::mem::take(&mut *bytes)))
    };
    let decoded = match decoding {
        KeyDecoding::Text => Secret::new(key.expose().to_vec()),
        KeyDecoding::Base64 => base64(key.expose())?,
        KeyDecoding::Whsec => base64(key.expose().strip_prefix(b"whsec_")?)?,
    };
    // Anybody can compute a MAC under the empty key.
    (!decoded.is_empty()).then_some(decoded)
}

fn encode(mac: &[u8], encoding: SignatureEncoding) -> String {
    match encoding {
        SignatureEncoding::Hex => hex::encode(mac),
        SignatureEncoding::Base64 => BASE64.encode(mac),
    }
}

fn check_age(at_ms: u64, now_ms: u64, tolerance_ms: u64) -> Result<(), Refusal> {
    let too_old = now_ms.saturating_sub(at_ms).saturating_sub(tolerance_ms);
    let too_new = at_ms.saturating_sub(now_ms).saturating_sub(tolerance_ms);
    match (too_old, too_new) {
        (0, 0) => Ok(()),
        (0, by_ms) => Err(Refusal::TooNew { by_ms }),
        (by_ms, _) => Err(Refusal::TooOld { by_ms }),
    }
}

fn verify_token(at: &TokenPlace, keys: &[&Secret], request: &Inbound<'_>) -> Result<Verified, Refusal> {
    let keys = usable_keys(keys, KeyDecoding::Text)?;
    for token in tokens(at, request)? {
        let mut fits = false;
        for key in &keys {
            fits |= constant_time_eq(key.expose(), token.as_bytes());
        }
        if !fits {
            return Err(Refusal::Mismatch);
        }
    }
    Ok(Verified { signed_at_ms: None })
}

/// The repeated tokens: at least one, and all of them have to fit.
fn tokens(at: &TokenPlace, request: &Inbound<'_>) -> Result<Vec<String>, Refusal> {
    match at {
        TokenPlace::Header { name } => Ok(vec![one_header(request, name)?.to_owned()]),
        TokenPlace::Query { name } => query_token(name, request.query).map(|token| vec![token]),
        TokenPlace::Json { pointer, each } => {
            let body: Value = serde_json::from_slice(request.body)
                .map_err(|_| Refusal::Malformed { place: "the body".to_owned(), problem: "it is not JSON" })?;
            let items: Vec<&Value> = match each {
                None => vec![&body],
                Some(each) => each.lookup(&body).and_then(Value::as_array).into_iter().flatten().collect(),
            };
            let missing = || Refusal::Missing { place: format!("token at {pointer} of the body") };
            if items.is_empty() {
                return Err(missing());
            }
            let token = |item| pointer.lookup(item).and_then(Value::as_str).map(str::to_owned).ok_or_else(missing);
            items.into_iter().map(token).collect()
        }
    }
}

fn query_token(name: &str, query: &str) -> Result<String, Refusal> {
    let place = || format!("query parameter {name}");
    let mut values = url::form_urlencoded::parse(query.as_bytes())
        .filter(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned());
    let value = values.next().ok_or_else(|| Refusal::Missing { place: place() })?;
    match values.next() {
        None => Ok(value),
        Some(_) => Err(Refusal::Malformed { place: place(), problem: "it stands there twice" }),
    }
}

#[cfg(test)]
mod tests;
