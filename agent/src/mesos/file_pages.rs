//! `/files/browse`, `/files/read` and `/files/download` of an agent, and the calls LIST_FILES and READ_FILE: what each is asked
//! with, and how it is answered.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use proffer_model::{Principal, Problem, code};
use proffer_proto::mesos::seconds_of;
use proffer_proto::mesos::v1::FileInfo;
use proffer_proto::mesos::v1::agent::response::{ListFiles, ReadFile, Type as Answer};
use proffer_proto::mesos::v1::agent::{Call, Response as Answered, call::Type};
use proffer_server::auth::{Action, Object, authorize};
use proffer_server::mesos_http::{Media, refusal};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::io::ReaderStream;

use super::files::{Fault, Files, mode_text};
use super::form::{Asked, in_form};
use crate::limits::{FILES_DOWNLOADS_MAX, FILES_READS_MAX};
use crate::view::View;

type Shared = Arc<FilePages>;

/// What answers.
#[derive(Debug)]
pub(super) struct FilePages {
    files: Files,
    downloads: Arc<Semaphore>,
    reads: Arc<Semaphore>,
}

impl FilePages {
    /// Of the runs beneath this directory, of which the view says whose they are.
    pub(super) fn new(runs_dir: PathBuf, view: View) -> Shared {
        Arc::new(Self {
            files: Files::new(runs_dir, view),
            downloads: Arc::new(Semaphore::new(FILES_DOWNLOADS_MAX)),
            reads: Arc::new(Semaphore::new(FILES_READS_MAX)),
        })
    }

    pub(super) fn router(pages: Shared) -> Router {
        Router::new()
            .route("/files/browse", any(browse))
            .route("/files/browse.json", any(browse))
            .route("/files/read", any(read))
            .route("/files/read.json", any(read))
            .route("/files/download", any(download))
            .route("/files/download.json", any(download))
            .route("/files/debug", any(debug))
            .route("/files/debug.json", any(debug))
            .with_state(pages)
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        refusal(self.status, &self.why)
    }
}

/// Whoever calls may read what tasks print.
fn check(principal: Option<&Principal>) -> Result<(), Fault> {
    let missing = || Problem::new(code::AUTH_MISSING, "the call came without a principal");
    let checked = principal
        .ok_or_else(missing)
        .and_then(|principal| authorize(principal, Action::ReadTask, Object::Framework(None)));
    checked.map_err(|problem| Fault {
        status: StatusCode::FORBIDDEN,
        why: problem.message,
    })
}

/// Does what blocks, when it has a place: those who read a lot leave threads to all others.
async fn apart<T: Send + 'static>(
    pages: &Shared,
    work: impl FnOnce(&Files) -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    // The semaphore is never closed.
    let place = Arc::clone(&pages.reads).acquire_owned().await;
    let pages = Arc::clone(pages);
    let work = move || {
        // Kept until it is done, also if nobody waits for it any more.
        let _place = place;
        work(&pages.files)
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| {
        Err(Fault {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            why: error.to_string(),
        })
    })
}

fn path_of(asked: &BTreeMap<String, String>) -> Result<String, Fault> {
    let path = asked.get("path").filter(|path| !path.is_empty());
    let path = path.ok_or_else(|| Fault::bad("Expecting 'path=value' in query."));
    path.cloned()
}

/// A number that may be missing; -1 is none, as readers of logs say that they want to know how long it is.
fn number(asked: &BTreeMap<String, String>, name: &str) -> Result<Option<u64>, Fault> {
    let Some(text) = asked.get(name) else {
        return Ok(None);
    };
    let number: i64 = text
        .parse()
        .map_err(|error| Fault::bad(format!("Failed to parse {name}: {error}.\n")))?;
    match number {
        ..-1 => Err(Fault::bad(format!("Negative {name} provided: {number}.\n"))),
        number => Ok(u64::try_from(number).ok()),
    }
}

async fn browse(
    State(pages): State<Shared>,
    principal: Option<axum::Extension<Principal>>,
    asked: Asked,
) -> Result<Response, Fault> {
    check(principal.as_deref())?;
    let path = path_of(&asked)?;
    let all = apart(&pages, move |files| files.list(&path)).await?;
    let all: Vec<Value> = all.iter().map(shown).collect();
    Ok(in_form(&Value::Array(all), &asked))
}

/// Without an offset only how long the file is.
async fn read(
    State(pages): State<Shared>,
    principal: Option<axum::Extension<Principal>>,
    asked: Asked,
) -> Result<Response, Fault> {
    check(principal.as_deref())?;
    let path = path_of(&asked)?;
    let (offset, len) = (number(&asked, "offset")?, number(&asked, "length")?);
    let page = match offset {
        None => {
            let (_, size) = apart(&pages, move |files| files.open(&path)).await?;
            json!({"data": "", "offset": size})
        }
        Some(offset) => {
            let (_, data) = apart(&pages, move |files| files.read(&path, offset, len)).await?;
            json!({"data": String::from_utf8_lossy(&data), "offset": offset})
        }
    };
    Ok(in_form(&page, &asked))
}

/// Which paths there are, and what each is.
async fn debug(
    State(pages): State<Shared>,
    principal: Option<axum::Extension<Principal>>,
    asked: Asked,
) -> Result<Response, Fault> {
    check(principal.as_deref())?;
    let all = apart(&pages, |files| Ok(files.paths())).await?;
    Ok(in_form(&json!(all), &asked))
}

