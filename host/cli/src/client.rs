//! The command line as a client of a Bulkhead server: one request, and its problem in words.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Client;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

/// Where the server is and who asks.
#[derive(clap::Args)]
pub(crate) struct Server {
    /// The server's address.
    #[arg(long, env = "BULKHEAD_URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// An API key. Better in the environment: other users of the machine see arguments.
    #[arg(long, env = "BULKHEAD_KEY", hide_env_values = true)]
    key: Option<String>,
    /// For an operator's key: the tenant to act for.
    #[arg(long, env = "BULKHEAD_TENANT")]
    tenant: Option<String>,
}

/// Why a request did not work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("{url:?} is no address of a server: write it like http://127.0.0.1:8080 (--url or BULKHEAD_URL)")]
    BadUrl { url: String },
    #[error("no API key: set BULKHEAD_KEY, or give --key")]
    NoKey,
    #[error("the API key (BULKHEAD_KEY or --key) has characters that no key has: was it copied whole, and alone?")]
    BadKey,
    #[error("{url} cannot be reached: {problem}. Is the server running? (--url or BULKHEAD_URL says where)")]
    Unreachable { url: String, problem: String },
    #[error("{detail}{}", listed(.errors))]
    Problem { code: String, detail: String, errors: Vec<Field> },
    #[error("{url} answered {status} with something that is not JSON: is it a Bulkhead server?")]
    NotJson { url: String, status: u16 },
}

/// One failing field.
#[derive(Debug, Deserialize)]
pub(crate) struct Field {
    pointer: String,
    message: String,
}

#[derive(Deserialize)]
struct Problem {
    code: String,
    detail: String,
    #[serde(default)]
    errors: Vec<Field>,
}

fn listed(errors: &[Field]) -> String {
    errors.iter().map(|field| format!("\n  {}: {}", field.pointer, field.message)).collect()
}

impl Server {
    pub(crate) async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Value, ClientError> {
        let url = self.at(path)?;
        self.send(Client::new().get(url.clone()).query(query), &url).await
    }

    /// Asks for something that needs no more words.
    pub(crate) async fn post(&self, path: &str) -> Result<Value, ClientError> {
        let url = self.at(path)?;
        self.send(Client::new().post(url.clone()), &url).await
    }

    pub(crate) async fn post_json(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        let url = self.at(path)?;
        self.send(Client::new().post(url.clone()).json(body), &url).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<Value, ClientError> {
        let url = self.at(path)?;
        self.send(Client::new().delete(url.clone()), &url).await
    }

    pub(crate) async fn post_bytes(&self, path: &str, body: Vec<u8>) -> Result<Value, ClientError> {
        let url = self.at(path)?;
        self.send(Client::new().post(url.clone()).header("content-type", "application/wasm").body(body), &url).await
    }

    fn at(&self, path: &str) -> Result<Url, ClientError> {
        let bad = || ClientError::BadUrl { url: self.url.clone() };
        // By itself first: with a path behind it, `http://` would have a host.
        let given: Url = self.url.parse().map_err(|_| bad())?;
        if !matches!(given.scheme(), "http" | "https") {
            return Err(bad());
        }
        format!("{}{path}", self.url.trim_end_matches('/')).parse().map_err(|_| bad())
    }

    async fn send(&self, request: reqwest::RequestBuilder, url: &Url) -> Result<Value, ClientError> {
        let key = self.key.as_deref().filter(|key| !key.is_empty()).ok_or(ClientError::NoKey)?;
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ClientError::BadKey);
        }
        let mut request = request.bearer_auth(key);
        if let Some(tenant) = self.tenant.as_ref().filter(|tenant| !tenant.is_empty()) {
            request = request.header("bulkhead-tenant", tenant);
        }
        let unreachable =
            |error: reqwest::Error| ClientError::Unreachable { url: self.url.clone(), problem: cause(&error) };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        if status == reqwest::StatusCode::NO_CONTENT {
            return Ok(Value::Null);
        }
        let not_json = || ClientError::NotJson { url: url.to_string(), status: status.as_u16() };
        let body: Value = response.json().await.map_err(|_| not_json())?;
        if status.is_success() {
            return Ok(body);
        }
        let Problem { code, mut detail, errors } = serde_json::from_value(body).map_err(|_| not_json())?;
        match code.as_str() {
            "tenant-needed" => {
                "An operator's key acts for a tenant: name it in BULKHEAD_TENANT or with --tenant"
                    .clone_into(&mut detail);
            }
            "no-such-path" => {
                detail =
                    format!("Nothing is at {url}: is {} the address of a Bulkhead server, without a path?", self.url);
            }
            _ => {}
        }
        Err(ClientError::Problem { code, detail, errors })
    }
}

/// An id as one part of a path, whatever it is: a server then says that there is no such thing, and nothing else is asked for.
pub(crate) fn in_path(id: &str) -> String {
    let part = utf8_percent_encode(id, ESCAPED).to_string();
    // Dots alone would lead elsewhere, escaped, too.
    if matches!(part.as_str(), "%2E" | "%2E%2E") { part.replace('%', "%25") } else { part }
}

/// All that ids of ours do not have.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// The innermost reason, which says most.
fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn server(url: &str, key: Option<&str>) -> Server {
        Server { url: url.to_owned(), key: key.map(str::to_owned), tenant: None }
    }

    async fn refused(url: &str, key: Option<&str>) -> String {
        server(url, key).get("/v1/runs", &[]).await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn what_is_wrong_on_our_side_is_not_blamed_on_the_server() {
        for url in ["foo", "http://", "ftp://127.0.0.1:1"] {
            let said = refused(url, Some("bk_1")).await;
            assert!(said.contains("is no address of a server"), "{said}");
        }
        let said = refused("http://127.0.0.1:1", None).await;
        assert!(said.contains("BULKHEAD_KEY"), "{said}");
        let said = refused("http://127.0.0.1:1", Some("bk_1\n")).await;
        assert!(said.contains("copied whole") && !said.contains("bk_1"), "{said}");
    }

    /// Mutation: `in_path`, as it is; without the dots.
    #[test]
    fn an_id_is_one_part_of_a_path_whatever_it_is() {
        let asked = |id: &str| {
            let url = server("http://127.0.0.1:1", None).at(&format!("/v1/runs/{}", in_path(id))).unwrap();
            assert_eq!(url.query().or(url.fragment()), None, "{id}");
            url.path().to_owned()
        };
        assert_eq!(asked("run_0aZ-9"), "/v1/runs/run_0aZ-9");
        for id in ["x/../../tenants", "..", ".", "a b", "a?b=c", "a#b", "%2e%2e", "\\..\\", "é"] {
            let path = asked(id);
            assert!(path.starts_with("/v1/runs/") && path.matches('/').count() == 3, "{id:?}: {path}");
            assert!(path.len() > "/v1/runs/".len(), "{id:?}: {path}");
        }
    }

    #[tokio::test]
    async fn a_server_that_does_not_answer_is_told_by_its_reason() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let said = refused(&url, Some("bk_1")).await;
        assert!(said.contains("refused"), "{said}");
    }
}
