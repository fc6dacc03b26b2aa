//! Tenant A cannot name, see or guess anything of tenant B: what is foreign answers like what does not exist.

use bulkhead_tests::{Host, Tenant};
use reqwest::Method;
use serde_json::{Value, json};

use super::{KEYED, publish, publish_pay};

/// Where a connection's id may stand, and what is sent there.
fn of_a_connection() -> Vec<(Method, &'static str, Value)> {
    vec![
        (Method::GET, "", Value::Null),
        (Method::PUT, "/credential", json!({ "fields": {} })),
        (Method::PUT, "/webhook-secret", json!({ "secret": "whsec_x" })),
        (Method::POST, "/sessions", json!({})),
        (Method::POST, "/check", json!({})),
        (Method::POST, "/actions/pay", json!({})),
        (Method::POST, "/actions/unknown", json!({})),
        (Method::POST, "/streams/customers/pull", json!({})),
        (Method::GET, "/records/customers", Value::Null),
        (Method::GET, "/links/customers", Value::Null),
        (Method::GET, "/records/customers/1", Value::Null),
        (Method::PUT, "/records/customers/1", json!({})),
        (Method::PUT, "/links/customers/1", json!({ "external_id": "1" })),
        (Method::DELETE, "/links/customers/1", Value::Null),
        (Method::DELETE, "", Value::Null),
    ]
}

async fn ask(tenant: &Tenant<'_>, method: &Method, path: &str, body: &Value) -> bulkhead_tests::Answer {
    let body = (!body.is_null()).then(|| body.clone());
    tenant.request(method.clone(), path, body).await
}

/// Mutation: the `tenant_id = $1` of the statement behind any of these paths (host/store/src/connections.rs, `ONE`, is
/// behind most).
#[tokio::test]
async fn a_foreign_connection_answers_like_one_that_does_not_exist() {
    let host = Host::spawn().await;
    publish_pay(&host).await;
    let (owner, stranger) = (host.tenant("owner").await, host.tenant("stranger").await);
    let foreign = owner.connection("tiny", json!({})).await;
    for (method, path, body) in of_a_connection() {
        let at = |id: &str| format!("/v1/connections/{id}{path}");
        let there = ask(&stranger, &method, &at(&foreign), &body).await;
        assert_eq!(there.status, 404, "{method} {path}: {there:?}");
        let nowhere = ask(&stranger, &method, &at("conn_00000000000000000000000000"), &body).await;
        assert_eq!((nowhere.status, &nowhere.body), (404, &there.body), "{method} {path}");
        for no_id in ["conn_1", "run_00000000000000000000000000", "nonsense", "%00"] {
            assert_eq!(ask(&stranger, &method, &at(no_id), &body).await.status, 404, "{method} {path} of {no_id}");
        }
    }
    let still = owner.get(&format!("/v1/connections/{foreign}")).await.ok();
    assert_eq!(still["status"], "active", "nothing of this reached it: {still:#}");
}

/// Mutation: host/store/src/runs.rs, `ONE` or the list's statement, without the tenant.
#[tokio::test]
async fn a_foreign_run_answers_like_one_that_does_not_exist() {
    let host = Host::spawn().await;
    publish_pay(&host).await;
    let (owner, stranger) = (host.tenant("owner").await, host.tenant("stranger").await);
    let connection = owner.connection("tiny", json!({})).await;
    let run = owner.post(&format!("/v1/connections/{connection}/actions/pay"), json!({})).await.text("id");
    for (method, path, body) in [
        (Method::GET, "", Value::Null),
        (Method::POST, "/resolve", json!({ "verdict": "send-again" })),
        (Method::POST, "/cancel", json!({})),
    ] {
        let there = ask(&stranger, &method, &format!("/v1/runs/{run}{path}"), &body).await;
        assert_eq!(there.status, 404, "{there:?}");
        for unknown in ["run_00000000000000000000000000", "nonsense"] {
            let nowhere = ask(&stranger, &method, &format!("/v1/runs/{unknown}{path}"), &body).await;
            assert_eq!((nowhere.status, &nowhere.body), (404, &there.body), "{method} {path} of {unknown}");
        }
    }
    owner.get(&format!("/v1/runs/{run}")).await.ok();
}

