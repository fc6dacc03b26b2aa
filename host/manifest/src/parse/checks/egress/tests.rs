use super::super::harness::problems;

/// One rule; `line` stands on line 10.
fn rule(line: &str) -> Vec<String> {
    problems(&format!("[[egress]]\nhost = \"a.example\"\nmethods = [\"GET\"]\npaths = [\"/v1/*\"]\n{line}\n"))
}

/// One rule that is only this.
fn bare(methods: &str, paths: &str) -> Vec<String> {
    problems(&format!("[[egress]]\nhost = \"a.example\"\nmethods = [{methods}]\npaths = [{paths}]\n"))
}

#[test]
fn a_rule_allows_something() {
    assert_eq!(
        bare("", ""),
        [
            "8:11: no method is allowed (say which: `[\"GET\", \"POST\"]`)",
            "9:9: no path is allowed (say which: `[\"/v1/*\"]`)",
        ]
    );
}

#[test]
fn rules_are_few_enough_to_agree_to() {
    let paths = vec!["\"/a\""; 257].join(", ");
    assert_eq!(
        bare("\"GET\"", &paths),
        ["6:1: nobody can agree to that many rules \
          (at most 64 rules and 256 paths; a path may end in `*`)"]
    );
}

#[test]
fn methods_are_known_and_in_upper_case() {
    assert_eq!(
        bare("\"get\", \"CONNECT\", \"TRACE\"", "\"/\""),
        [
            "8:12: `get` cannot be allowed (write `GET`)",
            "8:19: `CONNECT` cannot be allowed \
             (one of `GET`, `HEAD`, `OPTIONS`, `POST`, `PUT`, `PATCH`, `DELETE`)",
            "8:30: `TRACE` cannot be allowed \
             (one of `GET`, `HEAD`, `OPTIONS`, `POST`, `PUT`, `PATCH`, `DELETE`)",
        ]
    );
}

#[test]
fn hosts_and_paths_are_well_formed() {
    let host = |host: &str| problems(&format!("[[egress]]\nhost = \"{host}\"\nmethods = []\npaths = []\n"));
    assert_eq!(host("169.254.169.254"), ["7:8: a host is a name: an IP address cannot be approved"]);
    assert_eq!(host("https://a.example"), ["7:8: a host is a bare name, without scheme, port or path"]);
    assert_eq!(
        bare("\"GET\"", "\"/a\", \"/../b\""),
        ["9:16: no URL has this path: `.`, `..`, `\\`, encoded slashes or letters and empty segments are never sent"]
    );
}

#[test]
fn braces_in_a_path_are_not_a_variable() {
    let text = "[environments.sandbox]\nrealm = \"x\"\n[[egress]]\nhost = \"a.example\"\nmethods = [\"GET\"]\n\
                paths = [\"/{realm}\"]\n";
    assert_eq!(
        problems(text),
        ["11:10: in a path `{realm}` stands for any segment, not for the variable `realm` \
          (call the segment something else, or write the path out)"]
    );
}

#[test]
fn a_post_that_only_reads_is_a_post_of_the_rule() {
    assert_eq!(
        rule("read_only_posts = [\"/v1/search\"]"),
        ["10:20: the rule allows no POST (add `POST` to `methods`)"]
    );
    assert_eq!(
        rule(
            "read_only_posts = [\"/v2/search\"]\n[[egress]]\nhost = \"b.example\"\nmethods = [\"POST\"]\n\
              paths = [\"/v1/*\"]\nread_only_posts = [\"/v2/search\"]"
        ),
        [
            "10:20: the rule allows no POST (add `POST` to `methods`)",
            "15:20: `/v2/search` is not one of the rule's paths (add it to `paths`)",
        ]
    );
}

#[test]
fn extra_headers_are_known_and_no_credential() {
    assert_eq!(
        rule("headers = { Host = \"evil.example\" }"),
        ["10:20: `Host` is the host's to write, or nobody's (leave it out)"]
    );
    // Another method, or another path, than this rule is about.
    for name in ["X-HTTP-Method-Override", "X_Original_Url", "Accept-Encoding"] {
        let hosts = format!("10:{}: `{name}` is the host's to write, or nobody's (leave it out)", name.len() + 16);
        assert_eq!(rule(&format!("headers = {{ {name} = \"x\" }}")), [hosts]);
    }
    assert_eq!(
        rule("headers = { Authorization = \"x\" }"),
        ["10:29: `Authorization` carries a credential (declare it as `credential`)"]
    );
    assert_eq!(
        rule("headers = { \"a b\" = \"x\" }"),
        ["10:21: `a b` cannot be the name of a header (letters, digits and `-`, without a colon)"]
    );
    assert_eq!(
        rule("headers = { A = \"{account.id}-{settings.region}-{run.id}-{api}\" }"),
        [
            "10:17: there is no setting `region` (declare `[settings.properties.region]`)",
            "10:17: `{run.id}` is not known here \
             (a variable of the environment, `{account.…}` or `{settings.…}`)",
            "10:17: there is no variable `api` (declare `[environments.production]` with `api = \"…\"`)",
        ]
    );
}

