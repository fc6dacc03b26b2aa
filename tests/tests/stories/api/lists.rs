//! Lists: every page says where the next begins, and none is larger than a client and the host can bear.

use bulkhead_tests::{Host, Tenant};
use serde_json::{Value, json};

use crate::postgres::Database;
use crate::tiny;

async fn list(tenant: &Tenant<'_>, path: &str) -> (Vec<Value>, Option<String>) {
    let page = tenant.get(path).await.ok();
    (page["items"].as_array().unwrap().clone(), page["next"].as_str().map(str::to_owned))
}

/// Follows `next` to the end; what `field` says of each item, and how many pages there were.
async fn follow(tenant: &Tenant<'_>, path: &str, by: &str, field: &str) -> (Vec<String>, usize) {
    let (mut found, mut pages, mut next) = (Vec::new(), 0, None);
    loop {
        let cursor = next.map_or(String::new(), |next: String| format!("&{by}={next}"));
        let (items, more) = list(tenant, &format!("{path}{cursor}")).await;
        found.extend(items.iter().map(|item| item[field].as_str().unwrap().to_owned()));
        pages += 1;
        next = more;
        if next.is_none() {
            return (found, pages);
        }
    }
}

async fn pages(host: &Host) {
    host.publish("mirror").await;
    let tenant = host.tenant("t").await;
    let connection = tenant.connection("mirror", json!({})).await;
    let at = |rest: &str| format!("/v1/connections/{connection}/{rest}");
    for number in 1..=4 {
        tenant.put(&at(&format!("records/things/{number}")), json!({ "name": "x" })).await.ok();
        let link = json!({ "external_id": format!("e{number}") });
        tenant.put(&at(&format!("links/things/{number}")), link).await.ok();
    }
    for (list, field) in [("records", "id"), ("links", "record")] {
        for (limit, count) in [(3, 2), (2, 2), (4, 1), (1, 4)] {
            let (found, pages) = follow(&tenant, &at(&format!("{list}/things?limit={limit}")), "after", field).await;
            assert_eq!((found.join(" ").as_str(), pages), ("1 2 3 4", count), "{list}, {limit} at a time");
        }
    }
    for _ in 0..4 {
        tenant.post("/v1/keys", json!({ "name": "x", "scopes": [] })).await.ok();
    }
    let (keys, pages) = follow(&tenant, "/v1/keys?limit=3", "before", "id").await;
    assert_eq!((keys.len(), pages), (4, 2), "{keys:?}");
    for name in ["one", "two", "three"] {
        let wasm = tiny::with_manifest(&tiny::connector(name, "1.0.0"), &tiny::manifest(name, "1.0.0", super::KEYED));
        host.upload(wasm).await.ok();
        tenant.post("/v1/apps", json!({ "connector": name, "name": name })).await.ok();
    }
    let connectors = follow(&tenant, "/v1/connectors?limit=3", "after", "name").await;
    assert_eq!((connectors.0.join(" ").as_str(), connectors.1), ("mirror one three two", 2));
    let apps = follow(&tenant, "/v1/apps?limit=2", "before", "connector").await;
    assert_eq!((apps.0.join(" ").as_str(), apps.1), ("three two one", 2));
    let runs = follow(&tenant, "/v1/runs?limit=3", "before", "id").await;
    assert_eq!(runs.0.len(), 4, "{runs:?}");
    let (runs, _) = list(&tenant, "/v1/runs").await;
    for run in &runs {
        assert!(run.get("input").is_none() && run.get("output").is_none(), "in a list: {run:#}");
        let whole = tenant.get(&format!("/v1/runs/{}", run["id"].as_str().unwrap())).await.ok();
        assert!(whole["input"].is_object() && whole.get("output").is_some(), "{whole:#}");
    }
}

/// Mutation: host/store/src/records.rs or links.rs, `more: false`; host/store/src/runs.rs, the lists with `run_columns!`;
/// host/server/src/api/connectors.rs or apps.rs, `list`, all at once.
#[tokio::test]
async fn a_list_that_goes_on_says_where() {
    pages(&Host::spawn().await).await;
}

#[tokio::test]
async fn over_postgres_lists_go_on_alike() {
    let Some(database) = Database::fresh().await else { return };
    pages(&database.host().spawn().await).await;
    database.end().await;
}

/// Mutation: host/store/src/paging.rs, `fitting`, as many as were asked for.
#[tokio::test]
async fn a_page_of_large_things_ends_early() {
    let host = Host::spawn().await;
    host.publish("mirror").await;
    let tenant = host.tenant("t").await;
    let connection = tenant.connection("mirror", json!({})).await;
    let path = format!("/v1/connections/{connection}/records/things");
    for number in 1..=3 {
        let large = json!({ "name": "x".repeat((4 << 20) - 1_000) });
        tenant.put(&format!("{path}/{number}"), large).await.ok();
    }
    let (items, next) = list(&tenant, &path).await;
    assert_eq!((items.len(), next.as_deref()), (2, Some("2")));
    assert_eq!(follow(&tenant, &format!("{path}?limit=200"), "after", "id").await.0, ["1", "2", "3"]);
}

/// Mutation: host/store/src/deliveries.rs, `listed_columns`, a length of nothing.
#[tokio::test]
async fn a_delivery_is_listed_with_its_length() {
    let host = Host::spawn().await;
    host.publish("hostile").await;
    let tenant = host.tenant("t").await;
    let connection = tenant.connection("hostile", json!({})).await;
    let path = tenant.hook(&connection).await;
    let body = "{\"pulls\": 0}";
    let told = reqwest::Client::builder().no_proxy().build().unwrap();
    let told = told.post(format!("{}{path}", host.url())).body(body).send().await.unwrap();
    assert!(told.status().is_success(), "{told:?}");
    let (deliveries, _) = list(&tenant, "/v1/deliveries").await;
    assert_eq!(deliveries[0]["body_bytes"], json!(body.len()), "{deliveries:#?}");
}
