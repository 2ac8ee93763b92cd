//! What leaves a master, and can be seen from then on: it is judged, and rules are broken in it on purpose.

use proffer_master_core::effect::Reply;
use proffer_model::link::ToAgent;
use proffer_model::session::{Answer, Call, Event as SessionEvent};
use proffer_model::{Epoch, Problem};

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
        self.judge_leaving(n, connection, principal, &parcel)?;
        if self.is_of_tail(n, connection, &parcel) {
            self.seen.count(Seen::TailTold);
            if self.is_broken(Breakage::TailCutShort) {
                return Ok(());
            }
        }
        if let Some(parcel) = self.break_leaving(n, connection, parcel) {
            self.send(Who::Master(n), connection, parcel);
        }
        self.checks
            .on_lane(self.unread(connection), self.lane_len_max())
    }

    /// What a broken master sends instead.
    fn break_leaving(&mut self, n: usize, connection: u64, mut parcel: Parcel) -> Option<Parcel> {
        let Some(breakage) = self.faults.breakage else {
            return Some(parcel);
        };
        match (breakage, &mut parcel) {
            (
                Breakage::AcknowledgedUnkept,
                Parcel::Event {
                    sequence,
                    event: SessionEvent::Updated(_),
                },
            ) => {
                let sequence = *sequence;
                let call = Call::Acknowledge { sequence };
                let parcel = Parcel::Call { request: 0, call };
                let input = Input::Arrived { connection, parcel };
                self.input_after(0, Who::Master(n), input);
            }
            (
                Breakage::SettledTooEarly,
                Parcel::Event {
                    sequence,
                    event: SessionEvent::Subscribed { .. },
                },
            ) => {
                let sequence = *sequence;
                self.send(Who::Master(n), connection, parcel);
                let agents: Vec<_> = self.ensemble.registry.agents.keys().cloned().collect();
                for agent in agents {
                    let event = SessionEvent::AgentSettled(agent);
                    let parcel = Parcel::Event { sequence, event };
                    self.send(Who::Master(n), connection, parcel);
                }
                return None;
            }
            (Breakage::LaunchSentTwice, Parcel::ToAgent(launch @ ToAgent::Launch { .. }))
                if self.random.one_in(4) =>
            {
                let mut again = launch.clone();
                if let ToAgent::Launch { incarnation, .. } = &mut again {
                    incarnation.0 += 1_000_000;
                }
                self.send_to_another_agent(n, connection, again);
            }
            (Breakage::EarlyKillForgotten, Parcel::ToAgent(ToAgent::Kill { task, .. }))
                if self.checks.kills.is_asked(task) =>
            {
                return None;
            }
            (Breakage::GroupSplit, Parcel::ToAgent(ToAgent::LaunchGroup { tasks, .. })) => {
                tasks.pop();
            }
            (
                Breakage::ChangeRepeatedLate,
                Parcel::ToAgent(change @ ToAgent::UpdateTask { .. }),
            ) => {
                let change = change.clone();
                self.send(Who::Master(n), connection, parcel);
                if let Some(before) = self.masters[n].last_change_before(change) {
                    self.send(Who::Master(n), connection, Parcel::ToAgent(before));
                }
                return None;
            }
            _ => {}
        }
        Some(parcel)
    }

    /// Whether it is a status of the tail with which a session that is resumed begins.
    fn is_of_tail(&mut self, n: usize, connection: u64, parcel: &Parcel) -> bool {
        let (Parcel::Event { event, .. }, Some(term)) =
            (parcel, self.masters[n].term.as_deref_mut())
        else {
            return false;
        };
        let is_broken = self.faults.breakage == Some(Breakage::TailCutShort);
        let tails = &mut term.presence.tails;
        match event {
            SessionEvent::Subscribed {
                is_resumed: true, ..
            } => {
                tails.insert(connection);
            }
            SessionEvent::Answered { .. } => {}
            SessionEvent::Updated(_) if tails.contains(&connection) => {
                if is_broken {
                    tails.remove(&connection);
                }
                return true;
            }
            _ => {
                tails.remove(&connection);
            }
        }
        false
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

    fn judge_leaving(
        &mut self,
        n: usize,
        connection: u64,
        principal: &str,
        parcel: &Parcel,
    ) -> Outcome {
        let Some(term) = self.masters[n].term.as_deref() else {
            return Ok(());
        };
        let epoch = term.epoch;
        match parcel {
            Parcel::Event { event, .. } => match event {
                SessionEvent::Answered { request, answer } => {
                    self.judge_answer(epoch, principal, *request, answer)?;
                }
                SessionEvent::Subscribed {
                    framework,
                    is_resumed,
                    ..
                } => {
                    if *is_resumed {
                        term.presence.judge_resumed(connection, Epoch(epoch))?;
                    }
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
        self.checks.on_answered_again(request, answer)?;
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
