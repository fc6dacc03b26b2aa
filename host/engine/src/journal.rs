//! The journal of one run: what it did to the world, in order, and what came back.
//!
//! Invariants:
//! - An unsafe request's intent is durable before a byte leaves, its answer before the guest sees it.
//! - Answers to safe requests wait in memory and go with the next durable write or with the run's own commit.
//! - So does what the guest read of its own connection.
//! - Of what was only read so much is kept; the rest is read again. What is asked for then is compared with what was asked for
//!   before: who comes elsewhere is stopped, or does not end well.
//! - Answers are sealed: a provider's data is not readable in the database.

use std::collections::BTreeMap;

use bulkhead_manifest::mask;
use bulkhead_runtime::{HttpError, HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};

use crate::fault::json;

/// Where a request stands in its run: the call's number, and the index within `send-all`.
pub(crate) type Place = (u32, u32);

/// What the journal knows of one request.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub fingerprint: [u8; 32],
    pub unsafe_request: bool,
    pub keyed: bool,
    pub answer: Option<Answered>,
}

impl Entry {
    /// Whether it may have been carried out, and nobody knows.
    pub(crate) fn is_open(&self) -> bool {
        self.unsafe_request && self.answer.is_none()
    }
}

/// An answer as the guest got it, and when.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Answered {
    pub result: Result<HttpResponse, HttpError>,
    pub at_ms: u64,
}

impl Answered {
    /// About what it takes to write it down.
    pub(crate) fn bytes(&self) -> usize {
        match &self.result {
            Ok(HttpResponse { headers, body, .. }) => {
                headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() + body.len()
            }
            Err(error) => error.message.len(),
        }
    }

    /// For people: the status, or the error's words. JSON.
    pub(crate) fn shown(&self) -> String {
        match &self.result {
            Ok(response) => response.status.to_string(),
            Err(error) => json(&mask::text(cut(&error.message))),
        }
    }

    /// Whether it says that nothing was carried out.
    pub(crate) fn refused(&self) -> bool {
        match &self.result {
            Ok(response) => response.status >= 400,
            Err(error) => !error.request_sent,
        }
    }

    /// Whether the answer itself asks for another try.
    pub(crate) fn retryable(&self) -> bool {
        match &self.result {
            Ok(response) => retryable_status(response.status),
            Err(error) => error.retryable,
        }
    }
}

/// A request for people; of an effect also whether the provider was given its key. JSON.
pub(crate) fn shown(request: &HttpRequest, key_given: Option<bool>) -> String {
    let text = |text| mask::text(cut(text));
    let mut shown = serde_json::json!({
        "method": text(&request.method),
        "url": text(&request.url),
        "body_bytes": request.body.len(),
        "effect": request.effect.as_deref().map(text),
    });
    if let (Some(given), Some(shown)) = (key_given, shown.as_object_mut()) {
        shown.insert("key_given".to_owned(), given.into());
    }
    shown.to_string()
}

