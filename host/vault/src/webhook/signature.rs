//! A signature in a header: what it covers, when it was made, and whether it fits.
//!
//! Invariant: nothing of a request is told apart, and nothing said about the clock, before its signature fits.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bulkhead_manifest::template::Part;
use bulkhead_manifest::{
    HmacScheme, KeyDecoding, PublicKey, PublicKeyScheme, SignatureEncoding, SignatureSyntax, Template, TimestampFormat,
};
use zeroize::Zeroizing;

use super::{Fetched, Inbound, Refusal, Verified, certificate, one_header};
use crate::mac::hmac_with;
use crate::secret::Secret;

/// Signatures of one request, of which each costs a verification of the whole body: a provider sends one for each of its
/// keys or versions.
const MOST_SIGNATURES: usize = 8;
/// Longest timestamp, bytes: seconds for the next thousands of years, nanoseconds in words.
const LONGEST_TIMESTAMP: usize = 40;

/// What signatures of all kinds have in common.
struct Layout<'s> {
    header: &'s str,
    parse: &'s SignatureSyntax,
    signed: &'s Template,
    tolerance_seconds: Option<u32>,
    id_header: Option<&'s str>,
    timestamp_header: Option<&'s str>,
    timestamp_format: TimestampFormat,
}

/// A request's signatures, and all that they cover but the secret.
struct Signed<'s, 'a> {
    layout: Layout<'s>,
    candidates: Vec<&'a str>,
    id: Option<&'a str>,
    timestamp: Option<(&'a str, u64)>,
    checksum: Option<String>,
    request: Inbound<'a>,
}

pub(super) fn verify_hmac(
    scheme: &HmacScheme,
    keys: &[&Secret],
    request: &Inbound<'_>,
    now_ms: u64,
) -> Result<Verified, Refusal> {
    let signed = Signed::read(
        Layout {
            header: &scheme.header,
            parse: &scheme.parse,
            signed: scheme.signed.template(),
            tolerance_seconds: scheme.tolerance_seconds,
            id_header: scheme.id_header.as_deref(),
            timestamp_header: scheme.timestamp_header.as_deref(),
            timestamp_format: scheme.timestamp_format,
        },
        request,
    )?;
    let parts = signed.parts(None)?;
    let keys = usable_keys(keys, scheme.key_decoding)?;
    // Every key is tried against every signature, whichever fits first, so that the time tells nothing.
    let mut fits = false;
    for key in &keys {
        // A secret, so that there is no `==` for it.
        let expected = Secret::from_string(encode(&hmac_with(scheme.algorithm, key.expose(), &parts), scheme.encoding));
        for candidate in &signed.candidates {
            fits |= expected.is(candidate.as_bytes());
        }
    }
    if fits { signed.in_time(now_ms) } else { Err(Refusal::Mismatch) }
}

pub(super) fn verify_public_key(
    scheme: &PublicKeyScheme,
    keys: &[&Secret],
    request: &Inbound<'_>,
    fetched: &Fetched<'_>,
    now_ms: u64,
) -> Result<Verified, Refusal> {
    let signed = Signed::read(
        Layout {
            header: &scheme.header,
            parse: &scheme.parse,
            signed: &scheme.signed,
            tolerance_seconds: scheme.tolerance_seconds,
            id_header: scheme.id_header.as_deref(),
            timestamp_header: scheme.timestamp_header.as_deref(),
            timestamp_format: scheme.timestamp_format,
        },
        request,
    )?;
    let signatures: Vec<_> = signed.candidates.iter().filter_map(|text| decode(text, scheme.encoding)).collect();
    let fits = match &scheme.key {
        PublicKey::Ed25519 { decoding } => {
            let message = signed.parts(None)?.concat();
            let keys = usable_keys(keys, *decoding)?;
            if keys.iter().all(|key| key.expose().len() != 32) {
                return Err(Refusal::BadKey);
            }
            let verifies = |key: &Secret, signature: &[u8]| {
                let key = aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ED25519, key.expose());
                key.verify(&message, signature).is_ok()
            };
            keys.iter().any(|key| signatures.iter().any(|signature| verifies(key, signature)))
        }
        PublicKey::Certificate { subject, .. } => {
            let pem = fetched.bytes.ok_or(Refusal::NotFetched)?;
            let names = if signed.uses("secret") { usable_keys(keys, KeyDecoding::Text)? } else { Vec::new() };
            let names = if names.is_empty() { vec![None] } else { names.iter().map(Some).collect() };
            let messages: Result<Vec<_>, _> = names.into_iter().map(|name| Ok(signed.parts(name)?.concat())).collect();
            certificate::fits(pem, subject.as_deref(), fetched.trusted, now_ms, &messages?, &signatures)?
        }
    };
    if fits { signed.in_time(now_ms) } else { Err(Refusal::Mismatch) }
}

