//! What a host would say of a component at its upload, said where it is built.

use bulkhead_runtime::{CompilerCommand, Runtime, RuntimeConfig};

use super::BuildError;
use crate::COMPILE_COMMAND;

/// Compiles it, asks for its `describe` in a sandbox, and checks what it says.
pub(crate) fn examine(component: &[u8]) -> Result<(), BuildError> {
    let nowhere = |error: &dyn std::fmt::Display| BuildError::NoSandbox { problem: error.to_string() };
    let artifacts = tempfile::tempdir().map_err(|error| nowhere(&error))?;
    let compiler = CompilerCommand::this_executable([COMPILE_COMMAND]).map_err(|error| nowhere(&error))?;
    // Gone with the folder in a moment: nobody else's artifacts are under this key.
    let settings = RuntimeConfig { slots: 1, threads: 1, ..RuntimeConfig::new(artifacts.path(), [0; 32], compiler) };
    let waiting = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let waiting = waiting.map_err(|error| nowhere(&error))?;
    waiting.block_on(async {
        let sandbox = Runtime::start(settings).map_err(|error| nowhere(&error))?;
        bulkhead_server::examine(&sandbox, &component.to_vec().into(), "")
            .await
            .map(drop)
            .map_err(|error| BuildError::Refused(Box::new(error)))
    })
}
