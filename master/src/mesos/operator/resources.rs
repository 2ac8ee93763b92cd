//! Resources on the pages that tools read: sums by name in one object, and in full where reservations matter.

use std::collections::BTreeMap;
use std::fmt::Write;

use proffer_model::resources::{Amount, Pieces};
use proffer_model::{
    Attributes, Disk, DiskSource, Quantities, RangeSet, Reservation, ResourceKind, Resources, Role,
};
use proffer_proto::mesos::number_of;

use super::json::{Array, Object};

/// What every sum has, whether there is any of it or not.
const ALWAYS: [&str; 4] = ["cpus", "disk", "gpus", "mem"];

/// Sums by name: `{"cpus":16.0,…,"ports":"[31000-32000]"}`. What is revocable has names of its own.
pub(super) fn sums(object: &mut Object<'_>, resources: &Resources) {
    if resources.special().next().is_none() {
        return ordinary_sums(object, resources);
    }
    let mut sums = Sums::default();
    for (kind, amount) in resources.iter() {
        sums.add(&kind, amount);
    }
    sums.write(object);
}

/// The same where nothing is to be added up, as of most tasks and agents.
fn ordinary_sums(object: &mut Object<'_>, resources: &Resources) {
    for name in ALWAYS {
        object.milli(name, resources.scalar(name));
    }
    for (name, amount) in resources.ordinary() {
        match amount {
            Amount::Scalar(_) | Amount::Whole(_) if ALWAYS.contains(&name.as_str()) => {}
            Amount::Scalar(_) | Amount::Whole(_) => {
                object.milli(name.as_str(), amount.quantity(false));
            }
            Amount::Ranges(set) => object.text(name.as_str(), &range_text(set)),
            Amount::Set(set) => {
                let items: Vec<&str> = set.iter().collect();
                object.text(name.as_str(), &set_text(&items));
            }
        }
    }
}

/// The same of those that are not reserved.
pub(super) fn unreserved_sums(object: &mut Object<'_>, resources: &Resources) {
    if resources.special().next().is_none() {
        return ordinary_sums(object, resources);
    }
    let mut sums = Sums::default();
    for (kind, amount) in resources.iter() {
        if kind.is_unreserved() {
            sums.add(&kind, amount);
        }
    }
    sums.write(object);
}

/// The same of those that are reserved, by role.
pub(super) fn reserved_sums(object: &mut Object<'_>, resources: &Resources) {
    for (role, of_role) in by_role(resources) {
        let mut sums = Sums::default();
        for (kind, amount) in of_role {
            sums.add(kind, amount);
        }
        object.object(role.as_str(), |object| sums.write(object));
    }
}

/// What is reserved in full, by role.
pub(super) fn reserved_in_full(object: &mut Object<'_>, resources: &Resources) {
    for (role, of_role) in by_role(resources) {
        object.array(role.as_str(), |array| {
            for (kind, amount) in of_role {
                one(array, kind, amount);
            }
        });
    }
}

fn by_role(resources: &Resources) -> BTreeMap<&Role, Vec<(&ResourceKind, &Amount)>> {
    let mut by_role: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (kind, amount) in resources.special() {
        if let Some(role) = kind.reserved_to() {
            by_role.entry(role).or_default().push((kind, amount));
        }
    }
    by_role
}

/// All of them, each with all that tells it from others.
pub(super) fn in_full(array: &mut Array<'_>, resources: &Resources) {
    for (kind, amount) in resources.iter() {
        one(array, &kind, amount);
    }
}

/// The same of those that are not reserved.
pub(super) fn unreserved_in_full(array: &mut Array<'_>, resources: &Resources) {
    for (kind, amount) in resources.iter() {
        if kind.is_unreserved() {
            one(array, &kind, amount);
        }
    }
}

/// Amounts of scalars.
pub(super) fn quantities<'q>(
    object: &mut Object<'_>,
    quantities: impl Iterator<Item = (&'q proffer_model::id::ResourceName, u64)>,
) {
    for (name, milli) in quantities {
        object.milli(name.as_str(), milli);
    }
}

/// Amounts of scalars, where tools expect sums of resources.
pub(super) fn quantity_sums(object: &mut Object<'_>, all: &Quantities) {
    let mut sums = Sums::default();
    for (name, milli) in all.iter() {
        sums.add_scalar(name.as_str(), milli);
    }
    sums.write(object);
}

/// What an agent says of itself besides its resources. Of an attribute with several values the last one: it is an object, and
/// Mesos's shows one of them too.
pub(super) fn attributes(object: &mut Object<'_>, attributes: &Attributes) {
    let mut all = attributes.iter().peekable();
    while let Some((name, value)) = all.next() {
        if all.peek().is_some_and(|(next, _)| *next == name) {
            continue;
        }
        let text = value.as_str();
        match number_of(text) {
            Some(number) => object.number(name.as_str(), number),
            None => object.text(name.as_str(), text),
        }
    }
}

#[derive(Default)]
struct Sums<'r> {
    scalars: BTreeMap<&'r str, u64>,
    revocable: BTreeMap<String, u64>,
    ranges: BTreeMap<String, RangeSet>,
    sets: BTreeMap<String, Vec<String>>,
}

