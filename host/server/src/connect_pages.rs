//! The pages of the connect flow: plain HTML that works without script, on a phone, by keyboard, read aloud.
//!
//! Invariants: nothing is loaded from anywhere; the page may not be framed; what a person typed is never shown again.

use std::collections::BTreeMap;

use askama::Template;
use axum::Router;
use axum::extract::{Form, Path, RawQuery, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use bulkhead_engine::{ConnectError, Connected, ConnectionError, SessionKind, SessionView};
use bulkhead_manifest::AuthField;
use bulkhead_vault::{Secret, random_token};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, REFERRER_POLICY, SET_COOKIE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::Desk;

pub(crate) fn routes() -> Router<Desk> {
    Router::new().route("/oauth/callback", get(callback)).route("/{token}", get(page).post(submit))
}

#[derive(Template)]
#[template(path = "connect.html")]
struct ConnectPage<'a> {
    view: &'a SessionView,
    fields: &'a [AuthField],
    /// What is wrong with each field, by its name.
    wrong: &'a BTreeMap<String, String>,
    trouble: Option<&'a str>,
}

impl ConnectPage<'_> {
    fn wrong_with(&self, field: &AuthField) -> Option<&String> {
        self.wrong.get(&field.name)
    }
}

#[derive(Template)]
#[template(path = "outcome.html")]
struct OutcomePage<'a> {
    title: &'a str,
    text: &'a str,
}

/// The browser that began a flow, as a cookie of its own that lives as long as the browser does.
const BROWSER: &str = "bulkhead_connect";

async fn page(State(desk): State<Desk>, Path(token): Path<String>) -> Response {
    match desk.engine.session(&token).await {
        Ok(view) => form(StatusCode::OK, &view, &BTreeMap::new(), None),
        Err(error) => trouble(&error),
    }
}

async fn submit(
    State(desk): State<Desk>,
    Path(token): Path<String>,
    headers: HeaderMap,
    Form(given): Form<BTreeMap<String, String>>,
) -> Response {
    let view = match desk.engine.session(&token).await {
        Ok(view) => view,
        Err(error) => return trouble(&error),
    };
    if matches!(view.kind, SessionKind::OAuth) {
        return begin(&desk, &token, &headers).await;
    }
    let filled = given.into_iter().filter(|(_, value)| !value.is_empty());
    let fields = filled.map(|(name, value)| (name, Secret::from_string(value.trim().to_owned()))).collect();
    match desk.engine.submit_fields(&token, fields).await {
        Ok(connected) => done(connected),
        Err(ConnectError::Connection(ConnectionError::Invalid(invalid))) => {
            let wrong = invalid
                .into_iter()
                .map(|field| (field.pointer.trim_start_matches('/').to_owned(), field.message))
                .collect();
            form(StatusCode::UNPROCESSABLE_ENTITY, &view, &wrong, None)
        }
        Err(ConnectError::Connection(error)) => {
            form(StatusCode::UNPROCESSABLE_ENTITY, &view, &BTreeMap::new(), Some(&error.to_string()))
        }
        Err(error) => trouble(&error),
    }
}

async fn begin(desk: &Desk, token: &str, headers: &HeaderMap) -> Response {
    let (browser, fresh) = match cookie(headers) {
        Some(browser) => (browser, false),
        None => (random_token("br"), true),
    };
    match desk.engine.begin_oauth(token, &browser).await {
        Ok(url) => {
            let mut response = Redirect::to(url.as_str()).into_response();
            if fresh {
                let secure = if desk.engine.public_url().scheme() == "https" { "; Secure" } else { "" };
                let cookie = format!("{BROWSER}={browser}; Path=/connect; HttpOnly; SameSite=Lax{secure}");
                if let Ok(value) = HeaderValue::from_str(&cookie) {
                    response.headers_mut().insert(SET_COOKIE, value);
                }
            }
            response
        }
        Err(error) => trouble(&error),
    }
}

async fn callback(State(desk): State<Desk>, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let query: Vec<(String, String)> = serde_urlencoded::from_str(&query.unwrap_or_default()).unwrap_or_default();
    match desk.engine.finish_oauth(cookie(&headers).as_deref(), &query).await {
        Ok(connected) => done(connected),
        Err(error) => trouble(&error),
    }
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    let pairs =
        headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';'));
    let mut found = pairs.filter_map(|pair| pair.trim().split_once('=')).filter(|(name, _)| *name == BROWSER);
    found.next().map(|(_, value)| value.to_owned())
}

fn done(connected: Connected) -> Response {
    if let Some(url) = connected.return_url {
        return Redirect::to(url.as_str()).into_response();
    }
    let whom = connected.account.map_or_else(String::new, |account| format!(" to {account}"));
    let text = format!("You are connected{whom}. You can close this page.");
    html(StatusCode::OK, &OutcomePage { title: "Connected", text: &text })
}

fn form(status: StatusCode, view: &SessionView, wrong: &BTreeMap<String, String>, trouble: Option<&str>) -> Response {
    let fields: &[AuthField] = match &view.kind {
        SessionKind::Fields(fields) => fields,
        SessionKind::OAuth => &[],
    };
    html(status, &ConnectPage { view, fields, wrong, trouble })
}

fn trouble(error: &ConnectError) -> Response {
    let status = match error {
        ConnectError::UnknownSession | ConnectError::NotFound => StatusCode::NOT_FOUND,
        ConnectError::Expired | ConnectError::Used => StatusCode::GONE,
        ConnectError::Fault(fault) => {
            tracing::error!(error = %fault, "a connect page met a fault of the host");
            let text = "Something went wrong on our side. Try again in a moment.";
            return html(StatusCode::INTERNAL_SERVER_ERROR, &OutcomePage { title: "Not connected", text });
        }
        _ => StatusCode::BAD_REQUEST,
    };
    tracing::info!(%error, "not connected");
    let text = sentence(&error.to_string());
    html(status, &OutcomePage { title: "Not connected", text: &text })
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

fn html(status: StatusCode, page: &impl Template) -> Response {
    let Ok(text) = page.render() else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let mut response = (status, text).into_response();
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'";
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, policy),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
