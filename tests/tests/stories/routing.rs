//! What an event sets going is written in one transaction, in everybody's way: so there is an end to it.

use std::time::Duration;

use bulkhead_tests::{Host, PATIENCE, Tenant};
use serde_json::{Value, json};
use sqlx::{Executor as _, Row as _};

use crate::hostile::assert_failed;
use crate::postgres::Database;
use crate::wait::has_ended;

const STEPS: usize = 20;
const ROUTES: usize = 100;

struct Router<'h> {
    tenant: Tenant<'h>,
    connection: String,
}

impl<'h> Router<'h> {
    async fn at(host: &'h Host) -> Self {
        host.publish("hostile").await;
        let tenant = host.tenant("router").await;
        let connection = tenant.connection("hostile", json!({})).await;
        Self { tenant, connection }
    }

    /// A route from this connection's noise to itself.
    async fn route(&self, steps: usize) -> bulkhead_tests::Answer {
        self.route_by("{said: .name}", steps).await
    }

    async fn route_by(&self, mapping: &str, steps: usize) -> bulkhead_tests::Answer {
        let step = json!({ "connection": self.connection, "action": "behave", "mapping": mapping });
        let steps: Vec<Value> = std::iter::repeat_n(step, steps).collect();
        let route = json!({ "name": "r", "from": self.connection, "event": "noise", "steps": steps });
        self.tenant.post("/v1/routes", route).await
    }
}

/// Mutations: host/engine/src/routes.rs, `create_route`, leave out `TooManySteps`; leave out `TooManyRoutes`.
#[tokio::test]
async fn a_route_has_so_many_steps_and_an_event_so_many_routes() {
    let host = Host::spawn().await;
    let router = Router::at(&host).await;
    let refused = router.route(STEPS + 1).await;
    assert_eq!((refused.status, refused.body["code"].as_str()), (422, Some("too-many-steps")), "{refused:?}");
    for _ in 0..ROUTES {
        router.route(1).await.ok();
    }
    let refused = router.route(1).await;
    assert_eq!((refused.status, refused.body["code"].as_str()), (409, Some("too-many-routes")), "{refused:?}");
}

/// The last place, and two that come for it before either has it.
///
/// Mutation: host/engine/src/routes.rs, `create_route`, without `hold_connection`: both count what is there, and both are made.
#[tokio::test]
async fn of_two_routes_that_are_made_at_once_the_second_counts_the_first() {
    let Some(database) = Database::fresh().await else { return };
    let host = database.host().spawn().await;
    let router = Router::at(&host).await;
    for _ in 1..ROUTES {
        router.route(1).await.ok();
    }
    let (mut other, mut onlooker) = (database.connect().await, database.connect().await);
    // Whoever wants to may count, and nobody can write.
    other.execute("BEGIN; LOCK TABLE routes IN SHARE MODE").await.unwrap();
    let meet = async {
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let mut beat = tokio::time::interval(Duration::from_millis(10));
        while onlooker.fetch_one(waiting).await.unwrap().get::<i64, _>(0) < 2 {
            beat.tick().await;
        }
        other.execute("COMMIT").await.unwrap();
    };
    let meet = async { tokio::time::timeout(PATIENCE, meet).await.expect("both wait") };
    let (one, two, ()) = tokio::join!(router.route(1), router.route(1), meet);
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409], "{one:?} {two:?}");
    drop(host);
    database.end().await;
}

/// Mutation: host/engine/src/commit/veto.rs, `veto`, leave out `MOST_FAN_OUTS`.
#[tokio::test]
async fn a_run_whose_events_set_too_much_going_fails_and_sets_nothing_going() {
    let host = Host::spawn().await;
    let router = Router::at(&host).await;
    router.route(STEPS).await.ok();
    let events = ROUTES + 1;
    let run = router.tenant.act(&router.connection, "flood_events", json!({ "events": events })).await;
    assert_failed(&run, "fan-out-limit");
    let runs = router.tenant.get("/v1/runs?limit=200").await.ok();
    assert_eq!(runs["items"].as_array().unwrap().len(), 1, "{runs:#}");
}

