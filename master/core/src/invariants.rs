//! What must always hold, recounted from the ground up. Called after each step in tests and simulations; it costs as much
//! as the whole state is large.

use std::collections::{BTreeMap, BTreeSet};

use proffer_model::made::total_with;
use proffer_model::{
    AgentId, AgentState, FrameworkId, Quantities, ResourceKind, ResourceName, Resources, Role,
    TaskState,
};

use crate::agents::Agent;
use crate::amounts::{exclusive, scalars_of};
use crate::capacity::Capacity;
use crate::core::Core;
use crate::frameworks::Framework;
use crate::tail::Tail;

/// Fails with the sentence when the condition does not hold.
macro_rules! ensure {
    ($condition:expr, $($sentence:tt)+) => {
        if !$condition {
            return Err(format!($($sentence)+));
        }
    };
}

impl Core {
    /// Recounts everything. The error is a sentence about the first thing that does not hold.
    pub fn check_invariants(&self) -> Result<(), String> {
        self.check_offers()?;
        self.check_agents()?;
        self.check_tasks()?;
        self.check_kill_wishes()?;
        self.check_frameworks()?;
        self.check_sessions()?;
        self.check_reclaims()?;
        self.allocator.check()
    }

    fn check_offers(&self) -> Result<(), String> {
        let standing = &self.offers.standing;
        ensure!(
            standing.len() == self.offers.expiries.len(),
            "each offer has one expiry"
        );
        for (id, offer) in standing {
            let agent = self.agents.by_id.get(&offer.agent);
            let framework = self.frameworks.get(&offer.framework);
            ensure!(
                agent.is_some_and(|agent| agent.offers.contains(id)),
                "offer {id} is indexed at its agent"
            );
            ensure!(
                framework.is_some_and(|framework| framework.offers.contains(id)),
                "offer {id} is indexed at its framework"
            );
            ensure!(
                agent.is_some_and(|agent| agent.state == AgentState::Connected),
                "offer {id} is of a connected agent"
            );
            ensure!(
                framework.is_some_and(|framework| framework.session.is_some()),
                "offer {id} is a connected framework's"
            );
            ensure!(
                self.offers
                    .expiries
                    .contains(&(offer.expires_at, id.clone())),
                "offer {id} expires"
            );
        }
        let indexed: usize = self
            .agents
            .by_id
            .values()
            .map(|agent| agent.offers.len())
            .sum();
        ensure!(indexed == standing.len(), "agents index no other offers");
        let indexed: usize = self
            .frameworks
            .values()
            .map(|known| known.offers.len())
            .sum();
        ensure!(
            indexed == standing.len(),
            "frameworks index no other offers"
        );
        Ok(())
    }

    fn check_unsettled(&self) -> Result<(), String> {
        let awaited: Vec<_> = self.agents.awaited.ids().collect();
        let unheard: Vec<_> = self.agents.unheard.ids().collect();
        for (index, state) in [
            (awaited, AgentState::Recovering),
            (unheard, AgentState::Unreachable),
        ] {
            let agents = self.agents.by_id.iter();
            let unsettled = agents.filter(|(_, of)| !of.is_settled && of.state == state);
            ensure!(
                index.into_iter().eq(unsettled.map(|(id, _)| id)),
                "those that are {state:?} and have not settled are known"
            );
        }
        Ok(())
    }

    fn check_kill_wishes(&self) -> Result<(), String> {
        let (mut wishing, is_counted) = self.kill_wishes.check();
        ensure!(is_counted, "wishes to kill are counted");
        ensure!(
            wishing.all(|framework| self.frameworks.contains_key(framework)),
            "no framework that is over wishes to kill"
        );
        Ok(())
    }

    fn check_together(&self) -> Result<(), String> {
        ensure!(
            Capacity::of(&self.agents.by_id) == self.agents.capacity,
            "what all agents have together is counted"
        );
        let resting = self.agents.by_id.iter().flat_map(|(id, agent)| {
            let until = agent.resting.iter().map(|(until, _)| *until);
            until.map(|until| (until, id.clone()))
        });
        ensure!(
            resting.collect::<BTreeSet<_>>() == self.agents.resting,
            "agents are found by when their ports have rested"
        );
        Ok(())
    }

