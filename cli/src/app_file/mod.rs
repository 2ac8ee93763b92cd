//! Reads app files: JSON, TOML or YAML of the same schema, one app or several.
//!
//! Marathon's REST API ignores fields that it does not know; a file that people write must not, or a slip of the pen
//! (`memory = 512`) is found out weeks later. So the names and types of fields are checked here, with file, line and
//! path; what values they may have is the services' matter alone. What is sent is what was written, but for one field that is
//! short for another: `image` for `container.docker.image`.

mod schema;
mod yaml;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use proffer_model::{Problem, code};
use serde::Deserialize;
use serde_json::Value;

use crate::limits::{APP_FILE_LEN_MAX, APPS_PER_APPLY_MAX};
use schema::{App, AppList};

/// What to do about a file that is neither.
const LANGUAGE_HINT: &str = "an app file is JSON, TOML or YAML; config/examples has some of each";

/// An app as written in a file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AppDefinition {
    /// Its id, beginning with `/`.
    pub(crate) id: String,
    /// What the services are sent: an object.
    pub(crate) body: Value,
}

/// Reads every file, `-` being standard input, and refuses an app that stands in them twice.
pub(crate) fn read_all(paths: &[PathBuf]) -> Result<Vec<AppDefinition>, Problem> {
    let mut apps = Vec::new();
    for path in paths {
        let (name, text) = read_text(path)?;
        apps.extend(parse(&name, path, &text)?);
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = apps.iter().find(|app| !seen.insert(&app.id)) {
        let message = format!("the app {} is given twice", twice.id);
        return Err(Problem::new(code::APP_INVALID, message)
            .field("id")
            .hint("give each app its own id"));
    }
    if apps.len() > APPS_PER_APPLY_MAX {
        let message = format!(
            "{} apps at once; the limit is {APPS_PER_APPLY_MAX}",
            apps.len()
        );
        return Err(Problem::new(code::FIELD_TOO_LONG, message));
    }
    Ok(apps)
}

/// The id as the services write it: absolute.
pub(crate) fn absolute_id(id: &str) -> String {
    format!("/{}", id.trim_start_matches('/'))
}

fn read_text(path: &Path) -> Result<(String, String), Problem> {
    let is_stdin = path == Path::new("-");
    let name = match is_stdin {
        true => "standard input".to_owned(),
        false => path.display().to_string(),
    };
    let failed = |error: io::Error| {
        let code = match error.kind() {
            io::ErrorKind::InvalidData => code::BODY_MALFORMED,
            _ => code::CONFIG_INVALID,
        };
        Problem::new(code, format!("{name} cannot be read: {error}"))
            .hint("give a file in JSON, TOML or YAML, or - for standard input")
    };
    let mut text = String::new();
    let limit = APP_FILE_LEN_MAX + 1;
    if is_stdin {
        io::stdin().lock().take(limit).read_to_string(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(limit).read_to_string(&mut text))
    }
    .map_err(failed)?;
    if u64::try_from(text.len()).is_ok_and(|len| len <= APP_FILE_LEN_MAX) {
        return Ok((name, text));
    }
    let message = format!("{name} has more than {APP_FILE_LEN_MAX} bytes");
    Err(Problem::new(code::FIELD_TOO_LONG, message))
}

pub(crate) fn parse(name: &str, path: &Path, text: &str) -> Result<Vec<AppDefinition>, Problem> {
    let documents = match language_of(path, text) {
        Language::Json => vec![parse_json(name, text)?],
        Language::Toml => vec![parse_toml(name, text)?],
        Language::Yaml => yaml::parse(name, text)?,
    };
    let bodies: Vec<Value> = documents.into_iter().flat_map(apps_in).collect();
    if bodies.is_empty() {
        let message = format!("{name} holds no app");
        return Err(Problem::new(code::FIELD_MISSING, message)
            .field("id")
            .hint(LANGUAGE_HINT));
    }
    let bodies = bodies.into_iter();
    bodies.map(|body| definition_of(name, body)).collect()
}

/// The apps of a document.
fn apps_in(document: Value) -> Vec<Value> {
    match document {
        Value::Array(bodies) => bodies,
        Value::Object(mut object) if object.contains_key("apps") => match object.remove("apps") {
            Some(Value::Array(bodies)) => bodies,
            _ => Vec::new(),
        },
        single => vec![single],
    }
}

fn definition_of(name: &str, mut body: Value) -> Result<AppDefinition, Problem> {
    // The schema has made sure that there is an id.
    let id = body.get("id").and_then(Value::as_str).unwrap_or_default();
    let id = absolute_id(id);
    if let Some(object) = body.as_object_mut() {
        object.insert("id".to_owned(), Value::String(id.clone()));
        if let Some(image) = object.remove("image").filter(|image| !image.is_null()) {
            let container = container_of(&image);
            let both = object.insert("container".to_owned(), container);
            if both.is_some_and(|container| !container.is_null()) {
                let message = format!("{name}: both image and container are given for {id}");
                return Err(Problem::new(code::FIELD_INVALID, message)
                    .field("image")
                    .hint("give one of them; image is short for container.docker.image"));
            }
        }
    }
    Ok(AppDefinition { id, body })
}

/// What `image` is short for.
pub(crate) fn container_of(image: &Value) -> Value {
    serde_json::json!({ "type": "MESOS", "docker": { "image": image } })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    Json,
    Toml,
    Yaml,
}

/// By the file's name; where that says nothing, by how it begins, which no app can have in two languages.
fn language_of(path: &Path, text: &str) -> Language {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("json") => return Language::Json,
        Some("toml") => return Language::Toml,
        Some("yaml" | "yml") => return Language::Yaml,
        _ => {}
    }
    let mut chars = text.chars().filter(|c| !c.is_whitespace());
    match (chars.next(), chars.next()) {
        (Some('{'), _) | (Some('['), Some('{' | ']')) => return Language::Json,
        _ => {}
    }
    let mut lines = text.lines().map(str::trim);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
    if first.is_some_and(is_yaml) {
        Language::Yaml
    } else {
        Language::Toml
    }
}

