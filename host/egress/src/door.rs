//! The door: one request, step by step.
//!
//! Invariant: the order. What can be refused without trace is refused first; what is durable comes
//! before what leaves; the credential comes last.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bulkhead_manifest::Idempotency;
use bulkhead_vault::Secret;
use bytes::Bytes;
use http::Method;
use hyper::Response;
use hyper::body::Incoming;
use rustls::pki_types::TrustAnchor;
use tokio::time::Instant;
use url::Url;

use crate::budget::{Budget, Scopes};
use crate::capture;
use crate::config::{DevUpstream, DoorConfig, DoorSetupError};
use crate::denials::Denials;
use crate::dial::{Dialler, Line, Sockets, SystemSockets};
use crate::effect::{self, Draft};
use crate::error::{ConnectFailure, DoorError, InvalidRequest, Large};
use crate::exchange::{Bounds, exchange};
use crate::inject::{self, Injection};
use crate::intents::{Intent, Intents, Point};
use crate::normalise::{check_name, normalise};
use crate::pool::{Pool, PoolKey};
use crate::read::{Head, read};
use crate::redact::clean;
use crate::request::{Answer, Outgoing, Pass, Sent};
use crate::resolve::{Resolve, SystemResolver, addresses};
use crate::route::{Route, route};
use crate::strip::strip;

/// The only way out. Cheap to clone.
#[derive(Clone)]
pub struct Door {
    shared: Arc<Shared>,
}

struct Shared {
    config: DoorConfig,
    resolver: Arc<dyn Resolve>,
    dialler: Dialler,
    pool: Pool,
    budget: Arc<Budget>,
    denials: Denials,
}

/// A request that is allowed, with everything the host will add to it.
struct Cleared<'a> {
    route: Route<'a>,
    draft: Draft,
    injection: Injection,
    effect_key: Option<String>,
    keyed: bool,
    limits: Limits,
}

/// What comes back, as far as its head, and how it came.
struct Delivered {
    response: Response<Incoming>,
    line: Line,
    /// Those that were sent.
    signatures: Vec<Secret>,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    total: Duration,
    answer_bytes: usize,
}

/// The provider does not accept the credential.
const UNAUTHORIZED: u16 = 401;

impl Door {
    /// A door that resolves names as this machine does.
    ///
    /// # Errors
    /// Where the configuration cannot be carried out.
    pub fn new(config: DoorConfig) -> Result<Self, DoorSetupError> {
        Self::with_resolver(config, Arc::new(SystemResolver::new()))
    }

    /// A door with a resolver of your own. Its answers are checked like any other's.
    ///
    /// # Errors
    /// Where the configuration cannot be carried out.
    pub fn with_resolver(config: DoorConfig, resolver: Arc<dyn Resolve>) -> Result<Self, DoorSetupError> {
        Self::assemble(config, resolver, Arc::new(SystemSockets))
    }

    /// The authorities that this machine trusts for servers.
    #[must_use]
    pub fn trusted(&self) -> &[TrustAnchor<'static>] {
        &self.shared.dialler.trusted
    }

    /// Where a person's browser finds this address: at the development upstream, where one plays its host.
    #[must_use]
    pub fn for_a_browser(&self, mut url: Url) -> Url {
        let played = self.shared.config.development.iter().find(|played| url.host_str() == Some(&played.host));
        if let Some(DevUpstream { to, .. }) = played {
            // Both are web addresses with a host, so none of this can be refused.
            let _ = url.set_scheme(to.scheme());
            let _ = url.set_host(to.host_str());
            let _ = url.set_port(to.port());
        }
        url
    }

    fn assemble(
        config: DoorConfig,
        resolver: Arc<dyn Resolve>,
        sockets: Arc<dyn Sockets>,
    ) -> Result<Self, DoorSetupError> {
        for upstream in &config.development {
            let to = &upstream.to;
            let bare = matches!(to.scheme(), "http" | "https")
                && to.host().is_some()
                && to.path() == "/"
                && to.query().is_none();
            if !bare {
                return Err(DoorSetupError::Development { host: upstream.host.clone() });
            }
        }
        let dialler = Dialler::new(&config, sockets)?;
        let pool = Pool::new(&config);
        let (budget, denials) = Default::default();
        Ok(Self { shared: Arc::new(Shared { config, resolver, dialler, pool, budget, denials }) })
    }

