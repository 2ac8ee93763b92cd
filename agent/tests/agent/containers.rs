//! Containers as real ones: a busybox image, real control groups, mounts and namespaces. They need root.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proffer_model::{Command, Container, Exit, Image, ImageRules, Reason, TaskSpec, TaskState};
use sha2::{Digest as _, Sha256};

use crate::bench::{Bench, PATIENCE, is_alive, lines, shell};

/// Writes an image of busybox, as `docker save` does, and answers its file.
fn image(dir: &Path) -> PathBuf {
    let config = r#""User":"","Env":["COLOUR=blue"],"Cmd":["/bin/echo","from the image"],"WorkingDir":"/srv/work""#;
    image_with(dir, "busybox.tar", config)
}

pub(crate) fn image_with(dir: &Path, name: &str, config: &str) -> PathBuf {
    let mut layer = tar::Builder::new(Vec::new());
    let mut add = |path: &str, kind: tar::EntryType, mode: u32, content: &[u8], link: &str| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(content.len().try_into().unwrap());
        if kind.is_symlink() {
            header.set_link_name(link).unwrap();
        }
        header.set_path(path).unwrap();
        header.set_cksum();
        layer.append(&header, content).unwrap();
    };
    for (dir, mode) in [("bin", 0o755), ("etc", 0o755), ("tmp", 0o1777)] {
        add(dir, tar::EntryType::Directory, mode, b"", "");
    }
    let busybox = fs::read("/bin/busybox").unwrap();
    add("bin/busybox", tar::EntryType::Regular, 0o755, &busybox, "");
    let users = b"root:x:0:0::/root:/bin/sh\nweb:x:1234:5678::/home/web:/bin/sh\n";
    add("etc/passwd", tar::EntryType::Regular, 0o644, users, "");
    let groups = b"root:x:0:\nweb:x:5678:\nmore:x:77:web\n";
    add("etc/group", tar::EntryType::Regular, 0o644, groups, "");
    let applets = std::process::Command::new("/bin/busybox")
        .arg("--list")
        .output()
        .unwrap();
    for applet in String::from_utf8(applets.stdout).unwrap().lines() {
        if applet != "busybox" {
            let path = format!("bin/{applet}");
            add(&path, tar::EntryType::Symlink, 0o777, b"", "busybox");
        }
    }
    let layer = layer.into_inner().unwrap();
    let hex = |bytes: &[u8]| -> String {
        let digest = Sha256::digest(bytes);
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let architecture = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "amd64",
    };
    let config = format!(
        r#"{{"architecture":"{architecture}","os":"linux","config":{{{config}}},
            "rootfs":{{"type":"layers","diff_ids":["sha256:{}"]}}}}"#,
        hex(&layer)
    );
    let config_name = format!("{}.json", hex(config.as_bytes()));
    let manifest = format!(
        r#"[{{"Config":"{config_name}","RepoTags":["busybox:1"],"Layers":["layer.tar"]}}]"#
    );
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in [
        (config_name.as_str(), config.as_bytes()),
        ("layer.tar", layer.as_slice()),
        ("manifest.json", manifest.as_bytes()),
    ] {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(content.len().try_into().unwrap());
        archive.append_data(&mut header, path, content).unwrap();
    }
    let file = dir.join(name);
    fs::write(&file, archive.into_inner().unwrap()).unwrap();
    file
}

/// A task that runs a line of shell in a container with 64 MB and half a processor.
pub(crate) fn contained(bench: &Bench, id: &str, line: &str) -> TaskSpec {
    let archive = bench.path().join("busybox.tar");
    if !archive.exists() {
        image(bench.path());
    }
    in_image(id, Command::Shell(line.to_owned()), &archive)
}

pub(crate) fn in_image(id: &str, command: Command, archive: &Path) -> TaskSpec {
    let image = Image::Archive(archive.to_str().unwrap().to_owned());
    TaskSpec {
        command,
        resources: "cpus:0.5;mem:64".parse().unwrap(),
        container: Some(Container {
            image,
            rules: ImageRules::Docker,
        }),
        ..shell(id, "")
    }
}

