//! Authorizing a connection: what somebody gave is tried out first; then everything that follows from it is true at once.
//!
//! Invariants:
//! - A connection is `active` only after the host itself saw that its credential works (a check, or an authenticated
//!   call), and its account id comes from there.
//! - What is refused leaves the connection and the credential it has as they are.
//! - A connection belongs to one account for good: its links and records are that account's. One that was disconnected
//!   stays so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bulkhead_manifest::{
    Auth, AuthField, AwsSigv4, ConnectionId, JwtSubject, Manifest, Placement, RunId, Template, TenantId,
};
use bulkhead_runtime::Identity;
use bulkhead_store::{Account, Connection, ConnectionStatus, Owner};
use bulkhead_vault::{CredentialFields, Secret};
use serde_json::{Map, Value};

use super::{ConnectionError, ConnectionView};
use crate::Engine;
use crate::carried::patiently;
use crate::credentials::{AUTHORIZATION, Meta, Shelf, USUAL_OVERLAP_MS, WEBHOOK_SECRET, with_tokens};
use crate::fault::stored;
use crate::oauth::OAuthError;
use crate::schema::{InvalidField, Schema, in_pointer, said};

/// Bytes of one field: more fits in no header, and each answer is searched for it.
const LONGEST_FIELD: usize = 16 << 10;

/// What authorizes a connection, not yet tried.
#[derive(Default)]
pub(crate) struct Given {
    /// Empty where the connector needs none.
    pub credential: Arc<CredentialFields>,
    pub meta: Meta,
    /// What authorization itself said of the account; its `id` the host learned itself.
    pub account: Map<String, Value>,
    pub webhook_secret: Option<Secret>,
}

impl Engine {
    /// Authorizes by what the tenant filled in (API key, user and password, nothing at all), after checking it. `second`:
    /// also to an account that the tenant has connected already.
    pub async fn authorize_with_fields(
        &self,
        tenant: TenantId,
        connection: ConnectionId,
        fields: BTreeMap<String, Secret>,
        webhook_secret: Option<Secret>,
        second: bool,
    ) -> Result<ConnectionView, ConnectionError> {
        let row = self.connection_row(tenant, connection).await?;
        let given = self.filled_in(&row, fields, webhook_secret).await?;
        self.authorize(&row, &given, second).await?;
        self.connection(tenant, connection).await
    }

    /// What authorizes by fields, where they are what the connector asks for.
    pub(crate) async fn filled_in(
        &self,
        row: &Connection,
        fields: BTreeMap<String, Secret>,
        webhook_secret: Option<Secret>,
    ) -> Result<Given, ConnectionError> {
        let known = self.version(row.version).await?;
        let wanted = fillable(&known.manifest.auth)?;
        let (in_lines, in_headers) = (in_lines(&known.manifest.auth), in_headers(&known.manifest));
        let check = move || (invalid_fields(&wanted, in_lines, &in_headers, &fields), fields);
        let (invalid, fields) = self.inner.checks.run(row.tenant, check).await?;
        if !invalid.is_empty() {
            return Err(ConnectionError::Invalid(invalid));
        }
        refuse_unfit(webhook_secret.as_ref(), "/webhook_secret")?;
        let fields: CredentialFields = fields.into_iter().collect();
        let (credential, meta) = if known.manifest.auth.mints() {
            self.with_first_token(row, fields).await?
        } else {
            (fields, Meta::default())
        };
        Ok(Given { credential: Arc::new(credential), meta, webhook_secret, ..Given::default() })
    }

    /// What was filled in, and the first token that is got with it: where there is none, nothing is stored.
    async fn with_first_token(
        &self,
        row: &Connection,
        fields: CredentialFields,
    ) -> Result<(CredentialFields, Meta), ConnectionError> {
        let tokens = self.minted(row, &fields).await.map_err(|error| match error {
            OAuthError::InvalidGrant(said) | OAuthError::Refused(said) => {
                ConnectionError::NotAccepted(format!("the provider gives no token for it: {said}"))
            }
            OAuthError::BadApp(problem) => ConnectionError::NotAccepted(problem),
            OAuthError::Fault(fault) => (*fault).into(),
            OAuthError::Unreachable(_) | OAuthError::Answered(_) | OAuthError::Unreadable | OAuthError::Unusable(_) => {
                ConnectionError::NotChecked(error.to_string())
            }
        })?;
        let auth = self.auth_of(row).await?;
        Ok(with_tokens(fields, tokens, &auth, None, self.now_ms()))
    }

