//! Goes where it was not allowed to.

use bulkhead_sdk::prelude::*;
use http::ErrorKind;

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Target {
    method: String,
    url: String,
}

/// A whole request.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Letter {
    method: String,
    url: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    body: String,
}

/// All that came back of it.
pub(crate) fn correspond(letter: &Letter) -> Value {
    let request = http::request(&letter.method, &letter.url);
    let request = if letter.body.is_empty() { request } else { request.text("text/plain", &letter.body) };
    let request = letter.headers.iter().fold(request, |request, (name, value)| request.header(name, value));
    match request.send() {
        Ok(response) => {
            let body = response.text().unwrap_or_default();
            json!({ "status": response.status(), "headers": response.headers(), "body": body })
        }
        Err(error) => json!({ "error": name(&error.kind), "message": error.message }),
    }
}

/// What came of it.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reached {
    Answer { status: u16, headers: Vec<(String, String)>, body_bytes: usize },
    Error { kind: String, message: String, request_sent: bool, retryable: bool },
}

pub(crate) fn reach(target: &Target) -> Reached {
    Reached::by(http::request(&target.method, &target.url))
}

/// Follows whatever an answer says under `location`, as far as it goes: each hop with its status, or why it was refused.
pub(crate) fn chase(target: Target) -> Value {
    let (mut hops, mut next) = (Vec::new(), Some(target.url));
    while let Some(url) = next.take().filter(|_| hops.len() < 20) {
        let reached = Reached::by(http::request(&target.method, &url));
        if let Reached::Answer { headers, .. } = &reached {
            next = headers.iter().find(|(name, _)| name == "location").map(|(_, to)| to.clone());
        }
        hops.push(json!([url, reached.summary()]));
    }
    Value::Array(hops)
}

impl Reached {
    pub(crate) fn by(request: http::Request) -> Reached {
        match request.receive_bytes().send() {
            Ok(response) => Reached::Answer {
                status: response.status(),
                headers: response.headers().to_vec(),
                body_bytes: response.bytes().len(),
            },
            Err(error) => Reached::Error {
                kind: name(&error.kind).to_owned(),
                message: error.message,
                request_sent: error.request_sent,
                retryable: error.retryable,
            },
        }
    }

    /// The name of the error, or the status.
    pub(crate) fn summary(&self) -> String {
        match self {
            Reached::Answer { status, .. } => status.to_string(),
            Reached::Error { kind, .. } => kind.clone(),
        }
    }
}

fn name(kind: &ErrorKind) -> &str {
    match kind {
        ErrorKind::Denied => "denied",
        ErrorKind::NoCredential => "no-credential",
        ErrorKind::RateLimited => "rate-limited",
        ErrorKind::Timeout => "timeout",
        ErrorKind::Connect => "connect",
        ErrorKind::TooLarge => "too-large",
        ErrorKind::InvalidRequest => "invalid-request",
        ErrorKind::Other(name) => name,
    }
}
