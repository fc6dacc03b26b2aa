//! What a manifest has to be beyond its shape: a file for each section, an entry for each in [`check`].
//!
//! A check says what is wrong in one sentence and what to do in another, at the value to change. It never repairs.

mod auth;
mod captures;
mod connector;
mod egress;
mod environments;
mod names;
mod placement;
mod rate;
mod settings;
mod webhook;

use super::error::Problem;
use super::tree::{Step, Tree, at};
use crate::model::Manifest;

/// Nobody reads more of them.
const MAX_PROBLEMS: usize = 100;

/// What is wrong with a manifest, in the order of the sections, and how many problems more there are than it lists.
pub(super) fn check(manifest: &Manifest, tree: &Tree<'_>) -> (Vec<Problem>, usize) {
    let mut report = Report { tree, problems: Vec::new(), more: 0 };
    // What sections compare with each other is short, or they are not looked at.
    environments::check_names(manifest, &mut report);
    auth::check_bounds(&manifest.auth, &mut report);
    egress::check_bounds(&manifest.egress, &mut report);
    captures::check_bounds(&manifest.egress, &mut report);
    rate::check_bounds(&manifest.rate, &mut report);
    if let Some(webhook) = &manifest.webhook {
        webhook::check_bounds(webhook, &mut report);
    }
    if report.problems.is_empty() {
        check_sections(manifest, &mut report);
    }
    (report.problems, report.more)
}

fn check_sections(manifest: &Manifest, report: &mut Report<'_>) {
    connector::check(&manifest.connector, report);
    environments::check(manifest, report);
    auth::check(manifest, report);
    egress::check(manifest, report);
    rate::check(manifest, report);
    if let Some(webhook) = &manifest.webhook {
        webhook::check(webhook, manifest, report);
    }
    settings::check(manifest, report);
}

/// What was found so far.
struct Report<'c> {
    tree: &'c Tree<'c>,
    problems: Vec<Problem>,
    /// How many more there are.
    more: usize,
}

