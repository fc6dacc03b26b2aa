//! Proofs for which the host has to fetch something, from a provider that is played here.

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;

use super::*;
use crate::provider::Provider;
use crate::wait::until;

const HOST: &str = "certs.provider.example";
const CERTIFIED: &str = r#"
[webhook]
[webhook.scheme]
kind = "public_key"
header = "X-Signature"
encoding = "base64"
signed = "{id}|{timestamp}|{secret}|{body_crc32}"
id_header = "X-Id"
timestamp_header = "X-Time"
timestamp_format = "rfc3339"
key = { kind = "certificate", url_header = "X-Cert-Url", hosts = ["certs.provider.example"], subject = "certs.provider.example" }
[[webhook.split]]
"#;
const BEARING: &str = r#"
[webhook]
[webhook.scheme]
kind = "jwt"
keys_url = "https://certs.provider.example/keys"
issuers = ["https://issuer.example"]
audience = "https://bulkhead.example/push"
secret_claim = "email"
true_claims = ["email_verified"]
[[webhook.split]]
"#;
const ASKED: &str = r#"
[auth]
kind = "api_key"
[[auth.fields]]
name = "api_key"
title = "Key"
[[egress]]
host = "certs.provider.example"
methods = ["GET", "POST"]
paths = ["/*"]
read_only_posts = ["/verify"]
credential = { place = "bearer", field = "api_key" }
[webhook]
[webhook.scheme]
kind = "postback"
url = "https://certs.provider.example/verify"
headers = { transmission_id = "X-Id" }
secret_field = "webhook_id"
body_field = "webhook_event"
expects = { pointer = "/verification_status", equals = "SUCCESS" }
[[webhook.split]]
"#;

fn made(section: &str, name: &str) -> String {
    let made: Value = serde_json::from_str(include_str!("proofs.json")).unwrap();
    made[section][name].as_str().unwrap().to_owned()
}

/// An answer that begins.
fn never_ends() -> Response {
    Response::new(Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>()))
}

fn answer(status: StatusCode, body: String) -> Response {
    Response::builder().status(status).body(Body::from(body)).unwrap()
}

/// A host that trusts the played authority alone.
async fn host_before(provider: &Provider) -> (Host, tempfile::NamedTempFile) {
    let root = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(root.path(), made("certificate", "root")).unwrap();
    let trusts = root.path().to_str().unwrap().to_owned();
    (Host::builder().upstream(HOST, provider.url()).set("SSL_CERT_FILE", trusts).spawn().await, root)
}

struct Certified<'h> {
    host: &'h Host,
    path: String,
}

impl Certified<'_> {
    async fn sends(&self, url: &str, body: &str) -> Reply {
        let request = Wire::to(self.host).request(Method::POST, &self.path);
        let request = request.header("X-Id", made("certificate", "id")).header("X-Time", made("certificate", "time"));
        let request = request.header("X-Signature", made("certificate", "signature")).header("X-Cert-Url", url);
        Reply::of(request.body(body.to_owned())).await
    }
}

