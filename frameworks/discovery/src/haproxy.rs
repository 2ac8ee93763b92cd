//! Starts, finds, reloads and stops HAProxy.
//!
//! HAProxy runs in master-worker mode as a daemon of its own and outlives the sidecar. It is found again by its master socket,
//! which lies in a directory of ours; a process is only ever signalled after its command line proved that it is ours, and
//! through a pidfd, so that a reused pid is never hit. Listening sockets pass from worker to worker, so a reload refuses no
//! connection. Nothing here decides when: `core.rs` does.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use proffer_model::{Problem, code};
use proffer_server::notify;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use crate::admin::{self, Processes};
use crate::digest::Digest;
use crate::limits::{
    CHECK_TIMEOUT, EXIT_POLL, HAPROXY_MESSAGE_BYTES_MAX, POLL_PAUSE, RELOAD_ASK_AGAIN,
    RELOAD_COMMAND_TIMEOUT, RELOAD_TIMEOUT, REVIVE_PATIENCE, SOCKET_MISSES_MAX, SOCKET_POLL,
    START_TIMEOUT, STOP_TIMEOUT,
};

/// Where HAProxy's program is looked for when `PATH` does not have it: a user's `PATH` often lacks the last two.
const PLACES: &[&str] = &["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// The program: the one configured, else the first in `PATH` or in the usual places.
pub fn find_haproxy(configured: Option<&Path>) -> Option<PathBuf> {
    let is_program = |path: &PathBuf| {
        fs::metadata(path)
            .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
    };
    if let Some(path) = configured.filter(|path| path.components().count() > 1) {
        return Some(path.to_owned()).filter(is_program);
    }
    let name = configured.unwrap_or(Path::new("haproxy"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(PLACES.iter().map(PathBuf::from));
    folders
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(is_program)
}

/// Who loads the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// We run HAProxy.
    Run,
    /// One that runs already is reloaded over its master socket.
    MasterSocket,
    /// The operator's command reloads it.
    Command(String),
    /// Nobody we know.
    FileOnly,
}

/// The files of one HAProxy.
#[derive(Clone, Debug)]
pub struct Haproxy {
    /// The program configured, if any.
    pub program: Option<PathBuf>,
    /// Who loads the configuration.
    pub control: Control,
    /// Its configuration.
    pub config_file: PathBuf,
    /// The master's socket.
    pub master_socket: PathBuf,
    /// Where we keep other files: pid, log, what is to be checked.
    pub work_dir: PathBuf,
}

/// A HAProxy that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its processes.
    pub processes: Processes,
    /// The digest of its configuration, if it tells one.
    pub digest: Option<Digest>,
}

impl Haproxy {
    /// The program, or the problem that says how to get it.
    pub fn program(&self) -> Result<PathBuf, Problem> {
        find_haproxy(self.program.as_deref()).ok_or_else(|| {
            let name = self
                .program
                .as_deref()
                .unwrap_or(Path::new("haproxy"))
                .display();
            Problem::new(
                code::HAPROXY_FAILED,
                format!("the program {name} is not there"),
            )
            .field("haproxy")
            .hint("apt-get install haproxy, or give its path with --haproxy")
        })
    }

    /// The HAProxy behind the master socket, if it answers.
    pub async fn running(&self) -> Option<Running> {
        let processes = admin::processes(&self.master_socket).await.ok()?;
        let digest = admin::loaded_digest(&self.master_socket)
            .await
            .ok()
            .flatten();
        Some(Running { processes, digest })
    }

    /// Asks HAProxy whether it would take this text; the error is what it says about it.
    pub async fn check(&self, text: &str) -> Result<(), Problem> {
        let program = self.program()?;
        let file = self.work_dir.join("check.cfg");
        write_file(file.clone(), text.to_owned()).await?;
        let mut command = quiet(&program);
        command.arg("-c").arg("-f").arg(&file);
        let output = output_of(command, CHECK_TIMEOUT, "haproxy -c").await?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Problem::new(
            code::HAPROXY_FAILED,
            format!("HAProxy refuses the configuration: {}", alerts(&said)),
        )
        .hint("the last good configuration stays in force"))
    }

    /// The configuration on disk; empty when there is none.
    pub fn written(&self) -> String {
        fs::read_to_string(&self.config_file).unwrap_or_default()
    }

    /// Puts the configuration where HAProxy reads it.
    pub async fn write(&self, text: &str) -> Result<(), Problem> {
        write_file(self.config_file.clone(), text.to_owned()).await
    }

    /// Starts HAProxy and waits until it answers.
    pub async fn start(&self) -> Result<Running, Problem> {
        let program = self.program()?;
        let log_file = self.work_dir.join("haproxy.log");
        let log = File::create(&log_file).map_err(|error| file_failed(&log_file, &error))?;
        let errors = log
            .try_clone()
            .map_err(|error| file_failed(&log_file, &error))?;
        let mut command = quiet(&program);
        command
            .args(["-W", "-D", "-p"])
            .arg(self.pid_file())
            .arg("-S")
            .arg(format!("{},mode,600", self.master_socket.display()))
            .arg("-f")
            .arg(&self.config_file)
            .current_dir("/")
            .stdout(log)
            .stderr(errors);
        // The daemon leaves the process we wait for, which ends once the ports are bound or refused.
        let ended = timeout(START_TIMEOUT, command.status()).await;
        let failed = |why: String| {
            Problem::new(
                code::HAPROXY_FAILED,
                format!("HAProxy does not start: {why}"),
            )
            .hint(format!("its own words are in {}", log_file.display()))
        };
        match ended {
            Ok(Ok(status)) if status.success() => {}
            Ok(Ok(status)) => return Err(failed(format!("{status}: {}", self.log_tail()))),
            Ok(Err(error)) => return Err(failed(error.to_string())),
            Err(_) => {
                return Err(failed(format!(
                    "no end within {} s",
                    START_TIMEOUT.as_secs()
                )));
            }
        }
        let deadline = Instant::now() + START_TIMEOUT;
        let mut process = None;
        while Instant::now() < deadline {
            // The process we waited for may end before the daemon has written its pid.
            process = process.or_else(|| self.our_process());
            if process.as_ref().is_some_and(|p| has_ended(&p.pidfd)) {
                return Err(failed(format!("it has ended: {}", self.log_tail())));
            }
            if let Some(running) = self
                .running()
                .await
                .filter(|r| r.processes.worker.is_some())
            {
                return Ok(running);
            }
            sleep(POLL_PAUSE).await;
        }
        Err(failed("it was started and does not answer".to_owned()))
    }

    /// Loads the configuration on disk into the HAProxy that runs, and waits until a new worker has it.
    pub async fn reload(&self, before: &Processes) -> Result<Running, Problem> {
        let failed = |why: &str| {
            Problem::new(
                code::HAPROXY_FAILED,
                format!("HAProxy's reload failed: {why}"),
            )
            .hint("the last good configuration stays in force")
        };
        // Taken before: HAProxy writes its pid file anew while it reloads, and for a moment there is none.
        let process = self.our_process();
        // The master closes the connection while it starts itself anew: only `show proc` tells how it went.
        let _ = admin::command(&self.master_socket, "reload").await;
        let deadline = Instant::now() + RELOAD_TIMEOUT;
        let mut asked_at = Instant::now();
        loop {
            sleep(POLL_PAUSE).await;
            match self.running().await {
                Some(running) if running.processes.reloads > before.reloads => {
                    // A daemon of this version keeps to itself what went wrong; the text had been checked.
                    if running.processes.failed > 0 {
                        return Err(failed(
                            "it does not say why; a port may be in use, or a limit reached",
                        ));
                    }
                    if running.processes.worker.is_some() {
                        return Ok(running);
                    }
                }
                // A master that is busy starting loses what it is asked for.
                Some(_) if asked_at.elapsed() >= RELOAD_ASK_AGAIN => {
                    let _ = admin::command(&self.master_socket, "reload").await;
                    asked_at = Instant::now();
                }
                None if process.as_ref().is_some_and(|p| has_ended(&p.pidfd)) => {
                    return Err(failed("it has ended"));
                }
                _ => {}
            }
            if Instant::now() > deadline {
                return Err(failed("it does not come to an end"));
            }
        }
    }

    /// Runs the operator's reload command.
    pub async fn run_reload_command(&self, line: &str) -> Result<(), Problem> {
        let mut command = Command::new("/bin/sh");
        command
            .arg("-c")
            .arg(line)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        for variable in notify::VARIABLES {
            command.env_remove(variable);
        }
        let output = output_of(command, RELOAD_COMMAND_TIMEOUT, "the reload command").await?;
        if output.status.success() {
            return Ok(());
        }
        let said = cut(String::from_utf8_lossy(&output.stderr).trim());
        Err(Problem::new(
            code::HAPROXY_FAILED,
            format!("the reload command failed ({}): {said}", output.status),
        )
        .field("reload_command"))
    }

    /// Waits for a HAProxy of ours that runs but does not answer, and makes it open its socket again when that is gone.
    /// Nothing when there is none, or when it has ended.
    pub async fn revive(&self) -> Option<Running> {
        let process = self.our_process()?;
        let since = Instant::now();
        let mut was_told = false;
        while since.elapsed() < RELOAD_TIMEOUT && !has_ended(&process.pidfd) {
            let is_there = self.master_socket.exists();
            if !was_told && is_lost(is_there, since.elapsed()) && process.takes_reload_signal() {
                pidfd_send_signal(&process.pidfd, Signal::USR2).ok()?;
                was_told = true;
            }
            if let Some(running) = self.running().await {
                return Some(running);
            }
            sleep(POLL_PAUSE).await;
        }
        None
    }

    /// Ends a HAProxy of ours, if one runs: at once, connections included.
    pub async fn stop(&self) -> Result<(), Problem> {
        let Some(OurProcess { pidfd, .. }) = self.our_process() else {
            return Ok(());
        };
        for signal in [Signal::TERM, Signal::KILL] {
            if pidfd_send_signal(&pidfd, signal).is_err() {
                return Ok(());
            }
            if timeout(STOP_TIMEOUT, exited(&pidfd)).await.is_ok() {
                return Ok(());
            }
        }
        Err(Problem::new(code::HAPROXY_FAILED, "HAProxy does not stop"))
    }

    /// Waits until this HAProxy has ended.
    pub async fn wait_for_exit(&self) {
        let mut misses = 0;
        while misses < SOCKET_MISSES_MAX {
            // It writes its pid file anew while it starts and reloads, so that there may be none just now.
            if let Some(process) = self.our_process() {
                return exited(&process.pidfd).await;
            }
            // Its pid file is gone, so its socket has to tell; one answer that does not come proves nothing.
            misses = if self.running().await.is_some() {
                0
            } else {
                misses + 1
            };
            sleep(SOCKET_POLL).await;
        }
    }

    fn pid_file(&self) -> PathBuf {
        self.work_dir.join("haproxy.pid")
    }

    /// The master that wrote our pid file, if it still runs and its command line names that file.
    fn our_process(&self) -> Option<OurProcess> {
        let text = fs::read_to_string(self.pid_file()).ok()?;
        let number: i32 = text.lines().next()?.trim().parse().ok()?;
        let pid = Pid::from_raw(number)?;
        // In this order: what the pidfd is of cannot change any more when the command line is read.
        let pidfd = pidfd_open(pid, PidfdFlags::NONBLOCK).ok()?;
        let words = fs::read(format!("/proc/{number}/cmdline")).ok()?;
        let pid_file = self.pid_file();
        let is_ours = words
            .split(|byte| *byte == 0)
            .any(|word| word == pid_file.as_os_str().as_encoded_bytes());
        is_ours.then_some(OurProcess { number, pidfd })
    }

    /// What HAProxy wrote to its log while it started.
    fn log_tail(&self) -> String {
        let read = || -> io::Result<String> {
            let mut bytes = Vec::new();
            let file = File::open(self.work_dir.join("haproxy.log"))?;
            file.take(64 << 10).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        alerts(&read().unwrap_or_default())
    }
}

/// The master of a HAProxy of ours.
struct OurProcess {
    number: i32,
    pidfd: OwnedFd,
}

impl OurProcess {
    /// Whether SIGUSR2 makes it reload: before it has set itself up, the signal would end it.
    fn takes_reload_signal(&self) -> bool {
        fs::read_to_string(format!("/proc/{}/status", self.number))
            .is_ok_and(|status| catches(&status, Signal::USR2))
    }
}

/// Whether a signal is caught, by `/proc/PID/status`.
fn catches(status: &str, signal: Signal) -> bool {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigCgt:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| (mask >> (signal.as_raw() - 1)) & 1 == 1)
}

