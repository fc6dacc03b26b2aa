//! What a person allows, compared with what was asked for; and providers that take JSON.

use bulkhead_tests::{Host, HostBuilder};
use serde_json::{Value, json};

use super::stage::{API, LOGIN, Stage, says};
use super::token_ends_in;
use crate::provider::Provider;

/// One that gives these scopes, if any.
async fn giving(scope: Option<&'static str>) -> Provider {
    Provider::answering(move |seen, _| match seen.path.as_str() {
        "/token" => {
            let mut token = json!({ "access_token": "a", "refresh_token": "r", "expires_in": 3_600 });
            if let Some(scope) = scope {
                token["scope"] = scope.into();
            }
            says(200, &token)
        }
        _ => says(200, &json!({})),
    })
    .await
}

fn oauth2(more: &str) -> String {
    format!(
        "kind = \"oauth2\"\nauthorize_url = \"https://login.example.com/a\"\ntoken_url = \"https://login.example.com/token\"\n\
         revoke_url = \"https://login.example.com/revoke\"\nscopes = [\"read\", \"write\"]\n{more}"
    )
}

fn builder(provider: &Provider) -> HostBuilder {
    [LOGIN, API].iter().fold(Host::builder(), |builder, host| builder.upstream(host, provider.url()))
}

/// Mutations: host/engine/src/connect/consent.rs, `withheld`, without `compare_scopes`; never anything; the optional ones
/// too. host/engine/src/oauth.rs, `start`, without the optional ones.
#[tokio::test]
async fn a_person_who_allows_less_than_is_needed_is_told_what_is_missing() {
    let optional = "optional_scopes = [\"extra\"]";
    for (gives, more, missing) in [
        (Some("read"), optional, Some("write")),
        (Some(""), optional, Some("read, write")),
        (Some("read write"), optional, None),
        (Some("write extra read"), optional, None),
        (None, optional, None),
        (Some("read,write"), "scope_separator = \",\"", None),
        (Some("https://scopes.example/read"), "compare_scopes = false", None),
    ] {
        let provider = giving(gives).await;
        let stage = Stage::set(builder(&provider), &oauth2(more), "").await.with_app().await;
        let connection = stage.connection().await;
        let (browser, authorize, back) = stage.begin(&connection).await;
        assert_eq!(authorize.contains("extra"), more == optional, "{authorize}");
        let page = browser.get(&back).await;
        let view = stage.view(&connection).await;
        match missing {
            Some(missing) => {
                page.says(400, &format!("Missing: {missing}. Allow all of it there"));
                assert_eq!(view["status"], "pending", "{view:#}");
            }
            None => {
                assert_eq!((page.status, &view["status"]), (200, &json!("active")), "{gives:?}: {page:?}");
                let scopes = gives.map(|gives| gives.split([' ', ',']).collect::<Vec<_>>());
                assert_eq!(view["scopes"], json!(scopes), "{view:#}");
            }
        }
    }
}

/// Mutations: host/engine/src/oauth.rs, `Caller` without `json`; `revocation`, the refresh token.
#[tokio::test]
async fn a_provider_that_takes_json_is_asked_in_json() {
    let provider = giving(Some("read write")).await;
    let more = "client_auth = \"json\"\nrevoke_style = \"client_json\"\npkce = false";
    let stage = Stage::set(builder(&provider), &oauth2(more), "").await.with_app().await;
    let connection = stage.connection().await;
    assert_eq!(stage.authorize(&connection, "").await.status, 200);
    token_ends_in(&stage.host, -1).await;
    assert_eq!(stage.reach(&connection, "https://api.example.com/x").await["state"], "succeeded");
    stage.tenant().request(reqwest::Method::DELETE, &format!("/v1/connections/{connection}"), None).await.ok();
    let seen = provider.seen();
    let bodies: Vec<Value> = seen.iter().filter_map(|seen| serde_json::from_str(&seen.body).ok()).collect();
    let client = json!({ "client_id": "app-id", "client_secret": "app-secret" });
    let with = |more: Value| {
        let mut body = client.clone();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let redirect = bodies[0]["redirect_uri"].clone();
    assert_eq!(bodies[0], with(json!({ "grant_type": "authorization_code", "code": "c", "redirect_uri": redirect })));
    assert_eq!(bodies[1], with(json!({ "grant_type": "refresh_token", "refresh_token": "r" })));
    assert_eq!(bodies[2], json!({ "client_id": "app-id", "access_token": "a" }));
    let revoked = seen.iter().find(|seen| seen.path == "/revoke").unwrap();
    assert_eq!(revoked.headers["authorization"], "Client app-secret");
    assert!(
        seen.iter().filter(|seen| seen.path != "/x").all(|seen| seen.headers["content-type"] == "application/json")
    );
}
