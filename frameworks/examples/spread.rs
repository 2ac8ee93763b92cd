//! Keeps so many copies of a shell line running, at most one on an agent, and starts anew what ends.
//!
//!     cargo run -p proffer-sdk --example spread -- 127.0.0.1:5050 web 3 'exec sleep 1000'
//!
//! Start it twice: one is active, the other stands by and goes on when the first ends, however that ends. How often each
//! copy was started stands in the framework's state, so nothing is lost with the program. Copies run on when no program is
//! left; with 0 copies the framework is torn down, and they end. A copy whose agent cannot be reached for a minute (or as many
//! seconds as a fifth argument says) is started anew, under another id; should it come back after that, it is ended.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proffer_sdk::model::{
    AtMost, Command, DemandEntry, DemandId, FrameworkId, Key, Offer, OfferId, Problem, Reason,
    Role, StateKey, Status, TaskId, TaskSpec, TaskState, code,
};
use proffer_sdk::{ConnectOptions, Expected, Handle, Scheduler, Session, run};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

const RESOURCES: &str = "cpus:0.1;mem:32";
const USAGE: &str = "usage: spread MASTER NAME COPIES COMMAND [PATIENCE]";

/// One copy.
#[derive(Default)]
struct Copied {
    /// How often it was started: its task's id ends with it.
    starts: u64,
    /// Whether it is to be started.
    is_waiting: bool,
    /// Since when its agent cannot be reached.
    unreachable_since: Option<Instant>,
}

#[derive(Clone)]
pub(crate) struct Spread {
    command: String,
    patience: Duration,
    /// Patience may be over while nothing else happens.
    copies: Arc<Mutex<BTreeMap<String, Copied>>>,
}

impl Scheduler for Spread {
    async fn on_standing_by(&mut self) {
        println!("standing by");
    }

    async fn on_subscribed(&mut self, handle: &Handle, _: Session) -> Result<(), Problem> {
        println!("active");
        let mut copies = self.copies.lock().await;
        if copies.is_empty() {
            return handle.teardown().await;
        }
        for (name, copy) in copies.iter_mut() {
            let stored = handle.state().get(&key(name)?).await?;
            let text = stored.map(|stored| String::from_utf8_lossy(&stored.value).into_owned());
            let starts = text.and_then(|text| text.parse().ok()).unwrap_or_default();
            if starts != copy.starts {
                (copy.starts, copy.is_waiting, copy.unreachable_since) = (starts, false, None);
            }
            // What was never started may be started; of the others a status says what became of them, unless it is known.
            copy.is_waiting |= starts == 0 || !handle.settle([task(name, starts)?]).is_empty();
        }
        demand(handle, &copies).await
    }

    async fn on_offers(&mut self, handle: &Handle, offers: Vec<Offer>) -> Result<(), Problem> {
        for offer in offers {
            self.start_one(handle, offer.id).await?;
        }
        demand(handle, &*self.copies.lock().await).await
    }

    async fn on_update(&mut self, handle: &Handle, status: Status) -> Result<(), Problem> {
        let mut copies = self.copies.lock().await;
        for (name, copy) in copies.iter_mut() {
            if status.task != task(name, copy.starts)? {
                let is_of_it = status.task.as_str().starts_with(&format!("{name}-"));
                // It was started anew meanwhile.
                if is_of_it && status.state == TaskState::Running {
                    handle.kill(status.task.clone(), None).await?;
                }
                continue;
            }
            println!("{} {} {}", status.task, status.state, status.message);
            match status.state {
                TaskState::Unreachable => {
                    let since = *copy.unreachable_since.get_or_insert_with(Instant::now);
                    tokio::spawn(self.clone().give_up(handle.clone(), name.clone(), since));
                }
                state => {
                    copy.unreachable_since = None;
                    copy.is_waiting = state.is_terminal();
                }
            }
        }
        demand(handle, &copies).await
    }

