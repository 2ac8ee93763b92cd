//! What a task is given: its sandbox, its environment, the user that it runs as; written down for the supervisor.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, User};
use proffer_model::{Command, ExecutorSpec, Problem, Secret, TaskSpec, code};

use crate::host;
use crate::limits::OUTPUT_BYTES_MAX;
use crate::mesos;
use crate::supervisor::protocol::{self, Launch};

/// The variable that holds the sandbox, absolute. No two runs have the same, so it also marks a task's processes.
pub(crate) const SANDBOX_VARIABLE: &str = "PROFFER_SANDBOX";
/// The variable that holds the task's id.
pub(crate) const TASK_VARIABLE: &str = "PROFFER_TASK_ID";
/// `PATH` of a task that brings none.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A user to run tasks as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskUser {
    uid: u32,
    gid: u32,
}

impl TaskUser {
    /// The user of this name; nothing when it is the agent's own. The error is for people.
    pub(crate) fn find(name: &str) -> Result<Option<Self>, String> {
        let user = match User::from_name(name) {
            Ok(Some(user)) => user,
            Ok(None) => return Err(format!("there is no user {name:?} on this host")),
            Err(error) => return Err(format!("user {name:?} cannot be looked up: {error}")),
        };
        let own = Uid::effective();
        if user.uid == own {
            return Ok(None);
        }
        if !own.is_root() {
            return Err(format!(
                "the agent does not run as root, so no task can run as {name:?}; switch_user = false lets all run as the \
                 agent's own user"
            ));
        }
        Ok(Some(Self {
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
        }))
    }

    /// User and group.
    pub(crate) fn ids(self) -> (u32, u32) {
        (self.uid, self.gid)
    }

    /// Whether this user can pass through the directory and all above it, by their permissions; the error is for people.
    /// The path is absolute and without links.
    pub(super) fn check_reach(self, dir: &Path) -> Result<(), String> {
        for dir in dir.ancestors() {
            let metadata =
                fs::metadata(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
            let bit = match (metadata.uid() == self.uid, metadata.gid() == self.gid) {
                (true, _) => 0o100,
                (false, true) => 0o010,
                (false, false) => 0o001,
            };
            if metadata.mode() & bit == 0 {
                let (dir, uid) = (dir.display(), self.uid);
                return Err(format!(
                    "user {uid} cannot reach its directory: it may not pass through {dir} \
                     (chmod o+x {dir}, or another work_dir, lets it)"
                ));
            }
        }
        Ok(())
    }
}

/// What all tasks of this agent share.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// The program that supervises.
    pub(crate) supervisor: PathBuf,
    /// The program that makes containers.
    pub(crate) contain: PathBuf,
    /// The program that fetches.
    pub(crate) fetch: PathBuf,
    /// Last on the `PATH` of tasks: the folder of the running binary.
    folder: Option<String>,
    /// The user of tasks that name none.
    pub(crate) user: Option<TaskUser>,
    /// Whether tasks run as the users that they name.
    pub(crate) switches_user: bool,
    /// Files that a task may have open unless it asks for more; absent: without a limit.
    pub(crate) open_files: Option<u64>,
}

impl Programs {
    /// `supervisor`, when absent, is `proffer-supervise` beside this program if that is there (it needs a tenth of the
    /// memory), else this program; so it is with what makes containers and what fetches, which are beside the supervisor. Errors: `config.invalid`, `file.failed`.
    pub(crate) fn new(
        supervisor: Option<PathBuf>,
        user: Option<&str>,
        switches_user: bool,
    ) -> Result<Self, Problem> {
        let own = std::env::current_exe().map_err(|error| {
            let message = format!("this program cannot be found: {error}");
            Problem::new(code::FILE_FAILED, message)
        })?;
        let folder = own.parent().and_then(Path::to_str).map(str::to_owned);
        let small = own.with_file_name("proffer-supervise");
        let default = if small.is_file() { &small } else { &own };
        let supervisor = supervisor.unwrap_or_else(|| default.clone());
        if !supervisor.is_file() {
            let message = format!("there is no program {}", supervisor.display());
            return Err(Problem::new(code::CONFIG_INVALID, message)
                .field("supervisor_program")
                .hint("give the path of proffer or of proffer-supervise"));
        }
        let user = user.map(TaskUser::find).transpose().map_err(|message| {
            Problem::new(code::CONFIG_INVALID, message)
                .field("task_user")
                .hint("name a user of this host, and run the agent as root")
        })?;
        let beside = |name: &str| {
            let small = supervisor.with_file_name(name);
            if small.is_file() { small } else { own.clone() }
        };
        Ok(Self {
            contain: beside("proffer-contain"),
            fetch: beside("proffer-fetch"),
            supervisor,
            folder: folder.filter(|folder| !folder.contains(':')),
            user: user.flatten(),
            switches_user,
            open_files: *host::OPEN_FILES_BEFORE,
        })
    }

