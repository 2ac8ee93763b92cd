//! The gRPC services: what is on the wire becomes what the core understands, and back.
//!
//! Decoding, authorization and the limits of a connection are here; no decision about the cluster is. A connection is
//! two halves: a task that reads and puts what it read into a lane, and a stream that sends what comes out of the
//! outbox. Whichever ends first ends the other.

use std::pin::Pin;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use futures::{Stream, StreamExt as _};
use proffer_model::{Principal, Problem, code};
use proffer_proto::status_of;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Request, Status};

use crate::inbox::not_leading;
use crate::outbox::{Arrival, Mail};
use crate::tenure::Tenure;

pub(crate) mod agent_link;
pub(crate) mod leadership;
pub(crate) mod operator;
pub(crate) mod session;
pub(crate) mod state;

/// Who calls, as the guard before every router found it.
fn principal_of<T>(request: &Request<T>) -> Result<Principal, Status> {
    request
        .extensions()
        .get::<Principal>()
        .cloned()
        .ok_or_else(|| {
            status_of(Problem::new(
                code::AUTH_MISSING,
                "the call came without a principal",
            ))
        })
}

/// An id from a field that must be given.
fn decode_id<I: FromStr<Err = Problem>>(text: &str, field: &str) -> Result<I, Problem> {
    if text.is_empty() {
        return Err(Problem::new(code::FIELD_MISSING, "the field is missing").field(field));
    }
    text.parse()
        .map_err(|problem: Problem| problem.field(field))
}

/// What the two halves of a connection share.
#[derive(Clone, Debug)]
struct Connection {
    /// Cancelled when the sending half has ended, or was cut off: one whose peer does not read is never asked for more, so
    /// it cannot end by itself.
    ended: CancellationToken,
    /// Why the reading half has ended, if the peer is to be told.
    why: Arc<OnceLock<Problem>>,
    /// Of the term that it belongs to.
    tenure: Tenure,
}

impl Connection {
    /// Of which this is what is sent.
    fn new<T>(mail: &Mail<T>, tenure: Tenure) -> Self {
        Self {
            ended: mail.is_overrun.child_token(),
            why: Arc::default(),
            tenure,
        }
    }

    /// Ends the connection with this problem as the status of the stream, unless there is one already.
    fn refuse(&self, problem: Problem) {
        let _ = self.why.set(problem);
    }

    /// Waits until there is nobody left to read for: the sending half has ended, or the term has.
    async fn is_over(&self) {
        tokio::select! {
            () = self.ended.cancelled() => {}
            () = self.tenure.over() => {}
        }
    }

    /// What is sent: everything from `mail`, encoded, until that ends, or with the first that is a refusal. What waits when
    /// leadership is lost is not sent any more. `overrun` is told to a peer that reads too slowly.
    fn sending<T, W, O, E>(self, mail: Mail<T>, overrun: O, encode: E) -> Sending<T, W, O, E>
    where
        O: Fn() -> Problem,
        E: Fn(T) -> Result<W, Problem>,
    {
        Sending {
            first: None,
            mail,
            overrun,
            encode,
            why: self.why,
            tenure: self.tenure,
            is_over: false,
            _ended: self.ended.drop_guard(),
        }
    }
}

/// What is sent to one peer.
struct Sending<T, W, O, E> {
    /// Goes before the mail.
    first: Option<Box<W>>,
    mail: Mail<T>,
    overrun: O,
    encode: E,
    why: Arc<OnceLock<Problem>>,
    tenure: Tenure,
    is_over: bool,
    /// Ends the reading half when this stream is dropped, finished or not.
    _ended: DropGuard,
}

// Nothing of it is ever pinned.
impl<T, W, O, E> Unpin for Sending<T, W, O, E> {}

impl<T, W, O, E> Sending<T, W, O, E>
where
    O: Fn() -> Problem,
    E: Fn(T) -> Result<W, Problem>,
{
    /// Waits for the first that is to be sent, so that the head of the answer goes together with it, and not in a packet of its
    /// own before it. The error is how it ended instead.
    async fn begun(mut self) -> Result<Self, Status> {
        self.first = self.next().await.transpose()?.map(Box::new);
        Ok(self)
    }
}

