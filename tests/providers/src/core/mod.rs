//! What every simulated provider is made of, whichever system it imitates.
//!
//! A request passes these rooms in order: [`wire`] (the connection, which can be cut), [`front`] (the pipeline),
//! [`ledger`] (it is written down), [`gates`] (a test may hold it), [`faults`] (it may be made to fail), and then the
//! provider itself. Webhooks leave through [`deliveries`], are signed by [`signing`] and posted by [`post`].

pub(crate) mod clock;
pub(crate) mod control;
pub(crate) mod deliveries;
pub(crate) mod delivery_plan;
pub(crate) mod delivery_record;
pub(crate) mod effects;
pub(crate) mod faults;
pub(crate) mod front;
pub(crate) mod gates;
pub(crate) mod ids;
pub(crate) mod instruments;
pub(crate) mod ledger;
pub(crate) mod lock;
pub(crate) mod post;
pub(crate) mod server;
pub(crate) mod signing;
pub(crate) mod wire;
