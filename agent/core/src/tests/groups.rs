//! Task groups, how long a task may run, and what changes of it while it runs.

use super::*;

fn group(agent: &mut Agent, first: u64, specs: &[TaskSpec]) {
    let tasks = (first..).map(Incarnation).zip(specs.iter().cloned());
    agent.receive(ToAgent::LaunchGroup {
        epoch: agent.identity.epoch,
        framework: framework(),
        payer: Some(payer()),
        tasks: tasks.collect(),
    });
}

/// Launches a group and starts all of it; answers the runs in their order.
fn started_group(agent: &mut Agent, names: &[&str]) -> Vec<RunId> {
    let specs: Vec<TaskSpec> = names.iter().map(|name| spec(name)).collect();
    group(agent, 1, &specs);
    agent.persist();
    let runs = agent.started();
    for run in &runs {
        agent.step(Event::ContainerStarted { run: *run, pid: 77 });
    }
    agent.persist();
    agent.take();
    names
        .iter()
        .map(|name| {
            agent
                .core
                .run_of(
                    &framework(),
                    &TaskId::new(name).unwrap(),
                    Incarnation(1 + position(names, name)),
                )
                .unwrap()
        })
        .collect()
}

fn position(names: &[&str], name: &str) -> u64 {
    u64::try_from(names.iter().position(|it| *it == name).unwrap()).unwrap()
}

fn states(agent: &Agent) -> BTreeMap<String, (TaskState, Reason)> {
    let runs = agent.runs.values().map(|run| {
        let last = run.statuses.last().unwrap();
        (last.task.to_string(), (last.state, last.reason))
    });
    runs.collect()
}

#[test]
fn a_group_is_one_checkpoint_and_none_of_it_starts_before_all_of_it_is_durable() {
    let mut agent = Agent::registered();
    group(&mut agent, 1, &[spec("a"), spec("b"), spec("c")]);
    assert_eq!(agent.writing.len(), 1, "all or none");
    assert_eq!(agent.started(), []);
    agent.persist();
    assert_eq!(agent.started().len(), 3);
    let hello = agent.core.tasks.values().map(|task| task.group.clone());
    let first = (TaskId::new("a").unwrap(), Incarnation(1));
    assert!(hello.clone().all(|group| group == Some(first.clone())));
    // Again: nothing is started twice.
    agent.take();
    group(&mut agent, 1, &[spec("a"), spec("b"), spec("c")]);
    assert_eq!(agent.story(), ["repeated", "repeated", "repeated"]);
    // A crash before it was durable leaves nothing, one after it everything.
    let mut agent = Agent::registered();
    group(&mut agent, 1, &[spec("a"), spec("b")]);
    agent.recover("boot-1");
    assert!(agent.runs.is_empty() && agent.started().is_empty());
}

#[test]
fn a_group_of_which_one_task_does_not_fit_is_refused_whole() {
    let large = TaskSpec {
        resources: "cpus:4".parse().unwrap(),
        ..spec("b")
    };
    for specs in [
        vec![spec("a"), large.clone(), spec("c")],
        vec![large, spec("a"), spec("c")],
        vec![spec("a"), spec("a"), spec("c")],
        (0..5).map(|i| spec(&format!("t{i}"))).collect(),
    ] {
        let mut agent = Agent::registered();
        group(&mut agent, 1, &specs);
        agent.persist();
        let story = agent.story();
        assert_eq!(story, vec!["1 error launch_failed"; specs.len()]);
        assert_eq!(agent.core.used, proffer_model::Resources::new());
        let messages = agent.runs.values().map(|run| &run.statuses[0].message);
        let own = messages.filter(|message| !message.contains("another task"));
        assert_eq!(own.count(), 1, "{:?}", agent.runs);
    }
}

#[test]
fn when_one_task_of_a_group_does_not_end_well_the_others_are_killed() {
    for (exit, others) in [
        (0, (TaskState::Running, Reason::None)),
        (3, (TaskState::Killing, Reason::GroupEnded)),
    ] {
        let mut agent = Agent::registered();
        let runs = started_group(&mut agent, &["a", "b", "c"]);
        agent.run(9, spec("alone"));
        agent.take();
        agent.step(Event::ContainerExited {
            run: runs[1],
            ended: Exit::Code(exit).into(),
        });
        agent.persist();
        let states = states(&agent);
        assert_eq!([states["a"], states["c"]], [others, others]);
        assert_eq!(states["alone"].0, TaskState::Running);
        let signals = agent.story();
        let signals = signals.iter().filter(|line| line.starts_with("signal"));
        assert_eq!(signals.count(), if exit == 0 { 0 } else { 2 });
    }
}

