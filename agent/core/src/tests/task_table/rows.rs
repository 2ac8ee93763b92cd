//! What happens to a task, by the names of the table's rows.

use proffer_model::executor::ExecutorEvent;
use proffer_model::{ExecutorId, Problem, code};

use super::stage::{Stage, launched, word};
use crate::tests::*;

impl Stage {
    pub(super) fn drive(&mut self, what: &str) {
        let (head, rest) = what.split_once(' ').unwrap_or((what, ""));
        match head {
            "master" => self.drive_master(rest),
            "link" => self.drive_link(rest),
            "process" => self.drive_process(rest),
            "executor" => self.drive_executor(rest),
            "found" => self.drive_found(rest),
            "timer" => self.drive_timer(rest),
            other => panic!("{other}"),
        }
    }

    /// What the master says, in a term.
    fn order(&self, what: &str, epoch: Epoch) -> ToAgent {
        let (framework, executor) = (framework(), ExecutorId::new("e").unwrap());
        let (task, incarnation) = (TaskId::new("t").unwrap(), Incarnation(5));
        let launch = |incarnation| ToAgent::Launch {
            epoch,
            framework: framework.clone(),
            incarnation: Incarnation(incarnation),
            spec: Box::new(launched(self.has_executor)),
            payer: Some(payer()),
        };
        let kill = |grace| ToAgent::Kill {
            epoch,
            framework: framework.clone(),
            task: task.clone(),
            incarnation,
            grace,
            reason: Reason::KillRequested,
        };
        let acknowledge = |number| ToAgent::Acknowledge {
            epoch,
            framework: framework.clone(),
            task: task.clone(),
            incarnation,
            number,
        };
        match what {
            "beats" => ToAgent::Heartbeat { epoch },
            "launches it again" => launch(5),
            "launches an older one" => launch(4),
            "launches a newer one" => launch(6),
            "launches its group again" => ToAgent::LaunchGroup {
                epoch,
                framework,
                payer: Some(payer()),
                tasks: vec![(incarnation, launched(self.has_executor))],
            },
            "kills it" => kill(None),
            "kills it at once" => kill(Some(Duration::ZERO)),
            "keeps its statuses" => {
                let latest = self.agent.core.tasks.get(&self.run);
                acknowledge(latest.map_or(0, |task| task.updates.latest().number))
            }
            "keeps what was never said" => acknowledge(99),
            "changes it" => ToAgent::UpdateTask {
                epoch,
                framework,
                task,
                incarnation,
                labels: None,
                grace: Some(Duration::from_secs(1)),
            },
            "has a message" => ToAgent::Message {
                epoch,
                framework,
                executor,
                data: vec![1],
            },
            "ends the executor" => ToAgent::ShutdownExecutor {
                epoch,
                framework,
                executor,
                reason: Reason::KillRequested,
            },
            "says which volumes" => ToAgent::Volumes {
                epoch,
                volumes: Vec::new(),
            },
            other => panic!("{other}"),
        }
    }

    fn drive_master(&mut self, what: &str) {
        let epoch = self.agent.identity.epoch;
        let refused = |code| ToAgent::Refused(Problem::new(code, "no"));
        let message = match what {
            "welcomes again" => ToAgent::Welcome {
                agent: AgentId::new("a").unwrap(),
                cluster: ClusterId::new("c").unwrap(),
                epoch,
                generation: Generation(1),
                heartbeat_interval: Duration::from_secs(1),
            },
            "refuses the agent" => refused(code::AGENT_REFUSED),
            "says it is gone" => refused(code::AGENT_GONE),
            "of an older term kills it" => self.order("kills it", Epoch(0)),
            what => self.order(what, epoch),
        };
        let link = LinkId(self.agent.links);
        self.happens(Event::LinkMessage { link, message });
    }

