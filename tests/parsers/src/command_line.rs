//! What the command line reads: files of apps, text of others that it shows, and what is asked of emulated agents and
//! benchmarks.

use std::path::Path;

use proffer_agent::emulate::{Rate, Span};

use crate::app_file;
use crate::escape::{TerminalFilter, line};
use crate::expect::{accepted, same_when_printed, text};
use crate::limits::{APPS_PER_APPLY_MAX, BENCH_AGENTS_MAX, BENCH_FRAMEWORKS_MAX};
use crate::size::Size;

/// A file of apps; the first byte says by which name.
pub(crate) fn app_files(data: &[u8]) {
    let Some((name, rest)) = data.split_first() else {
        return;
    };
    let Some(text) = text(rest) else { return };
    let name = ["a.json", "a.toml", "a.yaml", "a"][usize::from(*name) % 4];
    let Some(apps) = accepted(app_file::parse(name, Path::new(name), text)) else {
        return;
    };
    assert!(!apps.is_empty() && (name != "a.yaml" || apps.len() <= APPS_PER_APPLY_MAX * 100));
    for app in apps {
        assert!(app.id.starts_with('/'), "{:?}", app.id);
        assert_eq!(
            app.body.get("id").and_then(|id| id.as_str()),
            Some(app.id.as_str())
        );
        assert_eq!(app.body.get("image"), None);
        // What is sent is read again as it is.
        let sent = app.body.to_string();
        let again = accepted(app_file::parse("a.json", Path::new("a.json"), &sent));
        assert_eq!(again.as_deref(), Some(std::slice::from_ref(&app)), "{sent}");
    }
}

/// Nothing that others wrote steers the terminal, however it is cut into pieces.
pub(crate) fn terminal(data: &[u8]) {
    let is_harmless = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    let mut filter = TerminalFilter::default();
    let whole = filter.filter(data);
    assert!(whole.chars().all(is_harmless));
    let mut filter = TerminalFilter::default();
    let pieces: String = data.chunks(3).map(|piece| filter.filter(piece)).collect();
    assert_eq!(pieces, whole);
    let shown = line(&String::from_utf8_lossy(data));
    assert!(!shown.chars().any(char::is_control));
}

/// How long emulated tasks run.
pub(crate) fn spans(data: &[u8]) {
    let Some(text) = text(data) else { return };
    same_when_printed::<Span>(text);
}

/// How many of them fail: from none to all.
pub(crate) fn rates(data: &[u8]) {
    let Some(text) = text(data) else { return };
    if let Some(rate) = same_when_printed::<Rate>(text) {
        let all: Rate = "1".parse().expect("all of them");
        assert!(rate <= all, "{text:?}");
    }
}

/// How large the cluster of a benchmark is: never more than a master takes.
pub(crate) fn bench_sizes(data: &[u8]) {
    let Some(text) = text(data) else { return };
    if let Some(Size { agents, frameworks }) = same_when_printed::<Size>(text) {
        assert!((1..=BENCH_AGENTS_MAX).contains(&agents), "{text:?}");
        assert!((1..=BENCH_FRAMEWORKS_MAX).contains(&frameworks), "{text:?}");
    }
}
