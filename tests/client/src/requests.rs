//! One request after the other.

use std::collections::BTreeMap;

use bulkhead_sdk::prelude::*;
use wstd::http::{Body, Client, ErrorCode, Request};

#[derive(Clone, Deserialize, JsonSchema)]
pub(crate) struct Wanted {
    method: String,
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    /// How long the first byte of the answer is waited for, milliseconds.
    first_byte_ms: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fetched {
    Answer {
        status: u16,
        headers: Vec<(String, String)>,
        body: String,
    },
    /// By the name that WASI has for it.
    Error(String),
}

/// An entry, by a word that needs no encoding.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Booking {
    entry: String,
    /// Whether the ledger is asked where it recognises a repeated request.
    keyed: bool,
}

pub(crate) async fn fetch(wanted: &Wanted) -> Fetched {
    match answer(wanted).await {
        Ok(fetched) => fetched,
        Err(error) => match error.downcast_ref::<ErrorCode>() {
            Some(code) => Fetched::Error(format!("{code:?}")),
            None => Fetched::Error(format!("no code: {error:#}")),
        },
    }
}

async fn answer(wanted: &Wanted) -> wstd::http::Result<Fetched> {
    let mut request = Request::builder().method(wanted.method.as_str()).uri(&wanted.url);
    for (name, value) in &wanted.headers {
        request = request.header(name, value);
    }
    let mut client = Client::new();
    if let Some(patience) = wanted.first_byte_ms {
        client.set_first_byte_timeout(wstd::time::Duration::from_millis(patience));
    }
    let response = client.send(request.body(Body::from(wanted.body.clone()))?).await?;
    let text = |value: &wstd::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let (status, mut body) = (response.status().as_u16(), response.into_body());
    Ok(Fetched::Answer { status, headers, body: String::from_utf8_lossy(body.contents().await?).into_owned() })
}

pub(crate) async fn book(booking: &Booking) -> Result<Value, Failure> {
    let entries = if booking.keyed { "keyed-entries" } else { "entries" };
    for (method, place) in [("GET", "before"), ("POST", entries), ("GET", "after")] {
        let wanted = Wanted {
            method: method.to_owned(),
            url: format!("https://ledger.example/{place}/{}", booking.entry),
            headers: BTreeMap::from([("bulkhead-effect".to_owned(), "entry".to_owned())]),
            body: if method == "POST" { json!({ "entry": booking.entry }).to_string() } else { String::new() },
            first_byte_ms: None,
        };
        match fetch(&wanted).await {
            Fetched::Answer { status: 200, .. } => {}
            Fetched::Answer { status, .. } => return Err(Failure::unavailable(format!("{place}: {status}"))),
            Fetched::Error(code) => return Err(Failure::unavailable(format!("{place}: {code}"))),
        }
    }
    Ok(json!({ "entry": booking.entry }))
}
