//! Values that people and programs write as text.

use proffer_leader::{Masters, ZooKeeperUrl};
use proffer_master::store::StoreUrl;
use proffer_model::limits::{
    ENTRIES_MAX, ID_LEN_MAX, PATTERN_LEN_MAX, RANGES_MAX, RESOURCES_TEXT_LEN_MAX, SCALAR_MILLI_MAX,
};
use proffer_model::resources::{Amount, format_milli, parse_milli};
use proffer_model::time::{format_duration, parse_duration};
use proffer_model::token::parse_token;
use proffer_model::{
    AgentId, AttributeValue, Attributes, ClusterId, DemandId, FrameworkId, OfferId, Principal,
    ResourceName, Resources, Role, StateKey, TaskId, VolumeId,
};
use proffer_proto::decode_pattern;
use proffer_server::config::{DurationText, ResourcesText};
use proffer_server::resources_json::{read_resources, write_resources};
use regex_automata::nfa::thompson::pikevm::PikeVM;

use crate::expect::{accepted, same_when_printed, text};

/// Resources as text: `cpus(eng):4;ports:[31000-32000]`.
pub(crate) fn resources_text(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let Some(resources) = same_when_printed::<Resources>(text) else {
        return;
    };
    assert!(text.len() <= RESOURCES_TEXT_LEN_MAX);
    check_resources(&resources);
    let json = write_resources(&resources);
    let read = read_resources(&json);
    assert_eq!(read.as_ref(), Ok(&resources), "{text:?} is {json} in JSON");
}

/// Resources as JSON, and whichever of both an option is given.
pub(crate) fn resources_json(data: &[u8]) {
    let Some(text) = text(data) else { return };
    accepted(text.parse::<ResourcesText>());
    let Some(resources) = accepted(read_resources(text)) else {
        return;
    };
    check_resources(&resources);
    let written = write_resources(&resources);
    let read = read_resources(&written);
    assert_eq!(read.as_ref(), Ok(&resources), "{text:?} becomes {written}");
    let printed = resources.to_string();
    let read = printed.parse();
    assert_eq!(read.as_ref(), Ok(&resources), "{text:?} prints {printed:?}");
}

/// What everything that was accepted keeps to, and the laws that its arithmetic has.
fn check_resources(resources: &Resources) {
    for (kind, amount) in resources.iter() {
        match amount {
            Amount::Scalar(milli) => assert!((1..=SCALAR_MILLI_MAX).contains(milli), "{kind}"),
            Amount::Ranges(set) => {
                let ranges = set.ranges();
                assert!(!ranges.is_empty() && ranges.len() <= RANGES_MAX, "{kind}");
                assert!(ranges.iter().all(|range| range.begin <= range.end));
                let mut pairs = ranges.iter().zip(ranges.iter().skip(1));
                assert!(pairs.all(|(a, b)| a.end < b.begin), "{kind}: {set}");
            }
            Amount::Set(items) => assert!(items.iter().next().is_some(), "{kind}"),
            Amount::Whole(pieces) => {
                assert!(
                    pieces
                        .iter()
                        .all(|piece| piece.milli > 0 && piece.copies > 0)
                );
            }
        }
    }
    assert!(resources.contains(resources));
    assert!(resources.minus(resources).is_empty(), "{resources}");
    if let Ok(twice) = resources.checked_plus(resources) {
        assert!(twice.contains(resources));
        // Numbers and items are there or not; everything else adds up.
        let mut amounts = resources.iter();
        if amounts.all(|(kind, amount)| !kind.is_shared && matches!(amount, Amount::Scalar(_))) {
            assert_eq!(twice.minus(resources), *resources);
        }
    }
    let flat = resources.flattened();
    assert_eq!(flat.quantities(), resources.quantities());
}

/// Attributes of an agent: `rack:a;zone:eu-1`.
pub(crate) fn attributes(data: &[u8]) {
    let Some(text) = text(data) else { return };
    accepted(AttributeValue::new(text));
    let Some(attributes) = same_when_printed::<Attributes>(text) else {
        return;
    };
    assert!(attributes.iter().count() <= ENTRIES_MAX);
    let is_bound = |value: &AttributeValue| (1..=ID_LEN_MAX).contains(&value.as_str().len());
    assert!(attributes.iter().all(|(_, value)| is_bound(value)));
}

/// Every kind of id, roles, keys and names.
pub(crate) fn ids(data: &[u8]) {
    let Some(text) = text(data) else { return };
    macro_rules! check {
        ($($id:ident)+) => {$(
            if let Some(id) = same_when_printed::<$id>(text) {
                assert_eq!(id.as_str(), text, "an id is what was written");
                assert_plain(text);
            }
        )+};
    }
    check!(ClusterId FrameworkId AgentId TaskId OfferId DemandId Principal Role StateKey VolumeId);
    check!(ResourceName);
    if let Ok(id) = text.parse::<TaskId>() {
        assert!(!id.as_str().contains(['/', '\\']));
    }
    if let Ok(role) = text.parse::<Role>() {
        let mut above = Some(role.clone());
        let mut steps = 0;
        while let Some(parent) = above {
            assert!(parent.holds(&role) && role.top().holds(&parent));
            assert_eq!(parent.as_str().parse(), Ok(parent.clone()));
            above = parent.parent();
            steps += 1;
        }
        assert!(steps <= ID_LEN_MAX);
    }
}

