//! The core: the apps and instances that are, and `step`, which every event goes through.
//!
//! Handlers change the state and mark what they touched; at the end of each step the touched apps are planned anew
//! ([`Core::plan_app`]) and what changed is kept and shown, in that order. So start-up, repair and normal running are one path.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proffer_model::session::Call;
use proffer_model::{Demand, DemandEntry, DemandId, FrameworkId, Generation, Role, TaskId, Time};

use crate::app::{App, KillSelection, Unreachable};
use crate::backoff::Backoff;
use crate::deployment::{Deployment, DeploymentKind};
use crate::effect::{Effect, Fact, Notice, Write};
use crate::event::{CallId, Event, Record, TimerKey};
use crate::id::{AppId, DeploymentId, IdSource, InstanceId, Version};
use crate::instance::{Instance, Phase};
use crate::limits::{
    DEMAND_INTERVAL, INSTANCES_WITHOUT_REST_MAX, PLAN_REST_PER_INSTANCE, SWEEP_INTERVAL,
};
use crate::plan::{Census, plan, without_gap};
use crate::port::ServicePortRange;

/// How the framework is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The role that pays for everything.
    pub role: Role,
    /// The numbers for service ports.
    pub service_ports: ServicePortRange,
    /// A random number, another one at each start: ids of instances and deployments come from it.
    pub seed: u128,
}

/// An app with what is known of it in this run of the program only.
#[derive(Clone, Debug)]
pub(crate) struct AppEntry {
    pub(crate) app: Arc<App>,
    pub(crate) instances: BTreeSet<InstanceId>,
    pub(crate) backoff: Backoff,
    /// Instances to launch, waiting for offers or for the backoff.
    pub(crate) missing: u32,
    pub(crate) missing_since_wall_ms: u64,
    /// What it wants of the master now.
    pub(crate) demand: Option<DemandEntry>,
    /// Before this a large app is not planned again for a status.
    pub(crate) rests_until: Time,
}

impl AppEntry {
    /// An app of which no instance is known.
    pub(crate) fn new(now: Time, app: Arc<App>) -> Self {
        Self {
            app,
            instances: BTreeSet::new(),
            backoff: Backoff::default(),
            missing: 0,
            missing_since_wall_ms: now.wall_ms,
            demand: None,
            rests_until: now,
        }
    }
}

/// What a call that waits for its answer was about.
#[derive(Clone, Debug)]
pub(crate) enum Pending {
    /// These instances were launched.
    Launch(Vec<InstanceId>),
    /// The demand was set.
    Demand,
    /// Anything else.
    Other,
}

/// The service framework.
#[derive(Debug)]
pub struct Core {
    pub(crate) settings: Settings,
    pub(crate) ids: IdSource,
    pub(crate) is_loaded: bool,
    pub(crate) session: Option<FrameworkId>,
    /// How many sessions there have been.
    pub(crate) session_number: u64,
    pub(crate) apps: BTreeMap<AppId, AppEntry>,
    pub(crate) instances: BTreeMap<InstanceId, Arc<Instance>>,
    pub(crate) tasks: BTreeMap<TaskId, InstanceId>,
    pub(crate) demands: BTreeMap<DemandId, AppId>,
    pub(crate) pending: BTreeMap<CallId, Pending>,
    next_call: u64,
    demand_generation: Generation,
    is_demand_stale: bool,
    pub(crate) demand_may_leave_at: Option<Time>,
    pub(crate) touched: BTreeSet<AppId>,
    pub(crate) to_keep: BTreeSet<Key>,
    pub(crate) to_show: BTreeSet<Key>,
    pub(crate) out: Vec<Effect>,
}

/// What has changed in a step.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    App(AppId),
    Instance(InstanceId),
}

