//! `cargo xtask bench ingress`: webhooks from Stripe, each verified, on disk and in line before it hears 200.
//!
//! Beside it, in turns and in the same process, an axum handler that only inserts the body, with a commit that is shared.
//! First as fast as a fixed number of connections goes; then at half of what that gave, each request at its time.
//!
//! The figure of the last line is ingress alone: nobody works on what comes in. The rows say what else was measured.
//! `-- --quick` takes a look only.

#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a bench shows what it measured with real clocks, and fails by panicking"
)]

#[path = "ingress/bare.rs"]
mod bare;
#[path = "ingress/client.rs"]
mod client;
#[path = "ingress/host.rs"]
mod host;
mod measure;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use bulkhead_runtime::{CompilerCommand, Runtime, RuntimeConfig};
use bytes::Bytes;
use serde_json::{Value, json};
use simulated_providers::{ChargeRequest, Stripe, StripeConfig, stripe_signature};
use tokio::runtime::Builder;

use self::bare::Bare;
use self::host::Host;
use self::measure::{
    Latencies, Table, cpu_time, finish, is_quick, median, micros, millis, rounded, say_machine, spread,
};

const TARGET: f64 = 0.6;
const P99_TARGET_MS: f64 = 20.0;
const COMPILE: &str = "compile-component";
const CONNECTIONS: usize = 64;

/// How much is measured.
struct Plan {
    rounds: usize,
    /// Requests of each side per round.
    requests: usize,
    /// How long half load lasts.
    half: Duration,
}

/// Who takes the requests.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Ours,
    Bare,
    OursWorking,
    OursLogging,
}

impl Side {
    const ALL: [Self; 4] = [Self::Ours, Self::Bare, Self::OursWorking, Self::OursLogging];

    fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours, workers off",
            Self::Bare => "bare, one insert",
            Self::OursWorking => "ours, workers on",
            Self::OursLogging => "ours, workers off, log at info",
        }
    }
}

/// Everything that listens, and what sends.
struct Arena {
    bare: Bare,
    ours: Host,
    working: Host,
    logged: Host,
    events: Events,
    _stripe: Stripe,
    /// By side: requests that were answered with success.
    taken: [u64; 4],
    client: tokio::runtime::Runtime,
    servers: tokio::runtime::Runtime,
    /// Whose threads write a log.
    logging: tokio::runtime::Runtime,
}

/// What one side did.
#[derive(Default)]
struct Tally {
    latencies: Latencies,
    rates: Vec<f64>,
    /// What the process computed meanwhile, for the client too.
    cpu: Duration,
}

/// One round.
struct Sent {
    latencies: Latencies,
    took: Duration,
    cpu: Duration,
}

/// Half load.
struct Half {
    side: Side,
    offered: f64,
    latencies: Latencies,
}

fn main() -> ExitCode {
    // Before any thread exists: the sandbox compiles in a process of its own, which is this program again.
    if std::env::args().nth(1).is_some_and(|first| first == COMPILE) {
        return bulkhead_runtime::compile_main();
    }
    let plan = if is_quick() {
        Plan { rounds: 2, requests: 200, half: Duration::from_secs(1) }
    } else {
        Plan { rounds: 7, requests: 4_000, half: Duration::from_secs(10) }
    };
    say_machine();
    let mut arena = Arena::open();
    // Caches fill, statements are prepared, files grow.
    for side in Side::ALL {
        arena.round(side, plan.requests / 4, None);
    }
    let mut tallies: [Tally; 4] = Default::default();
    for round in 0..plan.rounds {
        for turn in 0..tallies.len() {
            // Nobody is always the one who comes after the others.
            let place = (turn + round) % Side::ALL.len();
            let (Some(side), Some(tally)) = (Side::ALL.get(place), tallies.get_mut(place)) else { continue };
            let Sent { latencies, took, cpu } = arena.round(*side, plan.requests, None);
            tally.cpu += cpu;
            tally.rates.push(latencies.len() as f64 / took.as_secs_f64());
            tally.latencies.extend(&latencies);
        }
    }
    let rates = Side::ALL.map(|side| median(&tallies[side as usize].rates));
    let half = |side: Side| rates[side as usize] / 2.0;
    let offers =
        [(Side::Ours, half(Side::Ours)), (Side::Bare, half(Side::Ours)), (Side::OursWorking, half(Side::OursWorking))];
    let halves = offers.map(|(side, offered)| {
        let count = (offered * plan.half.as_secs_f64()) as usize;
        let sent = arena.round(side, count, Some(offered));
        Half { side, offered, latencies: sent.latencies }
    });
    arena.check();
    report(&tallies, &halves);
    ExitCode::SUCCESS
}

