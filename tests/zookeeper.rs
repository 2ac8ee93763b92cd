//! A real ZooKeeper for one test: one server or an ensemble, from Debian's package, with a directory and ports of its
//! own. Servers can be stopped, killed, and cut off from one another. All of it is gone when it is dropped.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{eventually, free_block};
use crate::proxy::Proxy;

/// Milliseconds of ZooKeeper's tick. Sessions are granted between two and twenty of them.
const TICK_MS: u32 = 500;

/// Servers that make up one ZooKeeper.
pub(crate) struct Ensemble {
    dir: tempfile::TempDir,
    /// Three ports a server: for clients, for the ensemble, for its elections.
    base: u16,
    servers: Vec<Option<Child>>,
    /// From each server to the ensemble port of each other one, by their numbers; none unless asked for.
    links: Vec<(usize, usize, Proxy)>,
    /// Lines for every server's configuration.
    settings: String,
    /// Of every server's Java.
    property: Option<&'static str>,
}

impl Ensemble {
    /// One server, or three, that serve.
    pub(crate) fn start(count: usize) -> Self {
        Self::start_at(free_block(), count)
    }

    /// The same on ports from this one on, three a server.
    pub(crate) fn start_at(base: u16, count: usize) -> Self {
        let mut ensemble = Self::new(base, count, "");
        ensemble.launch_all();
        ensemble
    }

    /// One server with these lines in its configuration.
    pub(crate) fn start_with(settings: &str) -> Self {
        let mut ensemble = Self::new(free_block(), 1, settings);
        ensemble.launch_all();
        ensemble
    }

    /// One server whose Java has this property, `-Dname=value`.
    pub(crate) fn start_with_property(property: &'static str) -> Self {
        let mut ensemble = Self::new(free_block(), 1, "");
        ensemble.property = Some(property);
        ensemble.launch_all();
        ensemble
    }

    /// An ensemble of which every server reaches the others over links that can be cut: [`Self::cut_off`].
    pub(crate) fn start_with_links(count: usize) -> Self {
        // A follower that is cut off believes for ten seconds that it is not.
        let mut ensemble = Self::new(free_block(), count, "syncLimit=20");
        for from in 0..count {
            for to in (0..count).filter(|to| *to != from) {
                let link = Proxy::start(ensemble.port(to, 1));
                ensemble.links.push((from, to, link));
            }
        }
        ensemble.launch_all();
        ensemble
    }

