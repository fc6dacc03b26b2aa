//! What holds for the whole database, by name: whose keys it is sealed under, say. Written once, compared ever after,
//! but for the one that is there to be written.

use std::sync::atomic::Ordering;

use crate::catalogue::catalogue;
use crate::error::{Result, StoreError};
use crate::store::{Pools, Store};
use crate::tx::SystemTx;
use crate::value::bind;

catalogue! { "house";
    SET = "INSERT INTO house (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
    GET = "SELECT value FROM house WHERE name = $1";
    TOUCH = "INSERT INTO house (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = $2";
}

/// What is written again and again, to see that something can be.
const WRITABLE: &str = "writable";
/// As much as units usually write, bytes: what fits into the last room of a log says nothing of what follows.
const USUAL: usize = 16 << 10;
/// As much as has to fit before anything is believed again, once a commit has failed.
const AMPLE: usize = 256 << 10;

impl Store {
    /// Whether something can be written down.
    ///
    /// # Errors
    /// Why not.
    pub async fn probe(&self) -> Result<()> {
        let failed = self.failed_commits();
        let text = "0".repeat(if self.is_doubted() { AMPLE } else { USUAL });
        let mut unit = self.system_unit().await?;
        // SQLite does not write what stands there already, so another value goes before it.
        unit.run(&TOUCH, bind![WRITABLE, ""]).await?;
        unit.run(&TOUCH, bind![WRITABLE, &text]).await?;
        unit.commit().await?;
        self.inner.believed.store(failed, Ordering::Relaxed);
        Ok(())
    }

    /// Whether a commit has failed since [`Store::probe`] found that something can be written down.
    #[must_use]
    pub fn is_doubted(&self) -> bool {
        self.failed_commits() != self.inner.believed.load(Ordering::Relaxed)
    }

    /// Of a server's database nothing is counted: what it has no room for it refuses to the probe alike.
    fn failed_commits(&self) -> u64 {
        match &self.inner.pools {
            Pools::Lite { writer, .. } => writer.failed_commits(),
            Pools::Pg(_) => 0,
        }
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