#[test]
fn a_task_that_is_killed_takes_its_group_along_and_another_group_of_that_name_does_not_notice() {
    let mut agent = Agent::registered();
    let runs = started_group(&mut agent, &["a", "b"]);
    agent.step(Event::ContainerExited {
        run: runs[0],
        ended: Exit::Code(0).into(),
    });
    agent.persist();
    agent.acknowledge("a", 1, 3);
    // The name of the group is free again, and b runs on.
    group(&mut agent, 11, &[spec("a"), spec("c")]);
    agent.persist();
    agent.kill("c", 12, None);
    for run in agent.started() {
        agent.step(Event::ContainerStarted { run, pid: 78 });
    }
    let c = agent
        .core
        .run_of(&framework(), &TaskId::new("c").unwrap(), Incarnation(12));
    agent.step(Event::ContainerExited {
        run: c.unwrap(),
        ended: Exit::Signal(15).into(),
    });
    agent.persist();
    let states = states(&agent);
    assert_eq!(states["c"], (TaskState::Killed, Reason::KillRequested));
    assert_eq!(states["a"].1, Reason::GroupEnded);
    assert_eq!(states["b"].0, TaskState::Running);
}

#[test]
fn what_a_crash_left_of_a_group_is_ended_by_the_next_life() {
    let mut agent = Agent::registered();
    let runs = started_group(&mut agent, &["a", "b"]);
    agent.step(Event::ContainerExited {
        run: runs[0],
        ended: Exit::Code(1).into(),
    });
    // The end of a is durable, the wish to end b is not.
    agent.write(1);
    for (run, found) in [
        (runs[0], Found::Exited(Exit::Code(1).into())),
        (runs[1], Found::Running { pid: 77 }),
    ] {
        agent.runs.get_mut(&run).unwrap().found = found;
    }
    agent.recover("boot-1");
    assert_eq!(
        states(&agent)["b"],
        (TaskState::Killing, Reason::GroupEnded)
    );
    let signals = agent.story();
    let signals = signals.iter().filter(|line| line.starts_with("signal"));
    assert_eq!(signals.count(), 1);
}

#[test]
fn a_task_runs_as_long_as_it_may_across_restarts_and_whatever_the_wall_clock_does() {
    let hour = Duration::from_secs(3600);
    for jump_ms in [-900_000_i64, 0, 10 * 3_600_000] {
        let mut agent = Agent::registered();
        agent.now.mono_ns = 5_000_000_000;
        let limited = TaskSpec {
            completion: Some(hour),
            ..spec("t")
        };
        let run = agent.run(1, limited);
        agent.pass(hour / 2);
        agent.now.wall_ms = agent.now.wall_ms.saturating_add_signed(jump_ms);
        agent.runs.get_mut(&run).unwrap().found = Found::Running { pid: 77 };
        agent.recover("boot-1");
        agent.connect(1);
        agent.pass(hour / 2 - Duration::from_secs(1));
        assert_eq!(states(&agent)["t"].0, TaskState::Running, "{jump_ms}");
        agent.pass(Duration::from_secs(2));
        let killing = (TaskState::Killing, Reason::DeadlinePassed);
        assert_eq!(states(&agent)["t"], killing, "{jump_ms}");
    }
}

#[test]
fn a_deadline_that_passed_while_no_agent_ran_is_kept_at_once_and_one_of_an_ended_task_is_none() {
    let mut agent = Agent::registered();
    agent.now.mono_ns = 5_000_000_000;
    let limited = TaskSpec {
        completion: Some(Duration::from_secs(10)),
        ..spec("t")
    };
    let run = agent.run(1, limited.clone());
    agent.runs.get_mut(&run).unwrap().found = Found::Running { pid: 77 };
    agent.now = agent.now.after(Duration::from_secs(60));
    agent.recover("boot-1");
    agent.connect(1);
    agent.pass(Duration::ZERO);
    assert_eq!(states(&agent)["t"].1, Reason::DeadlinePassed);
    let mut agent = Agent::registered();
    let run = agent.run(1, limited);
    agent.step(Event::ContainerExited {
        run,
        ended: Exit::Code(0).into(),
    });
    agent.persist();
    agent.pass(Duration::from_secs(60));
    assert_eq!(states(&agent)["t"].0, TaskState::Finished);
}

