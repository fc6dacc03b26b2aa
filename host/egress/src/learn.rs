//! Step 11: what an answer says about the budget that its request was spent from. Pure.
//!
//! Providers say it in many ways; those that several share are known here, and a manifest declares the rest. What a
//! budget's own headers say is about that budget; everything else is about the narrowest.
//!
//! Invariant: nothing a provider writes holds anybody back for longer than a day, and what cannot be read says nothing.

use std::time::{Duration, UNIX_EPOCH};

use bulkhead_manifest::{RateRule, ResetFormat};

/// Nobody is held back for longer.
const LONGEST: Duration = Duration::from_secs(86_400);
/// Where a provider says "too many" and nothing else.
const BRIEFLY: Duration = Duration::from_secs(1);
/// Where a budget is spent and nobody says until when: then the next request asks.
const UNTOLD: Duration = Duration::from_secs(60);
/// Lines of one header that are read, and budgets in one line.
const MOST: usize = 8;

/// Which budgets are held back for how long: by their places in `rules`, which begins with the narrowest. Where there are
/// no rules, the first place stands for whatever the request falls under.
pub(crate) fn lessons(
    status: u16,
    headers: &[(String, String)],
    rules: &[&RateRule],
    now_ms: u64,
) -> Vec<(usize, Duration)> {
    let said = Said { status, headers, now_ms };
    let asked = said.retry_after();
    let own = rules.iter().enumerate().filter_map(|(nth, rule)| Some((nth, said.about(rule)?)));
    let mut lessons: Vec<_> = own.map(|(nth, wait)| (nth, wait.max(asked.unwrap_or_default()))).collect();
    let brief = (status == TOO_MANY).then_some(BRIEFLY);
    if let (true, Some(wait)) = (lessons.is_empty(), asked.or_else(|| said.spent()).or(brief)) {
        lessons.push((0, wait));
    }
    lessons
}

const TOO_MANY: u16 = 429;
const UNAVAILABLE: u16 = 503;

struct Said<'a> {
    status: u16,
    headers: &'a [(String, String)],
    now_ms: u64,
}

impl Said<'_> {
    fn lines(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = self.headers.iter().filter(move |(header, _)| header.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.trim()).take(MOST)
    }

    fn longest<'s>(&'s self, name: &str, read: impl Fn(&'s str) -> Option<Duration>) -> Option<Duration> {
        self.lines(name).filter_map(read).map(|wait| wait.min(LONGEST)).filter(|wait| !wait.is_zero()).max()
    }

    fn retry_after(&self) -> Option<Duration> {
        let asks = matches!(self.status, TOO_MANY | UNAVAILABLE);
        asks.then(|| self.longest("retry-after", |text| self.wait(text))).flatten()
    }

    /// What this budget's own headers say.
    fn about(&self, rule: &RateRule) -> Option<Duration> {
        let wait = rule.wait_header.as_ref().and_then(|name| self.longest(name, |text| self.wait(text)));
        let reset = || {
            let name = rule.reset_header.as_ref()?;
            self.longest(name, |text| match rule.reset_format {
                Some(format) => self.written(text, format),
                None => self.guessed(text),
            })
        };
        let spent = match &rule.remaining_header {
            Some(name) if self.lines(name).any(is_none_left) => {
                let window = Duration::from_secs(rule.per_seconds.into()).min(UNTOLD);
                reset().or_else(|| self.retry_after()).or_else(|| self.spent()).or(Some(window))
            }
            Some(name) if self.lines(name).next().is_some() => None,
            // Nobody says what is left: "too many" does.
            _ if self.status == TOO_MANY => reset(),
            _ => None,
        };
        wait.max(spent)
    }

    /// What the headers that many providers share say: nothing is left, until then.
    fn spent(&self) -> Option<Duration> {
        let families = ["ratelimit", "x-ratelimit", "x-rate-limit"].iter().filter_map(|family| {
            let name = format!("{family}-remaining");
            let untold = self.lines(&name).next().is_none() && self.status == TOO_MANY;
            let counts = untold || self.lines(&name).any(is_none_left);
            counts.then(|| self.longest(&format!("{family}-reset"), |text| self.guessed(text))).flatten()
        });
        families.max().max(self.longest("ratelimit", structured))
    }

    /// As in `Retry-After`: seconds, or a date.
    fn wait(&self, text: &str) -> Option<Duration> {
        number(text).map(seconds).or_else(|| self.written(text, ResetFormat::HttpDate))
    }

    fn written(&self, text: &str, format: ResetFormat) -> Option<Duration> {
        let until = |at: Duration| at.saturating_sub(Duration::from_millis(self.now_ms));
        match format {
            ResetFormat::Seconds => number(text).map(seconds),
            ResetFormat::Milliseconds => number(text).map(|count| seconds(count / 1_000.0)),
            ResetFormat::UnixSeconds => number(text).map(|count| until(seconds(count))),
            ResetFormat::UnixMilliseconds => number(text).map(|count| until(seconds(count / 1_000.0))),
            ResetFormat::HttpDate => {
                let date = httpdate::parse_http_date(text).ok()?;
                Some(until(date.duration_since(UNIX_EPOCH).unwrap_or_default()))
            }
        }
    }

    /// Seconds, a Unix time or one in milliseconds, by its size; or a date.
    fn guessed(&self, text: &str) -> Option<Duration> {
        let format = match number(text) {
            Some(count) if count < 1e9 => ResetFormat::Seconds,
            Some(count) if count < 1e11 => ResetFormat::UnixSeconds,
            Some(_) => ResetFormat::UnixMilliseconds,
            None => ResetFormat::HttpDate,
        };
        self.written(text, format)
    }
}

/// `"default";r=0;t=30`, several of them, or as drafts before wrote it: `limit=10, remaining=0, reset=30`.
fn structured(line: &str) -> Option<Duration> {
    let spent = |text: &str, left: &str, until: &str| {
        let parameter = |name: &str| {
            let pairs = text.split([',', ';']).filter_map(|pair| pair.split_once('='));
            pairs.map(|(key, value)| (key.trim(), value)).find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        parameter(left).is_some_and(is_none_left).then(|| number(parameter(until)?).map(seconds)).flatten()
    };
    let each = line.split(',').take(MOST).filter_map(|item| spent(item, "r", "t"));
    each.max().max(spent(line, "remaining", "reset"))
}

/// Some count on below zero.
fn is_none_left(text: &str) -> bool {
    let text = text.trim();
    let (below, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    number(digits).is_some_and(|left| below || left < 1.0)
}

/// A number as people write it, the first of several: `30`, `1.5`, `30, 10;w=60`.
fn number(text: &str) -> Option<f64> {
    let first = text.split([',', ';']).next().unwrap_or_default().trim();
    let plain = first.starts_with(|digit: char| digit.is_ascii_digit())
        && first.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    plain.then(|| first.parse().ok()).flatten()
}

/// What is beyond all time is beyond a day.
fn seconds(count: f64) -> Duration {
    Duration::try_from_secs_f64(count).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests;
