//! The way to the service that guards the keys: through a door of its own, which leads to that one address and nowhere
//! else. An operator's word opens it; no tenant's, and no manifest's.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bulkhead_egress::{
    AppPins, BudgetKey, CredentialFields, DevUpstream, Door, DoorConfig, EffectPlan, Leased, Ledger, LedgerFault,
    NoIntents, Order, Outgoing, Pass,
};
use bulkhead_manifest::{EgressRule, HostPattern, Idempotency, PathPattern, Placement, SharedClock, Template};
use bulkhead_vault::{Answered, Secret, Transit, Transport, VaultError};
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{BoxFuture, ready};
use serde_json::Value;
use url::Url;

/// Where keys are guarded by a service that speaks Vault's transit API.
#[derive(Debug, Clone)]
pub struct TransitSettings {
    /// Scheme, host and port: https and a name, or http on this machine.
    pub address: Url,
    /// Holds the token, and is read for each request: who renews it writes it there.
    pub token_file: PathBuf,
    /// Where the engine is mounted.
    pub mount: String,
    /// The key there.
    pub key: String,
}

/// How long the service may take.
const TIMEOUT_MS: u64 = 10_000;
const LARGEST_ANSWER: usize = 64 << 10;
const LONGEST_TOKEN: u64 = 4 << 10;
/// The name under which the token travels to the door.
const TOKEN: &str = "token";

/// The service, ready to be asked.
///
/// # Errors
/// [`VaultError::ProviderRefused`] says which setting is not right.
pub fn transit(settings: &TransitSettings, clock: SharedClock) -> Result<Transit, VaultError> {
    let refused = |reason: &str| VaultError::ProviderRefused { reason: reason.to_owned() };
    let name = rule_host(&settings.address).ok_or_else(|| {
        refused("its address has to be https:// with a host name, or http:// with an address of this machine")
    })?;
    let upstream = DevUpstream { host: name.clone(), to: settings.address.clone() };
    let config = DoorConfig { development: vec![upstream], total_timeout_ms: TIMEOUT_MS, ..DoorConfig::default() };
    let door = Door::new(config).map_err(|error| VaultError::ProviderRefused { reason: error.to_string() })?;
    let way = Way {
        door,
        clock,
        rule: rule(&name).ok_or_else(|| refused("its host is no host name"))?,
        name,
        token_file: settings.token_file.clone(),
    };
    Transit::new(Box::new(way), &settings.mount, &settings.key)
}

/// What the service is called at the door: over https as its certificate is, else as it is anyway.
fn rule_host(address: &Url) -> Option<String> {
    let on_this_machine = match address.host()? {
        url::Host::Ipv4(address) => address.is_loopback(),
        url::Host::Ipv6(address) => address.is_loopback(),
        url::Host::Domain(name) => name == "localhost",
    };
    match (address.scheme(), address.domain()) {
        ("https", Some(name)) => Some(name.to_owned()),
        ("http", _) if on_this_machine => Some("localhost".to_owned()),
        _ => None,
    }
}

/// What the service may be asked. None of it changes anything there.
fn rule(host: &str) -> Option<EgressRule> {
    let anything = PathPattern::parse("/*").ok()?;
    Some(EgressRule {
        host: HostPattern::parse(host.to_owned()).ok()?,
        methods: vec!["POST".to_owned()],
        paths: vec![anything.clone()],
        read_only_posts: vec![anything],
        credential: Some(Placement::Header {
            name: "X-Vault-Token".to_owned(),
            template: Template::parse(format!("{{{TOKEN}}}")).ok()?,
        }),
        headers: Default::default(),
        idempotency: Idempotency::None,
        capture: Vec::new(),
        discovered: None,
    })
}

struct Way {
    door: Door,
    clock: SharedClock,
    rule: EgressRule,
    name: String,
    token_file: PathBuf,
}

impl Transport for Way {
    fn post<'a>(&'a self, path: String, body: Secret) -> Answered<'a> {
        Box::pin(async move {
            let token = token(&self.token_file).await?;
            let credential: CredentialFields = [(TOKEN.to_owned(), token)].into_iter().collect();
            let no_effect = Secret::new(Vec::new());
            let pass = Pass {
                rules: std::slice::from_ref(&self.rule),
                pins: &AppPins::Unpinned,
                credential: Some(&credential),
                app_secrets: None,
                account: &Value::Null,
                settings: &Value::Null,
                owner: "key-service",
                app: None,
                publisher: "",
                budgets: &[],
                ledger: &NoBudgets,
                effect: EffectPlan { key: &no_effect, root: "", name: None, ordinal: 0 },
                clock: &*self.clock,
            };
            let outgoing = Outgoing {
                method: "POST".to_owned(),
                url: format!("https://{}{path}", self.name),
                headers: vec![("content-type".to_owned(), "application/json".to_owned())],
                body: Bytes::copy_from_slice(body.expose()),
                timeout_ms: None,
                max_response_bytes: LARGEST_ANSWER,
            };
            let sent = self.door.send(&pass, outgoing, &NoIntents).await.map_err(|error| error.to_string())?;
            Ok((sent.answer.status, Secret::new(sent.answer.body.to_vec())))
        })
    }
}

async fn token(file: &Path) -> Result<Secret, String> {
    use tokio::io::AsyncReadExt as _;
    let unreadable = |error: std::io::Error| format!("the token's file {} cannot be read: {error}", file.display());
    let mut text = String::new();
    let open = tokio::fs::File::open(file).await.map_err(unreadable)?;
    open.take(LONGEST_TOKEN).read_to_string(&mut text).await.map_err(unreadable)?;
    Ok(Secret::from_string(text.trim().to_owned()))
}

/// Nothing is declared about how often the service may be asked.
struct NoBudgets;

impl Ledger for NoBudgets {
    fn lease<'a>(&'a self, _: &'a Order) -> BoxFuture<'a, Result<Leased, LedgerFault>> {
        ready(Err(LedgerFault("there are no budgets here".to_owned()))).boxed()
    }

    fn hold_back<'a>(&'a self, _: &'a BudgetKey, _: Duration) -> BoxFuture<'a, Result<(), LedgerFault>> {
        ready(Ok(())).boxed()
    }

    fn held_back<'a>(&'a self, _: &'a BudgetKey) -> BoxFuture<'a, Result<Duration, LedgerFault>> {
        ready(Ok(Duration::ZERO)).boxed()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Mutations: `rule_host`, any http; https to an address, whose certificate nobody can check.
    #[test]
    fn a_token_goes_over_tls_or_nowhere_off_this_machine() {
        let host = |address: &str| rule_host(&address.parse().unwrap());
        assert_eq!(host("https://vault.internal:8200").as_deref(), Some("vault.internal"));
        for here in ["http://127.0.0.1:8200", "http://localhost:1", "http://[::1]:1"] {
            assert_eq!(host(here).as_deref(), Some("localhost"), "{here}");
        }
        for refused in ["http://vault.internal:8200", "http://10.0.0.1:8200", "https://10.0.0.1:8200", "file:///x"] {
            assert_eq!(host(refused), None, "{refused}");
        }
    }

    #[test]
    fn there_is_a_rule_for_a_host_with_a_domain_and_for_this_machine() {
        assert!(rule("localhost").is_some() && rule("vault.internal").is_some());
    }
}
