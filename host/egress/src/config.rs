//! What an operator can set about the door.
//!
//! Invariant: the defaults open nothing; only an operator's own word opens development upstreams.

use std::fmt;

use url::Url;

/// The largest body of an answer that anybody gets, MiB: an engine grants no more.
pub const LARGEST_ANSWER_MIB: u32 = 16;

/// Limits and openings of the door. `Default` is fit for production.
#[derive(Debug, Clone)]
pub struct DoorConfig {
    /// Hosts that are played by a server of the operator's own.
    pub development: Vec<DevUpstream>,
    /// More certificate authorities to trust, DER.
    pub extra_roots: Vec<Vec<u8>>,
    /// For resolving, connecting and the TLS handshake together, milliseconds.
    pub connect_timeout_ms: u64,
    /// From resolving to the last byte of the answer, milliseconds, without what it waits for its tenant's turns. A
    /// request can ask for less.
    pub total_timeout_ms: u64,
    /// Largest body of a request.
    pub max_request_bytes: usize,
    /// Largest body of an answer. A request can ask for less.
    pub max_response_bytes: usize,
    /// Most headers, each way.
    pub max_headers: usize,
    /// Names and values of all headers together, each way.
    pub max_header_bytes: usize,
    /// Requests of one connection under way at once, on this node, and as many of each kind of the host's own in its
    /// name ([`By`](crate::By)). A declared budget can only lower it.
    pub per_connection_concurrency: usize,
    /// Requests of one tenant in a second, on this node: what they cost it, others wait for.
    pub per_tenant_requests_per_second: u32,
    /// How long a request waits for its places and its turns before it fails as rate-limited, milliseconds in all.
    pub budget_wait_ms: u64,
    /// Idle network connections kept for one connection and origin.
    pub idle_connections: usize,
    /// Idle network connections kept for one connection, whatever the origins.
    pub idle_connections_of_one: usize,
    /// Idle network connections kept in all.
    pub idle_connections_in_all: usize,
    /// How long they are kept, milliseconds.
    pub idle_timeout_ms: u64,
}

impl Default for DoorConfig {
    fn default() -> Self {
        Self {
            development: Vec::new(),
            extra_roots: Vec::new(),
            connect_timeout_ms: 10_000,
            total_timeout_ms: 30_000,
            max_request_bytes: 16 * 1024 * 1024,
            max_response_bytes: (LARGEST_ANSWER_MIB as usize) << 20,
            max_headers: 128,
            max_header_bytes: 64 * 1024,
            per_connection_concurrency: 8,
            per_tenant_requests_per_second: 500,
            budget_wait_ms: 5_000,
            idle_connections: 4,
            idle_connections_of_one: 8,
            idle_connections_in_all: 256,
            idle_timeout_ms: 30_000,
        }
    }
}

/// A host that is played by a server of the operator's own, such as a simulated provider.
#[derive(Debug, Clone)]
pub struct DevUpstream {
    /// Requests for `https://{host}` go there. The egress rules and the audiences apply to this name.
    pub host: String,
    /// `http://127.0.0.1:4010`: scheme, host and port. Over https its certificate has to be for `host`.
    pub to: Url,
}

/// Why a door cannot be built.
#[derive(Debug)]
pub enum DoorSetupError {
    /// One of `extra_roots` is no certificate.
    Root(rustls::Error),
    /// The TLS settings do not go together.
    Tls(rustls::Error),
    /// A development upstream is more, or less, than scheme, host and port.
    Development {
        /// Whose.
        host: String,
    },
}

impl fmt::Display for DoorSetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(error) => {
                write!(f, "one of the extra certificate authorities is not a DER certificate: {error}")
            }
            Self::Tls(error) => write!(f, "TLS cannot be set up: {error}"),
            Self::Development { host } => {
                write!(
                    f,
                    "the development upstream for {host} must be http:// or https://, a host and a port, without a path"
                )
            }
        }
    }
}

impl std::error::Error for DoorSetupError {}
