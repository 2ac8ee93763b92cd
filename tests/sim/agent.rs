//! A simulated host: a disk, processes that outlive the agent, and the agent's core while it is up.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use proffer_agent_core::core::{Core, Settings};
use proffer_agent_core::effect::{After, Change, Effect, Entry, Fact, Signal};
use proffer_agent_core::event::{
    Ended, Event, Found, Identity, LinkId, RecoveredExecutor, RecoveredRun, RunId, Seq, TimerKey,
};
use proffer_model::link::ToAgent;
use proffer_model::{
    AgentDescription, Attributes, Exit, FaultDomain, Incarnation, Resources, TaskSpec, TaskState,
    code,
};

use super::breakage::Breakage;
use super::coverage::Seen;
use super::executor::Executor;
use super::network::Parcel;
use super::process::Who;
use super::story::tell;
use super::world::{Happening, Input, MS, Outcome, SECOND, World};

const AUDIT_INTERVAL: u64 = 100;

/// A process as the host knows it.
struct Process {
    spec: Arc<TaskSpec>,
    exit: Option<Exit>,
    /// It went with its host, and nobody knows how.
    is_gone: bool,
}

pub(super) struct Host {
    core: Option<Core>,
    link: Option<u64>,
    /// Links that were given up; a broken agent still listens to them.
    old_links: BTreeSet<u64>,
    is_connecting: bool,
    next_master: usize,
    /// The newest leader that was heard of, and its epoch.
    leader: (u64, usize),
    /// The agent that runs has heard that it is gone.
    is_told_gone: bool,
    boots: u64,
    identity: Identity,
    runs: BTreeMap<RunId, RecoveredRun>,
    processes: BTreeMap<RunId, Process>,
    /// Starts of executors, as they are on the disk, and as they are.
    pub(super) executors: BTreeMap<RunId, RecoveredExecutor>,
    pub(super) crews: BTreeMap<RunId, Executor>,
    /// Executors that may subscribe.
    pub(super) doors: BTreeSet<RunId>,
    specs: BTreeMap<RunId, Arc<TaskSpec>>,
    writing: VecDeque<(u64, Change)>,
    written_at: u64,
    durable: u64,
    waiting: VecDeque<(u64, Effect)>,
    timers: BTreeMap<TimerKey, u64>,
    steps: u64,
}

impl Host {
    pub(super) fn new(number: usize) -> Self {
        Self {
            core: None,
            link: None,
            old_links: BTreeSet::new(),
            is_connecting: false,
            next_master: number,
            leader: (0, 0),
            is_told_gone: false,
            boots: 1,
            identity: Identity::default(),
            runs: BTreeMap::new(),
            processes: BTreeMap::new(),
            executors: BTreeMap::new(),
            crews: BTreeMap::new(),
            doors: BTreeSet::new(),
            specs: BTreeMap::new(),
            writing: VecDeque::new(),
            written_at: 0,
            durable: 0,
            waiting: VecDeque::new(),
            timers: BTreeMap::new(),
            steps: 0,
        }
    }

    pub(super) fn is_writing(&self) -> bool {
        !self.writing.is_empty()
    }

    /// No process runs and every status is acknowledged, if there is anybody to do so.
    pub(super) fn is_quiet(&self) -> bool {
        let is_over = |process: &Process| process.exit.is_some() || process.is_gone;
        let is_idle = |executor: &Executor| executor.live().next().is_none();
        self.processes.values().all(is_over)
            && self.crews.values().all(is_idle)
            && self.runs.values().all(|run| {
                if self.is_told_gone {
                    return true;
                }
                run.acknowledged >= run.statuses.last().map_or(0, |status| status.number)
            })
    }

    /// Its agent is gone, knows it, and has ended all.
    pub(super) fn may_join_anew(&self) -> bool {
        let mut executors = self.crews.values();
        self.is_told_gone && self.is_quiet() && !executors.any(Executor::is_live)
    }

    /// What everything holds that runs.
    pub(super) fn held(&self) -> Vec<Resources> {
        let processes = self.processes.values();
        let live = processes.filter(|process| process.exit.is_none() && !process.is_gone);
        let mut held: Vec<Resources> = live.map(|it| it.spec.resources.clone()).collect();
        for executor in self.crews.values().filter(|executor| executor.is_live()) {
            held.push(executor.spec.resources.clone());
            held.extend(executor.live().map(|spec| spec.resources.clone()));
        }
        held
    }

