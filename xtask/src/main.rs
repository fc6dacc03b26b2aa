//! The repository's own commands: set up, build guests, test, lint, demo, bench.
//!
//! Std and serde_json only, so that `cargo xtask` is ready seconds after a clone. Each command is one file whose
//! public function is the command; a new one is a file, a line in [`run`] and a line in [`USAGE`].
#![allow(
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a terminal program: it prints, reads its environment and waits for real processes"
)]

mod bench;
mod copy;
mod demo;
mod distribution;
mod fuzz;
mod guests;
mod leaks;
mod lint;
mod mutants;
mod mutations;
mod one_test;
mod postgres;
mod problem;
mod process;
mod setup;
mod test;
mod walls;
mod workspace;

use std::process::ExitCode;

use problem::Problem;
use workspace::Workspace;

const USAGE: &str = "\
cargo xtask COMMAND

  setup [--way installed|rustup|distribution] [--guests-other]
                  prepare what Rust guests are built with; --guests-other: C and JavaScript guests too
  guests          build every connector and example guest into target/connectors
  test [FILTER…]  everything that must pass before a commit; --lint adds the lints
  test walls      what keeps a stranger's connector in, attacked: with counts, a neighbour's p99, and each control taken away
  lint            clippy, and cargo-deny where it is installed
  demo [--once]   a payment at Stripe finds its invoice in QuickBooks: on this machine, against simulated providers;
                  leaves a host running to look around, --once: ends by itself
  bench [NAME]    measure
  mutants [ID…]   take each limit, refusal and fence away, one after the other, and see its test fail
  fuzz [TARGET…] [--seconds N]
                  what has to hold of whatever a stranger sends, under libFuzzer: needs nightly (`fuzz --help`)
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("xtask: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), Problem> {
    let Some((command, rest)) = arguments.split_first() else {
        return Err(Problem::Usage(USAGE.to_owned()));
    };
    if matches!(command.as_str(), "help" | "--help" | "-h") {
        print!("{USAGE}");
        return Ok(());
    }
    let workspace = Workspace::find()?;
    match command.as_str() {
        "setup" => setup::command(&workspace, rest),
        "guests" => guests::command(&workspace, rest),
        "test" => test::command(&workspace, rest),
        "lint" => lint::command(&workspace, rest),
        "demo" => demo::command(&workspace, rest),
        "bench" => bench::command(&workspace, rest),
        "mutants" => mutants::command(&workspace, rest),
        "fuzz" => fuzz::command(&workspace, rest),
        unknown => Err(Problem::Usage(format!("there is no command `{unknown}`\n\n{USAGE}"))),
    }
}
