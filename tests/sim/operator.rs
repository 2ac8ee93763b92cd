//! A simulated operator: sets quotas and weights, takes agents out of use and back, marks some as gone and lets their hosts
//! join anew, and asks again, elsewhere, what was not answered.

use std::collections::BTreeMap;
use std::time::Duration;

use proffer_master_core::event::OperatorCall;
use proffer_model::registry::Operation;
use proffer_model::{
    AgentId, Limits, Operation as Asking, Principal, Problem, Quota, Reservation, ResourceName,
    Resources, Role, Weight, code,
};

use super::coverage::Seen;
use super::network::{Asked, Parcel};
use super::process::Who;
use super::story::tell;
use super::world::{Input, Outcome, SECOND, World};

const OPERATOR: &str = "operator";

/// What the role `batch` may hold of processors, in the seeds that limit it.
pub(super) const QUOTA_CPUS: u64 = 6;

#[derive(Default)]
pub(super) struct Operator {
    connection: Option<u64>,
    next_master: usize,
    /// What waits for its answer.
    asked: Option<(u64, OperatorCall)>,
    weight: u32,
    out_of_use: Option<AgentId>,
    reserved: Option<(AgentId, Resources)>,
    /// The limit was acknowledged, and is not asked to be removed yet.
    pub(super) has_quota: bool,
    is_quota_removed: bool,
    patience: u64,
}

impl World {
    pub(super) fn operator_ticks(&mut self) {
        self.input_after(2 * SECOND, Who::Operator, Input::OperatorTick);
        self.hosts_join_anew();
        if self.operator.asked.is_none() {
            let Some(call) = self.next_wish() else {
                return;
            };
            self.requests += 1;
            self.operator.asked = Some((self.requests, call));
            self.operator.patience = 0;
        }
        self.operator.patience += 1;
        if self.operator.patience > 3 {
            self.operator.patience = 0;
            if let Some(connection) = self.operator.connection.take() {
                self.close(Who::Operator, connection, false);
            }
        }
        if self.operator.connection.is_none() {
            let master = self.operator.next_master % self.masters.len();
            self.operator.next_master += 1;
            let connection = self.connect(Who::Operator, master, OPERATOR);
            self.operator.connection = Some(connection);
        } else if self.operator.patience == 1 {
            self.operator_asks();
        }
    }

    fn next_wish(&mut self) -> Option<OperatorCall> {
        let role = Role::new("batch").expect("a good name");
        let is_over = self.is_over();
        let operator = &mut self.operator;
        if is_over {
            if let Some(agent) = operator.out_of_use.take() {
                return Some(OperatorCall::ReactivateAgent { agent });
            }
            if self.faults.has_quota && !operator.is_quota_removed {
                (operator.has_quota, operator.is_quota_removed) = (false, true);
                return Some(OperatorCall::RemoveQuota { role });
            }
            return None;
        }
        if self.faults.has_quota && !operator.has_quota {
            let mut limits = Limits::default();
            limits.set(
                ResourceName::new("cpus").expect("a good name"),
                QUOTA_CPUS * 1_000,
            );
            let quota = Quota {
                limits,
                ..Quota::default()
            };
            return Some(OperatorCall::SetQuota {
                role,
                quota,
                is_forced: false,
            });
        }
        if !self.faults.has_operator {
            return None;
        }
        if self.random.one_in(self.faults.gone)
            && let Some(call) = self.farewell()
        {
            return Some(call);
        }
        if let Some(framework) = self.framework_to_tear_down() {
            self.seen.count(Seen::TornDownByOperator);
            return Some(OperatorCall::TeardownFramework { framework });
        }
        if let Some(agent) = self.operator.out_of_use.clone() {
            if self.random.one_in(8) {
                self.operator.out_of_use = None;
                return Some(OperatorCall::ReactivateAgent { agent });
            }
        } else if self.random.one_in(8) {
            let agents = self.checks.agents();
            if !agents.is_empty() {
                let agent = agents[self.random.index(agents.len())].clone();
                self.operator.out_of_use = Some(agent.clone());
                self.seen.count(Seen::AgentDrained);
                let seconds = 3 + self.random.below(20);
                return Some(match self.random.below(3) {
                    0 => OperatorCall::DeactivateAgent { agent },
                    1 => OperatorCall::DrainAgent {
                        agent,
                        deadline: None,
                        marks_gone: false,
                    },
                    _ => OperatorCall::DrainAgent {
                        agent,
                        deadline: Some(Duration::from_secs(seconds)),
                        marks_gone: false,
                    },
                });
            }
        }
        self.operator.weight += 1;
        if self.random.one_in(4)
            && let Some(call) = self.reservation()
        {
            return Some(call);
        }
        let weight = Weight(1_000 + self.operator.weight);
        let role = Role::new("web").expect("a good name");
        Some(OperatorCall::SetWeight { role, weight })
    }

    /// Some agent is not to come back: at once, or when nothing is left on it.
    fn farewell(&mut self) -> Option<OperatorCall> {
        let agents = self.checks.agents();
        let agent = agents.get(self.random.index(agents.len()))?.clone();
        if self.operator.out_of_use.is_some() || self.random.one_in(2) {
            return Some(OperatorCall::MarkAgentGone { agent });
        }
        self.operator.out_of_use = Some(agent.clone());
        let deadline = Some(Duration::from_secs(3 + self.random.below(20)));
        Some(OperatorCall::DrainAgent {
            agent,
            deadline,
            marks_gone: true,
        })
    }

