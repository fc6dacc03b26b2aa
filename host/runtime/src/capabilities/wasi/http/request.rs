//! From a request of `wasi:http` to one of our own `http`. What may not be sent is the door's to say.

use http::{HeaderMap, header};
use wasmtime_wasi_http::RequestOptions;
use wasmtime_wasi_http::p2::bindings::http::types::{Method, Scheme};
use wasmtime_wasi_http::p2::types::HostOutgoingRequest;

use super::incomplete;
use crate::ports::{Deliver, HttpError, HttpRequest};

/// By this header an ordinary client names a side effect. It goes no further than here.
const EFFECT: &str = "bulkhead-effect";

/// The request, without its body.
pub(super) fn translated(
    request: HostOutgoingRequest,
    options: Option<RequestOptions>,
) -> Result<HttpRequest, HttpError> {
    let url = url(&request)?;
    let (mut headers, mut effect) = (Vec::new(), None);
    for (name, value) in request.headers.iter() {
        let Ok(value) = std::str::from_utf8(value.as_bytes()) else {
            return Err(incomplete("a header's value is not UTF-8"));
        };
        if name != EFFECT {
            headers.push((name.as_str().to_owned(), value.to_owned()));
        } else if effect.replace(value.to_owned()).is_some() {
            return Err(incomplete("a request has one Bulkhead-Effect"));
        }
    }
    let timeout_ms = options.and_then(patience_ms);
    let body = Default::default();
    Ok(HttpRequest { method: method(request.method), url, headers, body, deliver: Deliver::Bytes, effect, timeout_ms })
}

/// How long the body is to be, where the guest says so. The value was checked when it was set.
pub(super) fn announced_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn url(request: &HostOutgoingRequest) -> Result<String, HttpError> {
    let scheme = match &request.scheme {
        None | Some(Scheme::Https) => "https",
        Some(Scheme::Http) => "http",
        Some(Scheme::Other(scheme)) => scheme,
    };
    let Some(authority) = &request.authority else {
        return Err(incomplete("the request names no host"));
    };
    let path = request.path_with_query.as_deref().unwrap_or_default();
    let root = if path.starts_with('/') { "" } else { "/" };
    Ok(format!("{scheme}://{authority}{root}{path}"))
}

fn method(method: Method) -> String {
    let name = match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Connect => "CONNECT",
        Method::Options => "OPTIONS",
        Method::Trace => "TRACE",
        Method::Patch => "PATCH",
        Method::Other(name) => return name,
    };
    name.to_owned()
}

/// How long the whole answer may take: as long as the client would wait for its beginning, and once more for the rest.
fn patience_ms(options: RequestOptions) -> Option<u32> {
    let beginning = options.first_byte_timeout?.saturating_add(options.connect_timeout.unwrap_or_default());
    let all = beginning.saturating_add(options.between_bytes_timeout.unwrap_or_default());
    Some(u32::try_from(all.as_millis()).unwrap_or(u32::MAX).max(1))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http::{HeaderName, HeaderValue};
    use wasmtime_wasi_http::FieldMap;

    use super::super::NoClient;
    use super::*;

    /// What a request to `authority` with these headers becomes.
    fn with(authority: Option<&str>, headers: &[(&'static str, &[u8])]) -> Result<HttpRequest, HttpError> {
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            all.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        }
        let request = HostOutgoingRequest {
            method: Method::Post,
            scheme: None,
            authority: authority.map(str::to_owned),
            path_with_query: None,
            headers: FieldMap::new_immutable(&mut NoClient, all),
            body: None,
        };
        translated(request, None)
    }

    /// Which of two names is the effect's, the key by which a provider knows it again would hang on.
    ///
    /// Mutations: `translated`, take the last, or leave out what is no text; `url`, without a host.
    #[test]
    fn what_cannot_be_sent_as_it_was_said_is_refused() {
        let there = Some("ledger.example");
        let sent = with(there, &[("x-one", b"1"), ("x-one", b"2"), (EFFECT, b"payment")]).unwrap();
        assert_eq!((sent.headers.len(), sent.effect.as_deref()), (2, Some("payment")));
        let said = |request: Result<HttpRequest, HttpError>| request.unwrap_err().message;
        assert_eq!(said(with(there, &[(EFFECT, b"a"), (EFFECT, b"b")])), "a request has one Bulkhead-Effect");
        assert_eq!(said(with(there, &[("x-one", b"\xff")])), "a header's value is not UTF-8");
        assert_eq!(said(with(None, &[])), "the request names no host");
    }
}
