//! Starting other programs. Their output goes straight to the terminal unless a function says otherwise.

use std::env;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::problem::Problem;

/// One line about what happens now.
pub(crate) fn say(text: &str) {
    eprintln!("xtask: {text}");
}

/// Runs to the end.
pub(crate) fn run(command: &mut Command) -> Result<(), Problem> {
    let status = command.status().map_err(|source| Problem::Start { command: words(command), source })?;
    judge(command, status)
}

/// Runs to the end and shows what the program printed only if it fails.
pub(crate) fn run_silently(command: &mut Command) -> Result<(), Problem> {
    let (ended, said) = heard(command)?;
    if ended.is_err() {
        eprint!("{said}");
    }
    ended
}

/// Runs without input and ends the program when `limit` is over: for what may wait for a network for ever.
pub(crate) fn run_within(command: &mut Command, limit: Duration) -> Result<(), Problem> {
    let started = Instant::now();
    let mut child =
        command.stdin(Stdio::null()).spawn().map_err(|source| Problem::Start { command: words(command), source })?;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return judge(command, status),
            Ok(None) if started.elapsed() < limit => thread::sleep(Duration::from_millis(50)),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(Problem::TimedOut { command: words(command), limit });
            }
            Err(source) => {
                return Err(Problem::Start { command: words(command), source });
            }
        }
    }
}

/// Runs to the end without showing anything: how it ended, and what it said.
pub(crate) fn heard(command: &mut Command) -> Result<(Result<(), Problem>, String), Problem> {
    let output =
        command.stdin(Stdio::null()).output().map_err(|source| Problem::Start { command: words(command), source })?;
    let said = [output.stderr, output.stdout].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    Ok((judge(command, output.status), said))
}

/// What the program prints, without the white space around it.
pub(crate) fn output(command: &mut Command) -> Result<String, Problem> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| Problem::Start { command: words(command), source })?;
    judge(command, output.status)?;
    match String::from_utf8(output.stdout) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(_) => Err(Problem::Output { command: words(command), expected: "text" }),
    }
}

/// Whether the program is there and ends well; nothing is printed.
pub(crate) fn works(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Where `program` stands on PATH.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|directory| directory.join(program)).find(|candidate| candidate.is_file())
}

fn judge(command: &Command, status: ExitStatus) -> Result<(), Problem> {
    if status.success() { Ok(()) } else { Err(Problem::Failed { command: words(command), code: status.code() }) }
}

/// The command as a person would type it: the program by its bare name.
fn words(command: &Command) -> String {
    let program = PathBuf::from(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    let arguments = command.get_args().map(|argument| argument.to_string_lossy().into_owned());
    std::iter::once(name).chain(arguments).collect::<Vec<_>>().join(" ")
}
