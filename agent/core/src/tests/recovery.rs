//! Recovery: every combination of what was said and what is found, and crashes between any two checkpoints.

use super::*;

/// What was said last × what is found → what the next life says and does.
#[test]
fn recovery_takes_up_what_is_really_there() {
    let running = Found::Running { pid: 77 };
    let failed = Found::Failed {
        message: "no such file".to_owned(),
    };
    let exited = Found::Exited(Exit::Code(0));
    let cases: [(&str, Found, &str, &[&str]); 16] = [
        ("starting", Found::NeverStarted, "boot-1", &["start"]),
        ("starting", running.clone(), "boot-1", &["2 running none"]),
        ("starting", failed, "boot-1", &["2 failed launch_failed"]),
        ("starting", exited.clone(), "boot-1", &["2 finished exited"]),
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
                exit: Exit::Code(0),
            });
            agent.persist();
        }
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

#[test]
fn a_crash_at_every_checkpoint_never_starts_twice_and_never_forgets() {
    for written in 0..12 {
        let mut agent = Agent::registered();
        agent.launch(1, spec("t"));
        agent.write(written);
        let Some(run) = agent.runs.keys().next().copied() else {
            continue;
        };
        if written > 0 {
            agent.recover("boot-1");
            assert_eq!(agent.started(), [run]);
            agent.step(Event::ContainerStarted { run, pid: 7 });
            agent.kill("t", 1, None);
            agent.runs.get_mut(&run).unwrap().found = Found::Running { pid: 7 };
            agent.recover("boot-1");
            assert!(agent.started().is_empty());
            agent.connect(1);
            agent.launch(1, spec("t"));
            assert!(agent.story().contains(&"repeated".to_owned()));
        }
    }
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