    async fn on_reclaim(
        &mut self,
        handle: &Handle,
        tasks: Vec<TaskId>,
        reason: Reason,
        _: Option<Duration>,
    ) -> Result<(), Problem> {
        // There is nothing to lose here, so they move at once.
        for task in tasks.into_iter().filter(|_| reason != Reason::None) {
            handle.kill(task, None).await?;
        }
        Ok(())
    }
}

impl Spread {
    pub(crate) fn new(copies: u32, command: String, patience: Duration) -> Self {
        let copies = (0..copies).map(|number| (format!("copy-{number}"), Copied::default()));
        Self {
            command,
            patience,
            copies: Arc::new(Mutex::new(copies.collect())),
        }
    }

    async fn start_one(&self, handle: &Handle, offer: OfferId) -> Result<(), Problem> {
        let mut copies = self.copies.lock().await;
        let Some((name, copy)) = copies.iter_mut().find(|(_, copy)| copy.is_waiting) else {
            return handle.decline(vec![offer], Duration::ZERO).await;
        };
        let (state, starts) = (handle.state(), copy.starts + 1);
        let value = starts.to_string();
        // Durable before the launch: whoever goes on asks about this start, and makes no second one.
        state.put(&key(name)?, value, Expected::Anything).await?;
        (copy.starts, copy.is_waiting, copy.unreachable_since) = (starts, false, None);
        let line = Command::Shell(self.command.clone());
        let spec = TaskSpec::new(task(name, starts)?, line, RESOURCES.parse()?);
        for result in handle.launch(vec![offer], vec![spec]).await? {
            if let Err(problem) = result.outcome {
                println!("{name} {problem}");
                copy.is_waiting = true;
            }
        }
        Ok(())
    }

    /// When patience is over and its agent still cannot be reached, a copy is to be started anew.
    async fn give_up(self, handle: Handle, name: String, since: Instant) {
        sleep(self.patience.saturating_sub(since.elapsed())).await;
        let mut copies = self.copies.lock().await;
        let copy = copies.get_mut(&name);
        if let Some(copy) = copy.filter(|copy| copy.unreachable_since == Some(since)) {
            copy.is_waiting = true;
            // Without a session the next one begins with it.
            let _ = demand(&handle, &copies).await;
        }
    }
}

async fn demand(handle: &Handle, copies: &BTreeMap<String, Copied>) -> Result<(), Problem> {
    let waiting = copies.values().map(|copy| u32::from(copy.is_waiting)).sum();
    let mut entry = DemandEntry::new(DemandId::new("copy")?, waiting, RESOURCES.parse()?);
    // The master counts those that run, too.
    let (count, per) = (1, Key::Agent);
    entry.at_most = vec![AtMost { count, per }];
    let entries = Vec::from_iter((waiting > 0).then_some(entry));
    handle.set_demand(Role::new("*")?, entries).await
}

fn key(name: &str) -> Result<StateKey, Problem> {
    StateKey::new(&format!("starts/{name}"))
}

fn task(name: &str, starts: u64) -> Result<TaskId, Problem> {
    TaskId::new(&format!("{name}-{starts}"))
}

#[tokio::main]
async fn main() -> Result<(), Problem> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let usage = || Problem::new(code::FIELD_MISSING, USAGE);
    let [master, name, copies, command, more @ ..] = arguments.as_slice() else {
        return Err(usage());
    };
    // Not a number is not 0, which would end everything.
    let copies = copies.parse().map_err(|_| usage())?;
    let patience = more.first().map_or(Ok(60), |text| text.parse());
    let patience = Duration::from_secs(patience.map_err(|_| usage())?);
    let options = ConnectOptions {
        framework_id: Some(FrameworkId::new(name)?),
        create: true,
        stand_by: true,
        ..ConnectOptions::new([master], name, [Role::new("*")?])
    };
    run(options, Spread::new(copies, command.clone(), patience)).await
}
