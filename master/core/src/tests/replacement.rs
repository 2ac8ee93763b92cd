//! Demands that name much take the place of others in pieces: judged whole, in force whole, answered then.

use proffer_model::session::{Answer, Call, Event as Told};
use proffer_model::{Demand, DemandEntry, DemandId, FrameworkId, Generation, code};

use super::world::{World, principal, spec, want};
use crate::event::{Event, SessionId, TimerKey};
use crate::limits::DEMAND_ENTRIES_PER_STEP;

const LONG: usize = DEMAND_ENTRIES_PER_STEP * 3;

struct Stage {
    world: World,
    session: SessionId,
    framework: FrameworkId,
}

/// A framework and an agent on which one of what is wanted fits.
fn stage() -> Stage {
    let mut world = World::new();
    world.agent("a", "cpus:1");
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    world.drain(session);
    Stage {
        world,
        session,
        framework,
    }
}

/// Entries that fit on no agent.
fn many(head: &str, count: usize) -> Vec<DemandEntry> {
    let entry = |number| want(&format!("{head}{number:05}"), 1, "cpus:100", 0);
    (0..count).map(entry).collect()
}

impl Stage {
    fn calls(&mut self, request: u64, generation: u64, entries: Vec<DemandEntry>) {
        let role = "*".parse().expect("a role");
        let generation = Generation(generation);
        let call = Call::SetDemand(Demand {
            role,
            generation,
            entries,
        });
        let principal = principal("p");
        self.world.step(Event::CallReceived {
            session: self.session,
            principal,
            request,
            call,
        });
    }

    /// One step more; whether there is another one.
    fn passes_a_piece(&mut self) -> bool {
        let Some(at) = self.world.timers.get(&TimerKey::Demands).copied() else {
            return false;
        };
        let wait = at.saturating_sub(self.world.now.mono_ns);
        self.world.pass(std::time::Duration::from_nanos(wait));
        true
    }

    /// What was answered since the last time.
    fn answers(&mut self) -> Vec<(u64, Result<(), String>)> {
        let told = self.world.drain(self.session).into_iter();
        let answers = told.filter_map(|told| match told {
            Told::Answered { request, answer } => Some((request, answer)),
            _ => None,
        });
        let outcome = |answer| match answer {
            Answer::Refused(problem) => Err(format!("{} {}", problem.code, problem.field)),
            _ => Ok(()),
        };
        answers
            .map(|(request, answer)| (request, outcome(answer)))
            .collect()
    }

    fn wanted(&self) -> Vec<String> {
        let role = "*".parse().expect("a role");
        let allocator = &self.world.core.allocator;
        let all = allocator.entries_after(&self.framework, &role, None);
        all.map(|(id, _)| id.to_string()).collect()
    }
}

fn ids(entries: &[DemandEntry]) -> Vec<String> {
    entries.iter().map(|entry| entry.id.to_string()).collect()
}

#[test]
fn a_long_demand_is_replaced_in_pieces_and_answered_when_it_is_in_force() {
    let mut stage = stage();
    // Gathered and put in; then besides what is taken away, and what the one before has left to forget.
    for (request, (entries, steps)) in (1..).zip([
        (many("a", LONG), 6..=7),
        (many("b", LONG), 9..=13),
        (many("b", LONG / 3), 5..=9),
        (Vec::new(), 0..=0),
    ]) {
        stage.calls(request, request, entries.clone());
        let mut count = 0;
        while stage.answers().is_empty() {
            assert!(stage.passes_a_piece(), "it goes on");
            count += 1;
        }
        assert!(steps.contains(&count), "{count} steps for {request}");
        assert_eq!(stage.wanted(), ids(&entries));
    }
    while stage.passes_a_piece() {}
    stage.calls(9, 9, many("a", 10));
    assert_eq!(stage.answers(), [(9, Ok(()))], "a short one at once");
}

