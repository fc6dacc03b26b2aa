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

    /// Before anything of it is staged.
    ///
    /// Mutation: connectors.rs, `published`, nothing of whatever name.
    async fn whoever_uploads_is_told_first_what_has_been_published_by_the_name(world) {
        let (new, other) = (large("large", "1.0.0", 1), new_version("large", "1.0.0", 8));
        let owner = Some(world.tenant().await);
        assert_eq!(world.store.published(None, &new).await.unwrap(), None);
        let there = publish(world, &new).await.unwrap();
        let again = NewVersion { id: VersionId::new(NOW), ..new.clone() };
        assert_eq!(world.store.published(None, &again).await.unwrap(), Some(Published { already: true, ..there }));
        assert!(matches!(world.store.published(None, &other).await, Err(StoreError::Taken { .. })));
        assert_eq!(world.store.published(owner, &other).await.unwrap(), None, "a tenant's is another");
        assert_eq!(world.store.published(None, &new_version("large", "1.0.1", 8)).await.unwrap(), None);
    }
}

/// Its publishing is under way, or its line broke with that: whoever gives it up waits, and takes nothing away.
///
/// Mutations: components.rs, `give_up`, remove the pieces whether or not the upload is there; before it is taken.
#[tokio::test]
async fn an_upload_that_is_published_at_the_same_moment_is_not_given_up() {
    let Some(world) = World::on_postgres().await else { return };
    let new = large("large", "1.0.0", 40);
    world.store.stage(None, &new).await.unwrap();
    let mut publishing = world.store.system().await.unwrap();
    publishing.publish(&new).await.unwrap();
    let (given_up, ()) = tokio::join!(world.store.give_up(new.id), async {
        world.somebody_waits().await;
        publishing.commit().await.unwrap();
    });
    given_up.unwrap();
    assert!(world.store.system_read().await.unwrap().component(&new.digest).await.unwrap() == new.component);
    world.end().await;
}

/// Of two with the same bytes one has them kept; the pieces of the other belong to nothing, and it says how many those are.
///
/// Mutation: components.rs, `keep`, say one piece: all are removed at once, and the writer waits for that.
#[tokio::test]
async fn of_two_that_publish_the_same_at_once_one_leaves_all_its_pieces_to_be_removed() {
    let Some(world) = World::on_postgres().await else { return };
    let (one, other) = (large("one", "1.0.0", 20), large("other", "1.0.0", 20));
    world.store.stage(None, &one).await.unwrap();
    world.store.stage(None, &other).await.unwrap();
    let (mut first, mut second) = (world.store.system().await.unwrap(), world.store.system().await.unwrap());
    first.publish(&one).await.unwrap();
    let (published, ()) = tokio::join!(second.publish(&other), async {
        world.somebody_waits().await;
        first.commit().await.unwrap();
    });
    published.unwrap();
    second.commit().await.unwrap();
    assert_eq!(world.store.staged(other.id).await.unwrap(), 20);
    world.store.give_up(other.id).await.unwrap();
    assert_eq!(given_up(&world).await, None);
    assert!(world.store.system_read().await.unwrap().component(&one.digest).await.unwrap() == one.component);
    world.end().await;
}
