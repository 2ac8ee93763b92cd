//! Calls and events, without a network.

use std::time::Duration;

use proffer_model::{AgentId, ExecutorId, FrameworkId, Problem, Resources};
use proffer_proto::mesos::{read_json, write_json};

use super::*;

fn task(id: &str) -> TaskId {
    TaskId::new(id).unwrap()
}

fn info_of(id: &str) -> v1::TaskInfo {
    v1::TaskInfo {
        name: format!("name of {id}"),
        task_id: v1::TaskId { value: id.into() },
        ..v1::TaskInfo::default()
    }
}

fn spec(id: &str) -> TaskSpec {
    let command = Command::Data(info_of(id).encode_to_vec());
    TaskSpec::new(task(id), command, Resources::new())
}

fn status(id: &str, uuid: u8, state: v1::TaskState) -> v1::TaskStatus {
    v1::TaskStatus {
        task_id: v1::TaskId { value: id.into() },
        state: state.into(),
        source: Some(v1::task_status::Source::Executor.into()),
        message: Some(format!("word {uuid}")),
        uuid: Some(vec![uuid; 16]),
        healthy: Some(true),
        ..v1::TaskStatus::default()
    }
}

/// One that was told to launch these, as launch 7.
fn launched(ids: &[&str]) -> Translator {
    let mut translator = Translator::default();
    for id in ids {
        let launch = ExecutorEvent::Launch(vec![(Incarnation(7), spec(id).into())]);
        translator.event(&launch).unwrap();
    }
    translator
}

/// What the next agent begins with.
fn next(translator: &Translator) -> Translator {
    let mut next = Translator::default();
    for record in translator.records() {
        next.replay(&record);
    }
    next
}

fn say(translator: &mut Translator, id: &str, uuid: u8, state: v1::TaskState) -> ExecutorStatus {
    match translator.update(&status(id, uuid, state)).unwrap() {
        Update::Known(status, _) => status,
        Update::Forgotten(event) => panic!("{event:?}"),
    }
}

fn on_disk(translator: &mut Translator, id: &str, number: u64) -> Vec<u8> {
    let event = ExecutorEvent::Acknowledged {
        task: task(id),
        incarnation: Incarnation(7),
        number,
    };
    let (events, _) = translator.event(&event).unwrap();
    let named = events.iter().map(|event| {
        let acknowledged = event.acknowledged.as_ref().unwrap();
        assert_eq!(acknowledged.task_id.value, id);
        acknowledged.uuid[0]
    });
    named.collect()
}

fn subscription(tasks: &[&str], updates: &[v1::TaskStatus]) -> call::Subscribe {
    let updates = updates.iter().map(|status| call::Update {
        status: status.clone(),
    });
    call::Subscribe {
        unacknowledged_tasks: tasks.iter().map(|id| info_of(id)).collect(),
        unacknowledged_updates: updates.collect(),
    }
}

fn text(event: &Event) -> String {
    String::from_utf8(write_json(event)).unwrap()
}

