//! The OAuth server: consent, tokens, revocation.
//!
//! **Invariants.** Nobody is redirected to an address that was not registered. A consent page is answered once.
//! With a code challenge, the token call must prove the verifier.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde::{Deserialize, Serialize};

use super::json::Json;
use super::refusal::{escape, oauth_error};
use super::tokens::{ACCOUNTING, Code, Registry, Tokens};
use crate::core::front::{Answer, Call};
use crate::core::ids::Ids;

/// Of the consent page.
const STYLE: &str = "body{font:16px/1.5 sans-serif;margin:0}main{max-width:28rem;margin:0 auto;padding:1rem}\
                     button,select{font:inherit;padding:.4rem .8rem}";

const SCOPES: [&str; 7] =
    [ACCOUNTING, "com.intuit.quickbooks.payment", "openid", "profile", "email", "phone", "address"];
/// How long a consent page may lie unanswered.
const PAGE_SECONDS: i64 = 900;

/// What the user answers on the consent page.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Consent {
    Allow { realm: String },
    Deny,
}

/// The application, as it is registered with Intuit.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    pub(crate) redirect_uris: Vec<String>,
}

/// An authorization request that waits for the user.
#[derive(Clone, Debug)]
struct Page {
    redirect_uri: String,
    state: String,
    scope: String,
    challenge: Option<String>,
    ends: i64,
}

#[derive(Debug)]
pub(crate) struct OAuth {
    app: App,
    /// The ids and names of the companies the user can choose from.
    realms: Vec<(String, String)>,
    pages: HashMap<String, Page>,
    pub(crate) registry: Registry,
}

type Fields = HashMap<String, String>;

impl OAuth {
    pub(crate) fn new(app: App, realms: Vec<(String, String)>, registry: Registry) -> Self {
        Self { app, realms, pages: HashMap::new(), registry }
    }

    pub(crate) fn set_redirect_uris(&mut self, uris: Vec<String>) {
        self.app.redirect_uris = uris;
    }

    /// The answer to a request on one of the OAuth server's paths; nothing when it is another path.
    pub(crate) fn act(&mut self, ids: &Ids, now: i64, call: &Call) -> Option<Answer> {
        let posted = call.method == Method::POST;
        let answer = match call.path.as_str() {
            "/connect/oauth2" if call.method == Method::GET => self.authorize(ids, now, &call.query),
            "/connect/oauth2/allow" if posted => self.answer_page(ids, now, call, true),
            "/connect/oauth2/deny" if posted => self.answer_page(ids, now, call, false),
            "/oauth2/v1/tokens/bearer" if posted => self.token(ids, now, call),
            "/v2/oauth2/tokens/revoke" if posted => self.revoke(call),
            _ => return None,
        };
        Some(answer.unwrap_or_else(|refusal| refusal))
    }

    fn authorize(&mut self, ids: &Ids, now: i64, query: &str) -> Result<Answer, Answer> {
        let (ticket, page) = self.open_page(ids, now, query)?;
        let html = self.consent_page(&ticket, &page);
        self.pages.insert(ticket, page);
        Ok(Answer::new(200, "text/html; charset=utf-8", html))
    }

    fn open_page(&self, ids: &Ids, now: i64, query: &str) -> Result<(String, Page), Answer> {
        let fields: Fields = serde_urlencoded::from_str(query).map_err(|_| refused_page("The query is malformed."))?;
        let field = |name: &str| fields.get(name).map(String::as_str).filter(|text| !text.is_empty());
        if field("client_id") != Some(&self.app.client_id) {
            return Err(refused_page("The client_id is unknown."));
        }
        let redirect_uri = field("redirect_uri").unwrap_or_default();
        if !self.app.redirect_uris.iter().any(|registered| registered == redirect_uri) {
            return Err(refused_page("The redirect_uri is not registered."));
        }
        let state = field("state").ok_or_else(|| refused_page("The state is missing."))?;
        let back = |error: &str| redirect(redirect_uri, &[("error", error), ("state", state)]);
        if field("response_type") != Some("code") {
            return Err(back("unsupported_response_type"));
        }
        let scope = field("scope").ok_or_else(|| back("invalid_scope"))?;
        if !scope.split(' ').all(|scope| SCOPES.contains(&scope)) {
            return Err(back("invalid_scope"));
        }
        let challenge = field("code_challenge").map(str::to_owned);
        if challenge.is_some() != (field("code_challenge_method") == Some("S256")) {
            return Err(back("invalid_request"));
        }
        let page = Page {
            redirect_uri: redirect_uri.to_owned(),
            state: state.to_owned(),
            scope: scope.to_owned(),
            challenge,
            ends: now + PAGE_SECONDS,
        };
        Ok((ids.letters(32), page))
    }

