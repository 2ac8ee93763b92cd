//! What is known of every master, and what follows from it: who leads, whom to ask again and when, and why nobody leads.
//!
//! Pure: time and randomness come in. Of masters of one cluster that say they lead, the greatest term is right, and no
//! smaller one is believed ever after. A master that answers, but not this question, may lead: whoever calls it is told
//! by it what is wrong. A master that did not work for a caller rests before it is proposed again.

use std::collections::BTreeMap;
use std::time::Duration;

use proffer_model::{ClusterId, Epoch, Leader};
use tokio::time::Instant;

use super::limits::{MASTERS_MAX, RETRY_FIRST, RETRY_MAX, WHY_LEN_MAX};
use super::{Seen, Side, Standing, Term};
use crate::masters::{is_on_this_host, parse_address};

/// What a master says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Its term, when it leads.
    pub(crate) term: Option<Term>,
    /// Who leads, as far as it knows.
    pub(crate) leader: Option<Leader>,
}

/// A master that is where it is for a reason: an operator or ZooKeeper says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) address: String,
    pub(crate) version: String,
}

/// A master to call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) address: String,
    /// Absent when it did not say.
    pub(crate) term: Option<Term>,
    pub(crate) leader: Option<Leader>,
}

/// Whom a caller should call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// This one.
    Call(Choice),
    /// Nobody now; look again at each change, and at this moment.
    Wait(Option<Instant>),
}

/// Whom a caller may ask that is content with a master that stands by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Anyone {
    /// A master that leads, or may.
    Best(Choice),
    /// One that stands by; while others have not answered yet, a better one may turn up.
    StandsBy { choice: Choice, is_all_known: bool },
    /// None has answered yet.
    Unknown,
    /// None can be reached.
    Nobody,
}

/// All masters of which anything is known, in the order in which they were heard of.
#[derive(Debug)]
pub(crate) struct Board {
    side: Side,
    allow_plaintext: bool,
    masters: Vec<Master>,
    /// The greatest term heard of, by cluster.
    heard: BTreeMap<ClusterId, Epoch>,
}

#[derive(Debug)]
struct Master {
    address: String,
    /// Whether it is known otherwise than from another master.
    is_given: bool,
    version: String,
    state: State,
    /// Connections in a row that did not last.
    tries: u32,
    retry_at: Instant,
    /// Calls in a row that did not work.
    failures: u32,
    usable_at: Instant,
    failed: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// May not be connected to, and why.
    Unusable(String),
    /// Is not connected; why the last connection ended, if there was one.
    Apart(Option<String>),
    /// Has said how it stands.
    Answered { answer: Answer, since: Instant },
    /// Answers, but not how it stands.
    Evasive { why: String, since: Instant },
}

impl Board {
    pub(crate) fn new(side: Side, allow_plaintext: bool) -> Self {
        Self {
            side,
            allow_plaintext,
            masters: Vec::new(),
            heard: BTreeMap::new(),
        }
    }

    /// These masters are given from now on, and no others.
    pub(crate) fn on_given(&mut self, now: Instant, given: Vec<Given>) {
        for master in &mut self.masters {
            let mut given = given.iter();
            master.is_given = given.any(|given| given.address == master.address);
        }
        // Makes room for those that are new.
        self.tidy(now);
        for Given { address, version } in given {
            if self.find(&address).is_none() {
                self.add(now, address.clone());
            }
            if let Some(master) = self.find(&address) {
                master.is_given = true;
                master.version = version;
            }
        }
        self.tidy(now);
    }

    /// These masters, of which ZooKeeper knows, are given from now on.
    pub(crate) fn on_standing(&mut self, now: Instant, standing: &[Leader]) {
        let side = self.side;
        let given = standing.iter().map(|master| Given {
            address: side.address_of(master).to_owned(),
            version: master.version.clone(),
        });
        self.on_given(now, given.collect());
    }

