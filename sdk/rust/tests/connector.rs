//! A connector that uses everything, called as the host calls it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use bulkhead_sdk::prelude::*;
use bulkhead_sdk::testing::{self, Answer, Host};

const API: &str = "https://api.example.com";

streams! {
    /// Who buys.
    Customers = "customers";
}

/// A customer of the shop.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Customer {
    /// The name on invoices.
    name: String,
    #[serde(default)]
    email: Option<String>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Invoice {
    /// Who pays.
    customer: Ref<Customers>,
    approver: Option<Ref<Customers>>,
    #[schemars(extend("x-bulkhead-ref" = "products"))]
    product: String,
    total_minor: i64,
}

#[derive(Deserialize)]
struct Listed {
    data: Vec<ListedCustomer>,
    has_more: bool,
}

#[derive(Deserialize)]
struct ListedCustomer {
    id: String,
    name: String,
    #[serde(default)]
    deleted: bool,
}

#[derive(Serialize, Deserialize)]
struct Job {
    id: String,
}

struct Shop;

#[connector]
impl Shop {
    /// Makes a customer.
    ///
    /// The provider's id is the answer.
    #[action(title = "New customer")]
    fn create_customer(input: Customer) -> Result<Value, Failure> {
        http::post(format!("{API}/customers")).form(&input).effect("customer").send()?.json()
    }

    #[action(read_only, name = "count-customers")]
    fn count() -> Result<u32, Failure> {
        let count = state::get("count")?.unwrap_or(0) + 1;
        state::set("count", &count)?;
        log::info!(count = count, asked.by = "test"; "counted {}", count);
        Ok(count)
    }

    #[action]
    fn report(input: Customer, resume: Option<Job>) -> Result<Outcome<Customer>, Failure> {
        match resume {
            None => Outcome::later(5_000, &Job { id: "job_1".to_owned() }),
            Some(job) => Ok(Outcome::done(input).event(Event::new(job.id, "report.ready", json!({}))?.subject("r"))),
        }
    }

    #[check]
    fn check() -> Result<Identity, Failure> {
        let account: Value = context::account()?;
        Ok(Identity::new("acct_1", "Shop").details(account))
    }

    #[pull("customers", title = "Shop customers")]
    fn pull_customers(pull: Pull<String>) -> Result<Page<Customer, String>, Failure> {
        let listed: Listed = http::get(format!("{API}/customers"))
            .query("limit", pull.limit)
            .query("after", pull.cursor)
            .send()?
            .json()?;
        let last = listed.data.last().map(|customer| customer.id.clone());
        let changes = listed.data.into_iter().map(|customer| match customer.deleted {
            true => Change::delete(External::new(customer.id)),
            false => Change::upsert(External::new(customer.id), Customer { name: customer.name, email: None }),
        });
        Ok(Page::new(changes).next(last).more(listed.has_more).snapshot_complete(!listed.has_more))
    }

    #[push("customers", batch)]
    fn push_customers(changes: Vec<Outgoing<Customer>>) -> Result<Vec<Pushed>, Failure> {
        Ok(changes.into_iter().map(|change| Pushed::Stored(External::new(format!("x-{}", change.id)))).collect())
    }

    #[push("invoices")]
    fn push_invoice(change: Outgoing<Invoice>) -> Result<Pushed, http::Error> {
        let Op::Upsert(invoice) = change.op else { return Ok(Pushed::Conflict(None)) };
        let response = http::post(format!("{API}/invoices")).json(&invoice).send()?;
        Ok(match response.error_for_status() {
            Ok(_) => Pushed::Stored(External::new("9").version("0")),
            Err(failure) => Pushed::Failed(failure),
        })
    }

    #[receive]
    fn receive(delivery: Delivery) -> Result<Receipt, Failure> {
        let body: Value = delivery.json()?;
        Ok(Receipt::new().event(Event::new("evt_1", "customer.created", &body)?).pull("customers"))
    }

    /// A customer signed up. Sent at once.
    #[event("customer.created")]
    type CustomerCreated = Customer;

    #[event("report.ready", title = "Report is ready")]
    type ReportReady = Value;
}

fn invoice(id: &str) -> Outgoing<Value> {
    let record = json!({ "customer": "cus_1", "product": "p", "total_minor": 5 });
    Outgoing { id: id.to_owned(), known: None, op: Op::Upsert(record) }
}

