//! The finder's tasks: one that sees to it that every master is followed, and one for each that follows it.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use proffer_model::{ClusterId, Epoch, Problem, code};
use proffer_proto::v1::leadership_client::LeadershipClient;
use proffer_proto::{decode_leader, problem_of, v1};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::board::{Answer, Verdict, wait};
use super::limits::{
    ANSWER_TIMEOUT, CONNECT_TIMEOUT, LEADERLESS_TOLERATED, PING_INTERVAL, PING_TIMEOUT,
};
use super::{Shared, Term, at, random};
use crate::election::Observer;

/// Sees to it that every master of interest is followed, and says when there has been no leader for long.
pub(super) async fn keep(shared: Arc<Shared>) {
    let mut followers: BTreeMap<String, AbortOnDropHandle<()>> = BTreeMap::new();
    let mut changed = shared.changed.subscribe();
    let mut outage = Outage::default();
    loop {
        let wanted: Vec<String> = {
            let mut known = shared.known();
            let wanted: Vec<String> = known.board.wanted().map(str::to_owned).collect();
            known.channels.retain(|address, _| wanted.contains(address));
            wanted
        };
        followers.retain(|address, _| wanted.contains(address));
        for address in wanted {
            followers.entry(address).or_insert_with_key(|address| {
                let following = follow(Arc::clone(&shared), address.clone());
                AbortOnDropHandle::new(tokio::spawn(following))
            });
        }
        let wake = outage.look(&shared);
        tokio::select! {
            _ = changed.changed() => {}
            () = at(wake) => {}
        }
    }
}

/// Learns from ZooKeeper which masters stand.
pub(super) async fn observe(shared: Arc<Shared>, observer: Observer) {
    let (mut standing, mut trouble) = (observer.standing(), observer.trouble());
    loop {
        let masters = standing.borrow_and_update().clone();
        let source = trouble.borrow_and_update().clone();
        shared.change(|known| {
            known.source = source.map(|problem| problem.message);
            // While it is not known who stands, those that were known may do so still.
            if !masters.is_empty() {
                known.board.on_standing(Instant::now(), &masters);
            }
        });
        tokio::select! {
            Ok(()) = standing.changed() => {}
            Ok(()) = trouble.changed() => {}
            // The observer has ended, which only a defect can do.
            else => return,
        }
    }
}

/// How long there has been no leader, and what has been said of it.
#[derive(Debug, Default)]
struct Outage {
    since: Option<Instant>,
    told: Option<String>,
}

impl Outage {
    /// Says once that there is no leader, and once that there is one again; answers when to look again in any case.
    fn look(&mut self, shared: &Shared) -> Option<Instant> {
        let now = Instant::now();
        let verdict = shared.known().board.verdict(now);
        if let Verdict::Call(choice) = verdict {
            if self.told.take().is_some() {
                let epoch = choice.term.map(|term| term.epoch.0);
                tracing::info!(master = %choice.address, epoch, "there is a leader again");
            }
            self.since = None;
            return None;
        }
        let tolerated = *self.since.get_or_insert(now) + LEADERLESS_TOLERATED;
        let trouble = shared.trouble().filter(|_| now >= tolerated);
        match (&self.told, &trouble) {
            (None, Some(trouble)) => tracing::warn!("{trouble}"),
            (Some(told), Some(trouble)) if told != trouble => tracing::debug!("{trouble}"),
            _ => {}
        }
        self.told = trouble.or(self.told.take());
        (now < tolerated).then_some(tolerated)
    }
}

/// Keeps a connection to a master and hears from it how it stands, for ever.
async fn follow(shared: Arc<Shared>, address: String) {
    loop {
        await_turn(&shared, &address).await;
        let why = connect(&shared, &address).await;
        tracing::debug!(master = address, why, "no connection to a master");
        shared.change(|known| {
            known.channels.remove(&address);
            let board = &mut known.board;
            board.on_broken(Instant::now(), &address, &why, random());
        });
    }
}