    /// Whether tasks that name no user run as root.
    pub(crate) fn run_as_root(&self) -> bool {
        self.user.is_none() && Uid::effective().is_root()
    }

    /// Whether tasks that name no user can reach their sandboxes beneath this directory. Error: `config.invalid`.
    pub(crate) fn check_reach(&self, runs_dir: &Path) -> Result<(), Problem> {
        let reach = self.user.map_or(Ok(()), |user| user.check_reach(runs_dir));
        reach.map_err(|message| {
            Problem::new(code::CONFIG_INVALID, message)
                .field("task_user")
                .hint("let the user pass through, or choose another directory with --work-dir")
        })
    }

    /// The user that a task or executor names, if that counts on this agent.
    pub(super) fn named<'a>(&self, name: Option<&'a str>) -> Option<&'a str> {
        name.filter(|_| self.switches_user)
    }

    /// The user of a task or executor; nothing when it is the agent's own.
    fn user(&self, name: Option<&str>) -> Result<Option<TaskUser>, String> {
        let Some(name) = self.named(name) else {
            return Ok(self.user);
        };
        let user = TaskUser::find(name)?;
        // The agent's own is root, or there could be no other. An operator who chose another does not want that.
        if user.is_none() && self.user.is_some() {
            let text = "no task runs as root on this agent, because it has a task_user; switch_user = false lets all \
                        run as that";
            return Err(text.to_owned());
        }
        Ok(user)
    }

    /// Makes the sandbox before it is prepared, for what is fetched. The error is for people.
    pub(super) fn make_sandbox(&self, dir: &Path, user: Option<&str>) -> Result<(), String> {
        let owner = self.user(user)?.map(TaskUser::ids);
        let made = make_sandbox(&dir.join(protocol::SANDBOX), owner);
        made.map_err(|error| format!("its sandbox: {error}"))
    }

    /// Makes the sandbox and writes the file `launch`: from then on a supervisor may start it. The error is for people
    /// and names no value of the environment.
    pub(super) fn prepare(&self, dir: &Path, spec: &TaskSpec) -> Result<(), String> {
        let mut environment = self.environment(&dir.join(protocol::SANDBOX), &spec.environment);
        environment.insert(TASK_VARIABLE.to_owned(), spec.id.to_string());
        self.keep(dir, spec.user.as_deref(), &spec.command, environment)
    }

    /// The same for an executor, which finds its agent by `found`, in its environment.
    pub(super) fn prepare_executor(
        &self,
        dir: &Path,
        spec: &ExecutorSpec,
        found: Vec<(String, String)>,
    ) -> Result<(), String> {
        let mut environment = self.environment(&dir.join(protocol::SANDBOX), &spec.environment);
        environment.extend(found);
        self.keep(dir, spec.user.as_deref(), &spec.command, environment)
    }

    fn keep(
        &self,
        dir: &Path,
        user: Option<&str>,
        command: &Command,
        environment: BTreeMap<String, String>,
    ) -> Result<(), String> {
        let user = self.user(user)?;
        user.map_or(Ok(()), |user| user.check_reach(dir))?;
        let launch = Launch {
            arguments: match command {
                Command::Shell(line) => ["/bin/sh", "-c", line].map(str::to_owned).to_vec(),
                Command::Exec(arguments) | Command::Named { arguments, .. } => arguments.clone(),
                Command::Image(_) => return Err("the task has no image".to_owned()),
                Command::Data(_) => return Err("only its executor knows what to do".to_owned()),
            },
            program: match command {
                Command::Named { program, .. } => Some(program.clone()),
                _ => None,
            },
            environment: environment.into_iter().collect(),
            user: user.map(|user| (user.uid, user.gid)),
            output_bytes_max: OUTPUT_BYTES_MAX,
            open_files: self.open_files,
            container: None,
        };
        keep_launch(dir, &launch, launch.user)
    }

    /// The environment: what the spec says, and what Proffer adds to every one.
    fn environment(
        &self,
        sandbox: &Path,
        given: &BTreeMap<String, Secret>,
    ) -> BTreeMap<String, String> {
        let sandbox = sandbox.display().to_string();
        let mut environment = BTreeMap::from([
            ("PATH".to_owned(), PATH.to_owned()),
            ("HOME".to_owned(), sandbox.clone()),
        ]);
        environment.extend(
            given
                .iter()
                .map(|(name, value)| (name.clone(), value.expose().to_owned())),
        );
        if let (Some(path), Some(folder)) = (environment.get_mut("PATH"), &self.folder) {
            path.push(':');
            path.push_str(folder);
        }
        mesos::complete(&mut environment, &sandbox);
        environment.insert(SANDBOX_VARIABLE.to_owned(), sandbox);
        environment
    }
}

