//! Rows of the view, as operators see them. Commands and environments are in no row, so they cannot be shown.

use proffer_master_core::allocation::RoleRow;
use proffer_master_core::effect::{
    AgentRow, ExecutorRow, Explanation, FrameworkRow, OfferRow, TaskRow,
};
use proffer_proto::{
    encode_agent_state, encode_attributes, encode_domain, encode_drain, encode_fit, encode_limits,
    encode_port, encode_quantities, encode_quota, encode_resources, encode_status, v1,
};

pub(super) fn encode_agent(row: &AgentRow) -> v1::Agent {
    v1::Agent {
        id: row.agent.to_string(),
        host: row.description.host.clone(),
        address: row.description.address.clone(),
        state: encode_agent_state(row.state).into(),
        total: Some(encode_resources(&row.total)),
        used: Some(encode_resources(&row.used)),
        offered: Some(encode_resources(&row.offered)),
        attributes: encode_attributes(&row.description.attributes),
        tasks: row.tasks,
        version: row.description.version.clone(),
        deactivated: row.is_deactivated,
        drain: row.drain.as_ref().map(|drain| v1::Drain {
            // What runs there against all expectation, such as of a copied directory, is not passed over.
            drained: drain.is_drained && row.tasks == 0,
            ends_wall_ms: row.drain_ends_wall_ms,
            ..encode_drain(drain)
        }),
        domain: row.description.domain.as_ref().map(encode_domain),
        missing: (!row.missing.is_empty()).then(|| encode_resources(&row.missing)),
    }
}

pub(super) fn encode_framework(row: &FrameworkRow) -> v1::Framework {
    let timeout_ms = row.description.failover_timeout.as_millis();
    v1::Framework {
        id: row.framework.to_string(),
        name: row.description.name.clone(),
        principal: row.principal.to_string(),
        roles: row
            .description
            .roles
            .iter()
            .map(ToString::to_string)
            .collect(),
        connected: row.is_connected,
        tasks: row.tasks,
        offers: row.offers,
        demand: row.demand,
        used: Some(encode_resources(&row.used)),
        failover_timeout_ms: u64::try_from(timeout_ms).unwrap_or(u64::MAX),
    }
}

pub(super) fn encode_role(row: &RoleRow) -> v1::Role {
    v1::Role {
        role: row.role.to_string(),
        share_billionths: row.share_billionths,
        weight_milli: row.weight.0,
        quota: row.quota.as_ref().map(encode_quota),
        held: Some(encode_quantities(&row.held)),
        consumed: Some(encode_quantities(&row.consumed)),
        reserved: Some(encode_quantities(&row.reserved)),
        framework_ids: row.frameworks.iter().map(ToString::to_string).collect(),
    }
}

pub(super) fn encode_task(row: &TaskRow, agent: Option<&AgentRow>) -> v1::Task {
    let description = agent.map(|row| &row.description);
    v1::Task {
        id: row.task.to_string(),
        name: row.name().to_owned(),
        framework_id: row.framework.to_string(),
        agent_id: row.agent.to_string(),
        agent_address: description
            .map(|agent| agent.address.clone())
            .unwrap_or_default(),
        host: description
            .map(|agent| agent.host.clone())
            .unwrap_or_default(),
        status: Some(encode_status(&row.status())),
        resources: Some(encode_resources(&row.outline.resources)),
        labels: row.outline.labels.clone(),
        ports: row.outline.ports.iter().map(encode_port).collect(),
        role: row.outline.role.to_string(),
        executor_id: text(row.outline.executor.as_ref()),
        group_id: text(row.outline.group.as_ref()),
    }
}

pub(super) fn encode_offer(row: &OfferRow) -> v1::StandingOffer {
    v1::StandingOffer {
        id: row.offer.to_string(),
        framework_id: row.framework.to_string(),
        role: row.role.to_string(),
        agent_id: row.agent.to_string(),
        resources: Some(encode_resources(&row.resources)),
        fits: row.fits.iter().map(encode_fit).collect(),
        made_wall_ms: row.made_wall_ms,
        expires_wall_ms: row.expires_wall_ms,
    }
}

pub(super) fn encode_executor(row: &ExecutorRow) -> v1::LiveExecutor {
    v1::LiveExecutor {
        id: row.executor.to_string(),
        framework_id: row.framework.to_string(),
        agent_id: row.agent.to_string(),
        role: row.role.to_string(),
        resources: Some(encode_resources(&row.resources)),
        ending: row.is_ending,
    }
}

fn text(id: Option<&impl ToString>) -> String {
    id.map(ToString::to_string).unwrap_or_default()
}

pub(super) fn encode_explanation(explanation: Explanation) -> v1::DemandExplanation {
    let obstacles = explanation
        .obstacles
        .into_iter()
        .map(|obstacle| v1::Obstacle {
            reason: obstacle.reason,
            message: obstacle.message,
            agents: obstacle.agents,
            predicate: obstacle.predicate.map(|failed| v1::FailedPredicate {
                place: failed.place,
                test: failed.test.to_owned(),
            }),
        });
    v1::DemandExplanation {
        role: explanation.role.to_string(),
        demand_id: explanation.demand.to_string(),
        wanted: explanation.wanted,
        obstacles: obstacles.collect(),
        offered: explanation.offered,
        share_billionths: explanation.share_billionths,
        claims_before: explanation.claims_before,
        headroom: Some(encode_limits(&explanation.headroom)),
    }
}
