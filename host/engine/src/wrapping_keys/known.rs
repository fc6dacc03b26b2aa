//! The keys as the store knows them, at one moment: which seals, which were taken over from, what is to be done.

use std::cmp::Ordering;

use bulkhead_store::WrappingKeyRow;
use bulkhead_vault::WrappingKey;
use serde::Serialize;

use crate::warnings::{Warning, old_secret};

/// A key as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WrappingKeyView {
    pub id: String,
    pub state: WrappingKeyState,
    pub created_ms: u64,
    /// From when on it seals.
    pub active_ms: u64,
    /// When another took over.
    pub retired_ms: Option<u64>,
    /// From when on it can be removed, where nothing uses it.
    pub removable_ms: Option<u64>,
    /// When all that had been sealed under it was last looked through and wrapped anew.
    pub rewrapped_ms: Option<u64>,
    /// How many sealed values were still under it then: they could not be opened.
    pub uses: Option<u64>,
    pub warnings: Vec<Warning>,
}

/// What a key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WrappingKeyState {
    /// Every node gets hold of it; soon it seals.
    Coming,
    /// It seals.
    Active,
    /// Another took over, and what this one sealed is being wrapped anew.
    Retiring,
    /// Nothing that was sealed in time and opens is under it any more.
    Retired,
    /// It opens nothing any more, and is being destroyed.
    Removing,
}

/// The keys as they stand at one moment, the one that seals latest last.
pub(super) struct Known {
    pub(super) rows: Vec<(u64, WrappingKeyRow)>,
    pub(super) root: Vec<WrappingKeyRow>,
    active: usize,
    pub(super) now_ms: u64,
}

impl Known {
    pub(super) fn of(rows: Vec<WrappingKeyRow>, now_ms: u64) -> Self {
        let (sealing, root): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.active_ms.is_some());
        let mut rows: Vec<_> = sealing.into_iter().map(|row| (row.active_ms.unwrap_or_default(), row)).collect();
        rows.sort_by(|one, other| (one.0, &one.1.id).cmp(&(other.0, &other.1.id)));
        let active = rows.iter().rposition(|(from_ms, _)| *from_ms <= now_ms).unwrap_or_default();
        Self { rows, root, active, now_ms }
    }

    pub(super) fn active(&self) -> Option<&WrappingKeyRow> {
        self.rows.get(self.active).map(|(_, row)| row)
    }

    /// The keys before the active one, each with when another took over.
    pub(super) fn retired(&self) -> impl Iterator<Item = (&WrappingKeyRow, u64)> {
        let taken_over = self.rows.iter().skip(1).map(|(from_ms, _)| *from_ms);
        self.rows.iter().take(self.active).zip(taken_over).map(|((_, row), at_ms)| (row, at_ms))
    }

    /// Whether everything is to be looked through: when another took over, and again `settled_ms` later, when all that
    /// began before is written.
    pub(super) fn is_work_due(&self, settled_ms: u64) -> bool {
        self.retired().filter(|(row, _)| row.removing_ms.is_none()).any(|(row, retired_ms)| {
            let settled_ms = retired_ms.saturating_add(settled_ms);
            row.rewrapped_ms.is_none_or(|at_ms| at_ms < settled_ms && self.now_ms >= settled_ms)
        })
    }

    /// Those that have to be there.
    pub(super) fn keys(&self) -> Vec<WrappingKey> {
        self.rows.iter().filter(|(_, row)| row.removing_ms.is_none()).map(|(_, row)| key(row)).collect()
    }

    pub(super) fn views(&self, settled_ms: u64, warn_after_ms: u64) -> Vec<WrappingKeyView> {
        let view = |(index, (active_ms, row)): (usize, &(u64, WrappingKeyRow))| {
            let retired_ms = self.rows.get(index + 1).map(|(from_ms, _)| *from_ms).filter(|_| index < self.active);
            let state = match (index.cmp(&self.active), row.rewrapped_ms) {
                (Ordering::Greater, _) => WrappingKeyState::Coming,
                (Ordering::Equal, _) => WrappingKeyState::Active,
                (Ordering::Less, _) if row.removing_ms.is_some() => WrappingKeyState::Removing,
                (Ordering::Less, None) => WrappingKeyState::Retiring,
                (Ordering::Less, Some(_)) => WrappingKeyState::Retired,
            };
            let is_active = state == WrappingKeyState::Active;
            let old = || {
                let remedy = "Run `bulkhead keys rotate`.";
                old_secret("wrapping-key-old", "This wrapping key", row.created_ms, self.now_ms, warn_after_ms, remedy)
            };
            WrappingKeyView {
                id: row.id.clone(),
                state,
                created_ms: row.created_ms,
                active_ms: *active_ms,
                retired_ms,
                removable_ms: retired_ms.map(|at_ms| at_ms.saturating_add(settled_ms)),
                rewrapped_ms: row.rewrapped_ms,
                uses: row.uses,
                warnings: is_active.then(old).flatten().into_iter().collect(),
            }
        };
        self.rows.iter().enumerate().map(view).collect()
    }
}

pub(super) fn key(row: &WrappingKeyRow) -> WrappingKey {
    WrappingKey { id: row.id.clone(), guarded: row.guarded.clone() }
}
