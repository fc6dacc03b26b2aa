//! How an invoice ends: paid by card, paid outside Stripe, or voided.
//!
//! **Invariant.** How an invoice was paid is found in its `payments`, not in the intent or the charge.

use serde_json::{Value, json};

use super::books::{Work, id_of, integer_of, set, text_of};
use super::charges::Card;
use super::errors::Refusal;
use super::intents;
use super::invoices::{finalize_draft, not_editable, require_status, transition};
use super::lists::EXPAND;
use super::params::{Kind, Param, may};

pub(crate) const PAY: &[Param] = &[
    EXPAND,
    may("forgive", Kind::NotSimulated),
    may("mandate", Kind::NotSimulated),
    may("off_session", Kind::Flag),
    may("paid_out_of_band", Kind::Flag),
    may("payment_method", Kind::Text),
    may("source", Kind::NotSimulated),
];

pub(crate) fn pay(work: &mut Work<'_>) -> Result<Value, Refusal> {
    let mut invoice = work.books.invoices.find(work.id)?.clone();
    if text_of(&invoice, "status") == "paid" {
        return Err(Refusal::wrong_state("invoice_already_paid", "Invoice is already paid"));
    }
    if !matches!(text_of(&invoice, "status"), "draft" | "open") {
        return Err(not_editable(&invoice, "pay"));
    }
    let out_of_band = work.form.flag("paid_out_of_band") == Some(true);
    let method = work.form.text("payment_method");
    match method {
        Some(method) if Card::of(method).is_none() => {
            return Err(Refusal::missing(400, "PaymentMethod", method, "payment_method"));
        }
        None if !out_of_band => {
            let message = "The customer has no card on file: give payment_method or paid_out_of_band.";
            return Err(Refusal::wrong_state("missing", message));
        }
        _ => {}
    }
    if text_of(&invoice, "status") == "draft" {
        invoice = finalize_draft(work, invoice);
    }
    if text_of(&invoice, "status") == "paid" {
        return Ok(invoice);
    }
    match method.filter(|_| !out_of_band) {
        Some(method) => pay_by_card(work, invoice, method, json!({})),
        None => {
            mark_paid(work, &mut invoice, None);
            Ok(invoice)
        }
    }
}

/// Pays an open invoice with an intent of its own, which carries the metadata that the merchant gave.
pub(crate) fn pay_by_card(
    work: &mut Work<'_>,
    mut invoice: Value,
    method: &str,
    metadata: Value,
) -> Result<Value, Refusal> {
    let due = integer_of(&invoice, "amount_remaining");
    let mut intent = intents::blank(work, due, text_of(&invoice, "currency"));
    set(&mut intent, "customer", text_of(&invoice, "customer"));
    set(&mut intent, "description", "Payment for Invoice");
    set(&mut intent, "metadata", metadata);
    set(&mut intent, "payment_method", method);
    intents::shelve_new(work, &intent);
    set(&mut invoice, "attempted", true);
    let attempts = integer_of(&invoice, "attempt_count") + 1;
    set(&mut invoice, "attempt_count", attempts);
    work.books.invoices.put(invoice.clone());
    match intents::confirm_intent(work, intent) {
        Ok(intent) if text_of(&intent, "status") == "succeeded" => {
            mark_paid(work, &mut invoice, Some(&intent));
            Ok(invoice)
        }
        Ok(_) => Ok(invoice),
        Err(refusal) => {
            work.emit("invoice.payment_failed", &invoice);
            Err(refusal)
        }
    }
}

pub(crate) fn mark_paid(work: &mut Work<'_>, invoice: &mut Value, intent: Option<&Value>) {
    let due = integer_of(invoice, "amount_due");
    set(invoice, "status", "paid");
    set(invoice, "amount_paid", due);
    set(invoice, "amount_remaining", 0);
    transition(invoice, "paid_at", work.now);
    work.books.invoices.put(invoice.clone());
    if let Some(intent) = intent {
        let payment = json!({
            "id": work.ids.named("inpay_1"), "object": "invoice_payment", "amount_paid": due,
            "amount_requested": due, "created": work.now, "currency": text_of(invoice, "currency"),
            "invoice": id_of(invoice), "is_default": true, "livemode": false,
            "payment": { "payment_intent": id_of(intent), "type": "payment_intent" }, "status": "paid",
            "status_transitions": { "canceled_at": null, "paid_at": work.now },
        });
        work.books.invoice_payments.add(payment.clone());
        work.emit("invoice_payment.paid", &payment);
    }
    work.did("invoice.paid");
    work.emit("invoice.paid", invoice);
    work.emit("invoice.payment_succeeded", invoice);
}

pub(crate) fn void(work: &mut Work<'_>) -> Result<Value, Refusal> {
    let mut invoice = work.books.invoices.find(work.id)?.clone();
    require_status(&invoice, "open", "void")?;
    set(&mut invoice, "status", "void");
    transition(&mut invoice, "voided_at", work.now);
    work.books.invoices.put(invoice.clone());
    work.did("invoice.voided");
    work.emit("invoice.voided", &invoice);
    Ok(invoice)
}
