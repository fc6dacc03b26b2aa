//! The compiling process: confined first, then wasm in, artifact out.

use std::io::{self, Read, Write};
use std::process::ExitCode;

use wasmtime::Engine;

use super::{CPU_VARIABLE, INPUT_VARIABLE, MEMORY_VARIABLE, REJECTED, UNCONFINED, async_builtins, confine};
use crate::sandbox;

/// What the child allows itself when nobody says otherwise.
const DEFAULT_MEMORY: u64 = 2 << 30;
const DEFAULT_CPU_SECONDS: u64 = 60;
const DEFAULT_INPUT: u64 = 32 << 20;
/// What the system's error exit codes call an internal fault.
const INTERNAL: u8 = 70;

/// The whole life of a compiling process: a component on standard input, its artifact on standard output, the reason on
/// standard error. To be called first thing in `main`, before any thread exists: the limits it puts on itself are the
/// process's.
#[must_use]
pub fn compile_main() -> ExitCode {
    if let Err(fault) = confine::limits(ask(MEMORY_VARIABLE, DEFAULT_MEMORY), ask(CPU_VARIABLE, DEFAULT_CPU_SECONDS)) {
        // Without limits nothing is read.
        return fail(INTERNAL, &format!("the limits cannot be set: {fault}"));
    }
    let network = confine::network();
    let engine = match sandbox::compiling() {
        Ok(engine) => engine,
        Err(fault) => return fail(INTERNAL, &format!("no compiler: {fault}")),
    };
    let calls = confine::calls();
    for (taken, what) in [(network, "the network"), (calls, "system calls")] {
        if !taken {
            let _ = writeln!(io::stderr().lock(), "{UNCONFINED}{what}");
        }
    }
    let mut wasm = Vec::new();
    if let Err(fault) = io::stdin().lock().take(ask(INPUT_VARIABLE, DEFAULT_INPUT)).read_to_end(&mut wasm) {
        return fail(INTERNAL, &format!("the component cannot be read: {fault}"));
    }
    match compiled(&engine, wasm) {
        Ok(artifact) => match io::stdout().lock().write_all(&artifact) {
            Ok(()) => ExitCode::SUCCESS,
            Err(fault) => fail(INTERNAL, &format!("the artifact cannot be written: {fault}")),
        },
        Err(fault) => fail(REJECTED, &format!("{fault:#}")),
    }
}

/// The artifact of a component.
pub(crate) fn compiled(engine: &Engine, wasm: Vec<u8>) -> wasmtime::Result<Vec<u8>> {
    let wasm = async_builtins::replaced(&wasm).unwrap_or(wasm);
    engine.precompile_component(&wasm)
}

#[allow(clippy::disallowed_methods, reason = "the parent passes these in: they are this process's command line")]
fn ask(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn fail(code: u8, reason: &str) -> ExitCode {
    let _ = writeln!(io::stderr().lock(), "{reason}");
    ExitCode::from(code)
}
