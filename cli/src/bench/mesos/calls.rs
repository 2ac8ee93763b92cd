//! The calls of the benchmark's framework, and which offers it has.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use proffer_model::{Problem, Resources};
use proffer_proto::mesos::v1::scheduler::{Call, call};
use proffer_proto::mesos::v1::{
    self, AgentId, CommandInfo, Filters, FrameworkId, FrameworkInfo, Offer, OfferId, TaskInfo,
    TaskStatus, offer,
};
use proffer_proto::mesos::{ResourceForm, encode_resources, milli_of};

use crate::limits::BENCH_OFFER_AGE_MAX;

fn of(framework: &FrameworkId, r#type: call::Type) -> Call {
    Call {
        framework_id: Some(framework.clone()),
        r#type: Some(r#type.into()),
        ..Call::default()
    }
}

pub(super) fn subscribe() -> Call {
    let framework_info = FrameworkInfo {
        user: "root".to_owned(),
        name: "bench".to_owned(),
        ..FrameworkInfo::default()
    };
    Call {
        r#type: Some(call::Type::Subscribe.into()),
        subscribe: Some(call::Subscribe {
            framework_info,
            ..call::Subscribe::default()
        }),
        ..Call::default()
    }
}

/// Takes offers of one agent for tasks with these numbers; what is left over is wanted at once.
pub(super) fn accept(
    framework: &FrameworkId,
    taken: &Taken,
    numbers: std::ops::Range<u64>,
    shape: &Shape,
) -> Call {
    let task_infos = numbers.map(|number| shape.task(number, &taken.agent));
    let launch = offer::operation::Launch {
        task_infos: task_infos.collect(),
    };
    Call {
        accept: Some(call::Accept {
            offer_ids: taken.offers.clone(),
            operations: vec![offer::Operation {
                r#type: Some(offer::operation::Type::Launch.into()),
                launch: Some(launch),
                ..offer::Operation::default()
            }],
            filters: at_once(),
        }),
        ..of(framework, call::Type::Accept)
    }
}

pub(super) fn decline(framework: &FrameworkId, offer_ids: Vec<OfferId>) -> Call {
    Call {
        decline: Some(call::Decline {
            offer_ids,
            filters: at_once(),
        }),
        ..of(framework, call::Type::Decline)
    }
}

/// None for a status that is not to be acknowledged.
pub(super) fn acknowledge(framework: &FrameworkId, status: &TaskStatus) -> Option<Call> {
    Some(Call {
        acknowledge: Some(call::Acknowledge {
            agent_id: status.agent_id.clone()?,
            task_id: status.task_id.clone(),
            uuid: status.uuid.clone()?,
        }),
        ..of(framework, call::Type::Acknowledge)
    })
}

fn at_once() -> Option<Filters> {
    Some(Filters {
        refuse_seconds: Some(0.0),
    })
}

/// What every task holds.
pub(super) struct Shape {
    resources: Vec<v1::Resource>,
    cpus_milli: u64,
    mem_milli: u64,
}

impl Shape {
    pub(super) fn new(text: &str) -> Result<Self, Problem> {
        let resources: Resources = text.parse()?;
        let form = ResourceForm::default();
        Ok(Self {
            cpus_milli: resources.scalar("cpus").max(1),
            mem_milli: resources.scalar("mem").max(1),
            resources: encode_resources(&resources, &form),
        })
    }

    fn task(&self, number: u64, agent: &AgentId) -> TaskInfo {
        let id = format!("bench-{number}");
        TaskInfo {
            name: id.clone(),
            task_id: v1::TaskId { value: id },
            agent_id: agent.clone(),
            resources: self.resources.clone(),
            command: Some(CommandInfo {
                value: Some("true".to_owned()),
                ..CommandInfo::default()
            }),
            ..TaskInfo::default()
        }
    }
}

/// Which number the task of a status has.
pub(super) fn number_of(status: &TaskStatus) -> Option<usize> {
    let number = status.task_id.value.strip_prefix("bench-");
    number.and_then(|number| number.parse().ok())
}

