//! How many core instances a component makes, nested components included.
//!
//! A nested component counts once for each time it is instantiated; counts saturate, because doubling per level is cheap
//! to write down. What is instantiated through an import or another instance's export cannot be seen here; the pool's own
//! limit stands behind.

use wasmparser::{
    BinaryReaderError, ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind,
    ComponentTypeRef, Encoding, Instance, Payload,
};

/// Fed with every payload of a component in order.
#[derive(Default)]
pub(super) struct InstanceCount {
    /// One for each component being read, outermost first. Modules stand in between as `None`.
    open: Vec<Option<Level>>,
    total: u64,
}

#[derive(Default)]
struct Level {
    /// What instantiating this component makes.
    makes: u64,
    /// The same for each component it can name, by index.
    components: Vec<u64>,
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
                        self.makes(1);
                    }
                }
            }
            Payload::ComponentInstanceSection(instances) => {
                for instance in instances.clone() {
                    if let ComponentInstance::Instantiate { component_index, .. } = instance? {
                        let count = self.count_of(0, component_index);
                        self.makes(count);
                    }
                }
            }
            Payload::ComponentImportSection(imports) => {
                for import in imports.clone() {
                    if matches!(import?.ty, ComponentTypeRef::Component(_)) {
                        self.knows(0);
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
                        let count = self.count_of(0, export.index);
                        self.knows(count);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    fn close(&mut self) {
        if let Some(Some(level)) = self.open.pop() {
            self.total = level.makes;
            self.knows(level.makes);
        }
    }

    fn alias(&mut self, alias: &ComponentAlias<'_>) {
        match alias {
            ComponentAlias::InstanceExport { kind: ComponentExternalKind::Component, .. } => self.knows(0),
            ComponentAlias::Outer { kind: ComponentOuterAliasKind::Component, count, index } => {
                let count = self.count_of(*count as usize, *index);
                self.knows(count);
            }
            _ => {}
        }
    }

    fn makes(&mut self, count: u64) {
        if let Some(Some(level)) = self.open.last_mut() {
            level.makes = level.makes.saturating_add(count);
        }
    }

    fn knows(&mut self, count: u64) {
        if let Some(Some(level)) = self.open.last_mut() {
            level.components.push(count);
        }
    }

    fn count_of(&self, levels_out: usize, index: u32) -> u64 {
        let level = self.open.iter().rev().nth(levels_out).and_then(Option::as_ref);
        level.and_then(|level| level.components.get(index as usize)).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn count(text: &str) -> u64 {
        let wasm = wat::parse_str(text).unwrap();
        let mut count = InstanceCount::default();
        for payload in wasmparser::Parser::new(0).parse_all(&wasm) {
            count.see(&payload.unwrap()).unwrap();
        }
        count.total()
    }

    #[test]
    fn instances_are_counted_and_modules_are_not() {
        let text = "(component (core module $m) (core module) (core instance (instantiate $m)) (core instance (instantiate $m)))";
        assert_eq!(count(text), 2);
    }

    #[test]
    fn a_nested_component_counts_each_time_it_is_instantiated() {
        let twice =
            |inner: &str| format!("(component $c {inner}) (instance (instantiate $c)) (instance (instantiate $c))");
        let mut text = "(core module $m) (core instance (instantiate $m))".to_owned();
        for _ in 0..10 {
            text = twice(&text);
        }
        assert_eq!(count(&format!("(component {text})")), 1 << 10);
    }

    #[test]
    fn a_component_that_is_never_instantiated_makes_nothing() {
        assert_eq!(count("(component (component (core module $m) (core instance (instantiate $m))))"), 0);
    }
}
