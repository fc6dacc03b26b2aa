//! Customers.

use serde_json::{Map, Value, json};

use super::books::{Work, id_of, merge_metadata, set, set_texts};
use super::errors::Refusal;
use super::lists::{self, CREATED, ENDING_BEFORE, EXPAND, LIMIT, STARTING_AFTER};
use super::params::{Form, Kind, Param, may, must};

const ADDRESS: &[Param] = &[
    may("city", Kind::Unsettable),
    may("country", Kind::Unsettable),
    may("line1", Kind::Unsettable),
    may("line2", Kind::Unsettable),
    may("postal_code", Kind::Unsettable),
    may("state", Kind::Unsettable),
];
pub(crate) const SHIPPING: &[Param] =
    &[must("address", Kind::Object(ADDRESS)), must("name", Kind::Text), may("phone", Kind::Unsettable)];
const TAX_EXEMPT: Kind = Kind::OneOf(&["", "exempt", "none", "reverse"]);

pub(crate) const CREATE: &[Param] = &[
    may("address", Kind::Object(ADDRESS)),
    may("balance", Kind::NotSimulated),
    may("business_name", Kind::NotSimulated),
    may("cash_balance", Kind::NotSimulated),
    may("description", Kind::Text),
    may("email", Kind::Text),
    EXPAND,
    may("individual_name", Kind::NotSimulated),
    may("invoice_prefix", Kind::NotSimulated),
    may("invoice_settings", Kind::NotSimulated),
    may("metadata", Kind::Metadata),
    may("name", Kind::Text),
    may("next_invoice_sequence", Kind::NotSimulated),
    may("payment_method", Kind::NotSimulated),
    may("phone", Kind::Text),
    may("preferred_locales", Kind::TextList),
    may("shipping", Kind::Object(SHIPPING)),
    may("source", Kind::NotSimulated),
    may("tax", Kind::NotSimulated),
    may("tax_exempt", TAX_EXEMPT),
    may("tax_id_data", Kind::NotSimulated),
    may("test_clock", Kind::NotSimulated),
    may("validate", Kind::NotSimulated),
];

pub(crate) const UPDATE: &[Param] = &[
    may("address", Kind::Object(ADDRESS)),
    may("balance", Kind::NotSimulated),
    may("business_name", Kind::NotSimulated),
    may("cash_balance", Kind::NotSimulated),
    may("default_source", Kind::NotSimulated),
    may("description", Kind::Unsettable),
    may("email", Kind::Unsettable),
    EXPAND,
    may("individual_name", Kind::NotSimulated),
    may("invoice_prefix", Kind::NotSimulated),
    may("invoice_settings", Kind::NotSimulated),
    may("metadata", Kind::Metadata),
    may("name", Kind::Unsettable),
    may("next_invoice_sequence", Kind::NotSimulated),
    may("phone", Kind::Unsettable),
    may("preferred_locales", Kind::TextList),
    may("shipping", Kind::Object(SHIPPING)),
    may("source", Kind::NotSimulated),
    may("tax", Kind::NotSimulated),
    may("tax_exempt", TAX_EXEMPT),
    may("validate", Kind::NotSimulated),
];

pub(crate) const LIST: &[Param] = &[
    CREATED,
    may("email", Kind::Text),
    ENDING_BEFORE,
    EXPAND,
    LIMIT,
    STARTING_AFTER,
    may("test_clock", Kind::NotSimulated),
];

pub(crate) fn create(work: &mut Work<'_>) -> Result<Value, Refusal> {
    check_email(work.form)?;
    let id = format!("cus_{}", work.ids.letters(14));
    let prefix = work.ids.letters(8).to_uppercase();
    let mut customer = json!({
        "id": id, "object": "customer", "address": null, "balance": 0, "created": work.now, "currency": null,
        "default_source": null, "delinquent": false, "description": null, "discount": null, "email": null,
        "invoice_prefix": prefix,
        "invoice_settings": {
            "custom_fields": null, "default_payment_method": null, "footer": null, "rendering_options": null,
        },
        "livemode": false, "metadata": {}, "name": null, "next_invoice_sequence": 1, "phone": null,
        "preferred_locales": [], "shipping": null, "tax_exempt": "none", "test_clock": null,
    });
    apply(&mut customer, work.form);
    let sameness = json!([customer.get("email"), customer.get("name"), customer.get("metadata")]).to_string();
    work.books.customers.add(customer.clone());
    work.created("customer", sameness, &id);
    work.emit("customer.created", &customer);
    Ok(customer)
}

pub(crate) fn retrieve(work: &mut Work<'_>) -> Result<Value, Refusal> {
    if let Some(customer) = work.books.customers.get(work.id) {
        return Ok(customer.clone());
    }
    let was_deleted = work.books.customers.position(work.id).is_some();
    if was_deleted {
        return Ok(deleted(work.id));
    }
    Err(Refusal::missing(404, "customer", work.id, "id"))
}

pub(crate) fn update(work: &mut Work<'_>) -> Result<Value, Refusal> {
    check_email(work.form)?;
    let mut customer = work.books.customers.find(work.id)?.clone();
    apply(&mut customer, work.form);
    work.books.customers.put(customer.clone());
    work.did("customer.updated");
    work.emit("customer.updated", &customer);
    Ok(customer)
}

pub(crate) fn list(work: &mut Work<'_>) -> Result<Value, Refusal> {
    lists::page(&work.books.customers, work.form, "/v1/customers", |row| lists::equals(row, work.form, "email"))
}

pub(crate) fn delete(work: &mut Work<'_>) -> Result<Value, Refusal> {
    let customer = work.books.customers.find(work.id)?.clone();
    work.books.customers.remove(id_of(&customer));
    work.did("customer.deleted");
    work.emit("customer.deleted", &customer);
    Ok(deleted(work.id))
}

fn deleted(id: &str) -> Value {
    json!({ "id": id, "object": "customer", "deleted": true })
}

fn check_email(form: &Form) -> Result<(), Refusal> {
    match form.text("email") {
        Some(email) if !email.is_empty() && !email.contains('@') => {
            Err(Refusal::invalid_param("email_invalid", "email", format!("Invalid email address: {email}")))
        }
        _ => Ok(()),
    }
}

fn apply(customer: &mut Value, form: &Form) {
    set_texts(customer, form, &["description", "email", "name", "phone"]);
    merge_metadata(customer, form);
    if let Some(tax_exempt) = form.text("tax_exempt") {
        set(customer, "tax_exempt", if tax_exempt.is_empty() { "none" } else { tax_exempt });
    }
    if form.child("preferred_locales").is_some() {
        set(customer, "preferred_locales", form.list("preferred_locales"));
    }
    if let Some(given) = form.child("address") {
        set(customer, "address", address(given));
    }
    if let Some(given) = form.child("shipping") {
        set(customer, "shipping", shipping(given));
    }
}

fn address(given: &Form) -> Value {
    if matches!(given, Form::Text(_)) {
        return Value::Null;
    }
    let field = |param: &Param| {
        let text = given.text(param.name).filter(|text| !text.is_empty());
        (param.name.to_owned(), Value::from(text))
    };
    ADDRESS.iter().map(field).collect::<Map<String, Value>>().into()
}

pub(crate) fn shipping(given: &Form) -> Value {
    match given {
        Form::Text(_) => Value::Null,
        Form::Branch(_) => json!({
            "address": given.child("address").map(address),
            "carrier": given.text("carrier"),
            "name": given.text("name"),
            "phone": given.text("phone").filter(|phone| !phone.is_empty()),
            "tracking_number": given.text("tracking_number"),
        }),
    }
}
