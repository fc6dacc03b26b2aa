//! Invoices and payments.

use crate::code;
use crate::company::{Company, REALM};

#[tokio::test]
async fn payments_bring_the_balance_down_and_never_below_zero() {
    let company = Company::start().await;
    let invoice = company.invoice("100.30").await;
    let pay =
        async |total: &str, lines: &[(&str, &str)]| company.post("payment", &company.payment_body(total, lines)).await;
    let (_, paid) = pay("0.1", &[(&invoice, "0.1")]).await;
    assert_eq!(company.balance(&invoice), "100.20");
    for (total, lines, expected) in [
        ("200.00", vec![(invoice.as_str(), "100.21")], "6000"),
        ("50.00", vec![(invoice.as_str(), "60.00")], "6000"),
        ("120.00", vec![(invoice.as_str(), "60.00"), (invoice.as_str(), "60.00")], "6000"),
        ("10.00", vec![("999", "10.00")], "2500"),
        ("10.00", vec![(invoice.as_str(), "0")], "6000"),
        ("10.001", vec![], "2060"),
        ("-1", vec![], "6000"),
    ] {
        let (status, body) = pay(total, &lines).await;
        assert_eq!((status, code(&body)), (400, expected), "{total} {lines:?}");
    }
    let other = company.quickbooks.save(REALM, "Customer", None, r#"{"DisplayName":"Other"}"#).unwrap();
    let strange = company.payment_body("10", &[(&invoice, "10")]);
    let strange = strange.replace(&format!(r#""value":"{}""#, company.customer), &format!(r#""value":"{other}""#));
    assert_eq!(code(&company.post("payment", &strange).await.1), "6000");
    let (_, rest) = pay("150", &[(&invoice, "100.20")]).await;
    assert_eq!(
        (company.balance(&invoice).as_str(), rest["Payment"]["UnappliedAmt"].to_string()),
        ("0.00", "49.8".into())
    );
    assert_eq!(company.quickbooks.payments_for_invoice(REALM, &invoice).len(), 2);

    let delete = format!(r#"{{"Id":"{}","SyncToken":"0"}}"#, paid["Payment"]["Id"].as_str().unwrap());
    let (_, deleted) = company.post("payment?operation=delete", &delete).await;
    assert_eq!(deleted["Payment"]["status"], "Deleted");
    assert_eq!(company.balance(&invoice), "0.10");
    let void = format!(r#"{{"Id":"{}","SyncToken":"0","sparse":true}}"#, rest["Payment"]["Id"].as_str().unwrap());
    let (_, voided) = company.post("payment?operation=update&include=void", &void).await;
    assert_eq!((&voided["Payment"]["PrivateNote"], company.balance(&invoice)), (&"Voided".into(), "100.30".into()));
}

#[tokio::test]
async fn a_void_invoice_asks_for_nothing_and_frees_its_payments() {
    let company = Company::start().await;
    let invoice = company.invoice("40").await;
    let (_, paid) = company.post("payment", &company.payment_body("15", &[(&invoice, "15")])).await;
    let void = format!(r#"{{"Id":"{invoice}","SyncToken":"1"}}"#);
    let (status, voided) = company.post("invoice?operation=void", &void).await;
    assert_eq!((status, voided["Invoice"]["TotalAmt"].to_string()), (200, "0".into()), "{voided}");
    let (_, payment) = company.get(&format!("payment/{}", paid["Payment"]["Id"].as_str().unwrap())).await;
    assert_eq!(payment["Payment"]["UnappliedAmt"].to_string(), "15.0");
}

#[tokio::test]
async fn a_request_id_stands_for_one_effect() {
    let company = Company::start().await;
    let invoice = company.invoice("100").await;
    let body = company.payment_body("25", &[(&invoice, "25")]);
    let first = company.post("payment?requestid=r-1&minorversion=75", &body).await;
    let again = company.post("payment?requestid=r-1", &body).await;
    assert_eq!(first, again);
    assert_eq!((company.quickbooks.effect("payment.created"), company.balance(&invoice)), (1, "75.00".into()));
    assert!(company.quickbooks.requests().last().unwrap().replayed);
    company.post("payment?requestid=r-2", &body).await;
    let duplicates = company.quickbooks.duplicates();
    assert_eq!((duplicates.len(), duplicates[0].kind.as_str(), duplicates[0].ids.len()), (1, "payment", 2));
    // A refusal is not stored: the same id may be used for the corrected request.
    assert_eq!(company.post("payment?requestid=r-3", &company.payment_body("1", &[("999", "1")])).await.0, 400);
    assert_eq!(company.post("payment?requestid=r-3", &body).await.0, 200);
}

#[tokio::test]
async fn document_numbers_are_given_and_kept_apart() {
    let company = Company::start().await;
    let numbered = |number: &str| company.invoice_body("5").replacen('{', &format!(r#"{{"DocNumber":"{number}","#), 1);
    let (_, first) = company.post("invoice", &company.invoice_body("5")).await;
    assert_eq!(first["Invoice"]["DocNumber"], "1001");
    assert_eq!(company.post("invoice", &numbered("1002")).await.0, 200);
    let (_, third) = company.post("invoice", &company.invoice_body("5")).await;
    assert_eq!(third["Invoice"]["DocNumber"], "1003");
    assert_eq!(code(&company.post("invoice", &numbered("1002")).await.1), "6140");
}
