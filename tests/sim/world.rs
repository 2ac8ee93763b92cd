//! Time, the queue of what will happen, and who it happens to.

use std::collections::BTreeMap;

use proffer_agent_core::event::{Event as AgentEvent, RunId, SessionId, TimerKey};
use proffer_model::session::Call;
use proffer_model::{Exit, Time};

use super::agent::Host;
use super::checks::Checks;
use super::coverage::{Coverage, Seen};
use super::ensemble::{Calling, Ensemble};
use super::executor::{ExecutorInput, Word};
use super::faults::Faults;
use super::framework::{Framework, FrameworkInput};
use super::master::{Master, MasterInput};
use super::network::{Network, Parcel};
use super::operator::{Operator, QUOTA_CPUS};
use super::process::{Process, Who};
use super::random::Random;
use super::story::{Story, tell};
use super::wants::{Kind, Wants};

pub(super) const MS: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1_000 * MS;
/// Faults come until then, and more is wanted.
pub(super) const FAULTS_END: u64 = 480 * SECOND;
/// By then everything must have come to its end.
const END: u64 = 1_500 * SECOND;
const MASTERS: usize = 3;

/// What a world does, or why a promise is broken.
pub(super) type Outcome = Result<(), String>;

/// What will happen.
pub(super) enum Happening {
    /// Something comes to a process; lost if that is in another life by then.
    To {
        who: Who,
        life: u64,
        input: Box<Input>,
    },
    Connects {
        connection: u64,
    },
    AtEnsemble(Box<Calling>),
    Ping {
        master: usize,
        life: u64,
        session: u64,
        sent_ns: u64,
    },
    SessionDue {
        session: u64,
    },
    SessionEnds {
        session: u64,
    },
    ProcessEnds {
        host: usize,
        run: RunId,
        exit: Exit,
    },
    AtExecutor {
        host: usize,
        run: RunId,
        input: Box<ExecutorInput>,
    },
    Starts {
        who: Who,
    },
    Thaws {
        who: Who,
        life: u64,
        frozen: u64,
    },
    Faults,
}

/// What comes to a process.
pub(super) enum Input {
    Opened {
        connection: u64,
    },
    NotOpened {
        connection: u64,
    },
    Arrived {
        connection: u64,
        parcel: Parcel,
    },
    Closed {
        connection: u64,
    },
    /// What was read from a connection and waited for the core, whatever has become of the connection.
    Called {
        connection: u64,
        principal: &'static str,
        request: u64,
        call: Call,
    },
    LeaderIs {
        epoch: u64,
        master: usize,
    },
    Master(MasterInput),
    LooksForLeader,
    AgentTimer(TimerKey),
    Written(u64),
    ContainerStarts(RunId),
    ContainerExited(RunId, Exit),
    ExecutorStarts(RunId),
    ExecutorSays {
        run: RunId,
        session: SessionId,
        word: Word,
    },
    Framework(FrameworkInput),
    OperatorTick,
}

pub(super) struct World {
    pub(super) now: u64,
    pub(super) step: u64,
    pub(super) random: Random,
    pub(super) faults: Faults,
    pub(super) story: Story,
    pub(super) seen: Coverage,
    pub(super) checks: Checks,
    pub(super) processes: BTreeMap<Who, Process>,
    pub(super) network: Network,
    pub(super) ensemble: Ensemble,
    pub(super) masters: Vec<Master>,
    pub(super) hosts: Vec<Host>,
    pub(super) frameworks: Vec<Framework>,
    pub(super) operator: Operator,
    /// How many terms and calls there have been.
    pub(super) terms: u64,
    pub(super) requests: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    order: u64,
}

