//! What goes wrong, and how often: each seed switches on some kinds of faults and draws how often they come, so that some
//! seeds have no crash at all and some little else (swarm testing).

use super::breakage::Breakage;
use super::coverage::Seen;
use super::process::{Clock, Who};
use super::random::Random;
use super::story::tell;
use super::world::{FAULTS_END, Happening, MS, Outcome, SECOND, World};

/// One in so many opportunities, one opportunity each 100 ms unless said otherwise. 0: never.
#[derive(Clone, Copy, Debug)]
pub(super) struct Faults {
    pub(super) master_kill: u64,
    pub(super) master_freeze: u64,
    pub(super) agent_kill: u64,
    pub(super) agent_freeze: u64,
    pub(super) host_restart: u64,
    pub(super) framework_kill: u64,
    pub(super) framework_freeze: u64,
    /// Another session of a framework takes over while the old one is still there.
    pub(super) overtake: u64,
    /// Of killed frameworks, how many lose what they knew of their tasks.
    pub(super) memory_loss: u64,
    pub(super) connection_break: u64,
    /// Of broken connections, how many break without a word.
    pub(super) silence: u64,
    /// Of messages, how many are slow.
    pub(super) slow_message: u64,
    pub(super) partition: u64,
    pub(super) hang_up: u64,
    pub(super) ensemble_away: u64,
    pub(super) wall_clock: u64,
    /// Clocks are fast by up to so many millionths.
    pub(super) fast_ppm_max: u64,
    pub(super) store_ms_max: u64,
    pub(super) disk_ms_max: u64,
    /// How late a framework acknowledges.
    pub(super) acknowledge_ms_max: u64,
    /// Of calls, how many are sent twice.
    pub(super) repeat: u64,
    /// Hosts grow when their agents restart.
    pub(super) grows: bool,
    pub(super) has_operator: bool,
    pub(super) has_vandal: bool,
    /// A framework launches groups.
    pub(super) has_pods: bool,
    /// A framework has executors of its own.
    pub(super) has_crew: bool,
    pub(super) executor_kill: u64,
    /// How often, of ticks, a framework without a second session connects one.
    pub(super) stand_by: u64,
    pub(super) executor_break: u64,
    pub(super) has_quota: bool,
    /// Of launches that go to executors, at how many these die.
    pub(super) executor_kill_at_launch: u64,
    /// How often, of its ticks, an operator marks an agent gone.
    pub(super) gone: u64,
    /// A framework with several roles comes and goes.
    pub(super) has_tenant: bool,
    /// Of calls that launch, at how many the connection breaks: some are heard, and none is answered.
    pub(super) break_at_launch: u64,
    pub(super) breakage: Option<Breakage>,
}

impl Faults {
    pub(super) fn drawn(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5eed);
        let mut rate = |often: u64| match random.below(2) {
            0 => 0,
            _ => often + random.below(often * 4),
        };
        Self {
            master_kill: rate(150),
            master_freeze: rate(150),
            agent_kill: rate(80),
            agent_freeze: rate(150),
            host_restart: rate(500),
            framework_kill: rate(100),
            framework_freeze: rate(200),
            overtake: rate(200),
            memory_loss: rate(2),
            connection_break: rate(40),
            silence: rate(2),
            slow_message: rate(200),
            partition: rate(200),
            hang_up: rate(80),
            ensemble_away: rate(1_000),
            wall_clock: rate(500),
            fast_ppm_max: rate(1_000),
            store_ms_max: 1 + rate(100),
            disk_ms_max: 1 + rate(50),
            acknowledge_ms_max: rate(200),
            repeat: rate(5),
            grows: rate(1) > 0,
            has_operator: rate(1) > 0,
            has_vandal: rate(1) > 0,
            has_quota: rate(1) > 0,
            has_pods: rate(1) > 0,
            has_crew: rate(1) > 0,
            executor_kill: rate(100),
            stand_by: rate(5),
            executor_break: rate(50),
            gone: rate(25),
            executor_kill_at_launch: rate(8),
            has_tenant: rate(1) > 0,
            break_at_launch: rate(20),
            breakage: None,
        }
    }
}

impl World {
    pub(super) fn draw_faults(&mut self) -> Outcome {
        if self.now > FAULTS_END {
            return Ok(());
        }
        self.after(100 * MS, Happening::Faults);
        self.draw_master_faults();
        self.draw_agent_faults();
        self.draw_framework_faults()?;
        self.draw_connection_faults()?;
        self.draw_executor_faults();
        if self.random.one_in(self.faults.ensemble_away) {
            self.ensemble_goes_away();
        }
        if self.random.one_in(self.faults.wall_clock) {
            let places: Vec<Who> = self.processes.keys().copied().collect();
            let who = places[self.random.index(places.len())];
            let ahead = self.random.below(3_600_000);
            self.seen.count(Seen::ClockSet);
            tell!(self, "fault: {who} sets its wall clock to {ahead} ms ahead");
            if let Some(process) = self.processes.get_mut(&who) {
                process.clock.wall_ms = ahead;
            }
        }
        Ok(())
    }

