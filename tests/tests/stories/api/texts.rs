//! Texts that callers choose: what one database would not take is refused alike over both, with the field.

use bulkhead_tests::{Answer, Host};
use reqwest::Method;
use serde_json::{Value, json};

use crate::postgres::Database;
use crate::tiny;
use crate::wire::{Reply, Wire, pointers};

#[track_caller]
fn refused(answer: &Answer, wrong: &[&str], given: &Value) {
    assert_eq!((answer.status, &answer.body["code"]), (422, &json!("invalid-input")), "{given}: {answer:?}");
    assert_eq!(pointers(&answer.body), wrong, "{given}");
}

/// Names that people read.
async fn names(host: &Host) {
    let tenant = host.tenant("t").await;
    let long = "x".repeat(201);
    for name in ["", "  ", "a\0b", "a\nb", "a\u{1b}[31m", long.as_str()] {
        let step = json!({ "connection": "conn_00000000000000000000000000", "action": "x", "mapping": "." });
        for (path, new) in [
            ("/v1/connections", json!({ "connector": "mirror", "name": name })),
            ("/v1/keys", json!({ "name": name, "scopes": [] })),
            ("/v1/apps", json!({ "connector": "mirror", "name": name })),
            ("/v1/routes", json!({ "name": name, "from": step["connection"], "event": "x", "steps": [step] })),
        ] {
            refused(&tenant.post(path, new.clone()).await, &["/name"], &new);
        }
        let new = json!({ "name": name });
        refused(&host.operator(Method::POST, "/v1/tenants", Some(new.clone())).await, &["/name"], &new);
    }
    host.tenant(&"ä".repeat(200)).await;
}

/// Texts that something is found by.
async fn keys(host: &Host) {
    let tenant = host.tenant("t").await;
    let long = "x".repeat(513);
    for wrong in ["a\0b", long.as_str()] {
        let new = json!({ "connector": wrong, "version": wrong, "environment": wrong, "name": "x" });
        refused(&tenant.post("/v1/connections", new.clone()).await, &["/connector", "/environment", "/version"], &new);
        let new = json!({ "connector": wrong, "client_id": wrong, "name": "x" });
        refused(&tenant.post("/v1/apps", new.clone()).await, &["/client_id", "/connector"], &new);
    }
    for settings in [json!(null), json!([]), json!("x"), json!({ "x": "x".repeat(64 << 10) })] {
        let new = json!({ "connector": "mirror", "name": "x", "settings": settings });
        refused(&tenant.post("/v1/connections", new.clone()).await, &["/settings"], &json!("settings"));
    }
}

/// A version that no index takes.
async fn versions(host: &Host) {
    let long = format!("1.0.0-{}", "x".repeat(100_000));
    let answer = host.upload(tiny::connector("tiny", &long)).await;
    assert_eq!((answer.status, &answer.body["code"]), (422, &json!("invalid-manifest")), "{}", answer.status);
    assert!(answer.body.to_string().len() < 2_000, "it is repeated");
}

/// Ids of the tenant's own, in paths and bodies.
async fn ids(host: &Host) {
    let tenant = host.tenant("t").await;
    let connection = tenant.connection("mirror", json!({})).await;
    let at = |rest: &str| format!("/v1/connections/{connection}/{rest}");
    let long = "x".repeat(513);
    for wrong in ["%00", "a%0Ab", long.as_str()] {
        let given = json!(wrong);
        let record = tenant.put(&at(&format!("records/things/{wrong}")), json!({ "name": "x" })).await;
        refused(&record, &["/record"], &given);
        let link = tenant.put(&at(&format!("links/things/{wrong}")), json!({ "external_id": "1" })).await;
        refused(&link, &["/record"], &given);
        assert_eq!(tenant.get(&at(&format!("records/things/{wrong}"))).await.status, 404, "{wrong}");
        for list in ["records", "links"] {
            let answer = tenant.get(&at(&format!("{list}/things?after={wrong}"))).await;
            assert_eq!((answer.status, &answer.body["code"]), (400, &json!("invalid-cursor")), "{wrong}: {answer:?}");
            assert_eq!(tenant.get(&at(&format!("{list}/{wrong}"))).await.status, 404, "{wrong}");
        }
        for path in [wrong.to_owned(), format!("{wrong}/versions"), format!("mirror/versions/{wrong}")] {
            assert_eq!(tenant.get(&format!("/v1/connectors/{path}")).await.status, 404, "{path}");
        }
        let after = tenant.get(&format!("/v1/connectors?after={wrong}")).await;
        assert_eq!((after.status, &after.body["code"]), (400, &json!("invalid-cursor")), "{after:?}");
        for method in [Method::GET, Method::POST] {
            for path in [format!("/hooks/{wrong}"), format!("/hooks/app/{wrong}")] {
                Reply::of(Wire::to(host).request(method.clone(), &path)).await.problem(404, "not-found");
            }
        }
    }
    for wrong in ["", "a\0b", &"x".repeat(200_000)] {
        let link = tenant.put(&at("links/things/1"), json!({ "external_id": wrong })).await;
        refused(&link, &["/external_id"], &json!("external_id"));
        let said = json!({ "verdict": "happened", "external": wrong, "version": wrong });
        let told = tenant.post("/v1/runs/run_00000000000000000000000000/resolve", said).await;
        refused(&told, &["/external", "/version"], &json!("external"));
    }
    let longest = "ä".repeat(256);
    tenant.put(&at(&format!("links/things/{longest}")), json!({ "external_id": longest })).await.ok();
}

async fn all(host: &Host) {
    host.publish("mirror").await;
    names(host).await;
    keys(host).await;
    ids(host).await;
    versions(host).await;
}

/// Mutation: host/server/src/text.rs, `is_name` or `is_key`, everything; or any `Fields` of host/server/src/api left out.
#[tokio::test]
async fn texts_have_an_end_and_no_control_characters() {
    all(&Host::spawn().await).await;
}

/// Mutation: the same; here most of them are then a 500.
#[tokio::test]
async fn over_postgres_the_same_texts_are_refused() {
    let Some(database) = Database::fresh().await else { return };
    all(&database.host().spawn().await).await;
    database.end().await;
}
