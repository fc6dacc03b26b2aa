//! Time as the simulator sees it: the wall clock, plus whatever a test has added to it.
//!
//! Lifetimes (codes, tokens, change feeds) are judged by [`Clock::seconds`], which a test can move forward; latencies
//! are measured with [`wall_micros`], which nobody can move.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

const DAY: i64 = 86_400;
/// QuickBooks prints its times in the company's zone; every simulated company lives on the Pacific coast.
pub(crate) const PACIFIC: i64 = -8 * 3_600;

#[derive(Debug, Default)]
pub(crate) struct Clock {
    added_seconds: AtomicI64,
}

impl Clock {
    /// Unix seconds, moved by every [`Clock::advance`].
    pub(crate) fn seconds(&self) -> i64 {
        let wall = i64::try_from(wall_micros() / 1_000_000).unwrap_or(i64::MAX);
        wall.saturating_add(self.added_seconds.load(Ordering::Relaxed))
    }

    pub(crate) fn advance(&self, seconds: i64) {
        self.added_seconds.fetch_add(seconds, Ordering::Relaxed);
    }
}

/// Microseconds since 1970 by the wall clock.
#[expect(clippy::disallowed_methods, reason = "a simulator is the outside world: it has the real time")]
pub(crate) fn wall_micros() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
}

/// `2026-01-31T09:17:31-08:00`
pub(crate) fn iso_pacific(unix: i64) -> String {
    let (date, clock) = date_and_clock(unix + PACIFIC);
    format!("{date}T{clock}-08:00")
}

/// `2026-01-31T17:17:31.000000000Z`: nine fractional digits, as Intuit's CloudEvents may carry.
pub(crate) fn iso_utc_nanos(unix: i64) -> String {
    let (date, clock) = date_and_clock(unix);
    format!("{date}T{clock}.000000000Z")
}

/// `2026-01-31`, in the company's zone.
pub(crate) fn pacific_date(unix: i64) -> String {
    date_and_clock(unix + PACIFIC).0
}

/// Reads `YYYY-MM-DD` with an optional time, fraction and offset. A text without an offset is Pacific time.
pub(crate) fn parse_iso(text: &str) -> Option<i64> {
    let date = text.get(..10)?;
    let midnight = parse_date(date)?.checked_mul(DAY)?;
    let Some(rest) = text.get(10..).filter(|rest| !rest.is_empty()) else {
        return Some(midnight - PACIFIC);
    };
    let rest = rest.strip_prefix('T')?;
    let clock = parse_clock(rest.get(..8)?)?;
    let mut zone = rest.get(8..)?;
    if let Some(fraction) = zone.strip_prefix('.') {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        zone = fraction.get(digits..).filter(|_| digits > 0)?;
    }
    Some(midnight + clock - parse_offset(zone)?)
}

/// Days since 1970 of a strict `YYYY-MM-DD`, or nothing when there is no such day.
pub(crate) fn parse_date(text: &str) -> Option<i64> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || year.len() != 4 || month.len() != 2 || day.len() != 2 {
        return None;
    }
    let (year, month, day) = (number(year)?, number(month)?, number(day)?);
    let days = days_from_civil(year, month, day);
    (civil_from_days(days) == (year, month, day)).then_some(days)
}

/// The day `days` after a strict `YYYY-MM-DD`.
pub(crate) fn date_after(text: &str, days: i64) -> Option<String> {
    let (year, month, day) = civil_from_days(parse_date(text)? + days);
    Some(format!("{year:04}-{month:02}-{day:02}"))
}

fn parse_clock(text: &str) -> Option<i64> {
    let mut parts = text.split(':');
    let (hour, minute, second) = (number(parts.next()?)?, number(parts.next()?)?, number(parts.next()?)?);
    let valid = parts.next().is_none() && hour < 24 && minute < 60 && second < 60;
    valid.then_some(hour * 3_600 + minute * 60 + second)
}

fn parse_offset(text: &str) -> Option<i64> {
    match text {
        "" => return Some(PACIFIC),
        "Z" => return Some(0),
        _ => {}
    }
    let sign = match text.get(..1)? {
        "+" => 1,
        "-" => -1,
        _ => return None,
    };
    let digits: String = text.get(1..)?.split(':').collect();
    if digits.len() != 4 {
        return None;
    }
    let (hours, minutes) = (number(digits.get(..2)?)?, number(digits.get(2..)?)?);
    Some(sign * (hours * 3_600 + minutes * 60))
}

fn number(text: &str) -> Option<i64> {
    let digits_only = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits_only.then(|| text.parse().ok()).flatten()
}

fn date_and_clock(local: i64) -> (String, String) {
    let (year, month, day) = civil_from_days(local.div_euclid(DAY));
    let second = local.rem_euclid(DAY);
    let date = format!("{year:04}-{month:02}-{day:02}");
    (date, format!("{:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60))
}

/// The proleptic Gregorian calendar in 400-year eras that start on the first of March, so that the leap day is last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_time_reads_back_as_itself() {
        for unix in [0, 951_782_400, 1_700_000_000, 4_102_444_799] {
            assert_eq!(parse_iso(&iso_pacific(unix)), Some(unix));
            assert_eq!(parse_iso(&iso_utc_nanos(unix)), Some(unix));
        }
        assert_eq!(iso_utc_nanos(1_700_000_000), "2023-11-14T22:13:20.000000000Z");
    }

    #[test]
    fn days_that_do_not_exist_are_refused() {
        for text in ["2025-02-29", "2025-13-01", "2025-1-01", "25-01-01", "2025-01-01-", "today"] {
            assert_eq!(parse_date(text), None, "{text}");
        }
        assert_eq!(date_after("2024-02-28", 2).unwrap(), "2024-03-01");
    }
}
