//! The simulators, used over HTTP as a connector would use them, and told to misbehave as a test would tell them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stderr)]

mod company;
mod control;
mod faults;
mod oauth;
mod quickbooks;
mod quickbooks_reading;
mod quickbooks_transactions;
mod receiver;
mod specs;
mod stripe;
mod webhooks;

use serde_json::Value;

/// A status and a body: the body is null when it is no JSON.
type Reply = (u16, Value);

async fn reply(response: reqwest::Response) -> Reply {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or_default())
}

/// What an error says of itself, wherever the provider puts it.
fn code(body: &Value) -> &str {
    let stripe = body.pointer("/error/code").or_else(|| body.pointer("/error/type"));
    let quickbooks = body.pointer("/Fault/Error/0/code");
    stripe.or(quickbooks).and_then(Value::as_str).unwrap_or("no error")
}
