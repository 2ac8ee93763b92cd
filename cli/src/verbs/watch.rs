//! `--watch`: follows what a list shows, through changes of leader, until Ctrl-C.
//!
//! A line for each row and each change, or with `-o json` an object, which has the position to go on from. When the connection
//! breaks the watch is resumed where it was; if more has changed since than the master remembers, everything is told anew.

use std::time::Instant;

use proffer_model::{Problem, code};
use proffer_proto::v1;
use proffer_proto::v1::change::Change;
use proffer_proto::{decode_problem, problem_of};
use serde_json::{Value, json};

use crate::connection::ClientArgs;
use crate::escape;
use crate::exit::{Failure, Outcome};
use crate::limits::LEADER_TIMEOUT;
use crate::master_client::MasterClient;
use crate::output::{Format, Progress, print};
use crate::task;
use crate::units::{format_utc, resources_text, wall_ms, wanted_in_words};
use crate::verbs::list::{agent_json, agent_state, framework_json, task_json};
use crate::verbs::offers::{executor_json, executor_state, offer_json};
use crate::wait::Pause;

/// Flags of lists that can be followed.
#[derive(Debug, clap::Args)]
pub(crate) struct WatchArgs {
    /// Go on with each change, until Ctrl-C: a line each, or with -o json an object.
    #[arg(short, long)]
    watch: bool,
    /// Go on after what was told with this position in -o json, instead of beginning with all that is there. What came
    /// together with it may be told again.
    #[arg(long, value_name = "POSITION", requires = "watch")]
    position: Option<String>,
}

impl WatchArgs {
    /// Whether to follow.
    pub(crate) fn is_on(&self) -> bool {
        self.watch
    }

    /// What to ask for.
    pub(crate) fn request(
        &self,
        kind: v1::WatchKind,
        framework_id: String,
        agent_id: String,
    ) -> v1::WatchRequest {
        v1::WatchRequest {
            position: self.position.clone().unwrap_or_default(),
            kinds: vec![kind.into()],
            framework_id,
            agent_id,
        }
    }
}

/// What becomes of tasks that had ended before a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// They are told as all others are.
    Told,
    /// They are left out; what ends while it is followed is told.
    LeftOut,
}

/// What of the changes is shown, and how.
struct Shown {
    format: Format,
    ended: Ended,
    /// Whether what is told was there before anything was followed. Where a watch begins anew, what has ended may have ended
    /// meanwhile, and nobody would hear of it.
    is_beginning: bool,
    /// Whether anything was told, or that there is nothing to tell: of what broke off in the middle of the beginning, some has
    /// no position yet.
    has_told: bool,
}

impl Shown {
    /// What is written of a change; it has the position to go on from.
    fn text(&mut self, change: &Change, position: &str) -> String {
        match change {
            Change::Begins(begins) => {
                // What begins anew followed something.
                self.has_told |= begins.why.is_some();
                self.is_beginning = !self.has_told;
            }
            Change::UpToDate(_) => {
                self.is_beginning = false;
                self.has_told = true;
            }
            Change::Task(task) => {
                let is_over = self.is_beginning && task::has_ended(task);
                if is_over && self.ended == Ended::LeftOut {
                    return String::new();
                }
                self.has_told = true;
            }
            _ => {}
        }
        if self.format == Format::Table {
            return line(change, wall_ms());
        }
        let mut object = change_json(change);
        if let Value::Object(object) = &mut object {
            object.insert("position".to_owned(), json!(position));
        }
        format!("{object}\n")
    }
}

