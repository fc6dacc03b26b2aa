//! Whether a request proves what its manifest asks for; and what has to be fetched for that, through the door.
//!
//! Invariants: anybody may send a request, so what one makes the host fetch is bounded: at the declared hosts alone, so many
//! bytes, so long, once for all who wait for the same, not again for what was not there, and so often a minute for one
//! address. What could not be fetched is not refused: the provider is asked to come again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bulkhead_egress::{EffectPlan, NoIntents, Outgoing, Pass};
use bulkhead_manifest::{ConnectionId, PostbackScheme, Scheme, TenantId, TokenValue};
use bulkhead_vault::webhook::{self, Fetched, Refusal};
use bulkhead_vault::{CredentialFields, Secret};
use bytes::Bytes;
use serde_json::Value;
use url::Url;

use crate::Engine;
use crate::fault::{EngineFault, stored};
use crate::ingress::{Inbound, Refused, Target};
use crate::listeners::Listener;

/// Largest certificate chain, list of keys or answer, bytes.
const LARGEST: usize = 64 << 10;
/// How long one may take, milliseconds: providers wait hardly longer for us.
const WITHIN_MS: u32 = 3_000;
/// How long what was found is good for; nobody's signature is believed by it after its certificate's own end.
const FOUND_MS: u64 = 60 * 60_000;
/// And at least, where a signer's key is not among it.
const RENEWED_MS: u64 = 60_000;
/// How long it is believed that there is nothing.
const ABSENT_MS: u64 = 60_000;
/// How long nobody tries again who did not get there.
const UNREACHABLE_MS: u64 = 5_000;
/// What is remembered.
const MOST_KEPT: u64 = 256;
/// For one address a minute: certificates and lists of keys; questions, of which every delivery takes one.
const FETCHES: u32 = 20;
const QUESTIONS: u32 = 300;
/// When a provider may come again, seconds.
const COME_AGAIN_S: u64 = 60;

/// What was fetched to verify requests, and how much in this minute.
pub(crate) struct Proofs {
    kept: moka::future::Cache<Url, Arc<Kept>>,
    spent: Mutex<(u64, HashMap<Target, u32>)>,
}

struct Kept {
    at_ms: u64,
    found: Found,
}

enum Found {
    Bytes(Bytes),
    Absent,
    Unreachable,
}

impl Default for Proofs {
    fn default() -> Self {
        Self { kept: moka::future::Cache::new(MOST_KEPT), spent: Mutex::default() }
    }
}

impl Proofs {
    /// Whether so many more may be fetched for this address now; none more, whether it was not too much already.
    fn spend(&self, at: &Target, more: u32, most: u32, now_ms: u64) -> bool {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = now_ms / 60_000;
        if spent.0 != minute {
            *spent = (minute, HashMap::new());
        }
        let count = spent.1.entry(at.clone()).or_default();
        *count = count.saturating_add(more);
        *count <= most
    }
}

impl Kept {
    fn is_good(&self, now_ms: u64, found_ms: u64) -> bool {
        let for_ms = match self.found {
            Found::Bytes(_) => found_ms,
            Found::Absent => ABSENT_MS,
            Found::Unreachable => UNREACHABLE_MS,
        };
        now_ms.abs_diff(self.at_ms) < for_ms
    }
}

/// Why a proof cannot be judged.
enum NotNow {
    Later,
    Fault(EngineFault),
}

impl From<EngineFault> for NotNow {
    fn from(fault: EngineFault) -> Self {
        Self::Fault(fault)
    }
}

impl From<bulkhead_store::StoreError> for NotNow {
    fn from(error: bulkhead_store::StoreError) -> Self {
        Self::Fault(error.into())
    }
}

impl Engine {
    /// Lets a request through that gives any of the declared proofs.
    pub(crate) async fn proven(&self, at: &Target, listener: &Listener, inbound: &Inbound) -> Result<(), Refused> {
        let Some(declared) = &listener.webhook else { return Err(Refused::Unknown) };
        let secrets = self.secrets_of(listener)?;
        let request = webhook::Inbound {
            headers: &inbound.headers,
            url: &listener.url,
            query: &inbound.query,
            body: &inbound.body,
        };
        let (mut refusal, mut later) = (None, false);
        for scheme in declared.schemes() {
            let keys: Vec<&Secret> = match scheme {
                Scheme::Token { expects: TokenValue::ClientId, .. } => listener.client_id.iter().collect(),
                _ => secrets.iter().collect(),
            };
            match self.proven_by(scheme, &keys, at, listener, &request).await {
                Ok(Ok(())) => return Ok(()),
                // Of two kinds of key only one is set: what the other has to say is about the request.
                Ok(Err(refused)) if refusal.as_ref().is_none_or(|first| *first == Refusal::BadKey) => {
                    refusal = Some(refused);
                }
                Ok(Err(_)) => {}
                Err(NotNow::Later) => later = true,
                Err(NotNow::Fault(fault)) => return Err(fault.into()),
            }
        }
        if later {
            return Err(Refused::Later { retry_after_s: COME_AGAIN_S });
        }
        let reason = refusal.map_or_else(String::new, |refusal| refusal.to_string());
        self.refused(&reason).await?;
        Err(Refused::Unverified { status: declared.refusal_status, bare: declared.refuse_bare, reason })
    }

