//! Recovery: every combination of what was said and what is found, and crashes between any two checkpoints.

use super::*;

/// An agent with one run, whose last status is this.
fn agent_that_said(said: &str) -> (Agent, RunId) {
    let mut agent = Agent::registered();
    agent.launch(1, spec("t"));
    agent.persist();
    let run = agent.started()[0];
    if said != "starting" {
        agent.step(Event::ContainerStarted { run, pid: 77 });
        agent.persist();
    }
    if said == "killing" {
        agent.kill("t", 1, None);
    }
    if said == "ended" {
        agent.step(Event::ContainerExited {
            run,
            ended: Exit::Code(0).into(),
        });
        agent.persist();
    }
    (agent, run)
}

/// What was said last × what is found → what the next life says and does.
#[test]
fn recovery_takes_up_what_is_really_there() {
    let running = Found::Running { pid: 77 };
    let failed = Found::Failed {
        message: "no such file".to_owned(),
    };
    let exited = Found::Exited(Exit::Code(0).into());
    let cases: [(&str, Found, &str, &[&str]); 16] = [
        ("starting", Found::NeverStarted, "boot-1", &["start"]),
        ("starting", running.clone(), "boot-1", &["2 running none"]),
        ("starting", failed, "boot-1", &["2 failed launch_failed"]),
        (
            "starting",
            exited.clone(),
            "boot-1",
            &["2 running none", "3 finished exited"],
        ),
        (
            "starting",
            Found::SupervisorLost,
            "boot-1",
            &["2 lost supervisor_lost"],
        ),
        (
            "starting",
            Found::NeverStarted,
            "boot-2",
            &["2 lost host_restarted"],
        ),
        ("running", running.clone(), "boot-1", &[]),
        ("running", exited.clone(), "boot-1", &["3 finished exited"]),
        (
            "running",
            Found::SupervisorLost,
            "boot-1",
            &["3 lost supervisor_lost"],
        ),
        (
            "running",
            Found::SupervisorLost,
            "boot-2",
            &["3 lost host_restarted"],
        ),
        ("running", exited.clone(), "boot-2", &["3 finished exited"]),
        ("killing", running.clone(), "boot-1", &["signal Terminate"]),
        (
            "killing",
            exited.clone(),
            "boot-1",
            &["4 killed kill_requested"],
        ),
        (
            "killing",
            Found::SupervisorLost,
            "boot-1",
            &["4 lost supervisor_lost"],
        ),
        ("ended", exited, "boot-1", &[]),
        ("ended", running, "boot-1", &["signal Kill"]),
    ];
    for (said, found, boot, expected) in cases {
        let (mut agent, run) = agent_that_said(said);
        let before = agent.runs[&run].statuses.len();
        agent.runs.get_mut(&run).unwrap().found = found.clone();
        agent.recover(boot);
        let mut story: Vec<String> = agent.runs[&run].statuses[before..]
            .iter()
            .map(|s| format!("{} {} {}", s.number, s.state, s.reason))
            .collect();
        story.extend(agent.story());
        assert_eq!(story, expected, "{said}, {found:?}, {boot}");
        assert_eq!(agent.identity.boot, boot);
    }
}

/// Launches, starts, kills and ends a task; crashes when so many checkpoints are durable. Answers what is really there
/// then; nothing when it came to its end.
fn live_until(agent: &mut Agent, crash_at: usize) -> Option<Found> {
    let mut found = Found::NeverStarted;
    let mut durable = 0;
    for deed in ["launch", "start", "kill", "exit"] {
        let run = agent.started().first().copied();
        match (deed, run) {
            ("launch", _) => agent.launch(1, spec("t")),
            ("start", Some(run)) => {
                agent.step(Event::ContainerStarted { run, pid: 7 });
            }
            ("kill", _) => agent.receive(kill_order()),
            ("exit", Some(run)) => {
                found = Found::Exited(Exit::Signal(15).into());
                let exit = Exit::Signal(15);
                agent.step(Event::ContainerExited {
                    run,
                    ended: exit.into(),
                });
            }
            _ => {}
        }
        while !agent.writing.is_empty() {
            if durable == crash_at {
                return Some(found);
            }
            let seq = agent.write(1).unwrap();
            durable += 1;
            agent.step(Event::Persisted(seq));
            if found == Found::NeverStarted && !agent.started().is_empty() {
                found = Found::Running { pid: 7 };
            }
        }
    }
    None
}

fn kill_order() -> ToAgent {
    ToAgent::Kill {
        epoch: Epoch(1),
        framework: framework(),
        task: TaskId::new("t").unwrap(),
        incarnation: Incarnation(1),
        grace: None,
        reason: Reason::KillRequested,
    }
}

#[test]
fn a_crash_at_every_checkpoint_never_starts_twice_and_never_forgets() {
    let mut crashes = 0;
    loop {
        let mut agent = Agent::registered();
        let Some(found) = live_until(&mut agent, crashes) else {
            break;
        };
        crashes += 1;
        for run in agent.runs.values_mut() {
            run.found = found.clone();
        }
        agent.recover("boot-1");
        let Some(run) = agent.runs.keys().next().copied() else {
            assert_eq!(
                found,
                Found::NeverStarted,
                "it was started and is forgotten"
            );
            continue;
        };
        let starts = agent.started().len();
        assert!(starts == 0 || found == Found::NeverStarted, "started twice");
        agent.connect(1);
        agent.launch(1, spec("t"));
        assert_eq!(
            agent.started().len(),
            starts,
            "a repeated launch started it"
        );
        agent.step(Event::ContainerStarted { run, pid: 7 });
        agent.receive(kill_order());
        let exit = Exit::Signal(15);
        agent.step(Event::ContainerExited {
            run,
            ended: exit.into(),
        });
        agent.persist();
        let statuses = &agent.runs[&run].statuses;
        assert_eq!(statuses.last().unwrap().state, TaskState::Killed);
        let numbers = statuses.iter().map(|status| status.number);
        assert!(numbers.eq(1..=statuses.last().unwrap().number));
    }
    assert_eq!(
        crashes, 5,
        "launch, running, the wish to kill, killing, killed"
    );
}

#[test]
fn a_kill_that_was_kept_without_its_status_is_carried_on() {
    let mut agent = Agent::registered();
    let run = agent.run(1, spec("t"));
    agent.story();
    agent.receive(ToAgent::Kill {
        epoch: Epoch(1),
        framework: framework(),
        task: TaskId::new("t").unwrap(),
        incarnation: Incarnation(1),
        grace: None,
        reason: Reason::FrameworkRemoved,
    });
    agent.write(1);
    agent.runs.get_mut(&run).unwrap().found = Found::Running { pid: 77 };
    agent.recover("boot-1");
    assert_eq!(agent.story(), ["signal Terminate"]);
    let last = agent.runs[&run].statuses.last().unwrap();
    assert_eq!((last.number, last.reason), (3, Reason::FrameworkRemoved));
}
