//! `AgentLink.Link`: an agent's stream, on the cluster listener.
//!
//! An agent is a program of ours, so what cannot be read ends the link with the reason; it connects again and says
//! everything anew.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use proffer_master_core::event::LinkId;
use proffer_model::link::{Hello, ToAgent, ToMaster};
use proffer_model::{Principal, Problem, code};
use proffer_proto::{
    decode_to_master, encode_agent_description, encode_to_agent, problem_of, status_of, v1,
};
use proffer_server::auth::{Action, Object, authorize};
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Request, Response, Status, Streaming};

use super::{Connection, overrun, principal_of};
use crate::inbox::{Inbox, LinkInput, overloaded};
use crate::limits::{AGENT_DESCRIPTION_LEN_MAX, FIRST_MESSAGE_TIMEOUT, LINK_OUTBOX_LEN, LINKS_MAX};
use crate::outbox::{Outbox, outbox};

/// The service.
#[derive(Debug)]
pub(crate) struct AgentLinkService {
    inbox: Inbox,
    places: Arc<Semaphore>,
}

impl AgentLinkService {
    /// For one term.
    pub(crate) fn new(inbox: Inbox) -> Self {
        let places = Arc::new(Semaphore::new(LINKS_MAX));
        Self { inbox, places }
    }
}

#[tonic::async_trait]
impl v1::agent_link_server::AgentLink for AgentLinkService {
    type LinkStream = Pin<Box<dyn Stream<Item = Result<v1::ToAgent, Status>> + Send>>;

    async fn link(
        &self,
        request: Request<Streaming<v1::ToMaster>>,
    ) -> Result<Response<Self::LinkStream>, Status> {
        let principal = principal_of(&request)?;
        authorize(&principal, Action::BeAgent, Object::Agent(None)).map_err(status_of)?;
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| status_of(overloaded("too many agents are connected")))?;
        let (outbox, mail) = outbox(LINK_OUTBOX_LEN);
        let connection = Connection::new(&mail, self.inbox.tenure.clone());
        let reader = Reader {
            inbox: self.inbox.clone(),
            link: LinkId(self.inbox.next_id()),
            principal,
            connection: connection.clone(),
            _place: place,
        };
        tokio::spawn(reader.run(outbox, request.into_inner()));
        let messages = connection.sending(mail, overrun, |message| Ok(encode_to_agent(&message)));
        Ok(Response::new(Box::pin(messages.begun().await?)))
    }
}

/// The reading half of a link.
struct Reader {
    inbox: Inbox,
    link: LinkId,
    principal: Principal,
    connection: Connection,
    _place: OwnedSemaphorePermit,
}

impl Reader {
    async fn run(self, outbox: Outbox<ToAgent>, mut incoming: Streaming<v1::ToMaster>) {
        let link = self.link;
        let hello = match self.read_hello(&mut incoming).await {
            Ok(hello) => Box::new(hello),
            // The outbox is dropped after this, and so the stream ends.
            Err(problem) => return self.connection.refuse(problem),
        };
        let opened = LinkInput::Opened {
            link,
            hello,
            outbox,
        };
        if self.inbox.links.send(opened).await.is_err() {
            return;
        }
        tokio::select! {
            () = self.connection.is_over() => {}
            read = self.read(&mut incoming) => {
                if let Err(problem) = read {
                    self.connection.refuse(problem);
                }
            }
        }
        // When the term is over, nobody needs to know.
        let _ = self.inbox.links.send(LinkInput::Closed { link }).await;
    }

    async fn read_hello(&self, incoming: &mut Streaming<v1::ToMaster>) -> Result<Hello, Problem> {
        let wrong = |message: &str| {
            Problem::new(code::FIELD_MISSING, message)
                .field("hello")
                .hint("send Hello as the first message of a link")
        };
        let first = tokio::time::timeout(FIRST_MESSAGE_TIMEOUT, incoming.message()).await;
        let first = first.map_err(|_| wrong("the link was opened, but nothing was said"))?;
        let first = first.map_err(|status| problem_of(&status))?;
        let first = first.ok_or_else(|| wrong("the link ended before it began"))?;
        let ToMaster::Hello(hello) = decode_to_master(first)? else {
            return Err(wrong("the first message is not Hello"));
        };
        let object = Object::Agent(hello.agent.as_ref());
        authorize(&self.principal, Action::BeAgent, object)?;
        let len = encode_agent_description(&hello.description).encoded_len();
        if len > AGENT_DESCRIPTION_LEN_MAX {
            let message = format!(
                "the description has {len} bytes; the limit is {AGENT_DESCRIPTION_LEN_MAX}"
            );
            return Err(Problem::new(code::FIELD_TOO_LONG, message)
                .field("hello.description")
                .hint("give the agent fewer ranges and attributes"));
        }
        Ok(hello)
    }

    /// Reads messages until the agent has no more or the term is over.
    async fn read(&self, incoming: &mut Streaming<v1::ToMaster>) -> Result<(), Problem> {
        let link = self.link;
        loop {
            let message = match incoming.message().await {
                Ok(Some(message)) => decode_to_master(message)?,
                Ok(None) => return Ok(()),
                Err(status) => return Err(problem_of(&status)),
            };
            let input = self.inbox.of_link(link, message).await;
            if self.inbox.links.send(input).await.is_err() {
                return Ok(());
            }
        }
    }
}
