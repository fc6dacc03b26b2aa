#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use proptest::prelude::*;
use serde_json::{Value, json};
use url::Url;

use super::*;
use crate::egress_match::find;
use crate::model::{Idempotency, Placement};

/// The text of a manifest that asks for something of everything.
const MANIFEST: &str = r#"
[connector]
name = "test"
version = "1.0.0"
title = "Test"
contract = "0.1"

[environments.production]
api = "api.example.com"
[environments.sandbox]
api = "sandbox.example.com"

[auth]
kind = "oauth2"
authorize_url = "https://login.example.com/authorize"
token_url = "https://login.example.com/token"
scopes = ["read", "write"]

[[egress]]
host = "{api}"
methods = ["GET", "POST"]
paths = ["/v1/*"]
read_only_posts = ["/v1/search"]
credential = { place = "bearer", field = "access_token" }
headers = { X-Account = "{account.id}" }
idempotency = { kind = "header", name = "Idempotency-Key", max_length = 64, window_minutes = 60 }
capture = [{ path = "/v1/hooks", pointer = "/secret", name = "hook_secret" }]

[webhook]
scheme = { kind = "hmac", header = "X-Sign", encoding = "hex" }
secret = "app"
[[webhook.split]]
items = "/events"
route_by = "/account"
dedupe = ["/id"]

[limits]
memory_mib = 64
"#;

fn ask_of(manifest: &str) -> Ask {
    let imports = ["http", "state"].map(str::to_owned);
    Ask::of(&Manifest::parse(manifest).expect("a manifest"), "production", imports)
}

/// What the manifest asks for with `from` replaced, beyond what it asks for as it is.
fn beyond(from: &str, to: &str) -> Vec<String> {
    let changed = MANIFEST.replace(from, to);
    assert_ne!(changed, MANIFEST, "{from}");
    let (ask, approved) = (ask_of(&changed), ask_of(MANIFEST).approve());
    let difference = ask.beyond(&approved);
    let granted = Grant::of(&ask, &approved);
    assert_eq!(difference.is_empty(), granted.permissions() == ask.permissions(), "the words and the grant agree");
    difference.changes.iter().map(ToString::to_string).collect()
}

#[test]
fn what_was_approved_as_it_is_is_granted_as_it_is() {
    let ask = ask_of(MANIFEST);
    let approved = ask.clone().approve();
    assert!(ask.beyond(&approved).is_empty());
    assert_eq!(Grant::of(&ask, &approved).permissions(), ask.permissions());
}

#[test]
fn an_approval_is_kept_as_json() {
    let approved = ask_of(MANIFEST).approve();
    let kept = serde_json::to_string(&approved).unwrap();
    assert_eq!(serde_json::from_str::<Approved>(&kept).unwrap(), approved);
}

#[test]
fn asking_for_less_asks_nobody() {
    for (from, to) in [
        ("\"read\", \"write\"", "\"read\""),
        ("\"GET\", \"POST\"]\npaths", "\"POST\"]\npaths"),
        ("[\"/v1/*\"]", "[\"/v1/hooks\", \"/v1/search\", \"/v1/a/*\", \"/v1/{id}/x\"]"),
        ("read_only_posts = [\"/v1/search\"]\n", ""),
        ("memory_mib = 64", "memory_mib = 32"),
    ] {
        assert_eq!(beyond(from, to), [""; 0], "{to}");
    }
    let nothing = "[connector]\nname = \"test\"\nversion = \"1.0.0\"\ntitle = \"Test\"\ncontract = \"0.1\"";
    assert!(ask_of(nothing).beyond(&ask_of(MANIFEST).approve()).is_empty());
}

#[test]
fn words_and_bookkeeping_ask_nobody() {
    for (from, to) in [
        ("title = \"Test\"", "title = \"Other\""),
        ("dedupe = [\"/id\"]", "dedupe = [\"/event_id\"]"),
        ("scopes =", "expires_default_s = 60\nscopes ="),
        ("secret = \"app\"", "secret = \"app\"\nrefusal_status = 403"),
    ] {
        assert_eq!(beyond(from, to), [""; 0], "{to}");
    }
}

