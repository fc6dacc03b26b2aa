//! An invoice.

use bulkhead_sdk::prelude::*;

use super::customer::Email;
use super::{Head, Kind, MetaData, Reference, text};
use crate::amount::{Amount, Number};
use crate::settings::Settings;
use crate::{Customers, date};

/// An invoice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Invoice {
    /// Who is to pay.
    pub customer: Ref<Customers>,
    /// The number on the invoice. Without one QuickBooks may give it one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 21))]
    pub number: Option<String>,
    /// Year-month-day. Without one, today in the company's time zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = date::PATTERN))]
    pub date: Option<String>,
    /// Year-month-day. Without one, by the customer's terms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = date::PATTERN))]
    pub due_date: Option<String>,
    /// ISO 4217. Only companies with several currencies take one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[A-Za-z]{3}$"))]
    pub currency: Option<String>,
    #[schemars(length(max = 750))]
    pub lines: Vec<Line>,
    /// Shown to the customer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub message: Option<String>,
    /// For the company's own eyes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4000))]
    pub note: Option<String>,
    /// Where QuickBooks sends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub email: Option<String>,
    /// What QuickBooks makes of the lines, tax included. Not sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("readOnly" = true))]
    pub total: Option<Amount>,
    /// What is not paid yet. Not sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("readOnly" = true))]
    pub balance: Option<Amount>,
}

/// One line: an `amount`, or a `quantity` and a `unit_price`, or all three where they agree.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4000))]
    pub description: Option<String>,
    /// QuickBooks id of the product or service. Without one, the default item of the connection's settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantity: Option<Amount>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit_price: Option<Amount>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Amount>,
    /// QuickBooks' name of a kind of line that is no sale of an item (a discount, a group …). Such a line can be read
    /// but not sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("readOnly" = true))]
    pub kind: Option<String>,
}

const SALE: &str = "SalesItemLineDetail";
/// QuickBooks adds it up itself.
const SUBTOTAL: &str = "SubTotalLineDetail";

