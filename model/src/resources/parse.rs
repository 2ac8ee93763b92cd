//! Resources from text: `cpus:4;mem:8192;ports:[31000-32000];zones:{a,b}`, and what `print.rs` writes of reservations,
//! disks and volumes.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::code;
use crate::limits::{ENTRIES_MAX, RANGES_MAX, RESOURCES_TEXT_LEN_MAX, SET_ITEMS_MAX};
use crate::problem::Problem;
use crate::ranges::{Range, RangeSet};
use crate::resource_kind::{Disk, DiskSource, Reservation, ResourceKind, Volume};

use super::amount::{Amount, ItemSet, Pieces};
use super::milli::{clipped, parse_milli};
use super::print::is_bare;
use super::{ResourceName, Resources};

impl FromStr for Resources {
    type Err = Problem;

    /// Reads Mesos's text form, `cpus:4;mem:8192;ports:[31000-32000]`.
    fn from_str(text: &str) -> Result<Self, Problem> {
        if text.len() > RESOURCES_TEXT_LEN_MAX {
            let message = format!(
                "{} bytes; the limit is {RESOURCES_TEXT_LEN_MAX}",
                text.len()
            );
            return Err(Problem::new(code::FIELD_TOO_LONG, message).hint("give fewer resources"));
        }
        let mut cursor = Cursor { rest: text };
        let mut resources = Self::new();
        loop {
            while cursor.take(';') {}
            if cursor.is_at_end() {
                return Ok(resources);
            }
            let (kind, amount) = cursor.item()?;
            resources.insert(kind, amount)?;
        }
    }
}

