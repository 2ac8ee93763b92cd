//! Attributes: what an agent says about itself besides resources, as in `rack:a;zone:eu-1`.

use std::collections::BTreeMap;
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

/// All attributes of an agent, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes(BTreeMap<ResourceName, AttributeValue>);

impl Attributes {
    /// Adds one; the same name twice is an error.
    pub fn insert(&mut self, name: ResourceName, value: AttributeValue) -> Result<(), Problem> {
        if self.0.len() == ENTRIES_MAX {
            return Err(Problem::new(
                code::FIELD_TOO_LONG,
                format!("more than {ENTRIES_MAX} attributes"),
            ));
        }
        match self.0.insert(name.clone(), value) {
            None => Ok(()),
            Some(_) => Err(
                Problem::new(code::ATTRIBUTES_INVALID, "the attribute is given twice")
                    .field(name.as_str()),
            ),
        }
    }

    /// The value of one.
    pub fn get(&self, name: &ResourceName) -> Option<&AttributeValue> {
        self.0.get(name)
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&ResourceName, &AttributeValue)> {
        self.0.iter()
    }
}

impl FromStr for Attributes {
    type Err = Problem;

    /// Reads `rack:a;zone:eu-1`; a value may hold `:`.
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
        for bad in ["rack", "rack:", "rack:a;rack:b", "1:a", "ra/ck:a"] {
            bad.parse::<Attributes>().expect_err(bad);
        }
    }
}
