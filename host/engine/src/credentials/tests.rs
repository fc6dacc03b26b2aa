//! Renewal on an engine with a store, a vault and a door of its own, and a provider on the loopback that counts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

pub(crate) mod database;
mod many;
pub(crate) mod provider;
pub(crate) mod world;

use std::time::Duration;

use bulkhead_egress::{DoorConfig, DoorError};
use bulkhead_manifest::AppId;
use bulkhead_store::{ConnectionStatus, Owner, RefreshLease};
use bulkhead_vault::{CredentialFields, Secret, VaultError};
use futures::future::join_all;
use serde_json::Map;

use super::renewal::{PAUSE_MS, REFRESH_LEASE_MS, Renewed, is_passing};
use super::*;

use self::provider::{Provider, gives};
use self::world::{CODE, FIRST, Folder, HOUR_MS, World};
use crate::host_call::HostCallError;

/// Mutation: host/engine/src/credentials/renewal.rs, `renew`, in the caller's own future.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_asked_for_is_kept_though_nobody_waits_for_it_any_more() {
    let provider = Provider::held(|asked| gives(asked.number)).await;
    let world = World::new(&provider, CODE).await;
    world.passes(HOUR_MS);
    {
        let mut caller = Box::pin(world.credential(None));
        tokio::select! {
            _ = &mut caller => panic!("nobody has answered yet"),
            () = provider.is_asked(1) => {}
        }
    }
    provider.let_go();
    world.becomes(2).await;
    assert_eq!(world.credential(None).await.unwrap().unwrap().generation, 2);
    assert_eq!(provider.asked().len(), 1);
}

/// A guest that calls for something that is answered 401 whatever the token.
///
/// Mutations: host/engine/src/credentials/renewal.rs, `credential`, without `is_refusable`; `keep_tokens`, `refused` always 0.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_many_401s_there_are_few_of_them_renew() {
    let provider = Provider::new(|asked| gives(asked.number)).await;
    let world = World::new(&provider, CODE).await;
    let refused = async |generation| world.credential(Some(generation)).await.unwrap().unwrap().generation;
    assert_eq!(refused(1).await, 2, "what was given just now may be taken back just now");
    for wait_ms in [59_999, 119_999] {
        let (generation, asked) = (world.generation().await, provider.asked().len());
        for _ in 0..20 {
            assert_eq!(refused(generation).await, generation);
        }
        world.passes(wait_ms);
        assert_eq!(refused(generation).await, generation);
        world.passes(1);
        assert_eq!((refused(generation).await, provider.asked().len()), (generation + 1, asked + 1));
    }
    // Renewed because it ended, it may be refused at once again.
    world.passes(HOUR_MS);
    assert_eq!(world.credential(None).await.unwrap().unwrap().generation, 5);
    assert_eq!((refused(5).await, provider.asked().len()), (6, 5));
}

/// Mutations: host/engine/src/credentials/renewal.rs, `renew_once`, without the pause; `credential`, ask where somebody did in vain
/// just now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_need_a_token_while_there_is_none_one_asks_and_all_are_told() {
    let provider = Provider::held(|asked| if asked.number < 2 { asked.status(503) } else { gives(asked.number) }).await;
    let world = World::new(&provider, CODE).await;
    world.passes(HOUR_MS);
    let (began, waiting) = world.many(50);
    provider.is_asked(1).await;
    began.all().await;
    provider.let_go();
    for waiting in waiting {
        let told = waiting.await.unwrap();
        assert!(matches!(told, Err(EngineFault::NoToken { .. })));
    }
    assert_eq!(provider.asked().len(), 1);
    let told = world.view().await.warnings;
    assert_eq!(told, [], "it is over for a moment only");
    world.passes(10 * 60_000);
    assert!(world.credential(None).await.is_err(), "and the pause is over");
    assert_eq!((world.view().await.warnings[0].code, provider.asked().len()), ("authorization-not-renewed", 2));
    world.passes(PAUSE_MS - 1);
    assert!(world.credential(None).await.is_err());
    assert_eq!(provider.asked().len(), 2);
    world.passes(1);
    assert_eq!(world.credential(None).await.unwrap().unwrap().generation, 2);
    assert_eq!((world.view().await.warnings, provider.asked().len()), (vec![], 3));
}

