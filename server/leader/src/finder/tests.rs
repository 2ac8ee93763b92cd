//! The finder against masters that say what a test wants, over real connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proffer_proto::v1;
use proffer_proto::v1::leadership_server::{Leadership, LeadershipServer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::{TcpListenerStream, WatchStream};
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status};

use super::*;

/// What a test waits for comes within this time, or the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

async fn within<F: Future>(work: F) -> F::Output {
    timeout(PATIENCE, work).await.expect("not in vain")
}

/// A master that says of itself what the test says.
struct Fake {
    address: SocketAddr,
    says: watch::Sender<v1::WatchLeadershipResponse>,
    watches: Arc<AtomicUsize>,
    /// Ends the master, and every connection with it, when it is dropped.
    _alive: oneshot::Sender<()>,
}

struct Service {
    says: watch::Sender<v1::WatchLeadershipResponse>,
    watches: Arc<AtomicUsize>,
    refusal: Option<Status>,
}

#[tonic::async_trait]
impl Leadership for Service {
    type WatchStream = Pin<
        Box<dyn tokio_stream::Stream<Item = Result<v1::WatchLeadershipResponse, Status>> + Send>,
    >;

    async fn watch(
        &self,
        request: Request<v1::WatchLeadershipRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        self.watches.fetch_add(1, Ordering::SeqCst);
        assert_eq!(request.metadata().get("authorization").unwrap(), "Bearer t");
        match &self.refusal {
            Some(status) => Err(status.clone()),
            None => Ok(Response::new(Box::pin(
                WatchStream::new(self.says.subscribe()).map(Ok),
            ))),
        }
    }
}

impl Fake {
    async fn start() -> Self {
        Self::start_with(None).await
    }

    async fn start_with(refusal: Option<Status>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        Self::serve(listener, refusal)
    }

    fn serve(listener: TcpListener, refusal: Option<Status>) -> Self {
        let address = listener.local_addr().expect("bound");
        let says = watch::Sender::new(v1::WatchLeadershipResponse::default());
        let watches = Arc::new(AtomicUsize::new(0));
        let service = Service {
            says: says.clone(),
            watches: Arc::clone(&watches),
            refusal,
        };
        let listener = listener.into_std().expect("a socket");
        let (alive, dead) = oneshot::channel::<()>();
        let serving = async move {
            let listener = TcpListener::from_std(listener).expect("a socket");
            let serving = tonic::transport::Server::builder()
                .add_service(LeadershipServer::new(service))
                .serve_with_incoming(TcpListenerStream::new(listener));
            tokio::select! {
                served = serving => served.expect("it serves"),
                _ = dead => {}
            }
        };
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(serving);
        });
        Self {
            address,
            says,
            watches,
            _alive: alive,
        }
    }

    fn own(&self) -> v1::Leader {
        v1::Leader {
            id: self.address.to_string(),
            address: self.address.to_string(),
            cluster_address: self.address.to_string(),
            version: "7".to_owned(),
        }
    }

    fn leads(&self, epoch: u64) {
        self.says.send_replace(v1::WatchLeadershipResponse {
            is_leading: true,
            leader: Some(self.own()),
            epoch,
            cluster_id: "c".to_owned(),
        });
    }

    fn stands_by(&self, leader: Option<&Self>) {
        self.says.send_replace(v1::WatchLeadershipResponse {
            leader: leader.map(Self::own),
            ..v1::WatchLeadershipResponse::default()
        });
    }
}

/// An address at which nobody listens.
async fn closed() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("bound")
}

fn find(masters: &[SocketAddr]) -> Finder {
    let masters: Vec<String> = masters.iter().map(ToString::to_string).collect();
    let bearer: BearerFn = || Box::pin(async { "Bearer t".parse().ok() });
    Finder::start(FinderOptions {
        masters: Masters::parse(&masters).expect("addresses"),
        side: Side::Api,
        bearer: Bearer::Asked(Arc::new(bearer)),
        insecure_allow_plaintext: false,
    })
    .expect("it starts")
}

