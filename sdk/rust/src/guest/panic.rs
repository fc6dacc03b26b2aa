//! A panic ends the run as a trap. Its message would be lost with it, so it goes to the run's log first.

use std::sync::Once;

use serde_json::{Map, Value};

use crate::log;

static HOOK: Once = Once::new();

/// Called at the start of every export that may call the host.
pub(super) fn write_to_log() {
    HOOK.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            let message = panic.payload_as_str().unwrap_or("no message");
            let mut fields = Map::new();
            if let Some(location) = panic.location() {
                fields.insert("file".to_owned(), Value::from(location.file()));
                fields.insert("line".to_owned(), Value::from(location.line()));
            }
            log::write(log::Level::Error, &format!("The connector panicked: {message}"), fields);
        }));
    });
}
