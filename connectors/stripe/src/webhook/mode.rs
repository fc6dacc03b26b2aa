//! Stripe keeps real money and test money apart by the kind of key. A connection's environment says which it is for;
//! where the two disagree, nothing is done: test payments must never reach real books.

use bulkhead_sdk::prelude::*;

/// Fails unless what Stripe said of `what` is what the connection's environment is for.
pub(crate) fn agree(livemode: bool, what: &str) -> Result<(), Failure> {
    match (expected()?, livemode) {
        (Some(false), true) => Err(Failure::rejected(format!(
            "{what} is of Stripe's live mode, but this connection is for the sandbox. Use a test key here, or a production connection."
        ))),
        (Some(true), false) => Err(Failure::rejected(format!(
            "{what} is of Stripe's test mode, but this connection is for production. Use a live key here, or a sandbox connection."
        ))),
        _ => Ok(()),
    }
}

/// `None` where the environment does not say.
fn expected() -> Result<Option<bool>, Failure> {
    let environment = context::environment()?;
    Ok(environment.get("livemode").map(|value| value == "true"))
}
