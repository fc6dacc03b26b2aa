//! `[connector]`.

use super::{Report, at};
use crate::model::ConnectorInfo;
use crate::model::UrlTemplate;
use crate::text::is_readable;

/// The versions of the contract that this host knows.
const CONTRACTS: &[&str] = &["0.1"];
/// Versions stand in an index.
const LONGEST_VERSION: usize = 100;
/// Largest icon, bytes of its URL.
const MAX_ICON: usize = 96 * 1024;
const ICON_KINDS: &[&str] =
    &["data:image/svg+xml;base64,", "data:image/png;base64,", "data:image/webp;base64,", "data:image/jpeg;base64,"];

pub(super) fn check(connector: &ConnectorInfo, report: &mut Report<'_>) {
    let place = |key| [super::Step::Key("connector"), super::Step::Key(key)];
    if !is_name(&connector.name) {
        report.say(
            &place("name"),
            format!("`{}` cannot be the name of a connector", connector.name),
            "2 to 63 lower-case letters, digits and hyphens, a letter first",
        );
    }
    if connector.version.len() > LONGEST_VERSION {
        let hint = format!("at most {LONGEST_VERSION} characters");
        report.say(at!["connector", "version"], "this is too long for a version", hint);
    } else if semver::Version::parse(&connector.version).is_err() {
        report.say(
            at!["connector", "version"],
            format!("`{}` is not a semantic version", connector.version),
            "three numbers: `1.4.0`",
        );
    }
    if !CONTRACTS.contains(&connector.contract.as_str()) {
        report.say(
            at!["connector", "contract"],
            format!("contract `{}` is not known", connector.contract),
            format!("this host knows `{}`", CONTRACTS.join("`, `")),
        );
    }
    for (key, text, max) in [("title", &connector.title, 80), ("summary", &connector.summary, 300)] {
        let may_be_empty = key == "summary" && text.is_empty();
        if !may_be_empty && !is_readable(text, max) {
            let hint = format!("one line of at most {max} characters");
            report.say(&place(key), format!("this cannot be the {key}"), hint);
        }
    }
    let documentation = connector.documentation.as_deref().map(UrlTemplate::parse);
    if documentation.is_some_and(|url| !url.is_ok_and(|url| url.url().is_some())) {
        report.say(
            at!["connector", "documentation"],
            "this is not an https URL",
            "an absolute URL that starts with `https://`",
        );
    }
    if connector.icon.as_deref().is_some_and(|icon| !is_icon(icon)) {
        report.say(
            at!["connector", "icon"],
            "this is not an icon",
            "`data:image/svg+xml;base64,…` (or png, webp, jpeg), at most 96 KiB",
        );
    }
}

fn is_name(name: &str) -> bool {
    let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (2..=63).contains(&name.len()) && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.bytes().all(known)
}

fn is_icon(icon: &str) -> bool {
    let base64 = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
    icon.len() <= MAX_ICON
        && ICON_KINDS.iter().find_map(|kind| icon.strip_prefix(kind)).is_some_and(|data| data.bytes().all(base64))
}

#[cfg(test)]
mod tests {
    use super::super::harness::problems_of;
    use super::{LONGEST_VERSION, MAX_ICON};

    /// A `[connector]` of which one line is replaced; its keys stand on lines 2 to 7.
    fn problems(line: &str) -> Vec<String> {
        let key = line.split(' ').next().unwrap_or_default();
        let good = [
            "name = \"test\"",
            "version = \"1.0.0\"",
            "title = \"Test\"",
            "contract = \"0.1\"",
            "documentation = \"https://docs.example/\"",
            "icon = \"data:image/png;base64,AAAA\"",
        ];
        let lines = good.map(|good| if good.starts_with(key) { line } else { good });
        problems_of(&format!("[connector]\n{}\n", lines.join("\n")))
    }

    #[test]
    fn the_smallest_connector_is_fine() {
        assert_eq!(problems("title = \"Other\""), [""; 0]);
    }

    #[test]
    fn a_name_is_lower_case() {
        for name in ["Stripe", "s", "1st", "my_connector", "-a"] {
            assert_eq!(
                problems(&format!("name = \"{name}\"")),
                [format!(
                    "2:8: `{name}` cannot be the name of a connector \
                     (2 to 63 lower-case letters, digits and hyphens, a letter first)"
                )]
            );
        }
    }

    #[test]
    fn a_version_is_semantic() {
        assert_eq!(problems("version = \"1.0\""), ["3:11: `1.0` is not a semantic version (three numbers: `1.4.0`)"]);
        let long = format!("version = \"1.0.0-{}\"", "a".repeat(LONGEST_VERSION));
        assert_eq!(
            problems(&long),
            [format!("3:11: this is too long for a version (at most {LONGEST_VERSION} characters)")]
        );
    }

    #[test]
    fn a_contract_is_known() {
        assert_eq!(problems("contract = \"9\""), ["5:12: contract `9` is not known (this host knows `0.1`)"]);
    }

    #[test]
    fn a_title_is_one_line() {
        let error = ["4:9: this cannot be the title (one line of at most 80 characters)"];
        assert_eq!(problems("title = \" \""), error);
        assert_eq!(problems("title = \"a\\nb\""), error);
        assert_eq!(problems("title = \"a\\u202Eb\""), error);
        assert_eq!(problems(&format!("title = \"{}\"", "é".repeat(81))), error);
        assert_eq!(problems(&format!("title = \"{}\"", "é".repeat(80))), [""; 0]);
    }

    #[test]
    fn documentation_is_https_and_an_icon_is_an_image() {
        assert_eq!(
            problems("documentation = \"javascript:alert(1)\""),
            ["6:17: this is not an https URL (an absolute URL that starts with `https://`)"]
        );
        for icon in ["https://a.example/i.png", "data:text/html;base64,AAAA", "data:image/png;base64,<svg>"] {
            assert_eq!(
                problems(&format!("icon = \"{icon}\"")),
                ["7:8: this is not an icon (`data:image/svg+xml;base64,…` (or png, webp, jpeg), at most 96 KiB)"]
            );
        }
        let begin = "data:image/png;base64,";
        let of = |length: usize| problems(&format!("icon = \"{begin}{}\"", "A".repeat(length - begin.len()))).len();
        assert_eq!((of(MAX_ICON), of(MAX_ICON + 1)), (0, 1));
    }
}
