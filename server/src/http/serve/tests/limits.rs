//! Hostile callers: garbage, floods, slowness, and a host that runs out of file descriptors.

use std::sync::Mutex;

use super::*;

#[tokio::test]
async fn garbage_closes_its_own_connection_and_nothing_else() {
    let limits = Limits {
        header_timeout: Some(Duration::from_millis(300)),
        ..Limits::default()
    };
    let server = Running::with(limits, Guard::new(token(), false)).await;
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(10_000));
    let long_header = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\na: {}\r\n\r\n",
        "x".repeat(17_000)
    );
    let long_line = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000));
    let flood = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        vec![0xff; 5_000],
    ]
    .concat();
    // What is sent, and how the answer begins, if there is one.
    let table: &[(&[u8], &str)] = &[
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            "HTTP/1.1 400 ",
        ),
        (&[0; 3_000], "HTTP/1.1 400 "),
        (b"hello\r\n\r\n", "HTTP/1.1 400 "),
        (b"GET / HTTP/9.9\r\n\r\n", "HTTP/1.1 400 "),
        (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", "HTTP/1.1 400 "),
        (
            b"POST /sum HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 400 ",
        ),
        (
            b"POST /sum HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 400 ",
        ),
        (many_headers.as_bytes(), "HTTP/1.1 431 "),
        (long_header.as_bytes(), "HTTP/1.1 431 "),
        (long_line.as_bytes(), "HTTP/1.1 4"),
        (&flood, "\u{0}"),
        (b"PRI * HTTP/2.0\r\n\r\n", ""),
        (b"", ""),
        (b"GET /who HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", ""),
    ];
    for (bytes, expected) in table {
        let answer = server.raw(bytes).await;
        assert!(
            answer.starts_with(expected),
            "{:?}: {answer:?}",
            String::from_utf8_lossy(bytes)
        );
    }
    let answer = server.call("GET /who", "", "").await;
    assert!(answer.ends_with("local"), "it still serves: {answer}");
    server.end().await;
}

/// Slow loris: each byte comes in time, the head never does.
#[tokio::test]
async fn a_head_that_trickles_in_is_cut_off() {
    let limits = Limits {
        header_timeout: Some(Duration::from_millis(300)),
        ..Limits::default()
    };
    let server = Running::with(limits, Guard::new(token(), false)).await;
    let stream = TcpStream::connect(server.addr).await.expect("connected");
    let (mut read, mut write) = stream.into_split();
    let trickle = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        write
            .write_all(b"GET /who HTTP/1.1\r\nHost: localhost\r\nX: ")
            .await
            .expect("sent");
        while write.write_all(b"x").await.is_ok() {
            ticks.tick().await;
        }
    };
    let mut bytes = Vec::new();
    let closed = async {
        let _ = read.read_to_end(&mut bytes).await;
    };
    timeout(PATIENCE, async {
        tokio::select! { () = trickle => {}, () = closed => {} }
    })
    .await
    .expect("the server closes");
    server.end().await;
}

#[tokio::test]
async fn a_connection_that_waits_too_long_between_requests_is_closed() {
    let limits = Limits {
        header_timeout: Some(Duration::from_secs(1)),
        ..Limits::default()
    };
    let server = Running::with(limits, Guard::new(token(), false)).await;
    let mut stream = TcpStream::connect(server.addr).await.expect("connected");
    let request = format!("GET /who HTTP/1.1\r\nHost: localhost\r\n{}\r\n", bearer());
    for _ in 0..2 {
        stream.write_all(request.as_bytes()).await.expect("sent");
        read_until(&mut stream, "local").await;
    }
    assert_eq!(read_to_end(&mut stream).await, "");
    server.end().await;
}