    fn check_agents(&self) -> Result<(), String> {
        ensure!(
            self.agents.by_id.keys().eq(self.registry.agents.keys()),
            "the registry has the same agents"
        );
        let gone = self.registry.gone.keys();
        ensure!(
            gone.into_iter()
                .all(|id| !self.agents.by_id.contains_key(id)),
            "no agent that is gone is there"
        );
        self.check_unsettled()?;
        self.check_together()?;
        for (id, agent) in &self.agents.by_id {
            let mut offered = Resources::new();
            for offer in agent
                .offers
                .iter()
                .filter_map(|id| self.offers.standing.get(id))
            {
                ensure!(
                    are_disjoint(&offered, &offer.resources),
                    "no number of agent {id} is offered twice"
                );
                offered.add(&offer.resources);
            }
            ensure!(
                offered == agent.offered,
                "agent {id} counts what is offered"
            );
            let (used, live) = self.used_on(id, agent)?;
            ensure!(used == agent.used, "agent {id} counts what is used");
            ensure!(live == agent.live_tasks, "agent {id} counts its live tasks");
            ensure!(
                are_disjoint(&used, &offered),
                "no number of agent {id} is used and offered"
            );
            // What an agent that has shrunk or reported too much uses beyond what it has is not offered, and no more.
            let left = agent.total.minus(&exclusive(&used));
            ensure!(
                left.contains(&exclusive(&offered)),
                "agent {id} offers no more than is left: {offered}"
            );
            self.check_left(id, agent, &used, &offered)?;
            for offer in &agent.offers {
                let held = self.offers.standing.get(offer);
                ensure!(
                    held.is_some_and(|offer| agent.total.contains(&offer.resources)),
                    "offer {offer} is of what agent {id} has"
                );
            }
            let may_be_known = agent.state != AgentState::Unreachable;
            let (told, free) = (self.allocator.free(id), self.free(id));
            ensure!(
                !may_be_known || told == free,
                "the allocator knows what is free of agent {id}: {free}, not {told}"
            );
            self.check_logged(id, agent)?;
            self.check_copies(id, agent)?;
        }
        self.check_links()
    }

    /// Of each shared volume the allocator counts a copy for everything that holds one.
    fn check_copies(&self, id: &AgentId, agent: &Agent) -> Result<(), String> {
        let mut copies: BTreeMap<(FrameworkId, Role), Resources> = BTreeMap::new();
        let mut hold = |framework: &FrameworkId, role: &Role, held: &Resources| {
            let shared = held.shared();
            if !shared.is_empty() {
                let of = (framework.clone(), role.clone());
                copies.entry(of).or_default().add(&shared);
            }
        };
        for offer in agent
            .offers
            .iter()
            .flat_map(|id| self.offers.standing.get(id))
        {
            hold(&offer.framework, &offer.role, &offer.resources);
        }
        for key in &agent.tasks {
            if let Some(task) = self.tasks.get(key).filter(|task| task.is_held) {
                hold(&key.0, task.role(), task.resources());
            }
        }
        let executors = agent.executors.iter();
        for (key, executor) in executors.filter(|(_, executor)| executor.is_held) {
            hold(&key.0, &executor.role, &executor.spec.resources);
        }
        let counted = self.allocator.copies_held(id);
        ensure!(
            counted == copies,
            "agent {id} has copies of shared volumes that are held: {copies:?}, not {counted:?}"
        );
        Ok(())
    }

    fn check_logged(&self, id: &AgentId, agent: &Agent) -> Result<(), String> {
        let entry = self.registry.agents.get(id);
        let logged = entry.map(|is| total_with(&is.description.resources, &is.made));
        ensure!(
            logged == Some((agent.total.clone(), agent.missing.clone())),
            "agent {id} has what the log says: {}",
            agent.total
        );
        let is_durable = entry.is_some_and(|is| is.unreachable_since_wall_ms.is_some());
        ensure!(
            is_durable == (agent.state == AgentState::Unreachable),
            "agent {id} is unreachable in the log and in memory alike"
        );
        Ok(())
    }