/// The control groups of this agent's containers, one for each hierarchy.
pub(crate) fn cgroups(bench: &Bench) -> BTreeSet<PathBuf> {
    use std::os::unix::fs::MetadataExt as _;
    let work = fs::metadata(bench.path().join("work")).unwrap();
    let agent = format!("proffer/{:x}-{:x}", work.dev(), work.ino());
    let mut roots = vec![PathBuf::from("/sys/fs/cgroup")];
    let entries = fs::read_dir("/sys/fs/cgroup").unwrap().flatten();
    roots.extend(entries.map(|entry| entry.path()));
    let entries = roots
        .iter()
        .flat_map(|root| fs::read_dir(root.join(&agent)));
    let entries = entries.flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.is_dir()).collect()
}

pub(crate) fn mounts() -> String {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
    // Other programs of this host mount as they like.
    let lines = text
        .lines()
        .filter(|line| line.contains("/runs/") || line.contains("overlay"));
    lines.map(|line| format!("{line}\n")).collect()
}

pub(crate) fn output(bench: &Bench, name: &str) -> String {
    fs::read_to_string(bench.run().join(name)).unwrap_or_default()
}

/// Runs a line to its end and answers what it has said.
async fn said(line: &str) -> String {
    let mut bench = Bench::started().await;
    let spec = contained(&bench, "t", line);
    bench.launch(1, spec).await;
    let last = bench.end().await;
    assert_eq!(
        last.state,
        TaskState::Finished,
        "{last:?}\n{}",
        output(&bench, "stderr")
    );
    let said = output(&bench, "stdout");
    bench.stop().await;
    said
}

#[tokio::test]
async fn an_image_runs_and_sees_only_its_own() {
    let before = mounts();
    let said = said(
        "echo $$; ps -o pid,args | grep -c -v PID; ls / | tr '\\n' ' '; echo; ls /proc | grep -c '^[0-9]'; \
         hostname; id -u; pwd; echo $COLOUR $SECRET $PROFFER_SANDBOX $HOME; ls -a /mnt/proffer/sandbox | wc -l; \
         cat /etc/hosts | wc -l; ls /proc/self/fd | wc -l; ls /dev | wc -l",
    )
    .await;
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "1");
    // The shell, ps and what reads from it.
    assert!(lines[1].parse::<u32>().unwrap() <= 3, "{said}");
    assert_eq!(lines[2], "bin dev etc mnt proc srv sys tmp ");
    assert!(lines[3].parse::<u32>().unwrap() <= 4, "{said}");
    let hostname = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(lines[4], hostname.trim());
    assert_eq!(lines[5..7], ["0", "/srv/work"]);
    assert_eq!(lines[7], "blue hush /mnt/proffer/sandbox /root");
    assert_eq!(lines[8], "2");
    let hosts = fs::read_to_string("/etc/hosts").unwrap();
    assert_eq!(lines[9], hosts.lines().count().to_string());
    assert_eq!(
        lines[10], "4",
        "descriptors: standard ones and the directory"
    );
    assert!(lines[11].parse::<u32>().unwrap() < 25, "{said}");
    assert_eq!(mounts(), before);
}

#[tokio::test]
async fn what_a_container_may_do_is_little() {
    let said = said(
        "grep -E 'CapEff|CapBnd|CapPrm|CapInh|NoNewPrivs|^Seccomp:|SigBlk' /proc/self/status; \
         for refused in 'mount -t tmpfs none /tmp' 'umount /proc' 'unshare -U true' 'unshare -m true' \
           'chroot / true' 'hostname other' 'mknod /tmp/d c 1 3' 'nsenter -t 1 -m true' 'setarch i686 -R true'; do \
           $refused > /tmp/o 2>&1 && echo \"done: $refused\"; done; \
         grep -c . /tmp/o; \
         echo x > /proc/sys/kernel/domainname || echo read-only; \
         echo b > /proc/sysrq-trigger || echo read-only; \
         head -c 1 /proc/kcore | wc -c; ls /sys/firmware | wc -l; touch /sys/x || echo read-only; \
         echo 5 > /dev/null; head -c 3 /dev/zero | wc -c; touch /dev/shm/x && echo shm",
    )
    .await;
    let lines: Vec<&str> = said.lines().map(str::trim).collect();
    let (status, rest) = lines.split_at(7);
    let status: Vec<&str> = status.iter().filter_map(|l| l.split('\t').nth(1)).collect();
    // CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID.
    let (few, none) = ("00000000000000fb", "0000000000000000");
    assert_eq!(status, [none, none, few, few, few, "1", "2"], "{said}");
    let read_only = "read-only";
    let expected = ["1", read_only, read_only, "0", "0", read_only, "3", "shm"];
    assert_eq!(rest, expected, "{said}");
}

