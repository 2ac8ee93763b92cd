//! What a status is worth, and when a task may be launched.

use proffer_model::Reason;
use proptest::prelude::*;

use super::*;

mod world;

const ALL: [TaskState; 8] = [
    TaskState::Staging,
    TaskState::Starting,
    TaskState::Running,
    TaskState::Killing,
    TaskState::Unreachable,
    TaskState::Failed,
    TaskState::Killed,
    TaskState::Lost,
];

fn id(number: usize) -> TaskId {
    TaskId::new(&format!("t{number}")).unwrap()
}

fn status(task: usize, incarnation: u64, number: u64, state: TaskState) -> Status {
    Status {
        task: id(task),
        incarnation: Incarnation(incarnation),
        agent: None,
        number,
        state,
        reason: Reason::None,
        message: String::new(),
        exit: None,
        healthy: None,
        checks: Vec::new(),
        wall_ms: 0,
        data: Vec::new(),
    }
}

/// One task, in its first session.
struct One(Fates);

impl One {
    fn new(has_history: bool) -> Self {
        let mut one = Self(Fates::new(has_history));
        one.begin(false);
        one
    }

    /// The session ends, and with it the launch that has no answer.
    fn end(&mut self) {
        self.0.session_ended([id(0)].iter());
    }

    fn begin(&mut self, is_resumed: bool) {
        self.0.session_begun(is_resumed);
        self.0.session_taken();
    }

    fn may_launch(&mut self) -> bool {
        let may = self.0.launching(&id(0));
        if may {
            self.0.refused(&id(0));
        }
        may
    }

    #[track_caller]
    fn tells(&mut self, incarnation: u64, number: u64, state: TaskState, worth: Worth) {
        let status = status(0, incarnation, number, state);
        assert_eq!(self.0.weigh(&status), worth, "{status:?}");
    }

    fn asks(&self) -> bool {
        self.0.unheard() == [id(0)]
    }

    fn settles(&mut self) -> bool {
        self.0.settle([id(0)]) == BTreeSet::from([id(0)])
    }
}

use TaskState::{Failed, Finished, Killing, Lost, Running, Staging, Starting, Unreachable};
use Worth::{Again, News, Revenant, Stale};

#[test]
fn what_comes_again_is_not_told_unless_it_is_the_newest() {
    let stories: &[&[(u64, u64, TaskState, Worth)]] = &[
        &[
            (1, 1, Starting, News),
            (1, 2, Running, News),
            (1, 1, Starting, Stale),
            (1, 2, Running, News),
        ],
        &[
            (1, 5, Running, News),
            (1, 0, Unreachable, News),
            (1, 4, Running, Stale),
            (1, 5, Running, News),
        ],
        &[
            (1, 5, Running, News),
            (1, 0, Running, News),
            (1, 0, Starting, Stale),
            (1, 6, Killing, News),
        ],
        &[
            (1, 0, Running, News),
            (1, 1, Starting, Stale),
            (1, 2, Running, News),
        ],
        &[
            (1, 3, Failed, News),
            (1, 2, Running, Stale),
            (1, 3, Failed, News),
            (1, 0, Running, Revenant),
        ],
        &[
            (1, 2, Running, News),
            (1, 0, Lost, News),
            (1, 3, Running, Revenant),
            (2, 1, Running, News),
        ],
        &[
            (2, 1, Starting, News),
            (1, 9, Running, Stale),
            (1, 9, Failed, Stale),
        ],
        &[
            (1, 3, Failed, News),
            (0, 0, Unreachable, Stale),
            (0, 0, Lost, News),
            (1, 0, Running, Revenant),
        ],
        &[(0, 0, Lost, News), (1, 1, Starting, News)],
        &[
            (0, 0, Unreachable, News),
            (0, 0, Unreachable, Stale),
            (1, 1, Running, News),
        ],
        // It is there, so this answers an earlier question.
        &[(1, 2, Running, News), (0, 0, Lost, Stale)],
    ];
    for story in stories {
        let mut one = One::new(false);
        for (incarnation, number, state, worth) in *story {
            one.tells(*incarnation, *number, *state, *worth);
        }
    }
}

