//! Components of toolchains that can do async, for a host that cannot.
//!
//! Some toolchains (QuickJS) link the built-ins of the component model's async support into every component, whether its
//! world has anything async or not; there they are never called. The host leaves that support out (it is experimental and
//! gets no security patches), so such a component would not even validate. This rewrites it before it is compiled: each
//! such built-in becomes a function of a small module that stands in front. A context slot is a variable; everything else
//! traps if it is called after all. What really is async (lifts, streams, futures) stays as it is and is refused by the
//! compiler, by name.
//!
//! Runs in the compiling process: it reads what an uploader wrote. What comes out is validated like any component.
//!
//! Invariant: every (nested) component gets exactly one more core module and core instance, both at index 0; every other
//! index of those two spaces moves by one, and no index of any other space moves.

use wasm_encoder::reencode::{Error, Reencode, ReencodeComponent, component_utils};
use wasm_encoder::{
    Alias, CanonicalFunctionSection, CodeSection, Component, ComponentAliasSection, ComponentSectionId, ConstExpr,
    ExportKind, ExportSection, Function, FunctionSection, GlobalSection, GlobalType, InstanceSection, Instruction,
    Module, ModuleArg, ModuleSection, NestedComponentSection, RawSection, TypeSection, ValType,
};
use wasmparser::{CanonicalFunction, ComponentCanonicalSectionReader, Parser, Payload};

/// What the module in front offers. The name is also the export's.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stub {
    name: &'static str,
    parameters: usize,
    result: bool,
    body: Body,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Body {
    Trap,
    ReadSlot(u32),
    WriteSlot(u32),
}

const SLOTS: u32 = 2;

const STUBS: &[Stub] = &[
    Stub { name: "context.get.0", parameters: 0, result: true, body: Body::ReadSlot(0) },
    Stub { name: "context.get.1", parameters: 0, result: true, body: Body::ReadSlot(1) },
    Stub { name: "context.set.0", parameters: 1, result: false, body: Body::WriteSlot(0) },
    Stub { name: "context.set.1", parameters: 1, result: false, body: Body::WriteSlot(1) },
    Stub { name: "task.cancel", parameters: 0, result: false, body: Body::Trap },
    Stub { name: "thread.yield", parameters: 0, result: true, body: Body::Trap },
    Stub { name: "subtask.drop", parameters: 1, result: false, body: Body::Trap },
    Stub { name: "subtask.cancel", parameters: 1, result: true, body: Body::Trap },
    Stub { name: "waitable-set.new", parameters: 0, result: true, body: Body::Trap },
    Stub { name: "waitable-set.wait", parameters: 2, result: true, body: Body::Trap },
    Stub { name: "waitable-set.poll", parameters: 2, result: true, body: Body::Trap },
    Stub { name: "waitable-set.drop", parameters: 1, result: false, body: Body::Trap },
    Stub { name: "waitable.join", parameters: 2, result: false, body: Body::Trap },
    Stub { name: "backpressure.inc", parameters: 0, result: false, body: Body::Trap },
    Stub { name: "backpressure.dec", parameters: 0, result: false, body: Body::Trap },
];

/// The stub in place of a built-in, if it is one of those.
fn stub_for(function: &CanonicalFunction) -> Option<&'static str> {
    let i32 = wasmparser::ValType::I32;
    Some(match function {
        CanonicalFunction::ContextGet { ty, slot: 0 } if *ty == i32 => "context.get.0",
        CanonicalFunction::ContextGet { ty, slot: 1 } if *ty == i32 => "context.get.1",
        CanonicalFunction::ContextSet { ty, slot: 0 } if *ty == i32 => "context.set.0",
        CanonicalFunction::ContextSet { ty, slot: 1 } if *ty == i32 => "context.set.1",
        CanonicalFunction::TaskCancel => "task.cancel",
        CanonicalFunction::ThreadYield { .. } => "thread.yield",
        CanonicalFunction::SubtaskDrop => "subtask.drop",
        CanonicalFunction::SubtaskCancel { .. } => "subtask.cancel",
        CanonicalFunction::WaitableSetNew => "waitable-set.new",
        CanonicalFunction::WaitableSetWait { .. } => "waitable-set.wait",
        CanonicalFunction::WaitableSetPoll { .. } => "waitable-set.poll",
        CanonicalFunction::WaitableSetDrop => "waitable-set.drop",
        CanonicalFunction::WaitableJoin => "waitable.join",
        CanonicalFunction::BackpressureInc => "backpressure.inc",
        CanonicalFunction::BackpressureDec => "backpressure.dec",
        _ => return None,
    })
}

