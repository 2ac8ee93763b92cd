//! Connections by which nobody calls: which stay, and which end for others.

use super::*;

/// Those of a listener for Mesos's clients, where who is silent ends for others at once.
fn patient() -> Limits {
    Limits {
        gives_way_after: Duration::ZERO,
        ..Limits::mesos()
    }
}

async fn connect(server: &Running) -> TcpStream {
    TcpStream::connect(server.addr).await.expect("connected")
}

/// One call, and its whole answer.
async fn call(stream: &mut TcpStream, line: &str, headers: &str, end: &str) {
    let request = format!("{line} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    read_until(stream, end).await;
}

async fn known(stream: &mut TcpStream) {
    call(stream, "GET /who", &bearer(), "local").await;
}

#[tokio::test]
async fn where_mesos_clients_call_silence_ends_no_connection() {
    let server = Running::with(Limits::mesos(), Guard::new(token(), false)).await;
    let mut silent = connect(&server).await;
    let mut between = connect(&server).await;
    known(&mut between).await;
    let mut half = connect(&server).await;
    half.write_all(b"GET /who HT").await.expect("sent");
    // As long as another listener keeps one.
    let limits = Limits {
        header_timeout: Some(Duration::from_millis(300)),
        ..Limits::default()
    };
    let other = Running::with(limits, Guard::new(token(), false)).await;
    assert_eq!(other.raw(b"").await, "");
    known(&mut silent).await;
    known(&mut between).await;
    let rest = format!("TP/1.1\r\nHost: localhost\r\n{}\r\n", bearer());
    half.write_all(rest.as_bytes()).await.expect("sent");
    read_until(&mut half, "local").await;
    for running in [server, other] {
        running.end().await;
    }
}

#[tokio::test]
async fn of_too_many_strangers_the_newest_ends_that_is_silent() {
    let limits = Limits {
        strangers_max: 2,
        ..patient()
    };
    let guard = Guard::new(token(), false).leave_to_handlers(["/recognize"]);
    let server = Running::with(limits, guard).await;
    let mut with_token = connect(&server).await;
    known(&mut with_token).await;
    let mut by_handler = connect(&server).await;
    call(&mut by_handler, "GET /recognize", "", "recognized").await;
    let mut stream = connect(&server).await;
    call(&mut stream, "GET /events", &bearer(), "data: a").await;
    let mut first = connect(&server).await;
    call(&mut first, "GET /who", "", "auth.missing").await;
    let mut second = connect(&server).await;
    // What is for all recognizes nobody.
    call(&mut first, "GET /metrics", "", "\r\n\r\nmetrics").await;
    let mut third = connect(&server).await;
    assert_eq!(read_to_end(&mut second).await, "");
    for stream in [&mut first, &mut third, &mut with_token, &mut by_handler] {
        known(stream).await;
    }
    server.end().await;
}

#[tokio::test]
async fn where_there_is_no_room_who_was_silent_longest_ends_strangers_first() {
    let limits = Limits {
        connections_max: 2,
        ..patient()
    };
    let server = Running::with(limits, Guard::new(token(), false)).await;
    let mut older = connect(&server).await;
    known(&mut older).await;
    let mut stranger = connect(&server).await;
    let mut newer = connect(&server).await;
    assert_eq!(read_to_end(&mut stranger).await, "");
    known(&mut newer).await;
    known(&mut older).await;
    let mut last = connect(&server).await;
    assert_eq!(read_to_end(&mut newer).await, "");
    // What is answered at the moment stays.
    call(&mut older, "GET /events", &bearer(), "data: a").await;
    call(&mut last, "GET /events", &bearer(), "data: a").await;
    assert_eq!(read_to_end(&mut connect(&server).await).await, "");
    server.end().await;
}

#[tokio::test]
async fn strangers_that_call_at_the_moment_end_nobody_who_may_call() {
    let limits = Limits {
        connections_max: 3,
        strangers_max: 1,
        ..patient()
    };
    let guard = Guard::new(token(), false).leave_to_handlers(["/events"]);
    let server = Running::with(limits, guard).await;
    let mut may_call = connect(&server).await;
    known(&mut may_call).await;
    let mut strangers = Vec::new();
    for _ in 0..2 {
        let mut stranger = connect(&server).await;
        call(&mut stranger, "GET /events", "", "data: a").await;
        strangers.push(stranger);
    }
    assert_eq!(read_to_end(&mut connect(&server).await).await, "");
    known(&mut may_call).await;
    server.end().await;
}

#[tokio::test]
async fn a_long_answer_is_a_call_until_it_is_taken() {
    let limits = Limits {
        connections_max: 1,
        ..patient()
    };
    let server = Running::with(limits, Guard::new(token(), false)).await;
    let mut slow = connect(&server).await;
    call(&mut slow, "GET /large", &bearer(), "\r\n\r\n").await;
    assert_eq!(read_to_end(&mut connect(&server).await).await, "");
    let (mut len, mut bytes) = (0, vec![0; 1024 * 1024]);
    // Some came with its head.
    while len < LARGE_LEN - 1_024 {
        let read = timeout(PATIENCE, slow.read(&mut bytes)).await;
        let read = read.expect("in time").expect("read");
        assert!(read > 0, "closed after {len} bytes");
        len += read;
    }
    known(&mut slow).await;
    // It is silent now.
    known(&mut connect(&server).await).await;
    server.end().await;
}

/// A request of HTTP/2 by which nothing of the answer is taken, with the token or without.
async fn take_nothing(stream: &mut TcpStream, token: Option<&str>) {
    let text = |text: &str| {
        let len = u8::try_from(text.len()).expect("short");
        [&[len], text.as_bytes()].concat()
    };
    // GET and http by their numbers, the rest by its name's.
    let mut fields = vec![0x82, 0x86, 0x04];
    fields.extend(text("/metrics"));
    fields.push(0x01);
    fields.extend(text("localhost"));
    if let Some(token) = token {
        fields.push(0x00);
        fields.extend(text("authorization"));
        fields.extend(text(&format!("Bearer {token}")));
    }
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let windows_of_none = [0, 4, 0, 0, 0, 0];
    for (kind, flags, stream, payload) in [(4, 0, 0, &windows_of_none[..]), (1, 5, 1, &fields)] {
        let len = u8::try_from(payload.len()).expect("short");
        bytes.extend([0, 0, len, kind, flags, 0, 0, 0, stream]);
        bytes.extend(payload);
    }
    stream.write_all(&bytes).await.expect("sent");
}

#[tokio::test]
async fn a_stranger_who_takes_nothing_of_an_answer_ends() {
    let limits = Limits {
        unread_max: Duration::from_millis(200),
        ..Limits::mesos()
    };
    let server = Running::with(limits, Guard::new(token(), false)).await;
    let (mut may_call, mut stranger) = (connect(&server).await, connect(&server).await);
    take_nothing(&mut may_call, Some(token().secret().expose())).await;
    take_nothing(&mut stranger, None).await;
    // Sooner than the one that does not answer to pings.
    timeout(PATIENCE / 4, read_to_end(&mut stranger))
        .await
        .expect("it ends");
    let ping = [&[0, 0, 8, 6, 0, 0, 0, 0, 0][..], b"are-you-"].concat();
    may_call.write_all(&ping).await.expect("sent");
    read_until(&mut may_call, "are-you-").await;
    server.end().await;
}

/// One that stays for ever must not be that of a peer that is gone.
#[tokio::test]
async fn the_kernel_looks_for_peers_that_are_gone() {
    use rustix::net::sockopt;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let addr = listener.local_addr().expect("bound");
    let _client = TcpStream::connect(addr).await.expect("connected");
    let (stream, _) = listener.accept().await.expect("accepted");
    crate::http::socket::detect_dead_peer(&stream).expect("the kernel can");
    assert!(sockopt::socket_keepalive(&stream).expect("an option"));
    let interval = Duration::from_secs(u64::from(crate::limits::TCP_KEEPALIVE_SECS));
    assert_eq!(sockopt::tcp_keepidle(&stream).expect("an option"), interval);
    assert_eq!(
        sockopt::tcp_keepintvl(&stream).expect("an option"),
        interval
    );
    let timeout = u128::from(sockopt::tcp_user_timeout(&stream).expect("an option"));
    assert_eq!(timeout, crate::limits::TCP_USER_TIMEOUT.as_millis());
}