#[test]
fn statuses_are_numbered_by_launch_and_acknowledged_by_their_names() {
    let mut it = launched(&["a", "b"]);
    let said = say(&mut it, "a", 1, v1::TaskState::TaskStarting);
    assert_eq!((said.number, said.incarnation), (1, Incarnation(7)));
    assert_eq!(
        (said.state, &*said.message),
        (TaskState::Starting, "word 1")
    );
    assert_eq!(said.healthy, Some(true));
    let sent = status("a", 1, v1::TaskState::TaskStarting);
    assert_eq!(v1::TaskStatus::decode(&*said.data).unwrap(), sent);
    assert_eq!(say(&mut it, "a", 2, v1::TaskState::TaskRunning).number, 2);
    assert_eq!(say(&mut it, "b", 3, v1::TaskState::TaskRunning).number, 1);
    // All up to a number are on disk; each is told once.
    assert_eq!(on_disk(&mut it, "a", 2), [1, 2]);
    assert_eq!(on_disk(&mut it, "a", 2), [0; 0]);
    // What is sent again is the same, and is told again.
    assert_eq!(say(&mut it, "a", 1, v1::TaskState::TaskStarting).number, 1);
    assert_eq!(on_disk(&mut it, "a", 2), [1, 2]);
    assert_eq!(say(&mut it, "a", 4, v1::TaskState::TaskFinished).number, 3);
    assert_eq!(on_disk(&mut it, "a", 3), [4]);
    // It is over: what is sent again is acknowledged at once, by nobody else.
    match it
        .update(&status("a", 4, v1::TaskState::TaskFinished))
        .unwrap()
    {
        Update::Forgotten(event) => assert_eq!(
            text(&event),
            "{\"type\":\"ACKNOWLEDGED\",\"acknowledged\":{\"task_id\":{\"value\":\"a\"},\
             \"uuid\":\"BAQEBAQEBAQEBAQEBAQEBA==\"}}"
        ),
        Update::Known(status, _) => panic!("{status:?}"),
    }
    assert_eq!(on_disk(&mut it, "b", 1), [3]);
}

#[test]
fn the_next_agent_knows_a_status_that_is_sent_again() {
    let mut it = launched(&["a"]);
    say(&mut it, "a", 1, v1::TaskState::TaskRunning);
    say(&mut it, "a", 2, v1::TaskState::TaskRunning);
    let mut it = next(&it);
    // In another order than it was said.
    let updates = [
        status("a", 3, v1::TaskState::TaskRunning),
        status("a", 2, v1::TaskState::TaskRunning),
    ];
    let begun = it.subscribe(&subscription(&[], &updates));
    let said = begun.subscription.unacknowledged.iter();
    let said: Vec<_> = said.map(|it| (it.number, it.message.clone())).collect();
    assert_eq!(said, [(2, "word 2".to_owned()), (3, "word 3".to_owned())]);
    assert_eq!(begun.records.len(), 1, "only one was new");
    // The first was acknowledged by the earlier agent, or it would have been sent again.
    assert_eq!(on_disk(&mut it, "a", 3), [2, 3]);
}

#[test]
fn an_end_hides_nothing_that_came_before_it() {
    let mut it = launched(&["a"]);
    let updates = [
        status("a", 2, v1::TaskState::TaskFinished),
        status("a", 1, v1::TaskState::TaskRunning),
    ];
    let begun = it.subscribe(&subscription(&["a"], &updates));
    let states = begun.subscription.unacknowledged.iter().map(|it| it.state);
    let states: Vec<_> = states.collect();
    assert_eq!(states, [TaskState::Running, TaskState::Finished]);
}

#[test]
fn tasks_that_were_heard_of_are_named_for_an_executor_that_names_only_others() {
    let mut it = launched(&["heard", "got", "never", "ended", "resent"]);
    say(&mut it, "heard", 1, v1::TaskState::TaskRunning);
    say(&mut it, "ended", 2, v1::TaskState::TaskFailed);
    say(&mut it, "resent", 3, v1::TaskState::TaskFailed);
    let mut it = next(&it);
    let updates = [
        status("resent", 3, v1::TaskState::TaskFailed),
        status("stranger", 4, v1::TaskState::TaskFailed),
    ];
    let call = subscription(&["got", "stranger", "foreign"], &updates);
    let begun = it.subscribe(&call);
    let named = begun.subscription.tasks.iter().map(|(task, incarnation)| {
        assert_eq!(*incarnation, Incarnation(7));
        task.as_str()
    });
    // Not the one that it never got, so that it is launched again; and not the one whose end it knows to be heard.
    assert_eq!(named.collect::<Vec<_>>(), ["got", "heard", "resent"]);
    let answers: Vec<String> = begun.answers.iter().map(text).collect();
    assert_eq!(answers.len(), 2);
    assert!(answers[0].contains("\"uuid\":\"BAQEBAQEBAQEBAQEBAQEBA==\""));
    assert_eq!(
        answers[1],
        "{\"type\":\"KILL\",\"kill\":{\"task_id\":{\"value\":\"foreign\"}}}"
    );
}

