//! What providers ask before they send anything, each in its way.

use super::*;

/// What an app's address takes; the app, and whose connection there is.
async fn at_app<'h>(host: &'h Host, webhook: &str) -> (Tenant<'h>, String) {
    let handles_webhooks = std::fs::read(component("stripe")).unwrap();
    host.upload(tiny::with_manifest(&handles_webhooks, &tiny::manifest("told", "1.0.0", webhook))).await.ok();
    let app = json!({ "connector": "told", "name": "app", "client_id": "a-client-id", "webhook_secret": TOKEN });
    let app = host.operator(Method::POST, "/v1/apps", Some(app)).await.text("id");
    (host.tenant("told").await, format!("/hooks/app/{app}"))
}

async fn ask(host: &Host, method: Method, path: &str) -> Reply {
    Reply::of(Wire::to(host).request(method, path).header("x-token", TOKEN)).await
}

fn signed(body: &str) -> String {
    BASE64_STANDARD.encode(mac::hmac_sha256(&Secret::from_string(TOKEN.to_owned()), &[body.as_bytes()]))
}

#[track_caller]
fn echoes(reply: &Reply, text: &str) {
    assert_eq!((reply.status, reply.text.as_str()), (200, text), "{reply:?}");
    assert!(reply.header("content-type").starts_with("text/plain"), "{reply:?}");
    assert_eq!(reply.header("x-content-type-options"), "nosniff");
    assert!(reply.header("content-security-policy").contains("sandbox"), "{reply:?}");
}

#[track_caller]
fn takes_only(reply: &Reply, methods: &str) {
    assert_eq!((reply.status, reply.header("allow")), (405, methods), "{reply:?}");
}

