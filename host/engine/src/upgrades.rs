//! A connection's way to a newer version of its connector.
//!
//! Invariants:
//! - A newer version that asks for no more than was approved is taken by itself, when the next run begins. One that asks
//!   for more waits until its tenant has seen the difference and agrees; what it does not ask for any more stays approved.
//! - Agreement is to the version that was looked at, by name, and not to whatever is the newest by then.
//! - Newer is what comes after it, and no pre-release unless it is on one: not what was uploaded later.
//! - An app's pins come before anybody's agreement: a version that wants what its app does not allow is not taken.
//! - A run goes on by what it began with, version, settings and approval: its requests have to be met again.
//! - Looking at a newer version never fails a run of the one that works.
//! - A connection that was put on a version by name stays there.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bulkhead_manifest::{Approved, Change, ConnectionId, Descriptor, TenantId, VersionId, version};
use bulkhead_store::{Connection, ConnectionStatus, GoesOn, Owner, StoreError};
use serde::Serialize;
use serde_json::Value;

use crate::Engine;
use crate::checks::Declared;
use crate::connections::{ConnectionError, ConnectionView, declared_settings, refuse_ended};
use crate::fault::{EngineFault, json, stored};
use crate::pins::Pins;
use crate::schema::{InvalidField, below};
use crate::versions::Known;
use crate::warnings::Warning;

/// Connections that a version was looked at for and not taken, with the version they are of and that one. It is looked at
/// again now and then: another node may have pinned their app anew.
pub(crate) type HeldBack = moka::future::Cache<(ConnectionId, VersionId, VersionId), ()>;

const MOST_HELD_BACK: u64 = 10_000;
const LOOKED_AT_AGAIN: Duration = Duration::from_secs(60);

pub(crate) fn held_back() -> HeldBack {
    moka::future::Cache::builder().max_capacity(MOST_HELD_BACK).time_to_live(LOOKED_AT_AGAIN).build()
}

/// What going on by another version would mean for a connection.
#[derive(Debug, Clone, Serialize)]
pub struct Upgrade {
    /// The version it is of.
    pub from: String,
    /// The other one.
    pub to: String,
    /// What that one asks for beyond what is approved. Where it asks for nothing and nothing below is in its way, it is taken by
    /// itself if it comes after the one it is of.
    pub changes: Vec<Asked>,
    /// What it has or asks for no longer, of what the one before has or asks for.
    pub removed: Vec<Removed>,
    /// What its app does not allow: whoever registered the app has to pin it anew first.
    pub not_pinned: Vec<String>,
    /// What its settings would have to say.
    pub settings: Vec<InvalidField>,
    /// Where it does not have the connection's environment: those that it has.
    pub environments: Option<Vec<String>>,
}

/// One thing that is asked for.
#[derive(Debug, Clone, Serialize)]
pub struct Asked {
    /// Completes "It also wants to …".
    pub text: String,
    #[serde(flatten)]
    pub change: Change,
}

/// One thing that is there no longer.
#[derive(Debug, Clone, Serialize)]
pub struct Removed {
    /// Completes "It will no longer …".
    pub text: String,
    #[serde(flatten)]
    pub what: Gone,
}

/// What was there.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Gone {
    /// It was asked for.
    Asked(Change),
    /// `action`, `stream` or `event`.
    Offered { change: &'static str, name: String },
}

impl Upgrade {
    fn is_taken_by_itself(&self) -> bool {
        let asks_nobody = self.changes.is_empty() && self.not_pinned.is_empty() && self.settings.is_empty();
        asks_nobody && self.environments.is_none() && version::succeeds(&self.to, &self.from)
    }
}

impl Engine {
    /// What going on by a version, or by the newest, would mean for a connection.
    pub async fn look_at_upgrade(
        &self,
        tenant: TenantId,
        connection: ConnectionId,
        version: Option<&str>,
    ) -> Result<Upgrade, ConnectionError> {
        let row = self.connection_row(tenant, connection).await?;
        let known = self.version_for(&row, version).await?;
        let settings = stored("a connection's settings", &row.settings)?;
        Ok(self.upgrade_of(&row, &known, Some(settings)).await?.0)
    }

