//! Time, the queue of what will happen, the network and the faults.

use std::collections::{BTreeMap, VecDeque};

use proffer_agent_core::event::Event as AgentEvent;
use proffer_master_core::event::{Event as MasterEvent, LinkId, SessionId};
use proffer_model::link::{ToAgent, ToMaster};
use proffer_model::session::{Call, Event as SessionEvent};
use proffer_model::{Principal, Time};

use super::agent::Host;
use super::checks::Checks;
use super::framework::Framework;
use super::master::Master;

pub(super) const MS: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1_000 * MS;
/// Steps from one full count of a core to the next.
const AUDIT_INTERVAL: u64 = 50;
/// What a failing seed shows.
const LOG_LINES: usize = 400;

/// A rule broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Breakage {
    /// Effects of the master leave before what they promise is durable.
    MasterVisibleBeforeDurable,
    /// Effects of an agent leave before what they promise is durable.
    AgentVisibleBeforeDurable,
    /// An agent forgets its runs when it restarts.
    AgentForgets,
    /// An agent starts again what runs.
    AgentStartsTwice,
    /// The network delivers statuses to the framework in reverse.
    Reordered,
    /// An agent kills a task that nobody wants killed.
    Killed,
}

impl Breakage {
    pub(super) const ALL: [Self; 6] = [
        Self::MasterVisibleBeforeDurable,
        Self::AgentVisibleBeforeDurable,
        Self::AgentForgets,
        Self::AgentStartsTwice,
        Self::Reordered,
        Self::Killed,
    ];
}

/// How often what goes wrong: one in so many opportunities, one opportunity each 100 ms. 0: never.
#[derive(Clone, Copy, Debug)]
pub(super) struct Faults {
    master_crash: u64,
    agent_crash: u64,
    link_cut: u64,
    session_cut: u64,
    freeze: u64,
    /// Of cut sessions, how many end with the framework's memory. Only some seeds have it; in those, hosts grow too.
    pub(super) memory_loss: u64,
    pub(super) persist_ms_max: u64,
    pub(super) breakage: Option<Breakage>,
}

impl Faults {
    /// The rates are drawn too (swarm testing): some seeds have no crashes at all, some little else.
    pub(super) fn drawn(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5eed);
        let mut rate = |often: u64| {
            if random.below(4) == 0 {
                0
            } else {
                often + random.below(often * 4)
            }
        };
        Self {
            master_crash: rate(60),
            agent_crash: rate(40),
            link_cut: rate(30),
            session_cut: rate(30),
            freeze: rate(150),
            memory_loss: if seed % 5 == 4 { 4 } else { 0 },
            persist_ms_max: 1 + random.below(60),
            breakage: None,
        }
    }
}

impl Faults {
    /// The same, with a rule broken. What a master says too early only shows if it dies before that is durable.
    pub(super) fn with(self, breakage: Breakage) -> Self {
        let broken = Self {
            breakage: Some(breakage),
            ..self
        };
        match breakage {
            Breakage::MasterVisibleBeforeDurable => Self {
                master_crash: 20,
                persist_ms_max: 2_000,
                ..broken
            },
            _ => broken,
        }
    }
}

/// A small generator (xorshift64*), good enough for faults and the same everywhere.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        random.next();
        random
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 11) % limit.max(1)
    }

    pub(super) fn one_in(&mut self, n: u64) -> bool {
        n > 0 && self.below(n) == 0
    }
}

/// What will happen. A life is one run of a program; what was meant for an earlier one is lost.
pub(super) enum Happening {
    Master {
        life: u64,
        event: MasterEvent,
    },
    /// All batches up to this are in the store.
    MasterStored {
        life: u64,
        seq: u64,
    },
    MasterStarts,
    Agent {
        host: usize,
        life: u64,
        event: AgentEvent,
    },
    AgentStored {
        host: usize,
        life: u64,
        seq: u64,
    },
    AgentStarts {
        host: usize,
    },
    AgentConnects {
        host: usize,
        life: u64,
    },
    ContainerStarts {
        host: usize,
        life: u64,
        run: proffer_agent_core::event::RunId,
    },
    ProcessEnds {
        host: usize,
        run: proffer_agent_core::event::RunId,
        exit: proffer_model::Exit,
    },
    ToMaster {
        link: u64,
        message: ToMaster,
    },
    ToAgent {
        link: u64,
        message: ToAgent,
    },
    LinkEndsAtAgent {
        host: usize,
        life: u64,
        link: u64,
    },
    SessionConnects,
    ToFramework {
        session: u64,
        sequence: u64,
        event: SessionEvent,
    },
    CallArrives {
        session: u64,
        request: u64,
        call: Call,
    },
    Faults,
}

