//! What happens without the API: the bookkeeper in QuickBooks, the user on the consent page, the application's
//! settings in Intuit's portal; and what a test reads out of the books.
//!
//! **Invariant.** A bookkeeper's writes take the same code path as the API's, but are counted as `bookkeeper.…`.

use rust_decimal::Decimal;

use super::company::{Company, Row, parse_id};
use super::entity::Entity;
use super::json::Json;
use super::oauth::Consent;
use super::refusal::Refusal;
use super::render::render;
use super::tokens::{ACCOUNTING, Tokens};
use super::webhooks::{self, WebhookTarget};
use super::writes::{self, Write};
use super::{PaymentView, Shared};

impl Shared {
    pub(crate) fn consent(&self, authorize_url: &str, answer: &Consent) -> Result<String, String> {
        let now = self.instruments.clock.seconds();
        self.oauth.get().consent(&self.ids, now, authorize_url, answer)
    }

    pub(crate) fn set_redirect_uris(&self, uris: Vec<String>) {
        self.oauth.get().set_redirect_uris(uris);
    }

    pub(crate) fn issue_tokens(&self, realm: &str) -> Tokens {
        let now = self.instruments.clock.seconds();
        self.oauth.get().registry.grant(&self.ids, now, realm, ACCOUNTING)
    }

    pub(crate) fn tokens(&self) -> Vec<String> {
        self.oauth.get().registry.given()
    }

    pub(crate) fn set_webhook(&self, target: WebhookTarget) {
        self.instruments.deliveries.set_endpoint(webhooks::ENDPOINT, target.endpoint());
    }

    /// The company that a test means when it names none.
    pub(crate) fn first_realm(&self) -> String {
        self.companies.get().first().map(|company| company.realm.clone()).unwrap_or_default()
    }

    pub(crate) fn save(
        &self,
        realm: &str,
        entity: &str,
        operation: Option<&str>,
        body: &str,
    ) -> Result<String, String> {
        let entity = Entity::named(entity).ok_or_else(|| format!("no entity {entity}"))?;
        let Json::Object(body) = Json::parse(body)? else {
            return Err("the body is not an object".to_owned());
        };
        let desk = self.desk();
        let mut companies = self.companies.get();
        let company = companies.iter_mut().find(|company| company.realm == realm);
        let company = company.ok_or_else(|| format!("no company {realm}"))?;
        let write = Write { entity, operation, include: None, body: &body, now: desk.now };
        let outcome = writes::write(company, &write).map_err(|refusal: Refusal| refusal.message())?;
        webhooks::emit(&desk, realm, &outcome.changes);
        let effects: Vec<String> = outcome.effects.iter().map(|effect| format!("bookkeeper.{effect}")).collect();
        desk.effects.count(&effects);
        Ok(outcome.changes.first().map(|change| change.id.to_string()).unwrap_or_default())
    }

    pub(crate) fn object(&self, realm: &str, entity: &str, id: &str) -> Option<String> {
        let entity = Entity::named(entity)?;
        self.read(realm, entity, id, |company, row| render(company, entity, row).print())
    }

    pub(crate) fn invoice_balance(&self, realm: &str, invoice: &str) -> Option<Decimal> {
        self.read(realm, Entity::Invoice, invoice, |company, row| company.balance(row))
    }

    pub(crate) fn payments_for_invoice(&self, realm: &str, invoice: &str) -> Vec<PaymentView> {
        let payments = self.read(realm, Entity::Invoice, invoice, |company, invoice| {
            let view = |(id, applied)| Some(view(company.row(Entity::Payment, id)?, applied));
            company.payments_of(invoice.id).filter_map(view).collect()
        });
        payments.unwrap_or_default()
    }

    fn read<T>(&self, realm: &str, entity: Entity, id: &str, read: impl FnOnce(&Company, &Row) -> T) -> Option<T> {
        let companies = self.companies.get();
        let company = companies.iter().find(|company| company.realm == realm)?;
        Some(read(company, company.row(entity, parse_id(id)?)?))
    }
}

fn view(payment: &Row, applied: Decimal) -> PaymentView {
    let text = |field: &str| payment.body.get(field).and_then(Json::text).map(str::to_owned);
    PaymentView {
        id: payment.id.to_string(),
        applied,
        total: payment.total,
        reference: text("PaymentRefNum"),
        note: text("PrivateNote"),
    }
}
