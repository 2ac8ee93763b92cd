//! Tells the service manager how a role is: that it serves, what it does, that it lives, that it stops (`sd_notify(3)`).
//! Where no service manager asked to be told, nothing is said.
//!
//! That a process exists proves nothing. The watchdog hears from a role only after its driver, the task that owns its core,
//! has answered a question in between; a driver that hangs is silent, and the service manager starts the role anew.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::limits::{NOTIFY_SEND_TIMEOUT, NOTIFY_STATUS_INTERVAL, NOTIFY_STATUS_LEN_MAX};

/// What a service manager puts into the environment for its services alone: what they start must not have it.
pub const VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// Whether a driver turns: whoever wants to know asks, and the driver answers by taking the question.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<Beat>);

#[derive(Debug, Default)]
struct Beat {
    asked: Notify,
    answered: Notify,
}

impl Pulse {
    /// For the driver's `select!`: comes when it is asked, and is the answer. May be cancelled without loss.
    pub async fn asked(&self) {
        self.0.asked.notified().await;
        self.0.answered.notify_one();
    }

    /// The same for a driver whose turns begin with an event only: answers while it is polled.
    pub async fn answering(&self) -> ! {
        loop {
            self.asked().await;
        }
    }

    /// Asks and waits for the answer, for ever if the driver hangs.
    async fn ask(&self) {
        self.0.asked.notify_one();
        self.0.answered.notified().await;
    }
}

/// What a role lets the service manager know while it serves.
pub struct Report {
    /// One for each driver; all of them must turn.
    pub pulses: Vec<Pulse>,
    /// What the role does now, in a few words. Called now and then; must not wait.
    pub status: Box<dyn Fn() -> String + Send + Sync>,
}

impl std::fmt::Debug for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Report").finish_non_exhaustive()
    }
}

/// Says that the role serves, and until `shutdown` what it does and that it lives.
pub fn serving(report: Report, shutdown: CancellationToken) {
    let Some(manager) = Manager::of_environment() else {
        return;
    };
    let watchdog = watchdog(
        std::env::var("WATCHDOG_USEC").ok().as_deref(),
        std::env::var("WATCHDOG_PID").ok().as_deref(),
        std::process::id(),
    );
    tokio::spawn(async move {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = manager.tell(report, watchdog) => {}
        }
    });
}

/// Says that the process has begun to end.
pub(crate) fn stopping() {
    if let Some(manager) = Manager::of_environment() {
        manager.send("STOPPING=1");
    }
}

/// The service manager's socket.
struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Manager {
    /// The one that wants to be told, if there is one.
    fn of_environment() -> Option<Self> {
        let address = std::env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty())?;
        Self::at(&address)
            .inspect_err(|error| {
                tracing::warn!(?address, %error, "the service manager cannot be told anything");
            })
            .ok()
    }

    fn at(address: &OsStr) -> io::Result<Self> {
        let address = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(address)?,
            _ => {
                let kind = "NOTIFY_SOCKET is neither a path nor an abstract socket";
                return Err(io::Error::new(io::ErrorKind::Unsupported, kind));
            }
        };
        let socket = UnixDatagram::unbound()?;
        // A manager that does not listen must not hold a role up.
        socket.set_write_timeout(Some(NOTIFY_SEND_TIMEOUT))?;
        Ok(Self { socket, address })
    }

    /// Answers whether it was heard.
    fn send(&self, text: &str) -> bool {
        self.socket
            .send_to_addr(text.as_bytes(), &self.address)
            .inspect_err(|error| {
                tracing::warn!(text, %error, "the service manager could not be told something");
            })
            .is_ok()
    }

    /// Tells for ever.
    async fn tell(&self, report: Report, watchdog: Option<Duration>) {
        let Report { pulses, status } = report;
        let mut told = one_line(&status());
        while !self.send(&format!("READY=1\nSTATUS={told}")) {
            sleep(NOTIFY_STATUS_INTERVAL).await;
        }
        let alive = async {
            let Some(watchdog) = watchdog else {
                return std::future::pending().await;
            };
            let mut ticks = ticks(watchdog / 2);
            loop {
                ticks.tick().await;
                for pulse in &pulses {
                    pulse.ask().await;
                }
                self.send("WATCHDOG=1");
            }
        };
        let does = async {
            let mut ticks = ticks(NOTIFY_STATUS_INTERVAL);
            loop {
                ticks.tick().await;
                let now = one_line(&status());
                if now != told && self.send(&format!("STATUS={now}")) {
                    told = now;
                }
            }
        };
        tokio::join!(alive, does);
    }
}

