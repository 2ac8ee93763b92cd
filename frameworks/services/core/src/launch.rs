//! Offers to launches: what an app wants of the master, and how an offer's resources are cut into instances.
//!
//! Every offer is decided on at once: accepted for as many instances as are missing and fit, or declined. The instances are
//! kept before the accept leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proffer_model::limits::{DEMAND_COUNT_MAX, KILL_GRACE_DEFAULT};
use proffer_model::resources::Amount;
use proffer_model::session::{Call, Operation};
use proffer_model::{
    DemandEntry, DemandId, Offer, Port, RangeSet, ResourceKind, ResourceName, Resources, Shape,
    TaskSpec, Time,
};

use crate::app::{App, AppSpec};
use crate::container::AppContainer;
use crate::core::{Core, Key, Pending};
use crate::environment::environment_of;
use crate::id::{AppId, InstanceId};
use crate::instance::{Instance, Memory, Phase};
use crate::limits::{LAUNCHES_PER_ACCEPT_MAX, MISFIT_EXCLUSION};

const PORTS: &str = "ports";

/// What an app that misses so many instances wants; one entry for each configuration.
pub(crate) fn demand_of(app: &App, missing: u32) -> Option<DemandEntry> {
    let id = DemandId::new(&format!("{}.{}", app.spec.id.flat(), app.last_config.0)).ok()?;
    let mut resources = scalars_of(&app.spec)?;
    let fixed = fixed_ports(&app.spec);
    let any = app.spec.ports.len().saturating_sub(fixed.len());
    let ports = ResourceName::new(PORTS).ok()?;
    resources
        .insert_ranges(ports.clone(), RangeSet::from_numbers(fixed))
        .ok()?;
    let mut counts = BTreeMap::new();
    if any > 0 {
        counts.insert(ports, u64::try_from(any).ok()?);
    }
    let count = missing.min(DEMAND_COUNT_MAX);
    Some(DemandEntry {
        id,
        shape: Shape::Of { resources, counts },
        count,
        predicates: Vec::new(),
        at_most: Vec::new(),
        gang: 0,
        priority: 0,
        takes: proffer_model::Takes::default(),
        excluded: Vec::new(),
    })
}

/// The scalars of one instance.
fn scalars_of(spec: &AppSpec) -> Option<Resources> {
    let mut resources = Resources::new();
    for (name, milli) in [
        ("cpus", spec.cpus_milli),
        ("mem", spec.mem_milli),
        ("disk", spec.disk_milli),
    ] {
        resources
            .insert_scalar(ResourceName::new(name).ok()?, milli)
            .ok()?;
    }
    Some(resources)
}

/// The host ports that must be exactly these.
fn fixed_ports(spec: &AppSpec) -> BTreeSet<u64> {
    if spec.require_ports {
        spec.ports
            .iter()
            .map(|port| u64::from(port.number))
            .collect()
    } else {
        BTreeSet::new()
    }
}

/// The resources and host ports of one more instance out of what is left; none if they are not there. What is reserved goes
/// first: the rest can be offered to everybody.
fn carve(spec: &AppSpec, left: &Resources) -> Option<(Resources, Vec<u16>)> {
    let ports: Vec<u16> = if spec.require_ports {
        spec.ports.iter().map(|port| port.number).collect()
    } else {
        let count = u64::try_from(spec.ports.len()).ok()?;
        left.range_set(PORTS)
            .first(count)
            .numbers()
            .filter_map(|number| u16::try_from(number).ok())
            .collect()
    };
    if ports.len() != spec.ports.len() {
        return None;
    }
    let mut wanted = scalars_of(spec)?;
    let set = RangeSet::from_numbers(ports.iter().copied().map(u64::from));
    wanted
        .insert_ranges(ResourceName::new(PORTS).ok()?, set)
        .ok()?;
    let mut resources = Resources::new();
    for (name, amount) in wanted.ordinary() {
        let mut rest = amount.clone();
        let kinds = left.special().map(|(kind, _)| kind.clone());
        let kinds =
            kinds.filter(|kind| kind.name == *name && !kind.is_whole() && !kind.is_revocable);
        for kind in kinds.chain([ResourceKind::plain(name.clone())]) {
            let mut asked = Resources::new();
            asked.insert(kind.clone(), rest).ok()?;
            let lacking = asked.minus(left);
            resources.add(&asked.minus(&lacking));
            rest = match lacking.amount(&kind) {
                Some(amount) => amount.clone(),
                None => Amount::Scalar(0),
            };
            if rest.is_empty() {
                break;
            }
        }
        if !rest.is_empty() {
            return None;
        }
    }
    Some((resources, ports))
}