    /// What tasks, executors and strays hold on an agent, and how many of the tasks are live.
    fn used_on(&self, id: &AgentId, agent: &Agent) -> Result<(Resources, u64), String> {
        let (mut used, mut live) = (Resources::new(), 0);
        for key in &agent.tasks {
            let task = self.tasks.get(key).filter(|task| task.agent() == id);
            let task = task.ok_or_else(|| format!("agent {id} indexes its own tasks"))?;
            if !task.latest.is_terminal() {
                used.add(task.resources());
                live += 1;
            }
        }
        agent.strays.values().for_each(|stray| used.add(stray));
        let executors = agent.executors.values().map(|executor| &executor.spec);
        let executors = executors.chain(agent.stray_executors.values());
        executors.for_each(|spec| used.add(&spec.resources));
        Ok((used, live))
    }

    fn check_left(
        &self,
        id: &AgentId,
        agent: &Agent,
        used: &Resources,
        offered: &Resources,
    ) -> Result<(), String> {
        // Where tasks hold what is there as they hold it, the sums above say it all.
        let names = match agent.total.contains(used) {
            true => Quantities::new(),
            false => agent.total.quantities(),
        };
        for (name, _) in names.iter() {
            let free = self.free(id).plus(&exclusive(offered));
            let [total, used, free] = [&agent.total, used, &free].map(|of| {
                let all = of.iter().filter(|(kind, _)| is_divided(kind, name));
                all.fold(0, |sum: u64, (_, amount)| {
                    sum.saturating_add(amount.quantity(false))
                })
            });
            ensure!(
                free <= total.saturating_sub(used),
                "agent {id} gives no more {name} than tasks leave: {free} of {total}, {used} used"
            );
        }
        Ok(())
    }

    fn check_links(&self) -> Result<(), String> {
        for (id, agent) in &self.agents.by_id {
            let is_linked = agent
                .link
                .is_none_or(|link| self.agents.links.get(&link) == Some(id));
            ensure!(is_linked, "agent {id} is found by its link");
            ensure!(
                agent.state != AgentState::Connected || agent.link.is_some(),
                "agent {id} is connected by a link"
            );
        }
        for (link, id) in &self.agents.links {
            let agent = self.agents.by_id.get(id);
            ensure!(
                agent.is_some_and(|agent| agent.link == Some(*link)),
                "link {link:?} is its agent's"
            );
        }
        Ok(())
    }

    fn check_tasks(&self) -> Result<(), String> {
        for framework in self.tasks.frameworks() {
            ensure!(
                self.frameworks.contains_key(framework),
                "tasks of framework {framework} have a framework"
            );
            for (id, task) in self.tasks.of(framework) {
                let key = (framework.clone(), id.clone());
                // One that has ended may be there without its agent, which is gone.
                let agent = self.agents.by_id.get(task.agent());
                ensure!(
                    agent.map_or(task.latest.is_terminal(), |it| it.tasks.contains(&key)),
                    "task {id} is indexed at its agent"
                );
                ensure!(
                    !task.told().state.is_terminal() || task.latest.is_terminal(),
                    "task {id} is not behind its status"
                );
                let numbers: Vec<u64> = task
                    .queue()
                    .map(|status| status.number)
                    .filter(|n| *n > 0)
                    .collect();
                ensure!(
                    numbers.is_sorted_by(|a, b| a < b),
                    "statuses of task {id} are in order"
                );
            }
        }
        Ok(())
    }

