//! What outlives a session: who we are, the greatest epoch, the latest demands, how sequences continue.
//!
//! The author sees one sequence that grows over all sessions; each session's own begins anew at 1, so an acknowledgement
//! that comes late, for an event of an earlier session, must not acknowledge events of this one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proffer_model::limits::ROLES_MAX;
use proffer_model::session::{Call, Event, Resume};
use proffer_model::{
    ClusterId, Demand, Epoch, FrameworkDescription, FrameworkId, Generation, Kind, Problem, Role,
    TaskId, code,
};
use tokio::time::Instant;

use crate::events::Received;
use crate::ledger::Ledger;

/// The state between sessions.
#[derive(Debug)]
pub(crate) struct Memory {
    framework: Option<FrameworkId>,
    description: FrameworkDescription,
    /// What it was before an update that no master has taken yet.
    former: Option<FrameworkDescription>,
    create: bool,
    stand_by: bool,
    /// What was acknowledged last.
    resume: Option<Resume>,
    /// The last request id: a session that resumes another must not use its ids again.
    request_last: u64,
    term: Option<(ClusterId, Epoch)>,
    demands: BTreeMap<Role, Wanted>,
    /// No demand has a generation that an earlier one was sent with, of whatever role and whatever became of it.
    generation_last: Generation,
    /// What was before the last session began to say what is wanted.
    generation_before: Generation,
    /// The author's sequence of the last event of earlier sessions.
    sequence_base: u64,
    /// The author's sequence of the last event of all.
    sequence_last: u64,
    /// Tasks of which a session has told what its author could not take before it ended. Those of one more are at most what may
    /// wait for the author.
    untold: BTreeSet<TaskId>,
    /// When it was said last that tasks wait for an agent that cannot be reached.
    pub(crate) warned_at: Option<Instant>,
    /// What the author's side knows too.
    pub(crate) ledger: Arc<Ledger>,
}

/// What is wanted in a role.
#[derive(Debug)]
struct Wanted {
    latest: Demand,
    /// Whether a master has taken the latest.
    is_granted: bool,
    /// What a master has taken before the latest, which it has not answered.
    former: Option<Demand>,
}

impl Memory {
    /// Before the first session.
    pub(crate) fn new(framework: Option<FrameworkId>, description: FrameworkDescription) -> Self {
        Self {
            ledger: Arc::new(Ledger::new(framework.is_some())),
            framework,
            description,
            former: None,
            create: false,
            stand_by: false,
            resume: None,
            request_last: 0,
            term: None,
            demands: BTreeMap::new(),
            generation_last: Generation::default(),
            generation_before: Generation::default(),
            sequence_base: 0,
            sequence_last: 0,
            untold: BTreeSet::new(),
            warned_at: None,
        }
    }

    /// The id is the author's own choice; it waits while another session is active.
    pub(crate) fn choosing(mut self, create: bool, stand_by: bool) -> Self {
        self.create = create;
        self.stand_by = stand_by;
        self
    }

    /// The author says something else of the framework.
    pub(crate) fn describe(&mut self, description: FrameworkDescription) {
        let last = std::mem::replace(&mut self.description, description);
        self.former.get_or_insert(last);
    }

    /// A master has refused a subscription: what it says of the framework, and what it said before and says again, if there is
    /// such a thing.
    pub(crate) fn take_back(
        &mut self,
        problem: &Problem,
    ) -> Option<(FrameworkDescription, FrameworkDescription)> {
        if !matches!(problem.kind, Kind::Invalid | Kind::Forbidden) {
            return None;
        }
        let former = self.former.take()?;
        let refused = std::mem::replace(&mut self.description, former.clone());
        Some((refused, former))
    }

    /// Whether it waits while another session is active: then none is taken over, and being fenced is no end.
    pub(crate) fn stands_by(&self) -> bool {
        self.stand_by
    }

    /// An id for the next call.
    pub(crate) fn next_request(&mut self) -> u64 {
        self.request_last = self.request_last.saturating_add(1);
        self.request_last
    }

