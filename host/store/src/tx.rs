//! What a caller holds: reads and writes, a tenant's and the system's, as four types.
//!
//! - [`TenantRead`] and [`TenantTx`] are made with a tenant and carry it into every statement. There is no way from one
//!   to another tenant, and none to a system operation. On Postgres the transaction also says `bulkhead.tenant`, which
//!   row-level security can go by.
//! - [`SystemRead`] and [`SystemTx`] are for work that has no tenant yet: looking up who a webhook is for, claims,
//!   the operator's own things. Where such an operation touches a tenant's row, it is given the tenant.
//!
//! What can be read in a read can be read in a write: a write derefs to its read. The operations themselves stand with
//! their noun, in `runs.rs`, `events.rs` and so on.

use std::ops::{Deref, DerefMut};

use bulkhead_manifest::TenantId;

use crate::error::Result;
use crate::unit::Unit;

/// A tenant's eyes. Never waits for a writer; each statement sees the newest commit.
pub struct TenantRead {
    tenant: TenantId,
    pub(crate) unit: Unit,
}

/// A tenant's hands: one transaction. Undone unless committed.
pub struct TenantTx(TenantRead);

/// The system's eyes.
pub struct SystemRead {
    pub(crate) unit: Unit,
}

/// The system's hands: one transaction. Undone unless committed.
pub struct SystemTx(SystemRead);

impl TenantRead {
    pub(crate) fn new(tenant: TenantId, unit: Unit) -> Self {
        Self { tenant, unit }
    }

    /// Whose.
    #[must_use]
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }
}

impl TenantTx {
    pub(crate) fn new(tenant: TenantId, unit: Unit) -> Self {
        Self(TenantRead::new(tenant, unit))
    }

    /// Ends the transaction. When this returns `Ok`, everything in it is on disk.
    ///
    /// # Errors
    /// `Conflict` and `Spoiled`: nothing was written. `NotDurable`: nobody can say.
    pub async fn commit(self) -> Result<()> {
        self.0.unit.commit().await
    }
}

impl SystemRead {
    pub(crate) fn new(unit: Unit) -> Self {
        Self { unit }
    }
}

impl SystemTx {
    pub(crate) fn new(unit: Unit) -> Self {
        Self(SystemRead::new(unit))
    }

    /// Ends the transaction. When this returns `Ok`, everything in it is on disk.
    ///
    /// # Errors
    /// `Conflict` and `Spoiled`: nothing was written. `NotDurable`: nobody can say.
    pub async fn commit(self) -> Result<()> {
        self.0.unit.commit().await
    }
}

impl Deref for TenantTx {
    type Target = TenantRead;
    fn deref(&self) -> &TenantRead {
        &self.0
    }
}
impl DerefMut for TenantTx {
    fn deref_mut(&mut self) -> &mut TenantRead {
        &mut self.0
    }
}
impl Deref for SystemTx {
    type Target = SystemRead;
    fn deref(&self) -> &SystemRead {
        &self.0
    }
}
impl DerefMut for SystemTx {
    fn deref_mut(&mut self) -> &mut SystemRead {
        &mut self.0
    }
}
