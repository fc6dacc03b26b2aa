//! What Stripe says went wrong, as a failure the host can act on.
//!
//! One function owns the branches. `Stripe-Should-Retry` wins over the status where Stripe sends it: it knows best.

use bulkhead_sdk::prelude::*;

#[derive(Deserialize, Default)]
struct Envelope {
    #[serde(default)]
    error: Error,
}

/// Stripe's error object. Nothing in it is certain to be there: proxies answer in Stripe's name as well.
#[derive(Deserialize, Default)]
struct Error {
    #[serde(rename = "type")]
    kind: Option<String>,
    code: Option<String>,
    decline_code: Option<String>,
    message: Option<String>,
    param: Option<String>,
    request_log_url: Option<String>,
}

/// The failure of an answer outside 2xx.
pub(crate) fn of(response: &http::Response) -> Failure {
    let error = response.parse::<Envelope>().unwrap_or_default().error;
    let retry = response.header("Stripe-Should-Retry").and_then(|value| match value {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    });
    let mut failure = Failure::new(kind(response.status(), &error, retry), message(response.status(), &error));
    failure.code = error.decline_code.clone().or_else(|| error.code.clone()).or_else(|| error.kind.clone());
    failure.field = error.param.as_deref().map(pointer);
    failure.retry_after_ms = response.header("Retry-After").and_then(seconds_to_ms);
    failure.details(json!({
        "status": response.status(),
        "type": error.kind,
        "decline_code": error.decline_code,
        "request_id": response.header("Request-Id"),
        "request_log_url": error.request_log_url,
    }))
}

fn kind(status: u16, error: &Error, retry: Option<bool>) -> FailureKind {
    let kind = error.kind.as_deref().unwrap_or_default();
    let code = error.code.as_deref().unwrap_or_default();
    match (status, retry) {
        (401, _) => FailureKind::Unauthorized,
        (429, _) => FailureKind::RateLimited,
        (_, Some(true)) => FailureKind::Unavailable,
        (409 | 500.., Some(false)) => FailureKind::Rejected,
        _ if code == "rate_limit" || code == "lock_timeout" => FailureKind::RateLimited,
        _ if kind == "idempotency_error" => FailureKind::Conflict,
        // Another request with the same key is still under way, or the object is locked: both pass.
        (408 | 409 | 424 | 425 | 500.., None) => FailureKind::Unavailable,
        _ if kind == "card_error" => FailureKind::Rejected,
        (403, _) => FailureKind::Forbidden,
        (404 | 410, _) => FailureKind::NotFound,
        _ if code == "resource_missing" => FailureKind::NotFound,
        (400 | 422, _) => FailureKind::InvalidInput,
        _ => FailureKind::Rejected,
    }
}

/// Stripe's own sentence, and what to do about it where Stripe does not say.
fn message(status: u16, error: &Error) -> String {
    let said = error.message.as_deref().map(str::trim).filter(|text| !text.is_empty());
    match (status, said) {
        (401, _) => {
            "Stripe does not accept the API key. Put in a current key: dashboard.stripe.com, Developers, API keys."
                .into()
        }
        (403, Some(said)) => {
            format!("{said} A restricted key needs this permission: dashboard.stripe.com, Developers, API keys.")
        }
        (403, None) => {
            "The API key may not do this. Give the restricted key the permission, or use another key.".into()
        }
        (429, _) => "Stripe asks for fewer requests. This is tried again by itself.".into(),
        (500.., _) => format!("Stripe is not working at the moment (status {status})."),
        (_, Some(said)) => said.to_owned(),
        (_, None) => format!("Stripe answered with status {status} and no reason."),
    }
}

/// `items[0][price]` → `/items/0/price`.
fn pointer(param: &str) -> String {
    param
        .split(['[', ']'])
        .filter(|part| !part.is_empty())
        .map(|part| format!("/{}", part.replace('~', "~0").replace('/', "~1")))
        .collect()
}

