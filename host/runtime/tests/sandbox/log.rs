//! What a run says: bounded, clean, and there however the run ended.

use std::sync::Arc;

use bulkhead_runtime::{Limits, LogLevel};

use crate::guest::Guest;
use crate::host::{CLOCK_MS, Sandbox, Scripted, value};

/// Without the log's own limit the host keeps a hundred thousand lines.
#[tokio::test]
async fn a_flood_of_lines_is_cut_and_counted() {
    let sandbox = Sandbox::start();
    let mut guest = Guest::new();
    let line = guest.text("the same again and again");
    let wasm = guest
        .act(&format!(
            "(loop $l (call $log (i32.const 1) {line} (i32.const 0) (i32.const 0))
               (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 100000))))
             (call $done_number (i64.const 1))"
        ))
        .build();
    let limits = Limits { cpu_ms: 20_000, ..Limits::default() };
    let finished = sandbox.act_within(&wasm, limits).await;
    assert_eq!(value(&finished), "1");
    let kept: usize = finished.logs.iter().map(|line| line.message.len()).sum();
    assert!(kept <= 256 * 1024 && !finished.logs.is_empty());
    assert_eq!(finished.logs.len() as u64 + finished.logs_dropped, 100_000);
    assert_eq!(finished.usage.host_calls, 100_000);
}

#[tokio::test]
async fn what_was_said_before_a_trap_is_kept() {
    let sandbox = Sandbox::start();
    let mut guest = Guest::new();
    let (line, fields) = (guest.text("about\u{1b}[2J to\nbreak"), guest.text(r#"{"step":1}"#));
    let wasm = guest.act(&format!("(call $log (i32.const 3) {line} {fields}) (unreachable)")).build();
    let finished = sandbox.act(&wasm).await;
    assert!(finished.result.is_err());
    let [line] = &finished.logs[..] else { panic!("{finished:?}") };
    assert_eq!((line.level, line.message.as_str(), line.at_ms), (LogLevel::Error, "about[2J to break", CLOCK_MS));
    assert_eq!(line.fields.as_deref(), Some(r#"{"step":1}"#));
}

#[tokio::test]
async fn standard_error_becomes_log_lines() {
    let sandbox = Sandbox::start();
    let mut guest = Guest::new();
    let text = guest.text("thread 'main' panicked\nat src/lib.rs");
    let wasm = guest
        .with_wasi()
        .act(&format!(
            "(call $print (call $stderr) {text} (i32.const 2048)) (call $done_number (i64.load8_u (i32.const 2048)))"
        ))
        .build();
    let finished = sandbox.act(&wasm).await;
    assert_eq!(value(&finished), "0");
    let lines: Vec<_> = finished.logs.iter().map(|line| (line.level, line.message.as_str())).collect();
    assert_eq!(lines, [(LogLevel::Warn, "thread 'main' panicked"), (LogLevel::Warn, "at src/lib.rs")]);
}

/// Without the count every one of them reaches the ports.
#[tokio::test]
async fn a_flood_of_progress_is_cut() {
    let sandbox = Sandbox::start();
    let mut guest = Guest::new();
    let note = guest.text("on");
    let wasm = guest
        .act(&format!(
            "(loop $l (call $progress (i64.const 5) (i32.const 0) (i64.const 0) {note})
               (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1500))))
             (call $done_number (i64.const 1))"
        ))
        .build();
    let ports = Arc::new(Scripted::echoing());
    assert_eq!(value(&sandbox.act_through(&wasm, Arc::clone(&ports) as _).await), "1");
    assert_eq!(ports.progress.lock().unwrap().len(), 1_000);
}

#[tokio::test]
async fn progress_reaches_the_ports_from_a_nice_thread() {
    let sandbox = Sandbox::start();
    let mut guest = Guest::new();
    let note = guest.text("half\u{7} way");
    let wasm = guest
        .act(&format!(
            "(call $progress (i64.const 5) (i32.const 1) (i64.const 10) {note}) (call $done_number (i64.const 1))"
        ))
        .build();
    let ports = Arc::new(Scripted::echoing());
    sandbox.act_through(&wasm, Arc::clone(&ports) as _).await;
    // Without lowering the priority of guest threads the last number is 0.
    assert_eq!(*ports.progress.lock().unwrap(), [(5, Some(10), "half way".to_owned(), 10)]);
}
