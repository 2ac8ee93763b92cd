//! Calls of a framework on one connection: the next ones are sent before the first is answered, as Mesos's own library does,
//! or, with room for one at a time, each after the answer to the one before.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::http::{HeaderValue, StatusCode};
use bytes::{Buf, Bytes, BytesMut};
use proffer_model::Problem;
use proffer_server::mesos_http::STREAM_ID;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Mutex as Turn, mpsc};

use super::super::figures::Times;
use super::client::{Door, PATH, broken};
use crate::limits::BENCH_CALLS_BYTES_MAX;

/// A call on its way; when its time is to be taken, when it was made.
pub(super) struct Posted {
    pub(super) body: Bytes,
    pub(super) begun: Option<Instant>,
}

/// Calls that wait for a connection, for all of them.
pub(super) type Waiting = Arc<Turn<mpsc::Receiver<Posted>>>;

/// One connection for calls.
pub(super) struct Caller {
    socket: TcpStream,
    /// All of a request before the length of its body.
    head: Vec<u8>,
    posted: Waiting,
    /// When those calls were made whose answers are to come, in their order.
    unanswered: VecDeque<Option<Instant>>,
    unanswered_max: usize,
    out: BytesMut,
    read: BytesMut,
    answered: Arc<Mutex<Times>>,
}

impl Caller {
    /// Connects. So many calls may be without an answer at once.
    pub(super) async fn connect(
        door: &Door,
        stream: &HeaderValue,
        posted: Waiting,
        unanswered_max: usize,
        answered: Arc<Mutex<Times>>,
    ) -> Result<Self, Problem> {
        let mut head = format!("POST {PATH} HTTP/1.1\r\nHost: {}\r\n", door.address).into_bytes();
        let media = door.media.name();
        head.extend_from_slice(format!("Content-Type: {media}\r\nAccept: {media}\r\n").as_bytes());
        for (name, value) in [("Authorization", &door.bearer), (STREAM_ID, stream)] {
            head.extend_from_slice(name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"Content-Length: ");
        Ok(Self {
            socket: door.socket().await?,
            head,
            posted,
            unanswered: VecDeque::new(),
            unanswered_max,
            out: BytesMut::new(),
            read: BytesMut::new(),
            answered,
        })
    }

    /// Makes calls until there are no more.
    pub(super) async fn run(&mut self) -> Result<(), Problem> {
        loop {
            let has_room = self.unanswered.len() < self.unanswered_max
                && self.out.len() < BENCH_CALLS_BYTES_MAX;
            let (mut reading, mut writing) = self.socket.split();
            tokio::select! {
                read = reading.read_buf(&mut self.read) => {
                    if read.map_err(|error| broken(&error))? == 0 {
                        return Err(broken(&"the connection has ended"));
                    }
                    self.take_answers()?;
                }
                written = writing.write_buf(&mut self.out), if !self.out.is_empty() => {
                    written.map_err(|error| broken(&error))?;
                }
                posted = next_of(&self.posted), if has_room => match posted {
                    Some(posted) => self.send(posted),
                    None => return Ok(()),
                }
            }
        }
    }

    /// A call is written with the next ones, which wait already.
    fn send(&mut self, first: Posted) {
        let posted = Arc::clone(&self.posted);
        let mut others = posted.try_lock().ok();
        let mut next = Some(first);
        while let Some(Posted { body, begun }) = next {
            self.out.extend_from_slice(&self.head);
            self.out
                .extend_from_slice(format!("{}\r\n\r\n", body.len()).as_bytes());
            self.out.extend_from_slice(&body);
            self.unanswered.push_back(begun);
            let has_room = self.unanswered.len() < self.unanswered_max
                && self.out.len() < BENCH_CALLS_BYTES_MAX;
            let others = others.as_mut().filter(|_| has_room);
            next = others.and_then(|others| others.try_recv().ok());
        }
    }

    fn take_answers(&mut self) -> Result<(), Problem> {
        while take_answer(&mut self.read)? {
            let begun = self.unanswered.pop_front();
            let begun = begun.ok_or_else(|| broken(&"an answer to no call"))?;
            if let Some(begun) = begun {
                let answered = self.answered.lock();
                let mut answered = answered.unwrap_or_else(PoisonError::into_inner);
                answered.push(begun.elapsed());
            }
        }
        Ok(())
    }
}

async fn next_of(posted: &Waiting) -> Option<Posted> {
    posted.lock().await.recv().await
}

/// Takes the first answer from what was read; false when not all of it was. One that is not 202 is an error that says its text.
fn take_answer(read: &mut BytesMut) -> Result<bool, Problem> {
    const END: &[u8] = b"\r\n\r\n";
    let Some(end) = read.windows(END.len()).position(|four| four == END) else {
        return Ok(false);
    };
    let unreadable = || broken(&"an answer cannot be read");
    let head = read
        .get(..end)
        .and_then(|head| std::str::from_utf8(head).ok());
    let mut lines = head.ok_or_else(unreadable)?.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let status: Option<StatusCode> = status.and_then(|status| status.parse().ok());
    let status = status.ok_or_else(unreadable)?;
    let mut headers = lines.filter_map(|line| line.split_once(':'));
    let length = headers.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: Option<usize> = length.and_then(|(_, text)| text.trim().parse().ok());
    let (body, length) = (end + END.len(), length.ok_or_else(unreadable)?);
    let Some(text) = read.get(body..body + length) else {
        return Ok(false);
    };
    if status != StatusCode::ACCEPTED {
        let text = String::from_utf8_lossy(text);
        return Err(broken(&format!("{status}: {text}")));
    }
    read.advance(body + length);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_one_by_one_however_they_arrive() {
        let all = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\nHTTP/1.1 202 Accepted\r\nContent-Length:2\r\n\r\nok";
        let mut read = BytesMut::new();
        let mut taken = 0;
        for byte in all {
            read.extend_from_slice(&[*byte]);
            while take_answer(&mut read).expect("good") {
                taken += 1;
            }
        }
        assert_eq!((taken, read.len()), (2, 0));
    }

    #[test]
    fn a_refusal_and_what_is_no_answer_are_told() {
        for (text, said) in [
            (
                "HTTP/1.1 400 Bad Request\r\ncontent-length: 4\r\n\r\nnope",
                "400 Bad Request: nope",
            ),
            ("HTTP/1.1 202 Accepted\r\n\r\n", "cannot be read"),
            ("nonsense\r\n\r\n", "cannot be read"),
        ] {
            let problem = take_answer(&mut BytesMut::from(text)).expect_err(text);
            assert!(problem.message.contains(said), "{problem}");
        }
    }
}
