//! The gRPC services: what is on the wire becomes what the core understands, and back.
//!
//! Decoding, authorization and the limits of a connection are here; no decision about the cluster is. A connection is
//! two halves: a task that reads and puts what it read into a lane, and a stream that sends what comes out of the
//! outbox. Whichever ends first ends the other.

use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use futures::{Stream, stream};
use proffer_model::{Principal, Problem, code};
use proffer_proto::status_of;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};

use crate::outbox::Mail;

pub(crate) mod agent_link;
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
#[derive(Clone, Debug, Default)]
struct Connection {
    /// Cancelled when the sending half has ended.
    ended: CancellationToken,
    /// Why the reading half has ended, if the peer is to be told.
    why: Arc<OnceLock<Problem>>,
}

impl Connection {
    /// Ends the connection with this problem as the status of the stream, unless there is one already.
    fn refuse(&self, problem: Problem) {
        let _ = self.why.set(problem);
    }

    /// What is sent: everything from `mail`, encoded, until that ends.
    fn sending<T, W>(
        self,
        mail: Mail<T>,
        encode: impl Fn(T) -> W + Send + 'static,
    ) -> impl Stream<Item = Result<W, Status>> + Send
    where
        T: Send + 'static,
        W: Send + 'static,
    {
        struct Sending<T, E> {
            mail: Mail<T>,
            encode: E,
            why: Arc<OnceLock<Problem>>,
            /// Ends the reading half when this stream is dropped, finished or not.
            _ended: tokio_util::sync::DropGuard,
        }
        let sending = Sending {
            mail,
            encode,
            why: self.why,
            _ended: self.ended.drop_guard(),
        };
        stream::unfold(Some(sending), |sending| async {
            let mut sending = sending?;
            let next = tokio::select! {
                biased;
                () = sending.mail.is_overrun.cancelled() => Err(Some(overrun())),
                message = sending.mail.receiver.recv() => {
                    message.ok_or_else(|| sending.why.get().cloned())
                }
            };
            match next {
                Ok(message) => Some((Ok((sending.encode)(message)), Some(sending))),
                Err(Some(problem)) => Some((Err(status_of(problem)), None)),
                Err(None) => None,
            }
        })
    }
}

fn overrun() -> Problem {
    Problem::new(code::SESSION_OVERLOADED, "the connection reads too slowly")
        .hint("connect again, and read faster than events come")
}
