//! `cargo xtask demo`: the main job, told as it happens. With `--once` it ends with a summary as JSON.
//!
//! Everything runs for real: the host is its own process, the providers are simulated servers on loopback, and every
//! figure is read from what the providers saw.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a command that tells what it does, in real time"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::panic;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bulkhead_tests::shop::{STRIPE_KEY, Sale, Shop, Told};
use bulkhead_tests::{Host, PATIENCE};
use serde_json::{Value, json};
use simulated_providers::{DeliveryPlan, DeliveryRecord, Order};

/// Invoices that are paid.
const SALES: usize = 12;
/// How often Stripe sends each event.
const COPIES: u32 = 2;
/// A busy shop: a payment every so often. QuickBooks itself takes no more than ten requests a second.
const PACE: Duration = Duration::from_millis(150);
/// From a webhook to its payment, at the slowest.
const LONGEST_MS: f64 = 1_000.0;

#[tokio::main]
async fn main() -> ExitCode {
    // Where the story cannot go on, the sentence that says why is enough.
    panic::set_hook(Box::new(|broken| eprintln!("\nThe demo stops here: {}", broken.payload_as_str().unwrap_or("?"))));
    let once = std::env::args().skip(1).any(|argument| argument == "--once");
    let mut story = Story { began: Instant::now() };
    story.say("A signed Stripe webhook becomes a QuickBooks payment, through two sandboxed connectors.");
    let shop = Shop::open(Host::builder().aloud().set("BULKHEAD_LOG", "warn"), &mut story).await;
    let summary = business(&shop, &story).await;
    let code = if summary.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if !once {
        println!("\n{}", summary.json());
        look_around(&shop).await;
    } else {
        println!("{}", summary.json());
    }
    code
}

/// What the terminal shows.
struct Story {
    began: Instant,
}

impl Story {
    fn say(&self, text: &str) {
        println!("\n{text}");
    }

    fn line(&self, what: &str, detail: &str) {
        println!("{:>7.2} s  {what:<24} {detail}", self.began.elapsed().as_secs_f64());
    }
}

impl Told for Story {
    fn step(&mut self, what: &str, detail: &str) {
        self.line(what, detail);
    }
}

/// What came of it.
struct Summary {
    webhooks: usize,
    runs: usize,
    sales: usize,
    payments: usize,
    duplicates: usize,
    /// From a webhook's last byte to QuickBooks' answer, sorted.
    waits_ms: Vec<f64>,
}

impl Summary {
    fn is_good(&self) -> bool {
        let fast = self.wait_ms(0.99).is_some_and(|ms| ms < LONGEST_MS);
        fast && self.payments == self.sales && self.duplicates == 0 && self.waits_ms.len() == self.sales
    }

    fn wait_ms(&self, share: f64) -> Option<f64> {
        let last = self.waits_ms.len().saturating_sub(1);
        let index = ((last as f64) * share).round() as usize;
        self.waits_ms.get(index).map(|ms| (ms * 10.0).round() / 10.0)
    }

    fn json(&self) -> Value {
        json!({
            "webhooks": self.webhooks, "runs": self.runs, "payments": self.payments, "invoices_paid": self.sales,
            "duplicates": self.duplicates, "p50_ms": self.wait_ms(0.5), "p99_ms": self.wait_ms(0.99),
        })
    }
}

/// A sale that is paid, and by what.
struct Paid<'s> {
    sale: &'s Sale,
    payment_intent: String,
}

