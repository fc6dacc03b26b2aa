#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bulkhead_manifest::clock::Clock;

use super::*;
use crate::ring;
use crate::{Context, Vault};

/// A service in memory. What it encrypted it remembers, by its ciphertext.
#[derive(Default)]
struct Service {
    version: AtomicU64,
    kept: Mutex<BTreeMap<String, String>>,
    asked: Mutex<Vec<String>>,
    /// What it answers instead, where it does.
    fails: Mutex<Option<Result<u16, String>>>,
    /// About this ciphertext it says nothing.
    silent: Mutex<Option<String>>,
    /// Whether it takes its time, and then how many it is asked for at once: now, and at most.
    slow: AtomicBool,
    at_once: [AtomicU64; 2],
}

impl Service {
    fn encrypted(&self, plaintext: String) -> String {
        let mut kept = self.kept.lock().unwrap();
        let ciphertext = format!("vault:v{}:{}", self.version.load(Ordering::Relaxed) + 1, kept.len());
        kept.insert(ciphertext.clone(), plaintext);
        ciphertext
    }

    fn answer(&self, path: &str, body: &serde_json::Value) -> Result<(u16, String), String> {
        match self.fails.lock().unwrap().clone() {
            Some(Ok(status)) => return Ok((status, "{\"errors\":[]}".into())),
            Some(Err(reason)) => return Err(reason),
            None => {}
        }
        let (_, what) = path.split_once("/v1/mounted/").unwrap();
        self.asked.lock().unwrap().push(what.to_owned());
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        if body["ciphertext"].as_str().is_some_and(|about| self.silent.lock().unwrap().as_deref() == Some(about)) {
            return Ok((504, String::new()));
        }
        let found = || self.kept.lock().unwrap().get(&text("ciphertext")).cloned();
        let data = match what {
            "encrypt/k" => {
                Some(serde_json::json!({ "ciphertext": self.encrypted(text("plaintext")), "key_version": 1 }))
            }
            "decrypt/k" => found().map(|plaintext| serde_json::json!({ "plaintext": plaintext })),
            "rewrap/k" => found().map(|plaintext| serde_json::json!({ "ciphertext": self.encrypted(plaintext) })),
            other => panic!("{other}"),
        };
        let Some(data) = data else { return Ok((400, "{\"errors\":[]}".into())) };
        Ok((200, serde_json::json!({ "request_id": "1", "data": data }).to_string()))
    }
}

struct Wire(Arc<Service>);

impl Transport for Wire {
    fn post<'a>(&'a self, path: String, body: Secret) -> Answered<'a> {
        let body = serde_json::from_slice(body.expose()).unwrap();
        let answer = self.0.answer(&path, &body).map(|(status, text)| (status, Secret::from_string(text)));
        Box::pin(async {
            if self.0.slow.load(Ordering::Relaxed) {
                let [now, most] = &self.0.at_once;
                most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                now.fetch_sub(1, Ordering::Relaxed);
            }
            answer
        })
    }
}

#[derive(Default)]
struct Hand(AtomicU64);

impl Clock for Hand {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

fn asked() -> Asked {
    Asked { at: ring::now(), wall: None }
}

fn now<T>(later: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(later).poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("it waits for somebody"),
    }
}

struct World {
    service: Arc<Service>,
    clock: Arc<Hand>,
    root: WrappingKey,
    first: WrappingKey,
}

impl World {
    fn new() -> Self {
        let service = Arc::<Service>::default();
        let [root, first] = now(transit(&service).begin()).unwrap();
        Self { service, clock: Arc::default(), root, first }
    }

    fn open(&self, keys: &[WrappingKey]) -> Result<TransitKeys, VaultError> {
        let clock = self.clock.clone();
        now(TransitKeys::open(transit(&self.service), &self.root, keys, &keys[0].id, asked(), clock))
    }

    fn fails(&self, with: Option<Result<u16, String>>) {
        *self.service.fails.lock().unwrap() = with;
    }
}

fn transit(service: &Arc<Service>) -> Transit {
    Transit::new(Box::new(Wire(service.clone())), "mounted", "k").unwrap()
}

const CONTEXT: Context<'static> = Context { tenant: None, owner: "conn_1", name: "oauth", version: 1 };

fn secret() -> Secret {
    Secret::from_string("hunter2".into())
}