/// Whether a HAProxy that runs, and has not answered for so long, will not answer by itself.
fn is_lost(socket_is_there: bool, silent: Duration) -> bool {
    !socket_is_there || silent >= REVIVE_PATIENCE
}

/// Waits until the process of a pidfd has ended. Looked at now and then: waiting for a descriptor that is not a socket is
/// `unsafe` in tokio.
async fn exited(pidfd: &OwnedFd) {
    while !has_ended(pidfd) {
        sleep(EXIT_POLL).await;
    }
}

fn has_ended(pidfd: &OwnedFd) -> bool {
    let at_once = Timespec::default();
    // An error is no end: a signal to this process may break the look off.
    poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&at_once)).is_ok_and(|ready| ready > 0)
}

/// HAProxy's program without our environment, which holds nothing that it needs and may hold secrets.
fn quiet(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

async fn output_of(mut command: Command, wait: Duration, what: &str) -> Result<Output, Problem> {
    let failed = |why: String| Problem::new(code::HAPROXY_FAILED, format!("{what}: {why}"));
    match timeout(wait, command.output()).await {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(error)) => Err(failed(format!("it cannot be run: {error}"))),
        Err(_) => Err(failed(format!(
            "it did not end within {} s",
            wait.as_secs()
        ))),
    }
}

