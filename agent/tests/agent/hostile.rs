//! Containers whose images and programs mean ill: what they try from within, by system calls of their own too, and what
//! they leave. They need root, and a C compiler for the program that makes the calls.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::libc;
use proffer_model::{Command, TaskSpec, TaskState};
use serde_json::json;

use crate::bench::{Bench, is_alive};
use crate::containers::{cgroups, in_image, mounts, nothing_is_left, output, wait_for};
use images::{Layer, Tar, busybox};

#[allow(
    clippy::indexing_slicing,
    clippy::expect_used,
    dead_code,
    unreachable_pub,
    reason = "a part of the tests of the whole, of which not everything is used here"
)]
#[path = "../../../tests/images.rs"]
mod images;

/// The program that makes system calls, see `call.c`.
fn call_program(dir: &Path) -> Vec<u8> {
    let program = dir.join("call");
    let compiled = std::process::Command::new("cc")
        .args([
            "-O1",
            "-static",
            "-nostdlib",
            "-fno-stack-protector",
            "-fno-builtin",
            "-o",
        ])
        .arg(&program)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/agent/call.c"))
        .status()
        .unwrap();
    assert!(compiled.success());
    fs::read(program).unwrap()
}

/// An image of busybox with that program and what these layers add.
fn archive(bench: &Bench, name: &str, more: Vec<Layer>) -> PathBuf {
    let mut image = busybox();
    let mut tar = Tar::new();
    tar.file("bin/call", 0o755, &call_program(bench.path()));
    for applet in ["busybox", "find", "mount", "chmod", "ln", "readlink"] {
        if applet != "busybox" && applet != "mount" {
            tar.symlink(&format!("bin/{applet}"), "busybox");
        }
    }
    image.layers.push(Layer::plain(tar.finish()));
    image.layers.extend(more);
    let file = bench.path().join(name);
    fs::write(&file, image.docker_save()).unwrap();
    file
}

fn line(id: &str, archive: &Path, line: &str) -> TaskSpec {
    in_image(id, Command::Shell(line.to_owned()), archive)
}

/// Runs a line as this user to its end and answers what it has said.
async fn said(bench: &mut Bench, number: u64, user: &str, archive: &Path, text: &str) -> String {
    let before: BTreeSet<PathBuf> = bench.runs().into_iter().collect();
    let spec = TaskSpec {
        user: Some(user.to_owned()),
        ..line(&format!("t{number}"), archive, text)
    };
    bench.launch(number, spec).await;
    let last = bench.end().await;
    let run = bench.runs().into_iter().find(|run| !before.contains(run));
    let run = run.unwrap();
    let error = fs::read_to_string(run.join("stderr")).unwrap_or_default();
    assert_eq!(last.state, TaskState::Finished, "{last:?} {error}");
    fs::read_to_string(run.join("stdout")).unwrap()
}

const EPERM: i32 = -libc::EPERM;
const ENOSYS: i32 = -libc::ENOSYS;

