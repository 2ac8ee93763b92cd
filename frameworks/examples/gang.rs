//! Waits until so many agents have room at once, starts one task on each of them together, and ends when all have finished.
//! When a member fails, or the launch is cut short, the others are ended and the gang is tried again from the start.
//!
//!     cargo run -p proffer-sdk --example gang -- 127.0.0.1:5050 3 'echo $RANK of $SIZE, first on $FIRST'
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::collections::{BTreeMap, BTreeSet};

use proffer_sdk::model::{
    AtMost, Command, DemandEntry, DemandId, Key, Offer, OfferId, Problem, Role, Secret, Status,
    TaskId, TaskSpec, TaskState, code,
};
use proffer_sdk::{ConnectOptions, Handle, Scheduler, Session, run};

const RESOURCES: &str = "cpus:0.5;mem:64";
const ATTEMPTS_MAX: u32 = 3;

struct Gang {
    members: u32,
    command: String,
    attempt: u32,
    /// Members of this attempt that have not ended.
    running: BTreeSet<TaskId>,
    finished: u32,
    /// Whether a member did not end well, or was not launched.
    has_failed: bool,
    /// Offers on different agents that wait until there are enough.
    held: Vec<Offer>,
}

impl Scheduler for Gang {
    async fn on_subscribed(&mut self, handle: &Handle, _: Session) -> Result<(), Problem> {
        self.held.clear();
        if self.running.is_empty() {
            return self.demand(handle).await;
        }
        // What became of these meanwhile comes as statuses.
        match self.has_failed {
            true => self.end_all(handle).await,
            false => Ok(()),
        }
    }

    async fn on_offers(&mut self, handle: &Handle, offers: Vec<Offer>) -> Result<(), Problem> {
        // The master offers a gang's agents at once or none of them.
        for offer in offers {
            if self.held.iter().all(|held| held.agent != offer.agent) {
                self.held.push(offer);
            }
        }
        let members = usize::try_from(self.members).unwrap_or(usize::MAX);
        if !self.running.is_empty() || self.held.len() < members {
            return Ok(());
        }
        let chosen: Vec<Offer> = self.held.drain(..).take(members).collect();
        self.attempt += 1;
        handle.set_demand(Role::new("*")?, Vec::new()).await?;
        // Until all are launched: who comes back to less ends it.
        self.has_failed = true;
        let mut is_whole = true;
        for (rank, offer) in (0..).zip(&chosen) {
            is_whole &= self.launch(handle, rank, offer, &chosen).await?;
        }
        self.has_failed = !is_whole;
        match is_whole {
            true => Ok(()),
            false => self.end_all(handle).await,
        }
    }

    async fn on_rescinded(&mut self, _: &Handle, offers: Vec<OfferId>) -> Result<(), Problem> {
        self.held.retain(|held| !offers.contains(&held.id));
        Ok(())
    }

    async fn on_update(&mut self, handle: &Handle, status: Status) -> Result<(), Problem> {
        if !status.state.is_terminal() || !self.running.remove(&status.task) {
            return Ok(());
        }
        println!("{} {} {}", status.task, status.state, status.message);
        if status.state == TaskState::Finished {
            self.finished += 1;
        } else if !std::mem::replace(&mut self.has_failed, true) {
            return self.end_all(handle).await;
        }
        self.go_on(handle).await
    }
}

impl Gang {
    /// Answers whether it was launched.
    async fn launch(
        &mut self,
        handle: &Handle,
        rank: u32,
        offer: &Offer,
        all: &[Offer],
    ) -> Result<bool, Problem> {
        let id = TaskId::new(&format!("member-{}-{rank}", self.attempt))?;
        let line = Command::Shell(self.command.clone());
        let mut spec = TaskSpec::new(id.clone(), line, RESOURCES.parse()?);
        let first = all.first().map(|offer| offer.host.clone());
        let names = [
            ("RANK", rank.to_string()),
            ("SIZE", self.members.to_string()),
            ("FIRST", first.unwrap_or_default()),
        ];
        spec.environment =
            BTreeMap::from(names.map(|(name, value)| (name.into(), Secret::new(value))));
        self.running.insert(id.clone());
        let mut is_launched = true;
        for result in handle.launch(vec![offer.id.clone()], vec![spec]).await? {
            if let Err(problem) = result.outcome {
                println!("{id} {problem}");
                self.running.remove(&id);
                is_launched = false;
            }
        }
        Ok(is_launched)
    }

    async fn end_all(&mut self, handle: &Handle) -> Result<(), Problem> {
        for member in self.running.clone() {
            handle.kill(member, None).await?;
        }
        self.go_on(handle).await
    }

    async fn go_on(&mut self, handle: &Handle) -> Result<(), Problem> {
        if !self.running.is_empty() {
            return Ok(());
        }
        if self.finished < self.members && self.attempt < ATTEMPTS_MAX {
            (self.finished, self.has_failed) = (0, false);
            return self.demand(handle).await;
        }
        let (finished, members, attempt) = (self.finished, self.members, self.attempt);
        println!("{finished} of {members} members finished in attempt {attempt}");
        handle.teardown().await
    }

    async fn demand(&self, handle: &Handle) -> Result<(), Problem> {
        let id = DemandId::new("member")?;
        let mut entry = DemandEntry::new(id, self.members, RESOURCES.parse()?);
        entry.gang = self.members;
        entry.at_most = vec![AtMost {
            count: 1,
            per: Key::Agent,
        }];
        handle.set_demand(Role::new("*")?, vec![entry]).await
    }
}

#[tokio::main]
async fn main() -> Result<(), Problem> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let usage = || Problem::new(code::FIELD_MISSING, "usage: gang MASTER MEMBERS COMMAND");
    let [master, members, command] = arguments.as_slice() else {
        return Err(usage());
    };
    let gang = Gang {
        members: members.parse().map_err(|_| usage())?,
        command: command.clone(),
        attempt: 0,
        running: BTreeSet::new(),
        finished: 0,
        has_failed: false,
        held: Vec::new(),
    };
    run(
        ConnectOptions::new([master], "gang", [Role::new("*")?]),
        gang,
    )
    .await
}
