//! The view: what readers see of the cluster. A thread of its own applies the core's facts to tables and answers every
//! query from a snapshot of them, so that no reader, however slow, is ever in the core's way.
//!
//! Queries travel in the same queue as facts, so a reader finds everything that was decided before it asked. Making a
//! snapshot is cheap (see [`pages`]) but makes the next changes dearer, so it happens only when someone asks, and at
//! most once in [`VIEW_PUBLISH_INTERVAL`]. Who follows what changes asks again and again for what is new since: nothing is kept
//! for them, so they may read as slowly as they like.
//!
//! Facts are told as soon as they are decided, so that who hears something finds it here; but nobody is shown them before what
//! they rest on is durable. Nor is anything shown before the first have been told: a term that has just begun is not empty.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Instant;

use proffer_master_core::effect::Fact;
use proffer_master_core::event::Seq;
use proffer_model::{Problem, code};
use proffer_server::clock;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use crate::inbox::{not_leading, overloaded};
use crate::limits::{REQUEST_TIMEOUT, VIEW_CHANNEL_LEN, VIEW_PUBLISH_INTERVAL};
use crate::metrics::ClusterMetrics;

mod completed;
mod history;
mod journal;
pub(crate) mod pages;
mod tables;

pub(crate) use completed::CompletedFramework;
pub(crate) use history::{Changed, Changes};
pub(crate) use tables::Snapshot;
use tables::Tables;
#[cfg(test)]
pub(crate) use tables::tests as facts;

#[derive(Debug)]
enum Message {
    /// With the last batch that they may rest on.
    Facts(Vec<Fact>, Seq),
    Query(oneshot::Sender<Arc<Snapshot>>),
    Follow(Follower),
}

/// Who wants to know what has changed after a number.
#[derive(Debug)]
struct Follower {
    after: u64,
    answer: oneshot::Sender<Followed>,
}

/// Something has changed.
#[derive(Debug)]
pub(crate) struct Followed {
    /// How things are now.
    pub(crate) snapshot: Arc<Snapshot>,
    /// The last changes that are in it.
    pub(crate) changes: Arc<Changes>,
}

/// The readers' end. Does not keep the view alive: it ends with its term, whoever still asks.
#[derive(Clone, Debug)]
pub(crate) struct View {
    messages: Weak<SyncSender<Message>>,
    durable: watch::Receiver<Seq>,
}

/// The driver's end.
#[derive(Debug)]
pub(crate) struct Feed {
    messages: Arc<SyncSender<Message>>,
    durable: watch::Sender<Seq>,
    /// Whether anything was told; until then readers wait.
    has_begun: bool,
    thread: thread::JoinHandle<()>,
}

/// Starts the view's thread; it ends when the driver's end is dropped.
pub(crate) fn start(metrics: ClusterMetrics) -> Result<(View, Feed), Problem> {
    let (messages, incoming) = sync_channel(VIEW_CHANNEL_LEN);
    let thread = thread::Builder::new()
        .name("view".into())
        .spawn(move || run(&incoming, &metrics))
        .map_err(|error| Problem::new(code::INTERNAL, format!("cannot start a thread: {error}")))?;
    let messages = Arc::new(messages);
    let (durable, is_durable) = watch::channel(Seq::default());
    let view = View {
        messages: Arc::downgrade(&messages),
        durable: is_durable,
    };
    let feed = Feed {
        messages,
        durable,
        has_begun: false,
        thread,
    };
    Ok((view, feed))
}

impl Feed {
    /// Tells the view what may rest on batches up to `written`; what it cannot take now stays in `facts`. Never waits.
    pub(crate) fn tell(&mut self, facts: &mut Vec<Fact>, written: Seq) -> Result<(), Problem> {
        if facts.is_empty() && self.has_begun {
            return Ok(());
        }
        let message = Message::Facts(std::mem::take(facts), written);
        match self.messages.try_send(message) {
            Ok(()) => self.has_begun = true,
            Err(TrySendError::Full(Message::Facts(kept, _))) => *facts = kept,
            Err(TrySendError::Full(Message::Query(_) | Message::Follow(_))) => {}
            Err(TrySendError::Disconnected(_)) => {
                let message = "the view has ended unexpectedly; readers would see nothing";
                return Err(Problem::new(code::INTERNAL, message));
            }
        }
        Ok(())
    }

    /// All batches up to this one are durable: what rests on them may be shown.
    pub(crate) fn durable(&self, seq: Seq) {
        self.durable.send_replace(seq);
    }

    /// Waits until the view has ended.
    pub(crate) fn finish(self) {
        drop(self.messages);
        if self.thread.join().is_err() {
            tracing::error!("the view's thread has panicked");
        }
    }
}