#[test]
fn ended_tasks_are_forgotten_after_many_others() {
    let mut one = One::new(false);
    for i in 0..=ENDED_TASKS_REMEMBERED_MAX {
        assert_eq!(one.0.weigh(&status(i, 1, 1, Failed)), News);
        assert_eq!(one.0.weigh(&status(i, 1, 1, Failed)), News);
    }
    assert_eq!(one.0.tasks.len(), ENDED_TASKS_REMEMBERED_MAX);
    assert_eq!(one.0.ended.len(), ENDED_TASKS_REMEMBERED_MAX);
    assert_eq!(one.0.weigh(&status(1, 1, 0, Running)), Revenant);
    assert_eq!(one.0.weigh(&status(0, 1, 0, Running)), News);
}

#[test]
fn a_task_that_is_being_launched_is_not_forgotten_however_many_others_end() {
    let mut one = One::new(false);
    one.tells(1, 3, Failed, News);
    assert!(one.0.launching(&id(0)));
    for i in 1..2 * ENDED_TASKS_REMEMBERED_MAX {
        assert_eq!(one.0.weigh(&status(i, 1, 1, Failed)), News);
    }
    assert!(!one.may_launch());
    assert!(one.0.tasks.len() <= ENDED_TASKS_REMEMBERED_MAX + 1);
}

#[test]
fn a_launch_of_unknown_fate_is_not_repeated_before_the_master_has_answered() {
    let mut one = One::new(false);
    assert!(one.0.launching(&id(0)));
    assert!(!one.may_launch());
    one.end();
    one.tells(0, 0, Lost, Stale);
    one.begin(false);
    assert!(one.asks());
    assert_eq!(one.0.settle([id(0), id(1)]), BTreeSet::from([id(1)]));
    one.tells(0, 0, Unreachable, News);
    one.tells(0, 0, Unreachable, Stale);
    assert!(!one.may_launch(), "an unreachable agent may run it");
    one.tells(0, 0, Lost, News);
    assert!(!one.asks());
    assert!(one.may_launch());
}

#[test]
fn a_task_that_ran_all_the_time_is_not_launched_again() {
    let mut one = One::new(false);
    assert!(one.0.launching(&id(0)));
    one.0.launched(&id(0), Incarnation(7));
    one.end();
    one.begin(false);
    assert!(one.asks());
    one.tells(7, 2, Running, News);
    assert!(!one.asks());
    assert!(!one.may_launch());
    one.tells(7, 3, Finished, News);
    assert!(one.may_launch());
}

#[test]
fn what_is_resumed_is_not_asked_about() {
    let mut one = One::new(false);
    one.tells(7, 2, Running, News);
    one.end();
    one.begin(true);
    assert!(!one.asks());
    assert!(!one.may_launch());
}

#[test]
fn a_task_that_the_master_has_shown_to_know_is_not_asked_about_but_stays_open() {
    let mut one = One::new(false);
    one.tells(7, 2, Running, News);
    one.end();
    one.begin(false);
    one.tells(7, 0, Staging, Stale);
    assert!(!one.asks());
    assert!(!one.may_launch());
    one.end();
    one.begin(false);
    assert!(one.asks(), "another master may know nothing of it");
}

#[test]
fn the_end_of_the_last_launch_does_not_end_the_next() {
    let mut one = One::new(false);
    one.tells(1, 3, Failed, News);
    assert!(one.0.launching(&id(0)));
    one.tells(1, 3, Failed, Stale);
    one.end();
    one.begin(false);
    one.tells(1, 3, Failed, Stale);
    assert!(!one.may_launch());
    assert!(one.asks());
    one.tells(2, 1, Running, News);
    one.tells(1, 3, Failed, Stale);
    assert!(!one.may_launch());
}

#[test]
fn a_late_answer_does_not_end_what_was_launched_since() {
    let mut one = One::new(false);
    assert!(one.0.launching(&id(0)));
    one.end();
    one.begin(false);
    one.tells(0, 0, Lost, News);
    assert!(one.0.launching(&id(0)));
    one.tells(0, 0, Lost, Stale);
    one.0.launched(&id(0), Incarnation(9));
    one.tells(0, 0, Lost, Stale);
    assert!(!one.may_launch());
}

#[test]
fn what_a_session_said_does_not_settle_the_launch_that_it_did_not_answer() {
    let mut one = One::new(false);
    assert!(one.0.launching(&id(0)));
    one.end();
    // The next one has begun, and the author still takes what the last one said.
    one.0.session_begun(false);
    one.tells(0, 0, Lost, Stale);
    assert!(!one.may_launch());
    one.0.session_taken();
    one.tells(0, 0, Lost, News);
    assert!(one.may_launch());
}

