//! A small business: its books in QuickBooks, its payments through Stripe, and a Bulkhead host between them.
//!
//! The demo, the stories and the benches open the same shop, so that what they show is one thing.

use std::collections::BTreeMap;

use reqwest::{Client, Method, Url, redirect};
use serde_json::{Value, json};
use simulated_providers::{
    Charged, Consent, DeliveryPlan, DeliveryRecord, QuickBooks, QuickBooksConfig, Realm, RequestRecord, Stripe,
    StripeConfig, StripeInvoice,
};

use crate::{Host, HostBuilder, Tenant, leaks};

/// What maps a payment at Stripe to a payment in QuickBooks. It passes ids on and knows none.
pub const MAPPING: &str = "{customer: .refs.customer, invoice: .data.invoice, amount: .data.amount_decimal, currency: .data.currency, reference: .data.payment_intent}";

/// What the simulated Stripe takes.
pub const STRIPE_KEY: &str = "sk_test_simulated";
const CLIENT_ID: &str = "simulated-client";
const CLIENT_SECRET: &str = "simulated-secret";
/// What Intuit signs its webhooks with.
pub const VERIFIER_TOKEN: &str = "simulated-verifier-token";
/// The company that the books are kept in, as QuickBooks calls it.
pub const REALM: &str = "4620816365000000001";

/// The shop, open for business.
pub struct Shop {
    pub host: Host,
    pub stripe: Stripe,
    pub quickbooks: QuickBooks,
    /// Intuit's app.
    pub app: String,
    pub tenant: String,
    pub stripe_connection: String,
    pub quickbooks_connection: String,
    pub item: String,
    pub route: String,
}

impl Drop for Shop {
    /// The host goes after this, and is searched for what its provider gave it.
    fn drop(&mut self) {
        self.quickbooks.tokens().iter().for_each(|token| leaks::remember(token));
    }
}

/// An invoice that exists on both sides.
#[derive(Clone, Debug)]
pub struct Sale {
    /// Ours.
    pub invoice: String,
    pub customer: String,
    pub amount_minor: i64,
    /// QuickBooks' id of the invoice.
    pub quickbooks_invoice: String,
    /// Stripe's ids.
    pub stripe_invoice: String,
    pub stripe_customer: String,
}

/// Told as it happens.
pub trait Told {
    fn step(&mut self, what: &str, detail: &str);
}

/// Nobody listens.
pub struct Silence;

impl Told for Silence {
    fn step(&mut self, _: &str, _: &str) {}
}

impl Shop {
    /// Opens the shop over a fresh host.
    pub async fn open(builder: HostBuilder, told: &mut impl Told) -> Self {
        let realm = Realm { id: REALM.to_owned(), company_name: "Harbour & Sons".to_owned() };
        Self::open_with(builder, QuickBooksConfig { realms: vec![realm], ..QuickBooksConfig::default() }, told).await
    }

    /// The same, over a QuickBooks of one's own making.
    pub async fn open_with(builder: HostBuilder, quickbooks: QuickBooksConfig, told: &mut impl Told) -> Self {
        let stripe = Stripe::start(StripeConfig::default()).await;
        let quickbooks = QuickBooks::start(quickbooks).await;
        told.step("simulated providers", &format!("Stripe on {}, Intuit on {}", stripe.url(), quickbooks.url()));
        let host = builder
            .upstream("api.stripe.com", stripe.url())
            .upstream("appcenter.intuit.com", quickbooks.url())
            .upstream("appcenter.intuit.com", quickbooks.url())
            .upstream("oauth.platform.intuit.com", quickbooks.url())
            .upstream("developer.api.intuit.com", quickbooks.url())
            .upstream("sandbox-quickbooks.api.intuit.com", quickbooks.url())
            .spawn()
            .await;
        told.step("host", &format!("listens on {}", host.url()));
        let item = item(&quickbooks);
        let mut shop = Self {
            host,
            stripe,
            quickbooks,
            app: String::new(),
            tenant: String::new(),
            stripe_connection: String::new(),
            quickbooks_connection: String::new(),
            item,
            route: String::new(),
        };
        shop.set_up(told).await;
        shop
    }