/// What is tried, the call with arguments that would do something, and what is answered.
fn calls() -> Vec<(&'static str, libc::c_long, &'static str, i32)> {
    vec![
        ("mount", libc::SYS_mount, "none /tmp tmpfs 0 0", EPERM),
        ("umount", libc::SYS_umount2, "/proc 2", EPERM),
        (
            "a new user namespace",
            libc::SYS_unshare,
            "0x10000000",
            EPERM,
        ),
        ("a new mount namespace", libc::SYS_unshare, "0x20000", EPERM),
        ("the same by clone", libc::SYS_clone, "0x10000011", EPERM),
        (
            "with bits above those that count",
            libc::SYS_clone,
            "0x110000011",
            EPERM,
        ),
        ("the same by clone3", libc::SYS_clone3, "0 0", ENOSYS),
        ("another's namespace", libc::SYS_setns, "0 0", EPERM),
        ("another process", libc::SYS_ptrace, "16 1", EPERM),
        (
            "another's memory",
            libc::SYS_process_vm_readv,
            "1 0 0 0 0 0",
            EPERM,
        ),
        (
            "another's descriptors",
            libc::SYS_pidfd_getfd,
            "0 0 0",
            EPERM,
        ),
        ("keys", libc::SYS_keyctl, "0 0xfffffffffffffffd 1", EPERM),
        (
            "a new key",
            libc::SYS_add_key,
            "user a b 1 0xfffffffffffffffd",
            EPERM,
        ),
        ("bpf", libc::SYS_bpf, "0 0 0", EPERM),
        (
            "performance",
            libc::SYS_perf_event_open,
            "0 0 0xffffffff 0xffffffff 0",
            EPERM,
        ),
        ("page faults", libc::SYS_userfaultfd, "0", EPERM),
        ("rings", libc::SYS_io_uring_setup, "1 0", EPERM),
        (
            "files by handle",
            libc::SYS_open_by_handle_at,
            "0 0 0",
            EPERM,
        ),
        ("a module", libc::SYS_init_module, "0 0 x", EPERM),
        ("another kernel", libc::SYS_kexec_load, "0 0 0 0", EPERM),
        ("another root", libc::SYS_pivot_root, "/ /", EPERM),
        ("a root below", libc::SYS_chroot, "/tmp", EPERM),
        (
            "a restart",
            libc::SYS_reboot,
            "0xfee1dead 672274793 0 0",
            EPERM,
        ),
        ("the clock", libc::SYS_settimeofday, "0 0", EPERM),
        ("the host's name", libc::SYS_sethostname, "x 1", EPERM),
        ("the kernel's log", libc::SYS_syslog, "3 0 0", EPERM),
        ("what others open", libc::SYS_fanotify_init, "0 0", EPERM),
        ("mounts by descriptor", libc::SYS_fsopen, "tmpfs 0", EPERM),
        (
            "a tree of mounts",
            libc::SYS_open_tree,
            "0xffffffffffffff9c / 1",
            EPERM,
        ),
        (
            "no random addresses",
            libc::SYS_personality,
            "0x40000",
            EPERM,
        ),
        ("the machine beneath", libc::SYS_socket, "40 1 0", EPERM),
        ("raw packets", libc::SYS_socket, "17 3 0", EPERM),
        ("raw sockets", libc::SYS_socket, "2 3 1", EPERM),
        ("input of a terminal", libc::SYS_ioctl, "0 0x5412 0", EPERM),
        (
            "with bits above those that count",
            libc::SYS_ioctl,
            "0 0x100005412 0",
            EPERM,
        ),
        (
            "a disk",
            libc::SYS_mknodat,
            "0xffffffffffffff9c /tmp/disk 0x61b0 0xfe00",
            EPERM,
        ),
        (
            "memory",
            libc::SYS_mknodat,
            "0xffffffffffffff9c /tmp/mem 0x21b0 0x101",
            EPERM,
        ),
        ("what later kernels can", 470, "0", ENOSYS),
        (
            "the numbers of x32",
            libc::SYS_mount | 0x4000_0000,
            "none /tmp tmpfs 0 0",
            ENOSYS,
        ),
    ]
}

#[tokio::test]
async fn no_system_call_reaches_past_a_container() {
    let mut bench = Bench::started().await;
    let archive = archive(&bench, "calls.tar", Vec::new());
    let calls = calls();
    let tried = calls.iter();
    let tried = tried.map(|(_, number, arguments, _)| format!("call {number} {arguments}"));
    // It could make them: this one is answered.
    let lines = format!(
        "call {} 0 0; {}; exec call int80 20",
        libc::SYS_getppid,
        tried.collect::<Vec<_>>().join("; ")
    );
    for (number, user) in [(1, "root"), (2, "www")] {
        let spec = TaskSpec {
            user: Some(user.to_owned()),
            ..line(&format!("t{number}"), &archive, &lines)
        };
        let before: BTreeSet<PathBuf> = bench.runs().into_iter().collect();
        bench.launch(number, spec).await;
        let last = bench.end().await;
        let run = bench.runs().into_iter().find(|run| !before.contains(run));
        let said = fs::read_to_string(run.unwrap().join("stdout")).unwrap();
        let mut answers = said.lines().map(|line| line.parse::<i32>().unwrap());
        assert_eq!(answers.next(), Some(1), "the shell's id");
        for ((what, number, _, expected), answer) in calls.iter().zip(&mut answers) {
            assert_eq!(answer, *expected, "{user} gets at {what} by call {number}");
        }
        // A program of 32 bits ends at its first call, where there are such.
        let is_ended = cfg!(target_arch = "x86_64");
        let expected = if is_ended {
            TaskState::Failed
        } else {
            TaskState::Finished
        };
        assert_eq!(last.state, expected, "{last:?}");
        assert_eq!(answers.count(), usize::from(!is_ended));
    }
    nothing_is_left(&bench);
    bench.stop().await;
}