/// What is left to read.
struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    fn item(&mut self) -> Result<(ResourceKind, Amount), Problem> {
        let part = self.rest;
        let name = self.until(|c| "(@[{<:;".contains(c)).trim_end();
        if self.is_at_end() || self.rest.starts_with(';') {
            return Err(
                refused(format!("{:?} has no ':'", clipped(part.trim_end())))
                    .hint("write cpus:4;mem:8192;ports:[31000-32000]"),
            );
        }
        let name = ResourceName::new(name)?;
        let read = self.kind(ResourceKind::plain(name.clone()));
        let read = read.and_then(|kind| Ok((kind, self.amount()?)));
        read.map_err(|problem| problem.within(&name))
    }

    fn kind(&mut self, mut kind: ResourceKind) -> Result<ResourceKind, Problem> {
        while self.take('(') {
            if let Some(reservation) = self.reservation()? {
                if kind.reservations.len() == ENTRIES_MAX {
                    return Err(too_many(ENTRIES_MAX, "reservations"));
                }
                kind.reservations.push(reservation);
            }
        }
        let source = self.take('@').then(|| self.source()).transpose()?;
        let volume = self.take('[').then(|| self.volume()).transpose()?;
        if source.is_some() || volume.is_some() {
            kind.disk = Some(Disk { source, volume });
        }
        kind.is_revocable = self.take_text("{REV}");
        kind.is_shared = self.take_text("<SHARED>");
        self.expect(':')?;
        Ok(kind)
    }

    /// After `(`: a role, who made it, labels. `*` is for everybody: no reservation.
    fn reservation(&mut self) -> Result<Option<Reservation>, Problem> {
        let role = self.word()?.parse().map_err(within("role"))?;
        let mut reservation = Reservation {
            role,
            principal: None,
            labels: BTreeMap::new(),
        };
        if self.take(',') {
            reservation.principal = self.optional_word()?.map(|text| text.parse()).transpose()?;
            if self.take(',') {
                reservation.labels = self.labels()?;
            }
        }
        self.expect(')')?;
        let is_everybody = reservation.role.as_str() == "*";
        Ok((!is_everybody).then_some(reservation))
    }

    fn labels(&mut self) -> Result<BTreeMap<String, String>, Problem> {
        let mut labels = BTreeMap::new();
        self.expect('{')?;
        while !self.take('}') {
            let name = self.word()?;
            self.expect(':')?;
            let value = self.word()?;
            if labels.insert(name.clone(), value).is_some() {
                return Err(
                    refused(format!("the label {:?} is given twice", clipped(&name)))
                        .hint("give each label once"),
                );
            }
            if !self.take(',') {
                self.expect('}')?;
                break;
            }
        }
        Ok(labels)
    }

    /// After `@`.
    fn source(&mut self) -> Result<DiskSource, Problem> {
        let name = self.until(|c| !c.is_ascii_alphabetic());
        Ok(match name {
            "PATH" => DiskSource::Path { root: self.root()? },
            "MOUNT" => DiskSource::Mount { root: self.root()? },
            "BLOCK" => {
                let (id, _) = self.pair()?;
                DiskSource::Block {
                    id: id.unwrap_or_default(),
                }
            }
            "RAW" => {
                let (id, profile) = self.pair()?;
                DiskSource::Raw { id, profile }
            }
            _ => {
                return Err(refused(format!("{:?} is no kind of disk", clipped(name)))
                    .hint("write PATH:/dir, MOUNT:/dir, BLOCK(id) or RAW(id,profile)"));
            }
        })
    }

    /// `:/dir` or `:"dir"`; a colon before anything else belongs to the amount.
    fn root(&mut self) -> Result<String, Problem> {
        let after = self.rest.strip_prefix(':').unwrap_or_default().trim_start();
        if !after.starts_with(['/', '"']) {
            return Ok(String::new());
        }
        self.rest = after;
        self.word()
    }

    /// Nothing, `(a)` or `(a,b)`, where each may be left out.
    fn pair(&mut self) -> Result<(Option<String>, Option<String>), Problem> {
        if !self.take('(') {
            return Ok((None, None));
        }
        let first = self.optional_word()?;
        let second = self.take(',').then(|| self.optional_word()).transpose()?;
        self.expect(')')?;
        Ok((first, second.flatten()))
    }

    /// After `[`: an id, perhaps a path, which says where a task sees it and is not kept, perhaps who made it.
    fn volume(&mut self) -> Result<Volume, Problem> {
        let id = self.word()?.parse().map_err(within("volume"))?;
        if self.take(':') {
            self.until(|c| "],".contains(c));
        }
        let principal = self.take(',').then(|| self.word()).transpose()?;
        let principal = principal.map(|text| text.parse()).transpose()?;
        self.expect(']')?;
        Ok(Volume {
            id,
            principal,
            mountpoint: None,
        })
    }

    fn amount(&mut self) -> Result<Amount, Problem> {
        self.skip_space();
        let amount = match self.rest.chars().next() {
            Some('[') => Amount::Ranges(self.ranges()?),
            Some('{') => Amount::Set(self.set()?),
            _ => self.scalar()?,
        };
        match self.is_at_end() || self.rest.starts_with(';') {
            true => Ok(amount),
            false => Err(self.unexpected("';'")),
        }
    }

    /// `64`, or `64<3>` for three whole ones.
    fn scalar(&mut self) -> Result<Amount, Problem> {
        let text = self.until(|c| c == ';').trim_end();
        let Some((milli, copies)) = text.split_once('<') else {
            let amount = parse_milli(text).map(Amount::Scalar);
            return amount.map_err(|problem| match text.split_once(',') {
                Some((_, next)) if next.contains(':') => {
                    problem.hint("put ';' between resources: cpus:4;mem:8192")
                }
                _ => problem,
            });
        };
        let copies = copies.strip_suffix('>').and_then(|text| text.parse().ok());
        let Some(copies) = copies.filter(|copies: &u32| *copies > 0) else {
            return Err(refused(format!("{:?} is not an amount", clipped(text)))
                .hint("write 64<3> for a volume that is held three times"));
        };
        let milli = parse_milli(milli.trim_end())?;
        Ok(match copies {
            1 => Amount::Scalar(milli),
            _ => Amount::Whole(Pieces::new(milli, copies)),
        })
    }

    fn ranges(&mut self) -> Result<RangeSet, Problem> {
        let inside = self.rest.strip_prefix('[').unwrap_or_default();
        let Some((list, rest)) = inside.split_once(']') else {
            return Err(not_ranges(self.rest));
        };
        self.rest = rest;
        parse_ranges(list)
    }

    fn set(&mut self) -> Result<ItemSet, Problem> {
        let mut items = Vec::new();
        self.expect('{')?;
        while !self.take('}') {
            if items.len() == SET_ITEMS_MAX {
                return Err(too_many(SET_ITEMS_MAX, "items"));
            }
            items.push(self.word()?);
            if !self.take(',') {
                self.expect('}')?;
                break;
            }
        }
        ItemSet::from_given(items)
    }

    /// A bare or a quoted text.
    fn word(&mut self) -> Result<String, Problem> {
        self.optional_word()?
            .ok_or_else(|| self.unexpected("a name"))
    }

    fn optional_word(&mut self) -> Result<Option<String>, Problem> {
        self.skip_space();
        if !self.rest.starts_with('"') {
            let word = self.until(|c| !is_bare(c));
            return Ok((!word.is_empty()).then(|| word.to_owned()));
        }
        let start = self.rest;
        let unfinished = || refused(format!("{:?} has no closing quote", clipped(start)));
        let mut word = String::new();
        let mut chars = start.chars();
        chars.next();
        loop {
            match chars
                .next()
                .ok_or_else(|| unfinished().hint("close the quote"))?
            {
                '"' => break,
                '\\' => {
                    let escaped = chars.next();
                    let c = match escaped {
                        Some('u') => unicode(&mut chars),
                        c => c.filter(|c| matches!(c, '"' | '\\')),
                    };
                    word.push(c.ok_or_else(|| {
                        refused(format!("{:?} has an unknown escape", clipped(start)))
                            .hint("only \\\" and \\\\ and \\u{a} are known")
                    })?);
                }
                c => word.push(c),
            }
        }
        self.rest = chars.as_str();
        Ok(Some(word))
    }

    fn until(&mut self, is_end: impl Fn(char) -> bool) -> &'a str {
        self.skip_space();
        let end = self.rest.find(is_end).unwrap_or(self.rest.len());
        let (part, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        self.rest = rest;
        part
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn is_at_end(&mut self) -> bool {
        self.skip_space();
        self.rest.is_empty()
    }

    fn take(&mut self, mark: char) -> bool {
        self.take_text(mark.encode_utf8(&mut [0; 4]))
    }

    fn take_text(&mut self, mark: &str) -> bool {
        self.skip_space();
        match self.rest.strip_prefix(mark) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, mark: char) -> Result<(), Problem> {
        match self.take(mark) {
            true => Ok(()),
            false => Err(self.unexpected(&format!("'{mark}'"))),
        }
    }

    fn unexpected(&self, wanted: &str) -> Problem {
        let found = match self.rest {
            "" => "the end".to_owned(),
            rest => format!("{:?}", clipped(rest)),
        };
        refused(format!("{wanted} is missing before {found}"))
            .hint("write cpus(eng):4, disk(eng)[logs]:64, disk@MOUNT:/mnt/a:100 or zones:{a,b}")
    }
}

