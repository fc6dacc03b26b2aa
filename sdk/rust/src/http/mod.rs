//! The door: the only way out. The host checks each request against the manifest's egress rules, adds the
//! credential, limits, journals and sends.
//!
//! ```no_run
//! # use bulkhead_sdk::prelude::*;
//! # #[derive(Serialize)] struct NewCharge { amount: i64 }
//! # #[derive(Deserialize)] struct Charge { id: String }
//! # fn example(charge: &NewCharge) -> Result<Charge, Failure> {
//! http::post("https://api.example.com/v1/charges").form(charge).effect("charge").send()?.json()
//! # }
//! ```
//!
//! A request that cannot be built (a body that is no JSON, say) fails when it is sent, so that building never needs `?`.

mod error;
mod form;
mod request;
mod response;
pub(crate) mod url;

pub use error::{Error, ErrorKind};
pub use request::{Chunk, Deliver, QueryValue, Request, Slice, delete, get, patch, post, put, request, send_all};
pub use response::{Body, Response};
pub use url::encode;

pub(crate) use request::Wire;
pub(crate) use response::Raw;