    /// Asks the connector's `check` who it is connected as with what was given, and lets the connection work with it.
    /// `second`: also where the tenant has another connection to the account.
    pub(crate) async fn authorize(&self, row: &Connection, given: &Given, second: bool) -> Result<(), ConnectionError> {
        refuse_ended(row)?;
        let told = !given.account.is_empty();
        let account = told.then(|| Value::Object(given.account.clone()).to_string());
        let tried = Connection { account: account.or_else(|| row.account.clone()), ..row.clone() };
        let identity = self.identity(&tried, &given.credential).await?;
        let account = account_of(given.account.clone(), identity);
        refuse_other_account(row, &account)?;
        let since_ms = self.had_since(row, &given.credential).await?;
        let meta = Meta { authorized_ms: since_ms.or(given.meta.authorized_ms), ..given.meta.clone() };
        patiently(|| self.write_authorization(row, given, &meta, &account, second)).await
    }

    async fn write_authorization(
        &self,
        row: &Connection,
        given: &Given,
        meta: &Meta,
        account: &Map<String, Value>,
        second: bool,
    ) -> Result<(), ConnectionError> {
        let (connection, owner, now_ms) = (row.id, Owner::Connection(row.id), self.now_ms());
        let mut tx = self.inner.store.tenant(row.tenant).await?;
        // Somebody may have been faster.
        let held = tx.hold_connection(connection).await?;
        refuse_ended(&held)?;
        refuse_other_account(&held, account)?;
        // The id for routing is the one that the host learned itself; a guest's word only labels, and says within its tenant
        // that an account is there already.
        let (key, id) = (given.account.get("id").and_then(Value::as_str), account.get("id").and_then(Value::as_str));
        // Where nothing was given there is nothing that another connection could be authorized by.
        if let (Some(id), false, false) = (id, second, given.credential.is_empty())
            && held.account_id.as_deref() != Some(id)
            && let Some(first) = tx.first_of_account(connection, id).await?
        {
            return Err(ConnectionError::AlreadyConnected { connection: first.id, name: first.name });
        }
        if !given.credential.is_empty() {
            self.put_latest(&mut tx, owner, AUTHORIZATION, &given.credential, meta).await?;
        }
        if let Some(secret) = &given.webhook_secret {
            // Whose endpoint the secret of before is for is known only where the account stays the same: any other's ends.
            let same_account = id.is_some() && held.account_id.as_deref() == id;
            let overlap_ms = if same_account { USUAL_OVERLAP_MS } else { 0 };
            self.roll(&mut Shelf::Tenant(&mut tx), owner, WEBHOOK_SECRET, secret, overlap_ms).await?;
        }
        let said = (!account.is_empty()).then(|| Value::Object(account.clone()).to_string());
        let account = Account { said: said.as_deref(), id, key };
        tx.set_connection_account(connection, account, now_ms).await?;
        tx.set_connection_status(connection, ConnectionStatus::Active, now_ms).await?;
        let kept = tx.commit().await;
        self.inner.listeners.forget(owner);
        Ok(kept?)
    }

    /// Who `check` says this would be, outside any run: the connection may not be used yet. `None`: the connector has
    /// no `check`.
    async fn identity(
        &self,
        row: &Connection,
        credential: &Arc<CredentialFields>,
    ) -> Result<Option<Identity>, ConnectionError> {
        let known = self.version(row.version).await?;
        if !self.loaded(&known.digest).await?.exports().account {
            return Ok(None);
        }
        let run = RunId::new(self.now_ms());
        self.probe(row, &known, run, Arc::clone(credential)).await.map(Some)
    }
}

/// What is wrong with a secret that somebody gave. A blank one verifies nothing: all would be refused, and nothing would tell
/// why.
pub fn unfit_secret(secret: &[u8]) -> Option<String> {
    let is_blank = |text: &str| text.chars().all(|letter| letter.is_whitespace() || letter.is_control());
    if std::str::from_utf8(secret).is_ok_and(is_blank) {
        return Some("a secret is not empty: leave it out, or give the one that the provider shows".to_owned());
    }
    (secret.len() > LONGEST_FIELD).then(|| format!("a secret has at most {LONGEST_FIELD} bytes"))
}

pub(crate) fn refuse_unfit(secret: Option<&Secret>, pointer: &str) -> Result<(), ConnectionError> {
    let refused = |message| ConnectionError::Invalid(vec![InvalidField { pointer: pointer.to_owned(), message }]);
    secret.and_then(|secret| unfit_secret(secret.expose())).map_or(Ok(()), |message| Err(refused(message)))
}

