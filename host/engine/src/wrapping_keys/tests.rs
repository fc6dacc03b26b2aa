#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod removing;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bulkhead_manifest::{AppId, Clock};
use bulkhead_store::{NewCredential, Owner, SealedPlace, StoreConfig, WrappingKeyRow};
use bulkhead_vault::{Context, KeyProvider, Later, LocalKeys, Sealed, Secret, Wrapped};
use sqlx::Connection as _;

use super::known::TRY_AGAIN_MS;
use super::walk::{AT_WORK_MS, BATCH};
use super::*;
use crate::credentials::tests::provider::Provider;
use crate::credentials::tests::world::{CODE, Folder, IN_CONFIDENCE, until};

/// A clock that is set by hand, and goes so far with each look at it.
#[derive(Default)]
struct Hand(AtomicU64, AtomicU64);

impl Clock for Hand {
    fn now_ms(&self) -> u64 {
        self.0.fetch_add(self.1.load(Ordering::Relaxed), Ordering::Relaxed)
    }
}

struct World {
    folder: Folder,
    store: Store,
    vault: Vault,
    hand: Arc<Hand>,
    clock: SharedClock,
}

const MANY: u32 = 3 * BATCH + 7;

impl World {
    /// With so many secrets, each sealed under the first key.
    async fn new(secrets: u32) -> Self {
        let folder = Folder::new();
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
        let secret = Secret::from_string(format!("{name} {IN_CONFIDENCE}"));
        let sealed = vault.seal(&context(&text, &name, expected + 1), &secret).unwrap().0;
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
            let expected = format!("{name} {IN_CONFIDENCE}");
            opened += u32::from(
                vault.open(&context, &Sealed(row.sealed)).is_ok_and(|secret| secret.expose() == expected.as_bytes()),
            );
        }
        opened
    }

    async fn views(&self) -> Vec<WrappingKeyView> {
        self.keys().known().await.unwrap().views(settled_ms(), 60 * crate::warnings::DAY_MS)
    }

    /// How many sealed values are under a key.
    async fn uses(&self, id: &str) -> u32 {
        let mut uses = 0;
        for mut after in SealedPlace::STARTS {
            while let Some(heads) = self.keys().heads(&after).await.unwrap() {
                uses += heads.found.iter().filter(|(_, head)| Sealed::key_id(head).is_ok_and(|key| key == id)).count();
                after = heads.last;
            }
        }
        u32::try_from(uses).unwrap()
    }

    /// As a node does that hears which key seals.
    async fn look_after(&self) {
        self.keys().look().await.unwrap();
        self.keys().look_after().await.unwrap();
    }

    /// Another key takes over, and all that is sealed is looked through; the id of the one before.
    async fn rotated(&self) -> String {
        let first = self.views().await[0].id.clone();
        self.keys().rotate().await.unwrap();
        self.wait(settled_ms());
        self.look_after().await;
        first
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

    /// The keys as a node has them with which something is wrong about this one.
    fn away(&self, id: &str, says: fn() -> VaultError) -> Away {
        let keys = LocalKeys::open(self.path()).unwrap();
        Away { keys, id: id.to_owned(), says, seals: AtomicU64::new(u64::MAX), asked: Asking::default() }
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
    assert!(!world.keys().remove(&first).await.unwrap());
    assert_eq!(world.states().await, [WrappingKeyState::Leaving, WrappingKeyState::Active]);
    world.look_after().await;
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

/// How many ask at once: now, and at most.
#[derive(Default)]
struct Asking(AtomicU64, AtomicU64);

/// Keys of which whatever guards them says this about one; and they seal only so often.
struct Away {
    keys: LocalKeys,
    id: String,
    says: fn() -> VaultError,
    seals: AtomicU64,
    asked: Asking,
}

impl Away {
    fn says(&self, id: &str) -> Result<(), VaultError> {
        if id == self.id { Err((self.says)()) } else { Ok(()) }
    }
}

fn silent() -> VaultError {
    VaultError::ProviderUnavailable { reason: "away".to_owned() }
}

fn refused() -> VaultError {
    VaultError::ProviderRefused { reason: "damaged".to_owned() }
}

fn vault(keys: Arc<Away>) -> Vault {
    Vault::new(keys, Secret::new(Vec::new()))
}

impl KeyProvider for Away {
    fn wrap(&self, dek: &Secret, aad: &[u8]) -> Result<Wrapped, VaultError> {
        let left = self.seals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        left.map_err(|_| silent())?;
        self.keys.wrap(dek, aad)
    }

    fn unwrap(&self, wrapped: &Wrapped, aad: &[u8]) -> Result<Secret, VaultError> {
        self.says(&wrapped.key_id)?;
        self.keys.unwrap(wrapped, aad)
    }

    fn active(&self) -> String {
        self.keys.active()
    }

    fn make<'a>(&'a self, known: &'a [WrappingKey]) -> Later<'a, WrappingKey> {
        self.keys.make(known)
    }

    fn hold<'a>(&'a self, keys: &'a [WrappingKey], active: &'a str, asked: Asked) -> Later<'a, ()> {
        Box::pin(async move {
            self.keys.hold(keys, active, asked).await?;
            keys.iter().try_for_each(|key| self.says(&key.id))
        })
    }

    fn guard_anew<'a>(&'a self, key: &'a WrappingKey) -> Later<'a, Option<String>> {
        Box::pin(async {
            let Asking(now, most) = &self.asked;
            most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            now.fetch_sub(1, Ordering::Relaxed);
            self.says(&key.id).map(|()| None)
        })
    }

    fn destroy<'a>(&'a self, id: &'a str) -> Later<'a, ()> {
        self.keys.destroy(id)
    }
}