fn seconds_to_ms(value: &str) -> Option<u64> {
    value.trim().parse::<u64>().ok()?.checked_mul(1_000)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;
    use crate::Stripe;
    use bulkhead_sdk::testing::{self, Answer, Host};

    fn failed(answer: Answer) -> Failure {
        let host = Host::start();
        host.answer(answer);
        testing::act::<Stripe>("retrieve_customer", json!({"customer": "cus_1"})).expect_err("Stripe said no")
    }

    fn error(kind: &str, code: Option<&str>) -> Value {
        json!({"error": {"type": kind, "code": code, "message": "Stripe's own words.", "param": "items[0][price]"}})
    }

    #[test]
    fn every_answer_becomes_the_failure_the_host_can_act_on() {
        use FailureKind::*;
        for (status, kind, code, expected) in [
            (400, "invalid_request_error", Some("parameter_missing"), InvalidInput),
            (400, "invalid_request_error", Some("resource_missing"), NotFound),
            (400, "idempotency_error", None, Conflict),
            (401, "invalid_request_error", None, Unauthorized),
            (402, "card_error", Some("card_declined"), Rejected),
            (403, "invalid_request_error", Some("more_permissions_required"), Forbidden),
            (404, "invalid_request_error", Some("resource_missing"), NotFound),
            (409, "idempotency_error", None, Conflict),
            (409, "invalid_request_error", Some("idempotency_key_in_use"), Unavailable),
            (429, "rate_limit_error", Some("rate_limit"), RateLimited),
            (429, "invalid_request_error", Some("lock_timeout"), RateLimited),
            (500, "api_error", None, Unavailable),
            (503, "api_error", None, Unavailable),
            (424, "api_error", None, Unavailable),
            (418, "api_error", None, Rejected),
        ] {
            assert_eq!(failed(Answer::json(status, error(kind, code))).kind, expected, "{status} {kind} {code:?}");
        }
    }

    #[test]
    fn stripe_should_retry_wins_over_the_status() {
        let answer = |status: u16, retry: &str| {
            Answer::json(status, error("api_error", None)).header("Stripe-Should-Retry", retry)
        };
        assert_eq!(failed(answer(500, "false")).kind, FailureKind::Rejected);
        assert_eq!(failed(answer(409, "false")).kind, FailureKind::Rejected);
        assert_eq!(failed(answer(400, "true")).kind, FailureKind::Unavailable);
        assert_eq!(failed(answer(429, "false")).kind, FailureKind::RateLimited);
        assert_eq!(failed(answer(401, "true")).kind, FailureKind::Unauthorized);
    }

    #[test]
    fn the_failure_names_the_field_the_code_and_the_request() {
        let body = json!({"error": {"type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds",
            "message": "Your card has insufficient funds.", "param": "items[0][price]"}});
        let failure = failed(Answer::json(402, body).header("Request-Id", "req_1"));
        assert_eq!(failure.code.as_deref(), Some("insufficient_funds"));
        assert_eq!(failure.field.as_deref(), Some("/items/0/price"));
        assert_eq!(failure.message, "Your card has insufficient funds.");
        let details = failure.details.unwrap();
        assert_eq!(details["request_id"], "req_1");
        assert_eq!(details["type"], "card_error");
    }

    #[test]
    fn a_rate_limit_says_how_long_to_wait() {
        let failure = failed(Answer::json(429, error("rate_limit_error", None)).header("Retry-After", "2"));
        assert_eq!(failure.retry_after_ms, Some(2_000));
    }

    #[test]
    fn an_answer_that_is_not_stripes_is_still_a_failure() {
        let failure = failed(Answer::text(502, "<html>Bad gateway</html>"));
        assert_eq!(failure.kind, FailureKind::Unavailable);
        assert_eq!(failure.message, "Stripe is not working at the moment (status 502).");
        assert_eq!(failed(Answer::text(400, "nope")).kind, FailureKind::InvalidInput);
    }
}