#[tokio::test]
async fn a_container_cannot_lift_its_limits_or_see_the_hosts() {
    let mut bench = Bench::started().await;
    let archive = archive(&bench, "cgroups.tar", Vec::new());
    let text = "cd /sys/fs/cgroup; find . -type f | while read f; do \
                  (echo 1 > $f) 2>/dev/null && echo written $f; done; \
                find . -type d | while read d; do mkdir $d/x 2>/dev/null && echo made $d; done; \
                for d in . * ; do test -f $d/cgroup.procs && head -n 1 $d/cgroup.procs; done; \
                find . -name release_agent; \
                cat memory.max memory/memory.limit_in_bytes 2>/dev/null; true";
    let said = said(&mut bench, 1, "root", &archive, text).await;
    let mut lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.pop(), Some("67108864"), "{said}");
    // The first process of each is its own.
    assert!(
        !lines.is_empty() && lines.iter().all(|line| *line == "1"),
        "{said}"
    );
    nothing_is_left(&bench);
    bench.stop().await;
}

#[tokio::test]
async fn a_container_gets_the_processor_time_of_its_task_and_no_more() {
    let mut bench = Bench::started().await;
    let archive = archive(&bench, "cpu.tar", Vec::new());
    let spec = line("t", &archive, "while :; do :; done & while :; do :; done");
    bench.launch(1, spec).await;
    bench.until(TaskState::Running).await;
    let number = |file: &str, name: &str| -> Option<u64> {
        let dirs = cgroups(&bench).into_iter();
        let mut texts = dirs.filter_map(|dir| fs::read_to_string(dir.join(file)).ok());
        texts.find_map(|text| {
            let mut lines = text.lines();
            lines.find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
        })
    };
    let used = || {
        let nanos = number("cpuacct.usage", "").map(Duration::from_nanos);
        nanos.or_else(|| number("cpu.stat", "usage_usec").map(Duration::from_micros))
    };
    let throttled = || number("cpu.stat", "nr_throttled").unwrap();
    let (begun, before, held_back) = (Instant::now(), used().unwrap(), throttled());
    // Two loops want two processors, and are held back when the host has that much to give.
    let is_over = || throttled() >= held_back + 3 && begun.elapsed() > Duration::from_secs(2);
    wait_for(is_over).await;
    let (used, elapsed) = (used().unwrap() - before, begun.elapsed());
    // What it had not used when this began may come on top, for one period on each processor.
    let slack = Duration::from_millis(200);
    assert!(used <= elapsed / 2 + slack, "{used:?} in {elapsed:?}");
    bench.kill("t", 1, Duration::ZERO).await;
    bench.end().await;
    nothing_is_left(&bench);
    bench.stop().await;
}

#[tokio::test]
async fn a_container_sees_nothing_of_the_agent_and_cannot_signal_it() {
    let mut bench = Bench::started().await;
    let archive = archive(&bench, "look.tar", Vec::new());
    let (work, token) = (bench.path().display().to_string(), "the-agents-token");
    fs::write(bench.path().join("token"), token).unwrap();
    let text = format!(
        "env; cat /proc/1/environ | tr '\\0' '\\n'; echo; cat /proc/*/cmdline | grep -c '[s]upervise'; \
         ls {work} 2>&1; grep -rl {token} / --exclude-dir=proc --exclude-dir=sys 2>/dev/null; \
         ls -l /proc/1/fd | grep -c /; (ls /proc/1/fd | wc -l); \
         for p in $(ls /proc); do readlink /proc/$p/root; done | sort -u; \
         for p in $(ls /proc); do readlink /proc/$p/cwd; done | sort -u | grep -v '^/$'; \
         kill -9 -1; kill -9 1; echo alive"
    );
    let text = text
        .replace("tr ", "busybox tr ")
        .replace("sort ", "busybox sort ");
    let said = said(&mut bench, 1, "root", &archive, &text).await;
    let lines: Vec<&str> = said.lines().filter(|line| !line.is_empty()).collect();
    let variables: BTreeSet<&str> = lines.iter().copied().filter(|l| l.contains('=')).collect();
    let names: BTreeSet<&str> = variables
        .iter()
        .filter_map(|v| v.split('=').next())
        .collect();
    let mut expected = BTreeSet::from(["HOME", "PATH", "PROFFER_SANDBOX", "PROFFER_TASK_ID"]);
    expected.insert("SECRET");
    let of_shell = BTreeSet::from(["PWD", "SHLVL", "OLDPWD"]);
    assert_eq!(&names - &of_shell, expected, "{said}");
    let rest: Vec<&str> = lines.into_iter().filter(|l| !l.contains('=')).collect();
    let missing = format!("ls: {work}: No such file or directory");
    // Of descriptors with a path there is /dev/null alone. They are counted in a shell of its own, for the
    // one that is process 1 would have the pipe open for a moment.
    assert_eq!(rest, ["0", &missing, "1", "3", "/", "alive"], "{said}");
    nothing_is_left(&bench);
    bench.stop().await;
}

