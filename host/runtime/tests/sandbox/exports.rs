//! Every export of the contract, in the hands of a guest that breaks, never ends, or answers what is no text.

use std::path::Path;

use bulkhead_runtime::{
    Delivery, Invocation, LimitKind, Limits, Operation, PullMode, Registration, Runtime, Stop, TrapCode,
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::host::{Sandbox, acting, stop};

const WORLD: &str = "package test:exports;
world exports {
  import bulkhead:connector/log@0.1.0;
  export bulkhead:connector/descriptor@0.1.0;
  export bulkhead:connector/account@0.1.0;
  export bulkhead:connector/actions@0.1.0;
  export bulkhead:connector/streams@0.1.0;
  export bulkhead:connector/webhooks@0.1.0;
}";

/// Each export, with as many numbers as it gets.
const EXPORTS: [(&str, &str); 8] = [
    ("descriptor@0.1.0#describe", ""),
    ("account@0.1.0#check", ""),
    ("actions@0.1.0#act", "i32 i32 i32 i32 i32 i32 i32"),
    ("streams@0.1.0#pull", "i32 i32 i32 i32 i32 i32 i32"),
    ("streams@0.1.0#push", "i32 i32 i32 i32"),
    ("webhooks@0.1.0#receive", "i32 i32 i32 i32 i32 i32 i32 i32 i32 i32"),
    ("webhooks@0.1.0#register", "i32 i32 i32 i32 i32 i32 i32 i32 i64"),
    ("webhooks@0.1.0#unregister", "i32 i32 i32 i32 i32 i64"),
];

fn operations() -> [Operation; 8] {
    let registration = Registration { id: "1".into(), details: "{}".into(), renew_at_ms: None };
    let delivery = Delivery {
        method: "POST".into(),
        path: "/".into(),
        query: String::new(),
        headers: Vec::new(),
        body: "{}".into(),
    };
    [
        Operation::Describe,
        Operation::Check,
        Operation::Act { action: "act".into(), input: "{}".into(), resume: None },
        Operation::Pull { stream: "s".into(), mode: PullMode::Full, cursor: None, limit: 1 },
        Operation::Push { stream: "s".into(), changes: Vec::new() },
        Operation::Receive { delivery },
        Operation::Register { url: "https://a.example/".into(), previous: Some(registration.clone()) },
        Operation::Unregister { registration },
    ]
}

/// Whose every export does this, and leaves the address of its answer. Two bytes that are no text stand at 900.
fn doing(body: &str) -> Vec<u8> {
    let exports = EXPORTS.map(|(name, takes)| {
        format!(r#"(func (export "bulkhead:connector/{name}") (param {takes}) (result i32) {body})"#)
    });
    let module = format!(
        r#"(module (import "bulkhead:connector/log@0.1.0" "write" (func $log (param i32 i32 i32 i32 i32)))
          (memory (export "memory") 1) (data (i32.const 900) "\ff\fe") (data (i32.const 904) "because")
          (global $free (mut i32) (i32.const 8192))
          (func $again (param i32) (result i32) (i32.add (i32.const 1) (call $again (local.get 0))))
          (func (export "cabi_realloc") (param i32 i32 i32) (param $len i32) (result i32)
            (global.get $free)
            (global.set $free (i32.and (i32.const -8) (i32.add (i32.const 7) (i32.add (global.get $free) (local.get $len))))))
          {})"#,
        exports.concat()
    );
    let mut core = wat::parse_str(&module).unwrap_or_else(|fault| panic!("{fault}\n{module}"));
    let mut resolve = Resolve::default();
    resolve.push_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit")).unwrap();
    let package = resolve.push_str("exports.wit", WORLD).unwrap();
    let world = resolve.select_world(&[package], Some("exports")).unwrap();
    embed_component_metadata(&mut core, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().validate(true).module(&core).unwrap().encode().unwrap()
}

/// What becomes of each operation that is asked of such a guest, and what it logged.
async fn asked(sandbox: &Sandbox, body: &str) -> Vec<(&'static str, Stop, usize)> {
    let loaded = sandbox.load(&doing(body)).await;
    let mut ends = Vec::new();
    for operation in operations() {
        let (name, limits) = (operation.name(), Limits { cpu_ms: 100, ..Limits::default() });
        let finished = sandbox.runtime.invoke(Invocation { operation, limits, ..acting(&loaded) }).await;
        ends.push((name, stop(&finished).clone(), finished.logs.len()));
    }
    assert_eq!(ends.len(), EXPORTS.len());
    ends
}

/// All its places are free again, and nothing of any guest is left.
fn is_as_new(runtime: &Runtime) {
    let status = runtime.status();
    assert_eq!((status.free_slots, status.core_instances, status.memories), (status.slots as usize, 0, 0));
}

fn trap(found: &Stop) -> Option<TrapCode> {
    if let Stop::Trapped { code, .. } = found { Some(*code) } else { None }
}

/// Mutation: host/runtime/src/fault.rs, `stop_for`, a trap as a fault of the host's.
#[tokio::test]
async fn whichever_export_breaks_it_is_the_guests_trap_with_its_last_words() {
    let sandbox = Sandbox::start();
    let says = "(call $log (i32.const 2) (i32.const 904) (i32.const 7) (i32.const 0) (i32.const 0))";
    for (body, code) in [
        (format!("{says} (unreachable)"), TrapCode::Unreachable),
        (format!("{says} (i32.load (i32.const -8))"), TrapCode::MemoryOutOfBounds),
        (format!("{says} (i32.div_u (i32.const 1) (i32.const 0))"), TrapCode::Arithmetic),
    ] {
        for (operation, found, lines) in asked(&sandbox, &body).await {
            assert_eq!((trap(&found), lines), (Some(code), 1), "{operation}: {found}");
        }
    }
    is_as_new(&sandbox.runtime);
}

/// Mutations: host/runtime/src/invoke.rs, `store`, without the epoch's deadline (it hangs), or without the stack's bound.
#[tokio::test]
async fn whichever_export_never_ends_it_ends_at_its_limit() {
    let sandbox = Sandbox::start();
    for (body, kind) in
        [("(loop $l (br $l)) (unreachable)", LimitKind::Cpu), ("(call $again (i32.const 1))", LimitKind::Stack)]
    {
        for (operation, found, _) in asked(&sandbox, body).await {
            assert!(matches!(found, Stop::Limit { kind: of, .. } if of == kind), "{operation}: {found}");
        }
    }
    is_as_new(&sandbox.runtime);
}

/// A webhook's registration is text, too. (What the others answer is lied about in tests/tests/stories/hostile/raw.rs.)
///
/// Mutation: none of ours: the canonical ABI's decoding is wasmtime's, and this says that it is relied upon.
#[tokio::test]
async fn what_is_no_text_in_an_answer_about_a_registration_is_a_trap() {
    let sandbox = Sandbox::start();
    let texts = |at: &[(u32, bool)]| -> String {
        let text = |&(at, bad): &(u32, bool)| {
            let (from, length) = if bad { (900, 2) } else { (904, 4) };
            format!(
                "(i32.store (i32.const {}) (i32.const {from})) (i32.store (i32.const {}) (i32.const {length}))",
                1_024 + at,
                1_028 + at
            )
        };
        at.iter().map(text).collect()
    };
    let byte = |at: u32, value: u32| format!("(i32.store8 (i32.const {}) (i32.const {value}))", 1_024 + at);
    let registered = [texts(&[(8, true), (16, false)]), texts(&[(8, false), (16, true)])];
    // A failure: its kind (ten is another, by name), its message, and three texts that may be there.
    let refused = [
        format!("{}{}{}", byte(0, 1), byte(8, 10), texts(&[(12, true)])),
        format!("{}{}", byte(0, 1), texts(&[(20, true)])),
        format!("{}{}{}", byte(0, 1), byte(28, 1), texts(&[(32, true)])),
        format!("{}{}{}", byte(0, 1), byte(40, 1), texts(&[(44, true)])),
        format!("{}{}{}", byte(0, 1), byte(52, 1), texts(&[(56, true)])),
    ];
    let [.., register, unregister] = operations();
    for (lies, operations) in [(&registered[..], vec![&register]), (&refused[..], vec![&register, &unregister])] {
        for lie in lies {
            let loaded = sandbox.load(&doing(&format!("{lie} (i32.const 1024)"))).await;
            for operation in &operations {
                let operation = (*operation).clone();
                let (name, invocation) = (operation.name(), Invocation { operation, ..acting(&loaded) });
                let finished = sandbox.runtime.invoke(invocation).await;
                assert_eq!(trap(stop(&finished)), Some(TrapCode::InvalidValue), "{name}: {lie}: {finished:?}");
            }
        }
    }
    is_as_new(&sandbox.runtime);
}

/// Mutation: host/runtime/src/answer.rs, `Checker::registration`, without the check of `details`.
#[tokio::test]
async fn a_registrations_details_are_one_document() {
    let sandbox = Sandbox::start();
    // "because", where JSON belongs.
    let [.., register, _] = operations();
    let body = "(i32.store (i32.const 1032) (i32.const 904)) (i32.store (i32.const 1036) (i32.const 7)) \
                (i32.store (i32.const 1040) (i32.const 904)) (i32.store (i32.const 1044) (i32.const 7)) (i32.const 1024)";
    let loaded = sandbox.load(&doing(body)).await;
    let finished = sandbox.runtime.invoke(Invocation { operation: register, ..acting(&loaded) }).await;
    let Stop::BadOutput { what, .. } = stop(&finished) else { panic!("{finished:?}") };
    assert_eq!(what, "registration.details");
}
