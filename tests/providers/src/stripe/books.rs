//! Everything a simulated Stripe account holds, and the desk at which one operation works on it.
//!
//! **Invariants.** Objects are the JSON that the API returns; amounts in them are integers. An operation changes
//! nothing before its last refusal. Each change is counted, and told as an event where Stripe tells one.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::{Value, json};

use super::errors::Refusal;
use super::params::Form;
use super::webhooks;
use crate::core::deliveries::{Deliveries, Notice};
use crate::core::effects::Effects;
use crate::core::front::Answer;
use crate::core::ids::Ids;

pub(crate) const API_VERSION: &str = "2026-10-28.endive";

/// The objects of one type, in the order of their creation.
#[derive(Debug)]
pub(crate) struct Shelf {
    /// What Stripe calls one of these in its messages.
    pub(crate) object: &'static str,
    rows: Vec<Option<Value>>,
    positions: HashMap<String, usize>,
}

impl Shelf {
    fn new(object: &'static str) -> Self {
        Self { object, rows: Vec::new(), positions: HashMap::new() }
    }

    pub(crate) fn add(&mut self, value: Value) {
        self.positions.insert(id_of(&value).to_owned(), self.rows.len());
        self.rows.push(Some(value));
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Value> {
        self.rows.get(*self.positions.get(id)?)?.as_ref()
    }

    /// The object that a URL names.
    pub(crate) fn find(&self, id: &str) -> Result<&Value, Refusal> {
        self.get(id).ok_or_else(|| Refusal::missing(404, self.object, id, "id"))
    }

    /// The object that a parameter names.
    pub(crate) fn refer(&self, id: &str, param: &str) -> Result<&Value, Refusal> {
        self.get(id).ok_or_else(|| Refusal::missing(400, self.object, id, param))
    }

    pub(crate) fn put(&mut self, value: Value) {
        let position = self.positions.get(id_of(&value)).copied();
        if let Some(row) = position.and_then(|position| self.rows.get_mut(position)) {
            *row = Some(value);
        }
    }

    pub(crate) fn remove(&mut self, id: &str) -> Option<Value> {
        self.rows.get_mut(*self.positions.get(id)?)?.take()
    }

    pub(crate) fn position(&self, id: &str) -> Option<usize> {
        self.positions.get(id).copied()
    }

    pub(crate) fn rows(&self) -> &[Option<Value>] {
        &self.rows
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Value> {
        self.rows.iter().flatten()
    }
}

/// A result that an idempotency key stands for.
#[derive(Debug)]
pub(crate) struct Remembered {
    pub(crate) endpoint: String,
    pub(crate) params: Vec<(String, String)>,
    pub(crate) answer: Answer,
    pub(crate) request_id: String,
}

#[derive(Debug)]
pub(crate) struct Books {
    pub(crate) keys: BTreeSet<String>,
    pub(crate) account: Value,
    pub(crate) customers: Shelf,
    pub(crate) invoices: Shelf,
    pub(crate) invoice_items: Shelf,
    pub(crate) invoice_payments: Shelf,
    pub(crate) intents: Shelf,
    pub(crate) charges: Shelf,
    pub(crate) events: Shelf,
    pub(crate) endpoints: Shelf,
    pub(crate) remembered: HashMap<String, Remembered>,
}

impl Books {
    pub(crate) fn new(keys: Vec<String>, account: Value) -> Self {
        Self {
            keys: keys.into_iter().collect(),
            account,
            customers: Shelf::new("customer"),
            invoices: Shelf::new("invoice"),
            invoice_items: Shelf::new("invoiceitem"),
            invoice_payments: Shelf::new("invoice_payment"),
            intents: Shelf::new("payment_intent"),
            charges: Shelf::new("charge"),
            events: Shelf::new("event"),
            endpoints: Shelf::new("webhook endpoint"),
            remembered: HashMap::new(),
        }
    }
}

/// Who asked for a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Api {
        request_id: String,
        idempotency_key: Option<String>,
    },
    /// A customer at the checkout, through the simulator's control.
    Checkout,
}

/// One operation at work.
pub(crate) struct Work<'a> {
    pub(crate) books: &'a mut Books,
    pub(crate) form: &'a Form,
    /// The object named in the URL; empty when there is none.
    pub(crate) id: &'a str,
    pub(crate) ids: &'a Ids,
    pub(crate) now: i64,
    pub(crate) origin: Origin,
    pub(crate) deliveries: &'a Deliveries,
    pub(crate) effects: &'a Effects,
    pub(crate) done: Vec<String>,
    pub(crate) emitted: Vec<String>,
}

impl Work<'_> {
    /// Counts a side effect. What a customer did at the checkout is counted apart from what the API was asked for.
    pub(crate) fn did(&mut self, effect: &str) {
        let prefix = if self.origin == Origin::Checkout { "checkout." } else { "" };
        self.done.push(format!("{prefix}{effect}"));
    }

    /// Counts a creation through the API, and what makes it the same as another one.
    pub(crate) fn created(&mut self, object: &str, fingerprint: String, id: &str) {
        self.did(&format!("{object}.created"));
        if self.origin != Origin::Checkout {
            self.effects.created(object, fingerprint, id);
        }
    }

    /// Records an event and tells it to every endpoint that listens for its type.
    pub(crate) fn emit(&mut self, kind: &str, object: &Value) {
        let listeners = webhooks::listeners(&self.books.endpoints, kind);
        let (request_id, idempotency_key) = match &self.origin {
            Origin::Api { request_id, idempotency_key } => (Some(request_id), idempotency_key.as_ref()),
            Origin::Checkout => (None, None),
        };
        let id = self.ids.named("evt_");
        let event = json!({
            "id": id,
            "object": "event",
            "api_version": API_VERSION,
            "created": self.now,
            "data": { "object": object },
            "livemode": false,
            "pending_webhooks": listeners.len(),
            "request": { "id": request_id, "idempotency_key": idempotency_key },
            "type": kind,
        });
        let notice = Arc::new(Notice { id: id.clone(), payload: event.clone() });
        self.books.events.add(event);
        for listener in listeners {
            self.deliveries.emit(&listener, notice.clone());
        }
        self.emitted.push(id);
    }
}

pub(crate) fn id_of(value: &Value) -> &str {
    text_of(value, "id")
}

/// A text field of an object; empty when it is null.
pub(crate) fn text_of<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

pub(crate) fn integer_of(value: &Value, field: &str) -> i64 {
    value.get(field).and_then(Value::as_i64).unwrap_or_default()
}

/// Sets a field of an object.
pub(crate) fn set(object: &mut Value, field: &str, value: impl Into<Value>) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(field.to_owned(), value.into());
    }
}

/// Copies the texts a form gives; an empty one unsets the field.
pub(crate) fn set_texts(object: &mut Value, form: &Form, fields: &[&str]) {
    for field in fields {
        if let Some(text) = form.text(field) {
            let value = if text.is_empty() { Value::Null } else { text.into() };
            set(object, field, value);
        }
    }
}

/// Merges metadata key by key: an empty value removes its key, empty metadata removes them all.
pub(crate) fn merge_metadata(object: &mut Value, form: &Form) {
    let clears = form.text("metadata") == Some("");
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    if clears {
        metadata.clear();
    }
    for (key, text) in form.entries("metadata") {
        if text.is_empty() {
            metadata.remove(key);
        } else {
            metadata.insert(key.to_owned(), text.into());
        }
    }
}
