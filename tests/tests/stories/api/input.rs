//! Input that does not fit, with everything that is wrong with it at once.

use bulkhead_tests::{Answer, Host};
use reqwest::Method;
use serde_json::{Value, json};

use super::publish;
use crate::tiny;
use crate::wire::{Reply, Wire, detail, pointers};

/// Sends these bytes as a tenant to where a connection is made.
async fn raw(host: &Host, body: impl Into<reqwest::Body>) -> Reply {
    let tenant = host.tenant("t").await;
    let request = Wire::to(host).request(Method::POST, "/v1/connections").bearer_auth(host.operator_key());
    Reply::of(request.header("bulkhead-tenant", tenant.id()).body(body)).await
}

/// Mutations: host/server/src/body.rs, `parse`, an error without its text; `unfit`, with the parser's own words.
#[tokio::test]
async fn what_is_no_json_is_refused_with_the_place() {
    let host = Host::spawn().await;
    for (body, words) in [
        ("{\n  \"connector\": tiny\n}", "not JSON: it cannot be read at line 2 column 17"),
        ("", "line 1 column 0"),
        ("{\"connector\": \"x\", \"name\": \"x\"} {}", "line 1 column"),
        ("{\"connector\": \"x\", \"name\": 7}", "/name: expected a string."),
        ("{\"connector\": \"x\"}", "/name: this is missing."),
        (
            "{\"connector\": \"x\", \"name\": \"x\", \"a/b\": 1}",
            "/a~1b: this path does not know it; it takes one of `connector`",
        ),
        ("[]", "takes: expected an object."),
        ("{\"settings\": {\"limit\": 123456789012345678901}}", "the number at byte 23 has more digits"),
        (" [\"tiny\", null, null, \"production\", \"by position\", {}]", "expected an object"),
    ] {
        let problem = raw(&host, body).await.problem(400, "invalid-json");
        assert!(detail(&problem).contains(words), "{words:?} is not in {problem:#}");
    }
    // A secret in a wrong place is not repeated, and not only the sentence says where it stands.
    let problem =
        raw(&host, r#"{"connector": ["sk_live"], "name": {"sk_live": 1}}"#).await.problem(400, "invalid-json");
    assert_eq!(
        (pointers(&problem), problem.to_string().contains("sk_live")),
        (vec!["/connector"], false),
        "{problem:#}"
    );
    let problem = raw(&host, b"{\"name\": \"\xff\"}".to_vec()).await.problem(400, "invalid-json");
    assert!(detail(&problem).contains("not UTF-8"), "{problem:#}");
}

/// Mutations: host/server/src/body.rs, `unfit` and `query`, all of a name.
#[tokio::test]
async fn of_a_name_that_nobody_knows_as_much_is_repeated_as_a_person_reads() {
    let host = Host::spawn().await;
    let name = "ü/".repeat(500_000);
    for body in [
        format!(r#"{{"connector": "x", "name": "x", "{name}": 1}}"#),
        format!(r#"{{"connector": "x", "name": "x", "settings": {{}}, "{name}": {{"a": 1}}}}"#),
    ] {
        let problem = raw(&host, body).await.problem(400, "invalid-json");
        assert!(detail(&problem).contains("/ü~1ü~1") && detail(&problem).contains("does not know it"), "{problem:#}");
        assert!(pointers(&problem)[0].starts_with("/ü~1") && problem.to_string().len() < 4 << 10, "{problem:#}");
    }
    let asked = Wire::to(&host).request(Method::GET, &format!("/v1/tenants?{}=1", "x".repeat(20_000)));
    let problem = Reply::of(asked.bearer_auth(host.operator_key())).await.problem(400, "invalid-query");
    assert!(detail(&problem).contains("xxx") && problem.to_string().len() < 4 << 10, "{problem:#}");
}

/// Mutation: host/server/src/body.rs, `refuse_encoded`, let everything on: the packed object is "not UTF-8".
#[tokio::test]
async fn a_packed_body_is_refused_wherever_it_goes() {
    let host = Host::spawn().await;
    let told = |path: &str, encoding: &str| {
        let request = Wire::to(&host).request(Method::POST, path).bearer_auth(host.operator_key());
        Reply::of(request.header("content-encoding", encoding).body("{\"name\": \"t\"}"))
    };
    for path in ["/v1/tenants", "/v1/connectors", "/hooks/somewhere", "/connect/somewhere"] {
        let refused = told(path, "gzip").await;
        refused.problem(415, "body-encoded");
        assert_eq!(refused.header("accept-encoding"), "identity", "{path}");
    }
    assert_eq!(told("/v1/tenants", "Identity").await.status, 201);
}

/// Within a body as around it: nothing says of values in order which is which.
///
/// Mutation: host/server/src/api/routes.rs, `New`, or runs.rs, `Resolve`, without `Object`.
#[tokio::test]
async fn values_in_order_are_no_object() {
    let host = Host::spawn().await;
    let tenant = host.tenant("t").await;
    let (connection, run) = ("conn_00000000000000000000000000", "run_00000000000000000000000000");
    let route = json!({ "name": "r", "from": connection, "event": "e", "steps": [[connection, "act", "."]] });
    let resolve = json!({ "verdict": "send-again", "requests": [[1, 0]] });
    for (path, body) in [("/v1/routes".to_owned(), route), (format!("/v1/runs/{run}/resolve"), resolve)] {
        let refused = tenant.post(&path, body).await;
        assert_eq!((refused.status, &refused.body["code"]), (400, &json!("invalid-json")), "{refused:?}");
        assert!(detail(&refused.body).ends_with("expected an object."), "{refused:?}");
    }
}

/// Mutation: host/server/src/body.rs, `parse`, leave out `check_depth`: serde stops at 128 by itself, so a document
/// between the two gets in.
#[tokio::test]
async fn json_that_nests_too_deep_is_refused() {
    let host = Host::spawn().await;
    for levels in [100, 1_000_000] {
        let deep =
            format!("{{\"connector\":\"x\",\"name\":\"x\",\"settings\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        let problem = raw(&host, deep).await.problem(400, "invalid-json");
        assert!(detail(&problem).contains("64"), "{problem:#}");
    }
}

/// Mutation: host/server/src/lib.rs, `router`, `DefaultBodyLimit::disable` for the API.
#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let host = Host::spawn().await;
    raw(&host, " ".repeat((4 << 20) + 1)).await.problem(413, "body-too-large");
}

/// Whatever it is, as an action's input or a record may be.
///
/// Mutation: host/server/src/body.rs, `any`, as much as comes: nobody has such a connection.
#[tokio::test]
async fn a_document_that_is_too_large_is_refused() {
    let host = Host::spawn().await;
    let tenant = host.tenant("t").await;
    let connection = "/v1/connections/conn_00000000000000000000000000";
    for (method, path) in [(Method::PUT, "records/things/one"), (Method::POST, "actions/pay")] {
        let sent = async |bytes: usize| {
            let request = Wire::to(&host).request(method.clone(), &format!("{connection}/{path}"));
            let document = format!("\"{}\"", "x".repeat(bytes - 2));
            let request = request.bearer_auth(host.operator_key()).header("bulkhead-tenant", tenant.id());
            Reply::of(request.body(document)).await
        };
        sent(4 << 20).await.problem(404, "not-found");
        sent((4 << 20) + 1).await.problem(413, "body-too-large");
    }
}

/// Mutation: host/engine/src/calls.rs, `call`, leave out `schema.check`: the run is made and fails later, with the first
/// field alone.
#[tokio::test]
async fn every_field_of_an_actions_input_that_does_not_fit_is_named_at_once() {
    let host = Host::spawn().await;
    let schema = json!({
        "type": "object",
        "required": ["customer", "amount"],
        "additionalProperties": false,
        "properties": {
            "customer": { "type": "string", "minLength": 1 },
            "amount": { "type": "string", "pattern": "^[0-9]+\\.[0-9]{2}$" },
            "currency": { "enum": ["EUR", "USD"] },
            "lines": { "type": "array", "items": { "type": "object", "required": ["sku"], "properties": { "quantity": { "type": "integer" } } } },
        }
    });
    publish(&host, &json!([tiny::action("pay", &schema)]), "").await;
    let tenant = host.tenant("t").await;
    let connection = tenant.connection("tiny", json!({})).await;
    let act = async |input: Value| tenant.post(&format!("/v1/connections/{connection}/actions/pay"), input).await;
    let secret = "sk_live_in_the_wrong_field";
    let input = json!({ "amount": secret, "currency": "GBP", "lines": [{ "sku": "a" }, { "quantity": "two" }] });
    let problem = refused(act(input).await);
    assert_eq!(pointers(&problem), ["/amount", "/currency", "/customer", "/lines/1/quantity", "/lines/1/sku"]);
    assert!(!problem.to_string().contains(secret), "what was given is repeated: {problem:#}");
    let problem = refused(act(json!({ "customer": "", "amount": "1.00", "colour": 1 })).await);
    assert!(pointers(&problem).contains(&"/customer") && problem.to_string().contains("colour"), "{problem:#}");
    assert_eq!(pointers(&refused(act(json!("pay")).await)), [""]);
    assert_eq!(tenant.get("/v1/runs").await.ok()["items"], json!([]), "no run was made");
    assert_eq!(act(json!({ "customer": "c", "amount": "1.00" })).await.status, 202);
}

#[track_caller]
fn refused(answer: Answer) -> Value {
    assert_eq!((answer.status, &answer.body["code"]), (422, &json!("invalid-input")), "{answer:?}");
    answer.body
}

/// Mutation: host/engine/src/connections.rs, `connect`, leave out `schema.check`.
#[tokio::test]
async fn every_setting_that_does_not_fit_is_named_at_once() {
    let host = Host::spawn().await;
    let settings = r#"
[settings]
type = "object"
required = ["account", "since"]
[settings.properties]
account = { type = "string" }
since = { type = "string", format = "date" }
frequency = { type = "integer", minimum = 5 }
"#;
    publish(&host, &json!([]), settings).await;
    let tenant = host.tenant("t").await;
    let connect = async |settings: Value| {
        tenant.post("/v1/connections", json!({ "connector": "tiny", "name": "x", "settings": settings })).await
    };
    let problem = refused(connect(json!({ "since": "yesterday", "frequency": 1 })).await);
    assert_eq!(pointers(&problem), ["/settings/account", "/settings/frequency", "/settings/since"]);
    assert_eq!(tenant.get("/v1/connections").await.ok()["items"], json!([]), "no connection was made");
    connect(json!({ "account": "a", "since": "2026-01-31" })).await.ok();
}

/// Mutation: host/engine/src/connections.rs, `invalid_fields`, return at the first.
#[tokio::test]
async fn every_field_of_a_credential_that_does_not_fit_is_named_at_once_and_never_repeated() {
    let host = Host::spawn().await;
    let auth = r#"
[auth]
kind = "api_key"
[[auth.fields]]
name = "api_key"
title = "Secret key"
secret = true
pattern = "sk_[a-z]{4,20}"
help = "it begins with sk_"
[[auth.fields]]
name = "region"
title = "Region"
secret = false
"#;
    publish(&host, &json!([]), auth).await;
    let tenant = host.tenant("t").await;
    let connection = tenant.post("/v1/connections", json!({ "connector": "tiny", "name": "x" })).await.text("id");
    let give = async |fields: Value| {
        tenant.put(&format!("/v1/connections/{connection}/credential"), json!({ "fields": fields })).await
    };
    let problem = refused(give(json!({ "api_key": "pk_wrong_kind", "colour": "red" })).await);
    assert_eq!(pointers(&problem), ["/fields/api_key", "/fields/colour", "/fields/region"]);
    assert!(
        problem.to_string().contains("it begins with sk_") && !problem.to_string().contains("pk_wrong_kind"),
        "{problem:#}"
    );
    let view = give(json!({ "api_key": "sk_live", "region": "eu" })).await.ok();
    assert_eq!(view["status"], "active");
    assert!(!view.to_string().contains("sk_live"), "{view:#}");
}

/// Mutation: host/engine/src/calls.rs, `call`, an empty `known`.
#[tokio::test]
async fn an_action_that_is_not_there_is_answered_with_those_that_are() {
    let host = Host::spawn().await;
    let actions = json!([tiny::action("pay", &json!(true)), tiny::action("refund", &json!(true))]);
    publish(&host, &actions, "").await;
    let tenant = host.tenant("t").await;
    let connection = tenant.connection("tiny", json!({})).await;
    let answer = tenant.post(&format!("/v1/connections/{connection}/actions/charge"), json!({})).await;
    assert_eq!((answer.status, &answer.body["code"]), (404, &json!("unknown-operation")));
    let said = detail(&answer.body);
    assert!(said.contains("\"charge\"") && said.contains("pay, refund"), "{said}");
    let answer = tenant.post(&format!("/v1/connections/{connection}/streams/customers/pull"), json!({})).await;
    assert_eq!((answer.status, &answer.body["code"]), (404, &json!("unknown-operation")));
}

/// Mutation: host/engine/src/calls.rs, `active`, whatever the status.
#[tokio::test]
async fn a_connection_that_is_not_authorized_yet_says_what_to_do() {
    let host = Host::spawn().await;
    let auth = "[auth]\nkind = \"api_key\"\n[[auth.fields]]\nname = \"api_key\"\ntitle = \"Key\"\n";
    publish(&host, &json!([tiny::action("pay", &json!(true))]), auth).await;
    let tenant = host.tenant("t").await;
    let connection = tenant.post("/v1/connections", json!({ "connector": "tiny", "name": "x" })).await.text("id");
    let answer = tenant.post(&format!("/v1/connections/{connection}/actions/pay"), json!({})).await;
    assert_eq!((answer.status, &answer.body["code"]), (409, &json!("connection-not-active")));
    assert!(detail(&answer.body).contains("authorize it first"), "{:#}", answer.body);
}
