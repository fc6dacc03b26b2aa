//! What clients send: bodies, queries and places in the path, with problems that say where and what.
//!
//! Invariants: a body is not read before its handler asks for it, which is after it has asked who sends it; never more
//! of it than it may have, and never longer than the crowd's patience allows.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bulkhead_engine::{in_pointer, said};
use bulkhead_manifest::json_limits::{check_depth, check_digits};
use futures::StreamExt;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::error::Category;
use serde_path_to_error::Segment;

use crate::Desk;
use crate::problem::{Answer, Problem};

/// Largest JSON body, bytes.
const LARGEST_JSON: usize = 4 << 20;
/// What arrives with the headers, bytes.
const SHORT: u64 = 4 << 10;
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

/// Says that a connection ends with a refusal whose body was perhaps not read to its end: no other request could follow
/// what is left of it, and a client that is not told sends one.
pub(crate) async fn end_after_refusal(request: Request, next: Next) -> Response {
    let is_short = request.body().size_hint().upper().is_some_and(|bytes| bytes <= SHORT);
    let mut response = next.run(request).await;
    if !is_short && !response.status().is_success() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Refuses what would have to be unpacked first: it would be read as it is, and as something else than was meant.
pub(crate) async fn refuse_encoded(request: Request, next: Next) -> Response {
    let encodings = request.headers().get_all(header::CONTENT_ENCODING);
    if encodings.iter().all(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return next.run(request).await;
    }
    let detail = "A body comes as it is here: send it without `Content-Encoding`.";
    let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "body-encoded", detail);
    let mut response = problem.into_response();
    response.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    response
}

/// A header that is there once, where it is there: of two, each of those on the way here may have heeded another one.
pub(crate) fn only<'h>(headers: &'h HeaderMap, name: &str) -> Answer<Option<&'h HeaderValue>> {
    let mut found = headers.get_all(name).iter();
    let first = found.next();
    if found.next().is_none() {
        return Ok(first);
    }
    let detail = format!("The header `{name}` is there more than once. Send it once.");
    Err(Problem::new(StatusCode::BAD_REQUEST, "header-repeated", detail))
}

/// A JSON body that has not been read yet.
pub(crate) struct Json<T> {
    body: Body,
    patience: Duration,
    deepest: usize,
    kind: PhantomData<fn() -> T>,
}

impl<T> FromRequest<Desk> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, desk: &Desk) -> Answer<Self> {
        let (patience, deepest) = (desk.crowd.patience(), desk.engine.limits().run.json_depth);
        Ok(Self { body: request.into_body(), patience, deepest, kind: PhantomData })
    }
}

impl<T: DeserializeOwned> Json<T> {
    /// The object.
    pub(crate) async fn read(self) -> Answer<T> {
        let bytes = read(self.body, LARGEST_JSON, self.patience).await?;
        let Object(object) = parsed(json(&bytes, self.deepest)?)?;
        Ok(object)
    }
}

impl Json<Value> {
    /// Any document.
    pub(crate) async fn any(self) -> Answer<Value> {
        let bytes = read(self.body, LARGEST_JSON, self.patience).await?;
        parsed(json(&bytes, self.deepest)?)
    }
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid-json", detail)
}

fn json(bytes: &[u8], deepest: usize) -> Answer<&str> {
    let text = std::str::from_utf8(bytes).map_err(|error| invalid(format!("The body is not UTF-8: {error}.")))?;
    check_depth(text, deepest).map_err(|error| invalid(format!("The body: {error}.")))?;
    check_digits(text).map_err(|error| invalid(format!("The body: {error}.")))?;
    Ok(text)
}

fn parsed<T: DeserializeOwned>(text: &str) -> Answer<T> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let parsed = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().iter().map(segment).collect::<String>();
        unfit(path, &error.into_inner())
    })?;
    reader.end().map_err(|error| unfit(String::new(), &error))?;
    Ok(parsed)
}

fn segment(segment: &Segment) -> String {
    match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } => format!("/{}", in_pointer(key)),
        Segment::Enum { .. } | Segment::Unknown => String::new(),
    }
}

