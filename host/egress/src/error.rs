//! Why a request was not answered, and whether any byte of it may have left.
//!
//! Invariant: no message here tells an address, a secret or anything else of the host's inside: guests
//! read them.

use std::net::IpAddr;

use bulkhead_manifest::egress_match::Miss;

use crate::address::{Block, Literal};
use crate::intents::Refused;
use crate::resolve::ResolveError;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// It may not go there.
    #[error("{0}")]
    Denied(Denial),
    /// The rule needs something that this connection does not have.
    #[error("the connection has no {missing}, which requests to this host carry; connect it again")]
    NoCredential {
        /// What: a field of the credential, or of the account.
        missing: String,
    },
    /// No place came free in time, or a declared budget is spent.
    #[error("too many requests at once or in a short time; send fewer, or try again in {retry_after_ms} ms")]
    RateLimited {
        /// When to try again.
        retry_after_ms: u64,
    },
    /// No provider could make sense of it.
    #[error("{0}")]
    InvalidRequest(InvalidRequest),
    /// It, or the answer, is too large.
    #[error("{what} larger than the {limit} bytes that are allowed")]
    TooLarge {
        /// Which.
        what: Large,
        /// How much is allowed.
        limit: usize,
    },
    /// It took too long.
    #[error("no answer in time{}", maybe_sent(*.sent))]
    Timeout {
        /// Whether any byte may have left.
        sent: bool,
    },
    /// No connection could be made; nothing left.
    #[error("no connection to {host}: {reason}")]
    Connect {
        /// The name.
        host: String,
        /// Why not.
        reason: ConnectFailure,
    },
    /// The connection broke, or what came back was not HTTP, or its headers were beyond all limits.
    #[error("the connection broke before the answer was complete{}", maybe_sent(*.sent))]
    Broken {
        /// Whether any byte may have left.
        sent: bool,
    },
    /// What the rule has taken out of such answers cannot be taken out of this one. The provider did answer.
    #[error(
        "the provider answered {status}, and the answer is withheld: {problem}, so that the secret {name} cannot be taken out of it"
    )]
    Withheld {
        /// With this status.
        status: u16,
        /// What is to be captured.
        name: String,
        /// Why it cannot be.
        problem: &'static str,
    },
    /// The answer came packed, though that was not asked for, and cannot be unpacked. The provider did answer.
    #[error("the provider answered {status}, and the answer's body cannot be read: {problem}")]
    Packed {
        /// With this status.
        status: u16,
        /// Why it cannot be.
        problem: &'static str,
    },
    /// The journal did not let it go.
    #[error("{0}")]
    Refused(#[from] Refused),
}

fn maybe_sent(sent: bool) -> &'static str {
    if sent { "; the request may have been received" } else { "; the request was not sent" }
}

impl DoorError {
    /// Whether any byte of the request may have reached the provider. In doubt, yes.
    pub fn request_sent(&self) -> bool {
        match self {
            Self::Timeout { sent } | Self::Broken { sent } => *sent,
            Self::TooLarge { what, .. } => matches!(what, Large::Answer { .. }),
            Self::Withheld { .. } | Self::Packed { .. } => true,
            Self::Denied(_)
            | Self::NoCredential { .. }
            | Self::RateLimited { .. }
            | Self::InvalidRequest(_)
            | Self::Connect { .. }
            | Self::Refused(_) => false,
        }
    }