    async fn proven_by(
        &self,
        scheme: &Scheme,
        keys: &[&Secret],
        at: &Target,
        listener: &Listener,
        request: &webhook::Inbound<'_>,
    ) -> Result<Result<(), Refusal>, NotNow> {
        let trusted = self.inner.door.trusted();
        let by = |bytes: Option<&[u8]>| {
            webhook::verify_with(scheme, keys, request, &Fetched { bytes, trusted }, self.now_ms()).map(drop)
        };
        if let Scheme::Postback(postback) = scheme {
            let question = match webhook::question(scheme, keys, request) {
                Ok(question) => question.unwrap_or_default(),
                Err(refused) => return Ok(Err(refused)),
            };
            let Some(whose) = listener.connection else { return Ok(by(None)) };
            let answer = self.asked(postback, question, at, whose).await?;
            return Ok(by(answer.as_deref()));
        }
        let url = match webhook::wanted(scheme, request) {
            Ok(Some(url)) => url,
            Ok(None) => return Ok(by(None)),
            Err(refused) => return Ok(Err(refused)),
        };
        let fetched = self.fetched(&url, at, FOUND_MS).await?;
        let result = by(fetched.as_deref());
        if result != Err(Refusal::UnknownKey) {
            return Ok(result);
        }
        // Signers change their keys.
        Ok(by(self.fetched(&url, at, RENEWED_MS).await?.as_deref()))
    }

    /// What stands there; `None` where nothing does.
    async fn fetched(&self, url: &Url, at: &Target, found_ms: u64) -> Result<Option<Bytes>, NotNow> {
        let now_ms = self.now_ms();
        let proofs = &self.inner.proofs;
        let old = proofs.kept.get(url).await;
        let kept = match old.filter(|kept| kept.is_good(now_ms, found_ms)) {
            Some(kept) => kept,
            // Nor does it drive out what is known.
            None if !proofs.spend(at, 0, FETCHES, now_ms) => return Err(NotNow::Later),
            None => {
                let entry = proofs.kept.entry_by_ref(url);
                let fetching = async {
                    let may = proofs.spend(at, 1, FETCHES, now_ms);
                    let found = if may { self.fetch(url).await } else { Found::Unreachable };
                    Arc::new(Kept { at_ms: now_ms, found })
                };
                entry.or_insert_with_if(fetching, |kept| !kept.is_good(now_ms, found_ms)).await.into_value()
            }
        };
        match &kept.found {
            Found::Bytes(bytes) => Ok(Some(bytes.clone())),
            Found::Absent => Ok(None),
            Found::Unreachable => Err(NotNow::Later),
        }
    }

    async fn fetch(&self, url: &Url) -> Found {
        let Ok(request) = http::Request::get(url.as_str()).body(Vec::new()) else { return Found::Absent };
        match self.host_call_within("webhook-proofs", request, Some(WITHIN_MS), LARGEST).await {
            Ok(answer) if answer.status == 200 => Found::Bytes(answer.body),
            Ok(answer) if answer.status == 429 || answer.status >= 500 => Found::Unreachable,
            Ok(_) => Found::Absent,
            Err(error) => {
                tracing::warn!(%url, %error, "what proves a webhook could not be fetched");
                Found::Unreachable
            }
        }
    }

    /// What the provider answered about a request to this connection; `None` where it does not understand the question.
    async fn asked(
        &self,
        postback: &PostbackScheme,
        question: Vec<u8>,
        at: &Target,
        (tenant, id): (TenantId, ConnectionId),
    ) -> Result<Option<Bytes>, NotNow> {
        if !self.inner.proofs.spend(at, 1, QUESTIONS, self.now_ms()) {
            return Err(NotNow::Later);
        }
        let mut rejected = None;
        // With a credential that is renewed once, where that is what the provider does not accept.
        for _ in 0..2 {
            let current = self.credential(tenant, id, rejected).await?;
            let fields = current.as_ref().map(|current| &*current.fields);
            let sent = self.ask_as(postback, &question, tenant, id, fields).await?;
            let renewable = current.as_ref().filter(|current| current.renewable && sent.1);
            match renewable {
                Some(current) => rejected = Some(current.generation),
                None => return Ok(sent.0),
            }
        }
        Err(NotNow::Later)
    }

