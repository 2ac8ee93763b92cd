//! Which servers of the ensemble can be used right now.
//!
//! The client has no limit on how long a connection may take to be made, never says why one failed, and does not tell
//! which session timeout was granted. So every server is asked before each session, all at once: it must open a
//! session, and for long enough. The client is then given only servers that did.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use proffer_model::{Problem, code};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use crate::limits::{KNOCK_GRACE, KNOCK_TIMEOUT};
use crate::url::{Host, ZooKeeperUrl};

/// Bytes of the answer to a request for a session: versions, timeout, id and password; one more in later servers.
const ANSWER_LEN: std::ops::RangeInclusive<u32> = 36..=64;
/// The number of the request that ends a session.
const CLOSE_SESSION: i32 = -11;

/// Asks all servers for a session of this length; answers those that gave one, in a new order each time.
pub(crate) async fn serving(
    url: &ZooKeeperUrl,
    session: Duration,
) -> Result<Vec<SocketAddr>, Problem> {
    let (tell, mut told) = mpsc::channel(url.hosts().len().max(1));
    for host in url.hosts() {
        let (host, tell) = (host.clone(), tell.clone());
        // Not ended with this function: a session that was opened is also closed.
        tokio::spawn(async move { knock(host, session, &tell).await });
    }
    drop(tell);
    let (mut serving, mut refusals) = (Vec::new(), Vec::new());
    let mut until = Instant::now() + 2 * KNOCK_TIMEOUT;
    while let Ok(Some((host, answer))) = timeout_at(until, told.recv()).await {
        match answer {
            Ok(address) => {
                serving.push(address);
                until = until.min(Instant::now() + KNOCK_GRACE);
            }
            Err(refusal) => refusals.push(format!("{host}: {refusal}")),
        }
    }
    if serving.is_empty() {
        refusals.sort();
        return Err(unreachable(&refusals.join("; ")));
    }
    shuffle(&mut serving);
    Ok(serving)
}

fn unreachable(why: &str) -> Problem {
    let message = format!("no ZooKeeper server can be used: {why}");
    Problem::new(code::PEER_UNREACHABLE, message)
        .field("store")
        .hint("see that ZooKeeper runs and has a quorum, and that the hosts in zk://… are right")
}

/// Why a server cannot be used.
enum Refusal {
    Unresolved(io::Error),
    Unconnected(io::Error),
    Silent,
    Hung,
    Foreign,
    Short(Duration),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unresolved(error) => write!(f, "its name is not known ({error})"),
            Self::Unconnected(error) => write!(f, "cannot connect ({error})"),
            Self::Silent => f.write_str("it does not answer"),
            Self::Hung => f.write_str("it opens no session (is there a quorum?)"),
            Self::Foreign => f.write_str("what answers there is no ZooKeeper"),
            Self::Short(granted) => write!(
                f,
                "it grants sessions of at most {} ms; its maxSessionTimeout must be raised, or session_timeout lowered",
                granted.as_millis()
            ),
        }
    }
}

/// Asks one server, by each of its addresses, until one serves.
async fn knock(
    host: Host,
    session: Duration,
    tell: &mpsc::Sender<(Host, Result<SocketAddr, Refusal>)>,
) {
    let resolving = lookup_host((host.name.clone(), host.port));
    let resolved = timeout(KNOCK_TIMEOUT, resolving).await;
    let mut refusal = Refusal::Silent;
    match resolved {
        Err(_) => {}
        Ok(Err(error)) => refusal = Refusal::Unresolved(error),
        Ok(Ok(addresses)) => {
            for address in addresses {
                let asked = timeout(KNOCK_TIMEOUT, open(address, session)).await;
                match asked.unwrap_or(Err(Refusal::Silent)) {
                    Ok(stream) => {
                        let _ = tell.send((host, Ok(address))).await;
                        let _ = timeout(KNOCK_TIMEOUT, close(stream)).await;
                        return;
                    }
                    Err(why) => refusal = why,
                }
            }
        }
    }
    let _ = tell.send((host, Err(refusal))).await;
}

/// Opens a session, as every client begins.
async fn open(address: SocketAddr, session: Duration) -> Result<TcpStream, Refusal> {
    let mut stream = TcpStream::connect(address)
        .await
        .map_err(Refusal::Unconnected)?;
    let asked_ms = i32::try_from(session.as_millis()).unwrap_or(i32::MAX);
    let mut request = Vec::with_capacity(49);
    request.extend_from_slice(&45_u32.to_be_bytes());
    // Version of the protocol, last transaction seen, timeout, session, its password, and whether reading is enough.
    request.extend_from_slice(&[0; 4]);
    request.extend_from_slice(&[0; 8]);
    request.extend_from_slice(&asked_ms.to_be_bytes());
    request.extend_from_slice(&[0; 8]);
    request.extend_from_slice(&16_u32.to_be_bytes());
    request.extend_from_slice(&[0; 17]);
    stream
        .write_all(&request)
        .await
        .map_err(|_| Refusal::Hung)?;
    let length = stream.read_u32().await.map_err(|_| Refusal::Hung)?;
    if !ANSWER_LEN.contains(&length) {
        return Err(Refusal::Foreign);
    }
    let _version = stream.read_i32().await.map_err(|_| Refusal::Hung)?;
    let granted_ms = stream.read_i32().await.map_err(|_| Refusal::Hung)?;
    let mut rest = vec![
        0;
        usize::try_from(length)
            .unwrap_or_default()
            .saturating_sub(8)
    ];
    stream
        .read_exact(&mut rest)
        .await
        .map_err(|_| Refusal::Hung)?;
    if granted_ms < asked_ms {
        let granted = Duration::from_millis(u64::try_from(granted_ms).unwrap_or_default());
        let _ = close(stream).await;
        return Err(Refusal::Short(granted));
    }
    Ok(stream)
}

/// Ends the session, and waits until the server has hung up.
async fn close(mut stream: TcpStream) -> io::Result<()> {
    let mut request = Vec::with_capacity(12);
    request.extend_from_slice(&8_u32.to_be_bytes());
    request.extend_from_slice(&1_i32.to_be_bytes());
    request.extend_from_slice(&CLOSE_SESSION.to_be_bytes());
    stream.write_all(&request).await?;
    let mut answer = [0; 64];
    while stream.read(&mut answer).await? > 0 {}
    Ok(())
}

/// Puts them in an order of chance, so that clients spread over the servers.
fn shuffle(addresses: &mut [SocketAddr]) {
    for last in (1..addresses.len()).rev() {
        let chance = usize::try_from(getrandom::u32().unwrap_or_default()).unwrap_or_default();
        addresses.swap(last, chance % (last + 1));
    }
}