type BearerFn = fn() -> BearerFuture;

/// Waits until the leader is this one.
async fn leads(finder: &Finder, fake: &Fake) -> Found {
    let address = fake.address.to_string();
    within(async {
        let mut changed = finder.shared.changed.subscribe();
        loop {
            if let Ok(found) = timeout(Duration::from_millis(1), finder.leader()).await
                && found.address == address
            {
                return found;
            }
            changed.changed().await.expect("it lives");
        }
    })
    .await
}

#[tokio::test]
async fn the_leader_is_found_however_the_others_are() {
    let frozen = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let frozen_address = frozen.local_addr().expect("bound");
    let garbage = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let garbage_address = garbage.local_addr().expect("bound");
    let talking = tokio::spawn(async move {
        while let Ok((mut peer, _)) = garbage.accept().await {
            // The finder may have gone before everything is said.
            let _ = peer.write_all(&[0xff; 1_000]).await;
        }
    });
    let (standby, leader) = (Fake::start().await, Fake::start().await);
    leader.leads(3);
    let masters = [
        closed().await,
        frozen_address,
        garbage_address,
        standby.address,
        leader.address,
    ];
    let finder = find(&masters);
    let found = leads(&finder, &leader).await;
    assert_eq!(found.term.map(|term| term.epoch), Some(Epoch(3)));
    assert_eq!(found.leader.map(|own| own.version), Some("7".to_owned()));
    assert_eq!(finder.trouble(), None);
    talking.abort();
}

#[tokio::test]
async fn the_next_leader_is_called_over_the_connection_that_is_there() {
    let fakes = [
        Fake::start().await,
        Fake::start().await,
        Fake::start().await,
    ];
    let finder = find(&fakes.each_ref().map(|fake| fake.address));
    for epoch in 1..=10 {
        let fake = &fakes[usize::try_from(epoch % 3).expect("small")];
        fakes.iter().for_each(|fake| fake.stands_by(None));
        fake.leads(epoch);
        let found = leads(&finder, fake).await;
        assert_eq!(found.term.map(|term| term.epoch), Some(Epoch(epoch)));
    }
    let watches = fakes
        .each_ref()
        .map(|fake| fake.watches.load(Ordering::SeqCst));
    assert_eq!(watches, [1, 1, 1]);
}

#[tokio::test]
async fn a_leader_that_only_a_standby_names_is_found() {
    let (standby, leader) = (Fake::start().await, Fake::start().await);
    leader.leads(1);
    standby.stands_by(Some(&leader));
    let finder = find(&[standby.address]);
    leads(&finder, &leader).await;
}

#[tokio::test]
async fn of_two_that_say_they_lead_the_later_is_found_and_the_earlier_left() {
    let (old, new) = (Fake::start().await, Fake::start().await);
    old.leads(4);
    let finder = find(&[old.address, new.address]);
    let found = leads(&finder, &old).await;
    let mut superseded = tokio_test_task(&finder, found.term);
    assert!(
        timeout(Duration::from_millis(20), &mut superseded)
            .await
            .is_err()
    );
    new.leads(5);
    within(superseded).await.expect("no panic");
    leads(&finder, &new).await;
}

fn tokio_test_task(finder: &Finder, term: Option<Term>) -> tokio::task::JoinHandle<()> {
    let finder = finder.clone();
    tokio::spawn(async move { finder.superseded(term.as_ref()).await })
}

#[tokio::test]
async fn a_master_that_does_not_say_how_it_stands_is_tried() {
    let unheard = Status::unimplemented("no such call");
    let evasive = Fake::start_with(Some(unheard)).await;
    let finder = find(&[evasive.address]);
    let found = leads(&finder, &evasive).await;
    assert_eq!(found.term, None);
    let problem = Problem::new(code::MASTER_NOT_LEADING, "it stands by");
    finder.failed(&found, &problem);
    let trouble = finder.trouble().expect("it rests");
    assert!(trouble.ends_with("it stands by"), "{trouble}");
    within(finder.leader()).await;
    finder.worked(&found);
    assert_eq!(finder.trouble(), None);
}