fn ticks(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// How long the service manager waits for a sign of life, if it does, and from this very process.
fn watchdog(usec: Option<&str>, for_pid: Option<&str>, pid: u32) -> Option<Duration> {
    if for_pid.is_some_and(|for_pid| for_pid.parse() != Ok(pid)) {
        return None;
    }
    let usec = usec?.parse().ok().filter(|usec| *usec > 0)?;
    Some(Duration::from_micros(usec))
}

/// Each line is an assignment of its own for the service manager, so a status must have no second one.
fn one_line(status: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    status
        .chars()
        .take(NOTIFY_STATUS_LEN_MAX)
        .map(plain)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    fn receive(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 4_096];
        let length = socket.recv(&mut buffer).expect("a message");
        String::from_utf8(buffer[..length].to_vec()).expect("text")
    }

    #[test]
    fn sockets_are_paths_or_abstract() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("bound");
        assert!(Manager::at(path.as_os_str()).expect("good").send("READY=1"));
        assert_eq!(receive(&socket), "READY=1");

        let name = format!("proffer-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let socket = UnixDatagram::bind_addr(&address).expect("bound");
        let text = format!("@{name}");
        assert!(Manager::at(OsStr::new(&text)).expect("good").send("x"));
        assert_eq!(receive(&socket), "x");

        for bad in ["vsock:2:1", "relative/path"] {
            assert!(Manager::at(OsStr::new(bad)).is_err(), "{bad}");
        }
        let nobody = Manager::at(OsStr::new("/nonexistent/socket")).expect("good");
        assert!(!nobody.send("x"));
    }

    #[test]
    fn the_watchdog_is_for_this_process_only() {
        let table = [
            // WATCHDOG_USEC, WATCHDOG_PID, seconds
            (Some("30000000"), None, Some(30)),
            (Some("30000000"), Some("7"), Some(30)),
            (Some("30000000"), Some("8"), None),
            (Some("30000000"), Some("x"), None),
            (Some("0"), None, None),
            (Some("soon"), None, None),
            (None, Some("7"), None),
        ];
        for (usec, for_pid, seconds) in table {
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(watchdog(usec, for_pid, 7), expected, "{usec:?} {for_pid:?}");
        }
    }

    #[test]
    fn a_status_is_one_short_line() {
        assert_eq!(one_line("leads\nMAINPID=1"), "leads MAINPID=1");
        assert_eq!(one_line(&"é".repeat(10_000)).chars().count(), 256);
    }

    #[tokio::test]
    async fn a_driver_that_hangs_is_not_called_alive() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("notify");
        let socket = tokio::net::UnixDatagram::bind(&path).expect("bound");
        let manager = Manager::at(path.as_os_str()).expect("good");
        let (first, second) = (Pulse::default(), Pulse::default());
        let report = Report {
            pulses: vec![first.clone(), second.clone()],
            status: Box::new(|| "serves".to_owned()),
        };
        let watchdog = Some(Duration::from_millis(20));
        let telling = tokio::spawn(async move { manager.tell(report, watchdog).await });
        let mut buffer = [0; 4_096];
        let length = socket.recv(&mut buffer).await.expect("a message");
        assert_eq!(&buffer[..length], b"READY=1\nSTATUS=serves");
        // One of two drivers turns, and that is not enough.
        first.asked().await;
        let turning = tokio::spawn(async move { first.answering().await });
        let early = tokio::time::timeout(Duration::from_millis(200), socket.recv(&mut buffer));
        assert!(early.await.is_err(), "one driver hangs");
        let turning_too = tokio::spawn(async move { second.answering().await });
        for _ in 0..3 {
            let length = socket.recv(&mut buffer).await.expect("a message");
            assert_eq!(&buffer[..length], b"WATCHDOG=1");
        }
        for task in [turning, turning_too] {
            task.abort();
        }
        telling.abort();
    }
}