#[test]
fn a_task_is_changed_without_a_restart_and_the_next_leader_hears_of_it() {
    let mut agent = Agent::registered();
    let run = agent.run(1, spec("t"));
    agent.take();
    let labels = BTreeMap::from([("route".to_owned(), "b".to_owned())]);
    let change = |agent: &Agent, incarnation| ToAgent::UpdateTask {
        epoch: agent.identity.epoch,
        framework: framework(),
        task: TaskId::new("t").unwrap(),
        incarnation: Incarnation(incarnation),
        labels: Some(labels.clone()),
        grace: Some(Duration::from_secs(99)),
    };
    agent.receive(change(&agent, 1));
    agent.receive(change(&agent, 1));
    agent.receive(change(&agent, 2));
    assert_eq!(agent.writing.len(), 1, "what is so already is not written");
    agent.persist();
    agent.runs.get_mut(&run).unwrap().found = Found::Running { pid: 77 };
    agent.recover("boot-1");
    agent.connect(2);
    let done = agent.take();
    let hello = done.iter().find_map(|effect| match effect {
        Effect::Send {
            message: ToMaster::Hello(hello),
            ..
        } => Some(hello),
        _ => None,
    });
    let told = &hello.unwrap().tasks[0].spec;
    assert_eq!(
        (&told.labels, told.kill_grace),
        (&labels, Duration::from_secs(99))
    );
    agent.kill("t", 1, None);
    assert_eq!(
        agent.story(),
        ["3 killing kill_requested", "signal Terminate"]
    );
    assert!(agent.timers[&TimerKey::Grace(run)].since(agent.now) > Duration::from_secs(90));
}

#[test]
fn a_status_says_what_each_check_said_last() {
    let mut agent = Agent::registered();
    let web = Check {
        kind: CheckKind::Http {
            port: 80,
            path: "/".to_owned(),
        },
        ..checked_spec("t").checks.remove(0)
    };
    let both = TaskSpec {
        checks: vec![web.clone(), web],
        ..spec("t")
    };
    let run = agent.run(1, both);
    agent.pass(Duration::from_secs(1));
    for (check, answer) in [(1, None), (0, Some(CheckAnswer::Http(200)))] {
        agent.step(Event::CheckFinished {
            run,
            check,
            failure: None,
            answer,
        });
    }
    agent.persist();
    let said = agent.runs[&run].statuses.last().unwrap();
    assert_eq!(said.healthy, Some(true));
    let results = [(0, Some(CheckAnswer::Http(200))), (1, None)];
    let results = results.map(|(check, answer)| CheckResult {
        check,
        answer,
        observed: None,
    });
    assert_eq!(said.checks, results);
    agent.kill("t", 1, None);
    let said = agent.runs[&run].statuses.last().unwrap();
    assert_eq!(said.checks, results, "the last is kept to the end");
}

#[test]
fn what_an_observed_check_is_answered_is_told_when_it_changes_and_is_no_health() {
    let mut agent = Agent::registered();
    let observed = Check {
        failures_max: 0,
        is_observed: true,
        ..checked_spec("t").checks.remove(0)
    };
    let both = TaskSpec {
        checks: vec![checked_spec("t").checks.remove(0), observed],
        ..spec("t")
    };
    let run = agent.run(1, both);
    agent.pass(Duration::from_secs(1));
    let running = agent.runs[&run].statuses.last().unwrap().number;
    let mut finish = |check: u32, answer: Option<CheckAnswer>, is_good: bool| {
        let failure = (!is_good).then(|| "refused".to_owned());
        agent.step(Event::CheckFinished {
            run,
            check: usize::try_from(check).unwrap(),
            failure,
            answer,
        });
        agent.persist();
        agent.pass(Duration::from_secs(5));
        let said = agent.runs[&run].statuses.last().unwrap();
        let result = said.checks.iter().find(|result| result.check == 1);
        let answer = result.map(|result| (result.answer, result.observed));
        (said.number, said.reason, said.healthy, answer)
    };
    let (changed, answered) = (Reason::HealthChanged, Reason::CheckAnswered);
    let tcp = |is| Some((Some(CheckAnswer::Tcp(is)), Some(Probe::Tcp)));
    let none = Some((None, Some(Probe::Tcp)));
    let early = finish(0, Some(CheckAnswer::Tcp(false)), false);
    assert_eq!(early, (running, Reason::None, None, None), "in its grace");
    let (first, ..) = finish(0, Some(CheckAnswer::Tcp(true)), true);
    for (check, answer, is_good, number, said) in [
        (0, Some(true), true, 0, (changed, Some(true), none)),
        (1, Some(false), false, 1, (answered, Some(true), tcp(false))),
        // The same again, and as often as it likes.
        (1, Some(false), false, 1, (answered, Some(true), tcp(false))),
        (1, Some(false), false, 1, (answered, Some(true), tcp(false))),
        (1, None, false, 2, (answered, Some(true), none)),
        (1, Some(true), true, 3, (answered, Some(true), tcp(true))),
    ] {
        let told = finish(check, answer.map(CheckAnswer::Tcp), is_good);
        let (reason, healthy, answer) = said;
        assert_eq!(told, (first + number, reason, healthy, answer));
    }
}
