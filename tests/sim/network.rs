//! The network: connections that deliver in order or break, and places that do not reach one another for a while, in both
//! directions or in one. What is sent where it does not arrive waits, as it does in a socket, until it does or the
//! connection is given up. What goes over one connection may come before what went earlier over another.

use std::collections::BTreeMap;

use proffer_master_core::effect::Reply;
use proffer_master_core::event::{OperatorCall, StateCall};
use proffer_model::link::{ToAgent, ToMaster};
use proffer_model::session::{Call, Event as SessionEvent};
use proffer_model::{FrameworkId, Generation, Problem};

use super::breakage::Breakage;
use super::coverage::Seen;
use super::process::Who;
use super::story::tell;
use super::world::{Happening, Input, MS, Outcome, SECOND, World};

/// What is sent.
#[derive(Clone)]
pub(super) enum Parcel {
    ToMaster(ToMaster),
    ToAgent(ToAgent),
    Call {
        request: u64,
        call: Call,
    },
    Event {
        sequence: u64,
        event: SessionEvent,
    },
    Ask {
        request: u64,
        asked: Asked,
    },
    Reply {
        request: u64,
        reply: Box<Result<Reply, Problem>>,
    },
}

/// A unary call.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    State {
        framework: FrameworkId,
        generation: Generation,
        call: StateCall,
    },
    Operator(OperatorCall),
}

/// A connection; it ends at each end when that end closes it or hears that the other has.
pub(super) struct Connection {
    pub(super) client: Who,
    pub(super) server: Who,
    /// As whom the client is authenticated.
    pub(super) principal: &'static str,
    is_open_at_client: bool,
    is_open_at_server: bool,
    /// When the last that was sent arrives.
    forth: u64,
    back: u64,
    /// The server's core knows of it.
    pub(super) is_known: bool,
    /// What the server has sent and the client has not read.
    unread: usize,
    /// The client reads too slowly: nothing is sent any more, and the connection ends.
    is_cut_off: bool,
}

#[derive(Default)]
pub(super) struct Network {
    pub(super) connections: BTreeMap<u64, Connection>,
    last: u64,
    /// When the last call of each connection gets to the core.
    pub(super) lanes: BTreeMap<u64, u64>,
    /// Until when nothing goes from one place to another.
    cut: BTreeMap<(Who, Who), u64>,
}

/// How long the kernel takes to find out that the other side is gone without a word.
const KEEPALIVE: u64 = 20 * SECOND;
/// What may wait for one peer, where there are few agents.
const LANE_LEN_LEAST: usize = 40;
/// How long connecting is tried.
const CONNECT_TIMEOUT: u64 = 2 * SECOND;

impl World {
    /// What may wait for one peer; a master that has more cuts it off. A session is told of each agent that has settled, so
    /// where there are many it has room for them, as with the limits of masters.
    pub(super) fn lane_len_max(&self) -> usize {
        LANE_LEN_LEAST.max(2 * self.hosts.len())
    }

    /// How long something sent now is on its way.
    pub(super) fn transit(&mut self, from: Who, to: Who) -> u64 {
        let mut wait = MS / 10 + self.random.below(3 * MS);
        if self.random.one_in(self.faults.slow_message) {
            self.seen.count(Seen::MessageSlow);
            wait += self.random.below(5 * SECOND);
        }
        match self.network.cut.get(&(from, to)) {
            Some(until) if *until > self.now => until - self.now + wait,
            _ => wait,
        }
    }

    pub(super) fn is_cut(&self, from: Who, to: Who) -> bool {
        let until = self.network.cut.get(&(from, to));
        until.is_some_and(|until| *until > self.now)
    }

    pub(super) fn cut(&mut self, from: Who, to: Who, until: u64) {
        self.network.cut.insert((from, to), until);
    }

    /// `Opened` or `NotOpened` follows at the client.
    pub(super) fn connect(&mut self, client: Who, master: usize, principal: &'static str) -> u64 {
        self.network.last += 1;
        let (id, server) = (self.network.last, Who::Master(master));
        let connection = Connection {
            client,
            server,
            principal,
            is_open_at_client: true,
            is_open_at_server: false,
            forth: 0,
            back: 0,
            is_known: false,
            unread: 0,
            is_cut_off: false,
        };
        self.network.connections.insert(id, connection);
        if self.is_cut(client, server) || self.is_cut(server, client) {
            self.input_after(CONNECT_TIMEOUT, client, Input::NotOpened { connection: id });
        } else {
            let wait = self.transit(client, server);
            self.after(wait, Happening::Connects { connection: id });
        }
        id
    }

