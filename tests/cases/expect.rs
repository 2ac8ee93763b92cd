//! What a case expects of the offers since the last time that it looked.

use std::fmt;

use super::amounts::Amounts;
use super::steps::{agent_id, framework_id, role_of};

/// An offer that was made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Made {
    pub(super) framework: String,
    pub(super) role: String,
    pub(super) agent: String,
    pub(super) amounts: Amounts,
}

/// One `=>` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expectation {
    /// No offer at all.
    None,
    /// So many, whatever they are.
    Count(usize),
    /// Just this one.
    Offer(Made),
    /// This one, on one of these agents.
    OneOf(Vec<String>, Made),
    /// All offers to a framework in a role together.
    Totals {
        framework: String,
        role: String,
        count: Option<usize>,
        amounts: Option<Amounts>,
    },
}

impl Expectation {
    /// Reads what stands after `=>`.
    pub(super) fn parse(words: &[&str]) -> Result<Self, String> {
        let number = |text: &str| {
            text.parse()
                .map_err(|_| format!("{text:?} is not a number"))
        };
        match words {
            ["none"] => Ok(Self::None),
            ["offers", count] => Ok(Self::Count(number(count)?)),
            [count] if count.starts_with("offers=") => {
                Ok(Self::Count(number(count.trim_start_matches("offers="))?))
            }
            ["one-of", rest @ ..] => Self::parse_one_of(rest),
            ["totals", framework, role, rest @ ..] => {
                let (counts, amounts): (Vec<&str>, Vec<&str>) =
                    rest.iter().partition(|word| word.starts_with("offers="));
                let count = match counts[..] {
                    [] => None,
                    [count] => Some(number(count.trim_start_matches("offers="))?),
                    _ => return Err("offers= is given twice".to_owned()),
                };
                if count.is_none() && amounts.is_empty() {
                    return Err("totals of nothing".to_owned());
                }
                let amounts = (!amounts.is_empty()).then(|| Amounts::parse(&amounts));
                Ok(Self::Totals {
                    framework: framework_id(framework)?,
                    role: role_of(role)?,
                    count,
                    amounts: amounts.transpose()?,
                })
            }
            [framework, role, agent, amounts @ ..] => {
                Ok(Self::Offer(Made::parse(framework, role, agent, amounts)?))
            }
            _ => Err(format!("{words:?} is not something to expect")),
        }
    }

    /// `A B : F role R…`; the colon may touch the agent before it.
    fn parse_one_of(words: &[&str]) -> Result<Self, String> {
        let wrong = || "write `=> one-of A B : F role R…`".to_owned();
        let at = words
            .iter()
            .position(|word| word.ends_with(':'))
            .ok_or_else(wrong)?;
        let before = words[..=at].iter().map(|word| word.trim_end_matches(':'));
        let agents: Vec<String> = before
            .flat_map(|word| word.split(','))
            .filter(|word| !word.is_empty())
            .map(agent_id)
            .collect::<Result<_, _>>()?;
        let [framework, role, amounts @ ..] = &words[at + 1..] else {
            return Err(wrong());
        };
        let first = agents.first().ok_or_else(wrong)?.clone();
        let made = Made::parse(framework, role, &first, amounts)?;
        Ok(Self::OneOf(agents, made))
    }
}

impl Made {
    fn parse(framework: &str, role: &str, agent: &str, amounts: &[&str]) -> Result<Self, String> {
        let amounts = Amounts::parse(amounts)?;
        if amounts.is_empty() {
            return Err("an offer of nothing is expected".to_owned());
        }
        Ok(Self {
            framework: framework_id(framework)?,
            role: role_of(role)?,
            agent: agent_id(agent)?,
            amounts,
        })
    }

    fn is_to(&self, framework: &str, role: &str) -> bool {
        self.framework == framework && self.role == role
    }
}

/// Whether what came is what was expected; otherwise the line of the report that says so.
pub(super) fn check(expected: &[Expectation], made: &[Made]) -> Result<(), String> {
    let is_met = match expected {
        [Expectation::None] => made.is_empty(),
        _ if expected.contains(&Expectation::None) => {
            return Err("`none` stands beside other expectations".to_owned());
        }
        _ => is_met(expected, made),
    };
    if is_met {
        return Ok(());
    }
    let mut came: Vec<String> = made.iter().map(Made::to_string).collect();
    came.sort();
    if came.is_empty() {
        came.push("none".to_owned());
    }
    let expected: Vec<String> = expected.iter().map(Expectation::to_string).collect();
    let (expected, came) = (
        expected.join("\n                "),
        came.join("\n                "),
    );
    Err(format!(
        "\n      expected: {expected}\n      came:     {came}"
    ))
}

fn is_met(expected: &[Expectation], made: &[Made]) -> bool {
    let mut rest: Vec<&Made> = made.iter().collect();
    let mut are_others_allowed = false;
    let mut floating = Vec::new();
    for one in expected {
        match one {
            Expectation::None => return false,
            Expectation::Count(count) => {
                are_others_allowed = true;
                if made.len() != *count {
                    return false;
                }
            }
            Expectation::Offer(offer) => match rest.iter().position(|one| *one == offer) {
                Some(at) => drop(rest.remove(at)),
                None => return false,
            },
            Expectation::OneOf(agents, offer) => floating.push((agents, offer)),
            Expectation::Totals { .. } => {}
        }
    }
    let Some(mut rest) = settle(&floating, rest) else {
        return false;
    };
    for one in expected {
        let Expectation::Totals {
            framework,
            role,
            count,
            amounts,
        } = one
        else {
            continue;
        };
        let to = made.iter().filter(|one| one.is_to(framework, role));
        let mut sum = Amounts::default();
        to.clone().for_each(|one| sum.add(&one.amounts));
        let has_count = count.is_none_or(|count| to.count() == count);
        if !has_count || amounts.as_ref().is_some_and(|amounts| *amounts != sum) {
            return false;
        }
        rest.retain(|one| !one.is_to(framework, role));
    }
    are_others_allowed || rest.is_empty()
}

/// Gives each `one-of` an offer of its own; what is left, when that can be done.
fn settle<'a>(floating: &[(&Vec<String>, &Made)], rest: Vec<&'a Made>) -> Option<Vec<&'a Made>> {
    let Some(((agents, offer), others)) = floating.split_first() else {
        return Some(rest);
    };
    for at in 0..rest.len() {
        let one = rest[at];
        let is_like = one.is_to(&offer.framework, &offer.role) && one.amounts == offer.amounts;
        if is_like && agents.contains(&one.agent) {
            let mut less = rest.clone();
            less.remove(at);
            if let Some(left) = settle(others, less) {
                return Some(left);
            }
        }
    }
    None
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            framework,
            role,
            agent,
            amounts,
        } = self;
        write!(f, "{framework} {role} {agent} {amounts}")
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Count(count) => write!(f, "offers {count}"),
            Self::Offer(made) => made.fmt(f),
            Self::OneOf(agents, made) => {
                let Made {
                    framework,
                    role,
                    amounts,
                    ..
                } = made;
                write!(
                    f,
                    "one-of {} : {framework} {role} {amounts}",
                    agents.join(" ")
                )
            }
            Self::Totals {
                framework,
                role,
                count,
                amounts,
            } => {
                write!(f, "totals {framework} {role}")?;
                if let Some(count) = count {
                    write!(f, " offers={count}")?;
                }
                amounts
                    .as_ref()
                    .map_or(Ok(()), |amounts| write!(f, " {amounts}"))
            }
        }
    }
}
