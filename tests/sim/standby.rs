//! Stand-by sessions: a framework keeps a second one, and now and then its active one leaves without looking for another.
//! The second must take its place.

use proffer_model::session::Event;

use super::coverage::Seen;
use super::framework::SILENCE_MAX;
use super::network::Parcel;
use super::process::Who;
use super::story::tell;
use super::world::{Outcome, SECOND, World};

/// Until when a stand-by that is heard from has taken over: a word that is lost, a partition, a master that stands still.
const TAKE_OVER_MAX: u64 = 90 * SECOND;

/// A second session.
pub(super) struct StandBy {
    pub(super) connection: u64,
    heard_at: u64,
    /// It was told that it stands by.
    is_told: bool,
    /// Since when there is no other.
    alone_since: Option<u64>,
}

impl World {
    /// Connects a second session, or lets the active one leave.
    pub(super) fn draw_standby(&mut self, n: usize) -> Outcome {
        let it = &self.frameworks[n];
        let (has_active, is_over) = (it.is_active(), self.is_over());
        match &it.standby {
            None if has_active && self.random.one_in(self.faults.stand_by) => {
                let (master, principal) = (it.leader.1, it.wants.principal());
                let connection = self.connect(Who::Framework(n), master, principal);
                self.frameworks[n].standby = Some(StandBy {
                    connection,
                    heard_at: self.now,
                    is_told: false,
                    alone_since: None,
                });
            }
            Some(standby)
                if has_active && !is_over && standby.is_told && self.random.one_in(10) =>
            {
                self.seen.count(Seen::ActiveLeft);
                tell!(self, "fault: the active session of framework {n} leaves");
                let now = self.now;
                if let Some(standby) = &mut self.frameworks[n].standby {
                    standby.alone_since = Some(now);
                }
                if let Some(connection) = self.frameworks[n].take_connection() {
                    let is_silent = self.random.one_in(4);
                    self.close(Who::Framework(n), connection, is_silent);
                }
            }
            Some(standby) => {
                let is_silent = standby.heard_at + SILENCE_MAX < self.now;
                let is_late = standby
                    .alone_since
                    .is_some_and(|since| since + TAKE_OVER_MAX < self.now);
                if is_silent {
                    self.standby_lost(n);
                } else if is_late {
                    return Err(format!(
                        "nobody takes over for framework {n}, which stands by"
                    ));
                }
            }
            None => {}
        }
        Ok(())
    }

    /// The connection of a second session is open.
    pub(super) fn standby_opened(&mut self, n: usize, connection: u64) {
        let call = self.subscription(n, true);
        self.requests += 1;
        let request = self.requests;
        self.send(
            Who::Framework(n),
            connection,
            Parcel::Call { request, call },
        );
    }

    /// A second session hears something; answers whether it is the active one by now.
    pub(super) fn standby_hears(&mut self, n: usize, event: &Event) -> bool {
        let now = self.now;
        let it = &mut self.frameworks[n];
        let Some(standby) = &mut it.standby else {
            return false;
        };
        standby.heard_at = now;
        match event {
            Event::StandingBy { .. } => {
                standby.is_told = true;
                self.seen.count(Seen::StoodBy);
            }
            // It was active once, and another one is by now: its word was long on its way.
            Event::Subscribed { generation, .. } if *generation < it.generation => {
                self.standby_lost(n);
            }
            Event::Subscribed { is_resumed, .. } => {
                self.seen
                    .count_all(Seen::TookOverResumed, u64::from(*is_resumed));
                let (connection, is_alone) = (standby.connection, standby.alone_since.is_some());
                if is_alone {
                    self.seen.count(Seen::TookOver);
                }
                tell!(self, "{}takes over", Who::Framework(n));
                self.frameworks[n].standby = None;
                if let Some(old) = self.frameworks[n].take_over(connection, now) {
                    self.close(Who::Framework(n), old, false);
                }
                return true;
            }
            Event::Closed(_) => self.standby_lost(n),
            _ => {}
        }
        false
    }

    /// The second session is no more; without another the framework looks for a master again.
    pub(super) fn standby_lost(&mut self, n: usize) {
        if let Some(standby) = self.frameworks[n].standby.take() {
            self.close(Who::Framework(n), standby.connection, false);
            if standby.alone_since.is_some() {
                self.framework_looks(n, 0);
            }
        }
    }
}
