//! Looking after authorizations that nobody uses: their refresh tokens are used before their providers forget them, and
//! whoever has to authorize again reads so in time.
//!
//! Invariants: no node leads. Whoever claims a look moves it on in the same statement, so that of many nodes one looks,
//! and another one does where that one went away. Each warning is logged once.

use std::time::Duration;

use bulkhead_store::{Connection, ConnectionStatus, Credential, Owner};
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use super::AUTHORIZATION;
use super::renewal::{REFRESH_LEASE_MS, Renewed};
use crate::Engine;
use crate::fault::EngineFault;

/// How often a node asks what is to be looked at.
const LOOK: Duration = Duration::from_secs(5);
/// Of one claim, and how many of them at a time: each may be a request.
const AT_ONCE: u32 = 20;
const SIDE_BY_SIDE: usize = 4;
/// When another node looks, where this one went away.
const CLAIMED_MS: u64 = 10 * 60_000;

impl Engine {
    /// Looks after what is due, until it is told to stop; what was begun is finished.
    pub(crate) async fn tend(self, stop: CancellationToken) {
        let mut beat = tokio::time::interval(LOOK);
        while stop.run_until_cancelled(beat.tick()).await.is_some() {
            if let Err(error) = self.remove_cut_off_uploads().await {
                tracing::error!(%error, "what cut off uploads have left could not be removed");
            }
            while !stop.is_cancelled() {
                match self.look_after_due().await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => {
                        tracing::error!(%error, "authorizations could not be looked after");
                        break;
                    }
                }
            }
        }
    }

    /// Whether there may be more.
    pub(super) async fn look_after_due(&self) -> Result<bool, EngineFault> {
        let now_ms = self.now_ms();
        let mut tx = self.inner.store.system().await?;
        let claimed = tx.claim_looks(now_ms, now_ms + CLAIMED_MS, AT_ONCE).await?;
        tx.commit().await?;
        let more = claimed.len() == usize::try_from(AT_ONCE).unwrap_or(usize::MAX);
        futures::stream::iter(claimed)
            .for_each_concurrent(SIDE_BY_SIDE, |row| async move {
                let owner = row.owner;
                if let Err(error) = self.look_after(row).await {
                    tracing::error!(%error, credential.owner = %owner, "an authorization could not be looked after");
                }
            })
            .await;
        Ok(more)
    }

    async fn look_after(&self, row: Credential) -> Result<(), EngineFault> {
        let (Some(tenant), Owner::Connection(connection)) = (row.tenant, row.owner) else { return Ok(()) };
        let Some(held) = self.held(tenant, connection).await? else { return Ok(()) };
        if held.connection.status != ConnectionStatus::Active {
            return self.look_again_at(&row, None).await;
        }
        let (written_ms, dice) = (held.row.updated_ms, dice());
        if held.meta.is_to_be_exercised(written_ms, self.now_ms()) {
            match self.renew(&held, true, false).await? {
                // What was renewed says itself when it is to be looked at. Where somebody else asks at this moment, it is
                // seen what became of that when it has to have come to something.
                Renewed::LookAgain => return self.look_again_at(&row, Some(self.now_ms() + REFRESH_LEASE_MS)).await,
                Renewed::Gone => return self.look_again_at(&row, None).await,
                Renewed::NotNow => {
                    let at_ms = held.meta.retry_ms(written_ms, self.now_ms(), dice);
                    return self.look_again_at(&row, Some(at_ms)).await;
                }
            }
        }
        let now_ms = self.now_ms();
        warn(&held.connection, held.meta.warning(&held.row, now_ms));
        self.look_again_at(&row, held.meta.next_look_ms(written_ms, now_ms, dice)).await
    }

    async fn look_again_at(&self, row: &Credential, at_ms: Option<u64>) -> Result<(), EngineFault> {
        let mut tx = self.inner.store.system().await?;
        tx.set_look(row.tenant, row.owner, AUTHORIZATION, row.generation, at_ms).await?;
        Ok(tx.commit().await?)
    }
}

fn warn(connection: &Connection, warning: Option<crate::Warning>) {
    if let Some(warning) = warning {
        tracing::warn!(
            connection.id = %connection.id,
            tenant.id = %connection.tenant,
            code = warning.code,
            "{}",
            warning.message
        );
    }
}

pub(super) fn dice() -> u16 {
    u16::from_le_bytes(bulkhead_vault::random())
}