#[test]
fn the_descriptor_is_made_of_types_and_doc_comments() {
    let described = testing::descriptor::<Shop>();
    assert_eq!(
        described["actions"][0],
        json!({
            "name": "create_customer", "title": "New customer", "read-only": false,
            "description": "Makes a customer.\n\nThe provider's id is the answer.",
            "input": {
                "title": "Customer", "description": "A customer of the shop.", "type": "object", "required": ["name"],
                "properties": {
                    "name": { "description": "The name on invoices.", "type": "string" },
                    "email": { "type": ["string", "null"], "default": null },
                },
            },
            "output": { "title": "AnyValue" },
        })
    );
    assert_eq!(described["actions"][1]["name"], "count-customers");
    assert_eq!(described["actions"][1]["read-only"], true);
    assert_eq!(described["actions"][1]["input"], json!({ "type": "object" }));
    assert_eq!(described["actions"][2]["output"]["title"], "Customer");

    let streams: Vec<_> = described["streams"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stream| {
            (
                stream["name"].as_str().unwrap(),
                stream["title"].as_str().unwrap(),
                stream["pull"] == true,
                stream["push"] == true,
            )
        })
        .collect();
    assert_eq!(streams, [("customers", "Shop customers", true, true), ("invoices", "Invoices", false, true)]);

    let events: Vec<_> =
        described["events"].as_array().unwrap().iter().map(|event| (&event["name"], &event["title"])).collect();
    assert_eq!(
        events,
        [
            (&json!("customer.created"), &json!("A customer signed up. Sent at once")),
            (&json!("report.ready"), &json!("Report is ready")),
        ]
    );
}

#[test]
fn references_to_streams_are_annotated_however_they_are_written() {
    let described = testing::descriptor::<Shop>();
    let fields = &described["streams"][1]["record"]["properties"];
    assert_eq!(
        fields["customer"],
        json!({ "description": "Who pays.", "type": "string", "x-bulkhead-ref": "customers" })
    );
    assert_eq!(fields["approver"]["x-bulkhead-ref"], "customers");
    assert_eq!(fields["product"]["x-bulkhead-ref"], "products");
}

