//! A TCP proxy that can be cut: bytes stop flowing both ways and connections stay open, as when a cable is pulled. Or
//! it hangs up on everybody, as a sick server or load balancer does.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Forwards one loopback port to another.
pub(crate) struct Proxy {
    port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    is_cut: AtomicBool,
    is_deaf: AtomicBool,
    is_hanging_up: AtomicBool,
    connections: AtomicUsize,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    pub(crate) fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::new(State::default());
        let theirs = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                theirs.connections.fetch_add(1, Ordering::SeqCst);
                if !theirs.is_hanging_up.load(Ordering::SeqCst) {
                    let _ = forward(client, target, &theirs);
                }
            }
        });
        Self { port, state }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// How many connections were made to it, whatever became of them.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// From now on nothing passes; nobody is told.
    pub(crate) fn cut(&self) {
        self.state.is_cut.store(true, Ordering::SeqCst);
    }

    /// From now on what is asked passes, and what is answered does not.
    pub(crate) fn hold_answers(&self) {
        self.state.is_deaf.store(true, Ordering::SeqCst);
    }

    /// Closes what is open.
    pub(crate) fn reset(&self) {
        for stream in self.state.open.lock().expect("no panic").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Closes what is open, and from now on what is made.
    pub(crate) fn hang_up(&self) {
        self.state.is_hanging_up.store(true, Ordering::SeqCst);
        self.reset();
    }

    /// New bytes and connections pass again; what was sent while it was cut arrives late.
    pub(crate) fn heal(&self) {
        self.state.is_cut.store(false, Ordering::SeqCst);
        self.state.is_deaf.store(false, Ordering::SeqCst);
        self.state.is_hanging_up.store(false, Ordering::SeqCst);
    }
}

fn forward(client: TcpStream, target: u16, state: &Arc<State>) -> std::io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", target))?;
    let (back, forth) = (client.try_clone()?, server.try_clone()?);
    let ends = [client.try_clone()?, server.try_clone()?];
    state.open.lock().expect("no panic").extend(ends);
    let (one, two) = (Arc::clone(state), Arc::clone(state));
    std::thread::spawn(move || pump(client, server, || one.is_cut.load(Ordering::SeqCst)));
    std::thread::spawn(move || {
        pump(forth, back, || {
            two.is_cut.load(Ordering::SeqCst) || two.is_deaf.load(Ordering::SeqCst)
        });
    });
    Ok(())
}

fn pump(mut from: TcpStream, mut to: TcpStream, is_held: impl Fn() -> bool) {
    let mut part = [0; 16 * 1024];
    while let Ok(count) = from.read(&mut part) {
        while is_held() {
            std::thread::park_timeout(Duration::from_millis(10));
        }
        if count == 0 || to.write_all(&part[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
