//! Which frameworks are there, in which roles, and which are over: what a master sees of that in its term, and what the
//! checkers know of it (S12).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proffer_model::registry::Operation;
use proffer_model::session::{Answer, Call, Event, Resume};
use proffer_model::{Epoch, FrameworkId, Offer, Role, TaskId};

use super::breakage::Breakage;
use super::coverage::Seen;
use super::process::Who;
use super::tenant::{FAILOVER_TIMEOUT, all_roles};
use super::world::{Outcome, World};

/// The sessions of a term.
#[derive(Default)]
pub(super) struct Presence {
    /// When the term began, by its master's clock.
    begun_ns: u64,
    /// The newest session of each framework.
    newest: BTreeMap<FrameworkId, u64>,
    /// Sessions that another has overtaken, and the session that did.
    fenced: BTreeMap<u64, u64>,
    /// When the last session of each framework ended that has none.
    left_ns: BTreeMap<FrameworkId, u64>,
    /// The roles that each session has subscribed with.
    roles: BTreeMap<u64, Vec<Role>>,
    /// What each session wants to go on from.
    resumes: BTreeMap<u64, Resume>,
    /// Sessions that were resumed, and have been told nothing but statuses since.
    pub(super) tails: BTreeSet<u64>,
}

impl Presence {
    pub(super) fn new(begun_ns: u64) -> Self {
        Self {
            begun_ns,
            ..Self::default()
        }
    }

    /// A session speaks for its framework from now on.
    pub(super) fn on_subscribed(&mut self, framework: &FrameworkId, session: u64) {
        self.left_ns.remove(framework);
        if let Some(old) = self.newest.insert(framework.clone(), session) {
            self.fenced.insert(old, session);
        }
    }

    /// S5: what is resumed is what was asked for, in this term.
    pub(super) fn judge_resumed(&self, session: u64, epoch: Epoch) -> Outcome {
        let resume = self.resumes.get(&session);
        match resume.is_some_and(|resume| resume.epoch == epoch) {
            true => Ok(()),
            false => Err(format!("a session that asked for {resume:?} is resumed")),
        }
    }

    /// The session that speaks in the place of this one.
    pub(super) fn overtaken_by(&self, session: u64) -> Option<u64> {
        self.fenced.get(&session).copied()
    }

    /// A session has ended: if it spoke for its framework, nobody does now.
    pub(super) fn on_ended(&mut self, session: u64, now_ns: u64) {
        let spoken_for = self.newest.iter().find(|(_, newest)| **newest == session);
        if let Some((framework, _)) = spoken_for {
            self.left_ns.entry(framework.clone()).or_insert(now_ns);
        }
    }

    /// S12: nothing is offered in a role that the session has not subscribed with. Answers how much is in another than the first.
    pub(super) fn judge_offered(&self, session: u64, event: &Event) -> Result<u64, String> {
        let Event::Offered(offers) = event else {
            return Ok(0);
        };
        let roles = self.roles.get(&session).map(Vec::as_slice);
        let roles = roles.unwrap_or_default();
        let mut others = 0;
        for Offer { role, .. } in offers {
            if !roles.contains(role) {
                return Err(format!("{role} is offered to who has {roles:?}"));
            }
            others += u64::from(roles.first() != Some(role));
        }
        Ok(others)
    }

    /// For how long nobody has spoken for a framework, as far as its master knows; none while somebody does.
    fn away(&self, framework: &FrameworkId, now_ns: u64) -> Option<Duration> {
        let since = match self.newest.contains_key(framework) {
            true => self.left_ns.get(framework).copied(),
            false => Some(self.begun_ns),
        };
        since.map(|since| Duration::from_nanos(now_ns - since))
    }
}

/// Which frameworks are over, and whose tasks go with them.
#[derive(Default)]
pub(super) struct Completions {
    /// Frameworks that they or an operator have asked to be over.
    asked: BTreeSet<FrameworkId>,
    /// The calls with which they have.
    calls: BTreeMap<u64, FrameworkId>,
    over: BTreeSet<FrameworkId>,
    /// The tasks of frameworks that do not stay.
    tasks: BTreeMap<TaskId, FrameworkId>,
}

