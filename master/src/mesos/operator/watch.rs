//! `SUBSCRIBE` of the operator API: what is there, and then what changes.
//!
//! A subscriber is told the difference between two snapshots: what it was told last, and what is there now. Snapshots share
//! the pages that are the same, so it costs what has changed, and nothing is kept for a slow one but its last snapshot. What
//! a task went through in a moment is told as two events: that it is there, and how it is now.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use futures::{Stream, stream};
use proffer_master_core::effect::{AgentRow, FrameworkRow, TaskRow};
use proffer_model::{TaskState, code};
use proffer_proto::mesos::v1;
use proffer_proto::mesos::v1::master::{Event, event};
use proffer_server::mesos_http::Media;
use tokio::time::{Instant, sleep, timeout_at};

use super::answers::{event, subscribed_json};
use super::master::Master;
use super::messages::{agent, framework, get_state, status, task_outline};
use super::seats::Seat;
use super::seen::{Seen, framework_info, is_registered, state_of};
use crate::limits::MESOS_HEARTBEAT_INTERVAL;
use crate::tenure::Tenure;
use crate::view::{Snapshot, View};

/// Between two looks at what has changed.
const PAUSE: Duration = Duration::from_millis(50);

/// A subscriber.
pub(super) struct Watch {
    view: View,
    tenure: Tenure,
    master: Arc<Master>,
    media: Media,
    /// What it was told of.
    told: Arc<Snapshot>,
    /// Records that wait, the next one last.
    waiting: Vec<Bytes>,
    heartbeat_at: Instant,
    seat: Seat,
}

impl Watch {
    /// Begins with what is there.
    pub(super) fn new(
        view: View,
        tenure: Tenure,
        master: Arc<Master>,
        media: Media,
        told: Arc<Snapshot>,
        seat: Seat,
    ) -> Self {
        let first = subscribed(&told, &master, media);
        // Some clients see a record only when the next one begins.
        let waiting = vec![heartbeat(media), first];
        Self {
            view,
            tenure,
            master,
            media,
            told,
            waiting,
            heartbeat_at: Instant::now() + MESOS_HEARTBEAT_INTERVAL,
            seat,
        }
    }

    /// Its records, until the term ends, or another takes its place.
    pub(super) fn records(self) -> impl Stream<Item = Bytes> + Send {
        stream::unfold(self, |mut watch| async {
            let record = watch.next().await?;
            Some((record, watch))
        })
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if !self.tenure.takes_calls() || self.seat.lost.is_cancelled() {
                return None;
            }
            if let Some(record) = self.waiting.pop() {
                return Some(record);
            }
            let followed = self.view.follow(self.told.sequence);
            let followed = tokio::select! {
                biased;
                () = self.seat.lost.cancelled() => return None,
                followed = timeout_at(self.heartbeat_at, followed) => followed,
            };
            let now = match followed {
                Err(_) => {
                    self.heartbeat_at = Instant::now() + MESOS_HEARTBEAT_INTERVAL;
                    return Some(heartbeat(self.media));
                }
                Ok(Ok(followed)) => followed.snapshot,
                // The view is asked too much at the moment.
                Ok(Err(problem)) if problem.is(code::OVERLOADED) => {
                    sleep(PAUSE).await;
                    if self.heartbeat_at > Instant::now() {
                        continue;
                    }
                    self.heartbeat_at = Instant::now() + MESOS_HEARTBEAT_INTERVAL;
                    return Some(heartbeat(self.media));
                }
                Ok(Err(_)) => return None,
            };
            let (before, master) = (Arc::clone(&self.told), Arc::clone(&self.master));
            let (after, media) = (Arc::clone(&now), self.media);
            let records = tokio::task::spawn_blocking(move || {
                let events = differences(&before, &after, &master);
                events.iter().rev().map(|it| media.record(it)).collect()
            });
            self.waiting = records.await.ok()?;
            self.told = now;
            if self.waiting.is_empty() {
                sleep(PAUSE).await;
            }
        }
    }
}

fn heartbeat(media: Media) -> Bytes {
    media.record(&event(event::Type::Heartbeat))
}

fn subscribed(snapshot: &Snapshot, master: &Master, media: Media) -> Bytes {
    let subscribed = event::Subscribed {
        get_state: Some(get_state(snapshot, master)),
        heartbeat_interval_seconds: Some(MESOS_HEARTBEAT_INTERVAL.as_secs_f64()),
    };
    match media {
        Media::Json => {
            let json = subscribed_json(&subscribed);
            [format!("{}\n", json.len()).as_bytes(), &json]
                .concat()
                .into()
        }
        Media::Protobuf => media.record(&Event {
            subscribed: Some(subscribed),
            ..event(event::Type::Subscribed)
        }),
    }
}

