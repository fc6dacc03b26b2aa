//! What of WASI takes a string, and the WAT that hands over something else.
//!
//! Of files there is nothing: a name is said of a directory, and a guest has none.

use super::{AT, BAD, BESIDE, FINE, INSIDE, NONE, answer, clear, store};

/// As much of it as it takes to say a string: fields and requests of HTTP, and a name to be looked up.
pub(super) const PACKAGES: &str = "
package wasi:http@0.2.0 {
  interface types {
    variant method { get, head, post, put, delete, connect, options, trace, patch, other(string) }
    variant scheme { HTTP, HTTPS, other(string) }
    variant header-error { invalid-syntax, forbidden, immutable }
    resource fields {
      constructor();
      from-list: static func(entries: list<tuple<string, list<u8>>>) -> result<fields, header-error>;
      get: func(name: string) -> list<list<u8>>;
      has: func(name: string) -> bool;
      set: func(name: string, value: list<list<u8>>) -> result<_, header-error>;
      delete: func(name: string) -> result<_, header-error>;
      append: func(name: string, value: list<u8>) -> result<_, header-error>;
    }
    resource outgoing-request {
      constructor(headers: fields);
      set-method: func(method: method) -> result;
      set-path-with-query: func(path-with-query: option<string>) -> result;
      set-scheme: func(scheme: option<scheme>) -> result;
      set-authority: func(authority: option<string>) -> result;
    }
  }
}
package wasi:sockets@0.2.0 {
  interface network {
    resource network;
    enum error-code {
      unknown, access-denied, not-supported, invalid-argument, out-of-memory, timeout, concurrency-conflict,
      not-in-progress, would-block, invalid-state, new-socket-limit, address-not-bindable, address-in-use,
      remote-unreachable, connection-refused, connection-reset, connection-aborted, datagram-too-large,
      name-unresolvable, temporary-resolver-failure, permanent-resolver-failure,
    }
  }
  interface instance-network {
    use network.{network};
    instance-network: func() -> network;
  }
  interface ip-name-lookup {
    use network.{network, error-code};
    resource resolve-address-stream;
    resolve-addresses: func(network: borrow<network>, name: string) -> result<resolve-address-stream, error-code>;
  }
}
";

pub(super) const IMPORTS: &str = r#"
(import "wasi:http/types@0.2.0" "[constructor]fields" (func $fields (result i32)))
(import "wasi:http/types@0.2.0" "[static]fields.from-list" (func $fields_of (param i32 i32 i32)))
(import "wasi:http/types@0.2.0" "[method]fields.get" (func $fields_get (param i32 i32 i32 i32)))
(import "wasi:http/types@0.2.0" "[method]fields.has" (func $fields_has (param i32 i32 i32) (result i32)))
(import "wasi:http/types@0.2.0" "[method]fields.set" (func $fields_set (param i32 i32 i32 i32 i32 i32)))
(import "wasi:http/types@0.2.0" "[method]fields.delete" (func $fields_delete (param i32 i32 i32 i32)))
(import "wasi:http/types@0.2.0" "[method]fields.append" (func $fields_append (param i32 i32 i32 i32 i32 i32)))
(import "wasi:http/types@0.2.0" "[constructor]outgoing-request" (func $request (param i32) (result i32)))
(import "wasi:http/types@0.2.0" "[method]outgoing-request.set-method"
  (func $set_method (param i32 i32 i32 i32) (result i32)))
(import "wasi:http/types@0.2.0" "[method]outgoing-request.set-path-with-query"
  (func $set_path (param i32 i32 i32 i32) (result i32)))
(import "wasi:http/types@0.2.0" "[method]outgoing-request.set-scheme"
  (func $set_scheme (param i32 i32 i32 i32 i32) (result i32)))
(import "wasi:http/types@0.2.0" "[method]outgoing-request.set-authority"
  (func $set_authority (param i32 i32 i32 i32) (result i32)))
(import "wasi:sockets/instance-network@0.2.0" "instance-network" (func $network (result i32)))
(import "wasi:sockets/ip-name-lookup@0.2.0" "resolve-addresses" (func $look_up (param i32 i32 i32 i32)))
"#;

/// Every string that WASI takes, by name, and the WAT that hands over something else.
pub(crate) fn lies() -> Vec<(&'static str, String)> {
    said(BAD).into()
}

/// The same calls with texts, one after the other, and an answer.
pub(super) fn truth() -> String {
    let all: String = said(FINE).into_iter().map(|(_, call)| call).collect();
    format!("{all}{}{}{}", clear(), store(AT + 16, FINE), answer())
}

fn said(text: &str) -> [(&'static str, String); 11] {
    let (fields, back) = ("(call $fields)", format!("(i32.const {BESIDE})"));
    let (request, other) = (format!("(call $request {fields})"), "(i32.const 1)");
    let one = format!("{}{}", store(INSIDE, text), store(INSIDE + 8, FINE));
    [
        ("a field among several", format!("{one}(call $fields_of (i32.const {INSIDE}) (i32.const 1) {back})")),
        ("a field to get", format!("(call $fields_get {fields} {text} {back})")),
        ("a field to look for", format!("(drop (call $fields_has {fields} {text}))")),
        ("a field to set", format!("(call $fields_set {fields} {text} {NONE} {back})")),
        ("a field to delete", format!("(call $fields_delete {fields} {text} {back})")),
        ("a field to add", format!("(call $fields_append {fields} {text} {FINE} {back})")),
        ("a method", format!("(drop (call $set_method {request} (i32.const 9) {text}))")),
        ("a path", format!("(drop (call $set_path {request} {other} {text}))")),
        ("a scheme", format!("(drop (call $set_scheme {request} {other} (i32.const 2) {text}))")),
        ("an authority", format!("(drop (call $set_authority {request} {other} {text}))")),
        ("a name to look up", format!("(call $look_up (call $network) {text} {back})")),
    ]
}
