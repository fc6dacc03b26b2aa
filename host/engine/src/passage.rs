//! What a connection brings to the door: where its requests may go, as whom, and from whose budgets.
//!
//! Invariant: it is put together here and nowhere else, so what the host asks in a connection's name goes no further, and
//! spends from nothing else, than what its runs send.

use bulkhead_egress::{AppPins, By, CredentialFields, EffectPlan, Pass};
use bulkhead_manifest::egress_match::find;
use bulkhead_manifest::{EgressRule, Placement, RateRule};
use bulkhead_store::Connection;
use serde_json::Value;
use url::Url;

use crate::Engine;
use crate::credentials::CLIENT_SECRET;
use crate::fault::{EngineFault, stored};
use crate::versions::Known;

/// One connection's, by one version.
pub(crate) struct Passage {
    /// Granted rules, variables filled in.
    pub rules: Vec<EgressRule>,
    pins: AppPins,
    /// Of its app, where a rule places one of them: the newest, and the one before while it works on.
    app_secrets: Vec<CredentialFields>,
    account: Value,
    settings: Value,
    /// Declared budgets, and the app and the publisher that some are shared by.
    budgets: Vec<RateRule>,
    owner: String,
    tenant: String,
    app: Option<String>,
    app_is_shared: bool,
    publisher: String,
}

impl Engine {
    pub(crate) async fn passage(&self, known: &Known, connection: &Connection) -> Result<Passage, EngineFault> {
        let settings: Value = stored("a connection's settings", &connection.settings)?;
        let account = connection.account.as_deref().map(|account| stored("a connection's account", account));
        let account: Value = account.transpose()?.unwrap_or(Value::Null);
        let grant = known.granted(connection)?;
        let rules = grant.egress().iter().map(|rule| rule.with_settings(&settings));
        // What only an account with a host of its own reaches is not reached before it is known.
        let rules: Vec<EgressRule> = rules.filter_map(|rule| rule.with_account(&account)).collect();
        let (pins, app_secrets, app_is_shared) = self.of_app(connection, &rules, &settings).await?;
        Ok(Passage {
            rules,
            pins,
            app_secrets,
            account,
            settings,
            budgets: known.manifest.effective_rate(&connection.environment),
            owner: connection.id.to_string(),
            tenant: connection.tenant.to_string(),
            app: connection.app.map(|app| app.to_string()),
            app_is_shared,
            publisher: known.row.tenant.map_or_else(|| "operator".to_owned(), |tenant| tenant.to_string()),
        })
    }
}

impl Passage {
    /// For one request; `older`: with the app's secret before the newest.
    pub(crate) fn pass<'a>(
        &'a self,
        engine: &'a Engine,
        credential: Option<&'a CredentialFields>,
        effect: EffectPlan<'a>,
        older: bool,
    ) -> Pass<'a> {
        Pass {
            rules: &self.rules,
            pins: &self.pins,
            credential,
            app_secrets: self.app_secrets.get(usize::from(older)),
            account: &self.account,
            settings: &self.settings,
            owner: &self.owner,
            tenant: &self.tenant,
            by: By::Guest,
            app: self.app.as_deref(),
            app_is_shared: self.app_is_shared,
            publisher: &self.publisher,
            budgets: &self.budgets,
            ledger: engine,
            effect,
            clock: &*engine.inner.clock,
        }
    }

    /// Whether the request is authorized with a secret of the app's, and the one before works on: the provider may not know the
    /// newest yet.
    pub(crate) fn has_older(&self, method: &str, url: &str) -> bool {
        let places = |rule: &EgressRule| {
            rule.credential.iter().flat_map(Placement::fields).any(|(_, field)| field == CLIENT_SECRET)
        };
        let rule = || find(&self.rules, method, &Url::parse(url).ok()?).ok();
        self.app_secrets.len() > 1 && rule().is_some_and(places)
    }
}
