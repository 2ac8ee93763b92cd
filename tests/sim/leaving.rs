//! What leaves a master, and can be seen from then on: it is judged, and rules are broken in it on purpose.

use proffer_master_core::effect::Reply;
use proffer_model::link::ToAgent;
use proffer_model::session::{Answer, Call, Event as SessionEvent};
use proffer_model::{Incarnation, Problem};

use super::breakage::Breakage;
use super::coverage::Seen;
use super::network::Parcel;
use super::process::Who;
use super::world::{Input, Outcome, World};

impl World {
    /// Something leaves the process: from here on it can be seen.
    pub(super) fn leaves(&mut self, n: usize, connection: u64, parcel: Parcel) -> Outcome {
        let Some(principal) = self
            .network
            .connections
            .get(&connection)
            .map(|of| of.principal)
        else {
            return Ok(());
        };
        self.judge_leaving(n, principal, &parcel)?;
        if self.is_broken(Breakage::AcknowledgedUnkept)
            && let Parcel::Event {
                sequence,
                event: SessionEvent::Updated(_),
            } = &parcel
        {
            let call = Call::Acknowledge {
                sequence: *sequence,
            };
            let input = Parcel::Call { request: 0, call };
            self.input_after(
                0,
                Who::Master(n),
                Input::Arrived {
                    connection,
                    parcel: input,
                },
            );
        }
        if self.is_broken(Breakage::SettledTooEarly)
            && let Parcel::Event {
                sequence,
                event: SessionEvent::Subscribed { .. },
            } = &parcel
        {
            let sequence = *sequence;
            self.send(Who::Master(n), connection, parcel.clone());
            let agents: Vec<_> = self.ensemble.registry.agents.keys().cloned().collect();
            for agent in agents {
                let event = SessionEvent::AgentSettled(agent);
                self.send(
                    Who::Master(n),
                    connection,
                    Parcel::Event { sequence, event },
                );
            }
            return Ok(());
        }
        if self.is_broken(Breakage::LaunchSentTwice)
            && let Parcel::ToAgent(ToAgent::Launch {
                epoch,
                framework,
                incarnation,
                spec,
                payer,
                ..
            }) = &parcel
            && self.random.one_in(4)
        {
            let again = ToAgent::Launch {
                epoch: *epoch,
                framework: framework.clone(),
                incarnation: Incarnation(incarnation.0 + 1_000_000),
                spec: spec.clone(),
                payer: payer.clone(),
            };
            self.send_to_another_agent(n, connection, again);
        }
        let mut parcel = parcel;
        if self.is_broken(Breakage::GroupSplit)
            && let Parcel::ToAgent(ToAgent::LaunchGroup { tasks, .. }) = &mut parcel
        {
            tasks.pop();
        }
        self.send(Who::Master(n), connection, parcel);
        Ok(())
    }

    fn send_to_another_agent(&mut self, n: usize, connection: u64, message: ToAgent) {
        let connections = self.network.connections.iter();
        let other = connections
            .filter(|(id, of)| {
                **id != connection
                    && of.server == Who::Master(n)
                    && of.is_known
                    && matches!(of.client, Who::Agent(_))
            })
            .map(|(id, _)| *id)
            .next();
        if let Some(other) = other {
            self.send(Who::Master(n), other, Parcel::ToAgent(message));
        }
    }

    fn judge_leaving(&mut self, n: usize, principal: &str, parcel: &Parcel) -> Outcome {
        let Some(term) = self.masters[n].term.as_deref() else {
            return Ok(());
        };
        let epoch = term.epoch;
        match parcel {
            Parcel::Event { event, .. } => match event {
                SessionEvent::Answered { request, answer } => {
                    self.judge_answer(epoch, principal, *request, answer)?;
                }
                SessionEvent::Subscribed { framework, .. } => {
                    self.checks.on_promise(epoch, self.ensemble.epoch)?;
                    if !self.ensemble.registry.frameworks.contains_key(framework) {
                        return Err(format!(
                            "framework {framework} is told so and is not durable"
                        ));
                    }
                    self.checks.is_allowed(principal, framework)?;
                    self.checks.completions.on_subscribed(framework)?;
                }
                _ => {}
            },
            Parcel::Reply { reply, request } => {
                self.checks.on_promise(epoch, self.ensemble.epoch)?;
                self.judge_reply(principal, *request, reply)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn judge_answer(
        &mut self,
        epoch: u64,
        principal: &str,
        request: u64,
        answer: &Answer,
    ) -> Outcome {
        if let Answer::Refused(problem) = answer {
            if problem.is(proffer_model::code::OFFER_GONE) {
                self.seen.count(Seen::OfferGone);
            }
            if principal == super::framework::STRANGER {
                self.seen.count(Seen::StrangerRefused);
            }
            return Ok(());
        }
        if principal == super::framework::STRANGER {
            return Err(format!(
                "a stranger's call {request} is answered {answer:?}"
            ));
        }
        self.checks.on_promise(epoch, self.ensemble.epoch)?;
        self.checks.on_answer(request, answer)
    }

    fn judge_reply(
        &mut self,
        principal: &str,
        request: u64,
        reply: &Result<Reply, Problem>,
    ) -> Outcome {
        if principal == super::framework::STRANGER {
            if reply.is_ok() {
                return Err(format!(
                    "a stranger's request {request} is answered {reply:?}"
                ));
            }
            self.seen.count(Seen::StrangerRefused);
            return Ok(());
        }
        if reply.is_ok() {
            self.checks.on_reply(request, &self.ensemble.settings)?;
        }
        Ok(())
    }
}
