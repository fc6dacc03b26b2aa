//! Attacks of several steps: on where an app's secrets go, on what is kept, on lists, and on who checks a connection.
//!
//! Each answers what its last step came to. All before it has to work, and fails the story where it does not.

use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::Method;
use serde_json::{Value, json};

use bulkhead_tests::Answer;

use super::scene::{Attacker, Scene};
use crate::tiny;

pub(super) type Plot = for<'a> fn(&'a Scene, &'a Attacker) -> BoxFuture<'a, Answer>;

const HERE: &str = "api.allowed.example";
const ELSEWHERE: &str = "collects.example";

/// Whose token URL and API are at these hosts, and whose token goes to that place of a request.
fn signed_in(name: &str, version: &str, token: &str, api: &str, place: &str) -> Vec<u8> {
    let more = format!(
        "[auth]\nkind = \"oauth2_client_credentials\"\ntoken_url = \"https://{token}/token\"\n\
         [[egress]]\nhost = \"{api}\"\nmethods = [\"GET\"]\npaths = [\"/v1/*\"]\n\
         credential = {{ {place} }}\n"
    );
    tiny::with_manifest(&tiny::connector(name, version), &tiny::manifest(name, version, &more))
}

const BEARER: &str = "place = \"bearer\", field = \"access_token\"";
const HEADER: &str = "place = \"header\", name = \"X-Key\", template = \"{access_token}\"";

/// A connector whose app an attacker would like to use.
pub(super) fn guarded(version: &str) -> Vec<u8> {
    signed_in("guarded", version, HERE, HERE, BEARER)
}

impl Scene {
    async fn tell(&self, attacker: &Attacker, path: &str, body: Value) -> Answer {
        self.send(attacker, Method::POST, path, body.to_string().into_bytes()).await
    }

    /// A connector, an app for it and a connection; then a newer version, which the connection is to be upgraded to.
    async fn upgrade(&self, attacker: &Attacker, token: &str, api: &str, place: &str) -> Answer {
        let name = format!("moving-{}", self.once());
        self.upload(attacker, signed_in(&name, "1.0.0", HERE, HERE, BEARER)).await.ok();
        let app = json!({ "connector": name, "name": "app", "client_id": "id", "client_secret": "a-secret" });
        let app = self.tell(attacker, "/v1/apps", app).await.text("id");
        let new = json!({ "connector": name, "app": app, "name": "c", "version": "1.0.0" });
        let connection = self.tell(attacker, "/v1/connections", new).await.text("id");
        self.upload(attacker, signed_in(&name, "2.0.0", token, api, place)).await.ok();
        self.tell(attacker, &format!("/v1/connections/{connection}/upgrade"), json!({ "version": "2.0.0" })).await
    }
}

pub(super) fn another_token_url<'a>(scene: &'a Scene, attacker: &'a Attacker) -> BoxFuture<'a, Answer> {
    scene.upgrade(attacker, ELSEWHERE, HERE, BEARER).boxed()
}

pub(super) fn another_host<'a>(scene: &'a Scene, attacker: &'a Attacker) -> BoxFuture<'a, Answer> {
    scene.upgrade(attacker, HERE, ELSEWHERE, BEARER).boxed()
}

pub(super) fn another_placement<'a>(scene: &'a Scene, attacker: &'a Attacker) -> BoxFuture<'a, Answer> {
    scene.upgrade(attacker, HERE, HERE, HEADER).boxed()
}

/// A connection of a connector of one's own, with the operator's app for another.
pub(super) fn app_of_another<'a>(scene: &'a Scene, attacker: &'a Attacker) -> BoxFuture<'a, Answer> {
    with_the_operators_app(scene, attacker, "covets").boxed()
}

/// The same with a connector that has the name of the operator's, and another token URL.
pub(super) fn app_of_a_namesake<'a>(scene: &'a Scene, attacker: &'a Attacker) -> BoxFuture<'a, Answer> {
    with_the_operators_app(scene, attacker, "guarded").boxed()
}

