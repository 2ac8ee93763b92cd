//! `proffer backup FILE` and `proffer restore FILE`: all that is durable of a cluster, in one file, and a new store made of it.
//!
//! A backup is read as it comes, every record of it, and written at the same time: what cannot be restored never gets the
//! file's name. The file is its owner's alone, for frameworks' state may be secret.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use proffer_master::backup::{self, Backup};
use proffer_master::store::StoreUrl;
use proffer_master::store::restore::{Restored, restore};
use proffer_model::{Epoch, Problem, code};
use proffer_proto::{problem_of, v1};
use serde_json::{Value, json};
use tempfile::TempPath;
use tokio::sync::mpsc;

use crate::change::by_leader;
use crate::connection::ClientArgs;
use crate::exit::{Failure, Outcome};
use crate::limits::{BACKUP_CHUNKS_MAX, BACKUP_SILENCE_MAX};
use crate::output::{OutputArgs, Progress, stdout_is_terminal};
use crate::units::{count_of, format_age, wall_ms};

/// `proffer backup`.
#[derive(Debug, clap::Args)]
pub(crate) struct BackupArgs {
    /// The file to be written, whole or not at all; - is standard output.
    file: PathBuf,
    /// Write over a file that is there already.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// `proffer restore`.
#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArgs {
    /// A file that `proffer backup` has written; - is standard input.
    file: PathBuf,
    /// Where the masters that are to lead keep what is durable: their --store. It must be empty.
    #[arg(
        long,
        env = "PROFFER_MASTER_STORE",
        value_name = "STORE",
        hide_env_values = true,
        required_unless_present = "dry_run"
    )]
    store: Option<StoreUrl>,
    /// Begin with a term after this one, when agents say that they have obeyed a later one.
    #[arg(long, value_name = "TERM")]
    above_term: Option<u64>,
    /// Only read the file to its end, and say what it holds.
    #[arg(long)]
    dry_run: bool,
    /// Let a ZooKeeper beyond this host be written, where everything travels unencrypted.
    #[arg(long, env = "PROFFER_MASTER_INSECURE_ALLOW_PLAINTEXT")]
    insecure_allow_plaintext: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Fetches a backup from the leader.
pub(crate) async fn backup(args: BackupArgs) -> Outcome {
    let is_stdout = args.file == Path::new("-");
    if is_stdout && stdout_is_terminal() {
        let message = "a backup is not for a terminal";
        return Err(Problem::new(code::FIELD_INVALID, message)
            .field("file")
            .hint("name a file, or let standard output go to a file or a program")
            .into());
    }
    if !is_stdout && !args.force && args.file.try_exists().unwrap_or_default() {
        return Err(exists(&args.file).into());
    }
    let mut responses = by_leader(&args.client, async |master| master.backup().await).await?;
    // What is not finished goes with the path, also when this is interrupted.
    let (target, path) = match is_stdout {
        true => (Target::Stdout, None),
        false => {
            let (file, path) = temporary(&args.file)?;
            (Target::File(file), Some(path))
        }
    };
    let (chunks, waiting) = mpsc::channel(BACKUP_CHUNKS_MAX);
    let writing = tokio::task::spawn_blocking(move || keep(target, waiting));
    let mut progress = Progress::new();
    let fetched = fetch(&mut responses, chunks, &mut progress).await;
    progress.clear();
    let kept = writing.await.map_err(|error| {
        let message = format!("the backup could not be written: {error}");
        Problem::new(code::INTERNAL, message)
    })?;
    // What has broken off is also cut short; why says more.
    let backup = match (fetched, kept) {
        (_, Err(Failure::OutputClosed)) => return Err(Failure::OutputClosed),
        (Err(problem), _) => return Err(problem.into()),
        (Ok(()), kept) => kept?,
    };
    match path {
        Some(path) => {
            give_name(path, &args.file, args.force)?;
            let said = described_json(&backup);
            let output = args.output.output;
            output.show_text(&said, || describe(&backup, wall_ms()))
        }
        None => {
            progress.say(&summary(&backup));
            Ok(())
        }
    }
}