#[test]
fn what_is_new_is_offered_nothing_before_all_of_it_is_in_force_and_then_the_first_comes_first() {
    let mut stage = stage();
    let mut entries = many("a", LONG);
    // By their names the first would be put in first.
    entries.insert(0, want("a", 1, "cpus:1", 0));
    let mut first = want("z", 1, "cpus:1", 0);
    first.priority = 1;
    entries.push(first);
    stage.calls(1, 1, entries);
    loop {
        let offers = stage.world.offers(stage.session);
        if let Some(offer) = offers.first() {
            assert_eq!(offer.fits[0].demand.as_str(), "z");
            assert_eq!(stage.answers(), [(1, Ok(()))]);
            break;
        }
        assert!(stage.answers().is_empty());
        assert!(stage.passes_a_piece(), "it goes on");
    }
}

#[test]
fn what_is_wanted_again_is_served_meanwhile_and_what_is_not_is_not() {
    let mut stage = stage();
    let mut entries = many("a", LONG);
    entries.push(want("kept", 1, "cpus:1", 0));
    entries.push(want("gone", 1, "cpus:1", 0));
    stage.calls(1, 1, entries.clone());
    while stage.answers().is_empty() {
        stage.passes_a_piece();
    }
    entries.pop();
    entries.extend(many("b", LONG));
    stage.calls(2, 2, entries);
    let mut agents = 0;
    while stage.answers().is_empty() {
        agents += 1;
        stage.world.agent(&format!("b{agents}"), "cpus:1");
        stage.passes_a_piece();
    }
    let standing = stage.world.core.offers.standing.values();
    let fits: Vec<_> = standing.flat_map(|offer| &offer.fits).collect();
    let of = |id: &str| fits.iter().filter(|fit| fit.demand.as_str() == id).count();
    assert_eq!(of("kept"), 1);
    assert!(of("gone") <= 1, "one was on offer before");
}

#[test]
fn a_long_demand_is_refused_whole() {
    let mut stage = stage();
    stage.calls(1, 5, many("a", 3));
    let mut entries = many("b", LONG);
    entries.push(entries[0].clone());
    stage.calls(2, 6, entries);
    stage.calls(3, 5, many("c", LONG));
    while stage.passes_a_piece() {}
    let field = format!("{} set_demand.entries[{LONG}].id", code::FIELD_INVALID.name);
    let stale = format!("{} set_demand.generation", code::GENERATION_STALE.name);
    let answers = stage.answers();
    assert_eq!(answers, [(1, Ok(())), (3, Err(stale)), (2, Err(field))]);
    assert_eq!(stage.wanted(), ids(&many("a", 3)));
}

#[test]
fn a_later_demand_takes_the_place_of_one_that_is_under_way_and_both_are_answered() {
    for (later, at) in [(LONG, 1), (LONG, 5), (3, 1), (0, 6)] {
        let mut stage = stage();
        stage.calls(1, 1, many("a", LONG));
        for _ in 0..at {
            stage.passes_a_piece();
        }
        // The same call again is the same call.
        stage.calls(1, 1, many("a", LONG));
        assert!(stage.answers().is_empty());
        stage.calls(2, 2, many("b", later));
        while stage.passes_a_piece() {}
        assert_eq!(stage.answers(), [(1, Ok(())), (2, Ok(()))]);
        assert_eq!(stage.wanted(), ids(&many("b", later)));
        stage.calls(1, 1, many("a", LONG));
        assert_eq!(stage.answers(), [(1, Ok(()))], "it is remembered");
    }
}

#[test]
fn a_demand_that_is_under_way_ends_with_its_session() {
    for at in 0..8 {
        let mut stage = stage();
        let entry = want("z", 1, "cpus:1", 0);
        stage.calls(1, 1, [vec![entry], many("a", LONG)].concat());
        for _ in 0..at {
            stage.passes_a_piece();
        }
        if at < 7 {
            stage.world.drain(stage.session);
        }
        let session = stage.session;
        stage.world.step(Event::SessionClosed { session });
        stage.session = stage.world.resubscribe(&stage.framework);
        stage.world.pass_s(1);
        assert!(stage.world.offers(stage.session).is_empty());
        assert!(stage.wanted().is_empty());
        stage.calls(2, 1, vec![want("z", 1, "cpus:1", 0)]);
        stage.world.pass_s(1);
        assert_eq!(stage.world.offers(stage.session).len(), 1);
    }
}

