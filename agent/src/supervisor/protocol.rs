//! What agent and supervisor say to one another: files in the run directory and lines on a socket.
//!
//! FROZEN: supervisors outlive upgrades of the agent by months, in both directions. Words and fields may be added;
//! readers pass over what they do not know; nothing here is ever changed or removed. The tests hold the bytes.
//!
//! Files: `launch` (agent: what to start; removed to revoke it), `lock` (held by the supervisor while it lives), `pid`
//! (supervisor: the run has been claimed; lines `supervisor PID START` and `task PID START`), `control` (socket), `exit`
//! (supervisor: how it ended; the lines of the socket, and `dropped NAME BYTES` for output that could not be written),
//! `stdout`, `stdout.1`, `stderr`, `stderr.1`, and the directory `sandbox`. Of a container also `upper` and `work` (what it
//! has written), and `box` (empty; its mounts are nobody else's).
//!
//! Socket: on connecting the supervisor says `started PID`; at the end `exited code N`, `exited signal N` or
//! `failed MESSAGE`, and closes. Before `exited` it says `oom COUNT` if the kernel has killed processes of the container
//! because it used more memory than it may. The agent says `kill SIGNAL`. Lines end with `\n` and have at most 1,024 bytes.
//!
//! Whatever makes a container has `PROFFER_MAKES=` and the container's control group in its environment, by which the agent
//! finds it when the supervisor was killed meanwhile. The container itself has not.
//!
//! The supervisor writes `ready\n` to its standard output once it listens, and closes it.

use proffer_model::Exit;

use crate::procfs::ProcessId;

/// What to start.
pub const LAUNCH: &str = "launch";
/// Held while a supervisor lives.
pub const LOCK: &str = "lock";
/// Who supervises, and what.
pub const PID: &str = "pid";
/// How it ended.
pub const EXIT: &str = "exit";
/// The socket.
pub const CONTROL: &str = "control";
/// The task's directory.
pub const SANDBOX: &str = "sandbox";
/// The task's output, newest; the older file has `.1` appended.
pub const STDOUT: &str = "stdout";
/// The task's error output, newest; the older file has `.1` appended.
pub const STDERR: &str = "stderr";
/// The variable of those who make a container; it holds the control group.
pub const MAKER_VARIABLE: &str = "PROFFER_MAKES";
/// Said on standard output when the supervisor listens.
pub const READY: &[u8] = b"ready\n";

/// The first field of the file `launch`.
const LAUNCH_HEAD: &str = "proffer-launch 1";

/// The file `launch`: fields `name=value`, each ended by a zero byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Launch {
    /// `arg`: program and arguments; at least one.
    pub arguments: Vec<String>,
    /// `program`: its file, if the first argument is only what it is called.
    pub program: Option<String>,
    /// `env`: `NAME=value`; the whole environment.
    pub environment: Vec<(String, String)>,
    /// `user`: ids to run as, `UID:GID`; absent: the supervisor's own.
    pub user: Option<(u32, u32)>,
    /// `output-bytes-max`: the size at which an output file is put aside; 0: never.
    pub output_bytes_max: u64,
    /// `open-files`: how many files the task may have open unless it asks for more; absent: as the supervisor.
    pub open_files: Option<u64>,
    /// What else there is to a container; absent: the task is a process of the host.
    pub container: Option<Contained>,
}

/// What else there is to a container. The task's arguments are then `container-arg`, so that a supervisor that knows no
/// containers refuses the file instead of running them on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contained {
    /// `contain`: the program that makes the container, called with `contain start --run-dir DIR`.
    pub program: String,
    /// `group`: the user's further groups.
    pub groups: Vec<u32>,
    /// `directory`: where the task begins, in the container.
    pub directory: String,
    /// `sandbox`: where the task finds its sandbox, in the container; absent: `/mnt/proffer/sandbox`.
    pub sandbox: Option<String>,
    /// `image`: its id, for whoever wants to know whether it is in use.
    pub image: String,
    /// `layer`: the image's layers, directories on the host, the lowest first.
    pub layers: Vec<String>,
    /// `cgroup`: its control group, absolute in each hierarchy.
    pub cgroup: String,
    /// `memory-bytes`: more is not given.
    pub memory_bytes: u64,
    /// `cpu-milli`: its share, in thousandths of a processor.
    pub cpu_milli: u64,
    /// `cpu-limit-milli`: more is not given; 0: whatever is free.
    pub cpu_limit_milli: u64,
    /// `processes-max`: more cannot be started, threads included.
    pub processes_max: u64,
    /// `stop-signal`: what is sent instead of SIGTERM.
    pub stop_signal: Option<i32>,
    /// `mount`: `rw` or `ro`, a space, the place in the container, a line's end, the directory on the host.
    pub mounts: Vec<Mount>,
}

