#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bulkhead_manifest::{AppId, Clock};
use bulkhead_store::{NewCredential, Owner, SealedPlace, StoreConfig, WrappingKeyRow};
use bulkhead_vault::{Context, KeyProvider, Later, LocalKeys, Sealed, Secret, Wrapped};
use sqlx::Connection as _;

use super::walk::{AT_WORK_MS, BATCH};
use super::*;
use crate::credentials::tests::provider::Provider;
use crate::credentials::tests::world::{CODE, until};

/// A clock that is set by hand, and goes so far with each look at it.
#[derive(Default)]
struct Hand(AtomicU64, AtomicU64);

impl Clock for Hand {
    fn now_ms(&self) -> u64 {
        self.0.fetch_add(self.1.load(Ordering::Relaxed), Ordering::Relaxed)
    }
}

struct World {
    folder: tempfile::TempDir,
    store: Store,
    vault: Vault,
    hand: Arc<Hand>,
    clock: SharedClock,
}

const MANY: u32 = 3 * BATCH + 7;

impl World {
    /// With so many secrets, each sealed under the first key.
    async fn new(secrets: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(StoreConfig::new(format!("sqlite:{}", folder.path().join("s.db").display())));
        let store = store.await.unwrap();
        let vault = Vault::local(LocalKeys::open_or_create(folder.path().join("keys.json")).unwrap());
        let hand = Arc::new(Hand(AtomicU64::new(1_800_000_000_000), AtomicU64::default()));
        let world = Self { folder, store, vault, clock: hand.clone(), hand };
        world.keys().take_up().await.unwrap();
        world.wait(1);
        let mut tx = world.store.system().await.unwrap();
        for number in 0..secrets {
            tx.put_credential(None, &world.sealed(&world.vault, number, 0)).await.unwrap();
        }
        tx.commit().await.unwrap();
        world
    }

    fn keys(&self) -> WrappingKeys<'_> {
        let settled_ms = settled_ms();
        WrappingKeys { store: &self.store, vault: &self.vault, clock: &self.clock, holder: "this node", settled_ms }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("keys.json")
    }

    fn wait(&self, ms: u64) {
        self.hand.0.fetch_add(ms, Ordering::Relaxed);
    }

    fn sealed(&self, vault: &Vault, number: u32, expected: u64) -> NewCredential {
        let (owner, name) = (owner(), format!("secret {number}"));
        let text = owner.to_string();
        let sealed = vault.seal(&context(&text, &name, expected + 1), &Secret::from_string(name.clone())).unwrap().0;
        let now_ms = self.clock.now_ms();
        NewCredential { owner, name, expected, sealed, meta: "{}".into(), look_at_ms: None, now_ms }
    }

    /// What opens, of so many.
    async fn opens(&self, vault: &Vault, secrets: u32) -> u32 {
        let (mut read, mut opened) = (self.store.system_read().await.unwrap(), 0);
        let owner_text = owner().to_string();
        for number in 0..secrets {
            let name = format!("secret {number}");
            let row = read.credential(None, owner(), &name).await.unwrap().unwrap();
            let version = u64::to_owned(&row.generation);
            let context = context(&owner_text, &name, version);
            opened += u32::from(
                vault.open(&context, &Sealed(row.sealed)).is_ok_and(|secret| secret.expose() == name.as_bytes()),
            );
        }
        opened
    }

    async fn views(&self) -> Vec<WrappingKeyView> {
        self.keys().known().await.unwrap().views(settled_ms(), 60 * crate::warnings::DAY_MS)
    }

    /// How many sealed values are under a key.
    async fn uses(&self, id: &str) -> u32 {
        u32::try_from(self.keys().uses(id).await.unwrap()).unwrap()
    }

    async fn put(&self, new: &NewCredential) {
        let mut tx = self.store.system().await.unwrap();
        tx.put_credential(None, new).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Until when whoever is at work said last to be.
    async fn at_work_until_ms(&self) -> u64 {
        let file = format!("sqlite:{}", self.folder.path().join("s.db").display());
        let mut database = sqlx::SqliteConnection::connect(&file).await.unwrap();
        let latest = sqlx::query_scalar::<_, i64>("SELECT max(at_work_until_ms) FROM wrapping_keys");
        latest.fetch_one(&mut database).await.unwrap().try_into().unwrap()
    }

    async fn states(&self) -> Vec<WrappingKeyState> {
        self.views().await.into_iter().map(|view| view.state).collect()
    }

    fn away(&self, refused: &str) -> Vault {
        let keys = Away(LocalKeys::open(self.path()).unwrap(), refused.to_owned());
        Vault::new(Arc::new(keys), Secret::new(Vec::new()))
    }

    fn restarted(&self) -> Vault {
        Vault::local(LocalKeys::open(self.path()).unwrap())
    }
}

