//! The pages of the connect flow: plain HTML that works without script, on a phone, by keyboard, read aloud.
//!
//! Invariants: nothing is loaded from anywhere; the page may not be framed, and its form counts only when it was sent
//! from here; what a person typed is never shown again; whatever goes wrong under `/connect` is a page too. A form is
//! not read before its link is known.

mod cookies;

use std::collections::BTreeMap;
use std::time::Duration;

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, RawQuery, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use bulkhead_engine::{ConnectError, Connected, ConnectionError, InvalidField, NotConnected, SessionKind, SessionView};
use bulkhead_manifest::{AuthField, mask};
use bulkhead_vault::Secret;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use tower_http::request_id::RequestId;
use url::Url;

use self::cookies::{BROWSER, Kept, LINK};
use crate::{Desk, body};

/// Largest form, bytes.
const LARGEST_FORM: usize = 64 << 10;

pub(crate) fn routes() -> Router<Desk> {
    Router::new()
        // Looking whether it is there must not spend the state.
        .route("/oauth/callback/{app}", get(callback).head(wrong_method))
        .route("/{token}", get(page).post(submit))
        .route("/{token}/first", post(authorize_first))
        .fallback(no_such_page)
        .method_not_allowed_fallback(wrong_method)
}

#[derive(Template)]
#[template(path = "connect.html")]
struct ConnectPage<'a> {
    view: &'a SessionView,
    /// What the person is asked for; `None` where they go to the provider.
    fields: Option<&'a [AuthField]>,
    webhook_url: Option<&'a Url>,
    /// Who asks: where this host is reached.
    host: &'a str,
    wrong: &'a Wrong,
}

/// What is wrong with a form that was sent.
#[derive(Default)]
struct Wrong {
    /// With each field, by its name.
    fields: BTreeMap<String, String>,
    /// With all of it.
    trouble: Option<String>,
    /// Whether it is what was typed that was refused.
    refused: bool,
}

impl ConnectPage<'_> {
    fn wrong_with(&self, name: &str) -> Option<&String> {
        self.wrong.fields.get(name)
    }

    fn is_wrong(&self, name: &str) -> bool {
        self.wrong.refused || self.wrong.fields.contains_key(name)
    }

    /// There is nothing that could be kept.
    fn asks_nothing(&self) -> bool {
        self.fields.is_some_and(<[AuthField]>::is_empty)
    }

    /// Where a person goes on, after an error.
    fn begins_at(&self, name: &str) -> bool {
        let names = self.fields.unwrap_or_default().iter().map(|field| field.name.as_str());
        let of_webhooks = self.wrong_with(WEBHOOK_SECRET).map(|_| WEBHOOK_SECRET);
        names.filter(|name| self.is_wrong(name)).chain(of_webhooks).next() == Some(name)
    }
}

#[derive(Template)]
#[template(path = "outcome.html")]
struct OutcomePage<'a> {
    title: &'a str,
    text: &'a str,
    /// The token of the link, where it can be used once more.
    again: Option<&'a str>,
    /// The same, where it can authorize this connection, which the account has already.
    first: Option<(&'a str, &'a str)>,
    /// Where the platform wants the person back.
    back: Option<&'a Url>,
}

/// What a page of trouble offers.
#[derive(Default)]
struct WaysOn {
    /// By the link's token.
    again: Option<String>,
    return_url: Option<Url>,
}

/// The form's name for what the provider signs webhooks with. No field of a manifest has a hyphen.
const WEBHOOK_SECRET: &str = "webhook-secret";

async fn page(
    State(desk): State<Desk>,
    Extension(id): Extension<RequestId>,
    token: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let Ok(Path(token)) = token else { return trouble(&ConnectError::UnknownSession, WaysOn::default(), &id) };
    let browser = BROWSER.kept(&headers, desk.engine.public_url()).ours();
    match desk.engine.session(&token, browser.as_deref()).await {
        Ok(view) => form(&desk, StatusCode::OK, &view, &Wrong::default()),
        Err(error) => trouble(&error, by(&token, &error), &id),
    }
}