/// QuickBooks' own.
pub(crate) type Wire = super::Wire<Invoice>;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Read {
    id: String,
    sync_token: Option<String>,
    meta_data: Option<MetaData>,
    #[serde(rename = "status")]
    status: Option<String>,
    customer_ref: Option<Reference>,
    doc_number: Option<String>,
    txn_date: Option<String>,
    due_date: Option<String>,
    currency_ref: Option<Reference>,
    #[serde(default)]
    line: Vec<WireLine>,
    customer_memo: Option<Reference>,
    private_note: Option<String>,
    bill_email: Option<Email>,
    total_amt: Option<Number>,
    balance: Option<Number>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireLine {
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    amount: Option<Number>,
    detail_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sales_item_line_detail: Option<Sale>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Sale {
    #[serde(skip_serializing_if = "Option::is_none")]
    item_ref: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    qty: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit_price: Option<Number>,
}

/// What is sent of an invoice, new or changed.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Write<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sync_token: Option<&'a str>,
    #[serde(rename = "sparse", skip_serializing_if = "Option::is_none")]
    sparse: Option<bool>,
    customer_ref: Reference,
    line: Vec<WireLine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    doc_number: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    txn_date: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    due_date: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    currency_ref: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_memo: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    private_note: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bill_email: Option<Email>,
}

impl<'a> Write<'a> {
    /// `customer` is QuickBooks' id of the invoice's customer.
    pub(crate) fn new(invoice: &'a Invoice, customer: &str, settings: &Settings) -> Result<Write<'a>, Failure> {
        if invoice.lines.is_empty() {
            return Err(Failure::invalid_input("The invoice has no lines. Give it one at least.").field("/lines"));
        }
        let lines =
            invoice.lines.iter().enumerate().map(|(index, line)| line.to_wire(&format!("/lines/{index}"), settings));
        Ok(Write {
            id: None,
            sync_token: None,
            sparse: None,
            customer_ref: Reference::to(customer),
            line: lines.collect::<Result<_, _>>()?,
            doc_number: invoice.number.as_deref(),
            txn_date: date::check(invoice.date.as_deref(), "/date")?,
            due_date: date::check(invoice.due_date.as_deref(), "/due_date")?,
            currency_ref: invoice.currency.as_deref().map(|code| Reference::to(code.to_ascii_uppercase())),
            customer_memo: invoice.message.clone().map(Reference::to),
            private_note: invoice.note.as_deref(),
            bill_email: invoice.email.clone().map(|address| Email { address: Some(address) }),
        })
    }

    /// Makes it a change of the invoice of this id, if that still is of this version.
    pub(crate) fn of(self, version: &super::Version<'a>) -> Write<'a> {
        Write { id: Some(version.id), sync_token: Some(version.sync_token), sparse: Some(true), ..self }
    }
}

impl Line {
    fn to_wire(&self, place: &str, settings: &Settings) -> Result<WireLine, Failure> {
        if let Some(kind) = &self.kind {
            return Err(Failure::unsupported(format!("A line of the kind {kind} can be read from QuickBooks but not sent to it. Change the invoice in QuickBooks."))
                .field(format!("{place}/kind")));
        }
        let Some(item) = self.item.as_ref().or(settings.default_item.as_ref()) else {
            let advice = "The line names no item. Give it one, or choose a default item in the connection's settings.";
            return Err(Failure::invalid_input(advice).field(format!("{place}/item")));
        };
        Ok(WireLine {
            description: self.description.clone(),
            amount: Some(self.total(place)?.into()),
            detail_type: Some(SALE.to_owned()),
            sales_item_line_detail: Some(Sale {
                item_ref: Some(Reference::to(item)),
                qty: self.quantity.map(Number::from),
                unit_price: self.unit_price.map(Number::from),
            }),
        })
    }

    /// QuickBooks refuses a line whose amount is not its quantity times its price, so it is said here, with the place.
    fn total(&self, place: &str) -> Result<Amount, Failure> {
        let product = match (self.quantity, self.unit_price) {
            (Some(quantity), Some(price)) => Some(quantity.times(price).ok_or_else(|| too_precise(place))?),
            _ => None,
        };
        match (self.amount, product) {
            (Some(amount), Some(product)) if amount != product => {
                let message = format!(
                    "The line's amount is {amount}, but its quantity times its unit price is {product}. Correct one of them."
                );
                Err(Failure::invalid_input(message).field(format!("{place}/amount")))
            }
            (Some(amount), _) => amount.kept().ok_or_else(|| too_precise(place)),
            (None, Some(product)) => Ok(product),
            (None, None) => {
                Err(Failure::invalid_input("The line has no amount. Give it one, or a quantity and a unit price.")
                    .field(format!("{place}/amount")))
            }
        }
    }
}

fn too_precise(place: &str) -> Failure {
    Failure::invalid_input("QuickBooks keeps two decimals of an amount. Round the line yourself.")
        .field(format!("{place}/amount"))
}

impl Kind for Invoice {
    const NAME: &'static str = "Invoice";
    const PATH: &'static str = "invoice";
    type Read = Read;

    fn read(read: Read) -> Wire {
        let lines = read.line.into_iter().filter(|line| line.detail_type.as_deref() != Some(SUBTOTAL)).map(Line::from);
        Wire {
            head: Head::new(read.id, read.sync_token, read.meta_data),
            gone: read.status.as_deref() == Some("Deleted"),
            record: Invoice {
                customer: Ref::from(read.customer_ref.map(|customer| customer.value).unwrap_or_default()),
                number: text(read.doc_number),
                date: read.txn_date,
                due_date: read.due_date,
                currency: read.currency_ref.map(|currency| currency.value),
                lines: lines.collect(),
                message: text(read.customer_memo.map(|memo| memo.value)),
                note: text(read.private_note),
                email: text(read.bill_email.and_then(|email| email.address)),
                total: read.total_amt.map(Amount::from),
                balance: read.balance.map(Amount::from),
            },
        }
    }
}

impl From<WireLine> for Line {
    fn from(wire: WireLine) -> Line {
        let kind = wire.detail_type.filter(|kind| kind != SALE);
        let (item, quantity, unit_price) = match wire.sales_item_line_detail {
            Some(sale) => (sale.item_ref.map(|item| item.value), sale.qty, sale.unit_price),
            None => (None, None, None),
        };
        Line {
            description: text(wire.description),
            item,
            quantity: quantity.map(Amount::from),
            unit_price: unit_price.map(Amount::from),
            amount: wire.amount.map(Amount::from),
            kind,
        }
    }
}

#[cfg(test)]
#[path = "invoice_tests.rs"]
mod tests;
