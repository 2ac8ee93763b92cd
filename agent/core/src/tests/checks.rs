//! Checks: which failures count, how soon they are repeated, and what is told of a task whose health flaps.

use super::*;

#[test]
fn failures_count_after_the_grace_or_the_first_success_and_kill_at_their_limit() {
    for (passes_first, wait_s) in [(false, 20), (true, 0)] {
        let mut agent = Agent::registered();
        let run = agent.run(1, checked_spec("t"));
        agent.acknowledge("t", 1, 2);
        agent.pass(Duration::from_secs(1));
        let mut expected = vec!["check 0"];
        let result = |passed: bool| Event::CheckFinished {
            run,
            check: 0,
            failure: (!passed).then(|| "refused".to_owned()),
            answer: None,
        };
        agent.story();
        agent.step(result(passes_first));
        if passes_first {
            assert_eq!(agent.story(), ["3 running health_changed healthy=true"]);
            agent.acknowledge("t", 1, 3);
            expected.push("4 running health_changed healthy=false");
        } else {
            expected.push("3 running health_changed healthy=false");
        }
        for _ in 0..wait_s / 5 - i32::from(!passes_first && wait_s > 0) {
            agent.pass(Duration::from_secs(5));
            agent.step(result(false));
            assert_eq!(
                agent.story(),
                ["check 0"],
                "inside the grace nothing counts"
            );
        }
        agent.pass(Duration::from_secs(5));
        agent.step(result(false));
        agent.persist();
        assert_eq!(agent.story(), expected);
        agent.acknowledge(
            "t",
            1,
            4.min(agent.runs[&run].statuses.last().unwrap().number),
        );
        agent.pass(Duration::from_secs(5));
        agent.step(result(false));
        assert_eq!(agent.story(), ["check 0"]);
        agent.pass(Duration::from_secs(5));
        agent.step(result(false));
        agent.persist();
        let story = agent.story();
        assert_eq!(story[0], "check 0");
        assert!(
            story[1].ends_with("killing check_failed healthy=false"),
            "{story:?}"
        );
        assert_eq!(story[2], "signal Terminate");
        agent.step(Event::ContainerExited {
            run,
            ended: Exit::Signal(15).into(),
        });
        assert!(agent.story()[0].ends_with("killed check_failed healthy=false"));
    }
}

#[test]
fn a_check_is_repeated_soon_until_it_passes_or_counts() {
    let mut agent = Agent::registered();
    let run = agent.run(1, checked_spec("t"));
    let failure = || Some("refused".to_owned());
    let mut waits_ms = Vec::new();
    for passes in [
        false, false, false, false, false, false, false, false, true, false,
    ] {
        let at = agent.timers[&TimerKey::Check(run, 0)];
        waits_ms.push(at.since(agent.now).as_millis());
        agent.pass(at.since(agent.now));
        let failure = if passes { None } else { failure() };
        agent.step(Event::CheckFinished {
            run,
            check: 0,
            failure,
            answer: None,
        });
    }
    assert_eq!(
        waits_ms,
        [1000, 50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]
    );
}

#[test]
fn health_that_flaps_while_nobody_acknowledges_is_merged() {
    let mut agent = Agent::registered();
    let run = agent.run(1, checked_spec("t"));
    for round in 0..100 {
        agent.pass(Duration::from_secs(5));
        let failure = (round % 2 == 1).then(|| "refused".to_owned());
        agent.step(Event::CheckFinished {
            run,
            check: 0,
            failure,
            answer: None,
        });
        agent.persist();
    }
    let made = agent.runs[&run].statuses.clone();
    assert_eq!(made.len(), limits::STATUSES_UNACKNOWLEDGED_MAX);
    assert_eq!(made.last().unwrap().healthy, Some(false));
    agent.pass(Duration::from_secs(5));
    agent.step(Event::CheckFinished {
        run,
        check: 0,
        failure: None,
        answer: None,
    });
    agent.persist();
    agent.acknowledge("t", 1, 1);
    assert_eq!(
        agent.runs[&run].statuses.last().unwrap().healthy,
        Some(true)
    );
}
