//! Refusals in Stripe's error shape.
//!
//! **To extend.** A constructor for each situation; the text says what Stripe says, in our words.

use serde_json::{Map, Value, json};

use crate::core::front::Answer;

/// Why a request was refused.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    kind: &'static str,
    message: String,
    code: Option<&'static str>,
    param: Option<String>,
    /// Fields that only some errors have: `decline_code`, `charge`, `payment_intent`.
    more: Map<String, Value>,
    /// The operation had begun, so its result is stored under the idempotency key.
    pub(crate) begun: bool,
}

impl Refusal {
    fn new(status: u16, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into(), code: None, param: None, more: Map::new(), begun: false }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "invalid_request_error", message)
    }

    pub(crate) fn invalid_param(code: &'static str, param: &str, message: impl Into<String>) -> Self {
        Self { code: Some(code), param: Some(param.to_owned()), ..Self::invalid(message) }
    }

    pub(crate) fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(401, "invalid_request_error", message)
    }

    pub(crate) fn forbidden(code: &'static str, message: impl Into<String>) -> Self {
        Self { code: Some(code), ..Self::new(403, "invalid_request_error", message) }
    }

    pub(crate) fn unknown_url(method: &str, path: &str) -> Self {
        Self::new(404, "invalid_request_error", format!("Unrecognized request URL ({method}: {path})."))
    }

    /// An object named in the URL, or in a parameter, does not exist.
    pub(crate) fn missing(status: u16, object: &str, id: &str, param: &str) -> Self {
        Self {
            code: Some("resource_missing"),
            param: Some(param.to_owned()),
            ..Self::new(status, "invalid_request_error", format!("No such {object}: '{id}'"))
        }
    }

    /// The object is in a state that does not allow this.
    pub(crate) fn wrong_state(code: &'static str, message: impl Into<String>) -> Self {
        Self { code: Some(code), begun: true, ..Self::invalid(message) }
    }

    pub(crate) fn idempotency(message: impl Into<String>) -> Self {
        Self::new(400, "idempotency_error", message)
    }

    pub(crate) fn declined(decline_code: &str, charge: &str, intent: &Value) -> Self {
        let mut more = Map::new();
        more.insert("decline_code".into(), decline_code.into());
        more.insert("charge".into(), charge.into());
        more.insert("payment_intent".into(), intent.clone());
        let declined = Self::new(402, "card_error", "Your card was declined.");
        Self { code: Some("card_declined"), more, begun: true, ..declined }
    }

    /// What a fault puts in place of an answer.
    pub(crate) fn injected(status: u16) -> Self {
        match status {
            429 => Self { code: Some("rate_limit"), ..Self::new(429, "rate_limit", "Too many requests. Slow down.") },
            status if status >= 500 => Self::new(status, "api_error", "Something went wrong on Stripe's end."),
            status => Self::new(status, "invalid_request_error", "The simulator was told to refuse this request."),
        }
    }

    /// Found out only when the operation was done.
    pub(crate) fn once_begun(mut self) -> Self {
        self.begun = true;
        self
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn answer(&self, request_id: &str) -> Answer {
        let mut error = self.more.clone();
        error.insert("type".into(), self.kind.into());
        error.insert("message".into(), self.message.as_str().into());
        if let Some(code) = self.code {
            error.insert("code".into(), code.into());
            error.insert(
                "doc_url".into(),
                format!("https://stripe.com/docs/error-codes/{}", code.replace('_', "-")).into(),
            );
        }
        if let Some(param) = &self.param {
            error.insert("param".into(), param.as_str().into());
        }
        let log = format!("https://dashboard.stripe.com/test/logs/{request_id}");
        error.insert("request_log_url".into(), log.into());
        json_answer(self.status, &json!({ "error": error }))
    }
}

/// Stripe prints its JSON for people.
pub(crate) fn json_answer(status: u16, body: &Value) -> Answer {
    let text = serde_json::to_string_pretty(body).unwrap_or_default();
    Answer::new(status, "application/json", text)
}