    fn check_frameworks(&self) -> Result<(), String> {
        ensure!(
            self.frameworks
                .keys()
                .filter(|id| !self.endings.has(id))
                .eq(self.registry.frameworks.keys()),
            "the registry has the same frameworks, but for those that are over"
        );
        for (id, framework) in &self.frameworks {
            let tasks = || self.tasks.of(id).map(|(_, task)| task);
            let queued: usize = tasks().map(|task| task.queue().len()).sum();
            ensure!(
                queued == framework.unacknowledged,
                "framework {id} counts its statuses"
            );
            let data: usize = tasks().map(|task| task.queued_data()).sum();
            ensure!(
                data == framework.unacknowledged_data,
                "framework {id} counts what was said along with them"
            );
            let live = tasks().filter(|task| !task.latest.is_terminal()).count();
            ensure!(
                u64::try_from(live) == Ok(framework.live_tasks),
                "framework {id} counts its live tasks"
            );
            for (role, counted) in &framework.used {
                let mut used = Resources::new();
                let holds = |task: &&crate::task_table::Task| {
                    !task.latest.is_terminal() && task.told().state != TaskState::Unreachable
                };
                for task in tasks().filter(holds).filter(|task| task.role() == role) {
                    used.add(&scalars_of(task.resources()));
                }
                let agents = self.agents.by_id.values();
                let executors = agents.flat_map(|agent| &agent.executors);
                for (key, executor) in executors {
                    if key.0 == *id && executor.role == *role && executor.is_held {
                        used.add(&scalars_of(&executor.spec.resources));
                    }
                }
                ensure!(used == *counted, "framework {id} counts what {role} uses");
            }
            ensure!(
                usize::try_from(self.allocator.offers_out(id)) == Ok(framework.offers.len()),
                "the allocator counts {} offers of framework {id}, not {}",
                self.allocator.offers_out(id),
                framework.offers.len()
            );
            self.check_demands(id)?;
            self.check_executors(id, framework)?;
            let entry = self.registry.frameworks.get(id);
            let state = entry.into_iter().flat_map(|entry| &entry.state);
            let len: usize = state
                .map(|(key, of)| key.as_str().len() + of.value.len())
                .sum();
            ensure!(
                len == framework.state_len,
                "framework {id} counts its state"
            );
            let is_spoken_for = framework.session.is_some() || framework.failover_at.is_some();
            ensure!(
                is_spoken_for != self.endings.has(id)
                    && !(framework.session.is_some() && framework.failover_at.is_some()),
                "framework {id} has a session, or waits for one, or is over"
            );
        }
        Ok(())
    }

    fn check_executors(&self, id: &FrameworkId, framework: &Framework) -> Result<(), String> {
        let agents = self.agents.by_id.iter();
        let executors = agents.flat_map(|(agent, known)| {
            let own = known.executors.keys().filter(|key| key.0 == *id);
            own.map(|key| (agent.clone(), key.1.clone()))
        });
        ensure!(
            executors.eq(framework.executors.iter().cloned()),
            "framework {id} knows where its executors live"
        );
        Ok(())
    }

    /// The allocator counts what is on offer of each entry as the offers say.
    fn check_demands(&self, id: &FrameworkId) -> Result<(), String> {
        let Some(known) = self.frameworks.get(id) else {
            return Ok(());
        };
        let offers = known.offers.iter();
        let offers: Vec<_> = offers
            .filter_map(|id| self.offers.standing.get(id))
            .collect();
        let in_force = known.demands.iter();
        let in_force =
            in_force.filter(|(role, _)| self.replacements.generation(id, role).is_none());
        for (role, demand) in in_force {
            for entry in demand.entries.iter().map(|entry| &entry.id) {
                let of_role = offers.iter().filter(|offer| offer.role == *role);
                let fits = of_role.flat_map(|offer| &offer.fits);
                let fits = fits.filter(|fit| fit.demand == *entry);
                let offered: u32 = fits.map(|fit| fit.count).sum();
                let told = self.allocator.offered(id, role, entry);
                ensure!(
                    told == Some(offered),
                    "framework {id} is offered {offered} of {entry}, not {told:?}"
                );
            }
        }
        Ok(())
    }

