//! Which account it is that somebody authorized.
//!
//! Invariants: what a redirect's query says is only a claim until a call that the host itself made has proved it; and what is
//! kept of an account is short, and no secret: guests and people read it.

use bulkhead_egress::redacted;
use bulkhead_manifest::{AccountCall, AccountSource, HostPattern, OAuth2};
use bulkhead_store::Connection;
use serde_json::{Map, Value};
use url::Url;

use super::ConnectError;
use super::consent::is_twice;
use crate::Engine;
use crate::credentials::{OwnedProvider, base_url};
use crate::host_call::Behalf;
use crate::oauth::{Tokens, withhold_inside};

/// Bytes of what is kept of an account under a name.
const LONGEST_WORD: usize = 256;

impl Engine {
    /// What is known of the account: `id`, and what the manifest keeps of the redirect and of the account call. The base
    /// URLs among it are ones that the manifest allows.
    pub(super) async fn account(
        &self,
        row: &Connection,
        provider: &OwnedProvider,
        tokens: &Tokens,
        brought: &Map<String, Value>,
    ) -> Result<Map<String, Value>, ConnectError> {
        let oauth = &provider.manifest;
        let mut account = brought.clone();
        let mut id = named(oauth, tokens, brought)?;
        if let Some(call) = &oauth.account_call {
            let said = self.called(row, provider, tokens, call, brought).await?;
            for (name, pointer) in &call.keep {
                let value = pointer.lookup(&said).and_then(Value::as_str).filter(|value| worth_keeping(value));
                let value = value.ok_or_else(|| unconfirmed(format!("nothing to keep stands at {pointer}")))?;
                account.insert(name.clone(), Value::String(value.to_owned()));
            }
            if let Some(pointer) = &call.pointer {
                let named = pointer.lookup(&said).and_then(text);
                id = Some(named.ok_or_else(|| unconfirmed(format!("nothing stands at {pointer}")))?);
            }
        }
        for (name, hosts) in &oauth.discovered {
            let url = account.get(name).and_then(Value::as_str).unwrap_or_default();
            if !base_url(url, hosts) {
                let allowed: Vec<_> = hosts.iter().map(HostPattern::as_str).collect();
                let allowed = allowed.join(", ");
                return Err(unconfirmed(format!("its {name} is {url:?}, and not an https address of {allowed}")));
            }
        }
        to_be_kept(account, id, tokens)
    }

    /// What a call of the host's own answers, with the token that was just given: of several accounts, the one meant.
    async fn called(
        &self,
        row: &Connection,
        provider: &OwnedProvider,
        tokens: &Tokens,
        call: &AccountCall,
        brought: &Map<String, Value>,
    ) -> Result<Value, ConnectError> {
        let lookup =
            |name: &str| brought.get(name).and_then(Value::as_str).filter(|value| plain(value)).map(str::to_owned);
        let url = call.url.bind(lookup).ok().and_then(|bound| bound.url());
        let url = url.ok_or_else(|| unconfirmed("what the provider brought is no account id"))?;
        if !provider.may_see_tokens(&url) {
            return Err(unconfirmed("the app does not let its tokens go to the account's address as bearer"));
        }
        let token = tokens.access_token.expose_str().map_err(|_| unconfirmed("the token is not text"))?;
        let request = http::Request::get(url.as_str())
            .header("authorization", format!("Bearer {token}"))
            .header("accept", "application/json")
            .body(Vec::new())
            .map_err(|error| unconfirmed(error.to_string()))?;
        let behalf = Behalf::of(row.tenant, row.id);
        let answer = self.host_call(&behalf, request).await.map_err(|error| unconfirmed(error.to_string()))?;
        if !(200..300).contains(&answer.status) {
            let asked = url.path();
            return Err(unconfirmed(format!("the provider answered {} when it was asked at {asked}", answer.status)));
        }
        if call.pointer.is_none() && call.keep.is_empty() {
            return Ok(Value::Null);
        }
        meant(call, &answer.body)
    }
}

