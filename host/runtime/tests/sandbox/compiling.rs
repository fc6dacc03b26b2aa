//! The compiling process and what it leaves: confined, killed in time, authenticated, and linked only where it fits.

use bulkhead_runtime::{
    Asker, CompileError, CompilerCommand, Digest, LoadError, Runtime, UploadLimits, inspect_component,
};

use crate::guest::Guest;
use crate::host::{Sandbox, acting, settings, value};

fn script(text: &str) -> CompilerCommand {
    CompilerCommand { program: "/bin/sh".into(), args: vec!["-c".into(), text.into()] }
}

fn good() -> Vec<u8> {
    Guest::acting("(call $done_number (i64.const 7))")
}

#[tokio::test]
async fn an_artifact_outlives_the_runtime_that_made_it() {
    let sandbox = Sandbox::start();
    let digest = sandbox.compile(&good()).await.unwrap();
    assert_eq!(digest, Digest::of(&good()));
    // A second runtime over the same directory that could not compile if it wanted to.
    let mut again = settings(&sandbox.dir);
    again.compiler = script("exit 1");
    let again = Runtime::start(again).unwrap();
    assert_eq!(again.compile(&good().into(), Asker::Run).await.unwrap(), digest, "nothing to do");
    let loaded = again.load(&digest).await.unwrap();
    assert_eq!(value(&again.invoke(acting(&loaded)).await), "7");
}

/// Without the MAC the changed artifact is mapped: native code of somebody else's.
#[tokio::test]
async fn a_changed_artifact_is_refused_and_compiling_again_heals_it() {
    let sandbox = Sandbox::start();
    let digest = sandbox.compile(&good()).await.unwrap();
    let path = sandbox.dir.path().join("artifacts").join(format!("{digest}.cwasm"));
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert!(matches!(sandbox.runtime.load(&digest).await, Err(LoadError::Tampered { .. })));
    sandbox.compile(&good()).await.unwrap();
    sandbox.runtime.load(&digest).await.unwrap();
}

/// As after a move to a machine with another CPU: authentic, compatible as far as this process can know, and refused.
///
/// Mutation: runtime.rs, `is_compiled`, ask whether the MAC is right and nothing else: nothing is compiled, ever.
#[tokio::test]
async fn an_authentic_artifact_that_the_engine_refuses_is_compiled_anew() {
    let elsewhere = Sandbox::with(|settings| settings.compiler = script("cat > /dev/null; echo code for another CPU"));
    let digest = elsewhere.compile(&good()).await.unwrap();
    let here = Runtime::start(settings(&elsewhere.dir)).unwrap();
    assert_eq!(here.load(&digest).await.unwrap_err(), LoadError::Stale { digest });
    here.compile(&good().into(), Asker::Run).await.unwrap();
    let loaded = here.load(&digest).await.unwrap();
    assert_eq!(value(&here.invoke(acting(&loaded)).await), "7");
}

#[tokio::test]
async fn what_was_never_compiled_is_missing() {
    let sandbox = Sandbox::start();
    let digest = Digest::of(b"never");
    assert_eq!(sandbox.runtime.load(&digest).await.unwrap_err(), LoadError::Missing { digest });
}

#[tokio::test]
async fn what_the_compiler_does_not_accept_is_rejected_with_its_reason() {
    let sandbox = Sandbox::start();
    let refuse = async |wasm: &[u8]| match sandbox.compile(wasm).await {
        Err(CompileError::Rejected { reason }) => reason,
        other => panic!("{other:?}"),
    };
    assert!(!refuse(b"\0asm\x0d\0\x01\0\xff\xff").await.is_empty());
    // Not deterministic, not single-threaded, not within 4 GiB: all off.
    for module in [
        "(module (func (result v128) (i8x16.relaxed_swizzle (v128.const i64x2 0 0) (v128.const i64x2 0 0))))",
        "(module (memory 1 1 shared))",
        "(module (memory i64 1))",
    ] {
        let wasm = wat::parse_str(format!("(component (core {}", &module[1..]) + ")").unwrap();
        assert!(!refuse(&wasm).await.is_empty(), "{module}");
    }
    assert_eq!(std::fs::read_dir(sandbox.dir.path().join("artifacts")).unwrap().count(), 0, "nothing is left behind");
}

/// Without the limit on the clock the test takes an hour; without killing, the child goes on.
#[tokio::test]
async fn a_compiler_that_gets_nothing_done_is_killed_and_whoever_asked_comes_again() {
    let sandbox = Sandbox::with(|settings| {
        settings.compile_patience_ms = 200;
        settings.compiler = script("cat > /dev/null; exec sleep 3600");
    });
    let starved = sandbox.compile(&good()).await.unwrap_err();
    assert!(matches!(starved, CompileError::Starved { .. }) && starved.retry_after_ms().is_some(), "{starved:?}");
    // The only child of this process is gone as soon as it was waited for.
    while children() > 0 {
        tokio::task::yield_now().await;
    }
}

