//! Files of apps, good and bad.

use super::*;

fn problem_of(file: &str, text: &str) -> Problem {
    parse(file, Path::new(file), text).expect_err(text)
}

#[test]
fn json_and_toml_of_the_same_app_are_the_same() {
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
    let apps = parse("a.json", Path::new("a.json"), json).unwrap();
    assert_eq!(apps, parse("a.toml", Path::new("a.toml"), toml).unwrap());
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
            "id = \"a\"\ncontainer = 1\n",
            "the fields here are id, cmd, args,",
        ),
        ("id: a\n", "JSON or TOML"),
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
    assert!(count >= 4, "the examples are gone");
}
