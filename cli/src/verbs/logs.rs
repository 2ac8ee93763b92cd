//! `proffer logs`: what a task, or every instance of an app, has written.
//!
//! The master says where the tasks are; their output comes from the agents, never through the master. The output of one
//! task is passed on as it is (made safe where a person's terminal is the reader); that of several is mixed line by line,
//! each with its task's name in front.

use bytes::Bytes;
use proffer_model::{Problem, code};
use proffer_proto::problem_of;
use proffer_proto::v1;
use proffer_proto::v1::tasks_client::TasksClient;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::connection::{ClientArgs, with_token_hint};
use crate::escape::{self, TerminalFilter};
use crate::exit::Outcome;
use crate::limits::{LOG_CHUNKS_QUEUED_MAX, LOG_LINE_LEN_MAX, LOG_STREAMS_MAX};
use crate::master_client::MasterClient;
use crate::output::{self, OutputArgs};
use crate::task;

/// `proffer logs`.
#[derive(Debug, clap::Args)]
pub(crate) struct LogsArgs {
    /// A task's id, or an app such as /web or web.
    #[arg(value_name = "TASK|APP")]
    name: String,
    /// Go on as more is written, until the task ends.
    #[arg(short, long)]
    follow: bool,
    /// Begin so many lines before the end, instead of at the beginning.
    #[arg(long, value_name = "LINES")]
    tail: Option<u32>,
    /// What was written to standard error, instead of standard output.
    #[arg(long)]
    stderr: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// A piece of what the task with this place in the list has written.
struct Piece {
    place: usize,
    bytes: Bytes,
}

/// Shows the logs.
pub(crate) async fn run(args: LogsArgs) -> Outcome {
    let mut master = MasterClient::connect(&args.client).await?;
    let tasks = find(&mut master, &args.name).await?;
    let (sender, mut pieces) = mpsc::channel::<Piece>(LOG_CHUNKS_QUEUED_MAX);
    let mut streams = JoinSet::new();
    for (place, task) in tasks.iter().enumerate() {
        let request = request_for(task, &args);
        let (client, address, sender) = (
            args.client.clone(),
            task.agent_address.clone(),
            sender.clone(),
        );
        streams.spawn(async move { read(&client, &address, request, place, sender).await });
    }
    drop(sender);
    let mut writer = Writer::new(&tasks, args.output.output == output::Format::Json);
    while let Some(piece) = pieces.recv().await {
        writer.write(&piece)?;
    }
    writer.finish()?;
    while let Some(ended) = streams.join_next().await {
        ended
            .map_err(|error| Problem::new(code::INTERNAL, format!("a stream ended: {error}")))??;
    }
    Ok(())
}

/// The task with that id; else the live tasks of that app; else the one of it that ended last.
async fn find(master: &mut MasterClient, name: &str) -> Result<Vec<v1::Task>, Problem> {
    // An app's path is no task's id.
    if !name.contains('/') {
        let exact = master.tasks(name).await?;
        if let Some(last) = exact.into_iter().max_by_key(incarnation_of) {
            return Ok(vec![last]);
        }
    }
    let mut tasks = master.tasks("").await?;
    tasks.retain(|task| task::is_of_app(task, name) && !task.agent_address.is_empty());
    let (ended, mut live): (Vec<_>, Vec<_>) = tasks.into_iter().partition(task::has_ended);
    if live.is_empty() {
        live.extend(
            ended
                .into_iter()
                .max_by_key(|task| task.status.as_ref().map_or(0, |s| s.wall_ms)),
        );
    }
    if live.len() > LOG_STREAMS_MAX {
        let message = format!(
            "{name} has {} tasks; at most {LOG_STREAMS_MAX} are shown at once",
            live.len()
        );
        return Err(Problem::new(code::FIELD_TOO_LONG, message).hint(format!(
            "name one of them; `proffer tasks --app {name}` lists them"
        )));
    }
    if live.is_empty() {
        let message = format!("there is no task or app {name} that has been started");
        return Err(Problem::new(code::TASK_UNKNOWN, message).hint(
            "`proffer tasks --all` lists the tasks, `proffer why APP` says why there are none",
        ));
    }
    live.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(live)
}

fn incarnation_of(task: &v1::Task) -> u64 {
    task.status.as_ref().map_or(0, |status| status.incarnation)
}

fn request_for(task: &v1::Task, args: &LogsArgs) -> v1::LogsRequest {
    let output = if args.stderr {
        v1::Output::Stderr
    } else {
        v1::Output::Stdout
    };
    v1::LogsRequest {
        framework_id: task.framework_id.clone(),
        task_id: task.id.clone(),
        incarnation: incarnation_of(task),
        output: output.into(),
        follow: args.follow,
        tail_lines: args.tail,
    }
}

/// Passes one task's output on; pauses while the writer is behind.
async fn read(
    client: &ClientArgs,
    address: &str,
    request: v1::LogsRequest,
    place: usize,
    sender: mpsc::Sender<Piece>,
) -> Result<(), Problem> {
    let mut tasks = TasksClient::new(client.agent_channel(address).await?);
    let answer = tasks
        .logs(request)
        .await
        .map_err(|status| with_token_hint(problem_of(&status)))?;
    let mut chunks = answer.into_inner();
    while let Some(chunk) = chunks
        .message()
        .await
        .map_err(|status| problem_of(&status))?
    {
        if sender
            .send(Piece {
                place,
                bytes: chunk.data,
            })
            .await
            .is_err()
        {
            // Nobody reads any more.
            return Ok(());
        }
    }
    Ok(())
}

/// Puts the pieces of all tasks together.
struct Writer {
    names: Vec<String>,
    is_json: bool,
    /// Whether lines are taken apart: because several tasks write, or because a program reads objects.
    by_line: bool,
    /// The line of each task that has no end yet.
    begun: Vec<Vec<u8>>,
    /// There when a person's terminal is the reader.
    filters: Option<Vec<TerminalFilter>>,
}

impl Writer {
    fn new(tasks: &[v1::Task], is_json: bool) -> Self {
        Self {
            names: tasks.iter().map(|task| task.id.clone()).collect(),
            is_json,
            by_line: is_json || tasks.len() > 1,
            begun: tasks.iter().map(|_| Vec::new()).collect(),
            filters: output::stdout_is_terminal()
                .then(|| tasks.iter().map(|_| TerminalFilter::default()).collect()),
        }
    }

