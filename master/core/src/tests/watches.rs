//! Watches of a framework's state.

use proffer_model::{FrameworkId, Generation, StateKey};

use super::world::{World, principal};
use crate::effect::{After, StateChange};
use crate::event::{Event, SessionId, StateCall, WatchId};
use crate::limits::{STATE_LEN_PER_OPERATION, WATCH_STEP_LEN, WATCHES_MAX};

struct Watched {
    world: World,
    session: SessionId,
    framework: FrameworkId,
    generation: Generation,
}

fn framework() -> Watched {
    let mut world = World::new();
    let session = world.framework();
    let (framework, generation) = world.subscribed(session);
    Watched {
        world,
        session,
        framework,
        generation,
    }
}

impl Watched {
    fn put(&mut self, key: &str, value: Vec<u8>) {
        let call = StateCall::Put {
            key: StateKey::new(key).expect(key),
            value,
            expected: None,
        };
        let written = self.world.state(&self.framework, self.generation, call);
        written.expect("written");
    }

    fn delete(&mut self, key: &str) {
        let call = StateCall::Delete {
            key: StateKey::new(key).expect(key),
            expected: None,
        };
        let deleted = self.world.state(&self.framework, self.generation, call);
        deleted.expect("deleted");
    }

    /// Opens a watch that is told the first piece.
    fn watch(&mut self, id: u64, prefix: &str) {
        self.open(id, prefix);
        self.world.pass_ms(10);
    }

    fn open(&mut self, id: u64, prefix: &str) {
        self.world.step(Event::WatchOpened {
            watch: WatchId(id),
            principal: principal("p"),
            framework: self.framework.clone(),
            generation: self.generation,
            prefix: prefix.to_owned(),
        });
    }

    /// The connection takes what it was to say of, and is told on.
    fn takes(&mut self, id: u64) {
        assert!(self.world.asks_on > 0, "there is something to say of");
        self.world.asks_on = 0;
        self.world.step(Event::WatchTaken { watch: WatchId(id) });
        self.world.pass_ms(10);
    }

    /// What all watches were told since the last time.
    fn told(&mut self) -> Vec<String> {
        let told = std::mem::take(&mut self.world.watched).into_iter();
        told.map(|(watch, told, _)| {
            let what = match told {
                Ok(StateChange::Put { key, version, .. }) => format!("{key} {version}"),
                Ok(StateChange::Deleted { key }) => format!("{key} gone"),
                Ok(StateChange::UpToDate) => "up to date".to_owned(),
                Err(problem) => problem.code.to_string(),
            };
            format!("{}: {what}", watch.0)
        })
        .collect()
    }
}

#[test]
fn what_is_there_is_told_then_each_change_in_order_until_the_generation_ends() {
    let mut of = framework();
    of.put("b", vec![1]);
    of.put("a/1", vec![2]);
    of.watch(1, "");
    assert_eq!(of.told(), ["1: a/1 2", "1: b 1", "1: up to date"]);
    of.watch(2, "a/");
    assert_eq!(of.told(), ["2: a/1 2", "2: up to date"]);
    of.put("b", vec![3]);
    of.put("a/2", vec![4]);
    of.delete("a/1");
    of.delete("nothing");
    assert_eq!(
        of.told(),
        [
            "1: b 3",
            "1: a/2 4",
            "2: a/2 4",
            "1: a/1 gone",
            "2: a/1 gone"
        ]
    );
    of.world.step(Event::WatchClosed { watch: WatchId(2) });
    of.put("a/2", vec![5]);
    assert_eq!(of.told(), ["1: a/2 6"]);
    of.world.resubscribe(&of.framework.clone());
    assert_eq!(of.told(), ["1: session.fenced"]);
    of.watch(3, "");
    assert_eq!(of.told(), ["3: session.fenced"], "an older generation");
}

#[test]
fn a_framework_that_is_over_or_gone_ends_its_watches() {
    let mut of = framework();
    of.watch(1, "");
    of.told();
    let session = of.session;
    of.world.step(Event::SessionClosed { session });
    assert_eq!(of.told(), ["1: session.fenced"]);
    let mut of = framework();
    of.watch(1, "");
    of.told();
    of.world
        .call(of.session, proffer_model::session::Call::Teardown);
    assert_eq!(of.told(), ["1: framework.completed"]);
    of.watch(2, "");
    assert_eq!(of.told(), ["2: framework.completed"]);
}

#[test]
fn no_change_is_told_before_it_is_durable() {
    let mut of = framework();
    of.watch(1, "");
    of.told();
    of.world.is_writing = false;
    of.put("a", vec![1]);
    of.watch(2, "");
    let waits = |after: &After| matches!(after, After::Seq(_));
    assert!(of.world.watched.iter().all(|(_, _, after)| waits(after)));
    assert_eq!(of.told().len(), 3);
}

