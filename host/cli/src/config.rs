//! Settings: the embedded default file, then the operator's file, then the environment.
//!
//! Invariant: the default file names every setting, so it is their documentation; a file's setting that is not in it
//! is refused, and one of the environment warned of. What is wrong is named; its value never is, since it may be a secret.

mod limits;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use bulkhead_server::{KeySource, TransitSettings};
use serde::Deserialize;
use toml::{Table, Value};
use url::Url;

use self::limits::LimitSettings;

/// All settings, as `default.toml` explains them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub data_dir: PathBuf,
    pub database_url: String,
    pub key_provider: KeyProvider,
    pub vault_key_file: String,
    pub transit_address: String,
    pub transit_token_file: String,
    pub transit_mount: String,
    pub transit_key: String,
    pub secret_age_warning_days: u32,
    pub listen: String,
    pub public_url: String,
    pub jq_component: String,
    pub workers: u32,
    pub lease_seconds: u32,
    pub sandbox_slots: u32,
    pub client_connections: u32,
    pub client_seconds: u32,
    pub shutdown_seconds: u32,
    pub development_upstreams: String,
    pub log: String,
    pub log_format: LogFormat,
    pub limits: LimitSettings,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum KeyProvider {
    File,
    Transit,
}

/// The default file.
pub(crate) const DEFAULTS: &str = include_str!("../default.toml");

/// Names from other platforms' habits.
const ALSO: &[(&str, &str)] = &[("DATABASE_URL", "database_url")];

/// Of the settings, and of a value that stands in a file of its own, bytes.
const LONGEST: u64 = 64 << 10;

/// What each number may be.
const RANGES: [(&str, u32, u32); 7] = [
    ("secret_age_warning_days", 1, 36_500),
    ("workers", 1, 999),
    ("lease_seconds", 3, 86_400),
    ("sandbox_slots", 1, 1_000),
    ("client_connections", 1, 100_000),
    ("client_seconds", 1, 3_600),
    ("shutdown_seconds", 0, 3_600),
];

/// What is wrong with the settings.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("{} cannot be read: {problem}", path.display())]
    Unreadable { path: PathBuf, problem: io::Error },
    #[error("{variable}: the file {} cannot be read: {problem}", path.display())]
    NoValue { variable: String, path: PathBuf, problem: io::Error },
    #[error("{}: line {line}: {problem}", path.display())]
    NotToml { path: PathBuf, line: usize, problem: String },
    #[error("{from}: there is no setting {name:?}; `bulkhead serve --print-config` lists them all")]
    Unknown { from: String, name: String },
    #[error("{from}: {name} has to be {expected}")]
    WrongKind { from: String, name: String, expected: String },
    #[error("{name} has to be {}", words(.name))]
    WrongWord { name: String },
    #[error("key_provider is `transit`: set {0} too")]
    NoTransit(&'static str),
    #[error("transit_address has to be like https://vault.example.com:8200: nothing behind the host and port")]
    BadTransitAddress,
    #[error("{name} has to be a number from {least} to {most}")]
    OutOfRange { name: &'static str, least: u32, most: u32 },
    #[error("both {0} and {1} are set: keep one")]
    Twice(String, String),
    #[error("data_dir is empty: name a folder")]
    NoFolder,
    #[error("sandbox_slots has to be larger than workers: each run takes one, and uploads need some too")]
    FewSlots,
    #[error("PORT has to be a number from 0 to 65535")]
    BadPort,
    #[error("the settings do not work together: {0}")]
    Unusable(String),
}

/// What may stand in a setting that is one of some words.
fn words(name: &str) -> &'static str {
    if name == "key_provider" { "`file` or `transit`" } else { "`text` or `json`" }
}

impl Config {
    /// Reads the settings. `environment` is the process's own, passed in.
    pub(crate) fn load(file: Option<&Path>, environment: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let defaults = defaults()?;
        let mut settings = defaults.clone();
        if let Some(path) = file {
            merge(&mut settings, &defaults, path)?;
        }
        for (name, default) in &defaults {
            let own = variable(name);
            let also = ALSO.iter().filter(|(_, setting)| setting == name).map(|(variable, _)| (*variable).to_owned());
            let mut taken: Option<String> = None;
            for variable in also.chain([own]) {
                let Some(text) = from_environment(environment, &variable)? else { continue };
                if let Some(other) = taken {
                    return Err(ConfigError::Twice(other, variable));
                }
                settings.insert(name.clone(), converted(&variable, name, default, text)?);
                taken = Some(variable);
            }
        }
        if let Some(port) = from_environment(environment, "PORT")? {
            replace_port(&mut settings, &port)?;
        }
        for (name, least, most) in RANGES.into_iter().chain(limits::RANGES) {
            let number = settings.get(name).and_then(Value::as_integer).unwrap_or_default();
            if !(i64::from(least)..=i64::from(most)).contains(&number) {
                return Err(ConfigError::OutOfRange { name, least, most });
            }
        }
        // All that is left to be wrong is a word that is none of those known. The parser's own message may quote it.
        let config: Self = serde_path_to_error::deserialize(Value::Table(nested(settings)))
            .map_err(|error| ConfigError::WrongWord { name: error.path().to_string() })?;
        if config.data_dir.as_os_str().is_empty() {
            return Err(ConfigError::NoFolder);
        }
        if config.sandbox_slots <= config.workers {
            return Err(ConfigError::FewSlots);
        }
        Ok(config)
    }

