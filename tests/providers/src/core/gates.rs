//! Stopping one request at an exact moment, so that a test can act (kill its client, say) while it stands there.
//!
//! **Invariant.** A hold stops one request, the next that matches; dropping the hold, or the server, lets it go.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::faults::matches;
use super::lock::Lock;

/// Nothing that a test waits for takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// The moments at which a request can be held.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Point {
    /// The request has been read; nothing has been done.
    RequestReceived,
    /// The side effects exist; the answer has not been sent.
    Acted,
    /// The last byte of the answer has been sent. Nothing is stopped any more; the hold tells that it happened.
    AnswerSent,
}

/// A request that is, or will be, held.
#[derive(Debug)]
pub struct Hold {
    arrived: watch::Receiver<Option<u64>>,
    release: watch::Sender<bool>,
}

impl Hold {
    /// Waits until a request stands at the gate, and gives its number in the record of requests. None when the
    /// server stopped first.
    ///
    /// # Panics
    /// After a minute.
    pub async fn arrived(&mut self) -> Option<u64> {
        let seen = tokio::time::timeout(PATIENCE, self.arrived.wait_for(Option::is_some)).await;
        seen.unwrap_or_else(|_| panic!("the request that is held never came")).ok().and_then(|number| *number)
    }

    /// Lets the request go on.
    pub fn release(self) {
        self.release.send_replace(true);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.release.send_replace(true);
    }
}

#[derive(Debug)]
struct Gate {
    point: Point,
    method: Option<String>,
    path: String,
    arrived: watch::Sender<Option<u64>>,
    released: watch::Receiver<bool>,
}

#[derive(Debug, Default)]
pub(crate) struct Gates {
    waiting: Lock<Vec<Gate>>,
    /// Holds that another process asked for over HTTP, by the number it was given.
    remote: Lock<HashMap<u64, Hold>>,
}

impl Gates {
    pub(crate) fn hold(&self, point: Point, method: Option<String>, path: String) -> Hold {
        let (arrived, sees_arrival) = watch::channel(None);
        let (release, released) = watch::channel(false);
        self.waiting.get().push(Gate { point, method, path, arrived, released });
        Hold { arrived: sees_arrival, release }
    }

    /// Passes at once unless a hold waits for this request at this point.
    pub(crate) async fn pass(&self, point: Point, method: &str, path: &str, number: u64) {
        let Some(mut gate) = self.take(point, method, path) else {
            return;
        };
        gate.arrived.send_replace(Some(number));
        // An error means that the hold is gone, which releases too.
        let _ = gate.released.wait_for(|released| *released).await;
    }

    fn take(&self, point: Point, method: &str, path: &str) -> Option<Gate> {
        let mut waiting = self.waiting.get();
        waiting.retain(|gate| !*gate.released.borrow());
        let meant = |gate: &Gate| gate.point == point && matches(gate.method.as_deref(), &gate.path, method, path);
        let index = waiting.iter().position(meant)?;
        Some(waiting.remove(index))
    }

    pub(crate) fn keep_for_remote(&self, id: u64, hold: Hold) {
        self.remote.get().insert(id, hold);
    }

    /// Where the arrival at a remote hold will be told; none when there is no such hold.
    pub(crate) fn remote_arrival(&self, id: u64) -> Option<watch::Receiver<Option<u64>>> {
        self.remote.get().get(&id).map(|hold| hold.arrived.clone())
    }

    /// Whether there was such a hold.
    pub(crate) fn release_remote(&self, id: u64) -> bool {
        self.remote.get().remove(&id).is_some()
    }

    /// Opens every gate: the server is stopping.
    pub(crate) fn open_all(&self) {
        self.waiting.get().clear();
        self.remote.get().clear();
    }
}
