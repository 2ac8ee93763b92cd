//! Anything may happen in any order, twice, late, under foreign names: the invariants hold after every step, and the same
//! events give the same effects.

use std::time::Duration;

use proffer_model::link::{AgentTask, Hello, ToMaster};
use proffer_model::registry::Registry;
use proffer_model::session::Call;
use proffer_model::{
    AgentId, ClusterId, Demand, Epoch, Exclusion, FrameworkId, Generation, Incarnation, OfferId,
    Shape, StateKey, TaskState, Time,
};
use proptest::prelude::*;

use super::world::{describe, describe_framework, principal, spec, status, want};
use crate::effect::{Effect, Effects};
use crate::event::{Event, LinkId, RequestId, Seq, SessionId, StateCall, TimerKey};
use crate::{Config, Core};

const RESOURCES: [&str; 4] = [
    "cpus:4;mem:8;ports:[1-6]",
    "cpus:2;ports:[1-3]",
    "mem:9",
    "cpus:1;mem:1;ports:[2-4]",
];

/// What happens next, in small numbers; what they name is found in the world as it is then, or is foreign.
#[derive(Clone, Copy, Debug)]
struct Happening {
    what: u8,
    a: u8,
    b: u8,
    c: u8,
}

/// Names that have been seen.
struct Seen {
    agents: Vec<AgentId>,
    frameworks: Vec<FrameworkId>,
    offers: Vec<OfferId>,
    launched: Vec<(FrameworkId, u8, Incarnation)>,
    generations: Vec<Generation>,
    timers: Vec<TimerKey>,
    written: Seq,
    requests: u64,
}

fn pick<T: Clone>(of: &[T], index: u8) -> Option<T> {
    let index = usize::from(index).checked_rem(of.len())?;
    of.get(index).cloned()
}

impl Seen {
    fn note(&mut self, effects: &[Effect]) {
        use proffer_model::link::ToAgent;
        use proffer_model::session::Event as Told;
        for effect in effects {
            match effect {
                Effect::SendLink {
                    message: ToAgent::Welcome { agent, .. },
                    ..
                } => {
                    self.agents.push(agent.clone());
                }
                Effect::SendLink {
                    message:
                        ToAgent::Launch {
                            framework,
                            incarnation,
                            spec,
                            ..
                        },
                    ..
                } => {
                    let number = spec
                        .id
                        .as_str()
                        .trim_start_matches('t')
                        .parse()
                        .expect("t<n>");
                    self.launched
                        .push((framework.clone(), number, *incarnation));
                }
                Effect::SendSession {
                    event:
                        Told::Subscribed {
                            framework,
                            generation,
                            ..
                        },
                    ..
                } => {
                    self.frameworks.push(framework.clone());
                    self.generations.push(*generation);
                }
                Effect::SendSession {
                    event: Told::Offered(offers),
                    ..
                } => {
                    self.offers
                        .extend(offers.iter().map(|offer| offer.id.clone()));
                }
                Effect::Persist { seq, .. } => self.written = *seq,
                Effect::SetTimer { key, .. } => self.timers.push(key.clone()),
                _ => {}
            }
        }
    }

    fn framework(&self, index: u8) -> FrameworkId {
        let foreign = FrameworkId::new("foreign").expect("an id");
        pick(&self.frameworks, index)
            .filter(|_| index < 240)
            .unwrap_or(foreign)
    }

    fn task(&self, index: u8) -> (FrameworkId, u8, Incarnation) {
        let foreign = (
            self.framework(index),
            index % 8,
            Incarnation(u64::from(index)),
        );
        pick(&self.launched, index)
            .filter(|_| index % 8 != 7)
            .unwrap_or(foreign)
    }

