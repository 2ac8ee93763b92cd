//! A simulated host: a disk, processes that outlive the agent, and the agent's core while it is up.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use proffer_agent_core::core::{Core, Settings};
use proffer_agent_core::effect::{After, Change, Effect, Entry, Fact, Signal};
use proffer_agent_core::event::{
    Ended, Event, Found, Identity, LinkId, RecoveredRun, RunId, Seq, TimerKey,
};
use proffer_model::{AgentDescription, Attributes, Exit, TaskSpec};

use super::world::{Breakage, Happening, MS, SECOND, World};

/// A process as the host knows it.
struct Process {
    spec: Arc<TaskSpec>,
    exit: Option<Exit>,
}

pub(super) struct Host {
    number: usize,
    is_growing: bool,
    pub(super) life: u64,
    core: Option<Core>,
    link: Option<u64>,
    identity: Identity,
    runs: BTreeMap<RunId, RecoveredRun>,
    processes: BTreeMap<RunId, Process>,
    specs: BTreeMap<RunId, Arc<TaskSpec>>,
    writing: VecDeque<(u64, Change)>,
    written_at: u64,
    durable: u64,
    waiting: VecDeque<(u64, Effect)>,
    timers: BTreeMap<TimerKey, u64>,
}

impl Host {
    pub(super) fn new(number: usize, is_growing: bool) -> Self {
        Self {
            number,
            is_growing,
            life: 0,
            core: None,
            link: None,
            identity: Identity::default(),
            runs: BTreeMap::new(),
            processes: BTreeMap::new(),
            specs: BTreeMap::new(),
            writing: VecDeque::new(),
            written_at: 0,
            durable: 0,
            waiting: VecDeque::new(),
            timers: BTreeMap::new(),
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.core.is_some()
    }

    /// No process runs and every status is acknowledged.
    pub(super) fn is_quiet(&self) -> bool {
        self.processes
            .values()
            .all(|process| process.exit.is_some())
            && self.runs.values().all(|run| {
                run.acknowledged >= run.statuses.last().map_or(0, |status| status.number)
            })
    }

    pub(super) fn jitter(&self) -> u64 {
        (self.number as u64 + 1) * 37 * MS
    }

    /// A growing host is given more now and then before its agent is started again, up to twice what it had.
    fn cpus(&self) -> u64 {
        let more = if self.is_growing { self.life / 4 } else { 0 };
        (4 + more).min(8)
    }

    fn settings(&self) -> Settings {
        let description = AgentDescription {
            host: format!("host{}", self.number),
            address: format!("host{}:5051", self.number),
            resources: format!("cpus:{};mem:4000;ports:[31000-31099]", self.cpus())
                .parse()
                .expect("good resources"),
            attributes: Attributes::default(),
            domain: None,
            version: "sim".into(),
        };
        let seed = (self.number as u64) << 32 | self.life;
        Settings {
            description,
            seed,
            garbage_delay: Duration::from_secs(30),
        }
    }
}

impl World {
    pub(super) fn agent_starts(&mut self, host: usize) -> Result<(), String> {
        let forgets = self.faults.breakage == Some(Breakage::AgentForgets);
        let starts_twice = self.faults.breakage == Some(Breakage::AgentStartsTwice);
        let it = &mut self.hosts[host];
        it.life += 1;
        it.core = Some(Core::new(it.settings()));
        let mut runs: Vec<RecoveredRun> = it.runs.values().cloned().collect();
        for run in &mut runs {
            run.found = match it.processes.get(&run.run) {
                None => Found::NeverStarted,
                Some(_) if starts_twice => Found::NeverStarted,
                Some(Process {
                    exit: Some(exit), ..
                }) => Found::Exited(Ended::from(*exit)),
                Some(Process { exit: None, .. }) => Found::Running { pid: 1 },
            };
        }
        if forgets {
            runs.clear();
        }
        let (identity, boot, life) = (it.identity.clone(), "boot".to_owned(), it.life);
        self.note(format!("agent {host}: starts with {} runs", runs.len()));
        self.agent_event(
            host,
            life,
            Event::Recovered {
                identity,
                boot,
                runs,
            },
        )?;
        self.after(MS, Happening::AgentConnects { host, life });
        Ok(())
    }

    pub(super) fn agent_crashes(&mut self, host: usize) -> Result<(), String> {
        let it = &mut self.hosts[host];
        it.life += 1;
        it.core = None;
        it.writing.clear();
        it.waiting.clear();
        it.timers.clear();
        it.durable = 0;
        if let Some(link) = it.link.take() {
            self.cut_link(link)?;
        }
        // Now and then so long that it counts as unreachable.
        let most = if self.random.one_in(10) { 60 } else { 10 };
        let down = 50 * MS + self.random.below(most * SECOND);
        self.after(down, Happening::AgentStarts { host });
        Ok(())
    }