/// Makes the sandbox, of this user, and writes the file `launch`. The error is for people.
pub(crate) fn keep_launch(
    dir: &Path,
    launch: &Launch,
    owner: Option<(u32, u32)>,
) -> Result<(), String> {
    let bytes = launch
        .encode()
        .ok_or("its command or environment holds a zero byte, which no program can be given")?;
    make_sandbox(&dir.join(protocol::SANDBOX), owner)
        .map_err(|error| format!("its sandbox: {error}"))?;
    write(dir, &bytes).map_err(|error| format!("its launch file: {error}"))
}

/// Makes the sandbox, of this user; that it is there is as good.
pub(crate) fn make_sandbox(sandbox: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(sandbox) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    if let Some((uid, gid)) = owner {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        nix::unistd::chown(sandbox, Some(uid), Some(gid))?;
    }
    Ok(())
}

/// By a rename, so that a supervisor of an earlier attempt reads all of it or nothing.
fn write(dir: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = dir.join(format!("{}.new", protocol::LAUNCH));
    let mut options = File::options();
    let mut file = options
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&fresh)?;
    file.write_all(bytes)?;
    fs::rename(&fresh, dir.join(protocol::LAUNCH))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proffer_model::{Resources, TaskId};

    use super::*;

    fn spec(environment: &[(&str, &str)]) -> TaskSpec {
        TaskSpec {
            id: TaskId::new("web.1").unwrap(),
            name: String::new(),
            resources: Resources::new(),
            command: Command::Shell("true".to_owned()),
            environment: environment
                .iter()
                .map(|(name, value)| ((*name).to_owned(), Secret::new(*value)))
                .collect(),
            user: None,
            labels: BTreeMap::new(),
            ports: Vec::new(),
            checks: Vec::new(),
            kill_grace: Duration::ZERO,
            container: None,
            executor: None,
            volumes: Vec::new(),
            completion: None,
            fetch: Vec::new(),
            discovery: None,
        }
    }

    fn programs() -> Programs {
        Programs {
            supervisor: PathBuf::from("/bin/true"),
            contain: PathBuf::from("/bin/true"),
            fetch: PathBuf::from("/bin/true"),
            folder: Some("/opt/proffer".to_owned()),
            user: None,
            switches_user: true,
            open_files: None,
        }
    }

    #[test]
    fn a_task_gets_what_it_asked_for_and_where_it_is() {
        let environment = programs().environment(
            Path::new("/w/runs/1/sandbox"),
            &spec(&[("A", "b"), ("PATH", "/x"), ("PROFFER_SANDBOX", "/etc")]).environment,
        );
        let expected = [
            ("A", "b"),
            ("HOME", "/w/runs/1/sandbox"),
            ("PATH", "/x:/opt/proffer"),
            ("PROFFER_SANDBOX", "/w/runs/1/sandbox"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(environment, BTreeMap::from(expected));
    }

    #[test]
    fn what_cannot_be_prepared_is_said_without_secrets() {
        let dir = tempfile::tempdir().unwrap();
        let message = programs()
            .prepare(dir.path(), &spec(&[("A", "hush\0")]))
            .unwrap_err();
        assert!(
            message.contains("zero byte") && !message.contains("hush"),
            "{message}"
        );
        let stranger = TaskSpec {
            user: Some("no-such-user".to_owned()),
            ..spec(&[])
        };
        let message = programs().prepare(dir.path(), &stranger).unwrap_err();
        assert!(message.contains("no user"), "{message}");
        assert!(!dir.path().join("launch").exists());
    }
}
