//! The calls of `/api/v1`: what each needs, and what it is answered.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use proffer_master_core::allocation::RoleRow;
use proffer_master_core::event::OperatorCall;
use proffer_proto::mesos::seconds_of;
use proffer_proto::mesos::v1::master::response::{
    GetFlags, GetHealth, GetLoggingLevel, GetMaintenanceSchedule, GetMaintenanceStatus, GetMetrics,
    GetOperations, GetVersion, Type as Answer,
};
use proffer_proto::mesos::v1::master::{self, Call, call::Type};
use proffer_proto::mesos::v1::{Flag, Metric, Resource, VersionInfo, maintenance};
use proffer_server::auth::{Action, SaidName};
use proffer_server::clock;
use proffer_server::mesos_http::{Called, Media, acceptable, read};

use super::super::http::VERSION;
use super::super::principals::Names;
use super::answers::response_json;
use super::changes::{Change, Refusal, change};
use super::figures;
use super::master::Master;
use super::messages::{
    get_agents, get_executors, get_frameworks, get_master, get_quota, get_roles, get_state,
    get_tasks, get_weights, response,
};
use super::seen::Seen;
use super::watch::Watch;
use super::{Common, Desk, caller};
use crate::inbox::overloaded;
use crate::limits::MESOS_WATCHES_WAIT;
use crate::view::Snapshot;

impl Desk {
    /// Answers a call.
    pub(super) async fn call(self: &Arc<Self>, request: Request) -> Response {
        let may = caller(&request, Action::Read);
        let may_change = caller(&request, Action::Operate);
        let Called {
            mut call,
            wanted,
            head,
        } = match read::<Call>(request).await {
            Ok(called) => called,
            Err(refused) => return refused,
        };
        let kind = match kind_of(&call) {
            Ok(kind) => kind,
            Err(refused) => return refused.into_response(),
        };
        let media = match acceptable(wanted) {
            Ok(media) => media,
            Err(refused) => return refused,
        };
        let answered = async {
            let principal = may?;
            if kind == Type::Subscribe {
                return self.subscribe(media).await;
            }
            if let Some(answer) = self.read(kind, media).await? {
                return Ok(answer);
            }
            let said = head.extensions.get::<SaidName>();
            let named = name_caller(&mut call, Names::of_operator(said, &principal));
            let Some(change) = change(kind, &call, &principal) else {
                return Err(Refusal::not_here(""));
            };
            let (may_change, (), change) = (may_change?, named?, change?);
            self.check(&change).await?;
            if kind == Type::SetQuota {
                let role = call.set_quota.as_ref().map(|asked| &asked.quota_request);
                self.check_has_no_quota(role.map_or("", |asked| asked.role()))
                    .await?;
            }
            let done = self.make(&may_change, change).await?;
            Ok(done.into_response())
        };
        answered.await.unwrap_or_else(Refusal::into_response)
    }

    /// What Mesos looks at before it does something, where the core does it whatever there is.
    async fn check(&self, change: &Change) -> Result<(), Refusal> {
        let [OperatorCall::ReactivateAgent { agent }] = change.calls.as_slice() else {
            return Ok(());
        };
        let snapshot = self.snapshot().await?;
        let Some(row) = snapshot.agents.get(agent) else {
            return Err(Refusal::agent_not_deactivated());
        };
        match &row.drain {
            Some(drain) if drain.is_drained && row.tasks == 0 => Ok(()),
            Some(_) => Err(Refusal::bad("Agent is still in the DRAINING state")),
            None if row.is_deactivated => Ok(()),
            None => Err(Refusal::agent_not_deactivated()),
        }
    }

    /// The older calls set a quota and change none.
    pub(super) async fn check_has_no_quota(&self, role: &str) -> Result<(), Refusal> {
        match self.has_quota(role).await? {
            true => Err(Refusal::bad(format!(
                "Failed to validate set quota request: Cannot set quota for role '{role}' which already has quota"
            ))),
            false => Ok(()),
        }
    }

    /// `DELETE /quota` takes away what is there, unlike REMOVE_QUOTA.
    pub(super) async fn check_has_quota(&self, role: &str, path: &str) -> Result<(), Refusal> {
        match self.has_quota(role).await? {
            true => Ok(()),
            false => Err(Refusal::bad(format!(
                "Failed to remove quota for path '{path}': Role '{role}' has no quota set"
            ))),
        }
    }

    async fn has_quota(&self, role: &str) -> Result<bool, Refusal> {
        let rows = self.roles().await?;
        let has_quota = |row: &RoleRow| row.quota.is_some() && row.role.as_str() == role;
        Ok(rows.iter().any(has_quota))
    }

