//! Bodies that Mesos's clients send and nobody can read: the same answer whatever way they come.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::peers::{Master, soon};

/// The answer to a request whose body is these pieces.
async fn sent(master: &Master, path: &str, headers: &str, pieces: Vec<Vec<u8>>) -> String {
    let socket = TcpStream::connect(master.listen()).await;
    let (mut reads, mut writes) = socket.expect("connected").into_split();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\n{}Connection: close\r\nContent-Type: application/json\r\n{headers}\r\n\r\n",
        master.listen(),
        master.authorization()
    );
    let writing = tokio::spawn(async move {
        writes.write_all(head.as_bytes()).await.expect("sent");
        for piece in pieces {
            // What is refused is not read to its end.
            if writes.write_all(&piece).await.is_err() {
                break;
            }
        }
        writes
    });
    let mut answer = String::new();
    let read = soon("an answer", reads.read_to_string(&mut answer)).await;
    read.expect("read");
    drop(writing.await.expect("no panic"));
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_refused_in_one_form() {
    let master = Master::start("memory").await;
    let megabyte = vec![b' '; 1024 * 1024];
    let chunk = [b"100000\r\n", megabyte.as_slice(), b"\r\n"].concat();
    let mut chunks = vec![chunk; 8];
    chunks.push(b"1\r\n \r\n0\r\n\r\n".to_vec());
    let chunked = "Transfer-Encoding: chunked";
    for path in ["/api/v1/scheduler", "/api/v1"] {
        for (headers, pieces) in [
            ("Content-Length: 8388609", Vec::new()),
            (chunked, chunks.clone()),
        ] {
            let answer = sent(&master, path, headers, pieces).await;
            assert!(answer.starts_with("HTTP/1.1 413 "), "{path}: {answer}");
            assert!(answer.contains("text/plain"), "{path}: {answer}");
            let text = "\r\n\r\nthe body is larger than 8388608 bytes";
            assert!(answer.ends_with(text), "{path}: {answer}");
        }
    }
    let form = vec![b'a'; 64 * 1024 + 1];
    let answer = sent(&master, "/teardown", "Content-Length: 65537", vec![form]).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let text = "\r\n\r\nthe body is larger than 65536 bytes";
    assert!(answer.ends_with(text), "{answer}");
    master.stop().await;
}
