//! A connector gets newer: what its connections take by themselves, what waits for a person, and what their app forbids.

use axum::body::Body;
use axum::response::Response;
use bulkhead_tests::{Answer, Host, PATIENCE, Tenant, component};
use bytes::Bytes;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Executor as _;
use tokio::sync::watch;

use crate::authorizing::change;
use crate::hostile::WEBHOOK;
use crate::postgres::Database;
use crate::provider::Provider;
use crate::{tiny, wait};

const API: &str = "api.allowed.example";

/// One that may do this with the provider.
fn rule(methods: &str, path: &str, more: &str) -> String {
    format!("[[egress]]\nhost = \"{API}\"\nmethods = [{methods}]\npaths = [\"{path}\"]\n{more}\n")
}

fn version(version: &str, more: &str) -> Vec<u8> {
    let hostile = std::fs::read(component("hostile")).unwrap();
    tiny::with_manifest(&hostile, &tiny::manifest("hostile", version, &format!("{WEBHOOK}{more}")))
}

/// A host whose provider answers this.
struct Stage {
    host: Host,
    provider: Provider,
}

impl Stage {
    async fn with(provider: Provider) -> Self {
        let host = Host::builder().upstream(API, provider.url()).spawn().await;
        Self { host, provider }
    }

    async fn upload(&self, number: &str, more: &str) {
        self.host.upload(version(number, more)).await.ok();
    }

    /// A connection that was made with this besides, and works.
    async fn connection(&self, tenant: &Tenant<'_>, more: Value) -> String {
        let mut new = json!({ "connector": "hostile", "name": "c" });
        new.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        tenant.post("/v1/connections", new).await.text("id")
    }
}

/// The version that the newest attempt of an action was made by, and what the provider answered.
async fn get(tenant: &Tenant<'_>, connection: &str, path: &str) -> (String, Value) {
    let target = json!({ "method": "GET", "url": format!("https://{API}{path}") });
    let run = tenant.act(connection, "reach", target).await;
    let run = tenant.get(&format!("/v1/runs/{}", run["id"].as_str().unwrap())).await.ok();
    let version = run["detail"]["attempts"][0]["version"].as_str().unwrap_or_else(|| panic!("{run:#}")).to_owned();
    let reached = &run["output"];
    let result = reached["answer"]["status"].as_u64().map_or_else(|| reached["error"]["kind"].clone(), Value::from);
    (version, result)
}

async fn offer(tenant: &Tenant<'_>, connection: &str) -> Value {
    tenant.get(&format!("/v1/connections/{connection}/upgrade")).await.ok()
}

/// Agrees to what was looked at, and follows.
async fn agree(tenant: &Tenant<'_>, connection: &str, to: Value) -> Answer {
    tenant.post(&format!("/v1/connections/{connection}/upgrade"), to).await
}

async fn of(tenant: &Tenant<'_>, connection: &str) -> Value {
    tenant.get(&format!("/v1/connections/{connection}")).await.ok()
}

