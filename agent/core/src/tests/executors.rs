//! Executors of frameworks: their life, their tasks, and what a broken session or a crash leaves.

mod groups;
mod kills;
mod large;
mod mounts;
mod sessions;

use proffer_model::executor::{ExecutorEvent, ExecutorStatus, Subscription};
use proffer_model::{ExecutorId, ExecutorSpec};

use super::*;
use crate::limits::STATUSES_UNACKNOWLEDGED_MAX;

fn executor(id: &str) -> ExecutorSpec {
    ExecutorSpec {
        id: ExecutorId::new(id).unwrap(),
        resources: "cpus:0.5".parse().unwrap(),
        command: Command::Shell("true".to_owned()),
        environment: BTreeMap::new(),
        user: None,
        shutdown_grace: Duration::from_secs(5),
        api: proffer_model::ExecutorApi::default(),
        info: Vec::new(),
        info_compared: None,
        fetch: Vec::new(),
    }
}

fn data(id: &str) -> TaskSpec {
    TaskSpec {
        command: Command::Data(id.as_bytes().to_vec()),
        executor: Some(executor("e").into()),
        ..spec(id)
    }
}

fn word(task: &str, number: u64, state: TaskState) -> ExecutorStatus {
    ExecutorStatus {
        task: TaskId::new(task).unwrap(),
        incarnation: Incarnation(1),
        number,
        state,
        message: format!("word {number}"),
        healthy: None,
        exit: None,
        data: Vec::new(),
    }
}

fn task(id: &str) -> (TaskId, Incarnation) {
    (TaskId::new(id).unwrap(), Incarnation(1))
}

/// An agent with one executor whose process runs.
struct Scene {
    agent: Agent,
    run: RunId,
    sessions: u64,
}

impl Scene {
    /// The executor of a task `t`; it has not subscribed.
    fn started() -> Self {
        Self::started_with(data("t"))
    }

    fn started_with(spec: TaskSpec) -> Self {
        Self::started_with_process(spec, true)
    }

    /// With the process of its executor, or before that.
    fn started_with_process(spec: TaskSpec, has_process: bool) -> Self {
        let mut agent = Agent::registered();
        agent.launch(1, spec);
        agent.persist();
        let starts = agent.done.iter().find_map(|effect| match effect {
            Effect::StartExecutor { run, .. } => Some(*run),
            _ => None,
        });
        let run = starts.unwrap();
        if has_process {
            agent.step(Event::ContainerStarted { run, pid: 70 });
        }
        Self {
            agent,
            run,
            sessions: 0,
        }
    }

    /// One that runs `t`.
    fn running() -> Self {
        Self::started().runs()
    }

    /// The executor subscribes, and runs `t`.
    fn runs(self) -> Self {
        let mut scene = self;
        scene.subscribe(&[], &[]);
        scene.say(word("t", 1, TaskState::Running));
        scene.story();
        scene
    }

    fn subscribe(&mut self, unacknowledged: &[ExecutorStatus], tasks: &[(TaskId, Incarnation)]) {
        self.sessions += 1;
        self.agent.step(Event::ExecutorSubscribed {
            run: self.run,
            session: SessionId(self.sessions),
            subscription: Subscription {
                unacknowledged: unacknowledged.to_vec(),
                tasks: tasks.to_vec(),
            },
        });
        self.agent.persist();
    }

    fn say(&mut self, status: ExecutorStatus) {
        self.agent.step(Event::ExecutorSaid {
            run: self.run,
            session: SessionId(self.sessions),
            status,
        });
        self.agent.persist();
    }

    fn leave(&mut self) {
        self.agent.step(Event::ExecutorLeft {
            run: self.run,
            session: SessionId(self.sessions),
        });
    }

    /// The agent crashes, and finds the executor running.
    fn crash(&mut self) {
        let kept = self.agent.executors.get_mut(&self.run).unwrap();
        kept.found = Found::Running { pid: 70 };
        self.agent.recover("boot-1");
        self.agent.connect(1);
    }

