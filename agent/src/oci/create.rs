//! Makes a container and starts the task in it. Everything is mounted in a namespace of this process's own, so that
//! nothing of it is left when the container has ended, whoever was killed on the way.

use std::cell::RefCell;
use std::collections::HashMap;
use std::error::Error;
use std::ffi::CString;
use std::fs::{self, DirBuilder, File};
use std::io::{self, PipeWriter, Read as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::syscall::syscall::SyscallType;
use libcontainer::workload::{
    Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError,
};
use nix::mount::{MsFlags, mount};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::execve;

use crate::oci::cgroup::Cgroup;
use crate::oci::seccomp::Filters;
use crate::oci::{find, overlay, places, spec, system};
use crate::supervisor::protocol::Launch;

/// In the run directory: where this process, and nobody else, has a file system for its own files and the root.
pub(super) const BOX: &str = "box";
/// The container's name for the library, which keeps its files under it.
const NAME: &str = "task";

/// Answers the process of the task, which has been executed.
pub(super) fn run(dir: &Path, launch: &Launch) -> Result<i32, String> {
    let container = launch.container.as_ref().ok_or("it is not a container's")?;
    let place = dir.join(BOX);
    mount_private(&place).map_err(|error| format!("{}: {error}", place.display()))?;
    let root = place.join("root");
    let layers: Vec<&Path> = container.layers.iter().map(Path::new).collect();
    fs::create_dir(&root)
        .and_then(|()| overlay::mount_root(&layers, dir, &root))
        .map_err(|error| format!("its root cannot be mounted: {error}"))?;
    overlay::make_directory(&root, &container.directory)
        .map_err(|error| format!("its directory {}: {error}", container.directory))?;
    places::prepare(&root)?;
    let volumes = container.mounts.iter().map(|mount| mount.place.as_str());
    places::prepare_volumes(&root, spec::sandbox(container), volumes)?;
    let config = spec::config(launch, container, dir, &root).to_string();
    fs::write(place.join("config.json"), config).map_err(|error| error.to_string())?;

    let (mut failures, said) = io::pipe().map_err(|error| error.to_string())?;
    let payload = Payload::new(&said);
    let nowhere = File::open("/dev/null").map_err(|error| error.to_string())?;
    let built = ContainerBuilder::new(NAME.to_owned(), SyscallType::default())
        .with_root_path(place.join("state"))
        .map_err(|error| chain(&error))?
        .with_executor(payload)
        .with_stdin(nowhere)
        .as_init(&place)
        .with_systemd(false)
        .with_detach(true)
        // A child of the supervisor's, which reaps it.
        .as_sibling(true)
        .build();
    drop(said);
    let mut made = built.map_err(|error| chain(&error))?;
    Cgroup::new(&container.cgroup).forbid_swap(container.memory_bytes);
    made.start().map_err(|error| chain(&error))?;
    // Closed by the execution of the task, or by its failure.
    let mut failure = String::new();
    failures
        .read_to_string(&mut failure)
        .map_err(|error| error.to_string())?;
    if !failure.is_empty() {
        return Err(failure);
    }
    made.pid()
        .map(|pid| pid.as_raw())
        .ok_or_else(|| "it has no process".to_owned())
}

/// A small file system that ends with this process's mounts.
fn mount_private(place: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(place) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let tmpfs = Some("tmpfs");
    Ok(mount(tmpfs, place, tmpfs, flags, Some("mode=0700"))?)
}

/// An error and its causes in one line, each once.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

/// The last steps in the container, right before the task's program.
#[derive(Clone)]
struct Payload {
    /// Where it is said why the program could not be executed. Open in the container until it is.
    failures: RawFd,
    environment: RefCell<HashMap<String, String>>,
}

impl Payload {
    fn new(failures: &PipeWriter) -> Self {
        Self {
            failures: failures.as_raw_fd(),
            environment: RefCell::default(),
        }
    }

    fn execute(&self, spec: &Spec) -> Result<std::convert::Infallible, String> {
        let arguments = spec
            .process()
            .as_ref()
            .and_then(|process| process.args().as_ref());
        let arguments = arguments.map(Vec::as_slice).unwrap_or_default();
        let environment = self.environment.borrow();
        let path = environment.get("PATH").map_or("", String::as_str);
        let name = arguments.first().map_or("", String::as_str);
        let program = find::program(name, path).map_err(|error| format!("{name}: {error}"))?;
        let zero = |_| format!("{name}: an argument or variable holds a zero byte");
        let program = CString::new(program).map_err(zero)?;
        let arguments = arguments.iter().map(|word| CString::new(word.as_str()));
        let arguments: Vec<CString> = arguments.collect::<Result<_, _>>().map_err(zero)?;
        let variables = environment.iter();
        let variables = variables.map(|(name, value)| CString::new(format!("{name}={value}")));
        let variables: Vec<CString> = variables.collect::<Result<_, _>>().map_err(zero)?;
        let filters = Filters::new()?;
        system::default_sigpipe().map_err(|error| error.to_string())?;
        // No task without its supervisor: nobody could tell how it ended.
        prctl::set_pdeathsig(Signal::SIGKILL).map_err(|error| error.to_string())?;
        system::confine_sockets()
            .map_err(|error| format!("its sockets cannot be confined: {error}"))?;
        filters
            .apply()
            .map_err(|error| format!("its system calls cannot be filtered: {error}"))?;
        execve(&program, &arguments, &variables).map_err(|error| format!("{name}: {error}"))
    }
}

impl Executor for Payload {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let message = match self.execute(spec) {
            Ok(never) => match never {},
            Err(message) => message,
        };
        system::write_to(self.failures, message.as_bytes());
        Err(ExecutorError::Other(message))
    }

    fn validate(&self, _spec: &Spec) -> Result<(), ExecutorValidationError> {
        // What is wrong with the program is said when it is executed, in words for people.
        Ok(())
    }

    fn setup_envs(&self, envs: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        self.environment.replace(envs);
        Ok(())
    }
}
