//! Ids and names: newtypes whose constructors refuse what could be path syntax, a control character or too long.
//!
//! No id can become a path: directories on disk are numbered (`runs/<16 hex>`), and still `/`, `..` and their like are
//! refused, so that a slip elsewhere stays harmless (MESOS-6866).

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use crate::code;
use crate::limits::ID_LEN_MAX;
use crate::problem::Problem;

pub use crate::resources::ResourceName;

/// Checks what every id must hold: 1 to 200 bytes, no control character, no white space, no path syntax.
fn validate_id(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("is empty".into());
    }
    if text.len() > ID_LEN_MAX {
        return Err(format!(
            "has {} bytes; the limit is {ID_LEN_MAX}",
            text.len()
        ));
    }
    if text == "." || text == ".." {
        return Err("is a relative path".into());
    }
    match text
        .chars()
        .find(|c| c.is_control() || c.is_whitespace() || matches!(c, '/' | '\\' | '%'))
    {
        Some(c) => Err(format!("contains {c:?}")),
        None => Ok(()),
    }
}

/// Checks a role: `*`, or segments as in [`validate_id`] joined by `/`, none of which begins with `-` (Mesos's rule).
fn validate_role(text: &str) -> Result<(), String> {
    if text.len() > ID_LEN_MAX {
        return Err(format!(
            "has {} bytes; the limit is {ID_LEN_MAX}",
            text.len()
        ));
    }
    for segment in text.split('/') {
        validate_id(segment).map_err(|why| format!("has a segment that {why}"))?;
        if segment.starts_with('-') {
            return Err("has a segment that begins with '-'".into());
        }
        if segment == "*" && text != "*" {
            return Err("has '*' as a segment".into());
        }
    }
    Ok(())
}

/// Checks the name of a resource: letters, digits, `_`, `-` and `.`, beginning with a letter.
pub(crate) fn validate_resource_name(text: &str) -> Result<(), String> {
    validate_id(text)?;
    let mut chars = text.chars();
    if !chars.next().is_some_and(|c| c.is_ascii_alphabetic()) {
        return Err("does not begin with a letter".into());
    }
    match chars.find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))) {
        Some(c) => Err(format!("contains {c:?}")),
        None => Ok(()),
    }
}

/// Checks a key of framework state: like an id, but `/` may separate segments.
fn validate_key(text: &str) -> Result<(), String> {
    if text.len() > ID_LEN_MAX {
        return Err(format!(
            "has {} bytes; the limit is {ID_LEN_MAX}",
            text.len()
        ));
    }
    text.split('/').try_for_each(|segment| {
        validate_id(segment).map_err(|why| format!("has a segment that {why}"))
    })
}

/// What to do about an id of this kind.
const PLAIN: &str = code::ID_INVALID.remedy;
const ROLE: &str =
    "give * or a path such as eng/web, of at most 200 bytes, whose parts do not begin with '-'";
const KEY: &str = "give a path such as jobs/1 of at most 200 bytes, without empty parts, white space, '\\' and '%'";

macro_rules! ids {
    ($($(#[doc = $doc:literal])+ $name:ident, $what:literal, $validate:ident, $remedy:expr;)+) => {$(
        $(#[doc = $doc])+
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// Checks and wraps; the error is `id.invalid` and says what is wrong.
            pub fn new(text: &str) -> Result<Self, Problem> {
                $validate(text).map_err(|why| {
                    Problem::new(code::ID_INVALID, format!(concat!("the ", $what, " {}"), why)).hint($remedy)
                })?;
                Ok(Self(text.into()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Problem;
            fn from_str(text: &str) -> Result<Self, Problem> {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    )+};
}

ids! {
    /// A cluster, named when its store is made; agents refuse a master of another.
    ClusterId, "cluster id", validate_id, PLAIN;
    /// A framework, given by the master, never used again.
    FrameworkId, "framework id", validate_id, PLAIN;
    /// An agent, given by the master when it first registers.
    AgentId, "agent id", validate_id, PLAIN;
    /// A task, given by its framework; unique within it while live or unacknowledged.
    TaskId, "task id", validate_id, PLAIN;
    /// An offer; cannot be guessed.
    OfferId, "offer id", validate_id, PLAIN;
    /// An entry of a framework's demand, named by the framework.
    DemandId, "demand id", validate_id, PLAIN;
    /// Who calls, as authentication found it.
    Principal, "principal", validate_id, PLAIN;
    /// The owner of a share: a path such as `eng/web`, or `*`.
    Role, "role", validate_role, ROLE;
    /// A key of a framework's durable state; segments joined by `/`.
    StateKey, "state key", validate_key, KEY;
    /// The id of a persistent volume, chosen by who makes it.
    VolumeId, "volume id", validate_id, PLAIN;
    /// An executor, named by its framework; unique within it on an agent.
    ExecutorId, "executor id", validate_id, PLAIN;
}

/// So that keys are found by what they begin with.
impl Borrow<str> for StateKey {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl Role {
    /// The role above it, when there is one.
    pub fn parent(&self) -> Option<Self> {
        let (parent, _) = self.0.rsplit_once('/')?;
        Some(Self(parent.into()))
    }

    /// The first segment of its path: the role at the top of its tree.
    pub fn top(&self) -> Self {
        let top = self.0.split('/').next().unwrap_or_default();
        Self(top.into())
    }

    /// Whether it is this role or one beneath it.
    pub fn holds(&self, other: &Self) -> bool {
        let rest = other.0.strip_prefix(&*self.0);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_refuse_path_syntax_control_characters_and_length() {
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "a\\b",
            "a%2e",
            "a\nb",
            "a b",
            "a\u{0}",
            &"x".repeat(201),
        ] {
            let problem = TaskId::new(bad).expect_err(bad);
            assert_eq!(problem.code, code::ID_INVALID.name);
        }
        for good in ["a", "web.instance-1", "ä", &"x".repeat(200)] {
            assert_eq!(TaskId::new(good).expect(good).as_str(), good);
        }
    }

    #[test]
    fn roles_are_star_or_paths() {
        for good in ["*", "eng", "eng/web"] {
            Role::new(good).expect(good);
        }
        for bad in [
            "",
            "/",
            "eng/",
            "/eng",
            "eng//web",
            "eng/../web",
            "-eng",
            "eng/*",
        ] {
            Role::new(bad).expect_err(bad);
        }
    }
}
