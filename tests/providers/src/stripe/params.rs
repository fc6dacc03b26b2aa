//! Form bodies in bracket syntax, and what an operation accepts of them.
//!
//! **Invariant.** A parameter that the operation's table does not name is refused; so is one whose value is not of
//! its kind. Behind [`Form::check`] every value is well formed.
//!
//! **To extend.** A new shape of value is a variant of [`Kind`]; the tables stand beside the operations.

use super::errors::Refusal;

/// A decoded form: `metadata[k]=v&expand[]=x` as a tree. Lists are branches whose names are numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Text(String),
    Branch(Vec<(String, Form)>),
}

/// One parameter that an operation accepts.
#[derive(Debug)]
pub(crate) struct Param {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) required: bool,
}

/// What a parameter's value must look like.
#[derive(Debug)]
pub(crate) enum Kind {
    Text,
    /// Text that an empty value unsets.
    Unsettable,
    Integer,
    Flag,
    /// A flag, or one of these words.
    FlagOr(&'static [&'static str]),
    OneOf(&'static [&'static str]),
    TextList,
    Metadata,
    Object(&'static [Param]),
    /// An integer, or `[gt]`, `[gte]`, `[lt]`, `[lte]`.
    Range,
    /// Stripe accepts it; the simulator does not act on it, and says so instead of ignoring it.
    NotSimulated,
}

pub(crate) const fn may(name: &'static str, kind: Kind) -> Param {
    Param { name, kind, required: false }
}

pub(crate) const fn must(name: &'static str, kind: Kind) -> Param {
    Param { name, kind, required: true }
}

const RANGE: &[Param] =
    &[may("gt", Kind::Integer), may("gte", Kind::Integer), may("lt", Kind::Integer), may("lte", Kind::Integer)];

impl Form {
    /// Reads a query string or a form body.
    pub(crate) fn decode(text: &str) -> Result<Self, Refusal> {
        let malformed = |_| Refusal::invalid("Invalid request: the form could not be decoded.");
        let pairs: Vec<(String, String)> = serde_urlencoded::from_str(text).map_err(malformed)?;
        let mut root = Self::Branch(Vec::new());
        for (key, value) in pairs {
            let path = split_key(&key).ok_or_else(|| Refusal::invalid(format!("Invalid parameter name: {key}")))?;
            root.insert(&path, value).ok_or_else(|| {
                Refusal::invalid_param("parameter_invalid", &key, format!("Conflicting values for {key}."))
            })?;
        }
        Ok(root)
    }

    fn insert(&mut self, path: &[&str], value: String) -> Option<()> {
        let Some((name, rest)) = path.split_first() else {
            *self = Self::Text(value);
            return Some(());
        };
        let Self::Branch(children) = self else {
            return None;
        };
        let name = if name.is_empty() { children.len().to_string() } else { (*name).to_owned() };
        if let Some((_, child)) = children.iter_mut().find(|(known, _)| *known == name) {
            let kinds_agree = rest.is_empty() == matches!(child, Self::Text(_));
            return kinds_agree.then(|| child.insert(rest, value))?;
        }
        let mut child = Self::Branch(Vec::new());
        child.insert(rest, value)?;
        children.push((name, child));
        Some(())
    }

    /// Compares the form with what an operation accepts.
    pub(crate) fn check(&self, accepts: &[Param]) -> Result<(), Refusal> {
        self.check_object(accepts, "")
    }

    fn check_object(&self, accepts: &[Param], prefix: &str) -> Result<(), Refusal> {
        for (name, value) in self.children() {
            let full = nested(prefix, name);
            let Some(param) = accepts.iter().find(|param| param.name == name) else {
                let message = format!("Received unknown parameter: {full}");
                return Err(Refusal::invalid_param("parameter_unknown", &full, message));
            };
            value.check_kind(&param.kind, &full)?;
        }
        for param in accepts.iter().filter(|param| param.required) {
            if self.child(param.name).is_none() {
                let full = nested(prefix, param.name);
                let message = format!("Missing required param: {full}.");
                return Err(Refusal::invalid_param("parameter_missing", &full, message));
            }
        }
        Ok(())
    }

