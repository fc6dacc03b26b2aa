//! Keys that are to go: when they may, who looks after it, and what becomes of one that was broken off.

use super::*;

/// Mutations: `remove`, without `TooSoon`; also the active one; without `look_through_again`; `leaving`, without
/// `is_looked_through`; `settled_ms`, less than the longest run takes; `rewrap_all`, without counting what cannot be opened.
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
    assert!(!removed(&first).await.unwrap());
    // What was counted in between is not all there was to count.
    let known = world.keys().known().await.unwrap();
    world.keys().settle_removals(&known).await.unwrap();
    assert_eq!((world.states().await[0], world.views().await[0].uses), (WrappingKeyState::Leaving, Some(0)));
    let whole = world.sealed(&late, 2, 1);
    let mut damaged = whole.clone();
    // Behind the name of its key, in the data key.
    damaged.sealed[40] ^= 1;
    world.put(&damaged).await;
    world.look_after().await;
    assert_eq!((world.states().await[0], world.views().await[0].uses), (WrappingKeyState::Retired, Some(1)));
    let error = removed(&first).await.unwrap_err();
    assert!(matches!(error, WrappingKeyError::InUse { count: 1, .. }), "{error}");
    assert_eq!(world.uses(&first).await, 1, "a damaged value keeps its key");
    // Somebody mends it.
    world.put(&NewCredential { expected: 2, ..whole }).await;
    assert!(!removed(&first).await.unwrap(), "it is looked for anew");
    world.look_after().await;
    assert_eq!((world.uses(&first).await, world.views().await.len()), (0, 1));
}

/// What is under it was not tried to be opened yet: nothing says that it cannot be.
///
/// Mutations: `settle_removals`, without `uses`: what was counted once; say how many they are.
#[tokio::test]
async fn what_was_sealed_after_all_was_looked_through_keeps_its_key() {
    let world = World::new(3).await;
    let late = world.restarted();
    let first = world.rotated().await;
    assert_eq!(world.views().await[0].uses, Some(0));
    world.put(&world.sealed(&late, 1, 1)).await;
    assert!(!world.keys().remove(&first).await.unwrap());
    world.look_after().await;
    assert_eq!((world.states().await[0], world.views().await[0].uses), (WrappingKeyState::Retiring, None));
    assert_eq!(world.opens(&world.vault, 3).await, 3);
    assert!(!world.keys().remove(&first).await.unwrap());
    world.look_after().await;
    assert_eq!(world.states().await, [WrappingKeyState::Active]);
    assert_eq!(world.opens(&world.restarted(), 3).await, 3);
}

/// The background may have destroyed it before it is read.
///
/// Mutation: `unless_gone`, not found.
#[tokio::test]
async fn a_key_that_is_gone_before_its_removal_is_answered_is_gone() {
    let world = World::new(1).await;
    let view = world.views().await.remove(0);
    assert_eq!(unless_gone(Ok(view.clone())).unwrap(), Some(view));
    assert_eq!(unless_gone(Err(WrappingKeyError::NotFound)).unwrap(), None);
    let not_yet = unless_gone(Err(WrappingKeyError::Active { id: "a".into() }));
    assert!(matches!(not_yet, Err(WrappingKeyError::Active { .. })), "{not_yet:?}");
}

/// Mutation: `uses`, whoever else is at it.
#[tokio::test]
async fn one_node_at_a_time_looks_through_all_for_a_key_to_go() {
    let world = World::new(1).await;
    let first = world.rotated().await;
    world.wait(AT_WORK_MS);
    let active = world.keys().known().await.unwrap().active().unwrap().id.clone();
    let other = WrappingKeys { holder: "another node", ..world.keys() };
    assert_eq!(other.replace(&active, &[]).await.unwrap(), Some(0));
    assert!(!world.keys().remove(&first).await.unwrap());
    world.look_after().await;
    assert_eq!(world.states().await[0], WrappingKeyState::Leaving);
    world.wait(AT_WORK_MS);
    world.look_after().await;
    assert_eq!(world.states().await, [WrappingKeyState::Active]);
}

/// Mutations: `destroy`, forget it first; `look_after`, without `destroy`; `Known::keys`, also one that goes.
#[tokio::test]
async fn a_removal_that_was_broken_off_is_carried_out() {
    let world = World::new(3).await;
    let first = world.rotated().await;
    let before = std::fs::read(world.path()).unwrap();
    std::fs::write(world.path(), "{}").unwrap();
    assert!(!world.keys().remove(&first).await.unwrap());
    world.keys().look_after().await.unwrap_err();
    // Who asks again hears why.
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
