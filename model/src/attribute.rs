//! Attributes: what an agent says about itself besides resources, as in `rack:a;zone:eu-1`.

use std::fmt;
use std::str::FromStr;

use crate::code;
use crate::id::ResourceName;
use crate::limits::{ENTRIES_MAX, ID_LEN_MAX};
use crate::problem::Problem;

/// The value of an attribute: text. (Mesos also has scalars and ranges; both compare as text in every constraint.)
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AttributeValue(String);

impl AttributeValue {
    /// Checks and wraps: 1 to 200 bytes, no control character, no `;`.
    pub fn new(text: &str) -> Result<Self, Problem> {
        let text = text.trim();
        if text.is_empty()
            || text.len() > ID_LEN_MAX
            || text.chars().any(|c| c.is_control() || c == ';')
        {
            return Err(Problem::new(
                code::ATTRIBUTES_INVALID,
                format!("{text:?} is not an attribute's value"),
            )
            .hint("give 1 to 200 bytes without ';' and control characters"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// All attributes of an agent, by name. A name may have several values, as in Mesos: an agent with two network cards is in
/// both racks. Whatever asks for a value is answered by any of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes(Vec<(ResourceName, AttributeValue)>);

impl Attributes {
    /// Adds one; what is there already is there once.
    pub fn insert(&mut self, name: ResourceName, value: AttributeValue) -> Result<(), Problem> {
        let attribute = (name, value);
        let Err(place) = self.0.binary_search(&attribute) else {
            return Ok(());
        };
        if self.0.len() == ENTRIES_MAX {
            return Err(Problem::new(
                code::FIELD_TOO_LONG,
                format!("more than {ENTRIES_MAX} attributes"),
            ));
        }
        self.0.insert(place, attribute);
        Ok(())
    }

    /// The values of one, in order; none: the agent does not have it.
    pub fn values<'a>(
        &'a self,
        name: &'a ResourceName,
    ) -> impl Iterator<Item = &'a AttributeValue> + use<'a> {
        let from = self.0.partition_point(|(own, _)| own < name);
        let rest = self.0.iter().skip(from);
        rest.take_while(move |(own, _)| own == name)
            .map(|(_, value)| value)
    }

    /// Whether an attribute of this name has this value, beside others perhaps.
    pub fn has(&self, name: &ResourceName, value: &AttributeValue) -> bool {
        self.values(name).any(|own| own == value)
    }

    /// All, by name and then by value.
    pub fn iter(&self) -> impl Iterator<Item = (&ResourceName, &AttributeValue)> {
        self.0.iter().map(|(name, value)| (name, value))
    }
}

impl FromStr for Attributes {
    type Err = Problem;

    /// Reads `rack:a;zone:eu-1`; a value may hold `:`, and a name may come more than once.
    fn from_str(text: &str) -> Result<Self, Problem> {
        let mut attributes = Self::default();
        for part in text
            .split(';')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let (name, value) = part.split_once(':').ok_or_else(|| {
                Problem::new(code::ATTRIBUTES_INVALID, format!("{part:?} has no ':'"))
                    .hint("write name:value;name:value")
            })?;
            let name = ResourceName::new(name.trim())?;
            let value = AttributeValue::new(value).map_err(|problem| problem.within(&name))?;
            attributes.insert(name, value)?;
        }
        Ok(attributes)
    }
}

impl fmt::Display for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, value)) in self.0.iter().enumerate() {
            let semicolon = if i == 0 { "" } else { ";" };
            write!(f, "{semicolon}{name}:{}", value.0)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_and_written() {
        let attributes: Attributes = "zone:eu-1; rack:a:b".parse().expect("good");
        assert_eq!(attributes.to_string(), "rack:a:b;zone:eu-1");
        for bad in ["rack", "rack:", "rack:a;rack:", "1:a", "ra/ck:a"] {
            bad.parse::<Attributes>().expect_err(bad);
        }
    }

    #[test]
    fn a_name_has_as_many_values_as_it_is_given() {
        let attributes: Attributes = "rack:b;zone:1;rack:a;rack:b".parse().expect("good");
        assert_eq!(attributes.to_string(), "rack:a;rack:b;zone:1");
        assert_eq!(attributes, "rack:a;zone:1;rack:b".parse().expect("good"));
        let name = |text| ResourceName::new(text).expect(text);
        let value = |text| AttributeValue::new(text).expect(text);
        let of = |text| {
            let name = name(text);
            let values = attributes
                .values(&name)
                .map(|value| value.as_str().to_owned());
            values.collect::<Vec<_>>()
        };
        assert_eq!(of("rack"), ["a", "b"]);
        assert_eq!(of("zone"), ["1"]);
        assert!(of("host").is_empty() && of("r").is_empty() && of("zzz").is_empty());
        assert!(attributes.has(&name("rack"), &value("b")));
        assert!(!attributes.has(&name("rack"), &value("1")));
    }

    #[test]
    fn there_is_a_limit_of_names_and_values_together() {
        let many = (0..=ENTRIES_MAX)
            .map(|n| format!("rack:{n};"))
            .collect::<String>();
        let problem = many.parse::<Attributes>().expect_err("too many");
        assert_eq!(problem.code, code::FIELD_TOO_LONG.name);
    }
}
