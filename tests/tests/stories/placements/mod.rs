//! Where credentials go, and where the ones that providers mint come from: each kind of placement, as its provider sees it.
//!
//! The guest (`hostile`, `correspond`) writes whatever it likes and answers all that it gets to see.

mod captured;
mod sent;
mod signed;

use bulkhead_tests::{Host, HostBuilder, component};
use serde_json::{Value, json};

use crate::hostile::WEBHOOK;
use crate::provider::Provider;
use crate::tiny;

/// The one provider of these stories.
const PLACE: &str = "api.allowed.example";

/// A host with the corresponding connector, whose manifest says this besides.
async fn host(builder: HostBuilder, provider: &Provider, more: &str) -> Host {
    let host = builder.upstream(PLACE, provider.url()).spawn().await;
    host.upload(connector(more)).await.ok();
    host
}

fn connector(more: &str) -> Vec<u8> {
    let webhook = if more.contains("[webhook]") { "" } else { WEBHOOK };
    let manifest = tiny::manifest("hostile", "0.1.0", &format!("{more}{webhook}"));
    tiny::with_manifest(&std::fs::read(component("hostile")).unwrap(), &manifest)
}

fn letter(method: &str, path: &str) -> Value {
    json!({ "method": method, "url": format!("https://{PLACE}{path}") })
}
