//! The supervisor as a real process with real tasks: how it starts them, signals them, keeps their output, and leaves
//! word how they ended.
#![expect(
    clippy::unwrap_used,
    reason = "clippy.toml lets tests do this, but does not count their helper functions as tests"
)]

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proffer_agent::supervisor::protocol::{Launch, kill_line};

/// A run directory and the supervisor that was started on it.
struct Run {
    /// Removed at the end.
    _dir: tempfile::TempDir,
    path: PathBuf,
    supervisor: Child,
    control: Option<BufReader<UnixStream>>,
}

fn shell(line: &str) -> Launch {
    Launch {
        arguments: ["/bin/sh", "-c", line].map(str::to_owned).to_vec(),
        program: None,
        environment: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        user: None,
        output_bytes_max: 1024 * 1024,
        open_files: Some(100),
        container: None,
    }
}

fn spawn(path: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_proffer-supervise"))
        .args(["supervise", "--run-dir"])
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn start(launch: &Launch) -> Run {
    let dir = tempfile::tempdir().unwrap();
    // Longer than a socket's address may be.
    let path = dir.path().join("d".repeat(120));
    fs::create_dir_all(path.join("sandbox")).unwrap();
    fs::write(path.join("launch"), launch.encode().unwrap()).unwrap();
    let mut supervisor = spawn(&path);
    let mut said = String::new();
    let mut stdout = BufReader::new(supervisor.stdout.take().unwrap());
    stdout.read_to_string(&mut said).unwrap();
    let mut run = Run {
        _dir: dir,
        path,
        supervisor,
        control: None,
    };
    if said == "ready\n" {
        run.connect();
    }
    run
}

impl Run {
    fn connect(&mut self) {
        let dir = File::open(&self.path).unwrap();
        let address = format!("/proc/self/fd/{}/control", dir.as_raw_fd());
        // Refused when the task has ended already.
        if let Ok(stream) = UnixStream::connect(address) {
            stream
                .set_read_timeout(Some(Duration::from_secs(60)))
                .unwrap();
            self.control = Some(BufReader::new(stream));
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.control.as_mut().unwrap().read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn pid(&mut self) -> u32 {
        self.line()
            .strip_prefix("started ")
            .unwrap()
            .parse()
            .unwrap()
    }

    fn kill(&mut self, signal: i32) {
        let stream = self.control.as_mut().unwrap().get_mut();
        stream.write_all(kill_line(signal).as_bytes()).unwrap();
    }

    /// Waits for the supervisor and answers the file `exit`.
    fn exit(&mut self) -> String {
        assert!(self.supervisor.wait().unwrap().success());
        self.read("exit")
    }

    fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path.join(name)).unwrap()).into_owned()
    }

    /// Waits until the task has written this line to its output.
    fn wait_for(&self, line: &str) {
        let begun = std::time::Instant::now();
        while !self.read("stdout").lines().any(|l| l == line) {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "no line {line:?}"
            );
            std::thread::yield_now();
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if self.control.is_some() && self.supervisor.try_wait().unwrap().is_none() {
            self.kill(9);
            let _ = self.supervisor.wait();
        }
    }
}

fn is_alive(pid: &str) -> bool {
    Path::new("/proc").join(pid.trim()).is_dir()
}

#[test]
fn how_a_task_ends_is_left_in_a_file() {
    for (line, word) in [
        ("exit 0", "exited code 0\n"),
        ("exit 42", "exited code 42\n"),
        ("kill -9 $$", "exited signal 9\n"),
        ("kill -15 $$", "exited signal 15\n"),
    ] {
        assert_eq!(start(&shell(line)).exit(), word, "{line}");
    }
}

#[test]
fn a_program_that_is_not_there_is_said_so() {
    let launch = Launch {
        arguments: vec!["no-such-program".to_owned()],
        ..shell("")
    };
    let word = start(&launch).exit();
    assert!(
        word.starts_with("failed no-such-program: No such file"),
        "{word}"
    );
}

#[test]
fn who_listens_hears_start_and_end() {
    let mut run = start(&shell("echo up; read line < /dev/null; sleep 1000"));
    let pid = run.pid();
    assert!(run.read("pid").contains(&format!("task {pid} ")));
    run.kill(15);
    assert_eq!(run.line(), "exited signal 15");
    assert_eq!(run.exit(), "exited signal 15\n");
}

#[test]
fn sigkill_ends_a_task_that_ignores_sigterm_and_all_that_it_has_left() {
    let line = "trap '' TERM; setsid sh -c 'trap \"\" TERM; sleep 1000 & echo $! > grandchild'; \
                echo up; while :; do sleep 1000; done";
    let mut run = start(&shell(line));
    run.pid();
    run.wait_for("up");
    let grandchild = run.read("sandbox/grandchild");
    run.kill(15);
    assert!(is_alive(&grandchild));
    run.kill(9);
    assert_eq!(run.exit(), "exited signal 9\n");
    assert!(
        !is_alive(&grandchild),
        "the double-forked grandchild lives on"
    );
}