impl<T, W, O, E> Stream for Sending<T, W, O, E>
where
    O: Fn() -> Problem,
    E: Fn(T) -> Result<W, Problem>,
{
    type Item = Result<W, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(*first)));
        }
        if self.is_over {
            return Poll::Ready(None);
        }
        let end = match ready!(self.mail.poll_next(context)) {
            Arrival::Message(message) if self.tenure.holds() => match (self.encode)(message) {
                Ok(encoded) => return Poll::Ready(Some(Ok(encoded))),
                Err(problem) => Some(problem),
            },
            Arrival::Message(_) => Some(not_leading()),
            Arrival::Overrun => Some((self.overrun)()),
            Arrival::End => match self.why.get() {
                Some(why) => Some(why.clone()),
                None => (!self.tenure.takes_calls()).then(not_leading),
            },
        };
        self.is_over = true;
        Poll::Ready(end.map(|problem| Err(status_of(problem))))
    }
}

fn overrun() -> Problem {
    Problem::new(code::SESSION_OVERLOADED, "the connection reads too slowly")
        .hint("connect again, and read faster than events come")
}

#[cfg(test)]
mod tests {
    use proffer_master_core::effect::After;
    use proffer_master_core::event::Seq;
    use proffer_proto::problem_of;

    use super::*;
    use crate::outbox::{Peers, outbox};

    /// What a connection with room for two sends: the messages, and the code with which it ends.
    async fn sent(count: u32, why: Option<Problem>) -> (Vec<u32>, Option<String>) {
        let (outbox, mail) = outbox(2);
        let mut peers = Peers::new();
        peers.open('a', outbox);
        (0..count).for_each(|message| peers.send('a', message, After::Nothing));
        peers.close('a');
        peers.flush(Seq(0));
        let connection = Connection::new(&mail, Tenure::forever());
        if let Some(problem) = why {
            connection.refuse(problem);
        }
        let ended = connection.ended.clone();
        let results: Vec<_> = connection.sending(mail, overrun, Ok).collect().await;
        assert!(ended.is_cancelled(), "the reading half is ended too");
        let code = |status: &Status| problem_of(status).code.into_owned();
        let end = results
            .iter()
            .find_map(|result| result.as_ref().err().map(code));
        (results.into_iter().flatten().collect(), end)
    }

    #[tokio::test]
    async fn a_connection_ends_after_its_messages_with_its_reason() {
        assert_eq!(sent(2, None).await, (vec![0, 1], None));
        let why = Problem::new(code::FIELD_MISSING, "hello");
        let end = Some("field.missing".to_owned());
        assert_eq!(sent(1, Some(why)).await, (vec![0], end));
    }

    #[tokio::test]
    async fn an_answer_waits_for_its_first_message_or_is_its_end() {
        let (outbox, mail) = outbox(2);
        let mut peers = Peers::new();
        peers.open('a', outbox);
        let connection = Connection::new(&mail, Tenure::forever());
        let mut begun = Box::pin(
            connection
                .sending(mail, overrun, Ok::<u32, Problem>)
                .begun(),
        );
        assert!(futures::poll!(begun.as_mut()).is_pending());
        (0..2).for_each(|message| peers.send('a', message, After::Nothing));
        peers.close('a');
        peers.flush(Seq(0));
        let sending = begun.await.expect("it begins");
        let sent: Vec<u32> = sending.map(|sent| sent.expect("sent")).collect().await;
        assert_eq!(sent, [0, 1]);

        let (outbox, mail) = super::super::outbox::outbox::<u32>(1);
        let connection = Connection::new(&mail, Tenure::forever());
        connection.refuse(Problem::new(code::FIELD_MISSING, "hello"));
        drop(outbox);
        let begun = connection.sending(mail, overrun, Ok).begun().await;
        let status = begun.err().expect("refused");
        assert_eq!(problem_of(&status).code, "field.missing");
    }

    #[tokio::test]
    async fn a_connection_that_was_too_slow_is_told_so_at_once() {
        let end = Some("session.overloaded".to_owned());
        assert_eq!(sent(3, None).await, (vec![], end));
    }

    #[tokio::test]
    async fn a_connection_that_is_dropped_ends_its_reading_half() {
        let (_outbox, mail) = outbox::<u32>(1);
        let connection = Connection::new(&mail, Tenure::forever());
        let ended = connection.ended.clone();
        drop(connection.sending(mail, overrun, Ok::<u32, Problem>));
        assert!(ended.is_cancelled());
    }

    #[tokio::test]
    async fn a_peer_that_never_reads_is_not_listened_to_for_ever() {
        let (outbox, mail) = outbox(1);
        let mut peers = Peers::new();
        peers.open('a', outbox);
        let connection = Connection::new(&mail, Tenure::forever());
        let ended = connection.ended.clone();
        let _unread = connection.sending(mail, overrun, Ok::<u32, Problem>);
        (0..2).for_each(|message| peers.send('a', message, After::Nothing));
        assert_eq!(peers.flush(Seq(0)), ['a']);
        assert!(ended.is_cancelled());
    }
}
