//! The one table of who may do what. Deny by default: what the table does not grant is refused.
//!
//! Ownership (a framework of another principal) is not decided here but where the owner is known. Pure.

use std::fmt;

use proffer_model::{AgentId, FrameworkId, Principal, Problem, code};

use super::guard::{ANONYMOUS, LOCAL};

/// Everything that can be asked of a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// See agents, frameworks, tasks, offers, apps and why something waits.
    Read,
    /// Read logs and files of tasks.
    ReadTask,
    /// Run a framework: subscribe, demand, accept, kill, keep state.
    RunFramework,
    /// Create, change, scale, restart and remove apps.
    ChangeApp,
    /// Change the cluster: drain or remove agents, tear frameworks down.
    Operate,
    /// Be an agent: register, report, obey.
    BeAgent,
}

/// What it is asked of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object<'a> {
    /// All of it.
    Cluster,
    /// A framework; `None` for one that registers for the first time.
    Framework(Option<&'a FrameworkId>),
    /// An agent; `None` for one that registers for the first time.
    Agent(Option<&'a AgentId>),
    /// An app, by its path.
    App(&'a str),
}

impl fmt::Display for Object<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster => f.write_str("the cluster"),
            Self::Framework(None) => f.write_str("a new framework"),
            Self::Framework(Some(id)) => write!(f, "framework {id}"),
            Self::Agent(None) => f.write_str("a new agent"),
            Self::Agent(Some(id)) => write!(f, "agent {id}"),
            Self::App(path) => write!(f, "app {}", crate::log::Untrusted(path)),
        }
    }
}

/// Whether `principal` may do `action` to `object`; the error is `auth.denied` and says all three.
pub fn authorize(principal: &Principal, action: Action, object: Object<'_>) -> Result<(), Problem> {
    let is_granted = match principal.as_str() {
        LOCAL => true,
        // Let in only where the operator spelled it out. Never as an agent: agents of this host have the token, and who
        // plays one is handed tasks with their secrets.
        ANONYMOUS => match action {
            Action::Read
            | Action::ReadTask
            | Action::RunFramework
            | Action::ChangeApp
            | Action::Operate => true,
            Action::BeAgent => false,
        },
        _ => false,
    };
    if is_granted {
        return Ok(());
    }
    Err(Problem::new(
        code::AUTH_DENIED,
        format!("{principal} may not {} ({object})", words(action)),
    )
    .hint("call with the local token; PROFFER_TOKEN_FILE names its file"))
}

fn words(action: Action) -> &'static str {
    match action {
        Action::Read => "see this",
        Action::ReadTask => "read tasks' files",
        Action::RunFramework => "run a framework",
        Action::ChangeApp => "change apps",
        Action::Operate => "change the cluster",
        Action::BeAgent => "be an agent",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_table() {
        // action, local, anonymous, anyone else
        let table = [
            (Action::Read, true, true, false),
            (Action::ReadTask, true, true, false),
            (Action::RunFramework, true, true, false),
            (Action::ChangeApp, true, true, false),
            (Action::Operate, true, true, false),
            (Action::BeAgent, true, false, false),
        ];
        let id = FrameworkId::new("f1").expect("an id");
        let objects = [
            Object::Cluster,
            Object::Framework(Some(&id)),
            Object::Agent(None),
            Object::App("/web"),
        ];
        for (action, local, anonymous, other) in table {
            for (name, granted) in [(LOCAL, local), (ANONYMOUS, anonymous), ("mallory", other)] {
                let principal = Principal::new(name).expect("a principal");
                for object in objects {
                    let result = authorize(&principal, action, object);
                    assert_eq!(result.is_ok(), granted, "{name} {action:?} {object:?}");
                    if let Err(problem) = result {
                        assert!(problem.is(code::AUTH_DENIED));
                        assert!(problem.message.contains(&object.to_string()));
                    }
                }
            }
        }
    }
}
