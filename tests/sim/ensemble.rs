//! The ensemble, as masters see it: sessions that expire, ballots that end with their session, the epoch that is raised
//! by comparing, and the log, whose entries are created and never written over. It is what is durable, so what was
//! promised is looked up here.

use std::collections::{BTreeMap, BTreeSet};

use proffer_model::registry::{Operation, Registry};

use super::coverage::Seen;
use super::master::MasterInput;
use super::process::Who;
use super::story::tell;
use super::world::{Happening, Input, Outcome, SECOND, World};

/// How long a session lives without being heard of.
pub(super) const SESSION_TIMEOUT: u64 = 4 * SECOND;

/// What a master asks of it.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    Open,
    Enrol,
    LoadEpoch,
    /// If the version is still this; the mark tells this raising from all others.
    Raise {
        version: u64,
        mark: u64,
    },
    LastEntry,
    Create {
        number: u64,
        entry: Entry,
    },
    /// Who made an entry.
    Mark {
        number: u64,
    },
    Read,
}

/// What it answers.
#[derive(Clone, Debug)]
pub(super) enum Told {
    Opened(u64),
    Enrolled(u64),
    Epoch { epoch: u64, version: u64, mark: u64 },
    Raised(Option<u64>),
    LastEntry(u64),
    Created(bool),
    Mark(Option<u64>),
    Contents(Box<Registry>),
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) epoch: u64,
    /// Tells this entry from all others.
    pub(super) mark: u64,
    pub(super) operations: Vec<Operation>,
}

#[derive(Default)]
pub(super) struct Ensemble {
    sessions: BTreeMap<u64, Session>,
    last_session: u64,
    /// Ballots and their sessions.
    ballots: BTreeMap<u64, u64>,
    last_ballot: u64,
    pub(super) epoch: u64,
    version: u64,
    mark: u64,
    pub(super) log: Vec<Entry>,
    /// What the log adds up to.
    pub(super) registry: Registry,
    /// All that was ever made durable and is told apart by what it says.
    pub(super) settings: BTreeSet<String>,
    /// It has no quorum until then.
    away_until: u64,
    /// The newest connection of each master.
    wires: BTreeMap<usize, u64>,
}

struct Session {
    master: usize,
    heard_at: u64,
}

impl Ensemble {
    fn lowest(&self) -> Option<u64> {
        self.ballots.keys().next().copied()
    }

    /// Whether this session may still write.
    pub(super) fn is_alive(&self, session: u64) -> bool {
        self.sessions.contains_key(&session)
    }
}

/// A call on its way, over one of the connections that its master has had.
#[derive(Clone, Debug)]
pub(super) struct Calling {
    pub(super) master: usize,
    pub(super) life: u64,
    pub(super) wire: u64,
    pub(super) number: u64,
    pub(super) session: Option<u64>,
    pub(super) ask: Ask,
}

impl World {
    pub(super) fn call_arrives_at_ensemble(&mut self, calling: Calling) -> Outcome {
        let now = self.now;
        if self.ensemble.away_until > now {
            let until = self.ensemble.away_until;
            self.at(until, Happening::AtEnsemble(Box::new(calling)));
            return Ok(());
        }
        let Calling {
            master,
            life,
            wire,
            number,
            session,
            ask,
        } = calling;
        let newest = self.ensemble.wires.entry(master).or_default();
        if wire < *newest {
            return Ok(());
        }
        *newest = wire;
        // The connection is lost already: it was done before or never, and nobody hears which.
        let is_lost = self.masters[master].wire != wire;
        if is_lost && self.random.one_in(2) {
            return Ok(());
        }
        let told = match session {
            Some(session) if !self.ensemble.is_alive(session) => None,
            _ => {
                if let Some(session) = session {
                    self.hear_session(session);
                }
                Some(self.answer(master, session, ask)?)
            }
        };
        if !is_lost {
            let what = match told {
                Some(told) => MasterInput::Told { wire, number, told },
                None => MasterInput::Expired {
                    session: session.unwrap_or(0),
                },
            };
            let wait = self.transit(Who::Ensemble, Who::Master(master));
            self.input_of_life_after(wait, Who::Master(master), life, Input::Master(what));
        }
        Ok(())
    }

    pub(super) fn ping_arrives(&mut self, master: usize, life: u64, session: u64, sent_ns: u64) {
        if self.ensemble.away_until > self.now {
            return;
        }
        let wait = self.transit(Who::Ensemble, Who::Master(master));
        let what = if self.ensemble.is_alive(session) {
            self.hear_session(session);
            let lowest = self.ensemble.lowest();
            MasterInput::Pong {
                session,
                sent_ns,
                lowest,
            }
        } else {
            MasterInput::Expired { session }
        };
        self.input_of_life_after(wait, Who::Master(master), life, Input::Master(what));
    }

    fn hear_session(&mut self, session: u64) {
        let now = self.now;
        if let Some(session) = self.ensemble.sessions.get_mut(&session) {
            session.heard_at = now;
        }
    }

