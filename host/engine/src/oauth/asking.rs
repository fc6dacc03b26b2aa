//! The `oauth2` crate's way out: our door. What providers do otherwise than the standard says is made up for here.

use std::collections::BTreeMap;

use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Request, Response};
use serde_json::{Map, Value};

use crate::Engine;
use crate::host_call::{Behalf, HostCallError, LARGEST_ANSWER};

/// Longest that one call may take, milliseconds: two have to fit in the lease under which they are made.
pub(crate) const TOKEN_CALL_MS: u32 = 20_000;

/// Sends the crate's requests.
pub(super) struct Caller {
    pub engine: Engine,
    /// What the manifest adds.
    pub headers: BTreeMap<String, String>,
    /// Whether what the crate wrote as a form goes out as a JSON object.
    pub json: bool,
    /// Whose budget the calls count against.
    pub behalf: Behalf,
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
        let answer = self.engine.host_call_within(&self.behalf, request, Some(TOKEN_CALL_MS), LARGEST_ANSWER).await?;
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

/// Tokens as the crate reads them, whatever a provider makes of the standard: without a `token_type` they are bearer tokens; how
/// long they live may be text, and scopes a list. What cannot be read is left out: the tokens are given once.
fn standard(body: &[u8]) -> Vec<u8> {
    let Ok(Value::Object(mut said)) = serde_json::from_slice(body) else { return body.to_vec() };
    if !said.contains_key("access_token") {
        return body.to_vec();
    }
    if said.get("token_type").is_none_or(Value::is_null) {
        said.insert("token_type".to_owned(), "bearer".into());
    }
    if let Some(expires) = said.remove("expires_in").as_ref().and_then(seconds) {
        said.insert("expires_in".to_owned(), expires.into());
    }
    if let Some(Value::Array(scopes)) = said.get("scope") {
        let scopes: Vec<_> = scopes.iter().filter_map(Value::as_str).collect();
        said.insert("scope".to_owned(), scopes.join(" ").into());
    }
    Value::Object(said).to_string().into_bytes()
}

/// A number of seconds, also where a provider writes it as text or with decimals.
pub(super) fn seconds(value: &Value) -> Option<u64> {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.trim().split('.').next()?.parse().ok()
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

    /// Mutations: `standard`, without `expires_in`; without `scope`; `seconds`, numbers alone.
    #[test]
    fn an_answer_that_writes_its_times_and_scopes_in_another_way_is_read() {
        let given = |more: &str| -> Value {
            let body = format!(r#"{{"access_token":"a","refresh_token":"r",{more}}}"#);
            serde_json::from_slice(&standard(body.as_bytes())).unwrap()
        };
        for said in [r#""3600""#, "3600", "3600.0", r#"" 3600 ""#, r#""3600.5""#] {
            assert_eq!(given(&format!(r#""expires_in":{said}"#))["expires_in"], 3_600, "{said}");
        }
        for said in ["null", "-1", r#""never""#, "{}"] {
            let given = given(&format!(r#""expires_in":{said}"#));
            assert_eq!((given.get("expires_in"), &given["refresh_token"]), (None, &Value::from("r")), "{said}");
        }
        assert_eq!(given(r#""scope":["a","b"]"#)["scope"], "a b");
    }

    /// Mutation: `standard`, without `token_type`; or for every answer.
    #[test]
    fn tokens_are_bearer_tokens_where_nothing_else_is_said() {
        let given = |body: &str| String::from_utf8(standard(body.as_bytes())).unwrap();
        for body in [r#"{"access_token":"a"}"#, r#"{"access_token":"a","token_type":null}"#] {
            assert!(given(body).contains(r#""token_type":"bearer""#));
        }
        for body in [r#"{"access_token":"a","token_type":"mac"}"#, r#"{"error":"invalid_grant"}"#, "[1]", "{"] {
            assert_eq!(given(body), body);
        }
    }
}