    fn write(&mut self, piece: &Piece) -> Outcome {
        let bytes = self.filter(piece);
        if !self.by_line {
            return output::print_bytes(&bytes);
        }
        let Some(begun) = self.begun.get_mut(piece.place) else {
            return Ok(());
        };
        begun.extend_from_slice(&bytes);
        let mut text = Vec::new();
        let name = self
            .names
            .get(piece.place)
            .map(String::as_str)
            .unwrap_or_default();
        while let Some(line) = take_line(begun) {
            text.extend(format_line(name, &line, self.is_json));
        }
        output::print_bytes(&text)
    }

    /// Writes the lines that never got an end.
    fn finish(&mut self) -> Outcome {
        for (name, begun) in self.names.iter().zip(&self.begun) {
            if !begun.is_empty() {
                output::print_bytes(&format_line(name, begun, self.is_json))?;
            }
        }
        Ok(())
    }

    fn filter(&mut self, piece: &Piece) -> Bytes {
        let filter = self
            .filters
            .as_mut()
            .and_then(|filters| filters.get_mut(piece.place));
        match filter {
            Some(filter) => filter.filter(&piece.bytes).into(),
            None => piece.bytes.clone(),
        }
    }
}

/// The first line without its end; a line that is too long is cut.
fn take_line(bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) => {
            let mut line: Vec<u8> = bytes.drain(..=end).collect();
            line.pop();
            Some(line)
        }
        None if bytes.len() >= LOG_LINE_LEN_MAX => Some(std::mem::take(bytes)),
        None => None,
    }
}

fn format_line(name: &str, line: &[u8], is_json: bool) -> Vec<u8> {
    if is_json {
        let text = String::from_utf8_lossy(line);
        let object = serde_json::json!({ "task_id": name, "line": text });
        return format!("{object}\n").into_bytes();
    }
    let mut bytes = format!("{} | ", escape::line(name)).into_bytes();
    bytes.extend_from_slice(line);
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_several_tasks_are_not_torn() {
        let mut begun = b"one\ntw".to_vec();
        assert_eq!(take_line(&mut begun).as_deref(), Some(&b"one"[..]));
        assert_eq!(take_line(&mut begun), None);
        begun.extend(b"o\n\n");
        assert_eq!(take_line(&mut begun).as_deref(), Some(&b"two"[..]));
        assert_eq!(take_line(&mut begun).as_deref(), Some(&b""[..]));
        assert_eq!(take_line(&mut begun), None);
        let mut endless = vec![b'x'; LOG_LINE_LEN_MAX];
        assert_eq!(
            take_line(&mut endless).map(|line| line.len()),
            Some(LOG_LINE_LEN_MAX)
        );
    }

    #[test]
    fn lines_carry_their_task() {
        assert_eq!(format_line("web.1", b"hi", false), b"web.1 | hi\n");
        let json = String::from_utf8(format_line("web.1", b"a\"\xff", true)).unwrap();
        assert_eq!(json, "{\"line\":\"a\\\"\u{fffd}\",\"task_id\":\"web.1\"}\n");
    }
}