/// The lines by which HAProxy says what is wrong, or all it said.
fn alerts(said: &str) -> String {
    let is_alert = |line: &&str| line.contains("[ALERT]") && !line.contains("Error(s) found");
    let lines: Vec<&str> = said.lines().filter(is_alert).collect();
    cut(&if lines.is_empty() {
        said.trim().to_owned()
    } else {
        lines.join("; ")
    })
}

fn cut(text: &str) -> String {
    text.chars().take(HAPROXY_MESSAGE_BYTES_MAX).collect()
}

/// Writes a file whole or not at all, and on disk before it is seen.
async fn write_file(path: PathBuf, text: String) -> Result<(), Problem> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let place = path.clone();
    let write = move || {
        let mut options = File::options();
        let mut file = options
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o644)
            .open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, place)
    };
    let written = tokio::task::spawn_blocking(write).await;
    written
        .map_err(io::Error::other)
        .flatten()
        .map_err(|error| file_failed(&path, &error))
}

fn file_failed(path: &Path, error: &io::Error) -> Problem {
    Problem::new(
        code::FILE_FAILED,
        format!("{} cannot be written: {error}", path.display()),
    )
    .hint("does the directory exist, does it belong to this user, is the disk full?")
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn the_program_is_found_or_not() {
        assert!(
            find_haproxy(None).is_some(),
            "haproxy is installed for the tests"
        );
        assert_eq!(find_haproxy(Some(Path::new("/nonexistent/haproxy"))), None);
        assert_eq!(find_haproxy(Some(Path::new("/etc/passwd"))), None);
        assert_eq!(
            find_haproxy(Some(Path::new("no-such-program-anywhere"))),
            None
        );
    }

    #[test]
    fn a_haproxy_that_starts_or_is_slow_is_not_signalled() {
        for (socket_is_there, silent_s, expected) in [
            (true, 0, false),
            (true, 9, false),
            (true, 10, true),
            (false, 0, true),
        ] {
            let silent = Duration::from_secs(silent_s);
            assert_eq!(is_lost(socket_is_there, silent), expected, "{silent:?}");
        }
        for (status, expected) in [
            ("Name:\thaproxy\nSigCgt:\t0000000000000800\n", true),
            ("SigCgt:\t00000001c0007eff\n", true),
            ("SigCgt:\t0000000000000400\n", false),
            ("SigBlk:\t0000000000000800\n", false),
            ("SigCgt:\tx\n", false),
            ("", false),
        ] {
            assert_eq!(catches(status, Signal::USR2), expected, "{status}");
        }
    }

    #[tokio::test]
    async fn a_reload_that_got_lost_is_asked_for_again() {
        let folder = tempfile::tempdir().expect("folder");
        let haproxy = Haproxy {
            program: None,
            control: Control::Run,
            config_file: folder.path().join("haproxy.cfg"),
            master_socket: folder.path().join("m.sock"),
            work_dir: folder.path().to_owned(),
        };
        let listener = tokio::net::UnixListener::bind(&haproxy.master_socket).expect("bound");
        tokio::spawn(async move {
            let mut asked = 0_u64;
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut line = String::new();
                let _ = stream.read_to_string(&mut line).await;
                asked += u64::from(line.trim() == "reload");
                // The first one gets lost.
                let answer = format!("7 master {} [failed: 0]\n8 worker 0\n", asked / 2);
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        let before = haproxy.running().await.expect("it answers").processes;
        assert_eq!(before.reloads, 0);
        let reloaded = timeout(Duration::from_secs(30), haproxy.reload(&before)).await;
        let processes = reloaded.expect("in time").expect("reloaded").processes;
        assert_eq!(processes.reloads, 1);
    }

    #[test]
    fn alerts_are_what_is_told() {
        let said = "[NOTICE] x\n[ALERT] (1) : config : parsing [a:1] : bad\n[ALERT] (1) : config : Error(s) found in\n";
        assert_eq!(alerts(said), "[ALERT] (1) : config : parsing [a:1] : bad");
        assert_eq!(alerts("sh: not found\n"), "sh: not found");
    }
}
