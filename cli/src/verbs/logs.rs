//! `proffer logs`: what a task, or every instance of an app, has written.
//!
//! The master says where the tasks are; their output comes from the agents, never through the master. What a task wrote
//! to standard error goes to ours. The output of one task is passed on as it is (made safe where a person's terminal is
//! the reader); that of several is mixed line by line, each with its task's name in front.

use std::collections::BTreeSet;

use bytes::Bytes;
use proffer_model::{Problem, code};
use proffer_proto::problem_of;
use proffer_proto::v1;
use proffer_proto::v1::tasks_client::TasksClient;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::connection::{ClientArgs, with_token_hint};
use crate::escape::{self, TerminalFilter};
use crate::exit::Outcome;
use crate::limits::{LOG_CHUNKS_QUEUED_MAX, LOG_FRAMEWORKS_MAX, LOG_LINE_LEN_MAX, LOG_STREAMS_MAX};
use crate::master_client::MasterClient;
use crate::named::{self, task::incarnation_of};
use crate::output::{self, Format, OutputArgs, Progress};
use crate::task;
use crate::verbs::agent::one_of;
use crate::verbs::operate::{check_framework, framework_id};

/// `proffer logs`.
#[derive(Debug, clap::Args)]
pub(crate) struct LogsArgs {
    /// An app such as /web or web, or a task's id, or a part of one that no other has.
    #[arg(value_name = "TASK|APP")]
    name: String,
    /// Go on as more is written, until the task ends.
    #[arg(short, long)]
    follow: bool,
    /// Begin so many lines before the end, instead of at the beginning.
    #[arg(long, value_name = "LINES")]
    tail: Option<u32>,
    /// Only what was written to standard output.
    #[arg(long, conflicts_with = "stderr")]
    stdout: bool,
    /// Only what was written to standard error.
    #[arg(long)]
    stderr: bool,
    /// The framework that the task is of, by id or name, when several have one of that id.
    #[arg(long)]
    framework: Option<String>,
    /// Ask this agent, by id or host, for the task of exactly this id: for one that ended before the leader changed, of
    /// which the master knows nothing.
    #[arg(long)]
    agent: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// One output of one task.
struct Source {
    task_id: String,
    output: v1::Output,
}

/// A piece of what came from the source with this place in the list.
struct Piece {
    place: usize,
    bytes: Bytes,
}

/// Shows the logs.
pub(crate) async fn run(args: LogsArgs) -> Outcome {
    let mut master = MasterClient::connect(&args.client).await?;
    let tasks = match &args.agent {
        Some(agent) => {
            let agent = one_of(master.agents().await?, agent)?;
            vec![find_at_agent(&mut master, &args, agent).await?]
        }
        None => find(&mut master, &args).await?,
    };
    if let Some(task) = tasks.iter().find(|task| !is_to_be_asked(task)) {
        return Err(without_agent(task).into());
    }
    show(&args, &tasks).await
}

/// Shows what these tasks have written.
async fn show(args: &LogsArgs, tasks: &[v1::Task]) -> Outcome {
    let outputs: &[v1::Output] = match (args.stdout, args.stderr) {
        (true, _) => &[v1::Output::Stdout],
        (_, true) => &[v1::Output::Stderr],
        _ => &[v1::Output::Stdout, v1::Output::Stderr],
    };
    let (sender, mut pieces) = mpsc::channel::<Piece>(LOG_CHUNKS_QUEUED_MAX);
    let (mut streams, mut sources) = (JoinSet::new(), Vec::new());
    for task in tasks {
        for output in outputs {
            let place = sources.len();
            let request = request_for(task, *output, args);
            let (client, address) = (args.client.clone(), task.agent_address.clone());
            let sender = sender.clone();
            streams.spawn(async move { read(&client, &address, request, place, sender).await });
            sources.push(Source {
                task_id: task.id.clone(),
                output: *output,
            });
        }
    }
    drop(sender);
    let mut writer = Writer::new(sources, tasks.len(), args.output.output == Format::Json);
    while let Some(piece) = pieces.recv().await {
        writer.write(&piece)?;
    }
    writer.finish()?;
    while let Some(ended) = streams.join_next().await {
        ended
            .map_err(|error| Problem::new(code::INTERNAL, format!("a stream ended: {error}")))??;
    }
    if writer.is_empty {
        Progress::new().say(&format!("{} has written nothing", args.name));
    }
    Ok(())
}

/// The task with that id; else the live tasks of that app; else the one of it that ended last; else the one task whose
/// id has this part.
async fn find(master: &mut MasterClient, args: &LogsArgs) -> Result<Vec<v1::Task>, Problem> {
    let name = args.name.as_str();
    let framework_id = framework_id(master, args.framework.as_deref()).await?;
    if let Some(task) = named::task::with_id(master, name, &framework_id).await? {
        return Ok(vec![task]);
    }
    let asked = v1::ListTasksRequest {
        framework_id,
        ..v1::ListTasksRequest::default()
    };
    let mut tasks = master.tasks_like(asked).await?;
    if tasks.is_empty() {
        let known = check_framework(master, args.framework.as_deref()).await;
        known.map_err(|problem| problem.hint(LISTS_OF_FRAMEWORKS))?;
    }
    if !tasks.iter().any(|task| task::is_of_app(task, name)) {
        let found = named::task::one_like(tasks, name)?;
        return found.map(|task| vec![task]).ok_or_else(|| unknown(name));
    }
    tasks.retain(|task| task::is_of_app(task, name));
    if tasks.iter().any(is_to_be_asked) {
        tasks.retain(is_to_be_asked);
    }
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
    live.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(live)
}

/// What to do about a framework that the master does not know.
const LISTS_OF_FRAMEWORKS: &str = "`proffer frameworks` lists them; of one that is over its agents know what its tasks wrote: \
     `proffer logs TASK --framework ID --agent AGENT`";

/// That the master knows nothing of this name. It may have known it: what ends is not in its log.
fn unknown(name: &str) -> Problem {
    let message = format!("the master knows no task or app {name}");
    Problem::new(code::TASK_UNKNOWN, message).hint(
        "`proffer tasks --all` lists the tasks that it knows, `proffer why APP` says why an app has none; of one that had \
         ended when the leader changed only its agent knows: `proffer logs TASK --agent AGENT`",
    )
}

/// Whether there is an agent to ask for what it wrote.
fn is_to_be_asked(task: &v1::Task) -> bool {
    !task.agent_address.is_empty()
}

/// Why there is no agent to ask.
fn without_agent(task: &v1::Task) -> Problem {
    let (id, agent) = (&task.id, &task.agent_id);
    let reason = task.status.as_ref().map(v1::Status::reason);
    if reason == Some(v1::Reason::AgentGone) {
        let message = format!(
            "the agent {agent} of task {id} is gone: nobody can be asked what the task wrote"
        );
        let hint = "if its host is there still, look beneath `runs` in the agent's work directory";
        return Problem::new(code::AGENT_GONE, message).hint(hint);
    }
    let message = format!("the master knows the agent {agent} of task {id} no more");
    Problem::new(code::AGENT_UNKNOWN, message)
        .hint("try again when the agent is back; `proffer agents` lists those that are there")
}

/// The task of exactly this id as an agent knows it, which the master need not. Tasks are of frameworks: all that the master
/// knows are tried where none is named.
async fn find_at_agent(
    master: &mut MasterClient,
    args: &LogsArgs,
    agent: v1::Agent,
) -> Result<v1::Task, Problem> {
    let name = args.name.as_str();
    let frameworks = match &args.framework {
        Some(_) => vec![framework_id(master, args.framework.as_deref()).await?],
        None => {
            let known = master.frameworks().await?.into_iter();
            known.map(|framework| framework.id).collect()
        }
    };
    if frameworks.len() > LOG_FRAMEWORKS_MAX {
        let message = format!("there are {} frameworks to look for", frameworks.len());
        let hint = "say with --framework whose task is meant";
        return Err(Problem::new(code::FIELD_MISSING, message)
            .field("framework")
            .hint(hint));
    }
    let mut tasks = TasksClient::new(args.client.agent_channel(&agent.address).await?);
    let mut having = BTreeSet::new();
    for framework in &frameworks {
        let asked = v1::LogsRequest {
            framework_id: framework.clone(),
            task_id: name.to_owned(),
            tail_lines: Some(0),
            ..v1::LogsRequest::default()
        };
        match tasks
            .logs(asked)
            .await
            .map_err(|status| problem_of(&status))
        {
            Ok(_) => drop(having.insert(framework.as_str())),
            Err(problem) if problem.is(code::TASK_UNKNOWN) => {}
            Err(problem) => return Err(with_token_hint(problem)),
        }
    }
    match having.first() {
        Some(_) if having.len() > 1 => Err(named::task::of_several(name, &having)),
        Some(framework) => Ok(v1::Task {
            id: name.to_owned(),
            framework_id: (*framework).to_owned(),
            agent_id: agent.id,
            agent_address: agent.address,
            ..v1::Task::default()
        }),
        None => {
            // It may know one of a framework that is over, by its whole id.
            let known = check_framework(master, args.framework.as_deref()).await;
            let beside =
                known.map_or_else(|it| format!(", and {}", it.message), |()| String::new());
            let message = format!("agent {} has no task {name}{beside}", agent.id);
            Err(Problem::new(code::TASK_UNKNOWN, message).hint(
                "give the whole id, and with --framework the id of its framework if that is over; what ended tasks have \
                 written is kept for the agent's `keep_ended`",
            ))
        }
    }
}

fn request_for(task: &v1::Task, output: v1::Output, args: &LogsArgs) -> v1::LogsRequest {
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

/// Puts the pieces of all sources together.
struct Writer {
    sources: Vec<Source>,
    is_json: bool,
    /// Whether nothing came yet.
    is_empty: bool,
    /// Whether lines are told apart by their task's name.
    is_named: bool,
    /// Whether lines are taken apart: because several sources end in one place, or a program reads objects.
    by_line: bool,
    /// The line of each source that has no end yet.
    begun: Vec<Vec<u8>>,
    /// There when a person's terminal is the reader.
    filters: Option<Vec<TerminalFilter>>,
}

impl Writer {
    fn new(sources: Vec<Source>, tasks: usize, is_json: bool) -> Self {
        let is_terminal = output::stdout_is_terminal();
        let filters = || sources.iter().map(|_| TerminalFilter::default()).collect();
        Self {
            is_json,
            is_empty: true,
            is_named: tasks > 1,
            by_line: is_json || tasks > 1 || (is_terminal && sources.len() > 1),
            begun: sources.iter().map(|_| Vec::new()).collect(),
            filters: is_terminal.then(filters),
            sources,
        }
    }

    fn write(&mut self, piece: &Piece) -> Outcome {
        let bytes = self.filter(piece);
        let (Some(begun), Some(source)) = (
            self.begun.get_mut(piece.place),
            self.sources.get(piece.place),
        ) else {
            return Ok(());
        };
        self.is_empty &= bytes.is_empty();
        if !self.by_line {
            return source.print(&bytes, self.is_json);
        }
        begun.extend_from_slice(&bytes);
        let mut text = Vec::new();
        while let Some(line) = take_line(begun) {
            text.extend(source.format(&line, self.is_named, self.is_json));
        }
        source.print(&text, self.is_json)
    }

    /// Writes the lines that never got an end.
    fn finish(&mut self) -> Outcome {
        for (source, begun) in self.sources.iter().zip(&self.begun) {
            if !begun.is_empty() {
                source.print(
                    &source.format(begun, self.is_named, self.is_json),
                    self.is_json,
                )?;
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

impl Source {
    /// To where the task meant it; objects all go to standard output.
    fn print(&self, bytes: &[u8], is_json: bool) -> Outcome {
        match self.output {
            v1::Output::Stderr if !is_json => output::print_error_bytes(bytes),
            _ => output::print_bytes(bytes),
        }
    }

    fn format(&self, line: &[u8], is_named: bool, is_json: bool) -> Vec<u8> {
        if is_json {
            let text = String::from_utf8_lossy(line);
            let stream = match self.output {
                v1::Output::Stderr => "stderr",
                _ => "stdout",
            };
            let object = json!({ "task_id": self.task_id, "stream": stream, "line": text });
            return format!("{object}\n").into_bytes();
        }
        let mut bytes = Vec::new();
        if is_named {
            bytes.extend(format!("{} | ", escape::line(&self.task_id)).into_bytes());
        }
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
        bytes
    }
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
        let source = Source {
            task_id: "web.1".to_owned(),
            output: v1::Output::Stderr,
        };
        assert_eq!(source.format(b"hi", true, false), b"web.1 | hi\n");
        assert_eq!(source.format(b"hi", false, false), b"hi\n");
        let json = String::from_utf8(source.format(b"a\"\xff", true, true)).unwrap();
        assert_eq!(
            json,
            "{\"line\":\"a\\\"\u{fffd}\",\"stream\":\"stderr\",\"task_id\":\"web.1\"}\n"
        );
    }

    #[test]
    fn whose_agent_is_gone_or_forgotten_has_nobody_to_ask() {
        let mut task = v1::Task {
            id: "keeper-1".to_owned(),
            agent_id: "c-a1-1".to_owned(),
            ..v1::Task::default()
        };
        assert!(!is_to_be_asked(&task));
        assert!(without_agent(&task).is(code::AGENT_UNKNOWN));
        let status = task.status.get_or_insert_default();
        status.set_reason(v1::Reason::AgentGone);
        let problem = without_agent(&task);
        assert!(problem.is(code::AGENT_GONE), "{problem}");
        let words = "the agent c-a1-1 of task keeper-1 is gone";
        assert!(problem.message.starts_with(words), "{problem}");
    }
}
