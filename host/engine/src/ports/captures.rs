//! Secrets that providers mint: kept by the unit that keeps the answer they came in.
//!
//! Invariants:
//! - A guest and the journal have a placeholder. What it stands for is durable before the guest sees the answer, so that
//!   an answer out of the journal never stands for nothing.
//! - What was captured is of the connection that asked, and of no other; it ends with it.

use std::sync::Arc;

use bulkhead_egress::Captured;
use bulkhead_manifest::Capture;
use bulkhead_store::{Answered, ConnectionStatus, NewAnswer, NewEntry, Owner, StoreError, TenantTx};
use bulkhead_vault::Secret;

use super::Bound;
use crate::credentials::{Current, Meta, Shelf, USUAL_OVERLAP_MS, WEBHOOK_SECRET};
use crate::fault::EngineFault;

/// All that was captured for a connection but what verifies its webhooks. It stands apart from what the connection is
/// authorized by: a refresh replaces that.
pub(super) const CAPTURED: &str = "captured";

impl Bound {
    /// Writes down what came back for an intent, and what was captured of it.
    pub(super) async fn keep_answer(&self, answer: &NewAnswer, captured: &[Captured]) -> Result<Answered, EngineFault> {
        let store = &self.engine.inner.store;
        if captured.is_empty() {
            return Ok(store.answer(&self.to.lease, answer).await?);
        }
        let mut tx = store.tenant(self.to.tenant).await?;
        let outcome = tx.answer(&self.to.lease, answer).await?;
        // Of two answers the first counts, with what was captured of that.
        if outcome.earlier.is_none() {
            self.put_captured(&mut tx, captured).await?;
        }
        tx.commit().await?;
        self.tell_listeners(captured);
        Ok(outcome)
    }

    /// Writes down a request that needed no intent, at once, and what was captured of its answer. False: the lease is gone.
    pub(super) async fn keep_entry(&self, entry: &NewEntry, captured: &[Captured]) -> Result<bool, EngineFault> {
        let mut tx = self.engine.inner.store.tenant(self.to.tenant).await?;
        match tx.record_answers(&self.to.lease, std::slice::from_ref(entry)).await {
            Err(StoreError::LeaseLost { .. }) => return Ok(false),
            recorded => recorded?,
        }
        self.put_captured(&mut tx, captured).await?;
        tx.commit().await?;
        self.tell_listeners(captured);
        Ok(true)
    }

    async fn put_captured(&self, tx: &mut TenantTx, captured: &[Captured]) -> Result<(), EngineFault> {
        let (engine, connection) = (&self.engine, self.to.connection);
        let owner = Owner::Connection(connection);
        // Held, so that of two captures at once neither is lost.
        if tx.hold_connection(connection).await?.status == ConnectionStatus::Disconnected {
            return Ok(());
        }
        let (of_webhooks, fields): (Vec<_>, Vec<_>) = captured.iter().partition(|captured| is_of_webhooks(captured));
        for Captured { value, .. } in of_webhooks {
            // What was registered before may still send for a while.
            engine.roll(&mut Shelf::Tenant(tx), owner, WEBHOOK_SECRET, value, USUAL_OVERLAP_MS).await?;
        }
        if !fields.is_empty() {
            let kept = tx.credential(owner, CAPTURED).await?;
            let kept = kept.map(|row| engine.unsealed(Some(self.to.tenant), &row)).transpose()?;
            let mut kept = kept.unwrap_or_default();
            for Captured { name, value } in fields {
                kept.insert(name.clone(), copy(value));
            }
            engine.put_latest(tx, owner, CAPTURED, &kept, &Meta::default()).await?;
        }
        for Captured { name, .. } in captured {
            tracing::info!(connection.id = %connection, capture.name = %name, "a secret of a provider's answer is kept");
        }
        Ok(())
    }

    fn tell_listeners(&self, captured: &[Captured]) {
        if captured.iter().any(is_of_webhooks) {
            self.engine.inner.listeners.forget(Owner::Connection(self.to.connection));
        }
    }

    /// A credential with what was captured beside it, where the rules capture anything that placements use.
    pub(super) async fn with_captured(&self, current: Option<Current>) -> Result<Option<Current>, EngineFault> {
        let is_field = |capture: &Capture| capture.name != Capture::WEBHOOK_SECRET;
        if !self.to.passage.rules.iter().flat_map(|rule| &rule.capture).any(is_field) {
            return Ok(current);
        }
        let mut read = self.engine.inner.store.tenant_read(self.to.tenant).await?;
        let Some(row) = read.credential(Owner::Connection(self.to.connection), CAPTURED).await? else {
            return Ok(current);
        };
        drop(read);
        let mut fields = self.engine.unsealed(Some(self.to.tenant), &row)?;
        let (mut generation, mut renewable) = (0, false);
        if let Some(current) = &current {
            (generation, renewable) = (current.generation, current.renewable);
            for (name, value) in current.fields.iter() {
                fields.insert(name, copy(value));
            }
        }
        Ok(Some(Current { fields: Arc::new(fields), generation, renewable }))
    }
}

fn is_of_webhooks(captured: &Captured) -> bool {
    captured.name == Capture::WEBHOOK_SECRET
}

fn copy(secret: &Secret) -> Secret {
    Secret::new(secret.expose().to_vec())
}
