//! Who may ask at all.

use std::time::{SystemTime, UNIX_EPOCH};

use bulkhead_tests::{Host, PATIENCE};
use reqwest::Method;
use serde_json::json;

use super::key;
use crate::wire::{Reply, Wire, pointers};

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// Mutations: host/server/src/auth.rs, `authenticated`, take the key without the filter (for the first three), or whatever
/// the scheme is.
#[tokio::test]
async fn without_a_key_that_holds_nothing_is_answered() {
    let host = Host::spawn().await;
    let (tenant, wire) = (host.tenant("t").await, Wire::to(&host));
    let ending = json!({ "name": "ending", "scopes": ["*"], "expires_ms": now_ms() + 2_000 });
    let expired = tenant.post("/v1/keys", ending).await.text("key");
    let asking = async { while wire.get(&expired, "/v1/runs").await.status == 200 {} };
    tokio::time::timeout(PATIENCE, asking).await.expect("it ends");
    let made = tenant.post("/v1/keys", json!({ "name": "revoked", "scopes": ["*"] })).await.ok();
    let (id, revoked) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    assert_eq!(wire.get(revoked, "/v1/runs").await.status, 200);
    tenant.request(Method::DELETE, &format!("/v1/keys/{id}"), None).await.ok();

    let mut answers = Vec::new();
    for wrong in [expired.as_str(), revoked, "bk_bm9ib2R5IGhhcyBldmVyIG1hZGUgdGhpcyBrZXkhISE"] {
        for (method, path) in
            [(Method::GET, "/v1/runs"), (Method::POST, "/v1/connectors"), (Method::GET, "/v1/tenants")]
        {
            let reply = Reply::of(wire.request(method, path).bearer_auth(wrong).body("{}")).await;
            reply.problem(401, "unauthorized");
            assert!(!reply.text.contains(wrong), "the key is repeated");
            answers.push(reply.text);
        }
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "which of the three it is is nobody's business: {answers:?}");

    let (key, other_scheme) = (host.operator_key(), format!("Basic {}", host.operator_key()));
    for header in [None, Some(""), Some("Bearer"), Some("Bearer "), Some(other_scheme.as_str()), Some(key)] {
        let request = wire.request(Method::GET, "/v1/runs");
        let request = header.into_iter().fold(request, |request, value| request.header("authorization", value));
        Reply::of(request).await.problem(401, "unauthorized");
    }
}

/// Mutation: host/server/src/api/connectors.rs, `publish`, without its `caller`.
#[tokio::test]
async fn a_stranger_is_refused_before_anything_is_read() {
    let host = Host::spawn().await;
    let request =
        Wire::to(&host).request(Method::POST, "/v1/connectors").bearer_auth("bk_nobody").body("not a component");
    Reply::of(request).await.problem(401, "unauthorized");
}

/// Mutation: host/server/src/auth.rs, `authenticated`, compare the other way round.
#[tokio::test]
async fn a_key_works_until_it_expires() {
    let host = Host::spawn().await;
    let tenant = host.tenant("t").await;
    let new = json!({ "name": "k", "scopes": ["runs:read"], "expires_ms": now_ms() + 3_600_000 });
    let key = tenant.post("/v1/keys", new).await.text("key");
    assert_eq!(Wire::to(&host).get(&key, "/v1/runs").await.status, 200);
}

/// Mutation: host/server/src/api/keys.rs, `view`, with the key's text or hash.
#[tokio::test]
async fn the_text_of_a_key_is_shown_once() {
    let host = Host::spawn().await;
    let tenant = host.tenant("t").await;
    let text = key(&tenant, &["runs"]).await;
    assert!(text.starts_with("bk_") && text.len() > 40, "256 bits: {text}");
    let listed = tenant.get("/v1/keys").await.ok();
    let item = &listed["items"][0];
    assert!(item["prefix"].as_str().is_some_and(|prefix| text.starts_with(prefix) && prefix.len() < 12), "{item:#}");
    assert!(item.get("key").is_none() && item.get("hash").is_none(), "{item:#}");
    assert!(!listed.to_string().contains(&text));
}

