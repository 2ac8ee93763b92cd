//! Resources as text, in the form that `parse.rs` reads: `disk(eng)@MOUNT:/mnt/a[logs]<SHARED>:64`.

use std::fmt;

use crate::resource_kind::{Disk, DiskSource, Reservation, ResourceKind, Volume};

use super::Resources;
use super::amount::{Amount, ItemSet, Piece};
use super::milli::format_milli;

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (kind, amount) in self.iter() {
            let Amount::Whole(pieces) = amount else {
                write!(f, "{separator}{kind}:{amount}")?;
                separator = ";";
                continue;
            };
            for piece in pieces.iter() {
                write!(f, "{separator}{kind}:{piece}")?;
                separator = ";";
            }
        }
        Ok(())
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(milli) => f.write_str(&format_milli(*milli)),
            Self::Ranges(set) => set.fmt(f),
            Self::Set(set) => set.fmt(f),
            Self::Whole(pieces) => {
                let pieces: Vec<_> = pieces.iter().map(ToString::to_string).collect();
                f.write_str(&pieces.join(", "))
            }
        }
    }
}

impl fmt::Display for Piece {
    /// `64`, or `64<3>` for three of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_milli(self.milli))?;
        match self.copies {
            1 => Ok(()),
            copies => write!(f, "<{copies}>"),
        }
    }
}

impl fmt::Display for ItemSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let items: Vec<_> = self.iter().map(|item| Word(item).to_string()).collect();
        write!(f, "{{{}}}", items.join(","))
    }
}

impl fmt::Display for ResourceKind {
    /// What stands before the amount.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name.as_str())?;
        self.reservations.iter().try_for_each(|r| r.fmt(f))?;
        if let Some(Disk { source, volume }) = &self.disk {
            source.iter().try_for_each(|source| source.fmt(f))?;
            volume.iter().try_for_each(|volume| volume.fmt(f))?;
        }
        f.write_str(if self.is_revocable { "{REV}" } else { "" })?;
        f.write_str(if self.is_shared { "<SHARED>" } else { "" })
    }
}

impl fmt::Display for Reservation {
    /// `(eng)`, `(eng,ops)`, `(eng,ops,{key:value})`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}", Word(self.role.as_str()))?;
        if let Some(principal) = &self.principal {
            write!(f, ",{}", Word(principal.as_str()))?;
        } else if !self.labels.is_empty() {
            f.write_str(",")?;
        }
        if !self.labels.is_empty() {
            let label =
                |(name, value): (&String, &String)| format!("{}:{}", Word(name), Word(value));
            let labels: Vec<_> = self.labels.iter().map(label).collect();
            write!(f, ",{{{}}}", labels.join(","))?;
        }
        f.write_str(")")
    }
}

impl fmt::Display for DiskSource {
    /// `@MOUNT:/mnt/a`, `@PATH:/mnt/b`, `@BLOCK(id)`, `@RAW(id,profile)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |f: &mut fmt::Formatter<'_>, name: &str, root: &str| match root {
            "" => write!(f, "@{name}"),
            _ => write!(f, "@{name}:{}", Place(root)),
        };
        match self {
            Self::Path { root } => place(f, "PATH", root),
            Self::Mount { root } => place(f, "MOUNT", root),
            Self::Block { id } if id.is_empty() => f.write_str("@BLOCK"),
            Self::Block { id } => write!(f, "@BLOCK({})", Word(id)),
            Self::Raw { id, profile } => {
                let word =
                    |text: &Option<String>| text.as_deref().map(|text| Word(text).to_string());
                match (word(id), word(profile)) {
                    (None, None) => f.write_str("@RAW"),
                    (Some(id), None) => write!(f, "@RAW({id})"),
                    (id, Some(profile)) => write!(f, "@RAW({},{profile})", id.unwrap_or_default()),
                }
            }
        }
    }
}

impl fmt::Display for Volume {
    /// `[id]` or `[id,principal]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}", Word(self.id.as_str()))?;
        if let Some(principal) = &self.principal {
            write!(f, ",{}", Word(principal.as_str()))?;
        }
        f.write_str("]")
    }
}

/// A text between marks: bare, or quoted where it could be taken for something else.
struct Word<'a>(&'a str);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.is_empty() && self.0.chars().all(is_bare) {
            return f.write_str(self.0);
        }
        f.write_str("\"")?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if c.is_control() => write!(f, "\\u{{{:x}}}", u32::from(c))?,
                c => write!(f, "{c}")?,
            }
        }
        f.write_str("\"")
    }
}

/// A path: quoted unless it begins with `/`, so that it is never taken for an amount.
struct Place<'a>(&'a str);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.starts_with('/') || !self.0.chars().all(is_bare) {
            true => Word(self.0).fmt(f),
            false => write!(f, "\"{}\"", self.0),
        }
    }
}

/// Whether a character needs no quotes.
pub(super) fn is_bare(c: char) -> bool {
    !c.is_whitespace() && !c.is_control() && !"()[]{}<>,;:\"\\".contains(c)
}
