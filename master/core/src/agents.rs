//! Agents: who they are, their links, what they hold. What their task lists mean is decided in `settlement.rs`, when they
//! count as silent in `silence.rs`.
//!
//! An agent that comes back on a new link replaces its old one. Only where the old one is alive and the newcomer is on
//! another host is it a copy of the agent's directory, and refused.
//!
//! The subtle thing: a registration may have been long on its way, and its agent may have run tasks for another leader
//! since. It counts when the agent is known to obey this term: it says so in it, or says anything after the welcome.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proffer_model::link::{Hello, ToAgent, ToMaster};
use proffer_model::made::total_with;
use proffer_model::registry::{AgentEntry, Operation, Registry};
use proffer_model::{
    AgentDescription, AgentId, AgentState, Epoch, ExecutorSpec, FrameworkId, Generation,
    Incarnation, OfferId, Problem, Resources, TaskId, Time, code,
};

use crate::amounts::{displaced, exclusive, ports_of, strip_numbers};
use crate::awaited::Awaited;
use crate::capacity::Capacity;
use crate::core::Core;
use crate::effect::{After, Effect, Fact, OfferEnd};
use crate::event::{LinkId, Seq, TimerKey};
use crate::executors::{ExecutorKey, HeldExecutor};
use crate::limits::{AGENTS_MAX, AGENTS_RESTED_PER_STEP, HEARTBEAT_PARTS, PORT_REST_STEP};
use crate::sessions::is_turn_of;
use crate::task_table::TaskKey;
use crate::unheard::Unheard;

/// What the master knows about an agent besides its description, which stands in the registry.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) state: AgentState,
    pub(crate) link: Option<LinkId>,
    pub(crate) generation: Generation,
    /// The number of its latest registration of this term; 0: none, or it does not count.
    pub(crate) hello_number: u64,
    /// When it last said something; for one not seen yet, when the term began.
    pub(crate) heard_at: Time,
    /// Its tasks in the table, live or unacknowledged.
    pub(crate) tasks: BTreeSet<TaskKey>,
    /// How many of these are not terminal.
    pub(crate) live_tasks: u64,
    /// What runs there and is nobody's: of frameworks that are over, or older launches. Killed, and counted until gone.
    pub(crate) strays: BTreeMap<(FrameworkId, TaskId, Incarnation), Resources>,
    /// Executors of frameworks that live there.
    pub(crate) executors: BTreeMap<ExecutorKey, HeldExecutor>,
    /// Those of frameworks that are over. Told to end, and counted until gone.
    pub(crate) stray_executors: BTreeMap<ExecutorKey, Arc<ExecutorSpec>>,
    pub(crate) offers: BTreeSet<OfferId>,
    /// What it has, with the reservations and volumes that were made there.
    pub(crate) total: Resources,
    /// What was made there and it has no resources for since it changed.
    pub(crate) missing: Resources,
    /// The batch with the last of what was made there.
    pub(crate) converted_in: Seq,
    /// Held by its tasks, executors and strays.
    pub(crate) used: Resources,
    /// Some of it is held by several of them: then what one of them gives up may still be held.
    is_used_twice: bool,
    /// In offers.
    pub(crate) offered: Resources,
    /// Ports that were held, and until when they rest, by the monotonic clock.
    pub(crate) resting: Vec<(u64, Resources)>,
    /// Whether it was in the log when the term began.
    pub(crate) is_recovered: bool,
    /// Whether it has said in this term what it runs.
    pub(crate) is_settled: bool,
    /// The batch that admits it; nothing is offered from it before.
    pub(crate) admitted_in: Seq,
}

impl Agent {
    pub(crate) fn new(now: Time, state: AgentState) -> Self {
        Self {
            state,
            link: None,
            generation: Generation::default(),
            hello_number: 0,
            heard_at: now,
            tasks: BTreeSet::new(),
            live_tasks: 0,
            strays: BTreeMap::new(),
            executors: BTreeMap::new(),
            stray_executors: BTreeMap::new(),
            offers: BTreeSet::new(),
            total: Resources::new(),
            missing: Resources::new(),
            converted_in: Seq::default(),
            used: Resources::new(),
            is_used_twice: false,
            offered: Resources::new(),
            resting: Vec::new(),
            is_recovered: false,
            is_settled: false,
            admitted_in: Seq::default(),
        }
    }