    pub(super) fn connects(&mut self, id: u64) {
        let Some(connection) = self.network.connections.get(&id) else {
            return;
        };
        let (client, server) = (connection.client, connection.server);
        let is_up = self.processes[&server].is_up;
        let wait = self.transit(server, client);
        if !is_up {
            self.network.connections.remove(&id);
            self.input_after(wait, client, Input::NotOpened { connection: id });
            return;
        }
        let now = self.now;
        let connection = connection_mut(self, id);
        connection.is_open_at_server = true;
        (connection.forth, connection.back) = (now, now + wait);
        self.input_after(wait, client, Input::Opened { connection: id });
    }

    pub(super) fn is_open(&self, who: Who, id: u64) -> bool {
        self.network
            .connections
            .get(&id)
            .is_some_and(|connection| match who {
                Who::Master(_) => connection.is_open_at_server,
                _ => connection.is_open_at_client,
            })
    }

    /// Sends from one end; lost if that end is closed.
    pub(super) fn send(&mut self, from: Who, id: u64, parcel: Parcel) {
        if !self.is_open(from, id) {
            return;
        }
        if matches!(from, Who::Master(_)) && !self.has_room(id) {
            return;
        }
        let mut when = self.arrival(from, id);
        if self.is_broken(Breakage::Reordered)
            && matches!(
                parcel,
                Parcel::Event {
                    event: SessionEvent::Updated(_),
                    ..
                }
            )
        {
            when += self.random.below(5 * MS);
        }
        let to = self.other(from, id);
        let connection = id;
        self.input_at(when, to, Input::Arrived { connection, parcel });
    }

    /// Takes room in a client's lane. One that has none is cut off.
    fn has_room(&mut self, id: u64) -> bool {
        let is_bounded = !self.is_broken(Breakage::LaneUnbounded);
        let len_max = self.lane_len_max();
        let connection = connection_mut(self, id);
        if is_bounded && connection.unread >= len_max {
            self.cut_off(id);
            return false;
        }
        connection.unread += 1;
        !connection.is_cut_off
    }

    /// A client reads too slowly, or what it is to be told waits for too long: its connection ends.
    pub(super) fn cut_off(&mut self, id: u64) {
        let Some(connection) = self.network.connections.get_mut(&id) else {
            return;
        };
        let (server, is_at_both) = (connection.server, connection.is_open_at_client);
        if std::mem::replace(&mut connection.is_cut_off, true) {
            return;
        }
        self.seen.count(Seen::PeerCutOff);
        tell!(self, "{server}cuts connection {id} off");
        if is_at_both {
            self.break_connection(id, false);
        } else {
            self.input_after(MS, server, Input::Closed { connection: id });
        }
    }

    /// How much of what was sent to a client waits to be read.
    pub(super) fn unread(&self, id: u64) -> usize {
        let open = self.network.connections.get(&id);
        let open = open.filter(|connection| !connection.is_cut_off);
        open.map_or(0, |connection| connection.unread)
    }

    /// A client reads something.
    pub(super) fn reads(&mut self, id: u64) {
        if let Some(connection) = self.network.connections.get_mut(&id) {
            connection.unread = connection.unread.saturating_sub(1);
        }
    }

    /// Closes one end; the other hears of it after all that was sent, or late if it is done without a word.
    pub(super) fn close(&mut self, from: Who, id: u64, is_silent: bool) {
        if !self.is_open(from, id) {
            return;
        }
        let (to, when) = (self.other(from, id), self.arrival(from, id));
        let connection = connection_mut(self, id);
        match from {
            Who::Master(_) => connection.is_open_at_server = false,
            _ => connection.is_open_at_client = false,
        }
        if !connection.is_open_at_client && !connection.is_open_at_server {
            self.network.connections.remove(&id);
            return;
        }
        let late = if is_silent { KEEPALIVE } else { 0 };
        self.input_at(when + late, to, Input::Closed { connection: id });
    }

