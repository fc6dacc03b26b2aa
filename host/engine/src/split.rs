//! One webhook body, taken apart: which items it has, whose each is, what makes it unique, what it stays in order with.
//!
//! Invariants: raw bytes were verified before this is asked; an item is handed on byte for byte, so that a provider's
//! decimals stay what they were; what no alternative applies to is kept as one item that belongs to nobody.

use std::collections::BTreeMap;

use bulkhead_manifest::json_limits::check_depth;
use bulkhead_manifest::{JsonPointer, Split, Webhook};
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

/// One part of a delivery that a single connection's guest gets to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    /// The item as the provider wrote it; the whole body where it is not split.
    pub body: String,
    /// The account that it belongs to, where one address serves all connections.
    pub account: Option<String>,
    /// The provider's id of the event, or a hash of the item where there is none.
    pub dedupe_key: String,
    pub ordering_key: Option<String>,
    /// Whether an alternative of the manifest applied.
    pub recognised: bool,
}

/// Deeper documents are not looked into: they are one item that belongs to nobody.
const DEEPEST: usize = 64;

/// Takes `body` apart as `webhook` declares. `header` looks up a header by name.
pub(crate) fn split<'a>(webhook: &Webhook, body: &str, header: impl Fn(&str) -> Option<&'a str>) -> Vec<Item> {
    if webhook.split.is_empty() {
        return vec![Item { recognised: true, ..whole(body) }];
    }
    if check_depth(body, DEEPEST).is_err() {
        return vec![whole(body)];
    }
    let Ok(document) = serde_json::from_str::<Value>(body) else { return vec![whole(body)] };
    for alternative in &webhook.split {
        if !alternative.when.as_ref().is_none_or(|when| when.holds(&document)) {
            continue;
        }
        match &alternative.items {
            None => return vec![item(alternative, body, dedupe_header(alternative, &header))],
            Some(pointer) => {
                if let Some(items) = raw_items(body, pointer) {
                    return items.into_iter().map(|raw| item(alternative, raw.get(), None)).collect();
                }
            }
        }
    }
    vec![whole(body)]
}

fn dedupe_header<'a>(alternative: &Split, header: &impl Fn(&str) -> Option<&'a str>) -> Option<&'a str> {
    header(alternative.dedupe_header.as_deref()?)
}

fn whole(body: &str) -> Item {
    Item { body: body.to_owned(), account: None, dedupe_key: hash(body), ordering_key: None, recognised: false }
}

fn hash(body: &str) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(body.as_bytes())))
}

fn item(alternative: &Split, body: &str, delivery_id: Option<&str>) -> Item {
    let document: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    let text_at = |pointer: &JsonPointer| pointer.lookup(&document).and_then(scalar);
    let dedupe_key = alternative.dedupe.iter().find_map(text_at).or_else(|| delivery_id.map(str::to_owned));
    Item {
        body: body.to_owned(),
        account: alternative.route_by.as_ref().and_then(text_at),
        dedupe_key: dedupe_key.unwrap_or_else(|| hash(body)),
        ordering_key: alternative.order_by.as_ref().and_then(text_at),
        recognised: true,
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The items of the array at `pointer`, as they stand in the text.
fn raw_items<'a>(body: &'a str, pointer: &JsonPointer) -> Option<Vec<&'a RawValue>> {
    let mut here = body;
    for token in pointer.as_str().split('/').skip(1) {
        let name = token.replace("~1", "/").replace("~0", "~");
        here = match serde_json::from_str::<BTreeMap<String, &RawValue>>(here) {
            Ok(fields) => fields.get(&name)?.get(),
            Err(_) => {
                let items: Vec<&RawValue> = serde_json::from_str(here).ok()?;
                items.get(name.parse::<usize>().ok()?)?.get()
            }
        };
    }
    serde_json::from_str(here).ok()
}

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
        });
        let (handshake, reply) = (Handshake::None, Reply::Ack);
        Webhook { scheme, secret: SecretOwner::App, handshake, split, refusal_status: 401, reply }
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
            (items[0].account.as_deref(), items[0].dedupe_key.as_str(), items[0].ordering_key.as_deref()),
            (Some("7"), "e1", Some("3"))
        );
        assert!(items[0].body.contains("1.10"), "an item keeps its bytes: {}", items[0].body);
        let items = split(&two_shapes(), r#"{"notifications": [{"realm": "9", "x": 1}]}"#, |_| None);
        assert_eq!((items[0].account.as_deref(), items[0].dedupe_key.starts_with("sha256:")), (Some("9"), true));
    }

    #[test]
    fn what_no_alternative_applies_to_is_kept_whole_and_belongs_to_nobody() {
        for body in [r#"{"other": true}"#, "not json", "\u{0}", &"[".repeat(100_000)] {
            let items = split(&two_shapes(), body, |_| None);
            assert_eq!(items.len(), 1);
            assert_eq!((items[0].body.as_str(), items[0].recognised, &items[0].account), (body, false, &None));
        }
    }

    #[test]
    fn a_body_that_is_not_split_is_one_item_told_apart_by_its_bytes() {
        let first = split(&webhook(vec![]), "a=1", |_| None);
        assert!(first[0].recognised);
        assert_eq!(first, split(&webhook(vec![]), "a=1", |_| None));
        assert_ne!(first, split(&webhook(vec![]), "a=2", |_| None));
    }

    #[test]
    fn a_header_may_carry_the_deliverys_id() {
        let by_header = Split { dedupe_header: Some("X-Delivery".into()), ..Split::default() };
        let items = split(&webhook(vec![by_header]), "{}", |name| (name == "X-Delivery").then_some("d-1"));
        assert_eq!(items[0].dedupe_key, "d-1");
    }

    #[test]
    fn an_empty_batch_has_no_items() {
        assert!(split(&two_shapes(), "[]", |_| None).is_empty());
    }
}
