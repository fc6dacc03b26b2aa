//! Inbound webhooks, before any guest sees them: verify → split → route by account → one commit → 2xx.
//!
//! Invariants:
//! - Signatures are checked over the raw bytes, by the scheme that the manifest declares.
//! - What does not verify leaves nothing but a count. What verifies is on disk before the provider hears 2xx.
//! - A guest gets only its own connection's part.
//! - What one request makes the host keep is bounded ([`MOST_PARTS`], [`MOST_BYTES`]), however its items and the
//!   connections to their accounts multiply; and an account of many connections takes the room of nobody else's items.
//!
//! Who listens is remembered for about a second (`listeners.rs`).

use std::collections::HashMap;
use std::sync::Arc;

use bulkhead_manifest::headers::stands_for;
use bulkhead_manifest::{
    AppId, ConnectionId, DeliveryId, Handshake, Reply as Replies, RunId, Scheme, TenantId, TokenPlace, Webhook,
};
use bulkhead_store::{AT_ONCE, Accepted, Came, DeliveryStatus, NewDelivery, NewRun, Priority, RunState, Scope};
use bulkhead_vault::Secret;
use bytes::Bytes;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use url::form_urlencoded;

use crate::aside::aside;
use crate::attempt::Request;
use crate::fault::EngineFault;
use crate::listeners::Listener;
pub use crate::reply::Reply;
use crate::split::{Item, split, whole};
use crate::waiting::Waiter;
use crate::{Engine, reply};

/// Deliveries of one request, and bytes of them all. An item that is too much for all its connections is one delivery, and
/// belongs to nobody; so is a request whose items are too much without any.
const MOST_PARTS: u32 = 1_000;
const MOST_BYTES: usize = 16 << 20;
/// How long a request of many parts is known again before all of them are kept, milliseconds; less where ten minutes are over.
const KNOWN_FOR_MS: u64 = 600_000;

/// Where a request came in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// A connection's own address.
    Endpoint(String),
    /// The one address of an app.
    App(AppId),
}

