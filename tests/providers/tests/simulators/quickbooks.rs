//! Who may work on a company, and what is refused.

use simulated_providers::{QuickBooks, QuickBooksConfig, Realm};

use crate::company::{Company, REALM};
use crate::{code, reply};

#[tokio::test]
async fn a_token_for_this_company_is_needed() {
    let config = QuickBooksConfig::default();
    let other = Realm { id: "1185883450".into(), company_name: "Other".into() };
    let realms = [config.realms.clone(), vec![other]].concat();
    let quickbooks = QuickBooks::start(QuickBooksConfig { realms, ..config }).await;
    let token = quickbooks.issue_tokens(REALM).access_token;
    let mut company = Company { quickbooks, token, customer: String::new() };
    let path = format!("companyinfo/{REALM}");
    let response = company.request(reqwest::Method::GET, &path).send().await.unwrap();
    assert!(response.headers().contains_key("intuit_tid"));
    let (status, body) = reply(response).await;
    assert_eq!((status, &body["CompanyInfo"]["CompanyName"]), (200, &"Simulated Company".into()));
    company.quickbooks.expire_access_tokens();
    let (status, body) = company.get(&path).await;
    assert_eq!((status, code(&body), &body["Fault"]["type"]), (401, "3200", &"AUTHENTICATION".into()));
    company.token = "unknown".into();
    assert_eq!(company.get(&path).await.0, 401);
    company.token = company.quickbooks.issue_tokens("1185883450").access_token;
    assert_eq!(company.get(&path).await.0, 403);
    let bare = reqwest::get(format!("{}/v3/company/{REALM}/{path}", company.quickbooks.url())).await.unwrap();
    assert_eq!(
        (bare.status().as_u16(), &bare.headers()["content-type"]),
        (401, &"application/xml;charset=UTF-8".parse().unwrap())
    );
}

#[tokio::test]
async fn without_accept_json_the_answer_is_xml() {
    let company = Company::start().await;
    let request = company.request(reqwest::Method::GET, "customer/1").header("accept", "application/xml");
    let mut request = request.build().unwrap();
    request.headers_mut().insert("accept", "application/xml".parse().unwrap());
    let response = reqwest::Client::new().execute(request).await.unwrap();
    let text = response.text().await.unwrap();
    assert!(text.starts_with("<?xml") && text.contains("<Fault type=\"ValidationFault\">"), "{text}");
}

/// Posts a body and wants it refused with this code.
async fn refused(company: &Company, path: &str, body: &str, expected: &str) {
    let (status, answer) = company.post(path, body).await;
    assert_eq!((status, code(&answer)), (400, expected), "{path} {body} {answer}");
    let done: Vec<_> = company.quickbooks.effects().into_keys().collect();
    assert_eq!(done, ["bookkeeper.customer.created"]);
}