    pub(crate) fn database_url(&self) -> String {
        if self.database_url.is_empty() {
            format!("sqlite:{}", self.data_dir.join("bulkhead.db").display())
        } else {
            self.database_url.clone()
        }
    }

    /// Who keeps the keys.
    pub(crate) fn keys(&self) -> Result<KeySource, ConfigError> {
        match (self.key_provider, self.vault_key_file.as_str()) {
            (KeyProvider::File, "") => Ok(KeySource::File(self.data_dir.join("keys.json"))),
            (KeyProvider::File, named) => Ok(KeySource::File(PathBuf::from(named))),
            (KeyProvider::Transit, _) => self.transit().map(KeySource::Transit),
        }
    }

    fn transit(&self) -> Result<TransitSettings, ConfigError> {
        let given = [
            ("transit_address", &self.transit_address),
            ("transit_token_file", &self.transit_token_file),
            ("transit_mount", &self.transit_mount),
            ("transit_key", &self.transit_key),
        ];
        if let Some((name, _)) = given.into_iter().find(|(_, value)| value.is_empty()) {
            return Err(ConfigError::NoTransit(name));
        }
        let address: Url = self.transit_address.parse().map_err(|_| ConfigError::BadTransitAddress)?;
        let bare = address.path() == "/" && address.query().is_none() && address.fragment().is_none();
        if !bare || !address.username().is_empty() || address.password().is_some() {
            return Err(ConfigError::BadTransitAddress);
        }
        let (mount, key) = (self.transit_mount.clone(), self.transit_key.clone());
        Ok(TransitSettings { address, token_file: PathBuf::from(&self.transit_token_file), mount, key })
    }

    /// The jq component, where there is one.
    pub(crate) fn jq_component(&self) -> Option<PathBuf> {
        if !self.jq_component.is_empty() {
            return Some(PathBuf::from(&self.jq_component));
        }
        Some(self.data_dir.join("jq.wasm")).filter(|path| path.exists())
    }
}

/// Each setting with its default. One in a table has the table's name before it: `limits.requests`.
fn defaults() -> Result<Table, ConfigError> {
    DEFAULTS.parse().map(flat).map_err(|e: toml::de::Error| ConfigError::Unusable(e.message().to_owned()))
}

/// The variables that are settings.
pub(crate) fn variables() -> impl Iterator<Item = String> {
    defaults().unwrap_or_default().into_iter().map(|(name, _)| variable(&name))
}

fn variable(name: &str) -> String {
    format!("BULKHEAD_{}", name.replace('.', "_").to_uppercase())
}

fn flat(table: Table) -> Table {
    let settings = table.into_iter().flat_map(|(name, value)| match value {
        Value::Table(inner) => inner.into_iter().map(|(own, value)| (format!("{name}.{own}"), value)).collect(),
        value => vec![(name, value)],
    });
    settings.collect()
}

fn nested(settings: Table) -> Table {
    let mut table = Table::new();
    for (name, value) in settings {
        match name.split_once('.') {
            Some((of, own)) => {
                let inner = table.entry(of).or_insert_with(|| Value::Table(Table::new()));
                inner.as_table_mut().map(|inner| inner.insert(own.to_owned(), value));
            }
            None => drop(table.insert(name, value)),
        }
    }
    table
}

fn merge(settings: &mut Table, defaults: &Table, path: &Path) -> Result<(), ConfigError> {
    let text = read_bounded(path).map_err(|problem| ConfigError::Unreadable { path: path.to_owned(), problem })?;
    let given: Table = text.parse().map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        ConfigError::NotToml {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            problem: error.message().to_owned(),
        }
    })?;
    let from = path.display().to_string();
    for (name, value) in flat(given) {
        let Some(default) = defaults.get(&name) else { return Err(ConfigError::Unknown { from, name }) };
        if !default.same_type(&value) {
            return Err(ConfigError::WrongKind { from, expected: kind(&name, default), name });
        }
        settings.insert(name, value);
    }
    Ok(())
}