/// A mapping of so many bytes.
fn mapping(bytes: usize) -> String {
    let filter = "{said: .name} #";
    format!("{filter}{}", "x".repeat(bytes - filter.len()))
}

/// Mutation: host/engine/src/routes.rs, `create_route`, leave out `LargeMappings`.
#[tokio::test]
async fn the_mappings_of_a_route_have_an_end() {
    let host = Host::spawn().await;
    let router = Router::at(&host).await;
    router.route_by(&mapping(32 << 10), 2).await.ok();
    let refused = router.route_by(&mapping((32 << 10) + 1), 2).await;
    assert_eq!((refused.status, refused.body["code"].as_str()), (422, Some("mappings-too-large")), "{refused:?}");
}

/// Each of the runs keeps its mapping: here they are four megabytes in one transaction, and one more event is too much.
///
/// Mutation: host/engine/src/commit/veto.rs, `sets_too_much_going`, leave out `MOST_MAPPINGS`.
#[tokio::test]
async fn a_run_that_sets_too_long_mappings_going_fails() {
    let host = Host::spawn().await;
    let router = Router::at(&host).await;
    router.route_by(&mapping(64 << 10), 1).await.ok();
    let run = router.tenant.act(&router.connection, "flood_events", json!({ "events": 65 })).await;
    assert_failed(&run, "fan-out-limit");
    let run = router.tenant.act(&router.connection, "flood_events", json!({ "events": 64 })).await;
    assert_eq!(run["state"], "succeeded", "{run:#}");
}

/// Mutation: host/engine/src/commit/events.rs, `fan_out`, without `DEEPEST`: it never ends.
#[tokio::test]
async fn events_that_follow_from_themselves_come_to_an_end() {
    const DEEPEST: usize = 8;
    let host = Host::spawn().await;
    host.publish("mirror").await;
    let tenant = host.tenant("router").await;
    let connection = tenant.connection("mirror", json!({})).await;
    let step = json!({ "connection": connection, "action": "see", "mapping": "{thing: (.data.thing + \"!\")}" });
    let route = json!({ "name": "r", "from": connection, "event": "seen", "steps": [step] });
    tenant.post("/v1/routes", route).await.ok();
    tenant.act(&connection, "see", json!({ "thing": "it" })).await;
    // What a run sets going is there when it has ended.
    let over = |runs: &[Value]| runs.len() > DEEPEST + 1 || runs.iter().all(has_ended);
    let runs = tenant.runs_until("", over).await;
    assert_eq!(runs.len(), DEEPEST + 1, "{runs:#?}");
    let events = tenant.get("/v1/events").await.ok();
    assert_eq!(events["items"].as_array().map(Vec::len), Some(DEEPEST + 1), "{events:#}");
}

/// Mutation: host/engine/src/mapping.rs, `map`, without `check_digits`: the action gets another number.
#[tokio::test]
async fn a_mapping_gives_no_number_that_would_become_another() {
    let host = Host::spawn().await;
    host.publish("mirror").await;
    let tenant = host.tenant("router").await;
    let connection = tenant.connection("mirror", json!({})).await;
    let step = json!({ "connection": connection, "action": "take", "mapping": "{thing: 123456789012345678901}" });
    let route = json!({ "name": "r", "from": connection, "event": "seen", "steps": [step] });
    tenant.post("/v1/routes", route).await.ok();
    tenant.act(&connection, "see", json!({ "thing": "it" })).await;
    let runs = tenant.runs_until("", |runs| runs.len() == 2 && runs.iter().all(has_ended)).await;
    let mapped = runs.iter().find(|run| run["action"] == "take" || run["target"] == "take").unwrap();
    assert_eq!(mapped["failure"]["code"], "mapping", "{mapped:#}");
    assert!(mapped["failure"]["message"].as_str().unwrap().contains("more digits"), "{mapped:#}");
}

