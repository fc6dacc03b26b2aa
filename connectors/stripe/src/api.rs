//! One call to Stripe: the pinned version on the way out, Stripe's errors made failures on the way back.

use bulkhead_sdk::prelude::*;
use serde::de::DeserializeOwned;

use crate::failure;

const BASE: &str = "https://api.stripe.com";

/// Stripe answers in the shapes of this version, whatever the account's default is.
pub(crate) const VERSION: &str = "2026-10-28.endive";

pub(crate) fn get(path: &str) -> http::Request {
    http::get(format!("{BASE}{path}")).header("Stripe-Version", VERSION)
}

pub(crate) fn post(path: &str) -> http::Request {
    http::post(format!("{BASE}{path}")).header("Stripe-Version", VERSION)
}

/// Sends, and reads the answer as `T`.
pub(crate) fn call<T: DeserializeOwned>(request: http::Request) -> Result<T, Failure> {
    request.send()?.or_fail(failure::of).and_then(|response| response.json())
}

/// A page of any Stripe list.
#[derive(Deserialize)]
pub(crate) struct List<T> {
    pub(crate) data: Vec<T>,
    pub(crate) has_more: bool,
}
