//! Whether a request proves what its manifest asks for; and what has to be fetched for that, through the door.
//!
//! Invariants: anybody may send a request, so what one makes the host fetch is bounded: at the declared hosts alone, so many
//! bytes, so long, once for all of an owner's who wait for the same, not again for what was not there, and so often a minute
//! for one address, in places of its owner's alone. What could not be fetched is not refused, nor what is signed by a key
//! that a list of before does not have: the provider is asked to come again. What was found and cannot be had anew stays
//! good for a day, and nothing that a stranger or another owner names keeps it from being asked for, or drives out what has
//! proved a request. A question is asked only where the manifest's rules say that it changes nothing, in places of such
//! questions alone and in turns of the host's own.

mod kept;

use std::sync::Arc;

use bulkhead_egress::{By, EffectPlan, NoIntents, Outgoing, Pass};
use bulkhead_manifest::egress_match::find;
use bulkhead_manifest::{ConnectionId, EgressRule, PostbackScheme, Scheme, TenantId, TokenValue};
use bulkhead_vault::webhook::{self, Fetched, Refusal};
use bulkhead_vault::{CredentialFields, Secret};
use bytes::Bytes;
use url::Url;

pub(crate) use self::kept::Proofs;
use self::kept::{FOUND_MS, Found, Material, QUESTIONS, RENEWED_MS, Wanted};
use crate::Engine;
use crate::aside::aside;
use crate::fault::EngineFault;
use crate::host_call::Behalf;
use crate::ingress::{Inbound, Refused, Target};
use crate::listeners::Listener;

/// Largest certificate chain, list of keys or answer, bytes.
const LARGEST: usize = 64 << 10;
/// How long one may take, milliseconds: providers wait hardly longer for us.
const WITHIN_MS: u32 = 3_000;
/// When a provider may come again, seconds.
const COME_AGAIN_S: u64 = 60;

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

/// A request, and all that it is judged by.
#[derive(Clone)]
struct Case {
    engine: Engine,
    listener: Arc<Listener>,
    secrets: Arc<[Secret]>,
    inbound: Arc<Inbound>,
}

impl Case {
    /// Judges by one scheme, on a thread that serves nobody where the body is large: nobody knows yet who sent it.
    async fn judged<T: Send + 'static>(
        &self,
        scheme: &Scheme,
        judge: impl FnOnce(&Scheme, &[&Secret], &webhook::Inbound<'_>) -> T + Send + 'static,
    ) -> Result<T, EngineFault> {
        let (case, scheme) = (self.clone(), scheme.clone());
        aside(self.inbound.body.len(), move || {
            let keys: Vec<&Secret> = match &scheme {
                Scheme::Token { expects: TokenValue::ClientId, .. } => case.listener.client_id.iter().collect(),
                _ => case.secrets.iter().collect(),
            };
            judge(&scheme, &keys, &case.request())
        })
        .await
    }

    fn request(&self) -> webhook::Inbound<'_> {
        webhook::Inbound {
            headers: &self.inbound.headers,
            url: &self.listener.url,
            query: &self.inbound.query,
            path_token: self.inbound.path_token.as_ref().and_then(|token| token.expose_str().ok()),
            body: &self.inbound.body,
        }
    }

    /// By what was fetched for that.
    async fn verified(&self, scheme: &Scheme, by: Material) -> Result<Result<(), Refusal>, NotNow> {
        let engine = self.engine.clone();
        let verify = move |scheme: &Scheme, keys: &[&Secret], request: &webhook::Inbound<'_>| {
            let fetched = Fetched { bytes: by.bytes.as_deref(), trusted: engine.inner.door.trusted() };
            webhook::verify_with(scheme, keys, request, &fetched, engine.now_ms()).map(drop)
        };
        refused_by(self.judged(scheme, verify).await?, by.missed)
    }
}

/// Only what is there can refuse: nothing does not, and of what is `missed` not that it lacks a key.
fn refused_by(judged: Result<(), Refusal>, missed: bool) -> Result<Result<(), Refusal>, NotNow> {
    match judged {
        Err(Refusal::NotFetched) => Err(NotNow::Later),
        Err(Refusal::UnknownKey) if missed => Err(NotNow::Later),
        judged => Ok(judged),
    }
}

/// In whose places something is fetched, and who knows then: whoever makes others fetch slowly, or in vain, keeps none but
/// his own waiting.
fn owner(listener: &Listener) -> String {
    listener.tenant.map_or_else(|| listener.scope.to_string(), |tenant| tenant.to_string())
}