/// Mutation: host/server/src/api/keys.rs, `invalid_scopes`, leave out `allows`.
#[tokio::test]
async fn a_key_cannot_make_one_that_may_more() {
    let host = Host::spawn().await;
    let (tenant, wire) = (host.tenant("t").await, Wire::to(&host));
    let narrow = key(&tenant, &["keys", "runs:read"]).await;
    let wanted = json!({ "name": "k", "scopes": ["keys", "runs", "*", "runs:read", "nonsense", "runs:write"] });
    let problem = wire.send(&narrow, Method::POST, "/v1/keys", &wanted).await.problem(422, "invalid-input");
    assert_eq!(pointers(&problem), ["/scopes/1", "/scopes/2", "/scopes/4", "/scopes/5"]);
    let fine = json!({ "name": "k", "scopes": ["runs:read"] });
    assert_eq!(wire.send(&narrow, Method::POST, "/v1/keys", &fine).await.status, 201);
    let strong = tenant.post("/v1/keys", json!({ "name": "all", "scopes": ["*"] })).await.text("id");
    let revoked = wire.send(&narrow, Method::DELETE, &format!("/v1/keys/{strong}"), &json!({})).await;
    revoked.problem(403, "stronger-key");
}

/// Mutation: host/store/src/keys.rs, `REVOKE`, without the tenant.
#[tokio::test]
async fn a_tenant_cannot_see_or_revoke_another_tenants_key() {
    let host = Host::spawn().await;
    let (one, other) = (host.tenant("one").await, host.tenant("other").await);
    let made = one.post("/v1/keys", json!({ "name": "k", "scopes": ["*"] })).await.ok();
    let (id, text) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    assert_eq!(other.get("/v1/keys").await.ok()["items"], json!([]));
    assert_eq!(other.request(Method::DELETE, &format!("/v1/keys/{id}"), None).await.status, 404);
    assert_eq!(Wire::to(&host).get(text, "/v1/keys").await.status, 200);
}

/// Mutation: host/server/src/api/keys.rs, `create`, leave out what is expected of `/expires_ms`.
#[tokio::test]
async fn a_key_that_ends_makes_none_that_outlives_it() {
    let host = Host::spawn().await;
    let (tenant, wire) = (host.tenant("t").await, Wire::to(&host));
    let end = now_ms() + 3_600_000;
    let new = json!({ "name": "k", "scopes": ["keys"], "expires_ms": end });
    let ending = tenant.post("/v1/keys", new).await.text("key");
    let make = async |expires_ms: serde_json::Value| {
        let new = json!({ "name": "k", "scopes": ["keys"], "expires_ms": expires_ms });
        wire.send(&ending, Method::POST, "/v1/keys", &new).await
    };
    for later in [json!(null), json!(end + 1), json!(u64::MAX)] {
        assert_eq!(pointers(&make(later).await.problem(422, "invalid-input")), ["/expires_ms"]);
    }
    assert_eq!(make(json!(end)).await.status, 201);
}

/// Mutation: host/server/src/api/keys.rs, `create`, without `MOST_SCOPES`.
#[tokio::test]
async fn a_key_has_only_so_many_scopes() {
    let host = Host::spawn().await;
    let (tenant, wire) = (host.tenant("t").await, Wire::to(&host));
    let everything = key(&tenant, &["*"]).await;
    let make = async |scopes: usize| {
        let new = json!({ "name": "k", "scopes": vec!["runs"; scopes] });
        wire.send(&everything, Method::POST, "/v1/keys", &new).await
    };
    assert_eq!(make(50).await.status, 201);
    assert_eq!(pointers(&make(51).await.problem(422, "invalid-input")), ["/scopes"]);
}

/// Mutation: host/server/src/api/keys.rs, `create`, without `is_to_come`.
#[tokio::test]
async fn a_key_that_has_ended_already_is_not_made() {
    let host = Host::spawn().await;
    let (tenant, wire) = (host.tenant("t").await, Wire::to(&host));
    for end in [0, now_ms() - 1] {
        let new = json!({ "name": "k", "scopes": ["runs"], "expires_ms": end });
        let refused = wire.send(&key(&tenant, &["*"]).await, Method::POST, "/v1/keys", &new).await;
        assert_eq!(pointers(&refused.problem(422, "invalid-input")), ["/expires_ms"]);
    }
}