    pub(super) fn agent_connects(&mut self, host: usize, life: u64) -> Result<(), String> {
        let it = &self.hosts[host];
        if it.life != life || !it.is_up() || it.link.is_some() {
            return Ok(());
        }
        if !self.master.is_up() {
            self.after(
                100 * MS + self.hosts[host].jitter(),
                Happening::AgentConnects { host, life },
            );
            return Ok(());
        }
        self.connections += 1;
        let link = self.connections;
        let connection = self.connection(host);
        self.links.insert(link, connection);
        self.hosts[host].link = Some(link);
        self.agent_event(host, life, Event::LinkOpened(LinkId(link)))
    }

    pub(super) fn agent_event(
        &mut self,
        host: usize,
        life: u64,
        event: Event,
    ) -> Result<(), String> {
        let (now, is_audit) = (self.time(), self.is_audit());
        let it = &mut self.hosts[host];
        if life != it.life {
            return Ok(());
        }
        match &event {
            Event::TimerFired(key) => match it.timers.get(key) {
                Some(at) if *at <= now.mono_ns => {
                    it.timers.remove(key);
                }
                _ => return Ok(()),
            },
            Event::LinkClosed(link) if it.link == Some(link.0) => it.link = None,
            Event::LinkClosed(_) => return Ok(()),
            _ => {}
        }
        let Some(core) = &mut it.core else {
            return Ok(());
        };
        let mut effects = Vec::new();
        core.step(now, event, &mut effects);
        if is_audit {
            core.check_invariants()
                .map_err(|fault| format!("agent {host}: {fault}"))?;
        }
        self.agent_effects(host, effects)
    }

    pub(super) fn agent_stored(&mut self, host: usize, life: u64, seq: u64) -> Result<(), String> {
        let it = &mut self.hosts[host];
        if life != it.life {
            return Ok(());
        }
        while it.writing.front().is_some_and(|(number, _)| *number <= seq) {
            let Some((_, change)) = it.writing.pop_front() else {
                break;
            };
            write(it, change);
        }
        it.durable = seq;
        self.release_agent(host)?;
        self.agent_event(host, life, Event::Persisted(Seq(seq)))
    }

    fn agent_effects(&mut self, host: usize, effects: Vec<Effect>) -> Result<(), String> {
        let is_broken = self.faults.breakage == Some(Breakage::AgentVisibleBeforeDurable);
        let mut last = self.hosts[host].durable + self.hosts[host].writing.len() as u64;
        for effect in effects {
            let after = match &effect {
                Effect::Send {
                    after: After::Seq(seq),
                    ..
                }
                | Effect::SignalContainer {
                    after: After::Seq(seq),
                    ..
                } => seq.0,
                Effect::RemoveRun(_) => last,
                _ => 0,
            };
            match effect {
                Effect::Persist { seq, change } => {
                    last = seq.0;
                    let wait = MS / 10 + self.random.below(self.faults.persist_ms_max * MS);
                    let it = &mut self.hosts[host];
                    it.written_at = (self.now + wait).max(it.written_at + 1);
                    it.writing.push_back((seq.0, change));
                    let (wait, life) = (it.written_at - self.now, it.life);
                    self.after(
                        wait,
                        Happening::AgentStored {
                            host,
                            life,
                            seq: seq.0,
                        },
                    );
                }
                Effect::SetTimer { key, at } => {
                    let it = &mut self.hosts[host];
                    it.timers.insert(key, at.mono_ns);
                    let (life, wait) = (it.life, at.mono_ns.saturating_sub(self.now));
                    self.after(
                        wait,
                        Happening::Agent {
                            host,
                            life,
                            event: Event::TimerFired(key),
                        },
                    );
                }
                Effect::CancelTimer(key) => {
                    self.hosts[host].timers.remove(&key);
                }
                Effect::StartContainer { run, spec } => {
                    let (life, wait) = (self.hosts[host].life, MS + self.random.below(30 * MS));
                    self.hosts[host].specs.insert(run, spec);
                    self.after(wait, Happening::ContainerStarts { host, life, run });
                }
                Effect::CloseLink(link) => self.cut_link(link.0)?,
                Effect::RunCheck { .. } => return Err("a check of a task without checks".into()),
                Effect::KeepVolumes(_) => {}
                Effect::Record(fact) => self.note(format!("agent {host}: {}", brief(&fact))),
                gated @ (Effect::Send { .. }
                | Effect::SignalContainer { .. }
                | Effect::RemoveRun(_)) => {
                    let after = if is_broken { 0 } else { after };
                    self.hosts[host].waiting.push_back((after, gated));
                }
            }
        }
        self.release_agent(host)
    }

