//! Every decision of the sidecar: when to ask services, what to believe, when to change HAProxy and how.
//!
//! Pure: events and the time come in, effects go out; `driver.rs` carries them out. One fetch and one apply are under way at
//! most. The last good configuration stays until a better one is applied: failures only ever make the core wait and try
//! again. The subtle thing: an answer that takes every route away is not believed until it has held for
//! [`EMPTY_CONFIRMATION`], because a services that has just started, or a wrong address, says the same.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use proffer_model::{Problem, Time};

use crate::apps::{App, BadApp};
use crate::backoff::Backoff;
use crate::change::{self, Change, ServerChange, ServerKey};
use crate::digest::Digest;
use crate::limits::{
    APPLY_RETRY_MAX, APPLY_RETRY_MIN, DRAIN_POLL, EMPTY_CONFIRMATION, FETCH_AFTERMATH,
    FETCH_INTERVAL, FETCH_RETRY_MIN, FETCH_SPACING_MAX, FETCH_SPACING_MIN, PORT_RETRY,
    REFUSALS_MAX, RELOAD_SPACING, RETRY_MAX,
};
use crate::model::{self, LeftOut, Part, Routes, Rules, Service};
use crate::name::HostName;

/// What has happened.
#[derive(Debug)]
pub enum Event {
    /// The sidecar has started.
    Started,
    /// Services told that something changed, or the connection that tells is new.
    SourceChanged,
    /// A fetch has ended.
    Fetched(Result<Snapshot, Problem>),
    /// A plan has been carried out, or not.
    Applied(Result<Outcome, Failure>),
    /// HAProxy has ended.
    HaproxyExited,
    /// The time of the last `SetTimer` has come.
    TimerFired,
}

/// An app list and the addresses of the hosts in it.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The apps, in the order of their ids.
    pub apps: Vec<Result<App, BadApp>>,
    /// As far as they are known.
    pub addresses: BTreeMap<HostName, IpAddr>,
}

/// What HAProxy has after a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How it came about.
    pub how: How,
    /// The configuration written.
    pub digest: Digest,
    /// HAProxy's process, where it is known.
    pub pid: Option<u32>,
    /// Servers that are out of rotation but still have connections.
    pub leaving: BTreeSet<ServerKey>,
}

/// How a configuration came to be in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// HAProxy was running with it already.
    Adopted,
    /// HAProxy was started.
    Started,
    /// HAProxy was reloaded.
    Reloaded,
    /// Servers were changed on its socket.
    Changed,
    /// The file was written; who loads it is not our business.
    Written,
}

/// Why a plan was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// These services stand in the way of the others.
    Refused(Vec<Refused>),
    /// HAProxy did not take the change of servers; a reload will put it right.
    NeedsReload(Problem),
    /// All of it failed; the last good configuration stays, as far as is known.
    Failed(Problem),
}

/// A service that HAProxy cannot have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The service's name.
    pub name: String,
    /// Why.
    pub problem: Problem,
    /// Whether it may pass without a change of the app, as a port does that another process has.
    pub may_pass: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Ask services for the app list.
    Fetch,
    /// Bring HAProxy there.
    Apply(Plan),
    /// Come back then; replaces the timer before.
    SetTimer(Time),
    /// Tell operators.
    Record(Fact),
}

/// Where HAProxy shall be, and the way there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// All services.
    pub services: Vec<Service>,
    /// The way.
    pub change: Change,
}

/// What operators are told, once each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// Services does not answer; the routes stay.
    SourceLost(Problem),
    /// Services answers again.
    SourceFound,
    /// Services says that nothing runs any more; the routes stay until it says so again.
    EmptyDoubted,
    /// Part of an app is not served.
    LeftOut(LeftOut),
    /// A configuration is in force.
    Applied(How, Digest),
    /// A configuration could not be applied; the last one stays.
    ApplyFailed(Problem),
    /// HAProxy has ended and will be started again.
    HaproxyLost,
}

/// What the core knows, for `/v1/status`.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// What is in force.
    pub services: Vec<Service>,
    /// What is not served, and why; a part of it when there is much.
    pub left_out: Vec<LeftOut>,
    /// How much is not served.
    pub left_out_count: usize,
    /// How and when the configuration in force came about.
    pub applied: Option<(How, Digest, Time)>,
    /// HAProxy's process.
    pub pid: Option<u32>,
    /// When services last answered.
    pub fetched_at: Option<Time>,
    /// Why services does not answer.
    pub source_problem: Option<Problem>,
    /// Why the wanted configuration is not in force.
    pub apply_problem: Option<Problem>,
    /// Whether what is wanted is in force.
    pub is_settled: bool,
}