impl View {
    /// Everything as it is now or a little later.
    pub(crate) async fn snapshot(&self) -> Result<Arc<Snapshot>, Problem> {
        let (answer, answered) = oneshot::channel();
        self.ask(Message::Query(answer))?;
        let snapshot = answered.await.map_err(|_| not_leading())?;
        let durable = timeout(REQUEST_TIMEOUT, self.durable(&snapshot));
        let late = |_| overloaded("what was decided last is not durable yet");
        durable.await.map_err(late)??;
        Ok(snapshot)
    }

    /// How things are when something has changed after the change of this number, or when there is no such number; waits until
    /// then.
    pub(crate) async fn follow(&self, after: u64) -> Result<Followed, Problem> {
        let (answer, answered) = oneshot::channel();
        self.ask(Message::Follow(Follower { after, answer }))?;
        let followed = answered.await.map_err(|_| not_leading())?;
        self.durable(&followed.snapshot).await?;
        Ok(followed)
    }

    /// Waits until what it may rest on is durable.
    async fn durable(&self, snapshot: &Snapshot) -> Result<(), Problem> {
        let mut durable = self.durable.clone();
        let waited = durable.wait_for(|seq| *seq >= snapshot.written).await;
        waited.map(drop).map_err(|_| not_leading())
    }

    fn ask(&self, message: Message) -> Result<(), Problem> {
        let messages = self.messages.upgrade().ok_or_else(not_leading)?;
        messages.try_send(message).map_err(|error| match error {
            TrySendError::Full(_) => overloaded("too many queries wait"),
            TrySendError::Disconnected(_) => not_leading(),
        })
    }
}

