//! Why demand is not met: for each entry that wants more, the first thing that each agent fails by, counted, with where its
//! claim stands. The allocator says it in data; here it becomes sentences with numbers.

use std::collections::BTreeMap;

use proffer_model::resources::format_milli;
use proffer_model::{
    AgentState, DemandEntry, FrameworkId, Key, Limits, Problem, ResourceName, Role, Shape,
};

use crate::allocation;
use crate::amounts::lacking;
use crate::core::Core;
use crate::effect::{After, Effect, Explanation, Obstacle, Reply};
use crate::event::RequestId;
use crate::frameworks::{Framework, unknown};

impl Core {
    pub(crate) fn on_roles_requested(&mut self, request: RequestId) {
        let mut rows = self.allocator.role_rows();
        for row in &mut rows {
            // The allocator is told less while agents are awaited.
            row.quota = self.registry.quotas.get(&row.role).cloned();
        }
        let reply = Ok(Reply::Roles(rows));
        let after = self.turn.after_everything();
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
            for entry in &demand.entries {
                let found = self.allocator.explain(framework, role, &entry.id);
                let found = found.filter(|found| found.wanted > 0);
                explanations.extend(found.map(|found| self.explanation(known, role, entry, found)));
            }
        }
        Ok(explanations)
    }

    fn explanation(
        &self,
        known: &Framework,
        role: &Role,
        entry: &DemandEntry,
        found: allocation::Explanation,
    ) -> Explanation {
        let mut headroom = Limits::new();
        for name in found.bounded {
            let left = found.headroom.get(&name);
            headroom.set(name, left);
        }
        Explanation {
            role: role.clone(),
            demand: entry.id.clone(),
            wanted: found.wanted,
            offered: found.offered,
            share_billionths: found.share_billionths,
            claims_before: found.claims_before,
            headroom,
            obstacles: self.obstacles(known, entry, &found.agents),
        }
    }

    /// Most agents first; of equals, by reason.
    fn obstacles(
        &self,
        known: &Framework,
        entry: &DemandEntry,
        counted: &BTreeMap<allocation::Obstacle, u32>,
    ) -> Vec<Obstacle> {
        let mut in_offers = self.agents_with_it_in_offers(entry);
        let mut obstacles = Vec::new();
        for (state, agents) in self.inactive_agents() {
            let words = format!("are {state}");
            obstacles.extend(told("agent_state".to_owned(), &words, agents));
        }
        for (obstacle, agents) in counted {
            if *obstacle == allocation::Obstacle::AgentInactive {
                continue;
            }
            let mut agents = *agents;
            if let allocation::Obstacle::NotFree(_) | allocation::Obstacle::NothingFree = obstacle {
                let offered = agents.min(in_offers);
                in_offers -= offered;
                agents -= offered;
                let words = "have what is needed in offers that stand";
                obstacles.extend(told("offered".to_owned(), words, offered));
            }
            let (reason, words) = self.words(known, entry, obstacle);
            obstacles.extend(told(reason, &words, agents));
        }
        obstacles.sort_by(|a: &Obstacle, b| {
            let by_count = b.agents.cmp(&a.agents);
            by_count.then_with(|| a.reason.cmp(&b.reason))
        });
        obstacles
    }

    /// Agents that nothing is offered of, by how they stand.
    fn inactive_agents(&self) -> BTreeMap<String, u32> {
        let mut counted = BTreeMap::new();
        for (id, agent) in &self.agents.by_id {
            let entry = self.registry.agents.get(id);
            let state = match agent.state {
                AgentState::Connected if entry.is_some_and(|entry| entry.drain.is_some()) => {
                    "drained".to_owned()
                }
                AgentState::Connected if !self.is_available(id) => "deactivated".to_owned(),
                AgentState::Connected if !self.turn.is_durable(agent.admitted_in) => {
                    "new".to_owned()
                }
                AgentState::Connected => continue,
                other => other.to_string(),
            };
            *counted.entry(state).or_default() += 1;
        }
        counted
    }

    /// How many agents would have what one instance needs, if it were not in offers.
    fn agents_with_it_in_offers(&self, entry: &DemandEntry) -> u32 {
        let shape = &entry.shape;
        let agents = self.agents.by_id.iter();
        let with = agents.filter(|(id, agent)| {
            let is_accepted = self.description(id).is_some_and(|description| {
                let mut predicates = entry.predicates.iter();
                predicates.all(|predicate| predicate.accepts(description))
            });
            is_accepted
                && !agent.offers.is_empty()
                && lacking(shape, &agent.rested()).is_none()
                && lacking(shape, &self.free(id)).is_some()
        });
        u32::try_from(with.count()).unwrap_or(u32::MAX)
    }

    /// A reason, and the rest of the sentence that begins with how many agents.
    fn words(
        &self,
        known: &Framework,
        entry: &DemandEntry,
        obstacle: &allocation::Obstacle,
    ) -> (String, String) {
        use allocation::Obstacle as Why;
        let one = |reason: &str, words: &str| (reason.to_owned(), words.to_owned());
        match obstacle {
            Why::AgentInactive => one("agent_state", "are not offered of"),
            Why::Predicate(_) => one("predicate", "do not have the host or attributes asked for"),
            Why::TooSmall(name) if is_of_numbers(entry, name) => not_free(entry, name),
            Why::TooSmall(name) => (
                format!("too_small_{name}"),
                format!("have less than {} in all", needed(entry, name)),
            ),
            Why::Excluded => one("excluded", "are excluded by the framework for a while"),
            Why::AtMost(place) => {
                let bound = entry.at_most.get(*place);
                let words = bound.map_or_else(String::new, |bound| {
                    let where_ = match &bound.per {
                        Key::Agent => "there".to_owned(),
                        Key::Host => "on their host".to_owned(),
                        Key::Zone => "in their zone".to_owned(),
                        Key::Region => "in their region".to_owned(),
                        Key::Attribute(name) => format!("with their {name}"),
                    };
                    format!("have {} of it {where_} already", bound.count)
                });
                (String::from("at_most"), words)
            }
            Why::NotFree(name) => not_free(entry, name),
            Why::NothingFree => one("insufficient_any", "have nothing free"),
            Why::BelowLeast => one("below_least", "have less free than is offered at least"),
            Why::Earmarked => one("earmarked", "are kept for demand that has waited long"),
            Why::HeldBack(name) => (
                format!("held_back_{name}"),
                format!("have {name} free that is held back for guarantees of other roles"),
            ),
            Why::Limit(role, name) => (
                format!("limit_{name}"),
                format!("fit, but {role} is at its limit of {name}"),
            ),
            Why::Window => (
                "window".to_owned(),
                format!(
                    "fit, but wait until the framework answers what it has (offers out: {}, at most while others wait: {})",
                    known.offers.len(),
                    known.window.most
                ),
            ),
            Why::Turn if self.triggers.is_recovering() => one(
                "waiting",
                "fit, but wait until more of the cluster is back after a change of leader",
            ),
            Why::Turn => one("waiting", "fit, and will be offered in their turn"),
        }
    }
}

