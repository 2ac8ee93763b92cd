//! The socket of one connection: counts what comes in, so that a peer which connects and says nothing can be told from
//! one that talks, and asks the kernel to end connections whose peer is gone.
//!
//! Of HTTP/2 a small write waits once, until the tasks that are ready now have had their turn: what several streams of a
//! connection have to say then is one packet, not one each. Of HTTP/1.1 no write waits, since hyper begins no request before the
//! answer to the one before is written, and does not always look again when a write has waited: what is small is kept here, with
//! the answers to requests that came together, and goes when hyper asks for more to read or a turn adds nothing.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::limits::{
    KEPT_ANSWERS_LEN_MAX, KEPT_ANSWERS_TURNS_MAX, TCP_KEEPALIVE_SECS, TCP_USER_TIMEOUT,
    WAITING_WRITE_LEN_MAX,
};

/// A stream that counts the bytes it reads.
pub(super) struct Socket {
    stream: TcpStream,
    heard: Arc<Heard>,
    /// The next write has waited.
    has_waited: bool,
    kept: Kept,
}

/// Answers of HTTP/1.1 that wait for others to go with them.
#[derive(Default)]
struct Kept {
    bytes: BytesMut,
    /// The turns in which the first and the last of them came.
    first: u64,
    last: u64,
}

/// What has come in.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// How often the connection has had its turn.
    pub(super) turns: AtomicU64,
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
            kept: Kept::default(),
        }
    }

    /// What has come in; shared, since the connection owns the socket.
    pub(super) fn heard(&self) -> Arc<Heard> {
        Arc::clone(&self.heard)
    }

    /// Whether a write of so many bytes waits until other tasks have had their turn.
    fn waits(&mut self, cx: &Context<'_>, len: usize) -> bool {
        let waits = !self.is_http1() && len <= WAITING_WRITE_LEN_MAX;
        self.has_waited = waits && !self.has_waited;
        if self.has_waited {
            cx.waker().wake_by_ref();
        }
        self.has_waited
    }

    fn is_http1(&self) -> bool {
        self.heard.is_http1.load(Ordering::Relaxed)
    }

    /// Keeps what is small for others to go with it; true when that is done. What there is no room for goes by itself, after
    /// what is kept.
    fn keep(&mut self, slices: &[IoSlice<'_>], len: usize) -> bool {
        let kept = &mut self.kept;
        if len > KEPT_ANSWERS_LEN_MAX - kept.bytes.len() {
            return false;
        }
        kept.last = self.heard.turns.load(Ordering::Relaxed);
        if kept.bytes.is_empty() {
            kept.first = kept.last;
        }
        for slice in slices {
            kept.bytes.extend_from_slice(slice);
        }
        true
    }

    /// Whether what is kept may wait for the next turn.
    fn may_wait(&self) -> bool {
        let turn = self.heard.turns.load(Ordering::Relaxed);
        turn == self.kept.last && turn - self.kept.first < KEPT_ANSWERS_TURNS_MAX
    }

    /// Writes what is kept.
    fn poll_write_kept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.kept.bytes.is_empty() {
            let stream = Pin::new(&mut self.stream);
            let len = ready!(stream.poll_write(cx, &self.kept.bytes))?;
            if len == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.kept.bytes.advance(len);
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Socket {
    /// A connection that ends for others has answered before.
    fn drop(&mut self) {
        if !self.kept.bytes.is_empty() {
            let _ = self.stream.try_write(&self.kept.bytes);
        }
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
        // What it reads next may be said only when the answers are there.
        if let Poll::Ready(Err(error)) = self.poll_write_kept(cx) {
            return Poll::Ready(Err(error));
        }
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
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let len = slices.iter().map(|slice| slice.len()).sum();
        if self.is_http1() {
            if self.keep(slices, len) {
                return Poll::Ready(Ok(len));
            }
            ready!(self.poll_write_kept(cx))?;
        } else if self.waits(cx, len) {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.kept.bytes.is_empty() && self.may_wait() {
            // The next turn comes soon, and begins with this.
            cx.waker().wake_by_ref();
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_write_kept(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_kept(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

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

    /// What the peer has got, of so many bytes or fewer.
    fn got(peer: &TcpStream) -> usize {
        let mut bytes = vec![0; 2 * KEPT_ANSWERS_LEN_MAX];
        peer.try_read(&mut bytes).unwrap_or(0)
    }

    /// The connection has its next turn.
    fn turn(socket: &Socket) {
        socket.heard.turns.fetch_add(1, Ordering::Relaxed);
    }

    async fn flush(socket: &mut Socket) {
        socket.flush().await.expect("flushes");
    }

    #[tokio::test]
    async fn an_answer_of_http1_never_waits_and_goes_with_others() {
        let (mut socket, peer) = after_reading(b"GET / HTTP/1.1").await;
        for _ in 0..3 {
            turn(&socket);
            assert!(writes(&mut socket, 10).await);
            flush(&mut socket).await;
            assert_eq!(got(&peer), 0);
        }
        turn(&socket);
        flush(&mut socket).await;
        peer.readable().await.expect("it has come");
        assert_eq!(got(&peer), 30);
    }

    #[tokio::test]
    async fn what_is_kept_goes_before_more_is_read_and_when_it_ends() {
        let (mut socket, mut peer) = after_reading(b"GET / HTTP/1.1").await;
        writes(&mut socket, 10).await;
        let mut more = [0; 1];
        let read = socket.read(&mut more);
        assert!(poll!(pin!(read)).is_pending());
        peer.readable().await.expect("it has come");
        assert_eq!(got(&peer), 10);
        writes(&mut socket, 20).await;
        drop(socket);
        let mut rest = Vec::new();
        peer.read_to_end(&mut rest).await.expect("reads");
        assert_eq!(rest.len(), 20);
    }

    #[tokio::test]
    async fn much_is_not_kept_nor_long() {
        let (mut socket, mut peer) = after_reading(b"GET / HTTP/1.1").await;
        writes(&mut socket, 10).await;
        writes(&mut socket, KEPT_ANSWERS_LEN_MAX).await;
        let mut all = vec![0; 10 + KEPT_ANSWERS_LEN_MAX];
        peer.read_exact(&mut all).await.expect("reads");
        for _ in 0..=KEPT_ANSWERS_TURNS_MAX {
            turn(&socket);
            writes(&mut socket, 10).await;
            flush(&mut socket).await;
        }
        peer.readable().await.expect("it has come");
        let turns = usize::try_from(KEPT_ANSWERS_TURNS_MAX).expect("few");
        assert_eq!(got(&peer), 10 * (turns + 1));
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