async fn with_the_operators_app(scene: &Scene, attacker: &Attacker, name: &str) -> Answer {
    let version = format!("9.0.{}", scene.once());
    scene.upload(attacker, signed_in(name, &version, ELSEWHERE, ELSEWHERE, BEARER)).await.ok();
    let new = json!({ "connector": name, "app": scene.app, "name": "c", "version": version });
    scene.tell(attacker, "/v1/connections", new).await
}

/// As much state as a run may write, run after run at the scene's pace, on a connection of its own.
pub(super) fn hoard_on_and_on<'a>(scene: &'a Scene, attacker: &'a Attacker) -> BoxFuture<'a, Answer> {
    async {
        let connection = scene.host.tenant_by_id(&attacker.tenant).connection("hostile", json!({})).await;
        let path = format!("/v1/connections/{connection}/actions/hoard_state?wait_ms=60000");
        let (mut nth, mut last) = (0, Answer { status: 200, body: json!({ "state": "succeeded" }) });
        while last.body["state"] == "succeeded" && nth < 40 {
            let hoard = json!({ "values": 2, "bytes": 1_000_000, "prefix": format!("{nth}-") });
            let again = tokio::time::sleep(scene.beat);
            last = scene.tell(attacker, &path, hoard).await;
            again.await;
            nth += 1;
        }
        last
    }
    .boxed()
}

/// A thousand events with two steps each, and everything that they set going is stopped; how many runs there were.
pub(super) fn fan_out<'a>(scene: &'a Scene, attacker: &'a Attacker) -> BoxFuture<'a, Answer> {
    async {
        let tenant = scene.host.tenant_by_id(&attacker.tenant);
        let connection = tenant.connection("hostile", json!({})).await;
        let step = json!({ "connection": connection, "action": "behave", "mapping": "{said: .name}" });
        let route = json!({ "name": "r", "from": connection, "event": "noise", "steps": [step, step] });
        scene.tell(attacker, "/v1/routes", route).await.ok();
        let path = format!("/v1/connections/{connection}/actions/flood_events?wait_ms=60000");
        scene.tell(attacker, &path, json!({ "events": 1_000 })).await.ok();
        tenant.request(Method::DELETE, &format!("/v1/connections/{connection}"), None).await.ok();
        let (mut runs, mut next) = (0, Some(String::new()));
        while let Some(before) = next {
            let page = tenant.get(&format!("/v1/runs?limit=200&connection={connection}{before}")).await.ok();
            runs += page["items"].as_array().map_or(0, Vec::len);
            next = page["next"].as_str().map(|before| format!("&before={before}"));
        }
        Answer { status: 200, body: json!(runs) }
    }
    .boxed()
}

/// A connection of a connector whose check panics where its settings say so.
pub(super) fn panic_in_check<'a>(scene: &'a Scene, attacker: &'a Attacker) -> BoxFuture<'a, Answer> {
    async {
        let new = json!({ "connector": "mirror", "name": "c", "settings": { "breaks": true } });
        let id = scene.tell(attacker, "/v1/connections", new).await.text("id");
        let path = format!("/v1/connections/{id}/credential");
        scene.send(attacker, Method::PUT, &path, json!({ "fields": {} }).to_string().into_bytes()).await
    }
    .boxed()
}

/// Where one list goes on, said to another.
pub(super) fn cursor_of_another_list<'a>(scene: &'a Scene, attacker: &'a Attacker) -> BoxFuture<'a, Answer> {
    async {
        let get = async |path: &str| scene.send(attacker, Method::GET, path, Vec::new()).await;
        let runs = get("/v1/runs?limit=1").await.ok();
        let cursor = runs["next"].as_str().unwrap_or_else(|| panic!("{runs:#}")).to_owned();
        get(&format!("/v1/connections?before={cursor}")).await
    }
    .boxed()
}
