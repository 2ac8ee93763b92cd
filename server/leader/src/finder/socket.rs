//! The socket of a connection to a master: what its task and the tasks of its streams have to say in one turn is written
//! together.
//!
//! HTTP/2 begins with words that every connection begins with; they wait for what is said next. A small write waits once,
//! until the tasks that are ready now have had their turn: a call's head and its body are then one packet, not two.

use std::error::Error;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tower::util::BoxCloneSyncService;
use tower::{ServiceExt as _, service_fn};

use super::limits::{CONNECT_TIMEOUT, WAITING_WRITE_LEN_MAX};

/// How HTTP/2 begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Makes connections.
pub(super) type Connector =
    BoxCloneSyncService<Uri, TokioIo<Socket<TcpStream>>, Box<dyn Error + Send + Sync>>;

/// Makes connections over TCP.
pub(super) fn connector() -> Connector {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(CONNECT_TIMEOUT));
    BoxCloneSyncService::new(service_fn(move |uri| {
        let http = http.clone();
        async move {
            let stream = http.oneshot(uri).await?;
            Ok(TokioIo::new(Socket::new(stream.into_inner())))
        }
    }))
}

/// A stream whose small writes wait for one another.
pub(super) struct Socket<S> {
    stream: S,
    /// Said, and not written yet.
    held: &'static [u8],
    /// The next write has waited.
    has_waited: bool,
}

impl<S> Socket<S> {
    fn new(stream: S) -> Self {
        Self {
            stream,
            held: &[],
            has_waited: false,
        }
    }

    /// Whether a write of so many bytes waits until other tasks have had their turn.
    fn waits(&mut self, context: &Context<'_>, len: usize) -> bool {
        self.has_waited = !self.has_waited && len <= WAITING_WRITE_LEN_MAX;
        if self.has_waited {
            context.waker().wake_by_ref();
        }
        self.has_waited
    }
}

impl<S: AsyncWrite + Unpin> Socket<S> {
    /// Writes what is held, and these with it as far as possible; answers how many of these were written.
    fn poll_write_with_held(
        &mut self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        while !self.held.is_empty() {
            let mut all = self.held.to_vec();
            slices.iter().for_each(|slice| all.extend_from_slice(slice));
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &all))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_held = written.min(self.held.len());
            self.held = self.held.get(of_held..).unwrap_or_default();
            if written > of_held {
                return Poll::Ready(Ok(written - of_held));
            }
        }
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes == PREFACE && self.held.is_empty() {
            self.held = PREFACE;
            return Poll::Ready(Ok(bytes.len()));
        }
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let len = slices.iter().map(|slice| slice.len()).sum();
        if self.waits(context, len) {
            return Poll::Pending;
        }
        self.poll_write_with_held(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            ready!(self.poll_write_with_held(context, &[]))?;
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Takes a few bytes at a time, and counts the writes.
    #[derive(Default)]
    struct Peer {
        taken: Vec<u8>,
        writes: usize,
        at_most: usize,
    }

    impl AsyncWrite for Peer {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let len = bytes.len().min(self.at_most);
            self.taken.extend_from_slice(&bytes[..len]);
            self.writes += 1;
            Poll::Ready(Ok(len))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn socket(at_most: usize) -> Socket<Peer> {
        Socket::new(Peer {
            at_most,
            ..Peer::default()
        })
    }

    fn write(socket: &mut Socket<Peer>, bytes: &[u8]) -> Option<usize> {
        let mut context = Context::from_waker(Waker::noop());
        match Pin::new(socket).poll_write(&mut context, bytes) {
            Poll::Ready(written) => Some(written.expect("written")),
            Poll::Pending => None,
        }
    }

    #[test]
    fn the_first_words_go_with_the_next_and_a_small_write_waits_once() {
        let mut socket = socket(1_000);
        assert_eq!(write(&mut socket, PREFACE), Some(PREFACE.len()));
        assert_eq!(write(&mut socket, b"settings"), None);
        assert_eq!(write(&mut socket, b"settings, head"), Some(14));
        assert_eq!(socket.stream.taken, [PREFACE, b"settings, head"].concat());
        assert_eq!(socket.stream.writes, 1);
        assert_eq!(write(&mut socket, b"more"), None);
        assert_eq!(write(&mut socket, b"more"), Some(4));
        let large = vec![7; WAITING_WRITE_LEN_MAX + 1];
        assert_eq!(write(&mut socket, &large), Some(1_000), "it does not wait");
    }

    #[test]
    fn nothing_is_lost_where_the_peer_takes_little() {
        for at_most in 1..40 {
            let mut socket = socket(at_most);
            let mut rest: &[u8] = b"settings";
            write(&mut socket, PREFACE);
            while !rest.is_empty() {
                let written = write(&mut socket, rest).unwrap_or_default();
                rest = &rest[written..];
            }
            assert_eq!(socket.stream.taken, [PREFACE, b"settings"].concat());
        }
        let mut socket = socket(5);
        write(&mut socket, PREFACE);
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut socket).poll_flush(&mut context).is_ready());
        assert_eq!(
            socket.stream.taken, PREFACE,
            "a flush leaves nothing behind"
        );
    }
}