#[tokio::test]
async fn a_master_that_comes_back_is_found_again() {
    let leader = Fake::start().await;
    leader.leads(1);
    let finder = find(&[leader.address]);
    leads(&finder, &leader).await;
    let address = leader.address;
    let mut changed = finder.shared.changed.subscribe();
    drop(leader);
    within(async {
        while finder.trouble().is_none_or(|it| !it.contains("refused")) {
            changed.changed().await.expect("it lives");
        }
    })
    .await;
    let listener = TcpListener::bind(address).await.expect("the same port");
    let leader = Fake::serve(listener, None);
    leader.leads(2);
    let found = leads(&finder, &leader).await;
    assert_eq!(found.term.map(|term| term.epoch), Some(Epoch(2)));
}

#[tokio::test]
async fn a_master_that_freezes_is_noticed_and_one_that_thaws_is_back() {
    let leader = Fake::start().await;
    leader.leads(1);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let frozen = watch::Sender::new(false);
    let _proxy = AbortOnDropHandle::new(tokio::spawn(proxy(
        listener,
        leader.address,
        frozen.subscribe(),
    )));
    let finder = find(&[address]);
    let found = within(finder.leader()).await;
    frozen.send_replace(true);
    let mut changed = finder.shared.changed.subscribe();
    within(changed.changed()).await.expect("it lives");
    assert!(finder.trouble().is_some());
    frozen.send_replace(false);
    let again = within(finder.leader()).await;
    assert_eq!(again.term, found.term);
}

/// Passes everything on, unless it is frozen: then nothing moves, and nobody is told.
async fn proxy(listener: TcpListener, target: SocketAddr, frozen: watch::Receiver<bool>) {
    while let Ok((client, _)) = listener.accept().await {
        let server = TcpStream::connect(target).await.expect("it listens");
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        for (mut from, mut to) in [(from_client, to_server), (from_server, to_client)] {
            let mut frozen = frozen.clone();
            tokio::spawn(async move {
                let mut part = [0; 16 * 1024];
                while let Ok(len @ 1..) = from.read(&mut part).await {
                    let _ = frozen.wait_for(|frozen| !frozen).await;
                    if to.write_all(&part[..len]).await.is_err() {
                        return;
                    }
                }
            });
        }
    }
}

#[tokio::test]
async fn readers_take_the_first_that_answers_and_do_not_wait_for_the_dead() {
    let frozen = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let frozen_address = frozen.local_addr().expect("bound");
    let standby = Fake::start().await;
    let finder = find(&[frozen_address, standby.address]);
    let begun = Instant::now();
    let found = finder.anyone(PATIENCE).await.expect("the standby");
    assert_eq!(found.address, standby.address.to_string());
    assert!(begun.elapsed() < PATIENCE / 4, "{:?}", begun.elapsed());

    let leader = Fake::start().await;
    leader.leads(1);
    let finder = find(&[frozen_address, standby.address, leader.address]);
    let found = finder.anyone(PATIENCE).await.expect("the leader");
    assert_eq!(found.address, leader.address.to_string());

    let finder = find(&[closed().await]);
    let problem = within(finder.anyone(PATIENCE)).await.expect_err("nobody");
    assert!(problem.message.contains("refused"), "{problem}");
    let finder = find(&[frozen_address]);
    let problem = finder
        .anyone(Duration::from_millis(50))
        .await
        .expect_err("nobody");
    assert!(problem.message.contains("not answered"), "{problem}");
}

#[tokio::test]
async fn a_survey_shows_every_master() {
    let (standby, leader) = (Fake::start().await, Fake::start().await);
    leader.leads(6);
    let finder = find(&[standby.address, leader.address, closed().await]);
    let seen = within(finder.survey(PATIENCE)).await;
    assert_eq!(seen[0].standing, Standing::StandingBy);
    assert!(matches!(&seen[1].standing, Standing::Leading(term) if term.epoch == Epoch(6)));
    assert!(matches!(&seen[2].standing, Standing::Unreachable(why) if why.contains("refused")));
}
