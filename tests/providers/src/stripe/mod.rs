//! A Stripe account in test mode.
//!
//! **Invariants.** One API version ([`books::API_VERSION`]), form bodies, integer minor units. What the merchant does
//! through the API and what a customer does at the checkout (through the control) are counted apart.
//!
//! **To extend.** An object is a file; what can be done with it is listed in [`api`].

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::task::JoinHandle;

use self::books::Books;
use self::errors::Refusal;
use crate::core::faults::Fault;
use crate::core::front::{Answer, Call, Provider};
use crate::core::ids::Ids;
use crate::core::instruments::Instruments;
use crate::core::lock::Lock;
use crate::core::server::Server;

mod account;
mod api;
mod books;
mod charges;
mod checkout;
mod control;
mod currency;
mod customers;
mod errors;
mod events;
mod expand;
mod intents;
mod invoice_items;
mod invoice_payments;
mod invoices;
mod lists;
mod params;
mod webhooks;

/// How a simulated account begins.
#[derive(Clone, Debug)]
pub struct StripeConfig {
    /// The secret keys that are accepted, as Bearer or as the user of Basic.
    pub api_keys: Vec<String>,
    /// None does not limit; Stripe itself allows 25 in test mode.
    pub requests_per_second: Option<u32>,
}

impl Default for StripeConfig {
    fn default() -> Self {
        Self { api_keys: vec!["sk_test_simulated".to_owned()], requests_per_second: None }
    }
}

/// A payment as a customer makes it at the merchant's checkout.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct ChargeRequest {
    pub customer: Option<String>,
    pub amount_minor: i64,
    pub currency: String,
    /// What the merchant's own checkout wrote on the payment intent.
    pub metadata: BTreeMap<String, String>,
    pub description: Option<String>,
}

/// What a payment left behind.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Charged {
    pub payment_intent: String,
    pub charge: String,
    /// The events it caused, in the order of their emission.
    pub events: Vec<String>,
}

/// An invoice of one line, as the merchant makes it in Stripe's dashboard.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct StripeInvoice {
    pub customer: String,
    pub amount_minor: i64,
    pub currency: String,
    pub description: Option<String>,
    pub metadata: BTreeMap<String, String>,
}

/// A running simulation of Stripe; dropping it stops it. The instruments it dereferences to are common to all
/// simulators.
pub struct Stripe {
    shared: Arc<Shared>,
    server: Server,
    courier: JoinHandle<()>,
}

pub(crate) struct Shared {
    instruments: Instruments,
    books: Lock<Books>,
    ids: Ids,
}

impl Stripe {
    /// Listens on a free loopback port.
    pub async fn start(config: StripeConfig) -> Self {
        let instruments = Instruments::new();
        instruments.set_rate_limit(config.requests_per_second);
        let ids = Ids::new();
        let account = account::new_account(&ids, instruments.clock.seconds());
        let books = Lock::new(Books::new(config.api_keys, account));
        let shared = Arc::new(Shared { instruments, books, ids });
        let courier = shared.instruments.deliveries.start();
        let server = Server::start(shared.clone(), control::routes()).await;
        Self { shared, server, courier }
    }

    /// The base URL, without a trailing slash.
    pub fn url(&self) -> &str {
        self.server.url()
    }

    /// From now on only these keys are accepted.
    pub fn set_api_keys(&self, keys: Vec<String>) {
        self.shared.set_api_keys(keys);
    }

    /// A customer who exists without having been created through the API. Gives the id.
    pub fn add_customer(&self, name: &str, email: &str) -> Result<String, String> {
        self.shared.add_customer(name, email)
    }

    /// A payment that succeeds.
    pub fn charge(&self, request: &ChargeRequest) -> Result<Charged, String> {
        self.shared.charge(request, "pm_card_visa")
    }

    /// A payment that the card's bank declines.
    pub fn decline(&self, request: &ChargeRequest) -> Result<Charged, String> {
        self.shared.charge(request, "pm_card_chargeDeclined")
    }

    /// A finalized, open invoice.
    pub fn add_invoice(&self, invoice: &StripeInvoice) -> Result<Value, String> {
        self.shared.add_invoice(invoice)
    }

    /// The customer pays an open invoice by card. The payment intent carries the metadata given here, and the invoice
    /// is found in its own `payments`, as in the current API.
    pub fn pay_invoice(&self, invoice: &str, metadata: &BTreeMap<String, String>) -> Result<Charged, String> {
        self.shared.pay_invoice(invoice, metadata)
    }

    /// Gives the endpoint a new signing secret. The old ones go on signing until [`Self::retire_secrets`].
    pub fn roll_secret(&self, endpoint: &str) -> Option<String> {
        self.shared.roll_secret(endpoint)
    }

    /// Leaves an endpoint only its newest secret.
    pub fn retire_secrets(&self, endpoint: &str) -> bool {
        self.shared.retire_secrets(endpoint)
    }

    /// All payment intents, oldest first, as the API would return them.
    pub fn payment_intents(&self) -> Vec<Value> {
        self.shared.books.get().intents.iter().cloned().collect()
    }

    /// All events, oldest first, as the API would return them.
    pub fn events(&self) -> Vec<Value> {
        self.shared.books.get().events.iter().cloned().collect()
    }
}

impl Deref for Stripe {
    type Target = Instruments;

    fn deref(&self) -> &Instruments {
        &self.shared.instruments
    }
}

impl Drop for Stripe {
    fn drop(&mut self) {
        self.courier.abort();
    }
}

impl Shared {
    fn desk(&self) -> api::Desk<'_> {
        api::Desk {
            ids: &self.ids,
            now: self.instruments.clock.seconds(),
            deliveries: &self.instruments.deliveries,
            effects: &self.instruments.front.effects,
        }
    }
}

impl Provider for Shared {
    fn act(&self, call: &Call) -> Answer {
        api::act(&mut self.books.get(), &self.desk(), call)
    }

    fn misbehave(&self, _call: &Call, fault: &Fault) -> Answer {
        let request_id = format!("req_{}", self.ids.letters(14));
        let Fault::Answer { status, retry_after_seconds, should_retry, .. } = fault else {
            return Refusal::injected(500).answer(&request_id);
        };
        let mut answer = Refusal::injected(*status).answer(&request_id).with("request-id", request_id);
        if let Some(seconds) = retry_after_seconds {
            answer = answer.with("retry-after", seconds.to_string());
        }
        match should_retry {
            Some(retry) => answer.with("stripe-should-retry", retry.to_string()),
            None => answer,
        }
    }

    fn remember(&self, call: &Call, answer: &Answer) {
        api::remember(&mut self.books.get(), call, answer);
    }

    fn idempotency_key(&self, call: &Call) -> Option<String> {
        api::idempotency_key(call).map(str::to_owned)
    }

    fn end_access(&self, _for_good: bool) {
        self.books.get().keys.clear();
    }

    fn instruments(&self) -> &Instruments {
        &self.instruments
    }
}
