//! Apps: registrations with providers, a tenant's own or the operator's, which every tenant may use. An app's secrets
//! are credentials (`credentials.rs`); its pins say where they may go.

use bulkhead_manifest::{AppId, TenantId};

use crate::Json;
use crate::catalogue::catalogue;
use crate::error::{Result, StoreError};
use crate::paging::Page;
use crate::row::row;
use crate::tx::{SystemRead, SystemTx, TenantRead};
use crate::unit::Unit;
use crate::value::bind;

macro_rules! app_columns {
    () => {
        "id, tenant_id, connector_name, name, client_id, pins, created_ms"
    };
}

catalogue! { "apps";
    INSERT = "INSERT INTO apps (tenant_id, id, connector_name, name, client_id, pins, created_ms)
            VALUES ($1, $2, $3, $4, $5, $6, $7)";
    ONE = concat!("SELECT ", app_columns!(), " FROM apps WHERE id = $1");
    VISIBLE = concat!("SELECT ", app_columns!(), " FROM apps
            WHERE id = $2 AND (tenant_id = $1 OR tenant_id IS NULL)");
    SET_PINS = "UPDATE apps SET pins = $2 WHERE id = $1";
    LIST_OWN = concat!("SELECT ", app_columns!(), " FROM apps WHERE tenant_id = $1 AND id < $2
            ORDER BY id DESC LIMIT $3");
    LIST_OPERATOR = concat!("SELECT ", app_columns!(), " FROM apps WHERE tenant_id IS NULL AND id < $1
            ORDER BY id DESC LIMIT $2");
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

    /// Sets where an app's secrets may go.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn set_app_pins(&mut self, app: AppId, pins: &str) -> Result<()> {
        match self.unit.run(&SET_PINS, bind![app, pins]).await? {
            0 => Err(StoreError::NotFound { what: "app" }),
            _ => Ok(()),
        }
    }
}

async fn operators(unit: &mut Unit, page: Page<AppId>) -> Result<Vec<App>> {
    unit.all(&LIST_OPERATOR, bind![page.start(), page.rows()]).await
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

    /// The apps that this tenant may use, its own and the operator's, newest first.
    ///
    /// # Errors
    /// The database's.
    pub async fn apps(&mut self, page: Page<AppId>) -> Result<Vec<App>> {
        let tenant = self.tenant();
        let mut apps: Vec<App> = self.unit.all(&LIST_OWN, bind![tenant, page.start(), page.rows()]).await?;
        apps.extend(operators(&mut self.unit, page).await?);
        apps.sort_by_key(|app| std::cmp::Reverse(app.id));
        apps.truncate(page.rows() as usize);
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
    pub async fn apps(&mut self, page: Page<AppId>) -> Result<Vec<App>> {
        operators(&mut self.unit, page).await
    }
}
