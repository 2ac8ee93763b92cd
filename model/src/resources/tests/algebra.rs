//! What holds for all resources.

use super::*;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Kinds that meet often, each with what its amounts are.
const KINDS: &[(&str, &str)] = &[
    ("cpus", "scalar"),
    ("mem", "scalar"),
    ("ports", "ranges"),
    ("zones", "set"),
    ("cpus(eng)", "scalar"),
    ("cpus(eng)(eng/web,ops,{a:b})", "scalar"),
    ("cpus{REV}", "scalar"),
    ("ports(eng)", "ranges"),
    ("zones(ops)", "set"),
    ("disk", "scalar"),
    ("disk@PATH:/a", "scalar"),
    ("disk(eng)@PATH:/a[p]", "one"),
    ("disk@MOUNT", "many"),
    ("disk@MOUNT:/m", "one"),
    ("disk@BLOCK", "many"),
    ("disk@RAW(,fast)", "scalar"),
    ("disk(eng)[v]", "one"),
    ("disk(eng)[s]<SHARED>", "copies"),
    ("disk(eng)@MOUNT:/n[t,ops]<SHARED>", "copies"),
];

fn one_item() -> impl Strategy<Value = String> {
    (select(KINDS), 1u32..9, 1u32..4, any::<u8>()).prop_map(|((kind, form), size, copies, bits)| {
        let few = |write: &dyn Fn(u8) -> String| {
            let on = (0..8).filter(|bit| bits & (1 << bit) != 0);
            on.map(write).collect::<Vec<_>>().join(",")
        };
        match form {
            "scalar" => format!("{kind}:{size}.25"),
            "ranges" => format!("{kind}:[{}]", few(&|n| format!("{n}-{n}"))),
            "set" => format!("{kind}:{{{}}}", few(&|n| format!("z{n}"))),
            "one" => format!("{kind}:64"),
            "many" => format!("{kind}:{size}<{copies}>"),
            _ => format!("{kind}:64<{copies}>"),
        }
    })
}

/// As someone gives them: each kind once.
fn given() -> impl Strategy<Value = Resources> {
    prop::collection::vec(one_item(), 0..9).prop_map(|items| {
        let mut out = Resources::new();
        for item in items {
            for (kind, amount) in r(&item).iter() {
                // What is there already is left out.
                let _ = out.insert(kind.into_owned(), amount.clone());
            }
        }
        out
    })
}

/// As they come about: sums.
fn any_resources() -> impl Strategy<Value = Resources> {
    prop::collection::vec(given(), 1..4).prop_map(|parts| {
        parts
            .iter()
            .fold(Resources::new(), |sum, part| sum.plus(part))
    })
}

proptest! {
    #[test]
    fn sums_do_not_depend_on_order(a in any_resources(), b in any_resources(), c in any_resources()) {
        prop_assert_eq!(a.plus(&b), b.plus(&a));
        prop_assert_eq!(a.plus(&b).plus(&c), a.plus(&b.plus(&c)));
        prop_assert_eq!(&a.plus(&Resources::new()), &a);
        prop_assert_eq!(a.minus(&b).minus(&c), a.minus(&c).minus(&b));
        prop_assert!(a.plus(&b).contains(&a));
        prop_assert!(a.minus(&a).is_empty());
    }

    #[test]
    fn what_is_taken_can_be_given_back(total in any_resources(), part in any_resources()) {
        prop_assert_eq!(total.contains(&part), part.minus(&total).is_empty());
        prop_assert_eq!(total.contains(&part), total.first_missing(&part).is_none());
        if total.contains(&part) {
            prop_assert_eq!(total.minus(&part).plus(&part), total);
        } else {
            let sum = total.plus(&part);
            prop_assert_eq!(sum.minus(&part).plus(&part), sum);
        }
    }

    #[test]
    fn quantities_add_up_and_shared_volumes_count_once(a in any_resources(), b in any_resources()) {
        let mut sum = a.non_shared().quantities();
        sum.add(&b.non_shared().quantities());
        prop_assert_eq!(a.plus(&b).non_shared().quantities(), sum);
        prop_assert_eq!(a.plus(&a).shared().quantities(), a.shared().quantities());
        prop_assert_eq!(a.flattened().quantities(), a.quantities());
        for (name, milli) in a.quantities().iter() {
            prop_assert_eq!(a.scalar(name.as_str()), milli);
            prop_assert!(a.has(name));
        }
    }

    #[test]
    fn parts_make_the_whole(all in any_resources()) {
        for (part, rest) in [
            (all.unreserved(), all.reserved()),
            (all.revocable(), all.non_revocable()),
            (all.shared(), all.non_shared()),
        ] {
            prop_assert_eq!(part.plus(&rest), all.clone());
            prop_assert_eq!(all.minus(&part), rest);
        }
        let eng = role("eng");
        prop_assert_eq!(all.allocatable_to(&eng), all.unreserved().plus(&all.reserved_to(&eng)));
        let mut again = Resources::new();
        for (kind, amount) in all.iter() {
            prop_assert_eq!(all.amount(&kind), Some(amount));
            again.put(kind.into_owned(), amount.clone());
        }
        prop_assert_eq!(again, all);
    }

    #[test]
    fn chopped_is_a_part_within_the_bound(all in any_resources(), most in any_resources()) {
        let most = most.quantities();
        let chopped = all.shrink_to(&most);
        prop_assert!(all.contains(&chopped));
        prop_assert!(most.contains(&chopped.quantities()));
        prop_assert_eq!(chopped.non_scalars(), all.non_scalars());
        let mut limits = Limits::new();
        most.iter().for_each(|(name, milli)| limits.set(name.clone(), milli));
        let limited = all.shrink_to_limits(&limits);
        prop_assert!(limits.allow(&limited.quantities()));
        prop_assert!(all.contains(&limited) && limited.contains(&chopped));
    }

    #[test]
    fn a_reservation_can_be_taken_away_again(all in any_resources(), to in select(&["eng", "eng/web", "ops"][..])) {
        let reservation = Reservation { role: role(to), principal: None, labels: Default::default() };
        if let Ok(reserved) = all.push_reservation(&reservation) {
            prop_assert_eq!(reserved.quantities(), all.quantities());
            prop_assert_eq!(&reserved.reserved_to(&role(to)), &reserved);
            prop_assert_eq!(reserved.pop_reservation(), Ok(all));
        }
    }

    #[test]
    fn text_survives_a_round_trip(resources in given()) {
        prop_assert_eq!(&r(&resources.to_string()), &resources);
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,40}") {
        let _ = text.parse::<Resources>();
    }

    #[test]
    fn no_damaged_text_panics(items in prop::collection::vec(one_item(), 1..5), cuts in prop::collection::vec((any::<Index>(), select(&["", "(", "\"", "\\", ";", "é", "[", "}", "<", ":", "9"][..])), 1..4)) {
        let mut text = items.join(";");
        for (at, with) in cuts {
            let mut chars: Vec<String> = text.chars().map(String::from).collect();
            if !chars.is_empty() {
                let at = at.index(chars.len());
                chars[at] = with.to_owned();
            }
            text = chars.concat();
        }
        if let Ok(resources) = text.parse::<Resources>() {
            prop_assert_eq!(r(&resources.to_string()), resources);
        }
    }
}
