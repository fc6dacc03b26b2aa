//! Calling a connector as the host does: by name, with JSON. What it gives is parsed again, so that a test reads it
//! as anyone outside would.

use serde_json::Value;

use crate::{
    Change, Connector, Delivery, Failure, Identity, Op, Outcome, Outgoing, Page, Pull, PullMode, Pushed, Receipt,
    Registration,
};

/// One action.
pub fn act<C: Connector>(action: &str, input: Value) -> Result<Outcome<Value>, Failure> {
    C::act(action, &input.to_string(), None)?.try_map(|text| parse(&text))
}

/// Calls an action again with what it left by `Outcome::later`.
pub fn resume<C: Connector>(action: &str, input: Value, state: Value) -> Result<Outcome<Value>, Failure> {
    C::act(action, &input.to_string(), Some(&state.to_string()))?.try_map(|text| parse(&text))
}

/// `#[check]`.
pub fn check<C: Connector>() -> Result<Identity, Failure> {
    C::check()
}

/// One page of a stream.
pub fn pull<C: Connector>(
    stream: &str,
    mode: PullMode,
    cursor: Option<Value>,
    limit: u32,
) -> Result<Page<Value, Value>, Failure> {
    let cursor = cursor.map(|cursor| cursor.to_string());
    let page = C::pull(stream, Pull { mode, cursor, limit })?;
    let changes = page.changes.into_iter().map(|change| {
        let op = change.op.try_map(|text| parse(&text))?;
        Ok(Change { external: change.external, op })
    });
    Ok(Page {
        changes: changes.collect::<Result<_, Failure>>()?,
        next: page.next.map(|text| parse(&text)).transpose()?,
        more: page.more,
        snapshot_complete: page.snapshot_complete,
    })
}

/// Pushes these records.
pub fn push<C: Connector>(stream: &str, changes: Vec<Outgoing<Value>>) -> Result<Vec<Pushed>, Failure> {
    let changes = changes.into_iter().map(|change| {
        let op = match change.op {
            Op::Upsert(record) => Op::Upsert(record.to_string()),
            Op::Delete => Op::Delete,
        };
        Outgoing { id: change.id, known: change.known, op }
    });
    C::push(stream, changes.collect())
}

/// Hands over a delivery.
pub fn receive<C: Connector>(delivery: Delivery) -> Result<Receipt, Failure> {
    C::receive(delivery)
}

/// `#[register]`.
pub fn register<C: Connector>(url: &str, previous: Option<Registration>) -> Result<Registration, Failure> {
    C::register(url.to_owned(), previous)
}

/// `#[unregister]`.
pub fn unregister<C: Connector>(registration: Registration) -> Result<(), Failure> {
    C::unregister(registration)
}

/// What `describe` says.
pub fn descriptor<C: Connector>() -> Value {
    serde_json::to_value(C::describe()).expect("a descriptor is JSON")
}

fn parse(text: &str) -> Result<Value, Failure> {
    Ok(serde_json::from_str(text)?)
}