impl Arena {
    fn open() -> Self {
        let servers = Builder::new_multi_thread().enable_all().build().expect("a runtime for servers");
        let logging = Builder::new_multi_thread().enable_all().on_thread_start(log_here).build();
        let logging = logging.expect("a runtime for a server that logs");
        let client = Builder::new_current_thread().enable_all().build().expect("a runtime for the client");
        let stripe = servers.block_on(Stripe::start(StripeConfig::default()));
        let connector = std::fs::read(bulkhead_tests::component("stripe")).expect("the connector is built");
        let artifacts = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder for artifacts");
        let compiler = CompilerCommand::this_executable([COMPILE]).expect("this program knows where it is");
        let sandbox = Runtime::start(RuntimeConfig::new(artifacts.path(), [7; 32], compiler));
        let sandbox = sandbox.expect("the sandbox starts");
        let start = || Host::start(sandbox.clone(), &stripe, &connector);
        Self {
            bare: servers.block_on(Bare::start()),
            ours: servers.block_on(start()),
            working: servers.block_on(start()),
            logged: logging.block_on(start()),
            events: Events::like_those_of(&stripe),
            taken: [0; 4],
            _stripe: stripe,
            client,
            servers,
            logging,
        }
    }

    /// Signs new events and sends them.
    fn round(&mut self, side: Side, count: usize, per_second: Option<f64>) -> Sent {
        let (address, path) = match side {
            Side::Bare => (self.bare.address, bare::PATH),
            Side::Ours => (self.ours.address, self.ours.path.as_str()),
            Side::OursWorking => (self.working.address, self.working.path.as_str()),
            Side::OursLogging => (self.logged.address, self.logged.path.as_str()),
        };
        let requests = self.events.signed(address, path, count);
        if side == Side::OursWorking {
            let _inside = self.servers.enter();
            self.working.work();
        }
        let before = cpu_time();
        let (latencies, took) = self.client.block_on(client::send(address, requests, CONNECTIONS, per_second));
        let cpu = cpu_time().saturating_sub(before);
        if side == Side::OursWorking {
            self.servers.block_on(self.working.rest());
        }
        if let Some(taken) = self.taken.get_mut(side as usize) {
            *taken += count as u64;
        }
        Sent { latencies, took, cpu }
    }

    /// Every success is on disk, and only those. Where somebody works, what came in is no longer all in line.
    fn check(&self) {
        let [ours, bare, _, logged] = self.taken;
        let on_disk = self.servers.block_on(async { [self.ours.in_line().await, self.bare.kept().await] });
        assert_eq!(on_disk, [ours, bare], "on disk, and answered with success");
        assert_eq!(self.logging.block_on(self.logged.in_line()), logged, "on disk, and answered with success");
    }
}

/// Events as Stripe makes them, each with its own id and about a payment of its own.
struct Events {
    template: Value,
    made: u64,
}

