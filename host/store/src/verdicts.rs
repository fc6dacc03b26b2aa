//! What people said of runs that nobody but a person can settle.
//!
//! Invariant: a verdict is written in the unit that carries it out, so each that counted is there, and no other. It stays: a
//! run that is uncertain again gets another.

use bulkhead_manifest::{KeyId, RunId, TenantId};

use crate::catalogue::catalogue;
use crate::error::Result;
use crate::row::{row, words};
use crate::runs::Run;
use crate::tx::{SystemRead, TenantRead, TenantTx};
use crate::value::bind;

catalogue! { "verdicts";
    INSERT = "INSERT INTO verdicts (tenant_id, run_id, attempt, verdict, said_by, said_ms) VALUES ($1, $2, $3, $4, $5, $6)";
    OF_RUN = "SELECT attempt, verdict, said_by, said_ms FROM verdicts
            WHERE tenant_id = $1 AND run_id = $2 ORDER BY entry DESC LIMIT $3";
    /// Over the index of what is uncertain alone.
    AWAITED = "SELECT tenant_id, count(*) FROM runs WHERE state = 'uncertain' GROUP BY tenant_id ORDER BY tenant_id";
}

/// Verdicts of one look.
const MOST: u32 = 100;

words! {
    /// What a person says of an uncertain run.
    pub enum VerdictKind {
        /// The effect is there.
        Happened = "happened",
        /// It is not, and shall not be.
        DidNotHappen = "did-not-happen",
        /// It is not: send it again.
        SendAgain = "send-again",
    }
}

row! {
    /// What a person said of an uncertain run.
    #[derive(Copy, Eq)]
    pub struct Verdict {
        /// The attempt that had left the doubt.
        pub attempt: u32;
        /// What.
        pub kind: VerdictKind, in "verdict";
        /// With which API key, a tenant's or an operator's.
        pub said_by: KeyId;
        /// When.
        pub said_ms: u64;
    }
}

impl TenantTx {
    /// Writes down what a person said of a run, as it stood.
    ///
    /// # Errors
    /// The database's.
    pub async fn put_verdict(&mut self, run: &Run, kind: VerdictKind, said_by: KeyId, said_ms: u64) -> Result<()> {
        let values = bind![self.tenant(), run.id, run.attempt, kind, said_by, said_ms];
        self.unit.run(&INSERT, values).await.map(drop)
    }
}

impl TenantRead {
    /// What was said of a run, in order: the newest 100.
    ///
    /// # Errors
    /// The database's.
    pub async fn verdicts(&mut self, run: RunId) -> Result<Vec<Verdict>> {
        let tenant = self.tenant();
        let mut said: Vec<Verdict> = self.unit.all(&OF_RUN, bind![tenant, run, MOST]).await?;
        said.reverse();
        Ok(said)
    }
}

impl SystemRead {
    /// How many runs of each tenant wait for a person's word.
    ///
    /// # Errors
    /// The database's.
    pub async fn verdicts_awaited(&mut self) -> Result<Vec<(TenantId, u64)>> {
        self.unit.all(&AWAITED, bind![]).await
    }
}
