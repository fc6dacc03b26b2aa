//! Invoices, from the draft to the number.
//!
//! **Invariant.** Only a draft's items change; `amount_due` is the sum of the lines.

use serde_json::{Value, json};

use super::books::{Work, id_of, integer_of, merge_metadata, set, set_texts, text_of};
use super::currency;
use super::errors::Refusal;
use super::invoice_items::{claim_pending_items, recount};
use super::invoice_payments::mark_paid;
use super::lists::{self, CREATED, ENDING_BEFORE, EXPAND, LIMIT, STARTING_AFTER};
use super::params::{Kind, Param, may, must};

const COLLECTION: Kind = Kind::OneOf(&["charge_automatically", "send_invoice"]);

pub(crate) const CREATE: &[Param] = &[
    may("account_tax_ids", Kind::NotSimulated),
    may("application_fee_amount", Kind::NotSimulated),
    may("automatically_finalizes_at", Kind::NotSimulated),
    may("custom_fields", Kind::NotSimulated),
    may("customer_account", Kind::NotSimulated),
    may("effective_at", Kind::NotSimulated),
    may("issuer", Kind::NotSimulated),
    may("on_behalf_of", Kind::NotSimulated),
    may("auto_advance", Kind::Flag),
    may("automatic_tax", Kind::NotSimulated),
    may("collection_method", COLLECTION),
    may("currency", Kind::Text),
    must("customer", Kind::Text),
    may("days_until_due", Kind::Integer),
    may("default_payment_method", Kind::NotSimulated),
    may("default_source", Kind::NotSimulated),
    may("default_tax_rates", Kind::NotSimulated),
    may("description", Kind::Text),
    may("discounts", Kind::NotSimulated),
    may("due_date", Kind::Integer),
    EXPAND,
    may("footer", Kind::Text),
    may("from_invoice", Kind::NotSimulated),
    may("metadata", Kind::Metadata),
    may("number", Kind::Text),
    may("payment_settings", Kind::NotSimulated),
    may("pending_invoice_items_behavior", Kind::OneOf(&["exclude", "include"])),
    may("rendering", Kind::NotSimulated),
    may("shipping_cost", Kind::NotSimulated),
    may("shipping_details", Kind::NotSimulated),
    may("statement_descriptor", Kind::Text),
    may("subscription", Kind::NotSimulated),
    may("transfer_data", Kind::NotSimulated),
];

pub(crate) const UPDATE: &[Param] = &[
    may("auto_advance", Kind::Flag),
    may("collection_method", COLLECTION),
    may("days_until_due", Kind::Integer),
    may("description", Kind::Unsettable),
    may("due_date", Kind::Integer),
    EXPAND,
    may("footer", Kind::Unsettable),
    may("metadata", Kind::Metadata),
    may("statement_descriptor", Kind::Text),
];

pub(crate) const FINALIZE: &[Param] = &[may("auto_advance", Kind::Flag), EXPAND];

pub(crate) const LIST: &[Param] = &[
    may("collection_method", COLLECTION),
    CREATED,
    may("customer", Kind::Text),
    may("customer_account", Kind::NotSimulated),
    may("due_date", Kind::NotSimulated),
    ENDING_BEFORE,
    EXPAND,
    LIMIT,
    STARTING_AFTER,
    may("status", Kind::OneOf(&["draft", "open", "paid", "uncollectible", "void"])),
    may("subscription", Kind::NotSimulated),
];

