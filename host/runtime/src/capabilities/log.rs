//! `log`: what a run says about itself.

use crate::bindings::bulkhead::connector::log::{Host, Json, Level};
use crate::guest::GuestState;
use crate::run_log::{LogLevel, clean};

/// People watch; nobody reads more than this.
const MAX_PROGRESS_CALLS: u32 = 1_000;
const MAX_NOTE: usize = 200;

impl Host for GuestState {
    fn write(&mut self, level: Level, message: String, fields: Json) -> wasmtime::Result<()> {
        self.called();
        let level = match level {
            Level::Debug => LogLevel::Debug,
            Level::Info => LogLevel::Info,
            Level::Warn => LogLevel::Warn,
            Level::Error => LogLevel::Error,
        };
        self.outside.log().write(level, &message, &fields, self.outside.clock.now_ms());
        Ok(())
    }

    fn progress(&mut self, done: u64, total: Option<u64>, note: String) -> wasmtime::Result<()> {
        self.called();
        if self.progress_calls < MAX_PROGRESS_CALLS {
            self.progress_calls += 1;
            self.ports().progress(done, total, &clean(&note, MAX_NOTE));
        }
        Ok(())
    }
}
