//! Webhooks at an address of their own, apart from any provider.

mod addresses;
mod handshakes;
mod proofs;
mod replies;
mod secrets;
mod tenants;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bulkhead_tests::shop::{REALM, Shop, Silence, VERIFIER_TOKEN};
use bulkhead_tests::{Host, Tenant, component};
use bulkhead_vault::{Secret, mac};
use reqwest::Method;
use serde_json::{Value, json};

use crate::authorizing::{self, OTHER_REALM};
use crate::tiny;
use crate::wait::has_ended;
use crate::wire::{Reply, Wire};

pub(crate) const TOKEN: &str = "a-token-of-the-provider";
const TOLD_BY_TOKEN: &str = r#"
[webhook]
secret = "connection"
refusal_status = 401
scheme = { kind = "token", at = { kind = "header", name = "x-token" } }
[[webhook.split]]
when = { pointer = "/kind" }
dedupe = ["/id"]
"#;

/// A connection that is told of things, and the path at which. Nobody has authorized it.
pub(crate) async fn told(host: &Host) -> (Tenant<'_>, String) {
    told_by(host, TOLD_BY_TOKEN).await
}

async fn told_by<'h>(host: &'h Host, webhook: &str) -> (Tenant<'h>, String) {
    let handles_webhooks = std::fs::read(component("stripe")).unwrap();
    host.upload(tiny::with_manifest(&handles_webhooks, &tiny::manifest("told", "1.0.0", webhook))).await.ok();
    let tenant = host.tenant("told").await;
    let new = json!({ "connector": "told", "name": "c" });
    let made = tenant.post("/v1/connections", new).await.ok();
    let path = format!("/v1/connections/{}/webhook-secret", made["id"].as_str().unwrap());
    tenant.put(&path, json!({ "secret": TOKEN })).await.ok();
    let url = made["webhook_url"].as_str().unwrap();
    (tenant, url[url.find("/hooks/").unwrap()..].to_owned())
}

pub(crate) async fn tell(host: &Host, path: &str, token: &str, body: &str) -> Reply {
    Reply::of(Wire::to(host).request(Method::POST, path).header("x-token", token).body(body.to_owned())).await
}

pub(crate) async fn items(tenant: &Tenant<'_>, path: &str) -> Vec<Value> {
    tenant.get(path).await.ok()["items"].as_array().unwrap().clone()
}

