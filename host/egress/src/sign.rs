//! Step 8, where the credential is a signature: over the request as it goes out, so after everything else is in place.
//!
//! Invariant: each send is signed for itself, at its own time; a provider that takes no nonce twice takes no repetition of
//! ours for an attack.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bulkhead_manifest::{HmacTemplate, RequestPart, TimestampUnit};
use bulkhead_vault::sign::{SigningKey, sha256};
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use zeroize::Zeroizing;

use crate::effect::Draft;
use crate::error::InvalidRequest;
use crate::sigv4;

/// Signs requests to one host.
#[derive(Debug)]
pub(crate) enum Signer {
    Aws(sigv4::Signer),
    Template(TemplateSigner),
}

impl Signer {
    /// Where the signature stands.
    pub(crate) fn header(&self) -> &str {
        match self {
            Self::Aws(_) => AUTHORIZATION.as_str(),
            Self::Template(signer) => &signer.signing.name,
        }
    }

    /// Adds the headers of a signature, in the place of whatever the request had there.
    pub(crate) fn sign(&self, draft: &mut Draft, host: &str, now_ms: u64) -> Result<(), InvalidRequest> {
        match self {
            Self::Aws(signer) => signer.sign(draft, host, now_ms),
            Self::Template(signer) => signer.sign(draft, host, now_ms),
        }
    }
}

/// Signs by a template.
pub(crate) struct TemplateSigner {
    pub(crate) signing: HmacTemplate,
    pub(crate) key: SigningKey,
    /// What the template names of the credential.
    pub(crate) fields: Vec<(String, Zeroizing<String>)>,
}

impl std::fmt::Debug for TemplateSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TemplateSigner").field("signing", &self.signing).finish_non_exhaustive()
    }
}

/// What differs from one signature to the next.
struct Varying<'a> {
    signature: &'a str,
    timestamp: &'a str,
    nonce: &'a str,
}

impl TemplateSigner {
    /// Whether its header's value can stand in a header, whatever the signature.
    pub(crate) fn check(&self) -> Result<(), InvalidRequest> {
        let longest = "0".repeat(128);
        self.value(&Varying { signature: &longest, timestamp: "0", nonce: "0" }).map(drop)
    }

    fn sign(&self, draft: &mut Draft, host: &str, now_ms: u64) -> Result<(), InvalidRequest> {
        let timestamp = match self.signing.timestamp_unit {
            TimestampUnit::Seconds => now_ms / 1_000,
            TimestampUnit::Milliseconds => now_ms,
        };
        let timestamp = timestamp.to_string();
        let nonce = hex::encode(bulkhead_vault::random::<16>());
        let signature = self.signature(draft, host, &timestamp, &nonce);
        let value = self.value(&Varying { signature: &signature, timestamp: &timestamp, nonce: &nonce })?;
        let HmacTemplate { name, timestamp_header, nonce_header, .. } = &self.signing;
        draft.headers.insert(header(name)?, value);
        for (name, text) in [(timestamp_header, &timestamp), (nonce_header, &nonce)] {
            if let Some(name) = name {
                draft.headers.insert(header(name)?, HeaderValue::from_str(text).map_err(|_| invalid(name))?);
            }
        }
        Ok(())
    }

    fn signature(&self, draft: &Draft, host: &str, timestamp: &str, nonce: &str) -> String {
        let url = &draft.url;
        let query = url.query().unwrap_or_default();
        let text = |part| match part {
            RequestPart::Text(text) => Cow::Borrowed(text.as_bytes()),
            RequestPart::Method => draft.method.as_str().as_bytes().into(),
            RequestPart::Path => url.path().as_bytes().into(),
            RequestPart::Query => query.as_bytes().into(),
            RequestPart::PathAndQuery if query.is_empty() => url.path().as_bytes().into(),
            RequestPart::PathAndQuery => format!("{}?{query}", url.path()).into_bytes().into(),
            RequestPart::Host => host.as_bytes().into(),
            RequestPart::Url => url.as_str().as_bytes().into(),
            RequestPart::Timestamp => timestamp.as_bytes().into(),
            RequestPart::Nonce => nonce.as_bytes().into(),
            RequestPart::Body => draft.body.as_ref().into(),
            RequestPart::BodySha256Hex => hex::encode(sha256(&draft.body)).into_bytes().into(),
            RequestPart::BodySha256Base64 => BASE64.encode(sha256(&draft.body)).into_bytes().into(),
            RequestPart::Field(name) => self.field(name).unwrap_or_default().as_bytes().into(),
        };
        let texts: Vec<Cow<'_, [u8]>> = self.signing.signed.parts().into_iter().map(text).collect();
        let parts: Vec<&[u8]> = texts.iter().map(AsRef::as_ref).collect();
        self.key.sign(self.signing.algorithm, self.signing.encoding, &parts)
    }

