//! One webhook body, taken apart: which items it has, whose each is, what makes it unique, what it stays in order with.
//!
//! Invariants: raw bytes were verified before this is asked; an item is handed on byte for byte, so that a provider's
//! decimals stay what they were; what no alternative applies to is kept as one item that belongs to nobody.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bulkhead_manifest::json_limits::check_depth;
use bulkhead_manifest::{BodySyntax, JsonPointer, Split, Webhook};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use url::form_urlencoded;

/// One part of a delivery that a single connection's guest gets to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    /// The item as the provider wrote it; the whole body where it is not split.
    pub body: String,
    /// The account that it belongs to, where one address serves all connections.
    pub account: Option<String>,
    /// What makes it unique. Where the manifest declares nothing that is there, the same bytes may well be news again.
    pub dedupe_key: Option<String>,
    pub ordering_key: Option<String>,
    /// Whether an alternative of the manifest applied.
    pub recognised: bool,
}

/// Deeper documents are not looked into: they are one item that belongs to nobody.
const DEEPEST: usize = 64;
/// A body with more, or with none, is one item that belongs to nobody: each would be rows.
const MOST_ITEMS: usize = 1_000;
/// Longer keys are kept by their hash.
const LONGEST_KEY: usize = 255;

/// Takes `body` apart as `webhook` declares. `header` looks up a header by name.
pub(crate) fn split<'a>(webhook: &Webhook, body: &str, header: impl Fn(&str) -> Option<&'a str>) -> Vec<Item> {
    if webhook.split.is_empty() {
        return vec![Item { recognised: true, dedupe_key: None, ..whole(body) }];
    }
    let Some((alternative, seen)) = applying(webhook, body) else { return vec![whole(body)] };
    let Some(pointer) = &alternative.items else {
        let delivery_id = alternative.dedupe_header.as_deref().and_then(header);
        let item = item(alternative, &seen, delivery_id);
        // A form stays what the provider wrote.
        return vec![if alternative.body == BodySyntax::Form { Item { body: body.to_owned(), ..item } } else { item }];
    };
    match raw_at(&seen, pointer).and_then(|items| serde_json::from_str::<Vec<&RawValue>>(items).ok()) {
        Some(items) if (1..=MOST_ITEMS).contains(&items.len()) => {
            items.into_iter().map(|raw| item(alternative, raw.get(), None)).collect()
        }
        _ => vec![whole(body)],
    }
}

/// The first alternative that this body is of, and the body as that reads it.
fn applying<'w, 'b>(webhook: &'w Webhook, body: &'b str) -> Option<(&'w Split, Cow<'b, str>)> {
    // Most bodies are read in one way, once.
    let mut documents: Vec<(&BodySyntax, Option<Value>)> = Vec::new();
    webhook.split.iter().find_map(|alternative| {
        let seen = read(&alternative.body, body)?;
        if alternative.body == BodySyntax::Opaque {
            return Some((alternative, seen));
        }
        if alternative.when.is_none() && alternative.items.is_none() {
            // It takes any document, so none is taken apart.
            return serde_json::from_str::<IgnoredAny>(&seen).is_ok().then_some((alternative, seen));
        }
        if !documents.iter().any(|(syntax, _)| **syntax == alternative.body) {
            documents.push((&alternative.body, serde_json::from_str(&seen).ok()));
        }
        let (_, document) = documents.iter().find(|(syntax, _)| **syntax == alternative.body)?;
        let document = document.as_ref()?;
        let items = alternative.items.as_ref().map(|pointer| pointer.lookup(document));
        let applies = alternative.when.as_ref().is_none_or(|when| when.holds(document))
            && items.is_none_or(|items| items.is_some_and(Value::is_array));
        applies.then_some((alternative, seen))
    })
}

/// The text that pointers point into; `None` where the body is not of this syntax.
fn read<'b>(syntax: &BodySyntax, body: &'b str) -> Option<Cow<'b, str>> {
    let fields = || form_urlencoded::parse(body.as_bytes());
    let seen = match syntax {
        BodySyntax::Opaque => return Some(Cow::Borrowed(body)),
        BodySyntax::Json => Cow::Borrowed(body),
        BodySyntax::Form => {
            let fields = fields().map(|(name, value)| (name.into_owned(), Value::String(value.into_owned())));
            Cow::Owned(Value::Object(fields.collect()).to_string())
        }
        BodySyntax::FormJson { field } => {
            Cow::Owned(fields().filter(|(name, _)| name == field).last().map(|(_, value)| value.into_owned())?)
        }
    };
    check_depth(&seen, DEEPEST).is_ok().then_some(seen)
}

