//! Everything that is sealed, wherever it stands, as its heads: enough to see under which key it is, and to put another
//! head in its place while the value stays in the database.
//!
//! Invariants: every column that holds something sealed is in [`SealedPlace::STARTS`] (a test asks the schema); a walk
//! reads a bounded number of rows at a time, by its place in the primary key; a head is replaced only where it is still
//! the one that was read, so whoever wrote a new value meanwhile wins.

use bulkhead_manifest::SessionId;

use crate::catalogue::catalogue;
use crate::error::Result;
use crate::tx::{SystemRead, SystemTx};
use crate::value::bind;

catalogue! { "sealed";
    CREDENTIALS = "SELECT owner, name, substr(sealed, 1, CAST($4 AS INTEGER)) FROM credentials WHERE (owner, name) > ($1, $2)
            ORDER BY owner, name LIMIT $3";
    ANSWERS = "SELECT entry, substr(answer, 1, CAST($3 AS INTEGER)) FROM journal WHERE entry > $1 ORDER BY entry LIMIT $2";
    VERIFIERS = "SELECT id, substr(pkce, 1, CAST($3 AS INTEGER)) FROM connect_sessions WHERE id > $1 ORDER BY id LIMIT $2";
    VISITORS_SECRETS = "SELECT id, substr(webhook_secret, 1, CAST($3 AS INTEGER)) FROM connect_sessions WHERE id > $1
            ORDER BY id LIMIT $2";
    OFFERS = "SELECT id, substr(offered, 1, CAST($3 AS INTEGER)) FROM connect_sessions WHERE id > $1 ORDER BY id LIMIT $2";
    REPLACE_CREDENTIAL = "UPDATE credentials SET sealed = CAST($4 || substr(sealed, $6) AS BLOB)
            WHERE owner = $1 AND name = $2 AND substr(sealed, 1, $5) = $3"
        => pg "UPDATE credentials SET sealed = CAST($4 AS BYTEA) || substr(sealed, CAST($6 AS INTEGER))
            WHERE owner = $1 AND name = $2 AND substr(sealed, 1, CAST($5 AS INTEGER)) = $3";
    REPLACE_ANSWER = "UPDATE journal SET answer = CAST($3 || substr(answer, $5) AS BLOB)
            WHERE entry = $1 AND substr(answer, 1, $4) = $2"
        => pg "UPDATE journal SET answer = CAST($3 AS BYTEA) || substr(answer, CAST($5 AS INTEGER))
            WHERE entry = $1 AND substr(answer, 1, CAST($4 AS INTEGER)) = $2";
    REPLACE_VERIFIER = "UPDATE connect_sessions SET pkce = CAST($3 || substr(pkce, $5) AS BLOB)
            WHERE id = $1 AND substr(pkce, 1, $4) = $2"
        => pg "UPDATE connect_sessions SET pkce = CAST($3 AS BYTEA) || substr(pkce, CAST($5 AS INTEGER))
            WHERE id = $1 AND substr(pkce, 1, CAST($4 AS INTEGER)) = $2";
    REPLACE_VISITORS_SECRET =
        "UPDATE connect_sessions SET webhook_secret = CAST($3 || substr(webhook_secret, $5) AS BLOB)
            WHERE id = $1 AND substr(webhook_secret, 1, $4) = $2"
        => pg "UPDATE connect_sessions SET webhook_secret = CAST($3 AS BYTEA) || substr(webhook_secret, CAST($5 AS INTEGER))
            WHERE id = $1 AND substr(webhook_secret, 1, CAST($4 AS INTEGER)) = $2";
    REPLACE_OFFER = "UPDATE connect_sessions SET offered = CAST($3 || substr(offered, $5) AS BLOB)
            WHERE id = $1 AND substr(offered, 1, $4) = $2"
        => pg "UPDATE connect_sessions SET offered = CAST($3 AS BYTEA) || substr(offered, CAST($5 AS INTEGER))
            WHERE id = $1 AND substr(offered, 1, CAST($4 AS INTEGER)) = $2";
}

/// Where something sealed stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SealedPlace {
    /// A credential of an app or connection.
    Credential {
        /// Whose.
        owner: String,
        /// Which of theirs.
        name: String,
    },
    /// A journaled answer.
    Answer(u64),
    /// A verifier of a visit to the connect page.
    Verifier(SessionId),
    /// What a visitor gave to verify webhooks with.
    VisitorsSecret(SessionId),
    /// What was given for an account that is connected already.
    Offer(SessionId),
}

