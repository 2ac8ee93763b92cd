//! The numbers of a rolling update: how many instances to launch and to end next, from how many there are.
//!
//! Pure arithmetic on a [`Census`], the same at any moment of a deployment, so nothing needs to be remembered. It follows
//! Marathon's `TaskReplaceActor` (minimum health `ceil(n·H)`, capacity `floor(n·(1+O))`, one more when both are equal), and
//! mends one deadlock of it: old instances that are unhealthy make room when nothing else can.

use crate::app::{Fraction, Upgrade};

/// How many instances of an app there are, of which kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Wanted.
    pub target: u32,
    /// Of the present configuration, not condemned.
    pub new: u32,
    /// Of these, healthy.
    pub new_healthy: u32,
    /// Of older configurations, not condemned.
    pub old: u32,
    /// Of these, healthy.
    pub old_healthy: u32,
    /// Of older configurations, condemned and not ended yet.
    pub dying: u32,
}

/// What to do next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    /// How many of the present configuration to launch.
    pub launch: u32,
    /// How many of the present configuration to end.
    pub end_new: u32,
    /// How many of older configurations to end, the unhealthy first.
    pub end_old: u32,
}

/// The instances that must stay healthy, and those that may be there at once.
pub fn bounds(target: u32, upgrade: Upgrade) -> (u32, u32) {
    let least = upgrade.minimum_health.ceil_of(target);
    let most = target.saturating_add(upgrade.maximum_over.floor_of(target));
    // With nothing to spare on either side no move would be possible.
    let guard = u32::from(least == most && target > 0);
    (least, most.saturating_add(guard))
}

/// How instances are replaced that are wanted back: the others first, whatever gap the app allows when it is updated. Only
/// an app that may never have one more than it wants has a gap then, as it does in its updates.
pub fn without_gap(target: u32, upgrade: Upgrade) -> Upgrade {
    let (_, most) = bounds(target, upgrade);
    if most <= target {
        return upgrade;
    }
    Upgrade {
        minimum_health: Fraction::ONE,
        ..upgrade
    }
}

/// The next moves.
pub fn plan(census: &Census, upgrade: Upgrade) -> Moves {
    let Census {
        target, new, old, ..
    } = *census;
    let surplus = new.saturating_sub(target);
    let missing = target.saturating_sub(new);
    if old == 0 && census.dying == 0 {
        // Capacity binds only replacements that are under way; otherwise what is missing is missing.
        return Moves {
            launch: missing,
            end_new: surplus,
            end_old: 0,
        };
    }
    let (least, most) = bounds(target, upgrade);
    let present = new.saturating_add(old).saturating_add(census.dying);
    Moves {
        launch: missing.min(most.saturating_sub(present)),
        end_new: surplus,
        end_old: old_to_end(census, least, most, present),
    }
}