/// Offers of one agent, and for how many tasks they are enough.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) agent: AgentId,
    pub(super) offers: Vec<OfferId>,
    pub(super) fits: u64,
}

/// Offers that stand, by agent: one ACCEPT may take several, if they are of one agent.
#[derive(Debug, Default)]
pub(super) struct Standing {
    by_agent: HashMap<String, Vec<Offer>>,
    /// With some that stand no more.
    order: VecDeque<(Instant, String, String)>,
    agent_of: HashMap<String, String>,
}

impl Standing {
    pub(super) fn come(&mut self, offers: Vec<Offer>) {
        for offer in offers {
            let (id, agent) = (offer.id.value.clone(), offer.agent_id.value.clone());
            self.order
                .push_back((Instant::now(), id.clone(), agent.clone()));
            self.agent_of.insert(id, agent.clone());
            self.by_agent.entry(agent).or_default().push(offer);
        }
    }

    pub(super) fn rescinded(&mut self, id: &OfferId) {
        let Some(agent) = self.agent_of.remove(&id.value) else {
            return;
        };
        if let Some(offers) = self.by_agent.get_mut(&agent) {
            offers.retain(|offer| offer.id != *id);
            if offers.is_empty() {
                self.by_agent.remove(&agent);
            }
        }
    }

    /// All of the agent whose offer stands longest; and whether they are to be declined, because they are about to expire, or
    /// are not enough for one task.
    pub(super) fn take(&mut self, shape: &Shape) -> Option<(Taken, bool)> {
        while let Some((came_at, id, agent)) = self.order.pop_front() {
            if !self.agent_of.contains_key(&id) {
                continue;
            }
            let offers = self.by_agent.remove(&agent).unwrap_or_default();
            let (mut cpus_milli, mut mem_milli) = (0, 0);
            for offer in &offers {
                self.agent_of.remove(&offer.id.value);
                cpus_milli += amount(offer, "cpus");
                mem_milli += amount(offer, "mem");
            }
            let fits = (cpus_milli / shape.cpus_milli).min(mem_milli / shape.mem_milli);
            let is_old = came_at.elapsed() >= BENCH_OFFER_AGE_MAX;
            let taken = Taken {
                agent: AgentId { value: agent },
                offers: offers.into_iter().map(|offer| offer.id).collect(),
                fits,
            };
            return Some((taken, is_old || fits == 0));
        }
        None
    }
}

fn amount(offer: &Offer, name: &str) -> u64 {
    let of_name = offer.resources.iter().filter(|it| it.name == name);
    let amounts = of_name.filter_map(|it| milli_of(it.scalar.as_ref()?.value).ok());
    amounts.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(id: &str, agent: &str, resources: &str) -> Offer {
        let resources: Resources = resources.parse().unwrap();
        Offer {
            id: OfferId { value: id.into() },
            agent_id: AgentId {
                value: agent.into(),
            },
            resources: encode_resources(&resources, &ResourceForm::default()),
            ..Offer::default()
        }
    }

    #[test]
    fn offers_of_one_agent_are_taken_together() {
        let shape = Shape::new("cpus:0.1;mem:32").unwrap();
        let mut standing = Standing::default();
        standing.come(vec![
            offer("1", "a", "cpus:1;mem:64"),
            offer("2", "b", "cpus:1;mem:1"),
            offer("3", "a", "cpus:1;mem:320"),
            offer("4", "a", "cpus:64;mem:65536"),
        ]);
        standing.rescinded(&OfferId { value: "4".into() });
        let (taken, is_declined) = standing.take(&shape).unwrap();
        let ids: Vec<&str> = taken.offers.iter().map(|id| id.value.as_str()).collect();
        assert_eq!((taken.agent.value.as_str(), ids), ("a", vec!["1", "3"]));
        assert_eq!((taken.fits, is_declined), (12, false));
        let (taken, is_declined) = standing.take(&shape).unwrap();
        assert_eq!((taken.agent.value.as_str(), is_declined), ("b", true));
        assert!(standing.take(&shape).is_none());
    }
}