/// What is wrong, and where, in words of ours. What stands there is not repeated: it may be a secret in a wrong place.
fn unfit(mut pointer: String, error: &serde_json::Error) -> Problem {
    if error.classify() != Category::Data {
        let (line, column) = (error.line(), error.column());
        return invalid(format!("The body is not JSON: it cannot be read at line {line} column {column}."));
    }
    let words = error.to_string();
    let words = words.rsplit_once(" at line ").map_or(words.as_str(), |(words, _)| words);
    let field = |what: &str| words.strip_prefix(what)?.split_once('`').map(|(name, _)| name);
    let message = if let Some(name) = field("missing field `") {
        pointer = format!("{pointer}/{}", in_pointer(name));
        "this is missing".to_owned()
    } else if let Some(name) = field("unknown field `") {
        let own = format!("/{}", in_pointer(name));
        if !pointer.ends_with(&own) {
            pointer += &own;
        }
        match words.split_once(", expected ") {
            Some((_, known)) => format!("this path does not know it; it takes {known}"),
            None => "this path does not know it, and takes nothing here".to_owned(),
        }
    } else if words.starts_with("duplicate field `") {
        "it stands there twice".to_owned()
    } else {
        match words.rsplit_once(", expected ") {
            Some((_, expected)) => format!("expected {}", in_words(expected)),
            None => words.to_owned(),
        }
    };
    let (pointer, message) = (said(pointer), said(message));
    let place = if pointer.is_empty() { String::new() } else { format!("{pointer}: ") };
    invalid(format!("The body is not what this path takes: {place}{message}.")).at(pointer, message)
}

/// What the parser calls the kinds of values, as JSON calls them.
fn in_words(expected: &str) -> &str {
    match expected {
        "u16" | "u32" | "u64" | "usize" => "a whole number that is not negative",
        "i32" | "i64" => "a whole number",
        "a sequence" => "an array",
        "a map" => "an object",
        _ if expected.starts_with("struct ") => "an object",
        _ => expected,
    }
}

/// An object of these fields, in a body or within one. An array of their values in order is none, though serde would
/// take it: who sends one says nothing of which is which.
pub(crate) struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields(PhantomData)).map(Self)
    }
}

struct Fields<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(fields))
    }
}

/// A query. What a path does not know is refused by its name: [`Caller`](crate::auth::Caller) reads it for every path.
pub(crate) fn query<T: DeserializeOwned>(parts: &Parts) -> Answer<T> {
    let bad = |error: serde_path_to_error::Error<serde_urlencoded::de::Error>| {
        let problem = said(error.inner().to_string());
        let detail = match error.path().to_string() {
            whole if whole == "." => format!("The query: {problem}."),
            name => format!("`{}` in the query: {problem}.", said(name)),
        };
        Problem::new(StatusCode::BAD_REQUEST, "invalid-query", detail)
    };
    let pairs = url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
    serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs)).map_err(bad)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use axum::Router;
    use axum::middleware::from_fn;
    use axum::routing::post;
    use tower::ServiceExt;

    use super::*;

    /// Mutation: `read`, without the look at what came so far.
    #[tokio::test]
    async fn a_body_that_announces_no_length_has_an_end_too() {
        let taken = async |bytes: usize| {
            let pieces = futures::stream::iter(vec![Ok::<_, std::convert::Infallible>(vec![0_u8]); bytes]);
            let read = read(Body::from_stream(pieces), 10, Duration::from_secs(60)).await;
            read.map(|bytes| bytes.len()).map_err(|problem| problem.status())
        };
        assert_eq!([taken(10).await, taken(11).await], [Ok(10), Err(StatusCode::PAYLOAD_TOO_LARGE)]);
    }

    /// Mutation: `end_after_refusal`, without the header; with it on every answer, or after every refusal.
    #[tokio::test]
    async fn a_connection_ends_with_a_refusal_of_what_was_not_read() {
        let router = Router::new()
            .route("/no", post(async || StatusCode::UNAUTHORIZED))
            .route("/yes", post(async || "taken"))
            .layer(from_fn(end_after_refusal));
        let ends = async |path: &str, bytes: usize| {
            let request = Request::post(path).body(Body::from(vec![0; bytes])).unwrap();
            router.clone().oneshot(request).await.unwrap().headers().contains_key(header::CONNECTION)
        };
        assert_eq!(
            [ends("/no", 100_000).await, ends("/no", 10).await, ends("/yes", 100_000).await],
            [true, false, false]
        );
    }
}
