//! What a number in a JSON text says, read another way than the product does.

/// The numbers of a JSON document, found another way than the product does: by cutting its texts out.
pub(crate) fn numbers(json: &str) -> impl Iterator<Item = &str> {
    let mut within = false;
    let outside = json.split('"').filter(move |piece| {
        let is_outside = !within;
        // A quote behind an odd number of backslashes ends no text.
        let escaped = within && piece.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1;
        within = if escaped { true } else { !within };
        is_outside
    });
    let belongs = |found: char| found.is_ascii_digit() || matches!(found, '.' | 'e' | 'E' | '+' | '-');
    let words = outside.flat_map(move |piece| piece.split(move |found| !belongs(found)));
    // `true` and `false` leave an `e` behind.
    words.filter(|word| word.contains(|found: char| found.is_ascii_digit()))
}

/// Sign, significant digits and the place of the point: the same for the same number however it is written.
pub(crate) fn decimal(number: &str) -> (bool, String, i64) {
    let (negative, number) = number.strip_prefix('-').map_or((false, number), |rest| (true, rest));
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return (false, String::new(), 0);
    }
    let trailing = digits.len() - digits.trim_end_matches('0').len();
    let exponent: i64 = exponent.parse().expect("an exponent that may be kept is small");
    (negative, significant.to_owned(), exponent - fraction.len() as i64 + trailing as i64)
}
