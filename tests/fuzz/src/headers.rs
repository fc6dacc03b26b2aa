//! What of a guest's headers goes on: nothing that is the host's, nothing that begins a line, nothing that the guest did not
//! write.

use bulkhead_egress::{DoorConfig, Outgoing, steps};
use bulkhead_manifest::EgressRule;
use bulkhead_manifest::headers::{is_hosts, is_override};

fn rule() -> EgressRule {
    let rule = serde_json::json!({
        "host": "api.example.com",
        "methods": ["GET"],
        "paths": ["/*"],
        "credential": { "header": { "name": "X-Api-Key", "template": "{key}" } },
        "headers": { "Stripe-Account": "{account.id}" },
        "idempotency": { "header": { "name": "Idempotency-Key", "max_length": 64, "window_minutes": 1 } },
    });
    serde_json::from_value(rule).expect("a rule")
}

/// The bytes are headers: U+001E between them, U+001F between name and value.
pub(crate) fn holds(bytes: &[u8]) -> bool {
    thread_local!(static RULE: EgressRule = rule());
    let text = String::from_utf8_lossy(bytes);
    let pairs = text.split('\u{1e}').map(|pair| pair.split_once('\u{1f}').unwrap_or((pair, "")));
    let given: Vec<(String, String)> = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let config = DoorConfig::default();
    let request = Outgoing {
        method: "GET".to_owned(),
        url: "https://api.example.com/".to_owned(),
        headers: given.clone(),
        body: Default::default(),
        timeout_ms: None,
        max_response_bytes: 0,
    };
    let Ok(kept) = RULE.with(|rule| steps::headers(&request, "api.example.com", rule, &config)) else { return false };

    assert!(kept.len() <= given.len().min(config.max_headers));
    let ours = ["authorization", "x-api-key", "stripe-account", "idempotency-key"];
    for (name, value) in &kept {
        let name = name.as_str();
        assert!(!is_hosts(name) && !is_override(name) && !ours.contains(&name), "{name} is the host's");
        assert!(!name.is_empty() && name.bytes().all(is_lower_case_token_byte), "{name:?} is no name");
        let value = value.as_bytes();
        assert!(!value.iter().any(|b| (*b < 0x20 && *b != b'\t') || *b == 0x7f), "{name}: {value:?} is no value");
        let wrote = |(n, v): &(String, String)| n.eq_ignore_ascii_case(name) && v.as_bytes() == value;
        assert!(given.iter().any(wrote), "nobody wrote {name}: {value:?}");
    }
    // Nothing that was given is passed over in silence but for what is the host's.
    assert!(given.iter().all(|(name, _)| !is_override(name)));
    let framing: Vec<_> = given.iter().filter(|(name, _)| is_hosts(name)).collect();
    let says = |value: &str| {
        ["api.example.com", "api.example.com:443", "0", "keep-alive", "close", "trailers", "100-continue"]
            .iter()
            .any(|known| value.eq_ignore_ascii_case(known))
    };
    assert!(
        framing.iter().all(|(name, value)| name.eq_ignore_ascii_case("accept-encoding") || says(value)),
        "{framing:?}"
    );
    for (name, _) in &given {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let goes = is_hosts(name) || ours.into_iter().any(is);
        assert_eq!(kept.contains_key(name.as_str()), !goes, "{name}");
    }
    true
}

fn is_lower_case_token_byte(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit() || b"!#$%&'*+-.^`|~".contains(&b)
}