/// Mutation: host/engine/src/credentials/renewal.rs, `renew_once`, take the lease of whatever generation is there by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_when_another_has_refreshed_does_not_ask_again() {
    let provider = Provider::new(|asked| gives(asked.number)).await;
    let world = World::new(&provider, CODE).await;
    let held = world.engine.held(world.tenant, world.connection).await.unwrap().unwrap();
    world.passes(HOUR_MS);
    assert_eq!(world.credential(None).await.unwrap().unwrap().generation, 2);
    let late = world.engine.renew(&held, false, false).await.unwrap();
    assert!(matches!(late, Renewed::LookAgain));
    assert_eq!((provider.asked().len(), world.generation().await), (1, 2));
}

/// Mutation: host/engine/src/credentials/tending.rs, `look_after`, whatever the connection's status.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_person_is_not_looked_after() {
    let provider = Provider::new(|asked| asked.says(400, r#"{"error":"invalid_grant"}"#)).await;
    let world = World::new(&provider, CODE).await;
    world.passes(HOUR_MS);
    world.credential(None).await.unwrap();
    assert_eq!(world.view().await.status, ConnectionStatus::NeedsReauthorization);
    world.passes(61 * 24 * HOUR_MS);
    world.engine.look_after_due().await.unwrap();
    assert_eq!(provider.asked().len(), 1);
    assert_eq!(world.row().await.look_at_ms, None, "it is not looked at again until a person has come");
}

/// Mutation: host/engine/src/credentials/renewal.rs, `renew_once`, leave the pause on whatever is there by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_authorized_anew_meanwhile_has_not_failed() {
    let provider = Provider::held(|asked| asked.status(503)).await;
    let world = World::new(&provider, CODE).await;
    world.passes(HOUR_MS);
    let (_, mut waiting) = world.many(1);
    provider.is_asked(1).await;
    world.authorize(1).await;
    provider.let_go();
    assert!(waiting.remove(0).await.unwrap().is_err());
    let row = world.row().await;
    assert_eq!((row.generation, row.lease_holder, row.lease_until_ms), (2, None, 0));
}

/// Mutation: host/engine/src/oauth.rs, `tokens`, whatever stands under `refresh_token`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_refresh_token_is_none_and_overwrites_none() {
    let provider =
        Provider::new(|asked| asked.ok(r#"{"access_token":"a","refresh_token":"","expires_in":"3600"}"#)).await;
    let world = World::new(&provider, CODE).await;
    world.passes(HOUR_MS);
    let current = world.credential(None).await.unwrap().unwrap();
    assert_eq!((current.generation, current.fields.get(REFRESH_TOKEN).unwrap().expose()), (2, FIRST.as_bytes()));
}

/// Where a key is exchanged for tokens, nothing was revoked that would not be given again.
///
/// Mutation: host/engine/src/oauth/minted.rs, `answered`, 403 is an end, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_in_the_way_ends_no_connection_and_a_key_that_is_not_known_does() {
    const EXCHANGE: &str = "kind = \"token_exchange\"\nurl = \"https://login.example.com/token\"\n\
                            fields = [{ name = \"key\", title = \"Key\" }]\nform = { key = \"{key}\" }\n\
                            token = \"/access_token\"\nexpires_default_s = 3600";
    let statuses = [403, 404, 422, 502, 401];
    let provider = Provider::new(move |asked| asked.status(statuses[asked.number])).await;
    let world = World::new(&provider, EXCHANGE).await;
    world.passes(HOUR_MS);
    for status in [403, 404, 422, 502] {
        let told = world.credential(None).await;
        assert!(matches!(told, Err(EngineFault::NoToken { .. })), "{status}");
        assert_eq!(world.view().await.status, ConnectionStatus::Active, "{status}");
        world.passes(PAUSE_MS);
    }
    assert!(!world.credential(None).await.unwrap().unwrap().renewable);
    assert_eq!(world.view().await.status, ConnectionStatus::NeedsReauthorization);
}