/// A directory of the host in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Whether the task may only read.
    pub is_read_only: bool,
    /// Where in the container, absolute; without control characters.
    pub place: String,
    /// Which directory, absolute.
    pub source: String,
}

impl Mount {
    fn encode(&self) -> String {
        let mode = if self.is_read_only { "ro" } else { "rw" };
        format!("mount={mode} {}\n{}", self.place, self.source)
    }

    fn decode(value: &str) -> Option<Self> {
        let (place, source) = value.split_once('\n')?;
        let (mode, place) = place.split_once(' ')?;
        Some(Self {
            is_read_only: match mode {
                "ro" => true,
                "rw" => false,
                _ => return None,
            },
            place: place.to_owned(),
            source: source.to_owned(),
        })
    }
}

impl Contained {
    fn encode(&self, fields: &mut Vec<String>) {
        fields.push(format!("contain={}", self.program));
        fields.extend(self.groups.iter().map(|group| format!("group={group}")));
        fields.push(format!("directory={}", self.directory));
        fields.extend(self.sandbox.iter().map(|path| format!("sandbox={path}")));
        fields.push(format!("image={}", self.image));
        fields.extend(self.layers.iter().map(|layer| format!("layer={layer}")));
        fields.push(format!("cgroup={}", self.cgroup));
        fields.push(format!("memory-bytes={}", self.memory_bytes));
        fields.push(format!("cpu-milli={}", self.cpu_milli));
        fields.push(format!("cpu-limit-milli={}", self.cpu_limit_milli));
        fields.push(format!("processes-max={}", self.processes_max));
        fields.extend(
            self.stop_signal
                .map(|signal| format!("stop-signal={signal}")),
        );
        fields.extend(self.mounts.iter().map(Mount::encode));
    }

    /// Takes a field in; nothing if its value is damaged. Unknown names are passed over.
    fn decode(&mut self, name: &str, value: &str) -> Option<()> {
        match name {
            "contain" => value.clone_into(&mut self.program),
            "group" => self.groups.push(value.parse().ok()?),
            "directory" => value.clone_into(&mut self.directory),
            "sandbox" => self.sandbox = Some(value.to_owned()),
            "image" => value.clone_into(&mut self.image),
            "layer" => self.layers.push(value.to_owned()),
            "cgroup" => value.clone_into(&mut self.cgroup),
            "memory-bytes" => self.memory_bytes = value.parse().ok()?,
            "cpu-milli" => self.cpu_milli = value.parse().ok()?,
            "cpu-limit-milli" => self.cpu_limit_milli = value.parse().ok()?,
            "processes-max" => self.processes_max = value.parse().ok()?,
            "stop-signal" => self.stop_signal = Some(value.parse().ok()?),
            "mount" => self.mounts.push(Mount::decode(value)?),
            _ => {}
        }
        Some(())
    }
}

impl Launch {
    /// Writes the file; nothing if a text holds a zero byte.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut fields = vec![LAUNCH_HEAD.to_owned()];
        let argument = match self.container {
            None => "arg",
            Some(_) => "container-arg",
        };
        let arguments = self.arguments.iter();
        fields.extend(arguments.map(|value| format!("{argument}={value}")));
        fields.extend(self.program.iter().map(|file| format!("program={file}")));
        let environment = self.environment.iter();
        fields.extend(environment.map(|(name, value)| format!("env={name}={value}")));
        fields.extend(self.user.map(|(uid, gid)| format!("user={uid}:{gid}")));
        fields.push(format!("output-bytes-max={}", self.output_bytes_max));
        fields.extend(self.open_files.map(|count| format!("open-files={count}")));
        if let Some(container) = &self.container {
            container.encode(&mut fields);
        }
        if fields.iter().any(|field| field.contains('\0')) {
            return None;
        }
        Some(fields.iter().flat_map(|f| f.bytes().chain([0])).collect())
    }

    /// Reads the file; nothing if it is not one, or not whole.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?.strip_suffix('\0')?;
        let mut fields = text.split('\0');
        if fields.next() != Some(LAUNCH_HEAD) {
            return None;
        }
        let mut launch = Self::default();
        let mut container = Contained::default();
        for field in fields {
            match field.split_once('=')? {
                ("arg" | "container-arg", value) => launch.arguments.push(value.to_owned()),
                ("program", value) => launch.program = Some(value.to_owned()),
                ("env", value) => {
                    let (name, value) = value.split_once('=')?;
                    launch.environment.push((name.to_owned(), value.to_owned()));
                }
                ("user", value) => {
                    let (uid, gid) = value.split_once(':')?;
                    launch.user = Some((uid.parse().ok()?, gid.parse().ok()?));
                }
                ("output-bytes-max", value) => launch.output_bytes_max = value.parse().ok()?,
                ("open-files", value) => launch.open_files = Some(value.parse().ok()?),
                (name, value) => container.decode(name, value)?,
            }
        }
        launch.container = (!container.program.is_empty()).then_some(container);
        (!launch.arguments.is_empty()).then_some(launch)
    }
}

