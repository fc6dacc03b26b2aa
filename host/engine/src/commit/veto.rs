//! What may not be committed, whatever the guest did to get there, and the state it may.
//!
//! How many changes a page has and how many keys of state a run writes is bounded in the sandbox.

use std::collections::BTreeMap;

use bulkhead_manifest::{Failure, FailureKind};
use bulkhead_runtime::{ActOutcome, Event, Finished, Produced};
use bulkhead_store::TenantTx;

use crate::Engine;
use crate::attempt::Opened;
use crate::fault::EngineFault;
use crate::routes::{MOST_ROUTES, MOST_STEPS};

/// Events of one run: each may set routes going, in the one transaction that commits it.
pub(super) const MOST_EVENTS: usize = 1_000;
/// Runs that one run sets going by its events: one event may have every route and step that there may be.
const MOST_FAN_OUTS: usize = MOST_ROUTES * MOST_STEPS;
/// Mappings of all these runs together: each run keeps its own. Bytes.
const MOST_MAPPINGS: usize = 4 << 20;
/// A cursor says where to go on. It is looked at in its page's transaction and in the next one's. Bytes.
const LONGEST_CURSOR: usize = 64 << 10;

impl Engine {
    /// What may not be committed, whatever the guest did to get there.
    pub(super) async fn veto(
        &self,
        tx: &mut TenantTx,
        opened: &Opened,
        produced: &Produced,
    ) -> Result<Option<Failure>, EngineFault> {
        let refused = |code: &str, message: String| Ok(Some(coded(code, message)));
        let events = events_of(produced);
        if events.len() > MOST_EVENTS {
            let message = format!("It reported {} events; at most {MOST_EVENTS} are taken from one run.", events.len());
            return refused("event-limit", message);
        }
        if let Some(event) = events.iter().find(|event| opened.known.event(&event.name).is_none()) {
            let message = format!("It reported the event {:?}, which its descriptor does not list.", event.name);
            return refused("bad-output", message);
        }
        if self.sets_too_much_going(tx, opened, events).await? {
            let message = format!(
                "Its events would set more than {MOST_FAN_OUTS} runs going by their routes, or runs with mappings of more \
                 than {} MiB. Report fewer events at once, or have fewer routes for them, or shorter mappings.",
                MOST_MAPPINGS >> 20
            );
            return refused("fan-out-limit", message);
        }
        if let Produced::Page(page) = produced
            && let Some(bytes) = page.next.as_ref().map(String::len).filter(|bytes| *bytes > LONGEST_CURSOR)
        {
            let message = format!(
                "Its cursor has {bytes} bytes; at most {LONGEST_CURSOR} are taken. A cursor says where to go on: what has to \
                 be remembered besides belongs into the state."
            );
            return refused("cursor-limit", message);
        }
        Ok(None)
    }

    /// Whether the events set more going than is written in one transaction.
    async fn sets_too_much_going(
        &self,
        tx: &mut TenantTx,
        opened: &Opened,
        events: &[Event],
    ) -> Result<bool, EngineFault> {
        let (mut each, mut runs, mut bytes) = (BTreeMap::new(), 0, 0);
        for event in events {
            if !each.contains_key(&event.name) {
                let routes = self.routes_of(tx, opened.run.connection, &event.name).await?;
                let steps: Vec<_> = routes.iter().flat_map(|(_, steps)| steps).collect();
                let mappings: usize = steps.iter().map(|step| step.mapping.len()).sum();
                each.insert(&event.name, (steps.len(), mappings));
            }
            let (steps, mappings) = each.get(&event.name).copied().unwrap_or_default();
            (runs, bytes) = (runs + steps, bytes + mappings);
            if runs > MOST_FAN_OUTS || bytes > MOST_MAPPINGS {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Writes what the run remembers, or says why not.
    pub(super) async fn write_state(
        &self,
        tx: &mut TenantTx,
        opened: &Opened,
        finished: Option<&Finished>,
    ) -> Result<Option<Failure>, EngineFault> {
        let (run, most) = (&opened.run, self.limits().state_bytes);
        let writes = finished.map(|finished| finished.state_writes.as_slice()).unwrap_or_default();
        if writes.is_empty() {
            return Ok(None);
        }
        // Every unit that writes state holds it before all but its own run, so that no two wait for each other.
        let lane = run.ordering_key.as_deref().unwrap_or_default();
        let write = tx.weigh_state(run.connection, lane, writes).await?;
        // What is over it, because that was set lower, may become less.
        let allowed = most.max(write.before);
        if write.after > allowed {
            let message =
                format!("Its state would take more than {} MiB. Remove what is no longer needed.", most >> 20);
            return Ok(Some(coded("state-size-limit", message)));
        }
        tx.put_states(write, self.now_ms()).await?;
        Ok(None)
    }
}

/// A failure by a name of the host's.
pub(super) fn coded(code: &str, message: impl Into<String>) -> Failure {
    Failure { code: Some(code.to_owned()), ..Failure::new(FailureKind::Other(code.to_owned()), message) }
}

pub(super) fn events_of(produced: &Produced) -> &[Event] {
    match produced {
        Produced::Acted(ActOutcome::Done(output) | ActOutcome::Partial { output, .. }) => &output.events,
        Produced::Receipt(receipt) => &receipt.events,
        _ => &[],
    }
}
