//! A token that a third party signed about the sender.
//!
//! Invariants: one algorithm, which the token does not choose; the clock is the caller's; who the sender is stands in the
//! secret that is kept here, and nothing of the token is believed before its signature fits.

use bulkhead_manifest::JwtScheme;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Map, Value};

use super::signature::usable_keys;
use super::{Fetched, Inbound, Refusal, Verified, one_header};
use crate::secret::Secret;

/// Longest token, bytes.
const LONGEST_TOKEN: usize = 8 << 10;

/// Whether it is worth fetching keys for.
pub(super) fn looks_like_one(scheme: &JwtScheme, request: &Inbound<'_>) -> Result<(), Refusal> {
    key_id(scheme, token(scheme, request)?).map(drop)
}

/// Whether it is a list of keys at all.
pub(super) fn is_key_list(fetched: &[u8]) -> bool {
    serde_json::from_slice::<JwkSet>(fetched).is_ok()
}

pub(super) fn verify(
    scheme: &JwtScheme,
    keys: &[&Secret],
    request: &Inbound<'_>,
    fetched: &Fetched<'_>,
    now_ms: u64,
) -> Result<Verified, Refusal> {
    let token = token(scheme, request)?;
    let key_id = key_id(scheme, token)?;
    let signers: JwkSet =
        serde_json::from_slice(fetched.bytes.ok_or(Refusal::NotFetched)?).map_err(|_| Refusal::NotFetched)?;
    let signer = signers.find(&key_id).ok_or(Refusal::UnknownKey)?;
    let signer = DecodingKey::from_jwk(signer).map_err(|_| Refusal::UnknownKey)?;
    // Which claims hold is decided below, by our own clock.
    let mut only_signature = Validation::new(Algorithm::RS256);
    only_signature.required_spec_claims.clear();
    (only_signature.validate_exp, only_signature.validate_nbf, only_signature.validate_aud) = (false, false, false);
    let claims = decode::<Map<String, Value>>(token, &signer, &only_signature).map_err(|_| Refusal::Mismatch)?.claims;
    check_claims(scheme, &claims, request.url, now_ms / 1000)?;
    let sender = claims.get(&scheme.secret_claim).and_then(Value::as_str).unwrap_or_default();
    let mut fits = false;
    for key in usable_keys(keys, bulkhead_manifest::KeyDecoding::Text)? {
        fits |= key.is(sender.as_bytes());
    }
    if !fits {
        return Err(Refusal::Claim { claim: scheme.secret_claim.clone() });
    }
    Ok(Verified { signed_at_ms: claims.get("iat").and_then(Value::as_u64).and_then(|iat| iat.checked_mul(1000)) })
}

fn check_claims(scheme: &JwtScheme, claims: &Map<String, Value>, url: &str, now_s: u64) -> Result<(), Refusal> {
    let leeway = u64::from(scheme.tolerance_seconds);
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let time = |name: &str| claims.get(name).and_then(Value::as_u64);
    let audience = scheme.audience.as_deref().unwrap_or(url);
    let for_us = match claims.get("aud") {
        Some(Value::Array(several)) => several.iter().any(|one| one.as_str() == Some(audience)),
        one => one.and_then(Value::as_str) == Some(audience),
    };
    let earlier = |name: &str| claims.get(name).is_none() || time(name).is_some_and(|at| at <= now_s + leeway);
    for (claim, holds) in [
        ("iss", text("iss").is_some_and(|issuer| scheme.issuers.iter().any(|known| known == issuer))),
        ("aud", for_us),
        ("exp", time("exp").is_some_and(|end| now_s < end.saturating_add(leeway))),
        ("iat", earlier("iat")),
        ("nbf", earlier("nbf")),
    ] {
        if !holds {
            return Err(Refusal::Claim { claim: claim.to_owned() });
        }
    }
    match scheme.true_claims.iter().find(|name| claims.get(*name) != Some(&Value::Bool(true))) {
        Some(claim) => Err(Refusal::Claim { claim: claim.clone() }),
        None => Ok(()),
    }
}

fn token<'a>(scheme: &JwtScheme, request: &Inbound<'a>) -> Result<&'a str, Refusal> {
    let value = one_header(request, &scheme.header)?;
    let token = value.strip_prefix("Bearer ").unwrap_or(value);
    if token.len() > LONGEST_TOKEN { Err(malformed(scheme, "it is too long for a token")) } else { Ok(token) }
}

fn key_id(scheme: &JwtScheme, token: &str) -> Result<String, Refusal> {
    let header = decode_header(token).map_err(|_| malformed(scheme, "it is no token"))?;
    match (header.alg, header.kid) {
        (Algorithm::RS256, Some(key_id)) => Ok(key_id),
        _ => Err(malformed(scheme, "the token is not signed by RS256 with a key that has an id")),
    }
}

fn malformed(scheme: &JwtScheme, problem: &'static str) -> Refusal {
    Refusal::Malformed { place: format!("header {}", scheme.header), problem }
}
