//! A MAC over parts of a request, as a credential.

use serde::{Deserialize, Serialize};

use super::{KeyDecoding, MacAlgorithm, RequestTemplate, SignatureEncoding};
use crate::Template;

/// What is signed, with what, and in which headers it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HmacTemplate {
    /// The header that the signature goes to.
    pub name: String,
    /// That header's value, over `{signature}`, `{timestamp}`, `{nonce}` and the credential's fields:
    /// `Credential={key_id}, Signature={signature}`.
    #[serde(default = "signature")]
    pub value: Template,
    /// Which field is the key.
    pub key_field: String,
    /// How its text becomes one.
    #[serde(default)]
    pub key_decoding: KeyDecoding,
    /// What is signed.
    pub signed: RequestTemplate,
    /// With what.
    #[serde(default)]
    pub algorithm: MacAlgorithm,
    /// Written how.
    pub encoding: SignatureEncoding,
    /// The header that `{timestamp}` goes to, unless `value` holds it.
    pub timestamp_header: Option<String>,
    /// In what a timestamp is counted.
    #[serde(default)]
    pub timestamp_unit: TimestampUnit,
    /// The header that `{nonce}` goes to, unless `value` holds it.
    pub nonce_header: Option<String>,
}

fn signature() -> Template {
    Template::literal("{signature}")
}

/// In what time since 1970 is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimestampUnit {
    /// Seconds.
    #[default]
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

impl HmacTemplate {
    /// Names in `value` that are not a field's.
    pub const IN_VALUE: &[&str] = &["signature", "timestamp", "nonce"];

    /// The headers that it writes.
    pub fn headers(&self) -> impl Iterator<Item = &str> {
        let more = [&self.timestamp_header, &self.nonce_header];
        std::iter::once(self.name.as_str()).chain(more.into_iter().flatten().map(String::as_str))
    }
}