impl Core {
    pub(crate) fn on_offered(&mut self, now: Time, offers: Vec<Offer>) {
        for offer in offers {
            let (ids, launches): (Vec<InstanceId>, Vec<TaskSpec>) =
                self.launches_in(now, &offer).into_iter().unzip();
            if launches.is_empty() {
                let is_wanted = offer
                    .fits
                    .iter()
                    .any(|fit| self.demands.contains_key(&fit.demand));
                let exclude_for = if is_wanted {
                    MISFIT_EXCLUSION
                } else {
                    Duration::ZERO
                };
                self.send(
                    Call::Decline {
                        offers: vec![offer.id],
                        exclude_for,
                    },
                    Pending::Other,
                );
            } else {
                self.send(
                    Call::Accept {
                        offers: vec![offer.id],
                        operations: launches.into_iter().map(Operation::launch).collect(),
                    },
                    Pending::Launch(ids),
                );
            }
        }
    }

    /// Makes the instances that go into an offer.
    fn launches_in(&mut self, now: Time, offer: &Offer) -> Vec<(InstanceId, TaskSpec)> {
        let mut launches = Vec::new();
        let mut left = offer.resources.clone();
        if offer.role != self.settings.role || self.session.is_none() {
            return launches;
        }
        for fit in &offer.fits {
            let Some(id) = self.demands.get(&fit.demand).cloned() else {
                continue;
            };
            for _ in 0..fit.count.min(LAUNCHES_PER_ACCEPT_MAX) {
                if launches.len() >= usize::try_from(LAUNCHES_PER_ACCEPT_MAX).unwrap_or(usize::MAX)
                {
                    return launches;
                }
                let Some(launch) = self.launch(now, &id, offer, &mut left) else {
                    break;
                };
                launches.push(launch);
            }
        }
        launches
    }

    /// Makes one instance of an app, if one is missing and what is left of the offer holds it.
    fn launch(
        &mut self,
        now: Time,
        id: &AppId,
        offer: &Offer,
        left: &mut Resources,
    ) -> Option<(InstanceId, TaskSpec)> {
        let entry = self
            .apps
            .get_mut(id)
            .filter(|entry| entry.missing > 0 && entry.demand.is_some())?;
        let app = entry.app.clone();
        let (resources, ports) = carve(&app.spec, left)?;
        let number = InstanceId(self.ids.draw());
        let task = number.task(id).ok()?;
        left.subtract(&resources);
        entry.missing -= 1;
        entry.instances.insert(number);
        let instance = Instance {
            id: number,
            app: id.clone(),
            task: task.clone(),
            version: app.version,
            config: app.last_config,
            has_checks: !app.spec.health_checks.is_empty(),
            agent: offer.agent.clone(),
            host: offer.host.clone(),
            address: offer.address.clone(),
            ports,
            phase: Phase::Launching,
            is_condemned: false,
            staged_wall_ms: now.wall_ms,
            started_wall_ms: None,
            healthy: None,
            health_wall_ms: None,
            memory: Memory {
                is_confirmed: true,
                since: now,
                ..Memory::default()
            },
        };
        let spec = task_of(&app, &instance, resources);
        self.tasks.insert(task, number);
        self.instances.insert(number, Arc::new(instance));
        self.to_keep.insert(Key::Instance(number));
        self.touched.insert(id.clone());
        Some((number, spec))
    }
}

/// The task of an instance.
fn task_of(app: &App, instance: &Instance, resources: Resources) -> TaskSpec {
    let spec = &app.spec;
    let ports = spec
        .ports
        .iter()
        .zip(&instance.ports)
        .flat_map(|(port, number)| {
            let protocols = port.transport.protocols().iter();
            protocols.map(|protocol| Port {
                name: port.name.clone(),
                number: *number,
                protocol: *protocol,
            })
        });
    TaskSpec {
        id: instance.task.clone(),
        name: spec.id.reversed(),
        resources,
        command: spec.command.clone(),
        environment: environment_of(app, instance),
        user: spec.user.clone(),
        labels: spec.labels.clone(),
        ports: ports.collect(),
        checks: spec
            .health_checks
            .iter()
            .filter_map(|check| check.on(&instance.ports))
            .collect(),
        kill_grace: spec.kill_grace.unwrap_or(KILL_GRACE_DEFAULT),
        container: spec.container.as_ref().map(AppContainer::of_task),
        executor: None,
        volumes: Vec::new(),
        completion: None,
        fetch: spec.fetch.clone(),
        discovery: None,
    }
}
