//! What a run says about itself: lines from `log.write`, stdout and stderr, in one bounded list.
//!
//! Invariant: whatever a guest writes costs the host at most the run's log limit. Control characters never get into a
//! message, so it can be shown in a terminal or a page as it is; fields are JSON. What does not fit is counted, not kept.

use bulkhead_manifest::json_limits::MAX_DEPTH;
use bulkhead_manifest::text::is_hidden;
use serde::{Deserialize, Serialize};

/// One message may be this long; the rest is cut.
const MAX_MESSAGE: usize = 8 * 1024;
/// What a line costs besides its text, so that a flood of empty lines is a flood too.
const LINE_COST: u64 = 32;

/// How loud a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// For the connector's author.
    Debug,
    /// What happened. Standard output is this.
    Info,
    /// What should be looked at. Standard error is this.
    Warn,
    /// What went wrong.
    Error,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// How loud.
    pub level: LogLevel,
    /// One line of text without control characters.
    pub message: String,
    /// A JSON object.
    pub fields: Option<String>,
    /// On the run's virtual clock.
    pub at_ms: u64,
}

/// Where a byte stream's unfinished line waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// The log of one run.
#[derive(Debug)]
pub(crate) struct RunLog {
    lines: Vec<LogLine>,
    dropped: u64,
    left: u64,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl RunLog {
    pub(crate) fn new(max_bytes: u64) -> Self {
        Self { lines: Vec::new(), dropped: 0, left: max_bytes, stdout: Vec::new(), stderr: Vec::new() }
    }

    /// Takes one line. Fields that are no JSON object within the bounds are left out.
    pub(crate) fn write(&mut self, level: LogLevel, message: &str, fields: &str, at_ms: u64) {
        let message = clean(message, MAX_MESSAGE);
        let fields = (!fields.is_empty()).then(|| object(fields)).flatten();
        let cost = LINE_COST + message.len() as u64 + fields.as_ref().map_or(0, |fields| fields.len() as u64);
        match self.left.checked_sub(cost) {
            Some(left) => {
                self.left = left;
                self.lines.push(LogLine { level, message, fields, at_ms });
            }
            None => self.dropped += 1,
        }
    }

    /// Takes bytes of a stream; whole lines become log lines.
    pub(crate) fn stream(&mut self, from: Stream, bytes: &[u8], at_ms: u64) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let waiting = self.waiting(from);
            // An endless line is cut where a message is.
            let room = MAX_MESSAGE.saturating_sub(waiting.len());
            waiting.extend(piece.iter().take(room));
            if piece.ends_with(b"\n") {
                self.end_line(from, at_ms);
            }
        }
    }

    /// What is left when the run is over: the lines, and how many were dropped.
    pub(crate) fn finish(&mut self, at_ms: u64) -> (Vec<LogLine>, u64) {
        self.end_line(Stream::Stdout, at_ms);
        self.end_line(Stream::Stderr, at_ms);
        (std::mem::take(&mut self.lines), self.dropped)
    }

    fn end_line(&mut self, from: Stream, at_ms: u64) {
        let bytes = std::mem::take(self.waiting(from));
        let line = String::from_utf8_lossy(&bytes);
        let line = line.trim_end_matches(['\n', '\r']);
        if !line.is_empty() {
            let level = match from {
                Stream::Stdout => LogLevel::Info,
                Stream::Stderr => LogLevel::Warn,
            };
            self.write(level, line, "", at_ms);
        }
    }

    fn waiting(&mut self, from: Stream) -> &mut Vec<u8> {
        match from {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }
}

/// `text` in one line, without control characters or characters that reorder a line, at most `max_bytes` long.
pub(crate) fn clean(text: &str, max_bytes: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max_bytes));
    for found in text.chars() {
        let shown = if found == '\n' || found == '\t' { ' ' } else { found };
        if is_hidden(shown) {
            continue;
        }
        if out.len() + shown.len_utf8() > max_bytes {
            break;
        }
        out.push(shown);
    }
    out
}

/// The fields, if they are one JSON object within the bounds.
fn object(fields: &str) -> Option<String> {
    let is_object = fields.trim_start().starts_with('{');
    (is_object && crate::json::check(fields, MAX_MESSAGE, MAX_DEPTH).is_ok()).then(|| fields.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn control_characters_do_not_get_in() {
        assert_eq!(clean("a\u{1b}[31mred\r\nb\tc\u{202e}d\0", 100), "a[31mred b cd");
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        assert_eq!(clean("ééé", 5), "éé");
    }

    #[test]
    fn a_line_without_end_is_not_kept_until_it_ends() {
        let mut log = RunLog::new(1 << 20);
        for _ in 0..100 {
            log.stream(Stream::Stderr, &[b'x'; MAX_MESSAGE], 1);
        }
        // Without the cut the host holds all that was written.
        assert_eq!(log.stderr.len(), MAX_MESSAGE);
    }

    #[test]
    fn what_is_over_the_limit_is_counted_and_dropped() {
        let mut log = RunLog::new(3 * (LINE_COST + 1));
        for _ in 0..10 {
            log.write(LogLevel::Info, "x", "", 1);
        }
        let (lines, dropped) = log.finish(1);
        assert_eq!((lines.len(), dropped), (3, 7));
    }

    #[test]
    fn fields_that_are_no_object_are_left_out() {
        let mut log = RunLog::new(10_000);
        for fields in ["", "[]", "{", r#"{"a":1}"#] {
            log.write(LogLevel::Info, "x", fields, 1);
        }
        let (lines, _) = log.finish(1);
        assert_eq!(
            lines.iter().map(|line| line.fields.as_deref()).collect::<Vec<_>>(),
            [None, None, None, Some(r#"{"a":1}"#)]
        );
    }

    #[test]
    fn a_stream_becomes_lines_and_an_endless_line_is_cut() {
        let mut log = RunLog::new(1 << 20);
        log.stream(Stream::Stdout, b"one\ntw", 1);
        log.stream(Stream::Stderr, b"panicked\n", 2);
        log.stream(Stream::Stdout, b"o\r\n", 3);
        for _ in 0..100 {
            log.stream(Stream::Stdout, &[b'x'; 1000], 4);
        }
        let (lines, _) = log.finish(5);
        let shown: Vec<_> = lines.iter().map(|line| (line.level, line.message.len())).collect();
        assert_eq!(lines[0].message, "one");
        assert_eq!(lines[2].message, "two");
        assert_eq!(
            shown,
            [(LogLevel::Info, 3), (LogLevel::Warn, 8), (LogLevel::Info, 3), (LogLevel::Info, MAX_MESSAGE)]
        );
    }
}
