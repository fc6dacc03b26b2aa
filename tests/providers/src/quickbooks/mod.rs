//! QuickBooks Online with Intuit's OAuth server, all hosts on one port.
//!
//! **Invariants.** Amounts are exact decimals. An object changes only with its current SyncToken. What the
//! application does through the API and what a bookkeeper does in QuickBooks (through the control) are counted apart.
//!
//! **To extend.** An entity is a variant of [`entity::Entity`], a table in [`fields`] and a `prepare` function.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use self::company::Company;
use self::oauth::{App, OAuth};
use self::refusal::{Refusal, oauth_error};
use self::tokens::{Lifetimes, Registry, seconds};
use crate::core::faults::Fault;
use crate::core::front::{Answer, Call, Provider};
use crate::core::ids::Ids;
use crate::core::instruments::Instruments;
use crate::core::lock::Lock;
use crate::core::server::Server;

pub use self::oauth::Consent;
pub use self::tokens::Tokens;
pub use self::webhooks::{WebhookFormat, WebhookTarget};

mod api;
mod bookkeeper;
mod company;
mod control;
mod entity;
mod feed;
mod fields;
mod invoices;
mod json;
mod names;
mod oauth;
mod payments;
mod query;
mod refusal;
mod render;
mod select;
mod tokens;
mod webhooks;
mod writes;

/// A company whose books are kept in QuickBooks.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Realm {
    pub id: String,
    pub company_name: String,
}

/// How a simulated QuickBooks begins.
#[derive(Clone, Debug)]
pub struct QuickBooksConfig {
    pub client_id: String,
    pub client_secret: String,
    /// Compared exactly.
    pub redirect_uris: Vec<String>,
    pub realms: Vec<Realm>,
    pub access_token_ttl: Duration,
    pub refresh_token_ttl: Duration,
    /// How long an old refresh token holds after it was used.
    pub refresh_grace: Duration,
    pub code_ttl: Duration,
    /// None does not limit; QuickBooks itself allows 10 for each company.
    pub requests_per_second: Option<u32>,
}

impl Default for QuickBooksConfig {
    fn default() -> Self {
        const DAY: u64 = 86_400;
        Self {
            client_id: "simulated-client".to_owned(),
            client_secret: "simulated-secret".to_owned(),
            redirect_uris: vec!["http://127.0.0.1/callback".to_owned()],
            realms: vec![Realm { id: "4620816365000000001".to_owned(), company_name: "Simulated Company".to_owned() }],
            access_token_ttl: Duration::from_secs(3_600),
            refresh_token_ttl: Duration::from_secs(101 * DAY),
            refresh_grace: Duration::from_secs(DAY),
            code_ttl: Duration::from_secs(300),
            requests_per_second: None,
        }
    }
}

/// A payment, seen from one of the invoices it pays.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct PaymentView {
    pub id: String,
    /// What it pays of this invoice.
    #[serde(with = "rust_decimal::serde::str")]
    pub applied: Decimal,
    #[serde(with = "rust_decimal::serde::str")]
    pub total: Decimal,
    pub reference: Option<String>,
    pub note: Option<String>,
}

/// A running simulation of QuickBooks Online; dropping it stops it. The instruments it dereferences to are common to
/// all simulators.
pub struct QuickBooks {
    shared: Arc<Shared>,
    server: Server,
    courier: JoinHandle<()>,
}

pub(crate) struct Shared {
    instruments: Instruments,
    companies: Lock<Vec<Company>>,
    oauth: Lock<OAuth>,
    ids: Ids,
}

impl QuickBooks {
    /// Listens on a free loopback port.
    pub async fn start(config: QuickBooksConfig) -> Self {
        let shared = Arc::new(Shared::new(config));
        let courier = shared.instruments.deliveries.start();
        let server = Server::start(shared.clone(), control::routes()).await;
        Self { shared, server, courier }
    }

    /// The base URL of all of Intuit's hosts, without a trailing slash.
    pub fn url(&self) -> &str {
        self.server.url()
    }

    /// What a user with a browser does: follows the authorize URL (its host does not matter), answers the consent page,
    /// and is sent to the URL this gives.
    pub fn consent(&self, authorize_url: &str, answer: &Consent) -> Result<String, String> {
        self.shared.consent(authorize_url, answer)
    }

    /// Where the application may have people sent back to, from now on. Compared exactly.
    pub fn set_redirect_uris(&self, uris: Vec<String>) {
        self.shared.set_redirect_uris(uris);
    }

    /// Tokens for a company without the ceremony.
    pub fn issue_tokens(&self, realm: &str) -> Tokens {
        self.shared.issue_tokens(realm)
    }

    /// Every token given out so far, of either kind: to look for where none may be.
    pub fn tokens(&self) -> Vec<String> {
        self.shared.tokens()
    }

