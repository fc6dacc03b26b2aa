//! Guests that mean harm (tests/guests), each in a real host, and a neighbour who must not notice.
//!
//! Every attack has to end in its own typed failure, or in an answer that says no; the host serves on; nothing of the
//! host shows in what anybody gets to see.

mod accounts;
mod answers;
mod belongings;
mod clocks;
mod configured;
mod contained;
mod crashes;
mod destinations;
mod events;
mod full;
mod gzip;
mod inventory;
mod limits;
mod neighbours;
mod pins;
mod plots;
mod raw;
mod requests;
mod resends;
mod scene;
mod slow;
mod state;
mod surroundings;
mod texts;
mod uploads;
mod upstream;
mod walls;
mod work;

use bulkhead_tests::{Host, HostBuilder, Tenant, component};
use reqwest::Method;
use serde_json::{Value, json};

use crate::leaks;
use crate::provider::Provider;
use crate::tiny;
use crate::wire::{Reply, Wire};

/// As in its own manifest: every other has to have it too.
pub(crate) const WEBHOOK: &str = "[webhook]\nsecret = \"connection\"\nscheme = \"none\"\n";

/// A host with the hostile connector, and the one provider that it may speak to.
struct Stage {
    host: Host,
    provider: Provider,
}

/// A tenant who uses the hostile connector.
struct Actor<'h> {
    stage: &'h Stage,
    tenant: Tenant<'h>,
    connection: String,
}

impl Stage {
    async fn set() -> Self {
        Self::with(Provider::agreeable().await).await
    }

    async fn with(provider: Provider) -> Self {
        let stage = Self::empty(provider).await;
        stage.host.publish("hostile").await;
        stage
    }

    async fn empty(provider: Provider) -> Self {
        let builder = Host::builder().upstream("api.allowed.example", provider.url());
        let host = builder.set(leaks::CANARY_VARIABLE, leaks::CANARY).spawn().await;
        Self { host, provider }
    }

    /// The same over another database, or otherwise set up.
    async fn over(builder: HostBuilder) -> Self {
        let provider = Provider::agreeable().await;
        let stage = Self { host: builder.upstream("api.allowed.example", provider.url()).spawn().await, provider };
        stage.host.publish("hostile").await;
        stage
    }

    /// The same code, whose manifest says this besides.
    async fn asking(more: &str) -> Self {
        Self::asking_with(more, Provider::agreeable().await).await
    }

    async fn asking_with(more: &str, provider: Provider) -> Self {
        let stage = Self::empty(provider).await;
        let wasm = std::fs::read(component("hostile")).unwrap();
        let wasm = tiny::with_manifest(&wasm, &tiny::manifest("hostile", "0.1.0", &format!("{WEBHOOK}{more}")));
        stage.host.upload(wasm).await.ok();
        stage
    }

    async fn actor(&self, name: &str) -> Actor<'_> {
        let tenant = self.host.tenant(name).await;
        let connection = tenant.connection("hostile", json!({})).await;
        Actor { stage: self, tenant, connection }
    }

    /// Healthy, and of use to somebody who was not there before.
    async fn still_serves(&self) {
        let ready = Reply::of(Wire::to(&self.host).request(Method::GET, "/readyz")).await;
        assert_eq!((ready.status, ready.text.as_str()), (200, "ready"));
        self.actor("newcomer").await.behaves().await;
    }
}

impl Actor<'_> {
    /// Runs an action and gives the run with its attempts and its journal, free of anything of the host's.
    async fn act(&self, action: &str, input: Value) -> Value {
        let run = self.tenant.act(&self.connection, action, input).await;
        self.run(run["id"].as_str().unwrap()).await
    }

    /// Asks for an action without waiting for it.
    async fn start(&self, action: &str, input: Value) -> String {
        self.tenant.post(&format!("/v1/connections/{}/actions/{action}", self.connection), input).await.text("id")
    }

    async fn run(&self, id: &str) -> Value {
        let run = self.tenant.get(&format!("/v1/runs/{id}")).await.ok();
        leaks::assert_none(&self.stage.host, &run.to_string());
        run
    }

    /// What an action answers that is supposed to work.
    async fn answer(&self, action: &str, input: Value) -> Value {
        let run = self.act(action, input).await;
        assert_eq!(run["state"], "succeeded", "{run:#}");
        run["output"].clone()
    }

    async fn behaves(&self) {
        assert_eq!(self.answer("behave", json!({ "said": "hello" })).await, json!({ "said": "hello" }));
    }

    /// An attack that ends its run, once, by this code and in words; and nobody else notices.
    async fn fails_with(&self, code: &str, action: &str, input: Value) -> Value {
        let run = self.act(action, input).await;
        assert_failed(&run, code);
        self.stage.still_serves().await;
        run
    }
}

#[track_caller]
pub(crate) fn assert_failed(run: &Value, code: &str) {
    let failure = &run["failure"];
    assert_eq!((run["state"].as_str(), failure["code"].as_str()), (Some("failed"), Some(code)), "{run:#}");
    assert_eq!(failure["kind"], json!({ "other": code }));
    assert_eq!(run["attempt"], 1, "what broke once breaks again: it is not to be tried again");
    assert_eq!(run["output"], Value::Null);
    // What happened, and what to do about it: two sentences at least.
    let message = failure["message"].as_str().unwrap_or_default();
    assert!(message.len() > 40 && message.ends_with('.'), "{message:?}");
}