    /// With which status the provider did answer, though nobody gets to read it.
    pub fn answered(&self) -> Option<u16> {
        match self {
            Self::TooLarge { what: Large::Answer { status }, .. }
            | Self::Withheld { status, .. }
            | Self::Packed { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether it may have happened and nobody can tell: bytes may have left and no status came back.
    pub fn ambiguous(&self) -> bool {
        self.request_sent() && self.answered().is_none()
    }

    /// Whether the same request may fare better later.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::RateLimited { .. } | Self::Timeout { .. } | Self::Connect { .. } | Self::Broken { .. })
    }
}

impl From<Denial> for DoorError {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

impl From<InvalidRequest> for DoorError {
    fn from(invalid: InvalidRequest) -> Self {
        Self::InvalidRequest(invalid)
    }
}

impl From<UrlProblem> for DoorError {
    fn from(problem: UrlProblem) -> Self {
        Self::InvalidRequest(InvalidRequest::Url(problem))
    }
}

/// Why a request may not go where it wants.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// No egress rule allows it.
    #[error("denied: {0}. The manifest's [[egress]] rules decide")]
    Rule(Miss),
    /// A method that no rule can allow.
    #[error("denied: {method} is never sent")]
    Method {
        /// Which.
        method: String,
    },
    /// The host is an address, in whatever writing.
    #[error("denied: the URL names an address, written {0}; ask for a name")]
    Literal(Literal),
    /// The name leads to an address inside somebody's network.
    #[error("denied: {host} does not resolve to public addresses only")]
    Address {
        /// The name.
        host: String,
        /// The address, for operators.
        address: IpAddr,
        /// Which block it is in, for operators.
        block: Block,
    },
    /// The rule would carry the credential beyond what its app is pinned to.
    #[error("denied: the app's credential may not be sent to {host}, or not in this place; the operator pins both")]
    OutsidePin {
        /// The name.
        host: String,
    },
}

/// What makes a request none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequest {
    /// Its URL.
    #[error("the URL is not usable: {0}")]
    Url(UrlProblem),
    /// Its method.
    #[error("the method must be a word in upper case, such as GET")]
    Method,
    /// A header's name is none.
    #[error("no header can be called {name:?}: names are tokens without `_`, line breaks and colons")]
    HeaderName {
        /// The name as given.
        name: String,
    },
    /// A character in a header's value.
    #[error("the value of the header {name:?} has a line break or another control character in it; take it out")]
    HeaderValue {
        /// The header's name.
        name: String,
    },
    /// A header that the host alone writes, and not what it would write.
    #[error("the header {name} is the host's to write: {reserved}")]
    Reserved {
        /// The header's name.
        name: String,
        /// What it is about.
        reserved: Reserved,
    },
    /// More headers than are allowed.
    #[error("{found} headers; at most {limit} are allowed")]
    TooManyHeaders {
        /// How many.
        found: usize,
        /// The most.
        limit: usize,
    },
    /// A header that makes some servers treat the request as another one.
    #[error("the header {name} asks the server to treat this as another request; send that one")]
    Override {
        /// The name.
        name: String,
    },
    /// A value of the rule's own headers cannot stand in a header.
    #[error("the value for the header {name} has characters that no header can carry")]
    Value {
        /// The header's name.
        name: String,
    },
    /// The rule has it signed, and it cannot be.
    #[error("the request cannot be signed: {problem}")]
    Unsignable {
        /// Why not.
        problem: &'static str,
    },
    /// The effect key goes into the JSON body, and there is no JSON object to take it.
    #[error("the body must be JSON with an object at {parent:?}: the idempotency key goes to {pointer}")]
    NoPlaceForKey {
        /// Where the key goes.
        pointer: String,
        /// What must be an object.
        parent: String,
    },
    /// The rule's keys are too short to tell effects apart.
    #[error("the egress rule allows idempotency keys of {max_length} characters; 32 are needed")]
    KeyTooShort {
        /// The longest that the rule allows.
        max_length: u32,
    },
}

/// What a header that the host alone writes is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reserved {
    /// `Host`.
    #[error("it says whom the URL names, once; leave it out, and to ask somebody else ask for another URL")]
    Host,
    /// `Content-Length`.
    #[error("it says how long the body is, once; leave it out")]
    Length,
    /// `Transfer-Encoding` and what else tells where a message ends, or how it comes.
    #[error("a body goes whole, with its length; leave it out")]
    Framing,
    /// `Connection`, and what belongs to the network connection alone.
    #[error("a connection carries one request after the other and is never upgraded; leave it out")]
    Connection,
    /// What proxies ask and are told.
    #[error("there is no proxy on the way; leave it out")]
    Proxy,
    /// `X-Forwarded-For` and its like.
    #[error("a request tells nobody whom else it came from or was for; leave it out")]
    Forwarding,
}

