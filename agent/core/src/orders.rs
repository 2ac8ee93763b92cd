//! What the leader orders: each order is obeyed only in a term that has welcomed the agent, and goes to the part that
//! carries it out.

use proffer_model::link::ToAgent;
use proffer_model::{Epoch, Time};

use crate::changes::ChangeOrder;
use crate::core::Core;
use crate::effect::{Effect, Effects};
use crate::kill::KillOrder;
use crate::launch::LaunchOrder;

impl Core {
    pub(crate) fn on_order(&mut self, now: Time, order: ToAgent, effects: &mut Effects) {
        if epoch_of(&order).is_some_and(|epoch| self.may_command(epoch, effects)) {
            self.obey(now, order, effects);
        }
    }

    fn obey(&mut self, now: Time, order: ToAgent, effects: &mut Effects) {
        match order {
            launch @ (ToAgent::Launch { .. } | ToAgent::LaunchGroup { .. }) => {
                if let Some(order) = launch_order(launch) {
                    self.on_launch(now, order, effects);
                }
            }
            ToAgent::Kill {
                epoch: _,
                framework,
                task,
                incarnation,
                grace,
                reason,
            } => {
                let order = KillOrder {
                    framework,
                    task,
                    incarnation,
                    grace,
                    reason,
                };
                self.on_kill(now, order, effects);
            }
            ToAgent::Acknowledge {
                epoch: _,
                framework,
                task,
                incarnation,
                number,
            } => self.on_acknowledge(now, framework, task, incarnation, number, effects),
            change @ ToAgent::UpdateTask { .. } => {
                if let Some(order) = change_order(change) {
                    self.on_update_task(order, effects);
                }
            }
            ToAgent::Message {
                epoch: _,
                framework,
                executor,
                data,
            } => self.on_framework_message(framework, executor, data, effects),
            ToAgent::ShutdownExecutor {
                epoch: _,
                framework,
                executor,
                reason,
            } => self.on_shutdown_executor(now, framework, executor, reason, effects),
            ToAgent::Volumes { epoch: _, volumes } => effects.push(Effect::KeepVolumes(volumes)),
            // The link's own.
            ToAgent::Welcome { .. } | ToAgent::Refused(_) | ToAgent::Heartbeat { .. } => {}
        }
    }
}

/// The term of an order; nothing of what is none.
fn epoch_of(order: &ToAgent) -> Option<Epoch> {
    match order {
        ToAgent::Welcome { .. } | ToAgent::Refused(_) => None,
        ToAgent::Heartbeat { epoch }
        | ToAgent::Launch { epoch, .. }
        | ToAgent::LaunchGroup { epoch, .. }
        | ToAgent::Kill { epoch, .. }
        | ToAgent::Acknowledge { epoch, .. }
        | ToAgent::UpdateTask { epoch, .. }
        | ToAgent::Message { epoch, .. }
        | ToAgent::ShutdownExecutor { epoch, .. }
        | ToAgent::Volumes { epoch, .. } => Some(*epoch),
    }
}

fn launch_order(order: ToAgent) -> Option<LaunchOrder> {
    let (framework, payer, tasks, is_group) = match order {
        ToAgent::Launch {
            framework,
            incarnation,
            spec,
            payer,
            ..
        } => (framework, payer, vec![(incarnation, *spec)], false),
        ToAgent::LaunchGroup {
            framework,
            payer,
            tasks,
            ..
        } => (framework, payer, tasks, true),
        _ => return None,
    };
    let first = tasks.first().filter(|_| is_group);
    Some(LaunchOrder {
        framework,
        payer,
        group: first.map(|(incarnation, spec)| (spec.id.clone(), *incarnation)),
        tasks,
    })
}

fn change_order(order: ToAgent) -> Option<ChangeOrder> {
    let ToAgent::UpdateTask {
        epoch: _,
        framework,
        task,
        incarnation,
        labels,
        grace,
    } = order
    else {
        return None;
    };
    Some(ChangeOrder {
        framework,
        task,
        incarnation,
        labels,
        grace,
    })
}
