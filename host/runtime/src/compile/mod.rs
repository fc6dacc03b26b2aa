//! Compiling, in a process of its own.
//!
//! A component may be built to make its compiler slow, hungry or worse; wasmtime does not call that a vulnerability. So the
//! parent starts [`compile_main`] with nothing but pipes, watches the clock and the size of what comes out, and kills it
//! the moment nobody waits for it any more. The child confines itself before it reads a byte (`confine.rs`). Only the
//! parent knows the key that makes an artifact loadable.

mod async_builtins;
mod child;
mod confine;
mod queue;

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use crate::artifact::{ArtifactFault, Artifacts, Unfinished};
use crate::config::RuntimeConfig;
use crate::digest::Digest;
use crate::run_log::clean;

pub use child::compile_main;
#[cfg(feature = "fuzzing")]
pub(crate) use child::compiled;
pub use queue::Asker;
pub(crate) use queue::Queue;

/// How the parent tells the child its limits. Nothing else of the environment goes over.
pub(crate) const MEMORY_VARIABLE: &str = "BULKHEAD_COMPILE_MEMORY_BYTES";
pub(crate) const CPU_VARIABLE: &str = "BULKHEAD_COMPILE_CPU_SECONDS";
pub(crate) const INPUT_VARIABLE: &str = "BULKHEAD_COMPILE_INPUT_BYTES";

/// How a line on the child's standard error begins that names what it could not take away from itself.
pub(crate) const UNCONFINED: &str = "unconfined: ";

/// What the child exits with when the component, not the child, is at fault.
pub(crate) const REJECTED: u8 = 65;

const CHUNK: usize = 256 * 1024;
/// What to tell whoever asked in a moment in which the machine computed for others alone: compiling is nicer than all else.
const STARVED_RETRY_MS: u64 = 60_000;

/// A reason for a person; more of it helps nobody.
const MAX_REASON: u64 = 8 * 1024;

/// Why a component was not compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The component is over the size limit.
    #[error(
        "the component has {found} bytes; at most {limit} are allowed: build it in release mode, strip it, or leave dependencies out"
    )]
    TooLarge {
        /// Its size.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// The compiler does not accept it.
    #[error("the component does not compile: {reason}")]
    Rejected {
        /// In the compiler's words, cleaned.
        reason: String,
    },
    /// It computed for too long.
    #[error("compiling took longer than {limit_seconds} s: make the component smaller or simpler")]
    TookTooLong {
        /// The limit, of CPU time.
        limit_seconds: u64,
    },
    /// The machine had no time for it, which says nothing of the component.
    #[error("the machine is too busy to compile; try again in {retry_after_ms} ms")]
    Starved {
        /// When to try again.
        retry_after_ms: u64,
    },
    /// It took too much memory.
    #[error("compiling took more than {limit_bytes} bytes of memory: make the component smaller or simpler")]
    TookTooMuchMemory {
        /// The limit.
        limit_bytes: u64,
    },
    /// What came out is too large.
    #[error("the compiled component is larger than {limit_bytes} bytes: make the component smaller")]
    ArtifactTooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// The compiling process died.
    #[error("the compiler died ({how}): the component is not accepted; if it is harmless, report it")]
    Died {
        /// A signal or an exit code.
        how: String,
    },
    /// Others were compiled all the while.
    #[error("other components are being compiled; try again in {retry_after_ms} ms")]
    Busy {
        /// When to try again.
        retry_after_ms: u64,
    },
    /// The compiling process could not be started or spoken with.
    #[error("the compiler cannot be run: {0}")]
    Unavailable(#[source] std::io::Error),
    /// The artifact could not be kept.
    #[error(transparent)]
    Artifact(#[from] ArtifactFault),
}

impl CompileError {
    /// When to try again, where nothing is wrong but the moment.
    #[must_use]
    pub fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::Starved { retry_after_ms } | Self::Busy { retry_after_ms } => Some(*retry_after_ms),
            _ => None,
        }
    }
}

/// Compiles `wasm` and puts the artifact in its place. Gives what the compiler could not take away from itself.
pub(crate) async fn compile(
    settings: &RuntimeConfig,
    artifacts: &Arc<Artifacts>,
    digest: Digest,
    wasm: &[u8],
) -> Result<String, CompileError> {
    if wasm.len() > settings.component_bytes {
        return Err(CompileError::TooLarge { found: wasm.len() as u64, limit: settings.component_bytes as u64 });
    }
    let patience = Duration::from_millis(settings.compile_patience_ms);
    // The child lives inside: when the time is over, it is dropped, and dropping kills it.
    let converse = converse(settings, artifacts, digest, wasm);
    let (unfinished, unconfined) = tokio::time::timeout(patience, converse).await.map_err(|_| {
        tracing::warn!(component = %digest, "the machine was too busy to compile a component, which was given up");
        CompileError::Starved { retry_after_ms: STARVED_RETRY_MS }
    })??;
    // Waiting for the disk is not for a thread that serves requests.
    let artifacts = Arc::clone(artifacts);
    let finished = tokio::task::spawn_blocking(move || artifacts.finish(unfinished)).await;
    finished.unwrap_or_else(|fault| Err(std::io::Error::other(fault))).map_err(ArtifactFault::Io)?;
    Ok(unconfined)
}

