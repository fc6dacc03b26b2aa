//! For how long the head of an answer holds requests back: never longer than a day, none that it is not about, and not by what
//! is no such header.

use std::time::Duration;

use bulkhead_egress::steps;
use bulkhead_manifest::RateRule;

const DAY: Duration = Duration::from_secs(86_400);
/// What is about pauses where nothing is declared, and in the rules below.
const KNOWN: [&str; 13] = [
    "retry-after",
    "ratelimit",
    "ratelimit-remaining",
    "ratelimit-reset",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-rate-limit-remaining",
    "x-rate-limit-reset",
    "x-wait",
    "x-left",
    "x-until",
    "x-day-left",
    "x-day-until",
];

fn rules() -> [RateRule; 2] {
    let second = serde_json::json!({
        "scope": "connection", "requests": 10, "per_seconds": 1,
        "wait_header": "X-Wait", "remaining_header": "X-Left", "reset_header": "X-Until",
    });
    let day = serde_json::json!({
        "scope": "app", "requests": 5000, "per_seconds": 86400,
        "remaining_header": "X-Day-Left", "reset_header": "X-Day-Until", "reset_format": "http_date",
    });
    [second, day].map(|rule| serde_json::from_value(rule).expect("a rule"))
}

/// The bytes are lines: the status and the time, and headers.
pub(crate) fn holds(bytes: &[u8]) -> bool {
    thread_local!(static RULES: [RateRule; 2] = rules());
    let text = String::from_utf8_lossy(bytes);
    let (first, lines) = text.split_once('\n').unwrap_or((&text, ""));
    let (status, now_ms) = first.split_once(' ').unwrap_or((first, ""));
    let (status, now_ms) = (status.parse().unwrap_or(429), now_ms.parse().unwrap_or(0));
    let pairs = lines.split('\n').filter_map(|line| line.split_once(':'));
    let headers: Vec<_> = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    RULES.with(|[second, day]| {
        let mut is_held = false;
        for rules in [&[][..], &[second], &[second, day]] {
            is_held |= !headers.is_empty() & held(status, &headers, rules, now_ms);
        }
        is_held
    })
}

/// Whether anything is held back by such a head, and rightly.
fn held(status: u16, headers: &[(String, String)], rules: &[&RateRule], now_ms: u64) -> bool {
    let lessons = steps::lessons(status, headers, rules, now_ms);
    assert!(lessons.len() <= rules.len().max(1), "{lessons:?}");
    assert!(lessons.is_sorted_by(|(one, _), (next, _)| one < next), "one of them twice: {lessons:?}");
    for (nth, wait) in &lessons {
        assert!(*nth < rules.len().max(1) && !wait.is_zero() && *wait <= DAY, "{lessons:?}");
    }
    let knows = |name: &str| KNOWN.iter().any(|known| known.eq_ignore_ascii_case(name));
    if status == 429 {
        assert!(!lessons.is_empty(), "too many, and nobody waits");
    } else if !headers.iter().any(|(name, _)| knows(name)) {
        assert_eq!(lessons, [], "nothing was said");
    }
    // What is no such header makes no difference, nor does how its name is written.
    let others = headers.iter().filter(|(name, _)| knows(name));
    let told: Vec<_> = others.map(|(name, value)| (name.to_ascii_uppercase(), format!(" {value} "))).collect();
    assert_eq!(steps::lessons(status, &told, rules, now_ms), lessons);
    if let ([(name, text)], 429 | 503, []) = (&told[..], status, rules)
        && name == "RETRY-AFTER"
        && text.trim().bytes().all(|byte| byte.is_ascii_digit())
        && let Ok(seconds @ 1..=9_999) = text.trim().parse()
    {
        assert_eq!(lessons, [(0, Duration::from_secs(seconds))]);
    }
    !lessons.is_empty()
}
