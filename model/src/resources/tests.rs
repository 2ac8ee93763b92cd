//! The algebra of resources and their text forms.

mod algebra;

use super::*;
use crate::id::{Role, VolumeId};
use crate::quantities::Limits;
use crate::resource_kind::Reservation;

fn r(text: &str) -> Resources {
    text.parse().expect(text)
}

fn name(text: &str) -> ResourceName {
    text.parse().expect(text)
}

fn role(text: &str) -> Role {
    text.parse().expect(text)
}

#[test]
fn the_text_form_is_read_and_written() {
    assert_eq!(
        r("ports:[2-3,1-1]; mem:8192 ;cpus:0.5").to_string(),
        "cpus:0.5;mem:8192;ports:[1-3]"
    );
    assert!(r("cpus:0").is_empty());
    for text in [
        "cpus:4;mem:8192;ports:[31000-32000];zones:{a,b}",
        "cpus(eng):1",
        "cpus(eng)(eng/web,ops,{team:a,why:\"a; b\"}):1.5",
        "cpus(eng,,{team:a}):1",
        "cpus{REV}:6",
        "ports(eng):[1-2]",
        "zones(eng):{\"a b\"}",
        "disk(eng)[logs]:64",
        "disk(eng)[logs,ops]:64",
        "disk(eng)[logs]<SHARED>:64<3>",
        "disk@MOUNT:/mnt/a:100",
        "disk@MOUNT:/mnt/b:100",
        "disk@MOUNT:100<2>;disk@MOUNT:200",
        "disk@MOUNT:\"mnt\":100",
        "disk(eng)@PATH:\"/mnt/a b\"[logs]:100",
        "disk@BLOCK(sda):100",
        "disk@RAW:100",
        "disk@RAW(vol-1):100",
        "disk@RAW(vol-1,fast):100",
        "disk@RAW(,fast):100",
    ] {
        let resources = r(text);
        assert_eq!(resources.to_string(), text);
    }
}

#[test]
fn what_mesos_writes_is_read() {
    for (text, same) in [
        ("cpus(*):4", "cpus:4"),
        ("disk(eng)[logs:path]:64", "disk(eng)[logs]:64"),
        ("disk@MOUNT:100;disk@MOUNT:100", "disk@MOUNT:100<2>"),
    ] {
        assert_eq!(r(text), r(same), "{text}");
    }
}

