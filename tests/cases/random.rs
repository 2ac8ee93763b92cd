//! Steps at random, played on the allocator and on the plain model side by side: what the allocator offers must be what the
//! model offers in some order of agents. All that the model may be in then is followed on.
//!
//! What fails is printed as a block of the language, so that it becomes a case.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::amounts::{Amounts, Sums};
use super::blocks::{Block, Level, Plays};
use super::choices;
use super::expect::Made;
use super::model::Books;
use super::play::{Machine, Player, Returned, Setting};
use super::real::Real;
use super::steps::{self, Arrival, Used};

/// Scripts, and steps of each.
const SCRIPTS: u64 = 150;
const STEPS: usize = 30;
/// More ways than these are not followed: the script ends there.
const WAYS_MAX: usize = 2_000;
const STATES_MAX: usize = 24;

#[test]
fn random_steps_end_as_the_plain_model_may() {
    let mut failures = Vec::new();
    let mut rounds = 0;
    for seed in 0..SCRIPTS {
        let mut script = Script::new(seed);
        if let Err(why) = script.play() {
            failures.push(format!(
                "seed {seed}: {why}\n```case alloc\n{}```",
                script.text
            ));
        }
        rounds += script.rounds;
    }
    println!("{SCRIPTS} scripts, {rounds} steps");
    let shown: Vec<String> = failures.iter().take(3).cloned().collect();
    assert!(
        failures.is_empty(),
        "{} of {SCRIPTS} fail\n{}",
        failures.len(),
        shown.join("\n")
    );
}

/// The allocator, and every state that the model may be in.
struct Twin {
    real: Real,
    states: Vec<Books>,
    is_lost: bool,
}

impl Twin {
    fn each<T>(&mut self, act: impl Fn(&mut Books) -> Result<T, String>) -> Result<(), String> {
        self.states
            .iter_mut()
            .try_for_each(|books| act(books).map(drop))
    }
}

impl Machine for Twin {
    fn add_agent(&mut self, agent: &str, total: &Amounts, used: &[Used]) -> Result<(), String> {
        self.each(|books| books.add_agent(agent, total, used))?;
        self.real.add_agent(agent, total, used)
    }

    fn set_agent(&mut self, agent: &str, total: &Amounts) -> Result<bool, String> {
        self.each(|books| books.set_agent(agent, total))?;
        self.real.set_agent(agent, total)
    }

    fn remove_agent(&mut self, agent: &str) -> Result<(), String> {
        self.each(|books| books.remove_agent(agent))?;
        self.real.remove_agent(agent)
    }

    fn add_framework(&mut self, arrival: &Arrival) -> Result<(), String> {
        self.each(|books| books.add_framework(arrival))?;
        self.real.add_framework(arrival)
    }

    fn remove_framework(&mut self, framework: &str) -> Result<(), String> {
        self.each(|books| books.remove_framework(framework))?;
        self.real.remove_framework(framework)
    }

    fn set_framework_active(&mut self, framework: &str, is_active: bool) -> Result<(), String> {
        self.each(|books| books.set_framework_active(framework, is_active))?;
        self.real.set_framework_active(framework, is_active)
    }

    fn give_back(&mut self, what: &Returned<'_>, filter_ends: Option<u64>) -> Result<(), String> {
        self.each(|books| books.give_back(what, filter_ends))?;
        self.real.give_back(what, filter_ends)
    }

    fn convert(&mut self, what: &Returned<'_>, to: &Amounts) -> Result<(), String> {
        self.each(|books| books.convert(what, to))?;
        self.real.convert(what, to)
    }

    fn convert_free(&mut self, agent: &str, from: &Amounts, to: &Amounts) -> Result<(), String> {
        self.each(|books| books.convert_free(agent, from, to))?;
        self.real.convert_free(agent, from, to)
    }

    fn set_quota(&mut self, role: &str, guarantees: &Sums, limits: &Sums) -> Result<(), String> {
        self.each(|books| books.set_quota(role, guarantees, limits))?;
        self.real.set_quota(role, guarantees, limits)
    }

    fn set_weight(&mut self, role: &str, milli: u32) -> Result<(), String> {
        self.each(|books| books.set_weight(role, milli))?;
        self.real.set_weight(role, milli)
    }

    fn suppress(&mut self, framework: &str, roles: &[String]) -> Result<(), String> {
        self.each(|books| books.suppress(framework, roles))?;
        self.real.suppress(framework, roles)
    }

    fn revive(&mut self, framework: &str, roles: &[String]) -> Result<(), String> {
        self.each(|books| books.revive(framework, roles))?;
        self.real.revive(framework, roles)
    }

