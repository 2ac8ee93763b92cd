//! Rules of the house that a machine can hold: arrows between crates, purity of the cores, lengths, heads, links.
//! A rule that a reviewer would say twice belongs here.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use prost_reflect::{DescriptorPool, Kind};

/// Which of our crates each crate may depend on (DESIGN: arrows). `cli` composes the roles.
const ARROWS: &[(&str, &[&str])] = &[
    ("proffer-model", &[]),
    ("proffer-proto", &["model"]),
    ("proffer-server", &["model", "proto"]),
    ("proffer-leader", &["model", "proto"]),
    ("proffer-master-core", &["model"]),
    ("proffer-agent-core", &["model"]),
    ("proffer-services-core", &["model"]),
    (
        "proffer-master",
        &["model", "proto", "server", "leader", "master-core"],
    ),
    (
        "proffer-agent",
        &["model", "proto", "server", "leader", "agent-core"],
    ),
    ("proffer-sdk", &["model", "proto", "leader"]),
    (
        "proffer-services",
        &["model", "proto", "server", "leader", "sdk", "services-core"],
    ),
    ("proffer-discovery", &["model", "server"]),
    (
        "proffer",
        &[
            "model",
            "proto",
            "server",
            "leader",
            "sdk",
            "master",
            // The allocator alone is measured by `bench`.
            "master-core",
            "agent",
            "services",
            "discovery",
        ],
    ),
    // What is asserted of the parsers of all of them.
    (
        "proffer-parsers",
        &[
            "model",
            "proto",
            "server",
            "leader",
            "master",
            "agent",
            "services",
            "services-core",
            "discovery",
        ],
    ),
];

/// Packages in the lock file; a dependency too many is noticed here.
const PACKAGES_MAX: usize = 350;
const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;
/// Tests are tables and stories; they are read from top to bottom.
const TEST_LINES_MAX: usize = 200;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("cli has a parent")
        .to_path_buf()
}

/// Every file git tracks or would track, with these endings, relative to the root.
fn files(endings: &[&str]) -> Vec<PathBuf> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git runs");
    let listed = String::from_utf8(output.stdout).expect("paths are text");
    let mut files: Vec<PathBuf> = listed
        .lines()
        .filter(|line| endings.iter().any(|ending| line.ends_with(ending)))
        .map(PathBuf::from)
        .filter(|path| root().join(path).is_file())
        .collect();
    files.sort();
    assert!(
        !files.is_empty(),
        "no file ends in {endings:?}: this test would hold nothing"
    );
    files
}

fn text(path: &Path) -> String {
    fs::read_to_string(root().join(path))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn assert_none(faults: &[String], rule: &str) {
    assert!(faults.is_empty(), "{rule}\n  {}", faults.join("\n  "));
}

#[test]
fn crates_depend_only_along_the_arrows() {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("metadata is JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    assert_eq!(
        packages.len(),
        allowed.len(),
        "a crate is missing from ARROWS, or gone"
    );
    let mut faults = Vec::new();
    for package in packages {
        let name = package["name"].as_str().expect("name");
        let may = allowed
            .get(name)
            .unwrap_or_else(|| panic!("{name} is not in ARROWS"));
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let on = dependency["name"].as_str().expect("name");
            let is_dev = dependency["kind"].as_str() == Some("dev");
            let Some(ours) = on.strip_prefix("proffer-") else {
                continue;
            };
            if !is_dev && !may.contains(&ours) {
                faults.push(format!("{name} depends on {on}"));
            }
        }
        let is_core = name.ends_with("-core") || name == "proffer-model";
        let foreign = package["dependencies"]
            .as_array()
            .expect("dependencies")
            .iter()
            .filter(|dependency| {
                dependency["kind"].as_str() != Some("dev")
                    && !dependency["name"]
                        .as_str()
                        .expect("name")
                        .starts_with("proffer-")
            });
        for dependency in foreign.filter(|_| is_core) {
            faults.push(format!(
                "the pure crate {name} depends on {}",
                dependency["name"]
            ));
        }
    }
    assert_none(
        &faults,
        "dependencies go only along the arrows of ARCHITECTURE.md",
    );
}

