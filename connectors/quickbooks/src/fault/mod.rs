//! What QuickBooks says went wrong, as a failure that a bookkeeper can act on.
//!
//! A Fault may come with any status, 200 included, and the gateway in front writes its own in lower case. The code
//! decides where it is known ([`codes`]), then the status, then the Fault's type.

mod codes;

use bulkhead_sdk::prelude::*;

#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "Fault", alias = "fault")]
    fault: Option<Fault>,
}

#[derive(Deserialize, Default)]
struct Fault {
    #[serde(rename = "Error", alias = "error", default)]
    errors: Vec<FaultError>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Clone, Deserialize, Default)]
struct FaultError {
    #[serde(rename = "Message", alias = "message")]
    message: Option<String>,
    #[serde(rename = "Detail", alias = "detail")]
    detail: Option<String>,
    code: Option<Value>,
    element: Option<String>,
}

/// `None` where QuickBooks did what it was asked.
pub(crate) fn of(response: &http::Response) -> Option<Failure> {
    let fault = response.parse::<Envelope>().ok().and_then(|envelope| envelope.fault);
    if fault.is_none() && response.is_success() {
        return None;
    }
    let fault = fault.unwrap_or_default();
    let error = fault.errors.first().cloned().unwrap_or_default();
    let code = error.code();
    let known = code.as_deref().and_then(codes::known);
    let kind = match known {
        _ if response.status() == 429 => FailureKind::RateLimited,
        Some(known) => known.kind.clone(),
        None => kind(response.status(), fault.kind.as_deref().unwrap_or_default()),
    };
    let mut failure = Failure::new(kind, message(known, &error, response.status()));
    failure.retry_after_ms =
        response.header("Retry-After").and_then(|seconds| seconds.trim().parse::<u64>().ok()?.checked_mul(1_000));
    failure.field = error.element.as_deref().and_then(codes::field).map(str::to_owned);
    failure.code = code;
    failure.details = Some(Box::new(json!({
        "intuit_tid": response.header("intuit_tid"),
        "status": response.status(),
        "type": fault.kind,
        "errors": fault.errors.iter().map(FaultError::told).collect::<Vec<Value>>(),
    })));
    Some(failure)
}

/// For a code that nobody taught us.
fn kind(status: u16, fault: &str) -> FailureKind {
    let fault = fault.to_ascii_lowercase();
    match status {
        401 => FailureKind::Unauthorized,
        403 => FailureKind::Forbidden,
        404 | 410 => FailureKind::NotFound,
        408 | 500.. => FailureKind::Unavailable,
        _ if fault.starts_with("authentication") => FailureKind::Unauthorized,
        _ if fault.starts_with("authorization") => FailureKind::Forbidden,
        _ if fault.starts_with("system") || fault.starts_with("service") => FailureKind::Unavailable,
        _ if fault.starts_with("validation") => FailureKind::InvalidInput,
        _ => FailureKind::Rejected,
    }
}

/// What to do where we know it, then what QuickBooks says.
fn message(known: Option<&codes::Known>, error: &FaultError, status: u16) -> String {
    let said = error.said();
    match (known, said) {
        (Some(known), Some(said)) => format!("{} QuickBooks says: {said}", known.advice),
        (Some(known), None) => known.advice.to_owned(),
        (None, Some(said)) => format!("QuickBooks says: {said}"),
        (None, None) => match status {
            401 => "QuickBooks no longer accepts this connection. Connect it again.".to_owned(),
            429 => "QuickBooks asks for fewer requests. This is tried again by itself.".to_owned(),
            500.. => format!("QuickBooks is not working at the moment (status {status})."),
            _ => format!("QuickBooks answered with status {status} and no reason."),
        },
    }
}

impl FaultError {
    /// `"003001"`, `"3001"` and `3001` are one code.
    fn code(&self) -> Option<String> {
        let written = match self.code.as_ref()? {
            Value::String(text) => text.trim().to_owned(),
            Value::Number(number) => number.to_string(),
            _ => return None,
        };
        let short = written.trim_start_matches('0');
        (!short.is_empty()).then(|| short.to_owned())
    }

    /// The detail repeats the message and goes on, so it is enough.
    fn said(&self) -> Option<&str> {
        [&self.detail, &self.message].into_iter().flatten().map(|text| text.trim()).find(|text| !text.is_empty())
    }

    fn told(&self) -> Value {
        json!({"code": self.code, "message": self.message, "detail": self.detail, "element": self.element})
    }
}

#[cfg(test)]
mod tests;