    fn hello(&self, happening: Happening) -> Hello {
        let Happening { a, b, c, .. } = happening;
        let tasks = (0..c % 4).map(|i| {
            let (framework, task, incarnation) = self.task(b.wrapping_add(i));
            let spec = spec(&format!("t{task}"), RESOURCES[usize::from(i % 4)]);
            let state =
                TaskState::ALL[usize::from((b >> 2).wrapping_add(i)) % 4 + usize::from(i % 2) * 3];
            AgentTask {
                framework,
                status: status(spec.id.as_str(), incarnation, u64::from(c % 5), state),
                spec,
                incarnation,
            }
        });
        Hello {
            agent: pick(&self.agents, a).filter(|_| a.is_multiple_of(2)),
            cluster: (b > 10)
                .then(|| ClusterId::new(if b > 15 { "c" } else { "d" }).expect("an id")),
            epoch: Epoch(u64::from(c > 250) * 9),
            description: describe(&format!("h{}", a % 3), RESOURCES[usize::from(b % 4)]),
            tasks: tasks.collect(),
        }
    }

    fn call(&self, happening: Happening) -> Call {
        let Happening { a, b, c, .. } = happening;
        let offers = (0..=b % 2)
            .filter_map(|i| pick(&self.offers, 255 - c % 4 - i))
            .collect::<Vec<_>>();
        let newest = self
            .offers
            .iter()
            .rev()
            .take(usize::from(b % 3))
            .cloned()
            .collect::<Vec<_>>();
        match a % 16 {
            0..=3 => {
                let mut entry = want("w", u32::from(b % 6), RESOURCES[usize::from(c % 4)], 0);
                if let Shape::Of { resources, .. } = &mut entry.shape {
                    *resources = crate::amounts::scalars_of(resources);
                }
                if let Some(agent) = pick(&self.agents, c).filter(|_| c % 5 == 0) {
                    entry.excluded.push(Exclusion {
                        agent,
                        lasts: Duration::from_secs(u64::from(c)),
                    });
                }
                let more = if c % 3 == 0 {
                    want("any", 2, "", 0)
                } else {
                    want("p", 2, "", u64::from(c % 3))
                };
                let more = if c % 3 == 0 {
                    proffer_model::DemandEntry {
                        shape: Shape::Any,
                        ..more
                    }
                } else {
                    more
                };
                let role = if c == 9 { "eng" } else { "*" }.parse().expect("a role");
                let generation = Generation(self.requests * u64::from(b > 3));
                Call::SetDemand(Demand {
                    role,
                    generation,
                    entries: vec![entry, more],
                })
            }
            4..=8 => {
                let launches = (0..c % 4).map(|i| {
                    spec(
                        &format!("t{}", b.wrapping_add(i) % 12),
                        RESOURCES[usize::from((b ^ c) % 4)],
                    )
                });
                let small =
                    (0..c % 4).map(|i| spec(&format!("t{}", b.wrapping_add(i) % 12), "cpus:1"));
                let launches = if c > 128 {
                    launches.collect()
                } else {
                    small.collect()
                };
                Call::Accept {
                    offers: if c > 230 { offers } else { newest },
                    launches,
                }
            }
            9 => Call::Decline {
                offers: newest,
                exclude_for: Duration::from_secs(u64::from(c)),
            },
            10 => Call::Kill {
                task: spec(&format!("t{}", b % 12), "").id,
                grace: None,
            },
            11 | 12 => Call::Acknowledge {
                sequence: u64::from(b) * u64::from(c),
            },
            13 => Call::Reconcile { tasks: Vec::new() },
            14 if c > 200 => Call::Teardown,
            _ => Call::Subscribe {
                framework: Some(self.framework(b)).filter(|_| c > 60),
                description: describe_framework(),
            },
        }
    }

