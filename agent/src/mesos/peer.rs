//! Whose a connection is: asked of the kernel, for executors that send no token.
//!
//! The kernel says which socket is the other end of a connection of this host, and which processes hold it. A connection
//! is an executor's when one of the processes beneath its supervisor holds it: the supervisor is the parent of all that the
//! executor leaves alone, so nothing of it ends up elsewhere, and nothing else ends up there.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::limits::MESOS_CALLERS_KNOWN_MAX;
use crate::procfs::{self, ProcessId};
use crate::supervisor::protocol;

/// Processes that were found to be of a run. Each stays of it as long as it lives, so they are looked at first: to look at all
/// processes of a host takes long.
#[derive(Debug, Default)]
pub(crate) struct Callers(Mutex<Vec<ProcessId>>);

impl Callers {
    fn known(&self) -> Vec<ProcessId> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.clone()
    }

    fn remember(&self, caller: ProcessId) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|it| *it != caller);
        known.truncate(MESOS_CALLERS_KNOWN_MAX - 1);
        known.insert(0, caller);
    }
}

/// Whether a process of this run holds the other end of a connection. Blocks.
pub(crate) fn is_of_run(
    run_dir: &Path,
    callers: &Callers,
    local: SocketAddr,
    peer: SocketAddr,
) -> bool {
    let Some(inode) = socket_of(local, peer) else {
        return false;
    };
    let name = format!("socket:[{inode}]");
    // Asked after its start time too, so that it cannot be a later process of that id.
    let is_it = |it: &ProcessId| holds(it.pid, &name) && ProcessId::of(it.pid) == Some(*it);
    if callers.known().iter().any(is_it) {
        return true;
    }
    let text = fs::read_to_string(run_dir.join(protocol::PID)).unwrap_or_default();
    let supervisor = text
        .lines()
        .find_map(|line| line.strip_prefix("supervisor "));
    let pid = supervisor.and_then(|line| line.split(' ').next()?.parse().ok());
    let beneath = pid.map(procfs::beneath).unwrap_or_default();
    let Some(pid) = beneath.into_iter().find(|pid| holds(*pid, &name)) else {
        return false;
    };
    if let Some(caller) = ProcessId::of(pid).filter(is_it) {
        callers.remember(caller);
    }
    true
}

/// The socket whose own end is `peer` and whose other end is `local`; nothing when it is not of this host.
fn socket_of(local: SocketAddr, peer: SocketAddr) -> Option<u64> {
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|path| {
        let table = fs::read_to_string(path).ok()?;
        let mut lines = table.lines().skip(1);
        lines.find_map(|line| inode_of(line, peer, local))
    })
}

/// The inode in a line of the kernel's table, if the line is of this connection.
fn inode_of(line: &str, own: SocketAddr, other: SocketAddr) -> Option<u64> {
    let mut fields = line.split_whitespace().skip(1);
    let is_it =
        address(fields.next()?)? == canonical(own) && address(fields.next()?)? == canonical(other);
    // After the two: state, queues, timer, retransmissions, user, timeout, inode.
    let inode = fields.nth(6)?.parse().ok()?;
    (is_it && inode > 0).then_some(inode)
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// An address as the kernel writes it: words of 32 bits in the byte order of this machine, then the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    if !matches!(ip.len(), 8 | 32) {
        return None;
    }
    let words = ip.as_bytes().chunks(8).map(|word| {
        let word = std::str::from_utf8(word).ok()?;
        u32::from_str_radix(word, 16).ok().map(u32::to_ne_bytes)
    });
    let bytes: Vec<u8> = words.collect::<Option<Vec<_>>>()?.concat();
    let ip = match bytes.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical(),
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

fn holds(pid: u32, name: &str) -> bool {
    let entries = fs::read_dir(format!("/proc/{pid}/fd"));
    let mut entries = entries.into_iter().flatten().flatten();
    entries.any(|entry| fs::read_link(entry.path()).is_ok_and(|target| target == Path::new(name)))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_other_end_of_a_connection_is_found_with_its_process() {
        for name in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(name).unwrap();
            let local = listener.local_addr().unwrap();
            let client = TcpStream::connect(local).unwrap();
            let peer = client.local_addr().unwrap();
            let inode = socket_of(local, peer).expect("it is there");
            assert!(holds(std::process::id(), &format!("socket:[{inode}]")));
            assert!(!holds(1, &format!("socket:[{inode}]")), "nobody else");
            let other = SocketAddr::new(peer.ip(), peer.port() ^ 1);
            assert_eq!(socket_of(local, other), None);
            drop(client);
        }
    }

    #[test]
    fn a_process_that_was_found_is_known_again_and_a_later_one_of_its_id_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let local = listener.local_addr().unwrap();
        let client = TcpStream::connect(local).unwrap();
        let peer = client.local_addr().unwrap();
        let callers = Callers::default();
        let own = ProcessId::of(std::process::id()).unwrap();
        let start = own.start + 1;
        callers.remember(ProcessId { start, ..own });
        assert!(!is_of_run(dir.path(), &callers, local, peer));
        callers.remember(own);
        assert!(is_of_run(dir.path(), &callers, local, peer));
        for pid in 1..100 {
            callers.remember(ProcessId { pid, start: 0 });
        }
        assert_eq!(callers.known().len(), MESOS_CALLERS_KNOWN_MAX);
        assert!(!is_of_run(dir.path(), &callers, local, peer), "forgotten");
    }

    #[test]
    fn addresses_are_read_as_the_kernel_writes_them() {
        if cfg!(target_endian = "little") {
            let v4 = address("0100007F:13BB").unwrap();
            assert_eq!(v4.to_string(), "127.0.0.1:5051");
            let mapped = address("0000000000000000FFFF00000100007F:0050").unwrap();
            assert_eq!(mapped.to_string(), "127.0.0.1:80");
            let v6 = address("00000000000000000000000001000000:0050").unwrap();
            assert_eq!(v6.to_string(), "[::1]:80");
        }
        for bad in ["", "0100007F", "01:80", "0100007F:x"] {
            assert_eq!(address(bad), None, "{bad}");
        }
    }
}