/// Mutation: the tenant in the statement of any list.
#[tokio::test]
async fn lists_show_what_is_ones_own() {
    let host = Host::spawn().await;
    publish_pay(&host).await;
    let (owner, stranger) = (host.tenant("owner").await, host.tenant("stranger").await);
    let connection = owner.connection("tiny", json!({})).await;
    owner.post(&format!("/v1/connections/{connection}/actions/pay"), json!({})).await.ok();
    for path in ["/v1/connections", "/v1/runs", "/v1/events", "/v1/deliveries", "/v1/routes", "/v1/apps", "/v1/keys"] {
        assert_eq!(stranger.get(path).await.ok()["items"], json!([]), "{path}");
    }
    assert_eq!(owner.get("/v1/runs").await.ok()["items"].as_array().map(Vec::len), Some(1));
}

/// Mutation: host/server/src/api/mod.rs, `connection_of`, without asking whether it is there.
#[tokio::test]
async fn a_list_of_a_foreign_connection_answers_like_one_of_a_connection_that_does_not_exist() {
    let host = Host::spawn().await;
    publish_pay(&host).await;
    let (owner, stranger) = (host.tenant("owner").await, host.tenant("stranger").await);
    let foreign = owner.connection("tiny", json!({})).await;
    for list in ["runs", "events", "deliveries"] {
        let of = |connection: &str| format!("/v1/{list}?connection={connection}");
        assert_eq!(owner.get(&of(&foreign)).await.ok()["items"], json!([]), "{list}");
        let there = stranger.get(&of(&foreign)).await;
        assert_eq!(there.status, 404, "{list}: {there:?}");
        for nowhere in ["conn_00000000000000000000000000", "nonsense"] {
            assert_eq!(stranger.get(&of(nowhere)).await.body, there.body, "{list} of {nowhere}");
        }
    }
}

/// Mutation: host/engine/src/routes.rs, `create_route` or `usable_step`, without `connection_row`.
#[tokio::test]
async fn a_route_cannot_begin_or_end_at_a_foreign_connection() {
    let host = Host::spawn().await;
    host.publish("hostile").await;
    let (owner, stranger) = (host.tenant("owner").await, host.tenant("stranger").await);
    let foreign = owner.connection("hostile", json!({})).await;
    let own = stranger.connection("hostile", json!({})).await;
    let route = |from: &str, to: &str| {
        let step = json!({ "connection": to, "action": "behave", "mapping": "{said: \"x\"}" });
        json!({ "name": "r", "from": from, "event": "noise", "steps": [step] })
    };
    let unknown = "conn_00000000000000000000000000";
    for (foreign, unknown) in
        [(route(&foreign, &own), route(unknown, &own)), (route(&own, &foreign), route(&own, unknown))]
    {
        let (there, nowhere) = (stranger.post("/v1/routes", foreign).await, stranger.post("/v1/routes", unknown).await);
        assert_eq!(there.status, 404, "{there:?}");
        assert_eq!(there.body, nowhere.body);
    }
    assert_eq!(stranger.get("/v1/routes").await.ok()["items"], json!([]));
}

/// An id in a body that is none, or another's, is not worth a different word than one that does not exist.
///
/// Mutation: host/store/src/apps.rs, `VISIBLE`, without the tenant.
#[tokio::test]
async fn a_foreign_app_cannot_be_used_or_changed() {
    let host = Host::spawn().await;
    publish(&host, &json!([]), KEYED).await;
    let (owner, stranger) = (host.tenant("owner").await, host.tenant("stranger").await);
    let new = json!({ "connector": "tiny", "name": "app", "webhook_secret": "a-webhook-secret" });
    let app = owner.post("/v1/apps", new).await.text("id");
    let secrets = |id: &str| format!("/v1/apps/{id}/secrets");
    let taken = json!({ "webhook_secret": "another" });
    let there = stranger.put(&secrets(&app), taken.clone()).await;
    let nowhere = stranger.put(&secrets("app_00000000000000000000000000"), taken).await;
    assert_eq!((there.status, &there.body), (404, &nowhere.body));
    let using = |app: &str| json!({ "connector": "tiny", "name": "x", "app": app });
    let there = stranger.post("/v1/connections", using(&app)).await;
    let nowhere = stranger.post("/v1/connections", using("app_00000000000000000000000000")).await;
    assert_eq!((there.status, &there.body), (422, &nowhere.body));
    let shown = owner.get("/v1/apps").await.ok().to_string();
    assert!(!shown.contains("a-webhook-secret"), "a secret comes out: {shown}");
}
