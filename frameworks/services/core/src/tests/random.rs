//! Random stories: whatever happens, bounds are kept, and in the end there are as many as asked.

use std::time::Duration;

use proffer_model::{Reason, TaskState};
use proptest::prelude::*;

use super::world::{World, app, patch};
use crate::app::{AppPatch, Fraction, Upgrade};
use crate::event::ApiCall;
use crate::plan::bounds;

#[derive(Clone, Copy, Debug)]
enum Act {
    Scale(u32),
    Change(u64),
    Restart,
    Offer,
    Progress(usize),
    Health(usize, bool),
    Crash(usize),
    Wait(u64),
    CutOff(bool),
    Reattach(bool),
    RestartProgram,
    Reconnect,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => (0u32..6).prop_map(Act::Scale),
        2 => (1u64..9).prop_map(Act::Change),
        1 => Just(Act::Restart),
        6 => Just(Act::Offer),
        6 => (0usize..20).prop_map(Act::Progress),
        4 => (0usize..20, any::<bool>()).prop_map(|(i, healthy)| Act::Health(i, healthy)),
        3 => (0usize..20).prop_map(Act::Crash),
        3 => (1u64..90).prop_map(Act::Wait),
        1 => any::<bool>().prop_map(Act::CutOff),
        2 => any::<bool>().prop_map(Act::Reattach),
        1 => Just(Act::RestartProgram),
        1 => Just(Act::Reconnect),
    ]
}

fn name(is_first: bool) -> &'static str {
    if is_first { "a" } else { "b" }
}

fn play(world: &mut World, act: Act) {
    let nth = |world: &World, i: usize| {
        let there = world
            .tasks
            .iter()
            .filter(|(_, live)| !world.cut.contains(&live.agent));
        let tasks: Vec<_> = there
            .map(|(task, live)| (task.clone(), live.state))
            .collect();
        (!tasks.is_empty()).then(|| tasks[i % tasks.len()].clone())
    };
    match act {
        Act::Scale(n) => {
            let change = AppPatch {
                instances: Some(n),
                ..AppPatch::default()
            };
            world.change("/web", change, true).expect("forced");
        }
        Act::Change(n) => {
            let change = AppPatch {
                cpus_milli: Some(n),
                ..AppPatch::default()
            };
            world.change("/web", change, true).expect("forced");
        }
        Act::Restart => {
            world
                .api(ApiCall::RestartApp {
                    app: app("/web"),
                    force: true,
                })
                .expect("forced");
        }
        Act::Offer => world.offer(),
        Act::Progress(i) => {
            if let Some((task, _)) = nth(world, i).filter(|(_, state)| *state < TaskState::Running)
            {
                world.set(&task, TaskState::Running, None);
            }
        }
        Act::Health(i, healthy) => {
            if let Some((task, _)) = nth(world, i).filter(|(_, state)| *state == TaskState::Running)
            {
                world.set(&task, TaskState::Running, Some(healthy));
            }
        }
        Act::Crash(i) => {
            if let Some((task, _)) = nth(world, i) {
                world.end_with(&task, TaskState::Failed, Reason::Exited);
            }
        }
        Act::Wait(seconds) => world.wait(Duration::from_secs(seconds)),
        Act::CutOff(first) => world.cut_off(name(first)),
        Act::Reattach(first) => world.reattach(name(first)),
        Act::RestartProgram => world.restart(),
        Act::Reconnect => world.reconnect(),
    }
    world.run_inbox();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_story_ends_with_as_many_as_asked(
        acts in prop::collection::vec(act(), 1..60),
        minimum in 0u32..=4,
        over in 0u32..=4,
        has_checks in any::<bool>(),
    ) {
        let upgrade = Upgrade { minimum_health: Fraction(minimum * 250_000), maximum_over: Fraction(over * 250_000) };
        let checks = has_checks.then(|| vec![crate::health::HealthCheck::of(crate::health::CheckProtocol::Tcp)]);
        let mut world = World::new();
        world.create(AppPatch {
            minimum_health: Some(upgrade.minimum_health),
            maximum_over: Some(upgrade.maximum_over),
            health_checks: checks,
            ..patch("/web", 3)
        }).expect("created");
        for act in acts {
            let present_before = active(&world);
            let (healthy_before, target_before) = (healthy(&world), target(&world));
            play(&mut world, act);
            // Launches never pass the capacity; what was there already may.
            let (least, most) = bounds(target(&world), upgrade);
            prop_assert!(active(&world) <= most.max(present_before) || matches!(act, Act::Reattach(_) | Act::RestartProgram | Act::Reconnect),
                "{act:?}: {} of {most}", active(&world));
            // Our own kills never go below the least health.
            let is_ours = matches!(act, Act::Offer | Act::Progress(_) | Act::Change(_) | Act::Restart | Act::Wait(_));
            if is_ours && target(&world) == target_before {
                prop_assert!(healthy(&world) >= least.min(healthy_before), "{act:?}: {} of {least}", healthy(&world));
            }
        }
        world.reattach("a");
        world.reattach("b");
        let asked = target(&world);
        for _ in 0..60 {
            world.settle();
            for task in world.running() {
                world.set(&task, TaskState::Running, has_checks.then_some(true));
            }
            world.wait(Duration::from_secs(31));
        }
        world.settle();
        prop_assert_eq!(u32::try_from(world.running().len()).unwrap(), asked);
        prop_assert_eq!(u32::try_from(world.instances().len()).unwrap(), asked);
        prop_assert!(world.app("/web").expect("there").deployment.is_none());
    }
}

fn target(world: &World) -> u32 {
    world.app("/web").map_or(0, |app| app.spec.instances)
}

fn active(world: &World) -> u32 {
    let lost = |instance: &&crate::instance::Instance| {
        instance.phase != crate::instance::Phase::Unreachable
    };
    u32::try_from(
        world
            .instances()
            .iter()
            .filter(|i| !i.is_condemned)
            .filter(lost)
            .count(),
    )
    .unwrap()
}

fn healthy(world: &World) -> u32 {
    u32::try_from(
        world
            .instances()
            .iter()
            .filter(|i| !i.is_condemned && i.is_healthy())
            .count(),
    )
    .unwrap()
}
