//! What came in, and what connectors made of it: deliveries and events.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use bulkhead_manifest::{AppId, ConnectionId, DeliveryId, EventId, RunId, TenantId};
use bulkhead_store::{DeliveryStatus, Event, ListedDelivery, is_ours};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Desk;
use crate::api::{Limit, List, Paging, connection_of};
use crate::auth::{Access, Caller, Tenant, tenant_needed};
use crate::problem::Answer;

pub(crate) fn routes() -> Router<Desk> {
    Router::new().route("/events", get(events)).route("/deliveries", get(deliveries))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    connection: Option<String>,
    before: Option<String>,
    #[serde(default)]
    limit: Limit,
}

impl Filter {
    async fn split(self, desk: &Desk, tenant: TenantId) -> Answer<(Option<ConnectionId>, Paging)> {
        let connection = connection_of(desk, tenant, self.connection.as_deref()).await?;
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
    /// To whose address it came, where that is an app's.
    app: Option<AppId>,
    /// The provider's.
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
        app: delivery.app,
        dedupe_key: delivery.dedupe_key.filter(|key| !is_ours(key)),
        status: delivery.status,
        duplicates: delivery.duplicates,
        body_bytes: delivery.body_bytes,
        received_ms: delivery.received_ms,
    }
}

async fn events(tenant: Tenant<Filter>, State(desk): State<Desk>) -> Answer<List<EventView>> {
    let (tenant, filter) = tenant.asks("events", Access::Read)?;
    let (connection, paging) = filter.split(&desk, tenant).await?;
    let part = desk.engine.store().tenant_read(tenant).await?.events(connection, paging.page()?).await?;
    Ok(List::part(part, event_view, |event| event.id.to_string()))
}

/// A tenant's; or, asked by an operator for no tenant, those that came to an app's address and are nobody's.
async fn deliveries(caller: Caller<Filter>, State(desk): State<Desk>) -> Answer<List<DeliveryView>> {
    caller.may("deliveries", Access::Read)?;
    let (rows, paging) = match (caller.tenant, caller.query) {
        (None, Filter { connection: None, before, limit }) => {
            let paging = Paging { before, limit };
            (desk.engine.store().system_read().await?.unrouted(paging.page()?).await?, paging)
        }
        (tenant, filter) => {
            let tenant = tenant.ok_or_else(tenant_needed)?;
            let (connection, paging) = filter.split(&desk, tenant).await?;
            (desk.engine.store().tenant_read(tenant).await?.deliveries(connection, paging.page()?).await?, paging)
        }
    };
    Ok(paging.list(rows.into_iter().map(delivery_view).collect(), |delivery| delivery.id.to_string()))
}