/// Mutation: host/engine/src/credentials/tending.rs, `look_after`, never look again where somebody else asks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_another_node_asks_it_is_looked_again_when_that_has_come_to_something() {
    let provider = Provider::new(|asked| gives(asked.number)).await;
    let world = World::new(&provider, CODE).await;
    world.passes(61 * 24 * HOUR_MS);
    let now_ms = world.engine.now_ms();
    let owner = Owner::Connection(world.connection);
    let mut tx = world.engine.store().tenant(world.tenant).await.unwrap();
    let taken = tx.take_refresh_lease(owner, AUTHORIZATION, "another node", now_ms, now_ms + REFRESH_LEASE_MS).await;
    assert!(matches!(taken, Ok(RefreshLease::Taken(_))));
    tx.commit().await.unwrap();
    world.engine.look_after_due().await.unwrap();
    assert_eq!((world.row().await.look_at_ms, provider.asked().len()), (Some(now_ms + REFRESH_LEASE_MS), 0));
    // It went away with what it was given, if it was given anything.
    world.passes(REFRESH_LEASE_MS);
    world.engine.look_after_due().await.unwrap();
    assert_eq!((world.generation().await, provider.asked().len()), (2, 1));
}

/// The provider acts on what comes over a line that it had kept open, and closes it without a word.
///
/// Mutation: host/engine/src/host_call.rs, `own_rule`, its POSTs are reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_broke_off_is_not_posted_again() {
    let provider = Provider::new(|asked| (asked.on_its_line == 0).then(|| gives(asked.number).unwrap())).await;
    let world = World::new(&provider, CODE).await;
    for _ in 0..3 {
        let request = http::Request::post("https://login.example.com/token").body(b"code".to_vec()).unwrap();
        // Over a line that is too old to be used again it works.
        let _ = world.engine.host_call(&Behalf::of("one tenant", "one app"), request).await;
    }
    assert_eq!(provider.asked().len(), 3);
}

/// Answers to consents that never were, at a provider that thinks about them for long, by an app that two tenants share.
///
/// Mutation: host/engine/src/host_call.rs, `Behalf::of`, in the places of all who share the app.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_makes_the_host_ask_much_by_an_app_keeps_no_other_tenant_of_it_waiting() {
    let places = DoorConfig::default().per_connection_concurrency;
    let provider = Provider::held(|_| None).await;
    let world = World::new(&provider, CODE).await;
    let of = async |connection: &Connection| world.engine.provider(connection, &Map::new()).await.unwrap().unwrap();
    let (busy, other) = (of(&world.connection_row().await).await, of(&world.elsewhere(false).await).await);
    let brings = async || busy.borrow().exchange(&world.engine, "made-up".to_owned(), None).await.map(drop);
    let crowd = join_all((0..2 * places).map(|_| brings()));
    let token = Secret::from_string("another-tenants".to_owned());
    let refreshes = async {
        provider.is_asked(places).await;
        tokio::select! {
            told = async { other.borrow().refresh(&world.engine, &token).await.map(drop) } => panic!("not asked: {told:?}"),
            () = provider.is_asked(places + 1) => {}
        }
    };
    tokio::select! { _ = crowd => panic!("nobody has answered yet"), () = refreshes => {} }
    let asked = provider.asked();
    assert!(
        asked[places].body.contains("another-tenants"),
        "of one tenant more than {places} were under way: {asked:?}"
    );
}