/// Mutations: host/engine/src/upgrades.rs, `rolled_out`: never; also where something more is asked for; also where the
/// connection does not follow; host/engine/src/connections.rs, `connections`, with the versions that wait.
#[tokio::test]
async fn a_version_that_asks_for_no_more_is_taken_by_itself_and_any_other_waits_for_a_person() {
    let stage = Stage::with(Provider::agreeable().await).await;
    let (reads, writes) = (rule("\"GET\"", "/v1/*", ""), rule("\"GET\"", "/v2/*", ""));
    stage.upload("1.0.0", &reads).await;
    let tenant = stage.host.tenant("t").await;
    let (follows, stays) =
        (stage.connection(&tenant, json!({})).await, stage.connection(&tenant, json!({ "version": "1.0.0" })).await);
    assert_eq!(get(&tenant, &follows, "/v1/a").await, ("1.0.0".into(), json!(200)));

    stage.upload("1.0.1", &reads).await;
    assert_eq!(get(&tenant, &follows, "/v1/a").await.0, "1.0.1");
    assert_eq!(of(&tenant, &follows).await["version"], "1.0.1");
    assert_eq!(get(&tenant, &stays, "/v1/a").await.0, "1.0.0", "it was put there by name");

    stage.upload("1.1.0", &format!("{reads}{writes}")).await;
    assert_eq!(get(&tenant, &follows, "/v2/a").await, ("1.0.1".into(), json!("denied")));
    let said = of(&tenant, &follows).await["warnings"].clone();
    assert_eq!((said.as_array().unwrap().len(), &said[0]["code"]), (1, &json!("upgrade-waiting")), "{said:#}");
    let path = format!("Version 1.1.0 waits for somebody. GET /v1/connections/{follows}/upgrade");
    assert!(said[0]["message"].as_str().unwrap().contains(&path), "{said:#}");
    let listed = tenant.get("/v1/connections").await.ok()["items"].as_array().unwrap().clone();
    let says_nothing = listed.iter().all(|connection| connection["warnings"] == json!([]));
    assert!(listed.len() == 2 && says_nothing, "what takes a check is not asked of each in a list: {listed:#?}");
    assert_eq!(of(&tenant, &stays).await["warnings"], json!([]), "it was put there by name");
    let offered = offer(&tenant, &follows).await;
    assert_eq!((&offered["from"], &offered["to"]), (&json!("1.0.1"), &json!("1.1.0")));
    assert_eq!(offered["changes"][0]["text"], format!("send GET to `{API}/v2/*`"));
    assert_eq!(offered["changes"].as_array().unwrap().len(), 1, "{offered:#}");

    let agreed = agree(&tenant, &follows, json!({ "version": "1.1.0" })).await.ok();
    assert_eq!((&agreed["version"], &agreed["follows"]), (&json!("1.1.0"), &json!(true)));
    assert_eq!(get(&tenant, &follows, "/v2/a").await, ("1.1.0".into(), json!(200)));
    assert_eq!(agreed["warnings"], json!([]));
    // Less is no more: what was agreed to stays agreed to.
    stage.upload("1.2.0", &reads).await;
    assert_eq!(get(&tenant, &follows, "/v2/a").await, ("1.2.0".into(), json!("denied")));
    stage.upload("1.3.0", &format!("{reads}{writes}")).await;
    assert_eq!(get(&tenant, &follows, "/v2/a").await, ("1.3.0".into(), json!(200)));
}

/// Mutation: host/engine/src/upgrades.rs, `upgrade_of`, without a look at the settings.
#[tokio::test]
async fn a_version_that_needs_other_settings_waits_for_them() {
    let stage = Stage::with(Provider::agreeable().await).await;
    stage.upload("1.0.0", "").await;
    let tenant = stage.host.tenant("t").await;
    let connection = stage.connection(&tenant, json!({})).await;
    let settings = "[settings]\ntype = \"object\"\nrequired = [\"region\"]\n";
    stage.upload("1.1.0", settings).await;
    assert_eq!(get(&tenant, &connection, "/v1/a").await.0, "1.0.0");
    let offered = offer(&tenant, &connection).await;
    assert_eq!((offered["changes"].as_array().unwrap().len(), offered["settings"].as_array().unwrap().len()), (0, 1));
    assert_eq!(offered["settings"][0]["pointer"], "/settings/region");
    assert_eq!(of(&tenant, &connection).await["warnings"][0]["code"], "upgrade-waiting");
    assert_eq!(agree(&tenant, &connection, json!({ "version": "1.1.0" })).await.status, 422);
    let region = json!({ "version": "1.1.0", "settings": { "region": "eu" } });
    let taken = agree(&tenant, &connection, region).await.ok();
    assert_eq!((&taken["version"], &taken["settings"]["region"]), (&json!("1.1.0"), &json!("eu")));
}

