//! Guests as text: a core module over the canonical ABI with everything imported, of which a test writes only what `act`
//! does. Encoded as a component against the repository's own WIT.

use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A guest in the making. Strings go into its memory as they are named; [`Guest::build`] makes the component.
#[derive(Default)]
pub(crate) struct Guest {
    data: Vec<(u32, String)>,
    next: u32,
    extra: String,
    act: String,
    describe: Option<String>,
    wasi: bool,
    start: String,
}

/// Where static strings stand. Below are the return areas: ours at 1024, the host's at 2048, requests at 4096.
const DATA: u32 = 8192;

impl Guest {
    pub(crate) fn new() -> Self {
        Self { next: DATA, ..Self::default() }
    }

    /// A guest whose `act` is this WAT. It has to leave the address of the answer: mostly `(call $done …)`.
    pub(crate) fn acting(act: &str) -> Vec<u8> {
        let mut guest = Self::new();
        guest.act(act);
        guest.build()
    }

    /// The address and length of a string, as two constants.
    pub(crate) fn text(&mut self, text: &str) -> String {
        let at = self.next;
        self.next += u32::try_from(text.len()).unwrap().next_multiple_of(8);
        assert!(self.next < 60_000, "static strings do not fit");
        self.data.push((at, text.bytes().map(|byte| format!("\\{byte:02x}")).collect()));
        format!("(i32.const {at}) (i32.const {})", text.len())
    }

    pub(crate) fn act(&mut self, act: &str) -> &mut Self {
        self.act = act.to_owned();
        self
    }

    /// More functions, globals, tables.
    pub(crate) fn extra(&mut self, extra: &str) -> &mut Self {
        self.extra.push_str(extra);
        self
    }

    /// The module's start function.
    pub(crate) fn start(&mut self, body: &str) -> &mut Self {
        self.start = format!("(func $start {body}) (start $start)");
        self
    }

    /// WAT that leaves the address of a string's address and length.
    pub(crate) fn describing(&mut self, describe: &str) -> &mut Self {
        self.describe = Some(describe.to_owned());
        self
    }

    /// Imports of WASI's clocks, poll, random, standard streams and exit, as a toolchain would leave them.
    pub(crate) fn with_wasi(&mut self) -> &mut Self {
        self.wasi = true;
        self
    }

    pub(crate) fn build(&mut self) -> Vec<u8> {
        let descriptor = self.text(r#"{"actions":[],"streams":[],"events":[]}"#);
        let describe = self.describe.clone().unwrap_or_else(|| format!("(call $string {descriptor})"));
        let data: String = self.data.iter().map(|(at, bytes)| format!("(data (i32.const {at}) \"{bytes}\")")).collect();
        let wasi = if self.wasi { WASI_IMPORTS } else { "" };
        let (extra, act, start) = (&self.extra, &self.act, &self.start);
        let module = format!(
            "(module {OUR_IMPORTS} {wasi} {LIBRARY} {data} {extra} {}{}{start})",
            describe_is(&describe),
            act_is(act)
        );
        let mut core = wat::parse_str(&module).unwrap_or_else(|fault| panic!("{fault}\n{module}"));
        let mut resolve = Resolve::default();
        resolve.push_dir(wit_dir()).unwrap();
        let (imports, packages) = if self.wasi { (WASI_WORLD, WASI_WIT) } else { ("", "") };
        // A file's own package comes before those nested in it.
        let world = WORLD.replace("IMPORTS", imports) + packages;
        let package = resolve.push_str("guest.wit", &world).unwrap();
        let world = resolve.select_world(&[package], Some("guest")).unwrap();
        embed_component_metadata(&mut core, &resolve, world, StringEncoding::UTF8).unwrap();
        ComponentEncoder::default().validate(true).module(&core).unwrap().encode().unwrap()
    }
}

pub(crate) fn wit_dir() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit")
}

fn describe_is(body: &str) -> String {
    format!(r#"(func (export "bulkhead:connector/descriptor@0.1.0#describe") (result i32) {body})"#)
}

fn act_is(body: &str) -> String {
    format!(
        r#"(func $act (export "bulkhead:connector/actions@0.1.0#act")
             (param $action i32) (param $action_len i32) (param $input i32) (param $input_len i32)
             (param $has_resume i32) (param $resume i32) (param $resume_len i32) (result i32)
             (local $i i32) (local $a i32) (local $b i32) (local $n i64)
             {body})"#
    )
}

const WORLD: &str = r"
package test:guest;
world guest {
  include bulkhead:connector/host@0.1.0;
  IMPORTS
  export bulkhead:connector/descriptor@0.1.0;
  export bulkhead:connector/actions@0.1.0;
}";