impl Engine {
    /// Lets a request through that gives any of the declared proofs.
    pub(crate) async fn proven(
        &self,
        at: &Target,
        listener: &Arc<Listener>,
        inbound: &Arc<Inbound>,
    ) -> Result<(), Refused> {
        let Some(declared) = &listener.webhook else { return Err(Refused::Unknown) };
        let secrets = self.secrets_of(listener)?.into();
        let case = Case { engine: self.clone(), listener: Arc::clone(listener), secrets, inbound: Arc::clone(inbound) };
        let (mut refusal, mut later) = (None, false);
        for scheme in declared.schemes() {
            match self.proven_by(scheme, at, &case).await {
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
        self.refused(&listener.scope, &reason).await?;
        Err(Refused::Unverified { status: declared.refusal_status, bare: declared.refuse_bare, reason })
    }

    async fn proven_by(&self, scheme: &Scheme, at: &Target, case: &Case) -> Result<Result<(), Refusal>, NotNow> {
        if let Scheme::Postback(postback) = scheme {
            return self.confirmed(scheme, postback, at, case).await;
        }
        let url = match webhook::wanted(scheme, &case.request()) {
            Ok(Some(url)) => url,
            Ok(None) => return case.verified(scheme, Material::default()).await,
            Err(refused) => return Ok(Err(refused)),
        };
        let result = self.proven_at(&url, scheme, at, case, FOUND_MS).await?;
        if result != Err(Refusal::UnknownKey) {
            return Ok(result);
        }
        // Signers change their keys.
        self.proven_at(&url, scheme, at, case, RENEWED_MS).await
    }

    /// By what stands there, which was found there so long ago at most.
    async fn proven_at(
        &self,
        url: &Url,
        scheme: &Scheme,
        at: &Target,
        case: &Case,
        found_ms: u64,
    ) -> Result<Result<(), Refusal>, NotNow> {
        let owner = owner(&case.listener);
        let wanted = Wanted { scheme, url, at, owner: &owner };
        let fetching = self.fetch(scheme, url, &owner);
        let kept = self.inner.proofs.find(wanted, self.now_ms(), found_ms, fetching).await?;
        let result = case.verified(scheme, kept.material()).await?;
        if result.is_ok() {
            self.inner.proofs.proved(wanted, kept).await;
        }
        Ok(result)
    }

    async fn fetch(&self, scheme: &Scheme, url: &Url, owner: &str) -> Found {
        let Ok(request) = http::Request::get(url.as_str()).body(Vec::new()) else { return Found::Absent };
        match self.host_call_within(&Behalf::of(owner, "webhook-proofs"), request, Some(WITHIN_MS), LARGEST).await {
            Ok(answer) if answer.status == 200 && webhook::is_material(scheme, &answer.body) => {
                Found::Bytes { bytes: answer.body, at_ms: self.now_ms(), missed: false }
            }
            Ok(answer) if matches!(answer.status, 200 | 429 | 500..) => {
                tracing::warn!(%url, http.status = answer.status, "what proves a webhook could not be fetched");
                Found::Unreachable
            }
            Ok(_) => Found::Absent,
            Err(error) => {
                tracing::warn!(%url, %error, "what proves a webhook could not be fetched");
                Found::Unreachable
            }
        }
    }

    /// Whether the provider says yes to any of the questions about a request.
    async fn confirmed(
        &self,
        scheme: &Scheme,
        postback: &PostbackScheme,
        at: &Target,
        case: &Case,
    ) -> Result<Result<(), Refusal>, NotNow> {
        let Some(whose) = case.listener.connection else { return Ok(Err(Refusal::NotFetched)) };
        let questions = case.judged(scheme, webhook::questions).await?;
        let questions = match questions {
            Ok(questions) => questions,
            Err(refused) => return Ok(Err(refused)),
        };
        let mut said = Err(Refusal::NoKey);
        for question in questions {
            said = match self.asked(postback, question.into(), at, whose).await? {
                Some(answer) => case.verified(scheme, Material { bytes: Some(answer), missed: false }).await?,
                None => Err(Refusal::Denied),
            };
            if said.is_ok() {
                break;
            }
        }
        Ok(said)
    }

    /// What the provider answered about a request to this connection; `None` where it makes nothing of the question.
    async fn asked(
        &self,
        postback: &PostbackScheme,
        question: Bytes,
        at: &Target,
        (tenant, id): (TenantId, ConnectionId),
    ) -> Result<Option<Bytes>, NotNow> {
        if !self.inner.proofs.questions.spend(at, 1, QUESTIONS, self.now_ms()) {
            return Err(NotNow::Later);
        }
        let mut rejected = None;
        // With a credential that is renewed once, where that is what the provider does not accept.
        for _ in 0..2 {
            let current = self.credential(tenant, id, rejected).await?;
            let fields = current.as_ref().map(|current| &*current.fields);
            match self.ask_as(postback, question.clone(), tenant, id, fields).await? {
                Said::Answer(answer) => return Ok(Some(answer)),
                Said::Nothing => return Ok(None),
                Said::Later => return Err(NotNow::Later),
                Said::Rejected => {}
            }
            match current.filter(|current| current.renewable) {
                Some(current) => rejected = Some(current.generation),
                None => return Err(NotNow::Later),
            }
        }
        Err(NotNow::Later)
    }

    async fn ask_as(
        &self,
        postback: &PostbackScheme,
        question: Bytes,
        tenant: TenantId,
        id: ConnectionId,
        credential: Option<&CredentialFields>,
    ) -> Result<Said, NotNow> {
        let connection = self.inner.store.tenant_read(tenant).await?.connection(id).await?;
        let known = self.version(connection.version).await?;
        let variables = known.manifest.environment(&connection.environment).unwrap_or_default();
        let url = postback.url.bind(|name| variables.get(name).cloned()).ok().and_then(|url| url.url());
        let passage = self.passage(&known, &connection).await?;
        let url = url.filter(|url| only_reads(&passage.rules, url)).ok_or_else(|| {
            let problem = format!("no egress rule lets connection {id} POST to {} only to read", postback.url);
            EngineFault::damaged("a manifest's webhook scheme", problem)
        })?;
        let effect = EffectPlan { key: &self.inner.effect_key, root: "webhook-proof", name: None, ordinal: 0 };
        let pass = Pass { by: By::Webhook, ..passage.pass(self, credential, effect, false) };
        let outgoing = Outgoing {
            method: "POST".to_owned(),
            url: url.to_string(),
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: question,
            timeout_ms: Some(WITHIN_MS),
            max_response_bytes: LARGEST,
        };
        match self.inner.door.send(&pass, outgoing, &NoIntents).await {
            Ok(sent) if sent.credential_rejected => Ok(Said::Rejected),
            Ok(sent) if (200..300).contains(&sent.answer.status) => Ok(Said::Answer(sent.answer.body)),
            Ok(sent) if matches!(sent.answer.status, 400 | 422) => Ok(Said::Nothing),
            Ok(sent) => {
                tracing::warn!(%url, http.status = sent.answer.status, "a provider did not answer about a webhook");
                Ok(Said::Later)
            }
            Err(error) => {
                tracing::warn!(%url, %error, "a provider could not be asked about a webhook");
                Ok(Said::Later)
            }
        }
    }
}

/// What became of a question.
enum Said {
    Answer(Bytes),
    /// It is no question to the provider.
    Nothing,
    /// Not by this credential.
    Rejected,
    Later,
}

/// Whether a question there is no effect: one that is sent under a key would be answered what it was answered before.
fn only_reads(rules: &[EgressRule], url: &Url) -> bool {
    find(rules, "POST", url).is_ok_and(|rule| rule.reads_only("POST", url))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bulkhead_manifest::AppId;
    use bulkhead_store::Scope;

    use super::*;

    /// Mutation: `refused_by`, whatever cannot be had anew.
    #[test]
    fn a_key_that_a_list_of_before_lacks_may_be_in_the_newest() {
        let later = |judged, missed| matches!(refused_by(judged, missed), Err(NotNow::Later));
        assert!(later(Err(Refusal::UnknownKey), true) && !later(Err(Refusal::UnknownKey), false));
        assert!(later(Err(Refusal::NotFetched), false));
        assert!(!later(Err(Refusal::Mismatch), true) && !later(Ok(()), true));
    }

    /// Mutation: `owner`, each app for itself.
    #[test]
    fn however_many_apps_a_tenant_has_its_proofs_take_one_tenants_places() {
        let (tenant, app) = (TenantId::new(1), |number| AppId::from_bytes([number; 16]));
        let places = |tenant, scope| {
            let (url, secrets) = (String::new(), Vec::new());
            owner(&Listener {
                webhook: None,
                scope,
                tenant,
                connection: None,
                app: None,
                secrets,
                client_id: None,
                url,
            })
        };
        let own = places(Some(tenant), Scope::Endpoint(ConnectionId::new(1)));
        assert_eq!(places(Some(tenant), Scope::App(app(1))), own);
        assert_ne!(places(Some(TenantId::new(2)), Scope::App(app(1))), own);
        assert_ne!(places(None, Scope::App(app(1))), places(None, Scope::App(app(2))));
    }

    /// Mutation: `only_reads`, whatever a rule allows.
    #[test]
    fn a_question_is_asked_only_where_it_is_no_effect() {
        let manifest = |reading: &str| {
            let connector = "[connector]\nname = \"asking\"\nversion = \"1.0.0\"\ntitle = \"T\"\ncontract = \"0.1\"\n";
            let egress = format!(
                "[[egress]]\nhost = \"a.example\"\nmethods = [\"POST\"]\npaths = [\"/v1/*\"]\nread_only_posts = [\"{reading}\"]\n"
            );
            bulkhead_manifest::Manifest::parse(&format!("{connector}{egress}")).unwrap()
        };
        let asks = |reading: &str, url: &str| only_reads(&manifest(reading).egress, &url.parse().unwrap());
        assert!(asks("/v1/verify", "https://a.example/v1/verify"));
        assert!(!asks("/v1/search", "https://a.example/v1/verify"));
        assert!(!asks("/v1/verify", "https://b.example/v1/verify"));
    }
}