    /// A master has said how it stands.
    pub(crate) fn on_answer(&mut self, now: Instant, address: &str, answer: Answer) {
        if let Some(term) = &answer.term {
            self.hear(term);
        }
        let side = self.side;
        let Some(master) = self.find(address) else {
            return;
        };
        let (mut since, mut named_before) = (now, None);
        if let State::Answered {
            answer: old,
            since: before,
        } = &master.state
        {
            since = *before;
            named_before = old.leader.as_ref().map(|leader| leader.id.clone());
            if old.term != answer.term {
                master.rest_no_more(now);
            }
        }
        let named = answer.leader.clone();
        if let (Some(own), true) = (&named, answer.term.is_some()) {
            master.version = own.version.clone();
        }
        master.state = State::Answered { answer, since };
        self.tidy(now);
        // That somebody leads there is news worth another try at once.
        let named = named.filter(|leader| named_before.as_ref() != Some(&leader.id));
        if let Some(leader) = named
            && let Some(master) = self.find(side.address_of(&leader))
        {
            master.retry_at = master.retry_at.min(now);
        }
    }

    /// A master answers, but not how it stands.
    pub(crate) fn on_evasive(&mut self, now: Instant, address: &str, why: &str) {
        if let Some(master) = self.find(address) {
            let since = match master.state {
                State::Answered { since, .. } | State::Evasive { since, .. } => since,
                State::Unusable(_) | State::Apart(_) => now,
            };
            let why = clipped(why);
            master.state = State::Evasive { why, since };
        }
        self.tidy(now);
    }

    /// The connection to a master has ended, or could not be made.
    pub(crate) fn on_broken(&mut self, now: Instant, address: &str, why: &str, random: u64) {
        if let Some(master) = self.find(address) {
            let lasted = match master.state {
                State::Answered { since, .. } | State::Evasive { since, .. } => now - since,
                State::Unusable(_) | State::Apart(_) => Duration::ZERO,
            };
            if lasted >= RETRY_MAX {
                master.tries = 0;
            }
            master.retry_at = now + wait(master.tries, random);
            master.tries = master.tries.saturating_add(1);
            master.state = State::Apart(Some(clipped(why)));
        }
        self.tidy(now);
    }

    /// A master that was called did not do what it was called for.
    pub(crate) fn on_failed(&mut self, now: Instant, address: &str, why: &str, random: u64) {
        if let Some(master) = self.find(address) {
            master.usable_at = now + wait(master.failures, random);
            master.failures = master.failures.saturating_add(1);
            master.failed = Some(clipped(why));
        }
    }

    /// A master that was called did it.
    pub(crate) fn on_worked(&mut self, now: Instant, address: &str) {
        if let Some(master) = self.find(address) {
            master.rest_no_more(now);
        }
    }

