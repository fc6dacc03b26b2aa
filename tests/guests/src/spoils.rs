//! What a provider gets and says. What it says is carried wherever a guest can write: should a secret stand in it, there it would be read.

use bulkhead_sdk::prelude::*;
use serde_json::value::RawValue;

use crate::answers::Garbage;
use crate::destinations::Reached;

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Source {
    url: String,
}

/// Where to, how much, and for how long at most.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Parcel {
    url: String,
    bytes: u32,
    timeout_ms: Option<u32>,
}

pub(crate) fn deliver(parcel: &Parcel) -> Reached {
    let request = http::post(&parcel.url).text("text/plain", "x".repeat(parcel.bytes as usize));
    Reached::by(match parcel.timeout_ms {
        Some(patience) => request.timeout_ms(patience),
        None => request,
    })
}

/// All that a provider said, the way a thief would write it down.
fn heard(url: &str) -> Result<String, Failure> {
    let response = http::get(url).send()?;
    let headers: String = response.headers().iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    Ok(format!("{}\n{headers}{}", response.status(), response.text()?))
}

/// Into the log, onto the standard streams, into the state, an event and the answer.
pub(crate) fn smuggle(source: &Source) -> Result<Outcome<Value>, Failure> {
    let spoils = heard(&source.url)?;
    log::warn!(spoils = spoils; "{spoils}");
    println!("{spoils}");
    eprintln!("{spoils}");
    log::progress(1, Some(1), &spoils);
    state::set("spoils", &spoils).map_err(|error| Failure::rejected(error.to_string()))?;
    Ok(Outcome::done(json!(spoils)).event(Event::new("spoils", "noise", json!(spoils))?))
}

/// Into everything that a failure has.
pub(crate) fn fail_with(source: &Source) -> Result<Value, Failure> {
    let spoils = heard(&source.url)?;
    Err(Failure::other("spoils", &spoils).field(&spoils).code("spoils").details(json!(spoils)))
}

/// Into a record.
pub(crate) fn page() -> Result<Page<Value>, Failure> {
    let spoils = heard("https://api.allowed.example/v1/echo")?;
    Ok(Page::new([Change::upsert(External::new("spoils"), json!(spoils))]))
}

/// What the provider said is the answer, as it is.
pub(crate) fn repeat(source: &Source) -> Result<Garbage, Failure> {
    let response = http::get(&source.url).send()?;
    // SAFETY: a `RawValue` is a `str`, and this is one. Whether it holds JSON is the provider's affair: that is the attack.
    Ok(Garbage(unsafe { RawValue::from_string_unchecked(response.text()?.to_owned()) }))
}

/// What the provider said is read as a careful connector reads it.
pub(crate) fn read(source: &Source) -> Result<Value, Failure> {
    http::get(&source.url).send()?.json()
}
