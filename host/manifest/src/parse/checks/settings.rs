//! `[settings]` and `[limits]`.

use serde_json::Value;

use super::{Report, at};
use crate::model::Manifest;

pub(super) fn check(manifest: &Manifest, report: &mut Report<'_>) {
    if let Some(schema) = &manifest.settings {
        if schema.get("type").and_then(Value::as_str) != Some("object") {
            report.say(at!["settings"], "this does not describe an object", "say `type = \"object\"`");
        }
        if let Some(target) = remote_reference(schema) {
            report.say(
                at!["settings"],
                format!("the schema refers to `{target}`"),
                "a `$ref` has to start with `#`: nothing is fetched",
            );
        }
    }
    let limits = manifest.limits;
    for (key, limit) in [
        ("memory_mib", limits.memory_mib),
        ("cpu_ms", limits.cpu_ms),
        ("wall_ms", limits.wall_ms),
        ("response_mib", limits.response_mib),
    ] {
        if limit == Some(0) {
            report.say(at!["limits", key], "nothing could ever run", "at least 1, or leave it out");
        }
    }
}

fn remote_reference(schema: &Value) -> Option<&str> {
    match schema {
        Value::Array(items) => items.iter().find_map(remote_reference),
        Value::Object(fields) => {
            let target = ["$ref", "$dynamicRef"].iter().find_map(|key| fields.get(*key)?.as_str());
            target.filter(|target| !target.starts_with('#')).or_else(|| fields.values().find_map(remote_reference))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness::problems;

    #[test]
    fn settings_are_an_object_and_fetch_nothing() {
        assert_eq!(
            problems("[settings]\nproperties.a = { \"$ref\" = \"https://a.example/s\" }\n"),
            [
                "6:1: this does not describe an object (say `type = \"object\"`)",
                "6:1: the schema refers to `https://a.example/s` \
                 (a `$ref` has to start with `#`: nothing is fetched)",
            ]
        );
    }

    #[test]
    fn a_limit_leaves_something() {
        assert_eq!(
            problems("[limits]\nmemory_mib = 0\n"),
            ["7:14: nothing could ever run (at least 1, or leave it out)"]
        );
    }
}
