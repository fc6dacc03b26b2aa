//! One host with all that means harm to it at once, and how each of it is set going.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bulkhead_tests::{Answer, Host, HostBuilder, PATIENCE, Tenant, component};
use memchr::memmem;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::belongings;
use super::inventory::Attack;
use super::plots;
use super::raw::{self, Raw};
use super::uploads;
use super::upstream::Upstream;
use crate::leaks;
use crate::tiny;
use crate::wait::has_ended;
use crate::wire::{Reply, Wire};

/// What a provider is sent, and what nobody else may ever read.
pub(super) const SECRET: &str = "sk_live_4f9c1d7e\"quoted\\0b1d5f";

/// From here on numbers are of one length.
const PREPARED: u32 = 1_000_000_000;
/// Less than the defaults, so that what uses it up is soon over.
const RULES: &str = r#"
[[egress]]
host = "api.allowed.example"
methods = ["GET", "POST"]
paths = ["/v1/*"]
read_only_posts = ["/v1/*"]
CREDENTIAL
[limits]
cpu_ms = 500
wall_ms = 5000
"#;
/// The same of compilations.
const COMPILING: [(&str, &str); 2] =
    [("BULKHEAD_LIMITS_COMPILE_SECONDS", "10"), ("BULKHEAD_LIMITS_COMPILE_MEMORY_MIB", "1024")];
const KEYED: &str = "[auth]\nkind = \"api_key\"\n[[auth.fields]]\nname = \"key\"\ntitle = \"Key\"\n";
const PLACED: &str = "credential = { place = \"bearer\", field = \"key\" }";

/// A host, what it may speak to, and where it logs.
pub(super) struct Scene {
    pub(super) host: Host,
    /// The operator's own, of a connector that the operator published: `guarded`.
    pub(super) app: String,
    log: PathBuf,
    uploads: AtomicU32,
    /// Made before they are sent.
    prepared: Mutex<Vec<Vec<u8>>>,
    /// A plot's runs begin no sooner one after the other.
    pub(super) beat: Duration,
    _upstream: Upstream,
    _folder: TempDir,
}

/// A tenant that has a connection of each connector that means harm.
pub(super) struct Attacker {
    pub(super) tenant: String,
    connections: Vec<(&'static str, String)>,
}

/// What came of an attack: its name in short, and all that was told.
pub(super) struct Came {
    pub(super) code: String,
    pub(super) told: Value,
}

impl Scene {
    pub(super) async fn set(builder: HostBuilder) -> Self {
        let (upstream, folder) = (Upstream::start().await, tempfile::tempdir().unwrap());
        let log = folder.path().join("log");
        let builder = COMPILING.into_iter().fold(builder, |builder, (name, value)| builder.set(name, value));
        let builder = builder.upstream("api.allowed.example", upstream.url()).log_to(&log);
        let host = builder.set(leaks::CANARY_VARIABLE, leaks::CANARY).spawn().await;
        let hostile = std::fs::read(component("hostile")).unwrap();
        let open = format!("{}{}", super::WEBHOOK, RULES.replace("CREDENTIAL", ""));
        let patient = open.split("[limits]").next().unwrap_or_default().to_owned();
        let keyed = format!("{KEYED}{}{}", super::WEBHOOK, RULES.replace("CREDENTIAL", PLACED));
        let itemised = format!("{open}[[webhook.split]]\nitems = \"\"\n");
        let numbered = format!("{itemised}dedupe = [\"/id\"]\n");
        let hostile_ones =
            [("hostile", open), ("patient", patient), ("keyed", keyed), ("itemised", itemised), ("numbered", numbered)];
        for (name, more) in hostile_ones {
            host.upload(tiny::with_manifest(&hostile, &tiny::manifest(name, "1.0.0", &more))).await.ok();
        }
        for (name, raw) in [
            ("breaking", Raw::breaking()),
            ("lying", Raw::lying()),
            ("pointing", Raw::pointing(raw::CURSORS)),
            ("unchecked", Raw::unchecked()),
        ] {
            host.upload(raw.build(name)).await.ok();
        }
        for (which, name) in raw::MISTAKEN.iter().enumerate() {
            host.upload(Raw::mistaken(which).build(name)).await.ok();
        }
        host.publish("mirror").await;
        host.upload(plots::guarded("1.0.0")).await.ok();
        host.upload(uploads::checking()).await.ok();
        let owner = host.tenant("owner").await;
        belongings::left_with(&owner, &owner.connection("hostile", json!({})).await).await;
        let app = json!({ "connector": "guarded", "name": "app", "client_id": "id", "client_secret": SECRET });
        let app = host.operator(Method::POST, "/v1/apps", Some(app)).await.text("id");
        Self {
            host,
            app,
            log,
            uploads: AtomicU32::new(0),
            prepared: Mutex::default(),
            beat: Duration::ZERO,
            _upstream: upstream,
            _folder: folder,
        }
    }

