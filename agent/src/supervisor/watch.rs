//! The supervisor's loop: waits for output, signals and agents, until the task's process has ended and nothing of it is
//! left.

use std::io::ErrorKind::{Interrupted, WouldBlock};
use std::io::{PipeReader, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::signalfd::{SignalFd, siginfo};
use proffer_model::Exit;

use crate::limits::{CONTROL_CLIENTS_MAX, HOST_DOWN_GRACE, KILL_REST_PATIENCE};
use crate::supervisor::child::Child;
use crate::supervisor::control::Client;
use crate::supervisor::output::Output;
use crate::supervisor::protocol::{Said, dropped_line};

/// Bytes read from the task at once.
const CHUNK_LEN: usize = 16 * 1024;
/// Chunks that are read from one pipe after the task has ended: all that a pipe can hold.
const DRAIN_CHUNKS_MAX: usize = 128;
/// The process that starts a host and takes it down.
const INIT: u32 = 1;

/// All that is waited for.
pub(super) struct Watch {
    signals: SignalFd,
    listener: UnixListener,
    clients: Vec<Client>,
    child: Child,
    exit: Option<Exit>,
    /// When a task is killed next whose host goes down.
    kill_at: Option<Instant>,
    /// How it ended, as it is told: the file's first lines.
    words: Vec<Said>,
    chunk: Box<[u8]>,
}

impl Watch {
    pub(super) fn new(signals: SignalFd, listener: UnixListener, child: Child) -> Self {
        Self {
            signals,
            listener,
            clients: Vec::new(),
            child,
            exit: None,
            kill_at: None,
            words: Vec::new(),
            chunk: vec![0; CHUNK_LEN].into_boxed_slice(),
        }
    }

    /// Waits until the task has ended and ends what is left of it; answers the lines of the file `exit`. Nothing if its
    /// host went down first: how it ended then is not its own doing, and the agent tells that it is lost.
    pub(super) fn until_exit(&mut self) -> Option<Vec<String>> {
        let exit = loop {
            if let Some(exit) = self.exit {
                break exit;
            }
            self.turn();
        };
        // Task and supervisor are told at once, and the task may be the faster.
        self.read_signals();
        let is_host_down = self.kill_at.is_some();
        let killed = self.child.killed_for_memory();
        self.words = vec![Said::Exited(exit)];
        if killed > 0 {
            self.words.insert(0, Said::OutOfMemory(killed));
        }
        self.child.end_rest();
        self.read_signals();
        self.drain();
        if is_host_down {
            return None;
        }
        let mut lines: Vec<String> = self.words.iter().map(Said::line).collect();
        let outputs = [&self.child.stdout.1, &self.child.stderr.1].into_iter();
        let dropped = outputs.filter(|output| output.dropped() > 0);
        lines.extend(dropped.map(|output| dropped_line(output.name(), output.dropped())));
        Some(lines)
    }

    /// Says to whoever listens how it ended.
    pub(super) fn tell_exit(&mut self) {
        for client in &mut self.clients {
            // Who does not hear it reads the file.
            let _ = self.words.iter().try_for_each(|word| client.say(word));
        }
    }

    /// Waits for something, and handles all that has come.
    fn turn(&mut self) {
        let ready = self.wait_ready();
        if ready.signals {
            self.read_signals();
            self.exit = self.child.reap();
        }
        if self.exit.is_none() && self.kill_at.is_some_and(|at| at <= Instant::now()) {
            self.child.signal(Signal::SIGKILL as i32);
            self.kill_at = Some(Instant::now() + KILL_REST_PATIENCE);
        }
        if ready.stdout {
            pump(&mut self.child.stdout, &mut self.chunk);
        }
        if ready.stderr {
            pump(&mut self.child.stderr, &mut self.chunk);
        }
        // Clients before the listener: the places in `ready` are those before anyone new came.
        if self.exit.is_none() {
            self.hear_clients(&ready.clients);
        }
        if ready.listener {
            self.accept();
        }
    }

    fn wait_ready(&self) -> Ready {
        let mut fds = vec![
            poll_in(self.signals.as_fd()),
            poll_in(self.listener.as_fd()),
        ];
        let (stdout, stderr) = (
            poll_output(&self.child.stdout),
            poll_output(&self.child.stderr),
        );
        let (has_stdout, has_stderr) = (stdout.is_some(), stderr.is_some());
        fds.extend(stdout);
        fds.extend(stderr);
        fds.extend(self.clients.iter().map(|client| poll_in(client.as_fd())));
        let timeout = self.kill_at.map_or(PollTimeout::NONE, |at| {
            // Rounded up, so that it is over when this returns.
            let millis = at.saturating_duration_since(Instant::now()).as_millis() + 1;
            PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
        });
        let is_ready: Vec<bool> = match poll(&mut fds, timeout) {
            Ok(_) => fds.iter().map(|fd| fd.any().unwrap_or(true)).collect(),
            Err(_) => Vec::new(),
        };
        let mut next = is_ready.into_iter();
        Ready {
            signals: next.next().unwrap_or(false),
            listener: next.next().unwrap_or(false),
            stdout: has_stdout && next.next().unwrap_or(false),
            stderr: has_stderr && next.next().unwrap_or(false),
            clients: next.collect(),
        }
    }

    fn read_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            if is_host_down(&signal) && self.kill_at.is_none() {
                self.kill_at = Some(Instant::now() + HOST_DOWN_GRACE);
                // A plain process is told as well; of a container, only whoever stops it knows by which signal.
                if self.exit.is_none() {
                    self.child.signal(Signal::SIGTERM as i32);
                }
            }
        }
    }

    fn hear_clients(&mut self, is_ready: &[bool]) {
        let mut is_ready = is_ready.iter();
        let child = &self.child;
        self.clients.retain_mut(|client| {
            if is_ready.next() != Some(&true) {
                return true;
            }
            match client.listen() {
                Ok(signals) => {
                    signals.into_iter().for_each(|signal| child.signal(signal));
                    true
                }
                Err(_) => false,
            }
        });
    }

    fn accept(&mut self) {
        let Ok((stream, _)) = self.listener.accept() else {
            return;
        };
        if self.clients.len() < CONTROL_CLIENTS_MAX
            && let Ok(client) = Client::greet(stream, self.child.pid())
        {
            self.clients.push(client);
        }
    }

    /// Reads what is left in the pipes, without waiting for more.
    fn drain(&mut self) {
        drain(&mut self.child.stdout, &mut self.chunk);
        drain(&mut self.child.stderr, &mut self.chunk);
    }
}