impl<'s, 'a> Signed<'s, 'a> {
    fn read(layout: Layout<'s>, request: &Inbound<'a>) -> Result<Self, Refusal> {
        let malformed = |problem| Refusal::Malformed { place: format!("header {}", layout.header), problem };
        let values = signature_headers(request, layout.header);
        if values.is_empty() {
            return Err(Refusal::Missing { place: format!("header {}", layout.header) });
        }
        let (mut candidates, mut in_header) = (Vec::new(), None);
        match layout.parse {
            SignatureSyntax::Plain { prefix } => {
                candidates.extend(values.iter().filter_map(|value| value.strip_prefix(prefix.as_str())));
            }
            SignatureSyntax::List { separator, prefix } => {
                let entries = values.iter().flat_map(|value| value.split(separator.as_str()));
                candidates.extend(entries.filter_map(|entry| entry.strip_prefix(prefix.as_str())));
            }
            SignatureSyntax::Kv { timestamp, signature } => {
                for pair in values.iter().flat_map(|value| value.split(',')) {
                    let (key, value) = pair
                        .trim_start_matches(' ')
                        .split_once('=')
                        .ok_or_else(|| malformed("it is not made of key=value pairs"))?;
                    if key == signature {
                        candidates.push(value);
                    }
                    if timestamp.as_deref() == Some(key) && in_header.replace(value).is_some() {
                        return Err(malformed("it has two timestamps"));
                    }
                }
            }
        }
        let candidates =
            distinct(candidates).ok_or_else(|| malformed("it has more signatures than a provider sends"))?;
        if candidates.is_empty() {
            return Err(malformed("it has no signature of the declared form"));
        }
        let id = layout.id_header.map(|name| one_header(request, name)).transpose()?;
        let timestamp = timestamp(&layout, in_header, request)?;
        let checksum = uses(layout.signed, "body_crc32").then(|| crc32fast::hash(request.body).to_string());
        Ok(Self { layout, candidates, id, timestamp, checksum, request: *request })
    }

    fn uses(&self, name: &str) -> bool {
        uses(self.layout.signed, name)
    }

    /// What is signed, piece by piece.
    fn parts<'p>(&'p self, secret: Option<&'p Secret>) -> Result<Vec<&'p [u8]>, Refusal> {
        let nothing = |problem| Refusal::Scheme { problem };
        let part = |part: Part<'p>| match part {
            Part::Text(text) => Ok(text.as_bytes()),
            Part::Placeholder("id") => {
                self.id.map(str::as_bytes).ok_or(nothing("an id is signed and no header has it"))
            }
            Part::Placeholder("timestamp") => self
                .timestamp
                .map(|(text, _)| text.as_bytes())
                .ok_or(nothing("a timestamp is signed and no header has it")),
            Part::Placeholder("url") => Ok(self.request.url.as_bytes()),
            Part::Placeholder("body") => Ok(self.request.body),
            Part::Placeholder("body_crc32") => {
                self.checksum.as_deref().map(str::as_bytes).ok_or(nothing("a checksum is signed and not computed"))
            }
            Part::Placeholder("secret") => secret.map(Secret::expose).ok_or(nothing("a secret is signed here")),
            Part::Placeholder(_) => Err(nothing("nobody knows what is signed")),
        };
        self.layout.signed.parts().into_iter().map(part).collect()
    }

    /// Asked last: only an authentic request's time is worth telling anybody.
    fn in_time(&self, now_ms: u64) -> Result<Verified, Refusal> {
        let signed_at_ms = self.timestamp.map(|(_, at_ms)| at_ms);
        if let Some(tolerance_s) = self.layout.tolerance_seconds {
            let at_ms = signed_at_ms.ok_or(Refusal::Scheme { problem: "a tolerance without a timestamp" })?;
            check_age(at_ms, now_ms, u64::from(tolerance_s) * 1000)?;
        }
        Ok(Verified { signed_at_ms })
    }
}