fn kind(name: &str, default: &Value) -> String {
    let range = RANGES.iter().chain(&limits::RANGES).find(|(of, ..)| *of == name);
    match (default, range) {
        (Value::Integer(_), Some((_, least, most))) => format!("a number from {least} to {most}"),
        (Value::Integer(_), None) => "a number".to_owned(),
        (Value::Boolean(_), _) => "true or false".to_owned(),
        _ => "text".to_owned(),
    }
}

fn converted(variable: &str, name: &str, default: &Value, text: String) -> Result<Value, ConfigError> {
    let wrong = || ConfigError::WrongKind {
        from: "the environment".to_owned(),
        name: variable.to_owned(),
        expected: kind(name, default),
    };
    match default {
        Value::Integer(_) => text.trim().parse().map(Value::Integer).map_err(|_| wrong()),
        Value::Boolean(_) => text.trim().parse().map(Value::Boolean).map_err(|_| wrong()),
        _ => Ok(Value::String(text)),
    }
}

fn from_environment(environment: &BTreeMap<String, String>, variable: &str) -> Result<Option<String>, ConfigError> {
    let file = format!("{variable}_FILE");
    match (environment.get(variable), environment.get(&file)) {
        (Some(_), Some(_)) => Err(ConfigError::Twice(variable.to_owned(), file)),
        (Some(text), None) => Ok(Some(text.clone())),
        (None, None) => Ok(None),
        (None, Some(path)) => {
            let path = PathBuf::from(path);
            match read_bounded(&path) {
                Ok(text) => Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned())),
                Err(problem) => Err(ConfigError::NoValue { variable: file, path, problem }),
            }
        }
    }
}

/// Not all of what a file may be has an end.
fn read_bounded(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Err(io::Error::other(format!("it is longer than the {LONGEST} bytes that are taken")));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8"))
}

