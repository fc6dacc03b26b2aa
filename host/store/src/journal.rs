//! The journal: what a run did to the world, in order, so that it is never done twice.
//!
//! Each request of a run has a place (`leg`, `seq`, and `sub` within a `send-all`). At most one entry per place is *in
//! force*. A run that comes back after `later` goes on in a leg of its own. What is out of force, or of a leg before, answers
//! nothing any more: its entry is kept to look at (`detail.rs`), its sealed answer is not. From [`READS`] on a `sub` is no
//! request: it is what the guest read of its own connection after that call.
//!
//! An intent is on disk before its request leaves, and only while the lease holds; an answer is on disk before the guest
//! sees it. On Postgres an intent locks the run against being reaped until it is committed: whoever claims the run next
//! sees it.
//!
//! An answer is written even by a holder that lost its lease, as long as the place has none: it is what happened. Of
//! two answers the first counts, and the second writer is told so.

use bulkhead_manifest::{RunId, TenantId, VersionId};

use crate::Json;
use crate::catalogue::catalogue;
use crate::error::{Result, StoreError};
use crate::leases;
use crate::row::row;
use crate::runs::{Lease, Run};
use crate::store::Store;
use crate::tx::{TenantRead, TenantTx};
use crate::unit::Unit;
use crate::value::bind;

macro_rules! entry_columns {
    () => {
        "run_id, attempt, leg, seq, sub, fingerprint, request, effect_key, unsafe_request, keyed, sends, intent_ms, \
         last_intent_ms, answer, answer_ms, retryable"
    };
}

catalogue! { "journal";
    INTEND = "INSERT INTO journal (tenant_id, run_id, attempt, leg, seq, sub, fingerprint, request, effect_key,
                unsafe_request, keyed, version_id, sends, intent_ms, last_intent_ms, retryable, refused)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 1, $13, $13, 0, 0)
            ON CONFLICT (tenant_id, run_id, leg, seq, sub) WHERE superseded_by IS NULL DO UPDATE SET
                sends = journal.sends + 1, attempt = excluded.attempt, last_intent_ms = excluded.last_intent_ms
            WHERE journal.fingerprint = excluded.fingerprint AND journal.answer_ms IS NULL
            RETURNING sends";
    RECORD = "INSERT INTO journal (tenant_id, run_id, attempt, leg, seq, sub, fingerprint, request, effect_key,
                unsafe_request, keyed, version_id, sends, intent_ms, last_intent_ms, answer, answer_ms, shown,
                retryable, refused)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 1, $13, $13, $14, $15, $16, $17, $18)
            ON CONFLICT (tenant_id, run_id, leg, seq, sub) WHERE superseded_by IS NULL DO UPDATE SET
                sends = journal.sends + 1, attempt = excluded.attempt, last_intent_ms = excluded.last_intent_ms,
                answer = excluded.answer, answer_ms = excluded.answer_ms, shown = excluded.shown,
                retryable = excluded.retryable, refused = excluded.refused
            WHERE journal.fingerprint = excluded.fingerprint AND journal.unsafe_request = 0
                AND journal.answer IS NULL AND journal.attempt < excluded.attempt";
    ANSWER = "UPDATE journal SET answer = $6, answer_ms = $7, shown = $8, retryable = $9, refused = $10
            WHERE tenant_id = $1 AND run_id = $2 AND leg = $3 AND seq = $4 AND sub = $5 AND superseded_by IS NULL
            AND answer_ms IS NULL";
    ANSWER_OF = "SELECT answer, answer_ms FROM journal
            WHERE tenant_id = $1 AND run_id = $2 AND leg = $3 AND seq = $4 AND sub = $5 AND superseded_by IS NULL";
    WITHDRAW = "UPDATE journal SET answer_ms = $6, shown = $7, retryable = 1, refused = 1, superseded_by = $8
            WHERE tenant_id = $1 AND run_id = $2 AND leg = $3 AND seq = $4 AND sub = $5 AND superseded_by IS NULL
            AND answer_ms IS NULL";
    SUPERSEDE_AFTER = "UPDATE journal SET superseded_by = $6, answer = NULL
            WHERE tenant_id = $1 AND run_id = $2 AND leg = $3 AND (seq > $4 OR seq = $4 AND sub >= $5) AND superseded_by IS NULL";
    SUPERSEDE_ONE = "UPDATE journal SET superseded_by = $6, answer = NULL
            WHERE tenant_id = $1 AND run_id = $2 AND leg = $3 AND seq = $4 AND sub = $5 AND superseded_by IS NULL";
    /// What a person says is not there was not carried out: the time for which the provider keeps its key starts anew.
    SEND_ANEW = "UPDATE journal SET superseded_by = $6, answer = NULL, retryable = 1
            WHERE tenant_id = $1 AND run_id = $2 AND leg = $3 AND seq = $4 AND sub = $5 AND superseded_by IS NULL
            AND coalesce(answer_ms, 0) = $7";
    IN_FORCE = concat!("SELECT ", entry_columns!(), " FROM journal
            WHERE tenant_id = $1 AND run_id = $2 AND leg = $3 AND superseded_by IS NULL ORDER BY seq, sub");
    STEPS = "SELECT seq, sub, unsafe_request, keyed, answer_ms, retryable, refused FROM journal
            WHERE tenant_id = $1 AND run_id = $2 AND leg = $3 AND superseded_by IS NULL ORDER BY seq, sub";
    FIRST_SENT = "SELECT effect_key, min(intent_ms) FROM journal
            WHERE tenant_id = $1 AND run_id = $2 AND effect_key IS NOT NULL AND retryable = 0 GROUP BY effect_key";
    DENY_ALL = "UPDATE journal SET superseded_by = coalesce(superseded_by, $3), answer = NULL, retryable = 1
            WHERE tenant_id = $1 AND run_id = $2";
    CARRIED_OUT_BEFORE = "SELECT seq FROM journal WHERE tenant_id = $1 AND run_id = $2 AND superseded_by IS NOT NULL
            AND unsafe_request = 1 AND answer_ms IS NOT NULL AND refused = 0 AND retryable = 0 LIMIT 1";
    BEGUN_BY = "SELECT version_id FROM journal WHERE tenant_id = $1 AND run_id = $2 AND superseded_by IS NULL
            ORDER BY entry LIMIT 1";
    FORGET = "UPDATE journal SET answer = NULL WHERE tenant_id = $1 AND run_id = $2 AND leg = $3
            AND superseded_by IS NULL";
}