    fn check_kind(&self, kind: &Kind, name: &str) -> Result<(), Refusal> {
        let invalid = |code, message: String| Err(Refusal::invalid_param(code, name, message));
        let text = self.as_text();
        match kind {
            Kind::NotSimulated => {
                invalid("parameter_not_simulated", format!("The simulator does not act on {name}; leave it out."))
            }
            Kind::Object(_) | Kind::Metadata if text == Some("") => Ok(()),
            Kind::Object(params) => match self {
                Self::Branch(_) => self.check_object(params, name),
                Self::Text(_) => invalid("parameter_invalid_object", format!("Invalid object: {name}")),
            },
            Kind::Range if text.is_none() => self.check_object(RANGE, name),
            Kind::TextList => self.check_list(name),
            Kind::Metadata => self.check_metadata(name),
            _ => match text {
                Some(text) => check_scalar(text, kind, name),
                None => invalid("parameter_invalid_string", format!("Invalid value for {name}: not a single value.")),
            },
        }
    }

    fn check_list(&self, name: &str) -> Result<(), Refusal> {
        let Self::Branch(children) = self else {
            return Err(Refusal::invalid_param("parameter_invalid_array", name, "Invalid array"));
        };
        let well_formed = |(key, value): &(String, Self)| key.parse::<usize>().is_ok() && value.as_text().is_some();
        if children.iter().all(well_formed) {
            return Ok(());
        }
        Err(Refusal::invalid_param("parameter_invalid_array", name, "Invalid array"))
    }

    fn check_metadata(&self, name: &str) -> Result<(), Refusal> {
        let invalid = |message: &str| Err(Refusal::invalid_param("parameter_invalid_metadata", name, message));
        let Self::Branch(children) = self else {
            return invalid("Invalid metadata: it must be a hash.");
        };
        if children.len() > 50 {
            return invalid("Metadata can have at most 50 keys.");
        }
        for (key, value) in children {
            match value.as_text() {
                None => return invalid("Metadata values must be strings."),
                Some(_) if key.chars().count() > 40 => {
                    return invalid("Metadata keys can be at most 40 characters long.");
                }
                Some(text) if text.chars().count() > 500 => {
                    return invalid("Metadata values can be at most 500 characters long.");
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn children(&self) -> impl Iterator<Item = (&str, &Self)> {
        let children = match self {
            Self::Branch(children) => children.as_slice(),
            Self::Text(_) => &[],
        };
        children.iter().map(|(name, value)| (name.as_str(), value))
    }

    pub(crate) fn child(&self, name: &str) -> Option<&Self> {
        self.children().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Branch(_) => None,
        }
    }

    /// The text of a parameter; an empty one was sent to unset it.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.child(name)?.as_text()
    }

    pub(crate) fn integer(&self, name: &str) -> Option<i64> {
        self.text(name)?.parse().ok()
    }

    pub(crate) fn flag(&self, name: &str) -> Option<bool> {
        self.text(name).map(|text| text == "true")
    }

    pub(crate) fn list(&self, name: &str) -> Vec<&str> {
        self.child(name).into_iter().flat_map(Self::children).filter_map(|(_, value)| value.as_text()).collect()
    }

    /// The names and texts directly under a parameter.
    pub(crate) fn entries(&self, name: &str) -> Vec<(&str, &str)> {
        let children = self.child(name).into_iter().flat_map(Self::children);
        children.filter_map(|(key, value)| Some((key, value.as_text()?))).collect()
    }
}

fn check_scalar(text: &str, kind: &Kind, name: &str) -> Result<(), Refusal> {
    let invalid = |code, message: String| Err(Refusal::invalid_param(code, name, message));
    let is_flag = matches!(text, "true" | "false");
    match kind {
        Kind::Text if text.is_empty() => invalid(
            "parameter_invalid_empty",
            format!("You passed an empty string for '{name}'. It cannot be unset: leave it out or give a value."),
        ),
        Kind::Text if text.chars().count() > 5_000 => {
            invalid("parameter_invalid_string", format!("Invalid string: {name} is longer than 5000 characters."))
        }
        Kind::Integer | Kind::Range if !is_integer(text) => {
            invalid("parameter_invalid_integer", format!("Invalid integer: {text}"))
        }
        Kind::Flag if !is_flag => invalid("parameter_invalid_boolean", format!("Invalid boolean: {text}")),
        Kind::FlagOr(words) if !is_flag && !words.contains(&text) => {
            invalid("parameter_invalid_boolean", format!("Invalid boolean: {text}"))
        }
        Kind::OneOf(words) if !words.contains(&text) => {
            invalid("parameter_invalid_string", format!("Invalid {name}: must be one of {}", words.join(", ")))
        }
        _ => Ok(()),
    }
}

/// Digits with an optional minus, small enough for 64 bits: `10.0`, `1e2` and `+5` are no integers.
fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<i64>().is_ok()
}

fn nested(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}[{name}]") }
}

