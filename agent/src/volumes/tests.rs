//! Volumes on real directories: whose they are, what outlives what, and where a disk is mounted.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::thread;
use std::time::Instant;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use proffer_model::{Command, Container, Image, ImageRules, TaskId};

use super::*;

const KEEP: Duration = Duration::from_secs(3_600);

/// An agent's work directory, and disks beside it.
struct Stage {
    dir: tempfile::TempDir,
    volumes: Option<Volumes>,
}

impl Stage {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["work", "path", "mount"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let mut stage = Self { dir, volumes: None };
        stage.restart(KEEP);
        stage
    }

    fn root(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// The agent restarts, with garbage kept this long.
    fn restart(&mut self, keep: Duration) {
        self.volumes = None;
        let disks = format!(
            "disk@PATH:{}:100;disk@MOUNT:{}:100",
            self.root("path"),
            self.root("mount")
        );
        let resources = disks.parse().unwrap();
        let opened = Volumes::open(&self.dir.path().join("work"), &resources, keep);
        self.volumes = Some(opened.unwrap());
    }

    fn volumes(&self) -> &Volumes {
        self.volumes.as_ref().unwrap()
    }

    /// The master names these.
    fn keep(&self, volumes: &[(&str, u64)]) {
        let volumes = volumes.iter().map(|(id, number)| AgentVolume {
            id: id.parse().unwrap(),
            role: "eng".parse().unwrap(),
            number: *number,
        });
        self.volumes().keep(volumes.collect());
    }

    /// What the master has named is on disk.
    fn retire(&self) {
        let shared = &self.volumes().shared;
        shared.retire(&mut lock(&shared.kept)).unwrap();
    }

    /// A task with volume `v` on this disk.
    fn spec(&self, source: &str) -> TaskSpec {
        let source = source.replace("DIR", &self.root(""));
        let resources = format!("disk(eng,ops){source}[v]:10");
        let id = TaskId::new("t").unwrap();
        let command = Command::Shell("true".to_owned());
        let mut spec = TaskSpec::new(id, command, resources.parse().unwrap());
        spec.volumes.push(VolumeMount {
            volume: "v".parse().unwrap(),
            path: "data".to_owned(),
            is_read_only: false,
        });
        spec
    }

    fn hand_over(&self, source: &str, taker: Taker) -> Result<PathBuf, String> {
        let mut spec = self.spec(source);
        if taker.is_container {
            let image = Image::Archive("/i.tar".to_owned());
            let rules = ImageRules::Docker;
            spec.container = Some(Container { image, rules });
        }
        let given = self.volumes().hand_over(&spec, taker)?;
        Ok(given[0].source.clone())
    }

    fn own(&self) -> PathBuf {
        self.hand_over("", process(0)).unwrap()
    }
}

fn process(uid: u32) -> Taker {
    Taker {
        user: (uid, uid),
        is_container: false,
    }
}

fn container(uid: u32) -> Taker {
    Taker {
        is_container: true,
        ..process(uid)
    }
}

fn wait_for(what: impl Fn() -> bool) {
    let begun = Instant::now();
    while !what() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it never comes");
        thread::yield_now();
    }
}

/// Mounts a file system, and takes it away again.
struct Mounting(PathBuf);

impl Mounting {
    fn new(path: &str, flags: MsFlags) -> Self {
        let tmpfs = Some("tmpfs");
        mount(tmpfs, path, tmpfs, flags, None::<&str>).unwrap();
        Self(path.into())
    }
}

