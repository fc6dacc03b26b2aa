//! The seam to the host: the same functions twice, imported from the host on WebAssembly, answered by
//! `testing::Host` everywhere else. Nothing above this line knows which.

#[cfg(target_family = "wasm")]
pub(crate) use crate::guest::imports::*;
#[cfg(not(target_family = "wasm"))]
pub(crate) use crate::testing::imports::*;