/// What the control groups of a container say, by the name of the file; the first that has it.
fn limit(bench: &Bench, name: &str) -> Option<String> {
    let dirs = cgroups(bench);
    let text = dirs
        .iter()
        .find_map(|dir| fs::read_to_string(dir.join(name)).ok())?;
    Some(text.trim().to_owned())
}

#[tokio::test]
async fn a_container_is_held_to_what_its_task_holds() {
    let mut bench = Bench::started().await;
    let spec = contained(&bench, "t", "sleep 1000");
    bench.launch(1, spec).await;
    bench.until(TaskState::Running).await;
    let limit = |name| limit(&bench, name);
    let memory = limit("memory.max").or_else(|| limit("memory.limit_in_bytes"));
    assert_eq!(memory.as_deref(), Some("67108864"));
    let quota = limit("cpu.max").or_else(|| {
        Some(format!(
            "{} {}",
            limit("cpu.cfs_quota_us")?,
            limit("cpu.cfs_period_us")?
        ))
    });
    assert_eq!(quota.as_deref(), Some("50000 100000"));
    assert_eq!(limit("pids.max").as_deref(), Some("2048"));
    let is_shared = limit("cpu.shares").is_some_and(|shares| shares == "512")
        || limit("cpu.weight").is_some_and(|weight| weight != "100");
    assert!(is_shared);
    let supervisor = output(&bench, "pid");
    let supervisor = supervisor.split(' ').nth(1).unwrap();
    let of_supervisor = fs::read_to_string(format!("/proc/{supervisor}/cgroup")).unwrap();
    assert!(!of_supervisor.contains("/proffer/"), "{of_supervisor}");
    bench.kill("t", 1, Duration::ZERO).await;
    assert_eq!(bench.end().await.state, TaskState::Killed);
    nothing_is_left(&bench);
    bench.stop().await;
}

/// No control group of a container, and no process of one: those would be in it.
pub(crate) fn nothing_is_left(bench: &Bench) {
    assert_eq!(cgroups(bench), BTreeSet::new());
}

#[tokio::test]
async fn who_asks_for_too_much_memory_is_killed_and_said_so() {
    let mut bench = Bench::started().await;
    let hog = "dd if=/dev/zero of=/dev/null bs=200M count=1";
    for (number, line, exit, message) in [
        (
            1,
            format!("exec {hog}"),
            Exit::Signal(9),
            "killed: used more than its 64 MB",
        ),
        (
            2,
            format!("{hog}; echo went on; exit 3"),
            Exit::Code(3),
            "exited with code 3 after one of its processes was killed: it used more than its 64 MB",
        ),
    ] {
        let spec = contained(&bench, &format!("t{number}"), &line);
        bench.launch(number, spec).await;
        let last = bench.end().await;
        assert_eq!(last.state, TaskState::Failed, "{last:?}");
        assert_eq!(last.reason, Reason::OutOfMemory);
        assert_eq!(last.message, message);
        assert_eq!(last.exit, Some(exit));
    }
    let spec = contained(&bench, "t3", &format!("{hog} || true"));
    bench.launch(3, spec).await;
    assert_eq!(
        bench.end().await.state,
        TaskState::Finished,
        "it did without"
    );
    nothing_is_left(&bench);
    bench.stop().await;
}

#[tokio::test]
async fn a_fork_bomb_stays_in_its_container() {
    let mut bench = Bench::started().await;
    let spec = TaskSpec {
        resources: "cpus:4;mem:1000".parse().unwrap(),
        ..contained(&bench, "t", "while :; do sleep 1000 & done")
    };
    bench.launch(1, spec).await;
    let last = bench.end().await;
    assert_eq!(
        (last.state, last.exit),
        (TaskState::Failed, Some(Exit::Code(2))),
        "{last:?}"
    );
    let error = output(&bench, "stderr");
    assert!(error.contains("can't fork"), "{error}");
    nothing_is_left(&bench);
    bench.stop().await;
}

