//! Single steps of the door, for whoever tries them with inputs that nobody thought of. Nothing leaves by them.

use std::time::Duration;

use bulkhead_manifest::{EgressRule, RateRule};
use http::HeaderMap;
use url::Url;

use crate::config::DoorConfig;
use crate::error::DoorError;
use crate::exchange::target;
use crate::learn;
use crate::normalise::{check_name, normalise};
use crate::request::Outgoing;
use crate::route::route;
use crate::strip::strip;

/// A URL that may be asked for.
#[derive(Debug)]
pub struct Allowed<'a> {
    /// The rule that allows it.
    pub rule: &'a EgressRule,
    /// The name that is resolved, shown to TLS, and stands in `Host`.
    pub name: String,
    /// The URL itself.
    pub url: Url,
    /// What stands in the request line.
    pub target: String,
}

/// Steps 1 and 2.
///
/// # Errors
/// As [`crate::Door::send`].
pub fn url<'a>(
    config: &DoorConfig,
    rules: &'a [EgressRule],
    method: &str,
    text: &str,
) -> Result<Allowed<'a>, DoorError> {
    let url = normalise(text)?;
    check_name(text, &url)?;
    let route = route(config, rules, method, &url)?;
    Ok(Allowed { rule: route.rule, name: route.destination.name, target: target(&url), url })
}

/// Step 4, of a request to the host called `name`.
///
/// # Errors
/// As [`crate::Door::send`].
pub fn headers(request: &Outgoing, name: &str, rule: &EgressRule, config: &DoorConfig) -> Result<HeaderMap, DoorError> {
    strip(request, name, rule, config)
}

/// Step 11: which budgets such a head holds back, by their places in `rules`, and for how long.
#[must_use]
pub fn lessons(status: u16, headers: &[(String, String)], rules: &[&RateRule], now_ms: u64) -> Vec<(usize, Duration)> {
    learn::lessons(status, headers, rules, now_ms)
}
