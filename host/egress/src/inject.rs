//! Step 8: the credential, and the rule's own headers.
//!
//! It is prepared early, so that a request that cannot be authenticated fails before its intent is
//! written, and added last, when the connection to the checked address stands.
//!
//! Invariant: a credential goes only to a host that the rule names *and* the app's pin allows, over
//! https or to an upstream that the operator opened.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bulkhead_manifest::template::{MAX_RENDERED, Unrendered};
use bulkhead_manifest::{Clock, EgressRule, HmacTemplate, KeyDecoding, Placement, RequestPart, Template};
use bulkhead_vault::Secret;
use bulkhead_vault::sign::SigningKey;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::aside::aside;
use crate::effect::{Draft, set_query};
use crate::error::{Denial, DoorError, InvalidRequest, Large};
use crate::redact::writings;
use crate::request::{AppPins, Audience, Pass};
use crate::sign::{Signer, TemplateSigner};
use crate::sigv4;

/// What the host adds to a request.
#[derive(Default)]
pub(crate) struct Injection {
    headers: Vec<(HeaderName, HeaderValue)>,
    query: Option<(String, Secret)>,
    signer: Option<Arc<Signer>>,
    /// Whether a credential is among it.
    pub(crate) has_credential: bool,
    /// The texts that must not come back to the guest in an answer.
    pub(crate) secrets: Vec<Secret>,
}

/// Prepares what the rule wants added to requests to `host`.
pub(crate) fn prepare(rule: &EgressRule, pass: &Pass<'_>, host: &str) -> Result<Injection, DoorError> {
    let mut injection = Injection::default();
    for (name, template) in &rule.headers {
        let value = template.render(|name| fact(name, pass)).map_err(unrendered)?;
        injection.add_header(name, &value, false)?;
    }
    if let Some(placement) = &rule.credential {
        check_pin(pass.pins, host, placement)?;
        injection.add_credential(placement, pass)?;
        injection.has_credential = true;
    }
    Ok(injection)
}

/// The pin is asked about the name that the certificate is checked for.
fn check_pin(pins: &AppPins, host: &str, placement: &Placement) -> Result<(), Denial> {
    let allows = |audience: &Audience| audience.host.matches(host) && audience.credential == *placement;
    match pins {
        AppPins::Unpinned => Ok(()),
        AppPins::Audiences(audiences) if audiences.iter().any(allows) => Ok(()),
        AppPins::Audiences(_) => Err(Denial::OutsidePin { host: host.to_owned() }),
    }
}

fn unrendered(problem: Unrendered) -> DoorError {
    match problem {
        Unrendered::Unknown { name } => DoorError::NoCredential { missing: name },
        Unrendered::TooLong => DoorError::TooLarge { what: Large::RequestHeaders, limit: MAX_RENDERED },
    }
}

/// What `{account.id}` or `{settings.region}` stands for.
fn fact(name: &str, pass: &Pass<'_>) -> Option<String> {
    let (document, path) = match name.split_once('.')? {
        ("account", path) => (pass.account, path),
        ("settings", path) => (pass.settings, path),
        _ => return None,
    };
    match path.split('.').try_fold(document, |value, step| value.get(step))? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(yes) => Some(yes.to_string()),
        _ => None,
    }
}

impl Injection {
    /// The request to `host` as it goes out now.
    pub(crate) async fn authorized(&self, draft: &Draft, host: &str, clock: &dyn Clock) -> Result<Draft, DoorError> {
        let mut draft = draft.clone();
        self.apply(&mut draft);
        let Some(signer) = self.signer.clone() else { return Ok(draft) };
        let (host, now_ms) = (host.to_owned(), clock.now_ms());
        let signing = aside(draft.body.len(), move || signer.sign(&mut draft, &host, now_ms).map(|()| draft));
        Ok(signing.await.ok_or(DoorError::Broken { sent: false })??)
    }

    /// Adds all but a signature, in place of whatever the request had there.
    fn apply(&self, draft: &mut Draft) {
        for (name, value) in &self.headers {
            draft.headers.insert(name.clone(), value.clone());
        }
        if let Some((name, secret)) = &self.query {
            set_query(&mut draft.url, name, secret.expose_str().ok());
        }
    }