/// As much of a guest's or a provider's text as is kept for people: a run may have many.
pub(crate) fn cut(text: &str) -> &str {
    text.char_indices().nth(MOST_SHOWN).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

const MOST_SHOWN: usize = 2_000;

/// Statuses after which asking again may help.
pub(crate) fn retryable_status(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// Statuses that leave open whether an unsafe request was carried out.
fn ambiguous_status(status: u16) -> bool {
    matches!(status, 408 | 500..=599)
}

/// Whether an answer of this status leaves open whether an unsafe request was carried out; with `sent_before` also an
/// earlier send of the same.
pub(crate) fn leaves_open(status: u16, sent_before: bool) -> bool {
    ambiguous_status(status) || sent_before && leaves_earlier_open(status)
}

/// Statuses that say nothing of an earlier send of the same request: who asks may not, asks too often, or asks while
/// the first is still being carried out, or after it changed what it was to change.
fn leaves_earlier_open(status: u16) -> bool {
    matches!(status, 401 | 403 | CONFLICT | CHANGED | 425 | 429)
}

const CONFLICT: u16 = 409;
/// Of `If-Match`: where the provider knows no key, the first send may be what changed it.
const CHANGED: u16 = 412;
/// No provider works on one request for longer.
const LONGEST_WORK_MS: u64 = 2 * 60_000;

/// Whether an answer to a request that was first sent so long ago stays as it is, however often it is sent. "Conflict" may
/// mean that the first is still being carried out; later it means that it was, or that something is in its way.
pub(crate) fn stays_open(status: u16, age_ms: u64) -> bool {
    matches!(status, CONFLICT | CHANGED) && age_ms > LONGEST_WORK_MS
}

/// The journal of one leg in memory, in its order.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    pub entries: BTreeMap<Place, Entry>,
    /// When each effect key may first have been carried out, in whatever attempt: the provider keeps it from then on.
    pub first_sent: BTreeMap<String, u64>,
    /// What the guest read of its own connection, by what it asked for. Both JSON.
    pub reads: BTreeMap<String, String>,
}

impl Journal {
    pub(crate) fn is_open(&self) -> bool {
        self.entries.values().any(Entry::is_open)
    }

    /// What it keeps of what was only read.
    pub(crate) fn only_read_bytes(&self) -> usize {
        let answers =
            self.entries.values().filter(|entry| !entry.unsafe_request).filter_map(|entry| entry.answer.as_ref());
        let reads = self.reads.iter().map(|(what, answer)| what.len() + answer.len());
        answers.map(Answered::bytes).chain(reads).sum()
    }
}

#[cfg(test)]
mod tests {
    use bulkhead_runtime::{Deliver, HttpErrorKind};

    use super::*;

    /// Mutations: `refused`, take what was not sent for carried out, or what was too large to be read for refused.
    #[test]
    fn an_error_says_that_nothing_was_carried_out_where_nothing_was_sent() {
        let answered = |result| Answered { result, at_ms: 0 };
        let response = |status| HttpResponse { status, headers: Vec::new(), body: Default::default() };
        let error = |request_sent| {
            let kind = HttpErrorKind::TooLarge;
            HttpError { kind, message: String::new(), request_sent, retryable: false }
        };
        assert!(answered(Ok(response(422))).refused() && answered(Err(error(false))).refused());
        assert!(!answered(Ok(response(201))).refused() && !answered(Err(error(true))).refused());
    }

    /// Mutation: `bytes`, of the body alone: two hundred answers of nothing but headers are twelve MiB.
    #[test]
    fn an_answer_is_as_large_as_all_that_is_written_down_of_it() {
        let headers = vec![("etag".to_owned(), "x".repeat(60_000))];
        let response = HttpResponse { status: 200, headers, body: vec![0; 5].into() };
        assert_eq!(Answered { result: Ok(response), at_ms: 0 }.bytes(), 60_009);
    }

    /// Mutations: `shown`, without `mask`, of either.
    #[test]
    fn what_is_shown_of_a_request_and_of_its_failure_is_masked() {
        let said = || "4242424242424242".to_owned();
        let request = HttpRequest {
            method: said(),
            url: format!("https://a.example/x?token={}", said()),
            headers: Vec::new(),
            body: Default::default(),
            deliver: Deliver::Text,
            effect: Some(said()),
            timeout_ms: None,
        };
        let card = "[card number 4242]";
        let mut expected = serde_json::json!({
            "method": card, "url": "https://a.example/x?token=[secret]", "body_bytes": 0, "effect": card,
        });
        assert_eq!(shown(&request, None), expected.to_string());
        expected["key_given"] = false.into();
        assert_eq!(shown(&request, Some(false)), expected.to_string());
        let error = HttpError { kind: HttpErrorKind::TooLarge, message: said(), request_sent: false, retryable: false };
        assert_eq!(Answered { result: Err(error), at_ms: 0 }.shown(), format!("{card:?}"));
    }

    /// Mutation: `cut`, all of it.
    #[test]
    fn no_more_of_a_text_is_kept_for_people_than_they_read() {
        let (long, card) = ("ü".repeat(MOST_SHOWN + 1), "4".repeat(MOST_SHOWN));
        assert_eq!((cut(&long).chars().count(), cut(&card)), (MOST_SHOWN, card.as_str()));
    }

    /// Mutation: let a conflict count as "still running" for ever.
    #[test]
    fn a_conflict_at_a_second_send_is_waited_for_as_long_as_the_first_may_still_run() {
        for status in [409, 412] {
            assert!(leaves_earlier_open(status) && !stays_open(status, LONGEST_WORK_MS));
            assert!(stays_open(status, LONGEST_WORK_MS + 1));
        }
        assert!(!stays_open(429, u64::MAX), "who is too fast may be slower");
    }
}