    /// The same, where it is kept what the executor was told of.
    fn crash_known(&mut self, told: &[&str]) {
        let kept = self.agent.executors.get_mut(&self.run).unwrap();
        kept.told = Some(told.iter().map(|id| task(id)).collect());
        self.crash();
    }

    /// What was said to executors and the leader, and done, since last asked.
    fn story(&mut self) -> Vec<String> {
        let done = self.agent.take();
        done.iter().filter_map(line).collect()
    }

    fn last(&self, task: &str) -> Status {
        let mut runs = self.agent.runs.values();
        let run = runs.find(|run| run.spec.id.as_str() == task).unwrap();
        run.statuses.last().unwrap().clone()
    }
}

fn line(effect: &Effect) -> Option<String> {
    Some(match effect {
        Effect::SendExecutor { event, .. } => match event {
            ExecutorEvent::Subscribed { .. } => "> subscribed".to_owned(),
            ExecutorEvent::Launch(tasks) => {
                let ids = tasks.iter().map(|(_, spec)| spec.id.to_string());
                format!("> launch {}", ids.collect::<Vec<_>>().join(" "))
            }
            ExecutorEvent::Kill { task, grace, .. } => {
                let grace = grace.map(|grace| format!(" {}s", grace.as_secs()));
                format!("> kill {task}{}", grace.unwrap_or_default())
            }
            ExecutorEvent::Acknowledged { task, number, .. } => format!("> ack {task} {number}"),
            ExecutorEvent::Message(_) => "> message".to_owned(),
            ExecutorEvent::Shutdown { grace } => format!("> shutdown {}s", grace.as_secs()),
            ExecutorEvent::Closed(problem) => format!("> closed {}", problem.code),
            ExecutorEvent::Heartbeat => return None,
        },
        Effect::CloseExecutor { session } => format!("close {}", session.0),
        Effect::LeaveExecutor { .. } => "leave".to_owned(),
        Effect::MountVolumes { spec, .. } => format!("mount {}", spec.id),
        Effect::UnmountVolumes { volumes, spec, .. } => {
            let paths = volumes.iter().map(|mount| mount.path.as_str());
            format!(
                "unmount {} {}",
                spec.id,
                paths.collect::<Vec<_>>().join(" ")
            )
        }
        Effect::AwaitExecutor { .. } => "await".to_owned(),
        Effect::StartExecutor { .. } => "start".to_owned(),
        Effect::StartContainer { .. } => "container".to_owned(),
        Effect::SignalContainer { signal, .. } => format!("signal {signal:?}"),
        Effect::Send { message, .. } => match message {
            ToMaster::Updated { status, .. } => {
                format!("{} {} {}", status.task, status.state, status.reason)
            }
            ToMaster::ExecutorChanged { is_ended, .. } if *is_ended => "ended".to_owned(),
            ToMaster::ExecutorChanged { .. } => "began".to_owned(),
            ToMaster::Message { .. } => "message".to_owned(),
            ToMaster::Hello(_) | ToMaster::Heartbeat => return None,
        },
        _ => return None,
    })
}

#[test]
fn an_executor_is_kept_before_it_is_started_and_gets_its_tasks_when_it_has_subscribed() {
    let mut agent = Agent::registered();
    agent.launch(1, data("t"));
    assert!(matches!(agent.writing[0].1, Change::Executor { .. }));
    assert!(
        !agent
            .done
            .iter()
            .any(|it| matches!(it, Effect::StartExecutor { .. }))
    );
    let mut scene = Scene::started();
    assert_eq!(scene.story(), ["began", "t starting none", "start"]);
    scene.subscribe(&[], &[]);
    assert_eq!(scene.story(), ["> subscribed", "> launch t"]);
    // A second task shares it, and its resources are held once.
    scene.agent.launch(1, data("u"));
    scene.agent.persist();
    assert_eq!(scene.story(), ["u starting none", "> launch u"]);
    assert_eq!(scene.agent.core.used, "cpus:2.5;mem:128".parse().unwrap());
    let data = vec![1, 2];
    let running = word("t", 1, TaskState::Running);
    scene.say(ExecutorStatus {
        data: data.clone(),
        ..running
    });
    assert_eq!(scene.last("t").data, data);
    assert_eq!(scene.story(), ["t running none", "> ack t 1"]);
    assert_eq!(scene.last("t").message, "word 1");
    scene.say(word("t", 2, TaskState::Finished));
    assert_eq!(scene.story(), ["t finished none", "> ack t 2"]);
    assert_eq!(scene.last("t").number, 3);
}

