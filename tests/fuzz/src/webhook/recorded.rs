//! Requests that were signed elsewhere, for every scheme of `tests/webhook-schemes.toml` that has one: public keys,
//! certificates, tokens of a third party, tokens in a body, and whoever asks the provider.

use std::collections::BTreeMap;

use bulkhead_manifest::{Manifest, PostbackScheme, PublicKey, Scheme};
use bulkhead_vault::Secret;
use bulkhead_vault::webhook::{Fetched, Inbound, questions, verify_with, wanted, without_tokens};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, TrustAnchor};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Written {
    provider: String,
    secret: String,
    url: String,
    query: String,
    path_token: Option<String>,
    headers: BTreeMap<String, String>,
    body: String,
    now_s: u64,
    fetched: Option<String>,
    trusted: Option<String>,
    question: Option<String>,
    other_signature: Option<String>,
    #[serde(default = "yes")]
    covers_body: bool,
}

fn yes() -> bool {
    true
}

/// One of them.
#[derive(Clone)]
pub(super) struct Recorded {
    schemes: Vec<Scheme>,
    secret: String,
    url: String,
    query: String,
    path_token: Option<String>,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    now_s: u64,
    fetched: Option<Vec<u8>>,
    trusted: Vec<TrustAnchor<'static>>,
    /// What its provider says yes to.
    question: Option<String>,
    /// A header that nothing depends on: it has a signature by another key.
    other_signature: Option<String>,
    covers_body: bool,
}

/// All of them, in their order, and after them those that only the provider can tell.
pub(super) fn all() -> (Vec<Recorded>, PostbackScheme) {
    let document: Value = serde_json::from_str(include_str!("../../../webhook-vectors.json")).expect("JSON");
    let written: Vec<Written> = serde_json::from_value(document["vectors"].clone()).expect("vectors");
    let asked = declared("PayPal, by postback").into_iter().find_map(|scheme| match scheme {
        Scheme::Postback(scheme) => Some(scheme),
        _ => None,
    });
    (written.into_iter().map(recorded).collect(), asked.expect("a scheme that asks"))
}

/// What the table says of a provider.
fn declared(provider: &str) -> Vec<Scheme> {
    let sections = include_str!("../../../webhook-schemes.toml").split("\n#: ");
    let mut sections = sections.filter_map(|part| part.split_once('\n'));
    let (_, text) = sections.find(|(name, _)| *name == provider).expect("its section");
    let connector = "[connector]\nname = \"test\"\nversion = \"1.0.0\"\ntitle = \"Test\"\ncontract = \"0.1\"\n";
    let webhook = Manifest::parse(&format!("{connector}{text}")).expect("a manifest").webhook.expect("its webhook");
    std::iter::once(webhook.scheme).chain(webhook.also).collect()
}

fn recorded(written: Written) -> Recorded {
    let roots = CertificateDer::pem_slice_iter(written.trusted.as_deref().unwrap_or_default().as_bytes());
    let anchor = |root: CertificateDer| webpki::anchor_from_trusted_cert(&root).expect("a root").to_owned();
    Recorded {
        schemes: declared(&written.provider),
        trusted: roots.map(|root| anchor(root.expect("PEM"))).collect(),
        secret: written.secret,
        url: written.url,
        query: written.query,
        path_token: written.path_token,
        headers: written.headers.into_iter().collect(),
        body: written.body.into_bytes(),
        now_s: written.now_s,
        fetched: written.fetched.map(String::into_bytes),
        question: written.question,
        other_signature: written.other_signature,
        covers_body: written.covers_body,
    }
}

