//! What a guest reads of its own connection, its state and its links: the same for every attempt of a leg that comes by
//! there again, whatever others commit meanwhile.
//!
//! Invariants: what was read before a request stands in the journal before that request does, as far as the journal keeps
//! what was only read ([`Bound::keeps`]). It goes out of force with the call that it follows.

use bulkhead_runtime::{Halt, HaltReason};
use bulkhead_store::{NewEntry, NewIntent, READS, StoreError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::Bound;
use super::halts::host;
use crate::fault::{EngineFault, json as text, stored};

/// It is all in memory, and some of it is kept for the next attempt.
const MOST_READ: usize = 16 << 20;
/// What an answer weighs besides its text.
const ENTRY: usize = 64;

impl Bound {
    /// What was read as `what` before, or else what there is now.
    pub(super) async fn pinned<T: Serialize + DeserializeOwned>(
        &self,
        what: &impl Serialize,
        live: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, Halt> {
        let what = text(what);
        if let Some(known) = self.progress(|progress| progress.journal.reads.get(&what).cloned()) {
            return stored("a journaled read", &known).map_err(|fault| host(&fault));
        }
        let value = live.await.map_err(|error| host(&error.into()))?;
        let answer = text(&value);
        self.progress(|progress| {
            progress.read_bytes += ENTRY + what.len() + answer.len();
            if progress.read_bytes > MOST_READ {
                let message = format!("It read more than {} MiB of its state and links in one run.", MOST_READ >> 20);
                return Err(HaltReason::ReadTooMuch { message }.into());
            }
            progress.journal.reads.insert(what.clone(), answer.clone());
            progress.fresh.insert(what, answer);
            Ok(value)
        })
    }

    /// Makes what was read since the last call an entry that goes with the next durable write.
    pub(super) async fn shelve(&self) -> Result<(), EngineFault> {
        let (seq, fresh) = self.progress(|progress| (progress.seq, std::mem::take(&mut progress.fresh)));
        if fresh.is_empty() {
            return Ok(());
        }
        let (sub, now_ms) = (READS.saturating_add(self.to.lease.attempt), self.engine.now_ms());
        let request = json!({ "reads": fresh.len() }).to_string();
        let bytes = fresh.iter().map(|(what, answer)| what.len() + answer.len()).sum();
        if !self.keeps(bytes) {
            return Ok(());
        }
        let answer = Some(self.engine.seal(self.to.lease, (seq, sub), bytes, fresh).await?);
        let intent = NewIntent {
            seq,
            sub,
            fingerprint: [0; 32],
            request,
            effect_key: None,
            keyed: false,
            unsafe_request: false,
            version: self.to.version,
            now_ms,
        };
        let shown = "null".to_owned();
        let entry = NewEntry { intent, answer, answer_ms: now_ms, shown, retryable: false, refused: false };
        self.progress(|progress| progress.unflushed.push(entry));
        Ok(())
    }
}