    /// Hosts whose agents have heard that they are gone, and on which nothing is left, begin as new ones.
    fn hosts_join_anew(&mut self) {
        for n in 0..self.hosts.len() {
            if self.hosts[n].may_join_anew() {
                self.kill(Who::Agent(n), SECOND, Seen::HostJoinedAnew);
                self.host_joins_anew(n);
                self.checks.on_host_joins_anew(n, self.now);
            }
        }
    }

    /// Reserves a little memory somewhere, another amount each time; then gives it back.
    fn reservation(&mut self) -> Option<OperatorCall> {
        if let Some((agent, reserved)) = self.operator.reserved.take() {
            let operation = Asking::Unreserve(reserved);
            return Some(OperatorCall::Operate { agent, operation });
        }
        let agents = self.checks.agents();
        let agent = agents.get(self.random.index(agents.len()))?.clone();
        let free: Resources = format!("mem:{}", 1 + self.operator.weight % 100)
            .parse()
            .expect("good resources");
        let reserved = free
            .push_reservation(&Reservation {
                role: Role::new("ops").expect("a good name"),
                principal: Some(Principal::new(OPERATOR).expect("a good name")),
                labels: BTreeMap::new(),
            })
            .expect("good resources");
        self.operator.reserved = Some((agent.clone(), reserved.clone()));
        let operation = Asking::Reserve(reserved);
        Some(OperatorCall::Operate { agent, operation })
    }

    pub(super) fn operator_asks(&mut self) {
        let (Some((request, call)), Some(connection)) =
            (self.operator.asked.clone(), self.operator.connection)
        else {
            return;
        };
        let promised = match &call {
            OperatorCall::SetQuota { role, quota, .. } => {
                let (role, quota) = (role.clone(), quota.clone());
                Some(Operation::SetQuota { role, quota })
            }
            OperatorCall::SetWeight { role, weight } => {
                let (role, weight) = (role.clone(), *weight);
                Some(Operation::SetWeight { role, weight })
            }
            OperatorCall::DeactivateAgent { agent } => {
                let agent = agent.clone();
                Some(Operation::DeactivateAgent { agent })
            }
            OperatorCall::Operate {
                agent,
                operation: Asking::Reserve(to),
            } => Some(Operation::ConvertAgent {
                agent: agent.clone(),
                from: to.flattened(),
                to: to.clone(),
            }),
            OperatorCall::TeardownFramework { framework } => {
                let framework = framework.clone();
                Some(Operation::CompleteFramework { framework })
            }
            _ => None,
        };
        if let Some(promised) = promised {
            self.checks.on_asked(request, format!("{promised:?}"));
        }
        match &call {
            OperatorCall::MarkAgentGone { agent } => {
                self.checks.on_gone_asked(agent, Some(request));
            }
            OperatorCall::DrainAgent {
                agent,
                marks_gone: true,
                ..
            } => self.checks.on_gone_asked(agent, None),
            OperatorCall::TeardownFramework { framework } => {
                self.checks.completions.on_asked(framework, None);
            }
            _ => {}
        }
        if let OperatorCall::DrainAgent {
            agent,
            deadline: Some(deadline),
            ..
        } = &call
        {
            let ns = u64::try_from(deadline.as_nanos()).expect("small");
            self.checks.on_drain_asked(agent, self.now, ns);
        }
        let asked = Asked::Operator(call);
        self.send(Who::Operator, connection, Parcel::Ask { request, asked });
    }

    pub(super) fn operator_lost(&mut self, connection: u64) {
        if self.operator.connection == Some(connection) {
            self.operator.connection = None;
            self.seen.count(Seen::RequestRepeated);
        }
    }

    pub(super) fn operator_hears(&mut self, parcel: Parcel) -> Outcome {
        let Parcel::Reply { request, reply } = parcel else {
            return Err("the operator hears what is not for it".into());
        };
        let Some((_, call)) = self.operator.asked.take_if(|(asked, _)| *asked == request) else {
            return Ok(());
        };
        tell!(self, "{}{call:?}: {reply:?}", Who::Operator);
        match *reply {
            Ok(_) => {
                self.seen.count(Seen::OperatorDone);
                if let OperatorCall::ReactivateAgent { agent } = &call {
                    self.checks.on_drain_over(agent, self.now);
                }
                if matches!(call, OperatorCall::Operate { .. }) {
                    self.seen.count(Seen::Reserved);
                }
                if matches!(call, OperatorCall::SetQuota { .. }) {
                    self.seen.count(Seen::QuotaSet);
                    self.operator.has_quota = true;
                }
            }
            Err(problem) => self.operator_refused(call, &problem),
        }
        Ok(())
    }

    fn operator_refused(&mut self, call: OperatorCall, problem: &Problem) {
        self.seen.count(Seen::OperatorRefused);
        tell!(self, "{}is refused: {problem}", Who::Operator);
        // What must be undone in the end is asked again.
        let is_vain = matches!(
            call,
            OperatorCall::Operate { .. } | OperatorCall::TeardownFramework { .. }
        ) || problem.is(code::AGENT_UNKNOWN);
        if self.is_over() && !is_vain {
            self.requests += 1;
            self.operator.asked = Some((self.requests, call));
        }
    }

    /// All that it has done is undone.
    pub(super) fn operator_is_done(&self) -> bool {
        let operator = &self.operator;
        operator.asked.is_none()
            && operator.out_of_use.is_none()
            && (!self.faults.has_quota || operator.is_quota_removed)
    }
}