#[tokio::test]
async fn bodies_are_bounded_in_size_and_in_time() {
    let limits = Limits {
        body_len_max: 100,
        body_idle_timeout: Duration::from_millis(100),
        ..Limits::default()
    };
    let server = Running::with(limits, Guard::new(token(), false)).await;
    let long = format!("[{}]", "1,".repeat(100));
    let chunked = format!("{:x}\r\n{long}\r\n0\r\n\r\n", long.len());
    let table = [
        ("Content-Length: 5\r\n".to_owned(), "[1,2]", "200", "3"),
        (
            format!("Content-Length: {}\r\n", long.len()),
            &long,
            "413",
            "body.too_large",
        ),
        (
            "Content-Length: 999999999999\r\n".to_owned(),
            "",
            "413",
            "body.too_large",
        ),
        (
            "Transfer-Encoding: chunked\r\n".to_owned(),
            &chunked,
            "413",
            "body.too_large",
        ),
        (
            "Transfer-Encoding: chunked\r\n".to_owned(),
            "zz\r\n",
            "400",
            "body.malformed",
        ),
        (
            "Content-Length: 5\r\n".to_owned(),
            "[1",
            "400",
            "did not arrive in time",
        ),
        (
            "Content-Length: 5\r\n".to_owned(),
            "[1,x]",
            "400",
            "body.malformed",
        ),
        (
            "Content-Length: 6\r\n".to_owned(),
            "[1,-2]",
            "400",
            "\"field\":\"[1]\"",
        ),
        (String::new(), "", "400", "body.malformed"),
    ];
    for (headers, body, status, expected) in table {
        let answer = server.call("POST /sum", &headers, body).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{headers}{body}: {answer}"
        );
        assert!(answer.contains(expected), "{headers}{body}: {answer}");
    }
    server.end().await;
}

/// Dressed as gRPC, a body passes the limit of the connection, so the handler does not take it at all.
#[tokio::test]
async fn a_rest_address_takes_no_grpc_call() {
    let server = Running::new().await;
    let dressed = "Content-Type: application/grpc\r\nContent-Length: 5\r\n";
    let answer = server.call("POST /sum", dressed, "[1,2]").await;
    assert!(
        answer.starts_with("HTTP/1.1 405 ") && answer.contains("route.method"),
        "{answer}"
    );
    server.end().await;
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_the_others_go_on() {
    let limits = Limits {
        connections_max: 2,
        ..Limits::default()
    };
    let server = Running::with(limits, Guard::new(token(), false)).await;
    let request = format!("GET /ends HTTP/1.1\r\nHost: localhost\r\n{}\r\n", bearer());
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(server.addr).await.expect("connected");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let answer = read_until(&mut stream, "127.0.0.1").await;
        let own = stream.local_addr().expect("bound").to_string();
        assert!(
            answer.ends_with(&own),
            "the handler sees its peer: {answer}"
        );
        kept.push(stream);
    }
    let mut refused = TcpStream::connect(server.addr)
        .await
        .expect("the kernel accepts");
    assert_eq!(read_to_end(&mut refused).await, "");
    kept[0].write_all(request.as_bytes()).await.expect("sent");
    read_until(&mut kept[0], "127.0.0.1").await;
    drop(kept.pop());
    // The server sees the close a moment later.
    let served = async { while !server.call("GET /who", "", "").await.ends_with("local") {} };
    timeout(PATIENCE, served)
        .await
        .expect("there is room again");
    server.end().await;
}

/// Collects log lines.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The limit of open files is the process's, so the test runs itself again in one that may have few.
#[test]
fn running_out_of_file_descriptors_does_not_end_the_accept_loop() {
    const INNER: &str = "PROFFER_TEST_FEW_FILES";
    if std::env::var_os(INNER).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        return runtime.block_on(accept_without_descriptors());
    }
    let name =
        "http::serve::tests::limits::running_out_of_file_descriptors_does_not_end_the_accept_loop";
    let output = std::process::Command::new("sh")
        .args([
            "-c",
            "ulimit -n 64 && exec \"$0\" --exact \"$1\" --nocapture",
        ])
        .arg(std::env::current_exe().expect("this program"))
        .arg(name)
        .env(INNER, "1")
        .output()
        .expect("sh runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{output:?}"
    );
}

async fn accept_without_descriptors() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let server = Running::new().await;
    let client = tokio::net::TcpSocket::new_v4().expect("a socket");
    let mut fillers = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        fillers.push(file);
    }
    let mut stream = client
        .connect(server.addr)
        .await
        .expect("the kernel accepts");
    let warned = async {
        while !String::from_utf8_lossy(&lines.0.lock().unwrap()).contains("cannot be accepted") {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, warned)
        .await
        .expect("the loop meets EMFILE");
    fillers.clear();
    let request = format!("GET /who HTTP/1.1\r\nHost: localhost\r\n{}\r\n", bearer());
    stream.write_all(request.as_bytes()).await.expect("sent");
    read_until(&mut stream, "local").await;
    server.end().await;
}