/// Mutations: host/manifest/src/grant/egress.rs, `alike`, without `discovered`; difference.rs, `treatment`, without it.
#[test]
fn another_choice_of_the_account_s_host_is_named() {
    let declared = "callback_params = [\"base\"]\ndiscovered = { base = [\"{api}\"] }\nscopes =";
    let wide = MANIFEST.replace("scopes =", declared);
    let narrow = wide.replace("host = \"{api}\"\n", "host = \"{api}\"\ndiscovered = \"base\"\n");
    for (asked, approved) in [(&wide, &narrow), (&narrow, &wide)] {
        let (ask, approved) = (ask_of(asked), ask_of(approved).approve());
        let words = "- choose in another way which host of `api.example.com` it reaches\n";
        assert_eq!(ask.beyond(&approved).to_string(), words);
        assert_eq!(Grant::of(&ask, &approved).egress(), []);
    }
}

/// Mutation: host/manifest/src/grant/mod.rs, `without_words`, without the optional ones.
#[test]
fn a_scope_that_may_be_left_out_is_asked_for_all_the_same() {
    let more = "optional_scopes = [\"admin\"]\nscopes =";
    assert_eq!(beyond("scopes =", more), ["use the scope `admin`"]);
    assert_eq!(beyond("scopes =", "refresh_idle_days = 60\nrefresh_days = 100\nscopes ="), [""; 0]);
}

#[test]
fn more_of_the_account_or_the_machine_is_named() {
    assert_eq!(beyond("\"write\"", "\"write\", \"admin\""), ["use the scope `admin`"]);
    assert_eq!(beyond("memory_mib = 64", "memory_mib = 128"), ["use 128 MiB of memory (so far: 64)"]);
    assert_eq!(beyond("memory_mib = 64", "cpu_ms = 9000"), ["use 9000 ms of CPU time (so far: 2000)"]);
    let more = ["http", "state", "blobs"].map(str::to_owned);
    let ask = Ask::of(&Manifest::parse(MANIFEST).unwrap(), "production", more);
    assert_eq!(ask.beyond(&ask_of(MANIFEST).approve()).to_string(), "- use the host interface `blobs`\n");
}

/// Mutation: `capability`, every import as it is.
#[test]
fn an_ordinary_http_client_asks_for_the_same_as_a_connectors_own_requests() {
    let ask = |imports: &[&str]| {
        let imports = imports.iter().map(|name| (*name).to_owned());
        Ask::of(&Manifest::parse(MANIFEST).unwrap(), "production", imports)
    };
    let client = ask(&["wasi:http/types@0.2.4", "wasi:http/outgoing-handler@0.2.4"]);
    assert!(client.beyond(&ask(&["bulkhead:connector/http@0.1.0"]).approve()).is_empty());
    let before = ask(&[]).approve();
    assert_eq!(client.beyond(&before).to_string(), "- use the host interface `bulkhead:connector/http@0.1.0`\n");
    assert_eq!(Grant::of(&client, &before).permissions().imports, [].into());
}

/// Mutation: `alike`, without `idempotency`.
#[test]
fn that_a_put_may_be_sent_again_is_agreed_to() {
    let with = |more: &str| {
        let rule = format!("[[egress]]\nhost = \"a.example\"\nmethods = [\"PUT\"]\npaths = [\"/*\"]\n{more}\n");
        ask_of(&format!("[connector]\nname = \"test\"\nversion = \"1.0.0\"\ntitle = \"T\"\ncontract = \"0.1\"\n{rule}"))
    };
    let method = |minutes: u32| with(&format!("idempotency = {{ kind = \"method\", window_minutes = {minutes} }}"));
    let said = "- protect requests to `a.example` from repetition in another way\n";
    for (asked, approved) in [(method(60), with("")), (with(""), method(60)), (method(60), method(30))] {
        let approved = approved.approve();
        assert_eq!(asked.beyond(&approved).to_string(), said);
        assert!(Grant::of(&asked, &approved).egress().is_empty());
    }
    assert!(method(60).beyond(&method(60).approve()).is_empty());
}