async fn submit(
    State(desk): State<Desk>,
    Extension(id): Extension<RequestId>,
    token: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Ok(Path(token)) = token else { return trouble(&ConnectError::UnknownSession, WaysOn::default(), &id) };
    let (browser, is_new) = match BROWSER.kept(&headers, desk.engine.public_url()) {
        Kept::Ours(browser) => (browser, false),
        Kept::Nothing => (BROWSER.fresh(), true),
        // What the person would come back with from the provider could not count.
        Kept::Several => return trouble(&ConnectError::WrongBrowser, WaysOn::default(), &id),
    };
    if !from_here(&headers, desk.engine.public_url()) {
        return from_elsewhere();
    }
    let view = match desk.engine.session(&token, Some(&browser)).await {
        Ok(view) => view,
        Err(error) => return trouble(&error, by(&token, &error), &id),
    };
    let given = match given(&headers, body, desk.crowd.patience()).await {
        Ok(given) => given,
        Err(status) => {
            return outcome(status, "Not connected", "This form did not arrive whole. Go back and send it again.");
        }
    };
    let filled = given.into_iter().map(|(name, value)| (name, value.trim().to_owned()));
    let filled = filled.filter(|(_, value)| !value.is_empty());
    let mut fields: BTreeMap<_, _> = filled.map(|(name, value)| (name, Secret::from_string(value))).collect();
    let webhook_secret = fields.remove(WEBHOOK_SECRET).filter(|_| view.webhook_url.is_some());
    let mut response = if matches!(view.kind, SessionKind::OAuth) {
        match desk.engine.begin_oauth(&token, &browser, webhook_secret).await {
            Ok(url) => LINK.set(&token, desk.engine.public_url(), Redirect::to(url.as_str()).into_response()),
            Err(ConnectError::Connection(error @ ConnectionError::Invalid(_))) => return again(&desk, &view, error),
            Err(error) => return trouble(&error, by(&token, &error), &id),
        }
    } else {
        match desk.engine.submit_fields(&token, &browser, fields, webhook_secret).await {
            Ok(connected) => return done(connected),
            Err(ConnectError::Connection(error)) => return again(&desk, &view, error),
            // What was given waits for this browser.
            Err(error) => trouble(&error, by(&token, &error), &id),
        }
    };
    if is_new {
        response = BROWSER.set(&browser, desk.engine.public_url(), response);
    }
    response
}

/// What was filled in.
async fn given(headers: &HeaderMap, body: Body, patience: Duration) -> Result<BTreeMap<String, String>, StatusCode> {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.trim_start().to_ascii_lowercase().starts_with("application/x-www-form-urlencoded") {
        return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    let form = body::read(body, LARGEST_FORM, patience).await.map_err(|problem| problem.status())?;
    serde_urlencoded::from_bytes(&form).map_err(|_| StatusCode::UNPROCESSABLE_ENTITY)
}

/// The form once more, with what is wrong.
fn again(desk: &Desk, view: &SessionView, error: ConnectionError) -> Response {
    let trouble = Some(sentence(&error.to_string()));
    match error {
        ConnectionError::Invalid(invalid) => form(desk, StatusCode::UNPROCESSABLE_ENTITY, view, &beside(view, invalid)),
        ConnectionError::NotChecked(_) => {
            form(desk, StatusCode::SERVICE_UNAVAILABLE, view, &Wrong { trouble, ..Wrong::default() })
        }
        _ => form(desk, StatusCode::UNPROCESSABLE_ENTITY, view, &Wrong { trouble, refused: true, ..Wrong::default() }),
    }
}

/// Each message beside what it is about. Of what the form does not ask for the first stands above it: such a form was
/// another version's, or is none of ours.
fn beside(view: &SessionView, invalid: Vec<InvalidField>) -> Wrong {
    let asked = match &view.kind {
        SessionKind::Fields(fields) => fields.as_slice(),
        SessionKind::OAuth => &[],
    };
    let mut wrong = Wrong::default();
    for InvalidField { pointer, message } in invalid {
        let name = match pointer.strip_prefix("/fields/") {
            Some(name) => Some(name).filter(|name| asked.iter().any(|field| field.name == *name)),
            None => view.webhook_url.as_ref().filter(|_| pointer == "/webhook_secret").map(|_| WEBHOOK_SECRET),
        };
        if let Some(name) = name {
            wrong.fields.insert(name.to_owned(), sentence(&message));
        } else if wrong.trouble.is_none() {
            wrong.trouble = Some(sentence(&format!("{pointer}: {message}")));
        }
    }
    wrong
}

/// Whether a form was sent from a page of ours: somebody else's page must not send a person on with their consent.
fn from_here(headers: &HeaderMap, public_url: &Url) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return matches!(site, "same-origin" | "none");
    }
    let Some(origin) = text(ORIGIN.as_str()) else { return true };
    let Ok(origin) = Url::parse(origin).map(|url| url.origin()) else { return false };
    // By another name it is reached as the public one is: a page that came over http, where https is spoken, is nobody's.
    let called = text(HOST.as_str()).and_then(|host| Url::parse(&format!("{}://{host}", public_url.scheme())).ok());
    origin == public_url.origin() || called.is_some_and(|called| called.origin() == origin)
}

