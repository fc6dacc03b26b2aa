//! Looking at an upload: any bytes are refused by name or described truly, and what is said about them stays short.

use bulkhead_runtime::{Digest, UploadError, UploadLimits, inspect_component};

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

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    part.is_empty() || bytes.windows(part.len()).any(|window| window == part)
}
