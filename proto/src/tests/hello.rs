//! What an agent says of its tasks when it registers.

use std::sync::Arc;

use proffer_model::link::{AgentTask, Hello, ToMaster};
use proffer_model::{
    AgentDescription, Attributes, Command, Epoch, ExecutorApi, ExecutorSpec, Incarnation, Reason,
    Resources, Secret, Status, TaskSpec, TaskState,
};
use prost::Message as _;

use crate::{decode_to_master, encode_to_master, v1};

fn executor(id: &str, len: usize) -> ExecutorSpec {
    ExecutorSpec {
        id: id.parse().expect("id"),
        resources: Resources::new(),
        command: Command::Shell("true".to_owned()),
        environment: [("A".to_owned(), Secret::new("x".repeat(len)))].into(),
        user: None,
        shutdown_grace: std::time::Duration::from_secs(5),
        api: ExecutorApi::Proffer,
        info: Vec::new(),
        info_compared: None,
        fetch: Vec::new(),
    }
}

fn task(id: usize, executor: &Arc<ExecutorSpec>) -> AgentTask {
    let command = Command::Data(vec![1; 100_000]);
    let mut spec = TaskSpec::new(
        format!("t{id}").parse().expect("id"),
        command,
        Resources::new(),
    );
    spec.executor = Some(executor.clone());
    AgentTask {
        framework: "f".parse().expect("id"),
        status: Status {
            task: spec.id.clone(),
            incarnation: Incarnation(1),
            agent: None,
            number: 1,
            state: TaskState::Running,
            reason: Reason::None,
            message: String::new(),
            exit: None,
            healthy: None,
            checks: Vec::new(),
            wall_ms: 1,
            data: Vec::new(),
        },
        spec: spec.outline(),
        incarnation: Incarnation(1),
        acknowledged: 0,
        payer: None,
        group: None,
    }
}

fn hello(tasks: Vec<AgentTask>) -> Hello {
    Hello {
        agent: None,
        cluster: None,
        epoch: Epoch(1),
        description: AgentDescription {
            host: "h".to_owned(),
            address: "h:1".to_owned(),
            resources: Resources::new(),
            attributes: Attributes::default(),
            domain: None,
            version: String::new(),
        },
        tasks,
        executors: Vec::new(),
        number: 1,
    }
}

#[test]
fn of_a_thousand_tasks_the_executor_is_said_once_and_none_of_what_they_carry() {
    let own = Arc::new(executor("e", 60_000));
    let other = Arc::new(executor("e", 50_000));
    let mut tasks: Vec<AgentTask> = (0..1_000).map(|id| task(id, &own)).collect();
    // Not the same one, and not shared.
    tasks.push(task(1_000, &other));
    tasks.push(task(1_001, &Arc::new(executor("e", 60_000))));
    let said = hello(tasks);
    let wire = encode_to_master(&ToMaster::Hello(said.clone()));
    assert!(wire.encoded_len() < 250_000, "{}", wire.encoded_len());
    let Some(v1::to_master::Message::Hello(inner)) = &wire.message else {
        panic!("a hello");
    };
    assert_eq!(inner.specs.len(), 2);
    let ToMaster::Hello(heard) = decode_to_master(wire).expect("it is read") else {
        panic!("a hello");
    };
    assert_eq!(heard, said);
    let executors = heard
        .tasks
        .iter()
        .filter_map(|it| it.spec.executor.as_ref());
    let mut executors = executors.take(1_000);
    let first = executors.next().expect("one");
    assert!(executors.all(|spec| Arc::ptr_eq(spec, first)));
}

#[test]
fn an_executor_that_was_not_said_is_missed_and_one_that_stands_with_its_task_is_taken() {
    let own = Arc::new(executor("e", 10));
    let mut wire = encode_to_master(&ToMaster::Hello(hello(vec![task(1, &own)])));
    let Some(v1::to_master::Message::Hello(inner)) = &mut wire.message else {
        panic!("a hello");
    };
    let specs = std::mem::take(&mut inner.specs);
    let mut before = wire.clone();
    let problem = decode_to_master(wire).expect_err("there is none");
    assert_eq!(problem.field, "hello.tasks[0].spec.executor");
    let Some(v1::to_master::Message::Hello(inner)) = &mut before.message else {
        panic!("a hello");
    };
    // As agents of earlier versions say it.
    inner.tasks[0].executor = 0;
    let spec = inner.tasks[0].spec.as_mut().expect("a spec");
    spec.executor = specs.into_iter().next();
    let ToMaster::Hello(heard) = decode_to_master(before).expect("it is read") else {
        panic!("a hello");
    };
    assert_eq!(heard.tasks[0].spec.executor, Some(own));
}
