//! Work for others: pages that nobody asked for, streams to pull, questions to the store.

use bulkhead_sdk::prelude::*;

use crate::destinations::Reached;

/// To whoever sent a delivery: status, headers, body.
type Said = (u16, Vec<(String, String)>, String);

/// What a delivery says is to be answered.
#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    pulls: u32,
    reply: Option<Said>,
    /// Where what it is about stands: what comes of a look there is the answer.
    resource_url: Option<String>,
    /// Nothing, ever.
    #[serde(default)]
    spins: bool,
    #[serde(default)]
    panics: bool,
}

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Questions {
    questions: u32,
}

/// Deletes of what never was, however few were asked for.
pub(crate) fn page() -> Page<Value> {
    Page::new((0..10_000).map(|number| Change::delete(External::new(number.to_string()))))
}

pub(crate) fn receive(delivery: &Delivery) -> Result<Receipt, Failure> {
    let asked: Asked = delivery.json()?;
    if asked.spins {
        crate::endless_loop::spin();
    }
    if asked.panics {
        crate::crash::now(crate::crash::Crash::Panic);
    }
    let looked = asked.resource_url.map(|url| Reached::by(http::request("GET", &url)).summary());
    let said = looked.map(|came| (200, Vec::new(), came)).or(asked.reply);
    let reply = said.map(|(status, headers, body)| Reply { status, headers, body });
    Ok((0..asked.pulls).fold(Receipt { reply, ..Receipt::new() }, |receipt, _| receipt.pull("noise")))
}

pub(crate) fn ask(questions: &Questions) -> Result<Value, Failure> {
    for _ in 0..questions.questions {
        state::get::<Value>("word")?;
    }
    Ok(json!(questions.questions))
}

/// Asks for what cannot be there: some stores fail on it.
pub(crate) fn ask_oddly() -> Result<Value, Failure> {
    let long = "k".repeat(1 << 20);
    let found: usize = ["\0", "a\0b", &long].iter().map(|odd| state::keys(odd).len()).sum();
    let linked = ["\0", &long].iter().any(|odd| context::resolve(odd, odd).is_some());
    Ok(json!({ "keys": found, "linked": linked, "value": state::get::<Value>("\0")? }))
}
