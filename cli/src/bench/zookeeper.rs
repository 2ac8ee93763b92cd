//! A ZooKeeper for a benchmark: one server of the host's own package, with a directory and a port of its own.

use std::fs::{self, File};
use std::process::Stdio;
use std::time::{Duration, Instant};

use proffer_model::{Problem, code};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::child::{directory, failed, free_address};
use crate::limits::{BENCH_START_TIMEOUT, POLL_INTERVAL_MAX};

/// Where Debian and its like keep the server's classes.
const CLASSES: &str = "/usr/share/java/zookeeper.jar";
const CLASS_PATH: &str = "/etc/zookeeper/conf:/usr/share/java/*";

/// A server that runs; it and its directory are gone when this is dropped.
#[derive(Debug)]
pub(super) struct ZooKeeper {
    child: Child,
    _dir: tempfile::TempDir,
    address: String,
}

impl ZooKeeper {
    /// Starts one and waits until it serves.
    pub(super) async fn start() -> Result<Self, Problem> {
        if !fs::exists(CLASSES).unwrap_or(false) {
            return Err(missing(&format!("there is no {CLASSES}")));
        }
        let dir = directory()?;
        let address = free_address()?;
        let (host, port) = address.rsplit_once(':').unwrap_or_default();
        let settings = format!(
            "tickTime=500\ndataDir={}\nclientPort={port}\nclientPortAddress={host}\nadmin.enableServer=false\n\
             4lw.commands.whitelist=srvr\n",
            dir.path().display()
        );
        let file = dir.path().join("zoo.cfg");
        fs::write(&file, settings).map_err(|error| failed("zoo.cfg", &error))?;
        let log = File::create(dir.path().join("log")).map_err(|error| failed("a log", &error))?;
        let child = Command::new("java")
            .args(["-Xmx256m", "-XX:+UseSerialGC", "-cp", CLASS_PATH])
            .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
            .arg(&file)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| missing(&format!("java cannot be run: {error}")))?;
        let mut server = Self {
            child,
            _dir: dir,
            address,
        };
        server.serves().await?;
        Ok(server)
    }

    /// Where masters keep what must not be lost.
    pub(super) fn store(&self) -> String {
        format!("zk://bench:bench@{}/proffer", self.address)
    }

    async fn serves(&mut self) -> Result<(), Problem> {
        let give_up = Instant::now() + BENCH_START_TIMEOUT;
        while !self.says_that_it_serves().await {
            let has_ended = !matches!(self.child.try_wait(), Ok(None));
            if has_ended || Instant::now() >= give_up {
                let message = "ZooKeeper does not begin to serve";
                return Err(Problem::new(code::PEER_UNREACHABLE, message));
            }
            sleep(POLL_INTERVAL_MAX).await;
        }
        Ok(())
    }

    async fn says_that_it_serves(&self) -> bool {
        let ask = async {
            let mut stream = TcpStream::connect(&self.address).await?;
            stream.write_all(b"srvr").await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>(answer.contains("Mode:"))
        };
        matches!(timeout(Duration::from_secs(2), ask).await, Ok(Ok(true)))
    }
}

fn missing(why: &str) -> Problem {
    let message = format!("this benchmark needs a ZooKeeper of its own, and {why}");
    Problem::new(code::PEER_UNREACHABLE, message)
        .hint("install it: apt-get install zookeeper default-jre-headless")
}
