//! What an app pins: where its secrets, and tokens got with them, may go, and how what comes to its address is verified.
//!
//! Invariants: pins are taken from a manifest by whoever owns the app, when it is registered and when they say so again
//! ([`Engine::pin_app`]); no upload changes them. What a version wants beyond them ([`Pins::missing`]) it does not get:
//! the door and the OAuth calls look at the pins and not at the manifest.
//!
//! To pin something else: a field of [`Pins`], and its line in [`Pins::of`] and [`Pins::beside`].

use std::collections::BTreeSet;

use bulkhead_egress::{AppPins, Audience};
use bulkhead_manifest::{AppId, Auth, HostPattern, Manifest, Placement, TenantId, Webhook};
use bulkhead_store::{App, Owner};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use crate::Engine;
use crate::apps::AppError;
use crate::fault::{EngineFault, json, stored};

/// Where an app's secrets, and tokens got with them, may go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pins {
    /// Of the URLs that people, codes, tokens and the client's own secret are sent to.
    pub origins: BTreeSet<String>,
    /// Hosts that its credentials may be sent to, and the place in the request.
    pub audiences: Vec<Audience>,
    /// Connectors that may use it, by the connector's id.
    pub lineages: BTreeSet<String>,
    /// How what comes to its address is verified and taken apart.
    #[serde(default)]
    pub webhook: Option<Webhook>,
}

/// What would change if an app were pinned to another version.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pinning {
    /// The connector's version that the pins would be taken from.
    pub version: String,
    /// What would be allowed that is not, what would not be any more, and what is done otherwise, each in a sentence.
    pub changes: Vec<String>,
}

impl Pins {
    /// What `manifest` asks for, over all its environments.
    pub(crate) fn of(manifest: &Manifest, lineage: String) -> Self {
        let (lineages, webhook) = (BTreeSet::from([lineage]), manifest.webhook.clone());
        let mut pins = Self { lineages, webhook, ..Self::default() };
        for environment in environments(manifest) {
            let auth = manifest.effective_auth(&environment).unwrap_or_default();
            pins.origins.extend(origins(&auth));
            for audience in audiences(manifest, &environment) {
                if !pins.audiences.contains(&audience) {
                    pins.audiences.push(audience);
                }
            }
        }
        pins
    }

    /// Those of an app.
    pub(crate) fn stored(app: &App) -> Result<Self, EngineFault> {
        stored("an app's pins", &app.pins)
    }

    /// As the door asks for them; a host that a setting completes is this connection's.
    pub(crate) fn for_the_door(self, settings: &Value) -> AppPins {
        let bound = |audience: Audience| Audience {
            host: audience.host.bind_settings(settings).unwrap_or(audience.host),
            ..audience
        };
        AppPins::Audiences(self.audiences.into_iter().map(bound).collect())
    }

    pub(crate) fn allows_origin(&self, url: &Url) -> bool {
        let host = url.host_str().filter(|_| url.scheme() == "https" && url.port().is_none());
        let below = |origin: &String| {
            let pattern = origin.strip_prefix("https://").and_then(|pinned| HostPattern::parse(pinned).ok());
            pattern.zip(host).is_some_and(|(pattern, host)| pattern.matches(host))
        };
        self.origins.contains(&url.origin().ascii_serialization()) || self.origins.iter().any(below)
    }

    /// What connections by this version want in this environment, and are not allowed.
    pub(crate) fn missing(&self, manifest: &Manifest, environment: &str, lineage: &str) -> Vec<String> {
        let asked = Self {
            origins: origins(&manifest.effective_auth(environment).unwrap_or_default()),
            audiences: audiences(manifest, environment),
            lineages: BTreeSet::from([lineage.to_owned()]),
            webhook: None,
        };
        asked.beside(self)
    }

    /// What is in these and not in the others.
    fn beside(&self, others: &Self) -> Vec<String> {
        let origins =
            self.origins.difference(&others.origins).map(|origin| format!("exchange codes and tokens at {origin}"));
        let audiences = self.audiences.iter().filter(|audience| !others.audiences.contains(audience));
        let audiences = audiences
            .map(|Audience { host, credential }| format!("send its credential to {host}, {}", place(credential)));
        let lineages =
            self.lineages.difference(&others.lineages).map(|lineage| format!("be used by the connector {lineage}"));
        origins.chain(audiences).chain(lineages).collect()
    }

    fn changes(&self, then: &Self) -> Vec<String> {
        let more = then.beside(self).into_iter().map(|what| format!("It may {what}."));
        let less = self.beside(then).into_iter().map(|what| format!("It may no longer {what}."));
        let webhooks = "Webhooks at its address are verified, taken apart or answered in another way.";
        let webhooks = (self.webhook != then.webhook).then(|| webhooks.to_owned());
        more.chain(less).chain(webhooks).collect()
    }
}

/// Where the placement puts the credential, for people.
fn place(placement: &Placement) -> String {
    match placement {
        Placement::Bearer { .. } => "as bearer token".to_owned(),
        Placement::Basic { .. } => "as user and password".to_owned(),
        Placement::Header { name, .. } => format!("in the header {name}"),
        Placement::Query { name, .. } => format!("in the URL, as `{name}`"),
        Placement::Sigv4 { service, .. } => format!("as an AWS signature for {service}"),
        Placement::HmacTemplate(signing) => format!("as a signature in the header {}", signing.name),
    }
}