    /// This number of the session is about to be acknowledged.
    pub(crate) fn acknowledges(&mut self, sequence: u64) {
        self.resume = self.term.as_ref().map(|(_, epoch)| Resume {
            epoch: *epoch,
            sequence,
        });
    }

    /// Whether a session of this epoch was to go on after another one.
    pub(crate) fn resumes_in(&self, epoch: Epoch) -> bool {
        self.resume.is_some_and(|resume| resume.epoch == epoch)
    }

    /// Whether a demand is still the latest of its role.
    pub(crate) fn is_latest(&self, demand: &Demand) -> bool {
        let kept = self.demands.get(&demand.role);
        kept.is_some_and(|kept| kept.latest.generation == demand.generation)
    }

    /// The first call of a session. One that goes on from an active session of its own takes over from it, and so from whoever
    /// stands by for it.
    pub(crate) fn subscribe(&self, is_active: bool) -> Call {
        Call::Subscribe {
            framework: self.framework.clone(),
            description: self.description.clone(),
            stand_by: self.stand_by && !is_active,
            resume: self.resume,
            create: self.create,
        }
    }

    /// A master accepted the subscription: nothing is wanted any more in roles that the framework has left with it. Refuses one
    /// of an earlier term or of another cluster.
    pub(crate) fn subscribed(
        &mut self,
        framework: &FrameworkId,
        cluster: &ClusterId,
        epoch: Epoch,
    ) -> Result<(), Problem> {
        if let Some((known, _)) = self.term.as_ref().filter(|(known, _)| known != cluster) {
            let message = format!("the master is of cluster {cluster}, the framework of {known}");
            return Err(Problem::new(code::FRAMEWORK_UNKNOWN, message)
                .hint("list only masters of one cluster; a new cluster needs a new framework"));
        }
        self.check_epoch(epoch)?;
        if self.former.take().is_some() {
            let roles = &self.description.roles;
            self.demands.retain(|role, _| roles.contains(role));
        }
        self.term = Some((cluster.clone(), epoch));
        self.framework = Some(framework.clone());
        self.sequence_base = self.sequence_last;
        Ok(())
    }