#[test]
fn a_status_that_comes_twice_is_acknowledged_twice_and_told_once() {
    let mut scene = Scene::running();
    scene.say(word("t", 1, TaskState::Running));
    assert_eq!(scene.story(), ["> ack t 1"]);
    // It is acknowledged when it is on disk, and not before.
    scene.agent.step(Event::ExecutorSaid {
        run: scene.run,
        session: SessionId(1),
        status: word("t", 2, TaskState::Finished),
    });
    let last = scene.agent.writing.back().unwrap().0;
    let waits = scene.agent.done.iter().any(|effect| matches!(
        effect,
        Effect::SendExecutor { event: ExecutorEvent::Acknowledged { .. }, after: After::Seq(seq), .. } if *seq == last
    ));
    assert!(waits, "{:?}", scene.agent.done);
}

#[test]
fn what_an_executor_must_not_say_closes_its_session_and_it_may_come_back() {
    let stranger = ExecutorStatus {
        incarnation: Incarnation(2),
        ..word("t", 1, TaskState::Running)
    };
    for wrong in [word("never", 1, TaskState::Running), stranger] {
        let mut scene = Scene::running();
        scene.say(wrong);
        assert_eq!(scene.story(), ["> closed task.unknown", "close 1"]);
        scene.say(word("t", 2, TaskState::Finished));
        assert!(scene.story().is_empty(), "the session is over");
        scene.subscribe(&[word("t", 2, TaskState::Finished)], &[]);
        assert_eq!(
            scene.story(),
            ["> subscribed", "t finished none", "> ack t 2"]
        );
    }
}

#[test]
fn what_leads_backwards_is_acknowledged_and_goes_no_further() {
    let mut scene = Scene::running();
    scene.agent.kill("t", 1, Some(9));
    assert_eq!(scene.story(), ["t killing kill_requested", "> kill t 9s"]);
    scene.say(word("t", 2, TaskState::Running));
    assert_eq!(scene.story(), ["> ack t 2"]);
    scene.say(word("t", 3, TaskState::Killed));
    assert_eq!(scene.story(), ["t killed kill_requested", "> ack t 3"]);
    scene.say(word("t", 4, TaskState::Running));
    assert_eq!(scene.story(), ["> ack t 4"]);
    scene.agent.acknowledge("t", 1, 4);
    scene.say(word("t", 5, TaskState::Failed));
    assert_eq!(scene.story(), ["> ack t 5"], "it is settled");
}

#[test]
fn a_flood_of_words_keeps_its_newest_until_there_is_room() {
    let mut scene = Scene::running();
    let most = u64::try_from(STATUSES_UNACKNOWLEDGED_MAX).unwrap();
    for number in 2..=most + 9 {
        scene.say(word("t", number, TaskState::Running));
    }
    let story = scene.story();
    let told = story
        .iter()
        .filter(|line| line.starts_with("t running"))
        .count();
    assert_eq!(told, STATUSES_UNACKNOWLEDGED_MAX - 2);
    scene.agent.acknowledge("t", 1, 2);
    assert_eq!(
        scene.story(),
        ["t running none", &format!("> ack t {}", most + 9)]
    );
    // A change of state is always taken.
    for number in most + 10..most + 20 {
        scene.say(word("t", number, TaskState::Running));
    }
    scene.say(word("t", 100, TaskState::Failed));
    assert_eq!(scene.story().pop().unwrap(), "> ack t 100");
    assert_eq!(scene.last("t").state, TaskState::Failed);
}

