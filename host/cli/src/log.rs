//! The host's log: lines on stderr, as people may read them.
//!
//! Invariant: a line goes out whole, and nothing goes out but through [`mask`]; what a panic says neither.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::{fmt, panic, thread};

use bulkhead_manifest::mask;
use serde_json::{Value, json};
use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Begins to log.
pub(crate) fn start(filter: &str, format: LogFormat) -> Result<(), &'static str> {
    let filter =
        EnvFilter::builder().parse(filter).map_err(|_| "log is no filter: write `info`, or `warn,bulkhead=debug`")?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(move || Masked { out: io::stderr(), format })
        // Where a line cannot be written, saying so there breaks whatever it was about.
        .log_internal_errors(false);
    match format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
    mask_panics(format, io::stderr);
    Ok(())
}

/// Lets a panic be told like a line of the log.
pub(crate) fn mask_panics<W: Write>(format: LogFormat, out: impl Fn() -> W + Send + Sync + 'static) {
    panic::set_hook(Box::new(move |panic| {
        // With a trace where `RUST_BACKTRACE` asks for one.
        let line = line_of(format, panic, &Backtrace::capture());
        // Who cannot be told is not told.
        let _ = Masked { out: out(), format }.write_all(line.as_bytes());
    }));
}

fn line_of(format: LogFormat, panic: &impl fmt::Display, trace: &Backtrace) -> String {
    let thread = thread::current();
    let mut said = format!("thread {:?} {panic}", thread.name().unwrap_or_default());
    if trace.status() == BacktraceStatus::Captured {
        said += &format!("\n{trace}");
    }
    match format {
        LogFormat::Text => format!("ERROR {said}\n"),
        LogFormat::Json => format!("{}\n", json!({ "level": "ERROR", "fields": { "message": said } })),
    }
}

/// Is given a line at a time.
struct Masked<W> {
    out: W,
    format: LogFormat,
}

impl<W: Write> Write for Masked<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.write_all(line)?;
        Ok(line.len())
    }

    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        let line = String::from_utf8_lossy(line);
        self.out.write_all(masked(&line, self.format).as_bytes())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn masked(line: &str, format: LogFormat) -> Cow<'_, str> {
    match (mask::text(line), format) {
        (Cow::Owned(_), LogFormat::Json) if let Ok(mut document) = serde_json::from_str::<Value>(line) => {
            mask::json(&mut document);
            Cow::Owned(format!("{document}\n"))
        }
        (masked, _) => masked,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What is written is there for all to see.
    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<u8>>>);

    impl Write for Seen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Mutation: `mask_panics`, without the hook; without `Masked`.
    #[test]
    fn what_a_panic_says_is_masked() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let (seen, before) = (Seen::default(), panic::take_hook());
            let out = seen.clone();
            mask_panics(format, move || out.clone());
            let panicked = thread::spawn(|| panic!("with Bearer abcdefgh12")).join();
            panic::set_hook(before);
            assert!(panicked.is_err());
            let said = String::from_utf8(seen.0.lock().unwrap().clone()).unwrap();
            assert!(said.contains("log.rs:") && said.contains("with Bearer [secret]"), "{said}");
            assert!(!said.contains("abcdefgh12"), "{said}");
        }
    }

    /// Mutation: `line_of`, without the trace.
    #[test]
    fn a_panic_is_told_with_its_trace_where_one_was_asked_for() {
        let traced = line_of(LogFormat::Json, &"broke", &Backtrace::force_capture());
        assert!(traced.contains("log::tests::") && traced.lines().count() == 1, "{traced}");
        let plain = line_of(LogFormat::Text, &"broke", &Backtrace::disabled());
        assert!(plain.ends_with("broke\n") && plain.lines().count() == 1, "{plain}");
    }

    fn written(line: &str, format: LogFormat) -> String {
        let mut masked = Masked { out: Vec::new(), format };
        masked.write_all(line.as_bytes()).unwrap();
        String::from_utf8(masked.out).unwrap()
    }

    /// Mutation: `write_all`, the line as it is.
    #[test]
    fn a_line_is_masked_and_stays_a_line() {
        assert_eq!(written("with Bearer abcdefgh12\n", LogFormat::Text), "with Bearer [secret]\n");
        let line = r#"{"fields":{"card":4242424242424242,"said":"Bearer abcdefgh12"}}"#;
        assert_eq!(
            written(&format!("{line}\n"), LogFormat::Json),
            "{\"fields\":{\"card\":\"[card number 4242]\",\"said\":\"Bearer [secret]\"}}\n"
        );
        assert_eq!(written("{\"a\": 1}\n", LogFormat::Json), "{\"a\": 1}\n", "as it was");
    }
}
