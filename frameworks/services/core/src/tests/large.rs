//! Apps with many instances: planning looks at all of them, so it must not happen at each status.

use std::time::Duration;

use super::world::{World, patch};
use crate::limits::{INSTANCES_WITHOUT_REST_MAX, PLAN_REST_PER_INSTANCE};

#[test]
fn a_large_app_rests_between_two_plans_and_misses_nothing() {
    let count = INSTANCES_WITHOUT_REST_MAX + 50;
    let rest = PLAN_REST_PER_INSTANCE * u32::try_from(count).unwrap();
    let mut world = World::new();
    let web = patch("/web", u32::try_from(count).unwrap());
    world.create(web).expect("created");
    world.settle();
    assert_eq!(world.running().len(), count);
    let is_over = |world: &World| world.app("/web").expect("there").deployment.is_none();
    assert!(!is_over(&world), "it rests, and no time has passed");
    world.wait(rest);
    assert!(is_over(&world));

    let victim = world.running()[7].clone();
    world.crash(&victim);
    world.wait(rest);
    world.wait(Duration::from_secs(2));
    world.settle();
    world.wait(rest);
    assert_eq!(world.running().len(), count);
    assert_eq!(world.instances().len(), count);
}