#[test]
fn what_says_nothing_of_health_leaves_it_as_it_was_said() {
    let healthy = |number, healthy| ExecutorStatus {
        healthy,
        ..word("t", number, TaskState::Running)
    };
    let mut scene = Scene::running();
    scene.say(healthy(2, Some(true)));
    scene.say(healthy(3, None));
    assert_eq!(
        scene.story(),
        [
            "t running health_changed",
            "> ack t 2",
            "t running none",
            "> ack t 3"
        ]
    );
    assert_eq!(scene.last("t").healthy, Some(true));
    // Also where it takes the place of what waits for room.
    let most = u64::try_from(STATUSES_UNACKNOWLEDGED_MAX).unwrap();
    for number in 4..=most {
        scene.say(healthy(number, None));
    }
    scene.say(healthy(most + 1, Some(false)));
    scene.say(healthy(most + 2, None));
    scene.story();
    scene.agent.acknowledge("t", 1, 2);
    assert_eq!(scene.story()[0], "t running health_changed");
    assert_eq!(scene.last("t").healthy, Some(false));
    // Another state says it anew.
    scene.say(word("t", most + 3, TaskState::Killing));
    assert_eq!(scene.last("t").healthy, None);
}

#[test]
fn what_a_newer_word_has_replaced_is_acknowledged_while_the_framework_is_away() {
    let mut scene = Scene::running();
    let most = u64::try_from(STATUSES_UNACKNOWLEDGED_MAX).unwrap();
    let last = most + 70;
    for number in 2..=last {
        scene.say(word("t", number, TaskState::Running));
        let story = scene.story();
        let heard = number - u64::from(number >= most);
        assert_eq!(story.last().unwrap(), &format!("> ack t {heard}"));
    }
    // An older one that is said again takes the place of none.
    scene.say(word("t", most + 1, TaskState::Running));
    assert_eq!(scene.story(), [format!("> ack t {}", last - 1)]);
    scene.agent.acknowledge("t", 1, 1);
    assert_eq!(
        scene.story(),
        ["t running none", &format!("> ack t {last}")]
    );
    scene.say(word("t", last + 1, TaskState::Running));
    assert_eq!(scene.story(), [format!("> ack t {last}")]);
    scene.say(word("t", last + 2, TaskState::Killing));
    assert_eq!(
        scene.story().pop().unwrap(),
        format!("> ack t {}", last + 2)
    );
    assert_eq!(scene.last("t").state, TaskState::Killing);
}

#[test]
fn after_a_restart_of_the_agent_what_was_said_is_known_and_what_is_named_goes_on() {
    let mut scene = Scene::running();
    scene.agent.launch(1, data("u"));
    scene.agent.launch(1, data("v"));
    scene.agent.persist();
    scene.say(word("v", 1, TaskState::Running));
    scene.crash();
    assert!(scene.story().contains(&"await".to_owned()));
    // `t` is named, `u` was never heard of and is not, `v` ran and is not.
    scene.subscribe(&[word("t", 1, TaskState::Running)], &[task("t")]);
    let story = scene.story();
    assert_eq!(
        story,
        ["> subscribed", "> ack t 1", "v lost none", "> launch u"],
        "nothing is told twice"
    );
    assert_eq!(scene.last("t").number, 2);
    // What it runs and the agent has given up is ended.
    scene.leave();
    scene.subscribe(&[], &[task("t"), task("u"), task("v")]);
    assert_eq!(scene.story(), ["> subscribed", "> kill v 3s"]);
    // Whatever it has to say of it, unless it has ended.
    scene.leave();
    let tasks = [task("t"), task("u"), task("v")];
    scene.subscribe(&[word("v", 2, TaskState::Running)], &tasks);
    assert_eq!(scene.story(), ["> subscribed", "> ack v 2", "> kill v 3s"]);
    scene.leave();
    scene.subscribe(&[word("v", 3, TaskState::Killed)], &tasks);
    assert_eq!(scene.story(), ["> subscribed", "> ack v 3"]);
}

