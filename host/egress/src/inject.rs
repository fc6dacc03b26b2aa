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

    /// What a signer wrote into a request: good for it alone, or, by some templates, for any other.
    pub(crate) fn signatures(&self, sent: &Draft) -> Vec<Secret> {
        let header = self.signer.as_ref().and_then(|signer| sent.headers.get(signer.header()));
        let Some(value) = header.and_then(|value| value.to_str().ok()) else { return Vec::new() };
        let of_aws = value.rsplit_once("Signature=").map(|(_, signature)| signature);
        [Some(value), of_aws].into_iter().flatten().map(|text| Secret::from_string(text.to_owned())).collect()
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
        if !Placement::is_scope_word(&region) {
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
        self.secrets.push(Secret::from_string(text.to_owned()));
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
mod tests;
