//! One line per request, and its id in every line in between.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use tower_http::request_id::RequestId;
use tracing::Instrument;

const ID: &str = "x-request-id";
const LONGEST_ID: usize = 64;

/// Keeps the id that a client or a proxy gave, where it is one: anything else could forge lines of the log.
pub(crate) fn keep_only_safe_id(mut request: Request) -> Request {
    let is_safe = |text: &[u8]| {
        (1..=LONGEST_ID).contains(&text.len())
            && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
    };
    let mut given = request.headers().get_all(ID).iter();
    let safe = given.next().is_some_and(|id| is_safe(id.as_bytes())) && given.next().is_none();
    if !safe {
        request.headers_mut().remove(ID);
    }
    request
}

/// Wraps a request in a span that carries its id. Paths are logged as their pattern: real ones hold tokens.
#[allow(clippy::disallowed_methods, reason = "how long it took is logged and decides nothing")]
pub(crate) async fn log(request: Request, next: Next) -> Response {
    let id = request
        .extensions()
        .get::<RequestId>()
        .and_then(|id| id.header_value().to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let path = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let span = tracing::info_span!("request", request.id = %id, http.method = %request.method(), http.path = %path);
    let began = Instant::now();
    async move {
        let response = next.run(request).await;
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let http_status = response.status();
        // Whoever knows an address could fill the log: the engine counts what it refuses, and says so once a second.
        if path.starts_with("/hooks") && http_status.is_client_error() {
            tracing::debug!(http.status = http_status.as_u16(), took_ms, "answered");
        } else {
            tracing::info!(http.status = http_status.as_u16(), took_ms, "answered");
        }
        response
    }
    .instrument(span)
    .await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use axum::body::Body;
    use http::HeaderValue;

    use super::*;

    /// Mutation: `keep_only_safe_id`, a `request` as it came.
    #[test]
    fn an_id_that_could_forge_a_line_is_not_kept() {
        let kept = |ids: &[&[u8]]| {
            let mut request = Request::new(Body::empty());
            for id in ids {
                request.headers_mut().append(ID, HeaderValue::from_bytes(id).unwrap());
            }
            keep_only_safe_id(request).headers().get(ID).map(|id| id.as_bytes().to_owned())
        };
        assert_eq!(kept(&[b"0197-ab_c.D"]), Some(b"0197-ab_c.D".to_vec()));
        for wrong in [b"abc} : ERROR forged".as_slice(), b"", &[b'a'; 65], b"\xff", b"a b"] {
            assert_eq!(kept(&[wrong]), None);
        }
        assert_eq!(kept(&[b"one", b"two"]), None);
    }
}