/// A link or session; messages in one direction arrive in order.
pub(super) struct Connection {
    pub(super) host: usize,
    pub(super) has_said_hello: bool,
    forth: u64,
    back: u64,
    frozen_until: u64,
}

pub(super) struct World {
    pub(super) now: u64,
    pub(super) random: Random,
    pub(super) faults: Faults,
    pub(super) checks: Checks,
    pub(super) master: Master,
    pub(super) hosts: Vec<Host>,
    pub(super) framework: Framework,
    pub(super) links: BTreeMap<u64, Connection>,
    pub(super) sessions: BTreeMap<u64, Connection>,
    /// How many links and sessions there have been.
    pub(super) connections: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    order: u64,
    steps: u64,
    log: VecDeque<String>,
    keeps_all: bool,
    digest: u64,
    counts: [u64; 7],
}

const FAULTS_END: u64 = 600 * SECOND;
const END: u64 = 1_500 * SECOND;

impl World {
    pub(super) fn new(seed: u64, faults: Faults) -> Self {
        let mut random = Random::new(seed);
        let hosts = (0..3 + usize::try_from(random.below(4)).expect("small"))
            .map(|number| Host::new(number, faults.memory_loss > 0))
            .collect();
        let mut world = Self {
            now: SECOND,
            random,
            faults,
            checks: Checks::default(),
            master: Master::default(),
            hosts,
            framework: Framework::new(300),
            links: BTreeMap::new(),
            sessions: BTreeMap::new(),
            connections: 0,
            queue: BTreeMap::new(),
            order: 0,
            steps: 0,
            log: VecDeque::new(),
            keeps_all: std::env::var_os("PROFFER_SIM_SEED").is_some(),
            digest: seed,
            counts: [0; 7],
        };
        world.after(0, Happening::MasterStarts);
        for host in 0..world.hosts.len() {
            world.after(0, Happening::AgentStarts { host });
        }
        world.after(10 * MS, Happening::SessionConnects);
        world.after(SECOND, Happening::Faults);
        world
    }

    pub(super) fn time(&self) -> Time {
        Time {
            mono_ns: self.now,
            wall_ms: 1_700_000_000_000 + self.now / MS,
        }
    }

    /// Whether the cores count everything anew now: it costs more than the step.
    pub(super) fn is_audit(&mut self) -> bool {
        self.steps += 1;
        self.steps.is_multiple_of(AUDIT_INTERVAL)
    }

    pub(super) fn after(&mut self, wait: u64, happening: Happening) {
        self.order += 1;
        self.queue.insert((self.now + wait, self.order), happening);
    }

    fn at(&mut self, when: u64, happening: Happening) {
        self.order += 1;
        self.queue
            .insert((when.max(self.now), self.order), happening);
    }

    /// Until the framework has what it wants and faults are over, or a promise is broken.
    pub(super) fn run(&mut self) -> Result<(), String> {
        loop {
            if self.now > FAULTS_END && self.framework.is_done() && self.is_quiet() {
                return self.checks.at_end(&self.framework);
            }
            let Some((&(when, order), _)) = self.queue.first_key_value() else {
                return Err("nothing will ever happen again".into());
            };
            if when > END {
                return Err(format!(
                    "not done long after the faults: {}",
                    self.framework.pending()
                ));
            }
            self.now = when;
            if let Some(happening) = self.queue.remove(&(when, order)) {
                self.happen(happening)?;
            }
        }
    }

    /// Whether every agent has been told that its statuses were kept, and no process is left.
    fn is_quiet(&self) -> bool {
        self.hosts.iter().all(Host::is_quiet)
    }