    pub(super) fn describe(&self) -> String {
        let runs: Vec<String> = self
            .runs
            .values()
            .map(|run| {
                let last = run.statuses.last();
                let state = last.map_or("?".to_owned(), |status| status.state.to_string());
                format!("{} {state} acknowledged {}", run.spec.id, run.acknowledged)
            })
            .collect();
        format!(
            "agent {:?} epoch {} link {:?} core {} runs: {}",
            self.identity.agent.as_ref().map(ToString::to_string),
            self.identity.epoch,
            self.link,
            self.core.is_some(),
            runs.join("; ")
        )
    }
}

/// A growing host is given more now and then before its agent is started again, up to twice what it had.
pub(super) fn cpus(world: &World, n: usize) -> u64 {
    let life = world.processes[&Who::Agent(n)].life;
    let more = if world.faults.grows { life / 4 } else { 0 };
    (4 + more).min(8)
}

fn settings(world: &World, n: usize) -> Settings {
    let resources = format!("cpus:{};mem:4000;ports:[31000-31099]", cpus(world, n));
    let description = AgentDescription {
        host: format!("host{n}"),
        address: format!("host{n}:5051"),
        resources: resources.parse().expect("good resources"),
        attributes: Attributes::default(),
        // Three zones, whose hosts are started and lost one by one.
        domain: FaultDomain::new("sim", &format!("zone{}", n % 3)).ok(),
        version: "sim".into(),
    };
    let number = u64::try_from(n).expect("small");
    Settings {
        description,
        seed: number << 32 | world.processes[&Who::Agent(n)].life,
        garbage_delay: Duration::from_secs(30),
        executor_wait: Duration::from_secs(30),
    }
}

impl World {
    pub(super) fn agent_starts(&mut self, n: usize) -> Outcome {
        let settings = settings(self, n);
        let (forgets, twice, rewrites) = (
            self.is_broken(Breakage::AgentForgets),
            self.is_broken(Breakage::AgentStartsTwice),
            self.is_broken(Breakage::TerminalRewritten),
        );
        let it = &mut self.hosts[n];
        it.core = Some(Core::new(settings));
        let mut runs: Vec<RecoveredRun> = it.runs.values().cloned().collect();
        for run in &mut runs {
            run.found = match it.processes.get(&run.run) {
                None => Found::NeverStarted,
                Some(_) if twice => Found::NeverStarted,
                Some(Process {
                    exit: Some(exit), ..
                }) => Found::Exited(Ended::from(*exit)),
                Some(Process { is_gone: true, .. }) => Found::SupervisorLost,
                Some(_) => Found::Running { pid: 1 },
            };
            if rewrites
                && let Some(last) = run.statuses.last_mut()
                && last.state.is_terminal()
            {
                last.state = match last.state {
                    TaskState::Finished => TaskState::Failed,
                    _ => TaskState::Finished,
                };
            }
        }
        if forgets {
            runs.clear();
        }
        let mut executors: Vec<RecoveredExecutor> = it.executors.values().cloned().collect();
        for kept in &mut executors {
            kept.found = match it.crews.get(&kept.run) {
                None => Found::NeverStarted,
                Some(executor) if executor.is_gone => Found::SupervisorLost,
                Some(executor) => match executor.exit {
                    Some(exit) => Found::Exited(Ended::from(exit)),
                    None => Found::Running { pid: 1 },
                },
            };
        }
        let (identity, boot) = (it.identity.clone(), format!("boot{}", it.boots));
        tell!(self, "{}starts with {} runs", Who::Agent(n), runs.len());
        self.step_agent(
            n,
            Event::Recovered {
                identity,
                boot,
                runs,
                executors,
            },
        )?;
        self.agent_looks_for_leader(n, MS);
        Ok(())
    }

    /// The agent's process is no more. Of what was being written some may be on the disk.
    pub(super) fn agent_dies(&mut self, n: usize) {
        let kept = self.random.index(self.hosts[n].writing.len() + 1);
        let it = &mut self.hosts[n];
        if it.writing.len() > kept {
            self.seen.count(Seen::WritesLost);
        }
        if kept > 0 {
            self.seen.count(Seen::WritesPartlyKept);
        }
        let written: Vec<Change> = it.writing.drain(..kept).map(|(_, change)| change).collect();
        written.into_iter().for_each(|change| write(it, change));
        it.core = None;
        it.link = None;
        it.old_links.clear();
        it.is_connecting = false;
        it.is_told_gone = false;
        it.writing.clear();
        it.waiting.clear();
        it.timers.clear();
        it.durable = 0;
        self.executors_lose_agent(n);
    }