    /// Sends one request, if it may go. Any status is an answer; redirects are answers too.
    ///
    /// # Errors
    /// Says why there is no answer and, by [`DoorError::request_sent`], whether any byte may have left.
    pub async fn send(&self, pass: &Pass<'_>, request: Outgoing, intents: &dyn Intents) -> Result<Sent, DoorError> {
        let cleared = self.clear(pass, request)?;
        let scopes = Scopes::of(pass, cleared.route.rule, &cleared.draft.url);
        let places = self.shared.budget.spend(&scopes, pass.ledger, &self.shared.config).await?;
        let turns = self.shared.budget.turns_of(&scopes, &self.shared.config);
        turns.owe(cleared.draft.body.len());

        if let Some(effect_key) = &cleared.effect_key {
            intents.intent(&cleared.intent(effect_key)).await?;
            intents.reached(Point::IntentCommitted).await;
        }
        let has_credential = cleared.injection.has_credential;
        let Limits { total, answer_bytes } = cleared.limits;
        let of_effect = !cleared.route.safe;
        let bounds = Bounds { deadline: Instant::now() + total, answer_bytes, turns, of_effect };
        let Delivered { response, line, signatures } = self.deliver(&cleared, pass, bounds, intents).await?;
        let head = Head::of(&response);
        // What the head asks for is heard before the body is there, and whether or not it ever is.
        let learning = self.shared.budget.learn(&scopes, &head, pass);
        let (held_back_ms, body) = tokio::join!(learning, read(response, bounds));
        let answer = match body {
            Ok(body) => {
                // What is to be done is carried through, also where its answer did not wait for all of it; nor does who asked.
                if of_effect && !line.meter.is_all_sent() {
                    line.send_to_its_end(bounds.deadline, places.own.clone());
                } else {
                    self.shared.pool.put(cleared.pool_key(pass), line);
                }
                Answer { status: head.status, headers: head.headers, body }
            }
            Err(error) => refusal(error, has_credential)?,
        };
        intents.reached(Point::AnswerReceived).await;
        // Its connection's own place bounds what is kept here. Those that others share the provider has done with: they do not
        // wait for what is computed next.
        drop(places.shared);

        let captures = capture::wanted(cleared.route.rule, cleared.draft.url.path(), answer.status);
        let mut secrets = cleared.injection.secrets;
        secrets.extend(signatures);
        let credential_rejected = answer.status == UNAUTHORIZED && has_credential;
        let (answer, captured) = match clean(answer, cleared.limits.answer_bytes, captures, secrets, turns).await {
            Ok(cleaned) => cleaned,
            Err(error) => (refusal(error, has_credential)?, Vec::new()),
        };
        Ok(Sent { credential_rejected, answer, effect_key: cleared.effect_key, held_back_ms, captured })
    }

