#![allow(clippy::unwrap_used)]
use bulkhead_manifest::{HostPattern, Template};
use bulkhead_vault::CredentialFields;
use futures::FutureExt as _;
use http::header::HeaderMap;
use serde_json::json;
use url::Url;

use super::*;
use crate::request::{At, EffectPlan};

fn rule(credential: Placement) -> EgressRule {
    EgressRule {
        host: HostPattern::parse("api.example.com").unwrap(),
        discovered: None,
        methods: Vec::new(),
        paths: Vec::new(),
        read_only_posts: Vec::new(),
        credential: Some(credential),
        headers: Default::default(),
        idempotency: Default::default(),
        capture: Vec::new(),
    }
}

fn bearer() -> EgressRule {
    rule(Placement::Bearer { field: "access_token".into() })
}

fn inject(rule: &EgressRule, pins: &AppPins, fields: &[(&str, &str)]) -> Result<Draft, DoorError> {
    let fields: CredentialFields =
        fields.iter().map(|(name, value)| ((*name).to_owned(), Secret::from_string((*value).into()))).collect();
    let key = Secret::from_string("key".into());
    let (account, settings) = (json!({"id": "acct_1", "n": {"realm": 42}}), json!({"region": "eu"}));
    let pass = Pass {
        rules: &[],
        pins,
        credential: Some(&fields),
        app_secrets: None,
        account: &account,
        settings: &settings,
        owner: "c",
        tenant: "t",
        by: crate::request::By::Guest,
        app: None,
        app_is_shared: false,
        publisher: "p",
        budgets: &[],
        ledger: &crate::ledger::tests::Books::default(),
        effect: EffectPlan { key: &key, root: "", name: None, ordinal: 0 },
        clock: &At(1_440_938_160_000),
    };
    let draft = Draft {
        method: http::Method::GET,
        url: Url::parse("https://api.example.com/a?x=1&api_key=own").unwrap(),
        headers: HeaderMap::new(),
        body: Default::default(),
    };
    let injection = prepare(rule, &pass, "api.example.com")?;
    injection.authorized(&draft, "api.example.com", pass.clock).now_or_never().unwrap()
}

fn header(draft: &Draft, name: &str) -> String {
    draft.headers.get(name).unwrap().to_str().unwrap().to_owned()
}

#[test]
fn each_placement_puts_the_secret_in_its_place() {
    let fields = [("access_token", "tok"), ("u", "user"), ("p", "pass")];
    let authorization =
        |placement| header(&inject(&rule(placement), &AppPins::Unpinned, &fields).unwrap(), "authorization");
    assert_eq!(authorization(Placement::Bearer { field: "access_token".into() }), "Bearer tok");
    // RFC 7617 writes it this way.
    assert_eq!(
        authorization(Placement::Basic { username_field: "u".into(), password_field: Some("p".into()) }),
        "Basic dXNlcjpwYXNz"
    );
    assert_eq!(authorization(Placement::Basic { username_field: "u".into(), password_field: None }), "Basic dXNlcjo=");
    let template = Template::parse("Client {access_token}").unwrap();
    assert_eq!(authorization(Placement::Header { name: "Authorization".into(), template }), "Client tok");
    let draft = inject(
        &rule(Placement::Query { name: "api_key".into(), field: "access_token".into() }),
        &AppPins::Unpinned,
        &fields,
    );
    assert_eq!(draft.unwrap().url.query(), Some("x=1&api_key=tok"));
}

/// Mutations: `aws_signer`, without either of its checks.
#[test]
fn a_region_or_a_key_id_that_is_none_signs_nothing() {
    let sign = |region: &str, key_id: &str| {
        let region = Template::parse(region).unwrap();
        let placement = Placement::Sigv4 { service: "s3".into(), region };
        let fields = [("access_key_id", key_id), ("secret_access_key", "secret")];
        inject(&rule(placement), &AppPins::Unpinned, &fields)
    };
    assert!(header(&sign("eu-central-1", "AKID").unwrap(), "authorization").contains("Credential=AKID/"));
    for (region, key_id) in [
        ("eu/central", "AKID"),
        ("eu central", "AKID"),
        ("eu", "AK/ID"),
        ("eu", "AK,ID"),
        ("eu", "AK ID"),
        ("eu", "ÄKID"),
    ] {
        let result = sign(region, key_id);
        let unsignable = matches!(&result, Err(DoorError::InvalidRequest(InvalidRequest::Unsignable { .. })));
        assert!(unsignable, "{region} {key_id}: {result:?}");
    }
}

