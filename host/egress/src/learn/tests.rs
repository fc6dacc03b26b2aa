#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::*;

/// Sat, 21 Nov 2026 20:00:00 GMT.
const NOW_MS: u64 = 1_795_291_200_000;

fn rule(keys: &str) -> RateRule {
    let json = format!(r#"{{"scope": "app", "requests": 60, "per_seconds": 60, {keys} "paths": []}}"#);
    serde_json::from_str(&json).unwrap()
}

fn learned(status: u16, headers: &[(&str, &str)], rules: &[&RateRule]) -> Vec<(usize, u64)> {
    let headers: Vec<_> = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let lessons = lessons(status, &headers, rules, NOW_MS);
    lessons.into_iter().map(|(nth, wait)| (nth, u64::try_from(wait.as_millis()).unwrap())).collect()
}

/// What it says of the narrowest budget, milliseconds.
fn of_all(status: u16, headers: &[(&str, &str)]) -> Option<u64> {
    let lessons = learned(status, headers, &[]);
    assert!(lessons.len() < 2 && lessons.iter().all(|(nth, _)| *nth == 0));
    lessons.first().map(|(_, wait)| *wait)
}

/// Mutations: `retry_after`, for every status, or not for 503; `wait`, without dates; `BRIEFLY` of no time.
#[test]
fn too_many_and_unavailable_say_for_how_long() {
    let retry = |status, text| of_all(status, &[("retry-after", text)]);
    for status in [429, 503] {
        assert_eq!(retry(status, "30"), Some(30_000));
        assert_eq!(retry(status, " 1.5 "), Some(1_500));
        assert_eq!(retry(status, "Sat, 21 Nov 2026 20:02:00 GMT"), Some(120_000));
        assert_eq!(retry(status, "Saturday, 21-Nov-26 20:02:00 GMT"), Some(120_000));
    }
    assert_eq!((retry(200, "30"), retry(404, "30")), (None, None));
    assert_eq!((of_all(429, &[]), of_all(503, &[]), of_all(200, &[])), (Some(1_000), None, None));
    assert_eq!(of_all(429, &[("retry-after", "3"), ("Retry-After", "7")]), Some(7_000));
    // What is over is over.
    assert_eq!(retry(503, "Sat, 21 Nov 2026 19:00:00 GMT"), None);
    assert_eq!((retry(503, "0"), retry(429, "0")), (None, Some(1_000)));
}

/// Mutations: `spent`, without any of the families, without what is left, or without what is untold; `structured`, without
/// either of its halves; `guessed`, without any of its sizes.
#[test]
fn what_many_providers_share_is_known() {
    for family in ["RateLimit", "X-RateLimit", "x-rate-limit"] {
        let (remaining, reset) = (format!("{family}-Remaining"), format!("{family}-Reset"));
        let with = |status, left, until| of_all(status, &[(&remaining, left), (&reset, until)]);
        for until in ["90", "1795291290", "1795291290000", "Sat, 21 Nov 2026 20:01:30 GMT", "90, 60;w=1"] {
            assert_eq!(with(200, "0", until), Some(90_000), "{until}");
        }
        assert_eq!(with(200, "-2", "90"), Some(90_000));
        assert_eq!((with(200, "1", "90"), with(200, "0", "soon")), (None, None));
        // There is some left of this: it was too many of something else.
        assert_eq!(with(429, "1", "90"), Some(1_000));
        assert_eq!(of_all(429, &[(&reset, "90")]), Some(90_000));
        assert_eq!(of_all(200, &[(&reset, "90")]), None);
    }
    let line = |text| of_all(200, &[("ratelimit", text)]);
    assert_eq!(line(r#""default";r=0;t=30"#), Some(30_000));
    assert_eq!(line(r#""default";r=50;t=30"#), None);
    assert_eq!(line(r#""burst";r=0;t=1, "daily"; r=0; t=3600, "other";r=1;t=9999"#), Some(3_600_000));
    assert_eq!(line("limit=100, remaining=0, reset=30"), Some(30_000));
    assert_eq!(line("limit=100, remaining=9, reset=30"), None);
    assert_eq!(of_all(200, &[("ratelimit-policy", r#""default";q=100;w=60"#)]), None);
    assert_eq!(of_all(429, &[("retry-after", "3"), ("ratelimit", "\"d\";r=0;t=30")]), Some(3_000), "it was asked for");
}

/// Mutations: `about`, without any of its headers, or of its ends; `written`, any format as another; `lessons`, what a rule
/// says about the narrowest.
#[test]
fn what_a_budget_declares_is_about_that_budget() {
    let (bare, wait) = (rule(""), rule(r#""wait_header": "X-Wait","#));
    let minute = rule(r#""remaining_header": "X-MinLimit-Remaining","#);
    let day = RateRule { per_seconds: 86_400, remaining_header: Some("X-DayLimit-Remaining".into()), ..bare.clone() };
    assert_eq!(learned(200, &[("x-wait", "3")], &[&bare, &wait]), [(1, 3_000)]);
    assert_eq!(learned(429, &[("x-wait", "3"), ("retry-after", "5")], &[&bare, &wait]), [(1, 5_000)]);
    assert_eq!(learned(429, &[("retry-after", "5")], &[&bare, &wait]), [(0, 5_000)]);
    let left = |minute_left, day_left| {
        learned(200, &[("x-minlimit-remaining", minute_left), ("x-daylimit-remaining", day_left)], &[&minute, &day])
    };
    assert_eq!((left("5", "9"), left("5", "0")), (Vec::new(), vec![(1, 60_000)]));
    assert_eq!(left("0", "0"), [(0, 60_000), (1, 60_000)]);
    let second = RateRule { per_seconds: 1, ..minute.clone() };
    assert_eq!(learned(200, &[("x-minlimit-remaining", "0")], &[&second]), [(0, 1_000)]);
    let retried = [("x-minlimit-remaining", "0"), ("retry-after", "12")];
    assert_eq!(learned(429, &retried, &[&bare, &minute]), [(1, 12_000)]);
    for (format, text) in [
        ("", "90"),
        (r#""reset_format": "seconds","#, "90"),
        (r#""reset_format": "milliseconds","#, "90000"),
        (r#""reset_format": "unix_seconds","#, "1795291290"),
        (r#""reset_format": "unix_milliseconds","#, "1795291290000"),
        (r#""reset_format": "http_date","#, "Sat, 21 Nov 2026 20:01:30 GMT"),
    ] {
        let own = rule(&format!(r#""remaining_header": "X-Left", "reset_header": "X-Until", {format}"#));
        assert_eq!(learned(200, &[("x-left", "0"), ("x-until", text)], &[&own]), [(0, 90_000)], "{text}");
        assert_eq!(learned(200, &[("x-left", "1"), ("x-until", text)], &[&own]), []);
        assert_eq!(learned(429, &[("x-until", text)], &[&own]), [(0, 90_000)], "{text}");
    }
}

/// Mutations: `longest`, without `LONGEST`; `number`, parse whatever parses; `seconds`, `Duration::from_secs_f64`.
#[test]
fn what_makes_no_sense_says_nothing_and_nothing_is_for_longer_than_a_day() {
    const DAY_MS: u64 = 86_400_000;
    let many_digits = "9".repeat(400);
    for text in ["1000000000000000000", "99999999", many_digits.as_str(), "Fri, 31 Dec 9999 23:59:59 GMT"] {
        assert_eq!(of_all(503, &[("retry-after", text)]), Some(DAY_MS), "{text}");
        assert_eq!(of_all(200, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", text)]), Some(DAY_MS), "{text}");
    }
    for text in ["", "-1", "-0", "+5", "1e18", "inf", "NaN", "0x10", "1.2.3", ".5", "soon", "١٢", "\u{0}", "5 minutes"]
    {
        assert_eq!(of_all(503, &[("retry-after", text)]), None, "{text}");
        assert_eq!(of_all(200, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", text)]), None, "{text}");
        assert_eq!(
            of_all(200, &[("x-ratelimit-remaining", text), ("x-ratelimit-reset", "5")]).is_some(),
            text == "-1" || text == "-0"
        );
    }
    let many: Vec<(&str, &str)> = (0..10_000).map(|nth| ("retry-after", if nth < 9_000 { "1" } else { "9" })).collect();
    assert_eq!(of_all(503, &many), Some(1_000));
    let long = r#""x";r=0;t=1,"#.repeat(5_000) + r#""x";r=0;t=99"#;
    assert_eq!(of_all(200, &[("ratelimit", &long)]), Some(1_000));
}

proptest! {
    #[test]
    fn no_header_whatever_is_in_it_holds_longer_than_a_day(
        status in prop::sample::select(vec![200_u16, 403, 429, 503]),
        lines in prop::collection::vec(
            (prop::sample::select(vec!["retry-after", "ratelimit", "x-ratelimit-remaining", "x-ratelimit-reset", "x-own"]),
             "[ -~]{0,40}|[0-9.,;=rt\"-]{0,40}"), 0..6),
        now_ms in any::<u64>(),
    ) {
        let own = rule(r#""wait_header": "X-Own", "remaining_header": "X-Own", "reset_header": "X-Own","#);
        let headers: Vec<_> = lines.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        for rules in [&[][..], &[&own][..]] {
            for (nth, wait) in lessons(status, &headers, rules, now_ms) {
                prop_assert!(nth == 0 && !wait.is_zero() && wait <= LONGEST);
            }
        }
    }
}