#[test]
fn an_action_gets_its_input_and_sends_a_form() {
    let host = Host::start();
    host.answer(Answer::json(200, json!({ "id": "cus_1" })));
    let outcome = testing::act::<Shop>("create_customer", json!({ "name": "Ann & Co" })).unwrap();
    assert_eq!(outcome, Outcome::done(json!({ "id": "cus_1" })));

    let sent = &host.requests()[0];
    assert_eq!((sent.method.as_str(), sent.path()), ("POST", "/customers"));
    assert_eq!(sent.header("Content-Type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(sent.form(), [("name".to_owned(), "Ann & Co".to_owned())].into());
    assert_eq!(sent.effect.as_deref(), Some("customer"));
}

#[test]
fn a_bad_input_names_the_field() {
    let failure = testing::act::<Shop>("create_customer", json!({ "name": 7 })).unwrap_err();
    assert_eq!(failure.kind, FailureKind::InvalidInput);
    assert_eq!(failure.field.as_deref(), Some("/name"));
    assert_eq!(
        failure.message,
        "The input at /name is not what this takes: invalid type: integer `7`, expected a string."
    );
}

#[test]
fn what_a_connector_does_not_have_is_unsupported() {
    assert_eq!(testing::act::<Shop>("fly", json!({})).unwrap_err().kind, FailureKind::Unsupported);
    assert_eq!(
        testing::resume::<Shop>("create_customer", json!({}), json!({})).unwrap_err().kind,
        FailureKind::Unsupported
    );
    assert_eq!(testing::pull::<Shop>("invoices", PullMode::Full, None, 1).unwrap_err().kind, FailureKind::Unsupported);
    assert_eq!(testing::register::<Shop>("https://x", None).unwrap_err().kind, FailureKind::Unsupported);
}

#[test]
fn a_parked_action_goes_on_from_its_state_and_reports() {
    let Outcome::Later(later) = testing::act::<Shop>("report", json!({ "name": "Ann" })).unwrap() else {
        panic!("not parked")
    };
    assert_eq!((later.after_ms, later.state.as_str()), (5_000, r#"{"id":"job_1"}"#));

    let state = serde_json::from_str(&later.state).unwrap();
    let Outcome::Done(output) = testing::resume::<Shop>("report", json!({ "name": "Ann" }), state).unwrap() else {
        panic!("not done")
    };
    assert_eq!(output.events[0].id, "job_1");
    assert_eq!(output.events[0].subject.as_deref(), Some("r"));
}

#[test]
fn state_lasts_and_logs_have_fields() {
    let host = Host::start();
    host.set_state("count", &41);
    assert_eq!(Shop::count().unwrap(), 42);
    assert_eq!(host.state::<u32>("count"), Some(42));
    let line = &host.logs()[0];
    assert_eq!((line.message.as_str(), &line.fields), ("counted 42", &json!({ "count": 42, "asked.by": "test" })));
}

#[test]
fn an_unauthorised_connection_has_no_account() {
    let host = Host::start();
    assert_eq!(context::account::<Option<Value>>().unwrap(), None);
    #[derive(Debug, Deserialize)]
    struct Account {
        #[serde(rename = "realmId")]
        realm: String,
    }
    assert_eq!(context::account::<Account>().unwrap_err().kind, FailureKind::Unauthorized);
    host.account(json!({ "realmId": "1" }));
    assert_eq!(context::account::<Account>().unwrap().realm, "1");
    assert_eq!(testing::check::<Shop>().unwrap().details, json!({ "realmId": "1" }));
}

#[test]
fn a_page_has_changes_and_a_cursor() {
    let host = Host::start();
    host.answer(Answer::json(200, json!({ "data": [{ "id": "c1", "name": "Ann" }, { "id": "c2", "name": "", "deleted": true }], "has_more": true })));
    let page = testing::pull::<Shop>("customers", PullMode::Incremental, Some(json!("c0")), 2).unwrap();
    assert_eq!(page.changes[0].op, Op::Upsert(json!({ "name": "Ann", "email": null })));
    assert_eq!(page.changes[1].op, Op::Delete);
    assert_eq!((page.next, page.more, page.snapshot_complete), (Some(json!("c2")), true, false));
    assert_eq!(host.requests()[0].query("after").as_deref(), Some("c0"));
}

#[test]
fn a_cursor_of_another_shape_is_expired() {
    let failure = testing::pull::<Shop>("customers", PullMode::Incremental, Some(json!({ "old": 1 })), 2).unwrap_err();
    assert_eq!(failure.kind, FailureKind::CursorExpired);
}

#[test]
fn changes_are_pushed_one_by_one_and_a_bad_one_fails_alone() {
    let host = Host::start();
    host.answer(Answer::json(400, json!({ "error": { "message": "No such product." } })));
    host.answer(Answer::json(200, json!({})));
    let bad = Outgoing { id: "b".to_owned(), known: None, op: Op::Upsert(json!({ "customer": 1 })) };
    let pushed = testing::push::<Shop>("invoices", vec![invoice("a"), bad, invoice("c")]).unwrap();
    let Pushed::Failed(rejected) = &pushed[0] else { panic!("stored") };
    assert_eq!(rejected.kind, FailureKind::Rejected);
    assert_eq!(rejected.message, "POST https://api.example.com/invoices answered 400: No such product.");
    let Pushed::Failed(refused) = &pushed[1] else { panic!("stored") };
    assert_eq!(refused.field.as_deref(), Some("/customer"));
    assert_eq!(pushed[2], Pushed::Stored(External::new("9").version("0")));
}

#[test]
fn a_connection_that_is_down_is_not_tried_again_within_a_push() {
    let host = Host::start();
    host.answer(Answer::json(200, json!({})));
    host.answer(Answer::error(http::ErrorKind::Connect));
    let pushed = testing::push::<Shop>("invoices", vec![invoice("a"), invoice("b"), invoice("c")]).unwrap();
    assert!(matches!(&pushed[0], Pushed::Stored(_)));
    assert!(matches!(&pushed[1], Pushed::Failed(failure) if failure.kind == FailureKind::Unavailable));
    assert_eq!(pushed[1], pushed[2]);
    assert_eq!(host.requests().len(), 2);

    host.answer(Answer::error(http::ErrorKind::RateLimited));
    assert_eq!(testing::push::<Shop>("invoices", vec![invoice("a")]).unwrap_err().kind, FailureKind::RateLimited);
}

#[test]
fn a_batch_keeps_its_order_around_a_record_that_does_not_fit() {
    let customer =
        |id: &str, name: Value| Outgoing { id: id.to_owned(), known: None, op: Op::Upsert(json!({ "name": name })) };
    let changes = vec![customer("a", json!("Ann")), customer("b", json!(1)), customer("c", json!("Cid"))];
    let pushed = testing::push::<Shop>("customers", changes).unwrap();
    assert_eq!(pushed[0], Pushed::Stored(External::new("x-a")));
    assert!(matches!(&pushed[1], Pushed::Failed(failure) if failure.kind == FailureKind::InvalidInput));
    assert_eq!(pushed[2], Pushed::Stored(External::new("x-c")));
}

#[test]
fn a_delivery_becomes_an_event_and_a_pull() {
    let receipt = testing::receive::<Shop>(Delivery::post(json!({ "name": "Ann" }))).unwrap();
    assert_eq!((receipt.events[0].name.as_str(), receipt.pulls), ("customer.created", vec!["customers".to_owned()]));
}
