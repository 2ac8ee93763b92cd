//! Executors as Mesos's frameworks name them, by their ExecutorInfo: named again in other words, and with persistent volumes.

use std::fs;

use proffer_model::{Principal, Role};
use proffer_proto::mesos::{Launcher, decode_task_info};

use super::*;

const CPUS: &str = r#"{"name":"cpus","type":"SCALAR","scalar":{"value":0.1}}"#;
const MEM: &str = r#"{"name":"mem","type":"SCALAR","scalar":{"value":8}}"#;

/// A volume of role `eng`, to be found there.
fn volume(id: &str, path: &str) -> String {
    format!(
        r#"{{"name":"disk","type":"SCALAR","scalar":{{"value":10}},
        "reservations":[{{"type":"DYNAMIC","role":"eng","principal":"ops"}}],
        "disk":{{"persistence":{{"id":"{id}"}},"volume":{{"mode":"RW","container_path":"{path}"}}}}}}"#
    )
}

/// A task with these resources, of an executor that is said to be so.
fn named_task(id: &str, resources: &[&str], executor: &str) -> TaskSpec {
    let resources = resources.join(",");
    let text = format!(
        r#"{{"name":"{id}","task_id":{{"value":"{id}"}},"agent_id":{{"value":"a"}},"resources":[{resources}],"data":"AAE=",
        "executor":{{"type":"CUSTOM","executor_id":{{"value":"e"}},{executor}}}}}"#
    );
    let info = v1::FrameworkInfo {
        user: "root".into(),
        name: "the framework".into(),
        id: Some(v1::FrameworkId { value: "f".into() }),
        ..v1::FrameworkInfo::default()
    };
    let launcher = Launcher {
        info: &info,
        principal: &Principal::new("ops").unwrap(),
        role: &Role::new("eng").unwrap(),
    };
    decode_task_info(&read_json(text.as_bytes()).unwrap(), launcher).unwrap()
}

/// A command with these variables, and so many milliseconds to end.
fn command(variables: &str, grace_ms: u32, resources: &[&str]) -> String {
    let resources = resources.join(",");
    format!(
        r#""command":{{"value":"{PROGRAM}","environment":{{"variables":[{variables}]}}}},
        "shutdown_grace_period":{{"nanoseconds":{grace_ms}000000}},"resources":[{resources}]"#
    )
}