#[test]
fn what_one_node_seals_another_opens_and_neither_asks_the_service_for_each_secret() {
    let world = World::new();
    let keys = [world.first.clone()];
    let (one, other) = (Vault::transit(world.open(&keys).unwrap()), Vault::transit(world.open(&keys).unwrap()));
    let asked = world.service.asked.lock().unwrap().len();
    for _ in 0..10 {
        let sealed = one.seal(&CONTEXT, &secret()).unwrap();
        assert_eq!(other.open(&CONTEXT, &sealed).unwrap().expose(), b"hunter2");
    }
    assert_eq!(world.service.asked.lock().unwrap().len(), asked);
    assert_eq!(one.fingerprint(), other.fingerprint());
}

/// Mutation: `Transit::key`, without comparing the id.
#[test]
fn a_key_that_was_exchanged_is_refused() {
    let world = World::new();
    let exchanged = WrappingKey { id: world.first.id.clone(), guarded: world.root.guarded.clone() };
    assert!(matches!(world.open(&[exchanged]), Err(VaultError::Tampered)));
}

/// Mutations: `hold_all`, keep the keys whatever the service says; let them go at once where it cannot be reached; keep
/// them for ever where it cannot; without `gone: None`.
#[test]
fn keys_are_let_go_of_where_the_service_refuses_and_after_a_while_where_it_is_away() {
    let world = World::new();
    let keys = [world.first.clone()];
    let held = world.open(&keys).unwrap();
    let works = || held.wrap(&random_key(), b"").map(drop);
    let hold = || now(held.hold(&keys, &world.first.id, asked()));
    world.fails(Some(Err("connection refused".into())));
    world.clock.0.store(PATIENCE_MS - 1, Ordering::Relaxed);
    assert!(matches!(hold(), Err(VaultError::ProviderUnavailable { .. })));
    works().unwrap();
    world.fails(Some(Ok(503)));
    world.clock.0.store(PATIENCE_MS, Ordering::Relaxed);
    assert!(matches!(hold(), Err(VaultError::ProviderUnavailable { .. })));
    let error = works().unwrap_err();
    assert!(matches!(&error, VaultError::ProviderUnavailable { reason } if reason.contains("503")), "{error}");
    world.fails(None);
    hold().unwrap();
    works().unwrap();
    for status in [400, 403, 404] {
        world.fails(Some(Ok(status)));
        assert!(matches!(hold(), Err(VaultError::ProviderRefused { .. })), "{status}");
        assert!(matches!(works(), Err(VaultError::ProviderUnavailable { .. })), "{status}");
        world.fails(None);
        hold().unwrap();
        works().unwrap();
    }
}

/// Mutations: `obtain`, end at whichever key is refused; go on also without the one that seals; `hold_all`, without
/// `missing`.
#[test]
fn one_key_that_is_refused_takes_no_other_with_it() {
    let world = World::new();
    let damaged = WrappingKey { id: "damaged".into(), guarded: Some("vault:v1:none".into()) };
    let exchanged = WrappingKey { id: "exchanged".into(), guarded: world.root.guarded.clone() };
    let held = world.open(std::slice::from_ref(&world.first)).unwrap();
    let wrapped = held.wrap(&random_key(), b"").unwrap();
    for other in [&damaged, &exchanged] {
        let keys = [other.clone(), world.first.clone()];
        let error = now(held.hold(&keys, &world.first.id, asked())).unwrap_err();
        assert!(matches!(&error, VaultError::UnknownKey { key_id } if *key_id == other.id), "{error}");
        held.unwrap(&wrapped, b"").unwrap();
        // At a start whatever is missing is told.
        let opened = now(TransitKeys::open(
            transit(&world.service),
            &world.root,
            &keys,
            &world.first.id,
            asked(),
            world.clock.clone(),
        ));
        assert!(matches!(opened, Err(VaultError::UnknownKey { key_id }) if key_id == other.id));
    }
    let error = now(held.hold(&[world.first.clone(), damaged.clone()], &damaged.id, asked())).unwrap_err();
    assert!(matches!(error, VaultError::ProviderRefused { .. }), "{error}");
    assert!(matches!(held.unwrap(&wrapped, b""), Err(VaultError::ProviderUnavailable { .. })));
}