    /// Something more of it is held.
    pub(crate) fn use_more(&mut self, held: &Resources) {
        self.is_used_twice |= !self.used.is_apart_from(held);
        self.used.add(held);
    }

    /// Something of it is held no more; false: what still is must be counted anew. An agent may report tasks that overlap, and
    /// then the port that one of them gives up is still held by the other.
    fn use_less(&mut self, held: &Resources) -> bool {
        let is_told = !self.is_used_twice && self.used.is_exact();
        if is_told {
            self.used.subtract(held);
        }
        is_told
    }

    /// What is neither used nor resting.
    pub(crate) fn rested(&self) -> Resources {
        let mut rest = self.total.minus(&exclusive(&self.used));
        rest.subtract(&self.displaced());
        strip_numbers(&mut rest, &self.used);
        for (_, ports) in &self.resting {
            rest.subtract(ports);
        }
        rest
    }

    /// What is not used as it is there, but as it was before.
    pub(crate) fn displaced(&self) -> Resources {
        if self.total.contains(&self.used) {
            return Resources::new();
        }
        let left = self.total.minus(&exclusive(&self.used));
        displaced(&self.total, &self.used, &left)
    }
}

/// All agents and their connections.
#[derive(Debug, Default)]
pub(crate) struct Agents {
    pub(crate) by_id: BTreeMap<AgentId, Agent>,
    pub(crate) links: BTreeMap<LinkId, AgentId>,
    /// Registrations that were welcomed and do not count yet.
    unconfirmed: BTreeMap<LinkId, Hello>,
    /// Agents of the log that are neither back in this term nor declared unreachable.
    pub(crate) awaited: Awaited,
    /// Frameworks with greater numbers were admitted in this term.
    pub(crate) frameworks_before: u64,
    /// Those with greater numbers have launched nothing on any agent that is awaited.
    pub(crate) awaited_frameworks: u64,
    /// Unreachable agents of the log that have not said in this term what they run.
    pub(crate) unheard: Unheard,
    /// Links that were told to end and have not yet; what they still say is ignored.
    closing: BTreeSet<LinkId>,
    /// Admissions that are not durable yet.
    admitting: BTreeSet<(Seq, AgentId)>,
    /// How much of what is held was counted anew.
    #[cfg(test)]
    pub(crate) recounted: usize,
    pub(crate) capacity: Capacity,
    /// The last one of which it was looked whether it is to be forgotten; none: the next look begins with the first.
    pub(crate) looked_to_forget: Option<AgentId>,
    /// Those with ports that rest, by until when they do.
    pub(crate) resting: BTreeSet<(u64, AgentId)>,
    /// When the timer for resting ports is set to.
    rest_timer_at: Option<u64>,
    /// The greatest number of a volume of agents that were forgotten in this term.
    pub(crate) volumes_after: u64,
}

impl Agents {
    /// The agents of the log, which are to come back.
    pub(crate) fn recovered(registry: &Registry, now: Time, loss_hold: Duration) -> Self {
        let mut agents = Self {
            frameworks_before: registry.framework_count,
            awaited_frameworks: registry.framework_count,
            awaited: Awaited::new(now, loss_hold),
            ..Self::default()
        };
        for (id, entry) in &registry.agents {
            let state = match entry.unreachable_since_wall_ms {
                Some(_) => {
                    agents.unheard.insert(id, entry.frameworks);
                    AgentState::Unreachable
                }
                None => {
                    agents.awaited_frameworks = agents.awaited_frameworks.max(entry.frameworks);
                    AgentState::Recovering
                }
            };
            let mut agent = Agent::new(now, state);
            agent.is_recovered = true;
            (agent.total, agent.missing) = total_with(&entry.description.resources, &entry.made);
            if state == AgentState::Recovering {
                agents.awaited.insert(id.clone(), &agent.total);
            }
            agents.insert(id.clone(), agent);
        }
        agents
    }
}

impl Core {
    pub(crate) fn on_link_opened(&mut self, link: LinkId, hello: Hello) {
        if !self.may_register(link, &hello) {
            return;
        }
        match hello.agent.clone().filter(|_| self.may_be_late(&hello)) {
            Some(agent) => {
                self.agents.unconfirmed.insert(link, hello);
                let generation = self.ids.generation();
                self.welcome(link, agent, generation, After::Nothing);
            }
            None => self.register(link, hello, false),
        }
    }

