//! Where a guest wants to go. It may speak to `https://api.allowed.example/v1/…` and to nobody else.

use axum::body::Body;
use axum::response::Response;
use serde_json::{Value, json};

use super::{Actor, Stage};
use crate::provider::Provider;

impl Actor<'_> {
    async fn reach(&self, method: &str, url: &str) -> Value {
        self.answer("reach", json!({ "method": method, "url": url })).await
    }

    /// Refused before a byte was sent, for good, by one of these names.
    async fn may_not_reach(&self, kinds: &[&str], method: &str, url: &str) {
        let reached = self.reach(method, url).await;
        let error = &reached["error"];
        assert!(error["kind"].as_str().is_some_and(|kind| kinds.contains(&kind)), "{method} {url}: {reached}");
        assert_eq!(
            (&error["request_sent"], &error["retryable"]),
            (&json!(false), &json!(false)),
            "{method} {url}: {reached}"
        );
    }
}

/// Mutation: host/manifest/src/egress_match.rs, `find`, take the first rule whatever its host, path or methods are.
#[tokio::test]
async fn what_no_rule_allows_is_denied() {
    let stage = Stage::set().await;
    let attacker = stage.actor("attacker").await;
    for (method, url) in [
        ("GET", "https://api.forbidden.example/v1/a"),
        ("GET", "https://xapi.allowed.example/v1/a"),
        ("GET", "https://allowed.example/v1/a"),
        ("GET", "https://api.allowed.example.forbidden.example/v1/a"),
        ("GET", "https://api.allowed.example/v2/a"),
        ("GET", "https://api.allowed.example/v1/../v2/a"),
        ("GET", "https://api.allowed.example/v1/%2e%2e/v2/a"),
        ("GET", "https://api.allowed.example/v1/..%2fv2/a"),
        ("GET", "https://api.allowed.example:8443/v1/a"),
        ("GET", "http://api.allowed.example/v1/a"),
        ("DELETE", "https://api.allowed.example/v1/a"),
        ("CONNECT", "https://api.allowed.example/v1/a"),
        ("TRACE", "https://api.allowed.example/v1/a"),
    ] {
        attacker.may_not_reach(&["denied"], method, url).await;
    }
    assert_eq!(stage.provider.seen().len(), 0);
    // And the way that is open is open.
    let reached = attacker.reach("GET", "https://api.allowed.example/v1/a").await;
    assert_eq!(reached["answer"]["status"], 200, "{reached}");
    let seen: Vec<_> = stage.provider.seen().into_iter().map(|seen| (seen.method, seen.path)).collect();
    assert_eq!(seen, [("GET".to_owned(), "/v1/a".to_owned())]);
    stage.still_serves().await;
}

/// Mutation: host/manifest/src/egress_match.rs, `url_hazard`, take an address for a name. It takes the rules with it
/// (`HostPattern` knows no addresses either) and the table in host/egress/src/address.rs behind them: three walls.
#[tokio::test]
async fn addresses_inside_the_network_cannot_be_reached() {
    let stage = Stage::set().await;
    let attacker = stage.actor("attacker").await;
    let port = stage.host.url().rsplit_once(':').unwrap().1;
    for url in [
        "http://169.254.169.254/latest/meta-data/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::ffff:169.254.169.254]/latest/meta-data/",
        "https://[::ffff:a9fe:a9fe]/",
        "https://[fd00:ec2::254]/latest/meta-data/",
        "https://2852039166/",
        "https://0xa9fea9fe/",
        "https://metadata.google.internal/computeMetadata/v1/",
        "https://10.0.0.1/",
        // The host's own door.
        &format!("http://127.0.0.1:{port}/readyz"),
        &format!("https://127.0.0.1:{port}/readyz"),
        &format!("http://localhost:{port}/v1/tenants"),
        &format!("http://[::1]:{port}/v1/tenants"),
        &format!("https://0.0.0.0:{port}/v1/tenants"),
        &format!("https://api.allowed.example:{port}/v1/a"),
        // And the provider's real address, which is known to the operator alone.
        &format!("{}/v1/a", stage.provider.url()),
    ] {
        attacker.may_not_reach(&["denied"], "GET", url).await;
    }
    assert_eq!(stage.provider.seen().len(), 0);
    stage.still_serves().await;
}

/// `localhost` may stand in a manifest, for development; without the operator's word it leads nowhere.
///
/// Mutation: host/egress/src/resolve.rs, `addresses`, leave out `check`.
#[tokio::test]
async fn a_rule_for_localhost_opens_nothing() {
    let rule = "[[egress]]\nhost = \"localhost\"\nmethods = [\"GET\"]\npaths = [\"/*\"]\n";
    let stage = Stage::asking(rule).await;
    let attacker = stage.actor("attacker").await;
    let port = stage.host.url().rsplit_once(':').unwrap().1;
    for url in ["https://localhost/", "http://localhost/", &format!("http://localhost:{port}/readyz")] {
        attacker.may_not_reach(&["denied"], "GET", url).await;
    }
}

/// Mutation: host/egress/src/normalise.rs, `normalise`, leave out the checks before `Url::parse`.
#[tokio::test]
async fn a_url_that_two_readers_read_differently_is_no_url() {
    let stage = Stage::set().await;
    let attacker = stage.actor("attacker").await;
    for url in [
        "https://api.allowed.example@127.0.0.1/v1/a",
        "https://user:pass@api.allowed.example/v1/a",
        "https://api.allowed.example\\@127.0.0.1/v1/a",
        "https://api.allowed.example/v1/a b",
        "https://api.allowed.example/v1/a\r\nhost: x",
        "https://API.ALLOWED.EXAMPLE/v1/a",
        "https:api.allowed.example/v1/a",
        "//api.allowed.example/v1/a",
        "file:///etc/passwd",
        "data:text/plain,x",
        "",
    ] {
        attacker.may_not_reach(&["invalid-request"], "GET", url).await;
    }
    for method in ["get", "G ET", "GET /v1/b HTTP/1.1\r\nx:", ""] {
        attacker.may_not_reach(&["invalid-request"], method, "https://api.allowed.example/v1/a").await;
    }
    assert_eq!(stage.provider.seen().len(), 0);
}

/// Mutation: host/egress/src/exchange.rs, follow a `location`: the provider, or anybody who can write into its answers,
/// decides where the host goes.
#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let provider = Provider::answering(|_, _| {
        let redirect = Response::builder().status(302).header("location", "http://169.254.169.254/latest/meta-data/");
        redirect.body(Body::empty()).unwrap()
    });
    let stage = Stage::with(provider.await).await;
    let reached = stage.actor("attacker").await.reach("GET", "https://api.allowed.example/v1/a").await;
    assert_eq!(reached["answer"]["status"], 302, "{reached}");
    assert_eq!(stage.provider.seen().len(), 1);
}

/// Mutation: host/egress/src/door.rs, `clear`, `answer_bytes` as large as can be: the guest gets all of it, or ends at
/// its memory limit.
#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let provider = Provider::answering(|_, _| Response::new(Body::from(vec![b'x'; 17 << 20])));
    let stage = Stage::with(provider.await).await;
    let reached = stage.actor("attacker").await.reach("GET", "https://api.allowed.example/v1/a").await;
    assert_eq!(reached["error"]["kind"], "too-large", "{reached}");
    stage.still_serves().await;
}