    /// Everything that is decided without waiting for anybody.
    fn clear<'a>(&self, pass: &Pass<'a>, request: Outgoing) -> Result<Cleared<'a>, DoorError> {
        let config = &self.shared.config;
        let url = normalise(&request.url)?;
        check_name(&request.url, &url)?;
        let route = route(config, pass.rules, &request.method, &url)?;
        if request.body.len() > config.max_request_bytes {
            return Err(DoorError::TooLarge { what: Large::Request, limit: config.max_request_bytes });
        }
        let headers = strip(&request, &route.destination.name, route.rule, config)?;
        let injection = inject::prepare(route.rule, pass, &route.destination.name)?;
        let method = Method::from_bytes(request.method.as_bytes()).map_err(|_| InvalidRequest::Method)?;
        let mut draft = Draft { method, url, headers, body: request.body };
        let effect_key = if route.safe { None } else { Some(effect::key(&pass.effect, route.rule)?) };
        let keyed = match &effect_key {
            Some(key) => effect::place(key, route.rule, &mut draft)?,
            None => false,
        };
        let asked = request.timeout_ms.map_or(u64::MAX, u64::from);
        let limits = Limits {
            total: Duration::from_millis(asked.min(config.total_timeout_ms).max(1)),
            answer_bytes: request.max_response_bytes.min(config.max_response_bytes),
        };
        Ok(Cleared { route, draft, injection, effect_key, keyed, limits })
    }

    /// Resolve, check, dial, inject, send, and read the answer's head.
    async fn deliver(
        &self,
        cleared: &Cleared<'_>,
        pass: &Pass<'_>,
        bounds: Bounds<'_>,
        intents: &dyn Intents,
    ) -> Result<Delivered, DoorError> {
        let destination = &cleared.route.destination;
        // Each send for itself: what is signed is signed once for each.
        let authorized = || cleared.injection.authorized(&cleared.draft, &destination.name, pass.clock);

        let repeatable = cleared.route.safe || cleared.keyed;
        if let Some(line) = self.shared.pool.take(&cleared.pool_key(pass), repeatable) {
            let draft = authorized().await?;
            match exchange(line, &draft, destination, bounds, intents).await {
                Ok((response, line)) => {
                    return Ok(Delivered { response, line, signatures: cleared.injection.signatures(&draft) });
                }
                // The connection had been closed while it waited. Never for an unsafe request of which
                // a byte may have left: that is for the engine to decide, or for a person.
                Err(DoorError::Broken { sent }) if !sent || cleared.route.safe => {}
                Err(error) => return Err(error),
            }
        }
        let connected = self.connect(cleared, bounds.deadline).await;
        let line = connected.inspect_err(|error| self.shared.denials.tell(error))?;
        let draft = authorized().await?;
        let (response, line) = exchange(line, &draft, destination, bounds, intents).await?;
        Ok(Delivered { response, line, signatures: cleared.injection.signatures(&draft) })
    }

    async fn connect(&self, cleared: &Cleared<'_>, deadline: Instant) -> Result<Line, DoorError> {
        let destination = &cleared.route.destination;
        let within = Duration::from_millis(self.shared.config.connect_timeout_ms);
        let connecting = async {
            let found = addresses(self.shared.resolver.as_ref(), destination).await?;
            let tls_name = destination.tls.then_some(destination.name.as_str());
            let line = self.shared.dialler.connect(&found, tls_name, within).await;
            line.map_err(|reason| DoorError::Connect { host: destination.name.clone(), reason })
        };
        let timed_out = || DoorError::Connect { host: destination.name.clone(), reason: ConnectFailure::Timeout };
        match tokio::time::timeout_at(deadline, tokio::time::timeout(within, connecting)).await {
            Ok(Ok(connected)) => connected,
            Ok(Err(_)) => Err(timed_out()),
            Err(_) => Err(DoorError::Timeout { sent: false }),
        }
    }
}

/// That a credential is refused is heard though the answer is too large or cannot be read: who renews it needs nothing else.
fn refusal(error: DoorError, has_credential: bool) -> Result<Answer, DoorError> {
    match error.answered() {
        Some(UNAUTHORIZED) if has_credential => {
            Ok(Answer { status: UNAUTHORIZED, headers: Vec::new(), body: Bytes::new() })
        }
        _ => Err(error),
    }
}

impl Cleared<'_> {
    fn pool_key(&self, pass: &Pass<'_>) -> PoolKey {
        PoolKey { owner: pass.owner.to_owned(), destination: self.route.destination.clone() }
    }

    fn intent(&self, effect_key: &str) -> Intent {
        let by_method = matches!(self.route.rule.idempotency, Idempotency::Method { .. });
        Intent {
            method: self.draft.method.to_string(),
            url: self.draft.url.to_string(),
            effect_key: effect_key.to_owned(),
            keyed: self.keyed,
            given: self.keyed && !by_method,
            window_ms: self.route.rule.idempotency.window_ms(),
        }
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
