//! Why a run stops at a request, and what its guest is told of one that failed.

use bulkhead_egress::{DoorError, Refused};
use bulkhead_runtime::{Call, Halt, HaltReason, HttpError, HttpErrorKind, HttpRequest};

use crate::fault::EngineFault;

pub(super) fn diverged(call: &Call) -> Halt {
    let message = format!(
        "request {} ({} {}) is not the one that the journal holds from an earlier attempt",
        call.seq, call.request.method, call.request.url
    );
    HaltReason::Diverged { message }.into()
}

pub(super) fn unknown(request: &HttpRequest) -> Halt {
    let message = format!(
        "{} {} may have been carried out: the host stopped before it wrote down what came of it, or could not write. The provider has no way to recognise a repeated request.",
        request.method, request.url
    );
    HaltReason::Uncertain { message }.into()
}

pub(super) fn in_the_way(request: &HttpRequest, status: u16) -> Halt {
    let message = format!(
        "{} {}: the provider answers {status} to the repeated request. What is in its way may be what the first one made.",
        request.method, request.url
    );
    HaltReason::Uncertain { message }.into()
}

pub(super) fn refusal(refused: Refused) -> Halt {
    match refused {
        Refused::LeaseLost => HaltReason::LeaseLost,
        Refused::Diverged { message } => HaltReason::Diverged { message },
        Refused::Uncertain { message } => HaltReason::Uncertain { message },
        Refused::Host { message } => HaltReason::Host { message },
    }
    .into()
}

pub(super) fn host(fault: &EngineFault) -> Halt {
    let message = fault.to_string();
    match fault {
        EngineFault::NoToken { .. } => HaltReason::RetryLater { message, retry_after_ms: None },
        EngineFault::AppRefused { .. } => HaltReason::AppRefused { message },
        _ => HaltReason::Host { message },
    }
    .into()
}

pub(super) fn http_error(error: &DoorError) -> HttpError {
    let kind = match error {
        DoorError::Denied(_) | DoorError::Refused(_) => HttpErrorKind::Denied,
        DoorError::NoCredential { .. } => HttpErrorKind::NoCredential,
        DoorError::RateLimited { .. } => HttpErrorKind::RateLimited,
        DoorError::InvalidRequest(_) => HttpErrorKind::InvalidRequest,
        DoorError::TooLarge { .. } => HttpErrorKind::TooLarge,
        DoorError::Withheld { .. } => HttpErrorKind::Other("withheld".to_owned()),
        DoorError::Packed { .. } => HttpErrorKind::Other("packed".to_owned()),
        DoorError::Timeout { .. } => HttpErrorKind::Timeout,
        DoorError::Connect { .. } => HttpErrorKind::Connect,
        DoorError::Broken { .. } => HttpErrorKind::Other("broken".to_owned()),
    };
    HttpError { kind, message: error.to_string(), request_sent: error.request_sent(), retryable: error.retryable() }
}
