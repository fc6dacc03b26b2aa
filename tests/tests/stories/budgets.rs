//! Rate budgets: what a provider asks for is kept by everybody it is meant for; and which requests are sent again.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::response::Response;
use bulkhead_tests::{Host, HostBuilder, PATIENCE, Tenant, component};
use futures::future::join_all;
use serde_json::{Value, json};
use sqlx::{Executor as _, Row as _};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::hostile::WEBHOOK;
use crate::postgres::Database;
use crate::provider::{Provider, Seen};
use crate::tiny;

const ALLOWED: &str = "api.allowed.example";
const TEN_MINUTES_MS: u64 = 600_000;

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// A host whose hostile connector may go where its manifest says, to one provider.
async fn host(rules: &str, builder: HostBuilder) -> Host {
    let host = builder.spawn().await;
    let wasm = std::fs::read(component("hostile")).unwrap();
    let manifest = tiny::manifest("hostile", "0.1.0", &format!("{WEBHOOK}{rules}"));
    host.upload(tiny::with_manifest(&wasm, &manifest)).await.ok();
    host
}

async fn reach(tenant: &Tenant<'_>, connection: &str, method: &str, path: &str) -> Value {
    let input = json!({ "method": method, "url": format!("https://api.allowed.example/v1/{path}") });
    tenant.act(connection, "reach", input).await
}

const BUDGET: &str = r#"
[[egress]]
host = "api.allowed.example"
methods = ["GET", "POST"]
paths = ["/v1/*"]
[[rate]]
scope = "connection"
requests = 1000
per_seconds = 1
"#;

