//! The tokens of the OAuth server: what was granted, and for how long it holds.
//!
//! **Invariants.** A code works once. A refresh gives a new refresh token every time; the old one holds for the grace
//! period and no longer. A token is for one company.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::refusal::{Refusal, oauth_error};
use crate::core::front::Answer;
use crate::core::ids::Ids;
use crate::core::signing::pkce_s256;

pub(crate) const ACCOUNTING: &str = "com.intuit.quickbooks.accounting";
const FIVE_YEARS: i64 = 5 * 365 * 86_400;

/// The tokens of one connection, as the token endpoint gives them.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Tokens {
    pub access_token: String,
    pub refresh_token: String,
    pub token_type: String,
    pub expires_in: i64,
    pub x_refresh_token_expires_in: i64,
    /// Only when the request asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x_refresh_token_hard_expires_in: Option<i64>,
}

/// How long things hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetimes {
    pub(crate) access: i64,
    pub(crate) refresh: i64,
    pub(crate) grace: i64,
    pub(crate) code: i64,
}

/// What a user allowed.
#[derive(Clone, Debug)]
struct Grant {
    realm: String,
    scope: String,
    revoked: bool,
    hard_end: i64,
}

/// A code, until it is redeemed.
#[derive(Clone, Debug)]
pub(crate) struct Code {
    pub(crate) redirect_uri: String,
    pub(crate) realm: String,
    pub(crate) scope: String,
    pub(crate) challenge: Option<String>,
    pub(crate) ends: i64,
}

#[derive(Clone, Copy, Debug)]
struct Access {
    grant: usize,
    ends: i64,
}

#[derive(Clone, Copy, Debug)]
struct Refresh {
    grant: usize,
    ends: i64,
    /// When a newer one was given out.
    superseded: Option<i64>,
}

#[derive(Debug)]
pub(crate) struct Registry {
    lifetimes: Lifetimes,
    grants: Vec<Grant>,
    codes: HashMap<String, Code>,
    access: HashMap<String, Access>,
    refresh: HashMap<String, Refresh>,
}

impl Registry {
    pub(crate) fn new(lifetimes: Lifetimes) -> Self {
        let (codes, access, refresh) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { lifetimes, grants: Vec::new(), codes, access, refresh }
    }

    pub(crate) fn code_ends(&self, now: i64) -> i64 {
        now + self.lifetimes.code
    }

    pub(crate) fn add_code(&mut self, ids: &Ids, code: Code) -> String {
        let name = format!("XAB1{}", ids.letters(46));
        self.codes.insert(name.clone(), code);
        name
    }

    /// Exchanges a code for tokens.
    pub(crate) fn redeem(
        &mut self,
        ids: &Ids,
        now: i64,
        code: &str,
        redirect_uri: &str,
        verifier: Option<&str>,
    ) -> Result<Tokens, Answer> {
        // Removed whatever comes of it: a code that was tried is spent.
        let code = self.codes.remove(code).ok_or_else(|| invalid_grant("The code is unknown or was used"))?;
        if now >= code.ends {
            return Err(invalid_grant("The code has expired"));
        }
        if code.redirect_uri != redirect_uri {
            return Err(invalid_grant("The redirect_uri is not the one of the authorization request"));
        }
        let proven = match (&code.challenge, verifier) {
            (None, None) => true,
            (Some(challenge), Some(verifier)) => pkce_s256(verifier) == *challenge,
            _ => false,
        };
        if !proven {
            return Err(invalid_grant("The code_verifier does not match the code_challenge"));
        }
        Ok(self.grant(ids, now, &code.realm, &code.scope))
    }

    /// Tokens for a company, without asking anybody.
    pub(crate) fn grant(&mut self, ids: &Ids, now: i64, realm: &str, scope: &str) -> Tokens {
        let hard_end = now + FIVE_YEARS;
        self.grants.push(Grant { realm: realm.to_owned(), scope: scope.to_owned(), revoked: false, hard_end });
        self.issue(ids, now, self.grants.len() - 1)
    }

