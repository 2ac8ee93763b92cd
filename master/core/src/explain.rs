//! Why demand is not met: for each entry that wants more, the first thing that each agent fails by, counted. It asks the
//! same questions as the allocator, in words with numbers.

use std::collections::BTreeMap;

use proffer_model::{AgentId, AgentState, FrameworkId, Problem};

use crate::agents::Agent;
use crate::allocator::accepts;
use crate::amounts::lacking;
use crate::core::Core;
use crate::demand::WantedEntry;
use crate::effect::{After, Effect, Explanation, Obstacle, Reply};
use crate::event::RequestId;
use crate::frameworks::unknown;

/// A reason and the rest of the sentence that begins with how many agents.
type Failing = (String, String);

impl Core {
    pub(crate) fn on_roles_requested(&mut self, request: RequestId) {
        let reply = Ok(Reply::Roles(Vec::new()));
        let after = After::Nothing;
        self.turn.push(Effect::Reply {
            request,
            reply,
            after,
        });
    }

    pub(crate) fn on_explain_requested(&mut self, request: RequestId, framework: &FrameworkId) {
        let reply = self.explain(framework).map(Reply::Explained);
        let after = After::Nothing;
        self.turn.push(Effect::Reply {
            request,
            reply,
            after,
        });
    }

    fn explain(&self, framework: &FrameworkId) -> Result<Vec<Explanation>, Problem> {
        let known = self
            .frameworks
            .get(framework)
            .ok_or_else(|| unknown(framework))?;
        let mut explanations = Vec::new();
        for (role, demand) in &known.demands {
            for entry in demand.entries.iter().filter(|entry| entry.wanted() > 0) {
                explanations.push(Explanation {
                    role: role.clone(),
                    demand: entry.entry.id.clone(),
                    wanted: entry.wanted(),
                    obstacles: self.obstacles(entry),
                });
            }
        }
        Ok(explanations)
    }

    /// Most agents first; of equals, by reason.
    fn obstacles(&self, entry: &WantedEntry) -> Vec<Obstacle> {
        let mut counted: BTreeMap<Failing, u32> = BTreeMap::new();
        for (id, agent) in &self.agents.by_id {
            *counted
                .entry(self.first_failing(id, agent, entry))
                .or_default() += 1;
        }
        let mut obstacles: Vec<Obstacle> = counted
            .into_iter()
            .map(|((reason, words), agents)| Obstacle {
                reason,
                message: match agents {
                    1 => format!("1 agent {}", singular(&words)),
                    _ => format!("{agents} agents {words}"),
                },
                agents,
            })
            .collect();
        obstacles.sort_by_key(|obstacle| std::cmp::Reverse(obstacle.agents));
        obstacles
    }

    fn first_failing(&self, id: &AgentId, agent: &Agent, entry: &WantedEntry) -> Failing {
        let failing = |reason: &str, words: &str| (reason.to_owned(), words.to_owned());
        let Some(description) = self.description(id) else {
            return failing("agent_state", "are not known");
        };
        if agent.state != AgentState::Connected {
            return failing("agent_state", &format!("are {}", agent.state));
        }
        if !accepts(entry, description) {
            return failing("predicate", "do not have the host or attributes asked for");
        }
        let unused = agent.total.minus(&agent.used);
        let excluded = entry.excluded.get(id);
        if excluded.is_some_and(|excluded| excluded.holds(self.turn.now, &unused)) {
            return failing("excluded", "are excluded by the framework for a while");
        }
        let rested = agent.rested();
        if let Some((name, words)) = lacking(&entry.entry.shape, &rested) {
            return (format!("insufficient_{name}"), words);
        }
        if lacking(&entry.entry.shape, &rested.minus(&agent.offered)).is_some() {
            return failing("offered", "have what is needed in offers that stand");
        }
        if self.triggers.is_recovering() {
            let words = "fit, but wait until more of the cluster is back after a change of leader";
            return failing("waiting", words);
        }
        failing("waiting", "fit, and will be offered at once")
    }
}

/// Turns "have less" into "has less" and so on, for one agent.
fn singular(words: &str) -> String {
    for (many, one) in [
        ("do not ", "does not "),
        ("have ", "has "),
        ("are ", "is "),
        ("fit, but wait ", "fits, but waits "),
        ("fit, ", "fits, "),
    ] {
        if let Some(rest) = words.strip_prefix(many) {
            return format!("{one}{rest}");
        }
    }
    words.to_owned()
}