#[test]
fn a_supervisor_outlives_signals() {
    let mut run = start(&shell("echo up; sleep 1000"));
    run.pid();
    let supervisor = Pid::from_raw(i32::try_from(run.supervisor.id()).unwrap());
    for signal in ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"] {
        kill(supervisor, signal.parse::<Signal>().unwrap()).unwrap();
    }
    run.kill(9);
    assert_eq!(run.exit(), "exited signal 9\n");
}

#[test]
fn a_host_that_goes_down_takes_tasks_along_and_no_word_is_left() {
    // Even one that ends as if it had done its work.
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("sandbox")).unwrap();
    let launch = shell("trap 'echo told; exit 0' TERM; echo up; while :; do sleep 0.1; done");
    fs::write(dir.path().join("launch"), launch.encode().unwrap()).unwrap();
    // The shell is process 1 of a host of its own.
    let host = "\"$0\" supervise --run-dir \"$1\" & supervisor=$!; \
                until grep -q up \"$1/stdout\"; do sleep 0.1; done; \
                kill -TERM $supervisor; wait $supervisor";
    let status = Command::new("timeout")
        .args(["60", "unshare"])
        .args(["--pid", "--fork", "--mount-proc", "--kill-child"])
        .args(["/bin/sh", "-c", host])
        .arg(env!("CARGO_BIN_EXE_proffer-supervise"))
        .arg(dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(status.unwrap().success());
    let stdout = fs::read_to_string(dir.path().join("stdout")).unwrap();
    assert_eq!(stdout, "up\ntold\n");
    assert!(!dir.path().join("exit").exists());
}

#[test]
fn a_task_that_ends_takes_its_children_along() {
    let mut run = start(&shell("setsid sleep 1000 & echo $!; exit 3"));
    assert_eq!(run.exit(), "exited code 3\n");
    assert!(!is_alive(&run.read("stdout")));
}

#[test]
fn the_task_gets_a_clean_house() {
    let line = "env | sort; umask; pwd; grep -E 'NoNewPrivs|SigBlk|SigIgn' /proc/self/status; \
                ls /proc/self/fd | tr '\\n' ' '; ps -o pgid= -p $$ | tr -d ' '; echo $$; \
                ulimit -Sn";
    let mut launch = shell(line);
    launch
        .environment
        .push(("SECRET".to_owned(), "a b=c".to_owned()));
    let mut run = start(&launch);
    assert_eq!(run.exit(), "exited code 0\n");
    let out = run.read("stdout");
    let lines: Vec<&str> = out.lines().filter(|l| !l.starts_with("_=")).collect();
    let sandbox = run.path.join("sandbox");
    assert_eq!(
        lines[..4],
        [
            "PATH=/usr/bin:/bin",
            &format!("PWD={}", sandbox.display()),
            "SECRET=a b=c",
            "0022"
        ],
        "{out}"
    );
    assert_eq!(lines[4], sandbox.to_str().unwrap());
    assert_eq!(lines[5], "SigBlk:\t0000000000000000");
    // Signals 32 and 33 are the C library's own, and cannot be set back through it.
    let ignored = u64::from_str_radix(lines[6].trim_start_matches("SigIgn:\t"), 16).unwrap();
    assert_eq!(ignored & 0x7fff_ffff, 0, "{out}");
    assert_eq!(lines[7], "NoNewPrivs:\t1");
    let (descriptors, group) = lines[8].rsplit_once(' ').unwrap();
    assert_eq!(descriptors, "0 1 2 3", "3 is the directory that is listed");
    assert_eq!(group, lines[9], "it leads its process group");
    assert_eq!(lines[10], "100", "open files");
}

#[test]
fn output_is_put_aside_at_its_limit_and_nothing_is_lost_before() {
    let launch = Launch {
        output_bytes_max: 1000,
        ..shell(
            "i=0; while [ $i -lt 150 ]; do printf 'line %05d' $i; i=$((i+1)); done; echo err >&2",
        )
    };
    let mut run = start(&launch);
    assert_eq!(run.exit(), "exited code 0\n");
    let (old, new) = (run.read("stdout.1"), run.read("stdout"));
    assert_eq!((old.len(), new.len()), (1000, 500));
    assert!(format!("{old}{new}").ends_with("line 00148line 00149"));
    assert_eq!(run.read("stderr"), "err\n");
}

#[test]
fn output_that_cannot_be_written_is_dropped_counted_and_holds_nothing_up() {
    let line =
        "mkdir ../stdout.1 && touch ../stdout.1/x; head -c 300000 /dev/zero; echo done > ended";
    let launch = Launch {
        output_bytes_max: 1000,
        ..shell(line)
    };
    let mut run = start(&launch);
    assert_eq!(run.exit(), "exited code 0\ndropped stdout 299000\n");
    assert_eq!(run.read("sandbox/ended"), "done\n");
}

#[test]
fn a_task_that_reads_its_own_output_does_not_hold_its_supervisor_up() {
    // Takes out of the pipe what the supervisor was told to be there.
    let line = "for i in 1 2 3 4; do cat /dev/stdout > /dev/null & done; \
                (while :; do echo x; done) & sleep 1000";
    let mut run = start(&shell(line));
    run.pid();
    for _ in 0..200 {
        run.control = None;
        run.connect();
        run.pid();
    }
    run.kill(9);
    assert_eq!(run.exit(), "exited signal 9\n");
}