    fn happen(&mut self, happening: Happening) -> Result<(), String> {
        match happening {
            Happening::Master { life, event } => self.master_event(life, event),
            Happening::MasterStored { life, seq } => self.master_stored(life, seq),
            Happening::MasterStarts => self.master_starts(),
            Happening::Agent { host, life, event } => self.agent_event(host, life, event),
            Happening::AgentStored { host, life, seq } => self.agent_stored(host, life, seq),
            Happening::AgentStarts { host } => self.agent_starts(host),
            Happening::AgentConnects { host, life } => self.agent_connects(host, life),
            Happening::ContainerStarts { host, life, run } => {
                self.container_starts(host, life, run)
            }
            Happening::ProcessEnds { host, run, exit } => self.process_ends(host, run, exit),
            Happening::ToMaster { link, message } => self.deliver_to_master(link, message),
            Happening::ToAgent { link, message } => {
                let Some(connection) = self.links.get(&link) else {
                    return Ok(());
                };
                let (host, life) = (connection.host, self.hosts[connection.host].life);
                let link = proffer_agent_core::event::LinkId(link);
                self.agent_event(host, life, AgentEvent::LinkMessage { link, message })
            }
            Happening::LinkEndsAtAgent { host, life, link } => {
                self.after(
                    50 * MS + self.hosts[host].jitter(),
                    Happening::AgentConnects { host, life },
                );
                self.agent_event(
                    host,
                    life,
                    AgentEvent::LinkClosed(proffer_agent_core::event::LinkId(link)),
                )
            }
            Happening::SessionConnects => self.session_connects(),
            Happening::ToFramework {
                session,
                sequence,
                event,
            } => self.framework_event(session, sequence, event),
            Happening::CallArrives {
                session,
                request,
                call,
            } => self.call_arrives(session, request, call),
            Happening::Faults => self.draw_faults(),
        }
    }

    fn deliver_to_master(&mut self, link: u64, message: ToMaster) -> Result<(), String> {
        let Some(connection) = self.links.get_mut(&link) else {
            return Ok(());
        };
        let link = LinkId(link);
        let event = match message {
            ToMaster::Hello(hello) if !connection.has_said_hello => {
                connection.has_said_hello = true;
                MasterEvent::LinkOpened { link, hello }
            }
            message => MasterEvent::LinkMessage { link, message },
        };
        self.master_event(self.master.life, event)
    }

    fn call_arrives(&mut self, session: u64, request: u64, call: Call) -> Result<(), String> {
        if !self.sessions.contains_key(&session) {
            return Ok(());
        }
        let principal = Principal::new("local").expect("a good name");
        let event = MasterEvent::CallReceived {
            session: SessionId(session),
            principal,
            request,
            call,
        };
        self.master_event(self.master.life, event)
    }

    pub(super) fn connection(&self, host: usize) -> Connection {
        Connection {
            host,
            has_said_hello: false,
            forth: self.now,
            back: self.now,
            frozen_until: 0,
        }
    }

    /// When a message sent now over that link towards the master (or back) arrives: in order, after a frozen time.
    fn arrival(&mut self, is_link: bool, id: u64, is_forth: bool) -> Option<u64> {
        let delay = self.random.below(3 * MS) + MS / 10;
        let table = if is_link {
            &mut self.links
        } else {
            &mut self.sessions
        };
        let connection = table.get_mut(&id)?;
        let last = if is_forth {
            &mut connection.forth
        } else {
            &mut connection.back
        };
        *last = (self.now + delay)
            .max(*last + 1)
            .max(connection.frozen_until);
        Some(*last)
    }

    pub(super) fn send_to_master(&mut self, link: u64, message: ToMaster) {
        if let Some(when) = self.arrival(true, link, true) {
            self.at(when, Happening::ToMaster { link, message });
        }
    }

    pub(super) fn send_to_agent(&mut self, link: u64, message: ToAgent) {
        if let Some(when) = self.arrival(true, link, false) {
            self.at(when, Happening::ToAgent { link, message });
        }
    }

    pub(super) fn send_to_framework(&mut self, session: u64, sequence: u64, event: SessionEvent) {
        if let Some(mut when) = self.arrival(false, session, false) {
            let is_status = matches!(event, SessionEvent::Updated(_));
            if self.faults.breakage == Some(Breakage::Reordered) && is_status {
                when += 5 * MS - (sequence % 5) * MS;
            }
            self.at(
                when,
                Happening::ToFramework {
                    session,
                    sequence,
                    event,
                },
            );
        }
    }