    /// Refuses an epoch that is smaller than one that was seen.
    pub(crate) fn check_epoch(&mut self, epoch: Epoch) -> Result<(), Problem> {
        match &mut self.term {
            Some((_, greatest)) if epoch < *greatest => {
                let message = format!("the master is of epoch {epoch}; {greatest} has been seen");
                Err(Problem::new(code::EPOCH_STALE, message))
            }
            Some((_, greatest)) => {
                *greatest = epoch;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// A session has ended, and these events are not taken any more.
    pub(crate) fn leaves_untold<'a>(&mut self, events: impl IntoIterator<Item = &'a Received>) {
        let tasks = events.into_iter().filter_map(|it| match &it.event {
            Event::Updated(status) => Some(status.task.clone()),
            _ => None,
        });
        self.untold.extend(tasks);
    }

    /// The tasks to ask about in a session that begins: where it is not resumed, all tasks are told anyway.
    pub(crate) fn untold(&mut self, is_resumed: bool) -> Vec<TaskId> {
        if !is_resumed {
            self.untold.clear();
        }
        self.untold.iter().cloned().collect()
    }

    /// How these tasks stand was told again.
    pub(crate) fn told_anew(&mut self, tasks: &[TaskId]) {
        for task in tasks {
            self.untold.remove(task);
        }
    }

    /// The author's sequence for an event of this session.
    pub(crate) fn sequence_of(&mut self, number: u64) -> u64 {
        let sequence = self.sequence_base.saturating_add(number);
        self.sequence_last = self.sequence_last.max(sequence);
        sequence
    }

    /// The author's sequence for an event that the SDK makes itself.
    pub(crate) fn next_sequence(&mut self) -> u64 {
        self.sequence_last = self.sequence_last.saturating_add(1);
        self.sequence_last
    }

    /// What to acknowledge in this session when the author has kept everything up to this sequence.
    pub(crate) fn acknowledgeable(&self, sequence: u64) -> Option<u64> {
        let known = sequence.min(self.sequence_last);
        let number = known.checked_sub(self.sequence_base)?;
        (number > 0).then_some(number)
    }

    /// Keeps a demand as the latest of its role and gives it a generation that is greater than all before.
    pub(crate) fn keep_demand(&mut self, mut demand: Demand) -> Result<Demand, Problem> {
        let last = self.demands.get(&demand.role);
        if last.is_none() && self.demands.len() == ROLES_MAX {
            let message = format!("demands for more than {ROLES_MAX} roles");
            return Err(Problem::new(code::FIELD_TOO_LONG, message).field("set_demand.role"));
        }
        demand.generation = demand.generation.max(self.generation_last.next());
        self.generation_last = demand.generation;
        let former = match self.demands.remove(&demand.role) {
            Some(last) if last.is_granted => Some(last.latest),
            Some(last) => last.former,
            None => None,
        };
        let wanted = Wanted {
            latest: demand.clone(),
            is_granted: false,
            former,
        };
        self.demands.insert(demand.role.clone(), wanted);
        Ok(demand)
    }

    /// A master has taken a demand.
    pub(crate) fn demand_granted(&mut self, demand: &Demand) {
        let Some(wanted) = self.demands.get_mut(&demand.role) else {
            return;
        };
        if wanted.latest.generation == demand.generation {
            (wanted.is_granted, wanted.former) = (true, None);
        } else if !wanted.is_granted {
            wanted.former = Some(demand.clone());
        }
    }

    /// A master has refused a demand, and still goes by what it has taken before. That is the latest again, unless another one
    /// has replaced what was refused; it is the answer when this session has yet to be told it. Without one before, the demand
    /// is forgotten.
    pub(crate) fn demand_refused(&mut self, demand: &Demand) -> Option<Demand> {
        let next = self.generation_last.next();
        let wanted = self.demands.get_mut(&demand.role)?;
        if wanted.latest.generation != demand.generation {
            return None;
        }
        let Some(former) = wanted.former.take() else {
            self.demands.remove(&demand.role);
            return None;
        };
        (wanted.latest, wanted.is_granted) = (former, true);
        if wanted.latest.generation > self.generation_before {
            return None;
        }
        (wanted.latest.generation, self.generation_last) = (next, next);
        Some(wanted.latest.clone())
    }

    /// The roles in which something is wanted, in the order of [`Self::renewed_demands`].
    pub(crate) fn roles_demanded(&self) -> impl Iterator<Item = &Role> {
        self.demands.keys()
    }

    /// The latest demand of each role, with new generations, to be sent in a new session.
    pub(crate) fn renewed_demands(&mut self) -> Vec<Demand> {
        self.generation_before = self.generation_last;
        let roles: Vec<Role> = self.demands.keys().cloned().collect();
        let renewed = roles.iter().filter_map(|role| self.renewed_demand(role));
        renewed.collect()
    }

    /// The latest demand of a role, with a new generation, to be sent again.
    pub(crate) fn renewed_demand(&mut self, role: &Role) -> Option<Demand> {
        let wanted = self.demands.get_mut(role)?;
        self.generation_last = self.generation_last.next();
        wanted.latest.generation = self.generation_last;
        Some(wanted.latest.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Memory {
        let description = FrameworkDescription {
            name: "test".into(),
            roles: vec![Role::new("web").unwrap()],
            failover_timeout: std::time::Duration::ZERO,
            mesos: None,
        };
        Memory::new(None, description)
    }

    fn subscribe(memory: &mut Memory, cluster: &str, epoch: u64) -> Result<(), Problem> {
        let framework = FrameworkId::new("f").unwrap();
        memory.subscribed(&framework, &ClusterId::new(cluster).unwrap(), Epoch(epoch))
    }

    #[test]
    fn an_earlier_term_and_another_cluster_are_refused() {
        let mut memory = memory();
        subscribe(&mut memory, "c", 5).expect("the first");
        subscribe(&mut memory, "c", 5).expect("the same again");
        let problem = subscribe(&mut memory, "c", 4).expect_err("earlier");
        assert!(problem.is(code::EPOCH_STALE), "{problem}");
        let problem = subscribe(&mut memory, "d", 9).expect_err("another cluster");
        assert!(problem.is(code::FRAMEWORK_UNKNOWN), "{problem}");
        memory.check_epoch(Epoch(7)).expect("later");
        memory.check_epoch(Epoch(6)).expect_err("earlier");
    }

    #[test]
    fn sequences_go_on_and_late_acknowledgements_acknowledge_nothing() {
        let mut memory = memory();
        subscribe(&mut memory, "c", 1).unwrap();
        assert_eq!(memory.sequence_of(1), 1);
        assert_eq!(memory.sequence_of(9), 9);
        assert_eq!(memory.acknowledgeable(9), Some(9));
        assert_eq!(memory.next_sequence(), 10);
        subscribe(&mut memory, "c", 1).unwrap();
        assert_eq!(memory.sequence_of(1), 11);
        for (acknowledged, number) in [(9, None), (10, None), (11, Some(1)), (99, Some(1))] {
            assert_eq!(
                memory.acknowledgeable(acknowledged),
                number,
                "{acknowledged}"
            );
        }
    }

    #[test]
    fn the_latest_demand_is_kept_with_growing_generations() {
        let mut memory = memory();
        let demand = |role: &str, generation| Demand {
            role: Role::new(role).unwrap(),
            generation: Generation(generation),
            entries: vec![],
        };
        let generations = |demands: Vec<Demand>| -> Vec<u64> {
            demands.iter().map(|demand| demand.generation.0).collect()
        };
        let kept = |memory: &mut Memory, generation| {
            memory
                .keep_demand(demand("web", generation))
                .unwrap()
                .generation
                .0
        };
        assert_eq!(kept(&mut memory, 0), 1);
        assert_eq!(kept(&mut memory, 0), 2);
        assert_eq!(kept(&mut memory, 9), 9);
        assert_eq!(kept(&mut memory, 3), 10);
        assert_eq!(generations(memory.renewed_demands()), [11]);
        assert_eq!(memory.demand_refused(&demand("web", 10)), None);
        assert_eq!(generations(memory.renewed_demands()), [12]);
        assert_eq!(memory.demand_refused(&demand("web", 12)), None);
        assert!(memory.renewed_demands().is_empty());
        assert_eq!(kept(&mut memory, 0), 13, "also after one that was refused");
        memory.demand_refused(&demand("web", 13));
        for i in 0..ROLES_MAX {
            memory
                .keep_demand(demand(&format!("r{i}"), 0))
                .expect("within the limit");
        }
        memory
            .keep_demand(demand("web", 0))
            .expect_err("one too many");
    }

    #[test]
    fn a_refused_demand_leaves_what_was_taken_before() {
        let mut memory = memory();
        let keep = |memory: &mut Memory| {
            let demand = Demand {
                role: Role::new("web").unwrap(),
                generation: Generation(0),
                entries: vec![],
            };
            memory.keep_demand(demand).expect("within the limit")
        };
        let good = keep(&mut memory);
        memory.demand_granted(&good);
        // Two that are refused, of which the second was sent before the answer to the first.
        let (first, second) = (keep(&mut memory), keep(&mut memory));
        assert_eq!(memory.demand_refused(&first), None);
        assert!(memory.is_latest(&second));
        assert_eq!(memory.demand_refused(&second), None, "the master knows");
        assert!(memory.is_latest(&good));
        assert!(keep(&mut memory).generation > second.generation);

        // Another session begins with the last one and refuses it: it has not heard of the good one.
        let bad = memory.renewed_demands().remove(0);
        let again = memory.demand_refused(&bad).expect("it is to be told");
        assert!(again.generation > bad.generation);
        assert!(memory.is_latest(&again));
        assert_eq!(memory.demand_refused(&again), None);
        assert!(memory.renewed_demands().is_empty());
    }
}