    /// The masters to be connected with.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = &str> {
        let usable = |master: &&Master| !matches!(master.state, State::Unusable(_));
        let usable = self.masters.iter().filter(usable);
        usable.map(|master| master.address.as_str())
    }

    /// When a master that is apart is to be tried; absent when it is of no interest any more.
    pub(crate) fn retry_at(&self, address: &str) -> Option<Instant> {
        let mut masters = self.masters.iter();
        let master = masters.find(|master| master.address == address);
        master.map(|master| master.retry_at)
    }

    /// Whom to call.
    pub(crate) fn verdict(&self, now: Instant) -> Verdict {
        let candidates = || self.claimants().chain(self.evasive());
        match candidates().find(|master| master.usable_at <= now) {
            Some(master) => Verdict::Call(master.choice()),
            None => Verdict::Wait(candidates().map(|master| master.usable_at).min()),
        }
    }

    /// Whom to ask, by those who are content with a master that stands by.
    pub(crate) fn anyone(&self, now: Instant) -> Anyone {
        if let Verdict::Call(choice) = self.verdict(now) {
            return Anyone::Best(choice);
        }
        let is_unknown = |master: &Master| matches!(master.state, State::Apart(None));
        let is_all_known = !self.masters.iter().any(is_unknown);
        let mut masters = self.masters.iter();
        let standing_by = masters.find(|master| matches!(master.state, State::Answered { .. }));
        match standing_by {
            Some(master) => Anyone::StandsBy {
                choice: master.choice(),
                is_all_known,
            },
            None if is_all_known && !self.masters.is_empty() => Anyone::Nobody,
            None => Anyone::Unknown,
        }
    }

    /// Whether a later term than this has begun in its cluster.
    pub(crate) fn is_superseded(&self, term: &Term) -> bool {
        let heard = self.heard.get(&term.cluster);
        heard.is_some_and(|heard| *heard > term.epoch)
    }

    /// Why there is nobody to call; absent when there is somebody. `source` is what is wrong with where masters are
    /// looked for.
    pub(crate) fn trouble(&self, now: Instant, source: Option<&str>) -> Option<String> {
        if matches!(self.verdict(now), Verdict::Call(_)) {
            return None;
        }
        let own = self.masters.iter().map(|master| self.trouble_of(master));
        let all: Vec<String> = source.map(str::to_owned).into_iter().chain(own).collect();
        Some(match all.is_empty() {
            true => "no leader: no master is known".to_owned(),
            false => format!("no leader: {}", all.join("; ")),
        })
    }

    /// Every master that is known.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        let seen = self.masters.iter().map(|master| Seen {
            address: master.address.clone(),
            standing: match &master.state {
                State::Unusable(why) => Standing::Unreachable(why.clone()),
                State::Apart(None) => Standing::Unknown("it has not answered yet".to_owned()),
                State::Apart(Some(why)) => Standing::Unreachable(why.clone()),
                State::Evasive { why, .. } => Standing::Unknown(why.clone()),
                State::Answered { answer, .. } => match &answer.term {
                    Some(term) => Standing::Leading(term.clone()),
                    None => Standing::StandingBy,
                },
            },
            version: master.version.clone(),
        });
        seen.collect()
    }

    /// Masters that lead, as far as anybody can know: those of the greatest term of their cluster.
    fn claimants(&self) -> impl Iterator<Item = &Master> {
        let leads = |master: &&Master| {
            let term = master.term();
            term.is_some_and(|term| !self.is_superseded(term))
        };
        self.masters.iter().filter(leads)
    }

    /// Masters that may lead; those that have failed least often first.
    fn evasive(&self) -> impl Iterator<Item = &Master> {
        let is_evasive = |master: &&Master| matches!(master.state, State::Evasive { .. });
        let mut evasive: Vec<&Master> = self.masters.iter().filter(is_evasive).collect();
        evasive.sort_by_key(|master| master.failures);
        evasive.into_iter()
    }

    fn trouble_of(&self, master: &Master) -> String {
        let address = &master.address;
        let failed = master.failed.as_deref().unwrap_or_default();
        match &master.state {
            State::Unusable(why) => format!("{address} is not used: {why}"),
            State::Apart(None) => format!("{address} has not answered yet"),
            State::Apart(Some(why)) => format!("{address} cannot be reached: {why}"),
            State::Evasive { why, .. } if failed.is_empty() => format!("{address}: {why}"),
            State::Evasive { .. } => format!("{address}: {failed}"),
            State::Answered { answer, .. } => match &answer.term {
                None => format!("{address} stands by"),
                Some(term) if self.is_superseded(term) => {
                    format!("{address} leads in term {}, which is over", term.epoch)
                }
                Some(_) => format!("{address} leads, but: {failed}"),
            },
        }
    }

    fn hear(&mut self, term: &Term) {
        let is_known = self.heard.contains_key(&term.cluster);
        if is_known || self.heard.len() < MASTERS_MAX {
            let heard = self.heard.entry(term.cluster.clone()).or_default();
            *heard = (*heard).max(term.epoch);
        }
    }

    /// Follows those that others name, and no longer those that nobody names.
    fn tidy(&mut self, now: Instant) {
        let named: Vec<String> = self.named().map(str::to_owned).collect();
        for address in &named {
            if self.find(address).is_none() && parse_address(address).is_ok() {
                self.add(now, address.clone());
            }
        }
        let ids: Vec<String> = self.ids_given().map(str::to_owned).collect();
        self.masters.retain(|master| {
            let is_answering = !matches!(master.state, State::Apart(_) | State::Unusable(_));
            let is_alias = master
                .id()
                .is_some_and(|id| ids.iter().any(|own| own == id));
            master.is_given || named.contains(&master.address) || (is_answering && !is_alias)
        });
    }

    /// Where leaders are that masters standing by name, unless they are connected already under another address.
    fn named(&self) -> impl Iterator<Item = &str> {
        let standing_by = self
            .masters
            .iter()
            .filter_map(|master| match &master.state {
                State::Answered { answer, .. } if answer.term.is_none() => answer.leader.as_ref(),
                _ => None,
            });
        let is_reached = |id: &str| self.ids_given().any(|own| own == id);
        standing_by
            .filter(move |leader| !is_reached(&leader.id))
            .map(|leader| self.side.address_of(leader))
    }

    /// Who the leading ones are among the masters that are given.
    fn ids_given(&self) -> impl Iterator<Item = &str> {
        let given = self.masters.iter().filter(|master| master.is_given);
        given.filter_map(Master::id)
    }

    fn add(&mut self, now: Instant, address: String) {
        if self.masters.len() >= MASTERS_MAX {
            return;
        }
        let state = match parse_address(&address) {
            Err(problem) => State::Unusable(clipped(&problem.message)),
            Ok(_) if !self.allow_plaintext && !is_on_this_host(&address) => State::Unusable(
                "it is not on this host, and insecure_allow_plaintext is not set".to_owned(),
            ),
            Ok(_) => State::Apart(None),
        };
        self.masters.push(Master {
            address,
            is_given: false,
            version: String::new(),
            state,
            tries: 0,
            retry_at: now,
            failures: 0,
            usable_at: now,
            failed: None,
        });
    }

    fn find(&mut self, address: &str) -> Option<&mut Master> {
        let mut masters = self.masters.iter_mut();
        masters.find(|master| master.address == address)
    }
}

