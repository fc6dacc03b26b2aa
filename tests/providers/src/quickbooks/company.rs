//! The books of one company, and the desk at which one write works on them.
//!
//! **Invariants.** An id is never given twice. What payments have applied to an invoice is kept in one place,
//! `applied`; balances are computed from it and never stored. Nothing is changed before the last refusal.
//!
//! Times have whole seconds, as QuickBooks shows them. A payment is a change of the invoices it pays: their
//! `SyncToken` and `LastUpdatedTime` move with it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rust_decimal::Decimal;

use super::entity::Entity;
use super::json::{Json, Object};
use super::refusal::Refusal;
use crate::core::front::Answer;

/// One object. The body holds what was sent and accepted; the rest is rendered around it.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) id: u64,
    pub(crate) token: u64,
    pub(crate) body: Object,
    /// The sum of a transaction.
    pub(crate) total: Decimal,
    pub(crate) created: i64,
    pub(crate) updated: i64,
    pub(crate) deleted: bool,
}

impl Row {
    pub(crate) fn text(&self, field: &str) -> &str {
        self.body.get(field).and_then(Json::text).unwrap_or_default()
    }

    /// Where a field refers to; 0, which no object has, when it refers to nothing.
    pub(crate) fn refers(&self, field: &str) -> u64 {
        let id = self.body.get(field).and_then(|reference| reference.get("value")).and_then(Json::text);
        id.and_then(|id| id.parse().ok()).unwrap_or_default()
    }

    pub(crate) fn is_active(&self) -> bool {
        self.body.get("Active").and_then(Json::flag).unwrap_or(true)
    }
}

/// What an entity looks like after a write, and what it does to invoices.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) body: Object,
    pub(crate) total: Decimal,
    pub(crate) applies: BTreeMap<u64, Decimal>,
}

#[derive(Debug)]
pub(crate) struct Company {
    pub(crate) realm: String,
    pub(crate) name: String,
    pub(crate) opened: i64,
    rows: BTreeMap<(Entity, u64), Row>,
    next_ids: BTreeMap<Entity, u64>,
    /// Where the search for a free document number begins.
    pub(crate) next_document: u64,
    /// Names in small letters; those of inactive objects are free again.
    names: HashMap<(Entity, String), u64>,
    documents: HashMap<String, u64>,
    /// For each invoice, what each payment has paid of it.
    applied: BTreeMap<u64, BTreeMap<u64, Decimal>>,
    invoices_of: HashMap<u64, BTreeSet<u64>>,
    /// What was answered to a `requestid`.
    pub(crate) remembered: HashMap<String, Answer>,
}

impl Company {
    pub(crate) fn open(realm: String, name: String, now: i64) -> Self {
        let mut company = Self {
            realm,
            name,
            opened: now,
            rows: BTreeMap::new(),
            next_ids: BTreeMap::new(),
            next_document: 1001,
            names: HashMap::new(),
            documents: HashMap::new(),
            applied: BTreeMap::new(),
            invoices_of: HashMap::new(),
            remembered: HashMap::new(),
        };
        company.furnish(now);
        company
    }

    /// What every new company has: some accounts, and an item to sell.
    fn furnish(&mut self, now: i64) {
        let accounts = [
            ("Checking", "Bank"),
            ("Undeposited Funds", "Other Current Asset"),
            ("Accounts Receivable (A/R)", "Accounts Receivable"),
            ("Sales of Product Income", "Income"),
            ("Office Expenses", "Expense"),
        ];
        let mut income = 0;
        for (name, kind) in accounts {
            let body = Object::from([("Name".to_owned(), name.into()), ("AccountType".to_owned(), kind.into())]);
            let id = self.insert(Entity::Account, Draft { body, total: Decimal::ZERO, applies: BTreeMap::new() }, now);
            income = if kind == "Income" { id } else { income };
        }
        let body = Object::from([
            ("Name".to_owned(), "Services".into()),
            ("Type".to_owned(), "Service".into()),
            ("IncomeAccountRef".to_owned(), Json::reference(&income.to_string(), None)),
        ]);
        self.insert(Entity::Item, Draft { body, total: Decimal::ZERO, applies: BTreeMap::new() }, now);
    }

