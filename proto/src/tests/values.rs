//! Any value of the model, for property tests: small, so that failures are readable, and valid by the rules of the
//! decoders.

use std::fmt::Debug;
use std::str::FromStr;
use std::time::Duration;

use proffer_model::link::{AgentExecutor, AgentTask, Hello, Payer, ToAgent, ToMaster};
use proffer_model::operation::Operation;
use proffer_model::ranges::RangeSet;
use proffer_model::registry;
use proffer_model::session::{Answer, Call, Event, LaunchResult, OperationResult, Resume};
use proffer_model::{
    AgentDescription, AtMost, AttributeValue, Attributes, Check, CheckAnswer, CheckKind,
    CheckResult, Command, Demand, DemandEntry, Epoch, Exclusion, ExecutorSpec, Exit, FaultDomain,
    Fit, FrameworkDescription, Generation, Incarnation, Key, Offer, Port, Predicate, Probe,
    Problem, Protocol, Quantities, Reason, ResourceName, Resources, Secret, Shape, Status, Subject,
    Takes, TaskSpec, TaskState, code,
};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use crate::compile_pattern;

pub(super) fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        (
            option::of(id()),
            framework_description(),
            any::<bool>(),
            option::of((epoch(), any::<u64>())),
            any::<bool>()
        )
            .prop_map(|(framework, description, stand_by, resume, create)| {
                Call::Subscribe {
                    framework,
                    description,
                    stand_by,
                    resume: resume.map(|(epoch, sequence)| Resume { epoch, sequence }),
                    create,
                }
            }),
        (
            id(),
            option::of(btree_map("[a-z.]{1,6}", text(), 0..3)),
            option::of(duration())
        )
            .prop_map(|(task, labels, grace)| {
                Call::UpdateTask {
                    task,
                    labels,
                    grace,
                }
            }),
        (id(), id(), vec(any::<u8>(), 0..9)).prop_map(|(agent, executor, data)| {
            Call::SendMessage {
                agent,
                executor,
                data,
            }
        }),
        (id(), id()).prop_map(|(agent, executor)| Call::ShutdownExecutor { agent, executor }),
        demand().prop_map(Call::SetDemand),
        (ids(1), vec(act(), 0..4)).prop_map(|(offers, mut operations)| {
            let mut seen = std::collections::BTreeSet::new();
            operations.retain(|operation| {
                let mut tasks = operation.tasks().iter();
                tasks.all(|spec| seen.insert(spec.id.clone()))
            });
            Call::Accept { offers, operations }
        }),
        (ids(1), duration()).prop_map(|(offers, exclude_for)| Call::Decline {
            offers,
            exclude_for
        }),
        (id(), option::of(duration())).prop_map(|(task, grace)| Call::Kill { task, grace }),
        any::<u64>().prop_map(|sequence| Call::Acknowledge { sequence }),
        ids(0).prop_map(|tasks| Call::Reconcile { tasks }),
        Just(Call::Teardown),
    ]
}

pub(super) fn event() -> impl Strategy<Value = (Epoch, Event)> {
    let subscribed = (
        epoch(),
        id(),
        id(),
        any::<(u64, bool)>(),
        positive_duration(),
    )
        .prop_map(
            |(epoch, framework, cluster, (generation, is_resumed), heartbeat_interval)| {
                let generation = Generation(generation);
                let event = Event::Subscribed {
                    framework,
                    cluster,
                    epoch,
                    generation,
                    heartbeat_interval,
                    is_resumed,
                };
                (epoch, event)
            },
        );
    let other = prop_oneof![
        (any::<u64>(), answer()).prop_map(|(request, answer)| Event::Answered { request, answer }),
        vec(offer(), 0..3).prop_map(Event::Offered),
        ids(0).prop_map(Event::Rescinded),
        status().prop_map(Event::Updated),
        id().prop_map(Event::AgentSettled),
        problem().prop_map(Event::Closed),
        Just(Event::Heartbeat),
    ];
    prop_oneof![1 => subscribed, 6 => (epoch(), other)]
}