pub(crate) async fn wait_for(is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "it does not come");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_container_outlives_its_agent_and_ends_with_its_supervisor() {
    let before = mounts();
    let mut bench = Bench::started().await;
    let spec = contained(
        &bench,
        "t",
        "(sleep 1000 & setsid sleep 1000) & sleep 1000; exit 4",
    );
    bench.launch(1, spec).await;
    bench.until(TaskState::Running).await;
    let pid = bench.pid();
    bench.stop().await;
    bench.start().await;
    assert_eq!(bench.tasks(), ["t"]);
    assert_eq!(bench.pid(), pid);
    assert!(is_alive(&pid.to_string()));
    let inside: BTreeSet<String> = limit(&bench, "cgroup.procs")
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    assert!(inside.contains(&pid.to_string()), "{inside:?}");

    let text = output(&bench, "pid");
    let supervisor: i32 = text.split(' ').nth(1).unwrap().parse().unwrap();
    kill(supervisor);
    let last = bench.end().await;
    assert_eq!(
        (last.state, last.reason),
        (TaskState::Lost, Reason::SupervisorLost)
    );
    assert!(inside.iter().all(|pid| !is_alive(pid)), "{inside:?}");
    nothing_is_left(&bench);
    bench.stop().await;
    assert_eq!(mounts(), before);
}

#[tokio::test]
async fn what_a_supervisor_left_while_no_agent_ran_is_ended_at_the_next_start() {
    let mut bench = Bench::started().await;
    let spec = contained(&bench, "t", "setsid sleep 1000 & sleep 1000");
    bench.launch(1, spec).await;
    bench.until(TaskState::Running).await;
    let pid = bench.pid().to_string();
    bench.stop().await;
    let text = output(&bench, "pid");
    let supervisor: i32 = text.split(' ').nth(1).unwrap().parse().unwrap();
    // Killed while stopped, and its directory gone with it: only the control group is left of the run.
    kill(supervisor);
    fs::remove_dir_all(bench.run()).unwrap();
    bench.start().await;
    wait_for(|| !is_alive(&pid)).await;
    nothing_is_left(&bench);
    bench.stop().await;
}

#[tokio::test]
async fn a_supervisor_killed_while_it_starts_a_container_leaves_nothing() {
    let before = mounts();
    let mut bench = Bench::started().await;
    image(bench.path());
    let mut seen = BTreeSet::new();
    for number in 1..=12_u64 {
        let spec = contained(&bench, &format!("t{number}"), "sleep 1000");
        bench.launch(number, spec).await;
        let (run, supervisor) = loop {
            let fresh = bench.runs().into_iter().find(|run| {
                let pid = fs::read_to_string(run.join("pid")).unwrap_or_default();
                !seen.contains(run) && pid.starts_with("supervisor ")
            });
            if let Some(run) = fresh {
                let text = fs::read_to_string(run.join("pid")).unwrap();
                break (run, text.split(' ').nth(1).unwrap().parse().unwrap());
            }
            tokio::task::yield_now().await;
        };
        seen.insert(run);
        // Each time a little further on.
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(number * 3) {
            std::hint::spin_loop();
        }
        kill(supervisor);
        let last = bench.end().await;
        assert_eq!(last.state, TaskState::Lost, "{last:?}");
        nothing_is_left(&bench);
    }
    bench.stop().await;
    assert_eq!(mounts(), before);
}