    fn round(&mut self, now: u64, agent: Option<&str>) -> Result<Vec<Made>, String> {
        let made = self.real.round(now, agent)?;
        let mut like: BTreeMap<String, Books> = BTreeMap::new();
        let mut others: BTreeMap<String, usize> = BTreeMap::new();
        let mut ways = 0;
        for books in &self.states {
            for (offers, state) in outcomes(books, now, agent, WAYS_MAX - ways)? {
                ways += 1;
                if offers == made {
                    like.insert(format!("{state:?}"), state);
                } else {
                    *others.entry(show(&offers)).or_default() += 1;
                }
            }
        }
        if ways >= WAYS_MAX || like.len() > STATES_MAX {
            self.is_lost = true;
        } else if like.is_empty() {
            let others: Vec<String> = others.into_keys().take(4).collect();
            let others = others.join("\n    or:     ");
            return Err(format!(
                "\n    came:   {}\n    model:  {others}",
                show(&made)
            ));
        }
        if !self.is_lost {
            self.states = like.into_values().collect();
        }
        Ok(made)
    }

    fn check(&self) -> Result<(), String> {
        self.real.check()
    }
}

fn show(made: &[Made]) -> String {
    let offers: Vec<String> = made.iter().map(Made::to_string).collect();
    if offers.is_empty() {
        "none".to_owned()
    } else {
        offers.join(" + ")
    }
}

/// Every way that a round can go, up to so many: each sequence of choices is tried once.
fn outcomes(
    books: &Books,
    now: u64,
    agent: Option<&str>,
    most: usize,
) -> Result<Vec<(Vec<Made>, Books)>, String> {
    let mut found = Vec::new();
    let mut path: Vec<(usize, usize)> = Vec::new();
    while found.len() < most {
        let mut state = books.clone();
        let mut at = 0;
        let mut choose = |below: usize| {
            if at == path.len() {
                path.push((0, below));
            }
            at += 1;
            path[at - 1].0
        };
        let offers = state.round(now, agent, &mut choose)?;
        found.push((offers, state));
        // The next sequence: the last choice that can still grow does.
        while path
            .last()
            .is_some_and(|(choice, below)| choice + 1 >= *below)
        {
            path.pop();
        }
        match path.last_mut() {
            Some((choice, _)) => *choice += 1,
            None => break,
        }
    }
    Ok(found)
}

/// A script in the making.
struct Script {
    choose: Box<dyn FnMut(usize) -> usize>,
    seed: u64,
    text: String,
    rounds: usize,
    agents: Vec<String>,
    frameworks: Vec<String>,
    has_quota: bool,
    /// Frameworks without a session.
    away: Vec<String>,
}

/// Roles with quota have nobody beneath them: there we differ from Mesos.
const ROLES: &[&str] = &["q", "r", "s", "a/x", "a/y", "a", "b/z"];
const QUOTA_ROLES: &[&str] = &["q", "r", "s"];

impl Script {
    fn new(seed: u64) -> Self {
        Self {
            choose: Box::new(choices(seed)),
            seed,
            text: String::new(),
            rounds: 0,
            agents: Vec::new(),
            frameworks: Vec::new(),
            has_quota: !seed.is_multiple_of(3),
            away: Vec::new(),
        }
    }

    fn below(&mut self, most: usize) -> usize {
        (self.choose)(most)
    }

    fn pick(&mut self, from: &[&str]) -> String {
        let at = self.below(from.len());
        from[at].to_owned()
    }

    fn play(&mut self) -> Result<(), String> {
        let setting = Setting::of(&[]).map_err(|fault| fault.message)?;
        let mut twin = Twin {
            real: Real::new(&setting, self.seed),
            states: vec![Books::new(setting)],
            is_lost: false,
        };
        let mut time = Player::default();
        for _ in 0..STEPS {
            let Some(line) = self.next(&twin) else {
                continue;
            };
            self.rounds += 1;
            let _ = writeln!(self.text, "{line}");
            let block = Block {
                file: String::new(),
                name: String::new(),
                level: Level::Allocator,
                plays: Plays::Both,
                lines: vec![(1, line)],
            };
            let parsed = steps::parse(&block).map_err(|fault| fault.message)?;
            for (_, step) in parsed {
                time.step(&mut twin, &step)?;
                twin.check()?;
            }
            for made in time.take_made() {
                let _ = writeln!(self.text, "=> {made}");
            }
            if twin.is_lost {
                break;
            }
        }
        Ok(())
    }