    fn event(&self, happening: Happening) -> Event {
        let Happening { what, a, b, c } = happening;
        let (link, session) = (LinkId(u64::from(a % 12)), SessionId(u64::from(b % 12)));
        match what % 16 {
            0 | 1 => Event::LinkOpened {
                link: LinkId(1_000 + self.requests),
                hello: self.hello(happening),
            },
            2..=4 => {
                let (framework, task, incarnation) = self.task(b);
                let state = TaskState::ALL[usize::from(c % 11)];
                let latest = if c > 128 {
                    state
                } else {
                    state.max(TaskState::Running)
                };
                let status = status(&format!("t{task}"), incarnation, u64::from(c % 7), state);
                let message = ToMaster::Updated {
                    framework,
                    status,
                    latest,
                };
                Event::LinkMessage {
                    link: self.link(a),
                    message,
                }
            }
            5 => Event::LinkMessage {
                link: self.link(a),
                message: ToMaster::Heartbeat,
            },
            6 if c > 128 => Event::LinkClosed { link: self.link(a) },
            6 => Event::LinkMessage {
                link,
                message: ToMaster::Heartbeat,
            },
            7 => Event::CallReceived {
                session: SessionId(1_000 + self.requests),
                principal: principal("p"),
                request: self.requests,
                call: Call::Subscribe {
                    framework: Some(self.framework(b)).filter(|_| c > 100),
                    description: describe_framework(),
                },
            },
            8..=11 => Event::CallReceived {
                session: self.session(b),
                principal: principal(if c == 77 { "q" } else { "p" }),
                request: self.requests,
                call: self.call(Happening {
                    a: c,
                    b: a,
                    c: b,
                    what,
                }),
            },
            12 if c > 180 => Event::SessionClosed {
                session: self.session(b),
            },
            12 => Event::SessionClosed { session },
            13 => {
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
                    request: RequestId(self.requests),
                    principal: principal("p"),
                    framework: self.framework(b),
                    generation: pick(&self.generations, b).unwrap_or_default(),
                    call,
                }
            }
            14 => Event::Persisted(if c > 250 { Seq(u64::MAX) } else { self.written }),
            _ if c > 200 => {
                let (request, framework) = (RequestId(self.requests), self.framework(b));
                Event::ExplainRequested { request, framework }
            }
            _ => Event::TimerFired(pick(&self.timers, b).unwrap_or(TimerKey::Silence)),
        }
    }

    /// One of the last links; they are numbered as they are opened.
    fn link(&self, index: u8) -> LinkId {
        LinkId(1_000 + self.requests.saturating_sub(u64::from(index % 40)))
    }

    /// One of the last sessions; they are numbered as they are opened.
    fn session(&self, index: u8) -> SessionId {
        SessionId(1_000 + self.requests.saturating_sub(u64::from(index % 40)))
    }
}

/// Runs a history; answers all effects. Panics where an invariant breaks or the log is not what the core believes.
fn run(history: &[(Happening, u16)]) -> Vec<Effects> {
    let (mut epoch, mut log) = (1, Registry::default());
    let mut now = Time {
        mono_ns: 1,
        wall_ms: 1,
    };
    let mut all = Vec::new();
    let mut seen = Seen {
        agents: Vec::new(),
        frameworks: Vec::new(),
        offers: Vec::new(),
        launched: Vec::new(),
        generations: Vec::new(),
        timers: Vec::new(),
        written: Seq(0),
        requests: 0,
    };
    let begin = |epoch, log: &Registry, now, effects: &mut Effects| {
        let cluster = ClusterId::new("c").expect("an id");
        Core::new(
            Config::default(),
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
    for (happening, wait) in history {
        // Mostly short waits; sometimes minutes.
        let ms = if *wait > 65_000 {
            90_000
        } else {
            u64::from(*wait) / 30
        };
        now = now.after(Duration::from_millis(ms));
        seen.requests += 1;
        effects = Effects::new();
        if happening.what == 255 && happening.a > 200 {
            epoch += 1;
            seen.written = Seq(0);
            core = begin(epoch, &log, now, &mut effects);
        } else {
            core.step(now, seen.event(*happening), &mut effects);
        }
        for effect in &effects {
            if let Effect::Persist { operations, .. } = effect {
                operations.iter().for_each(|operation| log.apply(operation));
            }
        }
        assert_eq!(&log, core.registry());
        if let Err(broken) = core.check_invariants() {
            panic!("{broken}, after {:?}", happening);
        }
        seen.note(&effects);
        all.push(effects);
    }
    all
}

fn any_history(len: usize) -> impl Strategy<Value = Vec<(Happening, u16)>> {
    let happening = any::<[u8; 4]>().prop_map(|[what, a, b, c]| Happening { what, a, b, c });
    prop::collection::vec((happening, any::<u16>()), len)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_whatever_happens(history in any_history(250)) {
        run(&history);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, ..ProptestConfig::default() })]

    #[test]
    fn the_same_events_give_the_same_effects(history in any_history(200)) {
        prop_assert_eq!(run(&history), run(&history));
    }
}