/// Whether a line that begins a file is YAML's: a mark, a list, or a name with a colon, where TOML has an equals sign.
fn is_yaml(line: &str) -> bool {
    if line.starts_with("---") || line.starts_with("- ") || line.starts_with('%') {
        return true;
    }
    let colon = line
        .find(": ")
        .or_else(|| line.strip_suffix(':').map(str::len));
    match (colon, line.find('=')) {
        (Some(colon), Some(equals)) => colon < equals,
        (Some(_), None) => true,
        (None, _) => false,
    }
}

fn parse_json(name: &str, text: &str) -> Result<Value, Problem> {
    let malformed = |error: &serde_json::Error| {
        let message = format!("{name}:{}: {}", error.line(), without_place(error));
        Problem::new(code::BODY_MALFORMED, message).hint(LANGUAGE_HINT)
    };
    let document: Value = serde_json::from_str(text).map_err(|error| malformed(&error))?;
    let mut input = serde_json::Deserializer::from_str(text);
    let checked = match shape_of(&document) {
        Shape::Single => check::<_, App>(&mut input),
        Shape::Array => check::<_, Vec<App>>(&mut input),
        Shape::Named => check::<_, AppList>(&mut input),
    };
    checked.map_err(|(path, error)| {
        schema_problem(name, Some(error.line()), &path, &without_place(&error))
    })?;
    Ok(document)
}

fn parse_toml(name: &str, text: &str) -> Result<Value, Problem> {
    let line = |error: &toml::de::Error| error.span().map(|span| line_at(text, span.start));
    let document: Value = toml::from_str(text).map_err(|error| {
        let place = line(&error)
            .map(|line| format!(":{line}"))
            .unwrap_or_default();
        let message = format!("{name}{place}: {}", error.message());
        Problem::new(code::BODY_MALFORMED, message).hint(LANGUAGE_HINT)
    })?;
    let input = toml::Deserializer::parse(text).map_err(|error| {
        Problem::new(code::BODY_MALFORMED, format!("{name}: {}", error.message()))
    })?;
    let checked = match shape_of(&document) {
        Shape::Single | Shape::Array => check::<_, App>(input),
        Shape::Named => check::<_, AppList>(input),
    };
    checked.map_err(|(path, error)| schema_problem(name, line(&error), &path, error.message()))?;
    Ok(document)
}

