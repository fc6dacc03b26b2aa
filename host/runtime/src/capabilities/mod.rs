//! The inventory: every interface a guest may import, and how it is linked.
//!
//! Invariant: this one list is both what the linker offers and what an upload is checked against, so neither can know an
//! interface that the other does not. WASI 0.2 is here so that unmodified toolchain output runs; it is virtual and empty
//! (no files, no sockets, no environment, a clock that stands still between answers), and its `http` leads to our door.
//!
//! To extend: one line here, and the file that implements it.

mod context;
mod http;
mod log;
mod state;
pub(crate) mod wasi;

use wasmtime::Engine;
use wasmtime::component::{HasSelf, Linker};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemCtxView};
use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, random, sockets};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsCtxView};
use wasmtime_wasi_io::bindings::wasi::io;

use crate::bindings::bulkhead::connector as ours;
use crate::guest::GuestState;

type Link = fn(&mut Linker<GuestState>) -> wasmtime::Result<()>;

/// An interface implemented by the run's own state.
macro_rules! own {
    ($($module:ident)::+) => {
        |linker| $($module)::+::add_to_linker::<GuestState, HasSelf<GuestState>>(linker, |state| state)
    };
}

/// An interface of wasmtime-wasi's over an empty file system.
macro_rules! no_files {
    ($($module:ident)::+) => {
        |linker| $($module)::+::add_to_linker::<GuestState, WasiFilesystem>(linker, files)
    };
}

/// An interface of wasmtime-wasi's over sockets that are all denied.
macro_rules! no_sockets {
    ($($module:ident)::+) => {
        |linker| $($module)::+::add_to_linker::<GuestState, WasiSockets>(linker, denied_sockets)
    };
}

const INVENTORY: &[(&str, Link)] = &[
    ("bulkhead:connector/types@0.1.0", own!(ours::types)),
    ("bulkhead:connector/http@0.1.0", own!(ours::http)),
    ("bulkhead:connector/state@0.1.0", own!(ours::state)),
    ("bulkhead:connector/context@0.1.0", own!(ours::context)),
    ("bulkhead:connector/log@0.1.0", own!(ours::log)),
    ("wasi:io/error@0.2.12", |linker| io::error::add_to_linker::<_, HasSelf<_>>(linker, |state| &mut state.table)),
    ("wasi:io/streams@0.2.12", |linker| io::streams::add_to_linker::<_, HasSelf<_>>(linker, |state| &mut state.table)),
    ("wasi:io/poll@0.2.12", own!(io::poll)),
    ("wasi:clocks/monotonic-clock@0.2.12", own!(clocks::monotonic_clock)),
    ("wasi:clocks/wall-clock@0.2.12", own!(clocks::wall_clock)),
    ("wasi:http/types@0.2.12", wasi::http::link_types),
    ("wasi:http/outgoing-handler@0.2.12", wasi::http::link_outgoing_handler),
    ("wasi:random/random@0.2.12", own!(random::random)),
    ("wasi:random/insecure@0.2.12", own!(random::insecure)),
    ("wasi:random/insecure-seed@0.2.12", own!(random::insecure_seed)),
    ("wasi:cli/environment@0.2.12", own!(cli::environment)),
    ("wasi:cli/exit@0.2.12", own!(cli::exit)),
    ("wasi:cli/stdin@0.2.12", own!(cli::stdin)),
    ("wasi:cli/stdout@0.2.12", own!(cli::stdout)),
    ("wasi:cli/stderr@0.2.12", own!(cli::stderr)),
    ("wasi:cli/terminal-input@0.2.12", own!(cli::terminal_input)),
    ("wasi:cli/terminal-output@0.2.12", own!(cli::terminal_output)),
    ("wasi:cli/terminal-stdin@0.2.12", own!(cli::terminal_stdin)),
    ("wasi:cli/terminal-stdout@0.2.12", own!(cli::terminal_stdout)),
    ("wasi:cli/terminal-stderr@0.2.12", own!(cli::terminal_stderr)),
    ("wasi:filesystem/types@0.2.12", no_files!(filesystem::types)),
    ("wasi:filesystem/preopens@0.2.12", no_files!(filesystem::preopens)),
    ("wasi:sockets/network@0.2.12", |linker| {
        sockets::network::add_to_linker::<GuestState, WasiSockets>(linker, &Default::default(), denied_sockets)
    }),
    ("wasi:sockets/instance-network@0.2.12", no_sockets!(sockets::instance_network)),
    ("wasi:sockets/tcp@0.2.12", no_sockets!(sockets::tcp)),
    ("wasi:sockets/tcp-create-socket@0.2.12", no_sockets!(sockets::tcp_create_socket)),
    ("wasi:sockets/udp@0.2.12", no_sockets!(sockets::udp)),
    ("wasi:sockets/udp-create-socket@0.2.12", no_sockets!(sockets::udp_create_socket)),
    ("wasi:sockets/ip-name-lookup@0.2.12", no_sockets!(sockets::ip_name_lookup)),
];

