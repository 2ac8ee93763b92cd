//! Resources as the cases write them: `cpus:2 mem(eng):1024 cpus{REV}:6 disk@MOUNT:100 ports:[31000-32000]`.
//!
//! A type of its own, so that the cases and the plain model say what they mean without the arithmetic that they test.
//! Scalars are thousandths. A disk that cannot be split is a piece of its own; two of one size are two.

use std::collections::BTreeMap;
use std::fmt;

use proffer_model::ranges::{Range, RangeSet};

/// Amounts by the name of a scalar, of whatever kind.
pub(super) type Sums = BTreeMap<String, u64>;

/// What makes two resources of one name different things.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    pub(super) name: String,
    /// The roles that it is reserved to, the outermost first.
    pub(super) stack: Vec<String>,
    pub(super) is_revocable: bool,
    /// `MOUNT`, `PATH`, `BLOCK` or `RAW`.
    pub(super) disk: Option<String>,
}

impl Kind {
    pub(super) fn is_reserved(&self) -> bool {
        !self.stack.is_empty()
    }

    pub(super) fn is_reserved_to(&self, role: &str) -> bool {
        self.stack.last().is_some_and(|last| last == role)
    }

    /// Unreserved, reserved to the role, or to one above it.
    pub(super) fn is_allocatable_to(&self, role: &str) -> bool {
        self.stack
            .last()
            .is_none_or(|last| is_at_or_above(last, role))
    }

    pub(super) fn is_whole(&self) -> bool {
        matches!(self.disk.as_deref(), Some("MOUNT" | "BLOCK"))
    }
}

/// Whether `upper` is the role itself or one above it.
pub(super) fn is_at_or_above(upper: &str, role: &str) -> bool {
    role.strip_prefix(upper)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Some of everything. Nothing is kept of what is zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Amounts {
    pub(super) scalars: BTreeMap<Kind, u64>,
    /// Pieces that cannot be split: their sizes, ascending.
    pub(super) wholes: BTreeMap<Kind, Vec<u64>>,
    pub(super) ranges: BTreeMap<Kind, RangeSet>,
}

impl Amounts {
    /// Reads words such as `cpus(r):1`. Naming a kind twice adds up, except that whole disks stay two.
    pub(super) fn parse(words: &[&str]) -> Result<Self, String> {
        let mut amounts = Self::default();
        for word in words {
            amounts.add(&Self::parse_one(word)?);
        }
        Ok(amounts)
    }

    fn parse_one(word: &str) -> Result<Self, String> {
        let wrong = || format!("{word:?} is not a resource");
        // A colon may stand in the brackets of nothing but ranges, which come after it.
        let (kind, value) = word.split_once(':').ok_or_else(wrong)?;
        let kind = parse_kind(kind).ok_or_else(wrong)?;
        let mut amounts = Self::default();
        if let Some(inner) = value.strip_prefix('[').and_then(|v| v.strip_suffix(']')) {
            let set = parse_ranges(inner).ok_or_else(wrong)?;
            if !set.is_empty() {
                amounts.ranges.insert(kind, set);
            }
            return Ok(amounts);
        }
        let milli = parse_milli(value).ok_or_else(wrong)?;
        if milli > 0 {
            amounts.put(kind, milli);
        }
        Ok(amounts)
    }

    pub(super) fn put(&mut self, kind: Kind, milli: u64) {
        if kind.is_whole() {
            let sizes = self.wholes.entry(kind).or_default();
            sizes.push(milli);
            sizes.sort_unstable();
        } else {
            *self.scalars.entry(kind).or_default() += milli;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.scalars.is_empty() && self.wholes.is_empty() && self.ranges.is_empty()
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (kind, milli) in &other.scalars {
            *self.scalars.entry(kind.clone()).or_default() += milli;
        }
        for (kind, sizes) in &other.wholes {
            for size in sizes {
                self.put(kind.clone(), *size);
            }
        }
        for (kind, set) in &other.ranges {
            let mine = self.ranges.entry(kind.clone()).or_default();
            *mine = mine.plus(set);
        }
    }

    /// Down to nothing where the other has more.
    pub(super) fn subtract(&mut self, other: &Self) {
        for (kind, milli) in &other.scalars {
            if let Some(mine) = self.scalars.get_mut(kind) {
                *mine = mine.saturating_sub(*milli);
            }
        }
        for (kind, sizes) in &other.wholes {
            if let Some(mine) = self.wholes.get_mut(kind) {
                for size in sizes {
                    if let Some(at) = mine.iter().position(|one| one == size) {
                        mine.remove(at);
                    }
                }
            }
        }
        for (kind, set) in &other.ranges {
            if let Some(mine) = self.ranges.get_mut(kind) {
                *mine = mine.minus(set);
            }
        }
        self.scalars.retain(|_, milli| *milli > 0);
        self.wholes.retain(|_, sizes| !sizes.is_empty());
        self.ranges.retain(|_, set| !set.is_empty());
    }

    pub(super) fn plus(&self, other: &Self) -> Self {
        let mut sum = self.clone();
        sum.add(other);
        sum
    }

    pub(super) fn minus(&self, other: &Self) -> Self {
        let mut rest = self.clone();
        rest.subtract(other);
        rest
    }

    pub(super) fn contains(&self, other: &Self) -> bool {
        other.minus(self).is_empty()
    }

    pub(super) fn filter(&self, keep: impl Fn(&Kind) -> bool) -> Self {
        let mut rest = self.clone();
        rest.scalars.retain(|kind, _| keep(kind));
        rest.wholes.retain(|kind, _| keep(kind));
        rest.ranges.retain(|kind, _| keep(kind));
        rest
    }

    /// Without what is a number of a range.
    pub(super) fn scalars_only(&self) -> Self {
        Self {
            ranges: BTreeMap::new(),
            ..self.clone()
        }
    }

    /// How much of each scalar there is, of all kinds together.
    pub(super) fn sums(&self) -> Sums {
        let mut sums = Sums::new();
        for (kind, milli) in &self.scalars {
            *sums.entry(kind.name.clone()).or_default() += milli;
        }
        for (kind, sizes) in &self.wholes {
            *sums.entry(kind.name.clone()).or_default() += sizes.iter().sum::<u64>();
        }
        sums
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.is_reserved() {
            write!(f, "({})", self.stack.join(","))?;
        }
        if let Some(disk) = &self.disk {
            write!(f, "@{disk}")?;
        }
        f.write_str(if self.is_revocable { "{REV}" } else { "" })
    }
}

impl fmt::Display for Amounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scalars = self.scalars.iter();
        let scalars = scalars.map(|(kind, milli)| format!("{kind}:{}", show_milli(*milli)));
        let wholes = self.wholes.iter().flat_map(|(kind, sizes)| {
            let sizes = sizes.iter();
            sizes.map(move |milli| format!("{kind}:{}", show_milli(*milli)))
        });
        let ranges = self.ranges.iter();
        let ranges = ranges.map(|(kind, set)| format!("{kind}:{set}").replace(", ", ","));
        let words: Vec<String> = scalars.chain(wholes).chain(ranges).collect();
        f.write_str(&words.join(" "))
    }
}

