//! `scheme` and `also`: every way in which a request can prove who sends it.
//!
//! To add one: a variant of [`Scheme`], its checks in `parse/checks/webhook/schemes.rs`, and what carries it out in the
//! vault. None of them names a provider.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Condition;
use crate::model::{HostPattern, SignedTemplate, UrlTemplate};
use crate::{JsonPointer, Template};

/// How a request proves that the provider sent it, told apart by its `kind`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Scheme {
    /// A MAC over the raw bytes.
    Hmac(HmacScheme),
    /// A signature whose key is no secret.
    PublicKey(PublicKeyScheme),
    /// A token that a third party signed. It says who sends the request, and nothing about its body: what matters has
    /// to be fetched from the provider.
    Jwt(JwtScheme),
    /// The provider is asked whether the request is its own.
    Postback(PostbackScheme),
    /// It repeats something that only the provider knows.
    Token {
        /// Where.
        at: TokenPlace,
        /// What.
        #[serde(default)]
        expects: TokenValue,
    },
    /// It does not: the endpoint's own unguessable address is all there is. The connector has to fetch what a request
    /// is about from the provider; its egress rules say where that may be.
    None,
}

impl Scheme {
    /// What is kept as the webhook secret, in words; `None` where nothing is needed.
    #[must_use]
    pub fn secret_is(&self) -> Option<String> {
        let repeated = "what the provider calls this webhook";
        let what = match self {
            Self::Hmac(_) => "the secret that the provider signs with",
            Self::PublicKey(scheme) => match &scheme.key {
                PublicKey::Ed25519 { .. } => "the public key of the provider's signatures",
                PublicKey::Certificate { .. } if scheme.signed.placeholders().any(|name| name == "secret") => repeated,
                PublicKey::Certificate { .. } => return None,
            },
            Self::Jwt(scheme) => return Some(format!("what the provider's tokens have as `{}`", scheme.secret_claim)),
            Self::Postback(scheme) if scheme.secret_field.is_some() => repeated,
            Self::Token { expects: TokenValue::Secret, .. } => "the token that the provider repeats",
            Self::Postback(_) | Self::Token { expects: TokenValue::ClientId, .. } | Self::None => return None,
        };
        Some(what.to_owned())
    }

    /// Whether a request that it lets in proves who sent it. Else all that does is the address, if nobody can guess it.
    #[must_use]
    pub fn proves_sender(&self) -> bool {
        !matches!(self, Self::None | Self::Token { expects: TokenValue::ClientId, .. })
    }
}

/// A MAC over the raw bytes, in a header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HmacScheme {
    /// Of what kind.
    #[serde(default)]
    pub algorithm: MacAlgorithm,
    /// How the signature is written.
    pub encoding: SignatureEncoding,
    /// Header with the signature. `X-DocuSign-Signature-*` stands for the headers that end in `1`, `2` …; any of
    /// them may verify.
    pub header: String,
    /// How the header's value is read.
    #[serde(default)]
    pub parse: SignatureSyntax,
    /// What is signed.
    #[serde(default)]
    pub signed: SignedTemplate,
    /// How far the timestamp may be from now, either way. Needs `{timestamp}` in `signed`. A provider that tries again for days,
    /// with the time of its first try, needs days; what comes twice within them is one delivery by `dedupe` alone.
    pub tolerance_seconds: Option<u32>,
    /// How the secret's text becomes a key.
    #[serde(default)]
    pub key_decoding: KeyDecoding,
    /// Header that `{id}` stands for.
    pub id_header: Option<String>,
    /// Header that `{timestamp}` stands for, unless the signature header holds it.
    pub timestamp_header: Option<String>,
    /// How the timestamp is written.
    #[serde(default)]
    pub timestamp_format: TimestampFormat,
}

/// How a moment is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimestampFormat {
    /// Seconds since 1970.
    #[default]
    Unix,
    /// Milliseconds since 1970.
    UnixMs,
    /// `2026-11-21T07:25:37Z`.
    Rfc3339,
}

/// A signature whose key is no secret, in a header. What has the same name as in [`HmacScheme`] is the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicKeyScheme {
    /// Which key.
    pub key: PublicKey,
    /// How the signature is written.
    pub encoding: SignatureEncoding,
    /// Header with the signature.
    pub header: String,
    /// How the header's value is read.
    #[serde(default)]
    pub parse: SignatureSyntax,
    /// What is signed: `{id}`, `{timestamp}`, `{url}`, `{body}`; or `{body_crc32}` (decimal), a checksum that whoever has
    /// one signed request can give another body; `{secret}` is the webhook secret, where it is only a name for the
    /// webhook.
    pub signed: Template,
    /// How far the timestamp may be from now, either way.
    pub tolerance_seconds: Option<u32>,
    /// Header that `{id}` stands for.
    pub id_header: Option<String>,
    /// Header that `{timestamp}` stands for, unless the signature header holds it.
    pub timestamp_header: Option<String>,
    /// How the timestamp is written.
    #[serde(default)]
    pub timestamp_format: TimestampFormat,
}