/// Mutations: host/engine/src/upgrades.rs, `removed`, without what was asked for; without what was offered; host/manifest/src/
/// grant/difference.rs, `gone`, whatever differs.
#[tokio::test]
async fn what_a_newer_version_has_no_longer_is_told() {
    let host = Host::spawn().await;
    let upload = async |number: &str, actions: Value, more: &str| {
        let wasm = tiny::describing(&tiny::descriptor(&actions));
        host.upload(tiny::with_manifest(&wasm, &tiny::manifest("tiny", number, more))).await.ok();
    };
    let action = |name: &str| tiny::action(name, &json!(true));
    let (reads, writes) = (rule("\"GET\"", "/v1/*", ""), rule("\"POST\"", "/v2/*", ""));
    upload("1.0.0", json!([action("pay"), action("refund")]), &format!("{reads}{writes}")).await;
    let tenant = host.tenant("t").await;
    let connection = tenant.post("/v1/connections", json!({ "connector": "tiny", "name": "c" })).await.text("id");
    let limits = "[limits]\nmemory_mib = 32\n";
    upload("1.1.0", json!([action("pay"), action("charge")]), &format!("{reads}{limits}")).await;
    let offered = offer(&tenant, &connection).await;
    assert_eq!(offered["changes"], json!([]));
    let gone = json!([
        { "text": format!("send POST to `{API}/v2/*`"), "change": "requests", "host": API, "methods": ["POST"], "path": "/v2/*" },
        { "text": "have the action `refund`", "change": "action", "name": "refund" },
    ]);
    assert_eq!(offered["removed"], gone, "{offered:#}");
    assert_eq!(of(&tenant, &connection).await["warnings"], json!([]), "less is taken by itself");
}

/// What a rule of effects says of their repetition.
const KEYED: &str =
    "idempotency = { kind = \"header\", name = \"Idempotency-Key\", max_length = 64, window_minutes = 60 }";

/// At a provider whose first answer is a no that ends when it is told to.
async fn busy_at_first() -> (watch::Sender<bool>, Stage) {
    let (say, told) = watch::channel(false);
    let busy_once = move |_: &_, before| {
        let mut told = told.clone();
        let end = async move { told.wait_for(|told| *told).await.map(|_| Bytes::new()) };
        let (status, body) = match before {
            0 => (503, Body::from_stream(futures::stream::once(end))),
            _ => (200, Body::empty()),
        };
        Response::builder().status(status).body(body).unwrap()
    };
    (say, Stage::with(Provider::answering(busy_once).await).await)
}

/// Mutations: host/engine/src/attempt/opening.rs, `open`, without `begun`: the requests are met by another version;
/// host/store/src/journal.rs, `BEGUN_BY`, none.
#[tokio::test]
async fn a_run_goes_on_by_the_version_that_it_was_begun_with() {
    let (say, stage) = busy_at_first().await;
    let rules = format!("{}{}", rule("\"POST\"", "/v1/*", KEYED), rule("\"GET\"", "/v1/*", ""));
    stage.upload("1.0.0", &rules).await;
    let tenant = stage.host.tenant("t").await;
    let connection = stage.connection(&tenant, json!({})).await;
    // Its first attempt goes on by this one.
    stage.upload("1.0.1", &rules).await;
    let target = json!({ "method": "POST", "url": format!("https://{API}/v1/a") });
    let run = tenant.post(&format!("/v1/connections/{connection}/actions/reach"), target).await.text("id");
    let path = format!("/v1/runs/{run}");
    wait::until(|| !stage.provider.seen().is_empty()).await;
    stage.upload("1.0.2", &rules).await;
    assert_eq!(get(&tenant, &connection, "/v1/a").await.0, "1.0.2");
    say.send(true).unwrap();
    tenant.runs_until("", |runs| runs.iter().all(wait::has_ended)).await;
    let run = tenant.get(&path).await.ok();
    let versions: Vec<_> =
        run["detail"]["attempts"].as_array().unwrap().iter().map(|attempt| &attempt["version"]).collect();
    assert_eq!((&run["state"], versions), (&json!("succeeded"), vec![&json!("1.0.1"); 2]), "{run:#}");
    let keys: Vec<_> =
        stage.provider.seen().iter().filter_map(|seen| seen.headers.get("idempotency-key").cloned()).collect();
    assert_eq!((keys.len(), &keys[0]), (2, &keys[1]));
}

/// A connector that proves itself by an app's registration, here.
fn authorizing(token: &str, place: &str) -> String {
    let auth = format!(
        "[auth]\nkind = \"oauth2\"\nauthorize_url = \"https://{API}/authorize\"\ntoken_url = \"https://{token}/token\"\n"
    );
    format!("{auth}{}", rule("\"GET\"", "/v1/*", &format!("credential = {place}")))
}

