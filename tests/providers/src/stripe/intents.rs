//! Payment intents and their states.
//!
//! **Invariant.** The states are those of the documentation:
//! `requires_payment_method` → `requires_confirmation` → (`requires_action`) → `succeeded` or, captured by hand,
//! `requires_capture` → `succeeded`; and `canceled` from every state that is not final. An intent has succeeded
//! exactly when a captured charge is its latest.

use serde_json::{Value, json};

use super::books::{Work, id_of, integer_of, merge_metadata, set, set_texts, text_of};
use super::charges::{self, Card};
use super::currency;
use super::customers::{SHIPPING, shipping};
use super::errors::Refusal;
use super::lists::{self, CREATED, ENDING_BEFORE, EXPAND, LIMIT, STARTING_AFTER};
use super::params::{Form, Kind, Param, may, must};

const METHODS: Kind =
    Kind::Object(&[may("allow_redirects", Kind::OneOf(&["always", "never"])), must("enabled", Kind::Flag)]);
const CAPTURE_METHOD: Kind = Kind::OneOf(&["automatic", "automatic_async", "manual"]);
const OFF_SESSION: Kind = Kind::FlagOr(&["one_off", "recurring"]);
const FUTURE_USAGE: Kind = Kind::OneOf(&["", "off_session", "on_session"]);

pub(crate) const CREATE: &[Param] = &[
    may("allowed_payment_method_types", Kind::NotSimulated),
    must("amount", Kind::Integer),
    may("amount_details", Kind::NotSimulated),
    may("application_fee_amount", Kind::NotSimulated),
    may("automatic_payment_methods", METHODS),
    may("capture_method", CAPTURE_METHOD),
    may("confirm", Kind::Flag),
    may("confirmation_method", Kind::OneOf(&["automatic", "manual"])),
    may("confirmation_token", Kind::NotSimulated),
    must("currency", Kind::Text),
    may("customer", Kind::Text),
    may("customer_account", Kind::NotSimulated),
    may("description", Kind::Text),
    may("error_on_requires_action", Kind::NotSimulated),
    may("excluded_payment_method_types", Kind::NotSimulated),
    EXPAND,
    may("hooks", Kind::NotSimulated),
    may("mandate", Kind::NotSimulated),
    may("mandate_data", Kind::NotSimulated),
    may("metadata", Kind::Metadata),
    may("off_session", OFF_SESSION),
    may("on_behalf_of", Kind::NotSimulated),
    may("payment_details", Kind::NotSimulated),
    may("payment_method", Kind::Text),
    may("payment_method_configuration", Kind::NotSimulated),
    may("payment_method_data", Kind::NotSimulated),
    may("payment_method_options", Kind::NotSimulated),
    may("radar_options", Kind::NotSimulated),
    may("receipt_email", Kind::Text),
    may("return_url", Kind::Text),
    may("setup_future_usage", FUTURE_USAGE),
    may("shipping", Kind::Object(SHIPPING)),
    may("statement_descriptor", Kind::Text),
    may("statement_descriptor_suffix", Kind::Text),
    may("transfer_data", Kind::NotSimulated),
    may("transfer_group", Kind::Text),
    may("use_stripe_sdk", Kind::NotSimulated),
];

pub(crate) const UPDATE: &[Param] = &[
    may("amount", Kind::Integer),
    may("application_fee_amount", Kind::NotSimulated),
    may("capture_method", CAPTURE_METHOD),
    may("currency", Kind::Text),
    may("customer", Kind::Text),
    may("description", Kind::Unsettable),
    EXPAND,
    may("metadata", Kind::Metadata),
    may("payment_method", Kind::Text),
    may("payment_method_data", Kind::NotSimulated),
    may("payment_method_options", Kind::NotSimulated),
    may("receipt_email", Kind::Unsettable),
    may("setup_future_usage", FUTURE_USAGE),
    may("shipping", Kind::Object(SHIPPING)),
    may("statement_descriptor", Kind::Text),
    may("statement_descriptor_suffix", Kind::Text),
    may("transfer_data", Kind::NotSimulated),
    may("transfer_group", Kind::Text),
];