    /// The next line, when what was thought of is possible.
    fn next(&mut self, twin: &Twin) -> Option<String> {
        let what = self.below(20);
        match what {
            0..=2 if self.agents.len() < 3 => Some(self.agent()),
            3 | 4 if self.frameworks.len() < 4 => Some(self.framework()),
            5 | 6 => Some(format!("tick {}", 1 + self.below(3))),
            7..=11 => self.decline(twin),
            12 if self.has_quota => Some(self.quota()),
            13 => {
                let weight = self.pick(&["0.5", "1", "2", "3"]);
                Some(format!("weight {} {weight}", self.pick(ROLES)))
            }
            14 if !self.agents.is_empty() => {
                let at = self.below(self.agents.len());
                let total = self.total();
                let agent = &self.agents[at];
                let held = twin
                    .real
                    .held()
                    .iter()
                    .filter(|((_, _, on), _)| on == agent);
                let held = held.fold(Amounts::default(), |sum, (_, held)| sum.plus(held));
                // With less than is held Mesos counts what is not there any more against the headroom.
                let words: Vec<&str> = total.split(' ').collect();
                let is_enough = Amounts::parse(&words).is_ok_and(|total| total.contains(&held));
                is_enough.then(|| format!("setagent {agent} {total}"))
            }
            15 if !self.agents.is_empty() && self.below(3) == 0 => {
                let at = self.below(self.agents.len());
                Some(format!("rmagent {}", self.agents.remove(at)))
            }
            16..=19 if !self.frameworks.is_empty() => {
                let at = self.below(self.frameworks.len());
                let framework = self.frameworks[at].clone();
                let is_away = self.away.contains(&framework);
                match what {
                    17 if !is_away => self.away.push(framework.clone()),
                    18 => self.away.retain(|away| *away != framework),
                    // Nobody revives without a session.
                    16 | 19 if is_away => return None,
                    _ => {}
                }
                match what {
                    16 => Some(format!("suppress {framework}")),
                    17 => Some(format!("disconnect {framework}")),
                    18 => Some(format!("reconnect {framework}")),
                    _ => Some(format!("revive {framework}")),
                }
            }
            _ => None,
        }
    }

    fn total(&mut self) -> String {
        let mut total = format!(
            "cpus:{} mem:{}",
            1 + self.below(6),
            50 * (1 + self.below(6))
        );
        let extras = [
            "ports:[1-4]",
            "disk:40",
            "cpus(q):1 mem(q):50",
            "cpus(a):2",
            "mem(a/x):100 cpus(a/x):1",
            "cpus{REV}:2",
            "disk@MOUNT:30",
            "disk@MOUNT:30 disk@MOUNT:20",
            "gpus:1",
            "cpus(r):1",
        ];
        for extra in extras {
            if self.below(7) == 0 {
                let _ = write!(total, " {extra}");
            }
        }
        total
    }

    fn agent(&mut self) -> String {
        let names = ["A", "B", "C"].map(str::to_owned);
        let free = names.into_iter().find(|name| !self.agents.contains(name));
        let agent = free.unwrap_or_default();
        self.agents.push(agent.clone());
        format!("agent {agent} {}", self.total())
    }

    fn framework(&mut self) -> String {
        let framework = format!("f{}", self.frameworks.len());
        self.frameworks.push(framework.clone());
        let mut line = format!("fw {framework} {}", self.pick(ROLES));
        if self.below(4) == 0 {
            let other = self.pick(ROLES);
            if !line.ends_with(&format!(" {other}")) {
                let _ = write!(line, ",{other}");
            }
        }
        let caps = self.pick(&[
            "",
            "",
            " caps=GPU",
            " caps=REVOCABLE",
            " caps=GPU,REVOCABLE",
        ]);
        line + &caps
    }

    fn quota(&mut self) -> String {
        let role = self.pick(QUOTA_ROLES);
        let (cpus, mem) = (self.below(5), 50 * self.below(5));
        let (more, much) = (cpus + self.below(3), mem + 50 * self.below(3));
        match self.below(5) {
            0 => format!("quota {role} G=- L=-"),
            1 => format!("quota {role} G=- L=cpus:{more},mem:{much}"),
            2 => format!("quota {role} G=cpus:{cpus},mem:{mem} L=-"),
            3 => format!(
                "quota {role} G=cpus:{cpus} L=cpus:{more},mem:{},disk:30",
                much + 50
            ),
            _ => format!("quota {role} G=cpus:{cpus},mem:{mem} L=cpus:{more},mem:{much}"),
        }
    }

    /// All or part of something that is held.
    fn decline(&mut self, twin: &Twin) -> Option<String> {
        let held = twin.real.held();
        if held.is_empty() {
            return None;
        }
        let at = self.below(held.len());
        let ((framework, role, agent), amounts) = held.iter().nth(at)?;
        let seconds = self.pick(&["-", "-", "0", "1", "2", "5", "100"]);
        let mut part = amounts.clone();
        if self.below(2) == 0 {
            for milli in part.scalars.values_mut() {
                *milli = match self.below(3) {
                    0 => 0,
                    1 => *milli / 2_000 * 1_000,
                    _ => *milli,
                };
            }
            part.scalars.retain(|_, milli| *milli > 0);
            if part.is_empty() {
                return None;
            }
        }
        Some(format!(
            "decline {framework} {agent} {role} {seconds} {part}"
        ))
    }
}
