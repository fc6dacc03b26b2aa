//! An ordinary HTTP client (tests/client, over `wasi:http`) goes through the same door: with the connection's credential,
//! nowhere else, and into the same journal.

use axum::body::Body;
use axum::response::Response;
use bulkhead_tests::{Host, Tenant};
use reqwest::Method;
use serde_json::{Value, json};

use super::ledger::{Ledger, Script, Stop};
use crate::hostile::assert_failed;
use crate::leaks;
use crate::provider::Provider;
use crate::wait::has_ended;
use crate::wire::{Reply, Wire};

const KEY: &str = "key-of-this-connection";

async fn host(ledger: &str) -> Host {
    let host = Host::builder().upstream("ledger.example", ledger).spawn().await;
    host.publish("client").await;
    host
}

/// A tenant's id, and a connection of theirs.
async fn connected(host: &Host) -> (String, String) {
    let tenant = host.tenant("t").await;
    let connection = tenant.connection("client", json!({ "key": KEY })).await;
    (tenant.id().to_owned(), connection)
}

async fn begin(tenant: &Tenant<'_>, connection: &str, action: &str, input: Value) -> String {
    tenant.post(&format!("/v1/connections/{connection}/actions/{action}"), input).await.text("id")
}

/// Waits for the end of these runs.
async fn ended(tenant: &Tenant<'_>, runs: &[String]) -> Vec<Value> {
    let found = tenant.runs_until("", |all| all.len() == runs.len() && all.iter().all(has_ended)).await;
    let run = |id: &String| found.iter().find(|run| run["id"] == **id).unwrap().clone();
    runs.iter().map(run).collect()
}

fn ask(method: &str, url: &str) -> Value {
    json!({ "method": method, "url": url })
}

/// Mutations: host/egress/src/strip.rs, `strip`, without `AUTHORIZATION`; host/runtime/src/capabilities/wasi/http/request.rs,
/// `translated`, leave the effect among the headers.
#[tokio::test]
async fn it_carries_the_connections_credential_and_nothing_that_is_the_hosts() {
    let provider = Provider::answering(|seen, _| {
        let told = seen.headers["authorization"].to_str().unwrap().to_owned();
        Response::builder().header("x-told", &told).body(Body::from(told)).unwrap()
    });
    let provider = provider.await;
    let host = host(provider.url()).await;
    let (tenant, connection) = connected(&host).await;
    let mut wanted = ask("GET", "https://ledger.example/before/one?a=b");
    wanted["headers"] = json!({ "Authorization": "Bearer of-the-guest", "Accept": "text/plain", "TE": "trailers",
        "Bulkhead-Effect": "reading" });
    let run = host.tenant_by_id(&tenant).act(&connection, "fetch", wanted).await;
    assert_eq!(run["output"]["answer"]["status"], 200, "{run:#}");
    assert!(!run.to_string().contains(KEY), "what a provider repeats is taken out: {run:#}");
    leaks::assert_none(&host, &run.to_string());
    let seen = &provider.seen()[0];
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("GET", "/before/one?a=b"));
    assert_eq!(seen.headers["authorization"], format!("Bearer {KEY}"));
    assert_eq!(seen.headers["host"], "ledger.example");
    assert_eq!(seen.headers["accept"], "text/plain");
    for name in ["te", "bulkhead-effect", "content-length"] {
        assert!(!seen.headers.contains_key(name), "{name}: {:?}", seen.headers);
    }
}

/// Mutation: host/runtime/src/capabilities/wasi/http.rs, `NoClient` with a client of its own.
#[tokio::test]
async fn it_goes_nowhere_else() {
    let provider = Provider::agreeable().await;
    let host = host(provider.url()).await;
    let (tenant, connection) = connected(&host).await;
    let tenant = host.tenant_by_id(&tenant);
    let denied = json!({ "error": "ErrorCode::HttpRequestDenied" });
    for (method, url) in [
        ("GET", "https://other.example/before/one"),
        ("GET", "https://ledger.example/elsewhere"),
        ("DELETE", "https://ledger.example/before/one"),
        ("GET", "http://ledger.example/before/one"),
        ("GET", "https://ledger.example:8443/before/one"),
        ("GET", "https://127.0.0.1/before/one"),
    ] {
        let run = tenant.act(&connection, "fetch", ask(method, url)).await;
        assert_eq!(run["output"], denied, "{method} {url}: {run:#}");
        let run = tenant.get(&format!("/v1/runs/{}", run["id"].as_str().unwrap())).await.ok();
        let line = run["detail"]["attempts"][0]["log"][0]["message"].as_str().unwrap().to_owned();
        assert!(line.starts_with("wasi:http: denied: "), "{method} {url}: {line}");
    }
    assert_eq!(provider.seen().len(), 0);
}

