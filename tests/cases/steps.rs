//! The language of the cases: one line is one step. What is not understood is a fault that names its line.
//!
//! Liberal in white space and in the order of options, strict in meaning.

use super::amounts::{Amounts, Sums, parse_milli};
use super::blocks::{Block, Fault};
use super::compile::Refusal;
use super::expect::Expectation;
use proffer_model::id::{AgentId, FrameworkId, Role};

/// What a framework says of itself when it comes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Arrival {
    pub(super) framework: String,
    pub(super) roles: Vec<String>,
    pub(super) suppressed: Vec<String>,
    pub(super) is_inactive: bool,
    pub(super) capabilities: Capabilities,
    /// The least that an offer to it holds, any of these; none: what the allocator was told.
    pub(super) least: Option<Vec<Sums>>,
}

/// What Mesos's capabilities change in an allocator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Capabilities {
    pub(super) gpu: bool,
    pub(super) revocable: bool,
    pub(super) shared: bool,
    pub(super) refined: bool,
}

/// Something that is in use on an agent that is added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) framework: String,
    pub(super) role: String,
    pub(super) amounts: Amounts,
}

/// One step of an allocator block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Agent(String, Amounts, Vec<Used>),
    Agents(u32, Amounts),
    RemoveAgent(String),
    SetAgent(String, Amounts),
    Framework(Arrival),
    RemoveFramework(String),
    Batch,
    Run,
    Tick(u64),
    Interval(u64),
    Least(Vec<Sums>),
    ShareExcluded(Vec<String>),
    Decline {
        framework: String,
        agent: String,
        role: String,
        refusal: Option<Refusal>,
        /// None: all that it holds there.
        amounts: Option<Amounts>,
    },
    Convert {
        framework: String,
        agent: String,
        role: String,
        from: Amounts,
        to: Amounts,
    },
    ConvertFree(String, Amounts, Amounts),
    Quota(String, Sums, Sums),
    Weight(String, u32),
    Suppress(String, Vec<String>),
    Revive(String, Vec<String>),
    Disconnect(String),
    Reconnect(String),
    /// Offers since the last one, all of these lines together.
    Expect(Vec<Expectation>),
}

/// A step with the number of its line.
pub(super) type Numbered<T> = (usize, T);

/// Reads an allocator block.
pub(super) fn parse(block: &Block) -> Result<Vec<Numbered<Step>>, Fault> {
    let mut steps: Vec<Numbered<Step>> = Vec::new();
    for (number, line) in &block.lines {
        let fault = |why: String| Fault::new(*number, why);
        let words = split(line).map_err(fault)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (step, expected) = match words.iter().position(|word| *word == "=>") {
            Some(at) => (&words[..at], Some(&words[at + 1..])),
            None => (&words[..], None),
        };
        if let Some((verb, rest)) = step.split_first() {
            for step in parse_step(verb, rest).map_err(fault)? {
                steps.push((*number, step));
            }
        }
        if let Some(expected) = expected {
            let expectation = Expectation::parse(expected).map_err(fault)?;
            match steps.last_mut() {
                Some((_, Step::Expect(all))) => all.push(expectation),
                _ => steps.push((*number, Step::Expect(vec![expectation]))),
            }
        }
    }
    Ok(steps)
}

/// Splits at white space that is not within brackets.
pub(super) fn split(line: &str) -> Result<Vec<String>, String> {
    let mut words = vec![String::new()];
    let mut depth = 0_i32;
    for c in line.chars() {
        match c {
            '[' | '(' | '{' => depth += 1,
            ']' | ')' | '}' => depth -= 1,
            _ => {}
        }
        match c {
            c if c.is_whitespace() && depth == 0 => words.push(String::new()),
            c if c.is_whitespace() => {}
            // In an option it is part of the option.
            '|' if depth == 0 && !words.last().is_some_and(|word| word.contains('=')) => {
                words.extend(["|".to_owned(), String::new()]);
            }
            c => words.last_mut().ok_or("no word")?.push(c),
        }
        if depth < 0 {
            break;
        }
    }
    if depth != 0 {
        return Err(format!("the brackets of {line:?} do not match"));
    }
    words.retain(|word| !word.is_empty());
    Ok(words)
}

