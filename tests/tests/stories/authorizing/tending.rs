//! Authorizations that nobody uses: they are looked after, and whoever has to come is told in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use bulkhead_tests::{Host, PATIENCE};
use serde_json::{Value, json};

use super::stage::{API, LOGIN, Stage, says};
use super::{change, found, token_ends_in};
use crate::provider::Provider;

const DAY_MS: u64 = 86_400_000;
const HOUR_MS: u64 = 3_600_000;

struct Idle {
    stage: Stage,
    provider: Provider,
    answers: Arc<AtomicU16>,
    connection: String,
    log: tempfile::TempDir,
}

impl Idle {
    async fn new(more: &str) -> Self {
        let answers = Arc::new(AtomicU16::new(200));
        let status = Arc::clone(&answers);
        let end = now_ms() + 10 * DAY_MS;
        let gives = move || {
            let left = ((end - now_ms()) / 1_000).to_string();
            says(200, &json!({ "access_token": "a", "refresh_token": "r", "expires_in": "3600", "rest": left }))
        };
        let provider = Provider::answering(move |seen, _| match (seen.path.as_str(), status.load(Ordering::SeqCst)) {
            ("/token", 200) => gives(),
            ("/token", 400) => says(400, &json!({ "error": "invalid_grant" })),
            ("/token", status) => says(status, &json!("down")),
            _ => says(200, &json!({})),
        })
        .await;
        let auth = format!(
            "kind = \"oauth2\"\nauthorize_url = \"https://login.example.com/a\"\ntoken_url = \"https://login.example.com/token\"\n{more}"
        );
        let log = tempfile::tempdir().unwrap();
        let builder = [LOGIN, API].iter().fold(Host::builder(), |builder, host| builder.upstream(host, provider.url()));
        let stage = Stage::set(builder.log_to(&log.path().join("log")), &auth, "").await.with_app().await;
        let connection = stage.connection().await;
        assert_eq!(stage.authorize(&connection, "").await.status, 200);
        Self { stage, provider, answers, connection, log }
    }

    /// It was last written so many days ago, and is looked at now.
    async fn rests(&self, days: u64) {
        let then = now_ms() - days * DAY_MS;
        let end = then + 60 * DAY_MS;
        let statement = format!(
            "UPDATE credentials SET updated_ms = {then}, look_at_ms = 1, lease_until_ms = 0, lease_holder = NULL,
                meta = json_set(meta, '$.refresh_expires_ms', {end}) WHERE name = 'authorization'"
        );
        change(&self.stage.host, &statement).await;
    }

    /// Whether it was looked at, and is not to be for so long, which is longer than a claimed look takes.
    async fn rests_for(&self, ms: u64) -> bool {
        let query =
            format!("SELECT 1 FROM credentials WHERE name = 'authorization' AND look_at_ms > {}", now_ms() + ms);
        found(&self.stage.host, &query).await
    }

    fn asked(&self) -> usize {
        self.provider.seen().iter().filter(|seen| seen.path == "/token").count()
    }

    async fn warnings(&self) -> Value {
        self.stage.view(&self.connection).await["warnings"].clone()
    }

    fn logged(&self, words: &str) -> usize {
        std::fs::read_to_string(self.log.path().join("log")).unwrap().matches(words).count()
    }
}

