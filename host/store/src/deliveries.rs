//! Deliveries: inbound webhook requests, kept before they are acknowledged.
//!
//! A delivery and the runs it causes are one commit, and many of them share one. The same dedupe key in the same scope is
//! the same delivery: it is only counted.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bulkhead_manifest::{AppId, ConnectionId, DeliveryId, TenantId};

use crate::Json;
use crate::catalogue::catalogue;
use crate::enqueue::{Enqueued, NewRun, enqueue_all};
use crate::error::{Result, StoreError};
use crate::many::Many;
use crate::paging::Page;
use crate::row::{row, words};
use crate::tx::{SystemRead, TenantRead, TenantTx};
use crate::unit::Unit;
use crate::value::{Value, bind};

macro_rules! delivery_columns {
    () => {
        "id, tenant_id, connection_id, app_id, scope, dedupe_key, status, method, path, query, headers, body, \
         received_ms, duplicates"
    };
}

macro_rules! listed_columns {
    () => {
        "id, connection_id, app_id, dedupe_key, status, CAST(length(body) AS BIGINT) AS body_bytes, received_ms, duplicates"
    };
}

catalogue! { "deliveries";
    COMPLETE = "UPDATE deliveries SET dedupe_key = NULL WHERE id = $1";
    OF_TENANT = concat!("SELECT ", delivery_columns!(), " FROM deliveries WHERE tenant_id = $1 AND id = $2");
    ONE = concat!("SELECT ", delivery_columns!(), " FROM deliveries WHERE id = $1");
    LIST = concat!("SELECT ", listed_columns!(), " FROM deliveries WHERE tenant_id = $1 AND id < $2
            ORDER BY id DESC LIMIT $3");
    LIST_OF_CONNECTION = concat!("SELECT ", listed_columns!(), " FROM deliveries
            WHERE tenant_id = $1 AND connection_id = $2 AND id < $3 ORDER BY id DESC LIMIT $4");
    SET_STATUS = "UPDATE deliveries SET status = $3 WHERE tenant_id = $1 AND id = $2 RETURNING received_ms";
    UNROUTED = concat!("SELECT ", listed_columns!(), " FROM deliveries WHERE tenant_id IS NULL AND id < $1
            ORDER BY id DESC LIMIT $2");
}

pub(crate) static INSERT: Many<13> = Many::new(
    "deliveries",
    "INSERT",
    [
        "INSERT INTO deliveries (id, tenant_id, connection_id, app_id, scope, dedupe_key, status, method, path, query,
                headers, body, received_ms, duplicates)
            VALUES",
        "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
        "ON CONFLICT (scope, dedupe_key) WHERE dedupe_key IS NOT NULL DO NOTHING",
    ],
);

/// Of so many with the same key, of which this is the first, all but the delivery itself are counted.
pub(crate) static COUNT: Many<4> = Many::new(
    "deliveries",
    "COUNT",
    [
        "UPDATE deliveries
            SET duplicates = duplicates + CAST(came.column4 AS BIGINT) - CASE WHEN id = came.column3 THEN 1 ELSE 0 END
            FROM (VALUES",
        "(?, ?, ?#, ?)",
        ") AS came WHERE scope = came.column1 AND dedupe_key = came.column2 RETURNING id, scope, dedupe_key",
    ],
);

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

/// How a request came: everything but its body. Its parts share it.
#[derive(Clone, Debug, PartialEq)]
pub struct Came {
    pub method: String,
    pub path: String,
    pub query: String,
    /// A list of pairs.
    pub headers: Json,
}

/// A verified request, or the part of one that is for one connection.
#[derive(Clone, Debug, PartialEq)]
pub struct NewDelivery {
    /// Its id.
    pub id: DeliveryId,
    /// What it came in for.
    pub scope: Scope,
    /// The provider's id for it. One of very many parts without gets one of ours (`pieces.rs`).
    pub dedupe_key: Option<String>,
    /// Whom it is for; none where nobody knows.
    pub to: Option<(TenantId, ConnectionId)>,
    /// What we make of it.
    pub status: DeliveryStatus,
    /// The request.
    pub came: Arc<Came>,
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

impl Accepted {
    /// The one that is kept.
    #[must_use]
    pub fn delivery(&self) -> DeliveryId {
        let (Self::New { delivery, .. } | Self::Duplicate { of: delivery }) = self;
        *delivery
    }
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
        /// The provider's id for it, or ours (`is_ours`).
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

row! {
    /// A delivery in a list: what it is, without what it says.
    pub struct ListedDelivery {
        /// Its id.
        pub id: DeliveryId;
        /// For which connection.
        pub connection: Option<ConnectionId>, in "connection_id";
        /// The app, where it came to an app's address.
        pub app: Option<AppId>, in "app_id";
        /// The provider's id for it, or ours (`is_ours`).
        pub dedupe_key: Option<String>;
        /// What we made of it.
        pub status: DeliveryStatus;
        /// How long its part is.
        pub body_bytes: u64;
        /// When it came.
        pub received_ms: u64;
        /// How often it came again.
        pub duplicates: u64;
    }
}

impl NewDelivery {
    /// What it takes, about.
    pub(crate) fn bytes(&self) -> usize {
        self.body.len() + self.came.bytes()
    }
}

impl Came {
    /// What each part of it takes besides its body.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.path.len() + self.query.len() + self.headers.len()
    }
}

/// Keeps deliveries and puts their runs in line, in this order; says what became of each.
///
/// Two units that meet wait for each other's dedupe keys, so they take them in one order: all that they insert, and then
/// all that they count; on Postgres one after the other, because a statement over many locks in an order of its own. What
/// they complete comes after that (`inbox.rs`, `keep_in`), in no order with either: where each of two has counted what the
/// other is to complete, Postgres ends one of them (`Conflict`), and that one is tried again.
pub(crate) async fn keep(unit: &mut Unit, deliveries: &[&NewDelivery]) -> Result<Vec<Accepted>> {
    let scopes: Vec<String> = deliveries.iter().map(|delivery| delivery.scope.to_string()).collect();
    let mut keyed: Vec<(&NewDelivery, &str)> =
        deliveries.iter().copied().zip(scopes.iter().map(String::as_str)).collect();
    // Stable: of two with the same key, the one that came first is the delivery.
    keyed.sort_by(|(one, its), (other, others)| (its, &one.dedupe_key).cmp(&(others, &other.dedupe_key)));
    let rows: Vec<_> = keyed.iter().map(|(delivery, scope)| row(delivery, scope)).collect();
    let inserted = unit.run_many(&INSERT, &rows).await.map_err(|error| error.or_not_found("connection"))?;

    let firsts = if inserted < deliveries.len() { count(unit, &keyed).await? } else { HashMap::new() };
    if inserted + firsts.len() != deliveries.len() {
        return Err(StoreError::NotFound { what: "delivery" });
    }

    let mut runs = Vec::new();
    for delivery in deliveries.iter().filter(|delivery| !firsts.contains_key(&delivery.id)) {
        for run in &delivery.runs {
            let (tenant, _) = delivery.to.ok_or(StoreError::NotFound { what: "connection" })?;
            runs.push((tenant, run));
        }
    }
    let mut enqueued = enqueue_all(unit, &runs).await?.into_iter();
    let accepted = deliveries.iter().map(|delivery| match firsts.get(&delivery.id) {
        Some(of) => Accepted::Duplicate { of: *of },
        None => {
            let runs = enqueued.by_ref().take(delivery.runs.len()).collect();
            Accepted::New { delivery: delivery.id, runs }
        }
    });
    Ok(accepted.collect())
}

/// Counts those that came before, of which the same stand beside each other here; says what each is a repetition of.
async fn count(unit: &mut Unit, keyed: &[(&NewDelivery, &str)]) -> Result<HashMap<DeliveryId, DeliveryId>> {
    let named = |(delivery, scope): &(&NewDelivery, &str)| {
        let key = delivery.dedupe_key.clone()?;
        Some((((*scope).to_owned(), key), delivery.id))
    };
    let keyed: Vec<((String, String), DeliveryId)> = keyed.iter().filter_map(named).collect();
    let same = keyed.chunk_by(|(one, _), (other, _)| one == other);
    let same: Vec<_> = same.filter_map(|same| Some((same.first()?, same.len().to_string()))).collect();
    let rows: Vec<_> = same.iter().map(|(((scope, key), first), count)| bind![scope, key, *first, count]).collect();
    let at_once = if unit.is_lite() { rows.len().max(1) } else { 1 };
    let mut kept = HashMap::new();
    for rows in rows.chunks(at_once) {
        let found: Vec<(DeliveryId, String, String)> = unit.all_many(&COUNT, rows).await?;
        kept.extend(found.into_iter().map(|(id, scope, key)| ((scope, key), id)));
    }
    let repeats = keyed.into_iter().filter_map(|(named, id)| Some((id, *kept.get(&named)?)));
    Ok(repeats.filter(|(id, of)| id != of).collect())
}

/// What came before under this delivery's key is complete: the same once more is something else.
pub(crate) async fn complete(unit: &mut Unit, first: DeliveryId) -> Result<()> {
    unit.run(&COMPLETE, bind![first]).await.map(drop)
}

fn row<'a>(delivery: &'a NewDelivery, scope: &'a str) -> [Value<'a>; 13] {
    let app = match delivery.scope {
        Scope::App(app) => Some(app),
        Scope::Endpoint(_) => None,
    };
    bind![
        delivery.id,
        delivery.to.map(|(tenant, _)| tenant),
        delivery.to.map(|(_, connection)| connection),
        app,
        scope,
        &delivery.dedupe_key,
        delivery.status,
        &delivery.came.method,
        &delivery.came.path,
        &delivery.came.query,
        &delivery.came.headers,
        &delivery.body,
        delivery.received_ms
    ]
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
    ) -> Result<Vec<ListedDelivery>> {
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
    pub async fn unrouted(&mut self, page: Page<DeliveryId>) -> Result<Vec<ListedDelivery>> {
        let before = page.start();
        self.unit.all(&UNROUTED, bind![before, page.rows()]).await
    }
}
