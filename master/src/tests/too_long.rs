//! Messages that are longer than a service takes: each service of both listeners answers in a problem how long one may be.

use std::collections::BTreeSet;

use bytes::{Buf as _, BufMut as _, Bytes};
use proffer_model::limits::MESSAGE_LEN_MAX;
use proffer_model::{Problem, code};
use proffer_proto::problem_of;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Status};

use super::peers::{Master, soon};
use crate::limits::LINK_MESSAGE_LEN_MAX;

/// What tonic takes of services that nobody has said anything of.
const DEFAULT_LEN_MAX: usize = 4 * 1024 * 1024;

/// A method of each service of the listener for frameworks and operators; of services with streams and without, both.
const API: [(&str, usize); 8] = [
    ("/proffer.v1.FrameworkState/Put", MESSAGE_LEN_MAX),
    ("/proffer.v1.FrameworkState/Watch", MESSAGE_LEN_MAX),
    ("/proffer.v1.Scheduler/Call", MESSAGE_LEN_MAX),
    ("/proffer.v1.Scheduler/Session", MESSAGE_LEN_MAX),
    ("/proffer.v1.Operator/ListTasks", MESSAGE_LEN_MAX),
    ("/proffer.v1.Operator/GetMaster", DEFAULT_LEN_MAX),
    ("/proffer.v1.Leadership/Watch", DEFAULT_LEN_MAX),
    ("/grpc.health.v1.Health/Check", DEFAULT_LEN_MAX),
];

/// The same of the listener for agents.
const CLUSTER: [(&str, usize); 2] = [
    ("/proffer.v1.AgentLink/Link", LINK_MESSAGE_LEN_MAX),
    ("/proffer.v1.Leadership/Watch", DEFAULT_LEN_MAX),
];

/// Messages as they are.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// What a service says of a message of so many bytes.
async fn refusal(
    master: &Master,
    address: std::net::SocketAddr,
    path: &'static str,
    len: usize,
) -> Status {
    let mut channel = Grpc::new(master.channel(address).await);
    let mut request = Request::new(tokio_stream::once(Bytes::from(vec![0; len])));
    let bearer = master.authorization();
    let bearer = bearer.trim_start_matches("Authorization: ").trim_end();
    let bearer = bearer.parse().expect("a header");
    request.metadata_mut().insert("authorization", bearer);
    channel.ready().await.expect("connected");
    let called = channel.streaming(request, PathAndQuery::from_static(path), Raw);
    let answer = soon("an answer", called).await;
    let mut answer = match answer {
        Ok(answer) => answer.into_inner(),
        Err(status) => return status,
    };
    soon("the end", async {
        loop {
            match answer.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("{path} took it"),
                Err(status) => return status,
            }
        }
    })
    .await
}

fn check(path: &str, len: usize, status: &Status) {
    let problem: Problem = problem_of(status);
    assert!(problem.is(code::FIELD_TOO_LONG), "{path}: {status:?}");
    assert!(!status.details().is_empty(), "{path} carries the problem");
    let said = format!(
        "the message has {} bytes; one message has {len} at most",
        len + 1
    );
    assert_eq!(problem.message, said, "{path}");
    assert!(problem.hint.contains(&len.to_string()), "{path}: {problem}");
    assert!(
        matches!(status.code(), Code::OutOfRange | Code::InvalidArgument),
        "{path}: {status:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_service_says_of_a_message_that_is_too_long_how_long_one_may_be() {
    let master = Master::start("memory").await;
    let listeners = [
        (master.listen(), &API[..]),
        (master.cluster_listen(), &CLUSTER[..]),
    ];
    for (address, services) in listeners {
        for (path, len) in services {
            let status = refusal(&master, address, path, len + 1).await;
            check(path, *len, &status);
        }
    }
    let service = |(path, _): &(&'static str, usize)| path.split('/').nth(1).map(str::to_owned);
    let tried: BTreeSet<String> = API.iter().chain(&CLUSTER).filter_map(service).collect();
    let ours = master.reflected().await.into_iter();
    let ours: BTreeSet<String> = ours.filter(|name| name.starts_with("proffer.")).collect();
    let of_agents = ["proffer.v1.Executor", "proffer.v1.Tasks"].map(str::to_owned);
    let left: Vec<_> = ours.iter().filter(|name| !tried.contains(*name)).collect();
    assert!(
        left.iter().all(|name| of_agents.contains(name)),
        "{left:?} are not tried"
    );
    master.stop().await;
}
