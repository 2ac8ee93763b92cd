//! The link to the leader: one at a time, over a connection that is there before it is needed.
//!
//! It decides nothing about what is said. Who leads is found out in `proffer_leader`; a link that ends, however it ends,
//! is followed by one to whoever leads then, and one to a leader that a later one has followed is ended at once. What a
//! master says in a way that cannot be read ends the link.

use proffer_agent_core::{Event, LinkId};
use proffer_leader::{Bearer, Finder, FinderOptions, Found, Masters, Side, Term};
use proffer_model::link::{ToAgent, ToMaster};
use proffer_model::{Problem, code};
use proffer_proto::v1::agent_link_client::AgentLinkClient;
use proffer_proto::{decode_to_agent, encode_to_master, problem_of, v1};
use proffer_server::auth::LocalToken;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Request, Streaming};

use crate::inbox::{Inbox, Outbox};
use crate::limits::{ORDER_LEN_MAX, OUTBOX_MAX};
use crate::record::Recorder;

/// Keeps the agent linked.
#[derive(Debug)]
pub(crate) struct Linker {
    finder: Finder,
    authorization: MetadataValue<Ascii>,
    inbox: Inbox,
    recorder: Recorder,
    /// How many links there have been.
    links: u64,
    /// Why the last one failed, as it was logged.
    told: Option<Problem>,
}

impl Linker {
    /// Begins to look for the leader; must be called within a Tokio runtime. Errors: `config.invalid`.
    pub(crate) fn new(
        masters: Masters,
        insecure_allow_plaintext: bool,
        token: &LocalToken,
        inbox: Inbox,
        recorder: Recorder,
    ) -> Result<Self, Problem> {
        let mut authorization: MetadataValue<Ascii> = format!("Bearer {}", token.secret().expose())
            .parse()
            .map_err(|_| {
                Problem::new(code::CONFIG_INVALID, "the token is not text").field("token_file")
            })?;
        authorization.set_sensitive(true);
        let finder = Finder::start(FinderOptions {
            masters,
            side: Side::Cluster,
            bearer: Bearer::Given(Some(authorization.clone())),
            insecure_allow_plaintext,
        })?;
        Ok(Self {
            finder,
            authorization,
            inbox,
            recorder,
            links: 0,
            told: None,
        })
    }

    /// Who knows who leads.
    pub(crate) fn finder(&self) -> Finder {
        self.finder.clone()
    }

    /// Links, and links again, until it is cancelled.
    pub(crate) async fn run(mut self, ended: CancellationToken) {
        tokio::select! {
            () = ended.cancelled() => {}
            () = self.link_for_ever() => {}
        }
    }

    async fn link_for_ever(&mut self) {
        loop {
            let found = self.finder.leader().await;
            let why = self.link(&found).await;
            self.recorder.left();
            self.finder.failed(&found, &why);
            let master = &found.address;
            if self.told.as_ref() == Some(&why) {
                tracing::debug!(%master, %why, "no link to the master");
            } else {
                tracing::info!(%master, %why, "no link to the master");
                self.told = Some(why);
            }
        }
    }

    /// One link from its beginning to its end, which is the answer.
    async fn link(&mut self, found: &Found) -> Problem {
        self.links += 1;
        let link = LinkId(self.links);
        let (messages, queue) = mpsc::channel(OUTBOX_MAX);
        let close = CancellationToken::new();
        let outbox = Outbox {
            messages,
            close: close.clone(),
        };
        // Before the call: the master may answer it only once it has heard the first message.
        self.inbox.open(link, outbox).await;
        let why = tokio::select! {
            () = close.cancelled() => gone("the agent has closed the link"),
            why = self.converse(link, found, queue) => why,
        };
        self.inbox.send(Event::LinkClosed(link)).await;
        why
    }

    async fn converse(
        &mut self,
        link: LinkId,
        found: &Found,
        queue: mpsc::Receiver<ToMaster>,
    ) -> Problem {
        let outgoing = ReceiverStream::new(queue).map(|message| encode_to_master(&message));
        let mut request = Request::new(outgoing);
        request
            .metadata_mut()
            .insert("authorization", self.authorization.clone());
        let mut client =
            AgentLinkClient::new(found.channel.clone()).max_decoding_message_size(ORDER_LEN_MAX);
        let answer = tokio::select! {
            answer = client.link(request) => answer,
            () = self.finder.superseded(found.term.as_ref()) => return superseded(),
        };
        match answer {
            Ok(answer) => self.listen(link, found, answer.into_inner()).await,
            Err(status) => problem_of(&status),
        }
    }

    async fn listen(
        &mut self,
        link: LinkId,
        found: &Found,
        mut incoming: Streaming<v1::ToAgent>,
    ) -> Problem {
        let mut term = found.term.clone();
        loop {
            let message = tokio::select! {
                message = incoming.message() => message,
                () = self.finder.superseded(term.as_ref()) => return superseded(),
            };
            let message = match message {
                Ok(Some(message)) => decode_to_agent(message),
                Ok(None) => return gone("the master has ended the link"),
                Err(status) => return problem_of(&status),
            };
            let message = match message {
                Ok(message) => message,
                Err(problem) => return problem,
            };
            if let ToAgent::Welcome { cluster, epoch, .. } = &message {
                term = Some(Term {
                    cluster: cluster.clone(),
                    epoch: *epoch,
                });
                self.finder.worked(found);
                self.recorder.welcomed(&found.address);
                self.told = None;
            }
            self.inbox.send(Event::LinkMessage { link, message }).await;
        }
    }
}

fn gone(why: &str) -> Problem {
    Problem::new(code::PEER_UNREACHABLE, why)
}

fn superseded() -> Problem {
    gone("another master leads by now")
}

#[cfg(test)]
mod tests;