    fn new(base: u16, count: usize, settings: &str) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("proffer-zookeeper-")
            .tempdir()
            .expect("a temporary directory");
        Self {
            dir,
            base,
            servers: (0..count).map(|_| None).collect(),
            links: Vec::new(),
            settings: settings.to_owned(),
            property: None,
        }
    }

    fn launch_all(&mut self) {
        for server in 0..self.servers.len() {
            self.launch(server);
        }
        self.await_serving();
    }

    /// Starts a server that does not run.
    pub(crate) fn launch(&mut self, server: usize) {
        let dir = self.dir.path().join(server.to_string());
        fs::create_dir_all(&dir).expect("a directory");
        fs::write(dir.join("myid"), format!("{server}\n")).expect("myid");
        fs::write(dir.join("zoo.cfg"), self.configuration(server)).expect("zoo.cfg");
        let log = File::options()
            .create(true)
            .append(true)
            .open(dir.join("log"))
            .expect("a log");
        let child = Command::new("java")
            .args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .args(self.property)
            .args(["-Dzookeeper.root.logger=WARN,CONSOLE", "-cp"])
            .arg("/etc/zookeeper/conf:/usr/share/java/*")
            .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
            .arg(dir.join("zoo.cfg"))
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("java is installed");
        self.servers[server] = Some(child);
    }

    fn configuration(&self, server: usize) -> String {
        let mut text = format!(
            "tickTime={TICK_MS}\ninitLimit=20\nsyncLimit=4\ndataDir={}\nclientPort={}\n\
             clientPortAddress=127.0.0.1\nadmin.enableServer=false\n4lw.commands.whitelist=*\n\
             maxClientCnxns=2000\n{}\n",
            self.dir.path().join(server.to_string()).display(),
            self.port(server, 0),
            self.settings,
        );
        for other in (0..self.servers.len()).filter(|_| self.servers.len() > 1) {
            let is_link = |link: &&(usize, usize, Proxy)| link.0 == server && link.1 == other;
            let link = self.links.iter().find(is_link);
            let peer = link.map_or(self.port(other, 1), |(_, _, proxy)| proxy.port());
            let election = self.port(other, 2);
            text += &format!("server.{other}=127.0.0.1:{peer}:{election}\n");
        }
        text
    }

    /// Ports 0 for clients, 1 for the ensemble, 2 for its elections.
    fn port(&self, server: usize, which: u16) -> u16 {
        self.base + 3 * u16::try_from(server).expect("few servers") + which
    }

    pub(crate) fn client_port(&self, server: usize) -> u16 {
        self.port(server, 0)
    }

    /// `host:port,…` of all servers.
    pub(crate) fn hosts(&self) -> String {
        let host = |server| format!("127.0.0.1:{}", self.client_port(server));
        let hosts: Vec<String> = (0..self.servers.len()).map(host).collect();
        hosts.join(",")
    }

    /// `zk://<who><hosts><path>`; `who` is empty or `user:password@`.
    pub(crate) fn url(&self, who: &str, path: &str) -> String {
        format!("zk://{who}{}{path}", self.hosts())
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self, server: usize) {
        let mut child = self.servers[server].take().expect("it runs");
        child.kill().expect("kill");
        child.wait().expect("wait");
    }

    /// Stops a server where it is (`SIGSTOP`), or lets it go on (`SIGCONT`).
    pub(crate) fn signal(&self, server: usize, signal: Signal) {
        let child = self.servers[server].as_ref().expect("it runs");
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
        kill(pid, signal).expect("kill");
    }

    /// Nothing passes between this server and the others, but for their elections; nobody is told.
    pub(crate) fn cut_off(&self, server: usize) {
        for (_, _, link) in self.links_of(server) {
            link.cut();
        }
    }

    /// All links of this server pass again.
    pub(crate) fn rejoin(&self, server: usize) {
        for (_, _, link) in self.links_of(server) {
            link.heal();
        }
    }

    fn links_of(&self, server: usize) -> impl Iterator<Item = &(usize, usize, Proxy)> {
        let is_of = move |link: &&(usize, usize, Proxy)| link.0 == server || link.1 == server;
        self.links.iter().filter(is_of)
    }

    /// Which server the others follow; none while there is no quorum.
    pub(crate) fn leader(&self) -> Option<usize> {
        (0..self.servers.len()).find(|server| {
            self.mode(*server)
                .is_some_and(|mode| mode == "leader" || mode == "standalone")
        })
    }

    /// Which server follows another.
    pub(crate) fn follower(&self) -> Option<usize> {
        (0..self.servers.len()).find(|server| self.mode(*server).as_deref() == Some("follower"))
    }

    /// Waits until every server that runs serves clients.
    pub(crate) fn await_serving(&self) {
        for (server, child) in self.servers.iter().enumerate() {
            if child.is_some() {
                eventually("ZooKeeper to serve", || self.mode(server));
            }
        }
    }

    fn mode(&self, server: usize) -> Option<String> {
        let text = self.ask(server, "srvr")?;
        let mode = text.lines().find_map(|line| line.strip_prefix("Mode: "));
        mode.map(str::to_owned)
    }

    /// The answer to a four-letter word.
    pub(crate) fn ask(&self, server: usize, word: &str) -> Option<String> {
        let address = ([127, 0, 0, 1], self.client_port(server)).into();
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
        stream.write_all(word.as_bytes()).ok()?;
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }
}

impl Drop for Ensemble {
    fn drop(&mut self) {
        for child in self.servers.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
