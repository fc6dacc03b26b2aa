//! Components, kept once, by digest: in pieces, of which each is a unit of its own, so that nobody waits while a large one
//! is written.
//!
//! Invariants: a component is there with its last piece, in the unit that publishes it, or not at all. What pieces belong to
//! none stands in `uploads` from the first of them on, and is removed: at once by whoever gave it up, else an hour later.

use bulkhead_manifest::{TenantId, VersionId};

use crate::catalogue::catalogue;
use crate::connectors::NewVersion;
use crate::error::{Result, StoreError};
use crate::store::{Access, Store};
use crate::tx::SystemRead;
use crate::unit::Unit;
use crate::value::bind;

catalogue! { "components";
    BEGIN = "INSERT INTO uploads (id, pieces) VALUES ($1, $2)
            ON CONFLICT (id) DO UPDATE SET pieces = uploads.pieces + 1";
    PIECE = "INSERT INTO component_pieces (upload, nth, bytes) VALUES ($1, $2, $3)";
    TAKE = "DELETE FROM uploads WHERE id = $1 AND pieces = $2";
    INSERT = "INSERT INTO components (digest, upload, size, created_ms) VALUES ($1, $2, $3, $4)
            ON CONFLICT (digest) DO NOTHING";
    OF = "SELECT p.bytes FROM components c JOIN component_pieces p ON p.upload = c.upload WHERE c.digest = $1 ORDER BY p.nth";
    SIZE = "SELECT size FROM components WHERE digest = $1";
    GIVEN_UP = "SELECT id FROM uploads WHERE id < $1 ORDER BY id LIMIT 1";
    STAGED = "SELECT pieces FROM uploads WHERE id = $1";
    SHRINK = "UPDATE uploads SET pieces = $2 WHERE id = $1 AND pieces > $2";
    REMOVE_PIECES = "DELETE FROM component_pieces WHERE upload = $1 AND nth >= $2";
    REMOVE = "DELETE FROM uploads WHERE id = $1";
}

/// Bytes of a piece: a few milliseconds' work.
pub(crate) const PIECE_BYTES: usize = 256 << 10;
/// Pieces that are removed in one unit.
const REMOVED_AT_ONCE: u64 = 16;

fn pieces(component: &[u8]) -> Vec<&[u8]> {
    if component.is_empty() { vec![component] } else { component.chunks(PIECE_BYTES).collect() }
}

/// Keeps the component of a version that is being published.
pub(crate) async fn keep(unit: &mut Unit, new: &NewVersion) -> Result<()> {
    if unit.one::<(u64,), _>(&SIZE, bind![&new.digest]).await?.is_some() {
        return Ok(());
    }
    let pieces = pieces(&new.component);
    let staged = pieces.len() as u64 - 1;
    if staged > 0 && unit.run(&TAKE, bind![new.id, staged]).await? == 0 {
        return Err(StoreError::NotFound { what: "staged part of a component" });
    }
    put_piece(unit, new.id, staged, pieces.last().copied().unwrap_or_default()).await?;
    let size = new.component.len() as u64;
    let inserted = unit.run(&INSERT, bind![&new.digest, new.id, size, new.created_ms]).await?;
    if inserted == 0 {
        // Kept by somebody else at the same time: these belong to none.
        unit.run(&BEGIN, bind![new.id, staged + 1]).await?;
    }
    Ok(())
}

async fn put_piece(unit: &mut Unit, upload: VersionId, nth: u64, bytes: &[u8]) -> Result<()> {
    unit.run(&PIECE, bind![upload, nth, bytes]).await.map(drop)
}

impl Store {
    /// Writes all but the last piece of a version's component down, for its publishing to follow.
    ///
    /// # Errors
    /// The database's. What was written is there to be given up.
    pub async fn stage(&self, owner: Option<TenantId>, new: &NewVersion) -> Result<()> {
        let pieces = pieces(&new.component);
        let Some((_, staged)) = pieces.split_last() else { return Ok(()) };
        for (nth, bytes) in (0u64..).zip(staged) {
            let mut unit = self.begin(Access::Write, owner).await?;
            unit.run(&BEGIN, bind![new.id, 1_u64]).await?;
            put_piece(&mut unit, new.id, nth, bytes).await?;
            unit.commit().await?;
        }
        Ok(())
    }

    /// Removes what was staged of an upload and not published. Each unit takes the upload first: who publishes it at this
    /// moment is waited for, and then there is nothing left to take.
    ///
    /// # Errors
    /// The database's. What is left is there to be given up.
    pub async fn give_up(&self, upload: VersionId) -> Result<()> {
        let mut left = self.staged(upload).await?;
        while left > 0 {
            left = left.saturating_sub(REMOVED_AT_ONCE);
            let mut unit = self.system_unit().await?;
            let taken = match left {
                0 => unit.run(&REMOVE, bind![upload]).await?,
                left => unit.run(&SHRINK, bind![upload, left]).await?,
            };
            if taken == 0 {
                return Ok(());
            }
            unit.run(&REMOVE_PIECES, bind![upload, left]).await?;
            unit.commit().await?;
        }
        Ok(())
    }

    /// How many pieces of it belong to no component.
    pub(crate) async fn staged(&self, upload: VersionId) -> Result<u64> {
        let pieces: Option<(u64,)> = self.system_read().await?.unit.one(&STAGED, bind![upload]).await?;
        Ok(pieces.map_or(0, |(pieces,)| pieces))
    }

    /// An upload that was begun before this one and not published.
    ///
    /// # Errors
    /// The database's.
    pub async fn given_up(&self, before: VersionId) -> Result<Option<VersionId>> {
        let mut read = self.system_read().await?;
        let found: Option<(VersionId,)> = read.unit.one(&GIVEN_UP, bind![before]).await?;
        Ok(found.map(|(upload,)| upload))
    }
}

impl SystemRead {
    /// The component with this digest.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn component(&mut self, digest: &[u8; 32]) -> Result<Vec<u8>> {
        let pieces: Vec<(Vec<u8>,)> = self.unit.all(&OF, bind![digest]).await?;
        if pieces.is_empty() {
            return Err(StoreError::NotFound { what: "component" });
        }
        Ok(pieces.into_iter().map(|(piece,)| piece).collect::<Vec<_>>().concat())
    }

    /// Whether there is a component with this digest.
    ///
    /// # Errors
    /// The database's.
    pub async fn has_component(&mut self, digest: &[u8; 32]) -> Result<bool> {
        let size: Option<(u64,)> = self.unit.one(&SIZE, bind![digest]).await?;
        Ok(size.is_some())
    }
}
