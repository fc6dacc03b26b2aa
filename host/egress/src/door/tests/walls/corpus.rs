//! Reads the files of `tests/corpus/`.
//!
//! To add an entry, write a line there; each file says at its head what its lines mean.

/// A line: what is expected, and the fields after it.
pub(super) type Entry = (String, Vec<String>);

/// The entries of a file, each with `fields` fields after what is expected of it.
pub(super) fn entries(file: &str, fields: usize) -> Vec<Entry> {
    let lines = file.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| entry(line, fields)).collect()
}

fn entry(line: &str, fields: usize) -> Entry {
    // An empty last field has lost the blank that sets it apart.
    let padded = format!("{line} ");
    let mut parts = padded.splitn(fields + 1, " | ");
    let expected = parts.next().unwrap().trim_end().to_owned();
    let mut fields: Vec<String> = parts.map(plain).collect();
    if let Some(last) = fields.last_mut().filter(|last| last.ends_with(' ')) {
        last.pop();
    }
    (expected, fields)
}

/// The text that is meant: repetitions written out, then characters.
fn plain(text: &str) -> String {
    unescaped(&repeated(text))
}

fn repeated(text: &str) -> String {
    let Some((before, rest)) = text.split_once("{{") else { return text.to_owned() };
    let (inner, after) = rest.split_once("}}").expect("a repetition ends");
    let (what, times) = inner.rsplit_once('*').expect("a repetition says how often");
    let separator = if what.parse::<std::net::IpAddr>().is_ok() { " " } else { "" };
    let times = vec![what; times.parse().expect("a repetition says how often")];
    format!("{before}{}{}", times.join(separator), repeated(after))
}

fn unescaped(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, escape)) = rest.split_once('\\') {
        plain.push_str(before);
        let (found, after) = match escape.strip_prefix("u{") {
            Some(escape) => {
                let (digits, after) = escape.split_once('}').expect("an escape ends");
                (
                    u32::from_str_radix(digits, 16).ok().and_then(char::from_u32).expect("an escape is a character"),
                    after,
                )
            }
            None => {
                let mut characters = escape.chars();
                let found = match characters.next() {
                    Some('r') => '\r',
                    Some('n') => '\n',
                    Some('t') => '\t',
                    Some('0') => '\0',
                    Some('\\') => '\\',
                    other => panic!("{text:?} escapes {other:?}"),
                };
                (found, characters.as_str())
            }
        };
        plain.push(found);
        rest = after;
    }
    plain + rest
}
