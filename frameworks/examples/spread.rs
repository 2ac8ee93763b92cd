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
use std::time::{Duration, Instant};

use proffer_sdk::model::{
    AtMost, Command, DemandEntry, DemandId, FrameworkId, Key, Offer, OfferId, Problem, Reason,
    Role, StateKey, Status, TaskId, TaskSpec, TaskState, code,
};
use proffer_sdk::{ConnectOptions, Expected, Handle, Scheduler, Session, run};

const RESOURCES: &str = "cpus:0.1;mem:32";

/// One copy.
#[derive(Default)]
struct Copied {
    /// How often it was started: its task's id ends with it.
    starts: u64,
    /// Whether it does not run.
    is_waiting: bool,
    /// Since when its agent cannot be reached.
    unreachable_since: Option<Instant>,
}

impl Copied {
    fn is_given_up(&self, patience: Duration) -> bool {
        let since = self.unreachable_since;
        since.is_some_and(|since| since.elapsed() >= patience)
    }
}

struct Spread {
    command: String,
    patience: Duration,
    copies: BTreeMap<String, Copied>,
}

impl Scheduler for Spread {
    async fn on_standing_by(&mut self) {
        println!("standing by");
    }

    async fn on_subscribed(&mut self, handle: &Handle, _: Session) -> Result<(), Problem> {
        println!("active");
        if self.copies.is_empty() {
            return handle.teardown().await;
        }
        for (name, copy) in &mut self.copies {
            let stored = handle.state().get(&key(name)?).await?;
            let text = stored.map(|stored| String::from_utf8_lossy(&stored.value).into_owned());
            copy.starts = text.and_then(|text| text.parse().ok()).unwrap_or_default();
            // What was never started may be started; of the others a status says what became of them, unless it is known.
            let last = task(name, copy.starts)?;
            let is_free = copy.starts == 0 || !handle.settle([last]).is_empty();
            // A session that goes on where the last one was says nothing new of what cannot be reached.
            copy.is_waiting = is_free || copy.is_given_up(self.patience);
        }
        self.demand(handle).await
    }

    async fn on_offers(&mut self, handle: &Handle, offers: Vec<Offer>) -> Result<(), Problem> {
        for offer in offers {
            self.start_one(handle, offer.id).await?;
        }
        self.demand(handle).await
    }

    async fn on_update(&mut self, handle: &Handle, status: Status) -> Result<(), Problem> {
        for (name, copy) in &mut self.copies {
            let is_last = status.task == task(name, copy.starts)?;
            let is_of_it = status.task.as_str().starts_with(&format!("{name}-"));
            if is_last {
                println!("{} {} {}", status.task, status.state, status.message);
            }
            match status.state {
                // It was started anew meanwhile.
                TaskState::Running if !is_last && is_of_it => {
                    handle.kill(status.task.clone(), None).await?;
                }
                _ if !is_last => {}
                TaskState::Unreachable if copy.unreachable_since.is_none() => {
                    copy.unreachable_since = Some(Instant::now());
                    tokio::spawn(ask(handle.clone(), status.task.clone(), self.patience));
                }
                TaskState::Unreachable => copy.is_waiting = copy.is_given_up(self.patience),
                state => {
                    copy.unreachable_since = None;
                    copy.is_waiting = state.is_terminal();
                }
            }
        }
        self.demand(handle).await
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
    async fn start_one(&mut self, handle: &Handle, offer: OfferId) -> Result<(), Problem> {
        let waiting = self.copies.iter_mut().find(|(_, copy)| copy.is_waiting);
        let Some((name, copy)) = waiting else {
            return handle.decline(vec![offer], Duration::ZERO).await;
        };
        (copy.is_waiting, copy.unreachable_since) = (false, None);
        copy.starts += 1;
        // Durable before the launch: whoever goes on asks about this start, and makes no second one.
        let starts = copy.starts.to_string();
        let state = handle.state();
        state.put(&key(name)?, starts, Expected::Anything).await?;
        let line = Command::Shell(self.command.clone());
        let spec = TaskSpec::new(task(name, copy.starts)?, line, RESOURCES.parse()?);
        for result in handle.launch(vec![offer], vec![spec]).await? {
            if let Err(problem) = result.outcome {
                println!("{name} {problem}");
                copy.is_waiting = true;
            }
        }
        Ok(())
    }

    async fn demand(&self, handle: &Handle) -> Result<(), Problem> {
        let waiting = self.copies.values().filter(|copy| copy.is_waiting).count();
        let count = u32::try_from(waiting).unwrap_or(u32::MAX);
        let mut entry = DemandEntry::new(DemandId::new("copy")?, count, RESOURCES.parse()?);
        // The master counts those that run, too.
        entry.at_most = vec![AtMost {
            count: 1,
            per: Key::Agent,
        }];
        let entries = Vec::from_iter((count > 0).then_some(entry));
        handle.set_demand(Role::new("*")?, entries).await
    }
}

fn key(name: &str) -> Result<StateKey, Problem> {
    StateKey::new(&format!("starts/{name}"))
}

/// Has it told how a task stands when patience is over.
async fn ask(handle: Handle, task: TaskId, patience: Duration) {
    tokio::time::sleep(patience).await;
    while handle.subscribed().await.is_ok() && handle.reconcile(vec![task.clone()]).await.is_err() {
    }
}

fn task(name: &str, starts: u64) -> Result<TaskId, Problem> {
    TaskId::new(&format!("{name}-{starts}"))
}

#[tokio::main]
async fn main() -> Result<(), Problem> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let usage = || {
        Problem::new(
            code::FIELD_MISSING,
            "usage: spread MASTER NAME COPIES COMMAND [PATIENCE]",
        )
    };
    let [master, name, copies, command, more @ ..] = arguments.as_slice() else {
        return Err(usage());
    };
    // Not a number is not 0, which would end everything.
    let copies = copies.parse::<u32>().map_err(|_| usage())?;
    let copies = (0..copies).map(|number| (format!("copy-{number}"), Copied::default()));
    let patience = more.first().map_or(Ok(60), |text| text.parse::<u64>());
    let options = ConnectOptions {
        framework_id: Some(FrameworkId::new(name)?),
        create: true,
        stand_by: true,
        ..ConnectOptions::new([master], name, [Role::new("*")?])
    };
    let spread = Spread {
        command: command.clone(),
        patience: Duration::from_secs(patience.map_err(|_| usage())?),
        copies: copies.collect(),
    };
    run(options, spread).await
}
