//! Records on their way out and in: each push sends one thing once, and each pull gets to its end.

mod pulls;
mod pushes;

use axum::body::Body;
use axum::response::Response;
use bulkhead_tests::{Host, PATIENCE, Tenant};
use serde_json::{Value, json};

use crate::provider::{Provider, Seen};
use crate::wait::until;

/// A host with the mirror connector, its provider, and a tenant who uses it.
pub(crate) struct Stage {
    pub(crate) host: Host,
    pub(crate) provider: Provider,
    tenant: String,
    pub(crate) connection: String,
}

pub(crate) fn answer(status: u16, body: &Value) -> Response {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .unwrap()
}

impl Stage {
    pub(crate) async fn set(answers: impl Fn(&Seen, usize) -> Response + Send + Sync + 'static) -> Self {
        let provider = Provider::answering(answers).await;
        let host = Host::builder().upstream("mirror.example", provider.url()).spawn().await;
        host.publish("mirror").await;
        let tenant = host.tenant("owner").await.id().to_owned();
        let connection = host.tenant_by_id(&tenant).connection("mirror", json!({})).await;
        Self { host, provider, tenant, connection }
    }

    pub(crate) fn tenant(&self) -> Tenant<'_> {
        self.host.tenant_by_id(&self.tenant)
    }

    /// The run, when `enough` says so.
    pub(crate) async fn run_until(&self, id: &str, enough: impl Fn(&Value) -> bool) -> Value {
        let of = |runs: &[Value]| runs.iter().find(|run| run["id"] == *id).cloned();
        let runs = self.tenant().runs_until("", |runs| of(runs).is_some_and(|run| enough(&run))).await;
        of(&runs).unwrap()
    }

    pub(crate) async fn act(&self, action: &str, input: Value) -> Value {
        self.tenant().act(&self.connection, action, input).await
    }

    pub(crate) fn of_connection(&self, path: &str) -> String {
        format!("/v1/connections/{}/{path}", self.connection)
    }

    /// Puts a record and gives its push.
    async fn put(&self, id: &str, record: Value) -> String {
        self.tenant().put(&self.of_connection(&format!("records/things/{id}")), record).await.text("id")
    }

    async fn pull(&self) -> Value {
        let wait = PATIENCE.as_millis();
        self.tenant().post(&self.of_connection(&format!("streams/things/pull?wait_ms={wait}")), json!({})).await.ok()
    }

    pub(crate) async fn link(&self, id: &str, external: &str) {
        let link = json!({ "external_id": external });
        self.tenant().put(&self.of_connection(&format!("links/things/{id}")), link).await.ok();
    }

    /// What was posted, where, in order.
    pub(crate) fn posted(&self) -> Vec<Seen> {
        self.provider.seen().into_iter().filter(|seen| seen.method == "POST").collect()
    }

    async fn has_posted(&self, count: usize) {
        until(|| self.posted().len() >= count).await;
    }
}

pub(crate) fn in_state(state: &'static str) -> impl Fn(&Value) -> bool {
    move |run| run["state"] == state
}
