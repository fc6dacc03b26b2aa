//! Card numbers and secrets that turn up anyway: masked in whatever people read.

use std::path::Path;

use axum::body::Body;
use axum::response::Response;
use bulkhead_tests::{Host, component, host_program};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::hostile::WEBHOOK;
use crate::provider::Provider;
use crate::starting::ended;
use crate::tiny;

const CARD: &str = "4242 4242 4242 4242";
const TOKEN: &str = "a-token-that-opens-doors";
const SHOWN: &str = "paid with [card number 4242], Bearer [secret]";

/// A host with a guest that may ask this provider.
async fn asking(provider: &Provider) -> Host {
    let host = Host::builder().upstream("api.allowed.example", provider.url()).spawn().await;
    let rule = "[[egress]]\nhost = \"api.allowed.example\"\nmethods = [\"GET\"]\npaths = [\"/v1/*\"]\n";
    let hostile = std::fs::read(component("hostile")).unwrap();
    let manifest = tiny::manifest("hostile", "1.0.0", &format!("{WEBHOOK}{rule}"));
    host.upload(tiny::with_manifest(&hostile, &manifest)).await.ok();
    host
}

/// Mutation: host/engine/src/commit.rs, `write_verdict`, without `masked` where a run is tried again.
#[tokio::test]
async fn what_a_provider_says_by_mistake_is_masked_while_a_run_is_tried_again() {
    let said = json!({ "message": format!("paid with {CARD}, Bearer {TOKEN}") }).to_string();
    let provider = Provider::answering(move |_, _| {
        Response::builder()
            .status(503)
            .header("content-type", "application/json")
            .body(Body::from(said.clone()))
            .unwrap()
    });
    let provider = provider.await;
    let host = asking(&provider).await;
    let tenant = host.tenant("t").await;
    let connection = tenant.connection("hostile", json!({})).await;
    let begun = tenant.post(&format!("/v1/connections/{connection}/actions/observe"), json!({})).await.ok();
    tenant.runs_until("", |runs| runs.iter().any(|run| run["attempt"].as_u64() > Some(1))).await;
    let run = tenant.get(&format!("/v1/runs/{}", begun["id"].as_str().unwrap())).await.ok();
    let first = run["detail"]["attempts"].as_array().unwrap().iter().find(|attempt| attempt["outcome"] == "retry");
    let failure = first.map(|attempt| attempt["failure"].to_string()).unwrap_or_default();
    assert!(failure.contains(SHOWN) && !failure.contains(CARD) && !failure.contains(TOKEN), "{run:#}");
}

/// Mutations: host/engine/src/commit.rs, `write_verdict`, without `masked`, of either; `masked`, the lines as they are;
/// host/engine/src/ports/effects.rs, `intent`, the URL as it is; host/cli/src/runs/story.rs, `of`, the story as it is.
#[tokio::test]
async fn what_a_provider_says_by_mistake_is_masked_in_logs_failures_and_the_look_at_requests() {
    let said = format!("paid with {CARD}, Bearer {TOKEN}");
    let provider = Provider::answering(move |_, _| Response::new(Body::from(said.clone()))).await;
    let host = asking(&provider).await;
    let tenant = host.tenant("t").await;
    let connection = tenant.connection("hostile", json!({})).await;
    let url = format!("https://api.allowed.example/v1/a?card=4242424242424242&access_token={TOKEN}");
    for (action, masked_at) in [
        ("smuggle_spoils", ["/detail/attempts/0/log/0/message", "/detail/attempts/0/log/0/fields/spoils"]),
        ("fail_with_spoils", ["/failure/message", "/failure/details"]),
    ] {
        let run = tenant.act(&connection, action, json!({ "url": url })).await;
        let run = tenant.get(&format!("/v1/runs/{}", run["id"].as_str().unwrap())).await.ok();
        for place in masked_at {
            let text = run.pointer(place).and_then(Value::as_str).unwrap_or_default();
            assert!(text.ends_with(SHOWN), "{place}: {run:#}");
        }
        let asked = run["detail"]["journal"][0]["request"]["url"].as_str().unwrap();
        assert!(asked.ends_with("?card=[card number 4242]&access_token=[secret]"), "{asked}");
        let people_read =
            [&run["detail"]["attempts"], &run["failure"], &run["detail"]["journal"]].map(Value::to_string).concat();
        assert!(!people_read.contains(CARD) && !people_read.contains(TOKEN), "{people_read}");
        let told = command(&host, tenant.id(), &["runs", run["id"].as_str().unwrap()]).await;
        assert!(told.contains(SHOWN), "{told}");
    }
    command(&host, tenant.id(), &["runs", "--state", "failed"]).await;
    command(&host, tenant.id(), &["publish", component("hostile").to_str().unwrap()]).await;
}

/// What the command line says of this tenant's; [`ended`] looks at it.
async fn command(host: &Host, tenant: &str, words: &[&str]) -> String {
    let mut program = Command::new(host_program());
    program.args(words).env("BULKHEAD_URL", host.url()).env("BULKHEAD_KEY", host.operator_key());
    program.env("BULKHEAD_TENANT", tenant);
    let output = ended(program).await;
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// docs/security.md, "Card data": names of what is on a card, at the end of the path that leads there.
const ON_A_CARD: [&str; 9] = [
    "cardnumber",
    "cardno",
    "primaryaccountnumber",
    "cvc",
    "cvv",
    "cvv2",
    "securitycode",
    "cardexpmonth",
    "cardexpyear",
];

/// The fields of a schema that are named like something on a card, with the names of what they stand in.
fn on_a_card(schema: &Value, path: &str) -> Vec<String> {
    match schema {
        Value::Object(members) => {
            let of = |(name, inner): (&String, &Value)| {
                let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
                let path = format!("{path}{}", plain.to_ascii_lowercase());
                let mut found = on_a_card(inner, path.trim_end_matches("properties"));
                found.extend((ON_A_CARD.iter().any(|end| path.ends_with(end)) || plain == "pan").then_some(path));
                found
            };
            members.iter().flat_map(of).collect()
        }
        Value::Array(items) => items.iter().flat_map(|item| on_a_card(item, path)).collect(),
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn no_action_of_ours_takes_a_card() {
    let direct =
        json!({ "properties": { "payment": { "properties": { "card": { "properties": { "number": {} } } } } } });
    assert_eq!(on_a_card(&direct, ""), ["paymentcardnumber"]);
    assert_eq!(on_a_card(&json!({ "$defs": { "Card": { "properties": { "CVC": {} } } } }), "").len(), 1);
    let host = Host::spawn().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../connectors");
    let mut looked_at = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        // What evaluates mappings is no connector.
        if name == "jq" {
            continue;
        }
        let version = host.publish(&name).await["version_text"].as_str().unwrap().to_owned();
        let path = format!("/v1/connectors/{name}/versions/{version}");
        let known = host.operator(Method::GET, &path, None).await.ok();
        let actions = known["descriptor"]["actions"].as_array().unwrap();
        looked_at += actions.len();
        for action in actions {
            assert_eq!(on_a_card(&action["input"], ""), [""; 0], "{name}: {}", action["name"]);
        }
    }
    assert!(looked_at >= 8, "{looked_at} actions");
}
