//! The company this connection is for, as the beginning of every URL.

use bulkhead_sdk::prelude::*;

pub(crate) struct Company {
    pub(crate) realm: String,
    base: String,
}

/// What the host knows of the account: what the authorization's callback said, and what `check` answered.
#[derive(Deserialize)]
struct Account {
    #[serde(rename = "realmId")]
    realm: Option<String>,
    id: Option<String>,
}

impl Company {
    pub(crate) fn connected() -> Result<Company, Failure> {
        let account: Option<Account> = context::account()?;
        let realm = account.and_then(|account| account.realm.or(account.id)).filter(|realm| is_realm(realm));
        let Some(realm) = realm else {
            return Err(Failure::unauthorized(
                "This connection does not know its QuickBooks company. Connect it again.",
            ));
        };
        let host = context::variable("api_host")?;
        let base = format!("https://{host}/v3/company/{realm}");
        Ok(Company { realm, base })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.base)
    }
}

fn is_realm(text: &str) -> bool {
    !text.is_empty() && text.len() <= 32 && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use bulkhead_sdk::testing::Host;

    #[test]
    fn the_company_comes_from_the_authorization_or_from_a_check() {
        for account in [json!({"realmId": "4620816365"}), json!({"id": "4620816365", "label": "Acme"})] {
            let host = Host::start();
            host.variable("api_host", "sandbox-quickbooks.api.intuit.com");
            host.account(account);
            let url = Company::connected().unwrap().url("customer");
            assert_eq!(url, "https://sandbox-quickbooks.api.intuit.com/v3/company/4620816365/customer");
        }
    }

    #[test]
    fn without_a_company_the_connection_asks_to_be_connected() {
        for account in [json!({}), json!({"realmId": "../1"}), json!({"realmId": ""})] {
            let host = Host::start();
            host.variable("api_host", "quickbooks.api.intuit.com");
            host.account(account);
            assert_eq!(Company::connected().err().unwrap().kind, FailureKind::Unauthorized);
        }
    }
}