/// `a[b][]` as `a`, `b` and an empty name.
fn split_key(key: &str) -> Option<Vec<&str>> {
    let (head, mut rest) = key.find('[').map_or((key, ""), |at| key.split_at(at));
    if head.is_empty() || head.contains(']') {
        return None;
    }
    let mut path = vec![head];
    while !rest.is_empty() {
        let (name, after) = rest.strip_prefix('[')?.split_once(']')?;
        if name.contains('[') {
            return None;
        }
        path.push(name);
        rest = after;
    }
    Some(path)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const ACCEPTS: &[Param] = &[
        must("amount", Kind::Integer),
        may("email", Kind::Text),
        may("expand", Kind::TextList),
        may("metadata", Kind::Metadata),
        may("automatic_payment_methods", Kind::Object(&[must("enabled", Kind::Flag)])),
        may("created", Kind::Range),
    ];

    fn verdict(text: &str) -> String {
        let checked = Form::decode(text).and_then(|form| form.check(ACCEPTS));
        match checked {
            Ok(()) => "accepted".into(),
            Err(refusal) => {
                let body: serde_json::Value = serde_json::from_slice(&refusal.answer("req_1").body).unwrap();
                let code = body.pointer("/error/code").and_then(|code| code.as_str());
                let param = body.pointer("/error/param").and_then(|param| param.as_str());
                format!("{} {}", code.unwrap_or("-"), param.unwrap_or("-"))
            }
        }
    }

    #[test]
    fn brackets_make_a_tree() {
        let form = Form::decode("amount=1&expand[]=a&expand[]=b&metadata[order id]=%C3%A9&created[gte]=5").unwrap();
        assert_eq!(form.list("expand"), ["a", "b"]);
        assert_eq!(form.entries("metadata"), [("order id", "é")]);
        assert_eq!(form.child("created").unwrap().integer("gte"), Some(5));
        assert!(form.check(ACCEPTS).is_ok());
    }

    #[test]
    fn what_the_table_does_not_name_is_refused() {
        assert_eq!(verdict("amount=1&surprise=1"), "parameter_unknown surprise");
        let inner = "automatic_payment_methods[foo]";
        assert_eq!(
            verdict(&format!("amount=1&automatic_payment_methods[enabled]=true&{inner}=1")),
            format!("parameter_unknown {inner}")
        );
        assert_eq!(
            verdict("amount=1&automatic_payment_methods[x]=1"),
            "parameter_unknown automatic_payment_methods[x]"
        );
        assert_eq!(verdict("email=a%40b.c"), "parameter_missing amount");
    }

    #[test]
    fn values_of_the_wrong_kind_are_refused() {
        for amount in ["10.50", "1e2", "+5", "", "ten", "99999999999999999999"] {
            assert_eq!(verdict(&format!("amount={amount}")), "parameter_invalid_integer amount", "{amount}");
        }
        assert_eq!(verdict("amount=1&email="), "parameter_invalid_empty email");
        assert_eq!(verdict("amount=1&expand=x"), "parameter_invalid_array expand");
        assert_eq!(verdict("amount=1&metadata[a][b]=x"), "parameter_invalid_metadata metadata");
        assert_eq!(verdict("amount=1&created[before]=1"), "parameter_unknown created[before]");
    }

    #[test]
    fn malformed_names_are_refused() {
        for text in ["a[b=1", "[a]=1", "a]=1", "a[b]c=1", "amount=1&amount[x]=2"] {
            assert!(Form::decode(text).is_err(), "{text}");
        }
    }
}