/// What a core begins with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What the operator has decided.
    pub rules: Rules,
    /// A HAProxy of an earlier life of this sidecar runs and routes.
    pub had_routes: bool,
    /// Servers may come and go over HAProxy's socket: we know what the template says about a server.
    pub can_change_servers: bool,
    /// Spreads waits.
    pub seed: u64,
}

/// The state; see the head of the file.
#[derive(Debug)]
pub struct Core {
    rules: Rules,
    can_change_servers: bool,
    fetch: Fetch,
    apply: Apply,
    /// What services wants; nothing before its first answer.
    wanted: Option<Routes>,
    /// Whether something is routed to, as far as is known: what an empty answer would take away.
    had_routes: bool,
    /// By the service's name.
    refused: BTreeMap<String, Refusal>,
}

#[derive(Debug)]
struct Fetch {
    is_under_way: bool,
    /// Something changed while it was under way.
    is_stale: bool,
    started_at: Time,
    not_before: Time,
    /// When one more is made after what was told last.
    aftermath_at: Option<Time>,
    next_at: Time,
    backoff: Backoff,
    fetched_at: Option<Time>,
    problem: Option<Problem>,
    /// Since when services has said that nothing runs.
    empty_since: Option<Time>,
}

#[derive(Debug)]
struct Apply {
    under_way: Option<Vec<Service>>,
    /// What HAProxy has; nothing when it does not run or is not known.
    in_force: Option<Vec<Service>>,
    /// How, what and when.
    last: Option<(How, Digest, Time)>,
    pid: Option<u32>,
    leaving: BTreeSet<ServerKey>,
    needs_reload: bool,
    not_before: Time,
    leaving_poll_at: Time,
    backoff: Backoff,
    problem: Option<Problem>,
}

#[derive(Debug)]
struct Refusal {
    service: Service,
    problem: Problem,
    retry_at: Option<Time>,
}

impl Core {
    /// Before the first event.
    pub fn new(setup: Setup) -> Self {
        let Setup {
            rules,
            had_routes,
            can_change_servers,
            seed,
        } = setup;
        Self {
            rules,
            can_change_servers,
            fetch: Fetch {
                is_under_way: false,
                is_stale: false,
                started_at: Time::default(),
                not_before: Time::default(),
                aftermath_at: None,
                next_at: Time::default(),
                backoff: Backoff::new(FETCH_RETRY_MIN, RETRY_MAX, seed),
                fetched_at: None,
                problem: None,
                empty_since: None,
            },
            apply: Apply {
                under_way: None,
                in_force: None,
                last: None,
                pid: None,
                leaving: BTreeSet::new(),
                needs_reload: false,
                not_before: Time::default(),
                leaving_poll_at: Time::default(),
                backoff: Backoff::new(APPLY_RETRY_MIN, APPLY_RETRY_MAX, seed.rotate_left(32)),
                problem: None,
            },
            wanted: None,
            had_routes,
            refused: BTreeMap::new(),
        }
    }

