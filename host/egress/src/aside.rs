//! Work that grows with a body, off the threads that serve.

/// A larger body would hold up others who are served by the same thread.
const SMALL: usize = 64 * 1024;

/// Does what takes as long as so many bytes do; `None` where this process is ending.
pub(crate) async fn aside<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    if bytes <= SMALL {
        return Some(work());
    }
    tokio::task::spawn_blocking(work).await.ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Mutation: `aside`, do as for small bodies.
    #[test]
    fn what_takes_long_is_done_on_a_thread_of_its_own() {
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            // While the only such thread is busy, large bodies wait and small ones do not.
            let (busy, done) = std::sync::mpsc::channel::<()>();
            let occupied = tokio::task::spawn_blocking(move || done.recv());
            let mut large = std::pin::pin!(aside(1 << 20, || "large"));
            assert!(futures::poll!(&mut large).is_pending());
            assert_eq!(aside(1, || "small").await, Some("small"));
            drop(busy);
            assert!(occupied.await.unwrap().is_err());
            assert_eq!(large.await, Some("large"));
        });
    }
}
