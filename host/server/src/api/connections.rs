//! Connections: make, authorize, look at, end.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post, put};
use bulkhead_engine::{ConnectError, ConnectionView, NewConnection, Upgrade};
use bulkhead_manifest::AppId;
use bulkhead_vault::Secret;
use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::Desk;
use crate::api::operations::run_answer;
use crate::api::{LONGEST_OVERLAP, List, OfVersion, Paging, created, overlap_ms, too_long, usual_overlap};
use crate::auth::{Access, Tenant};
use crate::body::{Json, Path, id};
use crate::problem::{Answer, Problem};
use crate::text::Fields;

pub(crate) fn routes() -> Router<Desk> {
    Router::new()
        .route("/connections", get(list).post(create))
        .route("/connections/{connection}", get(read).delete(disconnect))
        .route("/connections/{connection}/credential", put(authorize))
        .route("/connections/{connection}/webhook-secret", put(set_webhook_secret))
        .route("/connections/{connection}/sessions", post(open_session))
        .route("/connections/{connection}/check", post(check))
        .route("/connections/{connection}/upgrade", get(look_at_upgrade).post(upgrade))
}

/// As text, bytes: lists show them.
const LARGEST_SETTINGS: usize = 64 << 10;

fn production() -> String {
    "production".to_owned()
}

fn yes() -> bool {
    true
}

fn empty() -> Value {
    Value::Object(serde_json::Map::new())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    /// The connector's name.
    connector: String,
    /// The newest where none is given.
    version: Option<String>,
    app: Option<AppId>,
    #[serde(default = "production")]
    environment: String,
    name: String,
    #[serde(default = "empty")]
    settings: Value,
}

async fn create(tenant: Tenant, State(desk): State<Desk>, body: Json<New>) -> Answer<Response> {
    let tenant = tenant.may("connections", Access::Write)?;
    let New { connector, version, app, environment, name, settings } = body.read().await?;
    let fields = Fields::default()
        .key("/connector", &connector)
        .key("/version", version.as_deref().unwrap_or("newest"))
        .key("/environment", &environment)
        .name("/name", &name);
    settings_fit(fields, &settings).done()?;
    let new = NewConnection { connector, version, app, environment, name, settings };
    Ok(created(desk.engine.connect(tenant, new).await?))
}

fn settings_fit(fields: Fields, settings: &Value) -> Fields {
    fields.require(settings.is_object(), "/settings", "settings are an object").require(
        settings.to_string().len() <= LARGEST_SETTINGS,
        "/settings",
        "settings have at most 64 KiB",
    )
}

async fn list(tenant: Tenant<Paging>, State(desk): State<Desk>) -> Answer<List<ConnectionView>> {
    let (tenant, paging) = tenant.asks("connections", Access::Read)?;
    let views = desk.engine.connections(tenant, paging.page()?).await?;
    Ok(paging.list(views, |view| view.id.to_string()))
}

async fn read(
    tenant: Tenant,
    State(desk): State<Desk>,
    Path(connection): Path<String>,
) -> Answer<axum::Json<ConnectionView>> {
    let tenant = tenant.may("connections", Access::Read)?;
    Ok(axum::Json(desk.engine.connection(tenant, id(&connection, "connection")?).await?))
}

