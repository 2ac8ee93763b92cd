//! Sessions of executors that end, or are read slowly, and what that changes of their tasks: nothing that nobody asked for.

use super::*;

#[test]
fn what_an_executor_ends_by_itself_is_left_to_it_when_it_comes_back() {
    for has_crashed in [false, true] {
        let timed = TaskSpec {
            completion: Some(Duration::from_secs(600)),
            ..data("t")
        };
        let mut scene = Scene::started_with(timed).runs();
        scene.say(word("t", 2, TaskState::Killing));
        scene.agent.acknowledge("t", 1, 3);
        scene.story();
        match has_crashed {
            true => scene.crash(),
            false => scene.leave(),
        }
        scene.story();
        scene.subscribe(&[word("t", 2, TaskState::Killing)], &[task("t")]);
        assert_eq!(scene.story(), ["> subscribed", "> ack t 2"]);
        scene.agent.pass(Duration::from_secs(590));
        assert_eq!(scene.story(), [""; 0], "nobody has asked for its end");
        // Its time counts all the while.
        scene.agent.pass(Duration::from_secs(11));
        assert_eq!(scene.story(), ["t killing deadline_passed", "> kill t 3s"]);
    }
}

impl Scene {
    /// It was not told this: too much waits for it.
    fn overrun(&mut self, event: ExecutorEvent) {
        self.agent.step(Event::ExecutorUntold {
            session: SessionId(self.sessions),
            event: Box::new(event),
        });
        self.agent.persist();
    }

    fn shut_down(&mut self) {
        self.agent.receive(ToAgent::ShutdownExecutor {
            epoch: self.agent.identity.epoch,
            framework: framework(),
            executor: ExecutorId::new("e").unwrap(),
            reason: Reason::KillRequested,
        });
        self.agent.persist();
    }
}

#[test]
fn an_executor_for_which_too_much_waits_is_heard_and_told_all_when_it_comes_back() {
    let mut scene = Scene::running();
    scene.overrun(ExecutorEvent::Heartbeat);
    assert_eq!(scene.story(), [""; 0]);
    // It reads for longer than it may be away.
    scene.agent.acknowledge("t", 1, 2);
    scene.agent.pass(Duration::from_secs(1_000));
    assert_eq!(scene.story(), [""; 0]);
    // What it says is told meanwhile, and what it is to be told waits.
    scene.agent.launch(1, data("u"));
    scene.agent.launch(1, data("v"));
    scene.agent.kill("u", 1, None);
    scene.agent.kill("t", 1, Some(30));
    scene.agent.persist();
    scene.story();
    scene.say(word("t", 2, TaskState::Killing));
    assert_eq!(scene.story(), ["t killing none"]);
    assert_eq!(scene.last("u").state, TaskState::Killed);
    scene.leave();
    scene.subscribe(&[word("t", 2, TaskState::Killing)], &[task("t")]);
    assert_eq!(
        scene.story(),
        ["> subscribed", "> ack t 2", "> kill t 30s", "> launch v"]
    );
}

#[test]
fn an_executor_for_which_too_much_waits_has_its_time_to_come_back_from_when_it_has_read_it() {
    let mut scene = Scene::running();
    scene.agent.acknowledge("t", 1, 2);
    scene.overrun(ExecutorEvent::Heartbeat);
    scene.agent.pass(Duration::from_secs(61));
    scene.leave();
    scene.agent.pass(Duration::from_secs(59));
    assert_eq!(scene.story(), [""; 0]);
    scene.agent.pass(Duration::from_secs(2));
    assert_eq!(scene.story(), ["signal Terminate"]);
}

#[test]
fn an_executor_that_cannot_be_told_to_end_is_signalled_at_once() {
    let mut scene = Scene::running();
    scene.overrun(ExecutorEvent::Heartbeat);
    scene.shut_down();
    assert_eq!(scene.story(), ["signal Terminate"]);
    // So is one of which it shows only then. One that was told is not.
    let mut scene = Scene::running();
    scene.shut_down();
    assert_eq!(scene.story(), ["> shutdown 5s"]);
    scene.overrun(ExecutorEvent::Heartbeat);
    assert_eq!(scene.story(), [""; 0]);
    let grace = Duration::from_secs(5);
    scene.overrun(ExecutorEvent::Shutdown { grace });
    assert_eq!(scene.story(), ["signal Terminate"]);
    // What an earlier session was not told is nothing.
    let mut scene = Scene::running();
    scene.subscribe(&[], &[task("t")]);
    scene.story();
    scene.agent.step(Event::ExecutorUntold {
        session: SessionId(1),
        event: Box::new(ExecutorEvent::Shutdown { grace }),
    });
    scene.shut_down();
    assert_eq!(scene.story(), ["> shutdown 5s"]);
}

#[test]
fn an_executor_that_is_refused_while_it_reads_what_waits_has_its_time_from_when_it_has_left() {
    let mut scene = Scene::running();
    scene.agent.acknowledge("t", 1, 2);
    scene.overrun(ExecutorEvent::Heartbeat);
    scene.say(word("never", 1, TaskState::Running));
    assert_eq!(scene.story(), ["> closed task.unknown", "close 1"]);
    scene.say(word("t", 2, TaskState::Finished));
    scene.agent.pass(Duration::from_secs(300));
    assert_eq!(scene.story(), [""; 0], "it is not heard, and not ended");
    scene.leave();
    scene.agent.pass(Duration::from_secs(59));
    assert_eq!(scene.story(), [""; 0]);
    scene.subscribe(&[word("t", 2, TaskState::Finished)], &[task("t")]);
    assert_eq!(
        scene.story(),
        ["> subscribed", "t finished none", "> ack t 2"]
    );
    // One that does not come back is ended, and one that ends meanwhile has ended.
    let mut scene = Scene::running();
    scene.agent.acknowledge("t", 1, 2);
    scene.overrun(ExecutorEvent::Heartbeat);
    scene.say(word("never", 1, TaskState::Running));
    scene.leave();
    scene.story();
    scene.agent.pass(Duration::from_secs(61));
    assert_eq!(scene.story(), ["signal Terminate"]);
    let mut scene = Scene::running();
    scene.overrun(ExecutorEvent::Heartbeat);
    scene.say(word("never", 1, TaskState::Running));
    scene.agent.step(Event::ContainerExited {
        run: scene.run,
        ended: Exit::Signal(9).into(),
    });
    scene.agent.persist();
    assert_eq!(scene.last("t").state, TaskState::Failed);
}