/// Mutations: `rewrap_all`, end at whichever key nothing is said about; note it as done for that one, too; `is_work_due`,
/// without `tried_ms`, without `clamp`, also where somebody wants it to go.
#[tokio::test]
async fn one_key_that_nothing_is_said_about_keeps_no_other_from_being_wrapped_anew_and_is_tried_now_and_then() {
    let world = World::new(2).await;
    world.keys().rotate().await.unwrap();
    world.put(&world.sealed(&world.vault, 1, 1)).await;
    world.wait(1);
    world.keys().rotate().await.unwrap();
    let ids: Vec<_> = world.views().await.into_iter().map(|view| view.id).collect();
    let vault = vault(Arc::new(world.away(&ids[0], silent)));
    let keys = WrappingKeys { vault: &vault, ..world.keys() };
    keys.look().await.unwrap_err();
    keys.look_after().await.unwrap();
    let state = [WrappingKeyState::Retiring, WrappingKeyState::Retired, WrappingKeyState::Active];
    assert_eq!((world.states().await, world.uses(&ids[2]).await), (state.to_vec(), 1));
    assert_eq!((world.views().await[0].uses, world.views().await[1].uses), (Some(1), Some(0)));
    let is_due = async || world.keys().known().await.unwrap().is_work_due(u64::MAX);
    let ((least, most), retired_ms) = (TRY_AGAIN_MS.into_inner(), world.views().await[0].retired_ms.unwrap());
    for (so_far, waits) in [(0, least), (5 * least, 5 * least), (100 * most, most)] {
        world.hand.0.store(retired_ms + so_far, Ordering::Relaxed);
        let mut tx = world.store.system().await.unwrap();
        tx.note_tried(&ids[0], world.clock.now_ms(), 1).await.unwrap();
        tx.commit().await.unwrap();
        world.wait(waits - 1);
        assert!(!is_due().await, "{waits}");
        world.wait(1);
        assert!(is_due().await, "{waits}");
    }
    let mut tx = world.store.system().await.unwrap();
    tx.note_tried(&ids[0], world.clock.now_ms(), 1).await.unwrap();
    tx.want_wrapping_key_gone(&ids[0], world.clock.now_ms()).await.unwrap();
    tx.commit().await.unwrap();
    assert!(is_due().await, "somebody wants it to go");
    keys.look().await.unwrap_err();
    keys.look_after().await.unwrap();
    assert_eq!((world.states().await[0], world.views().await[0].uses), (WrappingKeyState::Retiring, Some(1)));
    world.wait(most);
    world.look_after().await;
    assert_eq!((world.views().await[0].uses, world.opens(&world.vault, 1).await), (Some(0), 1));
}

