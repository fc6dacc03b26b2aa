//! How many requests wait in the inbox. What becomes of them is in `inbox.rs`.

use std::time::Duration;

use futures::FutureExt as _;
use tokio::task::coop::unconstrained;

use crate::error::StoreError;
use crate::inbox::Inbox;

/// Mutation: inbox.rs, `new`, a longer queue.
#[tokio::test]
async fn who_comes_when_the_inbox_is_full_waits_outside() {
    let (inbox, requests) = Inbox::new(Duration::from_secs(10));
    for _ in 0..1_025 {
        // Whoever is in the queue stays there, though nobody waits for it any more; who is outside goes away.
        assert!(unconstrained(inbox.put(Vec::new(), None)).now_or_never().is_none(), "it waits to be kept");
    }
    assert_eq!(requests.batch().await.len(), 1_024);
}

/// Mutation: inbox.rs, `put`, wait for a place in the queue as long as it takes.
#[tokio::test]
async fn who_waits_outside_is_told_in_time() {
    let (inbox, _nobody_looks) = Inbox::new(Duration::from_millis(20));
    for _ in 0..1_024 {
        assert!(unconstrained(inbox.put(Vec::new(), None)).now_or_never().is_none(), "it waits to be kept");
    }
    let told = tokio::time::timeout(Duration::from_secs(10), inbox.put(Vec::new(), None)).await;
    assert!(matches!(told, Ok(Err(StoreError::Busy { waited_ms: 20 }))), "{told:?}");
}
