//! Our objects and tables against the official material, where a copy of it lies beside the workspace.

use std::path::PathBuf;

use serde_json::Value;

use crate::stripe::{get, post, start};

/// Fields of the fixtures that the current API does not have: what the facts name as gone, and what belongs to older
/// ways of paying.
const GONE: [(&str, &str); 3] = [("invoice", "subscription"), ("payment_intent", "source"), ("charge", "source")];

fn specs() -> Option<PathBuf> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/specs"));
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no specifications at {}", folder.display());
    None
}

fn read(path: PathBuf) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[tokio::test]
async fn stripes_objects_have_the_fields_of_the_fixtures() {
    let Some(specs) = specs() else { return };
    let fixtures = read(specs.join("stripe/fixtures3.json"));
    let stripe = start().await;
    let (_, customer) = post(&stripe, "/v1/customers", "name=Acme").await;
    let id = customer["id"].as_str().unwrap();
    let (_, item) = post(&stripe, "/v1/invoiceitems", &format!("customer={id}&amount=5&currency=usd")).await;
    let draft = format!("customer={id}&pending_invoice_items_behavior=include");
    let (_, invoice) = post(&stripe, "/v1/invoices", &draft).await;
    let pay = format!("/v1/invoices/{}/pay", invoice["id"].as_str().unwrap());
    let (_, invoice) = post(&stripe, &pay, "payment_method=pm_card_visa&expand[]=payments").await;
    let (_, charges) = get(&stripe, "/v1/charges?expand[]=data.payment_intent").await;
    let (_, events) = get(&stripe, "/v1/events").await;
    let (_, account) = get(&stripe, "/v1/account").await;
    let (_, endpoint) = post(&stripe, "/v1/webhook_endpoints", "url=http://a.b/&enabled_events[]=*").await;
    for (kind, object) in [
        ("customer", &customer),
        ("invoiceitem", &item),
        ("invoice", &invoice),
        ("invoice_payment", &invoice["payments"]["data"][0]),
        ("charge", &charges["data"][0]),
        ("payment_intent", &charges["data"][0]["payment_intent"]),
        ("event", &events["data"][0]),
        ("account", &account),
        ("webhook_endpoint", &endpoint),
    ] {
        let fields = fixtures["resources"][kind].as_object().unwrap().keys();
        let expected = fields.filter(|field| !GONE.contains(&(kind, field.as_str())));
        let missing: Vec<_> = expected.filter(|field| object.get(field.as_str()).is_none()).collect();
        assert!(missing.is_empty(), "{kind} lacks {missing:?}");
        assert_eq!(object["object"], kind);
    }
}
