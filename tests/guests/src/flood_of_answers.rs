//! Answers without end: the guest drops each of them, its host cannot.

use bulkhead_sdk::prelude::*;

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Flood {
    requests: u32,
    /// All in one call.
    at_once: bool,
}

pub(crate) fn flood(flood: &Flood) -> Result<Value, Failure> {
    let request = |number: u32| http::get(format!("https://api.allowed.example/v1/answers/{number}")).receive_bytes();
    if flood.at_once {
        return Ok(json!(http::send_all((0..flood.requests).map(request)).len()));
    }
    let answered = (0..flood.requests).filter(|number| request(*number).send().is_ok()).count();
    Ok(json!(answered))
}
