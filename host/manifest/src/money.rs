//! Money, exactly: a whole number of minor units and a currency. No floats come in or go out.
//!
//! Digits are those of ISO 4217, but for ISK and UGX. A provider may count otherwise (Stripe takes IQD and LYD in
//! hundredths): a connector converts by its provider's own list.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An ISO 4217 code. In JSON: the code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

/// A text that is not a currency code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a currency is three letters, like `EUR`")]
pub struct CurrencyError;

/// Currencies without a minor unit, as payment providers count them.
const ZERO_DECIMAL: &[&[u8; 3]] = &[
    b"BIF", b"CLP", b"DJF", b"GNF", b"JPY", b"KMF", b"KRW", b"MGA", b"PYG", b"RWF", b"VND", b"VUV", b"XAF", b"XOF",
    b"XPF",
];
/// Currencies whose minor unit is a thousandth.
const THREE_DECIMAL: &[&[u8; 3]] = &[b"BHD", b"IQD", b"JOD", b"KWD", b"LYD", b"OMR", b"TND"];

impl Currency {
    /// Reads a code, in either case.
    ///
    /// # Errors
    /// It is not three ASCII letters.
    pub fn parse(code: &str) -> Result<Self, CurrencyError> {
        let bytes: [u8; 3] = code.as_bytes().try_into().map_err(|_| CurrencyError)?;
        if bytes.iter().all(u8::is_ascii_alphabetic) {
            Ok(Self(bytes.map(|letter| letter.to_ascii_uppercase())))
        } else {
            Err(CurrencyError)
        }
    }

    /// How many decimal digits the minor unit is away from the major one: 0, 2 or 3.
    ///
    /// ISK and UGX have 2, as providers transmit them, though nobody has such coins.
    #[must_use]
    pub fn exponent(self) -> u32 {
        if ZERO_DECIMAL.contains(&&self.0) {
            0
        } else if THREE_DECIMAL.contains(&&self.0) {
            3
        } else {
            2
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        self.0.iter().try_for_each(|letter| f.write_char(char::from(*letter)))
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Currency {
    type Err = CurrencyError;

    fn from_str(code: &str) -> Result<Self, CurrencyError> {
        Self::parse(code)
    }
}

impl TryFrom<String> for Currency {
    type Error = CurrencyError;

    fn try_from(code: String) -> Result<Self, CurrencyError> {
        Self::parse(&code)
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.to_string()
    }
}

/// An amount. In JSON: `{"minor": 1099, "currency": "EUR"}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Money {
    /// How many minor units (cents, yen, fils).
    pub minor: i64,
    /// Of which currency.
    pub currency: Currency,
}

/// Why a text is not an amount of a currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// It is not an optional `-`, digits, and optionally a dot and more digits.
    #[error("an amount is written like `-12.50`: digits, a dot, and a minus sign where it is negative")]
    Malformed,
    /// It has a digit that the currency has no unit for.
    #[error("{currency} has {exponent} decimal digits")]
    TooPrecise {
        /// The currency.
        currency: Currency,
        /// How many decimal digits it has.
        exponent: u32,
    },
    /// It is more than fits.
    #[error("the amount is too large")]
    Overflow,
}

impl Money {
    /// An amount of minor units.
    #[must_use]
    pub const fn new(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// Reads an amount in major units: `12.5`, `12.50`, `-0.01`, `12.500` where the last zero says nothing.
    ///
    /// # Errors
    /// It is not an amount, is more precise than the currency, or does not fit.
    pub fn from_decimal_str(text: &str, currency: Currency) -> Result<Self, MoneyError> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (whole, fraction) = match digits.split_once('.') {
            Some((_, "")) => return Err(MoneyError::Malformed),
            Some((whole, fraction)) => (whole, fraction.trim_end_matches('0')),
            None => (digits, ""),
        };
        let number = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !number(whole) || !number(fraction) {
            return Err(MoneyError::Malformed);
        }
        let exponent = currency.exponent();
        let missing =
            (exponent as usize).checked_sub(fraction.len()).ok_or(MoneyError::TooPrecise { currency, exponent })?;
        let places = whole.bytes().chain(fraction.bytes()).chain(std::iter::repeat_n(b'0', missing));
        // Counts down from zero where negative: the smallest i64 has no positive counterpart.
        let minor = places.map(|digit| i64::from(digit - b'0')).try_fold(0_i64, |sum, digit| {
            let tens = sum.checked_mul(10)?;
            if negative { tens.checked_sub(digit) } else { tens.checked_add(digit) }
        });
        Ok(Self { minor: minor.ok_or(MoneyError::Overflow)?, currency })
    }

