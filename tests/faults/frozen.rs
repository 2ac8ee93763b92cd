//! A leading process that stands still, and wakes up after another leads.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal::{SIGCONT, SIGSTOP};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use proffer_server::clock;

use super::referee::{SESSION, contender};
use crate::zookeeper::Ensemble;

/// Where to stand, for the process that [`a_process_that_stands`] is.
const STAND_AT: &str = "PROFFER_TEST_STAND_AT";

#[test]
fn a_leader_that_wakes_up_does_nothing_more() {
    let zookeeper = Ensemble::start(1);
    let url = zookeeper.url("", "/proffer");
    let mut first = Process::stand(&url);
    first.await_line("leads");
    let mut second = Process::stand(&url);
    second.await_line("stands");
    first.signal(SIGSTOP);
    let stopped = Instant::now();
    second.await_line("leads");
    println!(
        "another led {:?} after the leader was stopped",
        stopped.elapsed()
    );
    // Long enough for the first to have missed everything.
    std::thread::park_timeout(SESSION);
    first.signal(SIGCONT);
    first.await_line("lost");
    first.await_line("stands");
    let (first, second) = (first.end(), second.end());
    let ended = first.intervals.iter().map(|(_, until)| *until).max();
    let begun = second.intervals.iter().map(|(from, _)| *from).min();
    let (ended, begun) = (
        ended.expect("the first led"),
        begun.expect("the second led"),
    );
    assert!(
        ended < begun,
        "the first led until {ended}, the second from {begun}"
    );
    println!("nobody led for {:?}", Duration::from_nanos(begun - ended));
    assert_eq!(first.intervals.len(), 1, "{:?}", first.intervals);
}

/// Not a test of its own: the process that the test above starts. Says when it begins to lead, and from when to when its
/// lease held, by a clock that all processes of this host share.
#[test]
fn a_process_that_stands() {
    let Ok(url) = std::env::var(STAND_AT) else {
        return;
    };
    let mut contender = contender(&std::process::id().to_string(), &url);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        loop {
            let mut standing = contender.standing();
            standing
                .wait_for(|standing| !standing.is_empty())
                .await
                .expect("it stands");
            say("stands");
            let elected = contender.elected().await;
            say("leads");
            let from = clock::now();
            let mut until = from;
            loop {
                let now = clock::now();
                if !elected.lease.holds(now) {
                    break;
                }
                until = now;
                tokio::time::sleep(Duration::from_millis(1)).await;
                // What ends this process.
                if std::os::unix::process::parent_id() == 1 {
                    return;
                }
                if until.since(from).as_millis() % 100 < 2 {
                    say(&format!("held {} {}", from.mono_ns, until.mono_ns));
                }
            }
            say(&format!("held {} {}", from.mono_ns, until.mono_ns));
            say("lost");
        }
    });
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // The reader may be gone, at the end.
    let _ = writeln!(out, "\n{line}").and_then(|()| out.flush());
}

struct Process {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    /// From when to when leases were seen to hold, by their beginnings.
    intervals: Vec<(u64, u64)>,
}

impl Process {
    fn stand(url: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("a path"))
            .args([
                "--exact",
                "faults::frozen::a_process_that_stands",
                "--nocapture",
            ])
            .env(STAND_AT, url)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        Self {
            child,
            lines,
            intervals: Vec::new(),
        }
    }

    fn await_line(&mut self, expected: &str) {
        loop {
            let line = self.lines.next().expect("it goes on").expect("a line");
            self.note(&line);
            if line == expected {
                return;
            }
        }
    }

    fn note(&mut self, line: &str) {
        let Some(held) = line.strip_prefix("held ") else {
            return;
        };
        let (from, until) = held.split_once(' ').expect("two numbers");
        let interval: (u64, u64) = (from.parse().expect("ns"), until.parse().expect("ns"));
        match self
            .intervals
            .last_mut()
            .filter(|last| last.0 == interval.0)
        {
            Some(last) => *last = interval,
            None => self.intervals.push(interval),
        }
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"));
        kill(pid, signal).expect("kill");
    }

    /// Kills it, and reads what it said to the end.
    fn end(mut self) -> Self {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
        while let Some(Ok(line)) = self.lines.next() {
            self.note(&line);
        }
        self
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
