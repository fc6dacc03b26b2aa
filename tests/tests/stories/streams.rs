//! Records of a stream: what does not fit is refused before it is kept, what is not linked before it is sent.

use bulkhead_tests::Host;
use bulkhead_tests::shop::{Shop, Silence};
use serde_json::json;
use simulated_providers::{Fault, FaultRule};

use crate::tiny;
use crate::wire::{Wire, detail, pointers};

/// Mutation: host/engine/src/calls.rs, `put_record`, leave out `schema.check`.
#[tokio::test]
async fn every_field_of_a_record_that_does_not_fit_is_named_and_nothing_is_kept() {
    let host = Host::spawn().await;
    let record = json!({ "type": "object", "required": ["name"], "properties": { "age": { "type": "integer" } } });
    let stream = json!({ "name": "people", "title": "People", "record": record, "pull": false, "push": true });
    let descriptor = json!({ "actions": [], "streams": [stream], "events": [] }).to_string();
    host.upload(tiny::with_manifest(&tiny::describing(&descriptor), &tiny::manifest("tiny", "1.0.0", ""))).await.ok();
    let tenant = host.tenant("t").await;
    let connection = tenant.connection("tiny", json!({})).await;
    let key = tenant.post("/v1/keys", json!({ "name": "k", "scopes": ["*"] })).await.text("key");
    let path = format!("/v1/connections/{connection}/records/people/1");
    let refused = Wire::to(&host).send(&key, reqwest::Method::PUT, &path, &json!({ "age": "old" })).await;
    let problem = refused.problem(422, "invalid-input");
    assert_eq!(pointers(&problem), ["/age", "/name"], "{problem:#}");
    assert_eq!(tenant.get(&path).await.status, 404);
}

/// Mutation: host/engine/src/calls.rs, `pull`, `put_record` or `put_link`, any stream.
#[tokio::test]
async fn a_stream_that_is_not_there_is_answered_with_those_that_are() {
    let host = Host::spawn().await;
    let stream = |name: &str, pull, push| json!({ "name": name, "record": true, "pull": pull, "push": push });
    let streams = [stream("taken", true, false), stream("given", false, true)];
    let descriptor = json!({ "actions": [], "streams": streams, "events": [] }).to_string();
    host.upload(tiny::with_manifest(&tiny::describing(&descriptor), &tiny::manifest("tiny", "1.0.0", ""))).await.ok();
    let tenant = host.tenant("t").await;
    let connection = tenant.connection("tiny", json!({})).await;
    let key = tenant.post("/v1/keys", json!({ "name": "k", "scopes": ["*"] })).await.text("key");
    let wire = Wire::to(&host);
    let (post, put) = (reqwest::Method::POST, reqwest::Method::PUT);
    let link = json!({ "external_id": "1" });
    for (method, path, body, known) in [
        (&post, "streams/given/pull", json!({}), "taken"),
        (&post, "streams/nothing/pull", json!({}), "taken"),
        (&put, "records/taken/1", json!({}), "given"),
        (&put, "records/nothing/1", json!({}), "given"),
        (&put, "links/nothing/1", link, "taken, given"),
    ] {
        let refused = wire.send(&key, method.clone(), &format!("/v1/connections/{connection}/{path}"), &body).await;
        let problem = refused.problem(404, "unknown-operation");
        assert!(detail(&problem).ends_with(&format!("it has {known}")), "{path}: {problem:#}");
    }
}

/// Mutation: host/engine/src/attempt/asked.rs, `outgoing`, leave the reference as it is.
#[tokio::test]
async fn a_record_that_names_one_that_is_not_linked_is_not_sent() {
    let shop = Shop::open(Host::builder(), &mut Silence).await;
    let path = format!("/v1/connections/{}/records/invoices/i1?wait_ms=60000", shop.quickbooks_connection);
    let lines = json!([{ "description": "Goods", "quantity": "1", "unit_price": "10.00", "amount": "10.00" }]);
    let before = shop.quickbooks.requests().len();
    let run = shop.tenant().put(&path, json!({ "customer": "nobody", "lines": lines, "number": "1" })).await.ok();
    let failure = &run["failure"];
    assert_eq!((run["state"].as_str(), failure["field"].as_str()), (Some("failed"), Some("/customer")), "{run:#}");
    assert!(
        failure["message"].as_str().is_some_and(|message| message.contains("customers nobody is not linked")),
        "{run:#}"
    );
    assert_eq!(shop.quickbooks.requests().len(), before, "nothing was asked of QuickBooks");
}

/// QuickBooks says no with a 200; its connector reads that, and says so.
///
/// Mutation: host/engine/src/settle.rs, `may_have_made`, leave out the first arm: a person is asked, and the next waits.
#[tokio::test]
async fn a_record_that_quickbooks_refuses_is_refused_and_goes_out_when_it_is_put_right() {
    let shop = Shop::open(Host::builder(), &mut Silence).await;
    let path = format!("/v1/connections/{}/records/customers/c9?wait_ms=60000", shop.quickbooks_connection);
    let (code, message) = ("6240".to_owned(), "Duplicate Name Exists Error".to_owned());
    let taken = Fault::FaultInsideSuccess { code, message, act: false };
    shop.quickbooks.inject(FaultRule::new("/v3/company/*/customer", taken).method("POST"));
    let run = shop.tenant().put(&path, json!({ "display_name": "Zed" })).await.ok();
    assert_eq!((&run["state"], &run["failure"]["kind"]), (&json!("failed"), &json!("conflict")), "{run:#}");
    let run = shop.tenant().put(&path, json!({ "display_name": "Zed of Acme" })).await.ok();
    assert_eq!(run["state"], "succeeded", "{run:#}");
}