#[test]
fn bad_text_names_the_field_and_the_remedy() {
    let invalid = code::RESOURCES_INVALID;
    let long = format!("cpus({}a):1", "a/".repeat(10_000));
    let ranges: Vec<_> = (0..100_000)
        .map(|i| format!("{}-{}", 2 * i, 2 * i))
        .collect();
    let ranges = format!("ports:[{}]", ranges.join(","));
    for (text, code, field) in [
        ("cpus:-1", invalid, "cpus"),
        ("cpus:0.0001", invalid, "cpus"),
        ("cpus:NaN", invalid, "cpus"),
        ("cpus:1e3", invalid, "cpus"),
        ("cpus:99999999999999999999", invalid, "cpus"),
        ("cpus:1;cpus:2", invalid, "cpus"),
        ("cpus:1;cpus:[1-2]", invalid, "cpus"),
        ("cpus:1;cpus(eng):[1-2]", invalid, "cpus"),
        ("cpus(eng):1;cpus(eng):1", invalid, "cpus"),
        ("cpus:1<2>", invalid, "cpus"),
        ("cpus:1 2", invalid, "cpus"),
        ("cpus(eng:1", invalid, "cpus"),
        ("cpus\"(eng):1", code::ID_INVALID, ""),
        ("cpus(\"eng):1", invalid, "cpus"),
        ("cpus<SHARED>:1", invalid, "cpus.shared"),
        ("cpus[v]:1", invalid, "cpus.disk"),
        ("cpus@MOUNT:/a:1", invalid, "cpus.disk"),
        ("disk@FLOPPY:1", invalid, "disk"),
        ("disk(eng)[v]:1;disk(eng)[v]:1", invalid, "disk"),
        ("disk(eng)[v]:1<2>", invalid, "disk.copies"),
        ("disk@MOUNT:/a:1;disk@MOUNT:/a:1", invalid, "disk"),
        (
            "cpus(eng)(ops):1",
            code::RESERVATION_INVALID,
            "cpus.reservations[1].role",
        ),
        (
            "cpus(eng)(eng):1",
            code::RESERVATION_INVALID,
            "cpus.reservations[1].role",
        ),
        ("cpus(eng/..):1", code::ID_INVALID, "cpus.role"),
        ("cpus(eng/):1", code::ID_INVALID, "cpus.role"),
        (&long, code::ID_INVALID, "cpus.role"),
        ("zones:{a,a}", invalid, "zones"),
        ("zones:{a", invalid, "zones"),
        ("zones:{\"\"}", invalid, "zones"),
        ("ports:[5-1]", code::RANGES_INVALID, "ports"),
        ("ports:[1-5,4-9]", code::RANGES_INVALID, "ports"),
        ("ports:[1]", code::RANGES_INVALID, "ports"),
        ("ports:[1-5", code::RANGES_INVALID, "ports"),
        (&ranges, code::FIELD_TOO_LONG, "ports"),
        ("cpus", invalid, ""),
    ] {
        let problem = text.parse::<Resources>().expect_err(text);
        let shown: String = text.chars().take(90).collect();
        assert_eq!(
            (problem.code.as_ref(), problem.field.as_str()),
            (code.name, field),
            "{shown}: {problem}"
        );
        assert!(
            !problem.hint.is_empty() || problem.is(code::ID_INVALID),
            "{shown}"
        );
        assert!(problem.message.len() < 400, "{shown}: {problem}");
    }
}

