//! The election of the leading master among those that stand.
//!
//! Each master that stands has a node that goes with its session; the oldest leads. That alone would not do: a leader
//! that stands still, or is cut off, does not notice that its node is gone. So leadership is a [`Lease`], moved on by
//! heartbeats alone. A heartbeat *writes* the leader's node: that takes a majority of the ensemble, where a read could be
//! answered by a server that has lost touch. It proves that the session lived when it was sent, and a session lives on
//! for its timeout (less a quarter, while a server has not yet told the others); the lease ends after two thirds.

use std::net::{IpAddr, ToSocketAddrs};
use std::thread;
use std::time::Duration;

use proffer_model::{Leader, Problem, Time, code};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::ballot;
use crate::clock;
use crate::lease::Lease;
use crate::limits::{
    BACKOFF_MAX, BACKOFF_MIN, HEARTBEATS_PER_TIMEOUT, LOOK_INTERVAL_MIN, OBSERVER_INTERVAL,
    OBSERVER_TIMEOUT, SESSION_TIMEOUT_MAX, SESSION_TIMEOUT_MIN,
};
use crate::roll::Roll;
use crate::session::{Access, Lifetime, Session, SessionError};
use crate::url::ZooKeeperUrl;

/// A master that stands for election, session after session, on a thread of its own, until it is dropped.
#[derive(Debug)]
pub struct Contender {
    elected: mpsc::Receiver<Elected>,
    board: Board,
    stop: DropGuard,
    /// Closed when the thread has ended.
    ended: mpsc::Receiver<()>,
}

/// Leadership. Dropping it gives it up: the session is closed, and the contender stands anew with a fresh one.
#[derive(Debug)]
pub struct Elected {
    /// The right to lead, while it holds.
    pub lease: Lease,
    /// The session in which the election was won. What is written in it is written while no other leads: it ends before
    /// another can be elected.
    pub session: Session,
    _held: Held,
}

/// Leadership is given up when this is dropped.
#[derive(Debug)]
struct Held {
    lease: Lease,
    _released: DropGuard,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.lease.lose();
    }
}

/// Sees who stands, without standing; it needs no credentials.
#[derive(Debug)]
pub struct Observer {
    board: Board,
    _stop: DropGuard,
}

/// What is known, for whoever looks.
#[derive(Clone, Debug)]
struct Board {
    standing: watch::Sender<Vec<Leader>>,
    trouble: watch::Sender<Option<Problem>>,
}

impl Contender {
    /// Begins to stand as this master.
    ///
    /// Refuses session timeouts that are too short to be kept or too long to be waited for (`config.invalid`). Whether
    /// ZooKeeper can be reached shows later, in [`Self::trouble`].
    pub fn start(
        url: ZooKeeperUrl,
        me: Leader,
        session_timeout: Duration,
    ) -> Result<Self, Problem> {
        if !(SESSION_TIMEOUT_MIN..=SESSION_TIMEOUT_MAX).contains(&session_timeout) {
            let message = format!(
                "a session of {} ms is not between {} and {} s",
                session_timeout.as_millis(),
                SESSION_TIMEOUT_MIN.as_secs(),
                SESSION_TIMEOUT_MAX.as_secs()
            );
            return Err(Problem::new(code::CONFIG_INVALID, message)
                .field("session_timeout")
                .hint("10s is what most choose"));
        }
        ballot::validate(&me)?;
        if !url.has_credentials() {
            tracing::warn!(%url, "no user and password in the address of ZooKeeper: whoever reaches it can write what this master writes");
        }
        let (board, stop) = (Board::new(), CancellationToken::new());
        let (tell, elected) = mpsc::channel(1);
        let (ending, ended) = mpsc::channel(1);
        let candidate = Candidate {
            url,
            me,
            session_timeout,
            board: board.clone(),
            tell,
        };
        let token = stop.clone();
        spawn(async move {
            candidate.run(token).await;
            drop(ending);
        })?;
        Ok(Self {
            elected,
            board,
            stop: stop.drop_guard(),
            ended,
        })
    }