#[test]
fn pure_crates_do_no_io_and_read_no_clock() {
    const FORBIDDEN: &[&str] = &[
        "std::fs",
        "std::net",
        "std::thread",
        "std::process",
        "std::env",
        "Instant",
        "SystemTime",
        "HashMap",
        "HashSet",
        "async fn",
        "tokio",
        "tracing",
        "println!",
        "f32",
        "f64",
    ];
    // Never gone through, and hashed alike in every process.
    const ORDERLESS: (&str, &str) = ("master/core/src/allocation/agents.rs", "HashMap");
    let mut faults = Vec::new();
    for path in files(&[".rs"]) {
        let is_pure = [
            "model/src",
            "master/core/src",
            "agent/core/src",
            "frameworks/services/core/src",
        ]
        .iter()
        .any(|folder| path.starts_with(folder));
        let is_test = path.to_string_lossy().contains("test");
        if !is_pure || is_test {
            continue;
        }
        let source = text(&path);
        let code = source
            .split("#[cfg(test)]")
            .next()
            .expect("split gives one part");
        for (number, line) in code.lines().enumerate() {
            let line = line.split("//").next().expect("split gives one part");
            for word in FORBIDDEN.iter().filter(|word| has_word(line, word)) {
                if path.ends_with(ORDERLESS.0) && *word == ORDERLESS.1 {
                    continue;
                }
                faults.push(format!("{}:{}: {word}", path.display(), number + 1));
            }
        }
    }
    assert_none(
        &faults,
        "a pure crate has no I/O, clock, randomness, hash order, logging or floats",
    );
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let boundary = |c: Option<char>| !c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        boundary(line[..at].chars().next_back()) && boundary(line[at + word.len()..].chars().next())
    })
}

#[test]
fn files_are_short_and_begin_with_what_they_are_for() {
    let mut faults = Vec::new();
    for path in files(&[".rs"]) {
        let source = text(&path);
        let lines = source.lines().count();
        if lines > FILE_LINES_MAX {
            faults.push(format!(
                "{}: {lines} lines; the limit is {FILE_LINES_MAX}",
                path.display()
            ));
        }
        if !source.starts_with("//!") {
            faults.push(format!(
                "{}: does not begin with a `//!` head",
                path.display()
            ));
        }
    }
    assert_none(&faults, "files are short and say what they decide");
}

#[test]
fn functions_are_short() {
    let mut faults = Vec::new();
    for path in files(&[".rs"]) {
        let is_test =
            path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs");
        let limit = if is_test {
            TEST_LINES_MAX
        } else {
            FUNCTION_LINES_MAX
        };
        let source = text(&path);
        let lines: Vec<&str> = source.lines().collect();
        for (start, line) in lines.iter().enumerate() {
            let code = line.trim_start();
            let indent = line.len() - code.len();
            let modifiers = [
                "pub(crate) ",
                "pub(super) ",
                "pub ",
                "const ",
                "async ",
                "unsafe ",
            ];
            let bare = modifiers.iter().fold(code, |rest, modifier| {
                rest.strip_prefix(modifier).unwrap_or(rest)
            });
            if !bare.starts_with("fn ") {
                continue;
            }
            // A function of a trait without a body has no end to look for.
            let ends = |line: &&&str| line.ends_with(['{', '}', ';']);
            if lines[start..]
                .iter()
                .find(ends)
                .is_some_and(|line| line.ends_with(';'))
            {
                continue;
            }
            let close = format!("{}}}", " ".repeat(indent));
            let length = lines[start..]
                .iter()
                .position(|l| *l == close)
                .map_or(1, |n| n + 1);
            if length > limit {
                faults.push(format!("{}:{}: {length} lines", path.display(), start + 1));
            }
        }
    }
    assert_none(
        &faults,
        "a function has at most 70 lines, a test at most 200",
    );
}

#[test]
fn nothing_is_left_undone_or_skipped() {
    // Spelled in two parts, so that this file does not find itself.
    let words = [
        concat!("#[igno", "re"),
        concat!("should_", "panic"),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
        concat!("thread::", "sleep"),
    ];
    let mut faults = Vec::new();
    for path in files(&[".rs", ".proto", ".md", ".toml"]) {
        for (number, line) in text(&path).lines().enumerate() {
            let is_ban = path.ends_with("clippy.toml");
            for word in words.iter().filter(|word| line.contains(**word) && !is_ban) {
                faults.push(format!("{}:{}: {word}", path.display(), number + 1));
            }
        }
    }
    assert_none(
        &faults,
        "nothing is left for later in the code, no test is skipped",
    );
}

#[test]
fn every_crate_but_the_agent_forbids_unsafe_code() {
    let mut faults = Vec::new();
    for path in files(&["src/lib.rs", "src/main.rs"]) {
        if !path.starts_with("agent/src") && !text(&path).contains("#![forbid(unsafe_code)]") {
            faults.push(path.display().to_string());
        }
    }
    assert_none(&faults, "crate heads forbid unsafe code");
}

