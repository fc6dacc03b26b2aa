//! What neighbours notice: the p99 of their trivial action, in quiet and beside each misbehaviour of the inventory, in
//! turns, on one host in one run.
//!
//! Ordinary test runs leave it out, because it takes minutes and times things: `cargo xtask test walls` runs it. The
//! attacker has as much as one tenant gets: three quarters of the workers, each asked anew as soon as it is free and once a
//! second at most, one after the other. (What floods and bursts of calls of the API do is no guest's doing.) What it costs
//! the tests to attack, and to be the provider that is asked, comes after all else on this machine. `WALLS_ONLY='loop|flood'`
//! times those alone.
//!
//! The rule is the issue's: beside an attack the p99 is at most twice the quiet one. Quiet is all that the windows without an
//! attack have shown lately, between the same rows; how far those windows' own p99s lie apart is printed, and no allowance.
//! A misbehaviour that is above it is timed once more when all others have been, in new windows against the quiet of then,
//! and is loud where it is above it both times. Both are printed.

#![allow(clippy::print_stdout, reason = "the table is what it is run for")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bulkhead_tests::{Host, PATIENCE};
use futures::future::join_all;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::inventory::{self, Attack, Misbehaviour};
use super::scene::{Attacker, Scene};
use crate::wait::{has_ended, until};

/// The neighbours are timed for so long; what comes before the attack is under way is not counted.
const WINDOW: Duration = Duration::from_secs(2);
const WARMING: Duration = Duration::from_millis(500);
const QUIET_WINDOW: Duration = Duration::from_millis(500);
/// Tenants that are timed, one call after the other each.
const NEIGHBOURS: usize = 2;
/// The niceness of whoever attacks.
const LEAST: i32 = 19;
/// A lane of the attacker's begins no sooner anew.
const LANE_BEAT: Duration = Duration::from_secs(1);
/// Actions and pulls at once: more than a tenant's share.
const LANES: usize = 32;
/// So many actions are one connection's. A pull goes on for as long as there are pages, and is its connection's alone.
const LANES_EACH: usize = 8;
/// What is no action and no pull, at once. What it costs to ask for that by the API, again and again until it is over, is not
/// the question here.
const OTHERS: usize = 4;
/// Components that one window takes at most.
const PREPARED: u32 = 12;
const MOST_RATIO: f64 = 2.0;
/// Above it a misbehaviour is timed so often in all, and everything seen counts.
const TIMES: usize = 3;
/// Quiet windows that count, the latest; as many come before the first attack.
const QUIET_WINDOWS: usize = 16;

/// How long calls took.
type Calls = Vec<Duration>;

/// Tenants on a thread and with connections to the host of their own: what it costs the tests to attack holds up none.
struct Neighbours(mpsc::UnboundedSender<(Duration, oneshot::Sender<Calls>)>);

/// What the latest windows without an attack showed.
struct Quiet(VecDeque<Calls>);

/// One line of the table.
struct Line {
    name: &'static str,
    /// What the attacker's runs came to, and how often.
    came: BTreeMap<String, usize>,
    quiet: Duration,
    apart: Duration,
    attacked: Duration,
    windows: usize,
    calls: usize,
}

