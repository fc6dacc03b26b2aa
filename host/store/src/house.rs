//! What holds for the whole database, by name: whose keys it is sealed under, say. Written once, compared ever after,
//! but for the one that is there to be written.

use crate::catalogue::catalogue;
use crate::error::{Result, StoreError};
use crate::store::Store;
use crate::tx::SystemTx;
use crate::value::bind;

catalogue! { "house";
    SET = "INSERT INTO house (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
    GET = "SELECT value FROM house WHERE name = $1";
    TOUCH = "INSERT INTO house (name, value) VALUES ($1, '') ON CONFLICT (name) DO UPDATE SET value = ''";
}

/// What is written again and again, to see that something can be.
const WRITABLE: &str = "writable";

impl Store {
    /// Whether something can be written down.
    ///
    /// # Errors
    /// Why not.
    pub async fn probe(&self) -> Result<()> {
        let mut unit = self.system_unit().await?;
        unit.run(&TOUCH, bind![WRITABLE]).await?;
        unit.commit().await
    }
}

impl SystemTx {
    /// The value under this name: the one that was there, or this one from now on.
    ///
    /// # Errors
    /// The database's.
    pub async fn settled(&mut self, name: &str, value: &str) -> Result<String> {
        self.unit.run(&SET, bind![name, value]).await?;
        let found: Option<(String,)> = self.unit.one(&GET, bind![name]).await?;
        found.map(|(value,)| value).ok_or(StoreError::NotFound { what: "fact of the house" })
    }
}