impl World {
    pub(super) fn new(seed: u64, faults: Faults, story: Story) -> Self {
        let mut random = Random::new(seed);
        // One cluster in eight is larger.
        let (least, more) = if seed % 8 == 7 { (20, 11) } else { (3, 4) };
        let hosts = least + random.index(more);
        let kinds = Kind::ALL.into_iter().filter(|kind| match kind {
            Kind::Vandal => faults.has_vandal,
            Kind::Pod => faults.has_pods,
            Kind::Crew => faults.has_crew,
            Kind::Tenant => faults.has_tenant,
            Kind::Batch | Kind::Spread | Kind::Gang => true,
        });
        let frameworks: Vec<Framework> = kinds
            .enumerate()
            .map(|(n, kind)| Framework::new(n, Wants::new(kind)))
            .collect();
        let mut world = Self {
            now: SECOND,
            step: 0,
            random,
            faults,
            story,
            seen: Coverage::default(),
            checks: Checks::default(),
            processes: BTreeMap::new(),
            network: Network::default(),
            ensemble: Ensemble::default(),
            masters: (0..MASTERS).map(|_| Master::default()).collect(),
            hosts: (0..hosts).map(Host::new).collect(),
            frameworks,
            operator: Operator::default(),
            terms: 0,
            requests: 0,
            queue: BTreeMap::new(),
            order: 0,
        };
        let masters = (0..MASTERS).map(Who::Master);
        let hosts = (0..hosts).map(Who::Agent);
        let frameworks = (0..world.frameworks.len()).map(Who::Framework);
        let all = masters
            .chain(hosts)
            .chain(frameworks)
            .chain([Who::Operator]);
        for who in all {
            world.processes.insert(who, Process::default());
            world.after(0, Happening::Starts { who });
        }
        let ensemble = Process {
            is_up: true,
            ..Process::default()
        };
        world.processes.insert(Who::Ensemble, ensemble);
        world.draw_clocks();
        world.after(SECOND, Happening::Faults);
        world
    }

    pub(super) fn time(&self, who: Who) -> Time {
        self.processes[&who].clock.time(self.now)
    }

    /// Faults are over, and no more is wanted.
    pub(super) fn is_over(&self) -> bool {
        self.now > FAULTS_END
    }

    pub(super) fn at(&mut self, when: u64, happening: Happening) {
        self.order += 1;
        self.queue
            .insert((when.max(self.now), self.order), happening);
    }

    pub(super) fn after(&mut self, wait: u64, happening: Happening) {
        self.at(self.now + wait, happening);
    }

    pub(super) fn input_at(&mut self, when: u64, who: Who, input: Input) {
        let life = self.processes[&who].life;
        let input = Box::new(input);
        self.at(when, Happening::To { who, life, input });
    }

    pub(super) fn input_after(&mut self, wait: u64, who: Who, input: Input) {
        self.input_at(self.now + wait, who, input);
    }

    pub(super) fn input_of_life_after(&mut self, wait: u64, who: Who, life: u64, input: Input) {
        let input = Box::new(input);
        self.after(wait, Happening::To { who, life, input });
    }

    /// Until everybody has what they want and faults are over, or a promise is broken, or that step.
    pub(super) fn run(&mut self, last_step: u64) -> Outcome {
        while let Some(((when, _), happening)) = self.queue.pop_first() {
            self.now = when;
            self.step += 1;
            self.happen(happening)?;
            if self.step >= last_step {
                return Err(format!("this is step {last_step}"));
            }
            if self.now > END {
                return Err("not everything has come to its end".into());
            }
            if self.step.is_multiple_of(64) && self.is_done() {
                return self.checks.at_end();
            }
        }
        Err("nothing happens any more".into())
    }

    fn is_done(&self) -> bool {
        self.is_over()
            && self
                .frameworks
                .iter()
                .all(|it| it.wants.is_done() && it.tenant.as_ref().is_none_or(|it| it.is_done))
            && self.hosts.iter().all(Host::is_quiet)
            && self.operator_is_done()
    }

