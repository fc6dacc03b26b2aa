//! API keys. A key's text is in the answer that makes it and nowhere else.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{delete, get, post};
use bulkhead_engine::{InvalidField, Warning};
use bulkhead_manifest::KeyId;
use bulkhead_store::{Key, NewKey};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Desk;
use crate::api::{LONGEST_OVERLAP, List, Paging, created, overlap_ms, too_long, usual_overlap};
use crate::auth::{Access, Caller, NOUNS, allows, new_key};
use crate::body::{Json, Path, id};
use crate::problem::{Answer, Problem};
use crate::text::Fields;

pub(crate) fn routes() -> Router<Desk> {
    Router::new()
        .route("/keys", get(list).post(create))
        .route("/keys/{key}", delete(revoke))
        .route("/keys/{key}/roll", post(roll))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    name: String,
    /// `*`, a noun, or a noun with `:read`.
    scopes: Vec<String>,
    expires_ms: Option<u64>,
}

/// More than there are to name.
const MOST_SCOPES: usize = 50;

#[derive(Serialize)]
struct View {
    id: KeyId,
    name: String,
    /// How the key's text begins.
    prefix: String,
    scopes: Value,
    expires_ms: Option<u64>,
    revoked_ms: Option<u64>,
    /// To the minute.
    last_used_ms: Option<u64>,
    created_ms: u64,
    warnings: Vec<Warning>,
    /// Only when it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

async fn create(caller: Caller, State(desk): State<Desk>, body: Json<New>) -> Answer<Response> {
    caller.may("keys", Access::Write)?;
    let new = body.read().await?;
    let no_later = new.expires_ms.is_some_and(|end| caller.expires_ms().is_none_or(|own| end <= own));
    let may_be_without_end = new.expires_ms.is_none() && caller.expires_ms().is_none();
    let now_ms = desk.engine.clock().now_ms();
    let is_kept = new.expires_ms.is_none_or(can_be_kept);
    let is_to_come = new.expires_ms.is_none_or(|end| end > now_ms);
    Fields::default()
        .name("/name", &new.name)
        .require(is_kept, "/expires_ms", format!("a moment is at most {}", i64::MAX))
        .require(is_to_come, "/expires_ms", format!("this is over: it is {now_ms} now, in milliseconds since 1970"))
        .require(no_later || may_be_without_end || !is_kept, "/expires_ms", expires_no_later(caller.expires_ms()))
        .require(new.scopes.len() <= MOST_SCOPES, "/scopes", format!("a key has at most {MOST_SCOPES} scopes"))
        .also(invalid_scopes(caller.scopes(), &new.scopes))
        .done()?;
    let (row, token) = new_key(&desk.pepper, now_ms, new.name, &new.scopes, new.expires_ms);
    let mut tx = desk.engine.store().system().await?;
    tx.create_key(caller.tenant, &row).await?;
    tx.commit().await?;
    Ok(created(made(row, token)))
}

/// A key that has just been made, with its text.
fn made(row: NewKey, token: String) -> View {
    View {
        id: row.id,
        name: row.name,
        prefix: row.prefix,
        scopes: serde_json::from_str(&row.scopes).unwrap_or_default(),
        expires_ms: row.expires_ms,
        revoked_ms: None,
        last_used_ms: None,
        created_ms: row.created_ms,
        warnings: Vec::new(),
        key: Some(token),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Roll {
    /// How long the old key works on.
    #[serde(default = "usual_overlap")]
    overlap_hours: u32,
}

/// Makes a key that may do the same and lives as long; the old one ends a while later.
async fn roll(caller: Caller, State(desk): State<Desk>, Path(key): Path<String>, body: Json<Roll>) -> Answer<Response> {
    caller.may("keys", Access::Write)?;
    let (old, Roll { overlap_hours }) = (id(&key, "key")?, body.read().await?);
    Fields::default().require(overlap_hours <= LONGEST_OVERLAP, "/overlap_hours", too_long()).done()?;
    let now_ms = desk.engine.clock().now_ms();
    let mut tx = desk.engine.store().system().await?;
    let old = tx.key(caller.tenant, old).await?;
    let scopes: Vec<String> = serde_json::from_str(&old.scopes).unwrap_or_default();
    refuse_stronger(&caller, &scopes)?;
    if old.revoked_ms.is_some() || old.expires_ms.is_some_and(|end| end <= now_ms) {
        let detail = "That key has ended already. Make a new one.";
        return Err(Problem::new(StatusCode::CONFLICT, "key-ended", detail));
    }
    let (row, token) =
        new_key(&desk.pepper, now_ms, old.name.clone(), &scopes, lives_until(&old, now_ms, caller.expires_ms()));
    tx.create_key(caller.tenant, &row).await?;
    tx.end_key(caller.tenant, old.id, now_ms.saturating_add(overlap_ms(overlap_hours))).await?;
    tx.commit().await?;
    Ok(created(made(row, token)))
}

/// As long as the old one was to live, and no longer than whoever makes it.
fn lives_until(old: &Key, now_ms: u64, maker_ms: Option<u64>) -> Option<u64> {
    let own_ms = old.expires_ms.map(|end| now_ms.saturating_add(end.saturating_sub(old.created_ms)));
    own_ms.into_iter().chain(maker_ms).min()
}

fn refuse_stronger(caller: &Caller, scopes: &[String]) -> Answer<()> {
    if invalid_scopes(caller.scopes(), scopes).is_empty() {
        return Ok(());
    }
    let detail = "That key may do what this one may not. Use one that may do as much.";
    Err(Problem::new(StatusCode::FORBIDDEN, "stronger-key", detail))
}

/// The databases' numbers have a sign.
fn can_be_kept(moment_ms: u64) -> bool {
    i64::try_from(moment_ms).is_ok()
}

fn expires_no_later(than_ms: Option<u64>) -> String {
    than_ms.map_or_else(String::new, |end| format!("this key ends at {end}: what it makes ends no later"))
}

/// Scopes that do not exist, or that the maker of the key does not have.
fn invalid_scopes(own: &[String], wanted: &[String]) -> Vec<InvalidField> {
    let refuse = |(index, scope): (usize, &String)| {
        let (noun, suffix) =
            scope.split_once(':').map_or((scope.as_str(), None), |(noun, suffix)| (noun, Some(suffix)));
        let exists = (noun == "*" || NOUNS.contains(&noun)) && matches!(suffix, None | Some("read"));
        let access = if suffix.is_some() { Access::Read } else { Access::Write };
        let message = if !exists {
            format!("{scope:?} is no scope: it is `*` or one of {}, with or without `:read`", NOUNS.join(", "))
        } else if !allows(own, noun, access) {
            "this key does not have that scope itself".to_owned()
        } else {
            return None;
        };
        Some(InvalidField { pointer: format!("/scopes/{index}"), message })
    };
    wanted.iter().take(MOST_SCOPES).enumerate().filter_map(refuse).collect()
}

async fn list(caller: Caller<Paging>, State(desk): State<Desk>) -> Answer<List<View>> {
    caller.may("keys", Access::Read)?;
    let paging = caller.query;
    let rows = desk.engine.store().system_read().await?.keys(caller.tenant, paging.page()?).await?;
    Ok(paging.list(rows.into_iter().map(|row| view(&desk, row)).collect(), |key| key.id.to_string()))
}

fn view(desk: &Desk, key: Key) -> View {
    let works = key.revoked_ms.is_none() && key.expires_ms.is_none_or(|end| end > desk.engine.clock().now_ms());
    let old = || desk.engine.api_key_warning(key.created_ms);
    View {
        warnings: works.then(old).flatten().into_iter().collect(),
        id: key.id,
        name: key.name,
        prefix: key.prefix,
        scopes: serde_json::from_str(&key.scopes).unwrap_or_default(),
        expires_ms: key.expires_ms,
        revoked_ms: key.revoked_ms,
        last_used_ms: key.last_used_ms,
        created_ms: key.created_ms,
        key: None,
    }
}

async fn revoke(caller: Caller, State(desk): State<Desk>, Path(key): Path<String>) -> Answer<StatusCode> {
    caller.may("keys", Access::Write)?;
    let key = id(&key, "key")?;
    let mut tx = desk.engine.store().system().await?;
    let scopes: Vec<String> = serde_json::from_str(&tx.key(caller.tenant, key).await?.scopes).unwrap_or_default();
    refuse_stronger(&caller, &scopes)?;
    tx.revoke_key(caller.tenant, key, desk.engine.clock().now_ms()).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mutation: `lives_until`, without the maker's end; the old one's own end.
    #[test]
    fn a_rolled_key_lives_as_long_as_the_old_one_was_to_and_no_longer_than_its_maker() {
        let old = |expires_ms| Key {
            id: KeyId::new(1),
            tenant: None,
            name: String::new(),
            prefix: String::new(),
            hash: [0; 32],
            scopes: "[]".to_owned(),
            expires_ms,
            revoked_ms: None,
            last_used_ms: None,
            created_ms: 100,
        };
        let until = |expires_ms, maker_ms| lives_until(&old(expires_ms), 1_000, maker_ms);
        assert_eq!([until(None, None), until(Some(150), None)], [None, Some(1_050)]);
        assert_eq!([until(None, Some(1_020)), until(Some(150), Some(1_020))], [Some(1_020), Some(1_020)]);
        assert_eq!(until(Some(150), Some(2_000)), Some(1_050));
    }
}
