//! Events: too many, ones that nobody declared, and ones that refer to everything.

use bulkhead_sdk::prelude::*;

streams! {
    Noise = "noise";
}

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

/// What an event is about: a list of records.
#[derive(Serialize, JsonSchema)]
pub(crate) struct About(Vec<Ref<Noise>>);

/// Events, each about so many records.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Crowd {
    events: u32,
    records: u32,
}

pub(crate) fn refer(crowd: &Crowd) -> Result<Outcome<Value>, Failure> {
    let mut outcome = Outcome::done(json!(crowd.records));
    for number in 0..crowd.events {
        let about = About((0..crowd.records).map(|_| Ref::new("a")).collect());
        outcome = outcome.event(Event::new(number.to_string(), "crowd", about)?);
    }
    Ok(outcome)
}
