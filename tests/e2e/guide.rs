//! The programs of `docs/write-a-framework.md`, in both languages, run as they stand there, and the example frameworks that are started twice.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Cluster, eventually};

const AGENTS: [&str; 3] = ["one", "two", "three"];

fn root() -> PathBuf {
    let cli = Path::new(env!("CARGO_MANIFEST_DIR"));
    cli.parent().expect("cli has a parent").to_path_buf()
}

/// The code blocks of the page in this language.
fn blocks(language: &str) -> Vec<String> {
    let page = root().join("docs/write-a-framework.md");
    let page = fs::read_to_string(page).expect("the page is there");
    let begin = format!("```{language}\n");
    let pieces = page.split(&begin).skip(1);
    pieces
        .map(|piece| piece.split("\n```").next().unwrap_or_default().to_owned() + "\n")
        .collect()
}

/// A cluster with three agents, and programs that are started in it.
struct Stage {
    cluster: Cluster,
    programs: Vec<(String, Child)>,
}

impl Stage {
    fn set() -> Self {
        let mut cluster = Cluster::new();
        cluster.start_master();
        let link = cluster.masters(1);
        for (number, agent) in (0..).zip(AGENTS) {
            cluster.start_agent(agent, number, &link);
        }
        eventually("all agents are connected", || {
            let output = cluster.run(&["agents", "-o", "json"]);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            (text.matches("\"connected\"").count() == AGENTS.len()).then_some(())
        });
        Self {
            cluster,
            programs: Vec::new(),
        }
    }

    fn start_agent_with_disk(&mut self) {
        let (master, listen) = (self.cluster.address(1), self.cluster.address(13));
        let work_dir = self.cluster.path("disks").display().to_string();
        let fixed = ["agent", "--master", &master, "--listen", &listen];
        let resources = "cpus:1;mem:256;disk:128";
        let own = ["--resources", resources, "--work-dir", &work_dir];
        self.cluster
            .start("disks", &[&fixed[..], &own[..]].concat());
    }

