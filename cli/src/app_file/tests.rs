//! Files of apps, good and bad.

use super::*;

fn problem_of(file: &str, text: &str) -> Problem {
    parse(file, Path::new(file), text).expect_err(text)
}

#[test]
fn an_app_is_the_same_in_every_language() {
    let json = r#"{"id": "/web", "cmd": "run", "cpus": 0.5, "mem": 32, "instances": 2, "env": {"A": "b"},
        "portDefinitions": [{"port": 10000, "name": "http"}],
        "healthChecks": [{"protocol": "HTTP", "path": "/", "intervalSeconds": 1}]}"#;
    let toml = r#"
        id = "web"
        cmd = "run"
        cpus = 0.5
        mem = 32
        instances = 2
        env = { A = "b" }
        [[portDefinitions]]
        port = 10000
        name = "http"
        [[healthChecks]]
        protocol = "HTTP"
        path = "/"
        intervalSeconds = 1
    "#;
    let yaml = "id: web\ncmd: run\ncpus: 0.5\nmem: 32\ninstances: 2\nenv: {A: b}\n\
        portDefinitions:\n- port: 10000\n  name: http\n\
        healthChecks:\n- &check\n  protocol: HTTP\n  path: /\n  intervalSeconds: 1\n";
    let apps = parse("a.json", Path::new("a.json"), json).unwrap();
    for (file, text) in [
        ("a.toml", toml),
        ("a.yaml", yaml),
        ("a.yml", yaml),
        ("-", json),
        ("-", toml),
        ("-", yaml),
    ] {
        assert_eq!(apps, parse(file, Path::new(file), text).unwrap(), "{file}");
    }
    assert_eq!(apps[0].id, "/web");
    assert_eq!(apps[0].body["id"], "/web");
}