/// As PayPal does it. A certificate is fetched once, and from nobody but the provider.
///
/// Mutations: host/engine/src/proof.rs, `proven_at`, nothing is kept; `spend`, always; host/vault/src/webhook/certificate.rs,
/// `url`, without the hosts.
#[tokio::test]
async fn a_certificate_is_fetched_once_and_nobody_is_made_to_fetch_without_end() {
    let provider = Provider::answering(|seen, _| match seen.path.as_str() {
        "/certs/1" => answer(StatusCode::OK, made("certificate", "chain")),
        "/certs/down" => answer(StatusCode::BAD_GATEWAY, String::new()),
        "/certs/moved" => Response::builder().status(302).header("location", "/certs/1").body(Body::empty()).unwrap(),
        _ => answer(StatusCode::NOT_FOUND, String::new()),
    })
    .await;
    let (host, _root) = host_before(&provider).await;
    let (tenant, path) = told_by(&host, CERTIFIED).await;
    let sender = Certified { host: &host, path };
    let (url, body) = (format!("https://{HOST}/certs/1"), made("certificate", "body"));
    let fetched = || provider.seen().len();
    for count in 1..=2 {
        assert_eq!(sender.sends(&url, &body).await.status, 200);
        assert_eq!(items(&tenant, "/v1/deliveries").await.len(), count);
    }
    sender.sends(&url, r#"{"id":"WH-2"}"#).await.problem(401, "not-verified");
    assert_eq!(fetched(), 1, "it is kept");
    for elsewhere in
        ["https://evil.example/certs/1", "http://certs.provider.example/certs/1", "https://127.0.0.1/1", "x"]
    {
        sender.sends(elsewhere, &body).await.problem(401, "not-verified");
    }
    assert_eq!(fetched(), 1, "nobody else is asked");
    // What is not there now may be there when the provider comes again.
    for gone in ["gone", "gone", "moved", "moved"] {
        sender.sends(&format!("https://{HOST}/certs/{gone}"), &body).await.problem(503, "proof-unavailable");
    }
    assert_eq!(fetched(), 3, "what is not there is not asked for again, and no redirect is followed");
    let later = sender.sends(&format!("https://{HOST}/certs/down"), &body).await;
    later.problem(503, "proof-unavailable");
    assert_eq!(later.header("retry-after"), "60");
    // A forger's addresses are endless; the provider's patience is not. A minute may end in between.
    for number in 0..60 {
        let url = format!("https://{HOST}/certs/forged-{number}");
        assert_eq!(sender.sends(&url, &body).await.status, 503);
    }
    assert!(fetched() <= 44, "{}", fetched());
    assert_eq!(sender.sends(&url, &body).await.status, 200, "who is known is taken meanwhile");
}

/// A forger's certificates may be as large as any, and as genuine.
///
/// Mutations: host/engine/src/proof.rs, `proven_at`, keep nothing as what has proved a request, or everything.
#[tokio::test]
async fn what_strangers_name_drives_out_no_certificate_that_has_proved_a_request() {
    let large = made("certificate", "chain") + &"\n".repeat(56 << 10);
    let provider = Provider::answering(move |_, _| answer(StatusCode::OK, large.clone())).await;
    let (host, _root) = host_before(&provider).await;
    let (_, path) = told_by(&host, CERTIFIED).await;
    let sender = Certified { host: &host, path };
    let genuine = async || sender.sends(&format!("https://{HOST}/certs/1"), &made("certificate", "body")).await.status;
    assert_eq!(genuine().await, 200);
    for number in 0..20 {
        let forged = sender.sends(&format!("https://{HOST}/certs/forged-{number}"), r#"{"id":"WH-2"}"#).await;
        assert!([401, 503].contains(&forged.status), "{}", forged.status);
    }
    assert_eq!(genuine().await, 200);
    let fetched = |path: &str| provider.seen().iter().filter(|seen| seen.path.starts_with(path)).count();
    assert_eq!(fetched("/certs/1"), 1);
    assert!(fetched("/certs/forged") > 10, "{}", fetched("/certs/forged"));
}

/// What is no proof, too much of one, or never ends is not taken for one.
///
/// Mutations: host/engine/src/proof.rs, `fetch`, without `is_material`, `LARGEST` or `WITHIN_MS`.
#[tokio::test]
async fn what_is_fetched_is_a_proof_of_some_size_that_comes_in_time() {
    let provider = Provider::answering(|seen, _| match seen.path.as_str() {
        "/certs/mended" => answer(StatusCode::OK, "<html>Back soon.</html>".to_owned()),
        "/certs/large" => answer(StatusCode::OK, made("certificate", "chain") + &"\n".repeat(64 << 10)),
        _ => never_ends(),
    })
    .await;
    let (host, _root) = host_before(&provider).await;
    let (_, path) = told_by(&host, CERTIFIED).await;
    let sender = Certified { host: &host, path };
    let begun = std::time::Instant::now();
    for none in ["mended", "large", "slow"] {
        let reply = sender.sends(&format!("https://{HOST}/certs/{none}"), &made("certificate", "body")).await;
        reply.problem(503, "proof-unavailable");
    }
    assert!(begun.elapsed() < std::time::Duration::from_secs(12), "{:?}", begun.elapsed());
}

/// Whoever makes others fetch from where nobody answers waits in places of his own.
///
/// Mutation: host/engine/src/proof.rs, `owner`, one for all.
#[tokio::test]
async fn what_one_tenant_has_fetched_slowly_keeps_no_other_tenant_waiting() {
    let provider = Provider::answering(|seen, _| match seen.path.as_str() {
        "/certs/1" => answer(StatusCode::OK, made("certificate", "chain")),
        _ => never_ends(),
    })
    .await;
    let (host, _root) = host_before(&provider).await;
    let (_, path) = told_by(&host, CERTIFIED).await;
    let other = host.tenant("other").await;
    let new = json!({ "connector": "told", "name": "c" });
    let id = other.post("/v1/connections", new).await.text("id");
    other.put(&format!("/v1/connections/{id}/webhook-secret"), json!({ "secret": TOKEN })).await.ok();
    let (slow, quick) = (Certified { host: &host, path }, Certified { host: &host, path: other.hook(&id).await });
    let body = made("certificate", "body");
    let waits = async |number: u32| slow.sends(&format!("https://{HOST}/certs/slow-{number}"), &body).await.status;
    let all_wait = futures::future::join_all((0..8).map(waits));
    let served = async {
        until(|| provider.seen().len() == 8).await;
        quick.sends(&format!("https://{HOST}/certs/1"), &body).await.status
    };
    let (all_wait, served) = (std::pin::pin!(all_wait), std::pin::pin!(served));
    match futures::future::select(all_wait, served).await {
        futures::future::Either::Left((statuses, _)) => panic!("it waited for all of them: {statuses:?}"),
        futures::future::Either::Right((status, _)) => assert_eq!(status, 200),
    }
}

/// As Google does it.
#[tokio::test]
async fn a_token_is_verified_by_its_signers_keys() {
    let provider = Provider::answering(|_, _| answer(StatusCode::OK, made("token", "keys"))).await;
    let (host, _root) = host_before(&provider).await;
    let (tenant, path) = told_by(&host, BEARING).await;
    let sends = async |authorization: &str| {
        let request = Wire::to(&host).request(Method::POST, &path).header("authorization", authorization);
        Reply::of(request.body(r#"{"message":{}}"#)).await
    };
    for refused in ["", "Bearer", "Bearer a.b.c", TOKEN, "Basic eA=="] {
        sends(refused).await.problem(401, "not-verified");
    }
    assert_eq!(provider.seen().len(), 0, "nothing is fetched for what is no token");
    for name in ["for_another", "of_another_key", "of_another_key"] {
        sends(&format!("Bearer {}", made("token", name))).await.problem(401, "not-verified");
    }
    assert_eq!(sends(&format!("Bearer {}", made("token", "good"))).await.status, 200);
    assert_eq!(provider.seen().len(), 1);
    let kept = items(&tenant, "/v1/deliveries").await;
    assert_eq!(kept.len(), 1);
}

/// A connection whose provider is asked, and the path at which it is told of things.
async fn asking(host: &Host) -> (Tenant<'_>, String, String) {
    // It has no check that would ask somebody else whether the key is good.
    let guest = std::fs::read(component("hostile")).unwrap();
    host.upload(tiny::with_manifest(&guest, &tiny::manifest("told", "1.0.0", ASKED))).await.ok();
    let tenant = host.tenant("told").await;
    let id = tenant.connection("told", json!({ "api_key": "the-connections-key" })).await;
    let secret = format!("/v1/connections/{id}/webhook-secret");
    tenant.put(&secret, json!({ "secret": TOKEN })).await.ok();
    let path = tenant.hook(&id).await;
    (tenant, path, secret)
}

async fn sends(host: &Host, path: &str, body: &str) -> Reply {
    let request = Wire::to(host).request(Method::POST, path).header("X-Id", "t-1");
    Reply::of(request.body(body.to_owned())).await
}

/// As PayPal does it, too: with the connection's own credential, which goes where its rule says.
#[tokio::test]
async fn a_provider_is_asked_whether_it_sent_this() {
    let provider = Provider::answering(|seen, _| {
        let status = if seen.body.contains("genuine") { "SUCCESS" } else { "FAILURE" };
        if seen.body.contains("broken") {
            return answer(StatusCode::INTERNAL_SERVER_ERROR, String::new());
        }
        answer(StatusCode::OK, json!({ "verification_status": status }).to_string())
    })
    .await;
    let (host, _root) = host_before(&provider).await;
    let (tenant, path, _) = asking(&host).await;
    let sends = async |body| sends(&host, &path, body).await;
    let genuine = r#"{"id": "genuine", "amount": 1.10}"#;
    assert_eq!(sends(genuine).await.status, 200);
    sends(r#"{"id":"forged"}"#).await.problem(401, "not-verified");
    sends(r#"{"id":"broken"}"#).await.problem(503, "proof-unavailable");
    sends(r#"{"id":"forged"},"webhook_event":{"id":"genuine"}"#).await.problem(401, "not-verified");
    let seen: Vec<_> = provider.seen().into_iter().filter(|seen| seen.path == "/verify").collect();
    assert_eq!(seen.len(), 3, "what is no JSON is not asked about");
    assert_eq!(
        seen[0].body,
        format!(r#"{{"transmission_id":"t-1","webhook_id":"{TOKEN}","webhook_event":{genuine}}}"#)
    );
    assert_eq!(seen[0].headers["authorization"], "Bearer the-connections-key");
    assert_eq!(items(&tenant, "/v1/deliveries").await.len(), 1);
}

/// Mutation: host/engine/src/proof.rs, `ask_as`, in the places of the connection's guests.
#[tokio::test]
async fn what_a_connections_guests_wait_for_keeps_nobody_from_asking_about_its_webhooks() {
    let provider = Provider::answering(|seen, _| match seen.path.as_str() {
        "/verify" => answer(StatusCode::OK, json!({ "verification_status": "SUCCESS" }).to_string()),
        _ => never_ends(),
    })
    .await;
    let host = Host::builder().upstream(HOST, provider.url()).set("BULKHEAD_LIMITS_REQUESTS_AT_ONCE", "1");
    let host = host.spawn().await;
    let (tenant, path, secret) = asking(&host).await;
    let action = secret.replace("webhook-secret", "actions/smuggle_spoils");
    tenant.post(&action, json!({ "url": format!("https://{HOST}/slow") })).await.ok();
    until(|| provider.seen().iter().any(|seen| seen.path == "/slow")).await;
    assert_eq!(sends(&host, &path, r#"{"id":"1"}"#).await.status, 200);
}

/// While the webhook's name rolls, what was sent under the one before is the provider's as well.
///
/// Mutation: host/vault/src/webhook/postback.rs, `questions`, the first of them.
#[tokio::test]
async fn a_provider_is_asked_about_the_webhook_of_before_as_well() {
    const NEWER: &str = "a-newer-webhook";
    let provider = Provider::answering(|seen, _| {
        let status = if seen.body.contains(TOKEN) { "SUCCESS" } else { "FAILURE" };
        answer(StatusCode::OK, json!({ "verification_status": status }).to_string())
    })
    .await;
    let (host, _root) = host_before(&provider).await;
    let (tenant, path, secret) = asking(&host).await;
    for (overlap, status) in [(24, 200), (0, 401)] {
        tenant.put(&secret, json!({ "secret": TOKEN, "overlap_hours": 0 })).await.ok();
        tenant.put(&secret, json!({ "secret": NEWER, "overlap_hours": overlap })).await.ok();
        assert_eq!(sends(&host, &path, r#"{"id":"1"}"#).await.status, status, "{overlap}");
    }
}

/// Only a no is a no. What cannot be asked now is not refused, and nobody is asked without end.
///
/// Mutations: host/engine/src/proof.rs, `asked`, without `QUESTIONS`; `ask_as`, without `LARGEST` or `WITHIN_MS`; a 403 for
/// a no.
#[tokio::test]
async fn a_provider_has_only_so_long_and_so_much_to_say_and_is_asked_only_so_often() {
    let provider = Provider::answering(|seen, _| {
        let says = |said: &str| answer(StatusCode::OK, json!({ "verification_status": said }).to_string());
        match ["slow", "large", "forbidden", "junk"].iter().position(|about| seen.body.contains(about)) {
            Some(0) => never_ends(),
            Some(1) => answer(StatusCode::OK, " ".repeat(64 << 10) + r#"{"verification_status":"SUCCESS"}"#),
            Some(2) => answer(StatusCode::FORBIDDEN, String::new()),
            Some(3) => answer(StatusCode::BAD_REQUEST, String::new()),
            _ => says("FAILURE"),
        }
    })
    .await;
    let (host, _root) = host_before(&provider).await;
    let (_, path, _) = asking(&host).await;
    let begun = std::time::Instant::now();
    for (about, status) in [("slow", 503), ("large", 503), ("forbidden", 503), ("junk", 401)] {
        assert_eq!(sends(&host, &path, &json!({ "id": about }).to_string()).await.status, status, "{about}");
    }
    assert!(begun.elapsed() < std::time::Duration::from_secs(12), "{:?}", begun.elapsed());
    // A minute may end in between.
    for _ in 0..62 {
        let ten = (0..10).map(|_| sends(&host, &path, r#"{"id":"forged"}"#));
        assert!(futures::future::join_all(ten).await.iter().all(|reply| [401, 503].contains(&reply.status)));
    }
    assert!((300..=600).contains(&provider.seen().len()), "{}", provider.seen().len());
}