impl Recorded {
    fn request(&self) -> Inbound<'_> {
        let path_token = self.path_token.as_deref();
        Inbound { headers: &self.headers, url: &self.url, query: &self.query, path_token, body: &self.body }
    }

    /// Whether this is believed, from whoever sent it as it was recorded.
    fn believes(&self, other: &Recorded) -> bool {
        let key = Secret::from_string(self.secret.clone());
        let request = other.request();
        self.schemes.iter().any(|scheme| {
            let (Ok(at), Ok(asked)) = (wanted(scheme, &request), questions(scheme, &[&key], &request)) else {
                return false;
            };
            // What stands elsewhere is something else, and the provider says yes to its own alone.
            let there = at == wanted(scheme, &self.request()).expect("what was recorded can be looked at");
            let is_own = asked.iter().any(|asked| self.question.as_deref().map(str::as_bytes) == Some(asked));
            let said =
                if is_own { r#"{"verification_status":"SUCCESS"}"# } else { r#"{"verification_status":"FAILURE"}"# };
            let said = (!asked.is_empty()).then_some(said.as_bytes());
            let bytes = said.or(other.fetched.as_deref()).filter(|_| there);
            let fetched = Fetched { bytes, trusted: &self.trusted };
            verify_with(scheme, &[&key], &request, &fetched, self.now_s * 1000).is_ok()
        })
    }

    /// What proves it: every text that its sender chose.
    fn proofs(&mut self) -> Vec<&mut String> {
        let other = self.other_signature.as_deref();
        let headers = self.headers.iter_mut().filter(|(name, _)| Some(name.as_str()) != other);
        headers.map(|(_, value)| value).chain([&mut self.query]).chain(&mut self.path_token).collect()
    }

    /// It is genuine as it was recorded, and not with one bit of it changed.
    pub(super) fn genuine(&self, bit: usize) {
        assert!(self.believes(self), "what was recorded is genuine");
        let flip = |bytes: &mut [u8]| {
            let at = (bit / 8) % bytes.len();
            bytes[at] ^= 1 << (bit % 8);
        };
        if self.covers_body && !self.body.is_empty() {
            let mut other = self.clone();
            flip(&mut other.body);
            assert!(!self.believes(&other), "bit {bit} of the body");
        }
        for nth in 0..self.clone().proofs().len() {
            let mut other = self.clone();
            let proof = &mut other.proofs()[nth];
            let mut bytes = proof.clone().into_bytes();
            if bytes.is_empty() {
                continue;
            }
            flip(&mut bytes);
            let Ok(text) = String::from_utf8(bytes) else { continue };
            (**proof).clone_from(&text);
            assert!(!self.believes(&other), "bit {bit} of {text:?}");
        }
    }

    /// It is refused with another's words in the place of its own: headers, body, query, or what was fetched.
    pub(super) fn forged(&self, bytes: &[u8], headers: &[(String, String)]) {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let mut own = self.clone();
        let known = own.proofs().into_iter().map(|proof| proof.clone()).filter(|proof| !proof.is_empty());
        if known.chain([self.secret.clone()]).any(|known| text.contains(&known)) {
            return;
        }
        let other = Recorded { headers: headers.to_vec(), body: bytes.to_vec(), ..self.clone() };
        let other =
            Recorded { query: text.clone(), path_token: self.path_token.as_ref().map(|_| text.clone()), ..other };
        assert!(!self.believes(&other), "{other_headers:?}", other_headers = other.headers);
        self.where_to(&other);
        for nth in 0..self.clone().proofs().len() {
            let mut other = self.clone();
            (*other.proofs()[nth]).clone_from(&text);
            assert!(!self.believes(&other) || own.proofs()[nth].is_empty(), "{text:?} in the place of a proof");
            self.where_to(&other);
        }
        if self.fetched.is_some() {
            let other = Recorded { fetched: Some(bytes.to_vec()), ..self.clone() };
            assert!(!self.believes(&other), "{text:?} was fetched");
        }
        self.shown(&text);
    }

    /// Nothing is fetched but from where the manifest says.
    fn where_to(&self, other: &Recorded) {
        for scheme in &self.schemes {
            let Ok(Some(url)) = wanted(scheme, &other.request()) else { continue };
            let host = url.host_str().expect("a host");
            assert_eq!((url.scheme(), url.port(), url.username()), ("https", None, ""), "{url}");
            match scheme {
                Scheme::PublicKey(scheme) => {
                    let PublicKey::Certificate { hosts, .. } = &scheme.key else { panic!("{url}") };
                    assert!(hosts.iter().any(|pinned| pinned.matches(host)), "{url}");
                }
                Scheme::Jwt(scheme) => assert_eq!(Some(url), scheme.keys_url.url()),
                _ => panic!("{url}"),
            }
        }
    }

    /// A token in a body is shown to nobody.
    fn shown(&self, text: &str) {
        for scheme in &self.schemes {
            let Some(shown) = without_tokens(scheme, text) else { continue };
            let again = without_tokens(scheme, &shown).expect("as many tokens as before");
            let read = |text: &str| serde_json::from_str::<Value>(text).expect("it is JSON still");
            assert_eq!(read(&again), read(&shown), "what is hidden stays hidden");
        }
    }
}

/// What the provider is asked has the body's very bytes in it, and nothing that the request added; and it says so itself,
/// or the request is refused.
pub(super) fn asked(scheme: &PostbackScheme, bytes: &[u8]) {
    let named = |value: &str| scheme.headers.values().map(|name| (name.clone(), value.to_owned())).collect::<Vec<_>>();
    let headers = named(&String::from_utf8_lossy(bytes));
    let key = Secret::from_string("1JE4291016473214C".to_owned());
    let request = Inbound { headers: &headers, url: "", query: "", path_token: None, body: bytes };
    let all = Scheme::Postback(scheme.clone());
    for question in questions(&all, &[&key], &request).unwrap_or_default() {
        let fields: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(&question).expect("one JSON object");
        assert_eq!(fields.len(), scheme.headers.len() + usize::from(scheme.secret_field.is_some()) + 1);
        assert_eq!(fields[&scheme.body_field].get().as_bytes(), bytes.trim_ascii());
    }
    let fetched = Fetched { bytes: Some(bytes), trusted: &[] };
    let timely = named("1970-01-01T00:00:00Z");
    let is_accepted = verify_with(&all, &[&key], &Inbound { headers: &timely, ..request }, &fetched, 0).is_ok();
    let says_so = serde_json::from_slice(bytes).is_ok_and(|answer: Value| scheme.expects.holds(&answer));
    assert_eq!(is_accepted, says_so);
}
