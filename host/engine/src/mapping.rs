//! A route's mapping: jq, evaluated in the sandbox like any other stranger's code.
//!
//! Invariant: evaluated once. The result becomes the run's stored input before anything is done with it, so that
//! every later attempt and every replay sees the same.

use std::path::Path;
use std::sync::Arc;

use bulkhead_manifest::json_limits::check_digits;
use bulkhead_manifest::{EventId, Failure, FailureKind, TenantId};
use bulkhead_runtime::{ActOutcome, Asker, Facts, Invocation, Limits, Loaded, NoPorts, Operation, Produced, Stop};
use bulkhead_store::{Event, Run};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Engine;
use crate::aside::far_aside;
use crate::fault::{EngineFault, stored};
use crate::references::{self, Steps};

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

/// Whether a route asked for this run.
pub(crate) fn is_routed(run: &Run) -> bool {
    serde_json::from_str::<RoutedCause>(&run.cause).is_ok()
}

/// What an event refers to, and our id of it where it is linked.
type Referred = Vec<(references::Reference, Option<String>)>;

/// jq has no randomness.
const NOTHING: [u8; 32] = [0; 32];

/// What jq has against a filter: a sentence, and where.
type Said = (String, Option<Box<Value>>);

impl Engine {
    /// The run with its input. The inner error is a mapping that does not work: the run's failure.
    pub(crate) async fn mapped(&self, mut run: Run) -> Result<Result<Run, Failure>, EngineFault> {
        if !run.input.is_empty() {
            return Ok(Ok(run));
        }
        let cause: RoutedCause = stored("a routed run's cause", &run.cause)?;
        let (event, references) = self.event_of(&run, cause.event).await?;
        let document = json!({
            "id": event.key,
            "name": event.name,
            "subject": event.subject,
            "connection": event.connection,
            "time_ms": event.created_ms,
            "data": stored::<Value>("an event's data", &event.data)?,
            "refs": references::mirror(references.iter().map(|(reference, ours)| (reference, ours.clone()))),
        });
        let input = match self.map(run.tenant, &cause.mapping, &document, event.created_ms).await? {
            Ok(input) => input,
            Err(failure) => return Ok(Err(failure)),
        };
        let mut tx = self.inner.store.tenant(run.tenant).await?;
        tx.set_run_input(&run.lease(), &run.input, &input).await?;
        tx.commit().await?;
        run.input = input;
        Ok(Ok(run))
    }

    /// What the event behind a routed run refers to without a record of ours for it: `customers cus_1 of Stripe`.
    pub(crate) async fn unlinked(&self, run: &Run) -> Result<Vec<String>, EngineFault> {
        let Ok(cause) = serde_json::from_str::<RoutedCause>(&run.cause) else { return Ok(Vec::new()) };
        let (event, references) = self.event_of(run, cause.event).await?;
        let source = self.inner.store.tenant_read(run.tenant).await?.connection(event.connection).await?;
        let known = self.version(source.version).await?;
        let whose = &known.manifest.connector.title;
        let unlinked = references.into_iter().filter(|(_, ours)| ours.is_none());
        Ok(unlinked.map(|(reference, _)| format!("{} {} of {whose}", reference.stream, reference.id)).collect())
    }

    /// The event behind a routed run, and what it refers to with our ids: as it was linked when the event came, or now
    /// where somebody has the run done again, who may have linked what was missing.
    async fn event_of(&self, run: &Run, event: EventId) -> Result<(Event, Referred), EngineFault> {
        let again = run.attempts_before > 0;
        let mut read = self.inner.store.tenant_read(run.tenant).await?;
        let event = read.event(event).await?;
        let source = read.connection(event.connection).await?;
        let known = self.version(source.version).await?;
        let mut referred = Vec::new();
        if !known.event_refers(&event.name) {
            return Ok((event, referred));
        }
        let then: Value = stored("an event's refs", &event.refs)?;
        let (name, data) = (event.name.clone(), event.data.clone());
        let find = move || -> Result<_, EngineFault> {
            let data: Value = stored("an event's data", &data)?;
            let spec = known.event(&name);
            Ok(spec.map_or_else(|| Ok(Vec::new()), |spec| Steps::default().find(&spec.data, &data)))
        };
        let found = far_aside(find).await??;
        // No event is kept that has more.
        for reference in found.map_err(|error| EngineFault::damaged("an event", error))? {
            let ours = if again {
                let link = read.link_of_external(event.connection, &reference.stream, &reference.id).await?;
                link.map(|link| link.record_id)
            } else {
                then.pointer(&reference.pointer).and_then(Value::as_str).map(str::to_owned)
            };
            referred.push((reference, ours));
        }
        Ok((event, referred))
    }