/// Nothing that is a path, moves a cursor or passes for something else.
fn assert_plain(id: &str) {
    assert!((1..=ID_LEN_MAX).contains(&id.len()), "{id:?}");
    let bad = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '\\' | '%');
    assert!(!id.contains(bad), "{id:?}");
    for part in id.split('/') {
        assert!(!matches!(part, "" | "." | ".."), "{id:?}");
    }
}

/// Amounts of a scalar, and of resources by name.
pub(crate) fn amounts(data: &[u8]) {
    let Some(text) = text(data) else { return };
    if let Some(milli) = accepted(parse_milli(text)) {
        assert!(milli <= SCALAR_MILLI_MAX, "{text:?}");
        assert_eq!(parse_milli(&format_milli(milli)), Ok(milli), "{text:?}");
    }
    for places in [0, 3, 6] {
        use proffer_services_core::amount::{format_parts, parse_parts};
        if let Ok(parts) = parse_parts(text, places) {
            let printed = format_parts(parts, places);
            assert_eq!(parse_parts(&printed, places), Ok(parts), "{text:?}");
        }
    }
    if let Some(limits) = accepted(crate::quantities::parse_limits(text)) {
        let whole: Vec<_> = limits
            .iter()
            .map(|(name, milli)| format!("{name}:{}", format_milli(milli)))
            .collect();
        let again = crate::quantities::parse_limits(&whole.join(","));
        assert_eq!(again.as_ref(), Ok(&limits), "{text:?}");
    }
    accepted(crate::quantities::parse_quantities(text));
}

/// Durations.
pub(crate) fn durations(data: &[u8]) {
    let Some(text) = text(data) else { return };
    if let Some(duration) = accepted(parse_duration(text)) {
        let printed = format_duration(duration);
        assert_eq!(parse_duration(&printed), Ok(duration), "{text:?}");
        assert_eq!(printed.parse(), Ok(DurationText(duration)));
    }
    accepted(crate::units::parse_instances(text));
    if let Some(ms) = crate::units::parse_utc_ms(text) {
        let shown = proffer_services_core::id::format_wall(ms);
        assert_eq!(crate::units::parse_utc_ms(&shown), Some(ms), "{text:?}");
    }
}

/// The content of a token file.
pub(crate) fn tokens(data: &[u8]) {
    let Some(text) = text(data) else { return };
    match parse_token(text) {
        Ok(token) => {
            assert_eq!(token.expose().len(), 64);
            let is_plain = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
            assert!(token.expose().bytes().all(is_plain));
            assert!(!format!("{token:?}").contains(token.expose()));
        }
        Err(problem) => {
            crate::expect::refused(&problem);
            // The same whatever the file holds, so nothing of it is told.
            assert_eq!(parse_token("").err(), Some(problem));
        }
    }
}

/// Where masters and their store are.
pub(crate) fn urls(data: &[u8]) {
    let Some(text) = text(data) else { return };
    if let Some(url) = accepted(text.parse::<ZooKeeperUrl>()) {
        let shown = url.without_credentials().to_string();
        let again: ZooKeeperUrl = shown.parse().expect("it was written by us");
        assert_eq!(again, url.without_credentials(), "{text:?}");
        assert_eq!(again.to_string(), shown);
        let path = url.path();
        assert!(path.starts_with('/') && path.len() > 1 && !path.ends_with('/'));
        assert!(path.split('/').all(|part| !matches!(part, "." | "..")));
    }
    if let Some(store) = accepted(text.parse::<StoreUrl>())
        && !matches!(store, StoreUrl::ZooKeeper(_))
    {
        assert_eq!(store.to_string().parse(), Ok(store), "{text:?}");
    }
    let texts: Vec<String> = text.split('\n').map(str::to_owned).collect();
    if let Some(masters) = accepted(Masters::parse(&texts)) {
        accepted(masters.check_plaintext(false));
        assert_eq!(masters.check_plaintext(true), Ok(()));
        if let Masters::List(addresses) = &masters {
            let again = Masters::parse(std::slice::from_ref(&masters.to_string()));
            assert_eq!(again.as_ref(), Ok(&masters), "{text:?}");
            assert!((1..=proffer_leader::MASTERS_MAX).contains(&addresses.len()));
        }
    }
}

/// Patterns: what is accepted matches what another matcher says that it matches.
pub(crate) fn patterns(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let Some(pattern) = accepted(decode_pattern(text)) else {
        return;
    };
    assert!(text.len() <= PATTERN_LEN_MAX);
    assert_eq!(pattern.as_str(), text);
    pattern.matches("\u{10ffff}ä");
    let Some(other) = other_matcher(text) else {
        return;
    };
    let mut cache = other.create_cache();
    let stem = text.trim_end_matches(|c: char| !c.is_alphanumeric());
    let bare = text.replace(|c: char| !c.is_alphanumeric() && c != '-', "");
    let broken = bare.replace('-', "\n");
    for one in [text, stem, &bare, &broken, "", "a", "a-b", "rack-1", "1\n"] {
        // Of others what digits and words are differs.
        if one.is_ascii() {
            let found = other.is_match(&mut cache, one);
            assert_eq!(pattern.matches(one), found, "{text:?} of {one:?}");
        }
    }
}

/// What Rust's `regex` makes of a pattern, unless that is something else than RE2 does.
fn other_matcher(text: &str) -> Option<PikeVM> {
    let is_other = text.contains("\\<") || text.contains("\\>");
    let whole = format!("\\A(?:{text})\\z");
    (!is_other).then(|| PikeVM::new(&whole).expect("it is a pattern"))
}
