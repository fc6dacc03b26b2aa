#![allow(clippy::unwrap_used)]
use serde_json::json;

use super::*;

fn given(token: &str, kind: &str) -> Result<Tokens, OAuthError> {
    let said = json!({ "access_token": token, "token_type": kind }).to_string();
    tokens(&serde_json::from_str(&said).unwrap(), " ", None)
}

/// Mutation: `tokens`, without the comparison with `BEARER`.
#[test]
fn a_token_of_a_type_that_is_not_known_is_not_used() {
    for kind in ["bearer", "Bearer", "BEARER", "BearerToken", "bot", "user"] {
        assert_eq!(given("a-token", kind).unwrap().access_token.expose(), b"a-token", "{kind}");
    }
    for kind in ["mac", "MAC", "DPoP", "pop", "N_A", "bearer2", "bear", ""] {
        assert!(matches!(given("a-token", kind), Err(OAuthError::Unusable(_))), "{kind}");
    }
}

/// Mutations: `tokens`, leave what the response holds besides as it is: the account's id would be a token; `withhold`, at the top
/// alone, or without what ends in `_token`; `withhold_inside`, without lists.
#[test]
fn what_came_with_tokens_holds_none_of_them() {
    let said = json!({
        "access_token": "a", "refresh_token": "b", "id_token": "c", "token_type": "bearer", "realm": "1",
        "authed_user": { "id": "U1", "access_token": "d", "scope": "chat", "token_type": "user" },
        "team": { "id": "T1", "inner": { "botToken": "e", "name": "n" } }, "continuation_token": "f",
        "accounts": [{ "token": "g", "id": "A1" }, [{ "client_secret": "h" }]], "token": "i", "clientSecret": ["j"],
        "x_refresh_token_expires_in": 8726400, "stripe_publishable_key": "pk_1", "bot_user_id": "B1"
    });
    let given = tokens(&serde_json::from_value(said).unwrap(), " ", None).unwrap();
    let left = json!({
        "realm": "1", "authed_user": { "id": "U1", "scope": "chat", "token_type": "user" },
        "team": { "id": "T1", "inner": { "name": "n" } }, "accounts": [{ "id": "A1" }, [{}]],
        "x_refresh_token_expires_in": 8726400, "stripe_publishable_key": "pk_1", "bot_user_id": "B1"
    });
    assert_eq!(Value::Object(given.extra), left);
}

/// Mutation: `access_token`, whatever it is.
#[test]
fn a_token_that_no_request_can_carry_is_not_used() {
    for token in ["", "a\r\nX-Other: b", "a\nb", "a\0b", "a\tb", "a\u{7f}b", "é"] {
        assert!(matches!(given(token, "bearer"), Err(OAuthError::Unusable(_))), "{token:?}");
    }
    assert_eq!(given("a ~!\"b", "bearer").unwrap().access_token.expose(), b"a ~!\"b");
}

/// Mutations: `failure`, without `redacted`; `clipped`, without the mask, or before what is no sign of a word is left out.
#[test]
fn of_what_a_provider_says_what_it_was_told_is_left_out() {
    let told = Secret::from_string("abc+def/ghi&==1234~x".to_owned());
    for (said, read) in [
        ("id:abc+def/ghi&==1234~x, really", "id:[secret], really"),
        ("body code=x&c=abc%2Bdef%2fghi%26%3D%3D1234~x&y", "body code=x&c=[secret]&y"),
        (r"abc\u002bdef/ghi\u0026==1234~x", "[secret]"),
        ("client_\u{7}secret=another-one", "client_secret=[secret]"),
    ] {
        let answer = json!({ "error": "invalid_grant", "error_description": said });
        let error = RequestTokenError::ServerResponse(serde_json::from_value(answer).unwrap());
        let shown = failure(error, Blame::Connection, &[&told]).to_string();
        assert!(shown.contains(&format!("(invalid_grant: {read})")), "{shown}");
    }
    assert_eq!(clipped(&"x".repeat(1_000)).len(), 200);
}

/// Mutation: `clipped`, without `LOOKED_AT`.
#[test]
fn of_much_that_a_provider_says_only_the_beginning_is_looked_at() {
    assert_eq!(clipped(&format!("token={}; more", "x".repeat(1_000))), "token=[secret]; more");
    assert_eq!(clipped(&format!("token={}; more", "x".repeat(10_000))), "token=[secret]");
    assert_eq!(clipped(&format!("x{}", "ü".repeat(10_000))).chars().count(), 200);
}
