//! How the cluster stands, as far as calls that are refused must not change it.

use bytes::Bytes;
use proffer_proto::v1;
use prost_reflect::prost::Message;

use super::wire::Caller;

/// What a role weighs of which nothing is said.
const WEIGHT_DEFAULT: u32 = 1_000;

/// Agents, frameworks, tasks and roles, without what changes by itself: offers, and what follows from them.
#[derive(Debug, PartialEq)]
pub(super) struct View {
    agents: Vec<v1::Agent>,
    frameworks: Vec<v1::Framework>,
    tasks: Vec<v1::Task>,
    roles: Vec<v1::Role>,
}

impl View {
    pub(super) async fn of(caller: &mut Caller) -> Self {
        let agents: v1::ListAgentsResponse = list(caller, "ListAgents").await;
        let frameworks: v1::ListFrameworksResponse = list(caller, "ListFrameworks").await;
        let tasks: v1::ListTasksResponse = list(caller, "ListTasks").await;
        let roles: v1::ListRolesResponse = list(caller, "ListRoles").await;
        let of_agent = |mut agent: v1::Agent| {
            agent.offered = None;
            agent
                .drain
                .iter_mut()
                .for_each(|drain| drain.left_ms = None);
            agent
        };
        let of_framework = |mut framework: v1::Framework| {
            framework.offers = 0;
            framework
        };
        let of_role = |mut role: v1::Role| {
            (role.share_billionths, role.held, role.consumed) = (0, None, None);
            role.framework_ids
                .retain(|id| id == "broken" || id == "victim");
            role
        };
        // A role of nobody and nothing goes with the last framework.
        let is_said = |role: &v1::Role| {
            let is_weighted = role.weight_milli != WEIGHT_DEFAULT;
            role.quota.is_some() || is_weighted || !role.framework_ids.is_empty()
        };
        let roles = roles.roles.into_iter().map(of_role).filter(is_said);
        let frameworks = frameworks.frameworks.into_iter().map(of_framework);
        Self {
            agents: agents.agents.into_iter().map(of_agent).collect(),
            // Those that subscribed for a moment, under any name, are over by and by.
            frameworks: frameworks
                .filter(|it| it.id == "broken" || it.id == "victim")
                .collect(),
            tasks: tasks.tasks,
            roles: roles.collect(),
        }
    }
}

/// All that there is: it fits into one page.
async fn list<M: Message + Default>(caller: &mut Caller, method: &str) -> M {
    let path = format!("/proffer.v1.Operator/{method}");
    let bytes = caller.first(&path, Bytes::new()).await;
    M::decode(bytes.expect("a list")).expect("a list")
}
