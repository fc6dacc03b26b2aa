//! The keys that secrets are sealed under: which there are, since when each wraps, and how far values have come from an
//! old one to the next. The keys themselves are elsewhere, or encrypted by somebody else.

use crate::catalogue::catalogue;
use crate::error::{Result, StoreError};
use crate::row::row;
use crate::tx::{SystemRead, SystemTx};
use crate::value::bind;

catalogue! { "wrapping_keys";
    INSERT = "INSERT INTO wrapping_keys (id, guarded, created_ms, active_ms, at_work_until_ms) VALUES ($1, $2, $3, $4, 0)
            ON CONFLICT (id) DO NOTHING";
    ALL = "SELECT id, guarded, created_ms, active_ms, rewrapped_ms, uses, tried_ms, wanted_ms, removing_ms
            FROM wrapping_keys ORDER BY active_ms, id";
    GUARD = "UPDATE wrapping_keys SET guarded = $2 WHERE id = $1";
    WORK = "UPDATE wrapping_keys SET at_work = $2, at_work_until_ms = $4
            WHERE id = $1 AND (at_work_until_ms <= $3 OR at_work = $2)";
    REWRAPPED = "UPDATE wrapping_keys SET rewrapped_ms = $2, uses = CAST($3 AS BIGINT), tried_ms = NULL,
            wanted_ms = CASE WHEN CAST($3 AS BIGINT) = 0 THEN wanted_ms END WHERE id = $1";
    TRIED = "UPDATE wrapping_keys SET tried_ms = $2, uses = $3, wanted_ms = NULL WHERE id = $1";
    LOOK_AGAIN = "UPDATE wrapping_keys SET rewrapped_ms = NULL, uses = $2, wanted_ms = NULL WHERE id = $1";
    WANTED = "UPDATE wrapping_keys SET wanted_ms = coalesce(wanted_ms, $2) WHERE id = $1";
    REMOVING = "UPDATE wrapping_keys SET removing_ms = $2 WHERE id = $1
            AND removing_ms IS NULL AND wanted_ms IS NOT NULL AND uses = 0 AND rewrapped_ms IS NOT NULL";
    DELETE = "DELETE FROM wrapping_keys WHERE id = $1";
}

row! {
    /// A key, and what is known of it.
    pub struct WrappingKeyRow {
        /// Its id.
        pub id: String;
        /// The key, encrypted by an external provider; none where a key file holds it.
        pub guarded: Option<String>;
        /// When it was made.
        pub created_ms: u64;
        /// From when on it wraps, until another one's time comes. None for the root, which never does.
        pub active_ms: Option<u64>;
        /// When all that had been sealed under it was last looked through and wrapped by a newer one.
        pub rewrapped_ms: Option<u64>;
        /// How many sealed values were still under it then.
        pub uses: Option<u64>;
        /// When values under it were last left for later, because nothing was said about it.
        pub tried_ms: Option<u64>;
        /// Since when somebody wants it to go.
        pub wanted_ms: Option<u64>;
        /// Since when it is to be destroyed: it opens nothing any more.
        pub removing_ms: Option<u64>;
    }
}

impl SystemTx {
    /// Adds a key. Answers false where it is there already.
    ///
    /// # Errors
    /// The database's.
    pub async fn add_wrapping_key(
        &mut self,
        id: &str,
        guarded: Option<&str>,
        created_ms: u64,
        active_ms: Option<u64>,
    ) -> Result<bool> {
        Ok(self.unit.run(&INSERT, bind![id, guarded, created_ms, active_ms]).await? > 0)
    }

    /// Keeps a key as its provider encrypted it anew.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn guard_wrapping_key(&mut self, id: &str, guarded: &str) -> Result<()> {
        match self.unit.run(&GUARD, bind![id, guarded]).await? {
            0 => Err(StoreError::NotFound { what: "wrapping key" }),
            _ => Ok(()),
        }
    }

    /// Asks to be the one who wraps values by this key. A holder that asks again prolongs. Answers false where somebody
    /// else is at it.
    ///
    /// # Errors
    /// The database's.
    pub async fn work_for_wrapping_key(&mut self, id: &str, holder: &str, now_ms: u64, until_ms: u64) -> Result<bool> {
        Ok(self.unit.run(&WORK, bind![id, holder, now_ms, until_ms]).await? > 0)
    }

    /// Notes how much of what was sealed before this moment is still under this key: where it is something, it stays.
    ///
    /// # Errors
    /// The database's.
    pub async fn note_rewrapped(&mut self, id: &str, at_ms: u64, uses: u64) -> Result<()> {
        self.unit.run(&REWRAPPED, bind![id, at_ms, uses]).await.map(drop)
    }

    /// Notes that so much is under this key which may be had later: it stays.
    ///
    /// # Errors
    /// The database's.
    pub async fn note_tried(&mut self, id: &str, at_ms: u64, uses: u64) -> Result<()> {
        self.unit.run(&TRIED, bind![id, at_ms, uses]).await.map(drop)
    }

    /// Asks that all that was sealed under this key is looked through again, because something still is: it stays. How much of it
    /// could not be opened, where that was tried.
    ///
    /// # Errors
    /// The database's.
    pub async fn look_through_again(&mut self, id: &str, uses: Option<u64>) -> Result<()> {
        self.unit.run(&LOOK_AGAIN, bind![id, uses]).await.map(drop)
    }

    /// Asks that a key goes as soon as it is certain that nothing uses it.
    ///
    /// # Errors
    /// The database's.
    pub async fn want_wrapping_key_gone(&mut self, id: &str, now_ms: u64) -> Result<()> {
        self.unit.run(&WANTED, bind![id, now_ms]).await.map(drop)
    }

    /// Settles that a key which is to go and nothing uses is destroyed. Answers false where something does, nobody wants it to
    /// go, or it is settled already.
    ///
    /// # Errors
    /// The database's.
    pub async fn removing_wrapping_key(&mut self, id: &str, now_ms: u64) -> Result<bool> {
        Ok(self.unit.run(&REMOVING, bind![id, now_ms]).await? > 0)
    }

    /// Forgets a key.
    ///
    /// # Errors
    /// The database's.
    pub async fn remove_wrapping_key(&mut self, id: &str) -> Result<()> {
        self.unit.run(&DELETE, bind![id]).await.map(drop)
    }
}

impl SystemRead {
    /// Every key, the one that wraps latest last.
    ///
    /// # Errors
    /// The database's.
    pub async fn wrapping_keys(&mut self) -> Result<Vec<WrappingKeyRow>> {
        self.unit.all(&ALL, bind![]).await
    }
}