pub(super) fn to_master() -> impl Strategy<Value = ToMaster> {
    let hello = (
        option::of(id()),
        option::of(id()),
        epoch(),
        agent_description(),
        vec(agent_task(), 0..3),
        vec(agent_executor(), 0..3),
        any::<u64>(),
    )
        .prop_map(
            |(agent, cluster, epoch, description, tasks, executors, number)| Hello {
                executors,
                agent,
                cluster,
                epoch,
                description,
                tasks,
                number,
            },
        );
    prop_oneof![
        hello.prop_map(ToMaster::Hello),
        (id(), status(), state()).prop_map(|(framework, status, latest)| ToMaster::Updated {
            framework,
            status,
            latest
        }),
        Just(ToMaster::Heartbeat),
    ]
}

pub(super) fn to_agent() -> impl Strategy<Value = ToAgent> {
    let welcome = (id(), id(), epoch(), any::<u64>(), positive_duration()).prop_map(
        |(agent, cluster, epoch, generation, heartbeat_interval)| ToAgent::Welcome {
            agent,
            cluster,
            epoch,
            generation: Generation(generation),
            heartbeat_interval,
        },
    );
    let launch = (
        epoch(),
        id(),
        incarnation(),
        task_spec(),
        option::of(payer()),
    )
        .prop_map(
            |(epoch, framework, incarnation, spec, payer)| ToAgent::Launch {
                epoch,
                framework,
                incarnation,
                spec: Box::new(spec),
                payer,
            },
        );
    let kill = (
        epoch(),
        id(),
        id(),
        incarnation(),
        option::of(duration()),
        reason(),
    )
        .prop_map(
            |(epoch, framework, task, incarnation, grace, reason)| ToAgent::Kill {
                epoch,
                framework,
                task,
                incarnation,
                grace,
                reason,
            },
        );
    let acknowledge = (epoch(), id(), id(), incarnation(), any::<u64>()).prop_map(
        |(epoch, framework, task, incarnation, number)| ToAgent::Acknowledge {
            epoch,
            framework,
            task,
            incarnation,
            number,
        },
    );
    prop_oneof![
        welcome,
        problem().prop_map(ToAgent::Refused),
        launch,
        kill,
        acknowledge,
        epoch().prop_map(|epoch| ToAgent::Heartbeat { epoch }),
    ]
}

pub(super) fn operation() -> impl Strategy<Value = registry::Operation> {
    // Few ids, so that operations are about the same things.
    let agent = || select(vec!["a1", "a2"]).prop_map(parsed);
    let framework = || select(vec!["f1", "f2"]).prop_map(parsed);
    let key = || select(vec!["k", "k/1"]).prop_map(parsed);
    prop_oneof![
        (agent(), agent_description(), any::<u64>()).prop_map(
            |(agent, description, volumes_after)| registry::Operation::AdmitAgent {
                agent,
                description: description.into(),
                volumes_after,
            }
        ),
        (agent(), 1..u64::MAX, option::of(any::<u64>())).prop_map(
            |(agent, since_wall_ms, frameworks)| registry::Operation::MarkUnreachable {
                agent,
                since_wall_ms,
                frameworks,
            }
        ),
        agent().prop_map(|agent| registry::Operation::MarkReachable { agent }),
        (framework(), id(), framework_description(), any::<bool>()).prop_map(
            |(framework, principal, description, is_away)| registry::Operation::AdmitFramework {
                framework,
                principal,
                description,
                is_away,
            }
        ),
        framework().prop_map(|framework| registry::Operation::CompleteFramework { framework }),
        (framework(), key(), vec(any::<u8>(), 0..8)).prop_map(|(framework, key, value)| {
            registry::Operation::PutState {
                framework,
                key,
                value: value.into(),
            }
        }),
        (framework(), key())
            .prop_map(|(framework, key)| registry::Operation::DeleteState { framework, key }),
        super::decisions::decision(),
    ]
}

pub(super) fn problem() -> impl Strategy<Value = Problem> {
    (select(code::ALL), text(), text(), text()).prop_map(|(code, field, message, hint)| {
        Problem::new(code, message).field(field).hint(hint)
    })
}

