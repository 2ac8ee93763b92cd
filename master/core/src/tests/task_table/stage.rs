//! A task that has come to a state, and what can happen to it there.

use std::collections::BTreeSet;

use proffer_model::link::{AgentTask, Hello, ToAgent, ToMaster};
use proffer_model::session::{Answer, Call, Event as Told, OperationResult};
use proffer_model::{
    AgentId, Epoch, ExecutorId, FrameworkId, Generation, Incarnation, OfferId, TaskState,
};

use super::kinds;
use crate::effect::Reply;
use crate::event::{Event, LinkId, OperatorCall, RequestId, SessionId, StateCall, TimerKey};
use crate::tests::world::{World, describe, principal, reported, spec, status, task_id, want};

pub(super) struct Stage {
    pub(super) world: World,
    pub(super) agent: AgentId,
    link: LinkId,
    pub(super) session: SessionId,
    pub(super) framework: FrameworkId,
    incarnation: Incarnation,
    number: u64,
    /// The last status that was told.
    last_status: u64,
    /// Of what is left of the agent, while it is there.
    offers: Vec<OfferId>,
    /// What has happened.
    pub(super) met: BTreeSet<&'static str>,
}

/// A task that has come to this state.
pub(super) fn stage(state: TaskState) -> Stage {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4;disk:9");
    let agent = world.welcomed(link);
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let incarnation = world.run(session, spec("t", "cpus:1"));
    let mut stage = Stage {
        world,
        agent,
        link,
        session,
        framework,
        incarnation,
        number: 0,
        last_status: 0,
        offers: Vec::new(),
        met: BTreeSet::new(),
    };
    match state {
        TaskState::Staging => {}
        TaskState::Unreachable => {
            stage.says(TaskState::Running);
            stage.is_unreachable();
        }
        state => stage.says(state),
    }
    assert_eq!(stage.state(), Some(state));
    stage.last_status = stage.world.sequence(session);
    stage.world.drain(session);
    stage.world.demand(session, vec![want("w", 1, "cpus:1", 0)]);
    stage.world.pass_ms(50);
    let offers = stage.world.offers(session).into_iter();
    stage.offers = offers.map(|offer| offer.id).collect();
    stage.world.told.clear();
    stage.world.ordered.clear();
    stage.met.clear();
    stage
}

impl Stage {
    pub(super) fn state(&self) -> Option<TaskState> {
        let key = (self.framework.clone(), task_id("t"));
        let task = self.world.core.tasks.get(&key);
        task.map(|task| task.told().state)
    }

    /// What came of it: `k`, the agent is told to end the task; `a`, that its statuses are kept; `t`, the framework is told
    /// how it stands; `r`, who asked was refused; `h`, something is held there though the task is over or not
    /// known; `f`, nothing is though the framework has not been told that it is over.
    pub(super) fn outcome(&self) -> String {
        let state = self.state();
        let states = kinds::states().into_iter();
        let name = states.filter(|(_, of)| Some(*of) == state);
        let name = name.map(|(name, _)| name).next().unwrap_or("--");
        let orders = || self.world.ordered.iter().map(|(_, order, _)| order);
        let told = || self.world.told.iter().map(|(_, told, _)| told);
        let replies = || self.world.replies.values().map(|(reply, _)| reply);
        let is_told = told().any(|it| matches!(it, Told::Updated(of) if of.task == task_id("t")))
            || replies().any(|it| matches!(it, Ok(Reply::Called(all)) if !all.is_empty()));
        let refusal = |it: &Told| match it {
            Told::Closed(_) => true,
            Told::Answered { answer, .. } => is_refused(answer),
            _ => false,
        };
        let agents = self.world.core.agents.by_id.values();
        let is_held = agents.into_iter().any(|agent| !agent.used.is_empty());
        let is_live = state.is_some_and(|state| !state.is_terminal());
        let marks = [
            (orders().any(|it| matches!(it, ToAgent::Kill { .. })), 'k'),
            (
                orders().any(|it| matches!(it, ToAgent::Acknowledge { .. })),
                'a',
            ),
            (is_told, 't'),
            (told().any(refusal) || replies().any(Result::is_err), 'r'),
            (is_held && !is_live, 'h'),
            (is_live && !is_held, 'f'),
        ];
        let marks: String = marks
            .iter()
            .filter(|(is_so, _)| *is_so)
            .map(|(_, mark)| mark)
            .collect();
        match marks.is_empty() {
            true => name.to_owned(),
            false => format!("{name}/{marks}"),
        }
    }

    /// It happens, and what follows from it at once.
    pub(super) fn happens(&mut self, event: Event) {
        self.met.extend(kinds::of(&event));
        self.world.step(event);
    }

    fn says(&mut self, state: TaskState) {
        self.number += 1;
        self.says_again(self.incarnation, self.number, state, state);
    }

    fn says_again(&mut self, of: Incarnation, number: u64, state: TaskState, latest: TaskState) {
        let message = ToMaster::Updated {
            framework: self.framework.clone(),
            status: status("t", of, number, state),
            latest,
        };
        self.on_link(message);
    }

    fn on_link(&mut self, message: ToMaster) {
        let link = self.link;
        self.happens(Event::LinkMessage { link, message });
    }

    pub(super) fn fires(&mut self, key: TimerKey) {
        self.happens(Event::TimerFired(key));
    }

    pub(super) fn is_unreachable(&mut self) {
        self.world.lose(self.link);
        self.world.pass_s(80);
    }

