//! Logs: one line an event on standard error, as text or JSON.
//!
//! Two guards against forged lines: untrusted text is passed as a field through [`Untrusted`], and the text format's
//! writer escapes every control and direction-changing character of the finished line, whatever path it took. (The
//! formatter itself escapes ANSI sequences only; a newline in a field would pass.)

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::str::FromStr;
use std::sync::Arc;

use proffer_model::{Problem, code};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::limits::UNTRUSTED_LEN_MAX;

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

impl FromStr for Format {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(
                Problem::new(code::FIELD_INVALID, format!("{text:?} is not a log format"))
                    .hint("write text or json"),
            ),
        }
    }
}

/// Checks a level as [`init`] takes it: `info`, or directives such as `info,proffer_master=debug`.
pub fn check_level(level: &str) -> Result<(), Problem> {
    filter(level).map(|_| ())
}

/// Starts logging for this process. `level` is an option's; without it `$PROFFER_LOG`, without that `info`. A second
/// call in one process is an error (`server.internal`).
pub fn init(format: Format, level: Option<&str>) -> Result<(), Problem> {
    let variable = std::env::var("PROFFER_LOG").ok();
    let level = level
        .or(variable.as_deref())
        .filter(|text| !text.trim().is_empty());
    let filter = filter(level.unwrap_or("info"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false);
    let started = match format {
        Format::Text => builder.with_writer(EscapedStderr).try_init(),
        Format::Json => builder
            .json()
            .flatten_event(true)
            .with_writer(io::stderr)
            .try_init(),
    };
    started.map_err(|error| Problem::new(code::INTERNAL, format!("logging cannot start: {error}")))
}

/// Starts logging for a program that people watch, such as `proffer dev`: warnings go to standard error, everything that
/// the level lets through to `file`. Level and errors as for [`init`].
pub fn init_beside(file: File, level: Option<&str>) -> Result<(), Problem> {
    let variable = std::env::var("PROFFER_LOG").ok();
    let level = level
        .or(variable.as_deref())
        .filter(|text| !text.trim().is_empty());
    let all = fmt_layer(EscapedFile(Arc::new(file))).with_filter(filter(level.unwrap_or("info"))?);
    let loud = fmt_layer(EscapedStderr).with_filter(LevelFilter::WARN);
    let started = tracing_subscriber::registry()
        .with(all)
        .with(loud)
        .try_init();
    started.map_err(|error| Problem::new(code::INTERNAL, format!("logging cannot start: {error}")))
}

fn fmt_layer<S, W>(writer: W) -> impl Layer<S>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(writer)
}

fn filter(level: &str) -> Result<EnvFilter, Problem> {
    EnvFilter::builder().parse(level).map_err(|_| {
        Problem::new(code::CONFIG_INVALID, format!("{level:?} is not a log level"))
            .field("log_level")
            .hint("write error, warn, info, debug, trace, or directives such as info,proffer_master=debug")
    })
}

/// Text that someone else wrote, as a field: escaped, at most [`UNTRUSTED_LEN_MAX`] bytes of it.
#[derive(Clone, Copy)]
pub struct Untrusted<'a>(pub &'a str);

impl fmt::Display for Untrusted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self
            .0
            .get(..self.0.floor_char_boundary(UNTRUSTED_LEN_MAX))
            .unwrap_or_default();
        write_escaped(f, shown)?;
        if shown.len() < self.0.len() {
            f.write_str("…")
        } else {
            Ok(())
        }
    }
}

impl fmt::Debug for Untrusted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether a terminal or a reader could be misled by it: controls, line separators, and changes of direction.
fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn write_escaped(out: &mut impl fmt::Write, text: &str) -> fmt::Result {
    for c in text.chars() {
        if is_deceptive(c) {
            write!(out, "{}", c.escape_default())?;
        } else {
            out.write_char(c)?;
        }
    }
    Ok(())
}

/// Standard error, one escaped line a write.
#[derive(Clone, Copy, Debug)]
struct EscapedStderr;

impl<'a> MakeWriter<'a> for EscapedStderr {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}

impl Write for EscapedStderr {
    /// The formatter hands over a whole line at once, its newline included.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stderr()
            .lock()
            .write_all(escape_line(bytes).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// A file, one escaped line a write.
#[derive(Clone, Debug)]
struct EscapedFile(Arc<File>);

impl<'a> MakeWriter<'a> for EscapedFile {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for EscapedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.0).write_all(escape_line(bytes).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self.0).flush()
    }
}

fn escape_line(bytes: &[u8]) -> String {
    let line = String::from_utf8_lossy(bytes);
    let line = line.strip_suffix('\n').unwrap_or(&line);
    let mut escaped = String::with_capacity(line.len() + 1);
    // Writing to a String cannot fail.
    let _ = write_escaped(&mut escaped, line);
    escaped.push('\n');
    escaped
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn untrusted_text_is_escaped_and_cut() {
        let table = [
            ("web-1", "web-1"),
            ("ä\u{1F980}", "ä\u{1F980}"),
            ("a\nERROR forged", "a\\nERROR forged"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("\u{202e}txt", "\\u{202e}txt"),
            ("\u{85}", "\\u{85}"),
        ];
        for (text, shown) in table {
            assert_eq!(Untrusted(text).to_string(), shown);
        }
        let long = "ä".repeat(200);
        let shown = Untrusted(&long).to_string();
        assert_eq!(shown, format!("{}…", "ä".repeat(128)));
    }

    /// Collects what the formatter writes, through the same escaping as standard error.
    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<String>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().push_str(&escape_line(bytes));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_field_can_forge_a_line() {
        let captured = Captured::default();
        let writer = captured.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let evil = "x\n2026-01-01T00:00:00Z ERROR forged\u{1b}[31m";
            tracing::info!(display = %evil, debug = ?evil, text = evil, "{evil}");
        });
        let text = captured.0.lock().unwrap().clone();
        assert_eq!(text.lines().count(), 1, "{text:?}");
        assert!(text.ends_with('\n'));
        assert!(!text.trim_end().chars().any(char::is_control), "{text:?}");
    }

    #[test]
    fn levels_and_formats_are_checked() {
        for good in ["info", "warn,proffer_master=debug", "off"] {
            check_level(good).expect(good);
        }
        let problem = check_level("info,proffer=loud").expect_err("no such level");
        assert_eq!(problem.field, "log_level");
        assert_eq!("json".parse::<Format>().expect("good"), Format::Json);
        "xml".parse::<Format>().expect_err("unknown");
    }
}
