//! A route's mapping: jq, evaluated in the sandbox like any other stranger's code.
//!
//! Invariant: evaluated once. The result becomes the run's stored input before anything is done with it, so that
//! every later attempt and every replay sees the same.

use std::path::Path;
use std::sync::Arc;

use bulkhead_manifest::{Failure, FailureKind};
use bulkhead_runtime::{ActOutcome, Facts, Invocation, Limits, Loaded, NoPorts, Operation, Produced, Stop};
use bulkhead_store::Run;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Engine;
use crate::fault::{EngineFault, stored};
use crate::references;

/// The cause of a run that a route asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RoutedCause {
    pub event: bulkhead_manifest::EventId,
    pub route: bulkhead_manifest::RouteId,
    pub step: u32,
    /// jq, as it was when the event came.
    pub mapping: String,
    pub depth: u32,
}

/// jq has no randomness.
const NOTHING: [u8; 32] = [0; 32];

impl Engine {
    /// The run with its input. The inner error is a mapping that does not work: the run's failure.
    pub(crate) async fn mapped(&self, mut run: Run) -> Result<Result<Run, (Run, Failure)>, EngineFault> {
        if !run.input.is_empty() {
            return Ok(Ok(run));
        }
        let cause: RoutedCause = stored("a routed run's cause", &run.cause)?;
        let mut read = self.inner.store.tenant_read(run.tenant).await?;
        let event = read.event(cause.event).await?;
        drop(read);
        let document = json!({
            "id": event.key,
            "name": event.name,
            "subject": event.subject,
            "connection": event.connection,
            "time_ms": event.created_ms,
            "data": stored::<Value>("an event's data", &event.data)?,
            "refs": stored::<Value>("an event's refs", &event.refs)?,
        });
        let input = match self.map(&cause.mapping, &document, event.created_ms).await? {
            Ok(input) => input,
            Err(failure) => return Ok(Err((run, failure))),
        };
        let mut tx = self.inner.store.tenant(run.tenant).await?;
        tx.set_run_input(&run.lease(), &input).await?;
        tx.commit().await?;
        run.input = input;
        Ok(Ok(run))
    }

    /// What the event behind a routed run refers to without a record of ours for it: `customers cus_1 of Stripe`.
    pub(crate) async fn unlinked(&self, run: &Run) -> Result<Vec<String>, EngineFault> {
        let Ok(cause) = serde_json::from_str::<RoutedCause>(&run.cause) else { return Ok(Vec::new()) };
        let mut read = self.inner.store.tenant_read(run.tenant).await?;
        let event = read.event(cause.event).await?;
        let source = read.connection(event.connection).await?;
        drop(read);
        let known = self.version(source.version).await?;
        let Some(spec) = known.event(&event.name) else { return Ok(Vec::new()) };
        let data: Value = stored("an event's data", &event.data)?;
        let refs: Value = stored("an event's refs", &event.refs)?;
        let found = references::find(&spec.data, &data).into_iter();
        let unlinked = found.filter(|reference| refs.pointer(&reference.pointer).is_none_or(Value::is_null));
        let whose = &known.manifest.connector.title;
        Ok(unlinked.map(|reference| format!("{} {} of {whose}", reference.stream, reference.id)).collect())
    }

    /// Evaluates `filter` over `input`, with `clock_ms` as its `now`; the inner error is the filter's own.
    pub(crate) async fn map(
        &self,
        filter: &str,
        input: &Value,
        clock_ms: u64,
    ) -> Result<Result<String, Failure>, EngineFault> {
        let operation = Operation::Act {
            action: "map".to_owned(),
            input: json!({ "filter": filter, "input": input }).to_string(),
            resume: None,
        };
        let invocation = Invocation {
            loaded: self.jq().await?,
            operation,
            limits: Limits::default(),
            seed: NOTHING,
            clock_ms,
            ports: Arc::new(NoPorts),
            facts: Facts::default(),
            state_read_only: true,
        };
        match self.inner.runtime.invoke(invocation).await.result {
            Ok(Produced::Acted(ActOutcome::Done(output))) => {
                let value: Value = stored("a mapping's answer", &output.value)?;
                Ok(Ok(value.get("output").cloned().unwrap_or(Value::Null).to_string()))
            }
            Ok(_) => Err(EngineFault::damaged("a mapping's answer", "it is not finished")),
            Err(Stop::Answered(failure)) => Ok(Err(mapping_failed(&failure.message, failure.details))),
            Err(Stop::Host { message }) => Err(EngineFault::damaged("the jq component", message)),
            Err(Stop::Busy { .. }) => Err(EngineFault::NoMapping { problem: "the sandbox is full".to_owned() }),
            Err(stop) => Ok(Err(mapping_failed(&stop.to_string(), None))),
        }
    }

    async fn jq(&self) -> Result<Loaded, EngineFault> {
        let loaded = self.inner.jq.get_or_try_init(|| async {
            let missing = |problem: String| EngineFault::NoMapping { problem };
            let path =
                self.inner.config.jq.as_deref().ok_or_else(|| missing("no jq component is configured".to_owned()))?;
            self.load_file(path).await.map_err(missing)
        });
        loaded.await.cloned()
    }

    async fn load_file(&self, path: &Path) -> Result<Loaded, String> {
        let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let wasm = tokio::fs::read(path).await.map_err(|error| named(&error))?;
        let digest = self.inner.runtime.compile(&wasm).await.map_err(|error| named(&error))?;
        self.inner.runtime.load(&digest).await.map_err(|error| named(&error))
    }
}

fn mapping_failed(message: &str, details: Option<Value>) -> Failure {
    let message = format!("The route's mapping does not work for this event: {message}");
    Failure { code: Some("mapping".to_owned()), details, ..Failure::new(FailureKind::InvalidInput, message) }
}
