//! The simulated master: a store that keeps what was written to it, and one core at a time.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use proffer_master_core::config::Config;
use proffer_master_core::core::Core;
use proffer_master_core::effect::{After, Effect, Fact};
use proffer_master_core::event::{Event, Seq, TimerKey};
use proffer_model::link::ToAgent;
use proffer_model::registry::{Operation, Registry};
use proffer_model::session::Event as SessionEvent;
use proffer_model::{ClusterId, Epoch};

use super::world::{Breakage, Happening, MS, SECOND, World};

/// What waits in a peer's queue.
enum Out {
    Link(ToAgent),
    Session(u64, SessionEvent),
    Close,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Peer {
    Link(u64),
    Session(u64),
}

#[derive(Default)]
pub(super) struct Master {
    pub(super) life: u64,
    core: Option<Core>,
    /// The store: it outlives every core.
    stored: Vec<Operation>,
    epoch: u64,
    writing: VecDeque<(u64, Vec<Operation>)>,
    written_at: u64,
    durable: u64,
    queues: BTreeMap<Peer, VecDeque<(After, Out)>>,
    timers: BTreeMap<TimerKey, u64>,
}

impl Master {
    pub(super) fn is_up(&self) -> bool {
        self.core.is_some()
    }
}

fn config() -> Config {
    Config {
        suspect_after: Duration::from_secs(5),
        unreachable_after: Duration::from_secs(15),
        // So that lost agents are declared in a simulated minute rather than in twenty.
        loss_min: 100,
        removal_percent: 100,
        ..Config::default()
    }
}

impl World {
    pub(super) fn master_starts(&mut self) -> Result<(), String> {
        let master = &mut self.master;
        master.life += 1;
        master.epoch += 1;
        let mut registry = Registry::default();
        for operation in &master.stored {
            registry.apply(operation);
        }
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&master.epoch.to_le_bytes());
        let (epoch, cluster) = (
            Epoch(master.epoch),
            ClusterId::new("sim").expect("a good name"),
        );
        let now = self.time();
        let mut effects = Vec::new();
        self.master.core = Some(Core::new(
            config(),
            cluster,
            epoch,
            seed,
            registry,
            now,
            &mut effects,
        ));
        self.note(format!("master: term {} begins", epoch.0));
        self.master_effects(effects)
    }

    pub(super) fn master_crashes(&mut self) {
        let master = &mut self.master;
        master.core = None;
        master.life += 1;
        master.writing.clear();
        master.queues.clear();
        master.timers.clear();
        master.durable = 0;
        let links: Vec<(u64, usize)> = self
            .links
            .iter()
            .map(|(id, link)| (*id, link.host))
            .collect();
        self.links.clear();
        for (link, host) in links {
            let (wait, life) = (self.random.below(20 * MS), self.hosts[host].life);
            self.after(wait, Happening::LinkEndsAtAgent { host, life, link });
        }
        if !self.sessions.is_empty() {
            self.sessions.clear();
            self.after(30 * MS, Happening::SessionConnects);
        }
        let down = 100 * MS + self.random.below(5 * SECOND);
        self.after(down, Happening::MasterStarts);
    }

    pub(super) fn master_event(&mut self, life: u64, event: Event) -> Result<(), String> {
        if life != self.master.life {
            return Ok(());
        }
        let now = self.time();
        if let Event::TimerFired(key) = &event {
            match self.master.timers.get(key) {
                Some(at) if *at <= self.now => self.master.timers.remove(key),
                _ => return Ok(()),
            };
        }
        let is_audit = self.is_audit();
        let Some(core) = &mut self.master.core else {
            return Ok(());
        };
        let mut effects = Vec::new();
        core.step(now, event, &mut effects);
        if is_audit {
            core.check_invariants()
                .map_err(|fault| format!("master: {fault}"))?;
        }
        self.master_effects(effects)
    }