    fn draw_master_faults(&mut self) {
        let n = self.random.index(self.masters.len());
        let leader = self.masters.iter().position(|master| master.leads());
        // The one that leads is the one that matters.
        let n = leader.filter(|_| !self.random.one_in(4)).unwrap_or(n);
        if self.random.one_in(self.faults.master_kill) {
            let down = 100 * MS + self.random.below(15 * SECOND);
            self.kill(Who::Master(n), down, Seen::MasterKilled);
        }
        if self.random.one_in(self.faults.master_freeze) {
            let wait = self.random.below(12 * SECOND);
            self.freeze(Who::Master(n), wait, Seen::MasterFrozen);
        }
        if self.random.one_in(self.faults.hang_up) {
            self.seen.count(Seen::EnsembleHungUp);
            tell!(self, "fault: the ensemble hangs up on master {n}");
            if self.processes[&Who::Master(n)].is_up {
                self.ensemble_hangs_up(n);
            }
        }
    }

    fn draw_agent_faults(&mut self) {
        let n = self.random.index(self.hosts.len());
        // Who dies while it writes is who may forget.
        let writes = self.hosts.iter().position(|host| host.is_writing());
        let n = writes.filter(|_| self.random.one_in(2)).unwrap_or(n);
        // Now and then so long that it counts as unreachable.
        let most = if self.random.one_in(10) { 60 } else { 10 };
        let wait = 50 * MS + self.random.below(most * SECOND);
        if self.random.one_in(self.faults.agent_kill) {
            self.kill(Who::Agent(n), wait, Seen::AgentKilled);
        }
        if self.random.one_in(self.faults.agent_freeze) {
            self.freeze(Who::Agent(n), wait, Seen::AgentFrozen);
        }
        if self.random.one_in(self.faults.host_restart) {
            self.kill(Who::Agent(n), wait, Seen::HostRestarted);
            self.host_restarts(n);
        }
    }

    fn draw_framework_faults(&mut self) -> Outcome {
        let n = self.random.index(self.frameworks.len());
        let wait = 50 * MS + self.random.below(5 * SECOND);
        if self.random.one_in(self.faults.framework_kill) {
            self.kill(Who::Framework(n), wait, Seen::FrameworkKilled);
            if self.random.one_in(self.faults.memory_loss) {
                self.framework_forgets(n);
            }
        }
        if self.random.one_in(self.faults.framework_freeze) {
            self.freeze(Who::Framework(n), wait * 3, Seen::FrameworkFrozen);
        }
        if self.random.one_in(self.faults.overtake) {
            self.framework_is_overtaken(n);
        }
        Ok(())
    }

    /// A process is no more, and starts again after a while.
    pub(super) fn kill(&mut self, who: Who, down: u64, seen: Seen) {
        let Some(process) = self.processes.get_mut(&who).filter(|process| process.is_up) else {
            return;
        };
        self.seen.count(seen);
        (process.is_up, process.is_frozen) = (false, false);
        process.life += 1;
        process.inbox.clear();
        tell!(
            self,
            "fault: {who} is killed ({seen:?}), for {} ms",
            down / MS
        );
        let is_silent = self.random.one_in(self.faults.silence * 5);
        self.close_all(who, is_silent);
        match who {
            Who::Master(n) => self.master_dies(n),
            Who::Agent(n) => self.agent_dies(n),
            Who::Framework(n) => self.framework_dies(n),
            Who::Operator | Who::Ensemble => {}
        }
        self.after(down, Happening::Starts { who });
    }

    fn freeze(&mut self, who: Who, wait: u64, seen: Seen) {
        let Some(process) = self.processes.get_mut(&who) else {
            return;
        };
        if !process.is_up || process.is_frozen {
            return;
        }
        self.seen.count(seen);
        process.is_frozen = true;
        let life = process.life;
        tell!(self, "fault: {who} stands still for {} ms", wait / MS);
        self.after(
            wait,
            Happening::Thaws {
                who,
                life,
                frozen: wait,
            },
        );
    }

    pub(super) fn draw_clocks(&mut self) {
        for process in self.processes.values_mut() {
            process.clock = Clock {
                offset_ns: self.random.below(1_000 * SECOND),
                fast_ppm: self.random.below(self.faults.fast_ppm_max + 1),
                wall_ms: 0,
            };
        }
    }
}
