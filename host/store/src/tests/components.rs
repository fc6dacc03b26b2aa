use bulkhead_manifest::VersionId;

use super::{NOW, World, new_version, on_both};
use crate::components::PIECE_BYTES;
use crate::*;

/// A version whose component has so many pieces.
fn large(name: &str, version: &str, pieces: usize) -> NewVersion {
    let component = (0..PIECE_BYTES * pieces - 7).map(|at| (at / 1_000) as u8).collect();
    NewVersion { component, ..new_version(name, version, 7) }
}

async fn publish(world: &World, new: &NewVersion) -> Result<Published> {
    let mut tx = world.store.system().await?;
    let published = tx.publish(new).await?;
    tx.commit().await.map(|()| published)
}

async fn given_up(world: &World) -> Option<VersionId> {
    world.store.given_up(VersionId::new(NOW + 1)).await.unwrap()
}

on_both! {
    /// Mutations: components.rs, `keep`, without `TAKE`: half a component is one; `OF`, without its order.
    async fn a_component_in_pieces_is_there_with_its_last_one_or_not_at_all(world) {
        let new = large("large", "1.0.0", 12);
        let unstaged = publish(world, &new).await;
        assert!(matches!(unstaged, Err(StoreError::NotFound { what: "staged part of a component" })), "{unstaged:?}");
        world.store.stage(None, &new).await.unwrap();
        let mut read = world.store.system_read().await.unwrap();
        assert!(!read.has_component(&new.digest).await.unwrap());
        assert!(read.component(&new.digest).await.unwrap_err().is_not_found());
        assert_eq!(given_up(world).await, Some(new.id));
        assert_eq!(world.store.given_up(VersionId::new(NOW - 1)).await.unwrap(), None, "it may still come");
        assert!(!publish(world, &new).await.unwrap().already);
        assert_eq!(given_up(world).await, None);
        world.store.give_up(new.id).await.unwrap();
        assert!(read.component(&new.digest).await.unwrap() == new.component);
    }

    /// Mutation: components.rs, `give_up`, without `REMOVE_PIECES`: they are still in the way.
    async fn what_was_staged_and_not_published_is_removed(world) {
        let new = large("large", "1.0.0", 40);
        world.store.stage(None, &new).await.unwrap();
        world.store.give_up(new.id).await.unwrap();
        assert_eq!(given_up(world).await, None);
        world.store.stage(None, &new).await.unwrap();
        publish(world, &new).await.unwrap();
        // The same bytes once more, under another name: these pieces belong to nothing.
        let again = large("again", "1.0.0", 40);
        world.store.stage(None, &again).await.unwrap();
        publish(world, &again).await.unwrap();
        assert_eq!(given_up(world).await, Some(again.id));
        world.store.give_up(again.id).await.unwrap();
        assert_eq!(given_up(world).await, None);
        let mut read = world.store.system_read().await.unwrap();
        assert!(read.component(&new.digest).await.unwrap() == new.component);
    }
}
