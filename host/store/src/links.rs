//! Links: our id ↔ the provider's id ↔ its version ↔ what was last sent. Unique both ways.

use bulkhead_manifest::ConnectionId;

use crate::catalogue::catalogue;
use crate::error::{LinkConflict, Result, StoreError};
use crate::paging::{After, Part};
use crate::row::row;
use crate::tx::{TenantRead, TenantTx};
use crate::value::bind;

macro_rules! link_columns {
    () => {
        "connection_id, stream, record_id, external_id, external_version, hash, updated_ms"
    };
}

catalogue! { "links";
    /// Without a conflict target: neither of the two keys may be hurt.
    INSERT = "INSERT INTO links (tenant_id, connection_id, stream, record_id, external_id, external_version, hash,
                updated_ms)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING";
    REFRESH = "UPDATE links SET external_version = $6, hash = COALESCE($7, hash), updated_ms = $8
            WHERE tenant_id = $1 AND connection_id = $2 AND stream = $3 AND record_id = $4 AND external_id = $5";
    FORGET_HASH = "UPDATE links SET hash = NULL
            WHERE tenant_id = $1 AND connection_id = $2 AND stream = $3 AND record_id = $4";
    REMOVE = "DELETE FROM links WHERE tenant_id = $1 AND connection_id = $2 AND stream = $3 AND record_id = $4";
    OF_RECORD = concat!("SELECT ", link_columns!(), " FROM links
            WHERE tenant_id = $1 AND connection_id = $2 AND stream = $3 AND record_id = $4");
    OF_EXTERNAL = concat!("SELECT ", link_columns!(), " FROM links
            WHERE tenant_id = $1 AND connection_id = $2 AND stream = $3 AND external_id = $4");
    LIST = concat!("SELECT ", link_columns!(), " FROM links
            WHERE tenant_id = $1 AND connection_id = $2 AND stream = $3 AND record_id > $4 ORDER BY record_id LIMIT $5");
}

row! {
    /// What belongs together here and at the provider.
    pub struct Link {
        /// Of which connection.
        pub connection: ConnectionId, in "connection_id";
        /// Of which stream.
        pub stream: String;
        /// Ours.
        pub record_id: String;
        /// The provider's.
        pub external_id: String;
        /// Its version there.
        pub external_version: Option<String>;
        /// Of what was last sent or seen; none where something was sent since. In a write none keeps the one that is there.
        pub hash: Option<[u8; 32]>;
        /// When.
        pub updated_ms: u64;
    }
}

impl TenantTx {
    /// Links a record, or refreshes the link it has.
    ///
    /// # Errors
    /// `LinkConflict` where either side is linked to something else; the unit stays usable. `NotFound` where this
    /// tenant has no such connection.
    pub async fn put_link(&mut self, link: &Link) -> Result<()> {
        let tenant = self.tenant();
        let values = bind![
            tenant,
            link.connection,
            &link.stream,
            &link.record_id,
            &link.external_id,
            &link.external_version,
            &link.hash,
            link.updated_ms
        ];
        let inserted = self.unit.run(&INSERT, values).await.map_err(|error| error.or_not_found("connection"))?;
        if inserted > 0 || self.unit.run(&REFRESH, values).await? > 0 {
            return Ok(());
        }
        let by_record = self.link_of_record(link.connection, &link.stream, &link.record_id).await?;
        let by_external = self.link_of_external(link.connection, &link.stream, &link.external_id).await?;
        Err(StoreError::LinkConflict(Box::new(LinkConflict {
            stream: link.stream.clone(),
            record_id: link.record_id.clone(),
            external_id: link.external_id.clone(),
            existing_record: by_external.map(|link| link.record_id),
            existing_external: by_record.map(|link| link.external_id),
        })))
    }

    /// What the provider has of a record is not known from here on, until it is sent or seen again.
    ///
    /// # Errors
    /// The database's.
    pub async fn forget_hash(&mut self, connection: ConnectionId, stream: &str, record_id: &str) -> Result<()> {
        let values = bind![self.tenant(), connection, stream, record_id];
        self.unit.run(&FORGET_HASH, values).await.map(drop)
    }

    /// Takes a record's link away. Answers whether it had one.
    ///
    /// # Errors
    /// The database's.
    pub async fn unlink(&mut self, connection: ConnectionId, stream: &str, record_id: &str) -> Result<bool> {
        let values = bind![self.tenant(), connection, stream, record_id];
        Ok(self.unit.run(&REMOVE, values).await? > 0)
    }
}

impl TenantRead {
    /// What a record of ours is at the provider.
    ///
    /// # Errors
    /// The database's.
    pub async fn link_of_record(
        &mut self,
        connection: ConnectionId,
        stream: &str,
        record_id: &str,
    ) -> Result<Option<Link>> {
        let tenant = self.tenant();
        self.unit.one(&OF_RECORD, bind![tenant, connection, stream, record_id]).await
    }

    /// What a thing at the provider is with us.
    ///
    /// # Errors
    /// The database's.
    pub async fn link_of_external(
        &mut self,
        connection: ConnectionId,
        stream: &str,
        external_id: &str,
    ) -> Result<Option<Link>> {
        let tenant = self.tenant();
        self.unit.one(&OF_EXTERNAL, bind![tenant, connection, stream, external_id]).await
    }

    /// Links of a stream, in the order of our ids.
    ///
    /// # Errors
    /// The database's.
    pub async fn links(&mut self, connection: ConnectionId, stream: &str, page: &After) -> Result<Part<Link>> {
        let tenant = self.tenant();
        let values = bind![tenant, connection, stream, page.start(), page.rows() + 1];
        let mut rows = self.unit.all(&LIST, values).await?;
        let more = rows.len() > page.rows() as usize;
        rows.truncate(page.rows() as usize);
        Ok(Part { rows, more })
    }
}