/// Mutation: `check_pin`, do without it, or without its comparison of placements: an uploaded manifest would decide
/// where the app's token goes, or let it stand in a URL.
#[test]
fn a_credential_goes_only_to_its_pinned_audience_in_its_pinned_place() {
    let pinned = |host: &str| Audience {
        host: HostPattern::parse(host).unwrap(),
        credential: Placement::Bearer { field: "access_token".into() },
    };
    let in_query = rule(Placement::Query { name: "token".into(), field: "access_token".into() });
    let pins = AppPins::Audiences(vec![pinned("api.example.com")]);
    let elsewhere = inject(&in_query, &pins, &[("access_token", "tok")]);
    assert!(matches!(elsewhere, Err(DoorError::Denied(Denial::OutsidePin { .. }))));
    let attempt = |audiences: &[&str]| {
        let pins = AppPins::Audiences(audiences.iter().map(|host| pinned(host)).collect());
        inject(&bearer(), &pins, &[("access_token", "tok")])
    };
    for audiences in [&["api.example.com"][..], &["other.example.com", "*.example.com"]] {
        assert!(attempt(audiences).is_ok(), "{audiences:?}");
    }
    for audiences in [&[][..], &["example.com"], &["*.api.example.com"], &["api.example.com.evil.example"]] {
        let result = attempt(audiences);
        assert!(matches!(result, Err(DoorError::Denied(Denial::OutsidePin { .. }))), "{audiences:?}");
    }
}

#[test]
fn without_the_secret_nothing_is_sent() {
    for fields in [&[][..], &[("access_token", "")], &[("refresh_token", "x")]] {
        let result = inject(&bearer(), &AppPins::Unpinned, fields);
        assert!(matches!(&result, Err(DoorError::NoCredential { missing }) if missing == "access_token"), "{fields:?}");
    }
}

#[test]
fn a_secret_with_a_line_break_in_it_is_refused_and_not_quoted() {
    let error = inject(&bearer(), &AppPins::Unpinned, &[("access_token", "tok\r\nX-Admin: 1")]).unwrap_err();
    assert!(matches!(error, DoorError::InvalidRequest(InvalidRequest::Value { .. })));
    assert!(!error.to_string().contains("tok"), "{error}");
}

/// Mutation: host/manifest/src/template.rs, `render`, without `MAX_RENDERED`.
#[test]
fn a_header_that_names_a_long_secret_often_is_not_sent() {
    let template = Template::parse("{key}".repeat(400)).unwrap();
    let rule = rule(Placement::Header { name: "X-Key".into(), template });
    let sent = |length: usize| inject(&rule, &AppPins::Unpinned, &[("key", &"x".repeat(length))]);
    assert_eq!(header(&sent(160).unwrap(), "x-key").len(), 64_000);
    assert!(matches!(sent(165), Err(DoorError::TooLarge { what: Large::RequestHeaders, .. })));
}

#[test]
fn the_rules_own_headers_come_from_the_account_and_the_settings_or_nothing_is_sent() {
    let mut rule = bearer();
    rule.headers = [
        ("Stripe-Account".to_owned(), Template::parse("{account.id}").unwrap()),
        ("X-Realm".to_owned(), Template::parse("r{account.n.realm}-{settings.region}").unwrap()),
    ]
    .into();
    let draft = inject(&rule, &AppPins::Unpinned, &[("access_token", "tok")]).unwrap();
    assert_eq!((header(&draft, "stripe-account"), header(&draft, "x-realm")), ("acct_1".into(), "r42-eu".into()));
    rule.headers = [("Stripe-Account".to_owned(), Template::parse("{account.missing}").unwrap())].into();
    let result = inject(&rule, &AppPins::Unpinned, &[("access_token", "tok")]);
    assert!(matches!(&result, Err(DoorError::NoCredential { missing }) if missing == "account.missing"));
}
