//! What executors and their tasks carry: what is too much of it, what the agent keeps, and what it tells the leader.

use proffer_model::limits::STATUS_DATA_LEN_MAX;

use super::*;
use crate::launch::LaunchOrder;
use crate::limits::{EXECUTORS_LEN_MAX, STATUSES_DATA_LEN_MAX, TASKS_DATA_LEN_MAX};
use crate::loads::Loads;

fn word_with(number: u64, state: TaskState, len: usize) -> ExecutorStatus {
    ExecutorStatus {
        data: vec![1; len],
        ..word("t", number, state)
    }
}

#[test]
fn an_end_with_too_much_beside_it_is_told_and_one_that_finished_has_failed() {
    for (said, told, reason) in [
        (TaskState::Finished, TaskState::Failed, Reason::TooLong),
        (TaskState::Failed, TaskState::Failed, Reason::TooLong),
        (TaskState::Error, TaskState::Error, Reason::None),
    ] {
        let mut scene = Scene::running();
        scene.say(word_with(2, said, STATUS_DATA_LEN_MAX + 1));
        let last = scene.last("t");
        assert_eq!((last.state, last.reason), (told, reason));
        assert!(last.data.is_empty());
        let expected = format!(
            "its executor said {said} with {} bytes, which are lost: {STATUS_DATA_LEN_MAX} are the limit; word 2",
            STATUS_DATA_LEN_MAX + 1
        );
        assert_eq!(last.message, expected);
        assert_eq!(scene.agent.core.used, "cpus:0.5".parse().unwrap());
    }
    let mut scene = Scene::running();
    scene.say(word_with(2, TaskState::Finished, STATUS_DATA_LEN_MAX));
    let last = scene.last("t");
    assert_eq!(last.state, TaskState::Finished);
    assert_eq!(last.data.len(), STATUS_DATA_LEN_MAX);
}

#[test]
fn what_waits_for_frameworks_is_counted_and_bounded() {
    let mut scene = Scene::running();
    scene.say(word_with(2, TaskState::Running, 10_000));
    scene.say(word_with(3, TaskState::Running, 20_000));
    assert_eq!(scene.agent.core.loads.said, 30_000);
    // Also what waits for room among the statuses of its task.
    for number in 4..=16 {
        scene.say(word_with(number, TaskState::Running, 1));
    }
    scene.say(word_with(17, TaskState::Running, 5_000));
    let said = scene.agent.core.loads.said;
    assert!((35_000..35_100).contains(&said), "{said}");
    scene.crash();
    scene.subscribe(&[], &[task("t")]);
    // Its executor says again what was not kept.
    assert!((30_000..30_100).contains(&scene.agent.core.loads.said));
    let last = scene.last("t").number;
    scene.agent.acknowledge("t", 1, last);
    assert_eq!(scene.agent.core.loads.said, 0);

    let core = &mut scene.agent.core;
    core.loads.said = STATUSES_DATA_LEN_MAX - 5_000;
    let cut = |len| {
        let mut status = word_with(20, TaskState::Finished, len);
        let is_cut = core.cut_data(&mut status);
        (is_cut, status.state, status.data.len())
    };
    assert_eq!(cut(5_000), (false, TaskState::Finished, 5_000));
    assert_eq!(cut(5_001), (true, TaskState::Failed, 0));
    core.loads.said = STATUSES_DATA_LEN_MAX;
    // What is small is taken always.
    let mut small = word_with(20, TaskState::Finished, 4_096);
    assert!(!core.cut_data(&mut small));
}

#[test]
fn a_launch_beyond_what_the_agent_holds_is_refused_and_the_bounds_fit_what_they_are_for() {
    let large = |len| TaskSpec {
        command: Command::Data(vec![0; len]),
        ..data("u")
    };
    let mut loads = Loads {
        tasks: TASKS_DATA_LEN_MAX - 100,
        ..Loads::default()
    };
    assert_eq!(loads.refusal([&large(100)].into_iter(), None), None);
    let refusal = loads.refusal([&large(50), &large(51)].into_iter(), None);
    let refusal = refusal.unwrap();
    assert!(refusal.contains("1073741824 are the limit"), "{refusal}");
    loads.tasks = 0;
    let executor = ExecutorSpec {
        info: vec![0; 1024 * 1024],
        ..executor("e")
    };
    let mut count = 0;
    while loads.refusal([].into_iter(), Some(&executor)).is_none() {
        loads.executor_came(&executor);
        count += 1;
    }
    assert_eq!(count, EXECUTORS_LEN_MAX / (1024 * 1024) - 1);

    // A thousand tasks that carry a mebibyte each are taken.
    const { assert!(TASKS_DATA_LEN_MAX >= 1_000 * 1024 * 1024) };
    let mut scene = Scene::running();
    let core = &mut scene.agent.core;
    core.loads.tasks = TASKS_DATA_LEN_MAX;
    let order = LaunchOrder {
        framework: framework(),
        payer: None,
        group: None,
        tasks: vec![(Incarnation(1), large(1))],
    };
    let mut effects = Vec::new();
    core.on_launch(scene.agent.now, order, &mut effects);
    assert_eq!(core.loads.tasks, TASKS_DATA_LEN_MAX);
    let told = effects.iter().find_map(|effect| match effect {
        Effect::Send {
            message: ToMaster::Updated { status, .. },
            ..
        } => Some(status),
        _ => None,
    });
    let told = told.unwrap();
    assert_eq!(told.state, TaskState::Failed);
    assert!(told.message.contains("are the limit"), "{}", told.message);
}

#[test]
fn the_leader_hears_neither_what_tasks_carry_nor_what_was_said_along_with_their_end() {
    let mut scene = Scene::started_with(TaskSpec {
        command: Command::Data(vec![1; 100_000]),
        ..data("t")
    })
    .runs();
    scene.agent.launch(1, data("u"));
    scene.agent.persist();
    scene.say(word_with(2, TaskState::Finished, 50_000));
    scene.story();
    scene.crash();
    let done = scene.agent.take();
    let hello = done.iter().find_map(|effect| match effect {
        Effect::Send {
            message: ToMaster::Hello(hello),
            ..
        } => Some(hello),
        _ => None,
    });
    let hello = hello.unwrap();
    assert_eq!(hello.tasks.len(), 2);
    for task in &hello.tasks {
        assert_eq!(task.spec.command, Command::Data(Vec::new()));
        assert_eq!(task.status.data, Vec::<u8>::new());
    }
    // It comes with the status itself.
    let sent = done.iter().find_map(|effect| match effect {
        Effect::Send {
            message: ToMaster::Updated { status, .. },
            ..
        } if status.state == TaskState::Finished => Some(status.data.len()),
        _ => None,
    });
    assert_eq!(sent, Some(50_000));
    // Both are in one executor, which is kept once.
    let specs = scene.agent.core.tasks.values();
    let mut specs = specs.filter_map(|task| task.spec.executor.as_ref());
    let first = specs.next().unwrap();
    assert!(specs.all(|spec| std::sync::Arc::ptr_eq(spec, first)));
}