#[test]
fn a_framework_that_is_torn_down_takes_its_demand_along() {
    let mut stage = stage();
    stage.calls(1, 1, many("a", LONG));
    stage.passes_a_piece();
    assert_eq!(
        stage.world.call(stage.session, Call::Teardown),
        Answer::Done
    );
    while stage.passes_a_piece() {}
    assert!(stage.wanted().is_empty());
}

#[test]
fn what_is_launched_while_a_demand_is_replaced_is_wanted_no_more() {
    for pieces in 0..12 {
        let mut stage = stage();
        let wanted = |request: u64| {
            let few = want("z", 3, "cpus:1", 0);
            [vec![few], many(&format!("a{request}"), LONG)].concat()
        };
        stage.calls(1, 1, wanted(1));
        while stage.passes_a_piece() {}
        let offers = stage.world.offers(stage.session);
        stage.answers();
        stage.calls(2, 2, wanted(2));
        for _ in 0..pieces {
            stage.passes_a_piece();
        }
        let task = spec("t", "cpus:1");
        let launched = stage
            .world
            .accept(stage.session, &[&offers[0].id], vec![task]);
        assert!(launched.is_ok(), "{launched:?}");
        while stage.passes_a_piece() {}
        let (id, role) = (
            DemandId::new("z").expect("an id"),
            "*".parse().expect("a role"),
        );
        let allocator = &stage.world.core.allocator;
        let left = allocator.wanted(&stage.framework, &role, &id);
        assert_eq!(left, Some(2), "after {pieces} pieces");
    }
}

#[test]
fn who_says_more_again_and_again_is_offered_something() {
    let mut stage = stage();
    for call in 1..=40 {
        let fitting = want("z", 1, "cpus:1", 0);
        let entries = [many(&format!("a{call}"), LONG), vec![fitting]].concat();
        stage.calls(call, call, entries);
        for _ in 0..3 {
            stage.passes_a_piece();
        }
    }
    assert_eq!(stage.world.offers(stage.session).len(), 1);
    while stage.passes_a_piece() {}
    let told: Vec<u64> = stage.answers().into_iter().map(|(call, _)| call).collect();
    assert_eq!(told.last(), Some(&40));
}

#[test]
fn what_is_refused_while_a_long_demand_is_put_in_is_not_offered_for_it() {
    let mut stage = stage();
    let session = stage.session;
    stage.world.demand(session, vec![want("z", 1, "cpus:1", 0)]);
    stage.world.pass_ms(20);
    let offer = stage.world.offers(session).remove(0).id;
    let mut entries = many("a", LONG);
    entries.push(want("z", 1, "cpus:0.5", 0));
    stage.calls(900, 900, entries);
    assert!(stage.passes_a_piece(), "it has begun");
    let decline = Call::Decline {
        offers: vec![offer],
        exclude_for: std::time::Duration::from_secs(10),
    };
    stage.world.call(session, decline);
    while !stage.answers().contains(&(900, Ok(()))) {
        assert!(stage.passes_a_piece(), "it goes on");
        assert_eq!(stage.world.offers(session), []);
    }
    stage.world.pass_s(8);
    assert_eq!(stage.world.offers(session), []);
    stage.world.pass_s(3);
    assert_eq!(stage.world.offers(session).len(), 1);
}

#[test]
fn another_call_under_the_request_id_of_a_demand_that_is_put_in_is_refused() {
    let mut stage = stage();
    stage.calls(900, 1, many("a", LONG));
    let refused = |stage: &mut Stage| {
        let answers = stage.answers();
        assert_eq!(answers, [(900, Err("field.invalid request_id".to_owned()))]);
    };
    stage.calls(900, 2, many("b", LONG));
    refused(&mut stage);
    let told = stage.world.numbered(
        stage.session,
        900,
        Call::Decline {
            offers: Vec::new(),
            exclude_for: std::time::Duration::from_secs(1),
        },
    );
    stage.world.told.extend(told.into_iter().map(|told| {
        let after = crate::effect::After::Nothing;
        (stage.session, told, after)
    }));
    refused(&mut stage);
    // The same one is being done.
    stage.calls(900, 1, many("a", LONG));
    assert_eq!(stage.answers(), []);
    while stage.passes_a_piece() {}
    assert_eq!(stage.answers(), [(900, Ok(()))]);
    assert_eq!(stage.wanted(), ids(&many("a", LONG)));
}
