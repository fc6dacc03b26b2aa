//! Webhooks: what waits to be sent, in which manner it is sent, and what the receiver answered.
//!
//! **Invariants.** A notice is sent to an endpoint as often as the plan says and never on its own again. Every
//! delivery is recorded, also one that failed. Signing happens at the moment of sending, with the secrets valid then.
//!
//! **To extend.** A provider's wire format is one [`Format`].

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::clock::{Clock, wall_micros};
use super::delivery_plan::{DeliveryPlan, Signature};
use super::delivery_record::DeliveryRecord;
use super::lock::Lock;
use super::post::Post;

/// Something that happened and that an endpoint wants to know.
#[derive(Debug)]
pub(crate) struct Notice {
    pub(crate) id: String,
    pub(crate) payload: Value,
}

/// Where notices go.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) url: String,
    /// The secrets valid now: several while one is rolled.
    pub(crate) secrets: Vec<String>,
    pub(crate) format: &'static Format,
    /// Provider-specific: the API version a Stripe endpoint was created with.
    pub(crate) version: String,
}

/// How a provider writes and signs a webhook.
#[derive(Debug)]
pub(crate) struct Format {
    pub(crate) content_type: &'static str,
    pub(crate) user_agent: &'static str,
    pub(crate) largest_batch: usize,
    pub(crate) patience: Duration,
    pub(crate) compose: fn(&[Arc<Notice>], &Endpoint) -> Vec<u8>,
    pub(crate) sign: Sign,
}

/// The name and the value of the signature header, from the secrets, the unix time and the body.
type Sign = fn(&[String], i64, &[u8]) -> (&'static str, String);

type Addressed = (String, Arc<Notice>);

#[derive(Debug)]
pub(crate) struct Deliveries {
    post: Post,
    clock: Arc<Clock>,
    endpoints: Lock<BTreeMap<String, Endpoint>>,
    desk: Lock<Desk>,
    /// Changes whenever the desk does.
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Desk {
    held: bool,
    plan: DeliveryPlan,
    waiting: Vec<Addressed>,
    /// How many rounds of deliveries are under way.
    rounds: usize,
    archive: Vec<Addressed>,
    attempts: HashMap<(String, String), u32>,
    records: Vec<DeliveryRecord>,
}

/// Notices taken to be sent. It counts as under way until it is dropped, sent or not.
struct Round<'a> {
    deliveries: &'a Deliveries,
    notices: Vec<Addressed>,
}

impl Drop for Round<'_> {
    fn drop(&mut self) {
        self.deliveries.desk.get().rounds -= 1;
        self.deliveries.changed.send_replace(());
    }
}

/// One body on its way to one endpoint.
struct Batch {
    endpoint: String,
    notices: Vec<Arc<Notice>>,
}

impl Deliveries {
    pub(crate) fn new(clock: Arc<Clock>) -> Self {
        let changed = watch::Sender::new(());
        Self { post: Post::default(), clock, endpoints: Lock::default(), desk: Lock::default(), changed }
    }

    /// Sends what is emitted as soon as it is emitted, unless deliveries are held.
    pub(crate) fn start(self: &Arc<Self>) -> JoinHandle<()> {
        let this = self.clone();
        tokio::spawn(async move {
            let mut changed = this.changed.subscribe();
            loop {
                if let Some((round, plan)) = this.take_unheld() {
                    this.run(round, &plan).await;
                } else if changed.changed().await.is_err() {
                    return;
                }
            }
        })
    }

    pub(crate) fn set_endpoint(&self, id: &str, endpoint: Endpoint) {
        self.endpoints.get().insert(id.to_owned(), endpoint);
    }

    pub(crate) fn edit_endpoint(&self, id: &str, edit: impl FnOnce(&mut Endpoint)) -> bool {
        self.endpoints.get().get_mut(id).map(edit).is_some()
    }

    pub(crate) fn has_endpoint(&self, id: &str) -> bool {
        self.endpoints.get().contains_key(id)
    }