#[test]
fn a_task_that_is_launched_again_begins_anew() {
    let mut it = launched(&["a"]);
    say(&mut it, "a", 1, v1::TaskState::TaskRunning);
    // The same launch told again changes nothing, an older one neither.
    for (incarnation, number) in [(7, 1), (6, 1), (8, 0)] {
        let launch = ExecutorEvent::Launch(vec![(Incarnation(incarnation), spec("a").into())]);
        it.event(&launch).unwrap();
        assert_eq!(it.tasks[&task("a")].count, number, "{incarnation}");
    }
    let said = say(&mut it, "a", 2, v1::TaskState::TaskRunning);
    assert_eq!((said.number, said.incarnation), (1, Incarnation(8)));
}

/// As many statuses as are known, of which the first of all may be forgotten when they are acknowledged.
fn said_most(it: &mut Translator) -> u8 {
    let most = u8::try_from(MESOS_STATUSES_KNOWN_MAX).unwrap();
    for uuid in 0..most {
        say(it, "a", uuid, v1::TaskState::TaskRunning);
    }
    most
}

#[test]
fn of_the_statuses_of_a_launch_that_are_acknowledged_only_so_many_are_known() {
    let mut it = launched(&["a"]);
    let most = said_most(&mut it);
    assert_eq!(on_disk(&mut it, "a", 1), [0]);
    assert_eq!(
        say(&mut it, "a", most, v1::TaskState::TaskRunning).number,
        65
    );
    let mut it = next(&it);
    assert_eq!(it.tasks[&task("a")].said.len(), MESOS_STATUSES_KNOWN_MAX);
    assert_eq!(say(&mut it, "a", 1, v1::TaskState::TaskRunning).number, 2);
    assert_eq!(on_disk(&mut it, "a", 65), (1..=most).collect::<Vec<_>>());
    assert_eq!(say(&mut it, "a", 0, v1::TaskState::TaskRunning).number, 66);
}

#[test]
fn a_status_that_is_not_acknowledged_is_never_forgotten_and_no_more_are_taken() {
    let mut it = launched(&["a", "b"]);
    let most = said_most(&mut it);
    let early = it.update(&status("a", most, v1::TaskState::TaskRunning));
    let text = "64 statuses of task a are not acknowledged yet".to_owned();
    assert_eq!(early.unwrap_err(), Unfit::Early(text));
    // What is sent again is taken, and so are another task's and the end.
    assert_eq!(say(&mut it, "a", 0, v1::TaskState::TaskRunning).number, 1);
    assert_eq!(say(&mut it, "b", 99, v1::TaskState::TaskRunning).number, 1);
    let end = v1::TaskState::TaskFinished;
    assert_eq!(say(&mut it, "a", 100, end).number, 65);
    it.update(&status("a", 101, end)).unwrap_err();
    let all: Vec<u8> = (0..most).chain([100]).collect();
    assert_eq!(on_disk(&mut it, "a", 65), all);
}

#[test]
fn a_subscription_brings_all_that_was_said_meanwhile_and_each_is_acknowledged() {
    let mut it = launched(&["a"]);
    let most = said_most(&mut it);
    let mut it = next(&it);
    // The new ones come first.
    let updates: Vec<_> = (0..=2 * most)
        .rev()
        .map(|uuid| status("a", uuid, v1::TaskState::TaskRunning))
        .collect();
    let begun = it.subscribe(&subscription(&["a"], &updates));
    let numbers = begun.subscription.unacknowledged.iter();
    let numbers: Vec<_> = numbers.map(|status| status.number).collect();
    assert_eq!(numbers, (1..=129).collect::<Vec<_>>());
    assert_eq!((begun.records.len(), begun.left_out.len()), (65, 0));
    // The agent after that one knows them all.
    let mut it = next(&it);
    for uuid in 0..most {
        let said = say(&mut it, "a", uuid, v1::TaskState::TaskRunning);
        assert_eq!(said.number, u64::from(uuid) + 1);
    }
    assert_eq!(on_disk(&mut it, "a", 129).len(), 129);
}

