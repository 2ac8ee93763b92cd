//! What is known of Mesos's messages, laid out for quick looks: how fields are named, numbered and written, and which a message
//! must have. Made once, from the descriptors.

use std::collections::HashMap;

use prost_reflect::{Cardinality, DescriptorPool, FieldDescriptor, Kind as Described};

#[path = "../../mesos_large.rs"]
mod mesos_large;

/// Messages have no more fields than a set of bits has.
pub(super) const FIELDS_MAX: usize = 64;

/// All messages.
#[derive(Debug, Default)]
pub(super) struct Plan {
    messages: Vec<MessagePlan>,
    enums: Vec<EnumPlan>,
    by_name: HashMap<String, usize>,
}

/// One message.
#[derive(Debug, Default)]
pub(super) struct MessagePlan {
    fields: Vec<FieldPlan>,
    /// Where a field stands among them, by its number.
    by_number: HashMap<u64, usize>,
    /// The same by what it is called in JSON, in order.
    by_name: Vec<(String, usize)>,
    /// Whether its fields are declared in the order of their numbers, which is the order of its bytes.
    pub(super) is_in_order: bool,
    /// Those that must be there, as bits.
    pub(super) required: u64,
}

/// One field.
#[derive(Debug)]
pub(super) struct FieldPlan {
    /// Its number.
    pub(super) number: u64,
    /// Where it is declared among them.
    pub(super) rank: usize,
    /// Its name as JSON, with the colon.
    pub(super) key: Vec<u8>,
    /// What its values are.
    pub(super) kind: Kind,
    /// Which message its values are, however rare.
    pub(super) inner: Option<usize>,
    /// Whether there may be many.
    pub(super) is_list: bool,
    /// Whether each value has memory of its own: one of many that are more than numbers, or one that is kept apart.
    pub(super) is_apart: bool,
    /// Its bit.
    pub(super) bit: u64,
}

/// What values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Double,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Bool,
    Text,
    Bytes,
    /// Of which enum.
    Enum(usize),
    /// Of which message.
    Message(usize),
    /// What is so rare that it is not planned: maps, one of several, other numbers.
    Rare,
}

#[derive(Debug, Default)]
struct EnumPlan {
    by_number: HashMap<i32, String>,
    by_name: HashMap<String, i32>,
}

impl Plan {
    /// Of all messages of a pool.
    pub(super) fn of(pool: &DescriptorPool) -> Self {
        let mut plan = Self::default();
        let enums: HashMap<String, usize> = pool
            .all_enums()
            .enumerate()
            .map(|(index, of)| (of.full_name().to_owned(), index))
            .collect();
        for (index, message) in pool.all_messages().enumerate() {
            plan.by_name.insert(message.full_name().to_owned(), index);
        }
        for of in pool.all_enums() {
            let values = || {
                of.values()
                    .map(|value| (value.number(), value.name().to_owned()))
            };
            plan.enums.push(EnumPlan {
                by_number: values().collect(),
                by_name: values().map(|(number, name)| (name, number)).collect(),
            });
        }
        for message in pool.all_messages() {
            let fields = message.fields().enumerate();
            let fields = fields.map(|(index, field)| (plan.field(index, &field, &enums), field));
            let planned = MessagePlan::of(fields.collect());
            plan.messages.push(planned);
        }
        plan
    }

