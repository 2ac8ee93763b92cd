//! This master as Mesos's frameworks and tools know it: by its name, and by the address that the name has.
//!
//! The address is looked up once a term. While it cannot be, nobody waits long for it: what needs it goes without, and after a
//! while it is looked up again. What is found late is known from then on.

use std::future::Future;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proffer_leader::{MESOS_CAPABILITIES, MESOS_VERSION};
use proffer_model::Leader;
use proffer_proto::mesos::v1::{self, master_info};
use tokio::net::lookup_host;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout};

use crate::limits::{MESOS_LOOKUP_RETRY, MESOS_LOOKUP_WAIT};

/// This master, in one term.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    me: Leader,
    address: Arc<Lookup>,
}

/// An address that is looked up when it is wanted first.
#[derive(Debug)]
struct Lookup {
    found: OnceCell<IpAddr>,
    /// When it could not be found last.
    missed: Mutex<Option<Instant>>,
    /// How long anybody waits for it.
    wait: Duration,
    /// How long nobody looks after that.
    pause: Duration,
}

impl Identity {
    /// Of this master.
    pub(crate) fn new(me: Leader) -> Self {
        let address = Lookup::new(MESOS_LOOKUP_WAIT, MESOS_LOOKUP_RETRY);
        Self {
            me,
            address: Arc::new(address),
        }
    }

    /// What is said of it.
    pub(super) async fn info(&self) -> v1::MasterInfo {
        let address = &self.me.address;
        let (host, port) = address.rsplit_once(':').unwrap_or((address, "0"));
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port: u16 = port.parse().unwrap_or(0);
        let name = host.to_owned();
        let look_up = async move {
            let found = lookup_host((name, port)).await.ok()?;
            let all: Vec<IpAddr> = found.map(|at| at.ip()).collect();
            let first = all.iter().find(|ip| ip.is_ipv4()).or(all.first());
            first.copied()
        };
        let ip = self.address.get(look_up).await;
        encode(&self.me.id, host, port, ip)
    }
}

impl Lookup {
    fn new(wait: Duration, pause: Duration) -> Self {
        Self {
            found: OnceCell::new(),
            missed: Mutex::new(None),
            wait,
            pause,
        }
    }

    /// What was found, now or before. It is looked for to the end, however long somebody waits here.
    async fn get(
        self: &Arc<Self>,
        look_up: impl Future<Output = Option<IpAddr>> + Send + 'static,
    ) -> Option<IpAddr> {
        if let Some(ip) = self.found.get() {
            return Some(*ip);
        }
        if self.is_missed() {
            return None;
        }
        let looking = Arc::clone(self);
        let looking = tokio::spawn(async move {
            // Of those that wait for one another only the first looks.
            let look_up = async || match looking.is_missed() {
                true => Err(()),
                false => look_up.await.ok_or(()),
            };
            looking.found.get_or_try_init(look_up).await.ok().copied()
        });
        let found = timeout(self.wait, looking).await;
        let found = found.ok().and_then(Result::ok).flatten();
        if found.is_none() {
            *self.missed() = Some(Instant::now());
        }
        found
    }

    /// Whether it was missed so lately that nobody looks.
    fn is_missed(&self) -> bool {
        self.missed().is_some_and(|at| at.elapsed() < self.pause)
    }

    fn missed(&self) -> MutexGuard<'_, Option<Instant>> {
        self.missed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn encode(id: &str, host: &str, port: u16, ip: Option<IpAddr>) -> v1::MasterInfo {
    let number = match ip {
        Some(IpAddr::V4(v4)) => u32::from_le_bytes(v4.octets()),
        _ => 0,
    };
    let text = ip.map_or_else(|| host.to_owned(), |ip| ip.to_string());
    let capability = |name: &str| master_info::Capability {
        r#type: master_info::capability::Type::from_str_name(name).map(Into::into),
    };
    v1::MasterInfo {
        id: id.to_owned(),
        ip: number,
        port: port.into(),
        pid: Some(format!("master@{text}:{port}")),
        hostname: Some(host.to_owned()),
        version: Some(MESOS_VERSION.to_owned()),
        address: Some(v1::Address {
            hostname: Some(host.to_owned()),
            ip: Some(text),
            port: port.into(),
        }),
        domain: None,
        capabilities: MESOS_CAPABILITIES.map(capability).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::sync::oneshot;

    use super::*;

    const IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn an_address_that_is_found_is_looked_up_once() {
        let lookup = Arc::new(Lookup::new(Duration::from_secs(30), Duration::ZERO));
        assert_eq!(lookup.get(ready(None)).await, None);
        assert_eq!(lookup.get(ready(Some(IP))).await, Some(IP));
        assert_eq!(lookup.get(ready(None)).await, Some(IP));
    }

    #[tokio::test]
    async fn nobody_waits_long_for_an_address_and_a_failure_is_forgotten() {
        let lookup = Lookup::new(Duration::from_secs(30), Duration::from_secs(3_600));
        let lookup = Arc::new(lookup);
        assert_eq!(lookup.get(ready(None)).await, None);
        // Nobody looks so soon.
        assert_eq!(lookup.get(ready(Some(IP))).await, None);
        *lookup.missed() = None;
        assert_eq!(lookup.get(ready(Some(IP))).await, Some(IP));
    }

    #[tokio::test]
    async fn what_is_found_late_is_known_from_then_on() {
        let lookup = Lookup::new(Duration::from_millis(1), Duration::from_secs(3_600));
        let lookup = Arc::new(lookup);
        let (found, late) = oneshot::channel();
        assert_eq!(lookup.get(async { late.await.ok() }).await, None);
        found.send(IP).expect("it is still looked for");
        let known = async {
            while lookup.get(pending()).await.is_none() {
                tokio::task::yield_now().await;
            }
        };
        let known = timeout(Duration::from_secs(30), known).await;
        known.expect("what was found");
        assert_eq!(lookup.get(pending()).await, Some(IP));
    }

    #[tokio::test]
    async fn a_master_without_an_address_is_known_by_its_name() {
        let info = encode("m", "host", 5050, None);
        assert_eq!((info.ip, info.pid()), (0, "master@host:5050"));
        let me = Leader {
            id: "m".to_owned(),
            address: "[::1]:5050".to_owned(),
            cluster_address: String::new(),
            version: String::new(),
        };
        let info = Identity::new(me).info().await;
        assert_eq!((info.ip, info.pid()), (0, "master@::1:5050"));
        let info = encode("m", "host", 5050, Some(IP));
        assert_eq!((info.ip, info.pid()), (16_777_343, "master@127.0.0.1:5050"));
        let said = info.capabilities.iter().map(|one| one.r#type);
        assert_eq!(said.collect::<Vec<_>>(), [Some(1), Some(2), Some(3)]);
    }
}
