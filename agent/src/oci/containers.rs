//! The agent's part: whether this host can run containers, what a task's container is to be, and what is left of those
//! whose supervisor is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use nix::unistd::Uid;
use proffer_agent_core::RunId;
use proffer_model::{Container, Image, ImageRules, Reason, TaskSpec};

use crate::config::Config;
use crate::image::{self, ImageConfig, ImageError, ImageId, ImageStore};
use crate::limits::{
    CONTAINER_MEMORY_MIN, CONTAINER_PROCESSES_MAX, IMAGES_COLLECT_INTERVAL, KILL_REST_INTERVAL,
    KILL_REST_PATIENCE, OUTPUT_BYTES_MAX,
};
use crate::mesos;
use crate::oci::cgroup::Cgroup;
use crate::oci::spec::{MESOS_SANDBOX, SANDBOX};
use crate::oci::{create, overlay};
use crate::process::{
    Programs, SANDBOX_VARIABLE, TASK_VARIABLE, TaskUser, keep_launch, make_sandbox,
};
use crate::removal::remove_all;
use crate::supervisor::protocol::{self, Contained, Launch, Mount};
use crate::volumes::{self, Taker, Volumes};

/// In the work directory.
const IMAGES: &str = "images";
/// `PATH` of a task if its image brings none, as Docker has it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Where control groups are made unless the operator says otherwise.
pub(crate) const CGROUP_ROOT: &str = "/proffer";
/// SIGTERM, as Linux numbers it everywhere.
const SIGTERM: i32 = 15;

/// What it takes to run containers.
#[derive(Debug)]
pub(crate) struct Containers {
    runs_dir: PathBuf,
    images: ImageStore,
    /// Archives must be readable by this user.
    reader: Option<(u32, u32)>,
    /// Where those of images with a name are, which all tasks may run.
    archives: Option<PathBuf>,
    program: String,
    /// Above the control groups of this agent's containers, and of no others.
    cgroup: String,
    is_cpu_limited: bool,
    open_files: Option<u64>,
    /// When images were last collected. Held while a launch file is written, after which nothing else holds its image.
    collected: Mutex<Instant>,
}

impl Containers {
    /// Tries whether it works here; the error says why not, for people. Blocks for some milliseconds.
    pub(crate) fn open(
        config: &Config,
        work_dir: &Path,
        runs_dir: &Path,
        programs: &Programs,
    ) -> Result<Self, String> {
        if !Uid::effective().is_root() {
            return Err("the agent does not run as root".to_owned());
        }
        Cgroup::check()?;
        let program = programs.contain.display().to_string();
        check_overlay(&programs.contain, work_dir)?;
        let metadata = fs::metadata(work_dir).map_err(|error| error.to_string())?;
        let root = config.cgroup_root.trim_end_matches('/');
        // Two agents of one host have two directories.
        let cgroup = format!("{root}/{:x}-{:x}", metadata.dev(), metadata.ino());
        let images = ImageStore::open(&work_dir.join(IMAGES))
            .map_err(|error| format!("the images cannot be kept: {error}"))?;
        let containers = Self {
            runs_dir: runs_dir.to_owned(),
            images,
            reader: programs.user.map(TaskUser::ids),
            archives: config.image_archives.clone(),
            program,
            cgroup,
            is_cpu_limited: config.cpu_hard_limit,
            open_files: programs.open_files,
            collected: Mutex::new(Instant::now()),
        };
        containers.collect();
        Ok(containers)
    }

    /// Ends what is left of containers but of these; their supervisors are gone. Blocks.
    pub(crate) fn end_others(&self, alive: &BTreeSet<RunId>) {
        let alive: BTreeSet<String> = alive.iter().map(RunId::to_string).collect();
        let there = Cgroup::new(&self.cgroup).children();
        for name in there.difference(&alive) {
            tracing::info!(run = name, "what is left of a container is ended");
            end_container(&format!("{}/{name}", self.cgroup));
        }
    }