    pub(crate) fn renew(&mut self, ids: &Ids, now: i64, token: &str) -> Result<Tokens, Answer> {
        let refresh =
            self.refresh.get(token).copied().ok_or_else(|| invalid_grant("Incorrect or invalid refresh token"))?;
        let revoked = self.grants.get(refresh.grant).is_none_or(|grant| grant.revoked || now >= grant.hard_end);
        let outlived = refresh.superseded.is_some_and(|since| now >= since + self.lifetimes.grace);
        if revoked || outlived || now >= refresh.ends {
            return Err(invalid_grant("Incorrect or expired refresh token"));
        }
        for other in self.refresh.values_mut().filter(|other| other.grant == refresh.grant) {
            other.superseded.get_or_insert(now);
        }
        Ok(self.issue(ids, now, refresh.grant))
    }

    fn issue(&mut self, ids: &Ids, now: i64, grant: usize) -> Tokens {
        let access_token = format!("eyJ{}", ids.letters(120));
        let refresh_token = format!("RT1-{}", ids.letters(44));
        let Lifetimes { access, refresh, .. } = self.lifetimes;
        self.access.insert(access_token.clone(), Access { grant, ends: now + access });
        self.refresh.insert(refresh_token.clone(), Refresh { grant, ends: now + refresh, superseded: None });
        Tokens {
            access_token,
            refresh_token,
            token_type: "bearer".to_owned(),
            expires_in: access,
            x_refresh_token_expires_in: refresh,
            x_refresh_token_hard_expires_in: None,
        }
    }

    /// Every token given out so far.
    pub(crate) fn given(&self) -> Vec<String> {
        self.access.keys().chain(self.refresh.keys()).cloned().collect()
    }

    /// The seconds until a refresh token's grant ends for good.
    pub(crate) fn hard_end_in(&self, refresh_token: &str, now: i64) -> Option<i64> {
        let grant = self.grants.get(self.refresh.get(refresh_token)?.grant)?;
        Some(grant.hard_end - now)
    }

    /// Ends the grant that a token, of either kind, belongs to.
    pub(crate) fn revoke(&mut self, token: &str) -> bool {
        let by_refresh = self.refresh.get(token).map(|refresh| refresh.grant);
        let grant = by_refresh.or_else(|| self.access.get(token).map(|access| access.grant));
        match grant.and_then(|grant| self.grants.get_mut(grant)) {
            Some(grant) => {
                grant.revoked = true;
                true
            }
            None => false,
        }
    }

    /// Whether the bearer of a token may work on a company.
    pub(crate) fn authorize(&self, header: Option<&str>, realm: &str, now: i64) -> Result<(), Refusal> {
        let header = header.ok_or_else(|| Refusal::unauthenticated("The Authorization header is missing"))?;
        let token = match header.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
            _ => return Err(Refusal::unauthenticated("Bearer authentication is needed")),
        };
        let access = self.access.get(token).ok_or_else(|| Refusal::unauthenticated("The token is unknown"))?;
        let grant = self.grants.get(access.grant).filter(|grant| !grant.revoked);
        let grant = grant.ok_or_else(|| Refusal::unauthenticated("Token revoked"))?;
        if now >= access.ends {
            return Err(Refusal::unauthenticated("Token expired"));
        }
        let allowed = grant.scope.split(' ').any(|scope| scope == ACCOUNTING) && grant.realm == realm;
        if allowed { Ok(()) } else { Err(Refusal::forbidden()) }
    }

    pub(crate) fn expire_access(&mut self) {
        for access in self.access.values_mut() {
            access.ends = i64::MIN;
        }
    }

    pub(crate) fn revoke_all(&mut self) {
        for grant in &mut self.grants {
            grant.revoked = true;
        }
    }
}

fn invalid_grant(description: &str) -> Answer {
    oauth_error(400, "invalid_grant", description)
}

/// Whole seconds of a duration.
pub(crate) fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX / 2)
}