async fn converse(
    settings: &RuntimeConfig,
    artifacts: &Artifacts,
    digest: Digest,
    wasm: &[u8],
) -> Result<(Unfinished, String), CompileError> {
    let (mut child, input, output, reason) = start(settings).map_err(CompileError::Unavailable)?;
    let unfinished = artifacts.begin(digest).map_err(ArtifactFault::Io)?;
    // All three at once: a child that talks before it has read everything must not make both sides wait.
    let (_, unfinished, reason) =
        tokio::join!(feed(input, wasm), collect(output, unfinished, settings.artifact_bytes), explain(reason));
    let unfinished = unfinished?;
    let status = child.wait().await.map_err(CompileError::Unavailable)?;
    let (unconfined, reason) = told_apart(&reason);
    judge(settings, status, reason)?;
    Ok((unfinished, unconfined))
}

fn start(settings: &RuntimeConfig) -> std::io::Result<(Child, ChildStdin, ChildStdout, ChildStderr)> {
    let mut child = Command::new(&settings.compiler.program)
        .args(&settings.compiler.args)
        .env_clear()
        .env(MEMORY_VARIABLE, settings.compile_memory_bytes.to_string())
        .env(CPU_VARIABLE, settings.compile_seconds.to_string())
        .env(INPUT_VARIABLE, settings.component_bytes.to_string())
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let pipe = || std::io::Error::other("a pipe is missing");
    let input = child.stdin.take().ok_or_else(pipe)?;
    let output = child.stdout.take().ok_or_else(pipe)?;
    let reason = child.stderr.take().ok_or_else(pipe)?;
    Ok((child, input, output, reason))
}

/// A child that stops reading has its reason; how it ends says more than a broken pipe.
async fn feed(mut input: ChildStdin, wasm: &[u8]) {
    if input.write_all(wasm).await.is_ok() {
        let _ = input.shutdown().await;
    }
}

async fn collect(mut output: ChildStdout, mut unfinished: Unfinished, limit: u64) -> Result<Unfinished, CompileError> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = output.read(&mut buffer).await.map_err(CompileError::Unavailable)?;
        let Some(chunk) = buffer.get(..read).filter(|chunk| !chunk.is_empty()) else {
            return Ok(unfinished);
        };
        if unfinished.length() + chunk.len() as u64 > limit {
            return Err(CompileError::ArtifactTooLarge { limit_bytes: limit });
        }
        // To the page cache, a chunk at a time: short enough not to be moved to another thread.
        unfinished.push(chunk).map_err(ArtifactFault::Io)?;
    }
}

/// The start of what it says; the rest is read and thrown away so that it never blocks on us.
async fn explain(mut reason: impl AsyncRead + Unpin) -> String {
    let mut text = Vec::new();
    let _ = (&mut reason).take(MAX_REASON).read_to_end(&mut text).await;
    let _ = tokio::io::copy(&mut reason, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&text).into_owned()
}

/// What the child says of its confinement, and what it says of the component.
fn told_apart(said: &str) -> (String, String) {
    let (own, rest): (Vec<_>, Vec<_>) = said.trim().lines().partition(|line| line.starts_with(UNCONFINED));
    let own: Vec<_> = own.iter().filter_map(|line| line.strip_prefix(UNCONFINED)).collect();
    (clean(&own.join(", "), MAX_REASON as usize), clean(&rest.join("\n"), MAX_REASON as usize))
}

fn judge(settings: &RuntimeConfig, status: ExitStatus, reason: String) -> Result<(), CompileError> {
    if status.success() {
        return Ok(());
    }
    if status.code() == Some(i32::from(REJECTED)) {
        return Err(CompileError::Rejected { reason });
    }
    match status.signal() {
        Some(libc::SIGXCPU) => Err(CompileError::TookTooLong { limit_seconds: settings.compile_seconds }),
        // What Rust does when an allocation fails.
        Some(libc::SIGABRT) if reason.contains("memory allocation") => {
            Err(CompileError::TookTooMuchMemory { limit_bytes: settings.compile_memory_bytes })
        }
        Some(signal) => Err(CompileError::Died { how: format!("signal {signal}") }),
        None => Err(CompileError::Died { how: status.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mutation: compile/mod.rs, `explain`, keep all that it says.
    #[tokio::test]
    async fn of_what_the_compiler_says_the_start_is_kept_and_the_rest_is_read() {
        let said = "a".repeat(3 * MAX_REASON as usize);
        let mut unread = said.as_bytes();
        assert_eq!(explain(&mut unread).await.len(), MAX_REASON as usize);
        assert!(unread.is_empty());
    }

    /// What was kept may be longer as text: a byte that is none becomes three.
    ///
    /// Mutations: compile/mod.rs, `told_apart`, cut one of the two only.
    #[test]
    fn what_the_compiler_says_is_no_longer_as_text() {
        let said = "a".repeat(3 * MAX_REASON as usize);
        let (unconfined, reason) = told_apart(&format!("{UNCONFINED}{said}\n{said}"));
        assert_eq!([unconfined.len(), reason.len()], [MAX_REASON as usize; 2]);
    }
}
