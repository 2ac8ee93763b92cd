//! Every state of a task times everything that can happen to it: where it stands afterwards, and whether it holds anything.
//!
//! The table is the whole rule: a greater state wins, an end is final, out of unreachable leads what the agent says when it
//! is back. `--` is a task that is not known any more.

use proffer_model::session::Call;
use proffer_model::{AgentId, FrameworkId, Incarnation, Resources, TaskState};

use super::world::{World, reported, spec, status, task_id};
use crate::event::{Event, LinkId, SessionId};

/// In the order of `TaskState::ALL`: staging, starting, running, killing, unreachable, finished, failed, killed, error,
/// dropped, lost.
const NAMES: [&str; 11] = [
    "sg", "st", "ru", "ki", "un", "fi", "fa", "kd", "er", "dr", "lo",
];

/// What happens, and where a task of each state stands then.
const TABLE: &str = "
from            : sg st ru ki un fi fa kd er dr lo

says sg         : sg st ru ki un fi fa kd er dr lo
says st         : st st ru ki un fi fa kd er dr lo
says ru         : ru ru ru ki un fi fa kd er dr lo
says ki         : ki ki ki ki un fi fa kd er dr lo
says un         : un un un un un fi fa kd er dr lo
says fi         : fi fi fi fi un fi fa kd er dr lo
says fa         : fa fa fa fa un fi fa kd er dr lo
says kd         : kd kd kd kd un fi fa kd er dr lo
says er         : er er er er un fi fa kd er dr lo
says dr         : dr dr dr dr un fi fa kd er dr lo
says lo         : lo lo lo lo un fi fa kd er dr lo
says again      : sg st ru ki un fi fa kd er dr lo

kill            : sg st ru ki un fi fa kd er dr lo
reconcile       : sg st ru ki un fi fa kd er dr lo
acknowledge     : sg st ru ki un -- -- -- -- -- --
session ends    : sg st ru ki un fi fa kd er dr lo
session resumes : sg st ru ki un fi fa kd er dr lo

link lost       : sg st ru ki un fi fa kd er dr lo
unreachable     : un un un un un fi fa kd er dr lo
returns         : sg st ru ki ru fi fa kd er dr lo
returns ended   : fa fa fa fa fa fi fa kd er dr lo
returns without : dr lo lo lo lo fi fa kd er dr lo
removed         : -- -- -- -- -- -- -- -- -- -- --
";

struct Stage {
    world: World,
    link: LinkId,
    agent: AgentId,
    session: SessionId,
    framework: FrameworkId,
    incarnation: Incarnation,
    number: u64,
}

/// A task that has come to this state.
fn stage(state: TaskState) -> Stage {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4");
    let agent = world.welcomed(link);
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let incarnation = world.run(session, spec("t", "cpus:1"));
    let mut stage = Stage {
        world,
        link,
        agent,
        session,
        framework,
        incarnation,
        number: 0,
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
    stage
}

impl Stage {
    fn state(&self) -> Option<TaskState> {
        let key = (self.framework.clone(), task_id("t"));
        self.world
            .core
            .tasks
            .get(&key)
            .map(|task| task.told().state)
    }

    fn says(&mut self, state: TaskState) {
        self.number += 1;
        let status = status("t", self.incarnation, self.number, state);
        self.world.updates(self.link, &self.framework, status);
    }

    fn is_unreachable(&mut self) {
        self.world.lose(self.link);
        self.world.pass_s(80);
    }

    /// The agent comes back with the task in this state, or without it.
    fn returns(&mut self, state: Option<TaskState>) {
        self.world.lose(self.link);
        let task = state.map(|state| {
            let spec = spec("t", "cpus:1");
            let mut task = reported(&self.framework, spec, self.incarnation, self.number, state);
            task.acknowledged = 0;
            task
        });
        let tasks = task.into_iter().collect();
        self.link = self.world.returns(&self.agent, "a", "cpus:4", tasks);
    }

    fn happens(&mut self, what: &str, from: TaskState) {
        let session = self.session;
        let own = match from {
            TaskState::Unreachable => TaskState::Running,
            other => other,
        };
        match what {
            "says again" => {
                let status = status("t", self.incarnation, self.number, own);
                self.world.updates(self.link, &self.framework, status);
            }
            "kill" => {
                let (task, grace) = (task_id("t"), None);
                self.world.call(session, Call::Kill { task, grace });
            }
            "reconcile" => {
                let tasks = vec![task_id("t")];
                self.world.call(session, Call::Reconcile { tasks });
            }
            "acknowledge" => self.world.acknowledge_all(session),
            "session ends" => self.world.step(Event::SessionClosed { session }),
            "session resumes" => {
                self.world.step(Event::SessionClosed { session });
                self.session = self.world.resubscribe(&self.framework);
            }
            "link lost" => self.world.lose(self.link),
            "unreachable" => self.is_unreachable(),
            "returns" => self.returns(Some(own)),
            "returns ended" => {
                self.returns(Some(own));
                self.says(TaskState::Failed);
            }
            "returns without" => self.returns(None),
            "removed" => drop(self.world.call(session, Call::Teardown)),
            says => {
                let name = says.strip_prefix("says ").expect(says);
                let index = NAMES.iter().position(|other| *other == name);
                self.says(TaskState::ALL[index.expect(name)]);
            }
        }
    }
}

#[test]
fn every_state_and_everything_that_can_happen_lead_where_the_table_says() {
    let rows = TABLE.lines().filter_map(|line| line.split_once(':'));
    let rows: Vec<(&str, Vec<&str>)> = rows
        .map(|(what, states)| (what.trim(), states.split_whitespace().collect()))
        .collect();
    let (head, rows) = rows.split_first().expect("a head");
    assert_eq!(head.1, NAMES);
    assert_eq!(rows.len(), TaskState::ALL.len() + 12, "every event");
    for (what, expected) in rows {
        assert_eq!(expected.len(), TaskState::ALL.len(), "{what}");
        for (from, expected) in TaskState::ALL.into_iter().zip(expected) {
            let mut stage = stage(from);
            stage.happens(what, from);
            let state = stage.state();
            let index = state.map(|state| TaskState::ALL.iter().position(|of| *of == state));
            let name = index.map_or("--", |index| NAMES[index.expect("a state")]);
            assert_eq!(name, *expected, "{from}, then {what}");
            // What has not ended is held, on the agent's word; what was removed until the agent says that it is gone.
            let may_run = match what {
                &"removed" => !from.is_terminal(),
                _ => state.is_some_and(|state| !state.is_terminal()),
            };
            let used = stage.world.used(&stage.agent);
            assert_eq!(
                used != Resources::new(),
                may_run,
                "{from}, then {what}: {used}"
            );
        }
    }
}