/// The component without the built-ins, or None: it has none, or cannot be read (the compiler will say why).
pub(super) fn replaced(wasm: &[u8]) -> Option<Vec<u8>> {
    let mentions = |payload: Payload<'_>| match payload {
        Payload::ComponentCanonicalSection(section) => {
            section.into_iter().any(|found| found.is_ok_and(|function| stub_for(&function).is_some()))
        }
        _ => false,
    };
    let has_any = Parser::new(0).parse_all(wasm).map_while(Result::ok).any(mentions);
    if !has_any {
        return None;
    }
    let mut component = Component::new();
    put_stubs_in_front(&mut component);
    component_utils::parse_component(&mut Replace, &mut component, Parser::new(0), wasm, wasm).ok()?;
    Some(component.finish())
}

struct Replace;

type Rewritten = Result<(), Error<std::convert::Infallible>>;

impl Reencode for Replace {
    type Error = std::convert::Infallible;
}

impl ReencodeComponent for Replace {
    fn module_index(&mut self, module: u32) -> u32 {
        module.saturating_add(1)
    }

    fn instance_index(&mut self, instance: u32) -> u32 {
        instance.saturating_add(1)
    }

    /// Copied as it is: nothing in a core module knows the indices around it.
    fn parse_component_submodule(&mut self, component: &mut Component, _: Parser, module: &[u8]) -> Rewritten {
        component.section(&RawSection { id: ComponentSectionId::CoreModule.into(), data: module });
        Ok(())
    }

    fn parse_component_subcomponent(
        &mut self,
        component: &mut Component,
        parser: Parser,
        nested: &[u8],
        whole: &[u8],
    ) -> Rewritten {
        let mut rewritten = Component::new();
        put_stubs_in_front(&mut rewritten);
        component_utils::parse_component(self, &mut rewritten, parser, nested, whole)?;
        component.section(&NestedComponentSection(&rewritten));
        Ok(())
    }

    /// Names and producers are not compiled.
    fn parse_component_custom_section(
        &mut self,
        _: &mut Component,
        _: wasmparser::CustomSectionReader<'_>,
    ) -> Rewritten {
        Ok(())
    }

    fn parse_component_payload(&mut self, component: &mut Component, payload: Payload<'_>, whole: &[u8]) -> Rewritten {
        match payload {
            Payload::ComponentCanonicalSection(section) => self.canonical(component, section),
            other => component_utils::parse_component_payload(self, component, other, whole),
        }
    }
}

impl Replace {
    /// The section in pieces, so that every function keeps its place: in between stand aliases of the stubs.
    fn canonical(&mut self, component: &mut Component, section: ComponentCanonicalSectionReader<'_>) -> Rewritten {
        let mut kept = CanonicalFunctionSection::new();
        for function in section {
            let function = function?;
            let Some(name) = stub_for(&function) else {
                self.parse_component_canonical(&mut kept, function)?;
                continue;
            };
            if !kept.is_empty() {
                component.section(&std::mem::take(&mut kept));
            }
            let mut alias = ComponentAliasSection::new();
            alias.alias(Alias::CoreInstanceExport { instance: 0, kind: ExportKind::Func, name });
            component.section(&alias);
        }
        if !kept.is_empty() {
            component.section(&kept);
        }
        Ok(())
    }
}

fn put_stubs_in_front(component: &mut Component) {
    component.section(&ModuleSection(&stubs()));
    let mut instances = InstanceSection::new();
    instances.instantiate(0, std::iter::empty::<(&str, ModuleArg)>());
    component.section(&instances);
}

