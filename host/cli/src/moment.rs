//! Moments as people read them. The API says milliseconds since 1970; a terminal says dates.

const DAY_MS: u64 = 86_400_000;

/// `2026-11-21 07:25:37.123`, in UTC.
pub(crate) fn utc(ms: u64) -> String {
    let (year, month, day) = date(ms / DAY_MS);
    let rest = ms % DAY_MS;
    let (hours, minutes) = (rest / 3_600_000, rest / 60_000 % 60);
    let (seconds, ms) = (rest / 1_000 % 60, rest % 1_000);
    format!("{year:04}-{month:02}-{day:02} {hours:02}:{minutes:02}:{seconds:02}.{ms:03}")
}

/// The day of the proleptic Gregorian calendar, so many days after 1970-01-01. Years begin in March here, so that the
/// day that is sometimes missing is a year's last.
fn date(days: u64) -> (u64, u64, u64) {
    // From 0000-03-01 on; 400 years have 146,097 days.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dates_in_utc() {
        assert_eq!(utc(0), "1970-01-01 00:00:00.000");
        assert_eq!(utc(951_782_399_999), "2000-02-28 23:59:59.999");
        assert_eq!(utc(951_782_400_000), "2000-02-29 00:00:00.000");
        assert_eq!(utc(1_709_251_200_000), "2024-03-01 00:00:00.000");
        assert_eq!(utc(1_795_245_937_123), "2026-11-21 07:25:37.123");
    }
}
