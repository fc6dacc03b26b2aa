//! Routes: when this connection reports that event, that connection is asked for this action.
//!
//! Invariant: a route that can be stored can run: its event and actions exist, and its mappings compile.

use bulkhead_manifest::{ConnectionId, RouteId, TenantId};
use bulkhead_store::{Connection, ConnectionStatus, Page, Part, Route};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Engine;
use crate::connections::ConnectionError;
use crate::fault::{EngineFault, json, stored};

/// Steps of one route, and routes of one event: what an event sets going is written in one transaction.
pub(crate) const MOST_STEPS: usize = 20;
pub(crate) const MOST_ROUTES: usize = 100;
/// Mappings of one route together: they are read in that transaction. Bytes.
const LARGEST_MAPPINGS: usize = 64 << 10;

/// A route to be made.
#[derive(Debug)]
pub struct NewRoute {
    pub name: String,
    /// Whose events.
    pub from: ConnectionId,
    /// Which of its events, by name.
    pub event: String,
    pub steps: Vec<NewStep>,
}

/// One thing that a route does.
#[derive(Debug)]
pub struct NewStep {
    pub connection: ConnectionId,
    pub action: String,
    /// jq over `{id, name, subject, connection, time_ms, data, refs}`; its one output is the action's input.
    pub mapping: String,
}

/// A step as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Step {
    pub connection: ConnectionId,
    pub action: String,
    pub mapping: String,
}

/// A route as its tenant sees it.
#[derive(Debug, Clone, Serialize)]
pub struct RouteView {
    pub id: RouteId,
    pub name: String,
    pub from: ConnectionId,
    pub event: String,
    pub steps: Value,
    pub created_ms: u64,
}

/// Why a route cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    #[error("there is no such {what}")]
    NotFound { what: &'static str },
    #[error("{connection} was disconnected, and stays so: name another connection")]
    Disconnected { connection: ConnectionId },
    #[error("a route needs at least one step")]
    NoSteps,
    #[error("a route has at most {MOST_STEPS} steps, and this one has {found}: make another route for the rest")]
    TooManySteps { found: usize },
    #[error(
        "the mappings of a route have at most {LARGEST_MAPPINGS} bytes together, and these have {found}: make another route for some of the steps, or the mappings shorter"
    )]
    LargeMappings { found: usize },
    #[error("{event:?} has {MOST_ROUTES} routes already: remove one first, or give one of them more steps")]
    TooManyRoutes { event: String },
    #[error("{connector} reports no event {event:?}: it reports {}", listed(.known))]
    UnknownEvent { connector: String, event: String, known: Vec<String> },
    #[error("step {step}: {connector} has no action {action:?}: it has {}", listed(.known))]
    UnknownAction { step: usize, connector: String, action: String, known: Vec<String> },
    #[error("step {step}: the mapping is no jq filter: {message}")]
    Mapping { step: usize, message: String },
    #[error(transparent)]
    Fault(#[from] EngineFault),
}

impl From<ConnectionError> for RouteError {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::Fault(fault) => Self::Fault(fault),
            _ => Self::NotFound { what: "connection" },
        }
    }
}

impl From<bulkhead_store::StoreError> for RouteError {
    fn from(error: bulkhead_store::StoreError) -> Self {
        match error {
            bulkhead_store::StoreError::NotFound { what } => Self::NotFound { what },
            other => Self::Fault(other.into()),
        }
    }
}

/// Names in a sentence.
pub(crate) fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

impl Engine {
    /// Makes a route.
    pub async fn create_route(&self, tenant: TenantId, new: NewRoute) -> Result<RouteView, RouteError> {
        let source = self.connection_row(tenant, new.from).await?;
        refuse_over(&source)?;
        let known = self.version(source.version).await?;
        if known.event(&new.event).is_none() {
            let names = known.descriptor.events.iter().map(|event| event.name.clone()).collect();
            let connector = known.manifest.connector.title.clone();
            return Err(RouteError::UnknownEvent { connector, event: new.event, known: names });
        }
        if new.steps.is_empty() {
            return Err(RouteError::NoSteps);
        }
        if new.steps.len() > MOST_STEPS {
            return Err(RouteError::TooManySteps { found: new.steps.len() });
        }
        let found = new.steps.iter().map(|step| step.mapping.len()).sum();
        if found > LARGEST_MAPPINGS {
            return Err(RouteError::LargeMappings { found });
        }
        let mut steps = Vec::with_capacity(new.steps.len());
        for (index, step) in new.steps.into_iter().enumerate() {
            steps.push(self.usable_step(tenant, index + 1, step).await?);
        }
        let id = RouteId::new(self.now_ms());
        let row = bulkhead_store::NewRoute {
            id,
            name: new.name,
            source: new.from,
            event_name: new.event,
            steps: json(&steps),
            created_ms: self.now_ms(),
        };
        let mut tx = self.inner.store.tenant(tenant).await?;
        // Of those that are made at once, each counts the ones before it.
        tx.hold_connection(row.source).await?;
        if tx.route_count(row.source, &row.event_name).await? >= MOST_ROUTES as u64 {
            return Err(RouteError::TooManyRoutes { event: row.event_name });
        }
        tx.create_route(&row).await?;
        let made = tx.route(id).await?;
        tx.commit().await?;
        view(made)
    }

    async fn usable_step(&self, tenant: TenantId, step: usize, new: NewStep) -> Result<Step, RouteError> {
        let row = self.connection_row(tenant, new.connection).await?;
        refuse_over(&row)?;
        let known = self.version(row.version).await?;
        if known.action(&new.action).is_none() {
            let names = known.descriptor.actions.iter().map(|action| action.name.clone()).collect();
            let connector = known.manifest.connector.title.clone();
            return Err(RouteError::UnknownAction { step, connector, action: new.action, known: names });
        }
        if let Some(message) = self.wrong_with(tenant, &new.mapping).await? {
            return Err(RouteError::Mapping { step, message });
        }
        Ok(Step { connection: new.connection, action: new.action, mapping: new.mapping })
    }

    /// The tenant's routes, newest first.
    pub async fn routes(&self, tenant: TenantId, page: Page<RouteId>) -> Result<Part<RouteView>, RouteError> {
        let Part { rows, more } = self.inner.store.tenant_read(tenant).await?.routes(page).await?;
        Ok(Part { rows: rows.into_iter().map(view).collect::<Result<_, _>>()?, more })
    }

    /// Removes a route. Runs that it asked for already go on.
    pub async fn delete_route(&self, tenant: TenantId, route: RouteId) -> Result<(), RouteError> {
        let mut tx = self.inner.store.tenant(tenant).await?;
        tx.delete_route(route).await?;
        Ok(tx.commit().await?)
    }
}

/// What is over tells of nothing any more, and does nothing. Routes from before stay as somebody made them: they set
/// nothing going, or runs that are cancelled and say why.
fn refuse_over(row: &Connection) -> Result<(), RouteError> {
    if row.status == ConnectionStatus::Disconnected {
        return Err(RouteError::Disconnected { connection: row.id });
    }
    Ok(())
}

fn view(route: Route) -> Result<RouteView, RouteError> {
    Ok(RouteView {
        id: route.id,
        name: route.name,
        from: route.source,
        event: route.event_name,
        steps: stored("a route's steps", &route.steps)?,
        created_ms: route.created_ms,
    })
}
