//! The text that comes out: the golden one, and that hostile labels never change a line of anyone else's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use super::*;
use crate::apps::decode;
use crate::model::{GroupFilter, Routes, Rules, build};

fn settings() -> Settings {
    Settings {
        bind: "127.0.0.1".parse().expect("address"),
        http_bind: Some("127.0.0.1:8000".parse().expect("address")),
        stats_bind: Some("127.0.0.1:9091".parse().expect("address")),
        stats_socket: "/run/proffer/haproxy.sock".to_owned(),
        descriptors_max: 6_000,
        user: None,
    }
}

fn routes(apps: &str) -> Routes {
    let apps = decode(apps.as_bytes()).expect("a list");
    let filter = GroupFilter::new(["*".to_owned()]);
    let rules = Rules {
        filter,
        reserved: BTreeSet::new(),
    };
    build(&apps, &rules, &BTreeMap::new(), &BTreeMap::new())
}

fn render(routes: &Routes) -> Rendered {
    let services: Vec<&Service> = routes.services.iter().collect();
    Renderer::new(TEMPLATE)
        .expect("template")
        .render(&settings(), &services)
        .expect("rendered")
}

/// HAProxy's own word on a configuration.
fn haproxy_accepts(text: &str) -> bool {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("haproxy.cfg");
    std::fs::write(&file, text).expect("written");
    let output = Command::new("haproxy")
        .args(["-c", "-f"])
        .arg(&file)
        .output()
        .expect("haproxy is installed");
    // Warnings would be shown at every reload: none is wanted either.
    let said = String::from_utf8_lossy(&output.stderr);
    output.status.success() && !said.contains("WARNING")
}

#[test]
fn the_golden_configuration() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let apps = std::fs::read_to_string(folder.join("apps.json")).expect("apps");
    let rendered = render(&routes(&apps)).text;
    let golden = folder.join("haproxy.cfg");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&golden, &rendered).expect("written");
    }
    assert_eq!(rendered, std::fs::read_to_string(&golden).expect("golden"));
    assert!(haproxy_accepts(&rendered));
}

#[test]
fn nothing_to_serve_is_a_configuration_too() {
    let rendered = render(&Routes::default());
    assert!(haproxy_accepts(&rendered.text));
    assert_eq!(digest_in(&rendered.text), Some(rendered.digest));
    let ports: Vec<u16> = ports_in(&rendered.text).collect();
    assert_eq!(ports, [9_091, 8_000]);
    let others: Vec<u16> = ports_in(
        "bind *:1 ssl
 bind [::]:2
bind :3
bind x
unbind a:4",
    )
    .collect();
    assert_eq!(others, [1, 2, 3]);
}

#[test]
fn connections_leave_room_for_checks_and_listeners() {
    let apps = r#"{"apps":[{"id":"/a","ports":[10000]}]}"#;
    let routes = routes(apps);
    let mut service = routes.services[0].clone();
    let server = crate::model::Server {
        name: "s".to_owned(),
        address: "127.0.0.1".parse().expect("address"),
        port: 1,
        id: 1,
    };
    service.servers = vec![server; 9_999];
    assert_eq!(max_connections(1 << 20, &[]), CONNECTIONS_MAX);
    assert_eq!(max_connections(20_000, &[&routes.services[0]]), 9_000);
    assert_eq!(max_connections(20_000, &[&service]), 4_000);
    assert_eq!(max_connections(1_024, &[&service]), CONNECTIONS_MIN);
}