    /// This agent ends, and leaves no control group of its own without containers.
    pub(crate) fn close(&self) {
        Cgroup::new(&self.cgroup).remove_if_empty();
    }

    /// Loads the image, makes the sandbox and writes the file `launch`: from then on a supervisor may start it. The error
    /// is for people and names no value of the environment. Blocks, for seconds if the image is large and new.
    pub(crate) fn prepare(
        &self,
        run: RunId,
        dir: &Path,
        spec: &TaskSpec,
        container: &Container,
        volumes: &Volumes,
    ) -> Result<(), (Reason, String)> {
        let bad_image = |message: String| (Reason::ImageFailed, message);
        let failed = |message: String| (Reason::LaunchFailed, message);
        let image = self
            .load(&container.image)
            .map_err(|error| bad_image(error.to_string()))?;
        let user = spec.user.as_ref().unwrap_or(&image.config.user);
        let user = image::resolve_user(&image.layers, user)
            .or_else(|error| match container.rules {
                ImageRules::Mesos => host_user(user).ok_or(error),
                ImageRules::Docker => Err(error),
            })
            .map_err(|error| bad_image(error.to_string()))?;
        let owner = (user.uid, user.gid);
        make_sandbox(&dir.join(protocol::SANDBOX), Some(owner))
            .map_err(|error| failed(format!("its sandbox: {error}")))?;
        let environment = environment(&image.config, spec);
        let sandbox = sandbox(&environment);
        let mounts = mounts(dir, spec, volumes, (owner, sandbox))
            .map_err(|message| (Reason::VolumeFailed, message))?;
        let layers = image
            .layers
            .iter()
            .map(|layer| layer.to_str().map(str::to_owned));
        let layers: Option<Vec<String>> = layers.collect();
        let launch = Launch {
            arguments: arguments(&spec.command, &image.config, container.rules)
                .map_err(bad_image)?,
            program: None,
            user: Some((user.uid, user.gid)),
            output_bytes_max: OUTPUT_BYTES_MAX,
            open_files: self.open_files,
            container: Some(Contained {
                program: self.program.clone(),
                groups: user.additional_gids,
                directory: directory(&image.config, container.rules, sandbox),
                sandbox: (sandbox != SANDBOX).then(|| sandbox.to_owned()),
                image: image.id.to_string(),
                layers: layers
                    .ok_or_else(|| failed("the path of its image is not UTF-8".into()))?,
                cgroup: format!("{}/{run}", self.cgroup),
                mounts,
                stop_signal: image.config.stop_signal.filter(|signal| *signal != SIGTERM),
                ..self.limits(spec)
            }),
            environment: environment.into_iter().collect(),
        };
        // Root of a container is root's user here: nobody may reach a set-user-id program that it leaves.
        fs::set_permissions(dir, Permissions::from_mode(0o700))
            .map_err(|error| failed(format!("its directory: {error}")))?;
        let held = self
            .collected
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        keep_launch(dir, &launch, Some(owner)).map_err(failed)?;
        drop(image);
        let is_due = held.elapsed() > IMAGES_COLLECT_INTERVAL;
        drop(held);
        if is_due {
            self.collect();
        }
        Ok(())
    }

    fn load(&self, image: &Image) -> Result<image::Image, ImageError> {
        match image {
            Image::Archive(path) => self.images.load(Path::new(path), self.reader),
            Image::Name(name) => self.images.load_named(name, self.archives.as_deref()),
        }
    }

    /// What it may use: what it holds.
    fn limits(&self, spec: &TaskSpec) -> Contained {
        let cpu_milli = spec.resources.scalar("cpus");
        // Thousandths of a MiB.
        let memory = spec.resources.scalar("mem").saturating_mul(1024 * 1024) / 1_000;
        Contained {
            memory_bytes: memory.max(CONTAINER_MEMORY_MIN),
            cpu_milli,
            cpu_limit_milli: if self.is_cpu_limited { cpu_milli } else { 0 },
            processes_max: CONTAINER_PROCESSES_MAX,
            ..Contained::default()
        }
    }

