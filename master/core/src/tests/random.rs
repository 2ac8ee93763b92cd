//! Anything may happen in any order, twice, late, under foreign names: the invariants hold after every step, and the same
//! events give the same effects.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proffer_model::link::{AgentTask, Hello, ToAgent, ToMaster};
use proffer_model::registry::Registry;
use proffer_model::session::{Call, Event as Told, Operation, Resume};
use proffer_model::{
    AgentId, ClusterId, Demand, DemandEntry, Epoch, Exclusion, FrameworkDescription, FrameworkId,
    Generation, Incarnation, Offer, OfferId, Shape, StateKey, TaskState, Time,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

use super::random_making::{made, operations, operator_call, role};
use super::world::{describe, describe_framework, principal, spec, status, want};
use crate::effect::{Effect, Effects};
use crate::event::{Event, LinkId, RequestId, Seq, SessionId, StateCall, TimerKey, WatchId};
use crate::{Config, Core};

const RESOURCES: [&str; 4] = [
    "cpus:4;mem:8;disk:9;ports:[1-6]",
    "cpus:2;cpus(eng):1;disk(eng):4;ports:[1-3]",
    "cpus:1",
    "cpus:1;mem:1;disk:2;ports:[2-4]",
];

/// What happens next, in small numbers; what they name is found in the world as it is then, or is foreign.
#[derive(Clone, Copy, Debug)]
struct Happening {
    what: u8,
    a: u8,
    b: u8,
    c: u8,
}

/// A launch that was sent to an agent.
#[derive(Clone, Debug)]
struct Launched {
    agent: Option<AgentId>,
    framework: FrameworkId,
    task: String,
    incarnation: Incarnation,
}

/// What has been seen of the core: names, connections, launches.
#[derive(Default)]
struct Seen {
    agents: Vec<AgentId>,
    frameworks: Vec<FrameworkId>,
    offers: Vec<Offer>,
    /// Who was offered something last.
    offered_to: Option<SessionId>,
    launched: Vec<Launched>,
    generations: Vec<Generation>,
    timers: Vec<TimerKey>,
    links: Vec<LinkId>,
    sessions: Vec<SessionId>,
    agent_of: BTreeMap<LinkId, AgentId>,
    written: Seq,
    /// Grows with every step: makes fresh ids.
    count: u64,
    kinds: BTreeSet<&'static str>,
}

fn pick<T: Clone>(of: &[T], index: u8) -> Option<T> {
    let index = usize::from(index).checked_rem(of.len())?;
    of.get(index).cloned()
}

impl Seen {
    fn note(&mut self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::SendLink { link, message, .. } => self.note_order(*link, message),
                Effect::SendSession { session, event, .. } => self.note_told(*session, event),
                Effect::CloseLink { link } => self.links.retain(|open| open != link),
                Effect::CloseSession { session } => self.sessions.retain(|open| open != session),
                Effect::Persist {
                    seq, operations, ..
                } => {
                    self.written = *seq;
                    self.kinds.extend(operations.iter().filter_map(made));
                }
                Effect::SetTimer { key, .. } => self.timers.push(key.clone()),
                _ => {}
            }
        }
    }

    fn note_order(&mut self, link: LinkId, message: &ToAgent) {
        match message {
            ToAgent::Welcome { agent, .. } => {
                self.agents.push(agent.clone());
                self.agent_of.insert(link, agent.clone());
                self.links.push(link);
            }
            ToAgent::Launch {
                framework,
                incarnation,
                spec,
                ..
            } => {
                self.kinds.insert("launch");
                self.launched.push(Launched {
                    agent: self.agent_of.get(&link).cloned(),
                    framework: framework.clone(),
                    task: spec.id.to_string(),
                    incarnation: *incarnation,
                });
            }
            ToAgent::Kill { .. } => drop(self.kinds.insert("kill")),
            ToAgent::Acknowledge { .. } => drop(self.kinds.insert("acknowledge")),
            ToAgent::Refused(_) => drop(self.kinds.insert("refused agent")),
            ToAgent::LaunchGroup { .. }
            | ToAgent::UpdateTask { .. }
            | ToAgent::Message { .. }
            | ToAgent::ShutdownExecutor { .. }
            | ToAgent::Volumes { .. }
            | ToAgent::Heartbeat { .. } => {}
        }
    }

    fn note_told(&mut self, session: SessionId, event: &Told) {
        match event {
            Told::Subscribed {
                framework,
                generation,
                is_resumed,
                ..
            } => {
                if *is_resumed {
                    self.kinds.insert("resumed");
                }
                self.frameworks.push(framework.clone());
                self.generations.push(*generation);
                self.sessions.push(session);
            }
            Told::Offered(offers) => {
                self.kinds.insert("offered");
                self.offers.extend(offers.iter().cloned());
                self.offered_to = Some(session);
            }
            Told::Rescinded(_) => drop(self.kinds.insert("rescinded")),
            Told::StandingBy { .. } => drop(self.kinds.insert("standing by")),
            Told::AgentSettled(_) => drop(self.kinds.insert("settled")),
            Told::Updated(of) => drop(self.kinds.insert(match of.state {
                TaskState::Unreachable => "unreachable",
                TaskState::Dropped => "dropped",
                TaskState::Lost => "lost",
                _ => "updated",
            })),
            Told::Closed(_)
            | Told::Answered { .. }
            | Told::Heartbeat
            | Told::SnapshotEnded
            | Told::Message { .. }
            | Told::ExecutorEnded { .. }
            | Told::Reclaim { .. } => {}
        }
    }

    fn framework(&self, index: u8) -> FrameworkId {
        let foreign = FrameworkId::new("foreign").expect("an id");
        let known = pick(&self.frameworks, index);
        known.filter(|_| index < 250).unwrap_or(foreign)
    }

    /// A launch that was made, a late one rather than an early one, or a foreign one.
    fn launch(&self, index: u8) -> Launched {
        let late = self.launched.len().saturating_sub(12);
        pick(&self.launched[late..], index)
            .filter(|_| index < 245)
            .unwrap_or_else(|| Launched {
                agent: pick(&self.agents, index),
                framework: self.framework(index.wrapping_mul(3)),
                task: format!("t{}", index % 12),
                incarnation: Incarnation::of(Epoch(u64::from(index % 3)), u32::from(index)),
            })
    }

    /// Mostly one of the last few agents with what it really runs; sometimes anything.
    fn hello(&self, Happening { a, b, c, .. }: Happening) -> Hello {
        let agent = pick(&self.agents, a).filter(|_| self.agents.len() > 3 || a > 128);
        let of_agent = |launch: &&Launched| launch.agent == agent && b.is_multiple_of(3);
        let own = self
            .launched
            .iter()
            .rev()
            .take(20)
            .filter(of_agent)
            .cloned();
        let foreign = (0..b % 2).map(|i| self.launch(c.wrapping_add(i)));
        let tasks = own.chain(foreign).zip(0u8..).map(|(launch, i)| {
            let state = TaskState::ALL[usize::from(c.wrapping_add(i) % 8)];
            let spec = spec(&launch.task, RESOURCES[usize::from(i % 4)]);
            AgentTask {
                framework: launch.framework,
                status: status(&launch.task, launch.incarnation, u64::from(c % 5), state),
                acknowledged: u64::from(c % 3),
                payer: None,
                group: None,
                spec,
                incarnation: launch.incarnation,
            }
        });
        let cluster = if b < 250 { "c" } else { "other" };
        Hello {
            cluster: Some(ClusterId::new(cluster).expect("an id")),
            epoch: Epoch(u64::from(c > 250) * 9),
            // The host goes with the agent, or it is refused as a copy.
            description: describe(
                &format!("h{}", u8::from(b > 245)),
                RESOURCES[usize::from(c % 4)],
            ),
            tasks: tasks.collect(),
            executors: Vec::new(),
            agent,
            number: 0,
        }
    }

    fn subscribe(&self, Happening { a, b, c, .. }: Happening) -> Call {
        let chosen = FrameworkId::new("chosen").expect("an id");
        let known = Some(self.framework(b)).filter(|_| self.frameworks.len() > 2);
        let resume = Resume {
            epoch: Epoch(1 + u64::from(c % 2)),
            sequence: u64::from(a) * u64::from(c % 8),
        };
        Call::Subscribe {
            framework: if b > 230 { Some(chosen) } else { known },
            description: FrameworkDescription {
                roles: (0..=a % 4).map(role).collect(),
                ..describe_framework()
            },
            stand_by: c.is_multiple_of(3),
            resume: Some(resume).filter(|_| c % 4 > 1),
            create: b > 230,
        }
    }

    /// A call without a session, or a watch.
    fn unary(&self, Happening { a, b, c, .. }: Happening) -> Event {
        let framework = self.frameworks.last().cloned();
        let framework = framework.unwrap_or(self.framework(255));
        let task = spec(&format!("t{}", b % 12), "").id;
        let call = match c % 8 {
            0 if b > 127 => {
                return Event::WatchTaken {
                    watch: WatchId(self.count.saturating_sub(u64::from(b % 16))),
                };
            }
            0 => {
                return Event::WatchClosed {
                    watch: WatchId(u64::from(b % 16)),
                };
            }
            1 | 2 => {
                return Event::WatchOpened {
                    watch: WatchId(self.count),
                    principal: principal("p"),
                    framework,
                    generation: self.generations.last().copied().unwrap_or_default(),
                    prefix: String::new(),
                };
            }
            3 | 4 => Call::UpdateTask {
                task,
                labels: Some([("a".to_owned(), a.to_string())].into()),
                grace: None,
            },
            5 => Call::Reconcile { tasks: Vec::new() },
            6 if a > 230 => Call::Teardown,
            _ => Call::Kill { task, grace: None },
        };
        Event::FrameworkCalled {
            request: RequestId(self.count),
            principal: principal("p"),
            framework,
            number: u64::from(a % 3),
            call,
        }
    }

    fn demand(&self, Happening { a, b, c, .. }: Happening) -> Call {
        let count = u32::from(b % 6 * u8::from(c < 170));
        let mut entry = want("w", count, "cpus:1", u64::from(c % 2));
        if let Some(agent) = pick(&self.agents, c).filter(|_| c.is_multiple_of(7)) {
            let lasts = Duration::from_secs(u64::from(c));
            entry.excluded.push(Exclusion { agent, lasts });
        }
        let other = want("x", u32::from(c % 4), "cpus:0.5;mem:1", 0);
        let other = match a % 3 {
            0 | 2 => DemandEntry {
                shape: Shape::Any { least: Vec::new() },
                ..other
            },
            _ => other,
        };
        let generation = Generation(self.count * u64::from(b > 9));
        let entries = vec![entry, other];
        Call::SetDemand(Demand {
            role: if a > 80 { role(a / 3 % 4) } else { role(0) },
            generation,
            entries,
        })
    }

    fn call(&self, happening: Happening) -> Call {
        let Happening { a, b, c, .. } = happening;
        let newest = self.offers.iter().rev();
        let newest = newest.take(1 + usize::from(b % 40 == 0));
        let mut offers: Vec<OfferId> = newest.map(|offer| offer.id.clone()).collect();
        if c > 240 {
            offers.extend(pick(&self.offers, c).map(|offer| offer.id));
        }
        match a % 16 {
            0..=3 => self.demand(happening),
            4..=8 => {
                let needs = if c > 160 {
                    RESOURCES[usize::from(b % 4)]
                } else {
                    "cpus:1"
                };
                let ids = (0..=c % 3).map(|i| format!("t{}", b.wrapping_add(i) % 12));
                let launches = ids.map(|id| Operation::launch(spec(&id, needs)));
                let launches: Vec<Operation> = launches.collect();
                let operations = match b % 2 {
                    0 => operations(self.offers.last(), [b, c, b ^ c]),
                    _ => Vec::new(),
                };
                let operations = operations.into_iter().chain(launches).collect();
                Call::Accept { offers, operations }
            }
            9 => Call::Decline {
                offers,
                exclude_for: Duration::from_secs(u64::from(c)),
            },
            10 => Call::Kill {
                task: spec(&format!("t{}", b % 12), "").id,
                grace: None,
            },
            11..=13 => Call::Acknowledge {
                sequence: u64::from(b) * u64::from(c),
            },
            14 => Call::Reconcile { tasks: Vec::new() },
            _ if c > 230 => Call::Teardown,
            _ => Call::Reconcile {
                tasks: vec![spec(&format!("t{}", b % 12), "").id],
            },
        }
    }

    fn update(&self, Happening { b, c, .. }: Happening) -> Option<Event> {
        let launch = self.launch(b);
        let mut links = self.links.iter().rev();
        let link = links.find(|link| self.agent_of.get(link) == launch.agent.as_ref());
        let state = TaskState::ALL[usize::from(c % 11)];
        let latest = if c < 200 { state } else { TaskState::Finished };
        let status = status(&launch.task, launch.incarnation, u64::from(c % 7), state);
        let message = ToMaster::Updated {
            framework: launch.framework,
            status,
            latest,
        };
        Some(Event::LinkMessage {
            link: *link?,
            message,
        })
    }

    fn state(&self, Happening { a, b, c, .. }: Happening) -> Event {
        let key = StateKey::new(&format!("k{}", a % 3)).expect("a key");
        let value = vec![0; usize::from(b)];
        let expected = Some(u64::from(c % 4)).filter(|_| c > 100);
        let call = match c % 4 {
            0 => StateCall::Get { key },
            1 => StateCall::Put {
                key,
                value,
                expected,
            },
            2 => StateCall::Delete { key, expected },
            _ => StateCall::List {
                prefix: String::new(),
            },
        };
        Event::StateRequested {
            request: RequestId(self.count),
            principal: principal("p"),
            framework: self
                .frameworks
                .last()
                .cloned()
                .unwrap_or(self.framework(255)),
            generation: self.generations.last().copied().unwrap_or_default(),
            call,
        }
    }

    fn operator(&self, core: &Core, Happening { a, b, c, .. }: Happening) -> Event {
        let foreign = || AgentId::new("foreign").expect("an id");
        let late = self.agents.len().saturating_sub(4);
        let agent = pick(&self.agents[late..], c).unwrap_or_else(foreign);
        let known = core.agents.by_id.get(&agent);
        let total = known.map(|known| known.total.clone()).unwrap_or_default();
        Event::OperatorRequested {
            request: RequestId(self.count),
            principal: principal("p"),
            call: operator_call(agent, &total, [a, b, c]),
        }
    }

    fn event(&mut self, core: &Core, happening: Happening) -> Event {
        let Happening { what, a, b, c } = happening;
        let fresh = 1_000 + self.count;
        let session = pick(&self.sessions, b).unwrap_or(SessionId(u64::from(b)));
        let link = pick(&self.links, a).unwrap_or(LinkId(u64::from(a)));
        let heartbeat = Event::LinkMessage {
            link,
            message: ToMaster::Heartbeat,
        };
        match what % 32 {
            0 | 1 => Event::LinkOpened {
                link: LinkId(fresh),
                hello: self.hello(happening),
            },
            2..=6 => self.update(happening).unwrap_or(heartbeat),
            9..=11 => heartbeat,
            12 => {
                self.links.retain(|open| *open != link);
                Event::LinkClosed { link }
            }
            13 => Event::CallReceived {
                session: SessionId(fresh),
                principal: principal("p"),
                request: self.count,
                call: self.subscribe(happening),
            },
            14..=24 => Event::CallReceived {
                session: match self.offered_to {
                    _ if c == 99 => SessionId(fresh),
                    Some(last) if !a.is_multiple_of(4) => last,
                    _ => session,
                },
                principal: principal("p"),
                // Now and then one that was used, or none.
                request: if b.is_multiple_of(9) {
                    u64::from(c % 4)
                } else {
                    10 + self.count
                },
                call: self.call(Happening {
                    a: c,
                    b: a,
                    c: b,
                    what,
                }),
            },
            25 => {
                self.sessions.retain(|open| *open != session);
                Event::SessionClosed { session }
            }
            26 => self.state(happening),
            27 | 28 => Event::Persisted(if c > 250 { Seq(u64::MAX) } else { self.written }),
            29 if a > 60 => self.unary(happening),
            29 => Event::ExplainRequested {
                request: RequestId(self.count),
                framework: self.framework(b),
                part: super::asking::everything(),
            },
            7 | 8 | 30 => self.operator(core, happening),
            _ => Event::TimerFired(pick(&self.timers, b).unwrap_or(TimerKey::Silence)),
        }
    }
}

