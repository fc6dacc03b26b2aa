//! The `oauth2` crate's way out: our door. What providers do otherwise than the standard says is made up for here.

use std::collections::BTreeMap;

use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Request, Response};
use serde_json::{Map, Value};

use crate::Engine;
use crate::host_call::HostCallError;

/// Sends the crate's requests.
pub(super) struct Caller {
    pub engine: Engine,
    /// What the manifest adds.
    pub headers: BTreeMap<String, String>,
    /// Whether what the crate wrote as a form goes out as a JSON object.
    pub json: bool,
    /// Whose budget the calls count against.
    pub concurrency_key: String,
}

impl Caller {
    pub(super) async fn send(&self, mut request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, HostCallError> {
        if self.json {
            request = as_json(request);
        }
        for (name, value) in &self.headers {
            let header = HeaderName::try_from(name.as_str()).ok().zip(HeaderValue::from_str(value).ok());
            if let Some((name, value)) = header {
                request.headers_mut().insert(name, value);
            }
        }
        let url = request.uri().to_string();
        let answer = self.engine.host_call(&self.concurrency_key, request).await?;
        let mut response = Response::builder().status(answer.status);
        for (name, value) in &answer.headers {
            response = response.header(name, value);
        }
        response.body(standard(&answer.body)).map_err(|_| HostCallError::BadAddress { url })
    }
}

impl<'c> oauth2::AsyncHttpClient<'c> for Caller {
    type Error = HostCallError;
    type Future = BoxFuture<'c, Result<Response<Vec<u8>>, HostCallError>>;

    fn call(&'c self, request: Request<Vec<u8>>) -> Self::Future {
        self.send(request).boxed()
    }
}

fn as_json(request: Request<Vec<u8>>) -> Request<Vec<u8>> {
    let (mut parts, form) = request.into_parts();
    let fields = url::form_urlencoded::parse(&form);
    let fields: Map<String, Value> = fields.map(|(name, value)| (name.into(), value.into())).collect();
    let json = HeaderValue::from_static("application/json");
    parts.headers.insert(CONTENT_TYPE, json.clone());
    parts.headers.insert(ACCEPT, json);
    Request::from_parts(parts, Value::Object(fields).to_string().into_bytes())
}

/// Tokens without `token_type` are bearer tokens, where a provider leaves it out.
fn standard(body: &[u8]) -> Vec<u8> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(mut said)) if said.contains_key("access_token") && !said.contains_key("token_type") => {
            said.insert("token_type".to_owned(), "bearer".into());
            Value::Object(said).to_string().into_bytes()
        }
        _ => body.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Mutation: `as_json`, leave the body or its type as they were.
    #[test]
    fn a_form_becomes_an_object_of_the_same_texts() {
        let form = "grant_type=authorization_code&code=a%26b%20c&client_secret=%22s%22";
        let request = Request::post("https://a.example/t").header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let json = as_json(request.body(form.as_bytes().to_vec()).unwrap());
        assert_eq!(json.headers()[CONTENT_TYPE], "application/json");
        let body: Value = serde_json::from_slice(json.body()).unwrap();
        let wanted =
            serde_json::json!({ "grant_type": "authorization_code", "code": "a&b c", "client_secret": "\"s\"" });
        assert_eq!(body, wanted);
    }

    /// Mutation: `standard`, without its first case; or for every answer.
    #[test]
    fn tokens_are_bearer_tokens_where_nothing_else_is_said() {
        let given = |body: &str| String::from_utf8(standard(body.as_bytes())).unwrap();
        assert!(given(r#"{"access_token":"a"}"#).contains(r#""token_type":"bearer""#));
        for body in [r#"{"access_token":"a","token_type":"mac"}"#, r#"{"error":"invalid_grant"}"#, "[1]", "{"] {
            assert_eq!(given(body), body);
        }
    }
}