    fn consent_page(&self, ticket: &str, page: &Page) -> String {
        let option =
            |(id, name): &(String, String)| format!("<option value=\"{}\">{}</option>", escape(id), escape(name));
        let options: String = self.realms.iter().map(option).collect();
        format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <title>Simulated Intuit</title><style>{STYLE}</style></head>\
             <body><main><h1>Connect your company</h1>\
             <p>The application <code>{client}</code> asks for <code>{scope}</code>.</p>\
             <p>This is a simulated Intuit: nothing leaves this machine.</p>\
             <form method=\"post\" action=\"/connect/oauth2/allow\">\
             <input type=\"hidden\" name=\"ticket\" value=\"{ticket}\">\
             <label>Company <select name=\"realm\">{options}</select></label>\
             <p><button type=\"submit\" id=\"allow\">Connect</button> \
             <button type=\"submit\" id=\"deny\" formaction=\"/connect/oauth2/deny\">Cancel</button></p>\
             </form></main></body></html>",
            client = escape(&self.app.client_id),
            scope = escape(&page.scope),
        )
    }

    fn answer_page(&mut self, ids: &Ids, now: i64, call: &Call, allows: bool) -> Result<Answer, Answer> {
        let fields = form(call).ok_or_else(|| refused_page("The form is malformed."))?;
        let ticket = fields.get("ticket").map(String::as_str).unwrap_or_default();
        let consent = match fields.get("realm") {
            Some(realm) if allows => Consent::Allow { realm: realm.clone() },
            None if allows => return Err(refused_page("No company was chosen.")),
            _ => Consent::Deny,
        };
        self.answer_ticket(ids, now, ticket, &consent)
    }

    fn answer_ticket(&mut self, ids: &Ids, now: i64, ticket: &str, consent: &Consent) -> Result<Answer, Answer> {
        let page = self.pages.get(ticket).filter(|page| now < page.ends).cloned();
        let page = page.ok_or_else(|| refused_page("This page was answered already, or is too old."))?;
        let realm = match consent {
            Consent::Deny => {
                self.pages.remove(ticket);
                return Ok(redirect(&page.redirect_uri, &[("error", "access_denied"), ("state", &page.state)]));
            }
            Consent::Allow { realm } => realm,
        };
        if !self.realms.iter().any(|(id, _)| id == realm) {
            return Err(refused_page("There is no such company."));
        }
        self.pages.remove(ticket);
        let code = Code {
            redirect_uri: page.redirect_uri.clone(),
            realm: realm.clone(),
            scope: page.scope,
            challenge: page.challenge,
            ends: self.registry.code_ends(now),
        };
        let code = self.registry.add_code(ids, code);
        Ok(redirect(&page.redirect_uri, &[("code", &code), ("state", &page.state), ("realmId", realm)]))
    }

    /// Does what a user with a browser does, from the authorize URL to the URL the browser is sent back to.
    pub(crate) fn consent(
        &mut self,
        ids: &Ids,
        now: i64,
        authorize_url: &str,
        answer: &Consent,
    ) -> Result<String, String> {
        let url = url::Url::parse(authorize_url).map_err(|error| error.to_string())?;
        if url.path() != "/connect/oauth2" {
            return Err(format!("{} is not the authorization endpoint", url.path()));
        }
        let (ticket, page) = match self.open_page(ids, now, url.query().unwrap_or_default()) {
            Ok(opened) => opened,
            Err(refusal) => return location(&refusal),
        };
        self.pages.insert(ticket.clone(), page);
        let answered = self.answer_ticket(ids, now, &ticket, answer);
        location(&answered.unwrap_or_else(|refusal| refusal))
    }

    fn token(&mut self, ids: &Ids, now: i64, call: &Call) -> Result<Answer, Answer> {
        self.check_client(call)?;
        let invalid = |description: &str| oauth_error(400, "invalid_request", description);
        let fields = form(call).ok_or_else(|| invalid("The body must be form-encoded"))?;
        let field = |name: &str| fields.get(name).map(String::as_str).filter(|text| !text.is_empty());
        let needed = |name: &str| field(name).ok_or_else(|| invalid(&format!("{name} is missing")));
        let (mut tokens, effect) = match field("grant_type") {
            Some("authorization_code") => {
                let (code, redirect_uri) = (needed("code")?, needed("redirect_uri")?);
                let tokens = self.registry.redeem(ids, now, code, redirect_uri, field("code_verifier"))?;
                (tokens, "token.granted")
            }
            Some("refresh_token") => (self.registry.renew(ids, now, needed("refresh_token")?)?, "token.refreshed"),
            Some(_) => {
                return Err(oauth_error(400, "unsupported_grant_type", "The grant_type is not supported"));
            }
            None => return Err(invalid("grant_type is missing")),
        };
        if call.header("x-include-refresh-token-hard-expires-in") == Some("true") {
            tokens.x_refresh_token_hard_expires_in = self.registry.hard_end_in(&tokens.refresh_token, now);
        }
        let mut answer = token_answer(&tokens);
        answer.effects.push(effect.to_owned());
        Ok(answer)
    }

    fn revoke(&mut self, call: &Call) -> Result<Answer, Answer> {
        self.check_client(call)?;
        let invalid = |description: &str| oauth_error(400, "invalid_request", description);
        if call.content_type() != "application/json" {
            return Err(invalid("The body must be JSON"));
        }
        let body = std::str::from_utf8(&call.body).ok().and_then(|text| Json::parse(text).ok());
        let token = body.as_ref().and_then(|body| body.get("token")).and_then(Json::text);
        let token = token.ok_or_else(|| invalid("token is missing"))?;
        if !self.registry.revoke(token) {
            return Err(invalid("The token is unknown"));
        }
        let mut answer = Answer { status: 200, ..Answer::default() };
        answer.effects.push("token.revoked".to_owned());
        Ok(answer)
    }

    fn check_client(&self, call: &Call) -> Result<(), Answer> {
        let credentials = call.header("authorization").and_then(|header| {
            let (scheme, pair) = header.split_once(' ')?;
            let decoded = STANDARD.decode(pair.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
            String::from_utf8(decoded).ok()
        });
        if credentials == Some(format!("{}:{}", self.app.client_id, self.app.client_secret)) {
            return Ok(());
        }
        let refusal = oauth_error(401, "invalid_client", "Basic authentication of the client is needed");
        Err(refusal.with("www-authenticate", "Basic realm=\"Intuit\""))
    }
}

