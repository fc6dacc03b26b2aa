//! Counters for what is not worth a row: refused webhooks, say. Add up in memory first; each is one hot row.

use crate::catalogue::catalogue;
use crate::error::Result;
use crate::tx::{SystemRead, SystemTx};
use crate::value::bind;

catalogue! { "counters";
    ADD = "INSERT INTO counters (name, value) VALUES ($1, $2)
            ON CONFLICT (name) DO UPDATE SET value = counters.value + excluded.value";
    ALL = "SELECT name, value FROM counters ORDER BY name";
}

impl SystemTx {
    /// Adds to a counter.
    ///
    /// # Errors
    /// The database's.
    pub async fn count(&mut self, name: &str, add: u64) -> Result<()> {
        self.unit.run(&ADD, bind![name, add]).await.map(drop)
    }
}

impl SystemRead {
    /// All counters, by name.
    ///
    /// # Errors
    /// The database's.
    pub async fn counters(&mut self) -> Result<Vec<(String, u64)>> {
        self.unit.all(&ALL, bind![]).await
    }
}