impl Core {
    /// A framework that knows nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            ids: IdSource::new(settings.seed),
            settings,
            is_loaded: false,
            session: None,
            session_number: 0,
            apps: BTreeMap::new(),
            instances: BTreeMap::new(),
            tasks: BTreeMap::new(),
            demands: BTreeMap::new(),
            pending: BTreeMap::new(),
            next_call: 0,
            demand_generation: Generation(0),
            is_demand_stale: true,
            demand_may_leave_at: None,
            touched: BTreeSet::new(),
            to_keep: BTreeSet::new(),
            to_show: BTreeSet::new(),
            out: Vec::new(),
        }
    }

    /// Takes in one event; appends what is to be done, to be carried out in order.
    pub fn step(&mut self, now: Time, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Loaded(records) => self.on_loaded(now, records),
            Event::SessionOpened { framework } => self.on_session_opened(now, framework),
            Event::SessionLost => self.on_session_lost(),
            Event::Offered(offers) => self.on_offered(now, offers),
            // Offers are decided on at once; an accept of one that is gone is answered so.
            Event::Rescinded(_) => {}
            Event::Updated { sequence, status } => self.on_updated(now, sequence, status),
            Event::Answered { call, answer } => self.on_answered(now, call, answer),
            Event::AgentSettled(agent) => self.on_agent_settled(&agent),
            Event::Reclaimed { tasks, is_wanted } => self.on_reclaimed(&tasks, is_wanted),
            Event::ApiCalled {
                request,
                origin,
                call,
            } => self.on_api_called(now, request, origin, call),
            Event::TimerFired(key) => self.on_timer(now, key),
        }
        self.settle(now, effects);
    }

    fn on_timer(&mut self, now: Time, key: TimerKey) {
        match key {
            TimerKey::Sweep => self.sweep(now),
            TimerKey::Reconcile => self.reconcile(now),
            // Whatever the clock says: the timer has come.
            TimerKey::Demand => self.demand_may_leave_at = None,
            TimerKey::App(app) => {
                self.touched.insert(app);
            }
        }
    }

    /// Plans what was touched, then keeps, shows and sends what came of it.
    fn settle(&mut self, now: Time, effects: &mut Vec<Effect>) {
        while let Some(app) = self.touched.pop_first() {
            self.plan_app(now, &app);
        }
        let mut writes = Vec::new();
        for key in std::mem::take(&mut self.to_keep) {
            writes.push(match &key {
                Key::App(id) => match self.apps.get(id) {
                    Some(entry) => Write::Put(Record::App(entry.app.clone())),
                    None => Write::DeleteApp(id.clone()),
                },
                Key::Instance(id) => match self.instances.get(id) {
                    Some(instance) => Write::Put(Record::Instance(instance.clone())),
                    None => Write::DeleteInstance(*id),
                },
            });
            self.to_show.insert(key);
        }
        if !writes.is_empty() {
            effects.push(Effect::Persist(writes));
        }
        for key in std::mem::take(&mut self.to_show) {
            effects.push(Effect::Record(match key {
                Key::App(id) => match self.apps.get(&id) {
                    Some(entry) => Fact::AppChanged(entry.app.clone()),
                    None => Fact::AppRemoved(id),
                },
                Key::Instance(id) => match self.instances.get(&id) {
                    Some(instance) => Fact::InstanceChanged(instance.clone()),
                    None => Fact::InstanceRemoved(id),
                },
            }));
        }
        self.send_demand(now);
        effects.append(&mut self.out);
    }

    /// Has an app planned because of a status. Planning looks at every instance, so a large app, of which many statuses come,
    /// rests between two plans; nothing is missed, for a plan looks at what is then.
    pub(crate) fn touch_for_status(&mut self, now: Time, id: &AppId) {
        let Some(entry) = self.apps.get(id) else {
            return;
        };
        let rests_until = entry.rests_until;
        if rests_until.mono_ns <= now.mono_ns {
            self.touched.insert(id.clone());
        } else if !self.touched.contains(id) {
            self.out.push(Effect::SetTimer {
                key: TimerKey::App(id.clone()),
                at: rests_until,
            });
        }
    }

    /// Finds the next moves of an app and makes them.
    fn plan_app(&mut self, now: Time, id: &AppId) {
        let Some(entry) = self.apps.get_mut(id) else {
            return;
        };
        let count = entry.instances.len();
        if count > INSTANCES_WITHOUT_REST_MAX {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            entry.rests_until = now.after(PLAN_REST_PER_INSTANCE.saturating_mul(count));
        }
        let app = entry.app.clone();
        let is_stopping = app
            .deployment
            .as_ref()
            .is_some_and(|d| d.kind == DeploymentKind::Stop);
        if is_stopping {
            for instance in self.ids_of(id) {
                self.condemn(now, instance);
            }
            if self.ids_of(id).is_empty() {
                return self.remove_app(id);
            }
            return self.want(now, id, 0);
        }
        let census = self.census(now, &app);
        let upgrade = match app.deployment {
            Some(_) => app.spec.upgrade,
            // What is not of the present configuration is then only what is wanted back.
            None => without_gap(census.target, app.spec.upgrade),
        };
        let moves = plan(&census, upgrade);
        // Nobody is ended on the word of an instance that has not been heard of since the program started: what seems to be
        // one too many may be the only one that is reachable.
        let is_known = self.ids_of(id).iter().all(|i| {
            self.instances
                .get(i)
                .is_some_and(|i| i.memory.is_confirmed || i.is_condemned)
        });
        if is_known {
            for victim in self.victims(now, &app, moves.end_old, moves.end_new) {
                self.condemn(now, victim);
            }
            self.expunge(now, &app, &census);
        }
        self.want(now, id, moves.launch);
        self.finish_deployment(now, id);
    }

    /// Whether the instance is one that stays: of the configuration that the app is on its way to (without a deployment all
    /// are good), and where it may stay.
    fn is_new(app: &App, instance: &Instance) -> bool {
        (app.deployment.is_none() || instance.config == app.last_config)
            && !instance.memory.is_wanted_back()
    }

    /// Whether the instance is unreachable for so long that it is replaced.
    pub(crate) fn is_given_up(now: Time, app: &App, instance: &Instance) -> bool {
        match app.spec.unreachable {
            Unreachable::Wait => false,
            Unreachable::Replace { inactive_after, .. } => {
                instance.phase == Phase::Unreachable
                    && now.since(instance.memory.since) >= inactive_after
            }
        }
    }

    pub(crate) fn census(&self, now: Time, app: &App) -> Census {
        let mut census = Census {
            target: app.spec.instances,
            ..Census::default()
        };
        let Some(entry) = self.apps.get(&app.spec.id) else {
            return census;
        };
        for instance in self.instances_of(entry) {
            let is_new = Self::is_new(app, instance);
            let is_healthy = u32::from(instance.is_healthy());
            if instance.is_condemned {
                census.dying += u32::from(!is_new);
            } else if Self::is_given_up(now, app, instance) {
                // Neither here nor there: see `expunge`.
            } else if is_new {
                census.new += 1;
                census.new_healthy += is_healthy;
            } else {
                census.old += 1;
                census.old_healthy += is_healthy;
            }
        }
        census
    }

    /// Who ends: so many of older configurations and so many of the present one. First those that are least alive, then
    /// those that returned after they had been replaced, then by age.
    fn victims(&self, now: Time, app: &App, end_old: u32, end_new: u32) -> Vec<InstanceId> {
        let Some(entry) = self.apps.get(&app.spec.id) else {
            return Vec::new();
        };
        if end_old == 0 && end_new == 0 {
            return Vec::new();
        }
        let mut candidates: Vec<&Arc<Instance>> = self
            .instances_of(entry)
            .filter(|i| !i.is_condemned && !Self::is_given_up(now, app, i))
            .collect();
        candidates.sort_by_key(|instance| {
            let liveness = match instance.phase {
                Phase::Unreachable => 0,
                Phase::Killing => 1,
                Phase::Launching | Phase::Staging => 2,
                Phase::Starting => 3,
                Phase::Running if !instance.is_healthy() => 4,
                Phase::Running if instance.memory.has_returned => 5,
                Phase::Running => 6,
            };
            let age = match app.spec.kill_selection {
                KillSelection::YoungestFirst => u64::MAX - instance.staged_wall_ms,
                KillSelection::OldestFirst => instance.staged_wall_ms,
            };
            (liveness, age, instance.id)
        });
        let pick = |new: bool, count: u32| {
            let of_kind = candidates
                .iter()
                .filter(move |i| Self::is_new(app, i) == new);
            of_kind
                .take(usize::try_from(count).unwrap_or(usize::MAX))
                .map(|i| i.id)
                .collect::<Vec<_>>()
        };
        [pick(false, end_old), pick(true, end_new)].concat()
    }

    /// Forgets instances on lost agents: those that would be replaced anyway, and those whose time is over while the app
    /// has all that it wants without them. Should one return, it is unknown and killed.
    fn expunge(&mut self, now: Time, app: &App, census: &Census) {
        let Unreachable::Replace { expunge_after, .. } = app.spec.unreachable else {
            return;
        };
        for id in self.ids_of(&app.spec.id) {
            let Some(instance) = self.instances.get(&id) else {
                continue;
            };
            if !Self::is_given_up(now, app, instance) {
                continue;
            }
            let is_over = now.since(instance.memory.since) >= expunge_after;
            if !Self::is_new(app, instance) || (is_over && census.new_healthy >= census.target) {
                self.condemn(now, id);
            }
        }
    }

    /// Decides that an instance shall end. One on a lost agent is forgotten at once; the kill waits for the agent.
    pub(crate) fn condemn(&mut self, now: Time, id: InstanceId) {
        let Some(instance) = self.instances.get_mut(&id) else {
            return;
        };
        if instance.is_condemned {
            return;
        }
        Arc::make_mut(instance).is_condemned = true;
        let is_lost = instance.phase == Phase::Unreachable;
        let instance = instance.clone();
        self.to_keep.insert(Key::Instance(id));
        self.touched.insert(instance.app.clone());
        self.out.push(Effect::Publish(Notice::TaskUpdated {
            state: instance.shown(),
            instance,
            message: "told to end".to_owned(),
        }));
        self.send_kill(id);
        if is_lost {
            self.forget(now, id);
        }
    }

    /// Tells the master to end the task of a condemned instance, if it can be told now.
    pub(crate) fn send_kill(&mut self, id: InstanceId) {
        let Some(instance) = self.instances.get(&id) else {
            return;
        };
        let grace = self
            .apps
            .get(&instance.app)
            .and_then(|entry| entry.app.spec.kill_grace);
        let task = instance.task.clone();
        self.send(Call::Kill { task, grace }, Pending::Other);
    }

    /// Removes an instance for good.
    pub(crate) fn forget(&mut self, now: Time, id: InstanceId) {
        let Some(instance) = self.instances.remove(&id) else {
            return;
        };
        self.tasks.remove(&instance.task);
        if let Some(entry) = self.apps.get_mut(&instance.app) {
            entry.instances.remove(&id);
        }
        self.to_keep.insert(Key::Instance(id));
        self.touch_for_status(now, &instance.app);
    }

    fn remove_app(&mut self, id: &AppId) {
        let Some(entry) = self.apps.remove(id) else {
            return;
        };
        self.drop_demand(entry.demand.as_ref());
        self.to_keep.insert(Key::App(id.clone()));
        self.out
            .push(Effect::Publish(Notice::AppTerminated(id.clone())));
        if let Some(deployment) = entry.app.deployment.clone() {
            self.out.push(Effect::Publish(Notice::DeploymentSucceeded {
                app: id.clone(),
                deployment,
            }));
        }
    }

    /// Sets how many instances of an app are to be launched: the demand follows, or a timer for when it may.
    fn want(&mut self, now: Time, id: &AppId, missing: u32) {
        let Some(entry) = self.apps.get_mut(id) else {
            return;
        };
        if entry.missing == 0 && missing > 0 {
            entry.missing_since_wall_ms = now.wall_ms;
        }
        entry.missing = missing;
        let waits = if missing > 0 {
            entry.backoff.waits_until(now)
        } else {
            None
        };
        let demand = if missing > 0 && waits.is_none() {
            crate::launch::demand_of(&entry.app, missing)
        } else {
            None
        };
        if demand != entry.demand {
            let before = std::mem::replace(&mut entry.demand, demand.clone());
            self.drop_demand(before.as_ref());
            if let Some(demand) = demand {
                self.demands.insert(demand.id, id.clone());
            }
            self.is_demand_stale = true;
        }
        self.set_app_timer(now, id, waits);
    }

    fn drop_demand(&mut self, demand: Option<&DemandEntry>) {
        if let Some(demand) = demand {
            self.demands.remove(&demand.id);
            self.is_demand_stale = true;
        }
    }

    /// Wakes up for an app when its backoff is over or an unreachable instance of it is to be given up.
    fn set_app_timer(&mut self, now: Time, id: &AppId, waits: Option<Time>) {
        let Some(entry) = self.apps.get(id) else {
            return;
        };
        let given_up_at = |instance: &Arc<Instance>| match entry.app.spec.unreachable {
            Unreachable::Replace { inactive_after, .. } if instance.phase == Phase::Unreachable => {
                Some(instance.memory.since.after(inactive_after))
                    .filter(|at| at.mono_ns > now.mono_ns)
            }
            Unreachable::Replace { .. } | Unreachable::Wait => None,
        };
        let first = self
            .instances_of(entry)
            .filter_map(given_up_at)
            .chain(waits)
            .min();
        if let Some(at) = first {
            self.out.push(Effect::SetTimer {
                key: TimerKey::App(id.clone()),
                at,
            });
        }
    }

    /// Ends a deployment that has reached its aim: all healthy, nobody else there.
    fn finish_deployment(&mut self, now: Time, id: &AppId) {
        let Some(entry) = self.apps.get(id) else {
            return;
        };
        let census = self.census(now, &entry.app);
        let is_settled = census.new == census.target
            && census.new_healthy >= census.target
            && census.old == 0
            && self
                .instances_of(entry)
                .all(|instance| !instance.is_condemned);
        if !is_settled {
            return;
        }
        let Some(deployment) = self.take_deployment(id) else {
            return;
        };
        self.out.push(Effect::Publish(Notice::DeploymentSucceeded {
            app: id.clone(),
            deployment,
        }));
    }

    pub(crate) fn take_deployment(&mut self, id: &AppId) -> Option<Deployment> {
        let entry = self.apps.get_mut(id)?;
        entry.app.deployment.as_ref()?;
        let deployment = Arc::make_mut(&mut entry.app).deployment.take();
        self.to_keep.insert(Key::App(id.clone()));
        self.touched.insert(id.clone());
        deployment
    }

    /// Replaces the demand when it differs from what the master was last told: at once, and then not again for a moment, so
    /// that many changes become one demand.
    fn send_demand(&mut self, now: Time) {
        if !self.is_demand_stale || self.session.is_none() || !self.is_loaded {
            return;
        }
        if let Some(at) = self
            .demand_may_leave_at
            .filter(|at| at.mono_ns > now.mono_ns)
        {
            self.out.push(Effect::SetTimer {
                key: TimerKey::Demand,
                at,
            });
            return;
        }
        self.demand_may_leave_at = Some(now.after(DEMAND_INTERVAL));
        self.is_demand_stale = false;
        // Beyond the first start too, so that a master that remembers the last demand takes this one.
        self.demand_generation = Generation(self.demand_generation.next().0.max(now.wall_ms));
        let entries = self.apps.values().filter_map(|entry| entry.demand.clone());
        let entries = entries
            .take(proffer_model::limits::DEMAND_ENTRIES_MAX)
            .collect();
        let demand = Demand {
            role: self.settings.role.clone(),
            generation: self.demand_generation,
            entries,
        };
        self.send(Call::SetDemand(demand), Pending::Demand);
    }

    /// Has the demand sent again with the next settling.
    pub(crate) fn renew_demand(&mut self) {
        self.is_demand_stale = true;
    }

    /// Calls the master if there is a session.
    pub(crate) fn send(&mut self, call: Call, about: Pending) {
        if self.session.is_none() {
            return;
        }
        self.next_call += 1;
        let id = CallId(self.next_call);
        self.pending.insert(id, about);
        self.out.push(Effect::Call { id: Some(id), call });
    }

    /// The instances of an app, condemned ones included.
    pub(crate) fn instances_of<'a>(
        &'a self,
        entry: &'a AppEntry,
    ) -> impl Iterator<Item = &'a Arc<Instance>> {
        entry
            .instances
            .iter()
            .filter_map(|id| self.instances.get(id))
    }

    pub(crate) fn ids_of(&self, id: &AppId) -> Vec<InstanceId> {
        self.apps
            .get(id)
            .map(|entry| entry.instances.iter().copied().collect())
            .unwrap_or_default()
    }

    pub(crate) fn set_sweep_timer(&mut self, now: Time) {
        self.out.push(Effect::SetTimer {
            key: TimerKey::Sweep,
            at: now.after(SWEEP_INTERVAL),
        });
    }

    pub(crate) fn draw_deployment(&mut self) -> DeploymentId {
        DeploymentId(self.ids.draw())
    }

    /// The version after `last`: now, but never the same twice.
    pub(crate) fn version_after(now: Time, last: Version) -> Version {
        Version(now.wall_ms.max(last.0.saturating_add(1)))
    }
}