    fn happen(&mut self, happening: Happening) -> Outcome {
        match happening {
            Happening::To { who, life, input } => {
                let Some(process) = self.processes.get_mut(&who) else {
                    return Ok(());
                };
                if process.life != life {
                    return Ok(());
                }
                if process.is_frozen {
                    process.inbox.push_back(*input);
                    return Ok(());
                }
                self.take_in(who, *input)
            }
            Happening::Connects { connection } => {
                self.connects(connection);
                Ok(())
            }
            Happening::AtEnsemble(calling) => self.call_arrives_at_ensemble(*calling),
            Happening::Ping {
                master,
                life,
                session,
                sent_ns,
            } => {
                self.ping_arrives(master, life, session, sent_ns);
                Ok(())
            }
            Happening::SessionDue { session } => {
                self.session_due(session);
                Ok(())
            }
            Happening::SessionEnds { session } => {
                self.end_session(session);
                Ok(())
            }
            Happening::ProcessEnds { host, run, exit } => self.process_ends(host, run, exit),
            Happening::AtExecutor { host, run, input } => self.at_executor(host, run, *input),
            Happening::Starts { who } => self.starts(who),
            Happening::Thaws { who, life, frozen } => self.thaws(who, life, frozen),
            Happening::Faults => self.draw_faults(),
        }
    }

    fn starts(&mut self, who: Who) -> Outcome {
        if let Some(process) = self.processes.get_mut(&who) {
            process.is_up = true;
        }
        match who {
            Who::Master(n) => self.master_starts(n),
            Who::Agent(n) => self.agent_starts(n)?,
            Who::Framework(n) => self.framework_starts(n),
            Who::Operator => self.input_after(SECOND, who, Input::OperatorTick),
            Who::Ensemble => {}
        }
        Ok(())
    }

    fn thaws(&mut self, who: Who, life: u64, frozen: u64) -> Outcome {
        let Some(process) = self
            .processes
            .get_mut(&who)
            .filter(|process| process.life == life)
        else {
            return Ok(());
        };
        process.is_frozen = false;
        tell!(self, "{who}goes on");
        if let Who::Master(n) = who {
            self.term_thaws(n, frozen);
        }
        // All in its order, and before anything that comes now.
        while let Some(process) = self.processes.get_mut(&who)
            && process.life == life
            && let Some(input) = process.inbox.pop_front()
        {
            self.take_in(who, input)?;
        }
        Ok(())
    }

    fn take_in(&mut self, who: Who, input: Input) -> Outcome {
        match (who, input) {
            (_, Input::Arrived { connection, parcel }) => {
                if !self.is_open(who, connection) {
                    return Ok(());
                }
                if !matches!(who, Who::Master(_)) {
                    self.reads(connection);
                }
                match who {
                    Who::Master(n) => self.master_hears(n, connection, parcel),
                    Who::Agent(n) => self.agent_hears(n, connection, parcel),
                    Who::Framework(n) => self.framework_hears(n, connection, parcel),
                    Who::Operator => self.operator_hears(parcel),
                    Who::Ensemble => Ok(()),
                }
            }
            (_, Input::Closed { connection }) => self.hears_closed(who, connection),
            (
                Who::Master(n),
                Input::Called {
                    connection,
                    principal,
                    request,
                    call,
                },
            ) => self.hears_call(n, connection, principal, request, call),
            (Who::Agent(n), Input::Opened { connection }) => self.agent_opened(n, connection),
            (Who::Agent(n), Input::NotOpened { connection }) => {
                self.hears_end(who, connection);
                self.agent_not_opened(n);
                Ok(())
            }
            (Who::Agent(n), Input::LooksForLeader) => {
                self.agent_connects(n);
                Ok(())
            }
            (Who::Agent(n), Input::LeaderIs { epoch, master }) => {
                self.agent_hears_of_leader(n, epoch, master);
                Ok(())
            }
            (Who::Agent(n), Input::AgentTimer(key)) => self.on_agent_timer(n, key),
            (Who::Agent(n), Input::Written(seq)) => self.agent_written(n, seq),
            (Who::Agent(n), Input::ContainerStarts(run)) => self.container_starts(n, run),
            (Who::Agent(n), Input::ContainerExited(run, exit)) => {
                let ended = exit.into();
                self.step_agent(n, AgentEvent::ContainerExited { run, ended })
            }
            (Who::Agent(n), Input::ExecutorStarts(run)) => self.executor_starts(n, run),
            (Who::Agent(n), Input::ExecutorSays { run, session, word }) => {
                self.agent_hears_executor(n, run, session, word)
            }
            (Who::Framework(n), Input::Opened { connection }) => {
                self.framework_opened(n, connection);
                Ok(())
            }
            (Who::Framework(n), Input::NotOpened { connection }) => {
                self.hears_end(who, connection);
                self.framework_not_opened(n, connection);
                Ok(())
            }
            (Who::Framework(n), Input::LeaderIs { epoch, master }) => {
                self.framework_hears_of_leader(n, epoch, master);
                Ok(())
            }
            (Who::Framework(n), Input::Framework(input)) => self.on_framework(n, input),
            (Who::Operator, Input::Opened { .. }) => {
                self.operator_asks();
                Ok(())
            }
            (Who::Operator, Input::NotOpened { connection }) => {
                self.hears_end(who, connection);
                self.operator_lost(connection);
                Ok(())
            }
            (Who::Operator, Input::OperatorTick) => {
                self.operator_ticks();
                Ok(())
            }
            (Who::Master(n), Input::Master(input)) => self.on_master(n, input),
            _ => Err(format!("{who}: that is not for it")),
        }
    }

