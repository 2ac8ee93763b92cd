//! What frameworks, scripts and operators ask, and what time brings.

use std::time::Duration;

use proffer_model::session::{Call, Operation};
use proffer_model::{Demand, ExecutorId, Generation, Problem, Quota, Role, StateKey, Weight, code};

use super::stage::Stage;
use crate::event::{Event, OperatorCall, RequestId, Resize, Seq, StateCall, TimerKey, WatchId};
use crate::tests::asking::everything;
use crate::tests::world::{describe_framework, principal, r, spec, task_id};

fn role() -> Role {
    "*".parse().expect("a role")
}

/// A call of a framework, by the name of its row.
fn call_of(stage: &Stage, what: &str) -> Call {
    let task = task_id("t");
    let (agent, executor) = (stage.agent.clone(), ExecutorId::new("e").expect("an id"));
    match what {
        "subscribe" => Call::Subscribe {
            framework: None,
            description: describe_framework(),
            stand_by: false,
            resume: None,
            create: false,
        },
        "set demand" => Call::SetDemand(Demand {
            role: role(),
            generation: Generation(u64::MAX),
            entries: Vec::new(),
        }),
        "accept" => Call::Accept {
            offers: stage.offers(),
            operations: vec![Operation::launch(spec("t", "cpus:1"))],
        },
        "decline" => Call::Decline {
            offers: stage.offers(),
            exclude_for: Duration::from_secs(1),
        },
        "kill" => Call::Kill { task, grace: None },
        "acknowledge" => Call::Acknowledge { sequence: u64::MAX },
        "acknowledge one" => Call::AcknowledgeOne {
            sequence: stage.last_status(),
        },
        "reconcile" => Call::Reconcile { tasks: vec![task] },
        "reconcile all" => Call::Reconcile { tasks: Vec::new() },
        "teardown" => Call::Teardown,
        "update task" => Call::UpdateTask {
            task,
            labels: None,
            grace: Some(Duration::from_secs(1)),
        },
        "send message" => Call::SendMessage {
            agent,
            executor,
            data: vec![1],
        },
        "shutdown executor" => Call::ShutdownExecutor { agent, executor },
        other => panic!("{other}"),
    }
}

impl Stage {
    pub(super) fn drive_call(&mut self, what: &str) {
        if what == "malformed" {
            let (session, request) = (self.session, self.world.fresh());
            let problem = Problem::new(code::FIELD_INVALID, "it cannot be read");
            return self.happens(Event::CallMalformed {
                session,
                request,
                problem,
            });
        }
        self.calls(call_of(self, what));
    }

    pub(super) fn drive_script(&mut self, what: &str) {
        self.script_calls(call_of(self, what));
    }

    pub(super) fn drive_session(&mut self, what: &str) {
        let session = self.session;
        let (framework, generation) = (self.framework.clone(), self.generation());
        match what {
            "ends" => self.happens(Event::SessionClosed { session }),
            "ends, another begins" => {
                self.happens(Event::SessionClosed { session });
                self.world.told.clear();
                self.session = self.world.resubscribe(&framework);
            }
            "is taken over" => {
                self.session = self.world.resubscribe(&framework);
            }
            "watches" => self.happens(Event::WatchOpened {
                watch: WatchId(9),
                principal: principal("p"),
                framework,
                generation,
                prefix: String::new(),
            }),
            "reads its watch" => self.happens(Event::WatchTaken { watch: WatchId(9) }),
            "watches no more" => self.happens(Event::WatchClosed { watch: WatchId(9) }),
            other => panic!("{other}"),
        }
    }

    pub(super) fn drive_state(&mut self, what: &str) {
        let (key, expected) = (StateKey::new("k").expect("a key"), None);
        self.state_calls(match what {
            "get" => StateCall::Get { key },
            "put" => StateCall::Put {
                key,
                value: vec![1],
                expected,
            },
            "delete" => StateCall::Delete { key, expected },
            "list" => StateCall::List {
                prefix: String::new(),
            },
            "list a page" => StateCall::ListPage {
                prefix: String::new(),
                after: Some(key),
            },
            other => panic!("{other}"),
        });
    }