fn run(incoming: &Receiver<Message>, metrics: &ClusterMetrics) {
    let mut tables = Tables::default();
    let mut published: Option<Arc<Snapshot>> = None;
    let mut published_at = Instant::now();
    let mut has_begun = false;
    let mut waiting = Waiting::default();
    loop {
        let rest = VIEW_PUBLISH_INTERVAL.saturating_sub(published_at.elapsed());
        let message = match has_begun && waiting.is_any(tables.sequence()) {
            true => incoming.recv_timeout(rest),
            false => incoming.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match message {
            Ok(Message::Facts(facts, written)) => {
                tables.now_wall_ms = clock::now().wall_ms;
                for fact in facts {
                    journal::log(&fact);
                    journal::count(&fact, metrics);
                    tables.apply(fact);
                }
                tables.written = written;
                tables.measure(metrics);
                has_begun = true;
            }
            Ok(Message::Query(answer)) => waiting.queries.push(answer),
            Ok(Message::Follow(follower)) => waiting.follow(follower),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return metrics.forget(),
        }
        if !has_begun || !waiting.is_any(tables.sequence()) {
            continue;
        }
        let newest = published.as_ref().filter(|it| tables.is_as_in(it));
        let is_time = published_at.elapsed() >= VIEW_PUBLISH_INTERVAL;
        let newest = match newest {
            Some(newest) => Arc::clone(newest),
            None if published.is_none() || is_time || waiting.queries.len() >= VIEW_CHANNEL_LEN => {
                published_at = Instant::now();
                Arc::new(tables.snapshot())
            }
            None => continue,
        };
        waiting.answer(&newest, &tables);
        published = Some(newest);
    }
}

/// Who waits for the next snapshot.
#[derive(Debug, Default)]
struct Waiting {
    queries: Vec<oneshot::Sender<Arc<Snapshot>>>,
    followers: Vec<Follower>,
}

impl Waiting {
    /// Those who have gone away are forgotten meanwhile.
    fn follow(&mut self, follower: Follower) {
        self.followers.retain(|other| !other.answer.is_closed());
        self.followers.push(follower);
    }

    /// Whether anybody can be answered when this is the number of the last change.
    fn is_any(&self, last: u64) -> bool {
        let mut followers = self.followers.iter();
        !self.queries.is_empty() || followers.any(|follower| follower.after != last)
    }

    /// Answers whom it can; one who has gone away does not want to know.
    fn answer(&mut self, published: &Arc<Snapshot>, tables: &Tables) {
        for answer in self.queries.drain(..) {
            let _ = answer.send(Arc::clone(published));
        }
        let last = published.sequence;
        let mut copy = None;
        for follower in self.followers.extract_if(.., |it| it.after != last) {
            let changes = copy.get_or_insert_with(|| Arc::new(tables.changes()));
            let _ = follower.answer.send(Followed {
                snapshot: Arc::clone(published),
                changes: Arc::clone(changes),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use proffer_model::FrameworkId;

    use super::*;

    fn tell(feed: &mut Feed, mut facts: Vec<Fact>) {
        feed.tell(&mut facts, Seq::default()).expect("it is there");
    }

    fn agent(number: u64) -> Fact {
        let description = proffer_model::AgentDescription {
            host: "h".into(),
            address: "h:1".into(),
            resources: proffer_model::Resources::new(),
            attributes: proffer_model::Attributes::default(),
            domain: None,
            version: "0".into(),
        };
        Fact::Agent(Box::new(proffer_master_core::effect::AgentRow {
            agent: format!("a{number}").parse().expect("id"),
            description: description.into(),
            state: proffer_model::AgentState::Connected,
            unreachable_since_wall_ms: None,
            is_settled: true,
            total: proffer_model::Resources::new(),
            missing: proffer_model::Resources::new(),
            is_deactivated: false,
            drain: None,
            drain_ends_wall_ms: None,
            used: proffer_model::Resources::new(),
            offered: proffer_model::Resources::new(),
            tasks: 0,
        }))
    }

    #[tokio::test]
    async fn who_asks_finds_everything_that_was_told_before() {
        let (view, mut feed) = start(ClusterMetrics::default()).expect("a thread");
        tell(&mut feed, vec![]);
        let mut earlier = view.snapshot().await.expect("a snapshot");
        for number in 1..=100 {
            tell(&mut feed, vec![agent(number)]);
            let snapshot = view.snapshot().await.expect("a snapshot");
            assert_eq!(
                snapshot.agents.iter().count(),
                usize::try_from(number).expect("small")
            );
            assert_eq!(
                earlier.agents.iter().count() + 1,
                snapshot.agents.iter().count()
            );
            earlier = snapshot;
        }
    }

    #[tokio::test]
    async fn nothing_is_shown_before_the_term_has_told_what_it_begins_with() {
        let (view, mut feed) = start(ClusterMetrics::default()).expect("a thread");
        let (mut early, mut follower) = (pin!(view.snapshot()), pin!(view.follow(7)));
        for _ in 0..100 {
            assert!(futures::poll!(early.as_mut()).is_pending());
            assert!(futures::poll!(follower.as_mut()).is_pending());
            thread::yield_now();
        }
        tell(&mut feed, vec![agent(1)]);
        let snapshot = early.await.expect("a snapshot");
        assert_eq!(snapshot.agents.iter().count(), 1);
        let followed = follower.await.expect("a snapshot");
        assert!(followed.changes.after(7).is_none(), "there is no such");
    }

    #[tokio::test]
    async fn nothing_is_shown_before_it_is_durable() {
        let (view, mut feed) = start(ClusterMetrics::default()).expect("a thread");
        let mut told = |number, written| {
            let said = feed.tell(&mut vec![agent(number)], Seq(written));
            said.expect("told");
        };
        told(1, 3);
        let (mut early, mut follower) = (pin!(view.snapshot()), pin!(view.follow(0)));
        for durable in [1, 2] {
            assert!(futures::poll!(early.as_mut()).is_pending());
            assert!(futures::poll!(follower.as_mut()).is_pending());
            feed.durable(Seq(durable));
        }
        feed.durable(Seq(3));
        early.await.expect("a snapshot");
        follower.await.expect("a change");
        view.snapshot().await.expect("durable by now");
    }

    #[test]
    fn what_the_view_cannot_take_is_kept_and_told_later() {
        let (messages, incoming) = sync_channel(1);
        let mut feed = Feed {
            messages: Arc::new(messages),
            durable: watch::Sender::default(),
            has_begun: false,
            thread: thread::spawn(|| {}),
        };
        let framework: FrameworkId = "f".parse().expect("id");
        let mut facts = vec![Fact::FrameworkGone { framework }];
        feed.tell(&mut facts, Seq(1)).expect("it is there");
        assert!(facts.is_empty());
        facts.push(agent(1));
        feed.tell(&mut facts, Seq(1)).expect("it is there");
        facts.push(agent(2));
        assert_eq!(facts.len(), 2, "there was no room");
        incoming.recv().expect("the first");
        feed.tell(&mut facts, Seq(1)).expect("it is there");
        assert!(facts.is_empty());
        let Ok(Message::Facts(told, Seq(1))) = incoming.recv() else {
            panic!("the others")
        };
        assert_eq!(told, [agent(1), agent(2)]);
        drop(incoming);
        let problem = feed.tell(&mut facts, Seq(1));
        assert_eq!(problem, Ok(()), "there is nothing to tell");
        let problem = feed.tell(&mut vec![agent(3)], Seq(1));
        assert!(problem.is_err_and(|problem| problem.is(code::INTERNAL)));
    }

    #[tokio::test]
    async fn a_view_whose_thread_is_gone_says_so() {
        let (view, mut feed) = start(ClusterMetrics::default()).expect("a thread");
        tell(&mut feed, vec![]);
        view.snapshot().await.expect("a snapshot");
        feed.finish();
        let problem = view.snapshot().await.expect_err("gone");
        assert!(problem.is(code::MASTER_NOT_LEADING), "{problem}");
    }
}