    /// The agent's directory is removed, so that it begins as another one.
    pub(super) fn host_joins_anew(&mut self, n: usize) {
        let boots = self.hosts[n].boots;
        self.hosts[n] = Host {
            boots,
            ..Host::new(n)
        };
    }

    /// The whole host goes: its processes too.
    pub(super) fn host_restarts(&mut self, n: usize) {
        self.hosts[n].boots += 1;
        for process in self.hosts[n].processes.values_mut() {
            if process.exit.is_none() && !process.is_gone {
                process.is_gone = true;
                self.checks.on_gone(&process.spec.id);
            }
        }
        self.executors_go(n);
    }

    fn agent_looks_for_leader(&mut self, n: usize, wait: u64) {
        let jitter = self.random.below(100 * MS);
        // What is refused for good is tried seldom.
        let wait = if self.hosts[n].is_told_gone {
            2 * SECOND
        } else {
            wait
        };
        self.input_after(wait + jitter, Who::Agent(n), Input::LooksForLeader);
    }

    pub(super) fn agent_connects(&mut self, n: usize) {
        let it = &mut self.hosts[n];
        if it.core.is_none() || it.link.is_some() || it.is_connecting {
            return;
        }
        it.is_connecting = true;
        let master = it.next_master % self.masters.len();
        it.next_master += 1;
        self.connect(Who::Agent(n), master, "agent");
    }

    pub(super) fn agent_opened(&mut self, n: usize, connection: u64) -> Outcome {
        self.hosts[n].is_connecting = false;
        self.hosts[n].link = Some(connection);
        self.step_agent(n, Event::LinkOpened(LinkId(connection)))
    }

    pub(super) fn agent_not_opened(&mut self, n: usize) {
        self.hosts[n].is_connecting = false;
        self.agent_looks_for_leader(n, 50 * MS);
    }

    pub(super) fn agent_lost(&mut self, n: usize, connection: u64) -> Outcome {
        self.hosts[n].old_links.remove(&connection);
        if self.hosts[n].link == Some(connection) {
            self.hosts[n].link = None;
            self.agent_looks_for_leader(n, 50 * MS);
        }
        self.step_agent(n, Event::LinkClosed(LinkId(connection)))
    }

    /// A master says that it leads.
    pub(super) fn agent_hears_of_leader(&mut self, n: usize, epoch: u64, master: usize) {
        let it = &mut self.hosts[n];
        if epoch <= it.leader.0 || it.core.is_none() {
            return;
        }
        it.leader = (epoch, master);
        it.next_master = master + 1;
        if !it.is_connecting {
            it.is_connecting = true;
            self.connect(Who::Agent(n), master, "agent");
        }
    }

    pub(super) fn agent_hears(&mut self, n: usize, connection: u64, parcel: Parcel) -> Outcome {
        let Parcel::ToAgent(mut message) = parcel else {
            return Err("an agent hears what is not for it".into());
        };
        if self.is_broken(Breakage::GoneUnheard)
            && matches!(&message, ToAgent::Refused(problem) if problem.is(code::AGENT_GONE))
        {
            return Ok(());
        }
        let it = &self.hosts[n];
        let mut link = connection;
        if it.link != Some(connection) {
            if !self.is_broken(Breakage::OldEpochObeyed) {
                return Ok(());
            }
            let current = it.identity.epoch;
            if let (ToAgent::Launch { epoch, .. } | ToAgent::Kill { epoch, .. }, Some(now)) =
                (&mut message, it.link)
            {
                *epoch = current;
                link = now;
            }
        }
        self.step_agent(
            n,
            Event::LinkMessage {
                link: LinkId(link),
                message,
            },
        )
    }