/// A linker with the whole inventory.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<GuestState>> {
    let mut linker = Linker::new(engine);
    for (_, link) in INVENTORY {
        link(&mut linker)?;
    }
    Ok(linker)
}

/// Whether a component may import this.
pub(crate) fn offers(import: &str) -> bool {
    let wanted = split(import);
    INVENTORY.iter().any(|(name, _)| {
        let (interface, version) = split(name);
        wanted.0 == interface && same_track(wanted.1, version)
    })
}

/// In which versions the interface of this import is offered, whatever version it names.
pub(crate) fn versions_of(import: &str) -> Vec<String> {
    let wanted = split(import).0;
    INVENTORY
        .iter()
        .map(|(name, _)| split(name))
        .filter(|(name, _)| *name == wanted)
        .map(|(_, v)| v.to_owned())
        .collect()
}

fn split(name: &str) -> (&str, &str) {
    name.split_once('@').unwrap_or((name, ""))
}

/// Whether the linker takes one version for the other: the same major version, or the same minor one while it is 0.
fn same_track(wanted: &str, offered: &str) -> bool {
    let number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    let parse = |version: &str| -> Option<[u64; 3]> {
        let mut parts = version.split('.').map(number);
        let found = [parts.next()??, parts.next()??, parts.next()??];
        parts.next().is_none().then_some(found)
    };
    match (parse(wanted), parse(offered)) {
        (Some([0, 0, wanted]), Some([0, 0, offered])) => wanted == offered,
        (Some([0, wanted, _]), Some([0, offered, _])) => wanted == offered && wanted != 0,
        (Some([wanted, ..]), Some([offered, ..])) => wanted == offered && wanted != 0,
        _ => false,
    }
}

fn files(state: &mut GuestState) -> WasiFilesystemCtxView<'_> {
    WasiFilesystemCtxView { ctx: &mut state.filesystem, table: &mut state.table }
}

fn denied_sockets(state: &mut GuestState) -> WasiSocketsCtxView<'_> {
    WasiSocketsCtxView { ctx: &mut state.sockets, table: &mut state.table }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_offered_is_linked_under_the_same_name() {
        let mut config = wasmtime::Config::new();
        config.concurrency_support(false);
        let engine = Engine::new(&config).unwrap();
        let linker = linker(&engine).unwrap();
        for (name, _) in INVENTORY {
            // An empty instance is a subtype of every interface: this passes where the name is known to the linker.
            let text = format!(r#"(component (import "{name}" (instance)))"#);
            let component =
                wasmtime::component::Component::from_binary(&engine, &wat::parse_str(text).unwrap()).unwrap();
            let linked = linker.instantiate_pre(&component);
            assert!(linked.is_ok(), "{name}: {:?}", linked.err());
        }
    }

    #[test]
    fn versions_follow_the_linkers_rule() {
        assert!(offers("wasi:io/poll@0.2.0") && offers("wasi:io/poll@0.2.99"));
        for other in
            ["wasi:io/poll", "wasi:io/poll@0.3.0", "wasi:io/poll@0.2", "wasi:io/poll@0.2.0-rc", "wasi:io/other@0.2.0"]
        {
            assert!(!offers(other), "{other}");
        }
        assert!(same_track("1.4.0", "1.0.0") && !same_track("2.0.0", "1.0.0") && !same_track("0.0.1", "0.0.2"));
    }
}
