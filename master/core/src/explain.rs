//! Why demand is not met: for each entry that wants more, the first thing that each agent fails by, counted, with where its
//! claim stands. It is found out in `questions.rs`; here it becomes sentences with numbers.

use proffer_model::resources::{Amount, format_milli};
use proffer_model::{
    DemandEntry, DemandId, FrameworkId, Key, Limits, Problem, ResourceKind, ResourceName, Role,
    Shape,
};

use crate::allocation::{self, Lacking, StoppingLimit};
use crate::core::Core;
use crate::effect::{Explanation, FailedPredicate, Obstacle};
use crate::frameworks::{Framework, unknown};
use crate::predicates::{failed, test_of};
use crate::questions::Demand;

impl Core {
    /// What was found out, in words; of an entry that is wanted no more nothing.
    pub(crate) fn explanations(&self, found: Demand) -> Result<Vec<Explanation>, Problem> {
        let framework = &found.framework;
        let known = self.frameworks.get(framework);
        let known = known.ok_or_else(|| unknown(framework).field("framework_id"))?;
        let mut explanations = Vec::new();
        for asked in found.asked {
            let (role, id) = (asked.inquiry.role.clone(), asked.inquiry.demand.clone());
            let entry = known
                .demands
                .get(&role)
                .and_then(|demand| demand.entry(&id));
            let before = found.before.get(&role).copied().unwrap_or_default();
            let in_all = self
                .allocator
                .explanation(framework, asked.inquiry, before)
                .filter(|in_all| in_all.wanted > 0);
            let (Some(entry), Some(in_all)) = (entry, in_all) else {
                continue;
            };
            let mut headroom = Limits::new();
            for name in in_all.bounded {
                let left = in_all.headroom.get(&name);
                headroom.set(name, left);
            }
            let mut obstacles = Vec::new();
            for (state, agents) in &found.inactive {
                let words = format!("are {state}");
                obstacles.extend(told("agent_state".to_owned(), &words, *agents));
            }
            let words = "have what is needed in offers that stand";
            obstacles.extend(told("offered".to_owned(), words, asked.in_offers));
            for (obstacle, agents) in &in_all.agents {
                let (reason, words) = self.words((framework, known), &role, entry, obstacle);
                let told = told(reason, &words, *agents);
                obstacles.extend(told.map(|told| Obstacle {
                    predicate: failed_predicate(entry, obstacle),
                    ..told
                }));
            }
            // Most agents first; of equals, by reason.
            obstacles.sort_by(|a: &Obstacle, b| {
                let by_count = b.agents.cmp(&a.agents);
                by_count.then_with(|| a.reason.cmp(&b.reason))
            });
            explanations.push(Explanation {
                role,
                demand: id,
                wanted: in_all.wanted,
                offered: in_all.offered,
                share_billionths: in_all.share_billionths,
                claims_before: in_all.claims_before,
                headroom,
                obstacles,
            });
        }
        Ok(explanations)
    }

    /// A reason, and the rest of the sentence that begins with how many agents.
    fn words(
        &self,
        (framework, known): (&FrameworkId, &Framework),
        role: &Role,
        entry: &DemandEntry,
        obstacle: &allocation::Obstacle,
    ) -> (String, String) {
        use allocation::Obstacle as Why;
        let one = |reason: &str, words: &str| (reason.to_owned(), words.to_owned());
        match obstacle {
            Why::AgentInactive => one("agent_state", "are not offered of"),
            Why::Predicate(place) => ("predicate".to_owned(), failing(entry, *place, role)),
            Why::TooSmall(lacking) => too_small(entry, lacking, role),
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
            Why::NotFree(lacking) => not_free(entry, lacking, role),
            Why::NothingFree => one("insufficient_any", "have nothing free"),
            Why::BelowLeast => one("below_least", "have less free than is offered at least"),
            Why::ReservedForOthers => one(
                "reserved",
                "have too little free that is not reserved for other roles",
            ),
            Why::NotTaken => one(
                "not_taken",
                "have too little free but what it does not take (revocable, shared, or of a refined reservation)",
            ),
            Why::Earmarked => one("earmarked", "are kept for demand that has waited long"),
            Why::HeldBack(name) => (
                format!("held_back_{name}"),
                format!("have {name} free that is held back for guarantees of other roles"),
            ),
            Why::Limit(limited, name) => {
                self.words_of_limit(framework, (role, &entry.id), name, (limited, false))
            }
            Why::LimitKept(limited, name) => {
                self.words_of_limit(framework, (role, &entry.id), name, (limited, true))
            }
            Why::Window => (
                "window".to_owned(),
                format!(
                    "fit, but wait until the framework answers what it has (offers out: {}, at most while others wait: {})",
                    known.offers.len(),
                    known.window.most
                ),
            ),
            Why::Gang { room, gang } => (
                "gang".to_owned(),
                format!("have room for {room} of it in all, and {gang} are wanted at once"),
            ),
            Why::Turn if self.triggers.is_recovering() => one(
                "waiting",
                "fit, but wait until more of the cluster is back after a change of leader",
            ),
            Why::Turn => one("waiting", "fit, and will be offered in their turn"),
        }
    }
}

