//! A company in QuickBooks, worked on as an application would.

use simulated_providers::{QuickBooks, QuickBooksConfig};

use crate::{Reply, reply};

pub(crate) const REALM: &str = "4620816365000000001";

/// A company with a customer, and the means to work on it.
pub(crate) struct Company {
    pub(crate) quickbooks: QuickBooks,
    pub(crate) token: String,
    pub(crate) customer: String,
}

impl Company {
    pub(crate) async fn start() -> Self {
        let quickbooks = QuickBooks::start(QuickBooksConfig::default()).await;
        let token = quickbooks.issue_tokens(REALM).access_token;
        let customer = quickbooks.save(REALM, "Customer", None, r#"{"DisplayName":"Acme"}"#).unwrap();
        Self { quickbooks, token, customer }
    }

    pub(crate) fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        let url = format!("{}/v3/company/{REALM}/{path}", self.quickbooks.url());
        let request = reqwest::Client::new().request(method, url).bearer_auth(&self.token);
        request.header("accept", "application/json")
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Reply {
        let request = self.request(reqwest::Method::POST, path).header("content-type", "application/json");
        reply(request.body(body.to_owned()).send().await.unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        reply(self.request(reqwest::Method::GET, path).send().await.unwrap()).await
    }

    pub(crate) async fn query(&self, query: &str) -> Reply {
        let query = serde_urlencoded::to_string([("query", query)]).unwrap();
        self.get(&format!("query?{query}")).await
    }

    /// An invoice of one line. Gives its id.
    pub(crate) async fn invoice(&self, amount: &str) -> String {
        let (status, body) = self.post("invoice", &self.invoice_body(amount)).await;
        assert_eq!(status, 200, "{body}");
        body["Invoice"]["Id"].as_str().unwrap().to_owned()
    }

    pub(crate) fn invoice_body(&self, amount: &str) -> String {
        format!(
            r#"{{"CustomerRef":{{"value":"{}"}},"Line":[{{"Amount":{amount},"DetailType":"SalesItemLineDetail",
            "SalesItemLineDetail":{{"ItemRef":{{"value":"1"}},"Qty":1,"UnitPrice":{amount}}}}}]}}"#,
            self.customer
        )
    }

    pub(crate) fn payment_body(&self, total: &str, lines: &[(&str, &str)]) -> String {
        let line = |(invoice, amount): &(&str, &str)| {
            format!(r#"{{"Amount":{amount},"LinkedTxn":[{{"TxnId":"{invoice}","TxnType":"Invoice"}}]}}"#)
        };
        let lines: Vec<String> = lines.iter().map(line).collect();
        let customer = &self.customer;
        format!(r#"{{"CustomerRef":{{"value":"{customer}"}},"TotalAmt":{total},"Line":[{}]}}"#, lines.join(","))
    }

    /// The balance of an invoice, to the cent.
    pub(crate) fn balance(&self, invoice: &str) -> String {
        format!("{:.2}", self.quickbooks.invoice_balance(REALM, invoice).unwrap())
    }
}
