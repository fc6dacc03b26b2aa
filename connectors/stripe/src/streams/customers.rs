//! Customers, from Stripe.
//!
//! *Full*: the list, newest first. *Incremental*: Stripe can not be asked "changed since", but it keeps its events for
//! 30 days. So a full pull first notes the newest customer event, and an incremental one walks from there forwards and
//! reads each customer named on the way as it is now. Where there is no event to start from, or it is older than what
//! Stripe keeps, the answer is `cursor-expired` and everything is pulled again: slower, never wrong.

use std::collections::BTreeSet;

use bulkhead_sdk::prelude::*;

use crate::actions::retrieve_customer;
use crate::api::{self, List};
use crate::failure;
use crate::objects::customer::{Customer, StripeCustomer};

/// Each customer named by an event is one more request, all sent at once: no more than this.
const EVENTS_AT_ONCE: u32 = 25;

/// Where a pull goes on.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// The newest customer event that is accounted for, where there is one.
    event: Option<String>,
    /// In a full pull: the last customer seen.
    after: Option<String>,
}

#[derive(Deserialize)]
struct Listed {
    id: String,
    data: Named,
}

#[derive(Deserialize)]
struct Named {
    object: Identified,
}

#[derive(Deserialize)]
struct Identified {
    id: String,
}

pub(crate) fn pull(pull: Pull<Cursor>) -> Result<Page<Customer, Cursor>, Failure> {
    match pull.mode {
        PullMode::Full => full(pull.cursor, pull.limit),
        PullMode::Incremental => incremental(pull.cursor, pull.limit),
    }
}

/// The event is noted before the first customer is read, so that nothing falls between the two.
fn full(cursor: Option<Cursor>, limit: u32) -> Result<Page<Customer, Cursor>, Failure> {
    let cursor = match cursor {
        Some(cursor) => cursor,
        None => Cursor { event: newest_event()?, after: None },
    };
    let request =
        api::get("/v1/customers").query("limit", limit.clamp(1, 100)).query("starting_after", cursor.after.as_deref());
    let page: List<StripeCustomer> = api::call(request)?;
    let after = page.data.last().map(|last| last.id.clone()).filter(|_| page.has_more);
    Ok(Page::new(page.data.into_iter().map(change))
        .more(after.is_some())
        .snapshot_complete(after.is_none())
        .next(Cursor { event: cursor.event, after }))
}

fn incremental(cursor: Option<Cursor>, limit: u32) -> Result<Page<Customer, Cursor>, Failure> {
    let Some(event) = cursor.and_then(|cursor| cursor.event) else {
        return Err(Failure::cursor_expired(
            "There is no event of Stripe's to go on from. All customers are pulled again.",
        ));
    };
    let request = events(limit.clamp(1, EVENTS_AT_ONCE)).query("ending_before", event.as_str());
    let page: List<Listed> = api::call(request).map_err(forgotten)?;
    // Newest first, within what comes right after `event`.
    let newest = page.data.first().map_or(event, |newest| newest.id.clone());
    let changed: BTreeSet<String> = page.data.into_iter().map(|listed| listed.data.object.id).collect();
    Ok(Page::new(read(&changed)?).more(page.has_more).next(Cursor { event: Some(newest), after: None }))
}

fn read(ids: &BTreeSet<String>) -> Result<Vec<Change<Customer>>, Failure> {
    let answers = http::send_all(ids.iter().map(|id| retrieve_customer::request(id)));
    ids.iter()
        .zip(answers)
        .map(|(id, answer)| {
            match answer
                .map_err(Failure::from)?
                .or_fail(failure::of)
                .and_then(|response| response.json::<StripeCustomer>())
            {
                Ok(customer) => Ok(change(customer)),
                Err(failure) if failure.kind == FailureKind::NotFound => Ok(Change::delete(External::new(id))),
                Err(failure) => Err(failure),
            }
        })
        .collect()
}

fn change(customer: StripeCustomer) -> Change<Customer> {
    let external = External::new(&customer.id);
    match customer.living() {
        Some(living) => Change::upsert(external, living.customer),
        None => Change::delete(external),
    }
}

fn newest_event() -> Result<Option<String>, Failure> {
    let page: List<Listed> = api::call(events(1))?;
    Ok(page.data.into_iter().next().map(|newest| newest.id))
}