    pub(super) fn master_stored(&mut self, life: u64, seq: u64) -> Result<(), String> {
        if life != self.master.life {
            return Ok(());
        }
        while self
            .master
            .writing
            .front()
            .is_some_and(|(number, _)| *number <= seq)
        {
            if let Some((_, operations)) = self.master.writing.pop_front() {
                self.master.stored.extend(operations);
            }
        }
        self.master.durable = seq;
        self.flush_master()?;
        self.master_event(life, Event::Persisted(Seq(seq)))
    }

    fn master_effects(&mut self, effects: Vec<Effect>) -> Result<(), String> {
        for effect in effects {
            match effect {
                Effect::Persist { seq, operations } => {
                    let wait = MS / 2 + self.random.below(self.faults.persist_ms_max * MS);
                    let at = (self.now + wait).max(self.master.written_at + 1);
                    self.master.written_at = at;
                    self.master.writing.push_back((seq.0, operations));
                    let life = self.master.life;
                    self.after(at - self.now, Happening::MasterStored { life, seq: seq.0 });
                }
                Effect::SendSession {
                    session,
                    sequence,
                    event,
                    after,
                } => {
                    self.enqueue(
                        Peer::Session(session.0),
                        after,
                        Out::Session(sequence, event),
                    );
                }
                Effect::SendLink {
                    link,
                    message,
                    after,
                } => {
                    self.enqueue(Peer::Link(link.0), after, Out::Link(message));
                }
                Effect::CloseSession { session } => {
                    self.enqueue(Peer::Session(session.0), After::Nothing, Out::Close);
                }
                Effect::CloseLink { link } => {
                    self.enqueue(Peer::Link(link.0), After::Nothing, Out::Close)
                }
                Effect::SetTimer { key, at } => {
                    self.master.timers.insert(key.clone(), at.mono_ns);
                    let (life, wait) = (self.master.life, at.mono_ns.saturating_sub(self.now));
                    self.after(
                        wait,
                        Happening::Master {
                            life,
                            event: Event::TimerFired(key),
                        },
                    );
                }
                Effect::CancelTimer { key } => {
                    self.master.timers.remove(&key);
                }
                Effect::Record(fact) => self.note(format!("master: {}", brief(&fact))),
                Effect::Reply { .. } => return Err("a reply that nobody waits for".into()),
            }
        }
        self.flush_master()
    }

    fn enqueue(&mut self, peer: Peer, after: After, out: Out) {
        self.master
            .queues
            .entry(peer)
            .or_default()
            .push_back((after, out));
    }

    /// Sends what may leave; what waits holds back what comes after it.
    fn flush_master(&mut self) -> Result<(), String> {
        let durable = self.master.durable;
        let is_broken = self.faults.breakage == Some(Breakage::MasterVisibleBeforeDurable);
        let mut ready = Vec::new();
        for (peer, queue) in &mut self.master.queues {
            while let Some((after, _)) = queue.front() {
                if !is_broken && matches!(after, After::Seq(seq) if seq.0 > durable) {
                    break;
                }
                if let Some((_, out)) = queue.pop_front() {
                    ready.push((*peer, out));
                }
            }
        }
        self.master.queues.retain(|_, queue| !queue.is_empty());
        for (peer, out) in ready {
            match (peer, out) {
                (Peer::Link(link), Out::Link(message)) => self.send_to_agent(link, message),
                (Peer::Session(session), Out::Session(sequence, event)) => {
                    self.send_to_framework(session, sequence, event);
                }
                (Peer::Link(link), _) => self.cut_link(link)?,
                (Peer::Session(session), _) => self.cut_session(session)?,
            }
        }
        Ok(())
    }
}

/// A fact on one line; rows by what changes in them.
fn brief(fact: &Fact) -> String {
    match fact {
        Fact::Agent(row) => format!("agent {} {}, {} tasks", row.agent, row.state, row.tasks),
        Fact::Framework(row) => format!(
            "demand {}, {} offers, {} tasks",
            row.demand, row.offers, row.tasks
        ),
        Fact::Task(row) => format!("{} {} #{}", row.task, row.status.state, row.status.number),
        other => format!("{other:?}"),
    }
}