async fn disconnect(tenant: Tenant, State(desk): State<Desk>, Path(connection): Path<String>) -> Answer<StatusCode> {
    let tenant = tenant.may("connections", Access::Write)?;
    desk.engine.disconnect(tenant, id(&connection, "connection")?).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Credential {
    /// What the manifest's `auth` asks for, by name.
    #[serde(default)]
    fields: BTreeMap<String, String>,
    webhook_secret: Option<String>,
    /// Whether it may be to an account that the tenant has connected already.
    #[serde(default)]
    second: bool,
}

async fn authorize(
    tenant: Tenant,
    State(desk): State<Desk>,
    Path(connection): Path<String>,
    body: Json<Credential>,
) -> Answer<axum::Json<ConnectionView>> {
    let tenant = tenant.may("connections", Access::Write)?;
    let Credential { fields, webhook_secret, second } = body.read().await?;
    let fields = fields.into_iter().map(|(name, value)| (name, Secret::from_string(value))).collect();
    let webhook_secret = webhook_secret.map(Secret::from_string);
    let connection = id(&connection, "connection")?;
    Ok(axum::Json(desk.engine.authorize_with_fields(tenant, connection, fields, webhook_secret, second).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WebhookSecret {
    secret: String,
    /// How long the one that was there works on.
    #[serde(default = "usual_overlap")]
    overlap_hours: u32,
}

async fn set_webhook_secret(
    tenant: Tenant,
    State(desk): State<Desk>,
    Path(connection): Path<String>,
    body: Json<WebhookSecret>,
) -> Answer<StatusCode> {
    let tenant = tenant.may("connections", Access::Write)?;
    let given = body.read().await?;
    let secret = Secret::from_string(given.secret);
    Fields::default().require(given.overlap_hours <= LONGEST_OVERLAP, "/overlap_hours", too_long()).done()?;
    let (connection, overlap_ms) = (id(&connection, "connection")?, overlap_ms(given.overlap_hours));
    desk.engine.set_webhook_secret(tenant, connection, secret, overlap_ms).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewSession {
    /// Where the person goes afterwards.
    return_url: Option<Url>,
    /// Whether it may be to an account that the tenant has connected already.
    #[serde(default)]
    second: bool,
}

fn may_be_returned_to(url: &Url) -> bool {
    const LONGEST: usize = 2_000;
    let open = url.username().is_empty() && url.password().is_none();
    matches!(url.scheme(), "https" | "http") && open && url.as_str().len() <= LONGEST
}

async fn open_session(
    tenant: Tenant,
    State(desk): State<Desk>,
    Path(connection): Path<String>,
    body: Json<NewSession>,
) -> Answer<Response> {
    let tenant = tenant.may("connections", Access::Write)?;
    let new = body.read().await?;
    if !new.return_url.as_ref().is_none_or(may_be_returned_to) {
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid-return-url",
            "`return_url` has to be http or https, without a user and password, and at most 2,000 characters long.",
        ));
    }
    match desk.engine.open_session(tenant, id(&connection, "connection")?, new.return_url, new.second).await {
        Ok(session) => Ok(created(session)),
        Err(ConnectError::Fault(fault)) => Err(fault.into()),
        Err(ConnectError::Connection(error)) => Err(error.into()),
        Err(_) => Err(Problem::not_found("connection")),
    }
}

async fn check(tenant: Tenant, State(desk): State<Desk>, Path(connection): Path<String>) -> Answer<Response> {
    let tenant = tenant.may("connections", Access::Write)?;
    Ok(run_answer(desk.engine.check(tenant, id(&connection, "connection")?).await?))
}

async fn look_at_upgrade(
    tenant: Tenant<OfVersion>,
    State(desk): State<Desk>,
    Path(connection): Path<String>,
) -> Answer<axum::Json<Upgrade>> {
    let (tenant, of) = tenant.asks("connections", Access::Read)?;
    let connection = id(&connection, "connection")?;
    Ok(axum::Json(desk.engine.look_at_upgrade(tenant, connection, of.version.as_deref()).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GoOn {
    /// The one that was looked at: what nobody has seen nobody agrees to.
    version: String,
    /// Whether it goes on by newer ones that ask for no more.
    #[serde(default = "yes")]
    follows: bool,
    /// In the place of those that it has.
    settings: Option<Value>,
}

async fn upgrade(
    tenant: Tenant,
    State(desk): State<Desk>,
    Path(connection): Path<String>,
    body: Json<GoOn>,
) -> Answer<axum::Json<ConnectionView>> {
    let tenant = tenant.may("connections", Access::Write)?;
    let GoOn { version, follows, settings } = body.read().await?;
    let given = Fields::default().key("/version", &version);
    match &settings {
        Some(settings) => settings_fit(given, settings),
        None => given,
    }
    .done()?;
    let connection = id(&connection, "connection")?;
    Ok(axum::Json(desk.engine.upgrade(tenant, connection, &version, follows, settings).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mutation: `settings_fit`, without `LARGEST_SETTINGS`.
    #[test]
    fn settings_are_as_large_as_lists_can_show() {
        let fit = |letters: usize| {
            let settings = serde_json::json!({ "a": "x".repeat(letters) });
            settings_fit(Fields::default(), &settings).done().is_ok()
        };
        let around = r#"{"a":""}"#.len();
        assert!(fit(LARGEST_SETTINGS - around) && !fit(LARGEST_SETTINGS - around + 1));
    }
}
