//! A simulated master: its session with the ensemble, its lease, and how it comes to lead and loses that. What it does
//! while it leads is `term.rs`.

use std::collections::BTreeMap;

use proffer_model::TaskId;
use proffer_model::link::ToAgent;
use proffer_model::registry::Operation;

use super::breakage::Breakage;
use super::coverage::Seen;
use super::ensemble::{Ask, Calling, Entry, SESSION_TIMEOUT, Told};
use super::process::Who;
use super::story::tell;
use super::term::{Term, TermInput};
use super::world::{Happening, Input, MS, Outcome, SECOND, World};

/// A lease is this part of a session: two of three.
const LEASE: u64 = SESSION_TIMEOUT / 3 * 2;
const PING_INTERVAL: u64 = SESSION_TIMEOUT / 3;

#[derive(Default)]
pub(super) struct Master {
    session: Option<u64>,
    /// The connection to the ensemble; grows with each that was lost, in whatever life.
    pub(super) wire: u64,
    asking: Option<Asking>,
    asked: u64,
    /// When the last ping that was answered was sent, and when it was answered, by its own clock.
    pong_sent_ns: u64,
    pong_ns: u64,
    ballot: Option<u64>,
    office: Office,
    marks: u64,
    pub(super) term: Option<Box<Term>>,
    /// Links whose end a broken master has not heard.
    pub(super) lost_links: Vec<u64>,
    /// What a broken master writes in its next session.
    leftover: Option<Entry>,
    /// The changes of tasks that a broken master says again too late.
    changes: BTreeMap<TaskId, ToAgent>,
}

/// How it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Office {
    /// It has no ballot.
    #[default]
    Rests,
    Waits,
    /// It is elected and begins a term.
    Begins {
        epoch: u64,
        last: u64,
    },
    Leads,
}

/// A call that has no answer yet.
#[derive(Clone)]
struct Asking {
    number: u64,
    ask: Ask,
    /// How often the connection was lost meanwhile.
    losses: u64,
    since_ns: u64,
}

pub(super) enum MasterInput {
    Told {
        wire: u64,
        number: u64,
        told: Told,
    },
    Expired {
        session: u64,
    },
    Pong {
        session: u64,
        sent_ns: u64,
        lowest: Option<u64>,
    },
    Ballots {
        session: u64,
        lowest: Option<u64>,
    },
    PingDue,
    /// The connection to the ensemble is there again.
    Wired {
        wire: u64,
    },
    /// It stands for election again.
    Stands,
    LeaseDue,
    Term {
        number: u64,
        input: TermInput,
    },
}

impl Master {
    fn lease_ns(&self) -> u64 {
        self.pong_sent_ns + LEASE
    }

    pub(super) fn describe(&self) -> String {
        let term = self.term.as_ref().map(|term| term.epoch);
        format!(
            "session {:?} ballot {:?} {:?} term {term:?} asking {:?}",
            self.session,
            self.ballot,
            self.office,
            self.asking.as_ref().map(|asking| &asking.ask)
        )
    }

    /// The change of the same task before this one.
    pub(super) fn last_change_before(&mut self, change: ToAgent) -> Option<ToAgent> {
        match &change {
            ToAgent::UpdateTask { task, .. } => self.changes.insert(task.clone(), change),
            _ => None,
        }
    }

    pub(super) fn leads(&self) -> bool {
        self.office == Office::Leads
    }
}

impl World {
    pub(super) fn master_starts(&mut self, n: usize) {
        let (wire, marks) = (self.masters[n].wire + 1, self.masters[n].marks);
        self.masters[n] = Master {
            wire,
            marks,
            ..Master::default()
        };
        tell!(self, "{}starts", Who::Master(n));
        self.ask(n, Ask::Open);
        self.input_after(
            PING_INTERVAL,
            Who::Master(n),
            Input::Master(MasterInput::PingDue),
        );
    }

    /// It is no more; whoever was connected hears of it, and the ensemble only by its silence.
    pub(super) fn master_dies(&mut self, n: usize) {
        self.masters[n].term = None;
        self.masters[n].office = Office::Rests;
        self.masters[n].wire += 1;
    }