    /// Evaluates `filter` over `input`, with `clock_ms` as its `now`; the inner error is the filter's own.
    pub(crate) async fn map(
        &self,
        tenant: TenantId,
        filter: &str,
        input: &Value,
        clock_ms: u64,
    ) -> Result<Result<String, Failure>, EngineFault> {
        let answer = self.ask_jq(tenant, "map", json!({ "filter": filter, "input": input }), clock_ms).await?;
        let refused = |said: String, details| {
            let message = format!("The route's mapping does not work for this event: {said}");
            let failure = Failure::new(FailureKind::InvalidInput, message);
            Err(Failure { code: Some("mapping".to_owned()), details, ..failure })
        };
        Ok(match answer {
            Ok(value) if check_digits(&value).is_err() => {
                let said = "a number in it has more digits than a number can keep; make it a text (`tostring`)";
                refused(said.to_owned(), None)
            }
            Ok(value) => {
                let value: Value = stored("a mapping's answer", &value)?;
                Ok(value.get("output").cloned().unwrap_or(Value::Null).to_string())
            }
            Err((said, details)) => refused(said, details),
        })
    }

    /// What is wrong with a filter, before there is an event.
    pub(crate) async fn wrong_with(&self, tenant: TenantId, filter: &str) -> Result<Option<String>, EngineFault> {
        let _turn = self.inner.mappings.take(tenant).await?;
        let answer = self.ask_jq(tenant, "compile", json!({ "filter": filter }), self.now_ms()).await?;
        Ok(answer.err().map(|(said, _)| said))
    }

    async fn ask_jq(
        &self,
        tenant: TenantId,
        action: &str,
        input: Value,
        clock_ms: u64,
    ) -> Result<Result<String, Said>, EngineFault> {
        let operation = Operation::Act { action: action.to_owned(), input: input.to_string(), resume: None };
        let invocation = Invocation {
            loaded: self.jq().await?,
            operation,
            whose: u128::from_be_bytes(*tenant.as_bytes()),
            limits: Limits::default(),
            seed: NOTHING,
            clock_ms,
            ports: Arc::new(NoPorts),
            facts: Facts::default(),
            state_read_only: true,
        };
        match self.inner.runtime.invoke(invocation).await.result {
            Ok(Produced::Acted(ActOutcome::Done(output))) => Ok(Ok(output.value)),
            Ok(_) => Err(EngineFault::damaged("jq's answer", "it is not finished")),
            Err(Stop::Answered(failure)) => Ok(Err((failure.message, failure.details))),
            Err(Stop::Host { message }) => Err(EngineFault::damaged("the jq component", message)),
            Err(Stop::Busy { retry_after_ms }) => Err(EngineFault::Busy { retry_after_ms }),
            Err(stop) => Ok(Err((stop.to_string(), None))),
        }
    }

    async fn jq(&self) -> Result<Loaded, EngineFault> {
        if let Some(loaded) = self.inner.jq.get() {
            return Ok(loaded.clone());
        }
        let missing = || EngineFault::NoMapping { problem: "no jq component is configured".to_owned() };
        let path = self.inner.config.jq.as_deref().ok_or_else(missing)?;
        // Whoever comes meanwhile waits with everybody else who compiles, for no longer, and finds it done.
        let loaded = self.load_file(path).await?;
        Ok(self.inner.jq.get_or_init(|| loaded).clone())
    }

    async fn load_file(&self, path: &Path) -> Result<Loaded, EngineFault> {
        let missing = |problem: String| EngineFault::NoMapping { problem: format!("{}: {problem}", path.display()) };
        let wasm = tokio::fs::read(path).await.map_err(|error| missing(error.to_string()))?;
        let compiled = self.inner.runtime.compile(&wasm.into(), Asker::Run).await;
        let digest = compiled.map_err(|error| EngineFault::of_compiling(&error, missing))?;
        self.inner.runtime.load(&digest).await.map_err(|error| missing(error.to_string()))
    }
}
