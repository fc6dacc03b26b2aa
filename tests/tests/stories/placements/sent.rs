//! Keys that are sent as they are, and what goes beside them.

use axum::body::Body;
use axum::response::Response;
use bulkhead_tests::{Host, component};
use serde_json::json;

use super::{host, letter};
use crate::provider::{Provider, Seen};
use crate::tiny;

const EACH_PLACE: &str = r#"
[auth]
kind = "api_key"
fields = [{ name = "user", title = "User" }, { name = "key", title = "Key" }]
[[egress]]
host = "api.allowed.example"
methods = ["GET"]
paths = ["/bearer"]
credential = { place = "bearer", field = "key" }
[[egress]]
host = "api.allowed.example"
methods = ["GET"]
paths = ["/header"]
credential = { place = "header", name = "X-Key", template = "Key {key}" }
[[egress]]
host = "api.allowed.example"
methods = ["GET"]
paths = ["/basic"]
credential = { place = "basic", username_field = "user", password_field = "key" }
[[egress]]
host = "api.allowed.example"
methods = ["GET"]
paths = ["/query"]
credential = { place = "query", name = "key", field = "key" }
[[egress]]
host = "other.allowed.example"
methods = ["GET"]
paths = ["/*"]
"#;

fn text<'s>(seen: &'s Seen, header: &str) -> Option<&'s str> {
    seen.headers.get(header).map(|value| value.to_str().unwrap())
}

/// Mutation: host/egress/src/inject.rs, `add_credential`, any place as another; host/egress/src/strip.rs, `is_ours`, without
/// the credential's headers.
#[tokio::test]
async fn a_key_goes_where_its_rule_says_and_to_no_host_whose_rule_says_nothing() {
    let provider = Provider::agreeable().await;
    let other = Provider::agreeable().await;
    let builder = Host::builder().upstream("other.allowed.example", other.url());
    let host = host(builder, &provider, EACH_PLACE).await;
    let tenant = host.tenant("t").await;
    let connection = tenant.connection("hostile", json!({ "user": "me", "key": "a-key-of-mine" })).await;
    for path in ["/bearer", "/header", "/basic", "/query?key=own"] {
        let mut letter = letter("GET", path);
        letter["headers"] = json!([["x-key", "own"], ["authorization", "own"]]);
        assert_eq!(tenant.act(&connection, "correspond", letter).await["output"]["status"], 200);
    }
    let elsewhere = json!({ "method": "GET", "url": "https://other.allowed.example/bearer" });
    assert_eq!(tenant.act(&connection, "correspond", elsewhere).await["output"]["status"], 200);
    let seen = provider.seen();
    assert_eq!(text(&seen[0], "authorization"), Some("Bearer a-key-of-mine"));
    assert_eq!(text(&seen[1], "x-key"), Some("Key a-key-of-mine"));
    // RFC 7617: `me:a-key-of-mine`.
    assert_eq!(text(&seen[2], "authorization"), Some("Basic bWU6YS1rZXktb2YtbWluZQ=="));
    assert_eq!(seen[3].path, "/query?key=a-key-of-mine");
    let other = &other.seen()[0];
    assert!(!format!("{other:?}").contains("a-key-of-mine"), "{other:?}");
}

const ON_BEHALF: &str = r#"
[auth]
kind = "api_key"
fields = [{ name = "api_key", title = "Key" }]
[[egress]]
host = "api.stripe.com"
methods = ["GET"]
paths = ["/v1/account", "/v1/balance"]
credential = { place = "bearer", field = "api_key" }
[[egress]]
host = "api.stripe.com"
methods = ["GET"]
paths = ["/v1/customers"]
credential = { place = "bearer", field = "api_key" }
headers = { Stripe-Account = "{account.id}" }
"#;

/// Mutation: host/egress/src/inject.rs, `fact`, nothing of the account.
#[tokio::test]
async fn what_an_account_is_called_goes_beside_the_key() {
    let account = json!({ "id": "acct_1", "object": "account", "livemode": false, "data": [], "has_more": false });
    let provider = Provider::answering(move |_, _| Response::new(Body::from(account.to_string()))).await;
    let host = Host::builder().upstream("api.stripe.com", provider.url()).spawn().await;
    let manifest = tiny::manifest("stripe", "0.9.0", &format!("{ON_BEHALF}{}", crate::hostile::WEBHOOK));
    let stripe = tiny::with_manifest(&std::fs::read(component("stripe")).unwrap(), &manifest);
    host.upload(stripe).await.ok();
    let tenant = host.tenant("t").await;
    let connection = tenant.connection("stripe", json!({ "api_key": "sk_test_1" })).await;
    tenant.act(&connection, "list_customers", json!({})).await;
    let seen = provider.seen();
    assert_eq!((seen[0].path.as_str(), text(&seen[0], "stripe-account")), ("/v1/account", None));
    let later = seen.last().unwrap();
    assert_eq!((later.path.starts_with("/v1/customers"), text(later, "stripe-account")), (true, Some("acct_1")));
}
