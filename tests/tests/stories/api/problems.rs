//! Whatever is wrong, the answer has the same form, and a name by which an operator finds it in the log.

use bulkhead_tests::Host;
use reqwest::Method;
use serde_json::json;

use super::publish_pay;
use crate::leaks;
use crate::wait;
use crate::wire::{Reply, Wire};

/// Mutation: host/server/src/problem.rs, `into_response`, leave the content type as `Json` set it; or
/// host/server/src/lib.rs, `router`, leave out `PropagateRequestIdLayer`.
#[tokio::test]
async fn every_no_is_a_problem_document_with_a_request_id() {
    let host = Host::spawn().await;
    let tenant = host.tenant("t").await;
    let wire = Wire::to(&host);
    let huge = format!("\"{}\"", "x".repeat(4 << 20));
    for (method, path, body, status, code) in [
        (Method::GET, "/v1/nothing-here", "", 404, "no-such-path"),
        (Method::GET, "/v1", "", 404, "no-such-path"),
        (Method::GET, "/v1/", "", 404, "no-such-path"),
        (Method::GET, "/nothing-here", "", 404, "no-such-path"),
        (Method::GET, "/", "", 404, "no-such-path"),
        (Method::GET, "/hooks/nobody", "", 404, "not-found"),
        (Method::POST, "/hooks/nobody", "{}", 404, "not-found"),
        (Method::POST, "/hooks/app/nobody", "{}", 404, "not-found"),
        (Method::DELETE, "/v1/runs", "", 405, "no-such-method"),
        (Method::PATCH, "/v1/connections", "{}", 405, "no-such-method"),
        (Method::POST, "/healthz", "", 405, "no-such-method"),
        (Method::GET, "/v1/runs/run_0", "", 404, "not-found"),
        (Method::GET, "/v1/runs?limit=many", "", 400, "invalid-query"),
        (Method::GET, "/v1/runs?state=lost", "", 400, "invalid-query"),
        (Method::GET, "/v1/runs?before=nonsense", "", 400, "invalid-cursor"),
        (Method::POST, "/v1/routes", "{", 400, "invalid-json"),
        (Method::POST, "/v1/routes", huge.as_str(), 413, "body-too-large"),
        (Method::POST, "/v1/connections", "{\"connector\":\"nobody\",\"name\":\"x\"}", 422, "unknown-connector"),
    ] {
        let request =
            wire.request(method.clone(), path).bearer_auth(host.operator_key()).header("bulkhead-tenant", tenant.id());
        let reply = Reply::of(request.body(body.to_owned())).await;
        assert_eq!(reply.status, status, "{method} {path}: {reply:?}");
        reply.problem(status, code);
        leaks::assert_none(&host, &reply.text);
        if status == 405 {
            assert!(!reply.header("allow").is_empty(), "{method} {path} takes which method? {reply:?}");
        }
    }
}

/// Mutation: any handler of host/server/src/api, axum's own `Path` in place of one whose refusal is a problem.
#[tokio::test]
async fn a_path_that_is_no_text_does_not_exist() {
    let host = Host::spawn().await;
    let tenant = host.tenant("t").await;
    for path in ["/v1/runs/%ff", "/v1/connectors/%ff", "/v1/connections/%c3%28/records/x/y", "/hooks/%ff"] {
        let request = Wire::to(&host).request(Method::GET, path).bearer_auth(host.operator_key());
        Reply::of(request.header("bulkhead-tenant", tenant.id())).await.problem(404, "not-found");
    }
}

/// Mutation: host/server/src/lib.rs, `router`, `MakeRequestUuid` behind the handlers.
#[tokio::test]
async fn every_yes_has_a_request_id_too_and_no_two_have_the_same() {
    let host = Host::spawn().await;
    publish_pay(&host).await;
    let wire = Wire::to(&host);
    let mut ids = Vec::new();
    for path in ["/v1/connectors", "/v1/connectors/tiny", "/v1/tenants", "/v1/apps", "/v1/keys"] {
        let reply = wire.get(host.operator_key(), path).await;
        assert_eq!((reply.status, reply.header("content-type")), (200, "application/json"), "{path}");
        ids.push(reply.header("x-request-id").to_owned());
    }
    let made = wire.send(host.operator_key(), Method::POST, "/v1/tenants", &json!({ "name": "x" })).await;
    assert_eq!(made.status, 201);
    ids.push(made.header("x-request-id").to_owned());
    let given = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert!(ids.len() == given && !ids.contains(&String::new()), "{ids:?}");
}

/// A proxy's id is kept; what could forge a line of the log is not.
///
/// Mutation: host/server/src/lib.rs, `router`, without `keep_only_safe_id`.
#[tokio::test]
async fn a_request_id_that_is_no_id_is_replaced() {
    let host = Host::spawn().await;
    let wire = Wire::to(&host);
    let long = "a".repeat(65);
    let forged = "abc} : ERROR forged line http.status=500";
    for (given, kept) in [("proxy-7f.3_A", true), (forged, false), (long.as_str(), false), ("", false)] {
        let reply = Reply::of(wire.request(Method::GET, "/healthz").header("x-request-id", given)).await;
        let id = reply.header("x-request-id");
        assert!((id == given) == kept && !id.is_empty(), "{given:?} became {id:?}");
    }
}

/// Whoever knows the address of a host could fill its log otherwise.
///
/// Mutation: host/server/src/request_log.rs, `log`, every line at the same level.
#[tokio::test]
async fn webhooks_to_nowhere_are_no_lines_of_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log");
    let host = Host::builder().log_to(&file).spawn().await;
    let wire = Wire::to(&host);
    for _ in 0..10 {
        Reply::of(wire.request(Method::POST, "/hooks/nobody").body("{}")).await.problem(404, "not-found");
    }
    Reply::of(wire.request(Method::GET, "/healthz")).await;
    // The lines of one host are in order.
    wait::until(|| std::fs::read_to_string(&file).unwrap().contains("/healthz")).await;
    let log = std::fs::read_to_string(&file).unwrap();
    assert!(!log.contains("/hooks/"), "{log}");
}

/// RFC 9110, 11.6.1: a 401 says how to authenticate.
///
/// Mutation: host/server/src/problem.rs, `into_response`, leave out `WWW-Authenticate`.
#[tokio::test]
async fn a_401_says_which_scheme_it_wants() {
    let host = Host::spawn().await;
    let reply = Reply::of(Wire::to(&host).request(Method::GET, "/v1/runs")).await;
    reply.problem(401, "unauthorized");
    assert!(reply.header("www-authenticate").starts_with("Bearer"), "{reply:?}");
}
