//! Tenants: the platform's customers.

use bulkhead_manifest::TenantId;

use crate::catalogue::catalogue;
use crate::error::{Result, StoreError};
use crate::paging::Page;
use crate::row::row;
use crate::tx::{SystemRead, SystemTx};
use crate::value::bind;

catalogue! { "tenants";
    INSERT = "INSERT INTO tenants (id, name, created_ms) VALUES ($1, $2, $3)";
    ONE = "SELECT id, name, created_ms FROM tenants WHERE id = $1";
    LIST = "SELECT id, name, created_ms FROM tenants WHERE id < $1 ORDER BY id DESC LIMIT $2";
}

row! {
    /// A customer of the platform.
    pub struct Tenant {
        /// Its id.
        pub id: TenantId;
        /// What people call it.
        pub name: String;
        /// Since when it is there.
        pub created_ms: u64;
    }
}

/// A tenant to be made: its row.
pub type NewTenant = Tenant;

impl SystemTx {
    /// Makes a tenant.
    ///
    /// # Errors
    /// `Taken` where the id exists.
    pub async fn create_tenant(&mut self, tenant: &NewTenant) -> Result<()> {
        let values = bind![tenant.id, &tenant.name, tenant.created_ms];
        self.unit.run(&INSERT, values).await.map(drop).map_err(|error| error.or_taken("tenant"))
    }
}

impl SystemRead {
    /// One tenant.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn tenant(&mut self, tenant: TenantId) -> Result<Tenant> {
        self.unit.one(&ONE, bind![tenant]).await?.ok_or(StoreError::NotFound { what: "tenant" })
    }

    /// Tenants, newest first.
    ///
    /// # Errors
    /// The database's.
    pub async fn tenants(&mut self, page: Page<TenantId>) -> Result<Vec<Tenant>> {
        let before = page.start();
        self.unit.all(&LIST, bind![before, page.rows()]).await
    }
}