    pub(super) async fn attacker(&self, name: &str) -> Attacker {
        self.attacker_of(self.host.tenant(name).await.id()).await
    }

    /// More connections for a tenant that is there.
    async fn attacker_of(&self, tenant: &str) -> Attacker {
        let mut connections = Vec::new();
        let connectors =
            ["hostile", "patient", "breaking", "lying", "pointing", "keyed", "itemised", "numbered", "checking"];
        for connector in connectors {
            connections.push((connector, self.connection(tenant, connector).await));
        }
        Attacker { tenant: tenant.to_owned(), connections }
    }

    /// Another attacker of that tenant, with a connection that this attack needs and no other has used.
    pub(super) async fn anew(&self, tenant: &str, attack: &Attack) -> Attacker {
        let connector = match attack {
            Attack::Act { connector, .. }
            | Attack::Pull { connector, .. }
            | Attack::Push { connector, .. }
            | Attack::Receive { connector, .. } => connector,
            Attack::Connect { .. } | Attack::Upload(_) | Attack::Plot(_) | Attack::Post { .. } => "hostile",
        };
        Attacker { tenant: tenant.to_owned(), connections: vec![(connector, self.connection(tenant, connector).await)] }
    }

    async fn connection(&self, tenant: &str, connector: &str) -> String {
        let fields = if connector == "keyed" { json!({ "key": SECRET }) } else { json!({}) };
        self.host.tenant_by_id(tenant).connection(connector, fields).await
    }

    /// Sets it going, with one of its inputs, and waits for what comes of it.
    pub(super) async fn suffer(&self, attacker: &Attacker, attack: &Attack, nth: usize) -> Came {
        let tenant = self.host.tenant_by_id(&attacker.tenant);
        let of = |connector: &str, path: String| format!("/v1/connections/{}/{path}", attacker.connection(connector));
        let answer = match attack {
            Attack::Act { connector, action, inputs } => {
                let input = inputs.get(nth % inputs.len().max(1)).cloned().unwrap_or(json!({}));
                tenant.post(&of(connector, format!("actions/{action}?wait_ms=60000")), input).await
            }
            Attack::Pull { connector, streams } => {
                let path = format!("streams/{}/pull?wait_ms=60000", nth_of(streams, nth));
                let page = tenant.post(&of(connector, path), json!({})).await;
                let goes_on = page.body["output"]["more"] == true;
                if goes_on { self.newest(&tenant, attacker.connection(connector)).await } else { page }
            }
            Attack::Push { connector, streams } => {
                let path = format!("records/{}/{nth}?wait_ms=60000", nth_of(streams, nth));
                tenant.put(&of(connector, path), json!(nth)).await
            }
            Attack::Receive { connector, bodies } => {
                let path = tenant.hook(attacker.connection(connector)).await;
                let told = Wire::to(&self.host).request(Method::POST, &path).body(received(nth_of(bodies, nth)));
                assert_eq!(Reply::of(told).await.status / 100, 2);
                // It was there before the provider was told that all is well.
                self.newest(&tenant, attacker.connection(connector)).await
            }
            Attack::Connect { connectors } => {
                let connector = nth_of(connectors, nth);
                let new = json!({ "connector": connector, "name": "c" });
                let id = tenant.post("/v1/connections", new).await.text("id");
                tenant.put(&format!("/v1/connections/{id}/credential"), json!({ "fields": {} })).await
            }
            Attack::Upload(wasm) => {
                let prepared = self.prepared.lock().unwrap().pop();
                self.upload(attacker, prepared.unwrap_or_else(|| wasm(self.once()))).await
            }
            Attack::Plot(plot) => plot(self, attacker).await,
            Attack::Post { path: "{hook}", body } => {
                let path = tenant.hook(attacker.connection("hostile")).await;
                self.send(attacker, Method::POST, &path, body()).await
            }
            Attack::Post { path, body } => {
                let path = path.replace("{hostile}", attacker.connection("hostile"));
                self.send(attacker, Method::POST, &path, body()).await
            }
        };
        Came::of(self, answer)
    }