    /// Removes images that no run needs, if there are too many.
    fn collect(&self) {
        let mut collected = self
            .collected
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *collected = Instant::now();
        match self.images.collect(&images_in(&self.runs_dir)) {
            Ok(gone) if gone.layers > 0 => {
                let (images, bytes) = (gone.images, gone.bytes);
                tracing::info!(images, bytes, "images that no task uses are removed");
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "images cannot be looked through"),
        }
    }
}

/// Removes what the container of this run has written to its root. Its sandbox and output stay. Blocks.
pub(crate) fn remove_root(dir: &Path) {
    for name in [overlay::UPPER, overlay::WORK, create::BOX] {
        let path = dir.join(name);
        if let Err(error) = remove_all(&path) {
            tracing::warn!(path = %path.display(), %error, "what a container has left cannot be removed");
        }
    }
}

/// The control group of the container of this run, if it is one.
pub(crate) fn cgroup_of(dir: &Path) -> Option<String> {
    Some(read_launch(dir)?.container?.cgroup)
}

/// Ends all of the container of this control group. Blocks.
pub(crate) fn end_container(cgroup: &str) {
    let (group, begun) = (Cgroup::new(cgroup), Instant::now());
    while !group.end() {
        if begun.elapsed() > KILL_REST_PATIENCE {
            tracing::error!(cgroup, "what is left of a container cannot be ended");
            return;
        }
        // Nothing says when the last process of it has ended.
        std::thread::park_timeout(KILL_REST_INTERVAL);
    }
}

fn read_launch(dir: &Path) -> Option<Launch> {
    Launch::decode(&fs::read(dir.join(protocol::LAUNCH)).ok()?)
}

/// The images of all runs that are there, ended ones too: one may be started at any moment.
fn images_in(runs_dir: &Path) -> BTreeSet<ImageId> {
    let entries = fs::read_dir(runs_dir).into_iter().flatten().flatten();
    let launches = entries.filter_map(|entry| read_launch(&entry.path())?.container);
    launches
        .filter_map(|container| container.image.parse().ok())
        .collect()
}

/// Has the program try an overlay in the work directory: not every file system can carry one.
fn check_overlay(program: &Path, work_dir: &Path) -> Result<(), String> {
    let attempt = || -> std::io::Result<(bool, String)> {
        let (mut answer, said) = std::io::pipe()?;
        let mut command = Command::new(program);
        command
            .args(["contain", "check", "--dir"])
            .arg(work_dir)
            .env_clear()
            .stdin(said)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command.spawn()?;
        // It holds the other end of the pipe.
        drop(command);
        let mut text = String::new();
        answer.read_to_string(&mut text)?;
        Ok((child.wait()?.success(), text))
    };
    match attempt() {
        Ok((true, _)) => Ok(()),
        Ok((false, why)) if !why.is_empty() => Err(why),
        Ok((false, _)) => Err(format!("{} does not make containers", program.display())),
        Err(error) => Err(format!("{}: {error}", program.display())),
    }
}

/// The task's volumes, and where they are mounted; the error is for people. What is to be in the sandbox has its place there
/// before the container is made, so that nothing is made there on the way of others.
fn mounts(
    dir: &Path,
    spec: &TaskSpec,
    volumes: &Volumes,
    (owner, place): ((u32, u32), &str),
) -> Result<Vec<Mount>, String> {
    let taker = Taker {
        user: owner,
        is_container: true,
    };
    let given = volumes.hand_over(spec, taker)?;
    let mounts = given.into_iter().map(|volume| {
        let path = if volume.path.starts_with('/') {
            volume.path
        } else {
            let sandbox = dir.join(protocol::SANDBOX);
            volumes::make_beneath(&sandbox, &volume.path, Some(owner))
                .map_err(|error| format!("{} in its sandbox: {error}", volume.path))?;
            format!("{place}/{}", volume.path)
        };
        let source = volume.source.to_str().map(str::to_owned);
        Ok(Mount {
            is_read_only: volume.is_read_only,
            place: path,
            source: source.ok_or("the path of its volume is not UTF-8")?,
        })
    });
    mounts.collect()
}

