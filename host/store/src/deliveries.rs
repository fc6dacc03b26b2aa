//! Deliveries: inbound webhook requests, kept before they are acknowledged.
//!
//! A delivery and the runs it causes are one commit; on SQLite, many of them share one. The same dedupe key in the same
//! scope is the same delivery: it is only counted.

use std::fmt;

use bulkhead_manifest::{AppId, ConnectionId, DeliveryId, TenantId};

use crate::Json;
use crate::catalogue::catalogue;
use crate::enqueue::{Enqueued, NewRun, enqueue};
use crate::error::{Result, StoreError};
use crate::paging::Page;
use crate::row::{row, words};
use crate::store::Store;
use crate::tx::{SystemRead, SystemTx, TenantRead, TenantTx};
use crate::value::bind;

macro_rules! delivery_columns {
    () => {
        "id, tenant_id, connection_id, app_id, scope, dedupe_key, status, method, path, query, headers, body, \
         received_ms, duplicates"
    };
}

catalogue! { "deliveries";
    INSERT = "INSERT INTO deliveries (id, tenant_id, connection_id, app_id, scope, dedupe_key, status, method, path, query,
                headers, body, received_ms, duplicates)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 0)
            ON CONFLICT (scope, dedupe_key) WHERE dedupe_key IS NOT NULL DO NOTHING";
    COUNT_DUPLICATE = "UPDATE deliveries SET duplicates = duplicates + 1 WHERE scope = $1 AND dedupe_key = $2 RETURNING id";
    OF_TENANT = concat!("SELECT ", delivery_columns!(), " FROM deliveries WHERE tenant_id = $1 AND id = $2");
    ONE = concat!("SELECT ", delivery_columns!(), " FROM deliveries WHERE id = $1");
    LIST = concat!("SELECT ", delivery_columns!(), " FROM deliveries WHERE tenant_id = $1 AND id < $2
            ORDER BY id DESC LIMIT $3");
    LIST_OF_CONNECTION = concat!("SELECT ", delivery_columns!(), " FROM deliveries
            WHERE tenant_id = $1 AND connection_id = $2 AND id < $3 ORDER BY id DESC LIMIT $4");
    SET_STATUS = "UPDATE deliveries SET status = $3 WHERE tenant_id = $1 AND id = $2 RETURNING received_ms";
    UNROUTED = concat!("SELECT ", delivery_columns!(), " FROM deliveries WHERE tenant_id IS NULL AND id < $1
            ORDER BY id DESC LIMIT $2");
}

/// What a delivery came in for: within it, dedupe keys are unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// One connection's own address.
    Endpoint(ConnectionId),
    /// An app's address, for all its connections.
    App(AppId),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(connection) => connection.fmt(f),
            Self::App(app) => app.fmt(f),
        }
    }
}

words! {
    /// What we made of a delivery.
    pub enum DeliveryStatus {
        /// It caused runs.
        Accepted = "accepted",
        /// It is nothing that anybody here listens to.
        Ignored = "ignored",
        /// It is for an account that nobody here has.
        Unrouted = "unrouted",
    }
}

/// A verified request, or the part of one that is for one connection.
#[derive(Clone, Debug, PartialEq)]
pub struct NewDelivery {
    /// Its id.
    pub id: DeliveryId,
    /// What it came in for.
    pub scope: Scope,
    /// The provider's id for it.
    pub dedupe_key: Option<String>,
    /// Whom it is for; none where nobody knows.
    pub to: Option<(TenantId, ConnectionId)>,
    /// What we make of it.
    pub status: DeliveryStatus,
    /// As it came.
    pub method: String,
    /// As it came.
    pub path: String,
    /// As it came.
    pub query: String,
    /// As they came: a list of pairs.
    pub headers: Json,
    /// The part's bytes.
    pub body: Vec<u8>,
    /// Now.
    pub received_ms: u64,
    /// What it causes, for the tenant in `to`.
    pub runs: Vec<NewRun>,
}

/// What became of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is on disk, and so are its runs.
    New {
        /// The delivery.
        delivery: DeliveryId,
        /// Its runs, in the order given.
        runs: Vec<Enqueued>,
    },
    /// It came before. Nothing was written but a count.
    Duplicate {
        /// The first one.
        of: DeliveryId,
    },
}

row! {
    /// One inbound webhook request, or a part of one.
    pub struct Delivery {
        /// Its id.
        pub id: DeliveryId;
        /// Whose.
        pub tenant: Option<TenantId>, in "tenant_id";
        /// For which connection.
        pub connection: Option<ConnectionId>, in "connection_id";
        /// The app, where it came to an app's address.
        pub app: Option<AppId>, in "app_id";
        /// The text of the id of what it came in for.
        pub scope: String;
        /// The provider's id for it.
        pub dedupe_key: Option<String>;
        /// What we made of it.
        pub status: DeliveryStatus;
        /// As it came.
        pub method: String;
        /// As it came.
        pub path: String;
        /// As it came.
        pub query: String;
        /// As they came: a list of pairs.
        pub headers: Json;
        /// The part's bytes.
        pub body: Vec<u8>;
        /// When it came.
        pub received_ms: u64;
        /// How often it came again.
        pub duplicates: u64;
    }
}

