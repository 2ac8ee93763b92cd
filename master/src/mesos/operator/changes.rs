//! Calls that change the cluster, as what the core is asked to do. Pure: all of a call is read before any of it is done.

use std::str::FromStr;
use std::time::Duration;

use axum::http::StatusCode;
use proffer_master_core::event::OperatorCall;
use proffer_model::id::ResourceName;
use proffer_model::limits::{DURATION_MAX, ID_LEN_MAX, RESOURCE_NAMES_MAX};
use proffer_model::operation::Operation;
use proffer_model::{
    AgentId, Kind, Limits, Principal, Problem, Quantities, Quota, Resources, Role, VolumeId,
    Weight, code,
};
use proffer_proto::mesos::v1::master::Call;
use proffer_proto::mesos::v1::master::call::{
    DrainAgent, GrowVolume, ReserveResources, ShrinkVolume,
};
use proffer_proto::mesos::v1::quota::{QuotaConfig, QuotaRequest};
use proffer_proto::mesos::v1::value::Scalar;
use proffer_proto::mesos::v1::{self, WeightInfo};
use proffer_proto::mesos::{decode_resources, milli_of};

type Kinds = v1::master::call::Type;

/// What a call comes to.
#[derive(Debug, PartialEq)]
pub(super) struct Change {
    /// What is asked of the core, one after the other.
    pub(super) calls: Vec<OperatorCall>,
    /// 200 or 202, when all is done.
    pub(super) done: StatusCode,
}

/// Why a call is refused, in words, and with which status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Of the answer.
    pub(super) status: StatusCode,
    /// For whoever called.
    pub(super) text: String,
}

impl Refusal {
    /// 400.
    pub(super) fn bad(text: impl Into<String>) -> Self {
        let status = StatusCode::BAD_REQUEST;
        let text = text.into();
        Self { status, text }
    }

    /// 501.
    pub(super) fn not_here(text: impl Into<String>) -> Self {
        let status = StatusCode::NOT_IMPLEMENTED;
        let text = text.into();
        Self { status, text }
    }

