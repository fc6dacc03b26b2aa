//! Serde over the TOML tree, made for good errors.
//!
//! Serde's own tagged enums read a table into a buffer first and forget where things stood. Here the *reader* takes
//! the tag out instead: an enum is a table with a `kind` (or the tag that [`TAGS`] gives it) or, where it has nothing
//! else to say, the bare name. So derives stay plain, and every error knows its place.

use std::fmt;
use std::ops::Range;

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::nearest::suggestion;

/// Enums whose tag is not `kind`.
const TAGS: &[(&str, &str)] = &[("Placement", "place")];

/// Something serde did not like.
#[derive(Debug)]
pub(super) struct Misread {
    pub(super) message: String,
    pub(super) hint: Option<String>,
    pub(super) span: Option<Range<usize>>,
}

impl Misread {
    fn new(message: impl Into<String>, hint: Option<String>) -> Self {
        Self { message: message.into(), hint, span: None }
    }

    /// Here, unless it is known more exactly already.
    fn at(mut self, span: &Range<usize>) -> Self {
        self.span.get_or_insert_with(|| span.clone());
        self
    }
}

impl fmt::Display for Misread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Misread {}

impl de::Error for Misread {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string(), None)
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("expected {}, found {}", in_words(&expected.to_string()), in_words(&found.to_string())), None)
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        Self::new(format!("`{field}` is not known here"), Some(suggestion(field, known)))
    }

    fn unknown_variant(variant: &str, known: &'static [&'static str]) -> Self {
        Self::unknown_field(variant, known)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(format!("`{field}` is missing"), None)
    }
}

/// Serde speaks of Rust; a manifest is TOML.
fn in_words(serde: &str) -> &str {
    match serde {
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "map" | "a map" => "a table",
        "sequence" | "a sequence" => "an array",
        rust if rust.starts_with("struct ") => "a table",
        words => words,
    }
}

/// One value of the tree, about to be read.
pub(super) struct Reader<'t, 's> {
    value: Input<'t, 's>,
    span: Range<usize>,
}

enum Input<'t, 's> {
    Value(&'t DeValue<'s>),
    /// What an enum's table says besides its tag; nothing at all where only the name stands there.
    Rest(Option<&'t DeTable<'s>>, &'static str),
}

impl<'t, 's> Reader<'t, 's> {
    pub(super) fn new(value: &'t DeValue<'s>, span: Range<usize>) -> Self {
        Self { value: Input::Value(value), span }
    }

