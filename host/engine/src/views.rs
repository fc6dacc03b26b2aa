//! Runs as people and programs see them: what the store holds, without what is sealed.

use bulkhead_manifest::{ConnectionId, EventId, Failure, FailureKind, KeyId, RunId};
use bulkhead_runtime::{LogLevel, LogLine};
use bulkhead_store::{Attempt, ListedEntry, ListedRun, Run, RunState, Verdict, VerdictKind};
use serde::Serialize;
use serde_json::Value;

use crate::fault::{EngineFault, stored};

/// One run.
#[derive(Debug, Clone, Serialize)]
pub struct RunView {
    pub id: RunId,
    pub connection: ConnectionId,
    pub operation: String,
    /// The action or stream, where the operation has one.
    pub target: String,
    pub state: RunState,
    /// Attempts begun so far.
    pub attempt: u32,
    /// Not in a list.
    #[serde(flatten)]
    pub content: Option<RunContent>,
    pub failure: Option<Failure>,
    /// What asked for it: an API call, a delivery, an event and its route.
    pub cause: Value,
    pub created_ms: u64,
    pub started_ms: Option<u64>,
    pub finished_ms: Option<u64>,
    /// When it is tried next, while it waits.
    pub next_attempt_ms: Option<u64>,
    /// Only where one run is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<RunDetail>,
}

/// What a run was given and what came out.
#[derive(Debug, Clone, Serialize)]
pub struct RunContent {
    /// `null` until a route's mapping has been evaluated.
    pub input: Value,
    pub output: Option<Value>,
}

/// What else there is to see of one run.
#[derive(Debug, Clone, Serialize)]
pub struct RunDetail {
    /// The newest ones.
    pub attempts: Vec<AttemptView>,
    /// Whether there are earlier ones.
    pub more_attempts: bool,
    /// What people said while it was uncertain: the newest 100.
    pub verdicts: Vec<VerdictView>,
    /// The newest requests. What an attempt only read since its last effect is lost with it where its host goes away.
    pub journal: Vec<JournalView>,
    /// Whether there are earlier ones.
    pub more_journal: bool,
    pub events: Vec<EventId>,
}

/// One attempt.
#[derive(Debug, Clone, Serialize)]
pub struct AttemptView {
    pub number: u32,
    pub started_ms: u64,
    pub ended_ms: u64,
    pub outcome: String,
    /// The connector's version that was asked; none where it did not come to that.
    pub version: Option<String>,
    pub failure: Option<Failure>,
    pub log: Vec<LineView>,
    pub logs_dropped: u64,
    pub usage: Value,
}

/// One line of an attempt's log.
#[derive(Debug, Clone, Serialize)]
pub struct LineView {
    pub level: LogLevel,
    pub message: String,
    pub fields: Option<Value>,
    /// On the run's own clock.
    pub at_ms: u64,
}

/// A person's word on the run.
#[derive(Debug, Clone, Serialize)]
pub struct VerdictView {
    /// The attempt that had left the doubt.
    pub attempt: u32,
    pub verdict: VerdictKind,
    /// The API key that it was said with: a tenant's, or an operator's.
    pub said_by: KeyId,
    pub said_ms: u64,
}

/// One request that the run made.
#[derive(Debug, Clone, Serialize)]
pub struct JournalView {
    /// How often the run had come back with `later` before.
    pub leg: u32,
    pub seq: u32,
    pub sub: u32,
    /// The attempt that sent it last.
    pub attempt: u32,
    /// Method and URL, and what else may be shown; of an effect, whether its provider was given the key (`key_given`).
    pub request: Value,
    pub unsafe_request: bool,
    /// What tells this effect from all others, whether its provider takes it or not.
    pub effect_key: Option<String>,
    /// How often it was sent.
    pub sends: u32,
    /// When it was about to leave first.
    pub intent_ms: u64,
    pub answer_ms: Option<u64>,
    /// HTTP status of the answer, or the name of the error.
    pub answer: Option<Value>,
    /// The attempt after which it counted no more: whatever comes next asks anew.
    pub superseded_by: Option<u32>,
}