    /// Whether a registration may be from before this term, with another one since. Nobody has launched anything on an agent
    /// that the log does not know and that has obeyed nobody.
    fn may_be_late(&self, hello: &Hello) -> bool {
        let is_known = |agent| self.agents.by_id.contains_key(agent);
        let is_new = hello.epoch == Epoch::default() && !hello.agent.as_ref().is_some_and(is_known);
        hello.epoch < self.epoch && !is_new
    }

    /// The agent has answered the welcome: it obeys this term, and has obeyed nobody else since it made its registration.
    fn confirm(&mut self, link: LinkId) {
        if let Some(hello) = self.agents.unconfirmed.remove(&link)
            && self.may_register(link, &hello)
        {
            self.register(link, hello, true);
        }
    }

    /// Ends the link of an agent that must not register over it.
    fn may_register(&mut self, link: LinkId, hello: &Hello) -> bool {
        if let Err(problem) = self.judge_hello(hello) {
            self.turn.record(Fact::AgentRefused {
                agent: hello.agent.clone(),
                problem: problem.clone(),
            });
            // What it is refused for may not be durable yet.
            let after = self.turn.after_everything();
            self.turn.push(Effect::SendLink {
                link,
                message: ToAgent::Refused(problem),
                after,
            });
            self.end_link(link);
            return false;
        }
        if self.is_out_of_date(hello) {
            // The agent has opened another link since, and does not listen to this one any more.
            self.end_link(link);
            return false;
        }
        true
    }

    fn register(&mut self, link: LinkId, hello: Hello, is_welcomed: bool) {
        let number = hello.number;
        // One that comes with an id that is not known any more may have files of volumes that nobody knows of. Of others it is
        // not said: older masters cannot read it.
        let is_known = |id| self.registry.agents.contains_key(id);
        let volumes_after = match &hello.agent {
            Some(id) if !is_known(id) => self.agents.volumes_after.max(self.epoch.0 << 32),
            _ => 0,
        };
        let is_new = hello.agent.is_none();
        let agent = hello.agent.unwrap_or_else(|| self.fresh_agent_id());
        let was_unreachable = self.admit_agent(&agent, hello.description, volumes_after);
        self.replace_link(&agent, link);
        self.turn.record(Fact::AgentRegistered {
            agent: agent.clone(),
            is_new,
        });
        if let Some(known) = self.agents.by_id.get_mut(&agent) {
            known.hello_number = number;
        }
        self.sync_agent(&agent);
        self.sync_tasks_of(&agent);
        let Some(known) = self.agents.by_id.get(&agent) else {
            return;
        };
        let (after, generation) = (self.turn.after(known.admitted_in), known.generation);
        let volumes_after = after.max(self.turn.after(known.converted_in));
        if !is_welcomed {
            self.welcome(link, agent.clone(), generation, after);
        }
        self.send_volumes(&agent, volumes_after);
        self.settle_executors(&agent, hello.executors, after);
        self.settle(&agent, hello.tasks, was_unreachable, after);
        self.on_agent_settled(&agent, after);
    }

    /// Whether the agent has registered over a later link: what went into an earlier one, or waited at a master that stood
    /// still, may arrive after it, and then says less than is known.
    fn is_out_of_date(&self, hello: &Hello) -> bool {
        let agent = hello.agent.as_ref();
        let known = agent.and_then(|agent| self.agents.by_id.get(agent));
        known.is_some_and(|known| hello.number > 0 && hello.number <= known.hello_number)
    }

    pub(crate) fn on_link_message(&mut self, link: LinkId, message: ToMaster) {
        self.confirm(link);
        let Some(agent) = self.agents.links.get(&link).cloned() else {
            return;
        };
        match message {
            ToMaster::Hello(_) => self.close_link(link),
            ToMaster::Heartbeat => self.hear(&agent),
            ToMaster::ExecutorChanged {
                framework,
                executor,
                is_ended,
                message,
            } => {
                self.hear(&agent);
                self.on_executor_changed(&agent, (framework, executor), is_ended, message);
            }
            ToMaster::Message {
                framework,
                executor,
                data,
            } => {
                self.hear(&agent);
                self.on_executor_message(&agent, (framework, executor), data);
            }
            ToMaster::Updated {
                framework,
                status,
                latest,
            } => {
                self.hear(&agent);
                self.on_task_updated(&agent, &(framework, status.task.clone()), status, latest);
            }
        }
    }

