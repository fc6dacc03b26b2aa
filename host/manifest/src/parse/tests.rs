#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use proptest::prelude::*;
use serde_json::json;
use url::Url;

use crate::egress_match::find;
use crate::model::*;

const CONNECTOR: &str = r#"[connector]
name = "test"
version = "1.0.0"
title = "Test"
contract = "0.1"
"#;

/// A key in a header, form-encoded requests, keys against repetition, a signature over time and body.
const STRIPE_LIKE: &str = r#"
[connector]
name = "payments"
version = "1.4.0"
title = "Payments"
summary = "Customers, payment intents and events."
contract = "0.1"
documentation = "https://docs.example.com/"

[auth]
kind = "api_key"
[[auth.fields]]
name = "api_key"
title = "Secret key"
help = "Developers, then API keys."
pattern = "(sk|rk)_[A-Za-z0-9_]+"

[[egress]]
host = "api.stripe.com"
methods = ["GET", "POST", "DELETE"]
paths = ["/v1/*"]
credential = { place = "bearer", field = "api_key" }
headers = { Stripe-Version = "2026-10-28.endive" }
idempotency = { kind = "header", name = "Idempotency-Key", max_length = 255, window_minutes = 1440 }
[[egress.capture]]
path = "/v1/webhook_endpoints"
pointer = "/secret"
name = "webhook_secret"

[[rate]]
scope = "connection"
requests = 100
per_seconds = 1

[webhook]
secret = "connection"
[webhook.scheme]
kind = "hmac"
encoding = "hex"
header = "Stripe-Signature"
parse = { kind = "kv", timestamp = "t", signature = "v1" }
signed = "{timestamp}.{body}"
tolerance_seconds = 300
[[webhook.split]]
dedupe = ["/id"]
order_by = "/data/object/id"

[settings]
type = "object"
properties.ratio = { type = "number", maximum = 1.5 }
"#;

/// OAuth with an account that comes by the redirect, a key in the query, one webhook address for all in two shapes.
const QUICKBOOKS_LIKE: &str = r#"
[connector]
name = "books"
version = "0.2.0-beta.1"
title = "Books"
contract = "0.1"

[environments.production]
api = "https://quickbooks.api.intuit.com"
api_host = "quickbooks.api.intuit.com"
[environments.sandbox]
api = "https://sandbox-quickbooks.api.intuit.com"
api_host = "sandbox-quickbooks.api.intuit.com"

[auth]
kind = "oauth2"
authorize_url = "https://appcenter.intuit.com/connect/oauth2"
token_url = "https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer"
revoke_url = "https://developer.api.intuit.com/v2/oauth2/tokens/revoke"
revoke_style = "basic_json"
client_auth = "basic"
scopes = ["com.intuit.quickbooks.accounting"]
token_headers = { x-include-refresh-token-hard-expires-in = "true" }
callback_params = ["realmId"]
account_param = "realmId"
refresh_expires_field = "x_refresh_token_expires_in"
[auth.account_call]
url = "{api}/v3/company/{realmId}/companyinfo/{realmId}"

[[egress]]
host = "{api_host}"
methods = ["GET", "POST"]
paths = ["/v3/company/{company}/*"]
credential = { place = "bearer", field = "access_token" }
idempotency = { kind = "query", name = "requestid", max_length = 50, window_minutes = 1440 }

[[rate]]
scope = "connection"
requests = 500
per_seconds = 60
concurrency = 10
[[rate]]
scope = "connection"
paths = ["/v3/company/{company}/batch"]
requests = 120
per_seconds = 60

[webhook]
secret = "app"
scheme = { kind = "hmac", encoding = "base64", header = "intuit-signature" }
[[webhook.split]]
items = "/eventNotifications"
route_by = "/realmId"
[[webhook.split]]
items = ""
route_by = "/intuitaccountid"
dedupe = ["/id"]
order_by = "/intuitentityid"

