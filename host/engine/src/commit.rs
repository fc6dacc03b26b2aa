//! What an attempt leaves behind: one transaction, conditional on the run's fence.
//!
//! Outcome, state, events and their fan-out, records, links, cursor and journal become true together or not at all.
//! Whoever finds the fence gone writes nothing: somebody else has the run.

use bulkhead_manifest::{EventId, Failure, FailureKind, RunId, json_limits};
use bulkhead_runtime::{
    ActOutcome, ChangeOp, Event, External, Finished, Identity, Output, Page, Produced, PullMode, Pushed, Receipt,
};
use bulkhead_store::{
    AttemptEnd, ConnectionStatus, DeliveryStatus, EndState, Link, NewEvent, NewRecord, NewRun, Priority, Run, RunEnd,
    StoreError, TenantTx,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::Engine;
use crate::attempt::{End, Finish, Opened, Request};
use crate::fault::{EngineFault, json as text, stored};
use crate::mapping::RoutedCause;
use crate::ports::RunPorts;
use crate::references;
use crate::routes::Step;
use crate::settle::{Circumstances, Ended, Next, settle};

/// An event that came out of a run that came out of an event … may go on for so long.
const DEEPEST: u32 = 8;

/// Events of one run: each may set routes going, in the one transaction that commits it.
const MOST_EVENTS: usize = 1_000;
/// State of one connection, bytes.
const MOST_STATE: u64 = 64 << 20;
/// A run that asks to come back is not asked more often, nor left alone for longer.
const SOONEST_LATER_MS: u64 = 1_000;
const LATEST_LATER_MS: u64 = 7 * 86_400_000;
/// A run that is still not done by then never will be.
const LONGEST_LATER_MS: u64 = 30 * 86_400_000;

/// What a run amounts to, before it is written.
enum Verdict {
    Ended { state: EndState, output: Option<String>, failure: Option<Failure> },
    Again { at_ms: u64, failure: Failure, supersede_from: Option<u32> },
    Parked { at_ms: u64, resume: String },
}

impl Engine {
    /// Commits an attempt. A lost fence is no error: the run is somebody else's.
    pub(crate) async fn commit_end(
        &self,
        opened: &Opened,
        ports: &RunPorts,
        finish: Finish,
    ) -> Result<(), EngineFault> {
        let result = self.write_end(opened, ports, finish).await;
        match result {
            Ok(true) => {
                // Nobody may be listening; that is fine.
                let _ = self.inner.ended.send(opened.run.id);
                self.inner.wake.notify_one();
                Ok(())
            }
            Ok(false) | Err(EngineFault::Store(StoreError::LeaseLost { .. })) => {
                tracing::info!(run.id = %opened.run.id, "the claim was lost; nothing was written");
                Ok(())
            }
            Err(fault) => Err(fault),
        }
    }

    async fn write_end(&self, opened: &Opened, ports: &RunPorts, finish: Finish) -> Result<bool, EngineFault> {
        let run = &opened.run;
        let mut tx = self.inner.store.tenant(run.tenant).await?;
        tx.record_answers(&run.lease(), &ports.unflushed()).await?;
        let verdict = match finish.end {
            End::Abandoned => return Ok(false),
            // One record was pushed, so its failure is the run's.
            End::Produced(Produced::Pushed(pushed)) if matches!(pushed.as_slice(), [Pushed::Failed(_)]) => {
                let failure = pushed.into_iter().find_map(|one| match one {
                    Pushed::Failed(failure) => Some(failure),
                    Pushed::Stored(_) | Pushed::Conflict(_) => None,
                });
                self.after(opened, ports, Ended::Failed(failure.ok_or_else(nothing_pushed)?))
            }
            End::Produced(produced) => match self.veto(&mut tx, opened, &produced, finish.finished.as_ref()).await? {
                Some(failure) => self.after(opened, ports, Ended::Broke(failure)),
                None => {
                    self.write_state(&mut tx, opened, finish.finished.as_ref()).await?;
                    self.write_produced(&mut tx, opened, produced).await?
                }
            },
            End::Not(ended) => self.after(opened, ports, ended),
        };
        if let Verdict::Ended { failure: Some(failure), .. } = &verdict
            && failure.kind == FailureKind::Unauthorized
            && opened.connection.status == ConnectionStatus::Active
        {
            tx.set_connection_status(run.connection, ConnectionStatus::NeedsReauthorization, self.now_ms()).await?;
        }
        self.start_over(&mut tx, opened, &verdict).await?;
        self.write_verdict(&mut tx, opened, verdict, finish.finished.as_ref()).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Where there is nothing to go on from, a stream is pulled from its start.
    async fn start_over(&self, tx: &mut TenantTx, opened: &Opened, verdict: &Verdict) -> Result<(), EngineFault> {
        let Request::Pull { stream, mode: PullMode::Incremental, limit } = &opened.request else { return Ok(()) };
        let Verdict::Ended { failure: Some(failure), .. } = verdict else { return Ok(()) };
        if failure.kind != FailureKind::CursorExpired {
            return Ok(());
        }
        let request = Request::Pull { stream: stream.clone(), mode: PullMode::Full, limit: *limit };
        self.follow(tx, opened, request, format!("pull/{stream}"), json!({ "run": opened.run.id })).await
    }

    fn after(&self, opened: &Opened, ports: &RunPorts, ended: Ended) -> Verdict {
        let run = &opened.run;
        let circumstances = Circumstances {
            attempt: run.attempt,
            now_ms: self.now_ms(),
            deadline_ms: run.deadline_ms,
            waiting: run.waiting,
            dice: u32::from_le_bytes(bulkhead_vault::random()),
            backoff: self.inner.config.backoff,
        };
        let ended_as = |state, failure| Verdict::Ended { state, output: None, failure: Some(failure) };
        match settle(ended, &ports.steps(), &circumstances) {
            Next::Retry { at_ms, failure, supersede_from } => Verdict::Again { at_ms, failure, supersede_from },
            Next::Fail(failure) if failure.kind == FailureKind::Other("cancelled".to_owned()) => {
                ended_as(EndState::Cancelled, failure)
            }
            Next::Fail(failure) => ended_as(EndState::Failed, failure),
            Next::Uncertain(failure) => ended_as(EndState::Uncertain, failure),
        }
    }

    /// What may not be committed, whatever the guest did to get there.
    async fn veto(
        &self,
        tx: &mut TenantTx,
        opened: &Opened,
        produced: &Produced,
        finished: Option<&Finished>,
    ) -> Result<Option<Failure>, EngineFault> {
        let refused = |code: &str, message: String| {
            let failure = Failure::new(FailureKind::Other(code.to_owned()), message);
            Ok(Some(Failure { code: Some(code.to_owned()), ..failure }))
        };
        let events = events_of(produced);
        if events.len() > MOST_EVENTS {
            let message = format!("It reported {} events; at most {MOST_EVENTS} are taken from one run.", events.len());
            return refused("event-limit", message);
        }
        if let Some(event) = events.iter().find(|event| opened.known.event(&event.name).is_none()) {
            let message = format!("It reported the event {:?}, which its descriptor does not list.", event.name);
            return refused("bad-output", message);
        }
        if self.state_after(tx, opened, finished).await? > MOST_STATE {
            let message =
                format!("Its state would take more than {} MiB. Remove what is no longer needed.", MOST_STATE >> 20);
            return refused("state-size-limit", message);
        }
        Ok(None)
    }

    /// What the connection's state will take, in bytes; 0 where the run writes none.
    async fn state_after(
        &self,
        tx: &mut TenantTx,
        opened: &Opened,
        finished: Option<&Finished>,
    ) -> Result<u64, EngineFault> {
        let (run, writes) =
            (&opened.run, finished.map(|finished| finished.state_writes.as_slice()).unwrap_or_default());
        if writes.iter().all(|(_, value)| value.is_none()) {
            return Ok(0);
        }
        let lane = run.ordering_key.as_deref().unwrap_or_default();
        let (mut before, mut added) = (tx.state_bytes(run.connection).await?, 0);
        for (key, value) in writes {
            let size = |value: &String| (key.len() + value.len()) as u64;
            added += value.as_ref().map_or(0, size);
            let replaced = tx.state(run.connection, lane, key).await?;
            before = before.saturating_sub(replaced.as_ref().map_or(0, size));
        }
        Ok(before.saturating_add(added))
    }

    async fn write_state(
        &self,
        tx: &mut TenantTx,
        opened: &Opened,
        finished: Option<&Finished>,
    ) -> Result<(), EngineFault> {
        let run = &opened.run;
        let key = run.ordering_key.as_deref().unwrap_or_default();
        for (name, value) in finished.iter().flat_map(|finished| &finished.state_writes) {
            tx.put_state(run.connection, key, name, value.as_deref(), self.now_ms()).await?;
        }
        Ok(())
    }

    async fn write_produced(
        &self,
        tx: &mut TenantTx,
        opened: &Opened,
        produced: Produced,
    ) -> Result<Verdict, EngineFault> {
        let succeeded =
            |output: String| Verdict::Ended { state: EndState::Succeeded, output: Some(output), failure: None };
        Ok(match produced {
            Produced::Acted(ActOutcome::Done(Output { value, events })) => {
                self.write_events(tx, opened, events).await?;
                succeeded(value)
            }
            Produced::Acted(ActOutcome::Partial { output, failures }) => {
                self.write_events(tx, opened, output.events).await?;
                let failure = failures.into_iter().next();
                Verdict::Ended { state: EndState::Partial, output: Some(output.value), failure }
            }
            Produced::Acted(ActOutcome::Later { after_ms, state }) => {
                if self.now_ms().saturating_sub(opened.run.created_ms) > LONGEST_LATER_MS {
                    let message = "It asked to come back once more after thirty days, and is not asked again.";
                    let failure = Failure::new(FailureKind::Other("never-done".to_owned()), message);
                    return Ok(Verdict::Ended { state: EndState::Failed, output: None, failure: Some(failure) });
                }
                let after_ms = after_ms.clamp(SOONEST_LATER_MS, LATEST_LATER_MS);
                Verdict::Parked { at_ms: self.now_ms().saturating_add(after_ms), resume: state }
            }
            Produced::Identity(identity) => {
                self.write_account(tx, opened, &identity).await?;
                succeeded(
                    json!({ "id": identity.id, "label": identity.label, "details": parsed(&identity.details) })
                        .to_string(),
                )
            }
            Produced::Receipt(receipt) => succeeded(self.write_receipt(tx, opened, receipt).await?),
            Produced::Page(page) => succeeded(self.write_page(tx, opened, page).await?),
            Produced::Pushed(pushed) => self.write_pushed(tx, opened, pushed).await?,
            Produced::Described(_) | Produced::Registered(_) | Produced::Unregistered => succeeded("null".to_owned()),
        })
    }

    async fn write_account(&self, tx: &mut TenantTx, opened: &Opened, identity: &Identity) -> Result<(), EngineFault> {
        let Some(account) = &opened.connection.account else { return Ok(()) };
        let mut account: Value = stored("a connection's account", account)?;
        if let Some(fields) = account.as_object_mut() {
            fields.insert("label".to_owned(), Value::String(identity.label.clone()));
            fields.insert("details".to_owned(), parsed(&identity.details));
        }
        let key = opened.connection.account_key.as_deref();
        Ok(tx.set_connection_account(opened.run.connection, Some(&account.to_string()), key, self.now_ms()).await?)
    }

    async fn write_receipt(&self, tx: &mut TenantTx, opened: &Opened, receipt: Receipt) -> Result<String, EngineFault> {
        let summary = json!({ "events": receipt.events.len(), "pulls": receipt.pulls, "reply": receipt.reply.as_ref().map(|r| r.status) });
        if let Request::Receive { delivery } = &opened.request
            && receipt.events.is_empty()
            && receipt.pulls.is_empty()
        {
            tx.set_delivery_status(*delivery, DeliveryStatus::Ignored).await?;
        }
        for stream in receipt.pulls {
            if opened.known.stream(&stream).is_some_and(|spec| spec.pull) {
                let request = Request::Pull { stream: stream.clone(), mode: PullMode::Incremental, limit: 100 };
                let cause = json!({ "run": opened.run.id });
                self.follow(tx, opened, request, format!("pull/{stream}"), cause).await?;
            }
        }
        self.write_events(tx, opened, receipt.events).await?;
        Ok(summary.to_string())
    }

    /// A run that this one asks for, in the background.
    async fn follow(
        &self,
        tx: &mut TenantTx,
        opened: &Opened,
        request: Request,
        lane: String,
        cause: Value,
    ) -> Result<(), EngineFault> {
        let new =
            NewRun { cause: cause.to_string(), ..self.new_run(&opened.connection, request, None, Some(lane), false) };
        tx.enqueue(&new).await?;
        Ok(())
    }

    async fn write_events(&self, tx: &mut TenantTx, opened: &Opened, events: Vec<Event>) -> Result<(), EngineFault> {
        for event in events {
            self.write_event(tx, opened, event).await?;
        }
        Ok(())
    }

    async fn write_event(&self, tx: &mut TenantTx, opened: &Opened, event: Event) -> Result<(), EngineFault> {
        let (run, now_ms) = (&opened.run, self.now_ms());
        let data = parsed(&event.data);
        let schema = opened.known.event(&event.name).map(|spec| spec.data.clone()).unwrap_or_default();
        let found = references::find(&schema, &data);
        let mut ours = Vec::with_capacity(found.len());
        for reference in &found {
            let link = tx.link_of_external(run.connection, &reference.stream, &reference.id).await?;
            ours.push((reference, link.map(|link| link.record_id)));
        }
        let depth = depth(run) + 1;
        let new = NewEvent {
            id: EventId::new(now_ms),
            connection: run.connection,
            key: event.id,
            name: event.name,
            subject: event.subject,
            data: event.data,
            refs: references::mirror(ours).to_string(),
            run: Some(run.id),
            created_ms: now_ms,
            depth,
        };
        if tx.insert_event(&new).await? {
            self.fan_out(tx, &new).await?;
        }
        Ok(())
    }

    /// One run for each step of each route that the event has; a unique row makes each happen once.
    async fn fan_out(&self, tx: &mut TenantTx, event: &NewEvent) -> Result<(), EngineFault> {
        if event.depth > DEEPEST {
            tracing::warn!(event.id = %event.id, depth = event.depth, "an event of an event of an event: routes are not followed any further");
            return Ok(());
        }
        let now_ms = self.now_ms();
        for route in tx.routes_for(event.connection, &event.name).await? {
            let steps: Vec<Step> = stored("a route's steps", &route.steps)?;
            for (step, wanted) in (0u32..).zip(steps) {
                let cause =
                    RoutedCause { event: event.id, route: route.id, step, mapping: wanted.mapping, depth: event.depth };
                let id = RunId::new(now_ms);
                let run = NewRun {
                    id,
                    connection: wanted.connection,
                    ordering_key: None,
                    operation: "act".to_owned(),
                    target: wanted.action,
                    input: String::new(),
                    priority: Priority::Webhook,
                    created_ms: now_ms,
                    run_at_ms: now_ms,
                    deadline_ms: now_ms + self.inner.config.background_deadline_ms,
                    root: format!("{}/{}/{}/{step}", event.connection, event.key, route.id),
                    cause: text(&cause),
                    dedupe_key: None,
                    seed: Vec::new(),
                    clock_ms: now_ms,
                    waiting: false,
                };
                tx.fan_out(event.id, route.id, step, &run).await?;
            }
        }
        Ok(())
    }

    async fn write_page(&self, tx: &mut TenantTx, opened: &Opened, page: Page) -> Result<String, EngineFault> {
        let Request::Pull { stream, mode, limit } = &opened.request else {
            return Err(EngineFault::damaged("a run", "a page for something else than a pull"));
        };
        let (run, now_ms) = (&opened.run, self.now_ms());
        let pulled = page.changes.len();
        for (external, change) in page.changes {
            self.write_change(tx, opened, stream, external, change).await?;
        }
        if let Some(next) = &page.next {
            tx.put_cursor(run.connection, stream, Some(next), now_ms).await?;
        }
        if page.more && pulled > 0 {
            let request = Request::Pull { stream: stream.clone(), mode: *mode, limit: *limit };
            let cause = json!({ "page": run.id });
            self.follow(tx, opened, request, format!("pull/{stream}"), cause).await?;
        }
        Ok(json!({ "changes": pulled, "more": page.more }).to_string())
    }

    async fn write_change(
        &self,
        tx: &mut TenantTx,
        opened: &Opened,
        stream: &str,
        external: External,
        change: ChangeOp,
    ) -> Result<(), EngineFault> {
        let (connection, now_ms) = (opened.run.connection, self.now_ms());
        let link = tx.link_of_external(connection, stream, &external.id).await?;
        let id = match &link {
            Some(link) => link.record_id.clone(),
            None if tx.record(connection, stream, &external.id).await?.is_none() => external.id.clone(),
            None => format!("{}-{}", external.id, RunId::new(now_ms)),
        };
        let ChangeOp::Upsert(data) = change else {
            tx.delete_record(connection, stream, &id, now_ms).await?;
            return Ok(());
        };
        let hash: [u8; 32] = Sha256::digest(data.as_bytes()).into();
        let origin = "pull".to_owned();
        tx.put_record(&NewRecord {
            connection,
            stream: stream.to_owned(),
            id: id.clone(),
            data,
            hash,
            origin,
            updated_ms: now_ms,
        })
        .await?;
        let link = Link {
            connection,
            stream: stream.to_owned(),
            record_id: id,
            external_id: external.id,
            external_version: external.version,
            hash: Some(hash),
            updated_ms: now_ms,
        };
        Ok(tx.put_link(&link).await?)
    }

    async fn write_pushed(
        &self,
        tx: &mut TenantTx,
        opened: &Opened,
        pushed: Vec<Pushed>,
    ) -> Result<Verdict, EngineFault> {
        let Request::Push { stream, record } = &opened.request else {
            return Err(EngineFault::damaged("a run", "a push's answer for something else than a push"));
        };
        let (connection, now_ms) = (opened.run.connection, self.now_ms());
        let failed = |failure| Verdict::Ended { state: EndState::Failed, output: None, failure: Some(failure) };
        match pushed.into_iter().next() {
            Some(Pushed::Stored(external)) => {
                let hash = tx.record(connection, stream, record).await?.map(|row| row.hash);
                let link = Link {
                    connection,
                    stream: stream.clone(),
                    record_id: record.clone(),
                    external_id: external.id.clone(),
                    external_version: external.version.clone(),
                    hash,
                    updated_ms: now_ms,
                };
                tx.put_link(&link).await?;
                let output = json!({ "id": external.id, "version": external.version }).to_string();
                Ok(Verdict::Ended { state: EndState::Succeeded, output: Some(output), failure: None })
            }
            Some(Pushed::Conflict(theirs)) => {
                let message =
                    format!("{stream} {record}: somebody changed it at the provider. Look at both and push again.");
                let details = theirs.as_deref().map(parsed);
                Ok(failed(Failure { details, ..Failure::new(FailureKind::Conflict, message) }))
            }
            Some(Pushed::Failed(_)) | None => Err(nothing_pushed()),
        }
    }

    async fn write_verdict(
        &self,
        tx: &mut TenantTx,
        opened: &Opened,
        verdict: Verdict,
        finished: Option<&Finished>,
    ) -> Result<(), EngineFault> {
        let lease = opened.run.lease();
        let attempt = |outcome: &str, failure: Option<&Failure>| self.attempt_end(opened, outcome, failure, finished);
        match verdict {
            Verdict::Ended { state, output, failure } => {
                let attempt = attempt(state.as_str(), failure.as_ref());
                let end = RunEnd { state, output, failure: failure.as_ref().map(text), attempt };
                tx.finish_run(&lease, &end).await?;
            }
            Verdict::Again { at_ms, failure, supersede_from } => {
                if let Some(seq) = supersede_from {
                    tx.supersede_from(&lease, seq).await?;
                }
                tx.reschedule_run(&lease, at_ms, &attempt("retry", Some(&failure))).await?;
            }
            Verdict::Parked { at_ms, resume } => {
                tx.park_run(&lease, at_ms, &resume, &attempt("later", None)).await?;
            }
        }
        Ok(())
    }

    fn attempt_end(
        &self,
        opened: &Opened,
        outcome: &str,
        failure: Option<&Failure>,
        finished: Option<&Finished>,
    ) -> AttemptEnd {
        AttemptEnd {
            ended_ms: self.now_ms(),
            outcome: outcome.to_owned(),
            failure: failure.map(text),
            log: finished.map_or_else(|| "[]".to_owned(), |finished| text(&finished.logs)),
            logs_dropped: finished.map_or(0, |finished| finished.logs_dropped),
            version: Some(opened.known.row.id),
            usage: finished.map_or_else(|| "null".to_owned(), |finished| text(&finished.usage)),
        }
    }
}

fn nothing_pushed() -> EngineFault {
    EngineFault::damaged("a push's answer", "it is not one for one record")
}

fn events_of(produced: &Produced) -> &[Event] {
    match produced {
        Produced::Acted(ActOutcome::Done(output) | ActOutcome::Partial { output, .. }) => &output.events,
        Produced::Receipt(receipt) => &receipt.events,
        _ => &[],
    }
}

/// How many events deep the run's own cause is.
fn depth(run: &Run) -> u32 {
    serde_json::from_str::<RoutedCause>(&run.cause).map_or(0, |cause| cause.depth)
}

/// JSON that the runtime has checked already.
fn parsed(json: &str) -> Value {
    debug_assert!(json_limits::check_depth(json, json_limits::MAX_DEPTH).is_ok());
    serde_json::from_str(json).unwrap_or(Value::Null)
}
