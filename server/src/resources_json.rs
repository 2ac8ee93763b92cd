//! Resources as JSON, in the form of Mesos's agents:
//! `[{"name": "cpus", "type": "SCALAR", "scalar": {"value": 4}}]`.
//!
//! Reservations stand in `reservations`, the outermost first; `role` alone, as in older files, is one made by the agent's
//! configuration. Numbers are read from their text, so that no float is in the way. What is not known is refused: it
//! could be part of what makes a resource different. `copies` is ours.

use std::collections::BTreeMap;

use proffer_model::limits::{ENTRIES_MAX, RANGES_MAX, RESOURCES_TEXT_LEN_MAX};
use proffer_model::resource_kind::Mountpoint;
use proffer_model::resources::{Amount, ItemSet, Pieces, format_milli, parse_milli};
use proffer_model::{
    Disk, DiskSource, Problem, Range, RangeSet, Reservation, ResourceKind, ResourceName, Resources,
    Volume, code,
};
use serde::{Deserialize, Serialize};

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct JsonResource {
    name: String,
    #[serde(rename = "type")]
    form: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scalar: Option<JsonScalar>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ranges: Option<JsonRanges>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    set: Option<JsonSet>,
    #[serde(default, skip_serializing)]
    role: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    reservations: Vec<JsonReservation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    disk: Option<JsonDisk>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revocable: Option<Nothing>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shared: Option<Nothing>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    copies: Option<u32>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct JsonScalar {
    value: serde_json::Number,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct JsonRanges {
    range: Vec<JsonRange>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct JsonRange {
    begin: u64,
    end: u64,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct JsonSet {
    item: Vec<String>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct JsonReservation {
    #[serde(rename = "type", default)]
    made: String,
    role: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    principal: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    labels: Option<JsonLabels>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct JsonLabels {
    labels: Vec<JsonLabel>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct JsonLabel {
    key: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct JsonDisk {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<JsonSource>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    persistence: Option<JsonPersistence>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    volume: Option<JsonMountpoint>,
}

/// Where a task sees it; what else may be said of it is not kept.
#[derive(Deserialize, Serialize)]
struct JsonMountpoint {
    container_path: String,
    #[serde(default)]
    mode: JsonMode,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
enum JsonMode {
    #[default]
    #[serde(rename = "RW")]
    Write,
    #[serde(rename = "RO")]
    Read,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct JsonSource {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<JsonRoot>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mount: Option<JsonRoot>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    profile: Option<String>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct JsonRoot {
    #[serde(default)]
    root: String,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct JsonPersistence {
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    principal: Option<String>,
}

/// Reads a JSON list as Mesos's agents take it; the problem names the item and its field.
pub fn read_resources(text: &str) -> Result<Resources, Problem> {
    if text.len() > RESOURCES_TEXT_LEN_MAX {
        let message = format!(
            "{} bytes; the limit is {RESOURCES_TEXT_LEN_MAX}",
            text.len()
        );
        return Err(Problem::new(code::FIELD_TOO_LONG, message).hint("give fewer resources"));
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let given: Vec<JsonResource> =
        serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            let path = error.path().to_string();
            let field = if path == "." { String::new() } else { path };
            let message = error.into_inner().to_string();
            Problem::new(code::RESOURCES_INVALID, message)
                .field(field)
                .hint(HINT)
        })?;
    reader
        .end()
        .map_err(|error| Problem::new(code::RESOURCES_INVALID, error.to_string()).hint(HINT))?;
    let mut out = Resources::new();
    for (i, resource) in given.into_iter().enumerate() {
        let read = resource.read();
        let inserted = read.and_then(|(kind, amount)| out.insert(kind, amount));
        inserted.map_err(|problem| problem.within(format_args!("[{i}]")))?;
    }
    Ok(out)
}

/// Writes what [`read_resources`] reads.
pub fn write_resources(resources: &Resources) -> String {
    let mut list = Vec::new();
    for (kind, amount) in resources.iter() {
        match amount {
            Amount::Whole(pieces) => list.extend(pieces.iter().map(|piece| {
                let copies = (piece.copies != 1).then_some(piece.copies);
                JsonResource {
                    copies,
                    ..write(&kind, &Amount::Scalar(piece.milli))
                }
            })),
            _ => list.push(write(&kind, amount)),
        }
    }
    // Cannot fail: only texts and numbers, in structs.
    serde_json::to_string(&list).unwrap_or_default()
}

const HINT: &str = r#"write [{"name": "cpus", "type": "SCALAR", "scalar": {"value": 4}}]"#;

impl JsonResource {
    fn read(self) -> Result<(ResourceKind, Amount), Problem> {
        let name: ResourceName = self.name.parse().map_err(within("name"))?;
        let amount = match (self.form.as_str(), self.scalar, self.ranges, self.set) {
            ("SCALAR", Some(scalar), None, None) => scalar.read(self.copies)?,
            ("RANGES", None, Some(ranges), None) => ranges.read().map_err(within("ranges"))?,
            ("SET", None, None, Some(set)) => {
                Amount::Set(ItemSet::from_given(set.item).map_err(within("set"))?)
            }
            _ => {
                return Err(
                    invalid("type", "it does not go with one of scalar, ranges and set")
                        .hint("give SCALAR with scalar, RANGES with ranges, SET with set"),
                );
            }
        };
        let mut kind = ResourceKind::plain(name);
        kind.is_revocable = self.revocable.is_some();
        kind.is_shared = self.shared.is_some();
        kind.disk = self
            .disk
            .map(JsonDisk::read)
            .transpose()
            .map_err(within("disk"))?;
        let role = self.role.filter(|role| role != "*");
        let mut given = self.reservations;
        if let Some(role) = role {
            if !given.is_empty() {
                return Err(invalid("role", "it is given beside reservations")
                    .hint("leave role out: the reservations name theirs"));
            }
            given.push(JsonReservation {
                role,
                ..JsonReservation::default()
            });
        }
        for (i, reservation) in given.into_iter().enumerate() {
            let read = reservation.read();
            let read = read.map_err(|p| p.within(format_args!("reservations[{i}]")))?;
            kind.reservations.push(read);
        }
        Ok((kind, amount))
    }
}

impl JsonScalar {
    fn read(self, copies: Option<u32>) -> Result<Amount, Problem> {
        let text = self.value.to_string();
        // A whole number may be written as 4.0; what has an exponent is too large or too small.
        let milli = parse_milli(&text).map_err(within("scalar.value"))?;
        match copies {
            None => Ok(Amount::Scalar(milli)),
            Some(0) => Err(invalid("copies", "there are none").hint("leave the resource out")),
            Some(copies) => Ok(Amount::Whole(Pieces::new(milli, copies))),
        }
    }
}

impl JsonRanges {
    fn read(self) -> Result<Amount, Problem> {
        if self.range.len() > RANGES_MAX {
            let message = format!("more than {RANGES_MAX} ranges are given");
            return Err(Problem::new(code::FIELD_TOO_LONG, message).hint("give fewer"));
        }
        let ranges = self.range.into_iter().map(|range| Range {
            begin: range.begin,
            end: range.end,
        });
        RangeSet::from_given(ranges.collect()).map(Amount::Ranges)
    }
}

impl JsonReservation {
    fn read(self) -> Result<Reservation, Problem> {
        if !matches!(self.made.as_str(), "" | "STATIC" | "DYNAMIC") {
            return Err(invalid("type", "it is neither STATIC nor DYNAMIC").hint("leave it out"));
        }
        let principal = self.principal.map(|text| text.parse()).transpose();
        let mut labels = BTreeMap::new();
        let given = self.labels.map(|labels| labels.labels).unwrap_or_default();
        if given.len() > ENTRIES_MAX {
            return Err(invalid("labels", "there are too many").hint("give fewer labels"));
        }
        for label in given {
            if labels.insert(label.key, label.value).is_some() {
                return Err(invalid("labels", "a key is given twice").hint("give each key once"));
            }
        }
        Ok(Reservation {
            role: self.role.parse().map_err(within("role"))?,
            principal: principal.map_err(within("principal"))?,
            labels,
        })
    }
}

impl JsonMountpoint {
    fn of(mountpoint: &Mountpoint) -> Self {
        Self {
            container_path: mountpoint.path.clone(),
            mode: match mountpoint.is_read_only {
                true => JsonMode::Read,
                false => JsonMode::Write,
            },
        }
    }

    fn read(self) -> Mountpoint {
        Mountpoint {
            path: self.container_path,
            is_read_only: self.mode == JsonMode::Read,
        }
    }
}

impl JsonDisk {
    fn read(self) -> Result<Disk, Problem> {
        let read = |persistence: JsonPersistence| {
            let principal = persistence.principal.map(|text| text.parse()).transpose();
            Ok::<_, Problem>(Volume {
                id: persistence.id.parse().map_err(within("persistence.id"))?,
                principal: principal.map_err(within("persistence.principal"))?,
                mountpoint: self.volume.map(JsonMountpoint::read),
            })
        };
        Ok(Disk {
            source: self.source.map(JsonSource::read).transpose()?,
            volume: self.persistence.map(read).transpose()?,
        })
    }
}

impl JsonSource {
    fn read(self) -> Result<DiskSource, Problem> {
        let root = |root: Option<JsonRoot>| root.map(|root| root.root).unwrap_or_default();
        let has_more = match self.kind.as_str() {
            "PATH" => self.mount.is_some() || self.id.is_some() || self.profile.is_some(),
            "MOUNT" => self.path.is_some() || self.id.is_some() || self.profile.is_some(),
            "BLOCK" => self.path.is_some() || self.mount.is_some() || self.profile.is_some(),
            _ => self.path.is_some() || self.mount.is_some(),
        };
        if has_more {
            return Err(invalid("source", "it has fields of another type").hint(SOURCE_HINT));
        }
        Ok(match self.kind.as_str() {
            "PATH" => DiskSource::Path {
                root: root(self.path),
            },
            "MOUNT" => DiskSource::Mount {
                root: root(self.mount),
            },
            "BLOCK" => DiskSource::Block {
                id: self.id.unwrap_or_default(),
            },
            "RAW" => DiskSource::Raw {
                id: self.id,
                profile: self.profile,
            },
            _ => return Err(invalid("source.type", "it is not known").hint(SOURCE_HINT)),
        })
    }
}

const SOURCE_HINT: &str =
    "give PATH with path.root, MOUNT with mount.root, BLOCK with id, or RAW with id and profile";

/// One entry of the list; of whole things, one piece.
fn write(kind: &ResourceKind, amount: &Amount) -> JsonResource {
    let mut out = JsonResource {
        name: kind.name.to_string(),
        reservations: kind.reservations.iter().map(write_reservation).collect(),
        disk: kind.disk.as_ref().map(write_disk),
        revocable: kind.is_revocable.then_some(Nothing {}),
        shared: kind.is_shared.then_some(Nothing {}),
        ..JsonResource::default()
    };
    match amount {
        Amount::Scalar(_) | Amount::Whole(_) => {
            out.form = "SCALAR".to_owned();
            let number = format_milli(amount.quantity(false)).parse();
            out.scalar = number.ok().map(|value| JsonScalar { value });
        }
        Amount::Ranges(set) => {
            out.form = "RANGES".to_owned();
            let ranges = set.ranges().iter().map(|range| JsonRange {
                begin: range.begin,
                end: range.end,
            });
            out.ranges = Some(JsonRanges {
                range: ranges.collect(),
            });
        }
        Amount::Set(set) => {
            out.form = "SET".to_owned();
            out.set = Some(JsonSet {
                item: set.iter().map(str::to_owned).collect(),
            });
        }
    }
    out
}

fn write_reservation(reservation: &Reservation) -> JsonReservation {
    let label = |(key, value): (&String, &String)| JsonLabel {
        key: key.clone(),
        value: value.clone(),
    };
    let labels: Vec<_> = reservation.labels.iter().map(label).collect();
    JsonReservation {
        made: match reservation.principal {
            Some(_) => "DYNAMIC".to_owned(),
            None => "STATIC".to_owned(),
        },
        role: reservation.role.to_string(),
        principal: reservation.principal.as_ref().map(ToString::to_string),
        labels: (!labels.is_empty()).then_some(JsonLabels { labels }),
    }
}

fn write_disk(disk: &Disk) -> JsonDisk {
    let root = |root: &str| {
        Some(JsonRoot {
            root: root.to_owned(),
        })
    };
    let source = disk.source.as_ref().map(|source| match source {
        DiskSource::Path { root: dir } => JsonSource {
            kind: "PATH".to_owned(),
            path: root(dir),
            ..JsonSource::default()
        },
        DiskSource::Mount { root: dir } => JsonSource {
            kind: "MOUNT".to_owned(),
            mount: root(dir),
            ..JsonSource::default()
        },
        DiskSource::Block { id } => JsonSource {
            kind: "BLOCK".to_owned(),
            id: Some(id.clone()),
            ..JsonSource::default()
        },
        DiskSource::Raw { id, profile } => JsonSource {
            kind: "RAW".to_owned(),
            id: id.clone(),
            profile: profile.clone(),
            ..JsonSource::default()
        },
    });
    let volume = disk.volume.as_ref().map(|volume| JsonPersistence {
        id: volume.id.to_string(),
        principal: volume.principal.as_ref().map(ToString::to_string),
    });
    let mountpoint = disk.volume.as_ref().and_then(|it| it.mountpoint.as_ref());
    JsonDisk {
        source,
        persistence: volume,
        volume: mountpoint.map(JsonMountpoint::of),
    }
}

fn invalid(field: &str, message: &str) -> Problem {
    Problem::new(code::RESOURCES_INVALID, message).field(field)
}

fn within(field: &'static str) -> impl Fn(Problem) -> Problem {
    move |problem| problem.within(field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::{Index, select, subsequence};

    fn r(text: &str) -> Resources {
        text.parse().expect(text)
    }

    /// One of each kind.
    const ALL: &[&str] = &[
        "cpus:0.25",
        "mem:1000000000",
        "ports:[1-2, 5-5]",
        "zones:{a,\"b c\"}",
        "cpus(eng):1.5",
        "cpus(eng)(eng/web,ops,{team:a}):2",
        "mem{REV}:3.001",
        "ports(eng):[1-2]",
        "disk(eng)[logs,ops]:64",
        "disk(eng)[data]<SHARED>:64<3>",
        "disk@PATH:/mnt/a:10",
        "disk@MOUNT:100<2>",
        "disk@MOUNT:/mnt/b:100",
        "disk@BLOCK(sda):100",
        "disk@RAW:100",
        "disk@RAW(a,fast):100",
    ];

    #[test]
    fn what_mesos_writes_is_read() {
        for (text, same) in [
            (
                r#"[{"name":"cpus","type":"SCALAR","scalar":{"value":0.5},"role":"eng"}]"#,
                "cpus(eng):0.5",
            ),
            (
                r#" [{"name":"disk","type":"SCALAR","scalar":{"value":2048.0},"role":"*",
                    "disk":{"source":{"type":"MOUNT","mount":{"root":"/mnt/a"}}}}]"#,
                "disk@MOUNT:/mnt/a:2048",
            ),
            (
                r#"[{"name":"disk","type":"SCALAR","scalar":{"value":64},
                    "reservations":[{"type":"DYNAMIC","role":"eng","principal":"ops"}],
                    "disk":{"persistence":{"id":"logs"},"volume":{"container_path":"p","mode":"RW"}}}]"#,
                "disk(eng,ops)[logs]:64",
            ),
        ] {
            assert_eq!(read_resources(text), Ok(r(same)), "{text}");
        }
    }

    #[test]
    fn bad_json_names_the_item_and_the_field() {
        let invalid = code::RESOURCES_INVALID;
        let cpus = |value: &str, rest: &str| {
            let scalar = format!(r#""scalar":{{"value":{value}}}"#);
            format!(r#"[{{"name":"cpus","type":"SCALAR",{scalar}{rest}}}]"#)
        };
        for (text, code, field) in [
            ("[{}]".to_owned(), invalid, "[0]"),
            ("[".to_owned(), invalid, ""),
            ("[] x".to_owned(), invalid, ""),
            (cpus("-1", ""), invalid, "[0].scalar.value"),
            (cpus("1e300", ""), invalid, "[0].scalar.value"),
            (cpus("0.00001", ""), invalid, "[0].scalar.value"),
            (cpus("NaN", ""), invalid, "[0].scalar.value"),
            (cpus("1", r#","set":{"item":[]}"#), invalid, "[0].type"),
            (cpus("1", r#","copies":2"#), invalid, "[0].cpus"),
            (
                cpus("1", r#","provider_id":{}"#),
                invalid,
                "[0].provider_id",
            ),
            (
                cpus("1", r#","disk":{"persistence":{"id":"v"}}"#),
                invalid,
                "[0].cpus.disk",
            ),
            (
                cpus("1", r#","role":"a/""#),
                code::ID_INVALID,
                "[0].reservations[0].role",
            ),
            (
                cpus("1", r#","role":"a","reservations":[{"role":"b"}]"#),
                invalid,
                "[0].role",
            ),
        ] {
            let problem = read_resources(&text).expect_err(&text);
            let found = (problem.code.as_ref(), problem.field.as_str());
            assert_eq!(found, (code.name, field), "{text}: {problem}");
            assert!(
                !problem.hint.is_empty() || problem.is(code::ID_INVALID),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn json_survives_a_round_trip(items in subsequence(ALL, 0..=ALL.len())) {
            let resources = r(&items.join(";"));
            prop_assert_eq!(read_resources(&write_resources(&resources)), Ok(resources));
        }

        #[test]
        fn no_damaged_json_panics(at in any::<Index>(), with in select(&["", "\"", "{", "]", ",", "9", "é"][..])) {
            let text = write_resources(&r(&ALL.join(";")));
            let mut chars: Vec<String> = text.chars().map(String::from).collect();
            let at = at.index(chars.len());
            chars[at] = with.to_owned();
            let _ = read_resources(&chars.concat());
        }
    }
}
