//! The order of versions: which of two goes beyond the other, whatever order they were uploaded in.

use semver::Version;

/// Whether somebody who has the version `than` goes on by `newer` without being asked: it comes after it (Semantic
/// Versioning 2.0.0, 11), and it is a pre-release only for those who are on one. No where either is no version.
#[must_use]
pub fn succeeds(newer: &str, than: &str) -> bool {
    let (Ok(newer), Ok(than)) = (Version::parse(newer), Version::parse(than)) else { return false };
    newer.cmp_precedence(&than).is_gt() && (newer.pre.is_empty() || !than.pre.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mutations: `succeeds`, in the order of the texts; with builds; pre-releases for everybody, or for nobody.
    #[test]
    fn only_what_comes_after_and_is_released_succeeds() {
        for (newer, than) in [
            ("1.0.1", "1.0.0"),
            ("1.10.0", "1.9.0"),
            ("2.0.0", "1.99.99"),
            ("1.0.0", "1.0.0-rc.1"),
            ("1.0.0-rc.2", "1.0.0-rc.1"),
            ("1.0.0-rc.10", "1.0.0-rc.9"),
        ] {
            assert!(succeeds(newer, than), "{newer} after {than}");
            assert!(!succeeds(than, newer), "{than} after {newer}");
        }
        for (newer, than) in
            [("1.0.0", "1.0.0"), ("1.0.0+b", "1.0.0+a"), ("2.0.0-beta.1", "1.0.0"), ("x", "1.0.0"), ("1.0.0", "")]
        {
            assert!(!succeeds(newer, than), "{newer} after {than}");
        }
    }
}
