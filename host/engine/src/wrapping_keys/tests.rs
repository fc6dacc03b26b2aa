#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bulkhead_manifest::{AppId, Clock};
use bulkhead_store::{NewCredential, Owner, StoreConfig, WrappingKeyRow};
use bulkhead_vault::{Context, LocalKeys, Secret};

use super::*;

/// A clock that is set by hand.
#[derive(Default)]
struct Hand(AtomicU64);

impl Clock for Hand {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
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
        let hand = Arc::new(Hand(AtomicU64::new(1_800_000_000_000)));
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
        WrappingKeys { store: &self.store, vault: &self.vault, clock: &self.clock, holder: "this node" }
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
        self.keys().known().await.unwrap().views(60 * crate::warnings::DAY_MS)
    }

    async fn states(&self) -> Vec<WrappingKeyState> {
        self.views().await.into_iter().map(|view| view.state).collect()
    }

    fn restarted(&self) -> Vault {
        Vault::local(LocalKeys::open(self.path()).unwrap())
    }
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
    assert_eq!(world.keys().uses(&first).await.unwrap(), u64::from(MANY));
    assert_eq!(world.opens(&world.vault, MANY).await, MANY, "before a single one was wrapped anew");
    world.keys().look_after().await.unwrap();
    assert_eq!(world.states().await, [WrappingKeyState::Retired, WrappingKeyState::Active]);
    assert_eq!(world.keys().uses(&first).await.unwrap(), 0);
    world.wait(SETTLED_MS);
    world.keys().look_after().await.unwrap();
    world.keys().remove(&first).await.unwrap();
    let file = std::fs::read_to_string(world.path()).unwrap();
    assert!(!file.contains(&first), "{first} is still in the file");
    let restarted = world.restarted();
    let keys = WrappingKeys { vault: &restarted, ..world.keys() };
    keys.take_up().await.unwrap();
    assert_eq!(world.opens(&restarted, MANY).await, MANY);
    assert_eq!(world.states().await, [WrappingKeyState::Active]);
}

/// Mutation: `add`, without `after_last_ms`: of two in one millisecond it is chance which seals.
#[tokio::test]
async fn keys_of_one_moment_take_over_one_after_the_other() {
    let world = World::new(0).await;
    world.keys().rotate().await.unwrap();
    assert!(matches!(world.keys().rotate().await, Ok(())));
    assert!(matches!(world.keys().rotate().await, Err(WrappingKeyError::Coming { .. })));
    let ids: Vec<_> = world.views().await.into_iter().map(|view| view.active_ms).collect();
    assert!(ids.is_sorted_by(|one, other| one < other), "{ids:?}");
}

/// Mutations: `remove`, without `uses`; without the time; also the active one.
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
    // A node that had not heard of it writes what it sealed before.
    let mut tx = world.store.system().await.unwrap();
    tx.put_credential(None, &world.sealed(&late, 1, 1)).await.unwrap();
    tx.commit().await.unwrap();
    world.wait(SETTLED_MS);
    let error = removed(&first).await.unwrap_err();
    assert!(matches!(error, WrappingKeyError::InUse { count: 1, .. }), "{error}");
    world.keys().look_after().await.unwrap();
    removed(&first).await.unwrap();
    assert_eq!(world.opens(&world.vault, 3).await, 3);
}

/// Mutation: `is_work_due`, only while nothing was looked through.
#[tokio::test]
async fn what_was_written_late_is_wrapped_anew_too_and_then_no_more_is_looked_for() {
    let world = World::new(2).await;
    world.keys().rotate().await.unwrap();
    assert!(world.keys().known().await.unwrap().is_work_due());
    world.keys().look_after().await.unwrap();
    assert!(!world.keys().known().await.unwrap().is_work_due());
    world.wait(SETTLED_MS - 1);
    assert!(!world.keys().known().await.unwrap().is_work_due());
    world.wait(1);
    assert!(world.keys().known().await.unwrap().is_work_due());
    world.keys().look_after().await.unwrap();
    world.wait(10 * SETTLED_MS);
    assert!(!world.keys().known().await.unwrap().is_work_due());
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
    assert_eq!(other.uses(&first).await.unwrap(), u64::from(MANY - BATCH), "somebody else is at it");
    assert_eq!(world.states().await[0], WrappingKeyState::Retiring);
    world.wait(AT_WORK_MS);
    other.look_after().await.unwrap();
    assert_eq!(other.uses(&first).await.unwrap(), 0);
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
    let mut tx = world.store.system().await.unwrap();
    tx.put_credential(None, &damaged).await.unwrap();
    tx.commit().await.unwrap();
    world.keys().rotate().await.unwrap();
    world.keys().look_after().await.unwrap();
    assert_eq!(world.keys().uses(&first).await.unwrap(), 0);
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
    };
    let rows = vec![row("root", None), row("next", Some(20)), row("now", Some(10)), row("old", Some(5))];
    let known = Known::of(rows, 19);
    let states: Vec<_> = known.views(u64::MAX).into_iter().map(|view| (view.id, view.state, view.retired_ms)).collect();
    let expected = [
        ("old", WrappingKeyState::Retiring, Some(10)),
        ("now", WrappingKeyState::Active, None),
        ("next", WrappingKeyState::Coming, None),
    ];
    assert_eq!(states, expected.map(|(id, state, at)| (id.to_owned(), state, at)));
}
