//! A backup as a stream of a file's bytes. The store's thread makes a copy, in which nearly everything is shared with the
//! original; encoding and checksums are done away from all that must not wait, and only as fast as the bytes are taken.

use std::io::{self, ErrorKind, Write};
use std::pin::Pin;

use futures::Stream;
use proffer_proto::{BackupCounts, BackupHead, status_of, v1};
use proffer_server::clock;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::backup;
use crate::inbox::overloaded;
use crate::limits::{BACKUP_CHUNK_LEN, BACKUP_CHUNKS_MAX, BACKUP_STALL_MAX};
use crate::tenure::Tenure;
use crate::writer::Copied;

/// The stream of a backup.
pub(in crate::grpc) type Responses =
    Pin<Box<dyn Stream<Item = Result<v1::BackupResponse, Status>> + Send>>;

/// Begins to send what was copied.
pub(super) fn send(copied: Copied, tenure: &Tenure, place: OwnedSemaphorePermit) -> Responses {
    let (chunks, taken) = mpsc::channel(BACKUP_CHUNKS_MAX);
    let (runtime, tenure) = (Handle::current(), tenure.clone());
    drop(tokio::task::spawn_blocking(move || {
        let _place = place;
        let head = BackupHead {
            cluster: copied.cluster,
            epoch: copied.epoch,
            position: copied.position,
            made_wall_ms: clock::now().wall_ms,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            counts: BackupCounts::of(&copied.registry),
        };
        let sender = Sender {
            chunks,
            runtime,
            tenure,
            unsent: Vec::with_capacity(BACKUP_CHUNK_LEN),
            records: 0,
            records_total: head.counts.total(),
        };
        let written = backup::write(&head, &copied.registry, sender, |sender, records| {
            sender.records = records;
        });
        if let Err(error) = written {
            tracing::info!(why = error.to_string(), "a backup broke off");
        }
    }));
    Box::pin(ReceiverStream::new(taken))
}

/// Makes messages of bytes, and waits until each has room.
struct Sender {
    chunks: mpsc::Sender<Result<v1::BackupResponse, Status>>,
    runtime: Handle,
    tenure: Tenure,
    unsent: Vec<u8>,
    records: u64,
    records_total: u64,
}

impl Sender {
    fn send(&mut self) -> io::Result<()> {
        let data = std::mem::replace(&mut self.unsent, Vec::with_capacity(BACKUP_CHUNK_LEN));
        let mut chunk = Ok(v1::BackupResponse {
            data: data.into(),
            records: self.records,
            records_total: self.records_total,
        });
        let mut ends = None;
        if !self.tenure.holds() {
            chunk = Err(status_of(crate::inbox::not_leading()));
            ends = Some(io::Error::new(
                ErrorKind::NotConnected,
                "leadership is lost",
            ));
        }
        let sent = self.chunks.send(chunk);
        let sent = self
            .runtime
            .block_on(async { tokio::time::timeout(BACKUP_STALL_MAX, sent).await });
        match (sent, ends) {
            (_, Some(error)) => Err(error),
            (Ok(Ok(())), None) => Ok(()),
            (Ok(Err(_)), None) => {
                let why = "whoever fetched it has gone away";
                Err(io::Error::new(ErrorKind::BrokenPipe, why))
            }
            (Err(_), None) => {
                let late = status_of(overloaded("the backup was not taken in time"));
                // There is room for it only if somebody reads after all.
                let _ = self.chunks.try_send(Err(late));
                let why = "whoever fetches it does not take it";
                Err(io::Error::new(ErrorKind::TimedOut, why))
            }
        }
    }
}

impl Write for Sender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = BACKUP_CHUNK_LEN.saturating_sub(self.unsent.len());
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.unsent.extend_from_slice(taken);
        if self.unsent.len() >= BACKUP_CHUNK_LEN {
            self.send()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.unsent.is_empty() {
            true => Ok(()),
            false => self.send(),
        }
    }
}
