//! What the lists answer, from a snapshot of the view. Pure: a request and a snapshot make a page, or a problem with the field.

use std::collections::BTreeMap;

use proffer_master_core::effect::{AgentRow, FrameworkRow, TaskRow};
use proffer_model::{AgentId, Attributes, ExecutorId, FrameworkId, OfferId, Problem, Role, TaskId};
use proffer_proto::{decode_agent_state, decode_task_state, v1};

use super::encode::{encode_agent, encode_executor, encode_framework, encode_offer, encode_task};
use super::page::{
    check_entries, decode_filter, decode_part, decode_token, page, page_len, passes,
};
use crate::view::Snapshot;

/// Agents.
pub(super) fn agents(
    snapshot: &Snapshot,
    asked: &v1::ListAgentsRequest,
) -> Result<v1::ListAgentsResponse, Problem> {
    let agent: Option<AgentId> = decode_filter(&asked.agent_id, "agent_id")?;
    let states = decode_states(&asked.states, decode_agent_state)?;
    check_entries(asked.attributes.len(), "attributes")?;
    let after = match decode_token::<1>(&asked.page_token)? {
        Some([agent]) => Some(decode_part::<AgentId>(agent)?),
        None => None,
    };
    let rows = snapshot.agents.from(|row| {
        let is_told = after.as_ref().is_some_and(|after| row.agent <= *after);
        is_told || agent.as_ref().is_some_and(|agent| row.agent < *agent)
    });
    let rows = rows.take_while(|row| passes(agent.as_ref(), &row.agent));
    let is_wanted = |row: &AgentRow| {
        is_in(&states, row.state)
            && (asked.host.is_empty() || row.description.host == asked.host)
            && has_all(&row.description.attributes, &asked.attributes)
    };
    let (agents, next_page_token) = page(
        rows,
        page_len(asked.page_size),
        is_wanted,
        encode_agent,
        |row| row.agent.to_string(),
    );
    Ok(v1::ListAgentsResponse {
        agents,
        next_page_token,
    })
}

/// Frameworks.
pub(super) fn frameworks(
    snapshot: &Snapshot,
    asked: &v1::ListFrameworksRequest,
) -> Result<v1::ListFrameworksResponse, Problem> {
    let framework: Option<FrameworkId> = decode_filter(&asked.framework_id, "framework_id")?;
    let role: Option<Role> = decode_filter(&asked.role, "role")?;
    let after = match decode_token::<1>(&asked.page_token)? {
        Some([framework]) => Some(decode_part::<FrameworkId>(framework)?),
        None => None,
    };
    let rows = snapshot.frameworks.from(|row| {
        let is_told = after.as_ref().is_some_and(|after| row.framework <= *after);
        let before = |framework: &FrameworkId| row.framework < *framework;
        is_told || framework.as_ref().is_some_and(before)
    });
    let rows = rows.take_while(|row| passes(framework.as_ref(), &row.framework));
    let is_wanted = |row: &FrameworkRow| {
        let roles = &row.description.roles;
        let is_in = |role: &Role| roles.iter().any(|own| role.holds(own));
        (asked.name.is_empty() || row.description.name == asked.name)
            && role.as_ref().is_none_or(is_in)
            && passes(asked.connected.as_ref(), &row.is_connected)
    };
    let (frameworks, next_page_token) = page(
        rows,
        page_len(asked.page_size),
        is_wanted,
        encode_framework,
        |row| row.framework.to_string(),
    );
    Ok(v1::ListFrameworksResponse {
        frameworks,
        next_page_token,
    })
}

/// Tasks; those of one framework without a look at the others'.
pub(super) fn tasks(
    snapshot: &Snapshot,
    asked: &v1::ListTasksRequest,
) -> Result<v1::ListTasksResponse, Problem> {
    let framework: Option<FrameworkId> = decode_filter(&asked.framework_id, "framework_id")?;
    let task: Option<TaskId> = decode_filter(&asked.task_id, "task_id")?;
    let agent: Option<AgentId> = decode_filter(&asked.agent_id, "agent_id")?;
    let role: Option<Role> = decode_filter(&asked.role, "role")?;
    let states = decode_states(&asked.states, decode_task_state)?;
    check_entries(asked.labels.len(), "labels")?;
    let after = match decode_token::<2>(&asked.page_token)? {
        Some([framework, task]) => Some((
            decode_part::<FrameworkId>(framework)?,
            decode_part::<TaskId>(task)?,
        )),
        None => None,
    };
    let rows = snapshot.tasks.from(|row| {
        let is_told = |(framework, task): &(FrameworkId, TaskId)| {
            (&row.framework, &row.task) <= (framework, task)
        };
        let is_before = |framework: &FrameworkId| match &task {
            Some(task) => (&row.framework, &row.task) < (framework, task),
            None => row.framework < *framework,
        };
        after.as_ref().is_some_and(is_told) || framework.as_ref().is_some_and(is_before)
    });
    let rows = rows.take_while(|row| {
        passes(framework.as_ref(), &row.framework)
            && (framework.is_none() || passes(task.as_ref(), &row.task))
    });
    let is_wanted = |row: &TaskRow| {
        let state = row.told.state;
        passes(task.as_ref(), &row.task)
            && passes(agent.as_ref(), &row.agent)
            && is_in(&states, state)
            && !(asked.only_live && state.is_terminal())
            && role
                .as_ref()
                .is_none_or(|role| role.holds(&row.outline.role))
            && has_labels(row, &asked.labels)
    };
    let encode = |row: &TaskRow| {
        let agent = snapshot.agents.get(&row.agent);
        encode_task(row, agent.map(AsRef::as_ref))
    };
    let (tasks, next_page_token) =
        page(rows, page_len(asked.page_size), is_wanted, encode, |row| {
            format!("{}/{}", row.framework, row.task)
        });
    Ok(v1::ListTasksResponse {
        tasks,
        next_page_token,
    })
}

