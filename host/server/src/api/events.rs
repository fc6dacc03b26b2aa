//! What came in, and what connectors made of it: deliveries and events.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use bulkhead_manifest::{ConnectionId, DeliveryId, EventId, RunId};
use bulkhead_store::{DeliveryStatus, Event, ListedDelivery};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Desk;
use crate::api::{List, Paging};
use crate::auth::{Access, Tenant};
use crate::body::{Query, id};
use crate::problem::Answer;

pub(crate) fn routes() -> Router<Desk> {
    Router::new().route("/events", get(events)).route("/deliveries", get(deliveries))
}

#[derive(Deserialize)]
struct Filter {
    connection: Option<String>,
    before: Option<String>,
    limit: Option<u32>,
}

impl Filter {
    fn split(self) -> Answer<(Option<ConnectionId>, Paging)> {
        let connection = self.connection.as_deref().map(|connection| id(connection, "connection")).transpose()?;
        Ok((connection, Paging { before: self.before, limit: self.limit }))
    }
}

#[derive(Serialize)]
struct EventView {
    id: EventId,
    connection: ConnectionId,
    /// The provider's id of it.
    key: String,
    name: String,
    subject: Option<String>,
    data: Value,
    /// Our ids of what the data refers to, in the same places.
    refs: Value,
    run: Option<RunId>,
    created_ms: u64,
}

#[derive(Serialize)]
struct DeliveryView {
    id: DeliveryId,
    connection: Option<ConnectionId>,
    dedupe_key: Option<String>,
    status: DeliveryStatus,
    /// How often the same came again.
    duplicates: u64,
    body_bytes: u64,
    received_ms: u64,
}

fn event_view(event: Event) -> EventView {
    let json = |text: &str| serde_json::from_str(text).unwrap_or_default();
    EventView {
        id: event.id,
        connection: event.connection,
        data: json(&event.data),
        refs: json(&event.refs),
        key: event.key,
        name: event.name,
        subject: event.subject,
        run: event.run,
        created_ms: event.created_ms,
    }
}

fn delivery_view(delivery: ListedDelivery) -> DeliveryView {
    DeliveryView {
        id: delivery.id,
        connection: delivery.connection,
        dedupe_key: delivery.dedupe_key,
        status: delivery.status,
        duplicates: delivery.duplicates,
        body_bytes: delivery.body_bytes,
        received_ms: delivery.received_ms,
    }
}

async fn events(tenant: Tenant, State(desk): State<Desk>, Query(filter): Query<Filter>) -> Answer<List<EventView>> {
    let tenant = tenant.may("events", Access::Read)?;
    let (connection, paging) = filter.split()?;
    let part = desk.engine.store().tenant_read(tenant).await?.events(connection, paging.page()?).await?;
    Ok(List::part(part, event_view, |event| event.id.to_string()))
}

async fn deliveries(
    tenant: Tenant,
    State(desk): State<Desk>,
    Query(filter): Query<Filter>,
) -> Answer<List<DeliveryView>> {
    let tenant = tenant.may("deliveries", Access::Read)?;
    let (connection, paging) = filter.split()?;
    let rows = desk.engine.store().tenant_read(tenant).await?.deliveries(connection, paging.page()?).await?;
    Ok(paging.list(rows.into_iter().map(delivery_view).collect(), |delivery| delivery.id.to_string()))
}
