//! The writer: a thread of its own that makes commit batches durable, many with one write when many wait.
//!
//! It is the only one that touches the store during a term. The first failure ends it, and with it the term: nothing
//! is tried again.
//!
//! Between two writes it hands out copies of what is durable, for backups: a copy shares descriptions and values with the
//! original, so it takes milliseconds, in which nothing waits but what waits for the disk anyway.

use std::thread;
use std::time::Instant;

use proffer_master_core::event::Seq;
use proffer_model::registry::{Operation, Registry};
use proffer_model::{ClusterId, Epoch, Problem, code};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::{mpsc, oneshot, watch};

use crate::inbox::not_leading;
use crate::limits::{STORE_BACKLOG_MAX, STORE_CHANNEL_LEN};
use crate::store::log::Log;

/// A commit batch on its way.
type Batch = (Seq, Vec<Operation>);

/// What the thread is to do.
#[derive(Debug)]
enum Work {
    /// Makes a batch durable.
    Write(Batch),
    /// Hands out a copy of what is durable.
    Copy(oneshot::Sender<Copied>),
}

/// All that was durable in one moment.
#[derive(Debug)]
pub(crate) struct Copied {
    /// Whose it is.
    pub(crate) cluster: ClusterId,
    /// In which term.
    pub(crate) epoch: Epoch,
    /// Up to which entry of the log.
    pub(crate) position: u64,
    /// What it adds up to.
    pub(crate) registry: Registry,
}

/// The way to a term's thread, before it runs.
#[derive(Debug)]
pub(crate) struct Lane {
    work: mpsc::Sender<Work>,
    incoming: mpsc::Receiver<Work>,
}

impl Lane {
    /// Of a new term.
    pub(crate) fn new() -> Self {
        let (work, incoming) = mpsc::channel(STORE_CHANNEL_LEN);
        Self { work, incoming }
    }

    /// Where copies are asked for. It does not keep the thread from ending.
    pub(crate) fn copies(&self) -> Copies {
        Copies(self.work.downgrade())
    }
}

/// Where copies of what is durable are asked for.
#[derive(Clone, Debug)]
pub(crate) struct Copies(mpsc::WeakSender<Work>);

impl Copies {
    /// A copy with all that is durable now, and perhaps more.
    pub(crate) async fn copy(&self) -> Result<Copied, Problem> {
        let (answer, copied) = oneshot::channel();
        let work = self.0.upgrade().ok_or_else(not_leading)?;
        let sent = work.send(Work::Copy(answer)).await;
        drop(work);
        sent.map_err(|_| not_leading())?;
        copied.await.map_err(|_| not_leading())
    }
}

/// The driver's end.
#[derive(Debug)]
pub(crate) struct Writer {
    thread: thread::JoinHandle<()>,
    batches: mpsc::Sender<Work>,
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
    pub(crate) fn start(log: Log, lane: Lane, metrics: WriterMetrics) -> Result<Self, Problem> {
        let (batches, incoming) = (lane.work, lane.incoming);
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
        let work = Work::Write((seq, operations));
        self.batches.try_send(work).map_err(|_| {
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
    mut incoming: mpsc::Receiver<Work>,
    report: &watch::Sender<Result<Seq, Problem>>,
    metrics: &WriterMetrics,
) {
    metrics
        .log_entries
        .set(i64::try_from(log.len()).unwrap_or(i64::MAX));
    let (mut work, mut batches): (Vec<Work>, Vec<Batch>) = (Vec::new(), Vec::new());
    while incoming.blocking_recv_many(&mut work, STORE_BACKLOG_MAX) > 0 {
        let mut copies = Vec::new();
        for work in work.drain(..) {
            match work {
                Work::Write(batch) => batches.push(batch),
                Work::Copy(answer) => copies.push(answer),
            }
        }
        if !write(&mut log, &mut batches, report, metrics) {
            return;
        }
        for answer in copies {
            // Whoever asked may have gone away.
            let _ = answer.send(copy(&log));
        }
    }
}

fn copy(log: &Log) -> Copied {
    Copied {
        cluster: log.cluster().clone(),
        epoch: log.epoch(),
        position: log.last(),
        registry: log.registry().clone(),
    }
}

/// Makes batches durable, if there are any; answers whether the term goes on.
fn write(
    log: &mut Log,
    batches: &mut Vec<Batch>,
    report: &watch::Sender<Result<Seq, Problem>>,
    metrics: &WriterMetrics,
) -> bool {
    let Some((seq, _)) = batches.last() else {
        return true;
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
    let goes_on = written.is_ok();
    let _ = report.send_replace(written.map(|()| seq).map_err(Problem::from));
    goes_on
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::histogram::exponential_buckets;

    use super::*;
    use crate::store::Store;
    use crate::store::memory::{Disk, MemoryStore};

    fn start(disk: &Disk) -> Writer {
        let log =
            Log::begin_term(Box::new(MemoryStore::open(disk).expect("open"))).expect("a term");
        let metrics = WriterMetrics {
            append_seconds: Histogram::new(exponential_buckets(1e-4, 4.0, 2)),
            log_entries: Gauge::default(),
        };
        Writer::start(log, Lane::new(), metrics).expect("a thread")
    }

    fn batch() -> Vec<Operation> {
        let agent = "a".parse().expect("id");
        vec![Operation::MarkReachable { agent }]
    }

    #[tokio::test]
    async fn everything_handed_over_becomes_durable_in_few_entries() {
        let disk = Disk::default();
        let mut writer = start(&disk);
        for seq in 1..=1_000 {
            writer.write(Seq(seq), batch()).expect("handed over");
        }
        while writer.progress().await.expect("durable") < Seq(1_000) {}
        assert!(!writer.is_behind());
        writer.finish();
        let last = MemoryStore::open(&disk)
            .and_then(|mut store| store.last_entry())
            .expect("last");
        assert!(
            last < 1_000,
            "a thousand batches that wait together are not a thousand writes: {last}"
        );
    }

    #[tokio::test]
    async fn the_first_failure_is_told_and_nothing_is_tried_again() {
        let disk = Disk::default();
        let mut writer = start(&disk);
        let mut successor = MemoryStore::open(&disk).expect("open");
        successor
            .append(2, b"")
            .expect("the successor's term entry");
        writer.write(Seq(1), batch()).expect("handed over");
        let problem = writer.progress().await.expect_err("deposed");
        assert!(problem.is(code::STORE_DEPOSED), "{problem}");
        assert_eq!(successor.last_entry().expect("last"), 2);
        writer.finish();
    }

    #[test]
    fn what_was_handed_over_is_written_before_the_store_is_closed() {
        let disk = Disk::default();
        let writer = start(&disk);
        writer.write(Seq(1), batch()).expect("handed over");
        writer.finish();
        let last = MemoryStore::open(&disk).and_then(|mut store| store.last_entry());
        assert_eq!(last.expect("last"), 2);
    }
}