impl Core {
    /// What stands in the way of an entry where a limit leaves too little; `is_kept`: because of guarantees beneath its role.
    fn words_of_limit(
        &self,
        framework: &FrameworkId,
        entry: (&Role, &DemandId),
        name: &ResourceName,
        (limited, is_kept): (&Role, bool),
    ) -> (String, String) {
        let may_be_held = self.agents.awaited.may_be_held(self.turn.now);
        let is_lowered = may_be_held.is_some_and(|held| held.get(name) > 0);
        let set = |role: &Role, name: &ResourceName| {
            let quota = self.registry.quotas.get(role)?;
            quota.limits.get(name)
        };
        let found = match is_lowered {
            // As limits were set, without what may be held on agents that are still to come back.
            true => self.allocator.stopping_limit(framework, entry, name, set),
            false => Some(StoppingLimit {
                role: limited.clone(),
                name: name.clone(),
                is_kept,
            }),
        };
        let Some(StoppingLimit {
            role,
            name,
            is_kept,
        }) = found
        else {
            let words = format!(
                "fit, but wait until the agents of before the change of leader are back: what {limited} holds of {name} there counts against its limit"
            );
            return ("limit_waits".to_owned(), words);
        };
        let words = match is_kept {
            false => format!("fit, but {role} is at its limit of {name}"),
            true => format!(
                "fit, but what the limit of {role} leaves of {name} is kept for guarantees beneath it"
            ),
        };
        (format!("limit_{name}"), words)
    }
}

fn failing(entry: &DemandEntry, place: usize, role: &Role) -> String {
    let predicate = entry.predicates.get(place);
    predicate.map_or_else(String::new, |predicate| failed(predicate, role))
}

fn failed_predicate(
    entry: &DemandEntry,
    obstacle: &allocation::Obstacle,
) -> Option<FailedPredicate> {
    let allocation::Obstacle::Predicate(place) = obstacle else {
        return None;
    };
    Some(FailedPredicate {
        place: u32::try_from(*place).unwrap_or(u32::MAX),
        test: test_of(entry.predicates.get(*place)?),
    })
}

fn too_small(entry: &DemandEntry, lacking: &Lacking, role: &Role) -> (String, String) {
    let are_numbers = |kind| matches!(named(entry, kind), Some(Amount::Ranges(_)));
    match lacking {
        // Those that tasks hold are not there for the allocator.
        Lacking::Count(_) => not_free(entry, lacking, role),
        Lacking::Amount(kind) if are_numbers(kind) => not_free(entry, lacking, role),
        _ => told_of(entry, lacking, role, ("too_small", "", " in all")),
    }
}

fn not_free(entry: &DemandEntry, lacking: &Lacking, role: &Role) -> (String, String) {
    told_of(entry, lacking, role, ("insufficient", " free", " free"))
}

/// A reason, and that there is too little: the beginning of the reason, and what is said of what is a set, numbers or not all
/// that is there, and of what is an amount.
fn told_of(
    entry: &DemandEntry,
    lacking: &Lacking,
    role: &Role,
    (reason, of_items, of_amount): (&str, &str, &str),
) -> (String, String) {
    let reason_of = |name: &ResourceName| format!("{reason}_{name}");
    match lacking {
        Lacking::Amount(kind) if !kind.is_allocatable_to(role) => {
            let words = format!("have no {kind} for role {role}");
            (reason_of(&kind.name), words)
        }
        Lacking::Amount(kind) => {
            let words = match named(entry, kind) {
                Some(Amount::Scalar(_)) if names_others(entry, kind) => {
                    let less = less_than_needed(entry, kind);
                    format!("{less}{of_items} beside the other kinds that it needs")
                }
                Some(Amount::Scalar(_)) | None => {
                    format!("{}{of_amount}", less_than_needed(entry, kind))
                }
                Some(amount) => format!("do not have all of {kind} {amount}{of_items}"),
            };
            (reason_of(&kind.name), words)
        }
        Lacking::Count(name) => {
            let beside = named(entry, &ResourceKind::plain(name.clone()));
            let beside = beside.map(|named| format!(" beside {named}"));
            let words = format!(
                "have fewer than {} {name}{of_items}{}",
                counted(entry, name),
                beside.unwrap_or_default()
            );
            (reason_of(name), words)
        }
        Lacking::Unreserved(name) => {
            let less = less_than_needed(entry, &ResourceKind::plain(name.clone()));
            let words = format!("{less}{of_items} that is not reserved for other roles");
            ("reserved".to_owned(), words)
        }
        Lacking::Taken(name) => {
            let less = less_than_needed(entry, &ResourceKind::plain(name.clone()));
            let words = format!(
                "{less}{of_items} beside what it does not take (revocable, a disk or volume by itself, or of a refined reservation)"
            );
            ("not_taken".to_owned(), words)
        }
    }
}

/// That there is less than one instance needs of an amount.
fn less_than_needed(entry: &DemandEntry, kind: &ResourceKind) -> String {
    match named(entry, kind) {
        Some(Amount::Scalar(milli)) => format!("have less than {} {kind}", format_milli(*milli)),
        _ => format!("have too little {kind}"),
    }
}

/// Whether a shape names other kinds of a resource, that are reserved or revocable.
fn names_others(entry: &DemandEntry, kind: &ResourceKind) -> bool {
    let is_other = |other: &ResourceKind| other.name == kind.name && other != kind;
    match &entry.shape {
        Shape::Of { resources, .. } => resources.special().any(|(other, _)| is_other(other)),
        Shape::Any { .. } => false,
    }
}

/// What one instance needs of a resource that its shape names.
fn named<'a>(entry: &'a DemandEntry, kind: &ResourceKind) -> Option<&'a Amount> {
    match &entry.shape {
        Shape::Of { resources, .. } => resources.amount(kind),
        Shape::Any { .. } => None,
    }
}

/// How many numbers of this name one instance needs, whichever.
fn counted(entry: &DemandEntry, name: &ResourceName) -> u64 {
    match &entry.shape {
        Shape::Of { counts, .. } => counts.get(name).copied().unwrap_or_default(),
        Shape::Any { .. } => 0,
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
        predicate: None,
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
