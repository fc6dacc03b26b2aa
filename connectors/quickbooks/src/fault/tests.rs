#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
use super::*;
use crate::QuickBooks;
use bulkhead_sdk::testing::{self, Answer, Host};

fn failed(answer: Answer) -> Failure {
    let host = Host::start();
    host.variable("api_host", "quickbooks.api.intuit.com");
    host.account(json!({"realmId": "1"}));
    host.answer(answer);
    testing::act::<QuickBooks>("get_customer", json!({"id": "58"})).expect_err("QuickBooks said no")
}

fn fault(code: &str) -> Value {
    json!({"Fault": {"Error": [{"Message": "A message", "Detail": "A message : And a detail.", "code": code, "element": ""}], "type": "ValidationFault"},
        "time": "2017-09-29T09:17:31.892-07:00"})
}

#[test]
fn every_code_becomes_the_failure_the_host_can_act_on() {
    use FailureKind::*;
    for (status, code, expected) in [
        (401, "120", Unauthorized),
        (400, "120", Unauthorized),
        (401, "3200", Unauthorized),
        (401, "003200", Unauthorized),
        (403, "3100", Forbidden),
        (429, "003001", RateLimited),
        (400, "3001", RateLimited),
        (400, "610", NotFound),
        (400, "2500", InvalidInput),
        (400, "2010", InvalidInput),
        (400, "2020", InvalidInput),
        (400, "2050", InvalidInput),
        (400, "2170", InvalidInput),
        (400, "4000", InvalidInput),
        (400, "4001", InvalidInput),
        (400, "5010", Conflict),
        (400, "5020", Forbidden),
        (400, "5030", Unsupported),
        (400, "6000", Rejected),
        (400, "6070", InvalidInput),
        (400, "6080", InvalidInput),
        (400, "6140", Conflict),
        (403, "6190", Forbidden),
        (400, "6210", Rejected),
        (400, "6240", Conflict),
        (400, "6540", Rejected),
        (400, "9999", InvalidInput),
        (500, "10000", Unavailable),
    ] {
        let failure = failed(Answer::json(status, fault(code)));
        assert_eq!(failure.kind, expected, "{status} {code}");
        assert_eq!(failure.code.as_deref(), Some(code.trim_start_matches('0')));
        assert!(failure.message.ends_with("QuickBooks says: A message : And a detail."), "{}", failure.message);
    }
}

#[test]
fn a_fault_with_status_200_is_a_failure() {
    let failure = failed(Answer::json(200, fault("6240")));
    assert_eq!(failure.kind, FailureKind::Conflict);
    assert!(
        failure.message.starts_with("This name is used already: customers, vendors and employees share their names."),
        "{}",
        failure.message
    );
}

#[test]
fn the_gateways_own_faults_are_understood() {
    let body = json!({"warnings": null, "intuitObject": null, "fault": {"error": [{"message": "message=ApplicationAuthenticationFailed; errorCode=003200; statusCode=401",
        "detail": "Token expired", "code": "3200", "element": null}], "type": "AUTHENTICATION"}, "status": null, "requestId": null, "time": 1_500_000_000_000_u64});
    let failure = failed(Answer::json(401, body));
    assert_eq!(failure.kind, FailureKind::Unauthorized);
    assert_eq!(
        failure.message,
        "QuickBooks no longer accepts this connection. Connect it again. QuickBooks says: Token expired"
    );
}

#[test]
fn the_failure_carries_what_intuit_support_asks_for() {
    let failure = failed(Answer::json(400, fault("2500")).header("intuit_tid", "1-abc"));
    let details = failure.details.unwrap();
    assert_eq!(details["intuit_tid"], "1-abc");
    assert_eq!(details["type"], "ValidationFault");
    assert_eq!(details["errors"][0]["detail"], "A message : And a detail.");
}

#[test]
fn the_element_leads_to_the_field() {
    for (element, field) in
        [("DisplayName", Some("/display_name")), ("Invoice.DocNumber", Some("/number")), ("", None), ("Whatever", None)]
    {
        let mut body = fault("2020");
        body["Fault"]["Error"][0]["element"] = json!(element);
        assert_eq!(failed(Answer::json(400, body)).field.as_deref(), field, "{element}");
    }
}

#[test]
fn without_a_fault_the_status_decides() {
    use FailureKind::*;
    for (status, expected) in [
        (401, Unauthorized),
        (403, Forbidden),
        (404, NotFound),
        (429, RateLimited),
        (500, Unavailable),
        (503, Unavailable),
        (418, Rejected),
    ] {
        assert_eq!(failed(Answer::text(status, "<html>nothing of ours</html>")).kind, expected, "{status}");
    }
}

#[test]
fn a_fault_without_a_known_code_goes_by_its_type() {
    use FailureKind::*;
    for (kind, expected) in [
        ("ValidationFault", InvalidInput),
        ("SystemFault", Unavailable),
        ("AuthenticationFault", Unauthorized),
        ("AuthorizationFault", Forbidden),
        ("Odd", Rejected),
    ] {
        let body = json!({"Fault": {"Error": [{"Message": "Nobody knows", "code": 9_999}], "type": kind}});
        assert_eq!(failed(Answer::json(400, body)).kind, expected, "{kind}");
    }
    assert_eq!(failed(Answer::json(200, json!({"Fault": {"type": "SystemFault"}}))).kind, FailureKind::Unavailable);
}

#[test]
fn a_rate_limit_says_how_long_to_wait_where_quickbooks_says_so() {
    assert_eq!(failed(Answer::json(429, fault("003001")).header("Retry-After", "30")).retry_after_ms, Some(30_000));
    assert_eq!(failed(Answer::json(429, fault("003001"))).retry_after_ms, None);
}

#[test]
fn an_answer_of_another_shape_is_unexpected() {
    let unexpected = FailureKind::Other("unexpected-data".into());
    assert_eq!(failed(Answer::json(200, json!({"Vendor": {}}))).kind, unexpected);
    assert_eq!(failed(Answer::text(200, "<xml/>")).kind, unexpected);
}
