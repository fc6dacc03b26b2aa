//! The contract's exports for any [`Connector`]: convert, call, convert. `#[connector]` decides which are used.

use std::marker::PhantomData;

use super::{convert, panic};
use crate::bindings::account::exports::bulkhead::connector::account;
use crate::bindings::actions::exports::bulkhead::connector::actions;
use crate::bindings::descriptor::exports::bulkhead::connector::descriptor;
use crate::bindings::host::bulkhead::connector::types;
use crate::bindings::streams::exports::bulkhead::connector::streams;
use crate::bindings::webhooks::exports::bulkhead::connector::webhooks;
use crate::{Connector, Pull, PullMode, json};

/// Stands for a connector in the export macros.
pub struct Exported<C>(PhantomData<C>);

impl<C: Connector> descriptor::Guest for Exported<C> {
    // Without the panic hook: `describe` may not call the host, not even to complain.
    fn describe() -> String {
        json::encode(&C::describe()).unwrap_or_default()
    }
}

impl<C: Connector> account::Guest for Exported<C> {
    fn check() -> Result<account::Identity, types::Failure> {
        panic::write_to_log();
        let identity = C::check().map_err(convert::failure)?;
        Ok(account::Identity { id: identity.id, label: identity.label, details: identity.details.to_string() })
    }
}

impl<C: Connector> actions::Guest for Exported<C> {
    fn act(action: String, input: String, resume: Option<String>) -> Result<actions::Outcome, types::Failure> {
        panic::write_to_log();
        C::act(&action, &input, resume.as_deref()).map(convert::outcome).map_err(convert::failure)
    }
}

impl<C: Connector> streams::Guest for Exported<C> {
    fn pull(
        name: String,
        mode: streams::PullMode,
        cursor: Option<String>,
        limit: u32,
    ) -> Result<streams::Page, types::Failure> {
        panic::write_to_log();
        let mode = match mode {
            streams::PullMode::Full => PullMode::Full,
            streams::PullMode::Incremental => PullMode::Incremental,
        };
        C::pull(&name, Pull { mode, cursor, limit }).map(convert::page).map_err(convert::failure)
    }

    fn push(name: String, changes: Vec<streams::Outgoing>) -> Result<Vec<streams::Pushed>, types::Failure> {
        panic::write_to_log();
        let changes = changes.into_iter().map(convert::outgoing).collect();
        let pushed = C::push(&name, changes).map_err(convert::failure)?;
        Ok(pushed.into_iter().map(convert::pushed).collect())
    }
}

impl<C: Connector> webhooks::Guest for Exported<C> {
    fn receive(delivery: webhooks::Delivery) -> Result<webhooks::Receipt, types::Failure> {
        panic::write_to_log();
        C::receive(convert::delivery(delivery)).map(convert::receipt).map_err(convert::failure)
    }

    fn register(
        url: String,
        previous: Option<webhooks::Registration>,
    ) -> Result<webhooks::Registration, types::Failure> {
        panic::write_to_log();
        let previous = previous.map(convert::previous_registration).transpose().map_err(convert::failure)?;
        C::register(url, previous).map(convert::registration).map_err(convert::failure)
    }

    fn unregister(registration: webhooks::Registration) -> Result<(), types::Failure> {
        panic::write_to_log();
        let registration = convert::previous_registration(registration).map_err(convert::failure)?;
        C::unregister(registration).map_err(convert::failure)
    }
}