fn parse_step(verb: &str, rest: &[&str]) -> Result<Vec<Step>, String> {
    let one = match (verb, rest) {
        ("agent", [agent, rest @ ..]) => parse_agent(agent, rest)?,
        ("agents", [count, rest @ ..]) => {
            let count = count
                .parse()
                .map_err(|_| format!("{count:?} is not a number"))?;
            Step::Agents(count, Amounts::parse(rest)?)
        }
        ("rmagent", [agent]) => Step::RemoveAgent(agent_id(agent)?),
        ("setagent", [agent, rest @ ..]) => Step::SetAgent(agent_id(agent)?, Amounts::parse(rest)?),
        ("fw", [framework, rest @ ..]) => parse_framework(framework, rest)?,
        ("rmfw", [framework]) => Step::RemoveFramework(framework_id(framework)?),
        ("batch" | "fw_batch", []) => Step::Batch,
        ("fw_batch", [framework, rest @ ..]) => {
            return Ok(vec![Step::Batch, parse_framework(framework, rest)?]);
        }
        ("run", []) => Step::Run,
        ("tick", [seconds]) => Step::Tick(parse_ns(seconds)?),
        ("interval", [seconds]) => match parse_ns(seconds)? {
            0 => return Err("the interval is 0".to_owned()),
            ns => Step::Interval(ns),
        },
        ("minalloc", rest) if !rest.is_empty() => Step::Least(parse_least(&rest.join("|"))?),
        ("share_excluded", rest) if !rest.is_empty() => Step::ShareExcluded(list(rest)),
        ("decline", [framework, agent, role, seconds, rest @ ..]) => Step::Decline {
            framework: framework_id(framework)?,
            agent: agent_id(agent)?,
            role: role_of(role)?,
            refusal: match *seconds {
                "-" => None,
                seconds => Some(Refusal::parse(seconds)?),
            },
            amounts: match rest {
                [] => None,
                rest => Some(Amounts::parse(rest)?),
            },
        },
        ("convert", rest) => parse_convert(rest)?,
        ("quota", [role, rest @ ..]) if !rest.is_empty() => parse_quota(role, rest)?,
        ("weight", [role, weight]) => Step::Weight(role_of(role)?, parse_weight(weight)?),
        ("suppress", [framework, roles @ ..]) => {
            Step::Suppress(framework_id(framework)?, roles_of(roles)?)
        }
        ("revive", [framework, roles @ ..]) => {
            Step::Revive(framework_id(framework)?, roles_of(roles)?)
        }
        ("disconnect", [framework]) => Step::Disconnect(framework_id(framework)?),
        ("reconnect", [framework]) => Step::Reconnect(framework_id(framework)?),
        _ => return Err(format!("`{verb}` with {rest:?} is not a step")),
    };
    Ok(vec![one])
}

/// `agent A R…`, and what is in use on it: `| used F role R…`, as often as there is.
fn parse_agent(agent: &str, rest: &[&str]) -> Result<Step, String> {
    let mut parts = rest.split(|word| *word == "|" || *word == "used");
    let total = Amounts::parse(parts.next().unwrap_or_default())?;
    let mut used = Vec::new();
    for part in parts.filter(|part| !part.is_empty()) {
        let [framework, role, amounts @ ..] = part else {
            return Err(format!(
                "{part:?} is not a framework, a role and resources in use"
            ));
        };
        used.push(Used {
            framework: framework_id(framework)?,
            role: role_of(role)?,
            amounts: Amounts::parse(amounts)?,
        });
    }
    if rest.contains(&"|") != rest.contains(&"used") || rest.last() == Some(&"used") {
        return Err("what is in use is written `| used F role R…`".to_owned());
    }
    Ok(Step::Agent(agent_id(agent)?, total, used))
}

