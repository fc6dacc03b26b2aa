//! The list of controls: each limit, refusal and fence with the change that takes it away and the test that notices.
//!
//! `tests/mutations/*.txt`, one entry after the other:
//!
//! ```text
//! ## ID: what the control is for, in words
//! file PATH
//! -the lines that are the control, as they stand there, once
//! +the same, passed over where MUTANT holds
//! test NAME OF A TEST
//! ```
//!
//! Invariant: what an entry replaces stands in its file exactly once, and no two entries replace the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::problem::Problem;
use crate::workspace::Workspace;

/// One control.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Mutation {
    pub(crate) id: String,
    /// What it is for.
    pub(crate) control: String,
    pub(crate) file: String,
    find: String,
    put: String,
    /// Tests that fail without it.
    pub(crate) tests: Vec<String>,
}

/// Which of them is in force: the name of the variable.
pub(crate) const VARIABLE: &str = "BULKHEAD_MUTANT";

/// What each crate that is changed gets besides.
const ASKING: &str = "
#[doc(hidden)]
#[allow(clippy::all, missing_docs, clippy::disallowed_methods)]
pub fn mutant(id: &str) -> bool {
    static CHOSEN: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    CHOSEN.get_or_init(|| std::env::var(\"BULKHEAD_MUTANT\").unwrap_or_default()) == id
}
";

/// All of them, in the order of their files' names.
pub(crate) fn read(workspace: &Workspace) -> Result<Vec<Mutation>, Problem> {
    let folder = workspace.root.join("tests/mutations");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .map_err(Problem::file(&folder))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    let mut all = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).map_err(Problem::file(&path))?;
        all.extend(parse(&text).map_err(|problem| Problem::Usage(format!("{}: {problem}", path.display())))?);
    }
    let mut seen = BTreeSet::new();
    match all.iter().find(|mutation| !seen.insert(mutation.id.clone())) {
        Some(twice) => Err(Problem::Usage(format!("tests/mutations: there are two `{}`", twice.id))),
        None => Ok(all),
    }
}

fn parse(text: &str) -> Result<Vec<Mutation>, String> {
    let mut all: Vec<Mutation> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let wrong = |what: &str| format!("line {}: {what}", number + 1);
        if let Some(head) = line.strip_prefix("## ") {
            let (id, control) = head.split_once(": ").ok_or_else(|| wrong("an entry begins with `## ID: control`"))?;
            all.push(Mutation { id: id.to_owned(), control: control.to_owned(), ..Mutation::default() });
            continue;
        }
        if line.is_empty() || line.starts_with("# ") {
            continue;
        }
        let entry = all.last_mut().ok_or_else(|| wrong("this stands before the first entry"))?;
        match (line.strip_prefix("file "), line.strip_prefix("test "), line.strip_prefix('-'), line.strip_prefix('+')) {
            (Some(file), ..) => entry.file = file.to_owned(),
            (_, Some(test), ..) => entry.tests.push(test.to_owned()),
            (_, _, Some(found), _) => add_line(&mut entry.find, found),
            (_, _, _, Some(put)) => add_line(&mut entry.put, put),
            _ => return Err(wrong("this is none of `file`, `test`, `-` and `+`")),
        }
    }
    for Mutation { id, file, find, put, tests, .. } in &all {
        if file.is_empty() || find.is_empty() || tests.is_empty() || !put.contains("MUTANT") {
            return Err(format!("`{id}` needs a file, a test, lines with `-`, and lines with `+` that ask for MUTANT"));
        }
    }
    Ok(all)
}

fn add_line(text: &mut String, line: &str) {
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(line);
}