/// Waits until the master may be tried. That may be sooner than it seemed at first: when it is said to lead.
async fn await_turn(shared: &Shared, address: &str) {
    let mut changed = shared.changed.subscribe();
    loop {
        let retry_at = shared.known().board.retry_at(address);
        if retry_at.is_some_and(|at| at <= Instant::now()) {
            return;
        }
        tokio::select! {
            _ = changed.changed() => {}
            () = at(retry_at) => {}
        }
    }
}

/// One connection from its beginning to its end, which is the answer.
async fn connect(shared: &Shared, address: &str) -> String {
    let endpoint = match Endpoint::from_shared(format!("http://{address}")) {
        Ok(endpoint) => endpoint,
        Err(error) => return error.to_string(),
    };
    let endpoint = endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true);
    let channel = match timeout(ANSWER_TIMEOUT, endpoint.connect()).await {
        Ok(Ok(channel)) => channel,
        Ok(Err(error)) => return innermost(&error),
        Err(_) => return "it does not answer".to_owned(),
    };
    let mut refusals = 0;
    loop {
        let ended = watch(shared, address, &channel).await;
        let problem = match ended {
            Ended::Broken(why) => return why,
            Ended::Refused(problem) => problem,
        };
        let again = Instant::now() + wait(refusals, random());
        refusals += 1;
        shared.change(|known| {
            known.channels.insert(address.to_owned(), channel.clone());
            let board = &mut known.board;
            board.on_evasive(Instant::now(), address, &problem.message);
        });
        sleep_until(again).await;
    }
}

/// How a watch ended.
enum Ended {
    /// With the connection.
    Broken(String),
    /// The master lives, but does not answer this.
    Refused(Problem),
}

/// Hears from a master how it stands, until it says no more.
async fn watch(shared: &Shared, address: &str, channel: &Channel) -> Ended {
    let mut request = Request::new(v1::WatchLeadershipRequest {});
    if let Some(bearer) = shared.bearer.find().await {
        request.metadata_mut().insert("authorization", bearer);
    }
    let mut client = LeadershipClient::new(channel.clone());
    let first = async {
        let mut answers = client.watch(request).await?.into_inner();
        let first = answers.message().await?;
        Ok::<_, Status>((answers, first))
    };
    let (mut answers, mut message) = match timeout(ANSWER_TIMEOUT, first).await {
        Ok(Ok((answers, first))) => (answers, Ok(first)),
        Ok(Err(status)) => return ended_with(&status),
        Err(_) => return Ended::Broken("it does not answer".to_owned()),
    };
    loop {
        let answer = match message {
            Ok(Some(answer)) => answer,
            Ok(None) => return Ended::Broken("it has ended the connection".to_owned()),
            Err(status) => return ended_with(&status),
        };
        match understand(answer) {
            Ok(answer) => shared.change(|known| {
                known.channels.insert(address.to_owned(), channel.clone());
                known.board.on_answer(Instant::now(), address, answer);
            }),
            Err(problem) => return Ended::Broken(problem.to_string()),
        }
        message = answers.message().await;
    }
}

fn ended_with(status: &Status) -> Ended {
    let problem = problem_of(status);
    match status.source() {
        Some(source) => Ended::Broken(innermost(source)),
        None if problem.is(code::PEER_UNREACHABLE) => Ended::Broken(problem.message),
        None => Ended::Refused(problem),
    }
}

/// Checks what a master says of itself.
fn understand(answer: v1::WatchLeadershipResponse) -> Result<Answer, Problem> {
    let leader = answer.leader.map(decode_leader).transpose()?;
    let term = match answer.is_leading {
        true => Some(Term {
            cluster: ClusterId::new(answer.cluster_id.as_str())
                .map_err(|problem| problem.field("cluster_id"))?,
            epoch: Epoch(answer.epoch),
        }),
        false => None,
    };
    Ok(Answer { term, leader })
}

/// The innermost reason: the outer ones say only that a transport failed. Without the number that the system has for it.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    let why = inner.to_string();
    match why.split_once(" (os error ") {
        Some((words, _)) => words.to_lowercase(),
        None => why,
    }
}
