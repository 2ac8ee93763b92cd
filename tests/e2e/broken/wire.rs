//! Calls as bytes: what is sent need not be what any library would send.

use std::path::Path;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes};
use futures::SinkExt as _;
use futures::channel::mpsc;
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder, Streaming};
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::harness::PATIENCE;

/// How many messages may wait in a stream.
const WAITING: usize = 16;

/// Sends and gives bytes as they are.
#[derive(Clone, Copy, Debug, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, bytes: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(bytes);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(bytes.copy_to_bytes(bytes.remaining())))
    }
}

/// Somebody with a token and a connection.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    grpc: Grpc<Channel>,
    bearer: AsciiMetadataValue,
}

impl Caller {
    /// Calls the address or, if that is a path, the socket.
    pub(super) async fn connect(address: &str, token: &str) -> Self {
        let uri = match Path::new(address).is_absolute() {
            true => format!("unix://{address}"),
            false => format!("http://{address}"),
        };
        let endpoint = Endpoint::try_from(uri).expect("an address");
        let channel = endpoint.connect().await.expect("connected");
        Self {
            grpc: Grpc::new(channel).max_encoding_message_size(usize::MAX),
            bearer: format!("Bearer {token}").parse().expect("a header"),
        }
    }

    /// The first message that a call is answered with, if there is one; the error is its status.
    pub(super) async fn first(&mut self, path: &str, bytes: Bytes) -> Result<Bytes, Status> {
        let mut request = Request::new(bytes);
        let headers = request.metadata_mut();
        headers.insert("authorization", self.bearer.clone());
        let called = async {
            self.grpc.ready().await.expect("connected");
            let path = path.parse().expect("a path");
            let answered = self.grpc.server_streaming(request, path, Raw).await?;
            let first = answered.into_inner().message().await?;
            Ok(first.unwrap_or_default())
        };
        timeout(PATIENCE, called).await.expect("an answer in time")
    }

    /// A stream in both directions, and where what is to be sent goes.
    pub(super) async fn open(&mut self, path: &str) -> (mpsc::Sender<Bytes>, Streaming<Bytes>) {
        let (send, outgoing) = mpsc::channel(WAITING);
        let mut request = Request::new(outgoing);
        let headers = request.metadata_mut();
        headers.insert("authorization", self.bearer.clone());
        self.grpc.ready().await.expect("connected");
        let path = path.parse().expect("a path");
        let opened = self.grpc.streaming(request, path, Raw).await;
        (send, opened.expect("a stream").into_inner())
    }
}

/// What a stream says next; its end is none.
pub(super) async fn next(stream: &mut Streaming<Bytes>) -> Result<Option<Bytes>, Status> {
    timeout(PATIENCE, stream.message())
        .await
        .expect("something in time")
}

/// Says something; whoever has closed the stream says why in the other direction.
pub(super) async fn say(stream: &mut mpsc::Sender<Bytes>, bytes: Bytes) {
    let _ = timeout(Duration::from_secs(10), stream.send(bytes)).await;
}