/// Mutation: host/runtime/src/capabilities/wasi/http.rs, `take_down`, without `count_request`.
#[tokio::test]
async fn a_thousand_requests_at_once_are_a_limit_and_nobodys_trouble() {
    let provider = Provider::agreeable().await;
    let host = host(provider.url()).await;
    let (tenant, connection) = connected(&host).await;
    let tenant = host.tenant_by_id(&tenant);
    let run = tenant.act(&connection, "misuse", json!({ "flood": 1_000 })).await;
    assert_failed(&run, "requests-limit");
    assert_eq!(provider.seen().len(), 0);
    let ready = Reply::of(Wire::to(&host).request(Method::GET, "/readyz")).await;
    assert_eq!((ready.status, ready.text.as_str()), (200, "ready"));
    let run = tenant.act(&connection, "fetch", ask("GET", "https://ledger.example/before/one")).await;
    assert_eq!(run["output"]["answer"]["status"], 200, "{run:#}");
}

/// Mutations: host/runtime/src/capabilities/http.rs, `carry_out`, never ask `before_send`;
/// host/runtime/src/capabilities/wasi/http/request.rs, `translated`, no effect.
#[tokio::test]
async fn when_the_host_dies_its_entry_is_booked_once_or_a_person_is_asked() {
    let ledger = Ledger::open().await;
    // How far each is when the host dies, how often it is asked for in all, and what becomes of the run.
    let rows = [
        ("kept", false, Stop::After, 1, "succeeded"),
        ("kept-keyed", true, Stop::After, 1, "succeeded"),
        ("booked", false, Stop::Booked, 1, "uncertain"),
        ("booked-keyed", true, Stop::Booked, 2, "succeeded"),
    ];
    let mut host = host(ledger.url()).await;
    let (tenant, connection) = connected(&host).await;
    let mut runs = Vec::new();
    for (entry, keyed, stop, ..) in rows {
        ledger.script(entry, Script { stop: Some(stop), ..Script::default() });
        let input = json!({ "entry": entry, "keyed": keyed });
        runs.push(begin(&host.tenant_by_id(&tenant), &connection, "book", input).await);
        ledger.stands(entry).await;
    }
    host.kill().await;
    rows.iter().for_each(|(entry, ..)| ledger.forget(entry));
    host.restart().await;
    let ends = ended(&host.tenant_by_id(&tenant), &runs).await;
    for ((entry, _, _, asked, state), run) in rows.iter().zip(&ends) {
        let seen = ledger.seen(entry);
        assert_eq!((seen.asked, seen.booked, &run["state"]), (*asked, 1, &json!(state)), "{entry}: {run:#}");
    }
    assert_eq!(ledger.seen("booked-keyed").keys.len(), 1, "under one key");
}

/// The first is answered last, and the host dies before the third is answered.
///
/// Mutation: host/runtime/src/capabilities/wasi/http.rs, `send_taken`, number them by when they are answered.
#[tokio::test]
async fn of_requests_that_left_together_only_what_was_not_answered_is_sent_again() {
    let ledger = Ledger::open().await;
    ledger.script("slow", Script { stop: Some(Stop::Booked), ..Script::default() });
    ledger.script("fast", Script::default());
    ledger.script("read", Script { stop: Some(Stop::After), ..Script::default() });
    let mut host = host(ledger.url()).await;
    let (tenant, connection) = connected(&host).await;
    let place = |place: &str| format!("https://ledger.example/{place}");
    let requests =
        [ask("POST", &place("entries/slow")), ask("POST", &place("entries/fast")), ask("GET", &place("after/read"))];
    let run = begin(&host.tenant_by_id(&tenant), &connection, "race", json!({ "requests": requests })).await;
    ledger.stands("slow").await;
    ledger.stands("read").await;
    answered(&host.tenant_by_id(&tenant), &run, 1).await;
    ledger.answer("slow").await;
    answered(&host.tenant_by_id(&tenant), &run, 2).await;
    host.kill().await;
    ledger.forget("read");
    host.restart().await;
    let tenant = host.tenant_by_id(&tenant);
    ended(&tenant, std::slice::from_ref(&run)).await;
    let run = tenant.get(&format!("/v1/runs/{run}")).await.ok();
    assert_eq!(run["state"], "succeeded", "{run:#}");
    let output = run["output"].as_array().unwrap();
    assert_eq!(output.iter().map(|seen| &seen["number"]).collect::<Vec<_>>(), [0, 1, 2], "{run:#}");
    let asked = ["slow", "fast"].map(|entry| (ledger.seen(entry).asked, ledger.seen(entry).booked));
    assert_eq!((asked, ledger.seen("read").after), ([(1, 1); 2], 2));
}

/// Waits until so many of a run's effects have their answers.
async fn answered(tenant: &Tenant<'_>, run: &str, effects: usize) {
    let mut beat = tokio::time::interval(std::time::Duration::from_millis(20));
    let waiting = async {
        loop {
            beat.tick().await;
            let run = tenant.get(&format!("/v1/runs/{run}")).await.ok();
            let journal = run["detail"]["journal"].as_array().unwrap();
            let kept = journal.iter().filter(|entry| entry["unsafe_request"] == true && entry["answer_ms"].is_u64());
            if kept.count() >= effects {
                return;
            }
        }
    };
    tokio::time::timeout(bulkhead_tests::PATIENCE, waiting).await.expect("they were never answered");
}
