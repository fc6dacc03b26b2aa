//! `cargo xtask demo`: the main job, told as it happens. With `--once` it ends with a summary as JSON.
//!
//! Everything runs for real: the host is its own process, the providers are simulated servers on loopback, and every
//! figure is read from what the providers saw.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bulkhead_tests::shop::{Sale, Shop, Told};
use bulkhead_tests::{Host, PATIENCE};
use serde_json::{Value, json};
use simulated_providers::{DeliveryPlan, DeliveryRecord, Order};

/// Invoices that are paid.
const SALES: usize = 12;
/// How often Stripe sends each event.
const COPIES: u32 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let once = std::env::args().skip(1).any(|argument| argument == "--once");
    let mut story = Story { began: Instant::now() };
    story.say("A signed Stripe webhook becomes a QuickBooks payment, through two sandboxed connectors.");
    let shop = Shop::open(Host::builder().set("BULKHEAD_LOG", "warn"), &mut story).await;
    let summary = business(&shop, &mut story).await;
    let good = summary.payments == summary.sales && summary.duplicates == 0;
    if once {
        println!("{}", summary.json());
        return if good { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    story.say(&summary.json().to_string());
    look_around(&shop).await;
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What the terminal shows.
struct Story {
    began: Instant,
}

impl Story {
    fn say(&self, text: &str) {
        println!("\n{text}");
    }
}

impl Told for Story {
    fn step(&mut self, what: &str, detail: &str) {
        println!("{:>7.2} s  {what:<24} {detail}", self.began.elapsed().as_secs_f64());
    }
}

/// What came of it.
struct Summary {
    webhooks: usize,
    runs: usize,
    sales: usize,
    payments: usize,
    duplicates: usize,
    /// From the webhook's last byte to QuickBooks' answer, sorted.
    waits_ms: Vec<f64>,
}

impl Summary {
    fn json(&self) -> Value {
        let at = |share: f64| {
            let last = self.waits_ms.len().saturating_sub(1);
            let index = ((last as f64) * share).round() as usize;
            self.waits_ms.get(index).map(|ms| (ms * 10.0).round() / 10.0)
        };
        json!({
            "webhooks": self.webhooks, "runs": self.runs, "payments": self.payments, "invoices_paid": self.sales,
            "duplicates": self.duplicates, "p50_ms": at(0.5), "p99_ms": at(0.99),
        })
    }
}

async fn business(shop: &Shop, story: &mut Story) -> Summary {
    story.say("The shop sells: customers and invoices on both sides, linked.");
    shop.stripe.hold_deliveries();
    let mut sales = Vec::new();
    for number in 1..=SALES {
        let sale = shop.sell(number).await;
        let detail =
            format!("{} = QuickBooks {} = Stripe {}", sale.invoice, sale.quickbooks_invoice, sale.stripe_invoice);
        story.step("invoice", &detail);
        sales.push(sale);
    }
    shop.stripe.discard_waiting_deliveries();
    story.say("The customers pay. Stripe sends each event twice, in no order.");
    for sale in &sales {
        let paid = shop.pay(sale);
        story.step("paid at Stripe", &format!("{} by {}", sale.invoice, paid.payment_intent));
    }
    let plan =
        DeliveryPlan { copies: COPIES, order: Order::Shuffled { seed: 7 }, concurrency: 4, ..DeliveryPlan::default() };
    let deliveries = shop.deliver(&plan).await;
    let accepted = deliveries.iter().filter(|delivery| delivery.accepted()).count();
    story.step("webhooks", &format!("{} sent, {accepted} answered 2xx", deliveries.len()));
    settle(shop, &sales).await;
    tell_payments(shop, story, &sales).await;
    summary(shop, &sales, &deliveries).await
}

/// Waits until nothing is left to do.
async fn settle(shop: &Shop, sales: &[Sale]) {
    let until = Instant::now() + PATIENCE;
    let mut beat = tokio::time::interval(Duration::from_millis(20));
    while !sales.iter().all(|sale| shop.payments_of(sale) > 0) && Instant::now() < until {
        beat.tick().await;
    }
    let ended = |runs: &[Value]| runs.iter().all(|run| !matches!(text(run, "state"), "queued" | "running" | "parked"));
    shop.tenant().runs_until("", ended).await;
}

async fn tell_payments(shop: &Shop, story: &mut Story, sales: &[Sale]) {
    let runs = shop.tenant().runs_until(&format!("connection={}", shop.quickbooks_connection), |_| true).await;
    story.say("Payments in QuickBooks:");
    for sale in sales {
        let run = runs.iter().find(|run| run.pointer("/input/invoice").and_then(Value::as_str) == Some(&sale.invoice));
        let took = run.and_then(|run| run.get("finished_ms")?.as_u64()?.checked_sub(run.get("created_ms")?.as_u64()?));
        let id = run.map_or("no run", |run| text(run, "id"));
        let detail =
            format!("{}: {} payment, {id}, {} ms", sale.invoice, shop.payments_of(sale), took.unwrap_or_default());
        story.step("invoice paid", &detail);
    }
}

async fn summary(shop: &Shop, sales: &[Sale], deliveries: &[DeliveryRecord]) -> Summary {
    let runs = shop.tenant().runs_until("", |_| true).await;
    let paid = sales.iter().filter(|sale| shop.payments_of(sale) > 0).count();
    let payments: usize = sales.iter().map(|sale| shop.payments_of(sale)).sum();
    assert_eq!(paid, sales.len(), "every paid invoice has a payment");
    Summary {
        webhooks: deliveries.len(),
        runs: runs.iter().filter(|run| matches!(text(run, "operation"), "receive" | "act")).count(),
        sales: sales.len(),
        payments,
        duplicates: payments.saturating_sub(paid) + shop.quickbooks.duplicates().len(),
        waits_ms: waits(shop, deliveries),
    }
}

/// For each payment: from the last byte of the first webhook that told of it, to QuickBooks' last byte.
fn waits(shop: &Shop, deliveries: &[DeliveryRecord]) -> Vec<f64> {
    let mut told: BTreeMap<String, u64> = BTreeMap::new();
    for delivery in deliveries {
        let body: Value = serde_json::from_str(&delivery.body).unwrap_or_default();
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
    let mut waits: Vec<f64> = told
        .iter()
        .filter_map(|(intent, sent)| {
            let request = answered.iter().find(|request| request.body.contains(intent.as_str()))?;
            Some(request.answered_at_us?.saturating_sub(*sent) as f64 / 1_000.0)
        })
        .collect();
    waits.sort_by(f64::total_cmp);
    waits
}

async fn look_around(shop: &Shop) {
    println!("\nThe host goes on until you press Ctrl-C. Look around:\n");
    println!(
        "  export BULKHEAD_URL={} BULKHEAD_KEY={} BULKHEAD_TENANT={}",
        shop.host.url(),
        shop.host.operator_key(),
        shop.tenant
    );
    println!("  target/debug/bulkhead runs");
    println!(
        "  curl -s -H \"Authorization: Bearer $BULKHEAD_KEY\" -H \"Bulkhead-Tenant: $BULKHEAD_TENANT\" $BULKHEAD_URL/v1/events"
    );
    let _ = tokio::signal::ctrl_c().await;
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}