    /// The amount in major units, with all the digits that the currency has: `12.50`, `-0.01`, `500`.
    #[must_use]
    pub fn to_decimal_string(&self) -> String {
        let sign = if self.minor < 0 { "-" } else { "" };
        let amount = self.minor.unsigned_abs();
        let exponent = self.currency.exponent();
        let unit = 10_u64.pow(exponent);
        if exponent == 0 {
            return format!("{sign}{amount}");
        }
        format!("{sign}{}.{:0width$}", amount / unit, amount % unit, width = exponent as usize)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.to_decimal_string(), self.currency)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn currency(code: &str) -> Currency {
        Currency::parse(code).unwrap()
    }

    fn read(text: &str, code: &str) -> Result<i64, MoneyError> {
        Money::from_decimal_str(text, currency(code)).map(|money| money.minor)
    }

    #[test]
    fn a_currency_has_as_many_digits_as_its_minor_unit() {
        for (code, minor, text) in [("EUR", 1099, "10.99"), ("jpy", 1099, "1099"), ("KWD", 1099, "1.099")] {
            let money = Money::new(minor, currency(code));
            assert_eq!(money.to_decimal_string(), text);
            assert_eq!(read(text, code), Ok(minor));
        }
    }

    #[test]
    fn small_and_negative_amounts_keep_their_zeros_and_sign() {
        assert_eq!(Money::new(5, currency("USD")).to_decimal_string(), "0.05");
        assert_eq!(Money::new(-5, currency("USD")).to_decimal_string(), "-0.05");
        assert_eq!(read("-0.05", "USD"), Ok(-5));
        assert_eq!(Money::new(-1, currency("KWD")).to_string(), "-0.001 KWD");
    }

    #[test]
    fn fewer_digits_and_further_zeros_are_the_same_amount() {
        assert_eq!(read("12", "EUR"), Ok(1200));
        assert_eq!(read("12.5", "EUR"), Ok(1250));
        assert_eq!(read("12.5000", "EUR"), Ok(1250));
        assert_eq!(read("500.00", "JPY"), Ok(500));
        assert_eq!(read("-0", "EUR"), Ok(0));
        assert_eq!(read("007", "EUR"), Ok(700));
    }

    #[test]
    fn a_fraction_of_a_minor_unit_is_refused_instead_of_rounded() {
        let error = MoneyError::TooPrecise { currency: currency("EUR"), exponent: 2 };
        assert_eq!(read("0.005", "EUR"), Err(error));
        assert_eq!(error.to_string(), "EUR has 2 decimal digits");
        assert!(matches!(read("1.5", "JPY"), Err(MoneyError::TooPrecise { exponent: 0, .. })));
    }

    #[test]
    fn what_is_not_an_amount_is_refused() {
        for text in
            ["", "-", "+1", " 1", "1 ", ".5", "1.", "1.2.3", "--1", "1e3", "1,5", "0x1", "NaN", "١", "1.-5", "1_0"]
        {
            assert_eq!(read(text, "EUR"), Err(MoneyError::Malformed), "{text:?}");
        }
    }

    #[test]
    fn the_ends_of_the_range_fit_and_nothing_beyond_does() {
        assert_eq!(read("92233720368547758.07", "EUR"), Ok(i64::MAX));
        assert_eq!(read("-92233720368547758.08", "EUR"), Ok(i64::MIN));
        assert_eq!(read("92233720368547758.08", "EUR"), Err(MoneyError::Overflow));
        assert_eq!(read("-92233720368547758.09", "EUR"), Err(MoneyError::Overflow));
        assert_eq!(Money::new(i64::MIN, currency("EUR")).to_decimal_string(), "-92233720368547758.08");
    }

    #[test]
    fn what_is_not_a_currency_is_refused() {
        for code in ["", "EU", "EURO", "E1R", "€"] {
            assert_eq!(Currency::parse(code), Err(CurrencyError), "{code}");
        }
    }

    #[test]
    fn money_is_minor_units_and_a_code_in_json() {
        let money = Money::new(1099, currency("eur"));
        let written = serde_json::to_string(&money).unwrap();
        assert_eq!(written, r#"{"minor":1099,"currency":"EUR"}"#);
        assert_eq!(serde_json::from_str::<Money>(&written).unwrap(), money);
        assert!(serde_json::from_str::<Money>(r#"{"minor":10.99,"currency":"EUR"}"#).is_err());
    }

    proptest! {
        #[test]
        fn every_amount_reads_back(minor: i64, code in prop::sample::select(vec!["EUR", "JPY", "KWD", "ISK"])) {
            let money = Money::new(minor, currency(code));
            prop_assert_eq!(Money::from_decimal_str(&money.to_decimal_string(), currency(code)), Ok(money));
        }

        #[test]
        fn no_text_makes_reading_panic(text in ".*") {
            let _ = read(&text, "EUR");
        }
    }
}