    pub(super) fn drive_operator(&mut self, what: &str) {
        let (agent, framework) = (self.agent.clone(), self.framework.clone());
        let quota = Quota {
            guarantees: r("cpus:1").quantities(),
            ..Quota::default()
        };
        let drain = |deadline| OperatorCall::DrainAgent {
            agent: agent.clone(),
            deadline,
            marks_gone: false,
        };
        let call = match what {
            "explains" | "lists roles" => return self.asks(what),
            "sets a quota" => OperatorCall::SetQuota {
                role: role(),
                quota,
                is_forced: true,
            },
            "sets quotas" => OperatorCall::SetQuotas {
                quotas: [(role(), quota)].into(),
                is_forced: true,
            },
            "removes a quota" => OperatorCall::RemoveQuota { role: role() },
            "sets a weight" => OperatorCall::SetWeight {
                role: role(),
                weight: Weight(2_000),
            },
            "removes a weight" => OperatorCall::RemoveWeight { role: role() },
            "reserves" => OperatorCall::Operate {
                agent,
                operation: Operation::Reserve("cpus(eng):1".parse().expect("resources")),
            },
            "resizes a volume" => OperatorCall::ResizeVolume {
                agent,
                role: role(),
                volume: "v".parse().expect("an id"),
                resize: Resize::Grow(1),
            },
            "deactivates the agent" => OperatorCall::DeactivateAgent { agent },
            "drains the agent" => drain(None),
            "drains it by a deadline" => drain(Some(Duration::from_secs(10))),
            "marks the agent gone" => OperatorCall::MarkAgentGone { agent },
            "reactivates the agent" => OperatorCall::ReactivateAgent { agent },
            "kills the task" => OperatorCall::KillTask {
                framework,
                task: task_id("t"),
                grace: None,
            },
            "ends the framework" => OperatorCall::TeardownFramework { framework },
            other => panic!("{other}"),
        };
        self.operator_calls(call);
        if what == "drains it by a deadline" {
            self.world.pass_s(11);
            self.fires(TimerKey::Reclaim);
        }
    }

    fn asks(&mut self, what: &str) {
        let request = RequestId(self.world.fresh());
        self.happens(match what {
            "explains" => Event::ExplainRequested {
                request,
                framework: self.framework.clone(),
                part: everything(),
            },
            _ => Event::RolesRequested {
                request,
                after: None,
                len: 1,
            },
        });
    }

    pub(super) fn drive_timer(&mut self, what: &str) {
        let failover = TimerKey::Failover(self.framework.clone());
        match what {
            "silence, long" => {
                self.is_unreachable();
                self.fires(TimerKey::Silence);
            }
            "failover, due" => {
                let session = self.session;
                self.happens(Event::SessionClosed { session });
                self.world.pass_s(101);
                self.fires(failover);
            }
            "persisted" => self.happens(Event::Persisted(Seq(u64::MAX))),
            name => {
                let keys = [
                    ("silence", TimerKey::Silence),
                    ("offer expiry", TimerKey::OfferExpiry),
                    ("allocate", TimerKey::Allocate),
                    ("failover", failover),
                    ("heartbeat", TimerKey::Heartbeat),
                    ("port rest", TimerKey::PortRest),
                    ("drain", TimerKey::Drain),
                    ("reclaim", TimerKey::Reclaim),
                    ("telling", TimerKey::Telling),
                    ("demands", TimerKey::Demands),
                    ("watches", TimerKey::Watches),
                    ("questions", TimerKey::Questions),
                    ("forget", TimerKey::Forget),
                ];
                let named = keys.into_iter().find(|(key, _)| *key == name);
                self.fires(named.expect(name).1);
            }
        }
    }
}