pub(super) fn epoch() -> impl Strategy<Value = Epoch> {
    any::<u64>().prop_map(Epoch)
}

pub(super) fn parsed<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().expect("a good id")
}

pub(super) fn id<T: FromStr<Err: Debug> + Debug>() -> impl Strategy<Value = T> {
    "[a-z][a-z0-9.:_-]{0,8}".prop_map(|text| parsed(&text))
}

fn ids<T: FromStr<Err: Debug> + Debug + Clone>(min: usize) -> impl Strategy<Value = Vec<T>> {
    btree_set("[a-z][a-z0-9.:_-]{0,8}", min..4)
        .prop_map(|texts| texts.iter().map(|text| parsed(text)).collect())
}

/// Which, other than an id, has no colon.
fn resource_name() -> impl Strategy<Value = ResourceName> {
    "[a-z][a-z0-9_]{0,8}".prop_map(|text| parsed(&text))
}

pub(super) fn text() -> impl Strategy<Value = String> {
    "\\PC{0,12}"
}

pub(super) fn duration() -> impl Strategy<Value = Duration> {
    (0u64..80_000_000).prop_map(Duration::from_millis)
}

fn positive_duration() -> impl Strategy<Value = Duration> {
    (10u64..80_000_000).prop_map(Duration::from_millis)
}

pub(super) fn incarnation() -> impl Strategy<Value = Incarnation> {
    (1..u64::MAX).prop_map(Incarnation)
}

fn host() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9.:]{0,12}"
}

pub(super) fn resources() -> impl Strategy<Value = Resources> {
    let scalars = btree_map("s[a-z]{1,3}", 1u64..9_000, 0..3);
    let ranges = btree_map("r[a-z]{1,3}", btree_set(0u64..60, 1..9), 0..3);
    let special = subsequence(SPECIAL, 0..=SPECIAL.len());
    (scalars, ranges, special).prop_map(|(scalars, ranges, special)| {
        let mut out: Resources = special.join(";").parse().expect("good");
        for (name, milli) in scalars {
            out.insert_scalar(parsed(&name), milli).expect("new");
        }
        for (name, numbers) in ranges {
            let set = RangeSet::from_numbers(numbers);
            out.insert_ranges(parsed(&name), set).expect("new");
        }
        out
    })
}

/// One of each kind of what is not a number or ranges that everybody may have.
const SPECIAL: &[&str] = &[
    "cpus(eng):1.5",
    "cpus(eng)(eng/web,ops,{team:a}):2",
    "mem{REV}:3",
    "ports(eng):[1-2]",
    "zones:{a,b}",
    "zones(eng):{\"a b\"}",
    "disk(eng)[logs,ops]:64",
    "disk(eng)[logs]<SHARED>:64<3>",
    "disk@PATH:/mnt/a:10",
    "disk@MOUNT:100<2>",
    "disk@MOUNT:/mnt/b:100",
    "disk@BLOCK(sda):100",
    "disk@RAW:100",
    "disk@RAW(a,fast):100",
];

fn quantities() -> impl Strategy<Value = Quantities> {
    btree_map("[a-z]{1,3}", 1u64..9_000, 1..3).prop_map(|given| {
        let given = given.into_iter();
        given.map(|(name, milli)| (parsed(&name), milli)).collect()
    })
}

fn domain() -> impl Strategy<Value = FaultDomain> {
    ("[a-z0-9-]{1,6}", "[a-z0-9-]{1,6}")
        .prop_map(|(region, zone)| FaultDomain::new(&region, &zone).expect("good"))
}

fn attributes() -> impl Strategy<Value = Attributes> {
    btree_map("[a-z]{1,4}", "[a-z0-9:]{1,6}", 0..3).prop_map(|given| {
        let mut out = Attributes::default();
        for (name, value) in given {
            let value = AttributeValue::new(&value).expect("good");
            out.insert(parsed(&name), value).expect("new");
        }
        out
    })
}

