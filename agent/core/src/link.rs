//! The link to the leader: what is said first, whom the agent obeys, and how silence is noticed.
//!
//! Fencing: an epoch smaller than one obeyed before is refused, a greater one is made durable before anything is done
//! under it (checkpoints are in order, and every deed waits for a later one), another cluster is never obeyed. Whatever a
//! master says, tasks run on; but for one thing: that an operator has marked this agent gone. Then its tasks are over for
//! everybody else, and it ends them.

use std::sync::Arc;
use std::time::Duration;

use proffer_model::link::{AgentExecutor, AgentTask, Hello, ToAgent, ToMaster};
use proffer_model::{
    AgentId, ClusterId, Epoch, FrameworkId, Incarnation, Problem, Reason, Status, TaskId, TaskSpec,
    Time, code,
};

use crate::core::Core;
use crate::effect::{After, Change, Effect, Effects, Entry, Fact};
use crate::event::{Identity, LinkId, RunId, TimerKey};
use crate::limits::{HEARTBEAT_INTERVAL_MIN, LINK_SILENCE_MAX};
use crate::task::Task;
use crate::tasks::Phase;
use crate::updates::{Acknowledged, mix};

/// What is to be done about a link that does not go as it should.
const CONNECT_ANEW: &str = "connect anew, to the master that leads";

/// The one connection.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) id: LinkId,
    /// The term that welcomed the agent on this link; absent before.
    pub(crate) epoch: Option<Epoch>,
    heartbeat_interval: Duration,
    heard: Time,
}

impl Core {
    pub(crate) fn on_link_opened(&mut self, now: Time, id: LinkId, effects: &mut Effects) {
        if let Some(old) = &self.link {
            effects.push(Effect::CloseLink(old.id));
        }
        self.link = Some(Link {
            id,
            epoch: None,
            heartbeat_interval: LINK_SILENCE_MAX,
            heard: now,
        });
        // What went into an earlier link may arrive after this; the master tells them apart by the number.
        self.identity.links += 1;
        self.persist(Change::Identity(self.identity.clone()), effects);
        let tasks = self.tasks.values().map(|task| AgentTask {
            framework: task.framework.clone(),
            spec: outline(task),
            incarnation: task.incarnation,
            status: task.updates.latest().clone(),
            acknowledged: task.updates.acknowledged(),
            payer: task.payer.clone(),
            group: task.group.as_ref().map(|(first, _)| first.clone()),
        });
        let executors = self.live_executors.values();
        let executors = executors.filter_map(|run| self.executors.get(run));
        let executors = executors.map(|executor| AgentExecutor {
            framework: executor.framework.clone(),
            spec: executor.spec.clone(),
            payer: executor.payer.clone(),
        });
        let hello = Hello {
            agent: self.identity.agent.clone(),
            cluster: self.identity.cluster.clone(),
            epoch: self.identity.epoch,
            description: self.settings.description.clone(),
            tasks: tasks.collect(),
            executors: executors.collect(),
            number: self.identity.links,
        };
        effects.push(Effect::Send {
            link: id,
            message: ToMaster::Hello(hello),
            after: After::Seq(self.seq),
        });
        effects.push(Effect::SetTimer {
            key: TimerKey::Heartbeat,
            at: now.after(LINK_SILENCE_MAX),
        });
    }

    pub(crate) fn on_link_closed(&mut self, id: LinkId, effects: &mut Effects) {
        if self.link.as_ref().is_some_and(|link| link.id == id) {
            self.link = None;
            effects.push(Effect::CancelTimer(TimerKey::Heartbeat));
        }
    }

    pub(crate) fn on_link_message(
        &mut self,
        now: Time,
        id: LinkId,
        message: ToAgent,
        effects: &mut Effects,
    ) {
        let Some(link) = self.link.as_mut().filter(|link| link.id == id) else {
            return;
        };
        link.heard = now;
        match message {
            ToAgent::Refused(problem) if problem.is(code::AGENT_GONE) => {
                self.on_gone(now, problem, effects);
            }
            ToAgent::Refused(problem) => self.refuse(problem, effects),
            ToAgent::Welcome {
                agent,
                cluster,
                epoch,
                generation: _,
                heartbeat_interval,
            } => self.on_welcome(now, agent, cluster, epoch, heartbeat_interval, effects),
            order @ (ToAgent::Heartbeat { .. }
            | ToAgent::Launch { .. }
            | ToAgent::LaunchGroup { .. }
            | ToAgent::Kill { .. }
            | ToAgent::Acknowledge { .. }
            | ToAgent::UpdateTask { .. }
            | ToAgent::Message { .. }
            | ToAgent::ShutdownExecutor { .. }
            | ToAgent::Volumes { .. }) => self.on_order(now, order, effects),
        }
    }