/// Follows until nobody listens or no master can be reached for a while.
pub(crate) async fn run(
    args: &ClientArgs,
    mut asked: v1::WatchRequest,
    format: Format,
    ended: Ended,
) -> Outcome {
    let (mut progress, mut pause) = (Progress::new(), Pause::new());
    let (mut heard, mut said) = (None, None);
    let mut shown = Shown {
        format,
        ended,
        is_beginning: false,
        has_told: false,
    };
    loop {
        let problem = match follow(args, &mut asked, &mut shown, &mut heard).await {
            Ok(()) => Problem::new(code::PEER_UNREACHABLE, "the master ended the watch"),
            Err(Failure::Problem(problem)) => problem,
            Err(failure) => return Err(failure),
        };
        let is_recent = heard.is_some_and(|at: Instant| at.elapsed() < LEADER_TIMEOUT);
        if !is_passing(&problem, &asked) || !is_recent {
            return Err(problem.into());
        }
        if said != heard {
            progress.say(&format!("{}; trying on", problem.message));
            said = heard;
        }
        pause.next().await;
    }
}

/// Whether to go on where it was. A watch is also ended when its reader took nothing for a while: whoever looks at a page of it.
fn is_passing(problem: &Problem, asked: &v1::WatchRequest) -> bool {
    let passing = [code::PEER_UNREACHABLE, code::MASTER_NOT_LEADING];
    let is_unread = problem.is(code::WATCH_EXPIRED) && !asked.position.is_empty();
    is_unread || passing.into_iter().any(|code| problem.is(code))
}

/// One stream, to its end.
async fn follow(
    args: &ClientArgs,
    asked: &mut v1::WatchRequest,
    shown: &mut Shown,
    heard: &mut Option<Instant>,
) -> Outcome {
    let mut master = MasterClient::connect(args).await?;
    let mut responses = master.watch(asked.clone()).await?;
    while let Some(response) = responses.message().await.map_err(|s| problem_of(&s))? {
        *heard = Some(Instant::now());
        let before = std::mem::replace(&mut asked.position, response.position);
        let mut text = String::new();
        for (change, position) in placed(&response.changes, &before, &asked.position) {
            text += &shown.text(change, position);
        }
        if !text.is_empty() {
            print(&text)?;
            // Whoever reads it may have taken long; that was not the master.
            *heard = Some(Instant::now());
        }
    }
    Ok(())
}

/// Changes that came together, each with the position to go on from: after the last of them it is behind them all, and whoever
/// goes on after another is told them all again.
fn placed<'a>(
    changes: &'a [v1::Change],
    before: &'a str,
    behind: &'a str,
) -> impl Iterator<Item = (&'a Change, &'a str)> {
    let last = changes.len().saturating_sub(1);
    let changes = changes.iter().enumerate();
    changes.filter_map(move |(at, it)| {
        let position = if at == last { behind } else { before };
        it.change.as_ref().map(|change| (change, position))
    })
}

/// A change for programs: `change` says which.
fn change_json(change: &Change) -> Value {
    let (kind, value) = match change {
        Change::Begins(begins) => {
            let why = begins.why.clone().map(decode_problem);
            let why = why.map(|why| json!({ "code": why.code, "message": why.message }));
            ("begins", json!({ "why": why }))
        }
        Change::UpToDate(_) => ("up_to_date", json!({})),
        Change::Agent(agent) => ("agent", agent_json(agent)),
        Change::Framework(framework) => ("framework", framework_json(framework)),
        Change::FrameworkGone(id) => ("framework_gone", json!({ "id": id })),
        Change::AgentGone(id) => ("agent_gone", json!({ "id": id })),
        Change::Task(task) => ("task", task_json(task)),
        Change::TaskGone(gone) => {
            let (id, framework_id) = (&gone.task_id, &gone.framework_id);
            (
                "task_gone",
                json!({ "id": id, "framework_id": framework_id }),
            )
        }
        Change::Offer(offer) => ("offer", offer_json(offer)),
        Change::OfferGone(id) => ("offer_gone", json!({ "id": id })),
        Change::Executor(executor) => ("executor", executor_json(executor)),
        Change::ExecutorGone(gone) => (
            "executor_gone",
            json!({
                "id": gone.executor_id,
                "framework_id": gone.framework_id,
                "agent_id": gone.agent_id,
            }),
        ),
    };
    let mut object = json!({ "change": kind });
    if let (Value::Object(object), Value::Object(value)) = (&mut object, value) {
        object.extend(value);
    }
    object
}

