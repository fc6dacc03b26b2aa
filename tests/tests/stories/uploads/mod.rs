//! Uploads by strangers: what cannot run here is refused by its own code, and says what was found, what was expected and
//! what to do. Nothing of it runs before.

mod building;
mod components;
mod descriptors;
mod leftovers;
mod manifests;
mod schemas;
mod versions;

use bulkhead_tests::Host;
use reqwest::Method;
use serde_json::Value;

use crate::leaks;
use crate::wire::{Reply, Wire};

/// Uploads as the operator.
async fn upload(host: &Host, wasm: Vec<u8>) -> Reply {
    let request = Wire::to(host).request(Method::POST, "/v1/connectors").bearer_auth(host.operator_key()).body(wasm);
    Reply::of(request).await
}

/// An upload that is refused, by this status and code, in words among which these are; and the host serves on.
async fn refused(host: &Host, wasm: Vec<u8>, status: u16, code: &str, words: &[&str]) -> Value {
    let reply = upload(host, wasm).await;
    let problem = reply.problem(status, code);
    leaks::assert_none(host, &reply.text);
    let detail = problem["detail"].as_str().unwrap();
    for word in words {
        assert!(detail.contains(word), "{word:?} is not in {detail:?}");
    }
    let listed = Wire::to(host).get(host.operator_key(), "/v1/connectors").await.json();
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(0), "it is listed all the same");
    problem
}
