//! Frameworks' durable state.

use proffer_model::{FrameworkId, Generation, Problem, StateKey, code, limits};

use super::world::{World, principal};
use crate::effect::{After, Reply};
use crate::event::{Event, RequestId, StateCall};

fn key(text: &str) -> StateKey {
    StateKey::new(text).expect(text)
}

fn get(text: &str) -> StateCall {
    StateCall::Get { key: key(text) }
}

fn put(text: &str, value: &[u8], expected: Option<u64>) -> StateCall {
    StateCall::Put {
        key: key(text),
        value: value.to_vec(),
        expected,
    }
}

fn delete(text: &str, expected: Option<u64>) -> StateCall {
    StateCall::Delete {
        key: key(text),
        expected,
    }
}

fn world() -> (World, FrameworkId, Generation) {
    let mut world = World::new();
    let session = world.framework();
    let (framework, generation) = world.subscribed(session);
    (world, framework, generation)
}

#[test]
fn values_are_compared_and_set() {
    let (mut world, framework, generation) = world();
    let mut ask = |call| world.state(&framework, generation, call);
    let refused = |reply: Result<Reply, Problem>, code| match reply {
        Err(problem) => assert!(problem.is(code), "{problem}"),
        Ok(reply) => panic!("{reply:?}"),
    };
    refused(ask(get("a")), code::STATE_KEY_UNKNOWN);
    assert_eq!(
        ask(put("a", b"1", Some(0))),
        Ok(Reply::Written { version: 1 })
    );
    refused(ask(put("a", b"2", Some(0))), code::STATE_VERSION);
    assert_eq!(
        ask(put("a", b"2", Some(1))),
        Ok(Reply::Written { version: 2 })
    );
    assert_eq!(
        ask(put("a/b", b"3", None)),
        Ok(Reply::Written { version: 3 })
    );
    assert_eq!(
        ask(get("a")),
        Ok(Reply::State {
            value: (*b"2").into(),
            version: 2
        })
    );
    let listed = ask(StateCall::List {
        prefix: "a/".to_owned(),
    });
    assert_eq!(
        listed,
        Ok(Reply::States(vec![(key("a/b"), (*b"3").into(), 3)]))
    );
    refused(ask(delete("a", Some(1))), code::STATE_VERSION);
    assert_eq!(ask(delete("a", Some(2))), Ok(Reply::Deleted));
    assert_eq!(ask(delete("a", None)), Ok(Reply::Deleted), "done is done");
    assert_eq!(
        ask(put("a", b"4", Some(0))),
        Ok(Reply::Written { version: 5 }),
        "a key that was deleted and made anew has a version of its own"
    );
}

#[test]
fn only_the_active_session_of_the_owner_has_access() {
    let (mut world, framework, generation) = world();
    let nobody = FrameworkId::new("nobody").expect("an id");
    let problem = world
        .state(&nobody, generation, get("a"))
        .expect_err("unknown");
    assert!(problem.is(code::FRAMEWORK_UNKNOWN));
    let request = RequestId(999);
    world.step(Event::StateRequested {
        request,
        principal: principal("q"),
        framework: framework.clone(),
        generation,
        call: get("a"),
    });
    let problem = world.replies[&request].0.clone().expect_err("foreign");
    assert!(problem.is(code::FRAMEWORK_FOREIGN));
    let session = world.resubscribe(&framework);
    let problem = world
        .state(&framework, generation, put("a", b"", None))
        .expect_err("fenced");
    assert!(problem.is(code::SESSION_FENCED));
    let (_, newer) = world.subscribed(session);
    world
        .state(&framework, newer, put("a", b"", None))
        .expect("the new one's");
    world.step(Event::SessionClosed { session });
    let problem = world
        .state(&framework, newer, get("a"))
        .expect_err("no session");
    assert!(problem.is(code::SESSION_FENCED));
}

