//! What a key may ask for.

use bulkhead_tests::Host;
use reqwest::Method;
use serde_json::json;

use super::{key, operator_key};
use crate::wire::{Reply, Wire, detail};

const GET: Method = Method::GET;
const POST: Method = Method::POST;
const PUT: Method = Method::PUT;
const DELETE: Method = Method::DELETE;

/// Every endpoint of a tenant's, and the scope that it needs. None of the ids exists.
fn endpoints() -> Vec<(Method, &'static str, &'static str)> {
    vec![
        (GET, "/v1/apps", "apps"),
        (POST, "/v1/apps", "apps"),
        (PUT, "/v1/apps/app_0/secrets", "apps"),
        (GET, "/v1/connections", "connections"),
        (POST, "/v1/connections", "connections"),
        (GET, "/v1/connections/conn_0", "connections"),
        (DELETE, "/v1/connections/conn_0", "connections"),
        (PUT, "/v1/connections/conn_0/credential", "connections"),
        (PUT, "/v1/connections/conn_0/webhook-secret", "connections"),
        (POST, "/v1/connections/conn_0/sessions", "connections"),
        (POST, "/v1/connections/conn_0/check", "connections"),
        (GET, "/v1/connectors", "connectors"),
        (POST, "/v1/connectors", "connectors"),
        (GET, "/v1/connectors/x", "connectors"),
        (GET, "/v1/connectors/x/versions", "connectors"),
        (GET, "/v1/connectors/x/versions/y", "connectors"),
        (GET, "/v1/deliveries", "deliveries"),
        (GET, "/v1/events", "events"),
        (GET, "/v1/keys", "keys"),
        (POST, "/v1/keys", "keys"),
        (DELETE, "/v1/keys/key_0", "keys"),
        (POST, "/v1/keys/key_0/roll", "keys"),
        (GET, "/v1/connections/conn_0/records/x", "records"),
        (GET, "/v1/connections/conn_0/records/x/y", "records"),
        (PUT, "/v1/connections/conn_0/records/x/y", "records"),
        (GET, "/v1/connections/conn_0/links/x", "records"),
        (PUT, "/v1/connections/conn_0/links/x/y", "records"),
        (DELETE, "/v1/connections/conn_0/links/x/y", "records"),
        (GET, "/v1/routes", "routes"),
        (POST, "/v1/routes", "routes"),
        (DELETE, "/v1/routes/rt_0", "routes"),
        (GET, "/v1/runs", "runs"),
        (GET, "/v1/runs/run_0", "runs"),
        (POST, "/v1/runs/run_0/resolve", "runs"),
        (POST, "/v1/runs/run_0/cancel", "runs"),
        (POST, "/v1/runs/run_0/retry", "runs"),
        (POST, "/v1/connections/conn_0/actions/pay", "runs"),
        (POST, "/v1/connections/conn_0/streams/x/pull", "runs"),
    ]
}

/// A body that every one of them can read, as far as it gets.
fn body(path: &str) -> serde_json::Value {
    match path {
        "/v1/apps" => json!({ "connector": "x", "name": "x" }),
        "/v1/connections" => json!({ "connector": "x", "name": "x" }),
        "/v1/keys" => json!({ "name": "x", "scopes": [] }),
        "/v1/routes" => json!({ "name": "x", "from": "conn_00000000000000000000000000", "event": "x", "steps": [] }),
        _ if path.ends_with("/webhook-secret") => json!({ "secret": "x" }),
        _ if path.ends_with("/resolve") => json!({ "verdict": "happened" }),
        _ if path.contains("/links/") => json!({ "external_id": "x" }),
        _ => json!({}),
    }
}

/// Mutation: the `may` of any one handler in host/server/src/api, left out or with another noun.
#[tokio::test]
async fn every_endpoint_needs_its_own_scope() {
    let host = Host::spawn().await;
    let (tenant, wire) = (host.tenant("t").await, Wire::to(&host));
    let nouns = ["apps", "connections", "connectors", "deliveries", "events", "keys", "records", "routes", "runs"];
    for noun in nouns {
        let others: Vec<_> = nouns.into_iter().filter(|other| *other != noun).collect();
        let (own, others, reading) =
            (key(&tenant, &[noun]).await, key(&tenant, &others).await, key(&tenant, &[&format!("{noun}:read")]).await);
        for (method, path, _) in endpoints().into_iter().filter(|(_, _, needs)| *needs == noun) {
            let refused = wire.send(&others, method.clone(), path, &body(path)).await;
            let problem = refused.problem(403, "scope-missing");
            assert!(detail(&problem).contains(&format!("`{noun}`")), "{method} {path}: {problem:#}");
            let allowed = wire.send(&own, method.clone(), path, &body(path)).await;
            assert!(!matches!(allowed.status, 401 | 403), "{method} {path}: {allowed:?}");
            let read = wire.send(&reading, method.clone(), path, &body(path)).await;
            assert_eq!(read.status == 403, method != GET, "{method} {path} with {noun}:read: {read:?}");
        }
    }
}