#[test]
fn an_executor_whose_framework_is_away_is_refused_nothing() {
    let mut it = launched(&["a"]);
    for uuid in 1..=86 {
        say(&mut it, "a", uuid, v1::TaskState::TaskRunning);
        // The first sixteen are taken, and then only the newest waits.
        let heard = u64::from(uuid - u8::from(uuid > 16));
        on_disk(&mut it, "a", heard);
    }
    let said = say(&mut it, "a", 87, v1::TaskState::TaskKilling);
    assert_eq!((said.number, said.state), (87, TaskState::Killing));
    assert_eq!(on_disk(&mut it, "a", 87), [86, 87]);
}

#[test]
fn what_an_executor_that_comes_back_does_not_say_again_keeps_no_room() {
    let mut it = launched(&["a"]);
    let most = said_most(&mut it);
    it.update(&status("a", most, v1::TaskState::TaskRunning))
        .unwrap_err();
    let again = [status("a", 1, v1::TaskState::TaskRunning)];
    let begun = it.subscribe(&subscription(&[], &again));
    assert_eq!(begun.subscription.unacknowledged[0].number, 2);
    let said = say(&mut it, "a", most, v1::TaskState::TaskRunning);
    assert_eq!(said.number, 65);
    // But for what it says again there is none until that is acknowledged.
    it.update(&status("a", 99, v1::TaskState::TaskRunning))
        .unwrap_err();
    assert_eq!(on_disk(&mut it, "a", 65)[0], 1);
    say(&mut it, "a", 99, v1::TaskState::TaskRunning);
    let begun = it.subscribe(&subscription(&[], &[]));
    assert_eq!(begun.subscription.tasks, [(task("a"), Incarnation(7))]);
}

#[test]
fn events_look_like_mesos() {
    let kill = |grace| ExecutorEvent::Kill {
        task: task("a"),
        incarnation: Incarnation(7),
        grace,
    };
    let problem = |code| ExecutorEvent::Closed(Problem::new(code, "why"));
    let table = [
        (
            kill(None),
            "{\"type\":\"KILL\",\"kill\":{\"task_id\":{\"value\":\"a\"}}}",
        ),
        (
            kill(Some(Duration::from_secs(3))),
            "{\"type\":\"KILL\",\"kill\":{\"task_id\":{\"value\":\"a\"},\
             \"kill_policy\":{\"grace_period\":{\"nanoseconds\":3000000000}}}}",
        ),
        (
            ExecutorEvent::Message(b"hi".to_vec()),
            "{\"type\":\"MESSAGE\",\"message\":{\"data\":\"aGk=\"}}",
        ),
        (
            ExecutorEvent::Shutdown {
                grace: Duration::ZERO,
            },
            "{\"type\":\"SHUTDOWN\"}",
        ),
        (ExecutorEvent::Heartbeat, "{\"type\":\"HEARTBEAT\"}"),
        (
            problem(code::FIELD_INVALID),
            "{\"type\":\"ERROR\",\"error\":{\"message\":\"why\"}}",
        ),
        (problem(code::EXECUTOR_UNKNOWN), "{\"type\":\"SHUTDOWN\"}"),
        (problem(code::SESSION_FENCED), ""),
        (
            ExecutorEvent::Subscribed {
                framework: FrameworkId::new("f").unwrap(),
                executor: ExecutorId::new("e").unwrap(),
                agent: Some(AgentId::new("a").unwrap()),
                host: "h".to_owned(),
                heartbeat_interval: Duration::ZERO,
            },
            "",
        ),
    ];
    for (event, expected) in table {
        let (events, records) = Translator::default().event(&event).unwrap();
        let texts: String = events.iter().map(text).collect();
        assert_eq!(texts, expected, "{event:?}");
        assert!(records.is_empty());
    }
}

