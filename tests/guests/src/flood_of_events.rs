//! Events: too many, and ones that nobody declared.

use bulkhead_sdk::prelude::*;

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Flood {
    events: u32,
}

pub(crate) fn flood(flood: &Flood) -> Result<Outcome<Value>, Failure> {
    let mut outcome = Outcome::done(json!(flood.events));
    for number in 0..flood.events {
        outcome = outcome.event(Event::new(number.to_string(), "noise", json!(null))?);
    }
    Ok(outcome)
}

pub(crate) fn undeclared() -> Result<Outcome<Value>, Failure> {
    Ok(Outcome::done(json!(null)).event(Event::new("1", "payment.received", json!({ "amount": "1000000.00" }))?))
}