fn children() -> usize {
    let own = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    own.split_whitespace()
        .filter(|pid| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty()))
        .count()
}

/// Without the address-space limit this compiles.
#[tokio::test]
async fn a_compiler_that_takes_too_much_memory_ends() {
    let sandbox = Sandbox::with(|settings| settings.compile_memory_bytes = 64 << 20);
    // 30 MiB of a data segment: read, parsed and written again, each of them once more.
    let module = format!("(module (memory 600) (data (i32.const 0) \"{}\"))", "x".repeat(30 << 20));
    let wasm = wat::parse_str(format!("(component (core {})", &module[1..])).unwrap();
    let refused = sandbox.compile(&wasm).await;
    assert!(matches!(refused, Err(CompileError::TookTooMuchMemory { .. })), "{refused:?}");
}

#[tokio::test]
async fn every_other_end_of_the_compiler_has_its_name() {
    let with = async |command: CompilerCommand, artifact_bytes: u64| {
        let sandbox = Sandbox::with(|settings| {
            settings.compile_seconds = 7;
            settings.compiler = command;
            settings.artifact_bytes = artifact_bytes;
        });
        sandbox.compile(&good()).await.unwrap_err()
    };
    assert!(matches!(with(script("cat > /dev/null; kill -SEGV $$"), 1 << 20).await, CompileError::Died { .. }));
    // A limit of CPU time says it by a signal of its own.
    let too_long = with(script("cat > /dev/null; kill -XCPU $$"), 1 << 20).await;
    assert!(matches!(too_long, CompileError::TookTooLong { limit_seconds: 7 }), "{too_long:?}");
    let CompileError::Rejected { reason } =
        with(script("echo $BULKHEAD_COMPILE_CPU_SECONDS >&2; exit 65"), 1 << 20).await
    else {
        panic!()
    };
    assert_eq!(reason, "7");
    assert!(matches!(with(script("exit 3"), 1 << 20).await, CompileError::Died { .. }));
    assert!(matches!(with(script("cat > /dev/null; yes"), 1 << 20).await, CompileError::ArtifactTooLarge { .. }));
    let missing = CompilerCommand { program: "/nonexistent".into(), args: Vec::new() };
    assert!(matches!(with(missing, 1 << 20).await, CompileError::Unavailable(_)));
    let CompileError::Rejected { reason } = with(script("printf 'a\\033[2Jb' >&2; exit 65"), 1 << 20).await else {
        panic!()
    };
    assert_eq!(reason, "a[2Jb");
}

#[tokio::test]
async fn a_component_over_the_size_limit_is_not_compiled() {
    let sandbox = Sandbox::with(|settings| settings.component_bytes = 10);
    assert!(matches!(sandbox.compile(&good()).await, Err(CompileError::TooLarge { limit: 10, .. })));
}

/// The compiler knows nothing of this process: its environment is three numbers.
#[tokio::test]
async fn the_compiler_sees_nothing_of_the_hosts_environment() {
    let sandbox =
        Sandbox::with(|settings| settings.compiler = script("/usr/bin/env | /usr/bin/sort | cut -d= -f1 >&2; exit 65"));
    let Err(CompileError::Rejected { reason }) = sandbox.compile(&good()).await else { panic!() };
    // `sh` adds two of its own.
    assert_eq!(reason, "BULKHEAD_COMPILE_CPU_SECONDS BULKHEAD_COMPILE_INPUT_BYTES BULKHEAD_COMPILE_MEMORY_BYTES PWD");
}

/// A component of many core instances, as composed ones and some toolchains' are.
fn with_instances(count: usize) -> Vec<u8> {
    let text = format!(
        r#"(component
             (core module $m (memory (export "memory") 1) (data (i32.const 8) "{{}}")
               (func (export "describe") (result i32)
                 (i32.store (i32.const 0) (i32.const 8)) (i32.store (i32.const 4) (i32.const 2)) (i32.const 0)))
             (core instance $i (instantiate $m))
             (core module $x (global i32 (i32.const 0)))
             {}
             (func $d (result string) (canon lift (core func $i "describe") (memory $i "memory")))
             (instance $e (export "describe" (func $d)))
             (export "bulkhead:connector/descriptor@0.1.0" (instance $e)))"#,
        "(core instance (instantiate $x))".repeat(count - 1)
    );
    wat::parse_str(text).unwrap()
}

/// Without room for 40 and more per component, Python's output would not load.
#[tokio::test]
async fn a_component_of_many_core_instances_fits_up_to_the_limit() {
    let sandbox = Sandbox::start();
    let loaded = sandbox.load(&with_instances(64)).await;
    assert_eq!(sandbox.runtime.describe(&loaded).await.unwrap(), "{}");
    let digest = sandbox.compile(&with_instances(65)).await.unwrap();
    assert!(matches!(sandbox.runtime.load(&digest).await, Err(LoadError::DoesNotFit { .. })));
    let refused = inspect_component(&with_instances(65), &UploadLimits::default()).unwrap_err();
    assert_eq!(refused.code(), "too-many-core-instances");
}