/// Mutations: host/runtime/src/turns.rs, `Waiting::push`, all behind one another, or host/runtime/src/invoke.rs, `store`,
/// `UpdateDeadline::Continue(1)`: the loops are heard; host/store/src/writer.rs, `turn`, without the line, or
/// host/store/src/state.rs, `put_states`, a statement for each key: the floods of state are.
#[tokio::test]
#[ignore = "takes minutes and times things: `cargo xtask test walls` runs it"]
async fn a_neighbours_p99_stays_below_twice_its_quiet_value() {
    let only = std::env::var("WALLS_ONLY").unwrap_or_default();
    let is_meant = |name: &str| only.split('|').any(|part| name.contains(part));
    let mut scene = Scene::set(Host::builder()).await;
    scene.beat = LANE_BEAT;
    let attacker = scene.attacker("attacker").await.tenant;
    let neighbours = Neighbours::move_in(&scene).await;
    // The neighbours' thread has begun. On Linux this is the calling thread alone, with whoever attacks and whom they ask.
    rustix::process::setpriority_process(None, LEAST).unwrap();
    let mut quiet = Quiet::heard(&neighbours).await;
    let (mut timed, mut above, mut loud) = (0, Vec::new(), Vec::new());
    let all = inventory::all();
    println!("{:40} {:>9} {:>9} {:>9} {:>6}  came to", "misbehaviour", "quiet", "apart", "attacked", "ratio");
    for misbehaviour in all.iter().filter(|one| is_meant(one.name)) {
        let line = scene.timed(&neighbours, &attacker, misbehaviour, &mut quiet).await;
        // At once: should one of them end it, all before it are told.
        println!("{}", line.row());
        timed += 1;
        above.extend(line.is_loud().then_some(misbehaviour));
    }
    for misbehaviour in &above {
        let mut quiet = Quiet::heard(&neighbours).await;
        let line = scene.timed(&neighbours, &attacker, misbehaviour, &mut quiet).await;
        println!("{} (once more)", line.row());
        loud.extend(line.is_loud().then_some(line.name));
    }
    let (resident, most) = scene.memory();
    println!("walls: neighbours timed {timed}, above twice their quiet p99 {}, both times {}", above.len(), loud.len());
    println!("walls: host in memory {} MiB, at most {} MiB", resident >> 20, most >> 20);
    assert!(!scene.logged().contains("panicked"));
    assert!(loud.is_empty(), "a neighbour noticed: {loud:?}");
}

impl Line {
    fn ratio(&self) -> f64 {
        self.attacked.as_secs_f64() / self.quiet.as_secs_f64()
    }

    fn is_loud(&self) -> bool {
        self.ratio() > MOST_RATIO
    }

    fn row(&self) -> String {
        let came: Vec<_> = self.came.iter().map(|(code, count)| format!("{code} × {count}")).collect();
        let [quiet, apart, attacked] =
            [self.quiet, self.apart, self.attacked].map(|time| format!("{:.1} ms", time.as_secs_f64() * 1_000.0));
        let (loud, ratio) = (if self.is_loud() { " !" } else { "" }, format!("{:.2}", self.ratio()));
        let (name, calls, windows, came) = (self.name, self.calls, self.windows, came.join(", "));
        format!("{name:40} {quiet:>9} {apart:>9} {attacked:>9} {ratio:>6}{loud} ({calls} calls, {windows}) {came}")
    }
}

impl Quiet {
    async fn heard(neighbours: &Neighbours) -> Self {
        let mut quiet = Self(VecDeque::new());
        for _ in 0..QUIET_WINDOWS {
            quiet.listen(neighbours).await;
        }
        quiet
    }

    async fn listen(&mut self, neighbours: &Neighbours) {
        self.0.push_back(neighbours.timed(QUIET_WINDOW).await);
        if self.0.len() > QUIET_WINDOWS {
            self.0.pop_front();
        }
    }

    fn p99(&self) -> Duration {
        p99(self.0.iter().flatten())
    }

    /// Between the lower and the upper quarter of the windows' own.
    fn apart(&self) -> Duration {
        let mut each: Vec<_> = self.0.iter().map(p99).collect();
        each.sort_unstable();
        each[each.len() * 3 / 4].saturating_sub(each[each.len() / 4])
    }
}

impl Neighbours {
    async fn move_in(scene: &Scene) -> Self {
        let mut calls = Vec::new();
        for nth in 0..NEIGHBOURS {
            let neighbour = scene.attacker(&format!("neighbour {nth}")).await;
            let path = format!("/v1/connections/{}/actions/behave", neighbour.connection("hostile"));
            let client = Client::builder().no_proxy().build().unwrap();
            let url = format!("{}{path}?wait_ms={}", scene.host.url(), PATIENCE.as_millis());
            let call = client.post(url).bearer_auth(scene.host.operator_key());
            calls.push((call.header("bulkhead-tenant", &neighbour.tenant).json(&json!({ "said": "hello" })), client));
        }
        let (ask, mut asked) = mpsc::unbounded_channel::<(Duration, oneshot::Sender<Calls>)>();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                while let Some((window, told)) = asked.recv().await {
                    let took = join_all(calls.iter().map(|(call, _)| served(call, window))).await.concat();
                    let _ = told.send(took);
                }
            });
        });
        Self(ask)
    }

    /// How long each of their calls takes, for so long.
    async fn timed(&self, window: Duration) -> Calls {
        let (told, took) = oneshot::channel();
        self.0.send((window, told)).unwrap();
        took.await.expect("the neighbours are served")
    }
}

