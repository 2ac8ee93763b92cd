//! Values that are written as text, with one parser for flags and TOML: durations, resources, attributes, anything with
//! a `FromStr` of the model.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use proffer_model::time::{format_duration, parse_duration};
use proffer_model::{Attributes, Problem, Resources};
use serde::de::{self, Deserialize, Deserializer};

use crate::resources_json::read_resources;

/// A value of the model that is written as text, such as `Text<Attributes>`. For clap as it stands, since it has `FromStr`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text<T>(pub T);

/// Attributes as in `rack:a;zone:eu-1`.
pub type AttributesText = Text<Attributes>;

impl<T: FromStr<Err = Problem>> FromStr for Text<T> {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        text.parse().map(Self)
    }
}

impl<T: fmt::Display> fmt::Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de, T: FromStr<Err = Problem>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer)
    }
}

/// Resources as in `cpus:4;mem:8192;ports:[31000-32000]`, or JSON when it begins with `[`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourcesText(pub Resources);

impl FromStr for ResourcesText {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let is_json = text.trim_start().starts_with('[');
        let read = if is_json { read_resources } else { str::parse };
        read(text).map(Self)
    }
}

impl fmt::Display for ResourcesText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for ResourcesText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer)
    }
}

/// A duration as in `250ms`, `5s`, `10m`, `2h`, `1d`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct DurationText(pub Duration);

impl FromStr for DurationText {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        parse_duration(text).map(Self)
    }
}

impl fmt::Display for DurationText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_duration(self.0))
    }
}

impl<'de> Deserialize<'de> for DurationText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer)
    }
}

/// Field, message and hint of a problem as the text of an error; the code is the reader's (`config.invalid`).
fn deserialize_text<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: FromStr<Err = Problem>,
    D: Deserializer<'de>,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|problem: Problem| {
        let field = if problem.field.is_empty() {
            String::new()
        } else {
            format!("{}: ", problem.field)
        };
        let hint = if problem.hint.is_empty() {
            String::new()
        } else {
            format!(" ({})", problem.hint)
        };
        de::Error::custom(format_args!("{field}{}{hint}", problem.message))
    })
}