/// Of what the provider says, without its secrets, the account that is meant.
fn meant(call: &AccountCall, answer: &[u8]) -> Result<Value, ConnectError> {
    let mut said: Value = serde_json::from_slice(answer).map_err(|_| unconfirmed("the answer is not JSON"))?;
    withhold_inside(&mut said);
    let Some(items) = &call.items else { return Ok(said) };
    let items = items.lookup(&said).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let meant = items.iter().find(|item| call.when.as_ref().is_none_or(|when| when.holds(item)));
    meant.cloned().ok_or_else(|| unconfirmed("the provider lists no account that is meant"))
}

/// The account under its id. The tokens themselves may stand there under any name, where a provider repeats them.
fn to_be_kept(
    mut account: Map<String, Value>,
    id: Option<String>,
    tokens: &Tokens,
) -> Result<Map<String, Value>, ConnectError> {
    if let Some(id) = id {
        if !worth_keeping(&id) {
            return Err(unconfirmed(format!("its id is no word of 1 to {LONGEST_WORD} printable ASCII characters")));
        }
        account.insert("id".to_owned(), Value::String(id));
    }
    let given = || [Some(&tokens.access_token), tokens.refresh_token.as_ref()].into_iter().flatten();
    if account.values().filter_map(Value::as_str).any(|text| redacted(text, given()) != text) {
        return Err(unconfirmed("what would be kept of it holds a token"));
    }
    Ok(account)
}

/// The account's id as the tokens or the redirect name it: of the redirect only what the account call is going to prove.
fn named(oauth: &OAuth2, tokens: &Tokens, brought: &Map<String, Value>) -> Result<Option<String>, ConnectError> {
    match oauth.account_source() {
        None => Ok(None),
        Some(AccountSource::Token(pointer)) => {
            Ok(pointer.lookup(&Value::Object(tokens.extra.clone())).and_then(Value::as_str).map(str::to_owned))
        }
        Some(AccountSource::Callback(name)) => {
            let claimed = brought.get(name).and_then(Value::as_str);
            let claimed = claimed.ok_or_else(|| unconfirmed("the provider did not name it"))?;
            if !oauth.account_call.as_ref().is_some_and(|call| call.proves(name)) {
                return Err(unconfirmed("the connector declares no account_call that proves it"));
            }
            Ok(Some(claimed.to_owned()))
        }
    }
}

/// What of a redirect's query is kept beside the account's id. It is a claim.
pub(super) fn brought(oauth: &OAuth2, query: &[(String, String)]) -> Result<Map<String, Value>, ConnectError> {
    let mut kept = Map::new();
    for name in &oauth.callback_params {
        if let Some((_, value)) = query.iter().find(|(key, _)| key == name) {
            if is_twice(query, name) {
                return Err(ConnectError::SaidTwice { name: name.clone() });
            }
            if !worth_keeping(value) {
                return Err(unconfirmed(format!("the provider's {name:?} cannot be kept")));
            }
            // A code and the client's secret may go there before anything is proved: anybody may have written its path.
            if oauth.discovered.contains_key(name) && !is_origin(value) {
                let problem = "and from a redirect only an https origin counts, with `/` alone after it";
                return Err(unconfirmed(format!("its {name} is {value:?}, {problem}")));
            }
            kept.insert(name.clone(), Value::String(value.clone()));
        }
    }
    Ok(kept)
}

fn unconfirmed(why: impl Into<String>) -> ConnectError {
    ConnectError::UnconfirmedAccount(why.into())
}

/// An id, which some providers write as a number.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
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

/// Whether this is an https origin, with nothing after it but the one slash.
fn is_origin(text: &str) -> bool {
    let origin =
        Url::parse(text).ok().filter(|url| url.scheme() == "https").map(|url| url.origin().ascii_serialization());
    origin.is_some_and(|origin| text.strip_suffix('/').unwrap_or(text).eq_ignore_ascii_case(&origin))
}

