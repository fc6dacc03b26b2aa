//! Everything that a program finds around itself on an ordinary machine.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::Read;
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::{env, fs, io, process, thread};

use bulkhead_sdk::prelude::*;

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Nearby {
    /// Something that listens on the host's machine: `127.0.0.1:8080`.
    address: String,
    /// A file that exists there.
    file: String,
}

/// What was got hold of, and, by what was tried, why not.
#[derive(Default)]
struct Haul {
    found: BTreeMap<String, String>,
    refused: BTreeMap<String, String>,
}

impl Haul {
    fn attempt<T: std::fmt::Debug, E: Display>(&mut self, what: &str, result: Result<T, E>) {
        match result {
            Ok(found) => self.found.insert(what.to_owned(), format!("{found:?}")),
            Err(error) => self.refused.insert(what.to_owned(), error.to_string()),
        };
    }
}

pub(crate) fn look(nearby: &Nearby) -> Result<Value, Failure> {
    let mut haul = Haul::default();
    files(nearby, &mut haul);
    sockets(nearby, &mut haul);
    let mut standard_input = String::new();
    let read = io::stdin().read_to_string(&mut standard_input);
    let threads = thread::Builder::new().spawn(|| ()).map(|_| "a thread");
    haul.attempt("a thread", threads);
    haul.attempt("a process", process::Command::new("/bin/sh").spawn());
    Ok(json!({
        "environment": env::vars().collect::<Vec<_>>(),
        "arguments": env::args().collect::<Vec<_>>(),
        "standard input": { "bytes": read.unwrap_or_default(), "text": standard_input },
        "found": haul.found,
        "refused": haul.refused,
    }))
}

fn files(nearby: &Nearby, haul: &mut Haul) {
    for folder in ["/", ".", "/proc/self", "/etc", "/tmp"] {
        let names = fs::read_dir(folder).map(|entries| entries.count());
        haul.attempt(&format!("list {folder}"), names);
    }
    for file in [nearby.file.as_str(), "/etc/passwd", "/proc/self/environ", "../../etc/passwd"] {
        haul.attempt(&format!("read {file}"), fs::read(file).map(|bytes| bytes.len()));
    }
    haul.attempt("write", fs::write("/tmp/from-a-guest", "x"));
    haul.attempt("the current folder", env::current_dir().and_then(fs::read_dir).map(|entries| entries.count()));
}

fn sockets(nearby: &Nearby, haul: &mut Haul) {
    let address = nearby.address.as_str();
    haul.attempt("connect", TcpStream::connect(address));
    haul.attempt("connect to the metadata service", TcpStream::connect("169.254.169.254:80"));
    haul.attempt("listen", TcpListener::bind("0.0.0.0:0"));
    let datagram = UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.send_to(b"x", address));
    haul.attempt("send a datagram", datagram);
    haul.attempt("look up a name", ("localhost", 80).to_socket_addrs().map(Iterator::count));
}