/// One inbound request, as it came.
#[derive(Debug, Clone)]
pub struct Inbound {
    pub method: String,
    /// Without the token.
    pub path: String,
    /// What follows the address in the path.
    pub path_token: Option<Arc<Secret>>,
    /// Without the question mark.
    pub query: String,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

/// A request that is on disk, or need not be.
#[derive(Debug, Clone)]
pub struct Delivered {
    pub reply: Reply,
    pub new: Vec<DeliveryId>,
    pub duplicates: usize,
}

/// A request that is not taken. Nothing of it is kept but a count.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("nothing listens at this address")]
    Unknown,
    #[error("{reason}")]
    Unverified { status: u16, bare: bool, reason: String },
    #[error("nothing is done by this method here")]
    Method { allowed: &'static str },
    #[error("what would prove it cannot be fetched now")]
    Later { retry_after_s: u64 },
    #[error("the body is not UTF-8")]
    NotText { status: u16 },
    #[error(transparent)]
    Fault(#[from] EngineFault),
}

impl From<bulkhead_store::StoreError> for Refused {
    fn from(error: bulkhead_store::StoreError) -> Self {
        Self::Fault(error.into())
    }
}

impl Engine {
    /// Takes one request in, or says why not.
    pub async fn deliver(&self, to: Target, inbound: Inbound) -> Result<Delivered, Refused> {
        let listener = self.listener(&to).await?;
        let Some(declared) = &listener.webhook else { return Err(Refused::Unknown) };
        reply::check_method(declared, &inbound.method)?;
        if let Some(reply) = reply::echoed_query(&declared.handshake, &inbound) {
            return Ok(Delivered::nothing(reply));
        }
        if inbound.method != "POST" && !matches!(declared.handshake, Handshake::EchoHeader { .. }) {
            return Err(reply::no_method(declared));
        }
        let inbound = Arc::new(inbound);
        self.proven(&to, &listener, &inbound).await?;
        std::str::from_utf8(&inbound.body).map_err(|_| Refused::NotText { status: declared.refusal_status })?;
        if let Some(reply) = echoed(&listener, &inbound).await? {
            return Ok(Delivered::nothing(reply));
        }
        if reply::is_ignored(declared, &inbound) {
            return Ok(Delivered::nothing(reply::taken(&declared.handshake, &inbound)));
        }
        let shown = without_tokens(&listener, &inbound).await?;
        let inbound = match shown {
            Some(body) => Arc::new(Inbound { body: body.into(), ..Inbound::clone(&inbound) }),
            None => inbound,
        };
        let body = std::str::from_utf8(&inbound.body).unwrap_or_default();
        let items = taken_apart(&listener, &inbound).await?;
        let mut new = self.parts(&listener, &inbound, body, &items).await?;
        let asker = self.asker(declared, &mut new);
        let known_by = known_by(declared, &inbound, &new).await?;
        let accepted = self.inner.store.accept_deliveries(new, known_by).await;
        // A part may be kept where the whole is not.
        self.inner.wake.notify_one();
        let accepted = accepted?;
        let mut delivered = Delivered::nothing(reply::taken(&declared.handshake, &inbound));
        for part in accepted {
            match part {
                Accepted::New { delivery, .. } => delivered.new.push(delivery),
                Accepted::Duplicate { .. } => delivered.duplicates += 1,
            }
        }
        if let Replies::Run { fallback, .. } = &declared.reply {
            let said = match asker {
                Some(asker) if !delivered.new.is_empty() => self.said(asker).await,
                _ => None,
            };
            delivered.reply = said.unwrap_or_else(|| Reply::text(fallback.clone()));
        }
        Ok(delivered)
    }

    /// A place for a provider that waits for what its run answers, as long as there is one run and a place.
    fn asker(&self, declared: &Webhook, new: &mut [NewDelivery]) -> Option<Asker> {
        let Replies::Run { deadline_ms, .. } = &declared.reply else { return None };
        let [NewDelivery { to: Some((tenant, _)), runs, .. }] = new else { return None };
        let [run] = runs.as_mut_slice() else { return None };
        let waiter = self.waiter(*tenant, Some(u64::from(*deadline_ms)))?;
        run.priority = Priority::Person;
        Some(Asker { tenant: *tenant, run: run.id, waiter })
    }

    /// What the run answered, if it did in time. Whatever goes wrong, the request is on disk.
    async fn said(&self, asker: Asker) -> Option<Reply> {
        let run = self.await_end(asker.tenant, asker.run, Some(asker.waiter)).await.ok()?;
        let output = run.content?.output.filter(|_| run.state == RunState::Succeeded)?;
        Some(Reply::of_guest(output.get("reply")?).unwrap_or_else(Reply::ok))
    }

    /// One delivery for each connection that an item belongs to; one that belongs to nobody where there is none.
    async fn parts(
        &self,
        listener: &Listener,
        inbound: &Inbound,
        body: &str,
        items: &[Item],
    ) -> Result<Vec<NewDelivery>, Refused> {
        let came = Arc::new(came(listener.webhook.as_ref(), inbound));
        let delivery = |item: &Item, to| self.delivery(listener, &came, item, to);
        let accounts = self.connections_of(listener, items).await?;
        let addressed = items.iter().map(|item| {
            let found = item.account.as_deref().and_then(|account| accounts.get(account)).map(Vec::as_slice);
            (item, found.unwrap_or(std::slice::from_ref(&listener.connection)))
        });
        let mut addressed: Vec<Addressed<'_>> = addressed.collect();
        if !keep_within_bounds(&mut addressed, came.bytes()) {
            tracing::warn!(webhook.items = items.len(), "a webhook that is too much in items is kept whole");
            return Ok(vec![delivery(&whole(body), listener.connection)]);
        }
        let parts = addressed.into_iter().flat_map(|(item, to)| to.iter().map(move |to| (item, *to)));
        Ok(parts.map(|(item, to)| delivery(item, to)).collect())
    }

    /// At an app's address: for each account among the items the connections to it, where there is any.
    async fn connections_of<'i>(
        &self,
        listener: &Listener,
        items: &'i [Item],
    ) -> Result<HashMap<&'i str, Vec<Option<To>>>, Refused> {
        let mut found = HashMap::new();
        let (Scope::App(app), None) = (listener.scope, listener.connection) else { return Ok(found) };
        let mut read = self.inner.store.system_read().await?;
        for account in items.iter().filter_map(|item| item.account.as_deref()) {
            if !found.contains_key(account) {
                let connections = read.connections_by_account(app, account, MOST_PARTS + 1).await?;
                found.insert(account, connections.into_iter().map(Some).collect::<Vec<_>>());
            }
        }
        found.retain(|_, connections| !connections.is_empty());
        Ok(found)
    }

