//! Where providers POST. Raw bytes go to the engine; its reply goes back.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bulkhead_engine::{Inbound, Refused, Reply, Target};
use bulkhead_vault::Secret;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Deserialize;

use crate::Desk;
use crate::body::{self, Path};
use crate::problem::Problem;
use crate::text;

pub(crate) fn routes() -> Router<Desk> {
    Router::new()
        .route("/{endpoint}", any(endpoint))
        .route("/{endpoint}/{token}", any(endpoint))
        .route("/app/{app}", any(app))
        .route("/app/{app}/{token}", any(app))
}

/// A token in the path is a secret: from here on it goes its own way, and the path without it.
#[derive(Deserialize)]
struct AtEndpoint {
    endpoint: String,
    token: Option<String>,
}

#[derive(Deserialize)]
struct AtApp {
    app: String,
    token: Option<String>,
}

async fn endpoint(State(desk): State<Desk>, Path(at): Path<AtEndpoint>, request: Request) -> Response {
    if text::is_key(&at.endpoint) {
        deliver(desk, Target::Endpoint(at.endpoint), at.token, request).await
    } else {
        Problem::not_found("address").into_response()
    }
}

async fn app(State(desk): State<Desk>, Path(at): Path<AtApp>, request: Request) -> Response {
    match at.app.parse() {
        Ok(app) => deliver(desk, Target::App(app), at.token, request).await,
        Err(_) => Problem::not_found("address").into_response(),
    }
}

async fn deliver(desk: Desk, to: Target, token: Option<String>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    // Nobody sends anything to an address that is not there.
    if let Err(refused) = desk.engine.listens(&to, parts.method.as_str(), token.is_some()).await {
        return refuse(refused);
    }
    let body = match body::read(body, desk.engine.limits().webhook_bytes, desk.crowd.patience()).await {
        Ok(body) => body,
        Err(problem) => return problem.into_response(),
    };
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let inbound = Inbound {
        method: parts.method.as_str().to_owned(),
        path: match parts.uri.path().rsplit_once('/') {
            Some((address, _)) if token.is_some() => address.to_owned(),
            _ => parts.uri.path().to_owned(),
        },
        path_token: token.map(|token| Arc::new(Secret::from_string(token))),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect(),
        body: body.into(),
    };
    match desk.engine.deliver(to, inbound).await {
        Ok(delivered) => {
            tracing::info!(
                webhook.new = delivered.new.len(),
                webhook.duplicates = delivered.duplicates,
                "webhook taken"
            );
            answer(delivered.reply)
        }
        Err(refused) => refuse(refused),
    }
}

fn answer(reply: Reply) -> Response {
    let mut response = Response::new(Body::from(reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::OK);
    for (name, value) in reply.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// For providers that take any body for a mistake.
fn bare(status: u16) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::UNAUTHORIZED);
    response
}

fn refuse(refused: Refused) -> Response {
    let with = |status: u16, code: &str, detail: String| {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::UNAUTHORIZED);
        Problem::new(status, code, detail).into_response()
    };
    match refused {
        Refused::Unknown => Problem::not_found("address").into_response(),
        // The reason stays with us: it would tell a forger how close he is.
        Refused::Unverified { status, bare: true, .. } => bare(status),
        Refused::Unverified { status, .. } => with(status, "not-verified", "The signature does not verify.".to_owned()),
        Refused::Method { allowed } => {
            let mut response = with(405, "method-not-allowed", format!("This address takes {allowed}."));
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
            response
        }
        Refused::Later { retry_after_s } => {
            let detail = "What would prove this cannot be fetched now. Send it again.";
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "proof-unavailable", detail);
            problem.retry_after(retry_after_s).into_response()
        }
        Refused::NotText { status } => with(status, "not-text", "The body is not UTF-8.".to_owned()),
        Refused::Fault(fault) => Problem::from(fault).into_response(),
    }
}
