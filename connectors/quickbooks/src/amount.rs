//! Exact amounts. QuickBooks writes them as JSON numbers; between systems they travel as decimal text. No float
//! touches either: a number is read from, and written as, its own digits.
//!
//! [`Amount`] is our side (`"100.00"`), [`Number`] is QuickBooks' side (`100.00`).

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use bulkhead_sdk::prelude::*;
use rust_decimal::Decimal;
use rust_decimal::prelude::RoundingStrategy;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserializer, Serializer};
use serde_json::value::RawValue;

/// Digits that QuickBooks keeps of a total.
const KEPT: u32 = 2;

/// A decimal, as text in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Amount(Decimal);

/// The same, as a number in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number(pub(crate) Amount);

/// A text that is no decimal, or one of more digits than can be kept exactly.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotADecimal(String);

impl Amount {
    pub(crate) const ZERO: Amount = Amount(Decimal::ZERO);

    pub(crate) fn is_positive(self) -> bool {
        self.0 > Decimal::ZERO
    }

    /// The same amount if QuickBooks can keep it without rounding; `10.990` becomes `10.99`.
    pub(crate) fn kept(self) -> Option<Amount> {
        if self.0.scale() <= KEPT {
            return Some(self);
        }
        let shorter = self.0.normalize();
        (shorter.scale() <= KEPT).then_some(Amount(shorter))
    }

    /// `self` × `other`, rounded as QuickBooks rounds a line: half away from zero. `None` where it is too large.
    pub(crate) fn times(self, other: Amount) -> Option<Amount> {
        let exact = self.0.checked_mul(other.0)?;
        Some(Amount(exact.round_dp_with_strategy(KEPT, RoundingStrategy::MidpointAwayFromZero)))
    }
}

impl FromStr for Amount {
    type Err = NotADecimal;

    /// Plain decimals only: no exponent, no blanks, no thousands separators.
    fn from_str(text: &str) -> Result<Amount, NotADecimal> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let plain = !digits.is_empty()
            && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
            && !digits.starts_with('.')
            && !digits.ends_with('.');
        if !plain {
            return Err(NotADecimal(text.to_owned()));
        }
        // `from_str` would round what does not fit.
        Decimal::from_str_exact(text).map(Amount).map_err(|_| NotADecimal(text.to_owned()))
    }
}

impl fmt::Display for NotADecimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not an amount: write it as a plain decimal such as \"100.00\"", self.0)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Amount, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Amount {
    fn schema_name() -> Cow<'static, str> {
        "Amount".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^-?[0-9]{1,20}(\\.[0-9]{1,12})?$" })
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.0.to_string()).map_err(S::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Number {
    /// QuickBooks writes large and tiny amounts with an exponent, and some of them in quotes.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Number, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let text = raw.get().trim_matches('"');
        let exact =
            if text.contains(['e', 'E']) { Decimal::from_scientific(text) } else { Decimal::from_str_exact(text) };
        exact.map(|decimal| Number(Amount(decimal))).map_err(|_| D::Error::custom(NotADecimal(text.to_owned())))
    }
}

impl From<Amount> for Number {
    fn from(amount: Amount) -> Number {
        Number(amount)
    }
}

impl From<Number> for Amount {
    fn from(number: Number) -> Amount {
        number.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;

    fn amount(text: &str) -> Amount {
        text.parse().unwrap()
    }

    #[test]
    fn a_number_keeps_its_own_digits_both_ways() {
        for digits in [
            "100.00",
            "0.1",
            "10.10",
            "-7.05",
            "0",
            "79228162514264337593543950335",
            "123456789012345678.91",
            "0.0000001",
        ] {
            let number: Number = serde_json::from_str(digits).unwrap();
            assert_eq!(serde_json::to_string(&number).unwrap(), digits);
            assert_eq!(serde_json::to_string(&Amount::from(number)).unwrap(), format!("\"{digits}\""));
        }
    }

    #[test]
    fn what_a_float_would_spoil_stays_exact() {
        let sum = "[0.1, 0.2, 1.005, 4503599627370497.5]";
        let numbers: Vec<Number> = serde_json::from_str(sum).unwrap();
        assert_eq!(serde_json::to_string(&numbers).unwrap(), sum.replace(' ', ""));
    }

    #[test]
    fn exponents_and_quotes_of_quickbooks_are_understood() {
        for (written, meant) in [("1E+2", "100"), ("1.5e-3", "0.0015"), ("\"12.50\"", "12.50"), ("2.50E2", "250")] {
            let number: Number = serde_json::from_str(written).unwrap();
            assert_eq!(number.0.to_string(), meant, "{written}");
        }
    }

    #[test]
    fn only_plain_decimals_are_amounts() {
        for text in [
            "",
            "-",
            ".5",
            "5.",
            "1e3",
            "1,000.00",
            " 1",
            "1 ",
            "+1",
            "0x1",
            "NaN",
            "1.2.3",
            "12345678901234567890123456789.12",
        ] {
            assert_eq!(text.parse::<Amount>(), Err(NotADecimal(text.to_owned())), "{text}");
        }
        assert!(serde_json::from_str::<Amount>("10.99").is_err(), "a JSON number may have been a float");
    }

    #[test]
    fn digits_that_quickbooks_would_round_away_are_noticed() {
        assert_eq!(amount("10.990").kept(), Some(amount("10.99")));
        assert_eq!(amount("10").kept().unwrap().to_string(), "10");
        assert_eq!(amount("100.00").kept().unwrap().to_string(), "100.00");
        assert_eq!(amount("10.995").kept(), None);
    }

    #[test]
    fn a_line_is_quantity_times_price_rounded_away_from_zero() {
        for (quantity, price, line) in
            [("3", "0.335", "1.01"), ("1", "0.005", "0.01"), ("-1", "0.005", "-0.01"), ("2.5", "4", "10.0")]
        {
            assert_eq!(amount(quantity).times(amount(price)), Some(amount(line)), "{quantity} × {price}");
        }
        assert_eq!(amount("79228162514264337593543950335").times(amount("2")), None);
    }
}