/// A change for people, on one line; nothing of what only programs need. A task's has the time of its status, all others that of
/// now.
fn line(change: &Change, now_ms: u64) -> String {
    let mut at_ms = now_ms;
    let words = match change {
        Change::Begins(begins) => match &begins.why {
            Some(why) => format!("everything anew: {}", why.message),
            None => return String::new(),
        },
        Change::UpToDate(_) => return String::new(),
        Change::Agent(agent) => {
            let (id, host) = (&agent.id, &agent.host);
            let state = agent_state(agent);
            format!("agent {id} on {host}: {state}, {} tasks", agent.tasks)
        }
        Change::Framework(framework) => {
            let is_connected = match framework.connected {
                true => "connected",
                false => "not connected",
            };
            let (tasks, offers) = (framework.tasks, framework.offers);
            let demand = wanted_in_words(framework.demand);
            format!(
                "framework {} ({}): {is_connected}, {tasks} tasks, {offers} offers, {demand} wanted",
                framework.id, framework.name
            )
        }
        Change::FrameworkGone(id) => format!("framework {id} is over"),
        Change::AgentGone(id) => format!("agent {id} is gone"),
        Change::Task(task) => {
            let status = task.status.clone().unwrap_or_default();
            if status.wall_ms > 0 {
                at_ms = status.wall_ms;
            }
            let state = task::state_word(status.state());
            let message = match status.message.is_empty() {
                true => String::new(),
                false => format!(": {}", status.message),
            };
            format!(
                "task {} on {}: {state}{message}",
                task.id,
                task::address(task)
            )
        }
        Change::TaskGone(gone) => format!("task {} is forgotten", gone.task_id),
        Change::Offer(offer) => format!(
            "offer {} to {} of agent {}: {}",
            offer.id,
            offer.framework_id,
            offer.agent_id,
            resources_text(offer.resources.as_ref())
        ),
        Change::OfferGone(id) => format!("offer {id} stands no longer"),
        Change::Executor(executor) => format!(
            "executor {} of {} on agent {}: {}",
            executor.id,
            executor.framework_id,
            executor.agent_id,
            executor_state(executor)
        ),
        Change::ExecutorGone(gone) => format!(
            "executor {} of {} on agent {} is no more",
            gone.executor_id, gone.framework_id, gone.agent_id
        ),
    };
    format!("{} {}\n", clock(at_ms, now_ms), escape::line(&words))
}

