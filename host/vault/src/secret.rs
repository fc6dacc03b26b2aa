//! The one type plaintext secrets live in.
//!
//! Invariant: a [`Secret`] cannot be printed, cloned, compared or serialised, and its memory is
//! overwritten when it is dropped. Whoever needs the bytes says so by calling [`Secret::expose`], a
//! word a reviewer can search for.

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

use crate::mac::constant_time_eq;

/// Bytes nobody may see: a token, a key, a password.
///
/// It can be looked at only on purpose:
///
/// ```
/// let secret = bulkhead_vault::Secret::from_string("hunter2".into());
/// assert_eq!(secret.expose(), b"hunter2");
/// assert_eq!(format!("{secret:?}"), "[secret]");
/// ```
///
/// It has no `Display`:
///
/// ```compile_fail,E0277
/// let secret = bulkhead_vault::Secret::from_string("hunter2".into());
/// println!("{secret}");
/// ```
///
/// It cannot be cloned:
///
/// ```compile_fail,E0599
/// let secret = bulkhead_vault::Secret::from_string("hunter2".into());
/// let copy = secret.clone();
/// ```
///
/// It cannot be serialised:
///
/// ```compile_fail,E0277
/// let secret = bulkhead_vault::Secret::from_string("hunter2".into());
/// serde_json::to_string(&secret);
/// ```
///
/// It cannot be compared with `==`, which would tell by its timing how far two secrets agree:
///
/// ```compile_fail,E0369
/// let secret = bulkhead_vault::Secret::from_string("hunter2".into());
/// let same = secret == secret;
/// ```
///
/// ```compile_fail,E0369
/// let secret = bulkhead_vault::Secret::from_string("hunter2".into());
/// let same = secret == b"hunter2";
/// ```
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over; the caller keeps no copy.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Takes the text over; the caller keeps no copy.
    pub fn from_string(text: String) -> Self {
        Self::new(text.into_bytes())
    }

    /// Copies a fixed-size key and overwrites the original.
    pub fn from_array<const N: usize>(mut bytes: [u8; N]) -> Self {
        let secret = Self::new(bytes.to_vec());
        bytes.zeroize();
        secret
    }

    /// The plaintext. What is read here must not reach a log, an error, an answer or a recording.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The plaintext as text.
    ///
    /// # Errors
    /// [`NotText`] where it is not UTF-8.
    pub fn expose_str(&self) -> Result<&str, NotText> {
        std::str::from_utf8(&self.0).map_err(|_| NotText)
    }

    /// Whether these are its bytes, in a time that tells nothing but their number.
    pub fn is(&self, claimed: &[u8]) -> bool {
        constant_time_eq(self.expose(), claimed)
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A secret was asked for as text and is not UTF-8. Says nothing about its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the secret is not UTF-8 text")]
pub struct NotText;

impl fmt::Debug for Secret {
    /// Says that there is one, nothing of what it is; so structs that hold secrets can derive `Debug`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;

    /// Does not compile once `Secret` implements the trait: both impls would then apply, and the `_`
    /// below would be ambiguous. It stands beside the compile-fail examples because test runners that
    /// skip documentation skip those.
    macro_rules! assert_secret_is_not {
        ($($bound:path),+) => {$({
            trait AmbiguousIfImplemented<A> { fn check() {} }
            impl<T: ?Sized> AmbiguousIfImplemented<()> for T {}
            struct Marker;
            impl<T: ?Sized + $bound> AmbiguousIfImplemented<Marker> for T {}
            let _ = <Secret as AmbiguousIfImplemented<_>>::check;
        })+};
    }

    #[test]
    fn a_secret_cannot_be_printed_cloned_compared_or_serialised() {
        assert_secret_is_not!(std::fmt::Display, Clone, PartialEq, serde::Serialize, AsRef<[u8]>);
    }

    #[test]
    fn debug_output_says_only_that_there_is_a_secret() {
        let secret = Secret::from_string("hunter2".into());
        assert_eq!(format!("{secret:?} {:#?}", Some(&secret)), "[secret] Some(\n    [secret],\n)");
    }

    #[test]
    fn text_is_given_out_as_text_and_other_bytes_are_not() {
        assert_eq!(Secret::from_string("é".into()).expose_str().unwrap(), "é");
        assert_eq!(Secret::new(vec![0xff]).expose_str(), Err(NotText));
    }
}
