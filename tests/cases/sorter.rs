//! Sorter blocks: the order in which clients of a tree are served, without agents.

use proffer_master_core::allocation::Sorter;
use proffer_model::{Role, Weight};

use super::On;
use super::amounts::{Amounts, Sums, parse_milli};
use super::blocks::{Block, Fault};
use super::compile::quantities;
use super::ranking::Ranking;
use super::steps::{Numbered, role_of, split};

/// One step of a sorter block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Total(Sums),
    /// With what is allocated to it at once, when there is something.
    Add(String, Option<Sums>),
    Allocate(String, Sums),
    Release(String, Sums),
    Remove(String),
    SetActive(String, bool),
    Weight(String, u32),
    Sort(Vec<String>),
}

/// Reads a sorter block.
pub(super) fn parse(block: &Block) -> Result<Vec<Numbered<Step>>, Fault> {
    let mut steps = Vec::new();
    for (number, line) in &block.lines {
        let words = split(line).map_err(|why| Fault::new(*number, why))?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let step = parse_step(&words).map_err(|why| Fault::new(*number, why))?;
        steps.push((*number, step));
    }
    Ok(steps)
}

fn parse_step(words: &[&str]) -> Result<Step, String> {
    Ok(match words {
        ["total", amounts @ ..] => Step::Total(Amounts::parse(amounts)?.sums()),
        ["new", client] => Step::Add(role_of(client)?, None),
        ["add", client] => Step::Add(role_of(client)?, None),
        ["add", client, amounts @ ..] => Step::Add(role_of(client)?, Some(parse_amounts(amounts)?)),
        ["alloc", client, amounts @ ..] => {
            Step::Allocate(role_of(client)?, parse_amounts(amounts)?)
        }
        ["unalloc", client, amounts @ ..] => {
            Step::Release(role_of(client)?, parse_amounts(amounts)?)
        }
        ["remove", client] => Step::Remove(role_of(client)?),
        ["off", client] => Step::SetActive(role_of(client)?, false),
        ["on", client] => Step::SetActive(role_of(client)?, true),
        ["weight", path, weight] => {
            let milli = parse_milli(weight).and_then(|milli| u32::try_from(milli).ok());
            let milli = milli.filter(|milli| *milli > 0);
            Step::Weight(
                role_of(path)?,
                milli.ok_or_else(|| format!("{weight:?} is not a weight"))?,
            )
        }
        ["sort", "=>", clients @ ..] => {
            let clients = clients.iter().map(|client| role_of(client));
            Step::Sort(clients.collect::<Result<_, _>>()?)
        }
        _ => return Err(format!("{words:?} is not a step of a sorter")),
    })
}

/// `c`, `c/m`, or resources by name.
fn parse_amounts(words: &[&str]) -> Result<Sums, String> {
    let [word] = words else {
        return Ok(Amounts::parse(words)?.sums());
    };
    if word.contains(':') {
        return Ok(Amounts::parse(words)?.sums());
    }
    let (cpus, mem) = word.split_once('/').unwrap_or((word, word));
    let wrong = || format!("{word:?} is not an amount");
    let cpus = parse_milli(cpus).ok_or_else(wrong)?;
    let mem = parse_milli(mem).ok_or_else(wrong)?;
    Ok(Sums::from([
        ("cpus".to_owned(), cpus),
        ("mem".to_owned(), mem),
    ]))
}

/// Plays the steps; the first fault ends it.
pub(super) fn play(steps: &[Numbered<Step>], on: On) -> Result<(), Fault> {
    let mut total = Sums::new();
    let mut model = Ranking::default();
    let mut real = Sorter::new();
    for (line, step) in steps {
        let fault = |why: String| Fault::new(*line, why);
        // The model knows who is there; it goes along in any case, so that nonsense is noticed.
        step_model(&mut model, step).map_err(fault)?;
        step_real(&mut real, step);
        match step {
            Step::Total(sums) => total.clone_from(sums),
            Step::Sort(expected) => {
                let came: Vec<String> = match on {
                    On::Model => model.sort(&total, &[]),
                    On::Allocator => real.order().iter().map(Role::to_string).collect(),
                };
                if came != *expected {
                    let (expected, came) = (expected.join(" "), came.join(" "));
                    let why = format!("\n      expected: {expected}\n      came:     {came}");
                    return Err(fault(why));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn step_model(model: &mut Ranking, step: &Step) -> Result<(), String> {
    match step {
        Step::Add(client, sums) => {
            model.add(client)?;
            model.set_active(client, true)?;
            sums.iter()
                .try_for_each(|sums| model.allocated(client, sums))
        }
        Step::Allocate(client, sums) => model.allocated(client, sums),
        Step::Release(client, sums) => {
            let held = model.held(client);
            let has = |name: &String| held.get(name).copied().unwrap_or(0);
            match sums.iter().find(|(name, milli)| has(name) < **milli) {
                Some((name, _)) => Err(format!("{client} does not hold so much of {name}")),
                None => model.unallocated(client, sums),
            }
        }
        Step::Remove(client) => model.remove(client),
        Step::SetActive(client, is_active) => model.set_active(client, *is_active),
        Step::Weight(path, milli) => {
            model.set_weight(path, *milli);
            Ok(())
        }
        Step::Total(_) | Step::Sort(_) => Ok(()),
    }
}

fn step_real(real: &mut Sorter, step: &Step) {
    let role = |path: &String| Role::new(path).expect("a role");
    match step {
        Step::Add(client, sums) => {
            real.add(&role(client));
            if let Some(sums) = sums {
                real.allocate(&role(client), &quantities(sums));
            }
        }
        Step::Allocate(client, sums) => real.allocate(&role(client), &quantities(sums)),
        Step::Release(client, sums) => real.release(&role(client), &quantities(sums)),
        Step::Remove(client) => real.remove(&role(client)),
        Step::SetActive(client, is_active) => real.set_active(&role(client), *is_active),
        Step::Weight(path, milli) => real.set_weight(&role(path), Weight(*milli)),
        Step::Total(sums) => real.set_total(&quantities(sums)),
        Step::Sort(_) => {}
    }
}
