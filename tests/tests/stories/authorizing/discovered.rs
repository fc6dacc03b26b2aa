//! Base URLs that only authorization tells: used where the manifest allows them, and by that account alone.

use bulkhead_tests::{Host, HostBuilder};
use serde_json::{Value, json};

use super::stage::{API, LOGIN, Stage, rule, says};
use super::token_ends_in;
use crate::provider::Provider;

const NA: &str = "na.shards.example";
const EU: &str = "eu.shards.example";
const EVIL: &str = "evil.example.net";

/// One that tells `base_uri` as the base of its default account.
async fn telling(base_uri: &'static str) -> Provider {
    Provider::answering(move |seen, _| match seen.path.as_str() {
        "/token" | "/oauth/token" => {
            says(200, &json!({ "access_token": "a", "refresh_token": "r", "expires_in": 3_600 }))
        }
        "/me" => {
            let accounts = json!([
                { "id": 1, "is_default": "false", "base_uri": "https://na.shards.example" },
                { "id": 2, "is_default": "true", "base_uri": base_uri },
            ]);
            says(200, &json!({ "accounts": accounts }))
        }
        _ => says(200, &json!({})),
    })
    .await
}

fn builder(provider: &Provider) -> HostBuilder {
    [LOGIN, API, NA, EU, EVIL].iter().fold(Host::builder(), |builder, host| builder.upstream(host, provider.url()))
}

const TOLD: &str = "kind = \"oauth2\"\nauthorize_url = \"https://login.example.com/a\"\n\
    token_url = \"https://login.example.com/token\"\ndiscovered = { base_uri = [\"*.shards.example\"] }\n\
    [auth.account_call]\nurl = \"https://api.example.com/me\"\nitems = \"/accounts\"\n\
    when = { pointer = \"/is_default\", equals = \"true\" }\npointer = \"/id\"\nkeep = { base_uri = \"/base_uri\" }\n";

async fn told(provider: &Provider) -> Stage {
    let rules = rule("*.shards.example", "discovered = \"base_uri\"");
    Stage::set(builder(provider), TOLD, &rules).await.with_app().await
}

fn reached(run: &Value) -> (bool, bool) {
    let text = run.to_string();
    (text.contains("200"), text.contains("denied"))
}

/// Mutations: host/manifest/src/model/environment.rs, `with_account`, give the rule as it is; host/engine/src/attempt/asked.rs,
/// `binding`, without it; host/engine/src/connect/account.rs, `called`, the first item whatever `when` says.
#[tokio::test]
async fn a_connection_reaches_the_host_of_its_own_account_and_no_other() {
    let provider = telling("https://eu.shards.example/base").await;
    let stage = told(&provider).await;
    let connection = stage.connection().await;
    assert_eq!(stage.authorize(&connection, "").await.status, 200);
    let account = stage.view(&connection).await["account"].clone();
    assert_eq!(account, json!({ "id": "2", "base_uri": "https://eu.shards.example/base" }));
    let own = stage.reach(&connection, "https://eu.shards.example/x").await;
    assert_eq!(reached(&own), (true, false), "{own:#}");
    let others = stage.reach(&connection, "https://na.shards.example/x").await;
    assert_eq!(reached(&others), (false, true), "{others:#}");
}

/// Mutations: host/engine/src/connect/account.rs, `account`, without `base_url`; host/engine/src/credentials.rs, `base_url`,
/// without any of its conditions.
#[tokio::test]
async fn a_base_url_of_another_host_connects_nothing() {
    for base in [
        "https://evil.example.net",
        "http://eu.shards.example",
        "https://eu.shards.example:8443",
        "https://eu.shards.example.evil.example.net",
        "https://eu.shards.example@evil.example.net",
        "https://a.b.shards.example",
        "https://eu.shards.example/?x=",
        "https://eu.shards.example/#",
    ] {
        let provider = telling(base).await;
        let stage = told(&provider).await;
        let connection = stage.connection().await;
        stage.authorize(&connection, "").await.says(400, "could not be confirmed");
        assert_eq!(stage.view(&connection).await["status"], "pending", "{base}");
    }
}

/// The redirect tells where codes are exchanged, among the hosts that the app pinned. Anybody with a link can write one: where on
/// such a host is not for it to say.
///
/// Mutations: host/engine/src/credentials.rs, `provider`, `told` without `base_url`; host/engine/src/connect/account.rs, `brought`,
/// without `is_origin`; host/engine/src/pins.rs, `origins`, without what is told; host/engine/src/credentials/renewal.rs,
/// `ask_for_tokens`, with no account.
#[tokio::test]
async fn a_redirect_may_tell_at_which_shard_codes_are_exchanged() {
    let auth = "kind = \"oauth2\"\nauthorize_url = \"https://login.example.com/a\"\ntoken_url = \"{base}oauth/token\"\n\
                callback_params = [\"base\"]\ndiscovered = { base = [\"*.shards.example\"] }\n";
    let provider = telling("").await;
    let rules = rule("*.shards.example", "discovered = \"base\"");
    let stage = Stage::set(builder(&provider), auth, &rules).await.with_app().await;
    let connection = stage.connection().await;
    for (brought, words) in [
        ("", "token URL is not known"),
        ("&base=https://evil.example.net/", "token URL is not known"),
        ("&base=https://evil.example.net/%23.shards.example/", "only an https origin counts"),
        // A pinned host, of people and not of codes.
        ("&base=https://login.example.com/", "token URL is not known"),
        // One of codes, and no base: what comes after it would be a query, or stand below what anybody may put there.
        ("&base=https://eu.shards.example/%3Fto%3D", "only an https origin counts"),
        ("&base=https://eu.shards.example/uploads/", "only an https origin counts"),
    ] {
        stage.authorize(&connection, brought).await.says(400, words);
    }
    assert_eq!(provider.seen().len(), 0, "no code went anywhere");
    assert_eq!(stage.authorize(&connection, "&base=https://eu.shards.example/").await.status, 200);
    token_ends_in(&stage.host, -1).await;
    let run = stage.reach(&connection, "https://eu.shards.example/x").await;
    assert_eq!(reached(&run), (true, false), "{run:#}");
    let asked: Vec<_> = provider.seen().iter().map(|seen| seen.path.clone()).collect();
    assert_eq!(asked, ["/oauth/token", "/oauth/token", "/x"]);
}