    fn on_welcome(
        &mut self,
        now: Time,
        agent: AgentId,
        cluster: ClusterId,
        epoch: Epoch,
        heartbeat_interval: Duration,
        effects: &mut Effects,
    ) {
        if let Some(problem) = self.welcome_problem(&agent, &cluster, epoch) {
            self.refuse(problem, effects);
            return;
        }
        // Its id was forgotten, or the store is an older one; it may be marked again.
        self.is_gone = false;
        let identity = Identity {
            agent: Some(agent.clone()),
            cluster: Some(cluster.clone()),
            epoch,
            boot: self.identity.boot.clone(),
            links: self.identity.links,
        };
        if identity != self.identity {
            self.identity = identity.clone();
            self.persist(Change::Identity(identity), effects);
        }
        let Some(link) = self.link.as_mut() else {
            return;
        };
        link.epoch = Some(epoch);
        link.heartbeat_interval =
            heartbeat_interval.clamp(HEARTBEAT_INTERVAL_MIN, LINK_SILENCE_MAX);
        let first = first_heartbeat(link.heartbeat_interval, self.settings.seed ^ link.id.0);
        effects.push(Effect::SetTimer {
            key: TimerKey::Heartbeat,
            at: now.after(first),
        });
        effects.push(Effect::Record(Fact::Registered {
            agent,
            cluster,
            epoch,
        }));
        // What the hello said counts when the master knows that no other is obeyed since.
        self.tell_master(ToMaster::Heartbeat, After::Seq(self.seq), effects);
        let runs: Vec<RunId> = self.tasks.keys().copied().collect();
        for run in runs {
            self.send_unacknowledged(run, effects);
            self.await_acknowledgement(now, run, effects);
        }
    }

    /// Why this welcome is not taken; nothing when it is.
    fn welcome_problem(
        &self,
        agent: &AgentId,
        cluster: &ClusterId,
        epoch: Epoch,
    ) -> Option<Problem> {
        if let Some(own) = self.identity.cluster.as_ref().filter(|own| *own != cluster) {
            let message =
                format!("this agent belongs to cluster {own}, and the master to {cluster}");
            return Some(
                Problem::new(code::AGENT_CLUSTER_CHANGED, message)
                    .hint("check --master, or give the agent an empty --work-dir to join anew"),
            );
        }
        if let Some(own) = self.identity.agent.as_ref().filter(|own| *own != agent) {
            let message = format!("the master calls this agent {agent}, but it is {own}");
            return Some(
                Problem::new(code::AGENT_REFUSED, message)
                    .hint("give the agent an empty --work-dir to join anew"),
            );
        }
        let obeyed = self.link.as_ref().and_then(|link| link.epoch);
        if obeyed.is_some_and(|obeyed| obeyed != epoch) {
            let message = "the master's term changed within one link";
            return Some(Problem::new(code::SESSION_ORDER, message).hint(CONNECT_ANEW));
        }
        self.stale(epoch)
    }

    fn stale(&self, epoch: Epoch) -> Option<Problem> {
        let obeyed = self.identity.epoch;
        (epoch < obeyed).then(|| {
            let message =
                format!("the master is in term {epoch}, but term {obeyed} was obeyed before");
            Problem::new(code::EPOCH_STALE, message).hint("another master leads by now")
        })
    }

    /// Whether a message of this term is obeyed; if not, the link is closed.
    pub(crate) fn may_command(&mut self, epoch: Epoch, effects: &mut Effects) -> bool {
        let welcomed = self.link.as_ref().and_then(|link| link.epoch);
        if welcomed == Some(epoch) {
            return true;
        }
        let problem = self.stale(epoch).unwrap_or_else(|| {
            let message = format!("the master commands in term {epoch} without a welcome");
            Problem::new(code::SESSION_ORDER, message).hint(CONNECT_ANEW)
        });
        self.refuse(problem, effects);
        false
    }

    /// Ends everything that runs, each task within its own grace. The link is tried again all the same: the id may be
    /// forgotten one day.
    fn on_gone(&mut self, now: Time, problem: Problem, effects: &mut Effects) {
        if std::mem::replace(&mut self.is_gone, true) {
            self.refuse(problem, effects);
            return;
        }
        effects.push(Effect::Record(Fact::Gone(problem)));
        self.close_link(effects);
        let tasks = self.tasks.iter();
        let tasks = tasks.filter(|(_, task)| task.phase != Phase::Ended);
        let tasks: Vec<(RunId, Duration)> = tasks
            .map(|(run, task)| (*run, task.spec.kill_grace))
            .collect();
        for (run, grace) in tasks {
            self.ask_kill(now, run, grace, Reason::AgentGone, "", effects);
        }
        let executors: Vec<RunId> = self.live_executors.values().copied().collect();
        for run in executors {
            self.end_executor(now, run, Reason::AgentGone, effects);
        }
    }

    /// Ends the link; tasks run on.
    fn refuse(&mut self, problem: Problem, effects: &mut Effects) {
        effects.push(Effect::Record(Fact::Refused(problem)));
        self.close_link(effects);
    }

