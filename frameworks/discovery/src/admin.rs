//! Talks to HAProxy over its unix sockets: one command a connection, one bounded answer.
//!
//! The master's socket knows processes and reloads; a command behind `@1` goes on to the worker that is in service. Answers
//! are read by what they say, never by their number of lines, since HAProxy adds lines with its versions.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use proffer_model::{Problem, code};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::digest::Digest;
use crate::limits::{CLI_ANSWER_BYTES_MAX, CLI_TIMEOUT};
use crate::render;

/// HAProxy's processes, as `show proc` tells them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Processes {
    /// The master.
    pub master: u32,
    /// Reloads of the master so far, failed ones included.
    pub reloads: u64,
    /// Reloads that have failed since the last good one.
    pub failed: u64,
    /// The worker that takes new connections.
    pub worker: Option<u32>,
}

/// Sends one command and reads the whole answer.
pub async fn command(socket: &Path, line: &str) -> Result<String, Problem> {
    let failed = |why: String| {
        Problem::new(
            code::HAPROXY_FAILED,
            format!("HAProxy's socket {}: {why}", socket.display()),
        )
    };
    let talk = async {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(format!("{line}\n").as_bytes()).await?;
        // The master keeps the connection open until we have nothing more to say.
        stream.shutdown().await?;
        let mut answer = Vec::new();
        let limit = u64::try_from(CLI_ANSWER_BYTES_MAX).unwrap_or(u64::MAX);
        stream.take(limit).read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    match timeout(CLI_TIMEOUT, talk).await {
        Ok(Ok(answer)) => Ok(String::from_utf8_lossy(&answer).into_owned()),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!(
            "no answer in {} s",
            Duration::as_secs(&CLI_TIMEOUT)
        ))),
    }
}

/// The processes behind a master's socket.
pub async fn processes(master_socket: &Path) -> Result<Processes, Problem> {
    let answer = command(master_socket, "show proc").await?;
    parse_processes(&answer).ok_or_else(|| {
        Problem::new(
            code::HAPROXY_FAILED,
            "HAProxy does not say which processes it has",
        )
        .hint("is this the socket of `haproxy -W -S`?")
    })
}

/// The digest of the configuration that the worker in service has loaded, if it tells one.
pub async fn loaded_digest(master_socket: &Path) -> Result<Option<Digest>, Problem> {
    let answer = command(master_socket, "@1 show info").await?;
    Ok(render::digest_in(&answer))
}

/// The names of the frontends that the worker in service has.
pub async fn frontends(master_socket: &Path) -> Result<BTreeSet<String>, Problem> {
    // All proxies (-1), only their frontends (1), all rows (-1); CSV with the proxy's name first.
    let answer = command(master_socket, "@1 show stat -1 1 -1").await?;
    let names = answer
        .lines()
        .filter_map(|line| line.split_once(",FRONTEND,"));
    Ok(names.map(|(name, _)| name.to_owned()).collect())
}

/// Reads the answer to `show proc`.
pub fn parse_processes(answer: &str) -> Option<Processes> {
    let mut found = Processes::default();
    let mut is_current = true;
    for line in answer.lines() {
        if line.starts_with("# old") {
            is_current = false;
        }
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let (Some(pid), Some(kind)) = (words.first().and_then(|w| w.parse().ok()), words.get(1))
        else {
            continue;
        };
        match *kind {
            "master" => {
                found.master = pid;
                found.reloads = words.get(2).and_then(|w| w.parse().ok())?;
                // `[failed: 0]`, which older versions do not write.
                let failed = words.get(4).map(|word| word.trim_end_matches(']'));
                found.failed = failed
                    .and_then(|word| word.parse().ok())
                    .unwrap_or_default();
            }
            "worker" if is_current => found.worker = Some(pid),
            _ => {}
        }
    }
    (found.master > 0).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn show_proc_is_read() {
        let answer = "#<PID>          <type>          <reloads>       <uptime>        <version>      \n\
            10251           master          3 [failed: 1]   0d00h07m49s     2.6.12-1+deb12u4\n\
            # workers\n\
            11738           worker          0               0d00h00m00s     2.6.12-1+deb12u4\n\
            # old workers\n\
            11700           worker          1               0d00h00m00s     2.6.12-1+deb12u4\n\
            # programs\n\n";
        let expected = Processes {
            master: 10_251,
            reloads: 3,
            failed: 1,
            worker: Some(11_738),
        };
        assert_eq!(parse_processes(answer), Some(expected));
        for other in ["", "\n", "Unknown command", "x master 1", "1 master x"] {
            assert_eq!(parse_processes(other), None, "{other}");
        }
    }

    #[tokio::test]
    async fn a_socket_that_is_not_there_is_a_problem() {
        let problem = command(Path::new("/nonexistent/x.sock"), "show proc")
            .await
            .expect_err("none");
        assert!(problem.is(code::HAPROXY_FAILED));
    }
}