async fn business(shop: &Shop, story: &Story) -> Summary {
    story.say("The shop sells: customers and invoices on both sides, linked.");
    shop.stripe.hold_deliveries();
    let mut sales = Vec::new();
    for number in 1..=SALES {
        let sale = shop.sell(number).await;
        let detail =
            format!("{} = QuickBooks {} = Stripe {}", sale.invoice, sale.quickbooks_invoice, sale.stripe_invoice);
        story.line("invoice", &detail);
        sales.push(sale);
    }
    shop.stripe.discard_waiting_deliveries();
    story.say("The customers pay, one after the other. Stripe sends each event twice, and not in their order.");
    let paid = Mutex::new(Vec::new());
    let (deliveries, ()) = tokio::join!(pay(shop, story, &sales, &paid), watch(shop, story, &paid));
    let ended = |runs: &[Value]| runs.iter().all(|run| !matches!(text(run, "state"), "queued" | "running" | "parked"));
    let runs = shop.tenant().runs_until("", ended).await;
    let (sent, accepted) = (deliveries.len(), deliveries.iter().filter(|delivery| delivery.accepted()).count());
    let events =
        deliveries.iter().map(|delivery| text(&body(delivery), "id").to_owned()).collect::<BTreeSet<_>>().len();
    let of = |operation: &str| runs.iter().filter(|run| text(run, "operation") == operation).count();
    let counted = format!("{events} events, each sent twice: {sent} webhooks, {accepted} answered 2xx");
    story.say(&format!("{counted}; {} runs that received, {} that paid.", of("receive"), of("act")));
    let paid = paid.into_inner().unwrap_or_default();
    let waits = waits(shop, &deliveries);
    let paying = paying(shop, &runs).await;
    tell(story, shop, &paid, &paying, &waits);
    summary(shop, &sales, &deliveries, &runs, &waits)
}

/// The customers pay, and Stripe tells of it.
async fn pay<'s>(shop: &Shop, story: &Story, sales: &'s [Sale], paid: &Mutex<Vec<Paid<'s>>>) -> Vec<DeliveryRecord> {
    let plan =
        DeliveryPlan { copies: COPIES, order: Order::Shuffled { seed: 7 }, concurrency: 4, ..DeliveryPlan::default() };
    let mut deliveries = Vec::new();
    let mut beat = tokio::time::interval(PACE);
    for sale in sales {
        beat.tick().await;
        let payment_intent = shop.pay(sale).payment_intent;
        story.line("paid at Stripe", &format!("{} by {payment_intent}", sale.invoice));
        if let Ok(mut paid) = paid.lock() {
            paid.push(Paid { sale, payment_intent });
        }
        deliveries.extend(shop.deliver(&plan).await);
    }
    deliveries
}

/// Tells of each payment when QuickBooks has it; gives up where one does not come.
async fn watch(shop: &Shop, story: &Story, paid: &Mutex<Vec<Paid<'_>>>) {
    let until = Instant::now() + PATIENCE;
    let mut beat = tokio::time::interval(Duration::from_millis(10));
    let mut seen = [false; SALES];
    while seen.contains(&false) && Instant::now() < until {
        beat.tick().await;
        let Ok(paid) = paid.lock() else { return };
        for (seen, Paid { sale, .. }) in seen.iter_mut().zip(paid.iter()).filter(|(seen, _)| !**seen) {
            if shop.payments_of(sale) > 0 {
                *seen = true;
                story.line("payment in QuickBooks", &sale.invoice);
            }
        }
    }
}

/// The runs that created payments, by invoice.
async fn paying(shop: &Shop, runs: &[Value]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for run in runs.iter().filter(|run| text(run, "operation") == "act") {
        let id = text(run, "id");
        let whole = shop.tenant().get(&format!("/v1/runs/{id}")).await.ok();
        let invoice = whole.pointer("/input/invoice").and_then(Value::as_str).unwrap_or_default();
        found.insert(invoice.to_owned(), id.to_owned());
    }
    found
}

