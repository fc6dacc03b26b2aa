//! The API as strangers meet it: keys, scopes, ids that are not theirs, input that does not fit, and the form of every no.

mod ages;
mod choices;
mod clients;
mod foreign;
mod health;
mod idempotency;
mod input;
mod keys;
mod lists;
mod problems;
mod scopes;
mod texts;

use bulkhead_tests::{Host, Tenant};
use reqwest::Method;
use serde_json::{Value, json};

use crate::tiny;

/// Makes a tenant's key with these scopes; its text.
async fn key(tenant: &Tenant<'_>, scopes: &[&str]) -> String {
    tenant.post("/v1/keys", json!({ "name": "a key", "scopes": scopes })).await.text("key")
}

/// Makes an operator's key with these scopes; its text.
async fn operator_key(host: &Host, scopes: &[&str]) -> String {
    let new = json!({ "name": "an operator's key", "scopes": scopes });
    host.operator(Method::POST, "/v1/keys", Some(new)).await.text("key")
}

/// By a key, which an app pins.
const KEYED: &str = "[auth]\nkind = \"api_key\"\nfields = [{ name = \"key\", title = \"Key\" }]\n";

/// Publishes a connector with these actions, for everybody.
async fn publish(host: &Host, actions: &Value, more_manifest: &str) {
    let wasm = tiny::describing(&tiny::descriptor(actions));
    host.upload(tiny::with_manifest(&wasm, &tiny::manifest("tiny", "1.0.0", more_manifest))).await.ok();
}

/// A connector with the one action `pay`, which takes an object.
async fn publish_pay(host: &Host) {
    publish(host, &json!([tiny::action("pay", &json!({ "type": "object" }))]), "").await;
}
