//! The socket of one connection: counts what comes in, so that a peer which connects and says nothing can be told from
//! one that talks, and asks the kernel to end connections whose peer is gone.
//!
//! Of HTTP/2 a small write waits once, until the tasks that are ready now have had their turn: what several streams of a
//! connection have to say then is one packet, not one each.

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