/// Each once; `None` where they are too many. An empty one would be compared like any other and never fit.
fn distinct(candidates: Vec<&str>) -> Option<Vec<&str>> {
    let mut distinct = Vec::new();
    for candidate in candidates {
        if candidate.is_empty() || distinct.contains(&candidate) {
            continue;
        }
        if distinct.len() == MOST_SIGNATURES {
            return None;
        }
        distinct.push(candidate);
    }
    Some(distinct)
}

fn uses(signed: &Template, name: &str) -> bool {
    signed.placeholders().any(|used| used == name)
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

/// The timestamp as the provider wrote it, and what it means; `None` where the scheme signs none.
fn timestamp<'a>(
    layout: &Layout<'_>,
    in_header: Option<&'a str>,
    request: &Inbound<'a>,
) -> Result<Option<(&'a str, u64)>, Refusal> {
    if !uses(layout.signed, "timestamp") {
        return Ok(None);
    }
    let (place, text) = match (in_header, layout.timestamp_header) {
        (Some(text), _) => (layout.header, text),
        (None, Some(name)) => (name, one_header(request, name)?),
        (None, None) => return Err(Refusal::Missing { place: format!("timestamp in header {}", layout.header) }),
    };
    Ok(Some((text, moment(text, layout.timestamp_format, place)?)))
}

/// What a timestamp in this header means, milliseconds.
pub(super) fn moment(text: &str, format: TimestampFormat, header: &str) -> Result<u64, Refusal> {
    let malformed = |problem| Refusal::Malformed { place: format!("header {header}"), problem };
    // Plain digits only: a sign or a blank would be another text that means the same time.
    let number = |most: usize| {
        let plain = !text.is_empty() && text.len() <= most && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u64>().ok().filter(|_| plain)
    };
    match format {
        TimestampFormat::Unix => {
            number(12).map(|seconds| seconds * 1000).ok_or_else(|| malformed("its timestamp is not Unix seconds"))
        }
        TimestampFormat::UnixMs => number(15).ok_or_else(|| malformed("its timestamp is not Unix milliseconds")),
        TimestampFormat::Rfc3339 => {
            let moment = text.parse::<jiff::Timestamp>().ok().filter(|_| text.len() <= LONGEST_TIMESTAMP);
            moment
                .and_then(|moment| u64::try_from(moment.as_millisecond()).ok())
                .ok_or_else(|| malformed("its timestamp is not a date and time with an offset"))
        }
    }
}

pub(super) fn check_age(at_ms: u64, now_ms: u64, tolerance_ms: u64) -> Result<(), Refusal> {
    let too_old = now_ms.saturating_sub(at_ms).saturating_sub(tolerance_ms);
    let too_new = at_ms.saturating_sub(now_ms).saturating_sub(tolerance_ms);
    match (too_old, too_new) {
        (0, 0) => Ok(()),
        (0, by_ms) => Err(Refusal::TooNew { by_ms }),
        (by_ms, _) => Err(Refusal::TooOld { by_ms }),
    }
}

/// The keys' bytes. One that does not decode is passed over as long as another does.
pub(super) fn usable_keys(keys: &[&Secret], decoding: KeyDecoding) -> Result<Vec<Secret>, Refusal> {
    if keys.is_empty() {
        return Err(Refusal::NoKey);
    }
    let usable: Vec<Secret> = keys.iter().filter_map(|key| decode_key(key, decoding)).collect();
    if usable.is_empty() { Err(Refusal::BadKey) } else { Ok(usable) }
}

pub(crate) fn decode_key(key: &Secret, decoding: KeyDecoding) -> Option<Secret> {
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
        KeyDecoding::Whpk => base64(key.expose().strip_prefix(b"whpk_")?)?,
        KeyDecoding::Hex => Secret::new(hex::decode(key.expose()).ok()?),
    };
    // Anybody can compute a MAC under the empty key.
    (!decoded.is_empty()).then_some(decoded)
}

pub(crate) fn encode(mac: &[u8], encoding: SignatureEncoding) -> String {
    match encoding {
        SignatureEncoding::Hex => hex::encode(mac),
        SignatureEncoding::Base64 => BASE64.encode(mac),
    }
}

/// A signature's bytes, if this is how it is usually written: another text for the same bytes is another request.
fn decode(text: &str, encoding: SignatureEncoding) -> Option<Vec<u8>> {
    let bytes = match encoding {
        SignatureEncoding::Hex => hex::decode(text).ok()?,
        SignatureEncoding::Base64 => BASE64.decode(text).ok()?,
    };
    (encode(&bytes, encoding) == text).then_some(bytes)
}
