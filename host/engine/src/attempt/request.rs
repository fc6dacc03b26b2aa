//! What a run is asked to do, and how that stands in its row.

use bulkhead_manifest::DeliveryId;
use bulkhead_runtime::{External, PullMode};
use bulkhead_store::Run;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fault::{EngineFault, json, stored};

/// What a run is asked to do, as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Request {
    Check,
    Act {
        action: String,
        input: Value,
    },
    Pull {
        stream: String,
        mode: PullMode,
        limit: u32,
    },
    /// What it sends is fixed at its first attempt.
    Push {
        stream: String,
        record: String,
        sends: Option<Sends>,
    },
    Receive {
        delivery: DeliveryId,
    },
}

#[derive(Serialize, Deserialize)]
struct PullInput {
    mode: PullMode,
    limit: u32,
}

#[derive(Serialize, Deserialize)]
struct PushInput<D = Value> {
    record: String,
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    sends: Option<Sends<D>>,
}

/// What a push sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sends<D = Value> {
    /// What the record is at the provider.
    pub known: Option<External>,
    pub op: SendsOp<D>,
    /// Of that document; of the record where it is deleted. Hexadecimal.
    pub hash: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SendsOp<D = Value> {
    /// The record, with the provider's ids in it.
    Upsert(D),
    Delete,
}

/// Whether a run makes at the provider what nothing leads to but the id that it answers.
pub(crate) fn pushes_unlinked(run: &Run) -> bool {
    // Its document may be long, and is not looked at.
    let sends = || serde_json::from_str::<PushInput<IgnoredAny>>(&run.input).ok()?.sends;
    let makes = |sends: Sends<IgnoredAny>| sends.known.is_none() && matches!(sends.op, SendsOp::Upsert(_));
    run.operation == "push" && sends().is_some_and(makes)
}

#[derive(Serialize, Deserialize)]
struct ReceiveInput {
    delivery: DeliveryId,
}

impl Request {
    /// Operation, target and input of the run's row.
    pub(crate) fn stored(self) -> (String, String, String) {
        let (operation, target, input) = match self {
            Self::Check => ("check", String::new(), "null".to_owned()),
            Self::Act { action, input } => ("act", action, input.to_string()),
            Self::Pull { stream, mode, limit } => ("pull", stream, json(&PullInput { mode, limit })),
            Self::Push { stream, record, sends } => ("push", stream, json(&PushInput { record, sends })),
            Self::Receive { delivery } => ("receive", String::new(), json(&ReceiveInput { delivery })),
        };
        (operation.to_owned(), target, input)
    }

    pub(crate) fn of(run: &Run) -> Result<Self, EngineFault> {
        const WHAT: &str = "a run's input";
        let target = run.target.clone();
        Ok(match run.operation.as_str() {
            "check" => Self::Check,
            "act" => Self::Act { action: target, input: stored(WHAT, &run.input)? },
            "pull" => {
                stored(WHAT, &run.input).map(|PullInput { mode, limit }| Self::Pull { stream: target, mode, limit })?
            }
            "push" => stored(WHAT, &run.input).map(|PushInput { record, sends }| Self::Push {
                stream: target,
                record,
                sends,
            })?,
            "receive" => stored(WHAT, &run.input).map(|ReceiveInput { delivery }| Self::Receive { delivery })?,
            other => return Err(EngineFault::damaged("a run", format!("it has the unknown operation {other:?}"))),
        })
    }
}