/// Answers that one unit writes, unless a single one is larger. Bytes.
pub(crate) const MOST_AT_ONCE: usize = 1 << 20;

/// From here on, a `sub` is what was read after the call, by the attempt that is the rest.
pub const READS: u32 = 1 << 16;

/// A request that is about to leave.
#[derive(Clone, Debug, PartialEq)]
pub struct NewIntent {
    /// Which call of the leg, from 1.
    pub seq: u32,
    /// Which of a `send-all`, from 0; or what was read.
    pub sub: u32,
    /// What the request was made of.
    pub fingerprint: [u8; 32],
    /// The request, for people.
    pub request: Json,
    /// The key that goes with it.
    pub effect_key: Option<String>,
    /// Whether the provider honours that key.
    pub keyed: bool,
    /// Whether it changes anything at the provider.
    pub unsafe_request: bool,
    /// Which version of the connector asks.
    pub version: VersionId,
    /// Now.
    pub now_ms: u64,
}

/// A request that needed no intent, with its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEntry {
    /// The request.
    pub intent: NewIntent,
    /// Its sealed answer; none where it is asked for again should it be wanted.
    pub answer: Option<Vec<u8>>,
    /// When that came.
    pub answer_ms: u64,
    /// The answer, for people.
    pub shown: Json,
    /// Whether a retry asks again from here.
    pub retryable: bool,
    /// Whether it says that nothing was carried out.
    pub refused: bool,
}

/// What came back for an intent.
#[derive(Clone, Debug, PartialEq)]
pub struct NewAnswer {
    /// Which call.
    pub seq: u32,
    /// Which of a `send-all`.
    pub sub: u32,
    /// Sealed.
    pub answer: Vec<u8>,
    /// When it came.
    pub answer_ms: u64,
    /// The answer, for people.
    pub shown: Json,
    /// Whether a retry asks again from here.
    pub retryable: bool,
    /// Whether it says that nothing was carried out.
    pub refused: bool,
}