/// Whether it is numbers: those that tasks hold are not there for the allocator.
fn is_of_numbers(entry: &DemandEntry, name: &ResourceName) -> bool {
    let Shape::Of { resources, counts } = &entry.shape else {
        return false;
    };
    counts.contains_key(name) || !resources.range_set(name.as_str()).is_empty()
}

fn not_free(entry: &DemandEntry, name: &ResourceName) -> (String, String) {
    let words = match &entry.shape {
        Shape::Of { resources, counts } if is_of_numbers(entry, name) => match counts.get(name) {
            Some(count) => format!("have fewer than {count} {name} free"),
            None => {
                let numbers = resources.range_set(name.as_str());
                format!("do not have all of {name} {numbers} free")
            }
        },
        Shape::Of { .. } | Shape::Any { .. } => {
            format!("have less than {} free", needed(entry, name))
        }
    };
    (format!("insufficient_{name}"), words)
}

/// How much one instance needs of a scalar, in words.
fn needed(entry: &DemandEntry, name: &ResourceName) -> String {
    let Shape::Of { resources, .. } = &entry.shape else {
        return format!("any {name}");
    };
    match resources.scalar(name.as_str()) {
        0 => name.to_string(),
        milli => format!("{} {name}", format_milli(milli)),
    }
}

fn told(reason: String, words: &str, agents: u32) -> Option<Obstacle> {
    let message = match agents {
        0 => return None,
        1 => format!("1 agent {}", singular(words)),
        _ => format!("{agents} agents {words}"),
    };
    Some(Obstacle {
        reason,
        message,
        agents,
    })
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
