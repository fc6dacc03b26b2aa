//! Says too much, and in a way that would command the terminal of whoever reads it.

use bulkhead_sdk::prelude::*;

/// Clears a screen, hides what follows, and turns a line around.
const DISGUISE: &str = "\u{1b}[2J\u{1b}[8m\u{202e}\r";

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Flood {
    lines: u32,
    line_bytes: u32,
}

pub(crate) fn flood(flood: &Flood) -> Result<Value, Failure> {
    let filler = "x".repeat(flood.line_bytes as usize);
    for line in 0..flood.lines {
        match line % 3 {
            0 => log::info!("{DISGUISE}{line} {filler}"),
            1 => println!("{DISGUISE}{line} {filler}"),
            _ => log::error!(line = line, filler = filler; "{DISGUISE}"),
        }
    }
    Ok(json!(flood.lines))
}
