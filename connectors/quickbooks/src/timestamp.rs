//! Moments as QuickBooks writes them (`2026-01-01T00:00:00-08:00`), as seconds since 1970-01-01 UTC and back.
//!
//! QuickBooks' own are whole seconds; a fraction is cut off, which for "changed at or after" is the safe side.

use crate::date;

/// `None` where it is no RFC 3339 moment. The offset may lack its colon, as in older answers.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let (day, rest) = text.split_once('T')?;
    let (clock, offset) = match rest.strip_suffix('Z') {
        Some(clock) => (clock, 0),
        None => {
            let sign_at = rest.rfind(['+', '-'])?;
            let (clock, offset) = rest.split_at_checked(sign_at)?;
            (clock, seconds_of_offset(offset)?)
        }
    };
    let (year, month, day) = date::parts(day)?;
    Some(days_before(year, month, day) * 86_400 + seconds_of_day(clock)? - offset)
}

/// In UTC.
pub(crate) fn format(seconds: i64) -> String {
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let second = seconds.rem_euclid(86_400);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3_600, second / 60 % 60, second % 60)
}

fn seconds_of_day(clock: &str) -> Option<i64> {
    let whole = clock.split_once('.').map_or(clock, |(whole, _)| whole);
    let mut parts = whole.split(':').map(two_digits);
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    (parts.next().is_none() && hour < 24 && minute < 60 && second <= 60).then_some(hour * 3_600 + minute * 60 + second)
}

fn seconds_of_offset(offset: &str) -> Option<i64> {
    let (sign, digits) = offset.split_at_checked(1)?;
    let digits = digits.replace(':', "");
    let (hours, minutes) = digits.split_at_checked(2)?;
    let seconds = two_digits(hours)? * 3_600 + two_digits(minutes)? * 60;
    Some(if sign == "-" { -seconds } else { seconds })
}

fn two_digits(text: &str) -> Option<i64> {
    (text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

/// Days from 1970-01-01 to this one. The year is counted from March, so that the leap day is its last.
fn days_before(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (i64::from(month) + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_every_writing_are_the_same_second() {
        for text in [
            "2026-01-01T00:00:00-08:00",
            "2026-01-01T08:00:00Z",
            "2026-01-01T08:00:00.123456789Z",
            "2026-01-01T00:00:00-0800",
            "2026-01-01T13:30:00+05:30",
            "2026-01-01T08:00:00+00:00",
        ] {
            assert_eq!(parse(text), Some(1_767_254_400), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "2026-01-01",
            "2026-01-01T00:00:00",
            "2026-02-30T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T0:0:0Z",
            "T",
            "2026-01-01T00:00:00+é",
            "2026-01-01T00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn format_is_the_inverse_of_parse() {
        assert_eq!(format(0), "1970-01-01T00:00:00Z");
        assert_eq!(format(1_767_254_400), "2026-01-01T08:00:00Z");
        // Every 11 hours and some over two centuries, leap years and century included.
        for seconds in (-3_155_760_000..3_155_760_000_i64).step_by(39_877) {
            assert_eq!(parse(&format(seconds)), Some(seconds));
        }
    }
}