    /// Takes one event; what is to be done is added to `effects`.
    pub fn step(&mut self, now: Time, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Started | Event::TimerFired => {}
            Event::SourceChanged => self.on_source_changed(now),
            Event::Fetched(result) => self.on_fetched(now, result, effects),
            Event::Applied(result) => self.on_applied(now, result, effects),
            Event::HaproxyExited => self.on_haproxy_exited(effects),
        }
        self.refused
            .retain(|_, refusal| refusal.retry_at.is_none_or(|at| at > now));
        self.decide(now, effects);
    }

    /// Whether a plan is being carried out.
    pub fn is_applying(&self) -> bool {
        self.apply.under_way.is_some()
    }

    /// What is known.
    pub fn view(&self) -> View {
        let refused = self.refused.values().map(|refusal| LeftOut {
            app: refusal.service.app.to_string(),
            what: Part::Service,
            problem: refusal.problem.clone(),
        });
        let left_out = self
            .wanted
            .iter()
            .flat_map(|routes| routes.left_out.iter().cloned());
        let left_out_count = self
            .wanted
            .as_ref()
            .map_or(0, |routes| routes.left_out_count);
        View {
            services: self.apply.in_force.clone().unwrap_or_default(),
            left_out: left_out.chain(refused).collect(),
            left_out_count: left_out_count + self.refused.len(),
            applied: self.apply.last,
            pid: self.apply.pid,
            fetched_at: self.fetch.fetched_at,
            source_problem: self.fetch.problem.clone(),
            apply_problem: self.apply.problem.clone(),
            is_settled: self.apply.in_force.is_some()
                && !self.apply.needs_reload
                && self.apply.in_force == self.servable(),
        }
    }

    fn on_source_changed(&mut self, now: Time) {
        self.fetch.aftermath_at = Some(now.after(FETCH_AFTERMATH));
        if self.fetch.is_under_way {
            self.fetch.is_stale = true;
        } else {
            self.fetch.next_at = now;
        }
    }

    fn on_fetched(
        &mut self,
        now: Time,
        result: Result<Snapshot, Problem>,
        effects: &mut Vec<Effect>,
    ) {
        self.fetch.is_under_way = false;
        let took = now.since(self.fetch.started_at);
        self.fetch.not_before = now.after(took.clamp(FETCH_SPACING_MIN, FETCH_SPACING_MAX));
        match result {
            Err(problem) => {
                self.fetch.next_at = now.after(self.fetch.backoff.next_wait());
                if self.fetch.problem.is_none() {
                    effects.push(Effect::Record(Fact::SourceLost(problem.clone())));
                }
                self.fetch.problem = Some(problem);
            }
            Ok(snapshot) => {
                self.fetch.backoff.reset();
                self.fetch.next_at = now.after(FETCH_INTERVAL);
                self.fetch.fetched_at = Some(now);
                if self.fetch.problem.take().is_some() {
                    effects.push(Effect::Record(Fact::SourceFound));
                }
                self.take(now, &snapshot, effects);
            }
        }
        if std::mem::take(&mut self.fetch.is_stale) {
            self.fetch.next_at = now;
        }
    }

    /// Takes an answer for what is wanted, unless it has to be confirmed first.
    fn take(&mut self, now: Time, snapshot: &Snapshot, effects: &mut Vec<Effect>) {
        let in_force = self.apply.in_force.iter().flatten();
        let owners = in_force
            .map(|service| (service.port, service.name.clone()))
            .collect();
        let routes = model::build(&snapshot.apps, &self.rules, &snapshot.addresses, &owners);
        let has_routes = routes.server_count() > 0;
        if self.had_routes && !has_routes {
            let since = *self.fetch.empty_since.get_or_insert(now);
            let confirmed_at = since.after(EMPTY_CONFIRMATION);
            if now < confirmed_at {
                if since == now {
                    effects.push(Effect::Record(Fact::EmptyDoubted));
                }
                self.fetch.next_at = confirmed_at;
                return;
            }
        }
        self.fetch.empty_since = None;
        self.had_routes = has_routes;
        let known = self
            .wanted
            .as_ref()
            .map(|wanted| wanted.left_out.as_slice())
            .unwrap_or_default();
        for left_out in routes
            .left_out
            .iter()
            .filter(|left_out| !known.contains(left_out))
        {
            effects.push(Effect::Record(Fact::LeftOut(left_out.clone())));
        }
        // A refusal is of the service as it was.
        self.refused
            .retain(|_, refusal| routes.services.contains(&refusal.service));
        self.wanted = Some(routes);
    }

    fn on_applied(
        &mut self,
        now: Time,
        result: Result<Outcome, Failure>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(services) = self.apply.under_way.take() else {
            return;
        };
        match result {
            Ok(outcome) => {
                let is_news = self.apply.in_force.as_ref() != Some(&services)
                    || self
                        .apply
                        .last
                        .is_none_or(|(_, digest, _)| digest != outcome.digest);
                if is_news {
                    effects.push(Effect::Record(Fact::Applied(outcome.how, outcome.digest)));
                    self.apply.last = Some((outcome.how, outcome.digest, now));
                }
                self.apply.in_force = Some(services);
                self.apply.pid = outcome.pid;
                self.apply.leaving = outcome.leaving;
                self.apply.leaving_poll_at = now.after(DRAIN_POLL);
                self.apply.needs_reload = false;
                if outcome.how != How::Changed {
                    self.apply.not_before = now.after(RELOAD_SPACING);
                }
                self.apply.backoff.reset();
                self.apply.problem = None;
            }
            Err(Failure::Refused(refused)) => self.refuse(now, &services, refused, effects),
            Err(Failure::NeedsReload(problem) | Failure::Failed(problem)) => {
                self.fail(now, problem, effects);
            }
        }
    }

    fn fail(&mut self, now: Time, problem: Problem, effects: &mut Vec<Effect>) {
        if self.apply.problem.as_ref() != Some(&problem) {
            effects.push(Effect::Record(Fact::ApplyFailed(problem.clone())));
        }
        self.apply.problem = Some(problem);
        // What was given up may still come about: until the whole is looked at again, nobody knows what HAProxy has.
        self.apply.needs_reload = true;
        self.apply.not_before = now.after(self.apply.backoff.next_wait());
    }

    /// Leaves these services out, and lets the others go on at once.
    fn refuse(
        &mut self,
        now: Time,
        services: &[Service],
        refused: Vec<Refused>,
        effects: &mut Vec<Effect>,
    ) {
        for refused in refused {
            let Some(service) = services.iter().find(|service| service.name == refused.name) else {
                continue;
            };
            let retry_at = refused.may_pass.then(|| now.after(PORT_RETRY));
            let left_out = LeftOut {
                app: service.app.to_string(),
                what: Part::Service,
                problem: refused.problem.clone(),
            };
            effects.push(Effect::Record(Fact::LeftOut(left_out)));
            let refusal = Refusal {
                service: service.clone(),
                problem: refused.problem,
                retry_at,
            };
            self.refused.insert(refused.name, refusal);
        }
        while self.refused.len() > REFUSALS_MAX {
            self.refused.pop_first();
        }
    }

    fn on_haproxy_exited(&mut self, effects: &mut Vec<Effect>) {
        if self.apply.in_force.take().is_some() {
            effects.push(Effect::Record(Fact::HaproxyLost));
        }
        self.apply.pid = None;
        self.apply.leaving.clear();
    }

    /// What is wanted, less what HAProxy cannot have.
    fn servable(&self) -> Option<Vec<Service>> {
        let is_free = |service: &&Service| {
            self.refused
                .get(&service.name)
                .is_none_or(|refusal| refusal.service != **service)
        };
        let wanted = self.wanted.as_ref()?;
        Some(wanted.services.iter().filter(is_free).cloned().collect())
    }

    fn decide(&mut self, now: Time, effects: &mut Vec<Effect>) {
        let fetch_at = self.decide_fetch(now, effects);
        let apply_at = self.decide_apply(now, effects);
        let retry_at = self
            .refused
            .values()
            .filter_map(|refusal| refusal.retry_at)
            .min();
        let next = [fetch_at, apply_at, retry_at].into_iter().flatten().min();
        if let Some(at) = next {
            effects.push(Effect::SetTimer(at));
        }
    }

    /// Fetches if it is time; else says when. Nothing when one is under way.
    fn decide_fetch(&mut self, now: Time, effects: &mut Vec<Effect>) -> Option<Time> {
        if self.fetch.is_under_way {
            return None;
        }
        let due_at = self
            .fetch
            .aftermath_at
            .map_or(self.fetch.next_at, |at| at.min(self.fetch.next_at));
        let at = due_at.max(self.fetch.not_before);
        if now < at {
            return Some(at);
        }
        self.fetch.is_under_way = true;
        self.fetch.started_at = now;
        self.fetch.aftermath_at = self.fetch.aftermath_at.filter(|at| *at > now);
        effects.push(Effect::Fetch);
        None
    }

    /// Applies if there is something to change and it is time; else says when.
    fn decide_apply(&mut self, now: Time, effects: &mut Vec<Effect>) -> Option<Time> {
        if self.apply.under_way.is_some() {
            return None;
        }
        let services = self.servable()?;
        let is_same = self.apply.in_force.as_ref() == Some(&services) && !self.apply.needs_reload;
        if is_same && self.apply.leaving.is_empty() {
            return None;
        }
        let change = self.plan_change(&services);
        let at = match change {
            _ if is_same => self.apply.leaving_poll_at,
            // Cheap, and each one that waits is an instance not used or a dead one tried.
            Change::Servers(_) if self.apply.problem.is_none() => now,
            Change::Servers(_) | Change::Whole => self.apply.not_before,
        };
        if now < at {
            return Some(at);
        }
        self.apply.under_way = Some(services.clone());
        effects.push(Effect::Apply(Plan { services, change }));
        None
    }

    fn plan_change(&self, services: &[Service]) -> Change {
        let have = self.apply.in_force.as_deref();
        let have = have.filter(|_| self.can_change_servers && !self.apply.needs_reload);
        let Some(have) = have else {
            return Change::Whole;
        };
        let mut change = change::plan(have, services, &self.apply.leaving);
        if let Change::Servers(changes) = &mut change {
            let comes_back =
                |key: &&ServerKey| changes.contains(&ServerChange::Restore((*key).clone()));
            let rest = self
                .apply
                .leaving
                .iter()
                .filter(|key| !comes_back(key))
                .cloned();
            let rest: Vec<ServerChange> = rest.map(ServerChange::Remove).collect();
            changes.extend(rest);
        }
        change
    }
}

#[cfg(test)]
mod tests;
