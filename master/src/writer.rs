//! The writer: a thread of its own that makes commit batches durable, many with one write when many wait.
//!
//! It is the only one that touches the store during a term. The first failure ends it, and with it the term: nothing
//! is tried again.

use std::thread;
use std::time::Instant;

use proffer_master_core::event::Seq;
use proffer_model::registry::Operation;
use proffer_model::{Problem, code};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::{mpsc, watch};

use crate::limits::{STORE_BACKLOG_MAX, STORE_CHANNEL_LEN};
use crate::store::log::Log;

/// A commit batch on its way.
type Batch = (Seq, Vec<Operation>);

/// The driver's end.
#[derive(Debug)]
pub(crate) struct Writer {
    thread: thread::JoinHandle<()>,
    batches: mpsc::Sender<Batch>,
    durable: watch::Receiver<Result<Seq, Problem>>,
}

/// What the writer measures.
#[derive(Clone, Debug)]
pub(crate) struct WriterMetrics {
    /// Seconds that an append took.
    pub(crate) append_seconds: Histogram,
    /// Entries in the log.
    pub(crate) log_entries: Gauge,
}

impl Writer {
    /// Starts the thread; it ends when this end is dropped, after all that it was given, or at the first failure.
    pub(crate) fn start(log: Log, metrics: WriterMetrics) -> Result<Self, Problem> {
        let (batches, incoming) = mpsc::channel(STORE_CHANNEL_LEN);
        let (report, durable) = watch::channel(Ok(Seq(0)));
        let thread = thread::Builder::new()
            .name("store".into())
            .spawn(move || write_all(log, incoming, &report, &metrics))
            .map_err(|error| {
                Problem::new(code::INTERNAL, format!("cannot start a thread: {error}"))
            })?;
        Ok(Self {
            thread,
            batches,
            durable,
        })
    }

    /// Waits until all that was handed over is written, or has failed, and the store is closed.
    pub(crate) fn finish(self) {
        drop(self.batches);
        if self.thread.join().is_err() {
            tracing::error!("the store's thread has panicked");
        }
    }

    /// Hands over a batch.
    pub(crate) fn write(&self, seq: Seq, operations: Vec<Operation>) -> Result<(), Problem> {
        self.batches.try_send((seq, operations)).map_err(|_| {
            // Either the thread has failed, and `durable` says why, or a single turn made more than the channel holds.
            let failure = self.durable.borrow().clone().err();
            failure.unwrap_or_else(|| Problem::new(code::STORE_FAILED, "the store is too slow"))
        })
    }

    /// Whether so many batches wait that nothing new should be begun.
    pub(crate) fn is_behind(&self) -> bool {
        self.batches.max_capacity() - self.batches.capacity() >= STORE_BACKLOG_MAX
    }

    /// Waits until more is durable than at the last call; answers up to which batch, or why the store has failed.
    pub(crate) async fn progress(&mut self) -> Result<Seq, Problem> {
        if self.durable.changed().await.is_err() {
            return Err(Problem::new(
                code::STORE_FAILED,
                "the store's thread has ended",
            ));
        }
        self.durable.borrow_and_update().clone()
    }
}

fn write_all(
    mut log: Log,
    mut incoming: mpsc::Receiver<Batch>,
    report: &watch::Sender<Result<Seq, Problem>>,
    metrics: &WriterMetrics,
) {
    metrics
        .log_entries
        .set(i64::try_from(log.len()).unwrap_or(i64::MAX));
    let mut batches: Vec<Batch> = Vec::new();
    while incoming.blocking_recv_many(&mut batches, STORE_BACKLOG_MAX) > 0 {
        let Some((seq, _)) = batches.last() else {
            return;
        };
        let seq = *seq;
        let begun = Instant::now();
        let written = log.append(batches.iter().flat_map(|(_, operations)| operations));
        metrics
            .append_seconds
            .observe(begun.elapsed().as_secs_f64());
        metrics
            .log_entries
            .set(i64::try_from(log.len()).unwrap_or(i64::MAX));
        batches.clear();
        let is_over = written.is_err();
        let _ = report.send_replace(written.map(|()| seq).map_err(Problem::from));
        if is_over {
            return;
        }
    }
}
