//! A small cluster: one program, leaders that lose what they know, two agents, and everything on its way. Whatever happens in
//! whatever order, no task is launched while an earlier launch of it may still run.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proffer_model::{Incarnation, Status, TaskId, TaskState};
use proptest::prelude::*;

use super::{Fates, Worth, id, status};

const TASKS: usize = 2;
const AGENTS: u64 = 2;

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The author launches it, if they may.
    Launch(usize),
    Settle(usize),
    /// The leader takes the oldest call.
    LeaderTakes,
    /// What the leader sends next comes to the program.
    Comes,
    /// The author takes what came.
    AuthorTakes,
    /// The agent hears of the oldest launch.
    AgentStarts,
    Ends(usize),
    /// An agent tells the leader how its tasks stand.
    AgentSays(u64),
    SessionBreaks,
    SessionBegins,
    /// With all it knew; what no agent has heard of is lost.
    LeaderDies,
    /// The SDK asks about what is open.
    Asks,
    /// The program is killed, and started anew.
    Restarts,
    /// Another program is active in between, and launches it if it is not there.
    Overtakes(usize),
}

#[derive(Debug)]
enum Call {
    Accept(TaskId),
    Ask(TaskId),
}

#[derive(Debug)]
enum Said {
    Begun { is_resumed: bool },
    Launched(TaskId, Incarnation),
    Refused(TaskId),
    Told(Status),
}

/// A launch as it really stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Launch {
    OnItsWay,
    Runs,
    /// And its agent tells it until that is acknowledged.
    Ended,
    /// The same, and its agent does not know.
    Acknowledged,
    Gone,
}

/// What one leader knows.
#[derive(Default)]
struct Term {
    tasks: BTreeMap<TaskId, (Incarnation, TaskState)>,
    /// What its agents are to forget.
    acknowledged: BTreeSet<(TaskId, Incarnation)>,
    settled: BTreeSet<u64>,
    /// Whether the next session goes on where the last one was.
    is_told: bool,
}

struct World {
    fates: Fates,
    has_session: bool,
    flying: Vec<TaskId>,
    calls: VecDeque<Call>,
    /// From the leader to the program, and from there to the author.
    wire: VecDeque<Said>,
    events: VecDeque<Said>,
    term: Term,
    launches: BTreeMap<(TaskId, Incarnation), Launch>,
    incarnation: u64,
    number: u64,
    launched: usize,
}

impl Term {
    /// Whether no agent is awaited.
    fn is_settled(&self) -> bool {
        (0..AGENTS).all(|agent| self.settled.contains(&agent))
    }
}

impl World {
    fn new() -> Self {
        Self {
            fates: Fates::new(true),
            has_session: false,
            flying: Vec::new(),
            calls: VecDeque::new(),
            wire: VecDeque::new(),
            events: VecDeque::new(),
            term: Term {
                settled: (0..AGENTS).collect(),
                ..Term::default()
            },
            launches: BTreeMap::new(),
            incarnation: 0,
            number: 0,
            launched: 0,
        }
    }

