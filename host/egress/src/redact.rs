//! Step 12: an answer that repeats the credential does not carry it to the guest.
//!
//! Best effort: it finds the texts that were sent, as they were sent or as JSON or an address writes them. What a secret
//! cannot do is leave for a host it is not pinned to; that is the guarantee, and it is not here.
//!
//! Invariant: for each secret the time grows with its length plus the answer's, never with one times the
//! other: who chooses the one often chooses the other too.

use bulkhead_manifest::Capture;
use bulkhead_vault::Secret;
use bytes::Bytes;
use memchr::memmem::Finder;
use url::form_urlencoded;
use zeroize::Zeroizing;

use crate::aside::aside;
use crate::capture;
use crate::error::DoorError;
use crate::pace::Turns;
use crate::request::{Answer, Captured};
use crate::unpack::{is_packed, unpack};

const REPLACEMENT: &[u8] = b"[secret]";
/// Shorter texts stand in answers by chance.
const SHORTEST: usize = 8;

/// The answer, unpacked to so many bytes at most, without what is to be captured of it and without the secrets; and what
/// was captured.
pub(crate) async fn clean(
    mut answer: Answer,
    limit: usize,
    captures: Vec<Capture>,
    mut secrets: Vec<Secret>,
    turns: Turns<'_>,
) -> Result<(Answer, Vec<Captured>), DoorError> {
    let is_packed = is_packed(&answer);
    // However little is packed, it may be much.
    let cleaning = aside(if is_packed { limit } else { answer.body.len() }, move || {
        if is_packed {
            unpack(&mut answer, limit)?;
        }
        let length = answer.body.len();
        let captured = capture::take(&mut answer, &captures)?;
        // What was captured may stand in other places, too.
        let texts = captured.iter().filter_map(|captured| captured.value.expose_str().ok());
        secrets.extend(texts.flat_map(writings));
        replace_all(&mut answer, &secrets);
        if answer.body.len() != length {
            let lengths = answer.headers.iter_mut().filter(|(name, _)| name == "content-length");
            lengths.for_each(|(_, value)| *value = answer.body.len().to_string());
        }
        Ok((answer, captured))
    });
    let cleaned = cleaning.await.ok_or(DoorError::Broken { sent: true })?;
    if is_packed {
        turns.owe(cleaned.as_ref().map_or(limit, |(answer, _)| answer.body.len()));
    }
    cleaned
}

/// As it is sent, as JSON repeats it (many servers escape slashes there), and as it stands in an address.
pub(crate) fn writings(text: &str) -> [Secret; 4] {
    let quoted = Zeroizing::new(serde_json::to_string(text).unwrap_or_default());
    let in_json = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
    let in_address = form_urlencoded::byte_serialize(text.as_bytes()).collect();
    [text.to_owned(), in_json.to_owned(), in_json.replace('/', "\\/"), in_address].map(Secret::from_string)
}

/// Replaces every occurrence of the secrets.
fn replace_all(answer: &mut Answer, secrets: &[Secret]) {
    let mut texts: Vec<&[u8]> = secrets.iter().map(Secret::expose).filter(|text| text.len() >= SHORTEST).collect();
    // The longest first, so that no part of one is left beside a replaced shorter one; each once.
    texts.sort_by_key(|text| (std::cmp::Reverse(text.len()), *text));
    texts.dedup();
    for finder in texts.into_iter().map(Finder::new) {
        for (_, value) in &mut answer.headers {
            if let Some(redacted) = replaced(value.as_bytes(), &finder) {
                *value = String::from_utf8_lossy(&redacted).into_owned();
            }
        }
        if let Some(redacted) = replaced(&answer.body, &finder) {
            answer.body = Bytes::from(redacted);
        }
    }
}

