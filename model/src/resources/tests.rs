//! The algebra of resources and their text forms.

use super::*;
use proptest::prelude::*;

fn r(text: &str) -> Resources {
    text.parse().expect(text)
}

#[test]
fn the_text_form_is_read_and_written() {
    assert_eq!(
        r("ports:[2-3,1-1]; mem:8192 ;cpus:0.5").to_string(),
        "cpus:0.5;mem:8192;ports:[1-3]"
    );
    assert!(r("cpus:0").is_empty());
}

#[test]
fn bad_text_names_the_field_and_the_remedy() {
    for (text, code, field) in [
        ("cpus:-1", code::RESOURCES_INVALID, "cpus"),
        ("cpus:0.0001", code::RESOURCES_INVALID, "cpus"),
        ("cpus:NaN", code::RESOURCES_INVALID, "cpus"),
        ("cpus:1e3", code::RESOURCES_INVALID, "cpus"),
        ("cpus:99999999999999999999", code::RESOURCES_INVALID, "cpus"),
        ("cpus:1;cpus:2", code::RESOURCES_INVALID, "cpus"),
        ("ports:[5-1]", code::RANGES_INVALID, "ports"),
        ("ports:[1-5,4-9]", code::RANGES_INVALID, "ports"),
        ("ports:[1]", code::RANGES_INVALID, "ports"),
        ("cpus", code::RESOURCES_INVALID, ""),
    ] {
        let problem = text.parse::<Resources>().expect_err(text);
        assert_eq!(
            (problem.code.as_ref(), problem.field.as_str()),
            (code.name, field),
            "{text}"
        );
        assert!(!problem.hint.is_empty(), "{text}");
    }
}

#[test]
fn minus_never_goes_below_nothing() {
    assert_eq!(
        r("cpus:1;mem:5").minus(&r("cpus:2;mem:1;disk:9")),
        r("mem:4")
    );
    assert_eq!(
        r("ports:[1-9]").minus(&r("ports:[4-5]")),
        r("ports:[1-3,6-9]")
    );
}

fn any_resources() -> impl Strategy<Value = Resources> {
    (
        0u64..5_000,
        0u64..5_000,
        prop::collection::btree_set(0u64..40, 0..20),
    )
        .prop_map(|(cpus, mem, ports)| {
            let mut resources = Resources::new();
            resources
                .insert_scalar(ResourceName::new("cpus").unwrap(), cpus)
                .unwrap();
            resources
                .insert_scalar(ResourceName::new("mem").unwrap(), mem)
                .unwrap();
            resources
                .insert_ranges(
                    ResourceName::new("ports").unwrap(),
                    RangeSet::from_numbers(ports),
                )
                .unwrap();
            resources
        })
}

proptest! {
    #[test]
    fn what_is_taken_can_be_given_back(total in any_resources(), part in any_resources()) {
        if total.contains(&part) {
            prop_assert_eq!(total.minus(&part).plus(&part), total);
        } else {
            prop_assert!(total.first_missing(&part).is_some());
        }
    }

    #[test]
    fn text_survives_a_round_trip(resources in any_resources()) {
        prop_assert_eq!(r(&resources.to_string()), resources);
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,40}") {
        let _ = text.parse::<Resources>();
    }
}
