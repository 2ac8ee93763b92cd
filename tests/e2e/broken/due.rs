//! What must be refused, wherever it stands; and the places where it is fine, each with why.

use std::collections::BTreeSet;

/// Ways in which a field is broken that are wrong in nearly every place.
const DUE: [&str; 8] = [
    "with a NUL",
    "a path",
    "huge",
    "huge key",
    "no key",
    "too many",
    "unknown",
    "negative",
];

/// What is called, what the path of the field ends with, in which ways it may be broken there, and why.
type Fine = (
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static str,
);

const FINE: [Fine; 31] = [
    ("", "request_id", &["huge"], "a number of the caller's own"),
    (
        "FrameworkState/",
        "prefix",
        &["a path", "huge", "with a NUL"],
        "no key begins with it",
    ),
    (
        "Operator/List",
        "host",
        &["a path", "huge", "with a NUL"],
        "no agent is called so",
    ),
    (
        "Operator/List",
        "name",
        &["a path", "huge", "with a NUL"],
        "no framework is called so",
    ),
    (
        "Operator/List",
        "attributes",
        &["huge key", "no key"],
        "no agent has such a one",
    ),
    (
        "Operator/List",
        "attributes.a",
        &["a path", "huge", "with a NUL"],
        "no agent has such a one",
    ),
    (
        "Operator/List",
        "labels",
        &["huge key", "no key"],
        "no task has such a one",
    ),
    (
        "Operator/List",
        "labels.a",
        &["a path", "huge", "with a NUL"],
        "no task has such a one",
    ),
    (
        "Operator/",
        "page_size",
        &["huge"],
        "a page has at most so many as one may have",
    ),
    (
        "Operator/SetWeight",
        "weight_milli",
        &["huge"],
        "every number but 0 is a weight",
    ),
    (
        "",
        "labels.labels.a",
        &["a path", "with a NUL"],
        "what a label says is free",
    ),
    (
        "executor",
        "subscribe.tasks",
        &["too many"],
        "an agent has room for more, and one that comes twice counts once",
    ),
    (
        "executor",
        "subscribe.unacknowledged",
        &["too many"],
        "an agent has room for more, and one that comes twice counts once",
    ),
    (
        "executor",
        "subscribe.tasks[0].incarnation",
        &["huge"],
        "a launch that the agent does not know is to be ended",
    ),
    (
        "executor",
        ".exit_code",
        &["huge", "negative"],
        "how a program ends is its own",
    ),
    (
        "executor",
        ".exit_signal",
        &["huge", "negative"],
        "how a program ends is its own",
    ),
    (
        "executor",
        ".message",
        &["a path", "with a NUL"],
        "it is for people",
    ),
    ("executor", ".number", &["huge"], "nothing is said after it"),
    (
        "session",
        "acknowledge.sequence",
        &["huge"],
        "all that was told comes before it",
    ),
    (
        "session",
        "].count",
        &["huge"],
        "a bound that nothing meets",
    ),
    (
        "session",
        ".excluded",
        &["too many"],
        "there may be so many agents",
    ),
    (
        "session",
        ".host",
        &["a path"],
        "what operators call their hosts is theirs",
    ),
    (
        "session",
        ".matches.pattern",
        &["a path", "with a NUL"],
        "a pattern speaks of any character",
    ),
    (
        "session",
        ".attribute.value",
        &["a path"],
        "what an attribute says is free",
    ),
    (
        "session",
        ".region",
        &["a path"],
        "what operators call their regions is theirs",
    ),
    (
        "session",
        ".zone",
        &["a path"],
        "what operators call their zones is theirs",
    ),
    (
        "session",
        ".priority",
        &["huge"],
        "every number is a priority",
    ),
    (
        "session",
        "set_demand.generation",
        &["huge"],
        "nothing is demanded after it",
    ),
    (
        "subscribe",
        "subscribe.name",
        &["a path", "with a NUL"],
        "it is for people",
    ),
    (
        "subscribe",
        "resume.epoch",
        &["huge"],
        "what is not known is not resumed",
    ),
    (
        "subscribe",
        "resume.sequence",
        &["huge"],
        "what is not known is not resumed",
    ),
];

/// What of that was met.
#[derive(Debug, Default)]
pub(super) struct Due {
    met: BTreeSet<usize>,
}

impl Due {
    /// Whether what is broken like this was to be refused.
    pub(super) fn is_due(&mut self, what: &str, place: &str, how: &str) -> bool {
        let fits = |(of, end, hows, _): &Fine| {
            what.contains(of) && place.ends_with(end) && hows.contains(&how)
        };
        let fine = FINE.iter().position(fits);
        self.met.extend(fine);
        DUE.contains(&how) && fine.is_none()
    }

    /// Places that are listed as fine, and where nothing was taken.
    pub(super) fn unmet(&self) -> Vec<Fine> {
        let all = FINE.iter().enumerate();
        let unmet = all.filter(|(place, _)| !self.met.contains(place));
        unmet.map(|(_, fine)| *fine).collect()
    }
}
