//! For whom tasks are launched, and as which user they run.

use proffer_model::{Principal, Role};

use super::v1::{CommandInfo, FrameworkInfo};

/// The user that Mesos's libraries name for a framework that has not said one.
const ROOT: &str = "root";

/// For whom tasks are launched.
#[derive(Clone, Copy, Debug)]
pub struct Launcher<'a> {
    /// The framework, with its id.
    pub info: &'a FrameworkInfo,
    /// Whose dynamic reservations are that do not say so.
    pub principal: &'a Principal,
    /// In which role it was offered what it launches on.
    pub role: &'a Role,
}

impl<'a> Launcher<'a> {
    /// The user of a command: its own, or else its framework's.
    pub(super) fn user_of(self, command: &'a CommandInfo) -> &'a str {
        command.user.as_deref().unwrap_or(&self.info.user)
    }

    /// What an agent is told of that. Root is what libraries say when nobody has asked for it: a framework's leaves it to the
    /// agent, as if none were named, so that its tasks run where there is no root to be had. A command's is meant.
    pub(super) fn run_as(self, command: &'a CommandInfo) -> &'a str {
        match &command.user {
            None if self.info.user == ROOT => "",
            _ => self.user_of(command),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frameworks_root_is_left_to_the_agent_and_a_commands_is_not() {
        let principal = Principal::new("ops").expect("a principal");
        let role = Role::new("eng").expect("a role");
        for (framework, command, checked_as, run_as) in [
            ("root", None, "root", ""),
            ("root", Some("root"), "root", "root"),
            ("root", Some("web"), "web", "web"),
            ("web", None, "web", "web"),
            ("web", Some("root"), "root", "root"),
            ("", None, "", ""),
        ] {
            let info = FrameworkInfo {
                user: framework.to_owned(),
                ..FrameworkInfo::default()
            };
            let launcher = Launcher {
                info: &info,
                principal: &principal,
                role: &role,
            };
            let command = CommandInfo {
                user: command.map(str::to_owned),
                ..CommandInfo::default()
            };
            let users = (launcher.user_of(&command), launcher.run_as(&command));
            assert_eq!(users, (checked_as, run_as), "{framework} {command:?}");
        }
    }
}
