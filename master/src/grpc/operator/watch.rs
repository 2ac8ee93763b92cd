//! A watch: what is there, then each change.
//!
//! A reader asks for the next response when it has taken the last one, and only then is anything looked up: however slowly it
//! reads, nothing waits for it, and nothing is kept for it but its place. Who falls behind what is remembered begins anew. The
//! subtle thing: the snapshot is told page by page from tables that go on changing, and what changed since it began is told
//! again after it, so that in the end nothing is missing.

use std::collections::BTreeSet;
use std::pin::Pin;

use futures::{Stream, stream};
use proffer_model::{AgentId, FrameworkId, Problem, code};
use proffer_proto::{encode_problem, status_of, v1};
use prost::Message;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};
use tonic::Status;
use v1::WatchKind;
use v1::change::Change;

use super::encode::{encode_agent, encode_executor, encode_framework, encode_offer, encode_task};
use super::lists;
use super::page::{decode_filter, passes};
use crate::inbox::not_leading;
use crate::limits::{PAGE_ROWS_BYTES_MAX, WATCH_HEARTBEAT_INTERVAL};
use crate::tenure::Tenure;
use crate::view::{Changed, Followed, Snapshot, View};

/// What is told, one kind after the other.
const KINDS: [WatchKind; 5] = [
    WatchKind::Agents,
    WatchKind::Frameworks,
    WatchKind::Tasks,
    WatchKind::Offers,
    WatchKind::Executors,
];

/// The stream of a watch.
pub(in crate::grpc) type Responses =
    Pin<Box<dyn Stream<Item = Result<v1::WatchResponse, Status>> + Send>>;

/// One watch.
pub(super) struct Watch {
    view: View,
    tenure: Tenure,
    epoch: u64,
    wanted: Wanted,
    stage: Stage,
    _place: OwnedSemaphorePermit,
}

/// What passes.
struct Wanted {
    kinds: Vec<WatchKind>,
    framework: Option<FrameworkId>,
    agent: Option<AgentId>,
}

/// How far it is.
enum Stage {
    /// A snapshot is to begin.
    Beginning(Option<Problem>),
    /// Of a snapshot of the changes up to `since`, this kind is told from this page on.
    Listing {
        since: u64,
        kind: usize,
        page_token: String,
    },
    /// Everything up to this change is told.
    Following(u64),
}

impl Watch {
    /// As it was asked for.
    pub(super) fn new(
        asked: &v1::WatchRequest,
        view: View,
        tenure: Tenure,
        epoch: u64,
        place: OwnedSemaphorePermit,
    ) -> Result<Self, Problem> {
        let mut kinds = Vec::new();
        for (index, kind) in asked.kinds.iter().enumerate() {
            match WatchKind::try_from(*kind) {
                Ok(kind) if kind != WatchKind::Unspecified => kinds.push(kind),
                _ => {
                    return Err(Problem::new(code::FIELD_INVALID, "there is no such kind")
                        .field(format!("kinds[{index}]"))
                        .hint("use a value of the published .proto file of this version"));
                }
            }
        }
        let wanted = Wanted {
            kinds,
            framework: decode_filter(&asked.framework_id, "framework_id")?,
            agent: decode_filter(&asked.agent_id, "agent_id")?,
        };
        Ok(Self {
            view,
            tenure,
            epoch,
            wanted,
            stage: first_stage(&asked.position, epoch)?,
            _place: place,
        })
    }

    /// Its responses, until the term ends.
    pub(super) fn responses(self) -> Responses {
        Box::pin(stream::unfold(Some(self), |watch| async {
            let mut watch = watch?;
            match watch.next().await {
                Ok(response) => Some((Ok(response), Some(watch))),
                Err(problem) => Some((Err(status_of(problem)), None)),
            }
        }))
    }

    async fn next(&mut self) -> Result<v1::WatchResponse, Problem> {
        let deadline = Instant::now() + WATCH_HEARTBEAT_INTERVAL;
        loop {
            if !self.tenure.takes_calls() {
                return Err(not_leading());
            }
            let changes = match &mut self.stage {
                Stage::Beginning(why) => {
                    let why = why.as_ref().map(encode_problem);
                    self.stage = Stage::Listing {
                        since: self.view.snapshot().await?.sequence,
                        kind: 0,
                        page_token: String::new(),
                    };
                    vec![Change::Begins(v1::Begins { why })]
                }
                Stage::Listing { .. } => self.list().await?,
                Stage::Following(after) => {
                    let after = *after;
                    match timeout_at(deadline, self.view.follow(after)).await {
                        Err(_) => return Ok(self.response(Vec::new())),
                        Ok(followed) => self.follow(after, followed?),
                    }
                }
            };
            if !changes.is_empty() {
                return Ok(self.response(changes));
            }
        }
    }