/// Hands over what comes, until the end.
async fn fetch(
    responses: &mut tonic::Streaming<v1::BackupResponse>,
    chunks: mpsc::Sender<Bytes>,
    progress: &mut Progress,
) -> Result<(), Problem> {
    let mut bytes = 0_u64;
    let mut said = 0;
    loop {
        let next = tokio::time::timeout(BACKUP_SILENCE_MAX, responses.message()).await;
        let next = next.map_err(|_| {
            Problem::new(
                code::PEER_UNREACHABLE,
                "the master has stopped in the middle",
            )
            .hint("try again")
        })?;
        let Some(response) = next.map_err(|status| problem_of(&status))? else {
            return Ok(());
        };
        bytes += u64::try_from(response.data.len()).unwrap_or_default();
        if chunks.send(response.data).await.is_err() {
            // Whoever writes says why.
            return Ok(());
        }
        let percent = (100 * response.records).checked_div(response.records_total);
        let percent = percent.unwrap_or(100);
        if percent >= said + 5 {
            said = percent;
            progress.update(&format!("{percent}%, {} KiB", bytes / 1024));
        }
    }
}

/// Where a backup goes.
enum Target {
    Stdout,
    File(File),
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout => io::stdout().write(bytes),
            Self::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout => io::stdout().flush(),
            Self::File(file) => file.sync_all(),
        }
    }
}

/// Writes what comes, and reads it at the same time.
struct Kept {
    target: Target,
    waiting: mpsc::Receiver<Bytes>,
    chunk: Bytes,
    failed: Option<io::Error>,
}

impl Read for Kept {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.chunk.is_empty() {
            let Some(chunk) = self.waiting.blocking_recv() else {
                return Ok(0);
            };
            if let Err(error) = self.target.write_all(&chunk) {
                let told = io::Error::new(error.kind(), "it cannot be written");
                self.failed = Some(error);
                return Err(told);
            }
            self.chunk = chunk;
        }
        let len = into.len().min(self.chunk.len());
        let taken = self.chunk.split_to(len);
        if let Some(into) = into.get_mut(..len) {
            into.copy_from_slice(&taken);
        }
        Ok(len)
    }
}

/// Takes it to its end; it is on disk and can be restored then.
fn keep(target: Target, waiting: mpsc::Receiver<Bytes>) -> Outcome<Backup> {
    let mut kept = Kept {
        target,
        waiting,
        chunk: Bytes::new(),
        failed: None,
    };
    let read = backup::read(&mut kept);
    let flushed = match kept.failed.take() {
        Some(error) => Err(error),
        None => kept.target.flush(),
    };
    if let Err(error) = flushed {
        if matches!(kept.target, Target::Stdout) && error.kind() == io::ErrorKind::BrokenPipe {
            return Err(Failure::OutputClosed);
        }
        let message = format!("the backup cannot be written: {error}");
        return Err(Problem::new(code::FILE_FAILED, message).into());
    }
    Ok(read?)
}

/// A file beside the one that is to be, of its owner alone.
fn temporary(file: &Path) -> Result<(File, TempPath), Problem> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let prefix = format!(".{name}.");
    let temporary = tempfile::Builder::new()
        .prefix(&prefix)
        .tempfile_in(folder(file));
    let temporary = temporary.map_err(|error| unwritable(file, &error))?;
    Ok(temporary.into_parts())
}

