//! One request to `/v3/company/{realm}/…`, from its token to its answer.
//!
//! **Invariants.** Checks come in this order: token, company, Accept, parameters, `requestid`; then the operation.
//! A `requestid` that was answered with success is answered so again, whatever it comes with.

use std::collections::BTreeMap;

use http::Method;

use super::company::Company;
use super::entity::Entity;
use super::json::{Json, Object};
use super::query::Query;
use super::refusal::Refusal;
use super::render::{company_info, render};
use super::select::select;
use super::tokens::Registry;
use super::writes::{self, Outcome, Write};
use super::{feed, webhooks};
use crate::core::clock::iso_pacific;
use crate::core::deliveries::Deliveries;
use crate::core::effects::Effects;
use crate::core::front::{Answer, Call};
use crate::core::ids::Ids;

const PARAMETERS: [&str; 7] =
    ["minorversion", "requestid", "operation", "include", "query", "entities", "changedSince"];
const MINOR_VERSION: u32 = 75;
const LONGEST_REQUEST_ID: usize = 50;

/// What an operation is given besides the company.
pub(crate) struct Desk<'a> {
    pub(crate) ids: &'a Ids,
    pub(crate) now: i64,
    pub(crate) deliveries: &'a Deliveries,
    pub(crate) effects: &'a Effects,
}

pub(crate) fn act(companies: &mut [Company], tokens: &Registry, desk: &Desk<'_>, call: &Call) -> Answer {
    let speaks_json = call.header("accept").is_some_and(|accept| accept.contains("application/json"));
    match respond(companies, tokens, desk, call, speaks_json) {
        Ok(answer) => answer,
        Err(refusal) if speaks_json => refusal.json(desk.now),
        Err(refusal) => refusal.xml(desk.now),
    }
}

fn respond(
    companies: &mut [Company],
    tokens: &Registry,
    desk: &Desk<'_>,
    call: &Call,
    speaks_json: bool,
) -> Result<Answer, Refusal> {
    let segments: Vec<&str> = call.path.split('/').skip(1).collect();
    let ["v3", "company", realm, rest @ ..] = segments.as_slice() else {
        return Err(Refusal::unknown_path(&call.path));
    };
    tokens.authorize(call.header("authorization"), realm, desk.now)?;
    let company = companies.iter_mut().find(|company| company.realm == *realm).ok_or_else(Refusal::forbidden)?;
    if !speaks_json {
        return Err(Refusal::xml_only());
    }
    let params = parameters(call)?;
    let Some(key) = params.get("requestid").filter(|_| call.method == Method::POST) else {
        return operate(company, desk, call, rest, &params);
    };
    if let Some(stored) = company.remembered.get(key) {
        let mut answer = stored.clone();
        answer.replayed = true;
        return Ok(answer);
    }
    let answer = operate(company, desk, call, rest, &params)?;
    let stored = Answer { effects: Vec::new(), ..answer.clone() };
    company.remembered.insert(key.clone(), stored);
    Ok(answer)
}

fn operate(
    company: &mut Company,
    desk: &Desk<'_>,
    call: &Call,
    path: &[&str],
    params: &BTreeMap<String, String>,
) -> Result<Answer, Refusal> {
    let param = |name: &str| params.get(name).map(String::as_str);
    let needed = |name: &str| param(name).ok_or_else(|| Refusal::missing(name));
    let is_get = call.method == Method::GET;
    match path {
        ["query"] if is_get => {
            let result = select(company, &Query::parse(needed("query")?)?)?;
            Ok(success([("QueryResponse", result)], desk.now))
        }
        ["cdc"] if is_get => {
            let mut feed = feed::changes(company, needed("entities")?, needed("changedSince")?, desk.now)?;
            if let Json::Object(fields) = &mut feed {
                fields.insert("time".to_owned(), iso_pacific(desk.now).into());
            }
            Ok(ok(&feed))
        }
        ["companyinfo", id] if is_get => {
            if *id != company.realm {
                return Err(Refusal::not_found(&format!("CompanyInfo {id}")));
            }
            Ok(success([("CompanyInfo", company_info(company))], desk.now))
        }
        [name, id] if is_get => {
            let entity = routed(name)?;
            let row = company.find(entity, id)?;
            Ok(success([(entity.name(), render(company, entity, row))], desk.now))
        }
        [name] if call.method == Method::POST => {
            let entity = routed(name)?;
            let body = body(call)?;
            let write =
                Write { entity, operation: param("operation"), include: param("include"), body: &body, now: desk.now };
            let outcome = writes::write(company, &write)?;
            webhooks::emit(desk, &company.realm, &outcome.changes);
            Ok(finished(entity, outcome, desk))
        }
        _ => Err(Refusal::unsupported(&format!("{} {}", call.method, path.join("/")))),
    }
}