    /// Masters that stand, the elected first; empty while not known.
    pub fn standing(&self) -> watch::Receiver<Vec<Leader>> {
        self.board.standing.subscribe()
    }

    /// The last trouble, for health pages and logs: why it is not connected; `None` when all is well.
    pub fn trouble(&self) -> watch::Receiver<Option<Problem>> {
        self.board.trouble.subscribe()
    }

    /// Waits until elected. Nothing is lost when the wait is given up.
    pub async fn elected(&mut self) -> Elected {
        while let Some(elected) = self.elected.recv().await {
            if elected.lease.holds(clock::now()) {
                return elected;
            }
        }
        // The thread has ended, which only a defect can do; nobody is elected then.
        std::future::pending().await
    }

    /// Ends standing; the session is closed, so that another leads at once.
    pub async fn withdraw(mut self) {
        drop(self.stop);
        drop(self.elected);
        let _ = self.ended.recv().await;
    }
}

impl Observer {
    /// Begins to look.
    pub fn start(url: ZooKeeperUrl) -> Result<Self, Problem> {
        let (board, stop) = (Board::new(), CancellationToken::new());
        let (theirs, token, url) = (board.clone(), stop.clone(), url.without_credentials());
        spawn(async move { observe(&url, &theirs, token).await })?;
        Ok(Self {
            board,
            _stop: stop.drop_guard(),
        })
    }

    /// Masters that stand, the elected first; empty while not known.
    pub fn standing(&self) -> watch::Receiver<Vec<Leader>> {
        self.board.standing.subscribe()
    }

    /// The last trouble: why it is not connected, or sees nobody; `None` when all is well.
    pub fn trouble(&self) -> watch::Receiver<Option<Problem>> {
        self.board.trouble.subscribe()
    }
}

impl Board {
    fn new() -> Self {
        Self {
            standing: watch::Sender::new(Vec::new()),
            trouble: watch::Sender::new(None),
        }
    }

    fn show(&self, standing: Vec<Leader>, trouble: Option<Problem>) {
        self.standing.send_if_modified(|shown| {
            let is_new = *shown != standing;
            *shown = standing;
            is_new
        });
        self.trouble.send_if_modified(|shown| {
            let is_new = *shown != trouble;
            if let Some(problem) = trouble.as_ref().filter(|_| is_new) {
                tracing::warn!(%problem, "trouble with ZooKeeper");
            }
            *shown = trouble;
            is_new
        });
    }
}