/// Dropbox, and how nobody else gets an echo.
///
/// Mutation: host/engine/src/reply.rs, `check_method`, take any; `echoed_query`, by any method.
#[tokio::test]
async fn a_challenge_in_the_query_is_echoed_to_a_get_and_other_methods_do_nothing() {
    let host = Host::spawn().await;
    let handshake = "handshake = { kind = \"echo_query\", param = \"challenge\" }\n[[webhook.split]]";
    let (tenant, path) = told_by(&host, &TOLD_BY_TOKEN.replace("[[webhook.split]]", handshake)).await;
    let challenge = format!("{path}?challenge=a%20%3Cb%3E");
    echoes(&ask(&host, Method::GET, &challenge).await, "a <b>");
    takes_only(&ask(&host, Method::GET, &path).await, "GET, POST");
    takes_only(&ask(&host, Method::GET, &format!("{path}?challenge=a&challenge=b")).await, "GET, POST");
    for method in [Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH] {
        takes_only(&ask(&host, method, &challenge).await, "GET, POST");
    }
    let posted = Wire::to(&host).request(Method::POST, &challenge);
    Reply::of(posted.body(r#"{"id":"1","kind":"k"}"#)).await.problem(401, "not-verified");
    assert_eq!(items(&tenant, "/v1/deliveries").await, Vec::<Value>::new());
    // Where nothing is declared, a GET is nothing.
    let (_, path) = told_elsewhere(&host).await;
    takes_only(&ask(&host, Method::GET, &format!("{path}?challenge=a")).await, "POST");
}

pub(super) async fn told_elsewhere(host: &Host) -> (Tenant<'_>, String) {
    let handles_webhooks = std::fs::read(component("stripe")).unwrap();
    let manifest = tiny::manifest("elsewhere", "1.0.0", TOLD_BY_TOKEN);
    host.upload(tiny::with_manifest(&handles_webhooks, &manifest)).await.ok();
    let tenant = host.tenant("elsewhere").await;
    let new = json!({ "connector": "elsewhere", "name": "c" });
    let id = tenant.post("/v1/connections", new).await.text("id");
    let path = tenant.hook(&id).await;
    (tenant, path)
}

/// Microsoft Graph.
///
/// Mutation: host/engine/src/ingress.rs, `without_tokens`, none: the guest and the database see the secret.
#[tokio::test]
async fn a_validation_token_is_echoed_to_a_post_and_notifications_repeat_the_client_state() {
    let host = Host::spawn().await;
    let (tenant, path) = told_by(
        &host,
        r#"
[webhook]
scheme = { kind = "token", at = { kind = "json", pointer = "/clientState", each = "/value" } }
handshake = { kind = "echo_query", param = "validationToken", method = "post" }
[[webhook.split]]
items = "/value"
"#,
    )
    .await;
    let validation = format!("{path}?validationToken=Validation%3A+Testing+%26+more");
    echoes(&ask(&host, Method::POST, &validation).await, "Validation: Testing & more");
    takes_only(&ask(&host, Method::GET, &validation).await, "POST");
    let told = |state: &str| json!({ "value": [{ "clientState": TOKEN, "n": 1 }, { "clientState": state, "n": 2 }] });
    tell(&host, &path, "", &told("another").to_string()).await.problem(401, "not-verified");
    assert_eq!(items(&tenant, "/v1/deliveries").await, Vec::<Value>::new());
    // The host sees that what it was told in confidence is kept nowhere.
    assert_eq!(tell(&host, &path, "", &told(TOKEN).to_string()).await.status, 200);
    assert_eq!(items(&tenant, "/v1/deliveries").await.len(), 2);
}

/// Slack; nobody who did not sign is answered.
///
/// Mutation: host/engine/src/ingress.rs, `deliver`, ask `reply::echoed` before `proven`.
#[tokio::test]
async fn a_challenge_in_a_body_is_echoed_to_whoever_signed_it() {
    let host = Host::spawn().await;
    for (version, as_field, expected) in
        [("1.0.0", "", "a-challenge"), ("1.0.1", ", as_field = \"challenge\"", r#"{"challenge":"a-challenge"}"#)]
    {
        let webhook = format!(
            r#"
[webhook]
secret = "app"
scheme = {{ kind = "hmac", header = "x-signature", encoding = "base64" }}
handshake = {{ kind = "echo_json", pointer = "/challenge", when = {{ pointer = "/type", equals = "url_verification" }}{as_field} }}
[[webhook.split]]
route_by = "/team_id"
"#
        );
        let handles_webhooks = std::fs::read(component("stripe")).unwrap();
        host.upload(tiny::with_manifest(&handles_webhooks, &tiny::manifest("told", version, &webhook))).await.ok();
        let app = json!({ "connector": "told", "name": "app", "webhook_secret": TOKEN });
        let app = host.operator(Method::POST, "/v1/apps", Some(app)).await.text("id");
        let body = r#"{"type":"url_verification","challenge":"a-challenge"}"#;
        let request = || Wire::to(&host).request(Method::POST, &format!("/hooks/app/{app}")).body(body);
        Reply::of(request()).await.problem(401, "not-verified");
        let reply = Reply::of(request().header("x-signature", signed(body))).await;
        assert_eq!((reply.status, reply.text.as_str()), (200, expected));
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
    }
    let unrouted = host.operator(Method::GET, "/v1/deliveries", None).await.ok();
    assert_eq!(unrouted["items"], json!([]));
}

/// Adobe Sign: a GET when the address is registered, and the same on every POST. A client id is no secret, so it is taken at a
/// connection's own address alone, which nobody can guess.
///
/// Mutations: host/engine/src/listeners.rs, `listener_at`, without the app's client id; host/engine/src/reply.rs,
/// `check_method`, whatever the method; host/manifest/src/parse/checks/webhook/schemes.rs, `check`, a client id at an app's.
#[tokio::test]
async fn a_client_id_is_echoed_on_everything_and_a_get_is_no_delivery() {
    let host = Host::spawn().await;
    let by_client_id = r#"
scheme = { kind = "token", at = { kind = "header", name = "X-AdobeSign-ClientId" }, expects = "client_id" }
handshake = { kind = "echo_header", name = "X-AdobeSign-ClientId", as_field = "xAdobeSignClientId" }
[[webhook.split]]
"#;
    let handles_webhooks = std::fs::read(component("stripe")).unwrap();
    let at_an_apps = format!("[webhook]\nsecret = \"app\"{by_client_id}route_by = \"/webhookId\"\n");
    let manifest = tiny::manifest("told", "1.0.0", &at_an_apps);
    let refused = host.upload(tiny::with_manifest(&handles_webhooks, &manifest)).await;
    assert_eq!(refused.status, 422, "{:#}", refused.body);
    assert!(refused.body.to_string().contains("anybody may post to it"), "{:#}", refused.body);
    let auth = "[auth]\nkind = \"api_key\"\nfields = [{ name = \"key\", title = \"Key\" }]\n";
    let (tenant, of_app) = at_app(&host, &format!("{auth}[webhook]{by_client_id}")).await;
    let app = of_app.trim_start_matches("/hooks/app/");
    let connected = async |new: Value| tenant.hook(&tenant.post("/v1/connections", new).await.text("id")).await;
    let own = connected(json!({ "connector": "told", "app": app, "name": "c" })).await;
    let send = async |method: Method, path: &str, id: &str| {
        let request = Wire::to(&host).request(method.clone(), path).header("X-AdobeSign-ClientId", id);
        Reply::of(if method == Method::POST { request.body(r#"{"webhookId":"w"}"#) } else { request }).await
    };
    let kept = async || items(&tenant, "/v1/deliveries").await.len();
    for (method, count) in [(Method::GET, 0), (Method::POST, 1)] {
        let wrong = send(method.clone(), &own, "another").await;
        wrong.problem(401, "not-verified");
        assert!(!wrong.headers.contains_key("x-adobesign-clientid"));
        let reply = send(method, &own, "a-client-id").await;
        assert_eq!((reply.status, reply.header("x-adobesign-clientid")), (200, "a-client-id"));
        assert_eq!(reply.json(), json!({ "xAdobeSignClientId": "a-client-id" }));
        assert_eq!(kept().await, count);
    }
    let other = send(Method::PUT, &own, "a-client-id").await;
    assert_eq!((other.status, other.header("allow"), kept().await), (405, "GET, POST", 1));
    assert_eq!(send(Method::POST, &of_app, "a-client-id").await.status, 404, "everybody knows that address");
    // Without an app there is no client id, and nothing is like none.
    let of_none = connected(json!({ "connector": "told", "name": "d" })).await;
    for client_id in ["", "a-client-id"] {
        send(Method::POST, &of_none, client_id).await.problem(401, "not-verified");
    }
}

/// Mutation: host/engine/src/listeners.rs, `listener_of_app`, whoever has the secret.
#[tokio::test]
async fn where_each_connection_has_its_own_secret_nothing_comes_to_an_app() {
    let host = Host::spawn().await;
    let more = "[auth]\nkind = \"oauth2\"\nauthorize_url = \"https://login.example.com/a\"\n\
                token_url = \"https://login.example.com/token\"\n[webhook]\nsecret = \"connection\"\nscheme = \"none\"\n";
    let handles_webhooks = std::fs::read(component("stripe")).unwrap();
    host.upload(tiny::with_manifest(&handles_webhooks, &tiny::manifest("told", "1.0.0", more))).await.ok();
    let app = json!({ "connector": "told", "name": "app", "client_id": "a-client-id", "client_secret": TOKEN });
    let app = host.operator(Method::POST, "/v1/apps", Some(app)).await.text("id");
    let posted = Wire::to(&host).request(Method::POST, &format!("/hooks/app/{app}")).body("{}");
    assert_eq!(Reply::of(posted).await.status, 404);
}

/// Xero's intent to receive: an answer with a body, or with a cookie, would not pass.
///
/// Mutation: host/server/src/hooks.rs, `refuse`, always with a problem.
#[tokio::test]
async fn an_intent_to_receive_is_answered_by_a_status_and_nothing_else() {
    let host = Host::spawn().await;
    let (_, path) = at_app(
        &host,
        r#"
[webhook]
secret = "app"
refuse_bare = true
scheme = { kind = "hmac", header = "x-xero-signature", encoding = "base64" }
[[webhook.split]]
items = "/events"
route_by = "/tenantId"
"#,
    )
    .await;
    let body = r#"{"events":[],"firstEventSequence":0,"lastEventSequence":0,"entropy":"ABCDEF"}"#;
    for (signature, status) in [(signed(body), 200), (signed("another"), 401), ("no base64".to_owned(), 401)] {
        let request = Wire::to(&host).request(Method::POST, &path).header("x-xero-signature", signature);
        let reply = Reply::of(request.body(body)).await;
        assert_eq!((reply.status, reply.text.as_str()), (status, ""), "{reply:?}");
        assert!(!reply.headers.contains_key("set-cookie"), "{reply:?}");
    }
}

/// Google's channels and GitHub: the first request only says that there is one. It has to prove itself all the same.
///
/// Mutation: host/engine/src/ingress.rs, `deliver`, without `is_ignored`.
#[tokio::test]
async fn a_first_request_that_is_no_news_is_taken_and_not_kept() {
    let host = Host::spawn().await;
    let (tenant, path) = told_by(
        &host,
        r#"
[webhook]
scheme = { kind = "token", at = { kind = "header", name = "X-Goog-Channel-Token" } }
ignore = [{ header = "X-Goog-Resource-State", equals = "sync" }]
[[webhook.split]]
body = "opaque"
"#,
    )
    .await;
    let send = async |state: &str, token: &str| {
        let request = Wire::to(&host).request(Method::POST, &path).header("X-Goog-Resource-State", state);
        Reply::of(request.header("X-Goog-Channel-Token", token)).await
    };
    send("sync", "another").await.problem(401, "not-verified");
    let reply = send("sync", TOKEN).await;
    assert_eq!((reply.status, reply.text.as_str()), (200, ""));
    assert_eq!(items(&tenant, "/v1/deliveries").await, Vec::<Value>::new());
    // One with a state is, and without a body: twice the same is news twice.
    for count in 1..=2 {
        assert_eq!(send("exists", TOKEN).await.status, 200);
        let kept = items(&tenant, "/v1/deliveries").await;
        assert!(kept.len() == count && kept.iter().all(|kept| kept["status"] != "unrouted"), "{kept:#?}");
    }
    tenant.runs_until("", |runs| runs.len() == 2 && runs.iter().all(has_ended)).await;
}
