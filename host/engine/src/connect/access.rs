//! What a connector may do, for the person who is asked to connect it.
//!
//! Invariant: it is read from the grant that its runs are held to, never from what the connector says of itself.

use bulkhead_manifest::{EgressRule, Grant, HostPattern};
use bulkhead_store::Connection;

use crate::fault::{EngineFault, stored};
use crate::versions::Known;

/// All that it may do outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Whom it may ask, and for what. Nobody else.
    pub hosts: Vec<Reach>,
    /// Whether the provider may tell it what happens there.
    pub is_told: bool,
}

/// What it may do at one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// A name, or `*.` and one that it is below.
    pub host: String,
    /// Paths that it may read.
    pub reads: Vec<String>,
    /// Paths where it may change something.
    pub changes: Vec<String>,
}

impl Access {
    pub(super) fn of(known: &Known, connection: &Connection) -> Result<Self, EngineFault> {
        let settings = stored("a connection's settings", &connection.settings)?;
        let grant = known.granted(connection)?;
        Ok(Self::granted(&grant, &settings))
    }

    fn granted(grant: &Grant, settings: &serde_json::Value) -> Self {
        let mut hosts: Vec<Reach> = Vec::new();
        for rule in grant.egress() {
            // What the settings do not fill in is not reached.
            let bound = rule.host.bind_settings(settings).ok().filter(HostPattern::is_bound);
            let Some(host) = bound else { continue };
            let reach = Reach::by(rule, host.as_str());
            match hosts.iter_mut().find(|known| known.host == reach.host) {
                Some(known) => known.add(reach),
                None => hosts.push(reach),
            }
        }
        Self { hosts, is_told: grant.permissions().webhook.is_some() }
    }
}

impl Reach {
    fn by(rule: &EgressRule, host: &str) -> Self {
        let mut reach = Self { host: host.to_owned(), reads: Vec::new(), changes: Vec::new() };
        for path in &rule.paths {
            let posts_read = rule.read_only_posts.contains(path);
            let only_reads = |method: &String| match method.as_str() {
                "GET" | "HEAD" | "OPTIONS" => true,
                "POST" => posts_read,
                _ => false,
            };
            if rule.methods.iter().any(only_reads) {
                reach.reads.push(path.as_str().to_owned());
            }
            if !rule.methods.iter().all(only_reads) {
                reach.changes.push(path.as_str().to_owned());
            }
        }
        reach
    }

    fn add(&mut self, more: Self) {
        for (known, more) in [(&mut self.reads, more.reads), (&mut self.changes, more.changes)] {
            for path in more {
                if !known.contains(&path) {
                    known.push(path);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bulkhead_manifest::{Ask, Manifest};
    use serde_json::json;

    use super::*;

    const EGRESS: &str = r#"
[[egress]]
host = "api.example.com"
methods = ["GET"]
paths = ["/things", "/things/*"]
[[egress]]
host = "{settings.shop}.shops.example"
methods = ["GET"]
paths = ["/*"]
[[egress]]
host = "api.example.com"
methods = ["GET", "POST"]
paths = ["/things", "/search"]
read_only_posts = ["/search"]
[settings]
type = "object"
[settings.properties.shop]
type = "string"
"#;

    fn access(settings: &serde_json::Value) -> Access {
        let manifest = "[connector]\nname = \"things\"\nversion = \"1.0.0\"\ntitle = \"X\"\nsummary = \"X.\"\ncontract = \"0.1\"\n";
        let manifest = Manifest::parse(&format!("{manifest}{EGRESS}")).unwrap();
        let ask = || Ask::of(&manifest, "production", []);
        Access::granted(&Grant::of(&ask(), &ask().approve()), settings)
    }

    /// Mutations: `Reach::by`, take a POST that reads for one that changes, or the other way; `granted`, without `add`.
    #[test]
    fn what_may_be_read_and_what_may_be_changed_is_told_for_each_host() {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let api = Reach {
            host: "api.example.com".to_owned(),
            reads: texts(&["/things", "/things/*", "/search"]),
            changes: texts(&["/things"]),
        };
        assert_eq!(access(&json!({})).hosts, std::slice::from_ref(&api));
        let shop = Reach { host: "ours.shops.example".to_owned(), reads: texts(&["/*"]), changes: Vec::new() };
        assert_eq!(access(&json!({ "shop": "ours" })).hosts, [api, shop]);
    }
}
