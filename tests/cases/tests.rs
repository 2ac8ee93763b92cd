//! The runner itself: what it understands, and that a case that must fail does, on its line.

use super::amounts::Amounts;
use super::blocks::{self, Plays};
use super::compile::{Refusal, SECOND_NS};
use super::steps::{self, Step};
use super::{On, allocator_folder, given_folder, play_files};

/// Plays one file on the model; the reports of failures.
fn play(text: &str) -> Vec<String> {
    play_files(&[("x.md".to_owned(), text.to_owned())], On::Model).1
}

fn play_steps(steps: &str) -> Vec<String> {
    play(&format!("**name**\n```case alloc\n{steps}\n```\n"))
}

fn parse(steps: &str) -> Result<Vec<Step>, String> {
    let text = format!("```case alloc\n{steps}\n```\n");
    let found = blocks::find("x.md", &text).map_err(|fault| fault.message)?;
    let parsed = steps::parse(&found[0]).map_err(|fault| fault.message)?;
    Ok(parsed.into_iter().map(|(_, step)| step).collect())
}

#[test]
fn the_cases_say_what_the_plain_model_of_mesos_does() {
    let files = blocks::read_folder(&allocator_folder()).expect("the folder is read");
    let (blocks, failures) = play_files(&files, On::Model);
    assert!(blocks > 150, "{blocks} blocks");
    assert!(
        failures.is_empty(),
        "{} of {blocks}\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn a_folder_is_found_from_the_root_of_the_workspace_and_where_it_is_said_to_be() {
    let cases = |given: &str| blocks::read_folder(&given_folder(given)).map(|files| files.len());
    let all = blocks::read_folder(&allocator_folder()).map(|files| files.len());
    assert_eq!(cases("tests/cases"), all);
    assert_eq!(cases("../tests/cases"), all);
    let whole = std::path::absolute(allocator_folder()).expect("a path");
    assert_eq!(cases(&whole.display().to_string()), all);
    let problem = cases("no/such/folder").expect_err("it is not there");
    assert!(problem.starts_with("no/such/folder"), "{problem}");
}

#[test]
fn a_case_that_must_fail_fails_on_its_line() {
    let text = "# A heading\n\n**D99 wrong** for a reason\n```case alloc\nfw f r\n\n# a comment\nagent A cpus:1 mem:100\n=> f r A cpus:2 mem:100\ntick 1\n=> none\n```\n";
    let reports = play(text);
    assert_eq!(reports.len(), 1);
    for part in [
        "x.md:9:",
        "[D99 wrong for a reason]",
        "(seed 0)",
        "expected: f r A cpus:2 mem:100",
        "came:     f r A cpus:1 mem:100",
    ] {
        assert!(
            reports[0].contains(part),
            "{part:?} is not in {}",
            reports[0]
        );
    }
    let sorter = "```case sorter\ntotal cpus:10\nadd b 1\nadd a 2\nsort => a b\n```\n";
    let reports = play(sorter);
    assert!(reports[0].contains("x.md:5:"), "{}", reports[0]);
    // Right in most orders of agents, wrong in some: every seed counts.
    let chance = "batch\nagents 8 cpus:1 mem:100\nfw f r\nfw g s\nrun\n=> offers 8\ndecline f N00 r -\ntick 1\n=> offers 1";
    let reports = play_steps(chance);
    assert!(reports[0].contains("x.md:11:"), "{}", reports[0]);
    assert!(!reports[0].contains("(seed 0)"), "{}", reports[0]);
}

#[test]
fn each_expectation_fails_when_it_is_not_met_and_holds_when_it_is() {
    let steps = "batch\nagent A cpus:1 mem:100\nagent B cpus:1 mem:100\nagent C ports:[1-2] cpus:4 mem:1\nfw f r\nrun\n";
    let rest = "=> f r C cpus:4 mem:1 ports:[1-2]";
    for (expected, is_met) in [
        ("=> offers 3", true),
        ("=> offers 2", false),
        ("=> offers 4", false),
        ("=> none", false),
        ("=> f r A cpus:1 mem:100", false),
        ("=> f r A cpus:1 mem:100\n=> offers 3", true),
        ("=> f r A cpus:1\n=> offers 3", false),
        (
            "=> f r A cpus:1 mem:100\n=> f r B mem:100 cpus:1\n\n=> f r C cpus:4 mem:1 ports:[1-1,2-2]",
            true,
        ),
        (
            "=> f r A cpus:1 mem:100\n=> f r A mem:100 cpus:1\n=> f r C cpus:4 mem:1 ports:[1-2]",
            false,
        ),
        ("=> totals f r offers=3 cpus:6 mem:201 ports:[1-2]", true),
        ("=> totals f r cpus:6 mem:201 ports:[1-2]", true),
        ("=> totals f r offers=3", true),
        ("=> totals f r offers=2", false),
        ("=> totals f r offers=3 cpus:6 mem:200 ports:[1-2]", false),
        ("=> totals g r offers=0\n=> offers 3", true),
        ("=> totals g r offers=0", false),
        (
            "=> one-of A C : f r cpus:1 mem:100\n=> one-of A B : f r cpus:1 mem:100\n=> f r C cpus:4 mem:1 ports:[1-2]",
            true,
        ),
        (
            "=> one-of A: f r cpus:1 mem:100\n=> one-of B A C: f r cpus:1 mem:100\n=> f r C cpus:4 mem:1 ports:[1-2]",
            true,
        ),
        (
            "=> one-of A C : f r cpus:1 mem:100\n=> one-of A C : f r cpus:1 mem:100\n=> f r C cpus:4 mem:1 ports:[1-2]",
            false,
        ),
        ("=> one-of A B : f r cpus:1 mem:100", false),
        ("=> one-of A B : f r cpus:1 mem:100\n=> offers 3", true),
    ] {
        let reports = play_steps(&format!("{steps}{expected}"));
        assert_eq!(reports.is_empty(), is_met, "{expected}: {reports:?}");
    }
    let taken = play_steps(&format!("{steps}=> offers 3\n{rest}\ntick 1\n=> none"));
    assert!(taken.is_empty(), "{taken:?}");
    let nothing = play_steps("=> none\n=> offers 3");
    assert!(nothing[0].contains("x.md:3:"), "{nothing:?}");
}

#[test]
fn what_is_not_understood_names_its_line() {
    for bad in [
        "agnet A cpus:1",
        "agent",
        "agent A cpus",
        "agent A cpus:x",
        "agent A cpus:-1",
        "agent A cpus:0.0001",
        "agent A cpus{GPU}:1",
        "agent A disk@TAPE:1",
        "agent A ports:[9-1]",
        "agent A ports:[1-",
        "agent A cpus:1 used f r cpus:1",
        "agent A cpus:1 | f r cpus:1",
        "agent A cpus:1 | used f",
        "agents x cpus:1",
        "fw f",
        "fw f r caps=TELEPATHY",
        "fw f r color=red",
        "fw f r suppressed=s",
        "fw f /r",
        "batch now",
        "run 2",
        "tick",
        "tick -1",
        "tick soon",
        "interval 0",
        "minalloc",
        "decline f A r",
        "decline f A r x cpus:1",
        "quota q",
        "quota q G=cpus",
        "quota q G=cpus:1,cpus:2 L=-",
        "quota q G=cpus(r):1 L=-",
        "quota q G=cpus:1 G=cpus:2",
        "quota q G=same L=same",
        "weight q 0",
        "weight q -1",
        "weight q",
        "suppress",
        "revive f ..",
        "disconnect f g",
        "convert f A r cpus:1",
        "=>",
        "=> maybe",
        "=> f r A",
        "=> offers many",
        "=> totals f r",
        "=> one-of A B f r cpus:1",
        "sort => a",
    ] {
        let reports = play_steps(&format!("tick 1\n{bad}\ntick 1"));
        assert!(
            reports.len() == 1 && reports[0].contains("x.md:4:"),
            "{bad}: {reports:?}"
        );
    }
    for bad in [
        "total cpus",
        "add a x",
        "add a b c",
        "weight a 0",
        "sort a b",
        "alloc a 1",
        "agent A cpus:1",
    ] {
        let reports = play(&format!("```case sorter\ntotal cpus:1\n{bad}\n```\n"));
        assert!(
            reports.len() == 1 && reports[0].contains("x.md:3:"),
            "{bad}: {reports:?}"
        );
    }
}

#[test]
fn steps_that_cannot_be_are_faults_and_not_passed_over() {
    let start = "agent A cpus:1 mem:100\nfw f r\n";
    for bad in [
        "agent A cpus:1",
        "fw f s",
        "rmagent B",
        "setagent B cpus:1",
        "suppress g",
        "revive g",
        "disconnect g",
        "decline f A r - cpus:2",
        "decline f A s - cpus:1",
        "convert f A r cpus:2 -> cpus(r):2",
        "convert - A cpus:1 -> cpus(r):1",
        "minalloc none",
    ] {
        let reports = play_steps(&format!("{start}{bad}"));
        assert!(
            reports.len() == 1 && reports[0].contains("x.md:5:"),
            "{bad}: {reports:?}"
        );
    }
}

#[test]
fn one_meaning_may_be_written_in_several_ways() {
    for (one, other) in [
        (
            "agent A cpus:1 mem:100",
            "\tagent   A  mem:100 cpus:1.000   # comment",
        ),
        ("agent A cpus:2", "agent A cpus:1 cpus:1 disk:0 mem(r):0"),
        ("agent A cpus:1", "agent A cpus(*):1"),
        ("agent A cpus(r){REV}:1", "agent A cpus{rev}(r):1"),
        ("agent A disk(r)@MOUNT:1", "agent A disk@mount(r):1"),
        ("agent A ports:[1-2,4-4]", "agent A ports:[4, 1 - 2]"),
        (
            "agent A cpus:3 | used f r cpus:1 | used g s cpus:1",
            "agent A cpus:3|used f r cpus:1|used g s cpus:1",
        ),
        (
            "fw f a,b caps=GPU,REVOCABLE inactive",
            "fw f a, b inactive caps=revocable_resources,GPU_RESOURCES",
        ),
        ("fw f a,b", "fw f a b"),
        ("batch\nfw f r", "fw_batch f r"),
        ("batch", "fw_batch"),
        ("fw f r\n=> none", "fw f r => none"),
        (
            "fw f r\n=> none",
            "fw f r (a remark)\n\n=> none — and one more",
        ),
        (
            "quota q G=cpus:1,mem:2 L=cpus:1,mem:2",
            "quota q G=cpus:1,mem:2 L=same",
        ),
        ("quota q G=cpus:1,mem:2 L=same", "quota q cpus:1 mem:2"),
        ("quota q G=cpus:1,mem:2 L=same", "quota q G=cpus:1,mem:2"),
        ("quota q G=- L=cpus:1,mem:0", "quota q L=cpus:1,mem:0"),
        ("quota q G=cpus:0 L=-", "quota q -"),
        ("quota q G=cpus:1 L=-", "quota q L=- G=cpus:1"),
        ("quota q G=cpus:1,mem:2 L=-", "quota q G=cpus:1, mem:2 L=-"),
        ("weight q 0.1", "weight q .1"),
        ("suppress f a b", "suppress f a,b"),
        ("tick 0.5", "tick 0.500s"),
        ("decline f A r 5 cpus:1", "decline f A r 5.0 cpus:1"),
    ] {
        let (a, b) = (parse(one), parse(other));
        assert!(a.is_ok() && a == b, "{one}: {a:?}\n{other}: {b:?}");
    }
    assert_ne!(
        Amounts::parse(&["disk@MOUNT:50", "disk@MOUNT:50"]),
        Amounts::parse(&["disk@MOUNT:100"]),
        "two whole disks are two"
    );
}

#[test]
fn blocks_are_found_with_their_names_and_marks() {
    let text = "# H\n```rust\nfn x() {}\n```\n**S01 [M] one** (X)\n  ```case  sorter\n  new a\n  ```\n~~~case alloc differs: a reason\ntick 1\n~~~\n### Two\n````case alloc ours\n// nothing\n````\n(after)\n";
    let found = blocks::find("x.md", text).expect("it is understood");
    let heads: Vec<(&str, &Plays)> = found.iter().map(|b| (b.name.as_str(), &b.plays)).collect();
    let reason = Plays::Theirs("a reason".to_owned());
    let expected = [
        ("S01 [M] one (X)", &Plays::Both),
        ("S01 [M] one (X)", &reason),
        ("Two", &Plays::Ours),
    ];
    assert_eq!(heads, expected);
    assert_eq!(found[0].lines, [(7, "new a".to_owned())]);
    for bad in [
        "```case alloc\ntick 1\n",
        "```case\n```\n",
        "```case tree\n```\n",
        "```case alloc differs\n```\n",
        "```case alloc sometimes\n```\n",
    ] {
        let fault = blocks::find("x.md", bad).expect_err(bad);
        assert_eq!(fault.line, 1, "{bad}");
    }
    assert_eq!(
        play("```case alloc\ntick 1\n").len(),
        1,
        "an open block is a failure"
    );
}

#[test]
fn filters_end_as_mesos_ends_them() {
    let second = SECOND_NS;
    let year = 365 * 24 * 3_600 * second;
    for (refusal, now, interval, next_round, ends) in [
        ("0", 0, second, second, None),
        ("-0", 0, second, second, None),
        ("2", 0, second, second, Some(2 * second)),
        ("1", 0, second, second, Some(second + 1)),
        ("0.001", 0, second, second, Some(second + 1)),
        ("-7", 0, second, second, Some(5 * second)),
        ("1", second / 2, second, second, Some(second * 3 / 2)),
        ("5", 0, 60 * second, 60 * second, Some(60 * second + 1)),
        ("99999999999", 0, second, second, Some(year)),
        ("31536000", 0, second, second, Some(year)),
    ] {
        let refusal_ends = Refusal::parse(refusal).map(|r| r.ends_at(now, interval, next_round));
        assert_eq!(refusal_ends, Ok(ends), "{refusal} at {now}");
    }
    assert!(Refusal::parse("soon").is_err());
}
