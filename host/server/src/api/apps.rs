//! Apps: registrations with a provider. Their secrets go in and never come out.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, put};
use bulkhead_engine::{AppAges, NewApp, Pinning};
use bulkhead_manifest::AppId;
use bulkhead_store::App;
use bulkhead_vault::Secret;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Desk;
use crate::api::{LONGEST_OVERLAP, List, OfVersion, Paging, created, overlap_ms, too_long, usual_overlap};
use crate::auth::{Access, Caller};
use crate::body::{Json, Path, id};
use crate::problem::Answer;
use crate::text::Fields;

pub(crate) fn routes() -> Router<Desk> {
    Router::new()
        .route("/apps", get(list).post(register))
        .route("/apps/{app}/secrets", put(set_secrets))
        .route("/apps/{app}/pins", get(look_at_pins).put(pin))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    /// The connector's name.
    connector: String,
    name: String,
    client_id: Option<String>,
    client_secret: Option<String>,
    webhook_secret: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Secrets {
    client_secret: Option<String>,
    webhook_secret: Option<String>,
    /// How long those that were there work on.
    #[serde(default = "usual_overlap")]
    overlap_hours: u32,
}

#[derive(Serialize)]
struct View {
    id: AppId,
    connector: String,
    name: String,
    client_id: Option<String>,
    /// Where its secrets may go.
    pins: Value,
    /// To be registered with the provider, for webhooks of all connections.
    webhook_url: String,
    /// To be registered with the provider as redirect URI.
    callback_url: String,
    created_ms: u64,
    #[serde(flatten)]
    ages: AppAges,
}

async fn view(desk: &Desk, app: App) -> Answer<View> {
    let ages = desk.engine.app_ages(&app).await?;
    let mut webhook_url = desk.engine.public_url().clone();
    webhook_url.set_path(&format!("/hooks/app/{}", app.id));
    Ok(View {
        id: app.id,
        connector: app.connector_name,
        name: app.name,
        client_id: app.client_id,
        pins: serde_json::from_str(&app.pins).unwrap_or_default(),
        webhook_url: webhook_url.into(),
        callback_url: desk.engine.oauth_callback(app.id).into(),
        created_ms: app.created_ms,
        ages,
    })
}

async fn register(caller: Caller, State(desk): State<Desk>, body: Json<New>) -> Answer<Response> {
    caller.may("apps", Access::Write)?;
    let new = body.read().await?;
    Fields::default()
        .key("/connector", &new.connector)
        .name("/name", &new.name)
        .key("/client_id", new.client_id.as_deref().unwrap_or("none"))
        .secret("/client_secret", new.client_secret.as_deref())
        .secret("/webhook_secret", new.webhook_secret.as_deref())
        .done()?;
    let new = NewApp {
        connector: new.connector,
        name: new.name,
        client_id: new.client_id,
        client_secret: new.client_secret.map(Secret::from_string),
        webhook_secret: new.webhook_secret.map(Secret::from_string),
    };
    let app = desk.engine.register_app(caller.tenant, new).await?;
    let row = desk.engine.store().system_read().await?.app(app).await?;
    Ok(created(view(&desk, row).await?))
}

async fn set_secrets(
    caller: Caller,
    State(desk): State<Desk>,
    Path(app): Path<String>,
    body: Json<Secrets>,
) -> Answer<StatusCode> {
    caller.may("apps", Access::Write)?;
    let secrets = body.read().await?;
    Fields::default()
        .secret("/client_secret", secrets.client_secret.as_deref())
        .secret("/webhook_secret", secrets.webhook_secret.as_deref())
        .require(secrets.overlap_hours <= LONGEST_OVERLAP, "/overlap_hours", too_long())
        .done()?;
    let (client, webhook) =
        (secrets.client_secret.map(Secret::from_string), secrets.webhook_secret.map(Secret::from_string));
    let overlap_ms = overlap_ms(secrets.overlap_hours);
    desk.engine.set_app_secrets(caller.tenant, id(&app, "app")?, client, webhook, overlap_ms).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn list(caller: Caller<Paging>, State(desk): State<Desk>) -> Answer<List<View>> {
    caller.may("apps", Access::Read)?;
    let (store, paging) = (desk.engine.store(), caller.query);
    let rows = match caller.tenant {
        Some(tenant) => store.tenant_read(tenant).await?.apps(paging.page()?).await?,
        None => store.system_read().await?.apps(paging.page()?).await?,
    };
    let mut views = Vec::new();
    for row in rows {
        views.push(view(&desk, row).await?);
    }
    Ok(paging.list(views, |app| app.id.to_string()))
}

async fn look_at_pins(
    caller: Caller<OfVersion>,
    State(desk): State<Desk>,
    Path(app): Path<String>,
) -> Answer<axum::Json<Pinning>> {
    caller.may("apps", Access::Read)?;
    let version = caller.query.version.as_deref();
    Ok(axum::Json(desk.engine.pinning(caller.tenant, id(&app, "app")?, version).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pin {
    version: String,
}

async fn pin(caller: Caller, State(desk): State<Desk>, Path(app): Path<String>, body: Json<Pin>) -> Answer<StatusCode> {
    caller.may("apps", Access::Write)?;
    let Pin { version } = body.read().await?;
    Fields::default().key("/version", &version).done()?;
    desk.engine.pin_app(caller.tenant, id(&app, "app")?, &version).await?;
    Ok(StatusCode::NO_CONTENT)
}
