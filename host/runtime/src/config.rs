//! How a [`Runtime`](crate::Runtime) is set up.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::limits::Limits;

const MIB: u64 = 1024 * 1024;

/// Everything a runtime needs to know. Has no `Debug`: it holds a key.
#[derive(Clone)]
pub struct RuntimeConfig {
    /// Guests in the sandbox at once. Each reserves about 16 GiB of address space, not memory.
    pub slots: u32,
    /// OS threads that run guests which compute. Fewer than cores, so that one is left for whoever serves: what has to wait
    /// for a thread that computes waits for milliseconds, however nice that is.
    pub threads: usize,
    /// How long an invocation waits for a slot before it is told to come back. Milliseconds.
    pub admission_wait_ms: u64,
    /// Where compiled artifacts are kept.
    pub artifact_dir: PathBuf,
    /// Authenticates artifacts. Whoever can upload a component must not be able to learn it.
    pub artifact_key: [u8; 32],
    /// How a compiling process is started.
    pub compiler: CompilerCommand,
    /// What one compilation may compute. Seconds of CPU time.
    pub compile_seconds: u64,
    /// How long one may take beside whatever else the machine does, before whoever asked is told to come back: longer than
    /// what it may compute. Milliseconds.
    pub compile_patience_ms: u64,
    /// Address space of the compiling process. Bytes.
    pub compile_memory_bytes: u64,
    /// Compilations at once, for runs and as many for uploads.
    pub compile_at_once: usize,
    /// How long a compilation waits for others before whoever asked is told to come back. Milliseconds.
    pub compile_wait_ms: u64,
    /// The largest component. Bytes.
    pub component_bytes: usize,
    /// The largest artifact. Bytes.
    pub artifact_bytes: u64,
    /// All artifacts on disk, least recently loaded out first: what is wanted again is compiled again. Bytes.
    pub artifacts_bytes: u64,
    /// The most linear memory of any run, whatever its limits say. Bytes.
    pub memory_bytes: u64,
    /// What a component gets to describe itself.
    pub describe: Limits,
    /// Artifacts kept mapped and linked, least recently used out first. Bytes.
    pub loaded_bytes: u64,
}

impl RuntimeConfig {
    /// The defaults, around what has none.
    #[must_use]
    pub fn new(artifact_dir: impl Into<PathBuf>, artifact_key: [u8; 32], compiler: CompilerCommand) -> Self {
        Self {
            slots: 64,
            threads: std::thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1).max(1)),
            admission_wait_ms: 10_000,
            artifact_dir: artifact_dir.into(),
            artifact_key,
            compiler,
            compile_seconds: 60,
            compile_patience_ms: 240_000,
            compile_memory_bytes: 2_048 * MIB,
            compile_at_once: 1,
            compile_wait_ms: 60_000,
            component_bytes: 32 << 20,
            artifact_bytes: 128 * MIB,
            artifacts_bytes: 8_192 * MIB,
            memory_bytes: 512 * MIB,
            describe: Limits::default(),
            loaded_bytes: 512 * MIB,
        }
    }
}

/// The program that ends in [`compile_main`](crate::compile_main).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompilerCommand {
    /// An absolute path.
    pub program: PathBuf,
    /// What makes it compile: the hidden subcommand.
    pub args: Vec<OsString>,
}

impl CompilerCommand {
    /// This executable again, with these arguments: the very image that runs, whatever stands under its name by now. What
    /// another build compiles is not for this one, and would be taken for its own.
    ///
    /// # Errors
    /// The operating system does not tell what this executable is.
    pub fn this_executable<A: Into<OsString>>(args: impl IntoIterator<Item = A>) -> std::io::Result<Self> {
        let program = PathBuf::from("/proc/self/exe");
        // A link that every process finds leading to itself. Where there is none, nothing can be compiled.
        std::fs::read_link(&program)?;
        Ok(Self { program, args: args.into_iter().map(Into::into).collect() })
    }
}
