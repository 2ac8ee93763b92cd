//! The stream of one emulated agent, made to be small: buffers of a few bytes where a real agent's begin with kilobytes,
//! and a queue that holds messages as they are written.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{BufMut as _, Bytes};
use futures::Stream;
use proffer_model::Problem;
use proffer_model::link::ToMaster;
use proffer_proto::{encode_to_master, problem_of, v1};
use prost::Message as _;
use tonic::client::Grpc;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

use super::limits::{OUTGOING_MAX, STREAM_BUFFER_LEN};
use crate::limits::ORDER_LEN_MAX;

/// The method that agents call.
const LINK: &str = "/proffer.v1.AgentLink/Link";
/// Bytes that are sent together, as usual.
const YIELD_THRESHOLD: usize = 1024;

/// Opens the stream; what is in `outgoing` goes first.
pub(super) async fn open(
    channel: Channel,
    authorization: MetadataValue<Ascii>,
    outgoing: Outgoing,
) -> Result<Streaming<v1::ToAgent>, Problem> {
    let mut client = Grpc::new(channel).max_decoding_message_size(ORDER_LEN_MAX);
    let mut request = Request::new(outgoing);
    request
        .metadata_mut()
        .insert("authorization", authorization);
    let opened = async {
        client
            .ready()
            .await
            .map_err(|error| Status::unavailable(format!("the connection is gone: {error}")))?;
        let path = http::uri::PathAndQuery::from_static(LINK);
        client.streaming(request, path, SmallCodec).await
    };
    match opened.await {
        Ok(answer) => Ok(answer.into_inner()),
        Err(status) => Err(problem_of(&status)),
    }
}

/// What an agent has to say: a queue whose other end is the body of a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Outgoing(Arc<Mutex<Queue>>);

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<Bytes>,
    reader: Option<Waker>,
    is_closed: bool,
}

impl Outgoing {
    /// Adds a message; answers false when too many wait.
    pub(super) fn push(&self, message: &ToMaster) -> bool {
        let bytes = Bytes::from(encode_to_master(message).encode_to_vec());
        let mut queue = self.queue();
        if queue.messages.len() >= OUTGOING_MAX {
            return false;
        }
        queue.messages.push_back(bytes);
        if let Some(reader) = queue.reader.take() {
            reader.wake();
        }
        true
    }

    /// Ends the body of the request once all is sent.
    pub(super) fn close(&self) {
        let mut queue = self.queue();
        queue.is_closed = true;
        if let Some(reader) = queue.reader.take() {
            reader.wake();
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing under the lock can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream for Outgoing {
    type Item = Bytes;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut queue = self.queue();
        if let Some(message) = queue.messages.pop_front() {
            if queue.messages.is_empty() {
                // An agent that has reported a thousand tasks need not keep the room for them.
                queue.messages = VecDeque::new();
            }
            return Poll::Ready(Some(message));
        }
        if queue.is_closed {
            return Poll::Ready(None);
        }
        queue.reader = Some(context.waker().clone());
        Poll::Pending
    }
}

/// Writes bytes as they are and reads messages, with small buffers.
#[derive(Debug)]
struct SmallCodec;

impl Codec for SmallCodec {
    type Encode = Bytes;
    type Decode = v1::ToAgent;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for SmallCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(STREAM_BUFFER_LEN, YIELD_THRESHOLD)
    }
}

impl Decoder for SmallCodec {
    type Item = v1::ToAgent;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<v1::ToAgent>, Status> {
        v1::ToAgent::decode(buffer)
            .map(Some)
            .map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(STREAM_BUFFER_LEN, YIELD_THRESHOLD)
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn messages_leave_in_order_and_the_end_comes_after_them() {
        let outgoing = Outgoing::default();
        let mut reader = outgoing.clone();
        assert!(outgoing.push(&ToMaster::Heartbeat));
        assert!(outgoing.push(&ToMaster::Heartbeat));
        outgoing.close();
        let heartbeat = encode_to_master(&ToMaster::Heartbeat).encode_to_vec();
        assert_eq!(reader.next().await.as_deref(), Some(heartbeat.as_slice()));
        assert!(reader.next().await.is_some());
        assert!(reader.next().await.is_none());
    }

    #[tokio::test]
    async fn whoever_reads_is_woken_and_a_queue_that_nobody_reads_is_full_at_its_limit() {
        let outgoing = Outgoing::default();
        let mut reader = outgoing.clone();
        let reading = tokio::spawn(async move { reader.next().await });
        tokio::task::yield_now().await;
        assert!(outgoing.push(&ToMaster::Heartbeat));
        assert!(reading.await.unwrap().is_some());
        for _ in 0..OUTGOING_MAX {
            assert!(outgoing.push(&ToMaster::Heartbeat));
        }
        assert!(!outgoing.push(&ToMaster::Heartbeat));
    }
}