/// After `\u`: `{` hexadecimal digits `}`.
fn unicode(chars: &mut std::str::Chars<'_>) -> Option<char> {
    let (digits, rest) = chars.as_str().strip_prefix('{')?.split_once('}')?;
    *chars = rest.chars();
    char::from_u32(u32::from_str_radix(digits, 16).ok()?)
}

/// Reads what is between the brackets of `[31000-31005, 31010-31010]`.
fn parse_ranges(list: &str) -> Result<RangeSet, Problem> {
    let mut ranges = Vec::new();
    let parts = list.split(',').map(str::trim);
    for part in parts.filter(|part| !part.is_empty()) {
        if ranges.len() == RANGES_MAX {
            return Err(too_many(RANGES_MAX, "ranges"));
        }
        let (begin, end) = part.split_once('-').ok_or_else(|| not_ranges(part))?;
        let number = |text: &str| text.trim().parse::<u64>().map_err(|_| not_ranges(part));
        ranges.push(Range {
            begin: number(begin)?,
            end: number(end)?,
        });
    }
    RangeSet::from_given(ranges)
}

fn not_ranges(text: &str) -> Problem {
    let message = format!("{:?} is not a list of ranges", clipped(text));
    Problem::new(code::RANGES_INVALID, message)
        .hint("write [31000-32000] or [31000-31005, 31010-31020]")
}

fn refused(message: String) -> Problem {
    Problem::new(code::RESOURCES_INVALID, message)
}

fn too_many(most: usize, what: &str) -> Problem {
    let message = format!("more than {most} {what} are given");
    Problem::new(code::FIELD_TOO_LONG, message).hint("give fewer")
}

fn within(field: &str) -> impl Fn(Problem) -> Problem {
    move |problem| problem.within(field)
}
