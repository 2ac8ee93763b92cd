//! What becomes of the core's facts: rows of the view, lines of the log, metrics.

use proffer_agent_core::{Fact, TaskRow};
use proffer_model::code;

use crate::metrics::Metrics;
use crate::view::View;

/// Takes facts.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    view: View,
    metrics: Metrics,
}

impl Recorder {
    pub(crate) fn new(view: View, metrics: Metrics) -> Self {
        Self { view, metrics }
    }

    /// The link has ended, for whatever reason.
    pub(crate) fn unlinked(&self) {
        self.view.set_agent(None);
        self.metrics.registered.set(0);
    }

    /// This master, at this address, knows the agent.
    pub(crate) fn welcomed(&self, master: &str) {
        self.view.set_master(Some(master.to_owned()));
        self.metrics.set_master(Some(master));
    }

    /// No master does any more.
    pub(crate) fn left(&self) {
        self.view.set_master(None);
        self.metrics.set_master(None);
    }

    /// How many checkpoints are on their way to the disk.
    pub(crate) fn unwritten(&self, count: u64) {
        self.metrics
            .unwritten
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(crate) fn record(&self, fact: Fact) {
        match fact {
            Fact::Task(row) => self.task(row),
            Fact::RunRemoved(run) => self.view.remove(run),
            Fact::Recovered {
                running,
                ended,
                started,
            } => {
                tracing::info!(running, ended, started, "tasks are recovered");
            }
            Fact::Registered {
                agent,
                cluster,
                epoch,
            } => {
                tracing::info!(%agent, %cluster, epoch = epoch.0, "the agent is registered");
                self.metrics.registered.set(1);
                self.metrics
                    .epoch
                    .set(i64::try_from(epoch.0).unwrap_or(i64::MAX));
                self.view.set_agent(Some(agent));
            }
            Fact::Refused(problem) if problem.is(code::AGENT_CLUSTER_CHANGED) => {
                tracing::error!(%problem, "the agent and the master do not obey one another");
            }
            Fact::Gone(problem) => {
                let why = problem.message.as_str();
                let hint = problem.hint.as_str();
                tracing::error!(why, hint, "the agent is marked gone, and ends what it runs");
            }
            Fact::Refused(problem) => {
                tracing::info!(%problem, "the link is refused");
            }
            Fact::LinkSilent => tracing::info!("the leader is silent, and the link is closed"),
            Fact::LaunchRefused {
                framework,
                task,
                message,
            } => {
                self.metrics.refusals.inc();
                tracing::info!(%framework, %task, why = message, "a launch is refused");
            }
            Fact::StatusesResent { count } => {
                self.metrics.resends.inc_by(count);
            }
            other => log(other),
        }
    }

    fn task(&self, row: TaskRow) {
        tracing::info!(
            framework = %row.framework,
            task = %row.status.task,
            run = %row.run,
            state = %row.status.state,
            reason = %row.status.reason,
            pid = row.pid,
            "task"
        );
        self.view.put(row);
        self.metrics
            .tasks
            .set(i64::try_from(self.view.live()).unwrap_or(i64::MAX));
    }
}

/// What is for the log alone.
fn log(fact: Fact) {
    match fact {
        Fact::LaunchRepeated {
            framework,
            task,
            incarnation,
        } => {
            tracing::debug!(%framework, %task, %incarnation, "a launch is not new");
        }
        Fact::Executor {
            run,
            framework,
            executor,
            state,
            message,
        } => {
            tracing::info!(%framework, %executor, %run, ?state, why = message, "executor");
        }
        Fact::ExecutorRefused { run, problem } => {
            tracing::info!(%run, %problem, "an executor's session is closed");
        }
        Fact::OrderIgnored { framework, name } => {
            tracing::debug!(%framework, name, "an order is about what is not there");
        }
        Fact::KillIgnored {
            framework,
            task,
            incarnation,
        } => {
            tracing::debug!(%framework, %task, %incarnation, "nothing to kill");
        }
        Fact::AcknowledgementIgnored {
            framework,
            task,
            number,
        } => {
            tracing::debug!(%framework, %task, number, "no such status was made");
        }
        _ => {}
    }
}
