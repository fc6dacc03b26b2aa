//! `[webhook]`: how a provider's requests to us are verified, split and answered, before any guest sees them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::SignedTemplate;
use crate::JsonPointer;

/// The whole section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// How a request proves that the provider sent it.
    pub scheme: Scheme,
    /// Whose secret verifies: the app's, or one of each connection.
    #[serde(default)]
    pub secret: SecretOwner,
    /// What the provider wants echoed.
    #[serde(default)]
    pub handshake: Handshake,
    /// How a body becomes items, each an event of one connection: alternatives, and the first that applies decides.
    /// With none at all the body is one item. A body that no alternative applies to is one item that belongs to
    /// nobody: kept, counted, answered 2xx.
    #[serde(default)]
    pub split: Vec<Split>,
    /// Status for a request that does not verify.
    #[serde(default = "unauthorized")]
    pub refusal_status: u16,
    /// Who answers one that does.
    #[serde(default)]
    pub reply: Reply,
}

fn unauthorized() -> u16 {
    401
}

/// How a request proves that the provider sent it, told apart by its `kind`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Scheme {
    /// A MAC over the raw bytes.
    Hmac(HmacScheme),
    /// It repeats something that only the provider knows.
    Token {
        /// Where.
        at: TokenPlace,
        /// What.
        #[serde(default)]
        expects: TokenValue,
    },
    /// It does not: the endpoint's own unguessable address is all there is.
    None,
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
    /// How far the timestamp may be from now, either way. Needs `{timestamp}` in `signed`.
    pub tolerance_seconds: Option<u32>,
    /// How the secret's text becomes a key.
    #[serde(default)]
    pub key_decoding: KeyDecoding,
    /// Header that `{id}` stands for.
    pub id_header: Option<String>,
    /// Header that `{timestamp}` stands for, unless the signature header holds it. Unix seconds.
    pub timestamp_header: Option<String>,
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
    /// In a query parameter.
    Query {
        /// The parameter's name.
        name: String,
    },
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
    /// The app's client id, which is no secret: worth little more than the address itself.
    ClientId,
}

/// Whose secret verifies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretOwner {
    /// The app's: one address at the provider serves every connection, and `route_by` tells them apart.
    App,
    /// Each connection's own, typed in or captured.
    #[default]
    Connection,
}

/// What the provider wants echoed to believe that we are here, told apart by its `kind`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Handshake {
    /// Nothing.
    #[default]
    None,
    /// A query parameter, as plain text; any request that has it is the handshake.
    EchoQuery {
        /// The parameter's name.
        param: String,
    },
    /// A field of the JSON body, as plain text.
    EchoJson {
        /// Where it stands.
        pointer: JsonPointer,
        /// What makes a request the handshake; without it, that the field is there.
        when: Option<Condition>,
    },
    /// A header, on every answer to a request that has it.
    EchoHeader {
        /// The header's name.
        name: String,
    },
}

/// Something that holds of a JSON document: at `pointer` stands this text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// Where to look.
    pub pointer: JsonPointer,
    /// What text stands there; without one it is enough that something does.
    pub equals: Option<String>,
}

impl Condition {
    /// Whether it holds.
    #[must_use]
    pub fn holds(&self, document: &Value) -> bool {
        match (self.pointer.lookup(document), &self.equals) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(found), Some(expected)) => found.as_str() == Some(expected),
        }
    }
}

/// One way that a body may be made of items.
///
/// It applies where `when` holds of the body and `items` finds an array; without `items` the body is the one item.
/// The other pointers are inside an item.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// What has to hold of the body.
    pub when: Option<Condition>,
    /// The array whose items are separate events; `""`: the body is the array.
    pub items: Option<JsonPointer>,
    /// Where the account's id stands, when one address serves all connections.
    pub route_by: Option<JsonPointer>,
    /// What makes an event unique: where its id stands, or `""` for all its bytes; the first that is present decides.
    /// Where nothing does, the same bytes are news again.
    #[serde(default)]
    pub dedupe: Vec<JsonPointer>,
    /// Header with the delivery's id, where no pointer of `dedupe` finds one.
    pub dedupe_header: Option<String>,
    /// Where the key stands whose items stay in order; without one the connection is one lane.
    pub order_by: Option<JsonPointer>,
}

/// Who answers a request that verifies: `"ack"`, `"run"`, or a table with `kind = "run"`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Reply {
    /// The host, with an empty 200, as soon as it is on disk.
    #[default]
    Ack,
    /// The run's own receipt, if it is there in time.
    Run {
        /// How long to wait for it, milliseconds.
        #[serde(default = "reply_deadline_ms")]
        deadline_ms: u32,
        /// Body of the answer when it is not.
        #[serde(default)]
        fallback: String,
    },
}

fn reply_deadline_ms() -> u32 {
    2_500
}
