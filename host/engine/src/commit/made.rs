//! What is made of an answer before the transaction that writes it: references looked up, records hashed, documents encoded.
//!
//! Invariant: a guest's answer is as large as it likes to make it, and whoever writes has the store for itself. So what takes
//! time with its size is done here, where nobody waits for it.

use bulkhead_runtime::{ChangeOp, Identity, Page, Produced};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::failing::put_together;
use super::parsed;
use super::veto::events_of;
use crate::Engine;
use crate::aside::aside;
use crate::attempt::{End, Opened};
use crate::fault::{EngineFault, stored};
use crate::settle::Ended;

/// What goes with an answer into its transaction.
#[derive(Default)]
pub(super) struct Made {
    /// `refs` of each event.
    pub refs: Vec<String>,
    /// Of the record of each change.
    pub hashes: Vec<[u8; 32]>,
    pub identity: Told,
}

/// Whose account it is, as JSON.
#[derive(Default)]
pub(super) struct Told {
    pub output: String,
    /// The connection's account with it.
    pub account: Option<String>,
}

impl Engine {
    /// The end as it is written, and what goes with it.
    pub(super) async fn made(&self, opened: &Opened, end: End) -> Result<(End, Made), EngineFault> {
        let (end, refs) = self.referring(opened, end).await?;
        let (end, made) = match end {
            End::Produced(Produced::Page(page)) => {
                let (page, hashes) = hashed(page).await?;
                (End::Produced(Produced::Page(page)), Made { hashes, ..Made::default() })
            }
            End::Produced(Produced::Identity(identity)) => {
                let (identity, told) = told(identity, opened.connection.account.clone()).await?;
                (End::Produced(Produced::Identity(identity)), Made { identity: told, ..Made::default() })
            }
            end => (put_together(end, Some(&opened.request)).await?, Made { refs, ..Made::default() }),
        };
        Ok((end, made))
    }

    /// The end, with `refs` of each event in it. Before any transaction is begun, for as long as it takes.
    async fn referring(&self, opened: &Opened, end: End) -> Result<(End, Vec<String>), EngineFault> {
        let End::Produced(produced) = &end else { return Ok((end, Vec::new())) };
        Ok(match self.refs(opened, events_of(produced)).await? {
            Ok(refs) => (end, refs),
            Err(failure) => (End::Not(Ended::Broke(failure)), Vec::new()),
        })
    }
}

async fn hashed(page: Page) -> Result<(Page, Vec<[u8; 32]>), EngineFault> {
    let bytes = page.changes.iter().map(|(_, change)| text(change).len()).sum();
    let hash = move || {
        let hashes = page.changes.iter().map(|(_, change)| Sha256::digest(text(change)).into()).collect();
        (page, hashes)
    };
    aside(bytes, hash).await
}

/// The record, where there is one.
fn text(change: &ChangeOp) -> &str {
    match change {
        ChangeOp::Upsert(data) => data,
        ChangeOp::Delete => "",
    }
}

async fn told(identity: Identity, account: Option<String>) -> Result<(Identity, Told), EngineFault> {
    let bytes = identity.details.len() + account.as_ref().map_or(0, String::len);
    let encoded = move || {
        let details = parsed(&identity.details);
        let with = |account: String| -> Result<String, EngineFault> {
            let mut account: Value = stored("a connection's account", &account)?;
            if let Some(fields) = account.as_object_mut() {
                fields.insert("label".to_owned(), json!(identity.label));
                fields.insert("details".to_owned(), details.clone());
            }
            Ok(account.to_string())
        };
        let account = account.map(with).transpose()?;
        let output = json!({ "id": identity.id, "label": identity.label, "details": details }).to_string();
        Ok((identity, Told { output, account }))
    };
    aside(bytes, encoded).await?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bulkhead_runtime::External;

    use super::*;
    use crate::aside::tests::is_done_aside;

    fn page(record: &str) -> Page {
        let external = || External { id: "1".to_owned(), version: None };
        let changes = vec![(external(), ChangeOp::Delete), (external(), ChangeOp::Upsert(record.to_owned()))];
        Page { changes, next: None, more: false, snapshot_complete: false }
    }

    fn identity(details: Value) -> Identity {
        Identity { id: "1".to_owned(), label: "Acme".to_owned(), details: details.to_string() }
    }

    /// Mutations: `hashed` or `told`, do it here; `told`, without either size.
    #[tokio::test]
    async fn what_takes_time_with_the_size_of_an_answer_is_done_aside() {
        let much = "x".repeat(100_000);
        assert!(is_done_aside(hashed(page(&much))).await);
        assert!(is_done_aside(told(identity(json!(much)), None)).await);
        assert!(is_done_aside(told(identity(json!(1)), Some(json!({ "id": much }).to_string()))).await);
    }

    /// Mutations: `hashed`, leave out what is deleted; `told`, leave out either member.
    #[tokio::test]
    async fn each_change_has_its_hash_and_an_account_what_was_told_of_it() {
        let (page, hashes) = hashed(page("{}")).await.unwrap();
        assert_eq!(hashes.len(), page.changes.len());
        assert_eq!(hashes[1], <[u8; 32]>::from(Sha256::digest("{}")));
        let account = json!({ "id": "1", "tokens": 2 }).to_string();
        let (_, told) = told(identity(json!({ "plan": "a" })), Some(account)).await.unwrap();
        let parsed = |text: &str| -> Value { serde_json::from_str(text).unwrap() };
        assert_eq!(parsed(&told.output), json!({ "id": "1", "label": "Acme", "details": { "plan": "a" } }));
        let account = json!({ "id": "1", "tokens": 2, "label": "Acme", "details": { "plan": "a" } });
        assert_eq!(told.account.as_deref().map(parsed), Some(account));
    }
}