    fn answer(&mut self, master: usize, session: Option<u64>, ask: Ask) -> Result<Told, String> {
        let now = self.now;
        let ensemble = &mut self.ensemble;
        Ok(match ask {
            Ask::Open => {
                ensemble.last_session += 1;
                let session = ensemble.last_session;
                let heard_at = now;
                ensemble
                    .sessions
                    .insert(session, Session { master, heard_at });
                self.after(SESSION_TIMEOUT, Happening::SessionDue { session });
                Told::Opened(session)
            }
            Ask::Enrol => {
                let session = session.unwrap_or(0);
                // One that was made before its answer was lost is found again.
                let made = ensemble.ballots.iter().find(|(_, of)| **of == session);
                if let Some((ballot, _)) = made {
                    return Ok(Told::Enrolled(*ballot));
                }
                ensemble.last_ballot += 1;
                let ballot = ensemble.last_ballot;
                ensemble.ballots.insert(ballot, session);
                self.tell_ballots();
                Told::Enrolled(ballot)
            }
            Ask::LoadEpoch => Told::Epoch {
                epoch: ensemble.epoch,
                version: ensemble.version,
                mark: ensemble.mark,
            },
            Ask::Raise { version, mark } if version == ensemble.version => {
                ensemble.epoch += 1;
                ensemble.version += 1;
                ensemble.mark = mark;
                Told::Raised(Some(ensemble.epoch))
            }
            Ask::Raise { .. } => Told::Raised(None),
            Ask::LastEntry => Told::LastEntry(len(&ensemble.log)),
            Ask::Create { number, entry } => Told::Created(self.create_node(number, entry)?),
            Ask::Mark { number } => {
                let index = usize::try_from(number).expect("small").wrapping_sub(1);
                Told::Mark(ensemble.log.get(index).map(|entry| entry.mark))
            }
            Ask::Read => Told::Contents(Box::new(ensemble.registry.clone())),
        })
    }

    fn create_node(&mut self, number: u64, entry: Entry) -> Result<bool, String> {
        let ensemble = &mut self.ensemble;
        if number != len(&ensemble.log) + 1 {
            return Ok(false);
        }
        self.checks.on_entry(&entry, ensemble.log.last())?;
        tell!(
            self,
            "{}entry {number} of term {}: {} operations",
            Who::Ensemble,
            entry.epoch,
            entry.operations.len()
        );
        for operation in &entry.operations {
            if let Operation::MarkGone { agent, .. } = operation {
                self.seen.count(Seen::AgentMarkedGone);
                self.checks.on_marked_gone(agent)?;
            }
            if let Operation::CompleteFramework { framework } = operation {
                self.seen.count(Seen::FrameworkCompleted);
                self.checks.completions.on_completed(framework)?;
            }
            self.ensemble.registry.apply(operation);
            self.ensemble.settings.insert(format!("{operation:?}"));
        }
        self.ensemble.log.push(entry);
        Ok(true)
    }

    /// A session may have expired.
    pub(super) fn session_due(&mut self, session: u64) {
        let Some(known) = self.ensemble.sessions.get(&session) else {
            return;
        };
        let due = (known.heard_at + SESSION_TIMEOUT).max(self.ensemble.away_until);
        if due > self.now {
            self.at(due, Happening::SessionDue { session });
            return;
        }
        self.seen.count(Seen::SessionExpired);
        tell!(
            self,
            "{}session {session} of master {} expires",
            Who::Ensemble,
            known.master
        );
        self.end_session(session);
    }

    pub(super) fn end_session(&mut self, session: u64) {
        self.ensemble.sessions.remove(&session);
        let before = self.ensemble.ballots.len();
        self.ensemble.ballots.retain(|_, of| *of != session);
        if self.ensemble.ballots.len() < before {
            self.tell_ballots();
        }
    }

    fn tell_ballots(&mut self) {
        let lowest = self.ensemble.lowest();
        let sessions = self.ensemble.sessions.iter();
        let watching: Vec<(u64, usize)> = sessions.map(|(id, of)| (*id, of.master)).collect();
        for (session, master) in watching {
            let wait = self.transit(Who::Ensemble, Who::Master(master));
            let what = MasterInput::Ballots { session, lowest };
            self.input_after(wait, Who::Master(master), Input::Master(what));
        }
    }

    /// It loses its quorum for a while; when it is back sessions begin their timeouts anew.
    pub(super) fn ensemble_goes_away(&mut self) {
        let until = self.now + self.random.below(12 * SECOND);
        self.seen.count(Seen::EnsembleAway);
        tell!(
            self,
            "fault: the ensemble has no quorum until {}",
            until / SECOND
        );
        self.ensemble.away_until = until;
        for session in self.ensemble.sessions.values_mut() {
            session.heard_at = until;
        }
    }
}

fn len(log: &[Entry]) -> u64 {
    u64::try_from(log.len()).expect("small")
}
