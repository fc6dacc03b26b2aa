//! Step 11: an answer that repeats the credential does not carry it to the guest.
//!
//! Best effort: it finds the texts that were sent, as they were sent or as JSON writes them. What a secret
//! cannot do is leave for a host it is not pinned to; that is the guarantee, and it is not here.
//!
//! Invariant: for each secret the time grows with its length plus the answer's, never with one times the
//! other: who chooses the one often chooses the other too.

use bulkhead_vault::Secret;
use bytes::Bytes;
use memchr::memmem::Finder;

use crate::request::Answer;

const REPLACEMENT: &[u8] = b"[secret]";
/// Shorter texts stand in answers by chance.
const SHORTEST: usize = 8;
/// A larger body would hold up others who are served by the same thread.
const SMALL: usize = 64 * 1024;

/// The answer without the secrets; `None` where this process is ending.
pub(crate) async fn redact(mut answer: Answer, secrets: Vec<Secret>) -> Option<Answer> {
    if answer.body.len() <= SMALL {
        replace_all(&mut answer, &secrets);
        return Some(answer);
    }
    let replacing = tokio::task::spawn_blocking(move || {
        replace_all(&mut answer, &secrets);
        answer
    });
    replacing.await.ok()
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
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

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
        let redacting =
            redact(answer, vec![Secret::from_string(nearly.clone() + "b"), Secret::from_string(nearly + "c")]);
        let redacted = tokio::time::timeout(std::time::Duration::from_secs(10), redacting).await;
        assert_eq!(redacted.expect("it takes too long").unwrap().body, body);
    }

    /// Mutation: `redact`, do as for small bodies.
    #[test]
    fn a_large_answer_is_looked_through_on_a_thread_of_its_own() {
        let redacting = |length: usize| {
            let body = [vec![b'x'; length], b"hunter2hunter2".to_vec()].concat();
            let answer = Answer { status: 200, headers: Vec::new(), body: body.into() };
            redact(answer, vec![Secret::from_string("hunter2hunter2".into())])
        };
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            // While the only such thread is busy, large answers wait and small ones do not.
            let (busy, done) = std::sync::mpsc::channel::<()>();
            let occupied = tokio::task::spawn_blocking(move || done.recv());
            let mut large = std::pin::pin!(redacting(1 << 20));
            assert!(futures::poll!(&mut large).is_pending());
            assert_eq!(redacting(1).await.unwrap().body, "x[secret]");
            drop(busy);
            assert!(occupied.await.unwrap().is_err());
            assert!(large.await.unwrap().body.ends_with(b"x[secret]"));
        });
    }
}
