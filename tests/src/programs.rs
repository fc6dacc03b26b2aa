//! Where `cargo xtask guests` leaves what the stories run.

use std::path::PathBuf;

/// The folder with what cargo built, beside this test's own `deps`.
fn built() -> PathBuf {
    let mut folder = std::env::current_exe().unwrap_or_default();
    folder.pop();
    if folder.ends_with("deps") {
        folder.pop();
    }
    folder
}

/// The `bulkhead` binary.
///
/// # Panics
/// Says how to build it where it is not there.
pub fn host_program() -> PathBuf {
    let path = built().join("bulkhead");
    assert!(path.exists(), "{} is missing: run `cargo xtask guests` first", path.display());
    path
}

/// A component, by the connector's name.
///
/// # Panics
/// Says how to build it where it is not there.
pub fn component(name: &str) -> PathBuf {
    let path = built().join("..").join("connectors").join(format!("{name}.wasm"));
    assert!(path.exists(), "{} is missing: run `cargo xtask guests` first", path.display());
    path
}

/// The folder where `cargo xtask test` leaves OAuth servers of others; perhaps it is not there.
pub fn oauth_servers() -> PathBuf {
    built().join("..").join("oauth")
}
