//! The WebAssembly side: the host's functions ([`imports`]) and ours ([`exports`]).

mod convert;
mod exports;
pub(crate) mod imports;
mod panic;

pub use exports::Exported;
