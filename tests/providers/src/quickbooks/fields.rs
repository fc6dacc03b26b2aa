//! What each entity may carry, and what its fields must look like.
//!
//! **Invariant.** A property that the table does not name is refused; one that QuickBooks computes is accepted and
//! dropped, as a client that sends back what it has read would otherwise fail.
//!
//! **To extend.** A line in a table, or a variant of [`Kind`].

use rust_decimal::Decimal;

use super::json::{Json, Object};
use super::refusal::Refusal;
use crate::core::clock::parse_date;

#[derive(Debug)]
pub(crate) enum Kind {
    /// At most so many characters.
    Text(usize),
    /// An amount: at most two decimals.
    Money,
    /// A quantity, a rate or a unit price: any number of decimals.
    Number,
    Flag,
    Date,
    OneOf(&'static [&'static str]),
    /// `{"value": "58"}`
    Reference,
    Group(&'static [Field]),
    Many(&'static [Field]),
    /// QuickBooks decides it, whatever is sent.
    Computed,
}

#[derive(Debug)]
pub(crate) struct Field {
    name: &'static str,
    kind: Kind,
}

const fn field(name: &'static str, kind: Kind) -> Field {
    Field { name, kind }
}

const ADDRESS: &[Field] = &[
    field("Id", Kind::Computed),
    field("Line1", Kind::Text(500)),
    field("Line2", Kind::Text(500)),
    field("Line3", Kind::Text(500)),
    field("Line4", Kind::Text(500)),
    field("Line5", Kind::Text(500)),
    field("City", Kind::Text(255)),
    field("Country", Kind::Text(255)),
    field("CountrySubDivisionCode", Kind::Text(255)),
    field("PostalCode", Kind::Text(30)),
    field("Lat", Kind::Computed),
    field("Long", Kind::Computed),
    field("Note", Kind::Text(500)),
];
const EMAIL: &[Field] = &[field("Address", Kind::Text(100))];
const PHONE: &[Field] = &[field("FreeFormNumber", Kind::Text(30))];
const WEB: &[Field] = &[field("URI", Kind::Text(1_000))];
const MEMO: &[Field] = &[field("value", Kind::Text(1_000))];
const CUSTOM: &[Field] = &[
    field("DefinitionId", Kind::Text(30)),
    field("Name", Kind::Text(30)),
    field("Type", Kind::OneOf(&["StringType", "BooleanType", "NumberType", "DateType"])),
    field("StringValue", Kind::Text(31)),
];
const LINKS: &[Field] =
    &[field("TxnId", Kind::Text(30)), field("TxnType", Kind::Text(30)), field("TxnLineId", Kind::Text(30))];
const SALES_ITEM: &[Field] = &[
    field("ItemRef", Kind::Reference),
    field("ClassRef", Kind::Reference),
    field("UnitPrice", Kind::Number),
    field("Qty", Kind::Number),
    field("ItemAccountRef", Kind::Reference),
    field("TaxCodeRef", Kind::Reference),
    field("ServiceDate", Kind::Date),
];
const DISCOUNT: &[Field] = &[
    field("PercentBased", Kind::Flag),
    field("DiscountPercent", Kind::Number),
    field("DiscountAccountRef", Kind::Reference),
];
const INVOICE_LINE: &[Field] = &[
    field("Id", Kind::Computed),
    field("LineNum", Kind::Computed),
    field("Description", Kind::Text(4_000)),
    field("Amount", Kind::Money),
    field(
        "DetailType",
        Kind::OneOf(&["SalesItemLineDetail", "DescriptionOnly", "DiscountLineDetail", "SubTotalLineDetail"]),
    ),
    field("SalesItemLineDetail", Kind::Group(SALES_ITEM)),
    field("DescriptionLineDetail", Kind::Group(&[field("ServiceDate", Kind::Date)])),
    field("DiscountLineDetail", Kind::Group(DISCOUNT)),
    field("SubTotalLineDetail", Kind::Computed),
];
const PAYMENT_LINE: &[Field] =
    &[field("Amount", Kind::Money), field("LinkedTxn", Kind::Many(LINKS)), field("LineEx", Kind::Computed)];
const TAX: &[Field] =
    &[field("TxnTaxCodeRef", Kind::Reference), field("TotalTax", Kind::Money), field("TaxLine", Kind::Computed)];

/// What every entity has.
const EVERY: &[Field] = &[
    field("Id", Kind::Text(30)),
    field("SyncToken", Kind::Text(30)),
    field("sparse", Kind::Flag),
    field("MetaData", Kind::Computed),
    field("domain", Kind::Computed),
    field("status", Kind::Computed),
];

pub(crate) const CUSTOMER: &[Field] = &[
    field("Title", Kind::Text(16)),
    field("GivenName", Kind::Text(100)),
    field("MiddleName", Kind::Text(100)),
    field("FamilyName", Kind::Text(100)),
    field("Suffix", Kind::Text(16)),
    field("DisplayName", Kind::Text(500)),
    field("FullyQualifiedName", Kind::Computed),
    field("CompanyName", Kind::Text(100)),
    field("PrintOnCheckName", Kind::Text(110)),
    field("Active", Kind::Flag),
    field("PrimaryPhone", Kind::Group(PHONE)),
    field("AlternatePhone", Kind::Group(PHONE)),
    field("Mobile", Kind::Group(PHONE)),
    field("Fax", Kind::Group(PHONE)),
    field("PrimaryEmailAddr", Kind::Group(EMAIL)),
    field("WebAddr", Kind::Group(WEB)),
    field("DefaultTaxCodeRef", Kind::Computed),
    field("Taxable", Kind::Flag),
    field("BillAddr", Kind::Group(ADDRESS)),
    field("ShipAddr", Kind::Group(ADDRESS)),
    field("Notes", Kind::Text(2_000)),
    field("Job", Kind::Flag),
    field("BillWithParent", Kind::Flag),
    field("Level", Kind::Computed),
    field("Balance", Kind::Computed),
    field("BalanceWithJobs", Kind::Computed),
    field("CurrencyRef", Kind::Computed),
    field("PreferredDeliveryMethod", Kind::Text(30)),
    field("ResaleNum", Kind::Text(16)),
    field("IsProject", Kind::Computed),
    field("ClientEntityId", Kind::Computed),
    field("V4IDPseudonym", Kind::Computed),
];

pub(crate) const INVOICE: &[Field] = &[
    field("DocNumber", Kind::Text(21)),
    field("TxnDate", Kind::Date),
    field("CurrencyRef", Kind::Computed),
    field("PrivateNote", Kind::Text(4_000)),
    field("LinkedTxn", Kind::Computed),
    field("Line", Kind::Many(INVOICE_LINE)),
    field("TxnTaxDetail", Kind::Group(TAX)),
    field("CustomField", Kind::Many(CUSTOM)),
    field("CustomerRef", Kind::Reference),
    field("CustomerMemo", Kind::Group(MEMO)),
    field("BillAddr", Kind::Group(ADDRESS)),
    field("ShipAddr", Kind::Group(ADDRESS)),
    field("DueDate", Kind::Date),
    field("ShipDate", Kind::Date),
    field("TrackingNum", Kind::Text(31)),
    field("GlobalTaxCalculation", Kind::OneOf(&["TaxInclusive", "TaxExcluded", "NotApplicable"])),
    field("TotalAmt", Kind::Computed),
    field("ApplyTaxAfterDiscount", Kind::Flag),
    field("PrintStatus", Kind::OneOf(&["NotSet", "NeedToPrint", "PrintComplete"])),
    field("EmailStatus", Kind::OneOf(&["NotSet", "NeedToSend", "EmailSent"])),
    field("BillEmail", Kind::Group(EMAIL)),
    field("BillEmailCc", Kind::Group(EMAIL)),
    field("BillEmailBcc", Kind::Group(EMAIL)),
    field("Balance", Kind::Computed),
    field("AllowIPNPayment", Kind::Flag),
    field("AllowOnlinePayment", Kind::Flag),
    field("AllowOnlineCreditCardPayment", Kind::Flag),
    field("AllowOnlineACHPayment", Kind::Flag),
    field("FreeFormAddress", Kind::Flag),
    field("InvoiceLink", Kind::Computed),
];

pub(crate) const PAYMENT: &[Field] = &[
    field("TxnDate", Kind::Date),
    field("CurrencyRef", Kind::Computed),
    field("PrivateNote", Kind::Text(4_000)),
    field("LinkedTxn", Kind::Computed),
    field("Line", Kind::Many(PAYMENT_LINE)),
    field("CustomField", Kind::Many(CUSTOM)),
    field("CustomerRef", Kind::Reference),
    field("ARAccountRef", Kind::Reference),
    field("DepositToAccountRef", Kind::Reference),
    field("PaymentMethodRef", Kind::Reference),
    field("PaymentRefNum", Kind::Text(21)),
    field("TotalAmt", Kind::Money),
    field("UnappliedAmt", Kind::Computed),
    field("ProcessPayment", Kind::Flag),
];

pub(crate) const ITEM: &[Field] = &[
    field("Name", Kind::Text(100)),
    field("Sku", Kind::Text(100)),
    field("Description", Kind::Text(4_000)),
    field("Active", Kind::Flag),
    field("FullyQualifiedName", Kind::Computed),
    field("Taxable", Kind::Flag),
    field("UnitPrice", Kind::Number),
    field("Type", Kind::OneOf(&["Inventory", "NonInventory", "Service"])),
    field("IncomeAccountRef", Kind::Reference),
    field("ExpenseAccountRef", Kind::Reference),
    field("AssetAccountRef", Kind::Reference),
    field("PurchaseDesc", Kind::Text(1_000)),
    field("PurchaseCost", Kind::Number),
    field("TrackQtyOnHand", Kind::Flag),
    field("QtyOnHand", Kind::Number),
    field("InvStartDate", Kind::Date),
];

pub(crate) const ACCOUNT: &[Field] = &[
    field("Name", Kind::Text(100)),
    field("Description", Kind::Text(100)),
    field("FullyQualifiedName", Kind::Computed),
    field("Active", Kind::Flag),
    field("Classification", Kind::Computed),
    field(
        "AccountType",
        Kind::OneOf(&[
            "Bank",
            "Accounts Receivable",
            "Other Current Asset",
            "Fixed Asset",
            "Other Asset",
            "Accounts Payable",
            "Credit Card",
            "Other Current Liability",
            "Long Term Liability",
            "Equity",
            "Income",
            "Cost of Goods Sold",
            "Expense",
            "Other Income",
            "Other Expense",
        ]),
    ),
    field("AccountSubType", Kind::Text(100)),
    field("AcctNum", Kind::Text(20)),
    field("CurrentBalance", Kind::Computed),
    field("CurrentBalanceWithSubAccounts", Kind::Computed),
    field("CurrencyRef", Kind::Computed),
];

/// Checks an entity's body and drops what QuickBooks computes.
pub(crate) fn checked(body: &Object, table: &'static [Field]) -> Result<Object, Refusal> {
    checked_object(body, &[table, EVERY], "")
}

fn checked_object(body: &Object, tables: &[&'static [Field]], prefix: &str) -> Result<Object, Refusal> {
    let mut kept = Object::new();
    for (name, value) in body {
        let full = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        let mut fields = tables.iter().flat_map(|table| table.iter());
        let known = fields.find(|field| field.name == name).ok_or_else(|| Refusal::property(&full))?;
        if let Some(value) = checked_value(value, &known.kind, &full)? {
            kept.insert(name.clone(), value);
        }
    }
    Ok(kept)
}

/// The value to keep: none when it is computed. A null stays, because it clears a field.
fn checked_value(value: &Json, kind: &Kind, name: &str) -> Result<Option<Json>, Refusal> {
    let wrong_type = || Refusal::property(name);
    let kept = match (kind, value) {
        (Kind::Computed, _) => return Ok(None),
        (_, Json::Null) => Json::Null,
        (Kind::Text(longest), Json::Text(text)) => {
            if text.chars().count() > *longest {
                return Err(Refusal::string(name, &format!("is longer than {longest} characters")));
            }
            value.clone()
        }
        (Kind::Money, Json::Number(digits)) => {
            let amount = bounded(value).ok_or_else(wrong_type)?;
            if amount.normalize().scale() > 2 {
                return Err(Refusal::number(name, digits));
            }
            value.clone()
        }
        (Kind::Number, Json::Number(_)) => bounded(value).map(|_| value.clone()).ok_or_else(wrong_type)?,
        (Kind::Flag, Json::Flag(_)) => value.clone(),
        (Kind::Date, Json::Text(text)) => parse_date(text).map(|_| value.clone()).ok_or_else(wrong_type)?,
        (Kind::OneOf(words), Json::Text(text)) => {
            if !words.contains(&text.as_str()) {
                return Err(Refusal::enumeration(name, text));
            }
            value.clone()
        }
        (Kind::Reference, Json::Object(_)) => checked_reference(value, name)?,
        (Kind::Group(fields), Json::Object(inner)) => checked_object(inner, &[fields], name)?.into(),
        (Kind::Many(fields), Json::List(items)) => {
            let item = |item: &Json| match item {
                Json::Object(inner) => checked_object(inner, &[fields], name).map(Json::Object),
                _ => Err(wrong_type()),
            };
            Json::List(items.iter().map(item).collect::<Result<_, _>>()?)
        }
        _ => return Err(wrong_type()),
    };
    Ok(Some(kept))
}

/// A number of at most eleven digits before the point: sums and products of such stay exact.
fn bounded(value: &Json) -> Option<Decimal> {
    let largest = Decimal::from(99_999_999_999_u64);
    value.decimal().filter(|number| number.abs() <= largest)
}

/// References hold the id as text. The name is QuickBooks' own to fill in.
fn checked_reference(value: &Json, name: &str) -> Result<Json, Refusal> {
    let id = value.get("value").and_then(Json::text).ok_or_else(|| Refusal::property(name))?;
    let only_known =
        matches!(value, Json::Object(fields) if fields.keys().all(|key| ["value", "name"].contains(&key.as_str())));
    if !only_known {
        return Err(Refusal::property(name));
    }
    Ok(Json::reference(id, None))
}