fn settled_ms() -> u64 {
    super::settled_ms(&HostLimits::default())
}

fn owner() -> Owner {
    Owner::App(AppId::from_bytes([7; 16]))
}

fn context<'a>(owner: &'a str, name: &'a str, generation: u64) -> Context<'a> {
    Context { tenant: None, owner, name, version: u32::try_from(generation).unwrap() }
}

/// Mutations: `rewrap_all`, stop after the first batch; `remove`, without destroying the key; without forgetting it.
#[tokio::test]
async fn another_key_takes_over_and_the_old_one_can_go() {
    let world = World::new(MANY).await;
    let first = world.views().await[0].id.clone();
    world.keys().rotate().await.unwrap();
    assert_eq!(world.states().await, [WrappingKeyState::Retiring, WrappingKeyState::Active]);
    assert_eq!(world.uses(&first).await, MANY);
    assert_eq!(world.opens(&world.vault, MANY).await, MANY, "before a single one was wrapped anew");
    world.keys().look_after().await.unwrap();
    assert_eq!(world.states().await, [WrappingKeyState::Retired, WrappingKeyState::Active]);
    assert_eq!((world.uses(&first).await, world.views().await[0].uses), (0, Some(0)));
    world.wait(settled_ms());
    let error = world.keys().remove(&first).await.unwrap_err();
    assert!(matches!(error, WrappingKeyError::Looking { .. }), "{error}");
    world.keys().look_after().await.unwrap();
    world.keys().remove(&first).await.unwrap();
    assert!(matches!(world.keys().remove(&first).await, Err(WrappingKeyError::NotFound)));
    let file = std::fs::read_to_string(world.path()).unwrap();
    assert!(!file.contains(&first), "{first} is still in the file");
    let restarted = world.restarted();
    let keys = WrappingKeys { vault: &restarted, ..world.keys() };
    keys.take_up().await.unwrap();
    assert_eq!(world.opens(&restarted, MANY).await, MANY);
    assert_eq!(world.states().await, [WrappingKeyState::Active]);
}

/// Mutation: `seals_from`, at once.
#[test]
fn where_there_may_be_other_nodes_a_key_is_known_before_it_seals() {
    let looks_again_ms = u64::try_from(LOOK_AGAIN.as_millis()).unwrap();
    assert!(seals_from(100, false, Some(5)) >= 100 + 2 * looks_again_ms);
    // Who does not hear of it seals under the one before, and what that was is waited for.
    let written_ms = settled_ms() - HostLimits::default().run.wall_ms - u64::try_from(SEALS_FOR.as_millis()).unwrap();
    assert!(4 * LOOK_AGAIN < SEALS_FOR && written_ms >= 60_000, "{written_ms}");
    assert_eq!(
        (seals_from(100, true, Some(5)), seals_from(100, true, Some(100)), seals_from(7, true, None)),
        (100, 101, 7)
    );
}

/// Keys that are away where somebody wants to open something, and of which this one is guarded by nobody any more.
struct Away(LocalKeys, String);