    fn delivery(&self, listener: &Listener, came: &Arc<Came>, item: &Item, to: Option<To>) -> NewDelivery {
        let now_ms = self.now_ms();
        let id = DeliveryId::new(now_ms);
        let runs = to
            .filter(|_| item.recognised)
            .map(|(_, connection)| self.receive_run(connection, id, item))
            .into_iter()
            .collect();
        let dedupe_key = match (to, listener.connection) {
            // One app-wide item may reach several connections, once each.
            (Some((_, connection)), None) => item.dedupe_key.as_ref().map(|key| format!("{connection}:{key}")),
            _ => item.dedupe_key.clone(),
        };
        NewDelivery {
            id,
            scope: listener.scope,
            dedupe_key,
            to,
            status: match to {
                None => DeliveryStatus::Unrouted,
                Some(_) if item.recognised => DeliveryStatus::Accepted,
                Some(_) => DeliveryStatus::Ignored,
            },
            came: Arc::clone(came),
            body: item.body.clone().into_bytes(),
            received_ms: now_ms,
            runs,
        }
    }

    fn receive_run(&self, connection: ConnectionId, delivery: DeliveryId, item: &Item) -> NewRun {
        let lane = item.ordering_key.as_ref().map(|key| format!("hook/{key}"));
        NewRun {
            root: delivery.to_string(),
            cause: json!({ "delivery": delivery }).to_string(),
            priority: Priority::Webhook,
            ..self.new_run(connection, Request::Receive { delivery }, None, lane, false)
        }
    }
}

impl Delivered {
    fn nothing(reply: Reply) -> Self {
        Self { reply, new: Vec::new(), duplicates: 0 }
    }
}

/// A provider that waits for its run.
struct Asker {
    tenant: TenantId,
    run: RunId,
    waiter: Waiter,
}

/// The answer to a handshake that verified.
async fn echoed(listener: &Arc<Listener>, inbound: &Arc<Inbound>) -> Result<Option<Reply>, EngineFault> {
    let (listener, inbound) = (Arc::clone(listener), Arc::clone(inbound));
    aside(inbound.body.len(), move || {
        let body = std::str::from_utf8(&inbound.body).unwrap_or_default();
        listener.webhook.as_ref().and_then(|declared| reply::echoed(&declared.handshake, &inbound, body))
    })
    .await
}

/// The body without what proves something to us, where it repeats that.
async fn without_tokens(listener: &Arc<Listener>, inbound: &Inbound) -> Result<Option<String>, EngineFault> {
    let repeats = |scheme: &Scheme| matches!(scheme, Scheme::Token { at: TokenPlace::Json { .. }, .. });
    let listener = Arc::clone(listener);
    let Some(declared) = listener.webhook.as_ref().filter(|declared| declared.schemes().any(repeats)) else {
        return Ok(None);
    };
    let (schemes, body) = (declared.schemes().cloned().collect::<Vec<_>>(), inbound.body.clone());
    aside(body.len(), move || {
        let body = std::str::from_utf8(&body).ok()?;
        schemes.iter().fold(None, |shown, scheme| {
            let taken_out = bulkhead_vault::webhook::without_tokens(scheme, shown.as_deref().unwrap_or(body));
            taken_out.or(shown)
        })
    })
    .await
}