fn framework_description() -> impl Strategy<Value = FrameworkDescription> {
    (
        text(),
        btree_set("[a-z]{1,4}(/[a-z]{1,4})?", 1..3),
        duration(),
    )
        .prop_map(|(name, roles, failover_timeout)| FrameworkDescription {
            name,
            roles: roles.iter().map(|role| parsed(role)).collect(),
            failover_timeout,
            mesos: None,
        })
}

fn agent_description() -> impl Strategy<Value = AgentDescription> {
    let place = (host(), host(), option::of(domain()));
    (place, resources(), attributes(), text()).prop_map(
        |((host, address, domain), resources, attributes, version)| AgentDescription {
            domain,
            host,
            address,
            resources,
            attributes,
            version,
        },
    )
}

fn agent_task() -> impl Strategy<Value = AgentTask> {
    let launch = (
        id(),
        task_spec(),
        incarnation(),
        option::of(payer()),
        option::of(id()),
    );
    (launch, status(), any::<u64>()).prop_map(|(launch, status, acknowledged)| {
        let (framework, spec, incarnation, payer, group) = launch;
        AgentTask {
            framework,
            spec,
            incarnation,
            status,
            acknowledged,
            payer,
            group,
        }
    })
}

fn agent_executor() -> impl Strategy<Value = AgentExecutor> {
    (id(), executor(), option::of(payer())).prop_map(|(framework, spec, payer)| AgentExecutor {
        framework,
        spec: spec.into(),
        payer,
    })
}

fn executor() -> impl Strategy<Value = ExecutorSpec> {
    let command = prop_oneof![
        "[a-z]{1,9}".prop_map(Command::Shell),
        vec("[a-z]{1,9}", 1..3).prop_map(Command::Exec),
        ("[a-z]{1,9}", vec("[a-z]{1,9}", 1..3))
            .prop_map(|(program, arguments)| Command::Named { program, arguments }),
    ];
    (
        id(),
        resources(),
        command,
        option::of("[a-z]{1,9}"),
        duration(),
    )
        .prop_map(
            |(id, resources, command, user, shutdown_grace)| ExecutorSpec {
                id,
                resources,
                command,
                environment: [].into(),
                user,
                shutdown_grace,
                api: proffer_model::ExecutorApi::default(),
                info: Vec::new(),
                info_compared: None,
                fetch: super::given::found().fetch,
            },
        )
}

fn demand() -> impl Strategy<Value = Demand> {
    (id(), any::<u64>(), vec(demand_entry(), 0..3)).prop_map(|(role, generation, mut entries)| {
        entries.sort_by(|a, b| a.id.cmp(&b.id));
        entries.dedup_by(|a, b| a.id == b.id);
        Demand {
            role,
            generation: Generation(generation),
            entries,
        }
    })
}

fn demand_entry() -> impl Strategy<Value = DemandEntry> {
    let exclusion = (id(), duration()).prop_map(|(agent, lasts)| Exclusion { agent, lasts });
    (
        id(),
        shape(),
        1u32..1_000_000,
        vec(predicate(), 0..3),
        vec(exclusion, 0..3),
        vec(at_most(), 0..3),
        (any::<u32>(), any::<u32>(), takes()),
    )
        .prop_map(
            |(id, shape, count, predicates, excluded, at_most, rest)| DemandEntry {
                at_most,
                gang: rest.0 % (count + 1),
                priority: rest.1,
                takes: rest.2,
                id,
                shape,
                count,
                predicates,
                excluded,
            },
        )
}

fn at_most() -> impl Strategy<Value = AtMost> {
    let per = prop_oneof![
        Just(Key::Agent),
        Just(Key::Host),
        Just(Key::Zone),
        Just(Key::Region),
        "[a-z]{1,4}".prop_map(|name| Key::Attribute(parsed(&name))),
    ];
    (1..u32::MAX, per).prop_map(|(count, per)| AtMost { count, per })
}

fn takes() -> impl Strategy<Value = Takes> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(revocable, shared, refined)| Takes {
        revocable,
        shared,
        refined,
    })
}

