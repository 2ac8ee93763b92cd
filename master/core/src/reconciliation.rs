//! Reconciliation: frameworks ask how their tasks stand.
//!
//! A short question is answered in the step in which it is asked. A long one is told in pieces, between which others are
//! served, each asker in its turn; it is answered when all of it is told. A status says how its task stands in the moment
//! in which it is told, so none is older than what was told before it.
//!
//! A task whose end is acknowledged while a question waits is known no more when its turn comes. Who asked was told of its end
//! after the question, and is not told that it is lost.
//!
//! The subtle thing: while a session's snapshot or tail goes on, statuses of tasks that it has not come to wait in their queues,
//! and are older than how those tasks stand. So its questions wait for the end of it.

use std::collections::{BTreeMap, VecDeque};

use proffer_model::session::{Answer, Event};
use proffer_model::{FrameworkId, Problem, Status, TaskId, code};

use crate::core::Core;
use crate::effect::Reply;
use crate::event::{RequestId, SessionId};
use crate::frameworks::completed;
use crate::limits::{
    RECONCILE_AT_ONCE_MAX, RECONCILE_NAMED_MAX, RECONCILE_NAMED_TOTAL_MAX, RECONCILES_MAX,
    SNAPSHOT_STEP_INTERVAL, SNAPSHOT_TASKS_PER_STEP, STATUSES_LEN_MAX, STATUSES_MAX,
};

/// The questions that are being answered.
#[derive(Debug, Default)]
pub(crate) struct Reconciliations {
    lines: BTreeMap<Asker, Line>,
    /// Those of the lines, in turn.
    turns: VecDeque<Asker>,
    /// Tasks that all of them name and are not told of yet.
    named: usize,
    /// When short questions were last counted from, by the monotonic clock, and the tasks in those since.
    at_once: (u64, usize),
}

/// Who asks: questions of one asker are answered one after the other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Asker {
    /// The framework that speaks in this session, which is told the statuses as its events.
    Session(SessionId),
    /// Whoever calls for a framework without one, and gets them with the answer.
    Script(FrameworkId),
}

#[derive(Debug)]
struct Line {
    framework: FrameworkId,
    questions: VecDeque<Question>,
    /// Tasks that they name and are not told of yet.
    named: usize,
    /// How many have been asked.
    asked: u64,
    /// Tasks whose ends were acknowledged while these waited, and how many had been asked by then: who asked them was told.
    ended: BTreeMap<TaskId, u64>,
}

#[derive(Debug)]
struct Question {
    /// The number of the call, or where the reply goes.
    request: u64,
    /// Which one it is of its line, from 1.
    number: u64,
    rest: Rest,
    /// What a script is to be told, and the bytes of its texts.
    statuses: Vec<Status>,
    len: usize,
}

/// What is to be told yet.
#[derive(Debug)]
enum Rest {
    Named(std::vec::IntoIter<TaskId>),
    /// All after this one.
    All(Option<TaskId>),
}

impl Rest {
    /// How many tasks it names.
    fn named(&self) -> usize {
        match self {
            Self::Named(tasks) => tasks.len(),
            Self::All(_) => 0,
        }
    }
}

impl Reconciliations {
    /// Whether any are under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// The session is over: nobody hears the answers.
    pub(crate) fn forget(&mut self, session: SessionId) {
        let asker = Asker::Session(session);
        if let Some(line) = self.lines.remove(&asker) {
            self.named -= line.named;
            self.turns.retain(|other| *other != asker);
        }
    }

    fn push(&mut self, asker: &Asker, framework: &FrameworkId, mut question: Question) {
        let named = question.rest.named();
        let line = self.lines.entry(asker.clone()).or_insert_with(|| Line {
            framework: framework.clone(),
            questions: VecDeque::new(),
            named: 0,
            asked: 0,
            ended: BTreeMap::new(),
        });
        line.asked += 1;
        question.number = line.asked;
        line.questions.push_back(question);
        line.named += named;
        self.named += named;
    }

    /// A task's end is acknowledged, and nothing is known of it any more. Who asked before hears no older news than its end.
    pub(crate) fn note_ended(&mut self, session: SessionId, task: &TaskId) {
        if let Some(line) = self.lines.get_mut(&Asker::Session(session))
            && line.ended.len() < RECONCILE_NAMED_MAX
        {
            line.ended.insert(task.clone(), line.asked);
        }
    }