/// That volumes are still to be found where the task said, after things were put into its sandbox; the error is for people.
pub(crate) fn check_places(dir: &Path, spec: &TaskSpec) -> Result<(), String> {
    let sandbox = dir.join(protocol::SANDBOX);
    let all = spec.volumes.iter().map(|volume| &volume.path);
    for path in all.filter(|path| !path.starts_with('/')) {
        volumes::make_beneath(&sandbox, path, None)
            .map_err(|error| format!("{path} in its sandbox: {error}"))?;
    }
    Ok(())
}

/// What to run; the error is for people.
fn arguments(
    command: &proffer_model::Command,
    image: &ImageConfig,
    rules: ImageRules,
) -> Result<Vec<String>, String> {
    use proffer_model::Command;
    let arguments = match command {
        Command::Shell(line) => ["/bin/sh", "-c", line].map(str::to_owned).to_vec(),
        Command::Exec(arguments) => arguments.clone(),
        // A container's configuration has no other word for what is run.
        Command::Named { program, arguments } => {
            let rest = arguments.iter().skip(1);
            std::iter::once(program).chain(rest).cloned().collect()
        }
        Command::Image(arguments) if arguments.is_empty() => {
            [image.entrypoint.as_slice(), &image.cmd].concat()
        }
        Command::Image(arguments) => {
            let own = image.cmd.iter().take(1);
            let program: Vec<String> = match rules {
                ImageRules::Mesos if image.entrypoint.is_empty() => own.cloned().collect(),
                ImageRules::Docker | ImageRules::Mesos => image.entrypoint.clone(),
            };
            if program.is_empty() && rules == ImageRules::Mesos {
                return Err("its image does not say what to run".to_owned());
            }
            [program.as_slice(), arguments].concat()
        }
        Command::Data(_) => return Err("only its executor knows what to do".to_owned()),
    };
    if arguments.is_empty() {
        return Err("its image does not say what to run, and the task has no command".to_owned());
    }
    Ok(arguments)
}

/// The whole environment: what the image says, then the task, then Proffer.
fn environment(image: &ImageConfig, spec: &TaskSpec) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::from([("PATH".to_owned(), PATH.to_owned())]);
    environment.extend(image.env.iter().cloned());
    let given = spec.environment.iter();
    environment.extend(given.map(|(name, value)| (name.clone(), value.expose().to_owned())));
    environment.insert(TASK_VARIABLE.to_owned(), spec.id.to_string());
    let place = sandbox(&environment);
    mesos::complete(&mut environment, place);
    environment.insert(SANDBOX_VARIABLE.to_owned(), place.to_owned());
    environment
}

/// A user of the host's, for an image that does not list it: agents of Mesos take all users from there.
fn host_user(name: &str) -> Option<image::User> {
    let user = nix::unistd::User::from_name(name).ok()??;
    Some(image::User {
        uid: user.uid.as_raw(),
        gid: user.gid.as_raw(),
        additional_gids: Vec::new(),
    })
}

/// Where a task with this environment finds its sandbox.
fn sandbox(environment: &BTreeMap<String, String>) -> &'static str {
    match mesos::is_of_mesos(environment) {
        true => MESOS_SANDBOX,
        false => SANDBOX,
    }
}