#[tokio::test]
async fn sockets_of_the_host_that_have_no_file_are_out_of_reach() {
    use std::os::linux::net::SocketAddrExt as _;
    let mut bench = Bench::started().await;
    let archive = archive(&bench, "sockets.tar", Vec::new());
    let name = format!("proffer-test-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind_addr(&address).unwrap();
    let run = |words: &[&str]| {
        let program = bench.path().join("call");
        let output = std::process::Command::new(program).args(words).output();
        let text = String::from_utf8(output.unwrap().stdout).unwrap();
        text.trim().parse::<i32>().unwrap()
    };
    assert_eq!(run(&["abstract", &name]), 0, "the host reaches it");
    // Which version of these rules the kernel has; with the sixth it can confine sockets.
    let create_ruleset = libc::SYS_landlock_create_ruleset.to_string();
    let is_confined = run(&[&create_ruleset, "0", "0", "1"]) >= 6;
    let expected = if is_confined { EPERM } else { 0 };
    let text = format!("call abstract {name}; call abstract {name}-other");
    let said = said(&mut bench, 1, "root", &archive, &text).await;
    assert_eq!(said, format!("{expected}\n{}\n", -libc::ECONNREFUSED));
    bench.stop().await;
}

#[tokio::test]
async fn set_user_id_programs_give_no_rights_inside_or_outside() {
    let mut bench = Bench::started().await;
    let mut tar = Tar::new();
    tar.file("bin/busybox-su", 0o4755, &fs::read("/bin/busybox").unwrap());
    let archive = archive(&bench, "suid.tar", vec![Layer::plain(tar.finish())]);
    let inside = said(
        &mut bench,
        1,
        "www",
        &archive,
        "busybox-su id -u; stat -c %a /bin/busybox-su",
    )
    .await;
    assert_eq!(inside, "33\n755\n");
    let run = bench.run();
    let text = "cp /bin/busybox /mnt/proffer/sandbox/busybox-su; cd /mnt/proffer/sandbox; chmod 4755 busybox-su .; \
                ./busybox-su id -u";
    assert_eq!(said(&mut bench, 2, "root", &archive, text).await, "0\n");
    let others = bench.runs().into_iter().filter(|other| *other != run);
    let left: Vec<PathBuf> = others.map(|run| run.join("sandbox/busybox-su")).collect();
    assert_eq!(fs::metadata(&left[0]).unwrap().mode() & 0o7777, 0o4755);
    // Whoever knows its path cannot reach it.
    fs::set_permissions(bench.path(), Permissions::from_mode(0o755)).unwrap();
    let outside = std::process::Command::new("/bin/busybox")
        .args(["setuidgid", "nobody"])
        .arg(&left[0])
        .args(["id", "-u"])
        .output()
        .unwrap();
    assert!(
        !outside.status.success() && outside.stdout.is_empty(),
        "{outside:?}"
    );
    bench.stop().await;
}

/// A layer with these links.
fn links(links: &[(&str, &str)]) -> Layer {
    let mut tar = Tar::new();
    for (name, target) in links {
        tar.symlink(name, target);
    }
    Layer::plain(tar.finish())
}

#[tokio::test]
async fn an_image_leads_no_mount_and_no_directory_outside() {
    let before = mounts();
    let mut bench = Bench::started().await;
    let victim = bench.path().join("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("file"), "the host's").unwrap();
    let (dir, file) = (victim.display().to_string(), victim.join("file"));
    let file = file.display().to_string();
    let up = format!("../../../../../../{dir}");
    let mut number = 0;
    for (link, target, says) in [
        (
            "proc",
            dir.as_str(),
            "/proc of its image is not a directory",
        ),
        ("dev", &dir, "/dev of its image is not a directory"),
        ("sys", &up, "/sys of its image is not a directory"),
        ("mnt", &dir, ""),
        ("mnt", "/proc/self/root", ""),
        ("mnt", "mnt", ""),
        ("mnt/proffer", &up, ""),
        ("mnt/proffer/sandbox", "/proc", ""),
        ("etc/hosts", &file, ""),
        ("etc/resolv.conf", "/proc/sys/kernel/core_pattern", ""),
        ("etc/hostname", "/proc/self/fd/3", ""),
        ("dev/shm", &dir, ""),
        ("dev/null", &file, ""),
    ] {
        number += 1;
        let archive = archive(
            &bench,
            &format!("{number}.tar"),
            vec![links(&[(link, target)])],
        );
        let text = "echo overwritten > /etc/hosts; echo x > /mnt/proffer/sandbox/file; \
                    echo x > /dev/null; echo x > /dev/shm/file; true";
        bench
            .launch(number, line(&format!("t{number}"), &archive, text))
            .await;
        let last = bench.end().await;
        assert!(last.message.contains(says), "{link} to {target}: {last:?}");
        assert!(
            says.is_empty() || last.state == TaskState::Failed,
            "{last:?}"
        );
        assert_eq!(
            fs::read_to_string(victim.join("file")).unwrap(),
            "the host's"
        );
        assert_eq!(
            fs::read_dir(&victim).unwrap().count(),
            1,
            "{link} to {target}"
        );
    }
    // Where it begins to run: a descriptor of the host's that was open meanwhile would be outside.
    for descriptor in 0..25 {
        number += 1;
        let mut image = busybox();
        let place = format!("/proc/self/fd/{descriptor}");
        image.config = json!({"Cmd": ["/bin/ls", "../../../../tmp"], "WorkingDir": place});
        let file = bench.path().join(format!("fd{descriptor}.tar"));
        fs::write(&file, image.docker_save()).unwrap();
        let spec = in_image(&format!("t{number}"), Command::Image(Vec::new()), &file);
        bench.launch(number, spec).await;
        let last = bench.end().await;
        assert_eq!(last.state, TaskState::Failed, "{place}: {last:?}");
    }
    nothing_is_left(&bench);
    bench.stop().await;
    assert_eq!(mounts(), before);
}

#[tokio::test]
async fn images_of_many_layers_and_files_run_as_the_last_layer_says() {
    let mut bench = Bench::new().await;
    let mut layers = Vec::new();
    for number in 0..124 {
        let mut tar = Tar::new();
        tar.file("layer", 0o644, format!("{number}\n").as_bytes());
        tar.file(&format!("srv/{number}"), 0o644, b"");
        layers.push(Layer::plain(tar.finish()));
    }
    let mut tar = Tar::new();
    tar.file("srv/.wh.7", 0o644, b"");
    tar.file("etc/.wh..wh..opq", 0o644, b"");
    tar.file("etc/passwd", 0o644, b"root:x:0:0:root:/:/bin/sh\n");
    for number in 0..20_000 {
        tar.file(&format!("tmp/{}/{number}", number % 100), 0o644, b"");
    }
    tar.file("tmp/linked", 0o644, b"here\n");
    tar.hard_link("tmp/link", "tmp/linked");
    layers.push(Layer::gzip(tar.finish()));
    let archive = archive(&bench, "many.tar", layers);
    // Not before: this thread is the master's, who has been busy for too long.
    bench.start().await;
    let text = "cat /layer; ls /srv | wc -l; ls /srv | grep -c '^7$'; ls /etc | grep -c group; \
                find /tmp -type f | wc -l; cat /tmp/link";
    let said = said(&mut bench, 1, "0:0", &archive, text).await;
    assert_eq!(said, "123\n123\n0\n0\n20002\nhere\n");
    nothing_is_left(&bench);
    bench.stop().await;
}

#[tokio::test]
async fn what_a_container_wrote_to_its_root_goes_with_it_however_deep_it_is() {
    let mut bench = Bench::started().await;
    bench.keep_ended = Some(Duration::ZERO);
    let archive = archive(&bench, "deep.tar", Vec::new());
    let text = "call nest 1000; cd /mnt/proffer/sandbox; call nest 1000; echo done > said";
    let text = format!("(cd /tmp; {text}); cat /mnt/proffer/sandbox/said");
    assert_eq!(
        said(&mut bench, 1, "root", &archive, &text).await,
        "0\n0\ndone\n"
    );
    let run = bench.run();
    let is_gone = || {
        ["upper", "work", "box"]
            .iter()
            .all(|name| !run.join(name).exists())
    };
    wait_for(is_gone).await;
    assert!(run.join("sandbox/said").exists(), "its sandbox stays");
    bench.stop().await;
    // The next life removes what is over, and does not end of it.
    bench.start().await;
    wait_for(|| {
        fs::read_dir(bench.path().join("work/runs"))
            .unwrap()
            .count()
            == 0
    })
    .await;
    bench.stop().await;
}

/// Processes that make the container of this agent, of whatever kind.
fn makers(bench: &Bench) -> BTreeSet<String> {
    let metadata = fs::metadata(bench.path().join("work")).unwrap();
    let mark = format!(
        "PROFFER_MAKES=/proffer/{:x}-{:x}/",
        metadata.dev(),
        metadata.ino()
    );
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| {
        let environment = fs::read(entry.path().join("environ")).ok()?;
        let is_one = String::from_utf8_lossy(&environment).contains(&mark);
        is_one.then(|| entry.file_name().to_string_lossy().into_owned())
    });
    pids.collect()
}

#[tokio::test]
async fn whoever_makes_a_container_can_be_killed_at_any_moment() {
    let before = mounts();
    let mut bench = Bench::started().await;
    let archive = archive(&bench, "made.tar", Vec::new());
    let mut ends = BTreeSet::new();
    for number in 1..=24_u64 {
        let id = format!("t{number}");
        bench
            .launch(number, line(&id, &archive, "exec sleep 1000"))
            .await;
        wait_for(|| !makers(&bench).is_empty()).await;
        // Each time a little further on, and one of those that there are.
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(number) {
            std::hint::spin_loop();
        }
        let victims = makers(&bench);
        let place = usize::try_from(number).unwrap() % victims.len().max(1);
        let victim = victims.into_iter().nth(place);
        if let Some(victim) = victim {
            // It may have ended just now.
            let _ = std::process::Command::new("kill")
                .args(["-9", &victim])
                .status();
        }
        let mut status = bench.status().await;
        while status.state == TaskState::Starting {
            bench.acknowledge(&status).await;
            status = bench.status().await;
        }
        bench.acknowledge(&status).await;
        if status.state == TaskState::Running {
            bench.kill(&id, number, Duration::ZERO).await;
            bench.end().await;
        }
        ends.insert(status.state.to_string());
        assert_eq!(makers(&bench), BTreeSet::new());
        nothing_is_left(&bench);
    }
    bench.stop().await;
    assert_eq!(mounts(), before);
    assert!(
        ends.contains("failed"),
        "{ends:?}: it was never killed early enough"
    );
}

#[tokio::test]
async fn two_agents_with_one_root_of_control_groups_leave_each_other_alone() {
    let mut one = Bench::started().await;
    let archive = archive(&one, "image.tar", Vec::new());
    one.launch(1, line("t", &archive, "exec sleep 1000")).await;
    one.until(TaskState::Running).await;
    let pid = one.pid().to_string();
    // Starts, ends what is left of others, and ends.
    let mut other = Bench::started().await;
    other
        .launch(1, line("t", &archive, "exec sleep 1000"))
        .await;
    other.until(TaskState::Running).await;
    let others = other.pid().to_string();
    other.stop().await;
    one.stop().await;
    other.start().await;
    one.start().await;
    assert!(is_alive(&pid) && is_alive(&others));
    for bench in [&mut one, &mut other] {
        bench.kill("t", 1, Duration::ZERO).await;
        assert_eq!(bench.end().await.state, TaskState::Killed);
        nothing_is_left(bench);
        assert_eq!(output(bench, "stderr"), "");
        bench.stop().await;
    }
}