#[test]
fn more_requests_are_named_by_method_host_and_path() {
    assert_eq!(
        beyond("\"GET\", \"POST\"]\npaths", "\"GET\", \"POST\", \"PUT\", \"DELETE\"]\npaths"),
        ["send PUT, DELETE to `api.example.com/v1/*`"]
    );
    assert_eq!(beyond("[\"/v1/*\"]", "[\"/v1/*\", \"/v2/{id}\"]"), ["send GET, POST to `api.example.com/v2/{id}`"]);
    assert_eq!(
        beyond("[\"/v1/search\"]", "[\"/v1/*\"]"),
        ["repeat POST to `api.example.com/v1/*`, as if it only read"]
    );
    assert_eq!(
        beyond("[webhook]", "[[egress]]\nhost = \"other.example\"\nmethods = [\"GET\"]\npaths = [\"/*\"]\n[webhook]"),
        ["send GET to `other.example/*`"]
    );
}

#[test]
fn a_variable_that_points_elsewhere_is_another_host() {
    assert_eq!(
        beyond("\"api.example.com\"", "\"evil.example\""),
        ["send GET, POST to `evil.example/v1/*`", "repeat POST to `evil.example/v1/search`, as if it only read"]
    );
    assert_eq!(beyond("\"sandbox.example.com\"", "\"evil.example\""), [""; 0], "nobody here uses the sandbox");
}

#[test]
fn other_handling_of_the_same_requests_is_named() {
    for (from, to, words) in [
        (
            "{ place = \"bearer\", field = \"access_token\" }",
            "{ place = \"query\", name = \"key\", field = \"client_secret\" }",
            "send `api.example.com` `client_secret` in the query parameter `key` as its credential \
             (so far: `access_token` as bearer)",
        ),
        (
            "credential = { place = \"bearer\", field = \"access_token\" }\n",
            "",
            "send `api.example.com` nothing as its credential (so far: `access_token` as bearer)",
        ),
        ("{account.id}", "{account.other}", "have the host send other headers to `api.example.com`"),
        (
            "window_minutes = 60",
            "window_minutes = 61",
            "protect requests to `api.example.com` from repetition in another way",
        ),
        ("\"/secret\"", "\"/other\"", "have other secrets taken out of what `api.example.com` answers"),
    ] {
        assert_eq!(beyond(from, to), [words], "{to}");
        let ask = ask_of(&MANIFEST.replace(from, to));
        assert_eq!(Grant::of(&ask, &ask_of(MANIFEST).approve()).egress(), [], "and waits for consent");
    }
}

#[test]
fn another_way_to_sign_in_is_named() {
    assert_eq!(
        beyond("https://login.example.com/token", "https://evil.example/token"),
        ["use `https://evil.example/token` as `token_url` (so far: `https://login.example.com/token`)"]
    );
    assert_eq!(
        beyond("scopes =", "pkce = false\nrevoke_url = \"https://login.example.com/revoke\"\nscopes ="),
        ["sign in with other parameters", "use `https://login.example.com/revoke` as `revoke_url` (so far: nothing)"]
    );
    let oauth = MANIFEST.get(MANIFEST.find("[auth]").unwrap()..MANIFEST.find("[[egress]]").unwrap()).unwrap();
    let key = "[auth]\nkind = \"api_key\"\nfields = [{ name = \"access_token\", title = \"Key\" }]\n";
    assert_eq!(
        beyond(oauth, key),
        [
            "sign in by `api_key` (so far: `oauth2`)",
            "use nothing as `authorize_url` (so far: `https://login.example.com/authorize`)",
            "use nothing as `token_url` (so far: `https://login.example.com/token`)",
        ]
    );
}

