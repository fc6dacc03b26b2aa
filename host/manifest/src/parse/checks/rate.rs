//! `[[rate]]`.

use super::names::{HEADER_HINT, is_header};
use super::{Report, at};
use crate::model::{Manifest, RateRule};

/// Most rules, and most paths of all of them: each request is held against each, and waits its turn in each.
const MAX_RULES: usize = 16;
const MAX_PATHS: usize = 64;
/// A budget is remembered for as long.
const LONGEST_SECONDS: u32 = 86_400;

pub(super) fn check_bounds(rules: &[RateRule], report: &mut Report<'_>) {
    if rules.len() > MAX_RULES || rules.iter().map(|rule| rule.paths.len()).sum::<usize>() > MAX_PATHS {
        report.say(
            at!["rate"],
            "no request waits its turn in that many budgets",
            format!("at most {MAX_RULES} rules and {MAX_PATHS} paths; a path may end in `*`"),
        );
    }
}

pub(super) fn check(manifest: &Manifest, report: &mut Report<'_>) {
    for (index, rule) in manifest.rate.iter().enumerate() {
        let numbers = [
            ("requests", Some(rule.requests)),
            ("per_seconds", Some(rule.per_seconds)),
            ("burst", rule.burst),
            ("concurrency", rule.concurrency),
        ];
        for (key, _) in numbers.iter().filter(|(_, number)| *number == Some(0)) {
            report.say(at!["rate", index, *key], "nothing could ever be sent", "at least 1");
        }
        if rule.per_seconds > LONGEST_SECONDS {
            report.say(
                at!["rate", index, "per_seconds"],
                "nobody counts for longer than a day",
                format!("at most {LONGEST_SECONDS}"),
            );
        }
        if rule.burst.is_some_and(|burst| burst > rule.requests) {
            report.say(
                at!["rate", index, "burst"],
                "more at once than there are at all",
                format!("at most {}, which is `requests`", rule.requests),
            );
        }
        let headers = [
            ("remaining_header", &rule.remaining_header),
            ("wait_header", &rule.wait_header),
            ("reset_header", &rule.reset_header),
        ];
        for (key, name) in headers.iter().filter_map(|(key, name)| Some((*key, name.as_deref()?))) {
            if !is_header(name) {
                let message = format!("`{name}` cannot be the name of a header");
                report.say(at!["rate", index, key], message, HEADER_HINT);
            }
        }
        if rule.reset_format.is_some() && rule.reset_header.is_none() {
            report.say(at!["rate", index, "reset_format"], "nothing is written so", "name the header: `reset_header`");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness::problems;

    #[test]
    fn a_budget_lets_something_through() {
        let rule = "[[rate]]\nscope = \"connection\"\nrequests = 0\nper_seconds = 0\nconcurrency = 0\n";
        assert_eq!(
            problems(rule),
            [
                "8:12: nothing could ever be sent (at least 1)",
                "9:15: nothing could ever be sent (at least 1)",
                "10:15: nothing could ever be sent (at least 1)",
            ]
        );
    }

    /// Mutation: `check_bounds`, without either half of the condition; `check`, without `LONGEST_SECONDS`.
    #[test]
    fn budgets_are_few_and_end() {
        let rule = |paths: usize| {
            let paths = vec!["\"/a\""; paths].join(", ");
            format!("[[rate]]\nscope = \"app\"\nrequests = 1\nper_seconds = 1\npaths = [{paths}]\n")
        };
        let most = "no request waits its turn in that many budgets \
                    (at most 16 rules and 64 paths; a path may end in `*`)";
        assert_eq!(problems(&rule(4).repeat(16)), [""; 0]);
        for more in [rule(0).repeat(17), rule(65), rule(5).repeat(13)] {
            assert_eq!(problems(&more), [format!("6:1: {most}")]);
        }
        let long = "[[rate]]\nscope = \"app\"\nrequests = 1\nper_seconds = 86401\n";
        assert_eq!(problems(long), ["9:15: nobody counts for longer than a day (at most 86400)"]);
    }

    #[test]
    fn a_burst_is_part_of_the_budget_and_headers_have_names() {
        let rule = "[[rate]]\nscope = \"app\"\nrequests = 10\nper_seconds = 1\nburst = 11\nwait_header = \"a b\"\n";
        assert_eq!(
            problems(rule),
            [
                "10:9: more at once than there are at all (at most 10, which is `requests`)",
                "11:15: `a b` cannot be the name of a header (letters, digits and `-`, without a colon)",
            ]
        );
    }

    /// Mutation: `check`, without the third header, or without what `reset_format` needs.
    #[test]
    fn a_reset_is_in_a_header_and_written_in_a_way_that_is_known() {
        let rule = |keys: &str| format!("[[rate]]\nscope = \"app\"\nrequests = 10\nper_seconds = 1\n{keys}\n");
        assert_eq!(problems(&rule("reset_header = \"X-Reset\"\nreset_format = \"unix_milliseconds\"")), [""; 0]);
        assert_eq!(
            problems(&rule("reset_header = \"a:b\"")),
            ["10:16: `a:b` cannot be the name of a header (letters, digits and `-`, without a colon)"]
        );
        assert_eq!(
            problems(&rule("reset_format = \"seconds\"")),
            ["10:16: nothing is written so (name the header: `reset_header`)"]
        );
        assert_eq!(
            problems(&rule("reset_header = \"X-Reset\"\nreset_format = \"second\"")),
            ["11:16: `second` is not known here (did you mean `seconds`?)"]
        );
    }

    #[test]
    fn a_scope_is_known() {
        assert_eq!(
            problems("[[rate]]\nscope = \"conection\"\nrequests = 1\nper_seconds = 1\n"),
            ["7:9: `conection` is not known here (did you mean `connection`?)"]
        );
    }
}