/// Runs it on a thread of its own.
fn spawn(running: impl Future<Output = ()> + Send + 'static) -> Result<(), Problem> {
    let failed = |error: std::io::Error| {
        Problem::new(code::INTERNAL, format!("cannot start a thread: {error}"))
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    thread::Builder::new()
        .name("election".into())
        .spawn(move || runtime.block_on(running))
        .map_err(failed)?;
    Ok(())
}

/// The waits between sessions, longer each time, by chance.
struct Backoff(Duration);

impl Backoff {
    fn reset(&mut self) {
        self.0 = BACKOFF_MIN;
    }

    fn next(&mut self) -> Duration {
        let longest = self.0;
        self.0 = (2 * longest).min(BACKOFF_MAX);
        let half = longest / 2;
        let chance = getrandom::u32().unwrap_or_default() % 1_024;
        half + half * chance / 1_024
    }
}

/// The contender's thread.
struct Candidate {
    url: ZooKeeperUrl,
    me: Leader,
    session_timeout: Duration,
    board: Board,
    tell: mpsc::Sender<Elected>,
}

impl Candidate {
    async fn run(&self, stop: CancellationToken) {
        let mut backoff = Backoff(BACKOFF_MIN);
        while !stop.is_cancelled() {
            let begun = Instant::now();
            let problem = tokio::select! {
                session = Session::open(&self.url, self.session_timeout) => match session {
                    Ok(session) => self.use_session(&session, &stop).await,
                    Err(problem) => Some(problem),
                },
                () = stop.cancelled() => None,
            };
            self.board.show(Vec::new(), problem);
            if begun.elapsed() > self.session_timeout {
                backoff.reset();
            }
            tokio::select! {
                () = sleep(backoff.next()) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Stands, and leads, until this session has no more use; then closes it.
    async fn use_session(&self, session: &Session, stop: &CancellationToken) -> Option<Problem> {
        let ended = tokio::select! {
            ended = self.stand(session) => ended.err(),
            () = stop.cancelled() => None,
        };
        session.close().await;
        ended
    }

    /// Until leadership was won and has ended, or something is wrong.
    async fn stand(&self, session: &Session) -> Result<(), Problem> {
        make_path(session, self.url.path()).await?;
        let bytes = ballot::encode(&self.me, resolve(&self.me.address));
        let prefix = format!("{}/{}", self.url.path(), ballot::PREFIX);
        // Should the answer be lost, there may be a node whose name is not known: it goes with the session.
        let path = session
            .create(
                prefix,
                bytes.clone(),
                Access::Readable,
                Lifetime::SessionNumbered,
            )
            .answer()
            .await?;
        let name = path.rsplit('/').next().unwrap_or_default();
        let mut roll = Roll::new(self.url.path(), 2 * self.session_timeout);
        loop {
            let begun = Instant::now();
            roll.look(session).await?;
            self.board.show(roll.standing(), None);
            match roll.is_first(name, clock::now()) {
                Some(true) => break,
                Some(false) => {}
                None => return Err(removed(&path)),
            }
            self.wait(session, begun).await;
        }
        self.lead(session, &path, &bytes, &mut roll).await
    }

    /// Until the next heartbeat is due, or ZooKeeper says that there is something to see.
    async fn wait(&self, session: &Session, begun: Instant) {
        tokio::select! {
            () = session.hinted() => sleep_until(begun + LOOK_INTERVAL_MIN).await,
            () = sleep_until(begun + self.session_timeout / HEARTBEATS_PER_TIMEOUT) => {}
        }
    }

    /// From the first heartbeat on.
    async fn lead(
        &self,
        session: &Session,
        path: &str,
        bytes: &[u8],
        roll: &mut Roll,
    ) -> Result<(), Problem> {
        let beat = self.beat(session, path, bytes, self.session_timeout);
        let lease = Lease::until(beat.await?);
        let released = CancellationToken::new();
        let elected = Elected {
            lease: lease.clone(),
            session: session.clone(),
            _held: Held {
                lease: lease.clone(),
                _released: released.clone().drop_guard(),
            },
        };
        if self.tell.send(elected).await.is_err() {
            return Ok(());
        }
        let ended = tokio::select! {
            ended = self.keep(session, path, bytes, &lease, roll) => ended,
            () = released.cancelled() => Ok(()),
        };
        // Before the session is closed: then another may lead.
        lease.lose();
        ended
    }

    /// Moves the lease on until that fails.
    async fn keep(
        &self,
        session: &Session,
        path: &str,
        bytes: &[u8],
        lease: &Lease,
        roll: &mut Roll,
    ) -> Result<(), Problem> {
        let interval = self.session_timeout / HEARTBEATS_PER_TIMEOUT;
        loop {
            let begun = Instant::now();
            let left = lease.left(clock::now()).unwrap_or_default();
            let until = self.beat(session, path, bytes, left).await?;
            // One that has run out stays so, though the answer would still move it on: somebody may have seen it.
            if !lease.holds(clock::now()) {
                return Err(late());
            }
            lease.extend(until);
            // Others come and go without any consequence for this one; so it need not be known at once.
            if let Ok(looked) = timeout(interval, roll.look(session)).await {
                looked?;
                self.board.show(roll.standing(), None);
            }
            sleep_until(begun + interval).await;
        }
    }

    /// One heartbeat, within this time; it is tried again while the session goes on. Answers until when it proves that
    /// nobody else leads.
    async fn beat(
        &self,
        session: &Session,
        path: &str,
        bytes: &[u8],
        patience: Duration,
    ) -> Result<Time, Problem> {
        let deadline = Instant::now() + patience;
        loop {
            let sent = clock::now();
            let left = deadline.saturating_duration_since(Instant::now());
            let beating = session.write(path, bytes.to_vec(), None).answer();
            match timeout(left, beating).await {
                Err(_) => return Err(late()),
                Ok(Ok(_)) => return Ok(sent.after(self.session_timeout * 2 / 3)),
                Ok(Err(SessionError::Unknown)) => {}
                Ok(Err(SessionError::Missing { .. })) => return Err(removed(path)),
                Ok(Err(error)) => return Err(error.into()),
            }
        }
    }
}

fn late() -> Problem {
    let message = "ZooKeeper did not answer in time: leadership is lost";
    Problem::new(code::PEER_UNREACHABLE, message)
        .field("store")
        .hint("see that ZooKeeper runs, has a quorum, and is not overloaded")
}

fn removed(path: &str) -> Problem {
    let message = format!("somebody has removed {path}, by which this master stood");
    Problem::new(code::STORE_FAILED, message)
        .field("store")
        .hint("it stands anew; find out who writes there, and give zk://user:password@… to keep others out")
}

/// Makes the path and all above it, those that are missing.
async fn make_path(session: &Session, path: &str) -> Result<(), Problem> {
    for (at, _) in path.match_indices('/').skip(1) {
        make_node(session, &path[..at]).await?;
    }
    make_node(session, path).await
}

async fn make_node(session: &Session, path: &str) -> Result<(), Problem> {
    loop {
        // Looked for first: whoever may use a node need not be allowed to make its like.
        if session.list(path).answer().await?.is_some() {
            return Ok(());
        }
        let made = session
            .create(path, Vec::new(), Access::Readable, Lifetime::Lasting)
            .answer()
            .await;
        match made {
            Ok(_) | Err(SessionError::Exists { .. }) => return Ok(()),
            Err(SessionError::Unknown) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The address in numbers, as Mesos's clients want it. A name that is not known is no reason not to stand.
fn resolve(address: &str) -> Option<IpAddr> {
    let addresses: Vec<IpAddr> = address
        .to_socket_addrs()
        .ok()?
        .map(|address| address.ip())
        .collect();
    let v4 = addresses.iter().find(|address| address.is_ipv4());
    v4.or(addresses.first()).copied()
}

/// The observer's thread.
async fn observe(url: &ZooKeeperUrl, board: &Board, stop: CancellationToken) {
    let mut backoff = Backoff(BACKOFF_MIN);
    while !stop.is_cancelled() {
        let begun = Instant::now();
        let problem = tokio::select! {
            problem = observe_session(url, board) => problem,
            () = stop.cancelled() => return,
        };
        board.show(Vec::new(), Some(problem));
        if begun.elapsed() > OBSERVER_TIMEOUT {
            backoff.reset();
        }
        tokio::select! {
            () = sleep(backoff.next()) => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn observe_session(url: &ZooKeeperUrl, board: &Board) -> Problem {
    let session = match Session::open(url, OBSERVER_TIMEOUT).await {
        Ok(session) => session,
        Err(problem) => return problem,
    };
    let mut roll = Roll::new(url.path(), OBSERVER_TIMEOUT);
    loop {
        let begun = Instant::now();
        let trouble = match roll.look(&session).await {
            Ok(true) => None,
            Ok(false) => Some(
                Problem::new(
                    code::MASTER_NOT_LEADING,
                    format!("no master has ever stood under {}", url.path()),
                )
                .field("master")
                .hint("see that this is the path that the masters were given"),
            ),
            Err(problem) => return problem,
        };
        board.show(roll.standing(), trouble);
        tokio::select! {
            () = session.hinted() => sleep_until(begun + LOOK_INTERVAL_MIN).await,
            () = sleep_until(begun + OBSERVER_INTERVAL) => {}
        }
    }
}