    pub(crate) fn on_link_closed(&mut self, link: LinkId) {
        self.agents.closing.remove(&link);
        self.agents.unconfirmed.remove(&link);
        self.lose_link(link);
    }

    /// Agents whose admission is durable now may be offered from.
    pub(crate) fn on_persisted(&mut self, seq: Seq) {
        self.turn.on_persisted(seq);
        while let Some((seq, agent)) = self.agents.admitting.pop_first() {
            if !self.turn.is_durable(seq) {
                self.agents.admitting.insert((seq, agent));
                break;
            }
            self.sync_agent(&agent);
        }
    }

    /// Freed ports have rested. Where those of many agents have, each step takes some of them.
    pub(crate) fn on_port_rest(&mut self) {
        self.agents.rest_timer_at = None;
        let now = self.turn.now.mono_ns;
        for _ in 0..AGENTS_RESTED_PER_STEP {
            let Some((until, agent)) = self.agents.resting.pop_first() else {
                return;
            };
            if until > now {
                self.agents.resting.insert((until, agent));
                break;
            }
            if let Some(known) = self.agents.by_id.get_mut(&agent) {
                known.resting.retain(|(of, _)| *of != until);
                self.sync_agent(&agent);
            }
        }
        if let Some((next, _)) = self.agents.resting.first() {
            self.set_rest_timer(*next);
        }
    }

    /// Puts the ports of what was held to rest. The allocator is told with what follows: that they are used no more.
    pub(crate) fn rest_ports(&mut self, agent: &AgentId, held: &Resources) {
        let ports = ports_of(held);
        let until = self.turn.now.after(self.config.port_rest).mono_ns;
        if ports.is_empty() || until <= self.turn.now.mono_ns {
            return;
        }
        let step = u64::try_from(PORT_REST_STEP.as_nanos()).unwrap_or(u64::MAX);
        let until = until.div_ceil(step).saturating_mul(step);
        if let Some(known) = self.agents.by_id.get_mut(agent) {
            match known.resting.last_mut() {
                Some((same, together)) if *same == until => together.add(&ports),
                _ => {
                    known.resting.push((until, ports));
                    self.agents.resting.insert((until, agent.clone()));
                }
            }
            self.set_rest_timer(until);
        }
    }

    /// What an agent says of itself.
    pub(crate) fn description(&self, agent: &AgentId) -> Option<&AgentDescription> {
        self.registry
            .agents
            .get(agent)
            .map(|entry| &*entry.description)
    }

    /// What may be offered of an agent now.
    pub(crate) fn free(&self, agent: &AgentId) -> Resources {
        let known = self.agents.by_id.get(agent);
        known.map_or_else(Resources::new, |known| {
            known.rested().minus(&exclusive(&known.offered))
        })
    }

    /// What no task holds on an agent, offered or not, resting or not: exclusions end when this grows.
    pub(crate) fn unused(&self, agent: &AgentId) -> Option<Resources> {
        let known = self.agents.by_id.get(agent)?;
        Some(known.total.minus(&exclusive(&known.used)))
    }

    /// A task, an executor or a stray holds this no more, and is in its table no more or has ended.
    pub(crate) fn give_up_used(&mut self, agent: &AgentId, held: &Resources) {
        let Some(known) = self.agents.by_id.get_mut(agent) else {
            return;
        };
        let is_displaced = !known.total.contains(&known.used);
        if !known.use_less(held) {
            self.recount_used(agent);
            return;
        }
        self.turn.touch_agent(agent);
        // Else what the allocator may give of the agent depends on the numbers that are used, not on this.
        if is_displaced || !held.is_scalars() {
            self.sync_agent(agent);
        }
    }

    /// Counts anew what tasks, executors and strays hold.
    pub(crate) fn recount_used(&mut self, agent: &AgentId) {
        let Some(known) = self.agents.by_id.get_mut(agent) else {
            return;
        };
        known.used = Resources::new();
        known.is_used_twice = false;
        let tasks: Vec<Arc<Resources>> = known
            .tasks
            .iter()
            .filter_map(|key| self.tasks.get(key))
            .filter(|task| !task.latest.is_terminal())
            .map(|task| Arc::clone(task.resources()))
            .collect();
        let executors = known.executors.values().map(|executor| &executor.spec);
        let executors = executors.chain(known.stray_executors.values());
        let executors: Vec<Arc<ExecutorSpec>> = executors.cloned().collect();
        let strays = std::mem::take(&mut known.strays);
        let held = tasks.iter().map(|held| &**held).chain(strays.values());
        for held in held.chain(executors.iter().map(|spec| &spec.resources)) {
            known.use_more(held);
            #[cfg(test)]
            {
                self.agents.recounted += 1;
            }
        }
        known.strays = strays;
        self.sync_agent(agent);
        self.turn.touch_agent(agent);
    }