async fn callback(
    State(desk): State<Desk>,
    Extension(id): Extension<RequestId>,
    app: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let app = app.ok().and_then(|Path(app)| app.parse().ok());
    let Some(app) = app else { return trouble(&ConnectError::StateMismatch, WaysOn::default(), &id) };
    let query: Vec<(String, String)> = serde_urlencoded::from_str(&query.unwrap_or_default()).unwrap_or_default();
    let [browser, link] = [BROWSER, LINK].map(|cookie| cookie.kept(&headers, desk.engine.public_url()).ours());
    match desk.engine.finish_oauth(app, browser.as_deref(), link.as_deref(), query).await {
        Ok(connected) => done(connected),
        Err(NotConnected { error, return_url, again }) => {
            trouble(&error, WaysOn { again: link.filter(|_| again), return_url }, &id)
        }
    }
}

/// What a person gave for a second connection goes to the first.
async fn authorize_first(
    State(desk): State<Desk>,
    Extension(id): Extension<RequestId>,
    token: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let Ok(Path(token)) = token else { return trouble(&ConnectError::UnknownSession, WaysOn::default(), &id) };
    let browser = BROWSER.kept(&headers, desk.engine.public_url()).ours();
    if !from_here(&headers, desk.engine.public_url()) {
        return from_elsewhere();
    }
    match desk.engine.authorize_first(&token, browser.as_deref()).await {
        Ok(connected) => done(connected),
        Err(error) => trouble(&error, by(&token, &error), &id),
    }
}

fn from_elsewhere() -> Response {
    let text = "This form was sent from another site. Open the link that you were given, and send it from there.";
    outcome(StatusCode::FORBIDDEN, "Not connected", text)
}

async fn no_such_page() -> Response {
    outcome(StatusCode::NOT_FOUND, "Not found", "There is no such page. Open the link that you were given.")
}

async fn wrong_method() -> Response {
    outcome(
        StatusCode::METHOD_NOT_ALLOWED,
        "Not found",
        "This page cannot be used in this way. Open the link that you were given.",
    )
}

fn done(connected: Connected) -> Response {
    if let Some(mut url) = connected.return_url {
        url.query_pairs_mut()
            .append_pair("status", "connected")
            .append_pair("connection", &connected.connection.to_string());
        return Redirect::to(url.as_str()).into_response();
    }
    let whom = connected.account.map_or_else(String::new, |account| format!(" to {account}"));
    outcome(StatusCode::OK, "Connected", &format!("You are connected{whom}. You can close this page."))
}

fn form(desk: &Desk, status: StatusCode, view: &SessionView, wrong: &Wrong) -> Response {
    let fields = match &view.kind {
        SessionKind::Fields(fields) => Some(fields.as_slice()),
        SessionKind::OAuth => None,
    };
    let host = desk.engine.public_url().authority();
    html(status, &ConnectPage { view, fields, webhook_url: view.webhook_url.as_ref(), host, wrong })
}

/// The link once more, unless it is over.
fn by(token: &str, error: &ConnectError) -> WaysOn {
    let over = matches!(
        error,
        ConnectError::UnknownSession
            | ConnectError::NotFound
            | ConnectError::Expired
            | ConnectError::Used
            | ConnectError::GivenElsewhere { .. }
            | ConnectError::Connection(ConnectionError::Disconnected)
    );
    let return_url = match error {
        ConnectError::GivenElsewhere { return_url } => return_url.clone(),
        _ => None,
    };
    WaysOn { again: (!over).then(|| token.to_owned()), return_url }
}

