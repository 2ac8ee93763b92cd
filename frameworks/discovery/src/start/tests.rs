//! The sidecar with a real HAProxy: a small services and small servers are played by the test, everything else is real.

mod rig;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use self::rig::{
    Folder, Services, Sidecar, WAIT, app, ask, exchange, free_port, instance, options,
};
use super::*;
use crate::core::How;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_reach_all_healthy_instances_in_turn() {
    let services = Services::start().await;
    let port = free_port().await;
    let mut ports = Vec::new();
    for _ in 0..3 {
        ports.push(instance().await.0);
    }
    services.set(&[app("/hello", port, &ports)]);
    let sidecar = Sidecar::start(&services).await;
    sidecar.until_served(3).await;
    let mut answers = Vec::new();
    for _ in 0..6 {
        answers.push(ask(port).await.expect("an answer"));
    }
    assert_eq!(answers[..3], answers[3..], "in turn");
    let mut seen = answers[..3].to_vec();
    seen.sort();
    let mut expected: Vec<String> = ports.iter().map(ToString::to_string).collect();
    expected.sort();
    assert_eq!(seen, expected);

    // Nobody healthy any more: 503, not a refused connection.
    services.set(&[app("/hello", port, &[])]);
    sidecar.until_served(0).await;
    assert_eq!(
        ask(port).await.expect_err("none"),
        "HTTP/1.1 503 Service Unavailable"
    );
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_through_changes_and_reloads() {
    let services = Services::start().await;
    let (port, other) = (free_port().await, free_port().await);
    let mut instances = Vec::new();
    for _ in 0..4 {
        instances.push(instance().await.0);
    }
    services.set(&[app("/hello", port, &instances)]);
    let sidecar = Sidecar::start(&services).await;
    sidecar.until_served(4).await;
    let pid = sidecar.running.view().borrow().pid.expect("a pid");

    let done = CancellationToken::new();
    let clients: Vec<JoinHandle<(u32, Vec<String>)>> = (0..2)
        .map(|_| {
            let done = done.clone();
            tokio::spawn(async move {
                let (mut count, mut failures) = (0, Vec::new());
                while !done.is_cancelled() {
                    count += 1;
                    failures.extend(ask(port).await.err());
                }
                (count, failures)
            })
        })
        .collect();
    let (mut reloads, mut changes) = (0, 0);
    for round in 0..20_usize {
        // A second app comes and goes: a reload. The first one's servers change: none.
        let some: Vec<u16> = instances
            .iter()
            .copied()
            .cycle()
            .skip(round)
            .take(2 + round % 2)
            .collect();
        let mut apps = vec![app("/hello", port, &some)];
        if round % 2 == 0 {
            apps.push(app("/other", other, &instances[..1]));
        }
        let expected = some.len() + usize::from(round % 2 == 0);
        services.set(&apps);
        let reloaded = sidecar.until_served(expected).await;
        reloads += usize::from(
            reloaded
                .applied
                .is_some_and(|(how, ..)| how == How::Reloaded),
        );
        let next: Vec<u16> = instances
            .iter()
            .copied()
            .cycle()
            .skip(round + 1)
            .take(4)
            .collect();
        apps[0] = app("/hello", port, &next);
        services.set(&apps);
        let changed = sidecar.until_served(4 + usize::from(round % 2 == 0)).await;
        changes += usize::from(changed.applied.is_some_and(|(how, ..)| how == How::Changed));
    }
    done.cancel();
    let mut total = 0;
    for client in clients {
        let (count, failures) = client.await.expect("client");
        assert!(failures.is_empty(), "{failures:?} of {count}");
        total += count;
    }
    assert_eq!((reloads, changes), (20, 20));
    assert!(total > 500, "{total} requests");
    assert_eq!(
        sidecar.running.view().borrow().pid,
        Some(pid),
        "the same HAProxy all the time"
    );
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_sidecar_adopts_the_haproxy_of_the_last_one() {
    let services = Services::start().await;
    let port = free_port().await;
    let (first, _) = instance().await;
    let (second, _) = instance().await;
    services.set(&[app("/hello", port, &[first])]);
    let sidecar = Sidecar::start(&services).await;
    let pid = sidecar.until_served(1).await.pid;
    assert!(pid.is_some());
    let folder = sidecar.stop().await;
    ask(port).await.expect("HAProxy has outlived the sidecar");

    let sidecar = Sidecar::start_in(Arc::clone(&folder), &services, |_| {}).await;
    let view = sidecar.until_served(1).await;
    assert_eq!(view.pid, pid);
    assert_eq!(
        view.applied.map(|(how, ..)| how),
        Some(How::Adopted),
        "nothing was to do"
    );
    let folder = sidecar.stop().await;

    // And one that finds another state brings HAProxy there.
    services.set(&[app("/hello", port, &[second])]);
    let sidecar = Sidecar::start_in(folder, &services, |_| {}).await;
    let is_second = |view: &View| {
        view.services
            .iter()
            .flat_map(|s| &s.servers)
            .any(|s| s.port == second)
    };
    let view = sidecar.until("the second is served", is_second).await;
    assert_eq!(view.pid, pid);
    assert_eq!(ask(port).await, Ok(second.to_string()));
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_haproxy_that_was_killed_is_started_again() {
    let services = Services::start().await;
    let port = free_port().await;
    services.set(&[app("/hello", port, &[instance().await.0])]);
    let sidecar = Sidecar::start(&services).await;
    let pid = sidecar.until_served(1).await.pid.expect("a pid");
    let raw = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a pid"));
    nix::sys::signal::kill(raw, nix::sys::signal::Signal::SIGKILL).expect("killed");
    sidecar
        .until("another one", |view| {
            view.is_settled && view.pid.is_some_and(|new| new != pid)
        })
        .await;
    ask(port).await.expect("served again");
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_another_process_has_leaves_only_its_app_out() {
    let services = Services::start().await;
    let (port, _) = (free_port().await, ());
    let squatter = TcpListener::bind("127.0.0.1:0").await.expect("port");
    let taken = squatter.local_addr().expect("bound").port();
    let (server, _) = instance().await;
    services.set(&[app("/bad", taken, &[server]), app("/good", port, &[server])]);
    let sidecar = Sidecar::start(&services).await;
    let view = sidecar.until_served(1).await;
    assert_eq!(view.left_out.len(), 1);
    assert_eq!(
        (
            view.left_out[0].app.as_str(),
            view.left_out[0].problem.code.as_ref()
        ),
        ("/bad", "app.port_taken")
    );
    ask(port).await.expect("the good one is served");
    // When the port is free, the app is served without anybody's help.
    drop(squatter);
    sidecar.until_served(2).await;
    ask(taken).await.expect("served now");
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_haproxy_the_sidecar_stays_and_says_what_to_do() {
    let services = Services::start().await;
    let port = free_port().await;
    services.set(&[app("/hello", port, &[instance().await.0])]);
    let folder = Arc::new(Folder(tempfile::tempdir().expect("folder")));
    let program = folder.0.path().join("haproxy");
    let sidecar = Sidecar::start_in(folder, &services, |options| {
        options.haproxy = Some(program.clone())
    })
    .await;
    let view = sidecar
        .until("told", |view| view.apply_problem.is_some())
        .await;
    let problem = view.apply_problem.as_ref().expect("a problem");
    assert_eq!(problem.code, "haproxy.failed");
    assert!(problem.hint.contains("apt-get install haproxy"));
    // Installed while the sidecar runs.
    let found = crate::find_haproxy(None).expect("installed");
    std::os::unix::fs::symlink(found, &program).expect("linked");
    sidecar.until_served(1).await;
    ask(port).await.expect("served");
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_template_that_haproxy_refuses_leaves_the_last_good_configuration() {
    let services = Services::start().await;
    let port = free_port().await;
    services.set(&[app("/hello", port, &[instance().await.0])]);
    let sidecar = Sidecar::start(&services).await;
    let pid = sidecar.until_served(1).await.pid;
    let folder = sidecar.stop().await;
    let written =
        std::fs::read_to_string(folder.0.path().join("work/haproxy.cfg")).expect("written");

    let template = folder.0.path().join("bad.tera");
    std::fs::write(&template, "global\n  no-such-keyword {{ global.digest }}\n").expect("written");
    let sidecar = Sidecar::start_in(Arc::clone(&folder), &services, |options| {
        options.template = Some(template)
    })
    .await;
    let view = sidecar
        .until("told", |view| view.apply_problem.is_some())
        .await;
    let problem = view.apply_problem.as_ref().expect("a problem");
    assert!(problem.message.contains("no-such-keyword"), "{problem}");
    ask(port).await.expect("the last good one is in force");
    let now = std::fs::read_to_string(folder.0.path().join("work/haproxy.cfg")).expect("there");
    assert_eq!(now, written);
    sidecar.stop().await;

    let sidecar = Sidecar::start_in(folder, &services, |_| {}).await;
    assert_eq!(sidecar.until_served(1).await.pid, pid);
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_that_goes_away_changes_nothing() {
    let services = Services::start().await;
    let port = free_port().await;
    services.set(&[app("/hello", port, &[instance().await.0])]);
    let sidecar = Sidecar::start(&services).await;
    sidecar.until_served(1).await;
    *services.apps.lock().expect("lock") = "not JSON".to_owned();
    let _ = services.changed.send(());
    sidecar
        .until("told", |view| view.source_problem.is_some())
        .await;
    assert_eq!(sidecar.running.view().borrow().services.len(), 1);
    ask(port).await.expect("still served");
    services.set(&[app("/hello", port, &[])]);
    sidecar
        .until("found", |view| view.source_problem.is_none())
        .await;
    sidecar.until_served(0).await;
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_own_api_tells_what_is_served_and_what_is_not() {
    let services = Services::start().await;
    let port = free_port().await;
    let bad = r#"{"id":"/bad","ports":[10000],"labels":{"HAPROXY_0_MODE":"x\ny"}}"#;
    services.set(&[app("/hello", port, &[instance().await.0]), bad.to_owned()]);
    let sidecar = Sidecar::start(&services).await;
    sidecar.until_served(1).await;

    let (code, text) = sidecar.get("/v1/status", true).await;
    assert_eq!(code, 200);
    for part in [
        "\"hello_",
        "\"left_out_count\":1",
        "label.invalid",
        "labels.HAPROXY_0_MODE",
        "\"is_settled\":true",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let (code, text) = sidecar.get("/_haproxy_getconfig", true).await;
    assert!(
        code == 200 && text.contains(&format!("bind 127.0.0.1:{port}")),
        "{text}"
    );
    for (path, code) in [
        ("/health", 200),
        ("/metrics", 200),
        ("/v1/status", 401),
        ("/_haproxy_getconfig", 401),
    ] {
        assert_eq!(sidecar.get(path, false).await.0, code, "{path}");
    }
    let (_, text) = sidecar.get("/metrics", false).await;
    assert!(
        text.contains("discovery_servers 1")
            && text.contains("discovery_applies_total{result=\"started\"} 1"),
        "{text}"
    );

    // A second sidecar in the same directory would fight with this one.
    let config =
        Config::from_options(options(sidecar.folder.0.path(), &services.url)).expect("options");
    let problem = start(config, CancellationToken::new())
        .await
        .expect_err("locked");
    assert_eq!(problem.code, "directory.locked");
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_of_dev_stops_its_haproxy() {
    let services = Services::start().await;
    let port = free_port().await;
    services.set(&[app("/hello", port, &[instance().await.0])]);
    let folder = tempfile::tempdir().expect("folder");
    let mut config = Config::from_options(options(folder.path(), &services.url)).expect("options");
    config.stop_haproxy_on_exit = true;
    let shutdown = CancellationToken::new();
    let running = start(config, shutdown.clone()).await.expect("started");
    let mut view = running.view();
    timeout(WAIT, view.wait_for(|view| view.is_settled))
        .await
        .expect("in time")
        .expect("it runs");
    ask(port).await.expect("served");
    shutdown.cancel();
    timeout(WAIT, running.join()).await.expect("it ends");
    ask(port).await.expect_err("nobody is there any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_given_haproxy_is_reloaded_by_command_or_only_written_for() {
    let services = Services::start().await;
    let port = free_port().await;
    services.set(&[app("/hello", port, &[instance().await.0])]);
    let folder = Arc::new(Folder(tempfile::tempdir().expect("folder")));
    let (file, mark) = (
        folder.0.path().join("given.cfg"),
        folder.0.path().join("mark"),
    );
    let sidecar = Sidecar::start_in(folder, &services, |options| {
        options.run_haproxy = None;
        options.haproxy_config = Some(file.clone());
        options.reload_command = Some(format!("cp {} {}", file.display(), mark.display()));
    })
    .await;
    sidecar.until_served(1).await;
    let text = std::fs::read_to_string(&mark).expect("the command has run");
    assert!(text.contains(&format!("bind 127.0.0.1:{port}")));
    let folder = sidecar.stop().await;

    let sidecar = Sidecar::start_in(folder, &services, |options| {
        options.run_haproxy = None;
        options.reload_command = Some("echo broken >&2; exit 3".to_owned());
    })
    .await;
    let view = sidecar
        .until("told", |view| view.apply_problem.is_some())
        .await;
    assert!(
        view.apply_problem
            .as_ref()
            .is_some_and(|p| p.message.contains("broken"))
    );
    sidecar.stop().await;

    let sidecar = Sidecar::start_with(&services, |options| options.run_haproxy = None).await;
    let view = sidecar.until_served(1).await;
    assert_eq!(view.applied.map(|(how, ..)| how), Some(How::Written));
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_given_haproxy_is_reloaded_over_its_master_socket() {
    let services = Services::start().await;
    let (port, other) = (free_port().await, free_port().await);
    let (server, _) = instance().await;
    services.set(&[app("/hello", port, &[server])]);
    let folder = Arc::new(Folder(tempfile::tempdir().expect("folder")));
    let work = folder.0.path().join("work");
    std::fs::create_dir(&work).expect("made");
    let (file, socket) = (
        folder.0.path().join("given.cfg"),
        folder.0.path().join("m.sock"),
    );
    let bare = "global\ndefaults\n  timeout connect 1s\n  timeout client 1s\n  timeout server 1s\n";
    std::fs::write(
        &file,
        format!("{bare}frontend x\n  bind 127.0.0.1:{other}\n"),
    )
    .expect("written");
    let started = tokio::process::Command::new("haproxy")
        .args(["-W", "-D", "-S"])
        .arg(&socket)
        .arg("-f")
        .arg(&file)
        .arg("-p")
        .arg(work.join("haproxy.pid"))
        .status()
        .await;
    assert!(started.expect("installed").success());
    let sidecar = Sidecar::start_in(folder, &services, |options| {
        options.run_haproxy = None;
        options.haproxy_config = Some(file);
        options.haproxy_master_socket = Some(socket);
    })
    .await;
    let view = sidecar.until_served(1).await;
    assert_eq!(view.applied.map(|(how, ..)| how), Some(How::Reloaded));
    assert_eq!(ask(port).await, Ok(server.to_string()));
    services.set(&[app("/hello", port, &[server, instance().await.0])]);
    let view = sidecar.until_served(2).await;
    assert_eq!(view.applied.map(|(how, ..)| how), Some(How::Changed));
    sidecar.stop().await;
}

/// A server that sends its port first and then back what it gets.
async fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.write_all(&port.to_be_bytes()).await;
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    port
}

/// A long connection: the instance behind it, and that it still passes bytes.
async fn connect(port: u16) -> (u16, TcpStream) {
    let mut stream = TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("connected");
    let instance = timeout(WAIT, stream.read_u16())
        .await
        .expect("in time")
        .expect("an instance");
    (instance, stream)
}

async fn is_alive(stream: &mut TcpStream) -> bool {
    let mut answer = [0; 4];
    stream.write_all(b"ping").await.is_ok()
        && timeout(WAIT, stream.read_exact(&mut answer))
            .await
            .is_ok_and(|read| read.is_ok())
        && &answer == b"ping"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_connections_live_on_when_their_instance_goes_and_comes_back() {
    let services = Services::start().await;
    let port = free_port().await;
    let tcp = |instances: &[u16]| app("/db", port, instances).replace("HTTP", "TCP");
    let (first, second) = (echo().await, echo().await);
    services.set(&[tcp(&[first])]);
    let sidecar = Sidecar::start(&services).await;
    sidecar.until_served(1).await;
    let (instance, mut long) = connect(port).await;
    assert_eq!(instance, first);

    let serves = |wanted: &[u16]| {
        let wanted = wanted.to_vec();
        move |view: &View| {
            let servers = view.services.iter().flat_map(|service| &service.servers);
            let mut ports: Vec<u16> = servers.map(|server| server.port).collect();
            ports.sort_unstable();
            let mut wanted = wanted.clone();
            wanted.sort_unstable();
            view.is_settled && ports == wanted
        }
    };
    services.set(&[tcp(&[second])]);
    let view = sidecar.until("the second", serves(&[second])).await;
    assert_eq!(view.applied.map(|(how, ..)| how), Some(How::Changed));
    for _ in 0..4 {
        assert_eq!(
            connect(port).await.0,
            second,
            "new connections go to the one that is there"
        );
    }
    assert!(is_alive(&mut long).await);

    // HAProxy still has the first one, on its way out: it is put back, not added.
    services.set(&[tcp(&[first, second])]);
    let view = sidecar.until("both", serves(&[first, second])).await;
    assert_eq!(view.applied.map(|(how, ..)| how), Some(How::Changed));
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..4 {
        seen.insert(connect(port).await.0);
    }
    assert_eq!(seen.len(), 2);
    assert!(is_alive(&mut long).await);
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_haproxy_refuses_is_found_and_left_out_by_name() {
    let services = Services::start().await;
    let (server, _) = instance().await;
    let mut apps = Vec::new();
    let mut ports = Vec::new();
    for name in ["a", "bad-1", "c", "d", "bad-2"] {
        ports.push(free_port().await);
        apps.push(app(&format!("/{name}"), ports[ports.len() - 1], &[server]));
    }
    services.set(&apps);
    let folder = Arc::new(Folder(tempfile::tempdir().expect("folder")));
    let template = folder.0.path().join("own.tera");
    let fault = "{% if service.app is starting_with(pat=\"/bad\") %}  no-such-keyword\n{% endif %}\nbackend";
    std::fs::write(&template, TEMPLATE.replace("\nbackend", fault)).expect("written");
    let sidecar = Sidecar::start_in(folder, &services, |options| {
        options.template = Some(template)
    })
    .await;
    let view = sidecar.until_served(3).await;
    let mut left_out: Vec<&str> = view.left_out.iter().map(|left| left.app.as_str()).collect();
    left_out.sort_unstable();
    assert_eq!(left_out, ["/bad-1", "/bad-2"]);
    assert!(view.left_out[0].problem.message.contains("no-such-keyword"));
    assert_eq!(ask(ports[3]).await, Ok(server.to_string()));
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn host_names_share_one_port() {
    let services = Services::start().await;
    let (shared, one, two) = (free_port().await, free_port().await, free_port().await);
    let (first, second) = (instance().await.0, instance().await.0);
    let with_host = |id: &str, port: u16, host: &str, instance: u16| {
        let labels = format!("\"labels\":{{\"HAPROXY_0_VHOST\":\"{host}\"}},\"tasks\"");
        app(id, port, &[instance]).replace("\"tasks\"", &labels)
    };
    services.set(&[
        with_host("/one", one, "www.example.com", first),
        with_host("/two", two, "*.example.com", second),
    ]);
    let sidecar = Sidecar::start_with(&services, |options| {
        options.http_bind = Some(SocketAddr::from(([127, 0, 0, 1], shared)));
    })
    .await;
    sidecar.until_served(2).await;
    let address = SocketAddr::from(([127, 0, 0, 1], shared));
    for (host, expected) in [
        ("www.example.com", first.to_string()),
        ("WWW.Example.com:8000", first.to_string()),
        ("api.example.com", second.to_string()),
        ("a.b.example.com", second.to_string()),
        ("example.com", "503".to_owned()),
        ("example.com.evil", "503".to_owned()),
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = exchange(address, &request).await.expect("an answer");
        assert!(answer.contains(&expected), "{host}: {answer}");
    }
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_prints_and_touches_nothing() {
    let services = Services::start().await;
    services.set(&[app("/hello", 10_000, &[31_000])]);
    let folder = tempfile::tempdir().expect("folder");
    let token = folder.path().join("token");
    LocalToken::load_or_create(&token).expect("made");
    let config = Config::from_options(options(folder.path(), &services.url)).expect("options");
    let text = dry_run(&config).await.expect("rendered");
    assert!(text.contains("server 127_0_0_1_31000 127.0.0.1:31000"));
    assert_eq!(
        render_apps(br#"{"apps":[]}"#, &config)
            .expect("rendered")
            .matches("frontend")
            .count(),
        0
    );
    assert!(!folder.path().join("work").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_port_that_is_taken_leaves_the_last_good_configuration() {
    let services = Services::start().await;
    let port = free_port().await;
    services.set(&[app("/hello", port, &[instance().await.0])]);
    let sidecar = Sidecar::start(&services).await;
    let pid = sidecar.until_served(1).await.pid;
    let folder = sidecar.stop().await;
    let file = folder.0.path().join("work/haproxy.cfg");
    let written = std::fs::read_to_string(&file).expect("written");

    // The operator's own port is taken: no app can be blamed.
    let squatter = TcpListener::bind("127.0.0.1:0").await.expect("port");
    let taken = squatter.local_addr().expect("bound");
    let sidecar = Sidecar::start_in(folder, &services, |options| {
        options.stats_bind = Some(taken)
    })
    .await;
    let view = sidecar
        .until("told", |view| view.apply_problem.is_some())
        .await;
    let problem = view.apply_problem.as_ref().expect("a problem");
    assert_eq!(
        (problem.code.as_ref(), problem.field.as_str()),
        ("port.taken", "stats_bind")
    );
    assert_eq!(std::fs::read_to_string(&file).expect("there"), written);
    ask(port).await.expect("the last good one is in force");
    drop(squatter);
    let view = sidecar.until_served(1).await;
    assert_eq!(view.pid, pid, "the same HAProxy, reloaded at last");
    ask(port).await.expect("served");
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_that_fails_puts_the_last_good_file_back() {
    let services = Services::start().await;
    let port = free_port().await;
    services.set(&[app("/hello", port, &[instance().await.0])]);
    let sidecar = Sidecar::start(&services).await;
    let pid = sidecar.until_served(1).await.pid;
    let folder = sidecar.stop().await;
    let file = folder.0.path().join("work/haproxy.cfg");
    let written = std::fs::read_to_string(&file).expect("written");

    // A port that only the template knows: `haproxy -c` does not try it.
    let squatter = TcpListener::bind("127.0.0.1:0").await.expect("port");
    let taken = squatter.local_addr().expect("bound");
    let template = folder.0.path().join("own.tera");
    let more = format!("\nfrontend own\n  mode http\n  bind {taken}\n");
    std::fs::write(&template, format!("{TEMPLATE}{more}")).expect("written");
    let sidecar = Sidecar::start_in(folder, &services, |options| {
        options.template = Some(template)
    })
    .await;
    let view = sidecar
        .until("told", |view| view.apply_problem.is_some())
        .await;
    let problem = view.apply_problem.as_ref().expect("a problem");
    assert!(problem.message.contains("reload failed"), "{problem}");
    assert_eq!(std::fs::read_to_string(&file).expect("there"), written);
    ask(port).await.expect("the last good one is in force");
    drop(squatter);
    let view = sidecar.until_served(1).await;
    assert_eq!(view.pid, pid, "the same HAProxy, reloaded at last");
    ask(port).await.expect("served");
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_haproxy_that_is_slow_to_start_and_to_reload_is_waited_for() {
    let services = Services::start().await;
    let (port, other) = (free_port().await, free_port().await);
    let (server, _) = instance().await;
    services.set(&[app("/hello", port, &[server])]);
    let folder = Arc::new(Folder(tempfile::tempdir().expect("folder")));
    let program = folder.0.path().join("haproxy");
    let real = crate::find_haproxy(None).expect("installed");
    // By this name it runs itself anew as well, so each reload is slow too.
    let script = format!(
        "#!/bin/bash\nsleep 1\nexec -a \"$0\" {} \"$@\"\n",
        real.display()
    );
    std::fs::write(&program, script).expect("written");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, executable).expect("set");
    let sidecar = Sidecar::start_in(folder, &services, |options| options.haproxy = Some(program));
    let sidecar = sidecar.await;
    let pid = sidecar.until_served(1).await.pid;
    services.set(&[
        app("/hello", port, &[server]),
        app("/other", other, &[server]),
    ]);
    let view = sidecar.until_served(2).await;
    assert_eq!(view.applied.map(|(how, ..)| how), Some(How::Reloaded));
    assert_eq!(view.pid, pid);
    ask(other).await.expect("served");
    let (_, text) = sidecar.get("/metrics", false).await;
    assert!(!text.contains("result=\"failed\""), "{text}");
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ports_that_haproxy_has_itself_are_not_taken_by_another_process() {
    let services = Services::start().await;
    let port = free_port().await;
    let (first, _) = instance().await;
    let (second, _) = instance().await;
    services.set(&[app("/hello", port, &[first])]);
    let sidecar = Sidecar::start(&services).await;
    let pid = sidecar.until_served(1).await.pid;
    let folder = sidecar.stop().await;

    // What is left of a reload that was given up, put back, and came to an end after all: the file knows no service.
    let file = folder.0.path().join("work/haproxy.cfg");
    std::fs::write(&file, "# the one before\n").expect("written");
    services.set(&[app("/hello", port, &[first, second])]);
    let sidecar = Sidecar::start_in(folder, &services, |_| {}).await;
    let servers = |view: &View| view.services.iter().map(|s| s.servers.len()).sum::<usize>();
    let is_decided = |view: &View| !view.left_out.is_empty() || servers(view) == 2;
    let view = sidecar.until("served or left out", is_decided).await;
    assert!(view.left_out.is_empty(), "{:?}", view.left_out);
    assert_eq!(sidecar.until_served(2).await.pid, pid);
    ask(port).await.expect("served");
    sidecar.stop().await;
}