    /// Sends to an agent, if it has a link; what is lost is repaired when it registers anew.
    pub(crate) fn send_agent(&mut self, agent: &AgentId, message: ToAgent, after: After) {
        let link = self.agents.by_id.get(agent).and_then(|agent| agent.link);
        if let Some(link) = link {
            self.turn.push(Effect::SendLink {
                link,
                message,
                after,
            });
        }
    }

    /// Ends a link of ours; its agent is without one from now on.
    pub(crate) fn close_link(&mut self, link: LinkId) {
        self.end_link(link);
        self.lose_link(link);
    }

    /// Says to the agents of this part that the master is there.
    pub(crate) fn beat_links(&mut self, part: u32) {
        let epoch = self.epoch;
        let links = self.agents.links.keys();
        let parts = HEARTBEAT_PARTS * self.config.link_heartbeats();
        for link in links.filter(|link| is_turn_of(link.0, part, parts)) {
            self.turn.push(Effect::SendLink {
                link: *link,
                message: ToAgent::Heartbeat { epoch },
                after: After::Nothing,
            });
        }
    }

    fn judge_hello(&self, hello: &Hello) -> Result<(), Problem> {
        if let Some(cluster) = &hello.cluster
            && *cluster != self.cluster
        {
            let message = format!(
                "the agent belongs to cluster {cluster}; this is cluster {}",
                self.cluster
            );
            let hint =
                "point the agent at its own cluster's masters, or give it an empty work directory";
            return Err(Problem::new(code::AGENT_CLUSTER_CHANGED, message).hint(hint));
        }
        if hello.epoch > self.epoch {
            let message = format!(
                "the agent has obeyed epoch {}; this master leads epoch {}",
                hello.epoch, self.epoch
            );
            let hint = "another master leads; if the store was rebuilt, raise its epoch";
            return Err(Problem::new(code::EPOCH_STALE, message).hint(hint));
        }
        // It ends what it runs when it hears that, so a master of another cluster, or of an earlier term, must not say it.
        if let Some(agent) = &hello.agent {
            self.judge_gone(agent)?;
        }
        match hello
            .agent
            .as_ref()
            .map(|id| (id, self.agents.by_id.get(id)))
        {
            Some((id, Some(known))) => self.judge_return(id, known, &hello.description),
            Some((_, None)) | None if self.agents.by_id.len() >= AGENTS_MAX => {
                let message = format!("there are {AGENTS_MAX} agents; the limit is reached");
                Err(Problem::new(code::OVERLOADED, message).hint("mark agents gone that are"))
            }
            Some((_, None)) | None => Ok(()),
        }
    }

    /// A known agent may come back, unless it is alive on another host.
    fn judge_return(
        &self,
        id: &AgentId,
        known: &Agent,
        newcomer: &AgentDescription,
    ) -> Result<(), Problem> {
        let is_live =
            known.link.is_some() && self.turn.now.since(known.heard_at) < self.config.suspect_after;
        match self.description(id) {
            Some(old)
                if is_live && (&old.host, &old.address) != (&newcomer.host, &newcomer.address) =>
            {
                let message = format!(
                    "agent {id} is connected from {} at {}; this one is {} at {}",
                    old.host, old.address, newcomer.host, newcomer.address
                );
                let hint = "an agent's work directory must not be copied: give this one an empty directory";
                Err(Problem::new(code::AGENT_REFUSED, message).hint(hint))
            }
            _ => Ok(()),
        }
    }

    fn fresh_agent_id(&mut self) -> AgentId {
        loop {
            let id = self.ids.agent();
            let is_gone = self.registry.gone.contains_key(&id);
            if !is_gone && !self.agents.by_id.contains_key(&id) {
                return id;
            }
        }
    }