impl<'r> Sums<'r> {
    fn add(&mut self, kind: &ResourceKind, amount: &'r Amount) {
        let name = || match kind.is_revocable {
            true => format!("{}_revocable", kind.name),
            false => kind.name.to_string(),
        };
        match amount {
            Amount::Scalar(_) | Amount::Whole(_) => {
                let milli = amount.quantity(kind.is_shared);
                match ALWAYS.iter().find(|always| **always == kind.name.as_str()) {
                    Some(always) if !kind.is_revocable => self.add_scalar(always, milli),
                    _ => {
                        let sum = self.revocable.entry(name()).or_default();
                        *sum = sum.saturating_add(milli);
                    }
                }
            }
            Amount::Ranges(set) => {
                let sum = self.ranges.entry(name()).or_default();
                *sum = sum.plus(set);
            }
            Amount::Set(set) => {
                let sum = self.sets.entry(name()).or_default();
                sum.extend(set.iter().map(str::to_owned));
            }
        }
    }

    fn add_scalar(&mut self, name: &'r str, milli: u64) {
        let sum = self.scalars.entry(name).or_default();
        *sum = sum.saturating_add(milli);
    }

    fn write(&self, object: &mut Object<'_>) {
        for name in ALWAYS {
            object.milli(name, self.scalars.get(name).copied().unwrap_or_default());
        }
        for (name, milli) in &self.scalars {
            if !ALWAYS.contains(name) {
                object.milli(name, *milli);
            }
        }
        for (name, milli) in &self.revocable {
            object.milli(name, *milli);
        }
        for (name, set) in &self.ranges {
            object.text(name, &range_text(set));
        }
        for (name, items) in &self.sets {
            object.text(name, &set_text(items));
        }
    }
}

/// `[31000-31004, 31006-32000]`.
fn range_text(set: &RangeSet) -> String {
    let mut text = String::from("[");
    for (at, range) in set.ranges().iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        // Memory takes all.
        let _ = write!(text, "{comma}{}-{}", range.begin, range.end);
    }
    text.push(']');
    text
}

/// `{a, b}`.
fn set_text<T: AsRef<str>>(items: &[T]) -> String {
    let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    format!("{{{}}}", items.join(", "))
}

fn one(array: &mut Array<'_>, kind: &ResourceKind, amount: &Amount) {
    match amount {
        Amount::Whole(pieces) => each(array, kind, pieces),
        Amount::Scalar(milli) => scalar(array, kind, *milli),
        Amount::Ranges(set) => array.object(|object| {
            head(object, kind, "RANGES");
            object.object("ranges", |ranges| {
                ranges.array("range", |array| {
                    for range in set.ranges() {
                        array.object(|object| {
                            object.count("begin", range.begin);
                            object.count("end", range.end);
                        });
                    }
                });
            });
            tail(object, kind);
        }),
        Amount::Set(set) => array.object(|object| {
            head(object, kind, "SET");
            object.object("set", |object| {
                object.array("item", |array| set.iter().for_each(|item| array.text(item)));
            });
            tail(object, kind);
        }),
    }
}

fn each(array: &mut Array<'_>, kind: &ResourceKind, pieces: &Pieces) {
    for piece in pieces.iter() {
        // Copies of a shared volume are the same volume.
        let copies = if kind.is_shared { 1 } else { piece.copies };
        for _ in 0..copies {
            scalar(array, kind, piece.milli);
        }
    }
}

fn scalar(array: &mut Array<'_>, kind: &ResourceKind, milli: u64) {
    array.object(|object| {
        head(object, kind, "SCALAR");
        object.object("scalar", |scalar| scalar.milli("value", milli));
        tail(object, kind);
    });
}

fn head(object: &mut Object<'_>, kind: &ResourceKind, form: &str) {
    object.text("name", kind.name.as_str());
    object.text("type", form);
}

/// The old form of a reservation beside the new one, so that tools of either age find what they know.
fn tail(object: &mut Object<'_>, kind: &ResourceKind) {
    let role = kind.reserved_to().map_or("*", Role::as_str);
    object.text("role", role);
    if let [only] = kind.reservations.as_slice()
        && only.principal.is_some()
    {
        object.object("reservation", |object| maker(object, only));
    }
    if !kind.reservations.is_empty() {
        object.array("reservations", |array| {
            for reservation in &kind.reservations {
                array.object(|object| {
                    let is_static = reservation.principal.is_none();
                    object.text("type", if is_static { "STATIC" } else { "DYNAMIC" });
                    object.text("role", reservation.role.as_str());
                    maker(object, reservation);
                });
            }
        });
    }
    if let Some(of) = &kind.disk {
        object.object("disk", |object| disk(object, of));
    }
    if kind.is_revocable {
        object.object("revocable", |_| {});
    }
    if kind.is_shared {
        object.object("shared", |_| {});
    }
}

fn maker(object: &mut Object<'_>, reservation: &Reservation) {
    if let Some(principal) = &reservation.principal {
        object.text("principal", principal.as_str());
    }
    if !reservation.labels.is_empty() {
        object.object("labels", |object| labels(object, &reservation.labels));
    }
}

