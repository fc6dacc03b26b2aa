//! Admitting an upload: any bytes are refused by name or described truly, what is said about them stays short, and what the
//! product says of a component before it is compiled is what wasmtime says afterwards.

use std::cell::OnceCell;

use bulkhead_runtime::fuzzing::Admission;
use bulkhead_runtime::{Digest, Inspection, LoadError, UploadError, UploadLimits, inspect_component};

/// A refusal is shown to people, whatever names a component has.
const LONGEST_REFUSAL: usize = 64 << 10;

pub(crate) fn holds(wasm: &[u8]) -> bool {
    let limits = UploadLimits::default();
    let found = inspect_component(wasm, &limits);
    assert_eq!(found, inspect_component(wasm, &limits), "the same bytes are the same upload");
    if let Some(component_bytes) = wasm.len().checked_sub(1) {
        let refused = inspect_component(wasm, &UploadLimits { component_bytes, ..limits });
        assert!(matches!(refused, Err(UploadError::TooLarge { .. })), "a smaller limit is a limit: {refused:?}");
    }
    compiled(wasm, &found);
    let found = match found {
        Ok(found) => found,
        Err(refused) => {
            let told = refused.to_string();
            assert!(told.len() <= LONGEST_REFUSAL && !told.contains(char::is_control), "{told:?}");
            return false;
        }
    };
    assert!(wasm.starts_with(b"\0asm"));
    assert_eq!((found.digest, found.bytes), (Digest::of(wasm), wasm.len() as u64));
    assert!(found.exports.descriptor, "nothing runs without one");
    assert!(contains(wasm, found.manifest.as_bytes()), "its manifest is in it");
    assert!(found.core_instances <= limits.core_instances);
    if let Some(core_instances) = found.core_instances.checked_sub(1) {
        let refused = inspect_component(wasm, &UploadLimits { core_instances, ..limits });
        assert!(matches!(refused, Err(UploadError::TooManyCoreInstances { .. })), "{refused:?}");
    }
    true
}

/// Goes on as an upload does, whatever was found: each step has to hold alone.
fn compiled(wasm: &[u8], found: &Result<Inspection, UploadError>) {
    thread_local!(static ADMISSION: OnceCell<Admission> = const { OnceCell::new() });
    ADMISSION.with(|admission| {
        let admission = admission.get_or_init(|| Admission::new().expect("a machine that has a compiler"));
        let Ok(artifact) = admission.compile(wasm) else { return };
        let damaged =
            matches!(found, Err(UploadError::Damaged { .. } | UploadError::NotWasm { .. } | UploadError::CoreModule));
        assert!(!damaged, "what compiles is a component: {found:?}");
        match (admission.link(wasm, &artifact), found) {
            (Err(LoadError::Contract { .. } | LoadError::DoesNotFit { .. }), _) => {}
            (Err(fault), _) => panic!("what one engine compiles the other takes: {fault}"),
            (Ok(exports), Ok(found)) => assert_eq!(exports, found.exports, "what was found is what is there"),
            (Ok(_), Err(refused)) => {
                assert!(
                    !matches!(refused, UploadError::WrongWorld { .. } | UploadError::UnknownImport { .. }),
                    "{refused}"
                );
            }
        }
    });
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    part.is_empty() || bytes.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without one that goes all the way, nothing would be said about the last steps.
    #[test]
    fn a_whole_connector_is_in_the_corpus() {
        let wasm = include_bytes!("../../../fuzz/corpus/component/accepted-connector.wasm");
        let admission = Admission::new().unwrap();
        let exports = admission.link(wasm, &admission.compile(wasm).unwrap()).unwrap();
        assert!(exports.descriptor && exports.actions);
        assert!(holds(wasm));
    }
}