    async fn ask_as(
        &self,
        postback: &PostbackScheme,
        question: &[u8],
        tenant: TenantId,
        id: ConnectionId,
        credential: Option<&CredentialFields>,
    ) -> Result<(Option<Bytes>, bool), NotNow> {
        let connection = self.inner.store.tenant_read(tenant).await?.connection(id).await?;
        let known = self.version(connection.version).await?;
        let variables = known.manifest.environment(&connection.environment).unwrap_or_default();
        let url = postback.url.bind(|name| variables.get(name).cloned()).ok().and_then(|url| url.url());
        let Some(url) = url else { return Ok((None, false)) };
        let settings: Value = stored("a connection's settings", &connection.settings)?;
        let account = connection.account.as_deref().map(|account| stored("a connection's account", account));
        let account = account.transpose()?.unwrap_or(Value::Null);
        let rules: Vec<_> =
            known.granted(&connection)?.egress().iter().map(|rule| rule.with_settings(&settings)).collect();
        let (owner, app) = (id.to_string(), connection.app.map(|app| app.to_string()));
        let publisher = known.row.tenant.map(|tenant| tenant.to_string()).unwrap_or_default();
        let (pins, app_secrets) = self.of_app(&connection, &rules, &settings).await?;
        let pass = Pass {
            rules: &rules,
            pins: &pins,
            credential,
            app_secrets: app_secrets.as_ref(),
            account: &account,
            settings: &settings,
            owner: &owner,
            app: app.as_deref(),
            publisher: &publisher,
            budgets: &known.manifest.effective_rate(&connection.environment),
            ledger: self,
            effect: EffectPlan { key: &self.inner.effect_key, root: "webhook-proof", name: None, ordinal: 0 },
            clock: &*self.inner.clock,
        };
        let outgoing = Outgoing {
            method: "POST".to_owned(),
            url: url.to_string(),
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: Bytes::copy_from_slice(question),
            timeout_ms: Some(WITHIN_MS),
            max_response_bytes: LARGEST,
        };
        match self.inner.door.send(&pass, outgoing, &NoIntents).await {
            Ok(sent) if sent.credential_rejected => Ok((None, true)),
            Ok(sent) if sent.answer.status < 300 => Ok((Some(sent.answer.body), false)),
            Ok(sent) if sent.answer.status < 500 && sent.answer.status != 429 => Ok((None, false)),
            Ok(_) => Err(NotNow::Later),
            Err(error) => {
                tracing::warn!(%url, %error, "a provider could not be asked about a webhook");
                Err(NotNow::Later)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mutations: `spend`, always; for all addresses together; without a new minute.
    #[test]
    fn so_much_is_fetched_for_one_address_a_minute() {
        let proofs = Proofs::default();
        let at = |name: &str| Target::Endpoint(name.to_owned());
        let spent = |name, now_ms| (0..FETCHES + 5).filter(|_| proofs.spend(&at(name), 1, FETCHES, now_ms)).count();
        assert_eq!(spent("one", 0), FETCHES as usize);
        assert_eq!(spent("one", 59_999), 0);
        assert!(!proofs.spend(&at("one"), 0, FETCHES, 59_999) && proofs.spend(&at("other"), 0, FETCHES, 59_999));
        assert_eq!(spent("other", 59_999), FETCHES as usize);
        assert_eq!(spent("one", 60_000), FETCHES as usize);
    }

    #[test]
    fn what_was_fetched_is_good_for_its_time() {
        let good = |found, now_ms, found_ms| Kept { at_ms: 1_000_000, found }.is_good(now_ms, found_ms);
        let bytes = || Found::Bytes(Bytes::new());
        assert!(good(bytes(), 1_000_000 + FOUND_MS - 1, FOUND_MS) && !good(bytes(), 1_000_000 + FOUND_MS, FOUND_MS));
        assert!(!good(bytes(), 1_000_000 + RENEWED_MS, RENEWED_MS));
        assert!(good(Found::Absent, 1_000_000 + ABSENT_MS - 1, 0) && !good(Found::Absent, 1_000_000 + ABSENT_MS, 0));
        assert!(!good(Found::Unreachable, 1_000_000 + UNREACHABLE_MS, FOUND_MS));
    }
}
