//! The way to the service that guards the keys: through a door of its own, which leads to that one address and nowhere
//! else. An operator's word opens it; no tenant's, and no manifest's.
//!
//! Invariant: what is kept here of a key on its way is overwritten when it was sent or read. Copies that the layers of
//! HTTP and TLS make of it are not.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bulkhead_egress::{
    BudgetKey, CredentialFields, DevUpstream, Door, DoorConfig, EffectPlan, Leased, Ledger, LedgerFault, NoIntents,
    Order, Outgoing, Pass,
};
use bulkhead_manifest::{EgressRule, HostPattern, Idempotency, PathPattern, Placement, SharedClock, Template};
use bulkhead_vault::{Answered, Secret, Transit, Transport, VaultError};
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{BoxFuture, ready};
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
const LONGEST_TOKEN: usize = 4 << 10;
/// Whose places and pace it takes: at this door there is nobody else.
const NOBODY: &str = "key-service";
/// The name under which the token travels to the door.
const TOKEN: &str = "token";

/// The service, ready to be asked.
///
/// # Errors
/// [`VaultError::ProviderRefused`] says which setting is not right.
pub fn transit(settings: &TransitSettings, clock: SharedClock) -> Result<Transit, VaultError> {
    Transit::new(Box::new(way(settings, clock)?), &settings.mount, &settings.key)
}

fn way(settings: &TransitSettings, clock: SharedClock) -> Result<Way, VaultError> {
    let refused = |reason: &str| VaultError::ProviderRefused { reason: reason.to_owned() };
    let name = rule_host(&settings.address).ok_or_else(|| {
        refused("its address has to be https:// with a host name, or http:// with an address of this machine")
    })?;
    let upstream = DevUpstream { host: name.clone(), to: settings.address.clone() };
    let door =
        Door::new(config(upstream)).map_err(|error| VaultError::ProviderRefused { reason: error.to_string() })?;
    Ok(Way {
        door,
        clock,
        rule: rule(&name).ok_or_else(|| refused("its host is no host name"))?,
        name,
        token_file: settings.token_file.clone(),
    })
}

fn config(upstream: DevUpstream) -> DoorConfig {
    DoorConfig { development: vec![upstream], total_timeout_ms: TIMEOUT_MS, ..DoorConfig::default() }
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
            let effect = EffectPlan { key: &no_effect, root: "", name: None, ordinal: 0 };
            let pass = Pass::of_host(
                NOBODY,
                NOBODY,
                std::slice::from_ref(&self.rule),
                &credential,
                effect,
                &NoBudgets,
                &*self.clock,
            );
            let outgoing = Outgoing {
                method: "POST".to_owned(),
                url: format!("https://{}{path}", self.name),
                headers: vec![("content-type".to_owned(), "application/json".to_owned())],
                body: Bytes::from_owner(OnItsWay(body)),
                timeout_ms: None,
                max_response_bytes: LARGEST_ANSWER,
            };
            let sent = self.door.send(&pass, outgoing, &NoIntents).await.map_err(|error| error.to_string())?;
            // Takes the bytes themselves, where nobody else has them.
            Ok((sent.answer.status, Secret::new(sent.answer.body.into())))
        })
    }
}

async fn token(file: &Path) -> Result<Secret, String> {
    let path = file.to_owned();
    // Not aside: nobody's documents keep the keys waiting, nor does a slow disk keep those.
    let read = tokio::task::spawn_blocking(move || {
        // Sized ahead, so that growing leaves no copies.
        let mut bytes = Vec::with_capacity(LONGEST_TOKEN + 1);
        let read = File::open(path).and_then(|open| open.take(LONGEST_TOKEN as u64).read_to_end(&mut bytes));
        (Secret::new(bytes), read)
    });
    let unreadable = |error: std::io::Error| format!("the token's file {} cannot be read: {error}", file.display());
    let (bytes, read) = read.await.map_err(|fault| unreadable(std::io::Error::other(fault)))?;
    read.map_err(unreadable)?;
    let text = bytes.expose_str().map_err(|error| unreadable(std::io::Error::other(error)))?;
    Ok(Secret::from_string(text.trim().to_owned()))
}

/// A secret as the body of a request; overwritten when the last that sends it is done.
struct OnItsWay(Secret);

impl AsRef<[u8]> for OnItsWay {
    fn as_ref(&self) -> &[u8] {
        self.0.expose()
    }
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
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::clock::SystemClock;

    /// A service that answers one request with this, and a way to it.
    async fn answering(body: String) -> (tempfile::TempDir, Way) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async move {
            let (mut wire, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"}") {
                wire.read_buf(&mut head).await.unwrap();
            }
            let length = body.len();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
            // Who has read enough hangs up.
            let _ = wire.write_all(answer.as_bytes()).await;
        });
        let folder = tempfile::tempdir().unwrap();
        let token_file = folder.path().join("token");
        std::fs::write(&token_file, "t").unwrap();
        let settings = TransitSettings { address, token_file, mount: "m".to_owned(), key: "k".to_owned() };
        (folder, way(&settings, Arc::new(SystemClock)).unwrap())
    }

    /// Mutation: `post`, without `LARGEST_ANSWER`.
    #[tokio::test]
    async fn what_the_service_answers_is_only_so_large() {
        for (padding, is_taken) in [(10, true), (LARGEST_ANSWER, false)] {
            let padding = "x".repeat(padding);
            let body = format!(r#"{{"data":{{"ciphertext":"vault:v1:a"}},"more":"{padding}"}}"#);
            let (_folder, way) = answering(body).await;
            let answer = way.post("/v1/m/encrypt/k".to_owned(), Secret::from_string("{}".to_owned())).await;
            assert_eq!(answer.is_ok(), is_taken);
        }
    }

    /// Mutation: `config`, without `TIMEOUT_MS`: everybody who starts waits with it.
    #[test]
    fn the_service_has_only_so_long_to_answer() {
        let upstream = DevUpstream { host: "localhost".to_owned(), to: "http://127.0.0.1:1".parse().unwrap() };
        assert!(config(upstream).total_timeout_ms < DoorConfig::default().total_timeout_ms);
    }

    /// Mutation: `token`, without `LONGEST_TOKEN`.
    #[tokio::test]
    async fn of_the_file_with_the_token_only_so_much_is_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!(" {}\n", "t".repeat(LONGEST_TOKEN))).unwrap();
        assert_eq!(token(file.path()).await.unwrap().len(), LONGEST_TOKEN - 1);
    }

    /// Mutation: `token`, aside.
    #[tokio::test]
    async fn the_file_with_the_token_is_read_however_much_is_computed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "t").unwrap();
        let busy = crate::aside::tests::busy().await;
        let read = tokio::time::timeout(Duration::from_secs(20), token(file.path())).await;
        assert!(read.expect("it waits for who computes").is_ok());
        drop(busy);
    }

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