fn token_answer(tokens: &Tokens) -> Answer {
    let body = serde_json::to_string(tokens).unwrap_or_default();
    Answer::new(200, "application/json;charset=UTF-8", body).with("cache-control", "no-store")
}

fn form(call: &Call) -> Option<Fields> {
    let is_form = call.content_type() == "application/x-www-form-urlencoded";
    serde_urlencoded::from_bytes(&call.body).ok().filter(|_| is_form)
}

/// Shown to the user instead of a redirect to somebody we do not know.
fn refused_page(reason: &str) -> Answer {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><title>Simulated Intuit</title></head>\
         <body><h1>Sorry, this did not work</h1><p>{}</p></body></html>",
        escape(reason)
    );
    Answer::new(400, "text/html; charset=utf-8", html)
}

fn redirect(uri: &str, fields: &[(&str, &str)]) -> Answer {
    let query = serde_urlencoded::to_string(fields).unwrap_or_default();
    let joint = if uri.contains('?') { '&' } else { '?' };
    let answer = Answer { status: 302, ..Answer::default() };
    answer.with("location", format!("{uri}{joint}{query}"))
}

fn location(answer: &Answer) -> Result<String, String> {
    let header = answer.headers.iter().find(|(name, _)| name == "location");
    header.map(|(_, value)| value.clone()).ok_or_else(|| String::from_utf8_lossy(&answer.body).into_owned())
}