    /// Lets a connection go on by a version that was looked at, and agrees to what that asks for. `follows`: afterwards by
    /// newer ones that ask for no more.
    pub async fn upgrade(
        &self,
        tenant: TenantId,
        connection: ConnectionId,
        version: &str,
        follows: bool,
        settings: Option<Value>,
    ) -> Result<ConnectionView, ConnectionError> {
        let row = self.connection_row(tenant, connection).await?;
        refuse_ended(&row)?;
        let known = self.version_for(&row, Some(version)).await?;
        let settings = match settings {
            Some(settings) => declared_settings(&known.manifest, settings)?,
            None => stored("a connection's settings", &row.settings)?,
        };
        let (upgrade, settings) = self.upgrade_of(&row, &known, Some(settings)).await?;
        if let Some(known) = upgrade.environments {
            return Err(ConnectionError::UnknownEnvironment { found: row.environment, known, given: false });
        }
        if !upgrade.not_pinned.is_empty() {
            return Err(ConnectionError::NotPinned { version: upgrade.to, wants: upgrade.not_pinned });
        }
        if !upgrade.settings.is_empty() {
            return Err(ConnectionError::Invalid(upgrade.settings));
        }
        let approved = json(&known.ask(&row.environment)?.approve());
        let settings = settings.to_string();
        let to = GoesOn { version: known.row.id, follows, approved: &approved, settings: &settings };
        if !self.goes_on(&row, &to).await? {
            return Err(ConnectionError::Overtaken);
        }
        self.connection(tenant, connection).await
    }

    /// The connection by the version that its next run is to be of. What stands in the way of finding that out is looked at
    /// again a while later, and the run begins by the version that works.
    pub(crate) async fn rolled_out(&self, row: Connection, newest: VersionId) -> Connection {
        let key = (row.id, row.version, newest);
        let stays = newest == row.version || !row.follows || row.status == ConnectionStatus::Disconnected;
        if stays || self.inner.held_back.contains_key(&key) {
            return row;
        }
        let looked = self.taken_by_itself(&row, newest).await.unwrap_or_else(|fault| {
            tracing::warn!(connection.id = %row.id, error = %fault, "a newer version could not be looked at");
            None
        });
        if looked.is_none() {
            self.inner.held_back.insert(key, ()).await;
        }
        looked.unwrap_or(row)
    }

    /// The connection as it is once that is settled; none where the newest waits for somebody.
    async fn taken_by_itself(&self, row: &Connection, newest: VersionId) -> Result<Option<Connection>, EngineFault> {
        let known = self.version(newest).await?;
        let settings = stored("a connection's settings", &row.settings)?;
        let (upgrade, settings) = self.upgrade_of(row, &known, Some(settings)).await?;
        if !upgrade.is_taken_by_itself() {
            return Ok(None);
        }
        let settings = settings.to_string();
        let to = GoesOn { version: newest, follows: true, approved: &row.approved, settings: &settings };
        if self.goes_on(row, &to).await? {
            tracing::info!(connection.id = %row.id, from = %upgrade.from, to = %upgrade.to, "goes on by a newer version");
        }
        Ok(Some(self.inner.store.tenant_read(row.tenant).await?.connection(row.id).await?))
    }

    /// Said of a connection that follows and that the newest version waits for: it is not taken by itself. What stands
    /// in the way of finding that out keeps nobody from looking at the connection.
    pub(crate) async fn waiting_upgrade(&self, row: &Connection) -> Option<Warning> {
        self.looked_ahead(row).await.unwrap_or_else(|fault| {
            tracing::warn!(connection.id = %row.id, error = %fault, "a newer version could not be looked at");
            None
        })
    }

    async fn looked_ahead(&self, row: &Connection) -> Result<Option<Warning>, EngineFault> {
        if !row.follows || row.status == ConnectionStatus::Disconnected {
            return Ok(None);
        }
        let newest = self.inner.store.tenant_read(row.tenant).await?.newest_version(row.connector).await?;
        if newest == row.version {
            return Ok(None);
        }
        let (known, own) = (self.version(newest).await?, self.version(row.version).await?);
        if !version::succeeds(&known.row.version, &own.row.version) {
            return Ok(None);
        }
        let (mut upgrade, _) = self.upgrade_of(row, &known, None).await?;
        // What fits a schema fits the same once more, and checking it takes a turn.
        if upgrade.is_taken_by_itself() && known.manifest.settings != own.manifest.settings {
            let settings = stored("a connection's settings", &row.settings)?;
            (upgrade, _) = self.upgrade_of(row, &known, Some(settings)).await?;
        }
        let since_ms = known.row.created_ms;
        Ok((!upgrade.is_taken_by_itself()).then(|| Warning {
            code: "upgrade-waiting",
            since_ms,
            message: format!(
                "Version {} waits for somebody. GET /v1/connections/{}/upgrade says what it would mean, and POST there \
                 agrees to it.",
                upgrade.to, row.id
            ),
        }))
    }

