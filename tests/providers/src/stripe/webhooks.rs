//! Webhook endpoints: who is told of which events, and how an event is written and signed.
//!
//! **Invariant.** The secret of an endpoint is shown once, in the answer to its creation.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::books::{API_VERSION, Shelf, Work, id_of, merge_metadata, set, set_texts, text_of};
use super::errors::Refusal;
use super::lists::{self, ENDING_BEFORE, EXPAND, LIMIT, STARTING_AFTER};
use super::params::{Form, Kind, Param, may, must};
use crate::core::deliveries::{Endpoint, Format, Notice};
use crate::core::signing::stripe_signature;

pub(crate) const CREATE: &[Param] = &[
    may("api_version", Kind::Text),
    may("connect", Kind::Flag),
    may("description", Kind::Unsettable),
    must("enabled_events", Kind::TextList),
    EXPAND,
    may("metadata", Kind::Metadata),
    must("url", Kind::Text),
];

pub(crate) const UPDATE: &[Param] = &[
    may("description", Kind::Unsettable),
    may("disabled", Kind::Flag),
    may("enabled_events", Kind::TextList),
    EXPAND,
    may("metadata", Kind::Metadata),
    may("url", Kind::Text),
];

pub(crate) const LIST: &[Param] = &[ENDING_BEFORE, EXPAND, LIMIT, STARTING_AFTER];

pub(crate) static FORMAT: Format = Format {
    content_type: "application/json; charset=utf-8",
    user_agent: "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
    largest_batch: 1,
    patience: Duration::from_secs(10),
    compose,
    sign: |secrets, at, body| ("stripe-signature", stripe_signature(secrets, at, body)),
};

/// The event as the endpoint's API version has it.
fn compose(notices: &[Arc<Notice>], endpoint: &Endpoint) -> Vec<u8> {
    let mut event = notices.first().map(|notice| notice.payload.clone()).unwrap_or_default();
    set(&mut event, "api_version", endpoint.version.as_str());
    serde_json::to_vec_pretty(&event).unwrap_or_default()
}

/// The endpoints that listen for a type of event.
pub(crate) fn listeners(endpoints: &Shelf, kind: &str) -> Vec<String> {
    let listens = |endpoint: &&Value| {
        let events = endpoint.get("enabled_events").and_then(Value::as_array);
        let mut patterns = events.into_iter().flatten().filter_map(Value::as_str);
        text_of(endpoint, "status") == "enabled" && patterns.any(|pattern| wants(pattern, kind))
    };
    endpoints.iter().filter(listens).map(|endpoint| id_of(endpoint).to_owned()).collect()
}

/// `*` stands for every type, `charge.*` for every type that begins so.
pub(crate) fn wants(pattern: &str, kind: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => kind.starts_with(prefix),
        None => pattern == kind,
    }
}

pub(crate) fn create(work: &mut Work<'_>) -> Result<Value, Refusal> {
    let form = work.form;
    check(form)?;
    let version = form.text("api_version").unwrap_or(API_VERSION);
    if !is_version(version) {
        let message = format!("Invalid Stripe API version: {version}");
        return Err(Refusal::invalid_param("parameter_invalid_string", "api_version", message));
    }
    let id = work.ids.named("we_1");
    let secret = format!("whsec_{}", work.ids.letters(32));
    let mut endpoint = json!({
        "id": id, "object": "webhook_endpoint", "api_version": form.text("api_version"), "application": null,
        "created": work.now, "description": null, "enabled_events": [], "livemode": false, "metadata": {},
        "status": "enabled", "url": "",
    });
    apply(&mut endpoint, form);
    work.books.endpoints.add(endpoint.clone());
    let target = Endpoint {
        url: text_of(&endpoint, "url").to_owned(),
        secrets: vec![secret.clone()],
        format: &FORMAT,
        version: version.to_owned(),
    };
    work.deliveries.set_endpoint(&id, target);
    work.created("webhook_endpoint", json!([endpoint.get("url"), endpoint.get("enabled_events")]).to_string(), &id);
    set(&mut endpoint, "secret", secret);
    Ok(endpoint)
}

pub(crate) fn retrieve(work: &mut Work<'_>) -> Result<Value, Refusal> {
    work.books.endpoints.find(work.id).cloned()
}

pub(crate) fn list(work: &mut Work<'_>) -> Result<Value, Refusal> {
    lists::page(&work.books.endpoints, work.form, "/v1/webhook_endpoints", |_| true)
}

pub(crate) fn update(work: &mut Work<'_>) -> Result<Value, Refusal> {
    check(work.form)?;
    let mut endpoint = work.books.endpoints.find(work.id)?.clone();
    apply(&mut endpoint, work.form);
    if let Some(disabled) = work.form.flag("disabled") {
        set(&mut endpoint, "status", if disabled { "disabled" } else { "enabled" });
    }
    let url = text_of(&endpoint, "url").to_owned();
    work.deliveries.edit_endpoint(work.id, |target| target.url = url);
    work.books.endpoints.put(endpoint.clone());
    work.did("webhook_endpoint.updated");
    Ok(endpoint)
}

pub(crate) fn delete(work: &mut Work<'_>) -> Result<Value, Refusal> {
    work.books.endpoints.find(work.id)?;
    work.books.endpoints.remove(work.id);
    work.deliveries.remove_endpoint(work.id);
    work.did("webhook_endpoint.deleted");
    Ok(json!({ "id": work.id, "object": "webhook_endpoint", "deleted": true }))
}

fn check(form: &Form) -> Result<(), Refusal> {
    if let Some(url) = form.text("url") {
        let valid = url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        if !valid {
            return Err(Refusal::invalid_param(
                "url_invalid",
                "url",
                "Invalid URL: an absolute http(s) URL is needed.",
            ));
        }
    }
    let events = form.list("enabled_events");
    if form.child("enabled_events").is_some() && events.is_empty() {
        return Err(Refusal::invalid_param(
            "parameter_invalid_empty",
            "enabled_events",
            "At least one event is needed.",
        ));
    }
    match events.iter().find(|event| !is_event_type(event)) {
        None => Ok(()),
        Some(event) => {
            let message = format!("Invalid enabled_events: {event}");
            Err(Refusal::invalid_param("parameter_invalid_string", "enabled_events", message))
        }
    }
}

/// `*`, or names in small letters joined by dots.
fn is_event_type(text: &str) -> bool {
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    text == "*" || (text.contains('.') && text.split('.').all(is_name))
}

/// A date, since 2024 followed by the name of a release.
fn is_version(text: &str) -> bool {
    let (date, name) = text.split_once('.').unwrap_or((text, "acacia"));
    crate::core::clock::parse_date(date).is_some() && name.bytes().all(|byte| byte.is_ascii_lowercase())
}

fn apply(endpoint: &mut Value, form: &Form) {
    set_texts(endpoint, form, &["description", "url"]);
    merge_metadata(endpoint, form);
    if form.child("enabled_events").is_some() {
        set(endpoint, "enabled_events", form.list("enabled_events"));
    }
}