pub(crate) const CONFIRM: &[Param] = &[
    may("allowed_payment_method_types", Kind::NotSimulated),
    may("amount_details", Kind::NotSimulated),
    may("amount_to_confirm", Kind::NotSimulated),
    may("capture_method", CAPTURE_METHOD),
    may("confirmation_token", Kind::NotSimulated),
    may("error_on_requires_action", Kind::NotSimulated),
    may("excluded_payment_method_types", Kind::NotSimulated),
    EXPAND,
    may("hooks", Kind::NotSimulated),
    may("mandate", Kind::NotSimulated),
    may("mandate_data", Kind::NotSimulated),
    may("off_session", OFF_SESSION),
    may("payment_details", Kind::NotSimulated),
    may("payment_method", Kind::Text),
    may("payment_method_data", Kind::NotSimulated),
    may("payment_method_options", Kind::NotSimulated),
    may("radar_options", Kind::NotSimulated),
    may("receipt_email", Kind::Unsettable),
    may("return_url", Kind::Text),
    may("setup_future_usage", FUTURE_USAGE),
    may("shipping", Kind::Object(SHIPPING)),
    may("use_stripe_sdk", Kind::NotSimulated),
];

pub(crate) const CAPTURE: &[Param] = &[
    may("amount_details", Kind::NotSimulated),
    may("amount_to_capture", Kind::Integer),
    may("application_fee_amount", Kind::NotSimulated),
    EXPAND,
    may("final_capture", Kind::NotSimulated),
    may("hooks", Kind::NotSimulated),
    may("metadata", Kind::Metadata),
    may("payment_details", Kind::NotSimulated),
    may("statement_descriptor", Kind::NotSimulated),
    may("statement_descriptor_suffix", Kind::NotSimulated),
    may("transfer_data", Kind::NotSimulated),
];

pub(crate) const CANCEL: &[Param] = &[
    may("cancellation_reason", Kind::OneOf(&["abandoned", "duplicate", "fraudulent", "requested_by_customer"])),
    EXPAND,
];

pub(crate) const LIST: &[Param] = &[
    CREATED,
    may("customer", Kind::Text),
    may("customer_account", Kind::NotSimulated),
    ENDING_BEFORE,
    EXPAND,
    LIMIT,
    STARTING_AFTER,
];

pub(crate) fn create(work: &mut Work<'_>) -> Result<Value, Refusal> {
    let form = work.form;
    let amount = check_amount(form.integer("amount").unwrap_or_default())?;
    let currency = form.text("currency").unwrap_or_default();
    currency::check(currency)?;
    check_references(work)?;
    let confirms = form.flag("confirm") == Some(true);
    if confirms && form.text("payment_method").is_none() {
        return Err(missing_method());
    }
    let mut intent = blank(work, amount, currency);
    merge_metadata(&mut intent, form);
    apply(&mut intent, form);
    if form.text("payment_method").is_some() {
        set(&mut intent, "status", "requires_confirmation");
    }
    shelve_new(work, &intent);
    if confirms {
        return confirm_intent(work, intent);
    }
    Ok(intent)
}

/// Adds a finished blank to the books.
pub(crate) fn shelve_new(work: &mut Work<'_>, intent: &Value) {
    let sameness = json!([
        intent.get("amount"),
        intent.get("currency"),
        intent.get("customer"),
        intent.get("description"),
        intent.get("metadata"),
    ]);
    work.books.intents.add(intent.clone());
    work.created("payment_intent", sameness.to_string(), id_of(intent));
    work.emit("payment_intent.created", intent);
}