    fn check_sessions(&self) -> Result<(), String> {
        let mut speaking = BTreeSet::new();
        for (id, session) in &self.sessions.open {
            let framework = self.frameworks.get(&session.framework);
            ensure!(
                framework.is_some_and(|framework| framework.session == Some(*id)),
                "session {id:?} is its framework's"
            );
            ensure!(
                speaking.insert(&session.framework),
                "one session speaks for framework {}",
                session.framework
            );
        }
        for (id, waits) in &self.sessions.standing_by {
            let framework = self.frameworks.get(&waits.framework);
            ensure!(
                framework.is_some_and(|known| known.standbys.contains(id)),
                "session {id:?} stands by for its framework"
            );
        }
        let waiting: usize = self
            .frameworks
            .values()
            .map(|known| known.standbys.len())
            .sum();
        ensure!(
            waiting == self.sessions.standing_by.len(),
            "frameworks know no other sessions that stand by"
        );
        ensure!(
            self.frameworks
                .values()
                .all(|known| known.session.is_some() || known.standbys.is_empty()),
            "no session stands by for a framework without one"
        );
        ensure!(
            self.places.check(&self.registry),
            "each framework has a place, and who makes room is there"
        );
        ensure!(
            self.reconciliations.check(),
            "questions how tasks stand are counted, and have their turns"
        );
        ensure!(
            self.reconciliations.sessions().all(|(session, framework)| {
                let open = self.sessions.open.get(&session);
                open.is_some_and(|open| open.framework == *framework)
            }),
            "only who is there asks how tasks stand"
        );
        ensure!(
            self.sessions.tells_on
                || self.acknowledgements.is_empty()
                    && self.reconciliations.is_empty()
                    && self.sessions.snapshots.is_empty(),
            "what is told in pieces is told on"
        );
        ensure!(
            self.acknowledgements.check(),
            "acknowledgements are counted, and have their turns"
        );
        let session_of = |framework: &FrameworkId| self.frameworks.get(framework)?.session;
        ensure!(
            self.replacements.check(session_of),
            "demands are replaced for who is there"
        );
        self.check_answers()?;
        self.check_tellings()
    }

    fn check_answers(&self) -> Result<(), String> {
        let counted = self.frameworks.values();
        let counted = counted.map(|known| known.answers.results() + known.unary_answers.results());
        ensure!(
            counted.sum::<usize>() == self.answer_results,
            "what is remembered of answers is counted"
        );
        for (id, watch) in &self.watches {
            let known = self.frameworks.get(&watch.framework);
            ensure!(
                known.is_some_and(|known| known.watches.contains(id) && known.session.is_some()),
                "watch {id:?} is of an active generation"
            );
        }
        let watches: usize = self
            .frameworks
            .values()
            .map(|known| known.watches.len())
            .sum();
        ensure!(
            watches == self.watches.len(),
            "frameworks know no other watches"
        );
        Ok(())
    }

    /// Of what is queued for a task nothing is told twice in a session, and what can be resumed leaves nothing out.
    fn check_tellings(&self) -> Result<(), String> {
        for (id, known) in &self.frameworks {
            let open = known
                .session
                .and_then(|session| self.sessions.open.get(&session));
            let telling = open.map_or(&known.telling, |open| &open.telling);
            let mut outstanding = std::collections::BTreeMap::new();
            let untold = telling.tail.iter().flat_map(Tail::launches);
            let kept = self.acknowledgements.launches(id);
            for launch in telling.outstanding.values().chain(untold).chain(kept) {
                *outstanding.entry(launch).or_insert(0usize) += 1;
            }
            for (task, of) in self.tasks.of(id) {
                let told = outstanding.get(&(task.clone(), of.incarnation)).copied();
                let told = told.unwrap_or(0);
                ensure!(
                    told <= of.queue().len(),
                    "task {task} is not told {told} statuses of {}",
                    of.queue().len()
                );
                let is_told = open.is_some() && !telling.will_tell(task);
                ensure!(
                    !(is_told || telling.is_whole()) || told == of.queue().len(),
                    "task {task} has told {told} of its {} statuses",
                    of.queue().len()
                );
            }
        }
        Ok(())
    }
}

/// Whether it is a part of what an agent has of a name, for whomever: no disk of its own, no volume, not revocable.
fn is_divided(kind: &ResourceKind, name: &ResourceName) -> bool {
    kind.name == *name && kind.disk.is_none() && !kind.is_revocable
}

/// Whether no number of a range resource is in both.
fn are_disjoint(a: &Resources, b: &Resources) -> bool {
    a.ranges().all(|(name, set)| {
        let other = b.range_set(name.as_str());
        set.intersection(&other).is_empty()
    })
}
