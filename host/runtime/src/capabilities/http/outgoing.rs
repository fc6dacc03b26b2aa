//! From a guest's request to one that may be shown to the ports: sizes and form, nothing about where it goes.

use bytes::{Bytes, BytesMut};

use super::refusal;
use crate::bindings::bulkhead::connector::http::{DeliveryMode, Request};
use crate::bindings::bulkhead::connector::types::Chunk;
use crate::guest::GuestState;
use crate::ports::{Deliver, HttpError, HttpErrorKind, HttpRequest};

const MAX_METHOD: usize = 20;
const MAX_URL: usize = 8 * 1024;
const MAX_EFFECT: usize = 128;
const NO_BLOBS: &str = "no-blobs";

impl GuestState {
    /// The request as the ports see it, or what the guest is told instead.
    pub(super) fn outgoing(&self, request: Request) -> Result<(HttpRequest, DeliveryMode), HttpError> {
        let deliver = match request.deliver {
            DeliveryMode::Text => Deliver::Text,
            DeliveryMode::Bytes => Deliver::Bytes,
            DeliveryMode::Blob => return Err(no_blobs()),
        };
        let (mode, body) = (request.deliver, join(request.body)?);
        let Request { method, url, headers, effect, timeout_ms, .. } = request;
        let request = HttpRequest { method, url, headers, body, deliver, effect, timeout_ms };
        self.presentable(&request)?;
        Ok((request, mode))
    }

    /// Whether the ports may see it.
    pub(in crate::capabilities) fn presentable(&self, request: &HttpRequest) -> Result<(), HttpError> {
        well_formed(request)?;
        self.headers_fit(&request.headers)
    }

    fn headers_fit(&self, headers: &[(String, String)]) -> Result<(), HttpError> {
        let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        if headers.len() > self.limits.headers as usize || bytes > self.limits.header_bytes as usize {
            let (most, most_bytes) = (self.limits.headers, self.limits.header_bytes);
            let message = format!(
                "the request has {} headers of {bytes} bytes; at most {most} of {most_bytes} bytes are allowed",
                headers.len()
            );
            return Err(refusal(HttpErrorKind::TooLarge, &message));
        }
        Ok(())
    }
}

fn no_blobs() -> HttpError {
    refusal(HttpErrorKind::Other(NO_BLOBS.into()), "this host keeps no blobs: hand the body over as text or bytes")
}

fn well_formed(request: &HttpRequest) -> Result<(), HttpError> {
    let invalid = |message: &str| Err(refusal(HttpErrorKind::InvalidRequest, message));
    if !is_token(&request.method) || request.method.len() > MAX_METHOD {
        return invalid("the method is not a method");
    }
    if request.url.len() > MAX_URL {
        return Err(refusal(HttpErrorKind::TooLarge, "the URL is longer than 8,192 bytes"));
    }
    if request.url.chars().any(|found| found.is_control() || found.is_whitespace()) {
        return invalid("the URL holds spaces or control characters: percent-encode them");
    }
    if request.headers.iter().any(|(name, _)| !is_token(name)) {
        return invalid("a header's name is not a name");
    }
    if request.headers.iter().any(|(_, value)| value.chars().any(|found| found.is_control() && found != '\t')) {
        return invalid("a header's value holds control characters");
    }
    match &request.effect {
        Some(effect) if effect.is_empty() || effect.len() > MAX_EFFECT || effect.chars().any(char::is_control) => {
            invalid("an effect's name has 1 to 128 bytes and no control characters")
        }
        _ => Ok(()),
    }
}

/// What HTTP calls a token.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// All chunks as one body. Their size is bounded already: they came over in one host call.
fn join(chunks: Vec<Chunk>) -> Result<Bytes, HttpError> {
    let mut pieces = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        pieces.push(match chunk {
            Chunk::Text(text) => Bytes::from(text),
            Chunk::Bytes(bytes) => Bytes::from(bytes),
            Chunk::Blob(_) | Chunk::BlobBase64(_) => return Err(no_blobs()),
        });
    }
    // The usual body is one chunk, and that one is not copied.
    if pieces.len() == 1 {
        return Ok(pieces.pop().unwrap_or_default());
    }
    let mut body = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
    pieces.iter().for_each(|piece| body.extend_from_slice(piece));
    Ok(body.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> HttpRequest {
        HttpRequest {
            method: "GET".into(),
            url: "https://api.example.com/v1".into(),
            headers: vec![("accept".into(), "text/plain; q=1".into())],
            body: Bytes::new(),
            deliver: Deliver::Text,
            effect: None,
            timeout_ms: None,
        }
    }

    #[test]
    fn a_request_that_could_smuggle_another_is_invalid() {
        let bad = [
            HttpRequest { method: String::new(), ..request() },
            HttpRequest { method: "GET / HTTP/1.1\r\nX: y".into(), ..request() },
            HttpRequest { method: "X".repeat(21), ..request() },
            HttpRequest { url: "https://a/ b".into(), ..request() },
            HttpRequest { url: "https://a/\r\nb".into(), ..request() },
            HttpRequest { headers: vec![("a b".into(), "c".into())], ..request() },
            HttpRequest { headers: vec![("a".into(), "c\r\nd: e".into())], ..request() },
            HttpRequest { effect: Some(String::new()), ..request() },
        ];
        assert!(well_formed(&request()).is_ok());
        for bad in bad {
            assert!(matches!(well_formed(&bad), Err(HttpError { kind: HttpErrorKind::InvalidRequest, .. })), "{bad:?}");
        }
    }

    #[test]
    fn chunks_become_one_body_and_blobs_are_refused() {
        let joined = join(vec![Chunk::Text("a".into()), Chunk::Bytes(vec![0xff]), Chunk::Text("b".into())]);
        assert_eq!(joined.ok(), Some(Bytes::from_static(b"a\xffb")));
        let slice = crate::bindings::bulkhead::connector::types::Slice { blob: "b".into(), offset: 0, length: None };
        assert!(
            matches!(join(vec![Chunk::Blob(slice)]), Err(HttpError { kind: HttpErrorKind::Other(name), .. }) if name == NO_BLOBS)
        );
    }
}
