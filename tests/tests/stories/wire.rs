//! The API as it is on the wire, for stories about exactly that: status, headers, bytes.

use bulkhead_tests::{Host, leaks};
use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

/// Speaks to one host, with no key unless one is given.
pub(crate) struct Wire {
    client: Client,
    url: String,
}

/// Everything of an answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Wire {
    pub(crate) fn to(host: &Host) -> Self {
        // A connection for each request: one that was refused in the middle of its body is of no use to the next.
        let client = Client::builder().no_proxy().redirect(Policy::none()).pool_max_idle_per_host(0).build().unwrap();
        Self { client, url: host.url().to_owned() }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    pub(crate) async fn get(&self, key: &str, path: &str) -> Reply {
        Reply::of(self.request(Method::GET, path).bearer_auth(key)).await
    }

    pub(crate) async fn send(&self, key: &str, method: Method, path: &str, body: &Value) -> Reply {
        Reply::of(self.request(method, path).bearer_auth(key).json(body)).await
    }
}

impl Reply {
    pub(crate) async fn of(request: RequestBuilder) -> Reply {
        let response = bulkhead_tests::send(request).await;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.expect("the answer is whole");
        leaks::answered(status, &text);
        Reply { status, headers, text }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body, once everything that makes it a problem document (RFC 9457) was checked.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        assert!(!self.header("x-request-id").is_empty(), "an answer without a request id: {self:?}");
        let body = self.json();
        assert_eq!((self.status, body["code"].as_str()), (status, Some(code)), "{body:#}");
        assert_eq!(body["status"], status);
        assert_eq!(body["type"], format!("urn:bulkhead:problem:{code}"));
        for member in ["title", "detail"] {
            assert!(body[member].as_str().is_some_and(|text| !text.is_empty()), "no {member}: {body:#}");
        }
        body
    }
}

/// The places that a problem names, sorted.
pub(crate) fn pointers(problem: &Value) -> Vec<&str> {
    let errors = problem["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut pointers: Vec<_> = errors.iter().filter_map(|error| error["pointer"].as_str()).collect();
    pointers.sort_unstable();
    pointers
}

/// What a problem says.
pub(crate) fn detail(problem: &Value) -> &str {
    problem["detail"].as_str().unwrap_or_default()
}
