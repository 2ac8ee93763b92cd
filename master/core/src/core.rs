//! The core: one value, one function. This file only says what it consists of and which event goes where; each idea has a
//! file of its own that adds its handlers to [`Core`].

use std::collections::{BTreeMap, VecDeque};

use proffer_model::registry::{Operation, Registry};
use proffer_model::{AgentId, ClusterId, Epoch, FrameworkId, Time};

use crate::absences::Absences;
use crate::acknowledgements::Acknowledgements;
use crate::agents::Agents;
use crate::allocation::{Allocator, Options};
use crate::config::Config;
use crate::drain::Drains;
use crate::effect::{Effect, Effects, Fact};
use crate::endings::Endings;
use crate::event::{Event, Seq, TimerKey, WatchId};
use crate::frameworks::Framework;
use crate::ids::Ids;
use crate::kill_wishes::KillWishes;
use crate::limits::HEARTBEAT_PARTS;
use crate::offers::Offers;
use crate::places::Places;
use crate::questions::Questions;
use crate::reclaim::Reclaims;
use crate::reconciliation::Reconciliations;
use crate::replacement::Replacements;
use crate::sessions::Sessions;
use crate::silence::Silence;
use crate::task_table::Tasks;
use crate::triggers::Triggers;
use crate::turn::Turn;
use crate::watches::Watch;

/// A master's whole knowledge in one leadership term. Built when leadership is won, dropped when it is lost.
#[derive(Debug)]
pub struct Core {
    pub(crate) config: Config,
    pub(crate) cluster: ClusterId,
    pub(crate) epoch: Epoch,
    /// What the log adds up to once all batches are durable: the one place for what agents and frameworks say of
    /// themselves.
    pub(crate) registry: Registry,
    pub(crate) agents: Agents,
    pub(crate) frameworks: BTreeMap<FrameworkId, Framework>,
    /// Those of the frameworks that are over.
    pub(crate) endings: Endings,
    pub(crate) places: Places,
    pub(crate) sessions: Sessions,
    /// How many results of answered calls are remembered, of all frameworks.
    pub(crate) answer_results: usize,
    /// Of frameworks' state.
    pub(crate) watches: BTreeMap<WatchId, Watch>,
    /// Those that are not up to date, in turn.
    pub(crate) watches_behind: VecDeque<WatchId>,
    pub(crate) tasks: Tasks,
    /// Bytes of what executors said along with statuses that frameworks have not acknowledged.
    pub(crate) unacknowledged_data: usize,
    pub(crate) kill_wishes: KillWishes,
    pub(crate) offers: Offers,
    pub(crate) triggers: Triggers,
    pub(crate) allocator: Allocator,
    pub(crate) silence: Silence,
    pub(crate) absences: Absences,
    pub(crate) drains: Drains,
    pub(crate) reclaims: Reclaims,
    pub(crate) acknowledgements: Acknowledgements,
    pub(crate) reconciliations: Reconciliations,
    pub(crate) replacements: Replacements,
    pub(crate) questions: Questions,
    pub(crate) ids: Ids,
    pub(crate) turn: Turn,
}

impl Core {
    /// Begins a term with what the log adds up to, and appends what is to be done at once: timers and rows. `seed` must be
    /// unguessable: offer ids are made of it. `config` must be valid ([`Config::validate`]).
    pub fn new(
        config: Config,
        cluster: ClusterId,
        epoch: Epoch,
        seed: [u8; 32],
        registry: Registry,
        now: Time,
        effects: &mut Effects,
    ) -> Self {
        let frameworks = registry.frameworks.iter();
        let frameworks: BTreeMap<_, _> = frameworks
            .map(|(id, entry)| (id.clone(), Framework::recovered(entry)))
            .collect();
        let agents = Agents::recovered(&registry, now, config.loss_hold);
        let [a, b, c, d, e, f, g, h, ..] = seed;
        let options = Options {
            seed: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            ..config.allocation.clone()
        };
        let present = registry.frameworks.iter().filter(|(_, it)| !it.is_away);
        let present = present.map(|(id, _)| id.clone());
        let triggers = Triggers::new(
            agents.awaited.to_set(),
            present.collect(),
            now.after(config.recovery_wait).mono_ns,
        );
        let places = Places::recovered(&registry);
        let mut core = Self {
            ids: Ids::new(&cluster, epoch, seed),
            config,
            cluster,
            epoch,
            registry,
            agents,
            frameworks,
            endings: Endings::default(),
            places,
            sessions: Sessions::default(),
            answer_results: 0,
            watches: BTreeMap::new(),
            watches_behind: VecDeque::new(),
            tasks: Tasks::default(),
            unacknowledged_data: 0,
            kill_wishes: KillWishes::default(),
            offers: Offers::default(),
            triggers,
            allocator: Allocator::new(options),
            silence: Silence::default(),
            absences: Absences::default(),
            drains: Drains::default(),
            reclaims: Reclaims::default(),
            acknowledgements: Acknowledgements::default(),
            reconciliations: Reconciliations::default(),
            replacements: Replacements::default(),
            questions: Questions::default(),
            turn: Turn::default(),
        };
        core.turn.now = now;
        core.begin();
        core.end_step(effects);
        core
    }

    /// Takes what happened and appends what is to be done. The same events give the same effects.
    pub fn step(&mut self, now: Time, event: Event, effects: &mut Effects) {
        self.take(now, event);
        self.end_step(effects);
    }

