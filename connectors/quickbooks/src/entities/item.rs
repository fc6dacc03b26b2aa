//! A product or service: what an invoice line sells. Only read.

use bulkhead_sdk::prelude::*;

use super::{Entity, Head, MetaData};
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
#[derive(Deserialize)]
#[serde(from = "Read")]
pub(crate) struct Wire {
    head: Head,
    gone: bool,
    record: Item,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Read {
    id: String,
    sync_token: Option<String>,
    meta_data: Option<MetaData>,
    active: Option<bool>,
    name: Option<String>,
    #[serde(rename = "Type")]
    kind: Option<String>,
    unit_price: Option<Number>,
}

impl From<Read> for Wire {
    fn from(read: Read) -> Wire {
        Wire {
            head: Head {
                id: read.id,
                sync_token: read.sync_token,
                last_updated: read.meta_data.and_then(|meta| meta.last_updated_time),
            },
            gone: read.active == Some(false),
            record: Item {
                name: read.name.unwrap_or_default(),
                kind: read.kind,
                unit_price: read.unit_price.map(Amount::from),
            },
        }
    }
}

impl Entity for Wire {
    const NAME: &'static str = "Item";
    const PATH: &'static str = "item";
    type Record = Item;

    fn head(&self) -> &Head {
        &self.head
    }

    fn is_gone(&self) -> bool {
        self.gone
    }

    fn into_record(self) -> Item {
        self.record
    }
}