    fn release_agent(&mut self, host: usize) -> Result<(), String> {
        loop {
            let it = &mut self.hosts[host];
            if it
                .waiting
                .front()
                .is_none_or(|(after, _)| *after > it.durable)
            {
                return Ok(());
            }
            match it.waiting.pop_front() {
                Some((_, Effect::Send { link, message, .. })) => {
                    self.send_to_master(link.0, message)
                }
                Some((_, Effect::SignalContainer { run, signal, .. })) => {
                    self.signal(host, run, signal)?
                }
                Some((_, Effect::RemoveRun(run))) => {
                    let process = it.processes.remove(&run);
                    it.runs.remove(&run);
                    it.specs.remove(&run);
                    if process.is_some_and(|process| process.exit.is_none()) {
                        return Err(format!("agent {host} removes run {run}, which runs"));
                    }
                }
                _ => return Ok(()),
            }
        }
    }

    pub(super) fn container_starts(
        &mut self,
        host: usize,
        life: u64,
        run: RunId,
    ) -> Result<(), String> {
        let it = &mut self.hosts[host];
        let Some(spec) = it.specs.get(&run).cloned() else {
            return Ok(());
        };
        if life != it.life {
            return Ok(());
        }
        if !it.runs.contains_key(&run) {
            return Err(format!(
                "agent {host} starts {} before its checkpoint is durable",
                spec.id
            ));
        }
        it.processes.insert(
            run,
            Process {
                spec: Arc::clone(&spec),
                exit: None,
            },
        );
        let live = it
            .processes
            .values()
            .filter(|process| process.exit.is_none());
        let resources = live.map(|process| &process.spec.resources);
        self.checks
            .on_started(&spec.id, host, it.cpus(), resources)?;
        self.note(format!("agent {host}: {} runs", spec.id));
        let wait = 50 * MS + self.random.below(60 * SECOND);
        let exit = if self.random.one_in(10) {
            Exit::Code(1)
        } else {
            Exit::Code(0)
        };
        self.after(wait, Happening::ProcessEnds { host, run, exit });
        if self.faults.breakage == Some(Breakage::Killed) && self.random.one_in(5) {
            self.signal(host, run, Signal::Kill)?;
        }
        self.agent_event(host, life, Event::ContainerStarted { run, pid: 1 })
    }

    /// A process outlives its agent: whoever is there then learns of its end, or finds it at recovery.
    pub(super) fn process_ends(
        &mut self,
        host: usize,
        run: RunId,
        exit: Exit,
    ) -> Result<(), String> {
        let it = &mut self.hosts[host];
        let Some(process) = it
            .processes
            .get_mut(&run)
            .filter(|process| process.exit.is_none())
        else {
            return Ok(());
        };
        process.exit = Some(exit);
        let (task, life) = (process.spec.id.clone(), it.life);
        self.note(format!("agent {host}: {task} ends with {exit:?}"));
        self.agent_event(
            host,
            life,
            Event::ContainerExited {
                run,
                ended: exit.into(),
            },
        )
    }

    fn signal(&mut self, host: usize, run: RunId, signal: Signal) -> Result<(), String> {
        let Some(process) = self.hosts[host]
            .processes
            .get(&run)
            .filter(|process| process.exit.is_none())
        else {
            return Ok(());
        };
        self.checks.on_signalled(&process.spec.id)?;
        let (number, heeds) = match signal {
            Signal::Terminate => (15, !self.random.one_in(4)),
            Signal::Kill => (9, true),
        };
        if heeds {
            let wait = self.random.below(200 * MS);
            self.after(
                wait,
                Happening::ProcessEnds {
                    host,
                    run,
                    exit: Exit::Signal(number),
                },
            );
        }
        Ok(())
    }
}

fn write(host: &mut Host, change: Change) {
    match change {
        Change::Identity(identity) => host.identity = identity,
        Change::Run {
            run,
            framework,
            incarnation,
            spec,
            payer,
            status,
        } => {
            let spec = TaskSpec::clone(&spec);
            let (statuses, acknowledged, kill, found) =
                (vec![status], 0, None, Found::NeverStarted);
            let fresh = RecoveredRun {
                run,
                framework,
                incarnation,
                spec,
                payer,
                statuses,
                acknowledged,
                kill,
                found,
            };
            host.runs.insert(run, fresh);
        }
        Change::Entry { run, entry } => {
            let Some(kept) = host.runs.get_mut(&run) else {
                return;
            };
            match entry {
                Entry::Made(status) => kept.statuses.push(status),
                Entry::Acknowledged(number) => kept.acknowledged = number,
                Entry::Kill { grace, reason } => kept.kill = Some((grace, reason)),
            }
        }
    }
}

/// A fact on one line; rows by what changes in them.
fn brief(fact: &Fact) -> String {
    match fact {
        Fact::Task(row) => format!(
            "{} {} #{}",
            row.status.task, row.status.state, row.status.number
        ),
        other => format!("{other:?}"),
    }
}
