//! Connect sessions: one visit to the hosted page. Tokens and states are kept as hashes; each is used once, and what a
//! session had sealed goes with its use.

use bulkhead_manifest::{ConnectionId, SessionId, TenantId};

use crate::catalogue::catalogue;
use crate::error::{Result, StoreError};
use crate::row::row;
use crate::tx::{SystemRead, SystemTx, TenantTx};
use crate::value::bind;

macro_rules! session_columns {
    () => {
        "id, tenant_id, connection_id, token_hash, state_hash, browser_hash, pkce, webhook_secret, offered, second, return_url, \
         created_ms, expires_ms, used_ms"
    };
}

catalogue! { "connect_sessions";
    INSERT = "INSERT INTO connect_sessions (tenant_id, id, connection_id, token_hash, return_url, created_ms, expires_ms,
                second)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    FORGET_OFFERS = "UPDATE connect_sessions SET offered = NULL
            WHERE offered IS NOT NULL AND expires_ms <= $1";
    BEGIN = "UPDATE connect_sessions SET state_hash = $2, browser_hash = $3, pkce = $4, webhook_secret = $5
            WHERE id = $1 AND used_ms IS NULL";
    USE = "UPDATE connect_sessions SET used_ms = $2, pkce = NULL, webhook_secret = NULL
            WHERE id = $1 AND used_ms IS NULL AND expires_ms > $2";
    GIVE_BACK = "UPDATE connect_sessions SET used_ms = NULL, state_hash = NULL, browser_hash = NULL
            WHERE id = $1 AND used_ms = $2";
    OFFER = "UPDATE connect_sessions SET offered = $3, browser_hash = $4 WHERE id = $1 AND used_ms = $2";
    TAKE_OFFER = "UPDATE connect_sessions SET offered = NULL WHERE id = $1 AND offered IS NOT NULL AND expires_ms > $2";
    BY_TOKEN = concat!("SELECT ", session_columns!(), " FROM connect_sessions WHERE token_hash = $1");
    BY_STATE = concat!("SELECT ", session_columns!(), " FROM connect_sessions WHERE state_hash = $1");
}

/// A visit that may begin.
#[derive(Clone, Debug, PartialEq)]
pub struct NewSession {
    /// Its id.
    pub id: SessionId,
    /// What is to be connected.
    pub connection: ConnectionId,
    /// Of the token in the link.
    pub token_hash: [u8; 32],
    /// Where to go when it is done.
    pub return_url: Option<String>,
    /// Whether it may connect an account that the tenant has connected already.
    pub second: bool,
    /// Now.
    pub created_ms: u64,
    /// Until when.
    pub expires_ms: u64,
}

/// What a visit remembers of whoever went to the provider.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Begun<'a> {
    /// Of the state that the provider is to give back.
    pub state_hash: &'a [u8; 32],
    /// Of what the browser holds.
    pub browser_hash: &'a [u8; 32],
    /// The sealed verifier.
    pub pkce: Option<&'a [u8]>,
    /// Sealed: what the person gave to verify webhooks with.
    pub webhook_secret: Option<&'a [u8]>,
}

row! {
    /// One visit to the connect page.
    pub struct Session {
        /// Its id.
        pub id: SessionId;
        /// Whose.
        pub tenant: TenantId, in "tenant_id";
        /// What is to be connected.
        pub connection: ConnectionId, in "connection_id";
        /// Of the token in the link.
        pub token_hash: [u8; 32];
        /// Of the state that the provider is to give back.
        pub state_hash: Option<[u8; 32]>;
        /// Of what the browser holds that began, or gave what is offered.
        pub browser_hash: Option<[u8; 32]>;
        /// The sealed verifier.
        pub pkce: Option<Vec<u8>>;
        /// Sealed: what the person gave to verify webhooks with, which counts when they come back.
        pub webhook_secret: Option<Vec<u8>>;
        /// Sealed: what was given for an account that is connected already, until somebody says what becomes of it.
        pub offered: Option<Vec<u8>>;
        /// Whether it may connect an account that the tenant has connected already.
        pub second: bool;
        /// Where to go when it is done.
        pub return_url: Option<String>;
        /// When it was made.
        pub created_ms: u64;
        /// Until when.
        pub expires_ms: u64;
        /// When it was used up.
        pub used_ms: Option<u64>;
    }
}