#[test]
fn ordinary_resources_are_small() {
    assert_eq!(size_of::<(ResourceName, Amount)>(), 40);
    assert_eq!(size_of::<Resources>(), 48);
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

#[test]
fn only_what_is_of_one_kind_adds_up() {
    let all = r("cpus:2;cpus(eng):3;cpus{REV}:4;ports:[1-2];ports(eng):[3-4]");
    assert_eq!((all.scalar("cpus"), all.scalar("mem")), (9_000, 0));
    assert_eq!(all.range_set("ports").to_string(), "[1-4]");
    assert!(!all.contains(&r("cpus:3")) && all.contains(&r("cpus:2;cpus(eng):1")));
    assert_eq!(all.flattened(), r("cpus:9;ports:[1-4]"));
    assert!(all.first_missing(&all).is_none());
    let wanted = r("cpus(eng):4");
    let (kind, amount) = all.first_missing(&wanted).expect("there are three");
    assert_eq!(format!("{kind} {amount}"), "cpus(eng) 4");
}

#[test]
fn a_shared_volume_counts_once_however_often_it_is_held() {
    let one = r("disk(eng)[v]<SHARED>:64;disk:1");
    let two = one.plus(&one);
    assert_eq!(two, r("disk(eng)[v]<SHARED>:64<2>;disk:2"));
    assert_eq!(two.scalar("disk"), 66_000);
    assert_eq!(two.flattened(), r("disk:66"));
    assert!(two.contains(&one) && !one.contains(&two));
    assert_eq!(two.minus(&one), one);
    assert_eq!(
        r("disk(eng)[v]<SHARED>:64;disk(eng)[v]<SHARED>:64"),
        two.minus(&r("disk:2"))
    );
}

#[test]
fn parts_are_by_whom_and_what() {
    let all =
        r("cpus:1;cpus(eng):2;cpus(eng)(eng/web):4;cpus(ops):8;mem{REV}:1;disk(eng)[v]<SHARED>:5");
    for (part, expected) in [
        (all.unreserved(), "cpus:1;mem{REV}:1"),
        (
            all.reserved_to(&role("eng")),
            "cpus(eng):2;disk(eng)[v]<SHARED>:5",
        ),
        (all.reserved_to(&role("eng/web")), "cpus(eng)(eng/web):4"),
        (
            all.allocatable_to(&role("eng/web")),
            "cpus:1;cpus(eng):2;cpus(eng)(eng/web):4;mem{REV}:1;disk(eng)[v]<SHARED>:5",
        ),
        (all.allocatable_to(&role("engine")), "cpus:1;mem{REV}:1"),
        (all.revocable(), "mem{REV}:1"),
        (all.shared(), "disk(eng)[v]<SHARED>:5"),
        (
            r("cpus:1;ports(eng):[1-2]").non_scalars(),
            "ports(eng):[1-2]",
        ),
    ] {
        assert_eq!(part, r(expected));
    }
    assert_eq!(all.volumes().count(), 1);
}

#[test]
fn chopping_skips_whole_things_that_are_too_large() {
    let all = r("cpus:4;disk@MOUNT:/a:10;disk@MOUNT:/b:3;disk@PATH:/c:9;ports:[1-2]");
    let quantities = |text: &str| r(text).quantities();
    assert_eq!(
        all.shrink_to(&quantities("cpus:1.5;disk:13")),
        r("cpus:1.5;disk@MOUNT:/b:3;disk@PATH:/c:9;ports:[1-2]")
    );
    assert_eq!(all.shrink_to(&quantities("")), r("ports:[1-2]"));
    let mut limits = Limits::new();
    assert_eq!(all.shrink_to_limits(&limits), all);
    limits.set(name("disk"), 0);
    assert_eq!(all.shrink_to_limits(&limits), r("cpus:4;ports:[1-2]"));
}

#[test]
fn reservations_grow_downwards_and_are_taken_away_from_the_top() {
    let to = |text: &str| Reservation {
        role: role(text),
        principal: Some("ops".parse().expect("an id")),
        labels: Default::default(),
    };
    let eng = r("cpus:1;ports:[1-2]")
        .push_reservation(&to("eng"))
        .expect("free");
    assert_eq!(eng, r("cpus(eng,ops):1;ports(eng,ops):[1-2]"));
    let web = eng.push_reservation(&to("eng/web")).expect("beneath");
    assert_eq!(web.pop_reservation(), Ok(eng.clone()));
    let refused = |problem: Result<Resources, Problem>, field: &str| {
        let problem = problem.expect_err(field);
        assert!(
            problem.is(code::RESERVATION_INVALID) && !problem.hint.is_empty(),
            "{problem}"
        );
        assert_eq!(problem.field, field);
    };
    refused(eng.push_reservation(&to("eng")), "cpus.role");
    refused(eng.push_reservation(&to("ops")), "cpus.role");
    refused(eng.push_reservation(&to("engine")), "cpus.role");
    refused(r("cpus:1").push_reservation(&to("*")), "cpus.role");
    refused(r("cpus{REV}:1").push_reservation(&to("eng")), "cpus");
    refused(r("disk(eng)[v]:1").push_reservation(&to("eng/web")), "disk");
    refused(r("disk(eng)[v]:1").pop_reservation(), "disk");
    refused(r("cpus:1").pop_reservation(), "cpus");
}

#[test]
fn operations_convert_what_is_there() {
    let id: VolumeId = "v".parse().expect("an id");
    let both = |conversion: Result<Conversion, Problem>| {
        let conversion = conversion.expect("good");
        (conversion.from, conversion.to)
    };
    let pair = |from: &str, to: &str| (r(from), r(to));
    for (converted, expected) in [
        (
            Conversion::reserve(&r("cpus(eng,ops):1")),
            pair("cpus:1", "cpus(eng,ops):1"),
        ),
        (
            Conversion::unreserve(&r("cpus(eng)(eng/a):1")),
            pair("cpus(eng)(eng/a):1", "cpus(eng):1"),
        ),
        (
            Conversion::create(&r("disk(eng)[v]:5")),
            pair("disk(eng):5", "disk(eng)[v]:5"),
        ),
        (
            Conversion::create(&r("disk(eng)@MOUNT:/a[v]<SHARED>:5")),
            pair("disk(eng)@MOUNT:/a:5", "disk(eng)@MOUNT:/a[v]<SHARED>:5"),
        ),
        (
            Conversion::destroy(&r("disk(eng)@PATH:/a[v]<SHARED>:5<3>")),
            pair("disk(eng)@PATH:/a[v]<SHARED>:5<3>", "disk(eng)@PATH:/a:5"),
        ),
        (
            Conversion::grow(&r("disk(eng)[v]:5;disk(eng):3"), &id, 2_000),
            pair("disk(eng)[v]:5;disk(eng):2", "disk(eng)[v]:7"),
        ),
        (
            Conversion::shrink(&r("disk(eng)[v]:5"), &id, 2_000),
            pair("disk(eng)[v]:5", "disk(eng)[v]:3;disk(eng):2"),
        ),
    ] {
        assert_eq!(both(converted), expected);
    }
    let conversion = Conversion::grow(&r("disk(eng)[v]:5"), &id, 2_000).expect("a volume");
    let problem = conversion
        .apply(&r("disk(eng)[v]:5;disk(eng):1"))
        .expect_err("too little");
    assert_eq!(problem.field, "disk");
    assert_eq!(
        conversion.apply(&r("disk(eng)[v]:5;disk(eng):3;cpus:1")),
        Ok(r("disk(eng)[v]:7;disk(eng):1;cpus:1"))
    );
    let (invalid, unknown) = (code::VOLUME_INVALID, code::VOLUME_UNKNOWN);
    let most = crate::limits::SCALAR_MILLI_MAX;
    for (converted, code, field) in [
        (Conversion::create(&r("disk[v]:5")), invalid, "disk"),
        (Conversion::create(&r("disk(eng):5")), invalid, "disk"),
        (Conversion::create(&r("cpus(eng):5")), invalid, "cpus"),
        (
            Conversion::create(&r("disk(eng)[v]{REV}:5")),
            invalid,
            "disk",
        ),
        (
            Conversion::create(&r("disk(eng)@RAW(x)[v]:5")),
            invalid,
            "disk",
        ),
        (
            Conversion::create(&r("disk(eng)[v]<SHARED>:5<2>")),
            invalid,
            "disk",
        ),
        (Conversion::destroy(&r("disk(eng):5")), invalid, "disk"),
        (
            Conversion::grow(&r("disk(eng):5"), &id, 1),
            unknown,
            "volume_id",
        ),
        (
            Conversion::grow(&r("disk(eng)[v]<SHARED>:5"), &id, 1),
            invalid,
            "volume_id",
        ),
        (
            Conversion::grow(&r("disk(eng)@MOUNT:/a[v]:5"), &id, 1),
            invalid,
            "volume_id",
        ),
        (
            Conversion::grow(&r("disk(eng)[v]:5;disk(ops)[v]:5"), &id, 1),
            invalid,
            "volume_id",
        ),
        (
            Conversion::grow(&r("disk(eng)[v]:5"), &id, 0),
            invalid,
            "milli",
        ),
        (
            Conversion::grow(&r("disk(eng)[v]:5"), &id, most),
            code::RESOURCES_INVALID,
            "milli",
        ),
        (
            Conversion::shrink(&r("disk(eng)[v]:5"), &id, 5_000),
            invalid,
            "milli",
        ),
        (
            Conversion::shrink(&r("disk(eng)[v]:5"), &id, u64::MAX),
            invalid,
            "milli",
        ),
    ] {
        let problem = converted.expect_err(field);
        assert_eq!(
            (&*problem.code, &*problem.field),
            (code.name, field),
            "{problem}"
        );
    }
}

#[test]
fn sums_stay_within_what_anything_may_be() {
    let most = r("cpus:1000000000");
    let problem = most.checked_plus(&r("cpus:1")).expect_err("too much");
    assert_eq!(problem.field, "cpus");
    assert_eq!(
        most.minus(&r("cpus:1")).checked_plus(&r("cpus:1")),
        Ok(most.clone())
    );
    let mut sum = most.clone();
    for _ in 0..100 {
        sum = sum.plus(&sum);
    }
    assert_eq!(sum.scalar("cpus"), u64::MAX);
}