/// A key that anybody may know, told apart by its `kind`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PublicKey {
    /// Ed25519; the key is kept as the webhook secret.
    Ed25519 {
        /// How its text becomes a key.
        #[serde(default = "whpk")]
        decoding: KeyDecoding,
    },
    /// RSA with SHA-256, by a certificate that the provider serves. Its chain has to lead to an authority that this
    /// machine trusts for servers.
    Certificate {
        /// Header with the certificate's URL, which is https.
        url_header: String,
        /// Where certificates may be fetched from.
        hosts: Vec<HostPattern>,
        /// The host name that it has to be for, if the provider says one. Where `hosts` has a wildcard this is needed:
        /// anybody who can put a file below one of them could bring a certificate of their own.
        subject: Option<String>,
    },
}

fn whpk() -> KeyDecoding {
    KeyDecoding::Whpk
}

/// A JSON Web Token (RS256) in a header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtScheme {
    /// Header with the token, after `Bearer` where that stands there.
    #[serde(default = "authorization")]
    pub header: String,
    /// Where its signer's keys are: a JWKS document.
    pub keys_url: UrlTemplate,
    /// What `iss` may be.
    pub issuers: Vec<String>,
    /// What `aud` has to be; without it, the address that is registered with the provider.
    pub audience: Option<String>,
    /// The claim that has to be what is kept as the webhook secret, as `email` is for a service account. Without it
    /// everybody who has tokens of that issuer would be believed.
    pub secret_claim: String,
    /// Claims that have to be `true`.
    #[serde(default)]
    pub true_claims: Vec<String>,
    /// How far clocks may be apart, seconds.
    #[serde(default = "minute")]
    pub tolerance_seconds: u32,
}

fn authorization() -> String {
    "Authorization".to_owned()
}

fn minute() -> u32 {
    60
}

/// The provider is asked, with the connection's credential as its egress rule places it. The question is a JSON object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostbackScheme {
    /// Where to POST it, over the environment's variables. An egress rule has to allow that, as a POST that only reads:
    /// nothing may take the question for an effect and answer it with what it answered before.
    pub url: UrlTemplate,
    /// Fields that repeat a header of the request: the field, and the header.
    pub headers: BTreeMap<String, String>,
    /// Field for the webhook secret, where that is only a name for the webhook.
    pub secret_field: Option<String>,
    /// Field for the request's body, byte for byte.
    pub body_field: String,
    /// What the answer says where the request is its own.
    pub expects: Condition,
    /// How far the timestamp may be from now, either way. Needs `timestamp_header`.
    pub tolerance_seconds: Option<u32>,
    /// Header with the timestamp: one of those that the provider is asked about.
    pub timestamp_header: Option<String>,
    /// How the timestamp is written.
    #[serde(default)]
    pub timestamp_format: TimestampFormat,
}

/// Hash below a MAC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MacAlgorithm {
    /// HMAC-SHA-256.
    #[default]
    Sha256,
    /// HMAC-SHA-1, for providers that offer nothing better.
    Sha1,
    /// HMAC-SHA-512.
    Sha512,
}

/// How a signature is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignatureEncoding {
    /// Hexadecimal.
    Hex,
    /// Base64, standard alphabet.
    Base64,
}

/// How a signature header's value is read, told apart by its `kind`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SignatureSyntax {
    /// The signature alone, after a fixed prefix: `sha256=…`.
    Plain {
        /// What stands before it.
        #[serde(default)]
        prefix: String,
    },
    /// `t=1700000000,v1=…,v1=…`: comma-separated pairs; any signature may verify, other keys are ignored.
    Kv {
        /// Key of the timestamp.
        timestamp: Option<String>,
        /// Key of a signature.
        signature: String,
    },
    /// `v1,… v1,…`: entries of which those with the prefix are signatures; any may verify.
    List {
        /// Between entries.
        #[serde(default = "space")]
        separator: String,
        /// What a signature of this scheme starts with.
        #[serde(default)]
        prefix: String,
    },
}

impl Default for SignatureSyntax {
    fn default() -> Self {
        Self::Plain { prefix: String::new() }
    }
}

fn space() -> String {
    " ".to_owned()
}

/// How the secret's text becomes a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyDecoding {
    /// Its bytes as they are, whatever the text looks like.
    #[default]
    Text,
    /// Base64.
    Base64,
    /// Base64 after `whsec_`, as Standard Webhooks has it.
    Whsec,
    /// Base64 after `whpk_`: the same for a public key.
    Whpk,
    /// Hexadecimal.
    Hex,
}

/// Where a request repeats a token, told apart by its `kind`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TokenPlace {
    /// In a header.
    Header {
        /// The header's name.
        name: String,
    },
    /// In several headers, each with a part of it: the secret is what they say in this order, with `:` in between, as
    /// `channel:token` is where a channel's number has to fit, too.
    Headers {
        /// The headers' names.
        names: Vec<String>,
    },
    /// In a query parameter.
    Query {
        /// The parameter's name.
        name: String,
    },
    /// In the path: what follows the address and one more `/`.
    Path,
    /// In the JSON body.
    Json {
        /// Where it stands: in the body, or in every item of `each`.
        pointer: JsonPointer,
        /// The array whose items all have to repeat it.
        each: Option<JsonPointer>,
    },
}

/// What a repeated token is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenValue {
    /// The webhook secret.
    #[default]
    Secret,
    /// The client id of the connection's app. Everybody may know it, so it proves no sender: it is taken only where the
    /// connection's own unguessable address does, as with no proof at all.
    ClientId,
}