    pub(super) fn send_call(&mut self, session: u64, request: u64, call: Call) {
        if let Some(when) = self.arrival(false, session, true) {
            self.at(
                when,
                Happening::CallArrives {
                    session,
                    request,
                    call,
                },
            );
        }
    }

    /// Both ends learn of it; what is on its way is lost.
    pub(super) fn cut_link(&mut self, link: u64) -> Result<(), String> {
        let Some(connection) = self.links.remove(&link) else {
            return Ok(());
        };
        let (host, life) = (connection.host, self.hosts[connection.host].life);
        let wait = self.random.below(20 * MS);
        self.after(wait, Happening::LinkEndsAtAgent { host, life, link });
        match connection.has_said_hello {
            true => self.master_event(
                self.master.life,
                MasterEvent::LinkClosed { link: LinkId(link) },
            ),
            false => Ok(()),
        }
    }

    pub(super) fn cut_session(&mut self, session: u64) -> Result<(), String> {
        if self.sessions.remove(&session).is_none() {
            return Ok(());
        }
        let wait = 20 * MS + self.random.below(200 * MS);
        self.after(wait, Happening::SessionConnects);
        self.master_event(
            self.master.life,
            MasterEvent::SessionClosed {
                session: SessionId(session),
            },
        )
    }

    fn draw_faults(&mut self) -> Result<(), String> {
        if self.now > FAULTS_END {
            return Ok(());
        }
        self.after(100 * MS, Happening::Faults);
        if self.random.one_in(self.faults.master_crash) && self.master.is_up() {
            self.count(0, "fault: the master is killed");
            self.master_crashes();
        }
        let host = usize::try_from(self.random.below(self.hosts.len() as u64)).expect("small");
        if self.random.one_in(self.faults.agent_crash) && self.hosts[host].is_up() {
            self.count(1, &format!("fault: agent {host} is killed"));
            self.agent_crashes(host)?;
        }
        if self.random.one_in(self.faults.link_cut)
            && let Some(link) = self.links.keys().next().copied()
        {
            self.count(2, &format!("fault: link {link} is cut"));
            self.cut_link(link)?;
        }
        if self.random.one_in(self.faults.session_cut)
            && let Some(session) = self.sessions.keys().next().copied()
        {
            self.count(3, &format!("fault: session {session} is cut"));
            if self.random.one_in(self.faults.memory_loss) {
                self.count(6, "fault: the framework loses its memory");
                self.framework.forget();
            }
            self.cut_session(session)?;
        }
        if self.random.one_in(self.faults.freeze) {
            let wait = self.random.below(20 * SECOND);
            let until = self.now + wait;
            let nth = usize::try_from(self.random.below(self.links.len() as u64)).expect("small");
            if let Some((link, connection)) = self.links.iter_mut().nth(nth) {
                connection.frozen_until = until;
                let line = format!("fault: link {link} is frozen for {} ms", wait / MS);
                self.note(line);
            }
        }
        Ok(())
    }

    pub(super) fn note(&mut self, line: String) {
        for byte in line.bytes() {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.log.len() == LOG_LINES && !self.keeps_all {
            self.log.pop_front();
        }
        self.log.push_back(format!(
            "{:>10.3}s {line}",
            std::time::Duration::from_nanos(self.now).as_secs_f64()
        ));
    }

    pub(super) fn tally(&mut self, which: usize) {
        self.counts[which] += 1;
    }

    fn count(&mut self, which: usize, line: &str) {
        self.tally(which);
        self.note(line.to_owned());
    }

    pub(super) fn tail(&self) -> String {
        self.log.iter().cloned().collect::<Vec<_>>().join("\n")
    }

    /// A number that differs when anything in the story does.
    pub(super) fn digest(&self) -> u64 {
        self.digest
    }

    /// Master crashes, agent crashes, links cut, sessions cut, tasks ended, tasks reported unreachable,
    /// memories lost.
    pub(super) fn coverage(&self) -> [u64; 7] {
        self.counts
    }
}
