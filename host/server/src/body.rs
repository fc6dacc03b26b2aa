//! JSON request bodies and queries, with problems that say where and what.

use axum::extract::{FromRequest, FromRequestParts, Request};
use bulkhead_manifest::json_limits::{MAX_DEPTH, check_depth};
use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::Desk;
use crate::problem::{Answer, Problem};

/// A JSON body.
pub(crate) struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Desk> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, desk: &Desk) -> Answer<Self> {
        let Raw(bytes) = Raw::from_request(request, desk).await?;
        parse(&bytes).map(Self)
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Answer<T> {
    let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, "invalid-json", detail);
    let text = std::str::from_utf8(bytes).map_err(|error| bad(format!("The body is not UTF-8: {error}.")))?;
    check_depth(text, MAX_DEPTH).map_err(|error| bad(format!("The body: {error}.")))?;
    serde_json::from_str(text).map_err(|error| bad(format!("The body is not what this path takes: {error}.")))
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

/// What stands in the path's places. What cannot be read is not there.
pub(crate) struct Path<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<Desk> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, desk: &Desk) -> Answer<Self> {
        let found = axum::extract::Path::from_request_parts(parts, desk).await;
        found.map(|axum::extract::Path(places)| Self(places)).map_err(|_| Problem::not_found("thing"))
    }
}

/// A body as it came.
pub(crate) struct Raw(pub Bytes);

impl FromRequest<Desk> for Raw {
    type Rejection = Problem;

    async fn from_request(request: Request, desk: &Desk) -> Answer<Self> {
        let bytes = Bytes::from_request(request, desk).await.map_err(|error| {
            let too_large = error.status() == StatusCode::PAYLOAD_TOO_LARGE;
            let code = if too_large { "body-too-large" } else { "body-unreadable" };
            let detail =
                if too_large { "The body is larger than this path takes." } else { "The body did not arrive whole." };
            Problem::new(error.status(), code, detail)
        })?;
        Ok(Self(bytes))
    }
}

/// An id in a path: one that cannot be ours does not exist.
pub(crate) fn id<T: std::str::FromStr>(text: &str, what: &str) -> Answer<T> {
    text.parse().map_err(|_| Problem::not_found(what))
}