const BEARER: &str = "{ place = \"bearer\", field = \"access_token\" }";
const IN_THE_URL: &str = "{ place = \"query\", name = \"token\", field = \"access_token\" }";

/// Mutation: host/engine/src/upgrades.rs, `upgrade`, without `not_pinned`.
#[tokio::test]
async fn nobody_but_the_apps_owner_lets_its_secrets_go_elsewhere() {
    let stage = Stage::with(Provider::agreeable().await).await;
    stage.upload("1.0.0", &authorizing(API, BEARER)).await;
    let app = json!({ "connector": "hostile", "name": "app", "client_id": "id", "client_secret": "secret" });
    let app = stage.host.operator(Method::POST, "/v1/apps", Some(app)).await.text("id");
    let tenant = stage.host.tenant("t").await;
    let connection = stage.connection(&tenant, json!({ "app": app })).await;
    let pins = format!("/v1/apps/{app}/pins");
    for (number, token, place, wants) in [
        ("1.1.0", "evil.example", BEARER, "exchange codes and tokens at https://evil.example"),
        ("1.2.0", API, IN_THE_URL, "send its credential to api.allowed.example, in the URL, as `token`"),
    ] {
        stage.upload(number, &authorizing(token, place)).await;
        assert_eq!(offer(&tenant, &connection).await["not_pinned"], json!([wants]));
        let refused = agree(&tenant, &connection, json!({ "version": number })).await;
        assert_eq!((refused.status, &refused.body["code"]), (409, &json!("not-pinned")));
        assert_eq!(of(&tenant, &connection).await["version"], "1.0.0");
        // A tenant may use the operator's app, and not decide about it.
        assert_eq!(tenant.put(&pins, json!({ "version": number })).await.status, 404);
    }
    let look = format!("{pins}?version=1.2.0");
    let looked = stage.host.operator(Method::GET, &look, None).await.ok();
    assert_eq!(
        looked["changes"],
        json!([
            "It may send its credential to api.allowed.example, in the URL, as `token`.",
            "It may no longer send its credential to api.allowed.example, as bearer token."
        ])
    );
    let unknown = stage.host.operator(Method::PUT, &pins, Some(json!({ "version": "9.9.9" }))).await;
    assert_eq!((unknown.status, &unknown.body["code"]), (422, &json!("unknown-version")));
    assert_eq!(stage.host.operator(Method::PUT, &pins, Some(json!({ "version": "1.2.0" }))).await.status, 204);
    assert_eq!(agree(&tenant, &connection, json!({ "version": "1.2.0" })).await.ok()["version"], "1.2.0");
}

/// Mutations: host/server/src/api/connections.rs, `GoOn`, the newest where none is named; `follows`, no.
#[tokio::test]
async fn agreement_is_to_the_version_that_was_looked_at() {
    let stage = Stage::with(Provider::agreeable().await).await;
    let (reads, more) = (rule("\"GET\"", "/v1/*", ""), rule("\"GET\"", "/v2/*", ""));
    stage.upload("1.0.0", &reads).await;
    let tenant = stage.host.tenant("t").await;
    let connection = stage.connection(&tenant, json!({})).await;
    stage.upload("1.1.0", &format!("{reads}{more}")).await;
    let seen = offer(&tenant, &connection).await;
    assert_eq!((&seen["to"], seen["changes"].as_array().unwrap().len()), (&json!("1.1.0"), 1));
    // While the tenant reads it, something larger comes.
    stage.upload("2.0.0", &format!("{reads}{more}{}", rule("\"POST\"", "/*", ""))).await;
    let unsaid = agree(&tenant, &connection, json!({})).await;
    assert!((400..500).contains(&unsaid.status), "{unsaid:?}");
    assert_eq!(of(&tenant, &connection).await["version"], "1.0.0");
    let agreed = agree(&tenant, &connection, json!({ "version": seen["to"] })).await.ok();
    assert_eq!((&agreed["version"], &agreed["follows"]), (&json!("1.1.0"), &json!(true)));
    assert_eq!(get(&tenant, &connection, "/v2/a").await, ("1.1.0".into(), json!(200)), "2.0.0 waits");
    stage.upload("2.0.1", &format!("{reads}{more}")).await;
    let stays = agree(&tenant, &connection, json!({ "version": "1.1.0", "follows": false })).await.ok();
    assert_eq!((&stays["version"], &stays["follows"]), (&json!("1.1.0"), &json!(false)));
    assert_eq!(get(&tenant, &connection, "/v2/a").await.0, "1.1.0", "it is to stay there");
}

