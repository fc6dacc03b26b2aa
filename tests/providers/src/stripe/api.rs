//! One API request from its key to its answer, and the list of everything the API can do.
//!
//! **Invariants.** Checks come in this order: key, version, account, form, URL, idempotency key, parameters; then
//! the operation. A result is stored under its idempotency key only when the operation had begun.
//!
//! **To extend.** A line in [`OPERATIONS`], a function and its table of parameters in the object's file.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::Value;

use super::books::{API_VERSION, Books, Origin, Remembered, Work, id_of};
use super::errors::{Refusal, json_answer};
use super::params::{Form, Param};
use super::{
    account, charges, customers, events, expand, intents, invoice_items, invoice_payments, invoices, webhooks,
};
use crate::core::front::{Answer, Call};

type Run = fn(&mut Work<'_>) -> Result<Value, Refusal>;

/// Something the API can do.
pub(crate) struct Operation {
    method: Method,
    /// `{id}` stands for one segment.
    path: &'static str,
    accepts: &'static [Param],
    run: Run,
}

const fn get(path: &'static str, accepts: &'static [Param], run: Run) -> Operation {
    Operation { method: Method::GET, path, accepts, run }
}

const fn post(path: &'static str, accepts: &'static [Param], run: Run) -> Operation {
    Operation { method: Method::POST, path, accepts, run }
}

const fn delete(path: &'static str, run: Run) -> Operation {
    Operation { method: Method::DELETE, path, accepts: &[], run }
}

pub(crate) const OPERATIONS: &[Operation] = &[
    get("/v1/account", account::RETRIEVE, account::retrieve),
    post("/v1/customers", customers::CREATE, customers::create),
    get("/v1/customers", customers::LIST, customers::list),
    get("/v1/customers/{id}", account::RETRIEVE, customers::retrieve),
    post("/v1/customers/{id}", customers::UPDATE, customers::update),
    delete("/v1/customers/{id}", customers::delete),
    post("/v1/invoiceitems", invoice_items::CREATE, invoice_items::create),
    get("/v1/invoiceitems/{id}", account::RETRIEVE, invoice_items::retrieve),
    post("/v1/invoices", invoices::CREATE, invoices::create),
    get("/v1/invoices", invoices::LIST, invoices::list),
    get("/v1/invoices/{id}", account::RETRIEVE, invoices::retrieve),
    post("/v1/invoices/{id}", invoices::UPDATE, invoices::update),
    post("/v1/invoices/{id}/finalize", invoices::FINALIZE, invoices::finalize),
    post("/v1/invoices/{id}/pay", invoice_payments::PAY, invoice_payments::pay),
    post("/v1/invoices/{id}/void", account::RETRIEVE, invoice_payments::void),
    post("/v1/payment_intents", intents::CREATE, intents::create),
    get("/v1/payment_intents", intents::LIST, intents::list),
    get("/v1/payment_intents/{id}", account::RETRIEVE, intents::retrieve),
    post("/v1/payment_intents/{id}", intents::UPDATE, intents::update),
    post("/v1/payment_intents/{id}/confirm", intents::CONFIRM, intents::confirm),
    post("/v1/payment_intents/{id}/capture", intents::CAPTURE, intents::capture),
    post("/v1/payment_intents/{id}/cancel", intents::CANCEL, intents::cancel),
    get("/v1/charges", charges::LIST, charges::list),
    get("/v1/charges/{id}", account::RETRIEVE, charges::retrieve),
    get("/v1/events", events::LIST, events::list),
    get("/v1/events/{id}", account::RETRIEVE, events::retrieve),
    post("/v1/webhook_endpoints", webhooks::CREATE, webhooks::create),
    get("/v1/webhook_endpoints", webhooks::LIST, webhooks::list),
    get("/v1/webhook_endpoints/{id}", account::RETRIEVE, webhooks::retrieve),
    post("/v1/webhook_endpoints/{id}", webhooks::UPDATE, webhooks::update),
    delete("/v1/webhook_endpoints/{id}", webhooks::delete),
];

/// What an operation is given besides the books.
pub(crate) struct Desk<'a> {
    pub(crate) ids: &'a crate::core::ids::Ids,
    pub(crate) now: i64,
    pub(crate) deliveries: &'a crate::core::deliveries::Deliveries,
    pub(crate) effects: &'a crate::core::effects::Effects,
}

pub(crate) fn act(books: &mut Books, desk: &Desk<'_>, call: &Call) -> Answer {
    let request_id = format!("req_{}", desk.ids.letters(14));
    let answer = match respond(books, desk, call, &request_id) {
        Ok(answer) => answer,
        Err(refusal) => refusal.answer(&request_id),
    };
    let mut answer = answer.with("request-id", request_id).with("stripe-version", API_VERSION);
    if answer.status == 401 {
        answer = answer.with("www-authenticate", "Basic realm=\"Stripe\"");
    }
    match idempotency_key(call) {
        Some(key) => answer.with("idempotency-key", key),
        None => answer,
    }
}

