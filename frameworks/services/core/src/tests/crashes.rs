//! The program dies before each thing that it does, between two writes too, and starts again from what was kept: no
//! instance is lost, doubled, or ended without a cause. A caller who got no answer asks again.

use std::time::Duration;

use proffer_model::code;

use super::world::{World, app, patch};
use crate::app::{AppPatch, Fraction};
use crate::effect::ApiAnswer;
use crate::event::{ApiCall, ChangeMode};

/// More things than the whole story does.
const THINGS_MAX: usize = 2_000;

fn insist(world: &mut World, call: &ApiCall) {
    for _ in 0..2 {
        match world.ask(call.clone()) {
            None => {}
            Some(Ok(ApiAnswer::Created(_) | ApiAnswer::Deployed { .. })) => return,
            Some(Ok(other)) => panic!("{other:?}"),
            Some(Err(refusal)) => {
                // It was done before the answer was lost.
                let problem = &refusal.problems[0];
                assert!(
                    problem.is(code::APP_EXISTS) || problem.is(code::APP_UNKNOWN),
                    "{problem}"
                );
                return;
            }
        }
    }
    panic!("the program died twice");
}

fn change(patch: AppPatch) -> ApiCall {
    ApiCall::ChangeApp {
        app: app("/web"),
        patch: Box::new(patch),
        mode: ChangeMode::MergeExisting,
        force: true,
    }
}

fn scale(instances: u32) -> ApiCall {
    change(AppPatch {
        instances: Some(instances),
        ..AppPatch::default()
    })
}

fn check(world: &mut World, running: usize, kills: usize, at: usize, stage: &str) {
    world.settle();
    // What was lost on the way is repaired at the next sweep at the latest.
    world.wait(Duration::from_secs(31));
    world.settle();
    assert_eq!(world.running().len(), running, "{stage}, death {at}");
    assert_eq!(world.instances().len(), running, "{stage}, death {at}");
    assert_eq!(world.kills, kills, "{stage}, death {at}");
    let is_over = world.app("/web").is_none_or(|web| web.deployment.is_none());
    assert!(is_over, "{stage}, death {at}");
}

/// Plays the story; whether the program died in it.
fn play(dies_after: usize, minimum: u32, over: u32) -> bool {
    let mut world = World::new();
    world.dies_after = Some(dies_after);
    let created = AppPatch {
        minimum_health: Some(Fraction(minimum)),
        maximum_over: Some(Fraction(over)),
        ..patch("/web", 3)
    };
    insist(
        &mut world,
        &ApiCall::CreateApp {
            patch: Box::new(created),
        },
    );
    check(&mut world, 3, 0, dies_after, "started");
    let before = world.running();
    let other = AppPatch {
        cpus_milli: Some(200),
        ..AppPatch::default()
    };
    insist(&mut world, &change(other));
    check(&mut world, 3, 3, dies_after, "replaced");
    assert!(world.running().iter().all(|task| !before.contains(task)));
    insist(&mut world, &scale(5));
    check(&mut world, 5, 3, dies_after, "scaled up");
    let victim = world.running()[1].clone();
    world.crash(&victim);
    check(&mut world, 5, 3, dies_after, "one crashed");
    insist(&mut world, &scale(2));
    check(&mut world, 2, 6, dies_after, "scaled down");
    world.cut_off("a");
    world.settle();
    world.reattach("a");
    check(&mut world, 2, 8, dies_after, "an agent was away");
    insist(
        &mut world,
        &ApiCall::DeleteApp {
            app: app("/web"),
            force: true,
        },
    );
    check(&mut world, 0, 10, dies_after, "removed");
    assert!(world.app("/web").is_none(), "removed, death {dies_after}");
    world.dies_after.is_none()
}

#[test]
fn a_death_at_any_moment_loses_doubles_and_ends_nothing() {
    for (minimum, over) in [(1_000_000, 1_000_000), (500_000, 0), (0, 0)] {
        let deaths = (0..THINGS_MAX).take_while(|at| play(*at, minimum, over));
        let count = deaths.count();
        assert!((100..THINGS_MAX).contains(&count), "{count} moments to die");
    }
}
