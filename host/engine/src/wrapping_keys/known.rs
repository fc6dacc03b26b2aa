//! The keys as the store knows them, at one moment: which seals, which were taken over from, what is to be done.

use std::cmp::Ordering;
use std::ops::RangeInclusive;

use bulkhead_store::WrappingKeyRow;
use bulkhead_vault::WrappingKey;
use serde::Serialize;

use crate::warnings::{Warning, old_secret};

/// How long values that nothing could be said about are left alone at least, and at most.
pub(super) const TRY_AGAIN_MS: RangeInclusive<u64> = 60_000..=3_600_000;

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
    /// How many sealed values were still under it when it was last looked: they could not be opened.
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
    /// It is to go, and all is looked through once more to be certain that nothing needs it.
    Leaving,
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
    /// began before is written. What nothing could be said about is left alone for as long again as it has taken so far,
    /// unless somebody wants its key to go.
    pub(super) fn is_work_due(&self, settled_ms: u64) -> bool {
        self.retired().filter(|(row, _)| row.removing_ms.is_none()).any(|(row, retired_ms)| {
            let settled_ms = retired_ms.saturating_add(settled_ms);
            let rests_until_ms = row.tried_ms.filter(|_| row.wanted_ms.is_none()).map(|at_ms| {
                let so_far_ms = at_ms.saturating_sub(retired_ms);
                at_ms.saturating_add(so_far_ms.clamp(*TRY_AGAIN_MS.start(), *TRY_AGAIN_MS.end()))
            });
            row.rewrapped_ms.is_none_or(|at_ms| at_ms < settled_ms && self.now_ms >= settled_ms)
                && rests_until_ms.is_none_or(|until_ms| self.now_ms >= until_ms)
        })
    }

    /// Those that are to go, and that nothing was under when all that they sealed was written and looked through.
    pub(super) fn leaving(&self, settled_ms: u64) -> impl Iterator<Item = &WrappingKeyRow> {
        let leaving = self.retired().filter(move |(row, retired_ms)| {
            let looked = is_looked_through(row, retired_ms.saturating_add(settled_ms));
            looked && row.wanted_ms.is_some() && row.removing_ms.is_none() && row.uses == Some(0)
        });
        leaving.map(|(row, _)| row)
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
                (Ordering::Less, _) if row.wanted_ms.is_some() => WrappingKeyState::Leaving,
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

/// Whether all that a key sealed was looked through since this moment.
pub(super) fn is_looked_through(row: &WrappingKeyRow, from_ms: u64) -> bool {
    row.rewrapped_ms.is_some_and(|at_ms| at_ms >= from_ms)
}

pub(super) fn key(row: &WrappingKeyRow) -> WrappingKey {
    WrappingKey { id: row.id.clone(), guarded: row.guarded.clone() }
}
