//! The connection to a master: one at a time, each master in turn, with growing delays.
//!
//! It decides nothing about what is said. A connection that ends, however it ends, is followed by the next master; a full
//! round without a welcome waits. What a master says in a way that cannot be read ends the connection.

use std::sync::Arc;
use std::time::Duration;

use proffer_agent_core::{Event, LinkId};
use proffer_model::limits::MESSAGE_LEN_MAX;
use proffer_model::link::ToAgent;
use proffer_model::{Problem, code};
use proffer_proto::v1::agent_link_client::AgentLinkClient;
use proffer_proto::{decode_to_agent, encode_to_master, problem_of};
use proffer_server::auth::LocalToken;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Streaming};

use crate::inbox::{Inbox, Outbox};
use crate::limits::{
    CONNECT_TIMEOUT, OUTBOX_MAX, PING_INTERVAL, RECONNECT_DELAY_MAX, RECONNECT_DELAY_MIN,
};

/// Keeps the agent connected.
#[derive(Debug)]
pub(crate) struct Linker {
    masters: Vec<(String, Endpoint)>,
    authorization: MetadataValue<Ascii>,
    inbox: Inbox,
    /// How many connections there have been.
    links: u64,
}

impl Linker {
    /// Connects to none yet. Errors: `config.invalid`.
    pub(crate) fn new(
        masters: &[String],
        token: &LocalToken,
        inbox: Inbox,
    ) -> Result<Self, Problem> {
        let masters = masters.iter().map(|master| {
            let endpoint = Endpoint::from_shared(format!("http://{master}")).map_err(|error| {
                let message = format!("{master} is not an address: {error}");
                Problem::new(code::CONFIG_INVALID, message).field("master")
            })?;
            let endpoint = endpoint
                .connect_timeout(CONNECT_TIMEOUT)
                .tcp_nodelay(true)
                .http2_keep_alive_interval(PING_INTERVAL)
                .keep_alive_timeout(PING_INTERVAL)
                .keep_alive_while_idle(true);
            Ok((master.clone(), endpoint))
        });
        let mut authorization: MetadataValue<Ascii> = format!("Bearer {}", token.secret().expose())
            .parse()
            .map_err(|_| {
                Problem::new(code::CONFIG_INVALID, "the token is not text").field("token_file")
            })?;
        authorization.set_sensitive(true);
        Ok(Self {
            masters: masters.collect::<Result<_, Problem>>()?,
            authorization,
            inbox,
            links: 0,
        })
    }

    /// Connects, and connects again, until it is cancelled.
    pub(crate) async fn run(mut self, ended: CancellationToken) {
        tokio::select! {
            () = ended.cancelled() => {}
            () = self.connect_for_ever() => {}
        }
    }

    async fn connect_for_ever(&mut self) {
        let masters: Arc<[_]> = self.masters.clone().into();
        let mut delay = RECONNECT_DELAY_MIN;
        let mut is_told = false;
        loop {
            let mut was_welcome = false;
            for (master, endpoint) in masters.iter() {
                match self.link(endpoint).await {
                    Ok(welcome) => was_welcome |= welcome,
                    Err(problem) if is_told => {
                        tracing::debug!(%master, why = %problem, "no link to the master");
                    }
                    Err(problem) => {
                        tracing::info!(%master, why = %problem, "no link to the master");
                        is_told = true;
                    }
                }
            }
            if was_welcome {
                delay = RECONNECT_DELAY_MIN;
                is_told = false;
            }
            sleep(delay + jitter(delay / 2)).await;
            delay = (delay * 2).min(RECONNECT_DELAY_MAX);
        }
    }

    /// One connection from its beginning to its end; answers whether a master welcomed the agent.
    async fn link(&mut self, endpoint: &Endpoint) -> Result<bool, Problem> {
        let channel = endpoint.connect().await.map_err(|error| {
            Problem::new(
                code::PEER_UNREACHABLE,
                format!("no connection: {}", cause(&error)),
            )
        })?;
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
        let heard = tokio::select! {
            () = close.cancelled() => Ok(false),
            heard = self.converse(link, channel, queue) => heard,
        };
        self.inbox.send(Event::LinkClosed(link)).await;
        heard
    }

    async fn converse(
        &self,
        link: LinkId,
        channel: Channel,
        queue: mpsc::Receiver<proffer_model::link::ToMaster>,
    ) -> Result<bool, Problem> {
        let outgoing = ReceiverStream::new(queue).map(|message| encode_to_master(&message));
        let mut request = Request::new(outgoing);
        request
            .metadata_mut()
            .insert("authorization", self.authorization.clone());
        let mut client = AgentLinkClient::new(channel).max_decoding_message_size(MESSAGE_LEN_MAX);
        let answer = client
            .link(request)
            .await
            .map_err(|status| problem_of(&status))?;
        self.listen(link, answer.into_inner()).await
    }

    async fn listen(
        &self,
        link: LinkId,
        mut incoming: Streaming<proffer_proto::v1::ToAgent>,
    ) -> Result<bool, Problem> {
        let mut was_welcome = false;
        loop {
            let message = match incoming.message().await {
                Ok(Some(message)) => decode_to_agent(message)?,
                Ok(None) => return Ok(was_welcome),
                Err(status) if was_welcome => {
                    tracing::info!(why = %problem_of(&status), "the link to the master has ended");
                    return Ok(true);
                }
                Err(status) => return Err(problem_of(&status)),
            };
            was_welcome |= matches!(message, ToAgent::Welcome { .. });
            self.inbox.send(Event::LinkMessage { link, message }).await;
        }
    }
}

/// The innermost reason: the outer ones say only that a transport failed.
fn cause(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

/// A random duration up to this, so that agents do not come back all at once.
fn jitter(most: Duration) -> Duration {
    let mut bytes = [0; 2];
    // Without randomness there is no jitter, which is only less kind.
    let _ = getrandom::fill(&mut bytes);
    most * u32::from(u16::from_le_bytes(bytes)) / u32::from(u16::MAX)
}