fn tell(
    story: &Story,
    shop: &Shop,
    paid: &[Paid<'_>],
    paying: &BTreeMap<String, String>,
    waits: &BTreeMap<String, f64>,
) {
    story.say("What came of it, and how long it took from the webhook's last byte to QuickBooks' answer:");
    for Paid { sale, payment_intent } in paid {
        let (count, id) = (shop.payments_of(sale), paying.get(&sale.invoice).map_or("no run", String::as_str));
        let took = waits.get(payment_intent).map_or_else(|| "never".to_owned(), |ms| format!("{ms:.1} ms"));
        println!("  {:<12} {count} payment  {took:>9}  {id}", sale.invoice);
    }
}

fn summary(
    shop: &Shop,
    sales: &[Sale],
    deliveries: &[DeliveryRecord],
    runs: &[Value],
    waits: &BTreeMap<String, f64>,
) -> Summary {
    let paid = sales.iter().filter(|sale| shop.payments_of(sale) > 0).count();
    let payments: usize = sales.iter().map(|sale| shop.payments_of(sale)).sum();
    let mut waits_ms: Vec<f64> = waits.values().copied().collect();
    waits_ms.sort_by(f64::total_cmp);
    Summary {
        webhooks: deliveries.len(),
        runs: runs.iter().filter(|run| matches!(text(run, "operation"), "receive" | "act")).count(),
        sales: sales.len(),
        payments,
        duplicates: payments.saturating_sub(paid) + shop.quickbooks.duplicates().len(),
        waits_ms,
    }
}

/// For each payment: from the last byte of the first webhook that told of it, to QuickBooks' last byte.
fn waits(shop: &Shop, deliveries: &[DeliveryRecord]) -> BTreeMap<String, f64> {
    let mut told: BTreeMap<String, u64> = BTreeMap::new();
    for delivery in deliveries {
        let body = body(delivery);
        if text(&body, "type") != "payment_intent.succeeded" {
            continue;
        }
        let intent = body.pointer("/data/object/id").and_then(Value::as_str).unwrap_or_default().to_owned();
        if let Some(sent) = delivery.last_byte_sent_at_us {
            let first = told.entry(intent).or_insert(sent);
            *first = sent.min(*first);
        }
    }
    let answered = shop.payment_requests();
    let wait = |(intent, sent): (String, u64)| {
        let request = answered.iter().find(|request| request.body.contains(&intent))?;
        let ms = request.answered_at_us?.saturating_sub(sent) as f64 / 1_000.0;
        Some((intent, ms))
    };
    told.into_iter().filter_map(wait).collect()
}

async fn look_around(shop: &Shop) {
    let (url, key, tenant) = (shop.host.url(), shop.host.operator_key(), &shop.tenant);
    let runs = shop.tenant().runs_until(&format!("connection={}", shop.quickbooks_connection), |_| true).await;
    let run = runs.first().map_or("", |run| text(run, "id"));
    println!("\nThe host goes on until you press Ctrl-C. Look around:\n");
    println!("  export BULKHEAD_URL={url} BULKHEAD_KEY={key} BULKHEAD_TENANT={tenant}");
    println!("  target/debug/bulkhead runs");
    println!("  target/debug/bulkhead runs {run}");
    for noun in ["routes", "events", "connections"] {
        println!(
            "  curl -s -H \"Authorization: Bearer $BULKHEAD_KEY\" -H \"Bulkhead-Tenant: $BULKHEAD_TENANT\" \
             $BULKHEAD_URL/v1/{noun}"
        );
    }
    println!("\nConnect pages, as a customer gets them (for half an hour):\n");
    println!("  QuickBooks  {}   the simulated Intuit asks for a company", link(shop, &shop.new_books().await).await);
    let new = json!({ "connector": "stripe", "name": "Another Stripe account", "environment": "sandbox" });
    let stripe = shop.tenant().post("/v1/connections", new).await.text("id");
    println!("  Stripe      {}   the key to type in: {STRIPE_KEY}", link(shop, &stripe).await);
    let _ = tokio::signal::ctrl_c().await;
    println!("\nStopped. What it kept is gone with it.");
}

/// A page where somebody may authorize a connection.
async fn link(shop: &Shop, connection: &str) -> String {
    let session = json!({ "second": true });
    shop.tenant().post(&format!("/v1/connections/{connection}/sessions"), session).await.text("url")
}

fn body(delivery: &DeliveryRecord) -> Value {
    serde_json::from_str(&delivery.body).unwrap_or_default()
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}