fn finished(entity: Entity, outcome: Outcome, desk: &Desk<'_>) -> Answer {
    if let Some((kind, fingerprint, id)) = outcome.created {
        desk.effects.created(&kind.name().to_ascii_lowercase(), fingerprint, &id.to_string());
    }
    let mut answer = success([(entity.name(), outcome.shown.unwrap_or(Json::Null))], desk.now);
    answer.effects = outcome.effects;
    answer
}

/// Paths are in small letters.
fn routed(name: &str) -> Result<Entity, Refusal> {
    let is_lower = !name.contains(|letter: char| letter.is_ascii_uppercase());
    Entity::named(name).filter(|_| is_lower).ok_or_else(|| Refusal::unsupported(name))
}

fn parameters(call: &Call) -> Result<BTreeMap<String, String>, Refusal> {
    let pairs: Vec<(String, String)> =
        serde_urlencoded::from_str(&call.query).map_err(|_| Refusal::request("The query string is malformed"))?;
    let params: BTreeMap<String, String> = pairs.into_iter().collect();
    if let Some(unknown) = params.keys().find(|name| !PARAMETERS.contains(&name.as_str())) {
        return Err(Refusal::request(&format!("Unknown query parameter {unknown}")));
    }
    // Lower versions are treated as the current one; higher ones do not exist.
    let version = params.get("minorversion").map(|version| version.parse::<u32>());
    if !matches!(version, None | Some(Ok(..=MINOR_VERSION))) {
        return Err(Refusal::request(&format!("Invalid minorversion: at most {MINOR_VERSION}")));
    }
    let fits = |key: &String| (1..=LONGEST_REQUEST_ID).contains(&key.chars().count());
    if !params.get("requestid").is_none_or(fits) {
        return Err(Refusal::request(&format!("requestid must have 1 to {LONGEST_REQUEST_ID} characters")));
    }
    Ok(params)
}

fn body(call: &Call) -> Result<Object, Refusal> {
    if call.content_type() != "application/json" {
        return Err(Refusal::media_type());
    }
    let text = std::str::from_utf8(&call.body).map_err(|_| Refusal::unsupported("a body that is not UTF-8"))?;
    match Json::parse(text) {
        Ok(Json::Object(fields)) => Ok(fields),
        _ => Err(Refusal::property("the body is not a JSON object")),
    }
}

fn success<const N: usize>(fields: [(&str, Json); N], now: i64) -> Answer {
    let mut body = Object::from([("time".to_owned(), Json::from(iso_pacific(now)))]);
    body.extend(fields.into_iter().map(|(name, value)| (name.to_owned(), value)));
    ok(&body.into())
}

fn ok(body: &Json) -> Answer {
    Answer::new(200, "application/json;charset=UTF-8", body.print())
}

/// A request's idempotency key.
pub(crate) fn request_id(call: &Call) -> Option<String> {
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(&call.query).ok()?;
    let posted = call.method == Method::POST && call.path.starts_with("/v3/company/");
    pairs.into_iter().find(|(name, _)| posted && name == "requestid").map(|(_, value)| value)
}

/// Stores an answer that was put in place of the operation's own.
pub(crate) fn remember(companies: &mut [Company], call: &Call, answer: &Answer) {
    let realm = call.path.split('/').nth(3).unwrap_or_default();
    let company = companies.iter_mut().find(|company| company.realm == realm);
    if let (Some(company), Some(key)) = (company, request_id(call)) {
        company.remembered.insert(key, answer.clone());
    }
}