    async fn goes_on(&self, row: &Connection, to: &GoesOn<'_>) -> Result<bool, EngineFault> {
        let mut tx = self.inner.store.tenant(row.tenant).await?;
        let gone_on = tx.set_connection_version(row, to, self.now_ms()).await?;
        tx.commit().await?;
        self.inner.listeners.forget(Owner::Connection(row.id));
        Ok(gone_on)
    }

    async fn version_for(&self, row: &Connection, version: Option<&str>) -> Result<Arc<Known>, ConnectionError> {
        let mut read = self.inner.store.tenant_read(row.tenant).await?;
        let found = read.version_of(row.connector, version).await;
        drop(read);
        match found {
            Ok(found) => Ok(self.version(found.id).await?),
            Err(StoreError::NotFound { .. }) => {
                let connector = self.version(row.version).await?.row.connector_name.clone();
                Err(ConnectionError::UnknownVersion { connector, version: version.unwrap_or("newest").to_owned() })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What it would mean, and the settings as that version has them; without a look at them where there are none.
    async fn upgrade_of(
        &self,
        row: &Connection,
        known: &Arc<Known>,
        settings: Option<Value>,
    ) -> Result<(Upgrade, Value), EngineFault> {
        let approved: Approved = stored("a connection's approvals", &row.approved)?;
        let asked = |change: Change| Asked { text: change.to_string(), change };
        let changes = known.ask(&row.environment)?.beyond(&approved).changes.into_iter().map(asked).collect();
        let not_pinned = match row.app {
            None => Vec::new(),
            Some(app) => {
                let app = self.inner.store.tenant_read(row.tenant).await?.app(app).await?;
                Pins::stored(&app)?.missing(&known.manifest, &row.environment, &row.connector.to_string())
            }
        };
        let lacks = known.manifest.environment(&row.environment).is_none();
        let environments = lacks.then(|| known.manifest.environments.keys().cloned().collect());
        let checked = match settings {
            Some(settings) => self.checked(row.tenant, known, Declared::Settings, settings).await?,
            None => Ok(Value::Null),
        };
        let (settings, invalid) = match checked {
            Ok(settings) => (settings, Vec::new()),
            Err(invalid) => (Value::Null, below("/settings", invalid)),
        };
        let own = self.version(row.version).await?;
        let removed = removed(&own, known, &row.environment)?;
        let (from, to) = (own.row.version.clone(), known.row.version.clone());
        Ok((Upgrade { from, to, changes, removed, not_pinned, settings: invalid, environments }, settings))
    }
}

/// What `own` has or asks for, and `other` does not.
fn removed(own: &Known, other: &Known, environment: &str) -> Result<Vec<Removed>, EngineFault> {
    let asked = own.ask(environment)?.without(&other.ask(environment)?).changes.into_iter();
    let asked = asked.map(|change| Removed { text: change.to_string(), what: Gone::Asked(change) });
    let kept: BTreeSet<_> = offered(&other.descriptor).collect();
    let offered = offered(&own.descriptor).filter(|offered| !kept.contains(offered));
    let offered = offered.map(|(change, name)| Removed {
        text: format!("have the {change} `{name}`"),
        what: Gone::Offered { change, name: name.to_owned() },
    });
    Ok(asked.chain(offered).collect())
}

/// What can be asked of a connector and what it tells, by kind and name.
fn offered(descriptor: &Descriptor) -> impl Iterator<Item = (&'static str, &str)> {
    let actions = descriptor.actions.iter().map(|action| ("action", action.name.as_str()));
    let streams = descriptor.streams.iter().map(|stream| ("stream", stream.name.as_str()));
    actions.chain(streams).chain(descriptor.events.iter().map(|event| ("event", event.name.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mutation: `held_back`, without a bound.
    #[tokio::test]
    async fn not_all_that_is_held_back_is_remembered() {
        let (held, version) = (held_back(), VersionId::new(1));
        for number in 0..MOST_HELD_BACK + 1_000 {
            held.insert((ConnectionId::new(number), version, version), ()).await;
        }
        held.run_pending_tasks().await;
        assert!((1..=MOST_HELD_BACK).contains(&held.entry_count()), "{} are kept", held.entry_count());
    }
}