/// What has happened from one snapshot to a later one: first what tasks need, then tasks, then what is gone.
pub(super) fn differences(before: &Snapshot, after: &Snapshot, master: &Master) -> Vec<Event> {
    let mut events = Vec::new();
    let mut removed = Vec::new();
    before.agents.changes(&after.agents, |old, new| {
        agent_events(old, new, master, &mut events, &mut removed);
    });
    let seen = Seen::new(after);
    before.frameworks.changes(&after.frameworks, |old, new| {
        framework_events(old, new, &seen, master, &mut events, &mut removed);
    });
    before.tasks.changes(&after.tasks, |old, new| {
        if let Some(new) = new {
            task_events(old, new, after, &mut events);
        }
    });
    events.append(&mut removed);
    events
}

fn agent_events(
    old: Option<&AgentRow>,
    new: Option<&AgentRow>,
    master: &Master,
    events: &mut Vec<Event>,
    removed: &mut Vec<Event>,
) {
    let (old, new) = (
        old.filter(|row| is_registered(row)),
        new.filter(|row| is_registered(row)),
    );
    match (old, new) {
        (None, Some(row)) => events.push(Event {
            agent_added: Some(event::AgentAdded {
                agent: agent(row, master),
            }),
            ..event(event::Type::AgentAdded)
        }),
        (Some(row), None) => removed.push(Event {
            agent_removed: Some(event::AgentRemoved {
                agent_id: v1::AgentId {
                    value: row.agent.to_string(),
                },
            }),
            ..event(event::Type::AgentRemoved)
        }),
        (Some(_), Some(_)) | (None, None) => {}
    }
}

fn framework_events(
    old: Option<&FrameworkRow>,
    new: Option<&FrameworkRow>,
    seen: &Seen<'_>,
    master: &Master,
    events: &mut Vec<Event>,
    removed: &mut Vec<Event>,
) {
    let whole = |row| framework(&seen.framework_of(row), seen.snapshot, master);
    match (old, new) {
        (None, Some(row)) => events.push(Event {
            framework_added: Some(event::FrameworkAdded {
                framework: whole(row),
            }),
            ..event(event::Type::FrameworkAdded)
        }),
        // Mesos says so when a framework changes what it says of itself, or comes and goes; not of each offer.
        (Some(old), Some(row))
            if old.is_connected != row.is_connected || old.description != row.description =>
        {
            events.push(Event {
                framework_updated: Some(event::FrameworkUpdated {
                    framework: whole(row),
                }),
                ..event(event::Type::FrameworkUpdated)
            });
        }
        (Some(row), None) => removed.push(Event {
            framework_removed: Some(event::FrameworkRemoved {
                framework_info: framework_info(row),
            }),
            ..event(event::Type::FrameworkRemoved)
        }),
        (Some(_), Some(_)) | (None, None) => {}
    }
}

fn task_events(old: Option<&TaskRow>, new: &TaskRow, snapshot: &Snapshot, events: &mut Vec<Event>) {
    let old = old.filter(|old| old.told.incarnation == new.told.incarnation);
    if old.is_none() {
        events.push(Event {
            task_added: Some(event::TaskAdded {
                task: task_outline(new),
            }),
            ..event(event::Type::TaskAdded)
        });
    }
    let was = old.map_or(TaskState::Staging, state_of);
    let is_staging = (was, state_of(new)) == (TaskState::Staging, TaskState::Staging);
    let is_news = !is_staging && old.is_none_or(|old| old.told != new.told);
    if is_news {
        let status = status(new, snapshot);
        events.push(Event {
            task_updated: Some(event::TaskUpdated {
                framework_id: v1::FrameworkId {
                    value: new.framework.to_string(),
                },
                state: status.state,
                status,
            }),
            ..event(event::Type::TaskUpdated)
        });
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use proffer_master_core::event::Seq;
    use tokio::time::timeout;

    use super::super::super::registry::Registry;
    use super::super::master::MasterReign;
    use super::super::seats::Seats;
    use super::*;
    use crate::metrics::ClusterMetrics;
    use crate::view::{self, facts};

    #[tokio::test]
    async fn a_subscriber_whose_place_another_wants_is_ended() {
        let long = Duration::from_secs(30);
        let (view, mut feed) = view::start(ClusterMetrics::default()).expect("a view");
        let mut all = vec![facts::framework_row("f", 0)];
        feed.tell(&mut all, Seq::default()).expect("told");
        let told = view.snapshot().await.expect("a snapshot");
        let reign = MasterReign {
            cluster: "c".to_owned(),
            started_wall_ms: 0,
            elected_wall_ms: 0,
            unreachable_after: long,
            counts: ClusterMetrics::default(),
            registry: Registry::default(),
        };
        let info = v1::MasterInfo::default();
        let master = Arc::new(Master { info, reign });
        let seats = Seats::new(1);
        let seat = seats.take(long).await.expect("a place");
        let tenure = Tenure::forever();
        let watch = Watch::new(view.clone(), tenure, master, Media::Json, told, seat);
        let mut records = Box::pin(watch.records());
        for what in ["what is there", "a heartbeat"] {
            records.next().await.expect(what);
        }
        let ends = async {
            while records.next().await.is_some() {}
            drop(records);
        };
        let both = async { tokio::join!(seats.take(long), ends) };
        let (place, ()) = timeout(long, both).await.expect("it ends");
        place.expect("its place");
        feed.finish();
    }
}