    /// The next page of the snapshot.
    async fn list(&mut self) -> Result<Vec<Change>, Problem> {
        let Stage::Listing {
            since,
            kind,
            page_token,
        } = &mut self.stage
        else {
            return Ok(Vec::new());
        };
        let Some(of) = KINDS.get(*kind) else {
            self.stage = Stage::Following(*since);
            return Ok(vec![Change::UpToDate(true)]);
        };
        let mut changes = Vec::new();
        if self.wanted.has(*of) {
            let snapshot = self.view.snapshot().await?;
            (changes, *page_token) =
                self.wanted
                    .page(&snapshot, *of, std::mem::take(page_token))?;
        }
        if page_token.is_empty() {
            *kind += 1;
        }
        Ok(changes)
    }

    /// What has changed since, of each row once.
    fn follow(&mut self, after: u64, followed: Followed) -> Vec<Change> {
        let Followed::Changes { snapshot, changes } = followed else {
            let message = "more has changed since this position than is remembered";
            self.stage = Stage::Beginning(Some(expired(message)));
            return Vec::new();
        };
        let mut later = BTreeSet::new();
        let mut last: Vec<bool> = changes.iter().rev().map(|key| later.insert(key)).collect();
        last.reverse();
        let (mut told, mut bytes, mut upto) = (Vec::new(), 0, after);
        for (changed, is_last) in changes.iter().zip(last) {
            if bytes >= PAGE_ROWS_BYTES_MAX {
                break;
            }
            upto += 1;
            if is_last && let Some(change) = self.wanted.change(&snapshot, changed) {
                let change = v1::Change {
                    change: Some(change),
                };
                bytes += change.encoded_len();
                told.extend(change.change);
            }
        }
        self.stage = Stage::Following(upto);
        told
    }

    fn response(&self, changes: Vec<Change>) -> v1::WatchResponse {
        let changes = changes.into_iter().map(|change| v1::Change {
            change: Some(change),
        });
        v1::WatchResponse {
            position: match &self.stage {
                Stage::Following(upto) => format!("{}-{upto}", self.epoch),
                Stage::Beginning(_) | Stage::Listing { .. } => String::new(),
            },
            changes: changes.collect(),
        }
    }
}

