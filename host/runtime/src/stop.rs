//! Why a run did not produce what it was asked for.
//!
//! Invariant: the guest's own answer, a trap, a limit, a halt from outside, an answer we cannot use and a fault of ours
//! are different cases and stay different all the way to a person. Each says what was found, what was expected and what
//! to do next. Nothing of the host's insides stands in any of them but [`Stop::Host`], which is for operators only.

use bulkhead_manifest::Failure;
use serde::{Deserialize, Serialize};

/// Why there is no [`Produced`](crate::Produced).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Stop {
    /// The connector itself said no.
    #[error("the connector answered: {0}")]
    Answered(Failure),
    /// The connector's code broke.
    #[error("the connector's code broke ({}): {message}", code.as_str())]
    Trapped {
        /// What kind of fault.
        code: TrapCode,
        /// The same in words.
        message: String,
        /// Where, innermost first.
        frames: Vec<Frame>,
    },
    /// The run reached one of its limits.
    #[error("the run used more {} than its {allowed} {}", kind.subject(), kind.unit())]
    Limit {
        /// Which one.
        kind: LimitKind,
        /// How much was allowed, in the limit's unit.
        allowed: u64,
    },
    /// The ports ended the run.
    #[error("the run was halted: {0}")]
    Halted(Halt),
    /// The component does not do that.
    #[error("the component does not export `{interface}`")]
    Unsupported {
        /// The interface that is missing.
        interface: String,
    },
    /// The connector answered something that cannot be used.
    #[error("the connector's answer cannot be used: {what} is {found}; expected {expected}")]
    BadOutput {
        /// Which part of the answer.
        what: String,
        /// What stood there.
        found: String,
        /// What should have.
        expected: String,
    },
    /// No slot became free; the run never began.
    #[error("no sandbox slot became free; try again in {retry_after_ms} ms")]
    Busy {
        /// When to try again.
        retry_after_ms: u64,
    },
    /// Ours. The message is for operators, never for a guest or a client.
    #[error("the host failed: {message}")]
    Host {
        /// What happened.
        message: String,
    },
}

impl Stop {
    /// A stable name for the case.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Answered(_) => "answered",
            Self::Trapped { .. } => "trapped",
            Self::Limit { kind, .. } => kind.code(),
            Self::Halted(halt) => halt.reason.code(),
            Self::Unsupported { .. } => "unsupported-operation",
            Self::BadOutput { .. } => "bad-output",
            Self::Busy { .. } => "busy",
            Self::Host { .. } => "host-fault",
        }
    }

    /// What a person can do about it, in a sentence.
    #[must_use]
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::Answered(_) => "Read the connector's message: it says what has to change.",
            Self::Trapped { .. } => {
                "The connector has a bug. Its author finds the place in the failure's frames, and a panic's words in the run's log."
            }
            Self::Limit { kind, .. } => kind.next_step(),
            Self::Halted(halt) => halt.reason.next_step(),
            Self::Unsupported { .. } => {
                "Ask only for what the connector exports, or publish a version that exports it."
            }
            Self::BadOutput { .. } => {
                "The connector has a bug. Its author makes this part of the answer what is expected."
            }
            Self::Busy { .. } => "Try again later; an operator can raise the number of sandbox slots.",
            Self::Host { .. } => "Nothing on your side. Try again; if it stays, an operator reads the host's log.",
        }
    }
}

/// Which limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitKind {
    /// CPU time.
    Cpu,
    /// Wall time, waiting included.
    Wall,
    /// Linear memory.
    Memory,
    /// Table elements.
    Table,
    /// Data in one host call or answer.
    HostCallData,
    /// HTTP requests.
    Requests,
    /// The bodies of all HTTP answers.
    Answers,
    /// What is written to the state.
    StateSize,
    /// Keys of the state listed at once.
    StateKeys,
    /// Questions to the store, and pauses.
    Lookups,
    /// Handles alive at once.
    Handles,
    /// The call stack.
    Stack,
    /// The JSON of the answer.
    OutputSize,
    /// Core instances, memories or tables of the component.
    Instances,
}

impl LimitKind {
    /// A stable name.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Cpu => "cpu-limit",
            Self::Wall => "wall-limit",
            Self::Memory => "memory-limit",
            Self::Table => "table-limit",
            Self::HostCallData => "host-call-data-limit",
            Self::Requests => "requests-limit",
            Self::Answers => "answers-limit",
            Self::StateSize => "state-size-limit",
            Self::StateKeys => "state-keys-limit",
            Self::Lookups => "lookups-limit",
            Self::Handles => "handles-limit",
            Self::Stack => "stack-limit",
            Self::OutputSize => "output-size-limit",
            Self::Instances => "instances-limit",
        }
    }

    fn subject(self) -> &'static str {
        match self {
            Self::Cpu => "CPU time",
            Self::Wall => "time",
            Self::Memory => "memory",
            Self::Table => "table space",
            Self::HostCallData => "data in one call",
            Self::Requests => "requests",
            Self::Answers => "data in all answers to its requests",
            Self::StateSize => "state",
            Self::StateKeys => "keys of the state at once",
            Self::Lookups => "questions about state and links, and pauses",
            Self::Handles => "handles",
            Self::Stack => "stack",
            Self::OutputSize => "output",
            Self::Instances => "instances",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::Cpu | Self::Wall => "ms",
            Self::Memory | Self::HostCallData | Self::Answers | Self::StateSize | Self::Stack | Self::OutputSize => {
                "bytes"
            }
            Self::Table => "elements",
            Self::Requests | Self::StateKeys | Self::Lookups | Self::Handles | Self::Instances => "in number",
        }
    }

    fn next_step(self) -> &'static str {
        match self {
            Self::Cpu => "Do less work per run (smaller pages), or ask for more CPU time in the manifest.",
            Self::Wall => {
                "Answer `later` instead of waiting, use smaller pages, or ask for more wall time in the manifest."
            }
            Self::Memory => "Keep less at once (smaller pages), or ask for more memory in the manifest.",
            Self::Table | Self::Stack | Self::Instances => {
                "The connector's code has to change: this limit is the same for everybody."
            }
            Self::HostCallData | Self::OutputSize => "Hand over less at once: smaller pages, smaller bodies.",
            Self::Requests => "Send fewer requests per run: use batches, pages with `more`, or `later`.",
            Self::Answers => "Ask the provider for less per run: smaller pages, fewer fields, pages with `more`.",
            Self::StateSize => "Keep less in the state.",
            Self::StateKeys => "Ask for the keys under a longer prefix, or keep fewer keys.",
            Self::Lookups => "Read each value once and remember it, pause for longer, or do less per run.",
            Self::Handles => "Drop streams and pollables after use.",
        }
    }
}

