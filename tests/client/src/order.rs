//! Several requests at once, and clocks beside them.

use std::cell::RefCell;
use std::rc::Rc;

use bulkhead_sdk::prelude::*;
use wstd::future::FutureExt as _;
use wstd::time::{Duration, Instant};

use crate::requests::{Fetched, Wanted, fetch};

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Race {
    requests: Vec<Wanted>,
}

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Patience {
    request: Wanted,
    /// Milliseconds.
    patience: u64,
}

/// In the order in which they were there: which request it was, when it was there, and what came.
pub(crate) async fn race(race: Race) -> Value {
    let (began, arrived) = (Instant::now(), Rc::new(RefCell::new(Vec::new())));
    let runners = race.requests.into_iter().enumerate().map(|(number, wanted)| {
        let arrived = Rc::clone(&arrived);
        wstd::runtime::spawn(async move {
            let fetched = fetch(&wanted).await;
            let after_ms = Instant::now().duration_since(began).as_millis();
            let seen = json!({ "number": number, "after_ms": after_ms as u64, "fetched": fetched });
            arrived.borrow_mut().push(seen);
        })
    });
    for runner in runners.collect::<Vec<_>>() {
        runner.await;
    }
    let arrived = arrived.borrow();
    json!(*arrived)
}

/// What was there first, and when.
pub(crate) async fn wait(patience: &Patience) -> Value {
    let began = Instant::now();
    let waited = fetch(&patience.request).timeout(Duration::from_millis(patience.patience)).await;
    let fetched: Option<Fetched> = waited.ok();
    json!({ "after_ms": Instant::now().duration_since(began).as_millis() as u64, "fetched": fetched })
}