[limits]
memory_mib = 32
wall_ms = 60000
"#;

/// The first problem of this text after the smallest `[connector]`, which is five lines.
fn first_line(text: &str) -> String {
    let error = Manifest::parse(&format!("{CONNECTOR}{text}")).expect_err("a problem");
    error.problems().next().map(ToString::to_string).unwrap_or_default()
}

/// The first problem of this line above the rest.
fn above(line: &str) -> String {
    let error = Manifest::parse(&format!("{line}\n{CONNECTOR}")).expect_err("a problem");
    error.problems().next().map(ToString::to_string).unwrap_or_default()
}

#[test]
fn a_manifest_like_stripe_s_says_all_that_matters() {
    let manifest = Manifest::parse(STRIPE_LIKE).unwrap();
    let [rule] = manifest.egress.as_slice() else { panic!("one rule") };
    assert_eq!(rule.credential, Some(Placement::Bearer { field: "api_key".into() }));
    assert_eq!(rule.idempotency.max_length(), Some(255));
    assert_eq!(rule.idempotency.window_ms(), Some(24 * 60 * 60 * 1000));
    assert_eq!(rule.capture[0].name, "webhook_secret");
    assert!(matches!(&manifest.auth, Auth::ApiKey { fields } if fields[0].secret && !fields[0].optional));
    assert_eq!(manifest.auth.credential_fields(), ["api_key"]);
    let webhook = manifest.webhook.unwrap();
    let Scheme::Hmac(hmac) = &webhook.scheme else { panic!("a MAC") };
    assert_eq!((hmac.algorithm, hmac.key_decoding), (MacAlgorithm::Sha256, KeyDecoding::Text));
    assert_eq!(hmac.parse, SignatureSyntax::Kv { timestamp: Some("t".into()), signature: "v1".into() });
    assert_eq!(hmac.signed.parts(), [SignedPart::Timestamp, SignedPart::Text("."), SignedPart::Body]);
    assert_eq!(webhook.refusal_status, 401);
    assert_eq!(
        manifest.settings,
        Some(json!({"type": "object", "properties": {"ratio": {"type": "number", "maximum": 1.5}}}))
    );
}

#[test]
fn a_manifest_like_quickbooks_s_says_all_that_matters() {
    let manifest = Manifest::parse(QUICKBOOKS_LIKE).unwrap();
    let Auth::OAuth2(oauth) = &manifest.auth else { panic!("OAuth") };
    assert!(oauth.pkce);
    assert_eq!(oauth.account_source(), Some(AccountSource::Callback("realmId")));
    assert_eq!((oauth.client_auth, oauth.revoke_style), (ClientAuth::Basic, RevokeStyle::BasicJson));
    let rules = manifest.effective_egress("sandbox");
    let url = Url::parse("https://sandbox-quickbooks.api.intuit.com/v3/company/9/invoice?operation=delete").unwrap();
    assert!(find(&rules, "POST", &url).is_ok());
    assert!(find(&manifest.effective_egress("production"), "POST", &url).is_err());
    let webhook = manifest.webhook.unwrap();
    assert_eq!(webhook.secret, SecretOwner::App);
    let [named, cloud_events] = webhook.split.as_slice() else { panic!("two shapes") };
    assert_eq!(named.items.as_ref().map(crate::JsonPointer::as_str), Some("/eventNotifications"));
    assert!(cloud_events.items.as_ref().is_some_and(crate::JsonPointer::is_root));
}

#[test]
fn a_manifest_is_the_same_after_json() {
    for text in [STRIPE_LIKE, QUICKBOOKS_LIKE] {
        let manifest = Manifest::parse(text).unwrap();
        let json = serde_json::to_string(&manifest).unwrap();
        assert_eq!(serde_json::from_str::<Manifest>(&json).unwrap(), manifest);
    }
}