impl SealedPlace {
    /// Before the first place of each kind.
    pub const STARTS: [Self; 5] = [
        Self::Credential { owner: String::new(), name: String::new() },
        Self::Answer(0),
        Self::Verifier(FIRST_SESSION),
        Self::VisitorsSecret(FIRST_SESSION),
        Self::Offer(FIRST_SESSION),
    ];

    /// The column of this kind, as `table.column`.
    #[must_use]
    pub fn column(&self) -> &'static str {
        match self {
            Self::Credential { .. } => "credentials.sealed",
            Self::Answer(_) => "journal.answer",
            Self::Verifier(_) => "connect_sessions.pkce",
            Self::VisitorsSecret(_) => "connect_sessions.webhook_secret",
            Self::Offer(_) => "connect_sessions.offered",
        }
    }
}

const FIRST_SESSION: SessionId = SessionId::from_bytes([0; 16]);

/// Rows of one kind, from some place on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heads {
    /// What is sealed in them, by its first bytes.
    pub found: Vec<(SealedPlace, Vec<u8>)>,
    /// The last row that was looked at; none where there was none left.
    pub last: Option<SealedPlace>,
}

impl Heads {
    fn of<Key>(rows: Vec<(Key, Option<Vec<u8>>)>, place: impl Fn(Key) -> SealedPlace) -> Self {
        let mut heads = Self { found: Vec::new(), last: None };
        for (key, head) in rows {
            let place = place(key);
            heads.last = Some(place.clone());
            heads.found.extend(head.map(|head| (place, head)));
        }
        heads
    }
}

impl SystemRead {
    /// The first `bytes` of what is sealed in the next `limit` rows after this place, of the same kind.
    ///
    /// # Errors
    /// The database's.
    pub async fn sealed_after(&mut self, place: &SealedPlace, limit: u32, bytes: u32) -> Result<Heads> {
        Ok(match place {
            SealedPlace::Credential { owner, name } => {
                let rows: Vec<(String, String, Vec<u8>)> =
                    self.unit.all(&CREDENTIALS, bind![owner, name, limit, bytes]).await?;
                let rows = rows.into_iter().map(|(owner, name, head)| ((owner, name), Some(head))).collect();
                Heads::of(rows, |(owner, name)| SealedPlace::Credential { owner, name })
            }
            SealedPlace::Answer(entry) => {
                Heads::of(self.unit.all(&ANSWERS, bind![*entry, limit, bytes]).await?, SealedPlace::Answer)
            }
            SealedPlace::Verifier(session) => {
                Heads::of(self.unit.all(&VERIFIERS, bind![*session, limit, bytes]).await?, SealedPlace::Verifier)
            }
            SealedPlace::VisitorsSecret(session) => {
                let rows = self.unit.all(&VISITORS_SECRETS, bind![*session, limit, bytes]).await?;
                Heads::of(rows, SealedPlace::VisitorsSecret)
            }
            SealedPlace::Offer(session) => {
                Heads::of(self.unit.all(&OFFERS, bind![*session, limit, bytes]).await?, SealedPlace::Offer)
            }
        })
    }
}

impl SystemTx {
    /// Puts another head in the place of this one. Answers false where another value is there by now, or none.
    ///
    /// # Errors
    /// The database's.
    pub async fn replace_head(&mut self, place: &SealedPlace, old: &[u8], new: &[u8]) -> Result<bool> {
        let (length, behind) = (old.len() as u64, old.len() as u64 + 1);
        let replaced = match place {
            SealedPlace::Credential { owner, name } => {
                self.unit.run(&REPLACE_CREDENTIAL, bind![owner, name, old, new, length, behind]).await?
            }
            SealedPlace::Answer(entry) => {
                self.unit.run(&REPLACE_ANSWER, bind![*entry, old, new, length, behind]).await?
            }
            SealedPlace::Verifier(session) => {
                self.unit.run(&REPLACE_VERIFIER, bind![*session, old, new, length, behind]).await?
            }
            SealedPlace::VisitorsSecret(session) => {
                self.unit.run(&REPLACE_VISITORS_SECRET, bind![*session, old, new, length, behind]).await?
            }
            SealedPlace::Offer(session) => {
                self.unit.run(&REPLACE_OFFER, bind![*session, old, new, length, behind]).await?
            }
        };
        Ok(replaced > 0)
    }
}