    /// An end has heard that the other is closed; answers whether it was open.
    pub(super) fn hears_end(&mut self, who: Who, id: u64) -> bool {
        if !self.is_open(who, id) {
            return false;
        }
        let connection = connection_mut(self, id);
        match who {
            Who::Master(_) => connection.is_open_at_server = false,
            _ => connection.is_open_at_client = false,
        }
        if !connection.is_open_at_client && !connection.is_open_at_server {
            self.network.connections.remove(&id);
        }
        true
    }

    /// Something on the way ends it: both ends hear of it.
    pub(super) fn break_connection(&mut self, id: u64, is_silent: bool) {
        let Some(connection) = self.network.connections.get(&id) else {
            return;
        };
        let (client, server) = (connection.client, connection.server);
        if !(connection.is_open_at_client && connection.is_open_at_server) {
            return;
        }
        for to in [client, server] {
            let late = if is_silent && self.random.one_in(2) {
                KEEPALIVE
            } else {
                self.random.below(20 * MS)
            };
            self.input_after(late, to, Input::Closed { connection: id });
        }
        let connection = connection_mut(self, id);
        // What is sent from now on arrives after the end.
        (connection.forth, connection.back) = (u64::MAX / 2, u64::MAX / 2);
    }

    /// All of a process's ends close, for it is no more.
    pub(super) fn close_all(&mut self, who: Who, is_silent: bool) {
        let connections = self.network.connections.iter();
        let own: Vec<u64> = connections
            .filter(|(_, connection)| connection.client == who || connection.server == who)
            .map(|(id, _)| *id)
            .collect();
        for id in own {
            self.close(who, id, is_silent);
        }
    }

    fn other(&self, from: Who, id: u64) -> Who {
        let connection = &self.network.connections[&id];
        match from {
            Who::Master(_) => connection.client,
            _ => connection.server,
        }
    }

    fn arrival(&mut self, from: Who, id: u64) -> u64 {
        let to = self.other(from, id);
        let when = self.now + self.transit(from, to);
        let connection = connection_mut(self, id);
        let last = match from {
            Who::Master(_) => &mut connection.back,
            _ => &mut connection.forth,
        };
        *last = when.max(*last + 1);
        *last
    }

    /// Connections that are open at both ends.
    pub(super) fn open_connections(&self) -> Vec<u64> {
        let connections = self.network.connections.iter();
        let open = connections
            .filter(|(_, connection)| connection.is_open_at_client && connection.is_open_at_server);
        open.map(|(id, _)| *id).collect()
    }

    pub(super) fn draw_connection_faults(&mut self) -> Outcome {
        if self.random.one_in(self.faults.connection_break) {
            let open = self.open_connections();
            if !open.is_empty() {
                let id = open[self.random.index(open.len())];
                let is_silent = self.random.one_in(self.faults.silence);
                self.seen.count(if is_silent {
                    Seen::ConnectionBrokenSilently
                } else {
                    Seen::ConnectionBroken
                });
                tell!(self, "fault: connection {id} breaks");
                self.break_connection(id, is_silent);
            }
        }
        if self.random.one_in(self.faults.partition) {
            self.partition();
        }
        Ok(())
    }

    /// One place does not reach some others, or is not reached by them, for a while.
    fn partition(&mut self) {
        let places: Vec<Who> = self.processes.keys().copied().collect();
        let lonely = places[self.random.index(places.len())];
        let until = self.now + SECOND / 2 + self.random.below(30 * SECOND);
        let (forth, back) = match self.random.below(4) {
            0 => (true, false),
            1 => (false, true),
            _ => (true, true),
        };
        self.seen.count(if forth && back {
            Seen::Partition
        } else {
            Seen::PartitionOneWay
        });
        let is_whole = self.random.one_in(2);
        tell!(
            self,
            "fault: {lonely} is cut off, forth {forth}, back {back}, whole {is_whole}, until {}",
            until / MS
        );
        for other in places.into_iter().filter(|other| *other != lonely) {
            if !is_whole && self.random.one_in(2) {
                continue;
            }
            if forth {
                self.cut(lonely, other, until);
            }
            if back {
                self.cut(other, lonely, until);
            }
        }
    }
}

fn connection_mut(world: &mut World, id: u64) -> &mut Connection {
    world
        .network
        .connections
        .get_mut(&id)
        .expect("it was looked up")
}
