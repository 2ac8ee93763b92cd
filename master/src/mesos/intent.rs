//! What a framework says of itself when it subscribes, and whether it may. Pure.
//!
//! What is told to the core is kept in the log, so it is held to the same limits as what everybody else says: the next leader
//! reads it with them.

use std::collections::BTreeMap;

use proffer_model::limits::{FAILOVER_TIMEOUT_MAX, MESOS_INFO_LEN_MAX, ROLES_MAX};
use proffer_model::{FrameworkDescription, Principal, Role};
use proffer_proto::mesos::Capabilities;
use proffer_proto::mesos::v1::FrameworkInfo;
use proffer_proto::mesos::v1::scheduler::OfferConstraints;
use prost::Message;

use super::demand::{Wish, constraints, least};

/// What a framework says when it subscribes, as far as it was judged.
#[derive(Clone, Debug)]
pub(super) struct Intent {
    pub(super) info: FrameworkInfo,
    pub(super) principal: Principal,
    pub(super) wishes: BTreeMap<Role, Wish>,
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
        let field = if capabilities.multi_role {
            "roles"
        } else {
            "role"
        };
        let mut wishes = BTreeMap::new();
        for name in &roles {
            let role = Role::new(name);
            let role = role.map_err(|_| wrong_role(field, name))?;
            let filters = info.offer_filters.get(name);
            let filters = filters.and_then(|all| all.min_allocatable_resources.as_ref());
            let wish = Wish {
                is_suppressed: false,
                constraints: Vec::new(),
                least: least(filters)?,
                revived: 0,
            };
            if wishes.insert(role, wish).is_some() {
                return Err(format!(
                    "'FrameworkInfo.roles' contains duplicate items: {name}"
                ));
            }
        }
        Ok(Self {
            info,
            principal,
            wishes,
        })
    }

    /// The same with what it says beside: in which roles it wants nothing, and on which agents. The error is Mesos's text.
    pub(super) fn limited(
        mut self,
        suppressed: &[String],
        limits: Option<&OfferConstraints>,
    ) -> Result<Self, String> {
        check_count(suppressed.len(), "suppressed_roles")?;
        let is_foreign = |role: &&String| !self.wishes.keys().any(|own| own.as_str() == **role);
        if let Some(foreign) = suppressed.iter().find(is_foreign) {
            return Err(format!(
                "Suppressed role '{foreign}' is not contained in the list of roles"
            ));
        }
        let mut limited = limits.into_iter().flat_map(|it| it.role_constraints.keys());
        if let Some(foreign) = limited.find(is_foreign) {
            // Without a space, as Mesos says it.
            return Err(format!(
                "Offer constraints specify `role_constraints` for a role '{foreign}'not contained in \
                 the set of roles"
            ));
        }
        for (role, wish) in &mut self.wishes {
            let of_role = limits.and_then(|limits| limits.role_constraints.get(role.as_str()));
            wish.is_suppressed = suppressed.iter().any(|one| one == role.as_str());
            wish.constraints = constraints(of_role)
                .map_err(|why| format!("Offer constraints are not valid: {why}"))?;
        }
        Ok(self)
    }

    /// Whether it is as `known` was in what may not change; the error is Mesos's text.
    pub(super) fn kept_of(&self, known: &FrameworkInfo) -> Result<(), String> {
        let info = &self.info;
        if info.principal != known.principal {
            return Err("Changing framework's principal is not allowed.".to_owned());
        }
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
        let timeout = timeout.ok_or("'FrameworkInfo.failover_timeout' is not valid")?;
        Ok(FrameworkDescription {
            name: self.info.name.clone(),
            roles: self.wishes.keys().cloned().collect(),
            failover_timeout: timeout.min(FAILOVER_TIMEOUT_MAX),
            mesos: Some(bytes.into()),
        })
    }
}

/// Why a role is none, in Mesos's words.
fn wrong_role(field: &str, name: &str) -> String {
    let part = name.split('/').find(|part| Role::new(part).is_err());
    let part = part.unwrap_or_default();
    let why = if name.starts_with('/') || name.ends_with('/') {
        format!("Role '{name}' cannot start or end with a slash")
    } else if part.is_empty() {
        "Role component is an empty string".to_owned()
    } else if part.contains(|c: char| c.is_whitespace() || c.is_control()) {
        format!("Role component '{part}' is invalid because it contains backspace or whitespace")
    } else if part.starts_with('-') {
        format!("Role component '{part}' is invalid because it begins with a dash")
    } else {
        format!("Role component '{part}' is invalid")
    };
    format!("'FrameworkInfo.{field}' is not a valid role: {why}")
}

fn check_count(count: usize, what: &str) -> Result<(), String> {
    match count > ROLES_MAX {
        true => Err(format!("'{what}' has {count} roles, more than {ROLES_MAX}")),
        false => Ok(()),
    }
}
