//! Apps: registrations with providers, a tenant's own or the operator's, which every tenant may use. An app's secrets
//! are credentials (`credentials.rs`); its pins say where they may go.

use bulkhead_manifest::{AppId, TenantId};

use crate::Json;
use crate::catalogue::catalogue;
use crate::error::{Result, StoreError};
use crate::row::row;
use crate::tx::{SystemRead, SystemTx, TenantRead, TenantTx};
use crate::value::bind;

macro_rules! app_columns {
    () => {
        "id, tenant_id, connector_name, name, client_id, pins, created_ms"
    };
}

catalogue! { "apps";
    INSERT = "INSERT INTO apps (tenant_id, id, connector_name, name, client_id, pins, created_ms)
            VALUES ($1, $2, $3, $4, $5, $6, $7)";
    SET_PINS = "UPDATE apps SET pins = $3 WHERE tenant_id IS NOT DISTINCT FROM $1 AND id = $2";
    SET_CLIENT = "UPDATE apps SET client_id = $3 WHERE tenant_id IS NOT DISTINCT FROM $1 AND id = $2";
    ONE = concat!("SELECT ", app_columns!(), " FROM apps WHERE id = $1");
    VISIBLE = concat!("SELECT ", app_columns!(), " FROM apps
            WHERE id = $2 AND (tenant_id = $1 OR tenant_id IS NULL)");
    LIST_OWN = concat!("SELECT ", app_columns!(), " FROM apps WHERE tenant_id = $1 ORDER BY id DESC");
    LIST_OPERATOR = concat!("SELECT ", app_columns!(), " FROM apps WHERE tenant_id IS NULL ORDER BY id DESC");
}

/// An app to be registered.
#[derive(Clone, Debug, PartialEq)]
pub struct NewApp {
    /// Its id.
    pub id: AppId,
    /// For connectors of this name.
    pub connector_name: String,
    /// What people call it.
    pub name: String,
    /// The provider's id for it; not a secret.
    pub client_id: Option<String>,
    /// Where its secrets may go.
    pub pins: Json,
    /// Now.
    pub created_ms: u64,
}

row! {
    /// A registration with a provider.
    pub struct App {
        /// Its id.
        pub id: AppId;
        /// Whose; none for the operator's.
        pub tenant: Option<TenantId>, in "tenant_id";
        /// For connectors of this name.
        pub connector_name: String;
        /// What people call it.
        pub name: String;
        /// The provider's id for it.
        pub client_id: Option<String>;
        /// Where its secrets may go.
        pub pins: Json;
        /// Since when it is there.
        pub created_ms: u64;
    }
}

fn found(rows: u64) -> Result<()> {
    if rows == 0 { Err(StoreError::NotFound { what: "app" }) } else { Ok(()) }
}

impl TenantTx {
    /// Sets where the secrets of an app of this tenant's may go.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn set_app_pins(&mut self, app: AppId, pins: &str) -> Result<()> {
        let values = bind![Some(self.tenant()), app, pins];
        found(self.unit.run(&SET_PINS, values).await?)
    }

    /// Sets the provider's id for an app of this tenant's.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn set_app_client(&mut self, app: AppId, client_id: Option<&str>) -> Result<()> {
        let values = bind![Some(self.tenant()), app, client_id];
        found(self.unit.run(&SET_CLIENT, values).await?)
    }
}

impl SystemTx {
    /// Registers an app. No tenant: the operator's.
    ///
    /// # Errors
    /// `NotFound` where there is no such tenant, `Taken` where the id exists.
    pub async fn create_app(&mut self, tenant: Option<TenantId>, app: &NewApp) -> Result<()> {
        let values = bind![tenant, app.id, &app.connector_name, &app.name, &app.client_id, &app.pins, app.created_ms];
        let inserted = self.unit.run(&INSERT, values).await;
        inserted.map(drop).map_err(|error| error.or_not_found("tenant").or_taken("app"))
    }

    /// Sets where the secrets of an app of the operator's may go.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn set_app_pins(&mut self, app: AppId, pins: &str) -> Result<()> {
        found(self.unit.run(&SET_PINS, bind![None::<TenantId>, app, pins]).await?)
    }

    /// Sets the provider's id for an app of the operator's.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn set_app_client(&mut self, app: AppId, client_id: Option<&str>) -> Result<()> {
        found(self.unit.run(&SET_CLIENT, bind![None::<TenantId>, app, client_id]).await?)
    }
}

impl TenantRead {
    /// One app, this tenant's own or the operator's.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn app(&mut self, app: AppId) -> Result<App> {
        let tenant = self.tenant();
        self.unit.one(&VISIBLE, bind![tenant, app]).await?.ok_or(StoreError::NotFound { what: "app" })
    }

    /// The apps that this tenant may use: its own, then the operator's.
    ///
    /// # Errors
    /// The database's.
    pub async fn apps(&mut self) -> Result<Vec<App>> {
        let tenant = self.tenant();
        let mut apps: Vec<App> = self.unit.all(&LIST_OWN, bind![tenant]).await?;
        apps.extend(self.unit.all::<App, _>(&LIST_OPERATOR, bind![]).await?);
        Ok(apps)
    }
}

impl SystemRead {
    /// One app, whoever's.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn app(&mut self, app: AppId) -> Result<App> {
        self.unit.one(&ONE, bind![app]).await?.ok_or(StoreError::NotFound { what: "app" })
    }

    /// The operator's apps, newest first.
    ///
    /// # Errors
    /// The database's.
    pub async fn apps(&mut self) -> Result<Vec<App>> {
        self.unit.all(&LIST_OPERATOR, bind![]).await
    }
}
