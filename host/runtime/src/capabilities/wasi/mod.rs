//! WASI 0.2 as far as toolchains need it, virtual and empty.
//!
//! What is not here (files, sockets) is wasmtime-wasi's own implementation over contexts that hold and allow nothing.

mod cli;
mod clocks;
pub(crate) mod http;
mod random;