/// The files, by their paths in the repository, as they are with every entry's switch in them.
pub(crate) fn changed(workspace: &Workspace, mutations: &[Mutation]) -> Result<BTreeMap<String, String>, Problem> {
    let mut by_file: BTreeMap<&str, Vec<&Mutation>> = BTreeMap::new();
    for mutation in mutations {
        by_file.entry(&mutation.file).or_default().push(mutation);
    }
    let read = |file: &str| {
        let path = workspace.root.join(file);
        fs::read_to_string(&path).map_err(Problem::file(&path))
    };
    let (mut files, mut wrong) = (BTreeMap::new(), Vec::new());
    for (file, mutations) in by_file {
        match switched(&read(file)?, &mutations) {
            Ok(text) => drop(files.insert(file.to_owned(), text)),
            Err(problem) => wrong.push(format!("{file}: {problem}")),
        }
    }
    if !wrong.is_empty() {
        return Err(Problem::Usage(wrong.join("\n")));
    }
    let crates: BTreeSet<String> =
        files.keys().filter_map(|file| Some(file.split_once("/src/")?.0.to_owned())).collect();
    for folder in crates {
        let is_root = |file: &String| workspace.root.join(file).exists();
        let roots = ["lib.rs", "main.rs"].map(|name| format!("{folder}/src/{name}"));
        let Some(root) = roots.into_iter().find(is_root) else { continue };
        let text = files.get(&root).cloned().map_or_else(|| read(&root), Ok)?;
        files.insert(root, text + ASKING);
    }
    Ok(files)
}

/// The text with the switches of all these in it.
fn switched(text: &str, mutations: &[&Mutation]) -> Result<String, String> {
    let (mut places, mut wrong) = (Vec::new(), Vec::new());
    for mutation in mutations {
        match text.match_indices(&mutation.find).collect::<Vec<_>>()[..] {
            [(at, found)] => places.push((at, at + found.len(), mutation)),
            ref found => wrong.push(format!("what `{}` replaces stands there {} times", mutation.id, found.len())),
        }
    }
    if !wrong.is_empty() {
        return Err(format!("{}, and not once", wrong.join("; ")));
    }
    places.sort_by_key(|(start, ..)| *start);
    let mut changed = String::new();
    let mut copied = 0;
    for (start, end, mutation) in places {
        let between = text.get(copied..start);
        let between = between.ok_or_else(|| format!("`{}` replaces what another entry replaces too", mutation.id))?;
        changed.push_str(between);
        changed.push_str(&mutation.put.replace("MUTANT", &format!("crate::mutant(\"{}\")", mutation.id)));
        copied = end;
    }
    Ok(changed + text.get(copied..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    const ENTRY: &str = "## a-limit: nobody gets more\nfile host/a/src/lib.rs\n-    if n > 3 {\n+    if !MUTANT && n > 3 {\n\
                         test tests::one\ntest two\n";

    #[test]
    fn an_entry_is_a_switch_in_its_file() {
        let [entry] = &parse(ENTRY).unwrap()[..] else { panic!() };
        assert_eq!((entry.id.as_str(), entry.tests.len()), ("a-limit", 2));
        let text = "fn f() {\n    if n > 3 {\n    }\n}\n";
        assert_eq!(
            switched(text, &[entry]).unwrap(),
            "fn f() {\n    if !crate::mutant(\"a-limit\") && n > 3 {\n    }\n}\n"
        );
    }

    /// Mutation: `switched`, take the first of several, or let two replace the same.
    #[test]
    fn an_entry_that_does_not_fit_is_told() {
        let [entry] = &parse(ENTRY).unwrap()[..] else { panic!() };
        for text in ["", "    if n > 3 {    if n > 3 {"] {
            assert!(switched(text, &[entry]).is_err(), "{text:?}");
        }
        assert!(switched("    if n > 3 {", &[entry, entry]).is_err());
        for wrong in ["file a\n", "## a: b\nfile c\n", "## a: b\nfile c\n-x\n+y\ntest z\n", "## a\n", "## a: b\nwhat\n"]
        {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    /// Those of this repository fit its files, so that none grows old unseen.
    #[test]
    fn every_entry_fits_the_code_as_it_is() {
        let workspace = Workspace::find().unwrap();
        changed(&workspace, &read(&workspace).unwrap()).unwrap_or_else(|problem| panic!("{problem}"));
    }
}