    /// Whether so many more may be told within a step that others wait for.
    fn takes_at_once(&mut self, now_ns: u64, count: usize) -> bool {
        let interval_ns = u64::try_from(SNAPSHOT_STEP_INTERVAL.as_nanos()).unwrap_or(u64::MAX);
        let (since_ns, told) = &mut self.at_once;
        if now_ns.saturating_sub(*since_ns) >= interval_ns {
            (*since_ns, *told) = (now_ns, 0);
        }
        let takes = count <= RECONCILE_AT_ONCE_MAX && *told + count <= SNAPSHOT_TASKS_PER_STEP;
        if takes {
            *told += count;
        }
        takes
    }

    /// Whether the counts are right and each line has its turn.
    pub(crate) fn check(&self) -> bool {
        let lines = self.lines.values();
        let mut is_right = lines.clone().map(|line| line.named).sum::<usize>() == self.named;
        for line in lines {
            let named = line.questions.iter().map(|it| it.rest.named());
            is_right &= named.sum::<usize>() == line.named && !line.questions.is_empty();
        }
        let turns: std::collections::BTreeSet<_> = self.turns.iter().collect();
        is_right && turns.len() == self.turns.len() && turns.into_iter().eq(self.lines.keys())
    }

    /// The sessions that ask, with their frameworks.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = (SessionId, &FrameworkId)> {
        self.lines.iter().filter_map(|(asker, line)| match asker {
            Asker::Session(session) => Some((*session, &line.framework)),
            Asker::Script(_) => None,
        })
    }
}

impl Core {
    /// Whether there is room for the question.
    pub(crate) fn judge_reconcile(&self, asker: &Asker, tasks: &[TaskId]) -> Result<(), Problem> {
        let known = self.reconciliations.lines.get(asker);
        let of_asker = known.map_or(0, |line| line.named);
        let all = self.reconciliations.named;
        let is_own_full = of_asker + tasks.len() > RECONCILE_NAMED_MAX
            || known.is_some_and(|line| line.questions.len() >= RECONCILES_MAX);
        // Who asks for little is not kept out by those who ask for much.
        let is_all_full = all + tasks.len() > RECONCILE_NAMED_TOTAL_MAX
            && of_asker + tasks.len() > RECONCILE_AT_ONCE_MAX;
        let waits = match (is_own_full, is_all_full) {
            (false, false) => return Ok(()),
            (true, false) => of_asker,
            (_, true) => (all + tasks.len()).saturating_sub(RECONCILE_NAMED_TOTAL_MAX),
        };
        let message = "too many questions how tasks stand wait for their answers";
        let steps = u32::try_from(waits / SNAPSHOT_TASKS_PER_STEP + 1).unwrap_or(u32::MAX);
        Err(Problem::new(code::SESSION_RATE_LIMITED, message)
            .hint("nothing of it was done; try again after the time that is given")
            .retry_after(SNAPSHOT_STEP_INTERVAL.saturating_mul(steps)))
    }

    /// Whether what a script asks for can be in one answer.
    pub(crate) fn judge_all(
        &self,
        framework: &FrameworkId,
        tasks: &[TaskId],
    ) -> Result<(), Problem> {
        let known = self.tasks.count_of(framework);
        match tasks.is_empty() && known > STATUSES_MAX {
            true => Err(too_many(&format!("there are {known} tasks"))),
            false => Ok(()),
        }
    }

    /// How these tasks of a framework stand, or of none in particular: all that are known, is told, and then the call is
    /// answered.
    pub(crate) fn on_reconcile(
        &mut self,
        asker: &Asker,
        framework: &FrameworkId,
        request: u64,
        tasks: Vec<TaskId>,
    ) {
        let (count, rest) = match tasks.is_empty() {
            true => (self.tasks.count_of(framework), Rest::All(None)),
            false => (tasks.len(), Rest::Named(tasks.into_iter())),
        };
        let question = Question {
            request,
            number: 0,
            rest,
            statuses: Vec::new(),
            len: 0,
        };
        let (now_ns, reconciliations) = (self.turn.now.mono_ns, &mut self.reconciliations);
        let is_behind = reconciliations.lines.contains_key(asker);
        reconciliations.push(asker, framework, question);
        let count = count.max(1);
        let is_at_once = !is_behind && reconciliations.takes_at_once(now_ns, count);
        if is_at_once && self.tell_asker(asker, count) > 0 {
            return;
        }
        if !is_behind {
            self.reconciliations.turns.push_back(asker.clone());
        }
        self.tell_on_later();
    }

    /// Tells the next pieces, each asker in its turn.
    pub(crate) fn continue_reconciliations(&mut self, mut budget: usize) {
        // Those in a row that have to wait for something else.
        let mut idle = 0;
        while budget > 0
            && idle < self.reconciliations.turns.len()
            && let Some(asker) = self.reconciliations.turns.pop_front()
        {
            let told = self.tell_asker(&asker, budget.min(RECONCILE_AT_ONCE_MAX));
            budget = budget.saturating_sub(told);
            idle = if told > 0 { 0 } else { idle + 1 };
            if self.reconciliations.lines.contains_key(&asker) {
                self.reconciliations.turns.push_back(asker);
            }
        }
    }

