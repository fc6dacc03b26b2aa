//! Events and what they set going: each event once, and each step of each route once for it.

use bulkhead_manifest::{ConnectionId, EventId, RouteId, RunId};
use bulkhead_runtime::Event;
use bulkhead_store::{NewEvent, NewRun, Priority, Run, TenantTx};

use super::parsed;
use crate::Engine;
use crate::attempt::Opened;
use crate::fault::{EngineFault, json as text, stored};
use crate::mapping::RoutedCause;
use crate::references;
use crate::routes::Step;

/// An event that came out of a run that came out of an event … may go on for so long.
const DEEPEST: u32 = 8;

impl Engine {
    pub(super) async fn write_events(
        &self,
        tx: &mut TenantTx,
        opened: &Opened,
        events: Vec<Event>,
    ) -> Result<(), EngineFault> {
        for event in events {
            self.write_event(tx, opened, event).await?;
        }
        Ok(())
    }

    async fn write_event(&self, tx: &mut TenantTx, opened: &Opened, event: Event) -> Result<(), EngineFault> {
        let (run, now_ms) = (&opened.run, self.now_ms());
        let data = parsed(&event.data);
        let schema = opened.known.event(&event.name).map(|spec| spec.data.clone()).unwrap_or_default();
        let found = references::find(&schema, &data);
        let mut ours = Vec::with_capacity(found.len());
        for reference in &found {
            let link = tx.link_of_external(run.connection, &reference.stream, &reference.id).await?;
            ours.push((reference, link.map(|link| link.record_id)));
        }
        let depth = depth(run) + 1;
        let new = NewEvent {
            id: EventId::new(now_ms),
            connection: run.connection,
            key: event.id,
            name: event.name,
            subject: event.subject,
            data: event.data,
            refs: references::mirror(ours).to_string(),
            run: Some(run.id),
            created_ms: now_ms,
            depth,
        };
        if tx.insert_event(&new).await? {
            self.fan_out(tx, &new).await?;
        }
        Ok(())
    }

    /// One run for each step of each route that the event has; a unique row makes each happen once.
    async fn fan_out(&self, tx: &mut TenantTx, event: &NewEvent) -> Result<(), EngineFault> {
        if event.depth > DEEPEST {
            tracing::warn!(event.id = %event.id, depth = event.depth, "an event of an event of an event: routes are not followed any further");
            return Ok(());
        }
        let now_ms = self.now_ms();
        for (route, steps) in self.routes_of(tx, event.connection, &event.name).await? {
            for (step, wanted) in (0u32..).zip(steps) {
                let cause = RoutedCause { event: event.id, route, step, mapping: wanted.mapping, depth: event.depth };
                let id = RunId::new(now_ms);
                let run = NewRun {
                    id,
                    connection: wanted.connection,
                    ordering_key: None,
                    operation: "act".to_owned(),
                    target: wanted.action,
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
                };
                tx.fan_out(event.id, route, step, &run).await?;
            }
        }
        Ok(())
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

/// How many events deep the run's own cause is.
fn depth(run: &Run) -> u32 {
    serde_json::from_str::<RoutedCause>(&run.cause).map_or(0, |cause| cause.depth)
}
