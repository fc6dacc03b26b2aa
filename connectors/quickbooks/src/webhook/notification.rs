//! Intuit's own: `{"eventNotifications": [{"realmId", "dataChangeEvent": {"entities": [{"name", "id", "operation",
//! "lastUpdated"}]}}]}`. Its reports have no id, so one is made of what they say.

use bulkhead_sdk::prelude::*;

use super::{Report, operation};

#[derive(Deserialize)]
pub(super) struct Envelope {
    #[serde(rename = "eventNotifications")]
    pub(super) notifications: Vec<Notification>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Notification {
    realm_id: String,
    data_change_event: DataChange,
}

#[derive(Deserialize)]
struct DataChange {
    #[serde(default)]
    entities: Vec<ChangedEntity>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChangedEntity {
    name: String,
    id: String,
    operation: String,
    last_updated: Option<String>,
}

impl Notification {
    /// Those about something we know.
    pub(super) fn reports(self) -> impl Iterator<Item = Report> {
        let realm = self.realm_id;
        self.data_change_event.entities.into_iter().filter_map(move |entity| entity.report(&realm))
    }
}

impl ChangedEntity {
    fn report(self, realm: &str) -> Option<Report> {
        let operation = operation(&self.operation)?;
        // Without a time, two changes of one kind would be taken for one.
        let at = self.last_updated.unwrap_or_else(|| context::now_ms().to_string());
        Some(Report {
            event: format!("{}/{}/{}/{at}", self.name, self.id, self.operation),
            realm: realm.to_owned(),
            entity: self.name.to_ascii_lowercase(),
            operation,
            id: self.id,
        })
    }
}
