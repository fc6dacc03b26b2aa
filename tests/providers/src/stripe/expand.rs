//! `expand[]`: replacing an id by the object it names.
//!
//! **To extend.** A line in [`EXPANDABLE`].

use serde_json::{Value, json};

use super::books::{Books, Shelf, id_of, text_of};
use super::errors::Refusal;

type Place = fn(&Books) -> &Shelf;

/// Which field of which object names what.
const EXPANDABLE: &[(&str, &str, Place)] = &[
    ("payment_intent", "customer", |books| &books.customers),
    ("payment_intent", "latest_charge", |books| &books.charges),
    ("charge", "customer", |books| &books.customers),
    ("charge", "payment_intent", |books| &books.intents),
    ("invoice", "customer", |books| &books.customers),
    ("invoiceitem", "customer", |books| &books.customers),
    ("invoiceitem", "invoice", |books| &books.invoices),
    ("invoice_payment", "invoice", |books| &books.invoices),
];

/// Refuses, before anything is done, a path that no object could expand. A path has at most four names, joined by
/// dots; those of a list begin with `data`.
pub(crate) fn check(path: &str) -> Result<(), Refusal> {
    let known = |name| name == "data" || name == "payments" || EXPANDABLE.iter().any(|(_, field, _)| *field == name);
    if path.split('.').count() > 4 {
        return Err(Refusal::invalid("You can only expand to a depth of four."));
    }
    if path.split('.').all(known) { Ok(()) } else { Err(not_expandable(path)) }
}

pub(crate) fn expand(books: &Books, object: Value, path: &str) -> Result<Value, Refusal> {
    let names: Vec<&str> = path.split('.').collect();
    expand_names(books, object, &names, path)
}

fn not_expandable(path: &str) -> Refusal {
    Refusal::invalid(format!("This property cannot be expanded ({path})."))
}

fn expand_names(books: &Books, mut object: Value, names: &[&str], path: &str) -> Result<Value, Refusal> {
    let Some((name, rest)) = names.split_first() else {
        return Ok(object);
    };
    if text_of(&object, "object") == "list" && *name == "data" && !rest.is_empty() {
        if let Some(Value::Array(rows)) = object.get_mut("data") {
            for row in rows {
                *row = expand_names(books, row.take(), rest, path)?;
            }
        }
        return Ok(object);
    }
    let inner = expanded_field(books, &object, name).ok_or_else(|| not_expandable(path))?;
    let inner = if inner.is_object() { expand_names(books, inner, rest, path)? } else { inner };
    if let Some(fields) = object.as_object_mut() {
        fields.insert((*name).to_owned(), inner);
    }
    Ok(object)
}

/// The object behind a field; the field itself when it is null; nothing when it cannot be expanded.
fn expanded_field(books: &Books, object: &Value, name: &str) -> Option<Value> {
    let kind = text_of(object, "object");
    if (kind, name) == ("invoice", "payments") {
        return Some(payments(books, id_of(object)));
    }
    let (.., place) = EXPANDABLE.iter().find(|(owner, field, _)| (*owner, *field) == (kind, name))?;
    match object.get(name)? {
        Value::String(id) => place(books).get(id).cloned(),
        other => Some(other.clone()),
    }
}

/// An invoice's payments are not part of it unless asked for.
fn payments(books: &Books, invoice: &str) -> Value {
    let of_invoice = books.invoice_payments.iter().filter(|payment| text_of(payment, "invoice") == invoice);
    json!({
        "object": "list",
        "data": of_invoice.collect::<Vec<_>>(),
        "has_more": false,
        "url": format!("/v1/invoice_payments?invoice={invoice}"),
    })
}