    pub(super) fn on_master(&mut self, n: usize, input: MasterInput) -> Outcome {
        match input {
            MasterInput::Told { wire, number, told } => self.on_told(n, wire, number, told)?,
            MasterInput::Expired { session } => self.on_expired(n, session),
            MasterInput::Pong {
                session,
                sent_ns,
                lowest,
            } => {
                if self.masters[n].session == Some(session) {
                    self.on_pong(n, sent_ns);
                    self.on_lowest(n, lowest);
                }
            }
            MasterInput::Ballots { session, lowest } => {
                if self.masters[n].session == Some(session) {
                    self.on_lowest(n, lowest);
                }
            }
            MasterInput::PingDue => self.ping(n),
            MasterInput::Wired { wire } => {
                if self.masters[n].wire == wire
                    && let Some(asking) = self.masters[n].asking.clone()
                {
                    self.transmit(n, &asking);
                }
            }
            MasterInput::Stands => {
                if self.masters[n].session.is_none() && self.masters[n].asking.is_none() {
                    self.ask(n, Ask::Open);
                }
            }
            MasterInput::LeaseDue => self.on_lease_due(n),
            MasterInput::Term { number, input } => self.on_term(n, number, input)?,
        }
        Ok(())
    }

    /// Asks one thing at a time, as the one thread that writes does.
    pub(super) fn ask(&mut self, n: usize, ask: Ask) {
        let since_ns = self.time(Who::Master(n)).mono_ns;
        let master = &mut self.masters[n];
        master.asked += 1;
        let asking = Asking {
            number: master.asked,
            ask,
            losses: 0,
            since_ns,
        };
        master.asking = Some(asking.clone());
        self.transmit(n, &asking);
    }

    fn transmit(&mut self, n: usize, asking: &Asking) {
        let calling = Calling {
            master: n,
            life: self.processes[&Who::Master(n)].life,
            wire: self.masters[n].wire,
            number: asking.number,
            session: self.masters[n].session,
            ask: asking.ask.clone(),
        };
        let mut wait = self.transit(Who::Master(n), Who::Ensemble);
        if matches!(asking.ask, Ask::Create { .. }) {
            wait += self.random.below(self.faults.store_ms_max * MS);
        }
        self.after(wait, Happening::AtEnsemble(Box::new(calling)));
    }

    /// The connection is lost: what was asked may have been done or not.
    pub(super) fn ensemble_hangs_up(&mut self, n: usize) {
        self.masters[n].wire += 1;
        let wire = self.masters[n].wire;
        if let Some(asking) = &mut self.masters[n].asking {
            asking.losses += 1;
            asking.since_ns = self.processes[&Who::Master(n)].clock.time(self.now).mono_ns;
        }
        let wait = 20 * MS + self.random.below(500 * MS);
        self.input_after(
            wait,
            Who::Master(n),
            Input::Master(MasterInput::Wired { wire }),
        );
    }

    fn ping(&mut self, n: usize) {
        let now_ns = self.time(Who::Master(n)).mono_ns;
        self.input_after(
            PING_INTERVAL,
            Who::Master(n),
            Input::Master(MasterInput::PingDue),
        );
        let master = &self.masters[n];
        let is_stuck = master
            .asking
            .as_ref()
            .is_some_and(|asking| asking.since_ns + LEASE < now_ns);
        let Some(session) = master.session else {
            if is_stuck {
                self.ensemble_hangs_up(n);
            }
            return;
        };
        if is_stuck || master.pong_ns + LEASE < now_ns {
            self.masters[n].pong_ns = now_ns;
            self.ensemble_hangs_up(n);
        }
        let wait = self.transit(Who::Master(n), Who::Ensemble);
        let life = self.processes[&Who::Master(n)].life;
        let ping = Happening::Ping {
            master: n,
            life,
            session,
            sent_ns: now_ns,
        };
        self.after(wait, ping);
    }

    fn on_pong(&mut self, n: usize, sent_ns: u64) {
        let now_ns = self.time(Who::Master(n)).mono_ns;
        let master = &mut self.masters[n];
        master.pong_ns = now_ns;
        master.pong_sent_ns = master.pong_sent_ns.max(sent_ns);
        if master.leads() {
            self.await_lease(n);
        }
    }