    async fn set_up(&mut self, told: &mut impl Told) {
        for name in ["stripe", "quickbooks"] {
            let published = self.host.publish(name).await;
            told.step(
                "connector uploaded",
                &format!("{name} {} ({})", text(&published, "version_text"), text(&published, "version")),
            );
        }
        let app = json!({
            "connector": "quickbooks", "name": "Intuit app",
            "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "webhook_secret": VERIFIER_TOKEN,
        });
        let app = self.host.operator(Method::POST, "/v1/apps", Some(app)).await.ok();
        // As the developer does it in Intuit's portal.
        self.quickbooks.set_redirect_uris(vec![text(&app, "callback_url")]);
        self.app = text(&app, "id");
        told.step("provider app registered", &self.app);
        self.tenant = self.host.tenant("Harbour & Sons").await.id().to_owned();
        told.step("tenant", &self.tenant);
        self.quickbooks_connection = self.new_books().await;
        self.authorize_books(&self.quickbooks_connection).await;
        told.step(
            "QuickBooks connected",
            &format!("{} by OAuth: authorization code, PKCE, state", self.quickbooks_connection),
        );
        self.stripe_connection = self.connect_stripe().await;
        told.step("Stripe connected", &format!("{} by API key", self.stripe_connection));
        self.route = self.make_route().await;
        told.step("route", &format!("{} Stripe payment_intent.succeeded → QuickBooks create_payment", self.route));
    }