/// What became of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The place had this sealed answer already, of this time: it is the one that counts.
    pub earlier: Option<(Vec<u8>, u64)>,
    /// Whether the lease still holds. If not, stop.
    pub held: bool,
}

row! {
    /// One request of a run, in force.
    pub struct Entry {
        /// Whose.
        pub run: RunId, in "run_id";
        /// The attempt that sent it last.
        pub attempt: u32;
        /// Which leg of the run, from 0.
        pub leg: u32;
        /// Which call of the leg, from 1.
        pub seq: u32;
        /// Which of a `send-all`, from 0.
        pub sub: u32;
        /// What the request was made of.
        pub fingerprint: [u8; 32];
        /// The request, for people.
        pub request: Json;
        /// The key that went with it.
        pub effect_key: Option<String>;
        /// Whether it changes anything at the provider.
        pub unsafe_request: bool;
        /// Whether the provider honours the key.
        pub keyed: bool;
        /// How often it was about to leave.
        pub sends: u32;
        /// When it was about to leave first.
        pub intent_ms: u64;
        /// When it was about to leave last.
        pub last_intent_ms: u64;
        /// Sealed; none while nobody knows.
        pub answer: Option<Vec<u8>>;
        /// When that came.
        pub answer_ms: Option<u64>;
        /// Whether a retry asks again from here.
        pub retryable: bool;
    }
}

row! {
    /// As much of an entry in force as tells where a run stands.
    #[derive(Copy, Eq)]
    pub struct Step {
        /// Which call of the leg, from 1.
        pub seq: u32;
        /// Which of a `send-all`, from 0; or what was read.
        pub sub: u32;
        /// Whether it changes anything at the provider.
        pub unsafe_request: bool;
        /// Whether the provider honours its key.
        pub keyed: bool;
        /// When it was answered.
        pub answer_ms: Option<u64>;
        /// Whether a retry asks again from here.
        pub retryable: bool;
        /// Whether the answer says that nothing was carried out.
        pub refused: bool;
    }
}

/// What is asked anew, and so goes out of force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Anew {
    /// Every call after this one, and what was read since.
    pub after: Option<u32>,
    /// These requests.
    pub places: Vec<(u32, u32)>,
}

/// Puts what a person says is not there out of force.
pub(crate) async fn send_anew(
    unit: &mut Unit,
    tenant: TenantId,
    run: RunId,
    (leg, attempt): (u32, u32),
    anew: &[Step],
) -> Result<()> {
    for Step { seq, sub, answer_ms, .. } in anew {
        let values = bind![tenant, run, leg, *seq, *sub, attempt, answer_ms.unwrap_or_default()];
        unit.run(&SEND_ANEW, values).await?;
    }
    Ok(())
}

/// How many entries one unit writes.
fn fit(entries: &[NewEntry]) -> usize {
    let mut bytes = 0_usize;
    let fit = entries.iter().take_while(|entry| {
        bytes = bytes.saturating_add(entry.answer.as_ref().map_or(0, Vec::len));
        bytes <= MOST_AT_ONCE
    });
    fit.count().max(1).min(entries.len())
}

/// Drops the answers of a leg that the run has left.
pub(crate) async fn forget(unit: &mut Unit, lease: &Lease) -> Result<()> {
    unit.run(&FORGET, bind![lease.tenant, lease.run, lease.leg]).await.map(drop)
}

impl TenantTx {
    /// Writes down that a request is about to leave. A second time for the same place counts `sends` up.
    ///
    /// # Errors
    /// `LeaseLost`. `Taken` where the place is answered already, or holds another request: compare before.
    pub async fn intend(&mut self, lease: &Lease, intent: &NewIntent) -> Result<()> {
        let tenant = self.tenant();
        leases::hold(&mut self.unit, tenant, lease).await?;
        let values = bind![
            tenant,
            lease.run,
            lease.attempt,
            lease.leg,
            intent.seq,
            intent.sub,
            &intent.fingerprint,
            &intent.request,
            &intent.effect_key,
            intent.unsafe_request,
            intent.keyed,
            intent.version,
            intent.now_ms
        ];
        let sends: Option<(u32,)> = self.unit.one(&INTEND, values).await?;
        sends.map(drop).ok_or(StoreError::Taken { what: "journal entry" })
    }