/// Mutation: `rewrap_all`, without `can_seal` where one value is not wrapped anew: it is taken for what its key came to.
#[tokio::test]
async fn who_can_seal_no_more_in_the_middle_says_nothing_about_what_is_left() {
    let world = World::new(2).await;
    world.keys().rotate().await.unwrap();
    let ids: Vec<_> = world.views().await.into_iter().map(|view| view.id).collect();
    let away = Away { seals: AtomicU64::new(1), ..world.away(&ids[0], silent) };
    let vault = vault(Arc::new(away));
    let keys = WrappingKeys { vault: &vault, ..world.keys() };
    keys.look().await.unwrap_err();
    let error = keys.look_after().await.unwrap_err();
    assert!(matches!(error, EngineFault::Vault(VaultError::ProviderUnavailable { .. })), "{error}");
    assert_eq!((world.states().await[0], world.views().await[0].uses), (WrappingKeyState::Retiring, None));
}

/// Mutation: `rewrap_all`, begin although nothing can be sealed.
#[tokio::test]
async fn who_cannot_seal_does_not_begin_to_look_through_all() {
    let world = World::new(0).await;
    world.keys().rotate().await.unwrap();
    world.wait(u64::try_from(SEALS_FOR.as_millis()).unwrap());
    world.keys().look_after().await.unwrap_err();
    assert_eq!(world.states().await[0], WrappingKeyState::Retiring);
    world.look_after().await;
    assert_eq!(world.states().await[0], WrappingKeyState::Retired);
}

/// Mutations: `guard_anew`, end at whichever key is refused, or not answered about; go on also without the one that seals;
/// `rotate`, end where `look` does: the key is there.
#[tokio::test]
async fn an_old_key_that_is_not_to_be_had_keeps_nobody_from_rotating() {
    let world = World::new(0).await;
    world.keys().rotate().await.unwrap();
    let first = world.views().await[0].id.clone();
    for (made, says) in [(3, silent as fn() -> VaultError), (4, refused)] {
        world.wait(1);
        let rotates = async |id: &str| {
            let vault = vault(Arc::new(world.away(id, says)));
            WrappingKeys { vault: &vault, ..world.keys() }.rotate().await
        };
        let active = world.views().await.pop().unwrap().id;
        let error = rotates(&active).await.unwrap_err();
        assert!(matches!(error, WrappingKeyError::Fault(EngineFault::Vault(_))), "{error}");
        rotates(&first).await.unwrap();
        assert_eq!(world.views().await.len(), made);
    }
}

/// Mutations: `rotate`, one after the other; all at once.
#[tokio::test]
async fn keys_are_guarded_anew_side_by_side() {
    let world = World::new(0).await;
    for _ in 0..GUARDED_AT_ONCE + 2 {
        world.keys().rotate().await.unwrap();
        world.wait(1);
    }
    let away = Arc::new(world.away("", silent));
    let vault = vault(away.clone());
    WrappingKeys { vault: &vault, ..world.keys() }.rotate().await.unwrap();
    assert_eq!(away.asked.1.load(Ordering::Relaxed), GUARDED_AT_ONCE as u64);
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
    keys.hold(std::slice::from_ref(&own), "another", Asked::now(engine.clock())).await.unwrap();
    until(async || keys.active() == own.id).await;
    drop(workers);
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
        world.keys().look().await.unwrap();
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
    world.look_after().await;
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
        tried_ms: None,
        wanted_ms: None,
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
