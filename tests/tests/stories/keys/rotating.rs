//! Keys that rotate while everything goes on, and old ones that go.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use bulkhead_tests::{Host, PATIENCE, Tenant, component};
use reqwest::Method;
use serde_json::{Value, json};

use super::{listed, refused, said};
use crate::authorizing::change;
use crate::logs::KEYED_AND_TOLD;
use crate::provider::Provider;
use crate::starting::says;
use crate::tiny;
use crate::wait;
use crate::webhooks::{tell, told};

const ROTATIONS: usize = 3;
const WEBHOOK_SECRET: &str = "what-the-provider-knows";

/// A connection with a key of its own, and what it is told.
struct Busy<'h> {
    host: &'h Host,
    tenant: Tenant<'h>,
    connection: String,
    hook: String,
    over: AtomicBool,
    told: AtomicU64,
}

impl<'h> Busy<'h> {
    async fn new(host: &'h Host) -> Self {
        let wasm = std::fs::read(component("hostile")).unwrap();
        host.upload(tiny::with_manifest(&wasm, &tiny::manifest("hostile", "1.0.0", KEYED_AND_TOLD))).await.ok();
        let tenant = host.tenant("t").await;
        let connection = tenant.connection("hostile", json!({ "key": "the-first-of-many" })).await;
        let secret = format!("/v1/connections/{connection}/webhook-secret");
        tenant.put(&secret, json!({ "secret": WEBHOOK_SECRET })).await.ok();
        let hook = tenant.hook(&connection).await;
        Self { host, tenant, connection, hook, over: AtomicBool::new(false), told: AtomicU64::new(0) }
    }

    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    /// The credential is opened, and the answer sealed.
    async fn runs(&self) {
        let target = json!({ "method": "GET", "url": "https://api.allowed.example/v1/a" });
        let run = self.tenant.act(&self.connection, "reach", target).await;
        assert!(run["state"] == "succeeded" && run["output"]["answer"]["status"] == 200, "{run:#}");
    }

    async fn keeps_running(&self) {
        while self.goes_on() {
            self.runs().await;
        }
    }

    /// The secret that proves it is opened, whichever node has it.
    async fn keeps_being_told(&self) {
        while self.goes_on() {
            let number = self.told.fetch_add(1, Ordering::Relaxed);
            let body = json!({ "number": number }).to_string();
            assert_eq!(tell(self.host, &self.hook, WEBHOOK_SECRET, &body).await.status, 200, "{number}");
        }
    }

    /// Another credential is sealed in the place of the one before.
    async fn keeps_being_authorized(&self) {
        let mut number = 0;
        while self.goes_on() {
            number += 1;
            let fields = json!({ "fields": { "key": format!("another-key-{number}") } });
            self.tenant.put(&format!("/v1/connections/{}/credential", self.connection), fields).await.ok();
        }
    }

    async fn delivered(&self) -> u64 {
        let (mut count, mut page) = (0, String::new());
        loop {
            let found = self.tenant.get(&format!("/v1/deliveries?limit=200{page}")).await.ok();
            count += found["items"].as_array().unwrap().len() as u64;
            match found["next"].as_str() {
                Some(next) => page = format!("&before={next}"),
                None => return count,
            }
        }
    }
}

/// Asks until the keys are so.
async fn until(host: &Host, is_so: impl Fn(&[Value]) -> bool) {
    let until = Instant::now() + PATIENCE;
    let mut beat = tokio::time::interval(std::time::Duration::from_millis(50));
    loop {
        beat.tick().await;
        let keys = listed(host).await;
        if is_so(&keys) {
            return;
        }
        assert!(Instant::now() < until, "it never came to this: {keys:#?}");
    }
}

/// A quarter of an hour, for the keys.
async fn a_while_goes_by(host: &Host) {
    let earlier =
        "created_ms = created_ms - 900000, active_ms = active_ms - 900000, rewrapped_ms = rewrapped_ms - 900000";
    change(host, &format!("UPDATE wrapping_keys SET {earlier}")).await;
}