/// Whoever writes `wait` for `wait_ms` is not left to wonder.
///
/// Mutation: host/server/src/auth.rs, `NoQuery`, or any other query of host/server/src/api, without
/// `deny_unknown_fields`.
#[tokio::test]
async fn every_endpoint_names_what_it_does_not_know_in_its_query() {
    let host = Host::spawn().await;
    let (tenant, wire) = (host.tenant("t").await, Wire::to(&host));
    let everything = key(&tenant, &["*"]).await;
    for (method, path, _) in endpoints() {
        let reply = wire.send(&everything, method.clone(), &format!("{path}?limt=5"), &body(path)).await;
        let problem = reply.problem(400, "invalid-query");
        assert!(detail(&problem).contains("`limt`"), "{method} {path}: {problem:#}");
    }
    for (method, path) in [(GET, "/v1/tenants"), (POST, "/v1/tenants"), (GET, "/v1/counters")] {
        let reply =
            wire.send(host.operator_key(), method.clone(), &format!("{path}?limt=5"), &json!({ "name": "x" })).await;
        assert!(detail(&reply.problem(400, "invalid-query")).contains("`limt`"), "{method} {path}");
    }
}

/// Mutation: host/server/src/body.rs, `Json::from_request`, read the body there.
#[tokio::test]
async fn who_may_not_do_it_hears_that_and_not_what_is_wrong_with_the_body() {
    let host = Host::spawn().await;
    let (tenant, wire) = (host.tenant("t").await, Wire::to(&host));
    let (nothing, everything) = (key(&tenant, &[]).await, key(&tenant, &["*"]).await);
    for (method, path, _) in endpoints().into_iter().filter(|(method, ..)| *method != GET) {
        let request = wire.request(method, path).bearer_auth(&nothing);
        Reply::of(request.body("no JSON")).await.problem(403, "scope-missing");
    }
    let request = wire.request(POST, "/v1/tenants").bearer_auth(&everything);
    Reply::of(request.body("no JSON")).await.problem(403, "operator-only");
}

/// Mutation: host/server/src/api/tenants.rs or counters.rs, leave out `caller.operator()`.
#[tokio::test]
async fn a_tenants_key_cannot_do_what_operators_do() {
    let host = Host::spawn().await;
    let wire = Wire::to(&host);
    let everything = key(&host.tenant("t").await, &["*"]).await;
    wire.send(&everything, POST, "/v1/tenants", &json!({ "name": "x" })).await.problem(403, "operator-only");
    for path in ["/v1/tenants", "/v1/counters"] {
        wire.get(&everything, path).await.problem(403, "operator-only");
    }
}

/// Mutation: host/server/src/auth.rs, `Caller::operator`, ask only whether it is an operator's key and not what it may do.
#[tokio::test]
async fn a_narrow_key_of_an_operators_cannot_make_or_list_tenants() {
    let host = Host::spawn().await;
    let wire = Wire::to(&host);
    let narrow = operator_key(&host, &["runs:read"]).await;
    wire.send(&narrow, POST, "/v1/tenants", &json!({ "name": "x" })).await.problem(403, "scope-missing");
    wire.get(&narrow, "/v1/tenants").await.problem(403, "scope-missing");
}

/// Mutation: host/server/src/auth.rs, `Caller::from_request_parts`, let a tenant's key name any tenant.
#[tokio::test]
async fn a_tenants_key_acts_for_its_tenant_alone() {
    let host = Host::spawn().await;
    let (one, other, wire) = (host.tenant("one").await, host.tenant("other").await, Wire::to(&host));
    let own = key(&one, &["*"]).await;
    let naming = async |tenant: &str| {
        Reply::of(wire.request(GET, "/v1/runs").bearer_auth(&own).header("bulkhead-tenant", tenant)).await
    };
    assert_eq!(naming(one.id()).await.status, 200);
    let foreign = naming(other.id()).await;
    foreign.problem(404, "not-found");
    for unknown in ["ten_00000000000000000000000000", "nonsense", ""] {
        assert_eq!(naming(unknown).await.text, foreign.text, "{unknown:?}");
    }
}

/// Mutation: host/server/src/auth.rs, `Tenant::from_request_parts`, take some tenant where none is named.
#[tokio::test]
async fn an_operator_has_to_name_the_tenant() {
    let host = Host::spawn().await;
    host.tenant("the only one").await;
    let wire = Wire::to(&host);
    let of_a_connection = "/v1/deliveries?connection=conn_00000000000000000000000000";
    for path in ["/v1/connections", "/v1/runs", "/v1/routes", "/v1/events", of_a_connection] {
        let problem = wire.get(host.operator_key(), path).await.problem(400, "tenant-needed");
        assert!(detail(&problem).contains("`Bulkhead-Tenant`"), "{problem:#}");
    }
    for unknown in ["ten_00000000000000000000000000", "nonsense", ""] {
        let request = wire.request(GET, "/v1/runs").bearer_auth(host.operator_key());
        Reply::of(request.header("bulkhead-tenant", unknown)).await.problem(404, "not-found");
    }
}