/// What is wrong with a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlProblem {
    /// It is longer than anybody needs.
    #[error("it is longer than 8192 bytes")]
    TooLong,
    /// A blank, a control character or a backslash, which parsers repair in different ways.
    #[error("it has a blank, a backslash or a control character in it")]
    Character,
    /// It is of another scheme, or the scheme is not in lower case.
    #[error("it is not of the scheme https, in lower case")]
    Scheme,
    /// It does not start with `https://` and a host.
    #[error("it must start with https:// and a host")]
    NotAbsolute,
    /// A user, or a host that is made to look like one, stands before an `@`.
    #[error("it has user information before its host")]
    UserInfo,
    /// Letters of another script in the host, or what looks like ASCII and is not.
    #[error("its host has characters beyond ASCII; write it in punycode, as DNS has it")]
    NotAscii,
    /// Capitals in the host.
    #[error("its host has capitals; write it in lower case")]
    Capitals,
    /// Something percent-encoded in the host or port.
    #[error("its host or port has something percent-encoded in it; write it as it is")]
    Encoded,
    /// Other characters in the host or port that do not belong there.
    #[error("its host must be letters, digits, dots and hyphens")]
    Authority,
    /// The host is no name that DNS could have, though parsers take it for one.
    #[error("its host must be a name of labels of 1 to 63 letters, digits and inner hyphens, 253 in all")]
    Name,
    /// Nothing, or no number as everybody writes it, stands after the colon.
    #[error("its port must be a number without leading zeros, or left out with its colon")]
    Port,
    /// It cannot be parsed.
    #[error("it cannot be parsed")]
    Malformed,
}

/// What was too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Large {
    /// The request's body; nothing left.
    Request,
    /// The request's headers; nothing left.
    RequestHeaders,
    /// The answer's body. The provider did answer.
    Answer {
        /// With this status.
        status: u16,
    },
}

impl std::fmt::Display for Large {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Request => f.write_str("the request's body is"),
            Self::RequestHeaders => f.write_str("the request's headers are"),
            Self::Answer { status } => write!(f, "the provider answered {status}, and the answer's body is"),
        }
    }
}

/// Why no connection could be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConnectFailure {
    /// The name leads nowhere.
    #[error("{0}")]
    Resolve(#[from] ResolveError),
    /// Nobody answers there.
    #[error("it is not reachable")]
    Unreachable,
    /// The certificate is not for this name, has expired, or nobody trusted signed it.
    #[error("its TLS certificate or handshake was refused")]
    Tls,
    /// It took too long.
    #[error("it took too long")]
    Timeout,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Special;

    #[test]
    fn what_may_have_left_is_said_and_in_doubt_it_has() {
        assert!(DoorError::Timeout { sent: true }.ambiguous());
        assert!(DoorError::Broken { sent: true }.ambiguous());
        assert!(!DoorError::Timeout { sent: false }.request_sent());
        let large = DoorError::TooLarge { what: Large::Answer { status: 200 }, limit: 1 };
        assert!(large.request_sent() && !large.ambiguous() && !large.retryable());
        assert!(!DoorError::TooLarge { what: Large::Request, limit: 1 }.request_sent());
    }

    #[test]
    fn a_refused_address_is_not_told_to_guests() {
        let block = Block::Special(Special::Private10);
        let denial = Denial::Address { host: "api.example.com".into(), address: [10, 1, 2, 3].into(), block };
        let told = DoorError::from(denial).to_string();
        assert!(!told.contains("10.") && !told.contains("private"), "{told}");
    }
}
