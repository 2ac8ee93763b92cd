//! Roles, ranges and names as hostile or hasty senders give them: refused with the path of the field. A task with all that is fetched
//! and found.

use proffer_model::code;
use proffer_model::limits::RANGES_MAX;
use proffer_model::{Command, Discovery, DiscoveryPort, Fetch, Resources, TaskSpec, Visibility};

use super::refusals::assert_refused;
use crate::{decode_agent_description, decode_call, v1};

fn demand(role: &str, resources: v1::Resources) -> v1::SessionCall {
    let shape = v1::Shape {
        resources: Some(resources),
        ..v1::Shape::default()
    };
    let entry = v1::DemandEntry {
        id: "e".into(),
        count: 1,
        shape: Some(shape),
        ..v1::DemandEntry::default()
    };
    let demand = v1::SetDemand {
        role: role.into(),
        generation: 1,
        entries: vec![entry],
    };
    v1::SessionCall {
        request_id: 7,
        epoch: None,
        call: Some(v1::session_call::Call::SetDemand(demand)),
    }
}

fn ports(ranges: &[(u64, u64)]) -> v1::Resources {
    let ranges = ranges.iter();
    let ranges = ranges.map(|(begin, end)| v1::Range {
        begin: *begin,
        end: *end,
    });
    let ports = v1::Ranges {
        name: "ports".into(),
        ranges: ranges.collect(),
    };
    v1::Resources {
        ranges: vec![ports],
        ..v1::Resources::default()
    }
}

#[test]
fn roles_that_are_no_paths_are_refused() {
    let deep = vec!["a"; 10_000].join("/");
    for role in [
        "eng/..",
        "../eng",
        "eng/./web",
        "eng/",
        "/eng",
        "eng//web",
        &deep,
    ] {
        let decoded = decode_call(demand(role, ports(&[(1, 2)])));
        assert_refused(decoded, code::ID_INVALID.name, "set_demand.role");
    }
    decode_call(demand("eng/web", ports(&[(1, 2)]))).expect("a path");
}

#[test]
fn ranges_that_are_reversed_overlap_or_are_too_many_are_refused() {
    let many: Vec<(u64, u64)> = (0..100_000).map(|i| (2 * i, 2 * i)).collect();
    let most = &many[..RANGES_MAX];
    let (invalid, too_long) = (code::RANGES_INVALID.name, code::FIELD_TOO_LONG.name);
    for (ranges, code) in [
        (&[(2, 1)][..], invalid),
        (&[(1, 5), (5, 9)], invalid),
        (&[(1, 5), (1, 5)], invalid),
        (&[(0, u64::MAX), (7, 7)], invalid),
        (&many, too_long),
    ] {
        let decoded = decode_call(demand("eng", ports(ranges)));
        let field = "set_demand.entries[0].shape.resources.ports";
        assert_refused(decoded, code, field);
        let description = v1::AgentDescription {
            host: "h".into(),
            address: "h:1".into(),
            resources: Some(ports(ranges)),
            ..v1::AgentDescription::default()
        };
        assert_refused(
            decode_agent_description(description),
            code,
            "resources.ports",
        );
    }
    decode_call(demand("eng", ports(most))).expect("as many as may be");
    decode_call(demand("eng", ports(&[(0, u64::MAX)]))).expect("all numbers");
}

#[test]
fn a_name_that_is_given_twice_is_refused() {
    let mut twice = ports(&[(1, 2)]);
    let again = twice.ranges[0].clone();
    twice.ranges.push(again);
    let field = "set_demand.entries[0].shape.resources.ports";
    let decoded = decode_call(demand("eng", twice));
    assert_refused(decoded, code::RESOURCES_INVALID.name, field);
    let scalar = |name: &str, milli| v1::Scalar {
        name: name.into(),
        milli,
    };
    for scalars in [
        vec![scalar("cpus", 1), scalar("cpus", 1)],
        vec![scalar("cpus", u64::MAX)],
        vec![scalar("cpus", u64::MAX), scalar("cpus", u64::MAX)],
    ] {
        let resources = v1::Resources {
            scalars,
            ..v1::Resources::default()
        };
        let decoded = decode_call(demand("eng", resources));
        let field = "set_demand.entries[0].shape.resources.cpus";
        assert_refused(decoded, code::RESOURCES_INVALID.name, field);
    }
}

/// A task with what is put into its sandbox and as what it is to be found, and nothing that matters else.
pub(super) fn found() -> TaskSpec {
    let words = std::collections::BTreeMap::from([("k".to_owned(), "v".to_owned())]);
    let fetch = Fetch {
        output: Some("dir/file".to_owned()),
        is_extracted: true,
        is_cached: true,
        sha256: Some("0".repeat(64)),
        ..Fetch::new("https://h/a.tgz?x")
    };
    let discovery = Discovery {
        name: "web".to_owned(),
        visibility: Visibility::External,
        labels: words.clone(),
        ports: vec![DiscoveryPort {
            number: 70_000,
            name: "http".to_owned(),
            protocol: "tcp".to_owned(),
            visibility: Some(Visibility::Framework),
            labels: words,
        }],
        ..Discovery::default()
    };
    let id = "t".parse().expect("an id");
    let command = Command::Shell("true".to_owned());
    TaskSpec {
        fetch: vec![fetch, Fetch::new("/opt/file")],
        discovery: Some(discovery.into()),
        ..TaskSpec::new(id, command, Resources::new())
    }
}
