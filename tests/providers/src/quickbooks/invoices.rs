//! Invoices: their lines must add up.
//!
//! **Invariant.** The total is the sum of the sales lines, less discounts, plus tax, and never less than what
//! payments have applied.

use std::collections::BTreeMap;

use rust_decimal::{Decimal, RoundingStrategy};

use super::company::{Company, Draft, Row};
use super::entity::Entity;
use super::json::{Json, Object};
use super::refusal::Refusal;
use crate::core::clock::{date_after, pacific_date};

/// Checks a body that is to become the invoice `own`, or a new one.
pub(crate) fn prepare(company: &Company, mut body: Object, own: Option<&Row>, now: i64) -> Result<Draft, Refusal> {
    let customer = company.refer(Entity::Customer, &body, "CustomerRef")?;
    let customer = customer.ok_or_else(|| Refusal::missing("CustomerRef"))?.id;
    let subtotal = check_lines(company, &body)?;
    let tax = body.get("TxnTaxDetail").and_then(|detail| detail.get("TotalTax")).and_then(Json::decimal);
    let total = subtotal + tax.unwrap_or_default();
    if total.is_sign_negative() && !total.is_zero() {
        return Err(Refusal::business("Transaction amount must be 0 or greater."));
    }
    if let Some(own) = own {
        check_paid(company, own, customer, total)?;
    }
    let number = document_number(company, &body, own)?;
    let date = text(&body, "TxnDate").unwrap_or(pacific_date(now));
    let due = text(&body, "DueDate").or_else(|| date_after(&date, 30)).unwrap_or_else(|| date.clone());
    if due < date {
        return Err(Refusal::business("Due date cannot precede transaction date."));
    }
    number_lines(&mut body);
    for (field, value) in [("DocNumber", number), ("TxnDate", date), ("DueDate", due)] {
        body.insert(field.to_owned(), value.into());
    }
    for status in ["EmailStatus", "PrintStatus"] {
        body.entry(status.to_owned()).or_insert_with(|| "NotSet".into());
    }
    Ok(Draft { body, total, applies: BTreeMap::new() })
}

/// What payments have already done to an invoice limits how it can change.
fn check_paid(company: &Company, own: &Row, customer: u64, total: Decimal) -> Result<(), Refusal> {
    let applied = company.applied_to(own.id);
    if applied > total {
        return Err(Refusal::business("The total cannot be less than what has been paid."));
    }
    if !applied.is_zero() && own.refers("CustomerRef") != customer {
        return Err(Refusal::business("The customer of a paid invoice cannot be changed."));
    }
    Ok(())
}

fn check_lines(company: &Company, body: &Object) -> Result<Decimal, Refusal> {
    let lines = body.get("Line").map(Json::items).unwrap_or_default();
    if lines.is_empty() {
        return Err(Refusal::missing("Line"));
    }
    let (mut sales, mut discounts) = (Decimal::ZERO, Decimal::ZERO);
    for line in lines {
        match line.get("DetailType").and_then(Json::text) {
            Some("SalesItemLineDetail") => sales += sales_amount(company, line)?,
            Some("DiscountLineDetail") => discounts += discount_amount(line, sales)?,
            Some(_) => {}
            None => return Err(Refusal::missing("Line.DetailType")),
        }
    }
    Ok(sales - discounts)
}

fn sales_amount(company: &Company, line: &Json) -> Result<Decimal, Refusal> {
    let amount = line.get("Amount").and_then(Json::decimal).ok_or_else(|| Refusal::missing("Line.Amount"))?;
    let Some(Json::Object(detail)) = line.get("SalesItemLineDetail") else {
        return Err(Refusal::missing("Line.SalesItemLineDetail"));
    };
    company.refer(Entity::Item, detail, "ItemRef")?;
    let (price, quantity) = (decimal(detail, "UnitPrice"), decimal(detail, "Qty"));
    if let (Some(price), Some(quantity)) = (price, quantity) {
        let product = price.checked_mul(quantity).map(cents);
        if product != Some(amount) {
            return Err(Refusal::calculation(&amount.to_string()));
        }
    }
    Ok(amount)
}

fn discount_amount(line: &Json, so_far: Decimal) -> Result<Decimal, Refusal> {
    let detail = line.get("DiscountLineDetail");
    let by_percent = detail.and_then(|detail| detail.get("PercentBased")).and_then(Json::flag) == Some(true);
    if by_percent {
        let percent = detail.and_then(|detail| detail.get("DiscountPercent")).and_then(Json::decimal);
        let percent = percent.ok_or_else(|| Refusal::missing("Line.DiscountLineDetail.DiscountPercent"))?;
        return Ok(cents(so_far * percent / Decimal::ONE_HUNDRED));
    }
    line.get("Amount").and_then(Json::decimal).ok_or_else(|| Refusal::missing("Line.Amount"))
}

fn cents(amount: Decimal) -> Decimal {
    amount.round_dp_with_strategy(2, RoundingStrategy::MidpointAwayFromZero)
}

/// The number that was sent, which must be free, or the next free one.
fn document_number(company: &Company, body: &Object, own: Option<&Row>) -> Result<String, Refusal> {
    if let Some(number) = text(body, "DocNumber").filter(|number| !number.is_empty()) {
        return match company.holder_of_document(&number) {
            Some(holder) if own.map(|own| own.id) != Some(holder) => Err(Refusal::duplicate_document(&number, holder)),
            _ => Ok(number),
        };
    }
    let mut numbers = (company.next_document..).map(|number| number.to_string());
    Ok(numbers.find(|number| company.holder_of_document(number).is_none()).unwrap_or_default())
}

/// Lines are numbered by QuickBooks. Subtotals are rendered, so one that comes back is dropped.
fn number_lines(body: &mut Object) {
    let Some(Json::List(lines)) = body.get_mut("Line") else {
        return;
    };
    lines.retain(|line| line.get("DetailType").and_then(Json::text) != Some("SubTotalLineDetail"));
    for (index, line) in lines.iter_mut().enumerate() {
        if let Json::Object(fields) = line {
            fields.insert("Id".to_owned(), (index + 1).to_string().into());
            fields.insert("LineNum".to_owned(), (index + 1).into());
        }
    }
}

fn decimal(fields: &Object, name: &str) -> Option<Decimal> {
    fields.get(name).and_then(Json::decimal)
}

fn text(body: &Object, name: &str) -> Option<String> {
    body.get(name).and_then(Json::text).map(str::to_owned)
}