    fn await_lease(&mut self, n: usize) {
        let when = self.processes[&Who::Master(n)]
            .clock
            .when(self.masters[n].lease_ns());
        self.input_at(when, Who::Master(n), Input::Master(MasterInput::LeaseDue));
    }

    /// Whether it may act: looked at before effects are performed.
    pub(super) fn lease_holds(&self, n: usize) -> bool {
        self.is_broken(Breakage::LeaseUnchecked)
            || self.time(Who::Master(n)).mono_ns < self.masters[n].lease_ns()
    }

    fn on_lease_due(&mut self, n: usize) {
        if self.masters[n].leads() && !self.lease_holds(n) {
            self.seen.count(Seen::TermEndedByLease);
            self.end_term(n, "its lease has run out");
        }
    }

    fn on_expired(&mut self, n: usize, session: u64) {
        if self.masters[n].session != Some(session) {
            return;
        }
        if self.masters[n].leads() {
            self.seen.count(Seen::TermEndedByExpiry);
        }
        self.masters[n].session = None;
        self.end_term(n, "its session has expired");
    }

    /// Nothing of the term is left; it stands for election anew after a while, in a new session.
    pub(super) fn end_term(&mut self, n: usize, why: &str) {
        tell!(self, "{}leads no more: {why}", Who::Master(n));
        if let Some(session) = self.masters[n].session.take()
            && !self.is_cut(Who::Master(n), Who::Ensemble)
        {
            // Given up in words; what was asked before has been done by then.
            let wait = self.transit(Who::Master(n), Who::Ensemble) + 50 * MS;
            self.after(wait, Happening::SessionEnds { session });
        }
        if self.is_broken(Breakage::StoreRetriedAcrossSessions)
            && let Some(Asking {
                ask: Ask::Create { entry, .. },
                ..
            }) = &self.masters[n].asking
            && !entry.operations.is_empty()
        {
            self.masters[n].leftover = Some(entry.clone());
        }
        let master = &mut self.masters[n];
        (master.term, master.office, master.ballot, master.asking) =
            (None, Office::Rests, None, None);
        master.wire += 1;
        self.close_all(Who::Master(n), false);
        let wait = 100 * MS + self.random.below(SECOND);
        self.input_after(wait, Who::Master(n), Input::Master(MasterInput::Stands));
    }

    fn on_told(&mut self, n: usize, wire: u64, number: u64, told: Told) -> Outcome {
        let master = &mut self.masters[n];
        if master.wire != wire
            || master
                .asking
                .as_ref()
                .is_none_or(|asking| asking.number != number)
        {
            return Ok(());
        }
        let Some(Asking {
            ask,
            losses,
            since_ns,
            ..
        }) = master.asking.take()
        else {
            return Ok(());
        };
        match (ask, told) {
            (Ask::Open, Told::Opened(session)) => {
                master.session = Some(session);
                (master.pong_sent_ns, master.pong_ns) = (since_ns, since_ns);
                match master.leftover.take() {
                    Some(entry) => {
                        let number = u64::try_from(self.ensemble.log.len()).expect("small") + 1;
                        self.ask(n, Ask::Create { number, entry });
                    }
                    None => self.ask(n, Ask::Enrol),
                }
            }
            (Ask::Enrol, Told::Enrolled(ballot)) => {
                (master.ballot, master.office) = (Some(ballot), Office::Waits);
            }
            (
                Ask::LoadEpoch,
                Told::Epoch {
                    epoch,
                    version,
                    mark,
                },
            ) => {
                self.on_epoch(n, epoch, version, mark);
            }
            (Ask::Raise { .. }, Told::Raised(Some(epoch))) => self.on_raised(n, epoch),
            // Perhaps that was this master's own doing.
            (Ask::Raise { .. }, Told::Raised(None)) if losses > 0 => self.ask(n, Ask::LoadEpoch),
            (Ask::Raise { .. }, Told::Raised(None)) => {
                self.seen.count(Seen::RaiseLost);
                self.end_term(n, "another has raised the epoch");
            }
            (Ask::LastEntry, Told::LastEntry(last)) => self.on_last_entry(n, last),
            (Ask::Create { number, .. }, Told::Created(is_created)) => {
                if is_created && losses > 0 {
                    self.seen.count(Seen::AnswerLostUndone);
                }
                match is_created {
                    true => self.on_created(n, number)?,
                    false if losses > 0 => self.ask(n, Ask::Mark { number }),
                    false => self.on_deposed(n),
                }
            }
            (Ask::Mark { number }, Told::Mark(mark)) => {
                match mark == Some(mark_of(n, self.masters[n].marks)) {
                    true => {
                        self.seen.count(Seen::AnswerLostDone);
                        self.on_created(n, number)?;
                    }
                    false => self.on_deposed(n),
                }
            }
            (Ask::Read, Told::Contents(registry)) => self.begin_term(n, *registry)?,
            (ask, told) => return Err(format!("{told:?} is no answer to {ask:?}")),
        }
        Ok(())
    }