/// Mutation: host/engine/src/routes.rs, `usable_step`, do not ask what is wrong with the mapping: the first event finds out.
#[tokio::test]
async fn a_mapping_that_is_no_filter_is_refused_before_there_is_an_event() {
    let host = Host::spawn().await;
    host.publish("hostile").await;
    let tenant = host.tenant("router").await;
    let connection = tenant.connection("hostile", json!({})).await;
    for mapping in [".nam(", "1); def x: (2", "mapping", ""] {
        let step = json!({ "connection": connection, "action": "behave", "mapping": mapping });
        let route = json!({ "name": "r", "from": connection, "event": "noise", "steps": [step] });
        let refused = tenant.post("/v1/routes", route).await;
        assert_eq!((refused.status, refused.body["code"].as_str()), (422, Some("mapping")), "{mapping}: {refused:?}");
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(detail.starts_with("step 1: ") && !detail.contains("event"), "{detail}");
    }
}

/// Mutations: host/engine/src/routes.rs, `create_route`, leave out `NoSteps`, or `UnknownEvent`; `usable_step`, leave out
/// `UnknownAction`.
#[tokio::test]
async fn a_route_leads_from_an_event_that_there_is_to_actions_that_there_are() {
    let host = Host::spawn().await;
    host.publish("hostile").await;
    let tenant = host.tenant("router").await;
    let connection = tenant.connection("hostile", json!({})).await;
    let step = |action: &str| json!({ "connection": connection, "action": action, "mapping": "{said: .name}" });
    let wrong = [
        ("noise", json!([]), "no-steps"),
        ("silence", json!([step("behave")]), "unknown-event"),
        ("noise", json!([step("behave"), step("dance")]), "unknown-action"),
    ];
    for (event, steps, code) in wrong {
        let route = json!({ "name": "r", "from": connection, "event": event, "steps": steps });
        let refused = tenant.post("/v1/routes", route).await;
        assert_eq!((refused.status, refused.body["code"].as_str()), (422, Some(code)), "{refused:?}");
    }
    assert_eq!(tenant.get("/v1/routes").await.ok()["items"].as_array().map(Vec::len), Some(0));
}

/// A route that was there says at each event that nothing is done any more, and why.
///
/// Mutation: host/engine/src/routes.rs, `refuse_over`, whatever is over.
#[tokio::test]
async fn no_route_leads_from_or_to_a_connection_that_is_over() {
    let host = Host::spawn().await;
    host.publish("mirror").await;
    let tenant = host.tenant("router").await;
    let (lives, over) = (tenant.connection("mirror", json!({})).await, tenant.connection("mirror", json!({})).await);
    let make = async |from: &str, to: &str| {
        let step = json!({ "connection": to, "action": "take", "mapping": "{thing: .data.thing}" });
        tenant.post("/v1/routes", json!({ "name": "r", "from": from, "event": "seen", "steps": [step] })).await
    };
    make(&lives, &over).await.ok();
    tenant.request(reqwest::Method::DELETE, &format!("/v1/connections/{over}"), None).await.ok();
    for (from, to) in [(&lives, &over), (&over, &lives)] {
        let refused = make(from, to).await;
        assert_eq!((refused.status, refused.body["code"].as_str()), (409, Some("disconnected")), "{refused:?}");
    }
    tenant.act(&lives, "see", json!({ "thing": "it" })).await;
    let runs = tenant.runs_until("", |runs| runs.len() == 2 && runs.iter().all(has_ended)).await;
    let routed = runs.iter().find(|run| run["target"] == "take").unwrap();
    assert!(
        routed["state"] != "succeeded" && routed["failure"]["message"].to_string().contains("disconnected"),
        "{routed:#}"
    );
}