/// A large request is as much as many small ones.
///
/// Mutations: host/egress/src/request.rs, `of_host`, at the pace of its owner; host/engine/src/host_call.rs, `host_call_within`,
/// the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_host_asks_for_a_tenant_goes_at_one_pace_by_whatever_app() {
    let provider = Provider::new(|asked| asked.ok("{}")).await;
    let world = World::new(&provider, CODE).await;
    let engine = world.beside_at(DoorConfig { per_tenant_requests_per_second: 1, ..DoorConfig::default() }, &provider);
    let ask = async |tenant, app, bytes| {
        let request = http::Request::post("https://login.example.com/token").body(vec![b' '; bytes]).unwrap();
        engine.host_call(&Behalf::of(tenant, app), request).await.map(drop)
    };
    ask("one", "an app", 2 << 20).await.unwrap();
    let told = ask("one", "another app", 0).await;
    assert!(matches!(told, Err(HostCallError::Door(DoorError::RateLimited { .. }))), "{told:?}");
    ask("another", "an app", 0).await.unwrap();
}

/// Mutation: host/engine/src/oauth/asking.rs, `send`, for as long as the door allows.
#[tokio::test]
async fn a_token_endpoint_that_does_not_answer_is_left_before_the_lease_is_over() {
    let provider = Provider::held(|_| None).await;
    let world = World::new(&provider, CODE).await;
    let connection = world.connection_row().await;
    let asking = world.engine.provider(&connection, &Map::new()).await.unwrap().unwrap();
    let token = Secret::from_string("r".to_owned());
    let began = tokio::time::Instant::now();
    let borrowed = asking.borrow();
    let (told, ()) = tokio::join!(borrowed.refresh(&world.engine, &token), async {
        provider.is_asked(1).await;
        tokio::time::pause();
    });
    assert!(matches!(told, Err(OAuthError::Unreachable(_))));
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
}

/// Mutation: host/engine/src/oauth/revoking.rs, `revoke`, with the newest secret alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_client_secret_rolls_tokens_are_revoked_by_the_one_that_the_provider_knows() {
    let knows = |asked: &provider::Asked| asked.body.contains("client_secret=app-secret").then(|| "{}".to_owned());
    let provider =
        Provider::new(move |asked| knows(asked).map_or_else(|| asked.status(401), |body| asked.ok(&body))).await;
    let auth = format!("{CODE}\nrevoke_url = \"https://login.example.com/revoke\"");
    let world = World::new(&provider, &auth).await;
    let revoke = async || {
        let connection = world.connection_row().await;
        let asking = world.engine.provider(&connection, &Map::new()).await.unwrap().unwrap();
        let tokens = single(REFRESH_TOKEN, Secret::from_string("r".to_owned()));
        asking.borrow().revoke(&world.engine, &tokens).await
    };
    world.roll("the-next-one", HOUR_MS).await;
    assert!(revoke().await.is_ok());
    assert_eq!(provider.asked().len(), 2);
    world.roll("another", 0).await;
    assert!(matches!(revoke().await, Err(OAuthError::Refused(_))), "nothing works on");
    assert_eq!(provider.asked().len(), 3);
}

/// Mutation: world.rs, `Folder`, without `Drop`.
#[test]
fn what_an_engine_keeps_as_it_was_told_in_confidence_is_found() {
    let found = |kept: &str| {
        let folder = Folder::new();
        std::fs::create_dir(folder.path().join("inner")).unwrap();
        std::fs::write(folder.path().join("inner/s.db"), format!("\0\u{fffd}{kept}\0")).unwrap();
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(folder))).is_err()
    };
    assert!(found(FIRST) && !found("in confidence"));
}

/// Mutations: `is_passing`, the store's alone; all of the vault's; without commits that may have come to nothing.
#[test]
fn tokens_wait_for_whoever_guards_the_keys() {
    let unavailable = VaultError::ProviderUnavailable { reason: "sealed".to_owned() };
    assert!(is_passing(&EngineFault::Vault(unavailable)));
    assert!(!is_passing(&EngineFault::Vault(VaultError::UnknownKey { key_id: "k".to_owned() })));
    let unknown = StoreError::NotDurable { reason: "the disk is full".to_owned() };
    for error in [StoreError::Busy { waited_ms: 1 }, unknown] {
        assert!(is_passing(&EngineFault::Store(error)));
    }
}