impl TenantTx {
    /// Makes a session.
    ///
    /// # Errors
    /// `NotFound` where this tenant has no such connection.
    pub async fn create_session(&mut self, session: &NewSession) -> Result<()> {
        let values = bind![
            self.tenant(),
            session.id,
            session.connection,
            &session.token_hash,
            &session.return_url,
            session.created_ms,
            session.expires_ms,
            session.second
        ];
        let inserted = self.unit.run(&INSERT, values).await;
        inserted.map(drop).map_err(|error| error.or_not_found("connection").or_taken("session"))
    }
}

impl SystemTx {
    /// Binds a session to a state and a browser, again where it was before.
    ///
    /// # Errors
    /// `NotFound` where it does not exist or is used up.
    pub async fn begin_session(&mut self, session: SessionId, begun: Begun<'_>) -> Result<()> {
        let Begun { state_hash, browser_hash, pkce, webhook_secret } = begun;
        match self.unit.run(&BEGIN, bind![session, state_hash, browser_hash, pkce, webhook_secret]).await? {
            0 => Err(StoreError::NotFound { what: "session" }),
            _ => Ok(()),
        }
    }

    /// Uses a session up, and forgets what it had sealed. Answers false where it was used or has expired: whoever gets true
    /// is the only one.
    ///
    /// # Errors
    /// The database's.
    pub async fn use_session(&mut self, session: SessionId, now_ms: u64) -> Result<bool> {
        Ok(self.unit.run(&USE, bind![session, now_ms]).await? > 0)
    }

    /// Keeps what a use at `used_ms` was given, until somebody takes it or the session expires. `browser_hash`: of what the
    /// browser holds that gave it.
    ///
    /// # Errors
    /// `NotFound` where it was not used then.
    pub async fn offer(
        &mut self,
        session: SessionId,
        used_ms: u64,
        offered: &[u8],
        browser_hash: Option<&[u8; 32]>,
    ) -> Result<()> {
        let browser_hash = browser_hash.map(<[u8; 32]>::as_slice);
        match self.unit.run(&OFFER, bind![session, used_ms, offered, browser_hash]).await? {
            0 => Err(StoreError::NotFound { what: "session" }),
            _ => Ok(()),
        }
    }

    /// Forgets what nobody took in time. Answers how often.
    ///
    /// # Errors
    /// The database's.
    pub async fn forget_offers(&mut self, now_ms: u64) -> Result<u64> {
        self.unit.run(&FORGET_OFFERS, bind![now_ms]).await
    }

    /// Takes what a session was given out of it. Answers false where somebody has, or its time is over: whoever gets true
    /// is the only one.
    ///
    /// # Errors
    /// The database's.
    pub async fn take_offer(&mut self, session: SessionId, now_ms: u64) -> Result<bool> {
        Ok(self.unit.run(&TAKE_OFFER, bind![session, now_ms]).await? > 0)
    }

    /// Undoes the use at `used_ms`, of which nothing came. The state that it was begun with stays spent.
    ///
    /// # Errors
    /// The database's.
    pub async fn give_session_back(&mut self, session: SessionId, used_ms: u64) -> Result<()> {
        self.unit.run(&GIVE_BACK, bind![session, used_ms]).await.map(drop)
    }
}

impl SystemRead {
    /// The session with this token, used up or not.
    ///
    /// # Errors
    /// The database's.
    pub async fn session_by_token(&mut self, token_hash: &[u8; 32]) -> Result<Option<Session>> {
        self.unit.one(&BY_TOKEN, bind![token_hash]).await
    }

    /// The session with this state, used up or not.
    ///
    /// # Errors
    /// The database's.
    pub async fn session_by_state(&mut self, state_hash: &[u8; 32]) -> Result<Option<Session>> {
        self.unit.one(&BY_STATE, bind![state_hash]).await
    }
}