/// Mutations: `hold_all`, end at whichever key nothing is said about; `told`, as what is not there.
#[test]
fn one_key_that_nothing_is_said_about_takes_no_other_with_it() {
    let world = World::new();
    let held = world.open(std::slice::from_ref(&world.first)).unwrap();
    let [old, other] = now(transit(&world.service).begin()).unwrap();
    let keys = [old.clone(), world.first.clone(), other.clone()];
    let wrapped = |by: &WrappingKey| world.open(std::slice::from_ref(by)).unwrap().wrap(&random_key(), b"").unwrap();
    let (of_old, of_other) = (wrapped(&old), wrapped(&other));
    let hold = || now(held.hold(&keys, &world.first.id, asked()));
    world.service.silent.lock().unwrap().clone_from(&old.guarded);
    world.clock.0.store(PATIENCE_MS, Ordering::Relaxed);
    let error = hold().unwrap_err();
    assert!(error.to_string().contains(&old.id) && error.to_string().contains("504"), "{error}");
    held.unwrap(&held.wrap(&random_key(), b"").unwrap(), b"").unwrap();
    held.unwrap(&of_other, b"").unwrap();
    let error = held.unwrap(&of_old, b"").unwrap_err();
    assert!(matches!(&error, VaultError::ProviderUnavailable { reason } if reason.contains(&old.id)), "{error}");
    *world.service.silent.lock().unwrap() = None;
    hold().unwrap();
    held.unwrap(&of_old, b"").unwrap();
}

/// Mutations: `hold_all`, one after the other; all at once.
#[tokio::test]
async fn the_service_is_asked_about_old_keys_side_by_side() {
    let world = World::new();
    let held = world.open(std::slice::from_ref(&world.first)).unwrap();
    let mut keys = vec![world.first.clone()];
    keys.extend((0..AT_ONCE + 2).map(|_| now(held.make(&[])).unwrap()));
    world.service.slow.store(true, Ordering::Relaxed);
    held.hold(&keys, &world.first.id, asked()).await.unwrap();
    assert_eq!(world.service.at_once[1].load(Ordering::Relaxed), AT_ONCE as u64);
    assert!(keys.iter().all(|key| held.held().ring.keys.contains_key(&key.id)));
}

/// Mutation: `take_over`, as what nothing was said about yet.
#[tokio::test]
async fn a_key_that_was_refused_is_lost_also_while_the_service_is_asked_again() {
    let world = World::new();
    let held = world.open(std::slice::from_ref(&world.first)).unwrap();
    let damaged = WrappingKey { id: "damaged".into(), guarded: Some("vault:v1:none".into()) };
    let keys = [world.first.clone(), damaged.clone()];
    let lost = || {
        let error = held.unwrap(&Wrapped { key_id: damaged.id.clone(), bytes: Vec::new() }, b"").unwrap_err();
        matches!(error, VaultError::UnknownKey { .. })
    };
    held.hold(&keys, &world.first.id, asked()).await.unwrap_err();
    assert!(lost());
    world.service.slow.store(true, Ordering::Relaxed);
    let mut asks = std::pin::pin!(held.hold(&keys, &world.first.id, asked()));
    let mut lasted = 0;
    while futures::poll!(asks.as_mut()).is_pending() {
        assert!(lost());
        lasted += 1;
        tokio::task::yield_now().await;
    }
    assert!(lasted > 1, "it was asked about one alone");
}

/// Mutation: `take_over`, only where the service answers.
#[test]
fn a_node_that_does_not_reach_the_service_seals_no_more_once_another_key_took_over() {
    let world = World::new();
    let held = world.open(std::slice::from_ref(&world.first)).unwrap();
    let second = now(held.make(&[])).unwrap();
    let keys = [world.first.clone(), second.clone()];
    world.fails(Some(Err("connection refused".into())));
    now(held.hold(&keys, &world.first.id, asked())).unwrap_err();
    let wrapped = held.wrap(&random_key(), b"").unwrap();
    now(held.hold(&keys, &second.id, asked())).unwrap_err();
    assert!(matches!(held.wrap(&random_key(), b""), Err(VaultError::ProviderUnavailable { .. })));
    held.unwrap(&wrapped, b"").unwrap();
    world.fails(None);
    now(held.hold(&keys, &second.id, asked())).unwrap();
    assert_eq!(held.wrap(&random_key(), b"").unwrap().key_id, second.id);
}