#[test]
fn a_flood_of_output_stays_within_its_limit() {
    let launch = Launch {
        output_bytes_max: 1_000_000,
        ..shell("head -c 300000000 /dev/zero; exit 4")
    };
    let mut run = start(&launch);
    assert_eq!(run.exit(), "exited code 4\n");
    for name in ["stdout", "stdout.1"] {
        assert!(fs::metadata(run.path.join(name)).unwrap().len() <= 1_000_000);
    }
    assert!(!run.path.join("stdout.2").exists());
}

#[test]
fn protection_against_the_memory_killer_is_not_inherited() {
    let is_allowed = |score: &str| {
        let line = format!("echo {score} > /proc/self/oom_score_adj");
        Command::new("/bin/sh")
            .args(["-c", &line])
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .success()
    };
    // Only root may protect anything.
    if !is_allowed("-500") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("sandbox")).unwrap();
    let launch = shell("cat /proc/self/oom_score_adj /proc/$PPID/oom_score_adj");
    fs::write(dir.path().join("launch"), launch.encode().unwrap()).unwrap();
    let line = "echo -500 > /proc/self/oom_score_adj; exec \"$0\" supervise --run-dir \"$1\"";
    let supervisor = Command::new("/bin/sh")
        .args(["-c", line, env!("CARGO_BIN_EXE_proffer-supervise")])
        .arg(dir.path())
        .stdout(Stdio::null())
        .status();
    assert!(supervisor.unwrap().success());
    assert_eq!(
        fs::read_to_string(dir.path().join("stdout")).unwrap(),
        "0\n-500\n"
    );
}

#[test]
fn a_run_is_started_once_however_many_supervisors_try() {
    let mut run = start(&shell("echo up; sleep 1000"));
    run.pid();
    for _ in 0..3 {
        let mut second = spawn(&run.path);
        assert_eq!(second.wait().unwrap().code(), Some(3));
    }
    run.kill(9);
    run.exit();
    // Nor after it has ended.
    assert_eq!(spawn(&run.path).wait().unwrap().code(), Some(3));
    fs::remove_file(run.path.join("exit")).unwrap();
    assert_eq!(spawn(&run.path).wait().unwrap().code(), Some(3));
    assert_eq!(run.read("stdout"), "up\n");
}

#[test]
fn a_revoked_run_is_not_started() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("sandbox")).unwrap();
    assert_eq!(spawn(dir.path()).wait().unwrap().code(), Some(3));
    assert!(!dir.path().join("pid").exists());
    fs::write(dir.path().join("launch"), b"rubbish").unwrap();
    assert_eq!(spawn(dir.path()).wait().unwrap().code(), Some(3));
    let word = fs::read_to_string(dir.path().join("exit")).unwrap();
    assert!(word.starts_with("failed "), "{word}");
}

#[test]
fn it_lives_through_signals_and_garbage_and_its_task_dies_with_it() {
    let mut run = start(&shell("echo up; exec sleep 1000"));
    let pid = run.pid();
    let supervisor = run.supervisor.id();
    for signal in ["TERM", "HUP", "INT", "USR1"] {
        let status = Command::new("kill")
            .args(["-s", signal, &supervisor.to_string()])
            .status();
        assert!(status.unwrap().success());
    }
    let stream = run.control.as_mut().unwrap().get_mut();
    stream
        .write_all(b"\xff\xfe\nkill\nkill x\nkill 99\n\n")
        .unwrap();
    // Too long a line ends that connection only.
    let mut long = run.control.take().unwrap();
    let _ = long.get_mut().write_all(&[b'x'; 4096]);
    let mut end = String::new();
    let _ = long.read_line(&mut end);
    run.control = None;
    run.connect();
    assert_eq!(run.pid(), pid);
    let status = Command::new("kill")
        .args(["-9", &supervisor.to_string()])
        .status();
    assert!(status.unwrap().success());
    run.supervisor.wait().unwrap();
    assert_eq!(
        run.line(),
        "",
        "the end of its connection tells of its death"
    );
    let begun = std::time::Instant::now();
    while is_alive(&pid.to_string()) {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "the task outlives its supervisor"
        );
        std::thread::yield_now();
    }
    run.control = None;
}

#[test]
fn it_needs_little_memory_of_its_own() {
    let mut run = start(&shell("echo up; sleep 1000"));
    run.pid();
    run.wait_for("up");
    let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", run.supervisor.id())).unwrap();
    // Its program's own pages are there once for all supervisors, and count as private while there is only one.
    let own = rollup
        .lines()
        .find(|line| line.starts_with("Private_Dirty:"))
        .and_then(|line| line.split_whitespace().nth(1));
    let own_kib: u64 = own.expect("a line of it").parse().unwrap();
    assert!((1..=512).contains(&own_kib), "{own_kib} KiB:\n{rollup}");
}
