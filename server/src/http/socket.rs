//! The socket of one connection: counts what comes in, so that a peer which connects and says nothing can be told from
//! one that talks, and asks the kernel to end connections whose peer is gone.
//!
//! Of HTTP/2 a small write waits once, until the tasks that are ready now have had their turn: what several streams of a
//! connection have to say then is one packet, not one each. Of HTTP/1.1 none waits: hyper begins no request before the answer
//! to the one before is written, and does not always look again when a write has waited.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::limits::{TCP_KEEPALIVE_SECS, TCP_USER_TIMEOUT, WAITING_WRITE_LEN_MAX};

/// A stream that counts the bytes it reads.
pub(super) struct Socket {
    stream: TcpStream,
    heard: Arc<Heard>,
    /// The next write has waited.
    has_waited: bool,
}

/// What has come in.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Bytes.
    pub(super) len: AtomicUsize,
    /// It does not begin as HTTP/2 does.
    pub(super) is_http1: AtomicBool,
}

/// How HTTP/2 begins, as no request of HTTP/1.1 does.
const HTTP2: &[u8] = b"PRI";

impl Socket {
    /// Prepares an accepted stream. Options that the kernel refuses are done without.
    pub(super) fn new(stream: TcpStream) -> Self {
        let _ = stream.set_nodelay(true);
        let _ = detect_dead_peer(&stream);
        Self {
            stream,
            heard: Arc::default(),
            has_waited: false,
        }
    }

    /// What has come in; shared, since the connection owns the socket.
    pub(super) fn heard(&self) -> Arc<Heard> {
        Arc::clone(&self.heard)
    }

    /// Whether a write of so many bytes waits until other tasks have had their turn.
    fn waits(&mut self, cx: &Context<'_>, len: usize) -> bool {
        // One request at a time: there is nothing that it could go with.
        let is_alone = self.heard.is_http1.load(Ordering::Relaxed);
        self.has_waited = !self.has_waited && len <= WAITING_WRITE_LEN_MAX && !is_alone;
        if self.has_waited {
            cx.waker().wake_by_ref();
        }
        self.has_waited
    }
}

pub(super) fn detect_dead_peer(stream: &TcpStream) -> io::Result<()> {
    let interval = Duration::from_secs(u64::from(TCP_KEEPALIVE_SECS));
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, interval)?;
    sockopt::set_tcp_keepintvl(stream, interval)?;
    let millis = u32::try_from(TCP_USER_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
    sockopt::set_tcp_user_timeout(stream, millis)?;
    Ok(())
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(cx, buf);
        let fresh = buf.filled().get(before..).unwrap_or_default();
        let known = self.heard.len.fetch_add(fresh.len(), Ordering::Relaxed);
        let expected = HTTP2.get(known..).unwrap_or_default();
        if expected.iter().zip(fresh).any(|(one, other)| one != other) {
            self.heard.is_http1.store(true, Ordering::Relaxed);
        }
        poll
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.waits(cx, bytes.len()) {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let len = slices.iter().map(|slice| slice.len()).sum();
        if self.waits(cx, len) {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures::poll;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A socket that has read this, and its peer.
    async fn after_reading(said: &[u8]) -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("an address");
        let mut peer = TcpStream::connect(address).await.expect("connects");
        let (stream, _) = listener.accept().await.expect("accepts");
        let mut socket = Socket::new(stream);
        peer.write_all(said).await.expect("writes");
        let mut heard = vec![0; said.len()];
        socket.read_exact(&mut heard).await.expect("reads");
        (socket, peer)
    }

    /// Whether a write is done at once.
    async fn writes(socket: &mut Socket, len: usize) -> bool {
        let bytes = vec![b'x'; len];
        let write = poll_fn(|cx| Pin::new(&mut *socket).poll_write(cx, &bytes));
        poll!(write).is_ready()
    }

    #[tokio::test]
    async fn an_answer_of_http1_never_waits() {
        let (mut socket, _peer) = after_reading(b"GET / HTTP/1.1").await;
        assert!(writes(&mut socket, 10).await);
    }

    #[tokio::test]
    async fn a_small_write_of_http2_waits_once() {
        let (mut socket, _peer) = after_reading(b"PRI * HTTP/2.0").await;
        for is_done in [false, true, false, true] {
            assert_eq!(writes(&mut socket, 10).await, is_done);
        }
        assert!(writes(&mut socket, WAITING_WRITE_LEN_MAX + 1).await);
    }
}