enum Shape {
    Single,
    Array,
    Named,
}

fn shape_of(document: &Value) -> Shape {
    match document {
        Value::Array(_) => Shape::Array,
        Value::Object(object) if object.contains_key("apps") => Shape::Named,
        _ => Shape::Single,
    }
}

/// Reads a `T` for its errors alone.
fn check<'de, D, T>(input: D) -> Result<(), (String, D::Error)>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    match serde_path_to_error::deserialize::<D, T>(input) {
        Ok(_) => Ok(()),
        Err(error) => {
            let path = error.path().to_string();
            let path = if path == "." { String::new() } else { path };
            Err((path, error.into_inner()))
        }
    }
}

fn schema_problem(name: &str, line: Option<usize>, path: &str, message: &str) -> Problem {
    let place = line.map(|line| format!(":{line}")).unwrap_or_default();
    let missing = message
        .strip_prefix("missing field `")
        .and_then(|rest| rest.strip_suffix('`'));
    let code = match missing {
        Some(_) => code::FIELD_MISSING,
        None if message.starts_with("unknown field") => code::FIELD_UNKNOWN,
        None => code::FIELD_INVALID,
    };
    let (message, fields) = match message.split_once(", expected one of ") {
        Some((message, fields)) if code == code::FIELD_UNKNOWN => (message, fields),
        _ => (message, ""),
    };
    let field = match (missing, path) {
        (Some(missing), "") => missing.to_owned(),
        (Some(missing), path) => format!("{path}.{missing}"),
        (None, path) => path.to_owned(),
    };
    let hint = match fields {
        "" => "the fields of an app are shown in config/examples".to_owned(),
        fields => hint_for(field.rsplit('.').next().unwrap_or_default(), fields),
    };
    Problem::new(code, format!("{name}{place}: {}", in_plain_words(message)))
        .field(field)
        .hint(hint)
}

/// What may stand instead of an unknown field: the nearest name, or all.
fn hint_for(unknown: &str, fields: &str) -> String {
    let known = fields.split(", ").map(|name| name.trim_matches('`'));
    let near = known
        .clone()
        .map(|name| {
            (
                distance(&unknown.to_lowercase(), &name.to_lowercase()),
                name,
            )
        })
        .min()
        .filter(|(distance, name)| *distance <= 2 || unknown.to_lowercase().starts_with(name));
    match near {
        Some((_, name)) => format!("did you mean {name}?"),
        None => format!(
            "the fields here are {}",
            known.collect::<Vec<_>>().join(", ")
        ),
    }
}

/// How many characters must be put in, taken out or replaced to get from one to the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((b, pair), left) in to.iter().zip(row.windows(2)).zip(0..) {
            let &[diagonal, above] = pair else { continue };
            let before = next.get(left).copied().unwrap_or(above);
            next.push(
                (diagonal + usize::from(a != *b))
                    .min(above + 1)
                    .min(before + 1),
            );
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

/// Rust's names of types say nothing to those who write files.
fn in_plain_words(message: &str) -> String {
    [
        ("expected struct AppList", "expected apps"),
        ("expected struct App", "expected an app, as an object"),
        ("expected struct PortDefinition", "expected an object"),
        ("expected struct HealthCheck", "expected an object"),
        ("expected struct UpgradeStrategy", "expected an object"),
        ("expected struct CheckCommand", "expected an object"),
        ("expected struct Container", "expected an object"),
        ("expected struct Docker", "expected an object"),
        ("expected struct Network", "expected an object"),
        ("expected mapping start", "expected an object"),
        ("expected sequence start", "expected a list"),
        ("expected a sequence", "expected a list"),
        ("expected a map", "expected an object"),
        ("invalid type: sequence", "invalid type: list"),
        ("invalid type: map", "invalid type: object"),
        ("invalid type: unit value", "invalid type: null"),
    ]
    .iter()
    .fold(message.to_owned(), |text, (from, to)| {
        text.replace(from, to)
    })
}

/// serde_json writes the place into its message; ours stands in front.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((message, _)) => message.to_owned(),
        None => text,
    }
}

/// The number, from 1, of the line that holds this byte.
fn line_at(text: &str, offset: usize) -> usize {
    text.bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
        + 1
}

#[cfg(test)]
mod tests;
