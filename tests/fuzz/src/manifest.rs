//! Reading a `connector.toml`: what is accepted stays the same when it is written down for an approval and read again; what
//! is not is told with places that are in the text.

use bulkhead_manifest::Manifest;

pub(crate) fn holds(bytes: &[u8]) -> bool {
    let source = String::from_utf8_lossy(bytes);
    match Manifest::parse(&source) {
        Ok(manifest) => {
            let written = serde_json::to_string(&manifest).expect("what was read can be written");
            let read: Manifest = serde_json::from_str(&written).expect("what was written can be read");
            assert_eq!(read, manifest);
            assert_eq!(Manifest::parse(&source), Ok(manifest), "the same text is the same manifest");
            true
        }
        Err(error) => {
            let lines = source.split('\n').count();
            for problem in error.problems() {
                assert!((1..=lines).contains(&problem.line), "{problem} in {lines} lines");
                let line = source.split('\n').nth(problem.line - 1).unwrap_or_default();
                assert!((1..=line.chars().count() + 1).contains(&problem.column), "{problem} in {line:?}");
                assert!(problem.span.start <= problem.span.end && problem.span.end <= source.len(), "{problem:?}");
                assert!(!problem.message.is_empty());
            }
            assert!(error.problems().count() <= 101, "no more than a hundred are told, and how many more there are");
            assert!(!error.render("connector.toml", &source).is_empty());
            false
        }
    }
}
