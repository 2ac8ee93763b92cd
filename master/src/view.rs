//! The view: what readers see of the cluster. A thread of its own applies the core's facts to tables and answers every
//! query from a snapshot of them, so that no reader, however slow, is ever in the core's way.
//!
//! Queries travel in the same queue as facts, so a reader finds everything that was decided before it asked. Making a
//! snapshot is cheap (see [`pages`]) but makes the next changes dearer, so it happens only when someone asks, and at
//! most once in [`VIEW_PUBLISH_INTERVAL`]. Who follows what changes asks again and again for what is new since: nothing is kept
//! for them, so they may read as slowly as they like.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Instant;

use proffer_master_core::effect::Fact;
use proffer_model::{Problem, code};
use tokio::sync::oneshot;

use crate::inbox::{not_leading, overloaded};
use crate::limits::{FOLLOW_CHANGES_MAX, VIEW_CHANNEL_LEN, VIEW_PUBLISH_INTERVAL};
use crate::metrics::ClusterMetrics;

mod history;
mod journal;
pub(crate) mod pages;
mod tables;

pub(crate) use history::Changed;
pub(crate) use tables::Snapshot;
use tables::Tables;

#[derive(Debug)]
enum Message {
    Facts(Vec<Fact>),
    Query(oneshot::Sender<Arc<Snapshot>>),
    Follow(Follower),
}

/// Who wants to know what has changed after a number.
#[derive(Debug)]
struct Follower {
    after: u64,
    answer: oneshot::Sender<Followed>,
}

/// What has changed.
#[derive(Debug)]
pub(crate) enum Followed {
    /// The first changes after the number, and how things are now.
    Changes {
        /// Not earlier than the changes.
        snapshot: Arc<Snapshot>,
        /// In their order.
        changes: Vec<Changed>,
    },
    /// Some of it is forgotten, or there is no such number.
    Expired,
}

/// The readers' end. Does not keep the view alive: it ends with its term, whoever still asks.
#[derive(Clone, Debug)]
pub(crate) struct View {
    messages: Weak<SyncSender<Message>>,
}

/// The driver's end.
#[derive(Debug)]
pub(crate) struct Feed {
    messages: Arc<SyncSender<Message>>,
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
    let view = View {
        messages: Arc::downgrade(&messages),
    };
    Ok((view, Feed { messages, thread }))
}

impl Feed {
    /// Tells the view; what it cannot take now stays in `facts`. Never waits.
    pub(crate) fn tell(&self, facts: &mut Vec<Fact>) {
        if facts.is_empty() {
            return;
        }
        match self
            .messages
            .try_send(Message::Facts(std::mem::take(facts)))
        {
            Err(TrySendError::Full(Message::Facts(kept))) => *facts = kept,
            Err(TrySendError::Disconnected(_)) => {
                tracing::error!("the view has ended; readers see nothing")
            }
            Ok(()) | Err(TrySendError::Full(Message::Query(_) | Message::Follow(_))) => {}
        }
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
        answered.await.map_err(|_| not_leading())
    }

    /// What has changed after the change of this number; waits until something has.
    pub(crate) async fn follow(&self, after: u64) -> Result<Followed, Problem> {
        let (answer, answered) = oneshot::channel();
        self.ask(Message::Follow(Follower { after, answer }))?;
        answered.await.map_err(|_| not_leading())
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
    let mut published = Arc::new(tables.snapshot());
    let mut published_at = Instant::now();
    let mut waiting = Waiting::default();
    loop {
        let rest = VIEW_PUBLISH_INTERVAL.saturating_sub(published_at.elapsed());
        let message = match waiting.is_any(tables.sequence()) {
            true => incoming.recv_timeout(rest),
            false => incoming.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match message {
            Ok(Message::Facts(facts)) => {
                for fact in facts {
                    journal::log(&fact);
                    journal::count(&fact, metrics);
                    tables.apply(fact);
                }
                tables.measure(metrics);
            }
            Ok(Message::Query(answer)) => waiting.queries.push(answer),
            Ok(Message::Follow(follower)) => waiting.follow(follower),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return metrics.forget(),
        }
        if !waiting.is_any(tables.sequence()) {
            continue;
        }
        let is_outdated = published.sequence != tables.sequence();
        let is_time = published_at.elapsed() >= VIEW_PUBLISH_INTERVAL;
        if !is_outdated || is_time || waiting.queries.len() >= VIEW_CHANNEL_LEN {
            if is_outdated {
                published = Arc::new(tables.snapshot());
                published_at = Instant::now();
            }
            waiting.answer(&published, &tables);
        }
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
        for follower in self.followers.extract_if(.., |it| it.after != last) {
            let followed = match tables.changes_after(follower.after, FOLLOW_CHANGES_MAX) {
                Some(changes) => Followed::Changes {
                    snapshot: Arc::clone(published),
                    changes,
                },
                None => Followed::Expired,
            };
            let _ = follower.answer.send(followed);
        }
    }
}

#[cfg(test)]
mod tests {
    use proffer_model::FrameworkId;

    use super::*;

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
            description,
            state: proffer_model::AgentState::Connected,
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
        let (view, feed) = start(ClusterMetrics::default()).expect("a thread");
        let mut earlier = view.snapshot().await.expect("a snapshot");
        for number in 1..=100 {
            feed.tell(&mut vec![agent(number)]);
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

    #[test]
    fn what_the_view_cannot_take_is_kept_and_told_later() {
        let (messages, incoming) = sync_channel(1);
        let feed = Feed {
            messages: Arc::new(messages),
            thread: thread::spawn(|| {}),
        };
        let framework: FrameworkId = "f".parse().expect("id");
        let mut facts = vec![Fact::FrameworkGone { framework }];
        feed.tell(&mut facts);
        assert!(facts.is_empty());
        facts.push(agent(1));
        feed.tell(&mut facts);
        facts.push(agent(2));
        assert_eq!(facts.len(), 2, "there was no room");
        incoming.recv().expect("the first");
        feed.tell(&mut facts);
        assert!(facts.is_empty());
        let Ok(Message::Facts(told)) = incoming.recv() else {
            panic!("the others")
        };
        assert_eq!(told, [agent(1), agent(2)]);
    }

    #[tokio::test]
    async fn a_view_whose_thread_is_gone_says_so() {
        let (view, feed) = start(ClusterMetrics::default()).expect("a thread");
        view.snapshot().await.expect("a snapshot");
        feed.finish();
        let problem = view.snapshot().await.expect_err("gone");
        assert!(problem.is(code::MASTER_NOT_LEADING), "{problem}");
    }
}