async fn served(call: &reqwest::RequestBuilder, window: Duration) -> Calls {
    let (began, mut took) = (Instant::now(), Vec::new());
    while began.elapsed() < window {
        let asked = Instant::now();
        let answer = call.try_clone().unwrap().send().await.unwrap().bytes().await.unwrap();
        took.push(asked.elapsed());
        let run: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(run["output"], json!({ "said": "hello" }), "{run:#}");
    }
    took
}

impl Scene {
    /// A window beside the misbehaviour; two more where that one is above the mark. Quiet is listened to after each.
    async fn timed(
        &self,
        neighbours: &Neighbours,
        attacker: &str,
        misbehaviour: &Misbehaviour,
        quiet: &mut Quiet,
    ) -> Line {
        let (came, begun, attack) = (Mutex::new(BTreeMap::new()), AtomicUsize::new(0), &misbehaviour.attack);
        let (mut crowd, mut calls, mut windows) = (Vec::new(), Vec::new(), 0);
        // Of its own: what an attack before this one has used up is used up.
        let (connections, lanes_each) = crowd_of(attack);
        for _ in 0..connections {
            crowd.push(self.anew(attacker, attack).await);
        }
        loop {
            self.prepare(attack, PREPARED);
            tokio::select! {
                () = self.rage(&crowd, attack, &begun, &came) => unreachable!("the attack never ends"),
                window = async { tokio::time::sleep(WARMING).await; neighbours.timed(WINDOW).await } => calls.extend(window),
            }
            windows += 1;
            // Who attacks comes after all else on this machine, but comes.
            let (begun, lanes) = (begun.swap(0, Ordering::Relaxed), connections * lanes_each);
            assert!(begun >= lanes, "{}: {begun} attacks began in {lanes} lanes", misbehaviour.name);
            self.calms_down(attacker).await;
            quiet.listen(neighbours).await;
            let came = came.lock().unwrap().clone();
            let (name, quiet, apart, attacked) = (misbehaviour.name, quiet.p99(), quiet.apart(), p99(&calls));
            let line = Line { name, came, quiet, apart, attacked, windows, calls: calls.len() };
            if windows == TIMES || !line.is_loud() {
                return line;
            }
        }
    }

    /// The attack, in every lane that the tenant gets, for ever.
    async fn rage(
        &self,
        crowd: &[Attacker],
        attack: &Attack,
        begun: &AtomicUsize,
        came: &Mutex<BTreeMap<String, usize>>,
    ) {
        let (_, lanes_each) = crowd_of(attack);
        let lanes: Vec<_> =
            crowd.iter().flat_map(|attacker| (0..lanes_each).map(move |lane| (attacker, lane))).collect();
        let apart = LANE_BEAT / u32::try_from(lanes.len()).unwrap();
        let raging = lanes.into_iter().zip(0..).map(async |((attacker, lane), place)| {
            tokio::time::sleep(apart * place).await;
            for nth in lane.. {
                let again = tokio::time::sleep(LANE_BEAT);
                begun.fetch_add(1, Ordering::Relaxed);
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
        for state in ["queued", "parked", "running"] {
            loop {
                let open = tenant.get(&format!("/v1/runs?limit=200&state={state}")).await.ok();
                let open = open["items"].as_array().unwrap();
                let ids = open.iter().filter_map(|run| run["id"].as_str());
                join_all(ids.map(async |id| tenant.post(&format!("/v1/runs/{id}/cancel"), json!({})).await)).await;
                // What runs is in one list, and hears of it later.
                if open.is_empty() || state == "running" {
                    break;
                }
            }
        }
        tenant.runs_until("", |runs| runs.iter().all(has_ended)).await;
        until(|| !self.compiles()).await;
    }
}

/// How many connections, and lanes of each.
fn crowd_of(attack: &Attack) -> (usize, usize) {
    match attack {
        Attack::Act { .. } => (LANES / LANES_EACH, LANES_EACH),
        Attack::Pull { .. } => (LANES, 1),
        _ => (OTHERS, 1),
    }
}

/// The 99th percentile.
fn p99<'a>(calls: impl IntoIterator<Item = &'a Duration>) -> Duration {
    let mut calls: Vec<_> = calls.into_iter().copied().collect();
    calls.sort_unstable();
    calls[(calls.len() * 99).div_ceil(100) - 1]
}
