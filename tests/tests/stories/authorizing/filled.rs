//! What a form asks for, and what a provider is told of the account with every request.

use axum::response::Response;
use serde_json::json;

use super::stage::{API, LOGIN, Stage, says};
use crate::provider::{Provider, Seen};

fn header<'s>(seen: &'s Seen, name: &str) -> Option<&'s str> {
    seen.headers.get(name).map(|value| value.to_str().unwrap())
}

/// Mutations: host/engine/src/connections/authorization.rs, `fillable`, `basic` without either; host/egress/src/inject.rs,
/// `add_credential`, the two the other way round.
#[tokio::test]
async fn a_user_and_a_password_are_what_basic_asks_for_and_sends() {
    let provider = Provider::agreeable().await;
    let rules = "[[egress]]\nhost = \"files.example.com\"\nmethods = [\"GET\"]\npaths = [\"/*\"]\n\
        credential = { place = \"basic\", username_field = \"username\", password_field = \"password\" }\n";
    let auth = "kind = \"basic\"\nusername_title = \"User\"\npassword_title = \"App password\"";
    let stage = Stage::plain(Stage::at(&provider, &["files.example.com"]), auth, rules).await;
    let connection = stage.connection().await;
    let page = super::Browser::new().get(&super::link(&stage.tenant(), &connection).await).await;
    let asks = ["App password", "name=\"username\" type=\"text\"", "name=\"password\" type=\"password\""];
    assert!(asks.iter().all(|asked| page.text.contains(asked)), "{}", page.text);
    let refused = stage.fill(&connection, json!({ "username": "me" })).await;
    assert_eq!((refused.status, &refused.body["errors"][0]["pointer"]), (422, &json!("/fields/password")));
    stage.fill(&connection, json!({ "username": "me", "password": "open sesame" })).await.ok();
    let view = stage.view(&connection).await;
    assert_eq!((&view["status"], &view["auth"]), (&json!("active"), &json!("basic")));
    assert_eq!(stage.reach(&connection, "https://files.example.com/x").await["state"], "succeeded");
    // RFC 7617: `me:open sesame`.
    assert_eq!(header(&provider.seen()[0], "authorization"), Some("Basic bWU6b3BlbiBzZXNhbWU="));
}

/// As Xero does it: whose books they are is asked once, and said with each request.
///
/// Mutations: host/egress/src/inject.rs, `fact`, nothing of the account; host/engine/src/attempt/asked.rs, `binding`, no
/// account.
#[tokio::test]
async fn whose_books_they_are_is_said_with_each_request() {
    let provider = Provider::answering(|seen, _| -> Response {
        match seen.path.as_str() {
            "/token" => says(200, &json!({ "access_token": "a-token", "token_type": "Bearer", "expires_in": 1800 })),
            "/connections" => says(200, &json!([{ "tenantId": "70784a63", "tenantType": "ORGANISATION" }])),
            _ => says(200, &json!({})),
        }
    })
    .await;
    let auth = "kind = \"oauth2\"\nauthorize_url = \"https://login.example.com/a\"\n\
        token_url = \"https://login.example.com/token\"\n\
        account_call = { url = \"https://api.example.com/connections\", pointer = \"/0/tenantId\" }";
    let rules = "[[egress]]\nhost = \"books.example.com\"\nmethods = [\"GET\"]\npaths = [\"/*\"]\n\
        credential = { place = \"bearer\", field = \"access_token\" }\nheaders = { xero-tenant-id = \"{account.id}\" }\n";
    let stage =
        Stage::set(Stage::at(&provider, &[LOGIN, API, "books.example.com"]), auth, rules).await.with_app().await;
    let connection = stage.connection().await;
    assert_eq!(stage.authorize(&connection, "").await.status, 200);
    assert_eq!(stage.view(&connection).await["account"]["id"], "70784a63");
    assert_eq!(stage.reach(&connection, "https://books.example.com/Invoices").await["state"], "succeeded");
    let seen = provider.seen();
    let (call, books) = (&seen[1], seen.last().unwrap());
    assert_eq!((call.path.as_str(), header(call, "xero-tenant-id")), ("/connections", None));
    assert_eq!((books.path.as_str(), header(books, "xero-tenant-id")), ("/Invoices", Some("70784a63")));
    assert_eq!(header(books, "authorization"), Some("Bearer a-token"));
}
