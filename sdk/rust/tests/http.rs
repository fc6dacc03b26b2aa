//! What answers and errors become.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use bulkhead_sdk::http::ErrorKind;
use bulkhead_sdk::prelude::*;
use bulkhead_sdk::testing::{Answer, Host};

const URL: &str = "https://api.example.com/v1/things";

#[derive(Debug, Deserialize)]
struct Thing {
    #[serde(rename = "amount")]
    _amount: i64,
}

#[derive(Debug, Deserialize)]
struct Things {
    #[serde(rename = "data")]
    _data: Vec<Thing>,
}

fn failure_of(answer: Answer) -> Failure {
    let host = Host::start();
    host.answer(answer);
    http::get(URL)
        .query("secret", "42")
        .send()
        .map_err(Failure::from)
        .and_then(|response| response.json::<Things>())
        .unwrap_err()
}

#[test]
fn a_status_is_a_kind_of_failure() {
    let kinds = [
        (401, FailureKind::Unauthorized),
        (403, FailureKind::Forbidden),
        (404, FailureKind::NotFound),
        (410, FailureKind::NotFound),
        (409, FailureKind::Conflict),
        (412, FailureKind::Conflict),
        (429, FailureKind::RateLimited),
        (408, FailureKind::Unavailable),
        (503, FailureKind::Unavailable),
        (302, FailureKind::Rejected),
        (422, FailureKind::Rejected),
    ];
    for (status, kind) in kinds {
        assert_eq!(failure_of(Answer::status(status)).kind, kind, "{status}");
    }
}

#[test]
fn a_failure_says_what_was_asked_without_its_query_and_what_the_provider_said() {
    let failure = failure_of(Answer::json(422, json!({ "message": "Too dear. " })).header("Retry-After", "2"));
    assert_eq!(failure.message, "GET https://api.example.com/v1/things answered 422: Too dear.");
    assert_eq!(failure.details, Some(Box::new(json!({ "message": "Too dear. " }))));
    assert_eq!(failure.retry_after_ms, Some(2_000));
    assert_eq!(failure_of(Answer::text(500, "<html>")).message, "GET https://api.example.com/v1/things answered 500.");
}

#[test]
fn an_answer_of_another_shape_names_the_place() {
    let failure = failure_of(Answer::json(200, json!({ "data": [{ "amount": 1 }, { "amount": "2" }] })));
    assert_eq!(failure.kind, FailureKind::Other("unexpected-data".to_owned()));
    assert!(failure.message.contains(" at /data/1/amount: invalid type: string"), "{}", failure.message);
}

#[test]
fn no_answer_is_a_failure_of_its_kind() {
    let kinds = [
        (ErrorKind::Denied, FailureKind::Forbidden),
        (ErrorKind::NoCredential, FailureKind::Unauthorized),
        (ErrorKind::RateLimited, FailureKind::RateLimited),
        (ErrorKind::Timeout, FailureKind::Unavailable),
        (ErrorKind::Connect, FailureKind::Unavailable),
        (ErrorKind::TooLarge, FailureKind::Other("too-large".to_owned())),
        (ErrorKind::Other("not-text".to_owned()), FailureKind::Other("not-text".to_owned())),
    ];
    for (error, kind) in kinds {
        assert_eq!(failure_of(Answer::error(error)).kind, kind);
    }
}

#[test]
fn what_cannot_be_built_is_not_sent() {
    let host = Host::start();
    let error = http::post(URL).form(&[1, 2]).send().unwrap_err();
    assert_eq!((error.kind, error.request_sent), (ErrorKind::InvalidRequest, false));
    assert!(host.requests().is_empty());
}

#[test]
fn answers_to_several_requests_stand_in_their_order() {
    let host = Host::start();
    host.answer_with(|request| Answer::text(200, request.query("n").unwrap_or_default()));
    let asked = [
        http::get(URL).query("n", 1),
        http::post(URL).form("no object"),
        http::get(format!("{URL}?a=b")).query("n", 2),
    ];
    let answers = http::send_all(asked);
    assert_eq!(answers[0].as_ref().unwrap().text().unwrap(), "1");
    assert_eq!(answers[1].as_ref().unwrap_err().kind, ErrorKind::InvalidRequest);
    assert_eq!(answers[2].as_ref().unwrap().text().unwrap(), "2");
    assert_eq!(host.requests()[1].url, format!("{URL}?a=b&n=2"));
}

#[test]
fn a_query_leaves_out_what_is_none_and_nests_with_brackets() {
    let host = Host::start();
    host.answer(Answer::status(204));
    let nothing: Option<&str> = None;
    let request =
        http::get(URL).query("a", nothing).query("b", Some("x y")).query_all(&json!({ "created": { "gte": 5 } }));
    request.send().unwrap();
    assert_eq!(host.requests()[0].url, format!("{URL}?b=x%20y&created%5Bgte%5D=5"));
}

#[test]
fn a_connector_can_read_a_providers_error_itself() {
    let host = Host::start();
    host.answer(Answer::json(402, json!({ "error": { "code": "card_declined" } })));
    let failure = http::post(URL).json(&json!({})).send().unwrap().or_fail(|response| {
        let body: Value = response.parse().unwrap();
        response.failure().code(body["error"]["code"].as_str().unwrap())
    });
    assert_eq!(failure.unwrap_err().code.as_deref(), Some("card_declined"));
}

#[test]
fn a_blob_stays_with_the_host() {
    let host = Host::start();
    host.answer(Answer::blob(200, "blob_1"));
    let response = http::get(URL).receive_blob().send().unwrap();
    assert_eq!(response.blob().unwrap(), "blob_1");
    assert!(response.text().is_err());
    assert_eq!(host.requests()[0].deliver, http::Deliver::Blob);
}

#[test]
#[should_panic(expected = "1 scripted answers were never asked for")]
fn an_answer_that_nobody_asked_for_fails_the_test() {
    Host::start().answer(Answer::status(200));
}