#[tokio::test]
async fn who_launches_on_an_executor_that_lives_may_spell_it_otherwise() {
    let (a, b) = (r#"{"name":"A","value":"1"}"#, r#"{"name":"B","value":"2"}"#);
    let lives = command(&format!("{a},{b}"), 1_500, &[CPUS, MEM]);
    let cpus_otherwise = CPUS.replace("0.1", "0.10");
    let again = command(&format!("{b},{a}"), 2_500, &[MEM, &cpus_otherwise]);
    let another = command(&format!("{a},{b}"), 1_500, &[CPUS, &MEM.replace('8', "9")]);
    let mut bench = Bench::started().await;
    bench.keep_listen();
    bench.launch(1, named_task("t", &[CPUS], &lives)).await;
    let place = Place::find(&bench, Media::Json).await;
    assert_eq!(
        place.environment["MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD"],
        "1500ms"
    );
    let (code, _, reader) = place.post(&subscribe(&[], &[])).await;
    assert_eq!(code, 200);
    let media = Media::Json;
    let mut stream = Stream { media, reader };
    let subscribed = stream.next().await.unwrap().subscribed.unwrap();
    let told = subscribed.executor_info;
    let grace = told.shutdown_grace_period.unwrap().nanoseconds;
    assert_eq!(grace, 1_500_000_000);
    assert_eq!(stream.launched().await.task_id.value, "t");
    // In other words it is the same one, and its process is told.
    bench.launch(2, named_task("u", &[CPUS], &again)).await;
    assert_eq!(stream.launched().await.task_id.value, "u");
    // What means another is refused; also by the next agent, which knows the first by what was kept.
    for incarnation in 3..5 {
        let id = format!("x{incarnation}");
        let spec = named_task(&id, &[CPUS], &another);
        bench.launch(incarnation, spec).await;
        let refused = until(&mut bench, &id).await;
        assert_eq!(refused.state, TaskState::Error);
        assert!(refused.message.contains("runs with another spec"));
        bench.stop().await;
        bench.start().await;
    }
    let running = ["t", "u"].map(|id| status(id, 1, v1::TaskState::TaskRunning));
    let mut stream = place.begin(&subscribe(&["t", "u"], &running)).await;
    bench.launch(6, named_task("w", &[CPUS], &again)).await;
    while stream.next().await.unwrap().launch.is_none() {}
    let executors = bench.runs().into_iter();
    let executors = executors.filter(|run| run.join("executor").exists());
    assert_eq!(executors.count(), 1);
}

/// Waits until nothing is there.
async fn gone(path: &std::path::Path) {
    let gone = async {
        while path.symlink_metadata().is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, gone).await.unwrap();
}

#[tokio::test]
async fn volumes_of_an_executor_and_of_its_tasks_are_in_its_sandbox_as_long_as_they_run() {
    let own = volume("w", "own");
    let executor = command("", 200, &[CPUS, &own]);
    let task = |id: &str, path: &str| named_task(id, &[CPUS, &volume("v", path)], &executor);
    let mut bench = Bench::started().await;
    bench.keep_listen();
    bench.name_volumes(&[("v", 1), ("w", 1)]).await;
    bench.launch(1, task("t", "data")).await;
    let place = Place::find(&bench, Media::Protobuf).await;
    let sandbox = place.run.join("sandbox");
    assert!(fs::read_link(sandbox.join("own")).is_ok(), "from its start");
    let mut stream = place.begin(&subscribe(&[], &[])).await;
    assert_eq!(stream.launched().await.task_id.value, "t");
    fs::write(sandbox.join("data/file"), "one").unwrap();
    place
        .say(update(status("t", 1, v1::TaskState::TaskRunning)))
        .await;
    assert_eq!(stream.acknowledged().await, ("t".into(), 1));
    // Another agent finds it there.
    bench.stop().await;
    bench.start().await;
    let mut stream = place.begin(&subscribe(&[], &[])).await;
    assert_eq!(fs::read(sandbox.join("data/file")).unwrap(), b"one");
    place
        .say(update(status("t", 2, v1::TaskState::TaskFinished)))
        .await;
    gone(&sandbox.join("data")).await;
    // The next task of the executor finds what was written.
    bench.launch(2, task("u", "deep/down")).await;
    while stream.next().await.unwrap().launch.is_none() {}
    assert_eq!(fs::read(sandbox.join("deep/down/file")).unwrap(), b"one");
    place
        .say(update(status("u", 3, v1::TaskState::TaskFailed)))
        .await;
    gone(&sandbox.join("deep/down")).await;
    // Where something else is it cannot be, and that stays.
    bench.launch(3, task("x", "own")).await;
    let failed = until(&mut bench, "x").await;
    assert_eq!(
        (failed.state, failed.reason),
        (TaskState::Failed, Reason::VolumeFailed)
    );
    assert_eq!(
        failed.message,
        "own in its sandbox: something else is there"
    );
    bench.launch(4, task("y", "data")).await;
    while stream.next().await.unwrap().launch.is_none() {}
    assert!(fs::read_link(sandbox.join("own")).is_ok());
    assert_eq!(fs::read(sandbox.join("data/file")).unwrap(), b"one");
}

#[tokio::test]
async fn an_executor_whose_volume_is_not_there_is_not_started() {
    let executor = command("", 200, &[CPUS, &volume("w", "own")]);
    let mut bench = Bench::started().await;
    bench.launch(1, named_task("t", &[CPUS], &executor)).await;
    let failed = until(&mut bench, "t").await;
    assert_eq!(
        (failed.state, failed.reason, &*failed.message),
        (
            TaskState::Failed,
            Reason::VolumeFailed,
            "Failed to launch container: volume w: the master does not name it"
        )
    );
}
