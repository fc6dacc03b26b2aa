//! How many instances a component makes: core instances, and instances of nested components.
//!
//! A nested component counts once for each time it is instantiated; counts saturate, because doubling per level is cheap
//! to write down. An instance that holds no code costs the host memory all the same, when the artifact is read.
//!
//! Invariant: whatever is instantiated was counted. A component that came by an import or by another instance's export
//! has no count, so whoever instantiates it is told apart: no toolchain does, and the pool's limit is for code alone.

use wasmparser::{
    BinaryReaderError, ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind,
    ComponentTypeRef, Encoding, Instance, Payload,
};

/// What instantiating something makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Makes {
    pub(super) core: u64,
    pub(super) nested: u64,
}

/// Components that one can name, as many as the validator takes: each is a few bytes there, and more here.
const MOST_COMPONENTS: usize = 1_000;

/// Fed with every payload of a component in order.
#[derive(Default)]
pub(super) struct InstanceCount {
    /// One for each component being read, outermost first. Modules stand in between as `None`.
    open: Vec<Option<Level>>,
    total: Makes,
    uncounted: bool,
}

#[derive(Default)]
struct Level {
    /// What instantiating this component makes.
    makes: Makes,
    /// The same for each component it can name, by index; `None` for one that came from elsewhere.
    components: Vec<Option<Makes>>,
}

