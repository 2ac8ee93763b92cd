//! Images by name, from the directory that the operator keeps archives in, and what a task that was written for Mesos finds in
//! its container. They need root.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use proffer_model::{
    Command, Container, Fetch, Image, ImageRules, Reason, Secret, TaskId, TaskSpec, TaskState,
    VolumeMount,
};

use crate::bench::{Bench, shell};
use crate::containers::{image_with, output};

const CONFIG: &str = r#""Cmd":["/bin/echo","from the image"]"#;

/// A task in the image of this name.
fn named(id: &str, name: &str, command: Command) -> TaskSpec {
    TaskSpec {
        command,
        resources: "cpus:0.5;mem:64".parse().unwrap(),
        container: Some(Container {
            image: Image::Name(name.parse().unwrap()),
            rules: ImageRules::Docker,
        }),
        ..shell(id, "")
    }
}

/// An agent with a directory of archives, which others than root do not enter, as files in it.
async fn with_archives() -> (Bench, PathBuf) {
    let mut bench = Bench::new().await;
    bench.task_user = Some("nobody".to_owned());
    // Others must pass through to their sandboxes.
    fs::set_permissions(bench.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let archives = bench.path().join("archives");
    fs::create_dir_all(archives.join("registry.local:5000/team")).unwrap();
    fs::set_permissions(&archives, fs::Permissions::from_mode(0o700)).unwrap();
    let file = image_with(&archives, "busybox:1.tar", CONFIG);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    bench.image_archives = Some(archives.clone());
    bench.start().await;
    (bench, archives)
}

#[tokio::test]
async fn an_image_is_found_by_its_name_for_every_user() {
    let (mut bench, archives) = with_archives().await;
    let elsewhere = archives.join("registry.local:5000/team/app:2.tar");
    fs::copy(archives.join("busybox:1.tar"), elsewhere).unwrap();
    symlink("busybox:1.tar", archives.join("busybox.tar")).unwrap();
    let names = ["busybox:1", "registry.local:5000/team/app:2", "busybox"];
    for (number, name) in (1..).zip(names) {
        let spec = TaskSpec {
            user: (number == 1).then(|| "1234".to_owned()),
            ..named(&format!("t{number}"), name, Command::Image(Vec::new()))
        };
        bench.launch(number, spec).await;
        let last = bench.end().await;
        assert_eq!(last.state, TaskState::Finished, "{name}: {last:?}");
    }
    let said = bench.runs().into_iter();
    let said = said.map(|run| fs::read_to_string(run.join("stdout")).unwrap());
    assert!(said.into_iter().all(|said| said == "from the image\n"));
    bench.stop().await;
}

#[tokio::test]
async fn an_image_that_is_not_there_is_said_with_its_name_its_directory_and_what_to_do() {
    let (mut bench, archives) = with_archives().await;
    fs::copy(archives.join("busybox:1.tar"), bench.path().join("out.tar")).unwrap();
    symlink("../out.tar", archives.join("link.tar")).unwrap();
    symlink(bench.path().join("out.tar"), archives.join("absolute.tar")).unwrap();
    fs::create_dir(archives.join("directory.tar")).unwrap();
    fs::write(archives.join("text.tar"), "text").unwrap();
    let dir = archives.display();
    let leads_out = "a link leads out of the directory of archives".to_owned();
    for (number, (name, says)) in (1..).zip([
        (
            "busybox:2",
            format!("image busybox:2: there is no busybox:2.tar in {dir}, where this agent has its archives of images: put it \
                 there, as `docker save -o {dir}/busybox:2.tar busybox:2` writes it"),
        ),
        ("no/such", format!("there is no no/such.tar in {dir}")),
        ("text.tar/a", "there is no text.tar/a.tar".to_owned()),
        ("link", leads_out.clone()),
        ("absolute", leads_out),
        ("directory", "this is not a file".to_owned()),
        ("text", format!("{dir}/text.tar: this is not an image archive")),
    ]) {
        let spec = named(&format!("t{number}"), name, Command::Image(Vec::new()));
        bench.launch(number, spec).await;
        let last = bench.end().await;
        let ended = (last.state, last.reason);
        assert_eq!(ended, (TaskState::Failed, Reason::ImageFailed), "{last:?}");
        assert!(last.message.contains(&says), "{}", last.message);
    }
    bench.stop().await;
    bench.image_archives = None;
    bench.start().await;
    let spec = named("t", "busybox:1", Command::Image(Vec::new()));
    bench.launch(99, spec).await;
    let last = loop {
        let last = bench.end().await;
        if last.task == TaskId::new("t").unwrap() {
            break last;
        }
    };
    assert_eq!(last.reason, Reason::ImageFailed);
    let says = "this agent keeps no archives of images: give the path of one, or set image_archives of the agent";
    assert!(last.message.contains(says), "{}", last.message);
    bench.stop().await;
}

/// A task of Mesos with something fetched and a volume in its sandbox.
fn of_mesos(file: &Path, line: &str) -> TaskSpec {
    let mut spec = named("t", "busybox:1", Command::Shell(line.to_owned()));
    spec.container.as_mut().unwrap().rules = ImageRules::Mesos;
    let task = Secret::new("t");
    spec.environment.insert("MESOS_TASK_ID".to_owned(), task);
    spec.fetch.push(Fetch::new(file.to_str().unwrap()));
    spec.resources.add(&"disk(eng,ops)[v]:10".parse().unwrap());
    spec.volumes.push(VolumeMount {
        volume: "v".parse().unwrap(),
        path: "data".to_owned(),
        is_read_only: false,
    });
    spec
}

#[tokio::test]
async fn a_task_of_mesos_begins_in_its_sandbox_and_finds_it_where_mesos_has_it() {
    let (mut bench, _) = with_archives().await;
    bench.name_volumes(&[("v", 1)]).await;
    let file = bench.path().join("fetched");
    fs::write(&file, "text").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let line = "pwd; echo $MESOS_SANDBOX $MESOS_DIRECTORY $PROFFER_SANDBOX; cat /mnt/mesos/sandbox/fetched; echo; \
        touch data/x && ls /mnt/mesos/sandbox; grep -c ' /mnt/mesos/sandbox/data ' /proc/self/mountinfo; echo left > kept";
    bench.launch(1, of_mesos(&file, line)).await;
    let last = bench.end().await;
    assert_eq!(last.state, TaskState::Finished, "{last:?}");
    let place = "/mnt/mesos/sandbox";
    let said = format!("{place}\n{place} {place} {place}\ntext\ndata\nfetched\n1\n");
    assert_eq!(output(&bench, "stdout"), said);
    assert_eq!(output(&bench, "sandbox/kept"), "left\n");
    bench.stop().await;
}

#[tokio::test]
async fn a_user_that_only_the_host_has_runs_a_task_of_mesos_and_no_other() {
    let (mut bench, _) = with_archives().await;
    let line = "id -u; touch /mnt/proffer/sandbox/x";
    let of_host = |id: &str, rules: ImageRules| {
        let mut spec = named(id, "busybox:1", Command::Shell(line.to_owned()));
        spec.container.as_mut().unwrap().rules = rules;
        spec.user = Some("nobody".to_owned());
        spec
    };
    bench.launch(1, of_host("mesos", ImageRules::Mesos)).await;
    let last = bench.end().await;
    assert_eq!(last.state, TaskState::Finished, "{last:?}");
    let uid = nix::unistd::User::from_name("nobody").unwrap().unwrap().uid;
    assert_eq!(output(&bench, "stdout"), format!("{uid}\n"));
    bench.launch(2, of_host("docker", ImageRules::Docker)).await;
    let last = bench.end().await;
    assert_eq!(last.reason, Reason::ImageFailed, "{last:?}");
    assert!(
        last.message.contains("user `nobody` of the image"),
        "{last:?}"
    );
    bench.stop().await;
}
