//! `[webhook]`: how a provider's requests to us are verified, split and answered, before any guest sees them.

mod scheme;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::scheme::{
    HmacScheme, JwtScheme, KeyDecoding, MacAlgorithm, PostbackScheme, PublicKey, PublicKeyScheme, Scheme,
    SignatureEncoding, SignatureSyntax, TimestampFormat, TokenPlace, TokenValue,
};
use crate::JsonPointer;

/// The whole section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// How a request proves that the provider sent it.
    pub scheme: Scheme,
    /// Other proofs that are as good: a request that gives any of them is believed.
    #[serde(default)]
    pub also: Vec<Scheme>,
    /// Whose secret verifies: the app's, or one of each connection.
    #[serde(default)]
    pub secret: SecretOwner,
    /// What the provider wants echoed.
    #[serde(default)]
    pub handshake: Handshake,
    /// Requests that verify and are no news, as a provider's first one may be: answered, and not kept.
    #[serde(default)]
    pub ignore: Vec<HeaderIs>,
    /// How a body becomes items, each an event of one connection: alternatives, and the first that applies decides.
    /// With none at all the body is one item. A body that no alternative applies to is one item that belongs to
    /// nobody: kept, counted, answered 2xx.
    #[serde(default)]
    pub split: Vec<Split>,
    /// Status for a request that does not verify.
    #[serde(default = "unauthorized")]
    pub refusal_status: u16,
    /// A refusal has no body, for providers that take one for a mistake.
    #[serde(default)]
    pub refuse_bare: bool,
    /// Who answers one that does.
    #[serde(default)]
    pub reply: Reply,
}

impl Webhook {
    /// All that may prove that a request is the provider's.
    pub fn schemes(&self) -> impl Iterator<Item = &Scheme> {
        std::iter::once(&self.scheme).chain(&self.also)
    }

    /// What is kept as the webhook secret, in words; `None` where a request can be proved without one.
    #[must_use]
    pub fn secret_is(&self) -> Option<String> {
        let needed: Option<Vec<_>> = self.schemes().map(Scheme::secret_is).collect();
        needed?.into_iter().next()
    }

    /// Whether a path goes on with a token.
    #[must_use]
    pub fn has_path_token(&self) -> bool {
        self.schemes().any(|scheme| matches!(scheme, Scheme::Token { at: TokenPlace::Path, .. }))
    }
}

fn unauthorized() -> u16 {
    401
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
    /// A query parameter, as plain text; any request by that method that has it is the handshake.
    EchoQuery {
        /// The parameter's name.
        param: String,
        /// By which method.
        #[serde(default)]
        method: HandshakeMethod,
    },
    /// A field of the JSON body.
    EchoJson {
        /// Where it stands.
        pointer: JsonPointer,
        /// What makes a request the handshake; without it, that the field is there.
        when: Option<Condition>,
        /// As this field of a JSON object; without it, as plain text.
        as_field: Option<String>,
    },
    /// A header, on every answer to a request that has it and verifies; a GET that does is the handshake, and nothing else.
    EchoHeader {
        /// The header's name.
        name: String,
        /// As this field of a JSON object, too.
        as_field: Option<String>,
    },
}

/// The method of a handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HandshakeMethod {
    /// GET.
    #[default]
    Get,
    /// POST.
    Post,
}

impl Handshake {
    /// Whether a GET may be one.
    #[must_use]
    pub fn takes_get(&self) -> bool {
        matches!(self, Self::EchoQuery { method: HandshakeMethod::Get, .. } | Self::EchoHeader { .. })
    }
}

/// Something that holds of a request: this header has this value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderIs {
    /// The header's name.
    pub header: String,
    /// Its value.
    pub equals: String,
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
    /// How the body is read. What is signed is its bytes, whatever this says.
    #[serde(default)]
    pub body: BodySyntax,
    /// What has to hold of the body.
    pub when: Option<Condition>,
    /// The array whose items are separate events; `""`: the body is the array.
    pub items: Option<JsonPointer>,
    /// Where the account's id stands, when one address serves all connections.
    pub route_by: Option<JsonPointer>,
    /// Where in that, if what stands at `route_by` is a JSON document in base64.
    pub route_inside: Option<JsonPointer>,
    /// What makes an event unique: where its id stands, or `""` for all its bytes; the first that is present decides.
    /// Where nothing does, the same bytes are news again.
    #[serde(default)]
    pub dedupe: Vec<JsonPointer>,
    /// Header with the delivery's id, where no pointer of `dedupe` finds one.
    pub dedupe_header: Option<String>,
    /// Where the key stands whose items stay in order; without one the connection is one lane.
    pub order_by: Option<JsonPointer>,
}

/// How a body is read, told apart by its `kind`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum BodySyntax {
    /// It is JSON.
    #[default]
    Json,
    /// It is a form, of which pointers see an object of texts. The guest gets it as it came.
    Form,
    /// It is a form with JSON in a field. That document is what pointers see and what the guest gets.
    FormJson {
        /// The field's name.
        field: String,
    },
    /// It is not read, and may be empty.
    Opaque,
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
