//! Resources and attributes.
//!
//! The amounts and names are checked by the model's own constructors; here are the path and the number of items.

use std::collections::BTreeMap;

use proffer_model::limits::{ENTRIES_MAX, RANGES_MAX, RESOURCE_NAMES_MAX, SCALAR_MILLI_MAX};
use proffer_model::ranges::{Range, RangeSet};
use proffer_model::resources::{Amount, ItemSet};
use proffer_model::{
    AttributeValue, Attributes, Limits, Problem, Quantities, ResourceKind, ResourceName, Resources,
};

use crate::fields::{check_count, decode_id, invalid, missing};
use crate::limits::SPECIAL_MAX;
use crate::special::{decode_special, encode_special};
use crate::v1;

/// Resources for the wire, ordered by name.
pub fn encode_resources(resources: &Resources) -> v1::Resources {
    let mut out = v1::Resources::default();
    for (name, amount) in resources.ordinary() {
        let name = name.to_string();
        match amount {
            Amount::Ranges(set) => out.ranges.push(v1::Ranges {
                name,
                ranges: set.ranges().iter().map(encode_range).collect(),
            }),
            Amount::Set(set) => out.sets.push(v1::Set {
                name,
                items: set.iter().map(str::to_owned).collect(),
            }),
            Amount::Scalar(_) | Amount::Whole(_) => out.scalars.push(v1::Scalar {
                name,
                milli: amount.quantity(false),
            }),
        }
    }
    for (kind, amount) in resources.special() {
        encode_special(kind, amount, &mut out.special);
    }
    out
}

/// Resources from the wire; a problem names the resource.
pub fn decode_resources(resources: v1::Resources) -> Result<Resources, Problem> {
    check_count(resources.scalars.len(), "scalars", RESOURCE_NAMES_MAX)?;
    check_count(resources.ranges.len(), "ranges", RESOURCE_NAMES_MAX)?;
    check_count(resources.sets.len(), "sets", RESOURCE_NAMES_MAX)?;
    check_count(resources.special.len(), "special", SPECIAL_MAX)?;
    let mut out = Resources::new();
    for (i, scalar) in resources.scalars.into_iter().enumerate() {
        let name = decode_name(&scalar.name, format_args!("scalars[{i}]"))?;
        out.insert_scalar(name, scalar.milli)?;
    }
    for (i, given) in resources.ranges.into_iter().enumerate() {
        let name = decode_name(&given.name, format_args!("ranges[{i}]"))?;
        check_count(given.ranges.len(), name.as_str(), RANGES_MAX)?;
        let ranges = given.ranges.iter().map(decode_range).collect();
        let set = RangeSet::from_given(ranges).map_err(|problem| problem.within(&name))?;
        out.insert_ranges(name, set)?;
    }
    for (i, given) in resources.sets.into_iter().enumerate() {
        let name = decode_name(&given.name, format_args!("sets[{i}]"))?;
        let set = ItemSet::from_given(given.items).map_err(|problem| problem.within(&name))?;
        out.insert(ResourceKind::plain(name), Amount::Set(set))?;
    }
    for (i, given) in resources.special.into_iter().enumerate() {
        let decoded = decode_special(given);
        let inserted = decoded.and_then(|(kind, amount)| {
            let name = kind.name.clone();
            let inserted = out.insert(kind, amount);
            inserted.map_err(|problem| unnamed(problem, name.as_str()))
        });
        inserted.map_err(|problem| problem.within(format_args!("special[{i}]")))?;
    }
    Ok(out)
}

/// Quantities for the wire, ordered by name.
pub fn encode_quantities(quantities: &Quantities) -> v1::Quantities {
    let scalars = quantities.iter().map(|(name, milli)| v1::Scalar {
        name: name.to_string(),
        milli,
    });
    v1::Quantities {
        scalars: scalars.collect(),
    }
}

