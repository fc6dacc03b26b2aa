//! The shape that every connector has for the host. `#[connector]` implements it; nobody writes it by hand.
//!
//! Documents cross as JSON text here: typed values begin and end in `dispatch`.

use crate::descriptor::Descriptor;
use crate::{Delivery, Failure, Identity, Outcome, Outgoing, Page, Pull, Pushed, Receipt, Registration};

/// All operations; what a connector does not have says so.
pub trait Connector: 'static {
    fn describe() -> Descriptor;

    fn check() -> Result<Identity, Failure> {
        Err(missing("check the connection"))
    }

    fn act(action: &str, _input: &str, _resume: Option<&str>) -> Result<Outcome<String>, Failure> {
        Err(crate::dispatch::unknown("action", action))
    }

    fn pull(stream: &str, _request: Pull<String>) -> Result<Page<String, String>, Failure> {
        Err(crate::dispatch::unknown("stream to pull", stream))
    }

    fn push(stream: &str, _changes: Vec<Outgoing<String>>) -> Result<Vec<Pushed>, Failure> {
        Err(crate::dispatch::unknown("stream to push to", stream))
    }

    fn receive(_delivery: Delivery) -> Result<Receipt, Failure> {
        Err(missing("receive webhooks"))
    }

    fn register(_url: String, _previous: Option<Registration>) -> Result<Registration, Failure> {
        Err(missing("register webhooks"))
    }

    fn unregister(_registration: Registration) -> Result<(), Failure> {
        Err(missing("remove webhooks"))
    }
}

fn missing(what: &str) -> Failure {
    Failure::unsupported(format!("This connector does not {what}."))
}