    pub(crate) fn remove_endpoint(&self, id: &str) {
        self.endpoints.get().remove(id);
    }

    pub(crate) fn emit(&self, endpoint: &str, notice: Arc<Notice>) {
        self.desk.get().waiting.push((endpoint.to_owned(), notice));
        self.changed.send_replace(());
    }

    pub(crate) fn set_held(&self, held: bool) {
        self.desk.get().held = held;
        self.changed.send_replace(());
    }

    pub(crate) fn set_plan(&self, plan: DeliveryPlan) {
        self.desk.get().plan = plan;
    }

    /// The events that have not been sent yet.
    pub(crate) fn waiting(&self) -> Vec<String> {
        self.desk.get().waiting.iter().map(|(_, notice)| notice.id.clone()).collect()
    }

    /// Forgets what waits, as if the provider had lost it.
    pub(crate) fn discard_waiting(&self) -> usize {
        let discarded = std::mem::take(&mut self.desk.get().waiting).len();
        self.changed.send_replace(());
        discarded
    }

    pub(crate) async fn deliver_all(&self, plan: &DeliveryPlan) -> Vec<DeliveryRecord> {
        self.run(self.take(std::mem::take), plan).await
    }

    /// Sends these events, whether they wait or were sent before.
    pub(crate) async fn deliver(&self, ids: &[String], plan: &DeliveryPlan) -> Vec<DeliveryRecord> {
        let wanted = |notice: &Notice| ids.contains(&notice.id);
        let repeated: Vec<Addressed> = {
            let desk = self.desk.get();
            desk.archive.iter().filter(|(_, notice)| wanted(notice)).cloned().collect()
        };
        let mut chosen = self.take(|waiting| waiting.extract_if(.., |(_, notice)| wanted(notice)).collect());
        chosen.notices.extend(repeated);
        self.run(chosen, plan).await
    }

    /// Sends again whatever an endpoint has not accepted at its last attempt.
    pub(crate) async fn redeliver_failed(&self) -> Vec<DeliveryRecord> {
        let mut round = self.take(|_| Vec::new());
        round.notices = {
            let desk = self.desk.get();
            let mut last = HashMap::new();
            for record in &desk.records {
                for event in &record.events {
                    last.insert((record.endpoint.as_str(), event.as_str()), record.accepted());
                }
            }
            let refused =
                |(endpoint, notice): &&Addressed| last.get(&(endpoint.as_str(), notice.id.as_str())) == Some(&false);
            desk.archive.iter().filter(refused).cloned().collect()
        };
        self.run(round, &DeliveryPlan::default()).await
    }

    pub(crate) fn records(&self) -> Vec<DeliveryRecord> {
        self.desk.get().records.clone()
    }