#[test]
fn much_is_told_in_pieces_and_no_change_is_lost_or_told_twice() {
    let mut of = framework();
    let piece = WATCH_STEP_LEN / 4;
    for key in ["a", "b", "c", "d", "e", "f", "g", "h", "i"] {
        of.put(key, vec![0; piece - 2_000]);
    }
    of.watch(1, "");
    let first = of.told();
    assert!((2..8).contains(&first.len()), "{first:?}");
    of.put("a", vec![1]);
    of.put("h", vec![1]);
    of.delete("i");
    assert_eq!(of.told(), ["1: a 10"], "h and i were not told yet");
    let mut rest = Vec::new();
    while rest.last().map(String::as_str) != Some("1: up to date") {
        of.takes(1);
        rest.extend(of.told());
    }
    assert!(rest.contains(&"1: h 11".to_owned()), "{rest:?}");
    assert!(!rest.iter().any(|told| told.starts_with("1: i")));
    assert_eq!(first.len() + rest.len(), 9);
}

#[test]
fn who_reads_slowly_is_told_the_next_piece_when_it_reads_the_one_before() {
    let mut of = framework();
    for key in ["a", "b", "c", "d", "e", "f"] {
        of.put(key, vec![0; WATCH_STEP_LEN / 4]);
        of.put(&format!("{key}/1"), vec![0; WATCH_STEP_LEN / 4]);
    }
    of.watch(1, "");
    let first = of.told().len();
    assert!(first < 5, "{first}");
    of.world.pass_s(60);
    assert_eq!(of.told(), [""; 0], "it reads nothing");
    // Another one goes on beside it, and is told of its keys alone.
    of.watch(2, "d");
    assert_eq!(of.told(), ["2: d 7", "2: d/1 8", "2: up to date"]);
    of.takes(1);
    let second = of.told();
    assert!((1..5).contains(&second.len()), "{second:?}");
    // To say so twice makes no more of it.
    let taken = || Event::WatchTaken { watch: WatchId(1) };
    of.world.step(taken());
    of.world.step(taken());
    of.world.pass_s(1);
    assert_eq!(first + second.len() + of.told().len(), 13);
    of.world.step(taken());
    of.world.pass_s(1);
    assert_eq!(of.told(), [""; 0], "all is told");
}

#[test]
fn who_opens_and_ends_watches_all_the_time_keeps_nobody_waiting() {
    let mut of = framework();
    of.put("a", vec![0; 1_000]);
    of.open(1, "");
    of.world.pass_ms(5);
    for id in 2..50 {
        of.open(id, "");
        of.world.step(Event::WatchClosed { watch: WatchId(id) });
    }
    assert_eq!(of.told(), [""; 0]);
    of.world.pass_ms(5);
    assert_eq!(of.told(), ["1: a 1", "1: up to date"]);
}

#[test]
fn watches_count_for_the_rates_as_calls_and_what_they_are_told_as_operations() {
    let mut of = framework();
    of.world.core.config.calls_per_second = 5;
    of.world.core.config.operations_per_second = 40;
    for key in ["a", "b", "c", "d"] {
        of.put(key, vec![0; 4 * STATE_LEN_PER_OPERATION]);
    }
    let calls = |of: &mut Watched, id: u64| {
        of.watch(id, "");
        of.world.step(Event::WatchClosed { watch: WatchId(id) });
        of.told().pop()
    };
    of.world.pass_s(2);
    assert_eq!(calls(&mut of, 1).as_deref(), Some("1: up to date"));
    // Of 40 operations 21 are spent: one for it, four keys and four for each of their values.
    assert_eq!(calls(&mut of, 2).as_deref(), Some("2: up to date"));
    assert_eq!(
        calls(&mut of, 3).as_deref(),
        Some("3: session.rate_limited")
    );
    of.world.pass_s(2);
    of.delete("b");
    of.delete("c");
    of.delete("d");
    of.delete("a");
    of.told();
    of.world.pass_s(2);
    for id in 4..9 {
        assert_eq!(calls(&mut of, id), Some(format!("{id}: up to date")));
    }
    of.open(9, "");
    let refused = of.world.watched.pop().expect("told").1.expect_err("calls");
    assert!(refused.is(proffer_model::code::SESSION_RATE_LIMITED));
    assert!(refused.retry_after.is_some());
}

#[test]
fn there_are_only_so_many_and_only_for_the_owner() {
    let mut of = framework();
    let most = u64::try_from(WATCHES_MAX).expect("small");
    for id in 1..=most {
        of.watch(id, "");
    }
    of.told();
    of.watch(most + 1, "");
    assert_eq!(of.told(), [format!("{}: server.overloaded", most + 1)]);
    of.world.step(Event::WatchOpened {
        watch: WatchId(99),
        principal: principal("q"),
        framework: of.framework.clone(),
        generation: of.generation,
        prefix: String::new(),
    });
    assert_eq!(of.told(), ["99: framework.foreign"]);
}