    /// The first half of a step. Where many things have happened together, all of them may be taken before the step is ended:
    /// then they share one batch of durable changes, one allocation, and one row of each agent, framework and task.
    pub fn take(&mut self, now: Time, event: Event) {
        self.turn.now = now;
        match event {
            Event::LinkOpened { link, hello } => self.on_link_opened(link, hello),
            Event::LinkMessage { link, message } => self.on_link_message(link, message),
            Event::LinkClosed { link } => self.on_link_closed(link),
            Event::CallReceived {
                session,
                principal,
                request,
                call,
            } => {
                self.on_call(session, principal, request, call);
            }
            Event::CallMalformed {
                session,
                request,
                problem,
            } => {
                self.on_call_malformed(session, request, problem);
            }
            Event::SessionClosed { session } => self.on_session_closed(session),
            Event::StateRequested {
                request,
                principal,
                framework,
                generation,
                call,
            } => {
                self.on_state_requested(request, &principal, &framework, generation, call);
            }
            Event::FrameworkCalled {
                request,
                principal,
                framework,
                number,
                call,
            } => self.on_framework_called(request, &principal, &framework, number, call),
            Event::WatchOpened {
                watch,
                principal,
                framework,
                generation,
                prefix,
            } => self.on_watch_opened(watch, &principal, &framework, generation, prefix),
            Event::WatchTaken { watch } => self.on_watch_taken(watch),
            Event::WatchClosed { watch } => self.on_watch_closed(watch),
            Event::ExplainRequested {
                request,
                framework,
                part,
            } => self.on_explain_requested(request, framework, part),
            Event::OperatorRequested {
                request,
                principal,
                call,
            } => self.on_operator_requested(request, &principal, call),
            Event::RolesRequested {
                request,
                after,
                len,
            } => self.on_roles_requested(request, after, len),
            Event::Persisted(seq) => self.on_persisted(seq),
            Event::TimerFired(key) => self.on_timer(key),
        }
    }

    /// The second half of a step: appends what is to be done.
    pub fn end_step(&mut self, effects: &mut Effects) {
        self.mark_drained();
        self.promote_standbys();
        self.allocate_if_due();
        self.record_rows();
        self.turn.finish(effects);
    }

    /// What the log adds up to once all batches of this core are durable.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Changes what is durable, in memory at once; what rests on it must wait for the batch that is answered.
    pub(crate) fn persist(&mut self, operation: Operation) -> Seq {
        self.registry.apply(&operation);
        self.turn.persist(operation)
    }

    /// Sets a timer to a moment of the monotonic clock.
    pub(crate) fn set_timer_at(&mut self, key: TimerKey, mono_ns: u64) {
        let now = self.turn.now;
        let wait = std::time::Duration::from_nanos(mono_ns.saturating_sub(now.mono_ns));
        let at = now.after(wait);
        self.turn.push(Effect::SetTimer { key, at });
    }

    /// Every framework of the log has its failover timeout to come back.
    fn begin(&mut self) {
        let frameworks: Vec<FrameworkId> = self.frameworks.keys().cloned().collect();
        for framework in &frameworks {
            self.start_failover(framework);
            self.begin_absence(framework);
            self.turn.touch_framework(framework);
        }
        let gone: Vec<AgentId> = self.registry.gone.keys().cloned().collect();
        if !gone.is_empty() {
            self.turn.record(Fact::AgentsWereGone { agents: gone });
        }
        let agents: Vec<_> = self.agents.by_id.keys().cloned().collect();
        for agent in &agents {
            self.sync_agent(agent);
            self.turn.touch_agent(agent);
        }
        self.begin_drains();
        self.sync_quotas();
        let weighted: Vec<_> = self.registry.weights.keys().cloned().collect();
        weighted.iter().for_each(|role| self.sync_weight(role));
        let beat = self.turn.now.after(self.config.heartbeat_interval).mono_ns;
        self.set_timer_at(TimerKey::Silence, beat);
        self.set_beat_timer();
        self.set_forget_timer();
    }

    /// Says to some of the sessions and links that the master is there; the others have their turn before the interval is
    /// over, so that each is told once in it, and no step tells them all.
    fn on_beat(&mut self) {
        let part = self.sessions.next_beat();
        self.beat_sessions(part);
        self.beat_links(part);
        self.set_beat_timer();
    }

    fn set_beat_timer(&mut self) {
        let pause = self.config.heartbeat_interval / HEARTBEAT_PARTS;
        let beat = self.turn.now.after(pause).mono_ns;
        self.set_timer_at(TimerKey::Heartbeat, beat);
    }

    fn on_timer(&mut self, key: TimerKey) {
        match key {
            TimerKey::Silence => self.on_silence(),
            TimerKey::OfferExpiry => self.on_offer_expiry(),
            TimerKey::Allocate => self.on_allocate_timer(),
            TimerKey::Failover(framework) => self.on_failover(&framework),
            TimerKey::Heartbeat => self.on_beat(),
            TimerKey::PortRest => self.on_port_rest(),
            TimerKey::Drain => self.on_drain_timer(),
            TimerKey::Reclaim => self.on_reclaim_due(),
            TimerKey::Telling => self.tell_on(),
            TimerKey::Demands => self.continue_replacements(),
            TimerKey::Watches => self.continue_watches(),
            TimerKey::Questions => self.continue_questions(),
            TimerKey::Forget => self.on_forget(),
        }
    }
}
