//! `Tasks`: the output of tasks, straight from the agent that runs them.

mod tail;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use proffer_agent_core::RunId;
use proffer_model::{FrameworkId, Incarnation, Principal, Problem, TaskId, code};
use proffer_proto::{status_of, v1};
use proffer_server::auth::{Action, Object, authorize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::limits::{LOGS_CHUNKS_MAX, LOGS_FOLLOW_INTERVAL, LOGS_READERS_MAX};
use crate::logs::tail::Tail;
use crate::supervisor::protocol;
use crate::view::View;

/// The service.
#[derive(Debug)]
pub(crate) struct TasksService {
    runs_dir: PathBuf,
    view: View,
    readers: Arc<Semaphore>,
    ended: CancellationToken,
}

impl TasksService {
    /// For the runs beneath this directory.
    pub(crate) fn new(runs_dir: PathBuf, view: View, ended: CancellationToken) -> Self {
        let readers = Arc::new(Semaphore::new(LOGS_READERS_MAX));
        Self {
            runs_dir,
            view,
            readers,
            ended,
        }
    }

    fn find(&self, principal: &Principal, request: &v1::LogsRequest) -> Result<Reading, Problem> {
        let framework: FrameworkId = decode_id(&request.framework_id, "framework_id")?;
        authorize(
            principal,
            Action::ReadTask,
            Object::Framework(Some(&framework)),
        )?;
        let task: TaskId = decode_id(&request.task_id, "task_id")?;
        let incarnation = (request.incarnation > 0).then_some(Incarnation(request.incarnation));
        let (run, output) = self.view.find(&framework, &task, incarnation).ok_or_else(|| {
            Problem::new(code::TASK_UNKNOWN, format!("this agent has no task {task}"))
                .field("task_id")
                .hint("ask the agent that ran it; the output of ended tasks is kept for a while only")
        })?;
        let name = match v1::Output::try_from(request.output) {
            Ok(v1::Output::Unspecified | v1::Output::Stdout) => protocol::STDOUT,
            Ok(v1::Output::Stderr) => protocol::STDERR,
            Err(_) => {
                let message = format!("there is no output {}", request.output);
                return Err(Problem::new(code::FIELD_INVALID, message).field("output"));
            }
        };
        let permit = self.readers.clone().try_acquire_owned().map_err(|_| {
            Problem::new(
                code::OVERLOADED,
                format!("{LOGS_READERS_MAX} readers read already"),
            )
            .hint("try again later")
        })?;
        Ok(Reading {
            path: self.runs_dir.join(output.to_string()),
            run,
            name,
            tail_lines: request.tail_lines,
            follow: request.follow,
            view: self.view.clone(),
            _permit: permit,
        })
    }
}

#[tonic::async_trait]
impl v1::tasks_server::Tasks for TasksService {
    type LogsStream = ReceiverStream<Result<v1::LogsChunk, Status>>;

    async fn logs(
        &self,
        request: Request<v1::LogsRequest>,
    ) -> Result<Response<Self::LogsStream>, Status> {
        let principal = request
            .extensions()
            .get::<Principal>()
            .cloned()
            .ok_or_else(|| {
                status_of(Problem::new(
                    code::AUTH_MISSING,
                    "the call came without a principal",
                ))
            })?;
        let reading = self
            .find(&principal, request.get_ref())
            .map_err(status_of)?;
        let (chunks, stream) = mpsc::channel(LOGS_CHUNKS_MAX);
        let ended = self.ended.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = ended.cancelled() => {}
                () = chunks.closed() => {}
                result = reading.read_all(&chunks) => {
                    if let Err(problem) = result {
                        // The reader may have gone meanwhile.
                        let _ = chunks.send(Err(status_of(problem))).await;
                    }
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// One reader.
struct Reading {
    path: PathBuf,
    run: RunId,
    name: &'static str,
    tail_lines: Option<u32>,
    follow: bool,
    view: View,
    _permit: OwnedSemaphorePermit,
}

impl Reading {
    async fn read_all(
        &self,
        chunks: &mpsc::Sender<Result<v1::LogsChunk, Status>>,
    ) -> Result<(), Problem> {
        let (path, name, lines) = (self.path.clone(), self.name, self.tail_lines);
        let mut tail = blocking(move || Tail::open(&path, name, lines)).await?;
        loop {
            // Before reading: what a task wrote before its end is then there to be read.
            let is_last = !self.follow || self.view.has_ended(self.run);
            loop {
                let (reader, data) = blocking(move || {
                    let data = tail.next_chunk()?;
                    Ok((tail, data))
                })
                .await?;
                tail = reader;
                let Some(data) = data else { break };
                if chunks.send(Ok(v1::LogsChunk { data })).await.is_err() {
                    return Ok(());
                }
            }
            if is_last {
                return Ok(());
            }
            sleep(LOGS_FOLLOW_INTERVAL).await;
        }
    }
}

/// What there is of the output `stdout` of a run now, or its last lines; for `parsers.rs`.
pub(crate) fn read_output(run_dir: &Path, lines: Option<u32>) -> std::io::Result<Vec<Bytes>> {
    let mut tail = Tail::open(run_dir, protocol::STDOUT, lines)?;
    std::iter::from_fn(|| tail.next_chunk().transpose()).collect()
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, Problem> {
    let failed = |error: &dyn std::fmt::Display| {
        Problem::new(
            code::FILE_FAILED,
            format!("the output cannot be read: {error}"),
        )
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| failed(&error))?
        .map_err(|error| failed(&error))
}

fn decode_id<I: FromStr<Err = Problem>>(text: &str, field: &str) -> Result<I, Problem> {
    if text.is_empty() {
        return Err(Problem::new(code::FIELD_MISSING, "the field is missing").field(field));
    }
    text.parse()
        .map_err(|problem: Problem| problem.field(field))
}