const OUR_IMPORTS: &str = r#"
(import "bulkhead:connector/log@0.1.0" "write" (func $log (param i32 i32 i32 i32 i32)))
(import "bulkhead:connector/log@0.1.0" "progress" (func $progress (param i64 i32 i64 i32 i32)))
(import "bulkhead:connector/http@0.1.0" "send"
  (func $send (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
(import "bulkhead:connector/http@0.1.0" "send-all" (func $send_all (param i32 i32 i32)))
(import "bulkhead:connector/state@0.1.0" "get" (func $state_get (param i32 i32 i32)))
(import "bulkhead:connector/state@0.1.0" "set" (func $state_set (param i32 i32 i32 i32 i32)))
(import "bulkhead:connector/state@0.1.0" "remove" (func $state_remove (param i32 i32 i32)))
(import "bulkhead:connector/state@0.1.0" "keys" (func $state_keys (param i32 i32 i32)))
(import "bulkhead:connector/context@0.1.0" "settings" (func $settings (param i32)))
(import "bulkhead:connector/context@0.1.0" "now-ms" (func $now_ms (result i64)))
(import "bulkhead:connector/context@0.1.0" "random" (func $random (param i32 i32)))
(import "bulkhead:connector/context@0.1.0" "resolve" (func $resolve (param i32 i32 i32 i32 i32)))
"#;

const WASI_IMPORTS: &str = r#"
(import "wasi:clocks/monotonic-clock@0.2.6" "now" (func $mono_now (result i64)))
(import "wasi:clocks/monotonic-clock@0.2.6" "subscribe-duration" (func $subscribe (param i64) (result i32)))
(import "wasi:clocks/wall-clock@0.2.6" "now" (func $wall_now (param i32)))
(import "wasi:io/poll@0.2.6" "poll" (func $poll (param i32 i32 i32)))
(import "wasi:io/poll@0.2.6" "[method]pollable.block" (func $block (param i32)))
(import "wasi:io/poll@0.2.6" "[method]pollable.ready" (func $ready (param i32) (result i32)))
(import "wasi:random/random@0.2.6" "get-random-u64" (func $random_u64 (result i64)))
(import "wasi:random/insecure-seed@0.2.6" "insecure-seed" (func $seed (param i32)))
(import "wasi:cli/environment@0.2.6" "get-environment" (func $environment (param i32)))
(import "wasi:cli/stderr@0.2.6" "get-stderr" (func $stderr (result i32)))
(import "wasi:cli/exit@0.2.6" "exit" (func $exit (param i32)))
(import "wasi:io/streams@0.2.6" "[method]output-stream.blocking-write-and-flush" (func $print (param i32 i32 i32 i32)))
(import "wasi:sockets/tcp-create-socket@0.2.6" "create-tcp-socket" (func $socket (param i32 i32)))
(import "wasi:filesystem/preopens@0.2.6" "get-directories" (func $directories (param i32)))
"#;

const WASI_WORLD: &str = r"
  import wasi:clocks/monotonic-clock@0.2.6;
  import wasi:clocks/wall-clock@0.2.6;
  import wasi:io/poll@0.2.6;
  import wasi:io/streams@0.2.6;
  import wasi:random/random@0.2.6;
  import wasi:random/insecure-seed@0.2.6;
  import wasi:cli/environment@0.2.6;
  import wasi:cli/stderr@0.2.6;
  import wasi:cli/exit@0.2.6;
  import wasi:sockets/tcp-create-socket@0.2.6;
  import wasi:filesystem/preopens@0.2.6;
";

/// As much of WASI 0.2 as the imports above need, in an older release than the host's.
const WASI_WIT: &str = r"
package wasi:io@0.2.6 {
  interface error { resource error; }
  interface poll { resource pollable { ready: func() -> bool; block: func(); } poll: func(in: list<borrow<pollable>>) -> list<u32>; }
  interface streams {
    use error.{error};
    variant stream-error { last-operation-failed(error), closed }
    resource output-stream { blocking-write-and-flush: func(contents: list<u8>) -> result<_, stream-error>; }
  }
}
package wasi:clocks@0.2.6 {
  interface monotonic-clock { use wasi:io/poll@0.2.6.{pollable}; now: func() -> u64; subscribe-duration: func(when: u64) -> pollable; }
  interface wall-clock { record datetime { seconds: u64, nanoseconds: u32 } now: func() -> datetime; }
}
package wasi:random@0.2.6 {
  interface random { get-random-u64: func() -> u64; }
  interface insecure-seed { insecure-seed: func() -> tuple<u64, u64>; }
}
package wasi:filesystem@0.2.6 {
  interface types { resource descriptor; }
  interface preopens { use types.{descriptor}; get-directories: func() -> list<tuple<descriptor, string>>; }
}
package wasi:sockets@0.2.6 {
  interface network {
    enum error-code { unknown, access-denied, not-supported, invalid-argument, out-of-memory, timeout, concurrency-conflict,
      not-in-progress, would-block, invalid-state, new-socket-limit, address-not-bindable, address-in-use, remote-unreachable,
      connection-refused, connection-reset, connection-aborted, datagram-too-large, name-unresolvable,
      temporary-resolver-failure, permanent-resolver-failure }
    enum ip-address-family { ipv4, ipv6 }
  }
  interface tcp { resource tcp-socket; }
  interface tcp-create-socket {
    use network.{error-code, ip-address-family};
    use tcp.{tcp-socket};
    create-tcp-socket: func(address-family: ip-address-family) -> result<tcp-socket, error-code>;
  }
}
package wasi:cli@0.2.6 {
  interface environment { get-environment: func() -> list<tuple<string, string>>; }
  interface exit { exit: func(status: result); }
  interface stderr { use wasi:io/streams@0.2.6.{output-stream}; get-stderr: func() -> output-stream; }
}
";

/// What a toolchain's runtime would bring: memory, an allocator that never frees, numbers as text, answers.
const LIBRARY: &str = r#"
(memory (export "memory") 2)
(global $heap (mut i32) (i32.const 65536))
(func $realloc (export "cabi_realloc") (param $old i32) (param $old_len i32) (param $align i32) (param $len i32) (result i32)
  (local $at i32) (local $end i32)
  (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
  (local.set $end (i32.add (local.get $at) (local.get $len)))
  (if (i32.gt_u (local.get $end) (i32.shl (memory.size) (i32.const 16)))
    (then
      (if (i32.eq (i32.const -1)
            (memory.grow (i32.add (i32.const 1)
              (i32.shr_u (i32.sub (local.get $end) (i32.shl (memory.size) (i32.const 16))) (i32.const 16)))))
        (then unreachable))))
  (global.set $heap (local.get $end))
  (if (local.get $old) (then (memory.copy (local.get $at) (local.get $old) (local.get $old_len))))
  (local.get $at))
(func $alloc (param $len i32) (result i32)
  (call $realloc (i32.const 0) (i32.const 0) (i32.const 8) (local.get $len)))
;; A string as a result.
(func $string (param $at i32) (param $len i32) (result i32)
  (i32.store (i32.const 1024) (local.get $at))
  (i32.store (i32.const 1028) (local.get $len))
  (i32.const 1024))
;; ok(done({value, no events}))
(func $done (param $at i32) (param $len i32) (result i32)
  (memory.fill (i32.const 1024) (i32.const 0) (i32.const 80))
  (i32.store (i32.const 1040) (local.get $at))
  (i32.store (i32.const 1044) (local.get $len))
  (i32.const 1024))
;; err({kind, message})
(func $fail (param $kind i32) (param $at i32) (param $len i32) (result i32)
  (memory.fill (i32.const 1024) (i32.const 0) (i32.const 80))
  (i32.store8 (i32.const 1024) (i32.const 1))
  (i32.store8 (i32.const 1032) (local.get $kind))
  (i32.store (i32.const 1044) (local.get $at))
  (i32.store (i32.const 1048) (local.get $len))
  (i32.const 1024))
;; ok(done) with a number as its value.
(func $done_number (param $n i64) (result i32)
  (local $at i32)
  (local.set $at (i32.const 1000))
  (loop $digits
    (local.set $at (i32.sub (local.get $at) (i32.const 1)))
    (i32.store8 (local.get $at) (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get $n) (i64.const 10)))))
    (local.set $n (i64.div_u (local.get $n) (i64.const 10)))
    (br_if $digits (i64.ne (local.get $n) (i64.const 0))))
  (call $done (local.get $at) (i32.sub (i32.const 1000) (local.get $at))))
;; GET with no headers and no body; the answer stands at 2048.
(func $get (param $method i32) (param $method_len i32) (param $url i32) (param $url_len i32)
  (call $send (local.get $method) (local.get $method_len) (local.get $url) (local.get $url_len)
    (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
    (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 2048)))
;; ok(done) with the body of the answer at 2048, or with the number 1000 + the error's kind.
(func $done_response (param $at i32) (result i32)
  (if (result i32) (i32.load8_u (local.get $at))
    (then (call $done_number (i64.extend_i32_u (i32.add (i32.const 1000) (i32.load8_u offset=4 (local.get $at))))))
    (else (call $done (i32.load offset=20 (local.get $at)) (i32.load offset=24 (local.get $at))))))
"#;
