//! Persistent volumes with real tasks: as processes and in containers, over restarts of the agent, and never another's.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use proffer_model::{Reason, TaskId, TaskSpec, TaskState, VolumeMount};

use crate::bench::{Bench, shell};
use crate::containers::contained;

/// The task with volume `v` at this path.
fn with_volume(spec: TaskSpec, path: &str, is_read_only: bool) -> TaskSpec {
    let mut spec = spec;
    spec.resources.add(&"disk(eng,ops)[v]:10".parse().unwrap());
    spec.volumes.push(VolumeMount {
        volume: "v".parse().unwrap(),
        path: path.to_owned(),
        is_read_only,
    });
    spec
}

/// Runs tasks one after the other.
struct Runner {
    bench: Bench,
    launches: u64,
}

impl Runner {
    async fn start(task_user: Option<&str>) -> Self {
        let mut bench = Bench::new().await;
        bench.task_user = task_user.map(str::to_owned);
        // Others must pass through to their sandboxes.
        let open = fs::Permissions::from_mode(0o711);
        fs::set_permissions(bench.path(), open).unwrap();
        bench.start().await;
        Self { bench, launches: 0 }
    }

    /// How the task ended: its state, why, and in words.
    async fn run(&mut self, spec: TaskSpec) -> (TaskState, Reason, String) {
        self.launches += 1;
        let id = TaskId::new(&format!("{}-{}", spec.id, self.launches)).unwrap();
        let spec = TaskSpec {
            id: id.clone(),
            ..spec
        };
        self.bench.launch(self.launches, spec).await;
        loop {
            // An earlier one's may come again, after a restart.
            let end = self.bench.end().await;
            if end.task == id {
                return (end.state, end.reason, end.message);
            }
        }
    }

    async fn finishes(&mut self, spec: TaskSpec) {
        let (state, reason, message) = self.run(spec).await;
        assert_eq!(state, TaskState::Finished, "{reason}: {message}");
    }

    async fn fails_for_its_volume(&mut self, spec: TaskSpec, says: &str) {
        let (state, reason, message) = self.run(spec).await;
        assert_eq!((state, reason), (TaskState::Failed, Reason::VolumeFailed));
        assert!(message.contains(says), "{message}");
    }
}

#[tokio::test]
async fn what_a_task_writes_the_next_one_reads_and_nobody_after_the_volume_is_destroyed() {
    let mut runner = Runner::start(None).await;
    let writes = with_volume(shell("w", "echo one > data/file"), "data", false);
    let reads = || {
        let line = "test \"$(cat deep/down/file)\" = one";
        with_volume(shell("r", line), "deep/down", false)
    };
    let is_empty = || with_volume(shell("e", "test -z \"$(ls -A v)\""), "v", false);
    runner
        .fails_for_its_volume(writes.clone(), "does not name it")
        .await;
    runner.bench.name_volumes(&[("v", 1)]).await;
    runner.finishes(writes).await;
    runner.finishes(reads()).await;
    // Another agent process, and the master has not said anything yet.
    runner.bench.stop().await;
    runner.bench.start().await;
    runner.finishes(reads()).await;
    runner.bench.name_volumes(&[("v", 1)]).await;
    runner.finishes(reads()).await;
    // Destroyed, and made again while nobody looked.
    runner.bench.name_volumes(&[("v", 2)]).await;
    runner.finishes(is_empty()).await;
    runner.bench.stop().await;
    runner.bench.start().await;
    runner.finishes(is_empty()).await;
}

#[tokio::test]
async fn a_process_finds_its_volume_in_its_sandbox_as_its_own_and_nowhere_else() {
    let mut runner = Runner::start(Some("nobody")).await;
    runner.bench.name_volumes(&[("v", 1)]).await;
    let line = "touch data/mine && mkdir data/dir && ln -s /etc data/out && ln -s .. data/up";
    runner
        .finishes(with_volume(shell("a", line), "data", false))
        .await;
    let volumes = fs::read_dir(runner.bench.path().join("work/volumes")).unwrap();
    let mut volumes = volumes.map(|entry| entry.unwrap().path());
    let volume = volumes.find(|path| path.is_dir()).expect("a volume");
    let nobody = nix_uid("nobody");
    for path in ["data", "data/mine"] {
        assert_eq!(fs::metadata(volume.join(path)).unwrap().uid(), nobody);
    }
    for (path, says) in [
        ("/data", "not in the task's sandbox"),
        ("a/../b", "not a path"),
    ] {
        let spec = with_volume(shell("b", ":"), path, false);
        // The wire refuses some of these already.
        if proffer_proto::decode_task_spec(proffer_proto::encode_task_spec(&spec)).is_ok() {
            runner.fails_for_its_volume(spec, says).await;
        }
    }
    let spec = with_volume(shell("c", ":"), "data", true);
    runner.fails_for_its_volume(spec, "to read only").await;
}

