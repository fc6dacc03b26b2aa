//! Work of a size that would keep a thread which serves requests: encoding, sealing, walking through documents. It is done
//! on the door's threads for that (`egress/src/aside.rs`).

use serde_json::Value;

use crate::fault::EngineFault;

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
    bulkhead_egress::far_aside(work).await.map_err(|error| EngineFault::damaged("a large document", error))
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::mpsc;
    use std::thread;

    use serde_json::json;

    use super::*;

    /// None of the threads that serve nobody has time, until this is dropped.
    pub(crate) async fn busy() -> Vec<mpsc::Sender<()>> {
        let keep_busy = || {
            let (go, told) = mpsc::channel::<()>();
            tokio::spawn(far_aside(move || told.recv()));
            go
        };
        let busy = std::iter::repeat_with(keep_busy).take(bulkhead_egress::at_once()).collect();
        tokio::task::yield_now().await;
        busy
    }

    /// Whether it waits for the threads that serve nobody, of which none has time until it was asked once.
    pub(crate) async fn is_done_aside(work: impl Future) -> bool {
        let _busy = busy().await;
        futures::poll!(Box::pin(work)).is_pending()
    }

    /// Mutation: `weight`, leave out texts, names or what is within.
    #[test]
    fn a_document_weighs_what_it_holds() {
        let text = "x".repeat(SMALL);
        let large = [json!([[{ "a": text }]]), json!([{ text.clone(): 1 }]), json!(vec![0; SMALL / NODE])];
        assert!(large.iter().all(|document| weight(document) > SMALL));
        assert_eq!(weight(&json!({ "said": ["hello", 1] })), 4 * NODE + "saidhello".len());
    }

    /// Mutation: `aside`, do all of it here.
    #[tokio::test]
    async fn what_is_large_keeps_no_thread_that_serves_requests() {
        let done_by = async |bytes| aside(bytes, || thread::current().id()).await.unwrap();
        assert_eq!(done_by(SMALL).await, thread::current().id());
        assert_ne!(done_by(SMALL + 1).await, thread::current().id());
    }
}