#[test]
fn nothing_is_answered_before_what_it_says_is_durable() {
    let (mut world, framework, generation) = world();
    world.is_writing = false;
    for call in [
        put("a", b"1", None),
        get("a"),
        StateCall::List {
            prefix: String::new(),
        },
    ] {
        world.state(&framework, generation, call).expect("good");
    }
    assert!(
        world
            .replies
            .values()
            .all(|(_, after)| matches!(after, After::Seq(_)))
    );
    world.write();
    world.replies.clear();
    world.state(&framework, generation, get("a")).expect("good");
    assert!(
        world
            .replies
            .values()
            .all(|(_, after)| *after == After::Nothing)
    );
}

#[test]
fn values_and_sums_have_limits() {
    let (mut world, framework, generation) = world();
    let most = limits::STATE_VALUE_LEN_MAX;
    let mut ask = |call| world.state(&framework, generation, call);
    let problem = ask(put("a", &vec![0; most + 1], None)).expect_err("too long");
    assert!(problem.is(code::STATE_TOO_LARGE));
    let value = vec![0; most];
    let whole = limits::STATE_TOTAL_LEN_MAX / most;
    for i in 1..whole {
        ask(put(&format!("k{i}"), &value, None)).expect("room");
    }
    let problem = ask(put("last", &value, None)).expect_err("keys count too");
    assert!(problem.is(code::STATE_TOO_LARGE));
    ask(put("k1", &value, None)).expect("instead of itself");
    ask(delete("k1", None)).expect("deleted");
    ask(put("last", &value, None)).expect("room again");
    let problem = ask(StateCall::List {
        prefix: "k".to_owned(),
    })
    .expect_err("too long");
    assert!(problem.is(code::STATE_TOO_LARGE));
}

fn list(prefix: &str) -> StateCall {
    StateCall::List {
        prefix: prefix.to_owned(),
    }
}

#[test]
fn a_list_holds_the_keys_that_begin_with_its_prefix_in_their_order() {
    let (mut world, framework, generation) = world();
    for text in ["a", "a/b", "a/c", "ab", "b/a", "b", "c"] {
        let put = put(text, b"", None);
        world.state(&framework, generation, put).expect("room");
    }
    for (prefix, found) in [
        ("", &["a", "a/b", "a/c", "ab", "b", "b/a", "c"][..]),
        ("a", &["a", "a/b", "a/c", "ab"]),
        ("a/", &["a/b", "a/c"]),
        ("a/c", &["a/c"]),
        ("b/", &["b/a"]),
        ("0", &[]),
        ("d", &[]),
    ] {
        let reply = world.state(&framework, generation, list(prefix));
        let Ok(Reply::States(listed)) = reply else {
            panic!("{reply:?}")
        };
        let keys: Vec<_> = listed.iter().map(|(key, ..)| key.as_str()).collect();
        assert_eq!(keys, found, "{prefix}");
    }
}

