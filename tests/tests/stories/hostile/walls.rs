//! What a neighbour notices: the p99 of its trivial action, first in quiet and then beside each misbehaviour of the
//! inventory, on one host in one run.
//!
//! Ordinary test runs leave it out, because it takes minutes and times things: `cargo xtask test walls` runs it. The
//! attacker has as much as one tenant gets: three quarters of the workers, each asked anew as soon as it is free and once a
//! second at most. (What a flood of calls of the API does is no guest's doing.) `WALLS_ONLY='loop|flood'` times those alone.

#![allow(clippy::print_stdout, reason = "the table is what it is run for")]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bulkhead_tests::{Host, Tenant};
use futures::future::join_all;
use serde_json::json;

use super::inventory::{self, Attack, Misbehaviour};
use super::scene::{Attacker, Scene};
use crate::wait::has_ended;

/// The neighbour is timed for so long; what comes before the attack is under way is not counted.
const WINDOW: Duration = Duration::from_secs(2);
const WARMING: Duration = Duration::from_millis(700);
/// Between two calls of the neighbour's.
const PAUSE: Duration = Duration::from_millis(5);
/// A lane of the attacker's begins no sooner anew.
const LANE_BEAT: Duration = Duration::from_secs(1);
/// So many connections of eight lanes each: more than a tenant's share.
const CONNECTIONS: usize = 4;
const LANES_EACH: usize = 8;
/// What is no action and no pull, at once.
const OTHERS: usize = 4;
/// What a busy machine of two cores adds to anybody's p99 without any attack: below quiet plus this nothing is said.
const JITTER: Duration = Duration::from_millis(5);
const MOST_RATIO: f64 = 2.0;
/// Above it a misbehaviour is timed so often in all, and the middle counts.
const TIMES: usize = 3;
const QUIET_WINDOWS: usize = 9;

/// One line of the table.
struct Line {
    name: &'static str,
    /// What the attacker's runs came to, and how often.
    came: BTreeMap<String, usize>,
    attacked: Duration,
    windows: usize,
}

/// Mutations: host/runtime/src/executor.rs, `POLLS_BEFORE_OTHERS`, tokio's own 61, or host/runtime/src/invoke.rs, `store`,
/// `UpdateDeadline::Continue(1)`: the loops are heard; host/store/src/writer.rs, `turn`, without the line, or
/// host/store/src/state.rs, `put_states`, a statement for each key: the floods of state are.
#[tokio::test]
#[ignore = "takes minutes and times things: `cargo xtask test walls` runs it"]
async fn a_neighbours_p99_stays_below_twice_its_quiet_value() {
    let only = std::env::var("WALLS_ONLY").unwrap_or_default();
    let is_meant = |name: &str| only.split('|').any(|part| name.contains(part));
    let scene = Scene::set(Host::builder()).await;
    let neighbour = scene.attacker("neighbour").await;
    let attacker = scene.attacker("attacker").await.tenant;
    let quiet = scene.quiet(&neighbour).await;
    let mut lines = Vec::new();
    println!("{:44} {:>9} {:>9} {:>6}  came to", "misbehaviour", "quiet", "attacked", "ratio");
    for misbehaviour in inventory::all().iter().filter(|one| is_meant(one.name)) {
        let line = scene.timed(&neighbour, &attacker, misbehaviour, quiet).await;
        // At once: should one of them end it, all before it are told.
        println!("{}", line.row(quiet));
        lines.push(line);
    }
    let (resident, most) = scene.memory();
    let loud: Vec<_> = lines.iter().filter(|line| line.is_loud(quiet)).map(|line| line.name).collect();
    println!("walls: neighbours timed {}, above twice their quiet p99 {}", lines.len(), loud.len());
    println!("walls: host in memory {} MiB, at most {} MiB", resident >> 20, most >> 20);
    assert!(!scene.logged().contains("panicked"));
    assert!(loud.is_empty(), "a neighbour noticed: {loud:?}");
}

impl Line {
    fn ratio(&self, quiet: Duration) -> f64 {
        self.attacked.as_secs_f64() / quiet.as_secs_f64()
    }

    fn is_loud(&self, quiet: Duration) -> bool {
        self.ratio(quiet) > MOST_RATIO && self.attacked > quiet + JITTER
    }

