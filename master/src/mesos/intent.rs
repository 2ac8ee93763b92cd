//! What a framework says of itself when it subscribes, and whether it may. Pure.
//!
//! What is told to the core is kept in the log, so it is held to the same limits as what everybody else says: the next leader
//! reads it with them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proffer_model::limits::{FAILOVER_TIMEOUT_MAX, MESOS_INFO_LEN_MAX, ROLES_MAX};
use proffer_model::{FrameworkDescription, Principal, Role};
use proffer_proto::mesos::Capabilities;
use proffer_proto::mesos::v1::FrameworkInfo;
use prost::Message;

use super::constraints::Limits;
use super::demand::{Wish, least};
use super::registry::SaidConstraints;

/// What a framework says when it subscribes, as far as it was judged.
#[derive(Clone, Debug)]
pub(super) struct Intent {
    pub(super) info: FrameworkInfo,
    pub(super) principal: Principal,
    pub(super) wishes: BTreeMap<Role, Wish>,
    /// What its wishes are limited to, as it was said.
    pub(super) limits: Arc<SaidConstraints>,
}

impl Intent {
    /// Judges what a framework says of itself; the error is Mesos's text.
    pub(super) fn of(info: FrameworkInfo, principal: Principal) -> Result<Self, String> {
        let capabilities = Capabilities::of(&info);
        let roles = match capabilities.multi_role {
            true if info.role.is_some() => {
                return Err(
                    "'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable"
                        .to_owned(),
                );
            }
            true => info.roles.clone(),
            false if !info.roles.is_empty() => {
                return Err("'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable".to_owned());
            }
            false => vec![info.role().to_owned()],
        };
        check_count(roles.len(), "FrameworkInfo.roles")?;
        let is_twice = |role: &&String| roles.iter().filter(|other| other == role).count() > 1;
        let twice: BTreeSet<&String> = roles.iter().filter(is_twice).collect();
        if !twice.is_empty() {
            let twice = set_text(twice);
            return Err(format!(
                "'FrameworkInfo.roles' contains duplicate items: {twice}"
            ));
        }
        let mut wishes = BTreeMap::new();
        for name in &roles {
            let role = Role::new(name).map_err(|_| {
                let why = wrong_role(name);
                match capabilities.multi_role {
                    true => format!("'FrameworkInfo.roles' contains invalid role: {why}"),
                    false => format!("'FrameworkInfo.role' is not a valid role: {why}"),
                }
            })?;
            let filters = info.offer_filters.get(name);
            let filters = filters.and_then(|all| all.min_allocatable_resources.as_ref());
            let wish = Wish {
                is_suppressed: false,
                constraints: Vec::new(),
                least: least(filters)?,
                revived: 0,
            };
            wishes.insert(role, wish);
        }
        Ok(Self {
            info,
            principal,
            wishes,
            limits: Arc::default(),
        })
    }

    /// What a framework that is known says when it subscribes again: what may not change stays as it was; the error is Mesos's
    /// text.
    pub(super) fn renewed(
        mut info: FrameworkInfo,
        known: &FrameworkInfo,
    ) -> Result<FrameworkInfo, String> {
        check_principal(&info, known)?;
        info.user.clone_from(&known.user);
        info.checkpoint = known.checkpoint;
        Ok(info)
    }

    /// The same with what it says beside: in which roles it wants nothing, and on which agents. The error is Mesos's text.
    pub(super) fn limited(
        mut self,
        suppressed: &[String],
        limits: Result<Limits, String>,
    ) -> Result<Self, String> {
        check_count(suppressed.len(), "suppressed_roles")?;
        let is_foreign = |role: &&String| !self.wishes.keys().any(|own| own.as_str() == **role);
        let foreign: BTreeSet<&String> = suppressed.iter().filter(is_foreign).collect();
        if !foreign.is_empty() {
            let foreign = set_text(foreign);
            return Err(format!(
                "Suppressed roles {foreign} are not contained in the set of roles"
            ));
        }
        let mut limits = limits?;
        self.limits = limits.said;
        for (role, wish) in &mut self.wishes {
            wish.is_suppressed = suppressed.iter().any(|one| one == role.as_str());
            // What is said of other roles holds for nothing.
            wish.constraints = limits.predicates.remove(role).into_iter().collect();
        }
        Ok(self)
    }