    /// Every access token given out so far has expired; refreshing works.
    pub fn expire_access_tokens(&self) {
        self.shared.end_access(false);
    }

    /// Every token given out so far is revoked, as when the user disconnects the application.
    pub fn revoke_tokens(&self) {
        self.shared.end_access(true);
    }

    /// Sets up the application's webhooks. Changes before this are not told.
    pub fn set_webhook(&self, target: WebhookTarget) {
        self.shared.set_webhook(target);
    }

    /// A bookkeeper saves an object in QuickBooks itself: `entity` is `Customer` or another, `body` what the API would
    /// be sent, `operation` as in its URL. Gives the id.
    pub fn save(&self, realm: &str, entity: &str, operation: Option<&str>, body: &str) -> Result<String, String> {
        self.shared.save(realm, entity, operation, body)
    }

    /// The JSON of an object, as the API would show it.
    pub fn object(&self, realm: &str, entity: &str, id: &str) -> Option<String> {
        self.shared.object(realm, entity, id)
    }

    /// What is still to be paid of an invoice.
    pub fn invoice_balance(&self, realm: &str, invoice: &str) -> Option<Decimal> {
        self.shared.invoice_balance(realm, invoice)
    }

    /// The payments that are applied to an invoice.
    pub fn payments_for_invoice(&self, realm: &str, invoice: &str) -> Vec<PaymentView> {
        self.shared.payments_for_invoice(realm, invoice)
    }
}

impl Deref for QuickBooks {
    type Target = Instruments;

    fn deref(&self) -> &Instruments {
        &self.shared.instruments
    }
}

impl Drop for QuickBooks {
    fn drop(&mut self) {
        self.courier.abort();
    }
}

impl Shared {
    fn new(config: QuickBooksConfig) -> Self {
        let instruments = Instruments::new();
        instruments.set_rate_limit(config.requests_per_second);
        let now = instruments.clock.seconds();
        let registry = Registry::new(Lifetimes {
            access: seconds(config.access_token_ttl),
            refresh: seconds(config.refresh_token_ttl),
            grace: seconds(config.refresh_grace),
            code: seconds(config.code_ttl),
        });
        let app = App {
            client_id: config.client_id,
            client_secret: config.client_secret,
            redirect_uris: config.redirect_uris,
        };
        let realms = config.realms.iter().map(|realm| (realm.id.clone(), realm.company_name.clone())).collect();
        let open = |realm: Realm| Company::open(realm.id, realm.company_name, now);
        let companies = config.realms.into_iter().map(open).collect();
        let oauth = Lock::new(OAuth::new(app, realms, registry));
        Self { instruments, companies: Lock::new(companies), oauth, ids: Ids::new() }
    }

    fn desk(&self) -> api::Desk<'_> {
        api::Desk {
            ids: &self.ids,
            now: self.instruments.clock.seconds(),
            deliveries: &self.instruments.deliveries,
            effects: &self.instruments.front.effects,
        }
    }

    /// Every answer of Intuit's carries the id to quote to its support.
    fn traced(&self, answer: Answer) -> Answer {
        answer.with("intuit_tid", self.ids.uuid())
    }
}

impl Provider for Shared {
    fn act(&self, call: &Call) -> Answer {
        let desk = self.desk();
        let mut oauth = self.oauth.get();
        if let Some(answer) = oauth.act(&self.ids, desk.now, call) {
            return self.traced(answer);
        }
        self.traced(api::act(&mut self.companies.get(), &oauth.registry, &desk, call))
    }

    fn misbehave(&self, call: &Call, fault: &Fault) -> Answer {
        let now = self.instruments.clock.seconds();
        let speaks_api = call.path.starts_with("/v3/");
        let answer = match fault {
            Fault::FaultInsideSuccess { code, message, .. } => Refusal::inside_success(code, message).json(now),
            Fault::Answer { status, .. } if speaks_api => Refusal::injected(*status).json(now),
            Fault::Answer { status, .. } => oauth_error(*status, "server_error", "The simulator was told to fail."),
            _ => Refusal::injected(500).json(now),
        };
        let retry_after = match fault {
            Fault::Answer { retry_after_seconds, .. } => *retry_after_seconds,
            _ => None,
        };
        match retry_after {
            Some(seconds) => self.traced(answer).with("retry-after", seconds.to_string()),
            None => self.traced(answer),
        }
    }

    fn remember(&self, call: &Call, answer: &Answer) {
        api::remember(&mut self.companies.get(), call, answer);
    }

    fn idempotency_key(&self, call: &Call) -> Option<String> {
        api::request_id(call)
    }

    fn end_access(&self, for_good: bool) {
        let mut oauth = self.oauth.get();
        if for_good {
            oauth.registry.revoke_all();
        } else {
            oauth.registry.expire_access();
        }
    }

    fn instruments(&self) -> &Instruments {
        &self.instruments
    }
}