    fn happens(&mut self, step: Step) {
        match step {
            Step::Launch(task) => self.launch(id(task)),
            Step::Settle(task) => {
                // The answer is for the session in which it is given.
                for task in self.fates.settle([id(task)]) {
                    assert!(!self.has_session || self.is_gone(&task), "{task}");
                }
            }
            Step::LeaderTakes => self.leader_takes(),
            Step::Comes => self.comes(),
            Step::AuthorTakes => self.author_takes(),
            Step::AgentStarts => {
                let mut launches = self.launches.values_mut();
                if let Some(launch) = launches.find(|launch| **launch == Launch::OnItsWay) {
                    *launch = Launch::Runs;
                }
            }
            Step::Ends(task) => {
                let mut launches = self.launches.iter_mut();
                let runs = |(of, launch): &(&(TaskId, _), &mut Launch)| {
                    of.0 == id(task) && **launch == Launch::Runs
                };
                if let Some((_, launch)) = launches.find(|it| runs(it)) {
                    *launch = Launch::Ended;
                }
            }
            Step::AgentSays(agent) => self.agent_says(agent),
            Step::SessionBreaks => self.session_breaks(),
            Step::SessionBegins => self.session_begins(),
            Step::LeaderDies => {
                self.session_breaks();
                self.term = Term::default();
                let launches = self.launches.values_mut();
                launches
                    .filter(|launch| **launch == Launch::OnItsWay)
                    .for_each(|launch| *launch = Launch::Gone);
            }
            Step::Asks if self.has_session => {
                let unheard = self.fates.unheard();
                self.calls.extend(unheard.into_iter().map(Call::Ask));
            }
            Step::Asks => {}
            Step::Restarts => {
                self.session_breaks();
                self.fates = Fates::new(true);
                self.events.clear();
                self.term.is_told = false;
            }
            Step::Overtakes(task) => self.overtakes(id(task)),
        }
    }

    fn is_gone(&self, task: &TaskId) -> bool {
        let mut launches = self.launches.iter().filter(|((of, _), _)| of == task);
        launches.all(|(_, launch)| !matches!(launch, Launch::OnItsWay | Launch::Runs))
    }

    fn assert_gone(&self, task: &TaskId) {
        assert!(self.is_gone(task), "{task}: {:?}", self.launches);
        let is_it = |call: &Call| matches!(call, Call::Accept(of) if of == task);
        assert!(!self.calls.iter().any(is_it), "{task} is being called");
    }

    fn launch(&mut self, task: TaskId) {
        if !self.has_session || self.fates.settle([task.clone()]).is_empty() {
            return;
        }
        assert!(self.fates.launching(&task), "it was settled");
        self.assert_gone(&task);
        self.launched += 1;
        self.flying.push(task.clone());
        self.calls.push_back(Call::Accept(task));
    }

    fn says(&mut self, task: &TaskId, incarnation: Incarnation, number: u64, state: TaskState) {
        if self.has_session {
            let mut told = status(0, incarnation.0, number, state);
            told.task = task.clone();
            self.wire.push_back(Said::Told(told));
        }
    }

    fn leader_takes(&mut self) {
        match self.calls.pop_front() {
            Some(Call::Accept(task)) => {
                let said = match self.term.tasks.contains_key(&task) {
                    true => Said::Refused(task),
                    false => {
                        let incarnation = self.enter(&task);
                        Said::Launched(task, incarnation)
                    }
                };
                self.wire.push_back(said);
            }
            Some(Call::Ask(task)) => match self.term.tasks.get(&task).copied() {
                Some((incarnation, state)) => self.says(&task, incarnation, 0, state),
                None if self.term.is_settled() => {
                    self.says(&task, Incarnation(0), 0, TaskState::Lost);
                }
                None => {}
            },
            None => {}
        }
    }

    fn enter(&mut self, task: &TaskId) -> Incarnation {
        self.incarnation += 1;
        let incarnation = Incarnation(self.incarnation);
        let staging = (incarnation, TaskState::Staging);
        self.term.tasks.insert(task.clone(), staging);
        let launch = (task.clone(), incarnation);
        self.launches.insert(launch, Launch::OnItsWay);
        incarnation
    }

    fn comes(&mut self) {
        let Some(said) = self.wire.pop_front() else {
            return;
        };
        match &said {
            Said::Launched(task, incarnation) => self.fates.launched(task, *incarnation),
            Said::Refused(task) => self.fates.refused(task),
            Said::Begun { is_resumed } => self.fates.session_begun(*is_resumed),
            Said::Told(_) => {}
        }
        if let Said::Launched(task, _) | Said::Refused(task) = &said {
            self.flying.retain(|flying| flying != task);
        }
        self.events.push_back(said);
    }

