//! What tasks have fetched: from a server of the test's own, into real sandboxes, by real children.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proffer_model::{Fetch, Reason, Status, TaskSpec, TaskState};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::bench::{Bench, PATIENCE, shell};

/// A server that has answers, word for word, by path.
#[derive(Clone)]
struct Server {
    address: SocketAddr,
    answers: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    asked: Arc<AtomicUsize>,
    /// Somebody waits for the rest of an answer, or has gone away from one.
    begun: Arc<Notify>,
    left: Arc<Notify>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            answers: Arc::default(),
            asked: Arc::default(),
            begun: Arc::default(),
            left: Arc::default(),
        };
        let own = server.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(own.clone().serve(socket));
            }
        });
        server
    }

    async fn serve(self, socket: TcpStream) {
        let mut socket = BufReader::new(socket);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if socket.read_line(&mut head).await.unwrap_or(0) == 0 {
                return;
            }
        }
        self.asked.fetch_add(1, Ordering::SeqCst);
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let answer = self.answers.lock().unwrap().get(&path).cloned();
        let missing = || b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec();
        let answer = answer.unwrap_or_else(missing);
        if socket.write_all(&answer).await.is_err() || path != "/stuck" {
            return;
        }
        self.begun.notify_one();
        let _ = socket.read_u8().await;
        self.left.notify_one();
    }

    /// A body at this path; the URI.
    fn put(&self, path: &str, body: &[u8]) -> String {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        self.put_answer(path, &[head.as_bytes(), body].concat())
    }

    fn put_answer(&self, path: &str, answer: &[u8]) -> String {
        let mut answers = self.answers.lock().unwrap();
        answers.insert(path.to_owned(), answer.to_vec());
        format!("http://{}{path}", self.address)
    }

    fn redirect(&self, path: &str, to: &str) -> String {
        let answer = format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
        self.put_answer(path, answer.as_bytes())
    }

    /// An answer that begins and does not go on.
    fn stuck(&self) -> String {
        self.put_answer("/stuck", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nbeg")
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn with(line: &str, fetch: Vec<Fetch>) -> TaskSpec {
    TaskSpec {
        fetch,
        ..shell("t", line)
    }
}

async fn ends(bench: &mut Bench, incarnation: u64, spec: TaskSpec) -> Status {
    bench.launch(incarnation, spec).await;
    bench.end().await
}

/// Runs a line of shell in a directory; the bytes of the file that it makes.
fn made(dir: &Path, line: &str, name: &str) -> Vec<u8> {
    let output = Command::new("/bin/sh")
        .args(["-ec", line])
        .current_dir(dir)
        .output();
    let output = output.unwrap();
    assert!(output.status.success(), "{line}: {output:?}");
    std::fs::read(dir.join(name)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_finds_what_was_fetched_where_and_as_what_it_said() {
    let (mut bench, server) = (Bench::started().await, Server::start().await);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("local"), "local").unwrap();
    let plain = server.put("/plain.txt?token=x", b"plain");
    let tool = server.put("/tool", b"#!/bin/sh\necho tool\n");
    let there = server.redirect("/there", "/moved/plain.txt");
    server.redirect("/moved/plain.txt", "../plain.txt?token=x");
    let digest = "a116c9ed46d6207734a43317d30fd88f52ac8634c37d904bbf4e41d865f90475";
    let fetch = vec![
        Fetch::new(&plain),
        Fetch {
            is_executable: true,
            output: Some("bin/tool".to_owned()),
            ..Fetch::new(&tool)
        },
        Fetch {
            output: Some("there".to_owned()),
            sha256: Some(digest.to_owned()),
            ..Fetch::new(&there)
        },
        Fetch::new(&format!("file://{}", dir.path().join("local").display())),
    ];
    let line = "test $(cat plain.txt)$(cat local)$(bin/tool) = plainlocaltool && test $(cat there) = plain && ! test -x plain.txt";
    let end = ends(&mut bench, 1, with(line, fetch)).await;
    assert_eq!(end.state, TaskState::Finished, "{}", end.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_of_all_kinds_are_unpacked_into_the_sandbox() {
    let (mut bench, server) = (Bench::started().await, Server::start().await);
    let dir = tempfile::tempdir().unwrap();
    let line = "mkdir -p top/in && echo one > top/in/file && chmod 755 top/in/file && ln -s in/file top/link && ln top/in/file top/hard";
    made(dir.path(), line, "top/in/file");
    let tar = |flag: &str, name: &str| made(dir.path(), &format!("tar {flag}cf {name} top"), name);
    for (incarnation, name, body) in [
        (1, "a.tar", tar("", "a.tar")),
        (3, "a.tgz", tar("z", "a.tgz")),
        (5, "a.tar.bz2", tar("j", "a.tar.bz2")),
        (7, "a.txz", tar("J", "a.txz")),
        (9, "a.zip", made(dir.path(), "zip -qry a.zip top", "a.zip")),
    ] {
        let uri = server.put(&format!("/{name}"), &body);
        let fetch = Fetch {
            is_extracted: true,
            ..Fetch::new(&uri)
        };
        let line = format!(
            "test -x top/in/file -a $(cat top/link)$(cat top/hard) = oneone -a ! -e {name}"
        );
        let end = ends(&mut bench, incarnation, with(&line, vec![fetch.clone()])).await;
        assert_eq!(end.state, TaskState::Finished, "{name}: {}", end.message);
        let whole = Fetch {
            is_extracted: false,
            ..fetch
        };
        let line = format!("test -s {name} -a ! -e top");
        let end = ends(&mut bench, incarnation + 1, with(&line, vec![whole])).await;
        assert_eq!(end.state, TaskState::Finished, "{name}: {}", end.message);
    }
    let body = made(dir.path(), "echo one | gzip > a.txt.gz", "a.txt.gz");
    let uri = server.put("/a.txt.gz", &body);
    let fetch = Fetch {
        is_extracted: true,
        ..Fetch::new(&uri)
    };
    let end = ends(&mut bench, 30, with("test $(cat a.txt) = one", vec![fetch])).await;
    assert_eq!(end.state, TaskState::Finished, "{}", end.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_fetched_fails_the_task_and_names_the_uri() {
    let (mut bench, server) = (Bench::started().await, Server::start().await);
    let plain = server.put("/plain", b"plain");
    let rar = server.put("/a.rar", b"?");
    let damaged = server.put("/a.zip", b"PK nothing");
    let broken = server.put_answer(
        "/broken",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort",
    );
    let huge = server.put_answer(
        "/huge",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9999999999999\r\n\r\n",
    );
    let round = server.redirect("/round", "/round");
    let secret = server.redirect("/secret", "file:///etc/hostname");
    let with_name = server.redirect("/name", "http://me:pw@127.0.0.1/");
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let of = |uri: &str| Fetch {
        is_extracted: true,
        ..Fetch::new(uri)
    };
    let mut other = of(&plain);
    other.sha256 = Some("0".repeat(64));
    for (n, fetch, says) in [
        (
            1,
            of(&format!("http://{}/none?token=hush", server.address)),
            "answered 404",
        ),
        (2, other, "its SHA-256 is a116c9ed"),
        (3, of(&rar), ".rar files cannot be unpacked"),
        (4, of(&damaged), "archive is damaged"),
        (5, of(&broken), "broke off"),
        (6, of(&huge), "more than"),
        (7, of(&round), "too often"),
        (8, of(&secret), "neither http nor https"),
        (9, of(&with_name), "a name or a password"),
        (10, of(&format!("http://{closed}/a")), "refused"),
        (11, of("/etc/no-such-file"), "No such file"),
        (12, of("/dev/zero"), "not a file"),
        (
            13,
            of("http://no-such-host.invalid/a"),
            "no-such-host.invalid",
        ),
    ] {
        let end = ends(&mut bench, n, with("true", vec![fetch.clone()])).await;
        assert_eq!(
            (end.state, end.reason),
            (TaskState::Failed, Reason::FetchFailed),
            "{says}"
        );
        let names = end.message.contains(&fetch.shown()) && !end.message.contains("hush");
        assert!(
            names && end.message.contains(says),
            "{says}: {}",
            end.message
        );
    }
    // As another user, what others may not read is not read; and what stands in its way stays.
    if nix_is_root() {
        let mut shadow = with("true", vec![Fetch::new("/etc/shadow")]);
        shadow.user = Some("nobody".to_owned());
        let work = std::os::unix::fs::PermissionsExt::from_mode(0o711);
        std::fs::set_permissions(bench.path(), work).unwrap();
        let end = ends(&mut bench, 20, shadow).await;
        assert!(end.message.contains("Permission denied"), "{}", end.message);
    }
}

fn nix_is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_fetched_from_this_host_unless_the_operator_lets_it() {
    let server = Server::start().await;
    let mut bench = Bench::new().await;
    bench.fetch_local = false;
    bench.start().await;
    server.put("/plain", b"plain");
    let port = server.address.port();
    let hosts = [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f.1",
        "127.1",
        "0177.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
    ];
    for (n, host) in (1..).zip(hosts) {
        let uri = format!("http://{host}:{port}/plain");
        let end = ends(&mut bench, n, with("true", vec![Fetch::new(&uri)])).await;
        assert_eq!(
            (end.state, end.reason),
            (TaskState::Failed, Reason::FetchFailed)
        );
        assert!(
            end.message.contains("is this host") || end.message.contains("is no URI"),
            "{host}: {}",
            end.message
        );
    }
    let uri = "http://169.254.169.254/latest/meta-data";
    let end = ends(&mut bench, 90, with("true", vec![Fetch::new(uri)])).await;
    assert!(end.message.contains("is link-local"), "{}", end.message);
    assert_eq!(server.asked(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_many_ask_for_at_once_and_may_be_kept_is_downloaded_once() {
    let (mut bench, server) = (Bench::started().await, Server::start().await);
    let uri = server.put("/plain", b"plain");
    let fetch = Fetch {
        is_cached: true,
        ..Fetch::new(&uri)
    };
    for n in 1..=8 {
        let mut spec = with("test $(cat plain) = plain", vec![fetch.clone()]);
        spec.id = format!("t{n}").parse().unwrap();
        bench.launch(n, spec).await;
    }
    for _ in 1..=8 {
        let end = bench.end().await;
        assert_eq!(end.state, TaskState::Finished, "{}", end.message);
    }
    assert_eq!(server.asked(), 1);
    let plain = Fetch::new(&uri);
    let end = ends(&mut bench, 10, with("true", vec![plain])).await;
    assert_eq!((end.state, server.asked()), (TaskState::Finished, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_what_another_downloads_keeps_nobody_from_other_things() {
    let (mut bench, server) = (Bench::started().await, Server::start().await);
    let fetch = Fetch {
        is_cached: true,
        ..Fetch::new(&server.stuck())
    };
    // More than may be fetched at once for one user.
    for n in 1..=20 {
        let mut spec = with("true", vec![fetch.clone()]);
        spec.id = format!("stuck{n}").parse().unwrap();
        bench.launch(n, spec).await;
    }
    timeout(PATIENCE, server.begun.notified()).await.unwrap();
    let plain = Fetch::new(&server.put("/plain", b"plain"));
    let spec = with("test $(cat plain) = plain", vec![plain]);
    let end = ends(&mut bench, 21, spec).await;
    assert_eq!(end.state, TaskState::Finished, "{}", end.message);
    assert_eq!((end.task.as_str(), server.asked()), ("t", 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_ends_what_is_on_its_way() {
    let (mut bench, server) = (Bench::started().await, Server::start().await);
    let fetch = vec![Fetch::new(&server.stuck())];
    bench.launch(1, with("true", fetch.clone())).await;
    timeout(PATIENCE, server.begun.notified()).await.unwrap();
    bench.kill("t", 1, Duration::from_secs(1_000)).await;
    let end = bench.end().await;
    assert_eq!(
        (end.state, end.reason),
        (TaskState::Killed, Reason::KillRequested)
    );
    timeout(PATIENCE, server.left.notified()).await.unwrap();

    // An agent that ends lets it go, and the next one begins anew.
    bench
        .launch(2, with("test $(cat stuck) = beginning", fetch))
        .await;
    timeout(PATIENCE, server.begun.notified()).await.unwrap();
    bench.stop().await;
    timeout(PATIENCE, server.left.notified()).await.unwrap();
    server.put("/stuck", b"beginning");
    bench.start().await;
    let end = bench.end().await;
    assert_eq!(end.state, TaskState::Finished, "{}", end.message);
}
