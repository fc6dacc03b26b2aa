//! A key service that speaks the HTTP API of Vault's transit engine: encrypt, decrypt and rewrap with one key.
//!
//! It refuses whatever that API does not know, in its own words. A ciphertext names the version of the key that made it,
//! and is otherwise a number under which the plaintext is kept here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A running service.
pub struct Transit {
    url: String,
    service: Arc<Mutex<Service>>,
    accepting: JoinHandle<()>,
}

struct Service {
    token: String,
    key: String,
    latest: u64,
    /// Versions below decrypt nothing.
    least: u64,
    sealed: bool,
    kept: BTreeMap<String, String>,
    asked: Vec<String>,
}

const LARGEST_BODY: usize = 64 << 10;

impl Transit {
    /// Starts one with a key of this name, for whoever has this token. Its engine is mounted at `transit`.
    #[expect(clippy::expect_used, reason = "a machine without a loopback port cannot run any of this")]
    pub async fn start(key: &str, token: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free loopback port");
        let url = format!("http://{}", listener.local_addr().expect("the address of a bound port"));
        let service = Arc::new(Mutex::new(Service {
            token: token.to_owned(),
            key: key.to_owned(),
            latest: 1,
            least: 1,
            sealed: false,
            kept: BTreeMap::new(),
            asked: Vec::new(),
        }));
        let router = Router::new().fallback(answer).with_state(Arc::clone(&service));
        let accepting = tokio::spawn(async move {
            // Serving ends only when this task is aborted.
            let _ = axum::serve(listener, router).await;
        });
        Self { url, service, accepting }
    }

    /// Without a trailing slash.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Makes another version of the key. Answers its number.
    pub fn rotate(&self) -> u64 {
        let mut service = lock(&self.service);
        service.latest += 1;
        service.latest
    }

    /// Lets nothing be decrypted that an older version encrypted.
    pub fn disallow_below(&self, version: u64) {
        lock(&self.service).least = version;
    }

    /// Sealed, it answers nobody.
    pub fn seal(&self, sealed: bool) {
        lock(&self.service).sealed = sealed;
    }

    /// Takes only this token from now on.
    pub fn take_only(&self, token: &str) {
        token.clone_into(&mut lock(&self.service).token);
    }

    /// What it did, as `decrypt`, in order.
    pub fn asked(&self) -> Vec<String> {
        lock(&self.service).asked.clone()
    }
}

impl Drop for Transit {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock(service: &Mutex<Service>) -> MutexGuard<'_, Service> {
    service.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(State(service): State<Arc<Mutex<Service>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, LARGEST_BODY).await else {
        return refused(StatusCode::PAYLOAD_TOO_LARGE, "http: request body too large");
    };
    lock(&service).answer(&parts.method, parts.uri.path(), &parts.headers, &body)
}

fn refused(status: StatusCode, error: &str) -> Response {
    (status, axum::Json(json!({ "errors": [error] }))).into_response()
}

impl Service {
    fn answer(&mut self, method: &Method, path: &str, headers: &HeaderMap, body: &Bytes) -> Response {
        if self.sealed {
            return refused(StatusCode::SERVICE_UNAVAILABLE, "Vault is sealed");
        }
        let token = headers.get("x-vault-token").and_then(|value| value.to_str().ok());
        if token != Some(self.token.as_str()) {
            return refused(StatusCode::FORBIDDEN, "permission denied");
        }
        let Some((what, key)) = path.strip_prefix("/v1/transit/").and_then(|rest| rest.split_once('/')) else {
            return refused(StatusCode::NOT_FOUND, &format!("no handler for route {path:?}"));
        };
        if *method != Method::POST && *method != Method::PUT {
            return refused(StatusCode::METHOD_NOT_ALLOWED, "unsupported operation");
        }
        if key != self.key {
            return refused(StatusCode::BAD_REQUEST, "encryption key not found");
        }
        let Ok(Value::Object(fields)) = serde_json::from_slice(body) else {
            return refused(StatusCode::BAD_REQUEST, "failed to parse JSON input");
        };
        let done = match what {
            "encrypt" => only(&fields, "plaintext").and_then(|plaintext| self.encrypt(plaintext)),
            "decrypt" => only(&fields, "ciphertext").and_then(|ciphertext| self.decrypt(ciphertext)),
            "rewrap" => only(&fields, "ciphertext").and_then(|ciphertext| self.rewrap(ciphertext)),
            _ => return refused(StatusCode::NOT_FOUND, "unsupported path"),
        };
        match done {
            Ok(data) => {
                self.asked.push(what.to_owned());
                axum::Json(json!({ "request_id": "00000000-0000-0000-0000-000000000000", "data": data }))
                    .into_response()
            }
            Err(error) => refused(StatusCode::BAD_REQUEST, error),
        }
    }

    fn encrypt(&mut self, plaintext: &str) -> Result<Value, &'static str> {
        BASE64.decode(plaintext).map_err(|_| "failed to base64-decode plaintext")?;
        let number = BASE64.encode(format!("kept {}", self.kept.len()));
        let ciphertext = format!("vault:v{}:{number}", self.latest);
        self.kept.insert(ciphertext.clone(), plaintext.to_owned());
        Ok(json!({ "ciphertext": ciphertext, "key_version": self.latest }))
    }

    fn plaintext(&self, ciphertext: &str) -> Result<String, &'static str> {
        let version = ciphertext.strip_prefix("vault:v").and_then(|rest| rest.split_once(':')?.0.parse().ok());
        let version: u64 = version.ok_or("invalid ciphertext: no prefix")?;
        if version < self.least {
            return Err("ciphertext or signature version is disallowed by policy (too old)");
        }
        self.kept.get(ciphertext).cloned().ok_or("invalid ciphertext: unable to decrypt")
    }

    fn decrypt(&mut self, ciphertext: &str) -> Result<Value, &'static str> {
        Ok(json!({ "plaintext": self.plaintext(ciphertext)? }))
    }

    fn rewrap(&mut self, ciphertext: &str) -> Result<Value, &'static str> {
        let plaintext = self.plaintext(ciphertext)?;
        self.encrypt(&plaintext)
    }
}

/// The one field that there has to be.
fn only<'f>(fields: &'f Map<String, Value>, name: &str) -> Result<&'f str, &'static str> {
    match fields.get(name) {
        Some(Value::String(text)) if fields.len() == 1 => Ok(text),
        Some(_) => Err("a field that is not known here, or not text"),
        None => Err("missing field"),
    }
}
