//! Our records as QuickBooks knows them. An id is never guessed: what is not linked is a failure that says what to do.

use bulkhead_sdk::prelude::*;

/// The QuickBooks id of our record `id` of `stream`; `what` is what people call it.
pub(crate) fn resolve(stream: &str, what: &str, id: &str, field: &str) -> Result<String, Failure> {
    match context::resolve(stream, id) {
        Some(external) => Ok(external.id),
        None => Err(Failure::not_found(format!("{what} {id}: not linked to QuickBooks. Create or map it first."))
            .field(field)
            .code("not-linked")),
    }
}