impl Events {
    fn like_those_of(stripe: &Stripe) -> Self {
        let customer = stripe.add_customer("Ada", "ada@example.com").expect("Stripe takes the customer");
        let charge = ChargeRequest {
            customer: Some(customer),
            amount_minor: 12_300,
            currency: "usd".to_owned(),
            description: Some("Invoice 1001".to_owned()),
            ..ChargeRequest::default()
        };
        stripe.charge(&charge).expect("the card is good");
        let is_wanted = |event: &Value| event.get("type").is_some_and(|kind| kind == "payment_intent.succeeded");
        let template = stripe.events().into_iter().find(is_wanted).expect("the payment caused its event");
        Self { template, made: 0 }
    }

    fn signed(&mut self, address: SocketAddr, path: &str, count: usize) -> Vec<Bytes> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970");
        let now = i64::try_from(now.as_secs()).expect("a time that Stripe can write");
        let secrets = [host::SECRET.to_owned()];
        let mut requests = Vec::with_capacity(count);
        for _ in 0..count {
            self.made += 1;
            let mut event = self.template.clone();
            event["id"] = json!(format!("evt_3Bench{:016}", self.made));
            event["data"]["object"]["id"] = json!(format!("pi_3Bench{:016}", self.made));
            let body = event.to_string();
            requests.push(client::post(address, path, &stripe_signature(&secrets, now, body.as_bytes()), &body));
        }
        requests
    }
}

/// This thread writes what `bulkhead serve` would, to where nobody reads it.
fn log_here() {
    let lines = tracing_subscriber::fmt().with_env_filter("info").with_writer(std::io::sink).finish();
    // For as long as the thread lives.
    std::mem::forget(tracing::subscriber::set_default(lines));
}

fn report(tallies: &[Tally; 4], halves: &[Half; 3]) {
    let [ours, bare, ..] = tallies;
    let rate = |tally: &Tally| median(&tally.rates);
    println!("\nsigned webhook → verified → on disk and in line → 200, SQLite, {CONNECTIONS} connections\n");
    let mut table = Table::new(["as fast as it goes", "requests/s", "× bare", "p50 ms", "p99 ms", "CPU µs"]);
    for (side, tally) in Side::ALL.iter().zip(tallies) {
        let [p50, p99] = tally.latencies.at([0.5, 0.99]).map(|took| format!("{:.1}", millis(took)));
        let part = format!("{:.2}", rate(tally) / rate(bare));
        let cpu = format!("{:.0}", micros(tally.cpu) / tally.latencies.len() as f64);
        table.row([side.name().to_owned(), format!("{:.0}", rate(tally)), part, p50, p99, cpu]);
    }
    table.print();
    let by_round: Vec<f64> = ours.rates.iter().zip(&bare.rates).map(|(ours, bare)| ours / bare).collect();
    let (least, most) = spread(&by_round);
    println!("ratio by round: {least:.2} to {most:.2}\n");
    let mut table = Table::new(["at half load, each at its time", "requests/s", "p50 ms", "p99 ms", "most ms"]);
    for half in halves {
        let figures = half.latencies.at([0.5, 0.99, 1.0]).map(|took| format!("{:.1}", millis(took)));
        let [p50, p99, most] = figures;
        table.row([half.side.name().to_owned(), format!("{:.0}", half.offered), p50, p99, most]);
    }
    table.print();
    println!("a timer of the client's may add a millisecond to each\n");
    println!("targets: at least {TARGET} × bare, p99 at half load under {P99_TARGET_MS} ms");
    let [half, ..] = halves;
    finish(&json!({
        "bench": "ingress",
        "ours": rounded(rate(ours), 0),
        "bare": rounded(rate(bare), 0),
        "ratio": rounded(rate(ours) / rate(bare), 3),
        "p99_ms_at_half_load": rounded(millis(half.latencies.at([0.99])[0]), 1),
        "target": TARGET,
        "p99_target_ms": P99_TARGET_MS,
        "workers_on": rounded(rate(&tallies[Side::OursWorking as usize]), 0),
    }));
}