/// What a call keeps of an account decides what requests are made with, and which account is meant whose it is.
///
/// Mutations: host/manifest/src/grant/difference.rs, `with_places_of`, the whole `account_call`; `auth`, without `urls.is_empty()`.
#[test]
fn another_choice_of_what_is_learned_of_the_account_is_named() {
    let call = |call: &str| format!("account_call = {{ url = \"https://{{api}}/v1/{call} }}\nscopes =");
    let with = |this: &str| ask_of(&MANIFEST.replace("scopes =", &call(this)));
    let approved = with("me\", pointer = \"/id\", keep = { base = \"/base\" }").approve();
    let beyond = |this: &str| {
        let ask = with(this);
        assert_eq!(Grant::of(&ask, &approved).permissions().auth, Auth::None, "{this}");
        ask.beyond(&approved).changes.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let detail = "sign in with other parameters";
    for other in [
        "me\", pointer = \"/id\"",
        "me\", pointer = \"/id\", keep = { base = \"/other\" }",
        "me\", pointer = \"/id\", keep = { base = \"/base\" }, items = \"/accounts\"",
        "me\", pointer = \"/id\", keep = { base = \"/base\" }, when = { pointer = \"/default\" }",
        // Written alike, it is the same place; and read, another.
        "me /id\", keep = { base = \"/base\" }",
    ] {
        assert_eq!(beyond(other), [detail], "{other}");
    }
    let place = |to: &str| {
        let api = "https://api.example.com/v1";
        format!("use `{api}/{to}` as `account_call` (so far: `{api}/me /id`)")
    };
    assert_eq!(beyond("me\", pointer = \"/x\", keep = { base = \"/base\" }"), [place("me /x")]);
    let both = "you\", pointer = \"/id\", keep = { base = \"/other\" }";
    assert_eq!(beyond(both), [detail.to_owned(), place("you /id")], "one does not hide the other");
}

/// Of every kind, with something in every field.
fn every_auth() -> Vec<Value> {
    let field = json!({ "name": "key", "title": "Key", "help": "h", "pattern": "p" });
    let oauth2 = json!({
        "authorize_url": "https://a.example/a", "token_url": "https://a.example/t", "revoke_url": "https://a.example/r",
        "scopes": ["s"], "optional_scopes": ["o"], "extra_params": { "p": "1" }, "token_headers": { "h": "1" },
        "callback_params": ["base"], "account_param": "id", "discovered": { "base": ["*.b.example"] }, "issuer": "i",
        "account_call": {
            "url": "https://a.example/me", "items": "/i", "when": { "pointer": "/p", "equals": "e" }, "pointer": "/id",
            "keep": { "k": "/k" }
        },
        "expires_default_s": 1, "refresh_expires_field": "f", "refresh_idle_days": 1, "refresh_days": 1
    });
    let basic = json!({ "username_field": "key", "password_field": "key" });
    let exchange = json!({
        "fields": [field], "url": "https://a.example/x", "headers": { "h": "{key}" }, "basic": basic,
        "form": { "f": "{key}" }, "json": { "j": "{key}" }, "token": "/t", "expires": "/e", "expires_default_s": 1
    });
    let client = json!({
        "token_url": "https://a.example/t", "scopes": ["s"], "extra_params": { "p": "1" }, "expires_default_s": 1
    });
    let bearer = json!({
        "token_url": "https://a.example/t", "audience": "a", "scopes": ["s"], "expires_default_s": 1
    });
    let kinds = [
        json!({ "api_key": { "fields": [field] } }),
        json!({ "basic": {} }),
        json!({ "oauth2": oauth2 }),
        json!({ "oauth2_client_credentials": client }),
        json!({ "oauth2_jwt_bearer": bearer }),
        json!({ "token_exchange": exchange }),
        json!({ "aws_sigv4": {} }),
    ];
    // With what is there without being said.
    let whole = |kind: Value| serde_json::to_value(serde_json::from_value::<Auth>(kind).unwrap()).unwrap();
    kinds.map(whole).into()
}

/// Where values stand that are made of no others.
fn leaves(document: &Value, at: String, found: &mut Vec<String>) {
    match document {
        Value::Object(fields) => fields.iter().for_each(|(name, field)| leaves(field, format!("{at}/{name}"), found)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(nth, item)| leaves(item, format!("{at}/{nth}"), found))
        }
        _ => found.push(at),
    }
}