/// What ended is over.
pub(crate) fn refuse_ended(row: &Connection) -> Result<(), ConnectionError> {
    if row.status == ConnectionStatus::Disconnected { Err(ConnectionError::Disconnected) } else { Ok(()) }
}

/// Authorizing again must not turn a connection into another account's.
fn refuse_other_account(row: &Connection, account: &Map<String, Value>) -> Result<(), ConnectionError> {
    let Some(was) = row.account.as_deref() else { return Ok(()) };
    let was: Value = stored("a connection's account", was)?;
    let Some(was) = was.get("id").and_then(Value::as_str) else { return Ok(()) };
    match account.get("id").and_then(Value::as_str) {
        Some(now) if now == was => Ok(()),
        now => {
            let now = now.unwrap_or("one that nobody named").to_owned();
            Err(ConnectionError::OtherAccount { was: was.to_owned(), now })
        }
    }
}

/// What authorization said of the account, and what `check` adds to it.
fn account_of(mut account: Map<String, Value>, identity: Option<Identity>) -> Map<String, Value> {
    if let Some(Identity { id, label, details }) = identity {
        account.entry("id").or_insert(Value::String(id));
        account.insert("label".to_owned(), Value::String(label));
        account.insert("details".to_owned(), serde_json::from_str(&details).unwrap_or(Value::Null));
    }
    account
}

/// What the connector's form asks for.
pub(crate) fn fillable(auth: &Auth) -> Result<Vec<AuthField>, ConnectionError> {
    let field = |name: &str, title: &str, secret| AuthField {
        name: name.to_owned(),
        title: title.to_owned(),
        secret,
        help: None,
        pattern: None,
        optional: false,
    };
    match auth {
        Auth::None => Ok(Vec::new()),
        Auth::ApiKey { fields } => Ok(fields.clone()),
        Auth::Basic { username_title, password_title } => {
            Ok(vec![field("username", username_title, false), field("password", password_title, true)])
        }
        Auth::TokenExchange(exchange) => Ok(exchange.fields.clone()),
        // What the host needs is with the app.
        Auth::OAuth2ClientCredentials(_) if auth.needs_app() => Ok(Vec::new()),
        Auth::OAuth2ClientCredentials(_) => {
            Ok(vec![field("client_id", "Client id", false), field("client_secret", "Client secret", true)])
        }
        Auth::OAuth2JwtBearer(grant) => {
            let subject = AuthField {
                optional: grant.subject == JwtSubject::Optional,
                ..field("subject", &grant.subject_title, false)
            };
            let subject = (grant.subject != JwtSubject::Issuer).then_some(subject);
            let help = "All of the file, from -----BEGIN to -----END.".to_owned();
            let key = AuthField { help: Some(help), ..field("private_key", "Private key (PEM)", true) };
            let key_id = AuthField { optional: true, ..field("key_id", "Key id", false) };
            Ok([Some(field("issuer", &grant.issuer_title, false)), subject, Some(key), Some(key_id)]
                .into_iter()
                .flatten()
                .collect())
        }
        Auth::AwsSigv4(AwsSigv4 { session_token }) => {
            let token = AuthField { optional: true, ..field("session_token", "Session token", true) };
            let key = field("secret_access_key", "Secret access key", true);
            let fields =
                [Some(field("access_key_id", "Access key id", false)), Some(key), session_token.then_some(token)];
            Ok(fields.into_iter().flatten().collect())
        }
        Auth::OAuth2(_) => Err(ConnectionError::NotByFields { kind: auth.kind() }),
    }
}

/// The field whose text has lines: something is signed with it, and it is not sent.
fn in_lines(auth: &Auth) -> Option<&'static str> {
    matches!(auth, Auth::OAuth2JwtBearer(_)).then_some("private_key")
}

/// The fields whose text stands in a header as it is.
fn in_headers(manifest: &Manifest) -> BTreeSet<String> {
    let placements = manifest.egress.iter().filter_map(|rule| rule.credential.as_ref());
    let exchanged = match &manifest.auth {
        Auth::TokenExchange(exchange) => Some(exchange.headers.values().flat_map(Template::placeholders)),
        _ => None,
    };
    let placed = placements.flat_map(Placement::in_header).chain(exchanged.into_iter().flatten());
    placed.map(str::to_owned).collect()
}

