//! Events and what they set going: each event once, and each step of each route once for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bulkhead_manifest::{ConnectionId, EventId, Failure, RouteId, RunId};
use bulkhead_runtime::Event;
use bulkhead_store::{FanOut, NewEvent, NewRun, Priority, Run, TenantTx};

use super::parsed;
use super::veto::MOST_EVENTS;
use crate::Engine;
use crate::aside::far_aside;
use crate::attempt::Opened;
use crate::fault::{EngineFault, json as text, stored};
use crate::mapping::RoutedCause;
use crate::references::{self, Reference, Steps};
use crate::routes::Step;
use crate::versions::Known;

/// References of all events of a run.
const MOST_REFERENCES: usize = 5_000;
/// An event that came out of a run that came out of an event … may go on for so long.
const DEEPEST: u32 = 8;

impl Engine {
    /// `refs` of each event, in their order: looked up before the transaction that writes them, since whoever writes has
    /// the store for itself. The inner error is why they are not taken.
    pub(super) async fn refs(
        &self,
        opened: &Opened,
        events: &[Event],
    ) -> Result<Result<Vec<String>, Failure>, EngineFault> {
        let known = Arc::clone(&opened.known);
        let none = |count: usize| vec![references::mirror([]).to_string(); count];
        // So many are not taken at all.
        if events.len() > MOST_EVENTS || events.iter().all(|event| !known.event_refers(&event.name)) {
            return Ok(Ok(none(events.len())));
        }
        let documents: Vec<_> = events.iter().map(|event| (event.name.clone(), event.data.clone())).collect();
        let Some(found) = far_aside(move || find_all(&known, &documents)).await? else {
            let message = format!(
                "Its events refer to too many records: at most {} in one event and {MOST_REFERENCES} in all.",
                references::MOST
            );
            return Ok(Err(references::too_many(message)));
        };
        if found.iter().all(Vec::is_empty) {
            return Ok(Ok(none(found.len())));
        }
        let mut read = self.inner.store.tenant_read(opened.run.tenant).await?;
        let mut refs = Vec::with_capacity(found.len());
        for found in found {
            let mut ours = Vec::with_capacity(found.len());
            for reference in &found {
                let link = read.link_of_external(opened.run.connection, &reference.stream, &reference.id).await?;
                ours.push((reference, link.map(|link| link.record_id)));
            }
            refs.push(references::mirror(ours).to_string());
        }
        Ok(Ok(refs))
    }

    /// `refs` are of the events, one by one. What is new of them sets its routes going.
    pub(super) async fn write_events(
        &self,
        tx: &mut TenantTx,
        opened: &Opened,
        events: Vec<Event>,
        refs: Vec<String>,
    ) -> Result<(), EngineFault> {
        let (run, now_ms, depth) = (&opened.run, self.now_ms(), depth(&opened.run) + 1);
        let new = |(event, refs): (Event, String)| NewEvent {
            id: EventId::new(now_ms),
            connection: run.connection,
            key: event.id,
            name: event.name,
            subject: event.subject,
            data: event.data,
            refs,
            run: Some(run.id),
            created_ms: now_ms,
            depth,
        };
        let mut events: Vec<_> = events.into_iter().zip(refs).map(new).collect();
        let kept = tx.insert_events(&events).await?;
        if depth > DEEPEST {
            tracing::warn!(depth, "events of an event of an event: routes are not followed any further");
            return Ok(());
        }
        events.retain(|event| kept.contains(&event.id));
        self.fan_out(tx, &events).await
    }

    /// One run for each step of each route that an event has; a unique row makes each happen once.
    async fn fan_out(&self, tx: &mut TenantTx, events: &[NewEvent]) -> Result<(), EngineFault> {
        let now_ms = self.now_ms();
        let (mut routes, mut going) = (BTreeMap::new(), Vec::new());
        for event in events {
            if !routes.contains_key(&event.name) {
                routes.insert(&event.name, self.routes_of(tx, event.connection, &event.name).await?);
            }
            for (route, steps) in routes.get(&event.name).into_iter().flatten() {
                for (step, wanted) in (0u32..).zip(steps) {
                    let run = self.routed_run(event, *route, step, wanted, now_ms);
                    going.push(FanOut { event: event.id, route: *route, step, run });
                }
            }
        }
        tx.fan_out(&going).await?;
        Ok(())
    }

    fn routed_run(&self, event: &NewEvent, route: RouteId, step: u32, wanted: &Step, now_ms: u64) -> NewRun {
        let mapping = wanted.mapping.clone();
        let cause = RoutedCause { event: event.id, route, step, mapping, depth: event.depth };
        NewRun {
            id: RunId::new(now_ms),
            connection: wanted.connection,
            ordering_key: None,
            operation: "act".to_owned(),
            target: wanted.action.clone(),
            input: String::new(),
            priority: Priority::Webhook,
            created_ms: now_ms,
            run_at_ms: now_ms,
            deadline_ms: now_ms + self.inner.config.background_deadline_ms,
            root: format!("{}/{}/{route}/{step}", event.connection, event.key),
            cause: text(&cause),
            dedupe_key: None,
            clock_ms: now_ms,
            waiting: false,
        }
    }

    /// The routes that an event has, with their steps.
    pub(super) async fn routes_of(
        &self,
        tx: &mut TenantTx,
        connection: ConnectionId,
        event: &str,
    ) -> Result<Vec<(RouteId, Vec<Step>)>, EngineFault> {
        let routes = tx.routes_for(connection, event).await?.into_iter();
        routes.map(|route| Ok((route.id, stored("a route's steps", &route.steps)?))).collect()
    }
}

/// What each of a run's events refers to; nothing where that is too much.
fn find_all(known: &Known, events: &[(String, String)]) -> Option<Vec<Vec<Reference>>> {
    let (mut left, mut steps) = (MOST_REFERENCES, Steps::default());
    let find = |(name, data): &(String, String)| {
        // What is not listed has no references, and is refused for that.
        let Some(spec) = known.event(name).filter(|_| known.event_refers(name)) else { return Some(Vec::new()) };
        let found = steps.find(&spec.data, &parsed(data)).ok()?;
        left = left.checked_sub(found.len())?;
        Some(found)
    };
    events.iter().map(find).collect()
}

/// How many events deep the run's own cause is.
fn depth(run: &Run) -> u32 {
    serde_json::from_str::<RoutedCause>(&run.cause).map_or(0, |cause| cause.depth)
}