    /// Starts a program; what it says goes to `<name>.log`.
    fn start(&mut self, name: &str, program: &Path, arguments: &[&str], line: &str) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.cluster.path(&format!("{name}.log")))
            .expect("a log");
        let child = Command::new(program)
            .args(arguments)
            .env("PROFFER_TOKEN_FILE", self.cluster.path("token"))
            .env("LINE", line)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("it starts; tests/run prepares it");
        self.programs.push((name.to_owned(), child));
    }

    fn python(&mut self, name: &str, script: &Path, arguments: &[&str], line: &str) {
        let script = script.display().to_string();
        let arguments = [&[script.as_str()], arguments].concat();
        let python = root().join("target/python/bin/python");
        self.start(name, &python, &arguments, line);
    }

    /// An example in Rust; its first argument is the master.
    fn rust(&mut self, name: &str, example: &str, arguments: &[&str], line: &str) {
        let master = self.cluster.masters(0);
        let examples = Path::new(env!("CARGO_BIN_EXE_proffer")).with_file_name("examples");
        let arguments = [&[master.as_str()], arguments].concat();
        self.start(name, &examples.join(example), &arguments, line);
    }

    fn example(&mut self, name: &str, example: &str, arguments: &[&str]) {
        let master = self.cluster.masters(0);
        let script = root().join(format!("frameworks/examples/{example}.py"));
        let arguments = [&["--master", &master], arguments].concat();
        self.python(name, &script, &arguments, "");
    }

    /// A block of the page as a file that names this cluster.
    fn write(&self, number: usize, block: &str) -> PathBuf {
        let path = self.cluster.path(&format!("block-{number}.py"));
        let text = block.replace("127.0.0.1:5050", &self.cluster.masters(0));
        fs::write(&path, text).expect("it can be written");
        path
    }

    fn said(&self, name: &str) -> String {
        self.cluster.log(name)
    }

    fn await_said(&self, name: &str, what: &str) {
        eventually(&format!("{name} says {what}"), || {
            self.said(name).contains(what).then_some(())
        });
    }

    fn kill(&mut self, name: &str) {
        let place = self.programs.iter().position(|(named, _)| named == name);
        let (_, mut child) = self.programs.remove(place.expect("it was started"));
        child.kill().expect("it runs");
        child.wait().expect("it ends");
    }

    /// Waits until a program ends by itself, well.
    fn wait(&mut self, name: &str) {
        let place = self.programs.iter().position(|(named, _)| named == name);
        let (_, mut child) = self.programs.remove(place.expect("it was started"));
        let status = eventually(&format!("{name} ends"), || {
            child.try_wait().expect("it can be waited for")
        });
        assert!(status.success(), "{}", self.said(name));
    }

    /// The lines that tasks have written into this file.
    fn lines(&self, file: &str) -> Vec<String> {
        let text = fs::read_to_string(self.cluster.path(file)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// A line of shell that says in `out` that it was started, and goes on.
    fn line_that_lasts(&self) -> String {
        let out = self.cluster.path("out").display().to_string();
        format!("echo $PROFFER_TASK_ID $$ >> {out}; exec sleep 1000")
    }

    /// The tasks that such lines were started as, with their processes.
    fn starts(&self) -> Vec<(String, Pid)> {
        let lines = self.lines("out");
        let starts = lines.iter().filter_map(|line| {
            let (task, pid) = line.split_once(' ')?;
            Some((task.to_owned(), Pid::from_raw(pid.parse().ok()?)))
        });
        starts.collect()
    }

    fn await_starts(&self, count: usize) -> Vec<(String, Pid)> {
        eventually(&format!("{count} starts"), || {
            Some(self.starts()).filter(|starts| starts.len() >= count)
        })
    }

    fn await_lines(&self, file: &str, count: usize) -> Vec<String> {
        eventually(&format!("{count} lines in {file}"), || {
            Some(self.lines(file)).filter(|lines| lines.len() >= count)
        })
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for (_, child) in &mut self.programs {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn end(process: Pid) {
    kill(process, Signal::SIGKILL).expect("it runs");
}

#[test]
fn the_programs_of_the_guide_do_what_it_says() {
    let mut stage = Stage::set();
    stage.start_agent_with_disk();
    let blocks = blocks("python");
    assert_eq!(blocks.len(), 4, "the page has four programs");
    for (number, block) in blocks.iter().enumerate() {
        let name = format!("block-{number}");
        let script = stage.write(number, block);
        stage.python(&name, &script, &[], "true");
        stage.wait(&name);
    }
    assert!(
        stage.said("block-0").contains("finished"),
        "{}",
        stage.said("block-0")
    );
    assert!(stage.said("block-1").contains("all jobs are done"));
    let made = "reserve done \ncreate done \nlaunch launched \n";
    let undone = "write finished exited with code 0\ndestroy done \nunreserve done \n";
    let said = stage.said("block-3");
    assert!(said.starts_with(made) && said.ends_with(undone), "{said}");
}

/// The programs in Rust, as files from which examples are built: its head and what lints need stand before the code.
#[test]
fn the_rust_programs_of_the_guide_stand_in_its_examples() {
    let blocks = blocks("rust,no_run");
    let examples = ["guide_first", "guide_jobs"];
    assert_eq!(blocks.len(), examples.len());
    for (block, example) in blocks.iter().zip(examples) {
        let path = root().join(format!("frameworks/examples/{example}.rs"));
        let file = fs::read_to_string(path).expect("the example is there");
        let head = file.strip_suffix(block.as_str());
        let head = head.unwrap_or_else(|| panic!("{example} is not what the page shows"));
        let is_head = |line: &str| {
            line.is_empty() || ["//!", "#!["].iter().any(|begin| line.starts_with(begin))
        };
        assert!(head.lines().all(is_head), "{head}");
    }
}

#[test]
fn the_rust_programs_of_the_guide_do_what_it_says() {
    let mut stage = Stage::set();
    for example in ["guide_first", "guide_jobs"] {
        stage.rust(example, example, &[], "true");
        stage.wait(example);
    }
    let said = stage.said("guide_first");
    assert!(said.contains("finished"), "{said}");
    assert!(stage.said("guide_jobs").contains("all jobs are done"));
}

#[test]
fn the_guide_survives_kills_of_master_agent_and_itself_and_runs_each_job_once() {
    assert_each_job_runs_once(|stage, name, line| {
        let script = stage.write(1, &blocks("python")[1]);
        stage.python(name, &script, &[], line);
    });
}

#[test]
fn the_guide_in_rust_does_so_too() {
    assert_each_job_runs_once(|stage, name, line| stage.rust(name, "guide_jobs", &[], line));
}

fn assert_each_job_runs_once(start: impl Fn(&mut Stage, &str, &str)) {
    let mut stage = Stage::set();
    let gate = File::create(stage.cluster.path("gate")).expect("a file");
    gate.lock().expect("a lock");
    let line = "echo $PROFFER_TASK_ID >> DIR/out; flock --shared DIR/gate true";
    let line = line.replace("DIR", &stage.cluster.path("").display().to_string());
    start(&mut stage, "jobs", &line);
    stage.await_lines("out", 5);
    stage.cluster.kill("master");
    stage.kill("jobs");
    stage.cluster.kill("one");
    stage.cluster.start_master();
    let link = stage.cluster.masters(1);
    stage.cluster.start_agent("one", 0, &link);
    start(&mut stage, "again", &line);
    start(&mut stage, "beside", &line);
    drop(gate);
    eventually("one of them says that all is done", || {
        let said = stage.said("again") + &stage.said("beside");
        said.contains("all jobs are done").then_some(())
    });
    let ran = stage.lines("out");
    let distinct: BTreeSet<&String> = ran.iter().collect();
    assert_eq!((ran.len(), distinct.len()), (5, 5), "{ran:?}");
}

#[test]
fn of_two_that_spread_the_other_goes_on_when_the_active_one_is_killed_and_no_copy_starts_twice() {
    assert_the_other_goes_on(|stage, name, line| {
        let arguments = ["--name", "web", "--copies", "3", "--command", line];
        stage.example(name, "spread", &arguments);
    });
}

#[test]
fn of_two_that_spread_in_rust_the_other_goes_on_just_so() {
    assert_the_other_goes_on(|stage, name, line| {
        stage.rust(name, "spread", &["web", "3", line], "");
    });
}

fn assert_the_other_goes_on(start: impl Fn(&mut Stage, &str, &str)) {
    let mut stage = Stage::set();
    let line = stage.line_that_lasts();
    start(&mut stage, "first", &line);
    stage.await_said("first", "active");
    start(&mut stage, "second", &line);
    stage.await_said("second", "standing by");
    let before = stage.await_starts(3);
    stage.kill("first");
    stage.await_said("second", "active");
    // One that ends is started anew, by the one that went on, and only that one.
    stage.await_said("second", &format!("{} running", before[0].0));
    end(before[0].1);
    let after = stage.await_starts(4);
    let (slot, _) = before[0].0.rsplit_once('-').expect("a start's number");
    assert_eq!(after[..3], before[..]);
    assert_eq!(after[3].0, format!("{slot}-2"));
    stage.await_said("second", &format!("{slot}-2 running"));
    assert_eq!(stage.starts().len(), 4, "nothing else was started");
    for (task, pid) in &after[1..] {
        assert!(kill(*pid, None).is_ok(), "{task} runs on");
    }
    let said = stage.said("first") + &stage.said("second");
    assert!(!said.contains("Traceback"), "{said}");
}

#[test]
fn a_daemon_runs_once_on_every_agent_and_is_started_anew_where_it_ends() {
    assert_one_on_each(|stage, line| stage.example("daemon", "daemon", &["--command", line]));
}

#[test]
fn a_daemon_in_rust_does_so_too() {
    assert_one_on_each(|stage, line| stage.rust("daemon", "daemon", &["watch", line], ""));
}

fn assert_one_on_each(start: impl Fn(&mut Stage, &str)) {
    let mut stage = Stage::set();
    let line = stage.line_that_lasts();
    start(&mut stage, &line);
    let ran = stage.await_starts(AGENTS.len());
    let tasks: BTreeSet<&String> = ran.iter().map(|(task, _)| task).collect();
    assert_eq!(tasks.len(), AGENTS.len(), "one on each");
    stage.await_said("daemon", &format!("{} running", ran[0].0));
    end(ran[0].1);
    let again = stage.await_starts(AGENTS.len() + 1);
    assert_eq!(again[AGENTS.len()].0, ran[0].0);
}

#[test]
fn a_gang_waits_for_its_agents_and_ends_when_all_have_finished() {
    assert_all_members(|stage, line| {
        stage.example("gang", "gang", &["--members", "3", "--command", line]);
    });
}

#[test]
fn a_gang_in_rust_does_so_too() {
    assert_all_members(|stage, line| stage.rust("gang", "gang", &["3", line], ""));
}

fn assert_all_members(start: impl Fn(&mut Stage, &str)) {
    let mut stage = Stage::set();
    let out = stage.cluster.path("out").display().to_string();
    let line = format!("echo $RANK of $SIZE >> {out}; exec sleep 0.1");
    start(&mut stage, &line);
    stage.wait("gang");
    let ran: BTreeSet<String> = stage.lines("out").into_iter().collect();
    let all: BTreeSet<String> = (0..3).map(|rank| format!("{rank} of 3")).collect();
    assert_eq!(ran, all);
    assert!(
        stage
            .said("gang")
            .contains("3 of 3 members finished in attempt 1")
    );
}
