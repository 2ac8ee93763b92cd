//! Binds listeners: loopback unless the operator said `insecure_allow_plaintext`, and a typed problem when the port is
//! taken. What is served there is decided in [`crate::http`].

use std::io;
use std::net::{IpAddr, SocketAddr};

use proffer_model::{Problem, code};
use tokio::net::{TcpListener, TcpSocket};

use crate::limits::BACKLOG;

/// Whether `addr` may be listened on. Beyond loopback everything would travel in plain text, the token included, so it
/// takes `insecure_allow_plaintext`. `key` names the option that holds the address, and becomes the problem's field.
pub fn check(addr: SocketAddr, key: &str, insecure_allow_plaintext: bool) -> Result<(), Problem> {
    if is_loopback(addr.ip()) || insecure_allow_plaintext {
        return Ok(());
    }
    Err(Problem::new(
        code::CONFIG_INVALID,
        format!("{addr} is not a loopback address, and connections are not encrypted"),
    )
    .field(key)
    .hint("listen on 127.0.0.1, or set insecure_allow_plaintext = true on a network you trust"))
}

/// Binds a loopback address; see [`bind_plaintext`].
pub fn bind(addr: SocketAddr, key: &str) -> Result<TcpListener, Problem> {
    bind_plaintext(addr, key, false)
}

/// Binds `addr` after [`check`]; port 0 lets the kernel choose. Errors: `config.invalid` from the check and for addresses
/// that this host does not have, `port.taken`. Needs a tokio runtime.
pub fn bind_plaintext(
    addr: SocketAddr,
    key: &str,
    insecure_allow_plaintext: bool,
) -> Result<TcpListener, Problem> {
    check(addr, key, insecure_allow_plaintext)?;
    listen(addr).map_err(|error| explain(addr, key, &error))
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // Without it a restart waits for the last connections to leave TIME_WAIT. It does not allow two listeners.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// Whether only this host can reach it, IPv4 in IPv6 included.
pub(crate) fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

fn explain(addr: SocketAddr, key: &str, error: &io::Error) -> Problem {
    let flag = key.replace('_', "-");
    match error.kind() {
        io::ErrorKind::AddrInUse => Problem::new(
            code::PORT_TAKEN,
            format!("port {} of {} is in use by another process", addr.port(), addr.ip()),
        )
        .hint(format!(
            "stop that process (ss -ltnp 'sport = :{}' names it), or choose another port with --{flag} {}:PORT",
            addr.port(),
            host(addr.ip()),
        )),
        io::ErrorKind::PermissionDenied => Problem::new(
            code::CONFIG_INVALID,
            format!("this user may not listen on port {}", addr.port()),
        )
        .hint("choose a port above 1023, or give the program CAP_NET_BIND_SERVICE"),
        _ => Problem::new(code::CONFIG_INVALID, format!("cannot listen on {addr}: {error}"))
            .hint("give an address of this host, such as 127.0.0.1:5050"),
    }
    .field(key)
}

fn host(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_is_a_typed_error_that_names_it() {
        let first = bind("127.0.0.1:0".parse().unwrap(), "listen").expect("a free port");
        let taken = first.local_addr().expect("bound");
        let problem = bind(taken, "cluster_listen").expect_err("taken");
        assert!(problem.is(code::PORT_TAKEN));
        assert_eq!(problem.field, "cluster_listen");
        assert!(problem.message.contains(&taken.port().to_string()));
        assert!(problem.hint.contains("--cluster-listen 127.0.0.1:PORT"));
        drop(first);
        bind(taken, "listen").expect("free again at once");
    }

    #[tokio::test]
    async fn only_loopback_is_bound_unless_plaintext_is_allowed() {
        for (addr, loopback) in [
            ("127.0.0.1:0", true),
            ("127.9.9.9:0", true),
            ("[::1]:0", true),
            ("[::ffff:127.0.0.1]:0", true),
            ("0.0.0.0:0", false),
            ("[::]:0", false),
            ("192.0.2.1:0", false),
        ] {
            let addr: SocketAddr = addr.parse().unwrap();
            assert_eq!(check(addr, "listen", false).is_ok(), loopback, "{addr}");
            check(addr, "listen", true).expect("allowed");
        }
        let any = "0.0.0.0:0".parse().unwrap();
        let problem = bind(any, "listen").expect_err("refused");
        assert!(problem.is(code::CONFIG_INVALID));
        assert!(problem.hint.contains("insecure_allow_plaintext"));
        bind_plaintext(any, "listen", true).expect("allowed");
    }

    #[tokio::test]
    async fn an_address_of_another_host_is_a_configuration_error() {
        let other = "192.0.2.1:0".parse().unwrap();
        let problem = bind_plaintext(other, "listen", true).expect_err("not ours");
        assert!(problem.is(code::CONFIG_INVALID));
        assert_eq!(problem.field, "listen");
    }
}