/// What nobody understands. Sent again, it is the same.
pub(crate) fn whole(body: &str) -> Item {
    Item { body: body.to_owned(), account: None, dedupe_key: Some(hash(body)), ordering_key: None, recognised: false }
}

fn hash(text: &str) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(text.as_bytes())))
}

fn item(alternative: &Split, body: &str, delivery_id: Option<&str>) -> Item {
    let scalar_at = |pointer: &JsonPointer| raw_at(body, pointer).and_then(scalar);
    // What is no scalar is told apart by its bytes: the whole item too, where the manifest says so.
    let unique_at = |pointer: &JsonPointer| {
        let raw = raw_at(body, pointer).filter(|raw| *raw != "null")?;
        Some(scalar(raw).unwrap_or_else(|| hash(raw)))
    };
    let dedupe_key = alternative.dedupe.iter().find_map(unique_at).or_else(|| delivery_id.map(str::to_owned));
    Item {
        body: body.to_owned(),
        account: account(alternative, body).map(key),
        dedupe_key: dedupe_key.map(key),
        ordering_key: alternative.order_by.as_ref().and_then(scalar_at).map(key),
        recognised: true,
    }
}

fn account(alternative: &Split, body: &str) -> Option<String> {
    let found = raw_at(body, alternative.route_by.as_ref()?).and_then(scalar)?;
    let Some(inside) = &alternative.route_inside else { return Some(found) };
    // Either alphabet, with or without padding.
    let padding = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let decoded = GeneralPurpose::new(&STANDARD, padding).decode(found.replace('-', "+").replace('_', "/")).ok()?;
    let document = std::str::from_utf8(&decoded).ok().filter(|text| check_depth(text, DEEPEST).is_ok())?;
    raw_at(document, inside).and_then(scalar)
}

/// A text that both databases take as part of an index.
fn key(text: String) -> String {
    if text.len() > LONGEST_KEY || text.chars().any(char::is_control) { hash(&text) } else { text }
}

/// A text, or a number as the provider wrote it: no digit of a long id is lost.
fn scalar(raw: &str) -> Option<String> {
    match raw.as_bytes().first()? {
        b'"' => serde_json::from_str::<String>(raw).ok().filter(|text| !text.is_empty()),
        b'-' | b'0'..=b'9' => Some(raw.to_owned()),
        _ => None,
    }
}

/// What stands at `pointer`, as it stands in the text.
fn raw_at<'a>(body: &'a str, pointer: &JsonPointer) -> Option<&'a str> {
    let mut here = body.trim();
    for token in pointer.as_str().split('/').skip(1) {
        let name = token.replace("~1", "/").replace("~0", "~");
        here = Place(&name).deserialize(&mut serde_json::Deserializer::from_str(here)).ok()??.get();
    }
    Some(here)
}

/// One place in an object or array. The rest is read over; of two fields with its name the last counts, as everywhere.
struct Place<'n>(&'n str);

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = fields.next_key::<Name<'de>>()? {
            if name.0 == self.0 {
                found = Some(fields.next_value()?);
            } else {
                fields.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let Ok(wanted) = self.0.parse::<usize>() else { return Ok(None) };
        for _ in 0..wanted {
            if items.next_element::<IgnoredAny>()?.is_none() {
                return Ok(None);
            }
        }
        let found = items.next_element()?;
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(found)
    }
}