    pub(crate) fn close_link(&mut self, effects: &mut Effects) {
        if let Some(link) = self.link.take() {
            effects.push(Effect::CloseLink(link.id));
            effects.push(Effect::CancelTimer(TimerKey::Heartbeat));
        }
    }

    pub(crate) fn on_heartbeat_due(&mut self, now: Time, effects: &mut Effects) {
        let Some(link) = &self.link else { return };
        if now.since(link.heard) >= LINK_SILENCE_MAX {
            effects.push(Effect::Record(Fact::LinkSilent));
            self.close_link(effects);
            return;
        }
        if link.epoch.is_some() {
            effects.push(Effect::Send {
                link: link.id,
                message: ToMaster::Heartbeat,
                after: After::Nothing,
            });
        }
        effects.push(Effect::SetTimer {
            key: TimerKey::Heartbeat,
            at: now.after(link.heartbeat_interval),
        });
    }

    pub(crate) fn on_acknowledge(
        &mut self,
        now: Time,
        framework: FrameworkId,
        task_id: TaskId,
        incarnation: Incarnation,
        number: u64,
        effects: &mut Effects,
    ) {
        let Some(run) = self.run_of(&framework, &task_id, incarnation) else {
            // Already settled: the acknowledgement came twice.
            return;
        };
        let Some(task) = self.tasks.get_mut(&run) else {
            return;
        };
        match task.updates.acknowledge(number) {
            Acknowledged::Repeated => return,
            Acknowledged::Unknown => {
                effects.push(Effect::Record(Fact::AcknowledgementIgnored {
                    framework,
                    task: task_id,
                    number,
                }));
                return;
            }
            Acknowledged::New => {}
        }
        self.count_said(run);
        let Some(task) = self.tasks.get_mut(&run) else {
            return;
        };
        let is_unsaid = task.health.is_unsaid;
        let ended_ms = task.updates.latest().wall_ms;
        // A run that is settled but still has a container (it was found where none should be) stays until that is gone.
        let is_over = task.updates.is_settled() && task.pid.is_none();
        let entry = Entry::Acknowledged(number);
        self.persist(Change::Entry { run, entry }, effects);
        if is_over {
            self.discard(now, run, ended_ms, effects);
            return;
        }
        self.await_acknowledgement(now, run, effects);
        if is_unsaid {
            self.say_health(now, run, "", effects);
        }
        self.say_waiting(now, run, effects);
    }

    /// Sends one status if the agent is registered; answers whether it was.
    pub(crate) fn send_status(&self, run: RunId, status: Status, effects: &mut Effects) -> bool {
        let Some(task) = self.tasks.get(&run) else {
            return false;
        };
        let Some(link) = self.link.as_ref().filter(|link| link.epoch.is_some()) else {
            return false;
        };
        effects.push(Effect::Send {
            link: link.id,
            message: ToMaster::Updated {
                framework: task.framework.clone(),
                status,
                latest: task.updates.latest().state,
            },
            after: After::Seq(task.seq),
        });
        true
    }

    /// Says something to the leader, if there is one that knows the agent.
    pub(crate) fn tell_master(&self, message: ToMaster, after: After, effects: &mut Effects) {
        if let Some(link) = self.link.as_ref().filter(|link| link.epoch.is_some()) {
            let link = link.id;
            effects.push(Effect::Send {
                link,
                message,
                after,
            });
        }
    }

    /// Sends a status that is not kept: for what is beyond the agent's limits.
    pub(crate) fn send_unkept(
        &self,
        framework: FrameworkId,
        status: Status,
        effects: &mut Effects,
    ) {
        if let Some(link) = &self.link {
            effects.push(Effect::Send {
                link: link.id,
                message: ToMaster::Updated {
                    framework,
                    latest: status.state,
                    status,
                },
                after: After::Nothing,
            });
        }
    }
}

/// What the leader needs to know of a task: what it is to run stays here, and of one that has ended, what its executor was.
fn outline(task: &Task) -> TaskSpec {
    let mut outline = task.spec.outline();
    if task.phase == Phase::Ended {
        outline.executor = outline.executor.map(|spec| Arc::new(spec.outline()));
    }
    outline
}

/// When the first heartbeat is due. Agents that register together, as after a change of the leader, would go on speaking
/// together: each begins after a part of the interval that follows from its seed.
fn first_heartbeat(interval: Duration, seed: u64) -> Duration {
    let interval_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(mix(seed) % interval_ms.max(1) + 1).min(interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_that_register_together_do_not_speak_together() {
        let interval = Duration::from_secs(2);
        let mut quarters = [0; 4];
        for seed in 0..1_000 {
            let first = first_heartbeat(interval, seed);
            assert!(first > Duration::ZERO && first <= interval);
            let quarter = (first.as_millis() - 1) / 500;
            quarters[usize::try_from(quarter).unwrap()] += 1;
        }
        let is_even = quarters.iter().all(|count| (200..300).contains(count));
        assert!(is_even, "{quarters:?}");
    }
}