    async fn subscribe(&self, media: Media) -> Result<Response, Refusal> {
        let seat = self.watches.take(MESOS_WATCHES_WAIT).await;
        let too_many = || Refusal::of(&overloaded("too many subscribers"));
        let seat = seat.ok_or_else(too_many)?;
        let told = self.snapshot().await?;
        let (view, tenure) = (self.view.clone(), self.inbox.tenure.clone());
        let master = self.master().await;
        let begun = self
            .write(move |_, _| Watch::new(view, tenure, master, media, told, seat))
            .await?;
        Ok(media.stream(begun.records()))
    }

    /// The answer to a call that changes nothing.
    async fn read(self: &Arc<Self>, kind: Type, media: Media) -> Result<Option<Response>, Refusal> {
        let rows = match kind {
            Type::GetRoles | Type::GetWeights | Type::GetQuota => self.roles().await?,
            _ => Vec::new(),
        };
        let answer = match kind {
            Type::GetRoles => master::Response {
                get_roles: Some(get_roles(&rows)),
                ..response(Answer::GetRoles)
            },
            Type::GetWeights => {
                let weights = get_weights(&rows);
                let is_empty = weights.weight_infos.is_empty();
                master::Response {
                    get_weights: (!is_empty).then_some(weights),
                    ..response(Answer::GetWeights)
                }
            }
            Type::GetQuota => master::Response {
                get_quota: Some(get_quota(&rows)),
                ..response(Answer::GetQuota)
            },
            _ => match said(kind, &*self.master().await) {
                Some(answer) => answer,
                None => return self.read_rows(kind, media).await,
            },
        };
        Ok(Some(self.answer(
            media.name(),
            [response_bytes(&answer, media).into()],
        )))
    }

    async fn read_rows(
        self: &Arc<Self>,
        kind: Type,
        media: Media,
    ) -> Result<Option<Response>, Refusal> {
        let is_of_rows = matches!(
            kind,
            Type::GetState
                | Type::GetAgents
                | Type::GetFrameworks
                | Type::GetExecutors
                | Type::GetTasks
                | Type::GetMetrics
        );
        if !is_of_rows {
            return Ok(None);
        }
        let write = move |snapshot: &Snapshot, master: &Master, _: &[RoleRow]| {
            response_bytes(&of_rows(kind, snapshot, master), media)
        };
        let written = self.write_shared(Common::Answer(kind, media), false, write);
        Ok(Some(self.answer(media.name(), [written.await?])))
    }
}

/// Has a change name its caller as the core knows it. Nobody makes something in the name of another.
pub(super) fn name_caller(call: &mut Call, names: Names<'_>) -> Result<(), Refusal> {
    for resources in resources_of(call) {
        names.known(resources);
    }
    let reserved = call.reserve_resources.as_ref();
    let created = call.create_volumes.as_ref();
    reserved
        .map_or(Ok(()), |it| names.check_reserve(&it.resources))
        .and_then(|()| created.map_or(Ok(()), |it| names.check_create(&it.volumes)))
        .map_err(Refusal::bad)
}

/// The resources that a change names, where principals may be named.
fn resources_of(call: &mut Call) -> Vec<&mut [Resource]> {
    let mut all: Vec<&mut [Resource]> = Vec::new();
    if let Some(it) = &mut call.reserve_resources {
        all.extend([it.source.as_mut_slice(), it.resources.as_mut_slice()]);
    }
    if let Some(it) = &mut call.unreserve_resources {
        all.push(&mut it.resources);
    }
    if let Some(it) = &mut call.create_volumes {
        all.push(&mut it.volumes);
    }
    if let Some(it) = &mut call.destroy_volumes {
        all.push(&mut it.volumes);
    }
    if let Some(it) = &mut call.grow_volume {
        all.push(std::slice::from_mut(&mut it.addition));
    }
    all
}

fn response_bytes(response: &master::Response, media: Media) -> Vec<u8> {
    match media {
        Media::Json => response_json(response),
        Media::Protobuf => media.write(response),
    }
}

