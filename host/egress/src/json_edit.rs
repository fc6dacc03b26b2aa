//! Setting one text inside a JSON document that is otherwise left as it was written, and finding one.
//!
//! Invariant: order and numbers of everything else stay byte for byte; an amount of money does not go
//! through a float because a key was added beside it.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// There is no object where the text should go.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoObject;

/// The document with `text` at `pointer` (RFC 6901), replacing what stood there. Everything on the way
/// to it has to be objects that exist.
pub(crate) fn set_text(document: &[u8], pointer: &str, text: &str) -> Result<Vec<u8>, NoObject> {
    let document = std::str::from_utf8(document).map_err(|_| NoObject)?;
    let path: Vec<String> = steps(pointer).collect();
    let mut edited = String::with_capacity(document.len() + text.len() + 64);
    edit(document, &path, text, &mut edited)?;
    Ok(edited.into_bytes())
}

fn steps(pointer: &str) -> impl Iterator<Item = String> {
    pointer.split('/').skip(1).map(|part| part.replace("~1", "/").replace("~0", "~"))
}

/// Where in the document the value at `pointer` stands, byte for byte; `None` where there is none.
///
/// # Errors
/// Where the document is no JSON, or has two of what leads there: which of them is meant is anybody's guess.
pub(crate) fn locate(document: &str, pointer: &str) -> Result<Option<Range<usize>>, serde_json::Error> {
    let mut value: &RawValue = serde_json::from_str(document)?;
    for name in steps(pointer) {
        let mut json = serde_json::Deserializer::from_str(value.get());
        let found = match value.get().as_bytes().first() {
            Some(b'{') => json.deserialize_map(Child(&name))?,
            Some(b'[') => json.deserialize_seq(Child(&name))?,
            _ => None,
        };
        let Some(found) = found else { return Ok(None) };
        value = found;
    }
    // It is a part of the document.
    let start = value.get().as_ptr() as usize - document.as_ptr() as usize;
    Ok(Some(start..start + value.get().len()))
}

/// What an object or an array has under this name.
struct Child<'p>(&'p str);

impl<'de> Visitor<'de> for Child<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<String>()? {
            if name != self.0 {
                map.next_value::<IgnoredAny>()?;
            } else if found.replace(map.next_value()?).is_some() {
                return Err(A::Error::custom("it stands there twice"));
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        // As it is written, and no other way: `01` and `+1` are the number of nothing.
        let wanted = self.0.parse::<usize>().ok().filter(|nth| nth.to_string() == self.0);
        let (mut found, mut nth) = (None, 0);
        while let Some(item) = items.next_element()? {
            if wanted == Some(nth) {
                found = Some(item);
            }
            nth += 1;
        }
        Ok(found)
    }
}

fn edit(document: &str, path: &[String], text: &str, out: &mut String) -> Result<(), NoObject> {
    let (name, rest) = path.split_first().ok_or(NoObject)?;
    let members = serde_json::from_str::<Members<'_>>(document).map_err(|_| NoObject)?;
    let mut found = None;
    out.push('{');
    for (member, value) in &members.0 {
        if member != name {
            write_member(out, member, |out| out.push_str(value.get()));
        } else if found.replace(value).is_some() {
            // Which of the two a server reads is anybody's guess.
            return Err(NoObject);
        }
    }
    match (rest.is_empty(), found) {
        (true, _) => write_member(out, name, |out| push_text(out, text)),
        (false, Some(value)) => {
            let mut inner = String::new();
            edit(value.get(), rest, text, &mut inner)?;
            write_member(out, name, |out| out.push_str(&inner));
        }
        (false, None) => return Err(NoObject),
    }
    out.push('}');
    Ok(())
}

fn write_member(out: &mut String, name: &str, value: impl FnOnce(&mut String)) {
    if !out.ends_with('{') {
        out.push(',');
    }
    push_text(out, name);
    out.push(':');
    value(out);
}

fn push_text(out: &mut String, text: &str) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

/// An object's members, in order, their values untouched.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Mutation: `Child::visit_seq`, without the comparison of what was read with what was written.
    #[test]
    fn an_item_has_one_number_and_one_writing_of_it() {
        let found = |pointer: &str| locate("[[10], 11]", pointer).unwrap();
        assert_eq!((found("/0/0"), found("/1")), (Some(2..4), Some(7..9)));
        for none in ["/2", "/01", "/+1", "/-1", "/-", "/ 1", "/18446744073709551616"] {
            assert_eq!(found(none), None, "{none}");
        }
    }

    fn set(document: &str, pointer: &str) -> Result<String, NoObject> {
        set_text(document.as_bytes(), pointer, "k").map(|edited| String::from_utf8(edited).unwrap())
    }

    #[test]
    fn the_text_is_set_and_everything_else_stays_as_it_was_written() {
        let document = r#"{"z":1.10,"amount":123456789012345678901234567890,"a":{ "b" : [1e400] }}"#;
        let edited = r#"{"z":1.10,"amount":123456789012345678901234567890,"a":{ "b" : [1e400] },"key":"k"}"#;
        assert_eq!(set(document, "/key").unwrap(), edited);
        assert_eq!(set("{}", "/key").unwrap(), r#"{"key":"k"}"#);
        assert_eq!(
            set(r#" { "meta" : { "n" : 1.0 } , "x" : 2 } "#, "/meta/key").unwrap(),
            r#"{"x":2,"meta":{"n":1.0,"key":"k"}}"#
        );
        assert_eq!(set(r#"{"a/b":{}}"#, "/a~1b/~0").unwrap(), r#"{"a/b":{"~":"k"}}"#);
    }

    #[test]
    fn what_stood_there_before_is_replaced() {
        assert_eq!(set(r#"{"key":"the guest's own","a":1}"#, "/key").unwrap(), r#"{"a":1,"key":"k"}"#);
        assert_eq!(set(r#"{"k\u0065y":"the guest's own"}"#, "/key").unwrap(), r#"{"key":"k"}"#);
    }

    #[test]
    fn without_an_object_there_the_document_is_refused() {
        for document in ["", "[]", "1", "null", "\"key\"", "{", "{\"key\":1", "{\"a\":1}x", "{\"key\":1,\"key\":2}"] {
            assert_eq!(set(document, "/key"), Err(NoObject), "{document}");
        }
        assert_eq!(set("{}", "/meta/key"), Err(NoObject));
        assert_eq!(set(r#"{"meta":[]}"#, "/meta/key"), Err(NoObject));
        assert_eq!(set("{}", ""), Err(NoObject));
        assert_eq!(set_text(&[0xff], "/key", "k"), Err(NoObject));
        assert_eq!(set(&format!("{{\"meta\":{}", "[".repeat(100_000)), "/meta/key"), Err(NoObject));
    }
}
