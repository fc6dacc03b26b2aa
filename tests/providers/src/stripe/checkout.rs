//! What happens without the API: customers at the checkout, the merchant in the dashboard.
//!
//! **Invariant.** It takes the same code paths as the API, so events and objects are the same; only the counts are
//! kept apart, and the events name no request.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::books::{Origin, Work, id_of, set, text_of};
use super::errors::Refusal;
use super::params::Form;
use super::{ChargeRequest, Charged, Shared, StripeInvoice};
use super::{currency, customers, intents, invoice_items, invoice_payments, invoices};

impl Shared {
    pub(crate) fn set_api_keys(&self, keys: Vec<String>) {
        self.books.get().keys = keys.into_iter().collect();
    }

    pub(crate) fn add_customer(&self, name: &str, email: &str) -> Result<String, String> {
        let form = form(&[("name", name), ("email", email)]);
        let (customer, _) = self.without_request(&form, customers::create)?;
        Ok(id_of(&customer).to_owned())
    }

    pub(crate) fn charge(&self, request: &ChargeRequest, method: &str) -> Result<Charged, String> {
        let (intent, events) = self.without_request(&form(&[]), |work| {
            intents::check_amount(request.amount_minor)?;
            currency::check(&request.currency)?;
            if let Some(customer) = &request.customer {
                work.books.customers.refer(customer, "customer")?;
            }
            let mut intent = intents::blank(work, request.amount_minor, &request.currency);
            set(&mut intent, "customer", request.customer.clone());
            set(&mut intent, "description", request.description.clone());
            set(&mut intent, "metadata", json!(request.metadata));
            set(&mut intent, "payment_method", method);
            intents::shelve_new(work, &intent);
            // A card that is declined is an answer, not a failure of the checkout.
            let _ = intents::confirm_intent(work, intent.clone());
            work.books.intents.find(id_of(&intent)).cloned()
        })?;
        Ok(charged(&intent, events))
    }

    pub(crate) fn add_invoice(&self, wanted: &StripeInvoice) -> Result<Value, String> {
        let amount = wanted.amount_minor.to_string();
        let mut item =
            vec![("customer", wanted.customer.as_str()), ("amount", &amount), ("currency", &wanted.currency)];
        item.extend(wanted.description.as_deref().map(|text| ("description", text)));
        self.without_request(&form(&item), invoice_items::create)?;
        let head = [
            ("customer", wanted.customer.as_str()),
            ("currency", wanted.currency.as_str()),
            ("pending_invoice_items_behavior", "include"),
        ];
        let (invoice, _) = self.without_request(&form(&head), |work| {
            let mut draft = invoices::create(work)?;
            set(&mut draft, "metadata", json!(wanted.metadata));
            Ok(invoices::finalize_draft(work, draft))
        })?;
        Ok(invoice)
    }

    pub(crate) fn pay_invoice(&self, invoice: &str, metadata: &BTreeMap<String, String>) -> Result<Charged, String> {
        let (intent, events) = self.without_request(&form(&[]), |work| {
            let open = work.books.invoices.find(invoice)?.clone();
            invoices::require_status(&open, "open", "pay")?;
            invoice_payments::pay_by_card(work, open, "pm_card_visa", json!(metadata))?;
            let newest = work.books.intents.iter().last().cloned();
            newest.ok_or_else(|| Refusal::missing(404, "payment_intent", invoice, "invoice"))
        })?;
        Ok(charged(&intent, events))
    }

    pub(crate) fn roll_secret(&self, endpoint: &str) -> Option<String> {
        let secret = format!("whsec_{}", self.ids.letters(32));
        let given = secret.clone();
        let known = self.instruments.deliveries.edit_endpoint(endpoint, |target| target.secrets.push(given));
        known.then_some(secret)
    }

    pub(crate) fn retire_secrets(&self, endpoint: &str) -> bool {
        self.instruments.deliveries.edit_endpoint(endpoint, |target| {
            let older = target.secrets.len().saturating_sub(1);
            target.secrets.drain(..older);
        })
    }

    /// Runs an operation that no request asked for. Gives its result and the ids of the events.
    fn without_request(
        &self,
        form: &Form,
        run: impl FnOnce(&mut Work<'_>) -> Result<Value, Refusal>,
    ) -> Result<(Value, Vec<String>), String> {
        let desk = self.desk();
        let mut books = self.books.get();
        let mut work = Work {
            books: &mut books,
            form,
            id: "",
            ids: desk.ids,
            now: desk.now,
            origin: Origin::Checkout,
            deliveries: desk.deliveries,
            effects: desk.effects,
            done: Vec::new(),
            emitted: Vec::new(),
        };
        let result = run(&mut work).map_err(|refusal| refusal.message().to_owned());
        let (done, emitted) = (work.done, work.emitted);
        desk.effects.count(&done);
        Ok((result?, emitted))
    }
}

fn form(fields: &[(&str, &str)]) -> Form {
    let text = |(name, value): &(&str, &str)| ((*name).to_owned(), Form::Text((*value).to_owned()));
    Form::Branch(fields.iter().map(text).collect())
}

fn charged(intent: &Value, events: Vec<String>) -> Charged {
    Charged { payment_intent: id_of(intent).to_owned(), charge: text_of(intent, "latest_charge").to_owned(), events }
}