/// A time in UTC: of today that of the day, else with the date.
fn clock(wall_ms: u64, now_ms: u64) -> String {
    const DAY_MS: u64 = 86_400_000;
    if wall_ms / DAY_MS != now_ms / DAY_MS {
        return format_utc(wall_ms);
    }
    let seconds = wall_ms / 1_000;
    let (hours, minutes) = (seconds / 3_600 % 24, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}Z", seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_lines_without_escapes_or_objects_that_say_which() {
        let gone = Change::TaskGone(v1::TaskGone {
            framework_id: "f".to_owned(),
            task_id: "t\u{1b}[2J".to_owned(),
        });
        let text = line(&gone, 1);
        assert!(text.ends_with("Z task t[2J is forgotten\n"), "{text:?}");
        let object = json!({ "change": "task_gone", "id": "t\u{1b}[2J", "framework_id": "f" });
        assert_eq!(change_json(&gone), object);
        assert_eq!(line(&Change::UpToDate(true), 1), "");
        assert_eq!(clock(3_723_000, 3_724_000), "01:02:03Z");
    }

    #[test]
    fn tasks_have_the_time_of_their_status_and_those_that_had_ended_are_told_where_asked_for() {
        let task = |state: v1::TaskState| {
            Change::Task(v1::Task {
                id: "t".to_owned(),
                host: "h".to_owned(),
                status: Some(v1::Status {
                    state: state.into(),
                    wall_ms: 3_723_000,
                    ..v1::Status::default()
                }),
                ..v1::Task::default()
            })
        };
        let ended = task(v1::TaskState::Finished);
        let text = line(&ended, 3_800_000);
        assert_eq!(text, "01:02:03Z task t on h: finished\n");
        let text = line(&ended, 3_800_000 + 86_400_000);
        assert_eq!(text, "1970-01-01T01:02:03Z task t on h: finished\n");
        for (kept, format) in [
            (Ended::Told, Format::Table),
            (Ended::LeftOut, Format::Table),
            (Ended::LeftOut, Format::Json),
        ] {
            let mut shown = Shown {
                format,
                ended: kept,
                is_beginning: false,
                has_told: false,
            };
            let mut is_told = |change: &Change| shown.text(change, "1-2").contains("finished");
            is_told(&Change::Begins(v1::Begins::default()));
            assert_eq!(is_told(&ended), kept == Ended::Told);
            is_told(&Change::UpToDate(true));
            assert!(is_told(&ended), "it ends while it is followed");
            let why = Some(v1::Problem::default());
            is_told(&Change::Begins(v1::Begins { why }));
            assert!(is_told(&ended), "it may have ended while nobody was told");
        }
        let mut shown = Shown {
            format: Format::Table,
            ended: Ended::LeftOut,
            is_beginning: true,
            has_told: false,
        };
        // It breaks off before all is told, and begins once more: what was left out is again, until something is told.
        let begins = Change::Begins(v1::Begins::default());
        for _ in 0..2 {
            shown.text(&begins, "");
            assert_eq!(shown.text(&ended, ""), "");
        }
        // Until then nothing runs; after it what runs may end while nobody is told, also where it breaks off once more.
        let why = Some(v1::Problem::default());
        let anew = Change::Begins(v1::Begins { why });
        for told in [Change::UpToDate(true), anew] {
            let mut shown = Shown { ..shown };
            shown.text(&told, "");
            shown.text(&begins, "");
            assert!(shown.text(&ended, "").ends_with("finished\n"));
        }
        let running = task(v1::TaskState::Running);
        assert!(shown.text(&running, "").ends_with("running\n"));
        shown.text(&begins, "");
        assert!(shown.text(&ended, "").ends_with("finished\n"));
    }

    #[test]
    fn of_changes_that_come_together_only_the_last_is_behind_them_all() {
        let gone = |id: &str| v1::Change {
            change: Some(Change::OfferGone(id.to_owned())),
        };
        let changes = ["1", "2", "3"].map(gone);
        let positions = |changes| placed(changes, "before", "behind").map(|(_, it)| it);
        let told: Vec<&str> = positions(&changes[..]).collect();
        assert_eq!(told, ["before", "before", "behind"]);
        let told: Vec<&str> = positions(&changes[..1]).collect();
        assert_eq!(told, ["behind"]);
    }

    #[test]
    fn a_watch_that_was_left_unread_goes_on_where_it_was() {
        let at = |position: &str| v1::WatchRequest {
            position: position.to_owned(),
            ..v1::WatchRequest::default()
        };
        let problem = |code| Problem::new(code, "why");
        for (code, position, passes) in [
            (code::WATCH_EXPIRED, "1-2", true),
            (code::WATCH_EXPIRED, "", false),
            (code::PEER_UNREACHABLE, "", true),
            (code::MASTER_NOT_LEADING, "1-2", true),
            (code::OVERLOADED, "1-2", false),
        ] {
            assert_eq!(
                is_passing(&problem(code), &at(position)),
                passes,
                "{position}"
            );
        }
    }
}