impl Report<'_> {
    /// One more problem, at this place, with what to do about it.
    fn say(&mut self, at: &[Step<'_>], message: impl Into<String>, hint: impl Into<String>) {
        if self.problems.len() == MAX_PROBLEMS {
            self.more += 1;
            return;
        }
        self.problems.push(Problem::new(self.tree.span(at), message, Some(hint.into())));
    }

    /// Whether the document itself says something there, rather than a default.
    fn says(&self, at: &[Step<'_>]) -> bool {
        self.tree.has(at)
    }
}

#[cfg(test)]
mod harness {
    use crate::model::Manifest;

    /// The problems of a manifest that is this text after the smallest `[connector]`, which is five lines.
    pub(super) fn problems(text: &str) -> Vec<String> {
        const CONNECTOR: &str =
            "[connector]\nname = \"test\"\nversion = \"1.0.0\"\ntitle = \"Test\"\ncontract = \"0.1\"\n";
        problems_of(&format!("{CONNECTOR}{text}"))
    }

    pub(super) fn problems_of(source: &str) -> Vec<String> {
        match Manifest::parse(source) {
            Ok(_) => Vec::new(),
            Err(error) => error.problems().map(ToString::to_string).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::harness::{problems, problems_of};
    use super::*;

    fn repeated(count: usize, item: impl Fn(usize) -> String) -> String {
        (0..count).map(item).collect::<Vec<_>>().join(", ")
    }

    fn scopes(count: usize) -> Vec<String> {
        let urls = "authorize_url = \"https://a.example/a\"\ntoken_url = \"https://a.example/t\"";
        let scopes = repeated(count, |_| "\"\"".to_owned());
        problems(&format!("[auth]\nkind = \"oauth2\"\n{urls}\nscopes = [{scopes}]\n"))
    }

    /// Mutation: `Report::say`, without `MAX_PROBLEMS`; `ManifestError::of`, without the last line.
    #[test]
    fn a_hundred_problems_are_told_and_the_others_counted() {
        // The second and every later one stands there twice, too.
        assert_eq!(scopes(3).len(), 5);
        let told = scopes(200);
        assert_eq!(told.len(), MAX_PROBLEMS + 1);
        // Where the last one is that is told.
        assert_eq!(told.last().map(String::as_str), Some("10:211: and 299 more problems"));
        assert!(told.iter().rev().skip(1).all(|problem| !problem.contains("more")), "{told:?}");
    }

    /// Mutation: `check`, go on whatever was found first. With ten thousand of each it would be hours of work.
    #[test]
    fn long_lists_are_not_compared_with_each_other() {
        let environments = repeated(3, |nth| format!("x{nth} = {{ a = \"\" }}"));
        let rules = repeated(65, |_| "{ host = \"{a}\", methods = [], paths = [] }".to_owned());
        let connector = "[connector]\nname = \"test\"\nversion = \"1.0.0\"\ntitle = \"Test\"\ncontract = \"0.1\"\n";
        let told = problems_of(&format!("egress = [{rules}]\nenvironments = {{ {environments} }}\n{connector}"));
        let counted = |problem: &String| problem.contains("no environment") || problem.contains("many rules");
        assert!(told.len() == 4 && told.iter().all(counted), "{told:?}");
    }

    /// Mutation: `check_bounds` of each, without the one or the other.
    #[test]
    fn what_is_looked_up_again_and_again_is_counted_first() {
        let fields = |count| {
            let fields = repeated(count, |nth| format!("{{ name = \"a{nth}\", title = \"T\" }}"));
            format!("[auth]\nkind = \"api_key\"\nfields = [{fields}]\n")
        };
        let kept = |count| {
            let urls = "authorize_url = \"https://a.example/a\"\ntoken_url = \"https://a.example/t\"";
            let kept = repeated(count, |nth| format!("\"a{nth}\""));
            format!("[auth]\nkind = \"oauth2\"\n{urls}\ncallback_params = [{kept}]\n")
        };
        let rule = "[[egress]]\nhost = \"a.example\"\nmethods = [\"GET\"]\npaths = [\"/\"]\n";
        let headers = |count| format!("{rule}headers = {{ {} }}\n", repeated(count, |nth| format!("A{nth} = \"\"")));
        let captures = |count| {
            let capture = |nth| format!("{{ path = \"/\", pointer = \"/a\", name = \"a{nth}\" }}");
            format!("{rule}capture = [{}]\n", repeated(count, capture))
        };
        let methods = |count| rule.replace("\"GET\"", &repeated(count, |_| "\"GET\"".to_owned()));
        let oauth2 = |more: &str| {
            let urls = "authorize_url = \"https://a.example/a\"\ntoken_url = \"https://a.example/t\"";
            format!("[auth]\nkind = \"oauth2\"\n{urls}\n{more}\n")
        };
        let named = |count| repeated(count, |nth| format!("a{nth} = \"\""));
        let grant = |kind: &str, more: &str| {
            format!("[auth]\nkind = \"oauth2_{kind}\"\ntoken_url = \"https://a.example/t\"\n{more}\n")
        };
        let listed = |count| format!("scopes = [{}]", repeated(count, |nth| format!("\"a{nth}\"")));
        let given = |count| format!("extra_params = {{ {} }}", named(count));
        let (scopes, params) = (|count| oauth2(&listed(count)), |count| oauth2(&given(count)));
        let client_scopes = |count| grant("client_credentials", &listed(count));
        let client_params = |count| grant("client_credentials", &given(count));
        let bearer_scopes = |count| grant("jwt_bearer", &listed(count));
        let token_headers = |count| oauth2(&format!("token_headers = {{ {} }}", named(count)));
        let webhook = |more: &str| format!("[webhook]\nsecret = \"connection\"\nscheme = \"none\"\n{more}");
        let splits = |count: usize| webhook(&"[[webhook.split]]\nwhen = { pointer = \"/kind\" }\n".repeat(count));
        let dedupe = |count| {
            let places = repeated(count, |nth| format!("\"/a{nth}\""));
            webhook(&format!("[[webhook.split]]\ndedupe = [{places}]\n"))
        };
        let reading = |count| {
            let posts = repeated(count - 1, |_| "\"/\"".to_owned());
            format!("{}read_only_posts = [{posts}]\n", rule.replace("GET", "POST"))
        };
        let counted: [(&dyn Fn(usize) -> String, usize); 14] = [
            (&fields, 32),
            (&kept, 32),
            (&headers, 32),
            (&captures, 8),
            (&reading, 256),
            (&methods, 7),
            (&scopes, 200),
            (&params, 32),
            (&client_scopes, 200),
            (&client_params, 32),
            (&bearer_scopes, 200),
            (&token_headers, 32),
            (&splits, 16),
            (&dedupe, 8),
        ];
        for (text, most) in counted {
            assert_eq!(problems(&text(most)), [""; 0]);
            let told = problems(&text(most + 1));
            assert!(told.len() == 1 && told.iter().all(|problem| problem.contains("at most")), "{told:?}");
        }
    }
}
