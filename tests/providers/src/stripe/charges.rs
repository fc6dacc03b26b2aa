//! Charges: what became of a card when an intent was confirmed.

use serde_json::{Value, json};

use super::books::{Work, id_of, integer_of, set, text_of};
use super::errors::Refusal;
use super::lists::{self, CREATED, ENDING_BEFORE, EXPAND, LIMIT, STARTING_AFTER};
use super::params::{Kind, Param, may};

pub(crate) const LIST: &[Param] = &[
    CREATED,
    may("customer", Kind::Text),
    ENDING_BEFORE,
    EXPAND,
    LIMIT,
    may("payment_intent", Kind::Text),
    STARTING_AFTER,
    may("transfer_group", Kind::Text),
];

/// How one of Stripe's test cards behaves.
pub(crate) enum Card {
    Good,
    Declined(&'static str),
    AsksForAuthentication,
}

impl Card {
    /// The card behind a test payment method; nothing when there is no such method.
    pub(crate) fn of(method: &str) -> Option<Self> {
        match method {
            "pm_card_visa" | "pm_card_mastercard" | "pm_card_amex" => Some(Self::Good),
            "pm_card_chargeDeclined" | "pm_card_visa_chargeDeclined" => Some(Self::Declined("generic_decline")),
            "pm_card_chargeDeclinedInsufficientFunds" | "pm_card_visa_chargeDeclinedInsufficientFunds" => {
                Some(Self::Declined("insufficient_funds"))
            }
            "pm_card_authenticationRequired" => Some(Self::AsksForAuthentication),
            _ => None,
        }
    }
}

pub(crate) fn retrieve(work: &mut Work<'_>) -> Result<Value, Refusal> {
    work.books.charges.find(work.id).cloned()
}

pub(crate) fn list(work: &mut Work<'_>) -> Result<Value, Refusal> {
    let fields = ["customer", "payment_intent", "transfer_group"];
    let wanted = |row: &Value| fields.iter().all(|field| lists::equals(row, work.form, field));
    lists::page(&work.books.charges, work.form, "/v1/charges", wanted)
}

/// The card was charged: the intent succeeded, or waits to be captured.
pub(crate) fn add_paid(work: &mut Work<'_>, intent: &mut Value, captured: bool) {
    let mut charge = blank(work, intent);
    let amount = integer_of(intent, "amount");
    set(&mut charge, "paid", true);
    set(&mut charge, "status", "succeeded");
    set(&mut charge, "outcome", outcome("approved_by_network", "Payment complete.", "authorized"));
    set(intent, "latest_charge", id_of(&charge));
    set(intent, "last_payment_error", Value::Null);
    if captured {
        mark_captured(work, &mut charge, intent, amount);
    } else {
        set(intent, "amount_capturable", amount);
        set(intent, "status", "requires_capture");
    }
    work.books.charges.add(charge.clone());
    work.books.intents.put(intent.clone());
    work.did("charge.succeeded");
    work.emit("charge.succeeded", &charge);
}

/// The card was refused: the intent waits for another one. Gives the id of the failed charge.
pub(crate) fn add_declined(work: &mut Work<'_>, intent: &mut Value, reason: &str) -> String {
    let mut charge = blank(work, intent);
    let id = id_of(&charge).to_owned();
    set(&mut charge, "status", "failed");
    set(&mut charge, "failure_code", "card_declined");
    set(&mut charge, "failure_message", "Your card was declined.");
    set(
        &mut charge,
        "outcome",
        outcome("declined_by_network", "The bank did not accept the payment.", "issuer_declined"),
    );
    let error = json!({
        "type": "card_error", "code": "card_declined", "decline_code": reason, "charge": id,
        "message": "Your card was declined.",
    });
    set(intent, "last_payment_error", error);
    set(intent, "latest_charge", id.as_str());
    set(intent, "payment_method", Value::Null);
    set(intent, "status", "requires_payment_method");
    work.books.charges.add(charge.clone());
    work.books.intents.put(intent.clone());
    work.did("charge.failed");
    work.emit("charge.failed", &charge);
    id
}

/// Takes the money of a charge that was only authorised.
pub(crate) fn capture(work: &mut Work<'_>, intent: &mut Value, amount: i64) {
    let latest = work.books.charges.get(text_of(intent, "latest_charge")).cloned();
    let Some(mut charge) = latest else {
        return;
    };
    mark_captured(work, &mut charge, intent, amount);
    work.books.charges.put(charge.clone());
    work.books.intents.put(intent.clone());
    work.emit("charge.captured", &charge);
}

fn mark_captured(work: &Work<'_>, charge: &mut Value, intent: &mut Value, amount: i64) {
    set(charge, "captured", true);
    set(charge, "amount_captured", amount);
    set(charge, "balance_transaction", work.ids.named("txn_3"));
    set(intent, "amount_capturable", 0);
    set(intent, "amount_received", amount);
    set(intent, "status", "succeeded");
}

fn outcome(network_status: &str, message: &str, kind: &str) -> Value {
    json!({
        "advice_code": null, "network_advice_code": null, "network_decline_code": null,
        "network_status": network_status, "reason": null, "risk_level": "normal", "seller_message": message,
        "type": kind,
    })
}

/// A charge that carries over what the intent says; nothing has been taken yet.
fn blank(work: &Work<'_>, intent: &Value) -> Value {
    let id = work.ids.named("ch_3");
    let of_intent = |field: &str| intent.get(field).cloned().unwrap_or_default();
    json!({
        "id": id, "object": "charge", "amount": of_intent("amount"), "amount_captured": 0, "amount_refunded": 0,
        "application": null, "application_fee": null, "application_fee_amount": null, "balance_transaction": null,
        "billing_details": {
            "address": {
                "city": null, "country": null, "line1": null, "line2": null, "postal_code": null, "state": null,
            },
            "email": null, "name": null, "phone": null, "tax_id": null,
        },
        "calculated_statement_descriptor": "SIMULATED MERCHANT", "captured": false, "created": work.now,
        "currency": of_intent("currency"), "customer": of_intent("customer"),
        "description": of_intent("description"), "disputed": false, "failure_balance_transaction": null,
        "failure_code": null, "failure_message": null, "fraud_details": {}, "livemode": false,
        "metadata": of_intent("metadata"), "on_behalf_of": null, "outcome": null, "paid": false,
        "payment_intent": id_of(intent), "payment_method": of_intent("payment_method"),
        "payment_method_details": card_details(), "receipt_email": of_intent("receipt_email"),
        "receipt_number": null, "receipt_url": format!("https://pay.stripe.com/receipts/{id}"), "refunded": false,
        "refunds": {
            "object": "list", "data": [], "has_more": false, "url": format!("/v1/charges/{id}/refunds"),
        },
        "review": null, "shipping": of_intent("shipping"), "source_transfer": null,
        "statement_descriptor": of_intent("statement_descriptor"),
        "statement_descriptor_suffix": of_intent("statement_descriptor_suffix"), "status": "pending",
        "transfer_data": null, "transfer_group": of_intent("transfer_group"),
    })
}

fn card_details() -> Value {
    json!({
        "type": "card",
        "card": {
            "amount_authorized": null, "authorization_code": null, "brand": "visa",
            "checks": { "address_line1_check": null, "address_postal_code_check": null, "cvc_check": "pass" },
            "country": "US", "exp_month": 8, "exp_year": 2030, "extended_authorization": { "status": "disabled" },
            "fingerprint": "simulatedcard", "funding": "credit",
            "incremental_authorization": { "status": "unavailable" }, "installments": null, "last4": "4242",
            "mandate": null, "multicapture": { "status": "unavailable" }, "network": "visa",
            "network_token": { "used": false }, "network_transaction_id": null,
            "overcapture": { "maximum_amount_capturable": null, "status": "unavailable" }, "regulated_status": null,
            "three_d_secure": null, "transaction_link_id": null, "wallet": null,
        },
    })
}