    /// What the core says, with the status that Mesos gives such an answer.
    pub(super) fn of(problem: &Problem) -> Self {
        let status = match problem.kind {
            Kind::Invalid | Kind::NotFound => StatusCode::BAD_REQUEST,
            // To ask for more than a quota allows is a bad request there.
            Kind::Conflict if problem.is(code::QUOTA_EXCEEDED) => StatusCode::BAD_REQUEST,
            Kind::Conflict => StatusCode::CONFLICT,
            Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
            Kind::Forbidden => StatusCode::FORBIDDEN,
            Kind::Exhausted | Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let text = match () {
            () if problem.is(code::FRAMEWORK_UNKNOWN) || problem.is(code::FRAMEWORK_COMPLETED) => {
                "No framework found with specified ID".to_owned()
            }
            () if problem.is(code::AGENT_UNKNOWN) => "No agent found with specified ID".to_owned(),
            () if problem.is(code::QUOTA_INVALID) => {
                format!("Invalid QuotaConfig: {}", problem.message)
            }
            () if problem.is(code::QUOTA_EXCEEDED) => {
                let why = &problem.message;
                format!("Invalid QuotaConfig: {why} (use 'force' flag to bypass this check)")
            }
            () => problem.message.clone(),
        };
        Self { status, text }
    }

    /// The same, in the words of a call about an agent where there is none.
    pub(super) fn of_call(problem: &Problem, unknown: Option<Self>) -> Self {
        unknown
            .filter(|_| problem.is(code::AGENT_UNKNOWN))
            .unwrap_or_else(|| Self::of(problem))
    }

    fn agent_not_found(agent: &str) -> Self {
        let agent: String = agent.chars().take(ID_LEN_MAX).collect();
        Self {
            status: StatusCode::NOT_FOUND,
            text: format!("Agent '{agent}' not found"),
        }
    }

    fn agent_unknown() -> Self {
        Self::bad("Unknown agent")
    }

    /// There is none to reactivate.
    pub(super) fn agent_not_deactivated() -> Self {
        Self::bad("Agent is not deactivated")
    }
}

/// What is said where a call of this kind is about an agent that there is not, if that is different from what others say.
pub(super) fn unknown_agent(call: &OperatorCall) -> Option<Refusal> {
    match call {
        OperatorCall::MarkAgentGone { agent } => Some(Refusal::agent_not_found(agent.as_str())),
        OperatorCall::DrainAgent { .. } | OperatorCall::DeactivateAgent { .. } => {
            Some(Refusal::agent_unknown())
        }
        OperatorCall::ReactivateAgent { .. } => Some(Refusal::agent_not_deactivated()),
        _ => None,
    }
}

type Read<T> = Result<T, Refusal>;

/// What a call asks for; none: it is no change. Whatever it needs to be there is.
pub(super) fn change(kind: Kinds, call: &Call, principal: &Principal) -> Option<Read<Change>> {
    Some(match kind {
        Kinds::UpdateWeights => weights(&call.update_weights.as_ref()?.weight_infos),
        Kinds::UpdateQuota => {
            let asked = call.update_quota.as_ref()?;
            quotas(&asked.quota_configs, asked.force())
        }
        Kinds::SetQuota => old_quota(&call.set_quota.as_ref()?.quota_request),
        Kinds::RemoveQuota => remove_quota(&call.remove_quota.as_ref()?.role),
        Kinds::ReserveResources => reserve(call.reserve_resources.as_ref()?, principal),
        Kinds::UnreserveResources => {
            let asked = call.unreserve_resources.as_ref()?;
            let resources = some(&asked.resources, "resources", principal);
            resources.and_then(|it| on_agent(&asked.agent_id, Operation::Unreserve(it)))
        }
        Kinds::CreateVolumes => {
            let asked = call.create_volumes.as_ref()?;
            let volumes = some(&asked.volumes, "volumes", principal);
            volumes.and_then(|it| on_agent(&asked.agent_id, Operation::Create(it)))
        }
        Kinds::DestroyVolumes => {
            let asked = call.destroy_volumes.as_ref()?;
            let volumes = some(&asked.volumes, "volumes", principal);
            volumes.and_then(|it| on_agent(&asked.agent_id, Operation::Destroy(it)))
        }
        Kinds::GrowVolume => grow(call.grow_volume.as_ref()?, principal),
        Kinds::ShrinkVolume => shrink(call.shrink_volume.as_ref()?),
        Kinds::DrainAgent => drain(call.drain_agent.as_ref()?),
        Kinds::DeactivateAgent => {
            let agent = &call.deactivate_agent.as_ref()?.agent_id;
            let agent = agent_of(agent, |_| Refusal::agent_unknown());
            agent.map(|agent| one(OperatorCall::DeactivateAgent { agent }))
        }
        Kinds::ReactivateAgent => {
            let agent = &call.reactivate_agent.as_ref()?.agent_id;
            let agent = agent_of(agent, |_| Refusal::agent_not_deactivated());
            agent.map(|agent| one(OperatorCall::ReactivateAgent { agent }))
        }
        Kinds::Teardown => teardown(&call.teardown.as_ref()?.framework_id.value),
        Kinds::MarkAgentGone => {
            let agent = &call.mark_agent_gone.as_ref()?.agent_id;
            let agent = agent_of(agent, Refusal::agent_not_found);
            agent.map(|agent| one(OperatorCall::MarkAgentGone { agent }))
        }
        Kinds::UpdateMaintenanceSchedule | Kinds::StartMaintenance | Kinds::StopMaintenance => {
            Err(Refusal::not_here(
                "There are no maintenance schedules: use DRAIN_AGENT and REACTIVATE_AGENT",
            ))
        }
        Kinds::SetLoggingLevel => Err(Refusal::not_here(
            "The level of the log is set when the master is started",
        )),
        Kinds::ListFiles | Kinds::ReadFile => Err(Refusal::not_here(
            "Files are not served here: read tasks' output with 'proffer logs'",
        )),
        _ => return None,
    })
}

fn one(call: OperatorCall) -> Change {
    Change {
        calls: vec![call],
        done: StatusCode::OK,
    }
}

/// An id; one that cannot be is one that there is not.
fn id<I: FromStr<Err = Problem>>(text: &str) -> Read<I> {
    text.parse()
        .map_err(|problem: Problem| Refusal::bad(problem.message))
}

/// An agent; of one that there cannot be is said what is said of one that there is not.
fn agent_of(named: &v1::AgentId, unknown: impl FnOnce(&str) -> Refusal) -> Read<AgentId> {
    AgentId::from_str(&named.value).map_err(|_| unknown(&named.value))
}

/// A role.
pub(super) fn role(text: &str) -> Read<Role> {
    let wrong =
        |problem: Problem| Refusal::bad(format!("Invalid role '{text}': {}", problem.message));
    Role::new(text).map_err(wrong)
}

/// `/teardown`, in either form.
pub(super) fn teardown(framework: &str) -> Read<Change> {
    let framework = framework
        .parse()
        .map_err(|_: Problem| Refusal::bad("No framework found with specified ID"))?;
    Ok(one(OperatorCall::TeardownFramework { framework }))
}

/// Weights, in either form.
pub(super) fn weights(infos: &[WeightInfo]) -> Read<Change> {
    let one = |info: &WeightInfo| {
        let role = role(info.role())?;
        let wrong = || {
            let message = format!("Invalid weight '{}': Weights must be positive", info.weight);
            Refusal::bad(format!(
                "Failed to validate update weights request JSON: {message}"
            ))
        };
        let milli = milli_of(info.weight).map_err(|_| wrong())?;
        let milli = u32::try_from(milli).map_err(|_| wrong())?;
        if milli == 0 {
            return Err(wrong());
        }
        let weight = Weight(milli);
        Ok(OperatorCall::SetWeight { role, weight })
    };
    Ok(Change {
        calls: infos.iter().map(one).collect::<Read<_>>()?,
        done: StatusCode::OK,
    })
}

fn quotas(configs: &[QuotaConfig], is_forced: bool) -> Read<Change> {
    let one = |config: &QuotaConfig| {
        let role = role(&config.role)?;
        let mut quota = Quota::default();
        check_count(config.guarantees.len().max(config.limits.len()))?;
        for entry in &config.guarantees {
            let (name, milli) = amount(entry.key(), entry.value)?;
            quota.guarantees.set(name, milli);
        }
        for entry in &config.limits {
            let (name, milli) = amount(entry.key(), entry.value)?;
            quota.limits.set(name, milli);
        }
        Ok((role, quota))
    };
    let all = configs.iter().map(one).collect::<Read<Vec<_>>>()?;
    let done = StatusCode::OK;
    if let [(role, quota)] = all.as_slice() {
        let calls = vec![set_quota(role.clone(), quota.clone(), is_forced)];
        return Ok(Change { calls, done });
    }
    // All or none; of a role that is named twice the last counts.
    let quotas = all.into_iter().collect();
    let calls = vec![OperatorCall::SetQuotas { quotas, is_forced }];
    Ok(Change { calls, done })
}

fn set_quota(role: Role, quota: Quota, is_forced: bool) -> OperatorCall {
    // Nothing guaranteed and nothing limited is no quota.
    if quota == Quota::default() {
        return OperatorCall::RemoveQuota { role };
    }
    OperatorCall::SetQuota {
        role,
        quota,
        is_forced,
    }
}

fn amount(name: &str, scalar: Option<Scalar>) -> Read<(ResourceName, u64)> {
    let wrong = |why: &str| Refusal::bad(format!("Invalid QuotaConfig: '{name}' {why}"));
    let milli = milli_of(scalar.unwrap_or_default().value).map_err(wrong)?;
    let name = ResourceName::new(name).map_err(|problem| wrong(&problem.message))?;
    Ok((name, milli))
}

fn check_count(count: usize) -> Read<()> {
    match count > RESOURCE_NAMES_MAX {
        true => Err(Refusal::bad(format!(
            "Invalid QuotaConfig: it names {count} resources, more than {RESOURCE_NAMES_MAX}"
        ))),
        false => Ok(()),
    }
}

/// The old form guarantees and limits the same.
pub(super) fn old_quota(request: &QuotaRequest) -> Read<Change> {
    let prefix = "Failed to validate set quota request";
    let role = role(request.role())?;
    check_count(request.guarantee.len())?;
    let mut guarantees = Quantities::new();
    let mut limits = Limits::new();
    for resource in &request.guarantee {
        let wrong = |why: &str| Refusal::bad(format!("{prefix}: '{}' {why}", resource.name));
        let is_plain = resource.reservations.is_empty()
            && resource.reservation.is_none()
            && resource.disk.is_none()
            && resource.role.as_deref().is_none_or(|role| role == "*");
        let scalar = resource.scalar.as_ref().filter(|_| is_plain);
        let scalar = scalar.ok_or_else(|| wrong("is not a plain scalar"))?;
        let milli = milli_of(scalar.value).map_err(wrong)?;
        let name = ResourceName::new(&resource.name).map_err(|problem| wrong(&problem.message))?;
        guarantees.set(name.clone(), milli);
        limits.set(name, milli);
    }
    if guarantees.is_empty() {
        return Err(Refusal::bad(format!("{prefix}: no guarantee is given")));
    }
    let quota = Quota { guarantees, limits };
    Ok(one(set_quota(role, quota, request.force())))
}

/// No quota any more, in either form.
pub(super) fn remove_quota(name: &str) -> Read<Change> {
    let role = role(name)?;
    Ok(one(OperatorCall::RemoveQuota { role }))
}

fn reserve(asked: &ReserveResources, principal: &Principal) -> Read<Change> {
    let source = decode_resources(&asked.source, principal).map_err(Refusal::bad)?;
    if !source.reserved().is_empty() {
        return Err(Refusal::not_here(
            "What is reserved is not reserved anew in one step: unreserve it first",
        ));
    }
    let resources = some(&asked.resources, "resources", principal)?;
    on_agent(&asked.agent_id, Operation::Reserve(resources))
}

fn some(given: &[v1::Resource], what: &str, principal: &Principal) -> Read<Resources> {
    let resources = decode_resources(given, principal).map_err(Refusal::bad)?;
    if resources.is_empty() {
        return Err(Refusal::bad(format!("No {what} are given")));
    }
    Ok(resources)
}

fn volume_id(volume: &v1::Resource) -> Read<VolumeId> {
    let disk = volume.disk.as_ref();
    let persistence = disk.and_then(|disk| disk.persistence.as_ref());
    let persistence =
        persistence.ok_or_else(|| Refusal::bad("The volume has no persistence id"))?;
    id(&persistence.id)
}

fn grow(asked: &GrowVolume, principal: &Principal) -> Read<Change> {
    let addition = std::slice::from_ref(&asked.addition);
    let milli = some(addition, "resources", principal)?.scalar("disk");
    let volume = volume_id(&asked.volume)?;
    // Volumes are on agents; those of resource providers there are none.
    let agent = asked.agent_id.clone().unwrap_or_default();
    on_agent(&agent, Operation::Grow { volume, milli })
}

fn shrink(asked: &ShrinkVolume) -> Read<Change> {
    let milli = milli_of(asked.subtract.value);
    let milli = milli.map_err(|why| Refusal::bad(format!("'subtract' {why}")))?;
    let volume = volume_id(&asked.volume)?;
    let agent = asked.agent_id.clone().unwrap_or_default();
    on_agent(&agent, Operation::Shrink { volume, milli })
}

fn on_agent(agent: &v1::AgentId, operation: Operation) -> Read<Change> {
    let agent = agent
        .value
        .parse()
        .map_err(|_: Problem| Refusal::bad("No agent found with specified ID"))?;
    Ok(Change {
        calls: vec![OperatorCall::Operate { agent, operation }],
        done: StatusCode::ACCEPTED,
    })
}

/// Mesos kills what runs on an agent that is drained, within the grace that is given; without one, each task within its
/// own. Here its frameworks are asked to move it, and what is left is killed when the grace is over.
fn drain(asked: &DrainAgent) -> Read<Change> {
    let grace = asked.max_grace_period.as_ref().map(|grace| {
        let seconds = u64::try_from(grace.seconds).ok()?;
        let nanos = u32::try_from(grace.nanos).ok()?;
        Some(Duration::new(seconds, 0).saturating_add(Duration::from_nanos(nanos.into())))
    });
    let grace = match grace {
        None => Duration::ZERO,
        Some(Some(grace)) => grace.min(DURATION_MAX),
        Some(None) => {
            return Err(Refusal::bad(
                "The maximum grace period must not be negative",
            ));
        }
    };
    Ok(one(OperatorCall::DrainAgent {
        agent: agent_of(&asked.agent_id, |_| Refusal::agent_unknown())?,
        deadline: Some(grace),
        marks_gone: asked.mark_gone(),
    }))
}

#[cfg(test)]
mod tests {
    use proffer_proto::mesos::read_json;