/// Mutation: host/egress/src/door.rs, `Door::send`, without `learn`.
#[tokio::test]
async fn however_a_provider_asks_for_a_pause_the_scope_that_it_is_about_makes_one() {
    let soon = (now_ms() + TEN_MINUTES_MS) / 1_000;
    let answer = move |seen: &Seen, _| {
        let (status, name, value) = match seen.path.as_str() {
            "/v1/seconds" => (429, "retry-after", "600".to_owned()),
            "/v1/date" => (503, "retry-after", "Fri, 31 Dec 9999 23:59:59 GMT".to_owned()),
            "/v1/reset" => (429, "x-ratelimit-reset", soon.to_string()),
            "/v1/spent" => (200, "ratelimit", r#""default";r=0;t=600"#.to_owned()),
            _ => (200, "ratelimit", r#""default";r=9;t=600"#.to_owned()),
        };
        Response::builder().status(status).header(name, value).body(Body::empty()).unwrap()
    };
    let provider = Provider::answering(answer).await;
    let host = host(BUDGET, Host::builder().upstream(ALLOWED, provider.url())).await;
    let tenant = host.tenant("slow").await;
    for path in ["seconds", "date", "reset", "spent"] {
        let (connection, neighbour) =
            (tenant.connection("hostile", json!({})).await, tenant.connection("hostile", json!({})).await);
        assert!(reach(&tenant, &connection, "GET", path).await["output"]["answer"].is_object(), "{path}");
        let before = provider.seen().len();
        for method in ["GET", "POST"] {
            let run = reach(&tenant, &connection, method, "next").await;
            let error = &run["output"]["error"];
            assert_eq!((&error["kind"], &error["request_sent"]), (&json!("rate-limited"), &json!(false)), "{run:#}");
        }
        assert_eq!(provider.seen().len(), before, "{path}");
        let run = reach(&tenant, &neighbour, "GET", "next").await;
        assert_eq!(run["output"]["answer"]["status"], 200, "{run:#}");
    }
}

/// The guest reads no `X-RateLimit-Reset`: the door does.
///
/// Mutations: host/engine/src/commit.rs, `write_end`, without `slowed`; host/engine/src/ports.rs, `pass`, without what is
/// held back, or without what is rate-limited.
#[tokio::test]
async fn a_run_is_tried_again_when_its_scope_may_go_and_so_is_the_next() {
    let soon = (now_ms() + TEN_MINUTES_MS) / 1_000;
    let answer = move |_: &Seen, _| {
        Response::builder().status(429).header("x-ratelimit-reset", soon).body(Body::empty()).unwrap()
    };
    let provider = Provider::answering(answer).await;
    let host = Host::builder().upstream("ledger.example", provider.url()).spawn().await;
    host.publish("ledger").await;
    let tenant = host.tenant("bookkeeper").await;
    let (connection, neighbour) =
        (tenant.connection("ledger", json!({})).await, tenant.connection("ledger", json!({})).await);
    let waits = async |connection: &str| {
        let begun = now_ms();
        let input = json!({ "entry": "one", "keyed": true });
        let id = tenant.post(&format!("/v1/connections/{connection}/actions/book"), input).await.text("id");
        let tried = |runs: &[Value]| {
            runs.iter().any(|run| run["id"] == id && run["next_attempt_ms"].as_u64() > Some(begun + 60_000))
        };
        let runs = tenant.runs_until("", tried).await;
        let run = runs.into_iter().find(|run| run["id"] == id).unwrap();
        assert_eq!((&run["attempt"], &run["failure"]["kind"]), (&json!(1), &json!("rate-limited")), "{run:#}");
    };
    waits(&connection).await;
    waits(&connection).await;
    assert_eq!(provider.seen().len(), 1, "the second waited in the door");
    waits(&neighbour).await;
    assert_eq!(provider.seen().len(), 2);
}

/// Mutation: host/egress/src/rate.rs, `Rates::turn`, spend from books of this node's own.
#[tokio::test]
async fn two_nodes_spend_from_one_budget() {
    let Some(database) = Database::fresh().await else { return };
    let provider = Provider::agreeable().await;
    let builder = || database.host().upstream(ALLOWED, provider.url());
    let few = BUDGET.replace("requests = 1000\nper_seconds = 1", "requests = 3\nburst = 3\nper_seconds = 3600");
    let one = host(&few, builder()).await;
    let other = builder().beside(&one).spawn().await;
    let tenant = one.tenant("shared").await;
    let connection = tenant.connection("hostile", json!({})).await;
    let (here, there) = (&tenant, &other.tenant_by_id(tenant.id()));
    let runs =
        join_all((0..12).map(|nth| reach(if nth % 2 == 0 { here } else { there }, &connection, "GET", "a"))).await;
    let limited = runs.iter().filter(|run| run["output"]["error"]["kind"] == "rate-limited").count();
    assert_eq!((limited, provider.seen().len()), (9, 3), "{runs:#?}");
    drop((one, other));
    database.end().await;
}

/// A hundred in any two seconds: a quarter of them at once, the others over the time, and nine are leased at a time.
const FAST: &str = "requests = 100\nper_seconds = 2";
const AT_ONCE: u128 = 25;
const INTERVAL: Duration = Duration::from_micros(2_000_000u64.div_ceil(76));
/// Of each node's run, one after the other.
const REQUESTS: usize = 100;

/// Counts how often budgets are asked.
const COUNTED: &str = "CREATE SEQUENCE asked;
    CREATE FUNCTION count_asked() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('asked'); RETURN NULL; END $$;
    CREATE TRIGGER counted BEFORE INSERT ON budgets FOR EACH STATEMENT EXECUTE FUNCTION count_asked()";

/// Mutation: host/egress/src/rate.rs, `Terms::of`, chunks of one. Books of each node's own are noticed here where both together
/// send more than 38 in a second; wherever they run by the story above, and with chunks by host/engine/src/budgets/tests.rs.
#[tokio::test]
async fn two_nodes_that_lease_in_chunks_send_no_more_than_their_one_budget() {
    let Some(database) = Database::fresh().await else { return };
    let came = Arc::new(Mutex::new(Vec::new()));
    let coming = Arc::clone(&came);
    let provider = Provider::answering(move |_, _| {
        coming.lock().unwrap().push(Instant::now());
        Response::new(Body::empty())
    })
    .await;
    let builder = || database.host().upstream(ALLOWED, provider.url());
    let one = host(&BUDGET.replace("requests = 1000\nper_seconds = 1", FAST), builder()).await;
    let other = builder().beside(&one).spawn().await;
    let tenant = one.tenant("shared").await;
    let connection = tenant.connection("hostile", json!({})).await;
    let mut sql = database.connect().await;
    sql.execute(COUNTED).await.unwrap();
    let began = Instant::now();
    let nodes = [&tenant, &other.tenant_by_id(tenant.id())];
    let flood = json!({ "requests": REQUESTS, "at_once": false });
    let runs = join_all(nodes.map(|node| node.act(&connection, "flood_requests", flood.clone()))).await;
    let all = runs.iter().all(|run| run["output"] == REQUESTS);
    let came = came.lock().unwrap().clone();
    assert!(all && came.len() == nodes.len() * REQUESTS, "{} came of {runs:#?}", came.len());
    for (number, at) in (1..).zip(&came) {
        let earned = at.duration_since(began).as_micros() / INTERVAL.as_micros();
        assert!(number <= AT_ONCE + earned, "{number} came within {:?}", at.duration_since(began));
    }
    let asked: i64 = sql.fetch_one("SELECT last_value FROM asked").await.unwrap().get(0);
    assert!(usize::try_from(asked).unwrap() * 2 < came.len(), "{asked} questions for {} requests", came.len());
    drop((one, other, sql));
    database.end().await;
}

/// Mutation: host/engine/src/worker.rs, `claim_loop`, without `forget_budgets`.
#[tokio::test]
async fn a_budget_of_long_ago_is_forgotten() {
    let mut host = Host::spawn().await;
    let mut sql = crate::crash::locked(&host).await;
    let row = "INSERT INTO budgets (key, spent_until_us, held_until_ms, granted, used_day) VALUES (x'01', 0, 0, 0, 1)";
    sql.execute(row).await.unwrap();
    sql.execute("COMMIT").await.unwrap();
    host.restart().await;
    let mut beat = tokio::time::interval(Duration::from_millis(50));
    let forgotten = async {
        while sql.fetch_one("SELECT count(*) FROM budgets").await.unwrap().get::<i64, _>(0) > 0 {
            beat.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, forgotten).await.expect("it is still there");
}

/// Does what it is asked, says nothing and hangs up; answers whoever asks again.
async fn forgetful() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let done = Arc::new(Mutex::new(Vec::new()));
    let doing = Arc::clone(&done);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let line: String = head.split(" HTTP").next().unwrap_or_default().to_owned();
            let again = doing.lock().unwrap().contains(&line);
            doing.lock().unwrap().push(line);
            if again {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
            }
        }
    });
    (url, done)
}