fn stubs() -> Module {
    let (mut types, mut functions, mut exports, mut code) =
        (TypeSection::new(), FunctionSection::new(), ExportSection::new(), CodeSection::new());
    for (index, stub) in (0_u32..).zip(STUBS) {
        let parameters = std::iter::repeat_n(ValType::I32, stub.parameters);
        types.ty().function(parameters, std::iter::repeat_n(ValType::I32, usize::from(stub.result)));
        functions.function(index);
        exports.export(stub.name, ExportKind::Func, index);
        let mut body = Function::new([]);
        match stub.body {
            Body::Trap => body.instruction(&Instruction::Unreachable),
            Body::ReadSlot(slot) => body.instruction(&Instruction::GlobalGet(slot)),
            Body::WriteSlot(slot) => {
                body.instruction(&Instruction::LocalGet(0)).instruction(&Instruction::GlobalSet(slot))
            }
        };
        body.instruction(&Instruction::End);
        code.function(&body);
    }
    let mut globals = GlobalSection::new();
    for _ in 0..SLOTS {
        globals.global(GlobalType { val_type: ValType::I32, mutable: true, shared: false }, &ConstExpr::i32_const(0));
    }
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&globals).section(&exports).section(&code);
    module
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn component(text: &str) -> Vec<u8> {
        wat::parse_str(text).unwrap()
    }

    /// Without component-model async, as here.
    fn validates(wasm: &[u8]) -> bool {
        let features = wasmparser::WasmFeatures::default() - wasmparser::WasmFeatures::CM_ASYNC;
        wasmparser::Validator::new_with_features(features).validate_all(wasm).is_ok()
    }

    #[test]
    fn a_component_without_them_stays_as_it_is() {
        assert_eq!(replaced(&component("(component (core module))")), None);
        assert_eq!(replaced(b"no component"), None);
    }

    #[test]
    fn every_built_in_in_the_list_is_replaced_by_a_function_of_its_type() {
        let wasm = component(
            r#"(component
              (core module $memory (memory (export "m") 1))
              (core instance $memory (instantiate $memory))
              (core func $get (canon context.get i32 0)) (core func $get1 (canon context.get i32 1))
              (core func $set (canon context.set i32 0)) (core func $set1 (canon context.set i32 1))
              (core func $cancel (canon task.cancel)) (core func $yield (canon thread.yield))
              (core func $drop (canon subtask.drop)) (core func $sub (canon subtask.cancel))
              (core func $new (canon waitable-set.new)) (core func $gone (canon waitable-set.drop))
              (core func $wait (canon waitable-set.wait (memory $memory "m")))
              (core func $poll (canon waitable-set.poll (memory $memory "m")))
              (core func $join (canon waitable.join))
              (core func $inc (canon backpressure.inc)) (core func $dec (canon backpressure.dec))
              (core module $user
                (import "" "get" (func (result i32))) (import "" "get1" (func (result i32)))
                (import "" "set" (func (param i32))) (import "" "set1" (func (param i32)))
                (import "" "cancel" (func)) (import "" "yield" (func (result i32)))
                (import "" "drop" (func (param i32))) (import "" "sub" (func (param i32) (result i32)))
                (import "" "new" (func (result i32))) (import "" "gone" (func (param i32)))
                (import "" "wait" (func (param i32 i32) (result i32))) (import "" "poll" (func (param i32 i32) (result i32)))
                (import "" "join" (func (param i32 i32))) (import "" "inc" (func)) (import "" "dec" (func)))
              (core instance (instantiate $user (with "" (instance
                (export "get" (func $get)) (export "get1" (func $get1)) (export "set" (func $set)) (export "set1" (func $set1))
                (export "cancel" (func $cancel)) (export "yield" (func $yield)) (export "drop" (func $drop))
                (export "sub" (func $sub)) (export "new" (func $new)) (export "gone" (func $gone)) (export "wait" (func $wait))
                (export "poll" (func $poll)) (export "join" (func $join)) (export "inc" (func $inc)) (export "dec" (func $dec)))))))"#,
        );
        assert!(!validates(&wasm), "or nothing would have to be done");
        assert!(validates(&replaced(&wasm).unwrap()));
    }

    #[test]
    fn indices_move_in_nested_components_too() {
        let wasm = component(
            r#"(component
              (core module $outer (func (export "f")))
              (component $nested
                (alias outer 1 $outer (core module $inner))
                (core instance $i (instantiate $inner))
                (core func $cancel (canon task.cancel))
                (core module $m (import "" "f" (func)) (import "" "cancel" (func)))
                (core instance (instantiate $m (with "" (instance (export "f" (func $i "f")) (export "cancel" (func $cancel)))))))
              (core instance (instantiate $outer))
              (instance (instantiate $nested)))"#,
        );
        assert!(validates(&replaced(&wasm).unwrap()));
    }

    #[test]
    fn what_really_is_async_stays() {
        let wasm = component(
            r#"(component (core func (canon task.cancel))
              (type $s (stream u8)) (core func (canon stream.new $s)))"#,
        );
        assert!(!validates(&replaced(&wasm).unwrap()));
    }
}