/// Mutation: host/engine/src/upgrades.rs, `is_taken_by_itself`, without `succeeds`.
#[tokio::test]
async fn what_was_uploaded_later_is_not_newer_for_that() {
    let stage = Stage::with(Provider::agreeable().await).await;
    stage.upload("2.0.0", "").await;
    let tenant = stage.host.tenant("t").await;
    let connection = stage.connection(&tenant, json!({})).await;
    for (uploaded, taken) in [("1.0.2", "2.0.0"), ("2.1.0-beta.1", "2.0.0"), ("2.0.1", "2.0.1")] {
        stage.upload(uploaded, "").await;
        assert_eq!(get(&tenant, &connection, "/v1/a").await.0, taken, "{uploaded} was uploaded");
    }
}

/// Mutations: host/engine/src/upgrades.rs, `is_taken_by_itself`, without the environments; `upgrade`, without them.
#[tokio::test]
async fn a_version_without_the_connections_environment_is_not_for_it() {
    let stage = Stage::with(Provider::agreeable().await).await;
    stage.upload("1.0.0", "[environments.sandbox]\nx = \"1\"\n").await;
    let tenant = stage.host.tenant("t").await;
    let connection = stage.connection(&tenant, json!({ "environment": "sandbox" })).await;
    stage.upload("1.0.1", "[environments.production]\nx = \"1\"\n").await;
    assert_eq!(get(&tenant, &connection, "/v1/a").await.0, "1.0.0");
    assert_eq!(offer(&tenant, &connection).await["environments"], json!(["production"]));
    let refused = agree(&tenant, &connection, json!({ "version": "1.0.1" })).await;
    assert_eq!((refused.status, &refused.body["code"]), (422, &json!("unknown-environment")), "{refused:?}");
    assert_eq!(of(&tenant, &connection).await["version"], "1.0.0");
}

/// Mutations: host/engine/src/upgrades.rs, `rolled_out`, end the attempt; `waiting_upgrade`, with the fault.
#[tokio::test]
async fn a_newer_version_that_cannot_be_looked_at_fails_no_run_of_the_one_that_works() {
    let stage = Stage::with(Provider::agreeable().await).await;
    let reads = rule("\"GET\"", "/v1/*", "");
    stage.upload("1.0.0", &reads).await;
    let tenant = stage.host.tenant("t").await;
    let connection = stage.connection(&tenant, json!({})).await;
    stage.upload("1.0.1", &reads).await;
    change(&stage.host, "UPDATE versions SET manifest = 'damaged' WHERE version = '1.0.1'").await;
    assert_eq!(get(&tenant, &connection, "/v1/a").await, ("1.0.0".into(), json!(200)));
    assert_eq!(of(&tenant, &connection).await["warnings"], json!([]), "nor does it hide the connection");
    tenant.get("/v1/connections").await.ok();
}