/// A version rolls out by itself where nothing is to be asked: then it signs in, too.
///
/// Mutation: host/manifest/src/grant/difference.rs, `auth`, return at once.
#[test]
fn whatever_changes_about_signing_in_is_told_or_granted() {
    let others = [
        "bearer",
        "form",
        "json",
        "keeps",
        "none",
        "es256",
        "issuer",
        "app",
        "b",
        "/b",
        "*.c.example",
        "https://b.example/b",
    ];
    let others: Vec<_> = others.map(Value::from).into_iter().chain([json!(2), json!(true), json!(false)]).collect();
    let ask = |auth: &Value| {
        let (auth, scopes) = without_words(serde_json::from_value(auth.clone()).ok()?);
        let (limits, imports) = (Limits::default(), BTreeSet::new());
        Some(Ask(Permissions { auth, scopes, egress: Vec::new(), webhook: None, limits, imports }))
    };
    for before in every_auth() {
        let mut found = Vec::new();
        leaves(&before, String::new(), &mut found);
        for leaf in found {
            let changed = |to: &Value| {
                let mut after = before.clone();
                *after.pointer_mut(&leaf).unwrap() = to.clone();
                if after == before { None } else { ask(&after) }
            };
            let changed: Vec<_> = others.iter().filter_map(changed).collect();
            assert!(!changed.is_empty(), "nothing else can stand at {leaf}");
            let first = ask(&before).unwrap();
            for second in changed {
                for (asked, approved) in [(&first, second.clone()), (&second, first.clone())] {
                    let approved = approved.approve();
                    let granted = Grant::of(asked, &approved).permissions().auth == asked.permissions().auth;
                    assert!(granted || !asked.beyond(&approved).is_empty(), "{leaf}: {asked:?}");
                }
            }
        }
    }
}

#[test]
fn another_proof_of_a_webhook_is_named() {
    assert_eq!(beyond("\"X-Sign\"", "\"X-Other\""), ["verify webhooks in another way"]);
    assert_eq!(beyond("\"/account\"", "\"/owner\""), ["decide in another way whose a webhook is"]);
    assert_eq!(
        beyond("secret = \"app\"", "secret = \"app\"\nhandshake = { kind = \"echo_query\", param = \"challenge\" }"),
        ["answer another webhook handshake"]
    );
    let without = MANIFEST.get(..MANIFEST.find("[webhook]").unwrap()).unwrap();
    assert_eq!(ask_of(MANIFEST).beyond(&ask_of(without).approve()).to_string(), "- receive webhooks\n");
}

#[test]
fn at_an_address_of_its_own_a_connection_splits_as_it_likes() {
    let own = MANIFEST.replace("secret = \"app\"", "secret = \"connection\"").replace("route_by = \"/account\"\n", "");
    let other = own.replace("\"/events\"", "\"/items\"");
    assert!(ask_of(&other).beyond(&ask_of(&own).approve()).is_empty());
}

#[test]
fn agreeing_to_less_grants_less() {
    let ask = ask_of(MANIFEST);
    let mut less = ask.permissions().clone();
    less.scopes.remove("write");
    less.limits.cpu_ms = 100;
    less.egress[0].methods = vec!["GET".to_owned()];
    less.egress[0].paths = vec!["/v1/{id}/x".parse().unwrap(), "/v2/*".parse().unwrap()];
    less.webhook = None;
    let grant = Grant::of(&ask, &Approved::from(less));
    assert_eq!(grant.permissions().scopes, BTreeSet::from(["read".to_owned()]));
    assert_eq!(grant.limits().cpu_ms, 100);
    assert_eq!(grant.permissions().webhook, None);
    let allowed = |method, url| find(grant.egress(), method, &Url::parse(url).unwrap()).is_ok();
    assert!(allowed("GET", "https://api.example.com/v1/7/x"));
    assert!(!allowed("POST", "https://api.example.com/v1/7/x"));
    assert!(!allowed("GET", "https://api.example.com/v1/7"));
    assert!(!allowed("GET", "https://api.example.com/v2/7"));
}

#[test]
fn what_was_approved_first_decides_however_the_asked_rules_are_sorted() {
    let open = "[[egress]]\nhost = \"{api}\"\nmethods = [\"GET\"]\npaths = [\"/v1/open\"]\n";
    let open_first = MANIFEST.replace("[[egress]]", &format!("{open}\n[[egress]]"));
    let open_last = MANIFEST.replace("[webhook]\n", &format!("{open}\n[webhook]\n"));
    let grant = Grant::of(&ask_of(&open_last), &ask_of(&open_first).approve());
    let url = Url::parse("https://api.example.com/v1/open").unwrap();
    assert_eq!(find(grant.egress(), "GET", &url).unwrap().credential, None);
}