/// Quantities from the wire; a problem names the scalar. An amount of 0 is as good as none.
pub fn decode_quantities(quantities: v1::Quantities) -> Result<Quantities, Problem> {
    let scalars = decode_scalars(quantities.scalars)?;
    Ok(scalars.into_iter().collect())
}

/// Limits for the wire, ordered by name.
pub fn encode_limits(limits: &Limits) -> v1::Quantities {
    let scalars = limits.iter().map(|(name, milli)| v1::Scalar {
        name: name.to_string(),
        milli,
    });
    v1::Quantities {
        scalars: scalars.collect(),
    }
}

/// Limits from the wire; a problem names the scalar. An amount of 0 is a limit.
pub fn decode_limits(limits: v1::Quantities) -> Result<Limits, Problem> {
    let mut out = Limits::new();
    for (name, milli) in decode_scalars(limits.scalars)? {
        out.set(name, milli);
    }
    Ok(out)
}

fn decode_scalars(scalars: Vec<v1::Scalar>) -> Result<BTreeMap<ResourceName, u64>, Problem> {
    check_count(scalars.len(), "scalars", RESOURCE_NAMES_MAX)?;
    let mut out = BTreeMap::new();
    for (i, scalar) in scalars.into_iter().enumerate() {
        let name = decode_name(&scalar.name, format_args!("scalars[{i}]"))?;
        if scalar.milli > SCALAR_MILLI_MAX {
            let most = SCALAR_MILLI_MAX / 1_000;
            return Err(
                invalid(name.as_str(), format!("the amount is larger than {most}"))
                    .hint("give less"),
            );
        }
        if out.insert(name.clone(), scalar.milli).is_some() {
            return Err(invalid(name.as_str(), "the resource is given twice")
                .hint("give each resource once"));
        }
    }
    Ok(out)
}

/// Attributes for the wire, ordered by name.
pub fn encode_attributes(attributes: &Attributes) -> Vec<v1::Attribute> {
    attributes
        .iter()
        .map(|(name, value)| encode_attribute(name, value))
        .collect()
}

/// Attributes from the wire; a problem's path begins with `attributes`.
pub fn decode_attributes(attributes: Vec<v1::Attribute>) -> Result<Attributes, Problem> {
    check_count(attributes.len(), "attributes", ENTRIES_MAX)?;
    let mut out = Attributes::default();
    for (i, attribute) in attributes.into_iter().enumerate() {
        let (name, value) = decode_attribute(attribute)
            .map_err(|problem| problem.within(format_args!("attributes[{i}]")))?;
        out.insert(name, value)
            .map_err(|problem| problem.within("attributes"))?;
    }
    Ok(out)
}

/// One attribute.
pub(crate) fn encode_attribute(name: &ResourceName, value: &AttributeValue) -> v1::Attribute {
    v1::Attribute {
        name: name.to_string(),
        value: value.as_str().to_owned(),
    }
}

/// One attribute, alone or in a predicate.
pub(crate) fn decode_attribute(
    attribute: v1::Attribute,
) -> Result<(ResourceName, AttributeValue), Problem> {
    let name = decode_id(&attribute.name, "name")?;
    if attribute.value.is_empty() {
        return Err(missing("value"));
    }
    let value = AttributeValue::new(&attribute.value).map_err(|problem| problem.within("value"))?;
    Ok((name, value))
}

/// What the model calls by the resource's name is called by its place here.
fn unnamed(problem: Problem, name: &str) -> Problem {
    let rest = problem.field.strip_prefix(name).unwrap_or_default();
    let rest = rest.strip_prefix('.').unwrap_or(rest).to_owned();
    problem.field(rest)
}

fn decode_name(name: &str, item: std::fmt::Arguments<'_>) -> Result<ResourceName, Problem> {
    decode_id(name, "name").map_err(|problem| problem.within(item))
}

pub(crate) fn encode_range(range: &Range) -> v1::Range {
    v1::Range {
        begin: range.begin,
        end: range.end,
    }
}

pub(crate) fn decode_range(range: &v1::Range) -> Range {
    Range {
        begin: range.begin,
        end: range.end,
    }
}