fn trouble(error: &ConnectError, ways: WaysOn, id: &RequestId) -> Response {
    let back = ways.return_url.map(|mut url| {
        url.query_pairs_mut().append_pair("status", "not_connected");
        url
    });
    let again = ways.again.as_deref();
    let page = |text: &str, status| {
        let (again, first) = match error {
            ConnectError::AlreadyConnected { first } => (None, again.map(|token| (token, first.name.as_str()))),
            _ => (again, None),
        };
        let title = match error {
            ConnectError::AlreadyConnected { .. } | ConnectError::GivenElsewhere { .. } => "Already connected",
            ConnectError::Used => "Link used",
            _ => "Not connected",
        };
        html(status, &OutcomePage { title, text, again, first, back: back.as_ref() })
    };
    let status = match error {
        ConnectError::AlreadyConnected { .. } | ConnectError::GivenElsewhere { .. } => StatusCode::CONFLICT,
        ConnectError::UnknownSession | ConnectError::NotFound => StatusCode::NOT_FOUND,
        ConnectError::Expired | ConnectError::Used | ConnectError::Connection(ConnectionError::Disconnected) => {
            StatusCode::GONE
        }
        ConnectError::Connection(ConnectionError::NotChecked(_)) => StatusCode::SERVICE_UNAVAILABLE,
        ConnectError::Fault(fault) => {
            tracing::error!(error = %fault, "a connect page met a fault of the host");
            let id = id.header_value().to_str().unwrap_or_default();
            let text = format!(
                "Something went wrong on our side. Try again in a moment. If it stays, say {id:?} to whoever sent you the link."
            );
            return page(&text, StatusCode::INTERNAL_SERVER_ERROR);
        }
        _ => StatusCode::BAD_REQUEST,
    };
    // Parts of it may come from a stranger: quoted, so that it stays one line.
    tracing::info!(error = ?error.to_string(), "not connected");
    page(&sentence(&error.to_string()), status)
}

fn outcome(status: StatusCode, title: &str, text: &str) -> Response {
    html(status, &OutcomePage { title, text, again: None, first: None, back: None })
}

/// As a page says it: parts of it may come from a stranger, or repeat what one was told.
fn sentence(text: &str) -> String {
    let text = mask::text(text);
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    let end = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{first}{}{end}", letters.as_str())
}

fn html(status: StatusCode, page: &impl Template) -> Response {
    let Ok(text) = page.render() else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let mut response = (status, text).into_response();
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'";
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, policy),
        (CACHE_CONTROL, "no-store"),
        // With `no-referrer` a browser would not say that the form came from here.
        (REFERRER_POLICY, "same-origin"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sent_to(public_url: &str, headers: &[(&'static str, &str)]) -> bool {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        from_here(&headers.collect(), &Url::parse(public_url).unwrap())
    }

    /// Mutation: let every form through.
    #[test]
    fn a_form_counts_only_when_it_was_sent_from_here() {
        let sent = |headers: &[(&'static str, &str)]| sent_to("https://connect.example/", headers);
        assert!(sent(&[]), "no browser says nothing");
        assert!(sent(&[("sec-fetch-site", "same-origin"), ("origin", "https://elsewhere.example")]));
        assert!(sent(&[("origin", "https://connect.example")]));
        assert!(sent(&[("origin", "https://by.another.name"), ("host", "by.another.name")]));
        for site in ["cross-site", "same-site", "what"] {
            assert!(!sent(&[("sec-fetch-site", site)]), "{site}");
        }
        for origin in ["https://elsewhere.example", "https://connect.example.elsewhere.example", "null", ""] {
            assert!(!sent(&[("origin", origin), ("host", "connect.example")]), "{origin}");
        }
    }

    /// Whoever is on the way to a host can send a page of the same name over http.
    ///
    /// Mutation: `from_here`, a page of this host's name, however it came.
    #[test]
    fn a_page_of_the_same_name_that_came_over_http_is_not_ours() {
        for host in ["connect.example", "by.another.name"] {
            assert!(!sent_to("https://connect.example/", &[("origin", &format!("http://{host}")), ("host", host)]));
        }
        let local = [("origin", "http://127.0.0.1:8080"), ("host", "127.0.0.1:8080")];
        assert!(sent_to("http://localhost:8080/", &local) && !sent_to("https://localhost:8080/", &local));
    }

    #[test]
    fn a_sentence_begins_large_and_ends_once() {
        assert_eq!(sentence("this is over"), "This is over.");
        assert_eq!(sentence("Is it over?"), "Is it over?");
        assert_eq!(sentence(""), ".");
    }

    /// Mutation: `sentence`, the text as it is.
    #[test]
    fn what_a_page_says_is_masked() {
        let said = sentence("the provider says: client_secret=hunter22hunter22, Bearer abcdefgh1");
        assert_eq!(said, "The provider says: client_secret=[secret], Bearer [secret].");
    }
}
