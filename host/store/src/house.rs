//! What holds for the whole database, by name: whose keys it is sealed under, say. Written once, compared ever after.

use crate::catalogue::catalogue;
use crate::error::{Result, StoreError};
use crate::tx::SystemTx;
use crate::value::bind;

catalogue! { "house";
    SET = "INSERT INTO house (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
    GET = "SELECT value FROM house WHERE name = $1";
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
