use std::collections::BTreeSet;

use sqlx::{Connection as _, Either, Executor as _, Row as _, SqlSafeStr as _, Statement as _};

use super::{World, fresh_database, postgres_server};
use crate::catalogue::all;
use crate::{Store, StoreConfig};

async fn lite(world: &World) -> sqlx::sqlite::SqliteConnection {
    let file = world.folder().join("store.db");
    sqlx::sqlite::SqliteConnection::connect(&format!("sqlite:{}", file.display())).await.unwrap()
}

#[tokio::test]
async fn every_statement_prepares_on_sqlite_and_takes_what_its_type_says() {
    let world = World::on_sqlite().await;
    let mut connection = lite(&world).await;
    for statement in all() {
        let name = format!("{}::{}", statement.noun, statement.name);
        let prepared = connection.prepare(statement.lite.into_sql_str()).await;
        let prepared = prepared.unwrap_or_else(|error| panic!("{name}: {error}"));
        let parameters = match prepared.parameters() {
            Some(Either::Right(count)) => count,
            Some(Either::Left(types)) => types.len(),
            None => 0,
        };
        assert_eq!(parameters, statement.arity, "{name}");
    }
}

#[tokio::test]
async fn every_statement_prepares_on_postgres_and_takes_what_its_type_says() {
    let Some(admin) = postgres_server() else { return };
    let (url, name) = fresh_database(&admin).await;
    let store = Store::open(StoreConfig::new(url.clone())).await.unwrap();
    let mut connection = sqlx::postgres::PgConnection::connect(&url).await.unwrap();
    for statement in all() {
        let name = format!("{}::{}", statement.noun, statement.name);
        let prepared = connection.prepare(statement.pg.into_sql_str()).await;
        let prepared = prepared.unwrap_or_else(|error| panic!("{name}: {error}"));
        let parameters = match prepared.parameters() {
            Some(Either::Left(types)) => types.len(),
            Some(Either::Right(count)) => count,
            None => 0,
        };
        assert_eq!(parameters, statement.arity, "{name}");
    }
    store.close().await;
    super::drop_database(&admin, &name).await;
}

/// Statements that are about everything there is, on purpose: small tables, or an operator's overview.
const READS_ALL: &[&str] =
    &["counters::ALL", "credentials::END_LEASES", "keys::ANY", "runs::DEPTH_OF_ALL", "wrapping_keys::ALL"];

#[tokio::test]
async fn no_statement_walks_over_a_table() {
    let world = World::on_sqlite().await;
    let mut connection = lite(&world).await;
    let mut walks = Vec::new();
    for statement in all() {
        let name = format!("{}::{}", statement.noun, statement.name);
        let text = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", statement.lite));
        for row in connection.fetch_all(text).await.unwrap() {
            let step: String = row.get("detail");
            let table = step.strip_prefix("SCAN ").and_then(|rest| rest.split(' ').next()).unwrap_or("");
            let computed =
                ["", "ring", "walk", "w", "seeds", "json_each", "CONSTANT", "list", "r", "came"].contains(&table);
            // An index over all rows is as long as the table; one over some of them is short on purpose.
            let covered = step.contains("USING") && !step.contains("sqlite_autoindex");
            let generated = ["VIRTUAL TABLE", "CONSTANT ROW", "-ROW VALUES"].iter().any(|what| step.contains(what));
            let covered = covered || generated;
            if !computed && !covered && !READS_ALL.contains(&name.as_str()) {
                walks.push(format!("{name}: {step}"));
            }
        }
    }
    assert!(walks.is_empty(), "{}", walks.join("\n"));
}

/// What is rare among many must not be looked for through a whole history, a whole queue, or what is too large to read.
///
/// Mutations: the migrations, without any of these indexes, or without its state; attempts.rs, HURRY, without `IS TRUE`;
/// events.rs, OF_RUN, select `data` as well.
#[tokio::test]
async fn what_is_looked_for_among_many_is_found_by_its_own_index() {
    let world = World::on_sqlite().await;
    let mut connection = lite(&world).await;
    for (noun, name, by) in [
        ("runs", "LIST_ENDED", "INDEX runs_ended (tenant_id=? AND state=? AND id<?)"),
        (
            "runs",
            "LIST_ENDED_OF_CONNECTION",
            "INDEX runs_ended_of_connection (tenant_id=? AND connection_id=? AND state=? AND id<?)",
        ),
        ("runs", "LIST_UNFINISHED", "INDEX runs_unfinished (tenant_id=? AND state=? AND id<?)"),
        (
            "runs",
            "LIST_UNFINISHED_OF_CONNECTION",
            "INDEX runs_unfinished_of_connection (tenant_id=? AND connection_id=? AND state=? AND id<?)",
        ),
        ("run_ends", "WAITING", "INDEX runs_line (tenant_id=? AND connection_id=?)"),
        ("attempts", "HURRY", "INDEX runs_line (tenant_id=? AND connection_id=? AND lane=?)"),
        ("events", "OF_RUN", "COVERING INDEX events_run (tenant_id=? AND run_id=?)"),
    ] {
        let statement = all().into_iter().find(|one| (one.noun, one.name) == (noun, name)).unwrap();
        let text = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", statement.lite));
        let steps: Vec<String> =
            connection.fetch_all(text).await.unwrap().iter().map(|row| row.get("detail")).collect();
        assert!(steps.len() == 1 && steps[0].ends_with(by), "{name}: {steps:?}");
    }
}

/// What is not in the list is tried by none of these.
///
/// Mutation: catalogue.rs, `all`, without any of its lines.
#[test]
fn every_statement_that_is_written_is_in_the_list() {
    let listed: BTreeSet<(&str, &str)> = all().iter().flat_map(|one| [(one.noun, ""), (one.noun, one.name)]).collect();
    let mut nouns = 0;
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).unwrap() {
        let (file, text) =
            file.map(|file| (file.path(), std::fs::read_to_string(file.path()).unwrap_or_default())).unwrap();
        // What stands between quotation marks next.
        let quoted = |rest: &str, which: usize| rest.split('"').nth(2 * which + 1).unwrap_or_default().to_owned();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for rest in code.split("\ncatalogue! {").skip(1) {
            let noun = quoted(rest, 0);
            assert!(listed.contains(&(noun.as_str(), "")), "{}: {noun} is not in catalogue::all", file.display());
            nouns += 1;
        }
        for rest in code.split("= Many::new(").skip(1) {
            let (noun, name) = (quoted(rest, 0), quoted(rest, 1));
            assert!(listed.contains(&(&noun, &name)), "{}: {noun}::{name} is not in catalogue::all", file.display());
        }
    }
    assert!(nouns > 20, "these tables were looked for elsewhere");
}

#[test]
fn names_are_unique_within_a_noun() {
    let mut seen = BTreeSet::new();
    for statement in all() {
        assert!(
            seen.insert((statement.noun, statement.name, statement.rows)),
            "{}::{}",
            statement.noun,
            statement.name
        );
    }
}