impl Drop for Mounting {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

#[test]
fn a_volume_is_the_same_directory_until_it_is_destroyed_and_another_one_afterwards() {
    let mut stage = Stage::new();
    let refused = stage.hand_over("", process(0)).unwrap_err();
    assert!(refused.contains("does not name it"), "{refused}");
    stage.keep(&[("v", 1)]);
    let first = stage.own();
    fs::write(first.join("file"), "kept").unwrap();
    stage.restart(KEEP);
    // The list outlives the agent; nothing has been said in this life.
    assert_eq!(stage.own(), first);
    stage.keep(&[("v", 1), ("w", 2)]);
    assert_eq!(stage.own(), first);
    assert_eq!(fs::read_to_string(first.join("file")).unwrap(), "kept");
    // Destroyed and made anew while this agent was away: the id is the same.
    stage.keep(&[("v", 3)]);
    let second = stage.own();
    assert_ne!(second, first);
    assert_eq!(fs::read_dir(&second).unwrap().count(), 0);
    assert!(first.join("file").exists(), "kept as long as sandboxes");
    stage.restart(Duration::ZERO);
    wait_for(|| !first.parent().unwrap().exists());
    assert_eq!(stage.own(), second);
    // One of another role is another.
    let name = second.parent().unwrap().file_name().unwrap();
    assert_eq!(name.len(), 16);
}

#[test]
fn an_agent_that_never_heard_what_is_wanted_removes_nothing() {
    let mut stage = Stage::new();
    stage.keep(&[("v", 1)]);
    let data = stage.own();
    let work = stage.dir.path().join("work/volumes");
    stage.volumes = None;
    fs::remove_file(work.join("list")).unwrap();
    stage.restart(Duration::ZERO);
    stage.retire();
    stage.volumes().shared.collect(&mut BTreeSet::new());
    assert!(data.exists());
    stage.keep(&[]);
    wait_for(|| !data.exists());
}

#[test]
fn a_volume_is_its_users_and_what_a_container_has_had_is_kept_from_others() {
    let stage = Stage::new();
    stage.keep(&[("v", 1)]);
    let owner = |path: &Path| {
        let metadata = fs::metadata(path).unwrap();
        (metadata.uid(), metadata.mode() & 0o7777)
    };
    let data = stage.hand_over("", process(1_234)).unwrap();
    let dir = data.parent().unwrap();
    assert_eq!((owner(&data), owner(dir).1), ((1_234, 0o700), 0o711));
    stage.hand_over("", process(4_321)).unwrap();
    assert_eq!(owner(&data).0, 4_321);
    stage.hand_over("", container(0)).unwrap();
    assert_eq!((owner(&data).0, owner(dir).1), (0, 0o700));
    stage.hand_over("", container(4_321)).unwrap();
    let refused = stage.hand_over("", process(4_321)).unwrap_err();
    assert!(refused.contains("only containers"), "{refused}");
    stage.hand_over("", process(0)).unwrap();
}

#[test]
fn a_path_disk_holds_volumes_and_only_the_agents_own_disks_do() {
    let mut stage = Stage::new();
    stage.keep(&[("v", 1)]);
    let disk = "@PATH:DIRpath";
    let data = stage.hand_over(disk, process(0)).unwrap();
    let root = stage.dir.path().join("path");
    assert!(data.starts_with(&root), "{}", data.display());
    fs::write(data.join("file"), "").unwrap();
    assert_eq!(stage.hand_over(disk, container(0)).unwrap(), data);
    let elsewhere = stage.hand_over("", process(0)).unwrap_err();
    assert!(elsewhere.contains("another disk"), "{elsewhere}");
    for strange in ["@PATH:DIRother", "@PATH:/etc", "@MOUNT:/"] {
        let refused = stage.hand_over(strange, process(0)).unwrap_err();
        assert!(refused.contains("not one of this agent"), "{refused}");
    }
    stage.keep(&[]);
    stage.retire();
    stage.restart(Duration::ZERO);
    wait_for(|| fs::read_dir(&root).unwrap().count() == 0);
}

#[test]
fn a_mounted_disk_is_the_volume_and_empty_for_the_next() {
    let stage = Stage::new();
    stage.keep(&[("v", 1)]);
    let disk = "@MOUNT:DIRmount";
    let root = stage.root("mount");
    let refused = stage.hand_over(disk, process(0)).unwrap_err();
    assert!(refused.contains("nothing is mounted"), "{refused}");
    let mounting = Mounting::new(&root, MsFlags::empty());
    let data = stage.hand_over(disk, process(0)).unwrap();
    assert_eq!(data, Path::new(&root));
    fs::create_dir(data.join("dir")).unwrap();
    fs::write(data.join("dir/file"), "").unwrap();
    let refused = stage.hand_over(disk, container(0)).unwrap_err();
    assert!(refused.contains("nosuid"), "{refused}");
    stage.keep(&[("v", 2)]);
    // Whether the thread comes first or not.
    let taker = process(0);
    assert_eq!(stage.hand_over(disk, taker).unwrap(), data);
    assert_eq!(fs::read_dir(&data).unwrap().count(), 0);
    drop(mounting);
    let _nosuid = Mounting::new(&root, MsFlags::MS_NOSUID);
    stage.keep(&[("v", 3)]);
    stage.hand_over(disk, container(0)).unwrap();
}

#[test]
fn a_damaged_record_is_said_and_what_was_being_made_is_removed() {
    let mut stage = Stage::new();
    stage.keep(&[("v", 1)]);
    let data = stage.own();
    stage.volumes = None;
    let work = stage.dir.path().join("work");
    let half = work.join("volumes/0123456789abcdef.new/data");
    fs::create_dir_all(&half).unwrap();
    fs::create_dir(work.join("volumes/other")).unwrap();
    stage.restart(KEEP);
    assert!(!half.parent().unwrap().exists() && work.join("volumes/other").exists());
    stage.volumes = None;
    let record = data.parent().unwrap().join("volume");
    let bytes = fs::read(&record).unwrap();
    fs::write(&record, &bytes[..bytes.len() - 1]).unwrap();
    let problem = Volumes::open(&work, &Resources::new(), KEEP).unwrap_err();
    let record = record.to_str().unwrap().to_owned();
    assert!(problem.message.contains(&record), "{problem}");
}

#[test]
fn links_in_a_sandbox_lead_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let (sandbox, outside) = (dir.path().join("sandbox"), dir.path().join("outside"));
    fs::create_dir(&sandbox).unwrap();
    fs::create_dir(&outside).unwrap();
    let source = Path::new("/v/1");
    for path in ["data", "a/b/data", "data"] {
        link(&sandbox, path, source, Some((1_234, 1_234))).unwrap();
        assert_eq!(fs::read_link(sandbox.join(path)).unwrap(), source);
    }
    assert_eq!(fs::metadata(sandbox.join("a/b")).unwrap().uid(), 1_234);
    symlink(&outside, sandbox.join("out")).unwrap();
    symlink("../outside", sandbox.join("up")).unwrap();
    fs::write(sandbox.join("file"), "").unwrap();
    for path in [
        "out/data",
        "up/data",
        "out",
        "file",
        "file/data",
        "../data",
        "a/../../data",
    ] {
        link(&sandbox, path, source, None).unwrap_err();
    }
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    // Nor is anything removed there, or that is no link to the volume.
    symlink(source, outside.join("data")).unwrap();
    let sources = [PathBuf::from("/v/0"), source.to_owned()];
    for path in [
        "out/data",
        "up/data",
        "out",
        "file",
        "file/data",
        "a",
        "none/data",
    ] {
        unlink(&sandbox, path, &sources).unwrap();
    }
    unlink(&sandbox, "data", &sources[..1]).unwrap();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(fs::read_dir(&sandbox).unwrap().count(), 5);
    for path in ["a/b/data", "data", "data"] {
        unlink(&sandbox, path, &sources).unwrap();
        assert!(sandbox.join(path).symlink_metadata().is_err());
    }
    unlink(&dir.path().join("gone"), "data", &sources).unwrap();
}