fn shape() -> impl Strategy<Value = Shape> {
    let of =
        (resources(), btree_map("[a-z]{1,4}", 1u64..9, 1..3)).prop_map(|(resources, counts)| {
            Shape::Of {
                resources,
                counts: counts
                    .into_iter()
                    .map(|(name, count)| (parsed::<ResourceName>(&name), count))
                    .collect(),
            }
        });
    prop_oneof![
        vec(quantities(), 0..3).prop_map(|least| Shape::Any { least }),
        of
    ]
}

fn subject() -> impl Strategy<Value = Subject> {
    prop_oneof![
        resource_name().prop_map(Subject::Attribute),
        Just(Subject::Host),
        Just(Subject::Region),
        Just(Subject::Zone),
    ]
}

fn predicate() -> impl Strategy<Value = Predicate> {
    let leaf = prop_oneof![
        host().prop_map(Predicate::Host),
        option::of(resource_name()).prop_map(Predicate::Reserved),
        (subject(), "[a-z]{1,4}[*+]?").prop_map(|(subject, text)| {
            Predicate::Matches(subject, compile_pattern(&text).expect("a pattern"))
        }),
        ("[a-z]{1,4}", "[a-z]{1,4}").prop_map(|(name, value)| {
            Predicate::Attribute(parsed(&name), AttributeValue::new(&value).expect("good"))
        }),
    ];
    leaf.prop_recursive(4, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Predicate::All),
            vec(inner.clone(), 0..3).prop_map(Predicate::AnyOf),
            inner.prop_map(|inner| Predicate::Not(Box::new(inner))),
        ]
    })
}

fn offer() -> impl Strategy<Value = Offer> {
    let fits = vec(
        (id(), any::<u32>()).prop_map(|(demand, count)| Fit { demand, count }),
        0..3,
    );
    let place = (host(), host(), attributes(), option::of(domain()));
    (id(), id(), id(), place, resources(), fits, duration()).prop_map(
        |(id, role, agent, (host, address, attributes, domain), resources, fits, expires_after)| {
            Offer {
                id,
                role,
                agent,
                host,
                address,
                attributes,
                domain,
                resources,
                fits,
                expires_after,
            }
        },
    )
}

fn answer() -> impl Strategy<Value = Answer> {
    let result = || {
        let outcome = prop_oneof![
            any::<u64>().prop_map(|number| Ok(Incarnation(number))),
            problem().prop_map(Err)
        ];
        (id(), outcome).prop_map(|(task, outcome)| LaunchResult { task, outcome })
    };
    let result = prop_oneof![
        result().prop_map(OperationResult::Launched),
        vec(result(), 0..3).prop_map(OperationResult::LaunchedGroup),
        Just(OperationResult::Done),
        problem().prop_map(OperationResult::Refused),
    ];
    prop_oneof![
        Just(Answer::Done),
        vec(result, 0..3).prop_map(Answer::Accepted),
        problem().prop_map(Answer::Refused),
    ]
}

fn act() -> impl Strategy<Value = Operation> {
    let some = || resources().prop_filter("not empty", |resources| !resources.is_empty());
    prop_oneof![
        task_spec().prop_map(Operation::launch),
        vec(task_spec(), 1..3).prop_map(Operation::LaunchGroup),
        some().prop_map(Operation::Reserve),
        some().prop_map(Operation::Unreserve),
        some().prop_map(Operation::Create),
        some().prop_map(Operation::Destroy),
        (id(), 1u64..1_000_000).prop_map(|(volume, milli)| Operation::Grow { volume, milli }),
        (id(), 1u64..1_000_000).prop_map(|(volume, milli)| Operation::Shrink { volume, milli }),
    ]
}

pub(super) fn payer() -> impl Strategy<Value = Payer> {
    (id(), option::of(id())).prop_map(|(role, demand)| Payer { role, demand })
}

fn state() -> impl Strategy<Value = TaskState> {
    select(&TaskState::ALL)
}

pub(super) fn reason() -> impl Strategy<Value = Reason> {
    select(vec![
        Reason::None,
        Reason::Exited,
        Reason::LaunchFailed,
        Reason::CheckFailed,
        Reason::KillRequested,
        Reason::FrameworkRemoved,
        Reason::AgentUnreachable,
        Reason::AgentReturned,
        Reason::NeverDelivered,
        Reason::SupervisorLost,
        Reason::HostRestarted,
        Reason::Reconciled,
        Reason::HealthChanged,
        Reason::CheckAnswered,
    ])
}

