//! A watch: what is there, then each change.
//!
//! A reader asks for the next response when it has taken the last one, and only then is anything looked up: however slowly it
//! reads, nothing waits for it, and nothing is kept for it but its place. Who falls behind what is remembered begins anew. The
//! subtle thing: the snapshot is told page by page from tables that go on changing, and what changed since it began is told
//! again after it, so that in the end nothing is missing.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

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
use super::page::{check_entries, decode_filter, passes};
use super::{Desk, lists};
use crate::inbox::not_leading;
use crate::limits::{
    FOLLOW_CHANGES_MAX, PAGE_LEN_MAX, PAGE_ROWS_BYTES_MAX, WATCH_HEARTBEAT_INTERVAL,
};
use crate::view::{Changed, Changes, Followed, Snapshot};

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
    desk: Desk,
    wanted: Arc<Wanted>,
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
        desk: Desk,
        place: OwnedSemaphorePermit,
    ) -> Result<Self, Problem> {
        check_entries(asked.kinds.len(), "kinds")?;
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
            stage: first_stage(&asked.position, desk.epoch.0)?,
            desk,
            wanted: Arc::new(wanted),
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
            let changes = match &mut self.stage {
                Stage::Beginning(why) => {
                    let why = why.as_ref().map(encode_problem);
                    self.stage = Stage::Listing {
                        since: self.desk.view.snapshot().await?.sequence,
                        kind: 0,
                        page_token: String::new(),
                    };
                    Some(vec![Change::Begins(v1::Begins { why })])
                }
                Stage::Listing { .. } => self.list().await?,
                Stage::Following(after) => {
                    let after = *after;
                    match timeout_at(deadline, self.desk.view.follow(after)).await {
                        Err(_) => Some(Vec::new()),
                        Ok(followed) => self.follow(after, followed?).await?,
                    }
                }
            };
            // What was waited for may have outlived the term.
            if !self.desk.tenure.takes_calls() {
                return Err(not_leading());
            }
            if let Some(changes) = changes {
                return Ok(self.response(changes));
            }
        }
    }

    /// The next page of the snapshot, if there is anything in it.
    async fn list(&mut self) -> Result<Option<Vec<Change>>, Problem> {
        let Stage::Listing {
            since,
            kind,
            page_token,
        } = &mut self.stage
        else {
            return Ok(None);
        };
        let Some(of) = KINDS.get(*kind).copied() else {
            self.stage = Stage::Following(*since);
            return Ok(Some(vec![Change::UpToDate(true)]));
        };
        let mut changes = Vec::new();
        if self.wanted.has(of) {
            let (wanted, token) = (Arc::clone(&self.wanted), std::mem::take(page_token));
            let page = self
                .desk
                .write_of_now(move |snapshot| wanted.page(snapshot, of, token));
            (changes, *page_token) = page.await??;
        }
        if page_token.is_empty() {
            *kind += 1;
        }
        Ok((!changes.is_empty()).then_some(changes))
    }

    /// What has changed since, if anything that passes.
    async fn follow(
        &mut self,
        after: u64,
        followed: Followed,
    ) -> Result<Option<Vec<Change>>, Problem> {
        let wanted = Arc::clone(&self.wanted);
        let Followed { snapshot, changes } = followed;
        let told = self
            .desk
            .write(move || wanted.changes(&snapshot, &changes, after));
        let Some((told, upto)) = told.await? else {
            let message = "more has changed since this position than is remembered";
            self.stage = Stage::Beginning(Some(expired(message)));
            return Ok(None);
        };
        self.stage = Stage::Following(upto);
        Ok((!told.is_empty()).then_some(told))
    }

    fn response(&self, changes: Vec<Change>) -> v1::WatchResponse {
        let changes = changes.into_iter().map(|change| v1::Change {
            change: Some(change),
        });
        v1::WatchResponse {
            position: match &self.stage {
                Stage::Following(upto) => format!("{}-{upto}", self.desk.epoch),
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

    /// What passes of the changes after this one, of each row once, and the number of the last that was looked at; nothing when
    /// some are forgotten, or when there is no such number.
    fn changes(
        &self,
        snapshot: &Snapshot,
        changes: &Changes,
        after: u64,
    ) -> Option<(Vec<Change>, u64)> {
        let changes: Vec<&Changed> = changes.after(after)?.take(FOLLOW_CHANGES_MAX).collect();
        let mut later = BTreeSet::new();
        let mut last: Vec<bool> = changes.iter().rev().map(|key| later.insert(key)).collect();
        last.reverse();
        let (mut told, mut bytes, mut upto) = (Vec::new(), 0, after);
        for (changed, is_last) in changes.iter().zip(last) {
            if bytes >= PAGE_ROWS_BYTES_MAX {
                break;
            }
            upto += 1;
            if is_last && let Some(change) = self.change(snapshot, changed) {
                let change = v1::Change {
                    change: Some(change),
                };
                bytes += change.encoded_len();
                told.extend(change.change);
            }
        }
        Some((told, upto))
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
        let page_size = u32::try_from(PAGE_LEN_MAX).unwrap_or(u32::MAX);
        Ok(match kind {
            WatchKind::Unspecified => (Vec::new(), String::new()),
            WatchKind::Agents => {
                let asked = v1::ListAgentsRequest {
                    page_size,
                    page_token,
                    agent_id,
                    ..v1::ListAgentsRequest::default()
                };
                let listed = lists::agents(snapshot, &asked)?;
                (all(listed.agents, Change::Agent), listed.next_page_token)
            }
            WatchKind::Frameworks => {
                let asked = v1::ListFrameworksRequest {
                    page_size,
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
                    page_size,
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
                    page_size,
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
                    page_size,
                    page_token,
                    framework_id,
                    agent_id,
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
                is_wanted.then(|| match snapshot.agents.get(id) {
                    Some(row) => Change::Agent(encode_agent(row)),
                    None => Change::AgentGone(id.to_string()),
                })
            }
            Changed::Framework(id) if self.has(WatchKind::Frameworks) && is_of(id) => {
                Some(match snapshot.frameworks.get(id) {
                    Some(row) => Change::Framework(encode_framework(row)),
                    None => Change::FrameworkGone(id.to_string()),
                })
            }
            Changed::Task(framework, task) if self.has(WatchKind::Tasks) && is_of(framework) => {
                let row = snapshot.tasks.get(&(framework.clone(), task.clone()))?;
                let agent = snapshot.agents.get(&row.agent).map(AsRef::as_ref);
                is_on(&row.agent).then(|| Change::Task(encode_task(row, agent)))
            }
            Changed::TaskLeft(framework, task, agent)
                if self.has(WatchKind::Tasks) && is_of(framework) && is_on(agent) =>
            {
                let row = snapshot.tasks.get(&(framework.clone(), task.clone()));
                // One that passes again tells of itself.
                let passes = row.is_some_and(|row| is_on(&row.agent));
                (!passes).then(|| {
                    Change::TaskGone(v1::TaskGone {
                        framework_id: framework.to_string(),
                        task_id: task.to_string(),
                    })
                })
            }
            Changed::Offer(id) if self.has(WatchKind::Offers) => {
                let row = snapshot.offers.get(id)?;
                let is_wanted = is_of(&row.framework) && is_on(&row.agent);
                is_wanted.then(|| Change::Offer(encode_offer(row)))
            }
            Changed::OfferGone(id, framework, agent) => {
                let is_wanted = self.has(WatchKind::Offers) && is_of(framework) && is_on(agent);
                is_wanted.then(|| Change::OfferGone(id.to_string()))
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
            | Changed::TaskLeft(..)
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

/// The change after which a watch with this position goes on in this term; for `parsers.rs`.
pub(crate) fn followed_from(position: &str, epoch: u64) -> Result<Option<u64>, Problem> {
    Ok(match first_stage(position, epoch)? {
        Stage::Following(number) => Some(number),
        Stage::Beginning(_) | Stage::Listing { .. } => None,
    })
}

fn expired(message: &str) -> Problem {
    Problem::new(code::WATCH_EXPIRED, message)
        .field("position")
        .hint("forget what was told before; everything that is there is told anew")
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use proffer_master_core::effect::{Fact, OfferRow};
    use proffer_master_core::event::Seq;
    use proffer_model::{Epoch, Resources, TaskState};
    use proffer_proto::problem_of;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::background::Background;
    use crate::limits::{BACKGROUND_NICENESS, CHANGES_REMEMBERED_MAX};
    use crate::metrics::ClusterMetrics;
    use crate::tenure::Tenure;
    use crate::view::facts::{framework_row, task_on};
    use crate::view::{self, Feed};

    /// A view that was told this, and where watches of it are written.
    fn desk(mut facts: Vec<Fact>) -> (Feed, Desk) {
        let (view, mut feed) = view::start(ClusterMetrics::default()).expect("a view");
        feed.tell(&mut facts, Seq(0)).expect("told");
        let desk = Desk {
            view,
            tenure: Tenure::forever(),
            epoch: Epoch(3),
            places: Arc::new(Semaphore::new(1)),
            background: Background::start().expect("threads"),
        };
        (feed, desk)
    }

    #[tokio::test]
    async fn lists_are_written_with_a_lower_priority_than_what_is_told_of_changes() {
        let (_feed, desk) = desk(Vec::new());
        let niceness = || rustix::process::getpriority_process(None).expect("a priority");
        let own = niceness();
        assert_eq!(desk.write(niceness).await, Ok(own));
        let lower = (own + BACKGROUND_NICENESS).min(19);
        assert_eq!(desk.write_of_now(move |_| niceness()).await, Ok(lower));
    }

    fn open(desk: &Desk, asked: &v1::WatchRequest) -> Responses {
        let places = Arc::new(Semaphore::new(1));
        let place = places.try_acquire_owned().expect("a place");
        let watch = Watch::new(asked, desk.clone(), place);
        watch.expect("a watch").responses()
    }

    /// The next changes, until one that is wanted.
    async fn until(watch: &mut Responses, is_wanted: impl Fn(&Change) -> bool) -> Vec<Change> {
        let mut told = Vec::new();
        while !told.last().is_some_and(&is_wanted) {
            let response = watch.next().await.expect("open").expect("a response");
            told.extend(response.changes.into_iter().filter_map(|it| it.change));
        }
        told
    }

    async fn up_to_date(watch: &mut Responses) -> Vec<Change> {
        until(watch, |change| matches!(change, Change::UpToDate(_))).await
    }

    /// In words.
    fn said(changes: &[Change]) -> Vec<String> {
        let changes = changes.iter().map(|change| match change {
            Change::Task(task) => format!("{} on {}", task.id, task.agent_id),
            Change::TaskGone(gone) => format!("{} gone", gone.task_id),
            Change::Offer(offer) => offer.id.clone(),
            Change::OfferGone(id) => format!("{id} gone"),
            other => format!("{other:?}"),
        });
        changes.collect()
    }

    #[tokio::test]
    async fn a_task_that_is_of_another_agent_now_is_gone_for_who_watches_the_first() {
        let (mut feed, desk) = desk(vec![
            framework_row("f", 0),
            task_on("a", "f", 1, 1, TaskState::Failed),
        ]);
        let of = |agent_id: &str| v1::WatchRequest {
            agent_id: agent_id.into(),
            kinds: vec![WatchKind::Tasks.into()],
            ..v1::WatchRequest::default()
        };
        let mut watches: Vec<Responses> = ["a", "b", ""]
            .into_iter()
            .map(|agent_id| open(&desk, &of(agent_id)))
            .collect();
        for watch in &mut watches {
            up_to_date(watch).await;
        }
        let mut facts = vec![task_on("b", "f", 1, 2, TaskState::Running)];
        feed.tell(&mut facts, Seq(0)).expect("told");
        let mut told = Vec::new();
        for watch in &mut watches {
            told.push(said(&until(watch, |_| true).await));
        }
        assert_eq!(told, [["t1 gone"], ["t1 on b"], ["t1 on b"]]);
    }

    #[tokio::test]
    async fn offers_of_others_are_not_told_as_gone() {
        let offer = |id: &str, framework: &str| {
            Fact::Offer(Arc::new(OfferRow {
                offer: id.parse().expect("id"),
                framework: framework.parse().expect("id"),
                role: "*".parse().expect("role"),
                agent: "a".parse().expect("id"),
                resources: Resources::new(),
                fits: Vec::new(),
                made_wall_ms: 0,
                expires_wall_ms: 0,
            }))
        };
        let gone = |id: &str| Fact::OfferGone {
            offer: id.parse().expect("id"),
        };
        let (mut feed, desk) = desk(vec![offer("x", "e"), offer("y", "f")]);
        let asked = v1::WatchRequest {
            framework_id: "f".into(),
            kinds: vec![WatchKind::Offers.into()],
            ..v1::WatchRequest::default()
        };
        let mut watch = open(&desk, &asked);
        up_to_date(&mut watch).await;
        let mut facts = vec![gone("x"), gone("unknown"), gone("y"), offer("z", "f")];
        feed.tell(&mut facts, Seq(0)).expect("told");
        let told = until(&mut watch, |change| matches!(change, Change::Offer(_))).await;
        assert_eq!(said(&told), ["y gone", "z"]);
    }

    #[tokio::test]
    async fn who_falls_behind_begins_anew_and_who_does_not_hears_the_one_change_among_many() {
        let (mut feed, desk) = desk(vec![framework_row("f", 0)]);
        let asked = |position: &str| v1::WatchRequest {
            position: position.into(),
            kinds: vec![WatchKind::Tasks.into()],
            ..v1::WatchRequest::default()
        };
        let mut many = vec![framework_row("f", 1); CHANGES_REMEMBERED_MAX - 1];
        many.push(task_on("a", "f", 1, 1, TaskState::Running));
        feed.tell(&mut many, Seq(0)).expect("told");
        let mut watch = open(&desk, &asked("3-1"));
        let told = until(&mut watch, |_| true).await;
        assert_eq!(said(&told), ["t1 on a"]);
        let mut many = vec![framework_row("f", 2); 1_000];
        feed.tell(&mut many, Seq(0)).expect("told");
        for position in ["3-1", "3-18446744073709551615"] {
            let mut watch = open(&desk, &asked(position));
            let told = up_to_date(&mut watch).await;
            let Some(Change::Begins(v1::Begins { why: Some(why) })) = told.first() else {
                panic!("{told:?}")
            };
            assert_eq!(why.code, code::WATCH_EXPIRED.name);
        }
    }

    #[tokio::test]
    async fn a_watch_says_nothing_after_its_term() {
        let (mut feed, desk) = desk(Vec::new());
        let mut watch = open(&desk, &v1::WatchRequest::default());
        up_to_date(&mut watch).await;
        let mut next = watch.next();
        assert!(futures::poll!(&mut next).is_pending());
        desk.tenure.end();
        let mut facts = vec![framework_row("f", 0)];
        feed.tell(&mut facts, Seq(0)).expect("told");
        let ended = next.await.expect("why").expect_err("it is over");
        assert!(problem_of(&ended).is(code::MASTER_NOT_LEADING), "{ended}");
    }

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
