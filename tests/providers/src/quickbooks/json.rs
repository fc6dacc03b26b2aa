//! JSON whose numbers stay the digits that were sent, so that money never passes through a float.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde_json::value::RawValue;

pub(crate) type Object = BTreeMap<String, Json>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Json {
    Null,
    Flag(bool),
    Number(String),
    Text(String),
    List(Vec<Json>),
    Object(Object),
}

/// Deeper than any QuickBooks object, shallower than the stack.
const DEEPEST: usize = 32;

impl Json {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let raw: &RawValue = serde_json::from_str(text).map_err(|error| error.to_string())?;
        Self::from_raw(raw, 0)
    }

    fn from_raw(raw: &RawValue, depth: usize) -> Result<Self, String> {
        let text = raw.get();
        let failed = |error: serde_json::Error| error.to_string();
        if depth > DEEPEST {
            return Err("nested too deeply".to_owned());
        }
        match text.as_bytes().first() {
            Some(b'{') => {
                let fields: BTreeMap<String, &RawValue> = serde_json::from_str(text).map_err(failed)?;
                let parsed = fields.into_iter().map(|(name, raw)| Ok((name, Self::from_raw(raw, depth + 1)?)));
                parsed.collect::<Result<_, String>>().map(Self::Object)
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(text).map_err(failed)?;
                items.into_iter().map(|raw| Self::from_raw(raw, depth + 1)).collect::<Result<_, _>>().map(Self::List)
            }
            Some(b'"') => serde_json::from_str(text).map(Self::Text).map_err(failed),
            Some(b't') => Ok(Self::Flag(true)),
            Some(b'f') => Ok(Self::Flag(false)),
            Some(b'n') => Ok(Self::Null),
            _ => Ok(Self::Number(text.to_owned())),
        }
    }

    pub(crate) fn print(&self) -> String {
        let mut text = String::new();
        self.print_to(&mut text);
        text
    }

    fn print_to(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Flag(flag) => out.push_str(if *flag { "true" } else { "false" }),
            Self::Number(digits) => out.push_str(digits),
            Self::Text(text) => print_text(text, out),
            Self::List(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    item.print_to(out);
                }
                out.push(']');
            }
            Self::Object(fields) => {
                out.push('{');
                for (index, (name, value)) in fields.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    print_text(name, out);
                    out.push(':');
                    value.print_to(out);
                }
                out.push('}');
            }
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(fields) => fields.get(name),
            _ => None,
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn flag(&self) -> Option<bool> {
        match self {
            Self::Flag(flag) => Some(*flag),
            _ => None,
        }
    }

    pub(crate) fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }

    /// The exact number; nothing when it is none, or has more digits than a decimal can hold.
    pub(crate) fn decimal(&self) -> Option<Decimal> {
        match self {
            Self::Number(digits) => parse_decimal(digits),
            _ => None,
        }
    }

    /// An amount the way QuickBooks prints it: `100.0`, `99.95`, `0`.
    pub(crate) fn money(amount: Decimal) -> Self {
        let short = amount.normalize();
        if short.is_zero() {
            return Self::Number("0".to_owned());
        }
        let digits = short.to_string();
        Self::Number(if digits.contains('.') { digits } else { format!("{digits}.0") })
    }

    pub(crate) fn object<const N: usize>(fields: [(&str, Self); N]) -> Self {
        Self::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// `{"value": "58"}`, with the name of what is referred to when it has one.
    pub(crate) fn reference(id: &str, name: Option<&str>) -> Self {
        let mut fields = Object::from([("value".to_owned(), id.into())]);
        fields.extend(name.map(|name| ("name".to_owned(), name.into())));
        Self::Object(fields)
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Json {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<usize> for Json {
    fn from(number: usize) -> Self {
        Self::Number(number.to_string())
    }
}

impl From<Vec<Json>> for Json {
    fn from(items: Vec<Json>) -> Self {
        Self::List(items)
    }
}

impl From<Object> for Json {
    fn from(fields: Object) -> Self {
        Self::Object(fields)
    }
}

/// Digits, a point and an exponent, read exactly.
pub(crate) fn parse_decimal(digits: &str) -> Option<Decimal> {
    if digits.contains(['e', 'E']) {
        return Decimal::from_scientific(digits).ok();
    }
    Decimal::from_str_exact(digits).ok()
}

fn print_text(text: &str, out: &mut String) {
    // A string always serialises.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn digits_survive_the_round_trip() {
        let text = r#"{"a":0.1,"b":[100.00,-7,9007199254740993.01],"c":{"d":"é\"\n","e":null,"f":true}}"#;
        assert_eq!(Json::parse(text).unwrap().print(), text);
    }

    #[test]
    fn money_is_exact_and_printed_short() {
        let sum: Decimal = ["0.1", "0.2"].iter().filter_map(|digits| parse_decimal(digits)).sum();
        assert_eq!(Json::money(sum).print(), "0.3");
        assert_eq!(Json::money(parse_decimal("100.00").unwrap()).print(), "100.0");
        assert_eq!(Json::money(Decimal::ZERO).print(), "0");
        assert_eq!(parse_decimal("1e2"), parse_decimal("100"));
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in ["", "{", "{'a':1}", "01", "[1,]", "{} {}", "NaN"] {
            assert!(Json::parse(text).is_err(), "{text}");
        }
        assert!(Json::parse(&"[".repeat(100)).is_err());
        assert!(Json::parse(&format!("{}{}", "[".repeat(40), "]".repeat(40))).is_err());
    }
}