fn any_rule() -> impl Strategy<Value = EgressRule> {
    let host = prop::sample::select(vec!["a.example.com", "b.example.com", "*.example.com"]);
    let methods = prop::sample::subsequence(vec!["GET", "POST", "PUT"], 0..3);
    let path = prop::sample::select(vec!["/*", "/a", "/a/*", "/{x}", "/{x}/b", "/a/{y}", "/a*", "/a/b"]);
    let paths = prop::collection::vec(path.clone(), 0..3);
    let reads = prop::collection::vec(path, 0..2);
    let field = prop::option::of(prop::sample::select(vec!["key", "other"]));
    (host, methods, paths, reads, field).prop_map(|(host, methods, paths, reads, field)| EgressRule {
        host: host.parse().unwrap(),
        methods: methods.into_iter().map(str::to_owned).collect(),
        paths: paths.into_iter().map(|path| path.parse().unwrap()).collect(),
        read_only_posts: reads.into_iter().map(|path| path.parse().unwrap()).collect(),
        credential: field.map(|field| Placement::Bearer { field: field.to_owned() }),
        headers: Default::default(),
        idempotency: Idempotency::None,
        capture: Vec::new(),
        discovered: None,
    })
}

prop_compose! {
    fn any_permissions()(
        scopes in prop::collection::btree_set("[abc]", 0..3),
        egress in prop::collection::vec(any_rule(), 0..4),
        imports in prop::collection::btree_set("[xyz]", 0..3),
        (memory_mib, cpu_ms, wall_ms, response_mib) in (1_u32..4, 1_u32..4, 1_u32..4, 1_u32..4),
    ) -> Permissions {
        let limits = Limits { memory_mib, cpu_ms, wall_ms, response_mib };
        Permissions { auth: Auth::None, scopes, egress, webhook: None, limits, imports }
    }
}

fn any_request() -> impl Strategy<Value = (&'static str, Url)> {
    let method = prop::sample::select(vec!["GET", "POST", "PUT", "DELETE"]);
    let host = prop::sample::select(vec!["a.example.com", "b.example.com", "c.example.com", "example.com"]);
    let path = prop::sample::select(vec!["/", "/a", "/b", "/ab", "/a/", "/a/b", "/b/b", "/a/b/c", "/c/b"]);
    (method, host, path)
        .prop_map(|(method, host, path)| (method, Url::parse(&format!("https://{host}{path}")).unwrap()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_grant_never_exceeds_either_side(
        ask in any_permissions(), approved in any_permissions(), (method, url) in any_request()
    ) {
        let grant = Grant::of(&Ask(ask.clone()), &Approved(approved.clone()));
        let granted = grant.permissions();
        for side in [&ask, &approved] {
            prop_assert!(granted.scopes.is_subset(&side.scopes));
            prop_assert!(granted.imports.is_subset(&side.imports));
            prop_assert_eq!(granted.limits.min(side.limits), granted.limits);
        }
        if let Ok(rule) = find(&granted.egress, method, &url) {
            for side in [&ask, &approved] {
                let source = |theirs: &&EgressRule| {
                    find(std::slice::from_ref(*theirs), method, &url).is_ok()
                        && egress::alike(theirs, rule)
                        && (theirs.reads_only(method, &url) || !rule.reads_only(method, &url))
                };
                prop_assert!(side.egress.iter().find(source).is_some(), "{:?}", rule);
            }
        }
    }

    #[test]
    fn where_nothing_more_is_asked_all_of_it_is_granted(
        ask in any_permissions(), approved in any_permissions(), (method, url) in any_request()
    ) {
        let (ask, approved) = (Ask(ask), Approved(approved));
        let grant = Grant::of(&ask, &approved);
        if ask.beyond(&approved).is_empty() {
            let asked = ask.permissions();
            prop_assert_eq!(&grant.permissions().scopes, &asked.scopes);
            prop_assert_eq!(grant.limits(), asked.limits);
            prop_assert_eq!(find(&asked.egress, method, &url).is_ok(), find(grant.egress(), method, &url).is_ok());
        }
    }

    #[test]
    fn nothing_granted_is_beyond_what_was_approved(ask in any_permissions(), approved in any_permissions()) {
        let approved = Approved(approved);
        let grant = Grant::of(&Ask(ask), &approved);
        prop_assert!(Ask(grant.0).beyond(&approved).is_empty());
    }

    #[test]
    fn agreement_to_all_of_it_leaves_nothing_to_ask(ask in any_permissions()) {
        let ask = Ask(ask);
        prop_assert!(ask.beyond(&ask.clone().approve()).is_empty());
    }
}