impl Wanted {
    fn has(&self, kind: WatchKind) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind)
    }

    /// A page of what is there, and the token of the next one.
    fn page(
        &self,
        snapshot: &Snapshot,
        kind: WatchKind,
        page_token: String,
    ) -> Result<(Vec<Change>, String), Problem> {
        let text = |id: Option<&dyn ToString>| id.map(ToString::to_string).unwrap_or_default();
        let framework_id = text(self.framework.as_ref().map(|id| id as &dyn ToString));
        let agent_id = text(self.agent.as_ref().map(|id| id as &dyn ToString));
        Ok(match kind {
            WatchKind::Unspecified => (Vec::new(), String::new()),
            WatchKind::Agents => {
                let asked = v1::ListAgentsRequest {
                    page_token,
                    agent_id,
                    ..v1::ListAgentsRequest::default()
                };
                let listed = lists::agents(snapshot, &asked)?;
                (all(listed.agents, Change::Agent), listed.next_page_token)
            }
            WatchKind::Frameworks => {
                let asked = v1::ListFrameworksRequest {
                    page_token,
                    framework_id,
                    ..v1::ListFrameworksRequest::default()
                };
                let listed = lists::frameworks(snapshot, &asked)?;
                let changes = all(listed.frameworks, Change::Framework);
                (changes, listed.next_page_token)
            }
            WatchKind::Tasks => {
                let asked = v1::ListTasksRequest {
                    page_token,
                    framework_id,
                    agent_id,
                    ..v1::ListTasksRequest::default()
                };
                let listed = lists::tasks(snapshot, &asked)?;
                (all(listed.tasks, Change::Task), listed.next_page_token)
            }
            WatchKind::Offers => {
                let asked = v1::ListOffersRequest {
                    page_token,
                    framework_id,
                    agent_id,
                    ..v1::ListOffersRequest::default()
                };
                let listed = lists::offers(snapshot, &asked)?;
                (all(listed.offers, Change::Offer), listed.next_page_token)
            }
            WatchKind::Executors => {
                let asked = v1::ListExecutorsRequest {
                    page_token,
                    framework_id,
                    agent_id,
                    ..v1::ListExecutorsRequest::default()
                };
                let listed = lists::executors(snapshot, &asked)?;
                let changes = all(listed.executors, Change::Executor);
                (changes, listed.next_page_token)
            }
        })
    }

    /// How a row that has changed is now, or that it is gone; nothing if it does not pass.
    fn change(&self, snapshot: &Snapshot, changed: &Changed) -> Option<Change> {
        let is_of = |framework: &FrameworkId| passes(self.framework.as_ref(), framework);
        let is_on = |agent: &AgentId| passes(self.agent.as_ref(), agent);
        match changed {
            Changed::Agent(id) => {
                let is_wanted = self.has(WatchKind::Agents) && is_on(id);
                let row = snapshot.agents.get(id).filter(|_| is_wanted)?;
                Some(Change::Agent(encode_agent(row)))
            }
            Changed::Framework(id) if self.has(WatchKind::Frameworks) && is_of(id) => {
                Some(match snapshot.frameworks.get(id) {
                    Some(row) => Change::Framework(encode_framework(row)),
                    None => Change::FrameworkGone(id.to_string()),
                })
            }
            Changed::Task(framework, task) if self.has(WatchKind::Tasks) && is_of(framework) => {
                let Some(row) = snapshot.tasks.get(&(framework.clone(), task.clone())) else {
                    return Some(Change::TaskGone(v1::TaskGone {
                        framework_id: framework.to_string(),
                        task_id: task.to_string(),
                    }));
                };
                let agent = snapshot.agents.get(&row.agent).map(AsRef::as_ref);
                is_on(&row.agent).then(|| Change::Task(encode_task(row, agent)))
            }
            Changed::Offer(id) if self.has(WatchKind::Offers) => {
                let Some(row) = snapshot.offers.get(id) else {
                    return Some(Change::OfferGone(id.to_string()));
                };
                let is_wanted = is_of(&row.framework) && is_on(&row.agent);
                is_wanted.then(|| Change::Offer(encode_offer(row)))
            }
            Changed::Executor(agent, framework, executor)
                if self.has(WatchKind::Executors) && is_of(framework) && is_on(agent) =>
            {
                let key = (agent.clone(), framework.clone(), executor.clone());
                Some(match snapshot.executors.get(&key) {
                    Some(row) => Change::Executor(encode_executor(row)),
                    None => Change::ExecutorGone(v1::ExecutorGone {
                        agent_id: agent.to_string(),
                        framework_id: framework.to_string(),
                        executor_id: executor.to_string(),
                    }),
                })
            }
            Changed::Framework(_)
            | Changed::Task(..)
            | Changed::Offer(_)
            | Changed::Executor(..) => None,
        }
    }
}

fn all<T>(rows: Vec<T>, change: impl Fn(T) -> Change) -> Vec<Change> {
    rows.into_iter().map(change).collect()
}

/// Where a watch with this position begins. A position is the term and the number of the last change, `3-1200`.
fn first_stage(position: &str, epoch: u64) -> Result<Stage, Problem> {
    if position.is_empty() {
        return Ok(Stage::Beginning(None));
    }
    let parts = position.split_once('-');
    let numbers: Option<(u64, u64)> =
        parts.and_then(|(term, number)| Some((term.parse().ok()?, number.parse().ok()?)));
    let Some((term, number)) = numbers else {
        return Err(
            Problem::new(code::FIELD_INVALID, "this is no position of a watch")
                .field("position")
                .hint("give the position of the last response, or nothing to begin anew"),
        );
    };
    Ok(match term == epoch {
        true => Stage::Following(number),
        false => Stage::Beginning(Some(expired("the position is of another leadership term"))),
    })
}

fn expired(message: &str) -> Problem {
    Problem::new(code::WATCH_EXPIRED, message)
        .field("position")
        .hint("forget what was told before; everything that is there is told anew")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(position: &str) -> Result<Stage, Problem> {
        first_stage(position, 3)
    }

    #[test]
    fn positions_go_on_in_their_own_term_alone() {
        assert!(matches!(stage(""), Ok(Stage::Beginning(None))));
        assert!(matches!(stage("3-7"), Ok(Stage::Following(7))));
        for other in ["2-7", "4-7"] {
            let Ok(Stage::Beginning(Some(problem))) = stage(other) else {
                panic!("{other} goes on")
            };
            assert!(problem.is(code::WATCH_EXPIRED), "{problem}");
        }
        for wrong in ["3", "3-", "-7", "3-7-1", "x-7"] {
            let Err(problem) = stage(wrong) else {
                panic!("{wrong} is a position")
            };
            assert_eq!(
                (&*problem.code, &*problem.field),
                ("field.invalid", "position")
            );
        }
    }
}
