//! RFC 9457 problem documents: the one place where an error becomes an answer.
//!
//! Invariant: `code` is stable; `detail` says what to do; nothing internal is in either.

use std::any::Any;

use axum::Json;
use axum::response::{IntoResponse, Response};
use bulkhead_engine::{
    AppError, CallError, ConnectionError, EngineFault, InvalidField, LinkError, PublishError, RouteError,
    WrappingKeyError,
};
use bulkhead_manifest::mask;
use bulkhead_store::StoreError;
use bulkhead_vault::VaultError;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use tokio::task::JoinError;

/// One problem.
#[derive(Debug, Serialize)]
pub(crate) struct Problem {
    status: u16,
    /// Stable, kebab-case.
    code: String,
    detail: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<InvalidField>,
    #[serde(skip)]
    retry_after_s: Option<u64>,
}

/// As it is sent.
#[derive(Serialize)]
struct Document {
    #[serde(rename = "type")]
    kind: String,
    title: String,
    #[serde(flatten)]
    problem: Problem,
}

pub(crate) type Answer<T> = Result<T, Problem>;

impl Problem {
    pub(crate) fn new(status: StatusCode, code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            status: status.as_u16(),
            code: code.into(),
            detail: detail.into(),
            errors: Vec::new(),
            retry_after_s: None,
        }
    }

    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", format!("There is no such {what}."))
    }

    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Every failing field at once.
    pub(crate) fn invalid(errors: Vec<InvalidField>) -> Self {
        let detail = "Some fields are not valid; see `errors`.";
        Self { errors, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-input", detail) }
    }

    /// With the one place that it is about.
    pub(crate) fn at(self, pointer: String, message: String) -> Self {
        Self { errors: vec![InvalidField { pointer, message }], ..self }
    }

    pub(crate) fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after_s: Some(seconds), ..self }
    }

    /// As people may read it: what was refused may stand in the reason.
    fn masked(mut self) -> Self {
        self.detail = mask::text(&self.detail).into_owned();
        for error in &mut self.errors {
            error.message = mask::text(&error.message).into_owned();
            error.pointer = mask::text(&error.pointer).into_owned();
        }
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let wait = self.retry_after_s;
        let kind = format!("urn:bulkhead:problem:{}", self.code);
        let document = Document { kind, title: in_words(&self.code), problem: self.masked() };
        let mut response = (status, Json(document)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = wait {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// `connection-not-active` → `Connection not active`.
fn in_words(code: &str) -> String {
    let spaced = code.replace('-', " ");
    let mut letters = spaced.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

impl From<EngineFault> for Problem {
    fn from(fault: EngineFault) -> Self {
        match &fault {
            EngineFault::Store(StoreError::NotFound { what }) => return Self::not_found(what),
            EngineFault::Store(error) if error.is_retryable() => {
                tracing::warn!(%error, "the store is busy");
                let detail = "The store is busy. Try again in a moment.";
                return Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail).retry_after(1);
            }
            EngineFault::Vault(
                error @ (VaultError::ProviderUnavailable { .. } | VaultError::ProviderRefused { .. }),
            ) => {
                tracing::error!(%error, "no secret can be opened");
                let detail = "The service that guards this host's keys does not answer, or refuses. Try again in a moment; \
                              the host's log says more to its operator.";
                return Self::new(StatusCode::SERVICE_UNAVAILABLE, "keys-unavailable", detail).retry_after(10);
            }
            EngineFault::Busy { retry_after_ms } => {
                let detail = "The host is full. Try again in a moment.";
                let seconds = retry_after_ms.div_ceil(1_000).max(1);
                return Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail).retry_after(seconds);
            }
            EngineFault::NoMapping { .. } => {
                tracing::error!(error = %fault, "a mapping could not be evaluated");
                let detail = "This host has no component that evaluates mappings. Its operator sets `jq_component`, or puts jq.wasm \
                              into `data_dir`: `bulkhead build connectors/jq` makes it, in target/connectors.";
                return Self::new(StatusCode::SERVICE_UNAVAILABLE, "no-mapping", detail);
            }
            _ => {}
        }
        tracing::error!(error = %fault, "a request met a fault of the host");
        let detail = "The host could not do this. Give its operator the `x-request-id` of this answer.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Taken { what } => {
                Self::new(StatusCode::CONFLICT, "taken", format!("A {what} like this exists already."))
            }
            other => EngineFault::from(other).into(),
        }
    }
}

