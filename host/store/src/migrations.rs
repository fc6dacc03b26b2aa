//! The schema, embedded: `migrations/{sqlite,postgres}/NNNN_name.sql`, applied when a store is opened.
//!
//! To change the schema, add a file of the same number to both folders and a line to both lists. An applied file is
//! never edited: the database remembers its checksum. A test compares the folders, the lists, the tables and columns.

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{Migration, MigrationType, Migrator};

macro_rules! migrations {
    ($folder:literal, [$(($version:literal, $name:literal)),+ $(,)?]) => {
        Migrator::with_migrations(vec![$(
            Migration::new(
                $version,
                $name.into(),
                MigrationType::Simple,
                include_str!(concat!("../../../migrations/", $folder, "/", $name, ".sql")).into_sql_str(),
                false,
            )
        ),+])
    };
}

pub(crate) fn sqlite() -> Migrator {
    migrations!("sqlite", [(1, "0001_skeleton")])
}

pub(crate) fn postgres() -> Migrator {
    migrations!("postgres", [(1, "0001_skeleton")])
}