impl KeyProvider for Away {
    fn wrap(&self, dek: &Secret, aad: &[u8]) -> Result<Wrapped, VaultError> {
        self.0.wrap(dek, aad)
    }

    fn unwrap(&self, _: &Wrapped, _: &[u8]) -> Result<Secret, VaultError> {
        Err(VaultError::ProviderUnavailable { reason: "away".to_owned() })
    }

    fn active(&self) -> String {
        self.0.active()
    }

    fn make<'a>(&'a self, known: &'a [WrappingKey]) -> Later<'a, WrappingKey> {
        self.0.make(known)
    }

    fn hold<'a>(&'a self, keys: &'a [WrappingKey], active: &'a str, asked: Instant) -> Later<'a, ()> {
        self.0.hold(keys, active, asked)
    }

    fn guard_anew<'a>(&'a self, key: &'a WrappingKey) -> Later<'a, Option<String>> {
        match key.id == self.1 {
            true => Box::pin(async { Err(VaultError::ProviderRefused { reason: "damaged".to_owned() }) }),
            false => self.0.guard_anew(key),
        }
    }

    fn destroy<'a>(&'a self, id: &'a str) -> Later<'a, ()> {
        self.0.destroy(id)
    }
}

/// Mutation: `rewrap_all`, take what cannot be opened for damaged although the keys are away.
#[tokio::test]
async fn what_cannot_be_opened_because_the_keys_are_away_is_not_taken_for_done() {
    let world = World::new(2).await;
    world.keys().rotate().await.unwrap();
    let away = world.away("");
    let keys = WrappingKeys { vault: &away, ..world.keys() };
    keys.look().await.unwrap();
    let error = keys.look_after().await.unwrap_err();
    assert!(matches!(error, EngineFault::Vault(VaultError::ProviderUnavailable { .. })), "{error}");
    assert_eq!(world.states().await[0], WrappingKeyState::Retiring);
}

/// Mutation: `rotate`, end at whichever key is refused; go on also without the one that seals.
#[tokio::test]
async fn an_old_key_that_is_refused_keeps_nobody_from_rotating() {
    let world = World::new(0).await;
    world.keys().rotate().await.unwrap();
    world.wait(1);
    let ids: Vec<_> = world.views().await.into_iter().map(|view| view.id).collect();
    let rotates = async |refused: &str| {
        let vault = world.away(refused);
        WrappingKeys { vault: &vault, ..world.keys() }.rotate().await
    };
    let error = rotates(&ids[1]).await.unwrap_err();
    assert!(
        matches!(error, WrappingKeyError::Fault(EngineFault::Vault(VaultError::ProviderRefused { .. }))),
        "{error}"
    );
    rotates(&ids[0]).await.unwrap();
    assert_eq!(world.views().await.len(), 3);
}

/// Mutation: `seals_from`, without `last_ms`: of two in one millisecond it is chance which seals.
#[tokio::test]
async fn keys_of_one_moment_take_over_one_after_the_other() {
    let world = World::new(0).await;
    world.keys().rotate().await.unwrap();
    assert!(matches!(world.keys().rotate().await, Ok(())));
    assert!(matches!(world.keys().rotate().await, Err(WrappingKeyError::Coming { .. })));
    let ids: Vec<_> = world.views().await.into_iter().map(|view| view.active_ms).collect();
    assert!(ids.is_sorted_by(|one, other| one < other), "{ids:?}");
}

