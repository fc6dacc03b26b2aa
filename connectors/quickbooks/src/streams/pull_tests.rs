#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
use super::*;
use crate::QuickBooks;
use bulkhead_sdk::testing::{self, Answer, Host};

/// 2026-01-10T00:00:00Z.
const NOW: i64 = 1_768_003_200;

fn host() -> Host {
    let host = Host::start();
    host.variable("api_host", "quickbooks.api.intuit.com");
    host.account(json!({"realmId": "1"}));
    host.clock_ms(u64::try_from(NOW).unwrap() * 1_000);
    host
}

fn customers(rows: &[(&str, &str)]) -> Answer {
    let rows: Vec<Value> = rows
        .iter()
        .map(|(id, updated)| json!({"Id": id, "SyncToken": "0", "DisplayName": format!("Customer {id}"), "Active": true, "MetaData": {"LastUpdatedTime": updated}}))
        .collect();
    Answer::json(200, json!({"QueryResponse": {"Customer": rows, "startPosition": 1, "maxResults": 2}, "time": "x"}))
}

fn pull(mode: PullMode, cursor: Option<Value>, limit: u32) -> Result<Page<Value, Value>, Failure> {
    testing::pull::<QuickBooks>("customers", mode, cursor, limit)
}

fn ids(page: &Page<Value, Value>) -> Vec<(&str, bool)> {
    page.changes.iter().map(|change| (change.external.id.as_str(), change.op == Op::Delete)).collect()
}

#[test]
fn a_full_pull_walks_along_the_time_of_the_last_update() {
    let host = host();
    host.answer(customers(&[("1", "2026-01-01T00:00:00-08:00"), ("2", "2026-01-02T00:00:00-08:00")]));
    host.answer(customers(&[("2", "2026-01-02T00:00:00-08:00"), ("3", "2026-01-03T00:00:00-08:00")]));
    host.answer(customers(&[("3", "2026-01-03T00:00:00-08:00")]));
    let first = pull(PullMode::Full, None, 2).unwrap();
    assert!(first.more && !first.snapshot_complete);
    let second = pull(PullMode::Full, first.next, 2).unwrap();
    let third = pull(PullMode::Full, second.next, 2).unwrap();
    assert!(!third.more && third.snapshot_complete);
    assert_eq!(
        third.next,
        Some(json!({"since": 1_767_427_200 - 300, "skip": 0, "deleted_since": NOW, "deletions": null}))
    );

    let queries: Vec<String> = host.requests().iter().map(|sent| sent.query("query").unwrap().to_string()).collect();
    assert_eq!(
        queries,
        [
            "select * from Customer orderby MetaData.LastUpdatedTime startposition 1 maxresults 2",
            "select * from Customer where MetaData.LastUpdatedTime >= '2026-01-02T08:00:00Z' orderby MetaData.LastUpdatedTime startposition 1 maxresults 2",
            "select * from Customer where MetaData.LastUpdatedTime >= '2026-01-03T08:00:00Z' orderby MetaData.LastUpdatedTime startposition 1 maxresults 2",
        ]
    );
}

#[test]
fn a_page_of_one_and_the_same_time_is_counted_off() {
    let host = host();
    let same = "2026-01-01T00:00:00-08:00";
    let cursor = json!({"since": 1_767_254_400, "skip": 4, "deleted_since": NOW, "deletions": null});
    host.answer(customers(&[("5", same), ("6", same)]));
    let page = pull(PullMode::Full, Some(cursor), 2).unwrap();
    assert_eq!(page.next, Some(json!({"since": 1_767_254_400, "skip": 6, "deleted_since": NOW, "deletions": null})));
    assert!(host.requests()[0].query("query").unwrap().ends_with("startposition 5 maxresults 2"));
}

#[test]
fn an_empty_company_is_a_whole_picture_of_nothing() {
    let host = host();
    host.answer(Answer::json(200, json!({"QueryResponse": {}})));
    let page = pull(PullMode::Full, None, 100).unwrap();
    assert!(page.changes.is_empty() && !page.more && page.snapshot_complete);
}

