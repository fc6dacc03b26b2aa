//! The items on invoices, and the lines and sums they become.
//!
//! **Invariant.** Items of an invoice change only while it is a draft.

use serde_json::{Value, json};

use super::books::{Work, id_of, integer_of, merge_metadata, set, text_of};
use super::currency;
use super::errors::Refusal;
use super::invoices::require_status;
use super::lists::EXPAND;
use super::params::{Kind, Param, may, must};

pub(crate) const CREATE: &[Param] = &[
    must("amount", Kind::Integer),
    must("currency", Kind::Text),
    must("customer", Kind::Text),
    may("customer_account", Kind::NotSimulated),
    may("description", Kind::Text),
    may("discountable", Kind::Flag),
    may("discounts", Kind::NotSimulated),
    EXPAND,
    may("invoice", Kind::Text),
    may("metadata", Kind::Metadata),
    may("period", Kind::Object(&[must("end", Kind::Integer), must("start", Kind::Integer)])),
    may("price_data", Kind::NotSimulated),
    may("pricing", Kind::NotSimulated),
    may("quantity", Kind::NotSimulated),
    may("quantity_decimal", Kind::NotSimulated),
    may("subscription", Kind::NotSimulated),
    may("tax_behavior", Kind::NotSimulated),
    may("tax_code", Kind::NotSimulated),
    may("tax_rates", Kind::NotSimulated),
    may("unit_amount_decimal", Kind::NotSimulated),
];

pub(crate) fn create(work: &mut Work<'_>) -> Result<Value, Refusal> {
    let form = work.form;
    let customer = form.text("customer").unwrap_or_default();
    work.books.customers.refer(customer, "customer")?;
    let currency = form.text("currency").unwrap_or_default();
    currency::check(currency)?;
    let invoice = form.text("invoice").map(|id| work.books.invoices.refer(id, "invoice").cloned()).transpose()?;
    if let Some(invoice) = &invoice {
        let matches = text_of(invoice, "customer") == customer && text_of(invoice, "currency") == currency;
        if !matches {
            return Err(Refusal::invalid("The item's customer and currency must be those of the invoice."));
        }
        require_status(invoice, "draft", "add an item to")?;
    }
    let id = work.ids.named("ii_1");
    let mut item = json!({
        "id": id, "object": "invoiceitem", "amount": form.integer("amount"), "currency": currency,
        "customer": customer, "customer_account": null, "date": work.now, "description": form.text("description"),
        "discountable": form.flag("discountable").unwrap_or(true), "discounts": [], "invoice": form.text("invoice"),
        "livemode": false, "metadata": {}, "net_amount": form.integer("amount"), "parent": null,
        "period": period(work), "pricing": null, "proration": false, "quantity": 1, "quantity_decimal": "1",
        "tax_rates": [], "test_clock": null,
    });
    merge_metadata(&mut item, form);
    work.books.invoice_items.add(item.clone());
    work.created("invoiceitem", json!([customer, form.integer("amount"), form.text("description")]).to_string(), &id);
    work.emit("invoiceitem.created", &item);
    if let Some(mut invoice) = invoice {
        recount(work, &mut invoice);
        work.books.invoices.put(invoice);
    }
    Ok(item)
}

fn period(work: &Work<'_>) -> Value {
    let given = work.form.child("period");
    let bound = |name| given.and_then(|period| period.integer(name)).unwrap_or(work.now);
    json!({ "end": bound("end"), "start": bound("start") })
}

pub(crate) fn retrieve(work: &mut Work<'_>) -> Result<Value, Refusal> {
    work.books.invoice_items.find(work.id).cloned()
}

/// Items of the customer that are on no invoice yet.
pub(crate) fn claim_pending_items(work: &mut Work<'_>, invoice: &Value) {
    let pending = |item: &&Value| {
        text_of(item, "invoice").is_empty()
            && text_of(item, "customer") == text_of(invoice, "customer")
            && text_of(item, "currency") == text_of(invoice, "currency")
    };
    let claimed: Vec<Value> = work.books.invoice_items.iter().filter(pending).cloned().collect();
    for mut item in claimed {
        set(&mut item, "invoice", id_of(invoice));
        work.books.invoice_items.put(item);
    }
}

/// Makes the lines and the sums follow the items.
pub(crate) fn recount(work: &Work<'_>, invoice: &mut Value) {
    let id = id_of(invoice).to_owned();
    let items = work.books.invoice_items.iter().filter(|item| text_of(item, "invoice") == id);
    let lines: Vec<Value> = items.map(|item| line(item, &id)).collect();
    let total: i64 = lines.iter().map(|line| integer_of(line, "amount")).sum();
    let has_more = false;
    let url = format!("/v1/invoices/{id}/lines");
    set(invoice, "lines", json!({ "object": "list", "data": lines, "has_more": has_more, "url": url }));
    for field in ["subtotal", "subtotal_excluding_tax", "total", "total_excluding_tax"] {
        set(invoice, field, total);
    }
    set(invoice, "amount_due", total.max(0));
    set(invoice, "amount_remaining", total.max(0) - integer_of(invoice, "amount_paid"));
}

fn line(item: &Value, invoice: &str) -> Value {
    let of_item = |field: &str| item.get(field).cloned().unwrap_or_default();
    json!({
        "id": id_of(item).replacen("ii_", "il_", 1), "object": "line_item", "amount": of_item("amount"),
        "currency": of_item("currency"), "description": of_item("description"), "discount_amounts": [],
        "discountable": of_item("discountable"), "discounts": [], "invoice": invoice, "livemode": false,
        "metadata": of_item("metadata"),
        "parent": {
            "invoice_item_details": {
                "invoice_item": id_of(item), "proration": false, "proration_details": null, "subscription": null,
            },
            "subscription_item_details": null, "type": "invoice_item_details",
        },
        "period": of_item("period"), "pretax_credit_amounts": [], "pricing": null, "quantity": 1,
        "quantity_decimal": "1", "subscription": null, "subtotal": of_item("amount"), "taxes": [],
    })
}
