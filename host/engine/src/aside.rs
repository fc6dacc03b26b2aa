//! Work of a size that would keep a thread which serves requests: encoding, sealing, walking through documents.
//!
//! Invariants: what is done here waits for the processor and for nothing else. It has threads of its own, which give way to
//! those that serve: whoever makes the host compute takes nothing from who asks for little.

use std::sync::LazyLock;

use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use crate::fault::EngineFault;

/// Used for its threads alone. Without it, where a system starts no more, tokio's own do the work.
static THREADS: LazyLock<Option<Runtime>> = LazyLock::new(|| {
    let lowered = || {
        // On Linux this is the calling thread alone. Where it is refused the work is done all the same.
        let _ = rustix::process::setpriority_process(None, NICENESS);
    };
    let mut threads = Builder::new_current_thread();
    threads.max_blocking_threads(AT_ONCE).thread_name("bulkhead-aside").on_thread_start(lowered).build().ok()
});
/// Nicer than guests' threads: a guest that needs little does not wait for whoever has much computed either.
const NICENESS: i32 = 15;
/// More would not be sooner done.
const AT_ONCE: usize = 4;

/// Less is done sooner than it is handed over.
const SMALL: usize = 64 << 10;

/// What a value takes besides its text.
const NODE: usize = 8;

/// Does work on so many bytes of somebody's data: here where they are few, else on a thread that serves nobody.
pub(crate) async fn aside<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, EngineFault> {
    if bytes <= SMALL { Ok(work()) } else { far_aside(work).await }
}

/// About what it takes to go through a document, in bytes: exact where that is little, else more than is done here.
pub(crate) fn weight(document: &Value) -> usize {
    let (mut weight, mut left) = (0, vec![document]);
    while let Some(one) = left.pop().filter(|_| weight <= SMALL) {
        weight += NODE;
        match one {
            Value::String(text) => weight += text.len(),
            Value::Array(items) => left.extend(items.iter().take(SMALL)),
            Value::Object(members) => {
                weight += members.keys().map(String::len).take(SMALL).sum::<usize>();
                left.extend(members.values().take(SMALL));
            }
            _ => {}
        }
    }
    weight
}

/// The same for work that may take long on little.
pub(crate) async fn far_aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, EngineFault> {
    let done = match THREADS.as_ref() {
        Some(threads) => threads.spawn_blocking(work),
        None => tokio::task::spawn_blocking(work),
    };
    done.await.map_err(|error| EngineFault::damaged("a large document", error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::thread;

    use serde_json::json;

    use super::*;

    /// Mutation: `weight`, leave out texts, names or what is within.
    #[test]
    fn a_document_weighs_what_it_holds() {
        let text = "x".repeat(SMALL);
        let large = [json!([[{ "a": text }]]), json!([{ text.clone(): 1 }]), json!(vec![0; SMALL / NODE])];
        assert!(large.iter().all(|document| weight(document) > SMALL));
        assert_eq!(weight(&json!({ "said": ["hello", 1] })), 4 * NODE + "saidhello".len());
    }

    /// Mutation: `lowered`, do nothing.
    #[tokio::test]
    async fn what_is_large_gives_way_to_what_serves() {
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        assert!(far_aside(niceness).await.unwrap() >= NICENESS);
    }

    /// Mutation: `aside`, do all of it here.
    #[tokio::test]
    async fn what_is_large_keeps_no_thread_that_serves_requests() {
        let done_by = async |bytes| aside(bytes, || thread::current().id()).await.unwrap();
        assert_eq!(done_by(SMALL).await, thread::current().id());
        assert_ne!(done_by(SMALL + 1).await, thread::current().id());
    }
}
