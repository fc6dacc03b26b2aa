//! Requests that the host makes for itself (tokens, revocations, account look-ups): through the same door as a guest's.
//!
//! Invariant: a host call goes to one origin, which an app or a manifest pinned, and follows no redirect.

use std::fmt::Display;

use bulkhead_egress::{Answer, CredentialFields, DoorError, EffectPlan, NoIntents, Outgoing, Pass};
use bulkhead_manifest::{EgressRule, HostPattern, Idempotency, PathPattern, Placement, Template};
use bulkhead_vault::Secret;
use bytes::Bytes;
use url::Url;

use crate::Engine;

/// Answers of token endpoints and account look-ups are small.
pub(crate) const LARGEST_ANSWER: usize = 1 << 20;
/// The one name under which a host call's own `Authorization` travels to the door.
const AUTHORIZATION: &str = "authorization";

/// On whose behalf the host asks: at one tenant's pace, and in places that are that tenant's alone for each thing that it asks
/// for, such as an app. So whoever makes it ask much by an app that many share keeps none of the others waiting. All of them
/// together have no bound beside: a few of them could fill it. What a provider bears it says itself, to each.
#[derive(Debug, Clone)]
pub(crate) struct Behalf {
    tenant: String,
    owner: String,
}

impl Behalf {
    pub(crate) fn of(tenant: impl Display, what: impl Display) -> Self {
        Self { tenant: tenant.to_string(), owner: format!("{tenant}/{what}") }
    }
}

/// Why a host call has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostCallError {
    #[error("the address {url:?} cannot be called by the host")]
    BadAddress { url: String },
    #[error(transparent)]
    Door(#[from] DoorError),
}

impl Engine {
    /// Sends one request to exactly `request`'s own origin and path. What stands in its `Authorization` header is
    /// treated as the credential that it is.
    pub(crate) async fn host_call(
        &self,
        behalf: &Behalf,
        request: http::Request<Vec<u8>>,
    ) -> Result<Answer, HostCallError> {
        self.host_call_within(behalf, request, None, LARGEST_ANSWER).await
    }

    /// The same within a time, milliseconds, and for an answer of so many bytes at most.
    pub(crate) async fn host_call_within(
        &self,
        behalf: &Behalf,
        request: http::Request<Vec<u8>>,
        timeout_ms: Option<u32>,
        max_response_bytes: usize,
    ) -> Result<Answer, HostCallError> {
        let (parts, body) = request.into_parts();
        let url = parts.uri.to_string();
        let rule = own_rule(&url, parts.method.as_str())?;
        let mut credential = CredentialFields::new();
        let mut headers = Vec::new();
        for (name, value) in &parts.headers {
            let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
            if name == http::header::AUTHORIZATION {
                credential.insert(AUTHORIZATION, Secret::from_string(text));
            } else {
                headers.push((name.as_str().to_owned(), text));
            }
        }
        let rules = [if credential.is_empty() { EgressRule { credential: None, ..rule } } else { rule }];
        let effect = EffectPlan { key: &self.inner.effect_key, root: "host-call", name: None, ordinal: 0 };
        let Behalf { tenant, owner } = behalf;
        let pass = Pass::of_host(tenant, owner, &rules, &credential, effect, self, &*self.inner.clock);
        let method = parts.method.as_str().to_owned();
        let body = Bytes::from(body);
        let outgoing = Outgoing { method, url, headers, body, timeout_ms, max_response_bytes };
        Ok(self.inner.door.send(&pass, outgoing, &NoIntents).await?.answer)
    }
}

/// A rule for this one place. Nothing about its POSTs is journaled; they are no reads all the same. A code, or a refresh token that
/// rotates, is good once: sent again because its line broke, it could end the whole authorization.
fn own_rule(url: &str, method: &str) -> Result<EgressRule, HostCallError> {
    let bad = || HostCallError::BadAddress { url: url.to_owned() };
    let parsed = Url::parse(url).map_err(|_| bad())?;
    let host = parsed.host_str().ok_or_else(bad)?.to_owned();
    let path = PathPattern::parse(parsed.path()).map_err(|_| bad())?;
    let template = Template::parse(format!("{{{AUTHORIZATION}}}")).map_err(|_| bad())?;
    Ok(EgressRule {
        host: HostPattern::parse(host).map_err(|_| bad())?,
        methods: vec![method.to_owned()],
        paths: vec![path],
        read_only_posts: Vec::new(),
        credential: Some(Placement::Header { name: "Authorization".to_owned(), template }),
        headers: Default::default(),
        idempotency: Idempotency::None,
        capture: Vec::new(),
        discovered: None,
    })
}
