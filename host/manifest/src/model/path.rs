//! Which paths an egress rule speaks of.

use serde::{Deserialize, Serialize};

use crate::egress_match::decode;
use crate::text::written_as_text;

/// `/v1/balance` is that path; `/v1/customers/*` is everything that starts with `/v1/customers/`;
/// in `/v3/company/{realmId}/invoice` the braces stand for any one segment, whatever the name in them says.
///
/// Compares with the path of a URL as it is sent, percent-encoding included; the query does not count.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PathPattern(String);

/// Why a text is not a path pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathPatternError {
    /// It does not start at the root.
    #[error("a path starts with `/`")]
    NoSlash,
    /// It has a query or a fragment.
    #[error("a path pattern ends before `?` and `#`")]
    Query,
    /// A `*` that is not its last character.
    #[error("`*` may only be the last character; one segment in the middle is written `{{name}}`")]
    Wildcard,
    /// Braces that are not a whole segment.
    #[error("`{{name}}` stands for a whole segment between two slashes")]
    Segment,
    /// A `.` or `..`, or something that a server may take for one, or for another path.
    #[error("no URL has this path: `.`, `..`, `\\`, encoded slashes or letters and empty segments are never sent")]
    NeverSent,
    /// A character that stands percent-encoded in a URL.
    #[error("this character stands percent-encoded in a URL")]
    NotEncoded,
    /// It is longer than anybody needs.
    #[error("a path pattern has at most {MAX_LENGTH} characters")]
    TooLong,
}

const MAX_LENGTH: usize = 1024;

/// One segment of a pattern: a literal, or `None` for any that is not empty.
type Segment<'p> = Option<&'p str>;

/// A pattern taken apart: whole segments, then nothing or the beginning of everything that may follow.
struct Shape<'p> {
    segments: Vec<Segment<'p>>,
    open: Option<&'p str>,
}

impl PathPattern {
    /// Reads one.
    ///
    /// # Errors
    /// Says what is not a path pattern about it.
    pub fn parse(text: impl Into<String>) -> Result<Self, PathPatternError> {
        let text = text.into();
        if text.len() > MAX_LENGTH {
            return Err(PathPatternError::TooLong);
        }
        if text.contains(['?', '#']) {
            return Err(PathPatternError::Query);
        }
        let rest = text.strip_prefix('/').ok_or(PathPatternError::NoSlash)?;
        let fixed = rest.strip_suffix('*').unwrap_or(rest);
        if fixed.contains('*') {
            return Err(PathPatternError::Wildcard);
        }
        check(fixed, fixed.len() < rest.len())?;
        Ok(Self(text))
    }

    /// Whether this path of a URL falls under it.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let Some(mut rest) = path.strip_prefix('/') else { return false };
        let shape = self.shape();
        let last = shape.segments.len().saturating_sub(1);
        for (index, segment) in shape.segments.iter().enumerate() {
            let (found, after) = match rest.split_once('/') {
                Some((found, after)) => (found, Some(after)),
                None => (rest, None),
            };
            if !segment.map_or(!found.is_empty(), |literal| literal == found) {
                return false;
            }
            match after {
                Some(after) => rest = after,
                None => return index == last && shape.open.is_none(),
            }
        }
        shape.open.is_some_and(|beginning| rest.starts_with(beginning))
    }

    /// Whether some server may take the path for one that falls under this pattern: whatever its case and encoding, with
    /// a slash too many, or with parameters after a `;`. For what a request must not get round by another writing.
    #[must_use]
    pub fn may_match(&self, path: &str) -> bool {
        self.matches(path) || Self(plainest(&self.0)).matches(&plainest(path))
    }

    /// Whether every path that falls under `other` falls under this one.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        self.shape().intersect(&other.shape()).is_some_and(|both| both == other.shape().text())
    }

    /// Paths that fall under both, if any. Where both have wildcards that no pattern can express together, nothing:
    /// less than both, never more.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        // In this order, so that of two patterns for the same paths the names of the first survive.
        if other.contains(self) {
            return Some(self.clone());
        }
        if self.contains(other) {
            return Some(other.clone());
        }
        self.shape().intersect(&other.shape()).map(Self)
    }

    /// The names in braces, in order.
    pub fn placeholders(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter_map(placeholder)
    }

    /// The pattern as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn shape(&self) -> Shape<'_> {
        let rest = self.0.strip_prefix('/').unwrap_or(&self.0);
        let (fixed, open) = match rest.strip_suffix('*') {
            None => (Some(rest), None),
            Some(fixed) => match fixed.rsplit_once('/') {
                Some((segments, beginning)) => (Some(segments), Some(beginning)),
                None => (None, Some(fixed)),
            },
        };
        let segment = |segment| if placeholder(segment).is_some() { None } else { Some(segment) };
        Shape { segments: fixed.map_or_else(Vec::new, |fixed| fixed.split('/').map(segment).collect()), open }
    }
}