    fn hears_closed(&mut self, who: Who, connection: u64) -> Outcome {
        let known = self.network.connections.get(&connection);
        let Some((client, was_known)) = known.map(|of| (of.client, of.is_known)) else {
            return Ok(());
        };
        if let (Who::Master(_), Some(lane)) = (who, self.network.lanes.get(&connection))
            && *lane >= self.now
        {
            let when = *lane + 1;
            self.input_at(when, who, Input::Closed { connection });
            return Ok(());
        }
        if !self.hears_end(who, connection) {
            return Ok(());
        }
        match who {
            Who::Master(n) => self.master_loses(n, connection, client, was_known),
            Who::Agent(n) => self.agent_lost(n, connection),
            Who::Framework(n) => {
                self.framework_lost(n, connection);
                Ok(())
            }
            Who::Operator => {
                self.operator_lost(connection);
                Ok(())
            }
            Who::Ensemble => Ok(()),
        }
    }

    /// A master leads: most of those who can hear of it do, sooner or later.
    pub(super) fn announce(&mut self, master: usize) {
        let Some(epoch) = self.masters[master].term.as_ref().map(|term| term.epoch) else {
            return;
        };
        let places: Vec<Who> = self.processes.keys().copied().collect();
        for who in places {
            if !matches!(who, Who::Agent(_) | Who::Framework(_)) || self.random.one_in(4) {
                continue;
            }
            let wait = self.transit(Who::Master(master), who) + self.random.below(SECOND / 2);
            self.input_after(wait, who, Input::LeaderIs { epoch, master });
        }
    }

    /// Whether a master knows that another session speaks for the framework.
    pub(super) fn is_fenced(&self, connection: u64) -> bool {
        let mut terms = self
            .masters
            .iter()
            .filter_map(|master| master.term.as_deref());
        terms.any(|term| term.is_fenced(connection))
    }

    pub(super) fn check_quota(&mut self) -> Outcome {
        // Nor do those of agents that are gone.
        let is_blind =
            self.seen.of(Seen::AgentUnreachable) + self.seen.of(Seen::AgentMarkedGone) > 0;
        if !self.operator.has_quota || is_blind {
            return Ok(());
        }
        if self.checks.on_running('b', QUOTA_CPUS - 1).is_err() {
            self.seen.count(Seen::QuotaReached);
        }
        self.checks.on_running('b', QUOTA_CPUS)
    }

    /// How all stand, for whoever replays a seed.
    pub(super) fn describe(&self) -> String {
        let mut lines = Vec::new();
        for (who, process) in &self.processes {
            let what = match who {
                Who::Master(n) => self.masters[*n].describe(),
                Who::Agent(n) => self.hosts[*n].describe(),
                Who::Framework(n) => self.frameworks[*n].describe(),
                Who::Operator | Who::Ensemble => String::new(),
            };
            lines.push(format!(
                "{who}life {} up {} frozen {} {what}",
                process.life, process.is_up, process.is_frozen
            ));
        }
        lines.join("\n")
    }
}