/// Reads `cpus`, `cpus(role)`, `cpus(role,role/sub)`, `cpus{REV}`, `disk@MOUNT`, and these together in any order.
fn parse_kind(text: &str) -> Option<Kind> {
    let end = text.find(['(', '{', '@']).unwrap_or(text.len());
    let (name, mut rest) = text.split_at(end);
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || !name.chars().all(is_name) {
        return None;
    }
    let mut kind = Kind {
        name: name.to_owned(),
        ..Kind::default()
    };
    while !rest.is_empty() {
        if let Some((roles, after)) = rest.strip_prefix('(').and_then(|r| r.split_once(')')) {
            // `*` is what is for everybody.
            if roles != "*" {
                kind.stack = roles
                    .split(',')
                    .map(|role| role.trim().to_owned())
                    .collect();
            }
            rest = after;
        } else if let Some((mark, after)) = rest.strip_prefix('{').and_then(|r| r.split_once('}')) {
            if !mark.eq_ignore_ascii_case("REV") && !mark.eq_ignore_ascii_case("REVOCABLE") {
                return None;
            }
            kind.is_revocable = true;
            rest = after;
        } else {
            let after = rest.strip_prefix('@')?;
            let end = after.find(['(', '{', '@']).unwrap_or(after.len());
            let (word, after) = after.split_at(end);
            let word = word.to_ascii_uppercase();
            if !matches!(word.as_str(), "MOUNT" | "PATH" | "BLOCK" | "RAW") {
                return None;
            }
            kind.disk = Some(word);
            rest = after;
        }
    }
    Some(kind)
}

fn parse_ranges(inner: &str) -> Option<RangeSet> {
    let mut ranges = Vec::new();
    for part in inner.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let (begin, end) = part.split_once('-').unwrap_or((part, part));
        ranges.push(Range {
            begin: begin.trim().parse().ok()?,
            end: end.trim().parse().ok()?,
        });
    }
    RangeSet::from_given(ranges).ok()
}

/// Reads `4`, `0.25` or `.5` into thousandths.
pub(super) fn parse_milli(text: &str) -> Option<u64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let is_number = digits(whole) && digits(decimals) && !(whole.is_empty() && decimals.is_empty());
    if !is_number || decimals.trim_end_matches('0').len() > 3 {
        return None;
    }
    let padded: String = decimals.chars().chain("000".chars()).take(3).collect();
    let whole: u64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    whole.checked_mul(1_000)?.checked_add(padded.parse().ok()?)
}

pub(super) fn show_milli(milli: u64) -> String {
    let text = format!("{}.{:03}", milli / 1_000, milli % 1_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