    fn row(&self, quiet: Duration) -> String {
        let came: Vec<_> = self.came.iter().map(|(code, count)| format!("{code} × {count}")).collect();
        let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1_000.0);
        let (loud, windows) = (if self.is_loud(quiet) { " !" } else { "" }, self.windows);
        let ratio = format!("{:.2}", self.ratio(quiet));
        format!(
            "{:44} {:>9} {:>9} {ratio:>6}{loud} ({windows}) {}",
            self.name,
            ms(quiet),
            ms(self.attacked),
            came.join(", ")
        )
    }
}

impl Scene {
    async fn quiet(&self, neighbour: &Attacker) -> Duration {
        let mut found = Vec::new();
        for _ in 0..QUIET_WINDOWS {
            found.push(self.p99(neighbour).await);
        }
        middle(&found)
    }

    /// A window beside the misbehaviour; two more where that one is above the mark.
    async fn timed(&self, neighbour: &Attacker, attacker: &str, misbehaviour: &Misbehaviour, quiet: Duration) -> Line {
        let came = Mutex::new(BTreeMap::new());
        let (mut crowd, mut windows) = (Vec::new(), Vec::new());
        // Of its own: what an attack before this one has used up is used up.
        for _ in 0..CONNECTIONS {
            crowd.push(self.anew(attacker, &misbehaviour.attack).await);
        }
        while windows.is_empty() || windows.len() < TIMES && loud(&windows, quiet) {
            tokio::select! {
                () = self.rage(&crowd, &misbehaviour.attack, &came) => unreachable!("the attack never ends"),
                window = async { tokio::time::sleep(WARMING).await; self.p99(neighbour).await } => windows.push(window),
            }
            self.calms_down(attacker).await;
        }
        let came = came.into_inner().unwrap();
        Line { name: misbehaviour.name, came, attacked: middle(&windows), windows: windows.len() }
    }

    /// The attack, in every lane that the tenant gets, for ever.
    async fn rage(&self, crowd: &[Attacker], attack: &Attack, came: &Mutex<BTreeMap<String, usize>>) {
        // The rest is asked for by the API again and again until it is over, and what that costs is not the question here.
        let waits = matches!(attack, Attack::Act { .. } | Attack::Pull { .. });
        let lanes = if waits { LANES_EACH } else { OTHERS / CONNECTIONS };
        let lanes = crowd.iter().flat_map(|attacker| (0..lanes).map(move |lane| (attacker, lane)));
        let raging = lanes.map(async |(attacker, lane)| {
            for nth in lane.. {
                let again = tokio::time::sleep(LANE_BEAT);
                let code = self.suffer(attacker, attack, nth).await.code;
                *came.lock().unwrap().entry(code).or_default() += 1;
                again.await;
            }
        });
        join_all(raging).await;
    }

    /// Nothing of the attacker's is left to be done.
    async fn calms_down(&self, attacker: &str) {
        let tenant = self.host.tenant_by_id(attacker);
        for state in ["queued", "running", "parked"] {
            let open = tenant.get(&format!("/v1/runs?limit=200&state={state}")).await.ok();
            let ids = open["items"].as_array().unwrap().iter().filter_map(|run| run["id"].as_str());
            join_all(ids.map(async |id| tenant.post(&format!("/v1/runs/{id}/cancel"), json!({})).await)).await;
        }
        tenant.runs_until("", |runs| runs.iter().all(has_ended)).await;
    }

    /// The 99th percentile of how long the neighbour waits for its action.
    async fn p99(&self, neighbour: &Attacker) -> Duration {
        let tenant = self.host.tenant_by_id(&neighbour.tenant);
        let (began, mut took) = (Instant::now(), Vec::new());
        while began.elapsed() < WINDOW {
            took.push(is_served(&tenant, neighbour).await);
            tokio::time::sleep(PAUSE).await;
        }
        took.sort_unstable();
        took[(took.len() * 99).div_ceil(100) - 1]
    }
}

async fn is_served(tenant: &Tenant<'_>, neighbour: &Attacker) -> Duration {
    let began = Instant::now();
    let run = tenant.act(neighbour.connection("hostile"), "behave", json!({ "said": "hello" })).await;
    assert_eq!(run["output"], json!({ "said": "hello" }), "{run:#}");
    began.elapsed()
}

fn loud(windows: &[Duration], quiet: Duration) -> bool {
    let found = middle(windows);
    found.as_secs_f64() / quiet.as_secs_f64() > MOST_RATIO && found > quiet + JITTER
}

fn middle(found: &[Duration]) -> Duration {
    let mut found = found.to_vec();
    found.sort_unstable();
    found[found.len() / 2]
}