#[tokio::test]
async fn a_container_has_its_volumes_mounted_and_read_only_where_that_is_said() {
    let mut runner = Runner::start(None).await;
    runner.bench.name_volumes(&[("v", 1)]).await;
    let writes = "echo one > /data/file && ln -s /etc/passwd /data/link && \
        cp /bin/busybox /data/su && chmod 4755 /data/su";
    let spec = contained(&runner.bench, "w", writes);
    runner.finishes(with_volume(spec, "/data", false)).await;
    let reads = "test \"$(cat /srv/deep/file)\" = one && ! touch /srv/deep/more && \
        grep ' /srv/deep .*nosuid' /proc/self/mountinfo";
    let spec = contained(&runner.bench, "r", reads);
    runner.finishes(with_volume(spec, "/srv/deep", true)).await;
    let in_sandbox =
        "test \"$(cat a/b/file)\" = one && touch a/b/more && cd $PROFFER_SANDBOX && ls a/b/more";
    let spec = contained(
        &runner.bench,
        "s",
        &format!("cd $PROFFER_SANDBOX && {in_sandbox}"),
    );
    runner.finishes(with_volume(spec, "a/b", false)).await;
    // What root has left there is kept from other users.
    let volumes = fs::read_dir(runner.bench.path().join("work/volumes")).unwrap();
    let mut volumes = volumes.map(|entry| entry.unwrap().path());
    let volume = volumes.find(|path| path.is_dir()).expect("a volume");
    assert_eq!(fs::metadata(volume).unwrap().mode() & 0o777, 0o700);
    let mut process = with_volume(shell("p", ":"), "data", false);
    process.user = Some("nobody".to_owned());
    runner
        .fails_for_its_volume(process, "only containers")
        .await;
    let spec = contained(&runner.bench, "k", ":");
    runner
        .fails_for_its_volume(with_volume(spec, "/proc/x", false), "something else")
        .await;
}

#[tokio::test]
async fn what_is_fetched_takes_the_place_of_no_volume() {
    let mut runner = Runner::start(None).await;
    runner.bench.name_volumes(&[("v", 1)]).await;
    let file = runner.bench.path().join("file");
    fs::write(&file, "fetched").unwrap();
    let fetched_as = |spec: TaskSpec, output: &str| {
        let fetch = proffer_model::Fetch {
            output: Some(output.to_owned()),
            ..proffer_model::Fetch::new(file.to_str().unwrap())
        };
        let fetch = vec![fetch];
        with_volume(TaskSpec { fetch, ..spec }, "a/b", false)
    };
    // In a container directories for volumes are made before anything is fetched, and one with something in it stays.
    for (output, of_container) in [("a/b", Reason::VolumeFailed), ("a", Reason::FetchFailed)] {
        let spec = fetched_as(contained(&runner.bench, "c", ":"), output);
        let (state, reason, message) = runner.run(spec).await;
        let is_said = message.contains("not a directory") || message.contains("takes the place");
        assert_eq!((state, reason), (TaskState::Failed, of_container));
        assert!(is_said, "{message}");
        let (state, reason, message) = runner.run(fetched_as(shell("p", ":"), output)).await;
        let reason = (state, reason);
        assert_eq!(
            reason,
            (TaskState::Failed, Reason::VolumeFailed),
            "{message}"
        );
    }
    let line = "cd $PROFFER_SANDBOX && test $(cat a/c) = fetched && touch a/b/file";
    let beside = contained(&runner.bench, "d", line);
    runner.finishes(fetched_as(beside, "a/c")).await;
}

fn nix_uid(name: &str) -> u32 {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let mut lines = users.lines().map(|line| line.split(':'));
    let line = lines.find_map(|mut parts| (parts.next() == Some(name)).then(|| parts.nth(1)));
    line.flatten().unwrap().parse().unwrap()
}
