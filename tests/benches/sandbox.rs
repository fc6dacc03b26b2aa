//! `cargo xtask bench sandbox`: one `act` on the smallest connector, in our sandbox and in bare wasmtime.
//!
//! Both get a fresh store with its limits, instantiate, call, and drop it all, in this one process and in turns. What we
//! do besides (a slot, meters, a log, checks of what comes back) is what the ratio shows. We do it as a worker of the engine
//! does; the rows "on another thread" show what it costs a run to go to the guests' own threads and back, as one does that
//! needs more.
//!
//! Fails above the target; `-- --quick` only takes a look.

#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a bench shows what it measured with real clocks, and fails by panicking"
)]

#[path = "sandbox/bare.rs"]
mod bare;
mod measure;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bulkhead_runtime::{
    ActOutcome, Asker, CompilerCommand, Facts, Finished, Invocation, Limits, NoPorts, Operation, Produced, Runtime,
    RuntimeConfig,
};
use serde_json::json;
use tokio::runtime::{Builder, Handle};

use self::bare::Bare;
use self::measure::{Latencies, Table, cpu_time, finish, is_quick, median, micros, rounded, say_machine, spread};

const TARGET: f64 = 1.5;
const COMPILE: &str = "compile-component";
const ACTION: &str = "greet";
const INPUT: &str = r#"{"name":"Ada"}"#;
const OUTPUT: &str = r#"{"text":"Hello, Ada!"}"#;
/// Callers at once, for the rows with many.
const MANY: usize = 16;

/// How much is measured.
struct Plan {
    rounds: usize,
    /// Calls of each side per round, one after the other, and by many callers at once.
    alone: usize,
    together: usize,
}

/// Who does it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Ours,
    Bare,
    /// Ours, but on the guests' threads.
    OursElsewhere,
    /// Bare, but on a runtime of its own.
    BareElsewhere,
}

const SIDES: [Side; 4] = [Side::Ours, Side::Bare, Side::OursElsewhere, Side::BareElsewhere];
const NAMES: [&str; 4] = ["ours", "bare wasmtime", "ours, on another thread", "bare, on another thread"];

struct Contest {
    ours: Runtime,
    invocation: Invocation,
    bare: Arc<Bare>,
    elsewhere: Handle,
}

/// What one side did in one way.
#[derive(Default)]
struct Tally {
    latencies: Latencies,
    /// Of each round: the median in microseconds, and operations per second.
    medians: Vec<f64>,
    rates: Vec<f64>,
    /// What the process computed meanwhile.
    cpu: Duration,
}

