//! A payment that a customer made.

use bulkhead_sdk::prelude::*;

use super::{Head, Kind, MetaData, Reference, text};
use crate::Customers;
use crate::amount::{Amount, Number};

/// A payment as it stands in QuickBooks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Payment {
    /// QuickBooks' id of the customer.
    pub customer: Ref<Customers>,
    pub total: Amount,
    /// What no invoice has used up yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unapplied: Option<Amount>,
    /// ISO 4217.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Year-month-day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What it paid.
    #[serde(default)]
    pub applied: Vec<Applied>,
}

/// One thing that a payment paid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Applied {
    pub amount: Amount,
    /// QuickBooks' name of what was paid: `Invoice`, `CreditMemo` …
    pub kind: String,
    /// QuickBooks' id of it.
    pub id: String,
}

/// QuickBooks' own.
pub(crate) type Wire = super::Wire<Payment>;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Read {
    id: String,
    sync_token: Option<String>,
    meta_data: Option<MetaData>,
    #[serde(rename = "status")]
    status: Option<String>,
    customer_ref: Option<Reference>,
    total_amt: Option<Number>,
    unapplied_amt: Option<Number>,
    currency_ref: Option<Reference>,
    txn_date: Option<String>,
    payment_ref_num: Option<String>,
    private_note: Option<String>,
    #[serde(default)]
    line: Vec<WireLine>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireLine {
    amount: Number,
    #[serde(default)]
    linked_txn: Vec<Linked>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Linked {
    txn_id: String,
    txn_type: String,
}

/// What is sent of a new payment.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Write {
    customer_ref: Reference,
    total_amt: Number,
    line: Vec<WireLine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    currency_ref: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    txn_date: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payment_ref_num: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    private_note: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deposit_to_account_ref: Option<Reference>,
}

/// A payment of one invoice, in QuickBooks' ids.
pub(crate) struct Receipt {
    pub(crate) customer: String,
    pub(crate) invoice: String,
    pub(crate) amount: Amount,
    pub(crate) currency: Option<String>,
    pub(crate) date: Option<String>,
    pub(crate) reference: Option<String>,
    pub(crate) note: Option<String>,
    pub(crate) deposit_account: Option<String>,
}

impl From<Receipt> for Write {
    fn from(receipt: Receipt) -> Write {
        let amount = Number::from(receipt.amount);
        Write {
            customer_ref: Reference::to(receipt.customer),
            total_amt: amount,
            line: vec![WireLine {
                amount,
                linked_txn: vec![Linked { txn_id: receipt.invoice, txn_type: "Invoice".to_owned() }],
            }],
            currency_ref: receipt.currency.map(Reference::to),
            txn_date: receipt.date,
            payment_ref_num: receipt.reference,
            private_note: receipt.note,
            deposit_to_account_ref: receipt.deposit_account.map(Reference::to),
        }
    }
}

impl Kind for Payment {
    const NAME: &'static str = "Payment";
    const PATH: &'static str = "payment";
    type Read = Read;

    fn read(read: Read) -> Wire {
        let applied = read.line.into_iter().flat_map(|line| {
            let amount = Amount::from(line.amount);
            line.linked_txn.into_iter().map(move |linked| Applied { amount, kind: linked.txn_type, id: linked.txn_id })
        });
        Wire {
            gone: read.status.as_deref() == Some("Deleted"),
            record: Payment {
                customer: Ref::from(read.customer_ref.map(|customer| customer.value).unwrap_or_default()),
                total: read.total_amt.map_or(Amount::ZERO, Amount::from),
                unapplied: read.unapplied_amt.map(Amount::from),
                currency: read.currency_ref.map(|currency| currency.value),
                date: read.txn_date,
                reference: text(read.payment_ref_num),
                note: text(read.private_note),
                applied: applied.collect(),
            },
            head: Head::new(read.id, read.sync_token, read.meta_data),
        }
    }
}