impl RunView {
    pub(crate) fn of(run: Run) -> Result<Self, EngineFault> {
        let waits = matches!(run.state, RunState::Queued | RunState::Parked);
        Ok(Self {
            id: run.id,
            connection: run.connection,
            operation: run.operation,
            target: run.target,
            state: run.state,
            attempt: run.attempt,
            content: Some(RunContent {
                input: if run.input.is_empty() { Value::Null } else { stored("a run's input", &run.input)? },
                output: run.output.as_deref().map(|json| stored("a run's output", json)).transpose()?,
            }),
            failure: run.failure.as_deref().map(|json| stored("a run's failure", json)).transpose()?,
            cause: stored("a run's cause", &run.cause)?,
            created_ms: run.created_ms,
            started_ms: run.started_ms,
            finished_ms: run.finished_ms,
            next_attempt_ms: waits.then_some(run.run_at_ms),
            detail: None,
        })
    }
}

impl RunView {
    /// In a list: what cannot be read of one run does not hide the others.
    pub(crate) fn listed(run: ListedRun) -> Self {
        let waits = matches!(run.state, RunState::Queued | RunState::Parked);
        let too_long = || {
            let kind = FailureKind::Other("not-in-lists".to_owned());
            Failure::new(kind, "Why it did not work is too long for a list: ask for the run itself.")
        };
        Self {
            id: run.id,
            connection: run.connection,
            operation: run.operation,
            target: run.target,
            state: run.state,
            attempt: run.attempt,
            content: None,
            failure: run.failure.map(|json| serde_json::from_str(&json).unwrap_or_else(|_| too_long())),
            cause: serde_json::from_str(&run.cause).unwrap_or_default(),
            created_ms: run.created_ms,
            started_ms: run.started_ms,
            finished_ms: run.finished_ms,
            next_attempt_ms: waits.then_some(run.run_at_ms),
            detail: None,
        }
    }
}

impl LineView {
    fn of(line: LogLine) -> Self {
        // A guest wrote them: what is no JSON is shown as the text that it is.
        let fields = line.fields.map(|text| serde_json::from_str(&text).unwrap_or(Value::String(text)));
        Self { level: line.level, message: line.message, fields, at_ms: line.at_ms }
    }
}

impl AttemptView {
    pub(crate) fn of(attempt: Attempt, version: Option<String>) -> Result<Self, EngineFault> {
        Ok(Self {
            number: attempt.number,
            started_ms: attempt.started_ms,
            ended_ms: attempt.ended_ms,
            outcome: attempt.outcome,
            version,
            failure: attempt.failure.as_deref().map(|json| stored("an attempt's failure", json)).transpose()?,
            log: stored::<Vec<LogLine>>("an attempt's log", &attempt.log)?.into_iter().map(LineView::of).collect(),
            logs_dropped: attempt.logs_dropped,
            usage: stored("an attempt's usage", &attempt.usage)?,
        })
    }
}

impl VerdictView {
    pub(crate) fn of(Verdict { attempt, kind, said_by, said_ms }: Verdict) -> Self {
        Self { attempt, verdict: kind, said_by, said_ms }
    }
}

impl JournalView {
    pub(crate) fn of(entry: ListedEntry) -> Result<Self, EngineFault> {
        Ok(Self {
            leg: entry.leg,
            seq: entry.seq,
            sub: entry.sub,
            attempt: entry.attempt,
            request: stored("a journal entry", &entry.request)?,
            unsafe_request: entry.unsafe_request,
            effect_key: entry.effect_key,
            sends: entry.sends,
            intent_ms: entry.intent_ms,
            answer_ms: entry.answer_ms,
            answer: entry.shown.as_deref().map(|shown| stored("a journal entry", shown)).transpose()?,
            superseded_by: entry.superseded_by,
        })
    }
}