/// Mutation: host/vault/src/webhook.rs, `verify_token`, take any; or host/server/src/hooks.rs, `refuse`, with the
/// reason.
#[tokio::test]
async fn a_token_that_is_another_is_refused_and_leaves_nothing() {
    let host = Host::spawn().await;
    let (tenant, path) = told(&host).await;
    let without = Reply::of(Wire::to(&host).request(Method::POST, &path).body("{}")).await;
    let mut answers = vec![without.problem(401, "not-verified")];
    for wrong in ["", "another", "a-token-of-the-provider-and-more", "a-token-of-the-provide"] {
        let refused = tell(&host, &path, wrong, r#"{"id":"1","kind":"k"}"#).await;
        answers.push(refused.problem(401, "not-verified"));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "how close it was is nobody's business: {answers:#?}");
    assert_eq!(items(&tenant, "/v1/deliveries").await, Vec::<Value>::new());
    assert_eq!(tell(&host, &path, TOKEN, r#"{"id":"1","kind":"k"}"#).await.status, 200);
    assert_eq!(items(&tenant, "/v1/deliveries").await.len(), 1);
}

/// Mutation: host/engine/src/ingress.rs, `delivery`, `accepted` whatever the item is.
#[tokio::test]
async fn what_no_part_of_the_manifest_is_about_is_kept_as_ignored() {
    let host = Host::spawn().await;
    let (tenant, path) = told(&host).await;
    for unknown in [r#"{"id":"1"}"#, "no json at all"] {
        assert_eq!(tell(&host, &path, TOKEN, unknown).await.status, 200);
    }
    let kept = items(&tenant, "/v1/deliveries").await;
    assert!(kept.len() == 2 && kept.iter().all(|delivery| delivery["status"] == "ignored"), "{kept:#?}");
    assert_eq!(items(&tenant, "/v1/runs").await, Vec::<Value>::new());
}

/// Mutation: host/server/src/hooks.rs, `deliver`, as much as comes.
#[tokio::test]
async fn a_webhook_that_is_too_large_is_refused() {
    let host = Host::spawn().await;
    let (tenant, path) = told(&host).await;
    let large = format!(r#"{{"id":"1","kind":"{}"}}"#, "x".repeat(1 << 20));
    tell(&host, &path, TOKEN, &large).await.problem(413, "body-too-large");
    assert_eq!(items(&tenant, "/v1/deliveries").await, Vec::<Value>::new());
}

/// Mutation: host/engine/src/ingress.rs, `deliver`, take a body that is no text with signs in place of what is none.
#[tokio::test]
async fn a_webhook_that_is_no_text_is_refused() {
    let host = Host::spawn().await;
    let (tenant, path) = told(&host).await;
    let request = Wire::to(&host).request(Method::POST, &path).header("x-token", TOKEN);
    Reply::of(request.body(b"{\"id\":\"\xff\",\"kind\":\"k\"}".to_vec())).await.problem(401, "not-text");
    assert_eq!(items(&tenant, "/v1/deliveries").await, Vec::<Value>::new());
}

/// Mutation: host/engine/src/attempt/asked.rs, `refusal`, take a connection whatever its status.
#[tokio::test]
async fn what_comes_for_a_connection_that_nobody_authorized_runs_no_connector() {
    let host = Host::spawn().await;
    let (tenant, path) = told(&host).await;
    assert_eq!(tell(&host, &path, TOKEN, r#"{"id":"1","kind":"k"}"#).await.status, 200);
    let runs = tenant.runs_until("", |runs| runs.iter().any(has_ended)).await;
    assert_eq!(runs[0]["failure"]["kind"], "unauthorized", "{runs:#?}");
}

/// Each part is kept with how the request came, so that a head of 30 kB and a body of 15 could be 30 MB in one
/// transaction.
///
/// Mutation: host/engine/src/ingress.rs, `parts`, without `MOST_BYTES`.
#[tokio::test]
async fn a_request_whose_parts_are_too_much_together_is_kept_whole() {
    let host = Host::spawn().await;
    let (tenant, path) = told_by(&host, &TOLD_BY_TOKEN.replace("when = { pointer = \"/kind\" }", "items = \"\"")).await;
    let parts = |round: u32| {
        let items: Vec<_> = (0..1_000).map(|number| json!({ "id": format!("{round}-{number}") })).collect();
        Wire::to(&host).request(Method::POST, &path).header("x-token", TOKEN).json(&items)
    };
    assert_eq!(Reply::of(parts(1).header("x-padding", "x".repeat(30_000))).await.status, 200);
    let kept = items(&tenant, "/v1/deliveries").await;
    assert!(kept.len() == 1 && kept[0]["status"] == "ignored", "{kept:#?}");
    assert_eq!(Reply::of(parts(2)).await.status, 200);
    let kept = items(&tenant, "/v1/deliveries?limit=200").await;
    assert!(kept.len() == 200 && kept.iter().all(|delivery| delivery["status"] == "accepted"), "{kept:#?}");
}

/// More than a hundred are several commits. What they are known by until the last is nobody's business.
///
/// Mutation: host/server/src/api/events.rs, `delivery_view`, every key.
#[tokio::test]
async fn many_items_without_ids_are_kept_once_each_time_they_come() {
    let host = Host::spawn().await;
    let split =
        TOLD_BY_TOKEN.replace("when = { pointer = \"/kind\" }", "items = \"\"").replace("dedupe = [\"/id\"]", "");
    let (tenant, path) = told_by(&host, &split).await;
    let parts: Vec<_> = (0..130).map(|number| json!({ "changed": number })).collect();
    for kept_by_now in [130, 200] {
        let told = Wire::to(&host).request(Method::POST, &path).header("x-token", TOKEN).json(&parts);
        assert_eq!(Reply::of(told).await.status, 200);
        let kept = items(&tenant, "/v1/deliveries?limit=200").await;
        let is_new = |delivery: &Value| delivery["duplicates"] == 0 && delivery["dedupe_key"].is_null();
        assert!(kept.len() == kept_by_now && kept.iter().all(is_new), "{kept:#?}");
    }
}

pub(crate) fn items_of(account: &str, count: usize) -> Vec<Value> {
    let id = |number: usize| format!("{account}-{count}-{number}");
    let item = |number| json!({ "id": id(number), "intuitaccountid": account, "intuitentityid": "1", "type": "x" });
    (0..count).map(item).collect()
}

async fn tell_app(shop: &Shop, account: &str, count: usize) -> Reply {
    tell_app_of(shop, &items_of(account, count)).await
}

/// What Intuit sends to its app's address.
pub(crate) async fn tell_app_of(shop: &Shop, items: &[Value]) -> Reply {
    let body = Value::from(items).to_string();
    let signed = mac::hmac_sha256(&Secret::from_string(VERIFIER_TOKEN.to_owned()), &[body.as_bytes()]);
    let request = Wire::to(&shop.host).request(Method::POST, &format!("/hooks/app/{}", shop.app));
    Reply::of(request.header("intuit-signature", BASE64_STANDARD.encode(signed)).body(body)).await
}

/// Mutations: host/engine/src/ingress.rs, `parts`, without `keep_within_bounds`; that, false where one item does not fit;
/// host/store/src/connections.rs, `BY_ACCOUNT`, one.
#[tokio::test]
async fn items_times_connections_of_their_account_have_an_end_and_take_no_other_accounts_items_with_them() {
    let shop = authorizing::shop().await;
    shop.authorize_books(&shop.new_books().await).await;
    let other = shop.new_books().await;
    assert_eq!(authorizing::authorize(&shop, &other, OTHER_REALM).await.status, 200);
    assert_eq!(tell_app(&shop, REALM, 2).await.status, 200);
    assert_eq!(items(&shop.tenant(), "/v1/deliveries").await.len(), 4, "each of two to both connections");
    let batch = [items_of(REALM, 501), items_of(OTHER_REALM, 1)].concat();
    assert_eq!(tell_app_of(&shop, &batch).await.status, 200);
    let of_other = items(&shop.tenant(), &format!("/v1/deliveries?connection={other}")).await;
    assert!(of_other.len() == 1 && of_other[0]["status"] == "accepted", "{of_other:#?}");
    // Of 1,000 places 502 are the items', and 498 go to second connections.
    let unrouted = shop.host.operator(Method::GET, "/v1/deliveries", None).await.ok();
    let unrouted = unrouted["items"].as_array().unwrap();
    assert!(unrouted.len() == 3 && unrouted.iter().all(|item| item["status"] == "unrouted"), "{unrouted:#?}");
    let of_one = format!("/v1/deliveries?connection={}&limit=200", shop.quickbooks_connection);
    let mut routed = 0;
    let mut before = Some(String::new());
    while let Some(cursor) = before {
        let page = shop.tenant().get(&format!("{of_one}{cursor}")).await.ok();
        routed += page["items"].as_array().map_or(0, Vec::len);
        before = page["next"].as_str().map(|before| format!("&before={before}"));
    }
    assert_eq!(routed, 2 + 498);
}

/// It was verified and acknowledged, so it has to be found by somebody: whoever runs the host.
///
/// Mutation: host/server/src/api/events.rs, `deliveries`, for tenants alone; host/store/src/deliveries.rs, `UNROUTED`,
/// whosever they are.
#[tokio::test]
async fn what_came_for_an_account_that_nobody_has_is_found_by_the_operator() {
    let shop = Shop::open(Host::builder(), &mut Silence).await;
    assert_eq!(tell_app(&shop, "nobodys", 3).await.status, 200);
    assert_eq!(tell_app(&shop, REALM, 1).await.status, 200);
    assert_eq!(tell_app(&shop, REALM, 0).await.status, 200);
    let mut found = Vec::new();
    let mut next = Some(String::new());
    while let Some(cursor) = next {
        let page = shop.host.operator(Method::GET, &format!("/v1/deliveries?limit=2{cursor}"), None).await.ok();
        found.extend(page["items"].as_array().unwrap().clone());
        next = page["next"].as_str().map(|before| format!("&before={before}"));
    }
    let is_unrouted = |delivery: &Value| delivery["status"] == "unrouted" && delivery["app"] == *shop.app;
    assert!(found.len() == 4 && found.iter().all(is_unrouted), "three items, and a batch without any: {found:#?}");
    assert!(found[3]["body_bytes"].as_u64() > Some(50) && found[0]["body_bytes"] == 2, "{found:#?}");
    assert_eq!(items(&shop.tenant(), "/v1/deliveries").await.len(), 1);
}
