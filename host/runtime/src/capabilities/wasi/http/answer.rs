//! From an answer of our own `http` to one of `wasi:http`.

use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, spawn};
use wasmtime_wasi_http::{Error, WasiBody};

use crate::limits::Limits;
use crate::ports::{HttpError, HttpErrorKind, HttpResponse};

/// What stands in a future that is ready.
type Ready = Result<(Response<WasiBody>, AbortOnDropJoinHandle<()>), Error>;

pub(super) fn ready(answer: Result<HttpResponse, HttpError>, limits: &Limits) -> Ready {
    let HttpResponse { status, headers, body } = answer.map_err(|error| code(error, limits))?;
    let mut response = Response::new(Full::new(body).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(status).map_err(|_| Error::HttpProtocolError)?;
    for (name, value) in headers {
        // The door handed them over as what they are; one that this library does not take is left out.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            let _ = response.headers_mut().try_append(name, value);
        }
    }
    // Nothing is left to be done for a body that is there.
    Ok((response, spawn(async {})))
}

/// WASI's code for it. What it says besides stands in the run's log.
fn code(error: HttpError, limits: &Limits) -> Error {
    match (error.kind, error.request_sent) {
        (HttpErrorKind::Denied, _) => Error::HttpRequestDenied,
        (HttpErrorKind::NoCredential, _) => Error::ConfigurationError,
        (HttpErrorKind::RateLimited, _) => Error::ConnectionLimitReached,
        (HttpErrorKind::Timeout, true) => Error::HttpResponseTimeout,
        (HttpErrorKind::Timeout, false) => Error::ConnectionTimeout,
        // The name, the connection or its encryption: the door does not tell a guest more.
        (HttpErrorKind::Connect, _) => Error::DestinationUnavailable,
        (HttpErrorKind::TooLarge, true) => Error::HttpResponseBodySize(Some(limits.response_bytes)),
        (HttpErrorKind::TooLarge, false) => Error::HttpRequestHeaderSectionSize(Some(limits.header_bytes)),
        (HttpErrorKind::InvalidRequest, _) => Error::HttpProtocolError,
        // The connection broke after it was made.
        (HttpErrorKind::Other(name), _) if name == "broken" => Error::ConnectionTerminated,
        (HttpErrorKind::Other(name), _) => Error::InternalError(Some(format!("{name}: {}", error.message))),
    }
}