impl Shape<'_> {
    /// The text of the pattern for what falls under both, its placeholders all named alike.
    fn intersect(&self, other: &Self) -> Option<String> {
        let (short, long) = if self.segments.len() <= other.segments.len() { (self, other) } else { (other, self) };
        let common = short.segments.iter().zip(&long.segments);
        let mut segments = common.map(|(a, b)| meet(*a, *b)).collect::<Option<Vec<_>>>()?;
        let beyond = long.segments.get(short.segments.len()..).unwrap_or_default();
        let open = match (beyond.split_first(), short.open) {
            (None, _) => meet_ends(short.open, long.open)?,
            (Some(_), None) => return None,
            (Some((next, _)), Some(beginning)) => {
                let fits = next.map_or(beginning.is_empty(), |literal| literal.starts_with(beginning));
                if !fits {
                    return None;
                }
                segments.extend_from_slice(beyond);
                long.open
            }
        };
        Some(Shape { segments, open }.text())
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for segment in &self.segments {
            text.push('/');
            text.push_str(segment.unwrap_or("{any}"));
        }
        if let Some(beginning) = self.open {
            text.extend(["/", beginning, "*"]);
        }
        text
    }
}

/// What both segments allow; the outer `None` is nothing at all.
fn meet<'p>(a: Segment<'p>, b: Segment<'p>) -> Option<Segment<'p>> {
    match (a, b) {
        (None, None) => Some(None),
        // An empty segment is no segment for a placeholder: `/a/` does not fall under `/a/{id}`.
        (Some(literal), None) | (None, Some(literal)) => (!literal.is_empty()).then_some(Some(literal)),
        (Some(a), Some(b)) => (a == b).then_some(Some(a)),
    }
}

/// What both ends allow after the same number of segments; the outer `None` is nothing at all.
fn meet_ends<'p>(a: Option<&'p str>, b: Option<&'p str>) -> Option<Option<&'p str>> {
    match (a, b) {
        (None, None) => Some(None),
        (Some(a), Some(b)) if a.starts_with(b) => Some(Some(a)),
        (Some(a), Some(b)) if b.starts_with(a) => Some(Some(b)),
        // A closed pattern ends where an open one needs one more segment.
        _ => None,
    }
}

/// The path as the most forgiving server reads it.
fn plainest(path: &str) -> String {
    let decoded = |text: &str| decode(text).unwrap_or_else(|| text.to_owned());
    // Some decode twice.
    let decoded = decoded(&decoded(path)).to_lowercase();
    let mut plainest = String::new();
    for segment in decoded.split('/').filter_map(|segment| segment.split(';').next()) {
        if !segment.is_empty() {
            plainest.extend(["/", segment]);
        }
    }
    if plainest.is_empty() { "/".to_owned() } else { plainest }
}

fn placeholder(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

fn check(fixed: &str, open: bool) -> Result<(), PathPatternError> {
    let count = fixed.split('/').count();
    for (index, segment) in fixed.split('/').enumerate() {
        let last = index + 1 == count;
        if let Some(name) = placeholder(segment) {
            let known = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
            // `{id}*` would be a segment and more: nobody can say which.
            if name.is_empty() || !name.bytes().all(known) || (last && open) {
                return Err(PathPatternError::Segment);
            }
            continue;
        }
        if segment.contains(['{', '}']) {
            return Err(PathPatternError::Segment);
        }
        if (segment.is_empty() && !last) || crate::egress_match::segment_hazard(segment).is_some() {
            return Err(PathPatternError::NeverSent);
        }
        if !segment.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'<' | b'>' | b'`' | b'|' | b'^')) {
            return Err(PathPatternError::NotEncoded);
        }
    }
    Ok(())
}