    /// Tells an asker of some tasks. Answers how much that was; 0: it has to wait.
    fn tell_asker(&mut self, asker: &Asker, most: usize) -> usize {
        if let Asker::Session(session) = asker
            && let Some(open) = self.sessions.open.get(session)
            && open.telling.is_catching_up()
        {
            return 0;
        }
        let Some(mut line) = self.reconciliations.lines.remove(asker) else {
            return 0;
        };
        let mut told = 0;
        while told < most
            && let Some(question) = line.questions.front_mut()
        {
            let named = question.rest.named();
            let (mut tasks, is_all) =
                self.next_asked(&line.framework, &mut question.rest, most - told);
            told += tasks.len().max(1);
            let (ended, number) = (&line.ended, question.number);
            tasks.retain(|task| {
                ended.get(task).is_none_or(|asked| number > *asked)
                    || self
                        .tasks
                        .get(&(line.framework.clone(), task.clone()))
                        .is_some()
            });
            let result = self.tell_of(asker, &line.framework, question, tasks);
            let is_over = is_all || result.is_err();
            let left = if is_over { 0 } else { question.rest.named() };
            line.named -= named - left;
            self.reconciliations.named -= named - left;
            if is_over && let Some(question) = line.questions.pop_front() {
                self.answer_reconcile(asker, question, result);
            }
        }
        if !line.questions.is_empty() {
            self.reconciliations.lines.insert(asker.clone(), line);
        }
        told
    }

    /// So many at most of those that are asked about, and whether these are the last.
    fn next_asked(
        &self,
        framework: &FrameworkId,
        rest: &mut Rest,
        most: usize,
    ) -> (Vec<TaskId>, bool) {
        match rest {
            Rest::Named(tasks) => {
                let piece = tasks.take(most).collect();
                (piece, tasks.len() == 0)
            }
            Rest::All(reached) => {
                let tasks = self.tasks.after(framework, reached.as_ref());
                let mut piece: Vec<TaskId> = tasks.take(most + 1).cloned().collect();
                let is_all = piece.len() <= most;
                piece.truncate(most);
                *reached = piece.last().cloned();
                (piece, is_all)
            }
        }
    }

    /// Says how some tasks stand.
    fn tell_of(
        &mut self,
        asker: &Asker,
        framework: &FrameworkId,
        question: &mut Question,
        tasks: Vec<TaskId>,
    ) -> Result<(), Problem> {
        // While its tasks become nobody's it is in the other table yet.
        if !self.registry.frameworks.contains_key(framework) {
            return Err(completed(framework).field("framework_id"));
        }
        let unknown = self.say_of_unknown(framework);
        let after = self.turn.after_everything();
        for task in tasks {
            let status = self.status_of(&(framework.clone(), task), unknown.as_ref());
            match (asker, status) {
                (_, None) => {}
                (Asker::Session(session), Some(status)) => {
                    self.send_session(*session, Event::Updated(status), after);
                }
                (Asker::Script(_), Some(status)) => question.gather(status)?,
            }
        }
        Ok(())
    }

    fn answer_reconcile(&mut self, asker: &Asker, question: Question, result: Result<(), Problem>) {
        match asker {
            Asker::Session(session) => {
                let answer = match result {
                    Ok(()) => Answer::Done,
                    Err(problem) => Answer::Refused(problem),
                };
                self.send_answer(*session, question.request, answer);
            }
            Asker::Script(framework) => {
                let reply = result.map(|()| Reply::Called(question.statuses));
                self.reply_to_script(framework, RequestId(question.request), reply);
            }
        }
    }
}

impl Question {
    /// Adds to what a script is to be told, as far as one answer can hold it.
    fn gather(&mut self, status: Status) -> Result<(), Problem> {
        self.len += status.message.len() + status.task.as_str().len();
        self.statuses.push(status);
        if self.statuses.len() > STATUSES_MAX {
            return Err(too_many(&format!(
                "there are more than {STATUSES_MAX} tasks"
            )));
        }
        match self.len > STATUSES_LEN_MAX {
            true => Err(too_many("their messages are long")),
            false => Ok(()),
        }
    }
}

fn too_many(why: &str) -> Problem {
    let message = format!("{why}; one answer holds {STATUSES_MAX} statuses");
    Problem::new(code::FIELD_TOO_LONG, message)
        .field("call.reconcile.task_ids")
        .hint("name fewer tasks, or reconcile in a session")
}