fn folder(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// What is durable gets its name.
fn give_name(temporary: TempPath, file: &Path, is_forced: bool) -> Result<(), Problem> {
    let named = match is_forced {
        true => temporary.persist(file),
        false => temporary.persist_noclobber(file),
    };
    named.map_err(|failed| match failed.error.kind() {
        io::ErrorKind::AlreadyExists => exists(file),
        _ => unwritable(file, &failed.error),
    })?;
    let folder = File::open(folder(file)).and_then(|folder| folder.sync_all());
    folder.map_err(|error| unwritable(file, &error))
}

fn exists(file: &Path) -> Problem {
    let message = format!("{} is there already", file.display());
    Problem::new(code::FILE_EXISTS, message)
        .field("file")
        .hint("choose another name, or write over it with --force")
}

fn unwritable(file: &Path, error: &io::Error) -> Problem {
    let message = format!("{} cannot be written: {error}", file.display());
    Problem::new(code::FILE_FAILED, message).field("file")
}

/// Makes a store of a backup, or only reads it.
pub(crate) async fn run_restore(args: RestoreArgs) -> Outcome {
    if let Some(StoreUrl::ZooKeeper(url)) = &args.store
        && !args.insecure_allow_plaintext
        && !url.is_loopback()
    {
        let message = format!("{url} is not on this host, and connections are not encrypted");
        return Err(Problem::new(code::CONFIG_INVALID, message)
            .field("store")
            .hint("on a network that you trust, say --insecure-allow-plaintext")
            .into());
    }
    let file = args.file.clone();
    let reading = tokio::task::spawn_blocking(move || read(&file)).await;
    let backup = reading.map_err(|error| {
        let message = format!("the backup could not be read: {error}");
        Problem::new(code::INTERNAL, message)
    })??;
    let now_ms = wall_ms();
    let output = args.output.output;
    let Some(store) = args.store.filter(|_| !args.dry_run) else {
        return output.show_text(&described_json(&backup), || describe(&backup, now_ms));
    };
    let restored = Restored::of(&backup, now_ms, args.above_term.map(Epoch))?;
    let next_term = restored.epoch.next();
    restore(&store, restored).await?;
    let mut value = described_json(&backup);
    if let Value::Object(object) = &mut value {
        object.insert("restored".to_owned(), json!(true));
        object.insert("next_epoch".to_owned(), json!(next_term.0));
    }
    output.show_text(&value, || {
        let text = describe(&backup, now_ms);
        format!("{text}\n\nrestored into {store}; the next term is {next_term}")
    })
}

fn read(file: &Path) -> Result<Backup, Problem> {
    if file == Path::new("-") {
        return backup::read(io::stdin().lock());
    }
    let opened = File::open(file).map_err(|error| {
        let message = format!("{} cannot be read: {error}", file.display());
        Problem::new(code::FILE_FAILED, message).field("file")
    })?;
    let read = backup::read(BufReader::new(opened));
    read.map_err(|problem| {
        let message = format!("{}: {}", file.display(), problem.message);
        Problem { message, ..problem }.field("file")
    })
}

fn summary(backup: &Backup) -> String {
    let counts = &backup.head.counts;
    [
        count_of(counts.agents, "agent"),
        count_of(counts.frameworks, "framework"),
        count_of(counts.states, "key"),
        count_of(counts.quotas, "quota"),
        count_of(counts.weights, "weight"),
    ]
    .join(", ")
}

/// For people.
fn describe(backup: &Backup, now_ms: u64) -> String {
    let head = &backup.head;
    let made = format!("{} ago", format_age(now_ms, head.made_wall_ms));
    let lines = [
        ("cluster", head.cluster.to_string()),
        ("made", made),
        ("term", head.epoch.to_string()),
        ("position", head.position.to_string()),
        ("version", head.version.clone()),
        ("holds", summary(backup)),
        ("bytes", backup.bytes.to_string()),
        ("sha256", hex(&backup.sha256)),
    ];
    let lines = lines.map(|(name, value)| format!("{name:<10} {}", crate::escape::line(&value)));
    lines.join("\n")
}

fn described_json(backup: &Backup) -> Value {
    let head = &backup.head;
    let counts = &head.counts;
    json!({
        "cluster_id": head.cluster.as_str(),
        "made_wall_ms": head.made_wall_ms,
        "epoch": head.epoch.0,
        "position": head.position,
        "version": head.version,
        "agents": counts.agents,
        "frameworks": counts.frameworks,
        "state_keys": counts.states,
        "completed_frameworks": counts.completed,
        "quotas": counts.quotas,
        "weights": counts.weights,
        "gone_agents": counts.gone,
        "bytes": backup.bytes,
        "sha256": hex(&backup.sha256),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
