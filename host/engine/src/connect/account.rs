//! Which account it is that somebody authorized.
//!
//! Invariant: what a redirect's query says is only a claim until a call that the host itself made has proved it.

use bulkhead_manifest::AccountSource;
use bulkhead_store::Connection;
use serde_json::{Map, Value};

use super::ConnectError;
use crate::Engine;
use crate::credentials::OwnedProvider;
use crate::oauth::Tokens;

impl Engine {
    /// What is known of the account for certain: `id`, and the callback parameters the manifest keeps.
    pub(super) async fn account(
        &self,
        row: &Connection,
        provider: &OwnedProvider,
        tokens: &Tokens,
        query: &[(String, String)],
    ) -> Result<Map<String, Value>, ConnectError> {
        let oauth = &provider.manifest;
        let mut account = Map::new();
        for name in &oauth.callback_params {
            if let Some((_, value)) = query.iter().find(|(key, _)| key == name) {
                if !worth_keeping(value) {
                    return Err(ConnectError::UnconfirmedAccount(format!("the provider's {name:?} cannot be kept")));
                }
                account.insert(name.clone(), Value::String(value.clone()));
            }
        }
        let id = match oauth.account_source() {
            None => None,
            Some(AccountSource::Token(pointer)) => {
                pointer.lookup(&Value::Object(tokens.extra.clone())).and_then(Value::as_str).map(str::to_owned)
            }
            Some(AccountSource::Callback(name)) => {
                let unconfirmed = |why: &str| ConnectError::UnconfirmedAccount(why.to_owned());
                let claimed = account
                    .get(name)
                    .and_then(Value::as_str)
                    .ok_or_else(|| unconfirmed("the provider did not name it"))?;
                Some(self.confirmed(row, provider, tokens, &account, claimed).await?)
            }
        };
        if let Some(id) = id {
            account.insert("id".to_owned(), Value::String(id));
        }
        Ok(account)
    }

    /// Proves a claimed account id by a call of the host's own, with the token that was just given.
    async fn confirmed(
        &self,
        row: &Connection,
        provider: &OwnedProvider,
        tokens: &Tokens,
        account: &Map<String, Value>,
        claimed: &str,
    ) -> Result<String, ConnectError> {
        let unconfirmed = |why: String| ConnectError::UnconfirmedAccount(why);
        let call = provider
            .manifest
            .account_call
            .as_ref()
            .ok_or_else(|| unconfirmed("the connector declares no account_call".to_owned()))?;
        let lookup =
            |name: &str| account.get(name).and_then(Value::as_str).filter(|value| plain(value)).map(str::to_owned);
        let url = call.url.bind(lookup).ok().and_then(|bound| bound.url());
        let url = url.ok_or_else(|| unconfirmed(format!("{claimed:?} is no account id")))?;
        if !provider.may_see_tokens(&url) {
            return Err(unconfirmed("the app does not let its tokens go to the account's address".to_owned()));
        }
        let token = tokens.access_token.expose_str().map_err(|_| unconfirmed("the token is not text".to_owned()))?;
        let request = http::Request::get(url.as_str())
            .header("authorization", format!("Bearer {token}"))
            .header("accept", "application/json")
            .body(Vec::new())
            .map_err(|error| unconfirmed(error.to_string()))?;
        let answer =
            self.host_call(&row.id.to_string(), request).await.map_err(|error| unconfirmed(error.to_string()))?;
        if !(200..300).contains(&answer.status) {
            return Err(unconfirmed(format!("the provider answered {} for account {claimed:?}", answer.status)));
        }
        let Some(pointer) = &call.pointer else { return Ok(claimed.to_owned()) };
        let body: Value =
            serde_json::from_slice(&answer.body).map_err(|_| unconfirmed("the answer is not JSON".to_owned()))?;
        match pointer.lookup(&body).and_then(Value::as_str) {
            Some(id) => Ok(id.to_owned()),
            None => Err(unconfirmed(format!("nothing stands at {pointer}"))),
        }
    }
}

/// What may be put into a URL as an account id without changing its shape.
fn plain(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 128
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && id != ".."
        && id != "."
}

/// What of a redirect's query is kept beside the account's id: a short word, never shown as anything else.
fn worth_keeping(value: &str) -> bool {
    (1..=256).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_id_that_would_change_the_address_is_not_used() {
        for good in ["9130347", "acct_1Nv", "a-b.c"] {
            assert!(plain(good), "{good}");
        }
        for bad in ["", "..", "../x", "1/2", "1?a=b", "1#", "a b", "%2e", &"a".repeat(129)] {
            assert!(!plain(bad), "{bad}");
        }
    }

    #[test]
    fn of_a_redirect_only_short_words_are_kept() {
        for good in ["9130347", "https://accounts.example.eu", "eu"] {
            assert!(worth_keeping(good), "{good}");
        }
        for bad in ["", "two words", "line\nbreak", "é", "\u{202e}", &"a".repeat(257)] {
            assert!(!worth_keeping(bad), "{bad:?}");
        }
    }
}
