//! Signed assertions (RFC 7523): a JWT that proves whose private key somebody filled in.
//!
//! Invariant: the key is read, used and dropped here; an error says what is wrong with it and nothing of what it is.

use bulkhead_manifest::JwtAlgorithm;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// What an assertion says.
#[derive(Debug, Serialize)]
pub struct Claims<'a> {
    /// Who signs.
    #[serde(rename = "iss")]
    pub issuer: &'a str,
    /// Whom it speaks for.
    #[serde(rename = "sub", skip_serializing_if = "Option::is_none")]
    pub subject: Option<&'a str>,
    /// To whom.
    #[serde(rename = "aud")]
    pub audience: &'a str,
    /// What is asked for, where it is said here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<&'a str>,
    /// Since when it holds, seconds since 1970.
    #[serde(rename = "iat")]
    pub issued_s: u64,
    /// Until when.
    #[serde(rename = "exp")]
    pub expires_s: u64,
    /// What makes it another one than any other.
    #[serde(rename = "jti")]
    pub id: &'a str,
}

/// Why nothing was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AssertionError {
    /// It has no PEM lines around it, or something else between them.
    #[error(
        "the private key is not in PEM form: it begins with `-----BEGIN PRIVATE KEY-----` and ends with `-----END PRIVATE KEY-----`; paste all of the file"
    )]
    NotPem,
    /// It is a public key, a certificate, or encrypted.
    #[error("this is a {found}, not a private key without a password: paste the file with the private key")]
    NotPrivate {
        /// What it is.
        found: &'static str,
    },
    /// A key for another algorithm, or too short.
    #[error("this private key cannot be used for {algorithm}: {expected}")]
    OtherKey {
        /// For what it was to be used.
        algorithm: &'static str,
        /// Which would do.
        expected: &'static str,
    },
}

/// Signs `claims` with the private key in `pem`; a compact JWS, itself a secret until it expires.
///
/// A key that went through a one-line field, or through JSON, has lost its line breaks or has them as `\n`: it is taken
/// all the same.
///
/// # Errors
/// Says what is wrong with the key, and never quotes it.
pub fn sign(
    pem: &Secret,
    algorithm: JwtAlgorithm,
    key_id: Option<&str>,
    claims: &Claims<'_>,
) -> Result<Secret, AssertionError> {
    let pem = in_lines(pem)?;
    let (alg, key, algorithm, expected) = match algorithm {
        JwtAlgorithm::Rs256 => {
            (Algorithm::RS256, EncodingKey::from_rsa_pem(&pem), "RS256", "an RSA key of at least 2048 bits is needed")
        }
        JwtAlgorithm::Es256 => {
            (Algorithm::ES256, EncodingKey::from_ec_pem(&pem), "ES256", "a P-256 key in PKCS #8 form is needed")
        }
    };
    let other = || AssertionError::OtherKey { algorithm, expected };
    let header = Header { kid: key_id.map(str::to_owned), ..Header::new(alg) };
    let signed = key.and_then(|key| jsonwebtoken::encode(&header, claims, &key));
    signed.map(Secret::from_string).map_err(|_| other())
}

/// The key as its file has it: the armour on lines of its own, and 64 characters on each line between.
fn in_lines(pem: &Secret) -> Result<Zeroizing<Vec<u8>>, AssertionError> {
    const LINE: usize = 64;
    let text = pem.expose_str().map_err(|_| AssertionError::NotPem)?;
    let (_, rest) = text.split_once("-----BEGIN ").ok_or(AssertionError::NotPem)?;
    let (label, rest) = rest.split_once("-----").ok_or(AssertionError::NotPem)?;
    let (body, end) = rest.split_once("-----END ").ok_or(AssertionError::NotPem)?;
    let found = match label {
        "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" => None,
        "ENCRYPTED PRIVATE KEY" => Some("private key with a password"),
        "PUBLIC KEY" | "RSA PUBLIC KEY" => Some("public key"),
        "CERTIFICATE" => Some("certificate"),
        _ => return Err(AssertionError::NotPem),
    };
    if let Some(found) = found {
        return Err(AssertionError::NotPrivate { found });
    }
    if body.contains("ENCRYPTED") {
        return Err(AssertionError::NotPrivate { found: "private key with a password" });
    }
    let unescaped = Zeroizing::new(body.replace("\\n", "\n").replace("\\r", "\n"));
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    if !end.starts_with(label) || !unescaped.bytes().all(|byte| sound(byte) || byte.is_ascii_whitespace()) {
        return Err(AssertionError::NotPem);
    }
    // Sized ahead, so that growing leaves no copies.
    let mut lines = Zeroizing::new(Vec::with_capacity(2 * text.len() + 128));
    lines.extend_from_slice(format!("-----BEGIN {label}-----\n").as_bytes());
    for (index, byte) in unescaped.bytes().filter(|byte| !byte.is_ascii_whitespace()).enumerate() {
        if index > 0 && index % LINE == 0 {
            lines.push(b'\n');
        }
        lines.push(byte);
    }
    lines.extend_from_slice(format!("\n-----END {label}-----\n").as_bytes());
    Ok(lines)
}

#[cfg(test)]
mod tests;