/// Mutation: host/server/src/api/keys.rs, `revoke`, without comparing the scopes.
#[tokio::test]
async fn a_key_does_not_revoke_one_that_may_more() {
    let host = Host::spawn().await;
    let (tenant, wire) = (host.tenant("t").await, Wire::to(&host));
    let made = async |scopes: &[&str]| {
        let made = tenant.post("/v1/keys", json!({ "name": "k", "scopes": scopes })).await.ok();
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        (format!("/v1/keys/{}", text("id")), text("key"))
    };
    let (own, narrow) = made(&["keys", "runs:read"]).await;
    for stronger in [&["*"][..], &["runs"], &["keys", "apps"], &["*:read"]] {
        let (path, text) = made(stronger).await;
        let refused = Reply::of(wire.request(Method::DELETE, &path).bearer_auth(&narrow)).await;
        refused.problem(403, "stronger-key");
        assert_ne!(wire.get(&text, "/v1/keys").await.status, 401, "{stronger:?} does not hold any more");
    }
    let (weaker, text) = made(&["runs:read"]).await;
    for path in [weaker, own] {
        assert_eq!(Reply::of(wire.request(Method::DELETE, &path).bearer_auth(&narrow)).await.status, 204);
    }
    for ended in [text, narrow] {
        assert_eq!(wire.get(&ended, "/v1/runs").await.status, 401);
    }
}

/// Mutation: host/server/src/auth.rs, `authenticated`, leave out `note`.
#[tokio::test]
async fn the_last_use_of_a_key_is_told() {
    let host = Host::spawn().await;
    let (tenant, wire) = (host.tenant("t").await, Wire::to(&host));
    let before = now_ms();
    let text = key(&tenant, &["keys:read"]).await;
    let asking = async {
        loop {
            let used = wire.get(&text, "/v1/keys").await.json()["items"][0]["last_used_ms"].clone();
            if !used.is_null() {
                return used;
            }
        }
    };
    let used = tokio::time::timeout(PATIENCE, asking).await.expect("its use is noted");
    assert!(used.as_u64().unwrap() >= before, "{used}");
}

/// RFC 9110, 11.1: a scheme's name has no case.
///
/// Mutation: host/server/src/auth.rs, `authenticated`, compare the scheme with `==`.
#[tokio::test]
async fn the_word_bearer_may_be_small() {
    let host = Host::spawn().await;
    let value = format!("bearer {}", host.operator_key());
    let request = Wire::to(&host).request(Method::GET, "/v1/tenants").header("authorization", value);
    assert_eq!(Reply::of(request).await.status, 200);
}

/// Mutation: host/server/src/api/keys.rs, `create`, without `can_be_kept`: another end is kept than is told.
#[tokio::test]
async fn an_end_that_no_database_can_hold_is_refused() {
    let host = Host::spawn().await;
    let tenant = host.tenant("t").await;
    let new = |end: u64| json!({ "name": "k", "scopes": ["runs"], "expires_ms": end });
    let wire = Wire::to(&host);
    let key = key(&tenant, &["*"]).await;
    let most = u64::try_from(i64::MAX).unwrap();
    for end in [most + 1, u64::MAX] {
        let refused = wire.send(&key, Method::POST, "/v1/keys", &new(end)).await.problem(422, "invalid-input");
        assert_eq!(pointers(&refused), ["/expires_ms"]);
    }
    let made = wire.send(&key, Method::POST, "/v1/keys", &new(most)).await;
    assert_eq!((made.status, made.json()["expires_ms"].as_u64()), (201, Some(most)));
}

/// Mutation: host/server/src/body.rs, `only`, the first of several.
#[tokio::test]
async fn a_header_that_is_there_twice_is_refused_whichever_was_meant() {
    let host = Host::spawn().await;
    let (one, other) = (host.tenant("one").await, host.tenant("other").await);
    let wire = Wire::to(&host);
    let asks = || wire.request(Method::GET, "/v1/runs");
    let key = format!("Bearer {}", host.operator_key());
    let named = |twice: [&str; 2]| {
        let request = asks().header("authorization", &key);
        twice.into_iter().fold(request, |request, id| request.header("bulkhead-tenant", id))
    };
    let mut twice = vec![named([one.id(), other.id()]), named([one.id(), one.id()])];
    let request = asks().header("bulkhead-tenant", one.id());
    twice.push(request.header("authorization", &key).header("authorization", "Bearer bk_another"));
    let path = "/v1/connections/conn_0/actions/pay";
    let act = wire.request(Method::POST, path).header("authorization", &key).header("bulkhead-tenant", one.id());
    twice.push(act.header("idempotency-key", "a").header("idempotency-key", "b").body("{}"));
    for request in twice {
        Reply::of(request).await.problem(400, "header-repeated");
    }
}
