//! Asking `check` outside any run, while a connection is being made.

use std::sync::Arc;

use bulkhead_manifest::RunId;
use bulkhead_runtime::{Identity, Operation, Produced, Stop};
use bulkhead_store::{Connection, Run};
use bulkhead_vault::CredentialFields;

use super::{Opened, Request};
use crate::Engine;
use crate::connections::ConnectionError;
use crate::fault::EngineFault;
use crate::journal::Journal;
use crate::ports::RunPorts;
use crate::versions::Known;

/// Somebody waits, and a place is held.
pub(crate) const LONGEST_PROBE_MS: u64 = 30_000;

impl Engine {
    /// Asks `check` outside any run, with a credential that the connection does not have yet.
    pub(crate) async fn probe(
        &self,
        connection: &Connection,
        known: &Arc<Known>,
        id: RunId,
        candidate: Arc<CredentialFields>,
    ) -> Result<Identity, ConnectionError> {
        let run = unqueued(connection, id, self.now_ms());
        let opened = Opened { run, connection: connection.clone(), known: known.clone(), request: Request::Check };
        let mut binding = self.binding(&opened).await?;
        // There is no run to journal to, so nothing unsafe may be asked: only rules that read are left.
        binding
            .passage
            .rules
            .iter_mut()
            .for_each(|rule| rule.methods.retain(|method| matches!(method.as_str(), "GET" | "HEAD")));
        binding.candidate = Some(candidate);
        let ports = RunPorts::new(self.clone(), binding, Journal::default());
        let mut invocation = self.invocation(&opened, Operation::Check, Arc::new(ports)).await?;
        invocation.limits.wall_ms = invocation.limits.wall_ms.min(LONGEST_PROBE_MS);
        let turn = self.inner.asides.take(connection.tenant).await;
        let _turn = turn.map_err(|fault| match fault {
            EngineFault::Busy { .. } => {
                let busy = "Too many connections are being checked at this moment. Try again in a moment.";
                ConnectionError::NotChecked(busy.to_owned())
            }
            other => other.into(),
        })?;
        match self.inner.runtime.invoke(invocation).await.result {
            Ok(Produced::Identity(identity)) => Ok(identity),
            Ok(_) => Err(EngineFault::damaged("an answer to `check`", "it is not an identity").into()),
            Err(Stop::Answered(failure)) if failure.kind.retryable() => {
                Err(ConnectionError::NotChecked(failure.message))
            }
            Err(Stop::Answered(failure)) => Err(ConnectionError::NotAccepted(failure.message)),
            Err(Stop::Host { message }) => Err(EngineFault::damaged("a check", message).into()),
            // Nobody at the provider said no: what was given may be good.
            Err(stop) => Err(ConnectionError::NotChecked(stop.to_string())),
        }
    }
}

/// The shape of a run for what is asked outside the queue.
fn unqueued(connection: &Connection, id: RunId, now_ms: u64) -> Run {
    Run {
        id,
        tenant: connection.tenant,
        connection: connection.id,
        ordering_key: None,
        operation: "check".to_owned(),
        target: String::new(),
        input: "null".to_owned(),
        state: bulkhead_store::RunState::Running,
        priority: bulkhead_store::Priority::Person,
        run_at_ms: now_ms,
        created_ms: now_ms,
        started_ms: Some(now_ms),
        finished_ms: None,
        deadline_ms: now_ms,
        root: id.to_string(),
        cause: "null".to_owned(),
        dedupe_key: None,
        clock_ms: now_ms,
        waiting: true,
        attempt: 1,
        attempt_started_ms: Some(now_ms),
        fence: 0,
        holder: None,
        lease_until_ms: None,
        output: None,
        failure: None,
        resume: None,
        cancel_asked_ms: None,
        leg: 0,
        attempts_before: 0,
        edition: None,
    }
}