    /// Makes the agent durable as it is now. Answers whether it was unreachable.
    fn admit_agent(
        &mut self,
        agent: &AgentId,
        description: AgentDescription,
        volumes_after: u64,
    ) -> bool {
        let entry: Option<&AgentEntry> = self.registry.agents.get(agent);
        let was_unreachable = entry.is_some_and(|entry| entry.unreachable_since_wall_ms.is_some());
        let is_marked = was_unreachable || entry.is_some_and(|entry| entry.frameworks > 0);
        let is_changed = entry.is_none_or(|entry| *entry.description != description);
        let mut admitted_in = None;
        if is_changed {
            admitted_in = Some(self.persist(Operation::AdmitAgent {
                agent: agent.clone(),
                description: description.into(),
                volumes_after,
            }));
        }
        if is_marked {
            let agent = agent.clone();
            admitted_in = Some(self.persist(Operation::MarkReachable { agent }));
        }
        if !self.agents.by_id.contains_key(agent) {
            let new = Agent::new(self.turn.now, AgentState::Recovering);
            self.agents.insert(agent.clone(), new);
        }
        if let (Some(seq), Some(known)) = (admitted_in, self.agents.by_id.get_mut(agent)) {
            known.admitted_in = seq;
            self.agents.admitting.insert((seq, agent.clone()));
        }
        self.retotal(agent);
        was_unreachable
    }

    fn replace_link(&mut self, agent: &AgentId, link: LinkId) {
        if let Some(old) = self.agents.by_id.get(agent).and_then(|known| known.link) {
            self.end_link(old);
            self.agents.links.remove(&old);
        }
        self.end_offers_of_agent(agent, OfferEnd::Rescinded);
        let (now, generation) = (self.turn.now, self.ids.generation());
        self.agents.links.insert(link, agent.clone());
        let Some(known) = self.agents.by_id.get_mut(agent) else {
            return;
        };
        let is_return = matches!(known.state, AgentState::Suspect | AgentState::Unreachable);
        known.link = Some(link);
        known.generation = generation;
        known.heard_at = now;
        self.agents
            .change(agent, |known| known.state = AgentState::Connected);
        if is_return {
            let agent = agent.clone();
            self.turn.record(Fact::AgentReturned { agent });
        }
    }

    fn welcome(&mut self, link: LinkId, agent: AgentId, generation: Generation, after: After) {
        let message = ToAgent::Welcome {
            agent,
            cluster: self.cluster.clone(),
            epoch: self.epoch,
            generation,
            heartbeat_interval: self.config.heartbeat_interval * self.config.link_heartbeats(),
        };
        self.turn.push(Effect::SendLink {
            link,
            message,
            after,
        });
    }

    /// The first time in a term, frameworks learn that they know now all that runs there.
    fn on_agent_settled(&mut self, agent: &AgentId, after: After) {
        self.recount_used(agent);
        // Before the frameworks learn that they know all that runs there.
        self.reclaim_drained(agent, after);
        let Some(known) = self.agents.by_id.get_mut(agent) else {
            return;
        };
        let is_first = !std::mem::replace(&mut known.is_settled, true);
        self.turn.touch_agent(agent);
        self.agents.unheard.remove(agent);
        if is_first && known.is_recovered {
            self.await_no_more(agent);
            self.triggers.agent_is_back(agent);
            self.tell_settled(agent, after);
        }
    }

    /// An agent said something: if it was suspect, it is not any more.
    fn hear(&mut self, agent: &AgentId) {
        let now = self.turn.now;
        let Some(known) = self.agents.by_id.get_mut(agent) else {
            return;
        };
        known.heard_at = now;
        if known.state == AgentState::Suspect {
            known.state = AgentState::Connected;
            self.turn.touch_agent(agent);
            self.sync_agent(agent);
            let agent = agent.clone();
            self.turn.record(Fact::AgentReturned { agent });
        }
    }

    pub(crate) fn end_link(&mut self, link: LinkId) {
        self.agents.closing.insert(link);
        self.turn.push(Effect::CloseLink { link });
    }

    fn lose_link(&mut self, link: LinkId) {
        let Some(agent) = self.agents.links.remove(&link) else {
            return;
        };
        if let Some(known) = self.agents.by_id.get_mut(&agent) {
            known.link = None;
        }
        self.suspect(&agent);
    }

    fn set_rest_timer(&mut self, at: u64) {
        if self.agents.rest_timer_at.is_none_or(|set| at < set) {
            self.agents.rest_timer_at = Some(at);
            self.set_timer_at(TimerKey::PortRest, at);
        }
    }
}