    /// The newest run of a connection, once it has ended and says of no page that there is more: whatever follows a page is
    /// there when that has ended. Looked at no more often than the scene's pace is.
    async fn newest(&self, tenant: &Tenant<'_>, connection: &str) -> Answer {
        let mut beat = tokio::time::interval(self.beat.max(Duration::from_millis(50)));
        let until = Instant::now() + PATIENCE;
        loop {
            beat.tick().await;
            let runs = tenant.get(&format!("/v1/runs?limit=1&connection={connection}")).await.ok();
            let id = runs["items"][0]["id"].as_str().unwrap_or_default();
            let run = tenant.get(&format!("/v1/runs/{id}")).await;
            if has_ended(&run.body) && run.body["output"]["more"] != true {
                return run;
            }
            assert!(Instant::now() < until, "it never ended: {run:#?}");
        }
    }

    /// A number that no other upload of the attackers' has.
    pub(super) fn once(&self) -> u32 {
        self.uploads.fetch_add(1, Ordering::Relaxed)
    }

    /// Makes so many components of this attack beforehand, for who times what sending them does.
    pub(super) fn prepare(&self, attack: &Attack, count: u32) {
        let Attack::Upload(wasm) = attack else { return };
        let first = PREPARED + self.uploads.fetch_add(count, Ordering::Relaxed);
        let made = wasm(first);
        let number = memmem::find(&made, first.to_string().as_bytes()).expect("its version says which it is");
        let numbered = |nth: u32| {
            let (mut one, nth) = (made.clone(), nth.to_string());
            one[number..number + nth.len()].copy_from_slice(nth.as_bytes());
            one
        };
        *self.prepared.lock().unwrap() = (first..first + count).map(numbered).collect();
    }

    /// Uploads a component as the tenant that it belongs to.
    pub(super) async fn upload(&self, attacker: &Attacker, wasm: Vec<u8>) -> Answer {
        self.send(attacker, Method::POST, "/v1/connectors", wasm).await
    }

    /// Says something to the API as that tenant.
    pub(super) async fn send(&self, attacker: &Attacker, method: Method, path: &str, body: Vec<u8>) -> Answer {
        let request = Wire::to(&self.host).request(method, path).bearer_auth(self.host.operator_key());
        let reply = Reply::of(request.header("bulkhead-tenant", &attacker.tenant).body(body)).await;
        let body = serde_json::from_str(&reply.text).unwrap_or(Value::String(reply.text));
        Answer { status: reply.status, body }
    }

    /// Everything that the host has logged so far.
    pub(super) fn logged(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap()).into_owned()
    }

    /// Whether a component is being compiled: for nothing else does a host start a process.
    pub(super) fn compiles(&self) -> bool {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.host.process_id().unwrap())).unwrap();
        let children = |task: PathBuf| std::fs::read_to_string(task.join("children")).unwrap_or_default();
        tasks.flatten().any(|task| !children(task.path()).is_empty())
    }

    /// The host's memory now and at its most. Bytes.
    pub(super) fn memory(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.host.process_id().unwrap())).unwrap();
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() << 10
        };
        (of("VmRSS:"), of("VmHWM:"))
    }
}

impl Attacker {
    pub(super) fn connection(&self, connector: &str) -> &str {
        &self.connections.iter().find(|(name, _)| *name == connector).expect("it has a connection").1
    }
}

impl Came {
    fn of(scene: &Scene, answer: Answer) -> Self {
        let told = answer.body;
        // Whatever was sent of the host's own address comes back in what a guest was asked.
        leaks::assert_none(&scene.host, &told.to_string());
        let failure = &told["failure"];
        let names = [&failure["code"], &failure["kind"]["other"], &failure["kind"], &told["state"], &told["code"]];
        let code = names.into_iter().find_map(Value::as_str).map_or(answer.status.to_string(), str::to_owned);
        Self { code, told }
    }
}

fn nth_of<T>(all: &[T], nth: usize) -> &T {
    &all[nth % all.len()]
}

/// As it is sent: what is a text to begin with is no JSON, then.
fn received(body: &Value) -> String {
    body.as_str().map_or_else(|| body.to_string(), str::to_owned)
}