    /// The shop's own tenant.
    pub fn tenant(&self) -> Tenant<'_> {
        self.host.tenant_by_id(&self.tenant)
    }

    /// A connection to the books that nobody has authorized yet.
    pub async fn new_books(&self) -> String {
        let new = json!({
            "connector": "quickbooks", "app": self.app, "environment": "sandbox",
            "name": "The shop's books", "settings": { "default_item": self.item },
        });
        self.tenant().post("/v1/connections", new).await.text("id")
    }

    /// The hosted page, the provider's consent page, the callback: as a person's browser goes through them.
    pub async fn authorize_books(&self, connection: &str) {
        let tenant = self.tenant();
        let session = json!({ "second": true });
        let page = tenant.post(&format!("/v1/connections/{connection}/sessions"), session).await.text("url");
        let browser = Client::builder().no_proxy().redirect(redirect::Policy::none()).build().expect("a browser");
        let shown = browser.get(&page).send().await.expect("the page is there");
        assert_eq!(shown.status(), 200, "the connect page");
        let begun = browser.post(&page).form(&[("", "")]).send().await.expect("the form is taken");
        assert_eq!(begun.status(), 303, "to the provider");
        let set = begun.headers().get_all("set-cookie").iter().filter_map(|value| value.to_str().ok());
        let cookie = set.filter_map(|value| value.split(';').next()).collect::<Vec<_>>().join("; ");
        let authorize = header(&begun, "location");
        let allow = Consent::Allow { realm: REALM.to_owned() };
        let callback = self.quickbooks.consent(&authorize, &allow).expect("a person may allow it");
        let finished = browser.get(callback).header("cookie", cookie).send().await.expect("the callback is there");
        let status = finished.status();
        let said = finished.text().await.unwrap_or_default();
        assert_eq!(status, 200, "{said}");
    }

    async fn connect_stripe(&self) -> String {
        let tenant = self.tenant();
        let connection = tenant.sandboxed("stripe", json!({ "api_key": STRIPE_KEY })).await;
        let view = tenant.get(&format!("/v1/connections/{connection}")).await.text("webhook_url");
        // As the merchant does it in Stripe's dashboard.
        let endpoint = Client::builder()
            .no_proxy()
            .build()
            .expect("a client")
            .post(format!("{}/v1/webhook_endpoints", self.stripe.url()))
            .bearer_auth(STRIPE_KEY)
            .form(&[("url", view.as_str()), ("enabled_events[]", "*")])
            .send()
            .await
            .expect("Stripe answers");
        let endpoint: Value = endpoint.json().await.expect("Stripe answers in JSON");
        let secret = json!({ "secret": text(&endpoint, "secret") });
        tenant.put(&format!("/v1/connections/{connection}/webhook-secret"), secret).await.ok();
        connection
    }

    async fn make_route(&self) -> String {
        let new = json!({
            "name": "Payments into the books",
            "from": self.stripe_connection,
            "event": "payment_intent.succeeded",
            "steps": [{ "connection": self.quickbooks_connection, "action": "create_payment", "mapping": MAPPING }],
        });
        self.tenant().post("/v1/routes", new).await.text("id")
    }

    /// A customer and an invoice, on both sides, and linked.
    pub async fn sell(&self, number: usize) -> Sale {
        let tenant = self.tenant();
        let (invoice, customer) = (format!("invoice-{number}"), format!("customer-{number}"));
        let amount_minor = 1_000 + i64::try_from(number).unwrap_or_default() * 1_111;
        let amount = format!("{}.{:02}", amount_minor / 100, amount_minor % 100);
        let (name, email) = (format!("Customer {number}"), format!("customer{number}@example.com"));
        let books = &self.quickbooks_connection;
        let put = |stream: &str, id: &str| format!("/v1/connections/{books}/records/{stream}/{id}?wait_ms=60000");
        let record = json!({ "display_name": name, "email": email });
        succeeded(&tenant.put(&put("customers", &customer), record).await.ok());
        let lines = json!([{ "description": "Goods", "quantity": "1", "unit_price": amount, "amount": amount }]);
        let record = json!({ "customer": customer, "lines": lines, "number": format!("{}", 1_000 + number) });
        let pushed = tenant.put(&put("invoices", &invoice), record).await.ok();
        succeeded(&pushed);
        let quickbooks_invoice = pushed.pointer("/output/id").and_then(Value::as_str).unwrap_or_default().to_owned();
        let stripe_customer = self.stripe.add_customer(&name, &email).expect("Stripe takes the customer");
        let link = format!("/v1/connections/{}/links/customers/{customer}", self.stripe_connection);
        tenant.put(&link, json!({ "external_id": stripe_customer })).await.ok();
        let metadata = BTreeMap::from([("invoice".to_owned(), invoice.clone())]);
        let made = StripeInvoice {
            customer: stripe_customer.clone(),
            amount_minor,
            currency: "usd".to_owned(),
            description: Some(format!("Invoice {}", 1_000 + number)),
            metadata,
        };
        let stripe_invoice = self.stripe.add_invoice(&made).expect("Stripe takes the invoice");
        let stripe_invoice = text(&stripe_invoice, "id");
        Sale { invoice, customer, amount_minor, quickbooks_invoice, stripe_invoice, stripe_customer }
    }

    /// The customer pays at Stripe.
    pub fn pay(&self, sale: &Sale) -> Charged {
        let metadata = BTreeMap::from([("invoice".to_owned(), sale.invoice.clone())]);
        self.stripe.pay_invoice(&sale.stripe_invoice, &metadata).expect("the card is good")
    }

    /// Lets Stripe send what it held back.
    pub async fn deliver(&self, plan: &DeliveryPlan) -> Vec<DeliveryRecord> {
        self.stripe.deliver_all(plan).await
    }

    /// What QuickBooks was asked to pay, and answered well.
    pub fn payment_requests(&self) -> Vec<RequestRecord> {
        let payments = |request: &RequestRecord| {
            request.method == "POST" && request.path.ends_with("/payment") && request.status == Some(200)
        };
        self.quickbooks.requests().into_iter().filter(payments).collect()
    }

    /// How many payments QuickBooks holds for a sale.
    pub fn payments_of(&self, sale: &Sale) -> usize {
        self.quickbooks.payments_for_invoice(REALM, &sale.quickbooks_invoice).len()
    }
}

/// What the shop sells, made in QuickBooks by the bookkeeper.
fn item(quickbooks: &QuickBooks) -> String {
    let account = json!({ "Name": "Sales", "AccountType": "Income" }).to_string();
    let account = quickbooks.save(REALM, "Account", None, &account).expect("QuickBooks takes the account");
    let item = json!({ "Name": "Goods", "Type": "Service", "IncomeAccountRef": { "value": account } }).to_string();
    quickbooks.save(REALM, "Item", None, &item).expect("QuickBooks takes the item")
}

fn header(response: &reqwest::Response, name: &str) -> String {
    response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

fn text(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_else(|| panic!("no {name} in {value:#}")).to_owned()
}

#[track_caller]
fn succeeded(run: &Value) {
    assert_eq!(run.get("state").and_then(Value::as_str), Some("succeeded"), "{run:#}");
}

/// The query of a URL that the host sends a person to.
pub fn query_of(url: &str) -> BTreeMap<String, String> {
    let parsed = Url::parse(url).expect("a URL");
    parsed.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}