pub(crate) fn create(work: &mut Work<'_>) -> Result<Value, Refusal> {
    let form = work.form;
    let customer = work.books.customers.refer(form.text("customer").unwrap_or_default(), "customer")?.clone();
    let currency = form.text("currency").or_else(|| customer.get("currency")?.as_str()).unwrap_or("usd").to_owned();
    currency::check(&currency)?;
    let by_mail = form.text("collection_method") == Some("send_invoice");
    let due = due_date(work)?;
    if by_mail && due.is_none() {
        let message = "An invoice that is sent needs days_until_due or due_date.";
        return Err(Refusal::invalid_param("parameter_missing", "days_until_due", message));
    }
    let mut invoice = blank(work, &customer, &currency);
    set(&mut invoice, "due_date", due);
    set(&mut invoice, "auto_advance", form.flag("auto_advance").unwrap_or(false));
    set_texts(&mut invoice, form, &["collection_method", "description", "footer", "number", "statement_descriptor"]);
    merge_metadata(&mut invoice, form);
    let id = id_of(&invoice).to_owned();
    if form.text("pending_invoice_items_behavior") == Some("include") {
        claim_pending_items(work, &invoice);
    }
    recount(work, &mut invoice);
    work.books.invoices.add(invoice.clone());
    let sameness = json!([id_of(&customer), invoice.get("number"), invoice.get("metadata")]);
    work.created("invoice", sameness.to_string(), &id);
    work.emit("invoice.created", &invoice);
    Ok(invoice)
}

fn due_date(work: &Work<'_>) -> Result<Option<i64>, Refusal> {
    match (work.form.integer("days_until_due"), work.form.integer("due_date")) {
        (Some(_), Some(_)) => {
            Err(Refusal::invalid("You may only specify one of these parameters: days_until_due, due_date."))
        }
        (Some(days), None) => Ok(Some(work.now.saturating_add(days.saturating_mul(86_400)))),
        (None, date) => Ok(date),
    }
}

fn blank(work: &Work<'_>, customer: &Value, currency: &str) -> Value {
    let of_customer = |field: &str| customer.get(field).cloned().unwrap_or_default();
    json!({
        "id": work.ids.named("in_1"), "object": "invoice", "account_country": "US",
        "account_name": "Simulated merchant", "account_tax_ids": null, "amount_due": 0, "amount_overpaid": 0,
        "amount_paid": 0, "amount_remaining": 0, "amount_shipping": 0, "application": null, "attempt_count": 0,
        "attempted": false, "auto_advance": false,
        "automatic_tax": {
            "disabled_reason": null, "enabled": false, "liability": null, "provider": null, "status": null,
        },
        "automatically_finalizes_at": null, "billing_reason": "manual", "collection_method": "charge_automatically",
        "created": work.now, "currency": currency, "custom_fields": null, "customer": id_of(customer),
        "customer_account": null, "customer_address": of_customer("address"), "customer_email": of_customer("email"),
        "customer_name": of_customer("name"), "customer_phone": of_customer("phone"),
        "customer_shipping": of_customer("shipping"), "customer_tax_exempt": of_customer("tax_exempt"),
        "customer_tax_ids": [], "default_payment_method": null, "default_source": null, "default_tax_rates": [],
        "description": null, "discounts": [], "due_date": null, "effective_at": null, "ending_balance": null,
        "footer": null, "from_invoice": null, "hosted_invoice_url": null, "invoice_pdf": null,
        "issuer": { "type": "self" }, "last_finalization_error": null, "latest_revision": null, "lines": null,
        "livemode": false, "metadata": {}, "next_payment_attempt": null, "number": null, "on_behalf_of": null,
        "parent": null,
        "payment_settings": { "default_mandate": null, "payment_method_options": null, "payment_method_types": null },
        "period_end": work.now, "period_start": work.now, "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0, "receipt_number": null, "rendering": null, "shipping_cost": null,
        "shipping_details": null, "starting_balance": 0, "statement_descriptor": null, "status": "draft",
        "status_transitions": {
            "finalized_at": null, "marked_uncollectible_at": null, "paid_at": null, "voided_at": null,
        },
        "subtotal": 0, "subtotal_excluding_tax": 0, "test_clock": null, "total": 0, "total_discount_amounts": [],
        "total_excluding_tax": 0, "total_pretax_credit_amounts": [], "total_taxes": [], "webhooks_delivered_at": null,
    })
}

