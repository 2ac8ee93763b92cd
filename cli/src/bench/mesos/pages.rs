//! Readers of the pages that Mesos's tools read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use proffer_model::{Problem, code};
use proffer_server::client::HttpClient;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::super::child::Master;
use super::super::figures::Times;
use crate::limits::BENCH_PAGE_LEN_MAX;

/// Who asks for pages, one after the other.
pub(super) struct Reader {
    client: HttpClient,
    base: String,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// From the request to the end of its answer.
    pub(super) times: Times,
    /// Of the longest.
    pub(super) bytes: u64,
}

impl Reader {
    pub(super) fn new(master: &Master) -> Self {
        let client = HttpClient::new();
        let client = client.token(&master.token);
        Self {
            client: client.answer_len_max(BENCH_PAGE_LEN_MAX),
            base: format!("http://{}", master.api),
        }
    }

    /// Asks for a page so many times.
    pub(super) async fn read(&self, path: &str, times: usize) -> Result<Read, Problem> {
        let mut read = Read::default();
        for _ in 0..times {
            self.once(path, &mut read).await?;
        }
        Ok(read)
    }

    /// Begins to ask for a page so often, beside whatever else is done; later where an answer takes longer than that.
    pub(super) fn begin(self, path: &'static str, every: Duration) -> Reading {
        let is_over = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&is_over);
        let reader = tokio::spawn(async move {
            let mut read = Read::default();
            let mut due = tokio::time::interval(every.max(Duration::from_millis(1)));
            due.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !flag.load(Ordering::Relaxed) {
                due.tick().await;
                self.once(path, &mut read).await?;
            }
            Ok(read)
        });
        Reading { is_over, reader }
    }

    async fn once(&self, path: &str, read: &mut Read) -> Result<(), Problem> {
        let begun = Instant::now();
        let answer = self.client.get(&format!("{}{path}", self.base)).await?;
        read.times.push(begun.elapsed());
        if answer.status != StatusCode::OK {
            let message = format!("{path} answers {}", answer.status);
            return Err(Problem::new(code::PEER_UNREACHABLE, message));
        }
        let bytes = u64::try_from(answer.body.len()).unwrap_or(u64::MAX);
        read.bytes = read.bytes.max(bytes);
        Ok(())
    }
}

/// A reader at work.
pub(super) struct Reading {
    is_over: Arc<AtomicBool>,
    reader: JoinHandle<Result<Read, Problem>>,
}

impl Reading {
    /// Ends it, and says what came of it.
    pub(super) async fn end(self) -> Result<Read, Problem> {
        self.is_over.store(true, Ordering::Relaxed);
        let read = self.reader.await;
        read.map_err(|error| Problem::new(code::INTERNAL, error.to_string()))?
    }
}
