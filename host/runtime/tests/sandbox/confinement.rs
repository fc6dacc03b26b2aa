//! What the compiling process takes away from itself, seen from outside, and what an operator hears of the rest.

use std::io::{Read, Seek as _};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use bulkhead_runtime::{Asker, CompileError, CompilerCommand};

use crate::guest::Guest;
use crate::host::{Sandbox, compiler};

/// A compiler that waits for its component, confined by then as far as it will ever be.
fn waiting() -> Child {
    let mut command = Command::new(compiler().program);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It reads only when it is done with itself.
    while !asleep_in_read(child.id()) {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it read");
        std::thread::yield_now();
    }
    child
}

fn asleep_in_read(process: u32) -> bool {
    let call = std::fs::read_to_string(format!("/proc/{process}/syscall")).unwrap_or_default();
    // The number of the call and its first argument: standard input.
    call.starts_with(&format!("{} 0x0 ", libc::SYS_read))
}

fn network_of(process: &str) -> std::path::PathBuf {
    std::fs::read_link(format!("/proc/{process}/ns/net")).unwrap()
}

/// Whether this system gives a process a network namespace of its own, asked without any code of ours.
fn system_gives_networks() -> bool {
    [&["--net", "true"][..], &["--user", "--net", "true"]].iter().any(|arguments| {
        Command::new("unshare").args(*arguments).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    })
}

/// Mutation: compile/confine.rs, `limits`, leave out any of them.
#[test]
fn the_compiler_has_limits_of_its_own_before_it_reads_a_byte() {
    let mut child = waiting();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    // A soft and a hard limit. The defaults: nobody told this child otherwise.
    let expected = [
        ("Max address space", [2 << 30, 2 << 30]),
        ("Max cpu time", [60, 61]),
        ("Max file size", [0, 0]),
        ("Max core file size", [0, 0]),
        ("Max open files", [32, 32]),
    ];
    for (name, expected) in expected {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let found: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
        assert_eq!(found, expected, "{name}: {limits}");
    }
}

/// Mutation: compile/confine.rs, `network` or `calls`, an empty body that says either.
#[test]
fn the_compiler_is_confined_before_it_reads_a_byte_and_says_where_it_is_not() {
    let mut child = waiting();
    let process = child.id().to_string();
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let alone = network_of(&process) != network_of("self");
    drop(child.stdin.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    child.wait().unwrap();

    let filters = status.contains("Seccomp_filters:");
    assert_eq!(status.lines().any(|line| line == "Seccomp:\t2"), filters, "{status}");
    assert_eq!(said.contains("unconfined: system calls"), !filters, "{said}");
    let networks = system_gives_networks();
    assert_eq!(alone, networks);
    assert_eq!(said.contains("unconfined: the network"), !networks, "{said}");
}

/// What is logged on this thread, as long as the guard is kept.
fn listening() -> (std::fs::File, tracing::subscriber::DefaultGuard) {
    let heard = tempfile::tempfile().unwrap();
    let log = Mutex::new(heard.try_clone().unwrap());
    let log = tracing_subscriber::fmt().with_ansi(false).with_writer(log).finish();
    (heard, tracing::subscriber::set_default(log))
}

/// Its lines with these words.
fn lines(mut heard: std::fs::File, words: &str) -> Vec<String> {
    heard.rewind().unwrap();
    let lines = std::io::read_to_string(heard).unwrap();
    lines.lines().filter(|line| line.contains(words)).map(str::to_owned).collect()
}

fn script(text: &str) -> CompilerCommand {
    CompilerCommand { program: "/bin/sh".into(), args: vec!["-c".into(), text.into()] }
}

/// Mutation: runtime.rs, `compile`, leave out the warning, or `swap`.
#[tokio::test]
async fn the_operator_hears_once_of_a_compiler_that_is_not_confined() {
    let (heard, _listening) = listening();
    let command = script("cat > /dev/null; echo 'unconfined: the network' >&2; echo code");
    let sandbox = Sandbox::with(|settings| settings.compiler = command);
    for number in 0..3 {
        sandbox.compile(&Guest::acting(&format!("(call $done_number (i64.const {number}))"))).await.unwrap();
    }
    let told = lines(heard, "not_taken=\"the network\"");
    assert_eq!(told.len(), 1, "{told:?}");
}

/// Mutation: compile/mod.rs, `told_apart`, leave the lines where they are.
#[tokio::test]
async fn the_uploader_does_not_hear_of_it() {
    let command = script("cat > /dev/null; echo 'unconfined: the network' >&2; echo bad >&2; exit 65");
    let sandbox = Sandbox::with(|settings| settings.compiler = command);
    let Err(CompileError::Rejected { reason }) = sandbox.compile(&Guest::acting("(unreachable)")).await else {
        panic!()
    };
    assert_eq!(reason, "bad");
}

/// A host whose executable was replaced goes on compiling with what it is made of: what the other build makes would pass
/// for its own.
///
/// Mutation: config.rs, `this_executable`, `std::env::current_exe()`.
#[test]
fn a_host_that_was_upgraded_in_place_compiles_with_its_own_image() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("host");
    std::fs::copy(std::env::current_exe().unwrap(), &own).unwrap();
    let test = "confinement::the_part_of_the_host_that_was_upgraded";
    let host = Command::new(&own).args([test, "--exact", "--ignored"]).env(IMAGE, &own).output().unwrap();
    assert!(host.status.success(), "{}", String::from_utf8_lossy(&host.stdout));
}

const IMAGE: &str = "BULKHEAD_TEST_IMAGE";

#[test]
#[ignore = "the story above runs it from a copy of this executable"]
fn the_part_of_the_host_that_was_upgraded() {
    let image = std::env::var_os(IMAGE).unwrap();
    let command = CompilerCommand::this_executable(["--list"]).unwrap();
    std::fs::remove_file(&image).unwrap();
    std::fs::write(&image, "#!/bin/sh\necho another build\n").unwrap();
    std::fs::set_permissions(Path::new(&image), PermissionsExt::from_mode(0o755)).unwrap();
    let listed = Command::new(&command.program).args(&command.args).output().unwrap();
    assert!(String::from_utf8_lossy(&listed.stdout).contains("the_part_of_the_host_that_was_upgraded"), "{listed:?}");
}

/// Mutation: compile/queue.rs, `turn`, without the timeout: the second waits an hour.
#[tokio::test]
async fn who_waits_for_other_compilations_in_vain_is_told_to_come_back() {
    let sandbox = Sandbox::with(|settings| {
        settings.compiler = script("exec sleep 3600");
        settings.compile_wait_ms = 20;
    });
    let (first, second) = (Guest::acting("(unreachable)").into(), Guest::acting("(nop) (unreachable)").into());
    // Whichever stands in line first.
    let waited = tokio::select! {
        waited = sandbox.runtime.compile(&first, Asker::Upload("a")) => waited,
        waited = sandbox.runtime.compile(&second, Asker::Upload("b")) => waited,
    };
    assert!(matches!(waited, Err(CompileError::Busy { .. })), "{waited:?}");
}