/// Mutations: `settle_removal`, without `uses`; without `from_ms`; without `Looking`; `remove`, also the active one;
/// `settled_ms`, less than the longest run takes; `rewrap_all`, without counting what cannot be opened.
#[tokio::test]
async fn a_key_in_use_is_not_removed() {
    let world = World::new(3).await;
    let first = world.views().await[0].id.clone();
    let removed = async |id: &str| world.keys().remove(id).await;
    assert!(matches!(removed(&first).await, Err(WrappingKeyError::Active { .. })));
    assert!(matches!(removed("none").await, Err(WrappingKeyError::NotFound)));
    let late = world.restarted();
    world.keys().rotate().await.unwrap();
    world.keys().look_after().await.unwrap();
    assert!(matches!(removed(&first).await, Err(WrappingKeyError::TooSoon { .. })));
    // A run that began before ends at last, on a node that had not heard of it.
    world.wait(HostLimits::default().run.wall_ms + 4_000);
    assert!(matches!(removed(&first).await, Err(WrappingKeyError::TooSoon { .. })));
    world.put(&world.sealed(&late, 1, 1)).await;
    world.wait(settled_ms());
    assert!(matches!(removed(&first).await, Err(WrappingKeyError::Looking { .. })));
    let whole = world.sealed(&late, 2, 1);
    let mut damaged = whole.clone();
    // Behind the name of its key, in the data key.
    damaged.sealed[40] ^= 1;
    world.put(&damaged).await;
    world.keys().look_after().await.unwrap();
    let error = removed(&first).await.unwrap_err();
    assert!(matches!(error, WrappingKeyError::InUse { count: 1, .. }), "{error}");
    assert_eq!(world.uses(&first).await, 1, "a damaged value keeps its key");
    // Somebody mends it.
    world.put(&NewCredential { expected: 2, ..whole }).await;
    assert!(matches!(removed(&first).await, Err(WrappingKeyError::Looking { .. })), "it is looked for anew");
    world.keys().look_after().await.unwrap();
    removed(&first).await.unwrap();
    assert_eq!(world.uses(&first).await, 0);
}

/// Mutation: `settle_removal`, without `uses`: what was counted once.
#[tokio::test]
async fn what_was_sealed_after_all_was_looked_through_keeps_its_key() {
    let world = World::new(3).await;
    let first = world.views().await[0].id.clone();
    let late = world.restarted();
    world.keys().rotate().await.unwrap();
    world.wait(settled_ms());
    world.keys().look_after().await.unwrap();
    assert_eq!(world.views().await[0].uses, Some(0));
    world.put(&world.sealed(&late, 1, 1)).await;
    let error = world.keys().remove(&first).await.unwrap_err();
    assert!(matches!(error, WrappingKeyError::InUse { count: 1, .. }), "{error}");
    assert_eq!(world.opens(&world.vault, 3).await, 3);
    world.keys().look_after().await.unwrap();
    world.keys().remove(&first).await.unwrap();
    assert_eq!(world.opens(&world.restarted(), 3).await, 3);
}

/// Mutations: `rewrap_all`, count what is whole for what cannot be opened; host/vault/src/local_keys.rs, `hold_all`, end
/// where the file cannot be read: it seals under the key of before.
#[tokio::test]
async fn a_node_that_cannot_get_hold_of_the_key_that_took_over_seals_nothing_and_takes_nothing_for_done() {
    let world = World::new(3).await;
    let late = world.restarted();
    world.keys().rotate().await.unwrap();
    let whole = std::fs::read(world.path()).unwrap();
    std::fs::write(world.path(), "{}").unwrap();
    let keys = WrappingKeys { vault: &late, ..world.keys() };
    assert!(matches!(keys.look().await, Err(EngineFault::Vault(VaultError::KeyFileCorrupt { .. }))));
    late.seal(&context("", "", 1), &Secret::new(Vec::new())).unwrap_err();
    assert_eq!(world.opens(&late, 3).await, 3);
    keys.look_after().await.unwrap_err();
    assert_eq!(world.states().await[0], WrappingKeyState::Retiring);
    std::fs::write(world.path(), whole).unwrap();
    keys.look().await.unwrap();
    keys.look_after().await.unwrap();
    assert_eq!(world.views().await[0].uses, Some(0));
}