/// `fw F role[,role…] [caps=X,Y] [suppressed=role,…] [least=…] [inactive]`, the options in any order.
fn parse_framework(framework: &str, rest: &[&str]) -> Result<Step, String> {
    let mut arrival = Arrival {
        framework: framework_id(framework)?,
        ..Arrival::default()
    };
    for word in rest {
        match word.split_once('=') {
            Some(("caps", names)) => {
                for name in list(&[names]) {
                    arrival.capabilities.learn(&name)?;
                }
            }
            Some(("suppressed", roles)) => arrival.suppressed = roles_of(&[roles])?,
            Some(("least", sets)) => arrival.least = Some(parse_least(sets)?),
            Some(_) => return Err(format!("{word:?} is not an option of a framework")),
            None if *word == "inactive" => arrival.is_inactive = true,
            None => arrival.roles.extend(roles_of(&[word])?),
        }
    }
    if arrival.roles.is_empty() {
        return Err(format!("the framework {framework} has no role"));
    }
    if let Some(role) = arrival
        .suppressed
        .iter()
        .find(|role| !arrival.roles.contains(role))
    {
        return Err(format!(
            "{role} is suppressed and is not a role of {framework}"
        ));
    }
    Ok(Step::Framework(arrival))
}

impl Capabilities {
    /// By Mesos's name, whole or without `_RESOURCES`. Most of them say nothing to an allocator.
    fn learn(&mut self, name: &str) -> Result<(), String> {
        match name.to_ascii_uppercase().as_str() {
            "GPU" | "GPUS" | "GPU_RESOURCES" => self.gpu = true,
            "REV" | "REVOCABLE" | "REVOCABLE_RESOURCES" => self.revocable = true,
            "SHARED" | "SHARED_RESOURCES" => self.shared = true,
            "REFINEMENT" | "RESERVATION_REFINEMENT" => self.refined = true,
            "MULTI_ROLE" | "PARTITION_AWARE" | "TASK_KILLING_STATE" | "REGION_AWARE" => {}
            _ => return Err(format!("{name:?} is not a capability")),
        }
        Ok(())
    }
}

/// `convert F A role R… -> R…` of what a framework holds, `convert - A R… -> R…` of what is free.
fn parse_convert(rest: &[&str]) -> Result<Step, String> {
    let wrong = || "write `convert F A role R… -> R…` or `convert - A R… -> R…`".to_owned();
    let at = rest
        .iter()
        .position(|word| *word == "->")
        .ok_or_else(wrong)?;
    let to = Amounts::parse(&rest[at + 1..])?;
    match &rest[..at] {
        ["-", agent, from @ ..] => Ok(Step::ConvertFree(
            agent_id(agent)?,
            Amounts::parse(from)?,
            to,
        )),
        [framework, agent, role, from @ ..] => Ok(Step::Convert {
            framework: framework_id(framework)?,
            agent: agent_id(agent)?,
            role: role_of(role)?,
            from: Amounts::parse(from)?,
            to,
        }),
        _ => Err(wrong()),
    }
}