const EFFECTS: &str = r#"
[[egress]]
host = "api.allowed.example"
methods = ["PUT", "DELETE"]
paths = ["/v1/repeatable"]
idempotency = { kind = "method", window_minutes = 60 }
[[egress]]
host = "api.allowed.example"
methods = ["PUT", "POST"]
paths = ["/v1/*"]
"#;

/// Mutation: host/egress/src/effect.rs, `place`, `Idempotency::Method` never, or whatever the method; `Idempotency::None`
/// for PUT.
#[tokio::test]
async fn what_may_have_happened_is_sent_again_only_where_that_does_nothing_more() {
    let (url, done) = forgetful().await;
    let host = host(EFFECTS, Host::builder().upstream(ALLOWED, &url)).await;
    let tenant = host.tenant("once").await;
    for (method, path, times) in
        [("POST", "a", 1), ("PUT", "a", 1), ("PUT", "repeatable", 2), ("DELETE", "repeatable", 2)]
    {
        let connection = tenant.connection("hostile", json!({})).await;
        let run = reach(&tenant, &connection, method, path).await;
        let state = if times == 1 { "uncertain" } else { "succeeded" };
        assert_eq!(run["state"], state, "{method} {path}: {run:#}");
        let line = format!("{method} /v1/{path}");
        assert_eq!(done.lock().unwrap().iter().filter(|seen| **seen == line).count(), times, "{line}");
    }
}
