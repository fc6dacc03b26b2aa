//! API keys. A key's text is in the answer that makes it and nowhere else.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{delete, get};
use bulkhead_engine::InvalidField;
use bulkhead_manifest::KeyId;
use bulkhead_store::Key;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Desk;
use crate::api::{List, created, short_list};
use crate::auth::{Access, Caller, NOUNS, allows, new_key};
use crate::body::{Json, Path, id};
use crate::problem::{Answer, Problem};

pub(crate) fn routes() -> Router<Desk> {
    Router::new().route("/keys", get(list).post(create)).route("/keys/{key}", delete(revoke))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    name: String,
    /// `*`, a noun, or a noun with `:read`.
    scopes: Vec<String>,
    expires_ms: Option<u64>,
}

#[derive(Serialize)]
struct View {
    id: KeyId,
    name: String,
    /// How the key's text begins.
    prefix: String,
    scopes: Value,
    expires_ms: Option<u64>,
    revoked_ms: Option<u64>,
    created_ms: u64,
    /// Only when it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

async fn create(caller: Caller, State(desk): State<Desk>, Json(new): Json<New>) -> Answer<Response> {
    caller.may("keys", Access::Write)?;
    let invalid = invalid_scopes(caller.scopes(), &new.scopes);
    if !invalid.is_empty() {
        return Err(Problem::invalid(invalid));
    }
    let now_ms = desk.engine.clock().now_ms();
    let (row, token) = new_key(&desk.pepper, now_ms, new.name, &new.scopes, new.expires_ms);
    let mut tx = desk.engine.store().system().await?;
    tx.create_key(caller.tenant, &row).await?;
    tx.commit().await?;
    let scopes = serde_json::to_value(&new.scopes).unwrap_or_default();
    let (id, name, prefix, expires_ms) = (row.id, row.name, row.prefix, row.expires_ms);
    Ok(created(View { id, name, prefix, scopes, expires_ms, revoked_ms: None, created_ms: now_ms, key: Some(token) }))
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
    wanted.iter().enumerate().filter_map(refuse).collect()
}

async fn list(caller: Caller, State(desk): State<Desk>) -> Answer<List<View>> {
    caller.may("keys", Access::Read)?;
    let rows = desk.engine.store().system_read().await?.keys(caller.tenant).await?;
    Ok(short_list(rows.into_iter().map(view).collect()))
}

fn view(key: Key) -> View {
    View {
        id: key.id,
        name: key.name,
        prefix: key.prefix,
        scopes: serde_json::from_str(&key.scopes).unwrap_or_default(),
        expires_ms: key.expires_ms,
        revoked_ms: key.revoked_ms,
        created_ms: key.created_ms,
        key: None,
    }
}

async fn revoke(caller: Caller, State(desk): State<Desk>, Path(key): Path<String>) -> Answer<StatusCode> {
    caller.may("keys", Access::Write)?;
    let mut tx = desk.engine.store().system().await?;
    tx.revoke_key(caller.tenant, id(&key, "key")?, desk.engine.clock().now_ms()).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
