//! Which company is it?

use bulkhead_sdk::prelude::*;

use crate::api;
use crate::company::Company;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CompanyInfo {
    company_name: Option<String>,
    legal_name: Option<String>,
    country: Option<String>,
}

/// The realm is the account's id: it is what tokens and webhooks are for.
pub(crate) fn check() -> Result<Identity, Failure> {
    let company = Company::connected()?;
    let info: CompanyInfo = api::read(&company, "companyinfo", &company.realm)?;
    let label = [&info.company_name, &info.legal_name].into_iter().flatten().find(|name| !name.trim().is_empty());
    let label = label.cloned().unwrap_or_else(|| format!("QuickBooks company {}", company.realm));
    Ok(Identity::new(&company.realm, label).details(json!({
        "realmId": company.realm,
        "legal_name": info.legal_name,
        "country": info.country,
    })))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::QuickBooks;
    use bulkhead_sdk::testing::{self, Answer, Host};

    #[test]
    fn the_identity_is_the_realm_and_the_companys_name() {
        let host = Host::start();
        host.variable("api_host", "quickbooks.api.intuit.com");
        host.account(json!({"realmId": "4620816365"}));
        host.answer(Answer::json(200, json!({"CompanyInfo": {"CompanyName": "Acme Ltd", "LegalName": "Acme Limited", "Country": "GB", "Id": "1"}, "time": "2026-01-01T00:00:00-08:00"})));
        let identity = testing::check::<QuickBooks>().unwrap();
        assert_eq!((identity.id.as_str(), identity.label.as_str()), ("4620816365", "Acme Ltd"));
        let sent = host.requests();
        assert_eq!(
            (sent[0].method.as_str(), sent[0].url.as_str()),
            ("GET", "https://quickbooks.api.intuit.com/v3/company/4620816365/companyinfo/4620816365?minorversion=75")
        );
        assert_eq!(sent[0].header("Accept"), Some("application/json"));
        assert_eq!(sent[0].header("Authorization"), None, "the host adds it");
    }

    #[test]
    fn a_company_without_a_name_is_called_by_its_realm() {
        let host = Host::start();
        host.variable("api_host", "quickbooks.api.intuit.com");
        host.account(json!({"realmId": "7"}));
        host.answer(Answer::json(200, json!({"CompanyInfo": {}})));
        assert_eq!(testing::check::<QuickBooks>().unwrap().label, "QuickBooks company 7");
    }
}