    fn author_takes(&mut self) {
        match self.events.pop_front() {
            Some(Said::Begun { .. }) => self.fates.session_taken(),
            Some(Said::Told(status)) => {
                let launch = (status.task.clone(), status.incarnation);
                let is_end = status.state.is_terminal();
                if self.fates.weigh(&status) == Worth::News && is_end {
                    let stands = self.launches.get(&launch);
                    assert!(!matches!(stands, Some(Launch::OnItsWay | Launch::Runs)));
                }
                if is_end && let Some(stands) = self.launches.get_mut(&launch) {
                    if *stands == Launch::Ended {
                        *stands = Launch::Acknowledged;
                    }
                    self.term.acknowledged.insert(launch);
                    let is_it = |known: &(Incarnation, _)| known.0 == status.incarnation;
                    self.term
                        .tasks
                        .retain(|task, known| *task != status.task || !is_it(known));
                }
            }
            Some(Said::Launched(..) | Said::Refused(_)) | None => {}
        }
    }

    fn agent_says(&mut self, agent: u64) {
        let own = self.launches.clone().into_iter();
        for ((task, incarnation), launch) in own.filter(|((_, of), _)| of.0 % AGENTS == agent) {
            let named = (task.clone(), incarnation);
            let state = match launch {
                Launch::Runs => TaskState::Running,
                Launch::Acknowledged if self.term.acknowledged.contains(&named) => {
                    self.launches.insert(named, Launch::Gone);
                    continue;
                }
                // Its leader died before the agent heard that.
                Launch::Ended | Launch::Acknowledged => TaskState::Failed,
                Launch::OnItsWay | Launch::Gone => continue,
            };
            let newest = (incarnation, state);
            let known = self.term.tasks.get(&task).copied();
            if known.is_none_or(|(of, at)| of < incarnation || (of == incarnation && at != state)) {
                self.number += 1;
                self.term.tasks.insert(task.clone(), newest);
                self.says(&task, incarnation, self.number, state);
            }
        }
        self.term.settled.insert(agent);
    }

    fn session_breaks(&mut self) {
        if !std::mem::take(&mut self.has_session) {
            return;
        }
        let flying = std::mem::take(&mut self.flying);
        self.fates.session_ended(flying.iter());
        self.calls.clear();
        self.wire.clear();
    }

    fn session_begins(&mut self) {
        if std::mem::replace(&mut self.has_session, true) {
            return;
        }
        let is_resumed = std::mem::replace(&mut self.term.is_told, true);
        self.wire.push_back(Said::Begun { is_resumed });
        self.comes();
        for (task, (incarnation, state)) in self.term.tasks.clone() {
            self.says(&task, incarnation, 0, state);
        }
    }