#[test]
fn every_problem_code_has_a_section() {
    let page = text(Path::new("docs/errors.md"));
    let sections: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`'))
        .collect();
    let codes: Vec<&str> = proffer_model::code::ALL
        .iter()
        .map(|code| code.name)
        .collect();
    let missing: Vec<String> = codes
        .iter()
        .filter(|c| !sections.contains(c))
        .map(|c| format!("{c} has no section"))
        .collect();
    let stale: Vec<String> = sections
        .iter()
        .filter(|s| !codes.contains(s))
        .map(|s| format!("{s} is no code"))
        .collect();
    assert_none(
        &[missing, stale].concat(),
        "docs/errors.md has one section for each code",
    );
}

#[test]
fn links_in_documents_lead_somewhere() {
    let mut faults = Vec::new();
    for path in files(&[".md"]) {
        let source = text(&path);
        for part in source.split("](").skip(1) {
            let target = part
                .split([')', '#', ' '])
                .next()
                .expect("split gives one part");
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let folder = path.parent().expect("a file has a folder");
            if !root().join(folder).join(target).exists() {
                faults.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert_none(&faults, "links in documents lead to files that exist");
}

#[test]
fn every_call_of_the_public_api_has_a_row_that_says_when_and_why() {
    let guides = ["docs/write-a-framework.md", "docs/executors.md"];
    let guides = guides.map(|name| text(&root().join(name))).join("\n");
    let rows: Vec<&str> = guides
        .lines()
        .filter(|line| line.starts_with('|'))
        .collect();
    let pool = DescriptorPool::decode(proffer_proto::DESCRIPTORS).expect("our own descriptors");
    let mut names = Vec::new();
    for (service, calls) in [
        ("Scheduler", "SessionCall"),
        ("FrameworkState", ""),
        ("Executor", "ExecutorCall"),
    ] {
        let of = pool.get_service_by_name(&format!("proffer.v1.{service}"));
        let of = of.expect("a service");
        let methods = of.methods().map(|it| it.name().to_owned());
        names.extend(methods.map(|name| match service {
            "FrameworkState" => name,
            _ => format!("{service}.{name}"),
        }));
        let calls = pool.get_message_by_name(&format!("proffer.v1.{calls}"));
        let calls = calls.and_then(|calls| calls.oneofs().find(|one| one.name() == "call"));
        names.extend(calls.iter().flat_map(|one| one.fields()).map(|field| {
            match (service, field.kind()) {
                ("Scheduler", Kind::Message(message)) => message.name().to_owned(),
                _ => field.name().to_owned(),
            }
        }));
    }
    assert!(names.len() > 20, "{names:?}");
    let has_row = |name: &&String| rows.iter().any(|row| row.contains(&format!("`{name}`")));
    let faults: Vec<String> = names
        .iter()
        .filter(|name| !has_row(name))
        .cloned()
        .collect();
    assert_none(&faults, "each call of the API has a row in the guides");
}

#[test]
fn promises_in_the_specification_name_tests_that_exist() {
    let sources: String = files(&[".rs"]).iter().map(|path| text(path)).collect();
    let page = text(Path::new("docs/specification.md"));
    let mut faults = Vec::new();
    let mut named = 0;
    for (number, line) in page.lines().enumerate() {
        for name in line
            .split('`')
            .skip(1)
            .step_by(2)
            .filter_map(|quoted| quoted.strip_prefix("test:"))
        {
            named += 1;
            let function = name.rsplit("::").next().expect("split gives one part");
            if !sources.contains(&format!("fn {function}(")) {
                faults.push(format!("docs/specification.md:{}: {name}", number + 1));
            }
        }
    }
    assert!(named > 0, "the specification names no test");
    assert_none(&faults, "each test that the specification names exists");
}

#[test]
fn the_house_has_its_rooms_and_no_others() {
    const ROOMS: &[&str] = &[
        ".ci",
        ".config",
        "agent",
        "cli",
        "config",
        "docs",
        "frameworks",
        "master",
        "model",
        "proto",
        "server",
        "tests",
    ];
    let mut found: Vec<String> = files(&[""])
        .iter()
        .filter(|path| path.components().count() > 1)
        .map(|path| {
            path.components()
                .next()
                .expect("not empty")
                .as_os_str()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    found.dedup();
    assert_eq!(found, ROOMS);
    let lock = text(Path::new("Cargo.lock"));
    let packages = lock.lines().filter(|line| *line == "[[package]]").count();
    assert!(
        packages <= PACKAGES_MAX,
        "{packages} packages in Cargo.lock; the limit is {PACKAGES_MAX}"
    );
}