/// What is kept of an account, its id and what a redirect's query says beside it: a short word, never shown as anything else.
fn worth_keeping(value: &str) -> bool {
    (1..=LONGEST_WORD).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bulkhead_vault::Secret;
    use serde_json::json;

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

    fn tokens() -> Tokens {
        Tokens {
            access_token: Secret::from_string("the-access-token".to_owned()),
            refresh_token: Some(Secret::from_string("the-refresh-token".to_owned())),
            expires_in_s: None,
            refresh_expires_in_s: None,
            scopes: None,
            extra: Map::new(),
        }
    }

    /// Mutations: `to_be_kept`, without `worth_keeping`; without `redacted`; of the access token alone.
    #[test]
    fn an_account_is_kept_under_a_short_id_and_without_its_tokens() {
        let kept = |id: &str, base: &str| {
            let account = Map::from_iter([("base".to_owned(), Value::from(base))]);
            to_be_kept(account, Some(id.to_owned()), &tokens()).map(Value::Object).map_err(|error| error.to_string())
        };
        let base = "https://eu.example/";
        let longest = "a".repeat(LONGEST_WORD);
        for id in ["9130347", "auth0|7", &longest] {
            assert_eq!(kept(id, base), Ok(json!({ "id": id, "base": base })));
        }
        for id in ["", "two words", "line\nbreak", "\u{202e}", &format!("{longest}a")] {
            assert!(kept(id, base).unwrap_err().contains("its id is"), "{id:?}");
        }
        for (id, base) in
            [("the-access-token", base), ("u:the-refresh-token", base), ("7", "https://a/the-access-token")]
        {
            assert!(kept(id, base).unwrap_err().contains("holds a token"), "{id} {base}");
        }
    }

    /// Mutation: `meant`, without `withhold_inside`.
    #[test]
    fn of_what_an_account_call_answers_no_secret_is_read() {
        let call = |more: Value| -> AccountCall {
            let mut call = json!({ "url": "https://a.example/me", "pointer": "/id" });
            call.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::from_value(call).unwrap()
        };
        let said = json!({ "id": 7, "api_token": "x", "of": [{ "id": 8, "clientSecret": "y" }] }).to_string();
        let whole = meant(&call(json!({})), said.as_bytes()).unwrap();
        assert_eq!(whole, json!({ "id": 7, "of": [{ "id": 8 }] }));
        assert_eq!(meant(&call(json!({ "items": "/of" })), said.as_bytes()).unwrap(), json!({ "id": 8 }));
    }

    /// What comes after it is put after it: `{base}oauth/token`.
    ///
    /// Mutation: `is_origin`, compare the origins of both, or the path with `/`.
    #[test]
    fn a_base_url_that_a_redirect_brings_is_an_origin_and_no_more() {
        for good in ["https://api.na1.example/", "https://api.na1.example", "https://API.na1.example/"] {
            assert!(is_origin(good), "{good}");
        }
        for bad in [
            "https://api.example/uploads/",
            "https://api.example/uploads/..",
            "https://api.example/.",
            "https://api.example//",
            "https://api.example/?to=",
            "https://api.example?",
            "https://api.example/#",
            "https://api.example\\",
            "https://user@api.example/",
            "https://api.example:443/",
            "http://api.example/",
            "api.example",
            "",
        ] {
            assert!(!is_origin(bad), "{bad}");
        }
    }

    /// Versions that were checked by other rules than today's are held to these here.
    ///
    /// Mutation: `named`, without `proves`.
    #[test]
    fn what_a_redirect_claims_is_not_taken_where_nothing_proves_it() {
        let named = |call: &serde_json::Value| {
            let oauth = json!({
                "authorize_url": "https://a.example/a", "token_url": "https://a.example/t",
                "callback_params": ["realmId"], "account_param": "realmId", "account_call": call,
            });
            let oauth: OAuth2 = serde_json::from_value(oauth).unwrap();
            let brought = brought(&oauth, &[("realmId".to_owned(), "7".to_owned())]).unwrap();
            super::named(&oauth, &tokens(), &brought).map_err(|error| error.to_string())
        };
        let me = "https://a.example/me";
        for unproved in [json!(null), json!({ "url": me }), json!({ "url": me, "keep": { "base": "/base" } })] {
            assert!(named(&unproved).unwrap_err().contains("proves it"), "{unproved}");
        }
        for proved in [json!({ "url": me, "pointer": "/id" }), json!({ "url": format!("{me}/{{realmId}}") })] {
            assert_eq!(named(&proved), Ok(Some("7".to_owned())), "{proved}");
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
