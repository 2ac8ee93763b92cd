//! The examples against the fake master: what they do when something goes wrong at the worst moment.

use std::time::Duration;

use proffer_model::session::Event;
use proffer_model::{FrameworkId, TaskState};

use super::{is_demand, task};
use crate::run;
use crate::testing::{FakeMaster, FakeSession, within};

#[path = "../../../examples/spread.rs"]
#[allow(dead_code, reason = "nobody calls its main")]
mod spread;

/// Waits until so much is wanted.
async fn demanded(session: &mut FakeSession, count: u32) {
    use proffer_model::session::{Answer, Call};
    loop {
        let (request, call) = session.call_that(is_demand).await;
        session.answer(request, Answer::Done).await;
        if let Call::SetDemand(demand) = call
            && demand.entries.iter().map(|entry| entry.count).sum::<u32>() == count
        {
            return;
        }
    }
}

#[tokio::test]
async fn spread_starts_anew_what_cannot_be_reached_also_when_the_next_leader_says_so() {
    let mut master = FakeMaster::start().await;
    let mut options = master.options("spread");
    options.framework_id = FrameworkId::new("f").ok();
    let patience = Duration::from_millis(50);
    let spread = spread::Spread::new(1, "true".to_owned(), patience);
    let running = tokio::spawn(run(options, spread));
    let mut first = master.active().await;
    demanded(&mut first, 1).await;
    first.offer("cpus:1;mem:64", "copy", 1).await;
    let launched = first.launches().await;
    assert_eq!(launched[0].id, task("copy-0-1"));
    let told = first.tell(&task("copy-0-1"), TaskState::Running).await;
    first.acknowledged(told).await;
    drop(first);

    // Another master leads, and the agent is not back.
    master.state.lock().unwrap().generation = 2;
    let mut second = master.subscribed(2, 2).await;
    second.send(Event::SnapshotEnded).await;
    assert_eq!(second.asked().await, [task("copy-0-1")]);
    second
        .tell_unknown(&task("copy-0-1"), TaskState::Unreachable)
        .await;
    demanded(&mut second, 1).await;
    second.offer("cpus:1;mem:64", "copy", 1).await;
    let launched = second.launches().await;
    assert_eq!(launched[0].id, task("copy-0-2"));
    let told = second.tell(&task("copy-0-2"), TaskState::Running).await;
    second.acknowledged(told).await;
    // It is back, and its place is taken.
    second.tell(&task("copy-0-1"), TaskState::Running).await;
    let is_kill = |call: &_| *call == super::repeating::kill("copy-0-1");
    within(second.call_that(is_kill)).await;
    running.abort();
}