/// A whole file, as long as it was when it was asked for.
async fn download(
    State(pages): State<Shared>,
    principal: Option<axum::Extension<Principal>>,
    Query(asked): Asked,
) -> Result<Response, Fault> {
    check(principal.as_deref())?;
    let path = path_of(&asked)?;
    let place = Arc::clone(&pages.downloads).try_acquire_owned();
    let place = place.map_err(|_| Fault {
        status: StatusCode::SERVICE_UNAVAILABLE,
        why: format!("{FILES_DOWNLOADS_MAX} files are downloaded already"),
    })?;
    let name = path.rsplit('/').next().unwrap_or_default();
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let name: String = name.chars().filter(is_plain).collect();
    let (file, size) = apart(&pages, move |files| files.open(&path)).await?;
    let stream = whole(tokio::fs::File::from_std(file), size, place);
    let head = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, size.to_string()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{name}\""),
        ),
    ];
    Ok((head, Body::from_stream(stream)).into_response())
}

/// So many bytes, or an error: of a file that becomes shorter meanwhile nobody shall believe that it is all there. The place is
/// kept as long as it is read.
fn whole(
    file: impl AsyncRead + Unpin,
    size: u64,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = io::Result<Bytes>> {
    let chunks = ReaderStream::new(file.take(size));
    futures::stream::unfold(
        (chunks, size, place),
        |(mut chunks, left, place)| async move {
            let chunk = match chunks.next().await {
                None if left == 0 => return None,
                None => Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the file has become shorter",
                )),
                Some(chunk) => chunk,
            };
            let len = chunk.as_ref().map_or(0, Bytes::len);
            let left = left.saturating_sub(u64::try_from(len).unwrap_or(u64::MAX));
            Some((chunk, (chunks, left, place)))
        },
    )
}

/// As Mesos's page has it: permissions as text, the time in seconds.
fn shown(info: &FileInfo) -> Value {
    let modified = info.mtime.as_ref().map_or(0, |mtime| mtime.nanoseconds);
    let modified = u64::try_from(modified / 1_000_000).unwrap_or_default();
    json!({
        "path": info.path,
        "nlink": info.nlink,
        "size": info.size,
        "mtime": seconds_of(modified),
        "mode": mode_text(info.mode()),
        "uid": info.uid,
        "gid": info.gid,
    })
}

/// The answer to a call about files; nothing if it is another call.
pub(super) async fn answer(
    pages: &Shared,
    principal: Option<&Principal>,
    call: &Call,
    media: Media,
) -> Option<Response> {
    let answered = match call.r#type() {
        Type::ListFiles => list_files(pages, principal, call).await,
        Type::ReadFile => read_file(pages, principal, call).await,
        _ => return None,
    };
    Some(match answered {
        Ok(answer) => media.answer(&answer),
        Err(fault) => fault.into_response(),
    })
}

fn lacks(name: &str) -> Fault {
    Fault::bad(format!(
        "Failed to validate agent::Call: Expecting '{name}' to be present"
    ))
}

async fn list_files(
    pages: &Shared,
    principal: Option<&Principal>,
    call: &Call,
) -> Result<Answered, Fault> {
    check(principal)?;
    let asked = call.list_files.clone().ok_or_else(|| lacks("list_files"))?;
    let file_infos = apart(pages, move |files| files.list(&asked.path)).await?;
    Ok(Answered {
        r#type: Some(Answer::ListFiles.into()),
        list_files: Some(ListFiles { file_infos }),
        ..Answered::default()
    })
}

async fn read_file(
    pages: &Shared,
    principal: Option<&Principal>,
    call: &Call,
) -> Result<Answered, Fault> {
    check(principal)?;
    let asked = call.read_file.clone().ok_or_else(|| lacks("read_file"))?;
    let read = move |files: &Files| files.read(&asked.path, asked.offset, asked.length);
    let (size, data) = apart(pages, read).await?;
    Ok(Answered {
        r#type: Some(Answer::ReadFile.into()),
        read_file: Some(ReadFile { size, data }),
        ..Answered::default()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Condvar, Mutex};
    use std::time::Duration;

    use futures::TryStreamExt as _;

    use super::*;

    #[tokio::test]
    async fn a_file_that_becomes_shorter_is_not_taken_for_whole() {
        let places = Arc::new(Semaphore::new(1));
        let read = async |data: &'static [u8], size| {
            let place = Arc::clone(&places).try_acquire_owned().expect("a place");
            let chunks: io::Result<Vec<Bytes>> = whole(data, size, place).try_collect().await;
            chunks.map(|chunks| chunks.concat())
        };
        assert_eq!(read(b"abc", 3).await.expect("whole"), b"abc");
        assert_eq!(read(b"abcdef", 3).await.expect("as long as it was"), b"abc");
        assert_eq!(read(b"", 0).await.expect("empty"), b"");
        read(b"abc", 4).await.expect_err("shorter");
        read(b"", 4).await.expect_err("empty by now");
    }

    #[tokio::test]
    async fn but_so_many_are_listed_and_read_at_once() {
        let pages = FilePages::new(PathBuf::new(), View::default());
        let at_once = Arc::new((Mutex::new(0), Condvar::new()));
        let reads = (0..3 * FILES_READS_MAX).map(|_| {
            let at_once = Arc::clone(&at_once);
            apart(&pages, move |_| {
                let (count, changed) = &*at_once;
                let mut count = count.lock().expect("a lock");
                *count += 1;
                changed.notify_all();
                // All that may begin do so while this one waits.
                let too_many = |count: &mut usize| *count <= FILES_READS_MAX;
                let wait = Duration::from_millis(50);
                let waited = changed.wait_timeout_while(count, wait, too_many);
                let (mut count, waited) = waited.expect("a lock");
                *count -= 1;
                Ok(waited.timed_out())
            })
        });
        let reads = futures::future::join_all(reads).await;
        assert!(reads.into_iter().all(|read| read.is_ok_and(|never| never)));
    }
}