    fn drive_link(&mut self, what: &str) {
        let link = LinkId(self.agent.links);
        match what {
            "opens anew" => {
                self.agent.links += 1;
                self.happens(Event::LinkOpened(LinkId(self.agent.links)));
            }
            "ends" => self.happens(Event::LinkClosed(link)),
            other => panic!("{other}"),
        }
    }

    fn drive_process(&mut self, what: &str) {
        let run = self.process();
        match what {
            "is recorded" => {
                let seq = self.agent.write(usize::MAX);
                // Where nothing is to be written, nothing is news.
                self.happens(Event::Persisted(seq.unwrap_or_default()));
            }
            "starts" => self.starts(),
            "cannot be started" => self.happens(Event::ContainerFailed {
                run,
                reason: Reason::ImageFailed,
                message: String::new(),
            }),
            "ends with 0" => self.exits(Exit::Code(0)),
            "ends with 1" => self.exits(Exit::Code(1)),
            "is killed" => self.exits(Exit::Signal(9)),
            "has its volumes" | "has no volumes" => self.happens(Event::VolumesMounted {
                run: self.run,
                failure: (what == "has no volumes").then(|| "no".to_owned()),
            }),
            "loses its supervisor" => self.happens(Event::SupervisorLost { run }),
            "fails a check" | "passes a check" => self.happens(Event::CheckFinished {
                run: self.run,
                check: 0,
                failure: (what == "fails a check").then(|| "no".to_owned()),
                answer: None,
            }),
            other => panic!("{other}"),
        }
    }

    fn drive_executor(&mut self, what: &str) {
        let (run, session) = (self.executor, SessionId(self.session.0 - 1));
        let says = [
            ("says running", TaskState::Running),
            ("says finished", TaskState::Finished),
            ("says failed", TaskState::Failed),
            ("says killed", TaskState::Killed),
        ];
        if let Some((_, state)) = says.iter().find(|(name, _)| *name == what) {
            return self.executor_says(word(9, *state));
        }
        match what {
            "says again" => self.executor_says(word(1, TaskState::Running)),
            "has a message" => self.happens(Event::ExecutorMessage {
                run,
                session,
                data: vec![1],
            }),
            "does not read" => self.happens(Event::ExecutorUntold {
                session,
                event: Box::new(ExecutorEvent::Heartbeat),
            }),
            "leaves" => self.happens(Event::ExecutorLeft { run, session }),
            "comes back with it" => {
                self.subscribes(vec![(TaskId::new("t").unwrap(), Incarnation(5))]);
            }
            "comes back without it" => self.subscribes(Vec::new()),
            other => panic!("{other}"),
        }
    }

    fn drive_found(&mut self, what: &str) {
        let found = match what {
            "never started" | "with its host restarted" => Found::NeverStarted,
            "running" => Found::Running { pid: 7 },
            "not startable" => Found::Failed {
                message: String::new(),
            },
            "ended with 0" => Found::Exited(Exit::Code(0).into()),
            "ended with 1" => Found::Exited(Exit::Code(1).into()),
            "without its supervisor" => Found::SupervisorLost,
            other => panic!("{other}"),
        };
        let is_restarted = what == "with its host restarted";
        self.recovers(&found, if is_restarted { "boot-2" } else { "boot-1" });
    }

    fn drive_timer(&mut self, what: &str) {
        let run = self.run;
        let keys = [
            ("heartbeat", TimerKey::Heartbeat),
            ("resend", TimerKey::Resend(run)),
            ("grace", TimerKey::Grace(run)),
            ("check", TimerKey::Check(run, 0)),
            ("completion", TimerKey::Completion(run)),
            ("executor", TimerKey::Executor(self.executor)),
            ("garbage", TimerKey::Garbage),
        ];
        let (name, is_late) = match what.strip_suffix(", a day later") {
            Some(name) => (name, true),
            None => (what, false),
        };
        let key = keys.iter().find(|(key, _)| *key == name).expect(what).1;
        if is_late {
            self.agent.now = self.agent.now.after(Duration::from_secs(24 * 3600));
        }
        self.happens(Event::TimerFired(key));
    }
}