/// Offers that stand.
pub(super) fn offers(
    snapshot: &Snapshot,
    asked: &v1::ListOffersRequest,
) -> Result<v1::ListOffersResponse, Problem> {
    let framework: Option<FrameworkId> = decode_filter(&asked.framework_id, "framework_id")?;
    let agent: Option<AgentId> = decode_filter(&asked.agent_id, "agent_id")?;
    let role: Option<Role> = decode_filter(&asked.role, "role")?;
    let after = match decode_token::<1>(&asked.page_token)? {
        Some([offer]) => Some(decode_part::<OfferId>(offer)?),
        None => None,
    };
    let is_told = |offer: &OfferId| after.as_ref().is_some_and(|after| offer <= after);
    let (offers, next_page_token) = page(
        snapshot.offers.from(|row| is_told(&row.offer)),
        page_len(asked.page_size),
        |row| {
            passes(framework.as_ref(), &row.framework)
                && passes(agent.as_ref(), &row.agent)
                && role.as_ref().is_none_or(|role| role.holds(&row.role))
        },
        encode_offer,
        |row| row.offer.to_string(),
    );
    Ok(v1::ListOffersResponse {
        offers,
        next_page_token,
    })
}

/// Executors that live.
pub(super) fn executors(
    snapshot: &Snapshot,
    asked: &v1::ListExecutorsRequest,
) -> Result<v1::ListExecutorsResponse, Problem> {
    let framework: Option<FrameworkId> = decode_filter(&asked.framework_id, "framework_id")?;
    let agent: Option<AgentId> = decode_filter(&asked.agent_id, "agent_id")?;
    let after = match decode_token::<3>(&asked.page_token)? {
        Some([agent, framework, executor]) => Some((
            decode_part::<AgentId>(agent)?,
            decode_part::<FrameworkId>(framework)?,
            decode_part::<ExecutorId>(executor)?,
        )),
        None => None,
    };
    let rows = snapshot.executors.from(|row| {
        let is_told = |(agent, framework, executor): &(AgentId, FrameworkId, ExecutorId)| {
            (&row.agent, &row.framework, &row.executor) <= (agent, framework, executor)
        };
        let is_before = |agent: &AgentId| row.agent < *agent;
        after.as_ref().is_some_and(is_told) || agent.as_ref().is_some_and(is_before)
    });
    let (executors, next_page_token) = page(
        rows.take_while(|row| passes(agent.as_ref(), &row.agent)),
        page_len(asked.page_size),
        |row| passes(framework.as_ref(), &row.framework),
        encode_executor,
        |row| format!("{}/{}/{}", row.agent, row.framework, row.executor),
    );
    Ok(v1::ListExecutorsResponse {
        executors,
        next_page_token,
    })
}

/// The states that rows are filtered by, each once; none: any.
fn decode_states<S: PartialEq>(
    numbers: &[i32],
    decode: impl Fn(i32, &str) -> Result<S, Problem>,
) -> Result<Vec<S>, Problem> {
    check_entries(numbers.len(), "states")?;
    let mut states = Vec::new();
    for (place, number) in numbers.iter().enumerate() {
        let state = decode(*number, &format!("states[{place}]"))?;
        if !states.contains(&state) {
            states.push(state);
        }
    }
    Ok(states)
}

fn is_in<S: PartialEq>(states: &[S], state: S) -> bool {
    states.is_empty() || states.contains(&state)
}

fn has_all(attributes: &Attributes, wanted: &BTreeMap<String, String>) -> bool {
    let mut wanted = wanted.iter();
    wanted.all(|(name, value)| {
        let mut own = attributes.iter();
        own.any(|(own, is)| own.as_str() == name && is.as_str() == value)
    })
}

fn has_labels(row: &TaskRow, wanted: &BTreeMap<String, String>) -> bool {
    let labels = &row.outline.labels;
    let mut wanted = wanted.iter();
    wanted.all(|(name, value)| labels.get(name) == Some(value))
}
