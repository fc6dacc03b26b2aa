//! An object as the API shows it: what was stored, and what is computed from the rest of the books.

use rust_decimal::Decimal;

use super::company::{Company, Row};
use super::entity::Entity;
use super::json::{Json, Object};
use crate::core::clock::iso_pacific;

pub(crate) fn render(company: &Company, entity: Entity, row: &Row) -> Json {
    let mut shown = row.body.clone();
    shown.retain(|_, value| *value != Json::Null);
    let mut put = |field: &str, value: Json| {
        shown.insert(field.to_owned(), value);
    };
    put("Id", row.id.to_string().into());
    put("SyncToken", row.token.to_string().into());
    put("domain", "QBO".into());
    put("sparse", false.into());
    put("MetaData", times(row));
    if entity != Entity::Item {
        put("CurrencyRef", Json::reference("USD", Some("United States Dollar")));
    }
    match entity {
        Entity::Customer => {
            put("Active", row.is_active().into());
            put("FullyQualifiedName", row.text("DisplayName").into());
            put("Balance", Json::money(company.owed_by(row.id)));
        }
        Entity::Item | Entity::Account => {
            put("Active", row.is_active().into());
            put("FullyQualifiedName", row.text("Name").into());
        }
        Entity::Invoice => {
            put("TotalAmt", Json::money(row.total));
            put("Balance", Json::money(company.balance(row)));
            put("LinkedTxn", linked_payments(company, row));
        }
        Entity::Payment => {
            let applied: Decimal = company.applied_by(row).into_values().sum();
            put("TotalAmt", Json::money(row.total));
            put("UnappliedAmt", Json::money(row.total - applied));
        }
    }
    name_references(company, &mut shown);
    if entity == Entity::Invoice {
        add_subtotal(&mut shown);
    }
    Json::Object(shown)
}

/// How a feed tells of what is gone.
pub(crate) fn render_deleted(row: &Row) -> Json {
    Json::object([
        ("domain", "QBO".into()),
        ("status", "Deleted".into()),
        ("Id", row.id.to_string().into()),
        ("MetaData", Json::object([("LastUpdatedTime", iso_pacific(row.updated).into())])),
    ])
}

fn times(row: &Row) -> Json {
    Json::object([
        ("CreateTime", iso_pacific(row.created).into()),
        ("LastUpdatedTime", iso_pacific(row.updated).into()),
    ])
}

fn linked_payments(company: &Company, invoice: &Row) -> Json {
    let link = |(payment, _): (u64, Decimal)| {
        Json::object([("TxnId", payment.to_string().into()), ("TxnType", "Payment".into())])
    };
    Json::List(company.payments_of(invoice.id).map(link).collect())
}

fn name_references(company: &Company, shown: &mut Object) {
    let entities = [
        ("CustomerRef", Entity::Customer),
        ("IncomeAccountRef", Entity::Account),
        ("ExpenseAccountRef", Entity::Account),
        ("AssetAccountRef", Entity::Account),
        ("DepositToAccountRef", Entity::Account),
        ("ARAccountRef", Entity::Account),
    ];
    for (field, entity) in entities {
        let Some(id) = shown.get(field).and_then(|reference| reference.get("value")).and_then(Json::text) else {
            continue;
        };
        let row = id.parse().ok().and_then(|id| company.row(entity, id));
        let named = Json::reference(id, row.map(|row| row.text(entity.name_field())));
        shown.insert(field.to_owned(), named);
    }
}

/// QuickBooks ends the lines of an invoice with their sum.
fn add_subtotal(shown: &mut Object) {
    let Some(Json::List(lines)) = shown.get_mut("Line") else {
        return;
    };
    let is_sale = |line: &&Json| line.get("DetailType").and_then(Json::text) == Some("SalesItemLineDetail");
    let amounts = lines.iter().filter(is_sale).filter_map(|line| line.get("Amount")?.decimal());
    let subtotal: Decimal = amounts.sum();
    lines.push(Json::object([
        ("Amount", Json::money(subtotal)),
        ("DetailType", "SubTotalLineDetail".into()),
        ("SubTotalLineDetail", Json::Object(Object::new())),
    ]));
}

pub(crate) fn company_info(company: &Company) -> Json {
    let since = iso_pacific(company.opened);
    let address = Json::object([
        ("Line1", "123 Main Street".into()),
        ("City", "Mountain View".into()),
        ("Country", "USA".into()),
    ]);
    Json::object([
        ("Id", "1".into()),
        ("SyncToken", "0".into()),
        ("domain", "QBO".into()),
        ("sparse", false.into()),
        ("CompanyName", company.name.as_str().into()),
        ("LegalName", company.name.as_str().into()),
        ("CompanyAddr", address),
        ("CompanyStartDate", since.get(..10).unwrap_or_default().into()),
        ("FiscalYearStartMonth", "January".into()),
        ("Country", "US".into()),
        ("SupportedLanguages", "en".into()),
        ("MetaData", Json::object([("CreateTime", since.as_str().into()), ("LastUpdatedTime", since.as_str().into())])),
    ])
}
