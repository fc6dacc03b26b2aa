//! Whose key is it, and is it of the kind this connection is for?

use bulkhead_sdk::prelude::*;

use crate::{api, webhook::mode};

#[derive(Deserialize)]
struct Account {
    id: String,
    email: Option<String>,
    country: Option<String>,
    default_currency: Option<String>,
    charges_enabled: Option<bool>,
    business_profile: Option<BusinessProfile>,
    settings: Option<Settings>,
}

#[derive(Deserialize)]
struct BusinessProfile {
    name: Option<String>,
}

#[derive(Deserialize)]
struct Settings {
    dashboard: Option<Dashboard>,
}

#[derive(Deserialize)]
struct Dashboard {
    display_name: Option<String>,
}

#[derive(Deserialize)]
struct Balance {
    livemode: bool,
}

pub(crate) fn check() -> Result<Identity, Failure> {
    let account: Account = api::call(api::get("/v1/account"))?;
    let livemode = livemode()?;
    Ok(Identity::new(&account.id, label(&account)).details(json!({
        "country": account.country,
        "default_currency": account.default_currency.as_deref().map(crate::money::currency),
        "charges_enabled": account.charges_enabled,
        "livemode": livemode,
    })))
}

/// An account does not say whether the key is a live one; the balance does. A restricted key may not be allowed to
/// read it: then the first payment tells.
fn livemode() -> Result<Option<bool>, Failure> {
    use FailureKind::{RateLimited, Unauthorized, Unavailable};
    match api::call::<Balance>(api::get("/v1/balance")) {
        Ok(balance) => mode::agree(balance.livemode, "The API key").map(|()| Some(balance.livemode)),
        Err(failure) if matches!(failure.kind, RateLimited | Unauthorized | Unavailable) => Err(failure),
        Err(_) => Ok(None),
    }
}

fn label(account: &Account) -> String {
    let dashboard = account.settings.as_ref().and_then(|settings| settings.dashboard.as_ref());
    let names = [
        dashboard.and_then(|dashboard| dashboard.display_name.as_deref()),
        account.business_profile.as_ref().and_then(|profile| profile.name.as_deref()),
        account.email.as_deref(),
    ];
    names.into_iter().flatten().find(|name| !name.trim().is_empty()).unwrap_or(&account.id).to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;
    use crate::Stripe;
    use bulkhead_sdk::testing::{self, Answer, Host};

    fn account() -> Value {
        json!({"id": "acct_1", "object": "account", "email": "site@example.com", "country": "US", "default_currency": "usd",
            "charges_enabled": true, "settings": {"dashboard": {"display_name": "Rocket Rides"}}})
    }

    #[test]
    fn the_identity_is_the_account_and_its_display_name() {
        let host = Host::start();
        host.variable("livemode", "false");
        host.answer(Answer::json(200, account()));
        host.answer(Answer::json(200, json!({"object": "balance", "livemode": false})));
        let identity = testing::check::<Stripe>().unwrap();
        assert_eq!((identity.id.as_str(), identity.label.as_str()), ("acct_1", "Rocket Rides"));
        assert_eq!(identity.details["default_currency"], "USD");
        let sent = host.requests();
        assert_eq!((sent[0].method.as_str(), sent[0].url.as_str()), ("GET", "https://api.stripe.com/v1/account"));
        assert_eq!(sent[0].header("Stripe-Version"), Some("2026-10-28.endive"));
        assert_eq!(sent[0].header("Authorization"), None, "the host adds it");
    }

    #[test]
    fn a_live_key_in_a_sandbox_connection_is_refused_in_words() {
        let host = Host::start();
        host.variable("livemode", "false");
        host.answer(Answer::json(200, account()));
        host.answer(Answer::json(200, json!({"livemode": true})));
        let failure = testing::check::<Stripe>().unwrap_err();
        assert_eq!(failure.kind, FailureKind::Rejected);
        assert_eq!(
            failure.message,
            "The API key is of Stripe's live mode, but this connection is for the sandbox. Use a test key here, or a production connection."
        );
    }

    #[test]
    fn a_restricted_key_that_may_not_read_the_balance_still_works() {
        let host = Host::start();
        host.variable("livemode", "true");
        host.answer(Answer::json(200, json!({"id": "acct_2"})));
        host.answer(Answer::json(403, json!({"error": {"type": "invalid_request_error", "message": "No."}})));
        let identity = testing::check::<Stripe>().unwrap();
        assert_eq!(identity.label, "acct_2", "an account without a name is called by its id");
        assert_eq!(identity.details["livemode"], Value::Null);
    }

    #[test]
    fn a_dead_key_asks_for_a_new_one() {
        let host = Host::start();
        host.answer(Answer::json(401, json!({"error": {"type": "invalid_request_error", "message": "Invalid API Key provided: sk_test_****1234"}})));
        let failure = testing::check::<Stripe>().unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unauthorized);
        assert!(!failure.message.contains("sk_test"), "not even a masked key is repeated");
    }
}
