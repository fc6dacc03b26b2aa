//! Requests without end, to a host that it may speak to.

use bulkhead_sdk::prelude::*;

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Flood {
    requests: u32,
    /// All in one call.
    at_once: bool,
}

pub(crate) fn flood(flood: &Flood) -> Result<Value, Failure> {
    let request = |number: u32| http::get(format!("https://api.allowed.example/v1/flood/{number}"));
    let answers: Vec<_> = if flood.at_once {
        http::send_all((0..flood.requests).map(request))
    } else {
        (0..flood.requests).map(|number| request(number).send()).collect()
    };
    Ok(json!(answers.iter().filter(|answer| answer.is_ok()).count()))
}