fn replace_port(settings: &mut Table, port: &str) -> Result<(), ConfigError> {
    let port: u16 = port.trim().parse().map_err(|_| ConfigError::BadPort)?;
    let listen = settings.get("listen").and_then(Value::as_str).unwrap_or_default();
    let host = listen.rsplit_once(':').map_or(listen, |(host, _)| host).to_owned();
    settings.insert("listen".to_owned(), Value::String(format!("{host}:{port}")));
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_default_file_names_every_setting() {
        let config = Config::load(None, &BTreeMap::new()).unwrap();
        assert_eq!(config.database_url(), "sqlite:./bulkhead-data/bulkhead.db");
        assert_eq!(config.log_format, LogFormat::Text);
    }

    #[test]
    fn the_environment_wins_over_the_file_and_a_file_may_hold_a_value() {
        let folder = tempfile::tempdir().unwrap();
        let (file, secret) = (folder.path().join("b.toml"), folder.path().join("url"));
        std::fs::write(&file, "workers = 3\nlisten = \"0.0.0.0:1\"\n[limits]\nrequests = 7\nheaders = 8\n").unwrap();
        std::fs::write(&secret, "postgres://u:p@h/d\n").unwrap();
        let set = environment(&[
            ("BULKHEAD_WORKERS", "5"),
            ("BULKHEAD_LIMITS_HEADERS", "9"),
            ("PORT", "9"),
            ("DATABASE_URL_FILE", secret.to_str().unwrap()),
        ]);
        let config = Config::load(Some(&file), &set).unwrap();
        let run = config.limits.host().run;
        assert_eq!((run.requests, run.headers, run.header_bytes), (7, 9, 64 << 10));
        assert_eq!((config.workers, config.listen.as_str()), (5, "0.0.0.0:9"));
        assert_eq!(config.database_url(), "postgres://u:p@h/d");
    }

    #[test]
    fn what_is_wrong_is_named_and_its_value_is_not() {
        let refused = |set: &[(&str, &str)]| Config::load(None, &environment(set)).err().unwrap().to_string();
        let text = refused(&[("BULKHEAD_WORKERS", "s3cret")]);
        assert!(text.contains("BULKHEAD_WORKERS") && !text.contains("s3cret"), "{text}");
        let text = refused(&[("DATABASE_URL", "a"), ("DATABASE_URL_FILE", "b")]);
        assert!(text.contains("DATABASE_URL_FILE"), "{text}");
        let text = refused(&[("BULKHEAD_WORKERS", "0")]);
        assert_eq!(text, "workers has to be a number from 1 to 999");
        let text = refused(&[("BULKHEAD_WORKERS", "-4")]);
        assert_eq!(text, "workers has to be a number from 1 to 999");
        let text = refused(&[("DATABASE_URL", "s3cret"), ("BULKHEAD_DATABASE_URL", "s3cret")]);
        assert_eq!(text, "both DATABASE_URL and BULKHEAD_DATABASE_URL are set: keep one");
        assert!(
            refused(&[("BULKHEAD_WORKERS", "many")]).ends_with("BULKHEAD_WORKERS has to be a number from 1 to 999")
        );
        assert_eq!(refused(&[("BULKHEAD_DATA_DIR", "")]), "data_dir is empty: name a folder");
        assert!(
            refused(&[("BULKHEAD_SANDBOX_SLOTS", "32")]).starts_with("sandbox_slots has to be larger than workers")
        );
        let text = refused(&[("BULKHEAD_LIMITS_REQUESTS", "0")]);
        assert_eq!(text, "limits.requests has to be a number from 1 to 10000");
        let text = refused(&[("BULKHEAD_LIMITS_ANSWER_MIB", "s3cret")]);
        assert!(text.ends_with("BULKHEAD_LIMITS_ANSWER_MIB has to be a number from 1 to 16"), "{text}");
        let text = refused(&[("BULKHEAD_LOG_FORMAT", "s3cret")]);
        assert_eq!(text, "log_format has to be `text` or `json`");
    }

    #[test]
    fn an_unknown_setting_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("b.toml");
        std::fs::write(&file, "wrokers = 3\n").unwrap();
        let text = Config::load(Some(&file), &BTreeMap::new()).err().unwrap().to_string();
        assert!(text.contains("wrokers"), "{text}");
        std::fs::write(&file, "[limits]\nreqests = 3\n").unwrap();
        let text = Config::load(Some(&file), &BTreeMap::new()).err().unwrap().to_string();
        assert!(text.contains("limits.reqests"), "{text}");
        std::fs::write(&file, "limits = 3\n").unwrap();
        let text = Config::load(Some(&file), &BTreeMap::new()).err().unwrap().to_string();
        assert!(text.contains("there is no setting \"limits\""), "{text}");
        std::fs::write(&file, "listen = 5\n").unwrap();
        let text = Config::load(Some(&file), &BTreeMap::new()).err().unwrap().to_string();
        assert!(text.ends_with("listen has to be text"), "{text}");
    }

    /// Mutation: `merge`, `error.to_string()`: that one quotes the line.
    #[test]
    fn a_file_that_is_no_toml_does_not_have_its_line_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("b.toml");
        std::fs::write(&file, "workers = 3\ndatabase_url = postgres://u:s3cret@h/d\n").unwrap();
        let text = Config::load(Some(&file), &BTreeMap::new()).err().unwrap().to_string();
        assert!(text.contains("b.toml: line 2: ") && !text.contains("s3cret"), "{text}");
    }

    /// Mutations: `read_bounded`, take `LONGEST` and be content; take all there is: /dev/zero has no end; put something in
    /// place of what is no UTF-8.
    #[test]
    fn a_value_in_a_file_of_its_own_is_all_there_and_of_bounded_length() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("url");
        let load = |path: &Path| {
            let set = environment(&[("DATABASE_URL_FILE", path.to_str().unwrap())]);
            Config::load(None, &set).map(|config| config.database_url).map_err(|error| error.to_string())
        };
        let longest = "x".repeat(usize::try_from(LONGEST).unwrap());
        std::fs::write(&file, &longest).unwrap();
        assert_eq!(load(&file), Ok(longest.clone()));
        std::fs::write(&file, longest + "x").unwrap();
        for path in [&file, Path::new("/dev/zero")] {
            let too_long =
                format!("{} cannot be read: it is longer than the 65536 bytes that are taken", path.display());
            assert_eq!(load(path), Err(format!("DATABASE_URL_FILE: the file {too_long}")));
            let settings = Config::load(Some(path), &BTreeMap::new()).err().map(|error| error.to_string());
            assert_eq!(settings, Some(too_long));
        }
        std::fs::write(&file, b"s3cret\xff").unwrap();
        let said = load(&file).unwrap_err();
        assert!(said.ends_with("it is not UTF-8") && !said.contains("s3cret"), "{said}");
        let missing = load(&folder.path().join("none")).unwrap_err();
        assert!(missing.starts_with("DATABASE_URL_FILE: the file ") && missing.contains("cannot be read"), "{missing}");
    }
}