    fn add_credential(&mut self, placement: &Placement, pass: &Pass<'_>) -> Result<(), DoorError> {
        match placement {
            Placement::Bearer { field } => {
                let value = Zeroizing::new(format!("Bearer {}", *self.text(field, pass)?));
                self.add_header(AUTHORIZATION.as_str(), &value, true)
            }
            Placement::Header { name, template } => {
                // Each once: a template may name one as often as it likes.
                for field in template.placeholders().collect::<BTreeSet<_>>() {
                    self.text(field, pass)?;
                }
                let field = |field: &str| pass.secret(field)?.expose_str().ok().map(str::to_owned);
                let value = Zeroizing::new(template.render(field).map_err(unrendered)?);
                self.add_header(name, &value, true)
            }
            Placement::Basic { username_field, password_field } => {
                // Beside a password the username is a name, which answers may well repeat.
                let (username, password) = match password_field {
                    Some(field) => (text(username_field, pass)?, self.text(field, pass)?),
                    None => (self.text(username_field, pass)?, Zeroizing::new(String::new())),
                };
                let pair = Zeroizing::new(format!("{}:{}", *username, *password));
                let encoded = Zeroizing::new(BASE64.encode(pair.as_bytes()));
                self.remember(&encoded);
                self.add_header(AUTHORIZATION.as_str(), &Zeroizing::new(format!("Basic {}", *encoded)), true)
            }
            Placement::Query { name, field } => {
                let value = self.text(field, pass)?;
                // An answer that repeats the address repeats it as it stood there.
                let encoded: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
                self.remember(&encoded);
                self.query = Some((name.clone(), Secret::from_string(value.to_string())));
                Ok(())
            }
            Placement::Sigv4 { service, region } => {
                self.signer = Some(Arc::new(Signer::Aws(self.aws_signer(service, region, pass)?)));
                Ok(())
            }
            Placement::HmacTemplate(signing) => {
                self.signer = Some(Arc::new(Signer::Template(self.template_signer(signing, pass)?)));
                Ok(())
            }
        }
    }

    fn aws_signer(&mut self, service: &str, region: &Template, pass: &Pass<'_>) -> Result<sigv4::Signer, DoorError> {
        let region = region.render(|name| fact(name, pass)).map_err(unrendered)?;
        if !is_scope_word(&region) {
            let problem = "its region is none: letters, digits and hyphens, as `eu-central-1`; look at the settings";
            return Err(InvalidRequest::Unsignable { problem }.into());
        }
        // Names who signs, and answers may well repeat it; the key itself is not sent.
        let key_id = text("access_key_id", pass)?.to_string();
        if !key_id.bytes().all(|b| b.is_ascii_graphic() && !b"/,".contains(&b)) {
            let problem = "the access key id has characters that none has; connect again with the right one";
            return Err(InvalidRequest::Unsignable { problem }.into());
        }
        let session_token = match text("session_token", pass) {
            Ok(token) => {
                self.remember(&token);
                let invalid = |_| InvalidRequest::Value { name: "x-amz-security-token".to_owned() };
                let mut token = HeaderValue::from_str(&token).map_err(invalid)?;
                token.set_sensitive(true);
                Some(token)
            }
            Err(_) => None,
        };
        let key = signing_key("secret_access_key", KeyDecoding::Text, pass)?;
        Ok(sigv4::Signer { key_id, key, session_token, service: service.to_owned(), region })
    }

    fn template_signer(&mut self, signing: &HmacTemplate, pass: &Pass<'_>) -> Result<TemplateSigner, DoorError> {
        let shown = signing.value.placeholders().filter(|name| !HmacTemplate::IN_VALUE.contains(name));
        let mut fields = Vec::new();
        for name in shown.collect::<BTreeSet<_>>() {
            fields.push((name.to_owned(), self.text(name, pass)?));
        }
        for part in signing.signed.parts() {
            if let RequestPart::Field(name) = part {
                fields.push((name.to_owned(), text(name, pass)?));
            }
        }
        let key = signing_key(&signing.key_field, signing.key_decoding, pass)?;
        let signer = TemplateSigner { signing: signing.clone(), key, fields };
        signer.check()?;
        Ok(signer)
    }

    /// A field's text, remembered as one that must not come back.
    fn text(&mut self, field: &str, pass: &Pass<'_>) -> Result<Zeroizing<String>, DoorError> {
        let text = text(field, pass)?;
        // The one field that every provider prints on its own pages.
        if field != "client_id" {
            self.remember(&text);
        }
        Ok(text)
    }