/// SIGKILL.
fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn programs_run_in_a_container_as_its_task_does() {
    let mut bench = Bench::started().await;
    let config = r#""User":"web","Env":["A=b"],"Cmd":["/bin/sleep","1000"],"WorkingDir":"/tmp""#;
    let archive = image_with(bench.path(), "web.tar", config);
    let spec = in_image("t", Command::Image(Vec::new()), &archive);
    bench.launch(1, spec).await;
    bench.until(TaskState::Running).await;
    let run = bench.run();
    let exec = |options: &[&str], line: &str| {
        std::process::Command::new(env!("CARGO_BIN_EXE_proffer-contain"))
            .args(["contain", "exec", "--run-dir"])
            .arg(&run)
            .args(options)
            .args(["--", "/bin/sh", "-c", line])
            .output()
            .unwrap()
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let own = exec(
        &[],
        "id -u; id -G; pwd; echo $A $HOME $PROFFER_TASK_ID; ls /; ps | grep -c '[s]leep 1000'; \
         grep -E 'CapEff|CapBnd|NoNewPrivs|^Seccomp:' /proc/self/status; cat /proc/self/cgroup; \
         mount -t tmpfs none /tmp; unshare -U true; ls /proc/self/fd | wc -l; exit 7",
    );
    let said = text(&own.stdout);
    assert_eq!(own.status.code(), Some(7), "{said}{}", text(&own.stderr));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines[..4],
        ["1234", "5678 77", "/tmp", "b /home/web t"],
        "{said}"
    );
    assert!(
        said.contains("\nbin\ndev\netc\nmnt\nproc\nsrv\nsys\ntmp\n1\n")
            || said.contains("\ntmp\n1\n"),
        "{said}"
    );
    for line in [
        "CapEff:\t0000000000000000",
        "CapBnd:\t00000000000000fb",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
    ] {
        assert!(lines.contains(&line), "{line}: {said}");
    }
    // In the container's own, which are the root of what it sees.
    assert!(
        lines
            .iter()
            .any(|line| line.ends_with(":memory:/") || *line == "0::/"),
        "{said}"
    );
    assert_eq!(lines.last(), Some(&"4"));
    assert!(
        text(&own.stderr).contains("not permitted"),
        "{}",
        text(&own.stderr)
    );

    let begun = Instant::now();
    let late = exec(&["--timeout-ms", "200"], "sleep 1001 & sleep 1001");
    assert_eq!(late.status.code(), Some(124));
    assert!(begun.elapsed() < PATIENCE);
    let left = exec(&[], "ps | grep -c '[s]leep 1001'");
    assert_eq!(text(&left.stdout), "0\n");
    assert_eq!(exec(&[], "kill -9 $$").status.code(), Some(137));
    let missing = std::process::Command::new(env!("CARGO_BIN_EXE_proffer-contain"))
        .args(["contain", "exec", "--run-dir"])
        .arg(&run)
        .args(["--", "/no/such"])
        .output()
        .unwrap();
    assert_eq!(missing.status.code(), Some(125));
    assert!(
        text(&missing.stderr).contains("/no/such: No such file"),
        "{}",
        text(&missing.stderr)
    );
    bench.kill("t", 1, Duration::ZERO).await;
    bench.end().await;
    let over = exec(&[], "true");
    assert_eq!(over.status.code(), Some(125));
    nothing_is_left(&bench);
    bench.stop().await;
}