    /// A row that has not been deleted.
    pub(crate) fn row(&self, entity: Entity, id: u64) -> Option<&Row> {
        self.rows.get(&(entity, id)).filter(|row| !row.deleted)
    }

    /// The row that a text names. An id is digits.
    pub(crate) fn find(&self, entity: Entity, id: &str) -> Result<&Row, Refusal> {
        let number = parse_id(id).ok_or_else(|| Refusal::invalid_id(id))?;
        self.row(entity, number).ok_or_else(|| Refusal::not_found(&format!("{} {id}", entity.name())))
    }

    /// The active row that a reference names.
    pub(crate) fn refer(&self, entity: Entity, body: &Object, field: &str) -> Result<Option<&Row>, Refusal> {
        let Some(id) = body.get(field).and_then(|reference| reference.get("value")).and_then(Json::text) else {
            return Ok(None);
        };
        let row = parse_id(id).and_then(|number| self.row(entity, number));
        let row = row.ok_or_else(|| Refusal::reference(field, id))?;
        if !row.is_active() {
            return Err(Refusal::not_found(&format!("{} {id}", entity.name())));
        }
        Ok(Some(row))
    }

    /// All rows of an entity by ascending id, the deleted ones too.
    pub(crate) fn rows(&self, entity: Entity) -> impl Iterator<Item = &Row> {
        self.rows.range((entity, 0)..=(entity, u64::MAX)).map(|(_, row)| row)
    }

    pub(crate) fn holder_of_name(&self, entity: Entity, name: &str) -> Option<u64> {
        self.names.get(&(entity, name.trim().to_lowercase())).copied()
    }

    pub(crate) fn holder_of_document(&self, number: &str) -> Option<u64> {
        self.documents.get(number).copied()
    }

    pub(crate) fn payments_of(&self, invoice: u64) -> impl Iterator<Item = (u64, Decimal)> {
        self.applied.get(&invoice).into_iter().flatten().map(|(payment, amount)| (*payment, *amount))
    }

    pub(crate) fn applied_to(&self, invoice: u64) -> Decimal {
        self.payments_of(invoice).map(|(_, amount)| amount).sum()
    }

    pub(crate) fn balance(&self, invoice: &Row) -> Decimal {
        invoice.total - self.applied_to(invoice.id)
    }

    /// What a payment has paid of each invoice.
    pub(crate) fn applied_by(&self, payment: &Row) -> BTreeMap<u64, Decimal> {
        let links = payment.body.get("Line").map(Json::items).unwrap_or_default();
        let invoices = links.iter().flat_map(|line| line.get("LinkedTxn").map(Json::items).unwrap_or_default());
        let ids = invoices.filter_map(|link| parse_id(link.get("TxnId")?.text()?));
        ids.filter_map(|id| Some((id, *self.applied.get(&id)?.get(&payment.id)?))).collect()
    }

    /// What a customer's invoices still ask for. Payments that are applied to nothing do not count.
    pub(crate) fn owed_by(&self, customer: u64) -> Decimal {
        let invoices = self.invoices_of.get(&customer).into_iter().flatten();
        invoices.filter_map(|id| self.row(Entity::Invoice, *id)).map(|invoice| self.balance(invoice)).sum()
    }

    /// Adds a new row and gives its id.
    pub(crate) fn insert(&mut self, entity: Entity, draft: Draft, now: i64) -> u64 {
        // Transactions are numbered together, each list of names on its own.
        let series = if entity.is_transaction() { Entity::Invoice } else { entity };
        let next = self.next_ids.entry(series).or_insert(1);
        let id = *next;
        *next += 1;
        let row =
            Row { id, token: 0, body: draft.body, total: draft.total, created: now, updated: now, deleted: false };
        self.index(entity, &row);
        self.rows.insert((entity, id), row);
        self.apply(id, draft.applies, now);
        id
    }