/// Mutation: host/cli/src/keys.rs, `Remove::run`, wait for whatever is not gone.
#[tokio::test]
async fn a_key_that_something_is_still_under_stays_and_who_wanted_it_to_go_hears_so() {
    let host = Host::spawn().await;
    told(&host).await;
    let first = listed(&host).await[0]["id"].as_str().unwrap().to_owned();
    // Behind the name of its key, in the data key.
    let damaged = "CAST(substr(sealed, 1, 40) || x'000000' || substr(sealed, 44) AS BLOB)";
    change(&host, &format!("UPDATE credentials SET sealed = {damaged} WHERE name = 'webhook_secret'")).await;
    says(&said(&host, &["rotate", "--wait"]).await, &[&first, "is still needed: 1 value"]);
    a_while_goes_by(&host).await;
    let stays = refused(&host, &["remove", &first]).await;
    // Where all was looked through in between, it is known at once.
    let is_said =
        ["stays: 1 value under it", "1 sealed values still use the key"].iter().any(|why| stays.contains(why));
    assert!(is_said && stays.contains(&first), "{stays}");
    assert_eq!(listed(&host).await.len(), 2);
}

/// Mutations: host/vault/src/local_keys.rs, `hold_all`, let go of all but the active key; host/store/src/sealed.rs,
/// `REPLACE_CREDENTIAL`, whatever is there by now: what was sealed in between is lost; host/engine/src/wrapping_keys.rs,
/// `settle_removals`, settle nothing; `remove_wrapping_key`, without `notify_one`.
#[tokio::test]
async fn keys_rotate_while_everything_seals_and_opens_and_then_the_old_ones_go() {
    let provider = Provider::agreeable().await;
    let mut host = Host::builder().upstream("api.allowed.example", provider.url()).spawn().await;
    {
        let busy = Busy::new(&host).await;
        let rotates = async {
            for _ in 0..ROTATIONS {
                let told = busy.told.load(Ordering::Relaxed);
                says(&said(&host, &["rotate", "--wait"]).await, &["seals from now on", "Everything is wrapped by it"]);
                wait::until(|| busy.told.load(Ordering::Relaxed) > told + 1).await;
            }
            busy.over.store(true, Ordering::Relaxed);
        };
        tokio::join!(rotates, busy.keeps_running(), busy.keeps_being_told(), busy.keeps_being_authorized());
        assert_eq!(busy.delivered().await, busy.told.load(Ordering::Relaxed));
    }
    let keys = listed(&host).await;
    assert_eq!(keys.len(), ROTATIONS + 1);
    let id = |key: &Value| key["id"].as_str().unwrap().to_owned();
    let (active, old) =
        keys.split_last().map(|(last, old)| (id(last), old.iter().map(id).collect::<Vec<_>>())).unwrap();
    says(&refused(&host, &["remove", &old[0]]).await, &["can be removed from 20", " UTC on"]);
    a_while_goes_by(&host).await;
    let leaving = host.operator(Method::DELETE, &format!("/v1/wrapping-keys/{}", old[0]), None).await;
    assert_eq!((leaving.status, &leaving.body["state"]), (202, &json!("leaving")), "{leaving:?}");
    until(&host, |keys| keys.len() == ROTATIONS).await;
    says(&refused(&host, &["remove", &old[0]]).await, &["no such wrapping key"]);
    for id in &old[1..] {
        says(&said(&host, &["remove", id]).await, &[id, "is looked through", "is destroyed"]);
    }
    let shown = said(&host, &["list"]).await;
    assert!(shown.matches("  made ").count() == 1 && shown.contains(&format!("{active}  active")), "{shown}");
    let file = std::fs::read_to_string(host.folder().join("keys.json")).unwrap();
    assert!(old.iter().all(|id| !file.contains(id)), "{old:?}");
    let tenant = host.operator(Method::GET, "/v1/tenants", None).await.ok()["items"][0]["id"].clone();
    host.restart().await;
    let tenant = host.tenant_by_id(tenant.as_str().unwrap());
    let connection = tenant.get("/v1/connections").await.ok()["items"][0]["id"].as_str().unwrap().to_owned();
    let hook = tenant.hook(&connection).await;
    let busy = Busy { host: &host, tenant, connection, hook, over: AtomicBool::new(true), told: AtomicU64::new(0) };
    busy.runs().await;
    assert_eq!(tell(&host, &busy.hook, WEBHOOK_SECRET, "{}").await.status, 200);
}