/// Where the task begins.
fn directory(image: &ImageConfig, rules: ImageRules, sandbox: &str) -> String {
    let otherwise = match rules {
        ImageRules::Docker => "/",
        ImageRules::Mesos => sandbox,
    };
    let own = image.working_dir.as_deref();
    own.unwrap_or(otherwise).to_owned()
}

#[cfg(test)]
mod tests {
    use proffer_model::{Command, Resources, Secret, TaskId};

    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn what_runs_is_the_images_own_or_the_tasks() {
        let image = |entrypoint, cmd| ImageConfig {
            entrypoint: words(entrypoint),
            cmd: words(cmd),
            ..ImageConfig::default()
        };
        let of_image = |text| Command::Image(words(text));
        let named = Command::Named {
            program: "/x".to_owned(),
            arguments: words("name y"),
        };
        for (command, image, docker, mesos) in [
            (of_image(""), image("/e", "a b"), "/e a b", "/e a b"),
            (of_image("c"), image("/e", "a b"), "/e c", "/e c"),
            (of_image("c"), image("/e f", ""), "/e f c", "/e f c"),
            (of_image("c"), image("", "a b"), "c", "a c"),
            (of_image("c"), image("", ""), "c", ""),
            (of_image(""), image("", "a b"), "a b", "a b"),
            (of_image(""), image("", ""), "", ""),
            (Command::Exec(words("x y")), image("/e", "a"), "x y", "x y"),
            (named, image("/e", "a"), "/x y", "/x y"),
            (
                Command::Shell("x".into()),
                image("/e", "a"),
                "/bin/sh -c x",
                "/bin/sh -c x",
            ),
        ] {
            for (rules, expected) in [(ImageRules::Docker, docker), (ImageRules::Mesos, mesos)] {
                let said = arguments(&command, &image, rules);
                let said = said.inspect_err(|why| assert!(why.contains("what to run"), "{why}"));
                let what = format!("{command:?} {rules:?}");
                assert_eq!(said.unwrap_or_default(), words(expected), "{what}");
            }
        }
    }

    #[test]
    fn the_task_overrides_the_image_and_nobody_says_where_the_sandbox_is() {
        let pairs = |list: &[(&str, &str)]| -> Vec<(String, String)> {
            let owned = list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
            owned.collect()
        };
        let image = ImageConfig {
            env: pairs(&[("A", "image"), ("B", "image"), ("PROFFER_SANDBOX", "/x")]),
            ..ImageConfig::default()
        };
        let id = TaskId::new("t").unwrap();
        let mut spec = TaskSpec::new(id, Command::Image(Vec::new()), Resources::new());
        spec.environment.insert("B".into(), Secret::new("task"));
        let expected = pairs(&[
            ("A", "image"),
            ("B", "task"),
            ("PATH", PATH),
            ("PROFFER_SANDBOX", "/mnt/proffer/sandbox"),
            ("PROFFER_TASK_ID", "t"),
        ]);
        assert_eq!(environment(&image, &spec), expected.into_iter().collect());

        let task = Secret::new("t");
        spec.environment.insert("MESOS_TASK_ID".into(), task);
        let given = environment(&image, &spec);
        for name in ["MESOS_SANDBOX", "MESOS_DIRECTORY", "PROFFER_SANDBOX"] {
            assert_eq!(given[name], "/mnt/mesos/sandbox", "{name}");
        }
    }

    #[test]
    fn a_task_begins_where_its_image_says_or_its_rules() {
        let image = |directory: Option<&str>| ImageConfig {
            working_dir: directory.map(str::to_owned),
            ..ImageConfig::default()
        };
        let (docker, mesos) = (ImageRules::Docker, ImageRules::Mesos);
        for (own, rules, begins) in [
            (None, docker, "/"),
            (None, mesos, "/s"),
            (Some("/srv"), docker, "/srv"),
            (Some("/"), mesos, "/"),
        ] {
            assert_eq!(
                directory(&image(own), rules, "/s"),
                begins,
                "{own:?} {rules:?}"
            );
        }
    }
}
