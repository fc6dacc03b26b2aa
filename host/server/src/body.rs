//! What clients send: bodies, queries and places in the path, with problems that say where and what.
//!
//! Invariants: a body is not read before its handler asks for it, which is after it has asked who sends it; never more
//! of it than it may have, and never longer than [`Clients::patience`](crate::Clients) allows.

use std::marker::PhantomData;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{FromRequest, FromRequestParts, Request};
use bulkhead_manifest::json_limits::{MAX_DEPTH, check_depth};
use futures::StreamExt;
use http::StatusCode;
use http::request::Parts;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Desk;
use crate::problem::{Answer, Problem};

/// Largest JSON body, bytes.
const LARGEST_JSON: usize = 4 << 20;
/// A buffer begins no larger, whatever is announced.
const FIRST_BUFFER: u64 = 64 << 10;

/// Takes a body in: at most `most` bytes, within `patience`.
pub(crate) async fn read(body: Body, most: usize, patience: Duration) -> Answer<Vec<u8>> {
    let too_large = || {
        let detail = format!("The body may have at most {most} bytes here.");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", detail)
    };
    let announced = body.size_hint().lower();
    if announced > most as u64 {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(announced.min(FIRST_BUFFER)).unwrap_or_default());
    let mut pieces = body.into_data_stream();
    let reading = async {
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|_| {
                Problem::new(StatusCode::BAD_REQUEST, "body-unreadable", "The body did not arrive whole.")
            })?;
            if bytes.len() + piece.len() > most {
                return Err(too_large());
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(())
    };
    tokio::time::timeout(patience, reading).await.map_err(|_| {
        let detail = format!("The body did not arrive within {} seconds.", patience.as_secs());
        Problem::new(StatusCode::REQUEST_TIMEOUT, "body-too-slow", detail)
    })??;
    Ok(bytes)
}

/// A JSON body that has not been read yet.
pub(crate) struct Json<T> {
    body: Body,
    patience: Duration,
    kind: PhantomData<fn() -> T>,
}

impl<T> FromRequest<Desk> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, desk: &Desk) -> Answer<Self> {
        Ok(Self { body: request.into_body(), patience: desk.clients.patience, kind: PhantomData })
    }
}

impl<T: DeserializeOwned> Json<T> {
    /// The object. An array of its fields in order is none, though serde would take it.
    pub(crate) async fn read(self) -> Answer<T> {
        let bytes = read(self.body, LARGEST_JSON, self.patience).await?;
        let text = json(&bytes)?;
        if text.trim_start().starts_with('[') {
            return Err(invalid("The body is not what this path takes: expected an object at line 1 column 1."));
        }
        parsed(text)
    }
}

impl Json<Value> {
    /// Any document.
    pub(crate) async fn any(self) -> Answer<Value> {
        let bytes = read(self.body, LARGEST_JSON, self.patience).await?;
        parsed(json(&bytes)?)
    }
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid-json", detail)
}

fn json(bytes: &[u8]) -> Answer<&str> {
    let text = std::str::from_utf8(bytes).map_err(|error| invalid(format!("The body is not UTF-8: {error}.")))?;
    check_depth(text, MAX_DEPTH).map_err(|error| invalid(format!("The body: {error}.")))?;
    Ok(text)
}

fn parsed<T: DeserializeOwned>(text: &str) -> Answer<T> {
    serde_json::from_str(text).map_err(|error| invalid(format!("The body is not what this path takes: {error}.")))
}

/// A query.
pub(crate) struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<Desk> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Desk) -> Answer<Self> {
        let bad = |error| Problem::new(StatusCode::BAD_REQUEST, "invalid-query", format!("The query: {error}."));
        serde_urlencoded::from_str(parts.uri.query().unwrap_or_default()).map(Self).map_err(bad)
    }
}

/// What stands in the path's places. What cannot be read, and what no text of ours can be, is not there.
pub(crate) struct Path<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<Desk> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, desk: &Desk) -> Answer<Self> {
        let found = axum::extract::Path::from_request_parts(parts, desk).await;
        found.map(|axum::extract::Path(places)| Self(places)).map_err(|_| Problem::not_found("thing"))
    }
}

/// An id in a path: one that cannot be ours does not exist.
pub(crate) fn id<T: std::str::FromStr>(text: &str, what: &str) -> Answer<T> {
    text.parse().map_err(|_| Problem::not_found(what))
}