    use super::*;

    fn asked(text: &str) -> Read<Change> {
        let call: Call = read_json(text.as_bytes()).expect("a call");
        let principal = "local".parse().expect("a principal");
        change(call.r#type(), &call, &principal).expect("a change")
    }

    #[test]
    fn a_quota_of_nothing_is_none_and_one_of_too_much_is_refused() {
        let quota = |guarantees: &str| {
            let config = format!(r#"{{"role":"web","guarantees":{{{guarantees}}}}}"#);
            asked(&format!(
                r#"{{"type":"UPDATE_QUOTA","update_quota":{{"quota_configs":[{config}]}}}}"#
            ))
        };
        let role = Role::new("web").expect("a role");
        let change = quota("").expect("read");
        assert_eq!(change.calls, [OperatorCall::RemoveQuota { role }]);
        let change = quota(r#""cpus":{"value":0.5}"#).expect("read");
        let [OperatorCall::SetQuota { quota: set, .. }] = change.calls.as_slice() else {
            panic!("{change:?}")
        };
        assert_eq!(set.guarantees.iter().next().expect("cpus").1, 500);
        let many: Vec<String> = (0..=RESOURCE_NAMES_MAX)
            .map(|number| format!(r#""r{number}":{{"value":1}}"#))
            .collect();
        for wrong in [
            r#""cpus":{"value":-1}"#,
            r#""c s":{"value":1}"#,
            &many.join(","),
        ] {
            let refused = quota(wrong).expect_err(wrong);
            assert_eq!(refused.status, StatusCode::BAD_REQUEST);
            assert!(
                refused.text.starts_with("Invalid QuotaConfig"),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn several_quotas_are_one_change_and_so_is_a_volume_that_grows() {
        let config =
            |role: &str| format!(r#"{{"role":"{role}","limits":{{"cpus":{{"value":1}}}}}}"#);
        let both = [config("a"), config("b")].join(",");
        let change = asked(&format!(
            r#"{{"type":"UPDATE_QUOTA","update_quota":{{"quota_configs":[{both}]}}}}"#
        ));
        let calls = change.expect("read").calls;
        let [OperatorCall::SetQuotas { quotas, .. }] = calls.as_slice() else {
            panic!("{calls:?}")
        };
        assert_eq!(quotas.len(), 2);
        let volume = r#""agent_id":{"value":"a"},"volume":{"name":"disk","type":"SCALAR","scalar":{"value":5},
            "disk":{"persistence":{"id":"v","principal":"local"}}}"#;
        let change = asked(&format!(
            r#"{{"type":"SHRINK_VOLUME","shrink_volume":{{{volume},"subtract":{{"value":2}}}}}}"#
        ));
        let agent = "a".parse().expect("an id");
        let operation = Operation::Shrink {
            volume: "v".parse().expect("an id"),
            milli: 2_000,
        };
        let shrink = OperatorCall::Operate { agent, operation };
        assert_eq!(change.expect("read").calls, [shrink]);
        let negative = asked(&format!(
            r#"{{"type":"SHRINK_VOLUME","shrink_volume":{{{volume},"subtract":{{"value":-2}}}}}}"#
        ));
        negative.expect_err("less than nothing");
    }

    #[test]
    fn a_drain_takes_as_long_as_the_grace_that_is_given() {
        let drain = |grace: &str| {
            asked(&format!(
                r#"{{"type":"DRAIN_AGENT","drain_agent":{{"agent_id":{{"value":"a"}}{grace}}}}}"#
            ))
        };
        for (grace, seconds) in [
            ("", 0),
            (r#","max_grace_period":"30s""#, 30),
            (
                r#","max_grace_period":"300000000000s""#,
                DURATION_MAX.as_secs(),
            ),
        ] {
            let change = drain(grace).expect("read");
            let agent = "a".parse().expect("an id");
            let deadline = Some(Duration::from_secs(seconds));
            let expected = OperatorCall::DrainAgent {
                agent,
                deadline,
                marks_gone: false,
            };
            assert_eq!(change.calls, [expected]);
        }
        drain(r#","max_grace_period":"-1s""#).expect_err("negative");
        let gone = drain(r#","mark_gone":true"#).expect("read");
        let is_gone = |call: &OperatorCall| matches!(call, OperatorCall::DrainAgent { marks_gone, .. } if *marks_gone);
        assert!(gone.calls.iter().all(is_gone));
        let mark =
            asked(r#"{"type":"MARK_AGENT_GONE","mark_agent_gone":{"agent_id":{"value":"a"}}}"#);
        let agent = "a".parse().expect("an id");
        let mark = mark.expect("read").calls;
        assert_eq!(mark, [OperatorCall::MarkAgentGone { agent }]);
    }
}