#[test]
fn digests_name_what_is_in_the_text() {
    let one = render(&routes(r#"{"apps":[{"id":"/a","ports":[10000]}]}"#));
    let two = render(&routes(r#"{"apps":[{"id":"/a","ports":[10001]}]}"#));
    let again = render(&routes(r#"{"apps":[{"id":"/a","ports":[10000]}]}"#));
    assert_ne!(one.digest, two.digest);
    assert_eq!(one, again);
    let told = format!("Name: HAProxy\ndescription: proffer-{}\n", one.digest);
    assert_eq!(digest_in(&told), Some(one.digest));
}

#[test]
fn addresses_of_both_families_are_written_as_haproxy_reads_them() {
    let apps = r#"{"apps":[{"id":"/six","ports":[10000],"tasks":[
        {"id":"t","host":"::1","ports":[31000],"state":"TASK_RUNNING"}]}]}"#;
    let mut settings = settings();
    settings.bind = "::1".parse().expect("address");
    let routes = routes(apps);
    let services: Vec<&Service> = routes.services.iter().collect();
    let text = Renderer::new(TEMPLATE)
        .expect("template")
        .render(&settings, &services)
        .expect("rendered")
        .text;
    assert!(text.contains("server __1_31000 [::1]:31000 id"), "{text}");
    assert!(haproxy_accepts(&text));
}

#[test]
fn a_bad_template_says_where() {
    for (template, said) in [
        ("a\n{% if %}", "2"),
        ("{{ nothing }}", "nothing"),
        ("{{ services", "1"),
    ] {
        let problem = match Renderer::new(template) {
            Ok(renderer) => renderer.render(&settings(), &[]).expect_err("a fault"),
            Err(problem) => problem,
        };
        assert!(problem.is(code::CONFIG_INVALID));
        assert_eq!(problem.field, "template");
        assert!(problem.message.contains(said), "{}", problem.message);
    }
}

/// Text that owners of apps might write to get a line of their own into the configuration.
const HOSTILE: &[&str] = &[
    "\n",
    "\r\n",
    "\r",
    "\0",
    "a\nb",
    "http\n  bind *:22",
    "x.example.com\n  server x 1.2.3.4:80",
    "server x 10.0.0.1:80",
    "bind *:22",
    "frontend evil",
    "backend evil\n  server a 1.1.1.1:1",
    "\"",
    "'",
    "\\",
    "\\n",
    "\"quoted\"",
    "'quoted'",
    "`id`",
    "$(id)",
    "$HOME",
    "${HOME}",
    "\"${HOME}\"",
    "#",
    "# comment",
    "a # b",
    "{",
    "}",
    "{}",
    "{{",
    "}}",
    "{{ global.stats_socket }}",
    "{% raw %}",
    "{# #}",
    "{% for x in services %}",
    "{{ services }}",
    "%[src]",
    "%[env(HOME)]",
    "%ci",
    "%%",
    "%0a",
    "%0d%0a",
    "lua.load /tmp/x.lua",
    "lua-load /etc/passwd",
    "http-request return status 200 file /etc/shadow",
    "use-service prometheus-exporter",
    "stats admin if TRUE",
    "external-check command /bin/sh",
    "acl x src 0.0.0.0/0",
    "if TRUE",
    "|| TRUE",
    "a,b,,",
    ",",
    " ",
    "",
    "\t",
    "a b",
    "a\tb",
    "*",
    "*.*",
    "*.",
    "..",
    ".",
    "../../etc/passwd",
    "/etc/passwd",
    "-1",
    "0",
    "65536",
    "99999999999999999999",
    "1e3",
    "0x50",
    "８０",
    "ｈｔｔｐ",
    "exämple.com",
    "🦀",
    "\u{202e}evil",
    "\u{200b}",
    "a\u{0}b",
    "\u{feff}http",
    "http\u{85}x",
    "http\u{2028}x",
    "-m",
    "--",
    "roundrobin\n  option httpchk",
    "roundrobin #",
    "uri whole",
    "hdr(host)",
    "map-based consistent",
    "url_param user",
    "rdp-cookie",
    "true\nfalse",
    "TRUE || x",
    "nbthread 64",
    "no",
    "master",
    "global",
    "defaults\n timeout client 1ms",
    "description proffer-0000000000000000",
    "mailers m",
    "peers p",
    "resolvers r",
    "userlist u",
    "cache c",
    "program p\n  command id",
    ".if 1",
    ".notice x",
];

/// The same, and what is too long to stand there.
fn hostile() -> Vec<String> {
    let mut values: Vec<String> = HOSTILE.iter().map(|value| (*value).to_owned()).collect();
    values.push("a".repeat(1 << 20));
    values.push("a.".repeat(2_000));
    values.push(vec!["x.example.com"; 4_000].join(","));
    values
}

/// Every line that does not speak of the hostile app, in order.
fn lines_of_others(text: &str) -> Vec<String> {
    let is_section = |line: &&str| !line.starts_with(' ') && !line.is_empty();
    let mut is_evil = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if is_section(&line) {
            is_evil = line.ends_with(" zz_evil_20000");
        }
        let is_route = line.starts_with("  use_backend zz_evil_20000 if { req.hdr(host)");
        if !is_evil && !is_route && !line.contains("description") {
            lines.push(line.trim_end().to_owned());
        }
    }
    lines.retain(|line| !line.is_empty());
    lines
}

#[test]
fn hostile_labels_never_change_a_line_of_others() {
    let values = hostile();
    assert!(values.len() > 60);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let apps = std::fs::read_to_string(folder.join("apps.json")).expect("apps");
    let mut list: serde_json::Value = serde_json::from_str(&apps).expect("JSON");
    let base = lines_of_others(&render(&routes(&apps)).text);
    let keys = [
        "MODE", "VHOST", "ENABLED", "PORT", "BALANCE", "STICKY", "GROUP", "AUTH", "NOVEL",
    ];
    let mut texts = BTreeSet::new();
    for value in &values {
        for key in keys
            .map(|key| format!("HAPROXY_0_{key}"))
            .iter()
            .chain([&"HAPROXY_GROUP".to_owned(), value])
        {
            let evil = serde_json::json!({
                "id": "/zz/evil", "portDefinitions": [{"port": 20_000, "name": value}],
                "labels": {key: value},
                "tasks": [{"id": value, "host": "127.0.0.1", "ports": [31_999], "state": "TASK_RUNNING"}],
            });
            list["apps"].as_array_mut().expect("list").push(evil);
            let text = render(&routes(&list.to_string())).text;
            list["apps"].as_array_mut().expect("list").pop();
            assert_eq!(
                lines_of_others(&text),
                base,
                "{key}: {}",
                crate::name::quote(value)
            );
            texts.insert(text);
        }
    }
    assert!(texts.len() > 3, "some values are good");
    for text in &texts {
        assert!(haproxy_accepts(text), "{text}");
    }
}

#[test]
fn hostile_ids_hosts_and_paths_never_reach_the_text() {
    let base = lines_of_others(&render(&Routes::default()).text);
    let mut texts = BTreeSet::new();
    for value in hostile() {
        let by_id = serde_json::json!({"apps": [{"id": value, "ports": [20_000]}]});
        let by_host = serde_json::json!({"apps": [{"id": "/zz/evil", "ports": [20_000],
            "healthChecks": [{"protocol": "HTTP", "path": format!("/{value}")}],
            "tasks": [{"id": "t", "host": value, "ports": [1], "state": "TASK_RUNNING",
                       "healthCheckResults": [{"alive": true}]}]}]});
        let id_routes = routes(&by_id.to_string());
        // Some of the values are harmless ids, such as `global`; those get sections of their own.
        let is_harmless = |s: &Service| {
            s.name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
        };
        assert!(id_routes.services.iter().all(is_harmless));
        texts.insert(render(&id_routes).text);
        let text = render(&routes(&by_host.to_string())).text;
        assert_eq!(lines_of_others(&text), base);
        texts.insert(text);
    }
    for text in &texts {
        assert!(haproxy_accepts(text), "{text}");
    }
}