/// What came of a history.
#[derive(PartialEq)]
struct Outcome {
    effects: Vec<Effects>,
    kinds: BTreeSet<&'static str>,
}

/// Runs a history. Panics where an invariant breaks or the log is not what the core believes.
fn run(history: &[(Happening, u16)]) -> Outcome {
    let (mut epoch, mut log) = (1, Registry::default());
    let mut now = Time {
        mono_ns: 1,
        wall_ms: 1,
    };
    let mut all = Vec::new();
    let mut seen = Seen::default();
    let begin = |epoch, log: &Registry, now, effects: &mut Effects| {
        let cluster = ClusterId::new("c").expect("an id");
        let config = Config::default();
        Core::new(
            config,
            cluster,
            Epoch(epoch),
            [1; 32],
            log.clone(),
            now,
            effects,
        )
    };
    let mut effects = Effects::new();
    let mut core = begin(epoch, &log, now, &mut effects);
    // In some, demands are replaced in pieces, though they are short.
    let has_pieces = history.first().is_some_and(|(first, _)| first.a < 100);
    for (happening, wait) in history {
        // Mostly fractions of a second; sometimes a minute and a half.
        let ms = if *wait > 65_000 {
            90_000
        } else {
            u64::from(*wait) / 200
        };
        now = now.after(Duration::from_millis(ms));
        seen.count += 1;
        effects = Effects::new();
        if happening.what == 255 && happening.a > 150 {
            epoch += 1;
            (seen.written, seen.links, seen.sessions) = (Seq(0), Vec::new(), Vec::new());
            core = begin(epoch, &log, now, &mut effects);
        } else {
            let mut event = seen.event(&core, *happening);
            if has_pieces {
                core.replacements.entries_max = 1;
                core.endings.at_once_max = 1;
                if happening.what == 31 {
                    event = Event::TimerFired(TimerKey::Demands);
                }
            }
            core.step(now, event, &mut effects);
        }
        for effect in &effects {
            if let Effect::Persist { operations, .. } = effect {
                operations.iter().for_each(|operation| log.apply(operation));
            }
        }
        assert_eq!(&log, core.registry());
        if let Err(broken) = core.check_invariants() {
            panic!("{broken}, after {happening:?}");
        }
        seen.note(&effects);
        all.push(effects);
    }
    Outcome {
        effects: all,
        kinds: seen.kinds,
    }
}

fn any_history(len: usize) -> impl Strategy<Value = Vec<(Happening, u16)>> {
    let happening = any::<[u8; 4]>().prop_map(|[what, a, b, c]| Happening { what, a, b, c });
    prop::collection::vec((happening, any::<u16>()), len)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_whatever_happens(history in any_history(400)) {
        run(&history);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5, ..ProptestConfig::default() })]

    #[test]
    fn the_same_events_give_the_same_effects(history in any_history(300)) {
        prop_assert!(run(&history) == run(&history));
    }
}

#[test]
fn random_histories_reach_every_corner() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut kinds = BTreeSet::new();
    for _ in 0..120 {
        let history = any_history(400)
            .new_tree(&mut runner)
            .expect("a history")
            .current();
        kinds.append(&mut run(&history).kinds);
    }
    let corners = [
        "acknowledge",
        "created",
        "destroyed",
        "drained",
        "gone",
        "dropped",
        "kill",
        "launch",
        "lost",
        "offered",
        "refused agent",
        "quota",
        "rescinded",
        "reserved",
        "resumed",
        "settled",
        "standing by",
        "unreachable",
        "unreserved",
        "updated",
    ];
    assert_eq!(kinds, BTreeSet::from(corners));
}