#[tokio::test]
async fn bodies_that_no_entity_allows_are_refused() {
    let company = Company::start().await;
    let customer = &company.customer;
    for (path, body, expected) in [
        ("customer", r#"{"DisplayName":"B","Colour":"red"}"#, "2010"),
        ("customer", r#"{"DisplayName":5}"#, "2010"),
        ("customer", "[]", "2010"),
        ("customer", "{", "2010"),
        ("customer", "{}", "6080"),
        ("customer", r#"{"DisplayName":"a:b"}"#, "2050"),
        ("customer", r#"{"DisplayName":"ACME"}"#, "6240"),
        ("customer", r#"{"Id":"x1","SyncToken":"0"}"#, "2030"),
        ("customer", r#"{"Id":"999","SyncToken":"0"}"#, "610"),
        ("item", r#"{"Name":"W","Type":"Service"}"#, "2020"),
        ("account", r#"{"Name":"Till"}"#, "6010"),
        ("vendor", "{}", "500"),
    ] {
        refused(&company, path, body, expected).await;
    }
    let long = format!(r#"{{"DisplayName":"{}"}}"#, "x".repeat(501));
    refused(&company, "customer", &long, "2050").await;
    let tokenless = format!(r#"{{"Id":"{customer}","sparse":true}}"#);
    refused(&company, "customer", &tokenless, "2020").await;
    let current = format!(r#"{{"Id":"{customer}","SyncToken":"0"}}"#);
    refused(&company, "customer?operation=delete", &current, "500").await;
    let as_text = company.request(reqwest::Method::POST, "customer").body("{}").send().await.unwrap();
    assert_eq!(as_text.status(), 415);
}

#[tokio::test]
async fn paths_and_parameters_that_do_not_exist_are_refused() {
    let company = Company::start().await;
    let body = r#"{"DisplayName":"B"}"#;
    let long = format!("customer?requestid={}", "x".repeat(51));
    for path in ["customer?minorversion=76", "customer?minorversion=latest", "customer?colour=red", &long] {
        refused(&company, path, body, "2000").await;
    }
    for (path, expected) in [("customer/x", "2030"), ("customer/9", "610"), ("customer", "500"), ("vendor/1", "500")] {
        assert_eq!(code(&company.get(path).await.1), expected, "{path}");
    }
    for version in ["75", "4"] {
        assert_eq!(company.get(&format!("customer/1?minorversion={version}")).await.0, 200);
    }
}

#[tokio::test]
async fn invoices_that_do_not_add_up_are_refused() {
    let company = Company::start().await;
    let customer = &company.customer;
    let invoice = |line: &str| format!(r#"{{"CustomerRef":{{"value":"{customer}"}},"Line":[{line}]}}"#);
    let sale = |amount: &str, price: &str| {
        let detail = format!(r#"{{"Qty":3,"UnitPrice":{price}}}"#);
        let line = format!(r#""Amount":{amount},"SalesItemLineDetail":{detail}"#);
        invoice(&format!(r#"{{"DetailType":"SalesItemLineDetail",{line}}}"#))
    };
    for (body, expected) in [
        (invoice(""), "2020"),
        (invoice(r#"{"Amount":1,"DetailType":"Nonsense"}"#), "2170"),
        (r#"{"Line":[]}"#.to_owned(), "2020"),
        (r#"{"CustomerRef":{"value":"999"},"Line":[]}"#.to_owned(), "2500"),
        (r#"{"CustomerRef":{"value":1},"Line":[]}"#.to_owned(), "2010"),
        (sale("30.001", "10.0003"), "2060"),
        (sale("31", "10"), "6070"),
        (sale("-30", "-10"), "6000"),
        (sale("\"30\"", "10"), "2010"),
        (sale("1e30", "10"), "2010"),
    ] {
        refused(&company, "invoice", &body, expected).await;
    }
}

#[tokio::test]
async fn a_stale_sync_token_changes_nothing() {
    let company = Company::start().await;
    let update = |token: &str, note: &str| {
        format!(r#"{{"Id":"{}","SyncToken":"{token}","sparse":true,"Notes":"{note}"}}"#, company.customer)
    };
    let (_, first) = company.post("customer", &update("0", "one")).await;
    assert_eq!((&first["Customer"]["SyncToken"], &first["Customer"]["DisplayName"]), (&"1".into(), &"Acme".into()));
    let (status, stale) = company.post("customer?operation=update", &update("0", "two")).await;
    assert_eq!((status, code(&stale)), (400, "5010"));
    let (_, read) = company.get(&format!("customer/{}", company.customer)).await;
    assert_eq!(read["Customer"]["Notes"], "one");
    let full = format!(r#"{{"Id":"{}","SyncToken":"1","DisplayName":"Acme"}}"#, company.customer);
    let (_, replaced) = company.post("customer", &full).await;
    assert!(replaced["Customer"].get("Notes").is_none(), "a full update clears what it does not name");
}

#[tokio::test]
async fn an_inactive_name_is_free_again() {
    let company = Company::start().await;
    let body = format!(r#"{{"Id":"{}","SyncToken":"0","sparse":true,"Active":false}}"#, company.customer);
    let (_, retired) = company.post("customer", &body).await;
    assert_eq!(retired["Customer"]["DisplayName"], "Acme (deleted)");
    assert_eq!(company.post("customer", r#"{"DisplayName":"Acme"}"#).await.0, 200);
    let (_, used) = company.post("invoice", &company.invoice_body("10")).await;
    assert_eq!(code(&used), "610");
}
