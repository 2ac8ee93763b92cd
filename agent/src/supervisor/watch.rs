//! The supervisor's loop: waits for output, signals and agents, until the task's process has ended and nothing of it is
//! left.

use std::io::ErrorKind::{Interrupted, WouldBlock};
use std::io::{PipeReader, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixListener;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::SignalFd;
use proffer_model::Exit;

use crate::limits::CONTROL_CLIENTS_MAX;
use crate::supervisor::child::Child;
use crate::supervisor::control::Client;
use crate::supervisor::output::Output;
use crate::supervisor::protocol::{Said, dropped_line};

/// Bytes read from the task at once.
const CHUNK_LEN: usize = 16 * 1024;
/// Chunks that are read from one pipe after the task has ended: all that a pipe can hold.
const DRAIN_CHUNKS_MAX: usize = 128;

/// All that is waited for.
pub(super) struct Watch {
    signals: SignalFd,
    listener: UnixListener,
    clients: Vec<Client>,
    child: Child,
    exit: Option<Exit>,
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
            words: Vec::new(),
            chunk: vec![0; CHUNK_LEN].into_boxed_slice(),
        }
    }

    /// Waits until the task has ended and ends what is left of it; answers the lines of the file `exit`.
    pub(super) fn until_exit(&mut self) -> Vec<String> {
        let exit = loop {
            if let Some(exit) = self.exit {
                break exit;
            }
            self.turn();
        };
        let killed = self.child.killed_for_memory();
        self.words = vec![Said::Exited(exit)];
        if killed > 0 {
            self.words.insert(0, Said::OutOfMemory(killed));
        }
        self.child.end_rest();
        self.read_signals();
        self.drain();
        let mut lines: Vec<String> = self.words.iter().map(Said::line).collect();
        let outputs = [&self.child.stdout.1, &self.child.stderr.1].into_iter();
        let dropped = outputs.filter(|output| output.dropped() > 0);
        lines.extend(dropped.map(|output| dropped_line(output.name(), output.dropped())));
        lines
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
        let is_ready: Vec<bool> = match poll(&mut fds, PollTimeout::NONE) {
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
        while let Ok(Some(_)) = self.signals.read_signal() {}
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
