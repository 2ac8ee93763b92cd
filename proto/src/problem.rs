//! Problems, and how they travel as the details of a gRPC status.
//!
//! Decoding a problem cannot fail: it is an error already, perhaps of a newer peer, so what is not known is kept as text.
//! The details are a `google.rpc.Status`, written here by hand, so that every gRPC tool shows them.

use std::borrow::Cow;
use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use proffer_model::limits::TEXT_LEN_MAX;
use proffer_model::{Kind, Problem, code};
use prost::Message;
use tonic::{Code, Status};

use crate::fields::{clipped, encode_duration};
use crate::limits::STATUS_TEXT_LEN_MAX;
use crate::v1;

/// The name under which a problem stands among the details of a status.
const TYPE_URL: &str = "type.googleapis.com/proffer.v1.Problem";

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct StatusDetails {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Detail>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Detail {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// A problem for the wire; texts longer than `TEXT_LEN_MAX` are cut.
pub fn encode_problem(problem: &Problem) -> v1::Problem {
    encode_clipped(problem, TEXT_LEN_MAX)
}

/// A problem from the wire. Cannot fail: a code that is not known is kept, a class that is not known is taken from the
/// code, or is `Internal`.
pub fn decode_problem(problem: v1::Problem) -> Problem {
    let known = code::ALL.iter().find(|code| code.name == problem.code);
    let kind = decode_kind(problem.kind())
        .or(known.map(|code| code.kind))
        .unwrap_or(Kind::Internal);
    let code = match known {
        Some(code) => Cow::Borrowed(code.name),
        None if problem.code.is_empty() => Cow::Borrowed(code::INTERNAL.name),
        None => Cow::Owned(problem.code),
    };
    Problem {
        code,
        kind,
        field: problem.field,
        message: problem.message,
        hint: problem.hint,
        retry_after: problem.retry_after_ms.map(Duration::from_millis),
    }
}

/// The gRPC status of a problem, which carries the problem as its details. Long texts are cut.
pub fn status_of(problem: Problem) -> Status {
    let code = grpc_code(problem.kind);
    let wire = encode_clipped(&problem, STATUS_TEXT_LEN_MAX);
    let detail = Detail {
        type_url: TYPE_URL.to_owned(),
        value: wire.encode_to_vec(),
    };
    let message = decode_problem(wire).to_string();
    let details = StatusDetails {
        code: code.into(),
        message: String::new(),
        details: vec![detail],
    };
    Status::with_details(code, message, Bytes::from(details.encode_to_vec()))
}

/// The problem of a gRPC status: the one that it carries, or for a status of another program the one that comes nearest.
pub fn problem_of(status: &Status) -> Problem {
    carried(status)
        .or_else(|| too_long(status))
        .unwrap_or_else(|| foreign(status))
}

/// What tonic says of a message that is longer than the receiver takes, or than the sender sends: of none it says more than
/// how long it is and may be. Every server of ours, and every client, has the problem of it from here.
fn too_long(status: &Status) -> Option<Problem> {
    let number_after = |word: &str| {
        let (_, rest) = status.message().split_once(word)?;
        rest.split(' ').next()?.parse::<u64>().ok()
    };
    if status.code() != Code::OutOfRange || !status.message().contains("message length too large") {
        return None;
    }
    let (found, limit) = (number_after("found ")?, number_after("the limit is: ")?);
    let message = format!("the message has {found} bytes; one message has {limit} at most");
    Some(Problem::new(code::FIELD_TOO_LONG, message).hint(format!(
        "send less at once: {limit} bytes with all that is in it"
    )))
}

fn carried(status: &Status) -> Option<Problem> {
    let details = StatusDetails::decode(status.details()).ok()?;
    let detail = details
        .details
        .into_iter()
        .find(|detail| detail.type_url == TYPE_URL)?;
    let problem = v1::Problem::decode(detail.value.as_slice()).ok()?;
    Some(decode_problem(problem))
}

fn foreign(status: &Status) -> Problem {
    let is_transport = status.source().is_some();
    let code = match status.code() {
        Code::Unknown | Code::Internal | Code::DataLoss | Code::Ok if !is_transport => {
            code::INTERNAL
        }
        Code::AlreadyExists | Code::FailedPrecondition => code::INTERNAL,
        Code::InvalidArgument => code::FIELD_INVALID,
        // What others say of a message that is longer than the receiver takes.
        Code::OutOfRange => code::FIELD_TOO_LONG,
        Code::NotFound | Code::Unimplemented => code::ROUTE_UNKNOWN,
        Code::Unauthenticated => code::AUTH_MISSING,
        Code::PermissionDenied => code::AUTH_DENIED,
        Code::ResourceExhausted => code::OVERLOADED,
        Code::Unavailable
        | Code::DeadlineExceeded
        | Code::Cancelled
        | Code::Aborted
        | Code::Unknown
        | Code::Internal
        | Code::DataLoss
        | Code::Ok => code::PEER_UNREACHABLE,
    };
    let message = match (innermost_cause(status), status.message()) {
        (Some(cause), _) => clipped(
            &format!("the connection broke: {cause}"),
            STATUS_TEXT_LEN_MAX,
        ),
        (None, "") => format!("the peer answered {:?}", status.code()),
        (None, text) => clipped(text, STATUS_TEXT_LEN_MAX),
    };
    let problem = Problem::new(code, message);
    match code {
        code::PEER_UNREACHABLE => problem.hint("see that the peer runs and can be reached"),
        code::AUTH_MISSING => problem.hint("give the token of this cluster"),
        _ => problem,
    }
}

/// What happened to the connection, when that is why there is a status; the outer errors only say "transport error".
fn innermost_cause(status: &Status) -> Option<String> {
    let mut innermost = status.source()?;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    Some(innermost.to_string())
}

fn encode_clipped(problem: &Problem, max: usize) -> v1::Problem {
    v1::Problem {
        code: clipped(&problem.code, max),
        kind: encode_kind(problem.kind).into(),
        field: clipped(&problem.field, max),
        message: clipped(&problem.message, max),
        hint: clipped(&problem.hint, max),
        retry_after_ms: problem.retry_after.map(encode_duration),
    }
}

fn encode_kind(kind: Kind) -> v1::ProblemKind {
    match kind {
        Kind::Invalid => v1::ProblemKind::Invalid,
        Kind::NotFound => v1::ProblemKind::NotFound,
        Kind::Conflict => v1::ProblemKind::Conflict,
        Kind::Unauthenticated => v1::ProblemKind::Unauthenticated,
        Kind::Forbidden => v1::ProblemKind::Forbidden,
        Kind::Exhausted => v1::ProblemKind::Exhausted,
        Kind::Unavailable => v1::ProblemKind::Unavailable,
        Kind::Internal => v1::ProblemKind::Internal,
    }
}

fn decode_kind(kind: v1::ProblemKind) -> Option<Kind> {
    Some(match kind {
        v1::ProblemKind::Unspecified => return None,
        v1::ProblemKind::Invalid => Kind::Invalid,
        v1::ProblemKind::NotFound => Kind::NotFound,
        v1::ProblemKind::Conflict => Kind::Conflict,
        v1::ProblemKind::Unauthenticated => Kind::Unauthenticated,
        v1::ProblemKind::Forbidden => Kind::Forbidden,
        v1::ProblemKind::Exhausted => Kind::Exhausted,
        v1::ProblemKind::Unavailable => Kind::Unavailable,
        v1::ProblemKind::Internal => Kind::Internal,
    })
}

fn grpc_code(kind: Kind) -> Code {
    match kind {
        Kind::Invalid => Code::InvalidArgument,
        Kind::NotFound => Code::NotFound,
        Kind::Conflict => Code::FailedPrecondition,
        Kind::Unauthenticated => Code::Unauthenticated,
        Kind::Forbidden => Code::PermissionDenied,
        Kind::Exhausted => Code::ResourceExhausted,
        Kind::Unavailable => Code::Unavailable,
        Kind::Internal => Code::Internal,
    }
}
