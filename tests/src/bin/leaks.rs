//! `bulkhead-leaks FOLDER [REPORT]`: the last step of `cargo xtask test`. What it looks for, and where, is said in
//! `leaks/together.rs`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command that says what it found")]

use std::path::PathBuf;
use std::process::ExitCode;

use bulkhead_tests::leaks;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let Some(folder) = arguments.next() else {
        eprintln!("bulkhead-leaks FOLDER [REPORT]: `cargo xtask test` names both");
        return ExitCode::FAILURE;
    };
    match leaks::look_through(&folder, arguments.next().as_deref()) {
        Ok(looked) if looked.found.is_empty() => {
            println!("walls: secrets looked for {}: none shows in {} logs and outputs", looked.secrets, looked.texts);
            ExitCode::SUCCESS
        }
        Ok(looked) => {
            eprintln!("what was told in confidence shows:\n{}", looked.found.join("\n"));
            ExitCode::FAILURE
        }
        Err(fault) => {
            eprintln!("what the run wrote cannot be read: {fault}");
            ExitCode::FAILURE
        }
    }
}