impl Master {
    fn answer(&self) -> Option<&Answer> {
        match &self.state {
            State::Answered { answer, .. } => Some(answer),
            State::Unusable(_) | State::Apart(_) | State::Evasive { .. } => None,
        }
    }

    /// Its term, when it leads.
    fn term(&self) -> Option<&Term> {
        self.answer().and_then(|answer| answer.term.as_ref())
    }

    /// Who it is, when it leads.
    fn id(&self) -> Option<&str> {
        let answer = self.answer().filter(|answer| answer.term.is_some())?;
        answer.leader.as_ref().map(|own| own.id.as_str())
    }

    fn choice(&self) -> Choice {
        Choice {
            address: self.address.clone(),
            term: self.term().cloned(),
            leader: self.answer().and_then(|answer| answer.leader.clone()),
        }
    }

    fn rest_no_more(&mut self, now: Instant) {
        self.failures = 0;
        self.usable_at = now;
        self.failed = None;
    }
}

/// Between half of a bound and the bound, which doubles with each time; `random` says where.
pub(super) fn wait(times: u32, random: u64) -> Duration {
    let factor = 1_u32.checked_shl(times).unwrap_or(u32::MAX);
    let bound = RETRY_FIRST.saturating_mul(factor).min(RETRY_MAX);
    let half = bound / 2;
    let half_ns = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX).max(1);
    half + Duration::from_nanos(random % half_ns)
}

fn clipped(why: &str) -> String {
    why.chars().take(WHY_LEN_MAX).collect()
}

#[cfg(test)]
mod tests;
