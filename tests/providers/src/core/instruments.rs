//! What a test reads and turns on a running simulator, whichever system it imitates.
//!
//! Every method here is also a route of `control.rs`, for tests in another process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::clock::Clock;
use super::deliveries::Deliveries;
use super::delivery_plan::DeliveryPlan;
use super::delivery_record::DeliveryRecord;
use super::effects::Duplicate;
use super::faults::FaultRule;
use super::front::Front;
use super::gates::{Hold, Point};
use super::ledger::RequestRecord;

/// The instruments of one simulator.
#[derive(Debug)]
pub struct Instruments {
    pub(crate) front: Front,
    pub(crate) deliveries: Arc<Deliveries>,
    pub(crate) clock: Arc<Clock>,
    numbers: AtomicU64,
}

impl Instruments {
    pub(crate) fn new() -> Self {
        let clock = Arc::new(Clock::default());
        let deliveries = Arc::new(Deliveries::new(clock.clone()));
        Self { front: Front::default(), deliveries, clock, numbers: AtomicU64::new(0) }
    }

    /// Every request to the provider's own paths so far, in the order of arrival.
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.front.ledger.since(0)
    }

    /// The requests numbered above `number`.
    pub fn requests_since(&self, number: u64) -> Vec<RequestRecord> {
        self.front.ledger.since(number)
    }

    pub fn clear_requests(&self) {
        self.front.ledger.clear();
    }

    /// How often each side effect has happened, by its name (`payment.created`).
    pub fn effects(&self) -> BTreeMap<String, u64> {
        self.front.effects.counts()
    }

    /// How often one side effect has happened.
    pub fn effect(&self, name: &str) -> u64 {
        self.effects().get(name).copied().unwrap_or_default()
    }

    /// Objects that were created more than once with the same meaning.
    pub fn duplicates(&self) -> Vec<Duplicate> {
        self.front.effects.duplicates()
    }

    /// Makes the provider misbehave as the rule says.
    pub fn inject(&self, rule: FaultRule) {
        self.front.faults.add(rule);
    }

    /// The rules that have not been spent.
    pub fn pending_faults(&self) -> Vec<FaultRule> {
        self.front.faults.pending()
    }

    pub fn clear_faults(&self) {
        self.front.faults.clear();
    }

    /// Holds the next request, whatever it asks for, at this point.
    pub fn hold_next(&self, point: Point) -> Hold {
        self.front.gates.hold(point, None, "*".to_owned())
    }

    /// Holds the next request with this method and with a path that matches (`*` stands for any run of characters).
    pub fn hold_next_on(&self, point: Point, method: &str, path: &str) -> Hold {
        self.front.gates.hold(point, Some(method.to_owned()), path.to_owned())
    }

    /// Moves the provider's clock forward: codes and tokens age, webhook signatures are from later.
    pub fn advance_clock(&self, seconds: i64) {
        self.clock.advance(seconds);
    }

    /// At most so many requests in one second are let in; the others get the provider's 429.
    pub fn set_rate_limit(&self, per_second: Option<u32>) {
        self.front.limiter.set(per_second);
    }

    /// Every webhook delivery so far.
    pub fn deliveries(&self) -> Vec<DeliveryRecord> {
        self.deliveries.records()
    }

    /// The ids of the events that wait to be delivered, once for each endpoint.
    pub fn waiting_deliveries(&self) -> Vec<String> {
        self.deliveries.waiting()
    }

    /// Loses what waits, as a provider may. Gives how much it was.
    pub fn discard_waiting_deliveries(&self) -> usize {
        self.deliveries.discard_waiting()
    }

    /// From now on events wait until [`Self::deliver_all`] or [`Self::deliver`].
    pub fn hold_deliveries(&self) {
        self.deliveries.set_held(true);
    }

    /// Events, also those that wait, are delivered as they happen.
    pub fn resume_deliveries(&self) {
        self.deliveries.set_held(false);
    }

    /// The manner of the deliveries that are not held.
    pub fn set_delivery_plan(&self, plan: DeliveryPlan) {
        self.deliveries.set_plan(plan);
    }

    /// Delivers what waits, and gives the results when all have been answered or given up.
    pub async fn deliver_all(&self, plan: &DeliveryPlan) -> Vec<DeliveryRecord> {
        self.deliveries.deliver_all(plan).await
    }

    /// Delivers these events, whether they wait or were delivered before.
    pub async fn deliver(&self, events: &[String], plan: &DeliveryPlan) -> Vec<DeliveryRecord> {
        self.deliveries.deliver(events, plan).await
    }

    /// Delivers again whatever an endpoint did not accept at its last attempt.
    pub async fn redeliver_failed(&self) -> Vec<DeliveryRecord> {
        self.deliveries.redeliver_failed().await
    }

    /// Waits until no delivery is under way, and none waits that is not held.
    pub async fn deliveries_settled(&self) {
        self.deliveries.settled().await;
    }

    pub(crate) fn fresh_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }
}