/// A field's name, copied only where it is written with escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use bulkhead_manifest::{Condition, Handshake, HmacScheme, Reply, Scheme, SecretOwner, SignatureEncoding};

    use super::*;

    fn webhook(split: Vec<Split>) -> Webhook {
        let scheme = Scheme::Hmac(HmacScheme {
            algorithm: Default::default(),
            encoding: SignatureEncoding::Hex,
            header: "X-Signature".into(),
            parse: Default::default(),
            signed: Default::default(),
            tolerance_seconds: None,
            key_decoding: Default::default(),
            id_header: None,
            timestamp_header: None,
            timestamp_format: Default::default(),
        });
        let (handshake, reply, secret) = (Handshake::None, Reply::Ack, SecretOwner::App);
        let (also, ignore) = (vec![], vec![]);
        Webhook { scheme, also, secret, handshake, ignore, split, refusal_status: 401, refuse_bare: false, reply }
    }

    fn pointer(text: &str) -> JsonPointer {
        JsonPointer::parse(text).unwrap()
    }

    fn two_shapes() -> Webhook {
        let cloud = Split {
            items: Some(pointer("")),
            route_by: Some(pointer("/account")),
            dedupe: vec![pointer("/id")],
            order_by: Some(pointer("/entity")),
            ..Split::default()
        };
        let legacy = Split {
            when: Some(Condition { pointer: pointer("/notifications"), equals: None }),
            items: Some(pointer("/notifications")),
            route_by: Some(pointer("/realm")),
            ..Split::default()
        };
        webhook(vec![legacy, cloud])
    }

    #[test]
    fn each_shape_of_body_is_taken_apart_its_own_way() {
        let items = split(
            &two_shapes(),
            r#"[{"id": "e1", "account": "7", "entity": 3, "total": 1.10}, {"id": "e2", "account": "8"}]"#,
            |_| None,
        );
        assert_eq!(items.len(), 2);
        assert_eq!(
            (items[0].account.as_deref(), items[0].dedupe_key.as_deref(), items[0].ordering_key.as_deref()),
            (Some("7"), Some("e1"), Some("3"))
        );
        assert!(items[0].body.contains("1.10"), "an item keeps its bytes: {}", items[0].body);
        let items = split(&two_shapes(), r#"{"notifications": [{"realm": "9", "x": 1}]}"#, |_| None);
        assert_eq!((items[0].account.as_deref(), &items[0].dedupe_key), (Some("9"), &None));
    }

    #[test]
    fn what_no_alternative_applies_to_is_kept_whole_and_belongs_to_nobody() {
        for body in [r#"{"other": true}"#, "not json", "\u{0}", &"[".repeat(100_000)] {
            let items = split(&two_shapes(), body, |_| None);
            assert_eq!(items.len(), 1);
            assert_eq!((items[0].body.as_str(), items[0].recognised, &items[0].account), (body, false, &None));
        }
    }

    /// A notification that only says "something changed" has the same bytes every time.
    #[test]
    fn without_an_id_the_same_bytes_are_news_again_unless_the_manifest_says_they_are_not() {
        let items = split(&webhook(vec![]), "a=1", |_| None);
        assert_eq!((items[0].recognised, &items[0].dedupe_key), (true, &None));
        let by_bytes = webhook(vec![Split { dedupe: vec![pointer("/id"), pointer("")], ..Split::default() }]);
        let key = |body: &str| split(&by_bytes, body, |_| None)[0].dedupe_key.clone().unwrap();
        assert_eq!(key(r#"{"id": "e1"}"#), "e1");
        assert!(key(r#"{"id": null}"#).starts_with("sha256:"));
        assert_eq!(key(r#"{"a": 1}"#), key(r#"{"a": 1}"#));
        assert_ne!(key(r#"{"a": 1}"#), key(r#"{"a": 2}"#));
    }

    #[test]
    fn long_numbers_keep_their_digits_and_no_key_is_too_much_for_an_index() {
        let by_id =
            webhook(vec![Split { dedupe: vec![pointer("/id")], order_by: Some(pointer("/o")), ..Split::default() }]);
        let one = |body: &str| split(&by_id, body, |_| None).remove(0);
        assert_eq!(
            one(r#"{"id": 123456789012345678901234567890}"#).dedupe_key.unwrap(),
            "123456789012345678901234567890"
        );
        for text in ["\"a\\u0000b\"".to_owned(), format!("\"{}\"", "x".repeat(200_000))] {
            let item = one(&format!(r#"{{"id": {text}, "o": {text}}}"#));
            assert!(item.dedupe_key.unwrap().starts_with("sha256:"), "{text:.20}");
            assert!(item.ordering_key.unwrap().starts_with("sha256:"), "{text:.20}");
        }
    }

    /// Mutation: `MOST_ITEMS`, without end.
    #[test]
    fn a_body_of_too_many_items_is_kept_whole() {
        let body = |count: usize| format!("[{}]", vec![r#"{"id": "e"}"#; count].join(","));
        assert_eq!(split(&two_shapes(), &body(1_000), |_| None).len(), 1_000);
        let items = split(&two_shapes(), &body(1_001), |_| None);
        assert_eq!((items.len(), items[0].recognised), (1, false));
    }

    #[test]
    fn a_header_may_carry_the_deliverys_id() {
        let by_header = Split { dedupe_header: Some("X-Delivery".into()), ..Split::default() };
        let items = split(&webhook(vec![by_header]), "{}", |name| (name == "X-Delivery").then_some("d-1"));
        assert_eq!(items[0].dedupe_key.as_deref(), Some("d-1"));
    }

    /// It was verified, so it is kept: somebody may look for it.
    ///
    /// Mutation: `split`, from no item on.
    #[test]
    fn an_empty_batch_is_kept_whole() {
        assert_eq!(split(&two_shapes(), "[]", |_| None), [whole("[]")]);
    }

    #[test]
    fn a_pointer_finds_what_stands_there_as_it_is_written() {
        let body = r#" {"list": [1, {"b/c": 1.10}], "d\u0061y": "x", "twice": 1, "twice": {"in": 2}} "#;
        let found = |at: &str| raw_at(body, &pointer(at));
        assert_eq!(found("/list/1/b~1c"), Some("1.10"));
        assert_eq!(found("/day"), Some("\"x\""));
        assert_eq!(found("/twice/in"), Some("2"));
        assert_eq!(found(""), Some(body.trim()));
        for nowhere in ["/list/2", "/list/x", "/list/0/in", "/day/0", "/none", "/none/at"] {
            assert_eq!(found(nowhere), None, "{nowhere}");
        }
    }

    /// Mutation: `split`, without `DEEPEST`.
    #[test]
    fn a_body_that_nests_too_deep_is_not_looked_into() {
        let deep = |levels: usize| format!(r#"[{{"id": "e", "x": {}{}}}]"#, "[".repeat(levels), "]".repeat(levels));
        assert!(split(&two_shapes(), &deep(DEEPEST - 2), |_| None)[0].recognised);
        assert!(!split(&two_shapes(), &deep(DEEPEST - 1), |_| None)[0].recognised);
    }

    /// What the table says about a provider.
    fn declared(provider: &str) -> Webhook {
        let table = include_str!("../../../tests/webhook-schemes.toml");
        let mut parts = table.split("\n#: ").filter_map(|part| part.split_once('\n'));
        let (_, sections) = parts.find(|(name, _)| *name == provider).unwrap();
        let connector = "[connector]\nname = \"test\"\nversion = \"1.0.0\"\ntitle = \"Test\"\ncontract = \"0.1\"\n";
        bulkhead_manifest::Manifest::parse(&format!("{connector}{sections}")).unwrap().webhook.unwrap()
    }

    /// Body, then account and dedupe key of each item that some alternative applied to.
    #[test]
    fn every_known_body_is_taken_apart_by_what_the_manifest_says() {
        let payload = "payload=%7B%22type%22%3A%22block_actions%22%2C%22team%22%3A%7B%22id%22%3A%22T1%22%7D%7D";
        let command = "token=x&team_id=T1&command=%2Fpay&text=a%20%26+b&trigger_id=9.1";
        let mail = r#"{"message":{"data":"eyJlbWFpbEFkZHJlc3MiOiJhQGIuYyIsImhpc3RvcnlJZCI6MX0=","messageId":"m1"}}"#;
        let unpadded = r#"{"message":{"data":"eyJlbWFpbEFkZHJlc3MiOiJhQGIuYyJ9","messageId":2}}"#;
        type Known<'a> = (Option<&'a str>, Option<&'a str>);
        let table: &[(&str, &str, &[Known<'_>])] = &[
            (
                "QuickBooks",
                r#"[{"id":"e1","intuitaccountid":"7"},{"id":"e2","intuitaccountid":"8"}]"#,
                &[(Some("7"), Some("e1")), (Some("8"), Some("e2"))],
            ),
            (
                "QuickBooks",
                r#"{"eventNotifications":[{"realmId":"7","dataChangeEvent":{"entities":[{},{}]}}]}"#,
                &[(Some("7"), None)],
            ),
            (
                "Xero",
                r#"{"events":[{"tenantId":"t1"},{"tenantId":"t2"}],"entropy":"X"}"#,
                &[(Some("t1"), None), (Some("t2"), None)],
            ),
            ("Xero", r#"{"events":[],"entropy":"X"}"#, &[]),
            ("Stripe", r#"{"id":"evt_1"}"#, &[(None, Some("evt_1"))]),
            ("Square", r#"{"event_id":"x","merchant_id":"m"}"#, &[(None, Some("x"))]),
            ("PayPal", r#"{"id":"WH-1"}"#, &[(None, Some("WH-1"))]),
            ("DocuSign", r#"{"event":"envelope-completed"}"#, &[(None, None)]),
            ("Adobe Sign", r#"{"webhookId":"w","webhookNotificationId":"n"}"#, &[(None, Some("n"))]),
            ("Slack", r#"{"type":"event_callback","team_id":"T1","event_id":"Ev1"}"#, &[(Some("T1"), Some("Ev1"))]),
            ("Slack", payload, &[(Some("T1"), None)]),
            ("Slack", command, &[(Some("T1"), Some("9.1"))]),
            ("Slack", "something=else", &[]),
            ("Gmail", mail, &[(Some("a@b.c"), Some("m1"))]),
            ("Gmail", unpadded, &[(Some("a@b.c"), Some("2"))]),
            ("Gmail", r#"{"message":{"data":"not base64","messageId":"3"}}"#, &[(None, Some("3"))]),
            ("Google Calendar and Drive", "", &[(None, None)]),
            (
                "Microsoft Graph",
                r#"{"value":[{"clientState":"s"},{"clientState":"s"}]}"#,
                &[(None, None), (None, None)],
            ),
            (
                "Dropbox",
                r#"{"list_folder":{"accounts":["dbid:A","dbid:B"]},"delta":{"users":[1]}}"#,
                &[(Some("dbid:A"), None), (Some("dbid:B"), None)],
            ),
            ("ShipStation", r#"{"resource_url":"https://x"}"#, &[(None, None)]),
            ("Supabase", r#"{"type":"INSERT"}"#, &[(None, None)]),
            ("GitHub", "{}", &[(None, Some("of-the-header"))]),
            ("Standard Webhooks", "{}", &[(None, Some("of-the-header"))]),
        ];
        for (provider, body, expected) in table {
            let items = split(&declared(provider), body, |_| Some("of-the-header"));
            let found: Vec<_> = items.iter().filter(|item| item.recognised).collect();
            let found: Vec<_> = found.iter().map(|i| (i.account.as_deref(), i.dedupe_key.as_deref())).collect();
            assert_eq!(&found, expected, "{provider}: {body}");
        }
        let slack = declared("Slack");
        assert_eq!(split(&slack, command, |_| None)[0].body, command, "a form stays as it came");
        let inside = split(&slack, payload, |_| None).remove(0).body;
        assert_eq!(inside, r#"{"type":"block_actions","team":{"id":"T1"}}"#);
    }

    /// Mutation: `account`, without `check_depth`.
    #[test]
    fn a_document_inside_an_item_nests_no_deeper_than_one_that_comes_alone() {
        let account = |levels: usize| {
            let inside = format!(r#"{{"x":{}{},"emailAddress":"a@b.c"}}"#, "[".repeat(levels), "]".repeat(levels));
            let data = base64::prelude::BASE64_STANDARD.encode(inside);
            let body = format!(r#"{{"message":{{"data":"{data}","messageId":"1"}}}}"#);
            split(&declared("Gmail"), &body, |_| None).remove(0).account
        };
        assert_eq!(account(DEEPEST - 1).as_deref(), Some("a@b.c"));
        assert_eq!(account(DEEPEST), None);
    }

    /// Mutation: `read`, without `check_depth`.
    #[test]
    fn a_document_in_a_form_nests_no_deeper_than_one_that_comes_alone() {
        let deep = format!("payload={{\"team\":{{\"id\":\"T1\"}},\"x\":{}{}}}", "[".repeat(100), "]".repeat(100));
        assert!(!split(&declared("Slack"), &deep, |_| None)[0].recognised);
    }
}