/// Hosts whose rules place a credential, and how.
fn audiences(manifest: &Manifest, environment: &str) -> Vec<Audience> {
    let rules = manifest.effective_egress(environment);
    let audience =
        |rule: bulkhead_manifest::EgressRule| Some(Audience { host: rule.host, credential: rule.credential? });
    rules.into_iter().filter_map(audience).collect()
}

/// Of the URLs that people, codes and the client's secret are sent to.
fn origins(auth: &Auth) -> BTreeSet<String> {
    let urls = match auth {
        Auth::OAuth2(oauth) => vec![Some(&oauth.authorize_url), Some(&oauth.token_url), oauth.revoke_url.as_ref()],
        other => vec![other.token_url()],
    };
    let mut origins: BTreeSet<_> =
        urls.iter().flatten().filter_map(|url| Some(url.url()?.origin().ascii_serialization())).collect();
    if let Auth::OAuth2(oauth) = auth {
        // What begins with what authorization tells goes to one of the hosts that it may tell.
        let told = urls.iter().flatten().flat_map(|url| url.placeholders());
        let hosts = told.filter_map(|name| oauth.discovered.get(name)).flatten();
        origins.extend(hosts.map(|host| format!("https://{host}")));
    }
    origins
}

fn environments(manifest: &Manifest) -> Vec<String> {
    if manifest.environments.is_empty() {
        vec!["production".to_owned()]
    } else {
        manifest.environments.keys().cloned().collect()
    }
}

impl Engine {
    /// What pinning an app to a version of its connector would change; the newest, where none is named.
    pub async fn pinning(
        &self,
        owner: Option<TenantId>,
        app: AppId,
        version: Option<&str>,
    ) -> Result<Pinning, AppError> {
        let row = self.own_app(owner, app).await?;
        let (version, then) = self.pins_of_version(&row, version).await?;
        Ok(Pinning { version, changes: Pins::stored(&row)?.changes(&then) })
    }

    /// Pins an app to what a version of its connector asks for, by its owner's word.
    pub async fn pin_app(&self, owner: Option<TenantId>, app: AppId, version: &str) -> Result<(), AppError> {
        let row = self.own_app(owner, app).await?;
        let (_, then) = self.pins_of_version(&row, Some(version)).await?;
        let mut tx = self.inner.store.system().await.map_err(EngineFault::from)?;
        tx.set_app_pins(app, &json(&then)).await.map_err(EngineFault::from)?;
        let kept = tx.commit().await;
        self.inner.listeners.forget(Owner::App(app));
        self.inner.held_back.invalidate_all();
        Ok(kept.map_err(EngineFault::from)?)
    }

    async fn pins_of_version(&self, app: &App, version: Option<&str>) -> Result<(String, Pins), AppError> {
        let (known, lineage) = self.known_version(app.tenant, &app.connector_name, version).await?;
        Ok((known.row.version.clone(), Pins::of(&known.manifest, lineage)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn manifest(token: &str, place: &str) -> Manifest {
        let text = format!(
            "[connector]\nname = \"tiny\"\nversion = \"1.0.0\"\ntitle = \"Tiny\"\ncontract = \"0.1\"\n\
             [auth]\nkind = \"oauth2\"\nauthorize_url = \"https://login.example.com/a\"\ntoken_url = \"https://{token}/t\"\n\
             [[egress]]\nhost = \"api.example.com\"\nmethods = [\"GET\"]\npaths = [\"/*\"]\ncredential = {place}\n"
        );
        Manifest::parse(&text).unwrap()
    }

    const BEARER: &str = "{ place = \"bearer\", field = \"access_token\" }";
    const QUERY: &str = "{ place = \"query\", name = \"token\", field = \"access_token\" }";

    /// Mutation: `beside`, leave out any of its three.
    #[test]
    fn what_a_version_wants_beyond_the_pins_is_told() {
        let pins = Pins::of(&manifest("login.example.com", BEARER), "connector_1".into());
        let missing = |token, place, lineage| pins.missing(&manifest(token, place), "production", lineage);
        assert_eq!(missing("login.example.com", BEARER, "connector_1"), [""; 0]);
        assert_eq!(
            missing("evil.example.com", BEARER, "connector_1"),
            ["exchange codes and tokens at https://evil.example.com"]
        );
        assert_eq!(
            missing("login.example.com", QUERY, "connector_1"),
            ["send its credential to api.example.com, in the URL, as `token`"]
        );
        assert_eq!(missing("login.example.com", BEARER, "connector_2"), ["be used by the connector connector_2"]);
    }

    #[test]
    fn a_change_of_pins_is_told_both_ways() {
        let then = |token, place| Pins::of(&manifest(token, place), "connector_1".into());
        let changes = then("login.example.com", BEARER).changes(&then("token.example.com", QUERY));
        assert_eq!(
            changes,
            [
                "It may exchange codes and tokens at https://token.example.com.",
                "It may send its credential to api.example.com, in the URL, as `token`.",
                "It may no longer send its credential to api.example.com, as bearer token.",
            ]
        );
    }
}