/// Mutation: host/engine/src/worker.rs, `work`, until it is told to stop.
#[tokio::test]
async fn who_was_told_to_stop_hears_which_key_seals_as_long_as_anything_is_under_way() {
    let provider = Provider::new(|_| None).await;
    let engine = crate::credentials::tests::world::World::new(&provider, CODE).await.engine;
    let workers = engine.work().unwrap();
    engine.stop();
    let keys = engine.vault().keys();
    let own = WrappingKey { id: keys.active(), guarded: None };
    keys.hold(std::slice::from_ref(&own), "another", tokio::time::Instant::now().into_std()).await.unwrap();
    until(async || keys.active() == own.id).await;
    drop(workers);
}

/// Mutations: `destroy`, forget it first; `look_after`, without `destroy`; `Known::keys`, also one that goes.
#[tokio::test]
async fn a_removal_that_was_broken_off_is_carried_out() {
    let world = World::new(3).await;
    let first = world.views().await[0].id.clone();
    world.keys().rotate().await.unwrap();
    world.wait(settled_ms());
    world.keys().look_after().await.unwrap();
    let before = std::fs::read(world.path()).unwrap();
    std::fs::write(world.path(), "{}").unwrap();
    world.keys().remove(&first).await.unwrap_err();
    assert_eq!(world.states().await, [WrappingKeyState::Removing, WrappingKeyState::Active]);
    assert!(!world.keys().known().await.unwrap().is_work_due(settled_ms()));
    // The key went, and then the power.
    std::fs::write(world.path(), before).unwrap();
    world.vault.keys().destroy(&first).await.unwrap();
    let restarted = world.restarted();
    let keys = WrappingKeys { vault: &restarted, ..world.keys() };
    keys.take_up().await.unwrap();
    keys.look_after().await.unwrap();
    assert_eq!(world.states().await, [WrappingKeyState::Active]);
    assert!(!std::fs::read_to_string(world.path()).unwrap().contains(&first));
    assert_eq!(world.opens(&restarted, 3).await, 3);
}

/// Mutation: `rewrap_all`, write for each batch.
#[tokio::test]
async fn who_only_looks_writes_once_however_much_there_is_to_look_at() {
    let mut after_ms = Vec::new();
    for secrets in [3, MANY] {
        let world = World::new(secrets).await;
        world.keys().rotate().await.unwrap();
        world.keys().look_after().await.unwrap();
        world.wait(settled_ms());
        // Who writes again writes another time.
        world.hand.1.store(1, Ordering::Relaxed);
        let begun_ms = world.clock.now_ms();
        world.keys().look_after().await.unwrap();
        after_ms.push(world.at_work_until_ms().await - begun_ms);
    }
    assert!(after_ms[0] >= AT_WORK_MS && after_ms[0] == after_ms[1], "{after_ms:?}");
}

/// Mutation: `rewrap_all`, whichever key this node takes for the active one.
#[tokio::test]
async fn who_has_not_heard_which_key_seals_takes_nothing_for_done() {
    let world = World::new(2).await;
    let late = world.restarted();
    world.keys().rotate().await.unwrap();
    let late = WrappingKeys { vault: &late, ..world.keys() };
    late.look_after().await.unwrap();
    assert_eq!(world.states().await[0], WrappingKeyState::Retiring);
    late.look().await.unwrap();
    late.look_after().await.unwrap();
    assert_eq!(world.views().await[0].uses, Some(0));
}

/// Mutation: `look_after`, without `sweep`.
#[tokio::test]
async fn a_secret_that_is_over_is_destroyed() {
    let world = World::new(2).await;
    let mut tx = world.store.system().await.unwrap();
    tx.end_credential(None, owner(), "secret 1", world.clock.now_ms() + 5).await.unwrap();
    tx.commit().await.unwrap();
    let there = async || {
        world.keys().look_after().await.unwrap();
        world.store.system_read().await.unwrap().credential(None, owner(), "secret 1").await.unwrap().is_some()
    };
    assert!(there().await);
    world.wait(5);
    assert!(!there().await);
    assert_eq!(world.opens(&world.vault, 1).await, 1);
}