#[test]
fn every_known_way_to_prove_and_split_a_webhook_can_be_said() {
    let table = include_str!("../../../../tests/webhook-schemes.toml");
    let providers: Vec<_> = table.split("\n#: ").skip(1).filter_map(|part| part.split_once('\n')).collect();
    assert_eq!(providers.len(), 19);
    for (provider, sections) in providers {
        let manifest = Manifest::parse(&format!("{CONNECTOR}{sections}"));
        assert!(manifest.is_ok(), "{provider}: {manifest:?}");
        // Approvals are kept as JSON.
        let json = serde_json::to_string(&manifest.unwrap().webhook).unwrap();
        assert!(serde_json::from_str::<Option<Webhook>>(&json).is_ok_and(|read| read.is_some()), "{provider}");
    }
}

#[test]
fn other_ways_to_sign_in_parse() {
    for auth in [
        "kind = \"none\"",
        "kind = \"basic\"",
        "kind = \"oauth2_client_credentials\"\ntoken_url = \"https://a.example/t\"\nclient_auth = \"form\"",
        "kind = \"oauth2_jwt_bearer\"\ntoken_url = \"https://a.example/t\"\nscopes = [\"signature\"]",
        "kind = \"aws_sigv4\"\nsession_token = true",
    ] {
        let manifest = Manifest::parse(&format!("{CONNECTOR}[auth]\n{auth}\n")).unwrap();
        assert!(auth.starts_with(&format!("kind = \"{}\"", manifest.auth.kind())));
    }
}

#[test]
fn what_is_not_toml_is_shown_where_it_breaks() {
    assert_eq!(first_line("[auth\n"), "6:6: unclosed table, expected `]`");
    assert_eq!(first_line("a = \"\n"), "6:6: invalid basic string, expected `\"`");
    assert_eq!(first_line("[connector]\n"), "6:2: duplicate key");
}

#[test]
fn an_unknown_key_is_shown_with_what_was_meant() {
    assert_eq!(first_line("[[egres]]\n"), "6:3: `egres` is not known here (did you mean `egress`?)");
    assert_eq!(
        first_line("[limits]\nmemory = 3\n"),
        "7:1: `memory` is not known here (known here: `memory_mib`, `cpu_ms`, `wall_ms`, `response_mib`)"
    );
}

#[test]
fn within_a_tagged_table_every_mistake_keeps_its_place() {
    let auth = |text: &str| first_line(&format!("[auth]\n{text}\n"));
    assert_eq!(auth("kind = \"oauth\""), "7:8: `oauth` is not known here (did you mean `oauth2`?)");
    assert_eq!(
        auth("fields = []"),
        "6:1: `kind` is missing (one of `none`, `api_key`, `basic`, `oauth2`, `oauth2_client_credentials`, \
         `oauth2_jwt_bearer`, `token_exchange`, `aws_sigv4`)"
    );
    assert_eq!(auth("kind = 3"), "7:8: `kind` is a string");
    assert_eq!(auth("kind = \"api_key\""), "6:1: `fields` is missing");
    assert_eq!(
        auth("kind = \"none\"\nfields = []"),
        "8:1: `fields` is not known here (`none` has nothing more to say)"
    );
    assert_eq!(
        auth("kind = \"api_key\"\nfields = [{ name = \"a\", title = 3 }]"),
        "8:33: expected a string, found integer `3`"
    );
    assert_eq!(
        auth("kind = \"oauth2\"\nauthorise_url = \"\""),
        "8:1: `authorise_url` is not known here (did you mean `authorize_url`?)"
    );
    assert_eq!(
        auth("kind = \"oauth2\"\nauthorize_url = \"http://a.example\""),
        "8:17: this is an absolute URL that starts with `https://`"
    );
}