#[test]
fn one_task_is_launched_and_several_as_a_group() {
    let mut it = Translator::default();
    let one = ExecutorEvent::Launch(vec![(Incarnation(7), spec("a").into())]);
    let (events, records) = it.event(&one).unwrap();
    assert_eq!(events[0].launch.as_ref().unwrap().task, info_of("a"));
    assert_eq!((events.len(), records.len()), (1, 1));
    let group = ["b", "c"].map(|id| (Incarnation(7), spec(id).into()));
    let (events, records) = it.event(&ExecutorEvent::Launch(group.into())).unwrap();
    let group = &events[0].launch_group.as_ref().unwrap().task_group;
    assert_eq!(group.tasks, [info_of("b"), info_of("c")]);
    assert_eq!((events.len(), records.len()), (1, 2));
    let foreign = TaskSpec {
        command: Command::Data(b"\xff".to_vec()),
        ..spec("d")
    };
    let launch = ExecutorEvent::Launch(vec![(Incarnation(7), foreign.into())]);
    assert_eq!(it.event(&launch).unwrap_err(), "Task d carries no TaskInfo");
}

#[test]
fn calls_are_refused_in_mesos_words() {
    let update = |status: &str| {
        format!(
            "{{\"type\":\"UPDATE\",\"executor_id\":{{\"value\":\"e\"}},\
             \"framework_id\":{{\"value\":\"f\"}},\"update\":{{\"status\":{{\
             \"task_id\":{{\"value\":\"t\"}}{status}}}}}}}"
        )
    };
    let call = |kind: &str| {
        format!(
            "{{\"type\":\"{kind}\",\"executor_id\":{{\"value\":\"e\"}},\"framework_id\":{{\"value\":\"f\"}}}}"
        )
    };
    let uuid = ",\"uuid\":\"2sqcQqZtS4q7kzFe/eNxhw==\",\"source\":\"SOURCE_EXECUTOR\"";
    let table = [
        (call("NONSENSE"), "Expecting 'type' to be present"),
        (call("SUBSCRIBE"), "Expecting 'subscribe' to be present"),
        (call("UPDATE"), "Expecting 'update' to be present"),
        (call("MESSAGE"), "Expecting 'message' to be present"),
        (
            update(",\"state\":\"TASK_RUNNING\""),
            "Expecting 'uuid' to be present",
        ),
        (
            update(",\"state\":\"TASK_RUNNING\",\"uuid\":\"AAAA\""),
            "Not a valid UUID",
        ),
        (
            update(",\"state\":\"TASK_RUNNING\",\"uuid\":\"2sqcQqZtS4q7kzFe/eNxhw==\""),
            "Received Call from executor e of framework f with invalid source, \
             expecting 'SOURCE_EXECUTOR'",
        ),
        (
            update(&format!(
                ",\"state\":\"TASK_RUNNING\",\"executor_id\":{{\"value\":\"x\"}}{uuid}"
            )),
            "ExecutorID in Call: e does not match ExecutorID in TaskStatus: x",
        ),
        (
            update(&format!(",\"state\":\"TASK_STAGING\"{uuid}")),
            "Received TASK_STAGING from executor e of framework f which is not allowed",
        ),
        (
            update(&format!(",\"state\":\"TASK_UNKNOWN\"{uuid}")),
            "Received TASK_UNKNOWN from executor e of framework f which is not allowed",
        ),
    ];
    for (body, expected) in table {
        let call: Call = read_json(body.as_bytes()).expect(&body);
        assert_eq!(check(call).expect_err(&body), expected);
    }
    for good in [
        call("HEARTBEAT"),
        update(&format!(",\"state\":\"TASK_LOST\"{uuid}")),
    ] {
        let call: Call = read_json(good.as_bytes()).expect(&good);
        check(call).expect(&good);
    }
    let long = Call {
        r#type: Some(call::Type::Message.into()),
        message: Some(call::Message {
            data: vec![0; EXECUTOR_MESSAGE_LEN_MAX + 1],
        }),
        ..Call::default()
    };
    let text = check(long).unwrap_err();
    assert_eq!(text, "The message has 65537 bytes, and 65536 are the limit");
}

