//! jq as a connector: maps a value by a filter, and tells beforehand whether a text is one.
//!
//! A filter is anybody's code, so it runs where anybody's code runs: an endless loop is just another guest at its
//! limit. What a filter's author can mend is `invalid-input`; its `code` says which way:
//!
//! | code | the filter |
//! |---|---|
//! | `too-long` | is longer than [`MAX_FILTER_BYTES`] |
//! | `syntax` | is no jq; `details` has `line` and `column` |
//! | `undefined` | uses a name that nothing defines; `details` likewise |
//! | `failed` | failed on this input, or called `error` |
//! | `no-output`, `several-outputs` | gave none or several values where exactly one is needed |
//! | `not-json` | gave something that JSON cannot say, such as `nan` |

mod evaluate;
mod trouble;

#[doc(hidden)]
pub use evaluate::{check, one};

use bulkhead_sdk::prelude::*;
use serde_json::value::RawValue;

/// A mapping that is longer than this is a program, and wants to be a connector.
const MAX_FILTER_BYTES: usize = 64 * 1024;

// Values stay text on their way through: a number keeps its digits unless the filter calculates with it.
#[derive(Deserialize, JsonSchema)]
struct Mapping {
    /// A jq filter, such as `{amount: .data.total, currency: .data.currency}`. It has to give exactly one value.
    filter: String,
    /// What the filter is applied to.
    #[schemars(with = "Value")]
    input: Box<RawValue>,
}

#[derive(Deserialize, JsonSchema)]
struct Filter {
    /// What may become a mapping.
    filter: String,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Mapped {
    /// The filter's one output.
    #[schemars(with = "Value")]
    output: Box<RawValue>,
}

struct Jq;

#[connector]
impl Jq {
    /// Maps a value by a jq filter.
    #[action(read_only)]
    fn map(mapping: Mapping) -> Result<Mapped, Failure> {
        let output = evaluate::one(&mapping.filter, mapping.input.get())?;
        Ok(Mapped { output: RawValue::from_string(output).map_err(|_| trouble::not_json())? })
    }

    /// Says what is wrong with a jq filter, if anything.
    #[action(read_only)]
    fn compile(filter: Filter) -> Result<(), Failure> {
        evaluate::check(&filter.filter)
    }
}

#[cfg(test)]
mod tests;
