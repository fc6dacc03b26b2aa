//! Webhooks: the older shape and the CloudEvents array, both signed alike.
//!
//! **To extend.** Another shape is a [`Format`] and a variant of [`WebhookFormat`].

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::api::Desk;
use super::writes::Change;
use crate::core::clock::iso_utc_nanos;
use crate::core::deliveries::{Endpoint, Format, Notice};
use crate::core::signing::intuit_signature;

/// Webhooks are set up for the application, so there is one endpoint.
pub(crate) const ENDPOINT: &str = "application";

/// The shape of the bodies.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum WebhookFormat {
    /// `{"eventNotifications": …}`
    Legacy,
    #[default]
    CloudEvents,
}

/// Where the application wants to be told of changes, as set up in Intuit's portal.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct WebhookTarget {
    pub url: String,
    pub verifier_token: String,
    #[serde(default)]
    pub format: WebhookFormat,
}

static LEGACY: Format = Format {
    content_type: "application/json",
    user_agent: "intuit-notifications/1.0",
    largest_batch: 100,
    patience: Duration::from_secs(3),
    compose: compose_legacy,
    sign,
};

static CLOUD_EVENTS: Format = Format {
    content_type: "application/cloudevents+json",
    user_agent: "intuit-notifications/1.0",
    largest_batch: 100,
    patience: Duration::from_secs(3),
    compose: compose_cloud_events,
    sign,
};

impl WebhookTarget {
    pub(crate) fn endpoint(self) -> Endpoint {
        let format = match self.format {
            WebhookFormat::Legacy => &LEGACY,
            WebhookFormat::CloudEvents => &CLOUD_EVENTS,
        };
        Endpoint { url: self.url, secrets: vec![self.verifier_token], format, version: String::new() }
    }
}

fn sign(secrets: &[String], _at: i64, body: &[u8]) -> (&'static str, String) {
    let verifier = secrets.last().map(String::as_str).unwrap_or_default();
    ("intuit-signature", intuit_signature(verifier, body))
}

/// Tells the application of changes, if it wants to be told.
pub(crate) fn emit(desk: &Desk<'_>, realm: &str, changes: &[Change]) {
    if !desk.deliveries.has_endpoint(ENDPOINT) {
        return;
    }
    for change in changes {
        let payload = json!({
            "realm": realm,
            "entity": change.entity.name(),
            "id": change.id.to_string(),
            "operation": change.operation,
            "time": iso_utc_nanos(desk.now),
        });
        desk.deliveries.emit(ENDPOINT, Arc::new(Notice { id: desk.ids.uuid(), payload }));
    }
}

/// One group for each company, in the order in which the companies first appear.
fn compose_legacy(notices: &[Arc<Notice>], _endpoint: &Endpoint) -> Vec<u8> {
    let mut groups: Vec<(&Value, Vec<Value>)> = Vec::new();
    for notice in notices {
        let of_change = |field: &str| notice.payload.get(field).unwrap_or(&Value::Null);
        let entity = json!({
            "name": of_change("entity"),
            "id": of_change("id"),
            "operation": of_change("operation"),
            "lastUpdated": of_change("time").as_str().map(|time| time.replace("000000Z", "Z")),
        });
        let realm = of_change("realm");
        match groups.iter_mut().find(|(known, _)| *known == realm) {
            Some((_, entities)) => entities.push(entity),
            None => groups.push((realm, vec![entity])),
        }
    }
    let group = |(realm, entities)| json!({ "realmId": realm, "dataChangeEvent": { "entities": entities } });
    let groups: Vec<Value> = groups.into_iter().map(group).collect();
    json!({ "eventNotifications": groups }).to_string().into_bytes()
}

fn compose_cloud_events(notices: &[Arc<Notice>], _endpoint: &Endpoint) -> Vec<u8> {
    let event = |notice: &Arc<Notice>| {
        let of_change = |field: &str| notice.payload.get(field).and_then(Value::as_str).unwrap_or_default();
        let happened = match of_change("operation") {
            "Create" => "created",
            "Delete" => "deleted",
            "Void" => "voided",
            _ => "updated",
        };
        json!({
            "specversion": "1.0",
            "id": notice.id,
            "source": "intuit.simulated",
            "type": format!("qbo.{}.{happened}.v1", of_change("entity").to_ascii_lowercase()),
            "time": of_change("time"),
            "intuitentityid": of_change("id"),
            "intuitaccountid": of_change("realm"),
            "data": {},
        })
    };
    let events: Vec<Value> = notices.iter().map(event).collect();
    Value::from(events).to_string().into_bytes()
}
