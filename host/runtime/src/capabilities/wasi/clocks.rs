//! `wasi:clocks` over the run's virtual clock, and `wasi:io/poll`, which is where a guest waits for it.
//!
//! Invariant: which pollables are ready depends on virtual time and on answers alone. Streams are always ready; a timer is
//! ready once the clock has reached its deadline. A guest that waits while nothing is ready has its requests sent
//! (`wasi:http`), which moves the clock. If there are none, it really waits until the earliest deadline (a replay's ports
//! may skip that), then the clock stands exactly there, however late the host's own timer was.

use std::sync::Arc;
use std::task::Poll;

use futures::future::{poll_fn, poll_immediate};
use tokio::task::unconstrained;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};
use wasmtime_wasi_io::bindings::wasi::io::poll;

use crate::guest::{GuestState, Outside};

const NS_PER_SECOND: u64 = 1_000_000_000;
/// Answers carry milliseconds.
const RESOLUTION_NS: u32 = 1_000_000;

impl wall_clock::Host for GuestState {
    fn now(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        let now = self.outside.clock.now_ns();
        let nanoseconds = u32::try_from(now % NS_PER_SECOND)?;
        Ok(wall_clock::Datetime { seconds: now / NS_PER_SECOND, nanoseconds })
    }

    fn resolution(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        Ok(wall_clock::Datetime { seconds: 0, nanoseconds: RESOLUTION_NS })
    }
}

impl monotonic_clock::Host for GuestState {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(self.outside.clock.now_ns())
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(u64::from(RESOLUTION_NS))
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let timer = self.table.push(Timer { deadline_ns: when, outside: Arc::clone(&self.outside) })?;
        subscribe(&mut self.table, timer)
    }

    fn subscribe_duration(&mut self, duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let when = self.outside.clock.now_ns().saturating_add(duration);
        monotonic_clock::Host::subscribe_instant(self, when)
    }
}

/// A moment of the virtual clock.
struct Timer {
    deadline_ns: u64,
    outside: Arc<Outside>,
}

#[wasmtime_wasi::async_trait]
impl Pollable for Timer {
    /// Never wakes by itself: whoever polls it reads the wish it leaves and moves the clock.
    async fn ready(&mut self) {
        poll_fn(|_| {
            if self.outside.clock.now_ns() >= self.deadline_ns {
                return Poll::Ready(());
            }
            self.outside.clock.wish(self.deadline_ns);
            Poll::Pending
        })
        .await;
    }
}

impl poll::Host for GuestState {
    async fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        loop {
            self.outside.clock.forget_wishes();
            let again = pollables.iter().map(|pollable| Resource::new_borrow(pollable.rep())).collect();
            // Nothing may look as if it were not ready only because this task has had its turn.
            if let Some(ready) = poll_immediate(unconstrained(poll::Host::poll(&mut self.table, again))).await {
                return ready;
            }
            if !self.send_taken().await? {
                self.wait_for_earliest_timer().await?;
            }
        }
    }
}

impl poll::HostPollable for GuestState {
    async fn ready(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<bool> {
        unconstrained(poll::HostPollable::ready(&mut self.table, pollable)).await
    }

    async fn block(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        poll::Host::poll(self, vec![pollable]).await.map(|_| ())
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        poll::HostPollable::drop(&mut self.table, pollable)
    }
}

impl GuestState {
    async fn wait_for_earliest_timer(&mut self) -> wasmtime::Result<()> {
        let Some((deadline_ns, wait_ms)) = self.outside.clock.earliest_wish() else {
            if self.give_up_open()? {
                return Ok(());
            }
            // Nothing it waits for can ever happen: no use in holding a slot until then.
            return Err(wasmtime::Error::new(self.exceeded_wall()));
        };
        // Nor what cannot happen in this run.
        if u128::from(wait_ms) > self.time_left().as_millis() {
            return Err(wasmtime::Error::new(self.exceeded_wall()));
        }
        // Each is a task and a timer of the caller's, and costs the guest itself next to nothing: so it is counted.
        self.look_up(|ports| async move {
            ports.pause(wait_ms).await;
            Ok(())
        })
        .await?;
        self.outside.clock.advance_to_ns(deadline_ns);
        Ok(())
    }
}
