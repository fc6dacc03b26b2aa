//! The count of everything that changed, and the search for things that were done twice.
//!
//! An effect is named `object.verb`, such as `payment.created`. Two creations with the same fingerprint are a
//! duplicate; the provider decides what the fingerprint of an object is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::lock::Lock;

/// Objects of one kind that were created with the same meaning.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Duplicate {
    pub kind: String,
    pub fingerprint: String,
    pub ids: Vec<String>,
}

#[derive(Debug, Default)]
pub(crate) struct Effects {
    counts: Lock<BTreeMap<String, u64>>,
    creations: Lock<BTreeMap<(String, String), Vec<String>>>,
}

impl Effects {
    pub(crate) fn count(&self, effects: &[String]) {
        let mut counts = self.counts.get();
        for effect in effects {
            *counts.entry(effect.clone()).or_default() += 1;
        }
    }

    pub(crate) fn created(&self, kind: &str, fingerprint: String, id: &str) {
        let mut creations = self.creations.get();
        creations.entry((kind.to_owned(), fingerprint)).or_default().push(id.to_owned());
    }

    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        self.counts.get().clone()
    }

    pub(crate) fn duplicates(&self) -> Vec<Duplicate> {
        let creations = self.creations.get();
        let repeated = creations.iter().filter(|(_, ids)| ids.len() > 1);
        let named = repeated.map(|((kind, fingerprint), ids)| Duplicate {
            kind: kind.clone(),
            fingerprint: fingerprint.clone(),
            ids: ids.clone(),
        });
        named.collect()
    }
}