    fn remember(&mut self, text: &str) {
        self.secrets.extend(writings(text));
    }

    fn add_header(&mut self, name: &str, value: &str, sensitive: bool) -> Result<(), DoorError> {
        let invalid = || InvalidRequest::Value { name: name.to_owned() };
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
        // A secret that was pasted with a line break ends here, not as a header of somebody's choice.
        let mut value = HeaderValue::from_str(value).map_err(|_| invalid())?;
        value.set_sensitive(sensitive);
        self.headers.push((header, value));
        Ok(())
    }
}

/// What may stand between the slashes of an AWS signature's scope.
fn is_scope_word(word: &str) -> bool {
    (1..=64).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn signing_key(field: &str, decoding: KeyDecoding, pass: &Pass<'_>) -> Result<SigningKey, DoorError> {
    let secret = pass.secret(field).filter(|secret| !secret.is_empty());
    let secret = secret.ok_or_else(|| DoorError::NoCredential { missing: field.to_owned() })?;
    let problem = "its key is not of the form that this provider's keys have; connect again with the whole key";
    SigningKey::new(secret, decoding).map_err(|_| InvalidRequest::Unsignable { problem }.into())
}

/// A field's text; an empty one is as good as none.
fn text(field: &str, pass: &Pass<'_>) -> Result<Zeroizing<String>, DoorError> {
    let text = pass.secret(field).and_then(|secret| secret.expose_str().ok()).filter(|text| !text.is_empty());
    text.map(|text| Zeroizing::new(text.to_owned()))
        .ok_or_else(|| DoorError::NoCredential { missing: field.to_owned() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bulkhead_manifest::{HostPattern, Template};
    use bulkhead_vault::CredentialFields;
    use futures::FutureExt as _;
    use http::header::HeaderMap;
    use serde_json::json;
    use url::Url;

    use super::*;
    use crate::request::{At, EffectPlan};

    fn rule(credential: Placement) -> EgressRule {
        EgressRule {
            host: HostPattern::parse("api.example.com").unwrap(),
            discovered: None,
            methods: Vec::new(),
            paths: Vec::new(),
            read_only_posts: Vec::new(),
            credential: Some(credential),
            headers: Default::default(),
            idempotency: Default::default(),
            capture: Vec::new(),
        }
    }

    fn bearer() -> EgressRule {
        rule(Placement::Bearer { field: "access_token".into() })
    }

    fn inject(rule: &EgressRule, pins: &AppPins, fields: &[(&str, &str)]) -> Result<Draft, DoorError> {
        let fields: CredentialFields =
            fields.iter().map(|(name, value)| ((*name).to_owned(), Secret::from_string((*value).into()))).collect();
        let key = Secret::from_string("key".into());
        let (account, settings) = (json!({"id": "acct_1", "n": {"realm": 42}}), json!({"region": "eu"}));
        let pass = Pass {
            rules: &[],
            pins,
            credential: Some(&fields),
            app_secrets: None,
            account: &account,
            settings: &settings,
            owner: "c",
            app: None,
            publisher: "p",
            budgets: &[],
            ledger: &crate::ledger::tests::Books::default(),
            effect: EffectPlan { key: &key, root: "", name: None, ordinal: 0 },
            clock: &At(1_440_938_160_000),
        };
        let draft = Draft {
            method: http::Method::GET,
            url: Url::parse("https://api.example.com/a?x=1&api_key=own").unwrap(),
            headers: HeaderMap::new(),
            body: Default::default(),
        };
        let injection = prepare(rule, &pass, "api.example.com")?;
        injection.authorized(&draft, "api.example.com", pass.clock).now_or_never().unwrap()
    }

    fn header(draft: &Draft, name: &str) -> String {
        draft.headers.get(name).unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn each_placement_puts_the_secret_in_its_place() {
        let fields = [("access_token", "tok"), ("u", "user"), ("p", "pass")];
        let authorization =
            |placement| header(&inject(&rule(placement), &AppPins::Unpinned, &fields).unwrap(), "authorization");
        assert_eq!(authorization(Placement::Bearer { field: "access_token".into() }), "Bearer tok");
        // RFC 7617 writes it this way.
        assert_eq!(
            authorization(Placement::Basic { username_field: "u".into(), password_field: Some("p".into()) }),
            "Basic dXNlcjpwYXNz"
        );
        assert_eq!(
            authorization(Placement::Basic { username_field: "u".into(), password_field: None }),
            "Basic dXNlcjo="
        );
        let template = Template::parse("Client {access_token}").unwrap();
        assert_eq!(authorization(Placement::Header { name: "Authorization".into(), template }), "Client tok");
        let draft = inject(
            &rule(Placement::Query { name: "api_key".into(), field: "access_token".into() }),
            &AppPins::Unpinned,
            &fields,
        );
        assert_eq!(draft.unwrap().url.query(), Some("x=1&api_key=tok"));
    }

    /// Mutation: `check_pin`, do without it, or without its comparison of placements: an uploaded manifest would decide
    /// where the app's token goes, or let it stand in a URL.
    #[test]
    fn a_credential_goes_only_to_its_pinned_audience_in_its_pinned_place() {
        let pinned = |host: &str| Audience {
            host: HostPattern::parse(host).unwrap(),
            credential: Placement::Bearer { field: "access_token".into() },
        };
        let in_query = rule(Placement::Query { name: "token".into(), field: "access_token".into() });
        let pins = AppPins::Audiences(vec![pinned("api.example.com")]);
        let elsewhere = inject(&in_query, &pins, &[("access_token", "tok")]);
        assert!(matches!(elsewhere, Err(DoorError::Denied(Denial::OutsidePin { .. }))));
        let attempt = |audiences: &[&str]| {
            let pins = AppPins::Audiences(audiences.iter().map(|host| pinned(host)).collect());
            inject(&bearer(), &pins, &[("access_token", "tok")])
        };
        for audiences in [&["api.example.com"][..], &["other.example.com", "*.example.com"]] {
            assert!(attempt(audiences).is_ok(), "{audiences:?}");
        }
        for audiences in [&[][..], &["example.com"], &["*.api.example.com"], &["api.example.com.evil.example"]] {
            let result = attempt(audiences);
            assert!(matches!(result, Err(DoorError::Denied(Denial::OutsidePin { .. }))), "{audiences:?}");
        }
    }

    #[test]
    fn without_the_secret_nothing_is_sent() {
        for fields in [&[][..], &[("access_token", "")], &[("refresh_token", "x")]] {
            let result = inject(&bearer(), &AppPins::Unpinned, fields);
            assert!(
                matches!(&result, Err(DoorError::NoCredential { missing }) if missing == "access_token"),
                "{fields:?}"
            );
        }
    }

    #[test]
    fn a_secret_with_a_line_break_in_it_is_refused_and_not_quoted() {
        let error = inject(&bearer(), &AppPins::Unpinned, &[("access_token", "tok\r\nX-Admin: 1")]).unwrap_err();
        assert!(matches!(error, DoorError::InvalidRequest(InvalidRequest::Value { .. })));
        assert!(!error.to_string().contains("tok"), "{error}");
    }

    /// Mutation: host/manifest/src/template.rs, `render`, without `MAX_RENDERED`.
    #[test]
    fn a_header_that_names_a_long_secret_often_is_not_sent() {
        let template = Template::parse("{key}".repeat(400)).unwrap();
        let rule = rule(Placement::Header { name: "X-Key".into(), template });
        let sent = |length: usize| inject(&rule, &AppPins::Unpinned, &[("key", &"x".repeat(length))]);
        assert_eq!(header(&sent(160).unwrap(), "x-key").len(), 64_000);
        assert!(matches!(sent(165), Err(DoorError::TooLarge { what: Large::RequestHeaders, .. })));
    }

    #[test]
    fn the_rules_own_headers_come_from_the_account_and_the_settings_or_nothing_is_sent() {
        let mut rule = bearer();
        rule.headers = [
            ("Stripe-Account".to_owned(), Template::parse("{account.id}").unwrap()),
            ("X-Realm".to_owned(), Template::parse("r{account.n.realm}-{settings.region}").unwrap()),
        ]
        .into();
        let draft = inject(&rule, &AppPins::Unpinned, &[("access_token", "tok")]).unwrap();
        assert_eq!((header(&draft, "stripe-account"), header(&draft, "x-realm")), ("acct_1".into(), "r42-eu".into()));
        rule.headers = [("Stripe-Account".to_owned(), Template::parse("{account.missing}").unwrap())].into();
        let result = inject(&rule, &AppPins::Unpinned, &[("access_token", "tok")]);
        assert!(matches!(&result, Err(DoorError::NoCredential { missing }) if missing == "account.missing"));
    }
}