/// An intent that nothing is known of yet but its amount.
pub(crate) fn blank(work: &Work<'_>, amount: i64, currency: &str) -> Value {
    let id = work.ids.named("pi_3");
    let secret = format!("{id}_secret_{}", work.ids.letters(25));
    json!({
        "id": id, "object": "payment_intent", "amount": amount, "amount_capturable": 0,
        "amount_details": { "tip": {} }, "amount_received": 0, "application": null, "application_fee_amount": null,
        "automatic_payment_methods": { "allow_redirects": "always", "enabled": true }, "canceled_at": null,
        "cancellation_reason": null, "capture_method": "automatic_async", "client_secret": secret,
        "confirmation_method": "automatic", "created": work.now, "currency": currency, "customer": null,
        "customer_account": null, "description": null, "excluded_payment_method_types": null,
        "last_payment_error": null, "latest_charge": null, "livemode": false, "managed_payments": null,
        "metadata": {}, "next_action": null, "on_behalf_of": null, "payment_method": null,
        "payment_method_configuration_details": null,
        "payment_method_options": { "card": { "request_three_d_secure": "automatic" } },
        "payment_method_types": ["card"], "processing": null, "receipt_email": null, "review": null,
        "setup_future_usage": null, "shipping": null, "statement_descriptor": null,
        "statement_descriptor_suffix": null, "status": "requires_payment_method", "transfer_data": null,
        "transfer_group": null,
    })
}

pub(crate) fn retrieve(work: &mut Work<'_>) -> Result<Value, Refusal> {
    work.books.intents.find(work.id).cloned()
}

pub(crate) fn list(work: &mut Work<'_>) -> Result<Value, Refusal> {
    let wanted = |row: &Value| lists::equals(row, work.form, "customer");
    lists::page(&work.books.intents, work.form, "/v1/payment_intents", wanted)
}

pub(crate) fn update(work: &mut Work<'_>) -> Result<Value, Refusal> {
    let mut intent = work.books.intents.find(work.id)?.clone();
    let form = work.form;
    check_references(work)?;
    if let Some(currency) = form.text("currency") {
        currency::check(currency)?;
    }
    let amount = form.integer("amount").map(check_amount).transpose()?;
    let changes_terms = amount.is_some() || form.text("currency").is_some();
    if changes_terms && !matches!(text_of(&intent, "status"), "requires_payment_method" | "requires_confirmation") {
        return Err(unexpected_state(&intent, "change the amount or the currency of"));
    }
    if let Some(amount) = amount {
        set(&mut intent, "amount", amount);
    }
    set_texts(&mut intent, form, &["currency"]);
    merge_metadata(&mut intent, form);
    apply(&mut intent, form);
    if form.text("payment_method").is_some() && text_of(&intent, "status") == "requires_payment_method" {
        set(&mut intent, "status", "requires_confirmation");
    }
    work.books.intents.put(intent.clone());
    work.did("payment_intent.updated");
    Ok(intent)
}

pub(crate) fn confirm(work: &mut Work<'_>) -> Result<Value, Refusal> {
    let mut intent = work.books.intents.find(work.id)?.clone();
    check_references(work)?;
    let open = ["requires_payment_method", "requires_confirmation", "requires_action"];
    if !open.contains(&text_of(&intent, "status")) {
        return Err(unexpected_state(&intent, "confirm"));
    }
    apply(&mut intent, work.form);
    if intent.get("payment_method").is_none_or(Value::is_null) {
        return Err(missing_method());
    }
    confirm_intent(work, intent)
}

/// Charges the card of an intent that is in the books and may be confirmed.
pub(crate) fn confirm_intent(work: &mut Work<'_>, mut intent: Value) -> Result<Value, Refusal> {
    work.did("payment_intent.confirmed");
    let card = Card::of(text_of(&intent, "payment_method")).unwrap_or(Card::Good);
    let by_hand = text_of(&intent, "capture_method") == "manual";
    set(&mut intent, "next_action", Value::Null);
    match card {
        Card::Good => {
            charges::add_paid(work, &mut intent, !by_hand);
            let kind = if by_hand { "payment_intent.amount_capturable_updated" } else { "payment_intent.succeeded" };
            work.emit(kind, &intent);
            Ok(intent)
        }
        Card::Declined(reason) => {
            let charge = charges::add_declined(work, &mut intent, reason);
            work.emit("payment_intent.payment_failed", &intent);
            Err(Refusal::declined(reason, &charge, &intent))
        }
        Card::AsksForAuthentication => {
            set(&mut intent, "status", "requires_action");
            let action = json!({ "type": "use_stripe_sdk", "use_stripe_sdk": { "type": "three_d_secure_redirect" } });
            set(&mut intent, "next_action", action);
            work.books.intents.put(intent.clone());
            work.emit("payment_intent.requires_action", &intent);
            Ok(intent)
        }
    }
}