/// The kind of a call that has what it needs.
fn kind_of(call: &Call) -> Result<Type, Refusal> {
    let invalid = |missing: &str| {
        let text = "Failed to validate master::Call: Expecting";
        Refusal::bad(format!("{text} '{missing}' to be present"))
    };
    let kind = call.r#type.map(Type::try_from).and_then(Result::ok);
    let kind = kind.ok_or_else(|| invalid("type"))?;
    let (name, is_there) = match kind {
        Type::GetMetrics => ("get_metrics", call.get_metrics.is_some()),
        Type::SetLoggingLevel => ("set_logging_level", call.set_logging_level.is_some()),
        Type::ListFiles => ("list_files", call.list_files.is_some()),
        Type::ReadFile => ("read_file", call.read_file.is_some()),
        Type::UpdateWeights => ("update_weights", call.update_weights.is_some()),
        Type::ReserveResources => ("reserve_resources", call.reserve_resources.is_some()),
        Type::UnreserveResources => ("unreserve_resources", call.unreserve_resources.is_some()),
        Type::CreateVolumes => ("create_volumes", call.create_volumes.is_some()),
        Type::DestroyVolumes => ("destroy_volumes", call.destroy_volumes.is_some()),
        Type::GrowVolume => ("grow_volume", call.grow_volume.is_some()),
        Type::ShrinkVolume => ("shrink_volume", call.shrink_volume.is_some()),
        Type::UpdateMaintenanceSchedule => (
            "update_maintenance_schedule",
            call.update_maintenance_schedule.is_some(),
        ),
        Type::StartMaintenance => ("start_maintenance", call.start_maintenance.is_some()),
        Type::StopMaintenance => ("stop_maintenance", call.stop_maintenance.is_some()),
        Type::DrainAgent => ("drain_agent", call.drain_agent.is_some()),
        Type::DeactivateAgent => ("deactivate_agent", call.deactivate_agent.is_some()),
        Type::ReactivateAgent => ("reactivate_agent", call.reactivate_agent.is_some()),
        Type::UpdateQuota => ("update_quota", call.update_quota.is_some()),
        Type::SetQuota => ("set_quota", call.set_quota.is_some()),
        Type::RemoveQuota => ("remove_quota", call.remove_quota.is_some()),
        Type::Teardown => ("teardown", call.teardown.is_some()),
        Type::MarkAgentGone => ("mark_agent_gone", call.mark_agent_gone.is_some()),
        _ => ("", true),
    };
    if is_there {
        Ok(kind)
    } else {
        Err(invalid(name))
    }
}

/// What a master knows without looking.
fn said(kind: Type, master: &Master) -> Option<master::Response> {
    let nothing = maintenance::ClusterStatus::default;
    Some(match kind {
        Type::GetHealth => master::Response {
            get_health: Some(GetHealth { healthy: true }),
            ..response(Answer::GetHealth)
        },
        Type::GetFlags => {
            let flag = |(name, value): (&str, String)| Flag {
                name: name.to_owned(),
                value: Some(value),
            };
            master::Response {
                get_flags: Some(GetFlags {
                    flags: master.flags().into_iter().map(flag).collect(),
                }),
                ..response(Answer::GetFlags)
            }
        }
        Type::GetVersion => master::Response {
            get_version: Some(GetVersion {
                version_info: VersionInfo {
                    version: VERSION.to_owned(),
                    ..VersionInfo::default()
                },
            }),
            ..response(Answer::GetVersion)
        },
        Type::GetLoggingLevel => master::Response {
            get_logging_level: Some(GetLoggingLevel { level: 0 }),
            ..response(Answer::GetLoggingLevel)
        },
        Type::GetMaster => master::Response {
            get_master: Some(get_master(master)),
            ..response(Answer::GetMaster)
        },
        Type::GetOperations => master::Response {
            get_operations: Some(GetOperations::default()),
            ..response(Answer::GetOperations)
        },
        Type::GetMaintenanceStatus => master::Response {
            get_maintenance_status: Some(GetMaintenanceStatus { status: nothing() }),
            ..response(Answer::GetMaintenanceStatus)
        },
        Type::GetMaintenanceSchedule => master::Response {
            get_maintenance_schedule: Some(GetMaintenanceSchedule {
                schedule: maintenance::Schedule::default(),
            }),
            ..response(Answer::GetMaintenanceSchedule)
        },
        _ => return None,
    })
}

/// What is made of rows.
fn of_rows(kind: Type, snapshot: &Snapshot, master: &Master) -> master::Response {
    match kind {
        Type::GetAgents => master::Response {
            get_agents: Some(get_agents(&Seen::new(snapshot), master)),
            ..response(Answer::GetAgents)
        },
        Type::GetFrameworks => master::Response {
            get_frameworks: Some(get_frameworks(&Seen::new(snapshot), master)),
            ..response(Answer::GetFrameworks)
        },
        Type::GetExecutors => master::Response {
            get_executors: Some(get_executors(snapshot)),
            ..response(Answer::GetExecutors)
        },
        Type::GetTasks => master::Response {
            get_tasks: Some(get_tasks(snapshot)),
            ..response(Answer::GetTasks)
        },
        Type::GetMetrics => {
            let now = seconds_of(clock::now().wall_ms);
            let metric = |(name, value): (String, f64)| Metric {
                name,
                value: Some(value),
            };
            let figures = figures::of_leader(snapshot, master, now);
            master::Response {
                get_metrics: Some(GetMetrics {
                    metrics: figures.into_iter().map(metric).collect(),
                }),
                ..response(Answer::GetMetrics)
            }
        }
        _ => master::Response {
            get_state: Some(get_state(snapshot, master)),
            ..response(Answer::GetState)
        },
    }
}