/// What kind of fault ended the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrapCode {
    /// `unreachable`: a panic, an abort, a failed assertion.
    Unreachable,
    /// A load or store outside its memory.
    MemoryOutOfBounds,
    /// A table access outside its table.
    TableOutOfBounds,
    /// A call through an empty or wrongly typed table entry.
    BadIndirectCall,
    /// Overflow, division by zero, a float that is no integer.
    Arithmetic,
    /// The guest ended itself (`exit`).
    Exit,
    /// A value handed over was malformed: not UTF-8, out of its memory, an unknown case, more than asked for.
    InvalidValue,
    /// Anything else.
    Other,
}

impl TrapCode {
    /// A stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::MemoryOutOfBounds => "memory-out-of-bounds",
            Self::TableOutOfBounds => "table-out-of-bounds",
            Self::BadIndirectCall => "bad-indirect-call",
            Self::Arithmetic => "arithmetic",
            Self::Exit => "exit",
            Self::InvalidValue => "invalid-value",
            Self::Other => "other",
        }
    }
}

/// One frame of the guest's stack. Symbols are the component's own; source lines are looked up offline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// The function's name, where the component has names.
    pub function: Option<String>,
    /// Bytes from the start of its core module.
    pub offset: Option<u64>,
}

/// The ports end the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{reason}")]
pub struct Halt {
    /// Why.
    pub reason: HaltReason,
}

/// Why the ports ended the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum HaltReason {
    /// Not now; another attempt may go on from here.
    #[error("{message}")]
    RetryLater {
        /// What happened.
        message: String,
        /// When, where known.
        retry_after_ms: Option<u64>,
    },
    /// Whether a side effect happened cannot be known. A person decides.
    #[error("{message}")]
    Uncertain {
        /// Which effect.
        message: String,
    },
    /// The run does not do what its journal says it did.
    #[error("{message}")]
    Diverged {
        /// Where.
        message: String,
    },
    /// The guest read more of its own connection than can be kept for another attempt.
    #[error("{message}")]
    ReadTooMuch {
        /// How much it may.
        message: String,
    },
    /// The provider does not accept the app that the connection goes through. A person has to mend that first.
    #[error("{message}")]
    AppRefused {
        /// Which app, and why.
        message: String,
    },
    /// Somebody else has the run now.
    #[error("the lease on the run was lost")]
    LeaseLost,
    /// A fault of the host. For operators.
    #[error("{message}")]
    Host {
        /// What happened.
        message: String,
    },
}

impl HaltReason {
    fn code(&self) -> &'static str {
        match self {
            Self::RetryLater { .. } => "retry-later",
            Self::Uncertain { .. } => "uncertain",
            Self::Diverged { .. } => "diverged",
            Self::ReadTooMuch { .. } => "read-limit",
            Self::AppRefused { .. } => "app-refused",
            Self::LeaseLost => "lease-lost",
            Self::Host { .. } => "host-fault",
        }
    }

    fn next_step(&self) -> &'static str {
        match self {
            Self::RetryLater { .. } => "Nothing: it is tried again.",
            Self::Uncertain { .. } => "Look at the provider, then say \"it happened\" or \"send again\".",
            Self::Diverged { .. } => {
                "The connector must do the same again for the same answers: its author removes what differs."
            }
            Self::ReadTooMuch { .. } => "The connector's author has it keep and read less in one run.",
            Self::AppRefused { .. } => "Whoever registered the app sets its secrets anew; then it is run again.",
            Self::LeaseLost => "Nothing: another worker goes on with it.",
            Self::Host { .. } => "Nothing on your side. Try again; if it stays, an operator reads the host's log.",
        }
    }
}

impl From<HaltReason> for Halt {
    fn from(reason: HaltReason) -> Self {
        Self { reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_says_what_was_allowed_and_what_to_do() {
        let stop = Stop::Limit { kind: LimitKind::Memory, allowed: 64 };
        assert_eq!(stop.to_string(), "the run used more memory than its 64 bytes");
        assert_eq!(stop.code(), "memory-limit");
        assert!(stop.next_step().contains("manifest"));
    }
}