    /// Puts a draft in the place of a row.
    pub(crate) fn replace(&mut self, entity: Entity, id: u64, draft: Draft, now: i64) {
        self.release(entity, id, now);
        let Some(row) = self.rows.get_mut(&(entity, id)) else {
            return;
        };
        row.body = draft.body;
        row.total = draft.total;
        row.token += 1;
        row.updated = now;
        let row = row.clone();
        self.index(entity, &row);
        self.apply(id, draft.applies, now);
    }

    /// Marks a row deleted: feeds still tell of it, nothing else does.
    pub(crate) fn delete(&mut self, entity: Entity, id: u64, now: i64) {
        self.release(entity, id, now);
        self.touch(entity, id, now);
        if let Some(row) = self.rows.get_mut(&(entity, id)) {
            row.deleted = true;
        }
    }

    /// Takes all payments off an invoice. Gives the payments.
    pub(crate) fn unpay(&mut self, invoice: u64, now: i64) -> Vec<u64> {
        let payments: Vec<u64> = self.applied.remove(&invoice).into_iter().flatten().map(|(id, _)| id).collect();
        let id = invoice.to_string();
        for payment in &payments {
            self.touch(Entity::Payment, *payment, now);
            let row = self.rows.get_mut(&(Entity::Payment, *payment));
            if let Some(Json::List(lines)) = row.and_then(|row| row.body.get_mut("Line")) {
                lines.retain(|line| !links_to(line, &id));
            }
        }
        payments
    }

    fn apply(&mut self, payment: u64, applies: BTreeMap<u64, Decimal>, now: i64) {
        for (invoice, amount) in applies {
            self.applied.entry(invoice).or_default().insert(payment, amount);
            self.touch(Entity::Invoice, invoice, now);
        }
    }

    /// Forgets a row's names, numbers and payments, before they change.
    fn release(&mut self, entity: Entity, id: u64, now: i64) {
        let Some(row) = self.rows.get(&(entity, id)).cloned() else {
            return;
        };
        match entity {
            Entity::Customer | Entity::Item | Entity::Account => {
                let name = row.text(entity.name_field()).trim().to_lowercase();
                if self.names.get(&(entity, name.clone())) == Some(&id) {
                    self.names.remove(&(entity, name));
                }
            }
            Entity::Invoice => {
                self.documents.remove(row.text("DocNumber"));
                if let Some(invoices) = self.invoices_of.get_mut(&row.refers("CustomerRef")) {
                    invoices.remove(&id);
                }
            }
            Entity::Payment => {
                for invoice in self.applied_by(&row).into_keys() {
                    if let Some(payments) = self.applied.get_mut(&invoice) {
                        payments.remove(&id);
                    }
                    self.touch(Entity::Invoice, invoice, now);
                }
            }
        }
    }

    fn index(&mut self, entity: Entity, row: &Row) {
        match entity {
            Entity::Customer | Entity::Item | Entity::Account => {
                if row.is_active() {
                    let name = row.text(entity.name_field()).trim().to_lowercase();
                    self.names.insert((entity, name), row.id);
                }
            }
            Entity::Invoice => {
                if row.text("DocNumber") == self.next_document.to_string() {
                    self.next_document += 1;
                }
                self.documents.insert(row.text("DocNumber").to_owned(), row.id);
                self.invoices_of.entry(row.refers("CustomerRef")).or_default().insert(row.id);
            }
            Entity::Payment => {}
        }
    }

    fn touch(&mut self, entity: Entity, id: u64, now: i64) {
        if let Some(row) = self.rows.get_mut(&(entity, id)) {
            row.token += 1;
            row.updated = now;
        }
    }
}

fn links_to(line: &Json, invoice: &str) -> bool {
    let links = line.get("LinkedTxn").map(Json::items).unwrap_or_default();
    links.iter().any(|link| link.get("TxnId").and_then(Json::text) == Some(invoice))
}

/// Digits, and nothing else.
pub(crate) fn parse_id(text: &str) -> Option<u64> {
    let digits_only = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits_only.then(|| text.parse().ok()).flatten()
}