fn events(limit: u32) -> http::Request {
    #[derive(Serialize)]
    struct Types {
        types: [&'static str; 3],
    }
    api::get("/v1/events")
        .query("limit", limit)
        .query_all(&Types { types: ["customer.created", "customer.updated", "customer.deleted"] })
}

/// Stripe no longer knows the event to go on from.
fn forgotten(failure: Failure) -> Failure {
    match failure.kind {
        FailureKind::NotFound | FailureKind::InvalidInput => Failure {
            message:
                "Stripe no longer keeps the event to go on from (it keeps 30 days). All customers are pulled again."
                    .into(),
            kind: FailureKind::CursorExpired,
            ..failure
        },
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;
    use crate::{Stripe, spec};
    use bulkhead_sdk::testing::{self, Answer, Host};

    fn list(more: bool, data: Value) -> Answer {
        Answer::json(200, json!({"object": "list", "url": "/v1/x", "has_more": more, "data": data}))
    }

    fn event(id: &str, customer: &str) -> Value {
        json!({"id": id, "object": "event", "type": "customer.updated", "created": 1, "data": {"object": {"id": customer, "object": "customer"}}})
    }

    #[test]
    fn a_full_pull_notes_the_newest_event_first_and_walks_to_the_end() {
        let host = Host::start();
        host.answer(list(true, json!([event("evt_9", "cus_1")])));
        host.answer(list(true, json!([{"id": "cus_3", "livemode": false}, {"id": "cus_2", "livemode": false}])));
        let first = testing::pull::<Stripe>("customers", PullMode::Full, None, 2).unwrap();
        assert_eq!(first.next, Some(json!({"event": "evt_9", "after": "cus_2"})));
        assert!(first.more && !first.snapshot_complete);

        host.answer(list(false, json!([{"id": "cus_1", "livemode": false, "email": "a@b.c"}])));
        let second = testing::pull::<Stripe>("customers", PullMode::Full, first.next, 2).unwrap();
        assert_eq!(second.next, Some(json!({"event": "evt_9", "after": null})));
        assert!(!second.more && second.snapshot_complete);
        assert_eq!(second.changes.len(), 1);

        let sent = host.requests();
        assert_eq!(sent[0].path(), "/v1/events");
        assert_eq!(sent[1].url, "https://api.stripe.com/v1/customers?limit=2");
        assert_eq!(sent[2].url, "https://api.stripe.com/v1/customers?limit=2&starting_after=cus_2");
        spec::validate_query("GET_v1_events", &sent[0]);
        spec::validate_query("GET_v1_customers", &sent[2]);
    }

    #[test]
    fn an_incremental_pull_reads_each_named_customer_once_as_it_is_now() {
        let host = Host::start();
        host.answer(list(true, json!([event("evt_12", "cus_2"), event("evt_11", "cus_1"), event("evt_10", "cus_2")])));
        host.answer(Answer::json(200, json!({"id": "cus_1", "deleted": true})));
        host.answer(Answer::json(200, json!({"id": "cus_2", "name": "Now", "livemode": false})));
        let page = testing::pull::<Stripe>(
            "customers",
            PullMode::Incremental,
            Some(json!({"event": "evt_9", "after": null})),
            500,
        )
        .unwrap();
        assert_eq!(page.next, Some(json!({"event": "evt_12", "after": null})));
        assert!(page.more && !page.snapshot_complete);
        assert!(matches!(page.changes[0].op, Op::Delete));
        assert_eq!(page.changes[1].external.id, "cus_2");

        let sent = host.requests();
        assert_eq!(sent[0].query("ending_before").as_deref(), Some("evt_9"));
        assert_eq!(sent[0].query("limit").as_deref(), Some("25"));
        spec::validate_query("GET_v1_events", &sent[0]);
        assert_eq!((sent[1].path(), sent[2].path()), ("/v1/customers/cus_1", "/v1/customers/cus_2"));
    }

    #[test]
    fn nothing_new_leaves_the_cursor_where_it_was() {
        let host = Host::start();
        host.answer(list(false, json!([])));
        let page = testing::pull::<Stripe>(
            "customers",
            PullMode::Incremental,
            Some(json!({"event": "evt_9", "after": null})),
            100,
        )
        .unwrap();
        assert!(page.changes.is_empty() && !page.more);
        assert_eq!(page.next, Some(json!({"event": "evt_9", "after": null})));
    }

    #[test]
    fn without_an_event_to_go_on_from_everything_is_pulled_again() {
        let host = Host::start();
        let failure = testing::pull::<Stripe>(
            "customers",
            PullMode::Incremental,
            Some(json!({"event": null, "after": null})),
            100,
        )
        .unwrap_err();
        assert_eq!(failure.kind, FailureKind::CursorExpired);
        host.answer(Answer::json(400, json!({"error": {"type": "invalid_request_error", "code": "resource_missing", "message": "No such event", "param": "ending_before"}})));
        let failure = testing::pull::<Stripe>(
            "customers",
            PullMode::Incremental,
            Some(json!({"event": "evt_old", "after": null})),
            100,
        )
        .unwrap_err();
        assert_eq!(failure.kind, FailureKind::CursorExpired);
    }
}
