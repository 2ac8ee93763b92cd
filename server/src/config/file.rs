//! One configuration file: its text, the values in it, and the lines where they stand.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use proffer_model::{Problem, code};
use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::keys::keys_of;
use crate::limits::CONFIG_FILE_LEN_MAX;

/// One thing that is wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its line, from 1; `None` when it is about the file as a whole.
    pub line: Option<usize>,
    /// The path of the key, such as `checks[2].timeout`; empty when it is about none.
    pub key: String,
    /// What is wrong: one sentence, with the remedy where there is one.
    pub message: String,
}

/// Everything that is wrong in one file; at least one fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// Its faults, in the order of their lines.
    pub faults: Vec<Fault>,
}

impl fmt::Display for ConfigError {
    /// `FILE:LINE: key: message`, one line a fault.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.faults.iter().enumerate() {
            let newline = if i == 0 { "" } else { "\n" };
            write!(f, "{newline}{}", self.file.display())?;
            if let Some(line) = fault.line {
                write!(f, ":{line}")?;
            }
            if !fault.key.is_empty() {
                write!(f, ": {}", fault.key)?;
            }
            write!(f, ": {}", fault.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl From<ConfigError> for Problem {
    fn from(error: ConfigError) -> Self {
        let key = error
            .faults
            .first()
            .map(|fault| fault.key.clone())
            .unwrap_or_default();
        Self::new(code::CONFIG_INVALID, error.to_string()).field(key)
    }
}

/// A configuration file that has been read, but whose values have not been looked at.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    path: PathBuf,
    text: String,
}

impl ConfigFile {
    /// Reads `explicit`, which must exist, or `/etc/proffer/ROLE.toml`, which may not: then `None`.
    pub fn open(role: &str, explicit: Option<&Path>) -> Result<Option<Self>, ConfigError> {
        let default = PathBuf::from(format!("/etc/proffer/{role}.toml"));
        let path = explicit.map_or(default, Path::to_owned);
        match read_bounded(&path) {
            Ok(text) => Ok(Some(Self { path, text })),
            Err(error) if error.kind() == io::ErrorKind::NotFound && explicit.is_none() => Ok(None),
            Err(error) => {
                let message = format!("the file cannot be read: {error}");
                Err(ConfigError {
                    file: path,
                    faults: vec![Fault {
                        line: None,
                        key: String::new(),
                        message,
                    }],
                })
            }
        }
    }

    /// A file that was read elsewhere.
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            text: text.into(),
        }
    }

    /// Its values. An error tells all unknown keys, or what does not parse, or the first value of a wrong type.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        let table =
            DeTable::parse(&self.text).map_err(|error| self.error(vec![self.fault("", &error)]))?;
        let unknown = self.unknown_keys::<T>(table.get_ref());
        if !unknown.is_empty() {
            return Err(self.error(unknown));
        }
        let values = Deserializer::from(table);
        serde_path_to_error::deserialize(values).map_err(|error| {
            let key = error.path().to_string();
            let key = if key == "." { "" } else { key.as_str() };
            self.error(vec![self.fault(key, error.inner())])
        })
    }

    /// `problem` with the place of its field in this file: `FILE:LINE: field: message (hint)`; `None` if the file does not
    /// set it, so that the value came from a flag, the environment or a default.
    pub fn locate(&self, problem: &Problem) -> Option<ConfigError> {
        let table = DeTable::parse(&self.text).ok()?;
        let key = problem.field.split(['.', '[']).next()?;
        let (name, _) = table
            .get_ref()
            .iter()
            .find(|(name, _)| name.get_ref().as_ref() == key)?;
        let hint = if problem.hint.is_empty() {
            String::new()
        } else {
            format!(" ({})", problem.hint)
        };
        Some(self.error(vec![Fault {
            line: Some(self.line(&name.span())),
            key: problem.field.clone(),
            message: format!("{}{hint}", problem.message),
        }]))
    }

    fn unknown_keys<T: DeserializeOwned>(&self, table: &DeTable<'_>) -> Vec<Fault> {
        let Some(known) = keys_of::<T>() else {
            return Vec::new();
        };
        let mut faults: Vec<Fault> = table
            .iter()
            .filter(|(name, _)| !known.contains(&name.get_ref().as_ref()))
            .map(|(name, value)| {
                let what = if matches!(value.get_ref(), DeValue::Table(_)) {
                    "table"
                } else {
                    "key"
                };
                Fault {
                    line: Some(self.line(&name.span())),
                    key: name.get_ref().to_string(),
                    message: format!("there is no such {what}{}", advice(name.get_ref(), known)),
                }
            })
            .collect();
        faults.sort_by_key(|fault| fault.line);
        faults
    }

    fn fault(&self, key: &str, error: &toml::de::Error) -> Fault {
        Fault {
            line: error.span().map(|span| self.line(&span)),
            key: key.to_owned(),
            message: error.message().trim().replace('\n', ", "),
        }
    }

    fn error(&self, faults: Vec<Fault>) -> ConfigError {
        ConfigError {
            file: self.path.clone(),
            faults,
        }
    }

    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.bytes().take(span.start);
        1 + before.filter(|byte| *byte == b'\n').count()
    }
}

fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(CONFIG_FILE_LEN_MAX + 1)
        .read_to_string(&mut text)?;
    if u64::try_from(text.len()).is_ok_and(|len| len > CONFIG_FILE_LEN_MAX) {
        let message = format!("it is larger than {CONFIG_FILE_LEN_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(text)
}

/// What the writer may have meant: the key that differs only in form or in few letters, else all of them.
fn advice(name: &str, known: &[&str]) -> String {
    let plain = name.replace('-', "_").to_ascii_lowercase();
    match known.iter().map(|key| (distance(&plain, key), *key)).min() {
        Some((distance, key)) if distance <= 2 => format!("; did you mean {key}?"),
        _ => format!("; keys are {}", known.join(", ")),
    }
}

/// How many letters must be added, removed or replaced to make one of the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((y, above_left), above) in b.iter().zip(&row).zip(row.iter().skip(1)) {
            let left = next.last().copied().unwrap_or(0);
            next.push(
                (above_left + usize::from(x != *y))
                    .min(above + 1)
                    .min(left + 1),
            );
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use serde::Deserialize;

    use super::*;
    use crate::config::{AttributesText, DurationText, ResourcesText, load, read_file};

    #[derive(Debug, Default, Deserialize, PartialEq)]
    struct Options {
        listen: Option<SocketAddr>,
        ping_timeout: Option<DurationText>,
        resources: Option<ResourcesText>,
        attributes: Option<AttributesText>,
        masters: Option<Vec<String>>,
        checks: Option<Vec<Checks>>,
        count: Option<u16>,
    }
    crate::layered!(Options {
        listen,
        ping_timeout,
        resources,
        attributes,
        masters,
        checks,
        count
    });

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Checks {
        port: u16,
    }

    fn error(text: &str) -> String {
        ConfigFile::new("/f.toml", text)
            .parse::<Options>()
            .expect_err(text)
            .to_string()
    }

    #[test]
    fn every_fault_is_told_by_file_line_and_key() {
        let table = [
            ("\nlisten = 5\n", "/f.toml:2: listen: invalid type"),
            (
                "listen = 'here'",
                "/f.toml:1: listen: invalid socket address",
            ),
            ("# x\n# y\ncount = 70000", "/f.toml:3: count: invalid value"),
            ("count = -1", "/f.toml:1: count: invalid value"),
            (
                "ping_timeout = \"5\"",
                "/f.toml:1: ping_timeout: \"5\" is not a duration (write a whole number",
            ),
            ("ping_timeout = 5", "/f.toml:1: ping_timeout: invalid type"),
            ("count = 1\nresources = 'cpus:-1'", "/f.toml:2: resources: "),
            (
                "attributes = 'rack'",
                "/f.toml:1: attributes: \"rack\" has no ':'",
            ),
            (
                "masters = ['a',\n 7]",
                "/f.toml:2: masters[1]: invalid type",
            ),
            (
                "[[checks]]\nport = 1\n[[checks]]\nport = 'x'",
                "/f.toml:4: checks[1].port: invalid type",
            ),
            (
                "[[checks]]\nport = 1\nprot = 2",
                "/f.toml:3: checks[0].prot: unknown field `prot`",
            ),
            ("[[checks]]\n", "/f.toml:1: checks[0]: missing field `port`"),
            (
                "\nlistn = ''",
                "/f.toml:2: listn: there is no such key; did you mean listen?",
            ),
            (
                "ping-timeout = ''",
                "/f.toml:1: ping-timeout: there is no such key; did you mean ping_timeout?",
            ),
            (
                "[master]\nlisten = ''",
                "/f.toml:1: master: there is no such table",
            ),
            (
                "zzzzzzzz = 1",
                "keys are listen, ping_timeout, resources, attributes, masters, checks, count",
            ),
            ("count = 1\ncount = 2", "/f.toml:2: "),
            ("count = \n", "/f.toml:1: "),
            ("a\n= 1", "/f.toml:1: "),
            ("count = 1\n\"", "/f.toml:2: "),
        ];
        for (text, expected) in table {
            let error = error(text);
            assert!(error.contains(expected), "{text:?}: {error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }

    #[test]
    fn all_unknown_keys_are_told_at_once() {
        let error = error("zz = 1\ncount = 1\nyy = 2");
        let lines: Vec<&str> = error.lines().collect();
        assert_eq!(lines.len(), 2, "{error}");
        assert!(lines[0].starts_with("/f.toml:1: zz: ") && lines[1].starts_with("/f.toml:3: yy: "));
    }

    #[test]
    fn flags_lie_over_the_file_and_the_default_file_may_be_absent() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("agent.toml");
        std::fs::write(
            &path,
            "count = 1\nping_timeout = '5s'\nresources = 'cpus:4'",
        )
        .expect("written");
        let flags = Options {
            count: Some(2),
            ..Options::default()
        };
        let options: Options = load("agent", Some(&path), flags).expect("good");
        assert_eq!(options.count, Some(2));
        assert_eq!(options.ping_timeout.map(|d| d.0.as_secs()), Some(5));
        assert_eq!(options.resources.map(|r| r.0.scalar("cpus")), Some(4_000));

        let absent: Options = read_file("no-such-role", None).expect("the defaults");
        assert_eq!(absent, Options::default());
        let missing = directory.path().join("missing.toml");
        let error = read_file::<Options>("agent", Some(&missing)).expect_err("must exist");
        assert!(
            error
                .to_string()
                .starts_with(&format!("{}: the file cannot be read", missing.display()))
        );
        std::fs::write(&path, [b'#', 0xff]).expect("written");
        read_file::<Options>("agent", Some(&path)).expect_err("not UTF-8");
        std::fs::write(&path, "#".repeat(1024 * 1024 + 1)).expect("written");
        let error = read_file::<Options>("agent", Some(&path)).expect_err("too large");
        assert!(error.to_string().contains("larger than"), "{error}");
    }

    #[test]
    fn what_validation_refuses_is_found_in_the_file() {
        let file = ConfigFile::new("/f.toml", "count = 1\n[[checks]]\nport = 1\n");
        let problem =
            Problem::new(code::FIELD_INVALID, "the port is too small").hint("take another");
        let located = file
            .locate(&problem.clone().field("checks[0].port"))
            .expect("set there");
        assert_eq!(
            located.to_string(),
            "/f.toml:2: checks[0].port: the port is too small (take another)"
        );
        assert_eq!(file.locate(&problem.clone().field("listen")), None);
        assert_eq!(file.locate(&problem), None);
        let problem = Problem::from(located);
        assert!(problem.is(code::CONFIG_INVALID));
        assert_eq!(problem.field, "checks[0].port");
    }
}