#[test]
fn what_ran_when_the_last_session_spoke_is_asked_about_in_the_next() {
    let mut one = One::new(false);
    one.tells(7, 1, Starting, News);
    one.end();
    one.0.session_begun(false);
    one.tells(7, 2, Running, News);
    assert!(one.asks(), "it is told, but may have gone since");
    one.0.session_taken();
    one.tells(0, 0, Lost, News);
    assert!(one.may_launch());
}

#[test]
fn what_was_first_heard_of_in_the_last_session_is_asked_about_in_the_next() {
    let mut one = One::new(true);
    one.end();
    one.0.session_begun(false);
    one.tells(7, 1, Starting, News);
    assert!(one.asks());
    one.0.session_taken();
    one.tells(0, 0, Lost, News);
    assert!(one.settles());
}

#[test]
fn a_refused_launch_may_be_repeated() {
    let mut one = One::new(true);
    assert!(one.0.launching(&id(0)));
    one.0.refused(&id(0));
    assert!(one.may_launch());
    assert!(!one.settles(), "nothing was heard of it");
}

#[test]
fn after_a_restart_ids_are_settled_first() {
    let mut one = One::new(true);
    assert!(!one.settles());
    assert!(one.asks());
    one.tells(0, 0, Lost, News);
    assert!(one.settles());
}

#[test]
fn what_ended_is_settled_again_when_another_program_may_have_been_active() {
    let mut one = One::new(true);
    one.tells(3, 1, Failed, News);
    assert!(one.settles());
    one.end();
    one.begin(true);
    assert!(one.settles());
    one.end();
    one.begin(false);
    assert!(!one.settles(), "the other may have launched it");
    assert!(one.asks());
    one.tells(0, 0, Lost, News);
    assert!(one.settles(), "it did not");
}

#[test]
fn the_end_of_a_launch_that_may_be_an_earlier_one_decides_nothing() {
    let mut one = One::new(true);
    assert!(!one.settles());
    for _ in 0..2 {
        one.tells(1, 3, Failed, News);
        assert!(
            !one.settles(),
            "a later one may run where nobody has looked yet"
        );
        assert!(!one.may_launch());
        assert!(one.asks());
    }
    // Its agent is back.
    one.tells(2, 1, Running, News);
    one.tells(2, 2, Finished, News);
    assert!(one.settles());
    one.tells(0, 0, Lost, News);
}

#[test]
fn an_end_that_decided_nothing_is_told_again_until_it_is_kept() {
    let mut one = One::new(true);
    assert!(!one.settles());
    one.tells(1, 3, Failed, News);
    one.0.end_was_kept(&id(0));
    for _ in 0..2 {
        one.end();
        one.begin(false);
        one.tells(0, 0, Lost, Again);
        assert_eq!(one.0.end_of(&id(0)), Some(&status(0, 1, 3, Failed)));
        assert!(one.settles());
        one.0.end_was_not_kept(id(0));
        assert!(one.asks());
    }
    one.tells(0, 0, Lost, Again);
    one.0.end_was_kept(&id(0));
    assert_eq!(one.0.end_of(&id(0)), None);
    assert!(one.settles());
}

proptest! {
    #[test]
    fn nobody_sees_a_task_go_backwards(
        statuses in prop::collection::vec((1u64..3, 0u64..6, 0usize..ALL.len(), 0u8..10), 1..60)
    ) {
        let mut one = One::new(false);
        let mut seen: Option<Status> = None;
        for (incarnation, number, state, chance) in statuses {
            if chance == 0 {
                one.end();
                one.begin(number % 2 == 0);
            }
            let status = status(0, incarnation, number, ALL[state]);
            if one.0.weigh(&status) != News {
                continue;
            }
            if let Some(last) = seen.filter(|last| last.incarnation >= status.incarnation) {
                prop_assert_eq!(last.incarnation, status.incarnation);
                let may = last.state == Unreachable || status.state >= last.state
                    || (last.state.is_terminal() && status.state.is_terminal());
                prop_assert!(may, "{last:?} then {status:?}");
            }
            seen = Some(status);
        }
    }
}