/// A line that the supervisor says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// The task runs as this process.
    Started(u32),
    /// This many processes of the container were killed because it used more memory than it may; `Exited` follows.
    OutOfMemory(u64),
    /// The task has ended.
    Exited(Exit),
    /// The task could not be started.
    Failed(String),
}

impl Said {
    /// The line, with its end.
    pub fn line(&self) -> String {
        match self {
            Self::Started(pid) => format!("started {pid}\n"),
            Self::OutOfMemory(count) => format!("oom {count}\n"),
            Self::Exited(Exit::Code(code)) => format!("exited code {code}\n"),
            Self::Exited(Exit::Signal(signal)) => format!("exited signal {signal}\n"),
            Self::Failed(message) => format!("failed {}\n", message.replace('\n', " ")),
        }
    }

    /// Reads a line without its end; nothing for a word of a later version.
    pub fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.split_once(' ')?;
        match word {
            "started" => Some(Self::Started(rest.parse().ok()?)),
            "oom" => Some(Self::OutOfMemory(rest.parse().ok()?)),
            "failed" => Some(Self::Failed(rest.to_owned())),
            "exited" => match rest.split_once(' ')? {
                ("code", code) => Some(Self::Exited(Exit::Code(code.parse().ok()?))),
                ("signal", signal) => Some(Self::Exited(Exit::Signal(signal.parse().ok()?))),
                _ => None,
            },
            _ => None,
        }
    }
}

/// The line by which the agent has the task signalled.
pub fn kill_line(signal: i32) -> String {
    format!("kill {signal}\n")
}

/// Reads a line of the agent without its end; nothing for a word of a later version.
pub fn parse_kill(line: &str) -> Option<i32> {
    line.strip_prefix("kill ")?.parse().ok()
}

/// A line of the file `exit` about output that could not be written.
pub fn dropped_line(name: &str, bytes: u64) -> String {
    format!("dropped {name} {bytes}\n")
}

/// A line of the file `pid`.
pub(crate) fn pid_line(name: &str, process: ProcessId) -> String {
    format!("{name} {} {}\n", process.pid, process.start)
}

