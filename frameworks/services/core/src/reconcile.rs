//! Start-up, sessions and sweeps: how what is kept here and what runs there are brought together.
//!
//! Nothing is restarted because the program or the session was: instances are asked about by id, tasks that nobody here knows
//! are killed when they are reported, and instances that nobody there knows have ended.

use std::collections::BTreeSet;
use std::sync::Arc;

use proffer_model::session::Call;
use proffer_model::{AgentId, FrameworkId, TaskId, Time};

use crate::core::{AppEntry, Core, Key, Pending};
use crate::effect::Effect;
use crate::event::{Record, TimerKey};
use crate::id::InstanceId;
use crate::instance::{Instance, Memory, Phase};
use crate::limits::{LAUNCH_TIMEOUT, RECONCILE_INTERVAL, TASKS_PER_RECONCILE_MAX};

impl Core {
    /// Takes over what earlier runs of the program kept.
    pub(crate) fn on_loaded(&mut self, now: Time, records: Vec<Record>) {
        let mut instances = Vec::new();
        for record in records {
            match record {
                Record::App(app) => {
                    let entry = AppEntry::new(now, app);
                    let id = entry.app.spec.id.clone();
                    self.to_show.insert(Key::App(id.clone()));
                    self.touched.insert(id.clone());
                    self.apps.insert(id, entry);
                }
                Record::Instance(instance) => instances.push(instance),
            }
        }
        for mut instance in instances {
            let id = instance.id;
            let Some(entry) = self.apps.get_mut(&instance.app) else {
                // Its app went while this was being deleted. Should its task still run, it is unknown and killed.
                self.to_keep.insert(Key::Instance(id));
                continue;
            };
            entry.instances.insert(id);
            Arc::make_mut(&mut instance).memory = Memory {
                since: now,
                ..Memory::default()
            };
            self.tasks.insert(instance.task.clone(), id);
            self.instances.insert(id, instance);
            self.to_show.insert(Key::Instance(id));
        }
        self.is_loaded = true;
        self.set_sweep_timer(now);
    }

    /// Begins with the master anew: nothing that was under way is known to it.
    pub(crate) fn on_session_opened(&mut self, now: Time, framework: FrameworkId) {
        self.session = Some(framework);
        self.session_number += 1;
        self.pending.clear();
        self.renew_demand();
        self.demand_may_leave_at = None;
        for id in self.instances.keys().copied().collect::<Vec<_>>() {
            if self
                .instances
                .get(&id)
                .is_some_and(|instance| instance.is_condemned)
            {
                self.send_kill(id);
            }
        }
        self.reconcile(now);
    }

    pub(crate) fn on_session_lost(&mut self) {
        self.session = None;
        self.pending.clear();
    }

    /// An agent has said all that it runs: asks about instances there that nobody has confirmed, or that are not up. The
    /// launch of these may have died with the master that took it, and no agent will ever speak of them.
    pub(crate) fn on_agent_settled(&mut self, agent: &AgentId) {
        self.forget_wanted_back(agent);
        let is_open =
            |instance: &Instance| !instance.memory.is_confirmed || instance.phase < Phase::Running;
        let tasks = self.askable(|instance| instance.agent == *agent && is_open(instance));
        self.ask_about(tasks);
    }

    /// The resources of these tasks are wanted back, or are not any more. A condemned instance ends anyway.
    pub(crate) fn on_reclaimed(&mut self, tasks: &[TaskId], is_wanted: bool) {
        let wanted = is_wanted.then_some(self.session_number);
        for task in tasks {
            if let Some(id) = self.tasks.get(task).copied() {
                self.set_wanted_back(id, wanted);
            }
        }
    }

    /// What was wanted back on an agent before, and was not said again, is not any more.
    fn forget_wanted_back(&mut self, agent: &AgentId) {
        let number = self.session_number;
        let is_old = |instance: &Instance| {
            let said_in = instance.memory.wanted_back_in;
            instance.agent == *agent && said_in.is_some_and(|said_in| said_in != number)
        };
        let instances = self.instances.iter();
        let old = instances.filter(|(_, instance)| is_old(instance));
        for id in old.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.set_wanted_back(id, None);
        }
    }

    fn set_wanted_back(&mut self, id: InstanceId, wanted: Option<u64>) {
        if let Some(instance) = self.instances.get_mut(&id) {
            Arc::make_mut(instance).memory.wanted_back_in = wanted;
            self.touched.insert(instance.app.clone());
        }
    }

    /// Asks about everything: by id, so that unknown ones are answered too, and about all, so that strange ones show.
    pub(crate) fn reconcile(&mut self, now: Time) {
        let tasks = self.askable(|_| true);
        self.ask_about(tasks);
        self.send(Call::Reconcile { tasks: Vec::new() }, Pending::Other);
        let at = now.after(RECONCILE_INTERVAL);
        self.out.push(Effect::SetTimer {
            key: TimerKey::Reconcile,
            at,
        });
    }

    /// The tasks of the instances that pass the test, without those whose launch has not been answered in this session: the
    /// master may not have seen them yet.
    pub(crate) fn askable(&self, test: impl Fn(&Instance) -> bool) -> Vec<TaskId> {
        let under_way = self.launches_under_way();
        let instances = self.instances.values();
        instances
            .filter(|i| !under_way.contains(&i.id) && test(i))
            .map(|i| i.task.clone())
            .collect()
    }

    pub(crate) fn launches_under_way(&self) -> BTreeSet<InstanceId> {
        let launches = self.pending.values().filter_map(|pending| match pending {
            Pending::Launch(ids) => Some(ids),
            Pending::Demand | Pending::Other => None,
        });
        launches.flatten().copied().collect()
    }

    pub(crate) fn ask_about(&mut self, tasks: Vec<TaskId>) {
        for chunk in tasks.chunks(TASKS_PER_RECONCILE_MAX) {
            self.send(
                Call::Reconcile {
                    tasks: chunk.to_vec(),
                },
                Pending::Other,
            );
        }
    }

    /// Repairs what an event missed: plans every app, repeats kills, ends what does not come up.
    pub(crate) fn sweep(&mut self, now: Time) {
        let late = |instance: &Instance| {
            instance.memory.is_confirmed
                && instance.phase < Phase::Running
                && now.since(instance.memory.since) >= LAUNCH_TIMEOUT
        };
        for id in self.instances.keys().copied().collect::<Vec<_>>() {
            let Some(instance) = self.instances.get(&id) else {
                continue;
            };
            if instance.is_condemned {
                self.send_kill(id);
            } else if late(instance) {
                self.condemn(now, id);
            }
        }
        self.touched.extend(self.apps.keys().cloned());
        if !self.demands.is_empty() {
            self.renew_demand();
        }
        self.set_sweep_timer(now);
    }
}