written_as_text!(PathPattern, PathPatternError);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> PathPattern {
        PathPattern::parse(text).unwrap()
    }

    #[test]
    fn a_pattern_is_exact_or_open_or_has_free_segments() {
        for (text, yes, no) in [
            ("/v1/balance", &["/v1/balance"][..], &["/v1/balance/", "/v1/balances", "/v1", "/V1/balance", ""][..]),
            ("/v1/*", &["/v1/", "/v1/a", "/v1/a/b"], &["/v1", "/v1a", "/"]),
            ("/v1/cust*", &["/v1/cust", "/v1/customers/1"], &["/v1/cus", "/v1/x/cust"]),
            ("/v1*", &["/v1", "/v10/a"], &["/", "/v"]),
            ("/*", &["/", "/a/b"], &["", "a"]),
            ("/", &["/"], &["/a", "//"]),
            ("/c/{id}/invoice", &["/c/1/invoice"], &["/c//invoice", "/c/1/2/invoice", "/c/1/invoice/2", "/c/1"]),
            ("/c/{id}/*", &["/c/1/", "/c/1/a/b"], &["/c//a", "/c/1"]),
            ("/c/{id}", &["/c/1"], &["/c/", "/c", "/c/1/"]),
        ] {
            for path in yes {
                assert!(pattern(text).matches(path), "{text} {path}");
            }
            for path in no {
                assert!(!pattern(text).matches(path), "{text} {path}");
            }
        }
    }

    /// Mutation: `PathPattern::may_match`, as `matches`.
    #[test]
    fn another_writing_of_a_path_may_be_the_same_to_a_server() {
        for (text, yes, no) in [
            (
                "/v1/hooks",
                &[
                    "/v1/hooks",
                    "/v1/hooks/",
                    "/V1/Hooks",
                    "/v1//hooks",
                    "/v1/hooks;a=b",
                    "/v1/%2568ooks",
                    "/v1/%68ooks",
                ][..],
                &["/v1/hook", "/v1/hooks/we_1", "/v2/hooks", "/"][..],
            ),
            ("/v1/a:search", &["/v1/a%3Asearch", "/v1/a%3asearch/"], &["/v1/a"]),
            ("/v1/a%3Ab", &["/v1/a:b"], &["/v1/a"]),
            ("/c/{Id}/hooks", &["/c/1/hooks/", "/c/X%21//hooks"], &["/c/hooks", "/c/1/2/hooks"]),
            ("/v1/hooks/*", &["/v1/hooks/", "/v1/HOOKS/1", "/v1//hooks/1"], &["/v1/hook/1"]),
            ("/", &["/", "//", "/;x"], &["/a"]),
            ("/*", &["/", "/a", "//a"], &[]),
        ] {
            for path in yes {
                assert!(pattern(text).may_match(path), "{text} {path}");
            }
            for path in no {
                assert!(!pattern(text).may_match(path), "{text} {path}");
            }
        }
    }

    #[test]
    fn what_no_pattern_can_be_is_refused() {
        use PathPatternError as E;
        for (text, error) in [
            ("v1", E::NoSlash),
            ("*", E::NoSlash),
            ("/a?b=c", E::Query),
            ("/a#b", E::Query),
            ("/*/a", E::Wildcard),
            ("/a/**", E::Wildcard),
            ("/a{id}", E::Segment),
            ("/{}", E::Segment),
            ("/{id}*", E::Segment),
            ("/{account.id}", E::Segment),
            ("/a//b", E::NeverSent),
            ("/a/../b", E::NeverSent),
            ("/a/%2e%2e/b", E::NeverSent),
            ("/a%2Fb", E::NeverSent),
            ("/%61", E::NeverSent),
            (r"/a\b", E::NeverSent),
            ("/a b", E::NotEncoded),
            ("/\u{e9}", E::NotEncoded),
        ] {
            assert_eq!(PathPattern::parse(text), Err(error), "{text}");
        }
        assert_eq!(PathPattern::parse("/".to_owned() + &"a".repeat(1024)), Err(E::TooLong));
    }

    #[test]
    fn of_two_patterns_for_the_same_paths_the_first_gives_the_names() {
        let both = pattern("/c/{realm}/x").intersect(&pattern("/c/{id}/x")).unwrap();
        assert_eq!(both.as_str(), "/c/{realm}/x");
        assert_eq!(pattern("/{a}/x*").intersect(&pattern("/c/{b}/y")), None);
        assert_eq!(pattern("/{a}/x").intersect(&pattern("/c/{b}")).unwrap().as_str(), "/c/x");
        assert_eq!(pattern("/a*").intersect(&pattern("/{b}/c")), None);
    }

    fn any_pattern() -> impl Strategy<Value = PathPattern> {
        let segment = prop::sample::select(vec!["a", "ab", "{x}", "{y}"]);
        let end = prop::sample::select(vec!["", "/", "/*", "/a*", "*"]);
        (prop::collection::vec(segment, 0..4), end)
            .prop_map(|(segments, end)| format!("/{}{end}", segments.join("/")).replace("//", "/"))
            .prop_filter_map("not a pattern", |text| PathPattern::parse(text).ok())
    }

    fn any_path() -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(vec!["", "a", "ab", "b"]), 1..5)
            .prop_map(|segments| format!("/{}", segments.join("/")))
    }

    proptest! {
        #[test]
        fn an_intersection_never_exceeds_either(a in any_pattern(), b in any_pattern(), path in any_path()) {
            if let Some(both) = a.intersect(&b) {
                prop_assert!(PathPattern::parse(both.as_str()).is_ok());
                prop_assert!(!both.matches(&path) || (a.matches(&path) && b.matches(&path)), "{} {} {}", a, b, both);
            }
        }

        #[test]
        fn what_contains_the_other_matches_what_it_matches(
            a in any_pattern(), b in any_pattern(), path in any_path()
        ) {
            prop_assert!(a.contains(&a));
            prop_assert!(!a.contains(&b) || !b.matches(&path) || a.matches(&path), "{} {}", a, b);
            prop_assert!(!a.contains(&b) || a.intersect(&b).is_some_and(|both| both.contains(&b)));
        }

        #[test]
        fn without_partly_open_segments_an_intersection_is_exact(
            a in any_pattern(), b in any_pattern(), path in any_path()
        ) {
            let whole = |pattern: &PathPattern| !pattern.as_str().ends_with("a*") && !pattern.as_str().ends_with("b*");
            prop_assume!(whole(&a) && whole(&b));
            let both = a.intersect(&b).is_some_and(|both| both.matches(&path));
            prop_assert_eq!(both, a.matches(&path) && b.matches(&path), "{} {}", a, b);
        }
    }
}
