//! Which agents are lost: every framework of Mesos's API is told FAILURE of each, whether it had tasks there or not.
//!
//! What the core tells a framework is about its own tasks. So one look at the view a second finds the agents, for all streams
//! together; snapshots share the pages that are the same, so it costs what has changed.

use std::sync::{Arc, OnceLock};

use proffer_master_core::effect::AgentRow;
use proffer_model::{AgentId, AgentState};
use tokio::sync::{Notify, broadcast};
use tokio::time::{MissedTickBehavior, interval};

use crate::limits::{MESOS_LOSSES_INTERVAL, MESOS_LOSSES_MAX};
use crate::tenure::Tenure;
use crate::view::{Snapshot, View};

/// The losses of a term.
#[derive(Clone, Debug)]
pub(super) struct Losses {
    view: View,
    tenure: Tenure,
    /// There once somebody has asked.
    told: Arc<OnceLock<broadcast::Sender<AgentId>>>,
    /// Somebody follows from now on.
    followed: Arc<Notify>,
}

impl Losses {
    pub(super) fn new(view: View, tenure: Tenure) -> Self {
        Self {
            view,
            tenure,
            told: Arc::default(),
            followed: Arc::default(),
        }
    }

    /// Those from now on.
    pub(super) fn follow(&self) -> broadcast::Receiver<AgentId> {
        let start = || {
            let (told, _) = broadcast::channel(MESOS_LOSSES_MAX);
            tokio::spawn(watch(self.clone(), told.clone()));
            told
        };
        let follower = self.told.get_or_init(start).subscribe();
        self.followed.notify_one();
        follower
    }
}

/// Looks until the term is over.
async fn watch(losses: Losses, told: broadcast::Sender<AgentId>) {
    let Losses {
        view,
        tenure,
        followed,
        ..
    } = losses;
    let look = async {
        let mut before: Option<Arc<Snapshot>> = None;
        let mut ticks = interval(MESOS_LOSSES_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                // The first one is told of what is lost from now on, not from the next look on.
                () = followed.notified(), if before.is_none() => {}
            }
            if told.receiver_count() == 0 {
                // Snapshots make the next changes dearer, and who subscribes later learns how things are then.
                before = None;
                continue;
            }
            let Ok(after) = view.snapshot().await else {
                // It is asked too much at the moment.
                continue;
            };
            if let Some(before) = &before {
                for agent in lost(before, &after) {
                    // Nobody may be subscribed any more.
                    let _ = told.send(agent);
                }
            }
            before = Some(after);
        }
    };
    tokio::select! {
        () = look => {}
        () = tenure.over() => {}
    }
}

fn lost(before: &Snapshot, after: &Snapshot) -> Vec<AgentId> {
    let mut lost = Vec::new();
    let is_there =
        |row: Option<&AgentRow>| row.is_some_and(|it| it.state != AgentState::Unreachable);
    before.agents.changes(&after.agents, |old, new| {
        if let Some(old) = old.filter(|_| is_there(old) && !is_there(new)) {
            lost.push(old.agent.clone());
        }
    });
    lost
}