fn respond(books: &mut Books, desk: &Desk<'_>, call: &Call, request_id: &str) -> Result<Answer, Refusal> {
    authenticate(books, call)?;
    check_version(call)?;
    check_account(books, call)?;
    let encoded = encoded_params(call)?;
    let form = Form::decode(&encoded)?;
    let (operation, id) = route(call)?;
    let key = idempotency_key(call);
    let replayed = key.map(|key| replay(books, call, key, &encoded)).transpose()?;
    if let Some(answer) = replayed.flatten() {
        return Ok(answer);
    }
    form.check(operation.accepts)?;
    form.list("expand").into_iter().try_for_each(expand::check)?;
    let origin = Origin::Api { request_id: request_id.to_owned(), idempotency_key: key.map(str::to_owned) };
    let mut work = Work {
        books,
        form: &form,
        id,
        ids: desk.ids,
        now: desk.now,
        origin,
        deliveries: desk.deliveries,
        effects: desk.effects,
        done: Vec::new(),
        emitted: Vec::new(),
    };
    let result = (operation.run)(&mut work);
    let done = std::mem::take(&mut work.done);
    let result = result.and_then(|mut object| {
        for path in form.list("expand") {
            object = expand::expand(work.books, object, path).map_err(Refusal::once_begun)?;
        }
        Ok(object)
    });
    let begun = result.as_ref().map_or_else(|refusal| refusal.begun, |_| true);
    let mut answer = match &result {
        Ok(object) => json_answer(200, object),
        Err(refusal) => refusal.answer(request_id),
    };
    if let Some(key) = key.filter(|_| begun) {
        let (endpoint, params) = fingerprint(call, &encoded);
        let stored = Remembered { endpoint, params, answer: answer.clone(), request_id: request_id.to_owned() };
        books.remembered.insert(key.to_owned(), stored);
    }
    answer.effects = done;
    Ok(answer)
}

fn authenticate(books: &Books, call: &Call) -> Result<(), Refusal> {
    let header = call.header("authorization").unwrap_or_default();
    let key = match header.split_once(' ') {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => key.trim().to_owned(),
        Some((scheme, pair)) if scheme.eq_ignore_ascii_case("basic") => basic_user(pair).unwrap_or_default(),
        _ => String::new(),
    };
    if key.is_empty() {
        return Err(Refusal::unauthorized(
            "You did not provide an API key. Send it in the Authorization header, as Bearer authentication.",
        ));
    }
    if books.keys.contains(&key) {
        return Ok(());
    }
    let shown: String = key.chars().take(8).collect();
    Err(Refusal::unauthorized(format!("Invalid API Key provided: {shown}****")))
}

fn basic_user(pair: &str) -> Option<String> {
    let decoded = String::from_utf8(STANDARD.decode(pair.trim()).ok()?).ok()?;
    decoded.split(':').next().map(str::to_owned)
}

fn check_version(call: &Call) -> Result<(), Refusal> {
    match call.headers.get("stripe-version").map(|value| value.to_str()) {
        None => Ok(()),
        Some(Ok(API_VERSION)) => Ok(()),
        Some(Ok(other)) => Err(Refusal::invalid(format!(
            "Invalid Stripe API version: {other}. This server speaks {API_VERSION} only."
        ))),
        Some(Err(_)) => Err(Refusal::invalid("Invalid Stripe API version.")),
    }
}

fn check_account(books: &Books, call: &Call) -> Result<(), Refusal> {
    match call.header("stripe-account") {
        Some(account) if account != id_of(&books.account) => Err(Refusal::forbidden(
            "account_invalid",
            format!("The provided key does not have access to account '{account}' (or that account does not exist)."),
        )),
        _ => Ok(()),
    }
}

/// The parameters as sent: the query of a GET or DELETE, the form body of a POST.
fn encoded_params(call: &Call) -> Result<String, Refusal> {
    if call.method != Method::POST {
        return Ok(call.query.clone());
    }
    if !call.query.is_empty() {
        return Err(Refusal::invalid("Parameters of a POST belong in its body, not in the URL."));
    }
    if call.body.is_empty() {
        return Ok(String::new());
    }
    if call.content_type() != "application/x-www-form-urlencoded" {
        return Err(Refusal::invalid(
            "Invalid request (check that your POST content type is application/x-www-form-urlencoded).",
        ));
    }
    String::from_utf8(call.body.to_vec()).map_err(|_| Refusal::invalid("Invalid request: the form is not UTF-8."))
}

