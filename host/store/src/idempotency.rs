//! Idempotency keys of the API: the same key is the same call, and gets the same answer.

use crate::catalogue::catalogue;
use crate::error::{Result, StoreError};
use crate::tx::{SystemTx, TenantTx};
use crate::value::bind;

catalogue! { "idempotency";
    BEGIN = "INSERT INTO idempotency (tenant_id, key, fingerprint, created_ms) VALUES ($1, $2, $3, $4)
            ON CONFLICT (tenant_id, key) DO NOTHING";
    ONE = "SELECT fingerprint, status, body FROM idempotency WHERE tenant_id = $1 AND key = $2";
    FINISH = "UPDATE idempotency SET status = $3, body = $4 WHERE tenant_id = $1 AND key = $2";
    FORGET = "DELETE FROM idempotency WHERE tenant_id = $1 AND key = $2 AND status IS NULL";
    PRUNE = "DELETE FROM idempotency WHERE created_ms < $1";
}

/// What a key stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Idempotent {
    /// Nothing yet: the caller goes on, and finishes or forgets it.
    Fresh,
    /// The same call is under way.
    Running,
    /// The same call was answered like this.
    Done {
        /// The HTTP status.
        status: u16,
        /// The body.
        body: Vec<u8>,
    },
    /// Another call has this key.
    Mismatch,
}

impl TenantTx {
    /// Takes a key for a call with this fingerprint.
    ///
    /// # Errors
    /// The database's.
    pub async fn begin_idempotent(&mut self, key: &str, fingerprint: &[u8; 32], now_ms: u64) -> Result<Idempotent> {
        let tenant = self.tenant();
        if self.unit.run(&BEGIN, bind![tenant, key, fingerprint, now_ms]).await? > 0 {
            return Ok(Idempotent::Fresh);
        }
        let there: Option<([u8; 32], Option<u16>, Option<Vec<u8>>)> = self.unit.one(&ONE, bind![tenant, key]).await?;
        // Forgotten in between: as good as under way, the caller comes again.
        let Some((theirs, status, body)) = there else { return Ok(Idempotent::Running) };
        Ok(match status {
            _ if theirs != *fingerprint => Idempotent::Mismatch,
            None => Idempotent::Running,
            Some(status) => Idempotent::Done { status, body: body.unwrap_or_default() },
        })
    }

    /// Keeps the answer.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn finish_idempotent(&mut self, key: &str, status: u16, body: &[u8]) -> Result<()> {
        let values = bind![self.tenant(), key, u32::from(status), body];
        match self.unit.run(&FINISH, values).await? {
            0 => Err(StoreError::NotFound { what: "idempotency key" }),
            _ => Ok(()),
        }
    }

    /// Gives up a key whose call did not come to an answer.
    ///
    /// # Errors
    /// The database's.
    pub async fn forget_idempotent(&mut self, key: &str) -> Result<()> {
        let values = bind![self.tenant(), key];
        self.unit.run(&FORGET, values).await.map(drop)
    }
}

impl SystemTx {
    /// Drops keys older than this. Answers how many.
    ///
    /// # Errors
    /// The database's.
    pub async fn prune_idempotent(&mut self, before_ms: u64) -> Result<u64> {
        self.unit.run(&PRUNE, bind![before_ms]).await
    }
}