impl InstanceCount {
    pub(super) fn see(&mut self, payload: &Payload<'_>) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::Version { encoding: Encoding::Component, .. } => self.open.push(Some(Level::default())),
            Payload::Version { .. } => self.open.push(None),
            Payload::End(_) => self.close(),
            Payload::InstanceSection(instances) => {
                for instance in instances.clone() {
                    if matches!(instance?, Instance::Instantiate { .. }) {
                        self.makes(Makes { core: 1, nested: 0 });
                    }
                }
            }
            Payload::ComponentInstanceSection(instances) => {
                for instance in instances.clone() {
                    if let ComponentInstance::Instantiate { component_index, .. } = instance? {
                        match self.made_by(0, component_index) {
                            Some(inner) => self.makes(Makes { nested: inner.nested.saturating_add(1), ..inner }),
                            None => self.uncounted = true,
                        }
                    }
                }
            }
            Payload::ComponentImportSection(imports) => {
                for import in imports.clone() {
                    if matches!(import?.ty, ComponentTypeRef::Component(_)) {
                        self.knows(None);
                    }
                }
            }
            Payload::ComponentAliasSection(aliases) => {
                for alias in aliases.clone() {
                    self.alias(&alias?);
                }
            }
            Payload::ComponentExportSection(exports) => {
                // An export is also a new index of what it exports.
                for export in exports.clone() {
                    let export = export?;
                    if export.kind == ComponentExternalKind::Component {
                        let inner = self.made_by(0, export.index);
                        self.knows(inner);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn total(&self) -> Makes {
        self.total
    }

    /// Whether something was instantiated that is not in the total.
    pub(super) fn uncounted(&self) -> bool {
        self.uncounted
    }

    fn close(&mut self) {
        if let Some(Some(level)) = self.open.pop() {
            self.total = level.makes;
            self.knows(Some(level.makes));
        }
    }

    fn alias(&mut self, alias: &ComponentAlias<'_>) {
        match alias {
            ComponentAlias::InstanceExport { kind: ComponentExternalKind::Component, .. } => self.knows(None),
            ComponentAlias::Outer { kind: ComponentOuterAliasKind::Component, count, index } => {
                let inner = self.made_by(*count as usize, *index);
                self.knows(inner);
            }
            _ => {}
        }
    }

    fn makes(&mut self, more: Makes) {
        if let Some(Some(Level { makes, .. })) = self.open.last_mut() {
            makes.core = makes.core.saturating_add(more.core);
            makes.nested = makes.nested.saturating_add(more.nested);
        }
    }

    fn knows(&mut self, component: Option<Makes>) {
        let Some(Some(level)) = self.open.last_mut() else { return };
        if level.components.len() == MOST_COMPONENTS {
            self.uncounted = true;
        } else {
            level.components.push(component);
        }
    }

    fn made_by(&self, levels_out: usize, index: u32) -> Option<Makes> {
        let level = self.open.iter().rev().nth(levels_out).and_then(Option::as_ref);
        level?.components.get(index as usize).copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn counted(text: &str) -> InstanceCount {
        let wasm = wat::parse_str(text).unwrap();
        wasmparser::Validator::new_with_features(wasmparser::WasmFeatures::all()).validate_all(&wasm).unwrap();
        unvalidated(&wasm)
    }

    fn unvalidated(wasm: &[u8]) -> InstanceCount {
        let mut count = InstanceCount::default();
        for payload in wasmparser::Parser::new(0).parse_all(wasm) {
            count.see(&payload.unwrap()).unwrap();
        }
        count
    }

    fn count(text: &str) -> (u64, u64) {
        let count = counted(text);
        assert!(!count.uncounted());
        let Makes { core, nested } = count.total();
        (core, nested)
    }

    #[test]
    fn instances_are_counted_and_modules_are_not() {
        let text = "(component (core module $m) (core module) (core instance (instantiate $m)) (core instance (instantiate $m)))";
        assert_eq!(count(text), (2, 0));
    }

    #[test]
    fn a_nested_component_counts_each_time_it_is_instantiated() {
        let twice =
            |inner: &str| format!("(component $c {inner}) (instance (instantiate $c)) (instance (instantiate $c))");
        let mut text = "(core module $m) (core instance (instantiate $m))".to_owned();
        for _ in 0..10 {
            text = twice(&text);
        }
        assert_eq!(count(&format!("(component {text})")), (1 << 10, (2 << 10) - 2));
        // Without any code in it.
        let mut text = String::new();
        for _ in 0..24 {
            text = twice(&text);
        }
        assert_eq!(count(&format!("(component {text})")), (0, (2 << 24) - 2));
    }

    /// Mutation: `knows`, without `MOST_COMPONENTS`.
    #[test]
    fn more_components_than_anybody_writes_are_not_counted() {
        let text = |count: usize| format!("(component {})", "(component)".repeat(count));
        let some = |count: usize| unvalidated(&wat::parse_str(text(count)).unwrap()).uncounted();
        assert_eq!((some(MOST_COMPONENTS), some(MOST_COMPONENTS + 1)), (false, true));
    }

    /// Mutation: `alias` or the import section, take what comes from elsewhere for nothing.
    #[test]
    fn what_is_instantiated_and_came_from_elsewhere_is_told_apart() {
        // Each level looks like two instances and doubles what is below.
        let mut text = "(component $c0)".to_owned();
        for level in 1..=24 {
            let below = level - 1;
            text += &format!(
                "(component $p{level} (alias outer 1 $c{below} (component $c))
                   (component $d (instance (instantiate $c)) (instance (instantiate $c))) (export \"d\" (component $d)))
                 (instance $i{level} (instantiate $p{level})) (alias export $i{level} \"d\" (component $c{level}))"
            );
        }
        for elsewhere in [
            format!("{text} (instance (instantiate $c24))"),
            r#"(component $c) (instance $i (export "c" (component $c))) (alias export $i "c" (component $d))
               (instance (instantiate $d))"#
                .to_owned(),
            r#"(component (import "c" (component $c)) (instance (instantiate $c)))"#.to_owned(),
            r#"(component (import "c" (component $c)) (export $d "d" (component $c)) (instance (instantiate $d)))"#
                .to_owned(),
            r#"(component $p (import "c" (component $c))
                 (component (alias outer $p $c (component $d)) (instance (instantiate $d))))"#
                .to_owned(),
        ] {
            assert!(counted(&format!("(component {elsewhere})")).uncounted(), "{elsewhere}");
        }
        // To hand one on is no harm.
        let handed = r#"(component $c) (component $p (import "c" (component $c)) (export "d" (component $c)))
                        (instance (instantiate $p (with "c" (component $c))))"#;
        assert!(!counted(&format!("(component {handed})")).uncounted());
    }

    #[test]
    fn a_component_that_is_never_instantiated_makes_nothing() {
        assert_eq!(count("(component (component (core module $m) (core instance (instantiate $m))))"), (0, 0));
    }
}
