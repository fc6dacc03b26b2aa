//! An attempt as its guest gets it: the operation with what it needs, what it may use, and where it may go.

use std::sync::Arc;

use bulkhead_egress::{AppPins, CredentialFields};
use bulkhead_manifest::{EgressRule, Placement, RunId};
use bulkhead_runtime::{Delivery, Facts, Invocation, Limits, Operation, PullMode};
use bulkhead_store::{Connection, Run, TenantRead};
use bulkhead_vault::{Secret, mac};
use serde_json::Value;

use super::{Opened, Request};
use crate::Engine;
use crate::credentials::{CLIENT_ID, CLIENT_SECRET, single};
use crate::fault::{EngineFault, json, stored};
use crate::pins::Pins;
use crate::ports::Binding;

impl Engine {
    /// The operation as the guest gets it.
    pub(super) async fn operation(&self, opened: &Opened) -> Result<Operation, EngineFault> {
        let run = &opened.run;
        let mut read = self.inner.store.tenant_read(run.tenant).await?;
        Ok(match &opened.request {
            Request::Check => Operation::Check,
            Request::Act { action, input } => {
                Operation::Act { action: action.clone(), input: input.to_string(), resume: run.resume.clone() }
            }
            Request::Pull { stream, mode, limit } => {
                let cursor = begins_at(&mut read, run, stream, *mode).await?;
                Operation::Pull { stream: stream.clone(), mode: *mode, cursor, limit: *limit }
            }
            Request::Push { stream, record, sends } => {
                let sends = sends.as_ref().ok_or_else(|| EngineFault::damaged("a push", "it was not pinned"))?;
                Operation::Push { stream: stream.clone(), changes: vec![sends.outgoing(record)] }
            }
            Request::Receive { delivery } => {
                let row = read.delivery(*delivery).await?;
                let headers = stored("a delivery's headers", &row.headers)?;
                let body = String::from_utf8_lossy(&row.body).into_owned();
                let delivery = Delivery { method: row.method, path: row.path, query: row.query, headers, body };
                Operation::Receive { delivery }
            }
        })
    }

    pub(crate) async fn binding(&self, opened: &Opened) -> Result<Binding, EngineFault> {
        let run = &opened.run;
        Ok(Binding {
            tenant: run.tenant,
            connection: run.connection,
            lease: run.lease(),
            ordering_key: run.ordering_key.clone().unwrap_or_default(),
            root: run.root.clone(),
            version: opened.known.row.id,
            passage: self.passage(&opened.known, &opened.connection).await?,
            candidate: None,
        })
    }

    /// Where this connection's credential may go: what its app pinned; a secret of its own goes where its rules say. And
    /// what the app itself proves itself with, where a rule places that: with the newest of its secrets that work, then with the
    /// one before. And whether that app is the operator's, for whichever tenant.
    pub(crate) async fn of_app(
        &self,
        connection: &Connection,
        rules: &[EgressRule],
        settings: &Value,
    ) -> Result<(AppPins, Vec<CredentialFields>, bool), EngineFault> {
        let Some(app) = connection.app else { return Ok((AppPins::Unpinned, Vec::new(), false)) };
        let app = self.inner.store.tenant_read(connection.tenant).await?.app(app).await?;
        let pins = Pins::stored(&app)?.for_the_door(settings);
        let places = |name: &str| {
            let placements = rules.iter().filter_map(|rule| rule.credential.as_ref());
            placements.flat_map(Placement::fields).any(|(_, field)| field == name)
        };
        let secrets = if places(CLIENT_SECRET) { self.client_secrets(&app).await? } else { Vec::new() };
        let mut each: Vec<_> = secrets.into_iter().map(|secret| single(CLIENT_SECRET, secret)).collect();
        if let Some(id) = app.client_id.filter(|_| places(CLIENT_ID)) {
            if each.is_empty() {
                each.push(CredentialFields::new());
            }
            each.iter_mut().for_each(|fields| fields.insert(CLIENT_ID, Secret::from_string(id.clone())));
        }
        Ok((pins, each, app.tenant.is_none()))
    }

    pub(super) async fn invocation(
        &self,
        opened: &Opened,
        operation: Operation,
        ports: Arc<dyn bulkhead_runtime::Ports>,
    ) -> Result<Invocation, EngineFault> {
        let (run, connection) = (&opened.run, &opened.connection);
        let environment = opened.known.manifest.environment(&connection.environment);
        let read_only = matches!(&opened.request, Request::Act { action, .. } if opened.known.action(action).is_some_and(|spec| spec.read_only));
        Ok(Invocation {
            loaded: self.loaded(&opened.known.digest).await?,
            operation,
            whose: u128::from_be_bytes(*run.tenant.as_bytes()),
            limits: self.limits_of(opened)?,
            seed: self.seed(run.id, run.leg),
            clock_ms: run.clock_ms,
            ports,
            facts: Facts {
                settings: connection.settings.clone(),
                environment: json(&environment.unwrap_or_default()),
                account: connection.account.clone(),
                webhook_url: Some(self.webhook_url(&connection.endpoint).to_string()),
            },
            state_read_only: read_only,
        })
    }

    fn limits_of(&self, opened: &Opened) -> Result<Limits, EngineFault> {
        Ok(self.limits().granting(opened.known.granted(&opened.connection)?.limits()))
    }

    /// The same for every attempt of a leg, and nothing to store.
    fn seed(&self, run: RunId, leg: u32) -> [u8; 32] {
        mac::hmac_sha256_framed(&self.inner.seed_key, &[run.as_bytes(), &leg.to_be_bytes()])
    }
}

/// The cursor that a page begins at: none where a full pull begins.
pub(crate) async fn begins_at(
    read: &mut TenantRead,
    run: &Run,
    stream: &str,
    mode: PullMode,
) -> Result<Option<String>, EngineFault> {
    let goes_on = mode == PullMode::Incremental || run.cause.contains("\"page\"");
    if !goes_on {
        return Ok(None);
    }
    Ok(read.cursor(run.connection, stream).await?.map(|cursor| cursor.cursor))
}
