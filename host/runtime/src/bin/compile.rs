//! The compiling process alone, for tests that cannot re-run an executable of their own.

fn main() -> std::process::ExitCode {
    bulkhead_runtime::compile_main()
}
