//! A credential: named secrets, as an authorisation flow or a form produced them.
//!
//! Invariant: the values exist only as [`Secret`]s or sealed; the JSON between the two is itself a
//! [`Secret`].

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use crate::error::VaultError;
use crate::secret::Secret;

/// Named secrets of one app or connection, such as `access_token` and `refresh_token`.
#[derive(Debug, Default)]
pub struct CredentialFields(BTreeMap<String, Secret>);

impl CredentialFields {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets one, and drops the value it had.
    pub fn insert(&mut self, name: impl Into<String>, value: Secret) {
        self.0.insert(name.into(), value);
    }

    /// Takes one out.
    pub fn remove(&mut self, name: &str) -> Option<Secret> {
        self.0.remove(name)
    }

    /// The value of one.
    pub fn get(&self, name: &str) -> Option<&Secret> {
        self.0.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Secret)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads what [`CredentialFields::to_json`] wrote.
    ///
    /// # Errors
    /// [`VaultError::Shape`] for anything but an object of texts.
    pub fn from_json(json: &Secret) -> Result<Self, VaultError> {
        serde_json::from_slice::<Parsed>(json.expose())
            .map(|parsed| Self(parsed.0))
            // The parser's own message may quote the value.
            .map_err(|_| VaultError::Shape { problem: "it is not a JSON object of texts" })
    }

    /// One JSON object of texts, to be sealed.
    ///
    /// # Errors
    /// [`VaultError::Shape`] where a value is not text.
    pub fn to_json(&self) -> Result<Secret, VaultError> {
        const SHAPE: VaultError = VaultError::Shape { problem: "a value in it is not text" };
        let mut texts = BTreeMap::new();
        for (name, value) in &self.0 {
            texts.insert(name.as_str(), value.expose_str().map_err(|_| SHAPE)?);
        }
        // At worst every byte becomes a six-byte escape; sized ahead so that growing leaves no copies.
        let longest: usize = self.0.iter().map(|(name, value)| 6 * (name.len() + value.len()) + 6).sum();
        let mut json = Vec::with_capacity(longest + 2);
        serde_json::to_writer(&mut json, &texts).map_err(|_| SHAPE)?;
        Ok(Secret::new(json))
    }
}

impl FromIterator<(String, Secret)> for CredentialFields {
    fn from_iter<I: IntoIterator<Item = (String, Secret)>>(fields: I) -> Self {
        Self(fields.into_iter().collect())
    }
}

/// Kept apart so that [`CredentialFields`] is not deserialisable by just anybody.
struct Parsed(BTreeMap<String, Secret>);

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Parsed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parsed, A::Error> {
                let mut fields = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, String>()? {
                    if fields.insert(name, Secret::from_string(value)).is_some() {
                        return Err(A::Error::custom("a name stands twice"));
                    }
                }
                Ok(Parsed(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn a_credential_survives_being_written_and_read() {
        let mut fields = CredentialFields::new();
        fields.insert("access_token", Secret::from_string("a \"quoted\" é token\n".into()));
        fields.insert("refresh_token", Secret::from_string("r".into()));
        let again = CredentialFields::from_json(&fields.to_json().unwrap()).unwrap();
        assert_eq!(again.get("access_token").unwrap().expose(), "a \"quoted\" é token\n".as_bytes());
        assert_eq!(again.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["access_token", "refresh_token"]);
    }

    #[test]
    fn anything_but_an_object_of_texts_is_refused_without_being_quoted() {
        for json in [
            "",
            "[]",
            "\"hunter2\"",
            "{\"a\":1}",
            "{\"a\":null}",
            "{\"a\":{\"b\":\"hunter2\"}}",
            "{\"a\":\"hunter2\",\"a\":\"x\"}",
        ] {
            let error = CredentialFields::from_json(&Secret::from_string(json.into())).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn debug_output_names_the_fields_and_hides_their_values() {
        let fields: CredentialFields =
            [("key".to_owned(), Secret::from_string("hunter2".into()))].into_iter().collect();
        assert_eq!(format!("{fields:?}"), "CredentialFields({\"key\": [secret]})");
    }
}