#[test]
fn what_a_subscription_had_no_room_for_follows_it() {
    let mut scene = Scene::running();
    scene.crash();
    scene.story();
    // It has ended, which is said next.
    scene.subscribe(&[], &[task("t")]);
    assert_eq!(scene.story(), ["> subscribed"]);
    for (number, state) in [(2, TaskState::Running), (3, TaskState::Finished)] {
        scene.say(word("t", number, state));
        assert_eq!(
            scene.story(),
            [format!("t {state} none"), format!("> ack t {number}")]
        );
    }
}

#[test]
fn a_kill_reaches_an_executor_that_was_away() {
    let mut scene = Scene::running();
    scene.leave();
    scene.agent.kill("t", 1, Some(30));
    scene.crash();
    scene.story();
    scene.subscribe(&[], &[task("t")]);
    assert_eq!(scene.story(), ["> subscribed", "> kill t 30s"]);
    scene.agent.acknowledge("t", 1, 3);
    scene.agent.pass(Duration::from_secs(31));
    assert_eq!(scene.story(), ["> kill t 0s"], "it is reminded");
    // One that was never launched is not launched to be killed.
    let mut scene = Scene::started();
    scene.agent.kill("t", 1, None);
    assert_eq!(scene.last("t").state, TaskState::Killed);
    scene.subscribe(&[], &[]);
    assert!(!scene.story().iter().any(|line| line.contains("launch")));
}

#[test]
fn what_an_executor_ends_by_itself_can_be_killed_whoever_asks() {
    for has_crashed in [false, true] {
        let mut scene = Scene::running();
        scene.say(word("t", 2, TaskState::Killing));
        assert_eq!(scene.story(), ["t killing none", "> ack t 2"]);
        if has_crashed {
            scene.crash();
            scene.story();
        }
        // It hangs there. What is asked for counts in full, and only then it is hastened.
        scene.agent.kill("t", 1, Some(30));
        let story = scene.story();
        assert_eq!(story[0], "t killing kill_requested", "{story:?}");
        if has_crashed {
            scene.subscribe(&[], &[task("t")]);
            assert_eq!(scene.story(), ["> subscribed", "> kill t 30s"]);
        } else {
            assert_eq!(story[1..], ["> kill t 30s"]);
        }
        scene.agent.kill("t", 1, Some(60));
        assert_eq!(scene.story(), [""; 0]);
        scene.agent.kill("t", 1, Some(20));
        assert_eq!(scene.story(), ["> kill t 20s"]);
        scene.agent.acknowledge("t", 1, 4);
        scene.agent.pass(Duration::from_secs(21));
        assert_eq!(scene.story(), ["> kill t 0s"], "it is reminded");
        // The wish outlives the agent.
        scene.crash();
        scene.story();
        scene.subscribe(&[], &[task("t")]);
        assert_eq!(scene.story(), ["> subscribed", "> kill t 20s"]);
    }
}

#[test]
fn when_an_executor_ends_its_tasks_fail_unless_it_has_said_what_became_of_them() {
    let mut scene = Scene::running();
    scene.agent.launch(1, data("u"));
    scene.agent.persist();
    scene.story();
    let exited = Event::ContainerExited {
        run: scene.run,
        ended: Exit::Code(3).into(),
    };
    // Its end is known before its last words are heard.
    scene.agent.step(exited);
    assert_eq!(scene.story(), [""; 0]);
    scene.say(word("t", 2, TaskState::Finished));
    scene.leave();
    scene.agent.persist();
    let story = scene.story();
    assert_eq!(
        story,
        [
            "t finished none",
            "> ack t 2",
            "leave",
            "u failed executor_ended",
            "ended"
        ]
    );
    assert!(scene.last("u").message.contains("exited with code 3"));
    assert_eq!(scene.agent.core.used, proffer_model::Resources::new());
    // The same id is another executor now.
    scene.agent.launch(2, data("w"));
    scene.agent.persist();
    assert_eq!(scene.story(), ["began", "w starting none", "start"]);
    // When all is acknowledged, the directory of the first goes with those of its tasks.
    scene.agent.acknowledge("t", 1, 3);
    scene.agent.acknowledge("u", 1, 2);
    scene.agent.pass(Duration::from_secs(4000));
    assert!(!scene.agent.executors.contains_key(&scene.run));
}

