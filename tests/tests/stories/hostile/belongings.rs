//! What somebody has that a stranger would like to find: state and links, all of it under names that anybody can guess.

use bulkhead_tests::Tenant;
use serde_json::{Value, json};

/// Streams and our ids in them, each with the provider's.
const LINKED: [(&str, &str, &str); 3] = [("noise", "1", "N-1"), ("noise", "2", "N-2"), ("spoils", "1", "S-1")];

/// Leaves it with a connection to the hostile connector, whose own guest then finds it: it is there to be found.
pub(super) async fn left_with(tenant: &Tenant<'_>, connection: &str) {
    for (action, input) in [
        ("keep", json!({ "word": "theirs", "then_break": false })),
        ("hoard_state", json!({ "values": 2, "bytes": 3, "prefix": "token-" })),
    ] {
        let run = tenant.act(connection, action, input).await;
        assert_eq!(run["state"], "succeeded", "{run:#}");
    }
    for (stream, record, external) in LINKED {
        let path = format!("/v1/connections/{connection}/links/{stream}/{record}");
        tenant.put(&path, json!({ "external_id": external })).await.ok();
    }
    let run = tenant.act(connection, "guess", guesses()).await;
    assert_eq!(run["output"], found(&LINKED, &json!({ "word": "theirs", "token-0": "x", "token-1": "x" })));
}

/// What the action `guess` is to look for.
pub(super) fn guesses() -> Value {
    json!({
        "streams": ["noise", "spoils", "things"],
        "records": ["1", "2", "3"],
        "keys": ["word", "token-0", "token-1", "token-", "%"],
    })
}

/// What it answers where there is nothing.
pub(super) fn nothing() -> Value {
    found(&[], &json!({}))
}

fn found(links: &[(&str, &str, &str)], state: &Value) -> Value {
    let mut keys: Vec<_> = state.as_object().into_iter().flatten().map(|(key, _)| key).collect();
    keys.sort();
    json!({ "links": links, "state": state, "keys": keys })
}