#[test]
fn several_apps_stand_in_an_array_or_under_apps() {
    for (file, text) in [
        ("-", r#"[{"id": "a", "cmd": "x"}, {"id": "b", "cmd": "x"}]"#),
        (
            "-",
            r#"{"apps": [{"id": "a", "cmd": "x"}, {"id": "b", "cmd": "x"}]}"#,
        ),
        ("-", "[[apps]]\nid = \"a\"\n[[apps]]\nid = \"b\"\n"),
        ("-", "apps:\n- id: a\n- id: b\n"),
        ("-", "- id: a\n- id: b\n"),
        ("-", "id: a\n---\nid: b\n"),
        (
            "-",
            "%YAML 1.2\n--- # one\nid: a\n...\n---\n---\n# none\n---\nid: b\n---\n",
        ),
        ("-", "--- {id: a}\n---\n- id: b\n"),
    ] {
        let apps = parse(file, Path::new(file), text).unwrap();
        let ids: Vec<&str> = apps.iter().map(|app| app.id.as_str()).collect();
        assert_eq!(ids, ["/a", "/b"], "{text}");
    }
}

/// File, text, code, field, and a part of the message.
type Wrong = (
    &'static str,
    &'static str,
    proffer_model::problem::Code,
    &'static str,
    &'static str,
);

fn check_wrong(table: &[Wrong]) {
    for (file, text, code, field, says) in table {
        let problem = problem_of(file, text);
        assert_eq!(problem.code, code.name, "{text}: {problem}");
        assert_eq!(problem.field, *field, "{text}: {problem}");
        assert!(problem.message.contains(says), "{text}: {problem}");
    }
}

#[test]
fn wrong_toml_names_line_and_path() {
    let (unknown, invalid) = (code::FIELD_UNKNOWN, code::FIELD_INVALID);
    check_wrong(&[
        (
            "a.toml",
            "id = \"a\"\ncpu = 1\n",
            unknown,
            "cpu",
            "a.toml:2: unknown field `cpu`",
        ),
        (
            "a.toml",
            "id = \"a\"\ncpus = \"1\"\n",
            invalid,
            "cpus",
            "a.toml:2: invalid type",
        ),
        (
            "a.toml",
            "id = \"a\"\ncpus = nan\n",
            invalid,
            "cpus",
            "a.toml:2: invalid value",
        ),
        (
            "a.toml",
            "[[apps]]\nid = \"a\"\n[[apps]]\ncmd = \"x\"\n",
            code::FIELD_MISSING,
            "apps[1].id",
            "missing",
        ),
        ("a.toml", "id = \n", code::BODY_MALFORMED, "", "a.toml:1:"),
    ]);
}

#[test]
fn wrong_yaml_names_line_and_path() {
    let (unknown, missing) = (code::FIELD_UNKNOWN, code::FIELD_MISSING);
    let (invalid, malformed) = (code::FIELD_INVALID, code::BODY_MALFORMED);
    let bomb = (1..9).fold("a: &a0 [x]\n".to_owned(), |text, i| {
        let before = format!("*a{}, ", i - 1).repeat(10);
        text + &format!("b{i}: &a{i} [{before}]\n")
    });
    let deep = format!("id: a\nargs: {}{}\n", "[".repeat(1000), "]".repeat(1000));
    let many = "- id: a\n".repeat(200_000);
    for (text, code, field, says) in [
        ("id: a\ncpu: 1\n", unknown, "cpu", "a.yaml:2: unknown field"),
        (
            "id: a\n---\nid: b\ncpu: 1\n",
            unknown,
            "cpu",
            "a.yaml:4: unknown field",
        ),
        (
            "- id: a\n- {id: b, healthChecks: [{pat: /}]}\n",
            unknown,
            "[1].healthChecks[0].pat",
            "a.yaml:2:",
        ),
        (
            "id: a\ncpus: '1'\n",
            invalid,
            "cpus",
            "a.yaml:2: invalid type",
        ),
        ("id: a\ncpus: .nan\n", malformed, "", "a.yaml:2:"),
        (
            "id: a\nenv: {PORT: 8080}\n",
            invalid,
            "env.PORT",
            "a.yaml:2: invalid type",
        ),
        (
            "id: a\nenv:\n  ON: true\n",
            invalid,
            "env.ON",
            "expected a string",
        ),
        (
            "id: a\nenv: {A: ~}\n",
            invalid,
            "env.A",
            "expected a string",
        ),
        (
            "id: a\nrequirePorts: yes\n",
            invalid,
            "requirePorts",
            "expected true or false",
        ),
        ("id: a\ninstances: 0x\n", invalid, "instances", "a.yaml:2:"),
        (
            "apps:\n- id: a\n- cmd: x\n",
            missing,
            "apps[1].id",
            "missing",
        ),
        (
            "id: a\ncmd: x\ncmd: y\n",
            malformed,
            "",
            "a.yaml:3: duplicate",
        ),
        (
            "id: a\n---\nid: b\nid: c\n",
            malformed,
            "",
            "a.yaml:4: duplicate",
        ),
        (
            "id: a\nenv: {A: x, 'A': y}\n",
            malformed,
            "",
            "a.yaml:2: duplicate",
        ),
        ("id: *none\n", malformed, "", "a.yaml:1:"),
        (
            "id: a\ncmd: !!python/object x\n",
            malformed,
            "",
            "a.yaml:2:",
        ),
        ("id: [a\n", malformed, "", "a.yaml:"),
        ("id: a\n\tcmd: x\n", malformed, "", "a.yaml:"),
        ("", missing, "id", "no app"),
        ("--- # nothing\n", missing, "id", "no app"),
        ("text\n", invalid, "", "expected an object"),
        (&bomb, malformed, "", "too large by aliases"),
        (&deep, malformed, "", "a.yaml:2:"),
        (&many, malformed, "", "too large"),
    ] {
        let problem = problem_of("a.yaml", text);
        let text = text.get(..60).unwrap_or(text);
        assert_eq!(problem.code, code.name, "{text}: {problem}");
        assert_eq!(problem.field, field, "{text}: {problem}");
        assert!(problem.message.contains(says), "{text}: {problem}");
        assert!(!problem.message.contains('\n'), "{text}: {problem}");
    }
    let many = "---\nid: a\n".repeat(1_001);
    assert_eq!(problem_of("a.yaml", &many).code, code::FIELD_TOO_LONG.name);
}

#[test]
fn yaml_takes_texts_as_they_are_written_and_repeats_what_is_asked_for() {
    let text = "id: a\ncmd: |\n  echo '--- x'\n  exit 0\nuser: no\nlabels: {zip: 0123, time: 12:30, size: 1_000}\n\
        env: &env {A: b}\nhealthChecks:\n- &check {protocol: TCP, intervalSeconds: 1}\n- {<<: *check, portIndex: 1}\n";
    let app = &parse("a.yaml", Path::new("a.yaml"), text).unwrap()[0].body;
    assert_eq!(app["cmd"], "echo '--- x'\nexit 0\n");
    assert_eq!(app["user"], "no");
    let labels = serde_json::json!({"zip": "0123", "time": "12:30", "size": "1_000"});
    assert_eq!(app["labels"], labels);
    let merged = serde_json::json!({"protocol": "TCP", "intervalSeconds": 1, "portIndex": 1});
    assert_eq!(app["healthChecks"][1], merged);
}

#[test]
fn an_image_is_short_for_a_container() {
    for (file, text) in [
        ("a.toml", "id = \"a\"\nimage = \"/srv/a.tar\"\n"),
        ("a.yaml", "id: a\nimage: /srv/a.tar\n"),
        (
            "a.json",
            r#"{"id": "a", "container": {"type": "MESOS", "docker": {"image": "/srv/a.tar"}}}"#,
        ),
    ] {
        let apps = parse(file, Path::new(file), text).unwrap();
        let image = &apps[0].body["container"]["docker"]["image"];
        assert_eq!(image, "/srv/a.tar", "{file}");
        assert!(apps[0].body.get("image").is_none(), "{file}");
    }
    let both = "id: a\nimage: /a\ncontainer: {docker: {image: /b}}\n";
    assert_eq!(problem_of("a.yaml", both).field, "image");
    let problem = problem_of("a.yaml", "id: a\ncontainer: {docker: {imge: /b}}\n");
    assert_eq!(problem.field, "container.docker.imge", "{problem}");
}

#[test]
fn a_slip_of_the_pen_is_told_what_was_meant() {
    for (text, hint) in [
        ("id = \"a\"\ncpu = 1\n", "did you mean cpus?"),
        ("id = \"a\"\nmemory = 1\n", "did you mean mem?"),
        (
            "id = \"a\"\nhealthcheck = 1\n",
            "did you mean healthChecks?",
        ),
        (
            "id = \"a\"\n[[healthChecks]]\npat = \"/\"\n",
            "did you mean path?",
        ),
        (
            "id = \"a\"\nreadiness = 1\n",
            "the fields here are id, cmd, args,",
        ),
        ("id: a\n", "JSON, TOML or YAML"),
    ] {
        let problem = problem_of("a.toml", text);
        assert!(problem.hint.contains(hint), "{text}: {problem}");
    }
    assert_eq!(distance("kitten", "sitting"), 3);
    assert_eq!((distance("", "ab"), distance("ab", "")), (2, 2));
}

#[test]
fn wrong_json_names_line_and_path() {
    let (unknown, missing) = (code::FIELD_UNKNOWN, code::FIELD_MISSING);
    let (invalid, malformed) = (code::FIELD_INVALID, code::BODY_MALFORMED);
    let nested = "[{\"id\": \"/a\",\n \"healthChecks\": [{}, {\"interval\": 5}]}]";
    check_wrong(&[
        (
            "a.json",
            "{\n  \"id\": \"/a\",\n  \"memory\": 5\n}",
            unknown,
            "memory",
            "a.json:3: unknown field `memory`",
        ),
        (
            "a.json",
            nested,
            unknown,
            "[0].healthChecks[1].interval",
            "a.json:2:",
        ),
        ("a.json", "{\n\n", malformed, "", "a.json:3:"),
        ("a.json", "", malformed, "", "a.json:"),
        ("a.json", "[]", missing, "id", "no app"),
        ("a.json", "{\"apps\": []}", missing, "id", "no app"),
        ("a.json", "7", invalid, "", "invalid type"),
        ("a.json", "[null]", invalid, "[0]", "invalid type"),
    ]);
}

#[test]
fn the_same_app_twice_and_files_that_are_none_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.json");
    std::fs::write(&file, r#"{"id": "a", "cmd": "x"}"#).unwrap();
    assert_eq!(read_all(std::slice::from_ref(&file)).unwrap().len(), 1);
    let twice = read_all(&[file.clone(), file.clone()]).unwrap_err();
    assert!(twice.is(code::APP_INVALID), "{twice}");
    let missing = read_all(&[dir.path().join("none.json")]).unwrap_err();
    assert!(missing.is(code::CONFIG_INVALID), "{missing}");
    std::fs::write(&file, vec![b' '; 1024 * 1024 + 1]).unwrap();
    assert!(read_all(&[file]).unwrap_err().is(code::FIELD_TOO_LONG));
}

#[test]
fn the_examples_are_apps() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/examples");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let apps =
            read_all(std::slice::from_ref(&path)).unwrap_or_else(|problem| panic!("{problem}"));
        assert!(!apps.is_empty(), "{}", path.display());
        count += 1;
    }
    assert!(count >= 6, "the examples are gone");
}