impl From<CallError> for Problem {
    fn from(error: CallError) -> Self {
        let detail = error.to_string();
        match error {
            CallError::NotFound { what } => Self::not_found(what),
            CallError::Unknown { .. } => Self::new(StatusCode::NOT_FOUND, "unknown-operation", detail),
            CallError::Invalid(errors) => Self::invalid(errors),
            CallError::NotActive { .. } => Self::new(StatusCode::CONFLICT, "connection-not-active", detail),
            CallError::KeyReused => Self::new(StatusCode::CONFLICT, "idempotency-key-reused", detail),
            CallError::WrongState { .. } => Self::new(StatusCode::CONFLICT, "wrong-state", detail),
            CallError::ExternalNeeded { .. } => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "external-needed", detail),
            CallError::NoCheck { .. } => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "no-check", detail),
            CallError::NoPush => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "no-push", detail),
            CallError::LinkConflict(_) => Self::new(StatusCode::CONFLICT, "linked-already", detail),
            CallError::Fault(fault) => fault.into(),
        }
    }
}

impl From<LinkError> for Problem {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Conflict(_) => Self::new(StatusCode::CONFLICT, "linked-already", error.to_string()),
            LinkError::Call(error) => error.into(),
        }
    }
}

impl From<ConnectionError> for Problem {
    fn from(error: ConnectionError) -> Self {
        let detail = error.to_string();
        let unprocessable = |code: &str| Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail.clone());
        match error {
            ConnectionError::NotFound => Self::not_found("connection"),
            ConnectionError::UnknownConnector { .. } => unprocessable("unknown-connector"),
            ConnectionError::UnknownVersion { .. } => unprocessable("unknown-version"),
            ConnectionError::UnknownApp => unprocessable("unknown-app"),
            ConnectionError::NeedsApp { .. } => unprocessable("app-needed"),
            ConnectionError::UnknownEnvironment { given, .. } => {
                let pointer = "/environment".to_owned();
                let errors = given.then(|| InvalidField { pointer, message: detail.clone() }).into_iter().collect();
                Self { errors, ..unprocessable("unknown-environment") }
            }
            ConnectionError::Invalid(errors) => Self::invalid(errors),
            ConnectionError::NotByFields { .. } => Self::new(StatusCode::CONFLICT, "not-by-fields", detail),
            ConnectionError::NotAccepted(_) => unprocessable("credential-not-accepted"),
            ConnectionError::NotChecked(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "not-checked", detail).retry_after(1)
            }
            ConnectionError::AlreadyConnected { .. } => Self::new(StatusCode::CONFLICT, "already-connected", detail),
            ConnectionError::NotPinned { .. } => Self::new(StatusCode::CONFLICT, "not-pinned", detail),
            ConnectionError::Overtaken => Self::new(StatusCode::CONFLICT, "overtaken", detail),
            ConnectionError::Disconnected => Self::new(StatusCode::CONFLICT, "disconnected", detail),
            ConnectionError::OtherAccount { .. } => Self::new(StatusCode::CONFLICT, "other-account", detail),
            ConnectionError::Fault(fault) => fault.into(),
        }
    }
}

impl From<AppError> for Problem {
    fn from(error: AppError) -> Self {
        let detail = error.to_string();
        match error {
            AppError::NotFound => Self::not_found("app"),
            AppError::UnknownConnector { .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "unknown-connector", detail)
            }
            AppError::UnknownVersion { .. } => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "unknown-version", detail),
            AppError::NotNeeded { .. } => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "app-not-needed", detail),
            AppError::NeedsClient { .. } => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "client-needed", detail),
            AppError::Fault(fault) => fault.into(),
        }
    }
}

impl From<WrappingKeyError> for Problem {
    fn from(error: WrappingKeyError) -> Self {
        let detail = format!("{error}.");
        match error {
            WrappingKeyError::NotFound => Self::not_found("wrapping key"),
            WrappingKeyError::Coming { .. } => Self::new(StatusCode::CONFLICT, "key-coming", detail),
            WrappingKeyError::Active { .. } => Self::new(StatusCode::CONFLICT, "key-active", detail),
            WrappingKeyError::TooSoon { .. } => Self::new(StatusCode::CONFLICT, "key-too-young", detail),
            WrappingKeyError::InUse { .. } => Self::new(StatusCode::CONFLICT, "key-in-use", detail),
            WrappingKeyError::Fault(fault) => fault.into(),
        }
    }
}

impl From<RouteError> for Problem {
    fn from(error: RouteError) -> Self {
        let detail = error.to_string();
        let unprocessable = |code: &str| Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail.clone());
        match error {
            RouteError::NotFound { what } => Self::not_found(what),
            RouteError::Disconnected { .. } => Self::new(StatusCode::CONFLICT, "disconnected", detail),
            RouteError::NoSteps => unprocessable("no-steps"),
            RouteError::TooManySteps { .. } => unprocessable("too-many-steps"),
            RouteError::LargeMappings { .. } => unprocessable("mappings-too-large"),
            RouteError::TooManyRoutes { .. } => Self::new(StatusCode::CONFLICT, "too-many-routes", detail),
            RouteError::UnknownEvent { .. } => unprocessable("unknown-event"),
            RouteError::UnknownAction { .. } => unprocessable("unknown-action"),
            RouteError::Mapping { .. } => unprocessable("mapping"),
            RouteError::Fault(fault) => fault.into(),
        }
    }
}

