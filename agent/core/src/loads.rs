//! What tasks and executors hold of the agent's own memory: what they carry, and what is said of them. Each has a bound, so that
//! a thousand large ones do not end the agent; what is beyond is refused or left out, and told so.

use proffer_model::executor::ExecutorStatus;
use proffer_model::limits::STATUS_DATA_LEN_MAX;
use proffer_model::{Command, ExecutorSpec, TaskSpec, TaskState};

use crate::core::Core;
use crate::event::RunId;
use crate::limits::{
    EXECUTORS_LEN_MAX, STATUS_DATA_LIGHT_LEN, STATUSES_DATA_LEN_MAX, TASKS_DATA_LEN_MAX,
};

/// Bytes, counted as they come and go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Loads {
    /// Of what tasks carry for their executors.
    pub(crate) tasks: usize,
    /// Of the specs of executors that live.
    pub(crate) executors: usize,
    /// Of what executors have said and frameworks do not have yet.
    pub(crate) said: usize,
}

impl Loads {
    pub(crate) fn task_came(&mut self, spec: &TaskSpec) {
        self.tasks += data_len(spec);
    }

    pub(crate) fn task_went(&mut self, spec: &TaskSpec) {
        self.tasks = self.tasks.saturating_sub(data_len(spec));
    }

    pub(crate) fn executor_came(&mut self, spec: &ExecutorSpec) {
        self.executors += executor_len(spec);
    }

    pub(crate) fn executor_went(&mut self, spec: &ExecutorSpec) {
        self.executors = self.executors.saturating_sub(executor_len(spec));
    }

    /// Why there is no room for these, and for their executor if it is to be started; nothing when there is.
    pub(crate) fn refusal<'a>(
        &self,
        tasks: impl Iterator<Item = &'a TaskSpec>,
        fresh: Option<&ExecutorSpec>,
    ) -> Option<String> {
        let tasks: usize = tasks.map(data_len).sum();
        let executor = fresh.map_or(0, executor_len);
        if self.tasks + tasks > TASKS_DATA_LEN_MAX {
            return Some(format!(
                "the tasks of its agent carry {} bytes already, and {TASKS_DATA_LEN_MAX} are the limit",
                self.tasks
            ));
        }
        (executor > 0 && self.executors + executor > EXECUTORS_LEN_MAX).then(|| {
            format!(
                "the executors of its agent have {} bytes already, and {EXECUTORS_LEN_MAX} are the limit",
                self.executors
            )
        })
    }
}

impl Core {
    /// Counts anew what waits of what the executor of a run has said.
    pub(crate) fn count_said(&mut self, run: RunId) {
        let Some(task) = self.tasks.get_mut(&run) else {
            return;
        };
        let waiting = task.word.waiting.as_ref();
        let len = task.updates.data_len() + waiting.map_or(0, |status| status.data.len());
        let before = std::mem::replace(&mut task.updates.counted, len);
        self.loads.said = (self.loads.said + len).saturating_sub(before);
    }

    /// Leaves out what an executor says along with a status when it is too much by itself, or beside all that waits; its result
    /// is lost then, so a task that has finished has failed for its framework. Answers whether it was.
    pub(crate) fn cut_data(&self, status: &mut ExecutorStatus) -> bool {
        let len = status.data.len();
        let is_too_long = len > STATUS_DATA_LEN_MAX;
        let is_beyond =
            len > STATUS_DATA_LIGHT_LEN && self.loads.said + len > STATUSES_DATA_LEN_MAX;
        if !is_too_long && !is_beyond {
            return false;
        }
        let (state, why) = (
            status.state,
            match is_too_long {
                true => format!("{STATUS_DATA_LEN_MAX} are the limit"),
                false => format!("{} wait for frameworks already", self.loads.said),
            },
        );
        if state == TaskState::Finished {
            status.state = TaskState::Failed;
        }
        let said = std::mem::take(&mut status.message);
        status.message =
            format!("its executor said {state} with {len} bytes, which are lost: {why}");
        if !said.is_empty() {
            status.message.push_str("; ");
            status.message.push_str(&said);
        }
        status.data = Vec::new();
        true
    }
}

fn data_len(spec: &TaskSpec) -> usize {
    match &spec.command {
        Command::Data(data) => data.len(),
        _ => 0,
    }
}

/// About.
fn executor_len(spec: &ExecutorSpec) -> usize {
    let command = match &spec.command {
        Command::Shell(line) => line.len(),
        Command::Exec(words) | Command::Image(words) => words.iter().map(String::len).sum(),
        Command::Named { program, arguments } => {
            program.len() + arguments.iter().map(String::len).sum::<usize>()
        }
        Command::Data(data) => data.len(),
    };
    let environment = spec.environment.iter();
    let environment = environment.map(|(name, value)| name.len() + value.expose().len());
    let fetch = spec.fetch.iter().map(|fetch| fetch.uri.len());
    size_of::<ExecutorSpec>() + spec.info.len() + command + environment.chain(fetch).sum::<usize>()
}
