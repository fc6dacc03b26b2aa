//! Payments: what they apply to invoices can neither exceed the payment nor an invoice's balance.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::company::{Company, Draft, Row, parse_id};
use super::entity::Entity;
use super::json::{Json, Object};
use super::refusal::Refusal;
use crate::core::clock::pacific_date;

/// Checks a body that is to become the payment `own`, or a new one.
pub(crate) fn prepare(company: &Company, mut body: Object, own: Option<&Row>, now: i64) -> Result<Draft, Refusal> {
    let customer = company.refer(Entity::Customer, &body, "CustomerRef")?;
    let customer = customer.ok_or_else(|| Refusal::missing("CustomerRef"))?.id;
    for field in ["ARAccountRef", "DepositToAccountRef"] {
        company.refer(Entity::Account, &body, field)?;
    }
    let total = body.get("TotalAmt").and_then(Json::decimal).ok_or_else(|| Refusal::missing("TotalAmt"))?;
    if total.is_sign_negative() && !total.is_zero() {
        return Err(Refusal::business("The amount of a payment must be 0 or greater."));
    }
    let applies = check_lines(company, &body, customer)?;
    let already = own.map(|own| company.applied_by(own)).unwrap_or_default();
    for (invoice, amount) in &applies {
        check_balance(company, *invoice, *amount, already.get(invoice).copied())?;
    }
    if applies.values().copied().sum::<Decimal>() > total {
        return Err(Refusal::business("The amounts applied exceed the total of the payment."));
    }
    let undated = body.get("TxnDate").and_then(Json::text).is_none();
    if undated {
        body.insert("TxnDate".to_owned(), pacific_date(now).into());
    }
    Ok(Draft { body, total, applies })
}

/// What the lines apply to each invoice. Every line is linked to one invoice of the same customer.
fn check_lines(company: &Company, body: &Object, customer: u64) -> Result<BTreeMap<u64, Decimal>, Refusal> {
    let mut applies: BTreeMap<u64, Decimal> = BTreeMap::new();
    for line in body.get("Line").map(Json::items).unwrap_or_default() {
        let amount = line.get("Amount").and_then(Json::decimal).ok_or_else(|| Refusal::missing("Line.Amount"))?;
        if amount <= Decimal::ZERO {
            return Err(Refusal::business("The amount applied to a transaction must be greater than 0."));
        }
        let [link] = line.get("LinkedTxn").map(Json::items).unwrap_or_default() else {
            return Err(Refusal::missing("Line.LinkedTxn"));
        };
        let id = link.get("TxnId").and_then(Json::text).ok_or_else(|| Refusal::missing("LinkedTxn.TxnId"))?;
        match link.get("TxnType").and_then(Json::text) {
            Some("Invoice") => {}
            Some(other) => return Err(Refusal::enumeration("LinkedTxn.TxnType", other)),
            None => return Err(Refusal::missing("LinkedTxn.TxnType")),
        }
        let invoice = parse_id(id).and_then(|number| company.row(Entity::Invoice, number));
        let invoice = invoice.ok_or_else(|| Refusal::reference("LinkedTxn.TxnId", id))?;
        if invoice.refers("CustomerRef") != customer {
            return Err(Refusal::business("The linked transaction belongs to another customer."));
        }
        *applies.entry(invoice.id).or_default() += amount;
    }
    Ok(applies)
}

/// An invoice can take no more than its balance, to which counts what this payment has already paid of it.
fn check_balance(company: &Company, invoice: u64, amount: Decimal, already: Option<Decimal>) -> Result<(), Refusal> {
    let balance = company.row(Entity::Invoice, invoice).map(|row| company.balance(row)).unwrap_or_default();
    if amount > balance + already.unwrap_or_default() {
        return Err(Refusal::business(&format!(
            "The amount {amount} applied to invoice {invoice} exceeds its balance of {balance}."
        )));
    }
    Ok(())
}
