//! What tasks fetch over https: from Python's server, with certificates that openssl has made as an operator would.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use proffer_model::{Fetch, Reason, Status, TaskSpec, TaskState};

use crate::bench::{Bench, shell};

/// Two authorities, a certificate of the first one for `localhost`, and one that a server has made for itself.
const MAKE: &str = r#"
key='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
for name in ours other; do
  openssl req -x509 $key -keyout $name.key -out $name.pem -subj /CN=$name -days 2
done
openssl req $key -keyout server.key -out server.csr -subj /CN=server
echo subjectAltName=DNS:localhost > names
openssl x509 -req -in server.csr -CA ours.pem -CAkey ours.key -CAcreateserial -days 2 -extfile names -out server.pem
openssl req -x509 $key -keyout self.key -out self.pem -subj /CN=self -addext subjectAltName=DNS:localhost -days 2
mkdir served && echo plain > served/plain
"#;

const SERVE: &str = r#"
import functools, http.server, ssl, sys
name = sys.argv[1]
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory="served")
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(name + ".pem", name + ".key")
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
"#;

/// A server that ends with the test.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// With the certificate of this name.
    fn start(dir: &Path, name: &str) -> Self {
        let mut child = Command::new("/usr/bin/python3")
            .args(["-c", SERVE, name])
            .current_dir(dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap();
        Self { child, port }
    }

    fn uri(&self, host: &str) -> String {
        format!("https://{host}:{}/plain", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn certificates() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new("/bin/sh")
        .args(["-ec", MAKE])
        .current_dir(dir.path())
        .output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    // Who downloads must be able to read them.
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(dir.path(), open).unwrap();
    dir
}

async fn fetches(bench: &mut Bench, incarnation: u64, uri: &str) -> Status {
    let spec = TaskSpec {
        fetch: vec![Fetch::new(uri)],
        ..shell(&format!("t{incarnation}"), "test $(cat plain) = plain")
    };
    let task = spec.id.clone();
    bench.launch(incarnation, spec).await;
    loop {
        // An earlier one's may come again, after a restart.
        let end = bench.end().await;
        if end.task == task {
            return end;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_server_with_a_certificate_of_whom_the_operator_trusts_is_asked() {
    let dir = certificates();
    let server = Server::start(dir.path(), "server");
    let own = Server::start(dir.path(), "self");
    let mut bench = Bench::new().await;
    bench.fetch_roots = Some(dir.path().join("ours.pem"));
    bench.start().await;
    let end = fetches(&mut bench, 1, &server.uri("localhost")).await;
    assert_eq!(end.state, TaskState::Finished, "{}", end.message);
    // Who downloads for root is nobody.
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    let unreadable = if is_root {
        "Permission denied"
    } else {
        "there are none"
    };
    for (n, roots, uri, says) in [
        (
            2,
            "ours.pem",
            server.uri("127.0.0.1"),
            "its certificate is not that of 127.0.0.1",
        ),
        (
            3,
            "ours.pem",
            own.uri("localhost"),
            "its certificate is that of an authority",
        ),
        (
            4,
            "ours.pem",
            format!("http://localhost:{}/plain", server.port),
            "broke off",
        ),
        (
            5,
            "other.pem",
            server.uri("localhost"),
            "its certificate was issued by none of those in",
        ),
        (6, "names", server.uri("localhost"), "there are none"),
        (7, "server.key", server.uri("localhost"), unreadable),
    ] {
        let roots = dir.path().join(roots);
        if bench.fetch_roots.as_ref() != Some(&roots) {
            bench.stop().await;
            bench.fetch_roots = Some(roots.clone());
            bench.start().await;
        }
        let end = fetches(&mut bench, n, &uri).await;
        let why = (end.state, end.reason);
        assert_eq!(why, (TaskState::Failed, Reason::FetchFailed), "{says}");
        assert!(end.message.contains(says), "{says}: {}", end.message);
        let is_about_roots = n > 4;
        assert!(
            !is_about_roots || end.message.contains("fetch_roots"),
            "{}",
            end.message
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_the_host_says_who_may_issue_certificates() {
    let dir = certificates();
    let server = Server::start(dir.path(), "server");
    let mut bench = Bench::started().await;
    let end = fetches(&mut bench, 1, &server.uri("localhost")).await;
    let says = "none of those in /etc/ssl/certs/ca-certificates.crt";
    assert!(end.message.contains(says), "{}", end.message);
}