    fn overtakes(&mut self, task: TaskId) {
        self.session_breaks();
        self.term.is_told = false;
        let is_known = self.term.tasks.contains_key(&task);
        if self.term.is_settled() && !is_known && self.is_gone(&task) {
            self.enter(&task);
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let task = 0..TASKS;
    prop_oneof![
        6 => task.clone().prop_map(Step::Launch),
        1 => task.clone().prop_map(Step::Settle),
        6 => Just(Step::LeaderTakes),
        8 => Just(Step::Comes),
        8 => Just(Step::AuthorTakes),
        3 => Just(Step::AgentStarts),
        3 => task.clone().prop_map(Step::Ends),
        4 => (0..AGENTS).prop_map(Step::AgentSays),
        2 => Just(Step::SessionBreaks),
        5 => Just(Step::SessionBegins),
        1 => Just(Step::LeaderDies),
        3 => Just(Step::Asks),
        1 => Just(Step::Restarts),
        1 => task.prop_map(Step::Overtakes),
    ]
}

/// Everything that is there ends, and everybody says so.
fn all_ends(world: &mut World) {
    for _ in 0..6 {
        let mut more = vec![
            Step::SessionBegins,
            Step::Settle(0),
            Step::Settle(1),
            Step::Asks,
        ];
        let each = [
            Step::LeaderTakes,
            Step::AgentStarts,
            Step::Ends(0),
            Step::Ends(1),
        ];
        more.extend(each.into_iter().cycle().take(40));
        more.extend((0..AGENTS).map(Step::AgentSays));
        more.extend([Step::Comes; 40]);
        more.extend([Step::AuthorTakes; 200]);
        more.into_iter().for_each(|step| world.happens(step));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_task_is_launched_while_an_earlier_launch_may_run(
        steps in prop::collection::vec(step(), 1..150)
    ) {
        let mut world = World::new();
        steps.into_iter().for_each(|step| world.happens(step));
    }

    #[test]
    fn when_all_has_ended_every_task_is_free_again(steps in prop::collection::vec(step(), 1..100)) {
        let mut world = World::new();
        steps.into_iter().for_each(|step| world.happens(step));
        all_ends(&mut world);
        let free = world.fates.settle((0..TASKS).map(id));
        prop_assert_eq!(free.len(), TASKS, "{:?} of {:?}", world.fates, world.launches);
    }
}

#[test]
fn a_task_that_has_ended_is_launched_again() {
    let mut world = World::new();
    world.fates = Fates::new(false);
    for _ in 0..2 {
        let story = [
            Step::SessionBegins,
            Step::AuthorTakes,
            Step::Launch(0),
            Step::LeaderTakes,
            Step::AgentStarts,
            Step::Ends(0),
            Step::AgentSays(0),
            Step::AgentSays(1),
            Step::Comes,
            Step::Comes,
            Step::AuthorTakes,
            Step::AuthorTakes,
        ];
        story.into_iter().for_each(|step| world.happens(step));
    }
    assert_eq!(world.launched, 2);
}

#[test]
fn an_end_that_its_agent_tells_again_starts_nothing_beside_what_runs() {
    let mut world = World::new();
    let first = [
        Step::SessionBegins,
        Step::AuthorTakes,
        Step::Settle(0),
        Step::Asks,
        Step::LeaderTakes,
        Step::Comes,
        Step::AuthorTakes,
        Step::Launch(0),
        Step::LeaderTakes,
        Step::AgentStarts,
        Step::Ends(0),
        Step::AgentSays(1),
        Step::Comes,
        Step::Comes,
        Step::AuthorTakes,
        Step::AuthorTakes,
    ];
    // Its end is acknowledged, and its agent does not hear of that; the next launch is with the other agent.
    let second = [
        Step::Launch(0),
        Step::LeaderTakes,
        Step::Comes,
        Step::AuthorTakes,
        Step::AgentStarts,
        Step::LeaderDies,
        Step::Restarts,
        Step::SessionBegins,
        Step::AuthorTakes,
        Step::Settle(0),
        Step::AgentSays(1),
        Step::Comes,
        Step::AuthorTakes,
        Step::Launch(0),
    ];
    first.into_iter().for_each(|step| world.happens(step));
    assert_eq!(world.launched, 1);
    second.into_iter().for_each(|step| world.happens(step));
    assert_eq!(world.launched, 2);
    assert!(!world.is_gone(&id(0)), "the second launch runs");
}

#[test]
fn an_id_whose_earlier_launch_is_told_to_have_ended_is_asked_about() {
    let mut world = World::new();
    let story = [
        Step::Overtakes(0),
        Step::AgentStarts,
        Step::Ends(0),
        Step::SessionBegins,
        Step::Comes,
        Step::AgentSays(1),
        Step::AuthorTakes,
        Step::Comes,
        Step::AuthorTakes,
        Step::AuthorTakes,
        // The launch of another program is lost with its leader; of the one before, the agent tells the next leader.
        Step::Overtakes(0),
        Step::SessionBegins,
        Step::Comes,
        Step::LeaderDies,
    ];
    story.into_iter().for_each(|step| world.happens(step));
    all_ends(&mut world);
    let free = world.fates.settle((0..TASKS).map(id));
    assert_eq!(free.len(), TASKS, "{:?}", world.fates);
}