/// Every field that is missing, unknown or not of its form; values are never repeated.
fn invalid_fields(
    wanted: &[AuthField],
    in_lines: Option<&str>,
    in_headers: &BTreeSet<String>,
    given: &BTreeMap<String, Secret>,
) -> Vec<InvalidField> {
    let mut invalid = Vec::new();
    let mut refuse = |name: &str, message: String| {
        invalid.push(InvalidField { pointer: said(format!("/fields/{}", in_pointer(name))), message })
    };
    for field in wanted {
        match given.get(&field.name).map(Secret::expose_str) {
            None if field.optional => {}
            None => refuse(&field.name, format!("{} is missing", field.title)),
            Some(Err(_)) => refuse(&field.name, format!("{} is not text", field.title)),
            Some(Ok(text)) if text.len() > LONGEST_FIELD => {
                refuse(&field.name, format!("{} has at most {LONGEST_FIELD} bytes", field.title));
            }
            Some(Ok(text)) if text.contains(char::is_control) && in_lines != Some(field.name.as_str()) => {
                let message = "a line break or another control character, which no request can carry: give it without";
                refuse(&field.name, format!("{} has {message}", field.title));
            }
            Some(Ok(text)) if !text.is_ascii() && in_headers.contains(&field.name) => {
                let message = "a letter or sign that is not ASCII, and no header can carry one: copy it once more";
                refuse(&field.name, format!("{} has {message}", field.title));
            }
            Some(Ok(text)) => {
                if !field.pattern.as_deref().is_none_or(|pattern| matches_whole(pattern, text)) {
                    let help = field.help.as_deref().unwrap_or("Look at the provider's page again.");
                    refuse(&field.name, format!("This does not have the form of such a value. {help}"));
                }
            }
        }
    }
    for name in given.keys().filter(|name| !wanted.iter().any(|field| &&field.name == name)) {
        refuse(name, "this connector does not ask for it".to_owned());
    }
    invalid
}

/// The schema engine's own linear-time patterns serve here too.
fn matches_whole(pattern: &str, text: &str) -> bool {
    let schema = serde_json::json!({ "pattern": format!("^(?:{pattern})$") });
    Schema::compile(&schema).is_ok_and(|schema| schema.check(&Value::String(text.to_owned())).is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Mutations: `in_headers`, without what is exchanged; host/manifest/src/model/egress.rs, `in_header`, nothing of
    /// any of them.
    #[test]
    fn of_each_place_it_is_known_what_stands_in_a_header_as_it_is() {
        const CONNECTOR: &str =
            "[connector]\nname = \"test\"\nversion = \"1.0.0\"\ntitle = \"Test\"\ncontract = \"0.1\"\n";
        const RULE: &str = "[[egress]]\nhost = \"a.example\"\nmethods = [\"GET\"]\npaths = [\"/\"]\n";
        let fields = "fields = [{ name = \"key\", title = \"Key\" }, { name = \"salt\", title = \"Salt\" }]";
        let placed = |auth: &str, credential: &str| {
            let manifest = format!("{CONNECTOR}[auth]\n{auth}\n{RULE}credential = {{ place = {credential} }}\n");
            let manifest = Manifest::parse(&manifest).unwrap_or_else(|problems| panic!("{credential}: {problems}"));
            in_headers(&manifest).into_iter().collect::<Vec<_>>().join(" ")
        };
        let key = format!("kind = \"api_key\"\n{fields}");
        let signed = "name = \"X-Sign\", key_field = \"key\", encoding = \"hex\", signed = \"{path}{salt}\"";
        for (credential, expected) in [
            ("\"bearer\", field = \"key\"", "key"),
            ("\"header\", name = \"X-Key\", template = \"{salt}:{key}\"", "key salt"),
            ("\"query\", name = \"key\", field = \"key\"", ""),
            ("\"basic\", username_field = \"salt\", password_field = \"key\"", ""),
            (&format!("\"hmac_template\", {signed}"), ""),
            (&format!("\"hmac_template\", {signed}, value = \"{{salt}}:{{signature}}\""), "salt"),
        ] {
            assert_eq!(placed(&key, credential), expected, "{credential}");
        }
        let aws = "\"sigv4\", service = \"s3\", region = \"auto\"";
        assert_eq!(placed("kind = \"aws_sigv4\"", aws), "access_key_id session_token");
        let exchange = "kind = \"token_exchange\"\nurl = \"https://a.example/t\"\ntoken = \"/t\"\nform = { a = \"{salt}\" }\n\
            headers = { X-Key = \"v1 {key}\" }";
        let exchanged = placed(&format!("{exchange}\n{fields}"), "\"bearer\", field = \"access_token\"");
        assert_eq!(exchanged, "access_token key");
    }
}