/// Mutations: `look`, end where one key is not to be had; go on although it is the one that seals.
#[tokio::test]
async fn a_key_that_is_lost_keeps_nothing_else_from_being_done() {
    let world = World::new(2).await;
    let first = world.views().await[0].id.clone();
    world.keys().rotate().await.unwrap();
    world.vault.keys().destroy(&first).await.unwrap();
    world.keys().look().await.unwrap();
    world.keys().look_after().await.unwrap();
    assert_eq!(world.views().await[0].uses, Some(2));
    world.wait(1);
    world.keys().rotate().await.unwrap();
    let elsewhere = Vault::local(LocalKeys::open_or_create(world.folder.path().join("other.json")).unwrap());
    let error = WrappingKeys { vault: &elsewhere, ..world.keys() }.look().await.unwrap_err();
    let third = &world.views().await[2].id;
    assert!(matches!(&error, EngineFault::Vault(VaultError::UnknownKey { key_id }) if key_id == third), "{error}");
}

/// Mutation: `is_work_due`, only while nothing was looked through.
#[tokio::test]
async fn what_was_written_late_is_wrapped_anew_too_and_then_no_more_is_looked_for() {
    let world = World::new(2).await;
    world.keys().rotate().await.unwrap();
    assert!(world.keys().known().await.unwrap().is_work_due(settled_ms()));
    world.keys().look_after().await.unwrap();
    assert!(!world.keys().known().await.unwrap().is_work_due(settled_ms()));
    world.wait(settled_ms() - 1);
    assert!(!world.keys().known().await.unwrap().is_work_due(settled_ms()));
    world.wait(1);
    assert!(world.keys().known().await.unwrap().is_work_due(settled_ms()));
    world.keys().look_after().await.unwrap();
    world.wait(10 * settled_ms());
    assert!(!world.keys().known().await.unwrap().is_work_due(settled_ms()));
}

/// Mutations: `rewrap_all`, note it before it is done; `replace`, work whoever else does.
#[tokio::test]
async fn what_ended_in_the_middle_is_gone_on_with_by_another() {
    let world = World::new(MANY).await;
    world.keys().rotate().await.unwrap();
    let known = world.keys().known().await.unwrap();
    // One batch, and then nothing more is heard of this node.
    let start = SealedPlace::STARTS[0].clone();
    let heads = world.keys().heads(&start).await.unwrap().unwrap();
    let anew: Vec<_> =
        heads.found.iter().map(|(place, head)| (place.clone(), world.vault.rewrap(head).unwrap().unwrap())).collect();
    let active = known.active().unwrap().id.clone();
    let first = known.rows[0].1.id.clone();
    assert_eq!(world.keys().replace(&active, &anew).await.unwrap(), Some(u64::from(BATCH)));
    let restarted = world.restarted();
    let other = WrappingKeys { vault: &restarted, holder: "another node", ..world.keys() };
    other.take_up().await.unwrap();
    other.look_after().await.unwrap();
    assert_eq!(world.uses(&first).await, MANY - BATCH, "somebody else is at it");
    assert_eq!(world.states().await[0], WrappingKeyState::Retiring);
    world.wait(AT_WORK_MS);
    other.look_after().await.unwrap();
    assert_eq!(world.uses(&first).await, 0);
    assert_eq!(world.states().await[0], WrappingKeyState::Retired);
    assert_eq!(world.opens(&restarted, MANY).await, MANY);
}

