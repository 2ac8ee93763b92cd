//! Checks by a command: a line for `/bin/sh -c`, run as the task runs.
//!
//! The agent starts a small program for each (see `supervisor/check.rs`) and holds its standard input: dropping the future
//! here, at the timeout or when the agent ends, lets go of it, and so does the death of the agent. Then all that the command
//! has started is killed.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use proffer_agent_core::RunId;
use proffer_model::CheckAnswer;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

use super::Failed;
use crate::limits::{CHECK_LINE_CHARS_MAX, CHECK_OUTPUT_LEN_MAX};
use crate::supervisor::check;

/// Bytes read from a command at once.
const CHUNK_LEN: usize = 1024;

/// Where tasks are, and the program that runs commands as they run.
#[derive(Clone, Debug)]
pub(crate) struct Commands {
    runs_dir: PathBuf,
    supervisor: PathBuf,
}

impl Commands {
    /// For the runs in this directory.
    pub(crate) fn new(runs_dir: PathBuf, supervisor: &Path) -> Self {
        let supervisor = supervisor.to_owned();
        Self {
            runs_dir,
            supervisor,
        }
    }

    /// Runs a line; the error is why the task is not healthy.
    pub(super) async fn probe(&self, run: RunId, line: &str) -> Result<CheckAnswer, Failed> {
        let cannot =
            |error| super::unanswered(format!("the command of the check cannot be run: {error}"));
        let mut child = Command::new(&self.supervisor)
            .args(["supervise", check::FLAG, "--run-dir"])
            .arg(self.runs_dir.join(run.to_string()))
            .args(["--", "/bin/sh", "-c", line])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(cannot)?;
        // Held to the end: waiting for the child would let go of it.
        let held = child.stdin.take();
        let output = match child.stdout.take() {
            Some(stdout) => read_end(stdout).await,
            None => Vec::new(),
        };
        let status = child.wait().await.map_err(cannot)?;
        drop(held);
        let answer = status.code().map(CheckAnswer::Exit);
        if let (true, Some(answer)) = (status.success(), answer) {
            return Ok(answer);
        }
        let why = describe(status, &output);
        Err(Failed { why, answer })
    }
}

/// Reads all there is and keeps the end of it. What cannot be read counts as the end.
async fn read_end(mut source: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut end = Vec::new();
    let mut chunk = [0; CHUNK_LEN];
    while let Ok(count @ 1..) = source.read(&mut chunk).await {
        end.extend_from_slice(chunk.get(..count).unwrap_or_default());
        let surplus = end.len().saturating_sub(CHECK_OUTPUT_LEN_MAX);
        end.drain(..surplus);
    }
    end
}

/// How a command failed, and the last that it said.
fn describe(status: ExitStatus, output: &[u8]) -> String {
    let ended = match status.code() {
        Some(code) => format!("the command ended with code {code}"),
        None => format!("the command ended with {status}"),
    };
    match last_line(output) {
        line if line.is_empty() => ended,
        line => format!("{ended}: {line}"),
    }
}

/// The last line that is not blank, without control characters.
pub(crate) fn last_line(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let mut lines = text.lines().rev().map(str::trim);
    let line = lines.find(|line| !line.is_empty()).unwrap_or_default();
    let shown = line.chars().filter(|c| !c.is_control());
    shown.take(CHECK_LINE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_a_command_says_the_last_line_is_told() {
        let long = "x".repeat(10_000);
        for (output, line) in [
            ("", ""),
            ("one\ntwo\n", "two"),
            ("one\n \n\n", "one"),
            ("a\x1b[31mb\r\n", "a[31mb"),
            ("no end", "no end"),
            (long.as_str(), &long[..CHECK_LINE_CHARS_MAX]),
        ] {
            assert_eq!(last_line(output.as_bytes()), line, "{output:?}");
        }
        assert_eq!(last_line(b"\xff\xfe"), "\u{fffd}\u{fffd}");
    }

    #[tokio::test]
    async fn of_much_output_the_end_is_kept() {
        let much = [vec![b'a'; 100_000], b"\nend\n".to_vec()].concat();
        let kept = read_end(much.as_slice()).await;
        assert_eq!(kept.len(), CHECK_OUTPUT_LEN_MAX);
        assert_eq!(last_line(&kept), "end");
    }
}