/// The process of this name in the file `pid`.
pub(crate) fn parse_pid(text: &str, name: &str) -> Option<ProcessId> {
    let mut lines = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    lines.find_map(|words| match words.as_slice() {
        [word, pid, start, ..] if *word == name => Some(ProcessId {
            pid: pid.parse().ok()?,
            start: start.parse().ok()?,
        }),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAUNCH_V1: &[u8] =
        b"proffer-launch 1\0arg=/bin/sh\0arg=-c\0arg=a=b\nc\0env=A=1=2\0user=7:8\0output-bytes-max=9\0";

    fn launch() -> Launch {
        Launch {
            arguments: ["/bin/sh", "-c", "a=b\nc"].map(str::to_owned).to_vec(),
            program: None,
            environment: vec![("A".to_owned(), "1=2".to_owned())],
            user: Some((7, 8)),
            output_bytes_max: 9,
            open_files: None,
            container: None,
        }
    }

    const CONTAINER_V1: &[u8] = b"proffer-launch 1\0container-arg=/a\0output-bytes-max=0\0contain=/p\0group=5\0\
        directory=/d\0image=i\0layer=/l/1\0layer=/l/2\0cgroup=/proffer/r\0memory-bytes=6\0cpu-milli=7\0\
        cpu-limit-milli=8\0processes-max=9\0stop-signal=3\0";

    #[test]
    fn the_launch_file_of_a_container_has_the_bytes_of_version_1_and_no_process_for_older_supervisors()
     {
        let launch = Launch {
            arguments: vec!["/a".to_owned()],
            container: Some(Contained {
                program: "/p".to_owned(),
                groups: vec![5],
                directory: "/d".to_owned(),
                sandbox: None,
                image: "i".to_owned(),
                layers: vec!["/l/1".to_owned(), "/l/2".to_owned()],
                cgroup: "/proffer/r".to_owned(),
                memory_bytes: 6,
                cpu_milli: 7,
                cpu_limit_milli: 8,
                processes_max: 9,
                stop_signal: Some(3),
                mounts: Vec::new(),
            }),
            ..Launch::default()
        };
        let bytes = launch.encode().expect("no zero bytes");
        assert_eq!(bytes, CONTAINER_V1);
        assert_eq!(Launch::decode(&bytes), Some(launch));
        let fields = bytes.split(|byte| *byte == 0);
        assert_eq!(fields.filter(|field| field.starts_with(b"arg=")).count(), 0);
    }

    #[test]
    fn mounts_of_a_container_have_the_bytes_of_version_1() {
        let mount = |is_read_only, place: &str, source: &str| Mount {
            is_read_only,
            place: place.to_owned(),
            source: source.to_owned(),
        };
        let mut read = Launch::decode(CONTAINER_V1).expect("good");
        let container = read.container.as_mut().expect("one");
        container.mounts = vec![mount(false, "/a b", "/v\n/1"), mount(true, "/c", "/v/2")];
        let more = b"mount=rw /a b\n/v\n/1\0mount=ro /c\n/v/2\0";
        let written = [CONTAINER_V1, &more[..]].concat();
        assert_eq!(read.encode().as_deref(), Some(&written[..]));
        assert_eq!(Launch::decode(&written), Some(read));
        let elsewhere = [&written[..], b"sandbox=/mnt/mesos/sandbox\0"].concat();
        let read = Launch::decode(&elsewhere).expect("good");
        let container = read.container.as_ref().expect("one");
        assert_eq!(container.sandbox.as_deref(), Some("/mnt/mesos/sandbox"));
        let written = read.encode().expect("no zero bytes");
        assert_eq!(Launch::decode(&written), Some(read));
        for bad in ["mount=rw\0", "mount=xx /a\n/b\0", "mount=rw /a\0"] {
            let bytes = [CONTAINER_V1, bad.as_bytes()].concat();
            assert_eq!(Launch::decode(&bytes), None, "{bad:?}");
        }
    }

    #[test]
    fn the_launch_file_has_the_bytes_of_version_1() {
        assert_eq!(launch().encode().as_deref(), Some(LAUNCH_V1));
        assert_eq!(Launch::decode(LAUNCH_V1), Some(launch()));
    }

    #[test]
    fn a_launch_file_of_a_later_version_is_read_and_a_torn_one_is_not() {
        let later = [LAUNCH_V1, b"open-files=10\0", b"colour=x\0"].concat();
        let read = Launch {
            open_files: Some(10),
            ..launch()
        };
        assert_eq!(Launch::decode(&later).as_ref(), Some(&read));
        let written = [LAUNCH_V1, b"open-files=10\0"].concat();
        assert_eq!(read.encode(), Some(written));
        for end in 0..LAUNCH_V1.len() {
            if LAUNCH_V1.get(end.wrapping_sub(1)) != Some(&0) {
                assert_eq!(Launch::decode(&LAUNCH_V1[..end]), None, "{end}");
            }
        }
        let zero = Launch {
            arguments: vec!["a\0b".to_owned()],
            ..Launch::default()
        };
        assert_eq!(zero.encode(), None);
    }

    #[test]
    fn the_lines_have_the_bytes_of_version_1() {
        for (said, line) in [
            (Said::Started(12), "started 12\n"),
            (Said::OutOfMemory(1), "oom 1\n"),
            (Said::Exited(Exit::Code(3)), "exited code 3\n"),
            (Said::Exited(Exit::Signal(9)), "exited signal 9\n"),
            (
                Said::Failed("no such file".to_owned()),
                "failed no such file\n",
            ),
        ] {
            assert_eq!(said.line(), line);
            assert_eq!(Said::parse(line.trim_end()), Some(said));
        }
        assert_eq!(kill_line(15), "kill 15\n");
        assert_eq!(parse_kill("kill 15"), Some(15));
        let process = ProcessId { pid: 3, start: 4 };
        assert_eq!(pid_line("task", process), "task 3 4\n");
        assert_eq!(
            parse_pid("supervisor 1 2\ntask 3 4 later\n", "task"),
            Some(process)
        );
        assert_eq!(dropped_line("stdout", 5), "dropped stdout 5\n");
    }

    #[test]
    fn words_of_a_later_version_are_passed_over() {
        for line in [
            "",
            "paused",
            "paused 3",
            "exited oom 1",
            "started x",
            "started",
        ] {
            assert_eq!(Said::parse(line), None, "{line:?}");
        }
        for line in ["", "kill", "kill x", "freeze 1"] {
            assert_eq!(parse_kill(line), None, "{line:?}");
        }
    }
}