impl Completions {
    /// A framework is to be over: because it calls that, or an operator does.
    pub(super) fn on_asked(&mut self, framework: &FrameworkId, call: Option<u64>) {
        self.asked.insert(framework.clone());
        let call = call.map(|request| (request, framework.clone()));
        self.calls.extend(call);
    }

    pub(super) fn on_launches(&mut self, framework: &FrameworkId, tasks: &[TaskId]) {
        let tasks = tasks.iter().map(|task| (task.clone(), framework.clone()));
        self.tasks.extend(tasks);
    }

    /// S12: who was not told to end, is over only when it was away for its failover timeout.
    fn on_completing(
        &self,
        framework: &FrameworkId,
        away: Option<Duration>,
        timeout: Duration,
    ) -> Outcome {
        match self.asked.contains(framework) || away.is_some_and(|away| away >= timeout) {
            true => Ok(()),
            false => Err(format!(
                "framework {framework} is over, nobody has asked for that, and it was away for {away:?}"
            )),
        }
    }

    /// S12: a framework is over once.
    pub(super) fn on_completed(&mut self, framework: &FrameworkId) -> Outcome {
        match self.over.insert(framework.clone()) {
            true => Ok(()),
            false => Err(format!("framework {framework} is over twice")),
        }
    }

    /// S12: who is told that its framework is over, is told what is durable.
    pub(super) fn on_answer(&self, request: u64, answer: &Answer) -> Outcome {
        let asked = self.calls.get(&request);
        match asked.filter(|framework| *answer == Answer::Done && !self.is_over(framework)) {
            None => Ok(()),
            Some(framework) => Err(format!(
                "framework {framework} is said to be over, and that is not durable"
            )),
        }
    }

    /// S12: nobody speaks for a framework that is over.
    pub(super) fn on_subscribed(&self, framework: &FrameworkId) -> Outcome {
        match self.is_over(framework) {
            true => Err(format!("framework {framework} is over, and subscribes")),
            false => Ok(()),
        }
    }

    pub(super) fn is_over(&self, framework: &FrameworkId) -> bool {
        self.over.contains(framework)
    }

    /// Whether a task is of a framework that is over.
    pub(super) fn is_task_of_over(&self, task: &TaskId) -> bool {
        let framework = self.tasks.get(task);
        framework.is_some_and(|framework| self.is_over(framework))
    }
}

impl World {
    /// Notes in which roles a session subscribes; a broken master understands something else.
    pub(super) fn hears_subscribe(&mut self, n: usize, connection: u64, mut call: Call) -> Call {
        let is_hurried = self.is_broken(Breakage::FailoverHurried);
        let keeps_roles = self.is_broken(Breakage::RolesKept);
        if let Call::Subscribe {
            description,
            resume,
            ..
        } = &mut call
        {
            if let Some(term) = self.masters[n].term.as_deref_mut() {
                let roles = description.roles.clone();
                term.presence.roles.insert(connection, roles);
                let resume = resume.map(|resume| (connection, resume));
                term.presence.resumes.extend(resume);
            }
            let is_tenant = description.failover_timeout == FAILOVER_TIMEOUT;
            if is_tenant && is_hurried {
                description.failover_timeout /= 10;
            }
            if is_tenant && keeps_roles {
                description.roles = all_roles();
            }
        }
        call
    }

    /// Who is over was told to be, or was away for long enough, as this master has seen it.
    pub(super) fn judge_completing(&mut self, n: usize, operations: &[Operation]) -> Outcome {
        let now_ns = self.time(Who::Master(n)).mono_ns;
        let Some(term) = self.masters[n].term.as_deref() else {
            return Ok(());
        };
        for operation in operations {
            let Operation::CompleteFramework { framework } = operation else {
                continue;
            };
            let away = term.presence.away(framework, now_ns);
            let completions = &self.checks.completions;
            completions.on_completing(framework, away, FAILOVER_TIMEOUT)?;
            if away.is_some_and(|away| away >= FAILOVER_TIMEOUT) {
                self.seen.count(Seen::FailedOver);
            }
        }
        Ok(())
    }
}
