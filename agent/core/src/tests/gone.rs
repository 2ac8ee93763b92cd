//! An agent that an operator has marked gone: it ends what it runs, each task with its own grace, and only for that reason.

use std::time::Duration;

use proffer_model::link::ToAgent;
use proffer_model::{Exit, Problem, code};

use super::{Agent, spec};
use crate::effect::{Effect, Fact};
use crate::event::{Event, LinkId};

fn gone() -> ToAgent {
    ToAgent::Refused(Problem::new(code::AGENT_GONE, "no").hint("remove its work directory"))
}

#[test]
fn an_agent_that_is_marked_gone_ends_what_it_runs_also_in_its_next_life() {
    let mut agent = Agent::registered();
    let run = agent.run(1, spec("t"));
    agent.take();
    agent.receive(ToAgent::Refused(Problem::new(code::AGENT_REFUSED, "no")));
    assert_eq!(agent.story(), ["agent.refused", "close"], "tasks run on");
    agent.connect(1);
    agent.take();
    agent.receive(gone());
    agent.persist();
    let done = agent.take();
    let is_said = |effect: &Effect| matches!(effect, Effect::Record(Fact::Gone(_)));
    assert_eq!(done.iter().filter(|effect| is_said(effect)).count(), 1);
    let is_signal = |effect: &Effect| matches!(effect, Effect::SignalContainer { .. });
    assert!(done.iter().any(is_signal), "{done:?}");
    let is_closed = |effect: &Effect| matches!(effect, Effect::CloseLink(_));
    assert!(done.iter().any(is_closed));
    // It tries again, and is told the same: nothing is ended twice, and nothing is said aloud again.
    agent.links += 1;
    agent.step(Event::LinkOpened(LinkId(agent.links)));
    agent.take();
    agent.receive(gone());
    assert_eq!(agent.story(), ["agent.gone", "close"]);
    agent.pass(Duration::from_secs(60));
    agent.take();
    agent.step(Event::ContainerExited {
        run,
        ended: Exit::Signal(9).into(),
    });
    agent.persist();
    assert!(agent.story().is_empty(), "there is nobody to tell");
    // Its id was forgotten, and is marked again.
    agent.connect(1);
    agent.run(2, spec("u"));
    agent.take();
    agent.receive(gone());
    agent.persist();
    assert!(agent.take().iter().any(is_signal), "it ends that, too");
}