pub(crate) fn retrieve(work: &mut Work<'_>) -> Result<Value, Refusal> {
    work.books.invoices.find(work.id).cloned()
}

pub(crate) fn list(work: &mut Work<'_>) -> Result<Value, Refusal> {
    let fields = ["collection_method", "customer", "status"];
    let wanted = |row: &Value| fields.iter().all(|field| lists::equals(row, work.form, field));
    lists::page(&work.books.invoices, work.form, "/v1/invoices", wanted)
}

pub(crate) fn update(work: &mut Work<'_>) -> Result<Value, Refusal> {
    let mut invoice = work.books.invoices.find(work.id)?.clone();
    let due = due_date(work)?;
    let terms = ["auto_advance", "collection_method", "days_until_due", "due_date", "statement_descriptor"];
    if terms.iter().any(|field| work.form.child(field).is_some()) {
        require_status(&invoice, "draft", "change the terms of")?;
    }
    if due.is_some() {
        set(&mut invoice, "due_date", due);
    }
    if let Some(advance) = work.form.flag("auto_advance") {
        set(&mut invoice, "auto_advance", advance);
    }
    set_texts(&mut invoice, work.form, &["collection_method", "description", "footer", "statement_descriptor"]);
    merge_metadata(&mut invoice, work.form);
    work.books.invoices.put(invoice.clone());
    work.did("invoice.updated");
    work.emit("invoice.updated", &invoice);
    Ok(invoice)
}

pub(crate) fn finalize(work: &mut Work<'_>) -> Result<Value, Refusal> {
    let invoice = work.books.invoices.find(work.id)?.clone();
    require_status(&invoice, "draft", "finalize")?;
    Ok(finalize_draft(work, invoice))
}

/// Numbers a draft and opens it; one with nothing to pay is paid at once.
pub(crate) fn finalize_draft(work: &mut Work<'_>, mut invoice: Value) -> Value {
    let id = id_of(&invoice).to_owned();
    if text_of(&invoice, "number").is_empty() {
        let number = next_number(work, text_of(&invoice, "customer"));
        set(&mut invoice, "number", number);
    }
    set(&mut invoice, "status", "open");
    set(&mut invoice, "effective_at", work.now);
    set(&mut invoice, "hosted_invoice_url", format!("https://invoice.stripe.com/i/{id}"));
    set(&mut invoice, "invoice_pdf", format!("https://pay.stripe.com/invoice/{id}/pdf"));
    transition(&mut invoice, "finalized_at", work.now);
    work.books.invoices.put(invoice.clone());
    work.did("invoice.finalized");
    work.emit("invoice.finalized", &invoice);
    if integer_of(&invoice, "amount_due") == 0 {
        mark_paid(work, &mut invoice, None);
    }
    invoice
}

/// `PREFIX-0001`, counted for each customer.
fn next_number(work: &mut Work<'_>, customer: &str) -> String {
    let Some(mut customer) = work.books.customers.get(customer).cloned() else {
        return work.ids.letters(8).to_uppercase();
    };
    let sequence = integer_of(&customer, "next_invoice_sequence");
    let number = format!("{}-{sequence:04}", text_of(&customer, "invoice_prefix"));
    set(&mut customer, "next_invoice_sequence", sequence + 1);
    work.books.customers.put(customer);
    number
}

pub(crate) fn transition(invoice: &mut Value, moment: &str, now: i64) {
    if let Some(transitions) = invoice.get_mut("status_transitions") {
        set(transitions, moment, now);
    }
}

pub(crate) fn require_status(invoice: &Value, status: &str, verb: &str) -> Result<(), Refusal> {
    if text_of(invoice, "status") == status {
        return Ok(());
    }
    Err(not_editable(invoice, verb))
}

pub(crate) fn not_editable(invoice: &Value, verb: &str) -> Refusal {
    let status = text_of(invoice, "status");
    Refusal::wrong_state("invoice_not_editable", format!("You cannot {verb} an invoice with a status of {status}."))
}