/// Its second try goes where the first went, by the permission that it had, though the connection has other settings and
/// asks for less by now.
///
/// Mutations: host/engine/src/attempt/opening.rs, `as_it_was`, the connection as it is now; host/store/src/connections.rs,
/// `set_connection_version`, without `KEEP_TERMS`.
#[tokio::test]
async fn a_run_keeps_the_settings_and_the_permission_that_it_began_with() {
    let (say, stage) = busy_at_first().await;
    let settings = "[settings]\ntype = \"object\"\n[settings.properties.shop]\ntype = \"string\"\n";
    let own = |methods: &str, more: &str| rule(methods, "/v1/*", more).replace(API, "{settings.shop}.allowed.example");
    stage.upload("1.0.0", &format!("{}{}{settings}", own("\"POST\"", KEYED), own("\"GET\"", ""))).await;
    stage.upload("1.1.0", &format!("{}{settings}", own("\"GET\"", ""))).await;
    let tenant = stage.host.tenant("t").await;
    let new = json!({ "version": "1.0.0", "settings": { "shop": "api" } });
    let connection = stage.connection(&tenant, new).await;
    let target = json!({ "method": "POST", "url": format!("https://{API}/v1/a") });
    let run = tenant.post(&format!("/v1/connections/{connection}/actions/reach"), target).await.text("id");
    wait::until(|| !stage.provider.seen().is_empty()).await;
    let less = json!({ "version": "1.1.0", "settings": { "shop": "another" } });
    assert_eq!(agree(&tenant, &connection, less).await.ok()["settings"]["shop"], "another");
    say.send(true).unwrap();
    tenant.runs_until("", |runs| runs.iter().all(wait::has_ended)).await;
    let run = tenant.get(&format!("/v1/runs/{run}")).await.ok();
    let attempts = run["detail"]["attempts"].as_array().unwrap();
    let versions: Vec<_> = attempts.iter().map(|attempt| &attempt["version"]).collect();
    assert_eq!((&run["state"], versions), (&json!("succeeded"), vec![&json!("1.0.0"); 2]), "{run:#}");
    assert_eq!(run["output"]["answer"]["status"], 200, "{run:#}");
    assert_eq!(
        get(&tenant, &connection, "/v1/a").await,
        ("1.1.0".into(), json!("denied")),
        "what begins now is of now"
    );
}

/// It has asked nobody for anything, and comes back with what that version gave it to come back with.
///
/// Mutation: host/engine/src/attempt/opening.rs, `open`, without `resume`.
#[tokio::test]
async fn a_run_that_comes_back_comes_back_to_its_own_version() {
    let stage = Stage::with(Provider::agreeable().await).await;
    stage.upload("1.0.0", "").await;
    stage.upload("1.1.0", "").await;
    let tenant = stage.host.tenant("t").await;
    let connection = stage.connection(&tenant, json!({ "version": "1.0.0" })).await;
    let path = format!("/v1/connections/{connection}/actions/come_back");
    let run = tenant.post(&path, json!({ "after_ms": 3_000 })).await.text("id");
    let path = format!("/v1/runs/{run}");
    tenant.runs_until("", |runs| runs.iter().all(|run| run["state"] == "parked")).await;
    agree(&tenant, &connection, json!({ "version": "1.1.0" })).await.ok();
    let looking = async {
        let mut beat = tokio::time::interval(std::time::Duration::from_millis(50));
        loop {
            beat.tick().await;
            let run = tenant.get(&path).await.ok();
            if run["detail"]["attempts"].as_array().is_some_and(|attempts| attempts.len() > 1) {
                return run;
            }
        }
    };
    let run = tokio::time::timeout(PATIENCE, looking).await.expect("it comes back");
    let attempts = run["detail"]["attempts"].as_array().unwrap();
    assert!(attempts.iter().all(|attempt| attempt["version"] == "1.0.0"), "{run:#}");
}

/// Somebody changes it while another agreement to it is on its way: that one is told, and changes nothing.
///
/// Mutations: host/store/src/connections.rs, `set_connection_version`, whatever was seen; host/engine/src/upgrades.rs,
/// `upgrade`, without `Overtaken`.
#[tokio::test]
async fn an_agreement_to_what_has_changed_meanwhile_changes_nothing() {
    let Some(database) = Database::fresh().await else { return };
    let host = database.host().spawn().await;
    for number in ["1.0.0", "1.1.0"] {
        host.upload(version(number, "")).await.ok();
    }
    let tenant = host.tenant("t").await;
    let new = json!({ "connector": "hostile", "name": "c", "version": "1.0.0" });
    let connection = tenant.post("/v1/connections", new).await.text("id");
    let mut beside = database.connect().await;
    beside.execute("BEGIN; UPDATE connections SET edition = edition + 1").await.unwrap();
    let going = agree(&tenant, &connection, json!({ "version": "1.1.0" }));
    let (refused, ()) = tokio::join!(going, async {
        database.somebody_waits(1).await;
        beside.execute("COMMIT").await.unwrap();
    });
    assert_eq!((refused.status, &refused.body["code"]), (409, &json!("overtaken")), "{refused:?}");
    assert_eq!(of(&tenant, &connection).await["version"], "1.0.0");
    drop((beside, host));
    database.end().await;
}