/// How often a unit is done again that ran into another one.
const TRIES: u32 = 4;

impl SystemTx {
    /// Keeps a delivery and puts its runs in line.
    ///
    /// # Errors
    /// `NotFound` where the connection or the app is gone, or where it has runs and is for nobody.
    pub async fn accept_delivery(&mut self, delivery: &NewDelivery) -> Result<Accepted> {
        let app = match delivery.scope {
            Scope::App(app) => Some(app),
            Scope::Endpoint(_) => None,
        };
        let scope = delivery.scope.to_string();
        let values = bind![
            delivery.id,
            delivery.to.map(|(tenant, _)| tenant),
            delivery.to.map(|(_, connection)| connection),
            app,
            &scope,
            &delivery.dedupe_key,
            delivery.status,
            &delivery.method,
            &delivery.path,
            &delivery.query,
            &delivery.headers,
            &delivery.body,
            delivery.received_ms
        ];
        let inserted = self.unit.run(&INSERT, values).await.map_err(|error| error.or_not_found("connection"))?;
        if inserted == 0 {
            let first: Option<(DeliveryId,)> =
                self.unit.one(&COUNT_DUPLICATE, bind![&scope, &delivery.dedupe_key]).await?;
            let (of,) = first.ok_or(StoreError::NotFound { what: "delivery" })?;
            return Ok(Accepted::Duplicate { of });
        }
        let mut runs = Vec::with_capacity(delivery.runs.len());
        for run in &delivery.runs {
            let (tenant, _) = delivery.to.ok_or(StoreError::NotFound { what: "connection" })?;
            runs.push(enqueue(&mut self.unit, tenant, run).await?);
        }
        Ok(Accepted::New { delivery: delivery.id, runs })
    }
}

impl Store {
    /// Keeps deliveries and puts their runs in line: all of them, or none. One unit, done again where it ran into
    /// another one. When this returns `Ok`, they are on disk.
    ///
    /// # Errors
    /// `NotFound` where a connection or an app is gone.
    pub async fn accept_deliveries(&self, deliveries: &[NewDelivery]) -> Result<Vec<Accepted>> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.accept_once(deliveries).await {
                Err(StoreError::Conflict(_)) if tries < TRIES => {}
                outcome => return outcome,
            }
        }
    }

    async fn accept_once(&self, deliveries: &[NewDelivery]) -> Result<Vec<Accepted>> {
        let mut tx = self.system().await?;
        let mut accepted = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            accepted.push(tx.accept_delivery(delivery).await?);
        }
        tx.commit().await?;
        Ok(accepted)
    }
}

impl TenantTx {
    /// Says what became of a delivery.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn set_delivery_status(&mut self, delivery: DeliveryId, status: DeliveryStatus) -> Result<()> {
        let tenant = self.tenant();
        let set: Option<(u64,)> = self.unit.one(&SET_STATUS, bind![tenant, delivery, status]).await?;
        set.map(drop).ok_or(StoreError::NotFound { what: "delivery" })
    }
}

impl TenantRead {
    /// One delivery.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delivery(&mut self, delivery: DeliveryId) -> Result<Delivery> {
        let tenant = self.tenant();
        self.unit.one(&OF_TENANT, bind![tenant, delivery]).await?.ok_or(StoreError::NotFound { what: "delivery" })
    }

    /// Deliveries, newest first; of one connection, or of all.
    ///
    /// # Errors
    /// The database's.
    pub async fn deliveries(
        &mut self,
        connection: Option<ConnectionId>,
        page: Page<DeliveryId>,
    ) -> Result<Vec<Delivery>> {
        let tenant = self.tenant();
        let before = page.start();
        match connection {
            None => self.unit.all(&LIST, bind![tenant, before, page.rows()]).await,
            Some(connection) => {
                self.unit.all(&LIST_OF_CONNECTION, bind![tenant, connection, before, page.rows()]).await
            }
        }
    }
}

impl SystemRead {
    /// One delivery, whoever it is for.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delivery(&mut self, delivery: DeliveryId) -> Result<Delivery> {
        self.unit.one(&ONE, bind![delivery]).await?.ok_or(StoreError::NotFound { what: "delivery" })
    }

    /// Deliveries that are for nobody here, newest first.
    ///
    /// # Errors
    /// The database's.
    pub async fn unrouted(&mut self, page: Page<DeliveryId>) -> Result<Vec<Delivery>> {
        let before = page.start();
        self.unit.all(&UNROUTED, bind![before, page.rows()]).await
    }
}
