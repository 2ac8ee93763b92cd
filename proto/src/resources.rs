//! Resources and attributes.
//!
//! The amounts and names are checked by the model's own constructors; here are the path and the number of items.

use proffer_model::limits::{ENTRIES_MAX, RANGES_MAX, RESOURCE_NAMES_MAX};
use proffer_model::ranges::{Range, RangeSet};
use proffer_model::{AttributeValue, Attributes, Problem, ResourceName, Resources};

use crate::fields::{check_count, decode_id, missing};
use crate::v1;

/// Resources for the wire, ordered by name.
pub fn encode_resources(resources: &Resources) -> v1::Resources {
    let scalars = resources.scalars().iter().map(|(name, milli)| v1::Scalar {
        name: name.to_string(),
        milli: *milli,
    });
    let ranges = resources.ranges().iter().map(|(name, set)| v1::Ranges {
        name: name.to_string(),
        ranges: set.ranges().iter().map(encode_range).collect(),
    });
    v1::Resources {
        scalars: scalars.collect(),
        ranges: ranges.collect(),
    }
}

/// Resources from the wire; a problem names the resource.
pub fn decode_resources(resources: v1::Resources) -> Result<Resources, Problem> {
    check_count(resources.scalars.len(), "scalars", RESOURCE_NAMES_MAX)?;
    check_count(resources.ranges.len(), "ranges", RESOURCE_NAMES_MAX)?;
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

fn decode_name(name: &str, item: std::fmt::Arguments<'_>) -> Result<ResourceName, Problem> {
    decode_id(name, "name").map_err(|problem| problem.within(item))
}

fn encode_range(range: &Range) -> v1::Range {
    v1::Range {
        begin: range.begin,
        end: range.end,
    }
}

fn decode_range(range: &v1::Range) -> Range {
    Range {
        begin: range.begin,
        end: range.end,
    }
}