    /// Waits until nothing is under way and nothing waits that is not held.
    pub(crate) async fn settled(&self) {
        let mut changed = self.changed.subscribe();
        loop {
            {
                let desk = self.desk.get();
                if desk.rounds == 0 && (desk.held || desk.waiting.is_empty()) {
                    return;
                }
            }
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    fn take_unheld(&self) -> Option<(Round<'_>, DeliveryPlan)> {
        let plan = {
            let desk = self.desk.get();
            (!desk.held && !desk.waiting.is_empty()).then(|| desk.plan.clone())
        }?;
        Some((self.take(std::mem::take), plan))
    }

    /// Moves notices from waiting into the archive.
    fn take(&self, choose: impl FnOnce(&mut Vec<Addressed>) -> Vec<Addressed>) -> Round<'_> {
        let mut desk = self.desk.get();
        let notices = choose(&mut desk.waiting);
        desk.archive.extend(notices.iter().cloned());
        desk.rounds += 1;
        Round { deliveries: self, notices }
    }

    async fn run(&self, mut round: Round<'_>, plan: &DeliveryPlan) -> Vec<DeliveryRecord> {
        let notices = std::mem::take(&mut round.notices);
        let batches = self.batches(plan.arranged(notices, |(_, notice)| &notice.id), plan);
        let sends = batches.into_iter().map(|batch| self.send(batch, &plan.signature));
        futures::stream::iter(sends).buffered(plan.concurrency.max(1)).collect().await
    }

    /// Groups neighbours that go to the same endpoint, as far as its format and the plan allow.
    fn batches(&self, notices: Vec<Addressed>, plan: &DeliveryPlan) -> Vec<Batch> {
        let endpoints = self.endpoints.get();
        let mut batches: Vec<Batch> = Vec::new();
        for (endpoint, notice) in notices {
            let largest = endpoints.get(&endpoint).map_or(1, |known| known.format.largest_batch).min(plan.batch);
            match batches.last_mut() {
                Some(last) if last.endpoint == endpoint && last.notices.len() < largest => last.notices.push(notice),
                _ => batches.push(Batch { endpoint, notices: vec![notice] }),
            }
        }
        batches
    }

    async fn send(&self, batch: Batch, signature: &Signature) -> DeliveryRecord {
        let endpoint = self.endpoints.get().get(&batch.endpoint).cloned();
        let mut record = self.begin(&batch, signature);
        if let Some(endpoint) = endpoint {
            let body = (endpoint.format.compose)(&batch.notices, &endpoint);
            record.headers = self.headers(&endpoint, signature, &body);
            record.url.clone_from(&endpoint.url);
            record.body = String::from_utf8_lossy(&body).into_owned();
            let patience = endpoint.format.patience;
            let posted = self.post.post(&endpoint.url, &record.headers, Bytes::from(body), patience).await;
            record.last_byte_sent_at_us = posted.last_byte_sent_at_us;
            record.answered_at_us = posted.answered_at_us;
            match posted.outcome {
                Ok((status, answer)) => (record.status, record.answer) = (Some(status), answer),
                Err(reason) => record.error = Some(reason),
            }
        } else {
            record.error = Some("the endpoint was deleted".to_owned());
        }
        self.finish(record)
    }

    fn begin(&self, batch: &Batch, signature: &Signature) -> DeliveryRecord {
        let mut desk = self.desk.get();
        let mut attempt = 0;
        for notice in &batch.notices {
            let attempts = desk.attempts.entry((batch.endpoint.clone(), notice.id.clone())).or_default();
            *attempts += 1;
            attempt = attempt.max(*attempts);
        }
        DeliveryRecord {
            number: 0,
            events: batch.notices.iter().map(|notice| notice.id.clone()).collect(),
            endpoint: batch.endpoint.clone(),
            url: String::new(),
            attempt,
            signature: signature.clone(),
            headers: Vec::new(),
            body: String::new(),
            started_at_us: wall_micros(),
            last_byte_sent_at_us: None,
            answered_at_us: None,
            status: None,
            answer: String::new(),
            error: None,
        }
    }

    fn finish(&self, mut record: DeliveryRecord) -> DeliveryRecord {
        let mut desk = self.desk.get();
        record.number = desk.records.len() as u64 + 1;
        desk.records.push(record.clone());
        record
    }

    fn headers(&self, endpoint: &Endpoint, signature: &Signature, body: &[u8]) -> Vec<(String, String)> {
        let format = endpoint.format;
        let mut headers = vec![
            ("content-type".to_owned(), format.content_type.to_owned()),
            ("user-agent".to_owned(), format.user_agent.to_owned()),
            ("accept".to_owned(), "*/*".to_owned()),
        ];
        let now = self.clock.seconds();
        let strangers_secret = ["a secret that was never given out".to_owned()];
        let signed = match signature {
            Signature::Missing => None,
            Signature::Valid => Some((format.sign)(&endpoint.secrets, now, body)),
            Signature::Old { seconds } => Some((format.sign)(&endpoint.secrets, now - seconds, body)),
            Signature::Wrong => Some((format.sign)(&strangers_secret, now, body)),
        };
        headers.extend(signed.map(|(name, value)| (name.to_owned(), value)));
        headers
    }
}