#[tokio::test]
async fn what_cannot_be_made_is_said_and_leaves_nothing() {
    let before = mounts();
    let mut bench = Bench::started().await;
    let archive = image(bench.path());
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let silent = image_with(bench.path(), "silent.tar", r#""Env":[]"#);
    let lost = image_with(bench.path(), "lost.tar", r#""WorkingDir":"/etc/passwd""#);
    let user = |name: &str| TaskSpec {
        user: Some(name.to_owned()),
        ..in_image("t", Command::Shell("id".to_owned()), &archive)
    };
    let (image_failed, launch_failed) = (Reason::ImageFailed, Reason::LaunchFailed);
    for (number, spec, reason, text) in [
        (
            1,
            in_image("t", Command::Exec(words("no-such x")), &archive),
            launch_failed,
            "no-such: no such program in PATH",
        ),
        (
            2,
            in_image("t", Command::Exec(words("/etc/passwd")), &archive),
            launch_failed,
            "/etc/passwd: permission denied",
        ),
        (
            3,
            in_image("t", Command::Exec(words("/tmp")), &archive),
            launch_failed,
            "/tmp: is a directory",
        ),
        (
            4,
            in_image("t", Command::Image(Vec::new()), &silent),
            image_failed,
            "does not say what to run",
        ),
        (
            5,
            in_image("t", Command::Shell("true".to_owned()), &lost),
            launch_failed,
            "its directory /etc/passwd",
        ),
        (
            6,
            in_image(
                "t",
                Command::Shell("true".to_owned()),
                Path::new("/no/such.tar"),
            ),
            image_failed,
            "/no/such.tar",
        ),
        (7, user("stranger"), image_failed, "stranger"),
    ] {
        bench.launch(number, spec).await;
        let last = bench.end().await;
        assert_eq!(
            (last.state, last.reason),
            (TaskState::Failed, reason),
            "{last:?}"
        );
        assert!(last.message.contains(text), "{last:?}");
    }
    nothing_is_left(&bench);
    bench.stop().await;
    assert_eq!(mounts(), before);
}

#[tokio::test]
async fn a_container_runs_as_whom_its_image_or_its_task_says() {
    let mut bench = Bench::new().await;
    // Which is of tasks without an image.
    bench.switch_user = Some(false);
    bench.start().await;
    let config = r#""User":"web","Entrypoint":["/bin/sh","-c"],"Cmd":["id; pwd; echo $HOME; touch /mnt/proffer/sandbox/x && echo mine; grep CapEff /proc/self/status"]"#;
    let archive = image_with(bench.path(), "web.tar", config);
    for (number, user, id) in [
        (1, None, "uid=1234(web) gid=5678(web) groups=77(more)"),
        (2, Some("99:98"), "uid=99 gid=98"),
        (3, Some("root"), "uid=0(root) gid=0(root)"),
    ] {
        let spec = TaskSpec {
            user: user.map(str::to_owned),
            ..in_image(&format!("t{number}"), Command::Image(Vec::new()), &archive)
        };
        bench.launch(number, spec).await;
        let last = bench.end().await;
        assert_eq!(last.state, TaskState::Finished, "{last:?}");
        let outputs = bench
            .runs()
            .into_iter()
            .map(|run| fs::read_to_string(run.join("stdout")).unwrap());
        let said: Vec<String> = outputs.filter(|said| said.contains(id)).collect();
        assert_eq!(said.len(), 1, "{id}");
        assert!(
            said[0].contains("\n/\n") && said[0].contains("mine"),
            "{said:?}"
        );
        assert_eq!(
            said[0].contains("CapEff:\t0000000000000000"),
            number < 3,
            "{said:?}"
        );
    }
    bench.stop().await;
}

#[tokio::test]
async fn output_is_kept_and_rotated_and_a_stop_is_heard() {
    let mut bench = Bench::started().await;
    let line = "trap 'echo stopping; exit 7' TERM; head -c 21000000 /dev/zero; echo up >&2; while :; do sleep 0.1; done";
    let spec = contained(&bench, "t", line);
    bench.launch(1, spec).await;
    bench.until(TaskState::Running).await;
    let run = bench.run();
    lines(&run.join("stderr"), 1).await;
    bench.kill("t", 1, Duration::from_secs(60)).await;
    let last = bench.end().await;
    assert_eq!(
        (last.state, last.exit),
        (TaskState::Killed, Some(Exit::Code(7)))
    );
    assert!(output(&bench, "stdout").ends_with("stopping\n"));
    let older = fs::metadata(run.join("stdout.1")).unwrap().len();
    assert_eq!(older, 10 * 1024 * 1024);
    bench.stop().await;
}

#[tokio::test]
async fn many_containers_start_at_once() {
    let mut bench = Bench::started().await;
    image(bench.path());
    for number in 0..20_u64 {
        let spec = TaskSpec {
            resources: "cpus:0.1;mem:16".parse().unwrap(),
            ..contained(&bench, &format!("t{number}"), "sleep 1000")
        };
        bench.launch(number + 1, spec).await;
    }
    let mut running = BTreeSet::new();
    while running.len() < 20 {
        let status = bench.status().await;
        bench.acknowledge(&status).await;
        assert!(!status.state.is_terminal(), "{status:?}");
        if status.state == TaskState::Running {
            running.insert(status.task);
        }
    }
    assert_eq!(limit_count(&bench), 20);
    for number in 0..20_u64 {
        bench
            .kill(&format!("t{number}"), number + 1, Duration::ZERO)
            .await;
    }
    for _ in 0..20 {
        assert_eq!(bench.end().await.state, TaskState::Killed);
    }
    nothing_is_left(&bench);
    bench.stop().await;
}

/// How many containers have a control group.
fn limit_count(bench: &Bench) -> usize {
    let names = cgroups(bench).into_iter();
    let names: BTreeSet<_> = names
        .map(|dir| dir.file_name().unwrap().to_owned())
        .collect();
    names.len()
}
