//! A product or service: what an invoice line sells. Only read.

use bulkhead_sdk::prelude::*;

use super::{Head, Kind, MetaData};
use crate::amount::{Amount, Number};

/// A product or service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Item {
    pub name: String,
    /// QuickBooks' kind: `Service`, `Inventory`, `NonInventory` …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit_price: Option<Amount>,
}

/// QuickBooks' own.
pub(crate) type Wire = super::Wire<Item>;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Read {
    id: String,
    sync_token: Option<String>,
    meta_data: Option<MetaData>,
    active: Option<bool>,
    name: Option<String>,
    #[serde(rename = "Type")]
    kind: Option<String>,
    unit_price: Option<Number>,
}

impl Kind for Item {
    const NAME: &'static str = "Item";
    const PATH: &'static str = "item";
    type Read = Read;

    fn read(read: Read) -> Wire {
        Wire {
            head: Head::new(read.id, read.sync_token, read.meta_data),
            gone: read.active == Some(false),
            record: Item {
                name: read.name.unwrap_or_default(),
                kind: read.kind,
                unit_price: read.unit_price.map(Amount::from),
            },
        }
    }
}
