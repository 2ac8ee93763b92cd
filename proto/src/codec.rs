//! How messages get into streams and out of them: as usual, but with buffers that begin small.
//!
//! A master has two streams for every agent, tens of thousands of them, on which little is said at a time: buffers that begin with
//! eight kilobytes each would be most of its memory. They grow with what is really sent. Bytes that are no message are refused
//! with a problem, as everything is.

use std::marker::PhantomData;

use proffer_model::{Problem, code};
use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstEncoder};

use crate::limits::{STREAM_BUFFER_LEN, STREAM_YIELD_LEN};
use crate::status_of;

/// Encodes one kind of message and decodes another.
#[derive(Clone, Copy, Debug)]
pub struct SmallCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for SmallCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for SmallCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = SmallDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(settings())
    }

    fn decoder(&mut self) -> Self::Decoder {
        SmallDecoder(PhantomData)
    }
}

/// Decodes one kind of message.
#[derive(Clone, Copy, Debug)]
pub struct SmallDecoder<U>(PhantomData<U>);

impl<U: Message + Default> Decoder for SmallDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        U::decode(bytes).map(Some).map_err(|error| {
            let problem = Problem::new(code::BODY_MALFORMED, error.to_string());
            status_of(problem.hint("encode the message by the published .proto files"))
        })
    }

    fn buffer_settings(&self) -> BufferSettings {
        settings()
    }
}

fn settings() -> BufferSettings {
    BufferSettings::new(STREAM_BUFFER_LEN, STREAM_YIELD_LEN)
}