fn main() -> ExitCode {
    // Before any thread exists: the sandbox compiles in a process of its own, which is this program again.
    if std::env::args().nth(1).is_some_and(|first| first == COMPILE) {
        return bulkhead_runtime::compile_main();
    }
    let plan = if is_quick() {
        Plan { rounds: 2, alone: 20, together: 64 }
    } else {
        Plan { rounds: 24, alone: 1_000, together: 2_000 }
    };
    say_machine();
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    // As many threads as the engine's workers have.
    let runtime = Builder::new_multi_thread().worker_threads(cores + 1).enable_all().build().expect("a runtime");
    let elsewhere = Builder::new_multi_thread().worker_threads(cores).build().expect("another runtime");
    let contest = Arc::new(runtime.block_on(prepare(elsewhere.handle().clone())));
    let mut alone: [Tally; 4] = Default::default();
    let mut together: [Tally; 4] = Default::default();
    for round in 0..plan.rounds {
        for turn in 0..SIDES.len() {
            // Nobody is always the one who comes after the others.
            let place = (turn + round) % SIDES.len();
            let Some(side) = SIDES.get(place).copied() else { continue };
            let _ticking = matches!(side, Side::Bare | Side::BareElsewhere).then(|| contest.bare.tick());
            for (tallies, callers, calls) in [(&mut alone, 1, plan.alone), (&mut together, MANY, plan.together)] {
                let before = cpu_time();
                let (latencies, took) = runtime.block_on(measured(&contest, side, callers, calls));
                let Some(tally) = tallies.get_mut(place) else { continue };
                tally.cpu += cpu_time().saturating_sub(before);
                tally.medians.push(micros(latencies.at([0.5])[0]));
                tally.rates.push(latencies.len() as f64 / took.as_secs_f64());
                tally.latencies.extend(&latencies);
            }
        }
    }
    let ratio = report(&alone, &together);
    elsewhere.shutdown_background();
    if ratio <= TARGET || is_quick() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The component in both, and one call of each to see that they do the same.
async fn prepare(elsewhere: Handle) -> Contest {
    let wasm = std::fs::read(bulkhead_tests::component("hello")).expect("the smallest connector is built");
    let artifacts = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder for artifacts");
    let compiler = CompilerCommand::this_executable([COMPILE]).expect("this program knows where it is");
    let settings = RuntimeConfig::new(artifacts.path(), [7; 32], compiler);
    let bare = Arc::new(Bare::new(&wasm, settings.slots, INPUT).expect("bare wasmtime takes the component"));
    let ours = Runtime::start(settings).expect("the sandbox starts");
    let digest = ours.compile(&wasm.clone().into(), Asker::Run).await.expect("the component compiles");
    let loaded = ours.load(&digest).await.expect("the component loads");
    let operation = Operation::Act { action: ACTION.to_owned(), input: INPUT.to_owned(), resume: None };
    let invocation = Invocation {
        loaded,
        operation,
        whose: 0,
        limits: Limits::default(),
        seed: [0; 32],
        clock_ms: 1_700_000_000_000,
        ports: Arc::new(NoPorts),
        facts: Facts::default(),
        state_read_only: true,
    };
    let contest = Contest { ours, invocation, bare, elsewhere };
    let _ticking = contest.bare.tick();
    for side in SIDES {
        assert_eq!(contest.call(side).await.as_deref(), Some(OUTPUT));
    }
    contest
}

impl Contest {
    /// One `act`, from asking to the answer.
    async fn call(&self, side: Side) -> Option<String> {
        match side {
            Side::Ours => said(self.ours.invoke_here(self.invocation.clone()).await),
            Side::OursElsewhere => said(self.ours.invoke(self.invocation.clone()).await),
            Side::Bare => self.bare.act(ACTION).await.ok()?,
            Side::BareElsewhere => {
                let bare = Arc::clone(&self.bare);
                self.elsewhere.spawn(async move { bare.act(ACTION).await.ok()? }).await.ok()?
            }
        }
    }
}

fn said(finished: Finished) -> Option<String> {
    match finished.result {
        Ok(Produced::Acted(ActOutcome::Done(output))) => Some(output.value),
        _ => None,
    }
}

/// So many callers at once, each asking again as soon as it is answered.
async fn measured(contest: &Arc<Contest>, side: Side, callers: usize, calls: usize) -> (Latencies, Duration) {
    let began = Instant::now();
    let each = calls / callers;
    let asking: Vec<_> = (0..callers)
        .map(|_| {
            let contest = Arc::clone(contest);
            tokio::spawn(async move {
                let mut latencies = Latencies::with_capacity(each);
                for _ in 0..each {
                    let asked = Instant::now();
                    let answer = contest.call(side).await;
                    latencies.add(asked.elapsed());
                    assert!(answer.is_some(), "a call failed");
                }
                latencies
            })
        })
        .collect();
    let mut all = Latencies::with_capacity(calls);
    for caller in asking {
        all.extend(&caller.await.expect("a caller finishes"));
    }
    (all, began.elapsed())
}

/// Prints everything, and gives the ratio that the target is about.
fn report(alone: &[Tally; 4], together: &[Tally; 4]) -> f64 {
    println!("\none `act`: store, limits, instantiate, call, drop\n");
    let mut table = Table::new(["", "p50 µs", "p90 µs", "p99 µs", "CPU µs", "ops/s"]);
    for (callers, tallies) in [(1, alone), (MANY, together)] {
        for (name, tally) in NAMES.iter().zip(tallies) {
            let [p50, p90, p99] = tally.latencies.at([0.5, 0.9, 0.99]).map(|took| format!("{:.1}", micros(took)));
            let cpu = format!("{:.1}", micros(tally.cpu) / tally.latencies.len() as f64);
            let rate = format!("{:.0}", median(&tally.rates));
            table.row([format!("{callers} at a time, {name}"), p50, p90, p99, cpu, rate]);
        }
    }
    table.print();
    let [ours, bare, ours_elsewhere, bare_elsewhere] = alone;
    let ratios = |ours: &Tally, other: &Tally| -> Vec<f64> {
        ours.medians.iter().zip(&other.medians).map(|(ours, other)| ours / other).collect()
    };
    let (least, most) = spread(&ratios(ours, bare));
    let [many_ours, many_bare, ..] = together;
    let by_rate = median(&many_bare.rates) / median(&many_ours.rates);
    println!("\nratio by round, 1 at a time: {least:.2} to {most:.2}");
    println!("ratio on another thread: {:.2}", median(&ratios(ours_elsewhere, bare_elsewhere)));
    println!("ratio of time per call, {MANY} at a time: {by_rate:.2}");
    let (ours, bare) = (micros(ours.latencies.at([0.5])[0]), micros(bare.latencies.at([0.5])[0]));
    println!("target: at most {TARGET} × bare wasmtime");
    finish(&json!({
        "bench": "sandbox",
        "ours": rounded(ours, 1),
        "bare": rounded(bare, 1),
        "ratio": rounded(ours / bare, 3),
        "target": TARGET,
        "ratio_of_throughput": rounded(by_rate, 3),
    }));
    ours / bare
}