/// Mutation: `hold_all`, without `retain`.
#[test]
fn a_node_lets_go_of_keys_that_are_known_no_more() {
    let world = World::new();
    let held = world.open(std::slice::from_ref(&world.first)).unwrap();
    let wrapped = held.wrap(&random_key(), b"").unwrap();
    let second = now(held.make(&[])).unwrap();
    now(held.hold(std::slice::from_ref(&second), &second.id, asked())).unwrap();
    assert!(matches!(held.unwrap(&wrapped, b""), Err(VaultError::UnknownKey { key_id }) if key_id == world.first.id));
}

/// Mutations: `hold_all`, take over what is late; put in what is late.
#[tokio::test]
async fn who_asked_first_and_hears_last_brings_back_no_key_that_a_newer_one_let_go_of() {
    for answers in 1..=2 {
        let world = World::new();
        let held = world.open(std::slice::from_ref(&world.first)).unwrap();
        let [second, third] = [(); 2].map(|()| now(held.make(&[])).unwrap());
        let before = [world.first.clone(), third, second.clone()];
        world.service.slow.store(true, Ordering::Relaxed);
        let mut late = std::pin::pin!(held.hold(&before, &world.first.id, asked()));
        for _ in 0..answers {
            assert!(futures::poll!(late.as_mut()).is_pending());
        }
        held.hold(std::slice::from_ref(&second), &second.id, asked()).await.unwrap();
        late.await.unwrap();
        let keys: Vec<_> = held.held().ring.keys.keys().cloned().collect();
        assert_eq!((keys, held.active()), (vec![second.id.clone()], second.id), "after {answers}");
        assert!(held.held().missing.is_empty());
    }
}

/// Mutation: `guard_anew`, what was kept before.
#[test]
fn a_newer_key_of_the_services_guards_ours_without_our_showing_them() {
    let world = World::new();
    let held = world.open(std::slice::from_ref(&world.first)).unwrap();
    world.service.version.fetch_add(1, Ordering::Relaxed);
    world.service.asked.lock().unwrap().clear();
    let kept = now(held.guard_anew(&world.first)).unwrap().unwrap();
    assert!(kept.starts_with("vault:v2:") && world.first.guarded.as_ref().unwrap().starts_with("vault:v1:"), "{kept}");
    assert_eq!(*world.service.asked.lock().unwrap(), ["rewrap/k"]);
    let anew = WrappingKey { guarded: Some(kept), ..world.first.clone() };
    let sealed = Vault::transit(held).seal(&CONTEXT, &secret()).unwrap();
    Vault::transit(world.open(&[anew]).unwrap()).open(&CONTEXT, &sealed).unwrap();
}

/// Mutations: `Transit::new`, any name; `checked`, any text.
#[test]
fn names_and_answers_cannot_say_more_than_they_should() {
    let service = Arc::<Service>::default();
    let named = |mount: &str, key: &str| Transit::new(Box::new(Wire(service.clone())), mount, key).is_ok();
    assert!(named("transit", "bulkhead-1") && named("teams/a/transit", "k"));
    for (mount, key) in
        [("", "k"), ("transit", ""), ("transit", "a/b"), ("transit", ".."), ("tra?nsit", "k"), ("t", "a\"")]
    {
        assert!(!named(mount, key), "{mount} {key}");
    }
    let long = "a".repeat(4_097);
    for text in ["", "vault:v1:a\"", "a\\b", "a\nb", &long] {
        assert!(checked(text).is_err(), "{text:?}");
    }
    assert!(checked(&long[1..]).is_ok());
}

#[test]
fn an_answer_of_something_else_is_not_taken_for_a_transit_engines() {
    let answers = ["", "[]", "{}", "{\"data\":{}}", "{\"data\":{\"ciphertext\":5}}", "<html>"];
    for answer in answers {
        let error = guarded(&Secret::from_string(answer.into())).unwrap_err();
        assert!(error.to_string().contains("not that of a transit engine"), "{answer}: {error}");
    }
}

#[test]
fn a_key_that_no_service_guards_is_named() {
    let world = World::new();
    let other = WrappingKey { id: "of_a_file".into(), guarded: None };
    let error = world.open(&[other]).unwrap_err();
    assert!(matches!(error, VaultError::UnknownKey { key_id } if key_id == "of_a_file"));
}
