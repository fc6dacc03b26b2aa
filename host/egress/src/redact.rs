//! Step 11: an answer that repeats the credential does not carry it to the guest.
//!
//! Best effort: it finds the texts that were sent, as they were sent. What a secret cannot do is leave
//! for a host it is not pinned to; that is the guarantee, and it is not here.

use bulkhead_vault::Secret;
use bytes::Bytes;

use crate::request::Answer;

const REPLACEMENT: &[u8] = b"[secret]";
/// Shorter texts stand in answers by chance.
const SHORTEST: usize = 8;

/// Replaces every occurrence of the secrets.
pub(crate) fn redact(answer: &mut Answer, secrets: &[Secret]) {
    // The longest first, so that no part of one is left beside a replaced shorter one.
    let mut texts: Vec<&[u8]> = secrets.iter().map(Secret::expose).filter(|text| text.len() >= SHORTEST).collect();
    texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
    for text in texts {
        for (_, value) in &mut answer.headers {
            if let Some(redacted) = replaced(value.as_bytes(), text) {
                *value = String::from_utf8_lossy(&redacted).into_owned();
            }
        }
        if let Some(redacted) = replaced(&answer.body, text) {
            answer.body = Bytes::from(redacted);
        }
    }
}

/// The text without the secret; `None` where it is not in there, which is nearly always.
fn replaced(haystack: &[u8], needle: &[u8]) -> Option<Vec<u8>> {
    let mut rest = haystack;
    let mut redacted = Vec::new();
    while let Some(at) = find(rest, needle) {
        let (before, found) = rest.split_at_checked(at)?;
        redacted.extend_from_slice(before);
        redacted.extend_from_slice(REPLACEMENT);
        rest = found.get(needle.len()..)?;
    }
    if rest.len() == haystack.len() {
        return None;
    }
    redacted.extend_from_slice(rest);
    Some(redacted)
}

/// Skips from one possible beginning to the next: most of an answer is looked at once and compared never.
fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let first = needle.first()?;
    let mut from = 0;
    loop {
        let at = from + haystack.get(from..)?.iter().position(|byte| byte == first)?;
        if haystack.get(at..)?.starts_with(needle) {
            return Some(at);
        }
        from = at + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_secret_is_replaced_in_headers_and_body() {
        let mut answer = Answer {
            status: 200,
            headers: vec![("x-echo".into(), "Bearer hunter2hunter2!".into()), ("x-other".into(), "ok".into())],
            body: Bytes::from_static(b"hunter2hunter2 and hunter2hunter2"),
        };
        redact(&mut answer, &[Secret::from_string("hunter2hunter2".into()), Secret::from_string("ok".into())]);
        assert_eq!(answer.headers, [("x-echo".into(), "Bearer [secret]!".into()), ("x-other".into(), "ok".to_owned())]);
        assert_eq!(answer.body, "[secret] and [secret]");
    }

    #[test]
    fn an_answer_without_it_is_left_alone() {
        let body = Bytes::from_static(b"hunter2hunter hhhhunter2");
        let mut answer = Answer { status: 200, headers: Vec::new(), body: body.clone() };
        redact(&mut answer, &[Secret::from_string("hunter2hunter2".into())]);
        assert_eq!(answer.body.as_ptr(), body.as_ptr());
    }

    #[test]
    fn of_two_secrets_one_inside_the_other_neither_is_left() {
        let mut answer =
            Answer { status: 200, headers: Vec::new(), body: Bytes::from_static(b"<abcdefgh-0123456789>") };
        redact(
            &mut answer,
            &[Secret::from_string("abcdefgh".into()), Secret::from_string("abcdefgh-0123456789".into())],
        );
        assert_eq!(answer.body, "<[secret]>");
    }
}