pub(crate) fn capture(work: &mut Work<'_>) -> Result<Value, Refusal> {
    let mut intent = work.books.intents.find(work.id)?.clone();
    if text_of(&intent, "status") != "requires_capture" {
        return Err(unexpected_state(&intent, "capture"));
    }
    let capturable = integer_of(&intent, "amount_capturable");
    let amount = work.form.integer("amount_to_capture").unwrap_or(capturable);
    if amount < 1 || amount > capturable {
        let message = format!("The amount to capture must be between 1 and {capturable}.");
        return Err(Refusal::invalid_param("amount_too_large", "amount_to_capture", message));
    }
    merge_metadata(&mut intent, work.form);
    charges::capture(work, &mut intent, amount);
    work.did("payment_intent.captured");
    work.emit("payment_intent.succeeded", &intent);
    Ok(intent)
}

pub(crate) fn cancel(work: &mut Work<'_>) -> Result<Value, Refusal> {
    let mut intent = work.books.intents.find(work.id)?.clone();
    if matches!(text_of(&intent, "status"), "succeeded" | "canceled" | "processing") {
        return Err(unexpected_state(&intent, "cancel"));
    }
    set(&mut intent, "status", "canceled");
    set(&mut intent, "canceled_at", work.now);
    set(&mut intent, "amount_capturable", 0);
    set_texts(&mut intent, work.form, &["cancellation_reason"]);
    work.books.intents.put(intent.clone());
    work.did("payment_intent.canceled");
    work.emit("payment_intent.canceled", &intent);
    Ok(intent)
}

pub(crate) fn check_amount(amount: i64) -> Result<i64, Refusal> {
    let invalid = |code, message: &str| Err(Refusal::invalid_param(code, "amount", message));
    match amount {
        1..=99_999_999 => Ok(amount),
        ..1 => invalid("parameter_invalid_integer", "This value must be greater than or equal to 1."),
        _ => invalid("amount_too_large", "Amount must be no more than 999999.99 in the currency's units."),
    }
}

/// The objects that a form names must exist.
fn check_references(work: &Work<'_>) -> Result<(), Refusal> {
    if let Some(customer) = work.form.text("customer") {
        work.books.customers.refer(customer, "customer")?;
    }
    if let Some(method) = work.form.text("payment_method") {
        Card::of(method).ok_or_else(|| Refusal::missing(400, "PaymentMethod", method, "payment_method"))?;
    }
    Ok(())
}

fn apply(intent: &mut Value, form: &Form) {
    set_texts(
        intent,
        form,
        &[
            "capture_method",
            "confirmation_method",
            "customer",
            "description",
            "payment_method",
            "receipt_email",
            "setup_future_usage",
            "statement_descriptor",
            "statement_descriptor_suffix",
            "transfer_group",
        ],
    );
    if let Some(given) = form.child("shipping") {
        set(intent, "shipping", shipping(given));
    }
    if let Some(methods) = form.child("automatic_payment_methods") {
        let redirects = methods.text("allow_redirects").unwrap_or("always");
        let enabled = methods.flag("enabled");
        set(intent, "automatic_payment_methods", json!({ "allow_redirects": redirects, "enabled": enabled }));
    }
}

fn missing_method() -> Refusal {
    Refusal::wrong_state(
        "payment_intent_unexpected_state",
        "You cannot confirm this PaymentIntent because it's missing a payment method.",
    )
}

fn unexpected_state(intent: &Value, verb: &str) -> Refusal {
    let status = text_of(intent, "status");
    Refusal::wrong_state(
        "payment_intent_unexpected_state",
        format!("You cannot {verb} this PaymentIntent because it has a status of {status}."),
    )
}