#[allow(clippy::disallowed_methods, reason = "a host in another process lives in real time")]
fn now_ms() -> u64 {
    u64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// Waits until it is so.
async fn until(so: impl AsyncFn() -> bool) {
    let mut beat = tokio::time::interval(Duration::from_millis(50));
    let waiting = async {
        while !so().await {
            beat.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it never came to this");
}

/// Mutations: host/engine/src/worker.rs, without `tend`; host/engine/src/credentials/tending.rs, `look_after`, exercise
/// nothing, or everything.
#[tokio::test]
async fn a_refresh_token_that_nobody_uses_is_used_before_it_ends() {
    let idle = Idle::new("refresh_idle_days = 60").await;
    assert_eq!(idle.asked(), 1);
    // What is looked at too early is not used; that it was looked at is seen where the next look is.
    idle.rests(20).await;
    until(async || idle.rests_for(DAY_MS).await).await;
    assert_eq!(idle.asked(), 1);
    idle.rests(30).await;
    until(async || idle.asked() == 2).await;
    let run = idle.stage.reach(&idle.connection, "https://api.example.com/x").await;
    assert_eq!((&run["state"], idle.asked()), (&json!("succeeded"), 2), "and is as good as new: {run:#}");
}

/// The provider counts the days of its refresh token, in text, whether or not it is used.
///
/// Mutations: host/engine/src/oauth.rs, `tokens`, without `refresh_expires_field`; host/engine/src/oauth/asking.rs, `seconds`, numbers
/// alone; host/engine/src/credentials/lifetime.rs, `Meta::of`, without `stands`.
#[tokio::test]
async fn the_end_of_a_refresh_token_that_its_provider_tells_is_read_and_told() {
    let idle = Idle::new("refresh_expires_field = \"rest\"").await;
    let (soonest, latest) = (now_ms() + 9 * DAY_MS, now_ms() + 10 * DAY_MS);
    let kept = format!(
        "SELECT 1 FROM credentials WHERE json_extract(meta, '$.refresh_expires_ms') BETWEEN {soonest} AND {latest}"
    );
    assert!(found(&idle.stage.host, &kept).await);
    assert_eq!(idle.warnings().await, json!([]), "using it may begin anew");
    token_ends_in(&idle.stage.host, -1).await;
    let run = idle.stage.reach(&idle.connection, "https://api.example.com/x").await;
    assert_eq!((&run["state"], idle.asked()), (&json!("succeeded"), 2), "{run:#}");
    let told = idle.warnings().await;
    assert_eq!(told[0]["code"], "authorization-ends", "{told:#}");
    assert!(told[0]["message"].as_str().unwrap().contains("within 10 days"), "{told:#}");
}

/// Mutations: host/engine/src/credentials/tending.rs, `look_after`, leave a failure to the next beat; or end the connection;
/// host/engine/src/connections.rs, `view`, without what is kept.
#[tokio::test]
async fn where_the_provider_is_down_it_is_left_in_peace_and_where_it_says_no_a_person_is_told() {
    let idle = Idle::new("refresh_idle_days = 60").await;
    idle.answers.store(503, Ordering::SeqCst);
    idle.rests(31).await;
    until(async || idle.asked() == 2 && idle.warnings().await != json!([])).await;
    until(async || idle.rests_for(HOUR_MS).await).await;
    let run = idle.stage.reach(&idle.connection, "https://api.example.com/x").await;
    assert_eq!((&run["state"], idle.asked()), (&json!("succeeded"), 2), "{run:#}");
    let told = idle.warnings().await;
    assert_eq!(told[0]["code"], "authorization-not-renewed", "{told:#}");
    idle.answers.store(400, Ordering::SeqCst);
    idle.rests(31).await;
    until(async || idle.stage.view(&idle.connection).await["status"] == "needs_reauthorization").await;
    let view = idle.stage.view(&idle.connection).await;
    assert_eq!(view["warnings"][0]["code"], "needs-reauthorization", "{view:#}");
}

/// Mutations: host/engine/src/connections.rs, `view`, without `warnings`; host/engine/src/credentials/tending.rs, `look_after`,
/// look again at once.
#[tokio::test]
async fn where_only_a_person_can_go_on_it_stands_to_be_read_and_is_logged_once() {
    let idle = Idle::new("refresh_days = 30").await;
    let warnings = async || idle.warnings().await;
    assert_eq!(warnings().await, json!([]));
    let ends_in = async |days: u64| {
        let end = now_ms() + days * DAY_MS;
        let set = format!(
            "UPDATE credentials SET look_at_ms = 1, meta = json_set(meta, '$.ends_ms', {end}) WHERE name = 'authorization'"
        );
        change(&idle.stage.host, &set).await;
    };
    for (days, times) in [(13, 1), (2, 2)] {
        ends_in(days).await;
        until(async || idle.logged("authorization-ends") == times && idle.rests_for(HOUR_MS).await).await;
        let told = warnings().await;
        let message = told[0]["message"].as_str().unwrap();
        assert_eq!((told.as_array().map(Vec::len), &told[0]["code"]), (Some(1), &json!("authorization-ends")));
        assert!(
            message.contains(&format!("within {days} days")) && message.contains("Authorize it again"),
            "{message}"
        );
    }
    // A person comes, and all is well.
    assert_eq!(idle.stage.authorize(&idle.connection, "").await.status, 200);
    assert_eq!(warnings().await, json!([]));
    assert_eq!(idle.logged("authorization-ends"), 2);
}