#[test]
fn a_value_of_another_kind_is_named_in_words() {
    assert_eq!(
        first_line("[limits]\ncpu_ms = -1\n"),
        "7:10: expected a whole number from 0 to 4294967295, found integer `-1`"
    );
    assert_eq!(first_line("[limits]\ncpu_ms = 99999999999999999999\n"), "7:10: the number is too large");
    assert_eq!(above("egress = 3"), "1:10: expected an array, found integer `3`");
    assert_eq!(first_line("[[limits]]\n"), "6:1: expected a table, found an array");
    assert_eq!(above("webhook.scheme = 1"), "1:18: expected a name, or a table with `kind`");
    assert_eq!(above("webhook.scheme = \"hmac\""), "1:18: `encoding` is missing");
}

#[test]
fn every_problem_is_told_in_the_order_of_the_text() {
    let text = STRIPE_LIKE
        .replace("\"POST\"", "\"post\"")
        .replace("1.4.0", "1.4")
        .replace("per_seconds = 1", "per_seconds = 0");
    let error = Manifest::parse(&text).unwrap_err();
    let lines: Vec<usize> = error.problems().map(|problem| problem.line).collect();
    assert_eq!(lines, [4, 20, 33]);
    assert_eq!((error.line(), error.column()), (4, 11));
    assert_eq!(error.hint(), Some("three numbers: `1.4.0`"));
    assert_eq!(error.to_string(), "4:11: `1.4` is not a semantic version (three numbers: `1.4.0`) (and 2 more)");
}

#[test]
fn a_problem_is_drawn_with_its_line() {
    let text = format!("{CONNECTOR}[[egress]]\nhost = \"api.example.com\"\nmethods = [\"get\"]\npaths = [\"/*\"]\n");
    let error = Manifest::parse(&text).unwrap_err();
    let drawn = "\
error: `get` cannot be allowed
 --> connector.toml:8:12
  |
8 | methods = [\"get\"]
  |            ^^^^^
  |
  = help: write `GET`";
    assert_eq!(error.render("connector.toml", &text), drawn);
}

#[test]
fn drawing_over_another_text_does_not_panic() {
    let error = Manifest::parse(&STRIPE_LIKE.replace("1.4.0", "1.4")).unwrap_err();
    for other in ["", "é", "éééééééééééééééééééééééééééééééééééééééééééé\r\n"]
    {
        let _ = error.render("connector.toml", other);
    }
}

#[test]
fn columns_are_characters() {
    assert_eq!(first_line("é = 1\n").split(':').nth(1), Some("1"));
    let line = "environments.sandbox = { \"é\" = \"\", a = 1 }";
    assert_eq!(above(line), "1:40: expected a string, found integer `1`");
}

#[test]
fn what_is_too_large_or_too_deep_is_refused_before_it_is_read() {
    let large = format!("{CONNECTOR}# {}", "x".repeat(super::MAX_BYTES));
    assert!(Manifest::parse(&large).unwrap_err().message().starts_with("a manifest may have 262144 bytes"));
    let level = format!("{} = {{ ", ["a"; 70].join("."));
    let deep = format!("{CONNECTOR}settings.{}", level.repeat(70));
    assert_eq!(Manifest::parse(&deep).unwrap_err().message(), "nested more than 64 deep");
}

proptest! {
    #[test]
    fn no_text_makes_reading_panic(text in "(\\[|\\]|\\{|\\}|=|\\.|\"|'|\n|a|1|#|kind|auth|egress|webhook|,| ){0,60}") {
        if let Err(error) = Manifest::parse(&text) {
            let _ = error.render("connector.toml", &text);
        }
    }

    #[test]
    fn a_mangled_manifest_is_read_or_refused(cut in 0..STRIPE_LIKE.len(), insert in "[\\[\\]{}=\"a.\n]{0,3}") {
        let mut text = STRIPE_LIKE.to_owned();
        text.replace_range(cut..cut + 1, &insert);
        if let Err(error) = Manifest::parse(&text) {
            prop_assert!(error.line() <= text.lines().count() + 1);
            let _ = error.render("connector.toml", &text);
        }
    }
}