    fn of(value: &'t Spanned<DeValue<'s>>) -> Self {
        Self::new(value.get_ref(), value.span())
    }
}

impl<'de> Deserializer<'de> for Reader<'_, '_> {
    type Error = Misread;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misread> {
        let read = match self.value {
            Input::Rest(table, tag) => visitor.visit_map(Entries::new(table, Some(tag))),
            Input::Value(DeValue::String(text)) => visitor.visit_str(text),
            Input::Value(DeValue::Boolean(value)) => visitor.visit_bool(*value),
            Input::Value(DeValue::Integer(digits)) => match i64::from_str_radix(digits.as_str(), digits.radix()) {
                Ok(value) => visitor.visit_i64(value),
                Err(_) => Err(Misread::new("the number is too large", None)),
            },
            Input::Value(DeValue::Float(digits)) => match digits.as_str().parse() {
                Ok(value) => visitor.visit_f64(value),
                Err(_) => Err(Misread::new("this is not a number", None)),
            },
            Input::Value(DeValue::Datetime(moment)) => visitor.visit_string(moment.to_string()),
            Input::Value(DeValue::Array(items)) => visitor.visit_seq(Items(items.iter())),
            Input::Value(DeValue::Table(table)) => visitor.visit_map(Entries::new(Some(table), None)),
        };
        read.map_err(|misread| misread.at(&self.span))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misread> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Misread> {
        let span = self.span.clone();
        visitor.visit_newtype_struct(self).map_err(|misread| misread.at(&span))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misread> {
        // A derive would take an array for its fields in their order; nobody means that.
        match self.value {
            Input::Value(DeValue::Array(_)) => {
                Err(<Misread as de::Error>::invalid_type(Unexpected::Seq, &visitor).at(&self.span))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misread> {
        let tag = TAGS.iter().find(|(of, _)| *of == name).map_or("kind", |(_, tag)| *tag);
        let tagged = Tagged::new(self.value, &self.span, tag, variants).map_err(|misread| misread.at(&self.span))?;
        visitor.visit_enum(tagged).map_err(|misread| misread.at(&self.span))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

struct Items<I>(I);

impl<'de, 't, 's: 't, I: Iterator<Item = &'t Spanned<DeValue<'s>>>> SeqAccess<'de> for Items<I> {
    type Error = Misread;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Misread> {
        let Some(item) = self.0.next() else { return Ok(None) };
        seed.deserialize(Reader::of(item)).map(Some).map_err(|misread| misread.at(&item.span()))
    }
}

/// The entries of a table, its tag left out.
struct Entries<'t, 's> {
    entries: Vec<(&'t Spanned<std::borrow::Cow<'s, str>>, &'t Spanned<DeValue<'s>>)>,
    value: Option<&'t Spanned<DeValue<'s>>>,
}

impl<'t, 's> Entries<'t, 's> {
    fn new(table: Option<&'t DeTable<'s>>, tag: Option<&str>) -> Self {
        let mut entries: Vec<_> =
            table.into_iter().flatten().filter(|(key, _)| tag != Some(key.get_ref().as_ref())).collect();
        // Taken from the end: the first mistake in the text is the one that is reported.
        entries.sort_by_key(|(key, _)| std::cmp::Reverse(key.span().start));
        Self { entries, value: None }
    }
}

impl<'de> MapAccess<'de> for Entries<'_, '_> {
    type Error = Misread;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Misread> {
        let Some((key, value)) = self.entries.pop() else { return Ok(None) };
        self.value = Some(value);
        let text: &str = key.get_ref();
        seed.deserialize(text.into_deserializer()).map(Some).map_err(|misread: Misread| misread.at(&key.span()))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Misread> {
        let value = self.value.take().ok_or_else(|| Misread::new("a key without its value", None))?;
        seed.deserialize(Reader::of(value)).map_err(|misread| misread.at(&value.span()))
    }
}

/// An enum: its variant's name, where that stands, and what else is said.
struct Tagged<'t, 's> {
    name: &'t str,
    name_span: Range<usize>,
    rest: Option<&'t DeTable<'s>>,
    tag: &'static str,
    span: Range<usize>,
}

impl<'t, 's> Tagged<'t, 's> {
    fn new(
        value: Input<'t, 's>,
        span: &Range<usize>,
        tag: &'static str,
        variants: &'static [&'static str],
    ) -> Result<Self, Misread> {
        let span = span.clone();
        match value {
            Input::Value(DeValue::String(name)) => Ok(Self { name, name_span: span.clone(), rest: None, tag, span }),
            Input::Value(DeValue::Table(table)) => {
                let Some(name) = table.get(tag) else {
                    let hint = format!("one of `{}`", variants.join("`, `"));
                    return Err(Misread::new(format!("`{tag}` is missing"), Some(hint)));
                };
                let DeValue::String(text) = name.get_ref() else {
                    return Err(Misread::new(format!("`{tag}` is a string"), None).at(&name.span()));
                };
                Ok(Self { name: text, name_span: name.span(), rest: Some(table), tag, span })
            }
            _ => Err(Misread::new(format!("expected a name, or a table with `{tag}`"), None)),
        }
    }
}

impl<'de, 't, 's> EnumAccess<'de> for Tagged<'t, 's> {
    type Error = Misread;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Misread> {
        let variant =
            seed.deserialize(self.name.into_deserializer()).map_err(|misread: Misread| misread.at(&self.name_span))?;
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for Tagged<'_, '_> {
    type Error = Misread;

    fn unit_variant(self) -> Result<(), Misread> {
        match Entries::new(self.rest, Some(self.tag)).entries.pop() {
            None => Ok(()),
            Some((key, _)) => {
                let message = format!("`{}` is not known here", key.get_ref());
                let hint = format!("`{}` has nothing more to say", self.name);
                Err(Misread::new(message, Some(hint)).at(&key.span()))
            }
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Misread> {
        seed.deserialize(Reader { value: Input::Rest(self.rest, self.tag), span: self.span })
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misread> {
        Reader { value: Input::Rest(self.rest, self.tag), span: self.span }.deserialize_any(visitor)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _length: usize, visitor: V) -> Result<V::Value, Misread> {
        Err(de::Error::invalid_type(Unexpected::Map, &visitor))
    }
}
