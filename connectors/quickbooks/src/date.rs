//! Calendar dates as QuickBooks writes them: `2026-01-31`, local to the company.

use bulkhead_sdk::prelude::*;

/// The pattern for schemas; [`check`] knows the months as well.
pub(crate) const PATTERN: &str = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$";

/// The date itself if there is such a day, otherwise a failure that names the field.
pub(crate) fn check<'d>(date: Option<&'d str>, field: &str) -> Result<Option<&'d str>, Failure> {
    match date {
        Some(text) if parts(text).is_none() => Err(Failure::invalid_input(format!(
            "`{text}` is not a date: write it as year-month-day, such as 2026-01-31."
        ))
        .field(field)),
        other => Ok(other),
    }
}

/// Year, month, day.
pub(crate) fn parts(text: &str) -> Option<(i64, u32, u32)> {
    let (year, rest) = text.split_once('-')?;
    let (month, day) = rest.split_once('-')?;
    if (year.len(), month.len(), day.len()) != (4, 2, 2)
        || !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
    {
        return None;
    }
    let (year, month, day): (i64, u32, u32) = (year.parse().ok()?, month.parse().ok()?, day.parse().ok()?);
    (day >= 1 && day <= days_in(year, month)).then_some((year, month, day))
}

fn days_in(year: i64, month: u32) -> u32 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_days_that_exist_are_dates() {
        for good in ["2026-01-31", "2024-02-29", "2000-02-29"] {
            assert_eq!(check(Some(good), "/date").unwrap(), Some(good));
        }
        for bad in [
            "2026-02-29",
            "1900-02-29",
            "2026-13-01",
            "2026-00-10",
            "2026-01-00",
            "2026-1-1",
            "31.01.2026",
            "",
            "2026-01-31T00:00:00Z",
            "+026-01-01",
        ] {
            assert_eq!(check(Some(bad), "/date").unwrap_err().field.as_deref(), Some("/date"), "{bad}");
        }
        assert_eq!(check(None, "/date").unwrap(), None);
    }
}
