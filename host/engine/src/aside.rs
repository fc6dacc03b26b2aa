//! Work of a size that would keep a thread which serves requests: encoding, sealing, walking through documents.
//!
//! Invariant: what is done here waits for the processor and for nothing else.

use crate::fault::EngineFault;

/// Less is done sooner than it is handed over.
const SMALL: usize = 64 << 10;

/// Does work on so many bytes of somebody's data: here where they are few, else on a thread that serves nobody.
pub(crate) async fn aside<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, EngineFault> {
    if bytes <= SMALL { Ok(work()) } else { far_aside(work).await }
}

/// The same for work that may take long on little.
pub(crate) async fn far_aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, EngineFault> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| EngineFault::damaged("a large document", error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::thread;

    use super::*;

    /// Mutation: `aside`, do all of it here.
    #[tokio::test]
    async fn what_is_large_keeps_no_thread_that_serves_requests() {
        let done_by = async |bytes| aside(bytes, || thread::current().id()).await.unwrap();
        assert_eq!(done_by(SMALL).await, thread::current().id());
        assert_ne!(done_by(SMALL + 1).await, thread::current().id());
    }
}
