//! `wasi:cli`: no arguments, no environment, no terminal; standard output and error go into the run's log.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::cli::{
    environment, exit, stderr, stdin, stdout, terminal_input, terminal_output, terminal_stderr, terminal_stdin,
    terminal_stdout,
};
use wasmtime_wasi::p2::pipe::ClosedInputStream;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, OutputStream, Pollable, StreamError, StreamResult};

use crate::guest::{GuestFault, GuestState, Outside};
use crate::run_log::Stream;
use crate::stop::TrapCode;

/// What a stream takes at once. The host allocates as much for "write zeroes".
const PERMIT: usize = 16 * 1024;

impl environment::Host for GuestState {
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(Vec::new())
    }

    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn initial_cwd(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(None)
    }
}

impl exit::Host for GuestState {
    fn exit(&mut self, status: Result<(), ()>) -> wasmtime::Result<()> {
        exit::Host::exit_with_code(self, u8::from(status.is_err()))
    }

    fn exit_with_code(&mut self, code: u8) -> wasmtime::Result<()> {
        let message = format!("it ended itself with exit code {code} instead of answering");
        Err(wasmtime::Error::new(GuestFault { code: TrapCode::Exit, message }))
    }
}

impl stdin::Host for GuestState {
    fn get_stdin(&mut self) -> wasmtime::Result<Resource<DynInputStream>> {
        let closed: DynInputStream = Box::new(ClosedInputStream);
        Ok(self.table.push(closed)?)
    }
}

impl stdout::Host for GuestState {
    fn get_stdout(&mut self) -> wasmtime::Result<Resource<DynOutputStream>> {
        self.log_stream(Stream::Stdout)
    }
}

impl stderr::Host for GuestState {
    fn get_stderr(&mut self) -> wasmtime::Result<Resource<DynOutputStream>> {
        self.log_stream(Stream::Stderr)
    }
}

impl GuestState {
    fn log_stream(&mut self, stream: Stream) -> wasmtime::Result<Resource<DynOutputStream>> {
        let stream: DynOutputStream = Box::new(LogStream { stream, outside: Arc::clone(&self.outside) });
        Ok(self.table.push(stream)?)
    }
}

/// Standard output or error. Always ready; what the log has no room for is counted there.
struct LogStream {
    stream: Stream,
    outside: Arc<Outside>,
}

impl OutputStream for LogStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > PERMIT {
            return Err(StreamError::trap("more was written than the stream takes at once"));
        }
        self.outside.log().stream(self.stream, &bytes, self.outside.clock.now_ms());
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PERMIT)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for LogStream {
    async fn ready(&mut self) {}
}

impl terminal_input::Host for GuestState {}

impl terminal_input::HostTerminalInput for GuestState {
    fn drop(&mut self, terminal: Resource<terminal_input::TerminalInput>) -> wasmtime::Result<()> {
        self.table.delete(terminal)?;
        Ok(())
    }
}

impl terminal_output::Host for GuestState {}

impl terminal_output::HostTerminalOutput for GuestState {
    fn drop(&mut self, terminal: Resource<terminal_output::TerminalOutput>) -> wasmtime::Result<()> {
        self.table.delete(terminal)?;
        Ok(())
    }
}

impl terminal_stdin::Host for GuestState {
    fn get_terminal_stdin(&mut self) -> wasmtime::Result<Option<Resource<terminal_input::TerminalInput>>> {
        Ok(None)
    }
}

impl terminal_stdout::Host for GuestState {
    fn get_terminal_stdout(&mut self) -> wasmtime::Result<Option<Resource<terminal_output::TerminalOutput>>> {
        Ok(None)
    }
}

impl terminal_stderr::Host for GuestState {
    fn get_terminal_stderr(&mut self) -> wasmtime::Result<Option<Resource<terminal_output::TerminalOutput>>> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::meter::Meter;

    /// Mutations: cli.rs, `write`, take whatever comes; `check_write`, say that anything is taken: as many zeroes are
    /// allocated.
    #[test]
    fn standard_output_takes_so_much_at_once() {
        let outside = Outside::new(0, &Limits::default(), Arc::new(Meter::default()));
        let mut stream = LogStream { stream: Stream::Stdout, outside: Arc::new(outside) };
        assert_eq!(stream.check_write().ok(), Some(PERMIT));
        assert!(stream.write(vec![b'a'; PERMIT].into()).is_ok());
        assert!(matches!(stream.write(vec![b'a'; PERMIT + 1].into()), Err(StreamError::Trap(_))));
    }
}