#[test]
fn every_state_is_an_executors_to_say_or_not() {
    let refused = ["STAGING", "UNREACHABLE", "GONE_BY_OPERATOR", "UNKNOWN"];
    for number in 0..14 {
        let state = v1::TaskState::try_from(number).unwrap();
        let name = state.as_str_name().trim_start_matches("TASK_");
        let is_right = match state_of(&status("a", 1, state)) {
            Ok(TaskState::Lost) => ["LOST", "GONE"].contains(&name),
            Ok(ours) => format!("{ours:?}").eq_ignore_ascii_case(name),
            Err(said) => said == format!("TASK_{name}") && refused.contains(&name),
        };
        assert!(is_right, "{name}");
    }
}

#[test]
fn a_status_that_is_too_long_for_the_way_is_refused() {
    let mut it = launched(&["a"]);
    let long = v1::TaskStatus {
        data: Some(vec![0; STATUS_DATA_LEN_MAX]),
        ..status("a", 1, v1::TaskState::TaskRunning)
    };
    let Unfit::Wrong(text) = it.update(&long).unwrap_err() else {
        panic!("it is wrong")
    };
    assert!(text.ends_with("1114112 are the limit"), "{text}");
    assert_eq!(it.tasks[&task("a")].count, 0);
}

#[test]
fn an_end_that_is_too_long_is_heard_and_its_executor_is_told() {
    let mut it = launched(&["a"]);
    let end = v1::TaskStatus {
        data: Some(vec![0; STATUS_DATA_LEN_MAX]),
        ..status("a", 1, v1::TaskState::TaskFinished)
    };
    let Ok(Update::Known(said, Some(_))) = it.update(&end) else {
        panic!("it is new");
    };
    assert_eq!((said.number, said.state), (1, TaskState::Finished));
    // The core leaves out what is too much.
    let text = too_long(&said.data).unwrap();
    assert!(text.ends_with("1114112 are the limit"), "{text}");
    assert!(it.tasks[&task("a")].has_ended);
}

#[test]
fn a_status_that_could_not_be_kept_gives_its_number_back() {
    let mut it = launched(&["a"]);
    say(&mut it, "a", 1, v1::TaskState::TaskRunning);
    let end = status("a", 2, v1::TaskState::TaskFinished);
    let Ok(Update::Known(_, Some(record))) = it.update(&end) else {
        panic!("it is new");
    };
    it.take_back(&[record]);
    assert_eq!(it.records(), next(&it).records());
    let said = say(&mut it, "a", 3, v1::TaskState::TaskRunning);
    assert_eq!(said.number, 2);
    assert_eq!(say(&mut it, "a", 2, v1::TaskState::TaskFinished).number, 3);
    assert_eq!(on_disk(&mut it, "a", 3), [1, 3, 2]);
    assert!(it.tasks.is_empty(), "it has ended");
}

#[test]
fn a_status_that_cannot_be_taken_keeps_no_executor_from_coming_back() {
    let mut it = launched(&["a", "b"]);
    let long = v1::TaskStatus {
        data: Some(vec![0; STATUS_DATA_LEN_MAX]),
        ..status("a", 1, v1::TaskState::TaskRunning)
    };
    let unnamed = v1::TaskStatus {
        uuid: None,
        ..status("b", 2, v1::TaskState::TaskRunning)
    };
    let good = status("b", 3, v1::TaskState::TaskFinished);
    let beginning = it.subscribe(&subscription(&["a", "b"], &[long, unnamed, good]));
    assert_eq!(beginning.left_out.len(), 2, "{:?}", beginning.left_out);
    let statuses = beginning.subscription.unacknowledged;
    assert_eq!(statuses.len(), 1);
    assert_eq!((statuses[0].task.as_str(), statuses[0].number), ("b", 1));
}