    /// Writes down requests that are answered already. A place that has an entry keeps it, unless that was only read, in an
    /// earlier attempt, and nothing was kept of its answer. Comes before the end of the run: a run that ended has no lease.
    ///
    /// # Errors
    /// `LeaseLost`.
    pub async fn record_answers(&mut self, lease: &Lease, entries: &[NewEntry]) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let tenant = self.tenant();
        leases::hold(&mut self.unit, tenant, lease).await?;
        for NewEntry { intent, answer, answer_ms, shown, retryable, refused } in entries {
            let values = bind![
                tenant,
                lease.run,
                lease.attempt,
                lease.leg,
                intent.seq,
                intent.sub,
                &intent.fingerprint,
                &intent.request,
                &intent.effect_key,
                intent.unsafe_request,
                intent.keyed,
                intent.version,
                intent.now_ms,
                answer.as_deref(),
                *answer_ms,
                shown,
                *retryable,
                *refused
            ];
            self.unit.run(&RECORD, values).await?;
        }
        Ok(())
    }

    /// Writes down what came back.
    ///
    /// # Errors
    /// `NotFound` where nothing was intended at this place.
    pub async fn answer(&mut self, lease: &Lease, answer: &NewAnswer) -> Result<Answered> {
        let (tenant, run) = (self.tenant(), lease.run);
        let NewAnswer { seq, sub, answer, answer_ms, shown, retryable, refused } = answer;
        // The run before its journal, as everybody locks them.
        let held = leases::holds(&mut self.unit, tenant, lease).await?;
        let values = bind![tenant, run, lease.leg, *seq, *sub, answer, *answer_ms, shown, *retryable, *refused];
        let mut earlier = None;
        if self.unit.run(&ANSWER, values).await? == 0 {
            let there: Option<(Option<Vec<u8>>, Option<u64>)> =
                self.unit.one(&ANSWER_OF, bind![tenant, run, lease.leg, *seq, *sub]).await?;
            let (answer, at_ms) = there.ok_or(StoreError::NotFound { what: "intent" })?;
            earlier = answer.zip(at_ms);
        }
        Ok(Answered { earlier, held })
    }

    /// Puts entries out of force: a retry asks for them anew.
    ///
    /// # Errors
    /// `LeaseLost`.
    pub async fn supersede(&mut self, lease: &Lease, anew: &Anew) -> Result<()> {
        let tenant = self.tenant();
        leases::hold(&mut self.unit, tenant, lease).await?;
        self.ask_anew(lease, anew).await
    }

    /// The same for a run that nobody holds: this unit put it back in line, and the lease is its last one.
    ///
    /// # Errors
    /// The database's.
    pub async fn ask_anew(&mut self, last: &Lease, anew: &Anew) -> Result<()> {
        let (tenant, run, attempt) = (self.tenant(), last.run, last.attempt);
        for (seq, sub) in &anew.places {
            self.unit.run(&SUPERSEDE_ONE, bind![tenant, run, last.leg, *seq, *sub, attempt]).await?;
        }
        if let Some(after) = anew.after {
            self.unit.run(&SUPERSEDE_AFTER, bind![tenant, run, last.leg, after, READS, attempt]).await?;
        }
        Ok(())
    }

    /// Puts all that a run asked out of force, by the word of a person who found nothing of it.
    ///
    /// # Errors
    /// The database's.
    pub async fn deny_all(&mut self, run: &Run) -> Result<()> {
        let tenant = self.tenant();
        self.unit.run(&DENY_ALL, bind![tenant, run.id, run.attempt]).await.map(drop)
    }

    /// Puts what a person says is not there out of force. What was answered since stays.
    ///
    /// # Errors
    /// The database's.
    pub async fn deny(&mut self, run: &Run, steps: &[Step]) -> Result<()> {
        let tenant = self.tenant();
        send_anew(&mut self.unit, tenant, run.id, (run.leg, run.attempt), steps).await
    }
}

