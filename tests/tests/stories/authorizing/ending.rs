//! What becomes of an authorization that is over, or that never counted, at the provider that gave it.

use std::pin::pin;

use bulkhead_tests::Host;
use bulkhead_tests::shop::{Shop, Silence};
use reqwest::Method;
use serde_json::json;
use simulated_providers::{Fault, FaultRule, Point};

use super::stage::{LOGIN, Stage, says};
use super::{Browser, OTHER_REALM, REALM, Waiting, authorize, change, shop, status};
use crate::provider::Provider;
use crate::wait::until;

const REVOKE: &str = "/v2/oauth2/tokens/revoke";

/// Mutations: host/engine/src/connections.rs, `disconnect`, revoke first; or in the request's own future.
#[tokio::test]
async fn a_connection_is_over_before_the_provider_is_asked_and_is_revoked_though_nobody_waits() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let shop = Shop::open(Host::builder().log_to(&log), &mut Silence).await;
    let (tenant, books) = (shop.tenant(), &shop.quickbooks_connection);
    let before = shop.quickbooks.effect("token.revoked");
    let complains =
        Fault::Answer { status: 503, act: true, remember: true, retry_after_seconds: None, should_retry: None };
    shop.quickbooks.inject(FaultRule::new(REVOKE, complains));
    let mut revocation = shop.quickbooks.hold_next_on(Point::RequestReceived, "POST", REVOKE);
    {
        let path = format!("/v1/connections/{books}");
        let mut ending = pin!(tenant.request(Method::DELETE, &path, None));
        tokio::select! {
            ended = &mut ending => panic!("it did not wait for the provider: {ended:?}"),
            arrived = revocation.arrived() => assert!(arrived.is_some()),
        }
    }
    assert_eq!(status(&tenant, books).await, "disconnected");
    assert_eq!(shop.quickbooks.effect("token.revoked"), before);
    revocation.release();
    until(|| shop.quickbooks.effect("token.revoked") == before + 1).await;
    // Somebody still listens to what the provider says.
    until(|| std::fs::read_to_string(&log).unwrap().contains("did not confirm the revocation")).await;
}

/// Mutation: host/engine/src/connections.rs, `disconnect`, without `cancel_waiting`.
#[tokio::test]
async fn what_waits_for_its_hour_ends_with_its_connection() {
    let stage = Stage::plain(Host::builder(), "kind = \"none\"", "").await;
    let (tenant, connection) = (stage.tenant(), stage.connection().await);
    let path = format!("/v1/connections/{connection}");
    let run = tenant.post(&format!("{path}/actions/come_back"), json!({ "after_ms": 3_600_000 })).await.text("id");
    tenant.runs_until("", |runs| runs.iter().all(|run| run["state"] == "parked")).await;
    assert_eq!(tenant.request(Method::DELETE, &path, None).await.status, 204);
    assert_eq!(tenant.get(&format!("/v1/runs/{run}")).await.ok()["state"], "cancelled");
}

/// A token that has ended is good enough to be revoked by its refresh token; asking for another would only make one more.
///
/// Mutation: host/engine/src/connections.rs, `revoke_ended`, ask for the connection's `credential`.
#[tokio::test]
async fn nothing_is_renewed_to_be_revoked() {
    let shop = shop().await;
    let (tenant, books) = (shop.tenant(), &shop.quickbooks_connection);
    super::token_ends_in(&shop.host, 1).await;
    tenant.request(Method::DELETE, &format!("/v1/connections/{books}"), None).await.ok();
    assert_eq!(shop.quickbooks.effect("token.refreshed"), 0);
    assert_eq!(shop.quickbooks.effect("token.revoked"), 1);
}

/// Whatever QuickBooks is asked after the account was confirmed, it says no.
fn refuse_the_check(waiting: &Waiting) {
    let refused =
        Fault::Answer { status: 403, act: false, remember: false, retry_after_seconds: None, should_retry: None };
    waiting.shop.quickbooks.inject(FaultRule::new("/v3/company/*/companyinfo/*", refused).skip(1));
}

/// Mutations: host/engine/src/connect.rs, `redeem`, without `give_back_tokens`; that, without asking for a connection of
/// the account.
#[tokio::test]
async fn tokens_that_were_not_accepted_are_given_back_unless_a_connection_works_for_their_account() {
    let waiting = Waiting::new().await;
    for (realm, revoked) in [(REALM, 0), (OTHER_REALM, 1)] {
        refuse_the_check(&waiting);
        authorize(&waiting.shop, &waiting.connection, realm).await.says(400, "not accepted");
        assert_eq!(waiting.shop.quickbooks.effect("token.revoked"), revoked, "{realm}");
        assert_eq!(waiting.status().await, "pending");
    }
    let run = super::read_books(&waiting.shop).await;
    assert_eq!(run["state"], "succeeded", "{run:#}");
}

/// Mutation: host/engine/src/connect/consent.rs, `give_back_tokens`, without a word where the account is not known.
#[tokio::test]
async fn tokens_that_stay_valid_because_nobody_knows_whose_they_are_are_logged() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let provider = Provider::answering(|_, _| {
        says(200, &json!({ "access_token": "a-token", "token_type": "bearer", "scope": "read" }))
    })
    .await;
    let auth = "kind = \"oauth2\"\nauthorize_url = \"https://login.example.com/a\"\nscopes = [\"read\", \"write\"]\n\
        token_url = \"https://login.example.com/token\"\nrevoke_url = \"https://login.example.com/revoke\"";
    let stage = Stage::set(Stage::at(&provider, &[LOGIN]).log_to(&log), auth, "").await.with_app().await;
    stage.authorize(&stage.connection().await, "").await.says(400, "Missing: write");
    assert!(provider.seen().iter().all(|seen| seen.path != "/revoke"));
    until(|| std::fs::read_to_string(&log).unwrap().contains("nobody knows whose it is")).await;
}

/// Mutations: host/server/src/connect_pages.rs, `begin`, keep no `LINK`; host/engine/src/connect.rs, `finish_oauth`, take any
/// link for the one that was begun.
#[tokio::test]
async fn where_it_did_not_work_the_page_leads_back_to_the_beginning() {
    let waiting = Waiting::new().await;
    let mut browser = Browser::new();
    let (first, second) = (waiting.link().await, waiting.link().await);
    let path = |link: &str| format!("href=\"{}\"", &link[link.find("/connect/").unwrap()..]);
    let deny =
        |authorize: &str| waiting.shop.quickbooks.consent(authorize, &simulated_providers::Consent::Deny).unwrap();
    let begun = browser.begin(&first).await;
    let page = browser.get(&deny(&begun)).await;
    assert!(page.text.contains(&path(&first)) && page.text.contains("Try again"), "{}", page.text);
    // Of two that were begun the page speaks of neither but its own.
    let begun = browser.begin(&first).await;
    browser.begin(&second).await;
    let page = browser.get(&deny(&begun)).await;
    assert!(!page.text.contains("Try again"), "{}", page.text);
    // One that is over leads nowhere.
    let callback = waiting.allow(&browser.begin(&first).await);
    change(&waiting.shop.host, "UPDATE connect_sessions SET expires_ms = 1").await;
    let page = browser.get(&callback).await;
    for page in [page, browser.get(&second).await] {
        page.says(410, "has expired");
        assert!(!page.text.contains("Try again"), "{}", page.text);
    }
}