/// Mutation: `take_up`, without writing it down.
#[tokio::test]
async fn a_key_whose_making_was_interrupted_takes_over_at_the_next_start() {
    let world = World::new(1).await;
    let known = world.keys().known().await.unwrap();
    let made = world.vault.keys().make(&known.keys()).await.unwrap();
    let restarted = world.restarted();
    WrappingKeys { vault: &restarted, ..world.keys() }.take_up().await.unwrap();
    let views = world.views().await;
    assert_eq!((views.len(), views[1].id.as_str(), views[1].state), (2, made.id.as_str(), WrappingKeyState::Active));
    assert_eq!(world.opens(&restarted, 1).await, 1);
}

/// Mutation: `take_up`, without `hold`; `Known::keys`, the active one alone.
#[tokio::test]
async fn a_key_that_is_lost_is_named_at_the_start() {
    let world = World::new(1).await;
    let first = world.views().await[0].id.clone();
    let kept = std::fs::read(world.path()).unwrap();
    world.keys().rotate().await.unwrap();
    let second = world.views().await[1].id.clone();
    let newer = std::fs::read_to_string(world.path()).unwrap();
    let start = async |file: &[u8]| {
        std::fs::write(world.path(), file).unwrap();
        let restarted = world.restarted();
        WrappingKeys { vault: &restarted, ..world.keys() }.take_up().await
    };
    // A backup of before.
    let error = start(&kept).await.unwrap_err();
    assert!(matches!(&error, EngineFault::Vault(VaultError::UnknownKey { key_id }) if *key_id == second), "{error}");
    // Somebody tidied up.
    let tidied: String = newer.lines().filter(|line| !line.contains(&format!("\"{first}\":"))).collect();
    let tidied = tidied.replace(",  }", "  }");
    let error = start(tidied.as_bytes()).await.unwrap_err();
    assert!(matches!(&error, EngineFault::Vault(VaultError::UnknownKey { key_id }) if *key_id == first), "{error}");
    start(newer.as_bytes()).await.unwrap();
}

/// Mutation: `rewrap_all`, end where one value cannot be wrapped anew.
#[tokio::test]
async fn one_damaged_value_does_not_keep_the_others() {
    let world = World::new(3).await;
    let first = world.views().await[0].id.clone();
    let mut damaged = world.sealed(&world.vault, 0, 1);
    damaged.sealed.truncate(20);
    world.put(&damaged).await;
    world.keys().rotate().await.unwrap();
    world.keys().look_after().await.unwrap();
    assert_eq!(world.uses(&first).await, 0);
    assert_eq!(world.opens(&world.vault, 3).await, 2);
}

/// Mutation: `Known::views`, warn of whichever key; `add`, at once where there are other nodes.
#[tokio::test]
async fn the_key_that_seals_shows_its_age_and_one_to_come_is_not_yet_used() {
    let world = World::new(0).await;
    let days = |days: u64| days * crate::warnings::DAY_MS;
    world.wait(days(61));
    let warnings = world.views().await[0].warnings.clone();
    assert_eq!((warnings.len(), warnings[0].code), (1, "wrapping-key-old"));
    assert!(warnings[0].message.contains("61 days") && warnings[0].message.contains("bulkhead keys rotate"));
    world.keys().rotate().await.unwrap();
    assert!(world.views().await.iter().all(|view| view.warnings.is_empty()));
    let row = |id: &str, active_ms| WrappingKeyRow {
        id: id.into(),
        guarded: None,
        created_ms: 0,
        active_ms,
        rewrapped_ms: None,
        uses: None,
        removing_ms: None,
    };
    let rows = vec![row("root", None), row("next", Some(20)), row("now", Some(10)), row("old", Some(5))];
    let known = Known::of(rows, 19);
    let states: Vec<_> =
        known.views(5, u64::MAX).into_iter().map(|view| (view.id, view.state, view.retired_ms)).collect();
    let expected = [
        ("old", WrappingKeyState::Retiring, Some(10)),
        ("now", WrappingKeyState::Active, None),
        ("next", WrappingKeyState::Coming, None),
    ];
    assert_eq!(states, expected.map(|(id, state, at)| (id.to_owned(), state, at)));
}
