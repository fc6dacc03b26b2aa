//! The memory: the only code with SQL. SQLite or Postgres behind one set of named operations.
//!
//! ```text
//! let mut tx = store.tenant(tenant).await?;       // or system(), tenant_read(), system_read()
//! tx.finish_run(&lease, &end).await?;             // named operations, by noun
//! tx.insert_event(&event).await?;
//! tx.commit().await?;                             // on disk when it returns; dropped instead, undone
//! ```
//!
//! - `store` opens units, `open` opens the store, `tx` says who may do what, `unit` runs statements, `writer` is SQLite's
//!   shared commit, `catalogue` and `many` keep the statements, `value` and `row` translate.
//! - The queue: `runs`, `enqueue`, `lanes`, `claim` (with `fair`), `leases`, `run_ends`, `journal`. What comes in gets
//!   there through `inbox`.
//! - One file for every other noun.
//!
//! Invariants: every statement of a tenant's carries the tenant, and its types cannot be made without one; both
//! databases see the same operations; nothing is acknowledged before it is on disk; the store never opens a seal and
//! never reads the clock.
//!
//! To add an operation: its statement in its noun's `catalogue!`, and a method on [`TenantTx`], [`TenantRead`],
//! [`SystemTx`] or [`SystemRead`] beside it. To add a noun: a table in both migration folders (see `migrations`), a file,
//! and its line in `catalogue::all`.

mod apps;
mod attempts;
mod budgets;
mod catalogue;
mod claim;
mod components;
mod connect_sessions;
mod connections;
mod connectors;
mod counters;
mod credentials;
mod cursors;
mod deliveries;
mod detail;
mod enqueue;
mod error;
mod events;
mod fair;
mod house;
mod inbox;
mod journal;
mod keys;
mod lanes;
mod leases;
mod links;
mod lock;
mod many;
mod migrations;
mod open;
mod paging;
mod pieces;
mod records;
mod routes;
mod row;
mod run_ends;
mod runs;
mod sealed;
mod state;
mod store;
mod tenants;
mod tx;
mod unit;
mod value;
mod verdicts;
mod wrapping_keys;
mod writer;

#[cfg(test)]
mod tests;

pub use apps::{App, NewApp};
pub use budgets::{CellOrder, Cells};
pub use claim::{ClaimOrder, Claims};
pub use connect_sessions::{Begun, NewSession, Session};
pub use connections::{Account, Connection, ConnectionStatus, GoesOn, NewConnection, Terms};
pub use connectors::{Connector, ListedVersion, NewVersion, Published, Version};
pub use credentials::{Credential, NewCredential, Owner, RefreshLease};
pub use cursors::Cursor;
pub use deliveries::{Accepted, Came, Delivery, DeliveryStatus, ListedDelivery, NewDelivery, Scope};
pub use detail::{Attempt, ListedEntry};
pub use enqueue::{Enqueued, NewRun};
pub use error::{Fault, LinkConflict, Result, StoreError};
pub use events::{Event, FanOut, NewEvent};
pub use journal::{Anew, Answered, Entry, NewAnswer, NewEntry, NewIntent, READS, Step};
pub use keys::{Key, NewKey};
pub use leases::{Heartbeat, Reaped};
pub use links::Link;
pub use lock::Holder;
pub use open::OpenError;
pub use paging::{After, Page, Part};
pub use pieces::{AT_ONCE, is_ours};
pub use records::{NewRecord, Put, Record};
pub use routes::{NewRoute, Route};
pub use row::UnknownWord;
pub use run_ends::{AttemptEnd, EndState, Park, Reopen, RunEnd, Stop, Stopped};
pub use runs::{Lease, ListedRun, Priority, QueueDepth, Run, RunFilter, RunState};
pub use sealed::{Heads, SealedPlace};
pub use store::{Dialect, Store, StoreConfig};
pub use tenants::{NewTenant, Tenant};
pub use tx::{SystemRead, SystemTx, TenantRead, TenantTx};
pub use verdicts::{Verdict, VerdictKind};
pub use wrapping_keys::WrappingKeyRow;

/// One JSON document as text, kept as given.
pub type Json = String;