#[test]
fn an_incremental_pull_asks_for_updates_then_for_deletions() {
    let host = host();
    let cursor = json!({"since": 1_767_254_400, "skip": 0, "deleted_since": NOW - 3_600, "deletions": null});
    host.answer(customers(&[("7", "2026-01-09T00:00:00Z")]));
    let updated = pull(PullMode::Incremental, Some(cursor), 100).unwrap();
    assert_eq!(ids(&updated), [("7", false)]);
    assert!(updated.more, "the deletions come next");

    host.answer(Answer::json(
        200,
        json!({"CDCResponse": [{"QueryResponse": [{"Customer": [
        {"Id": "9", "SyncToken": "1", "Active": false, "DisplayName": "Gone (deleted)"},
        {"Id": "7", "SyncToken": "0", "Active": true, "DisplayName": "Customer 7"},
        {"Id": "8", "status": "Deleted", "domain": "QBO"}]}]}], "time": "x"}),
    ));
    let deleted = pull(PullMode::Incremental, updated.next, 100).unwrap();
    assert_eq!(ids(&deleted), [("8", true), ("9", true)]);
    assert!(!deleted.more && !deleted.snapshot_complete);
    assert_eq!(
        deleted.next,
        Some(json!({"since": 1_767_916_800 - 300, "skip": 0, "deleted_since": NOW, "deletions": null}))
    );

    let sent = host.requests();
    assert_eq!(sent[1].path(), "/v3/company/1/cdc");
    assert_eq!(sent[1].query("entities").as_deref(), Some("Customer"));
    assert_eq!(sent[1].query("changedSince").as_deref(), Some("2026-01-09T22:55:00Z"));
}

#[test]
fn deletions_come_in_pages_too() {
    let host = host();
    let answer = || {
        Answer::json(
            200,
            json!({"CDCResponse": [{"QueryResponse": [{"Customer": [
        {"Id": "3", "status": "Deleted"}, {"Id": "1", "status": "Deleted"}, {"Id": "2", "status": "Deleted"}]}]}]}),
        )
    };
    host.answer(answer());
    let cursor = json!({"since": 1, "skip": 0, "deleted_since": NOW - 60, "deletions": 0});
    let first = pull(PullMode::Incremental, Some(cursor), 2).unwrap();
    assert_eq!(ids(&first), [("1", true), ("2", true)]);
    host.answer(answer());
    let second = pull(PullMode::Incremental, first.next, 2).unwrap();
    assert_eq!(ids(&second), [("3", true)]);
    assert!(first.more && !second.more);
}

#[test]
fn nothing_new_leaves_the_time_where_it_was() {
    let host = host();
    host.answer(Answer::json(200, json!({"QueryResponse": {}})));
    let cursor = json!({"since": 1_767_254_400, "skip": 0, "deleted_since": NOW, "deletions": null});
    let page = pull(PullMode::Incremental, Some(cursor), 100).unwrap();
    assert_eq!(page.next.unwrap()["since"], 1_767_254_400);
}

#[test]
fn what_quickbooks_no_longer_remembers_is_pulled_again() {
    let host = host();
    let old = json!({"since": 1, "skip": 0, "deleted_since": NOW - 30 * 86_400, "deletions": null});
    assert_eq!(pull(PullMode::Incremental, Some(old), 100).unwrap_err().kind, FailureKind::CursorExpired);
    assert_eq!(pull(PullMode::Incremental, None, 100).unwrap_err().kind, FailureKind::CursorExpired);

    let many: Vec<Value> = (0..1_000).map(|id| json!({"Id": id.to_string(), "DisplayName": "x"})).collect();
    host.answer(Answer::json(200, json!({"CDCResponse": [{"QueryResponse": [{"Customer": many}]}]})));
    let cursor = json!({"since": 1, "skip": 0, "deleted_since": NOW - 60, "deletions": 0});
    assert_eq!(pull(PullMode::Incremental, Some(cursor), 100).unwrap_err().kind, FailureKind::CursorExpired);
}

#[test]
fn an_inactive_customer_that_is_shown_is_gone() {
    let host = host();
    host.answer(Answer::json(200, json!({"QueryResponse": {"Customer": [{"Id": "1", "Active": false, "DisplayName": "x", "MetaData": {"LastUpdatedTime": "2026-01-01T00:00:00Z"}}]}})));
    assert_eq!(ids(&pull(PullMode::Full, None, 100).unwrap()), [("1", true)]);
}
