//! Between our types and the generated ones. Field by field; nothing is decided here.

use crate::bindings::actions::exports::bulkhead::connector::actions;
use crate::bindings::host::bulkhead::connector::types;
use crate::bindings::streams::exports::bulkhead::connector::streams;
use crate::bindings::webhooks::exports::bulkhead::connector::webhooks;
use crate::outcome::{Outcome, Output};
use crate::{Delivery, Event, External, Failure, FailureKind, Op, Outgoing, Page, Pushed, Receipt, Registration, json};

pub(super) fn failure(failure: Failure) -> types::Failure {
    types::Failure {
        kind: match failure.kind {
            FailureKind::InvalidInput => types::FailureKind::InvalidInput,
            FailureKind::Unauthorized => types::FailureKind::Unauthorized,
            FailureKind::Forbidden => types::FailureKind::Forbidden,
            FailureKind::NotFound => types::FailureKind::NotFound,
            FailureKind::Conflict => types::FailureKind::Conflict,
            FailureKind::RateLimited => types::FailureKind::RateLimited,
            FailureKind::Unavailable => types::FailureKind::Unavailable,
            FailureKind::Rejected => types::FailureKind::Rejected,
            FailureKind::CursorExpired => types::FailureKind::CursorExpired,
            FailureKind::Unsupported => types::FailureKind::Unsupported,
            FailureKind::Other(name) => types::FailureKind::Other(name),
        },
        message: failure.message,
        field: failure.field,
        code: failure.code,
        details: failure.details.map(|details| details.to_string()),
        retry_after_ms: failure.retry_after_ms,
    }
}

fn event(event: Event) -> types::Event {
    types::Event { id: event.id, name: event.name, subject: event.subject, data: event.data.to_string() }
}

fn events(all: Vec<Event>) -> Vec<types::Event> {
    all.into_iter().map(event).collect()
}

pub(super) fn external(external: types::External) -> External {
    External { id: external.id, version: external.version }
}

fn to_external(external: External) -> types::External {
    types::External { id: external.id, version: external.version }
}

pub(super) fn outcome(outcome: Outcome<String>) -> actions::Outcome {
    match outcome {
        Outcome::Done(done) => actions::Outcome::Done(output(done)),
        Outcome::Partial(done, failures) => actions::Outcome::Partial(actions::Partly {
            output: output(done),
            failures: failures.into_iter().map(failure).collect(),
        }),
        Outcome::Later(later) => {
            actions::Outcome::Later(actions::Later { after_ms: later.after_ms, state: later.state })
        }
    }
}

fn output(output: Output<String>) -> actions::Output {
    actions::Output { value: output.value, events: events(output.events) }
}

pub(super) fn page(page: Page<String, String>) -> streams::Page {
    let changes = page.changes.into_iter().map(|change| {
        let op = match change.op {
            Op::Upsert(record) => types::ChangeOp::Upsert(record),
            Op::Delete => types::ChangeOp::Delete,
        };
        (to_external(change.external), op)
    });
    streams::Page {
        changes: changes.collect(),
        next: page.next,
        more: page.more,
        snapshot_complete: page.snapshot_complete,
    }
}

pub(super) fn outgoing(change: streams::Outgoing) -> Outgoing<String> {
    let op = match change.op {
        types::ChangeOp::Upsert(record) => Op::Upsert(record),
        types::ChangeOp::Delete => Op::Delete,
    };
    Outgoing { id: change.id, known: change.known.map(external), op }
}

pub(super) fn pushed(pushed: Pushed) -> streams::Pushed {
    match pushed {
        Pushed::Stored(external) => streams::Pushed::Stored(to_external(external)),
        Pushed::Conflict(current) => streams::Pushed::Conflict(current.map(|current| current.to_string())),
        Pushed::Failed(failed) => streams::Pushed::Failed(failure(failed)),
    }
}

pub(super) fn delivery(delivery: webhooks::Delivery) -> Delivery {
    Delivery {
        method: delivery.method,
        path: delivery.path,
        query: delivery.query,
        headers: delivery.headers,
        body: delivery.body,
    }
}

pub(super) fn receipt(receipt: Receipt) -> webhooks::Receipt {
    let reply =
        receipt.reply.map(|reply| webhooks::Reply { status: reply.status, headers: reply.headers, body: reply.body });
    webhooks::Receipt { events: events(receipt.events), pulls: receipt.pulls, reply }
}

pub(super) fn registration(registration: Registration) -> webhooks::Registration {
    webhooks::Registration {
        id: registration.id,
        details: registration.details.to_string(),
        renew_at_ms: registration.renew_at_ms,
    }
}

pub(super) fn previous_registration(registration: webhooks::Registration) -> Result<Registration, Failure> {
    let details = json::kept("The earlier registration", &registration.details)?;
    Ok(Registration { id: registration.id, details, renew_at_ms: registration.renew_at_ms })
}
