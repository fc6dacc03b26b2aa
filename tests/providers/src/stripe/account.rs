//! The account that the key belongs to.

use serde_json::{Value, json};

use super::books::Work;
use super::errors::Refusal;
use super::lists::EXPAND;
use super::params::Param;
use crate::core::ids::Ids;

/// What every retrieval accepts.
pub(crate) const RETRIEVE: &[Param] = &[EXPAND];

pub(crate) fn retrieve(work: &mut Work<'_>) -> Result<Value, Refusal> {
    Ok(work.books.account.clone())
}

pub(crate) fn new_account(ids: &Ids, now: i64) -> Value {
    let requirements = json!({
        "alternatives": [], "current_deadline": null, "currently_due": [], "disabled_reason": null, "errors": [],
        "eventually_due": [], "past_due": [], "pending_verification": [],
    });
    let address =
        json!({ "city": null, "country": "US", "line1": null, "line2": null, "postal_code": null, "state": null });
    let id = format!("acct_{}", ids.letters(16));
    json!({
        "id": id,
        "object": "account",
        "business_profile": {
            "annual_revenue": null, "estimated_worker_count": null, "mcc": "5734",
            "minority_owned_business_designation": null, "name": "Simulated merchant", "product_description": null,
            "support_address": address, "support_email": null, "support_phone": null, "support_url": null, "url": null,
        },
        "business_type": "company",
        "capabilities": { "card_payments": "active", "transfers": "active" },
        "charges_enabled": true,
        "controller": { "type": "account" },
        "country": "US",
        "created": now,
        "default_currency": "usd",
        "details_submitted": true,
        "email": "merchant@example.com",
        "external_accounts": {
            "object": "list", "data": [], "has_more": false, "url": format!("/v1/accounts/{id}/external_accounts"),
        },
        "future_requirements": requirements.clone(),
        "metadata": {},
        "payouts_enabled": true,
        "requirements": requirements,
        "settings": {
            "bacs_debit_payments": { "display_name": null, "service_user_number": null },
            "branding": { "icon": null, "logo": null, "primary_color": null, "secondary_color": null },
            "card_issuing": { "tos_acceptance": { "date": null, "ip": null } },
            "card_payments": {
                "decline_on": { "avs_failure": false, "cvc_failure": true }, "statement_descriptor_prefix": null,
                "statement_descriptor_prefix_kana": null, "statement_descriptor_prefix_kanji": null,
            },
            "dashboard": { "display_name": "Simulated merchant", "timezone": "Etc/UTC" },
            "invoices": { "default_account_tax_ids": null, "hosted_payment_method_save": "offer" },
            "payments": {
                "statement_descriptor": null, "statement_descriptor_kana": null, "statement_descriptor_kanji": null,
                "statement_descriptor_prefix_kana": null, "statement_descriptor_prefix_kanji": null,
            },
            "payouts": {
                "debit_negative_balances": true, "schedule": { "delay_days": 2, "interval": "daily" },
                "statement_descriptor": null,
            },
            "sepa_debit_payments": {},
        },
        "tos_acceptance": { "date": null, "ip": null, "user_agent": null },
        "type": "standard",
    })
}
