//! Records: the tenant's own side of a sync, by stream and by the tenant's own id.

use bulkhead_manifest::ConnectionId;

use crate::Json;
use crate::catalogue::catalogue;
use crate::error::Result;
use crate::paging::{After, Part, fitting};
use crate::row::row;
use crate::tx::{TenantRead, TenantTx};
use crate::value::bind;

macro_rules! record_columns {
    () => {
        "connection_id, stream, id, data, hash, origin, deleted, revision, created_ms, updated_ms"
    };
}

catalogue! { "records";
    PUT = "INSERT INTO records (tenant_id, connection_id, stream, id, data, hash, origin, deleted, revision, created_ms,
                updated_ms)
            VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 1, $8, $8)
            ON CONFLICT (tenant_id, connection_id, stream, id) DO UPDATE SET
                data = excluded.data, hash = excluded.hash, origin = excluded.origin, deleted = 0,
                revision = records.revision + 1, updated_ms = excluded.updated_ms
            WHERE records.hash <> excluded.hash OR records.deleted = 1
            RETURNING revision";
    DELETE = "UPDATE records SET deleted = 1, revision = revision + 1, updated_ms = $5
            WHERE tenant_id = $1 AND connection_id = $2 AND stream = $3 AND id = $4 AND deleted = 0";
    ONE = concat!("SELECT ", record_columns!(), " FROM records
            WHERE tenant_id = $1 AND connection_id = $2 AND stream = $3 AND id = $4");
    SIZES = "SELECT CAST(octet_length(data) AS BIGINT) FROM records
            WHERE tenant_id = $1 AND connection_id = $2 AND stream = $3 AND id > $4 ORDER BY id LIMIT $5";
    LIST = concat!("SELECT ", record_columns!(), " FROM records
            WHERE tenant_id = $1 AND connection_id = $2 AND stream = $3 AND id > $4 ORDER BY id LIMIT $5");
}

/// A record as it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct NewRecord {
    /// Of which connection.
    pub connection: ConnectionId,
    /// Of which stream.
    pub stream: String,
    /// The tenant's id for it.
    pub id: String,
    /// What it is.
    pub data: Json,
    /// Of its content: the same hash is the same record.
    pub hash: [u8; 32],
    /// Who said so: `api`, `pull`, …
    pub origin: String,
    /// Now.
    pub updated_ms: u64,
}

row! {
    /// One item of a stream as we hold it.
    pub struct Record {
        /// Of which connection.
        pub connection: ConnectionId, in "connection_id";
        /// Of which stream.
        pub stream: String;
        /// The tenant's id for it.
        pub id: String;
        /// What it is; what it was last, where it is deleted.
        pub data: Json;
        /// Of its content.
        pub hash: [u8; 32];
        /// Who said so last.
        pub origin: String;
        /// Whether it is gone.
        pub deleted: bool;
        /// Counted up by every change.
        pub revision: u64;
        /// When it came.
        pub created_ms: u64;
        /// When it last changed.
        pub updated_ms: u64;
    }
}

/// What a put changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It was not there.
    New,
    /// It was different, or deleted.
    Changed,
    /// It was the same. Nothing was written.
    Unchanged,
}

impl TenantTx {
    /// Makes a record what it should be.
    ///
    /// # Errors
    /// `NotFound` where this tenant has no such connection.
    pub async fn put_record(&mut self, record: &NewRecord) -> Result<Put> {
        let values = bind![
            self.tenant(),
            record.connection,
            &record.stream,
            &record.id,
            &record.data,
            &record.hash,
            &record.origin,
            record.updated_ms
        ];
        let written: Option<(u64,)> =
            self.unit.one(&PUT, values).await.map_err(|error| error.or_not_found("connection"))?;
        Ok(match written {
            None => Put::Unchanged,
            Some((1,)) => Put::New,
            Some(_) => Put::Changed,
        })
    }

    /// Marks a record deleted. Answers whether it was there.
    ///
    /// # Errors
    /// The database's.
    pub async fn delete_record(
        &mut self,
        connection: ConnectionId,
        stream: &str,
        id: &str,
        updated_ms: u64,
    ) -> Result<bool> {
        let values = bind![self.tenant(), connection, stream, id, updated_ms];
        Ok(self.unit.run(&DELETE, values).await? > 0)
    }
}

impl TenantRead {
    /// One record, deleted or not.
    ///
    /// # Errors
    /// The database's.
    pub async fn record(&mut self, connection: ConnectionId, stream: &str, id: &str) -> Result<Option<Record>> {
        let tenant = self.tenant();
        self.unit.one(&ONE, bind![tenant, connection, stream, id]).await
    }

    /// Records of a stream, deleted ones too, in the order of their ids.
    ///
    /// # Errors
    /// The database's.
    pub async fn records(&mut self, connection: ConnectionId, stream: &str, page: &After) -> Result<Part<Record>> {
        let (tenant, after) = (self.tenant(), page.start());
        let sizes: Vec<(u64,)> =
            self.unit.all(&SIZES, bind![tenant, connection, stream, after, page.rows() + 1]).await?;
        let rows = self.unit.all(&LIST, bind![tenant, connection, stream, after, fitting(&sizes, page.rows())]).await?;
        Ok(Part { more: rows.len() < sizes.len(), rows })
    }
}
