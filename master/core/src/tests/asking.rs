//! What operators ask of a world: questions that are answered in later steps.

use std::collections::BTreeSet;

use proffer_model::{FrameworkId, Problem};

use super::world::World;
use crate::allocation::RoleRow;
use crate::effect::Reply;
use crate::event::{DemandPart, Event, RequestId, TimerKey};

impl World {
    pub(super) fn roles(&mut self) -> Vec<RoleRow> {
        let request = RequestId(self.fresh());
        let (after, len) = (None, usize::MAX);
        self.step(Event::RolesRequested {
            request,
            after,
            len,
        });
        match self.answered(request) {
            Ok(Reply::Roles { rows, next: None }) => rows,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn explain(&mut self, framework: &FrameworkId) -> Vec<(String, String)> {
        let Ok(Reply::Explained { entries, .. }) = self.why(framework, everything()) else {
            panic!("explained");
        };
        let obstacles = entries.iter().flat_map(|of| &of.obstacles);
        obstacles
            .map(|of| (of.reason.clone(), of.message.clone()))
            .collect()
    }

    /// Asks why demand is not met, and waits for the answer.
    pub(super) fn why(
        &mut self,
        framework: &FrameworkId,
        part: DemandPart,
    ) -> Result<Reply, Problem> {
        let request = RequestId(self.fresh());
        let framework = framework.clone();
        self.step(Event::ExplainRequested {
            request,
            framework,
            part,
        });
        self.answered(request)
    }

    /// Goes on with questions until one is answered. No time passes.
    pub(super) fn answered(&mut self, request: RequestId) -> Result<Reply, Problem> {
        while !self.replies.contains_key(&request) {
            let timer = self.timers.remove(&TimerKey::Questions);
            timer.expect("the question is under way");
            self.step(Event::TimerFired(TimerKey::Questions));
        }
        self.replies[&request].0.clone()
    }
}

/// All of a framework's demand.
pub(super) fn everything() -> DemandPart {
    DemandPart {
        role: None,
        demands: BTreeSet::new(),
        after: None,
        len: usize::MAX,
    }
}
