//! Step 12: an answer that repeats the credential does not carry it to the guest.
//!
//! Best effort: it finds the texts that were sent, as they were sent or as JSON or an address writes them (`readings`). What a
//! secret cannot do is leave for a host it is not pinned to; that is the guarantee, and it is not here.
//!
//! Invariant: for each secret the time grows with its length plus the answer's, never with one times the
//! other: who chooses the one often chooses the other too.

use bulkhead_manifest::Capture;
use bulkhead_vault::Secret;
use bytes::Bytes;

use crate::aside::aside;
use crate::capture;
use crate::error::DoorError;
use crate::pace::Turns;
use crate::readings::Texts;
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
    secrets: Vec<Secret>,
    turns: Turns<'_>,
) -> Result<(Answer, Vec<Captured>), DoorError> {
    let is_packed = is_packed(&answer);
    // However little is packed, it may be much.
    let cleaning = aside(if is_packed { limit } else { answer.body.len() }, move || {
        let mut unpacked = 0;
        let is_open = if is_packed { unpack(&mut answer, limit, &mut unpacked) } else { Ok(()) };
        (unpacked, is_open.and_then(|()| without(answer, &captures, secrets)))
    });
    let (unpacked, cleaned) = cleaning.await.ok_or(DoorError::Broken { sent: true })?;
    turns.owe(unpacked);
    cleaned
}

/// What is left of an answer, and what was captured of it.
fn without(
    mut answer: Answer,
    captures: &[Capture],
    mut secrets: Vec<Secret>,
) -> Result<(Answer, Vec<Captured>), DoorError> {
    let length = answer.body.len();
    let captured = capture::take(&mut answer, captures)?;
    // What was captured may stand in other places, too.
    secrets.extend(captured.iter().map(|captured| Secret::new(captured.value.expose().to_vec())));
    replace_all(&mut answer, &secrets);
    if answer.body.len() != length {
        let lengths = answer.headers.iter_mut().filter(|(name, _)| name == "content-length");
        lengths.for_each(|(_, value)| *value = answer.body.len().to_string());
    }
    Ok((answer, captured))
}

/// The text without any of these, for whoever is told what a provider said.
pub fn redacted<'s>(text: &str, secrets: impl IntoIterator<Item = &'s Secret>) -> String {
    let texts = to_be_found(secrets.into_iter());
    replaced(text.as_bytes(), &texts).map_or_else(|| text.to_owned(), lossy)
}

/// Replaces every occurrence of the secrets.
fn replace_all(answer: &mut Answer, secrets: &[Secret]) {
    let texts = to_be_found(secrets.iter());
    for (_, value) in &mut answer.headers {
        if let Some(redacted) = replaced(value.as_bytes(), &texts) {
            *value = lossy(redacted);
        }
    }
    if let Some(redacted) = replaced(&answer.body, &texts) {
        answer.body = Bytes::from(redacted);
    }
}

fn to_be_found<'s>(secrets: impl Iterator<Item = &'s Secret>) -> Texts<'s> {
    Texts::new(secrets.map(Secret::expose).filter(|text| text.len() >= SHORTEST))
}

/// The text without the secrets; `None` where none is in there, which is nearly always.
fn replaced(written: &[u8], texts: &Texts<'_>) -> Option<Vec<u8>> {
    let places = texts.places(written);
    if places.is_empty() {
        return None;
    }
    let (mut redacted, mut from) = (Vec::with_capacity(written.len()), 0);
    for place in places {
        redacted.extend_from_slice(written.get(from..place.start)?);
        redacted.extend_from_slice(REPLACEMENT);
        from = place.end;
    }
    redacted.extend_from_slice(written.get(from..)?);
    Some(redacted)
}

fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
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
    /// Mutation: `Reading::places`, look at each place with `starts_with`.
    #[tokio::test]
    async fn an_answer_made_to_look_like_the_secret_takes_no_longer_than_another() {
        let nearly = "a".repeat(256 * 1024);
        for written in ["a", "\\u0061", "%61", "\\u0061+%61"] {
            let body = Bytes::from(written.repeat(4 * 1024 * 1024 / written.len()));
            let answer = Answer { status: 200, headers: Vec::new(), body: body.clone() };
            let secrets = [" b", " c"].map(|end| Secret::from_string(nearly.clone() + end)).into();
            let pace = Pace::default();
            let redacting = clean(answer, usize::MAX, Vec::new(), secrets, turns(&pace));
            let redacted = tokio::time::timeout(std::time::Duration::from_secs(10), redacting).await;
            assert_eq!(redacted.expect("it takes too long").unwrap().0.body, body, "{written}");
        }
    }

    /// Mutations: `replace_all`, without either.
    #[test]
    fn a_secret_in_another_writing_is_replaced_whole() {
        let secrets = [Secret::from_string("abc+def/ghi&==1234~x".into())];
        for written in [r"abc\u002Bdef/ghi\u0026==1234~x", "abc%2bdef%2Fghi%26%3D%3D1234~x"] {
            let mut answer = Answer {
                status: 200,
                headers: vec![("x-echo".into(), format!("<{written}>"))],
                body: format!("{{\"echo\":\"{written}\"}}").into(),
            };
            replace_all(&mut answer, &secrets);
            assert_eq!(
                (answer.headers[0].1.as_str(), &answer.body[..]),
                ("<[secret]>", br#"{"echo":"[secret]"}"#.as_slice())
            );
            assert_eq!(redacted(&format!("no {written}!"), &secrets), "no [secret]!");
        }
        assert_eq!(redacted("nothing", &secrets), "nothing");
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

    /// Mutations: `without`, without what was captured, or leave the length as it is.
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
