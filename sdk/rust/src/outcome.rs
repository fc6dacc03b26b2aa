//! What an action answers.

use schemars::JsonSchema;
use serde::Serialize;

use crate::{Event, Failure, json};

/// How an action ended. Most actions return plain `Result<T, Failure>`, which is `Done`.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome<T> {
    /// All of it worked.
    Done(Output<T>),
    /// Some of it worked; what did not is named.
    Partial(Output<T>, Vec<Failure>),
    /// Not finished: the action is called again with this state. No run waits meanwhile.
    Later(Later),
}

/// A value, and what happened on the way to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Output<T> {
    pub value: T,
    /// Reported when the run commits.
    pub events: Vec<Event>,
}

/// Come back.
#[derive(Debug, Clone, PartialEq)]
pub struct Later {
    /// Not before so many milliseconds.
    pub after_ms: u64,
    /// JSON text: what the action gets as `resume`.
    pub state: String,
}

impl<T> Outcome<T> {
    /// All of it worked.
    pub fn done(value: T) -> Outcome<T> {
        Outcome::Done(Output { value, events: Vec::new() })
    }

    /// `value` is what worked; each failure names what did not.
    pub fn partial(value: T, failures: Vec<Failure>) -> Outcome<T> {
        Outcome::Partial(Output { value, events: Vec::new() }, failures)
    }

    /// Call the action again after `after_ms` with `state` as its `resume`.
    pub fn later(after_ms: u64, state: &impl Serialize) -> Result<Outcome<T>, Failure> {
        Ok(Outcome::Later(Later { after_ms, state: json::encode(state)? }))
    }

    /// Reports an event along with the value. A parked action reports when it is done: on `Later` this does nothing.
    #[must_use]
    pub fn event(mut self, event: Event) -> Outcome<T> {
        if let Outcome::Done(output) | Outcome::Partial(output, _) = &mut self {
            output.events.push(event);
        }
        self
    }

    pub(crate) fn try_map<U>(self, map: impl FnOnce(T) -> Result<U, Failure>) -> Result<Outcome<U>, Failure> {
        Ok(match self {
            Outcome::Done(output) => Outcome::Done(output.try_map(map)?),
            Outcome::Partial(output, failures) => Outcome::Partial(output.try_map(map)?, failures),
            Outcome::Later(later) => Outcome::Later(later),
        })
    }
}

impl<T> Output<T> {
    fn try_map<U>(self, map: impl FnOnce(T) -> Result<U, Failure>) -> Result<Output<U>, Failure> {
        Ok(Output { value: map(self.value)?, events: self.events })
    }
}

/// What an action may return: `Result<T, E>` or `Result<Outcome<T>, E>`.
#[diagnostic::on_unimplemented(
    message = "an action returns `Result<T, Failure>` or `Result<Outcome<T>, Failure>`",
    note = "`T` needs `Serialize` and `JsonSchema`"
)]
pub trait Answer {
    type Value: Serialize + JsonSchema;

    fn into_outcome(self) -> Result<Outcome<Self::Value>, Failure>;
}

impl<T: Serialize + JsonSchema, E: Into<Failure>> Answer for Result<T, E> {
    type Value = T;

    fn into_outcome(self) -> Result<Outcome<T>, Failure> {
        self.map(Outcome::done).map_err(Into::into)
    }
}

impl<T: Serialize + JsonSchema, E: Into<Failure>> Answer for Result<Outcome<T>, E> {
    type Value = T;

    fn into_outcome(self) -> Result<Outcome<T>, Failure> {
        self.map_err(Into::into)
    }
}