const DESCRIPTOR: &str = r#"(core module $d (memory (export "memory") 1) (func (export "describe") (result i32) unreachable))
    (core instance $d (instantiate $d))
    (func $d (result string) (canon lift (core func $d "describe") (memory $d "memory")))
    (instance $e (export "describe" (func $d)))
    (export "bulkhead:connector/descriptor@0.1.0" (instance $e))"#;

/// Mutations: sandbox.rs, `pool`, more memories, or more tables, of a component.
#[tokio::test]
async fn a_component_of_many_memories_or_tables_fits_up_to_the_limit() {
    let sandbox = Sandbox::start();
    let with = |module: &str, count: usize| {
        let one = format!("(core module $m {module}) {}", "(core instance (instantiate $m))".repeat(count));
        wat::parse_str(format!("(component {one} {DESCRIPTOR})")).unwrap()
    };
    // The descriptor has a memory of its own.
    for (module, most) in [("(memory 1)", 3), ("(table 1 funcref) (table 1 funcref)", 32)] {
        let digest = sandbox.compile(&with(module, most)).await.unwrap();
        sandbox.runtime.load(&digest).await.unwrap();
        let digest = sandbox.compile(&with(module, most + 1)).await.unwrap();
        let refused = sandbox.runtime.load(&digest).await.unwrap_err();
        assert!(matches!(refused, LoadError::DoesNotFit { .. }), "{module}: {refused:?}");
    }
}

#[tokio::test]
async fn a_component_with_another_type_behind_a_name_of_ours_does_not_fit_the_contract() {
    let sandbox = Sandbox::start();
    let text = r#"(component
        (import "bulkhead:connector/context@0.1.0" (instance (export "now-ms" (func (result string)))))
        (instance $e) (export "bulkhead:connector/descriptor@0.1.0" (instance $e)))"#;
    let digest = sandbox.compile(&wat::parse_str(text).unwrap()).await.unwrap();
    assert!(matches!(sandbox.runtime.load(&digest).await, Err(LoadError::Contract { .. })));
}

/// Without multi-memory the adapter between the two parts does not validate; QuickJS's output is built like this.
#[tokio::test]
async fn a_component_of_components_runs() {
    let sandbox = Sandbox::start();
    let text = r#"(component
        (component $inner
          (core module $m (memory (export "memory") 1) (data (i32.const 8) "[7]")
            (func (export "say") (result i32)
              (i32.store (i32.const 0) (i32.const 8)) (i32.store (i32.const 4) (i32.const 3)) (i32.const 0)))
          (core instance $i (instantiate $m))
          (func (export "say") (result string) (canon lift (core func $i "say") (memory $i "memory"))))
        (component $outer
          (import "say" (func $say (result string)))
          (core module $memory (memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 64)))
          (core instance $memory (instantiate $memory))
          (core func $say (canon lower (func $say) (memory $memory "memory") (realloc (func $memory "realloc"))))
          (core module $m (import "" "say" (func $say (param i32)))
            (func (export "describe") (result i32) (call $say (i32.const 0)) (i32.const 0)))
          (core instance $i (instantiate $m (with "" (instance (export "say" (func $say))))))
          (func (export "describe") (result string) (canon lift (core func $i "describe") (memory $memory "memory"))))
        (instance $inner (instantiate $inner))
        (instance $outer (instantiate $outer (with "say" (func $inner "say"))))
        (export "bulkhead:connector/descriptor@0.1.0" (instance $outer)))"#;
    let loaded = sandbox.load(&wat::parse_str(text).unwrap()).await;
    assert_eq!(sandbox.runtime.describe(&loaded).await.unwrap(), "[7]");
}

/// Without the rewriting such a component does not compile here.
#[tokio::test]
async fn a_component_that_links_async_built_ins_without_using_them_runs() {
    let sandbox = Sandbox::start();
    let text = r#"(component
        (core func $get (canon context.get i32 0)) (core func $set (canon context.set i32 0)) (core func $cancel (canon task.cancel))
        (core module $m (import "" "get" (func $get (result i32))) (import "" "set" (func $set (param i32))) (import "" "cancel" (func))
          (memory (export "memory") 1) (data (i32.const 8) "[4]")
          (func (export "describe") (result i32)
            (call $set (i32.const 8)) (i32.store (i32.const 0) (call $get)) (i32.store (i32.const 4) (i32.const 3)) (i32.const 0)))
        (core instance $i (instantiate $m (with "" (instance
          (export "get" (func $get)) (export "set" (func $set)) (export "cancel" (func $cancel))))))
        (func $d (result string) (canon lift (core func $i "describe") (memory $i "memory")))
        (instance $e (export "describe" (func $d)))
        (export "bulkhead:connector/descriptor@0.1.0" (instance $e)))"#;
    let loaded = sandbox.load(&wat::parse_str(text).unwrap()).await;
    assert_eq!(sandbox.runtime.describe(&loaded).await.unwrap(), "[4]");
}
