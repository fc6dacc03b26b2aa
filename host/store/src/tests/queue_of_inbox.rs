//! How many requests wait in the inbox. What becomes of them is in `inbox.rs`.

use std::time::Duration;

use futures::FutureExt as _;
use tokio::task::coop::unconstrained;

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