impl TenantRead {
    /// The entries in force in this leg, in the order of their places.
    ///
    /// # Errors
    /// The database's.
    pub async fn journal(&mut self, run: RunId, leg: u32) -> Result<Vec<Entry>> {
        let tenant = self.tenant();
        self.unit.all(&IN_FORCE, bind![tenant, run, leg]).await
    }

    /// The version that made what stands in a run's journal; none where nothing does.
    ///
    /// # Errors
    /// The database's.
    pub async fn begun_by(&mut self, run: RunId) -> Result<Option<VersionId>> {
        let tenant = self.tenant();
        let begun: Option<(VersionId,)> = self.unit.one(&BEGUN_BY, bind![tenant, run]).await?;
        Ok(begun.map(|(version,)| version))
    }

    /// How the requests in force in this leg stand. A unit that decides by it seizes the run before.
    ///
    /// # Errors
    /// The database's.
    pub async fn steps(&mut self, run: RunId, leg: u32) -> Result<Vec<Step>> {
        let tenant = self.tenant();
        let steps: Vec<Step> = self.unit.all(&STEPS, bind![tenant, run, leg]).await?;
        Ok(steps.into_iter().filter(|step| step.sub < READS).collect())
    }

    /// Whether something was carried out that is out of force by now, for a retry. What a person said is not there is not.
    ///
    /// # Errors
    /// The database's.
    pub async fn carried_out_before(&mut self, run: RunId) -> Result<bool> {
        let tenant = self.tenant();
        let found: Option<(u32,)> = self.unit.one(&CARRIED_OUT_BEFORE, bind![tenant, run]).await?;
        Ok(found.is_some())
    }

    /// When each effect key may first have been carried out. What is known not to have been does not count.
    ///
    /// # Errors
    /// The database's.
    pub async fn first_sent(&mut self, run: RunId) -> Result<Vec<(String, u64)>> {
        let tenant = self.tenant();
        self.unit.all(&FIRST_SENT, bind![tenant, run]).await
    }
}

impl Store {
    /// Writes down requests that are answered already, in units of bounded size, and says what is left for the unit that
    /// follows: others wait for the longest unit.
    ///
    /// # Errors
    /// As [`TenantTx::record_answers`].
    pub async fn flush<'e>(&self, lease: &Lease, mut entries: &'e [NewEntry]) -> Result<&'e [NewEntry]> {
        loop {
            let fit = fit(entries);
            let (first, rest) = entries.split_at(fit);
            if rest.is_empty() {
                return Ok(entries);
            }
            let mut tx = self.tenant(lease.tenant).await?;
            tx.record_answers(lease, first).await?;
            tx.commit().await?;
            entries = rest;
        }
    }

    /// Makes an intent durable, and before it what was answered already.
    ///
    /// # Errors
    /// `LeaseLost`: the intent was not written, nothing may leave.
    pub async fn intend(&self, lease: &Lease, flush: &[NewEntry], intent: &NewIntent) -> Result<()> {
        let rest = self.flush(lease, flush).await?;
        let mut tx = self.tenant(lease.tenant).await?;
        tx.record_answers(lease, rest).await?;
        tx.intend(lease, intent).await?;
        tx.commit().await
    }

    /// Writes down that a request was turned away before anything was done, and takes its intent back: the next attempt
    /// sends it as if for the first time. One unit.
    ///
    /// # Errors
    /// The database's.
    pub async fn withdraw(&self, lease: &Lease, (seq, sub): (u32, u32), answer_ms: u64, shown: &str) -> Result<()> {
        let mut tx = self.tenant(lease.tenant).await?;
        leases::holds(&mut tx.unit, lease.tenant, lease).await?;
        let values = bind![lease.tenant, lease.run, lease.leg, seq, sub, answer_ms, shown, lease.attempt];
        tx.unit.run(&WITHDRAW, values).await?;
        tx.commit().await
    }

    /// Makes an answer durable. One unit.
    ///
    /// # Errors
    /// `NotFound` where nothing was intended.
    pub async fn answer(&self, lease: &Lease, answer: &NewAnswer) -> Result<Answered> {
        let mut tx = self.tenant(lease.tenant).await?;
        let answered = tx.answer(lease, answer).await?;
        tx.commit().await?;
        Ok(answered)
    }
}
