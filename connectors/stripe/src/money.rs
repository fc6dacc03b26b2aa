//! Stripe's minor units as an exact decimal text.
//!
//! Stripe counts money in the smallest unit it charges. How many digits that is depends on the currency, by Stripe's
//! own list (which treats ISK and UGX as if they had hundredths). No float is involved, so nothing is ever rounded.

/// Currencies that Stripe charges in whole units.
const WHOLE: [&str; 15] =
    ["BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"];
/// Currencies that Stripe charges in thousandths.
const THOUSANDTHS: [&str; 5] = ["BHD", "JOD", "KWD", "OMR", "TND"];

/// Stripe writes currencies in lower case; between systems they travel as ISO 4217 writes them.
pub(crate) fn currency(stripe: &str) -> String {
    stripe.to_ascii_uppercase()
}

/// `1099`, `"eur"` → `"10.99"`; `1099`, `"jpy"` → `"1099"`; `-5`, `"kwd"` → `"-0.005"`.
pub(crate) fn decimal(minor: i64, currency: &str) -> String {
    let digits = digits(currency);
    let sign = if minor < 0 { "-" } else { "" };
    let units = minor.unsigned_abs();
    match 10u64.checked_pow(digits).filter(|scale| *scale > 1) {
        None => format!("{sign}{units}"),
        Some(scale) => format!("{sign}{}.{:0width$}", units / scale, units % scale, width = digits as usize),
    }
}

fn digits(currency: &str) -> u32 {
    let currency = currency.to_ascii_uppercase();
    if WHOLE.contains(&currency.as_str()) {
        0
    } else if THOUSANDTHS.contains(&currency.as_str()) {
        3
    } else {
        2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minor_units_become_the_decimal_of_their_currency() {
        for (minor, currency, expected) in [
            (1099, "eur", "10.99"),
            (1099, "EUR", "10.99"),
            (5, "usd", "0.05"),
            (100, "usd", "1.00"),
            (0, "usd", "0.00"),
            (1099, "jpy", "1099"),
            (0, "jpy", "0"),
            (1099, "kwd", "1.099"),
            (50, "isk", "0.50"),
            (-5, "usd", "-0.05"),
            (-1099, "jpy", "-1099"),
        ] {
            assert_eq!(decimal(minor, currency), expected, "{minor} {currency}");
        }
    }

    #[test]
    fn the_largest_and_smallest_amounts_do_not_overflow() {
        assert_eq!(decimal(i64::MAX, "usd"), "92233720368547758.07");
        assert_eq!(decimal(i64::MIN, "usd"), "-92233720368547758.08");
        assert_eq!(decimal(i64::MIN, "jpy"), "-9223372036854775808");
    }
}