/// `quota role G=… L=…`. `-` is none, `same` is what the other is. One set of numbers alone is both, except that limits
/// alone guarantee nothing.
fn parse_quota(role: &str, rest: &[&str]) -> Result<Step, String> {
    let mut sides: [Option<Vec<String>>; 3] = [None, None, None];
    let mut side = 2;
    for word in rest {
        let mut word = *word;
        for (at, mark) in [(0, "G="), (1, "L=")] {
            if let Some(after) = word.strip_prefix(mark) {
                (side, word) = (at, after);
                if sides[side].is_some() {
                    return Err(format!("{mark} is given twice"));
                }
            }
        }
        let parts = word
            .split([',', ';'])
            .map(str::trim)
            .filter(|p| !p.is_empty());
        sides[side]
            .get_or_insert_default()
            .extend(parts.map(str::to_owned));
    }
    let (guarantees, limits) = match sides {
        [None, None, Some(both)] => (both.clone(), both),
        [Some(guarantees), None, None] => (guarantees.clone(), guarantees),
        [None, Some(limits), None] => (Vec::new(), limits),
        [Some(guarantees), Some(limits), None] => match (&guarantees[..], &limits[..]) {
            ([same], limits) if same == "same" => (limits.to_vec(), limits.to_vec()),
            (guarantees, [same]) if same == "same" => (guarantees.to_vec(), guarantees.to_vec()),
            _ => (guarantees, limits),
        },
        _ => return Err("a quota is `G=… L=…`, or one set of numbers".to_owned()),
    };
    let mut guarantees = parse_sums(&guarantees)?;
    guarantees.retain(|_, milli| *milli > 0);
    Ok(Step::Quota(
        role_of(role)?,
        guarantees,
        parse_sums(&limits)?,
    ))
}

/// Plain scalars, zeroes kept; `-` and `none` are no numbers at all.
fn parse_sums(words: &[String]) -> Result<Sums, String> {
    let mut sums = Sums::new();
    for word in words
        .iter()
        .filter(|word| !matches!(word.as_str(), "-" | "none"))
    {
        let wrong = || format!("{word:?} is not a scalar and an amount");
        let (name, amount) = word.split_once(':').ok_or_else(wrong)?;
        let milli = parse_milli(amount).ok_or_else(wrong)?;
        if name.is_empty() || name.contains(['(', '{', '@', '[']) {
            return Err(wrong());
        }
        if sums.insert(name.to_owned(), milli).is_some() {
            return Err(format!("{name} is given twice"));
        }
    }
    if words.len() > 1 && sums.len() < words.len() {
        return Err(format!("{words:?} is not a list of scalars"));
    }
    Ok(sums)
}

/// Sets of amounts of which one must be there: `cpus:0.01|mem:32`, `cpus:1,mem:32|gpus:1`; `none` lets everything pass.
fn parse_least(text: &str) -> Result<Vec<Sums>, String> {
    if text == "none" {
        return Ok(Vec::new());
    }
    let sets = text.split('|').filter(|set| !set.is_empty());
    sets.map(|set| parse_sums(&list(&[set]))).collect()
}

fn parse_weight(text: &str) -> Result<u32, String> {
    let milli = parse_milli(text).and_then(|milli| u32::try_from(milli).ok());
    milli
        .filter(|milli| *milli > 0)
        .ok_or_else(|| format!("{text:?} is not a weight"))
}

/// Seconds such as `1` or `0.5` in nanoseconds.
fn parse_ns(text: &str) -> Result<u64, String> {
    let milli = parse_milli(text.strip_suffix('s').unwrap_or(text));
    let ns = milli.and_then(|milli| milli.checked_mul(1_000_000));
    ns.ok_or_else(|| format!("{text:?} is not a number of seconds"))
}

fn list(words: &[&str]) -> Vec<String> {
    let parts = words.iter().flat_map(|word| word.split(','));
    parts
        .map(str::trim)
        .filter(|p| !p.is_empty())
        .map(str::to_owned)
        .collect()
}

pub(super) fn roles_of(words: &[&str]) -> Result<Vec<String>, String> {
    list(words).iter().map(|role| role_of(role)).collect()
}

pub(super) fn role_of(text: &str) -> Result<String, String> {
    Role::new(text)
        .map(|role| role.to_string())
        .map_err(|problem| problem.message)
}

pub(super) fn agent_id(text: &str) -> Result<String, String> {
    AgentId::new(text)
        .map(|id| id.to_string())
        .map_err(|problem| problem.message)
}

pub(super) fn framework_id(text: &str) -> Result<String, String> {
    FrameworkId::new(text)
        .map(|id| id.to_string())
        .map_err(|problem| problem.message)
}