    fn on_lowest(&mut self, n: usize, lowest: Option<u64>) {
        let master = &self.masters[n];
        if master.office == Office::Waits && master.ballot.is_some() && master.ballot == lowest {
            tell!(self, "{}is elected", Who::Master(n));
            self.masters[n].office = Office::Begins { epoch: 0, last: 0 };
            self.ask(n, Ask::LoadEpoch);
        }
    }

    fn on_epoch(&mut self, n: usize, epoch: u64, version: u64, mark: u64) {
        let own = mark_of(n, self.masters[n].marks);
        if mark == own {
            self.on_raised(n, epoch);
            return;
        }
        if self.is_broken(Breakage::EpochNotRaised) && epoch > 0 {
            self.on_raised(n, epoch);
            return;
        }
        self.masters[n].marks += 1;
        let mark = mark_of(n, self.masters[n].marks);
        self.ask(n, Ask::Raise { version, mark });
    }

    fn on_raised(&mut self, n: usize, epoch: u64) {
        self.masters[n].office = Office::Begins { epoch, last: 0 };
        self.ask(n, Ask::LastEntry);
    }

    fn on_last_entry(&mut self, n: usize, last: u64) {
        let Office::Begins { epoch, .. } = self.masters[n].office else {
            return;
        };
        self.masters[n].office = Office::Begins { epoch, last };
        self.create(n, last + 1, epoch, Vec::new());
    }

    /// Creates an entry that nobody else can have made.
    pub(super) fn create_entry(
        &mut self,
        n: usize,
        number: u64,
        epoch: u64,
        operations: Vec<Operation>,
    ) {
        self.create(n, number, epoch, operations);
    }

    fn create(&mut self, n: usize, number: u64, epoch: u64, operations: Vec<Operation>) {
        self.masters[n].marks += 1;
        let entry = Entry {
            epoch,
            mark: mark_of(n, self.masters[n].marks),
            operations,
        };
        self.ask(n, Ask::Create { number, entry });
    }

    fn on_created(&mut self, n: usize, number: u64) -> Outcome {
        match self.masters[n].office {
            Office::Begins { epoch, .. } => {
                self.masters[n].office = Office::Begins {
                    epoch,
                    last: number,
                };
                self.ask(n, Ask::Read);
                Ok(())
            }
            Office::Leads => self.on_durable(n, number),
            // Only a broken master writes without an office.
            Office::Rests | Office::Waits => {
                self.ask(n, Ask::Enrol);
                Ok(())
            }
        }
    }

    fn on_deposed(&mut self, n: usize) {
        self.seen.count(Seen::WriterDeposed);
        self.end_term(n, "another has written");
    }

    fn begin_term(&mut self, n: usize, registry: proffer_model::registry::Registry) -> Outcome {
        let Office::Begins { epoch, last } = self.masters[n].office else {
            return Ok(());
        };
        if !self.lease_holds(n) {
            self.end_term(n, "its lease has run out before it began");
            return Ok(());
        }
        self.masters[n].office = Office::Leads;
        self.await_lease(n);
        self.term_begins(n, epoch, last, registry)
    }
}

fn mark_of(n: usize, mark: u64) -> u64 {
    mark * 10 + u64::try_from(n + 1).expect("small")
}