    /// The agent, or another one, comes with the task in this state, or without it.
    fn returns(&mut self, agent: &AgentId, host: &str, of: Incarnation, state: Option<TaskState>) {
        let task = state.map(|state| AgentTask {
            acknowledged: 0,
            ..reported(&self.framework, spec("t", "cpus:1"), of, self.number, state)
        });
        let tasks = task.into_iter().collect();
        self.met
            .extend(["link opened", "link message", "heartbeat of an agent"]);
        self.link = self.world.returns(agent, host, "cpus:4;disk:9", tasks);
    }

    pub(super) fn calls(&mut self, call: Call) {
        let (session, request) = (self.session, self.world.fresh());
        let principal = principal("p");
        self.happens(Event::CallReceived {
            session,
            principal,
            request,
            call,
        });
    }

    pub(super) fn script_calls(&mut self, call: Call) {
        let request = RequestId(self.world.fresh());
        let (principal, framework) = (principal("p"), self.framework.clone());
        self.happens(Event::FrameworkCalled {
            request,
            principal,
            framework,
            number: 0,
            call,
        });
    }

    pub(super) fn operator_calls(&mut self, call: OperatorCall) {
        let request = RequestId(self.world.fresh());
        let principal = principal("p");
        self.happens(Event::OperatorRequested {
            request,
            principal,
            call,
        });
    }

    pub(super) fn state_calls(&mut self, call: StateCall) {
        let request = RequestId(self.world.fresh());
        let generation = self.generation();
        let (principal, framework) = (principal("p"), self.framework.clone());
        self.happens(Event::StateRequested {
            request,
            principal,
            framework,
            generation,
            call,
        });
    }

    pub(super) fn generation(&self) -> Generation {
        let open = self.world.core.sessions.open.get(&self.session);
        open.map(|open| open.generation).unwrap_or_default()
    }

    pub(super) fn offers(&self) -> Vec<OfferId> {
        self.offers.clone()
    }

    pub(super) fn last_status(&self) -> u64 {
        self.last_status
    }

    /// What happens, by the name of its row.
    pub(super) fn drive(&mut self, what: &str, from: TaskState) {
        let own = match from {
            TaskState::Unreachable => TaskState::Running,
            other => other,
        };
        let (head, rest) = what.split_once(' ').unwrap_or((what, ""));
        match head {
            "says" => self.drive_says(rest, own),
            "agent" => self.drive_agent(rest, own),
            "call" => self.drive_call(rest),
            "script" => self.drive_script(rest),
            "session" => self.drive_session(rest),
            "state" => self.drive_state(rest),
            "operator" => self.drive_operator(rest),
            "timer" => self.drive_timer(rest),
            other => panic!("{other}"),
        }
    }

    fn drive_says(&mut self, what: &str, own: TaskState) {
        let (incarnation, number) = (self.incarnation, self.number);
        let mut states = kinds::states().into_iter();
        let named = states.find(|(name, _)| *name == what);
        match (what, named.map(|(_, state)| state)) {
            (_, Some(state)) => self.says(state),
            ("again", _) => self.says_again(incarnation, number, own, own),
            ("late", _) => {
                self.says_again(incarnation, number + 1, own, TaskState::Finished);
            }
            ("older", _) => {
                let older = Incarnation(incarnation.0 - 1);
                self.says_again(older, number + 1, TaskState::Failed, TaskState::Failed);
            }
            (other, _) => panic!("{other}"),
        }
    }

    fn drive_agent(&mut self, what: &str, own: TaskState) {
        let (agent, incarnation) = (self.agent.clone(), self.incarnation);
        let (framework, executor) = (self.framework.clone(), ExecutorId::new("e").expect("an id"));
        match what {
            "beats" => self.on_link(ToMaster::Heartbeat),
            "registers twice" => {
                let task = reported(
                    &framework,
                    spec("t", "cpus:1"),
                    incarnation,
                    self.number,
                    own,
                );
                self.on_link(ToMaster::Hello(Hello {
                    agent: Some(agent),
                    cluster: None,
                    epoch: Epoch(1),
                    description: describe("a", "cpus:4;disk:9"),
                    tasks: vec![task],
                    executors: Vec::new(),
                    number: 0,
                }));
            }
            "says an executor ended" => self.on_link(ToMaster::ExecutorChanged {
                framework,
                executor,
                is_ended: true,
                message: String::new(),
            }),
            "passes a message on" => self.on_link(ToMaster::Message {
                framework,
                executor,
                data: vec![1],
            }),
            "is disconnected" => self.happens(Event::LinkClosed { link: self.link }),
            "returns" => self.returns_anew(&agent, incarnation, Some(own)),
            "returns without" => self.returns_anew(&agent, incarnation, None),
            "returns ended" => {
                self.returns_anew(&agent, incarnation, Some(own));
                self.says(TaskState::Failed);
            }
            "returns newer" => {
                let newer = Incarnation(incarnation.0 + 1);
                self.returns_anew(&agent, newer, Some(TaskState::Running));
            }
            "of another id has it" => {
                let other = AgentId::new("c-a0-9").expect("an id");
                self.returns(&other, "b", incarnation, Some(own));
            }
            other => panic!("{other}"),
        }
    }

    fn returns_anew(&mut self, agent: &AgentId, of: Incarnation, state: Option<TaskState>) {
        self.happens(Event::LinkClosed { link: self.link });
        self.world.beating.clear();
        self.returns(agent, "a", of, state);
    }
}

/// Whether a call was refused, or one of its launches.
fn is_refused(answer: &Answer) -> bool {
    match answer {
        Answer::Done => false,
        Answer::Refused(_) => true,
        Answer::Accepted(results) => {
            let mut launches = results.iter().flat_map(OperationResult::launches);
            launches.any(|launch| launch.outcome.is_err())
        }
    }
}