    fn field(
        &self,
        index: usize,
        field: &FieldDescriptor,
        enums: &HashMap<String, usize>,
    ) -> FieldPlan {
        let is_rare = field.is_map() || field.containing_oneof().is_some() || index >= FIELDS_MAX;
        let at = |known: Option<&usize>| known.copied();
        let inner = match field.kind() {
            Described::Message(of) => at(self.by_name.get(of.full_name())),
            _ => None,
        };
        let kind = match field.kind() {
            _ if is_rare => None,
            Described::Double => Some(Kind::Double),
            Described::Int32 => Some(Kind::Int32),
            Described::Int64 => Some(Kind::Int64),
            Described::Uint32 => Some(Kind::Uint32),
            Described::Uint64 => Some(Kind::Uint64),
            Described::Bool => Some(Kind::Bool),
            Described::String => Some(Kind::Text),
            Described::Bytes => Some(Kind::Bytes),
            Described::Enum(of) => at(enums.get(of.full_name())).map(Kind::Enum),
            Described::Message(_) => inner.map(Kind::Message),
            _ => None,
        };
        FieldPlan {
            number: field.number().into(),
            rank: rank(field),
            key: format!("\"{}\":", field.name()).into_bytes(),
            kind: kind.unwrap_or(Kind::Rare),
            inner,
            is_list: field.is_list(),
            is_apart: field.is_list() || field.is_map() || is_large(field),
            bit: u32::try_from(index).map_or(0, |index| 1_u64.checked_shl(index).unwrap_or(0)),
        }
    }

    /// The message of this name.
    pub(super) fn find(&self, full_name: &str) -> Option<&MessagePlan> {
        self.message(*self.by_name.get(full_name)?)
    }

    /// A message by its place.
    pub(super) fn message(&self, index: usize) -> Option<&MessagePlan> {
        self.messages.get(index)
    }

    /// The name of an enum's value.
    pub(super) fn value_name(&self, index: usize, number: i32) -> Option<&str> {
        let known = self.enums.get(index)?.by_number.get(&number);
        known.map(String::as_str)
    }

    /// The number of an enum's value.
    pub(super) fn value_number(&self, index: usize, name: &str) -> Option<i32> {
        self.enums.get(index)?.by_name.get(name).copied()
    }
}

impl MessagePlan {
    fn of(fields: Vec<(FieldPlan, FieldDescriptor)>) -> Self {
        let mut of = Self::default();
        // The name of JSON goes before the name of the file.
        let mut by_name = HashMap::new();
        for (index, (_, described)) in fields.iter().enumerate() {
            by_name.insert(described.name().to_owned(), index);
        }
        for (index, (plan, described)) in fields.into_iter().enumerate() {
            by_name.insert(described.json_name().to_owned(), index);
            if described.cardinality() == Cardinality::Required {
                of.required |= plan.bit;
            }
            of.by_number.insert(plan.number, index);
            of.fields.push(plan);
        }
        of.is_in_order = of.fields.is_sorted_by_key(|field| field.rank);
        of.by_name = by_name.into_iter().collect();
        of.by_name.sort_unstable();
        of
    }

    /// The field of this number.
    pub(super) fn numbered(&self, number: u64) -> Option<&FieldPlan> {
        // Most messages count their fields through.
        let guess = usize::try_from(number.saturating_sub(1)).ok()?;
        match self.fields.get(guess) {
            Some(field) if field.number == number => Some(field),
            _ => self.fields.get(*self.by_number.get(&number)?),
        }
    }

    /// The field that JSON calls so.
    pub(super) fn named(&self, name: &str) -> Option<&FieldPlan> {
        let at = self
            .by_name
            .binary_search_by(|(known, _)| known.as_str().cmp(name));
        let (_, index) = self.by_name.get(at.ok()?)?;
        self.fields.get(*index)
    }
}

/// Whether it is one of those that take much room.
fn is_large(field: &FieldDescriptor) -> bool {
    let name = field.full_name();
    let name = name.strip_prefix("mesos.v1.");
    name.is_some_and(|name| mesos_large::MESOS_LARGE.contains(&name))
}

/// Where a field is declared in its message; descriptors list fields by number.
fn rank(field: &FieldDescriptor) -> usize {
    let message = field.parent_message();
    let mut declared = message.descriptor_proto().field.iter();
    let rank = declared.position(|one| one.name() == field.name());
    rank.unwrap_or(usize::MAX)
}
