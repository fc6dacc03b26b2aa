use std::path::Path;

use sqlx::{Connection as _, Executor as _};

use super::World;
use crate::{OpenError, Store, StoreConfig, StoreError};

fn at(path: &Path) -> StoreConfig {
    StoreConfig::new(format!("sqlite:{}", path.display()))
}

#[tokio::test]
async fn a_second_opening_is_refused_and_names_the_first() {
    let world = World::on_sqlite().await;
    let refused = Store::open(at(&world.folder().join("store.db"))).await.err().unwrap();
    let OpenError::InUse { by: Some(holder), .. } = &refused else { panic!("{refused}") };
    assert_eq!(holder.pid, std::process::id());
    assert!(refused.to_string().contains("only one process may open"), "{refused}");
}

/// Mutation: `open_sqlite`, without `lock::real` (for the links), or without `SecondName` (for the last).
#[tokio::test]
async fn by_whatever_name_it_is_the_same_database() {
    let world = World::on_sqlite().await;
    let (file, elsewhere) = (world.folder().join("store.db"), tempfile::tempdir().unwrap());
    let (link, folder) = (elsewhere.path().join("link.db"), elsewhere.path().join("folder"));
    std::os::unix::fs::symlink(&file, &link).unwrap();
    std::os::unix::fs::symlink(world.folder(), &folder).unwrap();
    for path in [link.clone(), folder.join("store.db")] {
        let refused = Store::open(at(&path)).await.err().unwrap();
        assert!(matches!(&refused, OpenError::InUse { .. }), "{refused}");
    }
    world.store.close().await;
    Store::open(at(&link)).await.unwrap().close().await;
    let second = elsewhere.path().join("second.db");
    std::fs::hard_link(&file, &second).unwrap();
    for path in [&file, &second] {
        let refused = Store::open(at(path)).await.err().unwrap();
        assert!(matches!(&refused, OpenError::SecondName { .. }), "{refused}");
    }
}

#[tokio::test]
async fn a_link_to_nothing_makes_no_database_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let (link, nothing) = (folder.path().join("link.db"), folder.path().join("nothing.db"));
    std::os::unix::fs::symlink(&nothing, &link).unwrap();
    let refused = Store::open(at(&link)).await.err().unwrap();
    assert!(matches!(&refused, OpenError::Denied { .. }) && !nothing.exists(), "{refused}");
}

#[tokio::test]
async fn what_was_closed_can_be_opened_again() {
    let world = World::on_sqlite().await;
    world.store.close().await;
    let again = Store::open(at(&world.folder().join("store.db"))).await.unwrap();
    again.probe().await.unwrap();
    assert!(matches!(world.store.system().await.err(), Some(StoreError::Closed)));
}

#[tokio::test]
async fn a_missing_folder_is_named() {
    let refused = Store::open(StoreConfig::new("sqlite:/no/such/folder/store.db")).await.err().unwrap();
    assert!(matches!(&refused, OpenError::NoFolder { folder } if folder == Path::new("/no/such/folder")), "{refused}");
}

/// Mutation: open.rs, `open_sqlite`, without `is_dir`: it has a second name.
#[tokio::test]
async fn a_folder_in_the_place_of_the_file_is_called_one_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    std::fs::create_dir(&path).unwrap();
    let refused = Store::open(at(&path)).await.err().unwrap();
    assert!(matches!(refused, OpenError::Folder { .. }), "{refused}");
    assert!(refused.to_string().contains("store.db is a folder"), "{refused}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is laid beside it");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letter.txt");
    let letter = "Dear Ann, ".repeat(1_000);
    std::fs::write(&path, &letter).unwrap();
    let refused = Store::open(at(&path)).await.err().unwrap();
    assert!(matches!(refused, OpenError::NotADatabase { .. }), "{refused}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), letter);
}

async fn tamper(world: &World, sql: &'static str) -> OpenError {
    world.store.close().await;
    let path = world.folder().join("store.db");
    let mut connection = sqlx::sqlite::SqliteConnection::connect(&format!("sqlite:{}", path.display())).await.unwrap();
    connection.execute(sql).await.unwrap();
    connection.close().await.unwrap();
    Store::open(at(&path)).await.err().unwrap()
}

#[tokio::test]
async fn the_database_of_a_newer_program_is_refused() {
    let world = World::on_sqlite().await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (999, 'later', 1, x'00', 0)";
    let refused = tamper(&world, newer).await;
    assert!(matches!(refused, OpenError::Newer { found: 999 }), "{refused}");
}

#[tokio::test]
async fn an_edited_migration_is_refused() {
    let world = World::on_sqlite().await;
    let refused = tamper(&world, "UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 1").await;
    assert!(matches!(refused, OpenError::Changed { version: 1 }), "{refused}");
}

#[tokio::test]
async fn an_unknown_scheme_is_refused() {
    let refused = Store::open(StoreConfig::new("mysql://ann:secret@db/x")).await.err().unwrap();
    assert!(matches!(refused, OpenError::BadUrl { .. }));
    assert!(!refused.to_string().contains("secret"), "{refused}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_without_its_password() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let url = format!("postgres://ann:secret@127.0.0.1:{port}/x");
    let refused = Store::open(StoreConfig::new(url)).await.err().unwrap();
    assert!(matches!(refused, OpenError::Unreachable { .. }), "{refused}");
    assert!(!refused.to_string().contains("secret"), "{refused}");
}
