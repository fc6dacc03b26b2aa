//! A provider that remembers what reached it and answers as it is told.

use std::sync::{Arc, Mutex};

use axum::body::{Body, HttpBody as _, to_bytes};
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::Response;
use bulkhead_tests::leaks;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// One request as it came over the wire.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    pub(crate) body_bytes: usize,
}

/// A server on the loopback. Dropping it ends it.
pub(crate) struct Provider {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    serving: JoinHandle<()>,
}

const LARGEST: usize = 64 << 20;

impl Provider {
    /// Answers 200 with nothing.
    pub(crate) async fn agreeable() -> Self {
        Self::answering(|_, _| Response::new(Body::empty())).await
    }

    /// Answers as `answer` says, which is given the request and how many came before it.
    pub(crate) async fn answering(answer: impl Fn(&Seen, usize) -> Response + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (record, answer) = (Arc::clone(&seen), Arc::new(answer));
        let handler = move |request: Request| {
            let (record, answer) = (Arc::clone(&record), Arc::clone(&answer));
            async move {
                let (parts, body) = request.into_parts();
                let bytes = to_bytes(body, LARGEST).await.unwrap_or_default();
                let (body, body_bytes) = (String::from_utf8_lossy(&bytes).into_owned(), bytes.len());
                let path = parts.uri.to_string();
                let authorization = parts.headers.get("authorization").and_then(|value| value.to_str().ok());
                leaks::asked(&path, authorization, &bytes);
                let gives_tokens = body.contains("grant_type=");
                let seen = Seen { method: parts.method.to_string(), path, headers: parts.headers, body, body_bytes };
                let response = {
                    let mut all = record.lock().unwrap();
                    let response = answer(&seen, all.len());
                    all.push(seen);
                    response
                };
                if gives_tokens { heard(response).await } else { response }
            }
        };
        let router = axum::Router::new().fallback(handler);
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Self { url, seen, serving }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Every request so far, in order.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

/// Tokens are told in confidence.
async fn heard(response: Response) -> Response {
    let (parts, body) = response.into_parts();
    if body.size_hint().exact().is_none() {
        return Response::from_parts(parts, body);
    }
    let bytes = to_bytes(body, LARGEST).await.unwrap();
    leaks::given(&bytes);
    Response::from_parts(parts, Body::from(bytes))
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