/// The keys of a page, and whether there are more.
fn page(
    world: &mut World,
    (framework, generation): (&FrameworkId, Generation),
    prefix: &str,
    after: &str,
) -> (Vec<String>, bool) {
    let call = StateCall::ListPage {
        prefix: prefix.to_owned(),
        after: StateKey::new(after).ok(),
    };
    match world.state(framework, generation, call) {
        Ok(Reply::StatePage { states, has_more }) => {
            let keys = states.iter().map(|(key, ..)| key.to_string());
            (keys.collect(), has_more)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn all_of_a_long_state_is_listed_page_by_page() {
    let (mut world, framework, generation) = world();
    let of = (&framework, generation);
    let long = vec![0; limits::STATE_VALUE_LEN_MAX];
    let name = |i: u32| format!("k/{i:02}");
    for i in 0..40 {
        let put = put(&name(i), &long, None);
        world.state(&framework, generation, put).expect("room");
        world.pass_s(1);
    }
    for other in ["a", "k", "l"] {
        let put = put(other, b"", None);
        world.state(&framework, generation, put).expect("room");
    }
    let (mut listed, mut after) = (Vec::new(), String::new());
    loop {
        let (keys, has_more) = page(&mut world, of, "k/", &after);
        assert!(keys.len() <= 16, "{keys:?}");
        listed.extend(keys);
        after = listed.last().cloned().expect("some");
        if !has_more {
            break;
        }
        if listed.len() < 16 {
            // What is written behind the place is told, and what is written before it is not.
            for gone in [0, 39] {
                world
                    .state(&framework, generation, delete(&name(gone), None))
                    .expect("deleted");
            }
        }
        world.pass_s(1);
    }
    let expected: Vec<_> = (0..39).map(name).collect();
    assert_eq!(listed, expected);
    assert_eq!(page(&mut world, of, "k/", "a").0.first(), Some(&name(1)));
    assert_eq!(page(&mut world, of, "k/", "k/99"), (vec![], false));
    assert_eq!(page(&mut world, of, "k/", "l"), (vec![], false));
}

/// How often each call is done at one moment when a framework may do a thousand operations in a second.
#[test]
fn a_call_is_worth_what_it_reads_and_writes() {
    let long = vec![0; limits::STATE_VALUE_LEN_MAX];
    let asked: [(&str, StateCall, usize); 7] = [
        ("a short value", get("short"), 1_000),
        ("what is not there", get("none"), 1_000),
        // 1 + 256 KiB / 4 KiB.
        ("a long value", get("long"), 1_000_usize.div_ceil(65)),
        ("a write", put("new", &long, None), 1_000_usize.div_ceil(65)),
        ("a write in vain", put("none", &long, Some(1)), 16),
        // 1 + 1 + 256 KiB / 4 KiB.
        ("one key", list("long"), 1_000_usize.div_ceil(66)),
        ("many keys", list("many/"), 1_000_usize.div_ceil(101)),
    ];
    for (what, call, times) in asked {
        let (mut world, framework, generation) = world();
        for i in 0..100 {
            let put = put(&format!("many/{i}"), b"", None);
            world.state(&framework, generation, put).expect("room");
        }
        for (text, value) in [("short", &b"1"[..]), ("long", &long)] {
            let put = put(text, value, None);
            world.state(&framework, generation, put).expect("room");
        }
        world.pass_s(2);
        world.core.config.operations_per_second = 1_000;
        let is_limited = |reply: &Result<Reply, Problem>| {
            let problem = reply.as_ref().err();
            problem.is_some_and(|problem| problem.is(code::SESSION_RATE_LIMITED))
        };
        let mut done = 0;
        let refused = loop {
            let reply = world.state(&framework, generation, call.clone());
            if is_limited(&reply) {
                break reply;
            }
            done += 1;
        };
        assert_eq!(done, times, "{what}");
        let problem = refused.expect_err("limited");
        assert!(problem.retry_after.is_some(), "{what}: {problem}");
        world.pass_s(2);
        let again = world.state(&framework, generation, call);
        assert!(!is_limited(&again), "{what}: {again:?}");
    }
}

#[test]
fn a_list_that_is_too_long_is_worth_what_was_looked_at() {
    let (mut world, framework, generation) = world();
    let long = vec![0; limits::STATE_VALUE_LEN_MAX];
    for i in 0..20 {
        let put = put(&format!("{i}"), &long, None);
        world.state(&framework, generation, put).expect("room");
    }
    world.pass_s(2);
    world.core.config.operations_per_second = 1_000;
    let problem = world
        .state(&framework, generation, list(""))
        .expect_err("too long");
    assert!(problem.is(code::STATE_TOO_LARGE), "{problem}");
    let problem = world
        .state(&framework, generation, get("none"))
        .expect_err("limited");
    assert!(problem.is(code::SESSION_RATE_LIMITED), "{problem}");
}
