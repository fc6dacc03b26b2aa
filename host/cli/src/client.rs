//! The command line as a client of a Bulkhead server: one request, and its problem in words.

use reqwest::Client;
use serde::Deserialize;
use serde_json::Value;

/// Where the server is and who asks.
#[derive(clap::Args)]
pub(crate) struct Server {
    /// The server's address.
    #[arg(long, env = "BULKHEAD_URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// An API key.
    #[arg(long, env = "BULKHEAD_KEY", hide_env_values = true)]
    key: String,
    /// For an operator's key: the tenant to act for.
    #[arg(long, env = "BULKHEAD_TENANT")]
    tenant: Option<String>,
}

/// Why a request did not work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("{url} cannot be reached: is the server running? ({problem})")]
    Unreachable { url: String, problem: String },
    #[error("{detail}{}", listed(.errors))]
    Problem { detail: String, errors: Vec<Field> },
    #[error("the server answered {status} with something that is not JSON: is {url} a Bulkhead server?")]
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
    detail: String,
    #[serde(default)]
    errors: Vec<Field>,
}

fn listed(errors: &[Field]) -> String {
    errors.iter().map(|field| format!("\n  {}: {}", field.pointer, field.message)).collect()
}

impl Server {
    pub(crate) async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Value, ClientError> {
        let url = format!("{}{path}", self.url.trim_end_matches('/'));
        self.send(Client::new().get(url).query(query)).await
    }

    pub(crate) async fn post_bytes(&self, path: &str, body: Vec<u8>) -> Result<Value, ClientError> {
        let url = format!("{}{path}", self.url.trim_end_matches('/'));
        self.send(Client::new().post(url).header("content-type", "application/wasm").body(body)).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Value, ClientError> {
        let mut request = request.bearer_auth(&self.key);
        if let Some(tenant) = &self.tenant {
            request = request.header("bulkhead-tenant", tenant);
        }
        let unreachable = |error: reqwest::Error| ClientError::Unreachable {
            url: self.url.clone(),
            problem: error.without_url().to_string(),
        };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let not_json = || ClientError::NotJson { url: self.url.clone(), status: status.as_u16() };
        let body: Value = response.json().await.map_err(|_| not_json())?;
        if status.is_success() {
            return Ok(body);
        }
        let problem: Problem = serde_json::from_value(body).map_err(|_| not_json())?;
        Err(ClientError::Problem { detail: problem.detail, errors: problem.errors })
    }
}
