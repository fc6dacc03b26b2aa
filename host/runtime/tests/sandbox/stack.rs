//! How deep a guest may recurse.

use bulkhead_runtime::{LimitKind, Stop};

use crate::guest::Guest;
use crate::host::{Sandbox, stop, value};

/// Values that each frame keeps across the call: 512 bytes of them, and little else.
const KEPT: usize = 64;

/// Recurses so deep, and comes back.
fn recursing(depth: u32) -> Vec<u8> {
    let locals: String = (0..KEPT).map(|nth| format!("(local $k{nth} i64)")).collect();
    let read: String =
        (0..KEPT).map(|nth| format!("(local.set $k{nth} (i64.load (i32.const {})))", 3_000 + 8 * nth)).collect();
    let used: String =
        (0..KEPT).map(|nth| format!("(local.set $sum (i64.xor (local.get $sum) (local.get $k{nth})))")).collect();
    Guest::new()
        .extra(&format!(
            "(func $deep (param $n i32) (result i64) (local $sum i64) {locals}
               (if (i32.eqz (local.get $n)) (then (return (i64.const 0))))
               {read} (local.set $sum (call $deep (i32.sub (local.get $n) (i32.const 1)))) {used}
               (local.get $sum))"
        ))
        .act(&format!("(call $done_number (call $deep (i32.const {depth})))"))
        .build()
}

/// Half a MiB: about 350 KiB are within it, about 900 KiB are not.
///
/// Mutation: sandbox.rs, `STACK_BYTES`, three times as much.
#[tokio::test]
async fn the_stack_is_half_a_mebibyte() {
    let sandbox = Sandbox::start();
    assert_eq!(value(&sandbox.act(&recursing(600)).await), "0");
    let finished = sandbox.act(&recursing(1_500)).await;
    assert_eq!(*stop(&finished), Stop::Limit { kind: LimitKind::Stack, allowed: 512 << 10 });
}