    /// Whether it is as `known` was in what may not change; the error is Mesos's text.
    pub(super) fn check_unchanged(&self, known: &FrameworkInfo) -> Result<(), String> {
        let info = &self.info;
        check_principal(info, known)?;
        let (now, before) = (
            info.checkpoint().to_string(),
            known.checkpoint().to_string(),
        );
        for (field, now, before) in [
            ("user", &info.user, &known.user),
            ("checkpoint", &now, &before),
        ] {
            if now != before {
                return Err(format!(
                    "Updating 'FrameworkInfo.{field}' is unsupported; attempted to update from '{before}' to '{now}'"
                ));
            }
        }
        Ok(())
    }

    /// What the core is told of the framework.
    pub(super) fn description(&self) -> Result<FrameworkDescription, String> {
        let bytes = self.info.encode_to_vec();
        if bytes.len() > MESOS_INFO_LEN_MAX {
            return Err(format!("FrameworkInfo has {} bytes", bytes.len()));
        }
        let timeout = self.info.failover_timeout();
        let timeout = proffer_proto::mesos::duration_of(timeout);
        let timeout = timeout.ok_or_else(|| {
            let given = self.info.failover_timeout();
            format!("The framework failover_timeout ({given}) is invalid")
        })?;
        let mut roles: Vec<Role> = self.wishes.keys().cloned().collect();
        if roles.is_empty() {
            // It wants nothing in it; the core knows no framework without a role.
            roles.push(everybody());
        }
        Ok(FrameworkDescription {
            name: self.info.name.clone(),
            roles,
            failover_timeout: timeout.min(FAILOVER_TIMEOUT_MAX),
            mesos: Some(bytes.into()),
        })
    }
}

/// The role of frameworks that name none.
#[allow(clippy::expect_used, reason = "it is a role")]
pub(super) fn everybody() -> Role {
    Role::new("*").expect("a role")
}

/// Why a role is none, in Mesos's words.
fn wrong_role(name: &str) -> String {
    let part = name.split('/').find(|part| Role::new(part).is_err());
    let part = part.unwrap_or_default();
    let path_of = |why: &str| format!("Role '{name}' {why}");
    if name.is_empty() {
        "Role names cannot be the empty string".to_owned()
    } else if name.starts_with('/') {
        path_of("cannot start with a slash")
    } else if name.ends_with('/') {
        path_of("cannot end with a slash")
    } else if name.contains("//") {
        path_of("cannot contain two adjacent slashes")
    } else if let Some(part) = name.split('/').find(|part| [".", "..", "*"].contains(part)) {
        format!("Role '{name}' cannot include '{part}' as a component")
    } else if part.starts_with('-') {
        format!("Role component '{part}' is invalid because it starts with a dash")
    } else if part.contains(|c: char| c.is_whitespace() || c.is_control()) {
        format!("Role component '{part}' is invalid because it contains backspace or whitespace")
    } else {
        format!("Role component '{part}' is invalid")
    }
}

/// As Mesos writes sets.
fn set_text(items: BTreeSet<&String>) -> String {
    let all: Vec<&str> = items.into_iter().map(String::as_str).collect();
    format!("{{ {} }}", all.join(", "))
}

/// Whose a framework is stays the same, however it comes back; the error is Mesos's text.
fn check_principal(info: &FrameworkInfo, known: &FrameworkInfo) -> Result<(), String> {
    match info.principal == known.principal {
        true => Ok(()),
        false => Err("Changing framework's principal is not allowed.".to_owned()),
    }
}

fn check_count(count: usize, what: &str) -> Result<(), String> {
    match count > ROLES_MAX {
        true => Err(format!("'{what}' has {count} roles, more than {ROLES_MAX}")),
        false => Ok(()),
    }
}