fn old_to_end(census: &Census, least: u32, most: u32, present: u32) -> u32 {
    let Census {
        target,
        new,
        new_healthy,
        old,
        old_healthy,
        dying,
    } = *census;
    if new_healthy >= target {
        return old;
    }
    let spare_health = old_healthy
        .saturating_add(new_healthy)
        .saturating_sub(least);
    let too_many = new.min(target).saturating_add(old).saturating_sub(target);
    // What the user asked to shrink goes at once, but never below the least health: the unhealthy go first.
    let unhealthy = old.saturating_sub(old_healthy);
    let shrink = if new == 0 {
        too_many.min(unhealthy.saturating_add(spare_health))
    } else {
        0
    };
    let is_stuck = spare_health == 0 && present >= most && dying == 0 && new_healthy == new;
    let room = if is_stuck {
        unhealthy.min(target.saturating_sub(least).max(1))
    } else {
        0
    };
    spare_health.max(shrink).max(room).min(old)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn upgrade(minimum: u32, over: u32) -> Upgrade {
        Upgrade {
            minimum_health: Fraction(minimum * 10_000),
            maximum_over: Fraction(over * 10_000),
        }
    }

    /// Plays a replacement of `old` healthy instances, one change at a time, and returns the most that were there, the
    /// fewest that were healthy and the launches of the first move.
    fn play(old: u32, target: u32, upgrade: Upgrade) -> (u32, u32, u32) {
        let mut census = Census {
            target,
            old,
            old_healthy: old,
            ..Census::default()
        };
        let first = plan(&census, upgrade).launch;
        let (mut most, mut fewest) = (old, old);
        for _ in 0..10_000 {
            let moves = plan(&census, upgrade);
            census.new += moves.launch;
            let unhealthy = census.old - census.old_healthy;
            census.old -= moves.end_old;
            census.old_healthy -= moves.end_old.saturating_sub(unhealthy);
            census.dying += moves.end_old;
            most = most.max(census.new + census.old + census.dying);
            fewest = fewest.min(census.old_healthy + census.new_healthy);
            if census.dying > 0 {
                census.dying -= 1;
            } else if census.new_healthy < census.new {
                census.new_healthy += 1;
            } else if moves == Moves::default() {
                break;
            }
        }
        assert_eq!((census.new_healthy, census.old), (target, 0), "it ends");
        (most, fewest, first)
    }

    #[test]
    fn the_worked_cases_of_marathons_documentation() {
        for (old, target, strategy, expected, why) in [
            (
                10,
                10,
                upgrade(100, 100),
                (20, 10, 10),
                "10 extra, then 10 kills",
            ),
            (
                10,
                10,
                upgrade(50, 20),
                (12, 5, 2),
                "at least 5, at most 12",
            ),
            (10, 10, upgrade(0, 0), (10, 0, 0), "kill all, start all"),
            (
                10,
                10,
                upgrade(100, 0),
                (11, 10, 1),
                "one extra at a time by the guard",
            ),
            (
                10,
                5,
                upgrade(100, 100),
                (10, 5, 0),
                "shrinking kills the difference at once",
            ),
            (
                4,
                10,
                upgrade(100, 0),
                (11, 4, 7),
                "growing never goes below what there was",
            ),
            (1, 1, upgrade(0, 0), (1, 0, 0), "a single instance"),
            (3, 0, upgrade(100, 100), (3, 0, 0), "to nothing"),
        ] {
            assert_eq!(play(old, target, strategy), expected, "{why}");
        }
    }

    #[test]
    fn unhealthy_old_instances_do_not_block_their_repair() {
        let stuck = Census {
            target: 10,
            old: 10,
            ..Census::default()
        };
        assert_eq!(
            plan(&stuck, upgrade(50, 0)),
            Moves {
                end_old: 5,
                ..Moves::default()
            }
        );
        assert_eq!(
            plan(&stuck, upgrade(100, 0)).launch,
            1,
            "the guard gives room"
        );
        let room = Census {
            old: 5,
            dying: 0,
            ..stuck
        };
        assert_eq!(plan(&room, upgrade(50, 0)).launch, 5);
    }

    #[test]
    fn what_is_wanted_back_is_replaced_without_a_gap_unless_one_more_is_forbidden() {
        for (target, given, expected) in [
            (3, upgrade(100, 100), upgrade(100, 100)),
            (3, upgrade(50, 100), upgrade(100, 100)),
            (3, upgrade(0, 40), upgrade(100, 40)),
            (3, upgrade(100, 0), upgrade(100, 0)),
            (3, upgrade(50, 0), upgrade(50, 0)),
            (1, upgrade(0, 0), upgrade(0, 0)),
        ] {
            let used = without_gap(target, given);
            assert_eq!(used, expected, "{target} {given:?}");
            // The rest stays where it is.
            let (staying, leaving) = (target - 1, 1);
            let census = Census {
                target,
                new: staying,
                new_healthy: staying,
                old: leaving,
                old_healthy: leaving,
                dying: 0,
            };
            let moves = plan(&census, used);
            let is_replaced_first = moves.launch == 1 && moves.end_old == 0;
            let is_ended_first = moves.launch == 0 && moves.end_old == 1;
            let has_gap = used.minimum_health != Fraction::ONE;
            assert!(
                if has_gap {
                    is_ended_first
                } else {
                    is_replaced_first
                },
                "{moves:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn every_replacement_ends_within_its_bounds(old in 0u32..30, target in 0u32..30, minimum in 0u32..=100, over in 0u32..=100) {
            let (most, fewest, _) = play(old, target, upgrade(minimum, over));
            let (least, capacity) = bounds(target, upgrade(minimum, over));
            prop_assert!(most <= capacity.max(old));
            prop_assert!(fewest >= least.min(old).min(target));
        }
    }
}