/// The items of a body, each read as often as its listener declares places in it.
async fn taken_apart(listener: &Arc<Listener>, inbound: &Inbound) -> Result<Vec<Item>, EngineFault> {
    let (listener, headers, body) = (Arc::clone(listener), inbound.headers.clone(), inbound.body.clone());
    aside(body.len(), move || {
        let body = std::str::from_utf8(&body).unwrap_or_default();
        let header = |name: &str| header(&headers, name);
        listener.webhook.as_ref().map_or_else(Vec::new, |declared| split(declared, body, header))
    })
    .await
}

/// What a request is known by when it comes again before all of its parts are kept, where they have no ids of the provider's:
/// what it says, for whom, and in which ten minutes. After that it is news again: a part that is kept twice says twice that
/// there is something to look at, one that is not kept says nothing. So it says all that a guest is shown of it, but for what
/// is another whenever it is sent: signatures and their times, the marks of its way, and which try it is. Whatever else is
/// another each time makes it another request.
async fn known_by(
    declared: &Webhook,
    inbound: &Arc<Inbound>,
    parts: &[NewDelivery],
) -> Result<Option<String>, EngineFault> {
    let Some(first) = parts.first().filter(|_| parts.len() > AT_ONCE) else { return Ok(None) };
    if parts.iter().all(|part| part.dedupe_key.is_some()) {
        return Ok(None);
    }
    let mut hidden = proving_headers(Some(declared));
    hidden.extend(signature_headers(declared));
    hidden.extend(MARKS_OF_THE_WAY);
    hidden.extend(COUNTS_OF_TRIES);
    let headers = headers_for_a_guest(&inbound.headers, &hidden);
    let whom = parts.iter().map(|part| part.to.map_or_else(String::new, |(_, connection)| connection.to_string()));
    let (whom, when) = (whom.collect::<Vec<_>>().join(","), first.received_ms / KNOWN_FOR_MS);
    let (came, inbound, bytes) = (Arc::clone(&first.came), Arc::clone(inbound), inbound.body.len());
    let hash = move || {
        let mut hash = Sha256::new();
        for text in [&came.method, &came.path, &came.query, &headers, &whom, &when.to_string()] {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        hash.update(&inbound.body);
        hex::encode(hash.finalize())
    };
    aside(bytes, hash).await.map(Some)
}

/// A connection, and whose it is.
type To = (TenantId, ConnectionId);

/// An item, and whom it is for.
type Addressed<'a> = (&'a Item, &'a [Option<To>]);

/// Lets an item for which there is no room be nobody's. Answers false where the items are too much even so, each once.
///
/// Every item has a place, so that what an account of many connections takes is only what is left over; of that, whoever
/// has the fewest takes first.
fn keep_within_bounds(addressed: &mut [Addressed<'_>], came_bytes: usize) -> bool {
    let bytes_of = |item: &Item| came_bytes + item.body.len();
    let once: usize = addressed.iter().map(|(item, _)| bytes_of(item)).sum();
    let (Some(mut parts), Some(mut bytes)) =
        ((MOST_PARTS as usize).checked_sub(addressed.len()), MOST_BYTES.checked_sub(once))
    else {
        return false;
    };
    let mut fewest_first: Vec<_> = addressed.iter_mut().collect();
    fewest_first.sort_by_key(|(_, to)| to.len());
    let mut without_room = 0;
    for (item, to) in fewest_first {
        let more = to.len().saturating_sub(1);
        match (parts.checked_sub(more), bytes.checked_sub(more * bytes_of(item))) {
            (Some(parts_left), Some(bytes_left)) => (parts, bytes) = (parts_left, bytes_left),
            _ => {
                *to = &[None];
                without_room += 1;
            }
        }
    }
    if without_room > 0 {
        tracing::warn!(webhook.items = without_room, "items for too many connections are kept for nobody");
    }
    true
}

fn came(declared: Option<&Webhook>, inbound: &Inbound) -> Came {
    let mut query = inbound.query.clone();
    for scheme in declared.into_iter().flat_map(Webhook::schemes) {
        if let Scheme::Token { at: TokenPlace::Query { name }, .. } = scheme {
            let others = form_urlencoded::parse(query.as_bytes()).filter(|(found, _)| found.as_ref() != name.as_str());
            let others = form_urlencoded::Serializer::new(String::new()).extend_pairs(others).finish();
            query = others;
        }
    }
    Came {
        method: inbound.method.clone(),
        path: inbound.path.clone(),
        query,
        headers: headers_for_a_guest(&inbound.headers, &proving_headers(declared)),
    }
}

/// Headers whose value alone is a proof.
fn proving_headers(declared: Option<&Webhook>) -> Vec<&str> {
    let schemes = declared.into_iter().flat_map(Webhook::schemes).flat_map(|scheme| match scheme {
        Scheme::Token { at: TokenPlace::Header { name }, .. } => std::slice::from_ref(name),
        Scheme::Token { at: TokenPlace::Headers { names }, .. } => names,
        Scheme::Jwt(jwt) => std::slice::from_ref(&jwt.header),
        _ => &[],
    });
    ["authorization", "cookie", "proxy-authorization"].into_iter().chain(schemes.map(String::as_str)).collect()
}

/// Headers in which whoever passes a request on says so, we among them: those of common proxies.
const MARKS_OF_THE_WAY: [&str; 32] = [
    "b3",
    "baggage",
    "cf-*",
    "date",
    "fastly-*",
    "fly-*",
    "forwarded",
    "newrelic",
    "sentry-trace",
    "traceparent",
    "tracestate",
    "true-client-ip",
    "uber-trace-id",
    "via",
    "x-amz-cf-*",
    "x-amzn-trace-id",
    "x-appengine-*",
    "x-azure-*",
    "x-b3-*",
    "x-client-ip",
    "x-cloud-trace-context",
    "x-cluster-client-ip",
    "x-correlation-id",
    "x-datadog-*",
    "x-envoy-*",
    "x-forwarded-*",
    "x-original-*",
    "x-queue-start",
    "x-real-ip",
    "x-request-id",
    "x-request-start",
    "x-vercel-*",
];

/// Headers in which a provider says how often it has tried, and why.
const COUNTS_OF_TRIES: [&str; 2] = ["*attempt*", "*retry*"];

/// Headers that prove this request, this time.
fn signature_headers(declared: &Webhook) -> Vec<&str> {
    let schemes = declared.schemes().map(|scheme| match scheme {
        Scheme::Hmac(scheme) => (vec![scheme.header.as_str()], &scheme.timestamp_header),
        Scheme::PublicKey(scheme) => (vec![scheme.header.as_str()], &scheme.timestamp_header),
        Scheme::Postback(scheme) => (scheme.headers.values().map(String::as_str).collect(), &scheme.timestamp_header),
        _ => (Vec::new(), &None),
    });
    schemes.flat_map(|(signatures, time)| signatures.into_iter().chain(time.as_deref())).collect()
}

pub(crate) fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// The request's headers but for those that are hidden, as JSON.
fn headers_for_a_guest(headers: &[(String, String)], hidden: &[&str]) -> String {
    let is_shown = |name: &str| !hidden.iter().any(|hidden| stands_for(hidden, name));
    let shown: Vec<_> = headers.iter().filter(|(name, _)| is_shown(name)).collect();
    crate::fault::json(&shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Items of so many bytes, for so many connections each: for how many they are kept.
    fn kept(came_bytes: usize, wanted: &[(usize, usize)]) -> Option<Vec<usize>> {
        let to = (TenantId::new(1), ConnectionId::new(1));
        let items: Vec<_> = wanted.iter().map(|(bytes, _)| whole(&"x".repeat(*bytes))).collect();
        let connections: Vec<_> = wanted.iter().map(|(_, count)| vec![Some(to); *count]).collect();
        let mut addressed: Vec<_> = items.iter().zip(connections.iter().map(Vec::as_slice)).collect();
        let fits = keep_within_bounds(&mut addressed, came_bytes);
        assert!(addressed.iter().zip(&items).all(|((found, _), item)| std::ptr::eq(*found, item)), "in their order");
        let routed = |to: &[Option<To>]| to.iter().flatten().count();
        fits.then(|| addressed.iter().map(|(_, to)| routed(to)).collect())
    }

    /// Mutations: `keep_within_bounds`, without `sort_by_key`; false where one item does not fit.
    #[test]
    fn an_account_of_many_connections_takes_nobody_elses_room() {
        assert_eq!(kept(0, &[(2, 1_001), (2, 1), (2, 1)]), Some(vec![0, 1, 1]));
        assert_eq!(kept(0, &[(2, 990), (2, 12), (2, 1)]), Some(vec![0, 12, 1]));
        assert_eq!(kept(0, &[(2, 900), (2, 50), (2, 900), (2, 3)]), Some(vec![900, 50, 0, 3]));
        assert_eq!(kept(6 << 20, &[(1 << 10, 2), (1 << 10, 1)]), Some(vec![0, 1]), "12 MiB and 6");
    }

    /// What is nobody's is kept too, and counts.
    ///
    /// Mutations: `keep_within_bounds`, `parts` from `MOST_PARTS` on, whatever the items; `bytes` likewise.
    #[test]
    fn all_that_is_kept_of_a_request_has_an_end() {
        let many = |first: usize, ones: usize| [vec![(2, first)], vec![(2, 1); ones]].concat();
        let whose = |kept: Option<Vec<usize>>| kept.and_then(|kept| kept.first().copied());
        assert_eq!(whose(kept(0, &many(901, 99))), Some(901));
        assert_eq!(whose(kept(0, &many(902, 99))), Some(0));
        assert_eq!(whose(kept(0, &many(900, 101))), Some(0));
        assert_eq!(kept(0, &many(1, 1_000)), None);
        assert_eq!(kept(MOST_BYTES / 2, &[(0, 2)]), Some(vec![2]));
        assert_eq!(kept(MOST_BYTES / 2, &[(1, 2)]), Some(vec![0]));
        assert_eq!(kept(MOST_BYTES / 2, &[(1, 1), (0, 1)]), None);
    }

    /// What is another header each time: proofs, marks of the way, and counts of tries.
    const EACH_TIME: [&str; 38] = [
        "x-signature-1",
        "x-time",
        "x-transmission",
        "b3",
        "Baggage",
        "CF-Ray",
        "Date",
        "Fastly-Client-IP",
        "Fly-Request-Id",
        "Forwarded",
        "newrelic",
        "sentry-trace",
        "traceparent",
        "tracestate",
        "True-Client-IP",
        "uber-trace-id",
        "Via",
        "X-Amz-Cf-Id",
        "X-Amzn-Trace-Id",
        "X-AppEngine-Request-Log-Id",
        "X-Azure-Ref",
        "X-B3-TraceId",
        "X-Client-IP",
        "X-Cloud-Trace-Context",
        "X-Cluster-Client-IP",
        "X-Correlation-Id",
        "x-datadog-trace-id",
        "x-envoy-peer-metadata-id",
        "X-Forwarded-For",
        "X-Original-Forwarded-For",
        "X-Queue-Start",
        "X-Real-IP",
        "X-Request-Id",
        "X-Request-Start",
        "x-vercel-id",
        "X-Slack-Retry-Num",
        "X-Retry-Count",
        "Webhook-Attempt",
    ];

    /// Mutations: `known_by`, without any of what is hashed: two that say something else are one while the first is not kept;
    /// with the signature, any mark of the way, the count of tries, or the token in the query: nothing is known again.
    #[tokio::test]
    async fn a_large_request_is_known_by_all_that_it_says_and_for_ten_minutes() {
        let (tenant, connection) = (TenantId::new(1), ConnectionId::new(1));
        let signed = json!({ "hmac": { "encoding": "hex", "header": "X-Signature-*", "timestamp_header": "X-Time" } });
        let asked = json!({ "postback": {
            "url": "https://api.example.com/", "headers": { "id": "X-Transmission" }, "body_field": "event",
            "expects": { "pointer": "/status", "equals": "SUCCESS" },
        } });
        let declared: Webhook = serde_json::from_value(json!({ "scheme": signed, "also": [asked] })).unwrap();
        let inbound = |topic: &str, sent: &str, body: &'static str| {
            let each_time = EACH_TIME.map(|name| (name, sent));
            let headers = [&each_time[..], &[("x-topic", topic)]].concat();
            let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            let [method, path, query] = ["POST", "/hooks/a", &format!("token={sent}")].map(str::to_owned);
            let body = Bytes::from_static(body.as_bytes());
            Arc::new(Inbound { method, path, path_token: None, query, headers, body })
        };
        let known_by = async |inbound: &Arc<Inbound>, parts: &[NewDelivery]| {
            super::known_by(&declared, inbound, parts).await.unwrap()
        };
        let part = |to: ConnectionId, key: Option<&str>, received_ms| NewDelivery {
            id: DeliveryId::new(received_ms),
            scope: Scope::Endpoint(connection),
            dedupe_key: key.map(str::to_owned),
            to: Some((tenant, to)),
            status: DeliveryStatus::Ignored,
            came: Arc::new(Came {
                method: String::new(),
                path: String::new(),
                query: String::new(),
                headers: received_ms.to_string(),
            }),
            body: Vec::new(),
            received_ms,
            runs: Vec::new(),
        };
        let parts = |to, key, received_ms| vec![part(to, key, received_ms); AT_ONCE + 1];
        let usual = inbound("created", "1", "[]");
        let unnamed = parts(connection, None, 1);
        let at = |method: &str, path: &str, query: &str| {
            let [method, path, query] = [method, path, query].map(str::to_owned);
            let came = Came { method, path, query, headers: "[]".to_owned() };
            let mut parts = unnamed.clone();
            parts[0].came = Arc::new(came);
            parts
        };
        let first = known_by(&usual, &unnamed).await.unwrap();
        let again = known_by(&inbound("created", "2", "[]"), &parts(connection, None, KNOWN_FOR_MS - 1)).await;
        assert_eq!(again.as_ref(), Some(&first));
        let others = [
            (Arc::clone(&usual), at("GET", "", "")),
            (Arc::clone(&usual), at("", "/hooks/b", "")),
            (Arc::clone(&usual), at("", "", "q")),
            (inbound("deleted", "1", "[]"), unnamed.clone()),
            (inbound("created", "1", "[1]"), unnamed.clone()),
            (Arc::clone(&usual), parts(ConnectionId::new(2), None, 1)),
            (Arc::clone(&usual), parts(connection, None, KNOWN_FOR_MS)),
        ];
        for (nth, (inbound, parts)) in others.iter().enumerate() {
            assert_ne!(known_by(inbound, parts).await.as_ref(), Some(&first), "{nth}");
        }
        assert_eq!(known_by(&usual, &parts(connection, Some("1"), 1)).await, None, "by their own");
        assert_eq!(known_by(&usual, &unnamed[1..]).await, None, "in one piece");
    }

    /// Mutations: `came`, with the token in the query; `proving_headers`, without any.
    #[test]
    fn what_proves_something_to_us_is_not_for_a_guest() {
        let in_query = json!({ "token": { "at": { "query": { "name": "t" } } } });
        let in_header = json!({ "token": { "at": { "header": { "name": "X-Token" } } } });
        let jwt =
            json!({ "header": "X-Jwt", "keys_url": "https://keys.example/", "issuers": [], "secret_claim": "email" });
        let signed = json!({ "jwt": jwt });
        let in_parts = json!({ "token": { "at": { "headers": { "names": ["X-Channel", "X-Part"] } } } });
        let declared = json!({ "scheme": in_query, "also": [in_header, signed, in_parts] });
        let declared: Webhook = serde_json::from_value(declared).unwrap();
        let proving = ["Authorization", "COOKIE", "proxy-authorization", "x-token", "x-jwt", "x-channel", "x-part"];
        let headers = proving.iter().chain(&["x-request"]).map(|name| ((*name).to_owned(), "v".to_owned())).collect();
        let [method, path, query] = ["POST", "/hooks/a", "a=1&t=secret&b=2"].map(str::to_owned);
        let inbound = Inbound { method, path, path_token: None, query, headers, body: Bytes::new() };
        let came = came(Some(&declared), &inbound);
        assert_eq!((came.headers.as_str(), came.query.as_str()), (r#"[["x-request","v"]]"#, "a=1&b=2"));
    }
}
