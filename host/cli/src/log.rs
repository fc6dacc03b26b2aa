//! The host's log: lines on stderr, as people may read them.
//!
//! Invariant: a line goes out whole, and nothing goes out but through [`mask`].

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use bulkhead_manifest::mask;
use serde_json::Value;
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
    Ok(())
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
    #![allow(clippy::unwrap_used)]
    use super::*;

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