impl From<PublishError> for Problem {
    fn from(error: PublishError) -> Self {
        let detail = error.to_string();
        let unprocessable = |code: &str| Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail.clone());
        match error {
            PublishError::Upload(error) if error.code() == "component-too-large" => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, error.code(), detail)
            }
            PublishError::Upload(error) => unprocessable(error.code()),
            PublishError::Manifest(error) => {
                let field = |problem: &bulkhead_manifest::Problem| InvalidField {
                    pointer: format!("connector.toml:{}:{}", problem.line, problem.column),
                    message: problem.message.clone(),
                };
                let errors = error.problems().map(field).collect();
                Self { errors, ..unprocessable("invalid-manifest") }
            }
            PublishError::Compile(error) => match error.retry_after_ms() {
                Some(ms) => Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail).retry_after(ms.div_ceil(1_000)),
                None => unprocessable("does-not-compile"),
            },
            PublishError::Load(_) => unprocessable("does-not-load"),
            PublishError::Mismatch { .. } => unprocessable("exports-mismatch"),
            PublishError::Describe(stop) => unprocessable(&format!("describe-{}", stop.code())),
            PublishError::Descriptor(_) => unprocessable("invalid-descriptor"),
            PublishError::Schema { .. } => unprocessable("invalid-schema"),
            PublishError::VersionExists { .. } => Self::new(StatusCode::CONFLICT, "version-exists", detail),
            PublishError::Fault(fault) => fault.into(),
        }
    }
}

pub(crate) async fn no_such_path() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no-such-path", "Nothing is at this path.")
}

pub(crate) async fn no_such_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "no-such-method", "This path does not take this method; see `Allow`.")
}

/// A task of a handler's ended without an outcome: it broke, as if the handler had, or the host ends.
pub(crate) fn of_task(ended: JoinError) -> Problem {
    match ended.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "The host is about to end.").retry_after(1),
    }
}

/// A handler broke. What it said is ours alone.
pub(crate) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let said =
        panic.downcast_ref::<&str>().copied().map(str::to_owned).or_else(|| panic.downcast_ref::<String>().cloned());
    tracing::error!(panic = said.as_deref().unwrap_or("without words"), "a handler broke");
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "The host could not do this. Give its operator the `x-request-id` of this answer.",
    )
    .into_response()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bulkhead_engine::CompileError;

    use super::*;

    /// Mutation: `into_response`, without `masked`; `masked`, without any of its parts.
    #[tokio::test]
    async fn what_a_client_is_told_is_masked() {
        let said = || "4242424242424242".to_owned();
        let problem =
            Problem { detail: said(), ..Problem::invalid(vec![InvalidField { pointer: said(), message: said() }]) };
        let body = axum::body::to_bytes(problem.into_response().into_body(), 10_000).await.unwrap();
        let shown = String::from_utf8(body.to_vec()).unwrap();
        assert_eq!((shown.matches("[card number 4242]").count(), shown.contains(&said())), (3, false), "{shown}");
    }

    /// Mutations: any of these without its `retry_after`; `into_response`, without the header.
    #[tokio::test]
    async fn who_comes_at_a_bad_moment_hears_when_to_come_again() {
        let task = tokio::spawn(std::future::pending::<()>());
        task.abort();
        let store = StoreError::Busy { waited_ms: 1 };
        let service = VaultError::ProviderUnavailable { reason: "gone".to_owned() };
        for (problem, seconds) in [
            (Problem::from(EngineFault::Store(store)), "1"),
            (Problem::from(EngineFault::Vault(service)), "10"),
            (Problem::from(EngineFault::Busy { retry_after_ms: 1_001 }), "2"),
            (Problem::from(EngineFault::Busy { retry_after_ms: 0 }), "1"),
            (Problem::from(ConnectionError::NotChecked(String::new())), "1"),
            (Problem::from(PublishError::Compile(CompileError::Busy { retry_after_ms: 2_001 })), "3"),
            (Problem::from(PublishError::Compile(CompileError::Starved { retry_after_ms: 3_001 })), "4"),
            (of_task(task.await.unwrap_err()), "1"),
        ] {
            let response = problem.into_response();
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(response.headers()[header::RETRY_AFTER], seconds);
        }
    }

    /// Mutation: `From<EngineFault>`, the fault's own text as `detail`.
    #[test]
    fn what_is_wrong_with_the_host_is_not_told_to_a_client() {
        let fault = EngineFault::Damaged { what: "a connection's account", problem: "EOF at column 7".to_owned() };
        let problem = Problem::from(fault);
        assert_eq!((problem.status, problem.code.as_str()), (500, "internal"));
        let shown = serde_json::to_string(&problem).unwrap();
        assert!(!shown.contains("account") && !shown.contains("column"), "{shown}");
    }
}
