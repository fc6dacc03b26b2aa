//! QuickBooks' codes: what each means for a run, and what a person does about it.
//!
//! To add one: a line in [`KNOWN`].

use bulkhead_sdk::prelude::*;

/// One code.
pub(crate) struct Known {
    code: &'static str,
    pub(crate) kind: FailureKind,
    pub(crate) advice: &'static str,
}

const fn row(code: &'static str, kind: FailureKind, advice: &'static str) -> Known {
    Known { code, kind, advice }
}

/// From QuickBooks' page on common errors, and from the gateway in front of it.
static KNOWN: [Known; 23] = [
    row(
        "120",
        FailureKind::Unauthorized,
        "The person who connected QuickBooks may no longer use this company. Have an administrator of the company connect it again.",
    ),
    row("3200", FailureKind::Unauthorized, "QuickBooks no longer accepts this connection. Connect it again."),
    row(
        "3100",
        FailureKind::Forbidden,
        "This app may not use the company. Have an administrator of the company connect it again.",
    ),
    row("3001", FailureKind::RateLimited, "QuickBooks asks for fewer requests. This is tried again by itself."),
    row(
        "610",
        FailureKind::NotFound,
        "This was deleted or made inactive in QuickBooks. Make it active there, or map another one.",
    ),
    row(
        "2500",
        FailureKind::InvalidInput,
        "Something named here (a customer, an item, an account) is not in QuickBooks or is inactive. Map another one, or make it active there.",
    ),
    row("2010", FailureKind::InvalidInput, "QuickBooks does not know one of the fields."),
    row("2020", FailureKind::InvalidInput, "Something that QuickBooks needs is missing. Fill it in."),
    row("2050", FailureKind::InvalidInput, "A text is longer or shorter than QuickBooks allows. Change its length."),
    row("2170", FailureKind::InvalidInput, "A value is not one of those that QuickBooks knows. Choose another one."),
    row("4000", FailureKind::InvalidInput, "QuickBooks does not understand the search. Change its fields or values."),
    row("4001", FailureKind::InvalidInput, "QuickBooks does not know a field of the search. Use another one."),
    row(
        "5010",
        FailureKind::Conflict,
        "Somebody changed this in QuickBooks meanwhile. Read it again and repeat the change.",
    ),
    row(
        "5020",
        FailureKind::Forbidden,
        "The company's QuickBooks plan does not include this, or the user who connected may not do it.",
    ),
    row("5030", FailureKind::Unsupported, "QuickBooks does not support this."),
    row("6000", FailureKind::Rejected, "A rule of QuickBooks forbids this. Correct it as it says."),
    row(
        "6070",
        FailureKind::InvalidInput,
        "A line's amount is not its quantity times its unit price. Correct the line.",
    ),
    row("6080", FailureKind::InvalidInput, "A customer needs a name. Fill it in."),
    row(
        "6140",
        FailureKind::Conflict,
        "This document number is used already. Use another number, or map the document that has it.",
    ),
    row(
        "6190",
        FailureKind::Forbidden,
        "The company's QuickBooks subscription has ended or was not paid. Renew it in QuickBooks, then try again.",
    ),
    row(
        "6210",
        FailureKind::Rejected,
        "The books are closed for this date. Use a later date, or have an administrator reopen the period in QuickBooks.",
    ),
    row(
        "6240",
        FailureKind::Conflict,
        "This name is used already: customers, vendors and employees share their names. Use another name, or map the one that exists.",
    ),
    row(
        "6540",
        FailureKind::Rejected,
        "This is part of a bank deposit. Take it out of the deposit in QuickBooks first.",
    ),
];

pub(crate) fn known(code: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.code == code)
}

/// Where in our input the thing stands that QuickBooks calls by this name.
pub(crate) fn field(element: &str) -> Option<&'static str> {
    let name = element.rsplit(['.', ':']).next().unwrap_or(element);
    Some(match name {
        "DisplayName" => "/display_name",
        "GivenName" => "/given_name",
        "FamilyName" => "/family_name",
        "CompanyName" => "/company_name",
        "PrimaryEmailAddr" => "/email",
        "PrimaryPhone" => "/phone",
        "Notes" => "/notes",
        "CustomerRef" => "/customer",
        "CurrencyRef" => "/currency",
        "DocNumber" => "/number",
        "TxnDate" => "/date",
        "DueDate" => "/due_date",
        "Line" => "/lines",
        "BillEmail" => "/email",
        "TotalAmt" => "/amount",
        "TxnId" | "LinkedTxn" => "/invoice",
        _ => return None,
    })
}
