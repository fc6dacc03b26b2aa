//! One running server: a port, an address, and a stop when it is dropped.

use std::sync::Arc;

use axum::Router;
use tokio::task::JoinHandle;

use super::control;
use super::front::{self, Provider};
use super::wire::{Caller, Port, Switchboard};

pub(crate) struct Server {
    url: String,
    accepting: JoinHandle<()>,
    switchboard: Switchboard,
    open_gates: Box<dyn Fn() + Send + Sync>,
}

impl Server {
    /// Serves the common control routes and the provider's own under `/_control`, everything else as the provider.
    #[expect(clippy::expect_used, reason = "a machine without a loopback port cannot run any of this")]
    pub(crate) async fn start<P: Provider>(provider: Arc<P>, control: Router<Arc<P>>) -> Self {
        let port = Port::bind().await.expect("a free loopback port");
        let address = port.address().expect("the address of a bound port");
        let switchboard = port.switchboard();
        let router = Router::new()
            .nest("/_control", control::routes().merge(control))
            .fallback(front::serve::<P>)
            .with_state(provider.clone())
            .into_make_service_with_connect_info::<Caller>();
        let accepting = tokio::spawn(async move {
            // Serving ends only when this task is aborted.
            let _ = axum::serve(port, router).await;
        });
        let open_gates = Box::new(move || provider.instruments().front.gates.open_all());
        Self { url: format!("http://{address}"), accepting, switchboard, open_gates }
    }

    /// Without a trailing slash.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
        self.switchboard.hang_up_all();
        (self.open_gates)();
    }
}
