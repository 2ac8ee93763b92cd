//! The linker against masters that say what a test wants, over real connections.

use std::net::SocketAddr;
use std::time::Duration;

use futures::stream::BoxStream;
use proffer_model::{AgentId, ClusterId, Epoch, Generation};
use proffer_proto::encode_to_agent;
use proffer_proto::v1::agent_link_server::{AgentLink, AgentLinkServer};
use proffer_proto::v1::leadership_server::{Leadership, LeadershipServer};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_stream::wrappers::{TcpListenerStream, WatchStream};
use tokio_util::task::AbortOnDropHandle;
use tonic::{Response, Status};

use super::*;
use crate::inbox::{Input, inbox};
use crate::metrics::Metrics;
use crate::view::View;

/// What a test waits for comes within this time, or the test fails.
const PATIENCE: Duration = Duration::from_secs(10);

async fn within<F: Future>(work: F) -> F::Output {
    timeout(PATIENCE, work).await.expect("not in vain")
}

/// A master that welcomes every agent, and says of itself what the test says.
struct FakeMaster {
    address: SocketAddr,
    says: watch::Sender<v1::WatchLeadershipResponse>,
    _server: AbortOnDropHandle<Result<(), tonic::transport::Error>>,
}

#[derive(Clone)]
struct Service(watch::Sender<v1::WatchLeadershipResponse>);

#[tonic::async_trait]
impl Leadership for Service {
    type WatchStream = BoxStream<'static, Result<v1::WatchLeadershipResponse, Status>>;

    async fn watch(
        &self,
        _: Request<v1::WatchLeadershipRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let answers = WatchStream::new(self.0.subscribe()).map(Ok);
        Ok(Response::new(Box::pin(answers)))
    }
}

#[tonic::async_trait]
impl AgentLink for Service {
    type LinkStream = BoxStream<'static, Result<v1::ToAgent, Status>>;

    async fn link(
        &self,
        _: Request<Streaming<v1::ToMaster>>,
    ) -> Result<Response<Self::LinkStream>, Status> {
        let welcome = ToAgent::Welcome {
            agent: AgentId::new("a").expect("an id"),
            cluster: ClusterId::new("c").expect("an id"),
            epoch: Epoch(self.0.borrow().epoch),
            generation: Generation(1),
            heartbeat_interval: Duration::from_secs(60),
        };
        let first = tokio_stream::once(Ok(encode_to_agent(&welcome)));
        // It never says more, and never ends the link, as if it were frozen.
        let forever = first.chain(tokio_stream::pending());
        Ok(Response::new(Box::pin(forever)))
    }
}

impl FakeMaster {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let says = watch::Sender::new(v1::WatchLeadershipResponse::default());
        let service = Service(says.clone());
        let serving = tonic::transport::Server::builder()
            .add_service(LeadershipServer::new(service.clone()))
            .add_service(AgentLinkServer::new(service))
            .serve_with_incoming(TcpListenerStream::new(listener));
        Self {
            address,
            says,
            _server: AbortOnDropHandle::new(tokio::spawn(serving)),
        }
    }

    fn leads(&self, epoch: u64) {
        self.says.send_replace(v1::WatchLeadershipResponse {
            is_leading: true,
            leader: None,
            epoch,
            cluster_id: "c".to_owned(),
        });
    }
}

struct Rig {
    inputs: mpsc::Receiver<Input>,
    view: View,
    finder: Finder,
    _linking: AbortOnDropHandle<()>,
    _folder: tempfile::TempDir,
}

fn link_to(masters: &[&FakeMaster]) -> Rig {
    let folder = tempfile::tempdir().expect("a folder");
    let token = LocalToken::load_or_create(&folder.path().join("token")).expect("a token");
    let addresses: Vec<String> = masters.iter().map(|it| it.address.to_string()).collect();
    let masters = Masters::parse(&addresses).expect("addresses");
    let (inbox, inputs) = inbox();
    let view = View::default();
    let recorder = Recorder::new(view.clone(), Metrics::default());
    let linker = Linker::new(masters, false, &token, inbox, recorder).expect("a linker");
    Rig {
        inputs,
        view,
        finder: linker.finder(),
        _linking: AbortOnDropHandle::new(tokio::spawn(linker.run(CancellationToken::new()))),
        _folder: folder,
    }
}

impl Rig {
    async fn next(&mut self) -> Input {
        within(self.inputs.recv()).await.expect("the linker lives")
    }

    /// The next link is opened, and welcomed in this term.
    async fn welcomed(&mut self, number: u64, epoch: u64) {
        let opened = self.next().await;
        assert!(matches!(opened, Input::Link(LinkId(it), _) if it == number));
        let Input::Event(event) = self.next().await else {
            panic!("another link");
        };
        let Event::LinkMessage { link, message } = *event else {
            panic!("{event:?}");
        };
        assert_eq!(link, LinkId(number));
        let welcome = matches!(message, ToAgent::Welcome { epoch: it, .. } if it == Epoch(epoch));
        assert!(welcome, "{message:?}");
    }

    async fn closed(&mut self, number: u64) {
        let Input::Event(event) = self.next().await else {
            panic!("another link");
        };
        assert!(matches!(*event, Event::LinkClosed(LinkId(it)) if it == number));
    }
}

#[tokio::test]
async fn the_link_moves_to_each_new_leader_although_the_old_one_says_nothing() {
    let masters = [FakeMaster::start().await, FakeMaster::start().await];
    let mut rig = link_to(&[&masters[0], &masters[1]]);
    for epoch in 1..=4 {
        let master = &masters[usize::try_from(epoch % 2).expect("small")];
        master.leads(epoch);
        rig.welcomed(epoch, epoch).await;
        assert_eq!(rig.view.master(), Some(master.address.to_string()));
        assert_eq!(rig.finder.trouble(), None);
        masters[usize::try_from((epoch + 1) % 2).expect("small")].leads(epoch + 1);
        rig.closed(epoch).await;
    }
}

#[tokio::test]
async fn without_a_leader_there_is_no_link_and_it_is_said_why() {
    let master = FakeMaster::start().await;
    let mut rig = link_to(&[&master]);
    let stands_by = format!("no leader: {} stands by", master.address);
    within(async {
        while rig.finder.trouble().as_ref() != Some(&stands_by) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(rig.view.master(), None);
    assert!(rig.inputs.try_recv().is_err());
    master.leads(1);
    rig.welcomed(1, 1).await;
}