/// Labels as a message has them.
pub(super) fn labels(object: &mut Object<'_>, labels: &BTreeMap<String, String>) {
    object.array("labels", |array| list(array, labels));
}

/// Labels as a list.
pub(super) fn list(array: &mut Array<'_>, labels: &BTreeMap<String, String>) {
    for (key, value) in labels {
        array.object(|object| {
            object.text("key", key);
            object.text("value", value);
        });
    }
}

fn disk(object: &mut Object<'_>, disk: &Disk) {
    if let Some(volume) = &disk.volume {
        object.object("persistence", |object| {
            object.text("id", volume.id.as_str());
            if let Some(principal) = &volume.principal {
                object.text("principal", principal.as_str());
            }
        });
        let at = volume.mountpoint.as_ref();
        object.object("volume", |object| {
            // Tools want a text, also of a volume that nobody has said it of.
            object.text("container_path", at.map_or("", |at| &at.path));
            let is_read_only = at.is_some_and(|at| at.is_read_only);
            object.text("mode", if is_read_only { "RO" } else { "RW" });
        });
    }
    match &disk.source {
        None => {}
        Some(DiskSource::Path { root }) => source(object, "PATH", "path", root),
        Some(DiskSource::Mount { root }) => source(object, "MOUNT", "mount", root),
        Some(DiskSource::Block { id }) => object.object("source", |object| {
            object.text("type", "BLOCK");
            object.text("id", id);
        }),
        Some(DiskSource::Raw { id, profile }) => object.object("source", |object| {
            object.text("type", "RAW");
            for (name, value) in [("id", id), ("profile", profile)] {
                if let Some(value) = value {
                    object.text(name, value);
                }
            }
        }),
    }
}

fn source(object: &mut Object<'_>, form: &str, name: &str, root: &str) {
    object.object("source", |object| {
        object.text("type", form);
        object.object(name, |object| object.text("root", root));
    });
}

#[cfg(test)]
mod tests {
    use super::super::json::page;
    use super::*;

    fn resources(text: &str) -> Resources {
        text.parse().expect("resources")
    }

    fn text(write: impl FnOnce(&mut Object<'_>)) -> String {
        String::from_utf8(page(0, write)).expect("text")
    }

    #[test]
    fn sums_have_the_four_names_always_and_ports_as_text() {
        let all = resources("cpus:16;mem:1024;ports:[31000-31002,31005-31006];tape:2");
        assert_eq!(
            text(|object| sums(object, &all)),
            r#"{"cpus":16.0,"disk":0.0,"gpus":0.0,"mem":1024.0,"tape":2.0,"ports":"[31000-31002, 31005-31006]"}"#
        );
        assert_eq!(
            text(|object| sums(object, &Resources::new())),
            r#"{"cpus":0.0,"disk":0.0,"gpus":0.0,"mem":0.0}"#
        );
    }

    #[test]
    fn sums_are_the_same_beside_what_is_to_be_added_up() {
        let ordinary = "mem:64;cpus:1.5;fpgas:2;ports:[1-2,5-6];slots:{b,a}";
        let plain = text(|object| sums(object, &resources(ordinary)));
        assert_eq!(
            plain,
            concat!(
                r#"{"cpus":1.5,"disk":0.0,"gpus":0.0,"mem":64.0,"fpgas":2.0,"#,
                r#""ports":"[1-2, 5-6]","slots":"{a, b}"}"#
            )
        );
        let mixed = resources(&format!("{ordinary};disk(web):8"));
        let expected = plain.replace(r#""disk":0.0"#, r#""disk":8.0"#);
        assert_eq!(text(|object| sums(object, &mixed)), expected);
        assert_eq!(text(|object| unreserved_sums(object, &mixed)), plain);
    }

    #[test]
    fn what_is_reserved_is_told_apart_by_role() {
        let all = resources("cpus:16;cpus(web):2;mem(web):64;cpus(db):1");
        assert_eq!(
            text(|object| reserved_sums(object, &all)),
            concat!(
                r#"{"db":{"cpus":1.0,"disk":0.0,"gpus":0.0,"mem":0.0},"#,
                r#""web":{"cpus":2.0,"disk":0.0,"gpus":0.0,"mem":64.0}}"#
            )
        );
        assert_eq!(
            text(|object| unreserved_sums(object, &all)),
            r#"{"cpus":16.0,"disk":0.0,"gpus":0.0,"mem":0.0}"#
        );
        assert_eq!(
            text(|object| object.array("all", |array| unreserved_in_full(array, &all))),
            r#"{"all":[{"name":"cpus","type":"SCALAR","scalar":{"value":16.0},"role":"*"}]}"#
        );
        assert_eq!(
            text(|object| reserved_in_full(object, &resources("cpus(db):1"))),
            concat!(
                r#"{"db":[{"name":"cpus","type":"SCALAR","scalar":{"value":1.0},"role":"db","#,
                r#""reservations":[{"type":"STATIC","role":"db"}]}]}"#
            )
        );
    }
}