#[test]
fn an_executor_that_does_not_subscribe_is_ended() {
    let mut scene = Scene::started();
    scene.story();
    scene.agent.acknowledge("t", 1, 1);
    scene.agent.pass(Duration::from_secs(61));
    assert_eq!(scene.story(), ["signal Terminate"]);
    scene.agent.pass(Duration::from_secs(6));
    assert_eq!(scene.story(), ["signal Kill"]);
    scene.agent.step(Event::ContainerExited {
        run: scene.run,
        ended: Exit::Signal(9).into(),
    });
    scene.agent.persist();
    let last = scene.last("t");
    assert_eq!(
        (last.state, last.reason),
        (TaskState::Failed, Reason::ExecutorEnded)
    );
    // So is one that does not come back.
    let mut scene = Scene::running();
    scene.agent.acknowledge("t", 1, 2);
    scene.leave();
    scene.agent.pass(Duration::from_secs(61));
    assert_eq!(scene.story(), ["signal Terminate"]);
}

#[test]
fn a_shutdown_is_kept_told_and_followed_by_sigkill() {
    let mut scene = Scene::running();
    let shutdown = |scene: &mut Scene| {
        let epoch = scene.agent.identity.epoch;
        scene.agent.receive(ToAgent::ShutdownExecutor {
            epoch,
            framework: framework(),
            executor: ExecutorId::new("e").unwrap(),
            reason: Reason::FrameworkRemoved,
        });
        scene.agent.persist();
    };
    shutdown(&mut scene);
    shutdown(&mut scene);
    assert_eq!(scene.story(), ["> shutdown 5s"]);
    // No more tasks for it.
    scene.agent.launch(1, data("u"));
    scene.agent.persist();
    assert_eq!(scene.story(), ["u failed executor_ended"]);
    // The next agent waits for it, to tell it, and not for longer than its grace.
    scene.crash();
    let story = scene.story();
    let is_signalled = |line: &String| line.starts_with("signal");
    assert!(!story.iter().any(is_signalled), "{story:?}");
    scene.agent.pass(Duration::from_secs(2));
    assert!(!scene.story().iter().any(is_signalled));
    scene.subscribe(&[], &[task("t")]);
    let story = scene.story();
    assert_eq!(story, ["> subscribed", "> shutdown 3s"]);
    scene.agent.pass(Duration::from_secs(4));
    assert!(scene.story().contains(&"signal Kill".to_owned()));
    // So it is with one that does not come back.
    scene.crash();
    scene.story();
    scene.agent.pass(Duration::from_secs(6));
    let story = scene.story();
    let signals: Vec<&String> = story.iter().filter(|line| is_signalled(line)).collect();
    assert_eq!(signals, ["signal Kill"]);
    scene.subscribe(&[], &[task("t")]);
    scene.story();
    scene.leave();
    scene.agent.step(Event::SupervisorLost { run: scene.run });
    scene.agent.persist();
    let last = scene.last("t");
    assert_eq!(
        (last.state, last.reason),
        (TaskState::Killed, Reason::FrameworkRemoved)
    );
}