/// The text without the secret; `None` where it is not in there, which is nearly always.
fn replaced(haystack: &[u8], secret: &Finder<'_>) -> Option<Vec<u8>> {
    let mut redacted = Vec::new();
    let mut from = 0;
    for at in secret.find_iter(haystack) {
        redacted.extend_from_slice(haystack.get(from..at)?);
        redacted.extend_from_slice(REPLACEMENT);
        from = at + secret.needle().len();
    }
    if from == 0 {
        return None;
    }
    redacted.extend_from_slice(haystack.get(from..)?);
    Some(redacted)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;
    use crate::aside::tests::waits_aside;
    use crate::pace::Pace;

    fn turns(pace: &Pace) -> Turns<'_> {
        Turns { pace, tenant: "t", per_second: 1_000 }
    }

    #[test]
    fn a_repeated_secret_is_replaced_in_headers_and_body() {
        let mut answer = Answer {
            status: 200,
            headers: vec![("x-echo".into(), "Bearer hunter2hunter2!".into()), ("x-other".into(), "ok".into())],
            body: Bytes::from_static(b"hunter2hunter2 and hunter2hunter2"),
        };
        replace_all(&mut answer, &[Secret::from_string("hunter2hunter2".into()), Secret::from_string("ok".into())]);
        assert_eq!(answer.headers, [("x-echo".into(), "Bearer [secret]!".into()), ("x-other".into(), "ok".to_owned())]);
        assert_eq!(answer.body, "[secret] and [secret]");
    }

    #[test]
    fn an_answer_without_it_is_left_alone() {
        let body = Bytes::from_static(b"hunter2hunter hhhhunter2");
        let mut answer = Answer { status: 200, headers: Vec::new(), body: body.clone() };
        replace_all(&mut answer, &[Secret::from_string("hunter2hunter2".into())]);
        assert_eq!(answer.body.as_ptr(), body.as_ptr());
    }

    #[test]
    fn of_two_secrets_one_inside_the_other_neither_is_left() {
        let mut answer =
            Answer { status: 200, headers: Vec::new(), body: Bytes::from_static(b"<abcdefgh-0123456789>") };
        replace_all(
            &mut answer,
            &[Secret::from_string("abcdefgh".into()), Secret::from_string("abcdefgh-0123456789".into())],
        );
        assert_eq!(answer.body, "<[secret]>");
    }

    /// What a tenant would choose who chooses both. Compared byte by byte, this is 10¹² steps.
    ///
    /// Mutation: `replaced`, look at each place with `starts_with`.
    #[tokio::test]
    async fn an_answer_made_to_look_like_the_secret_takes_no_longer_than_another() {
        let nearly = "a".repeat(256 * 1024);
        let body = Bytes::from(vec![b'a'; 4 * 1024 * 1024]);
        let answer = Answer { status: 200, headers: Vec::new(), body: body.clone() };
        let secrets = vec![Secret::from_string(nearly.clone() + "b"), Secret::from_string(nearly + "c")];
        let pace = Pace::default();
        let redacting = clean(answer, usize::MAX, Vec::new(), secrets, turns(&pace));
        let redacted = tokio::time::timeout(std::time::Duration::from_secs(10), redacting).await;
        assert_eq!(redacted.expect("it takes too long").unwrap().0.body, body);
    }

    /// A few bytes may be packed of many.
    ///
    /// Mutation: `clean`, `aside` by what came.
    #[tokio::test]
    async fn what_is_packed_is_unpacked_on_a_thread_of_its_own() {
        let answer = |coding: &str, body: Vec<u8>| Answer {
            status: 200,
            headers: vec![("content-encoding".to_owned(), coding.to_owned())],
            body: body.into(),
        };
        let packed = answer("gzip", crate::unpack::tests::gzipped(b"body"));
        for (answer, waits) in [(packed, true), (answer("identity", b"body".to_vec()), false)] {
            let pace = Pace::default();
            let (waited, cleaned) = waits_aside(clean(answer, 1 << 20, Vec::new(), Vec::new(), turns(&pace))).await;
            assert_eq!((waited, cleaned.unwrap().0.body.as_ref()), (waits, b"body".as_slice()));
        }
    }

    /// Mutation: `clean`, without `writings`, or leave the length as it is.
    #[tokio::test]
    async fn what_is_captured_is_found_in_the_rest_of_its_answer_too() {
        let (path, pointer) = ("/".parse().unwrap(), "/secret".parse().unwrap());
        let captures = vec![Capture { path, pointer, name: "s".into() }];
        let body = r#"{"secret":"whsec_a/b","note":"whsec_a\/b","id":1}"#;
        let headers = vec![
            ("x-secret".to_owned(), "whsec_a/b".to_owned()),
            ("content-length".to_owned(), body.len().to_string()),
        ];
        let answer = Answer { status: 200, headers, body: body.into() };
        let pace = Pace::default();
        let (left, captured) = clean(answer, usize::MAX, captures, Vec::new(), turns(&pace)).await.unwrap();
        assert_eq!(left.body, r#"{"secret":"bulkhead:captured:s","note":"[secret]","id":1}"#);
        assert_eq!(left.headers[0].1, "[secret]");
        assert_eq!(left.headers[1].1, left.body.len().to_string());
        assert_eq!((captured[0].name.as_str(), captured[0].value.expose()), ("s", b"whsec_a/b".as_slice()));
    }
}