struct Ready {
    signals: bool,
    listener: bool,
    stdout: bool,
    stderr: bool,
    clients: Vec<bool>,
}

/// Whether the host goes down, or whoever governs it wants all tasks ended. The same from others is nothing to a supervisor.
fn is_host_down(signal: &siginfo) -> bool {
    signal.ssi_pid == INIT && i32::try_from(signal.ssi_signo) == Ok(Signal::SIGTERM as i32)
}

fn poll_in(fd: BorrowedFd<'_>) -> PollFd<'_> {
    PollFd::new(fd, PollFlags::POLLIN)
}

fn poll_output((pipe, output): &(PipeReader, Output)) -> Option<PollFd<'_>> {
    (!output.is_closed()).then(|| poll_in(pipe.as_fd()))
}

/// Moves one chunk from pipe to file; answers whether there was one. At the end of the pipe, the output is closed.
fn pump((pipe, output): &mut (PipeReader, Output), chunk: &mut [u8]) -> bool {
    match pipe.read(chunk) {
        Ok(count) if count > 0 => {
            output.write(chunk.get(..count).unwrap_or_default());
            true
        }
        // Somebody else has taken what there was; more will be announced.
        Err(error) if matches!(error.kind(), WouldBlock | Interrupted) => false,
        Ok(_) | Err(_) => {
            output.close();
            false
        }
    }
}

fn drain(source: &mut (PipeReader, Output), chunk: &mut [u8]) {
    for _ in 0..DRAIN_CHUNKS_MAX {
        if source.1.is_closed() || !pump(source, chunk) {
            return;
        }
    }
}
