//! One connection of an agent: lines in, lines out, never waited for. Who sends too much or does not read is let go;
//! it can connect again.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use crate::limits::CONTROL_LINE_LEN_MAX;
use crate::supervisor::protocol::{Said, parse_kill};

/// One connection.
pub(super) struct Client {
    stream: UnixStream,
    unread: Vec<u8>,
}

impl Client {
    /// Takes a connection and says what is so.
    pub(super) fn greet(stream: UnixStream, pid: u32) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let mut client = Self {
            stream,
            unread: Vec::new(),
        };
        client.say(&Said::Started(pid))?;
        Ok(client)
    }

    pub(super) fn say(&mut self, said: &Said) -> io::Result<()> {
        self.stream.write_all(said.line().as_bytes())
    }

    /// Reads what has come and answers the signals asked for; an error ends the connection.
    pub(super) fn listen(&mut self) -> io::Result<Vec<i32>> {
        let mut chunk = [0; 256];
        let count = match self.stream.read(&mut chunk) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        self.unread.extend(chunk.iter().take(count));
        let mut signals = Vec::new();
        while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.unread.drain(..=end).collect();
            let text = std::str::from_utf8(&line).unwrap_or_default();
            signals.extend(parse_kill(text.trim_end()));
        }
        if self.unread.len() > CONTROL_LINE_LEN_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(signals)
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
