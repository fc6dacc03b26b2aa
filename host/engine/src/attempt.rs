//! One attempt of one claimed run, from the claim to the commit.
//!
//! Invariants:
//! - Whoever holds the claim either commits under its fence or writes nothing. From the claim to the commit somebody
//!   says that it is held; a lease that cannot be held stops the guest.
//! - An attempt that meets a fault of the host ends like any other, with a typed failure: no data, and nothing that is
//!   missing on this machine, makes a run that never ends.
//!
//! To add an operation: a case of [`Request`], its `Operation` in `asked`, and what becomes of its answer in `commit`.

mod asked;
mod ended;
mod held;
mod opening;
mod pinned;
mod probe;
mod request;

use std::sync::Arc;
use std::time::Duration;

use bulkhead_store::{Connection, Run};

pub(crate) use self::asked::begins_at;
pub(crate) use self::ended::{End, Finish};
use self::held::Claim;
pub(crate) use self::probe::LONGEST_PROBE_MS;
pub(crate) use self::request::{Request, Sends, pushes_unlinked};
use crate::Engine;
use crate::fault::EngineFault;
use crate::ports::RunPorts;
use crate::versions::Known;

/// A run with everything it needs around it.
pub(crate) struct Opened {
    pub run: Run,
    pub connection: Connection,
    pub known: Arc<Known>,
    pub request: Request,
}

impl Engine {
    /// Carries one claimed run as far as this attempt gets.
    pub(crate) async fn attempt(&self, run: Run) -> Result<(), EngineFault> {
        let claim = self.held_from_now(run.lease());
        // What holds the claim goes with its `select!`. A heartbeat that is not polled any more, but still there, would keep
        // its turn at the store, and the commit would wait for it.
        let opened = tokio::select! {
            opened = self.open(run.clone()) => opened.unwrap_or_else(|fault| Err(Box::new(End::of_fault(&fault)))),
            end = self.hold(&claim) => Err(Box::new(end)),
        };
        let (opened, ports) = match opened {
            Ok(opened) => opened,
            Err(end) => return self.while_held(&claim, self.commit_unasked(&run, *end)).await,
        };
        let finish = tokio::select! {
            finish = self.guest(&opened, &ports) => finish.unwrap_or_else(|fault| Finish::blank(End::of_fault(&fault))),
            end = self.hold(&claim) => Finish::blank(end),
        };
        self.while_held(&claim, self.commit(&opened, &ports, finish)).await
    }

    async fn guest(&self, opened: &Opened, ports: &RunPorts) -> Result<Finish, EngineFault> {
        let operation = self.operation(opened).await?;
        let invocation = self.invocation(opened, operation, Arc::new(ports.clone())).await?;
        Ok(Finish::of(self.inner.runtime.invoke_here(invocation).await))
    }

    /// Commits what the attempt came to; where that cannot be written, why.
    async fn commit(&self, opened: &Opened, ports: &RunPorts, mut finish: Finish) -> Result<(), EngineFault> {
        let mut patience = Patience(FIRST_PAUSE);
        loop {
            match self.commit_end(opened, ports, finish.clone()).await {
                Err(fault) if patience.tries_again(&fault).await => {}
                Err(fault) if matches!(finish.end, End::Produced(_)) => finish.end = End::of_fault(&fault),
                done => return done,
            }
        }
    }

    /// Commits the end of an attempt that did not come to its guest.
    async fn commit_unasked(&self, run: &Run, end: End) -> Result<(), EngineFault> {
        let mut patience = Patience(FIRST_PAUSE);
        loop {
            match self.end_unasked(run, end.clone()).await {
                Err(fault) if patience.tries_again(&fault).await => {}
                done => return done,
            }
        }
    }

    /// Goes on as long as the claim is held. Once it is lost there is nothing to be written.
    async fn while_held(
        &self,
        claim: &Claim,
        work: impl Future<Output = Result<(), EngineFault>>,
    ) -> Result<(), EngineFault> {
        tokio::select! {
            done = work => done,
            () = self.hold_to_the_end(claim) => Ok(()),
        }
    }
}

/// The first pause between two tries to write the same; each next is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How long to wait before the same is written again. Who has it bounds the time.
struct Patience(Duration);

impl Patience {
    /// Whether writing the same again may help, after a pause that is made here.
    async fn tries_again(&mut self, fault: &EngineFault) -> bool {
        let EngineFault::Store(error) = fault else { return false };
        if !error.is_retryable() {
            return false;
        }
        tracing::warn!(%error, "the end of an attempt is written again");
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use bulkhead_store::{RunState, StoreError};

    use super::*;
    use crate::credentials::tests::provider::Provider;
    use crate::credentials::tests::world::{CODE, World};

    /// Nobody has taken it over yet, and somebody may at any moment.
    ///
    /// Mutations: host/engine/src/commit.rs, `write_end` or `write_unasked`, an end for what was abandoned.
    #[tokio::test]
    async fn what_was_abandoned_has_no_end() {
        let provider = Provider::new(|asked| asked.ok("fine")).await;
        let world = World::new(&provider, CODE).await;
        world.asks().await;
        let (engine, run) = (&world.engine, world.claims(1_000).await);
        let Ok((opened, ports)) = engine.open(run.clone()).await.unwrap() else { panic!("it is not begun") };
        engine.commit(&opened, &ports, Finish::blank(End::Abandoned)).await.unwrap();
        engine.commit_unasked(&run, End::Abandoned).await.unwrap();
        assert_eq!(engine.run_row(world.tenant, run.id).await.unwrap().state, RunState::Running);
    }

    /// Mutations: `tries_again`, never; whatever is wrong: for as long as the claim is held; after ever longer pauses.
    #[tokio::test(start_paused = true)]
    async fn what_may_be_written_a_moment_later_is_tried_again_and_nothing_else() {
        let mut patience = Patience(FIRST_PAUSE);
        for error in [StoreError::NotFound { what: "run" }, StoreError::NotDurable { reason: String::new() }] {
            assert!(!patience.tries_again(&error.into()).await);
        }
        assert!(!patience.tries_again(&EngineFault::damaged("a run", "it is")).await);
        assert_eq!(patience.0, FIRST_PAUSE);
        for _ in 0..20 {
            assert!(patience.tries_again(&StoreError::Busy { waited_ms: 1 }.into()).await);
        }
        assert_eq!(patience.0, LONGEST_PAUSE);
    }
}