#[test]
fn tasks_of_an_executor_that_its_framework_ends_are_killed_and_fail_with_one_of_mesos() {
    use proffer_model::ExecutorApi;
    for (api, end) in [
        (
            ExecutorApi::Proffer,
            (TaskState::Killed, Reason::KillRequested),
        ),
        (
            ExecutorApi::MesosV1,
            (TaskState::Failed, Reason::ExecutorEnded),
        ),
    ] {
        let executor = ExecutorSpec {
            api,
            ..executor("e")
        };
        let spec = TaskSpec {
            executor: Some(executor.into()),
            ..data("t")
        };
        let mut scene = Scene::started_with(spec).runs();
        scene.agent.receive(ToAgent::ShutdownExecutor {
            epoch: scene.agent.identity.epoch,
            framework: framework(),
            executor: ExecutorId::new("e").unwrap(),
            reason: Reason::KillRequested,
        });
        scene.agent.persist();
        scene.leave();
        scene.agent.step(Event::SupervisorLost { run: scene.run });
        scene.agent.persist();
        let last = scene.last("t");
        assert_eq!((last.state, last.reason), end);
    }
}

#[test]
fn a_second_session_ends_the_first_and_messages_go_only_over_one_that_counts() {
    let mut scene = Scene::running();
    scene.subscribe(&[], &[task("t")]);
    assert_eq!(
        scene.story(),
        ["> closed session.fenced", "close 1", "> subscribed"]
    );
    let message = |session| Event::ExecutorMessage {
        run: RunId(0),
        session: SessionId(session),
        data: vec![1],
    };
    for (session, told) in [(1, 0), (2, 1)] {
        let mut event = message(session);
        if let Event::ExecutorMessage { run, .. } = &mut event {
            *run = scene.run;
        }
        scene.agent.step(event);
        assert_eq!(scene.story(), vec!["message"; told]);
    }
    scene.agent.step(Event::ExecutorLeft {
        run: scene.run,
        session: SessionId(1),
    });
    let epoch = scene.agent.identity.epoch;
    scene.agent.receive(ToAgent::Message {
        epoch,
        framework: framework(),
        executor: ExecutorId::new("e").unwrap(),
        data: vec![2],
    });
    assert_eq!(scene.story(), ["> message"]);
}

#[test]
fn an_executor_with_another_spec_or_without_room_is_refused() {
    let mut scene = Scene::running();
    let mut other = executor("e");
    other.command = Command::Shell("false".to_owned());
    let wrong = TaskSpec {
        executor: Some(other.into()),
        ..data("u")
    };
    scene.agent.launch(1, wrong);
    scene.agent.persist();
    assert_eq!(scene.story(), ["u error launch_failed"]);
    let mut large = executor("large");
    large.resources = "cpus:3".parse().unwrap();
    let wrong = TaskSpec {
        executor: Some(large.into()),
        ..data("v")
    };
    scene.agent.launch(1, wrong);
    scene.agent.persist();
    assert_eq!(scene.story(), ["ended", "v error launch_failed"]);
}

#[test]
fn a_crash_at_any_point_of_the_first_launch_leaves_no_half_executor() {
    for written in 0..=2 {
        let mut agent = Agent::registered();
        agent.launch(1, data("t"));
        agent.write(written);
        agent.recover("boot-1");
        let starts = agent
            .done
            .iter()
            .filter(|it| matches!(it, Effect::StartExecutor { .. }));
        assert_eq!(starts.count(), usize::from(written == 2), "{written}");
        assert_eq!(agent.core.live_executors.len(), usize::from(written == 2));
    }
}

#[test]
fn a_restart_of_the_host_ends_executors_and_loses_their_tasks() {
    let mut scene = Scene::running();
    scene.agent.recover("boot-2");
    let last = scene.last("t");
    assert_eq!(
        (last.state, last.reason),
        (TaskState::Lost, Reason::HostRestarted)
    );
    assert!(scene.agent.core.live_executors.is_empty());
}

#[test]
fn an_executor_that_had_ended_before_its_host_was_restarted_has_failed_its_tasks() {
    let mut scene = Scene::running();
    let kept = scene.agent.executors.get_mut(&scene.run).unwrap();
    kept.found = Found::Exited(Exit::Signal(9).into());
    scene.agent.recover("boot-2");
    let last = scene.last("t");
    assert_eq!(last.state, TaskState::Failed, "{last:?}");
    assert!(scene.agent.core.live_executors.is_empty());
}
