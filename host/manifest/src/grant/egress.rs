//! Egress rules against egress rules.

use crate::model::{EgressRule, PathPattern};

/// The requests that both lists allow and treat alike, in the order in which they were approved: what the first
/// approved rule says about a request stays what is done with it, however the asked rules are sorted.
pub(super) fn intersect(asked: &[EgressRule], approved: &[EgressRule]) -> Vec<EgressRule> {
    let mut granted: Vec<EgressRule> = Vec::new();
    for approved in approved {
        for rule in asked.iter().filter_map(|asked| meet(asked, approved)) {
            if !granted.iter().any(|earlier| covers(earlier, &rule)) {
                granted.push(rule);
            }
        }
    }
    granted
}

/// Whether requests under both rules are treated alike: what is added, kept and relied on.
pub(super) fn alike(a: &EgressRule, b: &EgressRule) -> bool {
    a.credential == b.credential
        && a.headers == b.headers
        && a.idempotency == b.idempotency
        && a.capture == b.capture
        && a.discovered == b.discovered
}

/// Whether this rule allows such requests.
pub(super) fn allows(rule: &EgressRule, method: &str, path: &PathPattern) -> bool {
    rule.methods.iter().any(|allowed| allowed == method) && within(path, &rule.paths)
}

pub(super) fn within(path: &PathPattern, paths: &[PathPattern]) -> bool {
    paths.iter().any(|allowed| allowed.contains(path))
}

/// Whether everything under `rule` is under `wide` too, and treated alike.
fn covers(wide: &EgressRule, rule: &EgressRule) -> bool {
    alike(wide, rule)
        && wide.host.contains(&rule.host)
        && rule.methods.iter().all(|method| rule.paths.iter().all(|path| allows(wide, method, path)))
        && rule.read_only_posts.iter().all(|path| within(path, &wide.read_only_posts))
}

/// The requests that fall under both rules; `None` where there are none, or where they would be treated differently.
fn meet(asked: &EgressRule, approved: &EgressRule) -> Option<EgressRule> {
    if asked == approved {
        return Some(asked.clone());
    }
    if !alike(asked, approved) {
        return None;
    }
    let mut rule = asked.clone();
    rule.host = asked.host.intersect(&approved.host)?;
    rule.methods.retain(|method| approved.methods.contains(method));
    rule.paths = meet_paths(&asked.paths, &approved.paths);
    rule.read_only_posts = meet_paths(&asked.read_only_posts, &approved.read_only_posts);
    (!rule.methods.is_empty() && !rule.paths.is_empty()).then_some(rule)
}

fn meet_paths(asked: &[PathPattern], approved: &[PathPattern]) -> Vec<PathPattern> {
    let mut paths: Vec<PathPattern> = Vec::new();
    for path in asked {
        let met = if within(path, approved) {
            vec![path.clone()]
        } else {
            approved.iter().filter_map(|approved| path.intersect(approved)).collect()
        };
        for path in met {
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
    }
    paths
}
