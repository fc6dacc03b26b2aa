//! Refusals in the shapes of Intuit: a `Fault` from the API, `{"error"}` from the OAuth server.
//!
//! **To extend.** A constructor for each code; the text says what QuickBooks says, in our words.

use super::json::Json;
use crate::core::clock::iso_pacific;
use crate::core::front::Answer;

/// Why the API refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    status: u16,
    kind: &'static str,
    pub(crate) code: String,
    message: String,
    detail: String,
    element: String,
}

impl Refusal {
    fn new(code: &str, message: &str, detail: impl Into<String>) -> Self {
        Self {
            status: 400,
            kind: "ValidationFault",
            code: code.to_owned(),
            message: message.to_owned(),
            detail: detail.into(),
            element: String::new(),
        }
    }

    fn at(mut self, element: &str) -> Self {
        element.clone_into(&mut self.element);
        self
    }

    pub(crate) fn unsupported(operation: &str) -> Self {
        Self::new("500", "Unsupported Operation", format!("Operation {operation} is not supported."))
    }

    pub(crate) fn unknown_path(path: &str) -> Self {
        Self { status: 404, ..Self::unsupported(path) }
    }

    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(
            "610",
            "Object Not Found",
            format!("Object Not Found : {what}. It does not exist, or it was deleted or made inactive."),
        )
    }

    pub(crate) fn property(name: &str) -> Self {
        Self::new(
            "2010",
            "Request has invalid or unsupported property",
            format!("Property Name:{name} specified is unsupported or invalid"),
        )
        .at(name)
    }

    pub(crate) fn missing(name: &str) -> Self {
        Self::new(
            "2020",
            "Required param missing, need to supply the required value for the API",
            format!("Required parameter {name} is missing in the request"),
        )
        .at(name)
    }

    pub(crate) fn invalid_id(id: &str) -> Self {
        Self::new("2030", "Invalid ID", format!("Invalid ID : {id}")).at("Id")
    }

    pub(crate) fn string(name: &str, detail: &str) -> Self {
        Self::new("2050", "Invalid String", format!("Property Name:{name} {detail}")).at(name)
    }

    pub(crate) fn number(name: &str, digits: &str) -> Self {
        Self::new("2060", "Invalid Number", format!("Invalid Number : {digits}. It has more than two decimals."))
            .at(name)
    }

    pub(crate) fn enumeration(name: &str, value: &str) -> Self {
        Self::new("2170", "Invalid Enumeration", format!("Invalid Enumeration : {value}")).at(name)
    }

    pub(crate) fn reference(name: &str, id: &str) -> Self {
        Self::new("2500", "Invalid Reference Id", format!("Invalid Reference Id : {name} element id {id} not found"))
            .at(name)
    }

    pub(crate) fn query_syntax(detail: &str) -> Self {
        Self::new("4000", "Error parsing query", format!("QueryParserError: {detail}"))
    }

    pub(crate) fn query(detail: &str) -> Self {
        Self::new("4001", "Invalid query", format!("QueryValidationError: {detail}"))
    }

    pub(crate) fn stale(name: &str) -> Self {
        Self::new(
            "5010",
            "Stale Object Error",
            format!("Stale Object Error : You and another user were working on this {name} at the same time."),
        )
    }

    pub(crate) fn business(detail: &str) -> Self {
        Self::new(
            "6000",
            "A business validation error has occurred while processing your request",
            format!("Business Validation Error: {detail}"),
        )
    }

    pub(crate) fn account_type() -> Self {
        Self::new("6010", "Invalid account type", "An AccountType or an AccountSubType must be specified")
    }

    pub(crate) fn calculation(supplied: &str) -> Self {
        Self::new(
            "6070",
            "Amount calculation incorrect in the request",
            format!("Amount is not equal to UnitPrice * Qty. Supplied value:{supplied}"),
        )
        .at("Line.Amount")
    }

    pub(crate) fn no_name() -> Self {
        Self::new(
            "6080",
            "No name provided",
            "One of DisplayName, Title, GivenName, MiddleName, FamilyName, Suffix is needed",
        )
    }

    pub(crate) fn duplicate_document(number: &str, id: u64) -> Self {
        Self::new(
            "6140",
            "Duplicate Document Number Error",
            format!(
                "Duplicate Document Number Error : DocNumber={number} is assigned to TxnType=Invoice with TxnId={id}"
            ),
        )
    }

    pub(crate) fn duplicate_name() -> Self {
        Self::new(
            "6240",
            "Duplicate Name Exists Error",
            "The name supplied already exists. : Another object is using it.",
        )
    }

    pub(crate) fn unauthenticated(detail: &str) -> Self {
        Self {
            status: 401,
            kind: "AUTHENTICATION",
            ..Self::new("3200", "message=AuthenticationFailed; errorCode=003200; statusCode=401", detail)
        }
    }

    pub(crate) fn forbidden() -> Self {
        let message = "message=ApplicationAuthorizationFailed; errorCode=003100; statusCode=403";
        Self { status: 403, kind: "AUTHORIZATION", ..Self::new("3100", message, "The token is not for this company") }
    }

    pub(crate) fn request(detail: &str) -> Self {
        Self::new("2000", "Invalid request", detail)
    }

    pub(crate) fn media_type() -> Self {
        Self { status: 415, ..Self::new("1050", "Invalid Content Type", "Content-Type: application/json is needed") }
    }

    pub(crate) fn xml_only() -> Self {
        Self::new("1050", "Invalid Accept", "The simulator speaks JSON only: send Accept: application/json")
    }

    /// What a fault puts in place of an answer.
    pub(crate) fn injected(status: u16) -> Self {
        match status {
            401 => Self::unauthenticated("Token expired"),
            403 => Self::forbidden(),
            429 => Self {
                status,
                kind: "SERVICE",
                ..Self::new(
                    "003001",
                    "message=ThrottleExceeded; errorCode=003001; statusCode=429",
                    "The request limit was reached. Try again later",
                )
            },
            500.. => Self {
                status,
                kind: "SystemFault",
                ..Self::new("10000", "An application error has occurred", "System Failure Error")
            },
            _ => Self { status, ..Self::business("The simulator was told to refuse this request.") },
        }
    }

    /// A fault inside an answer that claims success.
    pub(crate) fn inside_success(code: &str, message: &str) -> Self {
        Self { status: 200, ..Self::new(code, message, message) }
    }

    pub(crate) fn json(&self, now: i64) -> Answer {
        let error = Json::object([
            ("Message", self.message.as_str().into()),
            ("Detail", self.detail.as_str().into()),
            ("code", self.code.as_str().into()),
            ("element", self.element.as_str().into()),
        ]);
        let fault = Json::object([("Error", vec![error].into()), ("type", self.kind.into())]);
        let body = Json::object([("Fault", fault), ("time", iso_pacific(now).into())]);
        Answer::new(self.status, "application/json;charset=UTF-8", body.print())
    }

    /// What those get who did not ask for JSON.
    pub(crate) fn xml(&self, now: i64) -> Answer {
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\
             <IntuitResponse xmlns=\"http://schema.intuit.com/finance/v3\" time=\"{time}\">\
             <Fault type=\"{kind}\"><Error code=\"{code}\" element=\"{element}\">\
             <Message>{message}</Message><Detail>{detail}</Detail></Error></Fault></IntuitResponse>",
            time = iso_pacific(now),
            kind = self.kind,
            code = self.code,
            element = escape(&self.element),
            message = escape(&self.message),
            detail = escape(&self.detail),
        );
        Answer::new(self.status, "application/xml;charset=UTF-8", text)
    }

    pub(crate) fn message(&self) -> String {
        format!("{} {}: {}", self.code, self.message, self.detail)
    }
}

/// Text for HTML and XML.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The OAuth server's own shape.
pub(crate) fn oauth_error(status: u16, error: &str, description: &str) -> Answer {
    let body = Json::object([("error", error.into()), ("error_description", description.into())]);
    Answer::new(status, "application/json;charset=UTF-8", body.print()).with("cache-control", "no-store")
}
