//! Pages and answers that are in memory until they are read: how many bytes they may have together.

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::changes::Refusal;
use crate::limits::MESOS_LIGHT_LEN;

/// Bytes to a permit.
const UNIT: usize = 1_024;

/// The room for them.
#[derive(Debug)]
pub(super) struct Unread {
    room: Arc<Semaphore>,
    most: u32,
}

/// One of them, with its part of the room.
struct Held {
    written: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.written
    }
}

impl Unread {
    /// For so many bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        let most = u32::try_from(bytes_max / UNIT).unwrap_or(u32::MAX);
        Self {
            room: Arc::new(Semaphore::new(most as usize)),
            most,
        }
    }

    /// Takes one in, until the last of its readers has it or is gone; all parts and copies of it are the same bytes. A light
    /// one is not counted: nobody breaks it off.
    pub(super) fn hold(&self, written: Vec<u8>) -> Result<Bytes, Refusal> {
        if written.len() <= MESOS_LIGHT_LEN {
            return Ok(written.into());
        }
        let units = u32::try_from(written.len().div_ceil(UNIT)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).try_acquire_many_owned(units.min(self.most));
        let room = room.map_err(|_| Refusal {
            status: StatusCode::SERVICE_UNAVAILABLE,
            text: "Too many answers wait to be read".to_owned(),
        })?;
        Ok(Bytes::from_owner(Held {
            written,
            _room: room,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A heavy one.
    const PART: usize = 2 * MESOS_LIGHT_LEN;

    #[test]
    fn answers_are_in_memory_up_to_their_bytes_until_their_last_reader_has_them() {
        let unread = Unread::new(10 * PART);
        let mut first = unread.hold(vec![1; 6 * PART]).expect("room");
        let other = first.clone();
        let refused = unread.hold(vec![2; 4 * PART + 1]).expect_err("no room");
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        let second = unread.hold(vec![2; 4 * PART]).expect("room");
        let piece = first.split_to(1);
        drop((first, other));
        assert!(
            unread.hold(vec![3; PART]).is_err(),
            "a piece of it is unread"
        );
        unread.hold(vec![3; MESOS_LIGHT_LEN]).expect("it is light");
        drop(piece);
        unread.hold(vec![3; 6 * PART]).expect("room");
        drop(second);
        let alone = unread.hold(vec![4; 100 * PART]).expect("it is alone");
        assert!(unread.hold(vec![5; PART]).is_err());
        drop(alone);
        unread.hold(vec![6; 10 * PART]).expect("room");
    }
}