fn route(call: &Call) -> Result<(&'static Operation, &str), Refusal> {
    let mut operations = OPERATIONS.iter().filter(|operation| operation.method == call.method);
    let found = operations.find_map(|operation| Some((operation, captured(operation.path, &call.path)?)));
    found.ok_or_else(|| Refusal::unknown_url(call.method.as_str(), &call.path))
}

/// The segment that stands for `{id}`; empty when the pattern has none; nothing when the path is another.
fn captured<'a>(pattern: &str, path: &'a str) -> Option<&'a str> {
    let (mut expected, mut actual) = (pattern.split('/'), path.split('/'));
    let mut id = "";
    loop {
        match (expected.next(), actual.next()) {
            (None, None) => return Some(id),
            (Some("{id}"), Some(segment)) if !segment.is_empty() => id = segment,
            (Some(one), Some(other)) if one == other => {}
            _ => return None,
        }
    }
}

/// Only a POST has one that counts.
pub(crate) fn idempotency_key(call: &Call) -> Option<&str> {
    call.header("idempotency-key").filter(|_| call.method == Method::POST)
}

fn replay(books: &Books, call: &Call, key: &str, encoded: &str) -> Result<Option<Answer>, Refusal> {
    if key.is_empty() || key.chars().count() > 255 {
        return Err(Refusal::invalid("Invalid Idempotency-Key: it must have 1 to 255 characters."));
    }
    let Some(stored) = books.remembered.get(key) else {
        return Ok(None);
    };
    let (endpoint, params) = fingerprint(call, encoded);
    if stored.endpoint != endpoint {
        return Err(Refusal::idempotency(format!(
            "Keys for idempotent requests can only be used for the same endpoint they were first used for ('{}').",
            stored.endpoint
        )));
    }
    if stored.params != params {
        return Err(Refusal::idempotency(format!(
            "Keys for idempotent requests can only be used with the same parameters they were first used with. \
             Try using a key other than '{key}' if you meant to execute a different request."
        )));
    }
    let answer = stored.answer.clone();
    let mut answer = answer.with("idempotent-replayed", "true").with("original-request", &stored.request_id);
    answer.replayed = true;
    Ok(Some(answer))
}

/// What must be equal for two requests to be the same one.
pub(crate) fn fingerprint(call: &Call, encoded: &str) -> (String, Vec<(String, String)>) {
    let mut params: Vec<(String, String)> = serde_urlencoded::from_str(encoded).unwrap_or_default();
    params.sort();
    (call.path.clone(), params)
}

/// Stores an answer that was put in place of the operation's own.
pub(crate) fn remember(books: &mut Books, call: &Call, answer: &Answer) {
    let (Some(key), Ok(encoded)) = (idempotency_key(call), encoded_params(call)) else {
        return;
    };
    let (endpoint, params) = fingerprint(call, &encoded);
    let stored = Remembered { endpoint, params, answer: answer.clone(), request_id: String::new() };
    books.remembered.insert(key.to_owned(), stored);
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// The parameters that the official schema of an operation names, and those it requires.
    fn official(operation: &Operation) -> Option<(Vec<String>, Vec<String>)> {
        let specs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/specs/stripe");
        let path = operation.path.trim_start_matches('/').replace(['/', '{', '}'], "_");
        let name = format!("{}_{}.json", operation.method, path.replace("__", "_").trim_end_matches('_'));
        let file = PathBuf::from(specs).join("request-schemas-v23.1.0").join(name);
        let schema: Value = serde_json::from_str(&std::fs::read_to_string(file).ok()?).ok()?;
        let reference = schema["$ref"].as_str()?.rsplit('/').next()?.replace("%20", " ");
        let root = &schema["definitions"][reference];
        let required = root["required"].as_array().cloned().unwrap_or_default();
        let texts = required.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect();
        Some((root["properties"].as_object()?.keys().cloned().collect(), texts))
    }

    #[test]
    fn our_tables_name_what_the_official_schemas_name() {
        let mut compared = 0;
        for operation in OPERATIONS {
            let Some((names, required)) = official(operation) else {
                continue;
            };
            compared += 1;
            for param in operation.accepts {
                let label = format!("{} {} {}", operation.method, operation.path, param.name);
                assert!(names.contains(&param.name.to_owned()), "{label}");
            }
            for name in &names {
                let known = operation.accepts.iter().any(|param| param.name == name);
                assert!(known, "{} {} lacks {name}", operation.method, operation.path);
            }
            for name in required {
                let ours = operation.accepts.iter().find(|param| param.name == name);
                assert!(ours.is_some_and(|param| param.required), "{} {name}", operation.path);
            }
        }
        println!("{compared} tables compared with the official schemas");
    }
}