    fn value(&self, varying: &Varying<'_>) -> Result<HeaderValue, InvalidRequest> {
        let known = |name: &str| match name {
            "signature" => Some(varying.signature.to_owned()),
            "timestamp" => Some(varying.timestamp.to_owned()),
            "nonce" => Some(varying.nonce.to_owned()),
            field => self.field(field).map(str::to_owned),
        };
        let invalid = || invalid(&self.signing.name);
        let value = Zeroizing::new(self.signing.value.render(known).map_err(|_| invalid())?);
        let mut value = HeaderValue::from_str(&value).map_err(|_| invalid())?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str())
    }
}

fn header(name: &str) -> Result<HeaderName, InvalidRequest> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid(name))
}

fn invalid(name: &str) -> InvalidRequest {
    InvalidRequest::Value { name: name.to_owned() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bulkhead_manifest::KeyDecoding;
    use bulkhead_vault::Secret;
    use http::header::HeaderMap;
    use url::Url;

    use super::*;

    fn signer(signed: &str, more: serde_json::Value) -> TemplateSigner {
        let mut signing = serde_json::json!({
            "name": "x-signature", "key_field": "secret", "signed": signed, "encoding": "hex",
        });
        signing.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let signing: HmacTemplate = serde_json::from_value(signing).unwrap();
        let key = SigningKey::new(&Secret::from_string("Jefe".into()), KeyDecoding::Text).unwrap();
        TemplateSigner { signing, key, fields: vec![("key_id".into(), Zeroizing::new("k1".to_owned()))] }
    }

    fn draft(url: &str) -> Draft {
        Draft {
            method: http::Method::POST,
            url: Url::parse(url).unwrap(),
            headers: HeaderMap::new(),
            body: "hello".into(),
        }
    }

    fn sign(signer: &TemplateSigner, draft: &mut Draft) {
        signer.sign(draft, "a.example", 1_700_000_000_123).unwrap();
    }

    fn header<'d>(draft: &'d Draft, name: &str) -> &'d str {
        draft.headers.get(name).unwrap().to_str().unwrap()
    }

    /// What would be signed with these parts of a request written out.
    fn expected(text: &str) -> String {
        let key = SigningKey::new(&Secret::from_string("Jefe".into()), KeyDecoding::Text).unwrap();
        key.sign(Default::default(), bulkhead_manifest::SignatureEncoding::Hex, &[text.as_bytes()])
    }

    /// Mutation: `TemplateSigner::signature`, any part as another.
    #[test]
    fn each_part_is_signed_as_it_is_sent() {
        let hash = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        for (signed, text) in [
            ("{method} {path}", "POST /a%20b"),
            ("{query}|{path_and_query}", "x=%2F&y|/a%20b?x=%2F&y"),
            ("{host}\n{url}", "a.example\nhttps://a.example/a%20b?x=%2F&y"),
            ("{timestamp}{key_id}{body}", "1700000000k1hello"),
            ("{body_sha256_hex}", hash),
            ("{body_sha256_base64}", "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="),
        ] {
            let mut draft = draft("https://a.example/a%20b?x=%2F&y");
            sign(&signer(signed, serde_json::json!({})), &mut draft);
            assert_eq!(header(&draft, "x-signature"), expected(text), "{signed}");
        }
        let mut bare = draft("https://a.example/a");
        sign(&signer("{query}|{path_and_query}", serde_json::json!({})), &mut bare);
        assert_eq!(header(&bare, "x-signature"), expected("|/a"));
    }

    /// Mutations: `TemplateSigner::sign`, seconds whatever the unit; without either header; the nonce of a constant.
    #[test]
    fn what_varies_is_told_beside_the_signature() {
        let more = serde_json::json!({
            "value": "Credential={key_id}, Signature={signature}", "timestamp_header": "x-time",
            "timestamp_unit": "milliseconds", "nonce_header": "x-nonce",
        });
        let signer = signer("{timestamp}{nonce}", more);
        signer.check().unwrap();
        let [mut first, mut second] = [draft("https://a.example/"), draft("https://a.example/")];
        sign(&signer, &mut first);
        sign(&signer, &mut second);
        let nonce = header(&first, "x-nonce");
        assert!(nonce.len() == 32 && nonce != header(&second, "x-nonce"));
        assert_eq!(header(&first, "x-time"), "1700000000123");
        let signature = expected(&format!("1700000000123{nonce}"));
        assert_eq!(header(&first, "x-signature"), format!("Credential=k1, Signature={signature}"));
    }

    #[test]
    fn a_field_that_no_header_can_carry_is_found_before_anything_is_signed() {
        let mut signer = signer("{path}", serde_json::json!({ "value": "{key_id}{signature}" }));
        signer.fields = vec![("key_id".into(), Zeroizing::new("k1\r\nx-admin: 1".to_owned()))];
        assert_eq!(signer.check(), Err(InvalidRequest::Value { name: "x-signature".into() }));
    }
}