#[test]
fn a_host_uses_settings_that_there_are() {
    let text = "[[egress]]\nhost = \"{settings.shop}.example.com\"\nmethods = [\"GET\"]\npaths = [\"/\"]\n";
    assert_eq!(problems(text), ["7:8: there is no setting `shop` (declare `[settings.properties.shop]`)"]);
    let settings = "[settings]\ntype = \"object\"\nproperties.shop = { type = \"string\" }\n";
    assert_eq!(problems(&format!("{text}{settings}")), [""; 0]);
}

#[test]
fn an_idempotency_key_is_long_enough_and_remembered() {
    assert_eq!(
        rule("idempotency = { kind = \"header\", name = \"A b\", max_length = 31, window_minutes = 0 }"),
        [
            "10:41: `A b` cannot be the name of a header (letters, digits and `-`, without a colon)",
            "10:61: a key this short could be that of another request \
             (at least 32; if the provider takes fewer, say `kind = \"none\"`)",
            "10:82: nothing may be sent again at once \
             (say for how many minutes it may, or `kind = \"none\"`)",
        ]
    );
    assert_eq!(
        rule("idempotency = { kind = \"query\", name = \"\", max_length = 50, window_minutes = 6 }"),
        ["10:15: the parameter has no name (say which query parameter carries the key)"]
    );
    assert_eq!(
        rule("idempotency = { kind = \"json\", pointer = \"\", max_length = 50, window_minutes = 6 }"),
        ["10:15: the key cannot replace the whole body (point at a field: `/idempotency_key`)"]
    );
}

/// Mutation: `check_idempotency`, without its case of `Method`.
#[test]
fn only_put_and_delete_are_repeatable_by_their_method() {
    let rule = |methods: &str, minutes: u32| {
        let method = format!("idempotency = {{ kind = \"method\", window_minutes = {minutes} }}");
        problems(&format!("[[egress]]\nhost = \"a.example\"\nmethods = [{methods}]\npaths = [\"/v1/*\"]\n{method}\n"))
    };
    assert_eq!(rule("\"GET\", \"PUT\", \"DELETE\"", 60), [""; 0]);
    assert_eq!(
        rule("\"PUT\", \"POST\", \"PATCH\"", 60),
        ["POST", "PATCH"].map(|method| format!(
            "10:15: {method} again does something again, whatever is said of it \
             (`PUT` and `DELETE` only; another rule for the rest)"
        ))
    );
    assert_eq!(rule("\"PUT\"", 0).len(), 1);
}

/// Mutation: `check_idempotency`, without `MAX_LEVELS`: 256 of them, and a body is parsed and copied as often.
#[test]
fn an_idempotency_key_in_a_body_is_near_its_surface() {
    let at = |pointer: &str| {
        let key = format!("kind = \"json\", pointer = \"{pointer}\", max_length = 50, window_minutes = 6");
        rule(&format!("idempotency = {{ {key} }}"))
    };
    assert_eq!(at("/a/b/c/d"), [""; 0]);
    assert_eq!(at("/a/b/c/d/e"), ["10:42: no provider looks for a key that deep (at most 4 levels)"]);
}

/// Mutation: `check_idempotency`, without `is_overwritten`; or `is_overwritten` without either of its kinds.
#[test]
fn an_idempotency_key_stands_where_nothing_else_does() {
    let auth = "[auth]\nkind = \"api_key\"\nfields = [{ name = \"key\", title = \"Key\" }]\n";
    let bearer = "{ place = \"bearer\", field = \"key\" }";
    let own = "{ place = \"header\", name = \"X-Key\", template = \"{key}\" }";
    let query = "{ place = \"query\", name = \"key\", field = \"key\" }";
    let taken = |credential: &str, idempotency: &str| {
        let rule = "host = \"a.example\"\nmethods = [\"POST\"]\npaths = [\"/\"]\nheaders = { X-Version = \"1\" }";
        let key = format!("idempotency = {{ {idempotency}, max_length = 50, window_minutes = 6 }}");
        let found = problems(&format!("{auth}[[egress]]\n{rule}\ncredential = {credential}\n{key}\n"));
        assert!(found.iter().all(|problem| problem.contains("never see the key")), "{found:?}");
        !found.is_empty()
    };
    assert!(taken(bearer, "kind = \"header\", name = \"Authorization\""));
    assert!(taken(bearer, "kind = \"header\", name = \"x-version\""));
    assert!(taken(own, "kind = \"header\", name = \"x-key\""));
    assert!(taken(query, "kind = \"query\", name = \"key\""));
    assert!(!taken(own, "kind = \"header\", name = \"Idempotency-Key\""));
    assert!(!taken(query, "kind = \"query\", name = \"requestid\""));
}

/// Mutation: `check_headers`, do not bind them: the rule would be left out of that environment without a word.
#[test]
fn a_header_fits_in_every_environment() {
    let value = "x".repeat(1_000);
    let text = format!(
        "[environments.production]\na = \"\"\n[environments.sandbox]\na = \"{value}\"\n[[egress]]\nhost = \"a.example\"\n\
         methods = [\"GET\"]\npaths = [\"/\"]\nheaders = {{ A = \"{{a}}{{a}}{{a}}\" }}\n"
    );
    assert_eq!(
        problems(&text),
        ["14:17: in the environment `sandbox` this is too long (use the variable fewer times)"]
    );
}