    pub(super) fn on_agent_timer(&mut self, n: usize, key: TimerKey) -> Outcome {
        let now = self.time(Who::Agent(n));
        match self.hosts[n].timers.get(&key) {
            Some(at) if *at <= now.mono_ns => {
                self.hosts[n].timers.remove(&key);
                self.step_agent(n, Event::TimerFired(key))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn step_agent(&mut self, n: usize, event: Event) -> Outcome {
        let now = self.time(Who::Agent(n));
        let it = &mut self.hosts[n];
        let Some(core) = &mut it.core else {
            return Ok(());
        };
        let mut effects = Vec::new();
        core.step(now, event, &mut effects);
        it.steps += 1;
        if it.steps.is_multiple_of(AUDIT_INTERVAL) {
            core.check_invariants()
                .map_err(|fault| format!("agent {n}: {fault}"))?;
        }
        self.agent_effects(n, effects)
    }

    /// What was written is on the disk.
    pub(super) fn agent_written(&mut self, n: usize, seq: u64) -> Outcome {
        let it = &mut self.hosts[n];
        while it.writing.front().is_some_and(|(number, _)| *number <= seq) {
            let Some((_, change)) = it.writing.pop_front() else {
                break;
            };
            write(it, change);
        }
        it.durable = seq;
        self.release_agent(n)?;
        self.step_agent(n, Event::Persisted(Seq(seq)))
    }

    fn agent_effects(&mut self, n: usize, effects: Vec<Effect>) -> Outcome {
        let who = Who::Agent(n);
        let is_broken = self.is_broken(Breakage::AgentVisibleBeforeDurable);
        let mut last = self.hosts[n]
            .writing
            .back()
            .map_or(self.hosts[n].durable, |(seq, _)| *seq);
        let mut recorded = Vec::new();
        for effect in effects {
            let after = match &effect {
                Effect::Send {
                    after: After::Seq(seq),
                    ..
                }
                | Effect::SendExecutor {
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
                    self.judge_change(n, &change)?;
                    if matches!(change, Change::Run(_) | Change::Group(_)) {
                        recorded.push(seq);
                    }
                    self.write_later(n, seq.0, change);
                }
                Effect::SetTimer { key, at } => {
                    let when = self.processes[&who].clock.when(at.mono_ns);
                    if self.hosts[n].timers.insert(key, at.mono_ns) != Some(at.mono_ns) {
                        self.input_at(when, who, Input::AgentTimer(key));
                    }
                }
                Effect::CancelTimer(key) => {
                    self.hosts[n].timers.remove(&key);
                }
                Effect::StartContainer { run, spec } => {
                    let wait = MS + self.random.below(30 * MS);
                    self.hosts[n].specs.insert(run, spec);
                    self.input_after(wait, who, Input::ContainerStarts(run));
                }
                Effect::CloseLink(link) => self.agent_closes(n, link.0),
                Effect::Record(fact) => self.on_agent_fact(n, &fact),
                Effect::StartExecutor { run, .. } => {
                    let wait = MS + self.random.below(30 * MS);
                    self.hosts[n].doors.insert(run);
                    self.input_after(wait, who, Input::ExecutorStarts(run));
                }
                Effect::AwaitExecutor { run, .. } => {
                    self.hosts[n].doors.insert(run);
                }
                Effect::LeaveExecutor { run } => {
                    self.hosts[n].doors.remove(&run);
                    let executor = self.hosts[n].crews.get(&run);
                    if let Some(session) = executor.and_then(Executor::session) {
                        self.agent_says(n, session, None);
                    }
                }
                gated @ (Effect::Send { .. }
                | Effect::SendExecutor { .. }
                | Effect::CloseExecutor { .. }
                | Effect::SignalContainer { .. }
                | Effect::RemoveRun(_)) => {
                    let after = if is_broken { 0 } else { after };
                    self.hosts[n].waiting.push_back((after, gated));
                }
                // No task has a volume, or anything fetched.
                Effect::KeepVolumes(_) | Effect::StopFetching { .. } => {}
                other => return Err(format!("the simulation has no {other:?}")),
            }
        }
        self.release_agent(n)?;
        if self.is_broken(Breakage::StartedBeforeRecorded) {
            for seq in recorded {
                self.step_agent(n, Event::Persisted(seq))?;
            }
        }
        Ok(())
    }

    fn write_later(&mut self, n: usize, seq: u64, change: Change) {
        let wait = MS / 10 + self.random.below(self.faults.disk_ms_max * MS);
        let it = &mut self.hosts[n];
        it.written_at = (self.now + wait).max(it.written_at + 1);
        it.writing.push_back((seq, change));
        let when = it.written_at;
        self.input_at(when, Who::Agent(n), Input::Written(seq));
    }

    /// A change that will be durable must be one that may be made.
    fn judge_change(&mut self, n: usize, change: &Change) -> Outcome {
        match change {
            Change::Run(made) => {
                let obeyed = self.hosts[n].obeyed();
                let epoch = made.incarnation.0 >> 32;
                self.checks.on_group_recorded(&[&made.spec.id])?;
                self.checks.on_recorded(n, &made.spec.id, epoch, obeyed)
            }
            Change::Entry {
                run,
                entry: Entry::Acknowledged(number),
            } => {
                let spec = self.hosts[n].core_run(*run);
                self.checks.on_forgotten(spec.as_ref(), *number)
            }
            Change::Entry {
                run,
                entry:
                    Entry::Changed {
                        labels: Some(labels),
                        ..
                    },
            } => {
                self.seen.count(Seen::TaskChanged);
                let Some((task, incarnation)) = self.hosts[n].core_run(*run) else {
                    return Err(format!("agent {n} changes {run}, which is no task"));
                };
                let incarnation = Incarnation(incarnation);
                self.checks.changes.on_kept(&task, incarnation, labels)
            }
            Change::Group(made) => {
                let tasks: Vec<_> = made.iter().map(|made| &made.spec.id).collect();
                self.checks.on_group_recorded(&tasks)?;
                let obeyed = self.hosts[n].obeyed();
                made.iter().try_for_each(|made| {
                    let epoch = made.incarnation.0 >> 32;
                    self.checks.on_recorded(n, &made.spec.id, epoch, obeyed)
                })
            }
            _ => Ok(()),
        }
    }

    fn agent_closes(&mut self, n: usize, link: u64) {
        if self.is_broken(Breakage::OldEpochObeyed) {
            self.hosts[n].old_links.insert(link);
        } else {
            self.close(Who::Agent(n), link, false);
        }
        if self.hosts[n].link == Some(link) {
            self.hosts[n].link = None;
            self.agent_looks_for_leader(n, 50 * MS);
        }
    }

    fn on_agent_fact(&mut self, n: usize, fact: &Fact) {
        match fact {
            Fact::StatusesResent { .. } => self.seen.count(Seen::StatusRepeated),
            Fact::Gone(_) => {
                self.seen.count(Seen::GoneAgentRefused);
                self.hosts[n].is_told_gone = true;
            }
            _ => {}
        }
        tell!(self, "{}{}", Who::Agent(n), brief(fact));
    }

    fn release_agent(&mut self, n: usize) -> Outcome {
        loop {
            let it = &mut self.hosts[n];
            if it
                .waiting
                .front()
                .is_none_or(|(after, _)| *after > it.durable)
            {
                return Ok(());
            }
            match it.waiting.pop_front() {
                Some((_, Effect::Send { link, message, .. })) => {
                    self.send(Who::Agent(n), link.0, Parcel::ToMaster(message));
                }
                Some((_, Effect::SendExecutor { session, event, .. })) => {
                    self.agent_says(n, session.0, Some(event));
                }
                Some((_, Effect::CloseExecutor { session })) => {
                    self.agent_says(n, session.0, None);
                }
                Some((_, Effect::SignalContainer { run, signal, .. })) => {
                    self.signal(n, run, signal)?
                }
                Some((_, Effect::RemoveRun(run))) => {
                    let process = it.processes.remove(&run);
                    it.runs.remove(&run);
                    it.specs.remove(&run);
                    it.executors.remove(&run);
                    let executor = it.crews.remove(&run);
                    if executor.is_some_and(|executor| executor.is_live()) {
                        return Err(format!("agent {n} removes executor {run}, which runs"));
                    }
                    if process.is_some_and(|process| process.exit.is_none() && !process.is_gone) {
                        return Err(format!("agent {n} removes run {run}, which runs"));
                    }
                }
                _ => return Ok(()),
            }
        }
    }

    pub(super) fn container_starts(&mut self, n: usize, run: RunId) -> Outcome {
        let Some(spec) = self.hosts[n].specs.get(&run).cloned() else {
            return Ok(());
        };
        let Some(kept) = self.hosts[n].runs.get(&run) else {
            return Err(format!(
                "agent {n} starts {} before its checkpoint is durable",
                spec.id
            ));
        };
        let incarnation = kept.incarnation;
        let process = Process {
            spec: Arc::clone(&spec),
            exit: None,
            is_gone: false,
        };
        self.hosts[n].processes.insert(run, process);
        let held = self.hosts[n].held();
        self.checks
            .on_started(&spec.id, incarnation, n, cpus(self, n), &held)?;
        self.seen.count(Seen::TaskStarted);
        self.check_quota()?;
        tell!(self, "{}{} runs", Who::Agent(n), spec.id);
        let (wait, exit) = self.fate(&spec);
        self.after(wait, Happening::ProcessEnds { host: n, run, exit });
        if self.is_broken(Breakage::KilledUnasked) && self.random.one_in(5) {
            self.signal(n, run, Signal::Kill)?;
        }
        self.step_agent(n, Event::ContainerStarted { run, pid: 1 })
    }

    /// How long a process runs and how it ends: its first letter says what kind of task it is.
    pub(super) fn fate(&mut self, spec: &TaskSpec) -> (u64, Exit) {
        let wait = match spec.id.as_str().as_bytes().first() {
            Some(b's' | b't') => 100 * SECOND + self.random.below(2_000 * SECOND),
            Some(b'g') => SECOND + self.random.below(20 * SECOND),
            _ => 50 * MS + self.random.below(40 * SECOND),
        };
        let exit = if self.random.one_in(10) {
            Exit::Code(1)
        } else {
            Exit::Code(0)
        };
        (wait, exit)
    }

    /// A process outlives its agent: whoever is there then learns of its end, or finds it at recovery.
    pub(super) fn process_ends(&mut self, n: usize, run: RunId, exit: Exit) -> Outcome {
        let Some(process) = self.hosts[n].processes.get_mut(&run) else {
            return Ok(());
        };
        if process.exit.is_some() || process.is_gone {
            return Ok(());
        }
        process.exit = Some(exit);
        let task = process.spec.id.clone();
        self.checks.on_ended(&task, exit == Exit::Code(0));
        tell!(self, "{}{task} ends with {exit:?}", Who::Agent(n));
        self.input_after(0, Who::Agent(n), Input::ContainerExited(run, exit));
        Ok(())
    }

    fn signal(&mut self, n: usize, run: RunId, signal: Signal) -> Outcome {
        let executor = self.hosts[n].crews.get(&run);
        if executor.is_some_and(Executor::is_live) {
            return self.signal_executor(n, run, signal == Signal::Kill);
        }
        let process = self.hosts[n].processes.get(&run);
        let Some(process) = process.filter(|process| process.exit.is_none() && !process.is_gone)
        else {
            return Ok(());
        };
        self.checks.on_signalled(&process.spec.id, n, self.now)?;
        self.seen.count(Seen::TaskKilled);
        let (number, heeds) = match signal {
            Signal::Terminate => (15, !self.random.one_in(4)),
            Signal::Kill => (9, true),
        };
        if heeds {
            let wait = self.random.below(200 * MS);
            let exit = Exit::Signal(number);
            self.after(wait, Happening::ProcessEnds { host: n, run, exit });
        }
        Ok(())
    }
}

impl Host {
    /// The greatest epoch that it has obeyed, durable or about to be.
    fn obeyed(&self) -> u64 {
        let writing = self.writing.iter().filter_map(|(_, change)| match change {
            Change::Identity(identity) => Some(identity.epoch.0),
            _ => None,
        });
        writing.chain([self.identity.epoch.0]).max().unwrap_or(0)
    }

    /// The task and launch of a run, durable or about to be.
    fn core_run(&self, run: RunId) -> Option<(proffer_model::TaskId, u64)> {
        if let Some(kept) = self.runs.get(&run) {
            return Some((kept.spec.id.clone(), kept.incarnation.0));
        }
        let mut made = self.writing.iter().flat_map(|(_, change)| match change {
            Change::Run(made) => std::slice::from_ref(made),
            Change::Group(made) => made,
            _ => &[],
        });
        let made = made.find(|made| made.run == run)?;
        Some((made.spec.id.clone(), made.incarnation.0))
    }
}

fn write(host: &mut Host, change: Change) {
    match change {
        Change::Identity(identity) => host.identity = identity,
        Change::Run(made) => {
            host.runs.insert(made.run, RecoveredRun::new(made));
        }
        Change::Group(made) => {
            let made = made
                .into_iter()
                .map(|made| (made.run, RecoveredRun::new(made)));
            host.runs.extend(made);
        }
        Change::Executor {
            run,
            framework,
            spec,
            payer,
        } => {
            let kept = RecoveredExecutor {
                run,
                framework,
                spec: (*spec).clone(),
                payer,
                end: None,
                told: None,
                found: Found::NeverStarted,
            };
            host.executors.insert(run, kept);
        }
        Change::Entry { run, entry } => match (host.executors.get_mut(&run), entry) {
            (Some(kept), Entry::Kill { grace, reason }) => kept.end = Some((grace, reason)),
            (_, entry) => {
                if let Some(kept) = host.runs.get_mut(&run) {
                    kept.take(entry);
                }
            }
        },
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
