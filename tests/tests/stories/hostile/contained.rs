//! Each misbehaviour of the inventory on one host, one after the other: its own typed failure, and nobody else notices.

#![allow(clippy::print_stdout, reason = "`cargo xtask test walls` counts what it says")]

use std::collections::BTreeSet;

use bulkhead_tests::{Host, Tenant};
use futures::future::join_all;
use reqwest::Method;
use serde_json::json;

use super::inventory::{self, Attack, Ends, Misbehaviour};
use super::scene::{Attacker, Came, SECRET, Scene};
use crate::tiny;
use crate::wire::{Reply, Wire};

/// Of runs at once, and places in the sandbox: one more than that.
const WORKERS: usize = 8;
/// How many misbehaviours there are to be at least.
const FEWEST: usize = 40;
/// Whatever they do, the host has no more in memory. Bytes.
const MOST_MEMORY: u64 = 1_500 << 20;

/// Mutations: the story of each control names its own (`limits.rs` and the files beside). For all of them together:
/// host/runtime/src/invoke.rs, `run`, keep `slot` for ever where a run was stopped.
#[tokio::test]
async fn every_misbehaviour_ends_in_its_own_failure_and_the_host_is_healthy() {
    let places = Host::builder().set("BULKHEAD_WORKERS", WORKERS.to_string());
    let scene = Scene::set(places.set("BULKHEAD_SANDBOX_SLOTS", (WORKERS + 1).to_string())).await;
    let attacker = scene.attacker("attacker").await;
    let neighbour = scene.attacker("neighbour").await;
    let (mut wrong, mut names) = (Vec::new(), BTreeSet::new());
    for misbehaviour in inventory::all() {
        assert!(names.insert(misbehaviour.name), "{} stands there twice", misbehaviour.name);
        for nth in 0..misbehaviour.attack.ways() {
            let came = scene.suffer(&attacker, &misbehaviour.attack, nth).await;
            wrong.extend(misbehaviour.is_not(&came).map(|found| format!("{} ({nth}): {found}", misbehaviour.name)));
        }
        scene.is_healthy(&neighbour, misbehaviour.name).await;
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), names.len(), wrong.join("\n"));
    assert!(names.len() >= FEWEST, "{} misbehaviours are left", names.len());
    scene.has_all_its_places().await;
    scene.keeps_its_secret(&attacker).await;
    let (_, most) = scene.memory();
    assert!(most < MOST_MEMORY, "it had {most} bytes in memory");
    println!("walls: guests contained {}", names.len());
}

impl Attack {
    /// In how many ways it is done.
    pub(super) fn ways(&self) -> usize {
        match self {
            Self::Act { inputs, .. } => inputs.len(),
            Self::Pull { streams, .. } | Self::Push { streams, .. } => streams.len(),
            Self::Receive { bodies, .. } => bodies.len(),
            Self::Connect { connectors } => connectors.len(),
            Self::Upload(_) | Self::Plot(_) | Self::Post { .. } => 1,
        }
    }
}

impl Misbehaviour {
    /// What came of it, where that is something else than it should be.
    pub(super) fn is_not(&self, came: &Came) -> Option<String> {
        let told = &came.told;
        let (code, fits) = match &self.ends {
            Ends::Fails(code) => (*code, came.code == *code && told["state"] == "failed" && told["attempt"] == 1),
            Ends::Refused(code) => (*code, came.code == *code && told["status"].is_number()),
            Ends::Traps(how) => (*how, came.code == "trapped" && told["failure"]["details"]["trap"] == *how),
            Ends::Answers(is_so) => ("an answer that gives nothing away", is_so(told)),
        };
        // What happened and what to do about it: a sentence at least.
        let said = told["failure"]["message"].as_str().or(told["detail"].as_str());
        let is_told = matches!(self.ends, Ends::Answers(_)) || said.is_some_and(|text| text.len() > 20);
        (!fits || !is_told).then(|| {
            let whole: String = told.to_string().chars().take(600).collect();
            format!("expected {code}, came {}: {whole}", came.code)
        })
    }
}

impl Scene {
    /// Ready, of use to somebody else, and without a panic.
    async fn is_healthy(&self, neighbour: &Attacker, after: &str) {
        let ready = Reply::of(Wire::to(&self.host).request(Method::GET, "/readyz")).await;
        assert_eq!((ready.status, ready.text.as_str()), (200, "ready"), "after {after}");
        let tenant = self.host.tenant_by_id(&neighbour.tenant);
        let run = tenant.act(neighbour.connection("hostile"), "behave", json!({ "said": "hello" })).await;
        assert_eq!(run["output"], json!({ "said": "hello" }), "after {after}: {run:#}");
        let logged = self.logged();
        for word in ["panicked", "a fault of the host", " ERROR "] {
            let line = logged.lines().find(|line| line.contains(word));
            assert_eq!(line, None, "after {after}");
        }
    }

    /// As many guests as there are workers sleep at once, and there is a place for an upload beside them: no place was lost.
    async fn has_all_its_places(&self) {
        let sleeper = async |name: &'static str| {
            let tenant = self.host.tenant(name).await;
            let connection = tenant.connection("hostile", json!({})).await;
            (tenant, connection)
        };
        // One tenant gets three quarters of the workers.
        let sleepers = [(sleeper("one").await, WORKERS * 3 / 4), (sleeper("two").await, WORKERS / 4)];
        let path = |connection: &String| format!("/v1/connections/{connection}/actions/sleep");
        for ((tenant, connection), count) in &sleepers {
            join_all((0..*count).map(async |_| tenant.post(&path(connection), json!({ "seconds": 2 })).await.ok()))
                .await;
        }
        let running = async |tenant: &Tenant<'_>, count: usize| {
            tenant.runs_until("state=running", |runs| runs.len() == count).await;
        };
        let published = async {
            for ((tenant, _), count) in &sleepers {
                running(tenant, *count).await;
            }
            self.host.upload(tiny::connector("beside", "1.0.0")).await.ok();
        };
        published.await;
        for ((tenant, _), _) in &sleepers {
            let runs = tenant.runs_until("", |runs| runs.iter().all(crate::wait::has_ended)).await;
            assert!(runs.iter().all(|run| run["state"] == "succeeded"), "{runs:#?}");
        }
    }

    /// What was sent to the provider, and what it sent back, stands nowhere that anybody reads.
    async fn keeps_its_secret(&self, attacker: &Attacker) {
        let tenant = self.host.tenant_by_id(&attacker.tenant);
        let keyed = attacker.connection("keyed");
        let mut all = vec![self.logged()];
        for path in ["/v1/events?limit=200".to_owned(), format!("/v1/connections/{keyed}/records/spoils")] {
            all.push(tenant.get(&path).await.ok().to_string());
        }
        let runs = tenant.get(&format!("/v1/runs?limit=200&connection={keyed}")).await.ok();
        let runs = runs["items"].as_array().unwrap();
        assert!(runs.len() >= 4, "{runs:#?}");
        for run in runs {
            all.push(tenant.get(&format!("/v1/runs/{}", run["id"].as_str().unwrap())).await.ok().to_string());
        }
        for text in &all {
            assert!(!text.contains("sk_live") && !text.contains("0b1d5f"), "{text}");
            assert!(!text.contains(SECRET));
        }
        assert!(all.iter().filter(|text| text.contains("[secret]")).count() >= 3, "the guest wrote down what it saw");
    }
}