pub(super) fn status() -> impl Strategy<Value = Status> {
    let exit = option::of(prop_oneof![
        any::<i32>().prop_map(Exit::Code),
        any::<i32>().prop_map(Exit::Signal)
    ]);
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>());
    let health = option::of(any::<bool>());
    let answer = option::of(prop_oneof![
        any::<u16>().prop_map(CheckAnswer::Http),
        any::<bool>().prop_map(CheckAnswer::Tcp),
        any::<i32>().prop_map(CheckAnswer::Exit),
    ]);
    let observed = option::of(select(&[Probe::Http, Probe::Tcp, Probe::Command][..]));
    let answers = vec((answer, observed), 0..3);
    (
        id(),
        option::of(id()),
        numbers,
        state(),
        reason(),
        text(),
        exit,
        (health, answers),
    )
        .prop_map(
            |(
                task,
                agent,
                (incarnation, number, wall_ms),
                state,
                reason,
                message,
                exit,
                (healthy, answers),
            )| {
                Status {
                    task,
                    incarnation: Incarnation(incarnation),
                    agent,
                    number,
                    state,
                    reason,
                    message,
                    exit,
                    healthy,
                    checks: answers
                        .into_iter()
                        .zip(0..)
                        .map(|((answer, observed), check)| CheckResult {
                            check,
                            answer,
                            observed,
                        })
                        .collect(),
                    wall_ms,
                    data: Vec::new(),
                }
            },
        )
}

fn check() -> impl Strategy<Value = Check> {
    let kind = prop_oneof![
        (1..u16::MAX, "/[a-z/?=&]{0,8}").prop_map(|(port, path)| CheckKind::Http { port, path }),
        (1..u16::MAX).prop_map(|port| CheckKind::Tcp { port }),
    ];
    let times = (
        duration(),
        positive_duration(),
        positive_duration(),
        duration(),
    );
    (kind, times, any::<u32>(), any::<bool>()).prop_map(
        |(kind, (delay, interval, timeout, grace), failures_max, is_observed)| Check {
            kind,
            delay,
            interval,
            timeout,
            grace,
            failures_max: if is_observed { 0 } else { failures_max },
            is_observed,
        },
    )
}

pub(super) fn task_spec() -> impl Strategy<Value = TaskSpec> {
    let command = prop_oneof![
        "[a-z]\\PC{0,12}".prop_map(Command::Shell),
        ("[a-z]{1,4}", vec(text(), 0..3)).prop_map(|(program, mut arguments)| {
            arguments.insert(0, program);
            Command::Exec(arguments)
        }),
    ];
    let protocol = select(vec![Protocol::Tcp, Protocol::Udp]);
    let ports = btree_map((1..u16::MAX, protocol), text(), 0..4);
    let environment = btree_map("[A-Z_]{1,6}", text(), 0..3);
    let labels = btree_map("[a-z.]{1,6}", text(), 0..3);
    let user = option::of("[a-z]{1,6}");
    (
        (id(), text(), command, user),
        resources(),
        (environment, labels),
        ports,
        vec(check(), 0..3),
        duration(),
    )
        .prop_map(
            |(
                (id, name, command, user),
                mut resources,
                (environment, labels),
                ports,
                checks,
                grace,
            )| {
                let numbers = ports.keys().map(|(number, _)| u64::from(*number));
                let set = RangeSet::from_numbers(numbers);
                resources.insert_ranges(parsed("ports"), set).expect("new");
                let ports = ports.into_iter();
                let environment = environment.into_iter();
                TaskSpec {
                    id,
                    name,
                    resources,
                    command,
                    environment: environment
                        .map(|(name, value)| (name, Secret::new(value)))
                        .collect(),
                    user,
                    labels,
                    ports: ports
                        .map(|((number, protocol), name)| Port {
                            name,
                            number,
                            protocol,
                        })
                        .collect(),
                    checks,
                    kill_grace: grace,
                    ..super::given::found()
                }
            },
        )
}
