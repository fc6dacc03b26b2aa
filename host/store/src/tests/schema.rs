use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sqlx::{Connection as _, Executor as _, Row as _};

use super::{World, fresh_database, postgres_server};
use crate::{Store, StoreConfig, migrations};

/// Table → column → (kind, required).
type Shape = BTreeMap<String, BTreeMap<String, (&'static str, bool)>>;

fn kind(declared: &str) -> &'static str {
    match declared.to_lowercase().as_str() {
        "integer" | "bigint" => "number",
        "text" => "text",
        "blob" | "bytea" => "bytes",
        other => panic!("a column may be a number, a text or bytes, not {other}"),
    }
}

async fn of_sqlite() -> Shape {
    let world = World::on_sqlite().await;
    let file = format!("sqlite:{}", world.folder().join("store.db").display());
    let mut connection = sqlx::sqlite::SqliteConnection::connect(&file).await.unwrap();
    let rows = connection
        .fetch_all(
            "SELECT t.name AS tab, c.name AS col, c.type AS kind, c.\"notnull\" AS required, c.pk AS pk
             FROM sqlite_master t JOIN pragma_table_info(t.name) c
             WHERE t.type = 'table' AND t.name NOT LIKE '\\_sqlx%' ESCAPE '\\'",
        )
        .await
        .unwrap();
    let mut shape = Shape::new();
    for row in rows {
        let required = row.get::<i64, _>("required") > 0 || row.get::<i64, _>("pk") > 0;
        let column = (kind(&row.get::<String, _>("kind")), required);
        shape.entry(row.get("tab")).or_default().insert(row.get("col"), column);
    }
    shape
}

async fn of_postgres(admin: &str) -> Shape {
    let (url, name) = fresh_database(admin).await;
    let store = Store::open(StoreConfig::new(url.clone())).await.unwrap();
    let mut connection = sqlx::postgres::PgConnection::connect(&url).await.unwrap();
    let rows = connection
        .fetch_all(
            "SELECT CAST(table_name AS TEXT) AS tab, CAST(column_name AS TEXT) AS col, CAST(data_type AS TEXT) AS kind,
                    is_nullable = 'NO' AS required
             FROM information_schema.columns WHERE table_schema = 'public' AND table_name NOT LIKE '\\_sqlx%'",
        )
        .await
        .unwrap();
    let mut shape = Shape::new();
    for row in rows {
        let column = (kind(&row.get::<String, _>("kind")), row.get::<bool, _>("required"));
        shape.entry(row.get("tab")).or_default().insert(row.get("col"), column);
    }
    store.close().await;
    super::drop_database(admin, &name).await;
    shape
}

#[tokio::test]
async fn both_databases_have_the_same_tables_and_columns() {
    let Some(admin) = postgres_server() else { return };
    let (lite, pg) = (of_sqlite().await, of_postgres(&admin).await);
    for (table, columns) in &lite {
        assert_eq!(pg.get(table), Some(columns), "{table}");
    }
    assert_eq!(lite.keys().collect::<Vec<_>>(), pg.keys().collect::<Vec<_>>());
}

fn files(folder: &str) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations").join(folder);
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn both_folders_have_the_same_files_and_all_of_them_are_embedded() {
    assert_eq!(files("sqlite"), files("postgres"));
    for (migrator, folder) in [(migrations::sqlite(), "sqlite"), (migrations::postgres(), "postgres")] {
        let embedded: BTreeSet<_> = migrator.iter().map(|one| format!("{}.sql", one.description)).collect();
        assert_eq!(embedded, files(folder));
        for one in migrator.iter() {
            assert!(one.description.starts_with(&format!("{:04}_", one.version)), "{}", one.description);
        }
    }
}
