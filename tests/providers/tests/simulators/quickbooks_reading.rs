//! Queries and the change feed.

use crate::code;
use crate::company::{Company, REALM};

#[tokio::test]
async fn queries_find_what_they_ask_for() {
    let company = Company::start().await;
    for name in ["Bolt", "O'Neil", "Acorn"] {
        company.quickbooks.save(REALM, "Customer", None, &format!(r#"{{"DisplayName":"{name}"}}"#)).unwrap();
    }
    let invoice = company.invoice("80").await;
    company.invoice("20").await;
    company.post("payment", &company.payment_body("80", &[(&invoice, "80")])).await;
    for (query, expected) in [
        ("select * from Customer", "Acme Bolt O'Neil Acorn"),
        ("select * from Customer where DisplayName = 'O\\'Neil'", "O'Neil"),
        ("select * from Customer where DisplayName like 'ac%' orderby DisplayName desc", "Acorn Acme"),
        ("select * from Customer where DisplayName in ('Bolt','acme')", "Acme Bolt"),
        ("select * from Customer startposition 2 maxresults 2", "Bolt O'Neil"),
        ("SELECT * FROM customer WHERE Balance > '0' AND Active = true", "Acme"),
        ("select * from Customer where MetaData.LastUpdatedTime < '2020-01-01T00:00:00-08:00'", ""),
    ] {
        let (status, body) = company.query(query).await;
        let found = body["QueryResponse"]["Customer"].as_array().cloned().unwrap_or_default();
        let names: Vec<&str> = found.iter().map(|row| row["DisplayName"].as_str().unwrap()).collect();
        assert_eq!((status, names.join(" ").as_str()), (200, expected), "{query}");
    }
    let (_, none) = company.query("select * from Payment where TotalAmt = 81").await;
    assert_eq!(none["QueryResponse"].to_string(), "{}");
    let (_, count) = company.query("select count(*) from Invoice where Balance = '0'").await;
    assert_eq!(count["QueryResponse"]["totalCount"], 1);
    let (_, info) = company.query("select * from CompanyInfo").await;
    assert_eq!(info["QueryResponse"]["CompanyInfo"][0]["Country"], "US");
}

#[tokio::test]
async fn queries_outside_the_language_are_refused() {
    let company = Company::start().await;
    for (query, expected) in [
        ("select * from Customer where Notes = 'x'", "4001"),
        ("select * from Vendor", "4001"),
        ("select * from Invoice where TotalAmt like '8%'", "4001"),
        ("select * from Customer where Id = 'a' or Id = 'b'", "4000"),
    ] {
        assert_eq!(code(&company.query(query).await.1), expected, "{query}");
    }
}

#[tokio::test]
async fn the_feed_tells_of_changes_and_deletions() {
    let company = Company::start().await;
    let kept = company.invoice("80").await;
    let gone = company.invoice("20").await;
    company.post("invoice?operation=delete", &format!(r#"{{"Id":"{gone}","SyncToken":"0"}}"#)).await;
    let since = recent(&company).await;
    let (_, body) = company.get(&format!("cdc?entities=Invoice,Payment&changedSince={since}")).await;
    let invoices = body.pointer("/CDCResponse/0/QueryResponse/0/Invoice").unwrap();
    let seen: Vec<(&str, Option<&str>)> =
        invoices.as_array().unwrap().iter().map(|row| (row["Id"].as_str().unwrap(), row["status"].as_str())).collect();
    assert_eq!(seen, [(kept.as_str(), None), (gone.as_str(), Some("Deleted"))]);
    assert_eq!(body.pointer("/CDCResponse/0/QueryResponse/1").unwrap().to_string(), "{}");
    for query in
        ["entities=Invoice", "entities=Vendor&changedSince=2026-11-01", "entities=Invoice&changedSince=2001-01-01"]
    {
        assert_eq!(company.get(&format!("cdc?{query}")).await.0, 400, "{query}");
    }
}

/// The time at which the customer was made, as the API shows it.
async fn recent(company: &Company) -> String {
    let (_, body) = company.get(&format!("customer/{}", company.customer)).await;
    body["Customer"]["MetaData"]["CreateTime"].as_str().unwrap().to_owned()
}
