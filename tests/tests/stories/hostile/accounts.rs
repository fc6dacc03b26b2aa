//! Guests that say that they are somebody else's account. At the one address of an app the account decides who gets what.

use std::path::Path;

use bulkhead_tests::shop::{REALM, Shop};
use reqwest::Method;
use serde_json::{Value, json};

use super::raw::Raw;
use crate::authorizing::{self, OTHER_REALM};
use crate::tiny;
use crate::webhooks::{items, items_of, tell_app_of};

const BY_KEY: &str = "[auth]\nkind = \"api_key\"\n[[auth.fields]]\nname = \"key\"\ntitle = \"Key\"\n\n";

/// QuickBooks' manifest as a thief would have it: as it is; where nobody but the guest says which account it is; and the same
/// by an API key.
fn manifests() -> [(&'static str, String); 3] {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../connectors/quickbooks/connector.toml");
    let proven = std::fs::read_to_string(file).unwrap();
    let unproven = with(&with(&proven, "account_param", "refresh", ""), "[auth.account_call]", "# Reading.", "");
    let keyed = with(&proven, "[auth]", "# Reading.", BY_KEY).replace("access_token", "key");
    [("2.0.0", proven), ("3.0.0", unproven), ("4.0.0", keyed)]
}

/// The text with this in the place of what stands from there up to there.
fn with(text: &str, from: &str, to: &str, instead: &str) -> String {
    let (before, rest) = text.split_once(from).unwrap();
    let (_, after) = rest.split_once(to).unwrap();
    format!("{before}{instead}{to}{after}")
}

async fn books(shop: &Shop, version: &str) -> String {
    let new = json!({
        "connector": "quickbooks", "version": version, "app": shop.app, "environment": "sandbox", "name": version,
    });
    shop.tenant().post("/v1/connections", new).await.text("id")
}

/// What comes for an account reaches the connections of which the host itself was told that they are that account's. A thief's
/// guest names the other tenant's wherever a guest can: when its connection is authorized, and whenever it is asked again.
///
/// Mutations: host/engine/src/connections/authorization.rs, `write_authorization`, the key out of `account`;
/// host/engine/src/commit/produced.rs, `write_account`, `account_id` in the place of the key.
#[tokio::test]
async fn naming_somebody_elses_account_brings_nothing_of_what_comes_for_it() {
    let mut shop = authorizing::shop().await;
    let (owner, first) = (shop.tenant.clone(), shop.quickbooks_connection.clone());
    let thief = shop.host.tenant("thief").await.id().to_owned();
    shop.tenant.clone_from(&thief);
    for (version, manifest) in manifests() {
        let manifest = with(&manifest, "version = ", "\ntitle", &format!("version = {version:?}"));
        shop.host.upload(tiny::with_manifest(&Raw::claiming(REALM).build("claiming"), &manifest)).await.ok();
    }
    let [proven, unproven, keyed] =
        [books(&shop, "2.0.0").await, books(&shop, "3.0.0").await, books(&shop, "4.0.0").await];
    for connection in [&proven, &unproven] {
        assert_eq!(authorizing::authorize(&shop, connection, OTHER_REALM).await.status, 200);
    }
    let filled_in = json!({ "fields": { "key": "a-key" }, "second": true });
    shop.tenant().put(&format!("/v1/connections/{keyed}/credential"), filled_in).await.ok();
    for (connection, taken_for) in [(&proven, OTHER_REALM), (&unproven, REALM), (&keyed, REALM)] {
        let path = format!("/v1/connections/{connection}");
        let asked = shop.tenant().post(&format!("{path}/check"), json!({})).await.ok();
        assert_eq!((&asked["state"], &asked["output"]["id"]), (&json!("succeeded"), &json!(REALM)), "{asked:#}");
        let view = shop.tenant().get(&path).await.ok();
        assert_eq!((&view["status"], &view["account"]["id"]), (&json!("active"), &json!(taken_for)), "{view:#}");
    }

    let batch = [items_of(REALM, 2), items_of(OTHER_REALM, 1)].concat();
    assert_eq!(tell_app_of(&shop, &batch).await.status, 200);
    let kept_for = async |tenant: &str| -> Vec<Value> {
        let kept = items(&shop.host.tenant_by_id(tenant), "/v1/deliveries").await;
        kept.iter().map(|delivery| delivery["connection"].clone()).collect()
    };
    assert_eq!(kept_for(&owner).await, [json!(first), json!(first)]);
    assert_eq!(kept_for(&thief).await, [json!(proven)], "what came for its own account, and nothing else");
    let runs = items(&shop.tenant(), "/v1/runs?limit=200").await;
    let told: Vec<_> = runs.iter().filter(|run| run["operation"] == "receive").collect();
    assert!(told.len() == 1 && told[0]["connection"] == json!(proven), "{runs:#?}");
    let unrouted = shop.host.operator(Method::GET, "/v1/deliveries", None).await.ok();
    assert_eq!(unrouted["items"], json!([]));
}
